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
    b, high, low = v.builder, v.constant(limit), v.constant(-limit)
    x = b.select(b.fcmp_ordered(">", x, high), high, x)
    return b.select(b.fcmp_ordered("<", x, low), low, x)


def _single(v: Vectors, x: Any) -> Any:
    b = v.builder
    x = _clamp(v, x, SINGLE_LIMIT)
    s = b.fmul(x, x)
    return b.fdiv(b.fmul(x, _polynomial(v, SINGLE_P, s)), _polynomial(v, SINGLE_Q, s))


def _double(v: Vectors, x: Any) -> Any:
    b = v.builder
    whole = ir.VectorType(ir.IntType(64), v.lanes)

    def every(value: int) -> Any:
        return ir.Constant(whole, [value] * v.lanes)

    bits = b.bitcast(x, whole)
    sign = b.and_(bits, every(-(2**63)))
    y = b.bitcast(b.and_(bits, every(2**63 - 1)), v.type)
    limit = v.constant(_DOUBLE_LIMIT)
    y = b.select(b.fcmp_ordered(">", y, limit), limit, y)
    y = b.fadd(y, y)
    # numba lets the compiler reorder every sum it can see; inside these calls it cannot.
    n = v.call("rint", b.fmul(y, v.constant(_LOG2E)))
    r = v.call("fma", n, v.constant(-_LN2_HIGH), y)
    r = v.call("fma", n, v.constant(-_LN2_LOW), r)
    # expm1(r) = r + r^2 (1/2! + r/3! + ...), |r| <= ln(2) / 2: twelve terms leave 4e-18.
    series = tuple(1.0 / math.factorial(i) for i in range(2, 14))
    small = b.fadd(r, b.fmul(b.fmul(r, r), _polynomial(v, series, r)))
    exponent = b.bitcast(b.fadd(n, v.constant(_WHOLE)), whole)
    power = b.bitcast(b.shl(b.add(exponent, every(1023)), every(52)), v.type)
    t = v.call("fma", power, small, b.fsub(power, v.constant(1.0)))
    result = b.fdiv(t, b.fadd(t, v.constant(2.0)))
    return b.bitcast(b.or_(b.bitcast(result, whole), sign), v.type)


@intrinsic
def tanh_in_place(typingctx, values, at, count):  # type: ignore
    """values[at : at + count] become their tanh; ``count`` is a multiple of two vectors."""
    signature = types.void(values, at, count)

    def generate(context, builder, signature, arguments):  # type: ignore
        values, at, count = arguments
        v = Vectors(builder, signature.args[0], context, values)
        data = v.at(at)
        function = _single if v.item == 4 else _double
        pairs = builder.sdiv(count, integer(2 * v.lanes))
        with cgutils.for_range(builder, pairs) as loop:
            first = builder.mul(loop.index, integer(2 * v.lanes))
            second = builder.add(first, integer(v.lanes))
            results = [function(v, v.load(data, place)) for place in (first, second)]
            for place, result in zip((first, second), results):
                v.store(result, data, place)
        return context.get_dummy_value()

    return signature, generate
