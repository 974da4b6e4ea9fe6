"""Topologies by name, and `resolve`: a `Graph` of a name, a networkx graph, edges or an adjacency."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InvalidGraph, InvalidOption, unknown_name
from ...graph import Graph
from . import random_graphs, regular
from .instances import FIVE_GRAPH_SEEDS, PUBLISHED_SEED, published_graph


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


def _canonical(topology: str) -> str:
    name = _NAMES.get(topology.lower())
    if name is None:
        raise unknown_name("topology", topology, TOPOLOGIES)
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
    drawn = []
    for index in range(graphs):
        if not TOPOLOGIES[name].drawn:
            drawn.append(TOPOLOGIES[name].make(nodes, **options))
            continue
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


def _check_count(what: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InvalidOption(
            f"{what} must be a whole number", got=repr(value), allowed=f">= {least}"
        )
    return int(value)


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
    # with zeros on the diagonal.
    return array.shape[0] != 2 or (
        not array.diagonal().any() and bool(np.isin(array, (0, 1)).all())
    )


def _graph_of(topology: Any, nodes: int | None) -> Graph:
    """The graph of everything but a name. Raises `InvalidGraph`."""
    if isinstance(topology, Graph):
        return topology
    if hasattr(topology, "nodes") and hasattr(topology, "edges") and hasattr(topology, "adj"):
        return Graph.from_networkx(topology)
    if hasattr(topology, "tocoo"):
        return Graph.from_adjacency(topology, source="adjacency")
    if isinstance(topology, np.ndarray) and topology.ndim == 2:
        if _is_adjacency(topology, nodes):
            return Graph.from_adjacency(topology, source="adjacency")
        return Graph.from_edges(topology, nodes, source="edge list")
    if isinstance(topology, Sequence) and not isinstance(topology, str):
        items = list(topology)
        if items and all(isinstance(item, Graph) or hasattr(item, "adj") for item in items):
            return Graph.union([_graph_of(item, nodes) for item in items])
        try:
            return Graph.from_edges(items, nodes, source="edge list")
        except ValueError as error:
            if isinstance(error, InvalidGraph):
                raise
    raise InvalidGraph(
        "this is not a topology",
        got=f"{type(topology).__name__}: {topology!r:.80}",
        allowed=f'one of {", ".join(TOPOLOGIES)}, ("BA", {{"k": 3}}), a networkx graph, '
        "an edge list of pairs, a square adjacency, a Graph",
    )


def resolve(
    topology: Any,
    nodes: int | None = None,
    graphs: int = 1,
    graph_seed: int = PUBLISHED_SEED,
    system: Any = None,
) -> Graph:
    """The `Graph` of a topology given in any of the ways below.

    topology: a name ("BA"), a name with options (("BA", {"k": 3}), ("ER", {"m": 20})), a networkx
        graph, a list of undirected pairs, a square adjacency (row sends to column), a `Graph`, or a
        list of graphs.
    nodes: required for a name. For a list of edges the number of nodes, some of which may be
        isolated; for any other graph it must be its number of nodes.
    graphs: number of graphs to draw; one given graph is repeated.
    graph_seed: published graphs are used where they exist: with ``graphs=1`` the one of that seed
        (42, 1 to 5), with several graphs and seed 42 those of seeds 1 to 5, which are the published
        five-graph datasets (a sixth is drawn). All others are drawn by networkx with a generator of
        (graph_seed, index). ``Graph.source`` records which.
    system: a `System` or a name; published graphs and default options are those of its graph family.
    Raises InvalidGraph, InvalidOption and UnknownName.
    """
    family = system if isinstance(system, str) else getattr(system, "graph_family", "")
    count = _check_count("graphs", graphs, 1)
    seed = _check_count("graph_seed", graph_seed, 0)
    if nodes is not None:
        nodes = _check_count("nodes", nodes, 1)
    if isinstance(topology, str) or _is_named_pair(topology):
        name, options = (topology, {}) if isinstance(topology, str) else topology
        if nodes is None:
            raise InvalidGraph(
                "a topology by name needs a number of nodes", got=repr(topology), fix="pass nodes="
            )
        return _named(name, options, nodes, count, seed, family)
    graph = _graph_of(topology, nodes)
    if nodes is not None and np.any(graph.nodes != nodes):
        raise InvalidGraph(
            "the graph has another number of nodes than nodes=",
            got=f"{sorted(set(graph.nodes.tolist()))} nodes",
            allowed=str(nodes),
            fix="leave nodes= out, or pass the graph's own number",
        )
    if count > 1 and graph.graphs != count:
        if graph.graphs != 1:
            raise InvalidGraph(
                "graphs= differs from the number of graphs given", got=count, allowed=graph.graphs
            )
        graph = Graph.union([graph] * count)
    return graph
