"""Pendula: single ones, and pendula joined by springs.

Equations and parameters: Gupta, Vemprala, Kapoor (NeurIPS 2022) and their public code.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...graph import Graph
from ...systems.base import Observable, Parameter, System, Variable

_LENGTH = Parameter(1.5, (), "m", "MP-NODE public code")
_GRAVITY = Parameter(9.81, (), "m/s^2", "MP-NODE public code")
_MASS = Parameter(1.0, (), "kg", "MP-NODE public code")


def energy(x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
    """Kinetic plus potential energy of all nodes in J, zero at rest; constant for single pendula."""
    mass, length, gravity = (parameters[name] for name in ("mass", "length", "gravity"))
    kinetic = 0.5 * mass * length**2 * x[..., 1] ** 2
    return (kinetic + mass * gravity * length * (1 - np.cos(x[..., 0]))).sum(axis=-1)


def angle_difference(x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
    """Mean over edges of |angle_j - angle_i|; 0 without edges."""
    if graph.edges == 0:
        return np.zeros(x.shape[:-2])
    return np.abs(x[..., graph.sender, 0] - x[..., graph.receiver, 0]).mean(axis=-1)


class Pendulum(System):
    """Single pendula, not coupled: angle'' = -(gravity / length) sin angle."""

    name = "pendulum"
    title = "single pendulum"
    source = "MP-NODE public code"
    state = (
        Variable("angle", "rad", "angle", start=(-np.pi / 2, np.pi / 2)),
        Variable("velocity", "rad/s", start=(-1.0, 1.0)),
    )
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "length": _LENGTH,
        "gravity": _GRAVITY,
        "mass": _MASS,
    }
    observables: ClassVar[Mapping[str, Observable]] = {"energy": Observable(energy, "J", "energy")}
    default_nodes = 1
    default_topology = "none"
    graph_family = "pendulum"

    def field(
        self, t: float, x: NDArray, u: NDArray | None, graph: Graph, parameters: Mapping[str, Any]
    ) -> NDArray:
        out = np.empty_like(x)
        out[..., 0] = x[..., 1]
        out[..., 1] = -(parameters["gravity"] / parameters["length"]) * np.sin(x[..., 0])
        return out


class CoupledPendulum(System):
    """Pendula whose bobs are joined by springs along the edges (published: two nodes).

    velocity_i' = [sin a_i m (l v_i^2 - g) + k l sum over neighbours j of (sin a_j - sin a_i)]
                  / (m l cos a_i)

    (each term times the weight of the edge from j, where there are weights) with angle a, velocity v,
    mass m, length l, gravity g and stiffness k: the horizontal balance of forces as published. It is
    not the Lagrangian model (no energy is conserved) and is singular at a_i = +-pi/2. The initial range
    is that of the public code, +-pi/4 and +-0.5; from the paper's +-pi/2 and +-1, one run of 10 s in
    five reaches cos a = 0.
    """

    name = "coupled_pendulum"
    title = "pendula joined by springs"
    source = "MP-NODE paper and public code"
    state = (
        Variable("angle", "rad", "angle", start=(-np.pi / 4, np.pi / 4)),
        Variable("velocity", "rad/s", start=(-0.5, 0.5)),
    )
    parameters: ClassVar[Mapping[str, Parameter]] = {
        "length": _LENGTH,
        "gravity": _GRAVITY,
        "mass": _MASS,
        "stiffness": Parameter(2.0, (), "N/m", "MP-NODE public code"),
    }
    observables: ClassVar[Mapping[str, Observable]] = {
        "angle_difference": Observable(angle_difference, "rad", "angle difference")
    }
    default_nodes = 2
    default_topology = "path"
    graph_family = "pendulum"

    def field(
        self, t: float, x: NDArray, u: NDArray | None, graph: Graph, parameters: Mapping[str, Any]
    ) -> NDArray:
        mass, length = parameters["mass"], parameters["length"]
        angle, velocity = x[..., :1], x[..., 1:]
        sine = np.sin(angle)
        force = mass * sine * (length * velocity**2 - parameters["gravity"])
        spring = graph.sum_differences(sine)
        force += parameters["stiffness"] * length * spring
        out = np.empty_like(x)
        out[..., :1] = velocity
        out[..., 1:] = force / (mass * length * np.cos(angle))
        return out
