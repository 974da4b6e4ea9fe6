"""The training task of networks: windows of trajectories and their loss (see `training.task`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidData
from .engines.base import Batch, Program
from .schema import Arrays


class TrajectoryTask:
    """Windows of trajectories; the loss is the Huber loss of a rollout from a window's first state.

    ``program`` is bound to ``arrays``; ``train`` and ``validation`` are trajectory numbers that count
    through all of ``arrays`` in order. A window starts at a random time at which the state is
    known (see `_known_starts`). On an uneven time grid all windows of a batch start at the same time, because a program
    integrates a batch with one sequence of step sizes.
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
                got=f"{sum(a.trajectories for a in arrays)} trajectories, none of them for training",
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
        """See `Task`; in one call where the program supports several members."""
        of_members = getattr(self.program, "loss_and_gradient_members", None)
        if of_members is not None and len(thetas) > 1:
            results = of_members(thetas, batches)
        else:
            results = [self.loss(theta, batch) for theta, batch in zip(thetas, batches)]
        return np.array([value for value, _ in results]), np.stack([g for _, g in results])

    def validate(self, theta: NDArray) -> dict[str, float]:
        """The loss over the whole horizon of the validation trajectories.

        Of the training trajectories where there are none for validation.
        """
        index = self.validation if len(self.validation) else self.train
        total, weight = 0.0, 0
        for at in range(0, len(index), 512):  # bounds the memory of a validation
            chosen = index[at : at + 512]
            batch = Batch(chosen, np.zeros(len(chosen), np.int64), self.steps)
            total += self.program.loss(theta, batch) * len(chosen)
            weight += len(chosen)
        return {"validation_loss": total / weight}

    def _start(
        self, chosen: NDArray[np.int64], horizon: int, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """Random first times (batch,) of the windows of ``chosen`` trajectories."""
        latest = self._lengths[chosen] - horizon
        # Drawn for every window also where one draw serves all: the stream of random numbers does not
        # depend on the time grid.
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
        for row, index in enumerate(chosen):
            known_starts = np.flatnonzero(self._starts[index][: latest[row] + 1])
            start[row] = known_starts[int(share[row] * len(known_starts))]
        return start


def _known_starts(arrays: list[Arrays]) -> list[NDArray[np.bool_]] | None:
    """(time,) for every trajectory: whether windows start there; None where nothing is missing.

    Windows start at the first time and where the whole state is known; in trajectories in which that
    is so at less than a tenth of the times, where at least as much is known as at half of them.
    """
    if all(a.mask is None for a in arrays):
        return None
    starts: list[NDArray[np.bool_]] = []
    for each in arrays:
        if each.mask is None:
            starts.extend(np.ones(each.x.shape[:2], bool))
            continue
        whole = each.mask.all(axis=(2, 3))
        # What is missing at a start is interpolated, so that trajectories whose nodes are hardly ever
        # all known at once have windows too: from the times at which most is known.
        count = each.mask.sum(axis=(2, 3))
        most = count >= np.median(count, axis=1, keepdims=True)
        known = np.where(whole.mean(axis=1, keepdims=True) >= 0.1, whole, most)
        known[:, 0] = True
        starts.extend(known)
    return starts
