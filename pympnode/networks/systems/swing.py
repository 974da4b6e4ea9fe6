"""The swing equation of a power grid: Kuramoto oscillators with inertia.

G. Filatrella, A. H. Nielsen, N. F. Pedersen, "Analysis of a power grid using a Kuramoto-like model",
Eur. Phys. J. B 61 (2008); values: P. J. Menck, J. Heitzig, J. Kurths, H. J. Schellnhuber, "How dead ends
undermine power grid stability", Nature Communications 5 (2014).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...graph import Graph
from ...systems.base import Observable, Parameter, System, Variable
from ..compiled.solve import CompiledField
from ..graphs.instances import PUBLISHED_SEED
from .kuramoto import sine_and_cosine

_SOURCE = "Menck et al. (2014)"


def balanced_power(graph: Graph) -> np.ndarray:
    """Power (node,): as many generators (+1) as consumers (-1), at the same nodes for all graphs and
    runs; one node of an odd number has none."""
    nodes = int(graph.nodes[0])
    power = np.zeros(nodes)
    power[: nodes // 2], power[nodes - nodes // 2 :] = 1.0, -1.0
    return np.random.default_rng(PUBLISHED_SEED).permutation(power)


def synchrony(x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
    """|mean over nodes of exp(i theta)|; 1 where all angles are equal."""
    return np.hypot(np.cos(x[..., 0]).mean(axis=-1), np.sin(x[..., 0]).mean(axis=-1))


def frequency_deviation(x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
    """Root mean square over nodes of the deviation from the grid's frequency."""
    return np.sqrt(np.square(x[..., 1]).mean(axis=-1))


def swing_energy(x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
    """Kinetic energy, minus power times angle, plus the energy of the lines, zero at equal angles.

    On a graph with equal weights in both directions it falls at the rate sum of damping omega^2, and
    is constant without damping.
    """
    angle, omega = x[..., 0], x[..., 1]
    energy = (0.5 * parameters["inertia"] * omega**2 - parameters["power"] * angle).sum(axis=-1)
    difference = angle[..., graph.sender] - angle[..., graph.receiver]
    # Each line is two edges.
    lines = (graph.weight_or_ones * (1.0 - np.cos(difference))).sum(axis=-1)
    return energy + 0.5 * parameters["coupling"] * lines


class Swing(System):
    """The swing equation, an angle theta (against the grid's 50 or 60 Hz) and its rate omega per node::

        theta_i' = omega_i
        inertia omega_i' = power_i - damping omega_i
                           + coupling * sum over neighbours j of w_ji sin(theta_j - theta_i)

    with the weight w_ji of the line from j to i, its susceptance times both voltages relative to
    ``coupling`` (1 without weights). Power is positive at generators and negative at consumers and sums
    to zero by default; where it does not, the frequency of the whole grid moves by its sum over that of
    the damping. Inertia and damping may differ by node, shape (node,). Units are those of per-unit power
    divided by the inertia of a reference machine, as in the source.

    ``power_spread`` draws for each trajectory its own power: the given one plus a normal number of
    that standard deviation for each node, minus their mean, so that the sum stays. The dataset then has
    ``node_attribute(trajectory, node, attribute)``.
    """

    name = "swing"
    title = "swing equation of a power grid (second-order Kuramoto)"
    source = "Filatrella, Nielsen, Pedersen (2008); Menck et al. (2014)"
    state = (
        Variable("theta", "rad", "angle", start=(-1.0, 1.0)),
        Variable("omega", "rad/s", start=(-1.0, 1.0)),
    )
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "power": Parameter(
            "balanced", ("node",), "1/s^2", _SOURCE, named={"balanced": balanced_power}
        ),
        "inertia": Parameter(1.0, (), "1", _SOURCE, alternatives=(("node",),)),
        "damping": Parameter(0.1, (), "1/s", _SOURCE, alternatives=(("node",),)),
        "coupling": Parameter(8.0, (), "1/s^2", _SOURCE),
        "power_spread": Parameter(0.0, (), "1/s^2", "the same power in all trajectories"),
    }
    node_attributes = ("power", "inertia", "damping")
    observables: ClassVar[Mapping[str, Observable]] = {
        "synchrony": Observable(synchrony, "1", "order parameter"),
        "frequency_deviation": Observable(frequency_deviation, "rad/s", "frequency deviation"),
        "energy": Observable(swing_energy, "1/s^2", "energy"),
    }
    default_nodes = 20
    default_topology = ("WS", {"k": 4, "beta": 0.2})
    steps = 60

    def sample_parameters(
        self, rng: np.random.Generator, parameters: Mapping[str, Any], graph: Graph
    ) -> dict[str, np.ndarray]:
        """The power (node,) of a trajectory; none where ``power_spread`` is 0."""
        if not parameters["power_spread"]:
            return {}
        drawn = rng.normal(0.0, parameters["power_spread"], graph.total_nodes)
        return {"power": parameters["power"] + drawn - drawn.mean()}

    def field(
        self, t: float, x: NDArray, u: NDArray | None, graph: Graph, parameters: Mapping[str, Any]
    ) -> NDArray:
        omega = x[..., 1]
        # sin(a - b) = sin a cos b - cos a sin b: two sums over neighbours of values of nodes
        sine, cosine = sine_and_cosine(x[..., :1])
        flow = (cosine * graph.sum_neighbours(sine) - sine * graph.sum_neighbours(cosine))[..., 0]
        out = np.empty_like(x)
        out[..., 0] = omega
        out[..., 1] = parameters["power"] - parameters["damping"] * omega
        out[..., 1] += parameters["coupling"] * flow
        out[..., 1] /= parameters["inertia"]
        return out

    def compiled_field(self, graph: Graph, parameters: Mapping[str, Any]) -> CompiledField:
        per_node = [parameters[name] for name in ("power", "inertia", "damping")]
        return CompiledField.on(graph, "swing", [parameters["coupling"]], per_node)
