"""Start states of particle systems: uniform in the box, or a Plummer model."""

from __future__ import annotations

import numpy as np

from ...errors import InvalidOption, unknown_name
from ..constants import CONSTANT, MASS
from ..graphs.box import Box
from .base import ParticleState, ParticleSystem, default_side

STARTS = ("random", "plummer")
PLUMMER_LENGTH = 3 * np.pi / 16  # scale length in standard N-body units (G = M = 1, E = -1/4)


def draw_start(
    system: ParticleSystem,
    start: str,
    rng: np.random.Generator,
    particles: int,
    *,
    box: Box,
    mass: float | np.ndarray = MASS,
    constant: float = CONSTANT,
    charge: np.ndarray | None = None,
) -> ParticleState:
    """A state drawn with ``rng``, ``start`` "random" or "plummer".

    mass, charge: (particle,) or one number, for "random" only; charges are drawn where None.
    Raises UnknownName, InvalidOption.
    """
    if start not in STARTS:
        raise unknown_name("start", start, STARTS)
    if start == "plummer":
        return plummer(system, rng, particles, box=box, constant=constant)
    side = box.cube if box.periodic else default_side(particles, system.dims)
    position = rng.uniform(-side / 2, side / 2, (particles, system.dims))
    low, high = system.state[1].start
    velocity = rng.uniform(low, high, (particles, system.dims))
    if system.charged and charge is None:
        charge = system.draw_charge(rng, particles)
    return system.check(ParticleState(position, velocity, np.asarray(mass, np.float64), charge))


def plummer(
    system: ParticleSystem, rng: np.random.Generator, particles: int, *, box: Box, constant: float
) -> ParticleState:
    """A Plummer model of total mass 1, equal masses, scale length 3 pi / 16.

    Three dimensions: isotropic equilibrium, radii and speeds from the distribution function
    (Aarseth, Henon, Wielen 1974). Two dimensions: the same radii in a disc, each particle on the
    circular speed of the mass inside, turning either way, speed perturbed by 1 % and direction by
    18 degrees (the published start). Speeds scale with sqrt(constant); the published code fixes
    the constant at 1. Radii end at half the side of a periodic box. Raises InvalidOption for a
    system other than gravity (there is no equilibrium to draw).
    """
    if system.charged:
        raise InvalidOption(
            "a Plummer start is an equilibrium of gravity",
            got=f'start="plummer" with system={system.name!r}',
            allowed='start="random" or a given state',
        )
    reach = box.cube / 2 / PLUMMER_LENGTH
    inside = (1 + reach**-2.0) ** -1.5 if box.periodic else 1.0
    u = rng.uniform(0.0, inside, particles)
    # The mass inside a radius r is (1 + r^-2)^(-3/2), here inverted; the bound keeps r above 1e-4.
    radius = 1 / np.sqrt(np.maximum(u, 1e-12) ** (-2 / 3) - 1)
    direction = _directions(rng, particles, system.dims)
    if system.dims == 3:
        escape = np.sqrt(2.0) * (1 + radius**2) ** -0.25
        speed = escape * _plummer_speed(rng, particles)
        heading = _directions(rng, particles, 3)
    else:
        circular = radius * (1 + radius**2) ** -0.75
        speed = circular * (1 + rng.normal(0.0, 0.01, particles))
        angle = np.arctan2(direction[:, 1], direction[:, 0])
        angle += (2 * rng.integers(0, 2, particles) - 1) * np.pi / 2
        angle += np.pi * rng.normal(0.0, 0.1, particles)
        heading = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    position = PLUMMER_LENGTH * radius[:, None] * direction
    velocity = np.sqrt(constant / PLUMMER_LENGTH) * speed[:, None] * heading
    mass = np.full(particles, 1.0 / particles)
    return system.check(ParticleState(box.wrap(position), velocity, mass))


def _directions(rng: np.random.Generator, particles: int, dims: int) -> np.ndarray:
    vector = rng.normal(size=(particles, dims))
    return vector / np.linalg.norm(vector, axis=1, keepdims=True)


def _plummer_speed(rng: np.random.Generator, particles: int) -> np.ndarray:
    """Speeds over the escape speed, density q^2 (1 - q^2)^(7/2), by rejection."""
    out = np.empty(0)
    while out.size < particles:
        q, height = rng.uniform(0, 1, 4 * particles), rng.uniform(0, 0.1, 4 * particles)
        out = np.concatenate([out, q[height < q**2 * (1 - q**2) ** 3.5]])
    return out[:particles]
