"""The edge sum in chunks, compiled: one pass over the edges before and one after each product.

The same function as `eager_edge_sum` for ReLU, on a CPU. Gradients pass once, to the node values and
the weights and not to the edge features; `eager_edge_sum` serves whatever needs more (HOGN, losses
over several steps).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .kernel_eager import EdgeInputs, OnceDifferentiable
from .products import outer_product, padded, product

CHUNK = 2048  # edges; two buffers of 150 floats each are 2.4 MB, which stay in a cache


class NumbaEdgeSum(OnceDifferentiable):
    """`EdgeSum` by compiled loops around torch's matrix products (CPU, ReLU).

    ``recompute``: the backward pass computes the first layer again, which takes less memory than
    keeping it. ``bf16``: products take and give numbers rounded to bfloat16; sums and all else stay
    float32.
    """

    def __init__(self, *, recompute: bool = False, bf16: bool = False) -> None:
        self.recompute, self.bf16 = recompute, bf16

    def relu_sum(self, inputs: EdgeInputs, antisymmetric: bool) -> Tensor:
        """See `OnceDifferentiable`."""
        return _EdgeSum.apply(*inputs, self.recompute, self.bf16, antisymmetric)


class _EdgeSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *arguments: Any):
        *tensors, recompute, bf16, antisymmetric = arguments
        inputs = EdgeInputs(*tensors)
        loops = _loops()

        edges, width = inputs.sender.shape[0], inputs.first.shape[1]
        out = inputs.weight.shape[0]
        training = any(ctx.needs_input_grad)
        keep = training and not recompute
        chunk = min(CHUNK, padded(max(edges, 1)))
        total = torch.zeros(inputs.second.shape[0], out, dtype=inputs.first.dtype)
        weight = inputs.weight.bfloat16() if bf16 else inputs.weight
        inner_buffer = weight.new_empty(padded(edges) if keep else chunk, width)
        # Of the second layer only the signs are kept: a byte in place of a float.
        mask = np.empty((edges, out), np.bool_) if keep else None
        gathered = _gathered(inputs)
        ends = inputs.sender.numpy(), inputs.receiver.numpy()
        bias, total_array = inputs.bias.detach().numpy(), total.numpy()
        factor = _factor(inputs)
        for start in range(0, edges, chunk):
            count = min(chunk, edges - start)
            inner = _chunk_rows(inner_buffer, start if keep else 0, count)
            loops.gather(*gathered, *ends, start, count, _as_numpy(inner))
            message = _as_numpy(product(inner, weight))
            common = message, bias, *ends, start, count, antisymmetric, factor, total_array
            if keep:
                loops.sum_messages_masked(*common, mask)
            else:
                loops.sum_messages(*common)
        if training:
            kept = (inner_buffer,) if keep else ()
            ctx.mask, ctx.bf16, ctx.antisymmetric = mask, bf16, antisymmetric
            ctx.save_for_backward(*inputs, *kept)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_output):  # type: ignore[override]
        loops = _loops()

        n_inputs = len(EdgeInputs._fields)
        inputs, kept = EdgeInputs(*ctx.saved_tensors[:n_inputs]), ctx.saved_tensors[n_inputs:]
        edges, width = inputs.sender.shape[0], inputs.first.shape[1]
        chunk = min(CHUNK, padded(max(edges, 1)))
        grad_first, grad_second = torch.zeros_like(inputs.first), torch.zeros_like(inputs.second)
        # Transposed, as the loops read it: one row per feature.
        grad_feature_weight = inputs.first.new_zeros(inputs.edge_features.shape[1], width)
        grad_weight, grad_bias = torch.zeros_like(inputs.weight), torch.zeros_like(inputs.bias)
        weight = inputs.weight.bfloat16() if ctx.bf16 else inputs.weight
        outer_buffer = weight.new_empty(chunk, inputs.weight.shape[0])
        inner_buffer = kept[0] if kept else weight.new_empty(chunk, width)
        grad = grad_output.contiguous().numpy()
        ends = inputs.sender.numpy(), inputs.receiver.numpy()
        features = inputs.edge_features.contiguous().numpy()
        bias, factor = inputs.bias.detach().numpy(), _factor(inputs)
        gathered = None if kept else _gathered(inputs)
        for start in range(0, edges, chunk):
            count = min(chunk, edges - start)
            grad_outer = _chunk_rows(outer_buffer, 0, count)
            inner = _chunk_rows(inner_buffer, start if kept else 0, count)
            common = grad, *ends, start, count, ctx.antisymmetric, factor
            written = _as_numpy(grad_outer), grad_bias.numpy()
            if gathered is None:
                loops.scatter_grad(*common, ctx.mask, *written)
            else:
                loops.gather(*gathered, *ends, start, count, _as_numpy(inner))
                message = _as_numpy(product(inner, weight))
                loops.scatter_grad_recomputed(*common, message, bias, *written)
            grad_weight += outer_product(grad_outer, inner)
            loops.add_input_grads(
                _as_numpy(product(grad_outer, weight.t())), _as_numpy(inner), *ends, start, count,
                features, grad_first.numpy(), grad_second.numpy(), grad_feature_weight.numpy(),
            )  # fmt: skip
        # None: edge features, the two ends, factors, and the three options have no gradient here.
        grads = grad_first, grad_second, None, grad_feature_weight.t(), grad_weight, grad_bias
        return *grads, *(None,) * 6


def _loops() -> Any:
    """The compiled loops, imported with the first sum: numba takes a second to load."""
    from . import edge_loops

    return edge_loops


def _factor(inputs: EdgeInputs) -> NDArray | None:
    """The factors of messages as an array."""
    return None if inputs.factor is None else inputs.factor.contiguous().numpy()


def _gathered(inputs: EdgeInputs) -> list[NDArray]:
    """What `edge_loops.gather` reads, as arrays: first, second, edge features and their weights."""
    rows = inputs.feature_weight.detach().t()  # one row per feature is contiguous in the loop
    tensors = (inputs.first, inputs.second, inputs.edge_features, rows)
    return [a.detach().contiguous().numpy() for a in tensors]


def _chunk_rows(buffer: Tensor, start: int, count: int) -> Tensor:
    """Rows of ``count`` edges, and rows of zero up to the number of rows that products take."""
    rows = buffer[start : start + padded(count)]
    # The buffer of the last chunk holds older numbers there, which a weight gradient would sum.
    rows[count:].zero_()
    return rows


def _as_numpy(x: Tensor) -> NDArray:
    """The same memory as an array; bfloat16, which NumPy lacks, as its bits (uint16)."""
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()
