"""Callbacks of training: when they are called, what they get, how they end a run; the ready ones."""

from __future__ import annotations

import csv
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode import callbacks
from pympnode.errors import EngineUnavailable, InvalidOption
from pympnode.training import progress


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=12, steps=6)


def train(ds: xr.Dataset, **options: Any) -> Any:
    return pympnode.train(
        ds, **{"epochs": 4, "hidden": 4, "kernel": "eager", "progress": False, **options}
    )


class Recorder:
    """Keeps every call; ends the run where it is told to."""

    def __init__(self, stop_epoch: int = 0, stop_update: int = 0) -> None:
        self.calls: list[Any] = []
        self.stop_epoch, self.stop_update = stop_epoch, stop_update

    def start(self, run: callbacks.TrainingRun) -> None:
        self.calls.append(("start", len(run.history), run.updates))

    def batch(self, run: callbacks.TrainingRun, update: int, loss: float) -> None:
        self.calls.append(("batch", update, loss))
        if update == self.stop_update:
            run.stop("enough updates")

    def epoch(self, run: callbacks.TrainingRun, metrics: dict[str, float]) -> None:
        self.calls.append(("epoch", metrics, run.model.theta, run.best_model.theta))
        if metrics["epoch"] == self.stop_epoch:
            run.stop("enough epochs")

    def end(self, run: callbacks.TrainingRun, status: str, reason: str) -> None:
        self.calls.append(("end", status, reason))

    def of(self, event: str) -> list[Any]:
        return [call[1:] for call in self.calls if call[0] == event]


def test_the_calls_of_a_run_and_its_numbers_are_those_without_callbacks(data: xr.Dataset) -> None:
    recorder, rows = Recorder(), []
    result = train(data, callbacks=[recorder, lambda run, metrics: rows.append(metrics)])
    history = result.history
    assert [call[0] for call in recorder.calls if call[0] != "batch"] == [
        "start", *["epoch"] * 4, "end",
    ]  # fmt: skip
    assert recorder.of("start") == [(0, result.updates)]
    assert recorder.of("end") == [("completed", result.reason)]
    assert [update for update, _ in recorder.of("batch")] == list(range(1, result.updates + 1))
    assert [row["validation_loss"] for row in rows] == history.validation_loss.values.tolist()
    assert [row["updates"] for row in rows] == history.updates.values.tolist()
    assert rows[-1]["best_validation_loss"] == history.validation_loss.values.min()
    assert set(rows[0]) == set(callbacks.METRICS)
    # The best weights of the last call are those of the result, bit for bit.
    assert np.array_equal(recorder.of("epoch")[-1][2], result.model.theta)
    alone = train(data)
    assert np.array_equal(alone.model.theta, result.model.theta)
    assert np.array_equal(alone.history.loss, history.loss)


def test_a_callback_ends_a_run_after_an_epoch_or_an_update(data: xr.Dataset) -> None:
    result = train(data, callbacks=Recorder(stop_epoch=2))
    assert result.status == "completed" and "enough epochs" in result.reason
    assert result.history.sizes["epoch"] == 2
    short = train(data, batch_size=2, callbacks=Recorder(stop_update=3))
    assert short.updates == 3 and "enough updates" in short.reason
    assert short.history.sizes["epoch"] == 1  # what was learned is validated


def test_a_run_folder_does_not_depend_on_callbacks(data: xr.Dataset, tmp_path: Path) -> None:
    stopped = train(data, run=tmp_path / "run", callbacks=[Recorder(stop_epoch=2)])
    again = train(data, run=tmp_path / "run", callbacks=[recorder := Recorder()])
    assert again.reason == stopped.reason and recorder.calls == []
    longer = train(data, run=tmp_path / "run", extend=2, callbacks=[recorder])
    assert longer.history.sizes["epoch"] == 4 and recorder.of("start")[0][0] == 2
    assert "enough" not in longer.reason


def test_an_error_in_a_callback_ends_the_others(data: xr.Dataset, tmp_path: Path) -> None:
    def fail(run: Any, metrics: Any) -> None:
        raise ZeroDivisionError("mine")

    recorder = Recorder()
    with pytest.raises(ZeroDivisionError, match="mine"):
        train(data, run=tmp_path / "run", callbacks=[recorder, fail])
    assert recorder.of("end") == [("failed", "ZeroDivisionError: mine")]
    assert train(data, run=tmp_path / "run").status == "completed"  # the folder is not locked


@pytest.mark.parametrize(
    "value", [3, lambda: None, "early", [3], callbacks.EarlyStopping, {"a": 1}]
)
def test_what_is_no_callback_is_refused(data: xr.Dataset, value: Any) -> None:
    with pytest.raises(InvalidOption, match="callback"):
        train(data, callbacks=value)


def test_particles_and_ensembles_have_callbacks_too() -> None:
    recorder = Recorder(stop_epoch=1)
    ds = pympnode.simulate("gravity", particles=3, trajectories=4, steps=3)
    result = pympnode.train(
        ds, epochs=3, members=2, kernel="eager", progress=False, callbacks=recorder
    )
    assert "enough epochs" in result.reason and recorder.of("epoch")[0][1].shape[0] == 2


def test_early_stopping_and_its_continuation(data: xr.Dataset, tmp_path: Path) -> None:
    early = callbacks.EarlyStopping(patience=2, least_change=1e9)
    result = train(data, epochs=9, callbacks=early)
    assert result.history.sizes["epoch"] == 3 and "EarlyStopping" in result.reason

    # An interrupted run stops where the uninterrupted one does.
    def interrupt(run: Any, metrics: Any) -> None:
        if metrics["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(data, epochs=9, run=tmp_path / "run", callbacks=[early, interrupt])
    again = train(data, epochs=9, run=tmp_path / "run", callbacks=early)
    assert again.history.sizes["epoch"] == 3


def test_csv_has_a_row_an_epoch_also_of_a_longer_run(data: xr.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    train(data, epochs=2, run=tmp_path / "run", callbacks=callbacks.CSVLog(path))
    longer = train(data, epochs=2, run=tmp_path / "run", extend=2, callbacks=callbacks.CSVLog(path))
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["epoch"]) for row in rows] == [1, 2, 3, 4]
    assert [float(row["loss"]) for row in rows] == longer.history.loss.values.tolist()
    with pytest.raises(pympnode.errors.CannotWrite):
        train(data, callbacks=callbacks.CSVLog(tmp_path / "no" / "log.csv"))


def test_tensorboard_reads_what_is_written(data: xr.Dataset, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = callbacks.TensorBoard(tmp_path, every=1)
    result = train(data, callbacks=board)
    reader = EventAccumulator(str(tmp_path))
    reader.Reload()
    events = reader.Scalars("validation_loss")
    history = result.history
    assert [event.step for event in events] == history.updates.values.tolist()
    assert np.allclose([event.value for event in events], history.validation_loss, rtol=1e-6)
    assert len(reader.Scalars("batch_loss")) == result.updates


def test_a_package_that_is_missing_is_named(
    data: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in ("tensorboard", "torch.utils.tensorboard", "wandb"):
        monkeypatch.setitem(__import__("sys").modules, package, None)
    for each in (callbacks.TensorBoard(tmp_path / "b"), callbacks.WeightsAndBiases(project="p")):
        with pytest.raises(EngineUnavailable, match="pip install"):
            train(data, callbacks=each)


def test_weights_and_biases_gets_settings_metrics_and_the_end(
    data: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Wandb:
        """What of wandb is called; it has no offline reader to test with."""

        def __init__(self) -> None:
            self.rows: list[Any] = []
            self.summary: dict[str, Any] = {}

        def init(self, **options: Any) -> Wandb:
            self.options = options
            return self

        def log(self, metrics: Any, step: int) -> None:
            self.rows.append((step, metrics["loss"]))

        def finish(self, exit_code: int) -> None:
            self.exit_code = exit_code

    wandb = Wandb()
    monkeypatch.setitem(__import__("sys").modules, "wandb", wandb)
    result = train(data, callbacks=callbacks.WeightsAndBiases(project="mine"))
    assert wandb.options["project"] == "mine"
    assert wandb.options["config"]["model"]["hidden"] == 4
    updates = result.history.updates.values.tolist()
    assert wandb.rows == list(zip(updates, result.history.loss.values.tolist()))
    assert wandb.exit_code == 0 and wandb.summary["status"] == "completed"


def test_optuna_prunes(data: xr.Dataset) -> None:
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study(pruner=optuna.pruners.ThresholdPruner(upper=0.0))

    def objective(trial: Any) -> float:
        return train(data, callbacks=callbacks.OptunaPruning(trial)).best_loss

    study.optimize(objective, n_trials=1)
    assert study.trials[0].state == optuna.trial.TrialState.PRUNED
    assert list(study.trials[0].intermediate_values) == [1]
    with pytest.raises(InvalidOption, match="trial"):
        callbacks.OptunaPruning("trial")


def test_a_line_a_minute_without_a_terminal(
    data: xr.Dataset, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 13.0
        return now[0]

    monkeypatch.setattr(progress.time, "monotonic", clock)
    with caplog.at_level(logging.INFO, logger="pympnode.training.progress"):
        result = train(data, batch_size=2, epochs=3, progress=True)
    lines = [r.getMessage() for r in caplog.records if r.name == "pympnode.training.progress"]
    # Five updates of 13 seconds are the first beyond a minute.
    assert len(lines) == result.updates // 5
    assert lines[0].startswith("kuramoto: update 5 of 12, epoch 2, loss ")
    assert lines[0].endswith("about 91 s left") or "left" in lines[0]
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="pympnode.training.progress"):
        train(data, batch_size=2, epochs=3, progress=False)
    assert not [r for r in caplog.records if r.name == "pympnode.training.progress"]
