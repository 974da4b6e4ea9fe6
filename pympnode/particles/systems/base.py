"""Particle systems: the softened pair force of gravity and Coulomb, and states of particles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InvalidData, InvalidOption
from ...graph import Graph
from ...systems.base import Observable, Parameter, System, Variable
from ..constants import ACCURACY, CONSTANT, MASS, PAPER, SOFTENING, SPACING2
from ..graphs.box import Box, as_box


@dataclass(frozen=True, eq=False)
class ParticleState:
    """Positions and velocities (particle, axis), mass and charge (particle,); float64.

    ``charge`` is None in a system without charges.
    """

    position: np.ndarray
    velocity: np.ndarray
    mass: np.ndarray
    charge: np.ndarray | None = None

    @property
    def particles(self) -> int:
        return self.position.shape[0]

    @property
    def dims(self) -> int:
        return self.position.shape[1]


class ParticleSystem(System):
    """Softened pair forces between particles, nearest image in a periodic box, or in open space.

    With d_ij = x_j - x_i (nearest image) and r_ij^2 = |d_ij|^2 + softening^2 the acceleration is
    a_i = factor_i sum_j source_j d_ij / r_ij^3, and the potential energy
    energy_sign * constant * sum_{i<j} source_i source_j / r_ij.

    A subclass sets ``energy_sign`` (-1: equal sources attract each other) and defines `pair_source`
    and `pair_factor`. ``dims`` is 2 or 3.
    """

    body = "particle"
    charged = False
    energy_sign = -1.0
    default_nodes = 100
    default_topology = "complete"
    dt = 0.01
    steps = 200
    source_quantity = "mass"

    def __init__(self, dims: int = 2) -> None:
        if dims not in (2, 3):
            raise InvalidOption(
                f"{self.name} is in two or three dimensions", got=dims, allowed="2 or 3"
            )
        self.dims = int(dims)
        self.state = (
            Variable("position", unit="length", components=self.dims),
            Variable("velocity", unit="length / time", start=(-1.0, 1.0), components=self.dims),
        )
        self.parameters = self._parameters()  # type: ignore[misc]
        self.observables = {  # type: ignore[misc]
            "energy": Observable(self._energy, "energy", "total energy")
        }

    def _parameters(self) -> dict[str, Parameter]:
        return {
            "constant": Parameter(CONSTANT, unit="constant", source=PAPER),
            "softening": Parameter(SOFTENING, unit="length", source=PAPER),
            "accuracy": Parameter(ACCURACY, source=f"{PAPER}, eta of tau = eta sqrt(eps / |a|)"),
            "mass": Parameter(MASS, dims=("node",), unit="mass", source=PAPER),
            "side": Parameter(
                lambda graph: default_side(int(graph.nodes[0]), self.dims),
                unit="length",
                source=f"{PAPER}: (12 N)^(1/2) in two dimensions; inf for open space",
            ),
        }

    def _resolve(self, name: str, spec: Parameter, value: Any, graph: Graph) -> float | np.ndarray:
        """As in `System`; a side of None or inf means open space."""
        if name == "side" and (value is None or (np.ndim(value) == 0 and value == np.inf)):
            return np.inf
        return super()._resolve(name, spec, value, graph)

    # ---- physics ------------------------------------------------------------------------------

    def pair_source(self, mass: np.ndarray, charge: np.ndarray | None) -> np.ndarray:
        """source_j of the force: mass or charge of each particle, in the shape of ``mass``."""
        raise NotImplementedError

    def pair_factor(
        self, mass: np.ndarray, charge: np.ndarray | None, constant: float
    ) -> np.ndarray:
        """factor_i of the acceleration of each particle, in the shape of ``mass``."""
        raise NotImplementedError

    def acceleration(
        self,
        position: np.ndarray,
        mass: np.ndarray,
        charge: np.ndarray | None = None,
        *,
        box: Box | float | None,
        constant: float = CONSTANT,
        softening: float = SOFTENING,
    ) -> np.ndarray:
        """Acceleration of every particle, float64, the shape of ``position``.

        position (..., particle, axis); mass and charge broadcast to (..., particle). Positions
        outside the box are wrapped first.
        """
        from .pairs import accelerate

        box = as_box(box)
        flat, source, factor = self._flat(position, mass, charge, constant, box)
        rows = np.arange(flat.shape[2])
        out = np.empty_like(flat)
        for x, s, f, a in zip(flat, source, factor, out, strict=True):
            # Without softening a particle's term of itself would be 0 / 0; this is exactly 0 then, and
            # too small to change any other.
            accelerate(x, s, f, rows, box.cube, max(float(softening) ** 2, 1e-200), a)
        return out.transpose(0, 2, 1).reshape(np.shape(position))

    def potential(
        self,
        position: np.ndarray,
        mass: np.ndarray,
        charge: np.ndarray | None = None,
        *,
        box: Box | float | None,
        constant: float = CONSTANT,
        softening: float = SOFTENING,
    ) -> np.ndarray:
        """Potential energy (...) of states (..., particle, axis); every pair once, softened.

        Time grows with the square of the particle count, memory does not grow.
        """
        from .pairs import pair_potential

        box = as_box(box)
        flat, source, _ = self._flat(position, mass, charge, constant, box)
        values = [
            pair_potential(x, s, box.cube, float(softening) ** 2)
            for x, s in zip(flat, source, strict=True)
        ]
        total = np.array(values).reshape(np.shape(position)[:-2])
        return self.energy_sign * constant * total

    def _flat(self, position, mass, charge, constant, box):
        position = np.asarray(position, dtype=np.float64)
        lead, (count, dims) = position.shape[:-2], position.shape[-2:]
        mass = np.broadcast_to(np.asarray(mass, np.float64), (*lead, count)).reshape(-1, count)
        if charge is not None:
            charge = np.asarray(charge, np.float64)
            charge = np.broadcast_to(charge, (*lead, count)).reshape(-1, count)
        flat = box.wrap(position).reshape(-1, count, dims).transpose(0, 2, 1)
        source = np.ascontiguousarray(self.pair_source(mass, charge))
        factor = np.ascontiguousarray(self.pair_factor(mass, charge, constant))
        return np.ascontiguousarray(flat), source, factor

    def field(
        self,
        t: float,
        x: np.ndarray,
        u: np.ndarray | None,
        graph: Graph,
        parameters: Mapping[str, Any],
    ) -> np.ndarray:
        """(velocity, acceleration) of states (trajectory, particle, position and velocity)."""
        position, velocity = x[..., : self.dims], x[..., self.dims :]
        acceleration = self.acceleration(
            position, parameters["mass"], parameters.get("charge"), box=parameters["side"],
            constant=parameters["constant"], softening=parameters["softening"],
        )  # fmt: skip
        return np.concatenate([velocity, acceleration], axis=-1)

    def uncoupled_field(self, t, x, u, graph, parameters):
        """Free flight."""
        velocity = x[..., self.dims :]
        return np.concatenate([velocity, np.zeros_like(velocity)], axis=-1)

    def _energy(self, x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
        velocity = x[..., self.dims :]
        kinetic = 0.5 * np.sum(np.asarray(parameters["mass"])[..., None] * velocity**2, (-1, -2))
        return kinetic + self.potential(
            x[..., : self.dims],
            parameters["mass"],
            parameters.get("charge"),
            box=parameters["side"],
            constant=parameters["constant"],
            softening=parameters["softening"],
        )

    # ---- states -------------------------------------------------------------------------------

    def draw_charge(self, rng: np.random.Generator, particles: int) -> np.ndarray | None:
        """Charges of a random state, (particle,); None in a system without charges."""
        return None

    def check(self, state: ParticleState) -> ParticleState:
        """The same state as float64; raises InvalidData with the particle and the reason."""
        position = np.asarray(state.position, np.float64)
        if position.ndim != 2 or position.shape[1] != self.dims or position.shape[0] < 1:
            raise InvalidData(
                f"positions of {self.name} are (particle, axis)",
                got=f"shape {position.shape}",
                allowed=f"(particles, {self.dims})",
                fix="pass dims=3 for three axes" if position.shape[-1:] == (3,) else None,
            )
        count = position.shape[0]
        velocity = _broadcast(state.velocity, "velocity", position.shape)
        mass = _broadcast(state.mass, "mass", (count,))
        _finite("position", position)
        _finite("velocity", velocity)
        _finite("mass", mass)
        _refuse("mass", mass, mass < 0, "masses >= 0", "a mass cannot be negative")
        charge = None
        if self.charged:
            if state.charge is None:
                raise InvalidData(
                    f"{self.name} needs charges",
                    got="no charge",
                    allowed="one per particle",
                    fix="pass charge (particle,)",
                )
            charge = _broadcast(state.charge, "charge", (count,))
            _finite("charge", charge)
            _refuse(
                "mass", mass, mass == 0, "masses > 0",
                "acceleration is force / mass: a charged particle needs a mass",
            )  # fmt: skip
        elif state.charge is not None:
            raise InvalidData(
                f"{self.name} has no charges",
                got="a charge for each particle",
                allowed="mass only",
                fix='leave charge out, or use system="coulomb"',
            )
        return ParticleState(position, velocity, mass, charge)


def default_side(particles: int, dims: int) -> float:
    """Side of the box at the published mean spacing: (12 N)^(1/2) in 2-D, 12^(1/2) N^(1/3) in 3-D."""
    return float((SPACING2 ** (dims / 2) * particles) ** (1.0 / dims))


def _broadcast(values: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
    array = np.asarray(values, np.float64)
    try:
        return np.array(np.broadcast_to(array, shape))
    except ValueError as error:
        raise InvalidData(
            f"{name} does not fit the positions", got=f"shape {array.shape}", allowed=str(shape)
        ) from error


def _finite(name: str, values: np.ndarray) -> None:
    bad = ~np.isfinite(values).reshape(values.shape[0], -1).all(axis=1)
    _refuse(name, values, bad, "finite numbers", "remove or replace NaN and inf")


def _refuse(name: str, values: np.ndarray, bad: np.ndarray, allowed: str, fix: str) -> None:
    if bad.any():
        i = int(np.argmax(bad))
        raise InvalidData(
            f"the {name} of particle {i} is not allowed ({int(bad.sum())} such particles)",
            got=str(values[i]),
            allowed=allowed,
            fix=fix,
        )
