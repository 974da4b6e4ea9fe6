"""Datasets that are read chunk by chunk: where the chunks lie, and one chunk in memory at a time.

A chunk is what the store, or Dask, holds together: some trajectories with all of their times, or, of
long recordings that are cut in time too, a stretch of times of some trajectories.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import FileDamaged, InvalidData, PympnodeError, one_line
from ..files.netcdf import LOCK, checksum
from .names import TIME, TRAJECTORY

T = TypeVar("T")
R = TypeVar("R")

STREAMED_BYTES = 1 << 30
"""Values of a store beyond which it is opened lazily, and trained on chunk by chunk."""

CHUNK_BYTES = 1 << 24  # of a chunk, where the data say nothing of chunks
LEAST_TIMES = 1000  # of a chunk in time: shorter ones are joined, so that windows fit well into it


@dataclass(frozen=True)
class Chunk:
    """Trajectories ``first`` to ``last`` - 1, at times ``begin`` to ``end`` - 1."""

    first: int
    last: int
    begin: int
    end: int

    @property
    def times(self) -> int:
        """Number of times."""
        return self.end - self.begin


def in_memory(ds: xr.Dataset) -> bool:
    """Whether the largest variable of a dataset is an array in memory."""
    return bool(ds.variables) and bool(_largest(ds)._in_memory)


def is_dask(ds: xr.Dataset) -> bool:
    """Whether a variable of a dataset is a Dask array."""
    return any(variable.chunks is not None for variable in ds.variables.values())


def bytes_of(ds: xr.Dataset) -> int:
    """Bytes of all values of a dataset; none is read."""
    return sum(int(variable.nbytes) for variable in ds.variables.values())


def _largest(ds: xr.Dataset) -> xr.Variable:
    return max(ds.variables.values(), key=lambda variable: variable.nbytes)


def _varies(variable: xr.Variable) -> bool:
    return bool({TRAJECTORY, TIME} & set(variable.dims))


class ChunkedDataset:
    """A dataset of which one chunk at a time is read.

    ``chunks`` cover all trajectories and times, in order. ``constants``: the variables without
    trajectories and times, in memory; they may be replaced. Raises `InvalidData` without trajectories
    and times.
    """

    def __init__(self, ds: xr.Dataset) -> None:
        if not {TRAJECTORY, TIME} <= set(ds.dims) or 0 in ds.sizes.values():
            raise InvalidData(
                "data that are read in chunks have trajectories and times",
                got=f"dims {dict(ds.sizes)}",
                allowed=f"state({TRAJECTORY}, {TIME}, ...)",
                fix="make such a dataset: pympnode.from_arrays, pympnode.from_frame",
            )
        self._names = [name for name, v in ds.variables.items() if _varies(v)]
        self.constants = _loaded(ds.drop_vars(self._names))
        # Coordinates and labels are small, and needed as a whole.
        thin = [n for n in self._names if n != _name_of_largest(ds) and ds[n].ndim == 1]
        read = _loaded(ds[thin]) if thin else xr.Dataset()
        self.ds = ds.assign({n: read[n] for n in thin if n not in ds.coords}).assign_coords(
            {n: read[n] for n in thin if n in ds.coords}
        )
        trajectories, times = _bounds(ds)
        self.chunks = [
            Chunk(first, last, begin, end)
            for first, last in itertools.pairwise(trajectories)
            for begin, end in itertools.pairwise(times)
        ]

    @property
    def cut_in_time(self) -> bool:
        """Whether a chunk holds a part of the times."""
        return self.chunks[0].end < self.ds.sizes[TIME]

    @property
    def chunk_bytes(self) -> int:
        """Bytes of the largest chunk."""
        whole = self.ds.sizes[TRAJECTORY] * self.ds.sizes[TIME]
        most = max((c.last - c.first) * c.times for c in self.chunks)
        return int(bytes_of(self.ds) * most / whole)

    def read(self, number: int, rows: NDArray[np.int64] | None = None) -> xr.Dataset:
        """A chunk in memory, with the constants; ``rows``: the numbers of some of its trajectories.

        The times of a chunk that is cut in time begin with those of the first chunk, so that all have the
        same. Raises `FileDamaged` where it cannot be read.
        """
        chunk = self.chunks[number]
        part = self.ds[self._names].isel(
            {TRAJECTORY: slice(chunk.first, chunk.last), TIME: slice(chunk.begin, chunk.end)}
        )
        part = _loaded(part)
        if rows is not None and len(rows) < part.sizes[TRAJECTORY]:
            part = part.isel({TRAJECTORY: rows})
        if chunk.begin and TIME in part.coords:
            first = self.ds[TIME].values[: chunk.times]
            part = part.assign_coords({TIME: (TIME, first, part[TIME].attrs)})
        constants = self.constants
        variables = {**constants.variables, **part.variables}
        coords = {*constants.coords, *part.coords}
        return xr.Dataset(
            {n: v for n, v in variables.items() if n not in coords},
            coords={n: v for n, v in variables.items() if n in coords},
            attrs=constants.attrs,
        )

    def checksum_of(self, ds: xr.Dataset) -> str:
        """SHA-256 of the values of a chunk that `read` returned."""
        found = hashlib.sha256()
        for name in sorted(map(str, self._names)):
            found.update(name.encode() + checksum(ds[name].values).encode())
        return found.hexdigest()


def joined(parts: Sequence[xr.Dataset]) -> xr.Dataset:
    """Chunks of the same times as one dataset, one after the other."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    variables: dict[Any, xr.Variable] = {}
    for name, variable in first.variables.items():
        if TRAJECTORY in variable.dims:
            variable = xr.Variable.concat([part.variables[name] for part in parts], TRAJECTORY)
        variables[name] = variable
    return xr.Dataset(
        {n: v for n, v in variables.items() if n not in first.coords},
        coords={n: v for n, v in variables.items() if n in first.coords},
        attrs=first.attrs,
    )


def _name_of_largest(ds: xr.Dataset) -> Any:
    return max(ds.variables, key=lambda name: ds.variables[name].nbytes)


def _loaded(ds: xr.Dataset) -> xr.Dataset:
    """``ds`` in memory. Raises `FileDamaged` for what the reader raises."""
    try:
        with LOCK:  # the netCDF library has no threads, and checkpoints are written meanwhile
            return ds.compute()
    except (PympnodeError, MemoryError):
        raise
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise FileDamaged(
            "a chunk of the data cannot be read",
            got=f"{type(error).__name__}: {one_line(error)}",
            allowed="values that can be read",
            fix="restore the file, or make the data again",
        ) from error


def _bounds(ds: xr.Dataset) -> tuple[list[int], list[int]]:
    """Where chunks begin along trajectories and times, and the end."""
    whole = {dim: ds.sizes[dim] for dim in (TRAJECTORY, TIME)}
    many = [v for v in ds.variables.values() if {TRAJECTORY, TIME} <= set(v.dims)]
    variable = max(many, key=lambda v: v.nbytes, default=_largest(ds))
    found: dict[Any, list[int]] = {}
    if variable.chunks is not None:
        for dim, sizes in zip(variable.dims, variable.chunks, strict=True):
            found[dim] = [0, *np.cumsum(sizes).tolist()]
    else:
        stored = variable.encoding.get("preferred_chunks") or {}
        for dim, size in stored.items():
            if dim in whole:
                found[dim] = [*range(0, whole[dim], int(size)), whole[dim]]
        if not found:
            rows = max(1, CHUNK_BYTES * whole[TRAJECTORY] // max(1, variable.nbytes))
            found[TRAJECTORY] = [*range(0, whole[TRAJECTORY], rows), whole[TRAJECTORY]]
    times = _at_least(found.get(TIME, [0, whole[TIME]]), LEAST_TIMES)
    return found.get(TRAJECTORY, [0, whole[TRAJECTORY]]), times


def _at_least(bounds: list[int], least: int) -> list[int]:
    """Bounds with as many of them left out that each part has ``least``; the last one may be longer."""
    out = [bounds[0]]
    for bound in bounds[1:]:
        if bound - out[-1] >= least:
            out.append(bound)
    if out[-1] != bounds[-1]:
        out[-1 if len(out) > 1 else len(out) :] = [bounds[-1]]
    return out


def ahead(load: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """``load(item)`` of each item in order, the next one in a thread while one is used.

    Two results are held at a time, here and by the caller together.
    """
    todo = iter(items)
    with ThreadPoolExecutor(1, thread_name_prefix="pympnode-read") as thread:
        pending = None
        for item in todo:
            pending = thread.submit(load, item)
            break
        while pending is not None:
            result = pending.result()
            pending = None
            for item in todo:
                pending = thread.submit(load, item)
                break
            yield result
            del result
