"""Weights of edges that are learned with a model: ``edge_weight="learn"``.

While a model trains, w = exp(s) for each edge of the training graphs, with s among its weights. The
trained model is one for weighted edges, with the learned ones in `Model.graph`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import InvalidData, InvalidOption
from ..graph import Graph
from .schema import Arrays
from .spec import ModelSpec
from .weights import layout_of

# Layers whose outputs are messages: the inverse of what scales the weights scales these.
_OUTPUT = {"emitted": "emit_layer_2_", "pairwise": "pair_layer_3_"}


def with_learned_edges(spec: ModelSpec, arrays: list[Arrays], members: int) -> ModelSpec:
    """``spec`` of a model that learns a weight for each edge of ``arrays``.

    Raises `InvalidOption` for several datasets, ensembles, and messages that are ODE states.
    """
    reason = None
    if len(arrays) > 1:
        reason, fix = f"{len(arrays)} datasets", "join them: xr.concat([a, b], 'trajectory')"
    elif members > 1:
        reason, fix = f"members={members}", "train the members one by one, with seed=0, 1, ..."
    elif not spec.evaluated:
        reason = f"model={spec.family!r}, messages={spec.messages!r}"
        fix = 'give messages="pairwise" or "emitted"'
    elif arrays[0].edge_weight is not None:
        reason = "weights that vary in time"
        fix = 'leave edge_weight="learn" out, or the weights: ds.drop_vars("edge_weight")'
    elif not arrays[0].graph.edges:
        reason, fix = "a graph without edges", "give the edges whose weights are to be learned"
    if reason is not None:
        raise InvalidOption(
            "weights of edges are learned by one model, on one dataset, with evaluated messages",
            got=reason,
            allowed='one dataset, members=1, messages="pairwise" or "emitted"',
            fix=fix,
        )
    return spec.replace(learned_edges=arrays[0].graph.edges)


def with_found_weights(model: Any, graph: Graph, scores: Any = None) -> Any:
    """A trained `Model` that had the weights of ``graph`` among its own, as one for weighted edges.

    The learned weights times those of ``graph``, scaled to a mean magnitude of 1, become
    ``model.graph``; the messages take the inverse scale, so that the rollout stays the same.
    ``scores``: of all pairs of nodes, where ``graph`` was learned; it is ``model.graph`` then, also
    where its weights were not trained on.
    """
    if scores is not None:
        model = replace(model, graph=graph, edge_scores=scores)
    if not model.spec.learned_edges:
        return model
    weights = dict(model.weights)
    weight = np.exp(weights.pop("edge_log_weight").astype(np.float64)) * graph.weight_or_ones
    size = float(np.abs(weight).mean())
    output = _OUTPUT[model.spec.messages]
    for name in (f"{output}weight", f"{output}bias"):
        weights[name] = weights[name] * size
    spec = model.spec.replace(learned_edges=0)
    weight /= size
    return replace(
        model,
        spec=spec,
        theta=layout_of(spec).pack(weights, dtype=model.theta.dtype),
        graph=replace(graph, weight=weight, attribute=None, attribute_names=()),
        trained=replace(model.trained, weight=(float(weight.min()), float(weight.max()))),
    )


def on_learned_graph(model: Any, graph: Graph) -> Graph:
    """``graph`` with the learned weights of ``model``, where it has some and the graph has none.

    Raises `InvalidData` where its edges are others than those whose weights were learned.
    """
    learned = model.graph
    if learned is None or graph.weight is not None or not graph.edges:
        return graph
    known = [learned[number] for number in range(learned.graphs)]
    weights = []
    for one in (graph[number] for number in range(graph.graphs)):
        found = next((g for g in known if _same_edges(g, one)), None)
        if found is None:
            raise InvalidData(
                "the weights of these edges are not known: the model learned those of its training "
                "graph",
                got=f"{one.edges} edges on {one.total_nodes} nodes, without weights",
                allowed=f"the {learned.edges} edges of model.graph, or edges with weights",
                fix="give weights in the scale of model.graph, whose mean magnitude is 1: "
                "graph.with_weight(...), or edge_weight= of from_arrays",
            )
        weights.append(found.weight_or_ones)
    return graph.with_weight(np.concatenate(weights))


def _same_edges(one: Graph, other: Graph) -> bool:
    return (
        np.array_equal(one.nodes, other.nodes)
        and np.array_equal(one.sender, other.sender)
        and np.array_equal(one.receiver, other.receiver)
    )
