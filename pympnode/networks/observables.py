"""Errors in what a field calls observables: order parameter, energy, mean expression, ..."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import TIME, TRAJECTORY
from ..errors import InvalidData, PympnodeError
from ..systems.base import System
from ..systems.registry import get, names
from .schema import Arrays

logger = logging.getLogger("pympnode.evaluation")

OBSERVABLE = "observable"


def known_system(system: Any, name: str, arrays: Arrays) -> System | None:
    """The system that made some data: the one given, or the registered one of that name.

    None where there is none, or where its state or inputs are not those of the data.
    """
    if system is None and name not in names():
        return None
    true = get(name if system is None else system)
    controls = 0 if arrays.u is None else arrays.u.shape[-1]
    fits = true.features == arrays.x.shape[-1] and len(true.controls) == controls
    return true if fits else None


def observe(
    system: System, x: NDArray, arrays: Arrays, parameters: Mapping[str, Any]
) -> NDArray[np.float64]:
    """The observables of states x (trajectory, time, node, feature): (trajectory, time, observable).

    ``arrays`` says which trajectory lives on which graph. Where a state is not known (NaN), neither
    is its observable. Raises `InvalidData` when an observable returns another shape.
    """
    given = {k: v for k, v in parameters.items() if k in system.parameters}
    resolved = system.resolve_parameters(given, arrays.graph)
    out = np.full((*x.shape[:2], len(system.observables)), np.nan)
    for number in range(arrays.graph.graphs):
        chosen = np.flatnonzero(arrays.graph_of == number)
        if not chosen.size:
            continue
        graph = arrays.graph[number]
        here = system.parameters_of_graph(resolved, arrays.graph, number)
        states = np.asarray(x[chosen], dtype=np.float64)
        for column, (name, observable) in enumerate(system.observables.items()):
            with np.errstate(all="ignore"):  # an overflowed prediction is counted elsewhere
                values = np.asarray(observable(states, graph, here))
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


def observable_errors(
    system: System,
    arrays: Arrays,
    predictions: Mapping[str, NDArray],
    parameters: Mapping[str, Any],
) -> xr.Dataset | None:
    """Root mean square errors of each predictor's observables, and the observables themselves.

    None where the system has no observables, or its parameters are not those of the data.
    """
    if not system.observables:
        return None
    known = arrays.x if arrays.mask is None else np.where(arrays.mask, arrays.x, np.nan)
    try:
        truth = observe(system, known, arrays, parameters)
    except InvalidData:
        raise
    except PympnodeError as reason:
        logger.warning("no errors in observables: %s", reason.message)
        return None
    total, over_time, guesses = [], [], {}
    for name, predicted in predictions.items():
        guess = observe(system, predicted, arrays, parameters)
        guesses[name] = guess
        seen = np.isfinite(truth)
        # A prediction that overflowed is infinitely wrong, not unknown.
        error = np.where(np.isfinite(guess), guess - np.nan_to_num(truth), np.inf)
        square = np.where(seen, np.square(error), 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            over_time.append(np.sqrt(square.sum(axis=0) / seen.sum(axis=0)))
            count = seen[:, 1:].sum(axis=(0, 1))
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
                guesses["model"],
                {"long_name": "observable of the model's rollout"},
            ),
        },
        coords={OBSERVABLE: list(system.observables), "observable_unit": (OBSERVABLE, units)},
    )
