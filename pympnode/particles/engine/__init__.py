"""Particle models in torch: one time step of many particles, and its gradient."""
