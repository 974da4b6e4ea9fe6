"""The vector field on one tile, and its adjoint.

Buffers are flat; (buffer, offset) says where a matrix starts. ``layers`` and ``weights`` are those
of `weights.Packing`; ``pieces[first:last]`` those of `plan.Plan`.
"""

from __future__ import annotations

from .machine import compiled
from .tanh import tanh_in_place
from .tiles import neighbour_sum, outer, product, product_slope

# Columns of the table of layers.
ROWS, INNER, FORWARD, BACKWARD, TILE, BIAS = 0, 1, 2, 3, 4, 5


@compiled
def copy(to, to_at, source, at, count):  # type: ignore
    """to[to_at : to_at + count] = source[at : at + count]."""
    a = to[to_at : to_at + count]
    b = source[at : at + count]
    for i in range(count):
        a[i] = b[i]


@compiled
def clear(to, at, count):  # type: ignore
    """Zeros."""
    a = to[at : at + count]
    for i in range(count):
        a[i] = 0


@compiled
def add_scaled(to, to_at, source, at, factor, count):  # type: ignore
    """to += factor * source; ``factor`` is an array of one number, of the same dtype."""
    a = to[to_at : to_at + count]
    b = source[at : at + count]
    f = factor[0]
    for i in range(count):
        a[i] += f * b[i]


@compiled
def copy_in(to, to_at, stride, source, at, total, rows, pieces, first, last):  # type: ignore
    """Rows of a batch (``total`` columns) to rows of a tile (``stride`` columns)."""
    for q in range(first, last):
        width, start, there, wide = pieces[q, 1], pieces[q, 2], pieces[q, 4], pieces[q, 5]
        for f in range(rows):
            for n in range(pieces[q, 0]):
                copy(
                    to,
                    to_at + f * stride + start + n * width,
                    source,
                    at + f * total + there + n * wide,
                    width,
                )


@compiled
def copy_out(to, to_at, total, source, at, stride, rows, pieces, first, last):  # type: ignore
    """Rows of a tile to rows of a batch."""
    for q in range(first, last):
        width, start, there, wide = pieces[q, 1], pieces[q, 2], pieces[q, 4], pieces[q, 5]
        for f in range(rows):
            for n in range(pieces[q, 0]):
                copy(
                    to,
                    to_at + f * total + there + n * wide,
                    source,
                    at + f * stride + start + n * width,
                    width,
                )


@compiled
def aggregate(to, to_at, source, at, stride, rows, pieces, first, last, pointer, sender, weight):  # type: ignore
    """Weighted sums over neighbours, row by row in ascending columns (see `neighbour_sum`)."""
    for f in range(rows):
        for q in range(first, last):
            width, start = pieces[q, 1], pieces[q, 2]
            base = f * stride + start
            for n in range(pieces[q, 0]):
                neighbour_sum(
                    to, to_at + base + n * width, source, at + base,
                    pointer, pieces[q, 3] + n, sender, weight, width,
                )  # fmt: skip


@compiled
def clear_beyond(to, at, stride, rows, columns, panel):  # type: ignore
    """Zeros in the unused columns of the last panel."""
    whole = (columns + panel - 1) // panel * panel
    for f in range(rows):
        clear(to, at + f * stride + columns, whole - columns)


@compiled
def tanh_layer(s, layers, number, weights, y, y_at, x, x_at, x_stride):  # type: ignore
    """One panel of a hidden layer: y = tanh(W x + b)."""
    row = layers[number]
    product(y, y_at, s.panel, weights, row[FORWARD], x, x_at, x_stride, row[ROWS], row[INNER])
    tanh_in_place(y, y_at, row[ROWS] * s.panel)


@compiled
def tanh_layer_back(s, layers, number, weights, g, g_at, y, y_at, above, above_at, stride, sums):  # type: ignore
    """One panel: g = (W' above) (1 - y^2), W of the layer ``number`` above the hidden layer y.

    Adds g to the bias sums of the hidden layer, which is ``number - 1``.
    """
    row = layers[number]
    product_slope(
        g, g_at, y, y_at, weights, row[BACKWARD], above, above_at, stride,
        row[INNER], row[ROWS], sums, layers[number - 1, BIAS], s.panel,
    )  # fmt: skip


@compiled
def add_bias(s, layers, number, g, g_at, stride, panels, sums):  # type: ignore
    """Bias sums of a layer whose cotangent lies in rows."""
    for f in range(layers[number, ROWS]):
        at = layers[number, BIAS] + f * s.panel
        c = sums[at : at + s.panel]
        for q in range(panels):
            start = g_at + f * stride + q * s.panel
            a = g[start : start + s.panel]
            for i in range(s.panel):
                c[i] += a[i]


@compiled
def add_outer(layers, number, g, g_at, g_row, g_panel, x, x_at, x_row, x_panel, panels, sums):  # type: ignore
    """Gradient tiles of a layer: G X'."""
    outer(
        sums, layers[number, TILE], g, g_at, g_row, g_panel, x, x_at, x_row, x_panel,
        layers[number, ROWS], layers[number, INNER], panels,
    )  # fmt: skip


@compiled
def emit(s, layers, weights, b, slot, panels):  # type: ignore
    """What each node sends: g([x; b]), kept for the way back in ``slot``."""
    seen = s.channels + s.attributes
    rows = (seen + 7) // 8 * 8
    seen_at, emit_at = slot * rows * s.stride, slot * s.block
    whole = panels * s.panel
    for f in range(s.channels):
        copy(b.seen, seen_at + f * s.stride, b.at, f * s.stride, whole)
    for f in range(s.attributes):
        copy(b.seen, seen_at + (s.channels + f) * s.stride, b.attribute, f * s.stride, whole)
    number = len(layers) - 2
    row = layers[number + 1]
    for q in range(panels):
        h_at = emit_at + q * s.hidden_panel
        c = q * s.panel
        tanh_layer(s, layers, number, weights, b.emit, h_at, b.seen, seen_at + c, s.stride)
        product(
            b.sent, c, s.stride, weights, row[FORWARD], b.emit, h_at, s.panel, row[ROWS], row[INNER]
        )


@compiled
def field(s, layers, weights, b, slot, k_at, columns, pieces, first, last, pointer, sender, weight):  # type: ignore
    """b.k at ``k_at`` = dz/dt at b.at, what the adjoint needs kept in ``slot``."""
    panels = (columns + s.panel - 1) // s.panel
    whole = panels * s.panel
    in_at = slot * ((s.inputs + 7) // 8 * 8) * s.stride
    hidden_at = slot * s.depth * s.block
    out_at = slot * ((s.outputs + 7) // 8 * 8) * s.stride
    arrive_at = slot * ((s.message + 7) // 8 * 8) * s.stride

    for f in range(s.channels):
        copy(b.inputs, in_at + f * s.stride, b.at, f * s.stride, whole)
    for f in range(s.controls):
        copy(b.inputs, in_at + (s.channels + f) * s.stride, b.control, f * s.stride, whole)
    start = s.channels + s.controls
    for f in range(s.attributes):
        copy(b.inputs, in_at + (start + f) * s.stride, b.attribute, f * s.stride, whole)

    to, to_at = b.inputs, in_at + s.own * s.stride
    if s.superposed:
        to, to_at = b.arrive, arrive_at
    if s.messages == 2:
        aggregate(
            to, to_at, b.at, s.channels * s.stride, s.stride, s.message,
            pieces, first, last, pointer, sender, weight,
        )  # fmt: skip
    elif s.messages == 3:
        emit(s, layers, weights, b, slot, panels)
        aggregate(
            to, to_at, b.sent, 0, s.stride, s.message,
            pieces, first, last, pointer, sender, weight,
        )  # fmt: skip
    for f in range(s.message):
        if s.messages == 1:
            copy(to, to_at + f * s.stride, b.at, (s.channels + f) * s.stride, columns)
        elif s.messages == 0:
            clear(to, to_at + f * s.stride, columns)
    clear_beyond(to, to_at, s.stride, s.message, columns, s.panel)

    y, y_at = b.k, k_at
    if s.superposed:
        y, y_at = b.out, out_at
    last_layer = layers[s.depth]
    for q in range(panels):
        c = q * s.panel
        h = hidden_at + q * s.hidden_panel
        tanh_layer(s, layers, 0, weights, b.hidden, h, b.inputs, in_at + c, s.stride)
        for number in range(1, s.depth):
            tanh_layer(s, layers, number, weights, b.hidden, h + s.block, b.hidden, h, s.panel)
            h += s.block
        product(
            y, y_at + c, s.stride, weights, last_layer[FORWARD],
            b.hidden, h, s.panel, last_layer[ROWS], last_layer[INNER],
        )  # fmt: skip

    if s.superposed:
        for i in range(s.states):
            copy(b.k, k_at + i * s.stride, b.out, out_at + i * s.stride, columns)
            k = b.k[k_at + i * s.stride : k_at + i * s.stride + columns]
            for m in range(s.message):
                at = out_at + (s.states + i * s.message + m) * s.stride
                gain = b.out[at : at + columns]
                a = b.arrive[arrive_at + m * s.stride : arrive_at + m * s.stride + columns]
                for c in range(columns):
                    k[c] += gain[c] * a[c]


@compiled
def gain_back(s, b, slot, columns):  # type: ignore
    """Adjoint of F + G a: b.out_bar and b.arrive_bar from b.k_bar."""
    out_at = slot * ((s.outputs + 7) // 8 * 8) * s.stride
    arrive_at = slot * ((s.message + 7) // 8 * 8) * s.stride
    for m in range(s.message):
        clear(b.arrive_bar, m * s.stride, columns)
    for i in range(s.states):
        copy(b.out_bar, i * s.stride, b.k_bar, i * s.stride, columns)
        k = b.k_bar[i * s.stride : i * s.stride + columns]
        for m in range(s.message):
            at = (s.states + i * s.message + m) * s.stride
            gain = b.out[out_at + at : out_at + at + columns]
            gain_bar = b.out_bar[at : at + columns]
            a = b.arrive[arrive_at + m * s.stride : arrive_at + m * s.stride + columns]
            a_bar = b.arrive_bar[m * s.stride : m * s.stride + columns]
            for c in range(columns):
                gain_bar[c] = k[c] * a[c]
                a_bar[c] += k[c] * gain[c]


@compiled
def emit_back(s, layers, weights, b, slot, bar, bar_at, panels, sums):  # type: ignore
    """Adjoint of `emit`: from the cotangent of what was sent to b.seen_bar."""
    seen = s.channels + s.attributes
    seen_at, emit_at = slot * ((seen + 7) // 8 * 8) * s.stride, slot * s.block
    number = len(layers) - 2
    row = layers[number]
    step = s.hidden_panel
    for q in range(panels):
        c, h = q * s.panel, emit_at + q * step
        tanh_layer_back(
            s, layers, number + 1, weights, b.hidden_bar, q * step,
            b.emit, h, bar, bar_at + c, s.stride, sums,
        )  # fmt: skip
        product(
            b.seen_bar, c, s.stride, weights, row[BACKWARD],
            b.hidden_bar, q * step, s.panel, row[INNER], row[ROWS],
        )  # fmt: skip
    add_bias(s, layers, number + 1, bar, bar_at, s.stride, panels, sums)
    add_outer(
        layers, number + 1, bar, bar_at, s.stride, s.panel,
        b.emit, emit_at, s.panel, step, panels, sums,
    )  # fmt: skip
    add_outer(
        layers, number, b.hidden_bar, 0, s.panel, step,
        b.seen, seen_at, s.stride, s.panel, panels, sums,
    )  # fmt: skip


@compiled
def field_back(
    s, layers, weights, b, slot, bar_at, columns, pieces, first, last, pointer, sender, weight, sums
):  # type: ignore
    """b.z_bar at ``bar_at`` = (d field / dz)' b.k_bar; adds the parameters' part to ``sums``."""
    panels = (columns + s.panel - 1) // s.panel
    step = s.hidden_panel
    in_at = slot * ((s.inputs + 7) // 8 * 8) * s.stride
    hidden_at = slot * s.depth * s.block

    y_bar = b.k_bar
    if s.superposed:
        gain_back(s, b, slot, columns)
        y_bar = b.out_bar
    first_layer = layers[0]
    for q in range(panels):
        c = q * s.panel
        top = s.depth - 1
        tanh_layer_back(
            s, layers, s.depth, weights, b.hidden_bar, top * s.block + q * step,
            b.hidden, hidden_at + top * s.block + q * step, y_bar, c, s.stride, sums,
        )  # fmt: skip
        for number in range(top, 0, -1):
            at = (number - 1) * s.block + q * step
            tanh_layer_back(
                s, layers, number, weights, b.hidden_bar, at,
                b.hidden, hidden_at + at, b.hidden_bar, at + s.block, s.panel, sums,
            )  # fmt: skip
        product(
            b.inputs_bar, c, s.stride, weights, first_layer[BACKWARD],
            b.hidden_bar, q * step, s.panel, first_layer[INNER], first_layer[ROWS],
        )  # fmt: skip
    add_bias(s, layers, s.depth, y_bar, 0, s.stride, panels, sums)
    add_outer(
        layers, s.depth, y_bar, 0, s.stride, s.panel,
        b.hidden, hidden_at + (s.depth - 1) * s.block, s.panel, step, panels, sums,
    )  # fmt: skip
    for number in range(s.depth - 1, 0, -1):
        add_outer(
            layers, number, b.hidden_bar, number * s.block, s.panel, step,
            b.hidden, hidden_at + (number - 1) * s.block, s.panel, step, panels, sums,
        )  # fmt: skip
    add_outer(
        layers, 0, b.hidden_bar, 0, s.panel, step,
        b.inputs, in_at, s.stride, s.panel, panels, sums,
    )  # fmt: skip

    for f in range(s.channels):
        copy(b.z_bar, bar_at + f * s.stride, b.inputs_bar, f * s.stride, columns)
    bar, at = b.inputs_bar, s.own * s.stride
    if s.superposed:
        bar, at = b.arrive_bar, 0
    message_at = bar_at + s.channels * s.stride
    if s.messages == 2:
        aggregate(
            b.z_bar, message_at, bar, at, s.stride, s.message,
            pieces, first, last, pointer, sender, weight,
        )  # fmt: skip
    elif s.messages == 3:
        sent_at = ((s.message + 7) // 8 * 8) * s.stride
        aggregate(
            b.arrive_bar, sent_at, bar, at, s.stride, s.message,
            pieces, first, last, pointer, sender, weight,
        )  # fmt: skip
        clear_beyond(b.arrive_bar, sent_at, s.stride, s.message, columns, s.panel)
        emit_back(s, layers, weights, b, slot, b.arrive_bar, sent_at, panels, sums)
        for f in range(s.channels):
            bars = b.z_bar[bar_at + f * s.stride : bar_at + f * s.stride + columns]
            more = b.seen_bar[f * s.stride : f * s.stride + columns]
            for c in range(columns):
                bars[c] += more[c]
    for f in range(s.carried):
        if s.messages == 1:
            copy(b.z_bar, message_at + f * s.stride, bar, at + f * s.stride, columns)
        elif s.messages == 0:
            clear(b.z_bar, message_at + f * s.stride, columns)
