"""Baselines of networks in the training loss, and the noise floor of the data, in z units."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from ..training.diagnosis import Reference
from ..uncertainty import noise_variance
from .arrays import Arrays
from .engines.base import Batch

_VALUES = 300_000  # numbers that a fit, the losses and the noise are estimated from, at most


def reference_of(
    arrays: Sequence[Arrays],
    train: NDArray[np.int64],
    batches: Sequence[Batch],
    measure: Callable[[NDArray, NDArray], float] | None = None,
) -> Reference:
    """The loss of persistence, of each node's mean and of an AR(1) of each node and feature, on the
    windows of ``batches``, and the loss that the measurement noise of these data leaves.

    Means and AR(1) are fitted to the trajectories ``train`` of the datasets with as many nodes.
    ``measure``: the summed loss of predicted and true states, where it is not the Huber loss; the loss
    that noise leaves is not known then.
    """
    loss = _huber_of if measure is None else measure
    fits = {
        nodes: _fit([(a, index) for a, index in _chosen(arrays, train) if a.x.shape[2] == nodes])
        for nodes in {a.x.shape[2] for a in arrays}
    }
    total, columns = dict.fromkeys(("persistence", "data mean", "AR(1)"), 0.0), 0
    noises: list[NDArray] = []
    horizon = batches[0].horizon
    for x, seen in _windows(arrays, batches):
        fit = fits[x.shape[2]]
        start, truth = x[:, :1], x[:, 1:]
        columns += x.shape[0] * x.shape[2]
        total["persistence"] += loss(np.broadcast_to(start, truth.shape), truth)
        if fit is None:
            total["data mean"] = total["AR(1)"] = np.nan
        else:
            mean, slope = fit
            power = slope ** np.arange(1, horizon + 1)[:, None, None]
            total["data mean"] += loss(np.broadcast_to(mean, truth.shape), truth)
            if measure is None:  # in the order of versions before, for the same bits
                total["AR(1)"] += _huber(truth - mean - power * (start - mean))
            else:
                total["AR(1)"] += loss(mean + power * (start - mean), truth)
        if seen:
            noises.append(x)
    losses = {name: value / columns for name, value in total.items()}
    if arrays[0].types is not None or measure is not None:
        return Reference(losses)  # the noise of each type is another
    noise = noise_variance(noises)
    if noise is None:
        return Reference(losses)
    return Reference(losses, float(sum(map(_huber_of_noise, noise))) * horizon)


def _huber_of(predicted: NDArray, truth: NDArray) -> float:
    return _huber(truth - predicted)


def _huber(error: NDArray) -> float:
    """Sum of the Huber loss (delta 1) of the known errors."""
    size = np.abs(error[np.isfinite(error)])
    return float(np.where(size < 1, 0.5 * size * size, size - 0.5).sum())


def _huber_of_noise(variance: float) -> float:
    """The expected Huber loss of normal noise."""
    normal = NormalDist()
    quantiles = np.array([normal.inv_cdf((i + 0.5) / 200) for i in range(200)])
    return _huber(math.sqrt(variance) * quantiles) / 200


def _chosen(
    arrays: Sequence[Arrays], index: NDArray[np.int64]
) -> Iterator[tuple[Arrays, NDArray[np.int64]]]:
    """Every dataset with those of the trajectories, numbered through all datasets, that it holds."""
    first = 0
    for each in arrays:
        here = index[(index >= first) & (index < first + each.trajectories)] - first
        if len(here):
            yield each, here
        first += each.trajectories


def _known(arrays: Arrays, rows: NDArray[np.int64], times: NDArray[np.int64]) -> NDArray:
    """States float64 of trajectories ``rows`` at ``times`` (row, time); NaN where missing."""
    x = arrays.x[rows[:, None], times].astype(np.float64)
    if arrays.mask is not None:
        x[~arrays.mask[rows[:, None], times]] = np.nan
    return x


def _thinned(index: NDArray, most: int) -> NDArray:
    """At most ``most`` (and at least one) of the numbers, at even distances."""
    if len(index) <= most:
        return index
    return index[np.linspace(0, len(index) - 1, max(1, most)).astype(int)]


def _fit(training: Sequence[tuple[Arrays, NDArray[np.int64]]]) -> tuple[NDArray, NDArray] | None:
    """Mean and AR(1) coefficient (node, feature) of the training states; None without any."""
    if not training:
        return None
    share = _VALUES // (2 * len(training))
    pairs = []
    for arrays, index in training:
        width = arrays.x.shape[2] * arrays.x.shape[3]
        starts = _thinned(np.arange(arrays.steps), max(8, share // width))
        rows = _thinned(index, max(1, share // (len(starts) * width)))
        now = np.broadcast_to(starts, (len(rows), len(starts)))
        pairs.append(
            np.stack(
                [
                    _known(arrays, rows, now + later).reshape(-1, *arrays.x.shape[2:])
                    for later in (0, 1)
                ]
            )
        )
    both = np.concatenate(pairs, axis=1)
    known = np.isfinite(both)
    count = known.sum(axis=(0, 1))
    mean = np.where(known, both, 0.0).sum(axis=(0, 1)) / np.maximum(count, 1)
    deviation = both - mean
    usable = known.all(axis=0)
    now, later = np.where(usable, deviation, 0.0)
    square = (now * now).sum(axis=0)
    slope = np.where(square > 0, (now * later).sum(axis=0) / np.where(square > 0, square, 1), 1.0)
    return mean, np.clip(slope, -1.0, 1.0)


def _jumps(arrays: Arrays) -> bool:
    """Whether inputs or weights of edges change in time. They are held over each time step, so that the
    derivative of the state jumps where they change, which high differences do not tell from noise."""
    u, weight = arrays.u, arrays.edge_weight
    if weight is not None and bool((weight[..., 1:, :] != weight[..., :1, :]).any()):
        return True
    return u is not None and bool((u[:, 1:] != u[:, :1]).any())


def _windows(arrays: Sequence[Arrays], batches: Sequence[Batch]) -> Iterator[tuple[NDArray, bool]]:
    """States (window, time, node, feature) of the windows, thinned, by dataset, and whether noise
    can be seen in differences of them; NaN where missing."""
    horizon = batches[0].horizon
    trajectory = np.concatenate([batch.trajectory for batch in batches])
    start = np.concatenate([batch.start for batch in batches])
    width = max(a.x.shape[2] * a.x.shape[3] for a in arrays)
    some = _thinned(np.arange(len(trajectory)), _VALUES // ((horizon + 1) * width))
    trajectory, start = trajectory[some], start[some]
    first = 0
    for each in arrays:
        here = np.flatnonzero((trajectory >= first) & (trajectory < first + each.trajectories))
        if len(here):
            times = start[here][:, None] + np.arange(horizon + 1)
            yield _known(each, trajectory[here] - first, times), each.even and not _jumps(each)
        first += each.trajectories
