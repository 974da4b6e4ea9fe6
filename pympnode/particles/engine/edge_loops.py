"""Compiled loops over edges: what stands around the matrix products of an edge network.

All take a chunk of ``count`` edges from edge ``at`` on. Receivers are sorted, so that the row that is
added to stays in the cache; ``balanced``: what is added there is also taken from the sender. Rows that
go into a product or come out of one are floats, or uint16: the bits of bfloat16, which is the upper
half of a float32.
"""

from __future__ import annotations

import numpy as np
from numba import njit, types
from numba.extending import overload

_FLAGS = {"contract", "reassoc", "nsz"}
_compile = njit(fastmath=_FLAGS, error_model="numpy", cache=True)


def _widened(value):
    """The number behind what a row holds."""


def _narrowed(value, row):
    """A number as ``row`` holds it: the nearest, to even where two are."""


@overload(_widened, inline="always")
def _(value):
    if isinstance(value, types.Integer):
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: value


@overload(_narrowed, inline="always")
def _(value, row):
    if isinstance(row.dtype, types.Integer):

        def rounded(value, row):
            bits = np.float32(value).view(np.uint32)
            odd = np.uint32(bits >> np.uint32(16)) & np.uint32(1)
            return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

        return rounded
    return lambda value, row: value


@_compile
def gather(first, second, geometry, geometry_weight, sender, receiver, at, count, out):
    """out[e] = relu(first[sender] + second[receiver] + geometry[e] @ geometry_weight)."""
    width, functions = first.shape[1], geometry.shape[1]
    zero = first.dtype.type(0)
    sum_ = np.empty(width, first.dtype)
    for e in range(count):
        a, b, row = first[sender[at + e]], second[receiver[at + e]], out[e]
        for k in range(width):
            sum_[k] = a[k] + b[k]
        for q in range(functions):
            g = geometry[at + e, q]
            w = geometry_weight[q]
            for k in range(width):
                sum_[k] += g * w[k]
        for k in range(width):
            row[k] = _narrowed(max(sum_[k], zero), row)


@_compile
def add_up(message, bias, sender, receiver, at, count, balanced, total):
    """total[receiver] += relu(message + bias)."""
    width = total.shape[1]
    zero = total.dtype.type(0)
    for e in range(count):
        row, m = total[receiver[at + e]], message[e]
        for k in range(width):
            row[k] += max(_widened(m[k]) + bias[k], zero)
        if balanced:
            row = total[sender[at + e]]
            for k in range(width):
                row[k] -= max(_widened(m[k]) + bias[k], zero)


@_compile
def add_up_masked(message, bias, sender, receiver, at, count, balanced, total, mask):
    """The same; mask[e] tells where the message was positive."""
    width = total.shape[1]
    zero = total.dtype.type(0)
    for e in range(count):
        row, m, positive = total[receiver[at + e]], message[e], mask[at + e]
        for k in range(width):
            value = _widened(m[k]) + bias[k]
            row[k] += max(value, zero)
            positive[k] = value > zero
        if balanced:
            row = total[sender[at + e]]
            for k in range(width):
                row[k] -= max(_widened(m[k]) + bias[k], zero)


@_compile
def spread(slope, sender, receiver, at, count, balanced, mask, out, bias_slope):
    """out[e] = slope[receiver] (- slope[sender]) where mask[e]; bias_slope += its sum."""
    width = slope.shape[1]
    for e in range(count):
        row, taken, positive, o = (
            slope[receiver[at + e]],
            slope[sender[at + e]],
            mask[at + e],
            out[e],
        )
        if balanced:
            for k in range(width):
                value = (row[k] - taken[k]) * positive[k]
                bias_slope[k] += value
                o[k] = _narrowed(value, o)
        else:
            for k in range(width):
                value = row[k] * positive[k]
                bias_slope[k] += value
                o[k] = _narrowed(value, o)


@_compile
def spread_again(slope, sender, receiver, at, count, balanced, message, bias, out, bias_slope):
    """The same, from the message made again."""
    width = slope.shape[1]
    zero = slope.dtype.type(0)
    for e in range(count):
        row, m, o = slope[receiver[at + e]], message[e], out[e]
        taken = slope[sender[at + e]]
        for k in range(width):
            value = row[k] - taken[k] if balanced else row[k]
            value = value if _widened(m[k]) + bias[k] > zero else zero
            bias_slope[k] += value
            o[k] = _narrowed(value, o)


@_compile
def bring_back(slope, inner, sender, receiver, at, count, geometry, of_first, of_second, of_weight):
    """slope[e] where inner[e] is positive, added to the slopes of what was gathered."""
    width, functions = slope.shape[1], geometry.shape[1]
    zero = of_first.dtype.type(0)
    none = inner.dtype.type(0)  # no number above zero rounds to zero
    s = np.empty(width, of_first.dtype)
    for e in range(count):
        a, b, o, h = of_first[sender[at + e]], of_second[receiver[at + e]], slope[e], inner[e]
        for k in range(width):
            s[k] = _widened(o[k]) if h[k] > none else zero
        for k in range(width):
            a[k] += s[k]
        for k in range(width):
            b[k] += s[k]
        for q in range(functions):
            g = geometry[at + e, q]
            w = of_weight[q]
            for k in range(width):
                w[k] += g * s[k]
