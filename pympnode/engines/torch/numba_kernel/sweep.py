"""Time steps on the tiles of a batch: forward, loss, and back."""

from __future__ import annotations

from typing import NamedTuple

from numpy.typing import NDArray

from .field import add_scaled, clear, clear_beyond, copy, field, field_back, run, run_back, see
from .machine import apart, compiled


class Data(NamedTuple):
    """A window as flat arrays (those that are absent are empty) and the method of its steps.

    ``step`` (steps, stages + stages^2): dt b, dt a. ``constants``: 1, 1/2 and the loss's scale.
    Numbers that enter arithmetic come in arrays of the working dtype: a literal would make it double
    precision.
    """

    initial: NDArray
    target: NDArray
    control: NDArray
    attribute: NDArray
    mask: NDArray
    step: NDArray
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
def interval(s, layers, m, b, data, link, tiles, tile, t, z, to, slot):  # type: ignore
    """The state at ``to`` = one interval after the state at ``z``."""
    apart()
    first, last = tiles.first[tile], tiles.first[tile + 1]
    columns = tiles.columns[tile]
    stages = s.stages
    copy_in(s, m, b.control, data.control, t * s.controls * s.total, s.controls, tiles, tile)
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
        for f in range(s.states):
            for i in range(stages):
                k = b.k + i * s.state_rows + f * s.stride
                add_scaled(m, to + f * s.stride, k, data.step[t, i : i + 1], columns)


@compiled
def interval_back(s, layers, m, b, data, link, tiles, tile, t, slot):  # type: ignore
    """b.lam at the end of an interval becomes b.lam at its start."""
    apart()
    first, last = tiles.first[tile], tiles.first[tile + 1]
    columns = tiles.columns[tile]
    stages = s.stages
    slot += s.substeps * stages
    for _ in range(s.substeps):
        for i in range(stages - 1, -1, -1):
            slot -= 1
            for f in range(s.states):
                row = f * s.stride
                clear(m, b.k_bar + row, columns)
                add_scaled(m, b.k_bar + row, b.lam + row, data.step[t, i : i + 1], columns)
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


@compiled
def compare(s, m, b, data, tiles, tile, t, z_at, back):  # type: ignore
    """Sum of the Huber loss (delta 1) of a tile at time t; ``back`` adds its slope to b.lam."""
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
                if back:
                    lam = m[b.lam + here : b.lam + here + width]
                    for c in range(width):
                        lam[c] += scale * slope[c]
                loss += total
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
            z = b.z + t * rows
            slot = t * per * s.stored
            interval(s, layers, m, b, data, link, tiles, tile, t, z, z + rows, slot)
        for t in range(steps - 1, -1, -1):
            z = b.z + t * rows
            slot = t * per * s.stored
            loss += compare(s, m, b, data, tiles, tile, t + 1, z + rows, s.backward)
            if not s.stored:
                # The state at t + 1 has been compared: its place may be written again.
                interval(s, layers, m, b, data, link, tiles, tile, t, z, z + rows, slot)
            interval_back(s, layers, m, b, data, link_back, tiles, tile, t, slot)
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
        for t in range(steps + 1):
            z, to = b.z + t % 2 * rows, b.z + (t + 1) % 2 * rows
            if len(out):
                copy_out(s, m, z, out, t * s.states * s.total, tiles, tile)
            if t > 0 and len(data.target):
                loss += compare(s, m, b, data, tiles, tile, t, z, s.backward)
            if t < steps:
                interval(s, layers, m, b, data, link, tiles, tile, t, z, to, s.lowest)
    return loss
