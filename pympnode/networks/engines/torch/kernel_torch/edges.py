"""Edges one by one, in chunks: what sums of messages cannot do as one product.

Messages of pairs, weights that are learned and the maximum need a number for each edge. They are
computed for some edges at a time, so that these numbers stay in a core's cache and take a bounded
amount of memory, and are computed again by the adjoint.

The values of nodes are (row, unit * feature) here: a row holds ``unit`` columns of one node, all
features of a column together. Gathering the end of an edge is then one copy of contiguous numbers.
``unit`` is the largest number that divides the widths of all blocks: the whole batch on one graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from ....spec import ModelSpec
from ...columns import Columns, Ints

SCRATCH_BYTES = 3 * 2**19
"""Bytes of the numbers of one chunk of edges on CPU: with fewer the calls cost more than the arithmetic,
with more the numbers leave the caches. A GPU takes 1/64 of its memory: one chunk on most graphs."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some evaluations of messages (`Edges`): their positions, and for each the rows of its ends.

    ``receiver``, ``sender`` (evaluations,): rows of the ends as the message sees them. ``target``:
    rows that receive, ascending from ``first`` to ``last``. ``number`` (evaluations, 1): their
    positions. ``attribute`` (evaluations, attribute) or None. ``kind``: number of the type of the nodes
    that receive.
    """

    where: slice
    receiver: torch.Tensor
    sender: torch.Tensor
    target: torch.Tensor
    number: torch.Tensor
    first: int
    last: int
    attribute: torch.Tensor | None
    kind: int

    @property
    def size(self) -> int:
        return self.where.stop - self.where.start


class Edges:
    """All evaluations of messages of a batch, sorted by the receiver.

    An evaluation is of one edge and ``unit`` trajectories. ``factor`` (evaluations, 1), or None where
    all are 1, and ``row_factor`` (rows, 1), or None: their product is the factor of a message, without
    learned weights. ``total`` (S,): sum of the factors of the messages to each column. ``empty``
    (rows, 1): whether no edge comes in. ``edge`` (evaluations,): number of the edge in the training
    graphs.
    """

    def __init__(self, columns: Columns, spec: ModelSpec, like: torch.Tensor) -> None:
        self.unit = unit = int(np.gcd.reduce(columns.width))
        self.rows = columns.total // unit
        self.largest = spec.aggregation == "max"
        weight = columns.edge_weight(spec.aggregation, spec.divisor)
        receivers: list[Ints] = []
        senders: list[Ints] = []
        numbers: list[Ints] = []
        for (_, width, offset, _), edges in zip(columns.blocks(), columns.block_edges()):
            part = np.arange(width // unit)
            for ends, rows in ((columns.receiver, receivers), (columns.sender, senders)):
                rows.append(((offset + ends[edges, None] * width) // unit + part).ravel())
            numbers.append(np.repeat(np.arange(edges.start, edges.stop), len(part)))
        receiver, sender, number = (np.concatenate(a) for a in (receivers, senders, numbers))
        if columns.node_type is not None:
            # Rows in the order of the types of their nodes: see `..run.in_order`.
            place = columns.place_by_type[::unit] // unit
            receiver, sender = place[receiver], place[sender]
        target, sign = receiver, np.ones(len(receiver))
        if spec.antisymmetric:
            # e(k, j) - e(j, k): the same edge once more, its ends exchanged.
            target, sign = np.tile(target, 2), np.repeat([1.0, -1.0], len(number))
            receiver, sender = (
                np.concatenate([receiver, sender]),
                np.concatenate([sender, receiver]),
            )
            number = np.tile(number, 2)
        # Stable: of equal messages the first edge is the largest, whatever the width of the blocks.
        order = np.argsort(target, kind="stable")
        receiver, sender, target = receiver[order], sender[order], target[order]
        number, sign = number[order], sign[order]

        def tensor(values: Any) -> torch.Tensor:
            return torch.as_tensor(values, dtype=like.dtype, device=like.device)

        self.factor: torch.Tensor | None = tensor(weight[number] * sign).unsqueeze(1)
        self.row_factor: torch.Tensor | None = None
        total = np.bincount(target, weight[number] * sign, self.rows)
        self.total = tensor(total).repeat_interleave(unit)
        self.empty = torch.as_tensor(np.bincount(target, minlength=self.rows) == 0).unsqueeze(1)
        self.empty = self.empty.to(like.device)
        if columns.weight is None and not spec.learned_edges and not spec.antisymmetric:
            # All messages to a node have one factor: multiplying their sum is cheaper.
            per_row = np.zeros(self.rows)
            per_row[target] = weight[number]
            self.factor = None
            self.row_factor = None if self.largest else tensor(per_row).unsqueeze(1)
        self.edge: torch.Tensor | None = None
        if spec.learned_edges:
            assert columns.edge is not None
            self.edge = torch.as_tensor(columns.edge[number], device=like.device)
        attribute = None
        if spec.edge_attributes:
            assert columns.attribute is not None
            attribute = tensor(columns.attribute[number])
        of_receiver, of_sender, of_target = (
            torch.as_tensor(a, device=like.device) for a in (receiver, sender, target)
        )
        positions = torch.arange(len(number), dtype=torch.int32, device=like.device).unsqueeze(1)
        self.count = len(number)
        features = spec.hidden if spec.pairwise else spec.message
        # Three arrays of this size are in use at a time.
        bytes_each = 3 * unit * features * like.element_size()
        limit = SCRATCH_BYTES
        if like.is_cuda:
            limit = torch.cuda.get_device_properties(like.device).total_memory // 64
        self.chunk_size = int(min(max(1, limit // bytes_each), max(1, self.count)))
        self.chunks = []
        kinds = max(1, len(spec.node_types))
        bounds = np.array([0, self.count])
        if columns.node_type is not None:  # a chunk has one type of nodes that receive
            bounds = np.searchsorted(target, columns.type_offsets(kinds) // unit)
        starts = [
            (kind, start, int(stop))
            for kind, (first, stop) in enumerate(pairwise(bounds))
            for start in range(int(first), int(stop), self.chunk_size)
        ]
        for kind, start, stop in starts:
            where = slice(start, min(start + self.chunk_size, stop))
            self.chunks.append(
                Chunk(
                    where, of_receiver[where], of_sender[where], of_target[where], positions[where],
                    int(target[where][0]), int(target[where][-1]) + 1,
                    None if attribute is None else attribute[where], kind,
                )
            )  # fmt: skip


class EdgeWeights:
    """The factors of messages under one set of weights, and the gradient of the learned ones.

    ``factor`` and ``total`` as in `Edges`, with the learned weights. ``bar`` (evaluations,), or None
    where none are learned: gradient with respect to ``factor``, summed over all stages.
    """

    def __init__(self, edges: Edges, log_weight: torch.Tensor | None, like: torch.Tensor) -> None:
        self.edges, self.factor, self.total = edges, edges.factor, edges.total
        self.bar: torch.Tensor | None = None
        if log_weight is not None:
            assert edges.edge is not None and self.factor is not None
            self.factor = self.factor * torch.exp(log_weight)[edges.edge].unsqueeze(1)
            self.bar = like.new_zeros(edges.count)
            total = like.new_zeros(edges.rows, 1)
            for chunk in edges.chunks:
                total.index_add_(0, chunk.target, self.factor[chunk.where])
            self.total = total.expand(-1, edges.unit).reshape(-1)

    def multiply(self, chunk: Chunk, values: torch.Tensor) -> None:
        """Multiply the messages (evaluations, unit * feature) of a chunk, or their cotangents."""
        if self.factor is not None:
            values.mul_(self.factor[chunk.where])

    def add_gradient(self, log_weight_bar: torch.Tensor) -> None:
        """Add the gradient with respect to the logarithms of the learned weights."""
        if self.bar is not None:
            assert self.factor is not None and self.edges.edge is not None
            log_weight_bar.index_add_(0, self.edges.edge, self.bar * self.factor.squeeze(1))


_NONE = 2**31 - 1  # the edge that is the largest where there is none


class Aggregate:
    """The sum or maximum over incoming edges of messages that are computed chunk by chunk.

    ``values`` (rows, unit * p): what the rows receive; ``winner``, of the same shape: number of the
    evaluation that is the maximum, the first of equal ones. The factors of a sum are those of the edges:
    it is used for learned weights only, with which the rows have none (`Edges`).
    """

    weights: EdgeWeights

    def __init__(self, edges: Edges, like: torch.Tensor, message: int) -> None:
        self.edges = edges
        self.values = like.new_empty(self.edges.rows, self.edges.unit * message)
        self.bar = torch.empty_like(self.values)
        self.message = message

    def begin(self, winner: torch.Tensor | None) -> None:
        """``winner``: the buffer that keeps the edges of the maximum until `back`."""
        self.values.fill_(-torch.inf if self.edges.largest else 0.0)
        if self.edges.largest:
            assert winner is not None
            self.winner = winner.view(self.values.shape).fill_(_NONE)

    def add(self, chunk: Chunk, message: torch.Tensor) -> None:
        """Take the messages (evaluations, unit * p) of a chunk; overwrites them."""
        self.weights.multiply(chunk, message)
        if not self.edges.largest:
            self.values.index_add_(0, chunk.target, message)
            return
        rows = slice(chunk.first, chunk.last)
        values, winner = self.values[rows], self.winner[rows]
        # A row may have edges in several chunks: a later one counts where it is larger.
        before = values.clone()
        row = chunk.target - chunk.first
        index = row.unsqueeze(1).expand_as(message)
        values.scatter_reduce_(0, index, message, "amax")
        winner.masked_fill_(values != before, _NONE)
        number = chunk.number.masked_fill(message != values.index_select(0, row), _NONE)
        winner.scatter_reduce_(0, index, number, "amin")

    def end(self, out: torch.Tensor) -> None:
        """``out`` (p, S) = what the columns receive."""
        if self.edges.largest:
            self.values.masked_fill_(self.edges.empty, 0.0)
        out.copy_(self.values.view(-1, self.message).t())

    def begin_back(self, received_bar: torch.Tensor, winner: torch.Tensor | None) -> None:
        """``received_bar`` (p, S): cotangent of what was received."""
        self.bar.view(-1, self.message).copy_(received_bar.t())
        if self.edges.largest:
            assert winner is not None
            self.winner = winner.view(self.values.shape)

    def back(self, chunk: Chunk, message: torch.Tensor, out: torch.Tensor) -> None:
        """``out`` = cotangent of the messages of a chunk; adds that of the learned weights."""
        torch.index_select(self.bar, 0, chunk.target, out=out)
        if self.edges.largest:
            out.masked_fill_(self.winner.index_select(0, chunk.target) != chunk.number, 0.0)
        if self.weights.bar is not None:
            self.weights.bar[chunk.where].add_((message * out).sum(dim=1))
        self.weights.multiply(chunk, out)


class SentMessages:
    """Messages (p, S) that a node sends to all its neighbours, where a number per edge is needed."""

    def __init__(self, edges: Edges, message: int, like: torch.Tensor) -> None:
        self.edges, self.message = edges, message
        self.aggregate = Aggregate(edges, like, message)
        self.sent = torch.empty_like(self.aggregate.values)
        self.sent_bar = torch.empty_like(self.sent)
        self.of_edges = like.new_empty(2, self.edges.chunk_size, self.edges.unit * message)

    def use(self, weights: EdgeWeights) -> None:
        """Set the weights of the next sweep."""
        self.aggregate.weights = weights

    def receive(self, sent: torch.Tensor, winner: torch.Tensor | None, out: torch.Tensor) -> None:
        """``out`` (p, S) = the messages received when ``sent`` (p, S) are sent."""
        self.sent.view(-1, self.message).copy_(sent.t())
        self.aggregate.begin(winner)
        for chunk in self.edges.chunks:
            message = self.of_edges[0, : chunk.size]
            torch.index_select(self.sent, 0, chunk.sender, out=message)
            self.aggregate.add(chunk, message)
        self.aggregate.end(out)

    def back(
        self,
        received_bar: torch.Tensor,
        sent: torch.Tensor | None,
        winner: torch.Tensor | None,
        out: torch.Tensor,
    ) -> None:
        """``out`` (p, S) = cotangent of ``sent``, which is None where no weights are learned."""
        if sent is not None:
            self.sent.view(-1, self.message).copy_(sent.t())
        self.sent_bar.zero_()
        self.aggregate.begin_back(received_bar, winner)
        for chunk in self.edges.chunks:
            message, bar = self.of_edges[:, : chunk.size]
            if sent is not None:
                torch.index_select(self.sent, 0, chunk.sender, out=message)
            self.aggregate.back(chunk, message, bar)
            self.sent_bar.index_add_(0, chunk.sender, bar)
        out.copy_(self.sent_bar.view(-1, self.message).t())


# As in `neighbours`: training uses the same columns for every batch.
_edges: WeakKeyDictionary[Columns, dict[tuple[Any, ...], Edges]] = WeakKeyDictionary()


def edges_of(columns: Columns, spec: ModelSpec, like: torch.Tensor) -> Edges:
    """The `Edges` of a batch; cached for as long as ``columns`` exists."""
    entries = _edges.setdefault(columns, {})
    features = spec.hidden if spec.pairwise else spec.message
    key = (
        spec.aggregation, spec.divisor, spec.antisymmetric, spec.learned_edges,
        spec.edge_attributes, len(spec.node_types), features, like.dtype, like.device, SCRATCH_BYTES,
    )  # fmt: skip
    if key not in entries:
        entries[key] = Edges(columns, spec, like)
    return entries[key]
