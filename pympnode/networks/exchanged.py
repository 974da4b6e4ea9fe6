"""Axes of time and nodes that are probably exchanged, by the sizes that the other arguments have."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidData
from ..graph import Graph

_FIX = "exchange the axes: np.swapaxes(x, -3, -2); x is (trajectory, time, node, feature)"


def refuse_exchanged(
    x: NDArray, *, time: Any = None, edges: Any = None, topology: Any = None, attribute: Any = None
) -> None:
    """Raise InvalidData where times, graph or node attributes fit x (trajectory, time, node, feature)
    with its axes of time and nodes exchanged, and not as it is."""
    _, count, nodes, _ = x.shape
    if count == nodes:
        return
    sizes = [("time", _length(time), count, nodes)]
    sizes += [
        (name, size, nodes, count)
        for name, size in (
            ("edges", _largest(edges)),
            ("topology", _nodes_of(topology)),
            ("node_attribute", _length(attribute) if np.ndim(attribute) < 3 else None),
        )
    ]
    for name, size, fitting, exchanged in sizes:
        wrong = size is not None and size != fitting
        # Edges need not name the last nodes; of few nodes they say too little.
        if wrong and name == "edges":
            wrong = size is not None and max(fitting, 7, int(0.9 * exchanged)) < size <= exchanged
        elif wrong:
            wrong = size == exchanged
        if wrong:
            raise InvalidData(
                f"{name} does not fit x, whose axes of time and nodes are exchanged, it seems",
                got=f"{count} times and {nodes} nodes, and {name} of {size}",
                allowed=f"{exchanged} times and {fitting} nodes"
                if name == "time"
                else f"{nodes} times and {size} nodes",
                fix=_FIX,
            )


def suspect_exchanged(x: NDArray) -> str:
    """A warning where x (trajectory, time, node, feature) has many more nodes than times, and values
    change much less from node to node than from time to time; "" otherwise."""
    _, count, nodes, _ = x.shape
    if count < 2 or nodes < 10 * count:
        return ""
    with np.errstate(all="ignore"):
        along_time = np.nanmean(np.abs(np.diff(x, axis=1)))
        along_nodes = np.nanmean(np.abs(np.diff(x, axis=2)))
    if not along_nodes < 0.2 * along_time:
        return ""
    return (
        f"x has {count} times and {nodes} nodes, and changes less from node to node than from time to "
        f"time: perhaps its axes are exchanged. {_FIX[0].upper()}{_FIX[1:]}"
    )


def _length(values: Any) -> int | None:
    try:
        return None if values is None or isinstance(values, str) else len(values)
    except TypeError:
        return None


def _largest(edges: Any) -> int | None:
    try:
        ends = np.asarray(edges)
        if edges is None or ends.ndim != 2 or ends.dtype.kind not in "iu" or not ends.size:
            return None
        return int(ends.max()) + 1
    except (TypeError, ValueError):
        return None


def _nodes_of(topology: Any) -> int | None:
    if isinstance(topology, Graph):
        return int(topology.nodes[0])
    shape = getattr(topology, "shape", None)
    if shape is not None and len(shape) == 2 and shape[0] == shape[1]:
        return int(shape[0])
    return _length(topology) if hasattr(topology, "adj") else None
