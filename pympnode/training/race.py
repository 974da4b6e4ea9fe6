"""A race: models of several classes train a short time on the same data, and the best goes on."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any, Generic

import numpy as np

from ..errors import InvalidData
from ..half import Candidate, M, Prepared
from .checkpoint import Run
from .processes import SharedRun
from .progress import Progress
from .schedule import updates_of
from .trainer import Outcome, Trainer

logger = logging.getLogger("pympnode.training")

_FIRST = 1 / 3  # of what a class may take of the race: its first round
_LEAST_UPDATES, _LEAST_SECONDS = 50, 1.5  # of a first round, as far as the race allows
_BEHIND = 3.0  # a class whose loss is that many times the best one's has no second round
_LEARNED = 0.1  # share of the smallest loss of a baseline: with more, no class is ahead yet


@dataclass(frozen=True)
class Raced(Generic[M]):
    """The candidate that goes on, from its weights and with the rest of the updates; ``outcome`` where
    the run was interrupted in the race. ``seconds``, ``updates``: of all candidates together."""

    prepared: Prepared[M]
    outcome: Outcome | None = None
    seconds: float = 0.0
    updates: int = 0


class _Interrupted(Exception):
    def __init__(self, prepared: Prepared[Any], outcome: Outcome) -> None:
        super().__init__()
        self.prepared, self.outcome = prepared, outcome


class _Runner(Generic[M]):
    """A candidate in the race, with its weights so far."""

    def __init__(self, candidate: Candidate[M], prepared: Prepared[M]) -> None:
        self.candidate = candidate
        self.prepared = prepared
        self.first = prepared.theta
        self.loss = float("inf")
        self.seconds, self.updates = 0.0, 0

    def train(
        self,
        length: dict[str, Any],
        number: int,
        run: Run | SharedRun | None,
        progress: Progress,
        title: str,
    ) -> None:
        """Round ``number`` of ``length``. Raises `InvalidData` where the candidate cannot start."""
        one, name = self.prepared, self.candidate.name
        config = one.config.replace(
            **length,
            standstill=0.0,
            learning_rate=self.candidate.rate * one.config.learning_rate,
            keep_start=number > 1,
        )
        folder = None
        if run is not None:
            about: dict[str, Any] = {"class": name} | ({"round": number} if number > 1 else {})
            place = name.replace(" ", "-") + (f"-{number}" if number > 1 else "")
            folder = run.within(f"race/{place}", {**one.fingerprint, "race": about})
        try:
            with one.threads():
                outcome = Trainer(one.task, config, folder, progress, title=f"{title}: {name}").fit(
                    one.theta
                )
        finally:
            if folder is not None:
                folder.close()
        self.seconds += outcome.seconds
        self.updates += outcome.updates
        if outcome.status == "interrupted":
            raise _Interrupted(one, outcome)
        self.loss = float(np.median(outcome.best_loss))
        self.prepared = replace(one, theta=outcome.theta)


def race(
    prepared: Prepared[M],
    run: Run | SharedRun | None,
    progress: Progress,
    title: str = "comparing classes",
) -> Raced[M]:
    """Train each of ``prepared.candidates`` for its part of a share ``config.race`` of the run, in two
    rounds.

    The share is divided so that each candidate gets the same time: by the stored ratios of the costs
    of an update, not by a clock, so that a resumed run repeats it. The first round is a third. Where a
    candidate is then far ahead of others (`_BEHIND`), and of the baselines, those others stop; where
    one is left there is no second round, and what it would have taken is left to the run. Each round
    has its own folder in ``run.folder / "race"``. The smallest validation loss wins (of an ensemble: the
    median of the members), or where none is well below the baselines (`_LEARNED`) the cheapest update,
    which then starts from its first weights;
    candidates that diverge or cannot start lose. Raises `InvalidData` where none can start.
    """
    candidates, config = prepared.candidates, prepared.config
    first, second = _rounds(prepared)
    runners: list[_Runner[M]] = []
    refused: InvalidData | None = None
    share = 0.0
    try:
        for number, candidate in enumerate(candidates):
            # The first is made already; data are bound once for each.
            one = replace(prepared, candidates=()) if number == 0 else candidate.make()
            runners.append(_Runner(candidate, one))
            share += first
            try:
                runners[-1].train(_length(prepared, candidate, first), 1, run, progress, title)
            except InvalidData as error:  # the first loss of this class is not finite
                refused = error
        enough = _yardstick(prepared)
        left = _still_in(runners, enough)
        if len(left) > 1 and second > 0:
            for runner in left:
                share += second
                length = _length(prepared, runner.candidate, second)
                runner.train(length, 2, run, progress, title)
    except _Interrupted as stop:
        return Raced(stop.prepared, stop.outcome, *_spent(runners))
    if not left:
        assert refused is not None
        raise refused
    best = min(left, key=lambda runner: runner.loss)
    learned = best.loss <= enough
    if not learned:
        # None has learned much: these data take many updates.
        best = min(left, key=lambda runner: runner.candidate.cost)
    order = sorted(runners, key=lambda runner: runner.loss)
    text = ", ".join(f"{runner.candidate.name} {runner.loss:.3g}" for runner in order)
    logger.info("class of the model: %s (validation losses: %s)", best.candidate.name, text)
    winner, rest = best.prepared, 1 - share
    changes: dict[str, Any] = {"keep_start": learned}
    if not learned:
        # Few updates at a high rate left weights that are worse to go on from than the first ones.
        winner = replace(winner, theta=best.first)
    if config.time_budget is not None:
        changes["time_budget"] = rest * config.time_budget
    else:
        changes["updates"] = max(1, round(rest * updates_of(winner)))
    winner = replace(winner, config=winner.config.replace(**changes))
    seconds, updates = _spent(runners)
    why = "by validation loss" if best is order[0] else "by the cost of an update, losses"
    about = {"classes": f"{best.candidate.name} {why}: {text}"}
    counted = {"race_updates": updates, "race_seconds": seconds}
    winner = replace(
        winner,
        candidates=(),
        about={**winner.about, **about},
        history_attributes={**winner.history_attributes, **about, **counted},
    )
    return Raced(winner, None, seconds, updates)


def _spent(runners: list[_Runner[M]]) -> tuple[float, int]:
    return sum(r.seconds for r in runners), sum(r.updates for r in runners)


def _still_in(runners: list[_Runner[M]], enough: float) -> list[_Runner[M]]:
    """Those whose loss is finite and not far behind the best one's; all of them as long as that is
    above ``enough``."""
    left = [runner for runner in runners if np.isfinite(runner.loss)]
    best = min((runner.loss for runner in left), default=0.0)
    if best > enough:
        return left
    return [runner for runner in left if runner.loss <= _BEHIND * best]


def _yardstick(prepared: Prepared[M]) -> float:
    """The loss below which a model has learned enough to be compared."""
    losses = [loss for loss in prepared.task.reference().losses.values() if np.isfinite(loss)]
    return _LEARNED * min(losses, default=float("inf"))


def _rounds(prepared: Prepared[M]) -> tuple[float, float]:
    """Shares of the run in the first and the second round of each candidate."""
    config = prepared.config
    whole = config.race / len(prepared.candidates)
    if config.time_budget is not None:
        least = _LEAST_SECONDS / config.time_budget
    else:
        least = _LEAST_UPDATES / max(1, updates_of(prepared))
    first = min(max(_FIRST * whole, least), whole)
    # A second round that is shorter than the first decides nothing that the first did not.
    return (first, whole - first) if whole - first >= first else (whole, 0.0)


def _length(prepared: Prepared[M], candidate: Candidate[M], share: float) -> dict[str, Any]:
    """The fields of a run that takes a share of the time of the whole."""
    config = prepared.config
    if config.time_budget is not None:
        return {"time_budget": share * config.time_budget}
    cost = prepared.candidates[0].cost / candidate.cost
    return {"updates": max(1, round(share * updates_of(prepared) * cost))}
