"""The Task protocol: what the trainer trains on, of networks or of particles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..layout import Layout
from .diagnosis import Reference
from .group import ALONE, Group

# Windows of trajectories, or states of particles: the type depends on the task.
Batch = Any


class Task(Protocol):
    """Batches, their loss and gradient, and a validation, over one flat parameter vector.

    ``steps``: intervals of the longest window; ``size``: number of parameters; ``layout``: of the
    vector.
    """

    steps: int
    size: int
    layout: Layout
    dtype: np.dtype

    def count(self, horizon: int) -> int:
        """Number of batches in an epoch of windows of that length."""

    def batches(self, horizon: int, rng: np.random.Generator) -> Iterator[Batch]:
        """One epoch of batches, drawn from ``rng``."""

    def kinds(self, horizon: int, rng: np.random.Generator) -> list[tuple[float, Batch]]:
        """One batch of each kind of batch that differs in cost, with the kind's share of an epoch."""

    def loss(self, theta: NDArray, batch: Batch) -> tuple[float, NDArray]:
        """Loss and gradient (size,)."""

    def losses(
        self, thetas: NDArray, batches: Sequence[Batch]
    ) -> tuple[NDArray[np.float64], NDArray]:
        """Losses (member,) and gradients (member, size) of several members, one batch for each."""

    @property
    def validates_on_training(self) -> bool:
        """Whether the validation loss is that of training data, for want of others."""

    def reference(self) -> Reference:
        """Baselines and the noise floor of the validation data, in the loss of `validate`."""

    def part(self, batch: Batch, rank: int, size: int) -> tuple[Batch | None, float]:
        """The part of a batch that process ``rank`` of ``size`` computes, and its weight in the batch.

        The weighted sum of the losses of all parts is the loss of the batch. None, with a weight of 0,
        where a batch has fewer members than there are processes.
        """

    def validate(self, theta: NDArray, group: Group = ALONE) -> dict[str, float]:
        """Scores by name, among them ``validation_loss``: lower is better. The processes of ``group``
        compute a part each, and all get the scores."""
