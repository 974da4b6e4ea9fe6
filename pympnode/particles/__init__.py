"""Particles: hierarchical graph networks (Martinkus, Lucchi, Perraudin, AAAI 2021)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

if TYPE_CHECKING:
    from . import graphs, readers, schema, systems
    from .model import ParticleModel
    from .spec import ParticleScales, ParticleSpec

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submodules=("graphs", "readers", "schema", "systems"),
    submod_attrs={"model": ["ParticleModel"], "spec": ["ParticleScales", "ParticleSpec"]},
)
