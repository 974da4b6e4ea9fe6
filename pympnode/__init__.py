"""pympnode: learned modular simulators of coupled dynamical systems.

``train``, ``finetune``, ``sweep``, ``simulate``, ``evaluate``, ``load``, ``from_arrays``, ``from_frame``
and ``from_particles`` do the work; data are `xarray.Dataset` objects as `pympnode.networks.schema` and
`pympnode.particles.schema` describe them. Everything is imported on first use, so that
``import pympnode`` costs little more than ``import xarray``.
"""

from __future__ import annotations

import logging as _logging
import sys as _sys
from typing import TYPE_CHECKING, Any

import lazy_loader as _lazy

from . import _moved
from .datasets import accessor as _accessor  # registers ds.pympnode
from .version import __version__ as __version__

if TYPE_CHECKING:
    from ._api import evaluate, finetune, identify, interval, load, simulate, train
    from .config import TrainConfig
    from .datasets.saving import save_dataset
    from .datasets.stores import read_jld2
    from .errors import PympnodeError, PympnodeWarning
    from .experiments.sweeping import sweep
    from .graph import Graph
    from .halves import open_dataset
    from .networks.from_arrays import from_arrays
    from .networks.from_frame import from_frame
    from .networks.hybrid import couple
    from .networks.model import Model
    from .networks.node_types import nodes_of_type
    from .networks.own_module import register_module
    from .networks.readers.reading import read_graph
    from .networks.spec import ModelSpec
    from .networks.subgraph import subgraph
    from .networks.systems.user import own_system
    from .networks.velocities import with_velocities
    from .particles.from_particles import from_particles
    from .particles.model import ParticleModel
    from .particles.spec import ParticleSpec
    from .pretrained_models import pretrained
    from .systems.base import System
    from .systems.registry import register
    from .training.result import Result

_lazy_getattr, _lazy_dir, __all__ = _lazy.attach(
    __name__,
    submodules=(
        "callbacks",
        "errors",
        "experiments",
        "losses",
        "networks",
        "particles",
        "plotting",
        "pretrained_models",
        "systems",
    ),
    submod_attrs={
        "_api": ["evaluate", "finetune", "identify", "interval", "load", "simulate", "train"],
        "config": ["TrainConfig"],
        "datasets.saving": ["save_dataset"],
        "datasets.stores": ["read_jld2"],
        "errors": ["PympnodeError", "PympnodeWarning"],
        "experiments.sweeping": ["sweep"],
        "graph": ["Graph"],
        "halves": ["open_dataset"],
        "networks.from_arrays": ["from_arrays"],
        "networks.from_frame": ["from_frame"],
        "networks.hybrid": ["couple"],
        "networks.model": ["Model"],
        "networks.readers.reading": ["read_graph"],
        "networks.node_types": ["nodes_of_type"],
        "networks.own_module": ["register_module"],
        "networks.spec": ["ModelSpec"],
        "networks.subgraph": ["subgraph"],
        "networks.systems.user": ["own_system"],
        "networks.velocities": ["with_velocities"],
        "particles.from_particles": ["from_particles"],
        "particles.model": ["ParticleModel"],
        "particles.spec": ["ParticleSpec"],
        "pretrained_models": ["pretrained"],
        "systems.base": ["System"],
        "systems.registry": ["register"],
        "training.result": ["Result"],
    },
)
__all__ = sorted([*__all__, "__version__"])

_logging.getLogger("pympnode").addHandler(_logging.NullHandler())
_sys.meta_path.append(_moved.FINDER)


def __getattr__(name: str) -> Any:
    if f"{__name__}.{name}" in _moved.MOVED:
        return _moved.load(f"{__name__}.{name}")
    return _lazy_getattr(name)


def __dir__() -> list[str]:
    return __all__
