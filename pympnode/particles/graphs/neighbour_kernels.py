"""Numba kernel: exact k nearest neighbours by a grid of cells, periodic or open.

Particles are sorted into cells that hold a few each. For each particle, blocks of cells around its
cell are searched, wider and wider. A block of ``r`` cells in each direction holds all particles within
r cell sides plus the distance to the nearest border of the particle's cell; the search ends when k
particles are within that distance. The cells of a block along axis 0 are one run in memory, so that
distances are computed by vector code; the k-th smallest is found by bisection with counting, which has
no branch per candidate.
"""

from __future__ import annotations

import numpy as np

from ...files.compiling import njit
from .tree_kernels import counting_order

_jit = njit(nogil=True, error_model="numpy")


@_jit
def into_grid(position, lower, size, width):
    """Order of the particles by cell (axis 0 fastest), and the start of each cell's run (cell + 1,)."""
    count, dims = position.shape
    key = np.empty(count, np.int64)
    for i in range(count):
        k = 0
        for axis in range(dims - 1, -1, -1):
            c = int((position[i, axis] - lower[axis]) / width)
            k = k * size + min(max(c, 0), size - 1)
        key[i] = k
    cells = size**dims
    start = np.zeros(cells + 1, np.int64)
    for i in range(count):
        start[key[i] + 1] += 1
    for c in range(cells):
        start[c + 1] += start[c]
    return counting_order(key, cells), start


@_jit
def _measure_run(x, i, first, last, side, distance2, candidate, n_candidates):
    """Append the squared distances from particle i to particles first to last - 1.

    Returns the number of candidates after that.
    """
    half = side / 2
    for k in range(last - first):
        total = 0.0
        for axis in range(x.shape[0]):
            d = x[axis, first + k] - x[axis, i]
            d = d - side if d > half else (d + side if d <= -half else d)
            total += d * d
        distance2[n_candidates + k] = total
        candidate[n_candidates + k] = first + k
    if first <= i < last:  # no particle is its own neighbour
        distance2[n_candidates + i - first] = np.inf
    return n_candidates + last - first


@_jit
def _measure_block(x, i, cell, block, start, size, side, distance2, candidate):
    """Squared distances from i to all particles of the cells at most ``block`` away on each axis.

    Returns the number of candidates.
    """
    dims = x.shape[0]
    periodic = np.isfinite(side)
    n_candidates = 0
    deep = block if dims == 3 else 0
    low, high = cell[0] - block, cell[0] + block
    for dz in range(-deep, deep + 1):
        cz = cell[2] + dz
        if periodic:
            cz = (cz + size) % size
        elif cz < 0 or cz >= size:
            continue
        for dy in range(-block, block + 1):
            cy = cell[1] + dy
            if periodic:
                cy = (cy + size) % size
            elif cy < 0 or cy >= size:
                continue
            row = (cz * size + cy) * size
            a, b = max(low, 0), min(high, size - 1)
            n_candidates = _measure_run(
                x, i, start[row + a], start[row + b + 1], side, distance2, candidate, n_candidates
            )
            if periodic and low < 0:
                a, b = low + size, size
                n_candidates = _measure_run(
                    x, i, start[row + a], start[row + b], side, distance2, candidate, n_candidates
                )
            if periodic and high >= size:
                a, b = 0, high - size + 1
                n_candidates = _measure_run(
                    x, i, start[row + a], start[row + b], side, distance2, candidate, n_candidates
                )
    return n_candidates


@_jit
def _count(distance2, n_candidates, limit):
    total = 0
    for j in range(n_candidates):
        total += distance2[j] <= limit
    return total


@_jit
def _k_nearest(distance2, candidate, n_candidates, limit, k, order, found):
    """Write the k nearest candidates to ``found``; at least k are within squared distance ``limit``."""
    low, high = 0.0, limit
    cut = high
    for _ in range(64):
        number = _count(distance2, n_candidates, cut)
        if number == k:
            break
        if number < k:
            low = cut
        else:
            high = cut
        cut = 0.5 * (low + high)
    else:  # several at the k-th distance: the first of them are taken
        cut = high
        n = 0
        for j in range(n_candidates):
            if distance2[j] <= low:
                found[n] = order[candidate[j]]
                n += 1
        for j in range(n_candidates):
            if n < k and low < distance2[j] <= high:
                found[n] = order[candidate[j]]
                n += 1
        return
    n = 0
    for j in range(n_candidates):
        if distance2[j] <= cut:
            found[n] = order[candidate[j]]
            n += 1


@_jit
def nearest_in_grid(x, order, start, lower, size, width, side, k, found):
    """The k nearest of each particle, written to ``found`` (particle, k) in the given order.

    x: (axis, particle) in cell order; order, start: from `into_grid`; lower: (axis,) corner of the
    grid; size: cells per side; width: side of a cell; side: that of the box, inf in open space.
    """
    dims, count = x.shape
    periodic = np.isfinite(side)
    distance2, candidate = np.empty(count), np.empty(count, np.int64)
    cell = np.zeros(3, np.int64)
    for i in range(count):
        gap = np.inf  # distance to the nearest border of the particle's cell
        for axis in range(dims):
            c = int((x[axis, i] - lower[axis]) / width)
            cell[axis] = min(max(c, 0), size - 1)
            inside = x[axis, i] - lower[axis] - cell[axis] * width
            gap = min(gap, inside, width - inside)
        gap = max(gap, 0.0)
        block = 1
        while True:
            # A block that would overlap itself across the border, or covers the grid: all particles
            # are candidates.
            covers_all = 2 * block + 1 > size if periodic else block >= size
            if covers_all:
                n_candidates = _measure_run(x, i, 0, count, side, distance2, candidate, 0)
                limit = 0.0
                for j in range(n_candidates):
                    limit = max(limit, distance2[j] if j != i else 0.0)
                break
            n_candidates = _measure_block(
                x, i, cell, block, start, size, side, distance2, candidate
            )
            limit = (gap + block * width) ** 2
            if _count(distance2, n_candidates, limit) >= k:
                break
            block += 1
        _k_nearest(distance2, candidate, n_candidates, limit, k, order, found[order[i]])
