"""dz/dt of one tile inside a Triton program, and its adjoint.

A tile is (rows, columns) in registers. What the flags exclude is passed as a 1 x 1 tile of zeros and
never touched. SENDS: 0 nothing arrives, 1 z itself, 2 the neighbours' z, 3 the neighbours' g(x, b).
SLABS: slabs of the last layer, of which SUPERPOSED multiplies all but the first with what arrives.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def tanh(x):  # type: ignore
    """From one exponential of a number that is not positive: nothing overflows."""
    e = tl.exp(-2.0 * tl.abs(x))
    size = (1.0 - e) / (1.0 + e)
    return tl.where(x < 0, -size, size)


@triton.jit
def dot(a, b, PRECISION: tl.constexpr):  # type: ignore
    return tl.dot(a, b, input_precision=PRECISION, out_dtype=a.dtype)


@triton.jit
def arrive(sent, matrix, PRECISION: tl.constexpr):  # type: ignore
    """What arrives. Numbers that are not finite stay out of the product, in which zero times them
    would reach the other trajectories of the tile; they stay in the state of their own node."""
    return dot(tl.where(tl.abs(sent) < 3e38, sent, 0.0), matrix, PRECISION)


@triton.jit
def row_sum(a):  # type: ignore
    return tl.sum(a, axis=1)[:, None]


@triton.jit
def factors(arriving, picks, SLABS: tl.constexpr):  # type: ignore
    """(SLABS, columns) factors of the slabs: 1 for F, then the components of what arrives."""
    taken = tl.sum(tl.where(picks[:, :, None], arriving[None, :, :], 0.0), axis=1)
    number = tl.arange(0, SLABS)[:, None]
    return tl.where(number == 0, 1.0, taken)


@triton.jit
def layers(
    z, base, emit_base, from_z, from_arriving, middle, bias_2, emit_z, emit_last, emit_bias_2,
    matrix,
    SENDS: tl.constexpr, SUPERPOSED: tl.constexpr, DEEP: tl.constexpr, PRECISION: tl.constexpr,
):  # type: ignore  # fmt: skip
    """(what arrives, hidden layer 1, hidden layer 2, hidden layer of g)."""
    emitted = z
    if SENDS == 0:
        arriving = tl.zeros_like(z)
    elif SENDS == 1:
        arriving = z
    elif SENDS == 2:
        arriving = arrive(z, matrix, PRECISION)
    else:
        emitted = tanh(dot(emit_z, z, PRECISION) + emit_base)
        sent = dot(emit_last, emitted, PRECISION) + emit_bias_2
        arriving = arrive(sent, matrix, PRECISION)
    inside = dot(from_z, z, PRECISION) + base
    if SENDS != 0 and not SUPERPOSED:
        inside += dot(from_arriving, arriving, PRECISION)
    one = tanh(inside)
    two = one
    if DEEP:
        two = tanh(dot(middle, one, PRECISION) + bias_2)
    return arriving, one, two, emitted


@triton.jit
def slope(
    point, two, arriving, last, bias_3, picks, valid,
    SUPERPOSED: tl.constexpr, SLABS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):  # type: ignore  # fmt: skip
    """dz/dt from the last hidden layer."""
    out = dot(last, two, PRECISION) + bias_3
    if SUPERPOSED:
        slabs = tl.reshape(out, [SLABS, ROWS, COLUMNS])
        out = tl.sum(slabs * factors(arriving, picks, SLABS)[:, None, :], axis=0)
        # A message that overflowed ends the trajectory, although it reached no neighbour.
        out += tl.sum(point * 0.0, axis=0)[None, :]
    # Columns of padding stay at zero: a number that overflows there would reach the others.
    return tl.where(valid, out, 0.0)


@triton.jit
def layers_back(
    bar, z, arriving, one, two, emitted,
    g_from_z, g_from_arriving, g_middle, g_bias_2, g_last, g_bias_3,
    g_emit_z, g_emit_last, g_emit_bias_2, base_bar, emit_base_bar,
    from_z, from_arriving, middle, last, bias_3, emit_z, emit_last, matrix, picks,
    SENDS: tl.constexpr, SUPERPOSED: tl.constexpr, DEEP: tl.constexpr, SLABS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, PRECISION: tl.constexpr,
):  # type: ignore  # fmt: skip
    """``bar`` of the slope to that of z; the g_ and base_bar tiles grow."""
    arriving_bar = tl.zeros_like(z)
    out_bar = bar
    if SUPERPOSED:
        slabs = tl.reshape(dot(last, two, PRECISION) + bias_3, [SLABS, ROWS, COLUMNS])
        factor = factors(arriving, picks, SLABS)
        out_bar = tl.reshape(factor[:, None, :] * bar[None, :, :], [SLABS * ROWS, COLUMNS])
        factor_bar = tl.sum(slabs * bar[None, :, :], axis=1)
        arriving_bar = tl.sum(tl.where(picks[:, :, None], factor_bar[:, None, :], 0.0), axis=0)
    g_last += dot(out_bar, tl.trans(two), PRECISION)
    g_bias_3 += row_sum(out_bar)
    inside = dot(tl.trans(last), out_bar, PRECISION)
    if DEEP:
        inside *= 1.0 - two * two
        g_middle += dot(inside, tl.trans(one), PRECISION)
        g_bias_2 += row_sum(inside)
        inside = dot(tl.trans(middle), inside, PRECISION)
    inside *= 1.0 - one * one
    base_bar += inside
    g_from_z += dot(inside, tl.trans(z), PRECISION)
    z_bar = dot(tl.trans(from_z), inside, PRECISION)
    if SENDS != 0 and not SUPERPOSED:
        g_from_arriving += dot(inside, tl.trans(arriving), PRECISION)
        arriving_bar = dot(tl.trans(from_arriving), inside, PRECISION)
    if SENDS == 1:
        z_bar += arriving_bar
    elif SENDS == 2:
        z_bar += dot(arriving_bar, tl.trans(matrix), PRECISION)
    elif SENDS == 3:
        sent_bar = dot(arriving_bar, tl.trans(matrix), PRECISION)
        g_emit_last += dot(sent_bar, tl.trans(emitted), PRECISION)
        g_emit_bias_2 += row_sum(sent_bar)
        sender = dot(tl.trans(emit_last), sent_bar, PRECISION) * (1.0 - emitted * emitted)
        emit_base_bar += sender
        g_emit_z += dot(sender, tl.trans(z), PRECISION)
        z_bar += dot(tl.trans(emit_z), sender, PRECISION)
    return (
        z_bar, g_from_z, g_from_arriving, g_middle, g_bias_2, g_last, g_bias_3,
        g_emit_z, g_emit_last, g_emit_bias_2, base_bar, emit_base_bar,
    )  # fmt: skip
