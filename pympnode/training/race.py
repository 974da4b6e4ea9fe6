"""A race: models of several classes train a short time on the same data, and the best goes on."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Generic

import numpy as np

from ..errors import InvalidData
from ..half import Candidate, M, Prepared
from .checkpoint import Run
from .processes import SharedRun
from .progress import Progress
from .schedule import updates_of
from .trainer import Outcome, Trainer

if TYPE_CHECKING:
    from ..config import TrainConfig

logger = logging.getLogger("pympnode.training")


_RATE = 2.0


@dataclass(frozen=True)
class Raced(Generic[M]):
    """The candidate that goes on, from its weights and with the rest of the updates; ``outcome`` where
    the run was interrupted in the race."""

    prepared: Prepared[M]
    outcome: Outcome | None = None


def race(
    prepared: Prepared[M],
    run: Run | SharedRun | None,
    progress: Progress,
    title: str = "comparing classes",
) -> Raced[M]:
    """Train each of ``prepared.candidates`` for its part of a share ``config.race`` of the run.

    The share is divided so that each candidate gets the same time: by the stored ratios of the costs
    of an update, not by a clock, so that a resumed run repeats it. Each has its own folder in
    ``run.folder / "race"``. The smallest validation loss wins (of an ensemble: the median of the
    members); candidates that diverge or cannot start lose. Raises `InvalidData` where none can start.
    """
    candidates = prepared.candidates
    shares = _shares(prepared)
    losses: dict[str, float] = {}
    best: tuple[float, Prepared[M], Outcome] | None = None
    refused: InvalidData | None = None
    for number, candidate in enumerate(candidates):
        # The first is made already; data are bound once for each.
        one = replace(prepared, candidates=()) if number == 0 else candidate.make()
        config = shares(candidate, one.config)
        folder = None
        if run is not None:
            call = {**one.fingerprint, "race": {"class": candidate.name}}
            folder = run.within("race/" + candidate.name.replace(" ", "-"), call)
        try:
            with one.threads():
                outcome = Trainer(
                    one.task, config, folder, progress, title=f"{title}: {candidate.name}"
                ).fit(one.theta)
        except InvalidData as error:  # the first loss of this class is not finite
            refused = error
            losses[candidate.name] = float("inf")
            continue
        finally:
            if folder is not None:
                folder.close()
        if outcome.status == "interrupted":
            return Raced(one, outcome)
        losses[candidate.name] = float(np.median(outcome.best_loss))
        if best is None or losses[candidate.name] < best[0]:
            best = (losses[candidate.name], one, outcome)
    if best is None:
        assert refused is not None
        raise refused
    _, winner, outcome = best
    order = sorted(losses, key=losses.__getitem__)
    text = ", ".join(f"{name} {losses[name]:.3g}" for name in order)
    logger.info("class of the model: %s (validation losses of short runs: %s)", order[0], text)
    rest = 1 - prepared.config.race
    config = winner.config.replace(keep_start=True)
    if config.time_budget is not None:
        config = config.replace(time_budget=rest * config.time_budget)
    else:
        config = config.replace(updates=max(1, round(rest * updates_of(winner))))
    winner = replace(winner, config=config, theta=outcome.theta)
    return Raced(_with(winner, {"classes": f"{order[0]} by validation loss: {text}"}))


def _with(prepared: Prepared[M], about: dict[str, str]) -> Prepared[M]:
    return replace(
        prepared,
        candidates=(),
        about={**prepared.about, **about},
        history_attributes={**prepared.history_attributes, **about},
    )


def _short(own: TrainConfig) -> dict[str, Any]:
    """What short runs have otherwise: in few updates a higher rate learns more."""
    return {"standstill": 0.0, "learning_rate": _RATE * own.learning_rate}


def _shares(prepared: Prepared[M]) -> Callable[[Candidate[M], TrainConfig], TrainConfig]:
    """The configuration of each candidate's short run."""
    config, candidates = prepared.config, prepared.candidates
    if config.time_budget is not None:
        budget = config.race * config.time_budget / len(candidates)
        return lambda candidate, own: own.replace(time_budget=budget, **_short(own))
    total = config.race * updates_of(prepared) * candidates[0].cost / len(candidates)

    def of(candidate: Candidate[M], own: TrainConfig) -> TrainConfig:
        return own.replace(updates=max(1, round(total / candidate.cost)), **_short(own))

    return of
