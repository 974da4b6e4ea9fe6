"""The Triton program of one tile: the rollout with its loss, and the walk back.

Everything of a tile stays in registers over the window, apart from the points at which dz/dt was
evaluated: these go to device memory and are read on the way back, where the hidden layers are
computed a second time. Stages are a loop and not written out, which keeps the program small enough
for the cache of instructions; it needs a method whose stage i leans on stage i - 1 alone, as the
classical one does. Gradients are sums over the tile and leave the program once, at its end: what
the host adds up afterwards has a fixed order, so that results repeat.
"""

from __future__ import annotations

import triton
import triton.language as tl

from .field import dot, layers, layers_back, row_sum, slope


@triton.jit
def weight(theta_ptr, AT: tl.constexpr, A: tl.constexpr, B: tl.constexpr, USED: tl.constexpr):  # type: ignore
    """The padded weight (A, B) that starts at AT; a 1 x 1 tile where the model has none."""
    if USED:
        tile = tl.load(theta_ptr + AT + tl.arange(0, A)[:, None] * B + tl.arange(0, B)[None, :])
    else:
        tile = tl.zeros([1, 1], theta_ptr.dtype.element_ty)
    return tile


@triton.jit
def blank(like_ptr, A: tl.constexpr, B: tl.constexpr, USED: tl.constexpr):  # type: ignore
    """Zeros (A, B), or 1 x 1."""
    if USED:
        tile = tl.zeros([A, B], like_ptr.dtype.element_ty)
    else:
        tile = tl.zeros([1, 1], like_ptr.dtype.element_ty)
    return tile


@triton.jit
def put(tile, to_ptr, AT: tl.constexpr, A: tl.constexpr, B: tl.constexpr, USED: tl.constexpr):  # type: ignore
    if USED:
        tl.store(to_ptr + AT + tl.arange(0, A)[:, None] * B + tl.arange(0, B)[None, :], tile)


@triton.jit
def held_inputs(
    control_ptr, attribute_ptr, t, stride, column, valid,
    CONTROLS: tl.constexpr, ATTRIBUTES: tl.constexpr, HELD: tl.constexpr, COLUMNS: tl.constexpr,
):  # type: ignore  # fmt: skip
    """[u; b] of interval t, (HELD, columns)."""
    row = tl.arange(0, HELD)[:, None]
    values = tl.zeros([HELD, COLUMNS], control_ptr.dtype.element_ty)
    if CONTROLS > 0:
        at = control_ptr + (t * CONTROLS + row) * stride + column
        values += tl.load(at, mask=(row < CONTROLS) & valid, other=0.0)
    if ATTRIBUTES > 0:
        at = attribute_ptr + (row - CONTROLS) * stride + column
        mine = (row >= CONTROLS) & (row < CONTROLS + ATTRIBUTES)
        values += tl.load(at, mask=mine & valid, other=0.0)
    return values


@triton.jit
def bases(
    held, bias_1, from_held, emit_bias_1, emit_held,
    HOLDS: tl.constexpr, EMITS: tl.constexpr, HIDDEN: tl.constexpr, COLUMNS: tl.constexpr,
    PRECISION: tl.constexpr,
):  # type: ignore  # fmt: skip
    """What [u; b] and the biases give the first layers, the same over an interval."""
    base = bias_1 + tl.zeros([HIDDEN, COLUMNS], held.dtype)
    emit_base = base
    if HOLDS:
        base += dot(from_held, held, PRECISION)
    if EMITS:
        emit_base = emit_bias_1 + dot(emit_held, held, PRECISION)
    return base, emit_base


@triton.jit(do_not_specialize=["total", "steps"])
def window_program(
    theta_ptr, partial_ptr, loss_ptr, lam_ptr, states_ptr, initial_ptr, target_ptr, mask_ptr,
    control_ptr, attribute_ptr, factor_ptr, table_ptr, matrix_ptr, total, steps,
    GRADIENT: tl.constexpr, MASKED: tl.constexpr, START: tl.constexpr, LEARNED: tl.constexpr,
    SENDS: tl.constexpr, SUPERPOSED: tl.constexpr, DEEP: tl.constexpr, SLABS: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, HIDDEN: tl.constexpr, HELD: tl.constexpr,
    STATES: tl.constexpr, CHANNELS: tl.constexpr, MESSAGE: tl.constexpr,
    CONTROLS: tl.constexpr, ATTRIBUTES: tl.constexpr, SUBSTEPS: tl.constexpr,
    FROM_Z: tl.constexpr, FROM_ARRIVING: tl.constexpr, FROM_HELD: tl.constexpr,
    BIAS_1: tl.constexpr, MIDDLE: tl.constexpr, BIAS_2: tl.constexpr, LAST: tl.constexpr,
    BIAS_3: tl.constexpr, EMIT_Z: tl.constexpr, EMIT_HELD: tl.constexpr,
    EMIT_BIAS_1: tl.constexpr, EMIT_LAST: tl.constexpr, EMIT_BIAS_2: tl.constexpr,
    SIZE: tl.constexpr, PRECISION: tl.constexpr,
):  # type: ignore  # fmt: skip
    """``factor_ptr`` (steps, 9): dt times the factor of the slope before each stage, with one more 0
    at the end, and dt times the weight of each stage. START: rows of the initial state that are
    given. LEARNED: lam at time 0 is wanted. The names in capitals after SUBSTEPS are the places of
    the weights in the padded vector of SIZE."""
    program = tl.program_id(0)
    offset = tl.load(table_ptr + 6 * program)
    nodes = tl.load(table_ptr + 6 * program + 1)
    width = tl.load(table_ptr + 6 * program + 2)
    first = tl.load(table_ptr + 6 * program + 3)
    count = tl.load(table_ptr + 6 * program + 4)
    block = tl.load(table_ptr + 6 * program + 5)

    place = tl.arange(0, COLUMNS)
    node = place // count
    lane = place - node * count
    inside = node < nodes
    valid = inside[None, :]
    column = (offset + node * width + first + lane)[None, :]
    # (sender, receiver): trajectories of a tile do not see each other.
    sees = (lane[:, None] == lane[None, :]) & inside[:, None] & inside[None, :]
    entry = matrix_ptr + block + node[None, :] * nodes + node[:, None]
    matrix = tl.load(entry, mask=sees, other=0.0)
    row = tl.arange(0, ROWS)[:, None]
    slab = tl.arange(0, SLABS)[:, None]
    component = tl.arange(0, ROWS)[None, :] - CHANNELS
    picks = (component == slab - 1) & (component >= 0) & (component < MESSAGE)

    MIXES: tl.constexpr = (SENDS != 0) and not SUPERPOSED
    EMITS: tl.constexpr = SENDS == 3
    HOLDS: tl.constexpr = CONTROLS + ATTRIBUTES > 0
    OUT: tl.constexpr = SLABS * ROWS
    STORED: tl.constexpr = 4 if GRADIENT else 1  # points of a step that are kept
    from_z = weight(theta_ptr, FROM_Z, HIDDEN, ROWS, True)
    from_arriving = weight(theta_ptr, FROM_ARRIVING, HIDDEN, ROWS, MIXES)
    from_held = weight(theta_ptr, FROM_HELD, HIDDEN, HELD, HOLDS)
    bias_1 = weight(theta_ptr, BIAS_1, HIDDEN, 1, True)
    middle = weight(theta_ptr, MIDDLE, HIDDEN, HIDDEN, DEEP)
    bias_2 = weight(theta_ptr, BIAS_2, HIDDEN, 1, DEEP)
    last = weight(theta_ptr, LAST, OUT, HIDDEN, True)
    bias_3 = weight(theta_ptr, BIAS_3, OUT, 1, True)
    emit_z = weight(theta_ptr, EMIT_Z, HIDDEN, ROWS, EMITS)
    emit_held = weight(theta_ptr, EMIT_HELD, HIDDEN, HELD, EMITS)
    emit_bias_1 = weight(theta_ptr, EMIT_BIAS_1, HIDDEN, 1, EMITS)
    emit_last = weight(theta_ptr, EMIT_LAST, ROWS, HIDDEN, EMITS)
    emit_bias_2 = weight(theta_ptr, EMIT_BIAS_2, ROWS, 1, EMITS)

    stride = total.to(tl.int64)  # of one row of a matrix in columns
    state_at = row * stride + column
    state_in = (row < STATES) & valid
    compared = (row < CHANNELS) & valid
    z = tl.load(initial_ptr + state_at, mask=(row < START) & valid, other=0.0)
    tl.store(states_ptr + state_at, z, mask=state_in)

    for t in range(steps):
        held = held_inputs(
            control_ptr, attribute_ptr, t, stride, column, valid,
            CONTROLS, ATTRIBUTES, HELD, COLUMNS,
        )  # fmt: skip
        base, emit_base = bases(
            held, bias_1, from_held, emit_bias_1, emit_held,
            HOLDS, EMITS, HIDDEN, COLUMNS, PRECISION,
        )  # fmt: skip
        for s in range(SUBSTEPS):
            number = (t * SUBSTEPS + s) * STORED
            k = tl.zeros([ROWS, COLUMNS], z.dtype)
            after = z
            for i in range(4):
                point = z + tl.load(factor_ptr + 9 * t + i) * k
                if GRADIENT:
                    at = (number + i) * STATES * stride + state_at
                    tl.store(states_ptr + at, point, mask=state_in)
                arriving, one, two, emitted = layers(
                    point, base, emit_base, from_z, from_arriving, middle, bias_2,
                    emit_z, emit_last, emit_bias_2, matrix, SENDS, SUPERPOSED, DEEP, PRECISION,
                )  # fmt: skip
                k = slope(
                    point, two, arriving, last, bias_3, picks, valid,
                    SUPERPOSED, SLABS, ROWS, COLUMNS, PRECISION,
                )  # fmt: skip
                after += tl.load(factor_ptr + 9 * t + 5 + i) * k
            z = after
            tl.store(states_ptr + (number + STORED) * STATES * stride + state_at, z, mask=state_in)

    if GRADIENT:
        tl.debug_barrier()  # another thread may read a state than wrote it
        lam = tl.zeros([ROWS, COLUMNS], z.dtype)
        losses = tl.zeros([ROWS, COLUMNS], z.dtype)
        g_from_z = blank(theta_ptr, HIDDEN, ROWS, True)
        g_from_arriving = blank(theta_ptr, HIDDEN, ROWS, MIXES)
        g_from_held = blank(theta_ptr, HIDDEN, HELD, HOLDS)
        g_bias_1 = blank(theta_ptr, HIDDEN, 1, True)
        g_middle = blank(theta_ptr, HIDDEN, HIDDEN, DEEP)
        g_bias_2 = blank(theta_ptr, HIDDEN, 1, DEEP)
        g_last = blank(theta_ptr, OUT, HIDDEN, True)
        g_bias_3 = blank(theta_ptr, OUT, 1, True)
        g_emit_z = blank(theta_ptr, HIDDEN, ROWS, EMITS)
        g_emit_held = blank(theta_ptr, HIDDEN, HELD, EMITS)
        g_emit_bias_1 = blank(theta_ptr, HIDDEN, 1, EMITS)
        g_emit_last = blank(theta_ptr, ROWS, HIDDEN, EMITS)
        g_emit_bias_2 = blank(theta_ptr, ROWS, 1, EMITS)
        for back in range(steps):
            t = steps - 1 - back
            held = held_inputs(
                control_ptr, attribute_ptr, t, stride, column, valid,
                CONTROLS, ATTRIBUTES, HELD, COLUMNS,
            )  # fmt: skip
            base, emit_base = bases(
                held, bias_1, from_held, emit_bias_1, emit_held,
                HOLDS, EMITS, HIDDEN, COLUMNS, PRECISION,
            )  # fmt: skip
            # The Huber loss at the end of the interval and its slope.
            at = (t + 1) * SUBSTEPS * STORED * STATES * stride + state_at
            data = (t + 1) * CHANNELS * stride + state_at
            rest = tl.load(states_ptr + at, mask=compared, other=0.0)
            rest -= tl.load(target_ptr + data, mask=compared, other=0.0)
            near = tl.minimum(tl.maximum(rest, -1.0), 1.0)
            rest -= 0.5 * near
            if MASKED:
                near *= tl.load(mask_ptr + data, mask=compared, other=0.0)
            losses += near * rest
            lam += near
            base_bar = tl.zeros([HIDDEN, COLUMNS], z.dtype)
            emit_base_bar = blank(theta_ptr, HIDDEN, COLUMNS, EMITS)
            for s in range(SUBSTEPS):
                number = (t * SUBSTEPS + SUBSTEPS - 1 - s) * STORED
                point_bar = tl.zeros([ROWS, COLUMNS], z.dtype)
                before = lam
                for j in range(4):
                    i = 3 - j
                    at = (number + i) * STATES * stride + state_at
                    point = tl.load(states_ptr + at, mask=state_in, other=0.0)
                    arriving, one, two, emitted = layers(
                        point, base, emit_base, from_z, from_arriving, middle, bias_2,
                        emit_z, emit_last, emit_bias_2, matrix,
                        SENDS, SUPERPOSED, DEEP, PRECISION,
                    )  # fmt: skip
                    bar = tl.load(factor_ptr + 9 * t + 5 + i) * lam
                    bar += tl.load(factor_ptr + 9 * t + 1 + i) * point_bar
                    (
                        point_bar, g_from_z, g_from_arriving, g_middle, g_bias_2, g_last, g_bias_3,
                        g_emit_z, g_emit_last, g_emit_bias_2, base_bar, emit_base_bar,
                    ) = layers_back(
                        bar, point, arriving, one, two, emitted,
                        g_from_z, g_from_arriving, g_middle, g_bias_2, g_last, g_bias_3,
                        g_emit_z, g_emit_last, g_emit_bias_2, base_bar, emit_base_bar,
                        from_z, from_arriving, middle, last, bias_3, emit_z, emit_last,
                        matrix, picks,
                        SENDS, SUPERPOSED, DEEP, SLABS, ROWS, COLUMNS, PRECISION,
                    )  # fmt: skip
                    before += point_bar
                lam = before
            g_bias_1 += row_sum(base_bar)
            if HOLDS:
                g_from_held += dot(base_bar, tl.trans(held), PRECISION)
            if EMITS:
                g_emit_bias_1 += row_sum(emit_base_bar)
                g_emit_held += dot(emit_base_bar, tl.trans(held), PRECISION)
        tl.store(loss_ptr + program, tl.sum(tl.sum(losses, axis=1), axis=0))
        if LEARNED:
            tl.store(lam_ptr + state_at, lam, mask=state_in)
        to_ptr = partial_ptr + program.to(tl.int64) * SIZE
        put(g_from_z, to_ptr, FROM_Z, HIDDEN, ROWS, True)
        put(g_from_arriving, to_ptr, FROM_ARRIVING, HIDDEN, ROWS, MIXES)
        put(g_from_held, to_ptr, FROM_HELD, HIDDEN, HELD, HOLDS)
        put(g_bias_1, to_ptr, BIAS_1, HIDDEN, 1, True)
        put(g_middle, to_ptr, MIDDLE, HIDDEN, HIDDEN, DEEP)
        put(g_bias_2, to_ptr, BIAS_2, HIDDEN, 1, DEEP)
        put(g_last, to_ptr, LAST, OUT, HIDDEN, True)
        put(g_bias_3, to_ptr, BIAS_3, OUT, 1, True)
        put(g_emit_z, to_ptr, EMIT_Z, HIDDEN, ROWS, EMITS)
        put(g_emit_held, to_ptr, EMIT_HELD, HIDDEN, HELD, EMITS)
        put(g_emit_bias_1, to_ptr, EMIT_BIAS_1, HIDDEN, 1, EMITS)
        put(g_emit_last, to_ptr, EMIT_LAST, ROWS, HIDDEN, EMITS)
        put(g_emit_bias_2, to_ptr, EMIT_BIAS_2, ROWS, 1, EMITS)
