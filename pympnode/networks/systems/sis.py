"""SIS epidemics in places that people travel between.

V. Colizza, R. Pastor-Satorras, A. Vespignani, "Reaction-diffusion processes and metapopulation models
in heterogeneous networks", Nature Physics 3 (2007), in the limit of large populations of equal size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...errors import InvalidGraph
from ...graph import Graph
from ...systems.base import Observable, Parameter, System, Variable, node_mean
from ..compiled.solve import CompiledField


class SIS(System):
    """SIS epidemics, the infected share p of the people of each place, from 0 to 1::

        p_i' = infection p_i (1 - p_i) - recovery p_i
               + mobility * sum over neighbours j of w_ji (p_j - p_i)

    Mobility times the weight w_ji of the edge from j to i (1 without weights) is the rate at which
    travellers from j replace people of i. Weights are 0 or more: with negative ones shares would leave
    0 to 1, and they are refused. Infection and recovery may differ by place, shape (node,). With
    equal rates both ways and without infection and recovery the mean share is constant.
    """

    name = "sis"
    title = "SIS epidemic on a mobility network"
    source = "Colizza, Pastor-Satorras, Vespignani (2007)"
    state = (Variable("infected", start=(0.0, 0.2)),)
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "infection": Parameter(
            0.5, (), "1/d", "a choice: reproduction number 2.5", alternatives=(("node",),)
        ),
        "recovery": Parameter(
            0.2, (), "1/d", "a choice: infectious for five days", alternatives=(("node",),)
        ),
        "mobility": Parameter(
            0.05, (), "1/d", "a choice: an edge replaces one person in twenty each day"
        ),
    }
    node_attributes = ("infection", "recovery")
    observables: ClassVar[Mapping[str, Observable]] = {
        "prevalence": Observable(node_mean, "1", "mean infected share")
    }
    default_nodes = 20
    default_topology = ("BA", {"k": 2})
    dt = 0.25
    steps = 60

    def check_graph(self, graph: Graph) -> None:
        """Raise `InvalidGraph` for negative weights."""
        if graph.weight is not None and np.any(graph.weight < 0):
            raise InvalidGraph(
                "weights of sis are rates of mobility",
                got=f"{int((graph.weight < 0).sum())} of {graph.edges} are negative, "
                f"the least {graph.weight.min():.4g}",
                allowed=">= 0",
                fix="give rates; a direction of travel is that of the edge",
            )

    def field(
        self, t: float, x: NDArray, u: NDArray | None, graph: Graph, parameters: Mapping[str, Any]
    ) -> NDArray:
        share = x[..., 0]
        out = graph.sum_differences(x)
        out *= parameters["mobility"]
        out[..., 0] += share * (parameters["infection"] * (1.0 - share) - parameters["recovery"])
        return out

    def compiled_field(self, graph: Graph, parameters: Mapping[str, Any]) -> CompiledField:
        per_node = [graph.in_weight, parameters["infection"], parameters["recovery"]]
        return CompiledField.on(graph, "sis", [parameters["mobility"]], per_node)
