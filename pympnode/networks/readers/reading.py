"""``read_graph``: a labelled graph of a file, or of an object of another library."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from ...config import arguments, choice, flag, listing, path, text, whole
from ...datasets.reading import as_pandas
from ...edge_values import AdjacencyConvention, DuplicateEdges
from ...errors import InvalidGraph, InvalidOption
from ...graph import Graph
from . import files, objects, power_grids
from .labelled import LabelledGraph, RawGraph, assemble


@arguments(
    first_node=lambda name, value: whole(name, value, 0, 1),
    directed=flag,
    header=flag,
    columns=listing,
    self_loops=choice("error", "drop", "keep"),
    duplicate_edges=choice("error", "sum", "first"),
    adjacency_convention=choice("sender_first", "receiver_first"),
    format=text,
    layout=text,
)
def read_graph(
    source: Any,
    *,
    nodes: int | Sequence[Any] | NDArray | None = None,
    first_node: int | None = None,
    directed: bool | None = None,
    weight: str | bool | None = None,
    self_loops: str = "error",
    duplicate_edges: DuplicateEdges = "sum",
    adjacency_convention: AdjacencyConvention = "sender_first",
    layout: str | None = None,
    format: str | None = None,
    columns: Sequence[Any] | None = None,
    header: bool | None = None,
) -> LabelledGraph:
    """A graph with the names of its nodes and the weights of its edges, from a file or an object.

    Main arguments:
        source: the path of a file (GML, GraphML, GEXF, Pajek, Matrix Market, a sparse matrix of
            SciPy as .npz, or an edge list as text), also compressed with gzip; or a graph of networkx
            or igraph, a net of pandapower (see `read_pandapower`), a ``Data`` of torch_geometric, a
            SciPy sparse or dense matrix (row sends to column), a pandas frame (a labelled matrix, or a
            row for each edge), an ``edge_index`` (2, edges), pairs (edges, 2), or pairs with weights
            (edges, 3).
        nodes: the names of all nodes in the order wanted, such as those of the data, with nodes
            that have no edge; or the number of nodes, where they are numbered. By default nodes
            with whole numbers are in the order of their numbers, and those with other names in the
            order of the source.
        directed: whether a line of an edge list is an edge in one direction. By default it is not,
            unless the file says so; a list with some pairs in both orders is asked for. GML,
            GraphML, networkx and igraph say it themselves, matrices and ``edge_index`` are directed.
        weight: the attribute or the column of the weights, by default "weight", then "value";
            False for none. They are those of the graph, by which models multiply messages.
    Other arguments:
        first_node: 0 or 1, the number of the first node, where it is not clear.
        self_loops: "error", "drop" or "keep".
        duplicate_edges: "sum" merges parallel edges with a warning: their weights are summed, or
            counted where there are none. "first" takes the first, "error" refuses them.
        adjacency_convention: "sender_first", the row of a matrix sends to its column, so that
            entry [i, j] is the edge i -> j, or "receiver_first", the row receives.
        layout: "edge_index", "edge_list" or "adjacency", of an array whose shape fits several.
        format: of a file whose ending does not say it: gml, graphml, gexf, pajek, matrix_market,
            npz or edge_list.
        columns, header: of an edge list, its two or three columns (sender, receiver, weight) by
            name or by number, and whether its first line names them.
    Returns: a `LabelledGraph`; of a net of pandapower a `PowerGrid`.
    Raises: `InvalidGraph`, `InvalidOption`, `MissingFile`, `FileDamaged`: got, allowed, fix.

    >>> import networkx as nx
    >>> read = read_graph(nx.Graph([("b", "a"), ("a", "c")]), nodes=["a", "b", "c"])
    >>> read.labels
    ('a', 'b', 'c')
    >>> list(zip(read.graph.sender.tolist(), read.graph.receiver.tolist()))
    [(1, 0), (2, 0), (0, 1), (0, 2)]
    """
    if first_node not in (None, 0, 1):
        raise InvalidOption("first_node is 0 or 1", got=repr(first_node), allowed="0 or 1")
    source = as_pandas(source)
    options = files.TableOptions(columns, header, directed, weight)
    path = isinstance(source, str | os.PathLike)
    listed = path or (hasattr(source, "columns") and hasattr(source, "itertuples"))
    for name, value, wanted in (
        ("format", format, path),
        ("header", header, path),
        ("columns", columns, listed),
    ):
        if value is not None and not wanted:
            raise InvalidOption(
                f"{name}= belongs to files" + (" and tables" if name == "columns" else ""),
                got=f"{name}={value!r} with {type(source).__name__}",
                fix=f"leave {name}= out",
            )
    net = power_grids.solve(source) if power_grids.is_pandapower(source) else None
    if net is None:
        raw = _raw(source, nodes, first_node, layout, format, options)
    else:
        raw = net.raw(weight)
    if directed is not None and raw.directed != directed:
        raise InvalidOption(
            f"the source says itself that it is {'directed' if raw.directed else 'undirected'}",
            got=f"directed={directed}",
            allowed="directed= with edge lists, whose lines do not say it",
            fix="leave directed= out, or convert the graph with its own library",
        )
    read = assemble(
        raw,
        nodes=nodes,
        first_node=first_node,
        self_loops=self_loops,
        duplicate_edges=duplicate_edges,
        adjacency_convention=adjacency_convention,
    )
    return read if net is None else net.grid(read)


def _raw(
    source: Any,
    nodes: Any,
    first_node: int | None,
    layout: str | None,
    format: str | None,
    options: files.TableOptions,
) -> RawGraph:
    weight, directed = options.weight, options.directed
    if isinstance(source, str | os.PathLike):
        return files.read_file(path("source", source), format, options)
    if isinstance(source, Graph):
        raise InvalidGraph(
            "this is a Graph already", got=repr(source)[:100], fix="pass it as topology="
        )
    if type(source).__module__.partition(".")[0] == "torch_geometric":
        return objects.from_torch_geometric(source, weight, nodes)
    if hasattr(source, "get_edgelist") and hasattr(source, "vs"):
        return objects.from_igraph(source, weight)
    if hasattr(source, "nodes") and hasattr(source, "adj"):
        return objects.from_networkx(source, weight)
    if hasattr(source, "tocoo"):
        return objects.from_sparse(source, weight)
    if hasattr(source, "columns") and hasattr(source, "itertuples"):
        return objects.from_frame(
            source,
            weight,
            directed,
            lambda header, rows: files.edges_of_table(header, rows, options, "table"),
        )
    return objects.from_array(source, weight, directed, layout, nodes, first_node)
