"""Datasets in Zarr stores and in HDF5 files of other programs; JLD2 files of Julia.

zarr and h5py are optional: ``pip install "pympnode[readers]"``.
"""

from __future__ import annotations

import importlib
import itertools
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing

from ..errors import (
    EngineUnavailable,
    FileDamaged,
    InvalidData,
    MissingFile,
    PympnodeError,
    unknown_name,
)
from ..files.netcdf import CHECKSUM, RECORD, RECORD_CHECKSUM, checksum
from ..training.ranges import warn_user
from .chunks import STREAMED_BYTES, bytes_of
from .names import TIME, TRAJECTORY

BY_CHUNK = "crc32c of each chunk"
"""The checksum of variables that `save_dataset` writes chunk by chunk: zarr compares it at each reading."""

CALL = "pympnode_call"
"""The attribute of a store that `simulate` wrote: what decided its values, as JSON."""

_ZARR = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")
_JULIA = (b"HDF5-based Julia Data Format", b"Julia data file (HDF5)")


def optional_package(name: str, purpose: str) -> Any:
    """The module of an optional package. Raises EngineUnavailable where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise EngineUnavailable(
            f"{purpose} needs the package {name}",
            got=str(error),
            allowed=f"{name} installed beside pympnode",
            fix=f"pip install {name}, or pip install 'pympnode[readers]' for all readers",
        ) from error


# ---- Zarr ---------------------------------------------------------------------------------------


def is_zarr(path: Path) -> bool:
    """Whether there is a Zarr store at ``path``: a folder with its metadata, or a zip file of one."""
    if path.is_dir():
        return path.suffix == ".zarr" or any((path / name).is_file() for name in _ZARR)
    if path.is_file() and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(name in _ZARR for name in archive.namelist())
    return False


def read_zarr(path: Path, *, lazy: bool | None = None) -> xr.Dataset:
    """The dataset of a Zarr store.

    ``lazy``: whether what has trajectories and times is read only where it is indexed; by default where the
    store holds more than `chunks.STREAMED_BYTES`. Chunks of stores of `save_dataset` are compared with
    their checksums when they are read. Raises FileDamaged, InvalidData, EngineUnavailable.
    """
    zarr = optional_package("zarr", f"the Zarr store {path.name!r}")
    try:
        store: Any = path
        if path.is_file():
            # xarray 2026.9 with zarr 3.1 finds no group in a zip file that is given by its path.
            store = zarr.storage.ZipStore(str(path), mode="r")
        opened = xr.open_zarr(
            store, chunks=None, decode_times=False, consolidated=consolidated(path)
        )
        opened, arrays = _checked(zarr, opened, path)
        lazy = bytes_of(opened) > STREAMED_BYTES if lazy is None else lazy
        if not lazy:
            with opened:
                ds = opened.load()
        else:
            ds = _opened_lazily(opened, path, arrays)
    except PympnodeError:
        raise
    except Exception as error:  # zarr raises its own errors, KeyError, ValueError, OSError, ...
        raise _damaged_store(path, error) from error
    if not ds.variables:
        # xarray 2026.9 opens a store whose arrays lie in groups as an empty dataset.
        groups = sorted(p.parent.name for p in path.glob("*/zarr.json")) if path.is_dir() else []
        groups += sorted(p.parent.name for p in path.glob("*/.zgroup")) if path.is_dir() else []
        raise InvalidData(
            f"the Zarr store {path.name!r} holds no variables",
            got=f"groups {', '.join(groups)}" if groups else "an empty store",
            allowed="variables in the root of the store",
            fix="pass the dataset: xarray.open_zarr(path, group=NAME)",
        )
    return plain_text(ds)


def _damaged_store(path: Path, error: Exception) -> FileDamaged:
    return FileDamaged(
        f"{path.name!r} cannot be read as a Zarr store",
        got=f"{type(error).__name__}: {error}"[:200],
        allowed="a whole store, as ds.to_zarr(path) writes it",
        fix="restore it, or write it again",
    )


def consolidated(path: Path) -> bool | None:
    """Whether a store has its metadata in one place: xarray warns where it looks in vain."""
    if path.is_dir():
        names = {name for name in _ZARR if (path / name).is_file()}
        text = (path / "zarr.json").read_text(encoding="utf-8") if "zarr.json" in names else "{}"
    else:
        with zipfile.ZipFile(path) as archive:
            names = {*_ZARR} & {*archive.namelist()}
            text = archive.read("zarr.json").decode() if "zarr.json" in names else "{}"
    if not names:
        return None
    return ".zmetadata" in names or json.loads(text).get("consolidated_metadata") is not None


def _checked(zarr: Any, opened: xr.Dataset, path: Path) -> tuple[xr.Dataset, dict[str, Any]]:
    """A store of `save_dataset` without its checksums, of which those of small variables and of the record are
    compared; and the arrays that were written chunk by chunk. Others are returned as they are."""
    opened.attrs.pop(CALL, None)
    stored = opened.attrs.pop(RECORD_CHECKSUM, None)
    if stored is None:
        return opened, {}
    if stored != checksum(opened.attrs.get(RECORD, "")):
        raise FileDamaged(
            f"{path.name!r} is damaged: its record does not match its checksum",
            got="another checksum",
            allowed=f"sha256 {stored}",
            fix="restore the store from a copy, or make it again",
        )
    arrays: dict[str, Any] = {}
    group = zarr.open_group(str(path), mode="r") if path.is_dir() else None
    for name, variable in opened.variables.items():
        known = variable.attrs.pop(CHECKSUM, None)
        if known == BY_CHUNK:
            if group is None:
                continue
            array = group[str(name)]
            # What is missing would be read as the value that fills a chunk.
            if array.nchunks_initialized != array.nchunks:
                missing = array.nchunks - array.nchunks_initialized
                raise _lacks_chunks(path, str(name), f"{missing} of {array.nchunks} chunks")
            arrays[str(name)] = array
        elif known is not None and known != checksum(variable.values):
            raise FileDamaged(
                f"{path.name!r} is damaged: {name!r} does not match its checksum",
                got="another checksum",
                allowed=f"sha256 {known}",
                fix="restore the store from a copy, or make it again",
            )
    return opened, arrays


def _lacks_chunks(path: Path, name: str, what: str) -> FileDamaged:
    return FileDamaged(
        f"chunks of {name!r} are missing in {path.name!r}",
        got=f"{what} not there",
        allowed="all chunks that were written",
        fix="restore the store from a copy, or make it again",
    )


def _opened_lazily(opened: xr.Dataset, path: Path, arrays: dict[str, Any]) -> xr.Dataset:
    """The dataset of an opened store; what has no trajectories and times, and labels, in memory."""
    variables: dict[Any, xr.Variable] = {}
    for name, variable in opened.variables.items():
        if variable.ndim < 2 or not {TRAJECTORY, TIME} & set(variable.dims):
            variables[name] = variable.load()
            continue
        stored = _StoredArray(path, str(name), variable, arrays.get(str(name)))
        held = {"preferred_chunks": variable.encoding.get("preferred_chunks", {})}
        data = indexing.LazilyIndexedArray(stored)
        variables[name] = xr.Variable(variable.dims, data, variable.attrs, held)
    return xr.Dataset(
        {n: v for n, v in variables.items() if n not in opened.coords},
        coords={n: v for n, v in variables.items() if n in opened.coords},
        attrs=opened.attrs,
    )


class _StoredArray(BackendArray):
    """One variable of a store; ``array`` of zarr where all of its chunks were written."""

    def __init__(self, path: Path, name: str, variable: xr.Variable, array: Any) -> None:
        self.path, self.name, self.variable, self.array = path, name, variable, array
        self.shape, self.dtype = variable.shape, variable.dtype

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> NDArray:
        try:
            if self.array is not None:
                self._require_chunks(key)
            return self.variable.isel(dict(zip(self.variable.dims, key))).values
        except PympnodeError:
            raise
        except Exception as error:
            raise _damaged_store(self.path, error) from error

    def _require_chunks(self, key: tuple[Any, ...]) -> None:
        touched = [
            np.unique(np.atleast_1d(np.arange(size)[one]) // chunk)
            for size, chunk, one in zip(self.shape, self.array.chunks, key)
        ]
        for at in itertools.product(*touched):
            name = self.array.metadata.encode_chunk_key(tuple(int(i) for i in at))
            if not (self.path / self.name / name).is_file():
                raise _lacks_chunks(self.path, self.name, f"{self.name}/{name}")


def plain_text(ds: xr.Dataset) -> xr.Dataset:
    """``ds`` with text as objects, and without what its file had as encoding.

    zarr 3.1 with xarray 2026.9 reads text that was written as objects as NumPy's StringDType, which
    NumPy 2.4 refuses to cast to fixed width (``astype(str)``) and to change in byte order.
    """
    for name, variable in ds.variables.items():
        if variable.dtype.kind == "T":
            text = np.array(variable.values.tolist(), dtype=object).reshape(variable.shape)
            ds = ds.assign({name: (variable.dims, text, variable.attrs)})
        kept = variable.encoding.get("preferred_chunks") if not variable._in_memory else None
        ds[name].encoding = {} if kept is None else {"preferred_chunks": kept}
    return ds


# ---- HDF5 ---------------------------------------------------------------------------------------


def refuse_unnamed(ds: xr.Dataset, path: Path) -> xr.Dataset:
    """``ds`` as netCDF read it. Raises InvalidData for HDF5 whose axes have no names, or only groups.

    The axes of an array of h5py, MATLAB or Julia are not named, and their order is the writer's.
    """
    unnamed = [
        str(name)
        for name, variable in ds.variables.items()
        if any(str(dim).startswith("phony_dim") for dim in variable.dims)
    ]
    if ds.variables and not unnamed:
        return ds
    arrays = [f"{name} {ds[name].shape}" for name in unnamed] or _groups(path)
    # The states are most likely the array of most axes.
    first = max(unnamed, key=lambda name: ds[name].ndim) if unnamed else "GROUP/NAME"
    if is_julia(path):
        fix = f"arrays = pympnode.read_jld2({path.name!r}); pympnode.from_arrays(arrays[{first!r}], ...)"
    else:
        fix = (
            f"x = h5py.File({path.name!r})[{first!r}][...]; pympnode.from_arrays(x, dt=...) with the "
            "axes in the order (trajectory, time, node, feature)"
        )
    raise InvalidData(
        f"{path.name!r} holds arrays whose axes have no names",
        got=", ".join(arrays)[:200] or "no array",
        allowed="named dims, as ds.to_netcdf writes them, in the root of the file",
        fix=fix,
    )


def _groups(path: Path) -> list[str]:
    import netCDF4

    try:
        with netCDF4.Dataset(path) as opened:
            return [f"group {name}" for name in opened.groups]
    except OSError:
        return []


def is_julia(path: Path) -> bool:
    """Whether the file was written by JLD2: its first bytes say so."""
    try:
        with open(path, "rb") as stream:
            return stream.read(64).startswith(_JULIA)
    except OSError:
        return False


def read_jld2(path: str | os.PathLike[str], *names: str) -> dict[str, NDArray]:
    """The arrays of a JLD2 file of Julia, with the axes in Julia's order.

    path: a file of ``jldsave`` or ``@save``, also an HDF5 file of HDF5.jl.
    names: those to read, "group/name" in a group; by default all that can be read, with a warning
        for others.
    Returns: an array for each name, ``array[i, j]`` being ``array[i + 1, j + 1]`` of Julia. h5py
        alone has the axes reversed. Ranges are written out. Of a vector of vectors (or of
        matrices) of one size, as ``sol.u``, the first axis is that of the vector.
    Raises: `MissingFile`, `FileDamaged`, `InvalidData`, `UnknownName`, and `EngineUnavailable`
        where h5py is not installed.

    ``Array(sol)`` of many trajectories has the size (state, time, trajectory) in Julia;
    ``np.moveaxis`` or ``.T`` put the axes in the order of `from_arrays`.
    """
    h5py = optional_package("h5py", "a JLD2 file")
    path = Path(path).expanduser()
    if not path.is_file():
        raise MissingFile(
            f"there is no file {str(path)!r}", got=str(path), allowed="an existing JLD2 file"
        )
    arrays: dict[str, NDArray] = {}
    unread: dict[str, str] = {}
    try:
        opened = h5py.File(path, "r")
    except OSError as error:
        raise FileDamaged(
            f"{path.name!r} cannot be read as HDF5",
            got=str(error)[:200],
            allowed="a whole JLD2 file (version 0.1 or later)",
            fix="write it again; the format of JLD.jl and .bson files are others",
        ) from error
    with opened as file:
        found = _members(h5py, file)
        for name in names or found:
            if name not in found:
                raise unknown_name(f"array of {path.name!r}", name, found)
            try:
                arrays[name] = _julia_value(h5py, file, found[name])
            except (TypeError, ValueError, OSError, KeyError) as error:
                if names:
                    raise InvalidData(
                        f"{name!r} in {path.name!r} is no array of numbers",
                        got=str(error)[:160],
                        allowed="arrays, ranges, and vectors of arrays of one size",
                        fix="in Julia: jldsave(path; x = Array(sol), t = sol.t)",
                    ) from error
                unread[name] = str(error)
    if not arrays:
        raise InvalidData(
            f"{path.name!r} holds no array of numbers",
            got=", ".join(f"{name}: {why}" for name, why in unread.items())[:200] or "nothing",
            allowed="arrays, ranges, and vectors of arrays of one size",
            fix="in Julia: jldsave(path; x = Array(sol), t = sol.t)",
        )
    if unread:
        warn_user(f"not read from {path.name!r}, no arrays of numbers: {', '.join(unread)}")
    return arrays


def _members(h5py: Any, group: Any, above: str = "") -> dict[str, Any]:
    """The datasets of a file by their names, those of groups too, without Julia's table of types."""
    found: dict[str, Any] = {}
    for name in group:
        if not above and name == "_types":
            continue
        item = group[name]
        if isinstance(item, h5py.Group):
            found |= _members(h5py, item, f"{above}{name}/")
        elif isinstance(item, h5py.Dataset):
            found[above + name] = item
    return found


def _julia_value(h5py: Any, file: Any, dataset: Any) -> NDArray:
    dtype = dataset.dtype
    if h5py.check_ref_dtype(dtype) is not None:
        references = np.asarray(dataset[()])
        parts = [_julia_value(h5py, file, file[one]) for one in references.reshape(-1, order="C")]
        shapes = {part.shape for part in parts}
        if len(shapes) != 1:
            raise ValueError(f"arrays of {len(shapes)} sizes")
        # The axes of the outer array are reversed too.
        outer = np.stack(parts).reshape(*references.shape, *parts[0].shape)
        order = [*range(references.ndim)[::-1], *range(references.ndim, outer.ndim)]
        return outer.transpose(order)
    if dtype.fields:
        fields = set(dtype.fields)
        if fields == {"re", "im"} or fields == {"re_", "im_"}:
            real, imaginary = ("re", "im") if "re" in fields else ("re_", "im_")
            value = np.asarray(dataset[real]) + 1j * np.asarray(dataset[imaginary])
            return value.T
        return _julia_range(dataset[()], fields)
    if dtype.kind not in "biuf":
        raise ValueError(f"values of type {dtype}")
    return np.asarray(dataset[()]).T


def _julia_range(value: Any, fields: set[str]) -> NDArray:
    """A range of Julia, which JLD2 stores as its fields (Julia 1.0 to 1.11)."""
    if fields == {"ref", "step", "len", "offset"}:  # StepRangeLen: 0:0.1:1

        def number(field: Any) -> float:
            return float(field["hi"]) + float(field["lo"]) if field.dtype.fields else float(field)

        at = np.arange(1, int(value["len"]) + 1) - int(value["offset"])
        return number(value["ref"]) + at * number(value["step"])
    if fields == {"start", "stop"}:
        return np.arange(int(value["start"]), int(value["stop"]) + 1)
    if fields == {"start", "step", "stop"}:
        start, step, stop = (int(value[name]) for name in ("start", "step", "stop"))
        return np.arange(start, stop + (1 if step > 0 else -1), step)
    if fields == {"start", "stop", "len", "lendiv"}:
        return np.linspace(float(value["start"]), float(value["stop"]), int(value["len"]))
    raise ValueError(f"a struct with the fields {', '.join(sorted(fields))}")
