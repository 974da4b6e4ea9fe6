"""``Graph``: any number of graphs as one disjoint union of directed edges, in plain NumPy.

Edges are sorted by receiver, so that the edges into a node are one slice (compressed sparse rows) and
a sum over neighbours is a matrix product or a sum over slices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import InvalidGraph
from .training.ranges import interval, warn_user

if TYPE_CHECKING:
    import networkx

# A dense matrix product is faster than a sparse one up to this many nodes, and above this share of
# all possible edges.
_DENSE_NODES = 256
_DENSE_SHARE = 0.05


def _pairs_fix(shape: tuple[int, ...]) -> str:
    """What helps where an array of this shape should hold pairs."""
    if len(shape) == 2 and shape[0] == 2 and shape[1] != 3:
        return "edges=edge_index.T, with directed=True, where the rows are senders and receivers"
    if len(shape) == 2 and shape[1] == 3:
        return "weights are not used by models: give the first two columns" + (
            ", or edge_index.T where the rows are senders and receivers" if shape[0] == 2 else ""
        )
    return "list(edges) makes a list of a set, a generator or a view; pairs have two ends"


def _indices(values: Any, what: str) -> np.ndarray:
    array = np.asarray(values)
    if array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidGraph(
            f"{what} must be a one-dimensional array of whole numbers",
            got=f"shape {array.shape}, dtype {array.dtype}",
            allowed="int64 (edges,)",
            fix="number the nodes from 0 and pass integers",
        )
    return np.ascontiguousarray(array, dtype=np.int64)


def in_order(names: Iterable[Any]) -> list[Any]:
    """Names of nodes in the order of their numbers: whole numbers by size, others as they stand."""
    names = list(names)
    if all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in names):
        return sorted(names)
    return names


def _weights(weight: np.ndarray) -> str:
    """Weights in words: their range, and how many are negative."""
    negative = int((weight < 0).sum()) if weight.dtype.kind != "b" else 0
    text = f"weights {interval(weight.min(), weight.max())}"
    return f"{text} ({negative} of {weight.size} negative)" if negative else text


def _warn_of_attributes(graph: Any) -> None:
    """One warning for all that the edges of a networkx graph hold and models do not use."""
    found: dict[Any, list[Any]] = {}
    for *_, attributes in graph.edges(data=True):
        for name, value in attributes.items():
            found.setdefault(name, []).append(value)
    unused = describe_columns({n: v for n, v in found.items() if n not in ("id", "key")})
    pairs = [(a, b) if graph.is_directed() else frozenset((a, b)) for a, b in graph.edges()]
    parallel = len(pairs) - len(set(pairs))
    if parallel:
        unused.append(f"{parallel} of {len(pairs)} edges are parallel to others and count once")
    if unused:
        warn_user("models do not use what the edges hold: " + "; ".join(unused))


def describe_columns(columns: Mapping[Any, Any]) -> list[str]:
    """A text for each attribute of edges that is not 1 throughout: its range or first values."""
    texts = []
    for name, values in columns.items():
        array = np.asarray(values) if not isinstance(values, list) else _column(values)
        if array.dtype.kind in "biuf":
            known = array[np.isfinite(array)] if array.dtype.kind == "f" else array
            if known.size and np.any(known != 1):
                texts.append(f"{name} {_weights(known).removeprefix('weights ')}")
        else:
            distinct = list(dict.fromkeys(str(value) for value in array.tolist()))
            texts.append(f"{name} {', '.join(distinct[:3])}" + ", ..." * (len(distinct) > 3))
    return texts


def _column(values: list[Any]) -> np.ndarray:
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        return np.array([str(value) for value in values])


@dataclass(frozen=True, eq=False, repr=False)
class Graph:
    """Directed edges of a disjoint union of graphs; an undirected edge is two directed ones.

    sender, receiver: int64 (edges,), node numbers of the union; edge e carries a message from
        ``sender[e]`` to ``receiver[e]``. Given in any order; stored sorted by receiver, then sender,
        without repetitions.
    nodes: int64 (graphs,), number of nodes of each graph; isolated nodes are allowed.
    source: how each graph was made, one string per graph.
    Raises InvalidGraph for node numbers out of range and edges between two graphs. Self loops are
    allowed (``topology="full"`` has them); `Graph.single` refuses them unless ``self_loops``.
    """

    sender: np.ndarray
    receiver: np.ndarray
    nodes: np.ndarray
    source: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        nodes = _indices(np.atleast_1d(self.nodes), "nodes")
        sender, receiver = _indices(self.sender, "sender"), _indices(self.receiver, "receiver")
        if nodes.size == 0 or nodes.min() < 1:
            raise InvalidGraph(
                "every graph needs at least one node", got=nodes.tolist(), allowed=">= 1 each"
            )
        if sender.shape != receiver.shape:
            raise InvalidGraph(
                "sender and receiver differ in length",
                got=f"{sender.size} senders, {receiver.size} receivers",
                allowed="one of each per edge",
            )
        total = int(nodes.sum())
        for name, ends in (("sender", sender), ("receiver", receiver)):
            if ends.size and (ends.min() < 0 or ends.max() >= total):
                raise InvalidGraph(
                    f"an edge's {name} is not a node",
                    got=f"{name} from {ends.min()} to {ends.max()}",
                    allowed=f"0 to {total - 1}",
                    fix="nodes count from 0: subtract 1, or give the data labels that count from 1"
                    if ends.min() == 1 and ends.max() == total
                    else "number the nodes from 0, or add the nodes that are lacking",
                )
        # One number per edge that sorts by receiver, then sender.
        key = receiver * total + sender
        if key.size > 1 and not np.all(np.diff(key) > 0):
            key = np.unique(key)
            receiver, sender = np.divmod(key, total)
        offset = np.concatenate([[0], np.cumsum(nodes)])
        if nodes.size > 1 and sender.size:
            graph_of_edge = np.searchsorted(offset, receiver, side="right")
            if np.any(graph_of_edge != np.searchsorted(offset, sender, side="right")):
                raise InvalidGraph(
                    "an edge joins two graphs of the union",
                    fix="join nodes of the same graph, or pass them as one graph",
                )
        source = tuple(self.source) or ("given",) * nodes.size
        if len(source) != nodes.size:
            raise InvalidGraph(
                "one source string per graph", got=len(source), allowed=str(nodes.size)
            )
        for name, value in (
            ("sender", sender),
            ("receiver", receiver),
            ("nodes", nodes),
            ("source", source),
        ):
            object.__setattr__(self, name, value)

    # ---- constructors -------------------------------------------------------------------------

    @classmethod
    def single(
        cls,
        sender: Any,
        receiver: Any,
        nodes: int,
        *,
        source: str = "given",
        self_loops: bool = False,
    ) -> Graph:
        """One graph from its directed edges; a self loop is an error unless ``self_loops``.

        sender, receiver: int (edges,), numbered from 0. Raises `InvalidGraph`.

        >>> Graph.single([0, 1], [1, 2], nodes=4).in_degree
        array([0, 1, 1, 0])
        """
        sender, receiver = _indices(sender, "sender"), _indices(receiver, "receiver")
        if not self_loops and sender.shape == receiver.shape and np.any(sender == receiver):
            raise InvalidGraph(
                "the graph has self loops",
                got=f"node {int(sender[sender == receiver][0])} joined to itself",
                allowed="edges between two different nodes",
                fix='remove them, or pass self_loops=True (topology="full" has them by design)',
            )
        return cls(sender, receiver, np.array([nodes], dtype=np.int64), (source,))

    @classmethod
    def from_edges(
        cls,
        edges: Any,
        nodes: int | None = None,
        *,
        directed: bool = False,
        source: str = "given",
        self_loops: bool = False,
    ) -> Graph:
        """One graph from pairs ``(edges, 2)``: undirected, or ``directed`` from sender to receiver.

        ``nodes``: by default the largest number in the pairs, plus one. Warns where a pair stands
        twice: parallel edges are one. Raises `InvalidGraph`.

        >>> Graph.from_edges([(0, 1), (1, 2)]).edges
        4
        """
        try:
            pairs = np.asarray(edges)
        except ValueError as error:  # rows of unequal length
            raise InvalidGraph(
                "an edge list holds pairs of nodes",
                got="rows of unequal length",
                allowed="(edges, 2)",
            ) from error
        if pairs.size == 0:
            pairs = np.zeros((0, 2), dtype=np.int64)
        if pairs.ndim != 2 or pairs.shape[1] != 2:
            raise InvalidGraph(
                "an edge list holds pairs of nodes",
                got=f"shape {pairs.shape}",
                allowed="(edges, 2)",
                fix=_pairs_fix(pairs.shape),
            )
        first, second = _indices(pairs[:, 0], "edges"), _indices(pairs[:, 1], "edges")
        distinct = len(np.unique(np.stack([first, second]), axis=1).T)
        if distinct < len(first):
            warn_user(
                f"{len(first) - distinct} of {len(first)} edges stand twice: parallel edges are one"
            )
        if nodes is None:
            nodes = int(pairs.max()) + 1 if pairs.size else 1
        if not directed:
            first, second = np.concatenate([first, second]), np.concatenate([second, first])
        return cls.single(first, second, nodes, source=source, self_loops=self_loops)

    @classmethod
    def from_adjacency(
        cls, adjacency: Any, *, source: str = "given", self_loops: bool = False
    ) -> Graph:
        """One graph from a square matrix, dense or SciPy sparse; row sends to column where not 0.

        Models use no weights: entries other than 0 and 1 count as 1, with a warning that names
        their range. Raises `InvalidGraph`, also for entries that are not finite or not real.
        """
        shape = np.shape(adjacency)
        if len(shape) != 2 or shape[0] != shape[1]:
            raise InvalidGraph("an adjacency is square", got=f"shape {shape}", allowed="(n, n)")
        if hasattr(adjacency, "tocsr"):
            coo = adjacency.tocsr().tocoo()  # entries that stand twice add up
            keep = coo.data != 0
            sender, receiver, weight = coo.row[keep], coo.col[keep], coo.data[keep]
        else:
            if np.ma.is_masked(adjacency):
                adjacency = np.ma.filled(np.ma.asarray(adjacency).astype(np.float64), np.nan)
            matrix = np.asarray(adjacency)
            sender, receiver = np.nonzero(matrix)
            weight = matrix[sender, receiver]
        if weight.dtype.kind not in "biuf" or not np.isfinite(weight).all():
            bad = weight.dtype.kind in "biuf"
            number = int((~np.isfinite(weight)).sum()) if bad else len(weight)
            raise InvalidGraph(
                "an adjacency holds numbers, 0 where there is no edge",
                got=f"{number} entries that are NaN, masked or infinite"
                if bad
                else f"dtype {weight.dtype}",
                allowed="finite real numbers",
                fix="write 0 where there is no edge: np.nan_to_num(adjacency), masked.filled(0)",
            )
        if weight.size and np.any(weight != 1):
            warn_user(f"models use no weights: {_weights(weight)} count as 1 where they are not 0")
        return cls.single(
            sender.astype(np.int64),
            receiver.astype(np.int64),
            int(shape[0]),
            source=source,
            self_loops=self_loops,
        )

    @classmethod
    def from_networkx(
        cls,
        graph: networkx.Graph,
        *,
        source: str = "networkx graph",
        numbers: Mapping[Any, int] | None = None,
        nodes: int | None = None,
        self_loops: bool = False,
    ) -> Graph:
        """One graph from networkx.

        Nodes that are called 0 to n - 1 have these numbers, in whatever order they were added;
        other whole numbers are numbered by size, other names in the order of ``graph.nodes``.
        ``numbers`` gives the number of each node that has edges, of ``nodes`` in all. Warns where
        edges have weights or other attributes, which models do not use, and where parallel edges
        become one.
        """
        if not len(graph):
            raise InvalidGraph("the networkx graph has no nodes", got=0, allowed=">= 1")
        if numbers is None:
            numbers = {name: i for i, name in enumerate(in_order(graph.nodes))}
            nodes = len(numbers)
        _warn_of_attributes(graph)
        # A set: parallel edges of a multigraph have one warning, that of `_warn_of_attributes`.
        ends = dict.fromkeys((numbers[a], numbers[b]) for a, b in graph.edges())
        return cls.from_edges(
            list(ends), nodes, directed=graph.is_directed(), source=source, self_loops=self_loops
        )

    @classmethod
    def union(cls, graphs: Iterable[Graph]) -> Graph:
        """The disjoint union, in the order given; each of ``graphs`` may be a union."""
        graphs = list(graphs)
        if not graphs:
            raise InvalidGraph("a union of no graphs", got=0, allowed=">= 1 graph")
        shift = np.cumsum([0] + [graph.total_nodes for graph in graphs])
        return cls(
            np.concatenate([graph.sender + s for graph, s in zip(graphs, shift, strict=False)]),
            np.concatenate([graph.receiver + s for graph, s in zip(graphs, shift, strict=False)]),
            np.concatenate([graph.nodes for graph in graphs]),
            tuple(name for graph in graphs for name in graph.source),
        )

    # ---- counts and offsets -------------------------------------------------------------------

    @property
    def graphs(self) -> int:
        """Number of graphs."""
        return int(self.nodes.size)

    @property
    def edges(self) -> int:
        """Number of directed edges of all graphs."""
        return int(self.sender.size)

    @cached_property
    def total_nodes(self) -> int:
        """Number of nodes of all graphs."""
        return int(self.nodes.sum())

    @cached_property
    def node_offset(self) -> np.ndarray:
        """int64 (graphs + 1,): the nodes of graph i are ``node_offset[i]:node_offset[i + 1]``."""
        return np.concatenate([[0], np.cumsum(self.nodes)]).astype(np.int64)

    @cached_property
    def edge_offset(self) -> np.ndarray:
        """int64 (graphs + 1,): the edges of graph i are ``edge_offset[i]:edge_offset[i + 1]``."""
        return np.searchsorted(self.receiver, self.node_offset).astype(np.int64)

    @cached_property
    def edge_graph(self) -> np.ndarray:
        """int64 (edges,): graph number of each edge."""
        return np.repeat(np.arange(self.graphs), np.diff(self.edge_offset))

    @cached_property
    def receiver_offset(self) -> np.ndarray:
        """int64 (total_nodes + 1,): edges into node k, ``receiver_offset[k]:receiver_offset[k + 1]``."""
        return np.searchsorted(self.receiver, np.arange(self.total_nodes + 1)).astype(np.int64)

    @cached_property
    def in_degree(self) -> np.ndarray:
        """int64 (total_nodes,): number of edges that end in each node."""
        return np.diff(self.receiver_offset)

    @cached_property
    def mean_degree(self) -> float:
        """Edges per node over all graphs, isolated nodes counted."""
        return self.edges / self.total_nodes

    @property
    def provenance(self) -> str:
        """The sources of the graphs in one line, each once."""
        return "; ".join(dict.fromkeys(self.source))

    # ---- conversions --------------------------------------------------------------------------

    def __len__(self) -> int:
        return self.graphs

    def __getitem__(self, index: int) -> Graph:
        """Graph ``index`` alone, its nodes numbered from 0.

        The same object every time, so that its cached `matrix` is made once.
        """
        if not -self.graphs <= index < self.graphs:
            raise IndexError(f"graph {index} of {self.graphs}")
        if self.graphs == 1:
            return self
        return self._single_graphs[index]

    @cached_property
    def _single_graphs(self) -> tuple[Graph, ...]:
        graphs = []
        for i in range(self.graphs):
            edges = slice(self.edge_offset[i], self.edge_offset[i + 1])
            shift = self.node_offset[i]
            graphs.append(
                Graph(
                    self.sender[edges] - shift,
                    self.receiver[edges] - shift,
                    self.nodes[i : i + 1],
                    self.source[i : i + 1],
                )
            )
        return tuple(graphs)

    @cached_property
    def without_edges(self) -> Graph:
        """The same nodes without edges."""
        none = np.zeros(0, dtype=np.int64)
        return Graph(none, none, self.nodes, tuple(f"{name}, no edges" for name in self.source))

    def same(self, other: Graph) -> bool:
        """Whether ``other`` has the same nodes and edges; sources may differ."""
        return (
            np.array_equal(self.nodes, other.nodes)
            and np.array_equal(self.sender, other.sender)
            and np.array_equal(self.receiver, other.receiver)
        )

    def adjacency(self) -> np.ndarray:
        """int64 (total_nodes, total_nodes), 1 where the row's node sends to the column's."""
        out = np.zeros((self.total_nodes, self.total_nodes), dtype=np.int64)
        out[self.sender, self.receiver] = 1
        return out

    def to_networkx(self, index: int = 0) -> networkx.Graph | networkx.DiGraph:
        """Graph ``index`` as a networkx graph, directed unless every edge has its reverse."""
        import networkx as nx

        graph = self[index]
        n = graph.total_nodes
        forward = graph.receiver * n + graph.sender
        both_ways = np.array_equal(np.sort(graph.sender * n + graph.receiver), forward)
        out = nx.Graph() if both_ways else nx.DiGraph()
        out.add_nodes_from(range(n))
        out.add_edges_from(zip(graph.sender.tolist(), graph.receiver.tolist(), strict=True))
        return out

    # ---- sums over neighbours -----------------------------------------------------------------

    @cached_property
    def matrix(self) -> Any:
        """float64 (receiver, sender), 1 where an edge is: dense for small graphs, SciPy CSR for large."""
        n = self.total_nodes
        if n <= _DENSE_NODES or self.edges > _DENSE_SHARE * n * n:
            return np.ascontiguousarray(self.adjacency().T, dtype=np.float64)
        from scipy.sparse import csr_array

        return csr_array((np.ones(self.edges), self.sender, self.receiver_offset), shape=(n, n))

    def sum_neighbours(self, values: np.ndarray) -> np.ndarray:
        """Sum of the senders' values at each receiver; 0 at an isolated node.

        values (..., node, feature) float64 -> the same shape. Nothing is copied where values are in
        Fortran order, (feature, node, ...) in memory, as the integrator stores them.
        """
        reverse = tuple(range(values.ndim))[::-1]
        reversed_values = values.transpose(reverse)
        # (feature, node, all other axes): one product of (node, node) with each feature.
        flat = reversed_values.reshape(len(reversed_values), self.total_nodes, -1)
        if isinstance(self.matrix, np.ndarray):
            summed = self.matrix @ flat
        else:
            summed = np.stack([self.matrix @ feature for feature in flat])
        return summed.reshape(reversed_values.shape).transpose(reverse)

    def __repr__(self) -> str:
        nodes = np.unique(self.nodes)
        each = str(nodes[0]) if nodes.size == 1 else f"{nodes[0]} to {nodes[-1]}"
        many = "1 graph" if self.graphs == 1 else f"{self.graphs} graphs"
        return (
            f"Graph({many}, {each} nodes, {self.edges} directed edges, "
            f"mean degree {self.mean_degree:.3g}: {self.provenance})"
        )
