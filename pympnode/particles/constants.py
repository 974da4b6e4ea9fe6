"""Physical constants of the published particle data, in its units of length, time, mass and charge.

Source: Martinkus, Lucchi, Perraudin, "Scalable graph networks for particle simulations" (AAAI 2021),
the published code.
"""

from __future__ import annotations

# G of gravity, in length^3 / (mass time^2), and k of Coulomb, in mass length^3 / (charge^2 time^2).
FORCE_CONSTANT = 2.0
# Plummer softening length: r^2 becomes r^2 + softening^2.
SOFTENING = 0.2
