"""Trainer: the one training loop, for both engines and for networks and particles alike."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..callbacks import METRICS, Events, TrainingRun
from ..config import TrainConfig
from ..errors import InvalidData, InvalidOption
from .budget import Timing, validation_losses
from .checkpoint import Run, State, history_dataset
from .divergence import conclude, go_back, not_finite
from .optimiser import check_state, clip, make_optimiser
from .processes import SharedOptimiser, SharedRun, SharedTask, current
from .progress import Progress, Silent
from .schedule import Plan, extended, plan, planned_rate
from .start import keep_start
from .task import Batch, Task

logger = logging.getLogger("pympnode.training")

REASONS = {
    "completed": "all updates were made",
    "interrupted": "interrupted; the best weights so far were kept",
    "diverged": "the loss or its gradient was no longer finite; the best weights before were kept",
}


ENDED = ("completed", "diverged")  # a run folder in this state is not trained on


@dataclass(frozen=True, eq=False)
class Outcome:
    """What training ended with.

    ``theta`` (member, size): each member's best weights by validation; ``history`` over epoch;
    ``status``: "completed", "interrupted" or "diverged"; ``best_loss``, ``best_epoch`` (member,);
    ``added``: the epochs by which the run was extended; ``stop``: why a callback ended it;
    ``unclear``: whether the start was kept because the gain over it was within chance.
    """

    theta: NDArray
    history: xr.Dataset
    status: str
    best_loss: NDArray[np.float64]
    best_epoch: NDArray[np.int64]
    updates: int
    seconds: float
    cause: str = ""
    added: int = 0
    stop: str = ""
    unclear: bool = False

    @property
    def reason(self) -> str:
        """Why the run stopped, in words."""
        text = REASONS[self.status]
        if self.stop and self.status == "completed":
            text = f"a callback ended the run: {self.stop}"
        if self.added and self.status == "completed":
            text = f"{text}, with {self.added} epochs that were added"
        if self.status == "diverged" and self.cause:
            text = f"{self.cause}; the best weights before were kept"
        if self.status != "interrupted" and (self.best_epoch == 0).all():
            text = f"{text}; no epoch was better than the weights that the run started from"
            if self.unclear:
                text += " by more than the validation trajectories differ by chance"
        return text


class Trainer:
    """An optimiser on the batches of a task, validated every epoch; the best weights are kept.

    The members of an ensemble train side by side, each from its own weights on its own batches; one
    member is an ensemble of one.

    With ``run`` the state is written at most every ``checkpoint_seconds`` and at the end of every
    kind of stop, and a run folder that holds a state is continued. The first Ctrl-C ends the run
    after the update at hand with status "interrupted"; a second one raises. SIGTERM does the same
    where there is a run folder; `signal` holds its number, for the caller to deliver after saving.

    ``extend``: epochs beyond the length of the run. They begin where the run ended, from its last
    weights and the state of its optimiser (see `schedule.extended`); epochs that were added before
    count, so that the same call continues. A run that diverged is not extended: `InvalidOption`.
    """

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        run: Run | SharedRun | None = None,
        progress: Progress | None = None,
        *,
        title: str = "train",
        checkpoint_seconds: float = 10.0,
        extend: int = 0,
        events: Events | None = None,
    ) -> None:
        self.group = current()
        self.optimiser = make_optimiser(config.optimiser, task.layout)
        clock: Callable[[], float] = time.perf_counter
        if self.group is not None:
            task = SharedTask(task, self.group, lambda: self._asked)
            self.optimiser = SharedOptimiser(self.optimiser, self.group)
            clock = self.group.clock
        self.task = task
        self.config = config
        self.run = run
        self.progress = progress or Silent()
        self.title = title
        self.checkpoint_seconds = checkpoint_seconds
        self.extend = extend
        self.events = Events(TrainingRun()) if events is None else events
        self.timing = Timing(task, config, self.optimiser, clock)
        self.signal: int | None = None
        self._asked = False
        self._unfinished = 0  # updates of a first epoch that was broken off

    def fit(self, theta: NDArray) -> Outcome:
        """Train from ``theta`` (member, size), or from where the run folder stopped."""
        like = np.asarray(theta, dtype=self.task.dtype)
        state = None
        if self.run is not None:
            state = self.run.load(like, self.optimiser.start(like))
        if self.run is not None and (state is None or self._continues(state)):
            self.run.require_space(like)
        if state is None:
            state = self._fresh(theta)
        while self._continues(state):
            if state.status == "completed":
                state.extensions.append([state.epoch, state.count, self._missing(state)])
            state.status, state.stop = "running", ""
            # Overflow is looked for in losses and gradients; NumPy's own warnings say no more.
            with (
                _first_interrupt(self, saves=self.run is not None),
                np.errstate(all="ignore"),
            ):
                self._epochs(state)
            if state.status == "interrupted":
                break
        unclear = False
        if self.config.keep == "best":
            with np.errstate(all="ignore"):
                conclude(self.task, state, np.asarray(theta), self._last_batch(state))
                if self.config.keep_start and self.config.margin:
                    first = np.asarray(theta, dtype=self.task.dtype)
                    unclear = keep_start(self.task, state, first, self.config.margin)
        return Outcome(
            state.best,
            history_dataset(state.history),
            state.status,
            state.best_loss,
            state.best_epoch,
            state.count if state.epoch else self._unfinished,
            state.seconds,
            state.cause,
            sum(epochs for *_, epochs in state.extensions),
            state.stop,
            unclear,
        )

    def _missing(self, state: State) -> int:
        """Epochs of ``extend`` that were not added yet."""
        return self.extend - sum(epochs for *_, epochs in state.extensions)

    def _continues(self, state: State) -> bool:
        """Whether there is something to train. Raises `InvalidOption` for a run that diverged and is
        to be extended."""
        if state.status not in ENDED:
            return True
        if self._missing(state) <= 0:
            return False
        if state.status == "diverged":
            raise InvalidOption(
                "a run that diverged is not extended",
                got=f"extend={self.extend}; {state.cause}",
                allowed="a run that was completed",
                fix="finetune(run) trains on from its best weights; retry_diverged=True goes back once",
            )
        return True

    def expected_seconds(self, theta: NDArray) -> float:
        """About how long a whole run will take, from a few timed updates."""
        return self.timing.expected_seconds(theta)

    # ---- the loop -----------------------------------------------------------------------------

    def _fresh(self, theta: NDArray) -> State:
        state = State.start(np.array(theta, dtype=self.task.dtype))
        state.optimiser = check_state(self.optimiser.start(state.theta), len(theta))
        state.epochs = self.config.epochs
        if self.config.time_budget is not None:
            state.updates = self.timing.affordable(state.theta, self.config.time_budget)
        if self.config.keep_start:
            # Weights that are good already stay the best until something better comes.
            state.best_loss = validation_losses(self.task, state.theta)
            state.best_epoch[:] = 0
        return state

    def _draw(self, horizon: int, epoch: int, members: int) -> Iterator[tuple[Batch, ...]]:
        """The batches of one epoch, a generator a member."""
        seed = self.config.seed
        each = [
            self.task.batches(horizon, np.random.default_rng([seed, 0, epoch, member]))
            for member in range(members)
        ]
        return zip(*each)

    def _last_batch(self, state: State) -> Batch | None:
        """A batch of the last epoch, of the first member."""
        if not state.epoch:
            return None
        horizon = int(state.history["horizon"][-1])
        return next(self._draw(horizon, state.epoch - 1, 1))[0]

    def _epochs(self, state: State) -> None:
        config = self.config
        updates = config.updates if state.updates is None else state.updates
        steps, count = self.task.steps, self.task.count
        schedule = plan(config, steps, count, state.epochs, updates)
        if state.extensions:
            parts = [(epoch, first, epochs) for epoch, first, epochs in state.extensions]
            schedule = extended(schedule, config, steps, count, parts)
        self.progress.start(schedule.updates, state.count, self.title)
        before, began, saved = state.seconds, time.perf_counter(), time.perf_counter()
        try:
            self._start_callbacks(state, schedule)
            while state.epoch < schedule.epochs and state.status == "running":
                whole = self._epoch(state, schedule)
                if state.status == "diverged" and self.config.retry_diverged and not state.retries:
                    logger.warning(
                        "%s; once more from the best weights at half the rate", state.cause
                    )
                    go_back(state, self.optimiser)
                    continue
                state.seconds = before + time.perf_counter() - began
                if not whole:
                    break
                self._record(state)
                if self._stopped_by_callback(state) or self._stands_still(state, schedule):
                    break
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

    def _epoch(self, state: State, schedule: Plan) -> bool:
        """One epoch; False when the run must end before the epoch does.

        An epoch that is broken off leaves the state as it was before it, so that a later run
        repeats the epoch whole and ends with the same bits.
        """
        config = self.config
        horizon, last = schedule.horizon[state.epoch], schedule.last[state.epoch]
        numbers = {name: array.copy() for name, array in state.optimiser.items()}
        theta, mean, count = state.theta, state.mean, state.count
        losses: list[NDArray] = []
        norms: list[NDArray] = []
        rates = np.zeros(len(theta))
        for batches in self._draw(horizon, state.epoch, len(theta)):
            if count >= last:
                break
            values, gradients = self.task.losses(theta, batches)
            norm = np.sqrt(np.square(gradients, dtype=np.float64).sum(axis=1))
            alive = np.isfinite(values) & np.isfinite(norm)
            if not alive.any():
                cause = not_finite(
                    self.task, count, state.epoch, values, theta, batches, state.retries
                )
                if count == 0 and not state.retries:
                    # Nothing was learned: the "best" weights would be drawn numbers.
                    raise InvalidData(
                        "the first loss or its gradient is not finite, so that nothing can be learned",
                        got=f"loss {values.tolist()}, norm of the gradient {norm.tolist()}; {cause}",
                        allowed="finite numbers",
                        fix='look for outliers in the data, give it in larger units, or dtype="float64"',
                    )
                state.status, state.cause = "diverged", cause
                logger.warning("diverged at %s", cause)
                return False
            if not alive.all():
                # A member that overflowed stays where it is; the others go on.
                gradients = np.where(alive[:, None], gradients, 0)
                norm = np.where(alive, norm, 0.0)
            rate = planned_rate(config, schedule, count, state.rate_factor)
            rate = np.asarray(rate) * 0.5**state.retries
            rates = np.broadcast_to(np.asarray(rate, dtype=np.float64), len(theta))
            count += 1
            clipped = clip(gradients, norm, config.clip)
            step = self.optimiser.update(theta, clipped, rates, numbers, count - state.restart)
            theta = np.where(alive[:, None], step, theta)
            if config.average:
                decay = min(config.average, count / (count + 10))
                mean = (decay * mean + (1 - decay) * theta).astype(theta.dtype)
            losses.append(values)
            norms.append(norm)
            self._tell(state, count, values)
            if self.events.each_batch:
                self.events.batch(count, float(np.mean(values)))
                if self.events.run.stopped and self.group is None:
                    break
            if self._stop():
                state.status = "interrupted"
                if state.epoch == 0 and (state.best_epoch < 0).all():
                    # Nothing was validated yet: what was learned so far beats the start.
                    state.best = theta
                    self._unfinished = count
                return False
        state.theta, state.optimiser, state.count = theta, numbers, count
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
        value = validation_losses(self.task, state.mean)
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

    def _stands_still(self, state: State, schedule: Plan) -> bool:
        """Whether no member's validation loss fell for a share of the planned updates."""
        if not self.config.standstill:
            return False
        best = int(state.best_epoch.max())
        at = state.history["updates"][best - 1] if best > 0 else 0
        # Rollouts go on where gradient matching cannot.
        first, updates = schedule.part(state.count - 1)
        at = max(at, schedule.matching, first)
        return state.count - at >= self.config.standstill * updates

    def _tell(self, state: State, count: int, values: NDArray) -> None:
        facts = {
            "epoch": state.epoch + 1,
            "loss": float(np.mean(values)),
            "best": float(np.mean(state.best_loss)),
        }
        self.progress.update(count, facts)

    def _record(self, state: State) -> None:
        state.history["seconds"].append(state.seconds)

    def _start_callbacks(self, state: State, schedule: Plan) -> None:
        run = self.events.run
        run.updates, run.epochs = schedule.updates, schedule.epochs
        run.history = _metrics(state, 0) if self.events.any else []
        run.weights = lambda: (state.mean.copy(), state.best.copy())
        self.events.start()

    def _stopped_by_callback(self, state: State) -> bool:
        """Call the callbacks after an epoch; whether one of them ends the run, in all processes."""
        events = self.events
        if not events.any:
            return False
        (metrics,) = _metrics(state, state.epoch - 1)
        events.epoch(metrics)
        stopped = bool(events.run.stopped)
        if self.group is not None:
            # The others have callbacks too, and call none of them.
            stopped = bool(self.group.sum(np.array([float(stopped)]))[0])
        if stopped:
            state.stop = events.run.stopped or "in the first process"
        return stopped

    def interrupt(self) -> None:
        """Ask the loop to end after the update at hand."""
        self._asked = True

    def _stop(self) -> bool:
        """Whether the loop was asked to end; in several processes, any of them, before this update."""
        return self.task.stop if isinstance(self.task, SharedTask) else self._asked


def _metrics(state: State, first: int) -> list[dict[str, float]]:
    """The metrics of the epochs from ``first`` on, counted from 0; of an ensemble the means of the
    members."""
    values: dict[str, Any] = {
        n: [np.mean(row) for row in v[first:]] for n, v in state.history.items()
    }
    losses = state.history["validation_loss"]
    best: Any = np.minimum.accumulate(np.array(losses), axis=0)[first:] if losses else []
    values["best_validation_loss"] = [np.mean(row) for row in best]
    values["epoch"] = range(first + 1, len(losses) + 1)
    rows = zip(*(values[name] for name in METRICS), strict=True)
    return [dict(zip(METRICS, map(float, row))) for row in rows]


class _first_interrupt:
    """Within it the first SIGINT (and SIGTERM, with a run folder) asks the trainer to stop; a second
    one acts as usual."""

    def __init__(self, trainer: Trainer, *, saves: bool = False) -> None:
        self.trainer = trainer
        # Without a folder there is nothing to save, and SIGTERM ends the process at once.
        self._numbers = (signal.SIGINT, signal.SIGTERM) if saves else (signal.SIGINT,)
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in self._numbers:
            self._before[number] = signal.getsignal(number)
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.trainer.interrupt()
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
        else:
            self.trainer.signal = number
            self._restore(number)

    def _restore(self, number: int) -> None:
        # None: a handler that was not set from Python cannot be set again.
        before = self._before.get(number)
        signal.signal(number, signal.SIG_DFL if before is None else before)

    def __exit__(self, *error: object) -> None:
        for number in self._before:
            self._restore(number)
