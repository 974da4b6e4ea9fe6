"""Files: netCDF written to a temporary file, flushed, checked and renamed; nothing executable.

A reader never sees half a file: the new one replaces the old one in a single step, and the folder is
flushed so that the move survives a power cut. The checksum of a variable is one of its attributes.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import FileDamaged, InvalidOption, MissingFile

CHECKSUM = "sha256"


def checksum(values: Any) -> str:
    """SHA-256 of an array's dtype, shape and bytes (little endian, C order)."""
    array = np.ascontiguousarray(values)
    text = array.dtype.kind in "OUST"  # T: NumPy's StringDType, as Zarr reads text
    if not text:
        array = array.astype(array.dtype.newbyteorder("<"))
        data = array.tobytes()
    else:
        data = "\0".join(str(v) for v in array.ravel()).encode()
    kind = "text" if text else array.dtype.str
    return hashlib.sha256(f"{kind}{array.shape}".encode() + data).hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Put ``data`` at ``path`` in one step."""
    _replace(path, lambda temporary: temporary.write_bytes(data))


def write_netcdf(ds: xr.Dataset, path: str | os.PathLike[str], *, checksums: bool = False) -> Path:
    """Write ``ds`` to ``path`` in one step; with ``checksums`` each variable has one.

    Raises `InvalidOption` where ``path`` is a folder.
    """
    path = Path(path).expanduser()
    if path.is_dir():
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
    _replace(path, lambda temporary: out.to_netcdf(temporary, engine="netcdf4", format="NETCDF4"))
    return path


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
            ds = opened.load()
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
    ds.encoding = {}
    return ds


def _replace(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A random name, and not `tempfile`: its files are private to the user, and to widen their mode
    # one has to read the umask, which sets it for all threads of the process.
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}.part"
    try:
        write(temporary)
        with open(temporary, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
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
        got=f"{type(error).__name__}: {error}",
        allowed="a file written by model.save of this or an earlier version",
        fix="save the model again",
    )
