"""Networked systems: one module per system, and systems of the user's own."""
