"""Pictures of networks; `pympnode.plotting` serves them."""
