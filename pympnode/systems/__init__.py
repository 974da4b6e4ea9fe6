"""Dynamical systems: what is simulated and learned."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Observable": "base",
    "Parameter": "base",
    "System": "base",
    "Variable": "base",
    "get": "registry",
    "names": "registry",
    "own_system": "own",
    "register": "registry",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"pympnode.systems.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
