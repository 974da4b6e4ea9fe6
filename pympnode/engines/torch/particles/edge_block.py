"""The edge sum in chunks: buffers that stay in the cache, one pass before and one after each product.

The same function as `plain_edge_sum` for ReLU. Gradients pass to the node values and the weights, not
to the geometry, and once only; what needs more takes the plain sum (HOGN, losses over several steps).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .networks import plain_edge_sum

CHUNK = 2048  # edges; two buffers of 150 floats each are 2.4 MB


class CompiledEdgeSum:
    """`EdgeSum` by compiled loops around torch's matrix products (CPU, ReLU).

    ``recompute``: the first layer is made again on the way back instead of kept (less memory).
    """

    def __init__(self, *, recompute: bool = False) -> None:
        self.recompute = recompute

    def __call__(
        self,
        first: Tensor,
        second: Tensor,
        geometry: Tensor,
        geometry_weight: Tensor,
        weight: Tensor,
        bias: Tensor,
        sender: Tensor,
        receiver: Tensor,
        activation: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """See `EdgeSum`."""
        if torch.is_grad_enabled() and geometry.requires_grad:
            return plain_edge_sum(
                first, second, geometry, geometry_weight, weight, bias, sender, receiver, activation
            )
        return _EdgeSum.apply(
            first, second, geometry, geometry_weight, weight, bias, sender, receiver, self.recompute
        )


class _EdgeSum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, first, second, geometry, geometry_weight, weight, bias, s, r, recompute):
        from . import edge_kernels as kernel

        edges, width, out = s.shape[0], first.shape[1], weight.shape[0]
        training = any(ctx.needs_input_grad)
        keep = training and not recompute
        chunk = min(CHUNK, max(edges, 1))
        total = torch.zeros(second.shape[0], out, dtype=first.dtype)
        into = weight.t()
        inner = first.new_empty(edges if keep else chunk, width)
        message = first.new_empty(chunk, out)
        mask = np.empty((edges, out), np.bool_) if keep else None
        given = [a.detach().contiguous().numpy() for a in (first, second, geometry)]
        rows = geometry_weight.detach().t().contiguous().numpy()
        ns, nr = s.numpy(), r.numpy()
        b, nt = bias.detach().numpy(), total.numpy()
        for at in range(0, edges, chunk):
            count = min(chunk, edges - at)
            here = inner[at : at + count] if keep else inner[:count]
            kernel.gather(*given, rows, ns, nr, at, count, here.numpy())
            torch.mm(here, into, out=message[:count])
            if keep:
                kernel.add_up_masked(message.numpy(), b, nr, at, count, nt, mask)
            else:
                kernel.add_up(message.numpy(), b, nr, at, count, nt)
        if training:
            kept = (inner,) if keep else ()
            ctx.mask = mask
            ctx.save_for_backward(
                first, second, geometry, geometry_weight, weight, bias, s, r, *kept
            )
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, slope):  # type: ignore[override]
        from . import edge_kernels as kernel

        first, second, geometry, geometry_weight, weight, bias, s, r, *kept = ctx.saved_tensors
        edges, width, out = s.shape[0], first.shape[1], weight.shape[0]
        chunk = min(CHUNK, max(edges, 1))
        of_first, of_second = torch.zeros_like(first), torch.zeros_like(second)
        of_rows = first.new_zeros(geometry.shape[1], width)
        of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        outer, back = first.new_empty(chunk, out), first.new_empty(chunk, width)
        g = slope.contiguous().numpy()
        ns, nr, ng = s.numpy(), r.numpy(), geometry.contiguous().numpy()
        into, b = weight.t(), bias.detach().numpy()
        if not kept:
            inner, message = first.new_empty(chunk, width), first.new_empty(chunk, out)
            given = [a.detach().contiguous().numpy() for a in (first, second)]
            rows = geometry_weight.detach().t().contiguous().numpy()
        for at in range(0, edges, chunk):
            count = min(chunk, edges - at)
            if kept:
                here = kept[0][at : at + count]
                kernel.spread(g, nr, at, count, ctx.mask, outer.numpy(), of_bias.numpy())
            else:
                here = inner[:count]
                kernel.gather(*given, ng, rows, ns, nr, at, count, here.numpy())
                torch.mm(here, into, out=message[:count])
                kernel.spread_again(
                    g, nr, at, count, message.numpy(), b, outer.numpy(), of_bias.numpy()
                )
            of_weight.addmm_(outer[:count].t(), here)
            torch.mm(outer[:count], weight, out=back[:count])
            kernel.bring_back(
                back.numpy(), here.numpy(), ns, nr, at, count, ng,
                of_first.numpy(), of_second.numpy(), of_rows.numpy(),
            )  # fmt: skip
        return of_first, of_second, None, of_rows.t(), of_weight, of_bias, None, None, None
