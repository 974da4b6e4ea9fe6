"""Weights that a run starts from, against those that it found: which of the two are kept."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .checkpoint import State
from .task import Task

_FEWEST = 3  # validation groups with a standard error that means something
# Of fewer, the loss of each has to fall below this part of the start's: tuned on two to six trajectories, models whose one or
# two validation losses fell to .7 to 1 of those of a good start were worse than it on fresh trajectories as often as not.
_CLEAR = 0.5


def keep_start(task: Task, state: State, first: NDArray, margin: float) -> bool:
    """Go back to the first weights (member, size) where the best ones are not clearly better.

    Clearly: the mean over the validation trajectories of how much each is better exceeds ``margin``
    standard errors of that mean. Validation losses are means over few trajectories, of which one or
    two far from the rest often decide; the best of many epochs by such a mean is in part luck, and on
    fresh trajectories it may be worse than the start. One or two trajectories have no standard error: the
    loss of each has to be at most half of the start's. Nothing is done where a task has no losses of
    single trajectories. Returns whether a member went back.
    """
    losses_of = getattr(task, "validation_each", None)
    if losses_of is None:
        return False
    back = False
    for member, theta in enumerate(first):
        if state.best_epoch[member] <= 0:
            continue
        if _clearly_better(losses_of(theta), losses_of(state.best[member]), margin):
            continue
        state.best = np.where(
            np.arange(len(first))[:, None] == member, first.astype(state.best.dtype), state.best
        )
        state.best_loss[member] = task.validate(theta)["validation_loss"]
        state.best_epoch[member] = 0
        back = True
    return back


def _clearly_better(before: NDArray, after: NDArray, margin: float) -> bool:
    """Whether the losses ``after`` (trajectory,) are better than those ``before`` by more than chance."""
    if not np.isfinite(after).all():
        return False
    if not np.isfinite(before).all():
        return True  # the start overflows
    gain = before - after
    if len(gain) < _FEWEST:
        return bool((after <= _CLEAR * before).all())
    error = float(np.std(gain, ddof=1)) / math.sqrt(len(gain))
    return float(gain.mean()) > margin * error
