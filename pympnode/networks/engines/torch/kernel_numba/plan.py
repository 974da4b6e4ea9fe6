"""A batch cut into tiles: sets of trajectories whose columns fit the cache, one after another.

A tile is a list of groups; a group is some trajectories of one block of `Columns`. Within a tile a
column is group offset + node * width + trajectory, as in the batch itself. Small blocks share a
tile, wide ones are cut into several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from ...columns import Columns

Ints = NDArray[np.int64]


# Columns of the table of groups.
NODES, WIDTH, COLUMN, ROW, BATCH_COLUMN, BATCH_WIDTH, TILE = range(7)


@dataclass(frozen=True, eq=False)
class Plan:
    """Tiles of a batch, and its edges in both directions.

    ``groups`` (groups, 7): nodes, width, first column in the tile, first row, first column in the
    batch of the group's first trajectory, width in the batch, tile. ``first`` (tiles + 1,): first
    group of each tile. ``columns`` (tiles,). ``pointer``, ``sender``, ``weight``: senders to each row
    and their factors; ``back_*`` the same reversed, for the adjoint.
    """

    groups: Ints
    first: Ints
    columns: Ints
    pointer: Ints
    sender: Ints
    weight: NDArray
    back_pointer: Ints
    back_sender: Ints
    back_weight: NDArray


def cut(columns: Columns, size: int, lanes: int, n_threads: int) -> tuple[Ints, Ints, Ints]:
    """Groups, first group and number of columns of each tile, of about ``size`` columns.

    ``n_threads`` share the tiles: a batch that would make fewer tiles is cut into smaller ones, but
    never below one vector of ``lanes`` trajectories.
    """
    size = max(1, min(size, -(-columns.total // n_threads)))
    groups: list[list[int]] = []
    first, n_columns = [0], []
    column = 0
    for nodes, width, offset, row in columns.blocks():
        # A large graph still gets some trajectories at once: sums over neighbours go by vectors.
        largest = max(1, size // nodes, min(8, 4096 // nodes))
        # Neighbour sums go by whole vectors of trajectories; the rest of a vector is wasted work.
        if largest >= lanes:
            largest -= largest % lanes
        count = -(-width // largest) if largest < width else 1
        # Groups of equal width, in whole vectors where that wastes less than half of one.
        even = -(-width // count)
        even = min(width, -(-even // lanes) * lanes) if even > lanes // 2 else even
        for start in range(0, width, even):
            here = min(even, width - start)
            if column and column + nodes * here > size:
                first.append(len(groups))
                n_columns.append(column)
                column = 0
            groups.append([nodes, here, column, row, offset + start, width, len(n_columns)])
            column += nodes * here
    first.append(len(groups))
    n_columns.append(column)
    return (np.array(v, dtype=np.int64) for v in (groups, first, n_columns))  # type: ignore


# Training uses the same columns for every batch; a plan is freed with its columns.
_plans: WeakKeyDictionary[Columns, dict[tuple[Any, ...], Plan]] = WeakKeyDictionary()


def plan_of(
    columns: Columns,
    aggregation: str,
    divisor: float,
    dtype: np.dtype,
    size: int,
    lanes: int,
    n_threads: int,
) -> Plan:
    """The plan of a batch; cached for as long as ``columns`` exists."""
    plans = _plans.setdefault(columns, {})
    key = (aggregation, divisor, np.dtype(dtype).char, size, lanes, n_threads)
    if key not in plans:
        groups, first, n_columns = cut(columns, size, lanes, n_threads)
        weight = columns.edge_weight(aggregation, divisor)
        receiver = np.repeat(np.arange(len(columns.degree)), columns.degree)
        # Rows are numbered through all blocks, senders within theirs.
        base = np.repeat(columns.first_row[:-1], columns.nodes)[receiver]
        # The adjoint sums over receivers: the same edges, sorted by sender.
        order = np.argsort(columns.sender + base, kind="stable")
        n_sent = np.bincount(columns.sender + base, minlength=len(columns.degree))
        plans[key] = Plan(
            groups, first, n_columns, columns.pointer, columns.sender, weight.astype(dtype),
            np.concatenate([[0], np.cumsum(n_sent)]).astype(np.int64),
            (receiver - base)[order].astype(np.int64), weight[order].astype(dtype),
        )  # fmt: skip
    return plans[key]
