"""Compiled loops over edges: what stands around the matrix products of an edge network.

All take a chunk of ``count`` edges from edge ``at`` on. Receivers are sorted, so that the row that is
added to stays in the cache.
"""

from __future__ import annotations

from numba import njit

_compile = njit(fastmath={"contract", "reassoc", "nsz"}, error_model="numpy", cache=True)


@_compile
def gather(first, second, geometry, geometry_weight, sender, receiver, at, count, out):
    """out[e] = relu(first[sender] + second[receiver] + geometry[e] @ geometry_weight)."""
    width, functions = first.shape[1], geometry.shape[1]
    zero = first.dtype.type(0)
    for e in range(count):
        a, b, row = first[sender[at + e]], second[receiver[at + e]], out[e]
        for k in range(width):
            row[k] = a[k] + b[k]
        for q in range(functions):
            g = geometry[at + e, q]
            w = geometry_weight[q]
            for k in range(width):
                row[k] += g * w[k]
        for k in range(width):
            row[k] = max(row[k], zero)


@_compile
def add_up(message, bias, receiver, at, count, total):
    """total[receiver] += relu(message + bias)."""
    width = total.shape[1]
    zero = total.dtype.type(0)
    for e in range(count):
        row, m = total[receiver[at + e]], message[e]
        for k in range(width):
            row[k] += max(m[k] + bias[k], zero)


@_compile
def add_up_masked(message, bias, receiver, at, count, total, mask):
    """The same; mask[e] tells where the message was positive."""
    width = total.shape[1]
    zero = total.dtype.type(0)
    for e in range(count):
        row, m, positive = total[receiver[at + e]], message[e], mask[at + e]
        for k in range(width):
            value = m[k] + bias[k]
            row[k] += max(value, zero)
            positive[k] = value > zero


@_compile
def spread(slope, receiver, at, count, mask, out, bias_slope):
    """out[e] = slope[receiver] where mask[e]; bias_slope += its sum."""
    width = slope.shape[1]
    for e in range(count):
        row, positive, o = slope[receiver[at + e]], mask[at + e], out[e]
        for k in range(width):
            o[k] = row[k] * positive[k]
        for k in range(width):
            bias_slope[k] += o[k]


@_compile
def spread_again(slope, receiver, at, count, message, bias, out, bias_slope):
    """The same, from the message made again."""
    width = slope.shape[1]
    zero = slope.dtype.type(0)
    for e in range(count):
        row, m, o = slope[receiver[at + e]], message[e], out[e]
        for k in range(width):
            o[k] = row[k] if m[k] + bias[k] > zero else zero
        for k in range(width):
            bias_slope[k] += o[k]


@_compile
def bring_back(slope, inner, sender, receiver, at, count, geometry, of_first, of_second, of_weight):
    """slope[e] where inner[e] is positive, added to the slopes of what was gathered."""
    width, functions = slope.shape[1], geometry.shape[1]
    zero = slope.dtype.type(0)
    for e in range(count):
        a, b, o, h = of_first[sender[at + e]], of_second[receiver[at + e]], slope[e], inner[e]
        for k in range(width):
            o[k] = o[k] if h[k] > zero else zero
        for k in range(width):
            a[k] += o[k]
        for k in range(width):
            b[k] += o[k]
        for q in range(functions):
            g = geometry[at + e, q]
            w = of_weight[q]
            for k in range(width):
                w[k] += g * o[k]
