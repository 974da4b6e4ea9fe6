"""Gradient matching: the vector field regressed on time derivatives of the data, without rollouts.

A first stage of training (Varah 1982; Brunel 2008). Derivatives come from local polynomials of degree
4 through the states around each time, which are the differences of order 4 on five points, and a
Savitzky-Golay filter on more where the data are noisy. A pair (x, x + tau dx/dt) is a window of one
interval of length tau, and one explicit Euler step of the model over it has the loss of the vector
field: every kernel runs it unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .engines.base import Batch, Program
from .reference import noise_variance
from .schema import Arrays
from .spec import ModelSpec

_HALF_WIDTHS = (2, 3, 4, 6, 8, 12)  # points on either side of a time
_DEGREE = 4  # of the local polynomials
_NOISE = 0.1  # highest std of the noise in a derivative, in units of its root mean square
_COARSE = 0.3  # highest difference of the derivatives of order 2 and 4, in the same units
_STATES = 8  # states in a batch, in windows of the usual batch
_VALUES = 1_000_000  # of states that the sampling and the noise are judged by, at most


@dataclass(frozen=True, eq=False)
class PairBatch(Batch):
    """A batch of pairs; ``start`` counts the states of `pairs`, two a time."""


class Unmatched(Exception):
    """Why data or a model have no stage of gradient matching, in words."""


def refuse_spec(spec: ModelSpec, arrays: Sequence[Arrays], engine: str) -> None:
    """Raise `Unmatched` for a model or data that gradient matching is not made for."""
    if spec.carried:
        raise Unmatched("messages that are ODE states have no derivatives in the data")
    if any(a.u is not None for a in arrays):
        raise Unmatched("held controls change at the times of the data, where derivatives jump")
    if not all(a.even for a in arrays):
        raise Unmatched("the time grid is uneven")
    if engine != "torch":
        raise Unmatched("the stage runs on the torch engine")
    if min(a.steps for a in arrays) < 2 * _HALF_WIDTHS[0]:
        raise Unmatched(f"a derivative takes {2 * _HALF_WIDTHS[0] + 1} times")


def filters(half_width: int, degree: int = _DEGREE) -> tuple[NDArray, NDArray]:
    """Least-squares polynomials through 2 k + 1 points at distance 1: weights (place, point) of the
    value and of the derivative at each of the places 0 .. 2 k."""
    points = np.arange(2 * half_width + 1.0)
    value, slope = [], []
    for place in points:
        powers = np.vander(points - place, degree + 1, increasing=True)
        solution = np.linalg.pinv(powers)
        value.append(solution[0])
        slope.append(solution[1])
    return np.array(value), np.array(slope)


def _local(
    x: NDArray, weights: NDArray, circular: tuple[int, ...], add: bool
) -> NDArray[np.float64]:
    """Filter ``x`` (trajectory, time, node, feature): weighted sums of the differences of each state
    from those around it, plus the state itself with ``add``.

    Differences, so that angles count by the shorter way around the circle. NaN where a value in the
    window is NaN.
    """
    width = weights.shape[1]
    half, times = width // 2, x.shape[1]
    out = np.zeros(x.shape)
    places = np.arange(times)
    first = np.clip(places - half, 0, times - width)
    for point in range(width):
        away = x[:, first + point] - x
        if circular:
            channels = list(circular)
            turns = np.round(away[..., channels] / (2 * math.pi))
            away[..., channels] -= 2 * math.pi * turns
        out += weights[places - first, point][:, None, None] * away
    return out + x if add else out


def pairs(
    arrays: Sequence[Arrays], train: NDArray[np.int64], circular: tuple[int, ...] = ()
) -> tuple[list[Arrays], list[NDArray[np.bool_]], str]:
    """Arrays of the states x(t) at even numbers of a time grid, each followed by x(t) + tau dx/dt;
    where (trajectory, time) a derivative of any value is known; and what was done, in words.

    tau, one for all, is 1 / the root mean square of the derivatives, so that the loss is in their
    units. Noise is estimated from the training data (`reference.noise_variance`). Raises `Unmatched`
    where the noise is too large, or the sampling too coarse, for derivatives.
    """
    states = [_known(a) for a in arrays]
    first, judged = 0, []
    for each, x in zip(arrays, states):
        rows = train[(train >= first) & (train < first + each.trajectories)] - first
        if len(rows):
            most = max(1, _VALUES // max(1, int(np.prod(x.shape[1:]))))
            rows = np.unique(rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)])
            judged.append((x[rows], each))
        first += each.trajectories
    steps = [_step(a) for a in arrays]
    half = _half_width(judged, circular)
    value, slope = filters(half)
    slopes = [_local(x, slope / h, circular, False) for x, h in zip(states, steps)]
    square = np.concatenate([s[np.isfinite(s)] ** 2 for s in slopes])
    usual = math.sqrt(float(square.mean())) if square.size else 0.0
    if not usual > 0:
        raise Unmatched("the data do not change, or hold no times in a row")
    tau, out, usable = 1.0 / usual, [], []
    for each, x, dx in zip(arrays, states, slopes):
        # On five points the filter of values is the identity up to degree 4, and costs known states.
        smooth = x if half == _HALF_WIDTHS[0] else _local(x, value, circular, True)
        start = np.where(np.isfinite(smooth), smooth, each.x)
        goal = start + tau * dx
        known = np.isfinite(goal)
        both = np.stack([start, np.where(known, goal, 0.0)], axis=2)
        mask = np.stack([np.ones_like(known), known], axis=2)
        shape = (x.shape[0], 2 * x.shape[1], *x.shape[2:])
        out.append(
            replace(
                each,
                x=both.reshape(shape).astype(each.x.dtype),
                time=tau * np.arange(shape[1]),
                mask=None if known.all() else mask.reshape(shape),
            )
        )
        whole = np.isfinite(x).all(axis=(2, 3))
        usable.append(whole & known.any(axis=(2, 3)))
    if not any(u.any() for u in usable):
        raise Unmatched("no state is known whole beside its derivative")
    return out, usable, f"derivatives from {2 * half + 1} states each"


def _half_width(judged: Sequence[tuple[NDArray, Arrays]], circular: tuple[int, ...]) -> int:
    """The narrowest filter whose derivatives are precise enough. Raises `Unmatched`."""
    variance = noise_variance([x for x, _ in judged])
    noise = 0.0 if variance is None else math.sqrt(float(variance.max()))
    shortest = min(x.shape[1] for x, _ in judged)
    least = math.inf
    for half in _HALF_WIDTHS:
        if 2 * half + 1 > max(shortest // 2, 2 * _HALF_WIDTHS[0] + 1):
            break
        _, slope = filters(half)
        _, low = filters(half, 2)
        found = [
            (_local(x, slope, circular, False)[:, half:-half], _local(x, low, circular, False)[:, half:-half])
            for x, _ in judged
        ]  # fmt: skip
        four = np.concatenate([a.ravel() for a, _ in found])
        two = np.concatenate([b.ravel() for _, b in found])
        usual = math.sqrt(float(np.nanmean(four**2)))
        if not usual > 0:
            raise Unmatched("the data do not change")
        inner = float(np.linalg.norm(slope[half]))
        share = noise * inner / usual
        least = min(least, share)
        coarse = math.sqrt(float(np.nanmean((four - two) ** 2))) / usual
        if coarse > _COARSE and share <= _NOISE:
            raise Unmatched(
                f"the time steps are too long for derivatives: those of order 2 and 4 differ by "
                f"{coarse:.0%}, {_COARSE:.0%} is the limit"
            )
        if share <= _NOISE:
            return half
    raise Unmatched(f"noise is {least:.0%} of the derivatives, {_NOISE:.0%} is the limit")


def _known(arrays: Arrays) -> NDArray[np.float64]:
    x = arrays.x.astype(np.float64)
    return x if arrays.mask is None else np.where(arrays.mask, x, np.nan)


def _step(arrays: Arrays) -> float:
    return float((arrays.time[-1] - arrays.time[0]) / arrays.steps)


class Matching:
    """The batches of pairs of a task's training data, and the program that runs them.

    ``bind(spec, arrays)`` makes a program of a specification for data. Raises `Unmatched`.
    """

    def __init__(
        self,
        bind: Callable[[ModelSpec, list[Arrays]], Program],
        spec: ModelSpec,
        arrays: list[Arrays],
        train: NDArray[np.int64],
        batch_size: int,
        engine: str,
    ) -> None:
        refuse_spec(spec, arrays, engine)
        made, usable, self.text = pairs(arrays, train, spec.circular)
        self.program = bind(spec.replace(solver="euler", substeps=1, stride=1), made)
        places, first = [], 0
        for known in usable:
            trajectory, time = np.nonzero(known)
            chosen = np.isin(trajectory + first, train)
            places.append(np.stack([trajectory[chosen] + first, time[chosen]]))
            first += len(known)
        self._trajectory, self._time = np.concatenate(places, axis=1)
        if not len(self._time):
            raise Unmatched("no training state is known whole beside its derivative")
        self._size = min(batch_size * _STATES, len(self._time))

    def count(self, updates: int) -> int:
        """Batches of an epoch: as many as ``updates`` and no more than there are states for."""
        return max(1, min(updates, len(self._time) // self._size))

    def batches(self, updates: int, rng: np.random.Generator) -> Iterator[PairBatch]:
        """One epoch of batches: no state comes twice."""
        number = self.count(updates)
        chosen = rng.choice(len(self._time), number * self._size, replace=False)
        for here in chosen.reshape(number, self._size):
            yield PairBatch(self._trajectory[here], 2 * self._time[here], 1)
