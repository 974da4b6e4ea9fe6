"""Rows of edge columns gathered from rows of nodes and added back to them, as LLVM vector code.

A run is a piece of one edge in one panel of edge columns: trajectories that lie side by side. Its row
in the table of runs (`plan.Pairs`) says where it lies in the panel and in the rows of a tile.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .machine import lanes
from .plan import COUNT, EVALUATION, FIRST, LANE, RUN_FIELDS, SECOND, STEP
from .tiles import FLAGS, Vectors, integer


def _entries(v: Vectors, kind: Any, runs: Any, run: Any) -> Callable[[Any], Any]:
    """Reads the fields of one run."""
    table = v.data(kind, runs, v.builder.mul(run, integer(RUN_FIELDS)))

    def entry(field: Any) -> Any:
        field = integer(field) if isinstance(field, int) else field
        return v.builder.load(v.builder.gep(table, [field]))

    return entry


def _below(v: Vectors, count: Any) -> Any:
    """A mask of the lanes below ``count``."""
    b, kind = v.builder, ir.VectorType(ir.IntType(64), v.lanes)
    undefined = ir.Constant(kind, ir.Undefined)
    first = b.insert_element(undefined, count, ir.Constant(ir.IntType(32), 0))
    zeros = ir.Constant(ir.VectorType(ir.IntType(32), v.lanes), [0] * v.lanes)
    every = b.shuffle_vector(first, undefined, zeros)
    return b.icmp_signed("<", ir.Constant(kind, list(range(v.lanes))), every)


def _by_width(
    builder: ir.IRBuilder, signature: Any, context: Any, arguments: Any, runs: int, code: Callable
) -> None:
    """``code(vectors, entry, count)``, with short vectors where rows are short.

    ``runs``: position of the table among the arguments, which the number of the run follows.
    """

    def with_lanes(most: int) -> None:
        v = Vectors(builder, signature.args[0], context, arguments[0], most)
        entry = _entries(v, signature.args[runs], arguments[runs], arguments[runs + 1])
        code(v, entry, entry(COUNT))

    v = Vectors(builder, signature.args[0], context, arguments[0])
    entry = _entries(v, signature.args[runs], arguments[runs], arguments[runs + 1])
    _by_step(builder, entry(STEP), v.lanes, with_lanes)


def _by_step(builder: ir.IRBuilder, step: Any, most: int, code: Callable[[int], None]) -> None:
    """``code`` for vectors of as many lanes as blocks of that step are made for (`plan.block_step`)."""
    if most <= 4:
        code(most)
        return
    with builder.if_else(builder.icmp_signed("<=", step, integer(4))) as (narrow, wide):
        with narrow:
            code(4)
        with wide:
            code(most)


def _vectors(v: Vectors, count: Any) -> Any:
    return v.builder.sdiv(v.builder.add(count, integer(v.lanes - 1)), integer(v.lanes))


def _fill(v: Vectors, to: Any, lane: Any, count: Any, rows: Any, value: Callable) -> None:
    """Rows of a panel, from ``lane`` on, become ``value(row, column)``.

    A vector that ends within the panel overwrites lanes of later runs, which come after it; one
    that does not leaves them, since they belong to the next row.
    """
    b = v.builder
    panel = 2 * lanes(v.item)
    with cgutils.for_range(b, _vectors(v, count)) as loop:
        column = b.mul(loop.index, integer(v.lanes))
        end = b.add(b.add(lane, column), integer(v.lanes))
        with b.if_else(b.icmp_signed("<=", end, integer(panel))) as (inside, beyond):
            with inside, cgutils.for_range(b, rows) as row:
                start = b.add(b.mul(row.index, integer(panel)), column)
                v.store(value(row.index, column), to, start)
            with beyond:
                mask = _below(v, b.sub(count, column))
                with cgutils.for_range(b, rows) as row:
                    start = b.add(b.mul(row.index, integer(panel)), column)
                    new = value(row.index, column)
                    v.store(b.select(mask, new, v.load(to, start)), to, start)


@intrinsic
def gather_sum(typingctx, memory, to, first, second, rows, runs, run):  # type: ignore
    """Rows of the run in the panel ``to``: those of its first end plus those of its second, from blocks."""
    signature = types.void(memory, to, first, second, rows, runs, run)

    def generate(context, builder, signature, arguments):  # type: ignore
        _, to, first, second, rows, _, _ = arguments

        def code(v: Vectors, entry: Any, count: Any) -> None:
            lane, step = entry(LANE), entry(STEP)
            left = v.address(builder.add(first, entry(FIRST)))
            right = v.address(builder.add(second, entry(SECOND)))

            def value(row: Any, column: Any) -> Any:
                start = builder.add(builder.mul(row, step), column)
                return v.add(v.load(left, start), v.load(right, start))

            _fill(v, v.address(builder.add(to, lane)), lane, count, rows, value)

        _by_width(builder, signature, context, arguments, 5, code)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def gather_weighted(typingctx, memory, to, source, rows, runs, run, end, weight):  # type: ignore
    """Rows of the run in the panel ``to``: those of its node ``end`` times its weight."""
    signature = types.void(memory, to, source, rows, runs, run, end, weight)

    def generate(context, builder, signature, arguments):  # type: ignore
        _, to, source, rows, _, _, end, weight = arguments

        def code(v: Vectors, entry: Any, count: Any) -> None:
            lane, step = entry(LANE), entry(STEP)
            values = v.address(builder.add(source, entry(end)))
            factor = v.broadcast(v.data(signature.args[7], weight, entry(EVALUATION)), integer(0))

            def value(row: Any, column: Any) -> Any:
                start = builder.add(builder.mul(row, step), column)
                return builder.fmul(v.load(values, start), factor, flags=FLAGS)

            _fill(v, v.address(builder.add(to, lane)), lane, count, rows, value)

        _by_width(builder, signature, context, arguments, 4, code)
        return context.get_dummy_value()

    return signature, generate


def _scatter(weighted: bool) -> Callable[..., Any]:
    """``scatter(memory, to, source, rows, runs, run, end, weight)``

    Rows of the node ``end`` of a run += its rows in the panel ``source``, times its weight where
    ``weighted``.
    """

    def scatter(typingctx, memory, to, source, rows, runs, run, end, weight):  # type: ignore
        signature = types.void(memory, to, source, rows, runs, run, end, weight)

        def generate(context, builder, signature, arguments):  # type: ignore
            _, to, source, rows, _, _, end, weight = arguments
            b = builder

            def code(v: Vectors, entry: Any, count: Any) -> None:
                panel, step = integer(2 * lanes(v.item)), entry(STEP)
                out = v.address(b.add(to, entry(end)))
                values = v.address(b.add(source, entry(LANE)))
                factor = None
                if weighted:
                    data = v.data(signature.args[7], weight, entry(EVALUATION))
                    factor = v.broadcast(data, integer(0))
                with cgutils.for_range(b, _vectors(v, count)) as loop:
                    column = b.mul(loop.index, integer(v.lanes))
                    mask = _below(v, b.sub(count, column))
                    # Row after row: the next run may add to the same node, and would wait for these.
                    with cgutils.for_range(b, rows) as row:
                        start = b.add(b.mul(row.index, panel), column)
                        value = b.select(mask, v.load(values, start), v.zero)
                        target = b.add(b.mul(row.index, step), column)
                        old = v.load(out, target)
                        new = v.add_product(old, value, factor) if weighted else v.add(old, value)
                        v.store(new, out, target)

            _by_width(builder, signature, context, arguments, 4, code)
            return context.get_dummy_value()

        return signature, generate

    return intrinsic(scatter)


scatter_weighted, scatter = _scatter(True), _scatter(False)


@intrinsic
def copy_rows(typingctx, memory, to, to_step, source, source_step, rows, count, step):  # type: ignore
    """Rows of ``count`` numbers, in whole vectors: what lies behind a row is overwritten.

    ``step`` chooses the vectors: that of the blocks that are read or written.
    """
    signature = types.void(memory, to, to_step, source, source_step, rows, count, step)

    def generate(context, builder, signature, arguments):  # type: ignore
        memory, to, to_step, source, source_step, rows, count, step = arguments

        def code(most: int) -> None:
            v = Vectors(builder, signature.args[0], context, memory, most)
            out, values = v.address(to), v.address(source)
            with cgutils.for_range(builder, _vectors(v, count)) as loop:
                column = builder.mul(loop.index, integer(v.lanes))
                with cgutils.for_range(builder, rows) as row:
                    start = builder.add(builder.mul(row.index, source_step), column)
                    target = builder.add(builder.mul(row.index, to_step), column)
                    v.store(v.load(values, start), out, target)

        most = Vectors(builder, signature.args[0], context, memory).lanes
        _by_step(builder, step, most, code)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def tanh_back_panel(typingctx, memory, bar, hidden, rows):  # type: ignore
    """Rows of one panel: bar *= 1 - hidden^2."""
    signature = types.void(memory, bar, hidden, rows)

    def generate(context, builder, signature, arguments):  # type: ignore
        memory, bar, hidden, rows = arguments
        v = Vectors(builder, signature.args[0], context, memory)
        to, of = v.address(bar), v.address(hidden)
        one = v.constant(1.0)
        with cgutils.for_range(builder, builder.mul(rows, integer(2))) as loop:
            start = builder.mul(loop.index, integer(v.lanes))
            y = v.load(of, start)
            slope = builder.fsub(one, builder.fmul(y, y, flags=FLAGS), flags=FLAGS)
            v.store(builder.fmul(v.load(to, start), slope, flags=FLAGS), to, start)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def panel_sums(typingctx, memory, to, source, row_step, panel_step, rows, panels):  # type: ignore
    """Rows of one panel += the sums over ``panels`` panels of rows that are ``row_step`` apart."""
    signature = types.void(memory, to, source, row_step, panel_step, rows, panels)

    def generate(context, builder, signature, arguments):  # type: ignore
        memory, to, source, row_step, panel_step, rows, panels = arguments
        v = Vectors(builder, signature.args[0], context, memory)
        out, values = v.address(to), v.address(source)
        total = cgutils.alloca_once(builder, v.type)
        with cgutils.for_range(builder, rows) as row:
            for half in (0, v.lanes):
                sum_at = builder.add(builder.mul(row.index, integer(2 * v.lanes)), integer(half))
                start = builder.add(builder.mul(row.index, row_step), integer(half))
                builder.store(v.load(out, sum_at), total)
                with cgutils.for_range(builder, panels) as panel:
                    column = builder.add(start, builder.mul(panel.index, panel_step))
                    builder.store(v.add(builder.load(total), v.load(values, column)), total)
                v.store(builder.load(total), out, sum_at)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def lane_products(typingctx, memory, to, left, right, rows):  # type: ignore
    """One row of a panel: the sums over ``rows`` rows of left * right."""
    signature = types.void(memory, to, left, right, rows)

    def generate(context, builder, signature, arguments):  # type: ignore
        memory, to, left, right, rows = arguments
        v = Vectors(builder, signature.args[0], context, memory)
        out, x, y = v.address(to), v.address(left), v.address(right)
        for half in (0, v.lanes):
            total = cgutils.alloca_once(builder, v.type)
            builder.store(v.zero, total)
            with cgutils.for_range(builder, rows) as loop:
                start = builder.add(builder.mul(loop.index, integer(2 * v.lanes)), integer(half))
                term = v.add_product(builder.load(total), v.load(x, start), v.load(y, start))
                builder.store(term, total)
            v.store(builder.load(total), out, integer(half))
        return context.get_dummy_value()

    return signature, generate
