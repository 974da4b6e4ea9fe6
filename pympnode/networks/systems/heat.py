"""Heat diffusion on a graph: the graph Laplacian times a diffusivity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from numpy.typing import NDArray

from ...graph import Graph
from ...systems.base import Observable, Parameter, System, Variable, node_mean
from ..compiled.solve import CompiledField


def _one_over_mean_degree(graph: Graph) -> float:
    return 1.0 / graph.mean_degree if graph.edges else 1.0


class Heat(System):
    """Heat diffusion, one temperature per node; ``"diffusion"`` is another name of it.

    x_i' = -diffusivity * sum over neighbours j of w_ji (x_i - x_j)

    with the weight w_ji of the edge from j to i, a conductance (1 without weights). With equal
    conductances in both directions the mean temperature is constant in time.

    The default diffusivity is 1 / (mean degree of the graphs): with 1 on a dense graph, the
    Runge-Kutta steps of a model at the default dt would be unstable.
    """

    name = "heat"
    title = "heat diffusion"
    source = "named in the MP-NODE public tasks"
    state = (Variable("temperature", "K", start=(0.0, 50.0)),)
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "diffusivity": Parameter(_one_over_mean_degree, (), "1/s", "1 / mean degree")
    }
    observables: ClassVar[Mapping[str, Observable]] = {
        "mean_temperature": Observable(node_mean, "K", "mean temperature")
    }
    default_nodes = 16
    default_topology = "BA"
    graph_family = "gene"

    def field(
        self, t: float, x: NDArray, u: NDArray | None, graph: Graph, parameters: Mapping[str, Any]
    ) -> NDArray:
        out = graph.sum_differences(x)
        out *= parameters["diffusivity"]
        return out

    def compiled_field(self, graph: Graph, parameters: Mapping[str, Any]) -> CompiledField:
        return CompiledField.on(graph, "heat", [parameters["diffusivity"]], [graph.in_weight])
