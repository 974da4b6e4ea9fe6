"""Gene regulation with Michaelis-Menten kinetics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from pympnode.graphs.graph import Graph
from pympnode.systems.base import Observable, Parameter, System, Variable


def mean_expression(x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
    """Mean of the expression over the nodes."""
    return x[..., 0].mean(axis=-1)


class Gene(System):
    """Gene dynamics, one expression level a node.

    x_i' = -decay x_i + coupling * sum over neighbours j of x_j^2 / (1 + x_j^2). The decay may
    differ by node, shape (node,).
    """

    name = "gene"
    title = "gene regulation (Michaelis-Menten)"
    source = "MP-NODE paper and public code"
    state = (Variable("expression", start=(0.0, 50.0)),)
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "decay": Parameter(1.0, (), "1/s", "MP-NODE public code", alternatives=(("node",),)),
        "coupling": Parameter(1.0, (), "1/s", "MP-NODE public code"),
    }
    node_attributes = ("decay",)
    observables: ClassVar[Mapping[str, Observable]] = {
        "mean_expression": Observable(mean_expression, "1", "mean expression")
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
        square = x * x
        square /= 1.0 + square
        out = graph.sum_neighbours(square)
        if parameters["coupling"] != 1.0:
            out *= parameters["coupling"]
        decay = parameters["decay"]
        own = np.multiply(
            x, decay if np.ndim(decay) == 0 else np.asarray(decay)[:, None], out=square
        )
        out -= own
        return out
