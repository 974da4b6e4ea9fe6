"""Time steps on the tiles of a batch: forward, loss, and back."""

from __future__ import annotations

from typing import NamedTuple

from numpy.typing import NDArray

from .field import (
    FORWARD,
    INNER,
    ROWS,
    add_bias,
    add_outer,
    add_scaled,
    clear,
    clear_beyond,
    copy,
    copy_in,
    copy_out,
    field,
    field_back,
    tanh_layer,
    tanh_layer_back,
)
from .machine import compiled
from .tiles import product


class Data(NamedTuple):
    """A window as flat arrays (those that are absent are empty) and the method of its steps.

    ``step`` (steps, stages + stages^2): dt b, dt a. ``constants``: 1 and 1/2. Numbers that enter
    arithmetic come in arrays of the working dtype: a literal would make it double precision.
    """

    initial: NDArray
    target: NDArray
    control: NDArray
    attribute: NDArray
    mask: NDArray
    step: NDArray
    constants: NDArray


class Links(NamedTuple):
    """`plan.Plan` as a tuple that compiled code takes."""

    pieces: NDArray
    first: NDArray
    columns: NDArray
    pointer: NDArray
    sender: NDArray
    weight: NDArray
    back_pointer: NDArray
    back_sender: NDArray
    back_weight: NDArray


@compiled
def begin(s, layers, weights, data, links, b, tile):  # type: ignore
    """Initial state of a tile in b.z, first message included; what never changes in its buffers."""
    first, last = links.first[tile], links.first[tile + 1]
    columns = links.columns[tile]
    panels = (columns + s.panel - 1) // s.panel
    clear(b.at, 0, len(b.at))
    clear(b.control, 0, len(b.control))
    clear(b.attribute, 0, len(b.attribute))
    clear(b.k_bar, 0, len(b.k_bar))
    clear(b.lam, 0, len(b.lam))
    clear(b.out_bar, 0, len(b.out_bar))
    clear(b.z, 0, min(len(b.z), s.states * s.stride))
    copy_in(
        b.attribute, 0, s.stride, data.attribute, 0, s.total, s.attributes,
        links.pieces, first, last,
    )  # fmt: skip
    copy_in(b.z, 0, s.stride, data.initial, 0, s.total, s.channels, links.pieces, first, last)
    if s.first == 0:
        return
    whole = panels * s.panel
    for f in range(s.channels):
        copy(b.seen, f * s.stride, b.z, f * s.stride, whole)
    for f in range(s.attributes):
        copy(b.seen, (s.channels + f) * s.stride, b.attribute, f * s.stride, whole)
    row = layers[len(layers) - 1]
    message = s.channels * s.stride
    for q in range(panels):
        c = q * s.panel
        if s.first == 1:
            product(
                b.z, message + c, s.stride, weights, row[FORWARD],
                b.seen, c, s.stride, row[ROWS], row[INNER],
            )  # fmt: skip
        else:
            h = q * s.hidden_panel
            tanh_layer(s, layers, len(layers) - 2, weights, b.first, h, b.seen, c, s.stride)
            product(
                b.z, message + c, s.stride, weights, row[FORWARD],
                b.first, h, s.panel, row[ROWS], row[INNER],
            )  # fmt: skip
    clear_beyond(b.z, message, s.stride, s.carried, columns, s.panel)


@compiled
def begin_back(s, layers, weights, b, columns, sums):  # type: ignore
    """Parameters' part of the first message from b.lam, the cotangent of the initial state."""
    panels = (columns + s.panel - 1) // s.panel
    top = len(layers) - 1
    message = s.channels * s.stride
    add_bias(s, layers, top, b.lam, message, s.stride, panels, sums)
    if s.first == 1:
        add_outer(
            layers, top, b.lam, message, s.stride, s.panel,
            b.seen, 0, s.stride, s.panel, panels, sums,
        )  # fmt: skip
        return
    step = s.hidden_panel
    for q in range(panels):
        tanh_layer_back(
            s, layers, top, weights, b.hidden_bar, q * step,
            b.first, q * step, b.lam, message + q * s.panel, s.stride, sums,
        )  # fmt: skip
    add_outer(
        layers, top, b.lam, message, s.stride, s.panel, b.first, 0, s.panel, step, panels, sums
    )
    add_outer(
        layers, top - 1, b.hidden_bar, 0, s.panel, step,
        b.seen, 0, s.stride, s.panel, panels, sums,
    )  # fmt: skip


@compiled
def interval(s, layers, weights, data, links, b, tile, t, z_at, to_at, slot):  # type: ignore
    """b.z at ``to_at`` = the state one interval after b.z at ``z_at``."""
    first, last = links.first[tile], links.first[tile + 1]
    columns = links.columns[tile]
    states = (s.states + 7) // 8 * 8 * s.stride
    copy_in(
        b.control, 0, s.stride, data.control, t * s.controls * s.total, s.total, s.controls,
        links.pieces, first, last,
    )  # fmt: skip
    copy(b.z, to_at, b.z, z_at, s.states * s.stride)
    number = s.stages
    for _ in range(s.substeps):
        for i in range(number):
            for f in range(s.states):
                row = f * s.stride
                copy(b.at, row, b.z, to_at + row, columns)
                for j in range(i):
                    a = number + i * number + j
                    if data.step[t, a] != 0:
                        add_scaled(
                            b.at, row, b.k, j * states + row, data.step[t, a : a + 1], columns
                        )
            field(
                s, layers, weights, b, slot, i * states, columns,
                links.pieces, first, last, links.pointer, links.sender, links.weight,
            )  # fmt: skip
            slot += 1
        for f in range(s.states):
            for i in range(number):
                add_scaled(
                    b.z, to_at + f * s.stride, b.k, i * states + f * s.stride,
                    data.step[t, i : i + 1], columns,
                )  # fmt: skip


@compiled
def interval_back(s, layers, weights, data, links, b, tile, t, slot, sums):  # type: ignore
    """b.lam at the end of an interval becomes b.lam at its start."""
    first, last = links.first[tile], links.first[tile + 1]
    columns = links.columns[tile]
    states = (s.states + 7) // 8 * 8 * s.stride
    number = s.stages
    slot += s.substeps * number
    for _ in range(s.substeps):
        for i in range(number - 1, -1, -1):
            slot -= 1
            for f in range(s.states):
                row = f * s.stride
                clear(b.k_bar, row, columns)
                add_scaled(b.k_bar, row, b.lam, row, data.step[t, i : i + 1], columns)
                for j in range(i + 1, number):
                    a = number + j * number + i
                    if data.step[t, a] != 0:
                        add_scaled(
                            b.k_bar, row, b.z_bar, j * states + row,
                            data.step[t, a : a + 1], columns,
                        )  # fmt: skip
            field_back(
                s, layers, weights, b, slot, i * states, columns, links.pieces, first, last,
                links.back_pointer, links.back_sender, links.back_weight, sums,
            )  # fmt: skip
        for i in range(number):
            for f in range(s.states):
                lam = b.lam[f * s.stride : f * s.stride + columns]
                start = i * states + f * s.stride
                bar = b.z_bar[start : start + columns]
                for c in range(columns):
                    lam[c] += bar[c]


@compiled
def compare(s, data, links, b, tile, t, z_at, scale):  # type: ignore
    """Sum of the Huber loss (delta 1) of a tile at time t; adds ``scale`` times its slope to b.lam.

    ``scale`` is an array of one number; with an empty one only the loss is summed.
    """
    loss = 0.0
    one, half = data.constants[0], data.constants[1]
    for q in range(links.first[tile], links.first[tile + 1]):
        width, start = links.pieces[q, 1], links.pieces[q, 2]
        for f in range(s.channels):
            for n in range(links.pieces[q, 0]):
                here = f * s.stride + start + n * width
                there = (t * s.channels + f) * s.total + links.pieces[q, 4]
                there += n * links.pieces[q, 5]
                z = b.z[z_at + here : z_at + here + width]
                x = data.target[there : there + width]
                total = half - half
                if s.masked:
                    m = data.mask[there : there + width]
                    for c in range(width):
                        r = z[c] - x[c]
                        k = min(max(r, -one), one)
                        total += m[c] * k * (r - half * k)
                    if len(scale):
                        lam = b.lam[here : here + width]
                        for c in range(width):
                            lam[c] += scale[0] * m[c] * min(max(z[c] - x[c], -one), one)
                else:
                    for c in range(width):
                        r = z[c] - x[c]
                        k = min(max(r, -one), one)
                        total += k * (r - half * k)
                    if len(scale):
                        lam = b.lam[here : here + width]
                        for c in range(width):
                            lam[c] += scale[0] * min(max(z[c] - x[c], -one), one)
                loss += total
    return loss


@compiled
def train_tiles(s, layers, weights, data, links, b, tiles, scale, sums):  # type: ignore
    """Loss (not yet scaled) of ``tiles``; their part of the gradient is added to ``sums``."""
    loss = 0.0
    steps = len(data.step)
    states = (s.states + 7) // 8 * 8 * s.stride
    per = s.substeps * s.stages
    for tile in tiles:
        begin(s, layers, weights, data, links, b, tile)
        for t in range(steps):
            slot = t * per if s.stored else 0
            interval(
                s, layers, weights, data, links, b, tile, t, t * states, (t + 1) * states, slot
            )
        for t in range(steps - 1, -1, -1):
            loss += compare(s, data, links, b, tile, t + 1, (t + 1) * states, scale)
            slot = t * per if s.stored else 0
            if not s.stored:
                # The state after the last stored one is free to be overwritten.
                interval(
                    s, layers, weights, data, links, b, tile, t, t * states, (t + 1) * states, 0
                )
            interval_back(s, layers, weights, data, links, b, tile, t, slot, sums)
        if s.first:
            begin_back(s, layers, weights, b, links.columns[tile], sums)
    return loss


@compiled
def rollout_tiles(s, layers, weights, data, links, b, tiles, out, nothing):  # type: ignore
    """Loss of ``tiles`` if there is a target; states to ``out`` (steps + 1, D, S) unless empty."""
    loss = 0.0
    steps = len(data.step)
    states = (s.states + 7) // 8 * 8 * s.stride
    for tile in tiles:
        first, last = links.first[tile], links.first[tile + 1]
        begin(s, layers, weights, data, links, b, tile)
        for t in range(steps + 1):
            at, to = (t % 2) * states, (1 - t % 2) * states
            if len(out):
                copy_out(
                    out, t * s.states * s.total, s.total, b.z, at, s.stride, s.states,
                    links.pieces, first, last,
                )  # fmt: skip
            if t > 0 and len(data.target):
                loss += compare(s, data, links, b, tile, t, at, nothing)
            if t < steps:
                interval(s, layers, weights, data, links, b, tile, t, at, to, 0)
    return loss
