"""Softened Coulomb forces."""

from __future__ import annotations

import numpy as np

from ...systems.base import Parameter
from ..constants import PAPER
from .base import ParticleSystem


class Coulomb(ParticleSystem):
    """a_i = -(k q_i / m_i) sum_j q_j d_ij / r_ij^3; U = +k sum_{i<j} q_i q_j / r_ij.

    Like charges repel. The defaults are the published constants (`particles.constants`): k = 2,
    softening 0.2, masses 1. Charges have a random sign, each with probability 1/2, and an absolute
    value uniform in (0.5, 1.5), so that the sum of charges of a state is not zero.
    """

    name = "coulomb"
    title = "softened Coulomb forces of point charges"
    source = PAPER
    charged = True
    energy_sign = 1.0
    source_quantity = "charge"

    def _parameters(self) -> dict[str, Parameter]:
        return super()._parameters() | {
            "charge": Parameter(
                1.0, dims=("node",), unit="charge", source=f"{PAPER}: drawn, see draw_charge"
            )
        }

    def pair_source(self, mass: np.ndarray, charge: np.ndarray | None) -> np.ndarray:
        assert charge is not None
        return charge

    def pair_factor(
        self, mass: np.ndarray, charge: np.ndarray | None, constant: float
    ) -> np.ndarray:
        assert charge is not None
        return -constant * charge / mass

    def draw_charge(self, rng: np.random.Generator, particles: int) -> np.ndarray:
        size = rng.uniform(0.5, 1.5, particles)
        return np.where(rng.integers(0, 2, particles) == 1, size, -size)
