"""The training task of particles on data that are read chunk by chunk (see `stream`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.chunks import ahead
from ..datasets.names import TRAJECTORY
from ..training.streamed import Part, parts_of_epoch
from .schema import ParticleArrays
from .stream import ParticleStream
from .task import Steps, StepTask

Ints = NDArray[np.int64]

_LEAST_UPDATES = 16  # of an epoch, from the chunks that are in use together


@dataclass(frozen=True, eq=False, kw_only=True)
class StreamedSteps(Steps):
    """Steps with their states: ``source`` has a trajectory of two times for each, which ``trajectory`` and
    ``time`` refer to, and ``spreads`` the sizes of the motion of its bodies. ``number`` (batch,): numbers of
    the trajectories in the data; ``begin`` (batch,): times of the first states."""

    source: ParticleArrays
    spreads: NDArray | None
    number: Ints
    begin: NDArray[np.float64]

    def subset(self, chosen: slice) -> StreamedSteps:
        """See `Steps`."""
        return replace(
            self,
            trajectory=self.trajectory[chosen],
            time=self.time[chosen],
            rotation=self.rotation[chosen],
            number=self.number[chosen],
            begin=self.begin[chosen],
        )


@dataclass(frozen=True, eq=False)
class _States:
    """States of some steps and those one step later; see `StreamedSteps`."""

    source: ParticleArrays
    spreads: NDArray | None
    number: Ints
    begin: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class _Chunk:
    """The trajectories of a chunk in memory that train, and the spreads of their bodies."""

    number: int
    arrays: ParticleArrays
    spreads: NDArray | None

    def states(
        self, rows: Ints, time: Ints, number: Sequence[int], begin: NDArray[np.float64]
    ) -> _States:
        """The states of some steps, as copies."""
        a, i, two = self.arrays, rows[:, None], time[:, None] + np.arange(2)
        source = replace(
            a,
            position=a.position[i, two],
            velocity=a.velocity[i, two],
            mass=a.mass[rows],
            charge=None if a.charge is None else a.charge[rows],
            fixed=None if a.fixed is None else a.fixed[rows],
            type=None if a.type is None else a.type[rows],
            time=a.time[:2].copy(),
        )
        spreads = None if self.spreads is None else self.spreads[rows]
        return _States(source, spreads, np.array(number, np.int64), begin)


class StreamedStepTask(StepTask):
    """A `StepTask` whose batches are of the chunks of ``stream``.

    An epoch takes the chunks in random order, some together, and as many steps of those, in random
    order, as are
    their share of the epoch: an epoch that is shorter than all steps ends before it has come to all chunks.
    All that an epoch draws follows from its generator. Of the other arguments those of the sample are given:
    it is validated on.
    """

    def __init__(
        self,
        stream: ParticleStream,
        program: Any,
        arrays: Sequence[ParticleArrays],
        train: Sequence[Ints],
        validation: Sequence[Ints],
        batch_size: int,
        *,
        per_epoch: int = 250,
        **options: Any,
    ) -> None:
        spreads = None
        self._unit = program.scales.change * program.units.velocity
        if program.spec.weighted:
            spreads = [stream.sizes.spreads(one) / self._unit for one in arrays]
        self.stream = stream
        super().__init__(
            program, arrays, train, validation, batch_size, per_epoch=per_epoch, spreads=spreads, **options
        )  # fmt: skip
        self._first = np.concatenate([[0], np.cumsum(stream.unit_steps)])  # step of each trajectory
        total = int(self._first[-1])
        self._of_sample = int(self._pairs[0])
        self._pairs = np.array([total])
        self.batch_size = min(batch_size, total)
        self._filled = self._pairs // self.batch_size
        self._updates = min(per_epoch, int(self._filled.sum()))

    def batches(self, horizon: int, rng: np.random.Generator) -> Iterator[Steps]:
        """See `Task`: no step comes twice in an epoch; the next chunks are read in a thread."""
        rng.choice(
            self._filled.sum(), self._updates, replace=False
        )  # as data in memory draw datasets
        size, left = self.batch_size, list[_States]()
        for part, chunks in ahead(self._load, self._parts(rng)):
            # Items that are left of the chunks before are states already.
            drawn = np.concatenate([part.order, part.beyond])[len(part.left) :]
            at, end = 0, len(part.order) - len(part.left) if len(part.order) else 0
            while at < end:
                more = size - sum(len(states.number) for states in left)
                left.append(self._taken(drawn[at : min(at + more, end)], chunks))
                at += more
                yield self._batch(left, rng)
                left = []
            if end < len(drawn):
                left.append(self._taken(drawn[end:], chunks))
            del chunks

    def _parts(self, rng: np.random.Generator) -> Iterator[Part]:
        """The parts of an epoch; their items are numbers of steps."""
        wanted, stream = self._updates * self.batch_size, self.stream
        groups = stream.groups(np.unique(stream.unit_chunk), rng)
        steps = [sum(self._steps_of(c)[1] for c in chunks.tolist()) for chunks in groups]
        most = -(-self._updates // _LEAST_UPDATES)
        while sum(steps[:most]) < wanted:
            most += 1
        rest = sum(steps[:most])

        def draw(chunks: Ints, left: int) -> Ints:
            nonlocal rest
            spans = [self._steps_of(chunk) for chunk in chunks.tolist()]
            total = sum(count for _, count in spans)
            picked = rng.choice(total, -(-left * total // rest), replace=False)
            rest -= total
            ends = np.cumsum([count for _, count in spans])
            span = np.searchsorted(ends, picked, side="right")
            first = np.array([begin for begin, _ in spans]) - (ends - [n for _, n in spans])
            return first[span] + picked

        return parts_of_epoch(groups[:most], draw, wanted, self.batch_size)

    def _steps_of(self, chunk: int) -> tuple[int, int]:
        """The first step of a chunk, and their number."""
        units = self.stream.units_of(chunk)
        first, end = self._first[units[0]], self._first[units[-1] + 1]
        return int(first), int(end - first)

    def _load(self, part: Part) -> tuple[Part, list[_Chunk]]:
        found = []
        for number in part.chunks.tolist():
            arrays = self.stream.arrays(number)
            spreads = None
            if self.program.spec.weighted:
                spreads = self.stream.sizes.spreads(arrays) / self._unit
            found.append(_Chunk(number, arrays, spreads))
        return part, found

    def _taken(self, items: Ints, chunks: Sequence[_Chunk]) -> _States:
        """The states of some steps of chunks in memory, in their order."""
        stream = self.stream
        unit = np.searchsorted(self._first, items, side="right") - 1
        time, of = items - self._first[unit], stream.unit_chunk[unit]
        pieces, where = [], []
        for chunk in chunks:
            here = np.flatnonzero(of == chunk.number)
            if len(here):
                where.append(here)
                rows = unit[here] - stream.units_of(chunk.number)[0]
                begin = stream.chunks[chunk.number].begin + time[here]
                number = [stream.trajectory(one) for one in unit[here]]
                pieces.append(chunk.states(rows, time[here], number, stream.times[begin]))
        return _joined(pieces, np.argsort(np.concatenate(where)))

    def _batch(self, parts: Sequence[_States], rng: np.random.Generator) -> StreamedSteps:
        states = _joined(parts)
        extra_levels = int(rng.integers(2)) if self.mixed_levels else 0
        each = np.arange(len(states.number))
        rotation = self._rotation(len(each), states.source.dims, rng)
        return StreamedSteps(0, each, np.zeros_like(each), rotation, extra_levels, **vars(states))

    def kinds(self, horizon: int, rng: np.random.Generator) -> list[tuple[float, Steps]]:
        """See `Task`: batches of the sample."""
        found: list[tuple[float, Steps]] = []
        levels = range(1 + int(self.mixed_levels))
        for extra_levels in levels:
            size, pairs = self.batch_size, self._of_sample
            picked = rng.choice(pairs, size, replace=pairs < size)
            found.append((1.0 / len(levels), self._steps(0, picked, extra_levels, rng)))
        return found

    def _held(self, batch: Steps) -> tuple[ParticleArrays, NDArray | None]:
        if isinstance(batch, StreamedSteps):
            return batch.source, batch.spreads
        return super()._held(batch)

    def _where(self, batch: Steps) -> tuple[int, float]:
        if isinstance(batch, StreamedSteps):
            return int(batch.number[0]), float(batch.begin[0])
        number, time = super()._where(batch)
        return int(self.stream.sample[TRAJECTORY].values[number]), time


def _joined(parts: Sequence[_States], order: Ints | None = None) -> _States:
    """Several states as one; ``order``: of all of them."""
    if len(parts) == 1 and order is None:
        return parts[0]
    chosen: Any = slice(None) if order is None else order

    def all_of(values: Sequence[NDArray]) -> NDArray:
        return np.concatenate(values)[chosen]

    def both(values: Sequence[NDArray | None]) -> NDArray | None:
        known = [one for one in values if one is not None]
        return all_of(known) if known else None

    arrays = [part.source for part in parts]
    fixed: list[NDArray | None] = [a.fixed for a in arrays]
    if any(one is not None for one in fixed):  # no particle of the others is fixed
        fixed = [np.zeros(a.mass.shape, bool) if f is None else f for a, f in zip(arrays, fixed)]
    source = replace(
        arrays[0],
        position=all_of([a.position for a in arrays]),
        velocity=all_of([a.velocity for a in arrays]),
        mass=all_of([a.mass for a in arrays]),
        charge=both([a.charge for a in arrays]),
        type=both([a.type for a in arrays]),
        fixed=both(fixed),
    )
    return _States(
        source,
        both([part.spreads for part in parts]),
        np.concatenate([part.number for part in parts])[chosen],
        np.concatenate([part.begin for part in parts])[chosen],
    )
