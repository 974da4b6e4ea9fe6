"""The kernels of the torch engine: their names and modules."""

from __future__ import annotations

from types import ModuleType

# Keyword of the user to module in this package.
KERNELS = {"numba": "kernel_numba.run", "torch": "kernel_torch.run", "eager": "kernel_eager"}


def name_of(kernel: ModuleType) -> str:
    """The keyword of a kernel module: "numba", "torch" or "eager"."""
    return next(name for name, module in KERNELS.items() if kernel.__name__.endswith("." + module))
