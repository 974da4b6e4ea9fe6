"""Data of users: datasets read from paths, and numbers and times checked and made float64."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import positive
from ..errors import InvalidData
from ..files.netcdf import read_netcdf
from .parts import INDEX, open_parts
from .stores import is_zarr, read_zarr, refuse_unnamed
from .times import even_times


def as_dataset(data: Any) -> Any:
    """The dataset at a path: netCDF, Zarr, or a folder of parts; other values are returned as is.

    HDF5 files are read where they are netCDF-4. Raises MissingFile, FileDamaged, InvalidData, and
    EngineUnavailable for a Zarr store where zarr is not installed.
    """
    if not isinstance(data, str | os.PathLike):
        return data
    if (Path(data) / INDEX).exists():
        return open_parts(data)
    path = Path(data).expanduser()
    if is_zarr(path):
        return read_zarr(path)
    return refuse_unnamed(read_netcdf(path), path)


def numbers(name: str, values: Any) -> NDArray[np.float64]:
    """``values`` as a float64 array of any shape. Raises InvalidData where they are no numbers."""
    if getattr(getattr(values, "dtype", None), "kind", "") in ("m", "M"):
        raise InvalidData(
            f"{name} holds dates or durations",
            got=f"dtype {values.dtype}",
            allowed="numbers in one unit",
            fix='divide by the unit: values / np.timedelta64(1, "s") are seconds',
        )
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidData(
            f"{name} does not hold numbers",
            got=f"{type(values).__name__}: {error}",
            allowed="real numbers; NaN where a value is missing",
            fix="trajectories of different length go into datasets of their own",
        ) from error


def time_grid(count: int, dt: float | None, time: Any, of: str, axes: str) -> NDArray[np.float64]:
    """The times (time,) of ``count`` states, from the step or from the times themselves.

    ``of`` and ``axes`` name the array in messages. A grid that is even to the rounding of its own
    type becomes exactly even. Raises InvalidData, InvalidOption.
    """
    if (dt is None) == (time is None):
        raise InvalidData(
            "give the time step or the times",
            got="both" if dt is not None else "neither",
            allowed="dt= or time=",
            fix="dt=0.05 for an even grid, time=array for an uneven one",
        )
    if time is None:
        assert dt is not None
        return positive("dt", dt) * np.arange(count, dtype=np.float64)
    times = numbers("time", time)
    if times.shape != (count,):
        raise InvalidData(
            f"time does not fit {of}",
            got=f"shape {times.shape}",
            allowed=f"({count},), one for each time of {of} {axes}",
        )
    return even_times(np.asarray(time) if getattr(time, "dtype", None) == np.float32 else times)
