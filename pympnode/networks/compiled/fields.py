"""The fields of shipped systems for the compiled stepper.

Each is ``field(rate, state, control, per_node, numbers, starts, senders, weights, scratch, nodes,
lanes)``. Arrays are flat: state and rate (feature, node, lane), control (control, node, lane),
per_node (parameter, node, lane), where a lane is a trajectory; ``numbers`` the scalar parameters. Edges
``starts[i]`` to ``starts[i + 1]`` come from ``senders`` into node i, with ``weights``, which are empty
where all are 1. ``scratch``: SCRATCH numbers for each of the state. The order of per_node and numbers
is that of the `CompiledField` that a system returns.

Arithmetic is not reordered (no fastmath), so that a trajectory has the same bits in every lane.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from numba import types

from ...files.compiling import njit
from .vectors import (
    LANES,
    fma,
    sum_lanes,
    sum_lanes_3,
    sum_lanes_3_weighted,
    sum_lanes_weighted,
    sum_one,
    sum_one_3,
    sum_one_3_weighted,
    sum_one_weighted,
)

SCRATCH = 4
_ARRAY, _INDEX = types.float64[::1], types.int64[::1]
SIGNATURE = types.void(*[_ARRAY] * 5, _INDEX, _INDEX, _ARRAY, _ARRAY, types.int64, types.int64)

_exact = njit(error_model="numpy", nogil=True)


@_exact
def sum_neighbours(
    out: Any, values: Any, starts: Any, senders: Any, weights: Any, nodes: int, lanes: int
) -> None:
    """Sums over the neighbours of every node, of one feature: values (node, lane) -> out (node, lane)."""
    if lanes == LANES:
        if weights.size:
            sum_lanes_weighted(out, values, starts, senders, weights, nodes, 1)
        else:
            sum_lanes(out, values, starts, senders, weights, nodes, 1)
    elif weights.size:
        sum_one_weighted(out, values, starts, senders, weights, nodes, 1)
    else:
        sum_one(out, values, starts, senders, weights, nodes, 1)


@_exact
def sum_neighbours_3(
    out: Any, values: Any, starts: Any, senders: Any, weights: Any, nodes: int, lanes: int
) -> None:
    """The same for six features, three at once: values (6, node, lane) -> out (6, node, lane)."""
    if lanes == LANES:
        if weights.size:
            sum_lanes_3_weighted(out, values, starts, senders, weights, nodes, 2)
        else:
            sum_lanes_3(out, values, starts, senders, weights, nodes, 2)
    elif weights.size:
        sum_one_3_weighted(out, values, starts, senders, weights, nodes, 2)
    else:
        sum_one_3(out, values, starts, senders, weights, nodes, 2)


# Range reduction in three parts of pi / 2 and the polynomials of sine and cosine on +-pi / 4: those of
# fdlibm (Sun Microsystems, 1993), s_sin.c, k_sin.c and k_cos.c.
_TWO_OVER_PI = 6.36619772367581382433e-01
_PART_1, _PART_2, _PART_3 = (
    1.57079632673412561417e00,
    6.07710050630396597660e-11,
    2.02226624879595063154e-21,
)
_S1, _S2, _S3 = -1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04
_S4, _S5, _S6 = 2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10
_C1, _C2, _C3 = 4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05
_C4, _C5, _C6 = -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11
_ROUND = 1.5 * 2.0**52  # adding and subtracting it rounds to a whole number
# The first two products of the reduction are exact up to here.
_LARGE = 1.0e5


@_exact
def sines(x: Any, sine: Any, cosine: Any) -> None:
    """sine and cosine of x, all (numbers,), to about one unit of the last place of 1."""
    outside = 0  # a maximum of floating point numbers would not be vectorised
    for p in range(x.size):
        value = x[p]
        outside += not abs(value) <= _LARGE
        turns = fma(value, _TWO_OVER_PI, _ROUND) - _ROUND
        r = fma(turns, -_PART_3, fma(turns, -_PART_2, fma(turns, -_PART_1, value)))
        z = r * r
        s = fma(z, fma(z, fma(z, fma(z, fma(z, _S6, _S5), _S4), _S3), _S2), _S1)
        s = fma(r * z, s, r)
        c = fma(z, fma(z, fma(z, fma(z, fma(z, _C6, _C5), _C4), _C3), _C2), _C1)
        c = fma(z * z, c, fma(-0.5, z, 1.0))
        # The quadrant, 0 to 3, in floating point: old processors have no vector conversion to int64.
        quadrant = fma(-4.0, (fma(0.25, turns, -0.375) + _ROUND) - _ROUND, turns)
        odd = (quadrant == 1.0) | (quadrant == 3.0)
        first, second = (c, s) if odd else (s, c)
        sine[p] = -first if quadrant >= 2.0 else first
        cosine[p] = -second if (quadrant == 1.0) | (quadrant == 2.0) else second
    if outside:
        for p in range(x.size):
            if not abs(x[p]) <= _LARGE:
                sine[p], cosine[p] = math.sin(x[p]), math.cos(x[p])


@_exact
def kuramoto(
    rate: Any, state: Any, control: Any, per_node: Any, numbers: Any,
    starts: Any, senders: Any, weights: Any, scratch: Any, nodes: int, lanes: int,
) -> None:  # fmt: skip
    """per_node: frequency (3). numbers: coupling. Controls are added to every phase."""
    m = nodes * lanes
    sine, cosine = scratch[: 3 * m], scratch[3 * m : 6 * m]
    of_sine, of_cosine = scratch[6 * m : 9 * m], scratch[9 * m : 12 * m]
    sines(state[: 3 * m], sine, cosine)
    # Sines and cosines lie one after the other.
    sum_neighbours_3(of_sine, sine, starts, senders, weights, nodes, lanes)
    coupling = numbers[0]
    for p in range(3 * m):
        rate[p] = (cosine[p] * of_sine[p] - sine[p] * of_cosine[p]) * coupling + per_node[p]
    if control.size:
        for f in range(3):
            for p in range(m):
                rate[f * m + p] += control[p]


@_exact
def swing(
    rate: Any, state: Any, control: Any, per_node: Any, numbers: Any,
    starts: Any, senders: Any, weights: Any, scratch: Any, nodes: int, lanes: int,
) -> None:  # fmt: skip
    """per_node: power, inertia, damping. numbers: coupling."""
    m = nodes * lanes
    sine, cosine = scratch[:m], scratch[m : 2 * m]
    of_sine, of_cosine = scratch[2 * m : 3 * m], scratch[3 * m : 4 * m]
    sines(state[:m], sine, cosine)
    sum_neighbours(of_sine, sine, starts, senders, weights, nodes, lanes)
    sum_neighbours(of_cosine, cosine, starts, senders, weights, nodes, lanes)
    coupling = numbers[0]
    omega = state[m : 2 * m]
    power, inertia, damping = per_node[:m], per_node[m : 2 * m], per_node[2 * m : 3 * m]
    for p in range(m):
        rate[p] = omega[p]
    acceleration = rate[m : 2 * m]
    for p in range(m):
        flow = cosine[p] * of_sine[p] - sine[p] * of_cosine[p]
        acceleration[p] = power[p] - damping[p] * omega[p] + coupling * flow
    for p in range(m):
        acceleration[p] /= inertia[p]


@_exact
def gene(
    rate: Any, state: Any, control: Any, per_node: Any, numbers: Any,
    starts: Any, senders: Any, weights: Any, scratch: Any, nodes: int, lanes: int,
) -> None:  # fmt: skip
    """per_node: decay, sum of the negative weights. numbers: coupling."""
    m = nodes * lanes
    level, total = scratch[:m], scratch[m : 2 * m]
    for p in range(m):
        square = state[p] * state[p]
        level[p] = square / (1.0 + square)
    sum_neighbours(total, level, starts, senders, weights, nodes, lanes)
    coupling = numbers[0]
    decay, repressed = per_node[:m], per_node[m : 2 * m]
    for p in range(m):
        rate[p] = (total[p] - repressed[p]) * coupling - decay[p] * state[p]


@_exact
def lorenz(
    rate: Any, state: Any, control: Any, per_node: Any, numbers: Any,
    starts: Any, senders: Any, weights: Any, scratch: Any, nodes: int, lanes: int,
) -> None:  # fmt: skip
    """The linear part is a matrix of all components in place of the edges of the graph."""
    m = nodes * lanes
    sum_neighbours(rate, state, starts, senders, weights, 3 * nodes, lanes)
    x, y, z = state[:m], state[m : 2 * m], state[2 * m : 3 * m]
    second, third = rate[m : 2 * m], rate[2 * m : 3 * m]
    for p in range(m):
        second[p] -= x[p] * z[p]
    for p in range(m):
        third[p] += x[p] * y[p]


@_exact
def heat(
    rate: Any, state: Any, control: Any, per_node: Any, numbers: Any,
    starts: Any, senders: Any, weights: Any, scratch: Any, nodes: int, lanes: int,
) -> None:  # fmt: skip
    """per_node: sum of the weights into it. numbers: diffusivity."""
    sum_neighbours(rate, state, starts, senders, weights, nodes, lanes)
    diffusivity = numbers[0]
    for p in range(nodes * lanes):
        rate[p] = (rate[p] - per_node[p] * state[p]) * diffusivity


@_exact
def sis(
    rate: Any, state: Any, control: Any, per_node: Any, numbers: Any,
    starts: Any, senders: Any, weights: Any, scratch: Any, nodes: int, lanes: int,
) -> None:  # fmt: skip
    """per_node: sum of the weights into it, infection, recovery. numbers: mobility."""
    m = nodes * lanes
    sum_neighbours(rate, state, starts, senders, weights, nodes, lanes)
    mobility = numbers[0]
    joined, infection, recovery = per_node[:m], per_node[m : 2 * m], per_node[2 * m : 3 * m]
    for p in range(m):
        share = state[p]
        rate[p] = (rate[p] - joined[p] * share) * mobility + share * (
            infection[p] * (1.0 - share) - recovery[p]
        )


@_exact
def fitzhugh_nagumo(
    rate: Any, state: Any, control: Any, per_node: Any, numbers: Any,
    starts: Any, senders: Any, weights: Any, scratch: Any, nodes: int, lanes: int,
) -> None:  # fmt: skip
    """per_node: sum of the weights into it, current. numbers: coupling, a, b, rate."""
    m = nodes * lanes
    coupling, a, b, speed = numbers[0], numbers[1], numbers[2], numbers[3]
    joined, current = per_node[:m], per_node[m : 2 * m]
    potential, recovery = state[:m], state[m : 2 * m]
    first, second = rate[:m], rate[m : 2 * m]
    sum_neighbours(first, potential, starts, senders, weights, nodes, lanes)
    for p in range(m):
        v = potential[p]
        pull = first[p] - joined[p] * v
        first[p] = v - v * v * v / 3.0 - recovery[p] + current[p] + coupling * pull
    for p in range(m):
        second[p] = speed * (potential[p] + a - b * recovery[p])


@_exact
def rossler(
    rate: Any, state: Any, control: Any, per_node: Any, numbers: Any,
    starts: Any, senders: Any, weights: Any, scratch: Any, nodes: int, lanes: int,
) -> None:  # fmt: skip
    """per_node: sum of the weights into it, frequency. numbers: coupling, a, b, c."""
    m = nodes * lanes
    coupling, a, b, c = numbers[0], numbers[1], numbers[2], numbers[3]
    joined, frequency = per_node[:m], per_node[m : 2 * m]
    x, y, z = state[:m], state[m : 2 * m], state[2 * m : 3 * m]
    first, second, third = rate[:m], rate[m : 2 * m], rate[2 * m : 3 * m]
    sum_neighbours(first, x, starts, senders, weights, nodes, lanes)
    for p in range(m):
        pull = first[p] - joined[p] * x[p]
        first[p] = coupling * pull - (frequency[p] * y[p] + z[p])
    for p in range(m):
        second[p] = frequency[p] * x[p] + a * y[p]
    for p in range(m):
        third[p] = b + z[p] * (x[p] - c)


FIELDS: dict[str, Callable[..., Any]] = {
    "kuramoto": kuramoto, "swing": swing, "gene": gene, "lorenz": lorenz, "heat": heat, "sis": sis,
    "fitzhugh_nagumo": fitzhugh_nagumo, "rossler": rossler,
}  # fmt: skip
