"""Graphs of particles: boxes, cells, trees, nearest neighbours, all pairs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

if TYPE_CHECKING:
    from .box import Box, as_box
    from .cells import Hierarchy, Level
    from .connect import connection
    from .neighbours import ParticleEdges, fully_connected, nearest_neighbours
    from .tree import hierarchy

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "box": ["Box", "as_box"],
        "cells": ["Hierarchy", "Level"],
        "connect": ["connection"],
        "neighbours": ["ParticleEdges", "fully_connected", "nearest_neighbours"],
        "tree": ["hierarchy"],
    },
)
