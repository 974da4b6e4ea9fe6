"""Topologies by name, and `resolve`: a `Graph` of a name, a networkx graph, edges or an adjacency."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ...config import arguments, flag, one_of, whole
from ...datasets.reading import as_pandas
from ...edge_values import (
    AS_USUAL,
    WEIGHT,
    EdgeOptions,
    chosen_columns,
    unused_in_words,
    with_weight_column,
)
from ...errors import InvalidGraph, InvalidOption, one_line, unknown_name
from ...graph import Graph, in_order
from ...memory import need
from ...training.ranges import warn_user
from . import random_graphs, regular
from .instances import FIVE_GRAPH_SEEDS, PUBLISHED_SEED, published_graph
from .labels import NodeLabels, as_coords, plain, shown

SelfLoops = Literal["error", "drop", "keep"]


@dataclass(frozen=True)
class Topology:
    """A named topology: ``make(nodes, **options)``, also with ``rng=`` where it is ``drawn``."""

    make: Callable[..., Graph]
    options: tuple[str, ...] = ()
    drawn: bool = False
    title: str = ""


TOPOLOGIES: dict[str, Topology] = {
    "BA": Topology(
        random_graphs.barabasi_albert, ("k",), True, "Barabasi-Albert, k edges per new node"
    ),
    "ER": Topology(random_graphs.erdos_renyi, ("p", "m"), True, "Erdos-Renyi, G(n, p) or G(n, m)"),
    "WS": Topology(
        random_graphs.watts_strogatz,
        ("k", "beta"),
        True,
        "Watts-Strogatz, k // 2 neighbours per side",
    ),
    "complete": Topology(regular.complete, title="every pair"),
    "full": Topology(
        regular.full, title="every pair and every self loop, as in the published code"
    ),
    "grid": Topology(regular.grid, ("rows", "columns"), title="square lattice, four neighbours"),
    "path": Topology(regular.path, title="a line"),
    "ring": Topology(regular.ring, title="a closed line"),
    "star": Topology(regular.star, title="node 0 joined to all others"),
    "none": Topology(regular.none, title="no edges"),
}
_NAMES = {name.lower(): name for name in TOPOLOGIES} | {
    "barabasi-albert": "BA",
    "barabasi_albert": "BA",
    "erdos-renyi": "ER",
    "erdos_renyi": "ER",
    "watts-strogatz": "WS",
    "watts_strogatz": "WS",
}


def default_options(topology: str, nodes: int, family: str = "") -> dict[str, Any]:
    """The default options of a random topology, by the ``graph_family`` of a system.

    The published options at the published sizes. At other sizes Kuramoto (published with 10 nodes:
    BA k=5, ER m=5 edges, WS k=5) has a constant degree, k = min(5, n // 2) and m = n // 2; gene
    dynamics and all other systems have a constant density, k = n // 2 and p = 0.5. beta of WS is 0.5.
    """
    half = max(1, nodes // 2)
    kuramoto = family == "kuramoto"
    degree = min(5, half) if kuramoto else half
    if topology == "BA":
        return {"k": degree}
    if topology == "ER":
        return {"m": half if nodes > 1 else 0} if kuramoto else {"p": 0.5}
    if topology == "WS":
        return {"k": max(2, degree), "beta": 0.5}
    return {}


_FILES_FIX = "topology=pympnode.read_graph(source) reads files, and graphs of other libraries"


def _canonical(topology: str) -> str:
    name = _NAMES.get(topology.lower())
    if name is None:
        path = _FILES_FIX if os.sep in topology or "." in topology else None
        raise unknown_name("topology", topology, TOPOLOGIES, path)
    return name


def _options(name: str, user_options: Mapping[str, Any], nodes: int, family: str) -> dict[str, Any]:
    allowed = TOPOLOGIES[name].options
    for option in user_options:
        if option not in allowed:
            raise unknown_name(f"option of topology {name}", option, allowed or ["(none)"])
    options = default_options(name, nodes, family)
    if name == "ER" and user_options:  # p and m exclude each other
        options = {}
    return options | dict(user_options)


def _named(
    topology: str,
    user_options: Mapping[str, Any],
    nodes: int,
    graphs: int,
    seed: int,
    family: str,
) -> Graph:
    """The union of ``graphs`` graphs of a named topology, published ones where there are."""
    name = _canonical(topology)
    options = _options(name, user_options, nodes, family)
    need(
        214 * nodes,
        f"a graph of {nodes:,} nodes",
        fix="ask for fewer nodes=",
    )
    if not TOPOLOGIES[name].drawn:
        made = TOPOLOGIES[name].make(nodes, **options)
        _require_graphs(graphs, made)
        return Graph.union([made] * graphs)
    drawn: list[Graph] = []
    for index in range(graphs):
        if len(drawn) == 1:
            _require_graphs(graphs, drawn[0])
        graph = None
        if graphs == 1:
            graph = published_graph(family, name, nodes, options, seed)
        elif seed == PUBLISHED_SEED and index < len(FIVE_GRAPH_SEEDS):
            graph = published_graph(family, name, nodes, options, FIVE_GRAPH_SEEDS[index])
        if graph is None:
            # A generator per graph: graph i does not depend on how many are drawn.
            sequence = np.random.SeedSequence(entropy=seed, spawn_key=(index,))
            graph = TOPOLOGIES[name].make(nodes, rng=np.random.default_rng(sequence), **options)
            source = f"{graph.source[0]}, seed {seed}" + (f".{index}" if graphs > 1 else "")
            graph = Graph(graph.sender, graph.receiver, graph.nodes, (source,))
        drawn.append(graph)
    return Graph.union(drawn)


def _require_graphs(graphs: int, one: Graph) -> None:
    """Raise NotEnoughMemory where so many graphs like ``one`` do not fit, each as itself and in the
    union, and with the field that is bound to it."""
    need(
        graphs * (2300 + 64 * one.edges + 16 * one.total_nodes),
        f"{graphs:,} graphs of {one.total_nodes:,} nodes and {one.edges:,} edges",
        fix="ask for fewer graphs=; trajectory i lives on graph i % graphs",
    )


def _check_count(what: str, value: Any, least: int) -> int:
    return whole(what, value, least)


def _is_named_pair(topology: Any) -> bool:
    return (
        isinstance(topology, Sequence)
        and len(topology) == 2
        and isinstance(topology[0], str)
        and isinstance(topology[1], Mapping)
    )


def _is_adjacency(array: np.ndarray, nodes: int | None) -> bool:
    if array.shape[0] != array.shape[1] or nodes not in (None, array.shape[0]):
        return False
    # A list of two edges is a 2 x 2 array too. It is taken for an adjacency if its entries are 0 and 1
    # with zeros on the diagonal, or no whole numbers, which name no nodes.
    return array.shape[0] != 2 or (
        not array.diagonal().any()
        and (bool(np.isin(array, (0, 1)).all()) or array.dtype.kind not in "iub")
    )


def _could_be_weighted_edges(array: np.ndarray) -> bool:
    """Whether a square matrix of three rows may be (sender, receiver, weight) of three edges."""
    if array.shape != (3, 3) or array.dtype.kind not in "iuf" or not array.diagonal().any():
        return False
    ends = array[:, :2]
    nodes = bool(np.isin(ends, (0, 1, 2)).all() and np.all(ends[:, 0] != ends[:, 1]))
    return nodes and not np.isin(array, (0, 1)).all()


@dataclass(frozen=True)
class _Reading:
    """How a topology is read: number and labels of the nodes of the data, None where there are no
    data, whether pairs are directed, and what is read of the edges."""

    nodes: int | None
    labels: NodeLabels | None
    directed: bool
    edge: EdgeOptions = AS_USUAL

    def graph(self, topology: Any) -> Graph:
        """The graph of everything but a name. Raises `InvalidGraph`."""
        if isinstance(topology, Graph):
            self.edge.refuse_names("a Graph")
            return topology if self.edge.weight else topology.with_weight(None)
        if is_labelled_graph(topology):
            return self.of_labelled_graph(topology)
        if is_networkx(topology):
            return self.of_networkx(topology)
        topology = as_pandas(topology)
        if hasattr(topology, "iloc") and hasattr(topology, "columns"):
            return self.of_frame(topology)
        if hasattr(topology, "dims") and hasattr(topology, "coords") and hasattr(topology, "ndim"):
            return self.of_data_array(topology)
        if hasattr(topology, "tocoo"):
            return self.of_adjacency(topology)
        if isinstance(topology, np.ndarray) and topology.ndim == 2:
            return self.of_adjacency(topology) if self.square(topology) else self.of_pairs(topology)
        if isinstance(topology, Sequence) and not isinstance(topology, str):
            items = list(topology)
            if items and all(isinstance(i, Graph) or _has_nodes(i) for i in items):
                return self.of_several(items)
            if items and hasattr(items[0], "__len__") and len(items[0]) > 2:
                try:  # an adjacency as a list of rows
                    array = np.asarray(items)
                except ValueError:
                    array = np.zeros(0)
                if array.ndim == 2 and array.dtype.kind in "biuf" and self.square(array):
                    return self.of_adjacency(array)
            try:
                return self.of_pairs(items)
            except (ValueError, TypeError) as error:
                if isinstance(error, InvalidGraph):
                    raise
        raise InvalidGraph(
            "this is not a topology",
            got=f"{type(topology).__name__}: {one_line(repr(topology), 80)}",
            allowed=f'one of {", ".join(TOPOLOGIES)}, ("BA", {{"k": 3}}), a networkx graph, '
            "an edge list of pairs, a square adjacency, a Graph",
            fix="networkx.Graph(neighbours) makes a graph of a dict of neighbours"
            if isinstance(topology, Mapping)
            else _FILES_FIX,
        )

    def square(self, array: np.ndarray) -> bool:
        """Whether the array is an adjacency. Raises `InvalidGraph` where three edges with weights
        and an adjacency of three nodes cannot be told apart."""
        if not _is_adjacency(array, self.nodes):
            return False
        if _could_be_weighted_edges(array):
            raise InvalidGraph(
                "three edges with weights, or an adjacency of three nodes with self loops",
                got="3 rows of 3 numbers",
                allowed="one of them",
                fix="edges with weights: edges= of from_arrays and from_frame, or Graph.from_edges(rows); "
                "an adjacency: Graph.from_adjacency(matrix, self_loops=True)",
            )
        return True

    def of_several(self, items: Sequence[Any]) -> Graph:
        """The union of graphs, all with the labels of the data, or else those of the first."""
        reading = self
        if self.labels is None and is_networkx(items[0]):
            reading = replace(self, labels=NodeLabels.of(in_order(items[0].nodes)))
            if reading.labels is not None and reading.labels.are_numbers:
                reading = self
        return Graph.union([reading.graph(item) for item in items])

    def of_networkx(self, graph: Any) -> Graph:
        if self.directed and not graph.is_directed():
            raise InvalidGraph(
                "directed=True is for pairs, and this graph of networkx is undirected",
                got=type(graph).__name__,
                allowed="a DiGraph, or pairs of sender and receiver",
                fix="give a DiGraph; nx.Graph has lost the directions",
            )
        if self.labels is None:
            return Graph.from_networkx(graph, self_loops=True, **self.edge_keywords)
        if self.labels.are_numbers and len(graph) != len(self.labels.values):
            raise _other_size([len(graph)], len(self.labels.values))
        names = [name for name in graph.nodes if self.labels.are_numbers or graph.degree(name)]
        return Graph.from_networkx(
            graph,
            numbers=self.labels.match(names),
            nodes=len(self.labels.values),
            self_loops=True,
            **self.edge_keywords,
        )

    @property
    def edge_keywords(self) -> dict[str, Any]:
        """The keywords of `Graph.from_networkx` for what is read of edges."""
        return {
            "edge_weight": self.edge.weight,
            "edge_attributes": self.edge.attributes,
            "duplicate_edges": self.edge.duplicates,
        }

    def of_labelled_graph(self, read: Any) -> Graph:
        """The graph of `read_graph`, its nodes matched to the data by their labels."""
        self.edge.refuse_names("a graph that was read")
        graph = read.graph if self.edge.weight else read.graph.with_weight(None)
        if self.labels is None:
            return graph
        labels, names = self.labels, read.labels
        if names == tuple(range(len(names))):
            if len(names) != len(labels.values):
                raise _other_size([len(names)], len(labels.values))
            labels = replace(labels, strict=False)  # the source had no names
        joined = set(read.graph.sender.tolist()) | set(read.graph.receiver.tolist())
        needed = range(len(names)) if labels.are_numbers else sorted(joined)
        number = labels.match(names[i] for i in needed)
        place = np.zeros(len(names), np.int64)
        place[list(needed)] = [number[names[i]] for i in needed]
        return replace(
            graph,
            sender=place[graph.sender],
            receiver=place[graph.receiver],
            nodes=np.array([len(labels.values)]),
        )

    def of_adjacency(self, matrix: Any) -> Graph:
        self.edge.refuse_names("an adjacency")
        return Graph.from_adjacency(
            matrix,
            source="adjacency",
            self_loops=True,
            weighted=self.edge.weight is not None,
            adjacency_convention=self.edge.convention,
        )

    def of_labelled(self, matrix: np.ndarray, rows: list[Any], columns: list[Any]) -> Graph:
        """The graph of a matrix whose rows and columns have labels."""
        index, column = NodeLabels.of(rows), NodeLabels.of(columns)
        if set(index.values) != set(column.values):
            raise InvalidGraph(
                "rows and columns of an adjacency have different labels",
                got=f"rows {shown(index.values, 4)}; columns {shown(column.values, 4)}",
                allowed="the same labels",
                fix="frame.index = frame.columns, if rows are in the order of the columns",
            )
        place = {label: i for i, label in enumerate(column.values)}
        matrix = matrix[:, [place[label] for label in index.values]]
        labels = self.labels
        if labels is None:
            labels = NodeLabels.of(in_order(index.values))
        if len(rows) != len(labels.values):
            raise InvalidGraph(
                "the adjacency has other nodes than the data",
                got=f"{len(rows)}: {shown(index.values)}",
                allowed=f"{len(labels.values)}: {shown(labels.values)}",
                fix="select its rows and columns: frame.loc[labels, labels]",
            )
        if index.are_numbers:  # a matrix without labels of its own
            labels = replace(labels, strict=False)
        number = labels.match(index.values)
        order = np.argsort([number[label] for label in index.values])
        return self.of_adjacency(matrix[np.ix_(order, order)])

    def of_frame(self, frame: Any) -> Graph:
        """The graph of a pandas frame: a square one with equal labels is an adjacency."""
        columns = list(frame.columns)
        same = set(frame.index) == set(columns)
        matrix = same or (len(columns) > 2 and _numeric(frame) and not _named_ends(columns))
        if len(frame) == len(columns) and matrix:
            values = frame.to_numpy()
            if columns != list(range(len(columns))) or self.square(values):
                return self.of_labelled(values, list(frame.index), columns)
        if len(columns) < 2:
            raise InvalidGraph(
                "a frame of edges has two columns",
                got=", ".join(map(str, columns)),
                allowed="one row for each edge: sender, receiver",
            )
        ends = _named_ends(columns) or (columns[0], columns[1])
        if len(set(columns)) < len(columns):
            raise InvalidGraph(
                "two columns of the frame of edges have one name",
                got=", ".join(map(str, columns)),
                allowed="each name once",
                fix="frame.loc[:, ~frame.columns.duplicated()]",
            )
        columns_of = {name: frame[name].to_numpy() for name in columns if name not in ends}
        weight, attribute = chosen_columns(columns_of, self.edge, len(frame))
        unused = unused_in_words(columns_of, self.edge)
        if unused:
            warn_user(unused)
        reading = replace(
            self, edge=replace(self.edge, weight=WEIGHT if weight is not None else None)
        )
        return reading.of_pairs(frame[list(ends)].to_numpy(), weight, attribute)

    def of_data_array(self, array: Any) -> Graph:
        """The graph of an xarray matrix: senders by receivers where its dims say so."""
        if array.ndim != 2:
            raise InvalidGraph("an adjacency is square", got=f"shape {array.shape}")
        rows, columns = array.dims
        if rows in _RECEIVER_NAMES and columns in _SENDER_NAMES:
            array, rows, columns = array.transpose(columns, rows), columns, rows
        if rows in _SENDER_NAMES and columns in _RECEIVER_NAMES:  # dims say more than a convention
            named = replace(self, edge=replace(self.edge, convention="sender_first"))
            return named._of_matrix(array, rows, columns)
        return self._of_matrix(array, rows, columns)

    def _of_matrix(self, array: Any, rows: Any, columns: Any) -> Graph:
        values = array.values
        labelled = [dim for dim in (rows, columns) if dim in array.coords]
        if not labelled or values.shape[0] != values.shape[1]:
            return self.graph(values)
        names = [array.coords[dim if dim in labelled else labelled[0]] for dim in (rows, columns)]
        return self.of_labelled(values, *(list(each.values) for each in names))

    def of_pairs(self, edges: Any, weight: Any = None, attribute: Any = None) -> Graph:
        """The graph of pairs of numbers, or of labels where the data have labels.

        Weights are those given, or of a third entry of each edge.
        """
        source, nodes = "edge list", self.nodes
        if weight is None and attribute is None:
            self.edge.refuse_names("a list of edges")
            edges, weight = with_weight_column(edges)
        keywords: dict[str, Any] = dict(
            directed=self.directed,
            source=source,
            self_loops=True,
            weight=weight if self.edge.weight else None,
            attribute=attribute,
            attribute_names=self.edge.attributes if attribute is not None else (),
            duplicate_edges=self.edge.duplicates,
        )
        numbered = self.labels is None or (self.labels.are_numbers and not self.labels.strict)
        if self.labels is None or (numbered and not _has_text(edges)):
            return Graph.from_edges(edges, nodes, **keywords)
        pairs = [
            [plain(end) for end in pair] if isinstance(pair, Iterable) else [pair]
            for pair in (edges.tolist() if isinstance(edges, np.ndarray) else edges)
        ]
        for pair in pairs:
            if len(pair) != 2:
                raise self.labels.error(
                    "an edge is a pair of nodes",
                    got=repr(pair),
                    allowed="(node, node), or (node, node, weight)",
                    fix="two labels",
                )
        number = self.labels.match(end for pair in pairs for end in pair)
        ends = [(number[a], number[b]) for a, b in pairs]
        return Graph.from_edges(ends, len(self.labels.values), **keywords)


# Names of columns and dims for the two ends of an edge; pairs have the same place in both.
_SENDER_NAMES = ("sender", "source", "from", "src", "sending", "u")
_RECEIVER_NAMES = ("receiver", "target", "to", "dst", "receiving", "v")


def _named_ends(columns: Sequence[Any]) -> tuple[Any, Any] | None:
    """The columns of sender and receiver by their names, None where no names say so."""
    lower = {str(name).lower(): name for name in columns}
    for sender, receiver in zip(_SENDER_NAMES, _RECEIVER_NAMES):
        if sender in lower and receiver in lower:
            return lower[sender], lower[receiver]
    return None


def _numeric(frame: Any) -> bool:
    return all(dtype.kind in "biuf" for dtype in frame.dtypes)


def _has_text(edges: Any) -> bool:
    if isinstance(edges, np.ndarray):
        return edges.dtype.kind in "OUST"
    return any(isinstance(end, str) for pair in edges if not isinstance(pair, str) for end in pair)


def is_labelled_graph(topology: Any) -> bool:
    """Whether this is what `read_graph` returns."""
    return isinstance(getattr(topology, "graph", None), Graph) and hasattr(topology, "labels")


def _has_nodes(topology: Any) -> bool:
    return is_networkx(topology) or is_labelled_graph(topology)


def is_networkx(topology: Any) -> bool:
    """Whether this is a graph of networkx."""
    return all(hasattr(topology, name) for name in ("nodes", "edges", "adj"))


def names_in(topology: Any) -> list[Any] | None:
    """The names of a topology's nodes where they are others than 0 to n - 1, else None.

    For data that are made on it: their nodes take these names.
    """
    first = topology[0] if isinstance(topology, list | tuple) and topology else topology
    names: list[Any] | None = None
    if is_labelled_graph(first):
        names = list(first.labels)
    elif is_networkx(first):
        names = in_order(first.nodes)
    elif hasattr(first, "iloc") and hasattr(first, "columns"):
        square = first.shape[0] == first.shape[1] and set(first.index) == set(first.columns)
        names = in_order(list(first.index)) if square else None
    if names is None or set(names) == set(range(len(names))):
        return None
    return as_coords([plain(name) for name in names])


def _other_size(found: list[int], wanted: int) -> InvalidGraph:
    return InvalidGraph(
        "the graph has another number of nodes than nodes= or the data",
        got=f"{found} nodes",
        allowed=str(wanted),
        fix="leave nodes= out, or pass the graph's own number; nodes without edges are added by "
        "g.add_nodes_from(range(n))",
    )


def _without_loops(graph: Graph, self_loops: SelfLoops | None) -> Graph:
    """The graph as it is, or without its self loops. Raises `InvalidGraph` where they are refused."""
    loop = graph.sender == graph.receiver
    if self_loops == "keep" or not loop.any():
        return graph
    if self_loops == "drop":
        return graph.select_edges(~loop)
    first = int(graph.sender[loop][0] - graph.node_offset[graph.edge_graph[loop][0]])
    raise InvalidGraph(
        "the graph has self loops",
        got=f"{int(loop.sum())} of them, the first at node {first}",
        allowed="edges between two different nodes",
        fix='self_loops="drop" leaves them out (a node has its own state as input without them), '
        'self_loops="keep" keeps them'
        if self_loops == "error"
        else "remove them (a node has its own state as input without them): "
        "g.remove_edges_from(nx.selfloop_edges(g)), or np.fill_diagonal(adjacency, 0)",
    )


def resolve_edges(
    edges: Any,
    nodes: int,
    *,
    labels: NodeLabels,
    directed: bool = False,
    self_loops: SelfLoops | None = None,
    edge: EdgeOptions = AS_USUAL,
) -> Graph:
    """The `Graph` of pairs (edges, 2), with weights (edges, 3), of a frame of edges or of networkx.

    Options, errors and warnings are those of `resolve`.
    """
    _check_loops(self_loops)
    reading = _Reading(nodes, labels, directed, edge)
    edges = _as_array_or_list(edges)
    reads = isinstance(edges, Graph) or _has_nodes(edges)
    if reads or hasattr(edges, "to_pandas") or hasattr(edges, "iloc"):
        return _without_loops(reading.graph(edges), self_loops)
    try:
        graph = reading.of_pairs(edges)
    except TypeError as error:
        raise InvalidGraph(
            "an edge list holds pairs of nodes",
            got=f"{type(edges).__name__}: {one_line(edges, 80)}",
            allowed="(edges, 2)",
        ) from error
    return _without_loops(graph, self_loops)


def _check_loops(self_loops: SelfLoops | None) -> None:
    if self_loops is not None:
        one_of("self_loops", self_loops, ("error", "drop", "keep"))


def _as_array_or_list(values: Any) -> Any:
    """A torch tensor as an array; a set of pairs, or an iterator, as a list."""
    if hasattr(values, "detach"):
        return values.detach().cpu().numpy()
    return list(values) if isinstance(values, Set | Iterator) else values


def _edge_options(name: str, value: Any) -> EdgeOptions:
    if not isinstance(value, EdgeOptions):
        raise InvalidOption(f"{name} is an EdgeOptions", got=one_line(value, 80))
    return value


@arguments(directed=flag, edge=_edge_options)
def resolve(
    topology: Any,
    nodes: int | None = None,
    graphs: int = 1,
    graph_seed: int = PUBLISHED_SEED,
    system: Any = None,
    *,
    labels: Iterable[Any] | NodeLabels | None = None,
    directed: bool = False,
    self_loops: SelfLoops | None = None,
    edge: EdgeOptions = AS_USUAL,
) -> Graph:
    """The `Graph` of a topology given in any of the ways below.

    topology: a name ("BA"), a name with options (("BA", {"k": 3}), ("ER", {"m": 20})), a networkx
        graph, a list of pairs, a square adjacency (row sends to column: entry [i, j] is the edge i ->
        j; also a pandas frame or an xarray.DataArray, which are aligned by their labels), a frame with
        a row for each edge, a `Graph`, a `LabelledGraph` that `read_graph` returns, or a list of
        graphs.
    nodes: required for a name. For a list of edges the number of nodes, some of which may be
        isolated; for any other graph it must be its number of nodes.
    graphs: number of graphs to draw; one given graph is repeated.
    graph_seed: published graphs are used where they exist: with ``graphs=1`` the one of that seed
        (42, 1 to 5), with several graphs and seed 42 those of seeds 1 to 5, which are the published
        five-graph datasets (a sixth is drawn). All others are drawn by networkx with a generator of
        (graph_seed, index). ``Graph.source`` records which.
    system: a `System` or a name; published graphs and default options are those of its graph family.
    labels: of the nodes of the data that the graph is for: names in networkx graphs, pairs and
        labelled matrices are matched to them. Without data, nodes of a networkx graph that are
        called 0 to n - 1 have these numbers, other whole numbers are numbered by size, other names
        in the order of the graph.
    directed: pairs are (sender, receiver), not undirected edges.
    self_loops: "drop" or "keep"; by default they are refused, but for ``topology="full"`` and in a
        `Graph`.
    edge: which attribute or column of edges holds weights, which ones attributes, what is done with
        edges that stand twice, and whether rows of an adjacency send or receive.
    Raises InvalidGraph, InvalidOption and UnknownName. Warns of attributes of edges that are not read.
    """
    family = system if isinstance(system, str) else getattr(system, "graph_family", "")
    count = _check_count("graphs", graphs, 1)
    seed = _check_count("graph_seed", graph_seed, 0)
    _check_loops(self_loops)
    topology = _as_array_or_list(topology)
    if nodes is not None:
        nodes = _check_count("nodes", nodes, 1)
    if isinstance(topology, str) or _is_named_pair(topology):
        name, options = (topology, {}) if isinstance(topology, str) else topology
        if nodes is None:
            raise InvalidGraph(
                "a topology by name needs a number of nodes", got=repr(topology), fix="pass nodes="
            )
        if directed:
            raise InvalidGraph(
                "directed=True is for pairs, and a topology by name is undirected",
                got=f"directed=True, topology={topology!r}",
                allowed="pairs of sender and receiver, a DiGraph, an adjacency",
                fix="leave directed out",
            )
        edge.refuse_names("a topology by name")
        return _named(name, options, nodes, count, seed, family)
    if labels is not None and not isinstance(labels, NodeLabels):
        labels = NodeLabels.of(labels)
    graph = _Reading(nodes, labels, directed, edge).graph(topology)
    if not isinstance(topology, Graph):
        graph = _without_loops(graph, self_loops)
    if nodes is not None and np.any(graph.nodes != nodes):
        raise _other_size(sorted(set(graph.nodes.tolist())), nodes)
    if count > 1 and graph.graphs != count:
        if graph.graphs != 1:
            raise InvalidGraph(
                "graphs= differs from the number of graphs given", got=count, allowed=graph.graphs
            )
        _require_graphs(count, graph)
        graph = Graph.union([graph] * count)
    return graph
