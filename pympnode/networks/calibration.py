"""Calibration: from the spread of the members to standard deviations that hold.

Members of an ensemble share errors (their data, the noise of the first state), so that their spread alone
is mostly too small. On trajectories that the weights were not fitted to, the variance of the true state
about the mean of the members is set to

    V = (factor spread)^2 + floor^2,

with one factor and one floor of each feature and time since the start, and that of a reading to V + noise^2.
They are found in the order:

- ``noise``: the standard deviation of white measurement noise, estimated from differences in time of high
  order (`reference.noise_variance`), 0 where none is visible;
- the share of V that follows the spread, of each feature, by the least CRPS of readings;
- factor and floor, so that 90 % of the readings lie in the 90 % interval of a normal distribution.

One member alone has no spread, and a floor.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import FEATURE, NODE, STATE, TIME, TRAJECTORY
from ..errors import InvalidData, PympnodeError, PympnodeWarning, shown_value
from . import schema
from .agreement import agree
from .reference import noise_variance
from .uncertainty import DIMS, LEVEL, crps_of_normal, mean_and_variance
from .velocities import for_model

logger = logging.getLogger("pympnode.training")

_SHARES = np.linspace(0.0, 1.0, 11)  # of the variance that follows the spread
_MOST, _LEAST = 256, 16  # trajectories that a calibration rolls out
_VALUES = 20_000_000  # of their states, where that allows the least number
_ROWS = 20_000  # trajectories times nodes that it keeps


@dataclass(frozen=True, eq=False)
class Calibration:
    """``horizon`` (horizon,) times since the start, in the unit of time of the data, and (horizon, feature)
    ``factor`` and ``floor`` at these, between which they are interpolated and after which the last ones hold;
    ``floor`` and ``noise`` (feature,), the standard deviation of the measurement noise, in the units of
    the features. ``trajectories``: how many it was found on.
    """

    horizon: NDArray[np.float64]
    factor: NDArray[np.float64]
    floor: NDArray[np.float64]
    noise: NDArray[np.float64]
    trajectories: int

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
        of_state = np.square(factor)[:, None] * spread2 + np.square(floor)[:, None]
        of_reading = of_state + noise2
        given = time <= 0
        of_state[:, given], of_reading[:, given] = noise2, 0.0
        return of_state, of_reading


def calibrated(
    model: Any,
    datasets: Sequence[xr.Dataset],
    *,
    longest: int | None = None,
    ignore_weights: bool = False,
) -> Any:
    """``model`` with a `Calibration` on ``datasets``, in windows of ``longest`` intervals.

    Raises `InvalidData` where there is nothing to calibrate on.
    """
    for ds in datasets:
        if model.types is not None or not isinstance(ds, xr.Dataset) or STATE not in ds:
            raise InvalidData(
                "models of one type of nodes are calibrated on datasets of them",
                got=shown_value(getattr(ds, "data_vars", ds), 80)
                if model.types is None
                else f"a model of the types {', '.join(model.types.names)}",
                allowed="a dataset with state(trajectory, time, node, feature)",
            )
        schema.validate(ds, missing="mask")
    windows = [window for ds in datasets for window in _windows(ds, longest)]
    counts = [ds.sizes[TRAJECTORY] for ds in windows]
    most = _MOST
    if windows:
        one = windows[0].isel({TRAJECTORY: 0})
        most = min(_MOST, max(_LEAST, _VALUES // max(one[STATE].size, 1)))
    if sum(counts) > most:
        # Trajectories at even distances through all windows.
        first = np.cumsum([0, *counts])
        chosen = np.linspace(0, first[-1] - 1, most).astype(int)
        picked = [chosen[(chosen >= a) & (chosen < a + n)] - a for a, n in zip(first, counts)]
        windows = [ds.isel({TRAJECTORY: i}) for ds, i in zip(windows, picked) if i.size]
    errors = [_errors(model, ds, ignore_weights) for ds in windows]
    horizon, kept = _same_times([time for time, *_ in errors])
    errors = [each for each, keep in zip(errors, kept, strict=True) if keep]
    if not errors or len(horizon) < 2:
        raise InvalidData(
            "there is nothing to calibrate on",
            got=f"{sum(counts)} trajectories whose first state is known",
            allowed="at least one, of two times",
            fix="give trajectories that the model was not trained on",
        )
    noise = _noise(model, [truth for _, truth, _, _ in errors], horizon)
    rows = sum(error.shape[0] * error.shape[2] for *_, error, _ in errors)
    every = -(-rows // _ROWS)
    error, spread2 = (
        np.concatenate([_as_rows(each[number], len(horizon))[::every] for each in errors])
        for number in (2, 3)
    )
    trajectories = sum(len(error) for _, _, error, _ in errors)
    factor, floor = np.zeros((2, len(horizon), len(model.features)))
    for k in range(len(model.features)):
        factor[1:, k], floor[1:, k] = fitted(
            error[:, 1:, k], spread2[:, 1:, k], float(noise[k]) ** 2, trajectories
        )
    floor[0] = noise
    found = Calibration(horizon, factor, floor, noise, trajectories)
    return replace(model, calibration=found)


def calibrated_or_not(model: Any, datasets: Sequence[xr.Dataset], **options: Any) -> Any:
    """`calibrated` where it can be; the log has the reason where it cannot."""
    if not datasets or not np.isfinite(model.theta).all() or model.types is not None:
        return model
    try:
        with warnings.catch_warnings():
            # The training has warned of what is unusual in its data.
            warnings.simplefilter("ignore", PympnodeWarning)
            return calibrated(model, datasets, **options)
    except PympnodeError as error:  # no reason to lose what was trained
        logger.warning("the ensemble is not calibrated: %s", error.message)
        return model


def fitted(
    error: NDArray[np.float64], spread2: NDArray[np.float64], noise2: float, trajectories: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Factor and floor (time,) of errors of readings (row, time), NaN where not known, and variances over
    the members. ``trajectories`` of them are independent: of few, the largest error counts."""
    quantile = NormalDist().inv_cdf(0.5 + 0.5 * LEVEL)
    level = min(1.0, LEVEL * (1 + 1 / trajectories))
    finite = np.isfinite(error) & np.isfinite(spread2)
    error = np.where(finite, error, np.nan)
    lacking: NDArray[np.bool_] = np.array(~finite.any(axis=0))
    # A time without data has the values of the one before it.
    column = np.maximum.accumulate(np.where(lacking, 0, np.arange(error.shape[1])))
    error, spread2 = error[:, column], np.where(finite, spread2, np.nan)[:, column]
    if lacking[0]:
        return np.ones(len(column)), np.zeros(len(column))
    mean = np.nanmean(spread2, axis=0)
    unit = np.where(mean > 0, mean, 1.0)
    best: tuple[float, NDArray, NDArray] | None = None
    size = np.nanmean(np.abs(error), axis=0)
    for share in _SHARES if mean.any() else _SHARES[:1]:
        # Members that agree to the last bit take no share.
        of_spread = np.where(mean > 0, share, 0.0)
        shape = of_spread * spread2 / unit + (1 - of_spread)
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = np.maximum(np.square(error / quantile) - noise2, 0.0) / shape
        needed = np.where(np.isnan(needed) & np.isfinite(error), 0.0, needed)
        scale2 = np.nanquantile(needed, level, axis=0, method="higher")
        if not np.isfinite(scale2).all():
            continue
        crps = crps_of_normal(error, np.sqrt(scale2 * shape + noise2))
        with np.errstate(divide="ignore", invalid="ignore"):
            score = float(np.nanmean(np.nanmean(crps, axis=0) / size)) if size.any() else 0.0
        if best is None or score < best[0]:
            best = score, np.sqrt(scale2 * of_spread / unit), np.sqrt(scale2 * (1 - of_spread))
    assert best is not None, "a share of 0 is finite"
    return best[1], best[2]


def _windows(ds: xr.Dataset, longest: int | None) -> list[xr.Dataset]:
    """Windows of at most ``longest`` intervals, and of trajectories whose first state is known."""
    steps = ds.sizes[TIME] - 1
    length = steps if longest is None else min(longest, steps)
    out = []
    for first in range(0, steps - length + 1, max(length, 1)):
        window = ds.isel({TIME: slice(first, first + length + 1)})
        start = window[STATE].isel({TIME: 0}).transpose(TRAJECTORY, NODE, FEATURE)
        known = np.isfinite(start.values).all((1, 2))
        window = window.isel({TRAJECTORY: np.flatnonzero(known)})
        if window.sizes[TRAJECTORY]:
            out.append(window)
    return out


def _errors(
    model: Any, ds: xr.Dataset, ignore_weights: bool
) -> tuple[NDArray[np.float64], NDArray, NDArray, NDArray]:
    """Times since the start (time,), true states, errors and variances over the members (trajectory, time,
    node, feature), from the start on; NaN where the truth is missing."""
    ds = agree(for_model(ds, model.features), model.names)
    arrays = schema.pack(ds, missing="mask")
    model.check(arrays)
    rollout = model.rollout(ds, ignore_weights=ignore_weights, check=False)
    state = rollout[STATE].transpose(..., *DIMS)
    begin = 0
    if "predicted_from" in state.attrs:
        begin = int((arrays.time < state.attrs["predicted_from"]).sum()) - 1
    values = state.values if state.ndim == 5 else state.values[None]
    mean, variance = mean_and_variance(values[:, :, begin:])
    truth = arrays.x if arrays.mask is None else np.where(arrays.mask, arrays.x, np.nan)
    truth = truth[:, begin:]
    time = arrays.time[begin:] - arrays.time[begin]
    return time, truth, model.difference(truth - mean), variance


def _same_times(times: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.float64], list[bool]]:
    """The longest of several time grids, and which of them are its beginnings."""
    if not times:
        return np.zeros(0), []
    longest = max(times, key=len)
    fits = [bool(np.allclose(t, longest[: len(t)], rtol=1e-6, atol=0)) for t in times]
    return longest, fits


def _as_rows(values: NDArray, times: int) -> NDArray[np.float64]:
    """(trajectory, time, node, feature) as (row, time, feature) of ``times`` times; NaN where it has none."""
    rows = values.transpose(0, 2, 1, 3).reshape(-1, values.shape[1], values.shape[3])
    lacking = np.full((len(rows), times - rows.shape[1], rows.shape[2]), np.nan)
    return np.concatenate([rows, lacking], axis=1)


def _noise(model: Any, truth: Sequence[NDArray], time: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation (feature,) of the measurement noise, in the units of the features."""
    scale = np.asarray(model.state_scale.scale)
    step = np.diff(time)
    even = np.allclose(step, step[0], rtol=1e-3)
    found = noise_variance([x / scale for x in truth]) if even else None
    return np.zeros(len(scale)) if found is None else np.sqrt(found) * scale
