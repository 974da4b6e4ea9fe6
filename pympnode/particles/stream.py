"""Particles that are read chunk by chunk: their scales and ranges, and chunks to train on (see
`training.streamed`)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import PARTICLE, SPLIT, TIME, TRAJECTORY
from ..datasets.record import record
from ..training.progress import Progress
from ..training.ranges import warn_user
from ..training.streamed import ChunkStream
from . import schema
from .bodies import BodySizes
from .ranges import ParticleRange
from .recordings import pieces
from .scales import Measured, distances_in, reach_of, sampled_states, scales_of
from .schema import ParticleArrays


class ParticleStream(ChunkStream):
    """One dataset of particles that is read chunk by chunk.

    After `measure`: ``trained`` the range of its training trajectories, ``reach`` their largest distance (see
    `reach_of`), ``sizes`` of the motion of its bodies, and ``types``, the labels of its particles.
    ``times``: all times.
    """

    refers = "checks of boxes, the validation loss and the baseline"
    trained: ParticleRange
    reach: float
    sizes: BodySizes
    types: list[str]

    def __init__(self, ds: xr.Dataset, **options: Any) -> None:
        schema.validate_particles(ds, finite=False)
        ds = schema.complete_physics(ds)
        super().__init__(ds, **options)
        self.times = np.asarray(ds[TIME].values, np.float64)
        self._warn_of_pieces(ds)

    def _warn_of_pieces(self, ds: xr.Dataset) -> None:
        """Warn where trajectories go on where others are: a random split puts both into each part."""
        if SPLIT in ds or record(ds).get("kind") == "simulation" or self.data.cut_in_time:
            return
        paths = int(pieces(self.sample)[0].max()) + 1
        if paths <= self.sample.sizes[TRAJECTORY] // 2:
            warn_user(
                f"the {self.sample.sizes[TRAJECTORY]} trajectories of the sample are pieces of {paths} paths, "
                "and data that are read chunk by chunk are split at random: validation states may be those "
                'of training; label them: ds["split"] = ("trajectory", ["train", ...])'
            )

    def measure(self, progress: Progress | None = None) -> None:
        """Read all chunks once: scales, ranges and checksum. Raises `InvalidData` for any chunk."""
        self._near: list[NDArray[np.float64]] = []
        measured: Measured | None = None
        trained: ParticleRange | None = None
        sizes: BodySizes | None = None
        mass: NDArray | None = None
        self.reach, types = 0.0, set[str]()
        # The same states as in memory; chunks in time count as trajectories of their own.
        times = int(self.unit_steps.min()) + 1
        picked, at = sampled_states(len(self.unit_row), times, int(self.sample.sizes[PARTICLE]))
        unit = 0
        for ds, labels in self.once(progress):
            used = np.flatnonzero(labels != "test")
            arrays = self._packed(ds, used)
            train = np.flatnonzero(labels[used] == "train")
            mass = _summary(mass, arrays.mass)
            if arrays.type is not None:
                types |= set(np.unique(arrays.type).tolist())
            here = BodySizes.of(arrays, train)
            sizes = here if sizes is None else sizes.joined(here)
            if not len(train):
                continue
            numbers = np.arange(unit, unit + len(train))
            unit += len(train)
            self._near.append(distances_in(arrays, train, numbers, picked, at))
            part = Measured.of(arrays, train)
            measured = part if measured is None else measured.joined(part)
            span = ParticleRange.of([arrays], [train])
            trained = span if trained is None else trained.joined(span)
            self.reach = max(self.reach, reach_of([arrays], [train]))
        assert measured is not None and trained is not None and sizes is not None
        assert mass is not None
        if self.data.cut_in_time:
            whole = self.data.ds.sizes
            trained = replace(trained, trajectories=whole[TRAJECTORY], steps=whole[TIME] - 1)
        self._measured, self.trained, self.sizes = measured, trained, sizes
        self._mass, self.types = mass, sorted(types)

    def scales(self) -> Any:
        """`ParticleScales` of the training trajectories."""
        near = [np.concatenate(self._near)]
        return scales_of([self._measured], near, [self._measured.like.parameters])

    def with_all_masses(self, arrays: ParticleArrays) -> ParticleArrays:
        """The sample with masses (3, particle): those of the first trajectory, and the smallest and the largest
        of each particle in all; questions of masses have the answer of all data then."""
        return replace(arrays, mass=self._mass)

    def _packed(self, ds: xr.Dataset, rows: NDArray[np.int64]) -> ParticleArrays:
        if len(rows) < ds.sizes[TRAJECTORY]:
            ds = ds.isel({TRAJECTORY: rows})
        return schema.pack_particles(ds)

    def arrays(self, chunk: int) -> ParticleArrays:
        """The trajectories of a chunk that train."""
        rows = self.unit_row[self.units_of(chunk)]
        return schema.pack_particles(self.data.read(chunk, rows))


def _summary(before: NDArray | None, mass: NDArray) -> NDArray:
    rows = mass if before is None else np.concatenate([before, mass])
    return np.stack([rows[0], rows.min(0), rows.max(0)])
