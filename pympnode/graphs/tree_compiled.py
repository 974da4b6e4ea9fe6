"""The uniform hierarchy compiled for the CPU (numba), one thread.

The steps are those of `tree_torch`: keys, a stable sort (by counting where the grid is not much
larger than the particle count), runs of equal keys level by level, one window look-up a parent,
then one pass that counts edges and one that writes them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pympnode.errors import InvalidData
from pympnode.graphs import tree_kernels as kernels
from pympnode.graphs.capacity import require_bytes
from pympnode.graphs.cells import COARSEST, Hierarchy, Level, top_tables, window_tables

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
    bad: Tensor,
) -> Hierarchy:
    """The hierarchy of wrapped flat positions on the CPU, without features."""
    if bool(bad):
        raise InvalidData(
            "the positions, masses, charges or velocities hold values that are not finite",
            got="NaN or inf",
            allowed="finite numbers",
            fix="a rollout that diverged? look for the first step with torch.isfinite",
        )
    x = np.ascontiguousarray(position.numpy())
    count, dims = x.shape
    graphs = len(sizes)
    cpu = torch.device("cpu")
    key, cells = np.empty(count, np.int64), np.empty((count, dims), np.int64)
    kernels.cell_keys(x, graph.numpy(), side.numpy(), lower.numpy(), levels, key, cells)
    places = graphs << (dims * levels)
    if places <= _COUNTING * max(count, 1024):
        order = kernels.counting_order(key, places)
    else:
        order = np.argsort(key, kind="stable")
    key, cells = key[order], cells[order]

    grids = []  # (key, graph, cells, child, start), finest first
    for level in range(levels, COARSEST - 1, -1):
        if grids:
            finer_key, _, finer_cells, _, _ = grids[-1]
            child, start = kernels.runs(finer_key >> dims)
            first = start[:-1]
            own, coordinates = finer_key[first] >> dims, finer_cells[first] >> 1
        else:
            child, start = kernels.runs(key)
            first = start[:-1]
            own, coordinates = key[first], cells[first]
        grids.append((own, own >> (dims * level), coordinates, child, start))

    near_tables = {True: top_tables(dims, periodic, cpu), False: window_tables(dims, cpu)}
    out = []
    sender = receiver = None
    for i, (own, of, coordinates, _, start) in enumerate(grids):
        level = levels - i
        missing = own.shape[0]
        places = graphs << (dims * level)
        table = np.empty(places if places <= _DENSE * max(missing, 1024) else 0, np.int32)
        kernels.fill_table(own, places, table)
        top = level == COARSEST
        if top:
            rows = kernels.top_rows(graphs, dims, own, table)
            pick, kind = of, own & (4**dims - 1)
        else:
            _, above_of, above_cells, above_child, _ = grids[i + 1]
            rows = kernels.window_rows(above_cells, above_of, level, periodic, own, table)
            pick = above_child
            kind = own & (2**dims - 1)  # the lowest bits of the key are the parity
        near, separated = (t.numpy() for t in near_tables[top])
        if i == 0:
            total = kernels.count_near(rows, pick, kind, near, start)
            require_bytes(
                16 * total,
                f"a hierarchy with {total:,} near pairs",
                fix=f"use more than {levels} levels, or split_above=8 (the adaptive tree)",
            )
            sender, receiver = np.empty(total, np.int64), np.empty(total, np.int64)
            kernels.fill_near(rows, pick, kind, near, start, sender, receiver)
        total = kernels.count_cell_edges(rows, pick, kind, separated, missing)
        ends = np.empty(total + 1, np.int64), np.empty(total + 1, np.int64)
        kernels.fill_cell_edges(rows, pick, kind, separated, missing, *ends)
        parent = None if top else torch.from_numpy(grids[i + 1][3])
        out.append(
            Level(
                level,
                torch.from_numpy(coordinates),
                torch.from_numpy(of),
                torch.from_numpy(ends[0])[:total],
                torch.from_numpy(ends[1])[:total],
                parent,
            )
        )
    order_t = torch.from_numpy(order)
    return Hierarchy(
        order_t, graph, sizes, side, lower, position[order_t], torch.from_numpy(sender),
        torch.from_numpy(receiver), torch.from_numpy(grids[0][3]), tuple(out), periodic=periodic,
    )  # fmt: skip
