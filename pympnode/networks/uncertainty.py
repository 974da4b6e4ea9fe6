"""Spread, intervals and scores of the predictions of networks (see `pympnode.uncertainty`).

A rollout of an ensemble has ``spread``, the standard deviation over its members. A calibrated model (see
`networks.calibration`) adds ``state_std``, the standard deviation of the true state about the mean of the
members, and ``reading_std``, that of a reading of it with measurement noise; a model that has the noise alone
(``noise``, of ``loss="gaussian"``) has ``reading_std``. All are (trajectory, time, node, feature) in the
units of the features. Intervals take both as normal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ..datasets.names import FEATURE, NODE, PREDICTED, STATE, TIME, TRAJECTORY
from ..errors import InvalidData
from ..uncertainty import (
    LEVEL,
    LONG_NAMES,
    MEMBER,
    READING_STD,
    SPREAD,
    STATE_STD,
    STD_OF,
    distribution_scores,
    interval_about,
    mean_and_variance,
    std_for,
)
from .node_types import types_of

DIMS = (TRAJECTORY, TIME, NODE, FEATURE)


def with_uncertainty(model: Any, rollout: xr.Dataset) -> xr.Dataset:
    """A rollout with its spread and, of a model that has them, the two standard deviations."""
    types = types_of(rollout)
    for suffix in [f"_{name}" for name in types] or [""]:
        state = rollout[f"{STATE}{suffix}"]
        if MEMBER in state.dims:
            _, variance = mean_and_variance(state.values, state.get_axis_num(MEMBER))
            dims = tuple(d for d in state.dims if d != MEMBER)
            about = {"long_name": LONG_NAMES[SPREAD]}
            rollout[f"{SPREAD}{suffix}"] = dims, np.sqrt(variance).astype(state.dtype), about
    if types or (model.calibration is None and model.noise is None):
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
    if model.calibration is None:
        of_reading = variance + np.square(model.noise)
        of_reading[:, : begin + 1] = 0.0
        found = {READING_STD: of_reading}
    else:
        variances = model.calibration.variances(variance, time - time[begin])
        found = dict(zip((STATE_STD, READING_STD), variances, strict=True))
    for name, values in found.items():
        rollout[name] = dims, np.sqrt(values).astype(state.dtype), {"long_name": LONG_NAMES[name]}
    return rollout


def interval(
    prediction: xr.Dataset, level: float = LEVEL, *, readings: bool = False
) -> xr.DataArray:
    """The intervals of networks; see `pympnode.interval`. Raises `InvalidData`."""
    name = STATE if isinstance(prediction, xr.Dataset) and STATE in prediction else PREDICTED
    if not isinstance(prediction, xr.Dataset) or name not in prediction:
        raise InvalidData(
            "there are no states to make intervals of",
            got=", ".join(map(str, getattr(prediction, "data_vars", ()))) or "no dataset",
            allowed="a rollout or an evaluation with nodes of one type",
            fix="rollout.spread_TYPE has the standard deviation over members of several types",
        )
    std, calibrated = std_for(prediction, readings)
    state = prediction[name]
    mean = state
    if MEMBER in state.dims:
        values, _ = mean_and_variance(state.values, state.get_axis_num(MEMBER))
        mean = state.isel({MEMBER: 0}, drop=True).copy(data=values.astype(state.dtype))
    return interval_about(mean, std, level, readings=readings, calibrated=calibrated)


def scores(model: Any, arrays: Any, rollout: xr.Dataset) -> xr.Dataset:
    """Coverage, CRPS and sharpness of the predicted distributions against the data ``arrays``, and the
    CRPS of the members themselves; see `networks.evaluate`. Of an empty dataset where there is no
    distribution."""
    if types_of(rollout):
        return xr.Dataset()
    sigma = {
        target: rollout[std if std in rollout else SPREAD].transpose(*DIMS).values.astype(float)
        for target, std in STD_OF.items()
        if {std, SPREAD} & {*rollout.data_vars}
    }
    if not sigma:
        return xr.Dataset()
    state = rollout[STATE].transpose(..., *DIMS).values
    state = state if state.ndim == 5 else state[None]
    known = np.ones(arrays.x.shape, bool) if arrays.mask is None else arrays.mask
    truth = np.where(known, arrays.x, np.nan)
    # Errors of angles are of the shorter way around, for members and mean alike.
    center, _ = mean_and_variance(state)
    return distribution_scores(
        model.difference(truth - center),
        ~np.isnan(truth),
        sigma,
        model.difference(truth - state.astype(np.float64)),
        rollout[TIME],
        calibrated=model.calibration is not None,
    )


def distributions(rollout: xr.Dataset) -> Mapping[str, xr.DataArray]:
    """The spread and the standard deviations of a rollout by name, those that it has."""
    wanted = (SPREAD, STATE_STD, READING_STD)
    names = [f"{n}{s}" for n in wanted for s in ("", *(f"_{t}" for t in types_of(rollout)))]
    return {name: rollout[name] for name in names if name in rollout}
