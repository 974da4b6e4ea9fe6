"""Graphs of other programs and files: `read_graph`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

if TYPE_CHECKING:
    from .labelled import LabelledGraph
    from .reading import read_graph

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={"labelled": ["LabelledGraph"], "reading": ["read_graph"]},
)
