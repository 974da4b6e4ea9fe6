"""Edges that are on in known intervals: ``edge_intervals`` as weights (time, edge) of 0 and 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..config import as_float
from ..errors import InvalidData, shown_value
from ..graph import Graph
from .graphs.labels import NodeLabels

_ALLOWED = "{(sender, receiver): [(start, stop), ...]}, times of the data"
_ROUNDING = 1e-6  # of a step: how far an end may lie from a time of the data


def switched(
    intervals: Any, graph: Graph, labels: NodeLabels, times: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(time, edge): 1 where an edge is on from t_i to t_(i+1), 0 where it is off; the last is unused.

    intervals: ``{(sender, receiver): [(start, stop), ...]}`` by labels of nodes; edges that are not named
    are always on, and those of an empty list never. Each interval begins and ends at times of the data.
    Raises `InvalidData` for intervals that do not, that overlap or have no length, and for edges that are
    not there.
    """
    if not isinstance(intervals, Mapping):
        raise _no_intervals(intervals)
    on = np.ones((len(times), graph.edges))
    names = []
    for pair in intervals:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise _no_intervals(pair)
        names += [*pair]
    number = labels.match(names) if names else {}
    for pair, spans in intervals.items():
        sender, receiver = (number[_plain(name)] for name in pair)
        # Of several graphs all that have the edge.
        offset = graph.node_offset[graph.edge_graph]
        edge = np.flatnonzero(
            (graph.sender - offset == sender) & (graph.receiver - offset == receiver)
        )
        if not edge.size:
            raise InvalidData(
                "edge_intervals names an edge that the graph does not have",
                got=shown_value(pair),
                allowed="a sender and a receiver that an edge joins",
                fix="give it in edges=, or the other direction",
            )
        on[:, edge] = _held(pair, spans, times)[:, None]
    return on


def _plain(name: Any) -> Any:
    return name.item() if isinstance(name, np.generic) else name


def _held(pair: Any, spans: Any, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """(time,) of 0 and 1 for the intervals of one edge."""
    on = np.zeros(len(times))
    try:
        ends = [(as_float(start), as_float(stop)) for start, stop in spans]
    except (TypeError, ValueError) as error:
        raise _no_intervals(spans) from error
    slack = _ROUNDING * float(np.diff(times).min())
    for start, stop in ends:
        at = [
            int(np.argmin(np.abs(times - end))) if np.isfinite(end) else -1 for end in (start, stop)
        ]
        for end, place in zip((start, stop), at):
            if place < 0 or abs(times[place] - end) > slack:
                inside = times[0] - slack <= end <= times[-1] + slack
                raise InvalidData(
                    "an edge is switched at times of the data"
                    if inside
                    else "an edge is switched inside the record",
                    got=f"{end:.6g} of the edge {pair}",
                    allowed=f"times from {times[0]:.6g} to {times[-1]:.6g}, whole steps",
                    fix=f"the nearest time is {times[place]:.6g}" if inside else "cut the interval",
                )
        first, last = at
        if last <= first:
            raise InvalidData(
                "an interval ends after it begins",
                got=f"({start:.6g}, {stop:.6g}) of the edge {pair}",
                allowed="(start, stop) with start < stop",
            )
        if on[first:last].any():
            raise InvalidData(
                "intervals of an edge overlap",
                got=f"({start:.6g}, {stop:.6g}) of the edge {pair}",
                allowed="intervals that have at most an end in common",
                fix="merge them",
            )
        on[first:last] = 1.0
    return on


def _no_intervals(value: Any) -> InvalidData:
    return InvalidData(
        "edge_intervals has the intervals of each edge by its ends",
        got=shown_value(value, 80),
        allowed=_ALLOWED,
        fix='edge_intervals={("a", "b"): [(0.0, 2.5)]}',
    )
