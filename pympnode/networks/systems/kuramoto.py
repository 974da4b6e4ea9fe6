"""Kuramoto oscillators.

Y. Kuramoto, "Self-entrainment of a population of coupled non-linear oscillators" (1975); parameters
and controls: Gupta, Vemprala, Kapoor (NeurIPS 2022) and their public code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidOption
from ...graph import Graph
from ...systems.base import Observable, Parameter, System, Variable
from ..compiled.solve import CompiledField
from ..graphs.instances import FIVE_GRAPH_SEEDS, PUBLISHED_SEED, published_omega


def order_parameter(x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
    """|mean over nodes of exp(i phase)|, averaged over the three phases; 1 is synchrony."""
    mean = np.hypot(np.cos(x).mean(axis=-2), np.sin(x).mean(axis=-2))
    return mean.mean(axis=-1)


def phase_difference(x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
    """Mean over edges and phases of the angle between the two ends, 0 to pi; 0 without edges."""
    if graph.edges == 0:
        return np.zeros(x.shape[:-2])
    difference = x[..., graph.sender, :] - x[..., graph.receiver, :]
    return np.abs(np.angle(np.exp(1j * difference))).mean(axis=(-2, -1))


def _frequency_per_graph(graph: Graph) -> np.ndarray:
    """The published frequencies (graph, feature) of up to five graphs."""
    if graph.graphs > len(FIVE_GRAPH_SEEDS):
        raise InvalidOption(
            "frequencies are published for five graphs only",
            got=f"{graph.graphs} graphs",
            allowed="1 to 5",
            fix='give the numbers: parameters={"frequency": array of (graph, feature)}',
        )
    each = np.array([published_omega(seed) for seed in FIVE_GRAPH_SEEDS[: graph.graphs]])
    nodes = int(graph.nodes[0])
    # With as many graphs as nodes, (graph, feature) could not be told from (node, feature): repeat
    # the frequencies over nodes.
    return each if graph.graphs != nodes else np.repeat(each[:, None], nodes, axis=1)


def _frequency_per_node(graph: Graph) -> np.ndarray:
    """Standard normal frequencies (node, 3), the same for all graphs and runs."""
    return np.random.default_rng(PUBLISHED_SEED).standard_normal((int(graph.nodes[0]), 3))


def sine_and_cosine(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sin x and cos x to a few units in the last place of 1, from the tangent of the half angle.

    sin x = 2 t / (1 + t^2), cos x = 2 / (1 + t^2) - 1 with t = tan(x / 2): NumPy evaluates one
    tangent several times faster than a sine or a cosine.
    """
    tangent = np.tan(0.5 * x)
    factor = 2.0 / (1.0 + tangent * tangent)
    tangent *= factor
    factor -= 1.0
    return tangent, factor


class Kuramoto(System):
    """Phase oscillators, three independent phases per node.

    phase_i' = frequency + coupling * sum over neighbours j of w_ji sin(phase_j - phase_i)

    for each of the three phases, with the weight w_ji of the edge from j to i (1 without weights). All
    nodes have the same frequencies (feature,) in rad/s, unless they are given by node, shape (node,
    feature), or by graph, (graph, feature). By name: "published" (the default), "per_graph" (those of
    the public multi-graph tasks, seeds 1 to 5, at most five graphs), "heterogeneous" (standard normal,
    by node).
    """

    name = "kuramoto"
    title = "Kuramoto oscillators, three phases per node"
    source = "MP-NODE paper and public code; Kuramoto (1975)"
    state = tuple(Variable(f"phase_{i}", "rad", "angle") for i in (1, 2, 3))
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "frequency": Parameter(
            "published",
            ("feature",),
            "rad/s",
            "published: randn(MersenneTwister(42), 3)",
            named={
                "published": lambda graph: published_omega(),
                "per_graph": _frequency_per_graph,
                "heterogeneous": _frequency_per_node,
            },
            alternatives=(("node", "feature"), ("graph", "feature"), ("graph", "node", "feature")),
        ),
        "coupling": Parameter(1.0 / 3.0, (), "rad/s", "MP-NODE public code"),
    }
    node_attributes = ("frequency",)
    observables: ClassVar[Mapping[str, Observable]] = {
        "order_parameter": Observable(order_parameter, "1", "order parameter"),
        "phase_difference": Observable(phase_difference, "rad", "mean phase difference"),
    }
    default_nodes = 10
    default_topology = "BA"
    graph_family = "kuramoto"

    def field(
        self, t: float, x: NDArray, u: NDArray | None, graph: Graph, parameters: Mapping[str, Any]
    ) -> NDArray:
        # sin(a - b) = sin a cos b - cos a sin b: two sums over neighbours of values of nodes, so that no
        # sine is evaluated per edge.
        sine, cosine = sine_and_cosine(x)
        out = cosine * graph.sum_neighbours(sine)
        out -= sine * graph.sum_neighbours(cosine)
        out *= parameters["coupling"]
        out += parameters["frequency"]
        return out

    def delayed_field(
        self,
        t: float,
        x: NDArray,
        past: NDArray,
        u: NDArray | None,
        graph: Graph,
        parameters: Mapping[str, Any],
    ) -> NDArray:
        sent = graph.weight_or_ones[:, None] * np.sin(past - x[:, graph.receiver])
        out = np.zeros(x.shape)
        # Edges are sorted by receiver.
        some = np.flatnonzero(graph.in_degree)
        if some.size:
            out[:, some] = np.add.reduceat(sent, graph.receiver_offset[some], axis=1)
        out *= parameters["coupling"]
        out += parameters["frequency"]
        return out

    def compiled_field(self, graph: Graph, parameters: Mapping[str, Any]) -> CompiledField:
        frequency = np.broadcast_to(parameters["frequency"], (graph.total_nodes, 3))
        return CompiledField.on(graph, "kuramoto", [parameters["coupling"]], [*frequency.T])


class ControlledKuramoto(Kuramoto):
    """Kuramoto oscillators with one input per node, added to all three frequencies.

    Drawn inputs: offset U(-0.5, 0.5) plus three sines of amplitude U(0, 0.75), angular frequency
    log-uniform (1, 6) rad/s and phase U(-pi, pi), each value held from t_i to t_(i+1). (The public
    code holds the input that is nearest in time, which changes half a step earlier.)
    """

    name = "kuramoto_controlled"
    title = "Kuramoto oscillators with an input per node"
    controls = (Variable("input", "rad/s"),)

    def sample_controls(
        self, rng: np.random.Generator, nodes: int, times: np.ndarray
    ) -> np.ndarray:
        offset = rng.uniform(-0.5, 0.5, nodes)
        amplitude = rng.uniform(0.0, 0.75, (3, nodes))
        rate = np.exp(rng.uniform(np.log(1.0), np.log(6.0), (3, nodes)))
        phase = rng.uniform(-np.pi, np.pi, (3, nodes))
        waves = amplitude * np.sin(rate * np.asarray(times)[:, None, None] + phase)
        return (offset + waves.sum(axis=1))[..., None]

    def field(
        self, t: float, x: NDArray, u: NDArray | None, graph: Graph, parameters: Mapping[str, Any]
    ) -> NDArray:
        out = super().field(t, x, None, graph, parameters)
        return out if u is None else out + u

    def delayed_field(
        self,
        t: float,
        x: NDArray,
        past: NDArray,
        u: NDArray | None,
        graph: Graph,
        parameters: Mapping[str, Any],
    ) -> NDArray:
        out = super().delayed_field(t, x, past, None, graph, parameters)
        return out if u is None else out + u

    def compiled_field(self, graph: Graph, parameters: Mapping[str, Any]) -> CompiledField:
        # The compiled field of Kuramoto adds the controls where there are any.
        return super().compiled_field(graph, parameters)
