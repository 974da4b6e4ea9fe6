"""The training loop: schedules, resume, files, Ctrl-C, divergence."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pympnode
from pympnode.config import TrainConfig, seconds
from pympnode.errors import (
    CheckpointDamaged,
    InvalidOption,
    PympnodeError,
    PympnodeWarning,
    RunLocked,
    UnknownName,
)
from pympnode.training.budget import Timing
from pympnode.training.schedule import learning_rate, plan

SMALL: dict[str, Any] = dict(
    system="kuramoto", nodes=6, topology="ring", trajectories=24, steps=12, kernel="eager",
    hidden=8, batch_size=8, progress=False, dtype="float64",
)  # fmt: skip


# ---- schedules --------------------------------------------------------------------------------


def count(horizon: int) -> int:
    return 10 * (50 // horizon)


def test_plan_gives_each_stage_its_share_of_the_updates() -> None:
    config = TrainConfig(curriculum=((5, 0.4), (10, 0.3), (25, 0.15), (0, 0.15)))
    laid = plan(config, 50, count, 200, None)
    made = np.diff([0, *laid.last])
    shares = {h: made[np.array(laid.horizon) == h].sum() / laid.updates for h in (5, 10, 25, 50)}
    for horizon, share in ((5, 0.4), (10, 0.3), (25, 0.15), (50, 0.15)):
        assert shares[horizon] == pytest.approx(share, abs=0.03)
    assert list(laid.horizon) == sorted(laid.horizon)


@pytest.mark.parametrize("updates", [1, 7, 99, 1000])
def test_plan_of_updates_has_exactly_that_many(updates: int) -> None:
    config = TrainConfig(curriculum=((5, 0.5), (0, 0.5)))
    laid = plan(config, 50, count, 1, updates)
    assert laid.updates == updates
    assert all(b > a for a, b in zip(laid.last, laid.last[1:]))


def test_learning_rate_warms_up_and_falls() -> None:
    config = TrainConfig(learning_rate=1e-2, warmup=0.1, final_rate=0.01)
    rates = np.array([learning_rate(config, i, 1000, 1.0) for i in range(1000)])
    assert rates.argmax() in (99, 100) and rates.max() == pytest.approx(1e-2)
    assert np.all(np.diff(rates[100:]) <= 0) and rates[-1] == pytest.approx(1e-4, rel=0.01)


@pytest.mark.parametrize(
    ("text", "value"), [("90s", 90), ("10m", 600), ("1.5h", 5400), (600, 600), ("45", 45)]
)
def test_seconds(text: Any, value: float) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["ten", -1, 0, "5d", float("nan"), "1.2.3m"])
def test_seconds_that_are_none(text: Any) -> None:
    with pytest.raises(InvalidOption):
        seconds(text)


# ---- learning ---------------------------------------------------------------------------------


def test_training_learns_and_keeps_the_best_weights() -> None:
    result = pympnode.train(**SMALL, epochs=12)
    losses = result.history.validation_loss.values
    assert result.status == "completed" and result.best_loss == losses.min()
    assert result.best_epoch == losses.argmin() + 1
    assert result.best_loss < 0.7 * losses[0]
    assert set(result.history.data_vars) >= {
        "loss", "validation_loss", "gradient_norm", "learning_rate", "seconds",
    }  # fmt: skip
    assert np.all(np.diff(result.history.seconds) > 0)


def test_same_seed_same_bits_other_seed_other_bits() -> None:
    first = pympnode.train(**SMALL, epochs=2)
    again = pympnode.train(**SMALL, epochs=2)
    other = pympnode.train(**SMALL, epochs=2, seed=1)
    np.testing.assert_array_equal(first.model.theta, again.model.theta)
    assert not np.array_equal(first.model.theta, other.model.theta)


def test_paper_preset_is_the_published_configuration() -> None:
    result = pympnode.train(
        **{**SMALL, "hidden": None, "batch_size": None}, preset="paper", epochs=1
    )
    spec = result.model.spec
    assert (spec.message, spec.hidden, spec.depth) == (3, 32, 2)
    assert (spec.messages, spec.coupling, spec.first_message) == ("state", "mixed", "zero")
    assert spec.aggregation == "mean"
    assert len(result.deviations_from_paper) == 2 and "Tsit5" in result.deviations_from_paper[0]
    assert result.model.about["training"]["learning_rate"] == 1e-3
    assert result.model.about["training"]["epochs"] == 1


def test_mixed_sizes_train_together() -> None:
    small = pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=10, steps=8)
    large = pympnode.simulate("kuramoto", nodes=7, topology="ring", trajectories=10, steps=8)
    options = {k: SMALL[k] for k in ("kernel", "hidden", "batch_size", "progress", "dtype")}
    result = pympnode.train(data=[small, large], epochs=3, **options)
    assert result.status == "completed"
    assert result.model.trained.nodes == (4, 7)
    assert np.isfinite(result.model.rollout(large, check=False).state).all()


def test_missing_values_leave_the_loss() -> None:
    ds = pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=12, steps=8)
    gaps = np.random.default_rng(0).random(ds.state.shape) < 0.2
    gaps[:, 0] = False
    holed = ds.assign(state=ds.state.where(~gaps))
    options = {k: SMALL[k] for k in ("kernel", "hidden", "batch_size", "progress", "dtype")}
    with pytest.raises(PympnodeError, match="not finite"):
        pympnode.train(data=holed, epochs=1, **options)
    result = pympnode.train(data=holed, epochs=2, missing="mask", **options)
    assert np.isfinite(result.history.loss).all()
    # Only what is known counts: the loss is the one that `evaluate` finds in NumPy, which a filler of
    # the gaps would change.
    score = result.evaluate().sel(predictor="model")
    assert result.test_set().state.isnull().any() and np.isfinite(score.rmse_z)
    assert result.best_loss == pytest.approx(float(score.loss), rel=1e-10)


def test_uneven_time() -> None:
    ds = pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=12, steps=16)
    uneven = ds.isel(time=[0, 1, 2, 4, 5, 8, 9, 12, 16])
    options = {k: SMALL[k] for k in ("kernel", "hidden", "batch_size", "progress", "dtype")}
    result = pympnode.train(data=uneven, epochs=3, **options)
    assert result.status == "completed"
    assert result.model.rollout(uneven).time.values.tolist() == uneven.time.values.tolist()


def test_a_diverging_run_stops_with_the_last_good_weights() -> None:
    with pytest.warns(PympnodeWarning, match="diverged: update 2, in epoch 1: the loss"):
        result = pympnode.train(**SMALL, epochs=40, learning_rate=1e200)
    assert result.status == "diverged"
    assert np.isfinite(result.model.theta).all()
    assert "finite" in result.reason


@pytest.mark.parametrize("family", ["l2s", "node"])
def test_baselines_train(family: str) -> None:
    result = pympnode.train(**SMALL, model=family, epochs=4)
    losses = result.history.validation_loss.values
    assert result.status == "completed" and losses.min() < losses[0]
    assert result.evaluate(8).not_finite.sel(predictor="model") == 0


# ---- fine-tuning ------------------------------------------------------------------------------


def test_finetune_to_a_larger_system(tmp_path: Path) -> None:
    parent = pympnode.train(**SMALL, epochs=3)
    options = {**SMALL, "nodes": 9}
    options.pop("hidden")
    child = pympnode.finetune(parent, **options, epochs=2)
    assert set(child.restored_tensors) == set(parent.model.weights)
    assert child.model.spec == parent.model.spec
    assert child.model.state_scale.same(parent.model.state_scale)
    refit = pympnode.finetune(parent.model, **options, epochs=1, normalisation="refit")
    assert not refit.model.state_scale.same(parent.model.state_scale)
    parent.model.save(tmp_path / "m.nc")
    again = pympnode.finetune(tmp_path / "m.nc", **options, epochs=2)
    np.testing.assert_array_equal(child.model.theta, again.model.theta)


def test_finetune_loads_and_lists_the_tensors_that_fit() -> None:
    parent = pympnode.train(**SMALL, epochs=1)
    options = {**SMALL, "hidden": 12}
    child = pympnode.finetune(parent, **options, epochs=1)
    assert set(child.restored_tensors) < set(parent.model.weights) and child.restored_tensors


# ---- runs that stop and go on -------------------------------------------------------------------


def test_resume_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = pympnode.train(**SMALL, epochs=6)
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        stop_after(SMALL | {"epochs": 6, "run": run}, updates=17)
    resumed = pympnode.train(**SMALL, epochs=6, run=run)
    np.testing.assert_array_equal(resumed.model.theta, whole.model.theta)
    np.testing.assert_array_equal(resumed.history.loss, whole.history.loss)
    assert {p.name for p in run.iterdir()} == {
        "config.toml", "checkpoints", "model.nc", "history.nc", "lock",
    }  # fmt: skip
    again = pympnode.train(**SMALL, epochs=6, run=run)
    np.testing.assert_array_equal(again.model.theta, whole.model.theta)
    np.testing.assert_array_equal(pympnode.load(run / "model.nc").theta, whole.model.theta)


def test_resume_after_validations_that_overflow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An epoch that is broken off is repeated whole, also where nothing was the best so far."""
    from pympnode.training import trainer

    close, validate = trainer.Trainer._close_epoch, trainer.validation_losses

    def closed(self: Any, state: Any, row: Any) -> None:
        def first_overflows(task: Any, theta: Any) -> Any:
            return validate(task, theta) * (np.nan if state.epoch == 0 else 1)

        monkeypatch.setattr(trainer, "validation_losses", first_overflows)
        close(self, state, row)

    monkeypatch.setattr(trainer.Trainer, "_close_epoch", closed)
    whole = pympnode.train(**SMALL, epochs=4)
    run = tmp_path / "run"
    after = int(whole.history.updates[0]) + 2
    with pytest.raises(KeyboardInterrupt):
        stop_after(SMALL | {"epochs": 4, "run": run}, updates=after)
    resumed = pympnode.train(**SMALL, epochs=4, run=run)
    assert np.isnan(resumed.history.validation_loss[0]) and resumed.best_epoch > 1
    np.testing.assert_array_equal(resumed.model.theta, whole.model.theta)
    np.testing.assert_array_equal(resumed.history.updates, whole.history.updates)


def stop_after(options: dict[str, Any], updates: int) -> Any:
    """Train as a script does and send it Ctrl-C after some updates."""
    from pympnode.training import trainer

    made = 0
    original = trainer.Trainer._epoch

    def counting(self: Any, state: Any, schedule: Any) -> bool:
        losses = self.task.losses

        def counted(thetas: Any, batches: Any) -> Any:
            nonlocal made
            made += 1
            if made == updates:
                os.kill(os.getpid(), signal.SIGINT)
            return losses(thetas, batches)

        self.task.losses = counted
        try:
            return original(self, state, schedule)
        finally:
            self.task.losses = losses

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer.Trainer, "_epoch", counting)
        try:
            return pympnode.train(**options)
        finally:
            assert made >= updates


@pytest.mark.parametrize("updates", [2, 17])
def test_ctrl_c_in_a_notebook_returns_the_best_so_far(
    monkeypatch: pytest.MonkeyPatch, updates: int
) -> None:
    monkeypatch.setattr("pympnode.training.progress.is_interactive", lambda: True)
    result = stop_after(SMALL | {"epochs": 6}, updates=updates)
    assert result.status == "interrupted" and "interrupted" in result.reason
    assert 0 < result.updates <= updates
    assert result.history.sizes["epoch"] < 6
    fresh = pympnode.train(**SMALL, epochs=1, learning_rate=1e-30).model.theta
    assert not np.allclose(result.model.theta, fresh)
    assert ("not finished" in repr(result)) is (result.history.sizes["epoch"] == 0)


@pytest.mark.parametrize("members", [1, 2])
def test_ctrl_c_in_the_first_epoch_keeps_the_run(
    tmp_path: Path, members: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tomllib

    from pympnode.training.checkpoint import Run

    monkeypatch.setattr(Timing, "affordable", lambda self, theta, budget: 11)
    # The rate of a run follows its length where it is not given.
    small = SMALL | {"learning_rate": 5e-3}
    options = small | {"time_budget": "0.3s", "members": members}
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        stop_after(options | {"run": run}, updates=2)
    monkeypatch.undo()  # the number is kept, not asked for again
    opened = Run(run, tomllib.loads((run / "config.toml").read_text()))
    kept = opened.load()
    opened.close()
    assert kept is not None and kept.status == "interrupted"
    assert (kept.epoch, kept.count, kept.updates) == (0, 0, 11) and kept.seconds > 0
    # What the budget was laid out for is what the run goes on to, from where it began.
    resumed = pympnode.train(**options, run=run)
    assert resumed.status == "completed" and resumed.updates == kept.updates
    whole = pympnode.train(**small, members=members, updates=kept.updates)
    np.testing.assert_array_equal(resumed.model.theta, whole.model.theta)


def test_a_second_ctrl_c_raises() -> None:
    from pympnode.training import trainer

    interrupt = trainer._first_interrupt(trainer.Trainer.__new__(trainer.Trainer))
    with interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.trainer._asked
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)


SCRIPT = """
    import sys, pympnode
    print("started", flush=True)
    options = {options!r}
    pympnode.train(**options, run=sys.argv[1])
"""


# What Ctrl-C does to a process: test_cli, and in this process the tests above.
@pytest.mark.parametrize(
    ("number", "times"),
    [
        (signal.SIGKILL, 1),
        pytest.param(signal.SIGKILL, 2, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 3, marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_at_any_instant_continues_to_the_same_bits(
    tmp_path: Path, number: int, times: int
) -> None:
    options = {**SMALL, "epochs": 40}
    script = tmp_path / "script.py"
    patch = (
        "from pympnode.training import trainer\n"
        "f = trainer.Trainer.__init__.__kwdefaults__\n"
        "f['checkpoint_seconds'] = 0.0\n"
    )
    script.write_text(patch + textwrap.dedent(SCRIPT.format(options=options)))
    run = tmp_path / "run"
    moments = np.random.default_rng(3).uniform(0.3, 1.2, times)
    for moment in moments:
        process = subprocess.Popen(
            [sys.executable, str(script), str(run)],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        checkpoints = run / "checkpoints"
        before = set(checkpoints.glob("*.nc")) if checkpoints.exists() else set()
        deadline = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < deadline:
            if checkpoints.exists() and set(checkpoints.glob("epoch-*.nc")) - before:
                break
            time.sleep(0.02)
        time.sleep(float(moment) * 0.2)
        process.send_signal(number)
        process.wait(timeout=60)
        assert process.returncode == -signal.SIGKILL or number == signal.SIGINT
    final, whole = pympnode.train(**options, run=run), pympnode.train(**options)
    np.testing.assert_array_equal(final.model.theta, whole.model.theta)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = SMALL | {"epochs": 6, "run": run}
    with pytest.MonkeyPatch.context() as patch:
        from pympnode.training.trainer import Trainer

        patch.setitem(Trainer.__init__.__kwdefaults__, "checkpoint_seconds", 0.0)
        with pytest.raises(KeyboardInterrupt):
            stop_after(options, updates=20)
    checkpoints = sorted((run / "checkpoints").glob("*.nc"))
    assert len(checkpoints) == 2
    data = checkpoints[-1].read_bytes()
    checkpoints[-1].write_bytes(data[: len(data) // 3])
    with pytest.warns(CheckpointDamaged, match="the one before"):
        resumed = pympnode.train(**options)
    np.testing.assert_array_equal(
        resumed.model.theta, pympnode.train(**SMALL, epochs=6).model.theta
    )


def test_a_run_folder_serves_one_call_and_one_writer(tmp_path: Path) -> None:
    run = tmp_path / "run"
    pympnode.train(**SMALL, epochs=1, run=run)
    with pytest.raises(InvalidOption, match="another call") as caught:
        pympnode.train(**SMALL, epochs=2, run=run)
    assert "training.epochs was 1, is 2" in str(caught.value)
    ds = pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=10, steps=8)
    ds = ds.drop_vars("split")
    options = {k: SMALL[k] for k in ("kernel", "hidden", "batch_size", "progress", "dtype")}
    options |= {"epochs": 1, "run": tmp_path / "given"}
    pympnode.train(data=ds, **options)
    marks = ["train"] * 9 + ["validation"]
    for changed, words in (
        ({"data": ds.assign_coords(time=ds["time"] * 2)}, "data.sha256"),
        ({"split": 0.5}, "data.split.train"),
        ({"data": ds.assign_coords(split=("trajectory", marks))}, "data.split.train"),
        ({"kernel": "torch"}, "precision.kernel"),
    ):
        with pytest.raises(InvalidOption, match="another call") as caught:
            pympnode.train(**{"data": ds, **options, **changed})
        assert words in str(caught.value)
    from pympnode.training.checkpoint import Run

    held = Run(tmp_path / "other", {"a": 1})
    try:
        with pytest.raises(RunLocked):
            Run(tmp_path / "other", {"a": 1})
    finally:
        held.close()
    Run(tmp_path / "other", {"a": 1}).close()


# ---- bad input --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"system": "kuramotto"}, "did you mean 'kuramoto'"),
        ({"topology": "BAA"}, "did you mean 'BA'"),
        ({"epoch": 3}, "did you mean 'epochs'"),
        ({"preset": "fats"}, "did you mean 'fast'"),
        ({"messages": "stat"}, "did you mean 'state'"),
        ({"kernel": "numbaa"}, "did you mean 'numba'"),
        ({"engine": "torhc"}, "did you mean 'torch'"),
        ({"dtype": "float16"}, "float32"),
    ],
)
def test_unknown_names_suggest_the_closest(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UnknownName, match=words):
        pympnode.train(**{**SMALL, "epochs": 1, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"trajectories": 0},
        {"steps": 0},
        {"dt": -0.1},
        {"epochs": 0},
        {"epochs": 2, "updates": 3},
        {"batch_size": 0},
        {"split": 0.0},
        {"split": 1.5},
        {"learning_rate": -1.0},
        {"message_size": 0},
        {"hidden": 0},
        {"nodes": 3, "topology": ("WS", {"k": 7})},
        {"device": "quantum"},
        {"time_budget": "soon", "epochs": None},
    ],
)
def test_impossible_options_are_refused_in_words(options: dict[str, Any]) -> None:
    with pytest.raises(PympnodeError) as caught:
        pympnode.train(**{**SMALL, "epochs": 1, **options})
    assert caught.value.got is not None
    assert caught.value.allowed is not None or caught.value.fix is not None


def test_neither_system_nor_data() -> None:
    with pytest.raises(InvalidOption, match="a system or data"):
        pympnode.train()


def test_a_quarter_of_the_windows_begins_with_the_trajectories() -> None:
    """Rollouts are judged from there."""
    from pympnode.networks.half import NETWORKS
    from pympnode.networks.options import NetworkTraining

    options = NetworkTraining(nodes=3, trajectories=200, updates=1, messages="emitted")
    task = NETWORKS.prepare("lorenz", None, options, None).task
    starts = np.concatenate([b.start for b in task.batches(5, np.random.default_rng(0))])
    others = starts[starts > 0]
    # Of the 46 starts of windows of 5 in 50 intervals, the first also comes among the others.
    assert np.mean(starts == 0) == pytest.approx(0.25 + 0.75 / 46, abs=0.04)
    assert others.min() == 1 and others.max() == 45
    assert others.mean() == pytest.approx(23, abs=1.5)
