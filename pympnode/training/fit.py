"""Fit: train what a half prepared, and return a Result."""

from __future__ import annotations

import json
import logging
import os
import signal
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..callbacks import Events, TrainingRun
from ..config import format_duration
from ..errors import InvalidOption
from ..files import netcdf
from ..half import M, Prepared
from ..version import __version__
from . import progress as meters
from .checkpoint import Run
from .diagnosis import Diagnosis, diagnose
from .processes import SharedRun, current
from .race import Raced, race
from .ranges import warn_user
from .result import Result
from .trainer import Outcome, Trainer

logger = logging.getLogger("pympnode.training")


_MANY = 500  # updates; after fewer a model that has not learned is no surprise


def _warn(outcome: Outcome, found: Diagnosis) -> None:
    """Say through `warnings`, which scripts show, what the log says: a run that diverged, or that learned
    nothing in many updates."""
    if outcome.status == "diverged":
        warn_user(f"the training diverged: {outcome.reason}")
    elif outcome.status == "completed" and found.sentences and outcome.updates >= _MANY:
        warn_user(found.sentences[0])


def fit(
    prepared: Prepared[M],
    *,
    run: str | os.PathLike[str] | None = None,
    progress: bool = True,
    extend: int = 0,
    callbacks: Sequence[Any] | None = None,
) -> Result[M]:
    """Train ``prepared.model`` and return it in a `Result`.

    ``run``: a folder for checkpoints, the model and the history; the same call continues there.
    ``extend``: epochs added to the run of the folder. ``callbacks``: see `pympnode.callbacks`.
        ``progress``: a bar in a terminal or a notebook. Raises `RunLocked`, `InvalidOption` for the
        folder of another call, `NotEnoughDisk` and `CannotWrite` before the first update, and
        KeyboardInterrupt after Ctrl-C in a script.
    """
    if run is not None and prepared.only_in_memory:
        raise InvalidOption(
            "a run folder holds weights and names, never code",
            got=prepared.only_in_memory,
            allowed="names that are registered",
            fix="register it, or leave run= out",
        )
    config, model, theta = prepared.config, prepared.model, prepared.theta
    group = current()
    folder: Run | SharedRun | None = None
    events: Events | None = None
    if group is not None:
        group.require_same(_compared(prepared, run))
    if run is not None and group is not None:
        folder = SharedRun.open(run, prepared.fingerprint, group)
    elif run is not None:
        folder = Run(run, prepared.fingerprint)
    # Of several processes one reports.
    reports = group is None or group.rank == 0
    meter = meters.default() if progress and reports else meters.Silent()
    try:
        if prepared.task.validates_on_training:
            warn_user(
                "nothing is held out for validation: the weights that are kept are chosen by their "
                'loss on training data; give more trajectories, or label some "validation" in '
                'ds["split"]'
            )
        raced = race(prepared, folder, meter) if prepared.candidates else Raced(prepared)
        prepared = raced.prepared
        config, model, theta = prepared.config, prepared.model, prepared.theta
        title = model.system or "training"
        watched = TrainingRun(title, prepared.fingerprint, None if run is None else Path(run))
        watched.make_model = lambda weights: _finished(prepared, weights)
        # Of several processes the first calls them; all must know that there are some.
        events = Events(watched, callbacks or ())
        if not reports:
            events.silence()
        trainer = Trainer(
            prepared.task, config, folder, meter, title=title, extend=extend, events=events
        )
        with prepared.threads(), events:
            if config.preset == "paper":
                expected = format_duration(trainer.expected_seconds(theta))
                text = f'preset "paper": about {expected} for a whole run'
                logger.info(text)
                meter.note(text)
            outcome = raced.outcome or trainer.fit(theta)
            reference = prepared.task.reference()
        found = diagnose(
            outcome.best_loss,
            reference,
            outcome.history,
            outcome.updates,
            validates_on_training=prepared.task.validates_on_training,
        )
        for sentence in found.sentences:
            logger.warning(sentence)
        reason = outcome.reason
        if outcome.status == "completed" and found.short:
            reason = f"{reason}, but {found.short}"
        about: dict[str, Any] = {
            "version": __version__,
            "preset": config.preset,
            "training": config.as_dict(),
            "engine": prepared.engine.engine,
            "kernel": prepared.engine.kernel,
            "best_loss": outcome.best_loss.tolist(),
            "best_epoch": outcome.best_epoch.tolist(),
            "status": outcome.status,
            "seed": config.seed,
            **prepared.about,
        }
        if outcome.added:
            about["extended_epochs"] = outcome.added
        best = int(np.argmin(outcome.best_loss))
        outcome.history.attrs.update(
            {
                **prepared.history_attributes,
                "best_loss": float(outcome.best_loss[best]),
                "best_epoch": int(outcome.best_epoch[best]),
            }
        )
        trained = _finished(prepared, outcome.theta, about)
        if found.left_out:
            trained = replace(trained, left_out=found.left_out)  # type: ignore[type-var]
        trained = prepared.calibrated(trained)
        result = Result(
            model=trained,
            history=outcome.history,
            status=outcome.status,
            reason=reason,
            best_loss=float(outcome.best_loss[best]),
            best_epoch=int(outcome.best_epoch[best]),
            updates=outcome.updates,
            seconds=raced.seconds + outcome.seconds,
            engine=prepared.engine.engine,
            engine_reason=prepared.engine.reason,
            kernel=prepared.engine.kernel,
            device=prepared.engine.device,
            restored_tensors=prepared.restored_tensors,
            deviations_from_paper=prepared.deviations_from_paper,
            simulation=prepared.simulation,
            held_out=None if prepared.held_out is None else prepared.held_out.data,
            held_out_label="" if prepared.held_out is None else prepared.held_out.label,
            diagnosis=found.sentences,
            baselines=dict(reference.losses),
            noise_floor=reference.noise,
            half=prepared.half,
        )
        written = folder.written if isinstance(folder, SharedRun) else folder
        if written is not None:
            result = _saved(result, written)
        events.end(result.status, result.reason)
    finally:
        if events is not None:  # it has ended where there was no error
            events.end("failed", "an error ended the call")
        if folder is not None:
            folder.close()
    if trainer.signal is not None:
        # Saved: what the sender wanted, by default the end of this process, comes now.
        signal.raise_signal(trainer.signal)
    _warn(outcome, found)
    if outcome.status == "interrupted" and not meters.is_interactive():
        raise KeyboardInterrupt
    return result


def _finished(prepared: Prepared[M], weights: NDArray, about: dict[str, Any] | None = None) -> M:
    """The model with ``weights`` (member, size)."""
    model = replace(
        prepared.model,  # type: ignore[type-var]
        theta=weights if len(weights) > 1 else weights[0],
        about=dict(prepared.about) if about is None else about,
    )
    return prepared.finished(model)


def _compared(prepared: Prepared[M], run: str | os.PathLike[str] | None) -> dict[str, str]:
    """What all processes of a run must agree on."""
    facts = dict(prepared.fingerprint)
    data = facts.pop("data", {})
    return {
        "the version of pympnode": __version__,
        "the data": json.dumps(data, sort_keys=True, default=str),
        "the model and its options": json.dumps(facts, sort_keys=True, default=str),
        "whether there is a run folder": str(run is None),
    }


def _saved(result: Result[M], run: Run) -> Result[M]:
    """``result`` after its model and history were written to the run folder.

    Where they cannot be, or the last checkpoint could not, the result says so: what was trained is
    never lost to a full disk.
    """
    problem = run.problem

    def write() -> None:
        result.model.save(run.folder / "model.nc")
        netcdf.write_netcdf(result.history, run.folder / "history.nc")

    if run.attempt(write, "the model") and problem is None:
        return result
    problem = run.problem or problem
    assert problem is not None
    what = "the last checkpoint was" if run.problem is None else "the result was"
    return replace(
        result,
        reason=f"{result.reason}; {what} not saved: {problem.message}",
        save_error=problem,
    )
