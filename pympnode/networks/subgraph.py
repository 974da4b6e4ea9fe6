"""``subgraph``: some nodes of a network dataset, in any order, with the edges among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import EDGE, EDGE_GRAPH, NODE, NODE_NUMBER, RECEIVER, SENDER, STATE
from ..errors import InvalidData
from .graphs.labels import NodeLabels, plain, shown
from .node_types import counts_of, node_values, part, shared, together, types_of


def subgraph(ds: xr.Dataset, nodes: Sequence[Any]) -> xr.Dataset:
    """The dataset of some nodes, in the order given, with the edges among them.

    ds: a network dataset, also one whose nodes were selected or sorted with ``ds.isel``, ``ds.sel``
        or ``ds.sortby``, whose edges have the old numbers. nodes: labels, those of ``ds.node``, each
        once; by default they are the numbers.
    Edges to and from other nodes are left out: what those nodes did to the others is then missing
    from the model's inputs. Of several types of nodes the types keep their order, and the order given is
    that within a type. Parameters by node or edge are selected with them.
    Returns: a dataset whose nodes and edges are numbered anew. Raises: InvalidData.

    >>> from pympnode import simulate
    >>> ds = simulate("heat", nodes=4, topology="path", trajectories=2, steps=3)
    >>> chosen = subgraph(ds, [2, 1, 3])
    >>> chosen.node.values.tolist(), chosen.sender.values.tolist(), chosen.receiver.values.tolist()
    ([2, 1, 3], [1, 2, 0, 0], [0, 0, 1, 2])
    """
    if isinstance(ds, xr.Dataset) and STATE not in ds and types_of(ds):
        return _by_type(ds, nodes)
    if not isinstance(ds, xr.Dataset) or STATE not in ds or NODE not in ds.dims:
        raise InvalidData(
            "a subgraph is one of a network dataset",
            got=type(ds).__name__,
            allowed="a dataset with state(trajectory, time, node, feature)",
            fix="build one with pympnode.from_arrays",
        )
    size = ds.sizes[NODE]
    labels = [plain(v) for v in ds[NODE].values] if NODE in ds.coords else list(range(size))
    chosen = _places(labels, nodes)
    out = ds.isel({dim: chosen for dim in (NODE, "source_node") if dim in ds.dims})
    if SENDER in ds and RECEIVER in ds:
        number = ds[NODE_NUMBER].values if NODE_NUMBER in ds.variables else np.arange(size)
        out = _with_edges(out, ds, number, chosen)
    attrs = ds[NODE_NUMBER].attrs if NODE_NUMBER in ds.variables else {}
    return out.assign_coords({NODE_NUMBER: (NODE, np.arange(len(chosen)), attrs)})


def _by_type(ds: xr.Dataset, nodes: Sequence[Any]) -> xr.Dataset:
    """`subgraph` of nodes of several types; the types stay in their order, and one may lose all nodes."""
    names, counts = types_of(ds), counts_of(ds)
    size = sum(counts.values())
    values = node_values(ds, NODE)
    labels = list(range(size)) if values is None else [plain(v) for v in values]
    known = node_values(ds, NODE_NUMBER)
    number = np.arange(size) if known is None else known
    ends = np.cumsum([0, *counts.values()])
    places = np.array(_places(labels, nodes))
    of_type = np.searchsorted(ends, places, side="right") - 1
    order = np.argsort(of_type, kind="stable")
    places, of_type = places[order], of_type[order]
    parts, at = {}, 0
    for code, name in enumerate(names):
        here = places[of_type == code] - ends[code]
        if not here.size:
            continue
        numbers, at = np.arange(at, at + len(here)), at + len(here)
        one = part(ds, name).isel({NODE: here})
        parts[name] = one.assign_coords({NODE_NUMBER: (NODE, numbers)})
    rest = shared(ds)
    if SENDER in ds and RECEIVER in ds:
        rest = _with_edges(rest, ds, number, places.tolist())
    return together(rest, parts)


def _places(labels: Sequence[Any], nodes: Sequence[Any]) -> list[int]:
    """Where the nodes ``nodes``, by label, stand among all. Raises `InvalidData`."""
    wanted = list(NodeLabels.of([nodes] if isinstance(nodes, str | int) else nodes).values)
    place = {label: i for i, label in enumerate(labels)}
    strangers = [label for label in wanted if label not in place]
    if strangers or not wanted or len(set(wanted)) < len(wanted) or len(place) < len(labels):
        raise InvalidData(
            "nodes are labels of nodes of the dataset, each once",
            got=shown(strangers or wanted) or "none",
            allowed=shown(labels),
            fix="ds.node.values are the labels",
        )
    return [place[label] for label in wanted]


def _with_edges(
    out: xr.Dataset, ds: xr.Dataset, number: NDArray, chosen: Sequence[int]
) -> xr.Dataset:
    """``out`` with the edges of ``ds`` among the ``chosen`` nodes, which have the numbers ``number``."""
    anew = {int(number[i]): k for k, i in enumerate(chosen)}
    if len(anew) < len(chosen):
        raise InvalidData(
            "two nodes of the dataset have the same number",
            got=np.array2string(number[:8], separator=", "),
            allowed="each number once",
            fix="a node was selected twice: select each once",
        )
    ends = np.stack([ds[SENDER].values, ds[RECEIVER].values])
    inside = np.flatnonzero(np.isin(ends, list(anew)).all(axis=0))
    sender, receiver = (np.array([anew[int(n)] for n in e[inside]], np.int64) for e in ends)
    graph = ds[EDGE_GRAPH].values[inside] if EDGE_GRAPH in ds else np.zeros(len(inside), int)
    # The order of `Graph`, which parameters of edges keep to.
    order = np.lexsort((sender, receiver, graph))
    out = out.isel({EDGE: inside[order]})
    out[SENDER] = (EDGE, sender[order], ds[SENDER].attrs)
    out[RECEIVER] = (EDGE, receiver[order], ds[RECEIVER].attrs)
    return out
