"""Spread of ensembles, intervals, and the scores of predicted distributions.

A rollout of an ensemble has ``spread``, the standard deviation over its members. A calibrated model (see
`networks.calibration`) adds ``state_std``, the standard deviation of the true state about the mean of the
members, and ``reading_std``, that of a reading of it with measurement noise. All are (trajectory, time,
node, feature) in the units of the features. Intervals take both as normal.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from statistics import NormalDist
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import arguments, flag
from ..config import share as share_of
from ..datasets.names import FEATURE, NODE, PREDICTED, STATE, TIME, TRAJECTORY
from ..errors import InvalidData, InvalidOption
from .node_types import types_of

MEMBER, BOUND, TARGET = "member", "bound", "target"
SPREAD, STATE_STD, READING_STD = "spread", "state_std", "reading_std"
# What a standard deviation is of, by the name in ``target``.
STD_OF = {"state": STATE_STD, "reading": READING_STD}
LEVEL = 0.9  # of the intervals that are calibrated and scored
DIMS = (TRAJECTORY, TIME, NODE, FEATURE)


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


def with_uncertainty(model: Any, rollout: xr.Dataset) -> xr.Dataset:
    """A rollout with its spread and, of a calibrated model, the two standard deviations."""
    types = types_of(rollout)
    for suffix in [f"_{name}" for name in types] or [""]:
        state = rollout[f"{STATE}{suffix}"]
        if MEMBER in state.dims:
            _, variance = mean_and_variance(state.values, state.get_axis_num(MEMBER))
            dims = tuple(d for d in state.dims if d != MEMBER)
            about = {"long_name": "standard deviation over the members"}
            rollout[f"{SPREAD}{suffix}"] = dims, np.sqrt(variance).astype(state.dtype), about
    calibration = model.calibration
    if calibration is None or types:
        return rollout
    state = rollout[STATE]
    dims = tuple(d for d in state.dims if d != MEMBER)
    variance = np.zeros([rollout.sizes[d] for d in dims])
    if SPREAD in rollout:
        variance = np.square(rollout[SPREAD].values.astype(np.float64))
    time = rollout[TIME].values.astype(np.float64)
    begin = 0
    if "predicted_from" in state.attrs:
        begin = int((time < state.attrs["predicted_from"]).sum()) - 1
    of_state, of_reading = calibration.variances(variance, time - time[begin])
    for name, values, what in (
        (STATE_STD, of_state, "the state without noise"),
        (READING_STD, of_reading, "a reading, noise included"),
    ):
        about = {"long_name": f"predicted standard deviation of {what}"}
        rollout[name] = dims, np.sqrt(values).astype(state.dtype), about
    return rollout


def _level(name: str, value: Any) -> float:
    level = share_of(name, value)
    if not 0 < level < 1:
        raise InvalidOption(
            f"{name} is the probability of an interval",
            got=f"{name}={value}",
            allowed="above 0, below 1",
            fix="level=0.9",
        )
    return level


@arguments(level=_level, readings=flag)
def interval(
    prediction: xr.Dataset, level: float = LEVEL, *, readings: bool = False
) -> xr.DataArray:
    """Central intervals of a rollout or an evaluation: (bound, trajectory, time, node, feature), bounds
    "lower" and "upper", in the units of the features.

    They hold the true state with probability ``level``, with ``readings=True`` a reading of it, measurement
    noise included. The distribution is normal about the mean of the members; its standard deviation is
    that of a calibrated model, or the spread of the members where it was not calibrated (the attribute
    ``calibrated`` is 0 then, and such intervals are mostly too narrow).

    Raises `InvalidData` for predictions without a spread, and for nodes of several types.
    """
    name = STATE if isinstance(prediction, xr.Dataset) and STATE in prediction else PREDICTED
    if not isinstance(prediction, xr.Dataset) or name not in prediction:
        raise InvalidData(
            "there are no states to make intervals of",
            got=", ".join(map(str, getattr(prediction, "data_vars", ()))) or "no dataset",
            allowed="a rollout or an evaluation with nodes of one type",
            fix="rollout.spread_TYPE has the standard deviation over members of several types",
        )
    std = STD_OF["reading" if readings else "state"]
    calibrated = std in prediction
    if not calibrated and SPREAD not in prediction:
        raise InvalidData(
            "this prediction has one value and no spread",
            got=f"{name}{prediction[name].dims}",
            allowed="predictions of an ensemble, or of a calibrated model",
            fix="train(members=5), or model.calibrate(ds) on trajectories that were not trained on",
        )
    state = prediction[name]
    mean = state
    if MEMBER in state.dims:
        values, _ = mean_and_variance(state.values, state.get_axis_num(MEMBER))
        mean = state.isel({MEMBER: 0}, drop=True).copy(data=values.astype(state.dtype))
    width = prediction[std if calibrated else SPREAD] * _quantile(level)
    both = xr.concat([mean - width, mean + width], dim=xr.Variable(BOUND, ["lower", "upper"]))
    both = both.transpose(BOUND, *mean.dims).rename("interval")
    both.attrs = {
        "long_name": f"{100 * level:g} % interval of the {'reading' if readings else 'state'}",
        "level": level,
        "calibrated": int(calibrated),
    }
    return both


def scores(model: Any, arrays: Any, rollout: xr.Dataset) -> xr.Dataset:
    """Coverage, CRPS and sharpness of the predicted distributions against the data ``arrays``, and the
    CRPS of the members themselves; see `networks.evaluate`. Of an empty dataset where there is no
    distribution."""
    if types_of(rollout) or not {SPREAD, STATE_STD} & {*rollout.data_vars}:
        return xr.Dataset()
    state = rollout[STATE].transpose(..., *DIMS).values
    state = state if state.ndim == 5 else state[None]
    known = np.ones(arrays.x.shape, bool) if arrays.mask is None else arrays.mask
    truth = np.where(known, arrays.x, np.nan)
    # Errors of angles are of the shorter way around, for members and mean alike.
    center, _ = mean_and_variance(state)
    error = model.difference(truth - center)
    out: dict[str, list[NDArray]] = {"coverage": [], "crps": [], "sharpness": []}
    quantile = _quantile(LEVEL)
    for std in STD_OF.values():
        sigma = rollout[std if std in rollout else SPREAD].transpose(*DIMS).values
        sigma = sigma.astype(np.float64)
        # A value that overflowed is not covered by its interval.
        inside = np.where(np.isnan(truth), np.nan, np.abs(error) <= quantile * sigma)
        for name, values in (
            ("coverage", inside),
            ("crps", crps_of_normal(error, sigma)),
            ("sharpness", 2 * quantile * sigma),
        ):
            out[name].append(_by_time(values))
    of_members = model.difference(truth - state.astype(np.float64))
    found = xr.Dataset(
        {name: ((TARGET, TIME, FEATURE), np.stack(each)) for name, each in out.items()},
        coords={TARGET: list(STD_OF), TIME: rollout[TIME]},
    )
    found["crps_members"] = (TIME, FEATURE), _by_time(crps_of_members(of_members))
    calibrated = int(model.calibration is not None)
    names = {
        "coverage": f"share of the data inside the {100 * LEVEL:g} % interval",
        "crps": "CRPS of the predicted normal distribution",
        "sharpness": f"mean width of the {100 * LEVEL:g} % interval",
        "crps_members": "CRPS of the members",
    }
    for name, title in names.items():
        found[name].attrs |= {"long_name": title, "calibrated": calibrated}
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


def _quantile(level: float) -> float:
    return NormalDist().inv_cdf(0.5 + 0.5 * level)


def _by_time(values: NDArray) -> NDArray[np.float64]:
    """Means (time, feature) of the known values; the first time is given, and has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # times without known values
        mean = np.nanmean(values, axis=(0, 2))
    mean[0] = np.nan
    return mean


def distributions(rollout: xr.Dataset) -> Mapping[str, xr.DataArray]:
    """The spread and the standard deviations of a rollout by name, those that it has."""
    wanted = (SPREAD, STATE_STD, READING_STD)
    names = [f"{n}{s}" for n in wanted for s in ("", *(f"_{t}" for t in types_of(rollout)))]
    return {name: rollout[name] for name in names if name in rollout}
