"""Compiled loops over edges: the work around the matrix products of an edge network.

Each loop works on the ``count`` edges from number ``start`` on. ``sender`` and ``receiver`` (edge,) are
node numbers, ``edge_features`` (edge, feature). Where receivers are sorted, the row that is added to
stays in the cache. ``antisymmetric``: what is added at the receiver is subtracted at the sender. Rows
of a product's factor or result are floats, or uint16: the bits of a bfloat16, which is the upper half
of a float32.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.extending import overload

from ...files.compiling import njit

# Sums may be reordered, so that loops become vector code. "nnan" and "ninf" stay out: a diverging
# model has to show its NaN.
_FLAGS = {"contract", "reassoc", "nsz"}
_compile = njit(fastmath=_FLAGS, error_model="numpy")


def _to_float(value):
    """The number that an element of a row stands for."""


def _to_row(value, row):
    """A number as ``row`` stores it: rounded to nearest, ties to even."""


@overload(_to_float, inline="always")
def _(value):
    if isinstance(value, types.Integer):
        return lambda value: np.uint32(np.uint32(value) << np.uint32(16)).view(np.float32)
    return lambda value: value


@overload(_to_row, inline="always")
def _(value, row):
    if isinstance(row.dtype, types.Integer):

        def rounded(value, row):
            bits = np.float32(value).view(np.uint32)
            # Adding just under half of the last place that stays, and one more where that place is
            # odd, carries into it exactly when the number has to be rounded up.
            odd = np.uint32(bits >> np.uint32(16)) & np.uint32(1)
            return np.uint16(np.uint32(bits + np.uint32(0x7FFF) + odd) >> np.uint32(16))

        return rounded
    return lambda value, row: value


@_compile
def gather(first, second, edge_features, feature_weight, sender, receiver, start, count, out):
    """out[e] = relu(first[sender] + second[receiver] + edge_features[e] @ feature_weight).

    first, second (node, width); feature_weight (feature, width); out (count, width).
    """
    width, n_features = first.shape[1], edge_features.shape[1]
    zero = first.dtype.type(0)
    sum_ = np.empty(width, first.dtype)
    for e in range(count):
        a, b, row = first[sender[start + e]], second[receiver[start + e]], out[e]
        # One loop per feature over the whole width is vector work; the inner product is not.
        for k in range(width):
            sum_[k] = a[k] + b[k]
        for q in range(n_features):
            g = edge_features[start + e, q]
            w = feature_weight[q]
            for k in range(width):
                sum_[k] += g * w[k]
        for k in range(width):
            row[k] = _to_row(max(sum_[k], zero), row)


@_compile
def sum_messages(message, bias, sender, receiver, start, count, antisymmetric, factor, total):
    """total[receiver] += factor relu(message + bias); message (count, out), total (node, out).

    factor (edge,), or None for 1.
    """
    width = total.shape[1]
    zero = total.dtype.type(0)
    for e in range(count):
        row, m = total[receiver[start + e]], message[e]
        if factor is not None:
            c = factor[start + e]
            for k in range(width):
                row[k] += c * max(_to_float(m[k]) + bias[k], zero)
            if antisymmetric:
                row = total[sender[start + e]]
                for k in range(width):
                    row[k] -= c * max(_to_float(m[k]) + bias[k], zero)
            continue
        for k in range(width):
            row[k] += max(_to_float(m[k]) + bias[k], zero)
        if antisymmetric:
            row = total[sender[start + e]]
            for k in range(width):
                row[k] -= max(_to_float(m[k]) + bias[k], zero)


@_compile
def sum_messages_masked(
    message, bias, sender, receiver, start, count, antisymmetric, factor, total, mask
):  # fmt: skip
    """`sum_messages`; also mask[e] (edge, out): where the message is positive."""
    width = total.shape[1]
    zero = total.dtype.type(0)
    for e in range(count):
        row, m, positive = total[receiver[start + e]], message[e], mask[start + e]
        if factor is not None:
            c = factor[start + e]
            for k in range(width):
                value = _to_float(m[k]) + bias[k]
                row[k] += c * max(value, zero)
                positive[k] = value > zero
            if antisymmetric:
                row = total[sender[start + e]]
                for k in range(width):
                    row[k] -= c * max(_to_float(m[k]) + bias[k], zero)
            continue
        for k in range(width):
            value = _to_float(m[k]) + bias[k]
            row[k] += max(value, zero)
            positive[k] = value > zero
        if antisymmetric:
            row = total[sender[start + e]]
            for k in range(width):
                row[k] -= max(_to_float(m[k]) + bias[k], zero)


@_compile
def scatter_grad(
    grad_output, sender, receiver, start, count, antisymmetric, factor, mask, out, grad_bias
):
    """The gradient of each edge's product: that of its receiver, where its message was positive.

    out[e] = factor (grad_output[receiver] (- grad_output[sender])) where mask[e]; grad_bias += its
    sum. factor (edge,), or None for 1.
    grad_output (node, out); out (count, out).
    """
    width = grad_output.shape[1]
    for e in range(count):
        at_receiver, at_sender, positive, o = (
            grad_output[receiver[start + e]],
            grad_output[sender[start + e]],
            mask[start + e],
            out[e],
        )
        if factor is not None:
            c = factor[start + e]
            for k in range(width):
                value = at_receiver[k] - at_sender[k] if antisymmetric else at_receiver[k]
                value = c * value * positive[k]
                grad_bias[k] += value
                o[k] = _to_row(value, o)
            continue
        # The condition is outside of the inner loops, which have to stay vector code.
        if antisymmetric:
            for k in range(width):
                value = (at_receiver[k] - at_sender[k]) * positive[k]
                grad_bias[k] += value
                o[k] = _to_row(value, o)
        else:
            for k in range(width):
                value = at_receiver[k] * positive[k]
                grad_bias[k] += value
                o[k] = _to_row(value, o)


@_compile
def scatter_grad_recomputed(
    grad_output, sender, receiver, start, count, antisymmetric, factor, message, bias, out, grad_bias
):  # fmt: skip
    """`scatter_grad` with the sign of message + bias (count, out) in place of a mask."""
    width = grad_output.shape[1]
    zero = grad_output.dtype.type(0)
    for e in range(count):
        at_receiver, m, o = grad_output[receiver[start + e]], message[e], out[e]
        at_sender = grad_output[sender[start + e]]
        for k in range(width):
            value = at_receiver[k] - at_sender[k] if antisymmetric else at_receiver[k]
            if factor is not None:
                value = factor[start + e] * value
            value = value if _to_float(m[k]) + bias[k] > zero else zero
            grad_bias[k] += value
            o[k] = _to_row(value, o)


@_compile
def add_input_grads(
    grad_inner, inner, sender, receiver, start, count, edge_features,
    grad_first, grad_second, grad_feature_weight,
):  # fmt: skip
    """grad_inner[e] (count, width) where inner[e] > 0, added to the gradients of what was gathered.

    grad_first, grad_second (node, width); grad_feature_weight (feature, width).
    """
    width, n_features = grad_inner.shape[1], edge_features.shape[1]
    zero = grad_first.dtype.type(0)
    # Compared in the type of the row: rounding to bfloat16 takes no positive number to zero.
    none = inner.dtype.type(0)
    s = np.empty(width, grad_first.dtype)
    for e in range(count):
        a, b = grad_first[sender[start + e]], grad_second[receiver[start + e]]
        o, h = grad_inner[e], inner[e]
        for k in range(width):
            s[k] = _to_float(o[k]) if h[k] > none else zero
        for k in range(width):
            a[k] += s[k]
        for k in range(width):
            b[k] += s[k]
        for q in range(n_features):
            g = edge_features[start + e, q]
            w = grad_feature_weight[q]
            for k in range(width):
                w[k] += g * s[k]
