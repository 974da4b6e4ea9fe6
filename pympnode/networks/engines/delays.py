"""Delays of messages on a fixed grid of steps, and the interpolation of the past of their senders.

The message over an edge j -> k at time s is computed from the state of j at s - tau. The state between
two grid times is the cubic Hermite polynomial through both states and the slopes there; the slope at a
grid time is the field, the first stage of the step that begins there (E. Hairer, S. P. Norsett,
G. Wanner, Solving Ordinary Differential Equations I, 2nd ed. 1993, section II.17). With tau of at least
one step no stage needs a state after the beginning of its own step.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidData
from ...graph import Graph
from ..spec import ModelSpec
from .columns import Columns
from .tableaux import Tableau

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

LEAST_PREFIX = 4
"""Intervals of the past before a start, at least: differences of order 4 take five states."""

RATE = 10.0
"""How much faster a learned delay moves than its weight: an optimiser moves all weights alike, and those
of layers by less."""

WHOLE = 1e-6
"""Delays within this of a whole number of steps are that number: grids are stored with rounding."""


def hermite(place: Floats) -> Floats:
    """Weights (..., 4) of the left state, left slope times h, right state and right slope times h, at
    ``place`` of an interval, 0 to 1."""
    s = place
    return np.stack([(1 + 2 * s) * (1 - s) ** 2, s * (1 - s) ** 2, s * s * (3 - 2 * s), s * s * (s - 1)], -1)  # fmt: skip


def hermite_slope(place: Floats) -> Floats:
    """The derivatives of `hermite` by ``place``."""
    s = place
    return np.stack([6 * s * (s - 1), (1 - s) * (1 - 3 * s), 6 * s * (1 - s), s * (3 * s - 2)], -1)


def in_steps(delay: Floats, dt: float) -> Floats:
    """Delays in steps of ``dt``, whole ones exactly whole."""
    steps = np.asarray(delay, np.float64) / dt
    whole = np.round(steps)
    return np.where(np.abs(steps - whole) < WHOLE, whole, steps)


def prefix_of(steps: Floats) -> int:
    """Intervals of the past that delays of so many steps take; 0 where all are 0."""
    longest = float(np.max(steps, initial=0.0))
    return max(int(np.ceil(longest)), LEAST_PREFIX) if longest > 0 else 0


def prefix_for(spec: ModelSpec, graph: Graph, dt: float) -> int:
    """Intervals of the past that a model takes before a start on ``graph``, with steps of ``dt``."""
    if not graph.edges:
        return 0
    if spec.learned_delays:
        return max(spec.longest_delay, LEAST_PREFIX)
    delay = np.array([spec.delay]) if graph.delay is None else graph.delay
    return prefix_of(in_steps(delay, dt))


def require_past(steps: int, prefix: int) -> None:
    """Raise `InvalidData` where trajectories of ``steps`` intervals do not hold the past of a delay."""
    if steps < LEAST_PREFIX:
        raise InvalidData(
            "no window fits behind the past that the delays take",
            got=f"{steps} intervals, of which {prefix} are the past",
            allowed=f"at least {prefix + 1} intervals",
            fix="give longer trajectories, or a shorter delay",
        )


def slopes_of(states: NDArray, dt: float) -> NDArray:
    """Time derivatives of ``states`` (time, ...) at five times or more, ``dt`` apart, by differences of
    order 4: one-sided at both ends."""
    n = len(states)
    first = np.clip(np.arange(n) - 2, 0, n - 5)
    weights = np.array([stencil(i) for i in range(5)])[np.arange(n) - first] / dt
    out = np.zeros(states.shape)
    for point in range(5):
        shape = (n,) + (1,) * (states.ndim - 1)
        out += weights[:, point].reshape(shape) * states[first + point]
    return out


def stencil(at: int) -> Floats:
    """Weights of five states at distance 1 of the derivative at number ``at``."""
    powers = np.vander(np.arange(5.0) - at, 5, increasing=True)
    return np.linalg.solve(powers.T, np.array([0.0, 1.0, 0.0, 0.0, 0.0]))


@dataclass(frozen=True, eq=False)
class Delays:
    """Delays of the edges of some columns, in steps.

    ``steps`` (delays,), each distinct one once, or of learned ones each one by its number; ``number``
    (edges,) the delay of each edge; ``prefix``: intervals of the past. ``longest``: 0, or where delays
    are learned the longest one that can be.
    """

    columns: Columns
    steps: Floats
    number: Ints
    prefix: int
    longest: int = 0

    @classmethod
    def of(cls, spec: ModelSpec, columns: Columns, dt: float) -> Delays | None:
        """The delays of a model on ``columns``, with steps of ``dt``; None where there are none."""
        if spec.learned_delays:
            assert columns.edge is not None
            several = spec.learned_delays > 1
            number = columns.edge if several else np.zeros(len(columns.sender), np.int64)
            prefix = max(spec.longest_delay, LEAST_PREFIX)
            return cls(columns, np.ones(spec.learned_delays), number, prefix, spec.longest_delay)
        delay = columns.delay
        if delay is None:
            if not spec.delay:
                return None
            delay = np.full(len(columns.sender), spec.delay)
        steps, number = np.unique(in_steps(delay, dt), return_inverse=True)
        if not np.any(steps > 0):
            return None
        return cls(columns, steps, number.reshape(-1).astype(np.int64), prefix_of(steps))

    def learned(self, logit: NDArray) -> Delays:
        """The same with the delays of the weights ``logit`` (delays,), where they are learned."""
        if not self.longest:
            return self
        return replace(self, steps=learned_steps(np.asarray(logit, np.float64), self.longest))

    @cached_property
    def evaluations(self) -> Evaluations:
        """The evaluations of senders: one for each sender and delay of a block."""
        senders, delays, of_edge, counts = [], [], np.zeros(len(self.number), np.int64), []
        for edges in self.columns.block_edges():
            key = np.stack([self.number[edges], self.columns.sender[edges]])
            pairs, of = np.unique(key, axis=1, return_inverse=True)
            delays.append(pairs[0])
            senders.append(pairs[1])
            of_edge[edges] = of.reshape(-1)
            counts.append(pairs.shape[1])
        first = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        empty = np.zeros(0, np.int64)
        return Evaluations(
            np.concatenate([empty, *senders]), np.concatenate([empty, *delays]), of_edge, first
        )

    def places(self, tableau: Tableau, substeps: int) -> tuple[Ints, Floats]:
        """Of each stage of a step and each delay (stages, delays): the interval in which the delayed
        time lies, counted from the one that begins with the step, and the place in it, above 0 to 1."""
        stage = (np.arange(substeps)[:, None] + np.round(tableau.c, 12)).reshape(-1, 1) / substeps
        at = stage - self.steps
        interval = np.ceil(at).astype(np.int64) - 1
        return interval, at - interval


@dataclass(frozen=True, eq=False)
class Evaluations:
    """``sender``, ``delay`` (evaluations,): node in its graph and number of the delay; ``of_edge``
    (edges,): evaluation of each edge, counted within its block; ``first`` (blocks + 1,): those of a
    block. Sorted by delay, then sender."""

    sender: Ints
    delay: Ints
    of_edge: Ints
    first: Ints


def learned_steps(logit: NDArray, longest: int) -> NDArray:
    """Delays in steps of weights (delays,): from 1 to ``longest``, both approached and never passed."""
    return 1.0 + (longest - 1.0) / (1.0 + np.exp(-RATE * logit))


def logit_of(steps: float, longest: int) -> float:
    """The inverse of `learned_steps`."""
    share = (steps - 1.0) / (longest - 1.0)
    return float(np.log(share / (1.0 - share))) / RATE
