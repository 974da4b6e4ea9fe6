"""Files: netCDF written to a temporary file, flushed, checked and renamed; nothing executable.

A reader never sees half a file: the new one replaces the old one in a single step, and the folder is
flushed so that the move survives a power cut. The checksum of a variable is one of its attributes.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..config import path as path_of
from ..errors import CannotWrite, FileDamaged, InvalidOption, MissingFile, PympnodeError, one_line
from ..memory import format_bytes, need
from .writing import make_folder, write_error, writing

CHECKSUM = "sha256"
RECORD = "pympnode"  # the attribute of a dataset that holds its record, see `datasets.record`
RECORD_CHECKSUM = "record_sha256"
SEAL = "content_sha256"  # the attribute of `sealed`
LOCK = threading.RLock()
"""Held while a file is written, and while a thread reads data: the netCDF library takes one call at a time."""
# Bytes in memory for one in the file, beyond which values were never written: zlib reaches 1,030.
_MOST_COMPRESSED = 1100
_SMALL = 1 << 26


def checksum(values: Any) -> str:
    """SHA-256 of an array's dtype, shape and bytes (little endian, C order)."""
    array = np.ascontiguousarray(values)
    text = array.dtype.kind in "OUST"  # T: NumPy's StringDType, as Zarr reads text
    if not text:
        array = array.astype(array.dtype.newbyteorder("<"), copy=False)
        # Without a copy, where the type has a buffer.
        plain = array.size and array.dtype.kind in "biufc"
        data: Any = array.reshape(-1).view(np.uint8).data if plain else array.tobytes()
    else:
        data = "\0".join(str(v) for v in array.ravel()).encode()
    kind = "text" if text else array.dtype.str
    found = hashlib.sha256(f"{kind}{array.shape}".encode())
    found.update(data)
    return found.hexdigest()


def content_checksum(ds: xr.Dataset) -> str:
    """SHA-256 of names, dims and values of all variables and of the record."""
    whole = hashlib.sha256(str(ds.attrs.get(RECORD, "")).encode(errors="replace"))
    for name in sorted(map(str, ds.variables)):
        variable = ds.variables[name]
        whole.update(f"{name}{tuple(map(str, variable.dims))}{checksum(variable.values)}".encode())
    return whole.hexdigest()


def sealed(ds: xr.Dataset) -> xr.Dataset:
    """``ds`` with a checksum of all its content together, which `check_seal` compares.

    Checksums of single variables do not show that one was exchanged, renamed or left out.
    """
    return ds.assign_attrs({SEAL: content_checksum(ds)})


def check_seal(ds: xr.Dataset, source: str) -> xr.Dataset:
    """``ds`` without its seal. Raises `FileDamaged` where the content is not what was sealed.

    Files of version 0.1 have none.
    """
    stored = ds.attrs.get(SEAL)
    if stored is not None and stored != content_checksum(ds):
        raise FileDamaged(
            f"{source} was changed after it was written",
            got="another checksum of the whole content",
            allowed=f"sha256 {stored}",
            fix="restore it from a copy, or make it again",
        )
    ds = ds.copy(deep=False)
    ds.attrs.pop(SEAL, None)
    return ds


def write_bytes(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` in one step. Raises `NotEnoughDisk`, `CannotWrite`."""
    _replace(path, lambda temporary: temporary.write_bytes(data), len(data))


def write_netcdf(ds: xr.Dataset, path: str | os.PathLike[str], *, checksums: bool = False) -> Path:
    """Write ``ds`` to ``path`` in one step; with ``checksums`` each variable has one.

    Raises `InvalidOption` where ``path`` is a folder, `NotEnoughDisk`, `CannotWrite`.
    """
    path = path_of("path", path)
    with writing(path):
        is_folder = path.is_dir()
    if is_folder:
        raise InvalidOption(
            f"{str(path)!r} is a folder, and a file is written",
            got=str(path),
            allowed="the path of a file",
            fix=f"give {str(path / 'model.nc')!r}, or another name in it",
        )
    out = ds.copy(deep=False)
    for name in out.variables:
        variable = out[name].variable.copy(deep=False)
        variable.encoding = {}
        if variable.dtype.kind == "f":
            variable.encoding["_FillValue"] = None
        if checksums:
            variable.attrs = {**variable.attrs, CHECKSUM: checksum(variable.values)}
        if name in out.coords:
            out = out.assign_coords({name: variable})
        else:
            out[name] = variable
    if checksums and isinstance(text := out.attrs.get(RECORD), str):
        out = out.assign_attrs({RECORD_CHECKSUM: checksum(text)})
    _replace(
        path,
        lambda temporary: _to_netcdf(out, temporary),
        bytes_in_file(out),
    )
    return path


def _to_netcdf(ds: xr.Dataset, path: Path) -> None:
    with LOCK:
        ds.to_netcdf(path, engine="netcdf4", format="NETCDF4")


def bytes_in_file(ds: xr.Dataset) -> int:
    """About how many bytes a dataset takes as a netCDF file."""
    attributes = sum(len(str(v)) for v in ds.attrs.values())
    return sum(int(v.nbytes) + 1000 for v in ds.variables.values()) + attributes + 10_000


def inside_run(path: str | os.PathLike[str], name: str) -> Path:
    """``path`` itself, or the file ``name`` in it when it is a run folder.

    Raises `MissingFile` where a folder has no such file (yet).
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        return path
    file = path / name
    if not file.is_file():
        raise MissingFile(
            f"the folder {str(path)!r} has no {name}",
            got=_first_names(path),
            allowed="a run folder (run=, --run) whose run ended",
            fix="let the run finish: the same call continues it",
        )
    return file


def _first_names(folder: Path) -> str:
    """The first names in a folder, for errors."""
    return ", ".join(sorted(p.name for p in folder.iterdir())[:6]) or "an empty folder"


# What to do with files of other formats that users have.
_OTHER_READERS = {
    suffix: f"this is a table: pympnode.from_frame(pandas.{reader}(path), features=...) makes a "
    "dataset of it"
    for reader, suffixes in (
        ("read_csv", (".csv", ".tsv", ".txt", ".dat", ".gz")),
        ("read_excel", (".xls", ".xlsx")),
        ("read_parquet", (".parquet", ".pq")),
    )
    for suffix in suffixes
} | {
    suffix: "these are arrays: pympnode.from_arrays(numpy.load(path), dt=...) makes a dataset of them"
    for suffix in (".npy", ".npz")
}


def read_netcdf(path: str | os.PathLike[str], *, checksums: bool = False) -> xr.Dataset:
    """Read a whole netCDF file into memory.

    Raises `MissingFile`, or `FileDamaged` when it is no netCDF, was cut short, or a checksum that
    stands in it does not match.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise MissingFile(
            f"there is no file {str(path)!r}",
            got=str(path),
            allowed="an existing netCDF file",
            fix="check the path; files are written by model.save and ds.to_netcdf",
        )
    if path.is_dir():
        raise MissingFile(
            f"{str(path)!r} is a folder, and a file is read",
            got=_first_names(path),
            allowed="a netCDF file; a folder of parts for data, a run folder for a model",
            fix="name a file in it",
        )
    try:
        with xr.open_dataset(path, engine="netcdf4", decode_times=False) as opened:
            require_real_size(opened, path)
            ds = opened.load()
    except PympnodeError:
        raise
    except Exception as error:  # the netCDF library raises OSError, RuntimeError, KeyError, ...
        raise FileDamaged(
            f"{path.name!r} cannot be read as netCDF",
            got=f"{type(error).__name__}: {error}",
            allowed="a whole netCDF-4 file",
            fix=_OTHER_READERS.get(
                path.suffix.lower(),
                "it was cut short or is another kind of file; restore it or make it again",
            ),
        ) from error
    for name in ds.variables:
        ds[name].encoding = {}
        stored = ds[name].attrs.pop(CHECKSUM, None)
        if checksums and stored != checksum(ds[name].values):
            raise FileDamaged(
                f"{path.name!r} is damaged: {name!r} does not match its checksum",
                got="no checksum" if stored is None else "another checksum",
                allowed=f"sha256 {stored}",
                fix="restore the file from a copy, or make it again",
            )
    stored = ds.attrs.pop(RECORD_CHECKSUM, None)
    if checksums and stored is not None and stored != checksum(ds.attrs.get(RECORD, "")):
        raise FileDamaged(
            f"{path.name!r} is damaged: its record does not match its checksum",
            got="another checksum",
            allowed=f"sha256 {stored}",
            fix="restore the file from a copy, or make it again",
        )
    ds.encoding = {}
    return ds


def read_attributes(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The attributes of a netCDF file, none of whose values are read.

    Raises what `read_netcdf` raises of a file that is missing or no netCDF.
    """
    path = Path(path)
    if not path.is_file():
        read_netcdf(path)  # raises what is wrong
    try:
        with xr.open_dataset(path, engine="netcdf4", decode_times=False, cache=False) as opened:
            names = list(map(str, opened.data_vars))[:4]
            return {**opened.attrs, "": names}
    except Exception:
        read_netcdf(path)
        raise


def require_real_size(ds: xr.Dataset, path: Path) -> None:
    """Raise where the values of an opened file were never written, or do not fit in memory.

    A header of a few kB may name arrays of any size. Raises `FileDamaged`, `NotEnoughMemory`.
    """
    needed, held = sum(int(v.nbytes) for v in ds.variables.values()), os.path.getsize(path)
    if needed > max(_SMALL, _MOST_COMPRESSED * held):
        raise FileDamaged(
            f"{path.name!r} names values that it does not hold",
            got=f"{format_bytes(needed)} of values in a file of {format_bytes(held)}",
            allowed="values that were written",
            fix="it was cut short or is another kind of file; restore it or make it again",
        )
    need(
        needed,
        f"the content of {path.name!r}",
        fix="open it with xarray.open_dataset(path, chunks={}) and select a part of it; train takes such data "
        "without loading them",
    )


def _replace(path: Path, write: Callable[[Path], object], needed: int | None = None) -> None:
    make_folder(path.parent)
    with writing(path):
        if path.exists() and not path.is_file():
            raise CannotWrite(
                f"{str(path)!r} is no file, and a file would take its place",
                got="a folder" if path.is_dir() else "a device, a pipe or a socket",
                allowed="a file, or nothing",
                fix="give the path of a file",
            )
    # A random name, and not `tempfile`: its files are private to the user, and to widen their mode
    # one has to read the umask, which sets it for all threads of the process.
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}.part"
    try:
        write(temporary)
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        # netCDF reports a full disk as RuntimeError too; other errors come from the values.
        failed = isinstance(error, OSError) or "HDF error" in str(error)
        typed = (
            write_error(path, error, needed) if failed and isinstance(error, Exception) else None
        )
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if typed is None or typed is error:
            raise
        raise typed from error
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Make a rename in ``folder`` durable, where the system can."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def incomplete_model(source: str, error: Exception) -> FileDamaged:
    """The error for a model file in which reading a part raised ``error``."""
    return FileDamaged(
        f"{source} lacks parts of a model",
        got=f"{type(error).__name__}: {one_line(error)}",
        allowed="a file written by model.save of this or an earlier version",
        fix="save the model again",
    )
