"""Topologies by name, and whatever else a user may call a graph, made into a `Graph`."""

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
    """A way to make a graph of n nodes: its maker, its options, and whether it draws."""

    make: Callable[..., Graph]
    options: tuple[str, ...] = ()
    drawn: bool = False
    title: str = ""


TOPOLOGIES: dict[str, Topology] = {
    "BA": Topology(random_graphs.barabasi_albert, ("k",), True, "Barabasi-Albert, k edges a node"),
    "ER": Topology(random_graphs.erdos_renyi, ("p", "m"), True, "Erdos-Renyi, G(n, p) or G(n, m)"),
    "WS": Topology(
        random_graphs.watts_strogatz, ("k", "beta"), True, "Watts-Strogatz, k // 2 a side"
    ),
    "complete": Topology(regular.complete, title="every pair"),
    "full": Topology(
        regular.full, title="every pair and every self loop, as published code has it"
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
    """The options of a random topology that is named without any, by the system's graph family.

    Published sizes give the published options. Kuramoto (10 nodes: BA k=5, ER m=5 edges, WS k=5)
    keeps the degree at other sizes: k = min(5, n // 2), m = n // 2. Gene dynamics and every other
    system keep the density: k = n // 2 and p = 0.5. WS always rewires with beta = 0.5.
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


def _options(name: str, given: Mapping[str, Any], nodes: int, family: str) -> dict[str, Any]:
    allowed = TOPOLOGIES[name].options
    for option in given:
        if option not in allowed:
            raise unknown_name(f"option of topology {name}", option, allowed or ["(none)"])
    options = default_options(name, nodes, family)
    if name == "ER" and given:  # p and m exclude each other
        options = {}
    return options | dict(given)


def _named(
    topology: str, given: Mapping[str, Any], nodes: int, graphs: int, seed: int, family: str
) -> Graph:
    name = _canonical(topology)
    options = _options(name, given, nodes, family)
    made = []
    for index in range(graphs):
        if not TOPOLOGIES[name].drawn:
            made.append(TOPOLOGIES[name].make(nodes, **options))
            continue
        published = None
        if graphs == 1:
            published = published_graph(family, name, nodes, options, seed)
        elif seed == PUBLISHED_SEED and index < len(FIVE_GRAPH_SEEDS):
            published = published_graph(family, name, nodes, options, FIVE_GRAPH_SEEDS[index])
        if published is None:
            sequence = np.random.SeedSequence(entropy=seed, spawn_key=(index,))
            rng = np.random.default_rng(sequence)
            published = TOPOLOGIES[name].make(nodes, rng=rng, **options)
            where = f"{published.source[0]}, seed {seed}" + (f".{index}" if graphs > 1 else "")
            published = Graph(published.sender, published.receiver, published.nodes, (where,))
        made.append(published)
    return Graph.union(made)


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
    # Two edges are a 2 x 2 array too; only zeros and ones off the diagonal are an adjacency.
    return array.shape[0] != 2 or (
        not array.diagonal().any() and bool(np.isin(array, (0, 1)).all())
    )


def _given(topology: Any, nodes: int | None) -> Graph:
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
        parts = list(topology)
        if parts and all(isinstance(p, Graph) or hasattr(p, "adj") for p in parts):
            return Graph.union([_given(part, nodes) for part in parts])
        try:
            return Graph.from_edges(parts, nodes, source="edge list")
        except ValueError as error:
            if isinstance(error, InvalidGraph):
                raise
    raise InvalidGraph(
        "this is no topology",
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
    """The `Graph` that a user means.

    topology: a name ("BA"), a name with options (("BA", {"k": 3}), ("ER", {"m": 20})), a networkx
        graph, a list of undirected pairs, a square adjacency (row sends to column), a `Graph`, or a
        list of graphs.
    nodes: needed for a name; checked against, or completing (isolated nodes), a given graph.
    graphs: how many to draw; a given graph is repeated, several given ones are taken as they are.
    graph_seed: a published graph is used where one is shipped: with ``graphs=1`` the one of that
        seed (42, 1 to 5), with more graphs and seed 42 those of seeds 1 to 5, which make up the
        published five-graph datasets (a sixth is drawn). Every other graph comes from networkx with
        a generator of (graph_seed, index). ``Graph.source`` says which.
    system: a `System` or a name; its graph family gives the published graphs and the defaults.
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
    graph = _given(topology, nodes)
    if nodes is not None and np.any(graph.nodes != nodes):
        raise InvalidGraph(
            "the graph has another number of nodes than nodes= says",
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
