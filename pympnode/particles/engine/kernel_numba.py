"""The edge sum in chunks, compiled: one pass over the edges before and one after each product.

The same function as `plain_edge_sum` for ReLU. Gradients pass to the node values and the weights, not
to the geometry, and once only; what needs more takes the plain sum (HOGN, losses over several steps).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .kernel_eager import OnceDifferentiable
from .products import outer_product, padded, product

CHUNK = 2048  # edges; two buffers of 150 floats each are 2.4 MB


class CompiledEdgeSum(OnceDifferentiable):
    """`EdgeSum` by compiled loops around torch's matrix products (CPU, ReLU).

    ``recompute``: the first layer is made again on the way back instead of kept (less memory).
    ``low``: products take and give numbers rounded to bfloat16; sums and all else stay float32.
    """

    def __init__(self, *, recompute: bool = False, low: bool = False) -> None:
        self.recompute, self.low = recompute, low

    def summed(self, *given: Tensor, balanced: bool) -> Tensor:
        """See `OnceDifferentiable`."""
        return _EdgeSum.apply(*given, self.recompute, self.low, balanced)


class _EdgeSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, first, second, geometry, geometry_weight, weight, bias, s, r,
        recompute, low, balanced,
    ):  # fmt: skip
        kernel = _kernels()

        edges, width, out = s.shape[0], first.shape[1], weight.shape[0]
        training = any(ctx.needs_input_grad)
        keep = training and not recompute
        chunk = min(CHUNK, padded(max(edges, 1)))
        total = torch.zeros(second.shape[0], out, dtype=first.dtype)
        into = weight.bfloat16() if low else weight
        inner = into.new_empty(padded(edges) if keep else chunk, width)
        mask = np.empty((edges, out), np.bool_) if keep else None
        given: Any = [a.detach().contiguous().numpy() for a in (first, second, geometry)]
        rows = geometry_weight.detach().t().contiguous().numpy()
        ns, nr = s.numpy(), r.numpy()
        b, nt = bias.detach().numpy(), total.numpy()
        for at in range(0, edges, chunk):
            count = min(chunk, edges - at)
            here = _rows(inner, at if keep else 0, count)
            kernel.gather(*given, rows, ns, nr, at, count, _numbers(here))
            message = _numbers(product(here, into))
            if keep:
                kernel.add_up_masked(message, b, ns, nr, at, count, balanced, nt, mask)
            else:
                kernel.add_up(message, b, ns, nr, at, count, balanced, nt)
        if training:
            kept = (inner,) if keep else ()
            ctx.mask, ctx.low, ctx.balanced = mask, low, balanced
            ctx.save_for_backward(
                first, second, geometry, geometry_weight, weight, bias, s, r, *kept
            )
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope):  # type: ignore[override]
        kernel = _kernels()

        first, second, geometry, geometry_weight, weight, bias, s, r, *kept = ctx.saved_tensors
        edges, width, out = s.shape[0], first.shape[1], weight.shape[0]
        chunk = min(CHUNK, padded(max(edges, 1)))
        of_first, of_second = torch.zeros_like(first), torch.zeros_like(second)
        of_rows = first.new_zeros(geometry.shape[1], width)
        of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        into = weight.bfloat16() if ctx.low else weight
        outer = into.new_empty(chunk, out)
        g = slope.contiguous().numpy()
        ns, nr, ng = s.numpy(), r.numpy(), geometry.contiguous().numpy()
        b = bias.detach().numpy()
        if not kept:
            inner = into.new_empty(chunk, width)
            given: Any = [a.detach().contiguous().numpy() for a in (first, second)]
            rows = geometry_weight.detach().t().contiguous().numpy()
        for at in range(0, edges, chunk):
            count = min(chunk, edges - at)
            left = _rows(outer, 0, count)
            if kept:
                here = _rows(kept[0], at, count)
                kernel.spread(
                    g, ns, nr, at, count, ctx.balanced, ctx.mask, _numbers(left), of_bias.numpy()
                )
            else:
                here = _rows(inner, 0, count)
                kernel.gather(*given, ng, rows, ns, nr, at, count, _numbers(here))
                message = _numbers(product(here, into))
                kernel.spread_again(
                    g, ns, nr, at, count, ctx.balanced, message, b, _numbers(left), of_bias.numpy()
                )
            of_weight += outer_product(left, here)
            kernel.bring_back(
                _numbers(product(left, into.t())), _numbers(here), ns, nr, at, count, ng,
                of_first.numpy(), of_second.numpy(), of_rows.numpy(),
            )  # fmt: skip
        return of_first, of_second, None, of_rows.t(), of_weight, of_bias, *(None,) * 5


def _kernels() -> Any:
    """The compiled loops, imported when the first edge is summed."""
    from . import edge_loops as edge_kernels

    return edge_kernels


def _rows(buffer: Tensor, at: int, count: int) -> Tensor:
    """Rows for so many edges and, at zero, those up to the number that products have."""
    rows = buffer[at : at + padded(count)]
    rows[count:].zero_()
    return rows


def _numbers(x: Tensor) -> NDArray:
    """The same memory for the compiled loops, which take bfloat16 as its bits."""
    return (x.view(torch.uint16) if x.dtype == torch.bfloat16 else x).numpy()
