"""``Recipe``: all that a particle trajectory depends on, and the trajectory computed from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from math import inf
from typing import Any

import numpy as np

from ..datasets.split import rng_of, split_trajectories
from ..errors import IntegrationFailed, InvalidData, unknown_name
from ..memory import format_bytes
from .constants import LAWS, MASS
from .graphs.box import Box
from .leapfrog import integrate_leapfrog
from .systems.base import ParticleState, ParticleSystem
from .systems.starts import draw_start

_LABELS = np.array(["train", "validation"])


@dataclass(frozen=True)
class Recipe:
    """Everything but the number that determines a trajectory; JSON in the index of a folder.

    ``parameters``: constant, softening, accuracy, and side (None in open space). ``start``:
    "random", "plummer" or "given" (see `Given`). ``mass``, ``charge``: one number, or one per
    particle; None where the system draws them.
    """

    system: str
    dims: int
    particles: int
    trajectories: int
    steps: int
    dt: float
    seed: int
    parameters: Mapping[str, Any]
    start: str = "random"
    integrator: str = "block"
    substeps: int = 1
    dtype: str = "float64"
    split: float | None = 0.7
    mass: list[float] | None = None
    charge: list[float] | None = None
    version: str = field(default="")

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def box(self) -> Box:
        side = self.parameters["side"]
        return Box(inf if side is None else side)

    @property
    def time(self) -> np.ndarray:
        """Times (time,), float64."""
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

    @property
    def title(self) -> str:
        """The system and the size of the dataset, for a progress bar."""
        return f"{self.system}, {format_bytes(self.bytes)}"

    def empty(self, trajectories: int) -> dict[str, np.ndarray]:
        """Arrays to fill, by variable: position and velocity (trajectory, time, particle, axis),
        mass, and charge of a charged system, (trajectory, particle)."""
        shape = (trajectories, self.steps + 1, self.particles, self.dims)
        names = {"position": shape, "velocity": shape, "mass": shape[::2]}
        if system_of(self.system, self.dims).charged:
            names["charge"] = shape[::2]
        return {name: np.empty(shape, self.dtype) for name, shape in names.items()}

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
        """ "train" or "validation" for each trajectory, (trajectory,); None without a split."""
        if self.split is None:
            return None
        return _LABELS[split_trajectories(self.trajectories, self.split, self.seed)]


@dataclass(frozen=True, eq=False)
class Given:
    """Start states that the user gave, all of one shape; see `simulate_particles`."""

    states: tuple[ParticleState, ...]

    def __len__(self) -> int:
        return len(self.states)

    def arrays(self) -> dict[str, np.ndarray]:
        """Position and velocity (state, particle, axis), mass and (charge) (state, particle)."""
        names = ["position", "velocity", "mass"]
        names += ["charge"] if self.states[0].charge is not None else []
        return {name: np.stack([getattr(s, name) for s in self.states]) for name in names}


def trajectory(
    recipe: Recipe, given: Given | None, number: int, on_step: Callable[[int], None] | None = None
) -> dict[str, np.ndarray]:
    """One trajectory of a recipe, in its dtype, by variable.

    position and velocity (time, particle, axis), mass and (charge) (particle,). ``on_step`` is
    called with the number of steps made. Raises IntegrationFailed and InvalidData with the number
    of the trajectory.
    """
    system = system_of(recipe.system, recipe.dims)
    constant = recipe.parameters["constant"]
    if given is not None:
        state = given.states[number % len(given)]
    else:
        state = draw_start(
            system, recipe.start, rng_of(recipe.seed, 0, number), recipe.particles,
            box=recipe.box, mass=np.asarray(MASS if recipe.mass is None else recipe.mass),
            charge=None if recipe.charge is None else np.asarray(recipe.charge),
            constant=constant,
        )  # fmt: skip
    try:
        made = integrate_leapfrog(
            system, state, box=recipe.box, steps=recipe.steps, dt=recipe.dt, constant=constant,
            softening=recipe.parameters["softening"], accuracy=recipe.parameters["accuracy"],
            integrator=recipe.integrator, substeps=recipe.substeps, on_step=on_step,
        )  # fmt: skip
    except (IntegrationFailed, InvalidData) as error:
        raise type(error)(
            f"trajectory {number}: {error.message}",
            got=error.got,
            allowed=error.allowed,
            fix=error.fix,
        ) from error
    arrays = {"position": made.position, "velocity": made.velocity}
    for name in ("mass", "charge"):
        values = getattr(state, name)
        if values is not None:
            arrays[name] = np.broadcast_to(values, state.particles)
    return {name: values.astype(recipe.dtype) for name, values in arrays.items()}


def system_of(name: str, dims: int) -> ParticleSystem:
    """A fresh particle system of that name and dimension."""
    from .systems.coulomb import Coulomb
    from .systems.gravity import Gravity

    systems = dict(zip(LAWS, (Gravity, Coulomb), strict=True))
    if name not in systems:
        raise unknown_name("particle system", name, systems)
    return systems[name](dims)
