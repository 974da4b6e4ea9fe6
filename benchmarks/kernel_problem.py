"""Kuramoto oscillators on a graph and weights that have learned them a little.

Solvers with step control take the more steps the less trivial the model is: weights as they are
drawn would flatter the adaptive peers.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pympnode.networks.engines.columns import Columns
from pympnode.networks.engines.torch.kernel_numba import run as compiled
from pympnode.networks.engines.torch.window import Window, to_columns
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of


def trajectories(
    adjacency: NDArray[np.float64], batch: int, steps: int, dt: float
) -> NDArray[np.float32]:
    """z scores of phases (batch, time, node, 3): omega + (1/3) sum_j A_ij sin(theta_j - theta_i)."""
    rng = np.random.default_rng(0)
    omega = rng.standard_normal(3)
    theta = rng.uniform(-np.pi, np.pi, (batch, len(adjacency), 3))

    def field(x: NDArray[np.float64]) -> NDArray[np.float64]:
        difference = x[:, None] - x[:, :, None]
        return omega + np.einsum("ij,bijf->bif", adjacency, np.sin(difference)) / 3

    states, fine = [theta], 4
    h = dt / fine
    for _ in range(steps):
        for _ in range(fine):
            k1 = field(theta)
            k2 = field(theta + h / 2 * k1)
            k3 = field(theta + h / 2 * k2)
            k4 = field(theta + h * k3)
            theta = theta + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
        states.append(theta)
    values = np.stack(states, axis=1)
    return ((values - values.mean((0, 1, 2))) / values.std((0, 1, 2))).astype(np.float32)


def learned(
    spec: ModelSpec,
    columns: Columns,
    adjacency: NDArray[np.float64],
    steps: int,
    updates: int = 400,
) -> tuple[torch.Tensor, Window]:
    """Weights after ``updates`` of Adam on growing horizons, and the window of the last."""
    batch = int(columns.width.sum())
    data = torch.from_numpy(trajectories(adjacency, batch, steps, 0.05))
    x = to_columns(data, columns)
    window = Window(columns, x[0], x, None, None, None, np.full(steps, 0.05), 1 / columns.total)
    theta = torch.as_tensor(layout_of(spec).initial(np.random.default_rng(0)), dtype=x.dtype)
    theta.requires_grad_(True)
    adam = torch.optim.Adam([theta], lr=5e-3)
    for update in range(updates):
        horizon = steps if 2 * update >= updates else max(2, steps // 5)
        part = Window(
            columns, x[0], x[: horizon + 1], None, None, None, window.dt[:horizon], window.scale
        )
        theta.grad = compiled.loss_and_gradient(spec, theta, part)[1]
        theta.grad *= min(1.0, 1.0 / float(theta.grad.norm()))
        adam.step()
    return theta.detach(), window
