"""Gene regulation with Michaelis-Menten kinetics.

Equation and parameters: Gupta, Vemprala, Kapoor (NeurIPS 2022) and their public code. Repressing
edges: the Hill function of a repressor, U. Alon, An Introduction to Systems Biology (2nd ed., 2019),
chapter 1; one term per regulator, with Hill coefficient 2 as the activating ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...graph import Graph
from ...systems.base import Observable, Parameter, System, Variable, node_mean
from ..compiled.solve import CompiledField
from ..graphs.instances import PUBLISHED_SEED
from ..graphs.regular import grid_shape


def _decay_per_node(graph: Graph) -> np.ndarray:
    """Decay rates (node,), the same for all graphs and runs."""
    return np.random.default_rng(PUBLISHED_SEED).uniform(0.5, 1.5, int(graph.nodes[0]))


class Gene(System):
    """Gene dynamics, one expression level per node.

    x_i' = -decay x_i + coupling * sum over neighbours j of |w_ji| h_ji(x_j)

    with the weight w_ji of the edge from j to i (1 without weights). Where it is positive j activates
    i, h = x^2 / (1 + x^2); where it is negative j represses i, h = 1 / (1 + x^2)
    (Alon 2019). Rates of production
    are never negative, and neither is an expression level.
    The decay may differ by node, shape (node,); the name "heterogeneous" draws it from U(0.5, 1.5).
    """

    name = "gene"
    title = "gene regulation (Michaelis-Menten)"
    source = "MP-NODE paper and public code"
    state = (Variable("expression", start=(0.0, 50.0)),)
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "decay": Parameter(
            1.0,
            (),
            "1/s",
            "MP-NODE public code",
            alternatives=(("node",),),
            named={"heterogeneous": _decay_per_node},
        ),
        "coupling": Parameter(1.0, (), "1/s", "MP-NODE public code"),
    }
    node_attributes = ("decay",)
    observables: ClassVar[Mapping[str, Observable]] = {
        "mean_expression": Observable(node_mean, "1", "mean expression")
    }
    default_nodes = 16
    default_topology = "BA"
    graph_family = "gene"

    def field(
        self, t: float, x: NDArray, u: NDArray | None, graph: Graph, parameters: Mapping[str, Any]
    ) -> NDArray:
        square = x * x  # reused below: in place, as each new array costs as much as the arithmetic
        square /= 1.0 + square
        out = graph.sum_neighbours(square)
        # |w| / (1 + x^2) = |w| + w x^2 / (1 + x^2) for w < 0: a constant of each node is added.
        if graph.weight is not None:
            repressed = np.minimum(graph.weight, 0.0)
            out -= np.bincount(graph.receiver, repressed, graph.total_nodes)[:, None]
        if parameters["coupling"] != 1.0:
            out *= parameters["coupling"]
        decay = parameters["decay"]
        rate = decay if np.ndim(decay) == 0 else np.asarray(decay)[..., None]
        out -= np.multiply(x, rate, out=square)
        return out

    def compiled_field(self, graph: Graph, parameters: Mapping[str, Any]) -> CompiledField:
        repressed: Any = 0.0
        if graph.weight is not None:
            weight = np.minimum(graph.weight, 0.0)
            repressed = np.bincount(graph.receiver, weight, graph.total_nodes)
        per_node = [parameters["decay"], repressed]
        return CompiledField.on(graph, "gene", [parameters["coupling"]], per_node)


class GeneHotSpots(Gene):
    """Gene dynamics whose initial state is zero outside three rectangles of a grid.

    The nodes fill the grid with the most equal sides, row by row. A rectangle has its corner at
    U(0.1, 0.9) and sides of U(0.1, 0.2), in units of the grid's sides, and one value U(30, 50) on
    every cell that it touches; a later rectangle overwrites an earlier one. The grid is for the
    initial state alone: edges come from the topology.
    """

    name = "gene_hot_spots"
    title = "gene regulation from three hot spots on a grid"

    def initial(self, rng: np.random.Generator, nodes: int) -> np.ndarray:
        shape = np.array(grid_shape(nodes))
        state = np.zeros(tuple(shape))
        for _ in range(3):
            corner, side = rng.uniform(0.1, 0.9, 2), rng.uniform(0.1, 0.2, 2)
            begin = np.floor(corner * shape).astype(int)
            end = np.ceil((corner + side) * shape).astype(int)
            state[begin[0] : end[0], begin[1] : end[1]] = rng.uniform(30.0, 50.0)
        return state.reshape(nodes, 1)
