"""Simulated datasets as plain arrays: seeds, blocks, controls, noise.

Seeds. Every random number of trajectory i comes from ``SeedSequence(seed, spawn_key=(stream, i))`` with
stream 0 for the initial state, 1 controls, 2 noise, 3 split, 4 parameters: it depends on (seed, i)
alone.

Shipped systems are solved in machine code (`compiled.solve`), each trajectory with steps of its own,
so that it depends on (seed, i) bit by bit whatever else is simulated.

Blocks. Other systems are solved in NumPy: trajectories ``n b .. n b + n - 1`` are integrated together,
with one step size for those on the same graph. n is `block_size`, 64 for small systems, fewer for
large ones or long recordings, and follows from nodes, features and times alone. A block is always
integrated whole, and trajectories beyond the requested number are dropped. Rounding and step sizes of
a trajectory therefore do not depend on that number.

Systems with feedback or constraints simulate each trajectory themselves (`System.simulate_trajectory`),
from the generator of stream 0.

In all cases a smaller dataset is a prefix of a larger one bit for bit, and parts can be made in any
order (``first=``).

Split (`datasets.split`). The ``round(share * n)`` trajectories with the smallest draws of stream 3
are "train", the others "validation": an exact share, fixed by (seed, n). The split of a smaller
dataset is no prefix of that of a larger one, because the share is of another number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..config import positive, whole
from ..datasets.reading import numbers
from ..datasets.split import (
    CONTROL_STREAM,
    INITIAL_STREAM,
    NOISE_STREAM,
    PARAMETER_STREAM,
)
from ..datasets.streams import rngs_of
from ..errors import IntegrationFailed, InvalidData, InvalidOption, shown_value
from ..graph import Graph
from ..systems.base import System
from ..systems.registry import get
from .compiled.solve import code_block, compiled_field, working_memory
from .compiled.solve import solve as solve_compiled
from .delays import integrate_delayed, require_delayed
from .integrate import Solution, integrate
from .memory import require_simulation
from .runge_kutta import DOP853

# Large enough for matrix products to be efficient, small enough that the trajectory with the largest
# error does not shorten the steps of many others.
BLOCK = 64

# Numbers in one stage of a block, and in its recorded states: the arrays of a stage stay in the cache,
# and a block of long recordings in memory.
_STAGE_NUMBERS = 2**15
_RECORDED_NUMBERS = 2**22


def block_size(nodes: int, features: int, points: int) -> int:
    """Trajectories of a block of the solver in NumPy: a power of two, from 1 to 64.

    nodes, features: of the system. points: recorded times. It depends on these three alone.

    >>> block_size(10, 3, 51), block_size(1000, 3, 51), block_size(100_000, 3, 51)
    (64, 8, 1)
    """
    components = nodes * features
    most = min(_STAGE_NUMBERS // components, _RECORDED_NUMBERS // (components * points), BLOCK)
    return 1 << (max(most, 1).bit_length() - 1)


@dataclass(frozen=True, eq=False)
class Generated:
    """A dataset before it is packed.

    x: float64 (trajectory, time, node, feature), noise included. time: (time,).
    u: (trajectory, time, node, control), held from t_i to t_(i+1), or None.
    graph_of: int64 (trajectory,). parameters: resolved, shared by all graphs unless their dims
    say graph. attribute: (node, attribute), (trajectory, node, attribute) where the system draws some by
    trajectory, or None; ``attribute_names`` (attribute,).
    edge_weight: weights (time, edge) that vary in time, or None.
    evaluations, steps, rejected: of the solver, over all trajectories where the system is solved in
    machine code, else over all blocks, whose trajectories share them.
    of_trajectory: (trajectory,) by name of `System.of_trajectory`. draws: of a system that simulates its
    trajectories itself, how many were drawn, the share that was drawn anew, and the share of draws with each
    flag; the tolerance is then NaN, and the counts of the solver are 0. Else None.
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
    edge_weight: np.ndarray | None = None
    of_trajectory: dict[str, np.ndarray] = field(default_factory=dict)
    draws: dict[str, Any] | None = None


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
    compiled: bool = True,
    progress: Callable[[int, int], None] | None = None,
    edge_weight: Any = None,
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
    compiled: False solves shipped systems in NumPy too, the reference. Both agree to the tolerance.
    progress: called with (trajectories done, all) after each block.
    edge_weight: weights (time, edge) of the edges of a graph without weights, or a function of the times
        that returns them; each is held from t_i to t_(i+1), and the last is unused. The systems are
        then solved in NumPy.
    Delays of the edges of ``graph`` are solved by the method of steps (`networks.delays`), without
    ``tolerance``.
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
    widths = system.features + len(system.controls)
    require_simulation(trajectories, _count_of(system, times, steps), nodes, widths)
    time = _time_grid(system, times, steps, dt)
    weight = None
    if edge_weight is not None:
        weight = _weights_in_time(edge_weight, graph, time)
        # A system may refuse weights by their sign.
        for extreme in (weight[:-1].min(axis=0), weight[:-1].max(axis=0)):
            system.check_graph(graph.with_weight(extreme))
    bare, graph = graph, graph if weight is None else graph.with_weight(weight[0])
    system.check_graph(graph)
    resolved = system.resolve_parameters(parameters, graph)
    noise_std = _noise(noise, system)
    if initial is not None:
        initial = _fit(initial, (trajectories, nodes, system.features), "initial")
    user_controls = _user_controls(controls, system, trajectories, time, nodes)

    # Other graphs have no trajectory.
    used = range(min(graph.graphs, first + trajectories))
    of_graphs = [system.parameters_of_graph(resolved, graph, g) for g in used]
    if system.simulates_itself:
        require_delayed(system, graph, float(time[1] - time[0]))
        if weight is not None:
            raise InvalidOption(
                f"{system.name} simulates its trajectories itself, on weights that are constant",
                got="edge_weight (time, edge)",
                allowed="no weights that vary in time",
            )
        x, u, own, draws = _simulated_by_system(
            system, graph, of_graphs, time, seed, range(first, first + trajectories), initial,
            user_controls, progress,
        )  # fmt: skip
        _add_noise(x, noise_std, seed, first)
        return Generated(
            x=x, time=time, u=u, graph=graph, graph_of=_graph_of(graph, first, trajectories),
            parameters=resolved, attribute=system.attribute_array(resolved, graph),
            attribute_names=system.attribute_names(resolved, graph), seed=seed,
            method=f"of the system {system.name}", tolerance=float("nan"), evaluations=0, steps=0,
            rejected=0, of_trajectory=own, draws=draws,
        )  # fmt: skip
    delayed = graph.delay is not None and bool(np.any(graph.delay > 0))
    if delayed:
        require_delayed(system, graph, float(time[1] - time[0]))
        if weight is not None:
            raise InvalidOption(
                "simulated edges have delays, or weights that vary in time",
                got="both",
                allowed="one of them",
            )
        solve = None
    in_code = compiled and solve is None and weight is None and not delayed
    codes = [compiled_field(system, graph[g], of_graphs[g]) if in_code else None for g in used]
    in_code = all(code is not None for code in codes)
    values = time.size * nodes * widths
    if in_code:
        block = code_block(nodes, system.features, graph.graphs)
        together = min(trajectories, -(-block // graph.graphs))
        working = working_memory(nodes, system.features, block)
        # With one graph the solver writes to the dataset itself.
        working += 8 * values * together * (graph.graphs > 1)
    else:
        block = BLOCK if solve is not None else block_size(nodes, system.features, time.size)
        together = -(-block // graph.graphs)
        # The solution of a block, its copy in the order of the dataset, and the block before it.
        blocks = 1.4 if trajectories <= together else 3.3
        working = 8 * nodes * system.features * together * (DOP853.stages + 8)
        working += int(8 * values * together * blocks)
    require_simulation(trajectories, time.size, nodes, widths, working)
    x = np.empty((trajectories, time.size, nodes, system.features))
    u = (
        np.empty((trajectories, time.size, nodes, len(system.controls)))
        if system.controls
        else None
    )
    fields = [] if in_code else [system.bind(graph[g], of_graphs[g]) for g in used]
    varied: dict[str, np.ndarray] = {}
    counts = np.zeros(3, dtype=np.int64)
    for start in range(first - first % block, first + trajectories, block):
        wanted = range(max(start, first), min(start + block, first + trajectories))
        # Given initial states or controls end with the last requested trajectory: no whole block.
        drawn = initial is None and user_controls is None
        members = range(start, start + block) if drawn and not in_code else wanted
        for g in sorted({i % graph.graphs for i in wanted}):
            group = [i for i in members if i % graph.graphs == g]
            keep = [i for i in group if i in wanted]
            if not keep:
                continue
            x0 = _starts(system, seed, group, nodes, initial, first)
            u_group = _controls(system, seed, group, nodes, time, user_controls, first)
            drawn_parameters = _parameters(system, seed, group, of_graphs[g], graph[g])
            of_group = of_graphs[g] | drawn_parameters
            # Trajectories of one graph are ``graphs`` apart, so slices do in place of indices.
            solved = slice(group.index(keep[0]), group.index(keep[-1]) + 1)
            stored = slice(keep[0] - first, keep[-1] - first + 1, graph.graphs)
            code = codes[g]
            if delayed:
                solution = integrate_delayed(system, graph[g], of_group, x0, time, controls=u_group)
            elif solve is not None:
                solution = solve(x0, graph[g], of_group, time, tolerance, controls=u_group)
            elif in_code and code is not None:
                if drawn_parameters:
                    code = system.compiled_field(graph[g], of_group)
                solution = solve_compiled(
                    code, x0, time, controls=u_group, rtol=tolerance, atol=tolerance,
                    out=x[stored] if graph.graphs == 1 else None,
                )  # fmt: skip
            else:
                field = system.bind(graph[g], of_group) if drawn_parameters else fields[g]
                field_of = None if weight is None else _held(system, bare, weight, g, of_group)
                solution = integrate(
                    field, x0, time, controls=u_group, rtol=tolerance, atol=tolerance,
                    check=False, field_of=field_of,
                )  # fmt: skip
            _check(solution, group, keep)
            if not (in_code and graph.graphs == 1):
                x[stored] = solution.x[solved]
            if u is not None and u_group is not None:
                u[stored] = u_group[solved]
            for name, of_name in drawn_parameters.items():
                varied.setdefault(name, np.empty((trajectories, nodes)))[stored] = of_name[solved]
            counts += (solution.evaluations, solution.steps, solution.rejected)
        if progress is not None:
            progress(wanted.stop - first, trajectories)
    _add_noise(x, noise_std, seed, first)
    return Generated(
        x=x, time=time, u=u, graph=bare, graph_of=_graph_of(graph, first, trajectories),
        parameters=resolved,
        attribute=system.attribute_array(resolved, graph, varied),
        attribute_names=system.attribute_names(resolved, graph, varied), seed=seed, method=solution.method,
        tolerance=tolerance, evaluations=int(counts[0]), steps=int(counts[1]),
        rejected=int(counts[2]), edge_weight=weight,
    )  # fmt: skip


def _weights_in_time(edge_weight: Any, graph: Graph, time: np.ndarray) -> np.ndarray:
    """Weights (time, edge), finite at all times but the last. Raises `InvalidData`."""
    values = edge_weight(time) if callable(edge_weight) else edge_weight
    if np.ndim(values) == 2 and len(values) == time.size - 1:
        values = np.concatenate([values, np.asarray(values)[-1:]])
    try:
        weight = np.array(values, dtype=np.float64)
    except (TypeError, ValueError):
        weight = np.zeros(0)
    if weight.shape != (time.size, graph.edges):
        raise InvalidData(
            "weights that vary in time do not fit the times and the edges",
            got=f"shape {np.shape(values)}",
            allowed=f"({time.size}, {graph.edges}): (time, edge), each held from t_i to t_(i+1)",
            fix="give them in the order of the edges of the graph, by receiver, then sender",
        )
    if not np.isfinite(weight[:-1]).all():
        raise InvalidData(
            "weights that vary in time are not finite",
            got=f"{int((~np.isfinite(weight[:-1])).sum())} of {weight[:-1].size} are NaN or infinite",
            allowed="finite numbers at all times but the last",
            fix="fill them in; an edge of weight 0 carries nothing",
        )
    return weight


def _held(
    system: System, graph: Graph, weight: np.ndarray, number: int, parameters: Mapping[str, Any]
) -> Callable[[int], Any]:
    """The field of a system on graph ``number`` in each interval, by the number of the interval."""
    edges = slice(int(graph.edge_offset[number]), int(graph.edge_offset[number + 1]))
    one = graph[number]

    def field_of(interval: int) -> Any:
        return system.bind(one.with_weight(weight[interval, edges]), parameters)

    return field_of


def _simulated_by_system(
    system: System,
    graph: Graph,
    of_graphs: list[dict[str, Any]],
    time: np.ndarray,
    seed: int,
    numbers: range,
    initial: np.ndarray | None,
    user_controls: np.ndarray | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, np.ndarray | None, dict[str, np.ndarray], dict[str, Any]]:
    """States, controls, values by trajectory and draws, of `System.simulate_trajectory`, for ``numbers``."""
    trajectories, nodes = len(numbers), int(graph.nodes[0])
    shape = (time.size, nodes, system.features)
    x = np.empty((trajectories, *shape))
    u = np.empty((trajectories, *shape[:2], len(system.controls))) if system.controls else None
    own: dict[str, list[float | str]] = {v.name: [] for v in system.of_trajectory}
    drawn, flags = 0, dict[str, int]()
    for i, rng in enumerate(rngs_of(seed, INITIAL_STREAM, numbers)):
        number = numbers[i] % graph.graphs
        made = system.simulate_trajectory(
            rng, time, graph[number], of_graphs[number],
            initial=None if initial is None else initial[i],
            controls=None if user_controls is None else user_controls[i],
        )  # fmt: skip
        x[i] = _simulated(made.x, shape, system, "x", numbers[i])
        if u is not None:
            u[i] = _simulated(made.u, u.shape[1:], system, "u", numbers[i])
        for name, of_name in own.items():
            of_name.append(made.of_trajectory[name])
        drawn += made.drawn
        for name, count in made.flags.items():
            flags[name] = flags.get(name, 0) + count
        if progress is not None:
            progress(i + 1, trajectories)
    draws = {
        "drawn": drawn,
        "redrawn_share": 1 - trajectories / drawn,
        "flag_share": {name: count / drawn for name, count in flags.items()},
    }
    return x, u, {name: np.array(of_name) for name, of_name in own.items()}, draws


def _graph_of(graph: Graph, first: int, trajectories: int) -> np.ndarray:
    """Graph numbers (trajectory,)."""
    return (first + np.arange(trajectories)) % graph.graphs


def _simulated(
    values: Any, shape: tuple[int, ...], system: System, name: str, trajectory: int
) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape:
        raise InvalidData(
            f"simulate_trajectory of {system.name} returns {name} of another shape",
            got=array.shape,
            allowed=shape,
        )
    if not np.all(np.isfinite(array)):
        raise IntegrationFailed(
            f"simulate_trajectory of {system.name} returns {name} that is not finite",
            got=f"trajectory {trajectory}",
            allowed="finite numbers",
            fix="check the parameters, initial states and controls, or take fewer steps",
        )
    return array


def _add_noise(x: np.ndarray, noise_std: np.ndarray, seed: int, first: int) -> None:
    """Add measurement noise to states (trajectory, time, node, feature), in place."""
    if not np.any(noise_std > 0):
        return
    numbers = range(first, first + len(x))
    for states, rng in zip(x, rngs_of(seed, NOISE_STREAM, numbers), strict=True):
        states += noise_std * rng.standard_normal(x.shape[1:])


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


def _starts(
    system: System, seed: int, group: list[int], nodes: int, initial: np.ndarray | None, first: int
) -> np.ndarray:
    """The initial states (trajectory, node, feature) of the trajectories of ``group``, given or drawn."""
    if initial is not None:
        return initial[np.array(group) - first]
    states = np.empty((len(group), nodes, system.features))
    if type(system).initial is System.initial:  # the same numbers with less work for each
        for state, rng in zip(states, rngs_of(seed, INITIAL_STREAM, group), strict=True):
            rng.random(out=state)
        return system.from_unit_interval(states)
    for state, rng in zip(states, rngs_of(seed, INITIAL_STREAM, group), strict=True):
        drawn = np.asarray(system.initial(rng, nodes), dtype=np.float64)
        if drawn.shape != state.shape:
            raise InvalidData(
                f"initial of {system.name} returns another shape",
                got=drawn.shape,
                allowed=f"(node, feature) = {(nodes, system.features)}",
            )
        state[...] = drawn
    return states


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
    drawn = [
        system.sample_controls(rng, nodes, time) for rng in rngs_of(seed, CONTROL_STREAM, group)
    ]
    return _fit(np.array(drawn), (len(group), time.size, nodes, len(system.controls)), "controls")


def _parameters(
    system: System, seed: int, group: list[int], parameters: Mapping[str, Any], graph: Graph
) -> dict[str, np.ndarray]:
    """Parameters (trajectory, node) of the trajectories of ``group`` that vary by trajectory."""
    if type(system).sample_parameters is System.sample_parameters:
        return {}  # without a generator for each trajectory
    drawn = [
        system.sample_parameters(rng, parameters, graph)
        for rng in rngs_of(seed, PARAMETER_STREAM, group)
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
