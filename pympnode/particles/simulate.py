"""``simulate_particles``: datasets of gravity and Coulomb, in memory or as parts on disk."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

import numpy as np
import xarray as xr

from ..config import path as path_of
from ..config import positive, precision, whole
from ..datasets.names import TIME
from ..datasets.record import record, with_record
from ..datasets.split import split_trajectories
from ..errors import InvalidData, InvalidOption, shown_value, unknown_name
from ..graph import Graph
from ..memory import format_bytes, need
from ..training.progress import progress_of
from ..version import __version__
from . import schema
from .leapfrog import INTEGRATORS
from .parallel import compute_all
from .pool import make_parts
from .recipe import Given, Recipe, system_of
from .systems.base import ParticleState, ParticleSystem
from .systems.starts import STARTS

log = logging.getLogger("pympnode.data")

_PHYSICS = ("constant", "softening", "accuracy", "side")


def simulate_particles(
    system: str | ParticleSystem,
    *,
    particles: int | None = None,
    trajectories: int | None = None,
    steps: int | None = None,
    dt: float | None = None,
    seed: int = 0,
    dims: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    start: str | ParticleState | Sequence[ParticleState] | xr.Dataset = "random",
    split: float | None = 0.7,
    integrator: str = "block",
    substeps: int = 1,
    dtype: str = "float64",
    path: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Callable[[int, int, float], object] | bool | None = None,
    client: Any = None,
) -> xr.Dataset:
    """Simulate particles: position and velocity (trajectory, time, particle, axis), mass, charge.

    system: "gravity", "coulomb", or such a system. particles: 100 by default. dims: 2 (default) or 3.
    trajectories, steps, dt: size of the dataset, by default 1000 trajectories of 200 steps of 0.01.
    seed: trajectory i depends on (seed, i) only.
    parameters: constant, softening, accuracy, side (None: open space), mass and charge, one number
        or one per particle. The defaults are the published ones; the side is then (12 N)^(1/2), in
        three dimensions 12^(1/2) N^(1/3): a mean spacing of 12^(1/2).
    start: "random" (uniform in the box), "plummer" (gravity), or start states: a `ParticleState`, a
        list of them, one per trajectory, or a dataset, whose first states are used, with the
        parameters of its record that ``parameters`` does not set.
    integrator: "block" (published scheme) or "global" (symplectic, ``substeps`` equal steps per
        interval), see `integrate_leapfrog`. Computed in float64, stored in ``dtype``.
    path: a folder for parts of 64 trajectories, written while they are made; the same call
        continues after an interruption and repeats no finished trajectory. The dataset returned
        is then read from disk where it is indexed.
    workers: threads; one per core by default. The numbers do not depend on it.
    progress: called with (trajectories done, all, seconds left); True for a bar.
    client: a `distributed.Client`: trajectories are tasks of its workers in place of threads.
    Raises InvalidData, InvalidOption, UnknownName, IntegrationFailed, RunLocked, NotEnoughMemory
    and NotEnoughDisk, the last two before anything is allocated or written.
    """
    if workers is not None:
        whole("workers", workers, 1)
    recipe, given = _recipe(
        system, particles, trajectories, steps, dt, seed, dims, parameters, start, split,
        integrator, substeps, dtype,
    )  # fmt: skip
    bar = progress_of(progress, "trajectory")
    workers = workers or os.cpu_count() or 1
    if path is not None:
        return make_parts(recipe, given, path_of("path", path), workers, bar, client)
    need(
        recipe.bytes,
        f"a dataset of {recipe.trajectories} trajectories",
        fix='pass path="folder": written in parts and opened lazily; or dtype="float32"',
    )
    log.info("simulating %s of %s", format_bytes(recipe.bytes), recipe.system)
    arrays, made = recipe.empty(recipe.trajectories), 0

    def store(i: int, found: dict[str, np.ndarray]) -> None:
        for name, values in found.items():
            arrays[name][i] = values

    def on_done(i: int) -> None:
        nonlocal made
        made += 1
        bar.update(made, {})

    bar.start(recipe.trajectories, 0, recipe.title)
    try:
        compute_all(recipe, given, range(recipe.trajectories), workers, store, on_done, client)
    finally:
        bar.stop()
    return schema.unpack_particles(
        arrays["position"],
        arrays["velocity"],
        arrays["mass"],
        recipe.time,
        charge=arrays.get("charge"),
        split=recipe.labels(),
        about=recipe.about(),
    )


_RECIPE = (
    "particles", "trajectories", "steps", "dt", "seed", "dims", "parameters", "start", "split",
    "integrator", "substeps", "dtype",
)  # fmt: skip


def check_particle_options(system: str | ParticleSystem, options: Mapping[str, Any]) -> None:
    """Raise what `simulate_particles` raises for all of these keywords, without computing."""
    _recipe(system, *(options[name] for name in _RECIPE))


def _recipe(
    system, particles, trajectories, steps, dt, seed, dims, parameters, start, split,
    integrator, substeps, dtype,
) -> tuple[Recipe, Given | None]:  # fmt: skip
    given = _given(start)
    if given is not None:
        first = given.states[0]
        check_dims(dims, first.dims, "the start")
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
        check_dims(dims, system.dims, "the system")
        dims, system = system.dims, system.name
    dims = 2 if dims is None else dims
    system = system_of(system, dims)
    dims = int(dims)  # of any dtype until here
    particles = system.default_nodes if particles is None else whole("particles", particles, 1)
    trajectories = 1000 if trajectories is None else whole("trajectories", trajectories, 1)
    if given is not None:
        if any(s.position.shape != given.states[0].position.shape for s in given.states):
            raise InvalidData("given starts differ in shape", allowed="one particle count")
        given = Given(tuple(system.check(s) for s in given.states))
    if integrator not in INTEGRATORS:
        raise unknown_name("integrator", integrator, INTEGRATORS)
    if substeps != 1 and integrator != "global":
        raise InvalidOption(
            "substeps are equal steps for all particles, and each particle has time steps of its own",
            got=f"substeps={shown_value(substeps)}, integrator={integrator!r}",
            allowed='integrator="global" with substeps=',
            fix='give integrator="global", or leave substeps out',
        )
    dtype = precision("dtype", dtype)
    overrides = {**_recorded(start), **(parameters or {})}
    per_particle = {"mass", "charge"} & overrides.keys()
    if per_particle and (given is not None or start == "plummer"):
        raise InvalidOption(
            "this start has its own masses and charges",
            got=f"parameters {', '.join(sorted(per_particle))}",
            allowed='with start="random"',
            fix="set them in the states that you give",
        )
    graph = Graph.single([], [], particles)
    values = system.resolve_parameters(overrides, graph)
    side = values["side"]
    physics = {k: float(values[k]) for k in _PHYSICS if k != "side"}
    if given is None:  # masses and charges are checked before anything is computed
        system.check(
            ParticleState(
                np.zeros((particles, dims)),
                np.zeros((particles, dims)),
                values["mass"],
                values.get("charge"),
            )
        )
    if split is not None:
        split_trajectories(1, split)  # raises for an impossible share before anything is computed
        split = float(split)
    recipe = Recipe(
        system=system.name,
        dims=dims,
        particles=particles,
        trajectories=trajectories,
        steps=whole("steps", system.steps if steps is None else steps, 1),
        dt=positive("dt", system.dt if dt is None else dt),
        seed=whole("seed", seed, 0),
        parameters=physics | {"side": None if side == inf else float(side)},
        start=start if given is None else "given",
        integrator=integrator,
        substeps=whole("substeps", substeps, 1),
        dtype=dtype,
        split=split,
        mass=np.ravel(values["mass"]).tolist() if "mass" in overrides else None,
        charge=np.ravel(values["charge"]).tolist() if "charge" in overrides else None,
        version=__version__,
    )
    return recipe, given


def check_dims(dims: Any, those: int, whose: str) -> None:
    """Raise `InvalidOption` where ``dims=`` is given and differs from what has dimensions already."""
    if dims is not None and dims != those:
        raise InvalidOption(
            f"dims= and {whose} differ",
            got=f"dims={shown_value(dims)}",
            allowed=f"dims={those}, those of {whose}",
            fix="leave dims out",
        )


def _given(start: Any) -> Given | None:
    if isinstance(start, str):
        return None
    if isinstance(start, ParticleState):
        return Given((start,))
    if isinstance(start, xr.Dataset):
        if TIME not in start.dims:
            raise InvalidData(
                "the start is no dataset of particles",
                got=", ".join(map(str, start.data_vars)) or "no variables",
                allowed="position and velocity (trajectory, time, particle, axis), mass",
            )
        # Only states are taken here; the physics come from the record and the parameters.
        first = with_record(start.isel({TIME: [0]}), system="particles")
        data = schema.pack_particles(first)
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
    states = tuple(start) if isinstance(start, Sequence) else ()
    if not states or not all(isinstance(s, ParticleState) for s in states):
        raise InvalidOption(
            "start is a name, a ParticleState, a list of them, or a dataset",
            got=type(start).__name__,
            allowed=", ".join(STARTS),
        )
    return Given(states)


def _recorded(start: Any) -> dict[str, Any]:
    """The physics in the record of a dataset that is the start; {} for other starts."""
    if not isinstance(start, xr.Dataset):
        return {}
    parameters = record(start).get("parameters", {})
    return {name: parameters[name] for name in _PHYSICS if name in parameters}
