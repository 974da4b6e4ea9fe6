"""A batch cut into tiles: sets of trajectories whose columns fit the cache, one after another.

A tile is a list of groups; a group is some trajectories of one block of `Columns`. Within a tile a
column is group offset + node * width + trajectory, as in the batch itself. Small blocks share a
tile, wide ones are cut into several.

Where nodes have several types, the columns of a tile stand in the order of the types, and a group is
cut into one for the nodes of each type.
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
NODES, WIDTH, COLUMN, ROW, BATCH_COLUMN, BATCH_WIDTH, TILE, SOURCE, STRIDE = range(9)
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
    ``columns`` (tiles,), ``segments`` (tiles, 2): from 0 to these. ``node``, ``delay`` (rows,).
    ``of_edge`` (edges,): evaluation of each edge. ``back_pointer`` (rows + 1,), ``back_node``,
    ``back_number``: the receivers of each, and the edges.
    ``edge_columns``: weights of one interval.
    """

    groups: Ints
    columns: Ints
    segments: Ints
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
        np.array(table, np.int64).reshape(-1, 4), of_tile,
        np.stack([np.zeros_like(of_tile), of_tile], axis=1), node.astype(np.int64),
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
    each tile, or of each type of receiving nodes in each tile. ``sides`` evaluations an edge: e(k, j), and
    e(j, k), which counts negative, where messages are antisymmetric.
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

    ``groups`` (groups, 9): nodes, width, first column in the tile, first row, first column in the
    batch of the group's first trajectory, width in the batch, tile; sender s of a row has the columns
    source + s * stride in the tile, the last two numbers. ``first`` (tiles + 1,): first group of each
    tile. ``columns`` (tiles,). ``segments`` (tiles, types + 1): first column of each type of nodes, and
    the number of columns. ``weight`` (edges,): factors. ``pointer``, ``sender``: senders to each row;
    ``back_*`` the same reversed, for the adjoint. ``number`` and ``position``: edge of each of their
    entries, and its number among those of its receiver. With several types of nodes the rows are those
    of the tiles, and the senders columns of these. ``runs``: None without messages of pairs.
    """

    groups: Ints
    first: Ints
    columns: Ints
    segments: Ints
    weight: NDArray
    pointer: Ints
    sender: Ints
    back_pointer: Ints
    back_sender: Ints
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


@dataclass(frozen=True)
class Piece:
    """A group of `cut`, or its nodes of one type: ``nodes`` from number ``first`` on of those of the
    group number ``group``, whose graph has ``row`` as its first row. ``column``: the first in the tile."""

    group: int
    kind: int
    first: int
    nodes: int
    width: int
    column: int
    row: int
    tile: int


def pieces_of(columns: Columns, groups: Ints, types: int) -> tuple[list[Piece], Ints]:
    """The groups of the tiles, cut by the types of their nodes, in the order of the columns; and the
    first column of each type in each tile, (tiles, types + 1)."""
    tiles = int(groups[-1, TILE]) + 1
    segments = np.zeros((tiles, types + 1), np.int64)
    pieces = []
    if types == 1:
        for number, (nodes, width, column, row, _, _, tile) in enumerate(groups.tolist()):
            pieces.append(Piece(number, 0, 0, nodes, width, column, row, tile))
            segments[tile, 1] = column + nodes * width
        return pieces, segments
    assert columns.node_type is not None
    of_tile: list[list[int]] = [[] for _ in range(tiles)]
    for number, tile in enumerate(groups[:, TILE].tolist()):
        of_tile[tile].append(number)
    bounds = []
    for nodes, _, _, row, *_ in groups.tolist():
        kinds = columns.node_type[row : row + nodes]
        bounds.append(np.searchsorted(kinds, np.arange(types + 1)).tolist())
    for tile, numbers in enumerate(of_tile):
        column = 0
        for kind in range(types):
            for number in numbers:
                _, width, _, row, *_ = groups[number].tolist()
                first, stop = bounds[number][kind], bounds[number][kind + 1]
                if stop > first:
                    pieces.append(
                        Piece(number, kind, first, stop - first, width, column, row, tile)
                    )
                    column += (stop - first) * width
            segments[tile, kind + 1] = column
    return pieces, segments


@dataclass(frozen=True, eq=False)
class Rows:
    """Neighbours of rows: those of row i are ``sender[pointer[i]:pointer[i + 1]]``, along the edges
    ``number``."""

    pointer: Ints
    sender: Ints
    number: Ints


def rows_of_tiles(
    pieces: list[Piece], groups: Ints, both: tuple[Rows, Rows]
) -> tuple[list[int], list[Rows]]:
    """First row of each piece in tables of the rows of all groups, whose senders are columns of the
    tile; and these tables of edges in both directions, ``both`` of the rows of the batch."""
    node_columns = [np.empty(nodes, np.int64) for nodes in groups[:, NODES].tolist()]
    for piece in pieces:
        nodes = np.arange(piece.nodes)
        node_columns[piece.group][piece.first + nodes] = piece.column + nodes * piece.width
    base: dict[tuple[Any, ...], int] = {}
    of_group, total = [], 0
    tables: list[list[tuple[Ints, Ints, Ints]]] = [[], []]
    for (nodes, _, _, row, *_), places in zip(groups.tolist(), node_columns):
        # Groups of one graph that lie in the same way in their tiles share their rows.
        key = (row, places.tobytes())
        if key not in base:
            base[key] = total
            total += nodes
            for table, rows in zip(tables, both):
                pointer = rows.pointer[row : row + nodes + 1]
                entries = slice(int(pointer[0]), int(pointer[-1]))
                table.append((np.diff(pointer), places[rows.sender[entries]], rows.number[entries]))
        of_group.append(base[key])
    made = []
    for table in tables:
        counts, senders, numbers = (np.concatenate(part) for part in zip(*table))
        pointer = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        made.append(Rows(pointer, senders.astype(np.int64), numbers.astype(np.int64)))
    return [of_group[piece.group] + piece.first for piece in pieces], made


def runs_of(
    columns: Columns,
    groups: Ints,
    pieces: list[Piece],
    types: int,
    lanes: int,
    sides: int,
    rows: int,
    senders: Senders | None = None,
) -> Runs:
    """The runs of the tiles that `cut` has made, in panels of two vectors of edge columns.

    A panel has receivers of one type. ``rows``: those of a node's block. ``senders``: of messages that
    are delayed or whose weights vary, of nodes of one type.
    """
    sender_blocks, sender_block, most_sender, weights = [], 0, 0, [np.empty(0, np.int64)]
    panel = 2 * lanes
    blocks, block, most = [], 0, 0
    block_of: dict[int, int] = {}
    table, tile_first, panel_of = [np.empty((0, RUN_FIELDS), np.int64)], [0], []
    position, n_panels = 0, 0
    tiles = int(groups[-1, TILE]) + 1
    for piece in pieces:
        if piece.tile * types + piece.kind >= len(tile_first):
            n_panels += -(-position // panel)
            position = 0
        while piece.tile * types + piece.kind >= len(tile_first):
            if len(tile_first) % types == 0:
                block = sender_block = 0
            tile_first.append(n_panels)
        nodes, width, row, first_node = piece.nodes, piece.width, piece.row, piece.first
        step = block_step(width, lanes)
        if piece.group not in block_of:
            block_of[piece.group] = block
            block += int(groups[piece.group, NODES]) * rows * step
            most = max(most, block)
        start_of_blocks = block_of[piece.group]
        own_block = start_of_blocks + first_node * rows * step
        blocks.append([nodes, width, piece.column, own_block, step])
        first, last = columns.pointer[row + first_node], columns.pointer[row + first_node + nodes]
        edge = np.repeat(np.arange(first, last), sides)
        side = np.tile(np.arange(sides), last - first)
        receiver, sender = columns.receiver[edge], columns.sender[edge]
        ends = (np.where(side, sender, receiver), np.where(side, receiver, sender), receiver)
        number = (edge - columns.pointer[row + receiver]) * sides + side
        start = position + np.arange(len(edge)) * width
        parts = (start + width - 1) // panel - start // panel + 1
        of = np.repeat(np.arange(len(edge)), parts)
        part = np.arange(len(of)) - np.repeat(np.cumsum(parts) - parts, parts)
        begin = np.where(part == 0, start[of], (start[of] // panel + part) * panel)
        count = np.minimum(start[of] + width, (begin // panel + 1) * panel) - begin
        within = begin - start[of]
        nodes_at = [start_of_blocks + within + end[of] * (rows * step) for end in ends]
        if senders is not None:
            count_of, sender_column, _, base = senders.groups[piece.group].tolist()
            sender_blocks.append([count_of, width, sender_column, sender_block, step])
            if sides == 1:
                second = senders.of_edge[edge[of]]
                nodes_at[1] = sender_block + within + second * (rows * step)
            sender_block += count_of * rows * step
            most_sender = max(most_sender, sender_block)
            weights.append(base + edge[of] * groups[piece.group, BATCH_WIDTH] + within)
        of_edge = (edge * sides + side, edge, number, np.full(len(edge), step))
        fields = (
            begin % panel, count, *nodes_at, *(values[of] for values in of_edge),
            piece.column + within + (receiver[of] - first_node) * width,
        )  # fmt: skip
        table.append(np.stack(fields, axis=1))
        panel_of.append(n_panels + begin // panel)
        position += len(edge) * width
    n_panels += -(-position // panel)
    tile_first += [n_panels] * (tiles * types + 1 - len(tile_first))
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
    types: int = 1,
    in_time: bool = False,
    evaluations: Any = None,
) -> Plan:
    """The plan of a batch; cached for as long as ``columns`` exists.

    ``sides``: evaluations of a message of pairs for each edge, 0 without such messages. ``rows``: see
        `runs_of`. ``types`` of nodes. ``in_time``: weights vary in time. ``evaluations``: those of
        delayed senders, or None; both of nodes of one type.
    """
    plans = _plans.setdefault(columns, {})
    key: tuple[Any, ...] = (
        aggregation, divisor, np.dtype(dtype).char, size, lanes, n_threads, sides, rows, types,
    )  # fmt: skip
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
        forth = Rows(columns.pointer, columns.sender, number)
        back = Rows(
            np.concatenate([[0], np.cumsum(n_sent)]).astype(np.int64),
            (receiver - base)[order].astype(np.int64), order.astype(np.int64),
        )  # fmt: skip
        pieces, segments = pieces_of(columns, groups, types)
        runs = senders = None
        if in_time or evaluations is not None:
            senders = senders_of(columns, groups, len(n_columns), evaluations)
        if sides:
            runs = runs_of(columns, groups, pieces, types, lanes, sides, rows, senders)
        if types == 1:
            table = np.hstack([groups, groups[:, [COLUMN, WIDTH]]])
        else:
            first_rows, (forth, back) = rows_of_tiles(pieces, groups, (forth, back))
            table = np.array(
                [
                    [
                        piece.nodes, piece.width, piece.column, row,
                        groups[piece.group, BATCH_COLUMN]
                        + piece.first * groups[piece.group, BATCH_WIDTH],
                        groups[piece.group, BATCH_WIDTH], piece.tile, 0, 1,
                    ]
                    for piece, row in zip(pieces, first_rows)
                ],
                dtype=np.int64,
            )  # fmt: skip
            first = np.searchsorted(table[:, TILE], np.arange(len(n_columns) + 1)).astype(np.int64)
        plans[key] = Plan(
            np.ascontiguousarray(table), first, n_columns, segments, weight.astype(dtype),
            forth.pointer, forth.sender, back.pointer, back.sender,
            forth.number, position[forth.number], back.number, position[back.number], runs,
            senders, evaluations,
        )  # fmt: skip
    return plans[key]
