"""Rivals for the tables of learning: what a good user writes in an hour with other libraries.

`TrueLibrary` is pysindy with the terms of the system that made the data: what a user reaches who knows the
form of the equation, as a bound. `EdgeODE` is a graph neural ODE with an edge function, dx_k/dt = F(x_k) + sum_j g(x_k, x_j) w_jk / c,
in torch_geometric and torchdiffeq (rk4 on the grid of the data), trained on windows of growing length
by the optimiser that it is given. Nothing of pympnode's networks or kernels is used.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

MISSING = [
    name for name in ("torch_geometric", "torchdiffeq") if not importlib.util.find_spec(name)
]
WINDOWS = (
    (2, 0.4),
    (8, 0.8),
    (0, 1.0),
)  # intervals (0: all), and the share of the time they end at


def edge_ode(width: int, features: int, divisor: float, aggregation: str = "add") -> Any:
    """A `torch.nn.Module`: (x (node, feature), edge_index, weight) -> dx/dt, nodes of a whole batch."""
    from torch_geometric.nn import MessagePassing

    def perceptron(inputs: int, outputs: int) -> torch.nn.Sequential:
        return torch.nn.Sequential(
            torch.nn.Linear(inputs, width), torch.nn.Tanh(),
            torch.nn.Linear(width, width), torch.nn.Tanh(),
            torch.nn.Linear(width, outputs),
        )  # fmt: skip

    class EdgeODE(MessagePassing):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(aggr=aggregation)
            self.own = perceptron(features, features)
            self.pair = perceptron(2 * features, features)

        def forward(self, x: torch.Tensor, edge_index: torch.Tensor, weight: Any) -> torch.Tensor:
            return self.own(x) + self.propagate(edge_index, x=x, weight=weight) / divisor

        def message(self, x_i: torch.Tensor, x_j: torch.Tensor, weight: Any) -> torch.Tensor:
            sent = self.pair(torch.cat([x_i, x_j], dim=1))
            return sent if weight is None else sent * weight[:, None]

    return EdgeODE()


class Rival:
    """An `EdgeODE` trained on trajectories of one graph for ``seconds`` of CPU time.

    ``x`` (trajectory, time, node, feature); ``graph`` has sender, receiver, weight. ``optimiser``
    makes an optimiser of torch from the parameters and a rate.
    """

    def __init__(
        self,
        x: np.ndarray,
        graph: Any,
        dt: float,
        seconds: float,
        *,
        seed: int = 0,
        rate: float = 5e-3,
        optimiser: Callable[..., Any] = torch.optim.Adam,
        aggregation: str = "add",
        batch: int = 32,
    ) -> None:
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        self.mean, self.scale = x.mean((0, 1, 2)), x.std((0, 1, 2))
        z = torch.as_tensor((x - self.mean) / self.scale, dtype=torch.float32)
        divisor = 1.0 if aggregation == "max" else len(graph.sender) / x.shape[2]
        self.net = edge_ode(32, x.shape[3], divisor, aggregation)
        stepper = optimiser(self.net.parameters(), rate)
        self.updates, began = 0, time.process_time()
        while (share := (time.process_time() - began) / seconds) < 1:
            steps = next(window for window, stop in WINDOWS if share < stop) or x.shape[1] - 1
            index = rng.integers(len(z), size=batch)
            start = rng.integers(x.shape[1] - steps, size=batch)
            target = torch.stack([z[i, s : s + steps + 1] for i, s in zip(index, start)], dim=1)
            predicted = self._solve(target[0], graph, dt, steps)
            loss = torch.nn.functional.huber_loss(predicted, target)
            stepper.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            for group in stepper.param_groups:  # cosine down to a hundredth
                group["lr"] = rate * (0.01 + 0.99 * (1 + np.cos(np.pi * share)) / 2)
            stepper.step()
            self.updates += 1

    def _solve(self, z0: torch.Tensor, graph: Any, dt: float, steps: int) -> torch.Tensor:
        from torchdiffeq import odeint

        batch, nodes, features = z0.shape
        ends = np.stack([graph.sender, graph.receiver])
        edges = torch.as_tensor(np.concatenate([ends + b * nodes for b in range(batch)], axis=1))
        weight = None
        if graph.weight is not None:
            weight = torch.as_tensor(np.tile(graph.weight, batch), dtype=torch.float32)
        times = torch.arange(steps + 1) * dt
        z = odeint(
            lambda _, z: self.net(z, edges, weight), z0.reshape(-1, features), times, method="rk4"
        )
        return z.reshape(steps + 1, batch, nodes, features)

    @torch.no_grad()
    def rollout(self, x0: np.ndarray, graph: Any, dt: float, steps: int) -> np.ndarray:
        """(trajectory, time, node, feature) from x0 (trajectory, node, feature)."""
        z0 = torch.as_tensor((x0 - self.mean) / self.scale, dtype=torch.float32)
        z = self._solve(z0, graph, dt, steps).numpy().swapaxes(0, 1)
        return z * self.scale + self.mean


class TrueLibrary:
    """pysindy's STLSQ on the terms of the true equation, from derivatives by finite differences.

    ``x`` (trajectory, time, node, feature); ``noisy`` data are smoothed (Savitzky-Golay) before.
    """

    def __init__(self, x: np.ndarray, graph: Any, dt: float, system: str, *, noisy: bool) -> None:
        import pysindy

        self.graph, self.system = graph, system
        time = dt * np.arange(x.shape[1])
        kind = pysindy.SmoothedFiniteDifference if noisy else pysindy.FiniteDifference
        method = kind() if noisy else kind(order=4)
        by_time = x.swapaxes(0, 1).reshape(x.shape[1], -1)
        slope = method._differentiate(by_time, time).reshape(x.swapaxes(0, 1).shape)
        terms = self._terms(x.swapaxes(0, 1), graph)
        self.coefficients = []
        for feature in range(x.shape[3]):
            regression = pysindy.STLSQ(threshold=0.005, alpha=1e-8)
            of = terms[..., feature, :].reshape(-1, terms.shape[-1])
            regression.fit(of, slope[..., feature].reshape(-1, 1))
            self.coefficients.append(regression.coef_[0])

    def _terms(self, x: np.ndarray, graph: Any) -> np.ndarray:
        """(..., node, feature, term) of states (..., node, feature)."""

        def summed(values: np.ndarray) -> np.ndarray:
            out = np.zeros_like(x)
            np.add.at(out, (..., graph.receiver, slice(None)), values)
            return out

        sent, here = x[..., graph.sender, :], x[..., graph.receiver, :]
        if self.system == "kuramoto":
            return np.stack([np.ones_like(x), summed(np.sin(sent - here))], axis=-1)
        if self.system == "gene":
            return np.stack([x, summed(sent**2 / (1 + sent**2))], axis=-1)
        products = [x[..., i] * x[..., j] for i in range(3) for j in range(i, 3)]
        around = summed(sent)
        each = [np.ones_like(x[..., 0]), *np.moveaxis(x, -1, 0), *products]
        each += list(np.moveaxis(around, -1, 0))
        return np.repeat(np.stack(each, axis=-1)[..., None, :], 3, axis=-2)

    def _field(self, x: np.ndarray, graph: Any) -> np.ndarray:
        return np.einsum("...ft,ft->...f", self._terms(x, graph), np.array(self.coefficients))

    def rollout(self, x0: np.ndarray, graph: Any, dt: float, steps: int) -> np.ndarray:
        """(trajectory, time, node, feature) from x0 (trajectory, node, feature), by RK4 at dt / 4."""
        x, out, h = np.asarray(x0, dtype=np.float64), [x0], dt / 4
        for step in range(4 * steps):
            k1 = self._field(x, graph)
            k2 = self._field(x + h / 2 * k1, graph)
            k3 = self._field(x + h / 2 * k2, graph)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + self._field(x + h * k3, graph))
            if step % 4 == 3:
                out.append(x)
        return np.stack(out, axis=1)


class RadialRival:
    """A one-layer network of particles, equivariant as EGNN is, in plain torch with leapfrog steps.

    dv_i = sum_j f(r_ij) d_ij / (r_ij + c) at the middle of the step, with f a perceptron of r and
    log(r^2 + c^2), c = 0.2 (Satorras, Hoogeboom, Welling, ICML 2021, with one layer and equal bodies),
    trained for ``seconds`` of CPU time by Adam on velocity changes of single steps. ``position``,
    ``velocity`` (trajectory, time, particle, axis) in a periodic box of ``side``.
    """

    NEAR = 0.2

    def __init__(
        self,
        position: np.ndarray,
        velocity: np.ndarray,
        side: float,
        dt: float,
        seconds: float,
        *,
        seed: int = 0,
        rate: float = 5e-3,
        width: int = 64,
        batch: int = 8,
    ) -> None:
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        self.dt = dt
        layers = torch.nn
        self.net = layers.Sequential(
            layers.Linear(2, width), layers.SiLU(), layers.Linear(width, width), layers.SiLU(),
            layers.Linear(width, 1),
        )  # fmt: skip
        self.scale = float(np.diff(velocity, axis=1).std())
        self.length = side / position.shape[2] ** 0.5
        stepper = torch.optim.Adam(self.net.parameters(), lr=rate)
        self.updates, began = 0, time.process_time()
        trajectories, times = position.shape[0], position.shape[1] - 1
        while (share := (time.process_time() - began) / seconds) < 1:
            i, t = rng.integers(trajectories, size=batch), rng.integers(times, size=batch)
            x, v, later = (
                torch.as_tensor(a.astype(np.float32))
                for a in (position[i, t], velocity[i, t], velocity[i, t + 1] - velocity[i, t])
            )
            error = self._change(x + 0.5 * dt * v, side) - later / self.scale
            stepper.zero_grad()
            error.square().mean().backward()
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
            for group in stepper.param_groups:  # cosine down to a hundredth
                group["lr"] = rate * (0.01 + 0.99 * (1 + np.cos(np.pi * share)) / 2)
            stepper.step()
            self.updates += 1

    def _change(self, x: torch.Tensor, side: float) -> torch.Tensor:
        """Velocity change (set, particle, axis) of positions, in units of ``scale``."""
        total = []
        for some in x.split(200, dim=1):  # receivers: a thousand particles have a million pairs
            d = x[:, None] - some[:, :, None]
            d = d - side * torch.round(d / side)
            square = d.square().sum(-1, keepdim=True)
            r = (square + 1e-12).sqrt()
            inputs = torch.cat([r / self.length, torch.log(square + self.NEAR**2)], -1)
            total.append((self.net(inputs) * d / (r + self.NEAR)).sum(2))
        return torch.cat(total, 1)

    @torch.no_grad()
    def rollout(self, truth: Any) -> Any:
        """The dataset ``truth`` with predicted positions and velocities."""
        import json

        side = json.loads(truth.attrs["pympnode"])["parameters"]["side"]
        position, velocity = truth.position.values.copy(), truth.velocity.values.copy()
        for i in range(len(position)):
            for t in range(position.shape[1] - 1):
                x, v = position[i, t], velocity[i, t]
                middle = torch.as_tensor((x + 0.5 * self.dt * v).astype(np.float32))[None]
                change = self.scale * self._change(middle, side)[0].double().numpy()
                velocity[i, t + 1] = v + change
                x = x + self.dt * (v + 0.5 * change)
                position[i, t + 1] = x - side * np.floor(x / side + 0.5)
        return truth.assign(
            position=(truth.position.dims, position), velocity=(truth.velocity.dims, velocity)
        )
