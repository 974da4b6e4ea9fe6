"""The kernels of the torch engine: their names, and the modules that hold them."""

from __future__ import annotations

from types import ModuleType

KERNELS = {"numba": "compiled", "torch": "adjoint", "eager": "eager"}
"""What users call a kernel to its module in this package."""


def name_of(kernel: ModuleType) -> str:
    """What users call a kernel module: "numba", "torch" or "eager"."""
    stem = kernel.__name__.rsplit(".", 1)[-1]
    return next(name for name, module in KERNELS.items() if module == stem)
