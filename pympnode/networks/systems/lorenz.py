"""Coupled Lorenz attractors.

E. N. Lorenz, "Deterministic nonperiodic flow" (1963); coupling: Gupta, Vemprala, Kapoor (NeurIPS
2022) and their public code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...graph import Graph
from ...systems.base import Parameter, System, Variable
from ..compiled.solve import CompiledField
from ..graphs.mersenne import uniform

COUPLING_NORM = {"low": 0.01, "medium": 1.0, "high": 5.0}
_DIMS = ("node", "feature", "source_node", "source_feature")


def published_coupling(graph: Graph, norm: float = 0.01, seed: int = 42) -> np.ndarray:
    """The published matrix H, float64 (node, 3, source_node, 3), for the graph's node count.

    Uniform (0, 1) entries from MersenneTwister(seed), 3 x 3 diagonal blocks zero, scaled to
    Frobenius norm ``norm``; zero for a single attractor. Entries between nodes without an edge are
    set to zero by the field, not here.
    """
    k = int(graph.nodes[0])
    # Julia fills a matrix column by column.
    matrix = uniform(seed, 9 * k * k).reshape(3 * k, 3 * k).T.reshape(k, 3, k, 3).copy()
    matrix[np.arange(k), :, np.arange(k), :] = 0.0
    size = np.linalg.norm(matrix)
    return matrix * (norm / size) if size > 0 else matrix


class Lorenz(System):
    """k Lorenz attractors, coupled linearly.

    x' = sigma (y - x), y' = x (rho - z) - y, z' = x y - beta z, plus the node's rows of H times the
    state of all nodes. The blocks of H between different nodes i and j act where the graph has the
    edge j -> i (published: complete); the diagonal blocks (published: zero) act on any graph.
    ``parameters={"coupling": "low" | "medium" | "high"}``: Frobenius norm 0.01, 1, 5; "default" is
    "low".
    """

    name = "lorenz"
    title = "coupled Lorenz attractors"
    source = "MP-NODE paper and public code; Lorenz (1963)"
    state = (Variable("x"), Variable("y"), Variable("z"))
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "coupling": Parameter(
            "low",
            _DIMS,
            "1/s",
            "published: MersenneTwister(42), Frobenius norm 0.01",
            named={
                **{name: partial(published_coupling, norm=n) for name, n in COUPLING_NORM.items()},
                "default": partial(published_coupling, norm=COUPLING_NORM["low"]),
                "none": partial(published_coupling, norm=0.0),
            },
        ),
        "sigma": Parameter(10.0, (), "1/s", "Lorenz (1963)"),
        "rho": Parameter(28.0, (), "1", "Lorenz (1963)"),
        "beta": Parameter(8.0 / 3.0, (), "1/s", "Lorenz (1963)"),
    }
    default_nodes = 3
    default_topology = "complete"
    graph_family = "lorenz"

    def _matrix(self, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
        """The linear part of the field as one matrix (3 k, 3 k), feature by feature."""
        k = graph.total_nodes
        diagonal = np.arange(k)
        matrix = np.array(parameters["coupling"], dtype=np.float64)
        # The blocks of H by receiver and sender, times the weights of the edges.
        joined = np.zeros((k, k))
        joined[graph.receiver, graph.sender] = graph.weight_or_ones
        joined[diagonal, diagonal] = 1.0
        matrix *= joined[:, None, :, None]
        sigma, rho, beta = (parameters[name] for name in ("sigma", "rho", "beta"))
        matrix[diagonal, :, diagonal, :] += np.array(
            [[-sigma, sigma, 0], [rho, -1, 0], [0, 0, -beta]]
        )
        return matrix.transpose(1, 0, 3, 2).reshape(3 * k, 3 * k)

    def bind(
        self, graph: Graph, parameters: Mapping[str, Any]
    ) -> Callable[[float, np.ndarray, np.ndarray | None], np.ndarray]:
        # The matrix depends on graph and parameters alone: made once per solve.
        return _BoundLorenz(self._matrix(graph, parameters))

    def field(
        self, t: float, x: NDArray, u: NDArray | None, graph: Graph, parameters: Mapping[str, Any]
    ) -> NDArray:
        return _BoundLorenz(self._matrix(graph, parameters))(t, x)

    def compiled_field(self, graph: Graph, parameters: Mapping[str, Any]) -> CompiledField:
        matrix = self._matrix(graph, parameters)
        row, column = np.nonzero(matrix)
        starts = np.searchsorted(row, np.arange(len(matrix) + 1))
        nothing = np.zeros((graph.total_nodes, 0))
        return CompiledField(
            "lorenz", (), nothing, starts, np.ascontiguousarray(column), matrix[row, column]
        )


def _identity(graph: Graph) -> np.ndarray:
    k = int(graph.nodes[0])
    return np.eye(3 * k).reshape(k, 3, k, 3)


class DiagonalLorenz(Lorenz):
    """Lorenz attractors that do not feel each other: H is the identity, and there are no edges.

    Each state is driven by itself (x' gains x, and so on), as in the public code's variant.
    """

    name = "lorenz_diagonal"
    title = "Lorenz attractors, each driven by itself alone"
    parameters: ClassVar[Mapping[str, Parameter]] = {
        **Lorenz.parameters,
        "coupling": replace(
            Lorenz.parameters["coupling"],
            default="identity",
            source="MP-NODE public code, diagonal variant",
            named={**Lorenz.parameters["coupling"].named, "identity": _identity},
        ),
    }
    default_topology = "none"


class _BoundLorenz:
    """The field with its linear part as one ``matrix``; `into` writes into an array of the caller."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix = matrix
        self.products = np.empty((2, 0, 0))

    def __call__(self, t: float, x: np.ndarray, u: np.ndarray | None = None) -> np.ndarray:
        out = np.empty(x.shape, order="F")
        self.into(t, x, u, out)
        return out

    def into(self, t: float, x: np.ndarray, u: np.ndarray | None, out: np.ndarray) -> None:
        state, rate = x.T, out.T  # (feature, node, trajectory): one product for all trajectories
        if self.products.shape[1:] != state.shape[1:]:
            self.products = np.empty((2, *state.shape[1:]))
        rows = len(self.matrix)
        np.dot(self.matrix, state.reshape(rows, -1), out=rate.reshape(rows, -1))
        xy, xz = self.products
        np.multiply(state[0], state[1], out=xy)
        np.multiply(state[0], state[2], out=xz)
        second, third = rate[1], rate[2]
        np.subtract(second, xz, out=second)
        np.add(third, xy, out=third)
