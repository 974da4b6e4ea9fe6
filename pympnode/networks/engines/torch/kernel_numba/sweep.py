"""Time steps on the tiles of a batch: forward, loss, and backward."""

from __future__ import annotations

from typing import NamedTuple

from numpy.typing import NDArray

from .field import copy_emitter_inputs, field, field_back
from .layers import add_scaled, backward_types, clear, clear_padding, copy, forward_types
from .machine import compiled, entry, exact, noinline, reference
from .plan import BATCH_COLUMN, BATCH_WIDTH, COLUMN, NODES, WIDTH


class Data(NamedTuple):
    """A window as flat arrays (those that are absent are empty) and the method of its steps.

    ``target``: data of the loss, or the gradient of the output where `space.Shape.pullback` is 1.
    ``step`` (steps, stages + stages^2): dt b, dt a. ``first`` and ``inside``: those of
    `tableaux.Steps`. ``constants``: 1, 1/2 and the factor of the cotangents of the states.
    ``attribute_bar`` receives the gradient of the last attributes.
    Numbers that enter arithmetic come in arrays of the working dtype: a literal would make it double
    precision.
    """

    initial: NDArray
    target: NDArray
    control: NDArray
    attribute: NDArray
    mask: NDArray
    step: NDArray
    first: NDArray
    inside: NDArray
    constants: NDArray
    attribute_bar: NDArray


class Pairs(NamedTuple):
    """Edge columns of each tile (`plan.Runs`), factors of evaluations and attributes of edges."""

    blocks: NDArray
    runs: NDArray
    panels: NDArray
    tiles: NDArray
    weight: NDArray
    attribute: NDArray


class Past(NamedTuple):
    """Delays of messages and weights that vary in time, for models that have either (`plan.Senders`).

    ``delayed``, ``in_time``, ``learned``: 0 or 1. ``interval`` (stages * delays,): the interval of the
    delayed time, counted from that of the step, 1 where there is no delay; ``blend`` (stages * delays *
    4,): weights of both states and slopes; ``slopes``: their derivatives by the delay. ``weight``: the
    factors of edges in each interval; ``run_weight`` (runs,): where a run's weights begin in it.
    ``shape``: sizes of the columns of senders, and ``pairs`` with their blocks.
    """

    delayed: int
    in_time: int
    learned: int
    delays: int
    prefix: int
    groups: NDArray
    columns: NDArray
    segments: NDArray
    node: NDArray
    delay: NDArray
    interval: NDArray
    blend: NDArray
    slopes: NDArray
    history: NDArray
    history_slopes: NDArray
    weight: NDArray
    edge_columns: int
    run_weight: NDArray
    shape: NamedTuple
    pairs: Pairs


class Links(NamedTuple):
    """Senders of each row, with their factors and numbers (`plan.Plan`)."""

    pointer: NDArray
    sender: NDArray
    weight: NDArray
    number: NDArray
    position: NDArray


class Tiles(NamedTuple):
    """The groups of each tile, and the columns of each type of nodes (`plan.Plan`)."""

    groups: NDArray
    first: NDArray
    columns: NDArray
    segments: NDArray


@compiled
def copy_in(shape, memory, target, source, source_start, rows, tiles, tile):  # type: ignore
    """Rows of the batch, from ``source_start`` in ``source`` on, to rows of a tile."""
    noinline()
    groups = tiles.groups
    for group in range(tiles.first[tile], tiles.first[tile + 1]):
        width, column = groups[group, WIDTH], groups[group, COLUMN]
        batch_column, batch_width = groups[group, BATCH_COLUMN], groups[group, BATCH_WIDTH]
        for row in range(rows):
            for node in range(groups[group, NODES]):
                to = target + row * shape.stride + column + node * width
                start = source_start + row * shape.total + batch_column + node * batch_width
                copy(memory, to, source, start, width)


@compiled
def copy_out(shape, memory, state, rows, out, out_start, tiles, tile):  # type: ignore
    """``rows`` of a tile's ``state`` to rows of the batch, from ``out_start`` in ``out`` on."""
    groups = tiles.groups
    for group in range(tiles.first[tile], tiles.first[tile + 1]):
        width, column = groups[group, WIDTH], groups[group, COLUMN]
        batch_column, batch_width = groups[group, BATCH_COLUMN], groups[group, BATCH_WIDTH]
        for row in range(rows):
            for node in range(groups[group, NODES]):
                start = state + row * shape.stride + column + node * width
                to = out_start + row * shape.total + batch_column + node * batch_width
                copy(out, to, memory, start, width)


@compiled
def begin_past(shape, memory, offsets, past, steps, tiles, tile):  # type: ignore
    """States and slopes before the first of a tile; cotangents of all that are kept become zero."""
    noinline()
    rows = shape.state_rows
    before = past.prefix * rows
    clear(memory, offsets.states - before, before)
    clear(memory, offsets.past_slopes - before, before)
    for time in range(past.prefix):
        source = time * shape.channels * shape.total
        to = offsets.states - before + time * rows
        copy_in(shape, memory, to, past.history, source, shape.channels, tiles, tile)
        to = offsets.past_slopes - before + time * rows
        copy_in(shape, memory, to, past.history_slopes, source, shape.channels, tiles, tile)
    if shape.backward:
        clear(memory, offsets.past_bar, (steps + 1) * rows)
        clear(memory, offsets.past_slope_bar, (steps + 1) * rows)


@compiled
def begin(shape, layers, memory, offsets, data, tiles, tile):  # type: ignore
    """Initial state of a tile, first message included, and inputs that are constant in time."""
    noinline()
    columns = tiles.columns[tile]
    padded = (columns + shape.panel - 1) // shape.panel * shape.panel + shape.spare
    # Unused columns stay zero from here on, and so add nothing to the gradient.
    clear(memory, offsets.zeroed, offsets.zeroed_end - offsets.zeroed)
    clear(memory, offsets.states, shape.states * shape.stride)
    memory[offsets.one] = data.constants[0]
    zero = shape.zero
    copy_in(shape, memory, offsets.attribute, data.attribute, zero, shape.attributes, tiles, tile)
    copy_in(shape, memory, offsets.states, data.initial, zero, shape.channels, tiles, tile)
    if shape.first:
        message = offsets.states + shape.channels * shape.stride
        inputs = offsets.first_inputs
        copy_emitter_inputs(shape, memory, offsets, inputs, offsets.states, padded)
        forward_types(
            shape, layers, memory, len(layers) // shape.types - shape.first, shape.first, inputs,
            offsets.first_hidden, shape.block, message, tiles.segments, tile,
        )  # fmt: skip
        clear_padding(shape, memory, message, shape.carried, columns)


@compiled
def step(
    shape, layers, memory, offsets, data, links, pairs, past, tiles, tile, number, state, slot
):  # type: ignore
    """Step ``number`` from ``state``: states at its times behind it, stages from ``slot`` on."""
    noinline()
    first, last = tiles.first[tile], tiles.first[tile + 1]
    columns = tiles.columns[tile]
    stages = shape.stages
    start, stop = data.first[number], data.first[number + 1]
    after = state + (stop - start) * shape.state_rows
    control = start * shape.controls * shape.total
    copy_in(shape, memory, offsets.control, data.control, control, shape.controls, tiles, tile)
    copy(memory, after, memory, state, shape.states * shape.stride)
    for substep in range(shape.substeps):
        for i in range(stages):
            # Row by row: a row of a tile stays in the first cache while all slopes are added to it.
            for component in range(shape.states):
                row = component * shape.stride
                copy(memory, offsets.stage_state + row, memory, after + row, columns)
                for j in range(i):
                    a = stages + i * stages + j
                    if data.step[number, a] != 0:
                        slope = offsets.slopes + j * shape.state_rows + row
                        factor = data.step[number, a : a + 1]
                        add_scaled(memory, offsets.stage_state + row, slope, factor, columns)
            slope = offsets.slopes + i * shape.state_rows
            field(
                shape, layers, memory, offsets, slot, slope, columns, tiles.segments, links, pairs,
                past, tiles.groups, first, last, start, state, substep * stages + i,
            )  # fmt: skip
            slot += 1
            if past is not None:
                if past.delayed and substep + i == 0:
                    kept = offsets.past_slopes + state - offsets.states
                    copy(memory, kept, memory, slope, shape.states * shape.stride)
        for inner in range(start, stop - 1):  # one substep then
            inside = state + (inner + 1 - start) * shape.state_rows
            copy(memory, inside, memory, state, shape.states * shape.stride)
            for i in range(stages):
                slope = offsets.slopes + i * shape.state_rows
                factor = data.inside[inner, i : i + 1]
                for component in range(shape.states):
                    row = component * shape.stride
                    add_scaled(memory, inside + row, slope + row, factor, columns)
        for component in range(shape.states):
            row = component * shape.stride
            for i in range(stages):
                slope = offsets.slopes + i * shape.state_rows + row
                add_scaled(memory, after + row, slope, data.step[number, i : i + 1], columns)


@exact
def huber_terms(memory, state, clamped, terms, data, target, count, masked):  # type: ignore
    """Huber loss (delta 1) of each of ``count`` columns, to ``terms``.

    ``clamped`` receives the residual within [-1, 1], which is the derivative.
    """
    noinline()
    one, half = data.constants[0], data.constants[1]
    x = memory[state : state + count]
    y = data.target[target : target + count]
    slope = memory[clamped : clamped + count]
    term = memory[terms : terms + count]
    for c in range(count):
        residual = x[c] - y[c]
        inside = min(max(residual, -one), one)
        slope[c] = inside
        term[c] = inside * (residual - half * inside)
    if masked:
        mask = data.mask[target : target + count]
        for c in range(count):
            term[c] *= mask[c]
            slope[c] *= mask[c]


@exact
def sum_of(memory, start, count):  # type: ignore
    """Sum of ``count`` numbers as a float64 number."""
    noinline()
    values = memory[start : start + count]
    # Four sums in a fixed order: one alone would wait for every addition before the next.
    sum_0, sum_1, sum_2, sum_3 = 0.0, 0.0, 0.0, 0.0
    whole = count - count % 4
    for c in range(0, whole, 4):
        sum_0 += values[c]
        sum_1 += values[c + 1]
        sum_2 += values[c + 2]
        sum_3 += values[c + 3]
    for c in range(whole, count):
        sum_0 += values[c]
    return (sum_0 + sum_1) + (sum_2 + sum_3)


@exact
def compare(shape, memory, offsets, data, tiles, tile, time, state, state_bar):  # type: ignore
    """Sum of the Huber loss of a tile at one time; its gradient is added to rows ``state_bar``.

    Where the target is the gradient of the output, that is added and the loss is zero.
    """
    noinline()
    loss = 0.0
    columns = tiles.columns[tile]
    groups = tiles.groups
    # The stage state is not in use between two steps.
    clamped, terms = offsets.stage_state, offsets.stage_state + shape.stride
    for channel in range(shape.channels):
        row = channel * shape.stride
        for group in range(tiles.first[tile], tiles.first[tile + 1]):
            width = groups[group, WIDTH]
            for node in range(groups[group, NODES]):
                column = groups[group, COLUMN] + node * width
                # Targets stay in the layout of the batch: they are read once, and a copy would read them twice.
                target = (time * shape.channels + channel) * shape.total
                target += groups[group, BATCH_COLUMN] + node * groups[group, BATCH_WIDTH]
                if shape.pullback:
                    copy(memory, clamped + column, data.target, target, width)
                else:
                    huber_terms(
                        memory, state + row + column, clamped + column, terms + column,
                        data, target, width, shape.masked,
                    )  # fmt: skip
        if not shape.pullback:
            loss += sum_of(memory, terms, columns)
        if shape.backward:
            add_scaled(memory, state_bar + row, clamped, data.constants[2:3], columns)
    return loss


@exact
def step_back(
    shape, layers, memory, offsets, data, links, pairs, past, tiles, tile, number, state, slot
):  # type: ignore
    """The adjoint after a step becomes the adjoint before it; returns the loss at its times."""
    noinline()
    first, last = tiles.first[tile], tiles.first[tile + 1]
    columns = tiles.columns[tile]
    stages = shape.stages
    start, stop = data.first[number], data.first[number + 1]
    one = memory[offsets.one : offsets.one + 1]
    after = state + (stop - start) * shape.state_rows
    loss = compare(shape, memory, offsets, data, tiles, tile, stop, after, offsets.adjoint)
    if past is not None:
        if past.delayed:
            later = offsets.past_bar + after - offsets.states
            for component in range(shape.states):
                row = component * shape.stride
                add_scaled(memory, offsets.adjoint + row, later + row, one, columns)
    several = stop - start > 1
    if several:
        clear(memory, offsets.inside_bar, (stages + 1) * shape.state_rows)
    for inner in range(start, stop - 1):
        inside = state + (inner + 1 - start) * shape.state_rows
        gradient = offsets.loss_gradient
        clear(memory, gradient, shape.state_rows)
        loss += compare(shape, memory, offsets, data, tiles, tile, inner + 1, inside, gradient)
        for channel in range(shape.channels):
            row = channel * shape.stride
            add_scaled(memory, offsets.inside_bar + row, gradient + row, one, columns)
            for i in range(stages):
                bar = offsets.inside_bar + (i + 1) * shape.state_rows + row
                factor = data.inside[inner, i : i + 1]
                add_scaled(memory, bar, gradient + row, factor, columns)
    # Stages in the reverse order of `step`, so that ``slot`` counts down over what that stored.
    slot += shape.substeps * stages
    for substep in range(shape.substeps - 1, -1, -1):
        for i in range(stages - 1, -1, -1):
            slot -= 1
            for component in range(shape.states):
                row = component * shape.stride
                slope_bar = offsets.slope_bar + row
                clear(memory, slope_bar, columns)
                factor = data.step[number, i : i + 1]
                add_scaled(memory, slope_bar, offsets.adjoint + row, factor, columns)
                if several:
                    bar = offsets.inside_bar + (i + 1) * shape.state_rows + row
                    add_scaled(memory, slope_bar, bar, one, columns)
                for j in range(i + 1, stages):
                    a = stages + j * stages + i
                    if data.step[number, a] != 0:
                        bar = offsets.state_bars + j * shape.state_rows + row
                        factor = data.step[number, a : a + 1]
                        add_scaled(memory, slope_bar, bar, factor, columns)
            if past is not None:
                if past.delayed and substep + i == 0:
                    later = offsets.past_slope_bar + state - offsets.states
                    for component in range(shape.states):
                        row = component * shape.stride
                        add_scaled(memory, offsets.slope_bar + row, later + row, one, columns)
            bar = offsets.state_bars + i * shape.state_rows
            field_back(
                shape, layers, memory, offsets, slot, bar, columns, tiles.segments, links, pairs,
                past, tiles.groups, first, last, start, state, substep * stages + i,
            )  # fmt: skip
        for i in range(stages):
            for component in range(shape.states):
                row = component * shape.stride
                bar = offsets.state_bars + i * shape.state_rows + row
                add_scaled(memory, offsets.adjoint + row, bar, one, columns)
    if several:
        for channel in range(shape.channels):
            row = channel * shape.stride
            add_scaled(memory, offsets.adjoint + row, offsets.inside_bar + row, one, columns)
    return loss


@exact
def train_tiles(
    shape, layers, memory, offsets, data, links, links_back, pairs, past, tiles, numbers, out
):  # type: ignore
    """Loss (not yet scaled) of the tiles ``numbers``; adds the gradient to the sums in ``memory``.

    The channels at all times are written to ``out`` (times, d, S) unless it is empty.
    """
    noinline()
    loss = 0.0
    steps = len(data.step)
    rows = shape.state_rows
    per_step = shape.substeps * shape.stages
    # A tile goes forward and back before the next: its states and stages are then still in cache.
    for tile in numbers:
        begin(shape, layers, memory, offsets, data, tiles, tile)
        if past is not None:
            if past.delayed:
                begin_past(shape, memory, offsets, past, steps, tiles, tile)
        for number in range(steps):
            state = offsets.states + data.first[number] * rows
            slot = number * per_step * shape.stored
            step(
                shape, layers, memory, offsets, data, links, pairs, past, tiles, tile, number,
                state, slot,
            )  # fmt: skip
        if len(out):
            for time in range(data.first[steps] + 1):
                copy_out(
                    shape, memory, offsets.states + time * rows, shape.channels, out,
                    time * shape.channels * shape.total, tiles, tile,
                )  # fmt: skip
        for number in range(steps - 1, -1, -1):
            state = offsets.states + data.first[number] * rows
            slot = number * per_step * shape.stored
            if not shape.stored:
                step(
                    shape, layers, memory, offsets, data, links, pairs, past, tiles, tile, number,
                    state, slot,
                )  # fmt: skip
            loss += step_back(
                shape, layers, memory, offsets, data, links_back, pairs, past, tiles, tile, number,
                state, slot,
            )  # fmt: skip
        if shape.first:
            message_bar = offsets.adjoint + shape.channels * shape.stride
            backward_types(
                shape, layers, memory, offsets, len(layers) // shape.types - shape.first,
                shape.first, offsets.first_inputs, offsets.first_hidden, shape.block, message_bar,
                offsets.emitter_inputs_bar, tiles.segments, tile,
            )  # fmt: skip
        if shape.coded:
            copy_out(
                shape,
                memory,
                offsets.attribute_bar,
                shape.coded,
                data.attribute_bar,
                shape.zero,
                tiles,
                tile,
            )
    return loss


@exact
def rollout_tiles(shape, layers, memory, offsets, data, links, pairs, past, tiles, numbers, out):  # type: ignore
    """Loss of the tiles if there is a target; states to ``out`` (times, D, S) unless empty."""
    noinline()
    loss = 0.0
    steps = len(data.step)
    kept = shape.zero
    if past is not None:
        kept = past.delayed
    for tile in numbers:
        begin(shape, layers, memory, offsets, data, tiles, tile)
        if past is not None:
            if past.delayed:
                begin_past(shape, memory, offsets, past, steps, tiles, tile)
        if len(out):
            copy_out(shape, memory, offsets.states, shape.states, out, shape.zero, tiles, tile)
        for number in range(steps):
            # Delays take the states of all steps, each of one interval then.
            state = offsets.states + kept * number * shape.state_rows
            step(
                shape, layers, memory, offsets, data, links, pairs, past, tiles, tile, number,
                state, shape.zero,
            )  # fmt: skip
            for time in range(data.first[number], data.first[number + 1]):
                state += shape.state_rows
                if len(out):
                    out_start = (time + 1) * shape.states * shape.total
                    copy_out(shape, memory, state, shape.states, out, out_start, tiles, tile)
                if len(data.target):
                    loss += compare(
                        shape, memory, offsets, data, tiles, tile, time + 1, state, shape.zero
                    )
            # The states of one step alone are kept: the next one starts at the same offset.
            if kept == 0:
                copy(memory, offsets.states, memory, state, shape.states * shape.stride)
    return loss


@entry
def run_tiles(
    shape, layers, memory, offsets, data, links, links_back, pairs, past, tiles, numbers, out
):  # type: ignore
    """`train_tiles` where there is a gradient (`space.Shape.backward`), else `rollout_tiles`."""
    sizes, starts, window = reference(shape), reference(offsets), reference(data)
    edges, reversed_edges = reference(links), reference(links_back)
    columns, groups, delayed = reference(pairs), reference(tiles), reference(past)
    if shape.backward:
        return train_tiles(
            sizes,
            layers,
            memory,
            starts,
            window,
            edges,
            reversed_edges,
            columns,
            delayed,
            groups,
            numbers,
            out,
        )
    return rollout_tiles(
        sizes, layers, memory, starts, window, edges, columns, delayed, groups, numbers, out
    )
