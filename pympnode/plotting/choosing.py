"""Checks of arguments that pictures of both halves share: a time, a trajectory, a variable, axes."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import InvalidData, InvalidOption, shown_value


def nearest(times: NDArray, time: float | None) -> int:
    """The index into ``times`` (time,) of the value closest to ``time``; the last one for None.

    Raises `InvalidOption` for a time beyond them.
    """
    if time is None:
        return len(times) - 1
    time = time.item() if isinstance(time, np.generic | np.ndarray) and time.ndim == 0 else time
    number = isinstance(time, int | float) and not isinstance(time, bool)
    if not number or not times[0] - 1e-9 <= time <= times[-1] + 1e-9:
        raise InvalidOption(
            "the dataset does not reach that time",
            got=shown_value(time),
            allowed=f"{times[0]:.4g} to {times[-1]:.4g}, in the unit of its times",
            fix="leave time= out for the last one",
        )
    return int(np.abs(times - time).argmin())


def position(trajectory: int, count: int) -> int:
    """The index, from 0, of a trajectory given from either end. Raises `InvalidOption`."""
    whole = isinstance(trajectory, Integral) and not isinstance(trajectory, bool | np.timedelta64)
    if not whole or not -count <= trajectory < count:
        raise InvalidOption(
            "the dataset has no such trajectory",
            got=shown_value(trajectory),
            allowed=f"0 to {count - 1}",
            fix="trajectory= counts from 0",
        )
    return int(trajectory) % count


def axes_of(name: str, value: Any) -> Any:
    """Axes of matplotlib. Raises `InvalidOption` for anything else."""
    from matplotlib.axes import Axes

    if value is not None and not isinstance(value, Axes):
        raise InvalidOption(
            f"{name} is an Axes of matplotlib",
            got=shown_value(value),
            allowed="an Axes, or None for a new one",
            fix="fig, ax = plt.subplots()",
        )
    return value


def require(ds: xr.Dataset, name: str, what: str, fix: str) -> Any:
    """The variable ``name`` of ``ds``. Raises `InvalidData`: "this is not {what}", with ``fix``."""
    if not isinstance(ds, xr.Dataset) or name not in ds:
        variables = (
            ", ".join(map(str, ds.data_vars)) if isinstance(ds, xr.Dataset) else type(ds).__name__
        )
        raise InvalidData(
            f"this is not {what}", got=variables, allowed=f"a dataset with {name!r}", fix=fix
        )
    return ds[name]


def is_particle_evaluation(ds: Any) -> bool:
    """Whether ``ds`` is an evaluation of particles: its errors have the dim "horizon"."""
    return isinstance(ds, xr.Dataset) and "horizon" in ds.dims


def shaped(axes: Any, shape: tuple[int, ...]) -> np.ndarray:
    """``axes`` as an array of that shape. Raises `InvalidOption` for another number of axes."""
    single = hasattr(axes, "data_vars") or not isinstance(axes, Iterable)
    array = np.empty(1, dtype=object) if single else np.asarray(axes, dtype=object)
    if single:
        array[0] = axes
    for each in array.flat:
        axes_of("axes", each)
    if array.size != np.prod(shape):
        raise InvalidOption(
            "axes= has the wrong number of axes",
            got=array.size,
            allowed=f"{int(np.prod(shape))}, shaped {shape}",
            fix="leave axes= out, or make them with plt.subplots",
        )
    return array.reshape(shape)
