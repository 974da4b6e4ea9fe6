"""Observables of states (order parameter, energy, mean expression, ...), and errors in them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import TIME, TRAJECTORY
from ..errors import InvalidData, PympnodeError
from ..systems.base import System
from ..systems.registry import get, names
from .arrays import Arrays
from .attributes import varied_parameters

logger = logging.getLogger("pympnode.evaluation")

OBSERVABLE, ERROR = "observable", "error"


def known_system(system: Any, name: str, arrays: Arrays) -> System | None:
    """The true system of some data: ``system`` (one or its name), or the registered one of ``name``.

    None where there is none, or where its numbers of features and controls are not those of
    ``arrays``.
    """
    if system is None and name not in names():
        return None
    true = get(name if system is None else system)
    if arrays.types is not None:
        return true.of_types(arrays.types.names)
    controls = 0 if arrays.u is None else arrays.u.shape[-1]
    fits = true.features == arrays.x.shape[-1] and len(true.controls) == controls
    return true if fits else None


def observe(
    system: System,
    x: NDArray,
    arrays: Arrays,
    parameters: Mapping[str, Any],
    attributes: Sequence[str] = (),
) -> NDArray[np.float64]:
    """The observables of states x (trajectory, time, node, feature): (trajectory, time, observable).

    ``arrays`` gives the graph of each trajectory, and where they differ by trajectory the parameters
    that the ``attributes`` of nodes are named after. An observable of a state that is missing (NaN) is
    NaN. Raises `InvalidData` when an observable returns another shape.
    """
    given = {k: v for k, v in parameters.items() if k in system.parameters}
    resolved = system.resolve_parameters(given, arrays.graph)
    out = np.full((*x.shape[:2], len(system.observables)), np.nan)
    for number in range(arrays.graph.graphs):
        chosen = np.flatnonzero(arrays.graph_of == number)
        if not chosen.size:
            continue
        graph = arrays.graph[number]
        of_graph = system.parameters_of_graph(resolved, arrays.graph, number)
        for name, values in varied_parameters(system, arrays, attributes, chosen).items():
            of_graph[name] = values[:, None]  # (trajectory, time, node)
        states = np.asarray(x[chosen], dtype=np.float64)
        for column, (name, observable) in enumerate(system.observables.items()):
            with np.errstate(all="ignore"):  # an overflowed prediction is counted elsewhere
                if arrays.edge_weight is None:
                    values = np.asarray(observable(states, graph, of_graph))
                else:
                    values = _in_time(observable, states, of_graph, arrays, chosen, number)
            if values.shape != states.shape[:2]:
                raise InvalidData(
                    f"the observable {name!r} of {system.name} returns the wrong shape",
                    got=values.shape,
                    allowed=f"(...) of x (..., node, feature): here {states.shape[:2]}",
                    fix="reduce over the last two axes: x[..., 0].mean(axis=-1)",
                )
            out[chosen, :, column] = values
    out[np.isnan(x).any(axis=(2, 3))] = np.nan
    return out


def _in_time(
    observable: Any,
    states: NDArray,
    parameters: Mapping[str, Any],
    arrays: Arrays,
    chosen: NDArray[np.int64],
    number: int,
) -> NDArray:
    """An observable (trajectory, time) of states on graph ``number``, whose weights vary in time."""
    assert arrays.edge_weight is not None
    together = [np.arange(len(chosen))]
    if arrays.edge_weight.ndim == 3:  # weights of their own
        together = [np.array([row]) for row in range(len(chosen))]
    out = np.full(states.shape[:2], np.nan)
    for rows in together:
        some = {
            name: values[rows] if np.ndim(values) == 3 else values
            for name, values in parameters.items()
        }
        for time in range(states.shape[1]):
            graph = arrays.graph_at(time, int(chosen[rows[0]]))[number]
            values = np.asarray(observable(states[rows, time : time + 1], graph, some))
            if values.shape != (len(rows), 1):
                return values  # refused by the caller
            out[rows, time] = values[:, 0]
    return out


def observable_errors(
    system: System,
    arrays: Arrays,
    predictions: Mapping[str, NDArray],
    parameters: Mapping[str, Any],
    attributes: Sequence[str] = (),
) -> xr.Dataset | None:
    """Root mean square errors of each predictor's observables, and the observables themselves.

    None where the system has no observables, or its parameters are not those of the data.
    """
    if not system.observables:
        return None
    x = arrays.x if arrays.mask is None else np.where(arrays.mask, arrays.x, np.nan)
    try:
        truth = observe(system, x, arrays, parameters, attributes)
    except InvalidData:
        raise
    except PympnodeError as error:
        logger.warning("no errors in observables: %s", error.message)
        return None
    total, over_time, observed = [], [], {}
    for name, predicted in predictions.items():
        values = observe(system, predicted, arrays, parameters, attributes)
        observed[name] = values
        known = np.isfinite(truth)
        # Infinite, not NaN: an overflow must not drop out of the mean.
        difference = np.where(np.isfinite(values), values - np.nan_to_num(truth), np.inf)
        square = np.where(known, np.square(difference), 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            over_time.append(np.sqrt(square.sum(axis=0) / known.sum(axis=0)))
            count = known[:, 1:].sum(axis=(0, 1))
            total.append(np.sqrt(square[:, 1:].sum(axis=(0, 1)) / count))
    dims = (TRAJECTORY, TIME, OBSERVABLE)
    units = [o.unit for o in system.observables.values()]
    title = {"long_name": "root mean square error"}
    return xr.Dataset(
        {
            "observable_rmse": (("predictor", OBSERVABLE), np.array(total), title),
            "observable_rmse_time": (("predictor", TIME, OBSERVABLE), np.array(over_time), title),
            "observable_true": (dims, truth, {"long_name": "observable of the data"}),
            "observable_predicted": (
                dims,
                observed["model"],
                {"long_name": "observable of the model's rollout"},
            ),
        },
        coords={OBSERVABLE: list(system.observables), "observable_unit": (OBSERVABLE, units)},
    )


def state_errors(
    system: System,
    arrays: Arrays,
    predictions: Mapping[str, NDArray],
    parameters: Mapping[str, Any],
) -> xr.Dataset | None:
    """Root mean squares of the system's `System.errors` of each predictor, over times 1.. and by time.

    Nodes and times at which a feature is missing are left out; a prediction that overflowed is infinite.
    None where the system has no errors, or its parameters are not those of the data.
    """
    if not system.errors:
        return None
    true = arrays.x if arrays.mask is None else np.where(arrays.mask, arrays.x, np.nan)
    try:
        given = {k: v for k, v in parameters.items() if k in system.parameters}
        resolved = system.resolve_parameters(given, arrays.graph)
    except PympnodeError as error:
        logger.warning("no errors of states: %s", error.message)
        return None
    total = np.full((len(predictions), len(system.errors)), np.nan)
    by_time = np.full((len(predictions), arrays.x.shape[1], len(system.errors)), np.nan)
    for row, predicted in enumerate(predictions.values()):
        for column, one in enumerate(system.errors.values()):
            with np.errstate(all="ignore"):
                values = np.asarray(one.function(predicted, true, resolved))
            known = np.isfinite(true).all(axis=-1)
            known = known if values.ndim == 3 else known.all(axis=-1)
            square = np.where(np.isfinite(values), np.square(values), np.inf)
            square = np.where(known, square, 0.0)
            axes = tuple(axis for axis in range(values.ndim) if axis != 1)
            with np.errstate(invalid="ignore", divide="ignore"):
                by_time[row, :, column] = np.sqrt(square.sum(axis=axes) / known.sum(axis=axes))
                total[row, column] = np.sqrt(square[:, 1:].sum() / known[:, 1:].sum())
    title = {"long_name": "root mean square error"}
    return xr.Dataset(
        {
            "state_error": (("predictor", ERROR), total, title),
            "state_error_time": (("predictor", TIME, ERROR), by_time, title),
        },
        coords={
            ERROR: list(system.errors),
            "error_unit": (ERROR, [e.unit for e in system.errors.values()]),
        },
    )
