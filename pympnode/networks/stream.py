"""Networks that are read chunk by chunk: their scales and ranges, and chunks to train on (see
`training.streamed`).

The time scale, windows, outliers, gradient matching and graphs that are learned look at the sample too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import EDGE_WEIGHT, STATE, TIME, TRAJECTORY
from ..datasets.split import check_split
from ..errors import InvalidData, InvalidOption
from ..training.progress import Progress
from ..training.streamed import ChunkStream, refuse_several
from .arrays import Arrays
from .node_types import types_of
from .normalise import Moments
from .prepare import Prepared as Data
from .prepare import Scales, Totals, physical_of, scaled_arrays
from .ranges import TrainingRange
from .recordings import interpolate_starts


class Stream(ChunkStream):
    """One dataset of networks that is read chunk by chunk. After `measure`: ``totals`` and ``values`` (known
    ones that train)."""

    refers = (
        "outliers, the time scale, windows, gradient matching, learned graphs, the validation loss and the "
        "baselines"
    )
    totals: Totals
    values: int

    def __init__(self, ds: xr.Dataset, **options: Any) -> None:
        check_split(ds)
        if STATE not in ds and not types_of(ds):
            raise InvalidData(
                "the dataset has no variable 'state'",
                got=", ".join(map(str, ds.data_vars)) or "no variables",
                allowed="state(trajectory, time, node, feature)",
                fix="rename yours: ds.rename, or use pympnode.from_arrays",
            )
        super().__init__(ds, **options)

    def require_alike(self, ds: xr.Dataset) -> None:
        """See `ChunkStream`; the weights of edges hold at all times."""
        super().require_alike(ds)
        if EDGE_WEIGHT in ds and {TRAJECTORY, TIME} & set(ds[EDGE_WEIGHT].dims) == {TIME}:
            raise InvalidData(
                "weights of edges that vary in time are not read in chunks of time",
                got="edge_weight(time, edge)",
                allowed="chunks that hold all times of a trajectory",
                fix="ds.chunk(trajectory=1, time=-1)",
            )

    def measure(self, sample: xr.Dataset, progress: Progress | None = None, **options: Any) -> None:
        """Read all chunks once: moments, ranges and checksum. ``sample``: `sample`, or what became of it
        when its graph was learned; ``options`` of `physical_of`. Raises what that raises, for any chunk."""
        found = physical_of([sample], **{**options, "quiet": True})
        self._options = {**options, "names": found.names, "types": found.types, "quiet": True}
        self.data.constants = _constants(sample)
        totals, self.values = None, 0
        several = len(self.chunks) > 1
        for ds, labels in self.once(progress):
            rows = np.flatnonzero(labels != "test")
            chunk = self._physical(ds, rows)
            # One chunk alone is measured as data in memory are, to the last bit.
            of_chunk = Totals.of([chunk], found.names, part=several)
            totals = of_chunk if totals is None else totals.joined(of_chunk, varied=chunk.varied)
            self.values += _known_values(chunk, labels[rows] == "train")
        assert totals is not None
        self.totals = totals

    def in_range(self, trained: TrainingRange) -> TrainingRange:
        """The range of all data, from ``trained``, that of the sample."""

        def spans(some: list[Moments | None]) -> NDArray[np.float64]:
            known = [one.span for one in some if one is not None and one.span is not None]
            return np.concatenate(known, axis=1) if known else np.zeros((2, 0))

        if len(self.chunks) == 1:
            return trained
        used = sum(int((each != "test").sum()) for each in self.labels)
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
    refuse_several(datasets, "of one graph")
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
