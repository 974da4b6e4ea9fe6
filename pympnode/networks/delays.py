"""Delays of edges in data: checks, draws, and simulation of delay differential equations.

Simulation: the method of steps. Fixed steps of rk4, a whole number to each interval of the times; the
state of a sender before is the cubic Hermite polynomial through states and slopes of these steps. Before
the first time nodes move without coupling, backwards from the initial state by the same steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidOption, shown_value
from ..graph import Graph
from ..memory import need
from ..systems.base import System
from .delay_options import checked_delay
from .engines.delays import hermite, in_steps
from .integrate import Failure, Solution

SUBSTEPS = 8
"""Steps of the solver in an interval of the times."""

_ALLOWED = "a time, (low, high), or a function f(rng, sender, receiver) -> (edges,)"


def with_drawn_delays(graph: Graph, delay: Any, graph_seed: int, dt: float) -> Graph:
    """The same edges with delays, the same for equal ``graph_seed`` and edges.

    delay: one time for all; (low, high), uniform, the same in both directions of an undirected edge; or a
        function ``f(rng, sender, receiver)`` as for drawn weights. A drawn delay below one step ``dt`` is
        rounded to 0 or to one step. None for those that the graph has.
    Raises `InvalidOption`, also for a graph that has delays, `InvalidGraph`.
    """
    if delay is None:
        return graph
    if graph.delay is not None:
        raise InvalidOption(
            "delay gives delays of edges, and the topology has some",
            got=f"delay={shown_value(delay)}",
            allowed="a topology without delays",
            fix="leave delay out, or pass topology=graph.with_delay(None)",
        )
    if not callable(delay) and np.ndim(delay) == 0:
        return graph.with_delay(checked_delay("delay", delay))
    drawn = []
    for index in range(graph.graphs):
        one = graph[index]
        rng = np.random.default_rng(
            np.random.SeedSequence(entropy=graph_seed, spawn_key=(index, 2))
        )
        if callable(delay):
            drawn.append(np.asarray(delay(rng, one.sender.copy(), one.receiver.copy())))
            continue
        low, high = _range(delay)
        ends = np.stack(
            [np.minimum(one.sender, one.receiver), np.maximum(one.sender, one.receiver)]
        )
        pairs, pair = np.unique(ends, axis=1, return_inverse=True)
        values = np.asarray(rng.uniform(low, high, pairs.shape[1]))[pair.ravel()]
        drawn.append(np.where(values < dt, np.round(values / dt) * dt, values))
    return graph.with_delay(np.concatenate(drawn))


def _range(delay: Any) -> tuple[float, float]:
    try:
        low, high = (float(value) for value in delay)
    except (TypeError, ValueError, OverflowError):
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and 0 <= low <= high):
        raise InvalidOption(
            "delay is a time, or a range of times",
            got=f"delay={shown_value(delay)}",
            allowed=_ALLOWED,
            fix="delay=(0, 20 * dt)",
        )
    return low, high


def require_delayed(system: System, graph: Graph, dt: float) -> None:
    """Raise `InvalidOption` where a system cannot be simulated with the delays of ``graph``."""
    if not graph.delay_or_zeros.any():
        return
    if type(system).delayed_field is System.delayed_field:
        raise InvalidOption(
            f"{system.name} is simulated without delays",
            got=f"delays of {graph.delay_or_zeros.min():.4g} to {graph.delay_or_zeros.max():.4g}",
            allowed="a system with a delayed_field, such as kuramoto",
            fix="leave delay out, or define delayed_field in a class of your own",
        )
    steps = in_steps(graph.delay_or_zeros, dt)
    if np.any((steps > 0) & (steps < 1)):
        raise InvalidOption(
            "a delay is 0 or at least one time step",
            got=f"{graph.delay_or_zeros[steps > 0].min():.4g}, time step {dt:.4g}",
            allowed=f"0, or from {dt:.4g} on",
            fix="give a smaller dt=",
        )


def integrate_delayed(
    system: System,
    graph: Graph,
    parameters: Mapping[str, Any],
    x0: NDArray,
    times: NDArray[np.float64],
    *,
    controls: NDArray | None = None,
    substeps: int = SUBSTEPS,
) -> Solution:
    """Solve a system with the delays of one graph on an even time grid, see the module.

    x0 (trajectory, node, feature), ``controls`` (trajectory, time, node, control) held over each interval.
    """
    h = float(times[1] - times[0]) / substeps
    lag = in_steps(graph.delay_or_zeros, h)
    past = math.ceil(lag.max(initial=0.0)) + 1
    count = substeps * (len(times) - 1)
    need(
        16 * (past + count + 1) * x0.size,
        f"{count} steps of {len(x0)} trajectories with their past",
        fix="simulate fewer steps=",
    )
    states = np.empty((past + count + 1, *x0.shape))
    slopes = np.empty_like(states)

    def alone(x: NDArray) -> NDArray:
        u = None if controls is None else controls[:, 0]
        return system.uncoupled_field(0.0, x, u, graph, parameters)

    states[past] = x0
    for at in range(past, 0, -1):
        states[at - 1] = _rk4(alone, states[at], -h)
    for at in range(past):
        slopes[at] = alone(states[at])
    # The slope jumps where the coupling sets in: the interval before has its own.
    before = alone(states[past])
    delayed = [_lags(lag, fraction) for fraction in (0.0, 0.5, 1.0)]
    evaluations = 0
    for step in range(count):
        at = past + step
        u = None if controls is None else controls[:, step // substeps]

        def field(x: NDArray, place: int, at: int = at, u: NDArray | None = u) -> NDArray:
            seen = _seen(states, slopes, at, x, graph.sender, lag, delayed[place], h, past, before)
            time = float(times[0]) + (at - past + 0.5 * place) * h
            return system.delayed_field(time, x, seen, u, graph, parameters)

        x = states[at]
        slopes[at] = first = field(x, 0)
        second = field(x + 0.5 * h * first, 1)
        third = field(x + 0.5 * h * second, 1)
        fourth = field(x + h * third, 2)
        states[at + 1] = x + h / 6 * (first + 2 * second + 2 * third + fourth)
        evaluations += 4
    out = np.moveaxis(states[past::substeps], 0, 1)
    finite = np.asarray(np.isfinite(out).all(axis=(1, 2, 3)))
    failures = tuple(
        Failure(int(i), 0, 0, float(times[-1]), "the state is not finite")
        for i in np.flatnonzero(~finite)
    )
    return Solution(
        np.ascontiguousarray(out), (~finite).astype(np.int8), failures, evaluations, count, 0,
        f"rk4, {substeps} steps an interval, cubic Hermite past", math.nan, math.nan,
    )  # fmt: skip


def _lags(
    lag: NDArray[np.float64], fraction: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    at = fraction - lag
    interval = np.ceil(at).astype(np.int64) - 1
    return interval, hermite(at - interval)


def _seen(
    states: NDArray,
    slopes: NDArray,
    at: int,
    now: NDArray,
    sender: NDArray[np.int64],
    lag: NDArray[np.float64],
    delayed: tuple[NDArray[np.int64], NDArray[np.float64]],
    h: float,
    start: int,
    before: NDArray,
) -> NDArray:
    """The states (trajectory, edge, feature) of the senders that the receivers see.

    ``before``: slopes (trajectory, node, feature) at number ``start``, from before it.
    """
    interval, weights = delayed
    left = at + np.where(lag > 0, interval, -1)
    w = weights[:, :, None, None] * np.array([1.0, h, 1.0, h])[None, :, None, None]
    # At the right end the weights of slopes are 0, and the slope of this step is not known yet.
    right = np.minimum(left + 1, at)
    last = np.where((w[:, 3] == 0.0), 0.0, slopes[right, :, sender])
    ends = right == start
    last[ends] = np.moveaxis(before[:, sender[ends]], 1, 0)
    seen = w[:, 0] * states[left, :, sender] + w[:, 1] * slopes[left, :, sender]
    seen += w[:, 2] * states[right, :, sender] + w[:, 3] * last
    seen = np.where((lag > 0)[:, None, None], seen, np.moveaxis(now[:, sender], 1, 0))
    return np.moveaxis(seen, 0, 1)


def _rk4(field: Callable[[NDArray], NDArray], x: NDArray, h: float) -> NDArray:
    first = field(x)
    second = field(x + 0.5 * h * first)
    third = field(x + 0.5 * h * second)
    fourth = field(x + h * third)
    return x + h / 6 * (first + 2 * second + 2 * third + fourth)
