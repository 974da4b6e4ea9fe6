"""Dynamical systems: the base class, and systems by name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import lazy_loader as _lazy

if TYPE_CHECKING:
    from .base import Observable, Parameter, System, Variable
    from .registry import get, names, register

_lazy_getattr, __dir__, __all__ = _lazy.attach(
    __name__,
    submod_attrs={
        "base": ["Observable", "Parameter", "System", "Variable"],
        "registry": ["get", "names", "register"],
    },
)


def __getattr__(name: str) -> Any:
    if name == "own_system":  # its place in version 0.1
        import warnings

        from .._moved import load

        warnings.warn(
            "pympnode.systems.own_system is now pympnode.own_system",
            DeprecationWarning,
            stacklevel=2,
        )
        return load("pympnode.networks.systems.user").own_system
    return _lazy_getattr(name)
