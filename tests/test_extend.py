"""Epochs that are added to a finished run: `pympnode.train(..., run=folder, extend=n)`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_training import SMALL, stop_after

import pympnode
from pympnode.cli import status_of
from pympnode.config import TrainConfig
from pympnode.errors import InvalidOption
from pympnode.training.checkpoint import Run, State, from_dataset, to_dataset
from pympnode.training.schedule import (
    EXTENSION_RATE,
    extended,
    learning_rate,
    plan,
    planned_rate,
)

BASE: dict[str, Any] = SMALL | {"epochs": 3}


def same(a: Any, b: Any) -> None:
    np.testing.assert_array_equal(a.model.theta, b.model.theta)
    assert a.history.drop_vars("seconds").identical(b.history.drop_vars("seconds"))
    assert (a.best_loss, a.best_epoch, a.updates) == (b.best_loss, b.best_epoch, b.updates)


def test_a_finished_run_goes_on_from_its_last_weights(tmp_path: Path) -> None:
    run = tmp_path / "run"
    whole = pympnode.train(**BASE, run=run)
    more = pympnode.train(**BASE, run=run, extend=2)
    assert more.status == "completed" and "2 epochs that were added" in more.reason
    assert more.history.sizes["epoch"] == whole.history.sizes["epoch"] + 2
    assert more.updates > whole.updates
    first = more.history.isel(epoch=slice(0, whole.history.sizes["epoch"]))
    assert first.drop_vars("seconds").equals(whole.history.drop_vars("seconds"))
    # The windows of the last stage, the optimiser as it was.
    assert set(more.history.horizon.values[-2:]) == {12}
    assert more.best_loss <= whole.best_loss
    assert not np.array_equal(more.model.theta, whole.model.theta)
    assert more.model.about["extended_epochs"] == 2


def test_the_same_call_adds_nothing_twice_and_a_longer_one_the_rest(tmp_path: Path) -> None:
    run = tmp_path / "run"
    once = pympnode.train(**BASE, run=run, extend=2)  # the run and its extension in one call
    same(once, pympnode.train(**BASE, run=run, extend=2))
    same(once, pympnode.train(**BASE, run=run))  # a finished run is returned as it is
    twice = pympnode.train(**BASE, run=run, extend=3)
    assert twice.history.sizes["epoch"] == once.history.sizes["epoch"] + 1
    stepwise = tmp_path / "stepwise"
    pympnode.train(**BASE, run=stepwise)
    same(once, pympnode.train(**BASE, run=stepwise, extend=2))


@pytest.mark.parametrize("at", [2, 5])
def test_an_interrupted_extension_ends_with_the_same_bits(tmp_path: Path, at: int) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    pympnode.train(**BASE, run=run)
    whole = pympnode.train(**BASE, run=other, extend=3)
    with pytest.raises(KeyboardInterrupt):
        stop_after(BASE | {"run": run, "extend": 3}, updates=at)
    assert pympnode.load(run).about["status"] == "interrupted"
    # The length of the extension is in the checkpoint: a call without extend= ends it too.
    words = {"extend": 3} if at == 2 else {}
    same(whole, pympnode.train(**BASE, run=run, **words))


def test_the_base_may_be_interrupted_too(tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other"
    whole = pympnode.train(**BASE, run=other, extend=1)
    with pytest.raises(KeyboardInterrupt):
        stop_after(BASE | {"run": run, "extend": 1}, updates=3)
    same(whole, pympnode.train(**BASE, run=run, extend=1))


def test_ensembles_and_particles_are_extended(tmp_path: Path) -> None:
    few = dict(particles=8, trajectories=4, steps=4, updates=2, batch_size=4, kernel="eager")
    for name, options in (
        ("ensemble", BASE | {"epochs": 1, "members": 2}),
        ("gravity", {"system": "gravity", "model": "deltagn", "progress": False, **few}),
    ):
        whole = pympnode.train(**options, run=tmp_path / name)
        more = pympnode.train(**options, run=tmp_path / name, extend=1)
        assert more.history.sizes["epoch"] == whole.history.sizes["epoch"] + 1


def test_extend_needs_a_run_that_is_of_this_call(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="extend adds epochs to the run in a folder"):
        pympnode.train(**BASE, extend=2)
    with pytest.raises(InvalidOption, match="extend"):
        pympnode.train(**BASE, run=tmp_path / "run", extend=0)
    pympnode.train(**BASE, run=tmp_path / "run")
    with pytest.raises(InvalidOption, match="belongs to another call") as caught:
        pympnode.train(**(BASE | {"epochs": 5}), run=tmp_path / "run")
    assert "extend=" in str(caught.value.fix)


def test_a_run_that_diverged_is_not_extended(tmp_path: Path) -> None:
    run = tmp_path / "run"
    pympnode.train(**BASE, run=run)
    import tomllib

    opened = Run(run, tomllib.loads((run / "config.toml").read_text()))
    state = opened.load()
    assert state is not None
    state.status, state.cause = "diverged", "update 7"
    opened.save(state)
    opened.close()
    with pytest.raises(InvalidOption, match="a run that diverged is not extended"):
        pympnode.train(**BASE, run=run, extend=1)


def test_the_command_line_extends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--nodes", "3", "--topology", "ring", "--trajectories", "8", "--steps", "10"]
    quick = ["--epochs", "2", "--hidden", "8", "--kernel", "eager", "--run", str(tmp_path / "r")]
    command = ["train", "kuramoto", *small, *quick, "--json"]
    assert status_of(command) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 2
    assert status_of([*command, "--extend", "3"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 5


# ---- the schedule -----------------------------------------------------------------------------


def test_the_rate_of_an_extension() -> None:
    def count(horizon: int) -> int:
        return 10

    cosine = TrainConfig(schedule="cosine", learning_rate=1.0, warmup=0.1, final_rate=0.01)
    laid = plan(cosine, 50, count, 20, None)
    long = extended(laid, cosine, 50, count, [(20, 200, 10), (30, 300, 5)])
    assert long.last[:20] == laid.last and long.last[-1] == long.updates == 350
    before = [planned_rate(cosine, laid, i, 1.0) for i in range(200)]
    assert before == [planned_rate(cosine, long, i, 1.0) for i in range(200)]
    added = [planned_rate(cosine, long, i, 1.0) for i in range(200, 300)]
    assert added == [EXTENSION_RATE * learning_rate(cosine, i, 100, 1.0) for i in range(100)]
    assert max(added) == EXTENSION_RATE
    assert planned_rate(cosine, long, 349, 1.0) < 0.02
    steps = TrainConfig(schedule="steps", learning_rate=1.0, decay_every=150)
    assert planned_rate(steps, long, 299, 1.0) == pytest.approx(0.1)
    assert planned_rate(steps, long, 300, 1.0) == pytest.approx(0.01)  # it goes on
    # A run that ended early, because it stood still, is extended from there.
    early = extended(laid, cosine, 50, count, [(7, 70, 2)])
    assert early.last == (*laid.last[:7], 80, 90)
    assert early.part(69) == (0, 90) and early.part(70) == (70, 20)


def test_a_checkpoint_keeps_extensions_and_refuses_impossible_ones() -> None:
    state = State.start(np.zeros((1, 3)))
    assert "extensions" not in json.loads(str(to_dataset(state)["counters"].values))
    for wrong in ([[1, 1]], [[1, 1, 0]], [["a", 1, 1]], [[5, 1, 1]]):
        state.extensions = wrong
        with pytest.raises(Exception, match="checkpoint is incomplete"):
            from_dataset(to_dataset(state))
