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
def place(position, graph, side, lower, level, periodic, wrapped, key, cells):
    """Wrap particles into the box; their cell coordinates and Morton keys. False if not finite.

    Arithmetic in the dtype of the positions, step by step as `Box.wrap` does it.
    """
    count, dims = position.shape
    size = 1 << level
    half = position.dtype.type(0.5)
    table = np.empty(min(size, 4096), np.int64)
    for i in range(table.shape[0]):
        table[i] = _spread(i, dims, level)
    finite = True
    for i in range(count):
        g = graph[i]
        own = side[g]
        scale = position.dtype.type(size) / own
        k = g << (dims * level)
        for axis in range(dims):
            x = position[i, axis]
            finite &= np.isfinite(x)
            if periodic:
                x -= own * np.floor(x / own + half)
                if x >= own / 2:
                    x -= own
            wrapped[i, axis] = x
            c = int(np.floor((x - lower[g, axis]) * scale)) if np.isfinite(x) else 0
            c = min(max(c, 0), size - 1)
            cells[i, axis] = c
            k |= (table[c] if size <= 4096 else _spread(c, dims, level)) << axis
        key[i] = k
    return finite


@_jit
def take(order, key, cells, position):
    """The three in another order."""
    dims = cells.shape[1]
    key_out, cells_out = np.empty_like(key), np.empty_like(cells)
    position_out = np.empty_like(position)
    for i in range(order.shape[0]):
        from_row = order[i]
        key_out[i] = key[from_row]
        for axis in range(dims):
            cells_out[i, axis] = cells[from_row, axis]
            position_out[i, axis] = position[from_row, axis]
    return key_out, cells_out, position_out


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
def runs(key, cells, shift):
    """Runs of equal ``key >> shift``: the run of each row, where each starts (and the end), its
    key, and its cell coordinates (halved where ``shift`` is not 0)."""
    rows, dims = cells.shape
    child = np.empty(rows, np.int64)
    start = np.empty(rows + 1, np.int64)
    own = np.empty(rows, np.int64)
    coordinates = np.empty((rows, dims), np.int64)
    half = 1 if shift > 0 else 0
    count = 0
    for i in range(rows):
        k = key[i] >> shift
        if i == 0 or k != own[count - 1]:
            start[count] = i
            own[count] = k
            for axis in range(dims):
                coordinates[count, axis] = cells[i, axis] >> half
            count += 1
        child[i] = count - 1
    start[count] = rows
    return child, start[: count + 1].copy(), own[:count].copy(), coordinates[:count].copy()


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
def fill_cell_edges(rows, pick, own, separated, missing, sender, receiver):
    """Write the edges, and return how many; there is room for all candidates and one more.

    Unsigned numbers: a signed index is first tested for counting from the end.
    """
    flat, kinds = rows.reshape(-1), separated.reshape(-1)
    width, length = np.uint64(rows.shape[1]), separated.shape[1]
    e = np.uint64(0)
    for c in range(own.shape[0]):
        row = np.uint64(pick[c]) * width
        kind = np.uint64(own[c]) * np.uint64(length)
        for k in range(length):
            other = flat[row + np.uint64(kinds[kind + np.uint64(k)])]
            sender[e] = other
            receiver[e] = c
            e += np.uint64(other != missing)
    return np.int64(e)


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
def _write_run(sender, receiver, e, first, last, p):
    """Pairs (first..last - 1, p) from place ``e`` on; in blocks of four, so up to three places
    after the last pair are written too (a loop of unknown short length costs a misprediction)."""
    left = last - first
    while left > 0:
        for k in range(4):
            sender[e + np.uint64(k)] = first + k
            receiver[e + np.uint64(k)] = p
        e += np.uint64(min(4, left))
        first += 4
        left -= 4
    return e


@_jit
def fill_near(rows, pick, own, near, start, sender, receiver):
    """Write the pairs and return how many, or -1 when there is not room for them (and four more).

    Cells that follow each other in the order hold particles that do: such runs are joined.
    """
    missing = start.shape[0] - 1
    first, last = np.empty(near.shape[1], np.int64), np.empty(near.shape[1], np.int64)
    room = np.uint64(sender.shape[0])
    e = np.uint64(0)
    for c in range(own.shape[0]):
        runs, mine, around = 0, 0, 0
        for k in range(near.shape[1]):
            other = rows[pick[c], near[own[c], k]]
            if other != missing:
                around += start[other + 1] - start[other]
                if runs > 0 and last[runs - 1] == start[other]:
                    last[runs - 1] = start[other + 1]
                else:
                    first[runs] = start[other]
                    last[runs] = start[other + 1]
                    runs += 1
                if other == c:
                    mine = runs - 1
        if e + np.uint64((start[c + 1] - start[c]) * around + 4) > room:
            return -1
        for p in range(start[c], start[c + 1]):
            for k in range(mine):
                e = _write_run(sender, receiver, e, first[k], last[k], p)
            e = _write_run(sender, receiver, e, first[mine], p, p)
            e = _write_run(sender, receiver, e, p + 1, last[mine], p)
            for k in range(mine + 1, runs):
                e = _write_run(sender, receiver, e, first[k], last[k], p)
    return np.int64(e)


@_jit
def sum_children(values, child, count):
    """Sum of the rows of each of ``count`` cells; ``child`` names the cell of each row."""
    width = values.shape[1]
    out = np.zeros((count, width), values.dtype)
    for i in range(values.shape[0]):
        for w in range(width):
            out[child[i], w] += values[i, w]
    return out


@_jit
def weigh(mass, position, velocity, charge, order):
    """Rows (mass, mass x, mass v, charge) in cell order; velocity and charge may be empty."""
    count, dims = position.shape
    moving = velocity.shape[1]
    out = np.empty((count, 1 + dims + moving + charge.shape[1]), position.dtype)
    for i in range(count):
        row = order[i]
        m = mass[row]
        out[i, 0] = m
        for axis in range(dims):
            out[i, 1 + axis] = m * position[i, axis]
        for axis in range(moving):
            out[i, 1 + dims + axis] = m * velocity[row, axis]
        if charge.shape[1] > 0:
            out[i, 1 + dims + moving] = charge[row, 0]
    return out


@_jit
def means(sums, dims, moving):
    """Mass, mean position, mean velocity of cells from their sums."""
    count = sums.shape[0]
    position = np.empty((count, dims), sums.dtype)
    velocity = np.empty((count, moving), sums.dtype)
    for c in range(count):
        for axis in range(dims):
            position[c, axis] = sums[c, 1 + axis] / sums[c, 0]
        for axis in range(moving):
            velocity[c, axis] = sums[c, 1 + dims + axis] / sums[c, 0]
    return position, velocity
