"""Engines: what turns a specification and a parameter vector into rollouts, losses, gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import unknown_name

if TYPE_CHECKING:
    from .base import Engine

NAMES = ("torch", "julia")


def engine(name: str) -> Engine:
    """The engine of that name ("torch", "julia"); imported when it is first asked for."""
    if name == "torch":
        from .torch.engine import TorchEngine

        return TorchEngine()
    raise unknown_name("engine", name, ("auto", "torch"))


def choose(name: str = "auto") -> tuple[str, str]:
    """(engine, why) for ``name`` = "auto" | "torch"."""
    if name == "auto":
        return "torch", "the embedded engine runs every model and needs nothing else"
    if name == "torch":
        return "torch", "asked for"
    raise unknown_name("engine", name, ("auto", "torch"))
