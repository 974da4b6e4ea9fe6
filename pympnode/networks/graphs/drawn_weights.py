"""Weights of edges drawn at random, for topologies by name and other graphs without weights."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ...edge_values import weights_in_words
from ...errors import InvalidOption, shown_value
from ...graph import Graph

_ALLOWED = (
    "(low, high), a function f(rng, sender, receiver) -> (edges,), or of weights that vary in time an "
    "array (time, edge) or a function f(rng, sender, receiver, times) -> (time, edge)"
)


def with_drawn_weights(graph: Graph, edge_weight: Any, graph_seed: int) -> Graph:
    """The same edges with weights, the same for equal ``graph_seed`` and edges.

    edge_weight: (low, high), uniform, the same in both directions of an undirected edge; or a function
        ``f(rng, sender, receiver)``, called once for each graph with the ends (edges,) of its directed
        edges, numbered from 0, that returns their weights (edges,); None for no weights.
    Each graph has a generator of (graph_seed, its number), apart from the one that drew its edges.
    Raises `InvalidOption`, also for a graph that has weights, `InvalidGraph` for weights that are not
    finite or of another number.
    """
    if edge_weight is None:
        return graph
    _refuse_weights(graph)
    draw, words = _drawer(edge_weight)
    graphs = []
    for index in range(graph.graphs):
        one = graph[index]
        sequence = np.random.SeedSequence(entropy=graph_seed, spawn_key=(index, 1))
        weight: Any = draw(np.random.default_rng(sequence), one.sender.copy(), one.receiver.copy())
        if weight is None:
            raise InvalidOption(
                "edge_weight returned no weights",
                got="None",
                allowed=f"({one.edges},) numbers",
                fix="return the weights of the edges",
            )
        source = (f"{one.source[0]}, {words} of seed {graph_seed}",)
        graphs.append(
            Graph(
                one.sender, one.receiver, one.nodes, source, weight,
                one.attribute, one.attribute_names, one.delay,
            )
        )  # fmt: skip
    return graphs[0] if len(graphs) == 1 else Graph.union(graphs)


def weights_in_time(
    graph: Graph, edge_weight: Any, graph_seed: int
) -> Callable[[np.ndarray], np.ndarray] | None:
    """A function of the times (time,) that returns weights (time, edge) of all edges of ``graph``.

    edge_weight: an array (time, edge), or a function ``f(rng, sender, receiver, times)`` with the
        generator and the ends as in `with_drawn_weights`, that returns those of one graph. None is
        returned for anything else, whose weights are constant. Raises `InvalidOption` for a graph that
        has weights.
    """
    if callable(edge_weight):
        if not _takes_times(edge_weight):
            return None
    elif np.ndim(edge_weight) != 2:
        return None
    _refuse_weights(graph)

    def weights(times: np.ndarray) -> np.ndarray:
        if not callable(edge_weight):
            return np.asarray(edge_weight)
        found = []
        for index in range(graph.graphs):
            one = graph[index]
            rng = np.random.default_rng(
                np.random.SeedSequence(entropy=graph_seed, spawn_key=(index, 1))
            )
            found.append(edge_weight(rng, one.sender.copy(), one.receiver.copy(), times.copy()))
        return found[0] if len(found) == 1 else np.concatenate(found, axis=-1)

    return weights


def _takes_times(function: Callable[..., Any]) -> bool:
    """Whether a function takes four arguments, (rng, sender, receiver, times), and not three."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of compiled code
        return False
    try:
        signature.bind(None, None, None)
    except TypeError:
        try:
            signature.bind(None, None, None, None)
        except TypeError:
            return False
        return True
    return False


def _refuse_weights(graph: Graph) -> None:
    if graph.weight is not None:
        raise InvalidOption(
            "edge_weight draws weights, and the topology has some",
            got=weights_in_words(graph.weight),
            allowed="a topology without weights",
            fix="leave edge_weight out, or pass the topology without its weights",
        )


def _drawer(edge_weight: Any) -> tuple[Callable[..., Any], str]:
    """A function (rng, sender, receiver) -> weights (edges,), and its description."""
    if callable(edge_weight) and not isinstance(edge_weight, type):
        name = getattr(edge_weight, "__name__", type(edge_weight).__name__)
        return edge_weight, f"weights by {name}"
    try:
        low, high = (float(value) for value in edge_weight)
    except (TypeError, ValueError, OverflowError):
        low = high = np.nan
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise InvalidOption(
            "edge_weight is a range of weights",
            got=shown_value(edge_weight),
            allowed=_ALLOWED,
            fix="edge_weight=(0.5, 2.0); weights of your own are those of topology=graph; "
            'edge_weight="learn" is for train',
        )

    def uniform(rng: np.random.Generator, sender: np.ndarray, receiver: np.ndarray) -> np.ndarray:
        ends = np.stack([np.minimum(sender, receiver), np.maximum(sender, receiver)])
        pairs, pair = np.unique(ends, axis=1, return_inverse=True)
        return np.asarray(rng.uniform(low, high, pairs.shape[1]))[pair.ravel()]

    return uniform, f"weights U({low:g}, {high:g})"
