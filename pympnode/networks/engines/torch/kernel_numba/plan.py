"""A batch cut into tiles: sets of trajectories whose columns fit the cache, one after another.

A tile is a list of pieces; a piece is some trajectories of one block of `Columns`. Within a tile a
column is piece offset + node * width + trajectory, as in the batch itself. Small blocks share a
tile, wide ones are cut into several.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...columns import Columns

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Plan:
    """``pieces`` (pieces, 7): nodes, width, first column in the tile, first row, first column in
    the batch of the piece's first trajectory, width in the batch, tile. ``first`` (tiles + 1,):
    pieces of a tile. ``columns`` (tiles,). ``pointer``, ``sender``, ``weight``: who sends to each
    row and with what factor; ``back_*`` the same turned round, for the adjoint.
    """

    pieces: Ints
    first: Ints
    columns: Ints
    pointer: Ints
    sender: Ints
    weight: NDArray
    back_pointer: Ints
    back_sender: Ints
    back_weight: NDArray

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return len(self.columns)


def cut(columns: Columns, size: int, lanes: int, parts: int) -> tuple[Ints, Ints, Ints]:
    """Pieces, first piece and number of columns of each tile, of about ``size`` columns.

    ``parts`` threads share the tiles: a batch that would make fewer is cut finer, but never below
    one vector of ``lanes`` trajectories.
    """
    total = columns.total
    size = max(1, min(size, -(-total // parts)))
    pieces: list[list[int]] = []
    first, filled = [0], []
    at = 0
    for nodes, width, offset, row in columns.blocks():
        # A large graph still gets some trajectories at once: sums over neighbours go by vectors.
        most = max(1, size // nodes, min(8, 4096 // nodes))
        if most >= lanes:
            most -= most % lanes
        count = -(-width // most) if most < width else 1
        even = -(-width // count)
        even = min(width, -(-even // lanes) * lanes) if even > lanes // 2 else even
        for start in range(0, width, even):
            here = min(even, width - start)
            if at and at + nodes * here > size:
                first.append(len(pieces))
                filled.append(at)
                at = 0
            pieces.append([nodes, here, at, row, offset + start, width, len(filled)])
            at += nodes * here
    first.append(len(pieces))
    filled.append(at)
    return (np.array(v, dtype=np.int64) for v in (pieces, first, filled))  # type: ignore


def plan_of(
    columns: Columns,
    aggregation: str,
    divisor: float,
    dtype: np.dtype,
    size: int,
    lanes: int,
    parts: int,
) -> Plan:
    """The plan of a batch; kept with ``columns``, which training uses again."""
    kept = columns.__dict__.setdefault("_tile_plans", {})
    key = (aggregation, divisor, np.dtype(dtype).char, size, lanes, parts)
    if key not in kept:
        pieces, first, filled = cut(columns, size, lanes, parts)
        weight = columns.edge_weight(aggregation, divisor)
        receiver = np.repeat(np.arange(len(columns.degree)), columns.degree)
        # Rows are numbered through all blocks, senders within theirs.
        base = np.repeat(columns.first_row[:-1], columns.nodes)[receiver]
        order = np.argsort(columns.sender + base, kind="stable")
        sent = np.bincount(columns.sender + base, minlength=len(columns.degree))
        kept[key] = Plan(
            pieces,
            first,
            filled,
            columns.pointer,
            columns.sender,
            weight.astype(dtype),
            np.concatenate([[0], np.cumsum(sent)]).astype(np.int64),
            (receiver - base)[order].astype(np.int64),
            weight[order].astype(dtype),
        )
    return kept[key]
