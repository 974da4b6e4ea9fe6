"""The vector field on one tile, and its adjoint.

All buffers of a tile, the packed weights and the gradient sums lie in one array ``m``; ``b`` (`space.
Places`) says where each starts. One array instead of thirty is what keeps compilation short.
``layers`` is the table of `weights.Packing`; ``link`` the senders of `sweep.Links`, one way or back;
``pieces[first:last]`` those of `plan.Plan`.
"""

from __future__ import annotations

from .machine import apart, compiled
from .tanh import tanh_in_place
from .tiles import neighbour_sum, outer, product, product_slope

# Columns of the table of layers.
ROWS, INNER, FORWARD, BACKWARD, TILE, BIAS = 0, 1, 2, 3, 4, 5
# Kinds of messages, as in `space.MESSAGES`.
ZERO, SELF, STATE, EMITTED = 0, 1, 2, 3


@compiled
def copy(to, to_at, source, at, count):  # type: ignore
    """to[to_at : to_at + count] = source[at : at + count]."""
    apart()
    x = to[to_at : to_at + count]
    y = source[at : at + count]
    for i in range(count):
        x[i] = y[i]


@compiled
def clear(m, at, count):  # type: ignore
    """Zeros."""
    apart()
    x = m[at : at + count]
    for i in range(count):
        x[i] = 0


@compiled
def add_scaled(m, to, at, factor, count):  # type: ignore
    """m[to...] += factor m[at...]; ``factor`` is an array of one number, of the same dtype."""
    apart()
    x = m[to : to + count]
    y = m[at : at + count]
    f = factor[0]
    for i in range(count):
        x[i] += f * y[i]


@compiled
def add_product(m, to, at, other, count):  # type: ignore
    """m[to...] += m[at...] * m[other...]."""
    apart()
    x = m[to : to + count]
    y = m[at : at + count]
    z = m[other : other + count]
    for i in range(count):
        x[i] += y[i] * z[i]


@compiled
def aggregate(s, m, to, at, link, pieces, first, last):  # type: ignore
    """Weighted sums over neighbours, row by row in ascending columns (see `neighbour_sum`)."""
    apart()
    for f in range(s.message):
        for q in range(first, last):
            width = pieces[q, 1]
            base = f * s.stride + pieces[q, 2]
            for n in range(pieces[q, 0]):
                neighbour_sum(
                    m, to + base + n * width, at + base, width,
                    link.pointer, pieces[q, 3] + n, link.sender, link.weight,
                )  # fmt: skip


@compiled
def clear_beyond(s, m, at, rows, columns):  # type: ignore
    """Zeros in the unused columns of the last panel."""
    whole = (columns + s.panel - 1) // s.panel * s.panel
    for f in range(rows):
        clear(m, at + f * s.stride + columns, whole - columns)


@compiled
def run(s, layers, m, low, count, x, x_step, x_row, h, h_step, y, panels):  # type: ignore
    """The network of ``count`` layers from number ``low`` on: rows y from rows x, through h.

    A panel of x starts ``x_step`` after the one before, its rows are ``x_row`` apart; hidden layers
    are kept panel by panel, one layer ``h_step`` after the other. The last layer is linear.
    """
    apart()
    for q in range(panels):
        at, row = x + q * x_step, x_row
        hidden = h + q * s.hidden_panel
        for number in range(low, low + count - 1):
            layer = layers[number]
            product(m, hidden, s.panel, layer[FORWARD], at, row, layer[ROWS], layer[INNER])
            tanh_in_place(m, hidden, layer[ROWS] * s.panel)
            at, row = hidden, s.panel
            hidden += h_step
        layer = layers[low + count - 1]
        product(m, y + q * s.panel, s.stride, layer[FORWARD], at, row, layer[ROWS], layer[INNER])


@compiled
def run_back(s, layers, m, b, low, count, x, x_step, x_row, h, h_step, y_bar, x_bar, panels):  # type: ignore
    """Adjoint of `run`: rows x_bar from rows y_bar; adds to the gradient sums."""
    apart()
    top = low + count - 1
    for q in range(panels):
        at, row = y_bar + q * s.panel, s.stride
        for number in range(top, low, -1):
            layer = layers[number]
            place = (number - 1 - low) * h_step + q * s.hidden_panel
            product_slope(
                m, b.hidden_bar + place, h + place, layer[BACKWARD], at, row,
                layer[INNER], layer[ROWS], layers[number - 1, BIAS], s.panel,
            )  # fmt: skip
            at, row = b.hidden_bar + place, s.panel
        layer = layers[low]
        product(
            m, x_bar + q * s.panel, s.stride, layer[BACKWARD], at, row, layer[INNER], layer[ROWS]
        )
    for f in range(layers[top, ROWS]):
        place = layers[top, BIAS] + f * s.panel
        total = m[place : place + s.panel]
        for q in range(panels):
            place = y_bar + f * s.stride + q * s.panel
            part = m[place : place + s.panel]
            for c in range(s.panel):
                total[c] += part[c]
    g, g_row, g_step = y_bar, s.stride, s.panel
    for number in range(top, low - 1, -1):
        layer = layers[number]
        at, row, step = x, x_row, x_step
        if number > low:
            at, row, step = h + (number - 1 - low) * h_step, s.panel, s.hidden_panel
        outer(m, layer[TILE], g, g_row, g_step, at, row, step, layer[ROWS], layer[INNER], panels)
        g, g_row, g_step = b.hidden_bar + (number - 1 - low) * h_step, s.panel, s.hidden_panel


@compiled
def see(s, m, b, seen, x, whole):  # type: ignore
    """Rows [x; b] at ``seen``: what the emitter and the first message depend on."""
    for f in range(s.channels):
        copy(m, seen + f * s.stride, m, x + f * s.stride, whole)
    for f in range(s.attributes):
        copy(m, seen + (s.channels + f) * s.stride, m, b.attribute + f * s.stride, whole)


@compiled
def field(s, layers, m, b, slot, k, columns, link, pieces, first, last):  # type: ignore
    """Rows k = dz/dt at rows b.at; what the adjoint needs is kept in ``slot``."""
    apart()
    panels = (columns + s.panel - 1) // s.panel
    whole = panels * s.panel
    inputs = b.inputs + slot * s.input_rows
    hidden = b.hidden + slot * s.depth * s.block
    out = b.out + slot * s.output_rows

    for f in range(s.channels):
        copy(m, inputs + f * s.stride, m, b.at + f * s.stride, whole)
    for f in range(s.controls):
        copy(m, inputs + (s.channels + f) * s.stride, m, b.control + f * s.stride, whole)
    start = s.channels + s.controls
    for f in range(s.attributes):
        copy(m, inputs + (start + f) * s.stride, m, b.attribute + f * s.stride, whole)

    arrive = inputs + s.own * s.stride
    if s.superposed:
        arrive = b.arrive + slot * s.message_rows
    if s.messages == STATE:
        aggregate(s, m, arrive, b.at + s.channels * s.stride, link, pieces, first, last)
    elif s.messages == EMITTED:
        seen, emit = b.seen + slot * s.seen_rows, b.emit + slot * s.block
        see(s, m, b, seen, b.at, whole)
        number = len(layers) - 2
        run(
            s, layers, m, number, len(layers) - number, seen, s.panel, s.stride,
            emit, s.block, b.sent, panels,
        )  # fmt: skip
        aggregate(s, m, arrive, b.sent, link, pieces, first, last)
    for f in range(s.message):
        if s.messages == SELF:
            copy(m, arrive + f * s.stride, m, b.at + (s.channels + f) * s.stride, columns)
        elif s.messages == ZERO:
            clear(m, arrive + f * s.stride, columns)
    clear_beyond(s, m, arrive, s.message, columns)

    run(
        s, layers, m, s.lowest, s.depth + 1, inputs, s.panel, s.stride,
        hidden, s.block, out if s.superposed else k, panels,
    )  # fmt: skip
    if s.superposed:
        for i in range(s.states):
            row = k + i * s.stride
            copy(m, row, m, out + i * s.stride, columns)
            for q in range(s.message):
                gain = out + (s.states + i * s.message + q) * s.stride
                add_product(m, row, gain, arrive + q * s.stride, columns)


@compiled
def gain_back(s, m, b, slot, columns):  # type: ignore
    """Adjoint of F + G a: b.out_bar and b.arrive_bar from b.k_bar."""
    out = b.out + slot * s.output_rows
    arrive = b.arrive + slot * s.message_rows
    for q in range(s.message):
        clear(m, b.arrive_bar + q * s.stride, columns)
    for i in range(s.states):
        k_bar = b.k_bar + i * s.stride
        copy(m, b.out_bar + i * s.stride, m, k_bar, columns)
        for q in range(s.message):
            gain = (s.states + i * s.message + q) * s.stride
            clear(m, b.out_bar + gain, columns)
            add_product(m, b.out_bar + gain, k_bar, arrive + q * s.stride, columns)
            add_product(m, b.arrive_bar + q * s.stride, k_bar, out + gain, columns)


@compiled
def field_back(s, layers, m, b, slot, bar, columns, link, pieces, first, last):  # type: ignore
    """Rows ``bar`` = (d field / dz)' b.k_bar; adds the parameters' part to the gradient sums."""
    apart()
    panels = (columns + s.panel - 1) // s.panel
    y_bar, arrive_bar = b.k_bar, b.inputs_bar + s.own * s.stride
    if s.superposed:
        gain_back(s, m, b, slot, columns)
        y_bar, arrive_bar = b.out_bar, b.arrive_bar
    run_back(
        s, layers, m, b, s.lowest, s.depth + 1, b.inputs + slot * s.input_rows, s.panel, s.stride,
        b.hidden + slot * s.depth * s.block, s.block, y_bar, b.inputs_bar, panels,
    )  # fmt: skip
    for f in range(s.channels):
        copy(m, bar + f * s.stride, m, b.inputs_bar + f * s.stride, columns)
    message = bar + s.channels * s.stride
    if s.messages == STATE:
        aggregate(s, m, message, arrive_bar, link, pieces, first, last)
    elif s.messages == EMITTED:
        aggregate(s, m, b.sent, arrive_bar, link, pieces, first, last)
        clear_beyond(s, m, b.sent, s.message, columns)
        number = len(layers) - 2
        run_back(
            s, layers, m, b, number, len(layers) - number, b.seen + slot * s.seen_rows, s.panel,
            s.stride, b.emit + slot * s.block, s.block, b.sent, b.seen_bar, panels,
        )  # fmt: skip
        for f in range(s.channels):
            add_scaled(
                m, bar + f * s.stride, b.seen_bar + f * s.stride, m[b.one : b.one + 1], columns
            )
    for f in range(s.carried):
        if s.messages == SELF:
            copy(m, message + f * s.stride, m, arrive_bar + f * s.stride, columns)
        elif s.messages == ZERO:
            clear(m, message + f * s.stride, columns)
