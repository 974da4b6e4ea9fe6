"""Tasks: what is trained on. A Task is all that differs between networks and particles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidData
from .engines.base import Batch, Program
from .schema import Arrays


class TrajectoryTask:
    """Networks: windows of trajectories, Huber loss of a rollout from the first state of a window.

    ``program`` is bound to ``arrays``; ``train`` and ``validation`` are indices of trajectories over
    all of them, one after the other. A window starts anywhere where the state is known; on an uneven
    time grid the windows of a batch start together.
    """

    def __init__(
        self,
        program: Program,
        arrays: list[Arrays],
        train: NDArray[np.int64],
        validation: NDArray[np.int64],
        batch_size: int,
    ) -> None:
        if not len(train):
            raise InvalidData(
                "there are no trajectories to train on",
                got=f"{sum(a.trajectories for a in arrays)} trajectories, none in the training part",
                allowed="at least one",
                fix="give more trajectories, or a larger split=",
            )
        self.program = program
        self.size = program.layout.size
        self.dtype = program.dtype
        self.steps = min(a.steps for a in arrays)
        self.train = train
        self.validation = validation
        self.batch_size = min(batch_size, len(train))
        self._even = all(a.even for a in arrays)
        self._starts = _known_starts(arrays)
        self._same = all(a.steps == self.steps for a in arrays)
        self._lengths = np.concatenate([np.full(a.trajectories, a.steps) for a in arrays])

    def count(self, horizon: int) -> int:
        """See `Task`."""
        windows = len(self.train) * max(1, self.steps // horizon)
        return -(-windows // self.batch_size)

    def batches(self, horizon: int, rng: np.random.Generator) -> Iterator[Batch]:
        """See `Task`."""
        windows = np.tile(self.train, max(1, self.steps // horizon))
        order = rng.permutation(windows)
        for at in range(0, len(order), self.batch_size):
            chosen = order[at : at + self.batch_size]
            yield Batch(chosen, self._start(chosen, horizon, rng), horizon)

    def kinds(self, horizon: int, rng: np.random.Generator) -> list[tuple[float, Batch]]:
        """See `Task`: a whole batch, and the last one of an epoch where it is shorter."""
        batches = list(self.batches(horizon, rng))
        first, last, share = batches[0], batches[-1], 1 / len(batches)
        if len(last.trajectory) == len(first.trajectory):
            return [(1.0, first)]
        return [(1.0 - share, first), (share, last)]

    def loss(self, theta: NDArray, batch: Batch) -> tuple[float, NDArray]:
        """See `Task`."""
        return self.program.loss_and_gradient(theta, batch)

    def losses(
        self, thetas: NDArray, batches: Sequence[Batch]
    ) -> tuple[NDArray[np.float64], NDArray]:
        """See `Task`; a program that can works on all members at once."""
        together = getattr(self.program, "loss_and_gradient_members", None)
        if together is not None and len(thetas) > 1:
            results = together(thetas, batches)
        else:
            results = [self.loss(theta, batch) for theta, batch in zip(thetas, batches)]
        return np.array([value for value, _ in results]), np.stack([g for _, g in results])

    def validate(self, theta: NDArray) -> dict[str, float]:
        """The loss over the whole horizon, on the validation part (on training data without one)."""
        index = self.validation if len(self.validation) else self.train
        total, weight = 0.0, 0
        for at in range(0, len(index), 512):
            part = index[at : at + 512]
            batch = Batch(part, np.zeros(len(part), np.int64), self.steps)
            total += self.program.loss(theta, batch) * len(part)
            weight += len(part)
        return {"validation_loss": total / weight}

    def _start(
        self, chosen: NDArray[np.int64], horizon: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        latest = self._lengths[chosen] - horizon
        share = rng.random(len(chosen))
        if not self._even:
            share[:] = share[0]
            latest[:] = latest.min()
        start = np.floor(share * (latest + 1)).astype(np.int64)
        if self._starts is None:
            return start
        if not self._even:
            known = np.logical_and.reduce([self._starts[i][: latest[0] + 1] for i in chosen])
            first = np.flatnonzero(known)
            return np.full(len(chosen), first[int(share[0] * len(first))])
        for place, index in enumerate(chosen):
            known_starts = np.flatnonzero(self._starts[index][: latest[place] + 1])
            start[place] = known_starts[int(share[place] * len(known_starts))]
        return start


def _known_starts(arrays: list[Arrays]) -> list[NDArray[np.bool_]] | None:
    """Of every trajectory, the times at which the whole state is known; None where all are."""
    if all(a.mask is None for a in arrays):
        return None
    starts: list[NDArray[np.bool_]] = []
    for each in arrays:
        known = np.ones(each.x.shape[:2], bool) if each.mask is None else each.mask.all(axis=(2, 3))
        starts.extend(np.asarray(known))
    return starts
