"""The adaptive tree for clustered particles: a cell splits only while it holds many.

Level 2 has all its occupied cells; a cell of level l has its occupied children on level l + 1 if
it holds more than ``split_above`` particles and l is not the deepest level; else it is a leaf. A
pair of touching cells on the same level, taken from the top down, is

- replaced by the pairs of their children, if both are split: children that touch are treated the
  same way, separated ones are connected cell to cell (their parents touch);
- connected particle to particle, if one of the two is a leaf: every particle of the one with every
  particle of the other, also where those are in deeper cells.

So each ordered pair of particles is connected exactly once, with the same kinds of edges as in
the uniform hierarchy (which is the case where all cells split down to the same level). A particle
has at most split_above * 3^dims direct partners for each level above its leaf, for any clustering;
in the uniform grid it has all particles of nine cells (27 in three dimensions), however many.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ...errors import InvalidData
from . import tree_torch as build
from .cells import COARSEST, Hierarchy, Level, morton
from .tree_torch import Grid


def adaptive(
    position: Tensor,
    *,
    graph: Tensor,
    sizes: tuple[int, ...],
    side: Tensor,
    lower: Tensor,
    levels: int,
    periodic: bool,
    bad: Tensor,
    split_above: int,
) -> Hierarchy:
    """The adaptive tree of wrapped positions (particle, axis), without features of cells.

    ``levels``: the greatest depth. ``bad``: a bool tensor, whether the input is not finite; then
    InvalidData is raised. The other arguments are those of `tree.uniform`.
    """
    dims, graphs = position.shape[1], len(sizes)
    device = position.device
    if bool(bad):
        raise InvalidData(
            "the positions, masses, charges or velocities hold values that are not finite",
            got="NaN or inf",
            allowed="finite numbers",
        )
    order, key, cells = build.sort_into_cells(position, graph, side, lower, levels)
    leaf = torch.full_like(key, COARSEST)
    cell = torch.zeros_like(key)
    finest_first: list[Level] = []
    blocks: list[tuple[Tensor, Tensor, Tensor, Tensor]] = []  # runs: receivers, senders
    members = torch.arange(key.shape[0], device=device)  # particles whose cell on this level exists
    above: Grid | None = None
    above_split: Tensor | None = None
    level = COARSEST
    while True:
        grid, first, count = _grid(key, cells, members, level, levels, dims, above, above_split)
        cell[members] = grid.child
        leaf[members] = level
        near, separated = _candidates(grid, above, dims, graphs, periodic)
        missing = grid.key.shape[0]
        exists = int((separated != missing).sum())
        ends = build.compact(separated, missing, exists)
        finest_first.insert(0, Level(level, grid.cells, grid.graph, *ends, None))
        split = (count > split_above) & (level < levels)
        sender, receiver = build.compact(near, missing, int((near != missing).sum()))
        direct = ~(split[sender] & split[receiver])
        sender, receiver = sender[direct], receiver[direct]
        blocks.append((first[receiver], count[receiver], first[sender], count[sender]))
        if not bool(split.any()):
            break
        members = members[split[grid.child]]
        above, above_split = grid, split
        level += 1
    sender, receiver = _pairs(blocks, device)
    return Hierarchy(
        order, graph, sizes, side, lower, position[order], sender, receiver, cell,
        _with_parents(finest_first), leaf=leaf, periodic=periodic,
    )  # fmt: skip


def _grid(
    key: Tensor,
    cells: Tensor,
    members: Tensor,
    level: int,
    levels: int,
    dims: int,
    above: Grid | None,
    above_split: Tensor | None,
) -> tuple[Grid, Tensor, Tensor]:
    """The cells of a level that hold ``members``, their first particle and particle count.

    The grid's ``child`` is the cell of each member.
    """
    cell_key = key[members] >> (dims * (levels - level))
    unique, child, count = torch.unique_consecutive(
        cell_key, return_inverse=True, return_counts=True
    )
    first = members[torch.cumsum(count, 0) - count]
    coordinates = cells[first] >> (levels - level)
    grid = Grid(level, unique, unique >> (dims * level), coordinates, child, first)
    return grid, first, count


def _candidates(
    grid: Grid, above: Grid | None, dims: int, graphs: int, periodic: bool
) -> tuple[Tensor, Tensor]:
    """Touching and separated candidate cells of each cell, given the grid of the level above."""
    if above is not None:
        # `near_and_separated` reads the parents of this level's cells from ``above.child``; in this
        # tree that field holds the cells of particles.
        parent = torch.searchsorted(above.key, grid.key >> dims)
        above = Grid(above.level, above.key, above.graph, above.cells, parent, above.start)
    near, separated = build.near_and_separated(grid, above, dims, graphs, periodic, True)
    assert near is not None
    return near, separated


def _pairs(blocks: list, device: torch.device) -> tuple[Tensor, Tensor]:
    """All ordered pairs of different particles of each block, sorted by receiver."""
    r_first, r_count, s_first, s_count = (torch.cat(runs) for runs in zip(*blocks, strict=True))
    rows = int(r_count.sum())  # one row per receiver and block
    total = int((r_count * s_count).sum())
    build.require_edges_fit(total, device, "raise levels, or lower split_above")
    which = torch.repeat_interleave(
        torch.arange(r_count.shape[0], device=device), r_count, output_size=rows
    )
    start = torch.cumsum(r_count, 0) - r_count
    receiver = torch.arange(rows, device=device) - start[which] + r_first[which]
    receiver, by_receiver = torch.sort(receiver, stable=True)
    block = which[by_receiver]
    length = s_count[block]
    end = torch.cumsum(length, 0)
    row = torch.repeat_interleave(torch.arange(rows, device=device), length, output_size=total)
    edge = torch.arange(total, device=device)
    sender = edge + (s_first[block] - (end - length))[row]
    receiver = receiver[row]
    other = sender != receiver
    return sender[other], receiver[other]


def _with_parents(finest_first: list[Level]) -> tuple[Level, ...]:
    """The levels with each cell's parent filled in."""
    out = []
    for i, level in enumerate(finest_first):
        if i + 1 == len(finest_first):
            out.append(level)
            continue
        upper = finest_first[i + 1]
        out.append(replace(level, parent=_parent_numbers(level, upper)))
    return tuple(out)


def _parent_numbers(level: Level, upper: Level) -> Tensor:
    """int64 (cell,): the number in ``upper`` of the parent of each cell of ``level``."""
    dims = level.cells.shape[1]
    shift = dims * upper.level
    wanted = morton(level.cells >> 1, upper.level) | (level.graph << shift)
    keys = morton(upper.cells, upper.level) | (upper.graph << shift)
    return torch.searchsorted(keys, wanted)
