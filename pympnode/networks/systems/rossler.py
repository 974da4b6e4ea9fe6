"""Rössler oscillators, coupled by diffusion of the first component.

O. E. Rössler, "An equation for continuous chaos" (1976); frequencies by oscillator: M. G. Rosenblum,
A. S. Pikovsky, J. Kurths, "Phase synchronization of chaotic oscillators" (1996).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...graph import Graph
from ...systems.base import Parameter, System, Variable
from ..compiled.solve import CompiledField

_SOURCE = "Rössler (1976)"


class Rossler(System):
    """Rössler oscillators, three components per node::

        x_i' = -frequency y_i - z_i + coupling * sum over neighbours j of w_ji (x_j - x_i)
        y_i' = frequency x_i + a y_i
        z_i' = b + z_i (x_i - c)

    with the weight w_ji of the edge from j to i (1 without weights). All quantities have no unit. At
    the default parameters a single oscillator is chaotic, with a mean period of about 6. The frequency
    may differ by node, shape (node,). Strong coupling, where coupling times the largest eigenvalue of
    the graph's Laplacian is above about 4, destabilises synchrony again.
    """

    name = "rossler"
    title = "Rössler oscillators"
    source = "Rössler (1976); Rosenblum, Pikovsky, Kurths (1996)"
    state = (
        Variable("x", start=(-5.0, 5.0)),
        Variable("y", start=(-5.0, 5.0)),
        Variable("z", start=(0.0, 1.0)),
    )
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "a": Parameter(0.2, (), "1", _SOURCE),
        "b": Parameter(0.2, (), "1", _SOURCE),
        "c": Parameter(5.7, (), "1", _SOURCE),
        "frequency": Parameter(1.0, (), "1", _SOURCE, alternatives=(("node",),)),
        "coupling": Parameter(0.05, (), "1", "a choice: below the strength of full synchrony"),
    }
    node_attributes = ("frequency",)
    default_nodes = 10
    default_topology = ("WS", {"k": 4, "beta": 0.2})
    dt = 0.1
    steps = 150

    def field(
        self, t: float, x: NDArray, u: NDArray | None, graph: Graph, parameters: Mapping[str, Any]
    ) -> NDArray:
        first, second, third = x[..., 0], x[..., 1], x[..., 2]
        frequency = parameters["frequency"]
        out = np.empty_like(x)
        out[..., 0] = parameters["coupling"] * graph.sum_differences(x[..., :1])[..., 0]
        out[..., 0] -= frequency * second + third
        out[..., 1] = frequency * first + parameters["a"] * second
        out[..., 2] = parameters["b"] + third * (first - parameters["c"])
        return out

    def compiled_field(self, graph: Graph, parameters: Mapping[str, Any]) -> CompiledField:
        numbers = [parameters[name] for name in ("coupling", "a", "b", "c")]
        per_node = [graph.in_weight, parameters["frequency"]]
        return CompiledField.on(graph, "rossler", numbers, per_node)
