"""Numba kernel: exact k nearest neighbours by a grid of cells, periodic or open.

Particles are sorted into cells that hold a few each. For a particle the block of cells around its
own is read, wider and wider: in a block of ``r`` cells each way everything nearer than r cell sides
and the way to the border of its own cell is seen, and the search ends when k particles are not
farther than that. Rows of a block are runs in memory, so distances are vector work; the k-th
smallest one is found by bisection with counting, which has no branch for each candidate.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .tree_kernels import counting_order

_jit = njit(cache=True, nogil=True, error_model="numpy")


@_jit
def into_grid(position, lower, size, width):
    """Order of the particles by cell (axis 0 fastest), where each cell's run starts."""
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
def _read(x, i, first, last, side, distance2, who, seen):
    """Squared distances from i to the run of particles, appended; how many there are then."""
    half = side / 2
    for k in range(last - first):
        total = 0.0
        for axis in range(x.shape[0]):
            d = x[axis, first + k] - x[axis, i]
            d = d - side if d > half else (d + side if d <= -half else d)
            total += d * d
        distance2[seen + k] = total
        who[seen + k] = first + k
    if first <= i < last:
        distance2[seen + i - first] = np.inf
    return seen + last - first


@_jit
def _read_block(x, i, cell, block, start, size, side, distance2, who):
    """All particles of the cells at most ``block`` away on each axis."""
    dims = x.shape[0]
    periodic = np.isfinite(side)
    seen = 0
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
            seen = _read(x, i, start[row + a], start[row + b + 1], side, distance2, who, seen)
            if periodic and low < 0:
                a, b = low + size, size
                seen = _read(x, i, start[row + a], start[row + b], side, distance2, who, seen)
            if periodic and high >= size:
                a, b = 0, high - size + 1
                seen = _read(x, i, start[row + a], start[row + b], side, distance2, who, seen)
    return seen


@_jit
def _count(distance2, seen, limit):
    total = 0
    for j in range(seen):
        total += distance2[j] <= limit
    return total


@_jit
def _k_nearest(distance2, who, seen, limit, k, order, found):
    """Write the k nearest; at least k are within ``limit``."""
    low, high = 0.0, limit
    cut = high
    for _ in range(64):
        number = _count(distance2, seen, cut)
        if number == k:
            break
        if number < k:
            low = cut
        else:
            high = cut
        cut = 0.5 * (low + high)
    else:  # several at the k-th distance: any of them will do
        cut = high
        n = 0
        for j in range(seen):
            if distance2[j] <= low:
                found[n] = order[who[j]]
                n += 1
        for j in range(seen):
            if n < k and low < distance2[j] <= high:
                found[n] = order[who[j]]
                n += 1
        return
    n = 0
    for j in range(seen):
        if distance2[j] <= cut:
            found[n] = order[who[j]]
            n += 1


@_jit
def nearest_in_grid(x, order, start, lower, size, width, side, k, found):
    """k nearest of each particle; x (axis, particle) in cell order, ``found`` in given order.

    ``side`` is inf in open space.
    """
    dims, count = x.shape
    periodic = np.isfinite(side)
    distance2, who = np.empty(count), np.empty(count, np.int64)
    cell = np.zeros(3, np.int64)
    for i in range(count):
        gap = np.inf  # way to the border of the own cell
        for axis in range(dims):
            c = int((x[axis, i] - lower[axis]) / width)
            cell[axis] = min(max(c, 0), size - 1)
            into = x[axis, i] - lower[axis] - cell[axis] * width
            gap = min(gap, into, width - into)
        gap = max(gap, 0.0)
        block = 1
        while True:
            # A block that would meet itself, or covers all: everybody is a candidate.
            whole = 2 * block + 1 > size if periodic else block >= size
            if whole:
                seen = _read(x, i, 0, count, side, distance2, who, 0)
                limit = 0.0
                for j in range(seen):
                    limit = max(limit, distance2[j] if j != i else 0.0)
                break
            seen = _read_block(x, i, cell, block, start, size, side, distance2, who)
            limit = (gap + block * width) ** 2
            if _count(distance2, seen, limit) >= k:
                break
            block += 1
        _k_nearest(distance2, who, seen, limit, k, order, found[order[i]])
