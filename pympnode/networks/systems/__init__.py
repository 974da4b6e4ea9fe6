"""Systems of networks: one module per system, and `own_system` for those of the user."""
