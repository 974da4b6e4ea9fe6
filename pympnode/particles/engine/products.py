"""Matrix products of particle networks: which library computes them, and on how many rows.

torch gives float32 products on a CPU to MKL, which takes its AVX2 paths on processors of another maker;
oneDNN, the other library in torch, takes AVX-512 on all of them, in half the time. It prepares a program
for every new number of rows (half a millisecond, as much as a product of two thousand rows), and graphs
have another number of edges at every step: so rows are rounded up, and few shapes are met. oneDNN
serves float32 where it has AVX-512, and torch's own choice everything else.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

ROWS = 128  # products have a multiple of this many rows
# Weights that `linear` wants: at width 64 the longer rows cost what the faster product saves.
_LEAST = 96 * 96


def padded(rows: int) -> int:
    """Rows that a product over so many edges or nodes has."""
    return -(-rows // ROWS) * ROWS


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x (row, in) times the transpose of weight (out, in), in a new tensor (row, out)."""
    return _by_onednn(x, weight) if _suits(x) else torch.mm(x, weight.t())


def affine_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """relu(x weight^T + bias) (row, out), in a new tensor."""
    if _suits(x):
        return _by_onednn(x, weight, bias).relu_()  # its own ReLU makes zeros of NaN
    # addmm would copy the bias over the whole output first.
    return torch.mm(x, weight.t()).add_(bias).relu_()


def outer_product(left: Tensor, right: Tensor) -> Tensor:
    """left^T right (out, in) of left (row, out) and right (row, in)."""
    return product(left.t(), right.t())


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` for x (row, in), differentiable as often as one likes."""
    if x.shape[0] >= 2 * ROWS and weight.numel() >= _LEAST and _suits(x):
        return _Linear.apply(x, weight, bias)
    return torch.nn.functional.linear(x, weight, bias)


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return _by_onednn(_longer(x), weight, bias)[: x.shape[0]]

    @staticmethod
    def backward(ctx: Any, slope):  # type: ignore[override]
        x, weight = ctx.saved_tensors
        of_x = linear(slope, weight.t()) if ctx.needs_input_grad[0] else None
        of_weight = _Outer.apply(slope, x) if ctx.needs_input_grad[1] else None
        of_bias = slope.sum(0) if ctx.needs_input_grad[2] else None
        return of_x, of_weight, of_bias


class _Outer(torch.autograd.Function):
    """left^T right."""

    @staticmethod
    def forward(ctx: Any, left, right):
        ctx.save_for_backward(left, right)
        return outer_product(_longer(left), _longer(right))

    @staticmethod
    def backward(ctx: Any, slope):  # type: ignore[override]
        left, right = ctx.saved_tensors
        of_left = linear(right, slope) if ctx.needs_input_grad[0] else None
        of_right = linear(left, slope.t()) if ctx.needs_input_grad[1] else None
        return of_left, of_right


def _longer(x: Tensor) -> Tensor:
    """x with rows of zero up to the number that products have."""
    more = padded(x.shape[0]) - x.shape[0]
    return torch.cat([x, x.new_zeros(more, x.shape[1])]) if more else x


def _suits(x: Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu" and _onednn() is not None


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if not (weight.is_contiguous() or weight.t().is_contiguous()):
        weight = weight.contiguous()  # columns of a wider matrix: oneDNN would take scalar loops
    return _onednn()(x, weight, bias, "none", [], "")


@cache
def _onednn() -> Any:
    """oneDNN's product, or None: torch reaches it under a name that it does not promise to keep."""
    mkldnn = torch.backends.mkldnn
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not mkldnn.is_available():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)
