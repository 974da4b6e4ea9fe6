"""pympnode: learned modular simulators of coupled dynamical systems.

``train``, ``finetune``, ``simulate``, ``evaluate``, ``load``, ``from_arrays``, ``from_frame`` and
``from_particles`` do the work; data are `xarray.Dataset` objects as `pympnode.schema` describes
them. Everything is imported on first use, so that ``import pympnode`` costs next to nothing.
"""

from __future__ import annotations

import logging as _logging
from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "train": "_api",
    "finetune": "_api",
    "simulate": "_api",
    "evaluate": "_api",
    "load": "_api",
    "from_arrays": "_api",
    "from_frame": "_api",
    "from_particles": "own_particles",
    "couple": "mixed",
    "Model": "model",
    "Result": "result",
    "ModelSpec": "models.spec",
    "ParticleModel": "particle_model",
    "ParticleSpec": "models.particle_spec",
    "TrainConfig": "config",
    "PympnodeError": "errors",
    "PympnodeWarning": "errors",
    "Graph": "graphs.graph",
    "System": "systems.base",
    "register": "systems.registry",
}
_ROOMS = (
    "graphs",
    "systems",
    "data",
    "plotting",
    "schema",
    "particle_schema",
    "errors",
    "evaluation",
    "experiments",
)

__all__ = [*_HOME, *_ROOMS, "__version__"]

if TYPE_CHECKING:
    from ._api import evaluate, finetune, from_arrays, from_frame, load, simulate, train
    from .config import TrainConfig
    from .errors import PympnodeError, PympnodeWarning
    from .graphs.graph import Graph
    from .mixed import couple
    from .model import Model
    from .models.particle_spec import ParticleSpec
    from .models.spec import ModelSpec
    from .own_particles import from_particles
    from .particle_model import ParticleModel
    from .result import Result
    from .systems.base import System
    from .systems.registry import register

_logging.getLogger("pympnode").addHandler(_logging.NullHandler())


def __getattr__(name: str) -> Any:
    if name in _HOME:
        value = getattr(_import_module(f"{__name__}.{_HOME[name]}"), name)
    elif name in _ROOMS:
        value = _import_module(f"{__name__}.{name}")
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
