"""Errors of rollouts against data: the dataset that `pympnode.evaluate` returns for networks.

==========================  ================================  ====================================
variable                    dims                              unit
==========================  ================================  ====================================
``rmse``                    predictor, feature                the feature's own (coordinate unit)
``rmse_z``                  predictor                         z: standard deviations of the
                                                              training data
``rmse_time``               predictor, time, feature          the feature's own
``rmse_time_z``             predictor, time                   z
``rmse_trajectory_z``       predictor, trajectory             z
``valid_time``              predictor, trajectory             time; until the error of a trajectory
                                                              first exceeds the threshold (z)
``loss``                    predictor                         the training loss: Huber (delta 1) in
                                                              z units, summed over features and
                                                              times 1.., mean over nodes and
                                                              trajectories
``not_finite``              predictor                         trajectories that overflowed
``predicted``               trajectory, time, node, feature   the model's rollout, physical units
``observable_rmse``         predictor, observable             the observable's own (coordinate
                                                              ``observable_unit``)
``observable_rmse_time``    predictor, time, observable       the observable's own
``observable_true``,        trajectory, time, observable      the observable's own
``observable_predicted``
==========================  ================================  ====================================

Root mean squares are over times 1.. (the initial state is given), trajectories and nodes; missing
values are left out. With delayed messages the first times of the data are their past, and all is counted from the
last of these. Errors of circular features are of the shorter way around. The error of a trajectory that overflows is infinite. Observables (order
parameter, energy, ...) are included where the system of the data is known and has observables.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import FEATURE, STATE, STATE_DIMS, TIME, TRAJECTORY
from ..datasets.record import record, with_record
from . import baselines, schema
from .agreement import Names, agree
from .circular import shorter_way
from .model import Model
from .observables import known_system, observable_errors


def evaluate_model(
    model: Model,
    ds: xr.Dataset,
    *,
    threshold: float = 0.4,
    system: Any = None,
    ignore_weights: bool = False,
) -> xr.Dataset:
    """See `pympnode.evaluate`; ``threshold`` of the valid time in z units."""
    schema.validate(ds, missing="mask")
    ds = agree(ds, model.names)
    arrays = schema.pack(ds, missing="mask")
    model.check(arrays)
    rollout = model.rollout(ds, ignore_weights=ignore_weights)
    begin = 0
    if "predicted_from" in rollout[STATE].attrs:
        # The first times were given as the past of delayed messages: errors are of what comes after.
        begin = int((arrays.time < rollout[STATE].attrs["predicted_from"]).sum()) - 1
        later = slice(begin, None)
        rollout, ds = rollout.isel({TIME: later}), ds.isel({TIME: later})
        arrays = schema.pack(ds, missing="mask")
    state = rollout[STATE]
    if model.members > 1:
        state = state.mean("member")
    predictions = {
        "model": state.transpose(*STATE_DIMS).values,
        "persistence": baselines.persistence(arrays),
    }
    facts = record(ds)
    true = known_system(system, str(facts.get("system", "")), arrays)
    parameters = schema.parameters_of(ds, true)
    attributes = Names.of(ds).attributes
    uncoupled = None
    if true is not None:
        uncoupled = baselines.uncoupled(arrays, true, parameters, attributes)
    if uncoupled is not None:
        predictions["uncoupled"] = uncoupled
    if model.members > 1:
        each = rollout[STATE].transpose("member", *STATE_DIMS).values
        predictions |= {f"member {number}": member for number, member in enumerate(each)}
    scores = [
        _scores(model, arrays, predicted, threshold, ds) for predicted in predictions.values()
    ]
    out = xr.concat(scores, dim=xr.Variable("predictor", list(predictions)))
    observables = None
    if true is not None:
        observables = observable_errors(true, arrays, predictions, parameters, attributes)
    if observables is not None:
        out = out.merge(observables)
    out["predicted"] = rollout[STATE]
    out["predicted"].attrs["long_name"] = "predicted state"
    if begin:
        out.attrs["scored_from"] = float(arrays.time[1])
    out = out.assign_coords(
        {n: c for n, c in rollout.coords.items() if set(c.dims) <= set(out.dims)}
    )
    return with_record(
        out,
        kind="evaluation",
        system=facts.get("system", model.system),
        threshold=threshold,
        topology=facts.get("topology", []),
        engine=model.engine,
    )


def _scores(
    model: Model, arrays: schema.Arrays, predicted: NDArray, threshold: float, ds: xr.Dataset
) -> xr.Dataset:
    """The variables of one predictor; ``predicted`` (trajectory, time, node, feature)."""
    known = np.ones(arrays.x.shape, bool) if arrays.mask is None else arrays.mask
    truth = np.where(known, arrays.x, 0.0)[:, 1:]
    values = np.where(known, predicted, 0.0)[:, 1:].astype(np.float64)
    known = known[:, 1:]
    overflow = ~np.isfinite(values).all(axis=(1, 2, 3))
    # Infinite, not NaN: an overflow must not drop out of the mean.
    error = np.where(np.isfinite(values), shorter_way(values - truth, model.periods), np.inf)
    z = error / model.state_scale.scale
    with np.errstate(invalid="ignore", over="ignore"):
        square = np.square(error)
        square_z = np.square(z)
        size = np.abs(z)
        huber = np.where(size < 1, 0.5 * square_z, size - 0.5)
        count = arrays.x.shape[0] * arrays.x.shape[2]
        rms_tz = _root_mean(square_z, known, (0, 2, 3))
        by_trajectory = _root_mean(square_z, known, (2, 3))
        per_time = _root_mean(square, known, (0, 2))
        zero = np.zeros((1, per_time.shape[1]))
        variables = {
            "rmse": (FEATURE, _root_mean(square, known, (0, 1, 2))),
            "rmse_z": ((), _root_mean(square_z, known, (0, 1, 2, 3))),
            "rmse_time": ((TIME, FEATURE), np.concatenate([zero, per_time])),
            "rmse_time_z": (TIME, np.concatenate([[0.0], rms_tz])),
            "rmse_trajectory_z": (TRAJECTORY, _root_mean(square_z, known, (1, 2, 3))),
            "valid_time": (
                TRAJECTORY,
                _valid_time(by_trajectory, arrays.time, threshold),
            ),
            "loss": ((), float(np.where(known, huber, 0.0).sum() / count)),
            "not_finite": ((), int(overflow.sum())),
        }
    out = xr.Dataset(variables, coords={TIME: ds[TIME]})
    unit = str(ds[TIME].attrs.get("units", "1"))
    units = {"rmse_z": "z", "rmse_time_z": "z", "rmse_trajectory_z": "z", "valid_time": unit}
    names = {
        "rmse": "root mean square error",
        "rmse_z": "root mean square error",
        "rmse_time": "root mean square error",
        "rmse_time_z": "root mean square error",
        "rmse_trajectory_z": "root mean square error",
        "valid_time": "valid prediction time",
        "loss": "Huber loss",
        "not_finite": "trajectories that overflowed",
    }
    for name, title in names.items():
        out[name].attrs["long_name"] = title
        if name in units:
            out[name].attrs["units"] = units[name]
        elif name.startswith("rmse") and len(set(model.units)) == 1:
            out[name].attrs["units"] = model.units[0]
    return out


def _root_mean(
    square: NDArray, known: NDArray[np.bool_], axes: tuple[int, ...]
) -> NDArray[np.float64]:
    """Root of the mean of ``square`` over ``axes``, ``known`` values alone; NaN where there are none."""
    total = np.where(known, square, 0.0).sum(axis=axes)
    count = known.sum(axis=axes)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.sqrt(total / count)


def _valid_time(error: NDArray, time: NDArray[np.float64], threshold: float) -> NDArray[np.float64]:
    """Valid time (trajectory,): from the start to the last grid time before ``error`` exceeds the
    threshold, or to the last grid time if it never does.

    error (trajectory, time 1..), time (time,) with the start.
    """
    beyond = np.nan_to_num(error, nan=0.0) > threshold
    # Column i of ``error`` is time i + 1: the first column beyond is the number of the last valid time.
    first = np.where(beyond.any(axis=1), beyond.argmax(axis=1), error.shape[1])
    return (time - time[0])[first]
