"""Which kernel sums over the edges of a model, and in which precision its products are."""

from __future__ import annotations

import torch

from ...errors import EngineUnavailable, InvalidOption, unknown_name
from ..spec import ParticleSpec
from .kernel_eager import EdgeSum, plain_edge_sum

KERNELS = ("auto", "compiled", "recompute", "chunked", "eager")
PRECISIONS = ("float32", "float64", "bf16")


def precision_of(name: str | None, dtype: str) -> str:
    """Precision of products over edges: that of ``dtype``, or "bf16": factors rounded to bfloat16,
    all else float32. Raises UnknownName, InvalidOption."""
    if name is not None and name not in PRECISIONS:
        raise unknown_name("precision of products", name, PRECISIONS)
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
    kernel: str, spec: ParticleSpec, device: torch.device, *, low: bool = False
) -> tuple[str, EdgeSum]:
    """(name, sum over edges) of a kernel; ``low``: with products in bfloat16.

    "compiled": chunks of edges, numba; DeltaGN on a CPU. "chunked": the same in torch; DeltaGN on any
    device. "recompute": one of these two, with less memory while training. "eager": plain
    torch, any model. "auto": compiled on a CPU, chunked elsewhere, eager for HOGN. Raises
    UnknownName, EngineUnavailable.
    """
    if kernel not in KERNELS:
        raise unknown_name("kernel of particles", kernel, KERNELS)
    deltagn = spec.family == "deltagn"
    if low and (kernel == "eager" or not deltagn):
        raise EngineUnavailable(
            "products in bfloat16 are those of DeltaGN's kernels",
            got=f'precision="bf16" for {spec.family} with kernel={kernel!r}',
            allowed="a DeltaGN with another kernel than eager",
            fix="leave precision= out",
        )
    if kernel == "eager" or (kernel == "auto" and not deltagn):
        return "eager", plain_edge_sum
    on_cpu = device.type == "cpu"
    if not deltagn or (kernel == "compiled" and not on_cpu):
        raise EngineUnavailable(
            f"the kernel {kernel!r} cannot run this model here",
            got=f"{spec.family} on {device}",
            allowed='DeltaGN ("compiled": on a CPU); kernel="eager" runs all',
            fix='leave kernel="auto"',
        )
    recompute = kernel == "recompute"
    if kernel != "chunked" and on_cpu:
        from .kernel_numba import CompiledEdgeSum

        compiled = CompiledEdgeSum(recompute=recompute, low=low)
        return ("recompute" if recompute else "compiled"), compiled
    from .kernel_torch import ChunkedEdgeSum

    chunked = ChunkedEdgeSum(recompute=recompute, low=low)
    return ("recompute" if recompute else "chunked"), chunked


def kernel_named(name: str) -> tuple[str, bool]:
    """(kernel, recompute) of the name of a kernel. Raises UnknownName."""
    if name not in KERNELS:
        raise unknown_name("kernel of particles", name, KERNELS)
    return name, False
