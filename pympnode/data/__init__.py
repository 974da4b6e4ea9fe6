"""Making data: integration, seeds and blocks, normalisation.

The functions that share their module's name are imported from it:
``from pympnode.data.generate import generate``, ``from pympnode.data.integrate import integrate``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOME = {
    "Generated": "generate",
    "Normalisation": "normalise",
    "Solution": "integrate",
    "open_parts": "parts",
    "simulate_particles": "particles",
    "split_trajectories": "generate",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(import_module(f"pympnode.data.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
