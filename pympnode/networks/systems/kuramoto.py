"""Kuramoto oscillators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ...errors import InvalidOption
from ...graph import Graph
from ...systems.base import Observable, Parameter, System, Variable
from ..graphs.instances import FIVE_GRAPH_SEEDS, PUBLISHED_SEED, published_omega


def order_parameter(x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
    """|mean over nodes of exp(i phase)|, averaged over the phases of a node: 1 is synchrony."""
    mean = np.hypot(np.cos(x).mean(axis=-2), np.sin(x).mean(axis=-2))
    return mean.mean(axis=-1)


def phase_difference(x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
    """Mean over edges and phases of the angle between the two ends, 0 to pi; 0 without edges."""
    if graph.edges == 0:
        return np.zeros(x.shape[:-2])
    apart = x[..., graph.sender, :] - x[..., graph.receiver, :]
    return np.abs(np.angle(np.exp(1j * apart))).mean(axis=(-2, -1))


def _of_every_graph(graph: Graph) -> np.ndarray:
    if graph.graphs > len(FIVE_GRAPH_SEEDS):
        raise InvalidOption(
            "there are published frequencies of five graphs only",
            got=f"{graph.graphs} graphs",
            allowed="1 to 5",
            fix='give the numbers: parameters={"frequency": array of (graph, feature)}',
        )
    each = np.array([published_omega(seed) for seed in FIVE_GRAPH_SEEDS[: graph.graphs]])
    nodes = int(graph.nodes[0])
    # As many graphs as nodes: the axis of (graph, feature) would be taken for nodes.
    return each if graph.graphs != nodes else np.repeat(each[:, None], nodes, axis=1)


def _of_every_node(graph: Graph) -> np.ndarray:
    return np.random.default_rng(PUBLISHED_SEED).standard_normal((int(graph.nodes[0]), 3))


def sine_and_cosine(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """sin x and cos x to a few units in the last place of 1, from the tangent of the half angle.

    NumPy evaluates the tangent several times faster than either of the two.
    """
    tangent = np.tan(0.5 * x)
    share = 2.0 / (1.0 + tangent * tangent)
    tangent *= share
    share -= 1.0
    return tangent, share


class Kuramoto(System):
    """Phase oscillators, three independent phases a node.

    phase_i' = frequency + coupling * sum over neighbours j of sin(phase_j - phase_i), component by
    component. One frequency (three numbers, rad/s) is shared by all nodes; it may instead differ by
    node, shape (node, feature), or by graph, (graph, feature). By name: "published" (the default),
    "per_graph" (as in the public multi-graph tasks: those of seeds 1 to 5, at most five graphs),
    "heterogeneous" (standard normal, every node its own).
    """

    name = "kuramoto"
    title = "Kuramoto oscillators, three phases a node"
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
                "per_graph": _of_every_graph,
                "heterogeneous": _of_every_node,
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
        self,
        t: float,
        x: np.ndarray,
        u: np.ndarray | None,
        graph: Graph,
        parameters: Mapping[str, Any],
    ) -> np.ndarray:
        # sin(a - b) = sin a cos b - cos a sin b turns the sum over edges into two over nodes.
        sine, cosine = sine_and_cosine(x)
        out = cosine * graph.sum_neighbours(sine)
        out -= sine * graph.sum_neighbours(cosine)
        out *= parameters["coupling"]
        out += parameters["frequency"]
        return out


class ControlledKuramoto(Kuramoto):
    """Kuramoto oscillators with one input a node, added to all three frequencies.

    Drawn inputs: offset U(-0.5, 0.5) plus three sines of amplitude U(0, 0.75), angular frequency
    log-uniform (1, 6) rad/s and phase U(-pi, pi), each value held from t_i to t_{i+1}. (The public
    generator takes the input nearest in time, which jumps half a step too early.)
    """

    name = "kuramoto_controlled"
    title = "Kuramoto oscillators with an input a node"
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
        self,
        t: float,
        x: np.ndarray,
        u: np.ndarray | None,
        graph: Graph,
        parameters: Mapping[str, Any],
    ) -> np.ndarray:
        out = super().field(t, x, None, graph, parameters)
        return out if u is None else out + u
