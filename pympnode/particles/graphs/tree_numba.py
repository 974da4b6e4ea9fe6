"""The uniform hierarchy compiled for the CPU (numba), one thread.

The steps are those of `tree_torch`: keys, a stable sort (by counting where the grid is not much
larger than the particle count), runs of equal keys level by level, one window look-up per parent,
then one pass that writes edges. Cell edges need not be counted first: memory for all candidates is
allocated, and an operating system provides only the pages that are written.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...errors import InvalidData
from ...memory import need
from . import tree_kernels as kernels
from .cells import COARSEST, Hierarchy, Level, top_tables, window_tables

_COUNTING_PLACES = 16  # places per particle up to which sorting by counting is the faster
_TABLE_PLACES = 64  # places per occupied cell up to which cells are looked up in a table


def uniform(
    position: Tensor,
    *,
    graph: Tensor,
    sizes: tuple[int, ...],
    side: Tensor,
    lower: Tensor,
    levels: int,
    periodic: bool,
) -> Hierarchy:
    """The uniform hierarchy of positions (particle, axis) on the CPU, without cells' features.

    Positions are wrapped if periodic. graph: int64 (particle,); side: (graph,); lower: (graph, axis).
    Raises InvalidData for positions that are not finite, and NotEnoughMemory.
    """
    x = np.ascontiguousarray(position.numpy())
    count, dims = x.shape
    graphs = len(sizes)
    wrapped = np.empty_like(x)
    key, cells = np.empty(count, np.int64), np.empty((count, dims), np.int64)
    sides, corner = side.numpy(), lower.contiguous().numpy()
    if not kernels.place_in_cells(
        x, graph.numpy(), sides, corner, levels, periodic, wrapped, key, cells
    ):
        raise not_finite("positions")
    places = graphs << (dims * levels)
    if places <= _COUNTING_PLACES * max(count, 1024):
        order = kernels.counting_order(key, places)
    else:
        order = np.argsort(key, kind="stable")
    key, cells, wrapped = kernels.reorder(order, key, cells, wrapped)

    grids = []  # (child, start, key, cells), finest first
    for level in range(levels, COARSEST - 1, -1):
        grids.append(kernels.runs(key, cells, 0 if level == levels else dims))
        key, cells = grids[-1][2:]

    n_cells, n_parents = grids[0][2].shape[0], grids[min(1, len(grids) - 1)][2].shape[0]
    need(
        4 * n_parents * 6**dims + 16 * n_cells * (6**dims - 3**dims),
        f"a hierarchy with {n_cells:,} cells on level {levels}",
        fix="take fewer levels",
    )
    cpu = torch.device("cpu")
    tables = {True: top_tables(dims, periodic, cpu), False: window_tables(dims, cpu)}
    out: list[Level] = []
    pairs: tuple[np.ndarray, np.ndarray] | None = None
    for i, (_, start, cell_key, coordinates) in enumerate(grids):
        level = levels - i
        missing = cell_key.shape[0]
        places = graphs << (dims * level)
        table = np.empty(places if places <= _TABLE_PLACES * max(missing, 1024) else 0, np.int32)
        kernels.fill_table(cell_key, places, table)
        cell_graph = cell_key >> (dims * level)
        top = level == COARSEST
        if top:
            windows = kernels.top_windows(graphs, dims, cell_key, table)
            window, kind = cell_graph, cell_key & (4**dims - 1)
        else:
            parent, _, parent_key, parent_cells = grids[i + 1]
            parent_graph = parent_key >> (dims * (level - 1))
            windows = kernels.parent_windows(
                parent_cells, parent_graph, level, periodic, cell_key, table
            )
            window, kind = parent, cell_key & (2**dims - 1)  # lowest bits of the key: the parity
        near, separated = (t.numpy() for t in tables[top])
        if i == 0:
            even = 3**dims * count * count // places  # pairs of evenly spread particles
            pairs = _near_pairs((windows, window, kind, near, start), count, even, levels)
        capacity = missing * separated.shape[1] + 1
        ends = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
        found = kernels.fill_cell_edges(windows, window, kind, separated, missing, *ends)
        out.append(
            Level(
                level,
                torch.from_numpy(coordinates),
                torch.from_numpy(cell_graph),
                torch.from_numpy(ends[0][:found]),
                torch.from_numpy(ends[1][:found]),
                None if top else torch.from_numpy(grids[i + 1][0]),
            )
        )
    assert pairs is not None
    return Hierarchy(
        torch.from_numpy(order), graph, sizes, side, lower, torch.from_numpy(wrapped),
        torch.from_numpy(pairs[0]), torch.from_numpy(pairs[1]), torch.from_numpy(grids[0][0]),
        tuple(out), periodic=periodic,
    )  # fmt: skip


def _near_pairs(cells: tuple, count: int, even: int, levels: int) -> tuple[np.ndarray, np.ndarray]:
    """(sender, receiver) of near particles, sorted by receiver.

    cells: the first arguments of `fill_near`; count: particles; even: pairs if they were evenly
    spread. Such pairs fit into a first guess. Only those of crowded particles are counted before they
    are written, and refused with NotEnoughMemory where they do not fit.
    """
    capacity = min(even + even // 4, 64 * count) + 1024
    pairs = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
    found = kernels.fill_near(*cells, *pairs)  # type: ignore[call-arg]
    if found < 0:
        total = kernels.count_near(*cells)
        need(
            16 * total,
            f"a hierarchy with {total:,} near pairs",
            fix=f"use more than {levels} levels, or split_above=8 (the adaptive tree)",
        )
        # `fill_near` asks for each cell's pairs with the particles themselves included, and four more.
        capacity = total + count + 4
        pairs = np.empty(capacity, np.int64), np.empty(capacity, np.int64)
        found = kernels.fill_near(*cells, *pairs)  # type: ignore[call-arg]
    return pairs[0][:found], pairs[1][:found]


def features_of_cells(
    hierarchy: Hierarchy, mass: Tensor, velocity: Tensor | None, charge: Tensor | None
) -> Hierarchy:
    """`features.with_features` without gradients, for masses > 0.

    mass, charge: (particle,), velocity: (particle, axis), all in the given order. Raises InvalidData
    for values that are not finite.
    """
    position = hierarchy.position.numpy()
    dims = position.shape[1]
    no_columns = np.empty((position.shape[0], 0), position.dtype)
    v = no_columns if velocity is None else np.ascontiguousarray(velocity.numpy())
    q = no_columns if charge is None else np.ascontiguousarray(charge.numpy())[:, None]
    m = np.ascontiguousarray(mass.numpy())
    sums = kernels.weighted_values(m, position, v, q, hierarchy.order.numpy())
    child: Tensor | None = hierarchy.cell
    levels = []
    for level in hierarchy.levels:
        assert child is not None
        sums = kernels.sum_children(sums, child.numpy(), level.size)
        if not np.isfinite(sums).all():
            raise not_finite("masses, charges or velocities")
        centre, mean_velocity = kernels.means(sums, dims, v.shape[1])
        child = level.parent
        levels.append(
            replace(
                level,
                mass=torch.from_numpy(sums[:, 0]),
                position=torch.from_numpy(centre),
                velocity=None if velocity is None else torch.from_numpy(mean_velocity),
                charge=None if charge is None else torch.from_numpy(sums[:, -1]),
            )
        )
    return replace(hierarchy, levels=tuple(levels))


def not_finite(what: str) -> InvalidData:
    """The error for NaN or infinity in the input."""
    return InvalidData(
        f"the {what} hold values that are not finite",
        got="NaN or inf",
        allowed="finite numbers",
        fix="a rollout that diverged? look for the first step with torch.isfinite",
    )
