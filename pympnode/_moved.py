"""Old module paths of version 0.1: each import warns and serves the names from where they are now.

They go with version 0.3.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_NAMES = ("datasets.names", "datasets.record", "graph")
# Old module (below pympnode) -> the modules that hold its names now; names are looked up in order.
_OLD: dict[str, tuple[str, ...]] = {
    "data": (
        "networks.generate", "networks.integrate", "networks.normalise", "particles.simulate",
        "datasets.parts", "datasets.split",
    ),
    "data.generate": ("networks.generate", "datasets.split"),
    "data.integrate": ("networks.integrate",),
    "data.leapfrog": ("particles.leapfrog",),
    "data.normalise": ("networks.normalise",),
    "data.particles": ("particles.simulate",),
    "data.parts": ("datasets.parts",),
    "data.recipe": ("particles.recipe",),
    "engines": ("networks.engines",),
    "engines.base": ("networks.engines.base",),
    "engines.julia.engine": ("networks.engines.julia.engine",),
    "engines.torch.engine": ("networks.engines.torch.engine",),
    "evaluation": (),
    "evaluation.baselines": ("networks.baselines",),
    "evaluation.metrics": ("networks.evaluate",),
    "evaluation.observables": ("networks.observables",),
    "evaluation.particle_models": ("particles.evaluate",),
    "evaluation.particles": ("particles.metrics",),
    "graphs": (
        "graph", "networks.graphs.topology", "networks.graphs.instances", "particles.graphs.box",
        "particles.graphs.cells", "particles.graphs.connect", "particles.graphs.neighbours",
        "particles.graphs.tree",
    ),
    "graphs.box": ("particles.graphs.box",),
    "graphs.cells": ("particles.graphs.cells",),
    "graphs.graph": ("graph",),
    "graphs.instances": ("networks.graphs.instances",),
    "graphs.neighbours": ("particles.graphs.neighbours",),
    "graphs.topology": ("networks.graphs.topology",),
    "graphs.tree": ("particles.graphs.tree",),
    "mixed": ("networks.hybrid",),
    "model": ("networks.model",),
    "models": (),
    "models.layout": ("networks.weights", "layout"),
    "models.particle_layout": ("particles.weights",),
    "models.particle_spec": ("particles.spec",),
    "models.spec": ("networks.spec",),
    "particle_fitting": ("_api",),
    "particle_model": ("particles.model", "particles.ranges"),
    "particle_presets": ("particles.presets",),
    "particle_schema": ("particles.schema", *_NAMES),
    "ranges": ("networks.ranges", "training.ranges"),
    "result": ("training.result",),
    "schema": ("networks.schema", *_NAMES),
    "storage": ("files.netcdf",),
    "systems.coulomb": ("particles.systems.coulomb",),
    "systems.gene": ("networks.systems.gene",),
    "systems.gravity": ("particles.systems.gravity",),
    "systems.heat": ("networks.systems.heat",),
    "systems.kuramoto": ("networks.systems.kuramoto",),
    "systems.lorenz": ("networks.systems.lorenz",),
    "systems.own": ("networks.systems.user",),
    "systems.particles": ("particles.systems.base",),
    "systems.pendulum": ("networks.systems.pendulum",),
    "systems.starts": ("particles.systems.starts",),
    "training.step_task": ("particles.task",),
    "training.tasks": ("networks.task", "training.task"),
}  # fmt: skip
MOVED = {
    f"{__package__}.{old}": tuple(f"{__package__}.{new}" for new in now)
    for old, now in {"engines.julia": (), "engines.torch": (), **_OLD}.items()
}
# Old name -> its module and its name now, where the name changed with the move.
_RENAMED = {
    "evaluation.particles.knows_law": ("particles.schema", "has_known_forces"),
    "particle_fitting.train_particles": ("_api", "train"),
    "particle_presets.ParticlePreset": ("config", "Preset"),
    "systems.gene.mean_expression": ("systems.base", "node_mean"),
    "systems.heat.mean_temperature": ("systems.base", "node_mean"),
    "systems.own.OwnSystem": ("networks.systems.user", "UserSystem"),
}


class _Moved(ModuleType):
    """A module that serves the names of others."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # importlib reads __path__, which must not be that of the target
            raise AttributeError(name)
        renamed = _RENAMED.get(f"{self.__name__.partition('.')[2]}.{name}")
        if renamed:
            return getattr(import_module(f"{__package__}.{renamed[0]}"), renamed[1])
        for target in MOVED[self.__name__]:
            module = import_module(target)
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class _Finder(MetaPathFinder, Loader):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return ModuleSpec(fullname, self, is_package=True) if fullname in MOVED else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Moved(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        now = MOVED[module.__name__]
        if now:
            warnings.warn(
                f"{module.__name__} has moved; its names are in {', '.join(now)}",
                DeprecationWarning,
                stacklevel=_callers_level(),
            )


FINDER = _Finder()


def load(name: str) -> ModuleType:
    """The module that stands for an old path."""
    return import_module(name)


def _callers_level() -> int:
    """The stack level of the import statement: the first frame outside importlib and this file."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and (
        frame.f_code.co_filename == __file__ or "importlib" in frame.f_code.co_filename
    ):
        frame, level = frame.f_back, level + 1
    return level
