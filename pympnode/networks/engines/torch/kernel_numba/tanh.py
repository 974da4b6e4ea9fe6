"""tanh of many numbers at once: a rational function in single, expm1 in double precision.

Single: tanh x = x P(x^2) / Q(x^2) on |x| <= X, least worst relative error (Lawson's reweighted
least squares): 6e-9 before rounding, 3.6e-7 after, 1 - tanh X = 2.7e-7 beyond. Never above 1.
Double: t = expm1(2 |x|), tanh = sign(x) t / (t + 2), exact to about two units of the last place.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .tiles import Vectors, integer

SINGLE_LIMIT = 7.9
SINGLE_P = (
    0.9999999943511343,
    0.13450622645325577,
    0.0035789945083688226,
    2.202328738015078e-05,
    1.5428035978327824e-08,
)
SINGLE_Q = (
    1.0,
    0.4678395064628815,
    0.026192247332231012,
    0.00034236546636021186,
    8.598804845480115e-07,
)

_LOG2E = 1.0 / math.log(2.0)
_LN2_HIGH = 0.6931471803691238  # ln 2 in 32 bits, so that n ln 2 is exact
_LN2_LOW = 1.9082149292705877e-10
_WHOLE = 1.5 * 2.0**52  # adding it leaves a whole number in the low bits
_DOUBLE_LIMIT = 20.0


def _polynomial(v: Vectors, coefficients: tuple[float, ...], s: Any) -> Any:
    total = v.constant(coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = v.add_product(v.constant(coefficient), total, s)
    return total


def _clamp(v: Vectors, x: Any, limit: float) -> Any:
    """x within [-limit, limit]; nan stays nan."""
    builder, high, low = v.builder, v.constant(limit), v.constant(-limit)
    x = builder.select(builder.fcmp_ordered(">", x, high), high, x)
    return builder.select(builder.fcmp_ordered("<", x, low), low, x)


def _single(v: Vectors, x: Any) -> Any:
    builder = v.builder
    x = _clamp(v, x, SINGLE_LIMIT)
    s = builder.fmul(x, x)
    return builder.fdiv(builder.fmul(x, _polynomial(v, SINGLE_P, s)), _polynomial(v, SINGLE_Q, s))


def _double(v: Vectors, x: Any) -> Any:
    builder = v.builder
    integers = ir.VectorType(ir.IntType(64), v.lanes)

    def broadcast(value: int) -> Any:
        return ir.Constant(integers, [value] * v.lanes)

    bits = builder.bitcast(x, integers)
    sign = builder.and_(bits, broadcast(-(2**63)))
    y = builder.bitcast(builder.and_(bits, broadcast(2**63 - 1)), v.type)
    limit = v.constant(_DOUBLE_LIMIT)
    y = builder.select(builder.fcmp_ordered(">", y, limit), limit, y)
    y = builder.fadd(y, y)
    # numba lets the compiler reorder every sum it can see; inside these calls it cannot.
    n = v.call("rint", builder.fmul(y, v.constant(_LOG2E)))
    r = v.call("fma", n, v.constant(-_LN2_HIGH), y)
    r = v.call("fma", n, v.constant(-_LN2_LOW), r)
    # expm1(r) = r + r^2 (1/2! + r/3! + ...), |r| <= ln(2) / 2: twelve terms leave 4e-18.
    series = tuple(1.0 / math.factorial(i) for i in range(2, 14))
    small = builder.fadd(r, builder.fmul(builder.fmul(r, r), _polynomial(v, series, r)))
    exponent = builder.bitcast(builder.fadd(n, v.constant(_WHOLE)), integers)
    power = builder.bitcast(
        builder.shl(builder.add(exponent, broadcast(1023)), broadcast(52)), v.type
    )
    t = v.call("fma", power, small, builder.fsub(power, v.constant(1.0)))
    result = builder.fdiv(t, builder.fadd(t, v.constant(2.0)))
    return builder.bitcast(builder.or_(builder.bitcast(result, integers), sign), v.type)


@intrinsic
def tanh_in_place(typingctx, values, start, count):  # type: ignore
    """values[start : start + count] become their tanh; ``count`` is a multiple of two vectors."""
    signature = types.void(values, start, count)

    def generate(context, builder, signature, arguments):  # type: ignore
        values, start, count = arguments
        v = Vectors(builder, signature.args[0], context, values)
        data = v.address(start)
        function = _single if v.item == 4 else _double
        pairs = builder.sdiv(count, integer(2 * v.lanes))
        with cgutils.for_range(builder, pairs) as loop:
            first = builder.mul(loop.index, integer(2 * v.lanes))
            second = builder.add(first, integer(v.lanes))
            # Two at once: the divisions of one overlap the products of the other.
            results = [function(v, v.load(data, index)) for index in (first, second)]
            for index, result in zip((first, second), results):
                v.store(result, data, index)
        return context.get_dummy_value()

    return signature, generate
