"""The Task protocol: what is trained on. A Task is all that differs between networks and particles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Windows of trajectories or states of particles: each task has batches of its own.
Batch = Any


class Task(Protocol):
    """Batches, their loss and gradient, and a validation, over one flat parameter vector."""

    steps: int
    size: int
    dtype: np.dtype

    def count(self, horizon: int) -> int:
        """Number of batches in an epoch of windows of that length."""

    def batches(self, horizon: int, rng: np.random.Generator) -> Iterator[Batch]:
        """One epoch of batches, drawn from ``rng``."""

    def kinds(self, horizon: int, rng: np.random.Generator) -> list[tuple[float, Batch]]:
        """A batch of every kind that differs in its work by design, with its share of an epoch."""

    def loss(self, theta: NDArray, batch: Batch) -> tuple[float, NDArray]:
        """Loss and gradient (size,)."""

    def losses(
        self, thetas: NDArray, batches: Sequence[Batch]
    ) -> tuple[NDArray[np.float64], NDArray]:
        """Losses (member,) and gradients (member, size) of several members, a batch each."""

    def validate(self, theta: NDArray) -> dict[str, float]:
        """At least ``validation_loss``; the lower, the better."""
