"""The vector field as the equations of `ModelSpec`, in torch operations that autograd differentiates.

`Field` is that of one type of nodes, `TypedField` of several, `OwnField` of a module of the user.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray

from ...own_module import call_module, template_of
from ...spec import ModelSpec
from ...weights import layout_of
from ..columns import Columns
from ..delays import RATE
from ..tableaux import TABLEAUX
from .window import Window, held_factors

Weights = dict[str, torch.Tensor]


def _joined(*parts: torch.Tensor | None) -> torch.Tensor:
    given = [part for part in parts if part is not None]
    return given[0] if len(given) == 1 else torch.cat(given)


class _BlockEdges:
    """The edges of one block: ends (edges,), attributes (attribute, edges, width) and the factor of
    what they carry, (edges, 1), or (edges, width) in one interval of weights that vary in time."""

    def __init__(
        self,
        sender: torch.Tensor,
        receiver: torch.Tensor,
        factor: torch.Tensor,
        attribute: torch.Tensor | None,
        largest: bool,
    ) -> None:
        self.sender, self.receiver = sender, receiver
        self.factor = factor
        self.off: torch.Tensor | None = None  # where weights that vary in time are 0
        self.attribute, self.largest = attribute, largest

    @classmethod
    def of(
        cls,
        columns: Columns,
        block: tuple[int, int, int, int],
        edges: slice,
        spec: ModelSpec,
        weights: Weights,
        like: torch.Tensor,
    ) -> _BlockEdges:
        def tensor(values: NDArray) -> torch.Tensor:
            return torch.as_tensor(values, dtype=like.dtype, device=like.device)

        sender, receiver = (
            torch.as_tensor(ends[edges], device=like.device)
            for ends in (columns.sender, columns.receiver)
        )
        factor = tensor(columns.edge_weight(spec.aggregation, spec.divisor)[edges])
        if spec.learned_edges:
            assert columns.edge is not None
            number = torch.as_tensor(columns.edge[edges], device=like.device)
            factor = factor * torch.exp(weights["edge_log_weight"][number])
        attribute = None
        if spec.edge_attributes:
            assert columns.attribute is not None
            values = tensor(columns.attribute[edges].T.copy())
            attribute = values.unsqueeze(2).expand(-1, -1, block[1])
        return cls(sender, receiver, factor.unsqueeze(1), attribute, spec.aggregation == "max")

    def sums(self, message: torch.Tensor, nodes: int) -> torch.Tensor:
        """(p, node, width): what the nodes receive of ``message`` (p, edge, width)."""
        total = message.new_zeros(message.shape[0], nodes, message.shape[2])
        weighted = message * self.factor
        if not self.largest:
            return total.index_add(1, self.receiver, weighted)
        index = self.receiver.view(1, -1, 1).expand_as(weighted)
        if self.off is not None:
            # An edge that is off does not compete; where all are off nothing is received.
            weighted = weighted.masked_fill(self.off, -math.inf)
            largest = total.scatter_reduce(1, index, weighted, "amax", include_self=False)
            return largest.masked_fill(largest == -math.inf, 0.0)
        # A node without edges keeps zero; the zeros that are there for the others do not compete.
        return total.scatter_reduce(1, index, weighted, "amax", include_self=False)


class Past:
    """States and slopes at the grid times of a window, those before its start included, and the
    delayed states of senders that follow from them."""

    def __init__(self, spec: ModelSpec, weights: Weights, window: Window) -> None:
        assert window.delays is not None
        assert window.history is not None and window.history_slopes is not None
        self.columns = window.columns
        self.states = list(window.history)
        self.slopes = list(window.history_slopes)
        self.dt = float(window.dt[0]) if len(window.dt) else 1.0
        self.delays = delays = window.delays
        self.steps: list[torch.Tensor] | None = None
        if delays.longest:
            logit = weights["delay_logit"]
            self.delays = delays.learned(logit.detach().cpu().numpy())
            self.steps = list(1.0 + (delays.longest - 1.0) * torch.sigmoid(RATE * logit))
        tableau = TABLEAUX[spec.solver]
        self.interval, self.place = self.delays.places(tableau, spec.substeps)
        self.fraction = np.round(tableau.c, 12)
        self.substeps = spec.substeps
        self.evaluations = delays.evaluations

    def of_stage(self, stage: int, now: torch.Tensor) -> list[torch.Tensor]:
        """The states (d, evaluation, width) that each block's senders had, at a stage whose
        state is ``now``; ``stage`` counts through the substeps."""
        out = []
        for (nodes, width, offset, _), first, last in zip(
            self.columns.blocks(), self.evaluations.first[:-1], self.evaluations.first[1:]
        ):
            sender = self.evaluations.sender[first:last]
            number = self.evaluations.delay[first:last]
            found = []
            for delay in np.unique(number):
                values = self._delayed(int(delay), stage, now)
                block = values[:, offset : offset + nodes * width].reshape(-1, nodes, width)
                chosen = torch.as_tensor(sender[number == delay], device=block.device)
                found.append(block[:, chosen])
            out.append(torch.cat(found, dim=1) if found else now.new_zeros(len(now), 0, width))
        return out

    def _delayed(self, delay: int, stage: int, now: torch.Tensor) -> torch.Tensor:
        if self.delays.steps[delay] == 0:
            return now
        interval = int(self.interval[stage, delay])
        left = len(self.states) - 1 + interval
        if self.steps is None:
            s: torch.Tensor | float = float(self.place[stage, delay])
        else:
            # The place as a function of the delay, for its gradient.
            sub, number = divmod(stage, len(self.fraction))
            at = (sub + float(self.fraction[number])) / self.substeps - self.steps[delay]
            s = at - interval
        total = s * s * (3 - 2 * s) * self.states[left + 1]
        total = total + (s * s * (s - 1) * self.dt) * self.slopes[left + 1]
        # At the right end nothing is taken of the left one, which may lie before the history.
        if float(self.place[stage, delay]) < 1.0:
            total = total + (1 + 2 * s) * (1 - s) ** 2 * self.states[left]
            total = total + (s * (1 - s) ** 2 * self.dt) * self.slopes[left]
        return total


class Field:
    """dz/dt of one model on one batch: z (D, S) to (D, S). ``weights`` are named (out, in) tensors."""

    def __init__(self, spec: ModelSpec, weights: Weights, window: Window) -> None:
        self.spec = spec
        self.weights = weights
        self.columns = window.columns
        self.attribute = window.attribute
        like = window.initial
        self.edges = [
            _BlockEdges.of(window.columns, block, edges, spec, self.weights, like)
            for block, edges in zip(window.columns.blocks(), window.columns.block_edges())
        ]
        # A dense product is faster than a sum over edges on the graphs that this kernel is used for.
        dense = not (spec.pairwise or spec.learned_edges or spec.aggregation == "max")
        dense = dense and window.edge_weight is None and window.delays is None
        self.delays: Any = window.delays
        self.edge_weight = None
        if window.edge_weight is not None:
            self.edge_weight = held_factors(window, spec.aggregation, spec.divisor)
        self.hold(0)
        self.matrices = [
            torch.as_tensor(m, dtype=like.dtype, device=like.device)
            for m in (window.columns.matrices(spec.aggregation, spec.divisor) if dense else [])
        ]

    def hold(self, interval: int) -> None:
        """Take the factors of the edges that hold in ``interval``, where they vary in time."""
        for edges, weight in zip(self.edges, self.edge_weight or ()):
            if len(weight):  # a window without intervals has none
                edges.factor = weight[interval]
                edges.off = edges.factor == 0

    def linear(self, name: str, values: torch.Tensor) -> torch.Tensor:
        bias = self.weights[f"{name}bias"]
        return torch.addmm(bias.unsqueeze(1), self.weights[f"{name}weight"], values)

    def mlp(self, values: torch.Tensor) -> torch.Tensor:
        for number in range(1, self.spec.depth + 1):
            values = torch.tanh(self.linear(f"layer_{number}_", values))
        return self.linear(f"layer_{self.spec.depth + 1}_", values)

    def inputs_of(self, x: torch.Tensor, channels: Iterable[int]) -> torch.Tensor:
        """Rows of x as inputs: of channels that are angles the sine and the cosine, after the others."""
        channels = list(channels)
        angles = [c for c in channels if c in self.spec.circular]
        if not angles:
            # Without an index where all rows are taken: an index copies.
            return x if channels == list(range(x.shape[0])) else x[channels]
        plain = [c for c in channels if c not in self.spec.circular]
        return torch.cat([x[plain], torch.sin(x[angles]), torch.cos(x[angles])])

    def without(self, x: torch.Tensor, left_out: tuple[int, ...]) -> torch.Tensor:
        return self.inputs_of(x, (c for c in range(x.shape[0]) if c not in left_out))

    def first_inputs(self, x: torch.Tensor) -> torch.Tensor:
        """[x; b], the inputs of the first message."""
        return _joined(self.without(x, ()), self.attribute)

    def sender_inputs(self, x: torch.Tensor, u: torch.Tensor | None) -> torch.Tensor:
        """[x; u; b], what the sender brings into its message."""
        spec = self.spec
        control = u if spec.pairwise or spec.sender_controls else None
        return _joined(self.without(x, spec.not_sent), control, self.attribute)

    def receiver_inputs(self, x: torch.Tensor) -> torch.Tensor:
        """[x; b], what the receiver brings into a message of a pair."""
        return _joined(self.without(x, self.spec.relative), self.attribute)

    def node_inputs(self, x: torch.Tensor, u: torch.Tensor | None) -> torch.Tensor:
        """[x; u; b], the inputs of a node without its messages."""
        return _joined(self.without(x, self.spec.invariant), u, self.attribute)

    def _sender_attribute(self, number: int, sender: NDArray) -> torch.Tensor | None:
        """Attributes (attribute, evaluation, width) of the senders of the evaluations of a block."""
        if self.attribute is None:
            return None
        nodes, width, offset, _ = self.columns.blocks()[number]
        block = self.attribute[:, offset : offset + nodes * width].reshape(-1, nodes, width)
        return block[:, torch.as_tensor(sender, device=block.device)]

    def delayed_messages(self, x: torch.Tensor, past: list[torch.Tensor]) -> torch.Tensor:
        """What each column receives of messages of the states ``past`` that the senders had."""
        spec, received = self.spec, []
        of_receiver = self.receiver_inputs(x) if spec.pairwise else None
        for number, ((nodes, width, offset, _), edges) in enumerate(
            zip(self.columns.blocks(), self.edges)
        ):
            first, last = self.delays.evaluations.first[number : number + 2]
            sender = self.delays.evaluations.sender[first:last]
            inputs = _joined(
                self.without(past[number], spec.relative), self._sender_attribute(number, sender)
            )
            of_edge = torch.as_tensor(
                self.delays.evaluations.of_edge[self.columns.block_edges()[number]],
                device=x.device,
            )
            if not spec.pairwise:
                hidden = torch.tanh(self.linear("emit_layer_1_", inputs.flatten(1)))
                message = self.linear("emit_layer_2_", hidden).unflatten(1, inputs.shape[1:])
                message = message[:, of_edge]
            else:
                assert of_receiver is not None
                ends = [
                    values[:, offset : offset + nodes * width].reshape(-1, nodes, width)
                    for values in (x, of_receiver)
                ]
                message = self.pair_message(
                    (ends[0][:, edges.receiver], past[number][:, of_edge]),
                    (ends[1][:, edges.receiver], inputs[:, of_edge]),
                    edges,
                )
            received.append(edges.sums(message, nodes).reshape(len(message), -1))
        return torch.cat(received, dim=1)

    def aggregate(self, messages: torch.Tensor) -> torch.Tensor:
        """Messages received by each column, of ``messages`` (p, S) sent."""
        received = []
        for number, (nodes, width, offset, _) in enumerate(self.columns.blocks()):
            block = messages[:, offset : offset + nodes * width].reshape(-1, nodes, width)
            if self.matrices:
                total = torch.matmul(self.matrices[number], block)
            else:
                edges = self.edges[number]
                total = edges.sums(block[:, edges.sender], nodes)
            received.append(total.reshape(messages.shape[0], -1))
        return received[0] if len(received) == 1 else torch.cat(received, dim=1)

    def pair_messages(self, x: torch.Tensor, u: torch.Tensor | None) -> torch.Tensor:
        """What each column receives of the messages e of pairs."""
        of_receiver, of_sender = self.receiver_inputs(x), self.sender_inputs(x, u)
        received = []
        for (nodes, width, offset, _), edges in zip(self.columns.blocks(), self.edges):
            ends = [
                values[:, offset : offset + nodes * width].reshape(-1, nodes, width)
                for values in (x, of_receiver, of_sender)
            ]
            into, out = edges.receiver, edges.sender
            state, first, second = ends
            message = self.pair_message(
                (state[:, into], state[:, out]), (first[:, into], second[:, out]), edges
            )
            if self.spec.antisymmetric:
                message = message - self.pair_message(
                    (state[:, out], state[:, into]), (first[:, out], second[:, into]), edges
                )
            received.append(edges.sums(message, nodes).reshape(len(message), -1))
        return torch.cat(received, dim=1)

    def pair_message(
        self,
        states: tuple[torch.Tensor, torch.Tensor],
        inputs_of_ends: tuple[torch.Tensor, torch.Tensor],
        edges: _BlockEdges,
    ) -> torch.Tensor:
        """e (p, edge, width) of pairs of nodes; ``states`` and ``inputs_of_ends``: x and the inputs of
        the receivers and of the senders, (row, edge, width) of one block."""
        inputs = _joined(
            *inputs_of_ends,
            self.inputs_of(states[1] - states[0], self.spec.relative),
            edges.attribute,
        )
        hidden = torch.tanh(self.linear("pair_layer_1_", inputs.flatten(1)))
        hidden = torch.tanh(self.linear("pair_layer_2_", hidden))
        message = self.linear("pair_layer_3_", hidden)
        return message.unflatten(1, inputs.shape[1:])

    def initial_state(self, x: torch.Tensor) -> torch.Tensor:
        """z(0) = [x(0); m(0)]."""
        spec = self.spec
        if not spec.carried:
            return x
        if spec.first_message == "zero":
            message = x.new_zeros(spec.message, x.shape[1])
        elif spec.first_message == "linear":
            message = self.linear("first_", self.first_inputs(x))
        else:
            hidden = torch.tanh(self.linear("first_layer_1_", self.first_inputs(x)))
            message = self.linear("first_layer_2_", hidden)
        return torch.cat([x, message])

    def __call__(
        self, z: torch.Tensor, u: torch.Tensor | None, past: list[torch.Tensor] | None = None
    ) -> torch.Tensor:
        """``past``: the states that the senders had (see `Past.of_stage`), where messages are delayed."""
        spec = self.spec
        x, m = z[: spec.channels], z[spec.channels :]
        if spec.family == "l2s":
            return self._l2s(self.node_inputs(x, u))
        if past is not None:
            received = self.delayed_messages(x, past)
        elif spec.messages == "emitted":
            hidden = torch.tanh(self.linear("emit_layer_1_", self.sender_inputs(x, u)))
            received = self.aggregate(self.linear("emit_layer_2_", hidden))
        elif spec.messages == "pairwise":
            received = self.pair_messages(x, u)
        elif spec.messages == "state":
            received = self.aggregate(m)
        elif spec.messages == "self":
            received = m
        else:
            received = z.new_zeros(spec.message, z.shape[1])
        inputs = self.node_inputs(x, u)
        if spec.coupling == "mixed":
            inputs = torch.cat([inputs, received])
        out = self.mlp(inputs)
        if spec.gain:
            gain = out[spec.states :].reshape(spec.states, spec.message, -1)
            out = out[: spec.states] + (gain * received).sum(dim=1)
        elif spec.coupling == "superposed":
            out = out + received
        return out + self.weights["linear_weight"] @ inputs if spec.linear else out

    def _l2s(self, inputs: torch.Tensor) -> torch.Tensor:
        code = torch.tanh(self.linear("encoder_", inputs))
        h = code
        for _ in range(self.spec.depth):
            sent = torch.tanh(self.linear("message_", h))
            h = torch.tanh(self.linear("update_", self.aggregate(sent))) + h
        return self.linear("decoder_", h + code)


class TypedField(Field):
    """`Field` of a model with several types of nodes, each with networks and widths of its own."""

    def __init__(self, spec: ModelSpec, weights: Weights, window: Window) -> None:
        super().__init__(spec, weights, window)
        kinds = window.columns.column_type
        device = window.initial.device
        self.kinds = [spec.of_type(number) for number in range(len(spec.node_types))]
        self.of_kind = [
            torch.as_tensor(np.flatnonzero(kinds == number), device=device)
            for number in range(len(self.kinds))
        ]
        # The edges of every block by the type of their receiver.
        self.edges_of_kind = []
        for (_, _, _, row), edges in zip(self.columns.blocks(), self.columns.block_edges()):
            assert self.columns.node_type is not None
            receiver = self.columns.node_type[row + self.columns.receiver[edges]]
            self.edges_of_kind.append(
                [
                    torch.as_tensor(np.flatnonzero(receiver == number), device=device)
                    for number in range(len(self.kinds))
                ]
            )

    def by_type(
        self, network: Callable[..., torch.Tensor], rows: int, *values: Any
    ) -> torch.Tensor:
        """(rows, S): ``network(name, its specification, values...)`` of the columns of each type.

        ``values`` (any, S) or None. Rows beyond those that a network returns are zero."""
        like = next(value for value in values if value is not None)
        out = like.new_zeros(rows, self.columns.total)
        for name, kind, columns in zip(self.spec.node_types, self.kinds, self.of_kind):
            chosen = [None if value is None else value[:, columns] for value in values]
            result = _rows(network(f"{name}/", kind, *chosen), rows)
            out = out.index_copy(1, columns, result)
        return out

    def initial_state(self, x: torch.Tensor) -> torch.Tensor:
        spec = self.spec
        if not spec.carried:
            return x
        if spec.first_message == "zero":
            return torch.cat([x, x.new_zeros(spec.message, x.shape[1])])

        def first(name: str, kind: ModelSpec, x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            inputs = _typed_inputs(kind, x, None, b)
            if spec.first_message == "linear":
                return self.linear(f"{name}first_", inputs)
            hidden = torch.tanh(self.linear(f"{name}first_layer_1_", inputs))
            return self.linear(f"{name}first_layer_2_", hidden)

        return torch.cat([x, self.by_type(first, spec.message, x, self.attribute)])

    def pair_messages(self, x: torch.Tensor, u: torch.Tensor | None) -> torch.Tensor:
        spec = self.spec

        def receiver(name: str, kind: ModelSpec, x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            weight = self.weights[f"{name}pair_layer_1_weight"][:, : kind.receiver_inputs]
            bias = self.weights[f"{name}pair_layer_1_bias"].unsqueeze(1)
            return torch.addmm(bias, weight, _typed_inputs(kind, x, None, b))

        def sender(name: str, kind: ModelSpec, x: Any, u: Any, b: Any) -> torch.Tensor:
            return self.weights[f"{name}pair_sender_weight"] @ _typed_inputs(kind, x, u, b)

        ends = [
            self.by_type(receiver, spec.hidden, x, self.attribute),
            self.by_type(sender, spec.hidden, x, u, self.attribute),
        ]
        received = []
        for (nodes, width, offset, _), edges, of_kind in zip(
            self.columns.blocks(), self.edges, self.edges_of_kind
        ):
            at, to = (
                end[:, offset : offset + nodes * width].reshape(-1, nodes, width) for end in ends
            )
            message = x.new_zeros(spec.message, len(edges.sender), width)
            for name, kind, chosen in zip(spec.node_types, self.kinds, of_kind):
                hidden = at[:, edges.receiver[chosen]] + to[:, edges.sender[chosen]]
                hidden = hidden.flatten(1)
                if edges.attribute is not None:
                    weight = self.weights[f"{name}/pair_layer_1_weight"][:, kind.receiver_inputs :]
                    hidden = hidden + weight @ edges.attribute[:, chosen].flatten(1)
                hidden = torch.tanh(self.linear(f"{name}/pair_layer_2_", torch.tanh(hidden)))
                values = _rows(self.linear(f"{name}/pair_layer_3_", hidden), spec.message)
                message = message.index_copy(1, chosen, values.unflatten(1, (len(chosen), width)))
            received.append(edges.sums(message, nodes).reshape(spec.message, -1))
        return torch.cat(received, dim=1)

    def __call__(
        self, z: torch.Tensor, u: torch.Tensor | None, past: list[torch.Tensor] | None = None
    ) -> torch.Tensor:
        """``past`` is None: `ModelSpec` has no delays for several types."""
        spec = self.spec
        x, m = z[: spec.channels], z[spec.channels :]

        def emit(name: str, kind: ModelSpec, x: Any, u: Any, b: Any) -> torch.Tensor:
            inputs = _typed_inputs(kind, x, u if spec.sender_controls else None, b)
            hidden = torch.tanh(self.linear(f"{name}emit_layer_1_", inputs))
            return self.linear(f"{name}emit_layer_2_", hidden)

        def slope(name: str, kind: ModelSpec, x: Any, u: Any, b: Any, a: Any) -> torch.Tensor:
            inputs = _typed_inputs(kind, x, u, b)
            if spec.coupling == "mixed":
                inputs = torch.cat([inputs, a])
            out = self.mlp_of(name, inputs)
            if kind.gain:
                gain = out[kind.states :].reshape(kind.states, kind.message, -1)
                out = out[: kind.states] + (gain * a).sum(dim=1)
            if spec.linear:
                out = out + self.weights[f"{name}linear_weight"] @ inputs
            # Messages that are states of the node stand behind the channels of the largest type.
            own = _rows(out[: kind.channels], spec.channels)
            return torch.cat([own, out[kind.channels :]])

        if spec.messages == "emitted":
            received = self.aggregate(self.by_type(emit, spec.message, x, u, self.attribute))
        elif spec.messages == "pairwise":
            received = self.pair_messages(x, u)
        elif spec.messages == "state":
            received = self.aggregate(m)
        elif spec.messages == "self":
            received = m
        else:
            received = z.new_zeros(spec.message, z.shape[1])
        out = self.by_type(slope, spec.states, x, u, self.attribute, received)
        added = spec.pairwise and spec.coupling == "superposed"
        return out + received if added else out

    def mlp_of(self, name: str, values: torch.Tensor) -> torch.Tensor:
        for number in range(1, self.spec.depth + 1):
            values = torch.tanh(self.linear(f"{name}layer_{number}_", values))
        return self.linear(f"{name}layer_{self.spec.depth + 1}_", values)


def _typed_inputs(
    kind: ModelSpec, x: torch.Tensor, u: torch.Tensor | None, b: torch.Tensor | None
) -> torch.Tensor:
    """[x; u; b] of columns of one type, without what the type does not have."""
    return _joined(
        x[: kind.channels],
        None if u is None else u[: kind.controls],
        None if b is None else b[: kind.attributes],
    )


def _rows(values: torch.Tensor, rows: int) -> torch.Tensor:
    """``values`` with rows of zeros below, ``rows`` in all."""
    return torch.nn.functional.pad(values, (0, 0, 0, rows - len(values)))


class OwnField:
    """`Field` of a module of the user, which takes the nodes of all trajectories as nodes of one graph:
    node number = column."""

    def __init__(self, spec: ModelSpec, weights: Weights, window: Window) -> None:
        self.weights = weights
        like = window.initial
        self.module = _own_module(spec, like.dtype, like.device)
        self.given: dict[str, torch.Tensor | None] = {}
        if window.attribute is not None:
            self.given["node_attribute"] = window.attribute.T
        columns = window.columns
        self.edge_index, attribute, weight = _edges_of_columns(columns, like)
        self.given["edge_attribute"] = attribute
        self.given["edge_weight"] = weight
        self.edge_weight = None
        if window.edge_weight is not None:
            blocks = [block.flatten(1) for block in window.edge_weight]
            self.edge_weight = torch.cat(blocks, dim=1)
        self.hold(0)

    def hold(self, interval: int) -> None:
        """See `Field`."""
        if self.edge_weight is not None and len(self.edge_weight):
            self.given["edge_weight"] = self.edge_weight[interval]

    def initial_state(self, x: torch.Tensor) -> torch.Tensor:
        """z(0) = x(0)."""
        return x

    def __call__(
        self, z: torch.Tensor, u: torch.Tensor | None, past: list[torch.Tensor] | None = None
    ) -> torch.Tensor:
        """``past`` is None: modules of the user have no delays."""
        given = self.given | {"control": None if u is None else u.T}
        return call_module(self.module, self.weights, z.T, self.edge_index, given).T


_own: dict[Any, tuple[torch.nn.Module, torch.nn.Module]] = {}
_edges: WeakKeyDictionary[Columns, tuple[Any, ...]] = WeakKeyDictionary()


def _own_module(spec: ModelSpec, dtype: torch.dtype, device: torch.device) -> torch.nn.Module:
    """A copy of the module of ``spec`` on a device; kept as long as the registered one is the same."""
    template = template_of(spec)
    key = (spec.module, spec.module_arguments, dtype, str(device))
    if key not in _own or _own[key][0] is not template:
        if len(_own) > 16:
            _own.clear()
        _own[key] = (template, copy.deepcopy(template).to(device=device, dtype=dtype))
    return _own[key][1]


def _edges_of_columns(
    columns: Columns, like: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
    """Edges (2, edge) between columns, their attributes (edge, attribute) and weights (edge,)."""
    key = (like.dtype, str(like.device))
    if columns in _edges and _edges[columns][0] == key:
        return _edges[columns][1]
    ends, numbers = [], []
    for (_, width, offset, _), edges in zip(columns.blocks(), columns.block_edges()):
        pair = np.stack([columns.sender[edges], columns.receiver[edges]])
        pair = offset + pair[:, :, None] * width + np.arange(width)
        ends.append(pair.reshape(2, -1))
        numbers.append(np.repeat(np.arange(edges.start, edges.stop), width))
    number = np.concatenate(numbers)

    def tensor(values: NDArray | None) -> torch.Tensor | None:
        if values is None:
            return None
        return torch.as_tensor(values[number], dtype=like.dtype, device=like.device)

    index = torch.as_tensor(np.concatenate(ends, axis=1), device=like.device)
    found = (index, tensor(columns.attribute), tensor(columns.weight))
    _edges[columns] = (key, found)
    return found


def field_of(spec: ModelSpec, theta: torch.Tensor, window: Window) -> Any:
    """The field of a model with the weights ``theta`` (size,): a `Field`, `TypedField` or `OwnField`."""
    kind: Any = TypedField if spec.node_types else Field
    if spec.family == "own":
        kind = OwnField
    return kind(spec, layout_of(spec).unpack(theta), window)
