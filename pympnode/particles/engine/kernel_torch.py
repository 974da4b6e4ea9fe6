"""The edge sum in chunks of edges, in torch alone: any device, any floating type.

A chunk is gathered, multiplied and summed while it is in the cache. The backward pass is written by
hand; it reads both layers behind their ReLU from memory, or computes them again. Gradients pass as in
`kernel_numba`: once, to the node values and the weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .kernel_eager import EdgeInputs, OnceDifferentiable
from .products import affine_relu, outer_product, padded, product

# Edges per chunk. A CPU wants a chunk in its cache (150 floats per edge are 1.2 MB), a GPU wants all
# its cores busy.
CHUNK = {"cpu": 2048, "cuda": 65_536}


class TorchEdgeSum(OnceDifferentiable):
    """`EdgeSum` over chunks, in torch (ReLU).

    ``recompute``: the backward pass computes both layers again, which takes less memory than keeping
    them. ``bf16``: products take numbers rounded to bfloat16; sums and all else keep their type.
    """

    def __init__(self, *, recompute: bool = False, bf16: bool = False) -> None:
        self.recompute, self.bf16 = recompute, bf16

    def relu_sum(self, inputs: EdgeInputs, antisymmetric: bool) -> Tensor:
        """See `OnceDifferentiable`."""
        return _EdgeSum.apply(*inputs, self.recompute, self.bf16, antisymmetric)


class _Layers:
    """The two layers of an edge network on a chunk, in buffers that all chunks share."""

    def __init__(self, inputs: EdgeInputs, bf16: bool) -> None:
        self.inputs, self.bf16 = inputs, bf16
        self.feature_weight = inputs.feature_weight.t()
        self.weight = inputs.weight.bfloat16() if bf16 else inputs.weight
        edges, width = inputs.sender.shape[0], inputs.first.shape[1]
        self.chunk = min(CHUNK.get(inputs.first.device.type, CHUNK["cuda"]), padded(max(edges, 1)))
        self.inner_buffer, self.receiver_buffer = (
            inputs.first.new_empty(self.chunk, width) for _ in range(2)
        )

    def chunks(self) -> list[slice]:
        """The edges of each chunk."""
        edges = self.inputs.sender.shape[0]
        return [slice(at, min(at + self.chunk, edges)) for at in range(0, edges, self.chunk)]

    def inner(self, chunk: slice, keep: bool) -> Tensor:
        """The first layer (row, width) in the type of the products; rows beyond the edges are zero.

        ``keep``: in memory of its own, not in the shared buffer.
        """
        first, second, edge_features, *_, sender, receiver, _ = self.inputs
        count = chunk.stop - chunk.start
        rows = padded(count)
        x = first.new_empty(rows, first.shape[1]) if keep else self.inner_buffer[:rows]
        y = self.receiver_buffer[:count]
        torch.index_select(first, 0, sender[chunk], out=x[:count])
        torch.index_select(second, 0, receiver[chunk], out=y)
        x[:count].add_(y).addmm_(edge_features[chunk], self.feature_weight).relu_()
        # The weight gradient sums over all rows: those without an edge must not add to it.
        x[count:].zero_()
        return x.bfloat16() if self.bf16 else x

    def message(self, inner: Tensor) -> Tensor:
        """The second layer (row, out) in the type of the sums."""
        bias = self.inputs.bias
        if self.bf16:
            return product(inner, self.weight).to(bias.dtype).add_(bias).relu_()
        return affine_relu(inner, self.weight, bias)


class _EdgeSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any):
        *tensors, recompute, bf16, antisymmetric = arguments
        inputs = EdgeInputs(*tensors)
        layers = _Layers(inputs, bf16)
        training = any(ctx.needs_input_grad)
        keep = training and not recompute
        kept: list[Tensor] = []
        total = inputs.second.new_zeros(inputs.second.shape[0], inputs.bias.shape[0])
        for chunk in layers.chunks():
            # A bfloat16 copy is new memory by itself.
            inner = layers.inner(chunk, keep and not bf16)
            message = layers.message(inner)
            count = chunk.stop - chunk.start
            weighted = message[:count]
            if inputs.factor is not None:
                weighted = weighted * inputs.factor[chunk, None]
            total.index_add_(0, inputs.receiver[chunk], weighted)
            if antisymmetric:
                total.index_add_(0, inputs.sender[chunk], weighted, alpha=-1)
            if keep:
                kept += (inner, message.bfloat16() if bf16 else message)
        if training:
            ctx.bf16, ctx.antisymmetric = bf16, antisymmetric
            ctx.save_for_backward(*inputs, *kept)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output):  # type: ignore[override]
        n_inputs = len(EdgeInputs._fields)
        inputs, kept = EdgeInputs(*ctx.saved_tensors[:n_inputs]), ctx.saved_tensors[n_inputs:]
        layers = _Layers(inputs, ctx.bf16)
        first, second, edge_features, feature_weight, weight, bias, sender, receiver, factor = (
            inputs
        )
        grad_first, grad_second = torch.zeros_like(first), torch.zeros_like(second)
        grad_feature_weight, grad_weight = (
            torch.zeros_like(feature_weight),
            torch.zeros_like(weight),
        )
        grad_bias = torch.zeros_like(bias)
        factor_type = layers.weight.dtype
        if not ctx.antisymmetric and factor is None:
            # Rounding before the gather gives the same numbers, and nodes are fewer than edges. A
            # difference of two ends has to be taken before it is rounded, and so has a product.
            grad_output = grad_output.to(factor_type)
        grad_message = grad_output.new_empty(layers.chunk, bias.shape[0])
        grad_sender = torch.empty_like(grad_message) if ctx.antisymmetric else None
        weight_t = layers.weight.t()
        for number, chunk in enumerate(layers.chunks()):
            count = chunk.stop - chunk.start
            rows = padded(count)
            if kept:
                inner, message = kept[2 * number : 2 * number + 2]
            else:
                inner = layers.inner(chunk, False)
                message = layers.message(inner).to(factor_type)
            torch.index_select(grad_output, 0, receiver[chunk], out=grad_message[:count])
            if grad_sender is not None:
                grad_message[:count] -= torch.index_select(
                    grad_output, 0, sender[chunk], out=grad_sender[:count]
                )
            if factor is not None:
                grad_message[:count] *= factor[chunk, None]
            grad_message[count:rows].zero_()
            grad_outer = _where_positive(grad_message[:rows].to(factor_type), message)
            grad_bias += grad_outer.sum(0, dtype=bias.dtype)
            grad_weight += outer_product(grad_outer, inner)
            grad_inner = _where_positive(product(grad_outer, weight_t), inner)
            grad_inner = grad_inner[:count].to(first.dtype)
            grad_first.index_add_(0, sender[chunk], grad_inner)
            grad_second.index_add_(0, receiver[chunk], grad_inner)
            grad_feature_weight.addmm_(grad_inner.t(), edge_features[chunk])
        # None: edge features, the two ends, factors, and the three options have no gradient here.
        grads = grad_first, grad_second, None, grad_feature_weight, grad_weight, grad_bias
        return *grads, *(None,) * 6


def _where_positive(grad: Tensor, value: Tensor) -> Tensor:
    """``grad`` where ``value`` > 0 and 0 elsewhere, written over ``grad``.

    The derivative of ReLU at 0 is 0, as in ``torch.relu``.
    """
    # One pass, without a mask in memory: the out= overload of the native function behind the gradient
    # of torch's own ReLU. torch documents no operators under torch.ops; 2.4, the oldest that pympnode
    # takes, has this one. A torch without it makes the mask.
    if _THRESHOLD is None:
        return grad.masked_fill_(value <= 0, 0)
    return _THRESHOLD(grad, value, 0, grad_input=grad)


_THRESHOLD: Any = getattr(torch.ops.aten.threshold_backward, "grad_input", None)
