"""Simulated datasets as plain arrays: seeds, blocks, controls, noise.

Seeds. Every random number of trajectory i comes from ``SeedSequence(seed, spawn_key=(stream, i))``
with stream 0 for the initial state, 1 controls, 2 noise, 3 split, 4 parameters: it depends on (seed, i) alone.

Blocks. Trajectories ``64 b .. 64 b + 63`` are integrated together, with one step size for those on
the same graph. A block is always integrated whole, and trajectories beyond the requested number
are dropped. Rounding and step sizes of a trajectory therefore do not depend on that number: a
smaller dataset is a prefix of a larger one bit for bit, and parts can be made in any order
(``first=``).

Split (`datasets.split`). The ``round(share * n)`` trajectories with the smallest draws of stream 3
are "train", the others "validation": an exact share, fixed by (seed, n). The split of a smaller
dataset is no prefix of that of a larger one, because the share is of another number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import positive, whole
from ..datasets.reading import numbers
from ..datasets.split import (
    CONTROL_STREAM,
    INITIAL_STREAM,
    NOISE_STREAM,
    PARAMETER_STREAM,
    rng_of,
)
from ..errors import IntegrationFailed, InvalidData, InvalidOption, shown_value
from ..graph import Graph
from ..systems.base import System
from ..systems.registry import get
from .integrate import Solution, integrate
from .memory import require_simulation

# Large enough for matrix products to be efficient, small enough that the trajectory with the largest
# error does not shorten the steps of many others.
BLOCK = 64


@dataclass(frozen=True, eq=False)
class Generated:
    """A dataset before it is packed.

    x: float64 (trajectory, time, node, feature), noise included. time: (time,).
    u: (trajectory, time, node, control), held from t_i to t_(i+1), or None.
    graph_of: int64 (trajectory,). parameters: resolved, shared by all graphs unless their dims
    say graph. attribute: (node, attribute), (trajectory, node, attribute) where the system draws some by
    trajectory, or None; ``attribute_names`` (attribute,).
    evaluations, steps, rejected: of the solver, over all blocks.
    """

    x: np.ndarray
    time: np.ndarray
    u: np.ndarray | None
    graph: Graph
    graph_of: np.ndarray
    parameters: dict[str, Any]
    attribute: np.ndarray | None
    attribute_names: list[str]
    seed: int
    method: str
    tolerance: float
    evaluations: int
    steps: int
    rejected: int


def generate(
    system: str | System,
    graph: Graph,
    parameters: Mapping[str, Any] | None = None,
    trajectories: int = 100,
    times: np.ndarray | None = None,
    seed: int = 0,
    *,
    steps: int | None = None,
    dt: float | None = None,
    controls: np.ndarray | None = None,
    initial: np.ndarray | None = None,
    noise: float | np.ndarray = 0.0,
    first: int = 0,
    tolerance: float = 1e-8,
    solve: Callable[..., Solution] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Generated:
    """Simulate trajectories ``first .. first + trajectories - 1`` of a system.

    graph: one or several graphs of the same node count; trajectory i lives on graph i % graphs.
    parameters: changes to the defaults, by name. times (time,), or ``steps`` intervals of ``dt``
        (both default to the system's).
    controls: (trajectory, time, node, control), or without the first axis for all alike; None
        draws those of the system. initial: (trajectory, node, feature) instead of drawn states.
    noise: standard deviation of measurement noise in the units of the state, one number or one per
        feature; added to the returned states, not to the dynamics.
    tolerance: relative and absolute, of the solver (see `integrate`).
    solve: an engine's solver to use instead of `integrate`: ``solve(x0, graph, parameters, times,
        tolerance, controls=)`` -> Solution, without raising for failed trajectories.
    progress: called with (trajectories done, all) after each block.
    Raises IntegrationFailed (trajectory, node, feature, time), InvalidData, InvalidOption,
    UnknownName.
    """
    system = get(system)
    trajectories = whole("trajectories", trajectories, 1)
    first, seed = whole("first", first, 0), whole("seed", seed, 0)
    if np.any(graph.nodes != graph.nodes[0]):
        raise InvalidData(
            "one dataset has one number of nodes",
            got=sorted(set(graph.nodes.tolist())),
            fix="make one dataset for each size; train(data=[a, b]) mixes them",
        )
    nodes = int(graph.nodes[0])
    require_simulation(
        trajectories,
        _count_of(system, times, steps),
        nodes,
        system.features + len(system.controls),
        graphs=graph.graphs,
        block=BLOCK,
    )
    time = _time_grid(system, times, steps, dt)
    system.check_graph(graph)
    resolved = system.resolve_parameters(parameters, graph)
    noise_std = _noise(noise, system)
    if initial is not None:
        initial = _fit(initial, (trajectories, nodes, system.features), "initial")
    user_controls = _user_controls(controls, system, trajectories, time, nodes)

    x = np.empty((trajectories, time.size, nodes, system.features))
    u = (
        np.empty((trajectories, time.size, nodes, len(system.controls)))
        if system.controls
        else None
    )
    # Other graphs have no trajectory.
    used = range(min(graph.graphs, first + trajectories + BLOCK))
    of_graphs = [system.parameters_of_graph(resolved, graph, g) for g in used]
    fields = [system.bind(graph[g], of_graphs[g]) for g in used]
    varied: dict[str, np.ndarray] = {}
    counts = np.zeros(3, dtype=np.int64)
    for start in range(first - first % BLOCK, first + trajectories, BLOCK):
        wanted = range(max(start, first), min(start + BLOCK, first + trajectories))
        # Given initial states or controls end with the last requested trajectory: no whole block.
        drawn = initial is None and user_controls is None
        members = range(start, start + BLOCK) if drawn else wanted
        for g in sorted({i % graph.graphs for i in wanted}):
            group = [i for i in members if i % graph.graphs == g]
            keep = [i for i in group if i in wanted]
            if not keep:
                continue
            x0 = np.array([_start(system, seed, i, nodes, initial, first) for i in group])
            u_group = _controls(system, seed, group, nodes, time, user_controls, first)
            drawn_parameters = _parameters(system, seed, group, of_graphs[g], graph[g])
            of_group = of_graphs[g] | drawn_parameters
            if solve is not None:
                solution = solve(x0, graph[g], of_group, time, tolerance, controls=u_group)
            else:
                field = system.bind(graph[g], of_group) if drawn_parameters else fields[g]
                solution = integrate(
                    field, x0, time, controls=u_group, rtol=tolerance, atol=tolerance,
                    check=False,
                )  # fmt: skip
            _check(solution, group, keep)
            # Trajectories of one graph are ``graphs`` apart, so slices do in place of indices.
            solved = slice(group.index(keep[0]), group.index(keep[-1]) + 1)
            stored = slice(keep[0] - first, keep[-1] - first + 1, graph.graphs)
            x[stored] = solution.x[solved]
            if u is not None and u_group is not None:
                u[stored] = u_group[solved]
            for name, of_name in drawn_parameters.items():
                varied.setdefault(name, np.empty((trajectories, nodes)))[stored] = of_name[solved]
            counts += (solution.evaluations, solution.steps, solution.rejected)
        if progress is not None:
            progress(wanted.stop - first, trajectories)
    if np.any(noise_std > 0):
        for i in range(trajectories):
            x[i] += noise_std * rng_of(seed, NOISE_STREAM, first + i).standard_normal(x.shape[1:])
    return Generated(
        x=x, time=time, u=u, graph=graph,
        graph_of=(first + np.arange(trajectories)) % graph.graphs, parameters=resolved,
        attribute=system.attribute_array(resolved, graph, varied),
        attribute_names=system.attribute_names(resolved, graph, varied), seed=seed, method=solution.method,
        tolerance=tolerance, evaluations=int(counts[0]), steps=int(counts[1]),
        rejected=int(counts[2]),
    )  # fmt: skip


def check_request(
    system: str | System,
    graph: Graph,
    *,
    parameters: Mapping[str, Any] | None = None,
    trajectories: int = 100,
    seed: int = 0,
    steps: int | None = None,
    dt: float | None = None,
    noise: Any = 0.0,
) -> None:
    """Raise what `generate` raises for these keywords, without simulating anything."""
    system = get(system)
    whole("trajectories", trajectories, 1)
    whole("seed", seed, 0)
    _time_grid(system, None, steps, dt)
    system.check_graph(graph)
    system.resolve_parameters(parameters, graph)
    _noise(noise, system)


def _start(
    system: System, seed: int, i: int, nodes: int, initial: np.ndarray | None, first: int
) -> np.ndarray:
    """The initial state (node, feature) of trajectory i, given or drawn."""
    if initial is not None:
        return initial[i - first]
    state = np.asarray(system.initial(rng_of(seed, INITIAL_STREAM, i), nodes), dtype=np.float64)
    if state.shape != (nodes, system.features):
        raise InvalidData(
            f"initial of {system.name} returns another shape",
            got=state.shape,
            allowed=f"(node, feature) = {(nodes, system.features)}",
        )
    return state


def _controls(
    system: System,
    seed: int,
    group: list[int],
    nodes: int,
    time: np.ndarray,
    user_controls: np.ndarray | None,
    first: int,
) -> np.ndarray | None:
    """(trajectory, time, node, control) of the trajectories of ``group``; None without controls."""
    if not system.controls:
        return None
    if user_controls is not None:
        return user_controls[np.array(group) - first]
    drawn = [system.sample_controls(rng_of(seed, CONTROL_STREAM, i), nodes, time) for i in group]
    return _fit(np.array(drawn), (len(group), time.size, nodes, len(system.controls)), "controls")


def _parameters(
    system: System, seed: int, group: list[int], parameters: Mapping[str, Any], graph: Graph
) -> dict[str, np.ndarray]:
    """Parameters (trajectory, node) of the trajectories of ``group`` that vary by trajectory."""
    drawn = [
        system.sample_parameters(rng_of(seed, PARAMETER_STREAM, i), parameters, graph)
        for i in group
    ]
    shape = (len(group), graph.total_nodes)
    for name in drawn[0]:
        if name not in system.node_attributes:
            raise InvalidData(
                f"sample_parameters of {system.name} returns what is no attribute of nodes",
                got=name,
                allowed=", ".join(system.node_attributes) or "nothing",
                fix=f"node_attributes = ({name!r},)",
            )
    return {name: _fit([each[name] for each in drawn], shape, name) for name in drawn[0]}


def _check(solution: Solution, group: list[int], keep: list[int]) -> None:
    """Raise for the first failed trajectory among the requested ones."""
    failed = [f for f in solution.failures if group[f.trajectory] in keep]
    if not failed:
        return
    bad = min(failed, key=lambda failure: failure.trajectory)
    raise IntegrationFailed(
        f"the integration failed: {bad.reason}",
        got=f"trajectory {group[bad.trajectory]}, node {bad.node}, feature {bad.feature}, "
        f"time {bad.time:.6g}",
        allowed="finite derivatives on the whole time grid",
        fix="check the field and parameters there, start from a smaller range, or take fewer steps",
    )


def _fit(values: Any, shape: tuple[int, ...], name: str) -> np.ndarray:
    array = numbers(name, values)
    if array.shape != shape:
        raise InvalidData(f"{name} has the wrong shape", got=array.shape, allowed=shape)
    if not np.all(np.isfinite(array)):
        raise InvalidData(f"{name} is not finite", fix="remove NaN and infinity")
    return array


def _count_of(system: System, times: Any, steps: Any) -> int:
    """Number of times of the grid, before it is made."""
    if times is not None:
        return int(np.size(times))
    return 1 + whole("steps", system.steps if steps is None else steps, 1)


def _time_grid(
    system: System, times: np.ndarray | None, steps: int | None, dt: float | None
) -> np.ndarray:
    if times is None:
        steps = whole("steps", system.steps if steps is None else steps, 1)
        return np.arange(steps + 1) * positive("dt", system.dt if dt is None else dt)
    if steps is not None or dt is not None:
        raise InvalidOption("times excludes steps and dt", fix="give either")
    grid = np.asarray(times, dtype=np.float64)
    if grid.ndim != 1 or grid.size < 2 or not np.all(np.diff(grid) > 0):
        raise InvalidData("times must increase", got=str(grid)[:80], allowed="at least two times")
    return grid


def _noise(noise: Any, system: System) -> np.ndarray:
    try:
        std = numbers("noise", noise)
    except InvalidData:
        std = np.array(np.nan)
    fits = std.ndim == 0 or std.shape == (system.features,)
    if not fits or not np.all(np.isfinite(std)) or np.any(std < 0):
        raise InvalidOption(
            "noise is a standard deviation",
            got=shown_value(noise),
            allowed=f">= 0, one number or {system.features}",
        )
    return std


def _user_controls(
    controls: Any, system: System, trajectories: int, time: np.ndarray, nodes: int
) -> np.ndarray | None:
    if controls is None:
        return None
    if not system.controls:
        raise InvalidOption(
            f"{system.name} takes no controls",
            got=shown_value(controls, 80),
            fix="leave control= out",
        )
    array = numbers("control", controls)
    wanted = (trajectories, time.size, nodes, len(system.controls))
    if array.shape == wanted[1:]:
        array = np.broadcast_to(array, wanted)
    return _fit(array, wanted, "controls")
