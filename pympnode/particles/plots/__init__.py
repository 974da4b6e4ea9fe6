"""Pictures of particles; `pympnode.plotting` serves them."""
