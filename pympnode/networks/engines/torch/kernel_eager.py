"""The plain kernel: `eager_field` integrated step by step, differentiated by autograd.

It runs every option of `ModelSpec`; the faster kernels are tested against it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...spec import ModelSpec
from ..tableaux import TABLEAUX, Steps
from .eager_field import Past, field_of
from .window import Window


def integrate(spec: ModelSpec, field: Any, window: Window) -> torch.Tensor:
    """States z (T + 1, D, S) at the grid times of ``window``."""
    tableau = TABLEAUX[spec.solver]
    steps = Steps.over(tableau, window.dt, spec.stride)
    z = field.initial_state(window.initial)
    states = [z]
    past = None if window.delays is None else Past(spec, field.weights, window)
    for step, size in enumerate(steps.size):
        start, stop = steps.first[step], steps.first[step + 1]
        u = None if window.control is None else window.control[start]
        field.hold(start)
        dt = float(size) / spec.substeps
        if past is not None:
            past.states.append(z)
        for substep in range(spec.substeps):
            slopes: list[torch.Tensor] = []
            for stage, row in enumerate(tableau.a):
                state = _add(z, slopes, dt * row)
                if past is None:
                    slopes.append(field(state, u))
                    continue
                number = substep * tableau.stages + stage
                slopes.append(field(state, u, past.of_stage(number, state)))
                if number == 0:
                    past.slopes.append(slopes[0])
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
    spec: ModelSpec,
    theta: torch.Tensor,
    window: Window,
    measure: Callable[[torch.Tensor, Window], torch.Tensor] | None = None,
) -> tuple[float, torch.Tensor]:
    """Loss and its gradient with respect to ``theta`` (size,); ``measure``: another loss than `huber`."""
    theta = theta.detach().requires_grad_(True)
    inputs = [theta]
    bar = window.attribute_bar
    if bar is not None:
        assert window.attribute is not None
        inputs.append(window.attribute.detach().requires_grad_(True))
        window = replace(window, attribute=inputs[1])
    field = field_of(spec, theta, window)
    states = integrate(spec, field, window)[1:, : spec.channels]
    if measure is None:
        value = huber(states, window, spec.circular)
    else:
        value = measure(states, window)
    gradients = torch.autograd.grad(value, inputs)
    if bar is not None:
        bar.add_(gradients[1][-len(bar) :])
    return float(value.detach()), gradients[0]


def rollout_vjp(
    spec: ModelSpec, theta: torch.Tensor, window: Window, output_gradient: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rollout of a window, and the product of ``output_gradient`` with its Jacobian.

    ``output_gradient`` (T + 1, d, S) in columns. Returns the channels x of the states (T + 1, d, S)
    and the gradient (size,) of sum(output_gradient * x) with respect to ``theta``. Targets, mask and
    scale of the window are not used.
    """
    theta = theta.detach().requires_grad_(True)
    field = field_of(spec, theta, window)
    states = integrate(spec, field, window)[:, : spec.channels]
    (gradient,) = torch.autograd.grad(states, theta, output_gradient)
    return states.detach(), gradient


@torch.no_grad()
def initial_message(spec: ModelSpec, theta: torch.Tensor, window: Window) -> torch.Tensor:
    """m(0) (carried, S) of the window's initial state."""
    field = field_of(spec, theta, window)
    return field.initial_state(window.initial)[spec.channels :]


@torch.no_grad()
def rollout(spec: ModelSpec, theta: torch.Tensor, window: Window) -> torch.Tensor:
    """States z (T + 1, D, S), no gradient."""
    return integrate(spec, field_of(spec, theta, window), window)


@torch.no_grad()
def evaluate_field(
    spec: ModelSpec, theta: torch.Tensor, window: Window, z: torch.Tensor
) -> torch.Tensor:
    """dz/dt of z (D, S) under the first control of ``window``."""
    u = None if window.control is None else window.control[0]
    return field_of(spec, theta, window)(z, u)
