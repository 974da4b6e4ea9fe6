"""``from_frame``: a dataset of a table in long form, one row per trajectory, time and node."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import NODE, TRAJECTORY
from ..datasets.reading import numbers
from ..errors import InvalidData
from ..graph import Graph
from .from_arrays import from_arrays


def from_frame(
    frame: Any,
    *,
    features: Sequence[str] | str,
    time: str = "time",
    node: str = "node",
    trajectory: str | None = None,
    controls: Sequence[str] = (),
    attributes: Sequence[str] = (),
    edges: Any = None,
    topology: Any = None,
    directed: bool = False,
    units: Sequence[str] | None = None,
    time_unit: str = "1",
    dt: float | None = None,
    relative_time: bool = False,
    split: str | None = None,
) -> xr.Dataset:
    """A dataset of a pandas table in long form: one row for each trajectory, time and node.

    Main arguments:
        frame: a DataFrame, or what has ``to_pandas``. Rows may lack: what has no row is NaN (train
            with ``missing="mask"``), so times need not be even nor the same for all nodes.
        features: the columns that are the state; ``time``, ``node``, ``trajectory``: the columns
            that tell rows apart (without ``trajectory`` there is one).
        edges, topology: who is coupled to whom, as in `from_arrays`; edges are pairs of the labels
            in the node column (a list, or a frame of two columns), as is a networkx graph.
    Other arguments:
        controls, attributes: columns that are inputs, and constants of the nodes.
        dt: puts the rows on an even grid, with holes where a time has no row at all.
        relative_time: time counts from the first row of each trajectory.
        split: the column that says "train", "validation" or "test".
    Returns: a dataset whose node and trajectory coordinates are the table's labels.
    Raises: `InvalidData`, `InvalidGraph`: got, allowed, fix.

    >>> import pandas as pd
    >>> rows = [(t, sensor, t + 0.5) for t in (0.0, 0.1, 0.2) for sensor in ("a", "b")]
    >>> frame = pd.DataFrame(rows, columns=["time", "node", "level"])
    >>> from_frame(frame, features="level", edges=[("a", "b")]).node.values.tolist()
    ['a', 'b']
    """
    import pandas as pd

    features = [features] if isinstance(features, str) else list(features)
    table = frame.to_pandas() if hasattr(frame, "to_pandas") else frame
    if not isinstance(table, pd.DataFrame):
        raise InvalidData(
            "a frame is a table in long form",
            got=type(frame).__name__,
            allowed="a pandas.DataFrame (or what has to_pandas), a row for each node and time",
            fix="use pympnode.from_arrays for arrays",
        )
    wanted = [time, node, *features, *controls, *attributes]
    wanted += [name for name in (trajectory, split) if name is not None]
    lacking = [name for name in wanted if name not in table.columns]
    if lacking:
        raise InvalidData(
            "the frame lacks columns",
            got=", ".join(map(str, table.columns)),
            allowed=", ".join(map(str, wanted)),
            fix=f"rename yours to {', '.join(lacking)}, or name them: time=, node=, trajectory=",
        )
    runs, run = np.zeros(1, np.int64), np.zeros(len(table), np.int64)
    if trajectory is not None:
        runs, run = _labels(table[trajectory])
    nodes, place = _labels(table[node])
    if not len(table):
        raise InvalidData("the frame has no rows", got=0, allowed="at least two times a node")
    clock = _clock(table[time], time)
    if relative_time:
        first = np.full(len(runs), np.inf)
        np.minimum.at(first, run, clock)
        clock = clock - first[run]
    times, at = _grid(clock, dt)
    where = np.ravel_multi_index((run, at, place), (len(runs), len(times), len(nodes)))
    values, rows = np.unique(where, return_counts=True)
    if rows.max() > 1:
        r, t, n = np.unravel_index(values[rows.argmax()], (len(runs), len(times), len(nodes)))
        raise InvalidData(
            "a node has two rows at the same time",
            got=f"{rows.max()} rows: trajectory {runs[r]}, time {times[t]:.6g}, node {nodes[n]}",
            allowed="one row for each trajectory, time and node",
            fix="drop repeated rows, or name the column that tells trajectories apart: trajectory=",
        )

    def spread(columns: Sequence[str]) -> NDArray[np.float64]:
        out = np.full((len(runs) * len(times) * len(nodes), len(columns)), np.nan)
        out[where] = np.column_stack([numbers(name, table[name]) for name in columns])
        return out.reshape(len(runs), len(times), len(nodes), len(columns))

    ds = from_arrays(
        spread(features),
        time=times,
        edges=None if edges is None else _numbered(edges, nodes),
        topology=topology if not hasattr(topology, "adj") else _relabelled(topology, nodes),
        directed=directed,
        u=spread(controls) if controls else None,
        node_attribute=_constant(table, attributes, place, nodes) if attributes else None,
        features=features,
        units=units,
        controls=list(controls) or None,
        attributes=list(attributes) or None,
        time_unit=time_unit,
        split=None if split is None else _constant(table, [split], run, runs)[:, 0].tolist(),
    )
    return ds.assign_coords({NODE: nodes, TRAJECTORY: runs})


def _labels(column: Any) -> tuple[NDArray, NDArray[np.int64]]:
    labels, number = np.unique(np.asarray(column), return_inverse=True)
    return (labels.astype(str) if labels.dtype.kind == "O" else labels), number


def _clock(column: Any, name: str) -> NDArray[np.float64]:
    if column.dtype.kind not in "fiu":
        raise InvalidData(
            "times must be numbers",
            got=f"column {name!r} of dtype {column.dtype}",
            allowed="numbers in one unit",
            fix=f'frame["{name}"] = (frame["{name}"] - frame["{name}"].min()).dt.total_seconds()',
        )
    return column.to_numpy(np.float64)


def _grid(
    clock: NDArray[np.float64], dt: float | None
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The time grid and the place of every row on it; with ``dt`` an even grid without holes."""
    if dt is None:
        return np.unique(clock, return_inverse=True)
    steps = (clock - clock.min()) / dt
    at = np.rint(steps).astype(np.int64)
    off = np.abs(steps - at)
    if off.max() > 1e-3:
        raise InvalidData(
            "a time lies between the points of the grid",
            got=f"time {clock[off.argmax()]:.9g}",
            allowed=f"{clock.min():.6g} plus whole multiples of dt={dt:g}",
            fix="leave dt= out for an uneven grid",
        )
    return clock.min() + dt * np.arange(at.max() + 1), at


def _numbered(edges: Any, nodes: NDArray) -> NDArray[np.int64]:
    """Pairs of node labels as pairs of numbers; a frame of edges gives its first two columns."""
    pairs = edges.to_pandas() if hasattr(edges, "to_pandas") else edges
    if hasattr(pairs, "iloc"):
        pairs = pairs.iloc[:, :2].to_numpy().tolist()
    number: Mapping[Hashable, int] = {label: i for i, label in enumerate(nodes.tolist())}
    out = []
    for pair in pairs:
        ends = [label.item() if hasattr(label, "item") else label for label in pair]
        if len(ends) != 2:
            raise InvalidData(
                "an edge is a pair of nodes",
                got=repr(pair),
                allowed="(node, node)",
                fix="two labels",
            )
        for end in ends:
            if end not in number:
                raise InvalidData(
                    "an edge names a node that has no rows",
                    got=repr(end),
                    allowed=", ".join(map(repr, nodes.tolist()[:8])) + (", ..." * (len(nodes) > 8)),
                    fix="edges are pairs of the labels in the node column",
                )
        out.append([number[end] for end in ends])
    return np.array(out, dtype=np.int64).reshape(-1, 2)


def _relabelled(graph: Any, nodes: NDArray) -> Graph:
    """A networkx graph whose nodes are the labels of the frame."""
    pairs = _numbered(list(graph.edges()), nodes)
    return Graph.from_edges(
        pairs, len(nodes), directed=graph.is_directed(), source="networkx graph"
    )


def _constant(table: Any, columns: Sequence[str], group: NDArray, labels: NDArray) -> NDArray:
    """What each group says in ``columns``: (group, column), and an error where it says two."""
    out = []
    for name in columns:
        first = table[name].groupby(group).first()
        distinct = table[name].groupby(group).nunique(dropna=False)
        if distinct.max() > 1:
            label = labels[int(distinct.idxmax())]
            raise InvalidData(
                f"column {name!r} must not change",
                got=f"{distinct.max()} different values for {label!r}",
                allowed="one value for each",
                fix="give what changes in time as controls=",
            )
        out.append(first.to_numpy())
    return np.stack(out, axis=1)
