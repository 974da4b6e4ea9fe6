"""Particle systems: what gravity and Coulomb share, and the states that they start from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InvalidData, InvalidOption
from ...graph import Graph
from ...systems.base import Observable, Parameter, System, Variable
from ..graphs.box import Box, as_box

PAPER = "Martinkus, Lucchi, Perraudin, AAAI 2021 (published code)"
SPACING2 = 12.0  # squared mean spacing of particles in the published data, side = sqrt(12 N)


@dataclass(frozen=True, eq=False)
class ParticleState:
    """Positions and velocities (particle, axis), mass and charge (particle,); float64.

    ``charge`` is None where the system has none.
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

    A child sets ``energy_sign`` (-1 attracts equal sources) and writes `source` and `factor`.
    ``dims`` is 2 or 3.
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
                f"{self.name} lives in two or three dimensions", got=dims, allowed="2 or 3"
            )
        self.dims = int(dims)
        self.state = (
            Variable("position", unit="length", components=self.dims),
            Variable("velocity", unit="length / time", start=(-1.0, 1.0), components=self.dims),
        )
        self.parameters = self._parameters()  # type: ignore[misc]
        self.observables = {  # type: ignore[misc]
            "energy": Observable(self._energy, "energy", "total energy"),
        }

    def _parameters(self) -> dict[str, Parameter]:
        return {
            "constant": Parameter(2.0, unit="constant", source=PAPER),
            "softening": Parameter(0.2, unit="length", source=PAPER),
            "accuracy": Parameter(0.001, source=f"{PAPER}, eta of tau = eta sqrt(eps / |a|)"),
            "mass": Parameter(1.0, dims=("node",), unit="mass", source=PAPER),
            "side": Parameter(
                lambda graph: default_side(int(graph.nodes[0]), self.dims),
                unit="length",
                source=f"{PAPER}: (12 N)^(1/2) in two dimensions; inf for open space",
            ),
        }

    def _resolve(self, name: str, spec: Parameter, value: Any, graph: Graph) -> float | np.ndarray:
        """As for every system; besides, a side of None or inf is open space."""
        if name == "side" and (value is None or (np.ndim(value) == 0 and value == np.inf)):
            return np.inf
        return super()._resolve(name, spec, value, graph)

    # ---- physics ------------------------------------------------------------------------------

    def pair_source(self, mass: np.ndarray, charge: np.ndarray | None) -> np.ndarray:
        """What a particle acts with: its mass, or its charge. Shape of ``mass``."""
        raise NotImplementedError

    def pair_factor(
        self, mass: np.ndarray, charge: np.ndarray | None, constant: float
    ) -> np.ndarray:
        """What a particle answers with. Shape of ``mass``."""
        raise NotImplementedError

    def acceleration(
        self,
        position: np.ndarray,
        mass: np.ndarray,
        charge: np.ndarray | None = None,
        *,
        box: Box | float | None,
        constant: float = 2.0,
        softening: float = 0.2,
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
            accelerate(x, s, f, rows, box.side, float(softening) ** 2, a)
        return out.transpose(0, 2, 1).reshape(np.shape(position))

    def potential(
        self,
        position: np.ndarray,
        mass: np.ndarray,
        charge: np.ndarray | None = None,
        *,
        box: Box | float | None,
        constant: float = 2.0,
        softening: float = 0.2,
    ) -> np.ndarray:
        """Potential energy (...) of states (..., particle, axis); every pair once, softened.

        Time grows with the square of the particle count, memory does not grow.
        """
        from .pairs import pair_potential

        box = as_box(box)
        flat, source, _ = self._flat(position, mass, charge, constant, box)
        values = [
            pair_potential(x, s, box.side, float(softening) ** 2)
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
            position,
            parameters["mass"],
            parameters.get("charge"),
            box=parameters["side"],
            constant=parameters["constant"],
            softening=parameters["softening"],
        )
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
        """Charges of a random state; None in a system without."""
        return None

    def check(self, state: ParticleState) -> ParticleState:
        """The same state as float64, or InvalidData telling which particle is wrong and why."""
        position = np.asarray(state.position, np.float64)
        if position.ndim != 2 or position.shape[1] != self.dims or position.shape[0] < 1:
            raise InvalidData(
                f"positions of {self.name} are (particle, axis)",
                got=f"shape {position.shape}",
                allowed=f"(particles, {self.dims})",
                fix="pass dims=3 for three axes" if position.shape[-1:] == (3,) else None,
            )
        count = position.shape[0]
        velocity = _column(state.velocity, "velocity", position.shape)
        mass = _column(state.mass, "mass", (count,))
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
                    allowed="one a particle",
                    fix="pass charge (particle,)",
                )
            charge = _column(state.charge, "charge", (count,))
            _finite("charge", charge)
            _refuse(
                "mass", mass, mass == 0, "masses > 0",
                "acceleration is force / mass: a charged particle needs a mass",
            )  # fmt: skip
        elif state.charge is not None:
            raise InvalidData(
                f"{self.name} knows no charge",
                got="a charge for each particle",
                allowed="mass only",
                fix='leave charge out, or use system="coulomb"',
            )
        return ParticleState(position, velocity, mass, charge)


def default_side(particles: int, dims: int) -> float:
    """Side of the box at the published mean spacing: (12 N)^(1/2), and 12^(1/2) N^(1/3) in 3-D."""
    return float((SPACING2 ** (dims / 2) * particles) ** (1.0 / dims))


def _column(values: Any, name: str, shape: tuple[int, ...]) -> np.ndarray:
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
