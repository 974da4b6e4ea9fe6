"""Two matrix products for matrices of which one side is small, each a tile held in registers.

BLAS copies both operands into packed form before it multiplies; with 6 to 64 rows that costs as
much as the product. Here the wide operand is read where it lies and the small one is packed once a
step (`weights`). A panel is two vectors of columns.

`product_r` writes r rows of W X + b for one panel; `outer_tile` adds a 4 x 4 tile of G X' over many
panels. Both are emitted as LLVM vector code, because the loops that numba vectorises by itself keep
their sums in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .machine import apart, compiled, lanes, registers

ROWS = 8 if registers() == 32 else 4
"""Rows of one product tile; the rows of every packed matrix come in blocks of this many."""

_FLAGS = ("contract", "reassoc", "nsz")


class Vectors:
    """Loads, stores and arithmetic on vectors of the element type of an array argument."""

    def __init__(self, builder: ir.IRBuilder, array_type: Any, context: Any, array: Any) -> None:
        self.builder = builder
        self.context = context
        self.item = array_type.dtype.bitwidth // 8
        self.lanes = lanes(self.item)
        self.scalar = context.get_value_type(array_type.dtype)
        self.type = ir.VectorType(self.scalar, self.lanes)
        self.zero = self.type(None)
        self._kind, self._array = array_type, array

    def constant(self, value: float) -> Any:
        """``value`` in every lane."""
        return ir.Constant(self.type, [value] * self.lanes)

    def at(self, place: Any) -> Any:
        """Address of element ``place`` of the array that these vectors are of."""
        return self.data(self._kind, self._array, place)

    def data(self, array_type: Any, value: Any, at: Any) -> Any:
        """Address of element ``at``."""
        struct = self.context.make_array(array_type)(self.context, self.builder, value)
        return self.builder.gep(struct.data, [at])

    def load(self, base: Any, at: Any) -> Any:
        pointer = self.builder.gep(base, [at])
        pointer = self.builder.bitcast(pointer, self.type.as_pointer())
        return self.builder.load(pointer, align=self.item)

    def store(self, value: Any, base: Any, at: Any) -> None:
        pointer = self.builder.gep(base, [at])
        pointer = self.builder.bitcast(pointer, self.type.as_pointer())
        self.builder.store(value, pointer, align=self.item)

    def spread(self, base: Any, at: Any) -> Any:
        """One number in every lane."""
        number = self.builder.load(self.builder.gep(base, [at]))
        first = self.builder.insert_element(
            ir.Constant(self.type, ir.Undefined), number, ir.Constant(ir.IntType(32), 0)
        )
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, ir.Constant(self.type, ir.Undefined), mask)

    def add(self, a: Any, b: Any) -> Any:
        return self.builder.fadd(a, b, flags=_FLAGS)

    def add_product(self, total: Any, a: Any, b: Any) -> Any:
        return self.add(total, self.builder.fmul(a, b, flags=_FLAGS))

    def call(self, name: str, *arguments: Any) -> Any:
        """An LLVM intrinsic function, such as "fma", on whole vectors."""
        kind = {4: "f32", 8: "f64"}[self.item]
        function = cgutils.get_or_insert_function(
            self.builder.module,
            ir.FunctionType(self.type, [self.type] * len(arguments)),
            f"llvm.{name}.v{self.lanes}{kind}",
        )
        return self.builder.call(function, arguments)

    def sums(self, vectors: list[Any]) -> Any:
        """One vector whose lane i is the sum over the lanes of ``vectors[i]``."""
        n = self.lanes
        even = ir.Constant(ir.VectorType(ir.IntType(32), n), list(range(0, 2 * n, 2)))
        odd = ir.Constant(ir.VectorType(ir.IntType(32), n), list(range(1, 2 * n, 2)))
        while len(vectors) > 1:
            vectors = [
                self.add(
                    self.builder.shuffle_vector(a, b, even), self.builder.shuffle_vector(a, b, odd)
                )
                for a, b in zip(vectors[::2], vectors[1::2])
            ]
        return vectors[0]


def integer(value: int) -> Any:
    """A 64-bit constant."""
    return ir.Constant(ir.IntType(64), value)


def _panel_rows(v: Vectors, rows: int, small: Any, wide: Any, stride: Any, inner: Any) -> Any:
    """Sums b_i + W_i X of ``rows`` rows and one panel, as [row][vector]."""
    b = v.builder
    total = [[cgutils.alloca_once(b, v.type) for _ in (0, 1)] for _ in range(rows)]
    for i in range(rows):
        bias = v.spread(small, integer(i))
        for slot in total[i]:
            b.store(bias, slot)
    with cgutils.for_range(b, inner) as loop:
        x_row = b.mul(loop.index, stride)
        columns = [v.load(wide, x_row), v.load(wide, b.add(x_row, integer(v.lanes)))]
        w_row = b.mul(b.add(loop.index, integer(1)), integer(ROWS))
        for i in range(rows):
            weight = v.spread(small, b.add(w_row, integer(i)))
            for slot, column in zip(total[i], columns):
                b.store(v.add_product(b.load(slot), weight, column), slot)
    return [[b.load(slot) for slot in row] for row in total]


def _product(rows: int) -> Callable[..., Any]:
    """``product(m, y, stride, w, x, stride, inner)``: rows of one panel.

    m[y + i stride + c] = m[w + i] + sum over k of m[w + (k + 1) ROWS + i] m[x + k stride + c].
    """

    def product(typingctx, m, y, y_stride, w, x, x_stride, inner):  # type: ignore
        signature = types.void(m, y, y_stride, w, x, x_stride, inner)

        def generate(context, builder, signature, arguments):  # type: ignore
            m, y, y_stride, w, x, x_stride, inner = arguments
            v = Vectors(builder, signature.args[0], context, m)
            to = v.at(y)
            for i, row in enumerate(_panel_rows(v, rows, v.at(w), v.at(x), x_stride, inner)):
                start = builder.mul(integer(i), y_stride)
                v.store(row[0], to, start)
                v.store(row[1], to, builder.add(start, integer(v.lanes)))
            return context.get_dummy_value()

        return signature, generate

    return intrinsic(product)


def _slope(rows: int) -> Callable[..., Any]:
    """``slope(m, g, h, w, x, stride, inner, sums)``: rows of g = (W X) (1 - h^2).

    g, h and sums hold whole panels, row after row; g is added to sums.
    """

    def slope(typingctx, m, g, h, w, x, x_stride, inner, sums):  # type: ignore
        signature = types.void(m, g, h, w, x, x_stride, inner, sums)

        def generate(context, builder, signature, arguments):  # type: ignore
            m, g, h, w, x, x_stride, inner, sums = arguments
            v = Vectors(builder, signature.args[0], context, m)
            to, of, total = v.at(g), v.at(h), v.at(sums)
            one = v.constant(1.0)
            for i, row in enumerate(_panel_rows(v, rows, v.at(w), v.at(x), x_stride, inner)):
                for part in (0, 1):
                    at = integer((2 * i + part) * v.lanes)
                    y = v.load(of, at)
                    square = builder.fmul(y, y, flags=_FLAGS)
                    value = builder.fmul(
                        row[part], builder.fsub(one, square, flags=_FLAGS), flags=_FLAGS
                    )
                    v.store(value, to, at)
                    v.store(v.add(v.load(total, at), value), total, at)
            return context.get_dummy_value()

        return signature, generate

    return intrinsic(slope)


product_8, product_6, product_4, product_2 = (_product(rows) for rows in (8, 6, 4, 2))
slope_8, slope_6, slope_4, slope_2 = (_slope(rows) for rows in (8, 6, 4, 2))


@intrinsic
def outer_tile(typingctx, m, out, g, g_row, g_panel, x, x_row, x_panel, panels):  # type: ignore
    """m[out + 4 i + j] += sum over panels and columns c of g[i, c] x[j, c], i and j below 4.

    A row's first number of panel n stands at ``g + g_row * i + g_panel * n``.
    """
    signature = types.void(m, out, g, g_row, g_panel, x, x_row, x_panel, panels)

    def generate(context, builder, signature, arguments):  # type: ignore
        m, out, g, g_row, g_panel, x, x_row, x_panel, panels = arguments
        v = Vectors(builder, signature.args[0], context, m)
        to, left, right = v.at(out), v.at(g), v.at(x)
        # With 16 registers only half a tile fits beside its operands.
        together = 4 if registers() == 32 else 2
        for first in range(0, 4, together):
            total = [
                [cgutils.alloca_once(builder, v.type) for _ in range(4)] for _ in range(together)
            ]
            for slot in (s for row in total for s in row):
                builder.store(v.zero, slot)
            with cgutils.for_range(builder, panels) as loop:
                g_start = builder.mul(loop.index, g_panel)
                x_start = builder.mul(loop.index, x_panel)
                for half in (0, v.lanes):
                    columns = [
                        v.load(
                            right,
                            builder.add(
                                x_start, builder.add(builder.mul(integer(j), x_row), integer(half))
                            ),
                        )
                        for j in range(4)
                    ]
                    for i in range(together):
                        row = builder.mul(integer(first + i), g_row)
                        value = v.load(left, builder.add(g_start, builder.add(row, integer(half))))
                        for slot, column in zip(total[i], columns):
                            builder.store(v.add_product(builder.load(slot), value, column), slot)
            flat = [builder.load(s) for row in total for s in row]
            for start in range(0, len(flat), v.lanes):
                at = integer(4 * first + start)
                sums = v.sums(flat[start : start + v.lanes])
                v.store(v.add(v.load(to, at), sums), to, at)
        return context.get_dummy_value()

    return signature, generate


@compiled
def product(m, y, y_stride, w, x, x_stride, rows, inner):  # type: ignore
    """Rows of W X + b for one panel, block by block of the packed matrix."""
    apart()
    while rows > 0:
        if rows > 6 and ROWS == 8:
            product_8(m, y, y_stride, w, x, x_stride, inner)
        elif rows > 4 and ROWS == 8:
            product_6(m, y, y_stride, w, x, x_stride, inner)
        elif rows > 2:
            product_4(m, y, y_stride, w, x, x_stride, inner)
        else:
            product_2(m, y, y_stride, w, x, x_stride, inner)
        y += ROWS * y_stride
        w += (inner + 1) * ROWS
        rows -= ROWS


@compiled
def product_slope(m, g, h, w, x, x_stride, rows, inner, sums, panel):  # type: ignore
    """Rows of g = (W X) (1 - h^2) for one panel; adds them to the sums too."""
    apart()
    while rows > 0:
        if rows > 6 and ROWS == 8:
            slope_8(m, g, h, w, x, x_stride, inner, sums)
        elif rows > 4 and ROWS == 8:
            slope_6(m, g, h, w, x, x_stride, inner, sums)
        elif rows > 2:
            slope_4(m, g, h, w, x, x_stride, inner, sums)
        else:
            slope_2(m, g, h, w, x, x_stride, inner, sums)
        g += ROWS * panel
        h += ROWS * panel
        sums += ROWS * panel
        w += (inner + 1) * ROWS
        rows -= ROWS


@compiled
def outer(m, out, g, g_row, g_panel, x, x_row, x_panel, rows, inner, panels):  # type: ignore
    """m[out...] += G X' in tiles of 4 x 4, rows of tiles one after another."""
    apart()
    for i in range(0, rows, 4):
        for j in range(0, inner, 4):
            outer_tile(m, out, g + i * g_row, g_row, g_panel, x + j * x_row, x_row, x_panel, panels)
            out += 16


@intrinsic
def neighbour_sum(typingctx, m, to, at, width, pointer, row, sender, weight):  # type: ignore
    """m[to + c] = sum over edges e of ``row`` of weight[e] m[at + sender[e] width + c].

    c runs over ``width`` columns in whole vectors, so up to one vector beyond the last is
    overwritten: rows are written in ascending order, and every row ends in unused columns.
    """
    signature = types.void(m, to, at, width, pointer, row, sender, weight)

    def generate(context, builder, signature, arguments):  # type: ignore
        m, to, at, width, pointer, row, sender, weight = arguments
        kind = signature.args
        v = Vectors(builder, kind[0], context, m)
        out, wide = v.at(to), v.at(at)
        edges = v.data(kind[4], pointer, row)
        first = builder.load(edges)
        last = builder.load(builder.gep(edges, [integer(1)]))
        senders = v.data(kind[6], sender, first)
        factors = v.data(kind[7], weight, first)
        count = builder.sub(last, first)
        vectors = builder.sdiv(builder.add(width, integer(v.lanes - 1)), integer(v.lanes))
        total = cgutils.alloca_once(builder, v.type)
        with cgutils.for_range(builder, vectors) as columns:
            column = builder.mul(columns.index, integer(v.lanes))
            builder.store(v.zero, total)
            with cgutils.for_range(builder, count) as loop:
                number = builder.load(builder.gep(senders, [loop.index]))
                term = v.load(wide, builder.add(builder.mul(number, width), column))
                builder.store(
                    v.add_product(builder.load(total), v.spread(factors, loop.index), term), total
                )
            v.store(builder.load(total), out, column)
        return context.get_dummy_value()

    return signature, generate
