"""The sum of an edge network over the edges that end in each receiver, and its plain torch version."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from .products import linear


class EdgeInputs(NamedTuple):
    """What an edge network takes: values at its nodes, features of its edges, its weights, its edges.

    ``first`` (sender node, width) and ``second`` (receiver node, width) are the shares of the two
    ends in the first layer, bias included. ``edge_features`` (edge, feature) meet
    ``feature_weight`` (width, feature). ``weight`` (out, width) and ``bias`` (out,) are those of the
    second layer. ``sender`` and ``receiver`` (edge,) are int64 node numbers. ``factor`` (edge,)
    multiplies the messages, None: by 1; it has no gradient.

    A named tuple, because ``torch.autograd.Function.apply`` tracks only tensors that it is passed
    one by one.
    """

    first: Tensor
    second: Tensor
    edge_features: Tensor
    feature_weight: Tensor
    weight: Tensor
    bias: Tensor
    sender: Tensor
    receiver: Tensor
    factor: Tensor | None = None


class EdgeSum(Protocol):
    """Sums of a two-layer network over the edges that end in each receiver."""

    def __call__(
        self,
        inputs: EdgeInputs,
        activation: Callable[[Tensor], Tensor],
        antisymmetric: bool = False,
    ) -> Tensor:
        """(receiver node, out): sum over edges e of c_e act(W act(first[s] + second[r] + G f_e) + b).

        W, b, G, f and c are ``weight``, ``bias``, ``feature_weight``, ``edge_features``, ``factor``.
        ``antisymmetric``: every message is also subtracted at its sender; senders and receivers are
        then the same nodes.
        """


def eager_edge_sum(
    inputs: EdgeInputs, activation: Callable[[Tensor], Tensor], antisymmetric: bool = False
) -> Tensor:
    """`EdgeSum` in plain torch, differentiable any number of times."""
    first, second, edge_features, feature_weight, weight, bias, sender, receiver, factor = inputs
    inner = linear(edge_features, feature_weight)
    inner = inner + first.index_select(0, sender) + second.index_select(0, receiver)
    message = activation(linear(activation(inner), weight, bias))
    if factor is not None:
        message = message * factor[:, None]
    empty = message.new_zeros(second.shape[0], message.shape[1])
    received = empty.index_add(0, receiver, message)
    return received.index_add(0, sender, message, alpha=-1) if antisymmetric else received


class OnceDifferentiable(ABC):
    """`EdgeSum` of ReLU with a backward pass written by hand.

    Gradients pass once, to the node values and the weights. Edge features with a gradient (HOGN,
    losses over several steps) take `eager_edge_sum`.
    """

    def __call__(
        self,
        inputs: EdgeInputs,
        activation: Callable[[Tensor], Tensor],
        antisymmetric: bool = False,
    ) -> Tensor:
        """See `EdgeSum`; ``activation`` is used by `eager_edge_sum` alone."""
        if torch.is_grad_enabled() and inputs.edge_features.requires_grad:
            return eager_edge_sum(inputs, activation, antisymmetric)
        return self.relu_sum(inputs, antisymmetric)

    @abstractmethod
    def relu_sum(self, inputs: EdgeInputs, antisymmetric: bool) -> Tensor:
        """The sum over edges, with ReLU as the activation."""
