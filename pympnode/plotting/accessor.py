"""``ds.pympnode.plot``: the functions of `pympnode.plotting` as methods of a dataset."""

from __future__ import annotations

from functools import partial
from typing import Any

import xarray as xr

from ..errors import unknown_name

# Functions by the variable of the dataset that they draw.
_FUNCTIONS_OF = {
    "state": (
        "prediction",
        "parity",
        "phase_portrait",
        "graph_state",
        "grid_state",
        "error_by_degree",
        "animate",
    ),
    "door": ("quadrotor_paths", "quadrotor_forces", "animate_quadrotors"),
    "message": ("message_norms",),
    "loss": ("training_curves", "error_over_time", "observables"),
    "rmse_z_type": ("error_by_type",),
    "rmse_published": ("particle_error_over_time",),
    "position": ("particle_trajectories", "conservation", "animate_particles", "hierarchy_of"),
}


_NAMES = sorted(name for names in _FUNCTIONS_OF.values() for name in names)


class Plots:
    """The pictures of one dataset: ``plot.NAME(...)`` is ``pympnode.plotting.NAME(ds, ...)``, as in
    ``rollout.pympnode.plot.prediction(truth)``."""

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        if name not in _NAMES:
            raise AttributeError(str(unknown_name("plot", name, _NAMES)))
        from .. import plotting

        return partial(getattr(plotting, name), self._ds)

    def __dir__(self) -> list[str]:
        return _NAMES

    def __repr__(self) -> str:
        names = [n for variable, of in _FUNCTIONS_OF.items() if variable in self._ds for n in of]
        # Of nodes of several types, each with variables of its own.
        names += [
            of_types
            for variable, of_types in (("state", "prediction"), ("message", "message_norms"))
            if variable not in self._ds
            and any(str(n).startswith(f"{variable}_") for n in self._ds.data_vars)
        ]
        return "plots: " + ", ".join(names)
