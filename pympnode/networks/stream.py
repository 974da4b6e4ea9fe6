"""Training data that are larger than memory: read chunk by chunk, of which some are held.

One pass over all chunks finds the scales, the ranges, and the checksum of the data. A sample of the chunks
stays in memory: what looks at all data otherwise (the time scale, windows, outliers, gradient matching, graphs
that are learned, the validation loss, baselines) looks at the sample. The other chunks are read when an
epoch comes to them, in an order that is drawn anew for each epoch.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
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
from ..datasets.names import EDGE_WEIGHT, NODE_NUMBER, SPLIT, STATE, TIME, TRAJECTORY, texts
from ..datasets.record import record
from ..datasets.split import check_split, labels_of
from ..datasets.times import even_times, rounding
from ..errors import InvalidData, InvalidOption
from ..files.netcdf import checksum
from ..memory import format_bytes, need
from ..training.progress import Progress, Silent
from .node_types import types_of
from .normalise import Moments
from .prepare import Prepared as Data
from .prepare import Scales, Totals, physical_of, scaled_arrays
from .ranges import TrainingRange
from .recordings import interpolate_starts
from .schema import Arrays

logger = logging.getLogger("pympnode.training")

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


class Stream:
    """One dataset that is read chunk by chunk.

    ``sample``: some of the chunks, in memory, as one dataset with labels. ``group``: chunks that are in use
    together. ``unit_chunk``, ``unit_row``, ``unit_steps`` (unit,): the trajectories of chunks that train, by
    the number of the chunk, the row in it, and the number of intervals. After `measure`: ``totals``,
    ``values`` (known ones that train) and ``fingerprint``.

    Raises `InvalidOption` and `InvalidData` for data that are not read so.
    """

    totals: Totals
    values: int
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
        if STATE not in ds and not types_of(ds):
            raise InvalidData(
                "the dataset has no variable 'state'",
                got=", ".join(map(str, ds.data_vars)) or "no variables",
                allowed="state(trajectory, time, node, feature)",
                fix="rename yours: ds.rename, or use pympnode.from_arrays",
            )
        self.data = ChunkedDataset(ds)
        self.chunks = self.data.chunks
        if self.data.cut_in_time:
            self._require_alike(ds)
        size = max(1, self.data.chunk_bytes)
        held = max(6, min(_MOST_CHUNKS, _HELD_BYTES // size))
        if chunks_in_memory is not None:
            held = chunks_in_memory
        # A third in use, a third that is read meanwhile, and the rest in the sample.
        self.group = max(1, held // 3 // members)
        self._labels = self._label(ds, split, seed)
        if not any((labels == "train").any() for labels in self._labels):
            raise InvalidData(
                "there are no trajectories to train on",
                got="none with the label train",
                allowed="at least one",
                fix="give more trajectories, or a larger split=",
            )
        self._sampled = self._choose(held - 2 * self.group * members)
        self.in_memory = min(len(self.chunks), len(self._sampled) + 2 * self.group * members)
        need(
            _COPIES * self.in_memory * size,
            f"{self.in_memory} chunks of {format_bytes(size)} with their copies",
            "store smaller chunks: pympnode.save_dataset(ds, path, chunk=), ds.chunk(trajectory=); or "
            f"chunks_in_memory={LEAST_CHUNKS}",
        )
        self.sample = self._with_labels(joined([self.data.read(n) for n in self._sampled]))
        rows = [np.flatnonzero(labels == "train") for labels in self._labels]
        self.unit_row = np.concatenate(rows)
        self.unit_chunk = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
        steps = np.array([chunk.times - 1 for chunk in self.chunks], np.int64)
        self.unit_steps = steps[self.unit_chunk]
        of = len(self.chunks)
        self.text = (
            f"{format_bytes(bytes_of(ds))} in {of:,} chunks of {format_bytes(size)}, of which "
            f"{self.in_memory:,} are in memory at a time; {len(self._sampled):,} of them are a sample, to "
            "which outliers, the time scale, windows, gradient matching, learned graphs, the validation "
            "loss and the baselines refer"
        )

    # ---- where the chunks are -------------------------------------------------------------------

    def _require_alike(self, ds: xr.Dataset) -> None:
        """Chunks in time have the same times, and the weights of edges that hold there."""
        times = even_times(ds[TIME].values)
        interval = np.diff(times)
        if not np.allclose(interval, interval[0], rtol=1e-6, atol=2.0 * rounding(times)):
            raise InvalidData(
                "data on an uneven time grid are not read in chunks of time",
                got=f"intervals from {interval.min():.4g} to {interval.max():.4g}",
                allowed="an even grid, or chunks that hold all times of a trajectory",
                fix="ds.chunk(trajectory=1, time=-1), or ds.interp(time=...)",
            )
        if EDGE_WEIGHT in ds and {TRAJECTORY, TIME} & set(ds[EDGE_WEIGHT].dims) == {TIME}:
            raise InvalidData(
                "weights of edges that vary in time are not read in chunks of time",
                got="edge_weight(time, edge)",
                allowed="chunks that hold all times of a trajectory",
                fix="ds.chunk(trajectory=1, time=-1)",
            )

    def _label(self, ds: xr.Dataset, split: float, seed: int) -> list[NDArray[np.str_]]:
        """The labels (trajectory,) of each chunk. One recording is split in time, by its chunks."""
        count = len(self.chunks)
        chosen = SPLIT in ds and not (
            record(ds).get("kind") == "simulation" and list(texts(ds[SPLIT].values)) == ["train"]
        )
        if ds.sizes[TRAJECTORY] == 1 and count > 1 and not chosen and split < 1:
            train = min(max(1, round(split * count)), count - 1)
            return [np.array(["train" if n < train else "validation"]) for n in range(count)]
        labels = labels_of(ds, split, seed)
        return [labels[chunk.first : chunk.last] for chunk in self.chunks]

    def _choose(self, most: int) -> list[int]:
        """The numbers of the chunks of the sample, at even distances; with validation where there is some."""
        times = self.chunks[0].times
        alike = [n for n, chunk in enumerate(self.chunks) if chunk.times == times]
        useful = [n for n in alike if (self._labels[n] != "test").any()]
        if len(useful) <= most:
            return useful
        held_out = [n for n in useful if (self._labels[n] == "validation").any()]
        train = [n for n in useful if (self._labels[n] == "train").any()]
        chosen = set(_even(held_out, most // 2 if most > 1 else 1))
        chosen |= set(_even([n for n in train if n not in chosen], most - len(chosen)))
        if not any((self._labels[n] == "train").any() for n in chosen):
            chosen |= set(train[:1])
        return sorted(chosen)

    def _with_labels(self, ds: xr.Dataset) -> xr.Dataset:
        labels = np.concatenate([self._labels[n] for n in self._sampled])
        numbers = np.concatenate([self._numbers(n) for n in self._sampled])
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

    def measure(self, sample: xr.Dataset, progress: Progress | None = None, **options: Any) -> None:
        """Read all chunks once: moments, ranges and checksum. ``sample``: `sample`, or what became of it
        when its graph was learned; ``options`` of `physical_of`. Raises what that raises, for any chunk."""
        found = physical_of([sample], **{**options, "quiet": True})
        self._options = {**options, "names": found.names, "types": found.types, "quiet": True}
        self.data.constants = _constants(sample)
        logger.info("streamed data: %s", self.text)
        meter = progress or Silent()
        values, marks = hashlib.sha256(), hashlib.sha256()
        totals, self.values = None, 0
        several = len(self.chunks) > 1

        def read(number: int) -> tuple[xr.Dataset, str]:
            ds = self.data.read(number)
            return ds, self.data.checksum_of(ds)

        meter.start(len(self.chunks), 0, "scales of the data")
        try:
            for number, (ds, digest) in enumerate(ahead(read, range(len(self.chunks)))):
                values.update(digest.encode())
                marks.update(checksum(self._labels[number]).encode())
                rows = np.flatnonzero(self._labels[number] != "test")
                if rows.size:
                    chunk = self._physical(ds, rows)
                    # One chunk alone is measured as data in memory are, to the last bit.
                    of_chunk = Totals.of([chunk], found.names, part=several)
                    totals = (
                        of_chunk if totals is None else totals.joined(of_chunk, varied=chunk.varied)
                    )
                    self.values += _known_values(chunk, self._labels[number][rows] == "train")
                meter.update(number + 1, {})
        finally:
            meter.stop()
        assert totals is not None
        self.totals = totals
        labels = np.concatenate(self._labels)
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
                "sample": self._sampled,
            },
        }

    def in_range(self, trained: TrainingRange) -> TrainingRange:
        """The range of all data, from ``trained``, that of the sample."""

        def spans(some: list[Moments | None]) -> NDArray[np.float64]:
            known = [one.span for one in some if one is not None and one.span is not None]
            return np.concatenate(known, axis=1) if known else np.zeros((2, 0))

        if len(self.chunks) == 1:
            return trained
        used = sum(int((each != "test").sum()) for each in self._labels)
        if self.data.cut_in_time:
            used = self.data.ds.sizes[TRAJECTORY]
        return trained.with_spans(
            spans(self.totals.states),
            spans(self.totals.controls),
            spans(self.totals.attributes),
            trajectories=used,
            steps=self.data.ds.sizes[TIME] - 1,
        )

    def _physical(self, ds: xr.Dataset, rows: NDArray[np.int64]) -> Arrays:
        if len(rows) < ds.sizes[TRAJECTORY]:
            ds = ds.isel({TRAJECTORY: rows})
        return physical_of([ds], **self._options).arrays[0]

    # ---- chunks to train on ---------------------------------------------------------------------

    def use(self, data: Data, dtype: str, noise: float, seed: int, fills: bool) -> None:
        """Scale all chunks as ``data``, the prepared sample. ``fills``: whether states at which windows start
        are interpolated."""
        self._scales = Scales(data.state, data.control, data.attribute, data.edge_attribute)
        self._like, self._time_scale = data.scaled[0], data.time_scale
        self._dtype, self._noise, self._seed, self._fills = dtype, noise, seed, fills

    def arrays(self, chunk: int) -> tuple[Arrays, list[NDArray[np.bool_]] | None]:
        """The trajectories of a chunk that train, in z units, and where windows of them may start (see
        `interpolate_starts`)."""
        rows = self.unit_row[self.units_of(chunk)]
        arrays = self._physical(self.data.read(chunk, rows), np.arange(len(rows)))
        key = [self._seed, 3, 0] + ([chunk] if len(self.chunks) > 1 else [])
        scaled = scaled_arrays(
            arrays,
            self._scales,
            self._time_scale,
            self._dtype,
            np.ones(len(rows), bool),
            (self._noise, np.random.default_rng(key)),
        )
        like = self._like
        # Kernels keep what they arranged for a graph by the object.
        attribute = scaled.attribute if scaled.varied else like.attribute
        scaled = replace(scaled, graph=like.graph, attribute=attribute)
        if not self._fills:
            return scaled, None
        filled, starts, _ = interpolate_starts([scaled])
        return filled[0], starts


def refuse(datasets: Sequence[xr.Dataset], *, learns_each_graph: bool) -> None:
    """Raise `InvalidOption` for what takes all data in memory."""
    if len(datasets) > 1:
        raise InvalidOption(
            "several datasets are not read chunk by chunk",
            got=f"{len(datasets)} datasets, of Dask arrays, of stores, or with chunks_in_memory",
            allowed="one dataset, or several in memory",
            fix="join those of one graph: xr.concat(..., dim='trajectory', data_vars='minimal'); or "
            "data=[ds.load() for ds in datasets]",
        )
    if learns_each_graph:
        raise InvalidOption(
            "a graph of each trajectory takes all trajectories in memory",
            got='topology="learn each" with data that are read chunk by chunk',
            allowed='topology="learn", which learns one graph from a sample of the chunks',
            fix="train(data=ds.load()) of data that fit in memory",
        )


def refuse_engine(engine: str) -> None:
    """Raise `InvalidOption` for an engine whose data cannot be replaced."""
    if engine != "torch":
        raise InvalidOption(
            "data that are read chunk by chunk train on the torch engine",
            got=f"engine={engine!r}",
            allowed='engine="torch" or "auto"',
            fix="leave engine out, or load data that fit in memory: train(data=ds.load())",
        )


def _even(numbers: list[int], count: int) -> list[int]:
    if len(numbers) <= count:
        return numbers
    return [numbers[i] for i in np.linspace(0, len(numbers) - 1, max(count, 0)).round().astype(int)]


def _known_values(arrays: Arrays, train: NDArray[np.bool_]) -> int:
    x = arrays.x[train]
    known = x.size if arrays.mask is None else int(arrays.mask[train].sum())
    return known - int((~arrays.real).sum()) * len(x) * x.shape[1]


def _constants(ds: xr.Dataset) -> xr.Dataset:
    """What neither trajectories nor times have."""
    names = [n for n, v in ds.variables.items() if not {TRAJECTORY, TIME} & set(v.dims)]
    kept = {n: ds.variables[n] for n in names}
    coords = {n for n in names if n in ds.coords}
    return xr.Dataset(
        {n: v for n, v in kept.items() if n not in coords},
        coords={n: v for n, v in kept.items() if n in coords},
        attrs=ds.attrs,
    )
