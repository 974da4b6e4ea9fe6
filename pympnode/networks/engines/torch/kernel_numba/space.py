"""Sizes of a run, and the offsets of a tile's buffers in its block of memory."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....spec import ModelSpec
from ...tableaux import TABLEAUX
from .machine import lanes, panel_width
from .weights import up

MESSAGES = {"zero": 0, "self": 1, "state": 2, "emitted": 3, "pairwise": 4}
FIRST = {"zero": 0, "linear": 1, "mlp": 2}


CHUNK = 8
"""Panels of edge columns whose weight gradients are summed at once; they fit a core's own cache."""


class Shape(NamedTuple):
    """Sizes of a model and a tile that compiled functions take, all whole numbers.

    ``zero`` is 0 (a literal would be compiled as another type). ``first`` counts the layers of
    the first message. ``*_rows`` are sizes of buffers of rows. ``stride`` separates rows of columns;
    ``block`` is one hidden layer of all panels, kept panel by panel, ``hidden_panel`` numbers each.
    ``slots`` stages are stored, ``stored`` is 1 where they are those of the whole window, 0 where
    those of one step, run again on the way back. ``total`` columns in the batch. ``pullback`` is 1
    where the gradient of the output is given in place of targets. ``inside`` is 1 where a step
    passes grid times.

    ``added`` is 1 where messages of pairs are added to the slope, ``largest`` where the largest message
    counts. ``learned`` edges have weights that are learned. ``*_panel`` are sizes of panels of edge
    columns, ``chunk`` the number of them that the adjoint keeps. ``sent_rows`` is 0 where what is sent
    is not kept for every stage. ``block_rows`` rows has a node's block of `plan.Runs`, and a tile
    ``block_numbers`` numbers in blocks.

    ``types`` of nodes have columns one after the other, each in panels of its own: rows have ``spare``
    columns more behind those that panels of all columns take.

    ``coded`` attributes, the last ones, have a gradient (`Window.attribute_bar`).
    """

    channels: int
    controls: int
    attributes: int
    message: int
    carried: int
    states: int
    node_inputs: int
    inputs: int
    outputs: int
    hidden: int
    depth: int
    messages: int
    superposed: int
    first: int
    substeps: int
    stages: int
    panel: int
    stride: int
    hidden_panel: int
    block: int
    slots: int
    stored: int
    masked: int
    total: int
    backward: int
    pullback: int
    zero: int
    state_rows: int
    input_rows: int
    output_rows: int
    message_rows: int
    emitter_input_rows: int
    inside: int
    added: int
    largest: int
    learned: int
    sender_controls: int
    edge_attributes: int
    sent_rows: int
    pair_rows: int
    pair_panel: int
    attribute_panel: int
    message_panel: int
    chunk: int
    block_rows: int
    block_numbers: int
    types: int
    spare: int
    type_rows: int
    coded: int
    linear: int


class Offsets(NamedTuple):
    """Where each buffer of a tile starts in its block; rows are ``stride`` apart.

    ``zeroed`` to ``zeroed_end`` is cleared with every tile. Names ending in ``_bar`` are cotangents;
    ``state_bars`` are those of the stage states, one for each stage, ``type_bar`` the outputs' of the
    columns of one type of nodes.
    """

    weights: int
    sums: int
    edge_bar: int
    one: int
    zeroed: int
    stage_state: int
    control: int
    attribute: int
    adjoint: int
    slope_bar: int
    output_bar: int
    attribute_bar: int
    zeroed_end: int
    states: int
    slopes: int
    inputs: int
    hidden: int
    output: int
    received: int
    emitter_inputs: int
    emitter_hidden: int
    sent: int
    sent_bar: int
    winner: int
    pair_first: int
    pair_second: int
    pair_total: int
    pair_rows: int
    pair_sum: int
    pair_hidden_1: int
    pair_hidden_2: int
    pair_attributes: int
    pair_message: int
    pair_bar_1: int
    pair_bar_2: int
    pair_first_bar: int
    pair_second_bar: int
    first_inputs: int
    first_hidden: int
    state_bars: int
    hidden_bar: int
    inputs_bar: int
    received_bar: int
    emitter_inputs_bar: int
    loss_gradient: int
    inside_bar: int
    type_bar: int
    delay_bar: int
    past_slopes: int
    past_bar: int
    past_slope_bar: int
    lanes: int
    linear: int
    linear_bar: int
    end: int


def shape_of(
    spec: ModelSpec,
    dtype: np.dtype,
    columns: int,
    steps: int,
    *,
    stored: bool,
    masked: bool,
    total: int,
    backward: bool,
    pullback: bool = False,
    edges: int = 0,
    block_numbers: int = 0,
    coded: int = 0,
) -> Shape:
    """Sizes for tiles of at most ``columns`` columns; ``total`` columns and ``edges`` in the batch."""

    def rows(count: int) -> int:
        return up(count, 8) * stride

    panel = panel_width(dtype)
    vector = lanes(np.dtype(dtype).itemsize)
    types = max(1, len(spec.node_types))
    # The last panel of a type reaches over columns of the next one, or behind the last.
    spare = panel if types > 1 else 0
    # An odd number of vectors per row: rows then do not fall on the same cache sets.
    stride = up(columns, panel) + spare + vector
    hidden_panel = up(spec.hidden, 8) * panel
    stages = TABLEAUX[spec.solver].stages
    per_step = stages * spec.substeps
    kept = spec.learned_edges and backward and spec.messages in ("state", "emitted")
    return Shape(
        spec.channels, spec.controls, spec.attributes, spec.message, spec.carried, spec.states,
        spec.own_inputs, spec.inputs, spec.outputs, spec.hidden, spec.depth,
        MESSAGES[spec.messages], int(spec.gain),
        FIRST[spec.first_message] if spec.carried else 0, spec.substeps, stages, panel, stride,
        hidden_panel, (up(columns, panel) // panel + types - 1) * hidden_panel,
        per_step * steps if stored else per_step, int(stored), int(masked), total, int(backward),
        int(pullback), 0, rows(spec.states), rows(spec.inputs), rows(spec.outputs),
        rows(spec.message), rows(spec.channels + spec.controls + spec.attributes),
        int(backward and spec.stride > 1), int(spec.pairwise and spec.coupling == "superposed"),
        int(spec.aggregation == "max"), edges if spec.learned_edges else 0, int(spec.sender_controls),
        spec.edge_attributes, rows(spec.message) if kept else 0, rows(spec.hidden + 1),
        # A row of ones stands behind the hidden ones, and a product may write one row more.
        up(spec.hidden + 2, 8) * panel, up(spec.edge_attributes, 8) * panel,
        up(spec.message, 8) * panel, CHUNK if backward else 1, spec.hidden + 1, block_numbers,
        types, spare, rows(max(spec.outputs, spec.message, spec.hidden)) if types > 1 else 0,
        coded, int(spec.linear),
    )  # fmt: skip


def offsets_of(
    shape: Shape,
    states: int,
    weights: int,
    sums: int,
    *,
    past: Shape | None = None,
    prefix: int = 0,
    delays: int = 0,
    in_time: bool = False,
) -> Offsets:
    """Where all buffers lie; ``states`` are kept, of which a rollout needs those of one step.

    ``past``: sizes of the columns of delayed senders, where there are some, with ``prefix`` states
    before the first; `Offsets.states` and the slopes and cotangents of the past are those of time 0.
    ``delays`` are learned. ``in_time``: weights of edges vary in time.
    """
    sender = shape if past is None else past
    delayed = 0 if past is None else prefix + states
    emitted = shape.messages == MESSAGES["emitted"]
    pairs = int(shape.messages == MESSAGES["pairwise"])
    # Vectors reach beyond the last block.
    blocks = pairs * (shape.block_numbers + 64)
    panels = pairs * shape.chunk
    sent = max(shape.message_rows, sender.message_rows) if emitted or pairs else 0
    sender_blocks = pairs * (sender.block_numbers + 64)
    pasts = past is not None and pairs
    backward = shape.backward
    sizes = {
        "weights": weights,
        "sums": sums * backward,
        "edge_bar": shape.learned * backward,
        "one": 1,
        "zeroed": 0,
        "stage_state": shape.state_rows,
        "control": up(shape.controls, 8) * shape.stride,
        "attribute": up(shape.attributes, 8) * shape.stride,
        "adjoint": backward * shape.state_rows,
        "slope_bar": backward * shape.state_rows,
        "output_bar": backward * shape.superposed * shape.output_rows,
        "attribute_bar": up(shape.coded, 8) * shape.stride,
        "zeroed_end": 0,
        "states": (states if past is None else delayed) * shape.state_rows,
        "slopes": shape.stages * shape.state_rows,
        "inputs": shape.slots * shape.input_rows,
        "hidden": shape.slots * shape.depth * shape.block,
        "output": shape.slots * shape.superposed * shape.output_rows,
        "received": shape.slots * shape.superposed * shape.message_rows,
        "emitter_inputs": shape.slots * sender.emitter_input_rows if emitted or pasts else 0,
        "emitter_hidden": shape.slots * sender.block if emitted else 0,
        "sent": shape.sent_rows * shape.slots if shape.sent_rows else sent,
        "sent_bar": backward * sent,
        "winner": shape.slots * shape.largest * shape.message_rows,
        "pair_first": blocks,
        "pair_second": sender_blocks,
        "pair_total": blocks,
        "pair_rows": pairs * max(shape.pair_rows, sender.pair_rows),
        "pair_sum": 0 if shape.largest else pairs * shape.slots * shape.pair_rows,
        "pair_hidden_1": panels * shape.pair_panel,
        "pair_hidden_2": panels * shape.pair_panel,
        "pair_attributes": panels * shape.attribute_panel,
        "pair_message": panels * shape.message_panel,
        "pair_bar_1": backward * panels * shape.pair_panel,
        "pair_bar_2": backward * panels * shape.pair_panel,
        "pair_first_bar": backward * blocks,
        "pair_second_bar": backward * sender_blocks,
        "first_inputs": shape.emitter_input_rows if shape.first else 0,
        "first_hidden": shape.block if shape.first == FIRST["mlp"] else 0,
        "state_bars": backward * shape.stages * shape.state_rows,
        "hidden_bar": backward * max(shape.depth * shape.block, sender.block),
        "inputs_bar": backward * shape.input_rows,
        "received_bar": backward * shape.superposed * shape.message_rows,
        "emitter_inputs_bar": backward * max(shape.emitter_input_rows, sender.emitter_input_rows),
        "loss_gradient": shape.inside * shape.state_rows,
        "inside_bar": shape.inside * (shape.stages + 1) * shape.state_rows,
        "type_bar": backward * shape.type_rows,
        "delay_bar": backward * delays,
        "past_slopes": delayed * shape.state_rows,
        "past_bar": backward * delayed * shape.state_rows,
        "past_slope_bar": backward * delayed * shape.state_rows,
        "lanes": shape.panel if in_time else 0,
        "linear": shape.linear * shape.state_rows,
        "linear_bar": backward * shape.linear * shape.input_rows,
        "end": 0,
    }
    # Multiples of 64 numbers: every buffer starts on a cache line.
    ends = np.cumsum([up(size, 64) for size in sizes.values()])
    offsets = Offsets(0, *(int(end) for end in ends[:-1]))
    if past is None:
        return offsets
    before = prefix * shape.state_rows
    names = ("states", "past_slopes", "past_bar", "past_slope_bar")
    return offsets._replace(**{name: getattr(offsets, name) + before for name in names})


class Pool:
    """Blocks of memory that are used again: fresh pages cost as much as writing them."""

    def __init__(self) -> None:
        self._free: deque[NDArray] = deque(maxlen=8)

    def acquire(self, count: int, dtype: np.dtype) -> tuple[NDArray, NDArray]:
        """A block and its first ``count`` numbers, aligned to 64 bytes. `release` the block."""
        need = count * np.dtype(dtype).itemsize
        try:
            block = self._free.pop()
        except IndexError:
            block = np.empty(0, dtype=np.uint8)
        # A block that is far too large would keep the memory of a much larger batch.
        if not need <= block.nbytes - 64 <= 4 * need + 2**20:
            block = np.zeros(need + 64, dtype=np.uint8)
        start = -block.ctypes.data % 64
        return block, block[start : start + need].view(dtype)

    def release(self, block: NDArray) -> None:
        """Keep a block for the next `acquire`."""
        self._free.append(block)
