"""Physical constants of the published simulator of particles, each written once.

Source: Martinkus, Lucchi, Perraudin, "Scalable Graph Networks for Particle Simulations", AAAI 2021,
and its published code. Units are those of the simulation: length, time, mass and charge of 1.
"""

from __future__ import annotations

PAPER = "Martinkus, Lucchi, Perraudin, AAAI 2021 (published code)"

CONSTANT = 2.0  # G of gravity, length^3 / (mass time^2); k of Coulomb, with charge^2 for mass^2
SOFTENING = 0.2  # length, in r^2 + softening^2
ACCURACY = 0.001  # eta of the block time steps, tau_i = eta sqrt(softening / |a_i|)
SPACING2 = 12.0  # squared mean spacing, length^2: side = sqrt(12 N) in two dimensions
MASS = 1.0  # of every particle

LAWS = ("gravity", "coulomb")  # systems whose forces are known
