"""The edge sum in chunks of edges, in torch alone: any device, any floating type.

Each chunk goes through gather, product and sum while it is in the cache; the way back is written by hand
and keeps the two layers behind their ReLU, or makes them again. Gradients pass as in `edge_block`: to
the node values and the weights, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .kernel_eager import OnceDifferentiable
from .products import affine_relu, outer_product, padded, product

# Edges. A CPU wants a chunk in its cache (150 floats an edge are 1.2 MB), a GPU wants all its cores busy.
CHUNK = {"cpu": 2048, "cuda": 65_536}


class ChunkedEdgeSum(OnceDifferentiable):
    """`EdgeSum` over chunks, in torch (ReLU).

    ``recompute``: both layers are made again on the way back instead of kept (less memory).
    ``low``: products take numbers rounded to bfloat16; sums and all else stay in the given type.
    """

    def __init__(self, *, recompute: bool = False, low: bool = False) -> None:
        self.recompute, self.low = recompute, low

    def summed(self, *given: Tensor, balanced: bool) -> Tensor:
        """See `OnceDifferentiable`."""
        return _EdgeSum.apply(*given, self.recompute, self.low, balanced)


class _Layers:
    """The two layers of an edge network on a chunk, in buffers that serve for all chunks."""

    def __init__(self, given: Sequence[Tensor], low: bool) -> None:
        first, second, geometry, geometry_weight, weight, bias, s, r = given
        self.first, self.second, self.geometry = first, second, geometry
        self.rows, self.s, self.r = geometry_weight.t(), s, r
        self.low, self.bias = low, bias
        self.weight = weight.bfloat16() if low else weight
        edges, width = s.shape[0], first.shape[1]
        self.chunk = min(CHUNK.get(first.device.type, CHUNK["cuda"]), padded(max(edges, 1)))
        self.own, self.other = (first.new_empty(self.chunk, width) for _ in range(2))

    def parts(self) -> list[slice]:
        """The edges of each chunk."""
        edges = self.s.shape[0]
        return [slice(at, min(at + self.chunk, edges)) for at in range(0, edges, self.chunk)]

    def inner(self, part: slice, keep: bool) -> Tensor:
        """The first layer (row, width) in the type of the products, with rows of zero at its end."""
        count = part.stop - part.start
        rows = padded(count)
        x = self.first.new_empty(rows, self.own.shape[1]) if keep else self.own[:rows]
        y = self.other[:count]
        torch.index_select(self.first, 0, self.s[part], out=x[:count])
        torch.index_select(self.second, 0, self.r[part], out=y)
        x[:count].add_(y).addmm_(self.geometry[part], self.rows).relu_()
        x[count:].zero_()
        return x.bfloat16() if self.low else x

    def message(self, inner: Tensor) -> Tensor:
        """The second layer (row, out) in the type of the sums."""
        if self.low:
            return product(inner, self.weight).to(self.bias.dtype).add_(self.bias).relu_()
        return affine_relu(inner, self.weight, self.bias)


class _EdgeSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *call: Any):
        *given, recompute, low, balanced = call
        layers = _Layers(given, low)
        _, second, *_, bias, s, r = given
        training = any(ctx.needs_input_grad)
        keep = training and not recompute
        kept: list[Tensor] = []
        total = second.new_zeros(second.shape[0], bias.shape[0])
        for part in layers.parts():
            inner = layers.inner(part, keep and not low)
            message = layers.message(inner)
            count = part.stop - part.start
            total.index_add_(0, r[part], message[:count])
            if balanced:
                total.index_add_(0, s[part], message[:count], alpha=-1)
            if keep:
                kept += (inner, message.bfloat16() if low else message)
        if training:
            ctx.low, ctx.balanced = low, balanced
            ctx.save_for_backward(*given, *kept)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope):  # type: ignore[override]
        low, given, kept = ctx.low, ctx.saved_tensors[:8], ctx.saved_tensors[8:]
        layers = _Layers(given, low)
        first, second, geometry, geometry_weight, weight, bias, s, r = given
        of_first, of_second = torch.zeros_like(first), torch.zeros_like(second)
        of_rows, of_weight = torch.zeros_like(geometry_weight), torch.zeros_like(weight)
        of_bias = torch.zeros_like(bias)
        real = layers.weight.dtype
        if not ctx.balanced:  # rounded before it is gathered: the same numbers, on fewer rows
            slope = slope.to(real)
        outer = slope.new_empty(layers.chunk, bias.shape[0])
        taken = torch.empty_like(outer) if ctx.balanced else None
        back_weight = layers.weight.t()
        for number, part in enumerate(layers.parts()):
            count = part.stop - part.start
            rows = padded(count)
            if kept:
                inner, message = kept[2 * number : 2 * number + 2]
            else:
                inner = layers.inner(part, False)
                message = layers.message(inner).to(real)
            torch.index_select(slope, 0, r[part], out=outer[:count])
            if taken is not None:
                outer[:count] -= torch.index_select(slope, 0, s[part], out=taken[:count])
            outer[count:rows].zero_()
            here = _where_positive(outer[:rows].to(real), message)
            of_bias += here.sum(0, dtype=bias.dtype)
            of_weight += outer_product(here, inner)
            back = _where_positive(product(here, back_weight), inner)[:count].to(first.dtype)
            of_first.index_add_(0, s[part], back)
            of_second.index_add_(0, r[part], back)
            of_rows.addmm_(back.t(), geometry[part])
        return (of_first, of_second, None, of_rows, of_weight, of_bias, *(None,) * 5)


def _where_positive(slope: Tensor, value: Tensor) -> Tensor:
    """``slope`` where ``value`` > 0, in its place."""
    return torch.ops.aten.threshold_backward.grad_input(slope, value, 0, grad_input=slope)
