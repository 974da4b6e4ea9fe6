"""The uniform hierarchy in pure torch, on the device of the positions.

Particles are sorted by the Morton key of their finest cell, so that the cells of every level are
runs of the same order: the highest bit in which two successive keys differ tells on which levels
a new cell begins. The children of a cell's parent's neighbours form one window of 6^dims places
that all children of that parent share; it is looked up once a parent and then read through two
tables (near, separated) chosen by the child's parity.

The host waits twice for the device: for the cell counts (with the checks of the input) and for
the edge counts. No loop runs over cells or particles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...errors import InvalidData
from ...files.memory import require_bytes
from .cells import COARSEST, morton, pick, spread, top_tables, window_tables

_DENSE = 64  # a table of all cells may have this many places a particle, else it is searched


@dataclass(frozen=True, eq=False)
class Grid:
    """The occupied cells of one level: Morton keys (with the graph above them), and their runs.

    key, graph: (cell,); cells: (cell, axis); child: (child,), this level's cell of each child
    (of each particle, on the finest level); start: (cell + 1,), runs of children.
    """

    level: int
    key: Tensor
    graph: Tensor
    cells: Tensor
    child: Tensor
    start: Tensor


def sort_into_cells(
    position: Tensor, graph: Tensor, side: Tensor, lower: Tensor, levels: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Order of the particles by cell, their keys in that order, and their cell coordinates."""
    size = 1 << levels
    scale = pick(size / side, graph)[:, None]
    coordinate = ((position - pick(lower, graph)) * scale).floor_().long().clamp_(0, size - 1)
    key = morton(coordinate, levels) | (graph << (position.shape[1] * levels))
    key, order = torch.sort(key, stable=True)
    return order, key, pick(coordinate, order)


def build_grids(key: Tensor, cells: Tensor, dims: int, levels: int, bad: Tensor) -> list[Grid]:
    """The grids of all levels from sorted keys, finest first. Raises InvalidData if ``bad``."""
    device = key.device
    changed = key[1:] ^ key[:-1]
    begins = [torch.ones_like(key, dtype=torch.bool) for _ in range(COARSEST, levels + 1)]
    for step, begin in enumerate(begins):
        torch.ne(changed >> (dims * step), 0, out=begin[1:])
    counts = torch.stack([*(begin.sum() for begin in begins), bad]).tolist()
    if counts.pop():
        raise InvalidData(
            "the positions, masses, charges or velocities hold values that are not finite",
            got="NaN or inf",
            allowed="finite numbers",
            fix="a rollout that diverged? look for the first step with torch.isfinite",
        )
    grids: list[Grid] = []
    finer_first = finer_number = torch.arange(key.shape[0], device=device)
    for step, (begin, count) in enumerate(zip(begins, counts, strict=True)):
        level = levels - step
        first = true_places(begin, count)
        number = begin.cumsum(0).sub_(1)
        if grids:  # children are the cells below, not the particles
            child = pick(number, finer_first)
            start = torch.empty(count + 1, dtype=torch.long, device=device)
            # The first child of each cell is the finer cell that begins where the cell begins.
            start[:count] = pick(finer_number, first)
            start[count] = child.shape[0]
        else:
            child = number
            start = torch.cat([first, first.new_full((1,), key.shape[0])])
        own = pick(key, first)
        grids.append(
            Grid(
                level,
                own >> (dims * step),
                own >> (dims * levels),
                pick(cells, first) >> step,
                child,
                start,
            )
        )
        finer_first, finer_number = first, number
    return grids


def true_places(mask: Tensor, count: int) -> Tensor:
    """Places where a flat mask holds, when their number is known (no wait on a GPU)."""
    if mask.device.type == "cpu":  # the same memory, ten times faster than torch.nonzero
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    if not hasattr(torch, "nonzero_static"):
        return torch.nonzero(mask).squeeze(1)
    return torch.nonzero_static(mask, size=count).squeeze(1)


class Lookup:
    """Row of the occupied cell with a Morton key; ``missing`` where there is none."""

    def __init__(self, grid: Grid, dims: int, graphs: int) -> None:
        self.key, self.missing = grid.key, grid.key.shape[0]
        places = graphs << (dims * grid.level)
        rows = torch.arange(self.missing, device=grid.key.device)
        self.table = None
        if places <= _DENSE * max(self.missing, 1024):
            self.table = torch.full((places,), self.missing, dtype=torch.long, device=rows.device)
            self.table[self.key] = rows

    def __call__(self, key: Tensor) -> Tensor:
        if self.table is not None:
            return pick(self.table, key)
        row = torch.searchsorted(self.key, key).clamp_(max=self.missing - 1)
        return row.masked_fill_(pick(self.key, row) != key, self.missing)


def window_rows(
    parents: Tensor, graph: Tensor, lookup: Lookup, level: int, periodic: bool
) -> Tensor:
    """Rows of the cells in each parent's window, (parent, 6^dims); missing ones past the end.

    ``parents``: coordinates (parent, axis) on the grid above ``level``.
    """
    count, dims = parents.shape
    size = 1 << level
    window = torch.arange(-2, 4, device=parents.device)
    key = graph.view(-1, *[1] * dims) << (dims * level)
    outside = None
    for axis in range(dims):
        place = 2 * parents[:, axis, None] + window
        # axis 0 is counted fastest: it is the last dim of the window
        shape = [count] + [6 if dim == dims - 1 - axis else 1 for dim in range(dims)]
        if not periodic:
            beyond = ((place < 0) | (place >= size)).view(shape)
            outside = beyond if outside is None else outside | beyond
        key = key | (spread(place & (size - 1), dims, level) << axis).view(shape)
    row = lookup(key.view(count, -1))
    return row if outside is None else row.masked_fill_(outside.view(count, -1), lookup.missing)


def near_and_separated(
    grid: Grid, above: Grid | None, dims: int, graphs: int, periodic: bool, want_near: bool
) -> tuple[Tensor | None, Tensor]:
    """Candidate cells of each cell of a level: touching (or None), and separated with touching
    parents; a candidate that does not exist is the number of cells."""
    device = grid.key.device
    lookup = Lookup(grid, dims, graphs)
    if above is None:
        near, separated = top_tables(dims, periodic, device)
        places = 4**dims
        rows = lookup(torch.arange(graphs * places, device=device)).view(graphs, places)
        rows = torch.cat([rows, rows.new_full((graphs, 1), lookup.missing)], 1)
        window, own = grid.graph, grid.key & (places - 1)
    else:
        near, separated = window_tables(dims, device)
        rows = window_rows(above.cells, above.graph, lookup, grid.level, periodic)
        window, own = above.child, grid.key & (2**dims - 1)  # lowest bits of the key: the parity
    begin = (window * rows.shape[1])[:, None]
    flat = rows.view(-1)
    touching = pick(flat, pick(near, own).add_(begin)) if want_near else None
    return touching, pick(flat, pick(separated, own).add_(begin))


def near_pairs(grid: Grid, touching: Tensor, total: int, listing: int) -> tuple[Tensor, Tensor]:
    """(sender, receiver) of all pairs of particles in touching cells, sorted by receiver.

    Each cell's senders are listed once; every particle of the cell reads that list, stepping over
    itself. ``total``, ``listing``: number of pairs and of listed senders, from `count_near`.
    """
    device = touching.device
    particles = grid.child.shape[0]
    start = grid.start
    first = pick(start, touching)  # a missing cell begins at the end, and is empty
    length = pick(_run_lengths(grid), touching)
    per_cell = length.sum(1)
    own = torch.arange(grid.key.shape[0], device=device)
    before = (length.cumsum(1) - length).masked_fill_(touching != own[:, None], 0).sum(1)
    flat_length = length.view(-1)
    list_end = flat_length.cumsum(0)
    shift = first.view(-1) - (list_end - flat_length)
    listed = torch.repeat_interleave(shift, flat_length, output_size=listing)
    listed += torch.arange(listing, device=device)
    list_start = per_cell.cumsum(0) - per_cell
    # per particle
    cell = grid.child
    count = pick(per_cell, cell) - 1
    end = count.cumsum(0)
    rows = torch.arange(particles, device=device)
    receiver = torch.repeat_interleave(rows, count, output_size=total)
    place = torch.arange(total, device=device) - pick(end - count, receiver)
    skip = pick(before - start[:-1], cell) + rows
    place += place >= pick(skip, receiver)
    place += pick(pick(list_start, cell), receiver)
    return pick(listed, place), receiver


def compact(candidates: Tensor, missing: int, count: int) -> tuple[Tensor, Tensor]:
    """(sender, receiver) of a candidate table: its entries that exist, sorted by receiver."""
    flat = candidates.reshape(-1)
    place = true_places(flat != missing, count)
    # Whole division is slow; the half keeps the product at least 0.5 / width away from a whole.
    row = ((place.double() + 0.5) * (1.0 / candidates.shape[1])).long()
    return pick(flat, place), row


def _run_lengths(grid: Grid) -> Tensor:
    """Children of each cell, and 0 for the cell that does not exist."""
    return torch.cat([grid.start.diff(), grid.start.new_zeros(1)])


def count_near(grid: Grid, touching: Tensor) -> tuple[Tensor, Tensor]:
    """How many pairs and listed senders `near_pairs` will make, tensors on the device."""
    size = _run_lengths(grid)
    listed = pick(size, touching).sum(1)
    return (size[:-1] * listed).sum() - grid.child.shape[0], listed.sum()


def require_room(count: int, device: torch.device, fix: str) -> None:
    """Refuse ``count`` edges that do not fit: two ends kept and five temporaries of int64."""
    require_bytes(56 * count, f"a hierarchy with {count:,} edges", fix=fix, device=device)


def require_windows(grids: list[Grid], dims: int, fix: str) -> None:
    """Refuse cells whose candidate tables do not fit, before the first one is made.

    The finest level is the largest: a window of 6^dims int64 and its look-up for each parent, then
    two tables of the separated candidates and one of the near ones for each cell.
    """
    cells, parents = grids[0].key.shape[0], grids[min(1, len(grids) - 1)].key.shape[0]
    needed = 8 * (2 * parents * 6**dims + cells * (2 * (6**dims - 3**dims) + 3**dims))
    what = f"a hierarchy with {cells:,} cells on level {grids[0].level}"
    require_bytes(needed, what, fix=fix, device=grids[0].key.device)
