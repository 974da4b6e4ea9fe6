"""Graphs of other programs and files: `read_graph`, and `read_pandapower` of power grids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

if TYPE_CHECKING:
    from .labelled import LabelledGraph
    from .power_grids import PowerGrid, read_pandapower
    from .reading import read_graph

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "labelled": ["LabelledGraph"],
        "power_grids": ["PowerGrid", "read_pandapower"],
        "reading": ["read_graph"],
    },
)
