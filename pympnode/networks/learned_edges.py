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
from .arrays import Arrays
from .delay_options import checked_delay
from .edge_checks import check_delays
from .engines.delays import learned_steps, logit_of
from .spec import ModelSpec
from .weights import layout_of

LONGEST_LEARNED = 40  # steps

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


def with_delays(
    spec: ModelSpec, options: Any, arrays: list[Arrays], time_scale: float, members: int = 1
) -> ModelSpec:
    """``spec`` of a fresh model with the delays that ``options`` ask for. ``arrays`` in physical units.

    Learned ones lie between one step and half of the shortest trajectory, 40 steps at most. Raises
    `InvalidOption`.
    """
    if options.delay is None:
        return spec
    if any(each.graph.delay is not None for each in arrays):
        raise InvalidOption(
            "delays are given twice",
            got=f"delay={options.delay!r}, and data with edge_delay",
            allowed="one of them",
            fix='leave delay out, or the delays of the data: ds.drop_vars("edge_delay")',
        )
    for each in arrays:
        check_delays(np.ones(1) * float(each.time[1] - each.time[0]), each.time, each.even)
    if not options.learns_delay:
        delay = checked_delay("delay", options.delay)
        for each in arrays:
            check_delays(np.array([delay]), each.time, each.even)
        return spec.replace(delay=delay / time_scale)
    several = options.delay != "learn"
    if members > 1:
        raise InvalidOption(
            "delays are learned by one model",
            got=f"members={members}",
            allowed="members=1",
            fix="train the members one by one, with seed=0, 1, ...",
        )
    if several and len(arrays) > 1:
        raise InvalidOption(
            "a delay for each edge is learned on one dataset",
            got=f"{len(arrays)} datasets",
            allowed='one dataset, or delay="learn" for one delay of all edges',
            fix="join them: xr.concat([a, b], 'trajectory')",
        )
    edges = sum(each.graph.edges for each in arrays)
    if not edges:
        raise InvalidOption(
            "delays of edges are learned, and there are none",
            got="a graph without edges",
            allowed="at least one edge",
        )
    longest = min(min(each.steps for each in arrays) // 2, LONGEST_LEARNED)
    return spec.replace(learned_delays=edges if several else 1, longest_delay=longest)


def delay_logit(spec: ModelSpec, start: float | None, dt: float) -> float:
    """The first value of learned delays: of ``start``, in the unit of ``dt``, by default 3 steps.

    Raises `InvalidOption`.
    """
    steps = min(3.0, 0.5 * (1 + spec.longest_delay)) if start is None else start / dt
    if not 1 < steps < spec.longest_delay:
        raise InvalidOption(
            "delay_start lies outside of the delays that are learned",
            got=f"delay_start={start:g}",
            allowed=f"more than one step, {dt:.6g}, and less than {spec.longest_delay} steps, "
            f"{spec.longest_delay * dt:.6g}",
            fix="give longer trajectories for longer delays",
        )
    return logit_of(steps, spec.longest_delay)


def with_found_delays(model: Any, graph: Graph, dt: float) -> Any:
    """A trained `Model` that had delays among its weights, in steps of ``dt``, as one with given delays.

    One delay of all edges becomes ``spec.delay``; those of each edge become ``model.graph``.
    """
    spec = model.spec
    if not spec.learned_delays:
        return model
    weights = dict(model.weights)
    steps = learned_steps(weights.pop("delay_logit").astype(np.float64), spec.longest_delay)
    several = spec.learned_delays > 1
    low, high = float(steps.min()) * dt, float(steps.max()) * dt
    new = spec.replace(
        learned_delays=0,
        longest_delay=0,
        delay=0.0 if several else float(steps[0]) * dt / model.time_scale,
    )
    learned = model.graph
    if several:
        learned = replace(
            graph if learned is None else learned,
            delay=steps * dt,
            attribute=None,
            attribute_names=(),
        )
    return replace(
        model,
        spec=new,
        theta=layout_of(new).pack(weights, dtype=model.theta.dtype),
        graph=learned,
        trained=replace(model.trained, delay=(low, high)),
    )


def on_learned_graph(model: Any, graph: Graph) -> Graph:
    """``graph`` with the learned weights and delays of ``model``, where it has some and the graph none.

    Raises `InvalidData` where its edges are others than those whose weights were learned.
    """
    learned = model.graph
    if learned is None or not graph.edges:
        return graph
    if learned.delay is not None and graph.delay is None:
        graph = graph.with_delay(_found(learned, graph, "delay_or_zeros"))
    if learned.weight is None or graph.weight is not None:
        return graph
    return graph.with_weight(_found(learned, graph, "weight_or_ones"))


def _found(learned: Graph, graph: Graph, name: str) -> np.ndarray:
    known = [learned[number] for number in range(learned.graphs)]
    weights = []
    for one in (graph[number] for number in range(graph.graphs)):
        found = next((g for g in known if _same_edges(g, one)), None)
        if found is None:
            raise InvalidData(
                f"the {name.split('_')[0]}s of these edges are not known: the model learned those of its "
                "training graph",
                got=f"{one.edges} edges on {one.total_nodes} nodes, without weights",
                allowed=f"the {learned.edges} edges of model.graph, or edges with weights",
                fix="give weights in the scale of model.graph, whose mean magnitude is 1: "
                "graph.with_weight(...), or edge_weight= of from_arrays",
            )
        weights.append(getattr(found, name))
    return np.concatenate(weights)


def _same_edges(one: Graph, other: Graph) -> bool:
    return (
        np.array_equal(one.nodes, other.nodes)
        and np.array_equal(one.sender, other.sender)
        and np.array_equal(one.receiver, other.receiver)
    )
