"""Hierarchical DeltaGN computed the way the published code computes it: the peer of the benchmark.

Values of senders and receivers are gathered to the edges by index tensors expanded to their width,
put side by side with the displacement and the step, and go through whole layers; nearest images are
made by masked assignment; sums are scattered by expanded index tensors. Same weights, same function.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear

from pympnode.particles.engine.networks import Networks


class PublishedNetworks(Networks):
    """`Networks` with everything at the edges. DeltaGN with plain inputs."""

    def edge_features(self, difference: Tensor, strength=None, unit=1.0) -> Tensor:
        """Wrapped differences, by masks over the whole tensor."""
        side = self.box.side
        d = difference.clone()
        d[d > side / 2] = d[d > side / 2] - side
        d[d <= -side / 2] = d[d <= -side / 2] + side
        return d

    def edges(
        self,
        name,
        sender_values,
        receiver_values,
        edge_features,
        sender,
        receiver,
        *,
        swapped=False,
        antisymmetric=False,
    ):
        """Every layer over the edges. Directed messages of the hierarchy, as published."""
        if swapped or antisymmetric:  # neither is part of what is measured here
            raise NotImplementedError(f"swapped={swapped}, antisymmetric={antisymmetric}")
        w = self.weights

        def gathered(values: Tensor, index: Tensor) -> Tensor:
            return torch.gather(values, 0, index[:, None].expand(-1, values.shape[1]))

        step = torch.full((len(sender), 1), self.step, dtype=edge_features.dtype)
        x = torch.cat(
            [
                gathered(sender_values, sender),
                gathered(receiver_values, receiver),
                edge_features,
                step,
            ],
            1,
        )
        for number in (1, 2):
            x = torch.relu(linear(x, w[f"{name}_{number}_weight"], w[f"{name}_{number}_bias"]))
        empty = x.new_zeros(receiver_values.shape[0], x.shape[1])
        return empty.scatter_add(0, receiver[:, None].expand(-1, x.shape[1]), x)

    def node(self, name, values, summed):
        """The step as a column."""
        w = self.weights
        x = torch.cat([values, summed, torch.full_like(values[:, :1], self.step)], 1)
        for number in (1, 2, 3):
            x = torch.relu(linear(x, w[f"{name}_{number}_weight"], w[f"{name}_{number}_bias"]))
        return x
