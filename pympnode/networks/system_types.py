"""Systems whose datasets have several types of nodes: their arrays from the states of the system, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.split import NOISE_STREAM, rng_of
from ..errors import InvalidOption, shown_value
from ..graph import Graph
from ..systems.base import System
from .arrays import Arrays
from .graphs.topology import resolve
from .node_types import NodeTypes


def one_noise(noise: Any) -> float:
    """The standard deviation of all features of all types. Raises `InvalidOption` for several."""
    value = np.asarray(noise, dtype=np.float64) if np.ndim(noise) == 0 else None
    if value is None or not np.isfinite(value) or value < 0:
        raise InvalidOption(
            "the noise of nodes of several types is one number",
            got=shown_value(noise, 80),
            allowed=">= 0",
            fix="give one number, or add noise to the dataset",
        )
    return float(value)


def arrays_by_type(
    system: System, arrays: Arrays, noise: float, seed: int, first: int = 0
) -> tuple[Arrays, dict[str, Any]]:
    """The arrays of a simulation by type of nodes, on the complete graph of all, with measurement noise; and the
    names and units of `schema.unpack`.

    Nodes of the types with controls come first, in the order of the system's nodes. ``first``: the number of
    the first trajectory, on which noise depends.
    """
    each = system.split_types(arrays.x)
    names = tuple(system.node_types)
    states = [state for state, _ in system.node_types.values()]
    controls = [of for _, of in system.node_types.values()]
    types = NodeTypes(names, tuple(map(len, states)), tuple(map(len, controls)), (0,) * len(names))
    counts = [each[name].shape[-2] for name in names]
    total = sum(counts)
    x = np.zeros((*arrays.x.shape[:2], total, max(types.channels)))
    at = 0
    for name, count in zip(names, counts, strict=True):
        x[:, :, at : at + count, : each[name].shape[-1]] = each[name]
        at += count
    u = None
    if arrays.u is not None:
        u = np.zeros((*arrays.u.shape[:2], total, max(types.controls)))
        u[:, :, : arrays.u.shape[2]] = arrays.u
    node_type = np.repeat(np.arange(len(names)), counts)
    one = resolve("complete", total)
    graph = Graph.union([one] * arrays.graph.graphs)
    graph = graph.with_types(np.tile(node_type, graph.graphs))
    made = replace(arrays, x=x, u=u, graph=graph, types=types)
    if noise:
        for number, states_of in enumerate(x, start=first):
            drawn = rng_of(seed, NOISE_STREAM, number).standard_normal(states_of.shape)
            states_of += noise * drawn * made.real
    return made, {
        "features": types.qualified([[v.name for v in state] for state in states]),
        "units": [v.unit for state in states for v in state],
        "controls": types.qualified([[v.name for v in of] for of in controls]),
    }


def states_of_system(system: System, arrays: Arrays, x: NDArray) -> NDArray:
    """States (..., node, feature) of several types, as in ``arrays``, as those of the system."""
    assert arrays.types is not None
    node_type = arrays.node_type
    return system.join_types(
        {
            name: x[..., np.flatnonzero(node_type == number), :width]
            for number, (name, width) in enumerate(zip(arrays.types.names, arrays.types.channels))
        }
    )


def arrays_of_system(system: System, arrays: Arrays) -> Arrays:
    """Arrays of several types as those of the system, on the complete graph of its nodes."""
    known = arrays.x if arrays.mask is None else np.where(arrays.mask, arrays.x, np.nan)
    x = states_of_system(system, arrays, known)
    nodes = x.shape[-2]
    graph = Graph.union([resolve("complete", nodes)] * arrays.graph.graphs)
    u = None if arrays.u is None else arrays.u[:, :, :nodes]
    mask = None if arrays.mask is None else np.isfinite(x)
    return Arrays(np.nan_to_num(x), arrays.time, graph, arrays.graph_of, u, mask=mask)
