"""Divergence of a run: when it is one, what it says, and the one retry.

A run diverged where the loss of an update or its gradient was not finite for all members, or where it
ended with a training loss beyond `_BEYOND` times that of its first weights and of every baseline. The
second rule makes the status the same for all kernels: which sums overflow depends on their order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .budget import validation_losses
from .checkpoint import State
from .optimiser import Optimiser, check_state
from .task import Batch, Task

_BEYOND = 1e3


def not_finite(
    task: Task,
    update: int,
    epoch: int,
    losses: NDArray[np.float64],
    thetas: NDArray,
    batches: Sequence[Batch],
    retries: int = 0,
) -> str:
    """In words: the update, what was not finite, and what in its batch has the largest error.

    ``losses`` (member,) of the update; ``thetas`` the weights before it.
    """
    what = "the gradient" if np.isfinite(losses).any() else "the loss"
    member = int(np.argmax(np.isfinite(losses))) if np.isfinite(losses).any() else 0
    loss = f" (loss {losses[member]:.3g})" if np.isfinite(losses[member]) else ""
    again = " of the retry at half the rate" if retries else ""
    return (
        f"update {update + 1}, in epoch {epoch + 1}{again}: {what} is not finite{loss}"
        f"{_where(task, thetas[member], batches[member])}"
    )


def _where(task: Task, theta: NDArray, batch: Batch) -> str:
    worst = getattr(task, "worst", None)
    text = "" if worst is None else worst(theta, batch)
    return f"; largest error of its batch: {text}" if text else ""


def go_back(state: State, optimiser: Optimiser) -> None:
    """Take the best weights so far, or the first ones, at half the rate; once."""
    state.retries += 1
    state.status = "running"
    state.theta, state.mean = state.best.copy(), state.best.copy()
    # What an optimiser had gathered led to where the run diverged.
    state.optimiser = check_state(optimiser.start(state.theta), len(state.theta))
    state.restart = state.count


def conclude(task: Task, state: State, first: NDArray, batch: Batch | None) -> None:
    """At the end of a run: keep the first weights (member, size) where no epoch was better, and call a
    run diverged that ended far above them. ``batch``: one of the last epoch, of the first member."""
    if not state.history["loss"]:
        return
    fresh = validation_losses(task, first)
    last = np.asarray(state.history["loss"][-1], dtype=np.float64)
    with np.errstate(invalid="ignore"):
        # Baselines take longer than a comparison with the first weights.
        if state.status == "completed" and not (last <= _BEYOND * fresh).any():
            known = [v for v in task.reference().losses.values() if np.isfinite(v)]
            limit = _BEYOND * np.maximum(fresh, max(known, default=0.0))
            if not (last <= limit).any():
                state.status = "diverged"
                where = "" if batch is None else _where(task, state.theta[0], batch)
                state.cause = (
                    f"update {state.count}, in epoch {state.epoch}: the training loss "
                    f"({np.min(last):.3g}) is over {_BEYOND:,.0f} times that of the first weights "
                    f"({np.min(fresh):.3g}){where}"
                )
        worse = ~(state.best_loss <= fresh) & np.isfinite(fresh)
    state.best = np.where(worse[:, None], first.astype(state.best.dtype), state.best)
    state.best_loss = np.where(worse, fresh, state.best_loss)
    state.best_epoch = np.where(worse, 0, state.best_epoch)
