"""The plain kernel: the model written as its equations, differentiated by autograd.

It runs every option of `ModelSpec`; the faster kernels are tested against it.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from ...spec import ModelSpec
from ...weights import layout_of
from ..tableaux import TABLEAUX, Steps
from .window import Window

Weights = dict[str, torch.Tensor]


class Field:
    """dz/dt of one model on one batch: z (D, S) to (D, S). ``weights`` are named (out, in) tensors."""

    def __init__(self, spec: ModelSpec, weights: Weights, window: Window) -> None:
        self.spec = spec
        self.weights = weights
        self.columns = window.columns
        self.attribute = window.attribute
        like = window.initial
        self.matrices = [
            torch.as_tensor(m, dtype=like.dtype, device=like.device)
            for m in window.columns.matrices(spec.aggregation, spec.divisor)
        ]

    def linear(self, name: str, values: torch.Tensor) -> torch.Tensor:
        bias = self.weights[f"{name}bias"]
        return torch.addmm(bias.unsqueeze(1), self.weights[f"{name}weight"], values)

    def mlp(self, values: torch.Tensor) -> torch.Tensor:
        for number in range(1, self.spec.depth + 1):
            values = torch.tanh(self.linear(f"layer_{number}_", values))
        return self.linear(f"layer_{self.spec.depth + 1}_", values)

    def state_inputs(self, x: torch.Tensor) -> torch.Tensor:
        """x as an input: of channels that are angles the sine and the cosine, after the others."""
        if not self.spec.circular:
            return x
        plain = [c for c in range(x.shape[0]) if c not in self.spec.circular]
        angle = x[list(self.spec.circular)]
        return torch.cat([x[plain], torch.sin(angle), torch.cos(angle)])

    def emitter_inputs(self, x: torch.Tensor) -> torch.Tensor:
        """[x; b], the inputs of g and of the first message."""
        x = self.state_inputs(x)
        return x if self.attribute is None else torch.cat([x, self.attribute])

    def node_inputs(self, x: torch.Tensor, u: torch.Tensor | None) -> torch.Tensor:
        """[x; u; b], the inputs of a node without its messages."""
        return torch.cat([v for v in (self.state_inputs(x), u, self.attribute) if v is not None])

    def aggregate(self, messages: torch.Tensor) -> torch.Tensor:
        """Messages received by each column, of ``messages`` (p, S) sent."""
        received = []
        for (nodes, width, offset, _), matrix in zip(self.columns.blocks(), self.matrices):
            block = messages[:, offset : offset + nodes * width].reshape(-1, nodes, width)
            received.append(torch.matmul(matrix, block).reshape(messages.shape[0], -1))
        return received[0] if len(received) == 1 else torch.cat(received, dim=1)

    def initial_state(self, x: torch.Tensor) -> torch.Tensor:
        """z(0) = [x(0); m(0)]."""
        spec = self.spec
        if not spec.carried:
            return x
        if spec.first_message == "zero":
            message = x.new_zeros(spec.message, x.shape[1])
        elif spec.first_message == "linear":
            message = self.linear("first_", self.emitter_inputs(x))
        else:
            hidden = torch.tanh(self.linear("first_layer_1_", self.emitter_inputs(x)))
            message = self.linear("first_layer_2_", hidden)
        return torch.cat([x, message])

    def __call__(self, z: torch.Tensor, u: torch.Tensor | None) -> torch.Tensor:
        spec = self.spec
        x, m = z[: spec.channels], z[spec.channels :]
        if spec.family == "l2s":
            return self._l2s(self.node_inputs(x, u))
        if spec.messages == "emitted":
            hidden = torch.tanh(self.linear("emit_layer_1_", self.emitter_inputs(x)))
            received = self.aggregate(self.linear("emit_layer_2_", hidden))
        elif spec.messages == "state":
            received = self.aggregate(m)
        elif spec.messages == "self":
            received = m
        else:
            received = z.new_zeros(spec.message, z.shape[1])
        inputs = self.node_inputs(x, u)
        if spec.coupling == "mixed":
            return self.mlp(torch.cat([inputs, received]))
        out = self.mlp(inputs)
        gain = out[spec.states :].reshape(spec.states, spec.message, -1)
        return out[: spec.states] + (gain * received).sum(dim=1)

    def _l2s(self, inputs: torch.Tensor) -> torch.Tensor:
        code = torch.tanh(self.linear("encoder_", inputs))
        h = code
        for _ in range(self.spec.depth):
            sent = torch.tanh(self.linear("message_", h))
            h = torch.tanh(self.linear("update_", self.aggregate(sent))) + h
        return self.linear("decoder_", h + code)


def integrate(spec: ModelSpec, field: Field, window: Window) -> torch.Tensor:
    """States z (T + 1, D, S) at the grid times of ``window``."""
    tableau = TABLEAUX[spec.solver]
    steps = Steps.over(tableau, window.dt, spec.stride)
    z = field.initial_state(window.initial)
    states = [z]
    for step, size in enumerate(steps.size):
        start, stop = steps.first[step], steps.first[step + 1]
        u = None if window.control is None else window.control[start]
        dt = float(size) / spec.substeps
        for _ in range(spec.substeps):
            slopes: list[torch.Tensor] = []
            for row in tableau.a:
                slopes.append(field(_add(z, slopes, dt * row), u))
            states += [_add(z, slopes, steps.inside[t]) for t in range(start, stop - 1)]
            z = _add(z, slopes, dt * tableau.b)
        states.append(z)
    return torch.stack(states)


def _add(z: torch.Tensor, slopes: list[torch.Tensor], weights: NDArray[np.float64]) -> torch.Tensor:
    for weight, slope in zip(weights, slopes):
        if weight != 0.0:
            z = z + float(weight) * slope
    return z


def huber(predicted: torch.Tensor, window: Window, circular: tuple[int, ...] = ()) -> torch.Tensor:
    """Scaled sum of the Huber loss (delta 1) over times 1.., features and columns.

    Of the channels ``circular``, angles in radians, the shorter way around the circle counts.
    """
    assert window.target is not None
    if circular:
        channels = list(circular)
        turns = torch.round((predicted - window.target[1:])[:, channels] / (2 * math.pi))
        predicted = predicted.clone()
        predicted[:, channels] = predicted[:, channels] - 2 * math.pi * turns.detach()
    loss = torch.nn.functional.huber_loss(predicted, window.target[1:], reduction="none")
    if window.mask is not None:
        loss = loss * window.mask[1:]
    return loss.sum() * window.scale


def loss_and_gradient(
    spec: ModelSpec, theta: torch.Tensor, window: Window
) -> tuple[float, torch.Tensor]:
    """Loss and its gradient with respect to ``theta`` (size,)."""
    theta = theta.detach().requires_grad_(True)
    field = Field(spec, layout_of(spec).unpack(theta), window)
    value = huber(integrate(spec, field, window)[1:, : spec.channels], window, spec.circular)
    (gradient,) = torch.autograd.grad(value, theta)
    return float(value.detach()), gradient


def rollout_vjp(
    spec: ModelSpec, theta: torch.Tensor, window: Window, output_gradient: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rollout of a window, and the product of ``output_gradient`` with its Jacobian.

    ``output_gradient`` (T + 1, d, S) in columns. Returns the channels x of the states (T + 1, d, S)
    and the gradient (size,) of sum(output_gradient * x) with respect to ``theta``. Targets, mask and
    scale of the window are not used.
    """
    theta = theta.detach().requires_grad_(True)
    field = Field(spec, layout_of(spec).unpack(theta), window)
    states = integrate(spec, field, window)[:, : spec.channels]
    (gradient,) = torch.autograd.grad(states, theta, output_gradient)
    return states.detach(), gradient


@torch.no_grad()
def initial_message(spec: ModelSpec, theta: torch.Tensor, window: Window) -> torch.Tensor:
    """m(0) (carried, S) of the window's initial state."""
    field = Field(spec, layout_of(spec).unpack(theta), window)
    return field.initial_state(window.initial)[spec.channels :]


@torch.no_grad()
def rollout(spec: ModelSpec, theta: torch.Tensor, window: Window) -> torch.Tensor:
    """States z (T + 1, D, S), no gradient."""
    return integrate(spec, Field(spec, layout_of(spec).unpack(theta), window), window)


@torch.no_grad()
def evaluate_field(
    spec: ModelSpec, theta: torch.Tensor, window: Window, z: torch.Tensor
) -> torch.Tensor:
    """dz/dt of z (D, S) under the first control of ``window``."""
    u = None if window.control is None else window.control[0]
    return Field(spec, layout_of(spec).unpack(theta), window)(z, u)
