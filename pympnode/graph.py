"""``Graph``: any number of graphs as one disjoint union of directed edges, in plain NumPy.

Edges are sorted by receiver, so that the edges into a node are one slice (compressed sparse rows) and
a sum over neighbours is a matrix product or a sum over slices.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from .config import arguments, choice, flag, least, names_of, text
from .edge_values import (
    AdjacencyConvention,
    DuplicateEdges,
    EdgeList,
    EdgeOptions,
    check_convention,
    checked_attribute,
    checked_delay,
    checked_weight,
    chosen_columns,
    unless_ones,
    unused_in_words,
    weights_in_words,
    with_weight_column,
)
from .errors import InvalidGraph, one_line
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
    if len(shape) == 2 and shape[0] == shape[1] > 3:
        return "give an adjacency by topology= (Graph.from_adjacency), attributes of edges by attribute="
    if len(shape) == 2 and shape[1] > 3:
        return "give attributes of edges by attribute="
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


def _checked_types(values: Any, offset: np.ndarray) -> np.ndarray:
    """Types of nodes, int64 (total_nodes,); ``offset``: first node of each graph, and their number.
    Raises `InvalidGraph`."""
    types = _indices(values, "node_type")
    total = int(offset[-1])
    if types.shape != (total,) or types.min() < 0:
        raise InvalidGraph(
            "every node has the number of its type",
            got=f"{types.size} numbers from {types.min() if types.size else 'none'}",
            allowed=f"{total} numbers, from 0",
            fix="number the types from 0, and give one number per node of the union",
        )
    falls = np.diff(types) < 0
    falls[offset[1:-1] - 1] = False  # from the last node of a graph to the first of the next
    if falls.any():
        node = int(np.flatnonzero(falls)[0])
        raise InvalidGraph(
            "nodes are numbered type after type",
            got=f"node {node} of type {types[node]} before node {node + 1} of type {types[node + 1]}",
            allowed="types that do not decrease within a graph",
            fix="renumber the nodes by np.argsort(node_type, kind='stable')",
        )
    return types


def _same_or_none(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other)


@dataclass(frozen=True, eq=False, repr=False)
class Graph:
    """Directed edges of a disjoint union of graphs; an undirected edge is two directed ones.

    sender, receiver: int64 (edges,), node numbers of the union; edge e carries a message from
        ``sender[e]`` to ``receiver[e]``. Given in any order; stored sorted by receiver, then sender,
        without repetitions.
    nodes: int64 (graphs,), number of nodes of each graph; isolated nodes are allowed.
    source: how each graph was made, one string per graph.
    weight: float64 (edges,) or None, in the order of the edges given; a message is multiplied by the
        weight of the edge that it passes. None is a weight of 1 for every edge.
    attribute: float64 (edges, attribute) or None, other numbers of the edges, and ``attribute_names``
        (attribute,), by default a0, a1, ...
    node_type: int64 (total_nodes,) or None, the number of the type of each node, which does not
        decrease within a graph: nodes are numbered type after type. None is type 0 for every node.
    delay: float64 (edges,) or None, the time that a message takes along each edge, in the unit of time
        of the data; one number for all is allowed. None is a delay of 0.
    Raises InvalidGraph for node numbers out of range, edges between two graphs, weights or attributes
    that are not finite or of another number, types out of order, delays below 0, and for weighted edges
    that stand twice. Self loops are allowed (``topology="full"`` has them); `Graph.single` refuses them
    unless ``self_loops``.
    """

    sender: np.ndarray
    receiver: np.ndarray
    nodes: np.ndarray
    source: tuple[str, ...] = ()
    weight: np.ndarray | None = None
    attribute: np.ndarray | None = None
    attribute_names: tuple[str, ...] = ()
    node_type: np.ndarray | None = None
    delay: np.ndarray | None = None

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
        names = tuple(str(name) for name in self.attribute_names)
        weight, attribute = self.weight, self.attribute
        if weight is not None:
            weight = checked_weight(weight, sender.size)
        if attribute is not None:
            attribute = checked_attribute(attribute, sender.size, names)
            names = names or tuple(f"a{i}" for i in range(attribute.shape[1]))
        delay = None if self.delay is None else checked_delay(self.delay, sender.size)
        if key.size > 1 and not np.all(np.diff(key) > 0):
            if weight is not None or attribute is not None or delay is not None:
                order = np.argsort(key, kind="stable")
                EdgeList(sender, receiver, weight).without_duplicates("error", directed=True)
                weight = None if weight is None else weight[order]
                attribute = None if attribute is None else attribute[order]
                delay = None if delay is None else delay[order]
            key = np.unique(key)
            receiver, sender = np.divmod(key, total)
        offset = np.concatenate([[0], np.cumsum(nodes)])
        node_type = None if self.node_type is None else _checked_types(self.node_type, offset)
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
            ("weight", weight),
            ("attribute", attribute),
            ("attribute_names", names if attribute is not None else ()),
            ("node_type", node_type),
            ("delay", delay),
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
        weight: Any = None,
        attribute: Any = None,
        attribute_names: Sequence[str] = (),
        delay: Any = None,
    ) -> Graph:
        """One graph from its directed edges; a self loop is an error unless ``self_loops``.

        sender, receiver: int (edges,), numbered from 0; ``weight`` (edges,), ``attribute`` (edges,
        attribute) and its names, and ``delay`` (edges,) as in `Graph`. Raises `InvalidGraph`.

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
        count = np.array([nodes], dtype=np.int64)
        names = tuple(attribute_names)
        return cls(sender, receiver, count, (source,), weight, attribute, names, delay=delay)

    @classmethod
    @arguments(
        nodes=least(1), directed=flag, self_loops=flag, source=text, attribute_names=names_of
    )
    def from_edges(
        cls,
        edges: Any,
        nodes: int | None = None,
        *,
        directed: bool = False,
        source: str = "given",
        self_loops: bool = False,
        weight: Any = None,
        attribute: Any = None,
        attribute_names: Sequence[str] = (),
        delay: Any = None,
        duplicate_edges: DuplicateEdges = "error",
    ) -> Graph:
        """One graph from pairs ``(edges, 2)``: undirected, or ``directed`` from sender to receiver.

        ``nodes``: by default the largest number in the pairs, plus one. ``weight`` (edges,), which a
        third column of the pairs gives as well, ``attribute`` (edges, attribute) and ``delay`` (edges,)
        or one number: of both directions of an undirected edge. Weights that are all 1 are no weights.
        ``duplicate_edges``: "error", "sum" (of the weights, 1 for each edge without) or "first"; an
        undirected edge may be listed in both orders with the same values. Raises `InvalidGraph`,
        `UnknownName`.

        >>> Graph.from_edges([(0, 1), (1, 2)]).edges
        4
        >>> Graph.from_edges([(0, 1, 0.5), (1, 2, -2.0)], directed=True).weight
        array([ 0.5, -2. ])
        """
        edges, column = with_weight_column(edges)
        if column is not None:
            if weight is not None:
                raise InvalidGraph(
                    "weights are given twice",
                    got="a third column, and weight=",
                    allowed="one of them",
                )
            weight = column
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
                allowed="(edges, 2), or (edges, 3) with weights",
                fix=_pairs_fix(pairs.shape),
            )
        first, second = _indices(pairs[:, 0], "edges"), _indices(pairs[:, 1], "edges")
        if weight is not None:
            weight = checked_weight(weight, first.size)
        if attribute is not None:
            attribute = checked_attribute(attribute, first.size, tuple(attribute_names))
        if delay is not None:
            delay = checked_delay(delay, first.size)
        if nodes is None:
            nodes = int(pairs.max()) + 1 if pairs.size else 1
        listed = EdgeList(first, second, weight, attribute, delay)
        if not first.size or min(first.min(), second.min()) >= 0:  # negative numbers: see `Graph`
            listed = listed.without_duplicates(duplicate_edges, directed=directed)
        first, second, weight = listed.sender, listed.receiver, unless_ones(listed.weight)
        attribute, delay = listed.attribute, listed.delay
        if not directed:
            # A loop is its own reverse.
            back = np.flatnonzero(first != second) if self_loops else np.arange(first.size)
            first, second = (
                np.concatenate([first, second[back]]),
                np.concatenate([second, first[back]]),
            )
            if weight is not None:
                weight = np.concatenate([weight, weight[back]])
            if attribute is not None:
                attribute = np.concatenate([attribute, attribute[back]])
            if delay is not None:
                delay = np.concatenate([delay, delay[back]])
        return cls.single(
            first,
            second,
            nodes,
            source=source,
            self_loops=self_loops,
            weight=weight,
            attribute=attribute,
            attribute_names=attribute_names,
            delay=delay,
        )

    @classmethod
    @arguments(
        source=text,
        self_loops=flag,
        weighted=flag,
        adjacency_convention=choice("sender_first", "receiver_first"),
    )
    def from_adjacency(
        cls,
        adjacency: Any,
        *,
        source: str = "given",
        self_loops: bool = False,
        weighted: bool = True,
        adjacency_convention: AdjacencyConvention = "sender_first",
    ) -> Graph:
        """One graph from a square matrix, dense or SciPy sparse; an edge where an entry is not 0.

        The row sends to the column, as in networkx: entry [i, j] is the edge i -> j; with
        ``adjacency_convention="receiver_first"`` the column sends to the row. Entries are weights,
        unless all are 0 and 1 or ``weighted=False``; entries of a sparse matrix that stand twice add
        up, as SciPy has it. Raises `InvalidGraph`, also for entries that are not finite or not real,
        and `UnknownName`.

        >>> Graph.from_adjacency(np.array([[0, 2.5], [0, 0]])).weight
        array([2.5])
        """
        check_convention(adjacency_convention)
        try:
            shape = np.shape(adjacency)
        except (TypeError, ValueError, RuntimeError) as error:  # rows of unequal length, a dataset
            raise InvalidGraph(
                "an adjacency is square", got=one_line(error), allowed="an array (n, n)"
            ) from error
        if len(shape) != 2 or shape[0] != shape[1]:
            raise InvalidGraph("an adjacency is square", got=f"shape {shape}", allowed="(n, n)")
        if hasattr(adjacency, "tocsr"):
            coo = adjacency.tocsr().tocoo()
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
        if adjacency_convention == "receiver_first":
            sender, receiver = receiver, sender
        return cls.single(
            sender.astype(np.int64),
            receiver.astype(np.int64),
            int(shape[0]),
            source=source,
            self_loops=self_loops,
            weight=unless_ones(weight) if weighted else None,
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
        edge_weight: str | None = "weight",
        edge_attributes: Sequence[str] = (),
        duplicate_edges: DuplicateEdges = "error",
    ) -> Graph:
        """One graph from networkx.

        Nodes that are called 0 to n - 1 have these numbers, in whatever order they were added;
        other whole numbers are numbered by size, other names in the order of ``graph.nodes``.
        ``numbers`` gives the number of each node that has edges, of ``nodes`` in all.
        ``edge_weight``: the attribute of edges that is their weight, where there is one; None takes
        no weights. ``edge_attributes``: names of those that are attributes. Warns of other
        attributes, which are left out. ``duplicate_edges``: of a multigraph, see `from_edges`.
        Raises `InvalidGraph`, `UnknownName`.
        """
        if not len(graph):
            raise InvalidGraph("the networkx graph has no nodes", got=0, allowed=">= 1")
        if numbers is None:
            numbers = {name: i for i, name in enumerate(in_order(graph.nodes))}
            nodes = len(numbers)
        options = EdgeOptions(edge_weight, tuple(edge_attributes), duplicate_edges)
        listed = list(graph.edges(data=True))
        keys = dict.fromkeys(key for *_, held in listed for key in held)
        columns = {key: [held.get(key) for *_, held in listed] for key in keys}
        weight, attribute = None, None
        if listed:
            weight, attribute = chosen_columns(columns, options, len(listed))
            unused = unused_in_words(columns, options)
            if unused:
                warn_user(unused)
        ends = [(numbers[a], numbers[b]) for a, b, _ in listed]
        if not graph.is_directed():  # either order is the same edge, also in a multigraph
            ends = [(min(pair), max(pair)) for pair in ends]
        return cls.from_edges(
            ends,
            nodes,
            directed=graph.is_directed(),
            source=source,
            self_loops=self_loops,
            weight=weight,
            attribute=attribute,
            attribute_names=options.attributes if attribute is not None else (),
            duplicate_edges=duplicate_edges,
        )

    @classmethod
    def union(cls, graphs: Iterable[Graph]) -> Graph:
        """The disjoint union, in the order given; each of ``graphs`` may be a union.

        A graph without weights in a union with weights has weights of 1, one without delays delays of 0,
        one without types of nodes type 0. Raises `InvalidGraph`, also
        where the attributes of edges differ in number or names.
        """
        graphs = list(graphs)
        if not graphs:
            raise InvalidGraph("a union of no graphs", got=0, allowed=">= 1 graph")
        shift = np.cumsum([0] + [graph.total_nodes for graph in graphs])
        weight = None
        if any(graph.weight is not None for graph in graphs):
            weight = np.concatenate([graph.weight_or_ones for graph in graphs])
        delay = None
        if any(graph.delay is not None for graph in graphs):
            delay = np.concatenate([graph.delay_or_zeros for graph in graphs])
        attribute: np.ndarray | None = None
        names: tuple[str, ...] = ()
        with_edges = [graph for graph in graphs if graph.edges] or graphs[:1]
        if any(graph.attribute is not None for graph in with_edges):
            names = with_edges[0].attribute_names
            for number, graph in enumerate(with_edges):
                if graph.attribute is None or graph.attribute_names != names:
                    raise InvalidGraph(
                        "graphs of a union have the same attributes of edges",
                        got=f"graph {number}: {', '.join(graph.attribute_names) or 'none'}",
                        allowed=", ".join(names) or "none",
                    )
            attribute = np.concatenate(
                [graph.attribute for graph in with_edges if graph.attribute is not None]
            )
        node_type = None
        if any(graph.node_type is not None for graph in graphs):
            node_type = np.concatenate([graph.type_or_zeros for graph in graphs])
        return cls(
            np.concatenate([graph.sender + s for graph, s in zip(graphs, shift, strict=False)]),
            np.concatenate([graph.receiver + s for graph, s in zip(graphs, shift, strict=False)]),
            np.concatenate([graph.nodes for graph in graphs]),
            tuple(name for graph in graphs for name in graph.source),
            weight,
            attribute,
            names,
            node_type,
            delay,
        )

    # ---- other graphs of the same edges ---------------------------------------------------------

    @property
    def weight_or_ones(self) -> np.ndarray:
        """float64 (edges,): the weights, 1 where the graph has none."""
        return np.ones(self.edges) if self.weight is None else self.weight

    @property
    def type_or_zeros(self) -> np.ndarray:
        """int64 (total_nodes,): the types of the nodes, 0 where the graph has none."""
        return np.zeros(self.total_nodes, np.int64) if self.node_type is None else self.node_type

    def with_types(self, node_type: Any) -> Graph:
        """The same graph with ``node_type`` (total_nodes,); None for none. Raises `InvalidGraph`."""
        return replace(self, node_type=node_type)

    @property
    def delay_or_zeros(self) -> np.ndarray:
        """float64 (edges,): the delays, 0 where the graph has none."""
        return np.zeros(self.edges) if self.delay is None else self.delay

    @cached_property
    def without_weights(self) -> Graph:
        """The same edges without weights and attributes."""
        if self.weight is None and self.attribute is None:
            return self
        return replace(self, weight=None, attribute=None, attribute_names=())

    def with_weight(self, weight: Any) -> Graph:
        """The same edges with ``weight`` (edges,), in the order of `sender`; None for none."""
        return replace(self, weight=weight)

    def with_delay(self, delay: Any) -> Graph:
        """The same edges with ``delay`` (edges,), in the order of `sender`, or one number for all; None
        for none."""
        return replace(self, delay=delay)

    def select_edges(self, index: np.ndarray) -> Graph:
        """The same nodes with the edges of ``index``, numbers or a mask, with what they hold."""
        edges = EdgeList(
            self.sender, self.receiver, self.weight, self.attribute, self.delay
        ).select(index)
        return replace(self, **vars(edges))

    def reversed(self) -> Graph:
        """Every edge in the other direction, with its weight, attributes and delay."""
        return replace(self, sender=self.receiver, receiver=self.sender)

    def renumbered(self, numbers: Any, nodes: int | None = None) -> Graph:
        """One graph whose node i becomes node ``numbers[i]``, of ``nodes`` in all.

        Edges keep their weights, attributes and delays, nodes their types. Raises `InvalidGraph`, also
        where the types of the nodes would not stand in order.
        """
        numbers = _indices(numbers, "numbers")
        count = self.total_nodes if nodes is None else nodes
        if (
            self.graphs != 1
            or numbers.shape != (self.total_nodes,)
            or len(set(numbers.tolist())) < numbers.size
        ):
            raise InvalidGraph(
                "each node of one graph has one new number",
                got=f"{len(set(numbers.tolist()))} numbers, {self.graphs} graphs",
                allowed=f"{self.total_nodes} different numbers",
            )
        node_type = None
        if self.node_type is not None:
            if count != self.total_nodes or (numbers.min() < 0 or numbers.max() >= count):
                raise InvalidGraph(
                    "nodes that are added have no type",
                    got=f"{count} nodes, of which {self.total_nodes} have a type",
                    allowed=f"{self.total_nodes} nodes, numbered from 0",
                    fix="add the nodes with their types to the graph first",
                )
            node_type = np.empty(count, np.int64)
            node_type[numbers] = self.node_type
        return replace(
            self,
            sender=numbers[self.sender],
            receiver=numbers[self.receiver],
            nodes=np.array([count], dtype=np.int64),
            node_type=node_type,
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
                    None if self.weight is None else self.weight[edges],
                    None if self.attribute is None else self.attribute[edges],
                    self.attribute_names,
                    None
                    if self.node_type is None
                    else self.node_type[shift : self.node_offset[i + 1]],
                    None if self.delay is None else self.delay[edges],
                )
            )
        return tuple(graphs)

    @cached_property
    def without_edges(self) -> Graph:
        """The same nodes without edges; weights and attributes are empty arrays where there were some."""
        source = tuple(f"{name}, no edges" for name in self.source)
        return replace(self.select_edges(np.zeros(0, dtype=np.int64)), source=source)

    def same(self, other: Graph) -> bool:
        """Whether ``other`` has the same nodes, edges, weights, attributes, delays and types of nodes;
        sources may differ.

        No weights are the same as weights of 1, no delays as delays of 0, no types as type 0.
        """
        return (
            np.array_equal(self.nodes, other.nodes)
            and np.array_equal(self.sender, other.sender)
            and np.array_equal(self.receiver, other.receiver)
            and np.array_equal(self.weight_or_ones, other.weight_or_ones)
            and np.array_equal(self.delay_or_zeros, other.delay_or_zeros)
            and _same_or_none(self.attribute, other.attribute)
            and np.array_equal(self.type_or_zeros, other.type_or_zeros)
        )

    def adjacency(self) -> np.ndarray:
        """(total_nodes, total_nodes): where the row's node sends to the column's, 1 as int64, or the
        edge's weight as float64."""
        kind = np.int64 if self.weight is None else np.float64
        out = np.zeros((self.total_nodes, self.total_nodes), dtype=kind)
        out[self.sender, self.receiver] = 1 if self.weight is None else self.weight
        return out

    def to_networkx(self, index: int = 0) -> networkx.Graph | networkx.DiGraph:
        """Graph ``index`` as a networkx graph, directed unless every edge has its reverse with the
        same weight and attributes, which are attributes of its edges. Types of nodes are their
        attribute "node_type"."""
        import networkx as nx

        graph = self[index]
        both_ways = graph.same(graph.reversed())
        out = nx.Graph() if both_ways else nx.DiGraph()
        out.add_nodes_from(range(graph.total_nodes))
        if graph.node_type is not None:
            nx.set_node_attributes(out, dict(enumerate(graph.node_type.tolist())), "node_type")
        out.add_edges_from(zip(graph.sender.tolist(), graph.receiver.tolist(), strict=True))
        for e, ends in enumerate(zip(graph.sender.tolist(), graph.receiver.tolist(), strict=True)):
            if graph.weight is not None:
                out.edges[ends]["weight"] = float(graph.weight[e])
            if graph.delay is not None:
                out.edges[ends]["delay"] = float(graph.delay[e])
            if graph.attribute is not None:
                held = zip(graph.attribute_names, graph.attribute[e].tolist(), strict=True)
                out.edges[ends].update(held)
        return out

    # ---- sums over neighbours -----------------------------------------------------------------

    @cached_property
    def matrix(self) -> Any:
        """float64 (receiver, sender), the weight of each edge: dense for small graphs, SciPy CSR for
        large."""
        n = self.total_nodes
        if n <= _DENSE_NODES or self.edges > _DENSE_SHARE * n * n:
            return np.ascontiguousarray(self.adjacency().T, dtype=np.float64)
        from scipy.sparse import csr_array

        return csr_array((self.weight_or_ones, self.sender, self.receiver_offset), shape=(n, n))

    @cached_property
    def in_weight(self) -> np.ndarray:
        """(total_nodes,): sum of the weights of the edges into each node; without weights their
        number, `in_degree`."""
        if self.weight is None:
            return self.in_degree
        return np.bincount(self.receiver, weights=self.weight, minlength=self.total_nodes)

    def sum_neighbours(self, values: np.ndarray) -> np.ndarray:
        """Sum of the senders' values, times the weights of the edges, at each receiver; 0 at an
        isolated node.

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

    def sum_differences(self, values: np.ndarray) -> np.ndarray:
        """Sum of sender minus receiver, times the weights of the edges, at each receiver: diffusion
        along the edges.

        values (..., node, feature) float64 -> the same shape. On a graph with equal weights in both
        directions the result sums to zero over the nodes.
        """
        # sum_j w_j (x_j - x_i) = sum_j w_j x_j - x_i sum_j w_j, without an array of edges
        out = self.sum_neighbours(values)
        out -= self.in_weight[:, None] * values
        return out

    def __repr__(self) -> str:
        nodes = np.unique(self.nodes)
        each = str(nodes[0]) if nodes.size == 1 else f"{nodes[0]} to {nodes[-1]}"
        many = "1 graph" if self.graphs == 1 else f"{self.graphs} graphs"
        held = "" if self.weight is None else f", {weights_in_words(self.weight)}"
        if self.attribute is not None:
            held += f", attributes {', '.join(self.attribute_names)}"
        if self.node_type is not None:
            held += f", {np.unique(self.node_type).size} types of nodes"
        if self.delay is not None and self.edges:
            held += f", delays {interval(self.delay.min(), self.delay.max())}"
        return (
            f"Graph({many}, {each} nodes, {self.edges} directed edges, "
            f"mean degree {self.mean_degree:.3g}{held}: {self.provenance})"
        )
