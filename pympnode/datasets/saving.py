"""Datasets written so that they can be read chunk by chunk: Zarr stores, and folders of netCDF parts."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..config import path as path_of
from ..config import whole
from ..errors import InvalidData, InvalidOption
from ..files.netcdf import CHECKSUM, RECORD, RECORD_CHECKSUM, checksum, flush_folder, write_netcdf
from ..files.writing import make_folder, writing
from .chunks import CHUNK_BYTES, LEAST_TIMES, bytes_of, is_dask
from .names import TIME, TRAJECTORY
from .parts import INDEX, Index, part_name, require_disk, write_index
from .stores import BY_CHUNK, optional_package

_LONG_BYTES = 1 << 26  # of one trajectory, beyond which it is cut in time


def save_dataset(ds: xr.Dataset, path: str | os.PathLike[str], *, chunk: int | None = None) -> Path:
    """Write a dataset of networks or of particles so that `open_dataset` and `train` read it.

    ds: also one of Dask arrays, or opened lazily: one chunk at a time is in memory.
    path: ``"data.zarr"`` for a Zarr store (format 3), ``"data.nc"`` for one netCDF file, and a name
        without an ending for a folder of netCDF parts of 64 trajectories.
    chunk: trajectories in a chunk of a Zarr store; by default about 16 MiB, and long trajectories (of more
        than 64 MiB) are cut in time.
    Returns: the path. Values have checksums, which are compared when they are read.
    Raises: `InvalidOption` for another ending and where a store or folder is there already, `InvalidData`
        for what is no dataset with trajectories and times, `NotEnoughDisk`, `CannotWrite`, and
        `EngineUnavailable` where zarr is not installed.

    >>> import pympnode
    >>> ds = pympnode.simulate("heat", nodes=4, trajectories=2, steps=3)
    >>> pympnode.save_dataset(ds, "heat_parts").name
    'heat_parts'
    >>> pympnode.open_dataset("heat_parts").state.shape
    (2, 4, 4, 1)
    """
    if not isinstance(ds, xr.Dataset):
        raise InvalidData(
            "only a dataset is saved",
            got=type(ds).__name__,
            allowed="xarray.Dataset",
            fix="make one of arrays: pympnode.from_arrays; models are saved by model.save",
        )
    if chunk is not None:
        chunk = whole("chunk", chunk, 1)
    target = path_of("path", path)
    ending = target.suffix.lower()
    if ending not in (".zarr", ".nc", ""):
        raise InvalidOption(
            "the ending of the path says what is written",
            got=target.name,
            allowed="NAME.zarr, NAME.nc, or NAME for a folder of parts",
            fix=f"give {str(target.with_suffix('.zarr'))!r}",
        )
    if ending == ".nc":
        return write_netcdf(ds.compute(), target, checksums=True)
    if not {TRAJECTORY, TIME} <= set(ds.dims) or 0 in (ds.sizes[TRAJECTORY], ds.sizes[TIME]):
        raise InvalidData(
            "what is saved in chunks has trajectories and times",
            got=f"dims {dict(ds.sizes)}",
            allowed=f"variables over ({TRAJECTORY}, {TIME}, ...)",
            fix="save it as one file: NAME.nc",
        )
    refuse_existing(target)
    if ending == "":
        return _save_parts(ds, target)
    with zarr_writer(target, ds, chunk) as writer:
        for rows, times in writer.blocks():
            part = {TRAJECTORY: slice(*rows), TIME: slice(*times)}
            named = {
                name: ds[name].variable.isel(part, missing_dims="ignore") for name in writer.large
            }
            writer.write(rows, times, named)
    return target


def refuse_existing(path: Path) -> None:
    """Raise `InvalidOption` where something is at ``path``: a store or folder is not replaced."""
    if path.exists() or path.is_symlink():
        raise InvalidOption(
            f"{str(path)!r} is there already",
            got="a folder" if path.is_dir() else "a file",
            allowed="a path where nothing is",
            fix="remove it, or give another path",
        )


def _save_parts(ds: xr.Dataset, folder: Path) -> Path:
    total = ds.sizes[TRAJECTORY]
    require_disk(folder, bytes_of(ds))
    names = [name for name, v in ds.data_vars.items() if TRAJECTORY in v.dims]
    ds = ds.assign({name: ds[name].transpose(TRAJECTORY, ...) for name in names})
    with _replacing(folder) as temporary:
        index = Index("{}", total, ())
        for part in range(index.parts):
            rows = index.members(part)
            one = ds.isel({TRAJECTORY: slice(rows.start, rows.stop)}).compute()
            write_netcdf(one, temporary / part_name(part), checksums=True)
        write_index(temporary, Index("{}", total, tuple(range(index.parts))))
    assert (folder / INDEX).exists()
    return folder


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A folder that gets the name ``path`` when the block ends, and is removed where it fails."""
    make_folder(path.parent)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(8)}.part"
    try:
        with writing(path):
            temporary.mkdir()
            yield temporary
            os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    flush_folder(path.parent)


class ZarrWriter:
    """A store that is written chunk by chunk. ``large``: names of the variables that `write` takes;
    the others are written by `finish`, from the dataset ``rest``. ``trajectories``: their number in the
    store, by default that of ``ds``. ``goes_on``: the store has been begun by the same call."""

    def __init__(
        self,
        folder: Path,
        ds: xr.Dataset,
        chunk: int | None,
        trajectories: int | None = None,
        *,
        goes_on: bool = False,
    ) -> None:
        zarr = optional_package("zarr", "a Zarr store")
        if int(zarr.__version__.split(".")[0]) < 3:
            raise InvalidOption(
                "stores are written in format 3 of Zarr",
                got=f"zarr {zarr.__version__}",
                allowed="zarr 3 or later",
                fix='pip install "zarr>=3"',
            )
        self._folder, self._ds, self.rest = folder, ds, ds
        total = ds.sizes[TRAJECTORY] if trajectories is None else trajectories
        self._sizes: dict[Any, int] = {TRAJECTORY: total, TIME: ds.sizes[TIME]}
        self.large = [
            name for name, v in ds.variables.items()
            if v.ndim > 1 and {TRAJECTORY, TIME} & set(v.dims) and v.dtype.kind in "biuf"
        ]  # fmt: skip
        self._chunk = _chunk_sizes(ds, self.large, chunk)
        if goes_on:
            group = zarr.open_group(str(folder), mode="r+", zarr_format=3)
        else:
            group = zarr.create_group(str(folder), zarr_format=3)
        self._arrays: dict[Any, Any] = {}
        for name in self.large:
            variable = ds.variables[name]
            if name in ds.coords:
                continue
            if goes_on:
                self._arrays[name] = group[str(name)]
                continue
            shape = {dim: self._sizes.get(dim, size) for dim, size in variable.sizes.items()}
            self._arrays[name] = group.create_array(
                str(name),
                shape=tuple(shape.values()),
                chunks=tuple(self._chunk.get(dim, size) for dim, size in shape.items()),
                dtype=variable.dtype,
                fill_value=np.nan if variable.dtype.kind == "f" else 0,
                # Bytes of equal weight side by side: smaller, and read sooner, than zstd of the numbers.
                compressors=[
                    zarr.codecs.BloscCodec(cname="lz4", shuffle="shuffle"),
                    zarr.codecs.Crc32cCodec(),
                ],
                dimension_names=[str(dim) for dim in variable.dims],
                attributes={**_plain(variable.attrs), CHECKSUM: BY_CHUNK},
                # A chunk that is missing is told from one that holds the value that fills.
                config={"write_empty_chunks": True},
            )  # fmt: skip
        self.large = list(self._arrays)

    def blocks(self) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Trajectories and times (first, last + 1) of the chunks, in order."""
        steps = [(self._sizes[dim], self._chunk[dim]) for dim in (TRAJECTORY, TIME)]
        rows, times = [
            [(first, min(first + step, size)) for first in range(0, size, step)]
            for size, step in steps
        ]
        for block in rows:
            for time in times:
                yield block, time

    def write(
        self, rows: tuple[int, int], times: tuple[int, int], values: Mapping[Any, xr.Variable]
    ) -> None:
        """The values of a block, by name."""
        at = {TRAJECTORY: slice(*rows), TIME: slice(*times)}
        for name, variable in values.items():
            dims = self._ds.variables[name].dims
            if (TRAJECTORY not in dims and rows[0]) or (TIME not in dims and times[0]):
                continue  # written with the first block
            where = tuple(at.get(dim, slice(None)) for dim in dims)  # type: ignore[call-overload]
            self._arrays[name][where] = np.asarray(variable.transpose(*dims).values)

    def finish(self, more: Mapping[str, str] | None = None) -> None:
        """Write what is not large, and the attributes; ``more``: others of them."""
        small = self.rest.drop_vars(self.large, errors="ignore").compute()
        for name, variable in small.variables.items():
            values = variable.values
            if values.dtype.kind in "US":  # text of fixed width has no specification in format 3
                values = values.astype(object)
            attrs = {**variable.attrs, CHECKSUM: checksum(values)}
            changed = xr.Variable(variable.dims, values, attrs)
            if name in small.coords:
                small = small.assign_coords({name: changed})
            else:
                small = small.assign({name: changed})
        small.attrs[RECORD_CHECKSUM] = checksum(small.attrs.get(RECORD, ""))
        small.attrs |= dict(more or {})
        small.to_zarr(self._folder, mode="a", zarr_format=3, consolidated=False)


@contextmanager
def zarr_writer(path: Path, ds: xr.Dataset, chunk: int | None = None) -> Iterator[ZarrWriter]:
    """A writer of a store like ``ds``, whose values are not read, but for what is not large."""
    require_disk(path, bytes_of(ds))
    with _replacing(path) as temporary:
        writer = ZarrWriter(temporary, ds, chunk)
        yield writer
        writer.finish()


def _chunk_sizes(ds: xr.Dataset, names: list[Any], chunk: int | None) -> dict[Any, int]:
    """Trajectories and times in a chunk."""
    trajectories, times = ds.sizes[TRAJECTORY], ds.sizes[TIME]
    sized = [ds.variables[name] for name in names]
    most = max((v.nbytes // trajectories for v in sized if TRAJECTORY in v.dims), default=1)
    state = max(sized, key=lambda v: v.nbytes, default=None)
    rows = max(1, CHUNK_BYTES // max(most, 1))
    if chunk is not None:
        rows = chunk
    elif state is not None and state.chunks is not None and is_dask(ds):
        given = dict(zip(state.dims, state.chunks)).get(TRAJECTORY, (rows,))
        rows = given[0] if most * given[0] <= 4 * CHUNK_BYTES else rows
    found = {TRAJECTORY: rows if chunk is not None else min(rows, trajectories), TIME: times}
    if chunk is None and most > _LONG_BYTES:
        found[TIME] = min(times, max(LEAST_TIMES, CHUNK_BYTES * times // most))
    return found


def _plain(attrs: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(k): v.tolist() if hasattr(v, "tolist") else v for k, v in attrs.items()}
