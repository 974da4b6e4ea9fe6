"""Kuramoto oscillators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from pympnode.graphs.graph import Graph
from pympnode.graphs.instances import published_omega
from pympnode.systems.base import Observable, Parameter, System, Variable


def order_parameter(x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
    """|mean over nodes of exp(i phase)|, averaged over the phases of a node: 1 is synchrony."""
    mean = np.hypot(np.cos(x).mean(axis=-2), np.sin(x).mean(axis=-2))
    return mean.mean(axis=-1)


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
    node, shape (node, feature), or by graph, (graph, feature).
    """

    name = "kuramoto"
    title = "Kuramoto oscillators, three phases a node"
    source = "MP-NODE paper and public code; Kuramoto (1975)"
    state = tuple(Variable(f"phase_{i}", "rad", "angle") for i in (1, 2, 3))
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "frequency": Parameter(
            lambda graph: published_omega(),
            ("feature",),
            "rad/s",
            "published: randn(MersenneTwister(42), 3)",
            alternatives=(("node", "feature"), ("graph", "feature"), ("graph", "node", "feature")),
        ),
        "coupling": Parameter(1.0 / 3.0, (), "rad/s", "MP-NODE public code"),
    }
    node_attributes = ("frequency",)
    observables: ClassVar[Mapping[str, Observable]] = {
        "order_parameter": Observable(order_parameter, "1", "order parameter")
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
