"""Particle systems: gravity and Coulomb forces, and the states that they start from."""
