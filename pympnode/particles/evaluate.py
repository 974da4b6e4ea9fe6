"""Errors of particle models, and of two baselines: constant velocity and constant acceleration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..config import whole
from ..datasets.names import TIME
from ..datasets.record import record
from . import schema
from .metrics import ENERGIES, HORIZONS, particle_errors
from .recipe import system_of
from .uncertainty import scores

PREDICTORS = ("model", "free_flight", "constant_acceleration")


def evaluate_particles(
    model: Any, truth: xr.Dataset, *, horizons: Sequence[int] = HORIZONS
) -> xr.Dataset:
    """Errors over the first steps, by predictor and horizon.

    Variables (predictor, horizon): those of `particle_errors`, over the first ``horizon`` steps; a
    horizon longer than the dataset is cut to its length. With ``_body`` in the name (predictor, horizon,
    particle): the errors of each particle. With ``_at`` in the name (predictor, time),
    over the whole length. Predictors: "model" (of an ensemble
    the mean of its members, and "member 0", ...), "free_flight" (constant velocity),
    "constant_acceleration" (that of the start). Systems whose forces are not known have no constant
    acceleration and no energy; the attribute ``left_out`` lists them. A dataset of known forces whose
    record lacks their constants is scored with the published ones and a `PympnodeWarning`, see
    `schema.complete_physics`. Of ensembles and calibrated models also ``coverage``, ``crps``, ``sharpness``
    (target, time, feature) and ``crps_members`` (time, feature), over the longest horizon, with the features
    "position" and "velocity" (`uncertainty.scores`). Raises InvalidOption for a horizon below one step.
    """
    listed = (horizons,) if isinstance(horizons, str) or np.ndim(horizons) == 0 else horizons
    horizons = [whole("a horizon", horizon) for horizon in listed]
    truth = schema.complete_physics(truth)
    steps = truth.sizes[TIME] - 1
    wanted = sorted({min(int(h), steps) for h in horizons})
    predicted = model.rollout(truth)
    rows = {"model": predicted}
    if "member" in predicted.dims:
        each = {f"member {i}": predicted.sel(member=i) for i in predicted["member"].values.tolist()}
        rows = {"model": _mean_of(list(each.values()), truth), **each}
    rows["free_flight"] = free_flight(truth)
    known = schema.has_known_forces(truth)
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
        scored = xr.concat(scalars, dim=xr.Variable("horizon", wanted))
        series = found[-1]
        out.append(scored.merge(series[[n for n in series if str(n).endswith("_at")]]))
    evaluation = xr.concat(out, dim=xr.Variable("predictor", list(rows)), join="outer")
    longest = dict(time=slice(wanted[-1] + 1))
    distributions = scores(model, predicted.isel(longest), truth.isel(longest))
    if distributions:
        # The start is given, and errors over time do not count it.
        distributions = distributions.isel(time=slice(1, None))
        evaluation = evaluation.merge(distributions.assign_coords(time=evaluation["time"]))
    if not known:
        name = record(truth)["system"]
        left = ", ".join((*ENERGIES, "constant_acceleration"))
        evaluation.attrs["left_out"] = f"{left}: the forces of {name!r} are not known here"
    return evaluation


def _mean_of(members: list[xr.Dataset], truth: xr.Dataset) -> xr.Dataset:
    """The mean prediction of an ensemble; of positions by the image nearest to the first member's."""
    box = schema.box_of(truth)
    first = members[0].position
    off = np.mean([box.displacement((m.position - first).values) for m in members], axis=0)
    return members[0].assign(
        position=first.copy(data=box.wrap(first.values + off)),
        velocity=sum(m.velocity for m in members) / len(members),
    )


def free_flight(truth: xr.Dataset) -> xr.Dataset:
    """Every particle moves with the velocity of its first state."""
    return _straight(truth, 0.0)


def constant_acceleration(truth: xr.Dataset) -> xr.Dataset:
    """Every particle moves with the acceleration of its first state, from the true force."""
    truth = schema.complete_physics(truth)
    data = schema.pack_particles(truth.isel(time=[0]))
    system = system_of(data.system, data.dims)
    charge = data.charge
    acceleration = np.stack(
        [
            system.acceleration(
                data.position[i, 0],
                data.mass[i],
                None if charge is None else charge[i],
                box=data.box,
                constant=data.parameters["constant"],
                softening=data.parameters["softening"],
            )
            for i in range(len(data.position))
        ]
    )
    return _straight(truth, (acceleration * data.free[..., None])[:, None])


def _straight(truth: xr.Dataset, acceleration: Any) -> xr.Dataset:
    """Trajectories of a constant ``acceleration``, a number or (trajectory, 1, particle, axis)."""
    data = schema.pack_particles(truth)
    t = (data.time - data.time[0])[None, :, None, None]
    x0, v0 = data.position[:, :1], data.velocity[:, :1]
    return schema.unpack_particles(
        data.box.wrap(x0 + v0 * t + 0.5 * acceleration * t**2),
        v0 + acceleration * t,
        data.mass,
        data.time,
        charge=data.charge,
        fixed=data.fixed,
        type=data.type,
        about=record(truth),
    ).assign_coords(schema.labels(truth))
