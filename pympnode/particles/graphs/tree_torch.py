"""The uniform hierarchy in pure torch, on the device of the positions.

Particles are sorted by the Morton key of their finest cell, so that the cells of every level are
runs of the same order: a new cell begins on all levels finer than the highest bit in which two
successive keys differ. The children of a cell's parent's neighbours form one window of 6^dims places
that all children of that parent share; it is looked up once per parent and then read through two
tables (near, separated) chosen by the child's parity (`cells.window_tables`).

The host waits twice for the device: for the cell counts (with the checks of the input) and for
the edge counts. No loop runs over cells or particles.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...errors import InvalidData
from ...memory import need
from .cells import COARSEST, interleave_bits, morton, pick, top_tables, window_tables

# Places per occupied cell up to which cells are looked up in a table of all places; beyond it sorted
# keys are searched, which is slower but takes memory for the occupied cells alone.
_TABLE_PLACES = 64


@dataclass(frozen=True, eq=False)
class Grid:
    """The occupied cells of one level, sorted by their keys.

    key: (cell,), Morton key, with the number of the graph in the bits above it. graph: (cell,).
    cells: (cell, axis), grid coordinates. child: (child,), the cell of each child; children are the
    cells of the next finer level, on the finest level the particles. start: (cell + 1,), the first
    child of each cell, and the number of children.
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
    """The order of the particles by cell (particle,), and in that order their keys (particle,) and
    cell coordinates (particle, axis), on the finest level."""
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
    # Of the next finer level: the first particle of each cell, and the cell of each particle.
    finer_first = finer_number = torch.arange(key.shape[0], device=device)
    for step, (begin, count) in enumerate(zip(begins, counts, strict=True)):
        level = levels - step
        first = true_indices(begin, count)
        number = begin.cumsum(0).sub_(1)
        if grids:  # children are the cells below, not the particles
            child = pick(number, finer_first)
            start = torch.empty(count + 1, dtype=torch.long, device=device)
            # A cell's first child is the finer cell that begins with the same particle.
            start[:count] = pick(finer_number, first)
            start[count] = child.shape[0]
        else:
            child = number
            start = torch.cat([first, first.new_full((1,), key.shape[0])])
        cell_key = pick(key, first)
        grids.append(
            Grid(
                level,
                cell_key >> (dims * step),
                cell_key >> (dims * levels),
                pick(cells, first) >> step,
                child,
                start,
            )
        )
        finer_first, finer_number = first, number
    return grids


def true_indices(mask: Tensor, count: int) -> Tensor:
    """int64 (count,): where a flat mask is True. ``count`` is known, so no GPU is waited for."""
    if mask.device.type == "cpu":  # ten times faster than torch.nonzero, on the same memory
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    if not hasattr(torch, "nonzero_static"):
        return torch.nonzero(mask).squeeze(1)
    return torch.nonzero_static(mask, size=count).squeeze(1)


class Lookup:
    """The number of the occupied cell with a Morton key; ``missing`` where there is none."""

    def __init__(self, grid: Grid, dims: int, graphs: int) -> None:
        self.key, self.missing = grid.key, grid.key.shape[0]
        places = graphs << (dims * grid.level)
        numbers = torch.arange(self.missing, device=grid.key.device)
        self.table = None
        if places <= _TABLE_PLACES * max(self.missing, 1024):
            self.table = torch.full(
                (places,), self.missing, dtype=torch.long, device=numbers.device
            )
            self.table[self.key] = numbers

    def __call__(self, key: Tensor) -> Tensor:
        if self.table is not None:
            return pick(self.table, key)
        number = torch.searchsorted(self.key, key).clamp_(max=self.missing - 1)
        return number.masked_fill_(pick(self.key, number) != key, self.missing)


def window_cells(
    parents: Tensor, graph: Tensor, lookup: Lookup, level: int, periodic: bool
) -> Tensor:
    """The numbers of the cells in each parent's window, (parent, 6^dims); ``lookup.missing`` where
    there is none.

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
        # size is a power of two: the mask wraps places across the periodic border.
        key = key | (interleave_bits(place & (size - 1), dims, level) << axis).view(shape)
    number = lookup(key.view(count, -1))
    if outside is None:
        return number
    return number.masked_fill_(outside.view(count, -1), lookup.missing)


def near_and_separated(
    grid: Grid, above: Grid | None, dims: int, graphs: int, periodic: bool, want_near: bool
) -> tuple[Tensor | None, Tensor]:
    """Candidate cells of each cell of a level (cell, candidate): those that touch it, or None without
    ``want_near``, and those that are separated and whose parents touch its parent.

    ``above``: the grid of the next coarser level; None on level 2. A candidate that does not exist is
    the number of cells.
    """
    device = grid.key.device
    lookup = Lookup(grid, dims, graphs)
    if above is None:
        near, separated = top_tables(dims, periodic, device)
        places = 4**dims
        cells = lookup(torch.arange(graphs * places, device=device)).view(graphs, places)
        cells = torch.cat([cells, cells.new_full((graphs, 1), lookup.missing)], 1)
        window, kind = grid.graph, grid.key & (places - 1)
    else:
        near, separated = window_tables(dims, device)
        cells = window_cells(above.cells, above.graph, lookup, grid.level, periodic)
        window, kind = above.child, grid.key & (2**dims - 1)  # lowest bits of the key: the parity
    begin = (window * cells.shape[1])[:, None]
    flat = cells.view(-1)
    touching = pick(flat, pick(near, kind).add_(begin)) if want_near else None
    return touching, pick(flat, pick(separated, kind).add_(begin))


def near_pairs(grid: Grid, touching: Tensor, total: int, listing: int) -> tuple[Tensor, Tensor]:
    """(sender, receiver) of all pairs of particles in touching cells, sorted by receiver.

    Each cell's senders are listed once; every particle of the cell reads that list without itself.
    ``touching``: (cell, candidate), from `near_and_separated`. ``total``, ``listing``: the numbers of
    pairs and of listed senders, from `count_near`.
    """
    device = touching.device
    particles = grid.child.shape[0]
    start = grid.start
    first = pick(start, touching)  # a missing cell begins at the end, and is empty
    length = pick(_run_lengths(grid), touching)
    per_cell = length.sum(1)
    number = torch.arange(grid.key.shape[0], device=device)
    # Listed senders before the cell's own particles.
    before = (length.cumsum(1) - length).masked_fill_(touching != number[:, None], 0).sum(1)
    flat_length = length.view(-1)
    list_end = flat_length.cumsum(0)
    shift = first.view(-1) - (list_end - flat_length)
    listed = torch.repeat_interleave(shift, flat_length, output_size=listing)
    listed += torch.arange(listing, device=device)
    list_start = per_cell.cumsum(0) - per_cell
    cell = grid.child  # from here on per particle
    count = pick(per_cell, cell) - 1
    end = count.cumsum(0)
    particle = torch.arange(particles, device=device)
    receiver = torch.repeat_interleave(particle, count, output_size=total)
    place = torch.arange(total, device=device) - pick(end - count, receiver)
    own_place = pick(before - start[:-1], cell) + particle  # of the particle in its cell's list
    place += place >= pick(own_place, receiver)
    place += pick(pick(list_start, cell), receiver)
    return pick(listed, place), receiver


def compact(candidates: Tensor, missing: int, count: int) -> tuple[Tensor, Tensor]:
    """(sender, receiver) of a table (cell, candidate): its ``count`` entries that are not ``missing``,
    sorted by receiver."""
    flat = candidates.reshape(-1)
    place = true_indices(flat != missing, count)
    # Integer division is slow. The half keeps the product at least 0.5 / width away from an integer,
    # so that rounding cannot change its floor.
    receiver = ((place.double() + 0.5) * (1.0 / candidates.shape[1])).long()
    return pick(flat, place), receiver


def _run_lengths(grid: Grid) -> Tensor:
    """Number of children of each cell (cell + 1,): the last, 0, is that of a missing cell."""
    return torch.cat([grid.start.diff(), grid.start.new_zeros(1)])


def count_near(grid: Grid, touching: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers of pairs and of listed senders that `near_pairs` makes, tensors on the device."""
    size = _run_lengths(grid)
    listed = pick(size, touching).sum(1)
    return (size[:-1] * listed).sum() - grid.child.shape[0], listed.sum()


def require_edges_fit(count: int, device: torch.device, fix: str) -> None:
    """Raise NotEnoughMemory where ``count`` edges do not fit.

    Two ends that are kept and five temporaries, int64: 56 bytes per edge.
    """
    need(56 * count, f"a hierarchy with {count:,} edges", fix=fix, device=device)


def require_windows_fit(grids: list[Grid], dims: int, fix: str) -> None:
    """Raise NotEnoughMemory where the candidate tables of cells do not fit, before one is made.

    The finest level is the largest: a window of 6^dims int64 and its look-up for each parent, then
    two tables of the separated candidates and one of the near ones for each cell.
    """
    cells, parents = grids[0].key.shape[0], grids[min(1, len(grids) - 1)].key.shape[0]
    needed = 8 * (2 * parents * 6**dims + cells * (2 * (6**dims - 3**dims) + 3**dims))
    what = f"a hierarchy with {cells:,} cells on level {grids[0].level}"
    need(needed, what, fix=fix, device=grids[0].key.device)
