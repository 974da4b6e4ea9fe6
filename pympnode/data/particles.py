"""``simulate_particles``: datasets of gravity and Coulomb, in memory or as parts on disk."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from pympnode import particle_schema, schema
from pympnode.data.generate import rng_of, split_trajectories
from pympnode.data.leapfrog import INTEGRATORS, fly
from pympnode.errors import IntegrationFailed, InvalidData, InvalidOption, unknown_name
from pympnode.graphs.box import Box
from pympnode.graphs.capacity import in_words, require_bytes
from pympnode.graphs.graph import Graph
from pympnode.systems.particles import ParticleState, ParticleSystem
from pympnode.systems.starts import STARTS, draw_start

log = logging.getLogger("pympnode.data")

Progress = Callable[[int, int, float], None]  # trajectories done, all, seconds left
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


def simulate_particles(
    system: str | ParticleSystem,
    *,
    particles: int | None = None,
    trajectories: int | None = None,
    steps: int | None = None,
    dt: float | None = None,
    seed: int = 0,
    dims: int = 2,
    parameters: Mapping[str, Any] | None = None,
    start: str | ParticleState | Sequence[ParticleState] | xr.Dataset = "random",
    split: float | None = 0.7,
    integrator: str = "block",
    substeps: int = 1,
    dtype: str = "float64",
    path: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> xr.Dataset:
    """Simulate particles: position and velocity (trajectory, time, particle, axis), mass, charge.

    system: "gravity", "coulomb", or such a system. particles: 100 by default. dims: 2 or 3.
    trajectories, steps, dt: how much (default 1000 trajectories of 200 steps of 0.01).
    seed: trajectory i depends on (seed, i) alone.
    parameters: constant, softening, accuracy, side (None: open space), mass and charge, one number
        or one a particle. The defaults are the published ones; side = (12 N)^(1/2).
    start: "random" (uniform in the box), "plummer" (gravity), or given: a `ParticleState`, one a
        trajectory, or a dataset whose first states are taken.
    integrator: "block" (published scheme) or "global" (one symplectic step, ``substeps`` an
        interval), see `fly`. Computed in float64; ``dtype`` is how it is stored.
    path: a folder to write parts of 64 trajectories to while they are made; the same call goes on
        after an interruption and redoes no whole trajectory. The dataset returned is then lazy.
    workers: processes (with ``path``; default: all cores) or threads (default 1).
    progress: called with (trajectories done, all, seconds left).
    Raises InvalidData, InvalidOption, UnknownName, IntegrationFailed, NotEnoughMemory and
    NotEnoughDisk; the bytes are told before anything is allocated or written.
    """
    recipe, given, system = _recipe(
        system, particles, trajectories, steps, dt, seed, dims, parameters, start, split,
        integrator, substeps, dtype,
    )  # fmt: skip
    if path is not None:
        from pympnode.data.pool import make_parts

        return make_parts(recipe, given, Path(path), workers or os.cpu_count() or 1, progress)
    require_bytes(
        recipe.bytes,
        f"a dataset of {recipe.trajectories} trajectories",
        fix='pass path="folder": written in parts and opened lazily; or dtype="float32"',
    )
    log.info("simulating %s of %s", in_words(recipe.bytes), recipe.system)
    shape = (recipe.trajectories, recipe.steps + 1, recipe.particles, recipe.dims)
    position, velocity = np.empty(shape, recipe.dtype), np.empty(shape, recipe.dtype)
    mass = np.empty(shape[::2], recipe.dtype)
    charge = np.empty_like(mass) if system.charged else None

    def one(i: int) -> None:
        position[i], velocity[i], mass[i], own = trajectory(recipe, given, i)
        if charge is not None:
            charge[i] = own

    _run(one, recipe.trajectories, workers or 1, progress)
    return particle_schema.unpack_particles(
        position, velocity, mass, recipe.time, charge=charge, split=recipe.labels(),
        about=recipe.about(),
    )  # fmt: skip


def trajectory(
    recipe: Recipe, given: Given | None, index: int
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
    from pympnode.systems.coulomb import Coulomb
    from pympnode.systems.gravity import Gravity

    systems = {"gravity": Gravity, "coulomb": Coulomb}
    if name not in systems:
        raise unknown_name("particle system", name, systems)
    return systems[name](dims)


def _run(one: Callable[[int], None], count: int, workers: int, progress: Progress | None) -> None:
    from pympnode.data.pool import Meter

    meter = Meter(count, 0, progress)
    if workers <= 1:
        for i in range(count):
            one(i)
            meter.add()
        return
    with ThreadPoolExecutor(workers) as pool:
        try:
            for _ in pool.map(one, range(count)):
                meter.add()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _recipe(
    system, particles, trajectories, steps, dt, seed, dims, parameters, start, split,
    integrator, substeps, dtype,
) -> tuple[Recipe, Given | None, ParticleSystem]:  # fmt: skip
    from pympnode import __version__

    given = _given(start)
    if given is not None:
        first = given.states[0]
        dims = first.dims
        if particles not in (None, first.particles):
            raise InvalidOption(
                "particles= and the given start differ", got=particles, allowed=first.particles
            )
        particles = first.particles
        trajectories = len(given) if trajectories is None else trajectories
    elif start not in STARTS:
        raise unknown_name("start", start, STARTS)
    if isinstance(system, ParticleSystem):
        dims, system = system.dims, system.name
    system = system_of(system, dims)
    particles = system.default_nodes if particles is None else _whole("particles", particles, 1)
    trajectories = 1000 if trajectories is None else _whole("trajectories", trajectories, 1)
    if given is not None:
        if any(s.position.shape != given.states[0].position.shape for s in given.states):
            raise InvalidData("given starts differ in shape", allowed="one particle count")
        given = Given(tuple(system.check(s) for s in given.states))
    if integrator not in INTEGRATORS:
        raise unknown_name("integrator", integrator, INTEGRATORS)
    if np.dtype(dtype) not in (np.dtype("float32"), np.dtype("float64")):
        raise InvalidOption("dtype of the stored data", got=dtype, allowed="float32, float64")
    overrides = dict(parameters or {})
    if start == "plummer" and "mass" in overrides:
        raise InvalidOption("a Plummer start sets its own masses", got="parameters mass")
    graph = Graph.single([], [], particles)
    values = system.resolve_parameters(overrides, graph)
    side = values["side"]
    physics = {k: float(values[k]) for k in ("constant", "softening", "accuracy")}
    if given is None:  # masses and charges are checked before anything is made
        system.check(
            ParticleState(
                np.zeros((particles, dims)),
                np.zeros((particles, dims)),
                values["mass"],
                values.get("charge"),
            )
        )
    recipe = Recipe(
        system=system.name,
        dims=dims,
        particles=particles,
        trajectories=trajectories,
        steps=_whole("steps", system.steps if steps is None else steps, 1),
        dt=float(system.dt if dt is None else dt),
        seed=_whole("seed", seed, 0),
        parameters=physics | {"side": None if side == inf else float(side)},
        start=start if given is None else "given",
        integrator=integrator,
        substeps=_whole("substeps", substeps, 1),
        dtype=np.dtype(dtype).name,
        split=split,
        mass=np.ravel(values["mass"]).tolist() if "mass" in overrides else None,
        charge=np.ravel(values["charge"]).tolist() if "charge" in overrides else None,
        version=__version__,
    )
    if not (np.isfinite(recipe.dt) and recipe.dt > 0):
        raise InvalidOption("dt must be positive", got=repr(dt), allowed="> 0")
    if split is not None:
        split_trajectories(1, split)  # refuses an impossible share now
    return recipe, given, system


def _given(start: Any) -> Given | None:
    if isinstance(start, str):
        return None
    if isinstance(start, ParticleState):
        return Given((start,))
    if isinstance(start, xr.Dataset):
        data = particle_schema.pack_particles(start.isel({schema.TIME: [0]}))
        return Given(
            tuple(
                ParticleState(
                    data.position[i, 0].astype(np.float64),
                    data.velocity[i, 0].astype(np.float64),
                    data.mass[i].astype(np.float64),
                    None if data.charge is None else data.charge[i].astype(np.float64),
                )
                for i in range(data.position.shape[0])
            )
        )
    states = tuple(start)
    if not states or not all(isinstance(s, ParticleState) for s in states):
        raise InvalidOption(
            "start is a name, a ParticleState, a list of them, or a dataset",
            got=type(start).__name__,
            allowed=", ".join(STARTS),
        )
    return Given(states)


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise InvalidOption(
            f"{name} must be a whole number", got=repr(value), allowed=f">= {least}"
        )
    return int(value)
