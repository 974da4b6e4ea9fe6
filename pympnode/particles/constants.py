"""Physical constants of the published simulator of particles, each written once.

Source: Martinkus, Lucchi, Perraudin, "Scalable Graph Networks for Particle Simulations", AAAI 2021,
and its published code. They are dimensionless: time, length, mass and charge have no SI unit there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PAPER = "Martinkus, Lucchi, Perraudin, AAAI 2021 (published code)"

CONSTANT = 2.0  # G of gravity and k of Coulomb, length^3 / (mass time^2)
SOFTENING = 0.2  # softening length in r^2 + softening^2
ACCURACY = 0.001  # eta of the block time steps, tau_i = eta sqrt(softening / |a_i|)
SPACING2 = 12.0  # squared mean spacing of particles, length^2: side = sqrt(12 N) in two dimensions
MASS = 1.0  # of every particle

PUBLISHED: Mapping[str, float] = {"constant": CONSTANT, "softening": SOFTENING}


def with_published(parameters: Mapping[str, Any]) -> dict[str, float]:
    """``constant`` and ``softening`` of a force: those given, the published ones for the others."""
    return {name: float(parameters.get(name, value)) for name, value in PUBLISHED.items()}
