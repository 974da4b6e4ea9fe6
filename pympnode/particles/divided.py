"""Rollouts of one large set of particles in several processes (``ParticleModel.rollout(partition=)``)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import xarray as xr

from ..config import whole
from ..datasets.names import PARTICLE, TIME, TRAJECTORY
from ..datasets.reading import as_dataset
from ..datasets.record import record
from ..errors import InvalidData, InvalidOption
from ..training.group import ALONE
from ..training.processes import current
from . import schema

PARTICLE_NUMBER = "particle_number"


def rollout_by_curve(model: Any, initial: Any, steps: int | None) -> xr.Dataset:
    """The rollout of this process's particles; every process of the group calls it with the same arguments.

    model: a `ParticleModel`. initial: a dataset of one trajectory, or its path; of the states the first are
    read. Raises `InvalidData`, `InvalidOption`, `EngineUnavailable`.
    """
    from .engine.curve import fill_rollout
    from .engine.rollout import MAX_SIDES_PER_STEP

    given = as_dataset(initial, checked=False)
    if not isinstance(given, xr.Dataset) or given.sizes.get(TRAJECTORY) != 1:
        raise InvalidData(
            "the particles of one trajectory are divided among processes",
            got=type(given).__name__
            if not isinstance(given, xr.Dataset)
            else f"{given.sizes.get(TRAJECTORY)} trajectories",
            allowed="a dataset with one trajectory",
            fix="ds.isel(trajectory=[0]); without partition= several trajectories are one batch",
        )
    if model.members > 1:
        raise InvalidOption(
            "an ensemble is not divided by particles",
            got=f"{model.members} members",
            allowed="one member",
            fix="model.member(0).rollout(...)",
        )
    recorded = given.sizes.get(TIME, 1)
    if steps is None:
        steps = recorded - 1 or model.trained.steps
    steps = whole("steps", steps)
    data = schema.pack_particles(given.isel({TIME: slice(0, 2)}).load())
    if recorded > 1:
        model.require_step(data.time)
    program, group = model.bind(), current() or ALONE
    units = program.units
    first = data.box.wrap(data.position[:, 0])
    batch = program.batch(
        first, data.velocity[:, 0], data.mass, data.charge, data.box, kinds=data.type,
        fixed=data.fixed,
    )  # fmt: skip
    x, v = (
        torch.from_numpy(np.array(values[0], np.float64) / unit)
        for values, unit in ((first, units.length), (data.velocity[:, 0], units.velocity))
    )
    sides = float(batch.box.sides(x.shape[1]).max())
    home, position, velocity, done = fill_rollout(
        program, model.theta, batch, x, v, steps,
        MAX_SIDES_PER_STEP * sides / program.step_length, group,
    )  # fmt: skip
    position *= units.length
    velocity *= units.velocity
    finite = np.array([bool(np.isfinite(position[-1]).all() and np.isfinite(velocity[-1]).all())])
    finite = group.sum(1.0 - finite) == 0

    def of_home(values: Any) -> Any:
        return None if values is None else values[:, home]

    ds = schema.unpack_particles(
        position[None],
        velocity[None],
        of_home(data.mass),
        data.time[0] + model.dt * np.arange(steps + 1),
        charge=of_home(data.charge),
        fixed=of_home(data.fixed),
        type=of_home(data.type),
        about={
            **record(given),
            "kind": "rollout",
            "model": model.spec.name,
            "part": [group.rank, group.size],
            "halo": done.halo,
            "sent_bytes": done.sent_bytes,
        },
    )
    ds = ds.assign_coords(schema.labels(given.isel({PARTICLE: home})))
    facts = {"long_name": "number of the particle in the whole set"}
    ds = ds.assign_coords({PARTICLE_NUMBER: (PARTICLE, home, facts)})
    ds["finite"] = (TRAJECTORY, finite, {"long_name": "no value overflowed"})
    return ds
