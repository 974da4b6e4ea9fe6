"""The vector field on preallocated buffers, and its adjoint.

A slot holds what one evaluation leaves for the way back. Every matrix that enters a product has a
last row of ones, so that biases need no operation of their own.
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
        self.x = [block[: spec.channels] for block in self.inputs]
        self.all = list(self.inputs)
        self.hidden = [[layer[slot] for layer in hidden] for slot in range(count)]
        if superposed:
            self.out = list(rows(spec.outputs, ones=False))
            self.arrive = list(rows(spec.message, ones=False))
        else:
            self.arrive = [block[spec.own_inputs : -1] for block in self.inputs]
        if spec.messages == "emitted":
            self.seen = list(rows(spec.channels + spec.attributes))
            self.emit = [[block] for block in rows(spec.hidden)]


class Field:
    """dz/dt and its adjoint for one specification, network and set of graphs.

    ``scratch`` buffers are shared by all slots.
    """

    def __init__(self, spec: ModelSpec, columns: int, like: torch.Tensor) -> None:
        self.spec = spec
        seen = spec.channels + spec.attributes
        new = like.new_empty
        self.hidden_bar = [new(spec.hidden, columns) for _ in range(spec.depth)]
        self.inputs_bar = new(spec.inputs, columns)
        self.message = new(2, spec.message, columns)
        if spec.coupling == "superposed":
            self.out_bar = new(spec.outputs, columns)
            self.product = new(spec.states, columns)
        if spec.messages == "emitted":
            self.seen_bar = new(seen, columns)

    def use(self, network: Network, neighbours: Neighbours) -> None:
        """Take the weights and graphs of the next sweep."""
        self.network, self.neighbours = network, neighbours

    def __call__(self, z: torch.Tensor, slots: Slots, slot: int, out: torch.Tensor) -> None:
        """``out`` (D, S) = dz/dt at ``z`` (D, S), leaving in ``slot`` what `back` needs."""
        spec = self.spec
        x, m = z[: spec.channels], z[spec.channels :]
        slots.x[slot].copy_(x)
        if spec.messages == "emitted":
            slots.seen[slot][: spec.channels].copy_(x)
            run(self.network.emit, slots.seen[slot], slots.emit[slot], self.message[0])
            self.neighbours.arrive(self.message[0], slots.arrive[slot])
        elif spec.messages == "state":
            self.neighbours.arrive(m, slots.arrive[slot])
        elif spec.messages == "self":
            slots.arrive[slot].copy_(m)
        if spec.coupling == "mixed":
            run(self.network.mlp, slots.all[slot], slots.hidden[slot], out)
            return
        values = slots.out[slot]
        run(self.network.mlp, slots.all[slot], slots.hidden[slot], values)
        out.copy_(values[: spec.states])
        for q in range(spec.message):
            out.addcmul_(values[spec.states + q :: spec.message], slots.arrive[slot][q])

    def back(self, bar: torch.Tensor, slots: Slots, slot: int, z_bar: torch.Tensor) -> None:
        """``z_bar`` (D, S) = (d field / dz)' ``bar``; adds the weights' gradients."""
        spec = self.spec
        arrive_bar = self.inputs_bar[spec.own_inputs :]
        out_bar = bar
        if spec.coupling == "superposed":
            out_bar, arrive_bar = self.out_bar, self.message[1]
            values = slots.out[slot]
            out_bar[: spec.states].copy_(bar)
            for q in range(spec.message):
                part = slice(spec.states + q, None, spec.message)
                torch.mul(bar, slots.arrive[slot][q], out=out_bar[part])
                torch.mul(bar, values[part], out=self.product)
                torch.sum(self.product, dim=0, out=arrive_bar[q])
        run_back(
            self.network.mlp,
            slots.all[slot],
            slots.hidden[slot],
            out_bar,
            self.hidden_bar,
            self.inputs_bar,
        )
        z_bar[: spec.channels].copy_(self.inputs_bar[: spec.channels])
        m_bar = z_bar[spec.channels :]
        if spec.messages == "state":
            self.neighbours.back(arrive_bar, m_bar)
        elif spec.messages == "self":
            m_bar.copy_(arrive_bar)
        elif spec.messages == "zero":
            m_bar.zero_()
        else:
            self.neighbours.back(arrive_bar, self.message[0])
            run_back(
                self.network.emit,
                slots.seen[slot],
                slots.emit[slot],
                self.message[0],
                self.hidden_bar[:1],
                self.seen_bar,
            )
            z_bar.add_(self.seen_bar[: spec.channels])


def run(
    layers: Sequence[Linear], x: torch.Tensor, hidden: Sequence[torch.Tensor], out: torch.Tensor
) -> None:
    """``out`` = the network at ``x``, whose sigmoids stay in ``hidden``."""
    for layer, values in zip(layers[:-1], hidden):
        below = values[:-1]
        torch.mm(layer.forward, x, out=below)
        torch.sigmoid(below, out=below)
        x = values
    torch.mm(layers[-1].forward, x, out=out)


def run_back(
    layers: Sequence[Linear],
    x: torch.Tensor,
    hidden: Sequence[torch.Tensor],
    bar: torch.Tensor,
    hidden_bar: Sequence[torch.Tensor],
    x_bar: torch.Tensor | None,
) -> None:
    """Adjoint of `run`: adds the layers' gradients; ``x_bar``, if given, that of x."""
    for number in range(len(layers) - 1, 0, -1):
        values, below = hidden[number - 1], hidden_bar[number - 1]
        layers[number].add(bar, values)
        torch.mm(layers[number].back, bar, out=below)
        torch.ops.aten.sigmoid_backward.grad_input(below, values[:-1], grad_input=below)
        bar = below
    layers[0].add(bar, x)
    if x_bar is not None:
        torch.mm(layers[0].back, bar, out=x_bar)
