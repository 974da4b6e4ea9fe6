"""Gradient matching: derivatives of data, their errors, the stage in a plan, runs sized by need."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import pympnode
from pympnode.config import TrainConfig
from pympnode.errors import InvalidOption
from pympnode.graph import Graph
from pympnode.networks.engines import engine
from pympnode.networks.matching import Matching, PairBatch, Unmatched, filters, pairs
from pympnode.networks.options import NetworkTraining
from pympnode.networks.presets import sized_updates
from pympnode.networks.schema import Arrays
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of
from pympnode.training.schedule import MATCHING, plan
from pympnode.training.trainer import Trainer

SMALL: dict[str, Any] = dict(
    system="kuramoto", nodes=6, topology="ring", trajectories=24, steps=14, hidden=8, batch_size=8,
    progress=False,
)  # fmt: skip
RING = Graph.single(np.array([0, 1, 2]), np.array([1, 2, 0]), 3)
TIME = np.linspace(0.0, 3.0, 61)


def waves(trajectories: int = 6, noise: float = 0.0, **changes: Any) -> tuple[Arrays, NDArray]:
    """Sines of three nodes over `TIME`, and their time derivatives."""
    rng = np.random.default_rng(5)
    phase = rng.uniform(0, 6, (trajectories, 1, 3, 2))
    speed = rng.uniform(1, 3, (trajectories, 1, 3, 2))
    angle = phase + speed * TIME[:, None, None]
    x = np.sin(angle) + noise * rng.standard_normal(angle.shape)
    values = {"x": x, "time": TIME, "graph": RING, "graph_of": np.zeros(trajectories, np.int64)}
    return Arrays(**{**values, **changes}), speed * np.cos(angle)


def slopes_of(made: Arrays) -> tuple[NDArray, NDArray]:
    """Derivatives in pairs, NaN where they are masked, and tau."""
    tau = made.time[1] - made.time[0]
    slope = (made.x[:, 1::2] - made.x[:, ::2]) / tau
    if made.mask is not None:
        slope = np.where(made.mask[:, 1::2], slope, np.nan)
    return slope, tau


@pytest.mark.parametrize(("half", "degree"), [(2, 4), (4, 8), (6, 4)])
def test_filters_are_exact_for_polynomials_of_their_degree(half: int, degree: int) -> None:
    value, slope = filters(half, degree)
    at = np.arange(2 * half + 1.0) - half
    for power in range(degree + 1):
        y = (at / half) ** power
        exact = power * (at / half) ** max(power - 1, 0) / half
        # The powers of a window have a condition number below 1e5.
        np.testing.assert_allclose(slope @ y, exact, atol=1e-10)
        np.testing.assert_allclose(value @ y, y, atol=1e-10)
    beyond = (at / half) ** (degree + 1)
    assert np.abs(slope @ beyond - (degree + 1) * (at / half) ** degree / half).max() > 1e-4


def test_pairs_hold_states_and_derivatives() -> None:
    arrays, exact = waves()
    (made,), (usable,), text = pairs([arrays], np.arange(6))
    slope, tau = slopes_of(made)
    assert usable.all() and "degree 8" in text
    np.testing.assert_array_equal(made.x[:, ::2], arrays.x)
    # h^8 f^(9) / 630 within, times 70 at the ends, f^(9) at most 3^9.
    np.testing.assert_allclose(slope, exact, atol=0.05**8 * 3**9 / 9)
    assert tau == pytest.approx(1 / np.sqrt(np.mean(exact**2)), rel=1e-3)


def test_angles_count_by_the_shorter_way() -> None:
    angle = (
        2.5 * TIME[None, :, None, None]
        + np.arange(6.0)[:, None, None, None]
        + np.zeros((6, 61, 3, 2))
    )
    wrapped = np.remainder(angle, 2 * np.pi) - np.pi
    changed = Arrays(wrapped, TIME, RING, np.zeros(6, np.int64))
    (made,), _, _ = pairs([changed], np.arange(6), circular=(0, 1))
    np.testing.assert_allclose(slopes_of(made)[0], 2.5, rtol=1e-9)


@pytest.mark.parametrize("noise", [0.003, 0.01, 0.03])
def test_the_stated_error_is_that_of_noisy_derivatives(noise: float) -> None:
    arrays, exact = waves(trajectories=40, noise=noise)
    (made,), _, text = pairs([arrays], np.arange(40))
    slope = slopes_of(made)[0]
    inner = slice(15, -15)
    found = np.sqrt(np.mean((slope - exact)[:, inner] ** 2) / np.mean(exact**2))
    stated = float(text.split("about ")[1].split()[0])
    assert found == pytest.approx(stated, rel=0.5), text
    # Five points would have this error, by the weights 8 and 1 of twelve.
    assert found < 0.3 * noise * 0.95 / 0.05 / np.sqrt(np.mean(exact**2))


def test_a_missing_value_hides_the_derivatives_around_it_alone() -> None:
    mask = np.ones((6, 61, 3, 2), bool)
    mask[2, 30, 1, 0] = False
    arrays, exact = waves(mask=mask)
    (made,), (usable,), _ = pairs([arrays], np.arange(6))
    slope = slopes_of(made)[0]
    hidden = np.isnan(slope)
    assert hidden.any() and not hidden[[0, 1, 3, 4, 5]].any()
    assert set(np.argwhere(hidden[2])[:, 0]) == set(range(26, 35))
    np.testing.assert_allclose(slope[~hidden], exact[~hidden], atol=1e-4)
    # No window starts at a state that is not known whole.
    assert not usable[2, 30] and usable.sum() == 6 * 61 - 1


def refused(arrays: Arrays, spec: ModelSpec, name: str = "torch") -> str:
    def bind(*_: Any) -> Any:
        raise AssertionError("bound")

    with pytest.raises(Unmatched) as caught:
        Matching(bind, spec, [arrays], np.arange(arrays.trajectories), 4, name, asked=False)
    return str(caught.value)


def test_what_has_no_derivatives_is_refused() -> None:
    spec = ModelSpec(channels=2, messages="emitted", message=2)
    uneven = np.sort(np.random.default_rng(1).uniform(0, 3, 61))
    assert "uneven" in refused(waves(time=uneven)[0], spec)
    assert "controls" in refused(waves(u=np.zeros((6, 61, 3, 1)))[0], spec.replace(controls=1))
    assert "ODE states" in refused(waves()[0], spec.replace(messages="state"))
    assert "engine" in refused(waves()[0], spec, "julia")
    assert "noise" in refused(waves(trajectories=40, noise=0.5)[0], spec)
    assert "time steps" in refused(
        waves(time=TIME, x=np.sin(40 * TIME)[None, :, None, None] * np.ones((6, 1, 3, 2)))[0], spec
    )
    assert "do not change" in refused(waves(x=np.ones((6, 61, 3, 2)))[0], spec)


@pytest.mark.parametrize("kernel", ["eager", "torch", "numba"])
def test_the_loss_is_that_of_the_vector_field(kernel: str, rng: np.random.Generator) -> None:
    spec = ModelSpec(channels=2, messages="emitted", coupling="superposed", message=2, hidden=8)
    arrays, _ = waves()
    options = {"dtype": "float64", "device": "cpu"}

    def bind(changed: ModelSpec, made: list[Arrays]) -> Any:
        return engine("torch").bind(changed, made, kernel=kernel, **options)

    matching = Matching(bind, spec, [arrays], np.arange(4), 2, "torch")
    batch = next(iter(matching.batches(3, rng)))
    assert isinstance(batch, PairBatch) and batch.trajectory.max() < 4
    theta = layout_of(spec).initial(rng)
    loss, gradient = matching.program.loss_and_gradient(theta, batch)
    field = engine("torch").bind(spec, None, kernel="eager", **options)
    time = batch.start // 2
    (made,), _, _ = pairs([arrays], np.arange(4))
    slope, tau = slopes_of(made)
    away = (
        field.field(theta, arrays.x[batch.trajectory, time], RING) - slope[batch.trajectory, time]
    )
    size = tau * np.abs(away)
    expected = np.where(size < 1, 0.5 * size**2, size - 0.5).sum(axis=-1).mean()
    assert loss == pytest.approx(expected, rel=1e-9)
    step = 1e-6 * rng.standard_normal(theta.shape)
    ahead, behind = (matching.program.loss(theta + s, batch) for s in (step, -step))
    # A central difference: its error is of the third order in a step of 1e-6.
    assert (ahead - behind) / 2 == pytest.approx(gradient @ step, rel=1e-4)


# ---- the stage in a plan ---------------------------------------------------------------------------


def test_a_plan_begins_with_its_share_of_matching() -> None:
    config = TrainConfig(updates=1000, matching=0.6, curriculum=((5, 0.5), (0, 0.5)))
    laid = plan(config, 20, lambda horizon: {MATCHING: 50, 5: 12, 20: 3}[horizon], 1, 1000)
    made = np.diff([0, *laid.last])
    assert laid.updates == 1000 and laid.horizon[0] == MATCHING
    of = {length: made[np.array(laid.horizon) == length].sum() for length in (MATCHING, 5, 20)}
    # To an epoch of the stage.
    assert abs(of[MATCHING] - 600) <= 50 and abs(of[5] - 200) <= 50 and of[20] > 0
    assert sorted(laid.horizon, key=[MATCHING, 5, 20].index) == list(laid.horizon)


def test_the_stage_lowers_the_loss() -> None:
    data = pympnode.simulate("kuramoto", nodes=6, topology="BA", trajectories=60, steps=30)
    options: dict[str, Any] = dict(
        data=data, updates=600, progress=False, messages="emitted", coupling="superposed"
    )
    without = pympnode.train(**options, matching=0)
    matched = pympnode.train(**options, matching=0.8)
    assert matched.best_loss < 0.5 * without.best_loss
    assert matched.history.horizon.values[0] == MATCHING and without.history.horizon.min() > 0
    assert matched.updates == without.updates == 600
    assert "degree" in matched.history.attrs["matching"]


@pytest.mark.parametrize("at", [30, 70])
def test_a_resumed_run_has_the_bits_of_a_whole_one(at: int, tmp_path: Path) -> None:
    """Stopped within either stage."""
    options = {**SMALL, "updates": 80, "matching": 0.6, "members": 2}
    whole = pympnode.train(**options)
    before = Trainer._tell

    def tell(self: Trainer, state: Any, count: int, values: NDArray) -> None:
        before(self, state, count, values)
        if count == at:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "_tell", tell)
        with pytest.raises(KeyboardInterrupt):
            pympnode.train(**options, run=tmp_path)
    resumed = pympnode.train(**options, run=tmp_path)
    np.testing.assert_array_equal(whole.model.theta, resumed.model.theta)


def test_what_was_asked_for_and_cannot_be_done_is_an_error() -> None:
    with pytest.raises(InvalidOption, match="no stage of gradient matching") as caught:
        pympnode.train(**SMALL, updates=2, messages="state", matching=0.5)
    assert "ODE states" in caught.value.got and caught.value.fix
    with pytest.raises(InvalidOption, match="share"):
        pympnode.train(**SMALL, updates=2, matching=1.0)


def test_a_default_that_cannot_be_done_is_left_out_and_noted() -> None:
    result = pympnode.train(**SMALL, updates=2, messages="state")
    assert "ODE states" in result.history.attrs["matching"]
    assert result.history.horizon.min() > 0


# ---- the length of a run ---------------------------------------------------------------------------


def test_a_run_is_sized_by_model_and_data() -> None:
    assert sized_updates(2000, 1_000_000) == 6000
    assert sized_updates(8000, 1_000_000) == 12_000
    assert sized_updates(8000, 10_000) == 6000
    assert sized_updates(10, 10_000) == 3000 and sized_updates(10**8, 10**9) == 30_000
    assert sized_updates(2000, 1_000_000, pairwise=True) == 2000


def test_lengths_that_are_given_are_kept() -> None:
    assert NetworkTraining().sized and not NetworkTraining(updates=5).sized
    assert not NetworkTraining(preset="paper").sized
    epochs = NetworkTraining(epochs=7).run_config(fresh=True)
    assert (epochs.epochs, epochs.matching, epochs.standstill) == (7, 0, 0)
    updates = NetworkTraining(updates=7).run_config(fresh=True)
    assert updates.matching == 0.8 and updates.standstill == 0
    assert NetworkTraining().run_config(fresh=False).matching == 0.8  # the recipe of `finetune`


def test_a_run_ends_where_validation_stands_still() -> None:
    from test_trusted_numbers import Quadratic

    def updates(**options: Any) -> tuple[int, str]:
        # The best weights are where the run starts: every update leads away from them.
        task = Quadratic(updates=1, validation=-1.0)
        config = TrainConfig(updates=100, learning_rate=1e-2, **options)
        outcome = Trainer(task, config).fit(np.zeros((1, 3)))  # type: ignore[arg-type]
        return outcome.updates, outcome.status

    assert updates() == (100, "completed")
    assert updates(standstill=0.3) == (31, "completed")


def test_few_whole_states_are_no_stage_of_a_run_unless_it_is_asked_for():
    ds = pympnode.simulate("kuramoto", nodes=6, topology="ring", trajectories=10, seed=2)
    known = np.random.default_rng(0).random(ds.state.shape) > 0.3
    known[:, 0] = True  # of the other times hardly any is known whole
    gaps = ds.assign(state=ds.state.where(known))
    run = {"data": gaps, "missing": "mask", "updates": 20, "progress": False, "kernel": "eager"}
    result = pympnode.train(**run)
    assert "training states are known whole" in result.history.attrs["matching"]
    assert 0 not in result.history.horizon
    asked = pympnode.train(**run, matching=0.5)
    assert 0 in asked.history.horizon
