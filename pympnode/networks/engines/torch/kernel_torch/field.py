"""The vector field on preallocated buffers, and its adjoint.

A slot holds what the adjoint of one evaluation needs. Every matrix that enters a product has a last
row of ones, so that the product adds the biases.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ....spec import ModelSpec
from .logistic import Linear, Network
from .neighbours import Neighbours


class Slots:
    """Buffers of ``count`` evaluations on S ``columns``, with views into each made once."""

    def __init__(self, spec: ModelSpec, count: int, columns: int, like: torch.Tensor) -> None:
        def rows(number: int, ones: bool = True) -> torch.Tensor:
            block = like.new_zeros(count, number + ones, columns)
            if ones:
                block[:, -1] = 1
            return block

        superposed = spec.coupling == "superposed"
        self.inputs = rows(spec.inputs)
        hidden = [rows(spec.hidden) for _ in range(spec.depth)]
        # Views are made once: making one costs about as much as a small product.
        self.channels = [block[: spec.channels] for block in self.inputs]
        self.mlp_inputs = list(self.inputs)
        self.hidden = [[layer[slot] for layer in hidden] for slot in range(count)]
        if superposed:
            self.output = list(rows(spec.outputs, ones=False))
            self.received = list(rows(spec.message, ones=False))
        else:
            self.received = [block[spec.own_inputs : -1] for block in self.inputs]
        if spec.messages == "emitted":
            self.emitter_inputs = list(rows(spec.channels + spec.attributes))
            self.emitter_hidden = [[block] for block in rows(spec.hidden)]


class Field:
    """dz/dt and its adjoint for one specification, network and set of graphs.

    ``scratch`` buffers are shared by all slots.
    """

    def __init__(self, spec: ModelSpec, columns: int, like: torch.Tensor) -> None:
        self.spec = spec
        n_emitter_inputs = spec.channels + spec.attributes
        new = like.new_empty
        self.hidden_bar = [new(spec.hidden, columns) for _ in range(spec.depth)]
        self.inputs_bar = new(spec.inputs, columns)
        self.message = new(2, spec.message, columns)
        if spec.coupling == "superposed":
            self.output_bar = new(spec.outputs, columns)
            self.product = new(spec.states, columns)
        if spec.messages == "emitted":
            self.emitter_inputs_bar = new(n_emitter_inputs, columns)

    def use(self, network: Network, neighbours: Neighbours) -> None:
        """Set the weights and graphs of the next sweep."""
        self.network, self.neighbours = network, neighbours

    def __call__(self, z: torch.Tensor, slots: Slots, slot: int, out: torch.Tensor) -> None:
        """``out`` (D, S) = dz/dt at ``z`` (D, S); ``slot`` keeps what `back` needs."""
        spec = self.spec
        x, m = z[: spec.channels], z[spec.channels :]
        slots.channels[slot].copy_(x)
        if spec.messages == "emitted":
            slots.emitter_inputs[slot][: spec.channels].copy_(x)
            forward(
                self.network.emit,
                slots.emitter_inputs[slot],
                slots.emitter_hidden[slot],
                self.message[0],
            )
            self.neighbours.receive(self.message[0], slots.received[slot])
        elif spec.messages == "state":
            self.neighbours.receive(m, slots.received[slot])
        elif spec.messages == "self":
            slots.received[slot].copy_(m)
        if spec.coupling == "mixed":
            forward(self.network.mlp, slots.mlp_inputs[slot], slots.hidden[slot], out)
            return
        values = slots.output[slot]
        forward(self.network.mlp, slots.mlp_inputs[slot], slots.hidden[slot], values)
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
        if spec.coupling == "superposed":
            output_bar, received_bar = self.output_bar, self.message[1]
            values = slots.output[slot]
            output_bar[: spec.states].copy_(slope_bar)
            for component in range(spec.message):
                gain = slice(spec.states + component, None, spec.message)
                torch.mul(slope_bar, slots.received[slot][component], out=output_bar[gain])
                torch.mul(slope_bar, values[gain], out=self.product)
                torch.sum(self.product, dim=0, out=received_bar[component])
        backward(
            self.network.mlp, slots.mlp_inputs[slot], slots.hidden[slot], output_bar,
            self.hidden_bar, self.inputs_bar,
        )  # fmt: skip
        z_bar[: spec.channels].copy_(self.inputs_bar[: spec.channels])
        m_bar = z_bar[spec.channels :]
        if spec.messages == "state":
            self.neighbours.back(received_bar, m_bar)
        elif spec.messages == "self":
            m_bar.copy_(received_bar)
        elif spec.messages == "zero":
            m_bar.zero_()
        else:
            self.neighbours.back(received_bar, self.message[0])
            backward(
                self.network.emit,
                slots.emitter_inputs[slot],
                slots.emitter_hidden[slot],
                self.message[0],
                # One hidden layer of the same width: the buffer of the mlp serves again.
                self.hidden_bar[:1],
                self.emitter_inputs_bar,
            )
            # x enters twice: through the mlp and through the message it emits.
            z_bar.add_(self.emitter_inputs_bar[: spec.channels])


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
