"""``ds.pympnode.plot``: the pictures as methods; `datasets.accessor` registers it."""

from __future__ import annotations

from typing import Any

import xarray as xr

from ..errors import unknown_name

# Methods by the variables that a dataset must have for them.
_OF = {
    "state": (
        "prediction",
        "parity",
        "phase_portrait",
        "graph_state",
        "grid_state",
        "error_by_degree",
        "animate",
    ),
    "message": ("message_norms",),
    "loss": ("training_curves", "error_over_time", "observables"),
    "position": ("particle_trajectories", "conservation", "animate_particles", "hierarchy_of"),
}


class Plots:
    """The pictures of one dataset."""

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        from functools import partial

        from .. import plotting

        known = [n for names in _OF.values() for n in names]
        if name not in known:
            close = unknown_name("plot", name, known)
            raise AttributeError(str(close))
        return partial(getattr(plotting, name), self._ds)

    def __dir__(self) -> list[str]:
        return sorted(n for names in _OF.values() for n in names)

    def __repr__(self) -> str:
        return "plots: " + ", ".join(n for v, names in _OF.items() if v in self._ds for n in names)
