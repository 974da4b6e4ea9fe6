"""Sizes of a run, and where the buffers of a tile lie in its block of memory."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....spec import ModelSpec
from ...tableaux import TABLEAUX
from .machine import lanes, panel_width
from .weights import up

MESSAGES = {"zero": 0, "self": 1, "state": 2, "emitted": 3}
FIRST = {"zero": 0, "linear": 1, "mlp": 2}


class Shape(NamedTuple):
    """What a compiled function must know of a model and a tile, all whole numbers.

    ``lowest`` is the number of the first layer, 0 (a literal would be compiled as a type of its own).
    ``first`` counts the layers of the first message. ``*_rows`` are sizes of buffers of rows.
    ``stride`` separates rows of columns; ``block`` is one hidden layer of all panels, kept panel by
    panel, ``hidden_panel`` numbers each. ``slots`` stages are stored, ``stored`` says whether they
    are those of the whole window or of one step, run again on the way back.
    """

    channels: int
    controls: int
    attributes: int
    message: int
    carried: int
    states: int
    own: int
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
    lowest: int
    state_rows: int
    input_rows: int
    output_rows: int
    message_rows: int
    seen_rows: int
    inside: int


class Places(NamedTuple):
    """Where each buffer of a tile starts in its block; rows are ``stride`` apart.

    ``zeroed`` to ``zeroed_end`` is cleared with every tile. Names ending in ``_bar`` are cotangents.
    """

    weights: int
    sums: int
    one: int
    zeroed: int
    at: int
    control: int
    attribute: int
    lam: int
    k_bar: int
    out_bar: int
    zeroed_end: int
    z: int
    k: int
    inputs: int
    hidden: int
    out: int
    arrive: int
    seen: int
    emit: int
    sent: int
    first_seen: int
    first: int
    z_bar: int
    hidden_bar: int
    inputs_bar: int
    arrive_bar: int
    seen_bar: int
    slope: int
    inside_bar: int
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
) -> Shape:
    """Sizes for tiles of at most ``columns`` columns; ``total`` columns in the batch."""

    def rows(count: int) -> int:
        return up(count, 8) * stride

    panel = panel_width(dtype)
    vector = lanes(np.dtype(dtype).itemsize)
    # An odd number of vectors a row: rows then do not fall on the same cache sets.
    stride = up(columns, panel) + vector
    hidden_panel = up(spec.hidden, 8) * panel
    stages = TABLEAUX[spec.solver].stages
    per_step = stages * spec.substeps
    return Shape(
        spec.channels,
        spec.controls,
        spec.attributes,
        spec.message,
        spec.carried,
        spec.states,
        spec.own_inputs,
        spec.inputs,
        spec.outputs,
        spec.hidden,
        spec.depth,
        MESSAGES[spec.messages],
        int(spec.coupling == "superposed"),
        FIRST[spec.first_message] if spec.carried else 0,
        spec.substeps,
        stages,
        panel,
        stride,
        hidden_panel,
        up(columns, panel) // panel * hidden_panel,
        per_step * steps if stored else per_step,
        int(stored),
        int(masked),
        total,
        int(backward),
        0,
        rows(spec.states),
        rows(spec.inputs),
        rows(spec.outputs),
        rows(spec.message),
        rows(spec.channels + spec.attributes),
        int(backward and spec.stride > 1),
    )


def places(s: Shape, states: int, weights: int, sums: int) -> Places:
    """Where everything lies; ``states`` are kept, of which a rollout needs two."""
    emitted = s.messages == MESSAGES["emitted"]
    sizes = {
        "weights": weights,
        "sums": sums * s.backward,
        "one": 1,
        "zeroed": 0,
        "at": s.state_rows,
        "control": up(s.controls, 8) * s.stride,
        "attribute": up(s.attributes, 8) * s.stride,
        "lam": s.backward * s.state_rows,
        "k_bar": s.backward * s.state_rows,
        "out_bar": s.backward * s.superposed * s.output_rows,
        "zeroed_end": 0,
        "z": states * s.state_rows,
        "k": s.stages * s.state_rows,
        "inputs": s.slots * s.input_rows,
        "hidden": s.slots * s.depth * s.block,
        "out": s.slots * s.superposed * s.output_rows,
        "arrive": s.slots * s.superposed * s.message_rows,
        "seen": s.slots * s.seen_rows if emitted else 0,
        "emit": s.slots * s.block if emitted else 0,
        "sent": s.message_rows if emitted else 0,
        "first_seen": s.seen_rows if s.first else 0,
        "first": s.block if s.first == FIRST["mlp"] else 0,
        "z_bar": s.backward * s.stages * s.state_rows,
        "hidden_bar": s.backward * s.depth * s.block,
        "inputs_bar": s.backward * s.input_rows,
        "arrive_bar": s.backward * s.superposed * s.message_rows,
        "seen_bar": s.backward * s.seen_rows,
        "slope": s.inside * s.state_rows,
        "inside_bar": s.inside * (s.stages + 1) * s.state_rows,
        "end": 0,
    }
    at = np.concatenate([[0], np.cumsum([up(size, 64) for size in sizes.values()])])
    return Places(*(int(place) for place in at[:-1]))


class Pool:
    """Blocks of memory that are used again: fresh pages cost as much as writing them."""

    def __init__(self) -> None:
        self._free: deque[NDArray] = deque(maxlen=8)

    def take(self, numbers: int, dtype: np.dtype) -> tuple[NDArray, NDArray]:
        """A block and its first ``numbers`` numbers, aligned. Give the block back with `give`."""
        need = numbers * np.dtype(dtype).itemsize
        try:
            block = self._free.pop()
        except IndexError:
            block = np.empty(0, dtype=np.uint8)
        if not need <= block.nbytes - 64 <= 4 * need + 2**20:
            block = np.zeros(need + 64, dtype=np.uint8)
        start = -block.ctypes.data % 64
        return block, block[start : start + need].view(dtype)

    def give(self, block: NDArray) -> None:
        """Hand a block back."""
        self._free.append(block)
