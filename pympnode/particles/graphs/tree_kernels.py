"""Numba kernels of the compiled hierarchy builder; see `tree_numba` for the steps.

Arrays are contiguous; numbers of cells and particles are int64. Windows and their order are those of
the torch builder, so that the two give the same edges in the same order.
"""

from __future__ import annotations

import numpy as np

from ...files.compiling import njit

_jit = njit(nogil=True, error_model="numpy")


@_jit
def _interleave_bits(number, dims, level):
    """The lowest ``level`` bits of a number, moved ``dims`` places apart."""
    out = 0
    for bit in range(level):
        out |= ((number >> bit) & 1) << (dims * bit)
    return out


@_jit
def place_in_cells(position, graph, side, lower, level, periodic, wrapped, key, cells):
    """Wrap particles into the box and find their cells: fills wrapped, key and cells.

    position, wrapped: (particle, axis); graph, key: (particle,); side: (graph,); lower: (graph, axis);
    cells: (particle, axis). Returns False if a position is not finite.
    """
    count, dims = position.shape
    size = 1 << level
    # In the dtype of the positions and in the order of operations of `Box.wrap`: another rounding
    # would put a particle near a border into another cell than the torch builder does.
    half = position.dtype.type(0.5)
    table = np.empty(min(size, 4096), np.int64)
    for i in range(table.shape[0]):
        table[i] = _interleave_bits(i, dims, level)
    finite = True
    for i in range(count):
        g = graph[i]
        graph_side = side[g]
        scale = position.dtype.type(size) / graph_side
        k = g << (dims * level)
        for axis in range(dims):
            x = position[i, axis]
            finite &= np.isfinite(x)
            if periodic:
                x -= graph_side * np.floor(x / graph_side + half)
                if x >= graph_side / 2:
                    x -= graph_side
            wrapped[i, axis] = x
            c = int(np.floor((x - lower[g, axis]) * scale)) if np.isfinite(x) else 0
            c = min(max(c, 0), size - 1)
            cells[i, axis] = c
            k |= (table[c] if size <= 4096 else _interleave_bits(c, dims, level)) << axis
        key[i] = k
    return finite


@_jit
def reorder(order, key, cells, position):
    """Copies of key, cells and position with particle ``order[i]`` in place i."""
    dims = cells.shape[1]
    key_out, cells_out = np.empty_like(key), np.empty_like(cells)
    position_out = np.empty_like(position)
    for i in range(order.shape[0]):
        particle = order[i]
        key_out[i] = key[particle]
        for axis in range(dims):
            cells_out[i, axis] = cells[particle, axis]
            position_out[i, axis] = position[particle, axis]
    return key_out, cells_out, position_out


@_jit
def counting_order(key, places):
    """Stable order of keys below ``places``: they are counted, then each goes to its place."""
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
    """Runs of equal ``key >> shift`` in sorted keys (child,): the cells of the next coarser level.

    Returns the run of each child (child,), the first child of each run and the end (run + 1,), the key
    of each run, and its cell coordinates (run, axis), halved where ``shift`` is not 0.
    """
    children, dims = cells.shape
    child = np.empty(children, np.int64)
    start = np.empty(children + 1, np.int64)
    run_key = np.empty(children, np.int64)
    coordinates = np.empty((children, dims), np.int64)
    half = 1 if shift > 0 else 0
    count = 0
    for i in range(children):
        k = key[i] >> shift
        if i == 0 or k != run_key[count - 1]:
            start[count] = i
            run_key[count] = k
            for axis in range(dims):
                coordinates[count, axis] = cells[i, axis] >> half
            count += 1
        child[i] = count - 1
    start[count] = children
    return child, start[: count + 1].copy(), run_key[:count].copy(), coordinates[:count].copy()


@_jit
def fill_table(key, places, table):
    """Fill a table with the number of the cell at each key; a table of length 0 stays as it is."""
    if table.shape[0] == places:
        table[:] = key.shape[0]
        for i in range(key.shape[0]):
            table[key[i]] = i


@_jit
def _find(wanted, key, table):
    """The number of the cell with a key, or the number of cells; searched where there is no table."""
    if table.shape[0] > 0:
        return table[wanted]
    number = np.searchsorted(key, wanted)
    return number if number < key.shape[0] and key[number] == wanted else key.shape[0]


@_jit
def top_windows(graphs, dims, key, table):
    """The number of the cell at every place of level 2 (graph, 4^dims + 1); the last is no cell."""
    places = 1 << (2 * dims)
    windows = np.empty((graphs, places + 1), np.int32)
    for g in range(graphs):
        for place in range(places):
            windows[g, place] = _find(g * places + place, key, table)
        windows[g, places] = key.shape[0]
    return windows


@_jit
def parent_windows(parents, graph, level, periodic, key, table):
    """The number of every cell in each parent's window (parent, 6^dims), axis 0 fastest.

    parents: (parent, axis) coordinates on the grid above ``level``; graph: (parent,); key: (cell,).
    A cell that does not exist is the number of cells.
    """
    count, dims = parents.shape
    size = 1 << level
    missing = key.shape[0]
    interleaved = np.empty(min(size, 4096), np.int64)
    for i in range(interleaved.shape[0]):
        interleaved[i] = _interleave_bits(i, dims, level)
    axis_bits = np.zeros((3, 6), np.int64)  # of the keys in the window, -1 outside of open space
    windows = np.empty((count, 6**dims), np.int32)
    for p in range(count):
        inside = True
        for axis in range(dims):
            for w in range(6):
                c = 2 * parents[p, axis] - 2 + w
                if periodic:
                    c &= size - 1
                if 0 <= c < size:
                    bits = interleaved[c] if size <= 4096 else _interleave_bits(c, dims, level)
                    axis_bits[axis, w] = bits << axis
                else:
                    axis_bits[axis, w] = -1
                    inside = False
        above = graph[p] << (dims * level)
        place = 0
        for w2 in range(6 if dims == 3 else 1):
            for w1 in range(6):
                high = above | axis_bits[1, w1] | axis_bits[2, w2]
                if inside and table.shape[0] > 0:
                    for w0 in range(6):
                        windows[p, place + w0] = table[high | axis_bits[0, w0]]
                else:
                    for w0 in range(6):
                        wanted = high | axis_bits[0, w0]
                        windows[p, place + w0] = (
                            missing if wanted < 0 else _find(wanted, key, table)
                        )
                place += 6
    return windows


@_jit
def fill_cell_edges(windows, window, kind, separated, missing, sender, receiver):
    """Write the edges between separated cells and return their number.

    sender, receiver have space for all candidates and one more. Every candidate is written, and the
    next one over it where it does not exist: no branch to mispredict.
    """
    # Unsigned, because numba tests every signed index for counting from the end.
    flat, candidates = windows.reshape(-1), separated.reshape(-1)
    width, length = np.uint64(windows.shape[1]), separated.shape[1]
    e = np.uint64(0)
    for c in range(kind.shape[0]):
        begin = np.uint64(window[c]) * width
        row = np.uint64(kind[c]) * np.uint64(length)
        for k in range(length):
            other = flat[begin + np.uint64(candidates[row + np.uint64(k)])]
            sender[e] = other
            receiver[e] = c
            e += np.uint64(other != missing)
    return np.int64(e)


@_jit
def count_near(windows, window, kind, near, start):
    """The number of ordered pairs of different particles in touching cells."""
    missing = start.shape[0] - 1
    total = 0
    for c in range(kind.shape[0]):
        around = 0
        for k in range(near.shape[1]):
            other = windows[window[c], near[kind[c], k]]
            if other != missing:
                around += start[other + 1] - start[other]
        total += (start[c + 1] - start[c]) * (around - 1)
    return total


@_jit
def _write_run(sender, receiver, e, first, last, p):
    """Write the pairs (first to last - 1, p) from place ``e`` on; return the place after them.

    In blocks of four, so that up to three places after the last pair are written too: a loop of short
    and varying length would cost a misprediction each time.
    """
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
def fill_near(windows, window, kind, near, start, sender, receiver):
    """Write the near pairs and return their number, or -1 where they and four more do not fit.

    Particles of successive cells are successive in memory: the runs of such cells are merged.
    """
    missing = start.shape[0] - 1
    first, last = np.empty(near.shape[1], np.int64), np.empty(near.shape[1], np.int64)
    capacity = np.uint64(sender.shape[0])
    e = np.uint64(0)
    for c in range(kind.shape[0]):
        runs, own_run, around = 0, 0, 0
        for k in range(near.shape[1]):
            other = windows[window[c], near[kind[c], k]]
            if other != missing:
                around += start[other + 1] - start[other]
                if runs > 0 and last[runs - 1] == start[other]:
                    last[runs - 1] = start[other + 1]
                else:
                    first[runs] = start[other]
                    last[runs] = start[other + 1]
                    runs += 1
                if other == c:
                    own_run = runs - 1
        if e + np.uint64((start[c + 1] - start[c]) * around + 4) > capacity:
            return -1
        for p in range(start[c], start[c + 1]):
            for k in range(own_run):
                e = _write_run(sender, receiver, e, first[k], last[k], p)
            # The run of the particle's cell without the particle itself.
            e = _write_run(sender, receiver, e, first[own_run], p, p)
            e = _write_run(sender, receiver, e, p + 1, last[own_run], p)
            for k in range(own_run + 1, runs):
                e = _write_run(sender, receiver, e, first[k], last[k], p)
    return np.int64(e)


@_jit
def sum_children(values, child, count):
    """Sums (count, value) of values (child, value) over the children of each cell; child: (child,),
    the cell of each child."""
    width = values.shape[1]
    out = np.zeros((count, width), values.dtype)
    for i in range(values.shape[0]):
        for w in range(width):
            out[child[i], w] += values[i, w]
    return out


@_jit
def weighted_values(mass, position, velocity, charge, order):
    """(mass, mass x, mass v, charge) of each particle (particle, value), in cell order.

    position is in cell order, the others in the given order; velocity and charge may have no columns.
    """
    count, dims = position.shape
    n_velocity = velocity.shape[1]
    out = np.empty((count, 1 + dims + n_velocity + charge.shape[1]), position.dtype)
    for i in range(count):
        particle = order[i]
        m = mass[particle]
        out[i, 0] = m
        for axis in range(dims):
            out[i, 1 + axis] = m * position[i, axis]
        for axis in range(n_velocity):
            out[i, 1 + dims + axis] = m * velocity[particle, axis]
        if charge.shape[1] > 0:
            out[i, 1 + dims + n_velocity] = charge[particle, 0]
    return out


@_jit
def means(sums, dims, n_velocity):
    """Mean position (cell, axis) and mean velocity (cell, n_velocity) of cells from their sums."""
    count = sums.shape[0]
    position = np.empty((count, dims), sums.dtype)
    velocity = np.empty((count, n_velocity), sums.dtype)
    for c in range(count):
        for axis in range(dims):
            position[c, axis] = sums[c, 1 + axis] / sums[c, 0]
        for axis in range(n_velocity):
            velocity[c, axis] = sums[c, 1 + dims + axis] / sums[c, 0]
    return position, velocity
