"""Peers for the tables of learning: what a good user writes in an hour with other libraries.

`TrueLibrary` is pysindy with the terms of the system that made the data: what a user reaches who knows the
form of the equation, as a bound. `Rival` is a graph neural ODE with an edge function, dx_k/dt = F(x_k) +
sum_j g(x_k, x_j) w_jk / c, in torch_geometric and torchdiffeq (rk4 on the grid of the data), trained on
windows of growing length by the optimiser that it is given; `Structure` says what is known of its
features. `PastRival` is a graph network in torch_geometric whose nodes hold their last states (as those of
Sanchez-Gonzalez et al., ICML 2020, hold their last velocities), for data with delays. `InteractionRival` is an
interaction network of particles in torch_geometric with leapfrog steps, `RadialRival` a network of central
forces in plain torch. `step_of` is one training step of a `Rival`, for tables of times. All count the CPU
time of one thread. Nothing of pympnode's networks or kernels is used.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

LIBRARIES = ("torch_geometric", "torchdiffeq")
MISSING = [name for name in LIBRARIES if not importlib.util.find_spec(name)]
EDGE_ODE = "edge GNN ODE"  # the row of a `Rival`
WINDOWS = (
    (2, 0.4),
    (8, 0.8),
    (0, 1.0),
)  # intervals (0: all), and the share of the time they end at


def versions(*names: str) -> str:
    """Installed versions in words: "torch 2.13.0, torch_geometric 2.8.1, ..."."""
    return ", ".join(
        f"{name} {importlib.metadata.version(name).split('+')[0]}"
        for name in names or ("torch", *LIBRARIES)
        if importlib.util.find_spec(name)
    )


def not_run(row: str) -> str:
    """What a header says where the libraries of a peer are missing; "" where they are there."""
    return f" {row} was not run: {', '.join(MISSING)} not installed." if MISSING else ""


def verdict(
    name: str,
    theirs: Mapping[str, float],
    than: str,
    ours: Mapping[str, float],
    what: str = "error",
) -> str:
    """A sentence, with a space before it: where the peer ``name`` has a smaller error than ``than``, and where not.

    ``theirs``, ``ours``: errors by the words for where they were measured.
    """
    smaller = [where for where in theirs if theirs[where] < ours[where]]
    larger = [where for where in theirs if where not in smaller]
    said = [
        f"a {size} {what} than {than} ({', '.join(found)})"
        for size, found in (("smaller", smaller), ("larger", larger))
        if found
    ]
    return f" The {name} has {' and '.join(said)}."


@dataclass(frozen=True)
class Structure:
    """What is known of features, as numbers of columns.

    circular: angles, which enter as sine and cosine. invariant: features of which only differences of two
    nodes enter. rates: feature -> the feature that is its time derivative, exactly. unit: features whose
    squares add up to 1 after each interval.
    """

    circular: tuple[int, ...] = ()
    invariant: tuple[int, ...] = ()
    rates: Mapping[int, int] = field(default_factory=dict)
    unit: tuple[int, ...] = ()


def perceptron(inputs: int, width: int, outputs: int) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Linear(inputs, width), torch.nn.Tanh(),
        torch.nn.Linear(width, width), torch.nn.Tanh(),
        torch.nn.Linear(width, outputs),
    )  # fmt: skip


def edge_ode(
    width: int,
    features: int,
    divisor: float,
    aggregation: str = "add",
    *,
    more: int = 0,
    structure: Structure = Structure(),
    mean: np.ndarray | None = None,
    scale: np.ndarray | None = None,
) -> Any:
    """A `torch.nn.Module`: (x (node, feature), edge_index, weight, more) -> dx/dt, nodes of a whole batch.

    x is in units of ``scale`` about ``mean``, with which angles and rates are computed; ``more``: the
    number of attributes and controls of a node.
    """
    from torch_geometric.nn import MessagePassing

    plain = [i for i in range(features) if i not in (*structure.circular, *structure.invariant)]
    angles = [i for i in structure.circular if i not in structure.invariant]
    apart = [i for i in structure.invariant if i not in structure.circular]
    around = list(structure.circular)
    alone = len(plain) + 2 * len(angles) + more
    both = 2 * alone + 2 * len(around) + len(apart)

    def tensor(values: np.ndarray | None, other: float) -> torch.Tensor:
        values = np.full(features, other) if values is None else values
        return torch.as_tensor(values, dtype=torch.float32)

    class EdgeODE(MessagePassing):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__(aggr=aggregation)
            self.own = perceptron(alone, width, features)
            self.pair = perceptron(both, width, features)
            self.mean, self.scale = tensor(mean, 0.0), tensor(scale, 1.0)

        def encoded(self, x: torch.Tensor, more: Any) -> torch.Tensor:
            """Inputs of one node."""
            angle = x[:, angles] * self.scale[angles] + self.mean[angles]
            parts = [x[:, plain], angle.sin(), angle.cos()] if angles else [x[:, plain]]
            return torch.cat(parts if more is None else [*parts, more], dim=1)

        def forward(
            self, x: torch.Tensor, edge_index: torch.Tensor, weight: Any, more: Any = None
        ) -> torch.Tensor:
            code = self.encoded(x, more)
            sent = self.propagate(edge_index, x=x, code=code, weight=weight)
            rate = self.own(code) + sent / divisor
            if structure.rates:
                of = list(structure.rates)
                by = list(structure.rates.values())
                exact = (x[:, by] * self.scale[by] + self.mean[by]) / self.scale[of]
                rate = rate.index_copy(1, torch.tensor(of), exact)
            return rate

        def message(
            self, x_i: Any, x_j: Any, code_i: Any, code_j: Any, weight: Any
        ) -> torch.Tensor:
            parts = [code_i, code_j]
            if around:
                angle = (x_j[:, around] - x_i[:, around]) * self.scale[around]
                parts += [angle.sin(), angle.cos()]
            if apart:
                parts += [x_j[:, apart] - x_i[:, apart]]
            sent = self.pair(torch.cat(parts, dim=1))
            return sent if weight is None else sent * weight[:, None]

    return EdgeODE()


def updates_within(
    seconds: float, parameters: Any, optimiser: Callable[..., Any], rate: float
) -> Iterator[tuple[float, Callable[[torch.Tensor], None]]]:
    """(share of the CPU time ``seconds`` that is gone, step of a loss), until it is gone.

    The rate falls as a cosine to a hundredth; norms of gradients are cut at 1.
    """
    parameters = list(parameters)
    stepper = optimiser(parameters, rate)
    began = time.process_time()

    def step(loss: torch.Tensor) -> None:
        stepper.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for group in stepper.param_groups:
            group["lr"] = rate * (0.01 + 0.99 * (1 + np.cos(np.pi * share)) / 2)
        stepper.step()

    while (share := (time.process_time() - began) / seconds) < 1:
        yield share, step


def edges_of(graph: Any, batch: int, nodes: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Edge index (2, edge) and weights of ``batch`` copies of a graph."""
    ends = np.stack([graph.sender, graph.receiver])
    edges = torch.as_tensor(np.concatenate([ends + b * nodes for b in range(batch)], axis=1))
    if graph.weight is None:
        return edges, None
    return edges, torch.as_tensor(np.tile(graph.weight, batch), dtype=torch.float32)


class Rival:
    """An `edge_ode` trained on trajectories of one graph for ``seconds`` of CPU time.

    ``x`` (trajectory, time, node, feature); ``graph`` has sender, receiver, weight. ``optimiser``
    makes an optimiser of torch from the parameters and a rate. ``attribute`` (node, attribute) or
    (trajectory, node, attribute); ``control`` (trajectory, time, node, control), held over each interval.
    ``longest``: intervals of the longest windows, all by default.
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
        width: int = 32,
        attribute: np.ndarray | None = None,
        control: np.ndarray | None = None,
        structure: Structure = Structure(),
        longest: int | None = None,
    ) -> None:
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        self.structure = structure
        self.mean, self.scale = x.mean((0, 1, 2)), x.std((0, 1, 2))
        self.of_more = [
            None if given is None else _standard(given) for given in (attribute, control)
        ]
        z = torch.as_tensor((x - self.mean) / self.scale, dtype=torch.float32)
        divisor = 1.0 if aggregation == "max" else len(graph.sender) / x.shape[2]
        more = sum(0 if given is None else given.shape[-1] for given in (attribute, control))
        self.net = edge_ode(
            width, x.shape[3], divisor, aggregation, more=more, structure=structure,
            mean=self.mean, scale=self.scale,
        )  # fmt: skip
        self.updates = 0
        longest = min(longest or x.shape[1] - 1, x.shape[1] - 1)
        for share, step in updates_within(seconds, self.net.parameters(), optimiser, rate):
            steps = next(window for window, stop in WINDOWS if share < stop) or longest
            index = rng.integers(len(z), size=batch)
            start = rng.integers(x.shape[1] - steps, size=batch)
            target = torch.stack([z[i, s : s + steps + 1] for i, s in zip(index, start)], dim=1)
            held = None
            if control is not None:
                held = np.stack([control[i, s : s + steps] for i, s in zip(index, start)])
            some = attribute if attribute is None or attribute.ndim == 2 else attribute[index]
            predicted = self._solve(target[0], graph, dt, steps, some, held)
            step(torch.nn.functional.huber_loss(predicted, target))
            self.updates += 1

    def _solve(
        self, z0: torch.Tensor, graph: Any, dt: float, steps: int, attribute: Any, control: Any
    ) -> torch.Tensor:
        from torchdiffeq import odeint

        batch, nodes, features = z0.shape
        edges, weight = edges_of(graph, batch, nodes)
        given = []
        if attribute is not None:
            attribute = np.broadcast_to(attribute, (batch, nodes, attribute.shape[-1]))
            given.append(_in_units(attribute, self.of_more[0]).flatten(0, 1))
        if control is None and not self.structure.unit:
            more = given[0] if given else None
            z = odeint(
                lambda _, z: self.net(z, edges, weight, more), z0.reshape(-1, features),
                torch.arange(steps + 1) * dt, method="rk4",
            )  # fmt: skip
            return z.reshape(steps + 1, batch, nodes, features)
        states = [z0.reshape(-1, features)]
        held = None if control is None else _in_units(control, self.of_more[1])
        times = torch.tensor([0.0, dt])
        for interval in range(steps):  # what is held changes between intervals
            parts = given if held is None else [*given, held[:, interval].flatten(0, 1)]
            more = torch.cat(parts, dim=1) if parts else None
            z = odeint(
                lambda _, z, more=more: self.net(z, edges, weight, more), states[-1], times,
                method="rk4",
            )[-1]  # fmt: skip
            states.append(self._projected(z))
        return torch.stack(states).reshape(steps + 1, batch, nodes, features)

    def _projected(self, z: torch.Tensor) -> torch.Tensor:
        """States whose features of ``unit`` have squares that add up to 1."""
        unit = list(self.structure.unit)
        if not unit:
            return z
        values = z[:, unit] * self.net.scale[unit] + self.net.mean[unit]
        values = values / values.norm(dim=1, keepdim=True)
        values = (values - self.net.mean[unit]) / self.net.scale[unit]
        return z.index_copy(1, torch.tensor(unit), values)

    @torch.no_grad()
    def rollout(
        self,
        x0: np.ndarray,
        graph: Any,
        dt: float,
        steps: int,
        *,
        attribute: np.ndarray | None = None,
        control: np.ndarray | None = None,
    ) -> np.ndarray:
        """(trajectory, time, node, feature) from x0 (trajectory, node, feature)."""
        z0 = torch.as_tensor((x0 - self.mean) / self.scale, dtype=torch.float32)
        z = self._solve(z0, graph, dt, steps, attribute, control).numpy().swapaxes(0, 1)
        return z * self.scale + self.mean


def _standard(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each column; 1 where nothing varies."""
    flat = values.reshape(-1, values.shape[-1])
    deviation = flat.std(0)
    return flat.mean(0), np.where(deviation > 0, deviation, 1.0)


def _in_units(values: np.ndarray, standard: Any) -> torch.Tensor:
    return torch.as_tensor((values - standard[0]) / standard[1], dtype=torch.float32)


def step_of(
    x: np.ndarray, graph: Any, dt: float, *, types: np.ndarray | None = None, more: int = 0,
    codes: bool = False, learned: bool = False, width: int = 32,
) -> Callable[[], Any]:  # fmt: skip
    """Loss and gradient of an `edge_ode` over all times of ``x`` (trajectory, time, node, feature).

    ``types`` (node,): numbers of types, of each of which nodes have a function F of their own and pairs
    one g a pair of types. ``more``: attributes of nodes, drawn, which are parameters with ``codes``.
    ``learned``: weights are parameters.
    """
    from torchdiffeq import odeint

    batch, times, nodes, features = x.shape
    edges, weight = edges_of(graph, batch, nodes)
    divisor = len(graph.sender) / nodes
    if learned:
        one = torch.ones(len(graph.sender), requires_grad=True)
    attribute = torch.randn(nodes, more, requires_grad=codes)
    nets = [edge_ode(width, features, divisor, more=more)]
    kinds = None
    if types is not None:
        count = int(types.max()) + 1
        kinds = torch.as_tensor(np.tile(types, batch))
        # One function of nodes for each type, and one of pairs for each pair of types, on their edges.
        nets = [edge_ode(width, features, divisor) for _ in range(count * count)]
        kind_of_edge = count * kinds[edges[0]] + kinds[edges[1]]
        edges_of_kind = [edges[:, kind_of_edge == k] for k in range(count * count)]
        nodes_of_kind = [torch.nonzero(kinds == k)[:, 0] for k in range(count)]
    z = torch.as_tensor(x, dtype=torch.float32)
    target = z.transpose(0, 1).reshape(times, -1, features)

    def rate(state: torch.Tensor, weights: Any, given: Any) -> torch.Tensor:
        if kinds is None:
            return nets[0](state, edges, weights, given)
        out = torch.zeros_like(state)
        for kind, at in enumerate(nodes_of_kind):
            out = out.index_add(0, at, nets[kind].own(state[at]))
        for net, some in zip(nets, edges_of_kind):
            out = out + net.propagate(some, x=state, code=state, weight=None) / divisor
        return out

    def step() -> torch.Tensor:
        weights = one.repeat(batch) if learned else weight
        given = attribute.repeat(batch, 1) if more else None
        for net in nets:
            net.zero_grad()
        found = odeint(
            lambda _, state: rate(state, weights, given),
            target[0],
            torch.arange(times) * dt,
            method="rk4",
        )
        loss = torch.nn.functional.huber_loss(found, target)
        loss.backward()
        return loss

    return step


class PastRival:
    """A graph network whose nodes hold their last ``past`` + 1 states, trained for ``seconds`` of CPU time.

    x_k(t + dt) = x_k(t) + D(e_k, sum_j g(e_k, e_j) / c) with e_k = E(states, attributes), in torch_geometric,
    on windows of growing length. ``x`` (trajectory, time, node, feature), all features angles, which enter as
    sine and cosine; ``attribute`` (node, attribute).
    """

    def __init__(
        self,
        x: np.ndarray,
        graph: Any,
        seconds: float,
        past: int,
        *,
        attribute: np.ndarray,
        longest: int,
        seed: int = 0,
        rate: float = 3e-3,
        batch: int = 16,
        width: int = 32,
    ) -> None:
        from torch_geometric.nn import MessagePassing

        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        nodes, features = x.shape[2:]
        self.past, self.graph = past, graph
        self.of_attribute = _standard(attribute)
        self.attribute = attribute
        self.mean, self.scale = _standard(np.diff(x, axis=1))
        divisor = len(graph.sender) / nodes

        class Network(MessagePassing):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__(aggr="add")
                inputs = 2 * features * (past + 1) + attribute.shape[1]
                self.encoder = perceptron(inputs, 2 * width, width)
                self.pair = perceptron(2 * width, width, width)
                self.decoder = perceptron(2 * width, width, features)

            def forward(self, inputs: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
                code = self.encoder(inputs)
                sent = self.propagate(edge_index, code=code) / divisor
                return self.decoder(torch.cat([code, sent], dim=1))

            def message(self, code_i: Any, code_j: Any) -> torch.Tensor:
                return self.pair(torch.cat([code_i, code_j], dim=1))

        self.net = Network()
        data = torch.as_tensor(x, dtype=torch.float32)
        self.updates = 0
        unit = torch.as_tensor(self.scale, dtype=torch.float32)
        for share, step in updates_within(seconds, self.net.parameters(), torch.optim.Adam, rate):
            steps = next(window for window, stop in WINDOWS if share < stop) or longest
            steps = min(steps, longest)
            index = rng.integers(len(x), size=batch)
            start = rng.integers(x.shape[1] - past - steps, size=batch)
            some = torch.stack([data[i, s : s + past + 1 + steps] for i, s in zip(index, start)])
            predicted = self._steps(some[:, : past + 1], steps)
            step(torch.nn.functional.huber_loss(predicted / unit, some[:, past + 1 :] / unit))
            self.updates += 1

    def _steps(self, states: torch.Tensor, steps: int) -> torch.Tensor:
        """The next states (trajectory, step, node, feature) after the ``past`` + 1 first ones."""
        batch, _, nodes, features = states.shape
        edges, _ = edges_of(self.graph, batch, nodes)
        attribute = _in_units(self.attribute, self.of_attribute).repeat(batch, 1)
        mean, scale = (torch.as_tensor(v, dtype=torch.float32) for v in (self.mean, self.scale))
        held = list(states.unbind(1))
        for _ in range(steps):
            last = torch.stack(held[-self.past - 1 :], dim=2).reshape(batch * nodes, -1)
            change = self.net(torch.cat([last.sin(), last.cos(), attribute], dim=1), edges)
            held.append(held[-1] + (change * scale + mean).reshape(batch, nodes, features))
        return torch.stack(held[self.past + 1 :], dim=1)

    @torch.no_grad()
    def rollout(self, first: np.ndarray, steps: int) -> np.ndarray:
        """(trajectory, step, node, feature) after ``first`` (trajectory, ``past`` + 1, node, feature)."""
        return self._steps(torch.as_tensor(first, dtype=torch.float32), steps).double().numpy()


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
        if self.system == "heat":
            return summed(sent - here)[..., None]
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


class ParticleRival:
    """Particles whose velocity changes by a network of pairs at the middle of leapfrog steps.

    Trained for ``seconds`` of CPU time by Adam on velocity changes of single steps. ``position``,
    ``velocity`` (trajectory, time, particle, axis), in a periodic box of ``side``, or in open space (None).
    ``source`` (trajectory, particle) and ``charge`` (trajectory, particle) or None: messages are multiplied by
    the source of the sender and the charges of both. ``relative``: errors of each particle count in units of
    its own velocity changes.
    """

    NEAR = 0.2
    WIDTH, RATE = 64, 5e-3  # units of a layer, and the first rate of Adam

    def __init__(
        self,
        position: np.ndarray,
        velocity: np.ndarray,
        side: float | None,
        dt: float,
        seconds: float,
        *,
        seed: int = 0,
        batch: int = 8,
        source: np.ndarray | None = None,
        charge: np.ndarray | None = None,
        length: float | None = None,
        relative: bool = False,
    ) -> None:
        torch.manual_seed(seed)
        rng = np.random.default_rng(seed)
        self.dt = dt
        self.takes_source, self.takes_charge = source is not None, charge is not None
        change = np.diff(velocity, axis=1)
        self.scale = float(change.std())
        particles = position.shape[2]
        self.length = length or (side or 1.0) / particles**0.5
        unit = np.ones(particles)
        if relative:
            unit = np.sqrt((change**2).mean((0, 1, 3))) / self.scale
        per = torch.as_tensor(unit, dtype=torch.float32)[:, None]
        self.net = self.network(position.shape[3], self.WIDTH)
        self.updates = 0
        trajectories, times = position.shape[0], position.shape[1] - 1
        for _, step in updates_within(seconds, self.net.parameters(), torch.optim.Adam, self.RATE):
            i, t = rng.integers(trajectories, size=batch), rng.integers(times, size=batch)
            x, v, later = (
                torch.as_tensor(a.astype(np.float32))
                for a in (position[i, t], velocity[i, t], velocity[i, t + 1] - velocity[i, t])
            )
            about = [
                None if a is None else torch.as_tensor(a[i].astype(np.float32))
                for a in (source, charge)
            ]
            error = self.change(x + 0.5 * dt * v, side, *about) - later / self.scale
            step((error / per).square().mean())
            self.updates += 1

    def network(self, axes: int, width: int) -> Any:
        raise NotImplementedError

    def change(self, x: torch.Tensor, side: float | None, source: Any, charge: Any) -> torch.Tensor:
        """Velocity change (set, particle, axis) of positions, in units of ``scale``."""
        raise NotImplementedError

    def apart(self, d: torch.Tensor, side: float | None) -> torch.Tensor:
        """Displacements to the nearest image."""
        return d if side is None else d - side * torch.round(d / side)

    def lengths(self, d: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Distances (..., 1) and inputs (..., 2) of displacements."""
        square = d.square().sum(-1, keepdim=True)
        r = (square + 1e-12).sqrt()
        return r, torch.cat([r / self.length, torch.log(square + self.NEAR**2)], -1)

    @torch.no_grad()
    def rollout(self, truth: Any) -> Any:
        """The dataset ``truth`` with predicted positions and velocities."""
        about = json.loads(truth.attrs["pympnode"]).get("parameters") or {}
        side = about.get("side")
        position, velocity = truth.position.values.copy(), truth.velocity.values.copy()
        per = [
            torch.as_tensor(truth[name].values.astype(np.float32)) if wanted else None
            for name, wanted in (("mass", self.takes_source), ("charge", self.takes_charge))
        ]
        for i in range(len(position)):
            given = [None if a is None else a[i][None] for a in per]
            for t in range(position.shape[1] - 1):
                x, v = position[i, t], velocity[i, t]
                middle = torch.as_tensor((x + 0.5 * self.dt * v).astype(np.float32))[None]
                change = self.scale * self.change(middle, side, *given)[0].double().numpy()
                velocity[i, t + 1] = v + change
                x = x + self.dt * (v + 0.5 * change)
                position[i, t + 1] = x if side is None else x - side * np.floor(x / side + 0.5)
        return truth.assign(
            position=(truth.position.dims, position), velocity=(truth.velocity.dims, velocity)
        )


class RadialRival(ParticleRival):
    """A one-layer network of particles, equivariant as EGNN is, in plain torch with leapfrog steps.

    dv_i = sum_j w_ij f(r_ij) d_ij / (r_ij + c), with f a perceptron of r and log(r^2 + c^2), c = 0.2 (Satorras,
    Hoogeboom, Welling, ICML 2021, with one layer).
    """

    def network(self, axes: int, width: int) -> Any:
        layers = torch.nn
        return layers.Sequential(
            layers.Linear(2, width), layers.SiLU(), layers.Linear(width, width), layers.SiLU(),
            layers.Linear(width, 1),
        )  # fmt: skip

    def change(self, x: torch.Tensor, side: float | None, source: Any, charge: Any) -> torch.Tensor:
        total, first = [], 0
        for some in x.split(200, dim=1):  # receivers: a thousand particles have a million pairs
            d = self.apart(x[:, None] - some[:, :, None], side)
            r, inputs = self.lengths(d)
            sent = self.net(inputs) * d / (r + self.NEAR)
            if source is not None:
                sent = sent * source[:, None, :, None]
            if charge is not None:
                here = charge[:, first : first + some.shape[1]]
                sent = sent * (charge[:, None] * here[:, :, None])[..., None]
            total.append(sent.sum(2))
            first += some.shape[1]
        return torch.cat(total, 1)


class InteractionRival(ParticleRival):
    """An interaction network of all pairs in torch_geometric with leapfrog steps.

    dv_i = N(sum_j w_ij g(d_ij, r_ij, log(r_ij^2 + c^2), w_ij)) with perceptrons g and N (Battaglia et al.,
    NeurIPS 2016; one message passing step of GNS, Sanchez-Gonzalez et al., ICML 2020, without a cut-off,
    because the forces have none). It assumes no direction of a force.
    """

    WIDTH, RATE = 32, 1e-2

    def network(self, axes: int, width: int) -> Any:
        from torch_geometric.nn import MessagePassing

        weighted = self.takes_source or self.takes_charge

        class Network(MessagePassing):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__(aggr="add")
                layers = torch.nn
                self.pair = layers.Sequential(
                    layers.Linear(axes + 2 + weighted, width), layers.SiLU(),
                    layers.Linear(width, width), layers.SiLU(), layers.Linear(width, width),
                )  # fmt: skip
                self.node = layers.Sequential(
                    layers.Linear(width, width), layers.SiLU(), layers.Linear(width, axes)
                )
                self.straight = layers.Linear(width, axes, bias=False)

            def forward(self, nodes: int, edge_index: Any, inputs: Any, weight: Any) -> Any:
                sent = self.propagate(edge_index, inputs=inputs, weight=weight, size=(nodes, nodes))
                return self.straight(sent) + self.node(sent)

            def message(self, inputs: torch.Tensor, weight: Any) -> torch.Tensor:
                if weight is None:
                    return self.pair(inputs)
                return weight * self.pair(torch.cat([inputs, weight], dim=1))

        return Network()

    def change(self, x: torch.Tensor, side: float | None, source: Any, charge: Any) -> torch.Tensor:
        sets, particles, axes = x.shape
        total = []
        every = torch.arange(particles)
        for some in every.split(max(1, 250_000 // (sets * particles))):
            i, j = some.repeat_interleave(particles), every.repeat(len(some))
            i, j = i[i != j], j[i != j]
            d = self.apart(x[:, j] - x[:, i], side)
            r, lengths = self.lengths(d)
            inputs = torch.cat([d / (r + self.NEAR), lengths], -1).flatten(0, 1)
            weight = None
            if source is not None:
                weight = source[:, j]
            if charge is not None:
                both = charge[:, j] * charge[:, i]
                weight = both if weight is None else weight * both
            offset = particles * torch.arange(sets)[:, None]
            ends = torch.stack([(j + offset).flatten(), (i + offset).flatten()])
            weight = None if weight is None else weight.reshape(-1, 1)
            found = self.net(sets * particles, ends, inputs, weight)
            total.append(found.reshape(sets, particles, axes)[:, some])
        return torch.cat(total, 1)
