"""Node attributes: parameters that differ by trajectory, and attributes that tell a model nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ..systems.base import System
from ..training.ranges import short_value, warn_user
from .arrays import Arrays


def varied_parameters(
    system: System, arrays: Arrays, attributes: Sequence[str], index: NDArray[np.int64]
) -> dict[str, NDArray[np.float64]]:
    """Parameters of a system that differ by trajectory: name -> (trajectory, node), of ``index``.

    They are the node attributes (trajectory, node, attribute) of ``arrays`` whose names, in
    ``attributes``, are those of parameters.
    """
    if arrays.attribute is None or arrays.attribute.ndim != 3:
        return {}
    return {
        name: np.asarray(arrays.attribute[index, :, column], dtype=np.float64)
        for column, name in enumerate(attributes)
        if name in system.node_attributes and name in system.parameters
    }


def tell_attributes(arrays: Sequence[Arrays], names: Sequence[str]) -> None:
    """Warn of node attributes that a model cannot learn from, or learns the nodes by.

    arrays: the training data, in physical units. One warning for attributes that have one value
    throughout, and one for those that only name the nodes: on one graph alone, with another value at
    every node, the same in all trajectories.
    """
    given = [each.attribute for each in arrays if each.attribute is not None]
    if len(given) < len(arrays) or not given or len({a.shape[-1] for a in given}) > 1:
        return  # widths that differ are refused elsewhere
    width = given[0].shape[-1]
    names = list(names) if len(names) == width else [f"b{i}" for i in range(width)]
    flat = np.concatenate([each.reshape(-1, width) for each in given])
    constant = np.flatnonzero(flat.max(axis=0) == flat.min(axis=0))
    if constant.size:
        values = ", ".join(f"{names[i]} {short_value(flat[0, i])}" for i in constant)
        warn_user(
            "node attributes have one value at all nodes and in all trajectories, so that a model learns "
            f"nothing from them: {values}. Leave them out, or give data in which they differ"
        )
    naming = [i for i in range(width) if i not in constant and _names_nodes(arrays, given, i)]
    if naming:
        warn_user(
            "node attributes only name the nodes of the one graph of the data, with another value at every "
            f"node and the same in all trajectories: {', '.join(names[i] for i in naming)}. A model "
            "may learn the nodes by them and fail on other graphs; give data of several graphs, or "
            "node_attribute(trajectory, node, attribute) that differs by trajectory"
        )


def _names_nodes(arrays: Sequence[Arrays], given: Sequence[NDArray], column: int) -> bool:
    """Whether every node has another value, which is the same in all trajectories, on one graph."""
    first, values = arrays[0].graph, given[0][..., column].reshape(-1, given[0].shape[-2])[0]
    several = any(
        not each.graph[g].same(first[0]) for each in arrays for g in range(each.graph.graphs)
    )
    if several or values.size < 2 or np.unique(values).size < values.size:
        return False
    return all(np.all(each[..., column] == values) for each in given)
