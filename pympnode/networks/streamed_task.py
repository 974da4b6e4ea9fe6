"""The training task of networks on data that are read chunk by chunk (see `stream`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ..datasets.chunks import ahead
from ..training.schedule import MATCHING
from ..training.streamed import Part, parts_of_epoch
from .arrays import Arrays
from .engines.base import Batch, Rebindable
from .matching import Matching
from .stream import Stream
from .task import Source, TrajectoryTask

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class StreamedBatch(Batch):
    """Windows of trajectories that are in memory for a while: ``trajectory`` are numbers in ``source``,
    ``units`` (trajectory,) the numbers of its trajectories in the stream."""

    source: Source
    units: Ints


@dataclass(frozen=True, eq=False)
class _Loaded:
    """The trajectories of a part in memory; ``starts`` of each, or None."""

    part: Part
    units: Ints
    arrays: list[Arrays]
    starts: list[NDArray[np.bool_]] | None
    source: Source


class StreamedTask(TrajectoryTask):
    """A `TrajectoryTask` whose batches are of the chunks of ``stream``.

    An epoch takes the chunks in random order, some together, and the windows of those in random order. All
    that an epoch draws follows from its generator, before anything is read. Batches have the same number of
    windows as those of data in memory: what is left of some chunks goes into the first batch of the next. Of
    the other arguments those of the sample are given: it is validated on.
    """

    def __init__(self, stream: Stream, *, batch_size: int, **of_sample: Any) -> None:
        super().__init__(batch_size=batch_size, **of_sample)
        self.stream = stream
        self._lengths = stream.unit_steps - self.prefix
        if self.whole or not self.source.even:
            self.batch_size = min(batch_size, len(self._lengths))

    def _windows(self, horizon: int) -> Ints:
        """See `TrajectoryTask`: of every trajectory of the stream that trains."""
        if self.whole:
            return np.full(len(self._lengths), max(1, self.steps // horizon))
        # A last, shorter chunk in time may be shorter than a window.
        return self._lengths // horizon

    def batches(self, horizon: int, rng: np.random.Generator) -> Iterator[Batch]:
        """See `Task`; the next chunks are read in a thread."""
        if horizon == MATCHING:
            yield from super().batches(horizon, rng)
            return
        size = self._batch(horizon)
        before: list[_Loaded] = []

        def load(part: Part) -> _Loaded:
            before[:] = [self._load(part, before[0] if before else None)]
            return before[0]

        for loaded in ahead(load, self._parts(horizon, rng)):
            rows = _rows(loaded.units, loaded.part.order)
            for at in range(0, len(rows), size):
                chosen = rows[at : at + size]
                start = self._draw(loaded.source, chosen, horizon, rng)
                yield StreamedBatch(chosen, start, horizon, loaded.source, loaded.units)
            del loaded

    def _parts(self, horizon: int, rng: np.random.Generator) -> Iterator[Part]:
        """The parts of an epoch; their items are the trajectories that windows are of."""
        windows, size = self._windows(horizon), self._batch(horizon)
        total = int(windows.sum())
        wanted = total if self.whole else self.count(horizon) * size
        passes = -(-wanted // total)
        used = np.unique(self.stream.unit_chunk[windows > 0])

        def draw(chunks: Ints, most: int) -> Ints:
            units = np.concatenate([self.stream.units_of(chunk) for chunk in chunks])
            if self.whole:
                each = np.tile(units, int(windows[0]))
            else:
                each = np.tile(np.repeat(units, windows[units]), passes)
            return rng.permutation(each)[:most]

        return parts_of_epoch(self.stream.groups(used, rng), draw, wanted, size)

    def _load(self, part: Part, before: _Loaded | None) -> _Loaded:
        pieces: list[tuple[Ints, Arrays, list[NDArray[np.bool_]] | None]] = []
        for chunk in part.chunks.tolist():
            of_chunk, known = self.stream.arrays(chunk)
            pieces.append((self.stream.units_of(chunk), of_chunk, known))
        if before is not None and len(part.left):
            pieces += _kept(before, np.unique(part.left))
        units, arrays, starts = _joined(pieces)
        program = cast(Rebindable, self.program).rebound(arrays)
        source = Source.of(program, arrays, self.prefix, starts)
        return _Loaded(part, units, arrays, starts, source)

    def kinds(self, horizon: int, rng: np.random.Generator) -> list[tuple[float, Batch]]:
        """See `Task`: a whole batch, of the sample."""
        if horizon == MATCHING:
            return super().kinds(horizon, rng)
        fits = self.train[self.source.lengths[self.train] >= horizon]
        chosen = rng.choice(fits, self._batch(horizon))
        return [(1.0, Batch(chosen, self._draw(self.source, chosen, horizon, rng), horizon))]

    def losses(
        self, thetas: NDArray, batches: Sequence[Batch]
    ) -> tuple[NDArray[np.float64], NDArray]:
        """See `Task`; members of an ensemble have other chunks in memory."""
        if len(batches) == 1 or not isinstance(batches[0], StreamedBatch):
            return super().losses(thetas, batches)
        results = [self.loss(theta, batch) for theta, batch in zip(thetas, batches)]
        return np.array([value for value, _ in results]), np.stack([g for _, g in results])

    def _held(self, batch: Batch) -> Source | Matching:
        return batch.source if isinstance(batch, StreamedBatch) else super()._held(batch)

    def _number(self, batch: Batch, dataset: int, trajectory: int) -> int:
        if not isinstance(batch, StreamedBatch):
            return super()._number(batch, dataset, trajectory)
        first = sum(a.trajectories for a in batch.source.arrays[:dataset])
        return self.stream.trajectory(int(batch.units[first + trajectory]))


def _rows(units: Ints, wanted: Ints) -> Ints:
    """Where the ``wanted`` numbers stand in ``units``."""
    order = np.argsort(units, kind="stable")
    return order[np.searchsorted(units[order], wanted)]


def _kept(
    before: _Loaded, units: Ints
) -> list[tuple[Ints, Arrays, list[NDArray[np.bool_]] | None]]:
    """Some trajectories of a part that is no longer used."""
    rows = _rows(before.units, units)
    pieces, first = [], 0
    for arrays in before.arrays:
        here = (rows >= first) & (rows < first + arrays.trajectories)
        if here.any():
            starts = None
            if before.starts is not None:
                starts = [before.starts[row] for row in rows[here]]
            pieces.append((units[here], arrays.select(rows[here] - first), starts))
        first += arrays.trajectories
    return pieces


def _joined(
    pieces: list[tuple[Ints, Arrays, list[NDArray[np.bool_]] | None]],
) -> tuple[Ints, list[Arrays], list[NDArray[np.bool_]] | None]:
    """Pieces of as many times as one: kernels compute them together."""
    steps = list(dict.fromkeys(each.steps for _, each, _ in pieces))
    pieces = sorted(pieces, key=lambda piece: steps.index(piece[1].steps))
    units = np.concatenate([numbers for numbers, *_ in pieces])
    arrays = [_together([each for _, each, _ in pieces if each.steps == n]) for n in steps]
    if all(known is None for *_, known in pieces):
        return units, arrays, None
    starts: list[NDArray[np.bool_]] = []
    for _, each, known in pieces:
        anywhere = [np.ones(each.steps + 1, bool)] * each.trajectories
        starts += anywhere if known is None else known
    return units, arrays, starts


def _together(parts: list[Arrays]) -> Arrays:
    """Trajectories of several arrays of the same graphs and times as one."""
    first = parts[0]
    if len(parts) == 1:
        return first

    def joined(name: str, varies: bool = True) -> NDArray | None:
        values = [getattr(part, name) for part in parts]
        if not varies or all(value is None for value in values):
            return values[0]
        return np.concatenate(values)

    mask = None
    if any(part.mask is not None for part in parts):
        masks = [np.ones(p.x.shape, bool) if p.mask is None else p.mask for p in parts]
        mask = np.concatenate(masks)
    weighted = first.edge_weight is not None and first.edge_weight.ndim == 3
    return replace(
        first,
        x=np.concatenate([part.x for part in parts]),
        graph_of=np.concatenate([part.graph_of for part in parts]),
        u=joined("u"),
        attribute=joined("attribute", first.varied),
        mask=mask,
        edge_weight=joined("edge_weight", weighted),
    )
