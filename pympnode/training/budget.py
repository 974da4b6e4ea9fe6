"""Time budgets: what an update and a validation of a task take, and how many fit into seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from itertools import count

import numpy as np
from numpy.typing import NDArray

from ..config import TrainConfig
from .optimiser import Optimiser, OptimiserState, clip
from .schedule import Plan, horizons, plan
from .task import Batch, Task

logger = logging.getLogger("pympnode.training")

_MEASURED = 0.05  # share of a time budget spent on measuring what an update takes
_LONGEST = 3.0  # seconds spent on it at most


def validation_losses(task: Task, theta: NDArray) -> NDArray[np.float64]:
    """Validation loss (member,) of weights (member, size)."""
    return np.array([task.validate(member)["validation_loss"] for member in theta])


class Timing:
    """Times updates and validations of a task, to turn a time budget into a number of updates.

    It is decided once, before the first update, and stored with the run, so that a resumed run
    makes the same updates. ``clock`` returns seconds; several processes share one, so that they
    decide alike.
    """

    def __init__(
        self,
        task: Task,
        config: TrainConfig,
        optimiser: Optimiser,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.task = task
        self.config = config
        self.optimiser = optimiser
        self.clock = clock

    def affordable(self, theta: NDArray, budget: float) -> int:
        """Updates within a time budget: decided here, once, and stored with the run."""
        config, task = self.config, self.task
        self._compile(theta)
        began = self.clock()
        cost, each = self.costs(theta, budget)
        one = seconds_of(plan(config, task.steps, task.count, 1, 1), cost, each)
        if one > budget:
            logger.warning(
                "a time budget of %.3g s does not hold one update (%.3g s) and its validation "
                "(%.3g s): one update is made",
                budget, one - each, each,
            )  # fmt: skip
        spent = self.clock() - began + (each if config.keep_start else 0)
        left = max(budget - spent, 0.1 * budget)
        return updates_within(config, task.steps, task.count, cost, each, left)

    def _compile(self, theta: NDArray) -> None:
        """One update of each kind of window and one validation, so that what is compiled at a first
        call is not taken from the budget."""
        start = self.clock()
        state = self.optimiser.start(theta)
        for length, _ in horizons(self.config, self.task.steps):
            _, batches = self._kinds(length, 0, len(theta))[0]
            self._timed(theta, batches, state, 1)
        validation_losses(self.task, theta)
        spent = self.clock() - start
        if spent > 1:
            logger.info("first calls took %.1f s, outside of the time budget", spent)

    def costs(self, theta: NDArray, budget: float | None = None) -> tuple[dict[int, float], float]:
        """Measured seconds of an update by window, and of a validation, for a run of ``budget``
        seconds or as quickly as can be."""
        windows = [length for length, _ in horizons(self.config, self.task.steps)]
        cost = {length: self._cost(theta, length, budget, len(windows)) for length in windows}
        start = self.clock()
        validation_losses(self.task, theta)
        if budget is None or self.clock() - start < _MEASURED * budget:
            start = self.clock()  # the first one warmed up
            validation_losses(self.task, theta)
        return cost, self.clock() - start

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
        state = self.optimiser.start(theta)
        shares = np.ones(1)
        times: list[list[float]] = []
        for number in count():
            drawn = self._kinds(horizon, number, len(theta))
            shares = np.array([share for share, _ in drawn])
            found = [self._timed(theta, batches, state, number + 1) for _, batches in drawn]
            if number == 0:
                continue
            times.append(found)
            made, spent = number * len(drawn), float(np.sum(times))
            slow = spent > _MEASURED * share * made
            if (made >= (few if slow else least) and spent >= spend) or spent > 0.5 * share:
                break
        return float(shares @ np.mean(times, axis=0))

    def _timed(
        self, theta: NDArray, batches: tuple[Batch, ...], state: OptimiserState, count: int
    ) -> float:
        """Seconds of an update that is thrown away."""
        start = self.clock()
        _, gradients = self.task.losses(theta, batches)
        norm = np.sqrt(np.square(gradients, dtype=np.float64).sum(axis=1))
        clipped = clip(gradients, norm, self.config.clip)
        self.optimiser.update(theta, clipped, np.zeros(len(theta)), state, count)
        return self.clock() - start

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
        return seconds_of(schedule, *self.costs(theta))


def seconds_of(laid: Plan, seconds_an_update: dict[int, float], seconds_an_epoch: float) -> float:
    """How long a plan takes, by the cost of an update of every window and that of a validation."""
    made = np.diff([0, *laid.last])
    cost = np.array([seconds_an_update[length] for length in laid.horizon])
    return float(made @ cost) + laid.epochs * seconds_an_epoch


def updates_within(
    config: TrainConfig,
    steps: int,
    count: Callable[[int], int],
    seconds_an_update: dict[int, float],
    seconds_an_epoch: float,
    budget: float,
) -> int:
    """How many updates, and the validations after their epochs, fit into ``budget`` seconds; at
    least one."""
    each = sum(
        share * (seconds_an_update[length] + seconds_an_epoch / count(length))
        for length, share in horizons(config, steps)
    )
    low, high = 1, 2 * int(budget / each) + 2
    while high - low > 1 + low // 1000:
        middle = (low + high) // 2
        laid = plan(config, steps, count, 1, middle)
        fits = seconds_of(laid, seconds_an_update, seconds_an_epoch) <= budget
        low, high = (middle, high) if fits else (low, middle)
    return low
