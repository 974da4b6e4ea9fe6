"""Errors of particle models beside two rows that know no model: free flight, constant acceleration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..datasets.names import TIME
from ..datasets.record import record
from ..errors import InvalidOption
from . import schema as particle_schema
from .metrics import ENERGIES, HORIZONS, knows_law, particle_errors
from .recipe import system_of

PREDICTORS = ("model", "free_flight", "constant_acceleration")


def evaluate_particles(
    model: Any, truth: xr.Dataset, *, horizons: Sequence[int] = HORIZONS
) -> xr.Dataset:
    """Errors over the first steps, by predictor and horizon.

    Variables (predictor, horizon): those of `particle_errors`, over the first ``horizon`` steps (a
    dataset with fewer has its own length in their place); ``not_finite`` counts trajectories. With
    ``_at`` (predictor, time) over the whole length. Predictors: "model", "free_flight" (velocity
    stands still), "constant_acceleration" (that of the start). Of a system whose law is not known
    there is no constant acceleration and no energy; the attribute ``left_out`` says so. Raises
    InvalidOption for a horizon of no step.
    """
    for horizon in horizons:
        if not isinstance(horizon, int | np.integer) or horizon < 1:
            raise InvalidOption(
                "a horizon is a whole number of steps", got=repr(horizon), allowed=">= 1"
            )
    steps = truth.sizes[TIME] - 1
    wanted = sorted({min(int(h), steps) for h in horizons})
    rows = {"model": model.rollout(truth), "free_flight": free_flight(truth)}
    known = knows_law(truth)
    if known:
        rows["constant_acceleration"] = constant_acceleration(truth)
    out = []
    for prediction in rows.values():
        found = [
            particle_errors(prediction.isel(time=slice(h + 1)), truth.isel(time=slice(h + 1)))
            for h in wanted
        ]
        scalars = [ds[[n for n in ds if not str(n).endswith("_at")]].drop_dims(TIME, errors="ignore")
                   for ds in found]  # fmt: skip
        together = xr.concat(scalars, dim=xr.Variable("horizon", wanted))
        series = found[-1]
        together = together.merge(series[[n for n in series if str(n).endswith("_at")]])
        out.append(together)
    evaluation = xr.concat(out, dim=xr.Variable("predictor", list(rows)), join="outer")
    if not known:
        name = record(truth)["system"]
        left = ", ".join((*ENERGIES, "constant_acceleration"))
        evaluation.attrs["left_out"] = f"{left}: the forces of {name!r} are not known here"
    return evaluation


def free_flight(truth: xr.Dataset) -> xr.Dataset:
    """Every particle goes on with its first velocity."""
    return _straight(truth, 0.0)


def constant_acceleration(truth: xr.Dataset) -> xr.Dataset:
    """Every particle keeps the acceleration of its first state (the true force)."""
    data = particle_schema.pack_particles(truth.isel(time=[0]))
    system = system_of(data.system, data.dims)
    charge = data.charge
    acceleration = np.stack(
        [
            system.acceleration(
                data.position[i, 0],
                data.mass[i],
                None if charge is None else charge[i],
                box=data.box,
                constant=data.parameters.get("constant", 2.0),
                softening=data.parameters.get("softening", 0.2),
            )
            for i in range(len(data.position))
        ]
    )
    return _straight(truth, acceleration[:, None])


def _straight(truth: xr.Dataset, acceleration: Any) -> xr.Dataset:
    data = particle_schema.pack_particles(truth)
    t = (data.time - data.time[0])[None, :, None, None]
    x0, v0 = data.position[:, :1], data.velocity[:, :1]
    return particle_schema.unpack_particles(
        data.box.wrap(x0 + v0 * t + 0.5 * acceleration * t**2),
        v0 + acceleration * t,
        data.mass,
        data.time,
        charge=data.charge,
        about=record(truth),
    )
