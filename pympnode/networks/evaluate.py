"""Errors of rollouts against data: the dataset that `pympnode.evaluate` returns for networks.

==========================  ================================  ====================================
variable                    dims                              unit
==========================  ================================  ====================================
``rmse``                    predictor, feature                the feature's own (coordinate unit)
``rmse_z``                  predictor                         z: standard deviations of the
                                                              training data (of features that no part
                                                              of a model takes: of their change)
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
``rmse_z_type``             predictor, node_type              z; of nodes of several types, errors of
                                                              each
``rmse_time_z_type``        predictor, time, node_type        z
``observable_rmse``         predictor, observable             the observable's own (coordinate
                                                              ``observable_unit``)
``observable_rmse_time``    predictor, time, observable       the observable's own
``state_error``             predictor, error                  the error's own (coordinate
                                                              ``error_unit``)
``state_error_time``        predictor, time, error            the error's own
``observable_true``,        trajectory, time, observable      the observable's own
``observable_predicted``
``coverage``                target, time, feature             share of the data inside the 90 %
                                                              interval, of ensembles and calibrated
                                                              models (see `uncertainty.interval`)
``crps``                    target, time, feature             CRPS of the predicted normal
                                                              distribution; the feature's own
``sharpness``               target, time, feature             mean width of the 90 % interval; the
                                                              feature's own
``crps_members``            time, feature                     CRPS of the members, without bias of
                                                              their number; the feature's own
``spread``, ``state_std``,  trajectory, time, node, feature   of `Model.rollout`
``reading_std``
==========================  ================================  ====================================

``target`` is "state", for data without measurement noise, and "reading", for data with the noise of the
training data. Root mean squares are over times 1.. (the initial state is given), trajectories and
nodes; missing values are left out. With delayed messages the first times of the data are their past,
and all is counted from the last of these. Of nodes of several types ``feature`` has those of all types,
"type.name", and the states are ``predicted_TYPE``. Errors of circular features are of the shorter way
around. The error of a trajectory that overflows is infinite. Observables (order parameter, energy, ...)
and errors of states (distances, angles of attitudes, ...) are included where the system of the data is
known and has them; ``predictor`` has "constant_velocity" where it has ``rates``.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import FEATURE, NODE_TYPE, PREDICTED, STATE, TIME, TRAJECTORY, UNIT
from ..datasets.record import record, with_record
from . import baselines, schema
from .agreement import Names, agree
from .circular import shorter_way
from .model import Model
from .node_types import by_type, types_of
from .observables import known_system, observable_errors, state_errors
from .system_types import arrays_of_system, states_of_system
from .uncertainty import distributions, scores
from .velocities import for_model


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
    ds = agree(for_model(ds, model.features), model.names)
    arrays = schema.pack(ds, missing="mask", types=model.types)
    model.check(arrays)
    rollout = model.rollout(ds, ignore_weights=ignore_weights)
    begin = 0
    if STATE in rollout and "predicted_from" in rollout[STATE].attrs:
        # The first times were given as the past of delayed messages: errors are of what comes after.
        begin = int((arrays.time < rollout[STATE].attrs["predicted_from"]).sum()) - 1
        later = slice(begin, None)
        rollout, ds = rollout.isel({TIME: later}), ds.isel({TIME: later})
        arrays = schema.pack(ds, missing="mask")
    rollout = by_type(rollout)
    state = _states(rollout, arrays)
    predictions = {
        "model": _mean(state),
        "persistence": baselines.persistence(arrays),
    }
    facts = record(ds)
    true = known_system(system, str(facts.get("system", "")), arrays)
    parameters = schema.parameters_of(ds, true)
    moved = None if true is None else baselines.constant_velocity(arrays, true)
    if moved is not None:
        predictions["constant_velocity"] = moved
    attributes = Names.of(ds).attributes
    uncoupled = None
    if true is not None and arrays.types is None:
        uncoupled = baselines.uncoupled(arrays, true, parameters, attributes)
    if uncoupled is not None:
        predictions["uncoupled"] = uncoupled
    if model.members > 1:
        predictions |= {
            f"member {number}": member for number, member in zip(model.kept, state, strict=True)
        }
    errors = [
        _scores(model, arrays, predicted, threshold, ds) for predicted in predictions.values()
    ]
    out = xr.concat(errors, dim=xr.Variable("predictor", list(predictions)))
    if true is not None:
        plain, of_system = arrays, predictions
        if arrays.types is not None:
            of_system = {name: states_of_system(true, arrays, x) for name, x in predictions.items()}
            plain, attributes = arrays_of_system(true, arrays), ()
        for more in (
            observable_errors(true, plain, of_system, parameters, attributes),
            state_errors(true, plain, of_system, parameters),
        ):
            out = out if more is None else out.merge(more)
    for suffix in [f"_{name}" for name in types_of(rollout)] or [""]:
        out[f"{PREDICTED}{suffix}"] = rollout[f"{STATE}{suffix}"]
        out[f"{PREDICTED}{suffix}"].attrs["long_name"] = "predicted state"
    out = out.merge(scores(model, arrays, rollout)).assign(distributions(rollout))
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


def _mean(state: NDArray) -> NDArray:
    """The mean over the members that are finite."""
    if len(state) == 1:
        return state[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # where all members overflowed
        return np.nanmean(state, axis=0)


def _states(rollout: xr.Dataset, arrays: schema.Arrays) -> NDArray:
    """The states (member, trajectory, time, node, feature) of a rollout; 0 where nodes do not have a
    feature."""
    count = rollout.sizes.get("member")
    each = [rollout] if count is None else [rollout.isel(member=i) for i in range(count)]
    out = [schema.arrays_of(one, types=arrays.types).x for one in each]
    return np.stack(out)


def _scores(
    model: Model, arrays: schema.Arrays, predicted: NDArray, threshold: float, ds: xr.Dataset
) -> xr.Dataset:
    """The variables of one predictor; ``predicted`` (trajectory, time, node, feature)."""
    known = np.ones(arrays.x.shape, bool) if arrays.mask is None else arrays.mask
    if arrays.types is not None:
        known = known & arrays.real
    truth = np.where(known, arrays.x, 0.0)[:, 1:]
    values = np.where(known, predicted, 0.0)[:, 1:].astype(np.float64)
    known = known[:, 1:]
    overflow = ~np.isfinite(values).all(axis=(1, 2, 3))
    # Infinite, not NaN: an overflow must not drop out of the mean.
    difference = values - truth
    if arrays.types is None:
        difference = shorter_way(difference, model.periods)
    error = np.where(np.isfinite(values), difference, np.inf)
    z = error / model.state_scale.scale_of(arrays.node_type)
    with np.errstate(invalid="ignore", over="ignore"):
        square = np.square(error)
        square_z = np.square(z)
        size = np.abs(z)
        huber = np.where(size < 1, 0.5 * square_z, size - 0.5)
        count = arrays.x.shape[0] * arrays.x.shape[2]
        rms_tz = _root_mean(square_z, known, (0, 2, 3))
        by_trajectory = _root_mean(square_z, known, (2, 3))
        per_time = _by_feature(arrays, square, known, (0, 2))
        zero = np.zeros((1, per_time.shape[1]))
        variables = {
            "rmse": (FEATURE, _by_feature(arrays, square, known, (0, 1, 2))),
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
        if arrays.types is not None:
            variables |= _of_types(arrays, arrays.types.names, square_z, known)
    out = xr.Dataset(variables, coords={TIME: ds[TIME]})
    if arrays.types is not None:
        out = out.assign_coords(
            {
                FEATURE: list(model.features),
                UNIT: (FEATURE, list(model.units)),
                NODE_TYPE: list(arrays.types.names),
            }
        )
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
        if f"{name}_type" in out:
            out[f"{name}_type"].attrs |= {"long_name": title, "units": "z"}
        out[name].attrs["long_name"] = title
        if name in units:
            out[name].attrs["units"] = units[name]
        elif name.startswith("rmse") and len(set(model.units)) == 1:
            out[name].attrs["units"] = model.units[0]
    return out


def _by_feature(
    arrays: schema.Arrays, square: NDArray, known: NDArray[np.bool_], axes: tuple[int, ...]
) -> NDArray[np.float64]:
    """`_root_mean` of each feature; of several types those of one type after the other."""
    if arrays.types is None or arrays.node_type is None:
        return _root_mean(square, known, axes)
    found = []
    for number, width in enumerate(arrays.types.channels):
        here = np.flatnonzero(arrays.node_type == number)
        found.append(_root_mean(square[:, :, here, :width], known[:, :, here, :width], axes))
    return np.concatenate(found, axis=-1)


def _of_types(
    arrays: schema.Arrays, names: tuple[str, ...], square: NDArray, known: NDArray[np.bool_]
) -> dict[str, tuple[tuple[str, ...], NDArray]]:
    """Errors of each type in z units, over all times and by time."""
    total, by_time = [], []
    for number in range(len(names)):
        here = np.flatnonzero(arrays.node_type == number)
        one, seen = square[:, :, here], known[:, :, here]
        total.append(_root_mean(one, seen, (0, 1, 2, 3)))
        by_time.append(np.concatenate([[0.0], _root_mean(one, seen, (0, 2, 3))]))
    return {
        "rmse_z_type": ((NODE_TYPE,), np.array(total)),
        "rmse_time_z_type": ((TIME, NODE_TYPE), np.stack(by_time, axis=-1)),
    }


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
