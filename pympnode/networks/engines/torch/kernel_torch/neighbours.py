"""Messages received by each node: weighted sums over the senders, and their transpose."""

from __future__ import annotations

from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from ...columns import Columns

_DENSE_BLOCKS = 8  # more products than this cost more than a sum over edges
_DENSE_WORK = 16  # multiplications per edge up to which a dense product is faster


class Neighbours:
    """Sums of messages (p, S) over senders: dense products block by block, or a sum over edges.

    A dense product does more arithmetic, but reads memory in order: faster on small graphs.
    """

    def __init__(
        self, columns: Columns, aggregation: str, divisor: float, like: torch.Tensor
    ) -> None:
        self.blocks = columns.blocks()
        dense_work = sum(n * n for n, *_ in self.blocks)
        edges = max(1, len(columns.sender))
        # With several types of nodes the columns stand in the order of the types: see `..run.in_order`.
        place = None if columns.node_type is None else columns.place_by_type
        moved = place is not None and len(self.blocks) > 1
        # 256 x 256 numbers stay in a core's cache, whatever the density of the graph.
        self.dense = (not moved and len(self.blocks) <= _DENSE_BLOCKS) and (
            dense_work <= 256 * 256 or dense_work <= _DENSE_WORK * edges
        )
        if self.dense:
            matrices = columns.matrices(aggregation, divisor)
            self.matrices = [
                torch.as_tensor(m, dtype=like.dtype, device=like.device) for m in matrices
            ]
            self.transposed = [m.t().contiguous() for m in self.matrices]
            return
        weight = columns.edge_weight(aggregation, divisor)
        receiver = np.repeat(np.arange(len(columns.degree)), columns.degree)
        senders, receivers, weights = [], [], []
        for nodes, width, offset, row in self.blocks:
            edge = slice(columns.pointer[row], columns.pointer[row + nodes])
            lane = np.arange(width)
            senders.append((offset + columns.sender[edge, None] * width + lane).ravel())
            receivers.append((offset + (receiver[edge, None] - row) * width + lane).ravel())
            weights.append(np.repeat(weight[edge], width))
        ends = np.concatenate(senders), np.concatenate(receivers)
        if place is not None:
            ends = place[ends[0]], place[ends[1]]
        self.sender, self.receiver = (torch.as_tensor(end, device=like.device) for end in ends)
        self.weight = torch.as_tensor(np.concatenate(weights), dtype=like.dtype).to(like.device)

    def receive(self, sent: torch.Tensor, out: torch.Tensor) -> None:
        """``out`` (p, S) = the messages received when ``sent`` (p, S) are sent."""
        if self.dense:
            self._products(self.matrices, sent, out)
        else:
            self._edges(self.sender, self.receiver, sent, out)

    def back(self, received: torch.Tensor, out: torch.Tensor) -> None:
        """The transpose of `receive`."""
        if self.dense:
            self._products(self.transposed, received, out)
        else:
            self._edges(self.receiver, self.sender, received, out)

    def _products(
        self, matrices: list[torch.Tensor], values: torch.Tensor, out: torch.Tensor
    ) -> None:
        p = values.shape[0]
        for (nodes, width, offset, _), matrix in zip(self.blocks, matrices):
            columns = slice(offset, offset + nodes * width)
            # `expand` repeats the matrix without memory: one call for all p components.
            torch.bmm(
                matrix.expand(p, nodes, nodes),
                values[:, columns].unflatten(1, (nodes, width)),
                out=out[:, columns].unflatten(1, (nodes, width)),
            )

    def _edges(
        self, source: torch.Tensor, target: torch.Tensor, values: torch.Tensor, out: torch.Tensor
    ) -> None:
        out.zero_()
        # On CUDA the additions are atomic and in no fixed order: equal runs differ by rounding there.
        out.index_add_(1, target, values.index_select(1, source).mul_(self.weight))


# Training uses the same columns for every batch; an entry is freed with its columns.
_neighbours: WeakKeyDictionary[Columns, dict[tuple[Any, ...], Neighbours]] = WeakKeyDictionary()


def neighbours_of(
    columns: Columns, aggregation: str, divisor: float, like: torch.Tensor
) -> Neighbours:
    """The `Neighbours` of a batch; cached for as long as ``columns`` exists."""
    entries = _neighbours.setdefault(columns, {})
    key = (aggregation, divisor, like.dtype, like.device)
    if key not in entries:
        entries[key] = Neighbours(columns, aggregation, divisor, like)
    return entries[key]
