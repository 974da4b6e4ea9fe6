"""FitzHugh-Nagumo oscillators, excitable cells coupled by diffusion of their potential.

R. FitzHugh, "Impulses and physiological states in theoretical models of nerve membrane" (1961);
J. Nagumo, S. Arimoto, S. Yoshizawa, "An active pulse transmission line simulating nerve axon" (1962).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...graph import Graph
from ...systems.base import Observable, Parameter, System, Variable, node_mean
from ..compiled.solve import CompiledField

_SOURCE = "FitzHugh (1961)"


class FitzHughNagumo(System):
    """FitzHugh-Nagumo oscillators, a potential v and a recovery variable w per node::

        v_i' = v_i - v_i^3 / 3 - w_i + current + coupling * sum over neighbours j of w_ji (v_j - v_i)
        w_i' = rate (v_i + a - b w_i)

    with the weight w_ji of the edge from j to i (1 without weights), the conductance of a gap
    junction. All quantities have no unit. At the default current 0.5 a node oscillates with a period
    of about 40; below 0.33 it is at rest and excitable. The current may differ by node, shape
    (node,).
    """

    name = "fitzhugh_nagumo"
    title = "FitzHugh-Nagumo oscillators"
    source = "FitzHugh (1961), Nagumo, Arimoto, Yoshizawa (1962)"
    state = (Variable("potential", start=(-2.0, 2.0)), Variable("recovery", start=(-0.5, 1.5)))
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "a": Parameter(0.7, (), "1", _SOURCE),
        "b": Parameter(0.8, (), "1", _SOURCE),
        "rate": Parameter(0.08, (), "1", _SOURCE),
        "current": Parameter(
            0.5, (), "1", "in the range of oscillations", alternatives=(("node",),)
        ),
        "coupling": Parameter(0.05, (), "1", "a choice: below the strength of full synchrony"),
    }
    node_attributes = ("current",)
    observables: ClassVar[Mapping[str, Observable]] = {
        "mean_potential": Observable(node_mean, "1", "mean potential")
    }
    default_nodes = 16
    default_topology = ("WS", {"k": 4, "beta": 0.2})
    dt = 0.4
    steps = 100

    def field(
        self, t: float, x: NDArray, u: NDArray | None, graph: Graph, parameters: Mapping[str, Any]
    ) -> NDArray:
        potential, recovery = x[..., 0], x[..., 1]
        pull = graph.sum_differences(x[..., :1])[..., 0]
        out = np.empty_like(x)
        cube = potential * potential * potential  # a power costs several times as much
        out[..., 0] = potential - cube / 3.0 - recovery + parameters["current"]
        out[..., 0] += parameters["coupling"] * pull
        out[..., 1] = parameters["rate"] * (
            potential + parameters["a"] - parameters["b"] * recovery
        )
        return out

    def compiled_field(self, graph: Graph, parameters: Mapping[str, Any]) -> CompiledField:
        numbers = [parameters[name] for name in ("coupling", "a", "b", "rate")]
        per_node = [graph.in_weight, parameters["current"]]
        return CompiledField.on(graph, "fitzhugh_nagumo", numbers, per_node)
