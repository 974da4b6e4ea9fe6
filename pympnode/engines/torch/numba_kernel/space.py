"""Sizes of a run and the buffers of one tile, each cut from one aligned block of memory."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....models.spec import ModelSpec
from ...tableaux import TABLEAUX
from .machine import lanes, panel_width
from .weights import up

MESSAGES = {"zero": 0, "self": 1, "state": 2, "emitted": 3}
FIRST = {"zero": 0, "linear": 1, "mlp": 2}


class Shape(NamedTuple):
    """What a compiled function must know of a model and a tile, all whole numbers.

    ``stride`` separates rows of columns; ``block`` is one hidden layer of all panels, kept panel by
    panel, ``hidden_panel`` numbers each. ``slots`` stages are stored, ``stored`` says whether they
    are those of the whole window or of one interval, run again on the way back.
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


class Space(NamedTuple):
    """Buffers of one tile; rows are ``stride`` apart, counts of rows are rounded up to eight."""

    z: NDArray
    at: NDArray
    k: NDArray
    control: NDArray
    attribute: NDArray
    inputs: NDArray
    hidden: NDArray
    out: NDArray
    arrive: NDArray
    seen: NDArray
    emit: NDArray
    sent: NDArray
    first: NDArray
    lam: NDArray
    k_bar: NDArray
    z_bar: NDArray
    hidden_bar: NDArray
    inputs_bar: NDArray
    out_bar: NDArray
    arrive_bar: NDArray
    seen_bar: NDArray


def shape_of(
    spec: ModelSpec,
    dtype: np.dtype,
    columns: int,
    steps: int,
    *,
    stored: bool,
    masked: bool,
    total: int,
) -> Shape:
    """Sizes for tiles of at most ``columns`` columns; ``total`` columns in the batch."""
    panel = panel_width(dtype)
    vector = lanes(np.dtype(dtype).itemsize)
    # An odd number of vectors a row: rows then do not fall on the same cache sets.
    stride = up(columns, panel) + vector
    hidden_panel = up(spec.hidden, 8) * panel
    stages = TABLEAUX[spec.solver].stages
    per_interval = stages * spec.substeps
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
        per_interval * steps if stored else per_interval,
        int(stored),
        int(masked),
        total,
    )


def _sizes(s: Shape, states: int, backward: bool) -> list[int]:
    """Numbers in each buffer of `Space`, in its order; ``states`` are kept at the grid times."""

    def rows(count: int) -> int:
        return up(count, 8) * s.stride

    emitted = s.messages == MESSAGES["emitted"]
    back = int(backward)
    seen = s.channels + s.attributes
    return [
        states * rows(s.states),
        rows(s.states),
        s.stages * rows(s.states),
        rows(s.controls),
        rows(s.attributes),
        s.slots * rows(s.inputs),
        s.slots * s.depth * s.block,
        s.slots * rows(s.outputs) * s.superposed,
        s.slots * rows(s.message) * s.superposed,
        s.slots * rows(seen) if emitted else rows(seen),
        s.slots * s.block if emitted else 0,
        rows(s.message) if emitted else 0,
        s.block if s.first == FIRST["mlp"] else 0,
        back * rows(s.states),
        back * rows(s.states),
        back * s.stages * rows(s.states),
        back * s.block * max(s.depth, 1),
        back * rows(s.inputs),
        back * rows(s.outputs) * s.superposed,
        back * rows(s.message) * 2,
        back * rows(seen),
    ]


def numbers(s: Shape, states: int, backward: bool) -> int:
    """Numbers in all buffers of one tile."""
    return sum(up(size, 64) for size in _sizes(s, states, backward)) + 64


class Pool:
    """Blocks of memory that are used again: fresh pages cost as much as writing them."""

    def __init__(self) -> None:
        self._free: deque[NDArray] = deque(maxlen=8)

    def take(self, s: Shape, states: int, backward: bool, dtype: np.dtype) -> tuple[NDArray, Space]:
        """A block and the buffers cut from it. Give the block back with `give`."""
        need = numbers(s, states, backward) * np.dtype(dtype).itemsize
        try:
            block = self._free.pop()
        except IndexError:
            block = np.empty(0, dtype=np.uint8)
        if not need <= block.nbytes - 64 <= 4 * need + 2**20:
            block = np.zeros(need + 64, dtype=np.uint8)
        start = -block.ctypes.data % 64
        flat = block[start : start + need].view(dtype)
        parts, at = [], 0
        for size in _sizes(s, states, backward):
            parts.append(flat[at : at + size])
            at += up(size, 64)
        return block, Space(*parts)

    def give(self, block: NDArray) -> None:
        """Hand a block back."""
        self._free.append(block)
