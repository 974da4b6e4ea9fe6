"""Datasets larger than memory: netCDF parts of 64 trajectories, opened as one lazy Dataset.

A folder holds ``index.json`` (what the dataset is, and which parts are finished),
``part-00000.nc`` and so on, and, while it grows, ``building/`` with finished single trajectories. A
part enters the index only when it is on disk, so that readers open finished parts only.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from ..errors import FileDamaged, InvalidData, MissingFile, NotEnoughDisk, PympnodeError, one_line
from ..files import netcdf
from ..files.writing import free_bytes
from ..memory import format_bytes
from .names import TRAJECTORY

PART = 64  # trajectories in a part
INDEX = "index.json"
FORMAT = "pympnode parts 1"
# Values whose checksum was compared in this process: (file, its time and size, variable).
_verified: set[tuple[str, int, int, str]] = set()
_BLOCK = 1 << 24  # bytes that are read at once to compare a checksum
_OVERHEAD = 1.02  # bytes of netCDF files over those of the arrays, with some for the folder


@dataclass(frozen=True)
class Index:
    """The content of ``index.json``: the recipe as JSON, number of trajectories, finished parts."""

    recipe: str
    trajectories: int
    finished: tuple[int, ...]

    @property
    def parts(self) -> int:
        """Number of parts of the complete dataset."""
        return -(-self.trajectories // PART)

    @property
    def complete(self) -> bool:
        """Whether all parts are finished."""
        return len(self.finished) == self.parts

    def members(self, part: int) -> range:
        """Numbers of the trajectories of a part."""
        return range(part * PART, min((part + 1) * PART, self.trajectories))


def part_name(part: int) -> str:
    return f"part-{part:05d}.nc"


def read_index(folder: Path) -> Index | None:
    """The index of a folder; None if there is none. Raises FileDamaged."""
    path = folder / INDEX
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        index = Index(
            json.dumps(content["recipe"], sort_keys=True),
            int(content["trajectories"]),
            tuple(sorted(int(part) for part in content["whole"])),
        )
        if not all(0 <= part < index.parts for part in index.finished):
            raise ValueError("a part number out of range")
        if len(set(index.finished)) < len(index.finished):
            raise ValueError("a part number twice")
        return index
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, OSError) as error:
        raise FileDamaged(
            f"{str(path)!r} is not the index of a dataset",
            got=f"{type(error).__name__}: {one_line(error)}",
            allowed=f'JSON with format "{FORMAT}"',
            fix="restore it, or move the folder away and make the dataset again",
        ) from error


def write_index(folder: Path, index: Index) -> None:
    """Write the index; a reader finds the old one or the new one."""
    content = {
        "format": FORMAT,
        "recipe": json.loads(index.recipe),
        "trajectories": index.trajectories,
        "whole": list(index.finished),
    }
    netcdf.write_bytes(folder / INDEX, json.dumps(content, indent=1).encode())


def require_disk(folder: Path, needed: int) -> int | None:
    """Bytes free where ``folder`` is or will be, None where the system does not say.

    Raises NotEnoughDisk if ``needed`` is more.
    """
    free = free_bytes(folder)
    needed = int(needed * _OVERHEAD)
    if free is not None and needed > free:
        error = NotEnoughDisk(
            f"the dataset does not fit on the disk of {str(folder)!r}",
            got=f"{needed:,} bytes still to write ({format_bytes(needed)})",
            allowed=f"{free:,} bytes free ({format_bytes(free)})",
            fix='choose another path, dtype="float32", or fewer trajectories, steps or particles',
        )
        error.folder, error.needed, error.free = str(folder), needed, free
        raise error
    return free


# ---- reading ----------------------------------------------------------------------------------


def open_parts(folder: str | os.PathLike[str]) -> xr.Dataset:
    """All finished parts of a folder as one Dataset, read from disk only where it is indexed.

    Works while the dataset grows: later calls find more trajectories, numbered as in the complete
    dataset. Raises MissingFile, FileDamaged (a part that is cut short), InvalidData (no finished
    part yet). Values are compared with the checksum of their part when they are first read, which
    raises FileDamaged too; parts of version 0.1 have none.
    """
    folder = Path(folder).expanduser()
    index = read_index(folder)
    if index is None:
        raise MissingFile(
            f"there is no dataset in {str(folder)!r}",
            got=str(folder),
            allowed=f"a folder with {INDEX}",
        )
    if not index.finished:
        raise InvalidData(
            f"no part of {str(folder)!r} is finished yet",
            got=f"0 of {index.parts} parts",
            fix="wait for the first part: progress= of the call that makes it shows the time left",
        )
    first = open_part(folder / part_name(index.finished[0]))
    starts = np.concatenate([[0], np.cumsum([len(index.members(p)) for p in index.finished])])
    trajectories = np.concatenate([np.array(index.members(p)) for p in index.finished])
    paths = [folder / part_name(part) for part in index.finished]
    # All headers are read now, so that a damaged part is found here and not in a computation.
    for path, count in zip(paths, np.diff(starts), strict=True):
        found = open_part(path).sizes[TRAJECTORY]
        if found != count:
            raise FileDamaged(
                f"{path.name!r} does not match the index",
                got=f"{found} trajectories",
                allowed=str(count),
                fix="delete the part, remove its number from the index, make it again",
            )
    variables: dict[str, Any] = {}
    for name, variable in first.data_vars.items():
        if TRAJECTORY not in variable.dims:
            variables[str(name)] = variable.variable
            continue
        assert variable.dims[0] == TRAJECTORY
        array = _PartsArray(paths, starts, str(name), variable)
        data = indexing.LazilyIndexedArray(array)
        held = {"preferred_chunks": {TRAJECTORY: PART}}
        variables[str(name)] = xr.Variable(variable.dims, data, variable.attrs, held)
    coords = {
        str(name): coord.variable
        for name, coord in first.coords.items()
        if TRAJECTORY not in coord.dims
    }
    coords[TRAJECTORY] = xr.Variable(TRAJECTORY, trajectories)
    return xr.Dataset(variables, coords=coords, attrs=first.attrs)


_REMAKE = "delete it; the call that made it makes it again"


def open_part(path: Path) -> xr.Dataset:
    """A part; its variables over trajectories are not read, the others are compared with their
    checksums. Raises MissingFile, FileDamaged."""
    try:
        with xr.open_dataset(path, engine="netcdf4", decode_times=False, cache=False) as opened:
            netcdf.require_real_size(opened, path)
            small = [name for name, v in opened.variables.items() if TRAJECTORY not in v.dims]
            record = opened.attrs.pop(netcdf.RECORD_CHECKSUM, None)
            if record not in (None, netcdf.checksum(opened.attrs.get(netcdf.RECORD, ""))):
                raise _damaged(path, "its record")
            for name in small:
                _verify(path, opened, str(name))
                # Read later, it would keep the file open: HDF5 2.2 with netCDF-C 4.10 crashes where a
                # file is opened and closed a second time meanwhile.
                opened.variables[name].load()
            for variable in opened.variables.values():
                variable.attrs.pop(netcdf.CHECKSUM, None)
            return opened
    except FileNotFoundError as error:
        raise MissingFile(
            f"the index names a part that is not there: {str(path)!r}", fix=_REMAKE_MISSING
        ) from error
    except PympnodeError:
        raise
    except Exception as error:  # the netCDF library raises OSError, RuntimeError, KeyError, ...
        raise FileDamaged(
            f"{path.name!r} cannot be read as netCDF",
            got=f"{type(error).__name__}: {one_line(error)}",
            allowed="a complete netCDF file",
            fix=_REMAKE,
        ) from error


_REMAKE_MISSING = "the call that made the dataset makes the part again"


def _damaged(path: Path, what: str) -> FileDamaged:
    return FileDamaged(
        f"{path.name!r} is damaged: {what} does not match its checksum",
        got=str(path),
        allowed="the file as it was written",
        fix=_REMAKE,
    )


def _verify(path: Path, opened: xr.Dataset, name: str) -> None:
    """Raise FileDamaged unless a variable of an opened part matches its checksum.

    Once a process for each file: a second read of the same part costs nothing more.
    """
    stored = opened[name].attrs.get(netcdf.CHECKSUM)
    status = os.stat(path)
    key = (str(path), status.st_mtime_ns, status.st_size, name)
    if stored is None or key in _verified:
        return
    if stored != _checksum_in_blocks(opened[name].variable):
        raise _damaged(path, repr(name))
    _verified.add(key)


def _checksum_in_blocks(variable: xr.Variable) -> str:
    """`netcdf.checksum` of a variable in a file, of which a block at a time is in memory."""
    dtype = variable.dtype
    if dtype.kind not in "biuf" or not variable.ndim or variable.nbytes <= _BLOCK:
        return netcdf.checksum(variable.values)
    little = dtype.newbyteorder("<")
    found = hashlib.sha256(f"{little.str}{variable.shape}".encode())
    rows = max(1, _BLOCK * variable.shape[0] // variable.nbytes)
    for at in range(0, variable.shape[0], rows):
        block = variable.isel({variable.dims[0]: slice(at, at + rows)}).values
        found.update(np.ascontiguousarray(block).astype(little, copy=False).tobytes())
    return found.hexdigest()


class _PartsArray(BackendArray):
    """One variable over all parts, the trajectory axis first."""

    def __init__(
        self, paths: list[Path], starts: np.ndarray, name: str, like: xr.DataArray
    ) -> None:
        self.paths, self.starts, self.name = paths, starts, name
        self.shape = (int(starts[-1]), *like.shape[1:])
        # The width of text differs between parts; object holds any.
        self.dtype = np.dtype(object) if like.dtype.kind in "OUS" else like.dtype

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple) -> np.ndarray:
        """Values of an outer index: one index for each axis, the first over all trajectories."""
        wanted = np.arange(self.shape[0])[key[0]]
        scalar = np.ndim(wanted) == 0
        wanted = np.atleast_1d(wanted)
        part_of = np.searchsorted(self.starts, wanted, side="right") - 1
        rows_read = [np.empty(0)] * len(wanted)  # in the order of the index, which may be any
        for part in np.unique(part_of):
            here = np.flatnonzero(part_of == part)
            rows = wanted[here] - self.starts[part]
            values = self._read_part(self.paths[part], rows, key[1:])
            for i, row in zip(here, values, strict=True):
                rows_read[i] = row
        if not rows_read:
            empty = np.empty((0, *self.shape[1:]), self.dtype)
            return empty[(slice(None), *key[1:])]
        out = np.stack(rows_read).astype(self.dtype, copy=False)
        return out[0] if scalar else out

    def _read_part(self, path: Path, rows: np.ndarray, inner: tuple) -> np.ndarray:
        """Rows of the variable in one part, and an index for each other axis."""
        try:
            # Opened for each read: a dataset may have more parts than a process may hold open.
            with xr.open_dataset(path, engine="netcdf4", decode_times=False, cache=False) as opened:
                _verify(path, opened, self.name)
                variable = opened[self.name].variable
                others = dict(zip(variable.dims[1:], inner, strict=True))
                return variable.isel({variable.dims[0]: rows, **others}).values
        except PympnodeError:
            raise
        except FileNotFoundError as error:
            raise MissingFile(f"the part {str(path)!r} was removed", fix=_REMAKE_MISSING) from error
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            raise FileDamaged(
                f"{path.name!r} cannot be read",
                got=f"{type(error).__name__}: {one_line(error)}",
                allowed="a complete netCDF file",
                fix=_REMAKE,
            ) from error
