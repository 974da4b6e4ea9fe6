"""Compiled leapfrog steps: hierarchical block time steps, and one global step.

position, velocity and acceleration are (axis, particle), float64; rows are indices of particles,
(row,); step is (particle,). See ``systems/pairs.py`` for the force. NumPy's error model, as there:
tau of a particle without acceleration is softening / 0 = inf, which puts it on level 0.
"""

from __future__ import annotations

import numpy as np

from ..files.compiling import njit
from .systems.pairs import accelerate

_jit = njit(nogil=True, error_model="numpy")

CALLS, EVALUATIONS, DEEPEST, CAPPED = range(4)  # entries of ``tally``


@_jit
def _drift(position, velocity, acceleration, rows, dt, side):
    """x += v dt + a dt^2 / 2 for ``rows``, wrapped into [-side/2, side/2)."""
    half = side / 2
    for axis in range(position.shape[0]):
        for k in range(rows.shape[0]):
            i = rows[k]
            x = position[axis, i] + velocity[axis, i] * dt + acceleration[axis, i] * (0.5 * dt * dt)
            if x >= half:
                x -= side
            elif x < -half:
                x += side
            if x >= half or x < -half:
                # The published code shifts once, which leaves a particle that crosses more than a
                # box in one step outside; the minimum image is then wrong. Wrapped in full here.
                x -= side * np.floor(x / side + 0.5)
                if x >= half:  # rounding may put x on the upper border, which is outside
                    x = -half
            position[axis, i] = x


@_jit
def _set_time_steps(acceleration, rows, softening, accuracy, step):
    """tau_i = accuracy * sqrt(softening / |a_i|); infinite for a free particle."""
    for k in range(rows.shape[0]):
        i = rows[k]
        a2 = 0.0
        for axis in range(acceleration.shape[0]):
            a2 += acceleration[axis, i] * acceleration[axis, i]
        step[i] = accuracy * np.sqrt(softening / np.sqrt(a2))


@_jit
def _count_call(rows, tally, counts):
    if tally[CALLS] < counts.shape[0]:
        counts[tally[CALLS]] = rows.shape[0]
    tally[CALLS] += 1


@_jit
def _split(rows, step, dt, may_split, fine, current, tally):
    """Rows with tau < dt to ``fine``, the others to ``current``; returns the number of each."""
    n_fine, n_current = 0, 0
    for k in range(rows.shape[0]):
        i = rows[k]
        if step[i] < dt:
            if may_split:
                fine[n_fine] = i
                n_fine += 1
                continue
            tally[CAPPED] += 1
        current[n_current] = i
        n_current += 1
    return n_fine, n_current


@_jit
def _copy_rows(position, velocity, rows, store):
    for axis in range(position.shape[0]):
        for k in range(rows.shape[0]):
            store[0, axis, k] = position[axis, rows[k]]
            store[1, axis, k] = velocity[axis, rows[k]]


@_jit
def _paste_rows(store, position, velocity, rows):
    for axis in range(position.shape[0]):
        for k in range(rows.shape[0]):
            position[axis, rows[k]] = store[0, axis, k]
            velocity[axis, rows[k]] = store[1, axis, k]


@_jit
def _kick_drift_kick(position, velocity, acceleration, opening, rows, dt, force, tally, counts):
    """One step of ``rows`` only, in place; ``acceleration`` is that at its start, then at its end."""
    source, factor, side, softening = force
    for axis in range(position.shape[0]):
        for k in range(rows.shape[0]):
            opening[axis, rows[k]] = acceleration[axis, rows[k]]
    _drift(position, velocity, acceleration, rows, dt, side)
    _count_call(rows, tally, counts)
    tally[EVALUATIONS] += rows.shape[0]
    accelerate(position, source, factor, rows, side, softening * softening, acceleration)
    for axis in range(position.shape[0]):
        for k in range(rows.shape[0]):
            i = rows[k]
            velocity[axis, i] += (opening[axis, i] + acceleration[axis, i]) * (dt / 2)


@_jit
def block_step(
    position, velocity, acceleration, opening, step, rows, known, dt, max_depth,
    source, factor, side, softening, accuracy, tally, counts,
):  # fmt: skip
    """One base step of length ``dt``, in place.

    ``known``: ``acceleration`` is that of the present positions. A level makes one step (level 0)
    or two (finer levels). In each step, particles with tau < dt_l first move on the next finer
    level, with all others fixed at their positions at the start of the step; the others then move
    with those fine particles fixed at *their* positions at the start. Forces and tau of all
    particles of a level are computed again between its two steps. Returns whether ``acceleration``
    is that of the final positions.
    """
    # A stack in place of recursion: numba cannot cache a function that calls itself.
    dims, count = position.shape
    softening2 = softening * softening
    force = (source, factor, side, softening)
    fine = np.empty((max_depth + 1, count), np.int64)
    current = np.empty((max_depth + 1, count), np.int64)
    n_fine = np.zeros(max_depth + 1, np.int64)
    n_current = np.zeros(max_depth + 1, np.int64)
    second = np.zeros(max_depth + 1, np.bool_)
    start = np.empty((max_depth + 1, 2, dims, count))  # pages of unused levels are never allocated
    ahead = np.empty((2, dims, count))

    depth, opens, kept = 0, True, known
    while depth >= 0:
        members = rows if depth == 0 else fine[depth - 1, : n_fine[depth - 1]]
        step_size = dt / 2.0**depth
        if opens:
            if depth == 0 or second[depth]:
                _count_call(members, tally, counts)
                if not kept:
                    accelerate(position, source, factor, members, side, softening2, acceleration)
                    tally[EVALUATIONS] += members.shape[0]
                _set_time_steps(acceleration, members, softening, accuracy, step)
            n_fine[depth], n_current[depth] = _split(
                members, step, step_size, depth < max_depth, fine[depth], current[depth], tally
            )
            if n_fine[depth] > 0:
                _copy_rows(position, velocity, fine[depth, : n_fine[depth]], start[depth])
                depth += 1
                second[depth] = False
                tally[DEEPEST] = max(tally[DEEPEST], depth)
                continue
        below = fine[depth, : n_fine[depth]]
        _copy_rows(position, velocity, below, ahead)
        _paste_rows(start[depth], position, velocity, below)
        if n_current[depth] > 0:
            _kick_drift_kick(
                position, velocity, acceleration, opening, current[depth, : n_current[depth]],
                step_size, force, tally, counts,
            )  # fmt: skip
        _paste_rows(ahead, position, velocity, below)
        # Without finer particles, the force at the end of this step was computed at the positions
        # at which the next one begins: reuse saves a third of the evaluations on the finest level.
        kept = n_fine[depth] == 0
        if depth > 0 and not second[depth]:
            second[depth], opens = True, True
        else:
            depth, opens = depth - 1, False
    return kept


@_jit
def global_steps(
    position, velocity, acceleration, opening, rows, known, dt, substeps,
    source, factor, side, softening, tally,
):  # fmt: skip
    """``substeps`` kick-drift-kick steps of dt / substeps for all particles, in place."""
    dt = dt / substeps
    if not known:
        accelerate(position, source, factor, rows, side, softening * softening, acceleration)
        tally[EVALUATIONS] += rows.shape[0]
    for _ in range(substeps):
        opening[:] = acceleration
        _drift(position, velocity, acceleration, rows, dt, side)
        accelerate(position, source, factor, rows, side, softening * softening, acceleration)
        tally[EVALUATIONS] += rows.shape[0]
        tally[CALLS] += 1
        for axis in range(position.shape[0]):
            for i in range(position.shape[1]):
                velocity[axis, i] += (opening[axis, i] + acceleration[axis, i]) * (dt / 2)
    return True
