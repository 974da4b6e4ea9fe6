"""Scales of particle data, of whole datasets or of one chunk after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .constants import SOFTENING, SPACING2
from .schema import ParticleArrays, extent_of, spacing_of

VALIDATION_PARTICLES = 6400  # in the validation states of each dataset
_LEAST_SHARE = 1e-3  # of an assumed softening, for particles at one place


@dataclass(frozen=True, eq=False)
class Measured:
    """What scales are computed from: ``arrays`` without values, for what is the same in all parts;
    ``extent`` of positions, see `extent_of`; means of masses, of squares of charges (1 without any),
    velocities and velocity changes, and the share of particles that are free, each with the number of
    trajectories (or of these times the number of states or steps) that it is the mean of."""

    like: ParticleArrays
    extent: tuple[NDArray, NDArray]
    mass: tuple[float, int]
    charge: tuple[float, int]
    free: tuple[float, int]
    velocity: tuple[float, int]
    change: tuple[float, int]

    @classmethod
    def of(cls, data: ParticleArrays, index: NDArray[np.int64]) -> Measured:
        """Of some trajectories of a dataset, at least one."""
        trajectories, states = len(index), len(index) * len(data.time)
        charge = 1.0
        if data.charge is not None:
            charge = float(np.mean(data.charge[index].astype(np.float64) ** 2))
        v = data.velocity[index].astype(np.float64)
        change = float(np.mean(np.diff(v, axis=1) ** 2)) if len(data.time) > 1 else 0.0
        free = 1.0 if data.fixed is None else float(data.free[index].mean())
        # No part of a chunk is held.
        none = replace(
            data, position=data.position[:0].copy(), velocity=data.velocity[:0].copy(),
            mass=data.mass[:0].copy(), charge=None, fixed=None, type=None,
        )  # fmt: skip
        return cls(
            none,
            extent_of(data.position[index]),
            (float(np.mean(data.mass[index])), trajectories),
            (charge, trajectories),
            (free, trajectories),
            (float(np.mean(v**2)), states),
            (change, states - trajectories),
        )

    def joined(self, other: Measured) -> Measured:
        """Of both."""

        def both(name: str) -> tuple[float, int]:
            (a, n), (b, m) = getattr(self, name), getattr(other, name)
            return (a * n + b * m) / max(n + m, 1), n + m

        low, high = (
            f(a, b) for f, a, b in zip((np.minimum, np.maximum), self.extent, other.extent)
        )
        means: Any = {name: both(name) for name in ("mass", "charge", "free", "velocity", "change")}
        return replace(self, extent=(low, high), **means)


def fitted_scales(arrays: Sequence[ParticleArrays], train: Sequence[NDArray[np.int64]]) -> Any:
    """`ParticleScales` of the training trajectories: lengths from the physics, the rest from data.

    ``train``: trajectory numbers of each dataset. Charges, velocities and velocity changes are root
    mean squares, masses and spacings means.
    """
    found = [Measured.of(data, index) for data, index in zip(arrays, train) if len(index)]
    near = [
        distances_in(data, index, np.arange(len(index)), *_sampled(data, len(index)))
        for data, index in zip(arrays, train)
    ]
    return scales_of(found, near, [a.parameters for a in arrays])


def scales_of(
    found: Sequence[Measured],
    near: Sequence[NDArray[np.float64]],
    parameters: Sequence[dict[str, float]],
) -> Any:
    """`ParticleScales` of what was measured of datasets; ``near``: distances of particles to the nearest
    other one, in a sample of states."""
    from .spec import ParticleScales

    spacing = [
        max(spacing_of(one.extent, one.like.box, *one.like.position.shape[2:]), 1e-30)
        for one in found
    ]
    # Fixed particles have neither velocity nor change.
    share = [max(one.free[0], 1e-9) for one in found]
    usual = float(np.mean(spacing))
    # A softening that was not given is that of the published data, in mean distances: its number of 0.2
    # means nothing in another unit of length. Smaller where particles come nearer to each other than
    # twice of it, as planets at very different distances from a star do: a force of 1 / d^2 is a hard
    # function of the softened distance where the two differ.
    assumed = usual * SOFTENING / SPACING2**0.5
    ratio = _nearest(near) / (2 * assumed)
    assumed *= min(1.0, max(ratio**2, _LEAST_SHARE))
    softening = float(np.mean([one.get("softening", assumed) for one in parameters]))
    base = ParticleScales.of_lengths(softening, usual, least=assumed)

    def positive(value: float) -> float:
        return value if value > 0 else 1.0

    return ParticleScales(
        base.length,
        base.near,
        base.lengths,
        mass=positive(float(np.mean([one.mass[0] for one in found]))),
        charge=positive(float(np.sqrt(np.mean([one.charge[0] for one in found])))),
        velocity=positive(
            float(np.sqrt(np.mean([one.velocity[0] / s for one, s in zip(found, share)])))
        ),
        change=positive(
            float(np.sqrt(np.mean([one.change[0] / s for one, s in zip(found, share)])))
        ),
    )


def _nearest(near: Sequence[NDArray[np.float64]]) -> float:
    """The distance that 5 % of those to the nearest particle fall below; inf without any, or where all
    that are so near are at one place."""
    found = np.concatenate([*near, np.zeros(0)])
    distance = float(np.quantile(found, 0.05)) if len(found) else np.inf
    return distance if distance > 0 else np.inf


def _sampled(data: ParticleArrays, trajectories: int) -> tuple[NDArray, NDArray]:
    return sampled_states(trajectories, *data.position.shape[1:3])


def sampled_states(
    trajectories: int, times: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Trajectories and times of some states of ``count`` particles, at even distances."""
    if count < 2 or not trajectories:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    states = min(trajectories * times, max(4, VALIDATION_PARTICLES // count))
    picked = np.linspace(0, trajectories * times - 1, states).astype(np.int64)
    number, time = np.divmod(picked, times)
    return number, time


def distances_in(
    data: ParticleArrays,
    rows: NDArray[np.int64],
    numbers: NDArray[np.int64],
    picked: NDArray[np.int64],
    times: NDArray[np.int64],
) -> NDArray[np.float64]:
    """The distance of each particle to the nearest other one, in the picked states that lie in some data.

    rows: trajectories of the data, and numbers (increasing): what these are called in ``picked``.
    """
    from scipy.spatial import cKDTree

    sides = np.asarray(data.box.sides(data.dims), np.float64)
    where = np.where(np.isfinite(sides), sides, 0.0)  # 0: an open axis
    found = [np.zeros(0)]
    for number, time in zip(picked, times):
        at = np.searchsorted(numbers, number)
        if at == len(numbers) or numbers[at] != number:
            continue
        x = data.position[rows[at], time].astype(np.float64)
        x = np.where(where > 0, np.mod(x, np.where(where > 0, where, 1.0)), x)
        x = np.where((where > 0) & (x >= where), 0.0, x)  # rounded up to the side itself
        found.append(cKDTree(x, boxsize=where).query(x, k=2)[0][:, 1])
    return np.concatenate(found)


def reach_of(arrays: Sequence[ParticleArrays], train: Sequence[NDArray[np.int64]]) -> float:
    """The largest distance of two particles in the training trajectories, in units of length.

    In periodic boxes half a diagonal. Of open axes a bound: the largest extent of a state.
    """
    found = []
    for data, index in zip(arrays, train):
        if not len(index):
            continue
        sides = data.box.sides(data.dims) / 2
        if not np.isfinite(sides).all():
            x = data.position[index]
            extent = (x.max(2) - x.min(2)).max((0, 1)).astype(np.float64)
            sides = np.where(np.isfinite(sides), sides, extent)
        found.append(float(np.sqrt(np.square(sides).sum())))
    return max(found)
