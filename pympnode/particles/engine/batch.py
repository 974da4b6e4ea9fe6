"""ParticleBatch: any number of particle sets of one box, as flat tensors."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..graphs.box import Box


@dataclass(frozen=True, eq=False)
class ParticleBatch:
    """Sets of particles one after the other, as flat tensors in the units of the data.

    position, velocity: (particle, axis). mass, charge: (particle,); charge is None where the system
    has none. ``sizes``: the number of particles of each set. kind: (particle, type), 1 for the type of
    a particle; None for a model without types. free: (particle,), 0 for particles that are fixed; None:
    none is.
    """

    position: Tensor
    velocity: Tensor
    mass: Tensor
    charge: Tensor | None
    sizes: tuple[int, ...]
    box: Box
    kind: Tensor | None = None
    free: Tensor | None = None

    @property
    def particles(self) -> int:
        """Particles of all sets."""
        return self.position.shape[0]

    @property
    def base(self) -> Tensor:
        """(particle, base): mass, (charge,) velocity."""
        return columns(self.mass, self.charge, self.velocity)

    @property
    def sample(self) -> Tensor:
        """int64 (particle,): the number of the set that each particle belongs to."""
        number = torch.arange(len(self.sizes), device=self.position.device)
        # Counts in a tensor would have to be sent to the device: a wait, which equal sizes avoid.
        if len(set(self.sizes)) == 1:
            return number.repeat_interleave(self.sizes[0])
        counts = torch.tensor(self.sizes, device=self.position.device)
        return torch.repeat_interleave(number, counts, output_size=self.particles)

    def per_set(self, values: Tensor) -> Tensor:
        """Sums (set, ...) of values (particle, ...) over each set."""
        if len(set(self.sizes)) == 1:
            return values.reshape(len(self.sizes), self.sizes[0], *values.shape[1:]).sum(1)
        empty = values.new_zeros(len(self.sizes), *values.shape[1:])
        return empty.index_add(0, self.sample, values)

    def drifted(self, time: float) -> ParticleBatch:
        """The batch after free flight over ``time``."""
        return replace(self, position=self.box.wrap(self.position + time * self.velocity))

    def replace(self, **changes: Any) -> ParticleBatch:
        """A copy with some fields changed."""
        return replace(self, **changes)


def columns(mass: Tensor | None, charge: Tensor | None, vector: Tensor | None) -> Tensor:
    """(mass,) (charge,) and (a vector) as the columns of one tensor (node, column)."""
    found = [None if one is None else one[:, None] for one in (mass, charge)] + [vector]
    return torch.cat([column for column in found if column is not None], 1)
