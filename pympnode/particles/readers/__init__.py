"""Trajectories of other programs as datasets of particles: ASE, MDAnalysis, mdtraj, REBOUND."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

if TYPE_CHECKING:
    from .molecular import from_ase, from_mdanalysis, from_mdtraj
    from .orbits import from_rebound

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "molecular": ["from_ase", "from_mdanalysis", "from_mdtraj"],
        "orbits": ["from_rebound"],
    },
)
