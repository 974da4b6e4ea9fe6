"""Rows of a tile, and a network of tanh layers on them with its adjoint.

``layers`` is the table of `weights.Packing`; all buffers lie in one array ``memory``.
"""

from __future__ import annotations

from .machine import compiled, noinline
from .tanh import tanh_in_place
from .tiles import outer, product, product_tanh_back

# Columns of the table of layers.
ROWS, INNER, FORWARD, BACKWARD, TILE, BIAS = 0, 1, 2, 3, 4, 5


@compiled
def copy(target, target_start, source, source_start, count):  # type: ignore
    """target[target_start...] = source[source_start...], ``count`` numbers."""
    noinline()
    to = target[target_start : target_start + count]
    values = source[source_start : source_start + count]
    for i in range(count):
        to[i] = values[i]


@compiled
def clear(memory, start, count):  # type: ignore
    """Set ``count`` numbers to zero."""
    noinline()
    to = memory[start : start + count]
    for i in range(count):
        to[i] = 0


@compiled
def add_scaled(memory, total, values, factor, count):  # type: ignore
    """memory[total...] += factor memory[values...].

    ``factor`` is an array of one number: a scalar argument of another dtype would be a second version
    of this function, and a literal would make the arithmetic double precision.
    """
    noinline()
    to = memory[total : total + count]
    added = memory[values : values + count]
    scale = factor[0]
    for i in range(count):
        to[i] += scale * added[i]


@compiled
def add_product(memory, total, left, right, count):  # type: ignore
    """memory[total...] += memory[left...] * memory[right...]."""
    noinline()
    to = memory[total : total + count]
    x = memory[left : left + count]
    y = memory[right : right + count]
    for i in range(count):
        to[i] += x[i] * y[i]


@compiled
def clear_padding(shape, memory, start, rows, columns):  # type: ignore
    """Set the unused columns of the last panel to zero."""
    padded = (columns + shape.panel - 1) // shape.panel * shape.panel + shape.spare
    for row in range(rows):
        clear(memory, start + row * shape.stride + columns, padded - columns)


@compiled
def forward(
    shape, layers, memory, lowest, count, x, panel_step, row_step, hidden, layer_step, y, panels
):  # type: ignore
    """The network of ``count`` layers from number ``lowest`` on: rows y from rows x.

    A panel of x starts ``panel_step`` after the one before, its rows are ``row_step`` apart; hidden
    layers stay at ``hidden``, panel by panel, one layer ``layer_step`` after the other. The last
    layer is linear. All layers of a panel run before the next panel, so that a panel's activations
    are read from the cache they were just written to.
    """
    noinline()
    for panel in range(panels):
        source, step = x + panel * panel_step, row_step
        target = hidden + panel * shape.hidden_panel
        for number in range(lowest, lowest + count - 1):
            layer = layers[number]
            product(
                memory, target, shape.panel, layer[FORWARD], source, step, layer[ROWS], layer[INNER]
            )
            tanh_in_place(memory, target, layer[ROWS] * shape.panel)
            source, step = target, shape.panel
            target += layer_step
        layer = layers[lowest + count - 1]
        product(
            memory, y + panel * shape.panel, shape.stride, layer[FORWARD], source, step,
            layer[ROWS], layer[INNER],
        )  # fmt: skip


@compiled
def backward(
    shape,
    layers,
    memory,
    offsets,
    lowest,
    count,
    x,
    panel_step,
    row_step,
    hidden,
    layer_step,
    y_bar,
    x_bar,
    panels,
):  # type: ignore
    """Adjoint of `forward`: rows x_bar from rows y_bar; adds to the gradient sums."""
    noinline()
    top = lowest + count - 1
    for panel in range(panels):
        source, step = y_bar + panel * shape.panel, shape.stride
        for number in range(top, lowest, -1):
            layer = layers[number]
            inside = (number - 1 - lowest) * layer_step + panel * shape.hidden_panel
            product_tanh_back(
                memory, offsets.hidden_bar + inside, hidden + inside, layer[BACKWARD], source, step,
                layer[INNER], layer[ROWS], layers[number - 1, BIAS], shape.panel,
            )  # fmt: skip
            source, step = offsets.hidden_bar + inside, shape.panel
        # The packed transpose starts with zeros in place of biases, so that `product` serves here too.
        layer = layers[lowest]
        product(
            memory, x_bar + panel * shape.panel, shape.stride, layer[BACKWARD], source, step,
            layer[INNER], layer[ROWS],
        )  # fmt: skip
    # Bias sums keep one number per column of a panel; adding the columns up here would cost a
    # reduction per row and panel, `Packing.gradient` does it once per call.
    for row in range(layers[top, ROWS]):
        start = layers[top, BIAS] + row * shape.panel
        total = memory[start : start + shape.panel]
        for panel in range(panels):
            start = y_bar + row * shape.stride + panel * shape.panel
            values = memory[start : start + shape.panel]
            for column in range(shape.panel):
                total[column] += values[column]
    # Weight gradients are sums over all columns: a layer's tile stays in registers for all panels.
    bar, bar_row, bar_panel = y_bar, shape.stride, shape.panel
    for number in range(top, lowest - 1, -1):
        layer = layers[number]
        source, step, next_panel = x, row_step, panel_step
        if number > lowest:
            source = hidden + (number - 1 - lowest) * layer_step
            step, next_panel = shape.panel, shape.hidden_panel
        outer(
            memory, layer[TILE], bar, bar_row, bar_panel, source, step, next_panel,
            layer[ROWS], layer[INNER], panels,
        )  # fmt: skip
        bar = offsets.hidden_bar + (number - 1 - lowest) * layer_step
        bar_row, bar_panel = shape.panel, shape.hidden_panel


@compiled
def forward_types(shape, layers, memory, lowest, count, x, hidden, layer_step, y, segments, tile):  # type: ignore
    """`forward` of all columns of a tile, those of each type of nodes through its own network.

    ``lowest`` counts from the first layer of a type; the rows x are ``shape.stride`` apart. A type's
    last panel also writes columns of the next type, whose panels come after it.
    """
    noinline()
    of_type = len(layers) // shape.types
    for kind in range(shape.types):
        start, stop = segments[tile, kind], segments[tile, kind + 1]
        panels = (stop - start + shape.panel - 1) // shape.panel
        forward(
            shape, layers, memory, kind * of_type + lowest, count, x + start, shape.panel,
            shape.stride, hidden, layer_step, y + start, panels,
        )  # fmt: skip
        hidden += panels * shape.hidden_panel


@compiled
def bar_of_type(shape, memory, offsets, y_bar, rows, start, stop):  # type: ignore
    """Rows of cotangents of the columns from ``start`` to ``stop`` in whole panels, zero behind these."""
    noinline()
    count = stop - start
    padded = (count + shape.panel - 1) // shape.panel * shape.panel
    if count == padded:
        return y_bar + start
    for row in range(rows):
        to = offsets.type_bar + row * shape.stride
        copy(memory, to, memory, y_bar + start + row * shape.stride, count)
        clear(memory, to + count, padded - count)
    return offsets.type_bar


@compiled
def backward_types(
    shape,
    layers,
    memory,
    offsets,
    lowest,
    count,
    x,
    hidden,
    layer_step,
    y_bar,
    x_bar,
    segments,
    tile,
):  # type: ignore
    """Adjoint of `forward_types`."""
    noinline()
    of_type = len(layers) // shape.types
    for kind in range(shape.types):
        start, stop = segments[tile, kind], segments[tile, kind + 1]
        panels = (stop - start + shape.panel - 1) // shape.panel
        first = kind * of_type + lowest
        bar = y_bar + start
        if shape.types > 1:
            rows = layers[first + count - 1, ROWS]
            bar = bar_of_type(shape, memory, offsets, y_bar, rows, start, stop)
        backward(
            shape, layers, memory, offsets, first, count, x + start, shape.panel, shape.stride,
            hidden, layer_step, bar, x_bar + start, panels,
        )  # fmt: skip
        hidden += panels * shape.hidden_panel
