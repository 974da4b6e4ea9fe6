"""The vector field on one tile, and its adjoint.

All buffers of a tile, the packed weights and the gradient sums lie in one array ``memory``;
``offsets`` (`space.Offsets`) holds where each starts. One array instead of thirty is what keeps
compilation short. ``layers`` is the table of `weights.Packing`; ``links`` the senders of
`sweep.Links`, forward or reversed; ``groups[first:last]`` the rows of `plan.Plan.groups` of the tile.
"""

from __future__ import annotations

from .machine import compiled, noinline
from .plan import COLUMN, NODES, ROW, WIDTH
from .tanh import tanh_in_place
from .tiles import neighbour_sum, outer, product, product_tanh_back

# Columns of the table of layers.
ROWS, INNER, FORWARD, BACKWARD, TILE, BIAS = 0, 1, 2, 3, 4, 5
# Kinds of messages, as in `space.MESSAGES`.
ZERO, SELF, STATE, EMITTED = 0, 1, 2, 3


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
def aggregate(shape, memory, received, sent, links, groups, first, last):  # type: ignore
    """Weighted sums over neighbours, row by row in ascending columns (see `neighbour_sum`)."""
    noinline()
    for component in range(shape.message):
        for group in range(first, last):
            width = groups[group, WIDTH]
            base = component * shape.stride + groups[group, COLUMN]
            for node in range(groups[group, NODES]):
                neighbour_sum(
                    memory, received + base + node * width, sent + base, width,
                    links.pointer, groups[group, ROW] + node, links.sender, links.weight,
                )  # fmt: skip


@compiled
def clear_padding(shape, memory, start, rows, columns):  # type: ignore
    """Set the unused columns of the last panel to zero."""
    padded = (columns + shape.panel - 1) // shape.panel * shape.panel
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
def copy_emitter_inputs(shape, memory, offsets, target, x, padded):  # type: ignore
    """Rows [x; b] at ``target``: the inputs of the emitter and of the first message."""
    for row in range(shape.channels):
        copy(memory, target + row * shape.stride, memory, x + row * shape.stride, padded)
    for row in range(shape.attributes):
        attribute = offsets.attribute + row * shape.stride
        copy(memory, target + (shape.channels + row) * shape.stride, memory, attribute, padded)


@compiled
def field(shape, layers, memory, offsets, slot, slope, columns, links, groups, first, last):  # type: ignore
    """Rows ``slope`` = dz/dt at rows offsets.stage_state; ``slot`` keeps what the adjoint needs."""
    noinline()
    panels = (columns + shape.panel - 1) // shape.panel
    padded = panels * shape.panel
    stride = shape.stride
    state = offsets.stage_state
    inputs = offsets.inputs + slot * shape.input_rows
    hidden = offsets.hidden + slot * shape.depth * shape.block
    output = offsets.output + slot * shape.output_rows

    for row in range(shape.channels):
        copy(memory, inputs + row * stride, memory, state + row * stride, padded)
    for row in range(shape.controls):
        target = inputs + (shape.channels + row) * stride
        copy(memory, target, memory, offsets.control + row * stride, padded)
    for row in range(shape.attributes):
        target = inputs + (shape.channels + shape.controls + row) * stride
        copy(memory, target, memory, offsets.attribute + row * stride, padded)

    # The message is the last input of the mlp: sums over neighbours are written where it is read.
    received = inputs + shape.node_inputs * stride
    if shape.superposed:
        received = offsets.received + slot * shape.message_rows
    if shape.messages == STATE:
        sent = state + shape.channels * stride
        aggregate(shape, memory, received, sent, links, groups, first, last)
    elif shape.messages == EMITTED:
        emitter_inputs = offsets.emitter_inputs + slot * shape.emitter_input_rows
        copy_emitter_inputs(shape, memory, offsets, emitter_inputs, state, padded)
        number = len(layers) - 2
        forward(
            shape, layers, memory, number, len(layers) - number, emitter_inputs, shape.panel, stride,
            offsets.emitter_hidden + slot * shape.block, shape.block, offsets.sent, panels,
        )  # fmt: skip
        aggregate(shape, memory, received, offsets.sent, links, groups, first, last)
    for row in range(shape.message):
        if shape.messages == SELF:
            message = state + (shape.channels + row) * stride
            copy(memory, received + row * stride, memory, message, columns)
        elif shape.messages == ZERO:
            clear(memory, received + row * stride, columns)
    # `neighbour_sum` writes whole vectors: the columns behind the last must be zero again.
    clear_padding(shape, memory, received, shape.message, columns)

    forward(
        shape, layers, memory, shape.zero, shape.depth + 1, inputs, shape.panel, stride,
        hidden, shape.block, output if shape.superposed else slope, panels,
    )  # fmt: skip
    if shape.superposed:
        for i in range(shape.states):
            row = slope + i * stride
            copy(memory, row, memory, output + i * stride, columns)
            for component in range(shape.message):
                gain = output + (shape.states + i * shape.message + component) * stride
                add_product(memory, row, gain, received + component * stride, columns)


@compiled
def superposed_back(shape, memory, offsets, slot, columns):  # type: ignore
    """Adjoint of F + G a: offsets.output_bar and offsets.received_bar from offsets.slope_bar."""
    stride = shape.stride
    output = offsets.output + slot * shape.output_rows
    received = offsets.received + slot * shape.message_rows
    for component in range(shape.message):
        clear(memory, offsets.received_bar + component * stride, columns)
    for i in range(shape.states):
        slope_bar = offsets.slope_bar + i * stride
        copy(memory, offsets.output_bar + i * stride, memory, slope_bar, columns)
        for component in range(shape.message):
            gain = (shape.states + i * shape.message + component) * stride
            gain_bar = offsets.output_bar + gain
            clear(memory, gain_bar, columns)
            add_product(memory, gain_bar, slope_bar, received + component * stride, columns)
            received_bar = offsets.received_bar + component * stride
            add_product(memory, received_bar, slope_bar, output + gain, columns)


@compiled
def field_back(
    shape, layers, memory, offsets, slot, state_bar, columns, links, groups, first, last
):  # type: ignore
    """Rows ``state_bar`` = (d field / dz)' offsets.slope_bar; adds to the gradient sums."""
    noinline()
    panels = (columns + shape.panel - 1) // shape.panel
    stride = shape.stride
    output_bar = offsets.slope_bar
    received_bar = offsets.inputs_bar + shape.node_inputs * stride
    if shape.superposed:
        superposed_back(shape, memory, offsets, slot, columns)
        output_bar, received_bar = offsets.output_bar, offsets.received_bar
    backward(
        shape, layers, memory, offsets, shape.zero, shape.depth + 1,
        offsets.inputs + slot * shape.input_rows, shape.panel, stride,
        offsets.hidden + slot * shape.depth * shape.block, shape.block,
        output_bar, offsets.inputs_bar, panels,
    )  # fmt: skip
    for row in range(shape.channels):
        inputs_bar = offsets.inputs_bar + row * stride
        copy(memory, state_bar + row * stride, memory, inputs_bar, columns)
    # ``links`` are the reversed ones here, so that these are sums over the receivers of a node.
    message_bar = state_bar + shape.channels * stride
    if shape.messages == STATE:
        aggregate(shape, memory, message_bar, received_bar, links, groups, first, last)
    elif shape.messages == EMITTED:
        aggregate(shape, memory, offsets.sent, received_bar, links, groups, first, last)
        clear_padding(shape, memory, offsets.sent, shape.message, columns)
        number = len(layers) - 2
        backward(
            shape, layers, memory, offsets, number, len(layers) - number,
            offsets.emitter_inputs + slot * shape.emitter_input_rows, shape.panel, stride,
            offsets.emitter_hidden + slot * shape.block, shape.block,
            offsets.sent, offsets.emitter_inputs_bar, panels,
        )  # fmt: skip
        # x enters twice: through the mlp and through the message it emits.
        one = memory[offsets.one : offsets.one + 1]
        for row in range(shape.channels):
            emitter_bar = offsets.emitter_inputs_bar + row * stride
            add_scaled(memory, state_bar + row * stride, emitter_bar, one, columns)
    for row in range(shape.carried):
        if shape.messages == SELF:
            received_row = received_bar + row * stride
            copy(memory, message_bar + row * stride, memory, received_row, columns)
        elif shape.messages == ZERO:
            clear(memory, message_bar + row * stride, columns)
