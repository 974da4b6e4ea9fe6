"""Distributions that ensembles predict: spread, calibration, intervals and scores, of networks and particles.

Arrays are (trajectory, time, node, feature), of particles (trajectory, time, particle and axis, variable).

Members of an ensemble share errors (their data, the noise of the first state), so that their spread alone
is mostly too small. On trajectories that the weights were not fitted to, the variance of the true state
about the mean of the members is set to

    V = factor^2 (spread^2)^power + floor^2,

with one factor and one floor of each feature and time since the start and one power of each feature, and
the variance of a reading to V + noise^2, with the standard deviation ``noise`` of white measurement
noise. They are found in this order:

- the share of V that follows the spread, and the power, of each feature, by the least CRPS of readings.
  Errors grow less than the spread where it is large (spikes that come at another time), and one factor
  of the spread would be too large there;
- factor and floor, so that 90 % of the readings lie in the 90 % interval of a normal distribution.

One member alone has no spread, and a floor.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import NormalDist
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .config import share as share_of
from .datasets.names import FEATURE, TIME, TRAJECTORY
from .errors import InvalidData, InvalidOption

MEMBER, BOUND, TARGET = "member", "bound", "target"
SPREAD, STATE_STD, READING_STD = "spread", "state_std", "reading_std"
# What a standard deviation is of, by the name in ``target``.
STD_OF = {"state": STATE_STD, "reading": READING_STD}
LONG_NAMES = {
    SPREAD: "standard deviation over the members",
    STATE_STD: "predicted standard deviation of the state without noise",
    READING_STD: "predicted standard deviation of a reading, noise included",
}
LEVEL = 0.9  # of the intervals that are calibrated and scored

_SHARES = np.linspace(0.0, 1.0, 11)  # of the variance that follows the spread
_POWERS = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)  # the first one where they are equal
_GAIN = 0.005  # share of the CRPS that another power must save
_ROWS = 20_000  # trajectories times nodes that a calibration keeps
_CHOOSING = 2_000  # of them that share and power are chosen on

_ORDERS = 8  # of the time differences
# Ratio of the noise estimates of successive orders where noise is seen. A smooth motion that is sampled
# coarsely reaches 0.94 at these orders, noise of a hundredth of the spread 0.97 and more.
_PLATEAU = (0.95, 1.05)
_VISIBLE = 1e-6  # variance in z units; less is rounding, or the last of the motion


# ---- calibration ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Calibration:
    """``horizon`` (horizon,) times since the start, in the unit of time of the data, and (horizon, feature)
    ``factor`` and ``floor`` at these, between which they are interpolated and after which the last ones hold;
    ``floor`` and ``noise`` (feature,), the standard deviation of the measurement noise, in the units of
    the features. ``trajectories``: how many it was found on. ``power`` (feature,): of the variance over
    the members; 1 for all without it.
    """

    horizon: NDArray[np.float64]
    factor: NDArray[np.float64]
    floor: NDArray[np.float64]
    noise: NDArray[np.float64]
    trajectories: int
    power: NDArray[np.float64] | None = None

    def variances(
        self, spread2: NDArray, time: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Variances of states and of readings (trajectory, time, node, feature).

        ``spread2``: variances over the members, of the same shape; ``time`` (time,) since the start.
        Readings at the start and before it are given: their variance is 0, and that of the state noise^2.
        """
        factor, floor = (
            np.stack([np.interp(time, self.horizon, column) for column in values.T], axis=-1)
            for values in (self.factor, self.floor)
        )
        noise2 = np.square(self.noise)
        power = np.ones_like(noise2) if self.power is None else self.power
        of_state = np.square(factor)[:, None] * spread2**power + np.square(floor)[:, None]
        of_reading = of_state + noise2
        given = time <= 0
        of_state[:, given], of_reading[:, given] = noise2, 0.0
        return of_state, of_reading

    def variables(self, feature_dim: str) -> dict[str, tuple[Any, NDArray[np.float64]]]:
        """The variables of a file of a model, ``feature_dim`` the dimension of its features."""
        dims = ("calibration_time", feature_dim)
        found: dict[str, tuple[Any, NDArray[np.float64]]] = {
            "calibration_horizon": ("calibration_time", self.horizon),
            "calibration_factor": (dims, self.factor),
            "calibration_floor": (dims, self.floor),
            "noise_std": (feature_dim, self.noise),
        }
        if self.power is not None:
            found["calibration_power"] = (feature_dim, self.power)
        return found

    @classmethod
    def from_variables(cls, ds: xr.Dataset, features: int, trajectories: int) -> Calibration:
        """The inverse of `variables`. Raises KeyError for values that are none of a calibration."""
        horizon, factor, floor, noise = (
            ds[name].values.astype(np.float64)
            for name in (
                "calibration_horizon",
                "calibration_factor",
                "calibration_floor",
                "noise_std",
            )
        )
        power = None
        if "calibration_power" in ds:
            power = ds["calibration_power"].values.astype(np.float64)
        shape = (len(horizon), features)
        all_values = [horizon, factor, floor, noise, *([] if power is None else [power])]
        valid = all(np.isfinite(v).all() and (v >= 0).all() for v in all_values)
        shapes = [factor.shape == shape, floor.shape == shape, noise.shape == shape[1:]]
        if not all(shapes) or not (power is None or power.shape == shape[1:]) or not valid:
            raise KeyError(f"a calibration of {shape} horizons and features")
        if not (np.diff(horizon) > 0).all() or len(horizon) < 2:
            raise KeyError("horizons of the calibration that grow")
        return cls(horizon, factor, floor, noise, trajectories, power)


@dataclass(frozen=True, eq=False)
class Errors:
    """Rollouts against readings: ``time`` (time,) since the start; ``truth``, ``error`` (reading less mean
    of the members) and ``spread2`` (variance over the members), each (trajectory, time, node, feature),
    NaN where a reading is missing."""

    time: NDArray[np.float64]
    truth: NDArray
    error: NDArray
    spread2: NDArray


def calibration_of(
    parts: Sequence[Errors],
    noise_of: Callable[[list[NDArray], NDArray[np.float64]], NDArray[np.float64]],
    *,
    given: int,
) -> Calibration:
    """The `Calibration` of errors on trajectories that weights were not fitted to.

    ``noise_of`` (readings of each part, times) returns the standard deviation of the noise (feature,).
    Parts whose times are no beginning of the longest ones are left out. ``given``: how many trajectories
    there were. Raises `InvalidData` where there is nothing to calibrate on.
    """
    horizon = max((part.time for part in parts), key=len, default=np.zeros(0))
    same = [
        part
        for part in parts
        if np.allclose(part.time, horizon[: len(part.time)], rtol=1e-6, atol=0)
    ]
    if not same or len(horizon) < 2:
        raise InvalidData(
            "there is nothing to calibrate on",
            got=f"{given} trajectories whose first state is known",
            allowed="at least one, of two times",
            fix="give trajectories that the model was not trained on",
        )
    noise = noise_of([part.truth for part in same], horizon)
    rows = sum(part.error.shape[0] * part.error.shape[2] for part in same)
    every = -(-rows // _ROWS)
    error, spread2 = (
        np.concatenate([_as_rows(values, len(horizon))[::every] for values in each])
        for each in ([part.error for part in same], [part.spread2 for part in same])
    )
    trajectories = sum(len(part.error) for part in same)
    factor, floor = np.zeros((2, len(horizon), len(noise)))
    power = np.ones(len(noise))
    for k in range(len(noise)):
        factor[1:, k], floor[1:, k], power[k] = fitted(
            error[:, 1:, k], spread2[:, 1:, k], float(noise[k]) ** 2, trajectories
        )
    floor[0] = noise
    return Calibration(horizon, factor, floor, noise, trajectories, power)


def fitted(
    error: NDArray[np.float64], spread2: NDArray[np.float64], noise2: float, trajectories: int
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    """Factor and floor (time,) and power of errors of readings (row, time), NaN where not known, and
    variances over the members. ``trajectories`` of them are independent: of few, the largest error counts."""
    level = min(1.0, LEVEL * (1 + 1 / trajectories))
    finite = np.isfinite(error) & np.isfinite(spread2)
    error = np.where(finite, error, np.nan)
    lacking: NDArray[np.bool_] = np.array(~finite.any(axis=0))
    # A time without data has the values of the one before it.
    column = np.maximum.accumulate(np.where(lacking, 0, np.arange(error.shape[1])))
    error, spread2 = error[:, column], np.where(finite, spread2, np.nan)[:, column]
    if lacking[0]:
        return np.ones(len(column)), np.zeros(len(column)), 1.0
    spread = bool(np.nanmax(spread2) > 0)
    some = slice(None, None, -(-len(error) // _CHOOSING))
    if np.isfinite(error[some]).any(axis=0).all():
        few_error, few_spread2 = error[some], spread2[some]
    else:  # readings that are rare
        few_error, few_spread2 = error, spread2
    size = np.nanmean(np.abs(few_error), axis=0)
    best: tuple[float, float, float] | None = None
    for power in _POWERS if spread else _POWERS[:1]:
        for share in _SHARES if spread else _SHARES[:1]:
            if share == 0 and power != 1:
                continue  # the floor alone
            shape, _ = _shape(few_spread2, share, power)
            scale2 = _scale2(few_error, shape, noise2, level)
            if not np.isfinite(scale2).all():
                continue
            crps = crps_of_normal(few_error, np.sqrt(scale2 * shape + noise2))
            with np.errstate(divide="ignore", invalid="ignore"):
                score = float(np.nanmean(np.nanmean(crps, axis=0) / size)) if size.any() else 0.0
            if best is None or score < best[0] * (1.0 if power == best[2] else 1 - _GAIN):
                best = score, float(share), power
    assert best is not None, "a share of 0 is finite"
    share, power = best[1:]
    shape, (of_spread, unit) = _shape(spread2, share, power)
    scale2 = _scale2(error, shape, noise2, level)
    if not np.isfinite(scale2).all():
        # Rows that were not chosen from have members that agree, and errors.
        power = 1.0
        shape, (of_spread, unit) = _shape(spread2, 0.0, power)
        scale2 = _scale2(error, shape, noise2, level)
    return np.sqrt(scale2 * of_spread / unit), np.sqrt(scale2 * (1 - of_spread)), power


def _shape(
    spread2: NDArray[np.float64], share: float, power: float
) -> tuple[NDArray[np.float64], tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Variances (row, time) but for their scale; the share that follows the spread, and its unit, (time,)."""
    value = spread2**power
    mean = np.nanmean(value, axis=0)
    unit = np.where(mean > 0, mean, 1.0)
    # Members that agree to the last bit take no share.
    of_spread = np.where(mean > 0, share, 0.0)
    return of_spread * value / unit + (1 - of_spread), (of_spread, unit)


def _scale2(
    error: NDArray[np.float64], shape: NDArray[np.float64], noise2: float, level: float
) -> NDArray[np.float64]:
    """Factors (time,) of ``shape`` with which the share ``level`` of the errors is inside its interval."""
    with np.errstate(divide="ignore", invalid="ignore"):
        needed = np.maximum(np.square(error / quantile(LEVEL)) - noise2, 0.0) / shape
    needed = np.where(np.isnan(needed) & np.isfinite(error), 0.0, needed)
    return np.nanquantile(needed, level, axis=0, method="higher")


def _as_rows(values: NDArray, times: int) -> NDArray[np.float64]:
    """(trajectory, time, node, feature) as (row, time, feature) of ``times`` times; NaN where it has none."""
    rows = values.transpose(0, 2, 1, 3).reshape(-1, values.shape[1], values.shape[3])
    lacking = np.full((len(rows), times - rows.shape[1], rows.shape[2]), np.nan)
    return np.concatenate([rows, lacking], axis=1)


def noise_text(features: Sequence[str], noise: NDArray[np.float64]) -> str:
    """Standard deviations of noise in words."""
    each = [f"{name} {std:.3g}" for name, std in zip(features, noise) if std > 0]
    return ", ".join(each) or "not visible"


def calibration_text(features: Sequence[str], found: Calibration) -> str:
    """A calibration in words."""
    return (
        f"on {found.trajectories} trajectories, over {found.horizon[-1]:.4g} of time; noise "
        + noise_text(features, found.noise)
    )


def windows_of(ds: xr.Dataset, longest: int | None) -> list[xr.Dataset]:
    """Windows of at most ``longest`` intervals, one after the other."""
    steps = ds.sizes[TIME] - 1
    length = steps if longest is None else min(longest, steps)
    starts = range(0, steps - length + 1, max(length, 1))
    return [ds.isel({TIME: slice(first, first + length + 1)}) for first in starts]


def thinned(windows: Sequence[xr.Dataset], most: int) -> list[xr.Dataset]:
    """At most ``most`` trajectories, at even distances through all windows."""
    counts = [ds.sizes[TRAJECTORY] for ds in windows]
    if sum(counts) <= most:
        return list(windows)
    first = np.cumsum([0, *counts])
    chosen = np.linspace(0, first[-1] - 1, most).astype(int)
    picked = [chosen[(chosen >= a) & (chosen < a + n)] - a for a, n in zip(first, counts)]
    return [ds.isel({TRAJECTORY: i}) for ds, i in zip(windows, picked) if i.size]


# ---- measurement noise ---------------------------------------------------------------------------


def noise_variance(windows: Sequence[NDArray]) -> NDArray[np.float64] | None:
    """Variance (feature,) of white noise in windows (window, time, node, feature), 0 for features
    without noise; None where no feature has visible noise, or where one varies in a way that is
    neither smooth nor white: its part of the loss is not known, and the sum of the others is no floor.

    The variance of a k-th difference of white noise is binomial(2k, k) times its own, for every k,
    while that of a smooth signal falls with k (the estimator of Hall, Kay & Titterington 1990 for
    growing k). Noise is visible where the last three orders of eight agree.
    """
    windows = [x for x in windows if x.shape[1] > _ORDERS]
    if not windows:
        return None
    estimates = []
    for order in range(_ORDERS - 2, _ORDERS + 1):
        total, count = 0.0, 0
        for x in windows:
            square = np.diff(x, n=order, axis=1) ** 2
            known = np.isfinite(square)
            total = total + np.where(known, square, 0.0).sum(axis=(0, 1, 2))
            count = count + known.sum(axis=(0, 1, 2))
        estimates.append(total / np.maximum(count, 1) / comb(2 * order, order))
    value = np.array(estimates)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = value[1:] / value[:-1]
    low, high = _PLATEAU
    rough = value[-1] > _VISIBLE
    seen = ((ratio > low) & (ratio < high)).all(axis=0) & rough
    return np.where(seen, value[-1], 0.0) if seen.any() and (seen | ~rough).all() else None


def noise_std(
    readings: Sequence[NDArray], time: NDArray[np.float64], scale: NDArray
) -> NDArray[np.float64] | None:
    """Standard deviation (feature,) of the measurement noise, in the unit of ``scale`` (feature,); 0 where
    `noise_variance` sees none, None for uneven time grids and fewer than 9 times."""
    step = np.diff(time)
    if len(time) <= _ORDERS or not np.allclose(step, step[0], rtol=1e-3):
        return None
    found = noise_variance([x / scale for x in readings])
    return np.zeros(len(scale)) if found is None else np.sqrt(found) * scale


# ---- intervals and scores ------------------------------------------------------------------------


def mean_and_variance(
    state: NDArray, axis: int = 0
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and variance over the members along ``axis`` whose value is finite; the variance, of N - 1
    degrees of freedom, is 0 of one member, and both are NaN where none is finite."""
    values = np.where(np.isfinite(state), state, np.nan).astype(np.float64)
    count = np.isfinite(values).sum(axis)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where all members overflowed
        mean = np.nanmean(values, axis=axis)
        square = np.nansum((values - np.expand_dims(mean, axis)) ** 2, axis=axis)
    variance = square / np.maximum(count - 1, 1)
    return mean, np.where(count > 0, variance, np.nan)


def check_level(name: str, value: Any) -> float:
    """The probability of an interval. Raises `InvalidOption`."""
    level = share_of(name, value)
    if not 0 < level < 1:
        raise InvalidOption(
            f"{name} is the probability of an interval",
            got=f"{name}={value}",
            allowed="above 0, below 1",
            fix="level=0.9",
        )
    return level


def std_for(prediction: xr.Dataset, readings: bool, suffix: str = "") -> tuple[xr.DataArray, bool]:
    """The standard deviation that an interval is made of, and whether it was calibrated. Raises
    `InvalidData` for a prediction without one."""
    name, spread = f"{STD_OF['reading' if readings else 'state']}{suffix}", f"{SPREAD}{suffix}"
    if name not in prediction and spread not in prediction:
        raise InvalidData(
            "this prediction has one value and no spread",
            got=", ".join(map(str, prediction.data_vars)),
            allowed="predictions of an ensemble, or of a calibrated model",
            fix="train(members=5), or model.calibrate(ds) on trajectories that were not trained on",
        )
    return prediction[name if name in prediction else spread], f"{STATE_STD}{suffix}" in prediction


def interval_about(
    mean: xr.DataArray, std: xr.DataArray, level: float, *, readings: bool, calibrated: bool
) -> xr.DataArray:
    """The central interval (bound, ...) of normal distributions of ``mean`` and ``std`` (...)."""
    width = std * quantile(level)
    both = xr.concat([mean - width, mean + width], dim=xr.Variable(BOUND, ["lower", "upper"]))
    both = both.transpose(BOUND, *mean.dims).rename("interval")
    both.attrs = {
        "long_name": f"{100 * level:g} % interval of the {'reading' if readings else 'state'}",
        "level": level,
        "calibrated": int(calibrated),
    }
    return both


def distribution_scores(
    error: NDArray,
    known: NDArray[np.bool_],
    sigma: Mapping[str, NDArray],
    of_members: NDArray,
    time: xr.DataArray,
    *,
    calibrated: bool,
) -> xr.Dataset:
    """Coverage, CRPS and sharpness (target, time, feature), and the CRPS of the members themselves (time,
    feature); the first time is given, and has none.

    ``error``: data less mean, NaN where data are not ``known``, ``sigma`` standard deviations by target, all
    (trajectory, time, node, feature); ``of_members`` (member, ...) data less members.
    """
    out: dict[str, list[NDArray]] = {"coverage": [], "crps": [], "sharpness": []}
    wide = quantile(LEVEL)
    for std in sigma.values():
        # A value that overflowed is not covered by its interval.
        inside = np.where(known, np.abs(error) <= wide * std, np.nan)
        for name, values in (
            ("coverage", inside),
            ("crps", crps_of_normal(error, std)),
            ("sharpness", 2 * wide * std),
        ):
            out[name].append(_by_time(values))
    found = xr.Dataset(
        {name: ((TARGET, TIME, FEATURE), np.stack(each)) for name, each in out.items()},
        coords={TARGET: list(sigma), TIME: time},
    )
    found["crps_members"] = (TIME, FEATURE), _by_time(crps_of_members(of_members))
    names = {
        "coverage": f"share of the data inside the {100 * LEVEL:g} % interval",
        "crps": "CRPS of the predicted normal distribution",
        "sharpness": f"mean width of the {100 * LEVEL:g} % interval",
        "crps_members": "CRPS of the members",
    }
    for name, title in names.items():
        found[name].attrs |= {"long_name": title, "calibrated": int(calibrated)}
    return found


def crps_of_normal(error: NDArray, sigma: NDArray) -> NDArray[np.float64]:
    """CRPS of normal distributions with standard deviation ``sigma`` for data ``error`` from their means
    (Gneiting & Raftery 2007, eq. 21); the absolute error where sigma is 0."""
    from scipy.special import ndtr

    with np.errstate(divide="ignore", invalid="ignore"):
        z = error / sigma
        density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
        value = sigma * (z * (2 * ndtr(z) - 1) + 2 * density - 1 / np.sqrt(np.pi))
    return np.where(sigma > 0, value, np.abs(error) + 0 * sigma)


def crps_of_members(error: NDArray) -> NDArray[np.float64]:
    """CRPS of ensembles of finite size, without bias (Ferro 2014, eq. 8): the mean of |x_i - y| less half
    of the mean of |x_i - x_j| over pairs of different members. ``error`` (member, ...): y - x_i."""
    members = len(error)
    # The sum of |a - b| over pairs of sorted values, in one pass.
    order = np.sort(error, axis=0)
    rank = (2 * np.arange(members) - members + 1).reshape(-1, *[1] * (error.ndim - 1))
    pairs = (rank * order).sum(axis=0) / max(members * (members - 1), 1)
    return np.abs(error).mean(axis=0) - pairs


def quantile(level: float) -> float:
    """Half of the width of the central interval of the standard normal distribution."""
    return NormalDist().inv_cdf(0.5 + 0.5 * level)


def _by_time(values: NDArray) -> NDArray[np.float64]:
    """Means (time, feature) of the known values; the first time is given, and has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # times without known values
        mean = np.nanmean(values, axis=(0, 2))
    mean[0] = np.nan
    return mean
