"""Schedules: the window length of each epoch, and the learning rate of each update.

An epoch is one pass over the training data for every window length: with windows of 5 out of 50
intervals it holds ten windows of every trajectory. The whole schedule is fixed before the first
update (`plan`), so that an interrupted run continues with the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import TrainConfig
from ..memory import need

# The window of a stage without rollouts: the vector field is compared with derivatives of the data.
MATCHING = 0


@dataclass(frozen=True)
class Plan:
    """``horizon`` (epochs,): intervals in a window; ``last`` (epochs,): updates made by its end.

    ``added``: the first update and the number of updates of each extension, see `extended`;
    ``original``: the updates that were planned before.
    """

    horizon: tuple[int, ...]
    last: tuple[int, ...]
    added: tuple[tuple[int, int], ...] = ()
    original: int = 0

    @property
    def epochs(self) -> int:
        """Number of epochs; the last one may be cut short."""
        return len(self.horizon)

    @property
    def matching(self) -> int:
        """Number of updates of gradient matching, which come first."""
        return max(
            (n for n, length in zip(self.last, self.horizon) if length == MATCHING), default=0
        )

    @property
    def updates(self) -> int:
        """Number of updates."""
        return self.last[-1] if self.last else 0

    def part(self, update: int) -> tuple[int, int]:
        """The first update and the number of updates of the extension that ``update`` belongs to;
        those of the whole run where that is not extended."""
        return next((part for part in reversed(self.added) if update >= part[0]), (0, self.updates))


def horizons(config: TrainConfig, steps: int) -> list[tuple[int, float]]:
    """The curriculum for data of ``steps`` intervals: (window, share of the updates).

    Gradient matching comes first, as window `MATCHING`.
    """
    stages: dict[int, float] = {}
    for window, share in config.curriculum or ((0, 1.0),):
        length = steps if window <= 0 else min(window, steps)
        stages[length] = stages.get(length, 0.0) + share
    total = sum(stages.values())
    stages = {length: share / total for length, share in stages.items() if share > 0}
    if config.matching:
        rest = 1 - config.matching
        return [(MATCHING, config.matching), *((n, rest * share) for n, share in stages.items())]
    return list(stages.items())


def plan(
    config: TrainConfig, steps: int, count: Callable[[int], int], epochs: int, updates: int | None
) -> Plan:
    """The plan of ``epochs`` passes; ``count(horizon)`` is the number of batches of a pass.

    With ``updates`` the run has exactly that many updates, in as many epochs as they fill.
    """
    stages = horizons(config, steps)
    # A share of updates is a share of passes once it is divided by the batches that a pass holds.
    passes = np.array([share / count(length) for length, share in stages])
    if updates is not None:
        epochs = max(1, math.ceil(updates * float(passes.sum())))
    need(
        100 * epochs,
        f"the plan of {epochs:,} epochs",
        "ask for fewer epochs=, updates= or time_budget=",
    )
    bounds = np.cumsum(passes / passes.sum())
    stage_of = np.searchsorted(bounds, (np.arange(epochs) + 0.5) / epochs)
    chosen = [stages[min(stage, len(stages) - 1)][0] for stage in stage_of.tolist()]
    last, done = [], 0
    if updates is None:
        for length in chosen:
            done += count(length)
            last.append(done)
        return Plan(tuple(chosen), tuple(last))
    while done < updates:
        length = chosen[len(last)] if len(last) < len(chosen) else chosen[-1]
        if len(last) >= len(chosen):
            chosen.append(length)
        done = min(updates, done + count(length))
        last.append(done)
    return Plan(tuple(chosen[: len(last)]), tuple(last))


# A run that is extended has found a minimum; the whole rate would leave it.
EXTENSION_RATE = 0.5


def extended(
    laid: Plan,
    config: TrainConfig,
    steps: int,
    count: Callable[[int], int],
    extensions: Iterable[tuple[int, int, int]],
) -> Plan:
    """``laid`` with epochs added at its end, all with windows of the last stage of the curriculum.

    ``extensions``: the epoch and the update at which each begins, and its number of epochs.
    """
    window = horizons(config, steps)[-1][0]
    batches = count(window)
    horizon, last, added = laid.horizon, laid.last, []
    for epoch, first, epochs in extensions:
        need(100 * epochs, f"the plan of {epochs:,} more epochs", "ask for fewer with extend=")
        horizon = (*horizon[:epoch], *(window,) * epochs)
        last = (*last[:epoch], *(first + batches * (k + 1) for k in range(epochs)))
        added.append((first, batches * epochs))
    return Plan(horizon, last, tuple(added), laid.updates)


def planned_rate(config: TrainConfig, laid: Plan, update: int, factor: Any) -> Any:
    """The rate of an update of a plan: that of `learning_rate`. The cosine, which has come down at the
    end of a run, begins anew in an extension, at `EXTENSION_RATE` of its height."""
    first, updates = laid.part(update)
    if not laid.added or update < laid.added[0][0] or config.schedule != "cosine":
        whole = laid.updates if not laid.added else laid.original
        return learning_rate(config, update, whole, factor)
    return EXTENSION_RATE * learning_rate(config, update - first, updates, factor)


def updates_of(prepared: Any) -> int:
    """Updates of the whole run; 0 where a time decides."""
    config, task = prepared.config, prepared.task
    if config.time_budget is not None:
        return 0
    return plan(config, task.steps, task.count, config.epochs, config.updates).updates


def learning_rate(config: TrainConfig, update: int, updates: int, factor: Any) -> Any:
    """The rate of update number ``update``, from 0. ``factor``: by how much plateaus have reduced it,
    one number or one per member, (member,)."""
    peak = config.learning_rate
    if config.schedule == "cosine":
        warm = max(1, round(config.warmup * updates))
        if update < warm:
            return peak * (update + 1) / warm
        progress = (update - warm) / max(1, updates - warm)
        low = config.final_rate
        return peak * (low + (1 - low) * 0.5 * (1 + math.cos(math.pi * progress)))
    if config.schedule == "plateau":
        return np.maximum(peak * np.asarray(factor), min(peak, config.rate_floor))
    if config.schedule == "steps":
        return peak * 0.1 ** (update // config.decay_every)
    return peak
