"""Selection for pictures of particles: the finite states of one trajectory, and particles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ...datasets.names import (
    CHARGE,
    MASS,
    PARTICLE,
    PARTICLE_DIMS,
    POSITION,
    SPLIT,
    TIME,
    TRAJECTORY,
    VELOCITY,
)
from ...errors import InvalidData, InvalidOption
from ...plotting import style
from ...plotting.choosing import position
from .. import schema


@dataclass(frozen=True, eq=False)
class Part:
    """One trajectory up to its last finite state: as a dataset, and as arrays.

    ``note``: text for a title about trajectories that are not finite, "" without such ones.
    """

    ds: xr.Dataset
    data: schema.ParticleArrays
    note: str


def part(ds: xr.Dataset, trajectory: int = 0) -> Part:
    """Trajectory number ``trajectory``, up to its last finite state.

    Dims that a selection such as ``ds.isel(trajectory=0)`` removed are restored. Raises InvalidData
    where its first state is not finite, InvalidOption where there are fewer trajectories.
    """
    ds = _with_all_dims(ds)
    schema.validate_particles(ds, finite=False)
    count = ds.sizes[TRAJECTORY]
    number = position(trajectory, count)
    one = ds.isel({TRAJECTORY: [number]})
    good = _finite(one)[0]
    stopped = ~_finite(ds.isel({TIME: [-1]}))[:, 0]
    stopped[number] = not good.all()
    words = []
    if good[0] and not good.all():
        one = one.isel({TIME: slice(int(np.argmin(good)))})
        words.append(f"finite until {style.moment(float(one[TIME][-1]), unit_of(one, TIME))}")
    if stopped.any():
        words.append(f"{stopped.sum()} of {count} trajectories stopped being finite")
    return Part(one, schema.pack_particles(one, physics=False), "\n".join(words))


def unit_of(ds: xr.Dataset, name: str) -> str:
    """The unit of a variable, "1" without one."""
    return str(ds[name].attrs.get("units", "1")) if name in ds else "1"


def _with_all_dims(ds: xr.Dataset) -> xr.Dataset:
    """The dataset with all dims: those that a selection of one element removed get length one."""
    if not isinstance(ds, xr.Dataset):
        raise InvalidData(
            "particles are drawn from a dataset",
            got=type(ds).__name__,
            allowed="an xarray.Dataset with position and velocity",
            fix="pass what pympnode.simulate or model.rollout returned",
        )
    wanted = {
        POSITION: PARTICLE_DIMS, VELOCITY: PARTICLE_DIMS, MASS: (TRAJECTORY, PARTICLE),
        CHARGE: (TRAJECTORY, PARTICLE),
    }  # fmt: skip
    if SPLIT in ds and not ds[SPLIT].dims:
        ds = ds.drop_vars(SPLIT)  # of one selected trajectory; no figure depends on it
    for dim in (TRAJECTORY, TIME, PARTICLE):
        lacking = [
            name for name, dims in wanted.items()
            if name in ds and dim in dims and dim not in ds[name].dims
        ]  # fmt: skip
        if lacking and dim not in ds.dims:
            ds = ds.drop_vars(dim, errors="ignore").assign(
                {name: ds[name].expand_dims(dim) for name in lacking}
            )
    return ds


def _listed(particles: Any) -> Any:
    try:
        np.asarray(particles)
        is_array = not hasattr(particles, "data_vars")
    except (TypeError, ValueError, RuntimeError):  # rows of unequal length
        is_array = False
    if not is_array:
        raise InvalidOption(
            "particles are numbers or a mask", got=type(particles).__name__, allowed="a list"
        )
    return particles


def numbers(particles: Any, count: int) -> NDArray[np.int64]:
    """Indices of particles (selected,) from None (all), numbers, or a mask (particle,).

    Raises InvalidOption.
    """
    if particles is None:
        return np.arange(count)
    given = np.atleast_1d(np.asarray(_listed(particles)))
    if given.dtype == bool and given.shape == (count,):
        return np.flatnonzero(given)
    if given.dtype == bool:
        raise InvalidOption(
            "a mask has one value for each particle",
            got=f"shape {given.shape}",
            allowed=f"shape ({count},)",
            fix="give the numbers of the particles, or a mask of all of them",
        )
    given = given.astype(np.int64) if given.size == 0 else given  # [] is an array of floats
    integers = given.dtype.kind in "iu" and given.ndim == 1
    if not integers or ((given < -count) | (given >= count)).any():
        raise InvalidOption(
            "there is no such particle",
            got=particles,
            allowed=f"numbers from 0 to {count - 1}, or a mask of {count}",
        )
    return given


def _finite(ds: xr.Dataset) -> NDArray[np.bool_]:
    """Whether states (trajectory, time) are finite in all their values."""
    x, v = (ds[n].transpose(*PARTICLE_DIMS).values for n in (POSITION, VELOCITY))
    good: NDArray[np.bool_] = np.isfinite(x).all((2, 3)) & np.isfinite(v).all((2, 3))
    return good
