"""Matrix products of particle networks: which library computes them, and on how many rows.

torch gives float32 products on a CPU to MKL, which takes its AVX2 paths on processors of other makers
than Intel; oneDNN, the other library in torch, takes AVX-512 on all of them, in half the time. oneDNN
prepares a program for every new number of rows (half a millisecond, as much as a product of two
thousand rows), and a graph has another number of edges at every step: row counts are therefore rounded
up, so that few shapes occur. oneDNN serves float32 where it has AVX-512, and torch's own choice
everything else.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor

ROWS = 128  # products have a multiple of this many rows
# Weights from which `linear` takes oneDNN: at width 64 padding the rows costs what the product saves.
_MIN_WEIGHTS = 96 * 96


def padded(rows: int) -> int:
    """The number of rows of a product over ``rows`` edges or nodes: a multiple of `ROWS`."""
    return -(-rows // ROWS) * ROWS


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x (row, in) times the transpose of weight (out, in), in a new tensor (row, out)."""
    return _by_onednn(x, weight) if _suits_onednn(x) else torch.mm(x, weight.t())


def affine_relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """relu(x weight^T + bias) (row, out), in a new tensor."""
    if _suits_onednn(x):
        # oneDNN's own ReLU turns NaN into zero, and a diverged model would look healthy.
        return _by_onednn(x, weight, bias).relu_()
    # addmm would copy the bias over the whole output first.
    return torch.mm(x, weight.t()).add_(bias).relu_()


def outer_product(left: Tensor, right: Tensor) -> Tensor:
    """left^T right (out, in) of left (row, out) and right (row, in)."""
    return product(left.t(), right.t())


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear` of x (row, in), differentiable any number of times."""
    if x.shape[0] >= 2 * ROWS and weight.numel() >= _MIN_WEIGHTS and _suits_onednn(x):
        return _Linear.apply(x, weight, bias)
    return torch.nn.functional.linear(x, weight, bias)


class _Linear(torch.autograd.Function):
    """x weight^T + bias; its gradients are products of this module, and differentiable again."""

    @staticmethod
    def forward(ctx: Any, x, weight, bias):
        ctx.save_for_backward(x, weight)
        return _by_onednn(_pad_rows(x), weight, bias)[: x.shape[0]]

    @staticmethod
    def backward(ctx: Any, grad_output):  # type: ignore[override]
        x, weight = ctx.saved_tensors
        grad_x = linear(grad_output, weight.t()) if ctx.needs_input_grad[0] else None
        grad_weight = _Outer.apply(grad_output, x) if ctx.needs_input_grad[1] else None
        grad_bias = grad_output.sum(0) if ctx.needs_input_grad[2] else None
        return grad_x, grad_weight, grad_bias


class _Outer(torch.autograd.Function):
    """left^T right."""

    @staticmethod
    def forward(ctx: Any, left, right):
        ctx.save_for_backward(left, right)
        return outer_product(_pad_rows(left), _pad_rows(right))

    @staticmethod
    def backward(ctx: Any, grad_output):  # type: ignore[override]
        left, right = ctx.saved_tensors
        grad_left = linear(right, grad_output) if ctx.needs_input_grad[0] else None
        grad_right = linear(left, grad_output.t()) if ctx.needs_input_grad[1] else None
        return grad_left, grad_right


def _pad_rows(x: Tensor) -> Tensor:
    """x with rows of zero appended up to the number of rows that products have."""
    more = padded(x.shape[0]) - x.shape[0]
    return torch.cat([x, x.new_zeros(more, x.shape[1])]) if more else x


def _suits_onednn(x: Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu" and _onednn() is not None


def _by_onednn(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    if not (weight.is_contiguous() or weight.t().is_contiguous()):
        # Columns of a wider matrix: oneDNN would take its scalar reference loops.
        weight = weight.contiguous()
    return _onednn()(x, weight, bias, "none", [], "")


@cache
def _onednn() -> Any:
    """oneDNN's product, or None where torch or the processor lacks it.

    A private name of torch: its compiler (inductor) has called it since torch 2.0, and no public
    function reaches oneDNN's float32 product past MKL. A torch without it takes its own products.
    """
    mkldnn = torch.backends.mkldnn
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or not mkldnn.is_available():
        return None
    return getattr(torch.ops.mkldnn, "_linear_pointwise", None)
