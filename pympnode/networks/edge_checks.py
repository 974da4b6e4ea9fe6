"""Checks of a network dataset's edges: which nodes and which graphs they belong to."""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import (
    EDGE,
    EDGE_GRAPH,
    GRAPH,
    NODE,
    NODE_NUMBER,
    RECEIVER,
    SENDER,
    TRAJECTORY,
)
from ..datasets.record import record
from ..errors import InvalidData
from .engines.delays import in_steps
from .node_types import count_nodes, node_values, types_of

_MOST_EMPTY_GRAPHS = 1_000_000


def check_whole(ds: xr.Dataset, name: str, dim: str) -> None:
    """Raise InvalidData unless a variable holds whole numbers over one dim."""
    variable = ds[name]
    if variable.dims == (dim,) and variable.dtype.kind in "iu":
        return
    several = TRAJECTORY in variable.dims and dim == EDGE
    raise InvalidData(
        f"{name!r} must be whole numbers over the dim {dim!r}",
        got=f"dims {variable.dims}, dtype {variable.dtype}",
        allowed=f"{name}({dim}) of integers",
        fix='join datasets with xr.concat([a, b], "trajectory", data_vars="minimal"), or train on '
        "them with train(data=[a, b])"
        if several
        else f'ds["{name}"] = ("{dim}", np.asarray(..., dtype=int))',
    )


def check_node_order(ds: xr.Dataset) -> None:
    """Raise InvalidData where nodes were selected or sorted, but edges kept the old numbers."""
    nodes = count_nodes(ds)
    if not ds.sizes[EDGE]:
        return
    of_types = node_values(ds, NODE_NUMBER) if types_of(ds) else None
    if of_types is not None:
        number, in_order = of_types, np.array_equal(of_types, np.arange(nodes))
    elif NODE not in ds.dims:
        return
    elif NODE_NUMBER in ds.variables:
        number = ds[NODE_NUMBER].values
        in_order = ds[NODE_NUMBER].dims == (NODE,) and np.array_equal(number, np.arange(nodes))
    else:
        # Older files: their nodes are called by their numbers unless they were given labels.
        number = ds[NODE].values if NODE in ds.coords else np.arange(nodes)
        in_order = not (
            number.dtype.kind in "iu"
            and np.array_equal(np.sort(number), np.arange(nodes))
            and np.any(number != np.arange(nodes))
        )
    if not in_order:
        raise InvalidData(
            "the nodes were selected or sorted, and the edges still have the old numbers",
            got=f"node numbers {np.array2string(np.ravel(number)[:8], separator=', ')}",
            allowed=f"0 to {nodes - 1} in order",
            fix="pympnode.subgraph(ds, nodes) selects nodes in any order, with the edges among "
            "them; it also mends a dataset that was sorted or selected: subgraph(ds, ds.node.values)",
        )


def check_graph_numbers(ds: xr.Dataset) -> None:
    """Raise InvalidData where it is not clear which graph an edge or a trajectory belongs to."""
    count = record(ds).get("graphs")
    graphs = [0 if count is None else int(count)]
    for name, dim in ((EDGE_GRAPH, EDGE), (GRAPH, TRAJECTORY)):
        if name not in ds:
            continue
        check_whole(ds, name, dim)
        numbers = ds[name].values
        if numbers.size and numbers.min() < 0:
            raise InvalidData(
                f"{name!r} holds negative numbers", got=int(numbers.min()), allowed=">= 0"
            )
        if count is None or name == EDGE_GRAPH:
            graphs.append(int(numbers.max()) + 1 if numbers.size else 0)
        if numbers.size and count is not None and numbers.max() >= int(count):
            raise InvalidData(
                f"{name!r} names a graph that does not exist",
                got=f"graph {int(numbers.max())} of {count}",
                allowed=f"0 to {int(count) - 1}",
                fix="number the graphs from 0; pympnode.from_arrays takes several: topology=[g, h]",
            )
    # The nodes of every graph are counted: a number of 2^40 would be allocated for.
    most = _MOST_EMPTY_GRAPHS + ds.sizes[EDGE] + ds.sizes[TRAJECTORY]
    if max(graphs) > most:
        raise InvalidData(
            "the dataset names more graphs than it can have",
            got=f"{max(graphs):,} graphs of {ds.sizes[EDGE]:,} edges and "
            f"{ds.sizes[TRAJECTORY]:,} trajectories",
            allowed=f"at most {most:,}",
            fix="number the graphs from 0, without gaps",
        )
    if max(graphs) < 2:
        return
    for name, dim in ((EDGE_GRAPH, EDGE), (GRAPH, TRAJECTORY)):
        if name not in ds and ds.sizes[dim]:
            raise InvalidData(
                f"there are {max(graphs)} graphs, and no {name!r}",
                got=", ".join(map(str, ds.data_vars)),
                allowed=f"{name}({dim}), the number of the graph of each {dim}",
                fix=f'ds["{name}"] = ("{dim}", np.array([0, 1, ...]))',
            )
    if count is None and GRAPH in ds and EDGE_GRAPH in ds and ds.sizes[EDGE]:
        without = set(ds[GRAPH].values.tolist()) - set(ds[EDGE_GRAPH].values.tolist())
        if without:
            raise InvalidData(
                "'graph' names a graph without any edge",
                got=f"graph {min(without)}; edges are of {sorted(set(ds[EDGE_GRAPH].values.tolist()))}",
                allowed="graphs of 'edge_graph'",
                fix="number both from 0; a graph that has no edges is made by "
                "pympnode.from_arrays(x, topology=[g, h], graph_of=numbers)",
            )


def check_one_graph(ds: xr.Dataset) -> None:
    """Raise InvalidData where trajectories of a dataset without edges name graphs other than 0."""
    if GRAPH not in ds:
        return
    check_whole(ds, GRAPH, TRAJECTORY)
    if (ds[GRAPH].values != 0).any():
        raise InvalidData(
            "'graph' names graphs, and the dataset has no edges",
            got=f"graph {int(ds[GRAPH].values.max())}",
            allowed="0 for every trajectory, or sender(edge) and receiver(edge)",
            fix='give the edges, also two empty variables, or ds.drop_vars("graph")',
        )


def check_edges_once(ds: xr.Dataset) -> None:
    """Raise InvalidData where an edge with a weight or attributes stands twice."""
    ends = [ds[name].values for name in (EDGE_GRAPH, SENDER, RECEIVER) if name in ds]
    twice = ds.sizes[EDGE] - np.unique(np.stack(ends), axis=1).shape[1]
    if twice:
        raise InvalidData(
            "edges stand twice, and it is not said which of their weights counts",
            got=f"{twice} of {ds.sizes[EDGE]} are parallel to others",
            allowed="each edge of a graph once",
            fix='Graph.from_edges(..., duplicate_edges="sum" or "first") merges them',
        )


def check_delays(delay: NDArray, time: NDArray[np.float64], even: bool) -> None:
    """Raise `InvalidData` for delays (edges,) that a model cannot have on the times (time,)."""
    if not delay.size or not np.any(delay > 0):
        return
    dt = float(time[1] - time[0])
    if not even:
        raise InvalidData(
            "messages with delays need an even time grid",
            got=f"steps from {np.diff(time).min():.6g} to {np.diff(time).max():.6g}",
            allowed="equal steps",
            fix="interpolate: ds.interp(time=...)",
        )
    steps = in_steps(delay, dt)
    short = steps[(steps > 0) & (steps < 1)]
    if short.size:
        raise InvalidData(
            "a delay is 0 or at least one time step",
            got=f"{short.size} of {delay.size} delays of {short.min() * dt:.4g} to "
            f"{short.max() * dt:.4g}, time step {dt:.4g}",
            allowed=f"0, or from {dt:.4g} on",
            fix="round such delays to 0 or to one step, or give data at smaller steps",
        )
