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

from .machine import compiled, lanes, noinline, registers

ROWS = 8 if registers() == 32 else 4
"""Rows of one product tile; the rows of every packed matrix come in blocks of this many."""

# Every sum has its own vector, so "reassoc" leaves the order within a lane as written.
FLAGS = ("contract", "reassoc", "nsz")


class Vectors:
    """Loads, stores and arithmetic on vectors of the element type of an array argument."""

    def __init__(
        self, builder: ir.IRBuilder, array_type: Any, context: Any, array: Any, most: int = 64
    ) -> None:
        self.builder = builder
        self.context = context
        self.item = array_type.dtype.bitwidth // 8
        self.lanes = min(most, lanes(self.item))
        self.scalar = context.get_value_type(array_type.dtype)
        self.type = ir.VectorType(self.scalar, self.lanes)
        self.zero = self.type(None)
        self._array_type, self._array = array_type, array

    def constant(self, value: float) -> Any:
        """``value`` in every lane."""
        return ir.Constant(self.type, [value] * self.lanes)

    def address(self, start: Any) -> Any:
        """Address of element ``start`` of the array of these vectors."""
        return self.data(self._array_type, self._array, start)

    def data(self, array_type: Any, value: Any, start: Any) -> Any:
        """Address of element ``start`` of another array."""
        struct = self.context.make_array(array_type)(self.context, self.builder, value)
        return self.builder.gep(struct.data, [start])

    def load(self, base: Any, start: Any) -> Any:
        pointer = self.builder.gep(base, [start])
        pointer = self.builder.bitcast(pointer, self.type.as_pointer())
        return self.builder.load(pointer, align=self.item)

    def store(self, value: Any, base: Any, start: Any) -> None:
        pointer = self.builder.gep(base, [start])
        pointer = self.builder.bitcast(pointer, self.type.as_pointer())
        # Aligned to one number only: groups of a tile start at any column.
        self.builder.store(value, pointer, align=self.item)

    def broadcast(self, base: Any, start: Any) -> Any:
        """One number in every lane."""
        number = self.builder.load(self.builder.gep(base, [start]))
        first = self.builder.insert_element(
            ir.Constant(self.type, ir.Undefined), number, ir.Constant(ir.IntType(32), 0)
        )
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(first, ir.Constant(self.type, ir.Undefined), mask)

    def add(self, a: Any, b: Any) -> Any:
        return self.builder.fadd(a, b, flags=FLAGS)

    def add_product(self, total: Any, a: Any, b: Any) -> Any:
        return self.add(total, self.builder.fmul(a, b, flags=FLAGS))

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

    def total(self, vector: Any) -> Any:
        """The sum over the lanes of one vector, by halves."""
        distance = self.lanes // 2
        while distance:
            mask = [(lane + distance) % self.lanes for lane in range(self.lanes)]
            other = self.builder.shuffle_vector(
                vector, vector, ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), mask)
            )
            vector = self.add(vector, other)
            distance //= 2
        return self.builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


def integer(value: int) -> Any:
    """A 64-bit constant."""
    return ir.Constant(ir.IntType(64), value)


def _panel_rows(v: Vectors, rows: int, small: Any, wide: Any, stride: Any, inner: Any) -> Any:
    """Sums b_i + W_i X of ``rows`` rows and one panel, as [row][vector]."""
    b = v.builder
    # `alloca` slots that LLVM turns into registers: the loop is built once, not unrolled by hand.
    total = [[cgutils.alloca_once(b, v.type) for _ in (0, 1)] for _ in range(rows)]
    for i in range(rows):
        bias = v.broadcast(small, integer(i))
        for slot in total[i]:
            b.store(bias, slot)
    with cgutils.for_range(b, inner) as loop:
        x_row = b.mul(loop.index, stride)
        columns = [v.load(wide, x_row), v.load(wide, b.add(x_row, integer(v.lanes)))]
        # Row 0 of a packed block holds the biases.
        w_row = b.mul(b.add(loop.index, integer(1)), integer(ROWS))
        for i in range(rows):
            weight = v.broadcast(small, b.add(w_row, integer(i)))
            for slot, column in zip(total[i], columns):
                b.store(v.add_product(b.load(slot), weight, column), slot)
    return [[b.load(slot) for slot in row] for row in total]


def _product(rows: int) -> Callable[..., Any]:
    """``product(memory, y, stride, w, x, stride, inner)``: rows of one panel.

    memory[y + i stride + c] = memory[w + i]
        + sum over k of memory[w + (k + 1) ROWS + i] memory[x + k stride + c].
    """

    def product(typingctx, memory, y, y_stride, w, x, x_stride, inner):  # type: ignore
        signature = types.void(memory, y, y_stride, w, x, x_stride, inner)

        def generate(context, builder, signature, arguments):  # type: ignore
            memory, y, y_stride, w, x, x_stride, inner = arguments
            v = Vectors(builder, signature.args[0], context, memory)
            to = v.address(y)
            for i, row in enumerate(
                _panel_rows(v, rows, v.address(w), v.address(x), x_stride, inner)
            ):
                start = builder.mul(integer(i), y_stride)
                v.store(row[0], to, start)
                v.store(row[1], to, builder.add(start, integer(v.lanes)))
            return context.get_dummy_value()

        return signature, generate

    return intrinsic(product)


def _tanh_back(rows: int, summed: bool = True) -> Callable[..., Any]:
    """``tanh_back(memory, bar, hidden, w, x, stride, inner, sums)``: bar = (W X) (1 - hidden^2).

    ``bar``, ``hidden`` and ``sums`` hold whole panels, row after row; bar is added to sums, where
    ``summed``.
    """

    def tanh_back(typingctx, memory, bar, hidden, w, x, x_stride, inner, sums):  # type: ignore
        signature = types.void(memory, bar, hidden, w, x, x_stride, inner, sums)

        def generate(context, builder, signature, arguments):  # type: ignore
            memory, bar, hidden, w, x, x_stride, inner, sums = arguments
            v = Vectors(builder, signature.args[0], context, memory)
            to, of, total = v.address(bar), v.address(hidden), v.address(sums)
            one = v.constant(1.0)
            for i, row in enumerate(
                _panel_rows(v, rows, v.address(w), v.address(x), x_stride, inner)
            ):
                for part in (0, 1):
                    start = integer((2 * i + part) * v.lanes)
                    y = v.load(of, start)
                    square = builder.fmul(y, y, flags=FLAGS)
                    value = builder.fmul(
                        row[part], builder.fsub(one, square, flags=FLAGS), flags=FLAGS
                    )
                    v.store(value, to, start)
                    if summed:
                        v.store(v.add(v.load(total, start), value), total, start)
            return context.get_dummy_value()

        return signature, generate

    return intrinsic(tanh_back)


product_8, product_6, product_4, product_2 = (_product(rows) for rows in (8, 6, 4, 2))
tanh_back_8, tanh_back_6, tanh_back_4, tanh_back_2 = (_tanh_back(rows) for rows in (8, 6, 4, 2))

unsummed_8, unsummed_6, unsummed_4, unsummed_2 = (_tanh_back(n, False) for n in (8, 6, 4, 2))


@intrinsic
def outer_tile(typingctx, memory, out, bar, bar_row, bar_panel, x, x_row, x_panel, panels):  # type: ignore
    """memory[out + 4 i + j] += sum over panels and columns c of bar[i, c] x[j, c], i and j below 4.

    A row's first number of panel n stands at ``bar + bar_row * i + bar_panel * n``.
    """
    signature = types.void(memory, out, bar, bar_row, bar_panel, x, x_row, x_panel, panels)

    def generate(context, builder, signature, arguments):  # type: ignore
        memory, out, bar, bar_row, bar_panel, x, x_row, x_panel, panels = arguments
        v = Vectors(builder, signature.args[0], context, memory)
        to, left, right = v.address(out), v.address(bar), v.address(x)
        # With 16 registers only half a tile fits beside its operands.
        rows_at_once = 4 if registers() == 32 else 2
        for first in range(0, 4, rows_at_once):
            total = [
                [cgutils.alloca_once(builder, v.type) for _ in range(4)]
                for _ in range(rows_at_once)
            ]
            for slot in (s for row in total for s in row):
                builder.store(v.zero, slot)
            with cgutils.for_range(builder, panels) as loop:
                bar_start = builder.mul(loop.index, bar_panel)
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
                    for i in range(rows_at_once):
                        row = builder.mul(integer(first + i), bar_row)
                        value = v.load(
                            left, builder.add(bar_start, builder.add(row, integer(half)))
                        )
                        for slot, column in zip(total[i], columns):
                            builder.store(v.add_product(builder.load(slot), value, column), slot)
            flat = [builder.load(s) for row in total for s in row]
            for start in range(0, len(flat), v.lanes):
                entry = integer(4 * first + start)
                sums = v.sums(flat[start : start + v.lanes])
                v.store(v.add(v.load(to, entry), sums), to, entry)
        return context.get_dummy_value()

    return signature, generate


@compiled
def product(memory, y, y_stride, w, x, x_stride, rows, inner):  # type: ignore
    """Rows of W X + b for one panel, block by block of the packed matrix."""
    noinline()
    # The last block computes the rows that are left, rounded up to an even number. Matrices and
    # buffers are padded, so that the row beyond is there to be read and written.
    while rows > 0:
        if rows > 6 and ROWS == 8:
            product_8(memory, y, y_stride, w, x, x_stride, inner)
        elif rows > 4 and ROWS == 8:
            product_6(memory, y, y_stride, w, x, x_stride, inner)
        elif rows > 2:
            product_4(memory, y, y_stride, w, x, x_stride, inner)
        else:
            product_2(memory, y, y_stride, w, x, x_stride, inner)
        y += ROWS * y_stride
        w += (inner + 1) * ROWS
        rows -= ROWS


@compiled
def product_tanh_back(memory, bar, hidden, w, x, x_stride, rows, inner, sums, panel):  # type: ignore
    """Rows of bar = (W X) (1 - hidden^2) for one panel; adds them to the sums too."""
    noinline()
    while rows > 0:
        if rows > 6 and ROWS == 8:
            tanh_back_8(memory, bar, hidden, w, x, x_stride, inner, sums)
        elif rows > 4 and ROWS == 8:
            tanh_back_6(memory, bar, hidden, w, x, x_stride, inner, sums)
        elif rows > 2:
            tanh_back_4(memory, bar, hidden, w, x, x_stride, inner, sums)
        else:
            tanh_back_2(memory, bar, hidden, w, x, x_stride, inner, sums)
        bar += ROWS * panel
        hidden += ROWS * panel
        sums += ROWS * panel
        w += (inner + 1) * ROWS
        rows -= ROWS


@compiled
def product_tanh_back_unsummed(memory, bar, hidden, w, x, x_stride, rows, inner, panel):  # type: ignore
    """`product_tanh_back` without the sums."""
    noinline()
    while rows > 0:
        if rows > 6 and ROWS == 8:
            unsummed_8(memory, bar, hidden, w, x, x_stride, inner, bar)
        elif rows > 4 and ROWS == 8:
            unsummed_6(memory, bar, hidden, w, x, x_stride, inner, bar)
        elif rows > 2:
            unsummed_4(memory, bar, hidden, w, x, x_stride, inner, bar)
        else:
            unsummed_2(memory, bar, hidden, w, x, x_stride, inner, bar)
        bar += ROWS * panel
        hidden += ROWS * panel
        w += (inner + 1) * ROWS
        rows -= ROWS


@compiled
def outer(memory, out, bar, bar_row, bar_panel, x, x_row, x_panel, rows, inner, panels):  # type: ignore
    """memory[out...] += G X', G the rows ``bar``, in tiles of 4 x 4, rows of tiles one by one.

    Sixteen sums of a tile fit the registers, and each number read serves four products.
    """
    noinline()
    for i in range(0, rows, 4):
        for j in range(0, inner, 4):
            outer_tile(
                memory, out, bar + i * bar_row, bar_row, bar_panel,
                x + j * x_row, x_row, x_panel, panels,
            )  # fmt: skip
            out += 16


@intrinsic
def neighbour_sum(typingctx, memory, to, start, step, width, pointer, row, sender, weight):  # type: ignore
    """memory[to + c] = sum over edges e of ``row`` of weight[e] memory[start + sender[e] step + c].

    c runs over ``width`` columns in whole vectors, so up to one vector beyond the last is
    overwritten: rows are written in ascending order, and every row ends in unused columns.
    """
    signature = types.void(memory, to, start, step, width, pointer, row, sender, weight)

    def generate(context, builder, signature, arguments):  # type: ignore
        memory, to, start, step, width, pointer, row, sender, weight = arguments
        kind = signature.args
        v = Vectors(builder, kind[0], context, memory)
        out, wide = v.address(to), v.address(start)
        edges = v.data(kind[5], pointer, row)
        first = builder.load(edges)
        last = builder.load(builder.gep(edges, [integer(1)]))
        senders = v.data(kind[7], sender, first)
        factors = v.data(kind[8], weight, first)
        count = builder.sub(last, first)
        # Whole vectors only: a scalar remainder would cost more than the unused columns.
        vectors = builder.sdiv(builder.add(width, integer(v.lanes - 1)), integer(v.lanes))
        total = cgutils.alloca_once(builder, v.type)
        with cgutils.for_range(builder, vectors) as columns:
            column = builder.mul(columns.index, integer(v.lanes))
            builder.store(v.zero, total)
            with cgutils.for_range(builder, count) as loop:
                number = builder.load(builder.gep(senders, [loop.index]))
                term = v.load(wide, builder.add(builder.mul(number, step), column))
                builder.store(
                    v.add_product(builder.load(total), v.broadcast(factors, loop.index), term),
                    total,
                )
            v.store(builder.load(total), out, column)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def inner_product(typingctx, memory, left, right, stride, rows, width):  # type: ignore
    """The sum over ``rows`` rows i and ``width`` columns c of memory[left + i stride + c] times
    memory[right + i stride + c]."""
    signature = memory.dtype(memory, left, right, stride, rows, width)

    def generate(context, builder, signature, arguments):  # type: ignore
        memory, left, right, stride, rows, width = arguments
        v = Vectors(builder, signature.args[0], context, memory)
        one, other = v.address(left), v.address(right)
        total = cgutils.alloca_once_value(builder, v.zero)
        single = cgutils.alloca_once_value(builder, v.scalar(0.0))
        vectors = builder.sdiv(width, integer(v.lanes))
        with cgutils.for_range(builder, rows) as row:
            start = builder.mul(row.index, stride)
            with cgutils.for_range(builder, vectors) as column:
                at = builder.add(start, builder.mul(column.index, integer(v.lanes)))
                product = v.add_product(builder.load(total), v.load(one, at), v.load(other, at))
                builder.store(product, total)
            done = builder.mul(vectors, integer(v.lanes))
            # One by one, because the columns behind are those of the next node.
            with cgutils.for_range(builder, builder.sub(width, done)) as column:
                at = builder.add(start, builder.add(done, column.index))
                numbers = [builder.load(builder.gep(base, [at])) for base in (one, other)]
                product = builder.fmul(*numbers, flags=("contract",))
                builder.store(
                    builder.fadd(builder.load(single), product, flags=("contract",)), single
                )
        return builder.fadd(v.total(builder.load(total)), builder.load(single))

    return signature, generate
