"""Bodies of different masses: which form of model they take, and the size of each one's motion."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .constants import LAWS
from .schema import ParticleArrays

# Masses that differ by more than this factor enter a model as products; those that differ by less are
# inputs of its networks, as in version 0.1, whose numbers they keep.
DIFFERENT = 2.0
# Masses of unknown laws that differ by more than this factor are taken for those of gravity: of all
# forces between bodies it is the one whose sources span many decades.
GRAVITY = 1000.0


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


def body_spreads(data: ParticleArrays, train: NDArray[np.int64]) -> NDArray[np.float64]:
    """The size of the velocity change over one step of each body, (trajectory, particle).

    Root mean squares over times, axes and the trajectories with the same masses, in units of
    velocity. A body whose velocity does not change by more than its rounding (a heavy one that
    drifts) has the size of all bodies, or, where none changes, that of the velocities: relative to
    a rounding error its loss would be all of the loss. ``train``: trajectory numbers
    that the sizes are taken from; the bodies of others have the sizes of theirs where their masses
    are the same, and their own otherwise.
    """
    velocity = data.velocity
    change = np.diff(velocity.astype(np.float64), axis=1)
    squares = (change**2).mean((1, 3))
    rounding = np.finfo(velocity.dtype).eps * np.abs(velocity).max((1, 3)).astype(np.float64)
    out = np.empty_like(squares)
    _, group = np.unique(np.asarray(data.mass), axis=0, return_inverse=True)
    group = group.reshape(-1)
    for number in range(group.max() + 1):
        here = np.flatnonzero(group == number)
        chosen = np.intersect1d(here, train)
        chosen = chosen if len(chosen) else here
        size = np.sqrt(squares[chosen].mean(0))
        out[here] = np.where(size > 2 * rounding[chosen].max(0), size, 0.0)
    usual = float(np.sqrt(np.mean(squares[train]))) if len(train) else 0.0
    if not out.any():
        usual = float(np.sqrt(np.mean(velocity.astype(np.float64) ** 2)))
    out[out == 0] = usual if usual > 0 else 1.0
    return out
