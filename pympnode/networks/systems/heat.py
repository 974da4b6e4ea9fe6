"""Heat diffusion on a graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ...graph import Graph
from ...systems.base import Observable, Parameter, System, Variable


def _one_over_mean_degree(graph: Graph) -> float:
    return 1.0 / graph.mean_degree if graph.edges else 1.0


def mean_temperature(x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
    """Mean of the temperature over the nodes; constant in time on an undirected graph."""
    return x[..., 0].mean(axis=-1)


class Heat(System):
    """Heat diffusion, one temperature a node.

    x_i' = -diffusivity * sum over neighbours j of (x_i - x_j). The default diffusivity is 1 / mean
    degree of the graphs: with 1 on a dense graph, RK4 at the default dt is unstable.
    """

    name = "heat"
    title = "heat diffusion"
    source = "named in the MP-NODE public tasks"
    state = (Variable("temperature", "K", start=(0.0, 50.0)),)
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "diffusivity": Parameter(_one_over_mean_degree, (), "1/s", "1 / mean degree"),
    }
    observables: ClassVar[Mapping[str, Observable]] = {
        "mean_temperature": Observable(mean_temperature, "K", "mean temperature"),
    }
    default_nodes = 16
    default_topology = "BA"
    graph_family = "gene"

    def field(
        self,
        t: float,
        x: np.ndarray,
        u: np.ndarray | None,
        graph: Graph,
        parameters: Mapping[str, Any],
    ) -> np.ndarray:
        out = graph.sum_neighbours(x)
        out -= graph.in_degree[:, None] * x
        out *= parameters["diffusivity"]
        return out
