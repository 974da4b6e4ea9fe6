"""Trajectories that are pieces of one path: they are split in time, not at random."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import PARTICLE_DIMS, POSITION, SPLIT, TIME, TRAJECTORY, VELOCITY
from ..datasets.record import record
from ..datasets.split import rng_of

logger = logging.getLogger("pympnode.training")

_SHORTEST = 10  # intervals: a single recording with fewer is not split
_FEW = 4  # paths; that many or more are split as wholes, fewer each in time
_SPLIT_STREAM = 4  # of random numbers; those of `datasets.split` end at 3


def split_in_time(
    datasets: Sequence[xr.Dataset], share: float, seed: int
) -> tuple[list[xr.Dataset], bool]:
    """The datasets, those of pieces of few paths split in time, and whether one was.

    A trajectory alone becomes two datasets, its first ``share`` to train and the rest to validate.
    Trajectories that go on where others of the dataset are (windows cut from a path) are labelled
    by the time in their path; windows across the cut are left out. Datasets that are labelled
    already, or simulated by the package, are returned as they are, and so is all with ``share`` 1.
    """
    out: list[xr.Dataset] = []
    for number, ds in enumerate(datasets):
        whole = POSITION in ds and VELOCITY in ds  # what is missing is named where all is checked
        if SPLIT in ds or not whole or not 0 < share < 1 or record(ds).get("kind") == "simulation":
            out.append(ds)
        elif ds.sizes[TRAJECTORY] == 1:
            out += _halves(ds, share) if len(datasets) == 1 else [ds]
        else:
            out.append(_labelled(ds, share, seed, number))
    return out, any(a is not b for a, b in zip(out, datasets)) or len(out) > len(datasets)


def _halves(ds: xr.Dataset, share: float) -> list[xr.Dataset]:
    """One trajectory as two datasets; a step lies between them."""
    intervals = ds.sizes[TIME] - 1
    if intervals < _SHORTEST:
        return [ds]
    cut = round(share * intervals)
    logger.info("one recording: steps 0 to %d train, the rest validates", cut)
    return [
        part.assign({SPLIT: (TRAJECTORY, [label])})
        for part, label in (
            (ds.isel({TIME: slice(0, cut + 1)}), "train"),
            (ds.isel({TIME: slice(cut, None)}), "validation"),
        )
    ]


def _labelled(ds: xr.Dataset, share: float, seed: int, number: int) -> xr.Dataset:
    """The dataset with labels by time where its trajectories are pieces of paths."""
    path, start = pieces(ds)
    paths = int(path.max()) + 1
    if paths > len(path) // 2:
        return ds
    labels = np.full(len(path), "train", "U10")
    keep = np.ones(len(path), bool)
    if paths >= _FEW:
        drawn = rng_of(seed, _SPLIT_STREAM, number).permutation(paths)
        labels[drawn[path] >= max(1, round(share * paths))] = "validation"
    else:
        length = ds.sizes[TIME] - 1
        for one in range(paths):
            here = np.flatnonzero(path == one)
            begin = start[here]
            cut = begin.min() + share * (begin.max() + length - begin.min())
            labels[here[begin + length > cut]] = "validation"
            keep[here[(begin < cut) & (begin + length > cut)]] = False
        if not (keep & (labels == "train")).any() or not (keep & (labels == "validation")).any():
            return ds
    logger.info(
        "dataset %d: %d trajectories are pieces of %d paths, which are split %s",
        number, len(path), paths, "as wholes" if paths >= _FEW else "in time",
    )  # fmt: skip
    return ds.assign({SPLIT: (TRAJECTORY, labels)}).isel({TRAJECTORY: np.flatnonzero(keep)})


def pieces(ds: xr.Dataset) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The path that each trajectory is a piece of, and where on it the piece begins, in steps.

    (trajectory,) each. A trajectory belongs to a path where its first state is a state of another
    one, bit for bit, or where it goes on a step after the one before it in the dataset ends.
    """
    x = ds[POSITION].transpose(*PARTICLE_DIMS).values
    v = ds[VELOCITY].transpose(*PARTICLE_DIMS).values
    sets, times = x.shape[:2]
    links: list[list[tuple[int, int]]] = [[] for _ in range(sets)]

    def link(i: int, j: int, steps: int) -> None:
        links[i].append((j, steps))
        links[j].append((i, -steps))

    # One number of each state, that which varies most, finds candidates; whole states decide.
    particle, axis = np.unravel_index(np.argmax(x.std((0, 1))), x.shape[2:])
    mark = x[:, :, particle, axis]
    order = np.argsort(mark, axis=None, kind="stable")
    values = mark.reshape(-1)[order]
    for j in range(sets):
        low = np.searchsorted(values, mark[j, 0], "left")
        high = np.searchsorted(values, mark[j, 0], "right")
        for at in order[low : min(high, low + 8)]:
            i, t = divmod(int(at), times)
            if i != j and (x[i, t] == x[j, 0]).all() and (v[i, t] == v[j, 0]).all():
                link(i, j, t)
    step = np.diff(np.asarray(ds[TIME].values, np.float64)).mean() if times > 1 else 0.0
    for j in range(1, sets):
        moved = 0.5 * step * (v[j - 1, -1].astype(np.float64) + v[j, 0])
        off = np.abs(x[j, 0].astype(np.float64) - x[j - 1, -1] - moved).max()
        bent = 0.5 * step * np.abs(np.diff(v[j - 1, -2:].astype(np.float64), axis=0)).max()
        if times > 1 and 0 < np.abs(moved).max() and off <= bent + 1e-3 * np.abs(moved).max():
            link(j - 1, j, times)
    path, start = np.full(sets, -1), np.zeros(sets, np.int64)
    for first in range(sets):
        if path[first] >= 0:
            continue
        path[first] = path.max() + 1
        todo = deque([first])
        while todo:
            i = todo.popleft()
            for j, steps in links[i]:
                if path[j] < 0:
                    path[j], start[j] = path[i], start[i] + steps
                    todo.append(j)
    return path, start
