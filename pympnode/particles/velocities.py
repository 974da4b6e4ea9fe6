"""Whether velocities belong to positions, from differences of the positions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidData
from ..training.ranges import warn_user
from .graphs.box import Box

# Correlation of displacements and velocities from which on they are one motion, and below which they
# are none. Between: steps so long that paths bend within them, or noise.
_SAME, _OTHER = 0.9, 0.5
_UNIT = 1.25  # largest factor between displacements and velocities of one unit
_STATES = 2000  # states of a trajectory that are looked at


def check_velocities(
    position: NDArray, velocity: NDArray, time: NDArray[np.float64], box: Box
) -> None:
    """Raise InvalidData for velocities of another sign or order than those of the positions.

    position, velocity (trajectory, time, particle, axis). A displacement over a step is compared with
    the mean velocity at its ends times the step, as correlation over all times of each particle. Warns
    `PympnodeWarning` where they are in another unit, and where they have little to do with each other
    for no reason that is found.
    """
    times = min(position.shape[1], _STATES)
    if times < 2:
        return
    x, v = (a[:, :times].astype(np.float64) for a in (position, velocity))
    moved = box.displacement(np.diff(x, axis=1))
    step = np.diff(time[:times])[:, None, None]
    covered = 0.5 * (v[:, 1:] + v[:, :-1]) * step
    # Each particle by its own size, so that a fast one does not decide for all.
    sizes = [np.sqrt((a**2).sum((0, 1, 3))) for a in (moved, covered)]
    moving = (sizes[0] > 0) & (sizes[1] > 0)
    if not moving.any() or sizes[0].size * (times - 1) * len(x) < 8:
        return
    moved, covered = (a[:, :, moving] / s[moving][:, None] for a, s in zip((moved, covered), sizes))
    product = np.einsum("stpa,stpa->p", moved, covered)
    correlation = float(product.mean())
    factor = float(np.median(sizes[0][moving] / sizes[1][moving]))
    numbers = f"correlation {correlation:.3f}, displacements {factor:.4g} times velocities x step"
    if correlation < -_SAME:
        raise InvalidData(
            "velocities point against the motion of the positions",
            got=numbers,
            allowed="velocities = change of position / time",
            fix="velocity=-velocity, or positions in the order of time",
        )
    if correlation > _SAME:
        if not 1 / _UNIT < factor < _UNIT:
            warn_user(
                f"velocities are in another unit than positions and times: {numbers}; "
                f"velocity={factor:.6g} * velocity, or dt={factor:.6g} * dt, makes them fit"
            )
        return
    if correlation > _OTHER:
        return
    if moved.shape[2] > 1:
        cross = np.einsum("stpa,stqa->pq", moved, covered)
        best = cross.argmax(1)
        if len(set(best.tolist())) == len(best) and float(cross.max(1).mean()) > _SAME:
            other = int(np.flatnonzero(best != np.arange(len(best)))[0])
            particles = np.flatnonzero(moving)
            raise InvalidData(
                "velocities belong to the positions of other particles",
                got=f"{numbers}; particle {particles[other]} moves with the velocity of particle "
                f"{particles[best[other]]}",
                allowed="the same order of particles in both",
                fix="sort both by the identity of the particles at every time",
            )
    warn_user(
        f"velocities have little to do with the motion of the positions: {numbers}; they are those of "
        "other times, units or particles, or the step is longer than the paths are straight"
    )
