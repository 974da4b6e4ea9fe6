"""Fine-tuning of networks: which weights are kept, and how long a run is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import pympnode
from pympnode.config import TrainConfig
from pympnode.errors import InvalidData, InvalidOption
from pympnode.experiments.scoring import range_warnings
from pympnode.networks.presets import PRESETS
from pympnode.training.checkpoint import State
from pympnode.training.start import keep_start

QUICK: dict[str, Any] = dict(kernel="eager", progress=False, seed=1)


class Losses:
    """A task whose losses of single trajectories are one of the weights each."""

    def validation_each(self, theta: np.ndarray) -> np.ndarray:
        return np.array(theta)

    def validate(self, theta: np.ndarray) -> dict[str, float]:
        return {"validation_loss": float(np.mean(theta))}


def kept(best: list[float], margin: float = 1.65, first: float = 1.0) -> State:
    """The state after the comparison of a start, whose losses are all ``first``, and ``best``."""
    start = np.full((1, len(best)), first)
    state = State.start(start.copy())
    state.best, state.best_loss = np.array([best]), np.array([np.mean(best)])
    state.best_epoch = np.array([4])
    keep_start(Losses(), state, start, margin)  # type: ignore[arg-type]
    return state


def test_a_gain_on_all_trajectories_is_kept() -> None:
    state = kept([0.9, 0.8, 0.85, 0.9, 0.95])
    assert state.best_epoch[0] == 4 and state.best_loss[0] == pytest.approx(0.88)


def test_a_gain_that_one_trajectory_decides_is_not() -> None:
    """The mean is lower, but that of other trajectories may not be."""
    best = [1.1, 1.1, 1.1, 1.1, 0.1]
    state = kept(best)
    assert state.best_epoch[0] == 0 and state.best_loss[0] == 1.0
    np.testing.assert_array_equal(state.best, np.ones((1, 5)))
    assert kept(best, margin=0.1).best_epoch[0] == 4


def test_one_or_two_trajectories_have_to_show_a_large_gain() -> None:
    """They have no standard error, and a tenth on one of them is luck: fresh ones were worse."""
    assert kept([0.4]).best_epoch[0] == kept([0.4, 0.5]).best_epoch[0] == 4
    for few in ([0.9], [0.7, 0.8], [1.5, 0.1], [0.1, 0.6]):
        assert kept(few).best_epoch[0] == 0, few


def test_weights_that_overflow_somewhere_are_not_better() -> None:
    assert kept([0.1, 0.1, 0.1, np.inf]).best_epoch[0] == 0
    assert kept([0.1, 0.1, 0.1], first=np.inf).best_epoch[0] == 4


def test_members_are_compared_each_for_itself() -> None:
    start = np.ones((2, 4))
    state = State.start(start.copy())
    state.best = np.array([[0.5, 0.6, 0.5, 0.6], [1.2, 1.2, 1.2, 0.1]])
    state.best_loss, state.best_epoch = state.best.mean(axis=1), np.array([3, 3])
    keep_start(Losses(), state, start, 1.65)  # type: ignore[arg-type]
    assert state.best_epoch.tolist() == [3, 0] and state.best_loss.tolist() == [0.55, 1.0]


@pytest.fixture(scope="module")
def delayed() -> pympnode.Result:
    data = pympnode.simulate("heat", nodes=4, topology="ring", trajectories=6, steps=12)
    return pympnode.train(data=data, delay=0.1, messages="emitted", updates=2, **QUICK)


def test_a_delay_of_the_start_below_a_step_of_the_data_is_refused(delayed: pympnode.Result) -> None:
    """0.1 of steps of 1 was an IndexError of the kernel."""
    coarse = pympnode.simulate("heat", nodes=4, topology="ring", trajectories=6, steps=12, dt=1.0)
    with pytest.raises(InvalidData, match="a delay is 0 or at least one time step"):
        pympnode.finetune(delayed, data=coarse, updates=2, **QUICK)


def test_trajectories_shorter_than_a_delay_are_refused(delayed: pympnode.Result) -> None:
    for steps in (1, 2, 4):
        short = pympnode.simulate("heat", nodes=4, topology="ring", trajectories=6, steps=steps)
        with pytest.raises(InvalidData, match="no window fits behind the past"):
            pympnode.finetune(delayed, data=short, updates=2, **QUICK)
    with pytest.raises(InvalidData, match="no window fits behind the past"):
        pympnode.train(data=short.isel(time=[0, 1]), delay=0.1, messages="emitted", **QUICK)


def test_a_start_with_a_module_of_the_user_has_no_use_for_widths() -> None:
    """They were ignored."""

    @pympnode.register_module("start of finetuning")
    class Decay(torch.nn.Module):
        def __init__(self, features: int) -> None:
            super().__init__()
            self.field = torch.nn.Linear(features, features)

        def forward(self, x: torch.Tensor, edge_index: torch.Tensor) -> torch.Tensor:
            return self.field(x)

    data = pympnode.simulate("heat", nodes=4, topology="ring", trajectories=6, steps=4)
    start = pympnode.train(data=data, model=Decay(1), updates=1, progress=False)
    for given in ({"hidden": 4}, {"messages": "emitted"}, {"delay": 0.1}):
        with pytest.raises(InvalidOption, match=f"{next(iter(given))} is a choice of the models"):
            pympnode.finetune(start, data=data, updates=1, progress=False, **given)
    assert pympnode.finetune(start, data=data, updates=1, progress=False).status == "completed"


def test_the_margin_is_checked() -> None:
    with pytest.raises(InvalidOption, match="margin"):
        TrainConfig(margin=-1.0)
    assert "margin" not in TrainConfig().as_dict()


@pytest.fixture(scope="module")
def start() -> pympnode.Result:
    return pympnode.train("kuramoto", nodes=5, topology="BA", trajectories=30, updates=60, **QUICK)


def test_the_loss_that_is_reported_is_that_of_the_weights_that_are_kept(
    start: pympnode.Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where they are averages; and it is not above that of the start."""
    data = pympnode.simulate("kuramoto", nodes=5, topology="ring", trajectories=20, seed=3)
    held_out = data.isel(trajectory=(data["split"] == "validation").values)

    def loss(model: pympnode.Model) -> float:
        with range_warnings():
            return float(pympnode.evaluate(model, held_out).loss.sel(predictor="model"))

    tuned = pympnode.finetune(start, data=data, updates=40, **QUICK)
    assert tuned.model.about["training"]["average"] > 0
    found = loss(tuned.model)
    assert found == pytest.approx(tuned.best_loss, rel=1e-4)
    assert found < loss(start.model) and tuned.best_epoch > 0
    ruined = pympnode.finetune(start, data=data, updates=10, learning_rate=3.0, **QUICK)
    assert ruined.best_epoch == 0 and "no epoch was better" in ruined.reason
    np.testing.assert_array_equal(ruined.model.theta, start.model.theta)
    # The comparison with the start is part of a run.
    monkeypatch.setitem(PRESETS["fast"].finetune, "margin", 1e9)
    unclear = pympnode.finetune(start, data=data, updates=10, **QUICK)
    assert unclear.best_epoch == 0 and unclear.best_loss == pytest.approx(ruined.best_loss)
    assert "by chance" in unclear.reason and "by chance" not in ruined.reason


def test_a_length_that_is_not_given_does_not_follow_the_number_of_trajectories(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Half of that of a new run; all of it with pairwise messages, whose new runs are a third as long."""
    from pympnode.networks import assembly

    monkeypatch.setattr(assembly, "sized_updates", lambda *_, **__: 30)
    for messages, updates in (("emitted", 15), ("pairwise", 30)):
        data: dict[str, Any] = dict(system="kuramoto", nodes=3, steps=10, **QUICK)
        first = pympnode.train(messages=messages, trajectories=10, updates=2, **data)
        for count in (10, 20):
            assert pympnode.finetune(first, trajectories=count, **data).updates == updates


@pytest.mark.slow
def test_a_start_near_convergence_is_improved_and_not_lost() -> None:
    """On 40 trajectories of another graph, judged by fresh trajectories."""
    data: dict[str, Any] = dict(system="kuramoto", nodes=4, steps=20)
    options: dict[str, Any] = dict(messages="pairwise", coupling="superposed", aggregation="sum")
    first = pympnode.train(**data, **options, topology="BA", trajectories=60, updates=250, **QUICK)
    target = dict(data, topology="ring")
    fresh = pympnode.simulate(**target, trajectories=40, seed=9, split=None)

    def loss(model: pympnode.Model) -> float:
        with range_warnings():
            return float(pympnode.evaluate(model, fresh).loss.sel(predictor="model"))

    few = pympnode.simulate(**target, trajectories=40, seed=3)
    tuned = pympnode.finetune(first, data=few, updates=150, **QUICK)
    assert loss(first.model) < 5e-3
    assert tuned.best_epoch > 0 and loss(tuned.model) < 0.7 * loss(first.model)
