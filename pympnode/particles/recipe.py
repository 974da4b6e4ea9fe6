"""``Recipe``: all that a particle trajectory depends on, and the trajectory made from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any

import numpy as np

from ..datasets.split import rng_of, split_trajectories
from ..errors import IntegrationFailed, InvalidData, unknown_name
from .graphs.box import Box
from .leapfrog import fly
from .systems.base import ParticleState, ParticleSystem
from .systems.starts import draw_start

LAWS = ("gravity", "coulomb")  # the systems whose forces are known
_LABELS = np.array(["train", "validation"])


@dataclass(frozen=True)
class Recipe:
    """All that a trajectory depends on beside its number; goes to other processes as JSON."""

    system: str
    dims: int
    particles: int
    trajectories: int
    steps: int
    dt: float
    seed: int
    parameters: Mapping[str, Any]  # constant, softening, accuracy, side (null: open)
    start: str = "random"  # or "given"
    integrator: str = "block"
    substeps: int = 1
    dtype: str = "float64"
    split: float | None = 0.7
    mass: list[float] | None = None
    charge: list[float] | None = None
    version: str = field(default="")

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        return cls(**json.loads(text))

    @property
    def box(self) -> Box:
        side = self.parameters["side"]
        return Box(inf if side is None else side)

    @property
    def time(self) -> np.ndarray:
        return np.arange(self.steps + 1) * self.dt

    @property
    def trajectory_bytes(self) -> int:
        """Bytes of one trajectory: positions, velocities, mass (and charge)."""
        values = 2 * (self.steps + 1) * self.dims + 2
        return self.particles * values * np.dtype(self.dtype).itemsize

    @property
    def bytes(self) -> int:
        """Bytes of the whole dataset."""
        return self.trajectories * self.trajectory_bytes

    def about(self) -> dict[str, Any]:
        """The record of the dataset."""
        return {
            "kind": "simulation",
            "system": self.system,
            "parameters": dict(self.parameters),
            "seed": self.seed,
            "start": self.start,
            "solver": f"leapfrog, {self.integrator} time steps",
            "substeps": self.substeps,
            "version": self.version,
        }

    def labels(self) -> np.ndarray | None:
        if self.split is None:
            return None
        return _LABELS[split_trajectories(self.trajectories, self.split, self.seed)]


@dataclass(frozen=True, eq=False)
class Given:
    """Start states handed in: arrays over trajectory; see `simulate_particles`."""

    states: tuple[ParticleState, ...]

    def __len__(self) -> int:
        return len(self.states)


def trajectory(
    recipe: Recipe,
    given: Given | None,
    index: int,
    on_step: Callable[[int], None] | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Position, velocity, mass, charge of one trajectory of a recipe, in its dtype."""
    system = system_of(recipe.system, recipe.dims)
    constant = recipe.parameters["constant"]
    if given is not None:
        state = given.states[index % len(given)]
    else:
        state = draw_start(
            system,
            recipe.start,
            rng_of(recipe.seed, 0, index),
            recipe.particles,
            box=recipe.box,
            mass=np.asarray(1.0 if recipe.mass is None else recipe.mass),
            charge=None if recipe.charge is None else np.asarray(recipe.charge),
            constant=constant,
        )
    try:
        flight = fly(
            system,
            state,
            box=recipe.box,
            steps=recipe.steps,
            dt=recipe.dt,
            constant=constant,
            softening=recipe.parameters["softening"],
            accuracy=recipe.parameters["accuracy"],
            integrator=recipe.integrator,
            substeps=recipe.substeps,
            on_step=on_step,
        )
    except (IntegrationFailed, InvalidData) as error:
        raise type(error)(
            f"trajectory {index}: {error.message}",
            got=error.got,
            allowed=error.allowed,
            fix=error.fix,
        ) from error
    kind = np.dtype(recipe.dtype)
    charge = (
        None if state.charge is None else np.broadcast_to(state.charge, state.position.shape[0])
    )
    return (
        flight.position.astype(kind),
        flight.velocity.astype(kind),
        np.broadcast_to(state.mass, state.position.shape[0]).astype(kind),
        None if charge is None else charge.astype(kind),
    )


def system_of(name: str, dims: int) -> ParticleSystem:
    """A fresh particle system of that name and dimension."""
    from .systems.coulomb import Coulomb
    from .systems.gravity import Gravity

    systems = dict(zip(LAWS, (Gravity, Coulomb), strict=True))
    if name not in systems:
        raise unknown_name("particle system", name, systems)
    return systems[name](dims)
