"""Batched adaptive Runge-Kutta with dense output: many trajectories, one step size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import IntegrationFailed, InvalidData, InvalidOption, unknown_name
from .runge_kutta import PAIRS, Pair

Field = Callable[[float, np.ndarray, "np.ndarray | None"], np.ndarray]


@dataclass(frozen=True)
class Failure:
    """Why a trajectory could not be continued: where and when."""

    trajectory: int
    node: int
    feature: int
    time: float
    reason: str


@dataclass(frozen=True, eq=False)
class Solution:
    """What a solve gives.

    x: float64 (trajectory, time, node, feature); NaN after a trajectory's failure.
    status: int8 (trajectory,), 0 solved, 1 failed; ``failures`` says why.
    evaluations, steps, rejected: field calls, accepted and rejected steps of the block.
    """

    x: np.ndarray
    status: np.ndarray
    failures: tuple[Failure, ...]
    evaluations: int
    steps: int
    rejected: int
    method: str
    rtol: float
    atol: float

    def check(self, first: int = 0) -> Solution:
        """Itself, or IntegrationFailed for its first failure; ``first`` is added to the number."""
        if self.failures:
            bad = min(self.failures, key=lambda failure: failure.trajectory)
            raise IntegrationFailed(
                f"the integration failed: {bad.reason}",
                got=f"trajectory {first + bad.trajectory}, node {bad.node}, feature {bad.feature}, "
                f"time {bad.time:.6g}; {len(self.failures)} of {len(self.status)} trajectories",
                allowed="finite derivatives on the whole time grid",
                fix="check the field and parameters there, draw initial states from a smaller "
                "range, or simulate fewer steps",
            )
        return self


def integrate(
    field: Field,
    x0: np.ndarray,
    times: np.ndarray,
    *,
    controls: np.ndarray | None = None,
    rtol: float = 1e-8,
    atol: float = 1e-8,
    method: str = "dop853",
    max_steps: int = 100_000,
    check: bool = True,
) -> Solution:
    """Solve x' = field(t, x, u) for all trajectories together, on a time grid.

    field: ``f(t, x, u)`` with x (trajectory, node, feature) -> the same shape.
    x0: (trajectory, node, feature). times: (time,) increasing; the first is the start.
    controls: (trajectory, time, node, control), each held from t_i to t_{i+1} (the last unused);
        the solve then lands on every grid time and starts afresh there, because f jumps.
    rtol, atol: a step is accepted when every single trajectory's root mean square error, in units
        of atol + rtol |x|, is at most 1: no trajectory hides behind the others.
    method: "dop853" (order 8, the default) or "dopri5" (order 5), both Dormand-Prince.
    check: raise IntegrationFailed when a trajectory fails; else it is frozen, the others go on,
        and `Solution.status` tells.
    Raises InvalidData (non-finite x0, times that do not increase), InvalidOption, UnknownName.
    """
    if method not in PAIRS:
        raise unknown_name("integration method", method, PAIRS)
    x0 = np.asarray(x0, dtype=np.float64)
    if x0.ndim != 3 or not x0.size:
        raise InvalidData(
            "x0 has the wrong shape", got=x0.shape, allowed="(trajectory, node, feature), not empty"
        )
    if not np.all(np.isfinite(x0)):
        where = np.argwhere(~np.isfinite(x0))[0]
        raise InvalidData(
            "the initial state is not finite",
            got="trajectory {}, node {}, feature {}".format(*where),
            fix="remove NaN and infinity",
        )
    times = np.asarray(times, dtype=np.float64)
    if times.ndim != 1 or times.size < 2 or not np.all(np.diff(times) > 0):
        raise InvalidData(
            "times must increase", got=str(times)[:80], allowed="(time,), at least two, increasing"
        )
    for name, value in (("rtol", rtol), ("atol", atol)):
        if not (np.isfinite(value) and value > 0):
            raise InvalidOption(f"{name} must be positive", got=repr(value), allowed="> 0")
    if controls is not None:
        controls = np.asarray(controls, dtype=np.float64)
        expected = (x0.shape[0], times.size, x0.shape[1])
        if controls.ndim != 4 or controls.shape[:3] != expected:
            raise InvalidData(
                "controls have the wrong shape",
                got=controls.shape,
                allowed=f"(trajectory, time, node, control) = {expected} and the controls",
            )
    block = _Block(field, x0, times, PAIRS[method], rtol, atol, max_steps)
    with np.errstate(all="ignore"):  # overflow in a trial step is handled by its step size
        if controls is None:
            block.advance(times[0], times[-1], None)
        else:
            for i in range(times.size - 1):
                block.advance(times[i], times[i + 1], controls[:, i])
    solution = block.solution()
    return solution.check() if check else solution


class _Block:
    """The state of one solve. Memory runs (feature, node, trajectory), which the field sees from
    behind as (trajectory, node, feature): a feature is one contiguous stretch, and a sum over
    neighbours one matrix product for all trajectories."""

    def __init__(
        self,
        field: Field,
        x0: np.ndarray,
        times: np.ndarray,
        pair: Pair,
        rtol: float,
        atol: float,
        max_steps: int,
    ) -> None:
        self.field, self.times, self.pair = field, times, pair
        self.into = getattr(field, "into", None)  # a field that writes into memory it is given
        self.rtol, self.atol, self.max_steps = rtol, atol, max_steps
        trajectories, nodes, features = x0.shape
        self.shape = (features, nodes, trajectories)
        # Row 0 is the state, then the stages: one product with (1, h a) makes a state.
        self.rows = np.zeros((pair.stages + 1, x0.size))
        self.rows[0] = x0.T.reshape(-1)
        self.y, self.k = self.rows[0], self.rows[1:]
        self.moved, self.y_new = np.empty(x0.size), np.empty(x0.size)
        self.y_seen, self.moved_seen, self.y_new_seen = (
            values.reshape(self.shape).T for values in (self.y, self.moved, self.y_new)
        )
        self.above = [self.rows[: i + 1] for i in range(pair.stages)]
        self.scale, self.scaled = np.empty(x0.size), np.empty((len(pair.errors), x0.size))
        self.rates = [row.reshape(self.shape).T for row in self.k]
        self.out = np.empty((times.size, self.y.size))
        self.out[0] = self.y
        self.next_output = 1
        self.h = 0.0
        self.control: np.ndarray | None = None
        self.frozen = np.zeros(trajectories, dtype=bool)
        self.frozen_from = np.full(trajectories, times.size)
        self.failures: list[Failure] = []
        self.evaluations = self.steps = self.rejected = 0

    # ---- one evaluation, one norm -------------------------------------------------------------

    def evaluate(self, stage: int, t: float, state: np.ndarray) -> None:
        """The field at (t, state), state (trajectory, node, feature), into row ``stage``."""
        if self.into is not None:
            self.into(t, state, self.control, self.rates[stage])
        else:
            rate = self.field(t, state, self.control)
            if np.shape(rate) != state.shape:
                raise InvalidData(
                    "the field returns another shape than its state",
                    got=np.shape(rate),
                    allowed=f"(trajectory, node, feature) = {state.shape}",
                )
            self.rates[stage][...] = rate
        if self.failures:
            self.rates[stage][self.frozen] = 0.0
        self.evaluations += 1

    def squares(self, values: np.ndarray) -> np.ndarray:
        """Mean square over node and feature, (trajectory,)."""
        table = values.reshape(-1, self.shape[2])
        return np.einsum("it,it->t", table, table) / table.shape[0]

    def first_step(self, t: float, end: float) -> float:
        """Hairer, Norsett, Wanner, section II.4, for the most demanding trajectory."""
        scale = self.atol + self.rtol * np.abs(self.y)
        size = np.sqrt(self.squares(self.y / scale))
        slope = np.sqrt(self.squares(self.k[0] / scale))
        small = (size < 1e-5) | (slope < 1e-5)
        guess = np.where(small, 1e-6, 0.01 * size / np.where(small, 1.0, slope))
        h0 = min(float(guess.min()), end - t)
        np.add(self.y, h0 * self.k[0], out=self.moved)
        self.evaluate(1, t + h0, self.moved_seen)
        bend = np.sqrt(self.squares((self.k[1] - self.k[0]) / scale)) / h0
        steepest = np.nanmax(np.maximum(slope, bend))
        if not np.isfinite(steepest) or steepest <= 1e-15:
            h1 = max(1e-6, 1e-3 * h0)
        else:
            h1 = (0.01 / steepest) ** (1.0 / (self.pair.error_order + 1))
        return min(100 * h0, h1, end - t)

    # ---- stepping -----------------------------------------------------------------------------

    def advance(self, t: float, end: float, control: np.ndarray | None) -> None:
        """From t to end with one control (trajectory, node, control)."""
        pair, self.control = self.pair, control
        self.evaluate(0, t, self.y_seen)
        self.freeze_non_finite(t)
        if self.h == 0.0:
            self.h = self.first_step(t, end)
        least = 16 * np.finfo(float).eps * max(abs(t), abs(end), end - t)
        limit = 10.0
        while t < end:
            if self.steps + self.rejected >= self.max_steps:
                self.freeze(~self.frozen, t, f"more than {self.max_steps} steps")
                return
            whole = self.h >= (end - t) * (1 - 1e-12)
            h = end - t if whole else self.h
            t_new = end if whole else t + h
            combine = pair.combine(h)
            for stage in range(1, pair.first):
                np.dot(combine[stage, : stage + 1], self.above[stage], out=self.moved)
                self.evaluate(stage, t + pair.nodes[stage] * h, self.moved_seen)
            np.dot(
                combine[pair.first, : pair.first + 1], self.rows[: pair.first + 1], out=self.y_new
            )
            self.evaluate(pair.first, t_new, self.y_new_seen)
            error = self.error(h)
            worst = float(error.max()) if np.all(np.isfinite(error)) else np.inf
            if worst > 1.0:
                self.rejected += 1
                shrink = 0.9 * worst ** (-1.0 / (pair.error_order + 1)) if worst < np.inf else 0.1
                self.h, limit = h * max(0.2 if worst < np.inf else 0.1, shrink), 1.0
                if self.h < least:
                    self.give_up(t, error)
                    self.evaluate(0, t, self.y_seen)
                    self.h, limit = 1e3 * least, 10.0
                continue
            grow = limit if worst == 0.0 else 0.9 * worst ** (-1.0 / (pair.error_order + 1))
            proposed = h * min(limit, max(0.2, grow))
            # A step cut short by the end says nothing against the longer one.
            self.h, limit = (max(self.h, proposed) if whole else proposed), 10.0
            self.steps += 1
            self.write_outputs(t, t_new, h, combine)
            self.k[0] = self.k[pair.first]
            self.y[...], t = self.y_new, t_new

    def error(self, h: float) -> np.ndarray:
        """Estimated error of the step in units of the tolerance, (trajectory,)."""
        scale, rows = self.scale, self.scaled
        np.maximum(np.abs(self.y), np.abs(self.y_new, out=scale), out=scale)
        scale *= self.rtol
        scale += self.atol
        np.matmul(self.pair.errors, self.k[: self.pair.first + 1], out=rows)
        rows /= scale
        main = self.squares(rows[0])
        if len(rows) == 1:
            return h * np.sqrt(main)
        other = self.squares(rows[1])
        both = np.sqrt(main + 0.01 * other)
        return h * np.where(main == 0.0, 0.0, main / np.where(both == 0.0, 1.0, both))

    def write_outputs(self, t: float, t_new: float, h: float, combine: np.ndarray) -> None:
        """States at the grid times inside (t, t_new]."""
        stop = int(np.searchsorted(self.times, t_new, side="right"))
        inside = slice(self.next_output, stop)
        if stop == self.next_output:
            return
        self.next_output = stop
        if self.times[stop - 1] == t_new:
            self.out[stop - 1] = self.y_new
            inside = slice(inside.start, stop - 1)
            if inside.start == inside.stop:
                return
        pair = self.pair
        for stage in range(pair.first + 1, pair.stages):
            np.dot(combine[stage, : stage + 1], self.above[stage], out=self.moved)
            self.evaluate(stage, t + pair.nodes[stage] * h, self.moved_seen)
        weights = np.empty((inside.stop - inside.start, len(self.rows)))
        weights[:, 0] = 1.0
        np.multiply(h, pair.dense((self.times[inside] - t) / h), out=weights[:, 1:])
        np.matmul(weights, self.rows, out=self.out[inside])

    # ---- failures -----------------------------------------------------------------------------

    def freeze_non_finite(self, t: float) -> None:
        bad = ~np.isfinite(self.k[0].reshape(-1, self.shape[2])).all(axis=0)
        if bad.any():
            self.freeze(bad, t, "a derivative is not finite", self.k[0])
            self.k[0].reshape(self.shape)[:, :, bad] = 0.0

    def give_up(self, t: float, error: np.ndarray) -> None:
        """The step size has shrunk to nothing: freeze the trajectories that are to blame."""
        table = self.k[: self.pair.first + 1].reshape(-1, self.shape[2])
        bad = ~np.isfinite(table).all(axis=0) | ~np.isfinite(error)
        if bad.any():
            stage = int(np.argmin(np.isfinite(self.k[: self.pair.first + 1]).all(axis=1)))
            self.freeze(bad, t, "a derivative is not finite", self.k[stage])
        else:
            bad = error > 1.0
            self.freeze(bad, t, "the step size became too small", -np.abs(self.k[0]))

    def freeze(
        self, bad: np.ndarray, t: float, reason: str, values: np.ndarray | None = None
    ) -> None:
        """Stop these trajectories here; ``values`` shows the worst place of each."""
        for trajectory in np.flatnonzero(bad & ~self.frozen):
            node = feature = 0
            if values is not None:
                own = values.reshape(self.shape)[:, :, trajectory]
                ranked = np.where(np.isfinite(own), own, -np.inf)
                feature, node = (int(i) for i in np.unravel_index(np.argmin(ranked), own.shape))
            self.failures.append(Failure(int(trajectory), node, feature, float(t), reason))
            self.frozen_from[trajectory] = self.next_output
        self.frozen = self.frozen | bad

    def solution(self) -> Solution:
        out = self.out.reshape(self.times.size, *self.shape)
        x = np.ascontiguousarray(out.transpose(3, 0, 2, 1))
        for trajectory in np.flatnonzero(self.frozen):
            x[trajectory, self.frozen_from[trajectory] :] = np.nan
        return Solution(
            x=x,
            status=self.frozen.astype(np.int8),
            failures=tuple(self.failures),
            evaluations=self.evaluations,
            steps=self.steps,
            rejected=self.rejected,
            method=self.pair.name,
            rtol=self.rtol,
            atol=self.atol,
        )
