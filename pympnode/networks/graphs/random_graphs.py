"""Random topologies, drawn by networkx with a generator that is passed in. Raise `InvalidGraph`."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import InvalidGraph
from ...graph import Graph
from ...memory import need


def _whole(name: str, value: Any, least: int, most: int, topology: str, nodes: int) -> int:
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not least <= value <= most:
        raise InvalidGraph(
            f"no {topology} graph of {nodes} nodes with this {name}",
            got=f"{name}={value!r}",
            allowed=f"a whole number from {least} to {most}"
            if most >= least
            else "none: too few nodes",
            fix=f"choose another {name}" if most >= least else "take more nodes",
        )
    return int(value)


def _share(name: str, value: Any, topology: str) -> float:
    if not isinstance(value, (int, float, np.number)) or not 0.0 <= float(value) <= 1.0:
        raise InvalidGraph(
            f"{name} of {topology} is a probability", got=f"{name}={value!r}", allowed="0 to 1"
        )
    return float(value)


def _require_edges(edges: float, each: int, nodes: int) -> None:
    """Raise NotEnoughMemory where drawing the edges does not fit: ``each`` bytes of networkx and here."""
    need(
        int(edges * each + 200 * nodes),
        f"drawing a graph of {nodes:,} nodes and about {edges:,.0f} edges",
        fix='ask for fewer nodes=, or a topology= with fewer edges, such as ("BA", {"k": 3})',
    )


def _drawn(graph: Any, what: str) -> Graph:
    import networkx as nx

    return Graph.from_networkx(graph, source=f"networkx {nx.__version__} {what}")


def barabasi_albert(nodes: int, *, k: int, rng: np.random.Generator) -> Graph:
    """Barabasi and Albert (1999): each new node is joined to k others; k (n - k) edges in all."""
    import networkx as nx

    k = _whole("k", k, 1, nodes - 1, "BA", nodes)
    _require_edges(k * nodes, 700, nodes)
    return _drawn(nx.barabasi_albert_graph(nodes, k, seed=rng), f"BA({nodes}, k={k})")


def erdos_renyi(
    nodes: int, *, p: float | None = None, m: int | None = None, rng: np.random.Generator
) -> Graph:
    """Erdos and Renyi (1959): each pair with probability p, or m pairs. Nodes may be isolated."""
    import networkx as nx

    if (p is None) == (m is None):
        raise InvalidGraph(
            "ER takes either p or m",
            got=f"p={p}, m={m}",
            allowed="p (probability of an edge) or m (number of edges)",
        )
    if m is not None:
        m = _whole("m", m, 0, nodes * (nodes - 1) // 2, "ER", nodes)
        _require_edges(m, 540, nodes)
        return _drawn(nx.gnm_random_graph(nodes, m, seed=rng), f"ER({nodes}, m={m})")
    p = _share("p", p, "ER")
    _require_edges(p * nodes * (nodes - 1) / 2, 540, nodes)
    return _drawn(nx.gnp_random_graph(nodes, p, seed=rng), f"ER({nodes}, p={p:g})")


def watts_strogatz(nodes: int, *, k: int, beta: float = 0.5, rng: np.random.Generator) -> Graph:
    """Watts and Strogatz (1998): a ring with k // 2 neighbours per side, rewired with probability beta."""
    import networkx as nx

    k = _whole("k", k, 2, nodes - 1, "WS", nodes)
    beta = _share("beta", beta, "WS")
    _require_edges(k // 2 * nodes, 884, nodes)
    graph = nx.watts_strogatz_graph(nodes, k, beta, seed=rng)
    return _drawn(graph, f"WS({nodes}, k={k}, beta={beta:g})")
