"""The vector field on one tile, and its adjoint.

All buffers of a tile, the packed weights and the gradient sums lie in one array ``memory``;
``offsets`` (`space.Offsets`) holds where each starts. One array instead of thirty is what keeps
compilation short. ``layers`` is the table of `weights.Packing`; ``links`` the senders of
`sweep.Links`, forward or reversed; ``pairs`` is None or `sweep.Pairs`; ``groups[first:last]`` the rows of
`plan.Plan.groups` of the tile, ``segments`` those of `plan.Plan`.
"""

from __future__ import annotations

from .layers import (
    add_product,
    add_scaled,
    backward,
    backward_types,
    clear,
    clear_padding,
    copy,
    forward,
    forward_types,
)
from .machine import compiled, exact, noinline, reference
from .pairs import pair_back, pair_messages
from .past import gather_past, receive, receive_back, scatter_past
from .plan import COLUMN, NODES, ROW, SOURCE, STRIDE, TILE, WIDTH
from .tiles import inner_product, neighbour_sum

# Kinds of messages, as in `space.MESSAGES`.
ZERO, SELF, STATE, EMITTED, PAIRWISE = 0, 1, 2, 3, 4


@compiled
def aggregate(shape, memory, received, sent, links, groups, first, last):  # type: ignore
    """Weighted sums over neighbours, row by row in ascending columns (see `neighbour_sum`)."""
    noinline()
    for component in range(shape.message):
        for group in range(first, last):
            width = groups[group, WIDTH]
            base = component * shape.stride + groups[group, COLUMN]
            source = component * shape.stride + groups[group, SOURCE]
            step, row = groups[group, STRIDE], groups[group, ROW]
            for node in range(groups[group, NODES]):
                neighbour_sum(
                    memory, received + base + node * width, sent + source, step, width,
                    links.pointer, row + node, links.sender, links.weight,
                )  # fmt: skip


@exact
def aggregate_largest(shape, memory, received, winner, sent, links, groups, first, last):  # type: ignore
    """The largest weighted message of each node; rows ``winner`` keep its number among the node's."""
    noinline()
    for component in range(shape.message):
        for group in range(first, last):
            width = groups[group, WIDTH]
            base = component * shape.stride + groups[group, COLUMN]
            start = component * shape.stride + groups[group, SOURCE]
            for node in range(groups[group, NODES]):
                to = base + node * width
                row = groups[group, ROW] + node
                for column in range(width):
                    memory[received + to + column] = 0
                for edge in range(links.pointer[row], links.pointer[row + 1]):
                    position = links.position[edge]
                    weight = links.weight[edge]
                    source = sent + start + links.sender[edge] * groups[group, STRIDE]
                    for column in range(width):
                        value = weight * memory[source + column]
                        old = memory[received + to + column]
                        # nan is the largest number.
                        if position == 0 or (old == old and not value <= old):
                            memory[received + to + column] = value
                            memory[winner + to + column] = position


@exact
def aggregate_largest_back(
    shape, memory, sent_bar, received_bar, winner, links, groups, first, last
):  # type: ignore
    """Adjoint of `aggregate_largest`; ``links`` are the reversed ones."""
    noinline()
    for component in range(shape.message):
        for group in range(first, last):
            width = groups[group, WIDTH]
            base = component * shape.stride + groups[group, COLUMN]
            start = component * shape.stride + groups[group, SOURCE]
            for node in range(groups[group, NODES]):
                to = sent_bar + base + node * width
                row = groups[group, ROW] + node
                for column in range(width):
                    memory[to + column] = 0
                for edge in range(links.pointer[row], links.pointer[row + 1]):
                    weight = links.weight[edge]
                    source = start + links.sender[edge] * groups[group, STRIDE]
                    for column in range(width):
                        if memory[winner + source + column] == links.position[edge]:
                            memory[to + column] += weight * memory[received_bar + source + column]


@exact
def edges_back(shape, memory, offsets, sent, received_bar, winner, links, groups, first, last):  # type: ignore
    """Adds to offsets.edge_bar the gradient with respect to the logarithms of the weights of edges.

    ``links`` are the reversed ones.
    """
    noinline()
    for group in range(first, last):
        width = groups[group, WIDTH]
        base = groups[group, COLUMN]
        for node in range(groups[group, NODES]):
            row = groups[group, ROW] + node
            for edge in range(links.pointer[row], links.pointer[row + 1]):
                here = base + node * width
                there = base + links.sender[edge] * width
                total = memory[offsets.one] - memory[offsets.one]
                if shape.largest == 0:
                    total = inner_product(
                        memory,
                        received_bar + there,
                        sent + here,
                        shape.stride,
                        shape.message,
                        width,
                    )
                else:
                    for component in range(shape.message):
                        start = component * shape.stride
                        for column in range(start, start + width):
                            if memory[winner + there + column] == links.position[edge]:
                                of_message = memory[sent + here + column]
                                total += memory[received_bar + there + column] * of_message
                memory[offsets.edge_bar + links.number[edge]] += links.weight[edge] * total


@compiled
def copy_emitter_inputs(shape, memory, offsets, target, x, padded):  # type: ignore
    """Rows [x; b] at ``target``: the inputs of the emitter and of the first message."""
    for row in range(shape.channels):
        copy(memory, target + row * shape.stride, memory, x + row * shape.stride, padded)
    for row in range(shape.attributes):
        attribute = offsets.attribute + row * shape.stride
        copy(memory, target + (shape.channels + row) * shape.stride, memory, attribute, padded)


@compiled
def field(
    shape, layers, memory, offsets, slot, slope, columns, segments, links, pairs, past, groups,
    first, last, interval, start, stage,
):  # type: ignore  # fmt: skip
    """Rows ``slope`` = dz/dt at rows offsets.stage_state; ``slot`` keeps what the adjoint needs.

    ``start``: where the state at the beginning of the step lies, ``stage`` counts through its substeps.
    """
    noinline()
    padded = (columns + shape.panel - 1) // shape.panel * shape.panel + shape.spare
    stride = shape.stride
    tile = groups[first, TILE]
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
    # Kept for each stage where the gradient of learned weights needs what was sent.
    sent = offsets.sent + slot * shape.sent_rows
    if shape.messages == STATE:
        if shape.sent_rows:
            for row in range(shape.message):
                message = state + (shape.channels + row) * stride
                copy(memory, sent + row * stride, memory, message, columns)
        else:
            sent = state + shape.channels * stride
    delayed = shape.zero
    if past is not None:
        delayed = past.delayed
        if past.delayed:
            late = reference(past.shape)
            late_columns = past.columns[tile]
            late_panels = (late_columns + late.panel - 1) // late.panel
            late_inputs = offsets.emitter_inputs + slot * late.emitter_input_rows
            gather_past(
                shape, memory, offsets, past, late_inputs, start, stage, late_columns, groups,
                first, last,
            )  # fmt: skip
            if shape.messages == EMITTED:
                number = len(layers) - 2
                forward(
                    late, layers, memory, number, len(layers) - number, late_inputs, late.panel,
                    late.stride, offsets.emitter_hidden + slot * late.block, late.block, sent,
                    late_panels,
                )  # fmt: skip
    if shape.messages == EMITTED and delayed == 0:
        emitter_inputs = offsets.emitter_inputs + slot * shape.emitter_input_rows
        if shape.sender_controls:
            emitter_inputs = inputs
        else:
            copy_emitter_inputs(shape, memory, offsets, emitter_inputs, state, padded)
        number = len(layers) // shape.types - 2
        forward_types(
            shape, layers, memory, number, shape.zero + 2, emitter_inputs,
            offsets.emitter_hidden + slot * shape.block, shape.block, sent, segments, tile,
        )  # fmt: skip
    # None for models that need none of this: numba leaves its code out, a third of the time to compile.
    if pairs is not None:
        if shape.messages == PAIRWISE:
            pair_messages(
                shape, layers, memory, offsets, slot, inputs, columns, segments, pairs, past, tile,
                first, last, interval,
            )  # fmt: skip
            if not shape.added:
                for row in range(shape.message):
                    copy(memory, received + row * stride, memory, sent + row * stride, columns)
        elif shape.largest and (shape.messages == STATE or shape.messages == EMITTED):
            winner = offsets.winner + slot * shape.message_rows
            aggregate_largest(shape, memory, received, winner, sent, links, groups, first, last)
    if shape.largest == 0 and (shape.messages == STATE or shape.messages == EMITTED):
        if past is not None:
            receive(
                shape, memory, past, received, sent, links, groups, first, last, interval,
            )  # fmt: skip
        else:
            aggregate(shape, memory, received, sent, links, groups, first, last)
    for row in range(shape.message):
        if shape.messages == SELF:
            message = state + (shape.channels + row) * stride
            copy(memory, received + row * stride, memory, message, columns)
        elif shape.messages == ZERO:
            clear(memory, received + row * stride, columns)
    # `neighbour_sum` writes whole vectors: the columns behind the last must be zero again.
    if not shape.added:
        clear_padding(shape, memory, received, shape.message, columns)

    forward_types(
        shape, layers, memory, shape.zero, shape.depth + 1, inputs, hidden, shape.block,
        output if shape.superposed else slope, segments, tile,
    )  # fmt: skip
    if shape.superposed:
        for i in range(shape.states):
            row = slope + i * stride
            copy(memory, row, memory, output + i * stride, columns)
            for component in range(shape.message):
                gain = output + (shape.states + i * shape.message + component) * stride
                add_product(memory, row, gain, received + component * stride, columns)
    if shape.linear:
        forward_types(
            shape, layers, memory, shape.depth + 1, shape.zero + 1, inputs, hidden, shape.zero,
            offsets.linear, segments, tile,
        )  # fmt: skip
        one = memory[offsets.one : offsets.one + 1]
        for row in range(shape.states):
            add_scaled(memory, slope + row * stride, offsets.linear + row * stride, one, columns)
    if shape.added:
        one = memory[offsets.one : offsets.one + 1]
        for row in range(shape.message):
            add_scaled(memory, slope + row * stride, sent + row * stride, one, columns)


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
    shape, layers, memory, offsets, slot, state_bar, columns, segments, links, pairs, past, groups,
    first, last, interval, start, stage,
):  # type: ignore  # fmt: skip
    """Rows ``state_bar`` = (d field / dz)' offsets.slope_bar; adds to the gradient sums."""
    noinline()
    stride = shape.stride
    tile = groups[first, TILE]
    output_bar = offsets.slope_bar
    received_bar = offsets.inputs_bar + shape.node_inputs * stride
    if shape.superposed:
        superposed_back(shape, memory, offsets, slot, columns)
        output_bar, received_bar = offsets.output_bar, offsets.received_bar
    if shape.added:
        received_bar = offsets.slope_bar
    backward_types(
        shape, layers, memory, offsets, shape.zero, shape.depth + 1,
        offsets.inputs + slot * shape.input_rows,
        offsets.hidden + slot * shape.depth * shape.block, shape.block,
        output_bar, offsets.inputs_bar, segments, tile,
    )  # fmt: skip
    if shape.linear:
        backward_types(
            shape, layers, memory, offsets, shape.depth + 1, shape.zero + 1,
            offsets.inputs + slot * shape.input_rows,
            offsets.hidden + slot * shape.depth * shape.block, shape.zero,
            offsets.slope_bar, offsets.linear_bar, segments, tile,
        )  # fmt: skip
        one = memory[offsets.one : offsets.one + 1]
        for row in range(shape.inputs):
            linear_bar = offsets.linear_bar + row * stride
            add_scaled(memory, offsets.inputs_bar + row * stride, linear_bar, one, columns)
    for row in range(shape.channels):
        inputs_bar = offsets.inputs_bar + row * stride
        copy(memory, state_bar + row * stride, memory, inputs_bar, columns)
    for row in range(shape.coded):
        # The last inputs of the node itself.
        inputs_bar = offsets.inputs_bar + (shape.node_inputs - shape.coded + row) * stride
        one = memory[offsets.one : offsets.one + 1]
        add_scaled(memory, offsets.attribute_bar + row * stride, inputs_bar, one, columns)
    # ``links`` are the reversed ones here, so that these are sums over the receivers of a node.
    message_bar = state_bar + shape.channels * stride
    if shape.messages == STATE or shape.messages == EMITTED:
        sent_bar = message_bar
        if shape.messages == EMITTED:
            sent_bar = offsets.sent_bar
        if shape.largest == 0:
            if past is not None:
                receive_back(
                    shape, memory, past, sent_bar, received_bar, links, groups, first, last,
                    interval,
                )  # fmt: skip
            else:
                aggregate(shape, memory, sent_bar, received_bar, links, groups, first, last)
        if pairs is not None:
            winner = offsets.winner + slot * shape.message_rows
            sent = offsets.sent + slot * shape.sent_rows
            if shape.largest:
                aggregate_largest_back(
                    shape, memory, sent_bar, received_bar, winner, links, groups, first, last
                )
            if shape.learned:
                edges_back(
                    shape, memory, offsets, sent, received_bar, winner, links, groups, first, last
                )
    delayed = shape.zero
    if past is not None:
        delayed = past.delayed
        if past.delayed and shape.messages == EMITTED:
            late = reference(past.shape)
            late_columns = past.columns[tile]
            clear_padding(late, memory, offsets.sent_bar, shape.message, late_columns)
            number = len(layers) - 2
            backward(
                late, layers, memory, offsets, number, len(layers) - number,
                offsets.emitter_inputs + slot * late.emitter_input_rows, late.panel, late.stride,
                offsets.emitter_hidden + slot * late.block, late.block, offsets.sent_bar,
                offsets.emitter_inputs_bar, (late_columns + late.panel - 1) // late.panel,
            )  # fmt: skip
            scatter_past(
                shape, memory, offsets, past, offsets.emitter_inputs_bar, state_bar, start, stage,
                groups, first, last,
            )  # fmt: skip
    if shape.messages == EMITTED and delayed == 0:
        clear_padding(shape, memory, offsets.sent_bar, shape.message, columns)
        emitter_inputs = offsets.emitter_inputs + slot * shape.emitter_input_rows
        if shape.sender_controls:
            emitter_inputs = offsets.inputs + slot * shape.input_rows
        number = len(layers) // shape.types - 2
        backward_types(
            shape, layers, memory, offsets, number, shape.zero + 2, emitter_inputs,
            offsets.emitter_hidden + slot * shape.block, shape.block,
            offsets.sent_bar, offsets.emitter_inputs_bar, segments, tile,
        )  # fmt: skip
        # x enters twice: through the mlp and through the message it emits.
        one = memory[offsets.one : offsets.one + 1]
        for row in range(shape.channels):
            emitter_bar = offsets.emitter_inputs_bar + row * stride
            add_scaled(memory, state_bar + row * stride, emitter_bar, one, columns)
    if pairs is not None:
        if shape.messages == PAIRWISE:
            pair_back(
                shape, layers, memory, offsets, slot, received_bar, state_bar, columns, segments,
                pairs, past, tile, first, last, interval,
            )  # fmt: skip
            if past is not None:
                if past.delayed:
                    scatter_past(
                        shape, memory, offsets, past, offsets.emitter_inputs_bar, state_bar, start,
                        stage, groups, first, last,
                    )  # fmt: skip
    for row in range(shape.carried):
        if shape.messages == SELF:
            received_row = received_bar + row * stride
            copy(memory, message_bar + row * stride, memory, received_row, columns)
        elif shape.messages == ZERO:
            clear(memory, message_bar + row * stride, columns)
