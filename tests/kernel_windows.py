"""Random windows for the kernel tests: several graphs, controls, masks, uneven steps."""

from __future__ import annotations

import numpy as np
import torch

from pympnode.graph import Graph
from pympnode.networks.engines.columns import Columns
from pympnode.networks.engines.torch.window import Window
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of


def random_graph(rng: np.random.Generator, sizes: list[int], degree: float = 3.0) -> Graph:
    """Directed graphs of about ``degree`` edges a node; some nodes are isolated."""
    graphs = []
    for nodes in sizes:
        chosen = rng.random((nodes, nodes)) < degree / max(nodes, 1)
        np.fill_diagonal(chosen, False)
        sender, receiver = np.nonzero(chosen)
        graphs.append(Graph.single(sender, receiver, nodes))
    return Graph.union(graphs)


def with_edge_data(
    graph: Graph, attributes: int, rng: np.random.Generator, *, weighted: bool
) -> Graph:
    """The graph with attributes of edges, and with weights of either sign where ``weighted``."""
    edges = len(graph.sender)
    return Graph(
        graph.sender,
        graph.receiver,
        graph.nodes,
        weight=rng.standard_normal(edges) if weighted else None,
        attribute=rng.standard_normal((edges, attributes)) if attributes else None,
    )


def random_window(
    spec: ModelSpec,
    rng: np.random.Generator,
    sizes: list[int],
    graph_of: list[int],
    steps: int,
    dtype: torch.dtype,
    *,
    masked: bool = False,
) -> Window:
    """A window of random numbers on random graphs.

    Where the model computes something for each edge, the edges of a masked window have weights too.
    """
    graph = random_graph(rng, sizes)
    if spec.pairwise or spec.learned_edges or spec.aggregation == "max":
        graph = with_edge_data(graph, spec.edge_attributes, rng, weighted=masked)
    columns = Columns.arrange(graph, np.array(graph_of))
    total = columns.total

    def normal(*shape: int) -> torch.Tensor:
        return torch.as_tensor(rng.standard_normal(shape), dtype=dtype)

    mask = torch.as_tensor(rng.random((steps + 1, spec.channels, total)) < 0.7, dtype=dtype)
    return Window(
        columns,
        normal(spec.channels, total),
        2 * normal(steps + 1, spec.channels, total),
        normal(steps, spec.controls, total) if spec.controls else None,
        normal(spec.attributes, total) if spec.attributes else None,
        mask if masked else None,
        rng.uniform(0.03, 0.1, steps),
        1 / total,
    )


def random_theta(spec: ModelSpec, rng: np.random.Generator, dtype: torch.dtype) -> torch.Tensor:
    """Glorot weights, and biases that are not zero."""
    layout = layout_of(spec)
    values = layout.initial(rng) + 0.05 * rng.standard_normal(layout.size)
    return torch.as_tensor(values, dtype=dtype)


OPTIONS: dict[str, dict[str, object]] = {
    "published": {},
    "controls": {"controls": 2},
    "attributes": {"attributes": 2, "controls": 1},
    "sum": {"aggregation": "sum", "divisor": 2.5},
    "zero": {"messages": "zero"},
    "no message": {"messages": "zero", "message": 0},
    "self": {"messages": "self"},
    "emitted": {"messages": "emitted", "attributes": 1, "controls": 1},
    "superposed": {"coupling": "superposed"},
    "superposed self": {"coupling": "superposed", "messages": "self", "controls": 1},
    "superposed zero": {"coupling": "superposed", "messages": "zero"},
    "superposed emitted": {"coupling": "superposed", "messages": "emitted", "attributes": 1},
    "first linear": {"first_message": "linear", "attributes": 1},
    "first mlp": {"first_message": "mlp", "attributes": 2},
    "first mlp superposed": {"first_message": "mlp", "coupling": "superposed"},
    "first of zero": {"first_message": "mlp", "messages": "zero"},
    "substeps": {"substeps": 3},
    "tsit5": {"solver": "tsit5"},
    "tsit5 substeps": {"solver": "tsit5", "substeps": 2, "messages": "emitted"},
    "stride 2": {"stride": 2},
    "stride 3": {"stride": 3, "messages": "emitted", "attributes": 1},
    "stride 9": {"stride": 9, "first_message": "mlp"},
    "one layer": {"depth": 1, "hidden": 13},
    "four layers": {"depth": 4, "hidden": 37, "coupling": "superposed"},
    "sender controls": {"messages": "emitted", "sender_controls": True, "controls": 2},
    "linear path": {"linear": True, "attributes": 1, "controls": 1, "first_message": "mlp"},
    "linear path superposed": {
        "linear": True,
        "messages": "emitted",
        "coupling": "superposed",
        "controls": 1,
    },
    "linear path pairs": {"linear": True, "messages": "pairwise", "attributes": 1},
    "max": {"aggregation": "max"},
    "max emitted": {"aggregation": "max", "messages": "emitted", "coupling": "superposed"},
    # More weights than edges: those beyond have no gradient.
    "learned edges": {"learned_edges": 90},
    "learned edges, max": {"learned_edges": 90, "messages": "emitted", "aggregation": "max"},
    "pairwise": {"messages": "pairwise"},
    "pairwise inputs": {
        "messages": "pairwise",
        "edge_attributes": 2,
        "controls": 1,
        "attributes": 2,
    },
    "pairwise superposed": {
        "messages": "pairwise",
        "coupling": "superposed",
        "message": 3,
        "edge_attributes": 1,
        "aggregation": "sum",
        "divisor": 1.5,
        "hidden": 13,
    },
    "pairwise antisymmetric": {
        "messages": "pairwise",
        "coupling": "superposed",
        "message": 3,
        "antisymmetric": True,
        "aggregation": "sum",
        "edge_attributes": 1,
        "attributes": 1,
        "controls": 1,
    },
    "pairwise max": {"messages": "pairwise", "aggregation": "max", "edge_attributes": 1},
    "pairwise learned edges": {
        "messages": "pairwise",
        "coupling": "superposed",
        "message": 3,
        "learned_edges": 90,
        "solver": "tsit5",
        "substeps": 2,
    },
    "pairwise learned edges, max": {
        "messages": "pairwise",
        "learned_edges": 90,
        "aggregation": "max",
        "stride": 3,
    },
}
"""Every option of the specification at least once."""

# More edges than the random graphs have: weights that no edge of the batch uses have no gradient.
_LEARNED = {"learned_edges": 300}
_SUPERPOSED = {"messages": "pairwise", "coupling": "superposed", "message": 3}
EDGE_OPTIONS: dict[str, dict[str, object]] = {
    "pair": {"messages": "pairwise"},
    "pair sum": {"messages": "pairwise", "aggregation": "sum", "divisor": 2.5},
    "pair inputs": {"messages": "pairwise", "controls": 2, "attributes": 1, "edge_attributes": 2},
    "pair superposed": {**_SUPERPOSED, "attributes": 2, "controls": 1},
    "pair max": {"messages": "pairwise", "aggregation": "max", "edge_attributes": 1},
    "pair superposed max": {**_SUPERPOSED, "aggregation": "max", "controls": 1},
    "pair antisymmetric": {
        **_SUPERPOSED,
        "aggregation": "sum",
        "divisor": 2.0,
        "antisymmetric": True,
        "edge_attributes": 1,
        "controls": 1,
    },
    "pair learned": {**_SUPERPOSED, **_LEARNED, "aggregation": "sum"},
    "pair learned mean": {"messages": "pairwise", **_LEARNED, "edge_attributes": 1},
    "pair learned max": {"messages": "pairwise", **_LEARNED, "aggregation": "max"},
    "pair learned antisymmetric": {
        **_SUPERPOSED,
        **_LEARNED,
        "aggregation": "sum",
        "antisymmetric": True,
    },
    "pair tsit5 substeps": {"messages": "pairwise", "solver": "tsit5", "substeps": 2},
    "pair stride": {**_SUPERPOSED, "stride": 3, "controls": 0},
    "edges sender controls": {
        "messages": "emitted",
        "sender_controls": True,
        "controls": 2,
        "attributes": 1,
    },
    "edges emitted max": {"messages": "emitted", "aggregation": "max", "coupling": "superposed"},
    "edges state max": {"aggregation": "max", "first_message": "mlp"},
    "edges emitted learned": {"messages": "emitted", "aggregation": "sum", **_LEARNED},
    "edges state learned": {"coupling": "superposed", "first_message": "linear", **_LEARNED},
    "edges state learned max": {"first_message": "mlp", "aggregation": "max", **_LEARNED},
    "edges none learned": {"messages": "self", "first_message": "mlp", **_LEARNED},
}
"""Options with which a number for each edge is computed, or with which messages have more inputs."""

OPTIONS |= EDGE_OPTIONS
