"""The vector field on preallocated buffers, and its adjoint.

A slot holds what the adjoint of one evaluation needs. Every matrix that enters a product has a last
row of ones, so that the product adds the biases.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ....spec import ModelSpec
from ...columns import Columns
from .edges import EdgeWeights, SentMessages, edges_of
from .halo import Halo
from .kinds import Kinds
from .logistic import Linear, Network
from .neighbours import neighbours_of
from .pairs import PairMessages


def by_edges(spec: ModelSpec) -> bool:
    """Whether messages need a number for each edge."""
    if spec.messages in ("state", "emitted"):
        return bool(spec.learned_edges) or spec.aggregation == "max"
    return spec.pairwise


class Slots:
    """Buffers of ``count`` evaluations on S ``columns``, with views into each made once.

    Lists that networks read have one entry for each type of nodes at each evaluation.
    """

    def __init__(
        self, spec: ModelSpec, count: int, columns: int, kinds: Kinds, like: torch.Tensor
    ) -> None:
        def rows(number: int, ones: bool = True, columns: int = columns) -> torch.Tensor:
            block = like.new_zeros(count, number + ones, columns)
            if ones:
                block[:, -1] = 1
            return block

        self.inputs = rows(spec.inputs)
        hidden = [[rows(spec.hidden, columns=n) for _ in range(spec.depth)] for n in kinds.sizes()]
        # Views are made once: making one costs about as much as a small product.
        self.channels = [block[: spec.channels] for block in self.inputs]
        self.mlp_inputs = [kinds.parts(block) for block in self.inputs]
        self.hidden = [
            [[layer[slot] for layer in layers] for layers in hidden] for slot in range(count)
        ]
        if spec.gain:
            self.output = list(rows(spec.outputs, ones=False))
            self.output_parts = [kinds.parts(block) for block in self.output]
        if spec.coupling == "mixed":
            self.received = [block[spec.own_inputs : -1] for block in self.inputs]
        elif spec.gain:
            self.received = list(rows(spec.message, ones=False))
        else:
            # Messages that are added to the slope as they are: the adjoint does not need them.
            self.received = [like.new_zeros(spec.message, columns)] * count
        if spec.messages == "emitted":
            self.emitter_inputs = list(rows(spec.sender_inputs))
            self.emitter_parts = [kinds.parts(block) for block in self.emitter_inputs]
            emitter_hidden = [rows(spec.hidden, columns=n) for n in kinds.sizes()]
            self.emitter_hidden = [
                [[layer[slot]] for layer in emitter_hidden] for slot in range(count)
            ]
        # What `edges` needs: the edges of the maximum, and the messages sent along learned weights.
        self.winner: list[torch.Tensor | None] = [None] * count
        self.sent: list[torch.Tensor | None] = [None] * count
        largest = by_edges(spec) and spec.aggregation == "max"
        if largest:
            shape = (count, columns, spec.message)
            winner = torch.empty(shape, dtype=torch.int32, device=like.device)
            self.winner = list(winner)
        if spec.pairwise:
            self.own = [block[: spec.own_inputs] for block in self.inputs]
            # What `pairs` needs: the same edges, or the sums of the second layer.
            sums = winner if largest else like.new_empty(count, columns, spec.hidden)
            self.of_pairs = list(sums)
        elif spec.learned_edges:
            self.sent = list(rows(spec.message, ones=False))


class Field:
    """dz/dt and its adjoint for one specification, the networks of its types and a set of graphs.

    ``scratch`` buffers are shared by all slots.
    """

    pairs: PairMessages | None = None
    along: SentMessages | None = None
    weights: EdgeWeights | None = None
    attribute_bar: torch.Tensor | None = None
    halo: Halo | None = None

    def __init__(self, spec: ModelSpec, columns: int, kinds: Kinds, like: torch.Tensor) -> None:
        self.spec, self.kinds = spec, kinds
        new = like.new_empty
        self.hidden_bar = [[new(spec.hidden, n) for _ in range(spec.depth)] for n in kinds.sizes()]
        self.inputs_bar = new(spec.inputs, columns)
        self.inputs_bar_parts = kinds.parts(self.inputs_bar)
        self.message = new(2, spec.message, columns)
        self.message_parts = kinds.parts(self.message[0])
        self.like = like.new_empty(0)
        if spec.gain:
            self.output_bar = new(spec.outputs, columns)
            self.product = new(spec.states, columns)
        if spec.messages == "emitted":
            self.emitter_inputs_bar = new(spec.sender_inputs, columns)
            self.emitter_inputs_bar_parts = kinds.parts(self.emitter_inputs_bar)
        if spec.pairwise:
            self.pair_inputs_bar = new(spec.own_inputs, columns)

    def use(self, networks: list[Network], columns: Columns) -> None:
        """Set the weights and graphs of the next sweep."""
        spec, self.networks = self.spec, networks
        self.mlp = [networks[kind].mlp for kind, _ in self.kinds]
        self.emit = [networks[kind].emit for kind, _ in self.kinds]
        self.linear = [layer for kind, _ in self.kinds for layer in networks[kind].linear]
        if not by_edges(spec):
            if spec.messages in ("state", "emitted"):
                self.neighbours = neighbours_of(columns, spec.aggregation, spec.divisor, self.like)
            return
        edges = edges_of(columns, spec, self.like)
        self.weights = EdgeWeights(edges, networks[0].log_weight, self.like)
        # Training on one graph uses the same edges, and thereby the same buffers, every time.
        if spec.pairwise:
            if self.pairs is None or self.pairs.edges is not edges:
                self.pairs = None
                self.pairs = PairMessages(spec, edges, self.kinds, self.like)
            self.pairs.use(networks, self.weights)
        else:
            if self.along is None or self.along.edges is not edges:
                self.along = None
                self.along = SentMessages(edges, spec.message, self.like)
            self.along.use(self.weights)

    def _receive(self, sent: torch.Tensor, slots: Slots, slot: int) -> None:
        """Messages (p, S) that are sent become those that are received; fills the halo of ``sent``."""
        if self.halo is not None:
            self.halo.fill(sent)
        if self.along is None:
            self.neighbours.receive(sent, slots.received[slot])
            return
        kept = slots.sent[slot]
        if kept is not None:
            kept.copy_(sent)
        self.along.receive(sent, slots.winner[slot], slots.received[slot])

    def _send_back(
        self, received_bar: torch.Tensor, slots: Slots, slot: int, out: torch.Tensor
    ) -> None:
        """The transpose of `_receive`."""
        if self.along is None:
            self.neighbours.back(received_bar, out)
        else:
            self.along.back(received_bar, slots.sent[slot], slots.winner[slot], out)
        if self.halo is not None:
            self.halo.give_back(out)

    def finish(self) -> None:
        """Add to the gradient what is summed over all stages before."""
        if self.pairs is not None:
            self.pairs.finish()
        network = self.networks[0]
        if self.weights is not None and network.log_weight is not None:
            self.weights.add_gradient(network.log_weight_bar)

    def __call__(self, z: torch.Tensor, slots: Slots, slot: int, out: torch.Tensor) -> None:
        """``out`` (D, S) = dz/dt at ``z`` (D, S); ``slot`` keeps what `back` needs.

        Nodes of a halo do not move: other processes integrate them, and what they send comes from there.
        """
        self._evaluate(z, slots, slot, out)
        if self.halo is not None:
            self.halo.clear(out)

    def _evaluate(self, z: torch.Tensor, slots: Slots, slot: int, out: torch.Tensor) -> None:
        spec = self.spec
        x, m = z[: spec.channels], z[spec.channels :]
        slots.channels[slot].copy_(x)
        if spec.messages == "emitted":
            slots.emitter_inputs[slot][: spec.channels].copy_(x)
            inputs, hidden = slots.emitter_parts[slot], slots.emitter_hidden[slot]
            for layers, x, below, sent in zip(self.emit, inputs, hidden, self.message_parts):
                forward(layers, x, below, sent)
            self._receive(self.message[0], slots, slot)
        elif spec.messages == "state":
            if self.halo is not None:  # which is filled, and z stays as it is
                m = self.message[0].copy_(m)
            self._receive(m, slots, slot)
        elif spec.messages == "self":
            slots.received[slot].copy_(m)
        elif self.pairs is not None:
            if self.halo is not None:
                self.halo.fill(slots.channels[slot])
            self.pairs.receive(slots.own[slot], slots.of_pairs[slot], slots.received[slot])
        parts = slots.output_parts[slot] if spec.gain else self.kinds.parts(out)
        inputs, hidden = slots.mlp_inputs[slot], slots.hidden[slot]
        for layers, x, below, values in zip(self.mlp, inputs, hidden, parts):
            forward(layers, x, below, values)
        if spec.gain:
            self._superpose(slots, slot, out)
        elif spec.coupling == "superposed":
            out.add_(slots.received[slot])
        if spec.linear:
            for layer, x, values in zip(self.linear, inputs, self.kinds.parts(out)):
                values.addmm_(layer.forward, x)

    def _superpose(self, slots: Slots, slot: int, out: torch.Tensor) -> None:
        """``out`` = F + G a."""
        spec, values = self.spec, slots.output[slot]
        # z' = F + G a: rows states + i p + k of the output are G_ik, so that a stride of p selects the
        # column of G that one component of the message multiplies.
        out.copy_(values[: spec.states])
        for component in range(spec.message):
            out.addcmul_(
                values[spec.states + component :: spec.message], slots.received[slot][component]
            )

    def back(self, slope_bar: torch.Tensor, slots: Slots, slot: int, z_bar: torch.Tensor) -> None:
        """``z_bar`` (D, S) = (d field / dz)' ``slope_bar``; adds the weights' gradients."""
        spec = self.spec
        received_bar = self.inputs_bar[spec.own_inputs :]
        output_bar = slope_bar
        if spec.gain:
            output_bar, received_bar = self.output_bar, self.message[1]
            values = slots.output[slot]
            output_bar[: spec.states].copy_(slope_bar)
            for component in range(spec.message):
                gain = slice(spec.states + component, None, spec.message)
                torch.mul(slope_bar, slots.received[slot][component], out=output_bar[gain])
                torch.mul(slope_bar, values[gain], out=self.product)
                torch.sum(self.product, dim=0, out=received_bar[component])
        elif spec.coupling == "superposed":
            received_bar = slope_bar
        for layers, x, below, bar, below_bar, x_bar in zip(
            self.mlp, slots.mlp_inputs[slot], slots.hidden[slot], self.kinds.parts(output_bar),
            self.hidden_bar, self.inputs_bar_parts,
        ):  # fmt: skip
            backward(layers, x, below, bar, below_bar, x_bar)
        if spec.linear:
            for layer, x, bar, x_bar in zip(
                self.linear, slots.mlp_inputs[slot], self.kinds.parts(slope_bar),
                self.inputs_bar_parts,
            ):  # fmt: skip
                layer.add(bar, x)
                x_bar.addmm_(layer.back, bar)
        z_bar[: spec.channels].copy_(self.inputs_bar[: spec.channels])
        self._of_attributes(self.inputs_bar[spec.own_inputs - spec.attributes : spec.own_inputs])
        m_bar = z_bar[spec.channels :]
        if spec.messages == "state":
            self._send_back(received_bar, slots, slot, m_bar)
        elif spec.messages == "self":
            m_bar.copy_(received_bar)
        elif spec.messages == "zero":
            m_bar.zero_()
        elif self.pairs is not None:
            self.pairs.back(
                received_bar, slots.own[slot], slots.of_pairs[slot], self.pair_inputs_bar
            )
            if self.halo is not None:
                self.halo.give_back(self.pair_inputs_bar[: spec.channels])
            # x enters twice: through the mlp and through the messages.
            z_bar.add_(self.pair_inputs_bar[: spec.channels])
            self._of_attributes(self.pair_inputs_bar[spec.own_inputs - spec.attributes :])
        else:
            self._send_back(received_bar, slots, slot, self.message[0])
            for layers, x, below, bar, below_bar, x_bar in zip(
                self.emit, slots.emitter_parts[slot], slots.emitter_hidden[slot],
                self.message_parts, self.hidden_bar, self.emitter_inputs_bar_parts,
            ):  # fmt: skip
                # One hidden layer of the same width: the buffer of the mlp serves again.
                backward(layers, x, below, bar, below_bar[:1], x_bar)
            # x enters twice: through the mlp and through the message it emits.
            z_bar.add_(self.emitter_inputs_bar[: spec.channels])
            self._of_attributes(self.emitter_inputs_bar[spec.sender_inputs - spec.attributes :])

    def _of_attributes(self, bar: torch.Tensor) -> None:
        """Add a cotangent (b, S) of the attributes to their gradient, where it is asked for."""
        if self.attribute_bar is not None:
            self.attribute_bar.add_(bar[-len(self.attribute_bar) :])


def forward(
    layers: Sequence[Linear], x: torch.Tensor, hidden: Sequence[torch.Tensor], out: torch.Tensor
) -> None:
    """``out`` = the network at ``x``, whose sigmoids stay in ``hidden``."""
    for layer, values in zip(layers[:-1], hidden):
        below = values[:-1]
        torch.mm(layer.forward, x, out=below)
        torch.sigmoid(below, out=below)
        x = values
    torch.mm(layers[-1].forward, x, out=out)


def backward(
    layers: Sequence[Linear],
    x: torch.Tensor,
    hidden: Sequence[torch.Tensor],
    y_bar: torch.Tensor,
    hidden_bar: Sequence[torch.Tensor],
    x_bar: torch.Tensor | None,
) -> None:
    """Adjoint of `forward`: adds the layers' gradients; ``x_bar``, if given, that of x."""
    for number in range(len(layers) - 1, 0, -1):
        values, below = hidden[number - 1], hidden_bar[number - 1]
        layers[number].add(y_bar, values)
        torch.mm(layers[number].back, y_bar, out=below)
        # The variant with an output: the public function allocates a result per layer.
        torch.ops.aten.sigmoid_backward.grad_input(below, values[:-1], grad_input=below)
        y_bar = below
    layers[0].add(y_bar, x)
    if x_bar is not None:
        torch.mm(layers[0].back, y_bar, out=x_bar)
