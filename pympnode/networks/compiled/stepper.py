"""The adaptive stepper in machine code: up to eight trajectories side by side, each with its own step.

Trajectories fill the lanes of a vector; where one ends, the next takes its lane. No number of one
lane enters another, and the code computes the same bits in all of them, so that a trajectory does not
depend on its neighbours in the block. Step size control and the treatment of failures are those of
`networks.integrate` with one trajectory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from ...files.compiling_once import part, whole
from . import fields
from .vectors import LANES, PADDING, dense_state, noinline, stage_state, weighted_sum

# Rows of memory: the state, 16 stages, the state of a stage, the state at the end of the step, and
# seven rows of dense output, of which the first two hold the estimates of the error before.
STATE, STAGES, TRIAL, NEW, DENSE, ROWS = 0, 1, 17, 18, 19, 26
# Rows of the floating point numbers of each lane: time, time at the end of the step, time at which
# the trajectory (or its control) ends, step, next step, least step, most that a step may grow, size of
# the first slope, mean squares of both errors.
T, T_NEW, END, H, NEXT, LEAST, LIMIT, SLOPE, ERROR5, ERROR3 = range(10)
# Rows of the whole numbers of each lane: its trajectory (-1: none), interval of the control, steps
# tried, states written, first and last of those inside the step, and whether the lane has just begun,
# and its step was accepted.
OWNER, INTERVAL, TRIED, WRITTEN, FIRST, STOP, BEGINS, ACCEPTED = range(8)
# Rows of the tableau after the 16 of the stages.
_ERRORS, _DENSE = 16, 18
_END = 12  # stage at the end of the step, the first of the next
_ALL = 16
_EXPONENT = -1.0 / 8.0  # order of the estimate of the error, plus one
# A step's error is at most a half of the tolerance: with steps of its own every trajectory uses all of
# what it is allowed, where in a block (`networks.integrate`) only the worst one does.
_STRICTNESS = 2.0
_EPSILON = float(np.finfo(np.float64).eps)

TOO_MANY_STEPS, NOT_FINITE, TOO_SMALL = 1, 2, 3
"""Why a trajectory failed; 0 where it was solved."""

_OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True}
_exact = part(**_OPTIONS)
# Constants are passed as np.int64: numba compiles a function once more for each literal number.

_FLOATS, _INDEX = types.float64[::1], types.int64[::1]
SIGNATURE = types.void(
    types.FunctionType(fields.SIGNATURE),
    types.float64[:, :, ::1],
    types.float64[:, :, :, ::1],
    types.float64[:, :, :, ::1],
    types.float64[:, :, ::1],
    *[_FLOATS] * 2,
    *[_INDEX] * 2,
    _FLOATS,
    *[_INDEX] * 2,
    _FLOATS,
    types.float64,
    types.float64,
    *[types.int64] * 2,
    types.int64[:, ::1],
    _FLOATS,
    _INDEX,
    types.float64[:, ::1],
    *[_FLOATS] * 3,
    types.float64[:, ::1],
    types.int64[:, ::1],
    *[_FLOATS] * 2,
)


def workspace(
    components: int, controls: int, parameters: int, lanes: int
) -> tuple[np.ndarray, ...]:
    """Arrays that `advance` works in: a part of a program makes no arrays (`compiling_once`).

    components, controls, parameters: numbers of one trajectory.
    """
    size = (components * lanes + PADDING - 1) // PADDING * PADDING
    lane, whole_numbers = np.zeros((10, LANES)), np.zeros((8, LANES), dtype=np.int64)
    return (
        np.zeros((ROWS, size)), np.zeros(fields.SCRATCH * size), np.zeros(controls * lanes),
        np.zeros(parameters * lanes), lane, whole_numbers, np.zeros(LANES), np.zeros(LANES),
    )  # fmt: skip


@_exact
def _enter(lane: int, lanes: int, values: Any, row: Any) -> None:
    """Copy values (node, feature) of one trajectory into a lane of a row (feature, node, lane)."""
    noinline()
    nodes, features = values.shape
    for f in range(features):
        for i in range(nodes):
            row[(f * nodes + i) * lanes + lane] = values[i, f]


@_exact
def _leave(lane: int, lanes: int, row: Any, out: Any, trajectory: int, time: int) -> None:
    """Copy a lane of a row (feature, node, lane) to out (trajectory, time, node, feature)."""
    noinline()
    nodes, features = out.shape[2], out.shape[3]
    for i in range(nodes):
        for f in range(features):
            out[trajectory, time, i, f] = row[(f * nodes + i) * lanes + lane]


@_exact
def _squares(a: Any, b: Any, y: Any, z: Any, rtol: float, atol: float) -> None:
    """Replace a and b by their squares in units of atol + rtol max(|y|, |z|)."""
    noinline()
    for p in range(a.size):
        scale = atol + rtol * max(abs(y[p]), abs(z[p]))
        first, second = a[p] / scale, b[p] / scale
        a[p] = first * first
        b[p] = second * second


@_exact
def _lane_means(values: Any, components: int, lanes: int, means: Any) -> None:
    noinline()
    for lane in range(lanes):
        means[lane] = 0.0
    if lanes == 1:
        total = 0.0
        for c in range(components):
            total += values[c]
        means[0] = total
    else:
        for c in range(components):
            for lane in range(LANES):
                means[lane] += values[c * LANES + lane]
    for lane in range(lanes):
        means[lane] /= components


@_exact
def _norm(
    lane: int, lanes: int, components: int, a: Any, b: Any, of_b: float, y: Any,
    rtol: float, atol: float,
) -> float:  # fmt: skip
    """Root mean square of a - of_b b in units of atol + rtol |y|, of one lane."""
    noinline()
    total = 0.0
    for c in range(components):
        p = c * lanes + lane
        value = (a[p] - of_b * b[p]) / (atol + rtol * abs(y[p]))
        total += value * value
    return np.sqrt(total / components)


@_exact
def _not_finite(lane: int, lanes: int, components: int, row: Any) -> int:
    """The first component of a lane that is not finite; -1 where all are."""
    noinline()
    for c in range(components):
        if not np.isfinite(row[c * lanes + lane]):
            return c
    return -1


@_exact
def _fail(
    lane: int,
    reason: int,
    component: int,
    of: Any,
    whole: Any,
    out: Any,
    failed: Any,
    failed_at: Any,
) -> None:
    """Record why the trajectory of a lane failed, and free the lane."""
    noinline()
    k, nodes, features = whole[OWNER, lane], out.shape[2], out.shape[3]
    failed[k, 0], failed[k, 1], failed[k, 2] = reason, component // nodes, component % nodes
    failed_at[k] = of[T, lane]
    for time in range(whole[WRITTEN, lane], out.shape[1]):
        for i in range(nodes):
            for f in range(features):
                out[k, time, i, f] = np.nan
    whole[OWNER, lane], whole[BEGINS, lane], whole[ACCEPTED, lane] = -1, 0, 0
    whole[FIRST, lane] = whole[STOP, lane]
    of[T, lane], of[H, lane] = of[END, lane], 0.0


@_exact
def _fail_step(
    lane: int, lanes: int, components: int, error: float, memory: Any, of: Any, whole: Any, out: Any,
    failed: Any, failed_at: Any,
) -> None:  # fmt: skip
    """Record the failure of a lane that a step of the least size does not advance."""
    noinline()
    for stage in range(_END + 1):
        found = _not_finite(lane, lanes, components, memory[STAGES + stage])
        if found >= 0:
            _fail(lane, np.int64(NOT_FINITE), found, of, whole, out, failed, failed_at)
            return
    found, best = np.int64(0), -1.0
    for c in range(components):
        value = abs(memory[STAGES, c * lanes + lane])
        if value > best:
            found, best = c, value
    reason = np.int64(TOO_SMALL if np.isfinite(error) else NOT_FINITE)
    _fail(lane, reason, found, of, whole, out, failed, failed_at)


@_exact
def _fill(
    lanes: int, waiting: int, of: Any, whole: Any, x0: Any, out: Any, controls: Any,
    per_trajectory: Any, times: Any, state: Any, control: Any, per_node: Any,
) -> tuple[int, int]:  # fmt: skip
    """Give free lanes the next trajectories, and others their next control.

    Returns the next trajectory that has no lane yet, and the number of lanes that are in use.
    """
    noinline()
    points, components = times.size, x0.shape[1] * x0.shape[2]
    used = 0
    for lane in range(lanes):
        whole[BEGINS, lane] = 0
        if whole[OWNER, lane] >= 0:
            if of[T, lane] < of[END, lane]:
                used += 1
                continue
            if controls.size and whole[INTERVAL, lane] + 2 < points:
                whole[INTERVAL, lane] += 1
            else:
                whole[OWNER, lane] = -1
        if whole[OWNER, lane] < 0:
            if waiting == x0.shape[0]:
                of[H, lane] = 0.0
                for c in range(components):
                    state[c * lanes + lane] = 0.0
                continue
            whole[OWNER, lane], whole[INTERVAL, lane] = waiting, 0
            whole[TRIED, lane], whole[WRITTEN, lane], of[NEXT, lane] = 0, 1, 0.0
            _enter(lane, lanes, x0[waiting], state)
            _leave(lane, lanes, state, out, waiting, np.int64(0))
            _enter(lane, lanes, per_trajectory[waiting % per_trajectory.shape[0]], per_node)
            waiting += 1
        used += 1
        i = whole[INTERVAL, lane]
        if controls.size:
            _enter(lane, lanes, controls[whole[OWNER, lane], i], control)
        whole[BEGINS, lane] = 1
        t, end = times[i], times[i + 1] if controls.size else times[points - 1]
        # Below a few units in the last place of the time, t + h would equal t.
        of[LEAST, lane] = 16 * _EPSILON * max(max(abs(t), abs(end)), end - t)
        of[T, lane], of[END, lane], of[LIMIT, lane] = t, end, 10.0
    return waiting, used


@_exact
def _first_guess(
    lanes: int, of: Any, whole: Any, memory: Any, components: int, rtol: float, atol: float,
    out: Any, failed: Any, failed_at: Any, counts: Any,
) -> bool:  # fmt: skip
    """The state after a first small step in row TRIAL, of lanes that begin a trajectory, if any."""
    noinline()
    state, slope, trial = memory[STATE], memory[STAGES], memory[TRIAL]
    guessed = False
    for lane in range(lanes):
        of[H, lane] = 0.0
        if not whole[BEGINS, lane]:
            continue
        counts[0] += 1
        found = _not_finite(lane, lanes, components, slope)
        if found >= 0:
            _fail(lane, np.int64(NOT_FINITE), found, of, whole, out, failed, failed_at)
        elif of[NEXT, lane] == 0.0:
            guessed = True
            size = _norm(lane, lanes, components, state, state, 0.0, state, rtol, atol)
            rate = _norm(lane, lanes, components, slope, slope, 0.0, state, rtol, atol)
            guess = 1e-6 if size < 1e-5 or rate < 1e-5 else 0.01 * size / rate
            of[SLOPE, lane], of[H, lane] = rate, min(guess, of[END, lane] - of[T, lane])
    if guessed:
        for c in range(components):
            for lane in range(lanes):
                p = c * lanes + lane
                trial[p] = state[p] + of[H, lane] * slope[p]
    return guessed


@_exact
def _first_steps(
    lanes: int, of: Any, whole: Any, memory: Any, components: int, rtol: float, atol: float,
    counts: Any,
) -> None:  # fmt: skip
    """First step of lanes that begin a trajectory; row STAGES + 1 is the field at row TRIAL."""
    noinline()
    for lane in range(lanes):
        if not whole[BEGINS, lane] or of[NEXT, lane] != 0.0:
            continue
        counts[0] += 1
        h0 = of[H, lane]
        second = _norm(
            lane, lanes, components, memory[STAGES + 1], memory[STAGES], 1.0, memory[STATE],
            rtol, atol,
        ) / h0  # fmt: skip
        largest = of[SLOPE, lane] if np.isnan(second) else max(of[SLOPE, lane], second)
        if not np.isfinite(largest) or largest <= 1e-15:
            h1 = max(1e-6, 1e-3 * h0)
        else:
            h1 = (0.01 / largest) ** (-_EXPONENT)
        of[NEXT, lane] = min(min(100 * h0, h1), of[END, lane] - of[T, lane])


@_exact
def _choose_steps(lanes: int, of: Any, whole: Any, steps: Any) -> None:
    noinline()
    for lane in range(lanes):
        if whole[OWNER, lane] < 0:
            of[H, lane], of[T_NEW, lane] = 0.0, of[T, lane]
            continue
        # The last step ends at its end exactly, so that no step of 1e-12 is left over.
        rest = of[END, lane] - of[T, lane]
        last = of[NEXT, lane] >= rest * (1 - 1e-12)
        of[H, lane] = rest if last else of[NEXT, lane]
        of[T_NEW, lane] = of[END, lane] if last else of[T, lane] + of[H, lane]
    for slot in range(LANES):
        steps[slot] = of[H, slot if lanes == LANES else 0]


@_exact
def _evaluate(
    field: Any, memory: Any, rate: int, state: int, control: Any, per_node: Any, numbers: Any,
    starts: Any, senders: Any, weights: Any, scratch: Any, nodes: int, lanes: int,
) -> None:  # fmt: skip
    """The field at row ``state`` of memory into row ``rate``."""
    noinline()
    field(
        memory[rate], memory[state], control, per_node, numbers, starts, senders, weights, scratch,
        nodes, lanes,
    )  # fmt: skip


@_exact
def _stages(
    field: Any, memory: Any, steps: Any, first: int, last: int, entry: Any, index: Any, weight: Any,
    control: Any, per_node: Any, numbers: Any, starts: Any, senders: Any, weights: Any,
    scratch: Any, nodes: int, lanes: int,
) -> None:  # fmt: skip
    """Evaluate the stages ``first`` to ``last``; the state of stage 12 is the end of the step."""
    noinline()
    size = memory.shape[1]
    for stage in range(first, last):
        row = NEW if stage == _END else TRIAL
        stage_state(
            memory, row * size, STATE * size, steps, STAGES * size, size,
            entry[stage], entry[stage + 1], index, weight,
        )  # fmt: skip
        _evaluate(
            field, memory, STAGES + stage, row, control, per_node, numbers, starts, senders,
            weights, scratch, nodes, lanes,
        )  # fmt: skip


@_exact
def _combine(memory: Any, row: int, rows: int, entry: Any, index: Any, weight: Any) -> None:
    """Rows DENSE, DENSE + 1, ... from ``rows`` rows of the tableau, from ``row``."""
    noinline()
    size = memory.shape[1]
    for i in range(rows):
        weighted_sum(
            memory, (DENSE + i) * size, 0, 0, STAGES * size, size,
            entry[row + i], entry[row + i + 1], index, weight,
        )  # fmt: skip


@_exact
def _judge(
    lanes: int, of: Any, whole: Any, memory: Any, components: int, times: Any, max_steps: int,
    out: Any, failed: Any, failed_at: Any, counts: Any,
) -> bool:  # fmt: skip
    """Accept or reject the step of every lane; whether states inside an accepted one are wanted."""
    noinline()
    inside = False
    for lane in range(lanes):
        whole[ACCEPTED, lane] = whole[FIRST, lane] = whole[STOP, lane] = 0
        if whole[OWNER, lane] < 0:
            continue
        counts[0] += _END
        whole[TRIED, lane] += 1
        h, main = of[H, lane], of[ERROR5, lane]
        both = np.sqrt(main + 0.01 * of[ERROR3, lane])
        error = 0.0 if main == 0.0 else _STRICTNESS * h * main / (1.0 if both == 0.0 else both)
        if error <= 1.0:
            counts[1] += 1
            whole[ACCEPTED, lane] = 1
            grow = of[LIMIT, lane] if error == 0.0 else 0.9 * error**_EXPONENT
            longer = h * min(of[LIMIT, lane], max(0.2, grow))
            # The last step was shortened by the end, not by its error: keep the longer size.
            last = of[T_NEW, lane] == of[END, lane]
            of[NEXT, lane] = max(of[NEXT, lane], longer) if last else longer
            of[LIMIT, lane] = 10.0
            first = stop = whole[WRITTEN, lane]
            while stop < times.size and times[stop] <= of[T_NEW, lane]:
                stop += 1
            whole[WRITTEN, lane] = stop
            if stop > first and times[stop - 1] == of[T_NEW, lane]:
                stop -= 1
                _leave(lane, lanes, memory[NEW], out, whole[OWNER, lane], stop)
            whole[FIRST, lane], whole[STOP, lane] = first, stop
            if stop > first:
                inside = True
                counts[0] += _ALL - _END - 1
        else:
            counts[2] += 1
            shrink = max(0.2, 0.9 * error**_EXPONENT) if np.isfinite(error) else 0.1
            of[NEXT, lane], of[LIMIT, lane] = h * shrink, 1.0
            if of[NEXT, lane] < of[LEAST, lane]:
                _fail_step(
                    lane, lanes, components, error, memory, of, whole, out, failed, failed_at
                )
                continue
        if whole[TRIED, lane] >= max_steps and not (
            whole[ACCEPTED, lane] and whole[WRITTEN, lane] == times.size
        ):
            _fail(lane, np.int64(TOO_MANY_STEPS), np.int64(0), of, whole, out, failed, failed_at)
    return inside


@_exact
def _interpolate(
    lanes: int, of: Any, whole: Any, memory: Any, times: Any, steps: Any, thetas: Any, out: Any
) -> None:
    """Write the states at the times inside the step of each lane, from the rows of dense output."""
    noinline()
    size, number = memory.shape[1], np.int64(0)
    while True:
        left = False
        for lane in range(lanes):
            at = whole[FIRST, lane] + number
            thetas[lane] = 0.0
            if at < whole[STOP, lane]:
                left = True
                thetas[lane] = (times[at] - of[T, lane]) / of[H, lane]
        if not left:
            return
        for slot in range(lanes, LANES):
            thetas[slot] = thetas[0]
        dense_state(memory, TRIAL * size, STATE * size, DENSE * size, size, steps, thetas)
        for lane in range(lanes):
            at = whole[FIRST, lane] + number
            if at < whole[STOP, lane]:
                _leave(lane, lanes, memory[TRIAL], out, whole[OWNER, lane], at)
        number += 1


@_exact
def _continue(lanes: int, of: Any, whole: Any, memory: Any, components: int) -> None:
    """The end of an accepted step is the state of the next."""
    noinline()
    state, slope, new, ahead = memory[STATE], memory[STAGES], memory[NEW], memory[STAGES + _END]
    accepted = 0
    for lane in range(lanes):
        if whole[ACCEPTED, lane]:
            accepted += 1
            of[T, lane] = of[T_NEW, lane]
    if accepted == lanes:
        for p in range(state.size):
            state[p] = new[p]
        for p in range(state.size):
            slope[p] = ahead[p]
        return
    for lane in range(lanes):
        if whole[ACCEPTED, lane]:
            for c in range(components):
                p = c * lanes + lane
                state[p], slope[p] = new[p], ahead[p]


@whole(**_OPTIONS)
def advance(
    field: Any, x0: Any, out: Any, controls: Any, per_trajectory: Any, numbers: Any, times: Any,
    starts: Any, senders: Any, weights: Any, entry: Any, index: Any, weight: Any,
    rtol: float, atol: float, max_steps: int, lanes: int, failed: Any, failed_at: Any, counts: Any,
    memory: Any, scratch: Any, control: Any, per_node: Any, of: Any, whole: Any, steps: Any, thetas: Any,
) -> None:  # fmt: skip
    """Solve all trajectories.

    x0 (trajectory, node, feature); out (trajectory, time, node, feature), NaN after a failure.
    controls (trajectory, time, node, control), of size 0 without. per_trajectory (trajectory or 1,
    node, parameter). starts, senders, weights: see `fields`. entry, index, weight: the tableau, sparse
    rows. lanes: LANES or 1. failed (trajectory, 3): reason (0: solved), feature, node;
    failed_at (trajectory,): its time. counts (3,): field evaluations of single trajectories,
    accepted and rejected steps. memory to thetas: `workspace`.
    """
    nodes, components = x0.shape[1], x0.shape[1] * x0.shape[2]
    for lane in range(LANES):
        whole[OWNER, lane] = -1
    waiting = np.int64(0)
    while True:
        waiting, used = _fill(
            lanes, waiting, of, whole, x0, out, controls, per_trajectory, times, memory[STATE],
            control, per_node,
        )  # fmt: skip
        if used == 0:
            return
        begins = 0
        for lane in range(lanes):
            begins += whole[BEGINS, lane]
        if begins:
            _evaluate(
                field, memory, np.int64(STAGES), np.int64(STATE), control, per_node, numbers,
                starts, senders, weights, scratch, nodes, lanes,
            )  # fmt: skip
            if _first_guess(
                lanes, of, whole, memory, components, rtol, atol, out, failed, failed_at, counts
            ):
                _evaluate(
                    field, memory, np.int64(STAGES + 1), np.int64(TRIAL), control, per_node,
                    numbers, starts, senders, weights, scratch, nodes, lanes,
                )  # fmt: skip
                _first_steps(lanes, of, whole, memory, components, rtol, atol, counts)
        _choose_steps(lanes, of, whole, steps)
        _stages(
            field, memory, steps, np.int64(1), np.int64(_END + 1), entry, index, weight, control, per_node, numbers,
            starts, senders, weights, scratch, nodes, lanes,
        )  # fmt: skip
        _combine(memory, np.int64(_ERRORS), np.int64(2), entry, index, weight)
        _squares(memory[DENSE], memory[DENSE + 1], memory[STATE], memory[NEW], rtol, atol)
        _lane_means(memory[DENSE], components, lanes, of[ERROR5])
        _lane_means(memory[DENSE + 1], components, lanes, of[ERROR3])
        if _judge(
            lanes, of, whole, memory, components, times, max_steps, out, failed, failed_at, counts
        ):
            _stages(
                field, memory, steps, np.int64(_END + 1), np.int64(_ALL), entry, index, weight, control, per_node,
                numbers, starts, senders, weights, scratch, nodes, lanes,
            )  # fmt: skip
            _combine(memory, np.int64(_DENSE), np.int64(7), entry, index, weight)
            _interpolate(lanes, of, whole, memory, times, steps, thetas, out)
        _continue(lanes, of, whole, memory, components)
