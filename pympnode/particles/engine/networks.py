"""Edge and node networks of particle models, as functions of named weights.

The first layer of an edge network is linear in the values of its sender and of its receiver, so it is
applied to the nodes, and edges gather its results: the same sum as over edges, in a fraction of the
work.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..graphs.box import Box
from ..spec import ParticleScales, ParticleSpec
from .kernel_eager import EdgeInputs, EdgeSum, eager_edge_sum
from .products import linear

# Softplus bends over a length of 1 / SHARPNESS. Scaled inputs are of size one, and over the bend of the
# published one (1) forces come out too smooth: the loss of a potential stays 30 to 100 times as high.
SHARPNESS = 8.0


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of one model, bound to its weights.

    ``step`` is the length of the time step, an input of the networks where the spec says so
    (`ParticleSpec.step_is_input`). ``edge_sum`` sums over edges. ``tables``: those of radial forces
    that were computed from the weights (`radial_table`), of a model that takes them; None: none.
    """

    spec: ParticleSpec
    scales: ParticleScales
    weights: dict[str, Tensor]
    box: Box
    step: float
    edge_sum: EdgeSum = field(default=eager_edge_sum)
    tables: dict[Any, Tensor] | None = None

    def activation(self, x: Tensor) -> Tensor:
        """ReLU, or Softplus where second derivatives are needed (HOGN)."""
        if self.spec.family != "hogn":
            return torch.relu(x)
        return softplus(x, beta=SHARPNESS) if self.spec.separable else softplus(x)

    def edge_features(
        self, difference: Tensor, strength: Tensor | None = None, unit: float | Tensor = 1.0
    ) -> Tensor:
        """Features (edge, feature) of a difference of positions (edge, axis), in units of length.

        Plain inputs: the displacement to the nearest image. Scaled inputs: bounded functions of it.
        strength (edge,): the product of the charges at both ends, scaled inputs only; ``unit``,
        a number or (edge, 1), divides displacements.
        """
        d = self.box.displacement(difference)
        if self.spec.inputs == "plain":
            return d
        scales = self.scales
        if isinstance(unit, Tensor) or unit != 1:
            d = d / unit
        # The 1e-12 keeps the gradient of the square root finite at distance 0. It is relative to a
        # length of the model, as all here is: the same in any unit of length.
        r = scales.near * (d / scales.near).square().sum(1, keepdim=True).add(1e-12).sqrt()
        towards = d / (r + scales.near)
        fading = torch.cat([c / (r + c) for c in scales.lengths], 1)
        # All but the logarithm stay within bounds: a network that was trained in small boxes alone
        # extrapolates to larger ones, where a feature that grows with the distance would leave the
        # range that it was trained on.
        features = [
            d / (r + scales.length),
            towards,
            torch.log((r + scales.near) / scales.lengths[1]),
            fading,
        ]
        if strength is not None:
            features += [strength[:, None] * towards, strength[:, None] * fading]
        return torch.cat(features, 1)

    def edges(
        self,
        name: str,
        sender_values: Tensor,
        receiver_values: Tensor,
        edge_features: Tensor,
        sender: Tensor,
        receiver: Tensor,
        *,
        swapped: bool = False,
        antisymmetric: bool = False,
        factor: Tensor | None = None,
    ) -> Tensor:
        """Messages of the edge network ``name``, summed at the receivers (receiver node, width).

        sender_values, receiver_values (node, value); edge_features (edge, feature); sender, receiver
        int64 (edge,). ``swapped``: the network was trained with the receiver's values in the first
        columns (the published complete graph); ``edge_features`` are then of receiver minus sender.
        ``antisymmetric``: messages received minus messages sent. ``factor`` (edge,) multiplies
        messages.
        """
        w = self.weights
        matrix, bias = w[f"{name}_1_weight"], w[f"{name}_1_bias"]
        n_sender, n_receiver = sender_values.shape[1], receiver_values.shape[1]
        if swapped:
            receiver_columns = matrix[:, :n_receiver]
            sender_columns = matrix[:, n_receiver : n_receiver + n_sender]
        else:
            sender_columns = matrix[:, :n_sender]
            receiver_columns = matrix[:, n_sender : n_sender + n_receiver]
        n_nodes = n_sender + n_receiver
        feature_columns = matrix[:, n_nodes : n_nodes + self.spec.n_edge_features]
        if self.spec.step_is_input:
            # The same number on every edge: its column acts as a bias.
            bias = bias + self.step * matrix[:, -1]
        inputs = EdgeInputs(
            linear(sender_values, sender_columns),
            linear(receiver_values, receiver_columns, bias),
            edge_features,
            feature_columns,
            w[f"{name}_2_weight"],
            w[f"{name}_2_bias"],
            sender,
            receiver,
            factor,
        )
        return self.edge_sum(inputs, self.activation, antisymmetric)

    def node(self, name: str, values: Tensor, summed: Tensor) -> Tensor:
        """Node network ``name`` of node values and summed messages (node, ...): (node, width)."""
        w = self.weights
        matrix, bias = w[f"{name}_1_weight"], w[f"{name}_1_bias"]
        if self.spec.step_is_input:
            bias = bias + self.step * matrix[:, -1]
            matrix = matrix[:, :-1]
        x = self.activation(linear(torch.cat([values, summed], 1), matrix, bias))
        for number in (2, 3):
            x = self.activation(linear(x, w[f"{name}_{number}_weight"], w[f"{name}_{number}_bias"]))
        return x

    def global_energy(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """H (set,) of sums over the nodes and edges of each set (set, width)."""
        w = self.weights
        x = torch.cat([nodes, edges], 1)
        for number in (1, 2):
            x = softplus(linear(x, w[f"global_{number}_weight"], w[f"global_{number}_bias"]))
        return linear(x, w["out_weight"], w["out_bias"])[:, 0]

    def out(self, nodes: Tensor) -> Tensor:
        """The last, linear layer (node, output)."""
        return linear(nodes, self.weights["out_weight"], self.weights["out_bias"])

    def impulse(self, pairs: Tensor) -> Tensor:
        """Momentum (particle, axis) of messages received minus messages sent (particle, width)."""
        return linear(pairs, self.weights["impulse_weight"])

    def energy(self, pairs: Tensor) -> Tensor:
        """Potential energy (particle, 1) of messages received (particle, width)."""
        return linear(pairs, self.weights["energy_weight"])
