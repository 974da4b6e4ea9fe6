"""The uniform hierarchy compiled for the CPU (numba), one thread.

The steps are those of `tree_torch`: keys, a stable sort (by counting where the grid is not much
larger than the particle count), runs of equal keys level by level, one window look-up a parent,
then one pass that writes edges. Room for all candidate edges is reserved, not touched, so cell
edges need not be counted first.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from ...errors import InvalidData
from ...files.memory import require_bytes
from . import tree_kernels as kernels
from .cells import COARSEST, Hierarchy, Level, top_tables, window_tables

_COUNTING = 16  # places a particle up to which counting beats sorting
_DENSE = 64


def compiled(
    position: Tensor,
    *,
    graph: Tensor,
    sizes: tuple[int, ...],
    side: Tensor,
    lower: Tensor,
    levels: int,
    periodic: bool,
) -> Hierarchy:
    """The hierarchy of flat positions on the CPU, without features; wraps them if periodic."""
    x = np.ascontiguousarray(position.numpy())
    count, dims = x.shape
    graphs = len(sizes)
    wrapped = np.empty_like(x)
    key, cells = np.empty(count, np.int64), np.empty((count, dims), np.int64)
    sides, corner = side.numpy(), lower.contiguous().numpy()
    if not kernels.place(x, graph.numpy(), sides, corner, levels, periodic, wrapped, key, cells):
        raise not_finite("positions")
    places = graphs << (dims * levels)
    if places <= _COUNTING * max(count, 1024):
        order = kernels.counting_order(key, places)
    else:
        order = np.argsort(key, kind="stable")
    key, cells, wrapped = kernels.take(order, key, cells, wrapped)

    grids = []  # (child, start, key, cells), finest first
    for level in range(levels, COARSEST - 1, -1):
        grids.append(kernels.runs(key, cells, 0 if level == levels else dims))
        key, cells = grids[-1][2:]

    cells_there, parents = grids[0][2].shape[0], grids[min(1, len(grids) - 1)][2].shape[0]
    require_bytes(
        4 * parents * 6**dims + 16 * cells_there * (6**dims - 3**dims),
        f"a hierarchy with {cells_there:,} cells on level {levels}",
        fix="take fewer levels",
    )
    cpu = torch.device("cpu")
    tables = {True: top_tables(dims, periodic, cpu), False: window_tables(dims, cpu)}
    out: list[Level] = []
    pairs: tuple[np.ndarray, np.ndarray] | None = None
    for i, (_, start, own, coordinates) in enumerate(grids):
        level = levels - i
        missing = own.shape[0]
        places = graphs << (dims * level)
        table = np.empty(places if places <= _DENSE * max(missing, 1024) else 0, np.int32)
        kernels.fill_table(own, places, table)
        of = own >> (dims * level)
        top = level == COARSEST
        if top:
            rows = kernels.top_rows(graphs, dims, own, table)
            pick, kind = of, own & (4**dims - 1)
        else:
            above_child, _, above_key, above_cells = grids[i + 1]
            above_of = above_key >> (dims * (level - 1))
            rows = kernels.window_rows(above_cells, above_of, level, periodic, own, table)
            pick, kind = above_child, own & (2**dims - 1)  # lowest bits of the key: the parity
        near, separated = (t.numpy() for t in tables[top])
        if i == 0:
            even = 3**dims * count * count // places  # pairs of particles that are spread evenly
            pairs = _near_pairs((rows, pick, kind, near, start), count, even, levels)
        room = missing * separated.shape[1] + 1
        ends = np.empty(room, np.int64), np.empty(room, np.int64)
        found = kernels.fill_cell_edges(rows, pick, kind, separated, missing, *ends)
        out.append(
            Level(
                level,
                torch.from_numpy(coordinates),
                torch.from_numpy(of),
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
    """(sender, receiver) of near particles.

    Evenly spread particles fit into a first guess; only crowded ones are counted before, and
    refused when their pairs do not fit in memory.
    """
    room = min(even + even // 4, 64 * count) + 1024
    pairs = np.empty(room, np.int64), np.empty(room, np.int64)
    rows, pick, own, near, start = cells
    found = kernels.fill_near(rows, pick, own, near, start, pairs[0], pairs[1])
    if found < 0:
        total = kernels.count_near(rows, pick, own, near, start)
        require_bytes(
            16 * total,
            f"a hierarchy with {total:,} near pairs",
            fix=f"use more than {levels} levels, or split_above=8 (the adaptive tree)",
        )
        # room for what the last cell is thought to need before its own particles are left out
        room = total + count + 4
        pairs = np.empty(room, np.int64), np.empty(room, np.int64)
        found = kernels.fill_near(rows, pick, own, near, start, pairs[0], pairs[1])
    return pairs[0][:found], pairs[1][:found]


def compiled_features(
    hierarchy: Hierarchy, mass: Tensor, velocity: Tensor | None, charge: Tensor | None
) -> Hierarchy:
    """`with_features` without gradients, for masses > 0; mass, ... in the order given."""
    position = hierarchy.position.numpy()
    dims = position.shape[1]
    nothing = np.empty((position.shape[0], 0), position.dtype)
    v = nothing if velocity is None else np.ascontiguousarray(velocity.numpy())
    q = nothing if charge is None else np.ascontiguousarray(charge.numpy())[:, None]
    m = np.ascontiguousarray(mass.numpy())
    sums = kernels.weigh(m, position, v, q, hierarchy.order.numpy())
    child: Tensor | None = hierarchy.cell
    levels = []
    for level in hierarchy.levels:
        assert child is not None
        sums = kernels.sum_children(sums, child.numpy(), level.size)
        if not np.isfinite(sums).all():
            raise not_finite("masses, charges or velocities")
        where, speed = kernels.means(sums, dims, v.shape[1])
        child = level.parent
        levels.append(
            replace(
                level,
                mass=torch.from_numpy(sums[:, 0]),
                position=torch.from_numpy(where),
                velocity=None if velocity is None else torch.from_numpy(speed),
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
