"""What the fused program needs to know: padded sizes, where each parameter lies, who runs what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from ....models.layout import layout_of
from ....models.spec import ModelSpec
from ...columns import Columns

Ints = NDArray[np.int64]

LEAST = 16  # smallest side of a matrix product in Triton
PROGRAMS = 128  # tiles are widened only while at least this many programs remain
WIDEST = 64  # columns of a tile
BUDGET = 6400  # (hidden + outputs) (hidden + columns), up to which tiles are widened


def padded(size: int) -> int:
    """The next power of two, at least `LEAST`."""
    return max(LEAST, 1 << max(0, size - 1).bit_length())


@dataclass(frozen=True)
class Sizes:
    """Padded sizes of a specification and the places of its weights in the padded vector.

    A node's rows are [x; m], p rows for the message whether or not it is carried, so that a message
    component has the same row before and after it was summed. The first layer is split into what
    multiplies z, what arrives, and the inputs [u; b] that are constant over an interval. The last
    has one slab of rows for F and one for each column of G.
    """

    spec: ModelSpec

    @cached_property
    def rows(self) -> int:
        return padded(self.spec.channels + self.spec.message)

    @cached_property
    def hidden(self) -> int:
        return padded(self.spec.hidden)

    @cached_property
    def held(self) -> int:
        return padded(self.spec.controls + self.spec.attributes)

    @cached_property
    def slabs(self) -> int:
        """Slabs of the last layer, a power of two."""
        if self.spec.coupling == "mixed":
            return 1
        return 1 << self.spec.message.bit_length()

    @cached_property
    def shapes(self) -> dict[str, tuple[int, int]]:
        """Shape (rows, columns) of every padded weight, in order."""
        rows, hidden, held = self.rows, self.hidden, self.held
        out = self.slabs * rows
        shapes = {
            "from_z": (hidden, rows),
            "from_arriving": (hidden, rows),
            "from_held": (hidden, held),
            "bias_1": (hidden, 1),
            "middle": (hidden, hidden),
            "bias_2": (hidden, 1),
            "last": (out, hidden),
            "bias_3": (out, 1),
        }
        if self.spec.messages == "emitted":
            shapes |= {
                "emit_z": (hidden, rows),
                "emit_held": (hidden, held),
                "emit_bias_1": (hidden, 1),
                "emit_last": (rows, hidden),
                "emit_bias_2": (rows, 1),
            }
        return shapes

    @cached_property
    def total(self) -> int:
        """Length of the padded vector; its last number belongs to parameters that are not in it."""
        return sum(a * b for a, b in self.shapes.values()) + 1

    @cached_property
    def position(self) -> Ints:
        """Where parameter number i of the flat vector lies in the padded one; the last place where
        the program does not use it (the first message is made before the window)."""
        spec, layout = self.spec, layout_of(self.spec)
        places, at = {}, 0
        for name, (a, b) in self.shapes.items():
            places[name] = np.arange(at, at + a * b, dtype=np.int64).reshape(a, b)
            at += a * b
        x, u, b, p = spec.channels, spec.controls, spec.attributes, spec.message
        message = slice(x, x + p)
        out = np.full(layout.size, self.total - 1, dtype=np.int64)
        view = layout.unpack(out)
        h = spec.hidden

        def put(name: str, place: Ints, bias: Ints) -> None:
            view[f"{name}weight"][...] = place
            view[f"{name}bias"][...] = bias

        first = [places["from_z"][:h, :x], places["from_held"][:h, : u + b]]
        if spec.coupling == "mixed":
            first.append(places["from_arriving"][:h, message])
        put("layer_1_", np.concatenate(first, axis=1), places["bias_1"][:h, 0])
        if spec.depth == 2:
            put("layer_2_", places["middle"][:h, :h], places["bias_2"][:h, 0])
        # Row of the last layer: F_i at i, G_iq in slab q + 1.
        row = np.arange(spec.states)
        if spec.coupling == "superposed":
            slab = (np.arange(p)[None, :] + 1) * self.rows + row[:, None]
            row = np.concatenate([row, slab.reshape(-1)])
        put(f"layer_{spec.depth + 1}_", places["last"][row, :h], places["bias_3"][row, 0])
        if spec.messages == "emitted":
            seen = [places["emit_z"][:h, :x], places["emit_held"][:h, u : u + b]]
            put("emit_layer_1_", np.concatenate(seen, axis=1), places["emit_bias_1"][:h, 0])
            put(
                "emit_layer_2_", places["emit_last"][message, :h], places["emit_bias_2"][message, 0]
            )
        return out


@lru_cache(maxsize=32)
def sizes_of(spec: ModelSpec) -> Sizes:
    """`Sizes` of a specification, kept."""
    return Sizes(spec)


@lru_cache(maxsize=32)
def places_of(spec: ModelSpec, device: torch.device) -> torch.Tensor:
    """`Sizes.position` on the device."""
    return torch.as_tensor(sizes_of(spec).position, device=device)


@dataclass(frozen=True, eq=False)
class Tiles:
    """The programs of a batch: ``table`` (programs, 6) of int32 first column of the block, its
    nodes, its trajectories, first trajectory of the tile, trajectories in it, first number of the
    block's matrix in ``matrix``; ``columns`` of a tile, a power of two."""

    table: torch.Tensor
    matrix: torch.Tensor
    columns: int


def tiles_of(columns: Columns, spec: ModelSpec, like: torch.Tensor) -> Tiles:
    """Cut the blocks of ``columns`` into tiles; kept with the columns."""
    kept = columns.__dict__.setdefault("_fused_tiles", {})
    shape = sizes_of(spec).shapes["last"]
    key = (spec.aggregation, spec.divisor, shape, like.dtype, like.device)
    if key not in kept:
        blocks = columns.blocks()
        size = padded(max(nodes for nodes, *_ in blocks))
        outputs, hidden = shape
        most = min(WIDEST, BUDGET // (hidden + outputs) - hidden)
        while 2 * size <= most and len(_cut(blocks, 2 * size)) >= PROGRAMS:
            size *= 2
        dense = columns.matrices(spec.aggregation, spec.divisor)
        flat = np.concatenate([m.reshape(-1) for m in dense])
        kept[key] = Tiles(
            torch.as_tensor(np.array(_cut(blocks, size), dtype=np.int32), device=like.device),
            torch.as_tensor(flat, dtype=like.dtype, device=like.device),
            size,
        )
    tiles: Tiles = kept[key]
    return tiles


def _cut(blocks: list[tuple[int, int, int, int]], size: int) -> list[list[int]]:
    rows, at = [], 0
    for nodes, width, offset, _ in blocks:
        each = size // nodes
        for first in range(0, width, each):
            rows.append([offset, nodes, width, first, min(each, width - first), at])
        at += nodes * nodes
    return rows
