"""Gradient matching: the vector field regressed on time derivatives of the data, without rollouts.

A first stage of training (Varah 1982; Brunel 2008). Derivatives come from local polynomials through
the states around each time: differences of order 4 to 8 where the data are smooth, and Savitzky-Golay
filters where they are noisy. A pair (x, x + tau dx/dt) is a window of one
interval of length tau, and one explicit Euler step of the model over it has the loss of the vector
field: every kernel runs it unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..memory import need
from ..uncertainty import noise_variance
from .arrays import Arrays
from .engines.base import Batch, Program
from .spec import ModelSpec

# Points on either side of a time, and degrees of the polynomial through them.
_FILTERS = ((2, 4), (3, 6), (4, 8), (3, 4), (4, 4), (6, 4), (8, 4), (12, 4))
_LARGEST_ERROR = 0.1  # of a derivative, in units of the root mean square of all
# The same without noise. A Lorenz system at the published step has 0.009: steps that long have an
# error in the solver too, which rollouts learn to compensate and derivatives do not.
_COARSE = 0.005
# Share of the training states that have a derivative. With fewer, four fifths of a run fit those few.
_LEAST_STATES = 0.1
_TIMES = 101  # in the samples that errors are estimated from
_STATES = 8  # states in a batch, in windows of the usual batch
_VALUES = 1_000_000  # of states that the sampling and the noise are judged by, at most


@dataclass(frozen=True, eq=False)
class PairBatch(Batch):
    """A batch of pairs; ``start`` counts the states of `pairs`, two a time."""


class Unmatched(Exception):
    """Why data or a model have no stage of gradient matching, in words."""


def refuse_spec(spec: ModelSpec, arrays: Sequence[Arrays], engine: str) -> None:
    """Raise `Unmatched` for a model or data that gradient matching is not made for."""
    if spec.delay or spec.learned_delays or any(a.graph.delay is not None for a in arrays):
        raise Unmatched("messages with delays take the past, which pairs of states do not hold")
    if spec.carried:
        raise Unmatched("messages that are ODE states have no derivatives in the data")
    if any(a.u is not None for a in arrays):
        raise Unmatched("held controls change at the times of the data, where derivatives jump")
    if any(a.edge_weight is not None for a in arrays):
        raise Unmatched("held weights of edges change at the times of the data")
    if not all(a.even for a in arrays):
        raise Unmatched("the time grid is uneven")
    if engine != "torch":
        raise Unmatched("the stage runs on the torch engine")
    if min(a.steps for a in arrays) < 6:
        raise Unmatched("derivatives and their errors take 7 times")


def filters(half_width: int, degree: int) -> tuple[NDArray, NDArray]:
    """Least-squares polynomials through 2 k + 1 points at distance 1: weights (place, point) of the
    change of the value and of the derivative at each of the places 0 .. 2 k."""
    points = np.arange(2 * half_width + 1.0)
    value, slope = [], []
    for place in points:
        # Scaled, because high powers of large numbers lose digits.
        powers = np.vander((points - place) / half_width, degree + 1, increasing=True)
        solution = np.linalg.pinv(powers)
        value.append(solution[0])
        slope.append(solution[1] / half_width)
    return np.array(value), np.array(slope)


def _local(x: NDArray, weights: NDArray, circular: tuple[int, ...]) -> NDArray[np.float64]:
    """Weighted sums of the differences of each state from those around it.

    ``x`` (trajectory, time, node, feature), ``weights`` (place, point). Differences, so that angles
    count by the shorter way around the circle from each time to the next. NaN where a value in the
    window is NaN.
    """
    width, times = weights.shape[1], x.shape[1]
    place = _places(times, width // 2)
    first = np.arange(times) - place
    way, unknown = _ways(x[..., list(circular)]) if circular else (x, None)
    out = np.zeros(x.shape)
    for point in range(width):
        away = x[:, first + point] - x
        if unknown is not None:
            along = way[:, first + point] - way
            along[unknown[:, first + point] != unknown] = np.nan
            away[..., list(circular)] = along
        out += weights[place, point][:, None, None] * away
    return out


def _ways(angle: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The way of each angle from the first time on, and how many steps of it are not known; a way
    may be many turns, so that no difference over several steps counts by the shorter way alone."""
    change = np.diff(angle, axis=1, prepend=angle[:, :1])
    change -= 2 * math.pi * np.round(change / (2 * math.pi))
    unknown = ~np.isfinite(change)
    way = np.cumsum(np.where(unknown, 0.0, change), axis=1)
    return way, np.cumsum(unknown, axis=1)


def pairs(
    arrays: Sequence[Arrays],
    train: NDArray[np.int64],
    circular: tuple[int, ...] = (),
    coarsest: float = _LARGEST_ERROR,
    type_channels: tuple[int, ...] = (),
    largest: float = _LARGEST_ERROR,
) -> tuple[list[Arrays], list[NDArray[np.bool_]], str]:
    """Arrays of the states x(t) at even numbers of a time grid, each followed by x(t) + tau dx/dt;
    where (trajectory, time) a derivative of any value is known; and what was done, in words.

    tau, one for all, is 1 / the root mean square of the derivatives, so that the loss is in their
    units. Raises `Unmatched` where the noise is too large, or the sampling too coarse, for
    derivatives; ``coarsest``: the largest error of derivatives of data without noise. ``type_channels``
    as in `ModelSpec`: zeros of channels that nodes do not have are no data to judge by.
    """
    sizes = [a.x.size for a in arrays]
    # Of all data states and derivatives, of one dataset the temporaries and the pairs, all in float64.
    need(
        16 * sum(sizes) + 72 * max(sizes),
        "derivatives of the data",
        fix="give matching=0, or fewer trajectories",
    )
    states = [_known(a) for a in arrays]
    real = [_real(a, type_channels) for a in arrays]
    samples = _samples(arrays, states, real, train)
    half, degree, errors = _best_filter(samples, circular, coarsest, largest)
    value, slope = filters(half, degree)
    slopes = [_local(x, slope / _step(a), circular) for x, a in zip(states, arrays)]
    usual = _root_mean_square([dx[..., here] for dx, here in zip(slopes, real)])
    if not usual > 0:
        raise Unmatched("the data do not change, or hold no times in a row")
    tau, out = 1 / usual, []
    usable: list[NDArray[np.bool_]] = []
    for each, x, dx in zip(arrays, states, slopes):
        dx[:, errors[_places(x.shape[1], half)] > largest] = np.nan
        # A polynomial through all of its points leaves the values as they are.
        smooth = x if degree == 2 * half else x + _local(x, value, circular)
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
        usable.append(np.asarray(whole & known.any(axis=(2, 3)), bool))
    if not any(u.any() for u in usable):
        raise Unmatched("no state is known whole beside its derivative")
    return (
        out,
        usable,
        _text(half, degree, errors),
    )


def slopes(
    arrays: Arrays, train: NDArray[np.int64], circular: tuple[int, ...] = ()
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], str]:
    """States and derivatives (trajectory, time, node, feature), NaN where these are not known; the error
    (time,) of derivatives in units of their root mean square; and what was done, in words.

    Raises `Unmatched` as `pairs` does; errors up to those of the derivatives themselves are allowed.
    """
    x = _known(arrays)
    samples = _samples([arrays], [x], [_real(arrays, ())], train)
    half, degree, errors = _best_filter(samples, circular, 1.0, 1.0)
    value, slope = filters(half, degree)
    out = _local(x, slope / _step(arrays), circular)
    smooth = x if degree == 2 * half else x + _local(x, value, circular)
    out[~np.isfinite(x).all(axis=(2, 3))] = np.nan  # the senders of a time must be known too
    states = np.where(np.isfinite(smooth), smooth, arrays.x)
    return states, out, errors[_places(x.shape[1], half)], _text(half, degree, errors)


def _text(half: int, degree: int, errors: NDArray[np.float64]) -> str:
    return (
        f"derivatives by polynomials of degree {degree} through {2 * half + 1} states, with errors "
        f"of about {errors[half]:.2g} of their root mean square"
    )


def derivatives(
    x: NDArray[np.float64], step: float, circular: tuple[int, ...] = ()
) -> tuple[NDArray[np.float64], int]:
    """Time derivatives of x (trajectory, time, node, feature), NaN where not known, on a grid of ``step``;
    and the number of times that those at the first time depend on.

    Raises `Unmatched` where the noise is too large, or the sampling too coarse or too short, for them.
    """
    need(24 * x.size, "derivatives of the data", fix="give fewer trajectories")
    times, values = min(_TIMES, x.shape[1]), max(1, x.shape[2] * x.shape[3])
    some = np.linspace(0, len(x) - 1, min(len(x), max(1, _VALUES // (times * values)))).astype(int)
    half, degree, _ = _best_filter([x[some, :times]], circular, _LARGEST_ERROR, _LARGEST_ERROR)
    return _local(x, filters(half, degree)[1] / step, circular), 2 * half + 1


def _samples(
    arrays: Sequence[Arrays],
    states: Sequence[NDArray],
    real: Sequence[NDArray[np.bool_]],
    train: NDArray[np.int64],
) -> list[NDArray]:
    """Some training states (trajectory, time, node, feature) of each dataset, over equal times; NaN
    where they are not ``real`` (node, feature)."""
    times = min(_TIMES, *(x.shape[1] for x in states))
    first, found = 0, []
    for each, x, here in zip(arrays, states, real):
        rows = train[(train >= first) & (train < first + each.trajectories)] - first
        first += each.trajectories
        if len(rows):
            most = max(1, _VALUES // (times * x.shape[2] * x.shape[3]))
            some = np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)
            chosen = x[rows[some], :times]
            found.append(chosen if here.all() else np.where(here, chosen, np.nan))
    return found


def _best_filter(
    samples: Sequence[NDArray], circular: tuple[int, ...], coarsest: float, largest: float
) -> tuple[int, int, NDArray[np.float64]]:
    """Half-width and degree of the filter with the smallest error of derivatives, and the errors
    (place,) in units of the root mean square of the derivatives.

    An error is that by noise, which is estimated from the data (`uncertainty.noise_variance`), and that
    of the polynomial: the difference from derivatives of a degree that is higher by 2, less the noise
    in this difference. Raises `Unmatched` where the smallest error is too large.
    """
    variance = noise_variance([_unwrapped(x, circular) for x in samples])
    noise = 0.0 if variance is None else float(variance.max())
    times = samples[0].shape[1]
    found = []
    for half, degree in _FILTERS:
        finer = (max(half, degree // 2 + 1), degree + 2)
        if 2 * finer[0] >= times:
            continue
        slopes = [_local(x, filters(half, degree)[1], circular) for x in samples]
        exact = [_local(x, filters(*finer)[1], circular) for x in samples]
        away = np.concatenate(
            [(a - b).swapaxes(0, 1).reshape(times, -1) for a, b in zip(slopes, exact)], axis=1
        )
        known = np.isfinite(away)
        square = (np.where(known, away, 0.0) ** 2).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        rows = _rows(times, half, degree)
        common = ((rows - _rows(times, *finer)) ** 2).sum(axis=1)
        total = np.maximum(square - noise * common, 0.0) + noise * (rows**2).sum(axis=1)
        inner = total[half : times - half].mean()
        # What noise adds to the square of the derivatives is known too.
        usual = _root_mean_square(slopes) ** 2 - noise * float((rows**2).sum(axis=1).mean())
        if usual > 0:
            errors = np.concatenate([total[:half], [inner], total[times - half :]])
            found.append((half, degree, np.sqrt(errors / usual)))
    if not found:
        raise Unmatched("the data do not change, or not by more than the noise")
    half, degree, errors = chosen = min(found, key=lambda one: one[2][one[0]])
    limit = largest if noise else coarsest
    if errors[half] > limit:
        raise Unmatched(
            f"derivatives have errors of about {errors[half]:.1%}, by "
            f"{'noise' if noise else 'the length of the time steps'}; {limit:.1%} is the limit"
        )
    return chosen


def _unwrapped(x: NDArray, circular: tuple[int, ...]) -> NDArray:
    """States whose angles go on beyond the circle; NaN after a missing one."""
    if not circular:
        return x
    x, channels = x.copy(), list(circular)
    change = np.diff(x[..., channels], axis=1)
    change -= 2 * math.pi * np.round(change / (2 * math.pi))
    x[:, 1:, :, channels] = x[:, :1, :, channels] + np.cumsum(change, axis=1)
    return x


def _places(times: int, half: int) -> NDArray[np.int64]:
    """Where each time is in the window of its filter."""
    at = np.arange(times)
    return at - np.clip(at - half, 0, times - 2 * half - 1)


def _rows(times: int, half: int, degree: int) -> NDArray[np.float64]:
    """The filter of derivatives as a matrix (times, times)."""
    out, place = np.zeros((times, times)), _places(times, half)
    slope = filters(half, degree)[1]
    for at, here in enumerate(place):
        out[at, at - here : at - here + 2 * half + 1] = slope[here]
    return out


def _root_mean_square(values: Sequence[NDArray]) -> float:
    """Of the known values; 0 without any."""
    square = sum(float(np.nansum(v * v)) for v in values)
    return math.sqrt(square / max(1, sum(int(np.isfinite(v).sum()) for v in values)))


def _real(arrays: Arrays, type_channels: tuple[int, ...]) -> NDArray[np.bool_]:
    """(node, feature): the channels that nodes have. All graphs have the same nodes of each type."""
    nodes, channels = arrays.x.shape[2:]
    if not type_channels:
        return np.ones((nodes, channels), bool)
    widths = np.array(type_channels)[arrays.graph[0].type_or_zeros]
    return np.arange(channels) < widths[:, None]


def _known(arrays: Arrays) -> NDArray[np.float64]:
    x = arrays.x.astype(np.float64)
    return x if arrays.mask is None else np.where(arrays.mask, x, np.nan)


def _step(arrays: Arrays) -> float:
    return float((arrays.time[-1] - arrays.time[0]) / arrays.steps)


class Matching:
    """The batches of pairs of a task's training data, and the program that runs them.

    ``bind(spec, arrays)`` makes a program of a specification for data. Raises `Unmatched`, and unless
    it was ``asked`` for also where time steps are so long that it did not help in measurements, and
    where missing values leave few states. ``largest``: the largest error of derivatives, in units of
    their root mean square.
    """

    def __init__(
        self,
        bind: Callable[[ModelSpec, list[Arrays]], Program],
        spec: ModelSpec,
        arrays: list[Arrays],
        train: NDArray[np.int64],
        batch_size: int,
        engine: str,
        *,
        asked: bool = True,
        largest: float = _LARGEST_ERROR,
    ) -> None:
        refuse_spec(spec, arrays, engine)
        coarsest = largest if asked else _COARSE
        made, usable, self.text = pairs(
            arrays, train, spec.circular, coarsest, spec.type_channels, largest
        )
        self.arrays = made
        self._usable = usable
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
        total = sum(each.trajectories * each.x.shape[1] for each in arrays) * len(train) / first
        if not asked and len(self._time) < _LEAST_STATES * total:
            raise Unmatched(
                f"only {len(self._time):,} of {round(total):,} training states are known whole beside a "
                "derivative"
            )
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

    def derivatives(
        self, index: NDArray[np.int64], most: int = 4000
    ) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """At most ``most`` states of the trajectories ``index`` of the first dataset, at even distances:
        trajectory (sample,), states and derivatives (sample, node, feature), NaN where not known."""
        arrays, known = self.arrays[0], self._usable[0].copy()
        known[~np.isin(np.arange(len(known)), index)] = False
        trajectory, time = np.nonzero(known)
        some = np.unique(np.linspace(0, max(0, len(time) - 1), min(most, len(time))).astype(int))
        trajectory, time = trajectory[some], time[some]
        start, goal = (arrays.x[trajectory, 2 * time + i].astype(np.float64) for i in (0, 1))
        slope = (goal - start) / float(arrays.time[1] - arrays.time[0])
        if arrays.mask is not None:
            slope[~arrays.mask[trajectory, 2 * time + 1]] = np.nan
        return trajectory, start, slope
