"""Adaptive Runge-Kutta integration of many trajectories at once, with one step size for all.

One step size turns every stage into a few products of large arrays, which NumPy does at memory speed;
separate step sizes would need a loop over trajectories. The price is that the
trajectory with the largest error sets the step for its block (`generate` keeps blocks small).
Tableau: `runge_kutta`. Step size control: E. Hairer, S. P. Norsett, G. Wanner, Solving Ordinary
Differential Equations I (2nd ed., 1993), section II.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import IntegrationFailed, InvalidData, InvalidOption
from .runge_kutta import DOP853, Pair

Field = Callable[[float, np.ndarray, "np.ndarray | None"], np.ndarray]


@dataclass(frozen=True)
class Failure:
    """Where, when and why the integration of a trajectory stopped."""

    trajectory: int
    node: int
    feature: int
    time: float
    reason: str


@dataclass(frozen=True, eq=False)
class Solution:
    """The trajectories of a solve, and its statistics.

    x: float64 (trajectory, time, node, feature); NaN after a trajectory's failure.
    status: int8 (trajectory,), 0 solved, 1 failed; ``failures``: one entry for each that failed.
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
        """Return this solution; raise IntegrationFailed if a trajectory failed.

        ``first``: number of the first trajectory, added to the one in the message.
        """
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
    max_steps: int = 100_000,
    check: bool = True,
    field_of: Callable[[int], Field] | None = None,
) -> Solution:
    """Solve x' = field(t, x, u) for all trajectories together, on a time grid.

    field: ``f(t, x, u)`` with x (trajectory, node, feature) -> the same shape.
    x0: (trajectory, node, feature). times: (time,) increasing; the first is the start.
    controls: (trajectory, time, node, control), each held from t_i to t_{i+1} (the last unused);
        a step then ends at every grid time, and the next begins with a new first stage, because f
        is discontinuous there.
    rtol, atol: a step is accepted when every single trajectory's root mean square error, in units
        of atol + rtol |x|, is at most 1. It is not averaged over trajectories, so that a single one
        is as accurate in a large block as alone.
    field_of: the field of each interval, by its number, instead of ``field``; a step then ends at
        every grid time too.
    check: raise IntegrationFailed when a trajectory fails; else its derivative is set to zero, the
        others continue, and `Solution.status` marks it.
    Raises InvalidData (non-finite x0, times that do not increase), InvalidOption.
    """
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
    block = _Block(field, x0, times, DOP853, rtol, atol, max_steps)
    with np.errstate(all="ignore"):  # a trial step that overflows is rejected
        if controls is None and field_of is None:
            block.advance(times[0], times[-1], None)
        else:
            for i in range(times.size - 1):
                if field_of is not None:
                    block.take(field_of(i))
                held = None if controls is None else controls[:, i]
                block.advance(times[i], times[i + 1], held)
    solution = block.solution()
    return solution.check() if check else solution


class _Block:
    """The working memory and the state of one solve.

    Arrays are stored as (feature, node, trajectory) and passed to the field as a transposed view
    (trajectory, node, feature). A feature is then contiguous, and a sum over neighbours is one matrix
    product (node, node) x (node, trajectory).
    """

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
        self.times, self.pair = times, pair
        self.take(field)
        self.rtol, self.atol, self.max_steps = rtol, atol, max_steps
        trajectories, nodes, features = x0.shape
        self.shape = (features, nodes, trajectories)
        # Row 0 is the state, rows 1.. are the stages: the state of a stage is then one product of
        # (1, h a_i1, h a_i2, ...) with the rows above it.
        self.state_and_stages = np.zeros((pair.stages + 1, x0.size))
        self.state_and_stages[0] = x0.T.reshape(-1)
        self.y, self.k = self.state_and_stages[0], self.state_and_stages[1:]
        self.trial, self.y_new = np.empty(x0.size), np.empty(x0.size)
        # Views (trajectory, node, feature) of the same memory, for the field.
        self.y_view, self.trial_view, self.y_new_view = (
            values.reshape(self.shape).T for values in (self.y, self.trial, self.y_new)
        )
        self.rows_above = [self.state_and_stages[: i + 1] for i in range(pair.stages)]
        self.scale, self.scaled_errors = np.empty(x0.size), np.empty((len(pair.errors), x0.size))
        self.rates = [row.reshape(self.shape).T for row in self.k]
        self.out = np.empty((times.size, self.y.size))
        self.out[0] = self.y
        self.next_output = 1
        self.h = 0.0  # 0: the first step size is still to be found
        self.control: np.ndarray | None = None
        self.frozen = np.zeros(trajectories, dtype=bool)
        self.frozen_from = np.full(trajectories, times.size)
        self.failures: list[Failure] = []
        self.evaluations = self.steps = self.rejected = 0

    def take(self, field: Field) -> None:
        """Evaluate this field from here on."""
        self.field = field
        # Optional ``into(t, x, u, out)`` of a field: writes the derivative without a new array.
        self.into = getattr(field, "into", None)

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
        """First step size, Hairer, Norsett, Wanner, section II.4: the smallest over trajectories."""
        scale = self.atol + self.rtol * np.abs(self.y)
        size = np.sqrt(self.squares(self.y / scale))
        slope = np.sqrt(self.squares(self.k[0] / scale))
        small = (size < 1e-5) | (slope < 1e-5)
        guess = np.where(small, 1e-6, 0.01 * size / np.where(small, 1.0, slope))
        h0 = min(float(guess.min()), end - t)
        np.add(self.y, h0 * self.k[0], out=self.trial)
        self.evaluate(1, t + h0, self.trial_view)
        second = np.sqrt(self.squares((self.k[1] - self.k[0]) / scale)) / h0
        largest = np.nanmax(np.maximum(slope, second))
        if not np.isfinite(largest) or largest <= 1e-15:
            h1 = max(1e-6, 1e-3 * h0)
        else:
            h1 = (0.01 / largest) ** (1.0 / (self.pair.error_order + 1))
        return min(100 * h0, h1, end - t)

    # ---- stepping -----------------------------------------------------------------------------

    def advance(self, t: float, end: float, control: np.ndarray | None) -> None:
        """Step from t to end under one control (trajectory, node, control), or None."""
        pair, self.control = self.pair, control
        self.evaluate(0, t, self.y_view)
        self.freeze_non_finite(t)
        if self.h == 0.0:
            self.h = self.first_step(t, end)
        # Below a few units in the last place of the time, t + h would equal t.
        least = 16 * np.finfo(float).eps * max(abs(t), abs(end), end - t)
        limit = 10.0  # the most that a step size may grow; 1 right after a rejected step
        while t < end:
            if self.steps + self.rejected >= self.max_steps:
                self.freeze(~self.frozen, t, f"more than {self.max_steps} steps")
                return
            # The last step ends at ``end`` exactly, so that no step of 1e-12 is left over.
            last = self.h >= (end - t) * (1 - 1e-12)
            h = end - t if last else self.h
            t_new = end if last else t + h
            combine = pair.combine(h)
            for stage in range(1, pair.first):
                np.dot(combine[stage, : stage + 1], self.rows_above[stage], out=self.trial)
                self.evaluate(stage, t + pair.nodes[stage] * h, self.trial_view)
            np.dot(
                combine[pair.first, : pair.first + 1],
                self.state_and_stages[: pair.first + 1],
                out=self.y_new,
            )
            self.evaluate(pair.first, t_new, self.y_new_view)
            error = self.error(h)
            worst = float(error.max()) if np.all(np.isfinite(error)) else np.inf
            if worst > 1.0:
                self.rejected += 1
                shrink = 0.9 * worst ** (-1.0 / (pair.error_order + 1)) if worst < np.inf else 0.1
                self.h, limit = h * max(0.2 if worst < np.inf else 0.1, shrink), 1.0
                if self.h < least:
                    # No step size is small enough: freeze the failed trajectories and continue the others.
                    self.freeze_failing(t, error)
                    self.evaluate(0, t, self.y_view)
                    self.h, limit = 1e3 * least, 10.0
                continue
            grow = limit if worst == 0.0 else 0.9 * worst ** (-1.0 / (pair.error_order + 1))
            proposed = h * min(limit, max(0.2, grow))
            # The last step was shortened by the end, not by its error: keep the longer size.
            self.h, limit = (max(self.h, proposed) if last else proposed), 10.0
            self.steps += 1
            self.write_outputs(t, t_new, h, combine)
            self.k[0] = self.k[pair.first]
            self.y[...], t = self.y_new, t_new

    def error(self, h: float) -> np.ndarray:
        """Estimated error of the step in units of the tolerance, (trajectory,).

        With two estimates e5, e3 the error is h e5^2 / sqrt(e5^2 + 0.01 e3^2), as in DOP853.
        """
        scale, estimates = self.scale, self.scaled_errors
        np.maximum(np.abs(self.y), np.abs(self.y_new, out=scale), out=scale)
        scale *= self.rtol
        scale += self.atol
        np.matmul(self.pair.errors, self.k[: self.pair.first + 1], out=estimates)
        estimates /= scale
        main, other = self.squares(estimates[0]), self.squares(estimates[1])
        both = np.sqrt(main + 0.01 * other)
        return h * np.where(main == 0.0, 0.0, main / np.where(both == 0.0, 1.0, both))

    def write_outputs(self, t: float, t_new: float, h: float, combine: np.ndarray) -> None:
        """Store the states at the grid times in (t, t_new]."""
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
        # The stages of dense output cost field calls: made only where a grid time lies in the step.
        pair = self.pair
        for stage in range(pair.first + 1, pair.stages):
            np.dot(combine[stage, : stage + 1], self.rows_above[stage], out=self.trial)
            self.evaluate(stage, t + pair.nodes[stage] * h, self.trial_view)
        weights = np.empty((inside.stop - inside.start, len(self.state_and_stages)))
        weights[:, 0] = 1.0
        np.multiply(h, pair.dense((self.times[inside] - t) / h), out=weights[:, 1:])
        np.matmul(weights, self.state_and_stages, out=self.out[inside])

    # ---- failures -----------------------------------------------------------------------------

    def freeze_non_finite(self, t: float) -> None:
        """Freeze the trajectories whose first stage is not finite."""
        bad = ~np.isfinite(self.k[0].reshape(-1, self.shape[2])).all(axis=0)
        if bad.any():
            self.freeze(bad, t, "a derivative is not finite", self.k[0])
            self.k[0].reshape(self.shape)[:, :, bad] = 0.0

    def freeze_failing(self, t: float, error: np.ndarray) -> None:
        """Freeze the trajectories that a step of the least size does not advance."""
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
        """Stop the trajectories ``bad`` (trajectory,) at time t and record a `Failure` of each.

        ``values`` (flat, as stored): the node and feature where it is not finite, or else lowest,
        are those of the record.
        """
        for trajectory in np.flatnonzero(bad & ~self.frozen):
            node = feature = 0
            if values is not None:
                one = values.reshape(self.shape)[:, :, trajectory]
                ranked = np.where(np.isfinite(one), one, -np.inf)
                feature, node = (int(i) for i in np.unravel_index(np.argmin(ranked), one.shape))
            self.failures.append(Failure(int(trajectory), node, feature, float(t), reason))
            self.frozen_from[trajectory] = self.next_output
        self.frozen = self.frozen | bad

    def solution(self) -> Solution:
        """The states at all grid times, NaN where a trajectory was frozen."""
        out = self.out.reshape(self.times.size, *self.shape)
        x = np.ascontiguousarray(out.transpose(3, 0, 2, 1))
        for trajectory in np.flatnonzero(self.frozen):
            x[trajectory, self.frozen_from[trajectory] :] = np.nan
        return Solution(
            x=x, status=self.frozen.astype(np.int8), failures=tuple(self.failures),
            evaluations=self.evaluations, steps=self.steps, rejected=self.rejected,
            method=self.pair.name, rtol=self.rtol, atol=self.atol,
        )  # fmt: skip
