"""Pictures of datasets, rollouts, training runs and evaluations.

Every function takes ``ax=`` (or ``axes=``) and returns the axes it drew on; axes carry the names
and units of the dataset, and colours are told apart by colour-blind readers. Importing this room
registers ``ds.pympnode.plot`` (see `pympnode.plotting.accessor`); matplotlib is imported with the
first picture.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from . import accessor as accessor  # registers ds.pympnode

_HOME = {
    "prediction": "trajectories",
    "parity": "trajectories",
    "phase_portrait": "phase",
    "message_norms": "messages",
    "training_curves": "training",
    "error_over_time": "errors",
    "error_by_degree": "errors",
    "observables": "observed",
    "comparison": "comparisons",
    "graph_state": "graph_drawing",
    "grid_state": "grid_drawing",
    "animate": "animation",
    "particle_trajectories": "particles",
    "conservation": "particles",
    "scaling": "particles",
    "animate_particles": "particles",
    "hierarchy_of": "cells",
    "particle_error_over_time": "particle_errors",
    "error_over_particles": "particle_errors",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
