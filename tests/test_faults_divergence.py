"""Divergence: one meaning in every kernel, a cause with numbers, and weights that are never worse."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import pytest

import pympnode
from pympnode.errors import InvalidData, PympnodeWarning


@pytest.fixture(scope="module")
def ds() -> object:
    return pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=8, steps=6, seed=1)


RUN = dict(progress=False, hidden=8, epochs=30, learning_rate=1e3)


@pytest.mark.parametrize("kernel", ["eager", "torch", "numba"])
def test_every_kernel_says_diverged_and_why(
    ds: object, kernel: str, caplog: pytest.LogCaptureFixture
) -> None:
    fresh = pympnode.train(data=ds, kernel=kernel, **{**RUN, "epochs": 1, "learning_rate": 1e-12})
    with pytest.warns(PympnodeWarning, match="the training diverged"):
        result = pympnode.train(data=ds, kernel=kernel, **RUN)
    assert result.status == "diverged"
    assert "update " in result.reason and "epoch " in result.reason
    assert "gradient is not finite" in result.reason or "training loss" in result.reason
    for word in ("trajectory ", "node ", "feature phase_", "time 0."):
        assert word in result.reason
    # The weights of the start are kept where no epoch was better.
    assert result.best_epoch == 0
    assert result.best_loss == pytest.approx(fresh.best_loss, rel=1e-3)


def test_no_epoch_better_than_the_start_is_said(ds: object) -> None:
    """One bad update, far from overflow: the weights of the start come back."""
    result = pympnode.train(data=ds, kernel="eager", progress=False, hidden=8, updates=1, learning_rate=0.5)  # fmt: skip
    fresh = pympnode.train(data=ds, kernel="eager", progress=False, hidden=8, updates=1, learning_rate=1e-12)  # fmt: skip
    assert result.best_loss <= fresh.best_loss * (1 + 1e-6)
    if result.best_epoch == 0:
        assert "no epoch was better than the weights that the run started from" in result.reason


def test_a_retry_goes_back_once_at_half_the_rate(
    ds: object, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING), pytest.warns(PympnodeWarning, match="retry"):
        result = pympnode.train(data=ds, kernel="numba", retry_diverged=True, **RUN)
    assert (
        sum("at half the rate" in r.message and "once more" in r.message for r in caplog.records)
        == 1
    )
    assert result.status == "diverged" and "of the retry at half the rate" in result.reason
    assert float(result.history.learning_rate.max()) <= 1e3


def test_a_retry_saves_a_run(ds: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gradient that is not finite above a rate: the retry stays below and completes."""
    from pympnode.networks.task import TrajectoryTask

    losses, made = TrajectoryTask.losses, []

    def once(self, thetas, batches):
        values, gradients = losses(self, thetas, batches)
        made.append(1)
        return (values, gradients * np.nan) if len(made) == 9 else (values, gradients)

    monkeypatch.setattr(TrajectoryTask, "losses", once)
    call = dict(data=ds, kernel="eager", progress=False, hidden=8, updates=20, learning_rate=1e-3)
    result = pympnode.train(**call, retry_diverged=True)
    assert result.status == "completed" and result.updates == 20
    made.clear()
    with pytest.warns(PympnodeWarning, match="diverged"):
        assert pympnode.train(**call).status == "diverged"


def test_numpy_says_nothing(ds: object) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = pympnode.train(data=ds, kernel="eager", **RUN)
        result.model.rollout(ds, check=False)
    assert not [w for w in caught if issubclass(w.category, RuntimeWarning)]


def test_an_outlier_that_becomes_the_scale_is_told() -> None:
    x = np.random.default_rng(0).normal(size=(6, 11, 3, 2))
    x[4, 7, 1, 1] = 1e6
    data = pympnode.from_arrays(x, dt=0.1, topology="ring", features=["a", "level"])
    with pytest.warns(
        PympnodeWarning, match=r"scale of level.*trajectory 4, time number 7, node 1"
    ):
        pympnode.train(data=data, epochs=1, kernel="eager", progress=False)
    x[4, 7, 1, 1] = 4.0
    data = pympnode.from_arrays(x, dt=0.1, topology="ring", features=["a", "level"])
    pympnode.train(
        data=data, epochs=1, kernel="eager", progress=False
    )  # no warning, which is an error


def test_the_first_loss_that_is_not_finite_names_its_place() -> None:
    x = np.random.default_rng(0).normal(size=(4, 6, 3, 1))
    data = pympnode.from_arrays(x, dt=1e30, topology="ring")
    try:
        pympnode.train(data=data, epochs=1, kernel="eager", progress=False, model="node", hidden=4)
    except InvalidData as error:
        assert "update 1, in epoch 1" in str(error)


def _broken_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """The gradient of the update of that number, from 1, is not finite."""
    from pympnode.networks.task import TrajectoryTask

    losses, made = TrajectoryTask.losses, []

    def broken(self, thetas, batches):
        values, gradients = losses(self, thetas, batches)
        made.append(1)
        return (values, gradients * np.nan) if len(made) == number else (values, gradients)

    monkeypatch.setattr(TrajectoryTask, "losses", broken)


@pytest.mark.parametrize("optimiser", ["adam", "soap"])
def test_after_a_retry_the_optimiser_starts_anew(
    ds: object, monkeypatch: pytest.MonkeyPatch, optimiser: str
) -> None:
    """Its state is that of a start, and it counts its updates from 1: SOAP has no basis otherwise."""
    from pympnode.training.optimiser import Adam, Soap

    of, counts = {"adam": Adam, "soap": Soap}[optimiser], []
    update = of.update

    def counted(self, theta, gradient, rate, state, count):
        counts.append((count, bool(np.any(state["first"]))))
        return update(self, theta, gradient, rate, state, count)

    monkeypatch.setattr(of, "update", counted)
    _broken_at(monkeypatch, 9)
    result = pympnode.train(
        data=ds, kernel="eager", progress=False, hidden=8, updates=20, optimiser=optimiser,
        matching=0, messages="emitted", retry_diverged=True,
    )  # fmt: skip
    assert result.status == "completed"
    # The start and the one after going back: without moments, and number 1.
    assert counts.count((1, False)) == 2
    assert all(moments for count, moments in counts if count > 1)


def test_a_derivative_that_diverges_has_its_place_in_the_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The stage of gradient matching has windows of its own; what is named is a time of the data."""
    data = pympnode.simulate("kuramoto", nodes=3, topology="ring", trajectories=4, steps=20, dt=0.1)
    _broken_at(monkeypatch, 3)
    with pytest.warns(PympnodeWarning, match="diverged"):
        result = pympnode.train(
            data=data, kernel="eager", progress=False, hidden=8, updates=20, matching=0.5,
            messages="pairwise",
        )  # fmt: skip
    time = float(result.reason.split("time ")[1].split(";")[0])
    assert "trajectory " in result.reason and "feature phase_" in result.reason
    assert min(abs(data.time.values - time)) < 1e-9 and time <= 2.0
