"""Baselines that predictions are compared with: states (trajectory, time, node, feature)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PympnodeError
from ..systems.registry import first_name, get, names
from .arrays import Arrays
from .attributes import varied_parameters
from .integrate import integrate

logger = logging.getLogger("pympnode.evaluation")


def persistence(arrays: Arrays) -> NDArray:
    """Every state stays at its value of the first time."""
    return np.broadcast_to(arrays.x[:, :1], arrays.x.shape).astype(np.float64)


def constant_velocity(arrays: Arrays, system: Any) -> NDArray | None:
    """Features whose derivative is a feature too change at its first value; all others stay as they are.

    ``system``: a `System`, whose ``rates`` name these pairs; None where it has none.
    """
    if not system.rates:
        return None
    out = np.array(persistence(arrays))
    passed = (arrays.time - arrays.time[0])[:, None]
    kinds: list[tuple[Sequence[str], NDArray[np.int64]]]
    if arrays.types is None or arrays.node_type is None:
        kinds = [(system.feature_names, np.arange(arrays.x.shape[2]))]
    else:
        kinds = [
            (
                [v.name for v in system.node_types[name][0]],
                np.flatnonzero(arrays.node_type == number),
            )
            for number, name in enumerate(arrays.types.names)
        ]
    for features, nodes in kinds:
        for name, rate in system.rates.items():
            if name in features and rate in features:
                speed = arrays.x[:, :1, nodes, features.index(rate)]
                out[:, :, nodes, features.index(name)] += speed * passed
    return out


def uncoupled(
    arrays: Arrays, system: Any, parameters: Mapping[str, Any], attributes: Sequence[str] = ()
) -> NDArray | None:
    """The true system without coupling, from the first states of ``arrays``.

    ``system``: a `System` or a name; ``parameters`` by name; ``attributes``: names of the
    node attributes, whose values by trajectory are those of the parameters of these names. None where
    the system is not known or its parameters are not those of the data. A model with an error no
    smaller than this baseline's has not learned to use messages.
    """
    if isinstance(system, str) and first_name(system) not in names():
        return None
    true = get(system)
    out = np.full(arrays.x.shape, np.nan)
    try:
        given = {k: v for k, v in parameters.items() if k in true.parameters}
        resolved = true.resolve_parameters(given, arrays.graph)
        for number in range(len(arrays.graph.nodes)):
            chosen = np.flatnonzero(arrays.graph_of == number)
            if not chosen.size:
                continue
            graph = arrays.graph[number]
            of_graph = true.parameters_of_graph(resolved, arrays.graph, number)
            varied = varied_parameters(true, arrays, attributes, chosen)
            field = true.uncoupled.bind(graph, of_graph | varied)
            solution = integrate(
                field, arrays.x[chosen, 0].astype(np.float64), arrays.time,
                controls=None if arrays.u is None else arrays.u[chosen], rtol=1e-6, atol=1e-6,
                check=False,
            )  # fmt: skip
            out[chosen] = solution.x
    except PympnodeError as error:
        logger.warning("no uncoupled baseline: %s", error.message)
        return None
    return out
