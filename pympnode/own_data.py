"""Datasets of the user's own numbers: arrays, and tables in long form, checked at the door."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from . import __version__, schema
from .errors import InvalidData, InvalidOption
from .graphs.graph import Graph
from .graphs.topology import resolve
from .particle_schema import is_particle_dataset


def as_dataset(data: Any) -> Any:
    """The dataset meant by a path, a netCDF file or a folder of parts; else what was given."""
    if not isinstance(data, str | os.PathLike):
        return data
    if (Path(data) / "index.json").exists():
        from .data.parts import open_parts

        return open_parts(data)
    from .storage import read_netcdf

    return read_netcdf(data)


def dataset_from_arrays(
    x: Any,
    *,
    dt: float | None = None,
    time: Any = None,
    edges: Any = None,
    topology: Any = None,
    directed: bool = False,
    u: Any = None,
    node_attribute: Any = None,
    features: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    controls: Sequence[str] | None = None,
    attributes: Sequence[str] | None = None,
    time_unit: str = "1",
    split: Any = None,
    graph_of: Any = None,
) -> xr.Dataset:
    """See `pympnode.from_arrays`."""
    if isinstance(x, xr.Dataset):
        particles = is_particle_dataset(x)
        raise InvalidData(
            "x is a dataset, not an array",
            got=", ".join(map(str, x.data_vars)) or "no variables",
            allowed="numbers (trajectory, time, node, feature)",
            fix="particles need no nodes: train(data=ds) takes the dataset as it is"
            if particles
            else "train(data=ds) takes a dataset that pympnode.schema.validate accepts",
        )
    x = _numbers("x", x)
    x = x[None] if x.ndim == 3 else x
    if x.ndim != 4:
        raise InvalidData(
            "x has the wrong number of axes",
            got=f"shape {np.shape(x)}",
            allowed="(trajectory, time, node, feature) or (time, node, feature)",
            fix="add an axis of length 1 for a single node or feature: x[..., None]",
        )
    trajectories, count, nodes, channels = x.shape
    times = _times(count, dt, time, "x", "(trajectory, time, node, feature)")
    graph = _graph(edges, topology, nodes, directed)
    u = _shaped("u", u, (trajectories, count, nodes), "(trajectory, time, node, control)")
    b = _shaped("node_attribute", node_attribute, (nodes,), "(node, attribute)")
    of = np.arange(trajectories, dtype=np.int64) % graph.graphs
    if graph_of is not None:
        of = np.asarray(graph_of)
        if of.shape != (trajectories,) or of.dtype.kind not in "iu" or np.any(of >= graph.graphs):
            raise InvalidData(
                "graph_of says on which graph each trajectory lives",
                got=f"shape {of.shape}, dtype {of.dtype}",
                allowed=f"({trajectories},) whole numbers from 0 to {graph.graphs - 1}",
            )
    names = list(features) if features is not None else [f"x{i}" for i in range(channels)]
    ds = schema.unpack(
        schema.Arrays(x, times, graph, of.astype(np.int64), u, b),
        features=_named("features", names, channels),
        units=None if units is None else _named("units", units, channels),
        controls=_names_of("controls", controls, u),
        attributes=_names_of("attributes", attributes, b),
        time_unit=time_unit,
        split=None if split is None else np.array(_named("split", split, trajectories)),
        about={"kind": "given", "topology": list(graph.source), "version": __version__},
    )
    return schema.validate(ds, missing="mask")


def dataset_from_frame(
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
    """See `pympnode.from_frame`."""
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
        out[where] = np.column_stack([_numbers(name, table[name]) for name in columns])
        return out.reshape(len(runs), len(times), len(nodes), len(columns))

    ds = dataset_from_arrays(
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
        split=None if split is None else _constant(table, [split], run, runs)[:, 0],
    )
    return ds.assign_coords({schema.NODE: nodes, schema.TRAJECTORY: runs})


# ---- pieces -----------------------------------------------------------------------------------


def _numbers(name: str, values: Any) -> NDArray[np.float64]:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidData(
            f"{name} does not hold numbers",
            got=f"{type(values).__name__}: {error}",
            allowed="real numbers; NaN where a value is missing",
            fix="trajectories of different length go into datasets of their own",
        ) from error


def _times(count: int, dt: float | None, time: Any, of: str, axes: str) -> NDArray[np.float64]:
    """The times (time,) of ``of``, whose axes are ``axes``."""
    if (dt is None) == (time is None):
        raise InvalidData(
            "give the time step or the times",
            got="both" if dt is not None else "neither",
            allowed="dt= or time=",
            fix="dt=0.05 for an even grid, time=array for an uneven one",
        )
    if time is None:
        assert dt is not None
        number = isinstance(dt, int | float | np.number) and not isinstance(dt, bool)
        if not number or not (np.isfinite(dt) and dt > 0):
            raise InvalidOption("dt must be positive", got=repr(dt), allowed="> 0")
        return float(dt) * np.arange(count, dtype=np.float64)
    times = _numbers("time", time)
    if times.shape != (count,):
        raise InvalidData(
            f"time does not fit {of}",
            got=f"shape {times.shape}",
            allowed=f"({count},), one for each time of {of} {axes}",
        )
    return times


def _graph(edges: Any, topology: Any, nodes: int, directed: bool) -> Graph:
    if edges is not None and topology is not None:
        raise InvalidData("give edges or a topology", got="both", allowed="one of them")
    if edges is not None:
        return Graph.from_edges(edges, nodes, directed=directed, source="edge list")
    if topology is None:
        if nodes > 1:
            raise InvalidData(
                f"{nodes} nodes need to know who is coupled to whom",
                got="neither edges nor topology",
                allowed='edges=[(0, 1), ...] or topology="ring"',
                fix='topology="none" for nodes that are not coupled; particles, who feel each '
                "other by where they are, go through pympnode.from_particles",
            )
        topology = "none"
    return resolve(topology, nodes)


def _shaped(name: str, values: Any, start: tuple[int, ...], axes: str) -> NDArray | None:
    """``values`` as float64 whose shape begins with ``start`` and has one axis more."""
    if values is None:
        return None
    array = _numbers(name, values)
    if array.ndim == len(start) and start and array.shape == start[1:] + array.shape[-1:]:
        array = array[None]  # one trajectory, as x may be given
    if array.ndim != len(start) + 1 or array.shape[:-1] != start:
        raise InvalidData(
            f"{name} does not fit x",
            got=f"shape {np.shape(values)}",
            allowed=f"{axes} = ({', '.join(map(str, start))}, any)",
            fix="one value for each interval; the last time is there but unused"
            if name == "u"
            else f"one row for each of the {start[0]} nodes",
        )
    return array


def _named(what: str, names: Any, count: int) -> list[str]:
    names = [str(name) for name in names]
    if len(names) != count:
        raise InvalidData(
            f"{what} does not fit the data",
            got=f"{len(names)}: {', '.join(names[:6])}",
            allowed=f"{count} names",
        )
    return names


def _names_of(what: str, names: Sequence[str] | None, values: NDArray | None) -> list[str] | None:
    return None if names is None or values is None else _named(what, names, values.shape[-1])


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
