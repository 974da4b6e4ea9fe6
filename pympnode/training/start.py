"""Weights that a run starts from, against those that it found: which of the two are kept."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .checkpoint import State
from .task import Task

_FEWEST = 3  # validation groups with a standard error that means something


def keep_start(task: Task, state: State, first: NDArray, margin: float) -> bool:
    """Go back to the first weights (member, size) where the best ones are not clearly better.

    Clearly: the mean over the validation trajectories of how much each is better exceeds ``margin``
    standard errors of that mean. Validation losses are means over few trajectories, of which one or
    two far from the rest often decide; the best of many epochs by such a mean is in part luck, and on
    fresh trajectories it may be worse than the start. Nothing is done where a task has no losses of
    single trajectories, or fewer than three. Returns whether a member went back.
    """
    losses_of = getattr(task, "validation_each", None)
    if losses_of is None:
        return False
    back = False
    for member, theta in enumerate(first):
        if state.best_epoch[member] <= 0:
            continue
        before = losses_of(theta)
        gain = before - losses_of(state.best[member])
        if len(gain) < _FEWEST or not np.isfinite(gain).all():
            continue
        error = float(np.std(gain, ddof=1)) / math.sqrt(len(gain))
        if float(gain.mean()) > margin * error:
            continue
        state.best = np.where(
            np.arange(len(first))[:, None] == member, first.astype(state.best.dtype), state.best
        )
        state.best_loss[member] = task.validate(theta)["validation_loss"]
        state.best_epoch[member] = 0
        back = True
    return back
