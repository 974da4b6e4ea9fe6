"""Ensembles: members train side by side, each as if it were alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pympnode
from pympnode.errors import InvalidModel, InvalidOption

OPTIONS: dict[str, Any] = dict(
    system="kuramoto",
    nodes=6,
    topology="ring",
    trajectories=24,
    steps=10,
    kernel="eager",
    hidden=8,
    batch_size=8,
    progress=False,
    dtype="float64",
)


@pytest.fixture(scope="module")
def ensemble() -> pympnode.Result:
    return pympnode.train(**OPTIONS, epochs=3, members=3)


def test_the_first_member_is_the_single_run_of_that_seed(ensemble: pympnode.Result) -> None:
    single = pympnode.train(**OPTIONS, epochs=3)
    np.testing.assert_array_equal(ensemble.model.theta[0], single.model.theta)
    np.testing.assert_array_equal(ensemble.history.loss.sel(member=0), single.history.loss)


def test_members_differ_and_history_has_them(ensemble: pympnode.Result) -> None:
    theta = ensemble.model.theta
    assert theta.shape[0] == 3 and len(np.unique(theta[:, 0])) == 3
    history = ensemble.history
    assert history.loss.dims == ("epoch", "member") and history.seconds.dims == ("epoch",)
    assert ensemble.best_loss == history.validation_loss.min()


def test_rollouts_and_scores_of_an_ensemble(ensemble: pympnode.Result) -> None:
    ds = ensemble.test_set(4)
    out = ensemble.model.rollout(ds)
    assert out.state.dims == ("member", "trajectory", "time", "node", "feature")
    for number in range(3):
        alone = ensemble.model.member(number).rollout(ds)
        np.testing.assert_array_equal(out.state.sel(member=number), alone.state)
    assert out.sender.dims == ("edge",)
    score = pympnode.evaluate(ensemble.model, ds)
    mean = out.state.mean("member")
    error = np.sqrt(
        ((mean - ds.state) ** 2).isel(time=slice(1, None)).mean(("trajectory", "time", "node"))
    )
    np.testing.assert_allclose(score.rmse.sel(predictor="model"), error)
    of_member = pympnode.evaluate(ensemble.model.member(1), ds).loss.sel(predictor="model")
    assert float(score.loss.sel(predictor="member 1")) == float(of_member)


def test_an_ensemble_is_kept_and_tuned(ensemble: pympnode.Result, tmp_path: Path) -> None:
    ensemble.model.save(tmp_path / "m.nc")
    back = pympnode.load(tmp_path / "m.nc")
    np.testing.assert_array_equal(back.theta, ensemble.model.theta)
    options = {**OPTIONS, "nodes": 8}
    options.pop("hidden")
    tuned = pympnode.finetune(tmp_path / "m.nc", **options, epochs=1)
    assert tuned.model.members == 3
    with pytest.raises(InvalidOption, match="another size"):
        pympnode.finetune(back, **options, epochs=1, members=2)
    with pytest.raises(InvalidOption):
        pympnode.train(**OPTIONS, epochs=1, members=0)
    with pytest.raises(InvalidModel, match="no one vector field"):
        back.vector_field(np.zeros((1, 6, 3)), graph="ring")


def test_an_ensemble_resumes_to_the_same_bits(ensemble: pympnode.Result, tmp_path: Path) -> None:
    from test_training import stop_after

    call = OPTIONS | {"epochs": 3, "members": 3, "run": tmp_path / "run"}
    with pytest.raises(KeyboardInterrupt):
        stop_after(call, updates=7)
    resumed = pympnode.train(**call)
    np.testing.assert_array_equal(resumed.model.theta, ensemble.model.theta)
    np.testing.assert_array_equal(resumed.history.loss, ensemble.history.loss)
