"""Networks: message passing neural ODEs on graphs (Gupta, Vemprala, Kapoor, NeurIPS 2022)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import lazy_loader as _lazy

if TYPE_CHECKING:
    from . import graphs, readers, schema, systems
    from .generate import Generated
    from .integrate import Solution
    from .model import Model
    from .normalise import Normalisation
    from .spec import ModelSpec

__getattr__, __dir__, __all__ = _lazy.attach(
    __name__,
    submodules=("graphs", "readers", "schema", "systems"),
    submod_attrs={
        "generate": ["Generated"],
        "integrate": ["Solution"],
        "model": ["Model"],
        "normalise": ["Normalisation"],
        "spec": ["ModelSpec"],
    },
)
