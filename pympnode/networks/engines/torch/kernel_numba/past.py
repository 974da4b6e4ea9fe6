"""Delayed senders and weights of edges that vary in time, on one tile, with their adjoints.

A column of a sender is an evaluation of one node at one delay (`plan.Senders`). Its state is the cubic
Hermite polynomial through states and slopes at the grid times, kept for all times of the window; the
adjoint adds to the cotangents of both, which `sweep.step_back` takes up when it comes to their times.
"""

from __future__ import annotations

from .layers import add_scaled, clear, clear_padding, copy
from .machine import compiled, exact, noinline, reference
from .plan import (
    BATCH_WIDTH,
    COLUMN,
    NODES,
    ROW,
    SENDER_COLUMN,
    SENDER_ROW,
    SENDERS,
    WEIGHT_BASE,
    WIDTH,
)
from .tiles import neighbour_sum


@compiled
def blend(memory, to, left, left_slope, rows, weights, start, count):  # type: ignore
    """Row ``to``: the weighted sum of the states and slopes at both ends of an interval.

    ``rows`` separates the right end from the left one.
    """
    noinline()
    out = memory[to : to + count]
    right = memory[left + rows : left + rows + count]
    right_slope = memory[left_slope + rows : left_slope + rows + count]
    w0, w1, w2, w3 = weights[start], weights[start + 1], weights[start + 2], weights[start + 3]
    if w0 == 0 and w1 == 0:
        # The right end itself; the left one may lie before what is known.
        for c in range(count):
            out[c] = right[c]
    else:
        x = memory[left : left + count]
        slope = memory[left_slope : left_slope + count]
        for c in range(count):
            out[c] = w0 * x[c] + w1 * slope[c] + w2 * right[c] + w3 * right_slope[c]


@compiled
def gather_past(shape, memory, offsets, past, inputs, start, stage, columns, groups, first, last):  # type: ignore
    """Rows ``inputs`` of the columns of senders: their delayed states and their attributes."""
    noinline()
    late = reference(past.shape)
    slopes = offsets.past_slopes + start - offsets.states
    for group in range(first, last):
        width, column = groups[group, WIDTH], groups[group, COLUMN]
        for number in range(past.groups[group, SENDERS]):
            row = past.groups[group, SENDER_ROW] + number
            source = column + past.node[row] * width
            to = inputs + past.groups[group, SENDER_COLUMN] + number * width
            entry = stage * past.delays + past.delay[row]
            interval = past.interval[entry]
            for channel in range(shape.channels):
                at = source + channel * shape.stride
                if interval > 0:
                    copy(memory, to, memory, offsets.stage_state + at, width)
                else:
                    left = at + interval * shape.state_rows
                    blend(
                        memory, to, start + left, slopes + left, shape.state_rows, past.blend,
                        4 * entry, width,
                    )  # fmt: skip
                to += late.stride
            for attribute in range(shape.attributes):
                at = offsets.attribute + attribute * shape.stride + source
                copy(memory, to, memory, at, width)
                to += late.stride
    clear_padding(late, memory, inputs, shape.channels + shape.attributes, columns)


@exact
def weighted_total(memory, bar, values, weights, entry, count):  # type: ignore
    """weights[entry] times the sum of memory[bar...] memory[values...]."""
    noinline()
    x = memory[bar : bar + count]
    y = memory[values : values + count]
    total = memory[bar] - memory[bar]
    for c in range(count):
        total += x[c] * y[c]
    return weights[entry] * total


@compiled
def scatter_past(shape, memory, offsets, past, bars, state_bar, start, stage, groups, first, last):  # type: ignore
    """Adjoint of `gather_past`: rows ``bars`` are added to the cotangents of past states and slopes, to
    ``state_bar`` where there is no delay, and to those of the delays where they are learned."""
    noinline()
    late = reference(past.shape)
    one = memory[offsets.one : offsets.one + 1]
    shift = start - offsets.states
    time = shift // shape.state_rows
    for group in range(first, last):
        width, column = groups[group, WIDTH], groups[group, COLUMN]
        for number in range(past.groups[group, SENDERS]):
            row = past.groups[group, SENDER_ROW] + number
            source = column + past.node[row] * width
            bar = bars + past.groups[group, SENDER_COLUMN] + number * width
            entry = stage * past.delays + past.delay[row]
            interval = past.interval[entry]
            whole = past.blend[4 * entry] == 0 and past.blend[4 * entry + 1] == 0
            for channel in range(shape.channels):
                at = source + channel * shape.stride
                if interval > 0:
                    add_scaled(memory, state_bar + at, bar, one, width)
                else:
                    for end in range(2):
                        # At the right end of an interval the left one counts nothing.
                        if whole and end == 0:
                            continue
                        node = at + (interval + end) * shape.state_rows
                        weight = 4 * entry + 2 * end
                        if past.learned:
                            to = offsets.delay_bar + past.delay[row]
                            memory[to] += weighted_total(
                                memory, bar, start + node, past.slopes, weight, width
                            )
                            memory[to] += weighted_total(
                                memory, bar, offsets.past_slopes + shift + node, past.slopes,
                                weight + 1, width,
                            )  # fmt: skip
                        # What lies before the first state is data.
                        if time + interval + end >= 0:
                            add_scaled(
                                memory, offsets.past_bar + shift + node, bar,
                                past.blend[weight : weight + 1], width,
                            )  # fmt: skip
                            add_scaled(
                                memory, offsets.past_slope_bar + shift + node, bar,
                                past.blend[weight + 1 : weight + 2], width,
                            )  # fmt: skip
                bar += late.stride


@compiled
def add_weighted(memory, to, source, weight, start, count):  # type: ignore
    """memory[to...] += weight[start...] memory[source...]."""
    noinline()
    total = memory[to : to + count]
    values = memory[source : source + count]
    factors = weight[start : start + count]
    for c in range(count):
        total[c] += factors[c] * values[c]


@compiled
def receive(shape, memory, past, received, sent, links, groups, first, last, interval):  # type: ignore
    """`field.aggregate` of the columns of senders, with weights that may vary in time."""
    noinline()
    for component in range(shape.message):
        for group in range(first, last):
            width = groups[group, WIDTH]
            base = received + component * shape.stride + groups[group, COLUMN]
            source = sent + component * past.shape.stride + past.groups[group, SENDER_COLUMN]
            weights = interval * past.edge_columns + past.groups[group, WEIGHT_BASE]
            for node in range(groups[group, NODES]):
                row = groups[group, ROW] + node
                to = base + node * width
                if past.in_time == 0:
                    neighbour_sum(
                        memory, to, source, width, width, links.pointer, row, links.sender,
                        links.weight,
                    )  # fmt: skip
                    continue
                clear(memory, to, width)
                for edge in range(links.pointer[row], links.pointer[row + 1]):
                    add_weighted(
                        memory, to, source + links.sender[edge] * width, past.weight,
                        weights + links.number[edge] * groups[group, BATCH_WIDTH], width,
                    )  # fmt: skip


@compiled
def receive_back(shape, memory, past, sent_bar, received_bar, links, groups, first, last, interval):  # type: ignore
    """Adjoint of `receive`; ``links`` are the reversed ones."""
    noinline()
    for component in range(shape.message):
        for group in range(first, last):
            width = groups[group, WIDTH]
            base = sent_bar + component * past.shape.stride + past.groups[group, SENDER_COLUMN]
            source = received_bar + component * shape.stride + groups[group, COLUMN]
            weights = interval * past.edge_columns + past.groups[group, WEIGHT_BASE]
            for number in range(past.groups[group, SENDERS]):
                row = past.groups[group, SENDER_ROW] + number
                to = base + number * width
                if past.in_time == 0:
                    neighbour_sum(
                        memory, to, source, width, width, links.pointer, row, links.sender,
                        links.weight,
                    )  # fmt: skip
                    continue
                clear(memory, to, width)
                for edge in range(links.pointer[row], links.pointer[row + 1]):
                    add_weighted(
                        memory, to, source + links.sender[edge] * width, past.weight,
                        weights + links.number[edge] * groups[group, BATCH_WIDTH], width,
                    )  # fmt: skip


@compiled
def scale_lanes(shape, memory, offsets, rows, count, past, pairs, first, last, interval):  # type: ignore
    """``count`` rows of a panel of edge columns times the weights of their edges in an interval."""
    noinline()
    lanes = offsets.lanes
    clear(memory, lanes, shape.panel)
    for run in range(first, last):
        weights = interval * past.edge_columns + past.run_weight[run]
        to = lanes + pairs.runs[run, 0]
        for column in range(pairs.runs[run, 1]):
            memory[to + column] = past.weight[weights + column]
    for row in range(count):
        start = rows + row * shape.panel
        values = memory[start : start + shape.panel]
        factors = memory[lanes : lanes + shape.panel]
        for lane in range(shape.panel):
            values[lane] *= factors[lane]
