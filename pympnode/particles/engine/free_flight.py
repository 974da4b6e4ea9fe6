"""Free flight as a program: the loss of a model that predicts no forces."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .batch import ParticleBatch
from .program import ParticleProgram


class FreeFlight(ParticleProgram):
    """A program whose particles keep their velocities; weights and graphs play no part.

    Its loss is `ParticleProgram.error`, so that it is comparable with the model's whatever that is.
    """

    @classmethod
    def like(cls, program: ParticleProgram) -> FreeFlight:
        """The free flight with the data, units and loss of ``program``."""
        flight = cls.__new__(cls)
        flight.__dict__.update(program.__dict__)
        return flight

    def graph(self, batch: ParticleBatch, **_: Any) -> Any:
        """None: nothing interacts."""
        return None

    def velocity_change(
        self, weights: dict[str, Tensor], batch: ParticleBatch, graph: Any, *, training: bool
    ) -> Tensor:
        """Zero (particle, axis)."""
        return torch.zeros_like(batch.velocity)

    def changes(
        self, weights: dict[str, Tensor], batch: ParticleBatch, graph: Any, *, training: bool
    ) -> tuple[Tensor, None]:
        """No change (particle, axis), and no further motion."""
        return torch.zeros_like(batch.velocity), None

    def next_state(
        self, weights: dict[str, Tensor], batch: ParticleBatch, graph: Any, *, training: bool
    ) -> tuple[Tensor, Tensor]:
        """(position, velocity) after one step."""
        moved = batch.position + batch.velocity * self.step_length
        return batch.box.wrap(moved), batch.velocity
