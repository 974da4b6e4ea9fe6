"""ParticleRange: the data that a particle model was trained on, and checks of other data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..training.ranges import interval
from .schema import ParticleArrays, spacings

PHYSICS = ("constant", "softening")  # numbers of the force, by their names in records
# How far velocities, charges and spacings in open space may lie beyond the largest value of the
# training data, as a share of it: a range of drawn numbers is a little wider in the next draw.
RANGE_SLACK = 0.5
_SPACE = {"open": "open space", "periodic": "a periodic box"}


@dataclass(frozen=True)
class ParticleRange:
    """What a particle model was trained on, its training trajectories: pairs are (smallest, largest).

    ``spacing`` is the mean distance in first states, (volume / particles)^(1 / dims); ``speed`` (0,
    the largest component of a velocity); ``charge`` None without charges. ``parameters`` is the physics
    that all datasets share, ``parameter_spans`` a pair for each number in which they differ.
    ``spaces``: "periodic", "open" or both; empty in older files.
    """

    particles: tuple[int, int]
    spacing: tuple[float, float]
    mass: tuple[float, float]
    speed: tuple[float, float]
    trajectories: int
    steps: int
    parameters: Mapping[str, float] = field(default_factory=dict)
    charge: tuple[float, float] | None = None
    parameter_spans: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    spaces: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, arrays: Sequence[ParticleArrays], train: Sequence[NDArray[np.int64]] | None = None
    ) -> ParticleRange:
        """The range of some datasets; ``train``: which trajectories of each, all by default."""
        chosen = [np.arange(len(a.position)) for a in arrays] if train is None else train
        used = [(a, index) for a, index in zip(arrays, chosen) if len(index)]
        counts = [a.position.shape[2] for a, _ in used]
        spacing = [spacings(a.position[index], a.box) for a, index in used]
        charges = [a.charge[index] for a, index in used if a.charge is not None]
        shared, spans = _physics([a.parameters for a, _ in used])
        return cls(
            (min(counts), max(counts)), _extremes(spacing),
            _extremes([a.mass[index] for a, index in used]),
            (0.0, max(float(np.abs(a.velocity[index]).max()) for a, index in used)),
            sum(len(index) for _, index in used), max(len(a.time) - 1 for a, _ in used), shared,
            _extremes(charges) if charges else None, spans,
            tuple(sorted({_space(a) for a, _ in used})),
        )  # fmt: skip

    def joined(self, other: ParticleRange) -> ParticleRange:
        """The range of both, parts of one dataset with different trajectories."""

        def both(a: tuple[Any, Any], b: tuple[Any, Any]) -> tuple[Any, Any]:
            return min(a[0], b[0]), max(a[1], b[1])

        charged = self.charge is not None and other.charge is not None
        return replace(
            self,
            particles=both(self.particles, other.particles),
            spacing=both(self.spacing, other.spacing),
            mass=both(self.mass, other.mass),
            speed=both(self.speed, other.speed),
            trajectories=self.trajectories + other.trajectories,
            steps=max(self.steps, other.steps),
            charge=both(self.charge, other.charge) if charged else None,  # type: ignore[arg-type]
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ParticleRange:
        """From values of a file, where pairs are lists; older files lack charges and spans."""
        spans = {name: tuple(pair) for name, pair in values.get("parameter_spans", {}).items()}
        found: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**{**found, "parameter_spans": spans})

    def outside(
        self, data: ParticleArrays, transfers: bool, *, any_mass: bool = False
    ) -> list[str]:
        """In words, with numbers: how some data lie outside. ``transfers``: any count is fine;
        ``any_mass``: any masses are.

        Velocities and spacings are those of the start. Velocities, charges and spacings in open
        space may exceed the training range by half of the largest: a range of drawn numbers is a
        little wider in the next draw.
        """
        found = []
        count = data.position.shape[2]
        low, high = _extremes([spacings(data.position, data.box)])
        slack = 1.05 if data.box.periodic else 1 + RANGE_SLACK
        if not self.spaces and not data.box.periodic:
            slack = inf  # older files hold the extent over all trajectories and times
        if not transfers and not self.particles[0] <= count <= self.particles[1]:
            found.append(f"{count} particles (trained on {interval(*self.particles)})")
        if low < self.spacing[0] / slack or high > self.spacing[1] * slack:
            found.append(
                f"mean spacing {interval(low, high)} (trained on {interval(*self.spacing)})"
            )
        low, high = float(data.mass.min()), float(data.mass.max())
        if not any_mass and (low < self.mass[0] * 0.999 or high > self.mass[1] * 1.001):
            found.append(f"masses {low:.3g} to {high:.3g} (trained on {interval(*self.mass)})")
        fastest = float(np.abs(data.velocity[:, 0]).max())
        if fastest > (1 + RANGE_SLACK) * self.speed[1]:
            found.append(f"speeds up to {fastest:.3g} (trained on up to {self.speed[1]:.3g})")
        if self.charge is not None and data.charge is not None:
            low, high = _extremes([data.charge])
            slack = RANGE_SLACK * max(map(abs, self.charge))
            if low < self.charge[0] - slack or high > self.charge[1] + slack:
                found.append(f"charges {interval(low, high)} (trained on {interval(*self.charge)})")
        return found + self.other_physics(data)

    def other_physics(self, data: ParticleArrays) -> list[str]:
        """In words: other constants of the force, and open space instead of a periodic box."""
        found = []
        for name in PHYSICS:
            here, trained = data.parameters.get(name), self._trained(name)
            if here is None or trained is None:
                continue
            slack = 1e-9 * max(map(abs, trained))
            if not trained[0] - slack <= here <= trained[1] + slack:
                found.append(f"{name} {here:g} (trained on {interval(*trained)})")
        if self.spaces and _space(data) not in self.spaces:
            found.append(f"{_SPACE[_space(data)]} (trained in {_SPACE[self.spaces[0]]})")
        return found

    def _trained(self, name: str) -> tuple[float, float] | None:
        """The values of a parameter, (smallest, largest)."""
        if name in self.parameters:
            return self.parameters[name], self.parameters[name]
        return self.parameter_spans.get(name)


def _space(data: ParticleArrays) -> str:
    return "periodic" if data.box.periodic else "open"


def _extremes(values: Sequence[NDArray]) -> tuple[float, float]:
    return min(float(v.min()) for v in values), max(float(v.max()) for v in values)


def _physics(
    given: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Numbers that all records share, and (smallest, largest) of those in which they differ."""
    shared: dict[str, float] = {}
    spans: dict[str, tuple[float, float]] = {}
    for name in given[0]:
        values = [v for one in given if isinstance(v := one.get(name), int | float)]
        if len(values) < len(given):
            continue
        if min(values) == max(values):
            shared[name] = values[0]
        else:
            spans[name] = min(values), max(values)
    return shared, spans
