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
# Columns of the table of runs.
LANE, COUNT, FIRST, SECOND, RECEIVER, EVALUATION, EDGE, POSITION, STEP, TARGET = range(10)
RUN_FIELDS = 10
# Columns of the table of node blocks.
BLOCK_NODES, BLOCK_WIDTH, BLOCK_COLUMN, BLOCK_START, BLOCK_STEP = range(5)


# Columns of the table of groups of delayed senders.
SENDERS, SENDER_COLUMN, SENDER_ROW, WEIGHT_BASE = range(4)


@dataclass(frozen=True, eq=False)
class Senders:
    """What the tiles need of delayed senders, or of weights that vary in time.

    A column of a sender is its evaluation, a node and a delay (`delays.Evaluations`), as a column of a
    node is a node; without delays they are the same. ``groups`` (groups, 4): evaluations, first column
    in the tile, first row of ``node`` and ``delay``, and where the weights of the group's edges begin:
    that of edge e and trajectory c of an interval lies at base + e * width in the batch + c.
    ``columns`` (tiles,). ``node``, ``delay`` (rows,). ``of_edge`` (edges,): evaluation of each edge.
    ``back_pointer`` (rows + 1,), ``back_node``, ``back_number``: the receivers of each, and the edges.
    ``edge_columns``: weights of one interval.
    """

    groups: Ints
    columns: Ints
    node: Ints
    delay: Ints
    of_edge: Ints
    back_pointer: Ints
    back_node: Ints
    back_number: Ints
    edge_columns: int


def senders_of(columns: Columns, groups: Ints, tiles: int, evaluations: Any) -> Senders:
    """See `Senders`; ``evaluations`` of `Delays`, or None without delays."""
    if evaluations is None:
        node = np.concatenate([np.arange(n, dtype=np.int64) for n in columns.nodes])
        delay = np.zeros(len(node), np.int64)
        of_edge, first = columns.sender, columns.first_row
    else:
        node, delay = evaluations.sender, evaluations.delay
        of_edge, first = evaluations.of_edge, evaluations.first
    block_of = {int(row): block for block, row in enumerate(columns.first_row[:-1])}
    counts = [edges.stop - edges.start for edges in columns.block_edges()]
    begin = np.concatenate([[0], np.cumsum(np.array(counts) * columns.width)]).astype(np.int64)
    table, of_tile, column, tile = [], np.zeros(tiles, np.int64), 0, 0
    for _, width, _, row, batch_column, batch_width, at in groups:
        column, tile = (0, at) if at != tile else (column, tile)
        block = block_of[int(row)]
        base = begin[block] - columns.pointer[row] * batch_width
        base += batch_column - columns.offset[block]
        count = first[block + 1] - first[block]
        table.append([count, column, first[block], base])
        column += count * width
        of_tile[tile] = column
    row_of = of_edge + np.concatenate(
        [np.full(count, first[block]) for block, count in enumerate(counts)]
    ).astype(np.int64)
    order = np.argsort(row_of, kind="stable").astype(np.int64)
    pointer = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=len(node)))])
    return Senders(
        np.array(table, np.int64).reshape(-1, 4), of_tile, node.astype(np.int64),
        delay.astype(np.int64), of_edge.astype(np.int64), pointer.astype(np.int64),
        columns.receiver[order].astype(np.int64), order, int(begin[-1]),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Runs:
    """Edge columns of the tiles, for messages of pairs: evaluation * width + trajectory.

    The rows of a node lie side by side in its block, ``step`` numbers each: an edge then reads a few
    pieces of memory instead of one for each row. ``blocks`` (groups, 5): nodes, width, first column in
    the tile, start of the first block, step. ``block_numbers``: most numbers in the blocks of a tile.

    ``runs`` (runs, 10), a piece of one evaluation of e in one panel: first lane, lanes, start in the
    blocks of the first and of the second argument of e and of the node that receives it, evaluation,
    edge, number among the evaluations that its receiver gets, step, first column in the tile of the
    receiver. ``panels`` (panels + 1,): first run of each panel. ``tiles`` (tiles + 1,): first panel of
    each tile. ``sides`` evaluations an edge: e(k, j), and e(j, k), which counts negative, where messages
    are antisymmetric.
    """

    blocks: Ints
    block_numbers: int

    runs: Ints
    panels: Ints
    tiles: Ints
    sides: int
    # Blocks of delayed senders, their numbers, and where the weight of each run's first lane lies.
    sender_blocks: Ints
    sender_numbers: int
    weight: Ints


@dataclass(frozen=True, eq=False)
class Plan:
    """Tiles of a batch, and its edges in both directions.

    ``groups`` (groups, 7): nodes, width, first column in the tile, first row, first column in the
    batch of the group's first trajectory, width in the batch, tile. ``first`` (tiles + 1,): first
    group of each tile. ``columns`` (tiles,). ``pointer``, ``sender``, ``weight``: senders to each row
    and their factors; ``back_*`` the same reversed, for the adjoint. ``number`` and ``position``
    (edges,): edge of each entry, and its number among those of its receiver. ``runs``: None without
    messages of pairs.
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
    number: Ints
    position: Ints
    back_number: Ints
    back_position: Ints
    runs: Runs | None
    senders: Senders | None = None
    evaluations: Any = None


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


def block_step(width: int, lanes: int) -> int:
    """Numbers from one row of a node's block to the next: whole vectors, short ones for short rows.

    A vector that is added to one row then overlaps no other; a load from it would have to wait.
    """
    short = min(4, lanes)
    return short if width <= short else -(-width // lanes) * lanes


def runs_of(
    columns: Columns,
    groups: Ints,
    lanes: int,
    sides: int,
    rows: int,
    senders: Senders | None = None,
) -> Runs:
    """The runs of the tiles that `cut` has made, in panels of two vectors of edge columns.

    ``rows``: those of a node's block. ``senders``: of messages that are delayed or whose weights vary.
    """
    sender_blocks, sender_block, most_sender, weights = [], 0, 0, [np.empty(0, np.int64)]
    panel = 2 * lanes
    blocks, block, most = [], 0, 0
    table, tile_first, panel_of = [np.empty((0, RUN_FIELDS), np.int64)], [0], []
    tile, position, n_panels = 0, 0, 0
    for number_of_group, (nodes, width, column, row, _, batch_width, of_tile) in enumerate(groups):
        if of_tile != tile:
            n_panels += -(-position // panel)
            tile_first.append(n_panels)
            tile, position, block, sender_block = of_tile, 0, 0, 0
        step = block_step(width, lanes)
        blocks.append([nodes, width, column, block, step])
        first, last = columns.pointer[row], columns.pointer[row + nodes]
        edge = np.repeat(np.arange(first, last), sides)
        side = np.tile(np.arange(sides), last - first)
        receiver, sender = columns.receiver[edge], columns.sender[edge]
        ends = (np.where(side, sender, receiver), np.where(side, receiver, sender), receiver)
        number = (edge - columns.pointer[row + receiver]) * sides + side
        start = position + np.arange(len(edge)) * width
        pieces = (start + width - 1) // panel - start // panel + 1
        of = np.repeat(np.arange(len(edge)), pieces)
        piece = np.arange(len(of)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        begin = np.where(piece == 0, start[of], (start[of] // panel + piece) * panel)
        count = np.minimum(start[of] + width, (begin // panel + 1) * panel) - begin
        within = begin - start[of]
        nodes_at = [block + within + end[of] * (rows * step) for end in ends]
        if senders is not None:
            count_of, sender_column, _, base = senders.groups[number_of_group]
            sender_blocks.append([count_of, width, sender_column, sender_block, step])
            if sides == 1:
                second = senders.of_edge[edge[of]]
                nodes_at[1] = sender_block + within + second * (rows * step)
            sender_block += count_of * rows * step
            most_sender = max(most_sender, sender_block)
            weights.append(base + edge[of] * batch_width + within)
        block += nodes * rows * step
        most = max(most, block)
        of_edge = (edge * sides + side, edge, number, np.full(len(edge), step))
        fields = (
            begin % panel, count, *nodes_at, *(values[of] for values in of_edge),
            column + within + receiver[of] * width,
        )  # fmt: skip
        table.append(np.stack(fields, axis=1))
        panel_of.append(n_panels + begin // panel)
        position += len(edge) * width
    n_panels += -(-position // panel)
    tile_first.append(n_panels)
    counts = np.bincount(np.concatenate(panel_of), minlength=n_panels)
    return Runs(
        np.array(blocks, dtype=np.int64),
        int(most),
        np.ascontiguousarray(np.concatenate(table), dtype=np.int64),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.array(tile_first, dtype=np.int64),
        sides,
        np.array(sender_blocks, dtype=np.int64).reshape(-1, 5),
        int(most_sender),
        np.concatenate(weights).astype(np.int64),
    )


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
    sides: int = 0,
    rows: int = 0,
    in_time: bool = False,
    evaluations: Any = None,
) -> Plan:
    """The plan of a batch; cached for as long as ``columns`` exists.

    ``sides``: evaluations of a message of pairs for each edge, 0 without such messages. ``rows``: see `runs_of`.
    ``in_time``: weights vary in time. ``evaluations``: those of delayed senders, or None.
    """
    plans = _plans.setdefault(columns, {})
    key = (aggregation, divisor, np.dtype(dtype).char, size, lanes, n_threads, sides, rows)
    if in_time or evaluations is not None:
        key = (*key, id(evaluations))  # which the plan keeps
    if key not in plans:
        groups, first, n_columns = cut(columns, size, lanes, n_threads)
        weight = columns.edge_weight(aggregation, divisor)
        receiver = np.repeat(np.arange(len(columns.degree)), columns.degree)
        # Rows are numbered through all blocks, senders within theirs.
        base = np.repeat(columns.first_row[:-1], columns.nodes)[receiver]
        # The adjoint sums over receivers: the same edges, sorted by sender.
        order = np.argsort(columns.sender + base, kind="stable")
        n_sent = np.bincount(columns.sender + base, minlength=len(columns.degree))
        number = np.arange(len(columns.sender), dtype=np.int64)
        position = number - columns.pointer[receiver]
        senders = None
        if in_time or evaluations is not None:
            senders = senders_of(columns, groups, len(n_columns), evaluations)
        runs = runs_of(columns, groups, lanes, sides, rows, senders) if sides else None
        plans[key] = Plan(
            groups, first, n_columns, columns.pointer, columns.sender, weight.astype(dtype),
            np.concatenate([[0], np.cumsum(n_sent)]).astype(np.int64),
            (receiver - base)[order].astype(np.int64), weight[order].astype(dtype),
            number, position, order.astype(np.int64), position[order], runs, senders, evaluations,
        )  # fmt: skip
    return plans[key]
