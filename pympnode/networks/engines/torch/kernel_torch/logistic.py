"""Weights rewritten so that every hidden layer is a sigmoid, with its bias in the matrix.

tanh a = 2 s - 1 with s = sigmoid(2 a), and torch's sigmoid is several times faster than its tanh on
CPU. The factor and the shift are moved into the next layer's weights, so the network computes the
same function on s instead of tanh; only rounding differs.
"""

from __future__ import annotations

import torch

from .....layout import Layout
from ....spec import ModelSpec
from ....weights import layout_of


class Linear:
    """One layer y' = V [x'; 1]: x' inputs or sigmoids, y' outputs or arguments of sigmoids.

    ``forward`` (rows, inner + 1) is V, its last column the bias: the product adds it, so that y'
    is not read and written a second time. ``back`` (inner, rows) is the transpose without
    biases; ``total`` sums the gradient of V, transposed where that is the flatter product.
    """

    def __init__(
        self, weight: torch.Tensor, bias: torch.Tensor, of_sigmoid: bool, to_sigmoid: bool
    ):
        rows, inner = weight.shape
        self.factor = 2.0 if to_sigmoid else 1.0
        self.of_sigmoid = of_sigmoid
        # W tanh a + b = 2 W s + (b - W 1) with s = sigmoid(2 a); a sigmoid above takes twice that.
        self.forward = torch.empty(rows, inner + 1, dtype=weight.dtype, device=weight.device)
        self.forward[:, :inner] = weight * (self.factor * (2.0 if of_sigmoid else 1.0))
        shift = bias - weight.sum(dim=1) if of_sigmoid else bias
        self.forward[:, inner] = shift * self.factor
        self.back = self.forward[:, :inner].t().contiguous()
        # BLAS is faster when the result has fewer rows than columns.
        self.transposed = inner + 1 < rows
        self.total = torch.zeros_like(self.forward.t() if self.transposed else self.forward)

    def add(self, y_bar: torch.Tensor, x: torch.Tensor) -> None:
        """Add the gradient of one product; ``x`` with its row of ones."""
        if self.transposed:
            self.total.addmm_(x, y_bar.t())
        else:
            self.total.addmm_(y_bar, x.t())

    @property
    def sum(self) -> torch.Tensor:
        """The gradient of V so far, (rows, inner + 1): a view that can be added to."""
        return self.total.t() if self.transposed else self.total

    def gradient(self) -> tuple[torch.Tensor, torch.Tensor]:
        """With respect to the weight and bias that the layer was made from."""
        # The chain rule through that rewriting; `Field` sums dL/dV over all stages first.
        total = self.sum
        weight, bias = total[:, :-1], total[:, -1] * self.factor
        if self.of_sigmoid:
            return weight * (2.0 * self.factor) - bias.unsqueeze(1), bias
        return weight * self.factor, bias


class Network:
    """All layers of a model: ``mlp``, ``first``, ``emit``, ``pair`` and ``linear`` are lists of `Linear`.

    ``log_weight`` (edges,) or None: logarithms of the learned weights of edges, and ``log_weight_bar``
    the gradient with respect to them.
    """

    def __init__(self, spec: ModelSpec, theta: torch.Tensor) -> None:
        self.layout: Layout = layout_of(spec)
        self._layers: dict[str, Linear] = {}
        named = self.layout.unpack(theta)

        def chain(*names: str) -> list[Linear]:
            layers = []
            for number, name in enumerate(names):
                layer = Linear(
                    named[f"{name}weight"],
                    named[f"{name}bias"],
                    of_sigmoid=number > 0,
                    to_sigmoid=number < len(names) - 1,
                )
                self._layers[name] = layer
                layers.append(layer)
            return layers

        self.mlp = chain(*(f"layer_{number}_" for number in range(1, spec.depth + 2)))
        self.emit, self.first, self.pair, self.linear = [], [], [], []
        if spec.linear:
            # Without a bias in the layout: the one here is zero, and its gradient is left out.
            weight = named["linear_weight"]
            self.linear = [Linear(weight, torch.zeros_like(weight[:, 0]), False, False)]
            self._layers["linear_"] = self.linear[0]
        self.log_weight = named.get("edge_log_weight")
        if self.log_weight is not None:
            self.log_weight_bar = torch.zeros_like(self.log_weight)
        if spec.pairwise:
            self.pair = chain("pair_layer_1_", "pair_layer_2_", "pair_layer_3_")
        elif spec.messages == "emitted":
            self.emit = chain("emit_layer_1_", "emit_layer_2_")
        elif spec.carried and spec.first_message == "linear":
            self.first = chain("first_")
        elif spec.carried and spec.first_message == "mlp":
            self.first = chain("first_layer_1_", "first_layer_2_")

    def gradient(self) -> torch.Tensor:
        """The flat gradient (size,), in the layout's order."""
        named: dict[str, torch.Tensor] = {}
        for name, layer in self._layers.items():
            named[f"{name}weight"], named[f"{name}bias"] = layer.gradient()
        if self.log_weight is not None:
            named["edge_log_weight"] = self.log_weight_bar
        return torch.cat([named[name].reshape(-1) for name in self.layout.shapes])


def networks_of(spec: ModelSpec, theta: torch.Tensor) -> list[Network]:
    """The network of each type of nodes; ``theta`` has their weights, of equal sizes, one after the
    other (`..plain`)."""
    return [Network(spec.of_one_type, part) for part in theta.chunk(max(1, len(spec.node_types)))]
