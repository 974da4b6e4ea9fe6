"""Training data that are larger than memory: read chunk by chunk, of which some are held.

One pass over all chunks finds the scales, the ranges, and the checksum of the data. A sample of the chunks
stays in memory: what looks at all data otherwise (windows, the validation loss, baselines) looks at the
sample. The other chunks are read when an epoch comes to them, in an order that is drawn anew for each epoch.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.chunks import (
    STREAMED_BYTES,
    ChunkedDataset,
    ahead,
    bytes_of,
    in_memory,
    is_dask,
    joined,
)
from ..datasets.names import NODE_NUMBER, SPLIT, TIME, TRAJECTORY
from ..datasets.split import check_split, is_unsplit, labels_of
from ..datasets.times import even_times, rounding
from ..errors import InvalidData, InvalidOption
from ..files.netcdf import checksum
from ..memory import format_bytes, need
from .progress import Progress, Silent

logger = logging.getLogger("pympnode.training")

Ints = NDArray[np.int64]

LEAST_CHUNKS = 3  # one in use, one that is read meanwhile, one in the sample
_HELD_BYTES = 1 << 27  # of the chunks in memory, where their number is not given
_MOST_CHUNKS = 64
_COPIES = 3  # of a chunk, about: as it is stored, checked, and in z units


def streams(datasets: Sequence[xr.Dataset], chunks_in_memory: int | None) -> bool:
    """Whether to read data chunk by chunk: where a number of chunks is given, of Dask arrays, and of
    stores whose values are larger than `STREAMED_BYTES`."""
    if chunks_in_memory is not None:
        return True
    return any(
        is_dask(ds) or (not in_memory(ds) and bytes_of(ds) > STREAMED_BYTES) for ds in datasets
    )


class ChunkStream:
    """One dataset that is read chunk by chunk.

    ``sample``: some of the chunks, in memory, as one dataset with labels. ``group``: chunks that are in use
    together. ``unit_chunk``, ``unit_row``, ``unit_steps`` (unit,): the trajectories of chunks that train, by
    the number of the chunk, the row in it, and the number of intervals. ``fingerprint``: after `once`.
    ``refers``: what refers to the sample, in words.

    Raises `InvalidOption` and `InvalidData` for data that are not read so.
    """

    refers = "the validation loss and the baselines"
    fingerprint: dict[str, Any]

    def __init__(
        self,
        ds: xr.Dataset,
        *,
        chunks_in_memory: int | None,
        split: float,
        seed: int,
        members: int = 1,
    ) -> None:
        check_split(ds)
        self.data = ChunkedDataset(ds)
        self.chunks = self.data.chunks
        if self.data.cut_in_time:
            self.require_alike(ds)
        size = max(1, self.data.chunk_bytes)
        held = max(6, min(_MOST_CHUNKS, _HELD_BYTES // size))
        if chunks_in_memory is not None:
            held = chunks_in_memory
        # A third in use, a third that is read meanwhile, and the rest in the sample.
        self.group = max(1, held // 3 // members)
        self.labels = self._label(ds, split, seed)
        if not any((labels == "train").any() for labels in self.labels):
            raise InvalidData(
                "there are no trajectories to train on",
                got="none with the label train",
                allowed="at least one",
                fix="give more trajectories, or a larger split=",
            )
        self.sampled = self._choose(held - 2 * self.group * members)
        self.in_memory = min(len(self.chunks), len(self.sampled) + 2 * self.group * members)
        need(
            _COPIES * self.in_memory * size,
            f"{self.in_memory} chunks of {format_bytes(size)} with their copies",
            "store smaller chunks: pympnode.save_dataset(ds, path, chunk=), ds.chunk(trajectory=); or "
            f"chunks_in_memory={LEAST_CHUNKS}",
        )
        self.sample = self._with_labels(joined([self.data.read(n) for n in self.sampled]))
        rows = [np.flatnonzero(labels == "train") for labels in self.labels]
        self.unit_row = np.concatenate(rows)
        self.unit_chunk = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
        if not len(self.unit_row):
            raise InvalidData(
                "there are no trajectories to train on",
                got="none with the label train",
                allowed="at least one",
                fix="give more trajectories, or a larger split=",
            )
        steps = np.array([chunk.times - 1 for chunk in self.chunks], np.int64)
        self.unit_steps = steps[self.unit_chunk]
        of = len(self.chunks)
        self.text = (
            f"{format_bytes(bytes_of(ds))} in {of:,} chunks of {format_bytes(size)}, of which "
            f"{self.in_memory:,} are in memory at a time; {len(self.sampled):,} of them are a sample, to "
            f"which {self.refers} refer"
        )

    # ---- where the chunks are -------------------------------------------------------------------

    def require_alike(self, ds: xr.Dataset) -> None:
        """Raise `InvalidData` unless chunks in time have the same times."""
        times = even_times(ds[TIME].values)
        interval = np.diff(times)
        if not np.allclose(interval, interval[0], rtol=1e-6, atol=2.0 * rounding(times)):
            raise InvalidData(
                "data on an uneven time grid are not read in chunks of time",
                got=f"intervals from {interval.min():.4g} to {interval.max():.4g}",
                allowed="an even grid, or chunks that hold all times of a trajectory",
                fix="ds.chunk(trajectory=1, time=-1), or ds.interp(time=...)",
            )

    def _label(self, ds: xr.Dataset, split: float, seed: int) -> list[NDArray[np.str_]]:
        """The labels (trajectory,) of each chunk. One recording is split in time, by its chunks."""
        count = len(self.chunks)
        chosen = SPLIT in ds and not is_unsplit(ds)
        if ds.sizes[TRAJECTORY] == 1 and count > 1 and not chosen and split < 1:
            train = min(max(1, round(split * count)), count - 1)
            return [np.array(["train" if n < train else "validation"]) for n in range(count)]
        labels = labels_of(ds, split, seed)
        return [labels[chunk.first : chunk.last] for chunk in self.chunks]

    def _choose(self, most: int) -> list[int]:
        """The numbers of the chunks of the sample, at even distances; with validation where there is some."""
        times = self.chunks[0].times
        alike = [n for n, chunk in enumerate(self.chunks) if chunk.times == times]
        useful = [n for n in alike if (self.labels[n] != "test").any()]
        if len(useful) <= most:
            return useful
        held_out = [n for n in useful if (self.labels[n] == "validation").any()]
        train = [n for n in useful if (self.labels[n] == "train").any()]
        chosen = set(_even(held_out, most // 2 if most > 1 else 1))
        chosen |= set(_even([n for n in train if n not in chosen], most - len(chosen)))
        if not any((self.labels[n] == "train").any() for n in chosen):
            chosen |= set(train[:1])
        return sorted(chosen)

    def _with_labels(self, ds: xr.Dataset) -> xr.Dataset:
        labels = np.concatenate([self.labels[n] for n in self.sampled])
        numbers = np.concatenate([self._numbers(n) for n in self.sampled])
        return ds.assign({SPLIT: (TRAJECTORY, labels)}).assign_coords({TRAJECTORY: numbers})

    def _numbers(self, chunk: int) -> NDArray[np.int64]:
        return np.arange(self.chunks[chunk].first, self.chunks[chunk].last)

    def trajectory(self, unit: int) -> int:
        """The number in the data of a trajectory that trains."""
        return int(self.chunks[self.unit_chunk[unit]].first + self.unit_row[unit])

    def units_of(self, chunk: int) -> NDArray[np.int64]:
        """The numbers of the trajectories of a chunk that train."""
        first, last = np.searchsorted(self.unit_chunk, [chunk, chunk + 1])
        return np.arange(first, last)

    # ---- one pass over everything ---------------------------------------------------------------

    def once(
        self, progress: Progress | None = None
    ) -> Iterator[tuple[xr.Dataset, NDArray[np.str_]]]:
        """Each chunk that has other than test trajectories, and the labels (trajectory,) of it; makes the
        fingerprint of everything that is read."""
        logger.info("streamed data: %s", self.text)
        meter = progress or Silent()
        values, marks = hashlib.sha256(), hashlib.sha256()

        def read(number: int) -> tuple[xr.Dataset, str]:
            ds = self.data.read(number)
            return ds, self.data.checksum_of(ds)

        meter.start(len(self.chunks), 0, "scales of the data")
        try:
            for number, (ds, digest) in enumerate(ahead(read, range(len(self.chunks)))):
                values.update(digest.encode())
                marks.update(checksum(self.labels[number]).encode())
                if (self.labels[number] != "test").any():
                    yield ds, self.labels[number]
                meter.update(number + 1, {})
        finally:
            meter.stop()
        labels = np.concatenate(self.labels)
        for name in sorted(map(str, self.data.constants.variables)):
            if name != NODE_NUMBER:  # follows from the number of nodes; older files lack it
                values.update(name.encode() + checksum(self.data.constants[name].values).encode())
        bounds = [[c.first, c.last, c.begin, c.end] for c in self.chunks]
        self.fingerprint = {
            "sha256": values.hexdigest(),
            "split": {
                **{name: [int((labels == name).sum())] for name in ("train", "validation", "test")},
                "sha256": marks.hexdigest(),
            },
            "chunks": {
                "sha256": checksum(np.array(bounds)),
                "together": self.group,
                "sample": self.sampled,
            },
        }

    # ---- the order of an epoch ------------------------------------------------------------------

    def groups(self, used: Ints, rng: np.random.Generator) -> list[Ints]:
        """The numbers of chunks that are in use together, those of ``used`` in random order."""
        count = -(-len(used) // self.group)
        # Without a choice nothing is drawn: the numbers are then those of data in memory.
        order = rng.permutation(used) if count > 1 else used
        return [np.sort(chunks) for chunks in np.array_split(order, count)]


@dataclass(frozen=True, eq=False)
class Part:
    """A part of an epoch: the chunks that are read for it, what is left of the part before (items), its
    items in the order of the batches, ``left`` among them, and those that are left for the next part."""

    chunks: Ints
    left: Ints
    order: Ints
    beyond: Ints


def parts_of_epoch(
    groups: Sequence[Ints], draw: Callable[[Ints, int], Ints], wanted: int, size: int
) -> Iterator[Part]:
    """The parts of an epoch of ``wanted`` items in batches of ``size``, drawn one after the other: an
    epoch may be long.

    ``draw(chunks, most)``: at most so many items of some chunks, in random order. All batches but the last
    have ``size`` items: what is left of some chunks goes into the first batch of the next.
    """
    left, done = np.zeros(0, np.int64), 0
    for chunks in groups:
        drawn = draw(chunks, wanted - done)
        done += len(drawn)
        queue = np.concatenate([left, drawn])
        cut = len(queue) if done == wanted else len(queue) // size * size
        yield Part(chunks, left, queue[:cut], queue[cut:])
        left = queue[cut:]
        if done == wanted:
            return


def refuse_several(datasets: Sequence[xr.Dataset], fix: str) -> None:
    """Raise `InvalidOption` for more than one dataset."""
    if len(datasets) > 1:
        raise InvalidOption(
            "several datasets are not read chunk by chunk",
            got=f"{len(datasets)} datasets, of Dask arrays, of stores, or with chunks_in_memory",
            allowed="one dataset, or several in memory",
            fix=f"join those {fix}: xr.concat(..., dim='trajectory', data_vars='minimal'); or "
            "data=[ds.load() for ds in datasets]",
        )


def _even(numbers: list[int], count: int) -> list[int]:
    if len(numbers) <= count:
        return numbers
    return [numbers[i] for i in np.linspace(0, len(numbers) - 1, max(count, 0)).round().astype(int)]
