"""``from_frame``: a network dataset of a table with one row per trajectory, time and node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import (
    arguments,
    choice,
    flag,
    label,
    listing,
    names_of,
    positive,
    text,
)
from ..datasets.names import FEATURE, NODE, NODE_TYPE, STATE, TIME, TRAJECTORY
from ..datasets.reading import as_pandas, numbers
from ..datasets.record import with_record
from ..datasets.times import dates_as_numbers, merged_times, rounding
from ..edge_values import AdjacencyConvention, DuplicateEdges, EdgeOptions
from ..errors import InvalidData, InvalidOption
from ..graph import Graph
from ..memory import need
from ..training.ranges import warn_user
from .circular import Circular
from .from_arrays import from_arrays, is_learn
from .graphs.labels import NodeLabels, plain, shown
from .graphs.topology import SelfLoops, resolve, resolve_edges
from .node_types import by_type, part, shared, together
from .resampling import Resample, check_common_times, even_grid, resample_rows
from .schema import validate
from .subgraph import subgraph


@arguments(
    time=label,
    node=label,
    trajectory=label,
    split=label,
    node_type=label,
    nodes=listing,
    directed=flag,
    relative_time=flag,
    units=names_of,
    time_unit=text,
    resample=choice("linear", "nearest"),
)
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
    self_loops: SelfLoops = "error",
    edge_weight: str | None = "weight",
    edge_attributes: Sequence[str] = (),
    edge_delay: Any = None,
    duplicate_edges: DuplicateEdges = "error",
    adjacency_convention: AdjacencyConvention = "sender_first",
    nodes: Sequence[Any] | None = None,
    units: Sequence[str] | None = None,
    time_unit: str = "1",
    dt: Any = None,
    relative_time: bool = False,
    split: str | None = None,
    resample: Resample | None = None,
    circular: Circular = None,
    node_type: str | None = None,
) -> xr.Dataset:
    """A dataset of a pandas table in long form: one row for each trajectory, time and node.

    Main arguments:
        frame: a DataFrame, or an object with ``to_pandas``. States without a row are NaN (train with
            ``missing="mask"``), so times need not be even nor the same for all nodes.
        features: the columns of the state. ``time``, ``node``, ``trajectory``: the columns of the
            times and of the labels (without ``trajectory`` all rows are one trajectory).
        edges, topology: the graph, as in `from_arrays`; edges are pairs of labels of the node column
            (a list, or a frame whose columns are called sender and receiver, source and target,
            from and to, or else its first two), and so are those of a networkx graph. A square
            frame or DataArray is aligned by its labels; the rows of a matrix without labels are in
            the order of the nodes. In both the row sends to the column: entry [i, j] is the edge
            i -> j.
    Other arguments:
        nodes: the labels of the nodes in their order. By default the order of the categories of a
            categorical column, of size for numbers, and that of the rows for text.
        self_loops, edge_weight, edge_attributes, duplicate_edges, adjacency_convention: as in
            `from_arrays`.
        edge_delay: the column of ``edges``, or the attribute of the edges of ``topology``, that holds the
            time that a message takes; or one number for all edges.
        controls, attributes: the columns of the inputs, and of the constants of the nodes.
        dt: step of an even time grid, a number or a duration, whose times need not all have rows; by
            default the grid has the times of the rows; times that differ by their rounding alone are
            one. Dates are read as in `from_arrays`.
        relative_time: count time from the first row of each trajectory.
        resample: "linear" or "nearest" puts rows at times of their own on the grid of step ``dt``,
            each node by itself; not across gaps of more than five steps.
        split: the column of "train", "validation" or "test".
        circular: features that are positions on a circle, as in `from_arrays`.
        node_type: the column of the type of each node, "generator" or "load", where nodes have several.
            Features without any value at the nodes of a type are no features of that type. The types
            are in the order of the nodes.
    Returns: a dataset whose node and trajectory coordinates are the labels of the table.
    Raises: `InvalidData`, `InvalidGraph`.

    >>> import pandas as pd
    >>> rows = [(t, sensor, t + 0.5) for t in (0.0, 0.1, 0.2) for sensor in ("a", "b")]
    >>> frame = pd.DataFrame(rows, columns=["time", "node", "level"])
    >>> from_frame(frame, features="level", edges=[("a", "b")]).node.values.tolist()
    ['a', 'b']
    """
    import pandas as pd

    features = columns_of("features", features)
    controls, attributes = (columns_of("controls", controls), columns_of("attributes", attributes))
    if not features:
        raise InvalidOption(
            "features names no column",
            got="[]",
            allowed="the columns of the state",
            fix='features="x"',
        )
    table = as_pandas(frame)
    if not isinstance(table, pd.DataFrame):
        raise InvalidData(
            "a frame is a table in long form",
            got=type(frame).__name__,
            allowed="a pandas.DataFrame (or an object with to_pandas), a row for each node and time",
            fix="frame.to_dataframe().reset_index() is a table"
            if isinstance(frame, xr.Dataset | xr.DataArray)
            else "use pympnode.from_arrays for arrays",
        )
    if any(name in table.index.names for name in (time, node, trajectory) if name is not None):
        table = table.reset_index()
    wanted = [time, node, *features, *controls, *attributes]
    wanted += [name for name in (trajectory, split, node_type) if name is not None]
    lacking = [name for name in wanted if name not in table.columns]
    if lacking:
        raise InvalidData(
            "the frame lacks columns",
            got=", ".join(map(str, table.columns)),
            allowed=", ".join(map(str, wanted)),
            fix=f"rename yours to {', '.join(map(str, lacking))}, or name them: time=, node=, trajectory="
            + (
                f"; a wide table with a column for each node becomes a long one by "
                f"frame.melt({time!r}, var_name={node!r}, value_name={features[0]!r})"
                if node in lacking and time in table.columns and len(features) == 1
                else ""
            ),
        )
    twice = [name for name in wanted if list(table.columns).count(name) > 1]
    if twice:
        raise InvalidData(
            "two columns of the frame have one name",
            got=", ".join(map(str, table.columns)),
            allowed="each name once",
            fix=f"rename one {twice[0]!r}, or frame.loc[:, ~frame.columns.duplicated()]",
        )
    # Labels, and for each row of the table the position of its label.
    trajectories, in_trajectory = np.zeros(1, np.int64), np.zeros(len(table), np.int64)
    if trajectory is not None:
        trajectories, in_trajectory = _labels(table[trajectory])
    if not len(table):
        raise InvalidData("the frame has no rows", got=0, allowed="at least two times per node")
    node_labels, at_node = _labels(table[node], nodes)
    row_times, time_unit, origin = _row_times(table[time], time, time_unit)
    if dt is not None:  # a duration in the unit that the times have now
        dt = dates_as_numbers("dt", dt, time_unit)[0]
    error = 8 * rounding(row_times)
    row_times = row_times.astype(np.float64)
    if relative_time:
        first = np.full(len(trajectories), np.inf)
        np.minimum.at(first, in_trajectory, row_times)
        row_times = row_times - first[in_trajectory]
    if resample is not None and (dt is None or resample not in get_args(Resample)):
        raise InvalidOption(
            "resample puts the rows on the grid of a step",
            got=f"resample={resample!r}, dt={dt!r}",
            allowed='resample="linear" or "nearest", with dt=',
            fix='dt=0.1, resample="linear"',
        )
    if resample is None:
        times, at_time = _grid(row_times, dt, error)
    else:
        # Rows of one time only are told apart here; the values at the grid's times follow below.
        times, at_time = merged_times(row_times, error)
    shape = (len(trajectories), len(times), len(node_labels))
    index = np.ravel_multi_index((in_trajectory, at_time, at_node), shape)
    values, counts = np.unique(index, return_counts=True)
    if counts.max() > 1:
        i, t, n = np.unravel_index(values[counts.argmax()], shape)
        where = f"trajectory {trajectories[i]}, time {times[t]:.6g}, node {node_labels[n]}"
        raise InvalidData(
            "a node has two rows at the same time",
            got=f"{counts.max()} rows: {where}",
            allowed="one row for each trajectory, time and node",
            fix="drop repeated rows, or name the column that tells trajectories apart: trajectory=",
        )

    if resample is not None and dt is not None:
        _require_grid(float(np.ptp(row_times)) / positive("dt", dt), dt)
        series, times = in_trajectory * len(node_labels) + at_node, even_grid(row_times, dt)
    else:
        warning = check_common_times(in_trajectory, at_time, at_node, len(times))
        if warning:
            warn_user(warning)

    width = len(features) + len(controls)
    need(
        10 * len(trajectories) * len(times) * len(node_labels) * width + 64 * len(times),
        f"{len(trajectories):,} trajectories x {len(times):,} times x {len(node_labels):,} nodes",
        fix='give a longer dt= with resample="linear", or fewer nodes= or trajectories',
    )

    def pivot(columns: Sequence[str]) -> NDArray[np.float64]:
        """(trajectory, time, node, column), NaN where the table has no row."""
        rows = np.column_stack([numbers(name, table[name]) for name in columns])
        if resample is not None:
            count = len(trajectories) * len(node_labels)
            found = resample_rows(row_times, series, rows, times, count, resample)
            found = found.reshape(len(trajectories), len(node_labels), len(times), len(columns))
            return found.transpose(0, 2, 1, 3)
        out = np.full((int(np.prod(shape)), len(columns)), np.nan)
        out[index] = rows
        return out.reshape(*shape, len(columns))

    named = NodeLabels.of(node_labels.tolist(), strict=True)
    delay_column = (edge_delay,) if isinstance(edge_delay, str) else ()
    options: dict[str, Any] = dict(
        labels=named,
        directed=directed,
        self_loops=self_loops,
        edge=EdgeOptions(
            edge_weight,
            (*names_of("edge_attributes", edge_attributes), *delay_column),
            duplicate_edges,
            adjacency_convention,
        ),
    )
    if edges is not None and topology is None:
        topology, edges = resolve_edges(edges, len(node_labels), **options), None
    elif topology is not None and edges is None and not is_learn(topology):
        topology = resolve(topology, len(node_labels), **options)
    if delay_column:
        topology, edge_delay = _with_delays(topology, edge_delay), None
    ds = from_arrays(
        pivot(features),
        time=times,
        edges=edges,
        topology=topology,
        edge_delay=edge_delay,
        nodes=node_labels.tolist(),
        control=pivot(controls) if controls else None,
        node_attribute=_attributes(
            table, attributes, at_node, in_trajectory, node_labels, trajectories
        )
        if attributes
        else None,
        features=features,
        units=units,
        controls=list(controls) or None,
        attributes=list(attributes) or None,
        time_unit=time_unit,
        circular=circular,
        split=None
        if split is None
        else _constant(table, [split], in_trajectory, trajectories)[:, 0].tolist(),
    )
    if origin and not relative_time:
        ds = ds.assign_coords({TIME: ds[TIME].assign_attrs(origin=origin)})
    ds = ds.assign_coords({NODE: node_labels, TRAJECTORY: trajectories})
    if node_type is None:
        return ds
    if circular is not None:
        raise InvalidOption(
            "circular features need nodes of one type",
            got=f"circular={circular!r}, node_type={node_type!r}",
            allowed="one of them",
            fix="leave circular out, and give the angles continuous in time",
        )
    of_node = _constant(table, [node_type], at_node, node_labels)[:, 0]
    return _by_type(ds, [str(one) for one in of_node])


def _with_delays(graph: Any, name: str) -> Graph:
    """``graph`` with the last of the attributes of its edges as delays. Raises `InvalidOption`."""
    if not isinstance(graph, Graph) or graph.attribute is None or name not in graph.attribute_names:
        raise InvalidOption(
            "edge_delay names a column that the edges do not have",
            got=f"edge_delay={name!r}",
            allowed="a column of a frame of edges, an attribute of the edges of a networkx graph, or a number",
            fix=f"edges=frame, with the columns sender, receiver and {name}",
        )
    rest = graph.attribute[:, :-1] if graph.attribute.shape[1] > 1 else None
    return replace(
        graph,
        attribute=rest,
        attribute_names=graph.attribute_names[:-1],
        delay=graph.attribute[:, -1],
    )


def _by_type(ds: xr.Dataset, of_node: Sequence[str]) -> xr.Dataset:
    """``ds`` with variables for each type of nodes; ``of_node`` (node,) the types."""
    names = list(dict.fromkeys(of_node))
    if len(names) < 2:
        raise InvalidData(
            "several types of nodes are two or more",
            got=", ".join(names),
            allowed="a column with two types at least",
            fix="leave node_type out",
        )
    ds[NODE_TYPE] = (NODE, list(of_node))
    order = np.argsort([names.index(one) for one in of_node], kind="stable")
    ds = subgraph(with_record(ds, node_types=names), [plain(v) for v in ds[NODE].values[order]])
    typed = by_type(ds)
    parts = {}
    for name in names:
        one = part(typed, name)
        known = np.isfinite(one[STATE].transpose(..., FEATURE).values).any(axis=(0, 1, 2))
        parts[name] = one.isel({FEATURE: np.flatnonzero(known)})
    return validate(together(shared(typed), parts), missing="mask")


def columns_of(name: str, columns: Any) -> list[Any]:
    """Names of columns: one text, or a list of names. Raises `InvalidOption`."""
    named = [columns] if isinstance(columns, str) else listing(name, columns)
    return [label(name, column) for column in named]


def _labels(column: Any, order: Sequence[Any] | None = None) -> tuple[NDArray, NDArray[np.int64]]:
    """The labels of a column, and for each row the position of its label.

    Labels are in the given order; or that of the categories; numbers by size, text in the order of
    the rows: sorting text would put n10 before n2.
    """
    import pandas as pd

    at, found = pd.factorize(column)
    if (at < 0).any():
        raise InvalidData(
            f"the column {column.name!r} lacks labels",
            got=f"{int((at < 0).sum())} of {len(at)} rows without one",
            allowed="a label in every row",
            fix=f'frame.dropna(subset=["{column.name}"])',
        )
    labels = [plain(label) for label in found]
    kinds = {type(label) for label in labels}
    if len(kinds) > 1 and not kinds <= {int, float}:
        raise InvalidData(
            f"the column {column.name!r} mixes labels of several types",
            got=", ".join(
                f"{next(v for v in labels if type(v) is k)!r} ({k.__name__})" for k in kinds
            ),
            allowed="labels of one type, text or numbers",
            fix=f'frame["{column.name}"] = frame["{column.name}"].astype(str)',
        )
    if not kinds <= {int, float, str, bool}:
        labels = [str(label) for label in labels]
    wanted = sorted(labels) if kinds <= {int, float} else labels
    if hasattr(column, "cat"):
        there = set(labels)
        wanted = [label for label in map(plain, column.cat.categories) if label in there]
    if isinstance(order, str | bytes):
        raise InvalidOption(
            "nodes is a list of labels",
            got=f"nodes={order!r}",
            allowed="a list, an array or an index",
            fix="give nodes=[...], in the order of the nodes",
        )
    if order is not None:
        wanted = list(NodeLabels.of(order).values)
        lacking = [label for label in labels if label not in set(wanted)]
        if lacking or len(set(wanted)) < len(wanted):
            raise InvalidData(
                "nodes= is not the list of the nodes",
                got=shown(wanted),
                allowed=shown(labels),
                fix="name each label of the node column once; drop rows of nodes to leave out",
            )
        if set(wanted) != set(labels):
            raise InvalidData(
                "nodes= names nodes that have no rows",
                got=shown([label for label in wanted if label not in set(labels)]),
                allowed=shown(labels),
                fix="leave them out: their states would be unknown at all times",
            )
    place = {label: i for i, label in enumerate(wanted)}
    return np.array(wanted), np.array([place[label] for label in labels], np.int64)[at]


def _row_times(column: Any, name: str, unit: str) -> tuple[NDArray, str, str]:
    """The times of the rows as numbers, their unit, and the first date."""
    column, unit, origin = dates_as_numbers(f"column {name!r}", column, unit)
    if column.dtype.kind not in "fiu":
        raise InvalidData(
            "times must be numbers",
            got=f"column {name!r} of dtype {column.dtype}",
            allowed="numbers in one unit, dates",
            fix=f'frame["{name}"] = pandas.to_datetime(frame["{name}"]) where they are dates',
        )
    times = np.asarray(column)
    if not np.isfinite(times).all():
        raise InvalidData(
            "a row has no time",
            got=f"{int((~np.isfinite(times)).sum())} of {len(times)} in the column {name!r}",
            allowed="a finite time in every row",
            fix=f'frame.dropna(subset=["{name}"])',
        )
    return times, unit, origin


def _grid(
    row_times: NDArray[np.float64], dt: float | None, error: float
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The time grid, and for each row its position there; with ``dt`` an even grid.

    Times that differ by no more than ``error``, their rounding, are one.
    """
    if dt is None:
        return merged_times(row_times, error)
    dt = positive("dt", dt)
    steps = (row_times - row_times.min()) / dt
    _require_grid(float(steps.max()), dt)
    at = np.rint(steps).astype(np.int64)
    off = np.abs(steps - at)
    if off.max() > 1e-3:
        raise InvalidData(
            "a time lies between the points of the grid",
            got=f"time {row_times[off.argmax()]:.9g}",
            allowed=f"{row_times.min():.6g} plus whole multiples of dt={dt:g}",
            fix="leave dt= out for an uneven grid",
        )
    return row_times.min() + dt * np.arange(at.max() + 1), at


def _require_grid(steps: float, dt: float) -> None:
    """Raise NotEnoughMemory where a grid of so many steps does not fit."""
    need(
        int(min(steps + 1, 1e18)) * 64,
        f"a time grid of {steps + 1:,.0f} points",
        fix=f"dt={dt:g} is much shorter than the times of the rows: give a longer dt=",
    )


def _attributes(
    table: Any,
    columns: Sequence[str],
    at_node: NDArray,
    in_trajectory: NDArray,
    nodes: NDArray,
    trajectories: NDArray,
) -> NDArray:
    """Constants of the nodes (node, attribute); where a column differs by trajectory, and each
    trajectory has rows of all nodes, (trajectory, node, attribute)."""
    pair = in_trajectory * len(nodes) + at_node
    shape = (len(trajectories), len(nodes))
    varies = any(table[name].groupby(at_node).nunique(dropna=False).max() > 1 for name in columns)
    if not varies or len(np.unique(pair)) < shape[0] * shape[1] or len(trajectories) == 1:
        return _constant(table, columns, at_node, nodes)
    labels = np.tile(nodes, len(trajectories))
    return _constant(table, columns, pair, labels).reshape(*shape, len(columns))


def _constant(table: Any, columns: Sequence[str], group: NDArray, labels: NDArray) -> NDArray:
    """The value of each group in ``columns``: (group, column); an error where it has two values."""
    out = []
    for name in columns:
        first = table[name].groupby(group).first()
        distinct = table[name].groupby(group).nunique(dropna=False)
        if distinct.max() > 1:
            label = labels[int(distinct.idxmax())]
            raise InvalidData(
                f"column {name!r} must not change",
                got=f"{distinct.max()} different values for {plain(label)!r}",
                allowed="one value for each",
                fix="give quantities that change in time as controls=",
            )
        out.append(first.to_numpy())
    return np.stack(out, axis=1)
