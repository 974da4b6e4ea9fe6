"""Datasets larger than memory: whole netCDF parts of 64 trajectories, opened as one lazy Dataset.

A folder holds ``index.json`` (what the dataset is, and which parts are whole), ``part-00000.nc``
and so on, and, while it grows, ``building/`` with finished single trajectories. A part enters the
index only when it is on disk, so a reader at any moment sees whole parts only.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from ..errors import FileDamaged, InvalidData, MissingFile, NotEnoughDisk
from ..files import netcdf
from ..files.memory import format_bytes
from .names import TRAJECTORY

PART = 64  # trajectories in a part
INDEX = "index.json"
FORMAT = "pympnode parts 1"
_HEADROOM = 1.02  # of netCDF over the bare arrays, and a little for the folder


@dataclass(frozen=True)
class Index:
    """The content of ``index.json``: the recipe as JSON, trajectories in all, whole parts."""

    recipe: str
    trajectories: int
    whole: tuple[int, ...]

    @property
    def parts(self) -> int:
        """How many parts the finished dataset has."""
        return -(-self.trajectories // PART)

    @property
    def complete(self) -> bool:
        return len(self.whole) == self.parts

    def members(self, part: int) -> range:
        """Trajectories of a part."""
        return range(part * PART, min((part + 1) * PART, self.trajectories))


def part_name(part: int) -> str:
    return f"part-{part:05d}.nc"


def read_index(folder: Path) -> Index | None:
    """The index of a folder; None if there is none. Raises FileDamaged."""
    path = folder / INDEX
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_text())
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        index = Index(
            json.dumps(content["recipe"], sort_keys=True),
            int(content["trajectories"]),
            tuple(sorted(int(part) for part in content["whole"])),
        )
        if not all(0 <= part < index.parts for part in index.whole):
            raise ValueError("a part number out of range")
        return index
    except (ValueError, KeyError, TypeError) as error:
        raise FileDamaged(
            f"{str(path)!r} is no index of ours",
            got=f"{type(error).__name__}: {error}",
            allowed=f'JSON with format "{FORMAT}"',
            fix="restore it, or move the folder away and make the dataset again",
        ) from error


def write_index(folder: Path, index: Index) -> None:
    """Put the index in place in one step."""
    content = {
        "format": FORMAT,
        "recipe": json.loads(index.recipe),
        "trajectories": index.trajectories,
        "whole": list(index.whole),
    }
    netcdf.write_bytes(folder / INDEX, json.dumps(content, indent=1).encode())


def require_disk(folder: Path, needed: int) -> int:
    """Bytes free where ``folder`` is or will be; NotEnoughDisk if ``needed`` is more."""
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    needed = int(needed * _HEADROOM)
    if needed > free:
        raise NotEnoughDisk(
            f"the dataset does not fit on the disk of {str(place)!r}",
            got=f"{needed:,} bytes still to write ({format_bytes(needed)})",
            allowed=f"{free:,} bytes free ({format_bytes(free)})",
            fix='choose another path, dtype="float32", or fewer trajectories, steps or particles',
        )
    return free


# ---- reading ----------------------------------------------------------------------------------


def open_parts(folder: str | os.PathLike[str]) -> xr.Dataset:
    """All whole parts of a folder as one Dataset, read from disk only where it is indexed.

    Works while the dataset grows: later calls see more trajectories, numbered as in the finished
    dataset. Raises MissingFile, FileDamaged (a part that is cut short), InvalidData (nothing whole
    yet).
    """
    folder = Path(folder)
    index = read_index(folder)
    if index is None:
        raise MissingFile(
            f"there is no dataset in {str(folder)!r}",
            got=str(folder),
            allowed=f"a folder with {INDEX}",
        )
    if not index.whole:
        raise InvalidData(
            f"no part of {str(folder)!r} is whole yet",
            got=f"0 of {index.parts} parts",
            fix="wait for the first part; the process that makes it tells how long",
        )
    first = _open_part(folder / part_name(index.whole[0]))
    starts = np.concatenate([[0], np.cumsum([len(index.members(p)) for p in index.whole])])
    trajectories = np.concatenate([np.array(index.members(p)) for p in index.whole])
    paths = [folder / part_name(part) for part in index.whole]
    for path, count in zip(paths, np.diff(starts), strict=True):
        found = _open_part(path).sizes[TRAJECTORY]
        if found != count:
            raise FileDamaged(
                f"{path.name!r} does not hold what the index says",
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
        variables[str(name)] = xr.Variable(variable.dims, data, variable.attrs)
    coords = {
        str(name): coord.variable
        for name, coord in first.coords.items()
        if TRAJECTORY not in coord.dims
    }
    coords[TRAJECTORY] = xr.Variable(TRAJECTORY, trajectories)
    return xr.Dataset(variables, coords=coords, attrs=first.attrs)


def _open_part(path: Path) -> xr.Dataset:
    try:
        with xr.open_dataset(path, engine="netcdf4", decode_times=False, cache=False) as opened:
            return opened
    except FileNotFoundError as error:
        raise MissingFile(f"the index names a part that is not there: {str(path)!r}") from error
    except Exception as error:  # the netCDF library raises OSError, RuntimeError, KeyError, ...
        raise FileDamaged(
            f"{path.name!r} cannot be read as netCDF",
            got=f"{type(error).__name__}: {error}",
            allowed="a whole part",
            fix="delete it and its number in the index; the call that made it makes it again",
        ) from error


class _PartsArray(BackendArray):
    """One variable over all parts, the trajectory axis first."""

    def __init__(
        self, paths: list[Path], starts: np.ndarray, name: str, like: xr.DataArray
    ) -> None:
        self.paths, self.starts, self.name = paths, starts, name
        self.shape = (int(starts[-1]), *like.shape[1:])
        # Text is of another width in another part: object holds them all.
        self.dtype = np.dtype(object) if like.dtype.kind in "OUS" else like.dtype

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple) -> np.ndarray:
        wanted = np.arange(self.shape[0])[key[0]]
        scalar = np.ndim(wanted) == 0
        wanted = np.atleast_1d(wanted)
        home = np.searchsorted(self.starts, wanted, side="right") - 1
        # One inner index for every other axis; outer indexing takes them axis by axis.
        pieces = [np.empty(0)] * len(wanted)
        for part in np.unique(home):
            here = np.flatnonzero(home == part)
            rows = wanted[here] - self.starts[part]
            with xr.open_dataset(
                self.paths[part], engine="netcdf4", decode_times=False, cache=False
            ) as opened:
                variable = opened[self.name].variable
                inner = dict(zip(variable.dims[1:], key[1:], strict=True))
                values = variable.isel({variable.dims[0]: rows, **inner}).values
            for place, row in zip(here, values, strict=True):
                pieces[place] = row
        if not pieces:
            empty = np.empty((0, *self.shape[1:]), self.dtype)
            return empty[(slice(None), *key[1:])]
        out = np.stack(pieces).astype(self.dtype, copy=False)
        return out[0] if scalar else out
