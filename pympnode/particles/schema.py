"""Particle datasets: their variables, their checks, and arrays to dataset and back.

==============  ==================================  =============================================
variable        dims                                meaning
==============  ==================================  =============================================
``position``    trajectory, time, particle, axis    in [-side/2, side/2) if the box is periodic
``velocity``    trajectory, time, particle, axis
``mass``        trajectory, particle
``charge``      trajectory, particle                where the system has charges
``fixed``       trajectory, particle                true for particles that never move; optional
``type``        trajectory, particle                label of the kind of particle; optional
``split``       trajectory                          "train", "validation" or "test"
==============  ==================================  =============================================

Times increase. The record (attribute ``pympnode``) holds the system, its parameters (constant,
softening, accuracy, side; side is null in open space) and how the data were made.
`pympnode.from_particles` makes such a dataset of arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import (
    AXIS,
    CHARGE,
    FIXED,
    MASS,
    PARTICLE,
    PARTICLE_DIMS,
    POSITION,
    SPLIT,
    TIME,
    TRAJECTORY,
    TYPE,
    VELOCITY,
)
from ..datasets.record import record, with_record
from ..datasets.split import check_split
from ..datasets.times import even_times
from ..errors import InvalidData, one_line
from ..files import kinds
from ..training.ranges import warn_user
from .constants import CONSTANT, LAWS, SOFTENING
from .graphs.box import Box, as_box

AXES = ("x", "y", "z")
UNITS = {
    POSITION: "length",
    VELOCITY: "length / time",
    MASS: "mass",
    CHARGE: "charge",
    TIME: "time",
}


# Numbers of the record that are computed with.
_SIDE = kinds.either(kinds.nothing, kinds.positive_or_inf)
PHYSICS_KINDS: dict[str, kinds.Check] = {
    "constant": kinds.either(kinds.nothing, kinds.real),
    "softening": kinds.either(kinds.nothing, kinds.length),
    "accuracy": kinds.either(kinds.nothing, kinds.positive),
    "side": kinds.either(_SIDE, kinds.listing(_SIDE)),
}


@dataclass(frozen=True, eq=False)
class ParticleArrays:
    """A particle dataset as plain arrays.

    position, velocity: (trajectory, time, particle, axis); mass, charge: (trajectory, particle),
    charge None in a system without; time: (time,). box and parameters are of the whole dataset;
    parameters are those of the record, without the side. fixed, type: (trajectory, particle), None
    where no particle is fixed or all are of one kind.
    """

    position: NDArray
    velocity: NDArray
    mass: NDArray
    charge: NDArray | None
    time: NDArray[np.float64]
    box: Box
    parameters: dict[str, float]
    system: str
    fixed: NDArray[np.bool_] | None = None
    type: NDArray[np.str_] | None = None

    @property
    def free(self) -> NDArray[np.float64]:
        """1 for particles that move and 0 for fixed ones, (trajectory, particle)."""
        fixed = np.zeros(self.mass.shape) if self.fixed is None else self.fixed
        return 1.0 - np.asarray(fixed, np.float64)

    @property
    def dims(self) -> int:
        """Number of axes, 2 or 3."""
        return self.position.shape[-1]


def is_particle_dataset(ds: Any) -> bool:
    """Whether ``ds`` is a dataset of particles: it has positions."""
    return isinstance(ds, xr.Dataset) and POSITION in ds


def unpack_particles(
    position: Any,
    velocity: Any,
    mass: Any,
    time: Any,
    *,
    charge: Any = None,
    split: Any = None,
    fixed: Any = None,
    type: Any = None,
    first: int = 0,
    about: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """A particle dataset from arrays, as in `ParticleArrays`, not checked.

    split: label of each trajectory, (trajectory,). first: number of the first trajectory. about:
    entries of the record.
    """
    trajectories, _, particles, dims = position.shape
    variables: dict[str, Any] = {
        POSITION: (PARTICLE_DIMS, position, {"units": UNITS[POSITION]}),
        VELOCITY: (PARTICLE_DIMS, velocity, {"units": UNITS[VELOCITY]}),
        MASS: ((TRAJECTORY, PARTICLE), mass, {"units": UNITS[MASS]}),
    }
    if charge is not None:
        variables[CHARGE] = ((TRAJECTORY, PARTICLE), charge, {"units": UNITS[CHARGE]})
    for name, values in ((FIXED, fixed), (TYPE, type)):
        if values is not None:
            variables[name] = ((TRAJECTORY, PARTICLE), values)
    if split is not None:
        variables[SPLIT] = (TRAJECTORY, np.asarray(split))
    coords = {
        TRAJECTORY: first + np.arange(trajectories),
        TIME: (TIME, np.asarray(time, np.float64), {"units": UNITS[TIME], "long_name": "time"}),
        PARTICLE: np.arange(particles),
        AXIS: np.array(AXES[:dims]),
    }
    return with_record(xr.Dataset(variables, coords=coords), **dict(about or {}))


def labels(ds: xr.Dataset) -> dict[str, Any]:
    """The coordinates that name trajectories, particles and axes, for datasets of the same ones."""
    named = {TRAJECTORY, PARTICLE, AXIS}
    return {
        str(name): (coord.dims, coord.values, coord.attrs)
        for name, coord in ds.coords.items()
        if coord.dims and set(coord.dims) <= named
    }


def pack_particles(ds: xr.Dataset, *, physics: bool = True) -> ParticleArrays:
    """The arrays of a particle dataset, checked (see `validate_particles`).

    With ``physics``, constants that the record of known forces lacks are assumed, with a warning
    (`complete_physics`); without, ``parameters`` holds what the record does.
    """
    validate_particles(ds)
    if physics:
        ds = complete_physics(ds)
    about = record(ds)
    parameters = {
        k: v for k, v in about.get("parameters", {}).items() if k != "side" and v is not None
    }
    return ParticleArrays(
        ds[POSITION].transpose(*PARTICLE_DIMS).values,
        ds[VELOCITY].transpose(*PARTICLE_DIMS).values,
        ds[MASS].transpose(TRAJECTORY, PARTICLE).values,
        ds[CHARGE].transpose(TRAJECTORY, PARTICLE).values if CHARGE in ds else None,
        even_times(ds[TIME].values),
        box_of(ds),
        parameters,
        system_name(ds),
        fixed=_by_particle(ds, FIXED, bool),
        type=_by_particle(ds, TYPE, str),
    )


def _by_particle(ds: xr.Dataset, name: str, dtype: type) -> NDArray | None:
    """An optional variable (trajectory, particle); None where it says nothing."""
    if name not in ds:
        return None
    values: NDArray = ds[name].transpose(TRAJECTORY, PARTICLE).values.astype(dtype)
    return values if dtype is str or values.any() else None


def mean_spacing(position: NDArray, box: Box) -> float:
    """The mean distance of particles, (volume / particles)^(1 / axes), in the unit of length.

    ``position`` (trajectory, time, particle, axis). In open space the side is the extent of all
    positions, the mean over axes.
    """
    extent = None if box.periodic and not isinstance(box.side, tuple) else extent_of(position)
    return spacing_of(extent, box, *position.shape[2:])


def extent_of(position: NDArray) -> tuple[NDArray, NDArray]:
    """The smallest and the largest position of each axis, (axis,), over all states."""
    return position.min((0, 1, 2)), position.max((0, 1, 2))


def spacing_of(extent: tuple[NDArray, NDArray] | None, box: Box, count: int, dims: int) -> float:
    """`mean_spacing` of positions with an `extent_of`, which cubes that are periodic do without."""
    if isinstance(box.side, tuple):
        assert extent is not None
        sides = box.sides(dims)
        sides = np.where(np.isfinite(sides), sides, extent[1] - extent[0])
        return float(np.prod(sides / count ** (1 / dims)) ** (1 / dims))
    if box.periodic:
        side = box.side
    else:
        assert extent is not None
        side = float((extent[1] - extent[0]).mean())
    return side / count ** (1 / dims)


def spacings(position: NDArray, box: Box) -> NDArray[np.float64]:
    """The mean distance of particles in each first state, (trajectory,), as `mean_spacing` has it.

    ``position`` (trajectory, time, particle, axis). In open space the side is the extent of the
    first positions of the trajectory: trajectories may be far from each other, and may expand.
    """
    count, dims = position.shape[2:]
    if isinstance(box.side, tuple):
        sides = np.broadcast_to(box.sides(dims), (len(position), dims))
        extent = np.ptp(position[:, 0].astype(np.float64), axis=1)
        sides = np.where(np.isfinite(sides), sides, extent) / count ** (1 / dims)
        return np.prod(sides, axis=1) ** (1 / dims)
    side = np.full(len(position), box.side)
    if not box.periodic:
        side = np.ptp(position[:, 0].astype(np.float64), axis=1).mean(axis=-1)
    return side / count ** (1 / dims)


def system_name(ds: xr.Dataset) -> str:
    """The system in the record; without one "coulomb" where there are charges, else "gravity"."""
    return str(record(ds).get("system", "coulomb" if CHARGE in ds else "gravity"))


def has_known_forces(ds: xr.Dataset) -> bool:
    """Whether the forces between the particles of ``ds`` are those of a system of the package."""
    return system_name(ds) in LAWS


def complete_physics(ds: xr.Dataset) -> xr.Dataset:
    """``ds`` with the constants of its forces in the record; warns where it has to assume them.

    Of a record without them the published ones are assumed (`particles.constants`), of one
    without a side open space, and of one without a system what `system_name` returns. Datasets
    of other forces (`has_known_forces`) are returned as they are. Warns `PympnodeWarning` with the
    assumed values.
    """
    about = record(ds)
    # null, but for a side, says nothing.
    known = {
        name: value
        for name, value in about.get("parameters", {}).items()
        if value is not None or name == "side"
    }
    assumed: dict[str, Any] = {"constant": CONSTANT, "softening": SOFTENING, "side": None}
    assumed = {name: value for name, value in assumed.items() if name not in known}
    if not has_known_forces(ds) or ("system" in about and not assumed):
        return ds
    words = [] if "system" in about else [f"system {system_name(ds)!r}"]
    words += [
        "open space (no side)" if name == "side" else f"{name} {value:g}"
        for name, value in assumed.items()
    ]
    warn_user(
        f"the record of the dataset lacks some of its physics; assumed: {', '.join(words)}. Name its "
        "own with pympnode.networks.schema.with_record(ds, system=..., parameters={...}), or "
        'system="particles" where the forces are others'
    )
    return with_record(ds, system=system_name(ds), parameters={**known, **assumed})


def guess_missing_box(ds: xr.Dataset) -> str:
    """A warning, with numbers, where positions jump as in a periodic box that the record lacks.

    They do where a step, less the distance that the velocities cover, is longer than half the
    extent of all positions of the trajectory. Returns "" otherwise.
    """
    if "side" in dict(record(ds).get("parameters", {})):
        return ""
    position, velocity = (
        ds[name].transpose(*PARTICLE_DIMS).values.astype(np.float64)
        for name in (POSITION, VELOCITY)
    )
    # The trapezoidal rule: exact for constant accelerations.
    covered = 0.5 * (velocity[:, 1:] + velocity[:, :-1])
    covered *= np.diff(np.asarray(ds[TIME].values, np.float64))[:, None, None]
    extent = np.ptp(position, axis=(1, 2))[:, None, None]
    jumps = (np.abs(np.diff(position, axis=1) - covered) > 0.5 * extent).any(-1)
    if not jumps.any():
        return ""
    return (
        f"{int(jumps.sum())} steps of particles are longer than half the extent of all positions "
        f"({extent.max():.4g}), as in a periodic box, and the record names none, so that space is "
        'taken as open: pympnode.networks.schema.with_record(ds, parameters={"side": ...}) names its side'
    )


def box_of(ds: xr.Dataset) -> Box:
    """The box of a dataset: ``side`` of its record; open space where that is None or missing."""
    side = dict(record(ds).get("parameters", {})).get("side")
    return Box(tuple(side)) if isinstance(side, tuple | list) else as_box(side)


def validate_particles(ds: xr.Dataset, *, finite: bool = True) -> xr.Dataset:
    """``ds`` itself, when it is a valid particle dataset; raises InvalidData otherwise.

    ``finite=False`` skips the check that reads all values (datasets larger than memory).
    """
    if not isinstance(ds, xr.Dataset):
        raise InvalidData(
            "particles are given as a dataset",
            got=type(ds).__name__,
            allowed="an xarray.Dataset of position, velocity and mass, or the path of one",
            fix="make one of arrays: pympnode.particles.schema.unpack_particles(position, velocity, "
            "mass, time)",
        )
    check_physics(ds)
    wanted = {
        POSITION: PARTICLE_DIMS,
        VELOCITY: PARTICLE_DIMS,
        MASS: (TRAJECTORY, PARTICLE),
    }
    if CHARGE in ds:
        wanted[CHARGE] = (TRAJECTORY, PARTICLE)
    marks = {name: (TRAJECTORY, PARTICLE) for name in (FIXED, TYPE) if name in ds}
    for name, dims in (wanted | marks).items():
        if name not in ds:
            raise InvalidData(
                f"a particle dataset needs {name!r}",
                got=", ".join(map(str, ds.data_vars)) or "no variables",
                allowed=f"{name}({', '.join(dims)})",
                fix=f'rename yours: ds.rename({{"...": {name!r}}})',
            )
        if set(ds[name].dims) != set(dims):
            lacking = [dim for dim in dims if dim not in ds[name].dims]
            raise InvalidData(
                f"{name!r} has the wrong dims",
                got=f"({', '.join(map(str, ds[name].dims))})",
                allowed=f"({', '.join(dims)}), in any order",
                fix=f"keep {lacking[0]} where you select one: ds.isel({lacking[0]}=[0])"
                if lacking
                else None,
            )
    for name in wanted:
        if ds[name].dtype.kind not in "fiu":
            raise InvalidData(
                f"{name!r} does not hold real numbers",
                got=f"dtype {ds[name].dtype}",
                allowed="real numbers",
                fix=f'convert it: ds["{name}"] = ds["{name}"].astype(float)',
            )
    if FIXED in ds and ds[FIXED].dtype.kind not in "biuf":
        raise InvalidData(
            "'fixed' is true or false for each particle",
            got=f"dtype {ds[FIXED].dtype}",
            allowed="booleans",
            fix='ds["fixed"] = ds["fixed"].astype(bool)',
        )
    check_split(ds)
    for dim in (TRAJECTORY, TIME, PARTICLE):
        if not ds.sizes[dim]:
            raise InvalidData(
                f"the dataset has no {dim}",
                got=", ".join(f"{ds.sizes[d]} {d}" for d in (TRAJECTORY, TIME, PARTICLE)),
                allowed="at least one of each",
            )
    if ds.sizes[AXIS] not in (2, 3):
        raise InvalidData("particles have 2 or 3 axes", got=f"{ds.sizes[AXIS]} axes")
    _check_time(ds)
    if finite:
        for name in wanted:
            values = ds[name].values
            bad = ~np.isfinite(values)
            if bad.any():
                index = dict(zip(ds[name].dims, np.argwhere(bad)[0].tolist(), strict=True))
                raise InvalidData(
                    f"{name!r} holds values that are not finite",
                    got=f"{int(bad.sum())} of {bad.size}, the first at {index}",
                    allowed="finite numbers",
                    fix="drop such trajectories; a rollout that diverged cannot be repaired",
                )
        if (ds[MASS].values < 0).any():
            raise InvalidData(
                "a mass cannot be negative", got=float(ds[MASS].min()), allowed=">= 0"
            )
    system = record(ds).get("system")
    if system == "gravity" and CHARGE in ds:
        raise InvalidData(
            "gravity has no charges", got="a variable 'charge'", fix='ds.drop_vars("charge")'
        )
    if system == "coulomb" and CHARGE not in ds:
        raise InvalidData("coulomb needs charges", got="no variable 'charge'")
    return ds


def check_physics(ds: xr.Dataset) -> None:
    """Raise InvalidData where numbers of the physics in the record are no numbers."""
    parameters = record(ds).get("parameters", {})
    try:
        kinds.mapping(PHYSICS_KINDS, *PHYSICS_KINDS)(parameters)
        if isinstance(parameters.get("side"), list):
            kinds.listing(kinds.anything, ds.sizes.get(AXIS))(parameters["side"])
    except ValueError as error:
        raise InvalidData(
            "the record of the dataset names physics that are no numbers",
            got=one_line(error),
            allowed="numbers; side also null, or a list of one for each axis",
            fix="pympnode.networks.schema.with_record(ds, parameters={...}) writes them",
        ) from error


def _check_time(ds: xr.Dataset) -> None:
    """Times are numbers and increase; a single state needs no time."""
    if TIME not in ds.coords and ds.sizes[TIME] == 1:
        return
    if TIME not in ds.coords or ds[TIME].dtype.kind not in "fiu" or ds[TIME].dims != (TIME,):
        raise InvalidData(
            "the dataset has no numeric time coordinate",
            got=f"dims {ds[TIME].dims}, dtype {ds[TIME].dtype}"
            if TIME in ds.coords
            else "no coordinate",
            allowed="time(time) in one unit, increasing",
            fix='ds = ds.assign_coords(time=dt * np.arange(ds.sizes["time"]))',
        )
    times = np.asarray(ds[TIME].values, np.float64)
    if not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise InvalidData(
            "time must increase",
            got=np.array2string(times[:4], precision=4),
            allowed="t_0 < t_1 < ..., finite",
            fix='sort with ds.sortby("time"), velocities turned where time ran backwards',
        )
