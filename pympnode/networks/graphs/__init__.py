"""Topologies of networks by name, and the published graphs and frequencies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

if TYPE_CHECKING:
    from .instances import published_graph, published_omega
    from .topology import TOPOLOGIES, resolve

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "instances": ["published_graph", "published_omega"],
        "topology": ["TOPOLOGIES", "resolve"],
    },
)
