"""Graphs of other libraries as edges: networkx, igraph, torch_geometric, SciPy, pandas, arrays.

The libraries are recognised by the attributes of their objects, and are not imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...config import one_of
from ...errors import InvalidGraph, unknown_name
from .labelled import RawGraph

LAYOUTS = ("edge_index", "edge_list", "adjacency")
WEIGHT_NAMES = ("weight", "value")  # "value" is the one of Newman's GML files


def from_networkx(graph: Any, weight: Any, names: Sequence[str] = ()) -> RawGraph:
    """``names``: attributes of nodes that are their labels where all nodes have one, each another."""
    keys = list(graph.nodes)
    if not keys:
        raise InvalidGraph("the graph has no nodes", got=0, allowed=">= 1")
    number = {key: i for i, key in enumerate(keys)}
    labels = keys
    for name in names:
        found = [graph.nodes[key].get(name) for key in keys]
        if None not in found and len({str(one) for one in found}) == len(found):
            labels = found
            break
    edges = list(graph.edges(data=True))
    columns = {key: None for _, _, data in edges for key in data}
    name = _attribute(weight, columns)
    values = None
    if name is not None:
        values = _complete(name, [data.get(name) for _, _, data in edges])
    return RawGraph(
        np.array([number[a] for a, _, _ in edges], np.int64),
        np.array([number[b] for _, b, _ in edges], np.int64),
        labels,
        values,
        bool(graph.is_directed()),
        "networkx graph",
        lists_nodes=True,
    )


def from_igraph(graph: Any, weight: Any) -> RawGraph:
    count = graph.vcount()
    labels: list[Any] = list(range(count))
    named = False
    # Names are lost in "id" where igraph 1.0 reads GML or GraphML: ids of GML become floats.
    for name in ("name", "label", "id"):
        if name in graph.vs.attributes() and len({str(v) for v in graph.vs[name]}) == count:
            labels, named = list(graph.vs[name]), True
            break
    pairs = np.array(graph.get_edgelist(), np.int64).reshape(-1, 2)
    name = _attribute(weight, graph.es.attributes())
    values = None if name is None else _complete(name, list(graph.es[name]))
    directed = bool(graph.is_directed())
    return RawGraph(pairs[:, 0], pairs[:, 1], labels, values, directed, "igraph graph", named, True)


def from_torch_geometric(data: Any, weight: Any, nodes: Any) -> RawGraph:
    """``Data``: ``edge_index`` holds each direction of an undirected edge."""
    keys = set(data.keys() if callable(data.keys) else data.keys)
    if "edge_index" not in keys:
        raise InvalidGraph(
            "the torch_geometric object has no edge_index",
            got=", ".join(sorted(map(str, keys))) or "nothing",
            allowed="Data with edge_index (2, edges), of one kind of nodes",
            fix="data.adj_t is the transpose: read_graph(data.adj_t.t().to_scipy()); of HeteroData "
            "pass data[kind].edge_index with layout='edge_index'",
        )
    index = _plain(data.edge_index)
    count = nodes if nodes is not None else getattr(data, "num_nodes", None)
    edges = index.shape[1]
    usable = [
        key
        for key in sorted(keys - {"edge_index"})
        if hasattr(data[key], "shape") and tuple(data[key].shape) in ((edges,), (edges, 1))
    ]
    # torch_geometric 2.8, utils.from_networkx: edge attributes keep their names, so that weights
    # stand in "weight", and neither in edge_weight nor in edge_attr.
    name = _attribute(weight, usable, ("edge_weight", "weight", "edge_attr"))
    values = None if name is None else _plain(data[name]).reshape(-1)
    return _numbered(index[0], index[1], count, values, True, "torch_geometric edges", 0)


def from_sparse(matrix: Any, weight: Any) -> RawGraph:
    """Row sends to column; stored zeros are no edges."""
    _square(matrix.shape)
    found = matrix.tocoo()
    keep = found.data != 0
    values = None if weight is False else found.data[keep]
    rows, columns = found.row[keep].astype(np.int64), found.col[keep].astype(np.int64)
    return _numbered(rows, columns, matrix.shape[0], values, True, "sparse adjacency", 0)


def from_frame(frame: Any, weight: Any, directed: bool | None, table: Any) -> RawGraph:
    """A labelled square matrix, or a table with a row for each edge, read by ``table``."""
    if frame.shape[0] == frame.shape[1] and set(frame.index) == set(frame.columns):
        matrix = frame.loc[:, list(frame.index)].to_numpy()  # columns in the order of the rows
        raw = from_array(matrix, weight, directed, "adjacency", None, None)
        return RawGraph(
            raw.sender, raw.receiver, list(frame.index), raw.weight, True, "labelled adjacency"
        )
    rows = [[_cell(cell) for cell in row] for row in frame.itertuples(index=False, name=None)]
    return table([str(name) for name in frame.columns], rows)


def _cell(value: Any) -> str:
    """A cell as in a file: empty where it is missing; 7.0 of a column that had to be float is 7."""
    if value is None or value != value or str(value) in ("<NA>", "NaT"):  # pandas.NA has no truth
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def from_array(
    values: Any,
    weight: Any,
    directed: bool | None,
    layout: str | None,
    nodes: Any,
    first_node: int | None,
) -> RawGraph:
    """An array (2, edges), (edges, 2), (edges, 3) or (n, n), or a list of pairs."""
    array = _plain(values)
    if layout is not None:
        one_of("layout", layout, LAYOUTS)
    kind = layout or _guess_layout(array, tensor=hasattr(values, "detach"))
    if kind == "adjacency":
        _square(array.shape)
        if array.dtype.kind in "fc" and np.isnan(array).any():
            raise InvalidGraph(
                "the adjacency has missing entries",
                got=f"{int(np.isnan(array).sum())} of {array.size} are NaN",
                allowed="0 where there is no edge",
                fix="np.nan_to_num(adjacency) where a missing entry is no edge",
            )
        rows, columns = np.nonzero(array)
        found = None if weight is False else array[rows, columns]
        return _numbered(rows, columns, len(array), found, True, "adjacency", 0)
    table = array.T if kind == "edge_list" else array
    wide = (2, 3) if kind == "edge_list" else (2,)
    if table.ndim != 2 or len(table) not in wide:
        raise InvalidGraph(
            f"this is no {kind}",
            got=f"shape {array.shape}",
            allowed="(2, edges)"
            if kind == "edge_index"
            else "(edges, 2), or (edges, 3) with weights",
        )
    found = table[2] if len(table) == 3 and weight is not False else None
    # An edge_index is directed by convention; a list of pairs is not, as in from_arrays(edges=...).
    one_way = kind == "edge_index" if directed is None else directed
    return _numbered(table[0], table[1], nodes, found, one_way, kind.replace("_", " "), first_node)


def _guess_layout(array: NDArray, tensor: bool) -> str:
    """The layout of an array that fits one alone. Raises InvalidGraph for none, and for several."""
    shape = array.shape
    fits = []
    if array.ndim == 2:
        if shape[0] == 2 and _could_be_numbers(array):
            fits.append("edge_index")
        # A tensor of three columns is an edge_index of torch_geometric with three edges.
        if shape[1] in (2, 3) and not (tensor and fits) and _could_be_numbers(array[:, :2]):
            fits.append("edge_list")
        if shape[0] == shape[1]:
            links = bool(np.isin(array, (0, 1)).all()) and not array.diagonal().any()
            if len(array) > 2 and (links or len(array) > 3):
                return "adjacency"
            fits.append("adjacency")
    if len(fits) == 1:
        return fits[0]
    raise InvalidGraph(
        "the array can be read in several ways" if fits else "the array is no graph",
        got=f"shape {shape}",
        allowed="(2, edges), (edges, 2), (edges, 3) with weights, or (n, n)",
        fix=" or ".join(f'layout="{name}"' for name in fits)
        if fits
        else "nx.Graph(neighbours) reads a dict of neighbours; list(edges) reads other collections",
    )


def _could_be_numbers(array: NDArray) -> bool:
    if array.dtype.kind not in "iuf" or not array.size:
        return False
    return bool(
        np.all(np.isfinite(array)) and np.all(array == np.floor(array)) and array.min() >= 0
    )


def _numbered(
    sender: Any,
    receiver: Any,
    count: Any,
    weight: Any,
    directed: bool,
    source: str,
    first_node: int | None,
) -> RawGraph:
    ends = np.concatenate([np.asarray(sender).ravel(), np.asarray(receiver).ravel()])
    if ends.size and not _could_be_numbers(ends):
        raise InvalidGraph(
            "the ends of edges are no numbers of nodes",
            got=f"dtype {ends.dtype}" + (f", {ends.min()}" if ends.dtype.kind in "iuf" else ""),
            allowed="whole numbers from 0, or from 1 with first_node=1",
            fix="edges between names: a file, a pandas table, or a networkx graph",
        )
    numbers = ends.astype(np.int64)
    known = isinstance(count, int | np.integer)
    if first_node is None:
        if numbers.size and numbers.min() > 0 and not (known and numbers.max() < count):
            raise InvalidGraph(
                "no edge has node 0",
                got=f"numbers from {numbers.min()} to {numbers.max()}",
                allowed="first_node=0 or first_node=1",
                fix="first_node=1 where nodes are counted from 1, as in Julia, R and MATLAB",
            )
        first_node = 0
    numbers = numbers - first_node
    if count is None or not known:
        have = len(count) if count is not None else int(numbers.max()) + 1 if numbers.size else 1
    else:
        have = int(count)
    if numbers.size and (numbers.min() < 0 or numbers.max() >= have):
        raise InvalidGraph(
            "an edge's end is not a node",
            got=f"numbers from {numbers.min() + first_node} to {numbers.max() + first_node}",
            allowed=f"{first_node} to {first_node + have - 1}",
            fix="first_node=1 where nodes are counted from 1; nodes= is their number",
        )
    half = numbers.size // 2
    return RawGraph(
        numbers[:half],
        numbers[half:],
        list(range(first_node, first_node + have)),
        weight,
        directed,
        source,
        named=False,
    )


def _attribute(weight: Any, names: Iterable[Any], usual: Sequence[str] = WEIGHT_NAMES) -> Any:
    """The attribute of edges that holds their weights; None for none."""
    names = list(names)
    if weight is False:
        return None
    if weight is not None:
        if weight not in names:
            raise unknown_name("attribute of edges", weight, map(str, names))
        return weight
    return next((name for name in usual if name in names), None)


def _complete(name: str, values: list[Any]) -> list[Any]:
    missing = sum(value is None for value in values)
    if missing:
        raise InvalidGraph(
            f"not every edge has the attribute {name!r}",
            got=f"{missing} of {len(values)} edges have none",
            allowed="a number for each edge, or for none",
            fix="fill it in, or pass weight=False",
        )
    return values


def _plain(values: Any) -> NDArray:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    try:
        return np.asarray(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidGraph(
            "the edges are no array", got=str(error)[:120], allowed="pairs, each of two nodes"
        ) from error


def _square(shape: Sequence[int]) -> None:
    if len(shape) != 2 or shape[0] != shape[1] or not shape[0]:
        raise InvalidGraph("an adjacency is square", got=f"shape {tuple(shape)}", allowed="(n, n)")
