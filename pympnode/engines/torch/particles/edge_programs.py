"""The Triton programs of the fused edge sum; nothing but this file imports triton.

A program owns a block of nodes at one end of the edges, which lie in order of that end, and walks the
edges of its block in tiles. What an edge knows lives in registers; sums over the edges of a node are
the product of a tile with the matrix that tells which edge ends where, so that a sum is written once,
by one program: it repeats, and nothing has to be zero beforehand. Blocks with very many edges are
walked in ``pieces`` by as many programs, whose sums the host adds up.

Widths need not be powers of two: columns of messages are two blocks, LEFT and RIGHT wide (150 = 128 +
22 of 32), and the columns they are made of are walked in chunks. A block that is not there is a 1 x 1
tile and never touched.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def product(a, b, total, PRECISION: tl.constexpr):  # type: ignore
    """total + a @ b."""
    if PRECISION == "bf16":
        total = tl.dot(a.to(tl.bfloat16), b.to(tl.bfloat16), total)
    elif PRECISION == "rounded":  # bf16 for the interpreter, which multiplies the bits of bf16
        kind: tl.constexpr = total.dtype
        total = tl.dot(a.to(tl.bfloat16).to(kind), b.to(tl.bfloat16).to(kind), total)
    else:
        total = tl.dot(a, b, total, input_precision=PRECISION, out_dtype=total.dtype)
    return total


@triton.jit
def sum_up(ends, tile, total, PRECISION: tl.constexpr):  # type: ignore
    """total + ends @ tile, of zeros and ones: three passes of tf32 keep what float32 has."""
    kind: tl.constexpr = total.dtype
    HOW: tl.constexpr = "ieee" if PRECISION == "ieee" else "tf32x3"
    return tl.dot(ends.to(kind), tile, total, input_precision=HOW, out_dtype=kind)


@triton.jit
def piece_of(border_ptr, item, pieces, EDGES: tl.constexpr):  # type: ignore
    """(block, its piece, first edge, end) of an item of work."""
    number = item // pieces
    piece = item - number * pieces
    start = tl.load(border_ptr + number)
    end = tl.load(border_ptr + number + 1)
    span = tl.cdiv(tl.cdiv(end - start, pieces), EDGES) * EDGES
    start += piece * span
    return number.to(tl.int64), piece.to(tl.int64), start, tl.minimum(end, start + span)


@triton.jit
def relu(x):  # type: ignore
    """Zero below zero; a number that is missing stays so, as in torch."""
    return tl.where(x < 0, 0.0, x)


@triton.jit
def inner(
    owned_ptr, other_ptr, geometry_ptr, rows_ptr, owner, other, edge, inside, column,
    WIDTH: tl.constexpr, FUNCTIONS: tl.constexpr,
):  # type: ignore  # fmt: skip
    """relu(owned[owner] + other[other] + geometry[edge] @ rows), (edge, column)."""
    mask = inside[:, None] & (column < WIDTH)[None, :]
    total = tl.load(other_ptr + other[:, None] * WIDTH + column[None, :], mask=mask, other=0.0)
    total += tl.load(owned_ptr + owner[:, None] * WIDTH + column[None, :], mask=mask, other=0.0)
    for q in tl.static_range(FUNCTIONS):
        g = tl.load(geometry_ptr + edge * FUNCTIONS + q, mask=inside, other=0.0)
        w = tl.load(rows_ptr + q * WIDTH + column, mask=column < WIDTH, other=0.0)
        total += g[:, None] * w[None, :]
    return relu(total)


@triton.jit
def block(ptr, row, column, rows, columns, stride):  # type: ignore
    """A tile of a matrix, zero outside of it."""
    mask = (row < rows)[:, None] & (column < columns)[None, :]
    return tl.load(ptr + row[:, None] * stride + column[None, :], mask=mask, other=0.0)


@triton.jit
def messages(
    owned_ptr, other_ptr, geometry_ptr, rows_ptr, into_ptr, bias_ptr,
    owner, other, edge, inside,
    WIDTH: tl.constexpr, OUT: tl.constexpr, FUNCTIONS: tl.constexpr,
    EDGES: tl.constexpr, CHUNK: tl.constexpr, CHUNKS: tl.constexpr,
    LEFT: tl.constexpr, RIGHT: tl.constexpr, PRECISION: tl.constexpr,
):  # type: ignore  # fmt: skip
    """W h + b of a tile of edges before the last ReLU, as (edge, LEFT) and (edge, RIGHT)."""
    kind: tl.constexpr = owned_ptr.dtype.element_ty
    at = tl.arange(0, LEFT)
    left = tl.zeros([EDGES, LEFT], kind)
    left += tl.load(bias_ptr + at, mask=at < OUT, other=0.0)[None, :]
    if RIGHT > 1:
        beyond = LEFT + tl.arange(0, RIGHT)
        right = tl.zeros([EDGES, RIGHT], kind)
        right += tl.load(bias_ptr + beyond, mask=beyond < OUT, other=0.0)[None, :]
    else:
        right = tl.zeros([1, 1], kind)
    for chunk in range(CHUNKS):
        column = chunk * CHUNK + tl.arange(0, CHUNK)
        h = inner(
            owned_ptr, other_ptr, geometry_ptr, rows_ptr, owner, other, edge, inside, column,
            WIDTH, FUNCTIONS,
        )  # fmt: skip
        left = product(h, block(into_ptr, column, at, WIDTH, OUT, OUT), left, PRECISION)
        if RIGHT > 1:
            beyond = LEFT + tl.arange(0, RIGHT)
            right = product(h, block(into_ptr, column, beyond, WIDTH, OUT, OUT), right, PRECISION)
    return left, right


@triton.jit
def within(message):  # type: ignore
    """Whether messages are finite. In float32 also that the ten bits of a factor hold them, in which
    the largest numbers are rounded to infinity."""
    kind: tl.constexpr = message.dtype
    MOST: tl.constexpr = 3.4e38 if kind == tl.float32 else float("inf")
    return tl.abs(message) < MOST


@triton.jit
def lost(message, column, OUT: tl.constexpr):  # type: ignore
    """(edge,) whether a message, after its ReLU, is not finite. Columns beyond the last one are not
    asked: they hold an infinite first layer times zero."""
    return tl.max(tl.where(within(message) | (column >= OUT)[None, :], 0, 1), axis=1)


@triton.jit
def finite(message, inside):  # type: ignore
    """The messages that go into a sum over edges: those of the tile, and finite ones. A product
    with the matrix of ends would take zero times another's infinity into every node of the block."""
    return tl.where(inside[:, None] & within(message), message, 0.0)


@triton.jit(do_not_specialize=["nodes", "pieces"])
def sum_program(
    owned_ptr, other_ptr, geometry_ptr, rows_ptr, into_ptr, bias_ptr,
    owner_ptr, other_end_ptr, border_ptr, total_ptr, nodes, pieces,
    WIDTH: tl.constexpr, OUT: tl.constexpr, FUNCTIONS: tl.constexpr,
    NODES: tl.constexpr, EDGES: tl.constexpr, CHUNK: tl.constexpr,
    CHUNKS: tl.constexpr, LEFT: tl.constexpr, RIGHT: tl.constexpr, PRECISION: tl.constexpr,
):  # type: ignore  # fmt: skip
    """total[piece, node] of the NODES nodes of a block: the sum over the edges that end there of
    relu(W relu(owned[node] + other[other end] + rows geometry) + b).

    border (block + 1,): first edge of each block. into (WIDTH, OUT): W transposed.
    """
    number_of_block, piece, start, end = piece_of(border_ptr, tl.program_id(0), pieces, EDGES)
    first = number_of_block * NODES
    kind: tl.constexpr = owned_ptr.dtype.element_ty
    number = tl.arange(0, NODES)
    at = tl.arange(0, LEFT)
    left = tl.zeros([NODES, LEFT], kind)
    if RIGHT > 1:
        right = tl.zeros([NODES, RIGHT], kind)
    else:
        right = tl.zeros([1, 1], kind)
    missing = tl.zeros([NODES], tl.int32)
    for begin in range(start, end, EDGES):
        edge = begin + tl.arange(0, EDGES).to(tl.int64)
        inside = edge < end
        owner = tl.load(owner_ptr + edge, mask=inside, other=0).to(tl.int64)
        other = tl.load(other_end_ptr + edge, mask=inside, other=0).to(tl.int64)
        one, two = messages(
            owned_ptr, other_ptr, geometry_ptr, rows_ptr, into_ptr, bias_ptr,
            owner, other, edge, inside, WIDTH, OUT,
            FUNCTIONS, EDGES, CHUNK, CHUNKS, LEFT, RIGHT, PRECISION,
        )  # fmt: skip
        ends = ((owner - first)[None, :] == number[:, None]) & inside[None, :]
        one = relu(one)
        away = lost(one, at, OUT)
        left = sum_up(ends, finite(one, inside), left, PRECISION)
        if RIGHT > 1:
            two = relu(two)
            away = tl.maximum(away, lost(two, LEFT + tl.arange(0, RIGHT), OUT))
            right = sum_up(ends, finite(two, inside), right, PRECISION)
        missing += tl.sum(tl.where(ends, away[None, :], 0), axis=1)
    # A node that a message overflowed for is lost, and tells so in every column.
    poison = tl.where(missing > 0, float("nan"), 0.0).to(kind)[:, None]
    node = first + number
    here = (node < nodes)[:, None]
    place = total_ptr + (piece * nodes + node)[:, None] * OUT
    tl.store(place + at[None, :], left + poison, mask=here & (at < OUT)[None, :])
    if RIGHT > 1:
        beyond = LEFT + tl.arange(0, RIGHT)
        tl.store(place + beyond[None, :], right + poison, mask=here & (beyond < OUT)[None, :])


@triton.jit
def masked_slope(slope_ptr, receiver, message, inside, column, OUT: tl.constexpr):  # type: ignore
    """The slope of the sum at each edge's receiver, where the message is positive."""
    mask = inside[:, None] & (column < OUT)[None, :]
    slope = tl.load(slope_ptr + receiver[:, None] * OUT + column[None, :], mask=mask, other=0.0)
    return tl.where(message > 0, slope, 0.0)


@triton.jit(do_not_specialize=["nodes", "items", "pieces"])
def slope_program(
    owned_ptr, other_ptr, geometry_ptr, rows_ptr, into_ptr, weight_ptr, bias_ptr,
    owner_ptr, other_end_ptr, border_ptr, slope_ptr,
    of_owned_ptr, of_other_ptr, of_weight_ptr, of_rows_ptr, of_bias_ptr,
    nodes, items, pieces, WIDTH: tl.constexpr, OUT: tl.constexpr,
    OWNER_RECEIVES: tl.constexpr, WEIGHTS: tl.constexpr, ADD_TO_OTHER: tl.constexpr,
    FUNCTIONS: tl.constexpr, PADDED: tl.constexpr, NODES: tl.constexpr, EDGES: tl.constexpr,
    CHUNK: tl.constexpr, CHUNKS: tl.constexpr, OWN: tl.constexpr,
    LEFT: tl.constexpr, RIGHT: tl.constexpr, PRECISION: tl.constexpr,
):  # type: ignore  # fmt: skip
    """Slopes of the sum: messages are made again, for OWN columns of the first layer at a time.

    Program (p, k) takes the items p, p + programs, ... (pieces of blocks) and the k-th OWN columns.
    of_owned (piece, node, WIDTH): written once. of_other: added to, edge by edge (ADD_TO_OTHER;
    the order differs from run to run).
    of_weight (program, OUT, WIDTH), of_rows (program, PADDED, WIDTH), of_bias (program, OUT): the
    part of each program, added up by the host. OWNER_RECEIVES: whether owners are receivers.
    """
    program = tl.program_id(0)
    programs = tl.num_programs(0)
    part = tl.program_id(1)
    kind: tl.constexpr = owned_ptr.dtype.element_ty
    at = tl.arange(0, LEFT)
    beyond = LEFT + tl.arange(0, RIGHT)
    own = part * OWN + tl.arange(0, OWN)
    number = tl.arange(0, NODES)
    function = tl.arange(0, PADDED)
    g_left = tl.zeros([LEFT, OWN] if WEIGHTS else [1, 1], kind)
    g_right = tl.zeros([RIGHT, OWN] if WEIGHTS and RIGHT > 1 else [1, 1], kind)
    g_rows = tl.zeros([PADDED, OWN] if WEIGHTS else [1, 1], kind)
    b_left = tl.zeros([LEFT] if WEIGHTS else [1], kind)
    b_right = tl.zeros([RIGHT] if WEIGHTS else [1], kind)
    for item in range(program, items, programs):
        number_of_block, piece, start, end = piece_of(border_ptr, item, pieces, EDGES)
        first = number_of_block * NODES
        of_owned = tl.zeros([NODES, OWN], kind)
        for begin in range(start, end, EDGES):
            edge = begin + tl.arange(0, EDGES).to(tl.int64)
            inside = edge < end
            owner = tl.load(owner_ptr + edge, mask=inside, other=0).to(tl.int64)
            other = tl.load(other_end_ptr + edge, mask=inside, other=0).to(tl.int64)
            one, two = messages(
                owned_ptr, other_ptr, geometry_ptr, rows_ptr, into_ptr, bias_ptr,
                owner, other, edge, inside, WIDTH, OUT,
                FUNCTIONS, EDGES, CHUNK, CHUNKS, LEFT, RIGHT, PRECISION,
            )  # fmt: skip
            receiver = owner if OWNER_RECEIVES else other
            one = masked_slope(slope_ptr, receiver, one, inside, at, OUT)
            h = inner(
                owned_ptr, other_ptr, geometry_ptr, rows_ptr, owner, other, edge, inside, own,
                WIDTH, FUNCTIONS,
            )  # fmt: skip
            back = tl.zeros([EDGES, OWN], kind)
            back = product(one, block(weight_ptr, at, own, OUT, WIDTH, WIDTH), back, PRECISION)
            if RIGHT > 1:
                two = masked_slope(slope_ptr, receiver, two, inside, beyond, OUT)
                w = block(weight_ptr, beyond, own, OUT, WIDTH, WIDTH)
                back = product(two, w, back, PRECISION)
            back = tl.where(h > 0, back, 0.0)
            ends = ((owner - first)[None, :] == number[:, None]) & inside[None, :]
            of_owned = sum_up(ends, back, of_owned, PRECISION)
            if WEIGHTS:
                g_left = product(tl.trans(one), h, g_left, PRECISION)
                b_left += tl.sum(one, axis=0)
                if RIGHT > 1:
                    g_right = product(tl.trans(two), h, g_right, PRECISION)
                    b_right += tl.sum(two, axis=0)
                g = tl.load(
                    geometry_ptr + edge[None, :] * FUNCTIONS + function[:, None],
                    mask=(function < FUNCTIONS)[:, None] & inside[None, :], other=0.0,
                )  # fmt: skip
                g_rows = product(g, back, g_rows, PRECISION)
            if ADD_TO_OTHER:
                tl.atomic_add(
                    of_other_ptr + other[:, None] * WIDTH + own[None, :], back,
                    mask=inside[:, None] & (own < WIDTH)[None, :], sem="relaxed",
                )  # fmt: skip
        node = first + number
        tl.store(
            of_owned_ptr + (piece * nodes + node)[:, None] * WIDTH + own[None, :], of_owned,
            mask=(node < nodes)[:, None] & (own < WIDTH)[None, :],
        )  # fmt: skip
    if WEIGHTS:
        mine = (own < WIDTH)[None, :]
        to_ptr = of_weight_ptr + program.to(tl.int64) * OUT * WIDTH
        tl.store(
            to_ptr + at[:, None] * WIDTH + own[None, :], g_left, mask=(at < OUT)[:, None] & mine
        )
        if RIGHT > 1:
            tl.store(
                to_ptr + beyond[:, None] * WIDTH + own[None, :], g_right,
                mask=(beyond < OUT)[:, None] & mine,
            )  # fmt: skip
        to_ptr = of_rows_ptr + program.to(tl.int64) * PADDED * WIDTH
        tl.store(to_ptr + function[:, None] * WIDTH + own[None, :], g_rows, mask=mine)
        if part == 0:
            to_ptr = of_bias_ptr + program.to(tl.int64) * OUT
            tl.store(to_ptr + at, b_left, mask=at < OUT)
            if RIGHT > 1:
                tl.store(to_ptr + beyond, b_right, mask=beyond < OUT)
