"""Compiled loops over the pairs of radial messages, whose forces are polynomials in tables.

The table of a pair of kinds of bodies holds, for each cell of u = 1 + (d / near)^2, the coefficients
of a polynomial in t in [-1, 1) (`radial_table`): a part of an octave of u, so that the bits of u are
the number of its cell and t. All is in float64, for positions of either dtype. Common arguments:
side (axis,), inf for open axes; near: the softening; table (pair, cell, power); pair (kind, kind):
the table of two kinds; mode: what forces are multiplied by, 0 nothing, 1 the product, 2 the reduced
one of two sources. A distance beyond the table gives NaN.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...files.compiling_once import part, whole
from ..spec import RADIAL_SPLIT as SPLIT

POWERS = 8  # coefficients of a polynomial
_SHIFT = np.int64(52 - SPLIT)
_MASK = np.int64((1 << (52 - SPLIT)) - 1)
_FIRST = np.int64(1023 << SPLIT)  # of u = 1
_HALF = 2.0 ** (SPLIT - 51)
_SLOPE = np.int64(2047 + SPLIT)
# Sums may be reordered; NaN stays NaN, and the comparison that keeps it out of a table stays too.
_OPTIONS: dict[str, Any] = {"fastmath": {"contract", "reassoc", "nsz"}, "error_model": "numpy"}
_part = part(**_OPTIONS)
_entry = whole(**_OPTIONS)


@_part
def _cell(u):
    """(number of the cell, t) of u >= 1."""
    bits = np.float64(u).view(np.int64)
    return (bits >> _SHIFT) - _FIRST, (bits & _MASK) * _HALF - 1.0


@_part
def _slope(u):
    """dt/du, a power of two, by its bits."""
    bits = np.float64(u).view(np.int64)
    power = np.int64((_SLOPE - (bits >> np.int64(52))) << np.int64(52))
    return np.int64(power).view(np.float64)


@_part
def _nearest(d, side, inverse):
    """A component of a displacement to the nearest image, in (-side/2, side/2]."""
    return d - side * np.ceil(d * inverse - 0.5) if inverse > 0.0 else d


@_part
def _value(table, number, cell, t):
    """The polynomial of a cell at t."""
    force = table[number, cell, POWERS - 1]
    for q in range(POWERS - 2, -1, -1):
        force = force * t + table[number, cell, q]
    return force


@_part
def _derivative(table, number, cell, t):
    """d/dt of `_value`."""
    change = (POWERS - 1) * table[number, cell, POWERS - 1]
    for q in range(POWERS - 2, 0, -1):
        change = change * t + q * table[number, cell, q]
    return change


@_part
def _weight(mode, sent, received):
    """What multiplies the force between two sources."""
    if mode == 1:
        return sent * received
    if mode == 2:
        return sent * (received / (sent + received))
    return 1.0


@_part
def _clear(rows):
    # Expressions of whole arrays take a second each to compile.
    for i in range(rows.shape[0]):
        for axis in range(rows.shape[1]):
            rows[i, axis] = 0.0


@_part
def pair_forces(x, first, side, near, table, pair, kind, mode, source, total):
    """Write the sum (particle, axis) of the momenta that each particle receives in its set to ``total``.

    x (particle, axis) float64; first (set + 1,): the first particle of each set; kind, source
    (particle,), or empty.
    """
    three, cells, several = x.shape[1] == 3, table.shape[1], len(kind) > 0
    inverse, z, number, weight = 1.0 / near, 0.0, 0, 1.0
    turns = 1.0 / side[0], 1.0 / side[1], 1.0 / side[-1]
    _clear(total)
    for s in range(len(first) - 1):
        for b in range(first[s], first[s + 1]):
            fx, fy, fz = 0.0, 0.0, 0.0
            for a in range(b + 1, first[s + 1]):
                dx = _nearest(x[a, 0] - x[b, 0], side[0], turns[0])
                dy = _nearest(x[a, 1] - x[b, 1], side[1], turns[1])
                u = 1.0 + (dx * inverse) ** 2 + (dy * inverse) ** 2
                if three:
                    z = _nearest(x[a, 2] - x[b, 2], side[2], turns[2])
                    u += (z * inverse) ** 2
                cell, t = _cell(u)
                force = np.nan
                if 0 <= cell < cells:
                    if several:
                        number = pair[kind[a], kind[b]]
                    force = _value(table, number, cell, t)
                if mode:
                    weight = _weight(mode, source[a], source[b])
                force *= weight
                fx += force * dx
                fy += force * dy
                total[a, 0] -= force * dx
                total[a, 1] -= force * dy
                if three:
                    fz += force * z
                    total[a, 2] -= force * z
            total[b, 0] += fx
            total[b, 1] += fy
            if three:
                total[b, 2] += fz


@_part
def pair_gradients(
    grad, x, first, side, near, table, pair, kind, mode, source, grad_table, grad_x, grad_source
):  # fmt: skip
    """The adjoint of `pair_forces`: adds to grad_table (pair, cell, power), writes grad_x.

    grad (particle, axis): the gradient of its ``total``. grad_source (particle,) is added to, or is
    empty: of products of masses, of what each particle does to others. What is done to a particle is
    divided by its own mass afterwards, so that its own mass has no effect on it.
    """
    masses = len(grad_source) > 0
    three, cells, several = x.shape[1] == 3, table.shape[1], len(kind) > 0
    inverse, z, gz, number, weight = 1.0 / near, 0.0, 0.0, 0, 1.0
    turns = 1.0 / side[0], 1.0 / side[1], 1.0 / side[-1]
    _clear(grad_x)
    for s in range(len(first) - 1):
        for b in range(first[s], first[s + 1]):
            hx, hy, hz = 0.0, 0.0, 0.0
            for a in range(b + 1, first[s + 1]):
                dx = _nearest(x[a, 0] - x[b, 0], side[0], turns[0])
                dy = _nearest(x[a, 1] - x[b, 1], side[1], turns[1])
                gx, gy = grad[b, 0] - grad[a, 0], grad[b, 1] - grad[a, 1]
                u = 1.0 + (dx * inverse) ** 2 + (dy * inverse) ** 2
                along = gx * dx + gy * dy
                if three:
                    z = _nearest(x[a, 2] - x[b, 2], side[2], turns[2])
                    gz = grad[b, 2] - grad[a, 2]
                    u += (z * inverse) ** 2
                    along += gz * z
                cell, t = _cell(u)
                if not 0 <= cell < cells:
                    grad_table[0, 0, 0] = np.nan
                    continue
                if several:
                    number = pair[kind[a], kind[b]]
                if mode:
                    weight = _weight(mode, source[a], source[b])
                each = weight * along
                for q in range(POWERS):
                    grad_table[number, cell, q] += each
                    each *= t
                value = _value(table, number, cell, t)
                if masses:
                    here = grad[b, 0] * dx + grad[b, 1] * dy
                    if three:
                        here += grad[b, 2] * z
                    grad_source[a] += source[b] * value * here
                    grad_source[b] += source[a] * value * (along - here)
                force = weight * value
                each = weight * along * _derivative(table, number, cell, t)
                each *= 2.0 * _slope(u) * inverse * inverse
                gx, gy = force * gx + each * dx, force * gy + each * dy
                grad_x[a, 0] += gx
                grad_x[a, 1] += gy
                hx += gx
                hy += gy
                if three:
                    gz = force * gz + each * z
                    grad_x[a, 2] += gz
                    hz += gz
            grad_x[b, 0] -= hx
            grad_x[b, 1] -= hy
            if three:
                grad_x[b, 2] -= hz


@_entry
def step(
    x, v, unit, short, kicks, first, side, near, table, pair, kind, mode, source, places, change, moved,
    total,
):  # fmt: skip
    """Leapfrog steps of length ``short``: change of velocities and of positions beyond free flight.

    x, v, unit (particle, axis): velocity change of a kick per unit of momentum. places (kick,
    particle, axis): written, the positions that forces are evaluated at. change, moved (particle,
    axis): written. total (particle, axis): memory.
    """
    _clear(change)
    _clear(moved)
    for n in range(kicks):
        for i in range(x.shape[0]):
            for axis in range(x.shape[1]):
                moved[i, axis] += 0.5 * short * change[i, axis]
                free = x[i, axis] + (n + 0.5) * short * v[i, axis]
                places[n, i, axis] = free + moved[i, axis]
        pair_forces(places[n], first, side, near, table, pair, kind, mode, source, total)
        for i in range(x.shape[0]):
            for axis in range(x.shape[1]):
                change[i, axis] += unit[i, axis] * total[i, axis]
                moved[i, axis] += 0.5 * short * change[i, axis]


@_entry
def step_gradients(
    grad_change, grad_moved, places, unit, short, first, side, near, table, pair, kind, mode, source,
    grad_table, grad_source, grad_x, grad_v, here, kick,
):  # fmt: skip
    """The adjoint of `step`; adds to grad_table, grad_source (or empty), grad_x and grad_v.

    grad_change and grad_moved (particle, axis) are used up. here, kick (particle, axis): memory.
    """
    for n in range(len(places) - 1, -1, -1):
        for i in range(unit.shape[0]):
            for axis in range(unit.shape[1]):
                grad_change[i, axis] += 0.5 * short * grad_moved[i, axis]
                kick[i, axis] = unit[i, axis] * grad_change[i, axis]
        pair_gradients(
            kick, places[n], first, side, near, table, pair, kind, mode, source, grad_table, here,
            grad_source,
        )  # fmt: skip
        for i in range(unit.shape[0]):
            for axis in range(unit.shape[1]):
                grad_moved[i, axis] += here[i, axis]
                grad_x[i, axis] += here[i, axis]
                grad_v[i, axis] += (n + 0.5) * short * here[i, axis]
                grad_change[i, axis] += 0.5 * short * grad_moved[i, axis]


@_entry
def add_momenta(
    x_s, x_r, sender, receiver, side, near, table, pair, kind_s, kind_r,
    mode, source_s, source_r, count, both_ways, points, total,
):  # fmt: skip
    """total[receiver] += momentum along edges, and at the sender the opposite where ``both_ways``:
    an edge in one direction stands for both then, and those whose sender is not before their
    receiver are left out.

    x_s, x_r (node, axis): positions of senders and receivers, float64; of ``points`` that stand for a
    sender, the first ones of all senders come first. kind_s, kind_r, source_s, source_r, count
    (node,), or empty.
    """
    three, cells, several = x_r.shape[1] == 3, table.shape[1], len(kind_s) > 0
    inverse, z, number, weight = 1.0 / near, 0.0, 0, 1.0
    turns, size = (1.0 / side[0], 1.0 / side[1], 1.0 / side[-1]), len(x_s) // points
    for e in range(len(sender)):
        a, b = sender[e], receiver[e]
        if both_ways and a >= b:
            continue
        if several:
            number = pair[kind_s[a], kind_r[b]]
        if mode:
            weight = _weight(mode, source_s[a], source_r[b])
        fx, fy, fz = 0.0, 0.0, 0.0
        for i in range(a, len(x_s), size):
            dx = _nearest(x_s[i, 0] - x_r[b, 0], side[0], turns[0])
            dy = _nearest(x_s[i, 1] - x_r[b, 1], side[1], turns[1])
            u = 1.0 + (dx * inverse) ** 2 + (dy * inverse) ** 2
            if three:
                z = _nearest(x_s[i, 2] - x_r[b, 2], side[2], turns[2])
                u += (z * inverse) ** 2
            cell, t = _cell(u)
            force = np.nan
            if 0 <= cell < cells:
                force = _value(table, number, cell, t)
            fx += force * dx
            fy += force * dy
            fz += force * z
        if len(count):
            weight *= count[a]
        total[b, 0] += weight * fx
        total[b, 1] += weight * fy
        if three:
            total[b, 2] += weight * fz
        if both_ways:
            total[a, 0] -= weight * fx
            total[a, 1] -= weight * fy
            if three:
                total[a, 2] -= weight * fz
        weight = 1.0


@_entry
def add_gradients(
    grad, x_s, x_r, sender, receiver, side, near, table, pair, kind_s, kind_r,
    mode, source_s, source_r, count, both_ways, points, grad_table, grad_s, grad_r,
):  # fmt: skip
    """The adjoint of `add_momenta`: grad (receiver, axis) is that of ``total``.

    grad_table (pair, cell, power); grad_s, grad_r (node, axis), or empty where none is needed.
    """
    three, cells, several = x_r.shape[1] == 3, table.shape[1], len(kind_s) > 0
    inverse, z, gz, number, weight = 1.0 / near, 0.0, 0.0, 0, 1.0
    turns = 1.0 / side[0], 1.0 / side[1], 1.0 / side[-1]
    size, moving = len(x_s) // points, len(grad_r) > 0
    for e in range(len(sender)):
        a, b = sender[e], receiver[e]
        if both_ways and a >= b:
            continue
        if several:
            number = pair[kind_s[a], kind_r[b]]
        weight = _weight(mode, source_s[a], source_r[b]) if mode else 1.0
        if len(count):
            weight *= count[a]
        gx, gy = grad[b, 0], grad[b, 1]
        if three:
            gz = grad[b, 2]
        if both_ways:
            gx, gy = gx - grad[a, 0], gy - grad[a, 1]
            if three:
                gz -= grad[a, 2]
        for i in range(a, len(x_s), size):
            dx = _nearest(x_s[i, 0] - x_r[b, 0], side[0], turns[0])
            dy = _nearest(x_s[i, 1] - x_r[b, 1], side[1], turns[1])
            u = 1.0 + (dx * inverse) ** 2 + (dy * inverse) ** 2
            if three:
                z = _nearest(x_s[i, 2] - x_r[b, 2], side[2], turns[2])
                u += (z * inverse) ** 2
            along = weight * (gx * dx + gy * dy + gz * z)
            cell, t = _cell(u)
            if not 0 <= cell < cells:
                grad_table[0, 0, 0] = np.nan
                continue
            each = along
            for q in range(POWERS):
                grad_table[number, cell, q] += each
                each *= t
            if not moving:
                continue
            force = weight * _value(table, number, cell, t)
            each = along * _derivative(table, number, cell, t)
            each *= 2.0 * _slope(u) * inverse * inverse
            hx, hy, hz = force * gx + each * dx, force * gy + each * dy, force * gz + each * z
            grad_s[i, 0] += hx
            grad_s[i, 1] += hy
            grad_r[b, 0] -= hx
            grad_r[b, 1] -= hy
            if three:
                grad_s[i, 2] += hz
                grad_r[b, 2] -= hz
