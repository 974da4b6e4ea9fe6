"""Numba kernels of the compiled hierarchy builder; see `tree_compiled.py` for the steps.

Arrays are int64 and contiguous. Windows and their order are those of the torch builder, so the
two give the same edges in the same order.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_jit = njit(cache=True, nogil=True, error_model="numpy")


@_jit
def _spread(number, dims, level):
    out = 0
    for bit in range(level):
        out |= ((number >> bit) & 1) << (dims * bit)
    return out


@_jit
def cell_keys(position, graph, side, lower, level, key, cells):
    """Cell coordinates and Morton keys of wrapped particles."""
    count, dims = position.shape
    size = 1 << level
    table = np.empty(min(size, 4096), np.int64)
    for i in range(table.shape[0]):
        table[i] = _spread(i, dims, level)
    for i in range(count):
        g = graph[i]
        scale = size / side[g]
        k = g << (dims * level)
        for axis in range(dims):
            c = int(np.floor((position[i, axis] - lower[g, axis]) * scale))
            c = min(max(c, 0), size - 1)
            cells[i, axis] = c
            k |= (table[c] if size <= 4096 else _spread(c, dims, level)) << axis
        key[i] = k


@_jit
def counting_order(key, places):
    """Stable order of small keys, in one count and one pass."""
    start = np.zeros(places + 1, np.int64)
    for i in range(key.shape[0]):
        start[key[i] + 1] += 1
    for k in range(places):
        start[k + 1] += start[k]
    order = np.empty(key.shape[0], np.int64)
    for i in range(key.shape[0]):
        order[start[key[i]]] = i
        start[key[i]] += 1
    return order


@_jit
def runs(key):
    """Number of the run that each sorted key is in, and where each run starts (and the end)."""
    child = np.empty(key.shape[0], np.int64)
    start = np.empty(key.shape[0] + 1, np.int64)
    count = 0
    for i in range(key.shape[0]):
        if i == 0 or key[i] != key[i - 1]:
            start[count] = i
            count += 1
        child[i] = count - 1
    start[count] = key.shape[0]
    return child, start[: count + 1].copy()


@_jit
def fill_table(key, places, table):
    """Row of each key; without a table (length 0) keys are searched."""
    if table.shape[0] == places:
        table[:] = key.shape[0]
        for i in range(key.shape[0]):
            table[key[i]] = i


@_jit
def _find(wanted, key, table):
    if table.shape[0] > 0:
        return table[wanted]
    row = np.searchsorted(key, wanted)
    return row if row < key.shape[0] and key[row] == wanted else key.shape[0]


@_jit
def top_rows(graphs, dims, key, table):
    """Row of every place of the 4-a-side grids, and one column for no cell."""
    places = 1 << (2 * dims)
    rows = np.empty((graphs, places + 1), np.int32)
    for g in range(graphs):
        for place in range(places):
            rows[g, place] = _find(g * places + place, key, table)
        rows[g, places] = key.shape[0]
    return rows


@_jit
def window_rows(parents, graph, level, periodic, key, table):
    """Row of every cell in each parent's window of 6^dims places, axis 0 fastest."""
    count, dims = parents.shape
    size = 1 << level
    missing = key.shape[0]
    spread = np.empty(min(size, 4096), np.int64)
    for i in range(spread.shape[0]):
        spread[i] = _spread(i, dims, level)
    part = np.zeros((3, 6), np.int64)
    rows = np.empty((count, 6**dims), np.int32)
    for p in range(count):
        whole = True
        for axis in range(dims):
            for w in range(6):
                c = 2 * parents[p, axis] - 2 + w
                if periodic:
                    c &= size - 1
                if 0 <= c < size:
                    part[axis, w] = (spread[c] if size <= 4096 else _spread(c, dims, level)) << axis
                else:
                    part[axis, w] = -1
                    whole = False
        above = graph[p] << (dims * level)
        place = 0
        for w2 in range(6 if dims == 3 else 1):
            for w1 in range(6):
                high = above | part[1, w1] | part[2, w2]
                if whole and table.shape[0] > 0:
                    for w0 in range(6):
                        rows[p, place + w0] = table[high | part[0, w0]]
                else:
                    for w0 in range(6):
                        wanted = high | part[0, w0]
                        rows[p, place + w0] = missing if wanted < 0 else _find(wanted, key, table)
                place += 6
    return rows


@_jit
def count_cell_edges(rows, pick, own, separated, missing):
    """Edges between separated cells, all together."""
    total = 0
    for c in range(own.shape[0]):
        for k in range(separated.shape[1]):
            total += rows[pick[c], separated[own[c], k]] != missing
    return total


@_jit
def fill_cell_edges(rows, pick, own, separated, missing, sender, receiver):
    """Write the edges; both arrays have one place more than there are edges (no branch needed)."""
    e = 0
    for c in range(own.shape[0]):
        row, kind = rows[pick[c]], separated[own[c]]
        for k in range(kind.shape[0]):
            other = row[kind[k]]
            sender[e] = other
            receiver[e] = c
            e += other != missing


@_jit
def count_near(rows, pick, own, near, start):
    """Ordered pairs of different particles in touching cells."""
    missing = start.shape[0] - 1
    total = 0
    for c in range(own.shape[0]):
        around = 0
        for k in range(near.shape[1]):
            other = rows[pick[c], near[own[c], k]]
            if other != missing:
                around += start[other + 1] - start[other]
        total += (start[c + 1] - start[c]) * (around - 1)
    return total


@_jit
def fill_near(rows, pick, own, near, start, sender, receiver):
    missing = start.shape[0] - 1
    listed = np.empty(near.shape[1], np.int64)
    e = 0
    for c in range(own.shape[0]):
        cells = 0
        for k in range(near.shape[1]):
            other = rows[pick[c], near[own[c], k]]
            if other != missing:
                listed[cells] = other
                cells += 1
        for p in range(start[c], start[c + 1]):
            for k in range(cells):
                other = listed[k]
                for s in range(start[other], start[other + 1]):
                    if s != p:
                        sender[e] = s
                        receiver[e] = p
                        e += 1
