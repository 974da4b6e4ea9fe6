"""The inner loops of the compiled simulator as LLVM vector code.

A vector is eight numbers whatever the width of the machine's registers: LLVM splits it. numba's own
loops are not vectorised where as many rows are read as a stage of DOP853 has, because it cannot
prove that none of them overlaps with what is written.

Products are contracted with the sum after them (fused multiply-add) and nothing is reordered, so
that an element has the same bits in every lane and in the scalar code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as _intrinsic

# numba passes the typing context itself; type checkers expect it from the caller.
intrinsic: Any = _intrinsic

LANES = 8
"""Numbers of a vector."""

PADDING = 4 * LANES
"""Rows of memory are a multiple of so many numbers long: four vectors, which hide the latency of a sum."""

_FLAGS = ("contract",)
_INT = ir.IntType(64)
_DOUBLE = ir.DoubleType()
_VECTOR = ir.VectorType(_DOUBLE, LANES)


@intrinsic
def noinline(typingctx):  # type: ignore
    """Mark the function that calls this: it is not inlined into its callers, which compile faster."""

    def generate(context, builder, signature, arguments):  # type: ignore
        builder.function.attributes.add("noinline")
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def fma(typingctx, a, b, c):  # type: ignore
    """a b + c, rounded once."""
    signature = types.float64(types.float64, types.float64, types.float64)

    def generate(context, builder, signature, arguments):  # type: ignore
        return builder.fma(*arguments)

    return signature, generate


def _data(context: Any, builder: Any, kind: Any, array: Any, start: Any = None) -> Any:
    """Address of element ``start`` of an array argument."""
    pointer = context.make_array(kind)(context, builder, array).data
    return pointer if start is None else builder.gep(pointer, [start])


def _load(builder: Any, kind: Any, base: Any, start: Any) -> Any:
    pointer = builder.gep(base, [start])
    if kind is _DOUBLE:
        return builder.load(pointer)
    # Aligned to one number only: an array of NumPy starts at any multiple of it.
    return builder.load(builder.bitcast(pointer, kind.as_pointer()), align=8)


def _store(builder: Any, kind: Any, value: Any, base: Any, start: Any) -> None:
    pointer = builder.gep(base, [start])
    if kind is _DOUBLE:
        builder.store(value, pointer)
    else:
        builder.store(value, builder.bitcast(pointer, kind.as_pointer()), align=8)


def _in_all_lanes(builder: Any, kind: Any, number: Any) -> Any:
    if kind is _DOUBLE:
        return number
    undefined = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(undefined, number, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(first, undefined, mask)


def _add_product(builder: Any, total: Any, a: Any, b: Any) -> Any:
    return builder.fadd(total, builder.fmul(a, b, flags=_FLAGS), flags=_FLAGS)


def _combination(with_state: bool) -> Callable[..., Any]:
    def combination(typingctx, memory, out, state, steps, rows, size, first, last, index, weight):  # type: ignore
        signature = types.void(memory, out, state, steps, rows, size, first, last, index, weight)

        def generate(context, builder, signature, arguments):  # type: ignore
            memory, out, state, steps, rows, size, first, last, index, weight = arguments
            kinds = signature.args
            to, start, table = (
                _data(context, builder, kinds[0], memory, at) for at in (out, state, rows)
            )
            index, weight = (
                _data(context, builder, kinds[at], array) for at, array in ((8, index), (9, weight))
            )
            h = zero = _VECTOR(None)
            if with_state:
                h = _load(builder, _VECTOR, _data(context, builder, kinds[3], steps), _INT(0))
            with cgutils.for_range_slice(builder, _INT(0), size, _INT(PADDING), _INT) as (p, _):
                places = [builder.add(p, _INT(LANES * i)) for i in range(PADDING // LANES)]
                sums = [cgutils.alloca_once_value(builder, zero) for _ in places]
                for slot in sums:
                    builder.store(zero, slot)
                with cgutils.for_range_slice(builder, first, last, _INT(1), _INT) as (j, _):
                    row = builder.mul(_load_int(builder, index, j), size)
                    factor = _in_all_lanes(builder, _VECTOR, builder.load(builder.gep(weight, [j])))
                    for slot, place in zip(sums, places, strict=True):
                        value = _load(builder, _VECTOR, table, builder.add(row, place))
                        total = _add_product(builder, builder.load(slot), factor, value)
                        builder.store(total, slot)
                for slot, place in zip(sums, places, strict=True):
                    total = builder.load(slot)
                    if with_state:
                        begin = _load(builder, _VECTOR, start, place)
                        total = _add_product(builder, begin, h, total)
                    _store(builder, _VECTOR, total, to, place)
            return context.get_dummy_value()

        return signature, generate

    return intrinsic(combination)


def _load_int(builder: Any, base: Any, at: Any) -> Any:
    return builder.load(builder.gep(base, [at]))


stage_state = _combination(True)
"""memory[out + p] = memory[state + p] + h_p sum over j of weight[j] memory[rows + index[j] size + p].

For p below ``size`` and j from ``first`` to ``last``; h_p is steps[p % LANES].
"""

weighted_sum = _combination(False)
"""The same without state and h: memory[out + p] = sum over j of weight[j] memory[rows + index[j] size + p]."""


@intrinsic
def dense_state(typingctx, memory, out, state, rows, size, steps, thetas):  # type: ignore
    """memory[out + p] = y + h theta (F0 + (1 - theta) (F1 + theta (F2 + ... + theta F6))).

    y, h, theta: memory[state + p], steps[p % LANES], thetas[p % LANES]; F_i are the rows
    memory[rows + i size + p]. The nested form is evaluated as it stands: multiplied out, its
    coefficients cancel and cost three digits.
    """
    signature = types.void(memory, out, state, rows, size, steps, thetas)

    def generate(context, builder, signature, arguments):  # type: ignore
        memory, out, state, rows, size, steps, thetas = arguments
        kinds = signature.args
        to, start, table = (
            _data(context, builder, kinds[0], memory, at) for at in (out, state, rows)
        )
        h, theta = (
            _load(builder, _VECTOR, _data(context, builder, kind, array), _INT(0))
            for kind, array in zip(kinds[5:], (steps, thetas), strict=True)
        )
        rest = builder.fsub(ir.Constant(_VECTOR, [1.0] * LANES), theta)
        with cgutils.for_range_slice(builder, _INT(0), size, _INT(LANES), _INT) as (p, _):

            def row(i: int) -> Any:
                return _load(builder, _VECTOR, table, builder.add(p, builder.mul(size, _INT(i))))

            total = row(6)
            for i in range(5, -1, -1):
                total = _add_product(builder, row(i), rest if i % 2 == 0 else theta, total)
            total = builder.fmul(builder.fmul(h, theta), total)
            _store(builder, _VECTOR, builder.fadd(_load(builder, _VECTOR, start, p), total), to, p)
        return context.get_dummy_value()

    return signature, generate


def _sums(kind: Any, weighted: bool, rows: int) -> Callable[..., Any]:
    width = 1 if kind is _DOUBLE else LANES
    # A sum waits four cycles for the one before it: it is kept in parts, with one row in four.
    chains = 4 if rows == 1 else 2

    def sums(typingctx, out, values, starts, senders, weights, nodes, groups):  # type: ignore
        signature = types.void(out, values, starts, senders, weights, nodes, groups)

        def generate(context, builder, signature, arguments):  # type: ignore
            out, of, starts, senders, weights = (
                _data(context, builder, kind_of, array)
                for kind_of, array in zip(signature.args[:5], arguments[:5], strict=True)
            )
            nodes, groups = arguments[5:]
            zero = kind(0.0) if kind is _DOUBLE else kind(None)
            slots = [
                [cgutils.alloca_once(builder, kind) for _ in range(chains)] for _ in range(rows)
            ]
            row_size = builder.mul(nodes, _INT(width))

            def add(first: Any, edge: Any, chain: int) -> None:
                at = builder.add(first, builder.mul(_load_int(builder, senders, edge), _INT(width)))
                factor = None
                if weighted:
                    number = builder.load(builder.gep(weights, [edge]))
                    factor = _in_all_lanes(builder, kind, number)
                for row in slots:
                    value, total = _load(builder, kind, of, at), builder.load(row[chain])
                    if factor is None:
                        builder.store(builder.fadd(total, value), row[chain])
                    else:
                        builder.store(_add_product(builder, total, factor, value), row[chain])
                    at = builder.add(at, row_size)

            def of_node(first: Any, i: Any) -> None:
                for row in slots:
                    for slot in row:
                        builder.store(zero, slot)
                begin = _load_int(builder, starts, i)
                end = _load_int(builder, starts, builder.add(i, _INT(1)))
                whole = builder.sdiv(builder.sub(end, begin), _INT(chains))
                middle = builder.add(begin, builder.mul(whole, _INT(chains)))
                with cgutils.for_range_slice(builder, begin, middle, _INT(chains), _INT) as (e, _):
                    for chain in range(chains):
                        add(first, builder.add(e, _INT(chain)), chain)
                with cgutils.for_range_slice(builder, middle, end, _INT(1), _INT) as (e, _):
                    add(first, e, 0)
                at = builder.add(first, builder.mul(i, _INT(width)))
                for row in slots:
                    total = builder.load(row[0])
                    for slot in row[1:]:
                        total = builder.fadd(total, builder.load(slot))
                    _store(builder, kind, total, out, at)
                    at = builder.add(at, row_size)

            with cgutils.for_range_slice(builder, _INT(0), groups, _INT(1), _INT) as (group, _):
                first = builder.mul(group, builder.mul(row_size, _INT(rows)))
                with cgutils.for_range_slice(builder, _INT(0), nodes, _INT(1), _INT) as (i, _):
                    of_node(first, i)
            return context.get_dummy_value()

        return signature, generate

    return intrinsic(sums)


sum_lanes, sum_lanes_weighted = _sums(_VECTOR, False, 1), _sums(_VECTOR, True, 1)
"""out[row, i, lane] = sum over the edges e into node i of values[row, senders[e], lane] weights[e].

For rows from 0 to ``groups``. Edges ``starts[i]`` to ``starts[i + 1]`` lead into node i; there are LANES
lanes.
"""

sum_one, sum_one_weighted = _sums(_DOUBLE, False, 1), _sums(_DOUBLE, True, 1)
"""The same with one lane."""

sum_lanes_3, sum_lanes_3_weighted = _sums(_VECTOR, False, 3), _sums(_VECTOR, True, 3)
"""The same for ``groups`` of three rows, which are read at once."""

sum_one_3, sum_one_3_weighted = _sums(_DOUBLE, False, 3), _sums(_DOUBLE, True, 3)
"""The same with one lane."""
