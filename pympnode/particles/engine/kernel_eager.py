"""What sums an edge network over the edges that end in each receiver, and the plain way to do it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from .products import linear


class EdgeSum(Protocol):
    """Sums of a two-layer network over the edges that end in each receiver."""

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
        balanced: bool = False,
    ) -> Tensor:
        """(receiver node, width): sum over edges e of act(W act(first[s] + second[r] + G g_e) + b).

        first (sender node, width), second (receiver node, width), geometry g (edge, function).
        ``balanced``: every message is also taken from its sender; both ends are the same nodes.
        """


def plain_edge_sum(
    first: Tensor,
    second: Tensor,
    geometry: Tensor,
    geometry_weight: Tensor,
    weight: Tensor,
    bias: Tensor,
    sender: Tensor,
    receiver: Tensor,
    activation: Callable[[Tensor], Tensor],
    balanced: bool = False,
) -> Tensor:
    """`EdgeSum` in plain torch: differentiable as often as one likes."""
    inner = linear(geometry, geometry_weight)
    inner = inner + first.index_select(0, sender) + second.index_select(0, receiver)
    message = activation(linear(activation(inner), weight, bias))
    empty = message.new_zeros(second.shape[0], message.shape[1])
    received = empty.index_add(0, receiver, message)
    return received.index_add(0, sender, message, alpha=-1) if balanced else received


class OnceDifferentiable(ABC):
    """`EdgeSum` of ReLU whose gradients pass to the node values and the weights, once.

    A geometry with a gradient (HOGN, losses over several steps) takes the plain sum.
    """

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
        balanced: bool = False,
    ) -> Tensor:
        """See `EdgeSum`."""
        given = first, second, geometry, geometry_weight, weight, bias, sender, receiver
        if torch.is_grad_enabled() and geometry.requires_grad:
            return plain_edge_sum(*given, activation, balanced)
        return self.summed(*given, balanced=balanced)

    @abstractmethod
    def summed(self, *given: Tensor, balanced: bool) -> Tensor:
        """The sum over edges, of ReLU."""
