"""Pairwise messages on one tile, and their adjoint.

The first layer of e is split over the ends of an edge: its product with what either end brings is
computed once per node, and an edge adds the two. The output layer is linear, so that the weighted sum
over edges is taken before it, of the last hidden layer and of a row of ones for its bias. Between, an
edge costs one hidden product. Edge columns (evaluation * width + trajectory) are computed in panels
that use the same few buffers: the adjoint computes a panel again instead of reading it.

The layers of each type of nodes stand together. A panel has edges to receivers of one type, and goes
through their layers; either end's product is with the layer of its own type.
"""

from __future__ import annotations

from .layers import (
    BACKWARD,
    BIAS,
    FORWARD,
    INNER,
    ROWS,
    TILE,
    add_scaled,
    bar_of_type,
    clear,
    clear_padding,
    forward_types,
)
from .machine import compiled, exact, noinline, reference
from .past import scale_lanes
from .plan import (
    BLOCK_COLUMN,
    BLOCK_NODES,
    BLOCK_START,
    BLOCK_STEP,
    BLOCK_WIDTH,
    COUNT,
    EDGE,
    EVALUATION,
    FIRST,
    LANE,
    POSITION,
    RECEIVER,
    SECOND,
    TARGET,
)
from .runs import (
    copy_rows,
    gather_sum,
    gather_weighted,
    lane_products,
    panel_sums,
    scatter,
    scatter_weighted,
    tanh_back_panel,
)
from .tanh import tanh_in_place
from .tiles import outer, product, product_tanh_back_unsummed

# Layers of e behind those of the mlp: the receiver's part of the first one, the sender's, that of the
# attributes of an edge; the hidden one; the output with its bias as a column.
OF_EDGE, HIDDEN, OUTPUT = 2, 3, 4


@compiled
def clear_lanes(shape, memory, start, rows, filled):  # type: ignore
    """Lanes of a panel from ``filled`` on become zero."""
    noinline()
    for row in range(rows):
        to = memory[start + row * shape.panel : start + (row + 1) * shape.panel]
        for lane in range(filled, shape.panel):
            to[lane] = 0


@compiled
def expand_attributes(shape, memory, start, pairs, first, last, filled):  # type: ignore
    """Rows of a panel: the attributes of the edge of each lane."""
    noinline()
    count = shape.edge_attributes
    clear_lanes(shape, memory, start, count, filled)
    for run in range(first, last):
        lane = start + pairs.runs[run, LANE]
        edge = pairs.runs[run, EDGE] * count
        for row in range(count):
            value = pairs.attribute[edge + row]
            for column in range(pairs.runs[run, COUNT]):
                memory[lane + row * shape.panel + column] = value


@compiled
def pair_panel(shape, layers, memory, offsets, number, pairs, panel, at):  # type: ignore
    """Both hidden layers of one panel of edge columns, to number ``at`` of the buffers of panels.

    ``number``: first layer of the messages to receivers of this type.

    A row of ones stands behind the second one. Returns the number of lanes in use.
    """
    noinline()
    first, last = pairs.panels[panel], pairs.panels[panel + 1]
    filled = pairs.runs[last - 1, LANE] + pairs.runs[last - 1, COUNT]
    h1 = offsets.pair_hidden_1 + at * shape.pair_panel
    h2 = offsets.pair_hidden_2 + at * shape.pair_panel
    for run in range(first, last):
        gather_sum(
            memory, h1, offsets.pair_first, offsets.pair_second, shape.hidden, pairs.runs, run,
        )  # fmt: skip
    if filled < shape.panel:
        clear_lanes(shape, memory, h1, shape.hidden, filled)
    if shape.edge_attributes:
        attributes = offsets.pair_attributes + at * shape.attribute_panel
        expand_attributes(shape, memory, attributes, pairs, first, last, filled)
        layer = layers[number + OF_EDGE]
        product(
            memory, h2, shape.panel, layer[FORWARD], attributes, shape.panel, shape.hidden,
            shape.edge_attributes,
        )  # fmt: skip
        one = memory[offsets.one : offsets.one + 1]
        add_scaled(memory, h1, h2, one, shape.hidden * shape.panel)
    tanh_in_place(memory, h1, shape.hidden * shape.panel)
    layer = layers[number + HIDDEN]
    product(memory, h2, shape.panel, layer[FORWARD], h1, shape.panel, shape.hidden, shape.hidden)
    tanh_in_place(memory, h2, shape.hidden * shape.panel)
    ones = h2 + shape.hidden * shape.panel
    for lane in range(shape.panel):
        memory[ones + lane] = 1
    return filled


@compiled
def to_blocks(shape, memory, blocks, rows, count, pairs, first, last):  # type: ignore
    """``count`` rows of a tile to the blocks of its nodes."""
    noinline()
    for group in range(first, last):
        start, step = pairs.blocks[group, BLOCK_START], pairs.blocks[group, BLOCK_STEP]
        column, width = pairs.blocks[group, BLOCK_COLUMN], pairs.blocks[group, BLOCK_WIDTH]
        for node in range(pairs.blocks[group, BLOCK_NODES]):
            copy_rows(
                memory, blocks + start + node * shape.block_rows * step, step,
                rows + column + node * width, shape.stride, count, width, step,
            )  # fmt: skip


@compiled
def from_blocks(shape, memory, rows, blocks, count, pairs, first, last, columns):  # type: ignore
    """The blocks of the nodes of a tile to ``count`` rows, zero behind the last column."""
    noinline()
    for group in range(first, last):
        start, step = pairs.blocks[group, BLOCK_START], pairs.blocks[group, BLOCK_STEP]
        column, width = pairs.blocks[group, BLOCK_COLUMN], pairs.blocks[group, BLOCK_WIDTH]
        for node in range(pairs.blocks[group, BLOCK_NODES]):
            copy_rows(
                memory, rows + column + node * width, shape.stride,
                blocks + start + node * shape.block_rows * step, step, count, width, step,
            )  # fmt: skip
    clear_padding(shape, memory, rows, count, columns)


@compiled
def ends(shape, layers, memory, offsets, slot, inputs, segments, pairs, past, tile, first, last):  # type: ignore
    """The first layer's products with what a node brings as receiver and as sender, in blocks."""
    noinline()
    zero = shape.zero
    of_nodes = 2
    if past is not None:
        of_nodes -= past.delayed
        if past.delayed:
            late = reference(past.shape)
            forward_types(
                late, layers, memory, shape.depth + shape.linear + 2, zero + 1,
                offsets.emitter_inputs + slot * late.emitter_input_rows, zero, zero,
                offsets.pair_rows, past.segments, tile,
            )  # fmt: skip
            to_blocks(
                late, memory, offsets.pair_second, offsets.pair_rows, shape.hidden,
                reference(past.pairs), first, last,
            )  # fmt: skip
    for end in range(of_nodes):
        forward_types(
            shape, layers, memory, shape.depth + shape.linear + 1 + end, zero + 1, inputs, zero, zero,
            offsets.pair_rows, segments, tile,
        )  # fmt: skip
        blocks = offsets.pair_first
        if end == 1:
            blocks = offsets.pair_second
        to_blocks(shape, memory, blocks, offsets.pair_rows, shape.hidden, pairs, first, last)


@exact
def keep_largest(shape, memory, received, winner, message, pairs, first, last):  # type: ignore
    """Rows ``received``: the largest weighted message so far, ``winner`` its position."""
    noinline()
    for run in range(first, last):
        weight = pairs.weight[pairs.runs[run, EVALUATION]]
        position = pairs.runs[run, POSITION]
        for row in range(shape.message):
            source = message + row * shape.panel + pairs.runs[run, LANE]
            to = row * shape.stride + pairs.runs[run, TARGET]
            for column in range(pairs.runs[run, COUNT]):
                value = weight * memory[source + column]
                old = memory[received + to + column]
                # nan is the largest number.
                if position == 0 or (old == old and not value <= old):
                    memory[received + to + column] = value
                    memory[winner + to + column] = position


@exact
def largest_back(shape, memory, message_bar, received_bar, winner, pairs, first, last):  # type: ignore
    """Adjoint of `keep_largest` times the weight: rows of a panel."""
    noinline()
    for run in range(first, last):
        weight = pairs.weight[pairs.runs[run, EVALUATION]]
        position = pairs.runs[run, POSITION]
        for row in range(shape.message):
            to = message_bar + row * shape.panel + pairs.runs[run, LANE]
            source = row * shape.stride + pairs.runs[run, TARGET]
            for column in range(pairs.runs[run, COUNT]):
                memory[to + column] = 0
                if memory[winner + source + column] == position:
                    memory[to + column] = weight * memory[received_bar + source + column]


@compiled
def pair_messages(
    shape,
    layers,
    memory,
    offsets,
    slot,
    inputs,
    columns,
    segments,
    pairs,
    past,
    tile,
    group,
    groups,
    interval,
):  # type: ignore
    """Rows offsets.sent: what each node receives of the messages of pairs."""
    noinline()
    ends(shape, layers, memory, offsets, slot, inputs, segments, pairs, past, tile, group, groups)
    zero = shape.zero
    of_type = len(layers) // shape.types
    h2 = offsets.pair_hidden_2
    total = offsets.pair_sum + slot * shape.pair_rows
    winner = offsets.winner + slot * shape.message_rows
    if shape.largest:
        clear(memory, offsets.sent, shape.message * shape.stride)
        clear(memory, winner, shape.message * shape.stride)
    else:
        clear(memory, offsets.pair_total, shape.block_numbers)
    for kind in range(shape.types):
        number = kind * of_type + shape.depth + shape.linear + 1
        layer = layers[number + OUTPUT]
        at = tile * shape.types + kind
        for panel in range(pairs.tiles[at], pairs.tiles[at + 1]):
            first, last = pairs.panels[panel], pairs.panels[panel + 1]
            pair_panel(shape, layers, memory, offsets, number, pairs, panel, zero)
            if past is not None:
                if past.in_time:
                    rows = shape.hidden + 1
                    scale_lanes(
                        shape, memory, offsets, h2, rows, past, pairs, first, last, interval
                    )
            if shape.largest:
                message = offsets.pair_message
                product(
                    memory, message, shape.panel, layer[FORWARD], h2, shape.panel, shape.message,
                    shape.hidden + 1,
                )  # fmt: skip
                keep_largest(shape, memory, offsets.sent, winner, message, pairs, first, last)
            else:
                for run in range(first, last):
                    scatter_weighted(
                        memory, offsets.pair_total, h2, shape.hidden + 1, pairs.runs, run,
                        zero + RECEIVER, pairs.weight,
                    )  # fmt: skip
    if not shape.largest:
        from_blocks(
            shape,
            memory,
            total,
            offsets.pair_total,
            shape.hidden + 1,
            pairs,
            group,
            groups,
            columns,
        )
        forward_types(
            shape, layers, memory, shape.depth + shape.linear + 1 + OUTPUT, zero + 1, total, zero, zero,
            offsets.sent, segments, tile,
        )  # fmt: skip


@exact
def add_runs(memory, to, lanes, pairs, first, last):  # type: ignore
    """Sums over the lanes of each run, added to the number of its edge."""
    noinline()
    for run in range(first, last):
        start = lanes + pairs.runs[run, LANE]
        total = memory[start]
        for column in range(1, pairs.runs[run, COUNT]):
            total += memory[start + column]
        memory[to + pairs.runs[run, EDGE]] += total


@compiled
def scatter_runs(memory, to, source, rows, pairs, first, last, end):  # type: ignore
    """Rows of a panel added to the blocks of the nodes ``end`` of its runs."""
    noinline()
    for run in range(first, last):
        scatter(memory, to, source, rows, pairs.runs, run, end, pairs.weight)


@compiled
def panel_back(
    shape, layers, memory, offsets, slot, received_bar, number, pairs, past, panel, at, interval
):  # type: ignore
    """Adjoint of one panel: from what nodes receive to the rows of both ends.

    ``number`` as in `pair_panel`.
    """
    noinline()
    zero = shape.zero
    first, last = pairs.panels[panel], pairs.panels[panel + 1]
    filled = pair_panel(shape, layers, memory, offsets, number, pairs, panel, at)
    h1 = offsets.pair_hidden_1 + at * shape.pair_panel
    h2 = offsets.pair_hidden_2 + at * shape.pair_panel
    bar_1 = offsets.pair_bar_1 + at * shape.pair_panel
    bar_2 = offsets.pair_bar_2 + at * shape.pair_panel
    if shape.largest:
        layer = layers[number + OUTPUT]
        message_bar = offsets.pair_message + at * shape.message_panel
        clear_lanes(shape, memory, message_bar, shape.message, filled)
        largest_back(
            shape, memory, message_bar, received_bar, offsets.winner + slot * shape.message_rows,
            pairs, first, last,
        )  # fmt: skip
        product(
            memory, bar_2, shape.panel, layer[BACKWARD], message_bar, shape.panel,
            shape.hidden + 1, shape.message,
        )  # fmt: skip
    else:
        for run in range(first, last):
            gather_weighted(
                memory, bar_2, offsets.pair_total, shape.hidden + 1, pairs.runs, run,
                zero + RECEIVER, pairs.weight,
            )  # fmt: skip
        if filled < shape.panel:
            clear_lanes(shape, memory, bar_2, shape.hidden + 1, filled)
    if past is not None:
        if past.in_time:
            rows = shape.hidden + 1
            scale_lanes(shape, memory, offsets, bar_2, rows, past, pairs, first, last, interval)
    if shape.learned:
        lane_products(memory, bar_1, bar_2, h2, shape.hidden + 1)
        add_runs(memory, offsets.edge_bar, bar_1, pairs, first, last)
    tanh_back_panel(memory, bar_2, h2, shape.hidden)
    layer = layers[number + HIDDEN]
    product_tanh_back_unsummed(
        memory, bar_1, h1, layer[BACKWARD], bar_2, shape.panel, shape.hidden, shape.hidden,
        shape.panel,
    )  # fmt: skip
    scatter_runs(
        memory, offsets.pair_first_bar, bar_1, shape.hidden, pairs, first, last, zero + FIRST
    )
    scatter_runs(
        memory, offsets.pair_second_bar, bar_1, shape.hidden, pairs, first, last, zero + SECOND
    )


@compiled
def linear_back(shape, layers, memory, offsets, number, biased, x, y_bar, x_bar, segments, tile):  # type: ignore
    """Adjoint of one linear layer of each type of nodes on rows of a tile.

    ``number`` counts from the first layer of a type; its bias counts where ``biased`` is 1.
    """
    noinline()
    of_type = len(layers) // shape.types
    for kind in range(shape.types):
        layer = layers[kind * of_type + number]
        start, stop = segments[tile, kind], segments[tile, kind + 1]
        panels = (stop - start + shape.panel - 1) // shape.panel
        bar = y_bar + start
        if shape.types > 1:
            bar = bar_of_type(shape, memory, offsets, y_bar, layer[ROWS], start, stop)
        if biased:
            panel_sums(memory, layer[BIAS], bar, shape.stride, shape.panel, layer[ROWS], panels)
        for panel in range(panels):
            column = panel * shape.panel
            product(
                memory, x_bar + start + column, shape.stride, layer[BACKWARD], bar + column,
                shape.stride, layer[INNER], layer[ROWS],
            )  # fmt: skip
        outer(
            memory, layer[TILE], bar, shape.stride, shape.panel, x + start, shape.stride,
            shape.panel, layer[ROWS], layer[INNER], panels,
        )  # fmt: skip


@compiled
def panels_back(
    shape,
    layers,
    memory,
    offsets,
    slot,
    received_bar,
    number,
    pairs,
    past,
    start,
    stop,
    interval,
):  # type: ignore
    """Adjoint of the panels of receivers of one type, whose layers begin with ``number``."""
    noinline()
    while start < stop:
        count = min(shape.chunk, stop - start)
        for at in range(count):
            panel_back(
                shape, layers, memory, offsets, slot, received_bar, number, pairs, past, start + at,
                at, interval,
            )  # fmt: skip
        # Tiles of weight gradients stay in registers for several panels.
        outer(
            memory, layers[number + HIDDEN, TILE], offsets.pair_bar_2, shape.panel,
            shape.pair_panel, offsets.pair_hidden_1, shape.panel, shape.pair_panel,
            shape.hidden, shape.hidden, count,
        )  # fmt: skip
        # The bias of the first layer is that of the receiver's part, summed with its rows.
        panel_sums(
            memory, layers[number + HIDDEN, BIAS], offsets.pair_bar_2, shape.panel,
            shape.pair_panel, shape.hidden, count,
        )  # fmt: skip
        if shape.edge_attributes:
            outer(
                memory, layers[number + OF_EDGE, TILE], offsets.pair_bar_1, shape.panel,
                shape.pair_panel, offsets.pair_attributes, shape.panel, shape.attribute_panel,
                shape.hidden, shape.edge_attributes, count,
            )  # fmt: skip
        if shape.largest:
            outer(
                memory, layers[number + OUTPUT, TILE], offsets.pair_message, shape.panel,
                shape.message_panel, offsets.pair_hidden_2, shape.panel, shape.pair_panel,
                shape.message, shape.hidden + 1, count,
            )  # fmt: skip
        start += count


@compiled
def pair_back(
    shape,
    layers,
    memory,
    offsets,
    slot,
    received_bar,
    state_bar,
    columns,
    segments,
    pairs,
    past,
    tile,
    group,
    groups,
    interval,
):  # type: ignore
    """Adjoint of `pair_messages`: adds to rows ``state_bar`` and to the gradient sums.

    The cotangents of delayed senders are left in rows offsets.emitter_inputs_bar.
    """
    noinline()
    stride = shape.stride
    zero = shape.zero
    number = shape.depth + shape.linear + 1
    of_type = len(layers) // shape.types
    inputs = offsets.inputs + slot * shape.input_rows
    ends(shape, layers, memory, offsets, slot, inputs, segments, pairs, past, tile, group, groups)
    clear(memory, offsets.pair_first_bar, shape.block_numbers)
    clear(memory, offsets.pair_second_bar, shape.block_numbers)
    of_nodes = 2
    if past is not None:
        of_nodes -= past.delayed
        if past.delayed:
            clear(memory, offsets.pair_second_bar, past.shape.block_numbers)
    if not shape.largest:
        linear_back(
            shape, layers, memory, offsets, number + OUTPUT, zero,
            offsets.pair_sum + slot * shape.pair_rows, received_bar, offsets.pair_rows, segments,
            tile,
        )  # fmt: skip
        to_blocks(
            shape, memory, offsets.pair_total, offsets.pair_rows, shape.hidden + 1, pairs, group,
            groups,
        )  # fmt: skip
    for kind in range(shape.types):
        at = tile * shape.types + kind
        panels_back(
            shape, layers, memory, offsets, slot, received_bar, kind * of_type + number, pairs,
            past, pairs.tiles[at], pairs.tiles[at + 1], interval,
        )  # fmt: skip
    one = memory[offsets.one : offsets.one + 1]
    for end in range(of_nodes):
        bars = offsets.pair_first_bar
        if end == 1:
            bars = offsets.pair_second_bar
        rows = offsets.pair_rows
        from_blocks(shape, memory, rows, bars, shape.hidden, pairs, group, groups, columns)
        # Only the receiver's part has a bias.
        linear_back(
            shape, layers, memory, offsets, number + end, zero + 1 - end, inputs, rows,
            offsets.emitter_inputs_bar, segments, tile,
        )  # fmt: skip
        for row in range(shape.channels):
            inputs_bar = offsets.emitter_inputs_bar + row * stride
            add_scaled(memory, state_bar + row * stride, inputs_bar, one, columns)
    # Last, since these rows of bars are read by the caller.
    if past is not None:
        if past.delayed:
            late = reference(past.shape)
            late_columns = past.columns[tile]
            rows = offsets.pair_rows
            from_blocks(
                late, memory, rows, offsets.pair_second_bar, shape.hidden, reference(past.pairs),
                group, groups, late_columns,
            )  # fmt: skip
            linear_back(
                late, layers, memory, offsets, number + 1, zero,
                offsets.emitter_inputs + slot * late.emitter_input_rows, rows,
                offsets.emitter_inputs_bar, past.segments, tile,
            )  # fmt: skip
