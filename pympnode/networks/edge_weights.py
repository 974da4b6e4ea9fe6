"""Weights of edges between data and models: a model was trained with them or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..edge_values import weights_in_words
from ..errors import InvalidData
from ..graph import Graph
from ..training.ranges import interval, warn_user
from .schema import Arrays


def graph_for_model(model: Any, graph: Graph, *, ignore_weights: bool = False) -> Graph:
    """``graph`` as a model takes it: without weights where they are to be ignored.

    model: a `Model`, or what has its ``spec`` and ``trained``. Warns where it was trained with weights
    and the graph has none, which is a weight of 1 for every edge. Raises `InvalidData` where it was
    trained without weights and the graph has some.
    """
    if ignore_weights:
        return graph.without_weights
    if graph.weight is not None:
        _refuse_whole_system(model.spec.family, graph)
        if not model.trained.weight:
            raise InvalidData(
                "the model was trained without weights of edges, and these edges have some",
                got=f"{weights_in_words(graph.weight)} on {graph.edges} edges",
                allowed="a graph without weights",
                fix="ignore_weights=True in rollout, evaluate and finetune leaves them out; or train "
                "on data with weights; graph.without_weights is the graph alone",
            )
    elif model.trained.weight and graph.edges:
        warn_user(
            "the model was trained with weights of edges, "
            f"{interval(*model.trained.weight)}, and the graph has none: they are 1"
        )
    return graph


def for_training(arrays: Sequence[Arrays], *, ignore_weights: bool) -> list[Arrays]:
    """Datasets to train on, without the weights that are to be ignored.

    Warns of attributes of edges, which no model uses, and where some datasets have weights and others
    have none.
    """
    if ignore_weights:
        return [replace(each, graph=each.graph.without_weights) for each in arrays]
    names = dict.fromkeys(name for each in arrays for name in each.graph.attribute_names)
    if names:
        warn_user(
            f"attributes of edges are not used by any message kind yet: {', '.join(names)}. "
            "edge_weight= of from_arrays takes one of them as weights"
        )
    with_edges = [each.graph for each in arrays if each.graph.edges]
    weighted = [graph.weight is not None for graph in with_edges]
    if any(weighted) and not all(weighted):
        warn_user(
            f"{weighted.count(False)} of {len(weighted)} datasets have no weights of edges: they are 1"
        )
    return list(arrays)


def check_training(family: str, arrays: Sequence[Arrays], start: Any = None) -> None:
    """Raise `InvalidData` where a model of ``family``, or ``start``, takes no weights of edges."""
    for each in arrays:
        if each.graph.weight is not None:
            _refuse_whole_system(family, each.graph)
    if start is not None:
        graphs = [each.graph for each in arrays]
        weighted = [graph for graph in graphs if graph.weight is not None]
        graph_for_model(start, (weighted or graphs)[0])


def _refuse_whole_system(family: str, graph: Graph) -> None:
    if family == "node" and graph.weight is not None:
        raise InvalidData(
            "a neural ODE of the whole system has no edges, and so no weights",
            got=weights_in_words(graph.weight),
            allowed="a graph without weights",
            fix='ignore_weights=True leaves them out, model="mpnode" uses them',
        )
