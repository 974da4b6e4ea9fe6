"""Which kernel sums over the edges of a model, and in which precision its products are."""

from __future__ import annotations

import warnings

import torch

from ...config import one_of
from ...errors import EngineUnavailable, InvalidOption, unknown_name
from ..spec import ParticleSpec
from .kernel_eager import EdgeSum, eager_edge_sum

KERNELS = ("auto", "eager", "torch", "numba")
PRECISIONS = ("float32", "float64", "bf16")
# Names of earlier versions: (kernel, recompute). Run folders and model files still hold them.
# "recompute" took the kernel that suits the device, which is what "auto" does.
_OLD_NAMES = {
    "compiled": ("numba", False),
    "chunked": ("torch", False),
    "recompute": ("auto", True),
}
_FILE_NAMES = {"eager": "eager", "torch": "chunked", "numba": "compiled"}


def kernel_named(name: str) -> tuple[str, bool]:
    """(kernel, recompute) of a name of `KERNELS`, or of an earlier version.

    "compiled" is ("numba", False), "chunked" ("torch", False) and "recompute" ("auto", True), each
    with a DeprecationWarning. Raises UnknownName for any other name.
    """
    if name in KERNELS:
        return name, False
    if name not in _OLD_NAMES:
        raise unknown_name("kernel of particles", name, KERNELS)
    kernel, recompute = _OLD_NAMES[name]
    now = "recompute=True" if recompute else f"kernel={kernel!r}"
    warnings.warn(f"kernel={name!r} is now {now}", DeprecationWarning, stacklevel=3)
    return kernel, recompute


def kernel_in_files(kernel: str, recompute: bool) -> str:
    """The name that run folders and model files store: that of the first version.

    A run is continued only by a call with equal stored options, so these names do not change.
    """
    return "recompute" if recompute else _FILE_NAMES[kernel]


def precision_of(name: str | None, dtype: str) -> str:
    """Precision of products over edges: ``dtype``, or "bf16".

    "bf16": the factors of products are rounded to bfloat16, all else is float32. Raises UnknownName,
    and InvalidOption for a precision that does not go with ``dtype``.
    """
    if name is not None:
        one_of("precision of products", name, PRECISIONS)
    if name is None or name == dtype:
        return dtype
    if (name, dtype) != ("bf16", "float32"):
        raise InvalidOption(
            f"products of {dtype} numbers are computed in {dtype}",
            got=f"precision={name!r} with dtype={dtype!r}",
            allowed='precision="bf16" with dtype="float32"',
            fix="leave precision= out, or give the dtype that goes with it",
        )
    return name


def edge_sum_of(
    kernel: str,
    spec: ParticleSpec,
    device: torch.device,
    *,
    recompute: bool = False,
    bf16: bool = False,
) -> tuple[str, EdgeSum]:
    """(name, sum over edges) of a kernel; the name is never "auto".

    "eager": plain torch, any model. "torch": chunks of edges in torch; DeltaGN on any device.
    "numba": the same, compiled, and the tables of radial messages (`radial_table`), of which the sum is
    no part; DeltaGN on a CPU. "auto": numba on a CPU, torch elsewhere, eager for HOGN, and for radial
    messages where there is no CPU. ``recompute``: the backward pass computes the layers of edges again
    instead of keeping them, which takes less memory; torch and numba without radial messages only.
    ``bf16``: products in bfloat16, likewise. Raises UnknownName, EngineUnavailable.
    """
    if kernel not in KERNELS:
        raise unknown_name("kernel of particles", kernel, KERNELS)
    deltagn = spec.family == "deltagn" and not spec.radial
    if kernel == "auto":
        kernel = ("numba" if device.type == "cpu" else "torch") if deltagn else "eager"
        if spec.radial and device.type == "cpu" and not recompute:
            kernel = "numba"
    if bf16 and (kernel == "eager" or not deltagn):
        raise EngineUnavailable(
            "products in bfloat16 are those of DeltaGN's kernels",
            got=f'precision="bf16" for {_what(spec)} with kernel={kernel!r}',
            allowed="a DeltaGN with another kernel than eager",
            fix="leave precision= out",
        )
    if recompute and kernel == "eager":
        raise EngineUnavailable(
            "the eager kernel keeps what its gradient needs",
            got=f'recompute=True for {_what(spec)} with kernel="eager"',
            allowed='DeltaGN with kernel="torch" or "numba"',
            fix="leave recompute= out",
        )
    if kernel == "eager":
        return "eager", eager_edge_sum
    if spec.radial and kernel == "numba" and device.type == "cpu" and not recompute:
        return "numba", eager_edge_sum
    if not deltagn or (kernel == "numba" and device.type != "cpu"):
        raise EngineUnavailable(
            f"the kernel {kernel!r} cannot run this model here",
            got=f"{_what(spec)} on {device}",
            allowed='DeltaGN on a CPU, and elsewhere without "numba" or radial messages; '
            'kernel="eager" runs all',
            fix='leave kernel="auto"',
        )
    if kernel == "numba":
        from .kernel_numba import NumbaEdgeSum

        return "numba", NumbaEdgeSum(recompute=recompute, bf16=bf16)
    from .kernel_torch import TorchEdgeSum

    return "torch", TorchEdgeSum(recompute=recompute, bf16=bf16)


def _what(spec: ParticleSpec) -> str:
    """The family of a model, and its messages where they decide which kernels it has."""
    return f"{spec.family} with radial messages" if spec.radial else spec.family
