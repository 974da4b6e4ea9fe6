"""Bodies of different masses: which form of model they take, and the size of each one's motion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import PARTICLE
from ..errors import InvalidData, InvalidOption
from .constants import LAWS
from .schema import ParticleArrays

# Masses that differ by more than this factor enter a model as products; those that differ by less are
# inputs of its networks, as in version 0.1, whose numbers they keep.
DIFFERENT = 2.0
# Masses of unknown laws that differ by more than this factor are taken for those of gravity: of all
# forces between bodies it is the one whose sources span many decades.
GRAVITY = 1000.0
_MOST_BYTES = 1 << 26  # of the sizes of bodies of different masses


def mass_ratio(arrays: Sequence[ParticleArrays]) -> float:
    """The largest mass over the smallest one that is not 0; at least 1. inf with masses of 0."""
    mass = np.concatenate([np.asarray(a.mass, np.float64).ravel() for a in arrays])
    if not (mass > 0).any():
        return 1.0
    return np.inf if (mass <= 0).any() else float(mass.max() / mass.min())


def usual_coupling(arrays: Sequence[ParticleArrays]) -> str:
    """The ``mass_coupling`` of a fresh model for some data, see `ParticleSpec`.

    "input" where masses differ by at most `DIFFERENT`; "product" for the known laws, and for unknown
    ones where masses differ by more than `GRAVITY`; "reduced" for other unknown laws and for unknown
    laws of charges.
    """
    ratio = mass_ratio(arrays)
    if ratio <= DIFFERENT:
        return "input"
    if arrays[0].system in LAWS:
        return "product"
    return "product" if ratio > GRAVITY and arrays[0].charge is None else "reduced"


def assumed_coupling(arrays: Sequence[ParticleArrays], coupling: str) -> str:
    """A warning for a coupling that was chosen for data of an unknown law; "" for a known one."""
    if coupling == "input" or arrays[0].system in LAWS:
        return ""
    other = "reduced" if coupling == "product" else "product"
    meaning = {
        "product": "product of masses, as in gravity",
        "reduced": "reduced mass, for laws that are not known",
    }
    return (
        f"masses differ by a factor of {mass_ratio(arrays):.3g} and the law between the particles is "
        f"not known: what they do to each other is multiplied by the {meaning[coupling]} "
        f'(mass_coupling="{coupling}"); give mass_coupling="{other}" for the {meaning[other]}, or '
        "the same one again to say that it is meant"
    )


def bodies_of(ds: xr.Dataset) -> tuple[str, ...]:
    """The labels of the particles as texts; () where they have none but their numbers."""
    if PARTICLE not in ds.coords:
        return ()
    labels = ds[PARTICLE].values.tolist()
    return () if labels == list(range(len(labels))) else tuple(map(str, labels))


def require_bodies(learned: Sequence[str], ds: xr.Dataset) -> None:
    """Raise `InvalidData` where the particles of ``ds`` are not those whose masses were ``learned``, by their
    labels; nothing where either has none."""
    found = bodies_of(ds)
    if not learned or not found or found == tuple(learned):
        return
    same = sorted(found) == sorted(learned)
    raise InvalidData(
        "the model has learned the masses of "
        + ("these particles in another order" if same else "other particles"),
        got=", ".join(found),
        allowed=", ".join(learned),
        fix=f"ds.sel(particle={list(learned)!r})"
        if set(learned) <= set(found)
        else "give the particles that it was trained on, or train on these",
    )


def fixed_particle(
    given: Any, arrays: Sequence[ParticleArrays], labels: Sequence[Any] | None
) -> tuple[int, float]:
    """The number of the particle whose mass is not learned, and this mass.

    given: a label or a number; None: the heaviest particle of the data, the first of several. Raises
    InvalidOption for another one, and InvalidData where datasets have other numbers of particles,
    where its mass is 0 or differs between trajectories, and where particles are charged.
    """
    counts = {a.mass.shape[1] for a in arrays}
    if len(counts) > 1:
        raise InvalidData(
            "masses are learned of the same particles in all datasets",
            got=f"{min(counts)} to {max(counts)} particles",
            allowed="one number of particles",
        )
    if arrays[0].charge is not None:
        raise InvalidData(
            "masses are learned of particles whose forces are products of masses",
            got="charged particles",
            allowed="particles without charges",
            fix='leave mass="learned" out',
        )
    mass = np.concatenate([np.asarray(a.mass, np.float64) for a in arrays])
    number = _particle(given, mass[0], labels)
    if not (mass[:, number] == mass[0, number]).all() or mass[0, number] <= 0:
        raise InvalidData(
            "the particle whose mass is not learned has one mass in all trajectories",
            got=f"masses {mass[:, number].min():g} to {mass[:, number].max():g}",
            allowed="one mass > 0",
        )
    return number, float(mass[0, number])


def _particle(given: Any, mass: NDArray[np.float64], labels: Sequence[Any] | None) -> int:
    """The number of the particle ``given`` by a label or a number; None: the heaviest."""
    if given is None:
        return int(np.argmax(mass))
    if isinstance(given, str) and given.isdecimal() and given not in list(labels or ()):
        given = int(given)  # of the command line
    if given in list(labels or ()):
        return list(labels or ()).index(given)
    is_number = isinstance(given, int | np.integer) and not isinstance(given, bool)
    if is_number and labels is None and 0 <= given < len(mass):
        return int(given)
    allowed = f"0 to {len(mass) - 1}" if labels is None else ", ".join(map(str, labels))
    raise InvalidOption(
        "fixed_mass names the particle that keeps its mass", got=repr(given), allowed=allowed
    )


def body_spreads(data: ParticleArrays, train: NDArray[np.int64]) -> NDArray[np.float64]:
    """The size of the velocity change over one step of each body, (trajectory, particle).

    Root mean squares over times, axes and the trajectories with the same masses, in units of
    velocity. A body whose velocity does not change by more than its rounding (a heavy one that
    drifts) has the size of all bodies, or, where none changes, that of the velocities: relative to
    a rounding error its loss would be all of the loss. ``train``: trajectory numbers
    that the sizes are taken from; the bodies of others have the sizes of theirs where their masses
    are the same, and their own otherwise.
    """
    return BodySizes.of(data, train).spreads(data)


@dataclass(frozen=True, eq=False)
class _Size:
    """Of the bodies of trajectories with the same masses: mean squares of their velocity changes (particle,),
    of how many changes, the rounding of their velocities (particle,), and whether they train."""

    squares: NDArray[np.float64]
    count: int
    rounding: NDArray[np.float64]
    trained: bool

    def joined(self, other: _Size) -> _Size:
        if self.trained != other.trained:
            return self if self.trained else other
        count = self.count + other.count
        squares = (self.squares * self.count + other.squares * other.count) / max(count, 1)
        return _Size(squares, count, np.maximum(self.rounding, other.rounding), self.trained)

    @property
    def size(self) -> NDArray[np.float64]:
        """(particle,); 0 for bodies whose velocity does not change by more than its rounding."""
        size = np.sqrt(self.squares)
        return np.where(size > 2 * self.rounding, size, 0.0)


@dataclass(frozen=True, eq=False)
class BodySizes:
    """What `body_spreads` takes from data, of one part of them or of several.

    ``groups``: by the bytes of the masses of a trajectory. ``motion``: the mean square of the velocity
    changes of trajectories that train, ``speed`` that of velocities, each with its number of values.
    """

    groups: dict[bytes, _Size]
    motion: tuple[float, int]
    speed: tuple[float, int]

    @classmethod
    def of(cls, data: ParticleArrays, train: NDArray[np.int64]) -> BodySizes:
        """Of a dataset, of which the trajectories ``train`` train."""
        velocity = data.velocity
        change = np.diff(velocity.astype(np.float64), axis=1)
        squares = (change**2).mean((1, 3))
        rounding = np.finfo(velocity.dtype).eps * np.abs(velocity).max((1, 3)).astype(np.float64)
        steps = change.shape[1]
        groups = {}
        for masses, here in _alike(data.mass):
            chosen = np.intersect1d(here, train)
            trained = bool(len(chosen))
            chosen = chosen if trained else here
            groups[masses] = _Size(
                squares[chosen].mean(0), len(chosen) * steps, rounding[chosen].max(0), trained
            )
        motion = float(np.mean(squares[train])) if len(train) else 0.0
        return cls(
            groups,
            (motion, len(train) * steps),
            (float(np.mean(velocity.astype(np.float64) ** 2)), velocity.size),
        )

    def joined(self, other: BodySizes) -> BodySizes:
        """Of both; groups beyond `_MOST_BYTES` are left out, and measured where they are used."""
        groups = dict(self.groups)
        for masses, size in other.groups.items():
            if masses in groups:
                groups[masses] = groups[masses].joined(size)
            elif 4 * len(masses) * len(groups) < _MOST_BYTES:
                groups[masses] = size

        def both(a: tuple[float, int], b: tuple[float, int]) -> tuple[float, int]:
            count = a[1] + b[1]
            return (a[0] * a[1] + b[0] * b[1]) / max(count, 1), count

        return BodySizes(groups, both(self.motion, other.motion), both(self.speed, other.speed))

    def spreads(self, data: ParticleArrays) -> NDArray[np.float64]:
        """See `body_spreads`: (trajectory, particle) of some data."""
        out = np.empty(data.mass.shape)
        here = None
        for masses, rows in _alike(data.mass):
            size = self.groups.get(masses)
            if size is None:
                here = here or BodySizes.of(data, np.arange(len(data.mass)))
                size = here.groups[masses]
            out[rows] = size.size
        usual = float(np.sqrt(self.motion[0]))
        if not out.any() and not any(one.size.any() for one in self.groups.values()):
            usual = float(np.sqrt(self.speed[0]))
        out[out == 0] = usual if usual > 0 else 1.0
        return out


def _alike(mass: NDArray) -> Iterator[tuple[bytes, NDArray[np.int64]]]:
    """Bytes of the masses, and numbers of the trajectories that have them."""
    distinct, group = np.unique(np.asarray(mass), axis=0, return_inverse=True)
    group = group.reshape(-1)
    for number, masses in enumerate(distinct):
        yield masses.tobytes(), np.flatnonzero(group == number)
