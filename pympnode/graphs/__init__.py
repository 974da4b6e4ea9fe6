"""Graphs, topologies and the published instances."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "nearest_neighbours": "neighbours",
    "hierarchy": "tree",
    "fully_connected": "neighbours",
    "connection": "connect",
    "as_box": "box",
    "ParticleEdges": "neighbours",
    "Level": "cells",
    "Hierarchy": "cells",
    "Box": "box",
    "Graph": "graph",
    "TOPOLOGIES": "topology",
    "resolve": "topology",
    "published_graph": "instances",
    "published_omega": "instances",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"pympnode.graphs.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
