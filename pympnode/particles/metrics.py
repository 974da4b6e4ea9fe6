"""Energies, momenta and errors of particle trajectories."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import AXIS, CHARGE, PARTICLE, TIME, TRAJECTORY
from ..datasets.record import record
from ..errors import InvalidData
from . import schema as particles
from .recipe import LAWS, system_of

ENERGY_UNIT = "mass (length / time)^2"


def observe(ds: xr.Dataset) -> xr.Dataset:
    """Kinetic, potential and total energy, linear momentum, over trajectory and time.

    kinetic, potential, energy (trajectory, time); momentum (trajectory, time, axis). Softened
    potential of all pairs by nearest image, as in the simulator; its time grows with the square
    of the particle count, its memory does not. Select times first where that is too long:
    ``observe(ds.isel(time=[0, -1]))``. The box, constant and softening are those in the record
    of ``ds`` (the published ones where it has none). Raises InvalidData for a system whose law is
    not known.
    """
    if not knows_law(ds):
        raise InvalidData(
            "the forces between these particles are not known, and so is no energy",
            got=f"system {record(ds)['system']!r}",
            allowed=", ".join(LAWS),
            fix="where they are softened gravity or Coulomb forces say so: "
            'from_particles(..., system="gravity", constant=..., softening=...)',
        )
    data = particles.pack_particles(ds)
    mass = data.mass[:, None, :].astype(np.float64)
    charge = None if data.charge is None else data.charge[:, None, :].astype(np.float64)
    velocity = data.velocity.astype(np.float64)
    kinetic = 0.5 * np.sum(mass * np.sum(velocity**2, axis=-1), axis=-1)
    potential = _system(data).potential(
        data.position.astype(np.float64),
        np.broadcast_to(mass, data.position.shape[:3]),
        None if charge is None else np.broadcast_to(charge, data.position.shape[:3]),
        **_constants(data),
    )
    dims = (TRAJECTORY, TIME)
    return xr.Dataset(
        {
            "kinetic": (dims, kinetic, {"units": ENERGY_UNIT, "long_name": "kinetic energy"}),
            "potential": (dims, potential, {"units": ENERGY_UNIT, "long_name": "potential energy"}),
            "energy": (dims, kinetic + potential, {"units": ENERGY_UNIT, "long_name": "energy"}),
            "momentum": (
                (*dims, AXIS),
                _momentum(data),
                {"units": "mass length / time", "long_name": "linear momentum"},
            ),
        },
        coords={name: ds[name] for name in (TRAJECTORY, TIME, AXIS) if name in ds.coords},
    )


def particle_errors(prediction: xr.Dataset, truth: xr.Dataset) -> xr.Dataset:
    """Errors of predicted trajectories, as published and beyond.

    Both datasets have the same trajectories, times, particles and axes; row 0 is the common
    start and not counted. Scalars (and, with ``_at``, over time):

    rmse_published: root mean square over trajectories, steps, particles and *all columns after the
        mass*, position and velocity together, every column wrapped by the box, the constant charge
        column counted in (Coulomb: sqrt(4/5) of the value without). What the paper tables.
    rmse_state: the same without the charge column and without wrapping velocities.
    rmse_position, rmse_velocity: by themselves; positions wrapped.
    energy_error: mean over trajectories of abs((H_T - H_0) / H_0), last step (published). Blows up
        where H_0 is near 0, as in Coulomb systems.
    energy_error_per_particle: mean of abs(H_T - H_0) / N, in units of energy; does not blow up.
    momentum_error: mean of abs(p_T - p_0) / N.
    not_finite: predicted trajectories with NaN or infinity; left out of all the numbers above.

    Of a system whose law is not known (`knows_law`) there are no energies.
    """
    wanted, found = _matching(prediction, truth)
    good = np.isfinite(found.position).all((1, 2, 3)) & np.isfinite(found.velocity).all((1, 2, 3))
    out: dict[str, Any] = {"not_finite": int((~good).sum())}
    known = knows_law(truth)
    if not good.any():
        return xr.Dataset(out | {n: np.nan for n in SCALARS if known or n not in ENERGIES})
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
    ends = _ends(prediction).isel({TRAJECTORY: np.flatnonzero(good)})
    count = ends.sizes[PARTICLE]
    if known:
        energy = observe(ends)["energy"].values
        change = energy[:, 1] - energy[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            variables["energy_error"] = np.mean(np.abs(change / energy[:, 0]))
        variables["energy_error_per_particle"] = np.mean(np.abs(change)) / count
    momentum = _momentum(particles.pack_particles(ends))
    variables["momentum_error"] = (
        np.mean(np.linalg.norm(momentum[:, 1] - momentum[:, 0], axis=-1)) / count
    )
    ds = xr.Dataset(out | variables, coords={TIME: truth[TIME].values[1:]})
    for name in ("rmse_position", "rmse_position_at"):
        ds[name].attrs["units"] = "length"
    if known:
        ds["energy_error_per_particle"].attrs["units"] = ENERGY_UNIT
    return ds


def knows_law(ds: xr.Dataset) -> bool:
    """Whether the forces between the particles of a dataset are those of a system of the package."""
    plain = "coulomb" if CHARGE in ds else "gravity"
    return str(record(ds).get("system", plain)) in LAWS


HORIZONS = (20, 200)  # steps over which models are judged, as published
SCALARS = (
    "rmse_published",
    "rmse_state",
    "rmse_position",
    "rmse_velocity",
    "energy_error",
    "energy_error_per_particle",
    "momentum_error",
)


ENERGIES = ("energy_error", "energy_error_per_particle")


def _momentum(data: particles.ParticleArrays) -> NDArray[np.float64]:
    """Total momentum (trajectory, time, axis)."""
    mass = data.mass[:, None, :, None].astype(np.float64)
    return np.sum(mass * data.velocity.astype(np.float64), axis=2)


def _ends(ds: xr.Dataset) -> xr.Dataset:
    return ds.isel({TIME: [0, -1]})


def _matching(
    prediction: xr.Dataset, truth: xr.Dataset
) -> tuple[particles.ParticleArrays, particles.ParticleArrays]:
    """(truth, prediction) as arrays; InvalidData where they do not belong together."""
    particles.validate_particles(prediction, finite=False)
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
    wanted = particles.pack_particles(truth)
    dims = ("trajectory", "time", "particle", "axis")
    found = particles.ParticleArrays(
        prediction["position"].transpose(*dims).values,
        prediction["velocity"].transpose(*dims).values,
        wanted.mass,
        wanted.charge,
        wanted.time,
        wanted.box,
        wanted.parameters,
        wanted.system,
    )
    return wanted, found


def _system(data: particles.ParticleArrays) -> Any:
    return system_of(data.system, data.dims)


def _constants(data: particles.ParticleArrays) -> dict[str, Any]:
    return {
        "box": data.box,
        "constant": data.parameters.get("constant", 2.0),
        "softening": data.parameters.get("softening", 0.2),
    }
