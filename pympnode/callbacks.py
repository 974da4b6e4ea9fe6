"""Callbacks: code of the user that runs while a model trains, and ready ones.

``train(callbacks=[...])`` takes objects with the methods of `Callback`, of which each may lack some,
and functions, which are called after every epoch as ``function(run, metrics)``. Any of them may end
the run with ``run.stop("reason")``. The run of a folder is the same with and without callbacks; they
are not among what `train` compares when it continues one.

Callbacks are called in the run itself, not in the short runs in which classes of models compete before
it. Of several processes the first calls them.
"""

from __future__ import annotations

import csv
import inspect
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from .config import least, one_of
from .config import number as number_of
from .config import path as path_of
from .config import text as text_of
from .errors import CannotWrite, EngineUnavailable, InvalidOption, one_line, shown_value

logger = logging.getLogger("pympnode.training")

METRICS = (
    "epoch",
    "updates",
    "loss",
    "validation_loss",
    "best_validation_loss",
    "gradient_norm",
    "learning_rate",
    "horizon",
    "seconds",
)
"""Names of the numbers that callbacks get after an epoch; of an ensemble the means of the members."""

_SMALLER_IS_BETTER = ("loss", "validation_loss", "best_validation_loss")


class TrainingRun:
    """A run in progress, as callbacks get it.

    ``title``: the name of the system, or "training"; ``settings``: what decides the numbers of the
    run, as plain values by name (`TrainConfig`, the specification, the data); ``updates``, ``epochs``:
    how many are planned; ``history``: the metrics (`METRICS`) of every epoch so far, those of a run
    that was continued included.
    """

    def __init__(
        self,
        title: str = "training",
        settings: Mapping[str, Any] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.title = title
        self.settings = dict(settings or {})
        self.folder = folder
        self.updates = 0
        self.epochs = 0
        self.history: list[dict[str, float]] = []
        self.stopped = ""
        self.weights: Callable[[], tuple[Any, Any]] = lambda: (None, None)
        self.make_model: Callable[[Any], Any] = lambda theta: theta

    @property
    def model(self) -> Any:
        """The model with the weights that the last epoch was validated with: the last ones, or their
        running mean. It rolls out, evaluates and saves; further training does not change it."""
        return self.make_model(self.weights()[0])

    @property
    def best_model(self) -> Any:
        """The model with the best weights so far by validation, which the run keeps."""
        return self.make_model(self.weights()[1])

    def stop(self, reason: str) -> None:
        """End the run: after this epoch, or, from ``batch``, after a last validation. Its status is
        "completed", with ``reason`` (a text) in ``result.reason``."""
        self.stopped = self.stopped or text_of("the reason of stop", reason)


class Callback:
    """What the training calls; methods that a callback does not define do nothing."""

    def start(self, run: TrainingRun) -> None:
        """Before the first update of this call; ``run.history`` has the epochs before it."""

    def batch(self, run: TrainingRun, update: int, loss: float) -> None:
        """After the update of number ``update``, from 1; ``loss`` of its batch, before it."""

    def epoch(self, run: TrainingRun, metrics: dict[str, float]) -> None:
        """After the validation of an epoch; ``metrics`` by name (`METRICS`)."""

    def end(self, run: TrainingRun, status: str, reason: str) -> None:
        """After the last epoch: ``status`` of the result, or "failed" where an error ends the call;
        called once for every ``start``."""


EVENTS = ("start", "batch", "epoch", "end")


class _AfterEpoch(Callback):
    """A function that is called after every epoch."""

    def __init__(self, function: Callable[[TrainingRun, dict[str, float]], object]) -> None:
        self._function = function

    def epoch(self, run: TrainingRun, metrics: dict[str, float]) -> None:
        self._function(run, metrics)


def check_callbacks(name: str, value: Any) -> tuple[Any, ...]:
    """``value`` of ``callbacks=`` as a tuple of objects. Raises `InvalidOption`."""
    single = callable(value) or any(callable(getattr(value, event, None)) for event in EVENTS)
    listed = isinstance(value, Sequence) and not isinstance(value, str | bytes)
    if not single and not listed:
        raise _no_callback(name, value)
    found: list[Any] = []
    for each in [value] if single else value:
        if isinstance(each, type):
            raise InvalidOption(
                f"{name} holds objects, and this is a class",
                got=shown_value(each, 80),
                allowed=f"an object: {each.__name__}(...)",
            )
        if any(callable(getattr(each, event, None)) for event in EVENTS):
            found.append(each)
        elif callable(each):
            try:
                inspect.signature(each).bind(None, {})
            except TypeError as error:
                raise _no_callback(name, each) from error
            except ValueError:  # a function of C has no signature
                pass
            found.append(_AfterEpoch(each))
        else:
            raise _no_callback(name, each)
    return tuple(found)


def _no_callback(name: str, value: Any) -> InvalidOption:
    return InvalidOption(
        f"{name} is a callback, or a list of them",
        got=shown_value(value, 80),
        allowed=f"objects with some of the methods {', '.join(EVENTS)}, or functions f(run, metrics)",
        fix="callbacks=[pympnode.callbacks.EarlyStopping(patience=20)]",
    )


class Events:
    """Calls the methods of the callbacks of one run, in their order."""

    def __init__(self, run: TrainingRun, callbacks: Sequence[Any] = ()) -> None:
        self.run = run
        self._of = {
            event: [m for each in callbacks if callable(m := getattr(each, event, None))]
            for event in EVENTS
        }
        self._started = False
        self.any = bool(callbacks)
        # Without such methods an update does not wait for its loss as a Python number.
        self.each_batch = bool(
            [
                each
                for each in callbacks
                if callable(getattr(each, "batch", None))
                and getattr(type(each), "batch", None) is not Callback.batch
            ]
        )

    def silence(self) -> None:
        """Call none of them from now on."""
        self._of = {event: [] for event in EVENTS}
        self.each_batch = False

    def __enter__(self) -> Events:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None:
            self.end("failed", f"{type(error).__name__}: {one_line(error)}")

    def start(self) -> None:
        """Call ``start``; the first time alone."""
        if not self._started:
            self._started = True
            for method in self._of["start"]:
                method(self.run)

    def batch(self, update: int, loss: float) -> None:
        """Call ``batch``."""
        for method in self._of["batch"]:
            method(self.run, update, loss)

    def epoch(self, metrics: dict[str, float]) -> None:
        """Call ``epoch`` with ``metrics``, which go into the history of the run."""
        self.run.history.append(metrics)
        for method in self._of["epoch"]:
            method(self.run, dict(metrics))

    def end(self, status: str, reason: str) -> None:
        """Call ``end``, where ``start`` was called. All are called, also where one fails; the first
        error is raised then, unless the run failed itself."""
        if not self._started:
            return
        self._started = False
        first: Exception | None = None
        for method in self._of["end"]:
            try:
                method(self.run, status, reason)
            except Exception as error:
                logger.warning("a callback failed at the end of the run: %s", one_line(error))
                first = first or error
        if first is not None and status != "failed":
            raise first


# ---- ready ones ----------------------------------------------------------------------------------


class EarlyStopping(Callback):
    """Ends a run when a metric has not improved for ``patience`` epochs.

    ``metric``: one of `METRICS`, of which smaller is better; ``least_change``: what counts as an
    improvement, a number in the unit of the metric; ``after``: epochs that are made in any case. It
    follows ``run.history``, so that a continued run stops where an uninterrupted one does.
    """

    def __init__(
        self,
        patience: int = 20,
        *,
        metric: str = "validation_loss",
        least_change: float = 0.0,
        after: int = 0,
    ) -> None:
        self.patience = least(1)("patience", patience)
        self.metric = one_of("metric", metric, _SMALLER_IS_BETTER)
        self.least_change = number_of("least_change", least_change, 0.0)
        self.after = least(0)("after", after)

    def epoch(self, run: TrainingRun, metrics: dict[str, float]) -> None:
        """See `Callback`."""
        best, at = math.inf, 0
        for number, row in enumerate(run.history, start=1):
            if row[self.metric] < best - self.least_change or number == 1:
                best, at = row[self.metric], number
        made = len(run.history)
        if made - at >= self.patience and made > self.after:
            run.stop(
                f"{self.metric} did not fall below {best:.4g} of epoch {at} "
                f"for {made - at} epochs (EarlyStopping)"
            )


class CSVLog(Callback):
    """Writes a row of metrics after each epoch to a CSV file with a header.

    A run that is continued keeps the rows of the epochs before. Raises `CannotWrite`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = path_of("path", path)
        self._file: TextIO | None = None

    def start(self, run: TrainingRun) -> None:
        """See `Callback`."""
        try:
            self._file = open(self.path, "w", newline="", encoding="utf-8")
        except OSError as error:
            raise CannotWrite(
                f"{str(self.path)!r} cannot be written",
                got=one_line(error),
                allowed="a file in a folder that is there",
            ) from error
        self._writer = csv.DictWriter(self._file, METRICS)
        self._writer.writeheader()
        self._writer.writerows(run.history)
        self._file.flush()

    def epoch(self, run: TrainingRun, metrics: dict[str, float]) -> None:
        """See `Callback`."""
        assert self._file is not None
        self._writer.writerow(metrics)
        self._file.flush()

    def end(self, run: TrainingRun, status: str, reason: str) -> None:
        """See `Callback`."""
        if self._file is not None:
            self._file.close()


class TensorBoard(Callback):
    """Writes the metrics as scalars into ``folder``, which ``tensorboard --logdir`` shows.

    The abscissa is the number of updates. ``every``: also the loss of every n-th update, as
    ``batch_loss``; None for none. Needs the package tensorboard: `EngineUnavailable` without it.
    """

    def __init__(self, folder: str | os.PathLike[str], *, every: int | None = None) -> None:
        self.folder = path_of("folder", folder)
        self.every = None if every is None else least(1)("every", every)
        self._writer: Any = None

    def start(self, run: TrainingRun) -> None:
        """See `Callback`."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise _not_installed("tensorboard", error) from error
        # A continued run writes its steps after the last one that it had.
        done = run.history[-1]["updates"] if run.history else None
        purge = None if done is None else int(done) + 1
        self._writer = SummaryWriter(str(self.folder), purge_step=purge)

    def batch(self, run: TrainingRun, update: int, loss: float) -> None:
        """See `Callback`."""
        if self.every is not None and update % self.every == 0:
            self._writer.add_scalar("batch_loss", loss, update)

    def epoch(self, run: TrainingRun, metrics: dict[str, float]) -> None:
        """See `Callback`."""
        for name, value in metrics.items():
            if name != "updates":
                self._writer.add_scalar(name, value, int(metrics["updates"]))

    def end(self, run: TrainingRun, status: str, reason: str) -> None:
        """See `Callback`."""
        if self._writer is not None:
            self._writer.close()


class WeightsAndBiases(Callback):
    """Logs the metrics and the settings of a run to Weights & Biases.

    ``options`` are those of ``wandb.init``: ``project=``, ``name=``, ``mode="offline"``, ... Needs the
    package wandb: `EngineUnavailable` without it.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self._run: Any = None

    def start(self, run: TrainingRun) -> None:
        """See `Callback`."""
        try:
            import wandb
        except ImportError as error:
            raise _not_installed("wandb", error) from error
        self._run = wandb.init(**{"config": run.settings, **self.options})

    def epoch(self, run: TrainingRun, metrics: dict[str, float]) -> None:
        """See `Callback`."""
        self._run.log(metrics, step=int(metrics["updates"]))

    def end(self, run: TrainingRun, status: str, reason: str) -> None:
        """See `Callback`."""
        if self._run is not None:
            self._run.summary.update({"status": status, "reason": reason})
            self._run.finish(exit_code=int(status == "failed"))


class OptunaPruning(Callback):
    """Reports a metric of each epoch to an Optuna trial, and raises ``optuna.TrialPruned`` where the
    study prunes it. ``metric``: one of `METRICS`. Needs the package optuna, as the trial does."""

    def __init__(self, trial: Any, *, metric: str = "validation_loss") -> None:
        for method in ("report", "should_prune"):
            if not callable(getattr(trial, method, None)):
                raise InvalidOption(
                    "trial is what a study of Optuna gives its objective",
                    got=shown_value(trial, 80),
                    allowed="an optuna.Trial",
                )
        self.trial = trial
        self.metric = one_of("metric", metric, METRICS)

    def epoch(self, run: TrainingRun, metrics: dict[str, float]) -> None:
        """See `Callback`."""
        self.trial.report(metrics[self.metric], int(metrics["epoch"]))
        if self.trial.should_prune():
            try:
                from optuna import TrialPruned
            except ImportError as error:
                raise _not_installed("optuna", error) from error
            raise TrialPruned(f"pruned in epoch {int(metrics['epoch'])}")


def _not_installed(package: str, error: ImportError) -> EngineUnavailable:
    return EngineUnavailable(
        f"this callback needs the package {package}",
        got=one_line(error),
        fix=f"pip install {package}",
    )


__all__ = [
    "METRICS",
    "CSVLog",
    "Callback",
    "EarlyStopping",
    "OptunaPruning",
    "TensorBoard",
    "TrainingRun",
    "WeightsAndBiases",
]
