"""A run says what its model did not learn: baselines, members apart, noise, in the result."""

from __future__ import annotations

import re
import time
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.networks import schema
from pympnode.networks.engines.base import Batch
from pympnode.networks.reference import reference_of
from pympnode.training.diagnosis import Reference, diagnose
from pympnode.uncertainty import noise_variance

FAST: dict[str, Any] = dict(progress=False, device="cpu", kernel="numba")


def history(loss: float = 1.0, epochs: int = 3) -> xr.Dataset:
    return xr.Dataset(
        {"loss": ("epoch", np.full(epochs, loss)), "horizon": ("epoch", np.full(epochs, 10))}
    )


def found(losses: list[float], reference: Reference, updates: int = 5000, **options: Any) -> Any:
    return diagnose(np.array(losses), reference, history(**options), updates)


# ---- sentences ------------------------------------------------------------------------------------


def test_a_good_fit_has_no_diagnosis() -> None:
    reference = Reference({"persistence": 1.0, "data mean": 2.0, "AR(1)": 0.8}, noise=0.1)
    assert found([0.2], reference).sentences == ()


@pytest.mark.parametrize(
    ("loss", "losses", "words"),
    [
        (1.2, {"persistence": 1.0}, "worse than persistence"),
        (0.6, {"persistence": 1.0}, "hardly better than persistence"),
        (0.95, {"free flight": 1.0}, "no better than free flight"),
        # Of brain scans: a model that looks good beside persistence is level with AR(1).
        (0.97, {"persistence": 2.5, "AR(1)": 0.981}, r"no better than AR\(1\)"),
        (0.3, {"persistence": 1.0, "data mean": 0.2}, "worse than data mean"),
    ],
)
def test_baselines_are_named_with_numbers(loss: float, losses: dict, words: str) -> None:
    text = found([loss], Reference(losses)).sentences[0]
    for number in (loss, *losses.values()):
        assert f"{number:.3g}" in text
    assert "likely cause" in text
    assert re.search(words, text)


def test_causes_differ() -> None:
    bad = Reference({"persistence": 1.0})
    assert "updates are few" in found([0.9], bad, updates=20).sentences[0]
    assert "too few data" in found([0.9], bad, loss=0.1).sentences[0]
    assert "do not determine" in found([0.9], bad, loss=0.8).sentences[0]
    noisy = Reference({"persistence": 1.0}, noise=0.6)
    assert "noise, which is most" in found([0.9], noisy).sentences[0]


def test_a_member_apart_is_named() -> None:
    reference = Reference({"persistence": 10.0})
    (text,) = found([0.1, 0.12, 2.0], reference, loss=0.1).sentences
    assert "member 2" in text and "0.1 to 0.12" in text
    assert found([0.1, 0.12, 0.2], reference).sentences == ()
    assert "member 0" in found([2.0, 0.1], reference).sentences[0]
    assert "member 1" in found([0.1, np.inf, 0.1], reference).sentences[0]


def test_the_noise_floor_is_compared() -> None:
    (text,) = found([0.5], Reference({"persistence": 9.0}, noise=0.1)).sentences
    assert "5 times the noise floor" in text
    assert found([0.25], Reference({"persistence": 9.0}, noise=0.1)).sentences == ()


def test_nothing_is_said_of_a_run_without_a_loss() -> None:
    assert found([np.inf], Reference({"persistence": 1.0})).sentences == ()
    assert found([0.5], Reference({"persistence": np.nan})).sentences == ()


# ---- the noise floor ------------------------------------------------------------------------------


@pytest.mark.parametrize("system", ["kuramoto", "heat", "gene", "pendulum"])
@pytest.mark.parametrize("noise", [0.02, 0.2])
def test_noise_is_found_from_differences(system: str, noise: float) -> None:
    x = pympnode.simulate(system, nodes=5, trajectories=30).state.values
    x = x / x.std((0, 1, 2))
    assert noise_variance([x]) is None
    noisy = x + noise * np.random.default_rng(0).normal(size=x.shape)
    variance = noise_variance([noisy])
    assert variance is not None
    assert np.sqrt(variance) == pytest.approx(noise, rel=0.15)


def test_coarse_motion_is_no_noise() -> None:
    for steps in (50, 20):  # dt 0.04 and 0.1 of Lorenz
        x = pympnode.simulate("lorenz", nodes=3, trajectories=50, steps=steps, dt=2 / steps)
        values = x.state.values / x.state.values.std((0, 1, 2))
        assert noise_variance([values]) is None


def test_noise_of_one_feature_beside_a_coarse_one_is_no_floor() -> None:
    """As weekly cases beside their sum: what noise the coarse feature has is not known."""
    rng = np.random.default_rng(0)
    time = np.arange(40)[None, :, None, None]
    phase = rng.uniform(0, 6, (50, 1, 3, 1))
    noisy = np.sin(0.1 * time + phase) + 0.1 * rng.normal(size=(50, 40, 3, 1))
    coarse, smooth = np.sin(2.0 * time + phase), np.sin(0.1 * time + phase)
    assert noise_variance([np.concatenate([noisy, coarse], axis=-1)]) is None
    variance = noise_variance([np.concatenate([noisy, smooth], axis=-1)])
    assert variance is not None
    assert np.sqrt(variance) == pytest.approx([0.1, 0.0], rel=0.15)


def test_noise_with_gaps_and_too_short_windows() -> None:
    rng = np.random.default_rng(0)
    x = np.sin(0.1 * np.arange(200))[None, :, None, None] + 0.1 * rng.normal(size=(20, 200, 2, 1))
    x[rng.random(x.shape) < 0.1] = np.nan
    assert np.sqrt(noise_variance([x])) == pytest.approx(0.1, rel=0.15)
    assert noise_variance([x[:, :8]]) is None


# ---- baselines ------------------------------------------------------------------------------------


def test_baselines_are_those_of_evaluate() -> None:
    """Persistence in the training loss, from two independent implementations."""
    ds = pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=20, steps=12)
    result = pympnode.train(data=ds, epochs=1, **FAST)
    scores = result.evaluate()
    wanted = float(scores.loss.sel(predictor="persistence"))
    assert result.baselines["persistence"] == pytest.approx(wanted, rel=1e-5)
    model = float(scores.loss.sel(predictor="model"))
    assert result.best_loss == pytest.approx(model, rel=1e-4)


def test_the_autoregression_recovers_its_own_process() -> None:
    rng = np.random.default_rng(0)
    x = np.zeros((40, 60, 3, 1))
    slope, mean = np.array([0.9, 0.5, -0.3])[:, None], np.array([1.0, 0.0, -2.0])[:, None]
    x[:, 0] = rng.normal(size=(40, 3, 1))
    for t in range(59):
        x[:, t + 1] = slope * x[:, t] + 0.3 * rng.normal(size=(40, 3, 1))
    arrays = schema.pack(pympnode.from_arrays(x + mean, dt=1.0, topology="ring"))
    batch = Batch(np.arange(20, 40), np.full(20, 8), 30)
    losses = reference_of([arrays], np.arange(20), [batch]).losses
    # Rolled out by the true numbers.
    lags = np.arange(1, 31)[None, :, None, None]
    error = x[20:, 9:39] - slope**lags * x[20:, 8:9]
    size = np.abs(error)
    true = np.where(size < 1, size**2 / 2, size - 0.5).sum() / (20 * 3)
    assert losses["AR(1)"] == pytest.approx(true, rel=0.02)
    assert losses["AR(1)"] < losses["data mean"] < losses["persistence"]


def test_missing_values_play_no_part_in_baselines() -> None:
    ds = pympnode.simulate("heat", nodes=4, topology="ring", trajectories=8, steps=10)
    ds["state"][:, 3:5, 1] = np.nan
    result = pympnode.train(data=ds, missing="mask", epochs=1, **FAST)
    assert all(np.isfinite(loss) for loss in result.baselines.values())


# ---- results --------------------------------------------------------------------------------------


def noise_alone() -> xr.Dataset:
    x = np.random.default_rng(0).normal(size=(12, 20, 3, 1))
    return pympnode.from_arrays(x, dt=1.0, topology="ring")


def test_a_run_that_learned_nothing_says_so() -> None:
    result = pympnode.train(data=noise_alone(), epochs=2, **FAST)
    assert result.status == "completed"
    assert result.reason.startswith("all updates were made, but the model is ")
    assert result.diagnosis and result.diagnosis[0] in repr(result)
    assert "noise floor" in repr(result)


def test_a_run_that_learned_says_nothing() -> None:
    result = pympnode.train("heat", nodes=4, trajectories=200, epochs=8, **FAST)
    assert result.diagnosis == () and result.reason == "all updates were made"
    assert result.noise_floor is None and "noise floor unknown" in repr(result)
    assert set(result.baselines) == {"persistence", "data mean", "AR(1)"}
    assert result.best_loss < 0.5 * result.baselines["persistence"]


def test_measurement_noise_is_in_the_result() -> None:
    ds = pympnode.simulate("heat", nodes=4, trajectories=200, noise=0.05)
    result = pympnode.train(data=ds, epochs=1, **FAST)
    spread = float(ds.state.std())
    expected = 0.5 * (0.05 / spread) ** 2 * (ds.sizes["time"] - 1)
    assert result.noise_floor == pytest.approx(expected, rel=0.15)


def test_a_resumed_run_says_the_same(tmp_path: Any) -> None:
    first = pympnode.train(data=noise_alone(), epochs=2, run=tmp_path / "run", **FAST)
    again = pympnode.train(data=noise_alone(), epochs=2, run=tmp_path / "run", **FAST)
    assert again.diagnosis == first.diagnosis and again.reason == first.reason


def test_particles_are_compared_with_free_flight() -> None:
    ds = pympnode.simulate("gravity", particles=5, trajectories=12, steps=10)
    result = pympnode.train(
        data=ds, model="deltagn", updates=2, edge_width=8, node_width=8, progress=False
    )
    v = ds.velocity.values
    held = np.flatnonzero(ds.split.values == "validation")
    change = np.diff(v, axis=1)
    train = np.flatnonzero(ds.split.values == "train")
    wanted = np.mean(change[held] ** 2) / np.mean(change[train] ** 2)
    assert result.baselines == {"free flight": pytest.approx(wanted, rel=1e-4)}
    assert "free flight" in result.reason and "updates are few" in result.diagnosis[0]


def test_the_comparison_costs_little() -> None:
    """Of large data a sample: the time does not grow with them."""
    ds = pympnode.simulate("heat", nodes=4, trajectories=3, steps=50)
    small = schema.pack(ds)
    many = 4000
    large = schema.Arrays(
        np.tile(small.x, (many, 1, 1, 1)), small.time, small.graph, np.zeros(3 * many, np.int64)
    )
    index = np.arange(3 * many)
    start = time.process_time()
    reference_of([large], index[:100], [Batch(index, np.zeros(3 * many, np.int64), 50)])
    assert time.process_time() - start < 0.5


def test_data_that_never_change_are_said() -> None:
    assert "do not change" in found([0.0], Reference({"persistence": 0.0})).sentences[0]
    assert found([0.0], Reference({"persistence": 1.0})).sentences == ()
    still = pympnode.from_arrays(np.ones((4, 20, 3, 1)), dt=1.0, topology="ring")
    result = pympnode.train(data=still, updates=2, **FAST)
    assert "nothing can be learned" in str(result) and "updates are few" not in str(result)
