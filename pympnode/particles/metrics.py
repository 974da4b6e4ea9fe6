"""Energies, momenta and errors of particle trajectories."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import AXIS, PARTICLE, PARTICLE_DIMS, POSITION, TIME, TRAJECTORY, VELOCITY
from ..datasets.record import record
from ..errors import InvalidData
from . import schema
from .constants import LAWS
from .recipe import system_of

ENERGY_UNIT = "mass (length / time)^2"
HORIZONS = (20, 200)  # steps over which models are scored, as published
SCALARS = (
    "rmse_published",
    "rmse_state",
    "rmse_position",
    "rmse_velocity",
    "energy_error",
    "energy_error_per_particle",
    "momentum_error",
)
SERIES = SCALARS[:4]  # those that are errors over time too, with ``_at`` in the name
BODIES = ("rmse_position_body", "rmse_velocity_body")
ENERGIES = ("energy_error", "energy_error_per_particle")


def observe(ds: xr.Dataset) -> xr.Dataset:
    """Kinetic, potential and total energy, linear momentum, over trajectory and time.

    kinetic, potential, energy (trajectory, time), mass (length / time)^2; momentum (trajectory, time,
    axis). Systems whose forces are not known have kinetic energy and momentum alone (`motion`); here
    they raise. Softened potential of all pairs by nearest image, as in the simulator; its time grows
    with the square of the particle count, its memory does not. Select times first where that
    is too long: ``observe(ds.isel(time=[0, -1]))``. The box, constant and softening are those in
    the record of ``ds``; where it lacks them, see `schema.complete_physics`, which warns. Raises
    InvalidData for a system whose forces are not known.
    """
    if not schema.has_known_forces(ds):
        raise InvalidData(
            "the forces between these particles are not known, and so is no energy",
            got=f"system {record(ds)['system']!r}",
            allowed=", ".join(LAWS),
            fix="where they are softened gravity or Coulomb forces say so: "
            'from_particles(..., system="gravity", constant=..., softening=...)',
        )
    ds = schema.complete_physics(ds)
    data = schema.pack_particles(ds)
    mass = data.mass[:, None, :].astype(np.float64)
    charge = None if data.charge is None else data.charge[:, None, :].astype(np.float64)
    found = motion(ds)
    potential = system_of(data.system, data.dims).potential(
        data.position.astype(np.float64),
        np.broadcast_to(mass, data.position.shape[:3]),
        None if charge is None else np.broadcast_to(charge, data.position.shape[:3]),
        box=data.box,
        constant=data.parameters["constant"],
        softening=data.parameters["softening"],
    )
    dims = (TRAJECTORY, TIME)
    total = found["kinetic"].values + potential
    return xr.Dataset(
        {
            "kinetic": found["kinetic"],
            "potential": (dims, potential, {"units": ENERGY_UNIT, "long_name": "potential energy"}),
            "energy": (dims, total, {"units": ENERGY_UNIT, "long_name": "energy"}),
            "momentum": found["momentum"],
        }
    )


def motion(ds: xr.Dataset) -> xr.Dataset:
    """Kinetic energy (trajectory, time) and linear momentum (trajectory, time, axis).

    They need no law of the forces. In mass (length / time)^2 and mass length / time.
    """
    data = schema.pack_particles(ds, physics=False)
    mass = data.mass[:, None, :].astype(np.float64)
    velocity = data.velocity.astype(np.float64)
    kinetic = 0.5 * np.sum(mass * np.sum(velocity**2, axis=-1), axis=-1)
    dims = (TRAJECTORY, TIME)
    return xr.Dataset(
        {
            "kinetic": (dims, kinetic, {"units": ENERGY_UNIT, "long_name": "kinetic energy"}),
            "momentum": (
                (*dims, AXIS),
                _momentum(data),
                {"units": "mass length / time", "long_name": "linear momentum"},
            ),
        },
        coords={name: ds[name] for name in (TRAJECTORY, TIME, AXIS) if name in ds.coords},
    )


def particle_errors(prediction: xr.Dataset, truth: xr.Dataset) -> xr.Dataset:
    """Errors of predicted trajectories: those of the paper, and errors of the state.

    Both datasets have the same trajectories, times, particles and axes; time 0 is the common start
    and not counted. Scalars (and, with ``_at`` in the name, over time; with ``_body``, by particle):

    rmse_published: root mean square over trajectories, steps, particles and *all columns after the
        mass*, position and velocity together, every column wrapped by the box, with the constant
        charge as one of the columns (Coulomb: sqrt(4/5) of the value without). As in the paper.
    rmse_state: the same without the charge column and without wrapping velocities.
    rmse_position (length), rmse_velocity (length / time): of one of them; positions wrapped. With
        ``_body`` (particle): that of each particle, over trajectories and steps.
    energy_error: mean over trajectories of abs((H_T - H_0) / H_0), last step (published). Very
        large where H_0 is near 0, as in Coulomb systems.
    energy_error_per_particle: mean of abs(H_T - H_0) / N, in units of energy.
    momentum_error: mean of abs(p_T - p_0) / N.
    not_finite: number of predicted trajectories with NaN or infinity, excluded from all the above.

    Systems whose forces are not known (`schema.has_known_forces`) have no energies. Raises
    InvalidData where the datasets do not match.
    """
    wanted, found = _matching(prediction, truth)
    good = np.isfinite(found.position).all((1, 2, 3)) & np.isfinite(found.velocity).all((1, 2, 3))
    out: dict[str, Any] = {"not_finite": int((~good).sum())}
    known = schema.has_known_forces(truth)
    if not good.any():
        times, names = truth[TIME].values[1:], _names(truth)
        return xr.Dataset(
            out
            | {n: np.nan for n in SCALARS if known or n not in ENERGIES}
            | {f"{n}_at": (TIME, np.full(len(times), np.nan)) for n in SERIES}
            | {n: (PARTICLE, np.full(len(names), np.nan)) for n in BODIES},
            coords={TIME: times, PARTICLE: names},
        )
    box = wanted.box
    dx = found.position[good].astype(np.float64) - wanted.position[good].astype(np.float64)
    dv = found.velocity[good].astype(np.float64) - wanted.velocity[good].astype(np.float64)
    x2, v2 = box.displacement(dx)[:, 1:] ** 2, dv[:, 1:] ** 2
    wrapped_v2 = box.displacement(dv)[:, 1:] ** 2
    columns = 2 * wanted.dims + (0 if wanted.charge is None else 1)
    per_step = {
        "rmse_published": (x2.sum(-1) + wrapped_v2.sum(-1)) / columns,
        "rmse_state": (x2.sum(-1) + v2.sum(-1)) / (2 * wanted.dims),
        "rmse_position": x2.mean(-1),
        "rmse_velocity": v2.mean(-1),
    }
    variables: dict[str, Any] = {}
    for name, squares in per_step.items():
        variables[name] = np.sqrt(squares.mean())
        variables[f"{name}_at"] = (TIME, np.sqrt(squares.mean((0, 2))))
    for name, squares in zip(BODIES, (x2, v2), strict=True):
        variables[name] = (PARTICLE, np.sqrt(squares.mean((0, 1, 3))))
    ends = prediction.isel({TIME: [0, -1], TRAJECTORY: np.flatnonzero(good)})
    count = ends.sizes[PARTICLE]
    if known:
        energy = observe(ends)["energy"].values
        change = energy[:, 1] - energy[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            variables["energy_error"] = np.mean(np.abs(change / energy[:, 0]))
        variables["energy_error_per_particle"] = np.mean(np.abs(change)) / count
    momentum = _momentum(schema.pack_particles(ends))
    variables["momentum_error"] = (
        np.mean(np.linalg.norm(momentum[:, 1] - momentum[:, 0], axis=-1)) / count
    )
    coords = {TIME: truth[TIME].values[1:], PARTICLE: _names(truth)}
    ds = xr.Dataset(out | variables, coords=coords)
    for name in ("rmse_position", "rmse_position_at", "rmse_position_body"):
        ds[name].attrs["units"] = "length"
    if known:
        ds["energy_error_per_particle"].attrs["units"] = ENERGY_UNIT
    return ds


def _names(ds: xr.Dataset) -> NDArray:
    """The labels of the particles, or their numbers."""
    return ds[PARTICLE].values if PARTICLE in ds.coords else np.arange(ds.sizes[PARTICLE])


def _momentum(data: schema.ParticleArrays) -> NDArray[np.float64]:
    """Total momentum (trajectory, time, axis)."""
    mass = data.mass[:, None, :, None].astype(np.float64)
    return np.sum(mass * data.velocity.astype(np.float64), axis=2)


def _matching(
    prediction: xr.Dataset, truth: xr.Dataset
) -> tuple[schema.ParticleArrays, schema.ParticleArrays]:
    """(truth, prediction) as arrays; InvalidData where their sizes differ."""
    schema.validate_particles(prediction, finite=False)
    for dim in (TRAJECTORY, TIME, PARTICLE, AXIS):
        if prediction.sizes[dim] != truth.sizes[dim]:
            raise InvalidData(
                f"prediction and truth differ in {dim}",
                got=f"{prediction.sizes[dim]} and {truth.sizes[dim]}",
                allowed="the same trajectories, times, particles and axes",
                fix="select the common part of both with .isel or .sel",
            )
    if truth.sizes[TIME] < 2:
        raise InvalidData("errors need a step", got=f"{truth.sizes[TIME]} time", allowed=">= 2")
    wanted = schema.pack_particles(truth)
    # Not packed: a prediction may hold NaN.
    found = replace(
        wanted,
        position=prediction[POSITION].transpose(*PARTICLE_DIMS).values,
        velocity=prediction[VELOCITY].transpose(*PARTICLE_DIMS).values,
    )
    return wanted, found
