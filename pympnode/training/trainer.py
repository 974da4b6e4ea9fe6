"""Trainer: the one training loop, for both engines and for networks and particles alike."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from types import FrameType
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import TrainConfig
from .checkpoint import Run, State, history_dataset
from .optimiser import Adam, clip
from .progress import Progress, Silent
from .schedule import Plan, horizons, learning_rate, plan, seconds_of, updates_within
from .task import Batch, Task

logger = logging.getLogger("pympnode.training")

REASONS = {
    "completed": "all updates were made",
    "interrupted": "interrupted; the best weights so far were kept",
    "diverged": "the loss or its gradient was no longer finite; the best weights before were kept",
}


_MEASURED = 0.05  # of a time budget, spent on measuring what an update takes
_LONGEST = 3.0  # seconds of it


@dataclass(frozen=True, eq=False)
class Outcome:
    """What training ended with.

    ``theta`` (member, size): each member's best weights by validation; ``history`` over epoch;
    ``status``: "completed", "interrupted" or "diverged"; ``best_loss``, ``best_epoch`` (member,).
    """

    theta: NDArray
    history: xr.Dataset
    status: str
    best_loss: NDArray[np.float64]
    best_epoch: NDArray[np.int64]
    updates: int
    seconds: float

    @property
    def reason(self) -> str:
        """Why the run stopped, in words."""
        return REASONS[self.status]


class Trainer:
    """Adam on the batches of a task, validated every epoch; the best weights are kept.

    The members of an ensemble train side by side, each from its own weights on its own batches; one
    member is an ensemble of one.

    With ``run`` the state is written at most every ``checkpoint_seconds`` and at the end of every
    kind of stop, and a run folder that holds a state is continued. The first Ctrl-C ends the run
    after the update at hand with status "interrupted"; a second one raises.
    """

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        run: Run | None = None,
        progress: Progress | None = None,
        *,
        title: str = "train",
        checkpoint_seconds: float = 10.0,
    ) -> None:
        self.task = task
        self.config = config
        self.run = run
        self.progress = progress or Silent()
        self.title = title
        self.checkpoint_seconds = checkpoint_seconds
        self._stop = False
        self._unfinished = 0  # updates of a first epoch that was broken off

    def fit(self, theta: NDArray) -> Outcome:
        """Train from ``theta`` (member, size), or from where the run folder stopped."""
        state = self.run.load() if self.run is not None else None
        if state is None:
            state = self._fresh(theta)
        if state.status not in ("completed", "diverged"):
            state.status = "running"
            with _first_interrupt(self):
                self._epochs(state)
        return Outcome(
            state.best,
            history_dataset(state.history),
            state.status,
            state.best_loss,
            state.best_epoch,
            state.count if state.epoch else self._unfinished,
            state.seconds,
        )

    # ---- the loop -----------------------------------------------------------------------------

    def _fresh(self, theta: NDArray) -> State:
        state = State.start(np.array(theta, dtype=self.task.dtype))
        state.epochs = self.config.epochs
        if self.config.time_budget is not None:
            state.updates = self._affordable(state.theta, self.config.time_budget)
        if self.config.keep_start:
            # Weights that are good already stay the best until something better comes.
            state.best_loss = self._validate(state.theta)
            state.best_epoch[:] = 0
        return state

    def _validate(self, theta: NDArray) -> NDArray[np.float64]:
        return np.array([self.task.validate(member)["validation_loss"] for member in theta])

    def _draw(self, horizon: int, epoch: int, members: int) -> Iterator[tuple[Batch, ...]]:
        """The batches of one epoch, a generator a member."""
        seed = self.config.seed
        each = [
            self.task.batches(horizon, np.random.default_rng([seed, 0, epoch, member]))
            for member in range(members)
        ]
        return zip(*each)

    def _affordable(self, theta: NDArray, budget: float) -> int:
        """Updates within a time budget: decided here, once, and stored with the run."""
        config, task = self.config, self.task
        began = time.perf_counter()
        cost, each = self._costs(theta, budget)
        one = seconds_of(plan(config, task.steps, task.count, 1, 1), cost, each)
        if one > budget:
            logger.warning(
                "a time budget of %.3g s does not hold one update (%.3g s) and its validation "
                "(%.3g s): one update is made",
                budget, one - each, each,
            )  # fmt: skip
        spent = time.perf_counter() - began + (each if config.keep_start else 0)
        left = max(budget - spent, 0.1 * budget)
        return updates_within(config, task.steps, task.count, cost, each, left)

    def _costs(self, theta: NDArray, budget: float | None = None) -> tuple[dict[int, float], float]:
        """Measured seconds of an update by window, and of a validation, for a run of ``budget``
        seconds or as quickly as can be."""
        windows = [length for length, _ in horizons(self.config, self.task.steps)]
        cost = {length: self._cost(theta, length, budget, len(windows)) for length in windows}
        start = time.perf_counter()
        self._validate(theta)
        if budget is None or time.perf_counter() - start < _MEASURED * budget:
            start = time.perf_counter()  # the first one warmed up
            self._validate(theta)
        return cost, time.perf_counter() - start

    def _cost(self, theta: NDArray, horizon: int, budget: float | None, windows: int) -> float:
        """Mean seconds of an update, over kinds of batches by their share in an epoch.

        One batch of every kind warms up. At least eight others are timed, and more for a twentieth
        of the budget or three seconds; where an update takes over a twentieth, three, and none once
        half of the budget is gone. The ``windows`` share the budget, and those three. Without a
        budget three are timed.
        """
        share = np.inf if budget is None else budget / windows
        spend = 0.0 if budget is None else min(_LONGEST / windows, _MEASURED * share)
        least = 3 if budget is None else 8
        few = 3 if budget is None else -(-3 // windows)
        adam = Adam(np.zeros_like(theta), np.zeros_like(theta))
        shares = np.ones(1)
        times: list[list[float]] = []
        for number in count():
            drawn = self._kinds(horizon, number, len(theta))
            shares = np.array([share for share, _ in drawn])
            found = [self._timed(theta, batches, adam) for _, batches in drawn]
            if number == 0:
                continue
            times.append(found)
            made, spent = number * len(drawn), float(np.sum(times))
            slow = spent > _MEASURED * share * made
            if (made >= (few if slow else least) and spent >= spend) or spent > 0.5 * share:
                break
        return float(shares @ np.mean(times, axis=0))

    def _timed(self, theta: NDArray, batches: tuple[Batch, ...], adam: Adam) -> float:
        """Seconds of an update that is thrown away."""
        start = time.perf_counter()
        _, gradients = self.task.losses(theta, batches)
        norm = np.sqrt(np.square(gradients, dtype=np.float64).sum(axis=1))
        adam.update(theta, clip(gradients, norm, self.config.clip), np.zeros(len(theta)))
        return time.perf_counter() - start

    def _kinds(
        self, horizon: int, number: int, members: int
    ) -> list[tuple[float, tuple[Batch, ...]]]:
        """Batches of every kind and their share in an epoch, one a member; another draw for every
        ``number``."""
        seed = self.config.seed
        each = [
            self.task.kinds(horizon, np.random.default_rng([seed, 1, number, member]))
            for member in range(members)
        ]
        return [(kind[0][0], tuple(batch for _, batch in kind)) for kind in zip(*each)]

    def expected_seconds(self, theta: NDArray) -> float:
        """About how long a whole run will take, from a few timed updates."""
        theta = np.array(theta, dtype=self.task.dtype)
        config, task = self.config, self.task
        if config.time_budget is not None:
            return config.time_budget
        schedule = plan(config, task.steps, task.count, config.epochs, config.updates)
        return seconds_of(schedule, *self._costs(theta))

    def _epochs(self, state: State) -> None:
        config = self.config
        updates = config.updates if state.updates is None else state.updates
        schedule = plan(config, self.task.steps, self.task.count, state.epochs, updates)
        adam = Adam(state.first, state.second, state.count)
        self.progress.start(schedule.updates, state.count, self.title)
        before, began, saved = state.seconds, time.perf_counter(), time.perf_counter()
        try:
            while state.epoch < schedule.epochs and state.status == "running":
                whole = self._epoch(state, schedule, adam)
                state.seconds = before + time.perf_counter() - began
                if not whole:
                    break
                self._record(state)
                if self.run and time.perf_counter() - saved >= self.checkpoint_seconds:
                    self.run.save(state)
                    saved = time.perf_counter()
            if state.status == "running":
                state.status = "completed"
            # One that is interrupted in its first epoch keeps the number of updates it is laid out for.
            if self.run is not None and (state.epoch > 0 or state.status == "interrupted"):
                self.run.save(state)
        finally:
            self.progress.stop()

    def _epoch(self, state: State, schedule: Plan, adam: Adam) -> bool:
        """One epoch; False when the run must end before the epoch does.

        An epoch that is broken off leaves the state as it was before it, so that a later run
        repeats the epoch whole and ends with the same bits.
        """
        config = self.config
        horizon, last = schedule.horizon[state.epoch], schedule.last[state.epoch]
        work = Adam(adam.first, adam.second, adam.count)
        theta, mean = state.theta, state.mean
        losses: list[NDArray] = []
        norms: list[NDArray] = []
        rates = np.zeros(len(theta))
        for batches in self._draw(horizon, state.epoch, len(theta)):
            if work.count >= last:
                break
            values, gradients = self.task.losses(theta, batches)
            norm = np.sqrt(np.square(gradients, dtype=np.float64).sum(axis=1))
            alive = np.isfinite(values) & np.isfinite(norm)
            if not alive.any():
                state.status = "diverged"
                logger.warning("diverged in epoch %d: loss %s", state.epoch + 1, values)
                return False
            if not alive.all():
                # A member that overflowed stays where it is; the others go on.
                gradients = np.where(alive[:, None], gradients, 0)
                norm = np.where(alive, norm, 0.0)
            rate = learning_rate(config, work.count, schedule.updates, state.rate_factor)
            rates = np.broadcast_to(np.asarray(rate, dtype=np.float64), len(theta))
            step = work.update(theta, clip(gradients, norm, config.clip), rates)
            theta = np.where(alive[:, None], step, theta)
            if config.average:
                decay = min(config.average, work.count / (work.count + 10))
                mean = (decay * mean + (1 - decay) * theta).astype(theta.dtype)
            losses.append(values)
            norms.append(norm)
            self._tell(state, work.count, values)
            if self._stop:
                state.status = "interrupted"
                if state.epoch == 0 and (state.best_epoch < 0).all():
                    # Nothing was validated yet: what was learned so far beats the start.
                    state.best = theta
                    self._unfinished = work.count
                return False
        adam.first, adam.second, adam.count = work.first, work.second, work.count
        state.theta, state.first, state.second = theta, work.first, work.second
        state.count = work.count
        state.mean = mean if config.average else theta
        row = {
            "loss": np.mean(losses, axis=0),
            "gradient_norm": np.mean(norms, axis=0),
            "learning_rate": np.array(rates),
            "horizon": horizon,
            "updates": state.count,
        }
        self._close_epoch(state, row)
        return True

    def _close_epoch(self, state: State, row: dict[str, Any]) -> None:
        """Validate, keep what is best, let a plateau lower the rate, write the history's row."""
        value = self._validate(state.mean)
        state.epoch += 1
        better = value < state.best_loss
        if self.config.keep == "last":
            better = np.ones_like(better)
        state.best_loss = np.where(better, value, state.best_loss)
        state.best_epoch = np.where(better, state.epoch, state.best_epoch)
        state.best = np.where(better[:, None], state.mean, state.best)
        state.since_best = np.where(better, 0, state.since_best + 1)
        if self.config.schedule == "plateau":
            due = state.since_best >= self.config.patience
            state.rate_factor = np.where(
                due, state.rate_factor * self.config.plateau_factor, state.rate_factor
            )
            state.since_best = np.where(due, 0, state.since_best)
        for name, entry in {**row, "validation_loss": value}.items():
            state.history[name].append(entry)

    def _tell(self, state: State, count: int, values: NDArray) -> None:
        facts = {
            "epoch": state.epoch + 1,
            "loss": float(np.mean(values)),
            "best": float(np.mean(state.best_loss)),
        }
        self.progress.update(count, facts)

    def _record(self, state: State) -> None:
        state.history["seconds"].append(state.seconds)

    def interrupt(self) -> None:
        """Ask the loop to end after the update at hand."""
        self._stop = True


class _first_interrupt:
    """Within it the first SIGINT asks the trainer to stop; a second one raises as usual."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self._before: Any = None

    def __enter__(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.getsignal(signal.SIGINT)
            signal.signal(signal.SIGINT, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.trainer.interrupt()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def __exit__(self, *error: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
