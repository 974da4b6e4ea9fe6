"""Softened gravity."""

from __future__ import annotations

import numpy as np

from ..constants import PAPER
from .base import ParticleSystem


class Gravity(ParticleSystem):
    """a_i = G sum_j m_j d_ij / r_ij^3; U = -G sum_{i<j} m_i m_j / r_ij. Plummer softening.

    The defaults are the published constants (`particles.constants`): G = 2, softening 0.2, masses 1.
    Particles of mass 0 are allowed: they are accelerated and accelerate no others. The published
    GPU kernel multiplies by the mass of the receiver; here it is that of the attracting particle.
    """

    name = "gravity"
    title = "softened gravity of point masses"
    source = PAPER
    energy_sign = -1.0

    def pair_source(self, mass: np.ndarray, charge: np.ndarray | None) -> np.ndarray:
        return mass

    def pair_factor(
        self, mass: np.ndarray, charge: np.ndarray | None, constant: float
    ) -> np.ndarray:
        return np.full_like(mass, constant)
