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

from ...files.compiling import njit
from . import fields
from .vectors import LANES, dense_state, stage_state, weighted_sum

# Rows of memory: the state, 16 stages, the state of a stage, the state at the end of the step, and
# seven rows of dense output, of which the first two hold the estimates of the error before.
STATE, STAGES, TRIAL, NEW, DENSE, SCRATCH = 0, 1, 17, 18, 19, 26
ROWS = SCRATCH + fields.SCRATCH
# Rows of the tableau after the 16 of the stages.
_ERROR5, _ERROR3, _DENSE = 16, 17, 18
_FIRST = 12  # stage at the end of the step, the first of the next
_LAST = 16
_EXPONENT = -1.0 / 8.0  # order of the estimate of the error, plus one
_EPSILON = float(np.finfo(np.float64).eps)

TOO_MANY_STEPS, NOT_FINITE, TOO_SMALL = 1, 2, 3
"""Why a trajectory failed; 0 where it was solved."""

_exact = njit(error_model="numpy", nogil=True)

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
)


@_exact
def _enter(
    lane: int, lanes: int, values: Any, row: Any
) -> None:
    """Copy values (node, feature) of one trajectory into a lane of a row (feature, node, lane)."""
    nodes, features = values.shape
    for f in range(features):
        for i in range(nodes):
            row[(f * nodes + i) * lanes + lane] = values[i, f]


@_exact
def _leave(lane: int, lanes: int, row: Any, values: Any) -> None:
    """The inverse of `_enter`."""
    nodes, features = values.shape
    for i in range(nodes):
        for f in range(features):
            values[i, f] = row[(f * nodes + i) * lanes + lane]


@_exact
def _squares(a: Any, b: Any, y: Any, z: Any, rtol: float, atol: float) -> None:
    """Replace a and b by their squares in units of atol + rtol max(|y|, |z|)."""
    for p in range(a.size):
        scale = atol + rtol * max(abs(y[p]), abs(z[p]))
        first, second = a[p] / scale, b[p] / scale
        a[p] = first * first
        b[p] = second * second


@_exact
def _lane_means(values: Any, components: int, lanes: int, means: Any) -> None:
    means[:] = 0.0
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
def _norm(lane: int, lanes: int, components: int, a: Any, b: Any, y: Any, rtol: float, atol: float) -> float:
    """Root mean square of a - b in units of atol + rtol |y|, of one lane."""
    total = 0.0
    for c in range(components):
        p = c * lanes + lane
        value = (a[p] - b[p]) / (atol + rtol * abs(y[p]))
        total += value * value
    return np.sqrt(total / components)


@_exact
def _not_finite(lane: int, lanes: int, components: int, row: Any) -> int:
    """The first component of a lane that is not finite; -1 where all are."""
    for c in range(components):
        if not np.isfinite(row[c * lanes + lane]):
            return c
    return -1


@_exact
def _first_guess(size: float, slope: float, longest: float) -> float:
    guess = 1e-6 if size < 1e-5 or slope < 1e-5 else 0.01 * size / slope
    return min(guess, longest)


@_exact
def _first_step(slope: float, second: float, h0: float, longest: float) -> float:
    largest = max(slope, second)
    if np.isnan(second):
        largest = slope
    if not np.isfinite(largest) or largest <= 1e-15:
        h1 = max(1e-6, 1e-3 * h0)
    else:
        h1 = (0.01 / largest) ** (-_EXPONENT)
    return min(min(100 * h0, h1), longest)


@_exact
def _failing_component(
    lane: int, lanes: int, components: int, memory: Any, size: int, error: float
) -> tuple[int, int]:
    """(reason, component) of a lane that a step of the least size does not advance."""
    for stage in range(_FIRST + 1):
        row = memory[(STAGES + stage) * size : (STAGES + stage + 1) * size]
        found = _not_finite(lane, lanes, components, row)
        if found >= 0:
            return NOT_FINITE, found
    slope = memory[STAGES * size : (STAGES + 1) * size]
    found, best = 0, -1.0
    for c in range(components):
        value = abs(slope[c * lanes + lane])
        if value > best:
            found, best = c, value
    return (TOO_SMALL if np.isfinite(error) else NOT_FINITE), found


@_exact
def _stages(
    field: Any, memory: Any, steps_at: int, size: int, first: int, last: int, entry: Any,
    index: Any, weight: Any, control: Any, per_node: Any, numbers: Any, starts: Any, senders: Any,
    weights: Any, nodes: int, lanes: int,
) -> None:  # fmt: skip
    """Evaluate the stages ``first`` to ``last``; the state of stage 12 is the end of the step."""
    scratch = memory[SCRATCH * size : ROWS * size]
    for stage in range(first, last):
        row = NEW if stage == _FIRST else TRIAL
        stage_state(
            memory, row * size, STATE * size, steps_at, STAGES * size, size,
            entry[stage], entry[stage + 1], index, weight,
        )  # fmt: skip
        field(
            memory[(STAGES + stage) * size : (STAGES + stage + 1) * size],
            memory[row * size : (row + 1) * size],
            control, per_node, numbers, starts, senders, weights, scratch, nodes, lanes,
        )  # fmt: skip


@_exact
def _interpolate(
    memory: Any, steps_at: int, thetas_at: int, size: int, owner: Any, first: Any, stop: Any,
    t: Any, h: Any, times: Any, out: Any, entry: Any, index: Any, weight: Any, lanes: int,
) -> None:  # fmt: skip
    """Write the states at the times ``first`` to ``stop`` of each lane, inside its step."""
    for row in range(7):
        weighted_sum(
            memory, (DENSE + row) * size, 0, 0, STAGES * size, size,
            entry[_DENSE + row], entry[_DENSE + row + 1], index, weight,
        )  # fmt: skip
    most = 0
    for lane in range(lanes):
        most = max(most, stop[lane] - first[lane])
    for number in range(most):
        for slot in range(LANES):
            lane = slot if lanes == LANES else 0
            inside = first[lane] + number < stop[lane]
            theta = (times[first[lane] + number] - t[lane]) / h[lane] if inside else 0.0
            memory[thetas_at + slot] = theta
        dense_state(
            memory, TRIAL * size, STATE * size, DENSE * size, size, steps_at, thetas_at
        )
        for lane in range(lanes):
            if first[lane] + number < stop[lane]:
                _leave(
                    lane, lanes, memory[TRIAL * size : (TRIAL + 1) * size],
                    out[owner[lane], first[lane] + number],
                )  # fmt: skip


@_exact
def advance(
    field: Any, x0: Any, out: Any, controls: Any, per_trajectory: Any, numbers: Any, times: Any,
    starts: Any, senders: Any, weights: Any, entry: Any, index: Any, weight: Any,
    rtol: float, atol: float, max_steps: int, lanes: int, failed: Any, failed_at: Any, counts: Any,
) -> None:  # fmt: skip
    """Solve all trajectories.

    x0 (trajectory, node, feature); out (trajectory, time, node, feature), NaN after a failure.
    controls (trajectory, time, node, control), of size 0 without. per_trajectory (trajectory or 1,
    node, parameter). starts, senders, weights: see `fields`. entry, index, weight: the tableau, sparse
    rows. lanes: LANES or 1. failed (trajectory, 3): reason (0: solved), feature, node;
    failed_at (trajectory,): its time. counts (3,): field evaluations of single trajectories,
    accepted and rejected steps.
    """
    trajectories, nodes, features = x0.shape
    components, points = nodes * features, times.size
    size = (components * lanes + 31) // 32 * 32
    memory = np.zeros(ROWS * size + 2 * LANES)
    steps_at, thetas_at = ROWS * size, ROWS * size + LANES
    controlled = controls.size > 0
    control = np.zeros(controls.shape[3] * nodes * lanes if controlled else 0)
    per_node = np.zeros(per_trajectory.shape[1] * per_trajectory.shape[2] * lanes)
    owner = np.full(LANES, -1)
    entered, started = np.zeros(LANES, dtype=np.bool_), np.zeros(LANES, dtype=np.bool_)
    accepted = np.zeros(LANES, dtype=np.bool_)
    of_lanes = np.zeros((10, LANES))
    t, t_new, end, h, proposed = of_lanes[0], of_lanes[1], of_lanes[2], of_lanes[3], of_lanes[4]
    least, limit, slopes = of_lanes[5], of_lanes[6], of_lanes[7]
    errors, others = of_lanes[8], of_lanes[9]
    counted = np.zeros((5, LANES), dtype=np.int64)
    interval, attempts, written = counted[0], counted[1], counted[2]
    first, stop = counted[3], counted[4]
    state, slope = memory[:size], memory[STAGES * size : (STAGES + 1) * size]
    trial, new = memory[TRIAL * size : (TRIAL + 1) * size], memory[NEW * size : (NEW + 1) * size]
    second = memory[(STAGES + 1) * size : (STAGES + 2) * size]
    scratch = memory[SCRATCH * size : ROWS * size]
    waiting = 0  # the next trajectory that has no lane yet
    while True:
        # ---- trajectories that begin, and intervals with a new control ------------------------
        entered[:] = False
        for lane in range(lanes):
            if owner[lane] >= 0:
                if t[lane] < end[lane]:
                    continue
                if controlled and interval[lane] + 2 < points:
                    interval[lane] += 1
                    started[lane] = False
                else:
                    owner[lane] = -1
            if owner[lane] < 0:
                if waiting == trajectories:
                    h[lane] = 0.0
                    for p in range(components):
                        state[p * lanes + lane] = 0.0
                    continue
                owner[lane], interval[lane], attempts[lane] = waiting, 0, 0
                written[lane], proposed[lane], started[lane] = 1, 0.0, True
                _enter(lane, lanes, x0[waiting], state)
                out[waiting, 0] = x0[waiting]
                _enter(lane, lanes, per_trajectory[waiting % len(per_trajectory)], per_node)
                waiting += 1
            entered[lane] = True
            if controlled:
                _enter(lane, lanes, controls[owner[lane], interval[lane]], control)
            i = interval[lane]
            t[lane] = times[i]
            end[lane] = times[i + 1] if controlled else times[points - 1]
            limit[lane] = 10.0
            # Below a few units in the last place of the time, t + h would equal t.
            length = max(max(abs(t[lane]), abs(end[lane])), end[lane] - t[lane])
            least[lane] = 16 * _EPSILON * length
        if not np.any(owner >= 0):
            break
        if np.any(entered):
            field(
                slope, state, control, per_node, numbers, starts, senders, weights, scratch, nodes,
                lanes,
            )  # fmt: skip
            guessed = False
            for lane in range(lanes):
                if not entered[lane]:
                    h[lane] = 0.0
                    continue
                counts[0] += 1
                found = _not_finite(lane, lanes, components, slope)
                if found >= 0:
                    k = owner[lane]
                    failed[k, 0], failed[k, 1], failed[k, 2] = NOT_FINITE, found // nodes, found % nodes
                    failed_at[k] = t[lane]
                    out[k, written[lane] :] = np.nan
                    owner[lane], t[lane], h[lane] = -1, end[lane], 0.0
                elif proposed[lane] == 0.0:
                    guessed = True
                    zero = memory[DENSE * size : (DENSE + 1) * size]
                    zero[:] = 0.0
                    norm = _norm(lane, lanes, components, state, zero, state, rtol, atol)
                    slopes[lane] = _norm(lane, lanes, components, slope, zero, state, rtol, atol)
                    h[lane] = _first_guess(norm, slopes[lane], end[lane] - t[lane])
            if guessed:
                for p in range(components):
                    for lane in range(lanes):
                        at = p * lanes + lane
                        trial[at] = state[at] + h[lane] * slope[at]
                field(
                    second, trial, control, per_node, numbers, starts, senders, weights, scratch,
                    nodes, lanes,
                )  # fmt: skip
                for lane in range(lanes):
                    if entered[lane] and owner[lane] >= 0 and proposed[lane] == 0.0:
                        counts[0] += 1
                        change = _norm(lane, lanes, components, second, slope, state, rtol, atol)
                        proposed[lane] = _first_step(
                            slopes[lane], change / h[lane], h[lane], end[lane] - t[lane]
                        )
            if np.any(owner[:lanes] < 0) and waiting < trajectories:
                continue  # a trajectory failed at once: fill its lane
        # ---- one step of every lane -----------------------------------------------------------
        for lane in range(lanes):
            if owner[lane] < 0:
                h[lane], t_new[lane] = 0.0, t[lane]
                continue
            # The last step ends at ``end`` exactly, so that no step of 1e-12 is left over.
            last = proposed[lane] >= (end[lane] - t[lane]) * (1 - 1e-12)
            h[lane] = end[lane] - t[lane] if last else proposed[lane]
            t_new[lane] = end[lane] if last else t[lane] + h[lane]
        for slot in range(LANES):
            memory[steps_at + slot] = h[slot if lanes == LANES else 0]
        _stages(
            field, memory, steps_at, size, 1, _FIRST + 1, entry, index, weight, control, per_node,
            numbers, starts, senders, weights, nodes, lanes,
        )  # fmt: skip
        for row in range(2):
            weighted_sum(
                memory, (DENSE + row) * size, 0, 0, STAGES * size, size,
                entry[_ERROR5 + row], entry[_ERROR5 + row + 1], index, weight,
            )  # fmt: skip
        main = memory[DENSE * size : (DENSE + 1) * size]
        other = memory[(DENSE + 1) * size : (DENSE + 2) * size]
        _squares(main, other, state, new, rtol, atol)
        _lane_means(main, components, lanes, errors)
        _lane_means(other, components, lanes, others)
        inside = False
        for lane in range(lanes):
            accepted[lane] = False
            first[lane] = stop[lane] = 0
            if owner[lane] < 0:
                continue
            counts[0] += _FIRST
            attempts[lane] += 1
            both = np.sqrt(errors[lane] + 0.01 * others[lane])
            error = 0.0
            if errors[lane] != 0.0:
                error = h[lane] * errors[lane] / (1.0 if both == 0.0 else both)
            last = t_new[lane] == end[lane]
            if not error <= 1.0:
                counts[2] += 1
                shrink = 0.1
                if np.isfinite(error):
                    shrink = max(0.2, 0.9 * error**_EXPONENT)
                proposed[lane], limit[lane] = h[lane] * shrink, 1.0
                if proposed[lane] < least[lane]:
                    k = owner[lane]
                    reason, found = _failing_component(lane, lanes, components, memory, size, error)
                    failed[k, 0], failed[k, 1], failed[k, 2] = reason, found // nodes, found % nodes
                    failed_at[k] = t[lane]
                    out[k, written[lane] :] = np.nan
                    owner[lane], t[lane] = -1, end[lane]
            else:
                counts[1] += 1
                accepted[lane] = True
                grow = limit[lane] if error == 0.0 else 0.9 * error**_EXPONENT
                longer = h[lane] * min(limit[lane], max(0.2, grow))
                # The last step was shortened by the end, not by its error: keep the longer size.
                proposed[lane] = max(proposed[lane], longer) if last else longer
                limit[lane] = 10.0
                first[lane] = stop[lane] = written[lane]
                while stop[lane] < points and times[stop[lane]] <= t_new[lane]:
                    stop[lane] += 1
                written[lane] = stop[lane]
                if stop[lane] > first[lane] and times[stop[lane] - 1] == t_new[lane]:
                    stop[lane] -= 1
                    _leave(lane, lanes, new, out[owner[lane], stop[lane]])
                if stop[lane] > first[lane]:
                    inside = True
                    counts[0] += _LAST - _FIRST - 1
            if owner[lane] >= 0 and attempts[lane] >= max_steps:
                if t_new[lane] < end[lane] or not accepted[lane]:
                    k = owner[lane]
                    failed[k, 0], failed_at[k] = TOO_MANY_STEPS, t[lane]
                    out[k, written[lane] :] = np.nan
                    first[lane] = stop[lane]
                    owner[lane], t[lane], accepted[lane] = -1, end[lane], False
        if inside:
            _stages(
                field, memory, steps_at, size, _FIRST + 1, _LAST, entry, index, weight, control,
                per_node, numbers, starts, senders, weights, nodes, lanes,
            )  # fmt: skip
            _interpolate(
                memory, steps_at, thetas_at, size, owner, first, stop, t, h, times, out, entry,
                index, weight, lanes,
            )  # fmt: skip
        # ---- the end of the step is the state of the next -------------------------------------
        ahead = memory[(STAGES + _FIRST) * size : (STAGES + _FIRST + 1) * size]
        if np.all(accepted[:lanes]):
            state[:] = new
            slope[:] = ahead
        else:
            for lane in range(lanes):
                if accepted[lane]:
                    for c in range(components):
                        state[c * lanes + lane] = new[c * lanes + lane]
                        slope[c * lanes + lane] = ahead[c * lanes + lane]
        for lane in range(lanes):
            if accepted[lane]:
                t[lane] = t_new[lane]
