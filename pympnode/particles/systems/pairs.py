"""Compiled sums over all pairs of particles: softened acceleration and potential, minimum image.

Gravity and Coulomb are the same sum with other weights. With d_ij = x_j - x_i, each component
brought once into (-L/2, L/2], and r_ij^2 = |d_ij|^2 + softening^2:

    a_i = factor_i * sum_j source_j d_ij / r_ij^3
    U   = sum_{i<j} source_i source_j / r_ij        (to be multiplied by -G or +k)

gravity: source = mass, factor = G; Coulomb: source = charge, factor = -k charge / mass.

Positions are (axis, particle), float64, contiguous, inside the box; an open box has side = inf.
Only the order of the sums is left to the compiler (``reassoc``), which moves results by about
1e-15 relative; NumPy's error model is needed because a check for division by zero would keep the
loops from becoming vector instructions (a factor of four).
"""

from __future__ import annotations

import numpy as np

from ...files.compiling import njit

FAST = frozenset({"reassoc", "contract", "nsz"})
_jit = njit(nogil=True, error_model="numpy", fastmath=set(FAST))


# The axes are written out, so that the loop over j is the innermost one, of which the compiler makes
# vector instructions.


@_jit
def _accelerate_2d(position, source, factor, rows, side, softening2, out):
    x, y = position[0], position[1]
    half = side / 2
    for k in range(rows.shape[0]):
        i = rows[k]
        xi, yi = x[i], y[i]
        sx, sy = 0.0, 0.0
        for j in range(x.shape[0]):
            dx, dy = x[j] - xi, y[j] - yi
            dx = dx - side if dx > half else (dx + side if dx <= -half else dx)
            dy = dy - side if dy > half else (dy + side if dy <= -half else dy)
            r2 = dx * dx + dy * dy + softening2
            w = source[j] / (r2 * np.sqrt(r2))
            sx += w * dx
            sy += w * dy
        out[0, i] = factor[i] * sx
        out[1, i] = factor[i] * sy


@_jit
def _accelerate_3d(position, source, factor, rows, side, softening2, out):
    x, y, z = position[0], position[1], position[2]
    half = side / 2
    for k in range(rows.shape[0]):
        i = rows[k]
        xi, yi, zi = x[i], y[i], z[i]
        sx, sy, sz = 0.0, 0.0, 0.0
        for j in range(x.shape[0]):
            dx, dy, dz = x[j] - xi, y[j] - yi, z[j] - zi
            dx = dx - side if dx > half else (dx + side if dx <= -half else dx)
            dy = dy - side if dy > half else (dy + side if dy <= -half else dy)
            dz = dz - side if dz > half else (dz + side if dz <= -half else dz)
            r2 = dx * dx + dy * dy + dz * dz + softening2
            w = source[j] / (r2 * np.sqrt(r2))
            sx += w * dx
            sy += w * dy
            sz += w * dz
        out[0, i] = factor[i] * sx
        out[1, i] = factor[i] * sy
        out[2, i] = factor[i] * sz


@_jit
def accelerate(position, source, factor, rows, side, softening2, out):
    """Accelerations of the particles in ``rows`` from all particles, into ``out[:, rows]``.

    position: (axis, particle); source, factor: (particle,); rows: (row,). The sum includes j = i:
    its displacement is exactly zero and adds exactly zero, which is cheaper than a branch.
    """
    if position.shape[0] == 2:
        _accelerate_2d(position, source, factor, rows, side, softening2, out)
    else:
        _accelerate_3d(position, source, factor, rows, side, softening2, out)


@_jit
def pair_potential(position, source, side, softening2):
    """Sum over pairs i < j of source_i source_j / r_ij; memory does not grow with the count."""
    dims, count = position.shape
    half = side / 2
    total = 0.0
    for i in range(count):
        row = 0.0  # by row first: long sums of small terms round less
        if dims == 2:
            xi, yi = position[0, i], position[1, i]
            for j in range(i + 1, count):
                dx, dy = position[0, j] - xi, position[1, j] - yi
                dx = dx - side if dx > half else (dx + side if dx <= -half else dx)
                dy = dy - side if dy > half else (dy + side if dy <= -half else dy)
                row += source[j] / np.sqrt(dx * dx + dy * dy + softening2)
        else:
            xi, yi, zi = position[0, i], position[1, i], position[2, i]
            for j in range(i + 1, count):
                dx, dy, dz = position[0, j] - xi, position[1, j] - yi, position[2, j] - zi
                dx = dx - side if dx > half else (dx + side if dx <= -half else dx)
                dy = dy - side if dy > half else (dy + side if dy <= -half else dy)
                dz = dz - side if dz > half else (dz + side if dz <= -half else dz)
                row += source[j] / np.sqrt(dx * dx + dy * dy + dz * dz + softening2)
        total += source[i] * row
    return total
