"""Edge and node networks of particle models, as functions of named weights.

The first layer of an edge network is linear in what its sender and its receiver know, so it goes over
the nodes, and edges gather its result: the same sum as over edges, in a fraction of the work.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ..graphs.box import Box
from ..spec import ParticleScales, ParticleSpec
from .kernel_eager import EdgeSum, plain_edge_sum
from .products import linear

# Softplus bends over a length of 1 / SHARPNESS. Scaled inputs are of size one, and over the bend of the
# published one (1) forces come out too smooth: the loss of a potential stays 30 to 100 times as high.
SHARPNESS = 8.0


@dataclass(frozen=True, eq=False)
class Networks:
    """The networks of one model with its weights at hand.

    ``step`` is the length of the time step, told to the networks where the model wants it.
    ``edge_sum`` does the work over edges.
    """

    spec: ParticleSpec
    scales: ParticleScales
    weights: dict[str, Tensor]
    box: Box
    step: float
    edge_sum: EdgeSum = field(default=plain_edge_sum)

    def activation(self, x: Tensor) -> Tensor:
        """ReLU, or Softplus where second derivatives are needed (HOGN)."""
        if self.spec.family != "hogn":
            return torch.relu(x)
        return softplus(x, beta=SHARPNESS) if self.spec.separable else softplus(x)

    def geometry(
        self, difference: Tensor, strength: Tensor | None = None, unit: float = 1.0
    ) -> Tensor:
        """Functions (edge, function) of a difference of positions (edge, axis).

        strength (edge,): the product of the charges at both ends, scaled inputs only; ``unit``
        divides displacements.
        """
        d = self.box.displacement(difference)
        if self.spec.inputs == "plain":
            return d
        scales, d = self.scales, d / unit if unit != 1 else d
        # Relative to a length of the model, as all here is: the same in any unit of length.
        r = scales.near * (d / scales.near).square().sum(1, keepdim=True).add(1e-12).sqrt()
        towards = d / (r + scales.near)
        fading = torch.cat([c / (r + c) for c in scales.lengths], 1)
        # All but the logarithm stay within bounds: a network that met small boxes alone goes on in
        # larger ones, where what grows with the distance would carry it off.
        parts = [
            d / (r + scales.length),
            towards,
            torch.log((r + scales.near) / scales.lengths[1]),
            fading,
        ]
        if strength is not None:
            parts += [strength[:, None] * towards, strength[:, None] * fading]
        return torch.cat(parts, 1)

    def edges(
        self,
        name: str,
        sender_values: Tensor,
        receiver_values: Tensor,
        geometry: Tensor,
        sender: Tensor,
        receiver: Tensor,
        *,
        swapped: bool = False,
        balanced: bool = False,
    ) -> Tensor:
        """Messages of the edge network ``name`` summed at the receivers.

        ``swapped``: the network was trained with the receiver's values in the first columns (the
        published complete graph); ``geometry`` is then of receiver minus sender.
        ``balanced``: messages received minus messages sent.
        """
        w = self.weights
        matrix, bias = w[f"{name}_1_weight"], w[f"{name}_1_bias"]
        ds, dr = sender_values.shape[1], receiver_values.shape[1]
        if swapped:
            of_receiver, of_sender = matrix[:, :dr], matrix[:, dr : dr + ds]
        else:
            of_sender, of_receiver = matrix[:, :ds], matrix[:, ds : ds + dr]
        width = self.spec.geometry
        of_geometry = matrix[:, ds + dr : ds + dr + width]
        if self.spec.tells_step:
            bias = bias + self.step * matrix[:, -1]
        return self.edge_sum(
            linear(sender_values, of_sender),
            linear(receiver_values, of_receiver, bias),
            geometry,
            of_geometry,
            w[f"{name}_2_weight"],
            w[f"{name}_2_bias"],
            sender,
            receiver,
            self.activation,
            balanced,
        )

    def node(self, name: str, own: Tensor, summed: Tensor) -> Tensor:
        """A node network of own values and summed messages."""
        w = self.weights
        matrix, bias = w[f"{name}_1_weight"], w[f"{name}_1_bias"]
        if self.spec.tells_step:
            bias = bias + self.step * matrix[:, -1]
            matrix = matrix[:, :-1]
        x = self.activation(linear(torch.cat([own, summed], 1), matrix, bias))
        for number in (2, 3):
            x = self.activation(linear(x, w[f"{name}_{number}_weight"], w[f"{name}_{number}_bias"]))
        return x

    def whole(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """H (set,) of node and edge sums (set, width)."""
        w = self.weights
        x = torch.cat([nodes, edges], 1)
        for number in (1, 2):
            x = softplus(linear(x, w[f"global_{number}_weight"], w[f"global_{number}_bias"]))
        return linear(x, w["out_weight"], w["out_bias"])[:, 0]

    def out(self, nodes: Tensor) -> Tensor:
        """The last, linear layer."""
        return linear(nodes, self.weights["out_weight"], self.weights["out_bias"])

    def impulse(self, pairs: Tensor) -> Tensor:
        """Momentum (particle, axis) of messages received minus messages sent (particle, width)."""
        return linear(pairs, self.weights["impulse_weight"])

    def energy(self, pairs: Tensor) -> Tensor:
        """Potential energy (particle, 1) of messages received (particle, width)."""
        return linear(pairs, self.weights["energy_weight"])
