"""Time steps on the tiles of a batch: forward, loss, and back."""

from __future__ import annotations

from typing import NamedTuple

from numpy.typing import NDArray

from .field import add_scaled, clear, clear_beyond, copy, field, field_back, run, run_back, see
from .machine import apart, compiled


class Data(NamedTuple):
    """A window as flat arrays (those that are absent are empty) and the method of its steps.

    ``step`` (steps, stages + stages^2): dt b, dt a. ``first`` and ``inside``: those of
    `tableaux.Steps`. ``constants``: 1, 1/2 and the loss's scale.
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


class Links(NamedTuple):
    """Who sends to each row, with what factor (`plan.Plan`)."""

    pointer: NDArray
    sender: NDArray
    weight: NDArray


class Tiles(NamedTuple):
    """The pieces of each tile (`plan.Plan`)."""

    pieces: NDArray
    first: NDArray
    columns: NDArray


@compiled
def copy_in(s, m, to, source, at, rows, tiles, tile):  # type: ignore
    """Rows of the batch, from ``at`` in ``source`` on, to rows of a tile."""
    apart()
    pieces = tiles.pieces
    for q in range(tiles.first[tile], tiles.first[tile + 1]):
        width, start, there, wide = pieces[q, 1], pieces[q, 2], pieces[q, 4], pieces[q, 5]
        for f in range(rows):
            for n in range(pieces[q, 0]):
                here = to + f * s.stride + start + n * width
                copy(m, here, source, at + f * s.total + there + n * wide, width)


@compiled
def copy_out(s, m, at, out, to, tiles, tile):  # type: ignore
    """All states of a tile to rows of the batch, from ``to`` in ``out`` on."""
    pieces = tiles.pieces
    for q in range(tiles.first[tile], tiles.first[tile + 1]):
        width, start, there, wide = pieces[q, 1], pieces[q, 2], pieces[q, 4], pieces[q, 5]
        for f in range(s.states):
            for n in range(pieces[q, 0]):
                here = at + f * s.stride + start + n * width
                copy(out, to + f * s.total + there + n * wide, m, here, width)


@compiled
def begin(s, layers, m, b, data, tiles, tile):  # type: ignore
    """Initial state of a tile at b.z, first message included, and what never changes."""
    apart()
    columns = tiles.columns[tile]
    panels = (columns + s.panel - 1) // s.panel
    # Unused columns stay zero from here on, and so add nothing to the gradient.
    clear(m, b.zeroed, b.zeroed_end - b.zeroed)
    clear(m, b.z, s.states * s.stride)
    m[b.one] = data.constants[0]
    copy_in(s, m, b.attribute, data.attribute, s.lowest, s.attributes, tiles, tile)
    copy_in(s, m, b.z, data.initial, s.lowest, s.channels, tiles, tile)
    if s.first:
        message = b.z + s.channels * s.stride
        see(s, m, b, b.first_seen, b.z, panels * s.panel)
        run(
            s, layers, m, len(layers) - s.first, s.first, b.first_seen, s.panel, s.stride,
            b.first, s.block, message, panels,
        )  # fmt: skip
        clear_beyond(s, m, message, s.carried, columns)


@compiled
def step(s, layers, m, b, data, link, tiles, tile, t, z, slot):  # type: ignore
    """Step t from the state at ``z``: states at its times behind it, stages from ``slot`` on."""
    apart()
    first, last = tiles.first[tile], tiles.first[tile + 1]
    columns = tiles.columns[tile]
    stages = s.stages
    start, stop = data.first[t], data.first[t + 1]
    to = z + (stop - start) * s.state_rows
    held = start * s.controls * s.total
    copy_in(s, m, b.control, data.control, held, s.controls, tiles, tile)
    copy(m, to, m, z, s.states * s.stride)
    for _ in range(s.substeps):
        for i in range(stages):
            for f in range(s.states):
                row = f * s.stride
                copy(m, b.at + row, m, to + row, columns)
                for j in range(i):
                    a = stages + i * stages + j
                    if data.step[t, a] != 0:
                        k = b.k + j * s.state_rows + row
                        add_scaled(m, b.at + row, k, data.step[t, a : a + 1], columns)
            k = b.k + i * s.state_rows
            field(s, layers, m, b, slot, k, columns, link, tiles.pieces, first, last)
            slot += 1
        for inner in range(start, stop - 1):  # one substep then
            place = z + (inner + 1 - start) * s.state_rows
            copy(m, place, m, z, s.states * s.stride)
            for i in range(stages):
                k = b.k + i * s.state_rows
                weight = data.inside[inner, i : i + 1]
                for f in range(s.states):
                    add_scaled(m, place + f * s.stride, k + f * s.stride, weight, columns)
        for f in range(s.states):
            for i in range(stages):
                k = b.k + i * s.state_rows + f * s.stride
                add_scaled(m, to + f * s.stride, k, data.step[t, i : i + 1], columns)


@compiled
def compare(s, m, b, data, tiles, tile, t, z_at, bar):  # type: ignore
    """Sum of the Huber loss (delta 1) of a tile at time t; its slope is added to rows ``bar``."""
    apart()
    loss = 0.0
    one, half, scale = data.constants[0], data.constants[1], data.constants[2]
    pieces = tiles.pieces
    for q in range(tiles.first[tile], tiles.first[tile + 1]):
        width = pieces[q, 1]
        for f in range(s.channels):
            for n in range(pieces[q, 0]):
                here = f * s.stride + pieces[q, 2] + n * width
                there = (t * s.channels + f) * s.total + pieces[q, 4] + n * pieces[q, 5]
                z = m[z_at + here : z_at + here + width]
                x = data.target[there : there + width]
                slope = m[b.at : b.at + width]
                for c in range(width):
                    slope[c] = min(max(z[c] - x[c], -one), one)
                total = half - half
                if s.masked:
                    mask = data.mask[there : there + width]
                    for c in range(width):
                        total += mask[c] * slope[c] * (z[c] - x[c] - half * slope[c])
                        slope[c] *= mask[c]
                else:
                    for c in range(width):
                        total += slope[c] * (z[c] - x[c] - half * slope[c])
                if s.backward:
                    lam = m[bar + here : bar + here + width]
                    for c in range(width):
                        lam[c] += scale * slope[c]
                loss += total
    return loss


@compiled
def step_back(s, layers, m, b, data, link, tiles, tile, t, z, slot):  # type: ignore
    """b.lam after step t becomes b.lam before it; returns the loss at the times of the step."""
    apart()
    first, last = tiles.first[tile], tiles.first[tile + 1]
    columns = tiles.columns[tile]
    stages = s.stages
    start, stop = data.first[t], data.first[t + 1]
    loss = compare(s, m, b, data, tiles, tile, stop, z + (stop - start) * s.state_rows, b.lam)
    many = stop - start > 1
    if many:
        clear(m, b.inside_bar, (stages + 1) * s.state_rows)
    for inner in range(start, stop - 1):
        place = z + (inner + 1 - start) * s.state_rows
        clear(m, b.slope, s.state_rows)
        loss += compare(s, m, b, data, tiles, tile, inner + 1, place, b.slope)
        for f in range(s.channels):
            row = f * s.stride
            add_scaled(m, b.inside_bar + row, b.slope + row, m[b.one : b.one + 1], columns)
            for i in range(stages):
                bar = b.inside_bar + (i + 1) * s.state_rows + row
                add_scaled(m, bar, b.slope + row, data.inside[inner, i : i + 1], columns)
    slot += s.substeps * stages
    for _ in range(s.substeps):
        for i in range(stages - 1, -1, -1):
            slot -= 1
            for f in range(s.states):
                row = f * s.stride
                clear(m, b.k_bar + row, columns)
                add_scaled(m, b.k_bar + row, b.lam + row, data.step[t, i : i + 1], columns)
                if many:
                    bar = b.inside_bar + (i + 1) * s.state_rows + row
                    add_scaled(m, b.k_bar + row, bar, m[b.one : b.one + 1], columns)
                for j in range(i + 1, stages):
                    a = stages + j * stages + i
                    if data.step[t, a] != 0:
                        bar = b.z_bar + j * s.state_rows + row
                        add_scaled(m, b.k_bar + row, bar, data.step[t, a : a + 1], columns)
            bar = b.z_bar + i * s.state_rows
            field_back(s, layers, m, b, slot, bar, columns, link, tiles.pieces, first, last)
        for i in range(stages):
            for f in range(s.states):
                bar = b.z_bar + i * s.state_rows + f * s.stride
                add_scaled(m, b.lam + f * s.stride, bar, m[b.one : b.one + 1], columns)
    if many:
        for f in range(s.channels):
            row = f * s.stride
            add_scaled(m, b.lam + row, b.inside_bar + row, m[b.one : b.one + 1], columns)
    return loss


@compiled
def train_tiles(s, layers, m, b, data, link, link_back, tiles, numbers):  # type: ignore
    """Loss (not yet scaled) of the tiles ``numbers``; the gradient is added to the sums in m."""
    loss = 0.0
    steps = len(data.step)
    rows = s.state_rows
    per = s.substeps * s.stages
    for tile in numbers:
        begin(s, layers, m, b, data, tiles, tile)
        for t in range(steps):
            z, slot = b.z + data.first[t] * rows, t * per * s.stored
            step(s, layers, m, b, data, link, tiles, tile, t, z, slot)
        for t in range(steps - 1, -1, -1):
            z, slot = b.z + data.first[t] * rows, t * per * s.stored
            if not s.stored:
                step(s, layers, m, b, data, link, tiles, tile, t, z, slot)
            loss += step_back(s, layers, m, b, data, link_back, tiles, tile, t, z, slot)
        if s.first:
            columns = tiles.columns[tile]
            run_back(
                s, layers, m, b, len(layers) - s.first, s.first, b.first_seen, s.panel, s.stride,
                b.first, s.block, b.lam + s.channels * s.stride, b.seen_bar,
                (columns + s.panel - 1) // s.panel,
            )  # fmt: skip
    return loss


@compiled
def rollout_tiles(s, layers, m, b, data, link, tiles, numbers, out):  # type: ignore
    """Loss of the tiles if there is a target; states to ``out`` (steps + 1, D, S) unless empty."""
    loss = 0.0
    steps = len(data.step)
    rows = s.state_rows
    for tile in numbers:
        begin(s, layers, m, b, data, tiles, tile)
        if len(out):
            copy_out(s, m, b.z, out, s.lowest, tiles, tile)
        for t in range(steps):
            step(s, layers, m, b, data, link, tiles, tile, t, b.z, s.lowest)
            z = b.z
            for time in range(data.first[t], data.first[t + 1]):
                z += rows
                if len(out):
                    copy_out(s, m, z, out, (time + 1) * s.states * s.total, tiles, tile)
                if len(data.target):
                    loss += compare(s, m, b, data, tiles, tile, time + 1, z, s.lowest)
            copy(m, b.z, m, z, s.states * s.stride)
    return loss
