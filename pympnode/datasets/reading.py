"""Data of users: datasets read from paths, and numbers and times checked and made float64."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import path, positive
from ..errors import InvalidData, one_line
from ..files.netcdf import CHECKSUM, RECORD_CHECKSUM, read_netcdf
from .parts import INDEX, open_parts
from .stores import CALL, consolidated, is_zarr, plain_text, read_zarr, refuse_unnamed
from .times import even_times


def as_dataset(data: Any, *, lazy: bool | None = None, checked: bool = True) -> Any:
    """The dataset at a path: netCDF, Zarr, or a folder of parts; other values are returned as is.

    lazy: whether values of a Zarr store are read where they are indexed; by default those of stores of more
        than 1 GiB are. Those of folders of parts always are, those of netCDF files never.
    checked: False reads all values where they are indexed, those of netCDF files too, and compares no
        checksums: for processes that read a part each.
    HDF5 files are read where they are netCDF-4. A ``~`` at the start of the path is the home folder.
    Raises MissingFile, FileDamaged, InvalidData, and EngineUnavailable for a Zarr store where zarr is
    not installed.
    """
    if not isinstance(data, str | os.PathLike):
        return data
    data = path("the path of the data", data)
    if (data / INDEX).exists():
        return open_parts(data)
    if not checked and (opened := _opened_unchecked(data)) is not None:
        return opened
    if is_zarr(data):
        return read_zarr(data, lazy=lazy)
    return refuse_unnamed(read_netcdf(data), data)


def _opened_unchecked(place: Path) -> xr.Dataset | None:
    """A store or netCDF file of which nothing is read; None where it does not open."""
    try:
        if is_zarr(place):
            ds = xr.open_zarr(
                place,
                chunks=None,
                decode_times=False,
                cache=False,
                consolidated=consolidated(place),
            )
        else:
            ds = xr.open_dataset(place, engine="netcdf4", decode_times=False, cache=False)
    except Exception:  # as many kinds as there are libraries; reading it whole says which
        return None
    for variable in ds.variables.values():
        variable.attrs.pop(CHECKSUM, None)
    for name in (RECORD_CHECKSUM, CALL):
        ds.attrs.pop(name, None)
    return plain_text(refuse_unnamed(ds, place))


def numbers(name: str, values: Any) -> NDArray[np.float64]:
    """``values`` as a float64 array of any shape.

    Masked entries become NaN, which means missing. Tensors are read without their gradients.
    Raises InvalidData for text, times, imaginary parts and lists of unequal length.
    """
    try:
        array = np.asarray(_unmasked(values))
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise _no_numbers(name, f"{type(values).__name__}: {one_line(error)}") from error
    if array.dtype.kind == "c":
        if np.any(array.imag != 0):
            raise InvalidData(
                f"{name} holds complex numbers",
                got=f"dtype {array.dtype}, imaginary parts up to {np.nanmax(np.abs(array.imag)):.4g}",
                allowed="real numbers; NaN where a value is missing",
                fix="give two real features: np.stack([z.real, z.imag], axis=-1), or np.abs(z)",
            )
        array = array.real
    if array.dtype.kind in "mM":
        raise InvalidData(
            f"{name} holds dates or durations",
            got=f"dtype {array.dtype}",
            allowed="numbers in one unit",
            fix='divide by the unit: values / np.timedelta64(1, "s") are seconds',
        )
    if array.dtype.kind not in "biufO" or (
        array.dtype == object and any(isinstance(v, str | bytes) for v in array.flat)
    ):
        raise _no_numbers(name, f"text, dtype {array.dtype}")
    try:
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        raise _no_numbers(name, f"{type(values).__name__}: {one_line(error)}") from error


def _no_numbers(name: str, got: str) -> InvalidData:
    return InvalidData(
        f"{name} does not hold numbers",
        got=got,
        allowed="real numbers; NaN where a value is missing",
        fix="convert text to numbers; trajectories of different length go into datasets of their own",
    )


def _unmasked(values: Any) -> Any:
    """``values`` as NumPy reads them without loss: masked entries as NaN, tensors without gradients.

    NumPy drops the masks of masked arrays inside of lists, and refuses tensors that require
    gradients.
    """
    if isinstance(values, np.ma.MaskedArray):
        if not np.ma.is_masked(values):
            return values.data
        wide = np.complex128 if values.dtype.kind == "c" else np.float64
        return np.ma.filled(values.astype(wide), np.nan)
    if hasattr(values, "detach") and hasattr(values, "cpu"):  # a torch tensor
        tensor = values.detach().cpu()
        tensor = tensor.resolve_conj().resolve_neg() if hasattr(tensor, "resolve_neg") else tensor
        return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()
    if isinstance(values, list | tuple):
        plain = (bool, int, float, complex, str)
        return [value if isinstance(value, plain) else _unmasked(value) for value in values]
    if type(values).__module__.startswith("pandas") and hasattr(values, "to_numpy"):
        dtype = getattr(values, "dtype", None)
        if getattr(dtype, "na_value", None) is not None and getattr(dtype, "kind", "") in "biuf":
            return values.to_numpy(np.float64, na_value=np.nan)
    return values


def as_pandas(frame: Any) -> Any:
    """A table of another library as a pandas one; other values as they are.

    polars needs pyarrow for its own conversion; where that is not installed, columns are read one by
    one, and the order of an Enum is kept.
    """
    if not hasattr(frame, "to_pandas") or hasattr(frame, "dims"):
        return frame
    try:
        return frame.to_pandas()
    except ImportError:
        import pandas as pd

        if not hasattr(frame, "get_columns"):
            raise
        columns = {}
        for column in frame.get_columns():
            values = column.to_list()
            if str(column.dtype).startswith("Enum"):
                values = pd.Categorical(values, categories=column.dtype.categories.to_list())
            columns[column.name] = values
        return pd.DataFrame(columns)


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
