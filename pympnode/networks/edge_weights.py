"""Weights and attributes of edges between data and models: a model was trained with them or without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..edge_values import weights_in_words
from ..errors import InvalidData
from ..graph import Graph
from ..training.ranges import interval, warn_user
from .arrays import Arrays
from .learned_edges import on_learned_graph
from .normalise import Normalisation
from .spec import ModelSpec


def arrays_for_model(model: Any, arrays: Arrays, *, ignore_weights: bool = False) -> Arrays:
    """``arrays`` with their edges as a model takes them, see `graph_for_model`; weights may vary in
    time."""
    if arrays.edge_weight is None:
        graph = graph_for_model(model, arrays.graph, ignore_weights=ignore_weights)
        return replace(arrays, graph=graph)
    if ignore_weights:
        graph = graph_for_model(model, arrays.graph, ignore_weights=True)
        return replace(arrays, graph=graph, edge_weight=None)
    check_in_time(model.spec, arrays)
    # The checks of constant weights, with those of the first interval.
    graph = graph_for_model(model, arrays.graph_at(0, 0))
    return replace(arrays, graph=replace(graph, weight=None))


def check_in_time(spec: ModelSpec, arrays: Arrays) -> None:
    """Raise `InvalidData` where weights vary in time and a step of the model spans several intervals."""
    if arrays.edge_weight is not None and spec.stride > 1:
        raise InvalidData(
            "weights of edges change at the times of the data, within the steps of this model",
            got=f"edge_weight of shape {arrays.edge_weight.shape}, stride={spec.stride}",
            allowed="stride=1",
            fix="dataclasses.replace(model, spec=model.spec.replace(stride=1))",
        )


def graph_for_model(model: Any, graph: Graph, *, ignore_weights: bool = False) -> Graph:
    """``graph`` as a model takes it: without weights, and attributes that it does not take, where
    they are to be ignored.

    model: a `Model`, or what has its ``spec``, ``trained`` and ``edge_attributes``. Warns where it was
    trained with weights and the graph has none, which is a weight of 1 for every edge, and of
    attributes that it does not take. Raises `InvalidData` where it was trained without weights and the
    graph has some, and where the graph lacks attributes that the model takes.
    """
    graph = delays_for_model(model, graph)
    graph = graph if ignore_weights else on_learned_graph(model, graph)
    attributes = model.edge_attributes
    # A model that takes none of the attributes of its training data was warned of when it trained.
    warn = bool(attributes) or not model.trained.edge_attribute
    if ignore_weights:
        graph = replace(graph, weight=None) if attributes else graph.without_weights
        with_attributes(graph, attributes, warn=warn)
        return graph
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
    with_attributes(graph, attributes, warn=warn)
    return graph


def delays_for_model(model: Any, graph: Graph) -> Graph:
    """``graph`` as a model takes its delays.

    Warns where the model was trained with delays of edges and the graph has none, which is a delay of 0.
    Raises `InvalidData` where it was trained without delays and the graph has some.
    """
    delayed = bool(model.spec.delay or model.spec.learned_delays or model.trained.delay)
    if graph.delay is None:
        of_edges = bool(model.trained.delay) and not model.spec.delay
        of_edges = of_edges and not model.spec.learned_delays
        learned = model.graph is not None and model.graph.delay is not None
        if of_edges and graph.edges and not learned:
            warn_user(
                f"the model was trained with delays of edges, {interval(*model.trained.delay)}, and the "
                "graph has none: they are 0"
            )
        return graph
    if not delayed and graph.delay.any():
        raise InvalidData(
            "the model was trained without delays of edges, and these edges have some",
            got=f"delays {interval(graph.delay.min(), graph.delay.max())}",
            allowed="a graph without delays",
            fix='ds.drop_vars("edge_delay"), or topology=graph.with_delay(None); or train on data with '
            "delays",
        )
    return graph if delayed else graph.with_delay(None)


def with_attributes(graph: Graph, names: Sequence[str], *, warn: bool = True) -> Graph:
    """``graph`` with the attributes ``names`` in that order; warns of those left out.

    Raises `InvalidData` where it lacks one.
    """
    got = graph.attribute_names
    lacking = [name for name in names if name not in got]
    if lacking and graph.edges:
        raise InvalidData(
            "the model takes attributes of edges that the graph does not have",
            got=", ".join(got) or "none",
            allowed=", ".join(names),
            fix="give them: attribute= of Graph.single or Graph.from_edges, edge_attribute= of "
            "from_arrays, with these names",
        )
    unused = [name for name in got if name not in names]
    if unused and warn:
        warn_user(f"the model does not take these attributes of edges: {', '.join(unused)}")
    if tuple(got) == tuple(names) or graph.attribute is None:
        return graph
    if not names:
        return replace(graph, attribute=None, attribute_names=())
    columns = [got.index(name) for name in names]
    return replace(graph, attribute=graph.attribute[:, columns], attribute_names=tuple(names))


def graph_for_program(model: Any, graph: Graph) -> Graph:
    """``graph`` with the attributes that ``model`` takes, in its order and in z units."""
    graph = with_attributes(graph, model.edge_attributes, warn=False)
    graph = with_scaled_delay(graph, model.time_scale)
    return with_scaled_attribute(graph, model.edge_attribute_scale)


def with_scaled_delay(graph: Graph, time_scale: float) -> Graph:
    """``graph`` with its delays in the unit of time of a model."""
    return graph if graph.delay is None else graph.with_delay(graph.delay / time_scale)


def with_scaled_attribute(graph: Graph, scale: Normalisation | None) -> Graph:
    """``graph`` with its attributes in z units."""
    if graph.attribute is None or scale is None:
        return graph
    return replace(graph, attribute=scale.apply(graph.attribute))


def for_training(
    arrays: Sequence[Arrays],
    *,
    ignore_weights: bool,
    start: Any = None,
) -> list[Arrays]:
    """Datasets to train on, without the weights and attributes that are to be ignored.

    ``start``: a model to train on from, which takes certain attributes and may have learned weights;
    by default the attributes are those of the first dataset. Warns where some datasets have weights and
    others have none. Raises `InvalidData` where a dataset lacks attributes that others have.
    """
    if ignore_weights:
        return [
            replace(each, graph=each.graph.without_weights, edge_weight=None) for each in arrays
        ]
    if start is not None:
        arrays = [
            each
            if each.edge_weight is not None
            else replace(each, graph=on_learned_graph(start, each.graph))
            for each in arrays
        ]
    with_edges = [each.graph for each in arrays if each.graph.edges]
    weighted = [each.weighted for each in arrays if each.graph.edges]
    if any(weighted) and not all(weighted):
        warn_user(
            f"{weighted.count(False)} of {len(weighted)} datasets have no weights of edges: they are 1"
        )
    if start is not None:
        names = start.edge_attributes
    else:
        names = with_edges[0].attribute_names if with_edges else ()
    return [replace(each, graph=with_attributes(each.graph, names)) for each in arrays]


def check_training(spec: ModelSpec, arrays: Sequence[Arrays], start: Any = None) -> None:
    """Raise `InvalidData` where a model of ``spec``, or ``start``, takes no weights of edges.

    Warns of attributes of edges that the messages of ``spec`` do not take.
    """
    for each in arrays:
        if each.weighted:
            check_in_time(spec, each)
            _refuse_whole_system(spec.family, each.graph_at(0, 0))
    given = [each.graph for each in arrays if each.graph.delay is not None]
    if any(graph.delay_or_zeros.any() for graph in given) and spec.refuses_delays is not None:
        raise InvalidData(
            "the edges have delays, and this model takes none",
            got=spec.refuses_delays,
            allowed='messages="emitted" or "pairwise", stride=1, not antisymmetric',
            fix='ds.drop_vars("edge_delay") leaves them out',
        )
    names = dict.fromkeys(name for each in arrays for name in each.graph.attribute_names)
    if names and not spec.edge_attributes:
        warn_user(
            f"the messages of this model do not take attributes of edges: {', '.join(names)}. "
            'messages="pairwise" takes them; edge_weight= of from_arrays takes one of them as weights'
        )
    if start is not None:
        weighted = [each for each in arrays if each.weighted]
        arrays_for_model(start, (weighted or list(arrays))[0])


def _refuse_whole_system(family: str, graph: Graph) -> None:
    if family == "node" and graph.weight is not None:
        raise InvalidData(
            "a neural ODE of the whole system has no edges, and so no weights",
            got=weights_in_words(graph.weight),
            allowed="a graph without weights",
            fix='ignore_weights=True leaves them out, model="mpnode" uses them',
        )
