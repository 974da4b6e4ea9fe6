"""Uncertainty: spread, calibrated intervals and their scores, members that are left out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.errors import FileDamaged, InvalidData, InvalidOption
from pympnode.networks.calibration import calibrated
from pympnode.training.diagnosis import Reference, diagnose
from pympnode.uncertainty import Calibration, crps_of_members, crps_of_normal, fitted

OPTIONS: dict[str, Any] = dict(
    hidden=8, kernel="eager", batch_size=8, progress=False, dtype="float64", epochs=1
)
Q = NormalDist().inv_cdf(0.95)


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return pympnode.simulate(
        "kuramoto", nodes=5, topology="ring", trajectories=40, steps=12, noise=0.05, seed=1
    )


@pytest.fixture(scope="module")
def ensemble(data: xr.Dataset) -> pympnode.Model:
    return pympnode.train(data=data, members=3, **OPTIONS).model


# ---- formulas --------------------------------------------------------------------------------


def test_crps_is_the_integral_that_defines_it(rng: np.random.Generator) -> None:
    x = np.linspace(-12, 12, 200_001)
    for error, sigma in ((0.0, 1.0), (1.3, 0.4), (-2.0, 2.0)):
        cdf = np.vectorize(NormalDist(0, sigma).cdf)(x[::100])
        integral = np.trapezoid((cdf - (x[::100] >= error)) ** 2, x[::100])
        value = crps_of_normal(np.array(error), np.array(sigma))
        assert value == pytest.approx(integral, abs=0.02 * sigma)
    assert crps_of_normal(np.array(-0.7), np.array(0.0)) == pytest.approx(0.7)
    errors = rng.normal(size=(5, 7))
    pairs = [abs(errors[i] - errors[j]) for i in range(5) for j in range(5) if i != j]
    expected = np.abs(errors).mean(0) - 0.5 * np.mean(pairs, axis=0)
    np.testing.assert_allclose(crps_of_members(errors), expected)
    np.testing.assert_allclose(crps_of_members(errors[:1]), np.abs(errors[0]))


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_factor_and_floor_cover_states_and_readings(noise: float, rng: np.random.Generator) -> None:
    spread2 = np.square(rng.lognormal(size=(20_000, 3)))
    std = np.sqrt(9 * spread2 * [1.0, 4.0, 0.0] + [0.01, 0.01, 0.5])
    state = std * rng.normal(size=std.shape)
    error = state + noise * rng.normal(size=std.shape)
    factor, floor, power = fitted(error, spread2, noise**2, 20_000)
    assert power == 1
    found = np.sqrt(np.square(factor) * spread2 + np.square(floor))
    reading = np.sqrt(np.square(found) + noise**2)
    np.testing.assert_allclose((np.abs(error) < Q * reading).mean(0), 0.9, atol=0.002)
    np.testing.assert_allclose((np.abs(state) < Q * found).mean(0), 0.9, atol=0.02)
    # The share that follows the spread is the same at all times: the last time has none of its own.
    assert factor[1] > 1.8 * factor[0] > 3.0


def test_a_time_without_data_has_the_values_before_it(rng: np.random.Generator) -> None:
    error = rng.normal(size=(500, 4))
    error[:, 2] = np.nan
    factor, floor, _ = fitted(error, np.ones((500, 4)), 0.0, 500)
    assert (factor[2], floor[2]) == (factor[1], floor[1]) and np.isfinite(floor).all()


# ---- rollouts --------------------------------------------------------------------------------


def test_an_ensemble_predicts_its_spread_and_intervals(
    ensemble: pympnode.Model, data: xr.Dataset
) -> None:
    rollout = ensemble.rollout(data)
    np.testing.assert_allclose(rollout.spread, rollout.state.std("member", ddof=1), rtol=1e-10)
    found = ensemble.calibration
    assert found is not None and found.trajectories == 12
    # 0.05 by the simulation; 12 trajectories.
    np.testing.assert_allclose(found.noise, 0.05, rtol=0.2)
    square = found.factor[:, None] ** 2 * rollout.spread**2 + found.floor[:, None] ** 2
    later = slice(1, None)
    np.testing.assert_allclose(
        rollout.state_std.isel(time=later), np.sqrt(square).isel(time=later), rtol=1e-6
    )
    np.testing.assert_allclose(
        rollout.reading_std.isel(time=later), np.sqrt(square + found.noise**2).isel(time=later)
    )
    start = rollout.isel(time=0)
    assert not start.reading_std.any()
    np.testing.assert_allclose(start.state_std, np.broadcast_to(found.noise, start.state_std.shape))
    for readings, std in ((False, rollout.state_std), (True, rollout.reading_std)):
        lower, upper = pympnode.interval(rollout, 0.9, readings=readings)
        np.testing.assert_allclose(upper - lower, 2 * Q * std, rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(0.5 * (lower + upper), rollout.state.mean("member"))
    wide = pympnode.interval(rollout, 0.99)
    assert wide.attrs["calibrated"] == 1 and wide.dims == ("bound", *rollout.spread.dims)


def test_intervals_of_longer_steps_are_those_of_the_same_times(
    ensemble: pympnode.Model, data: xr.Dataset
) -> None:
    some = data.isel(trajectory=[0], time=slice(None, None, 2))
    coarse = ensemble.rollout(some, check=False)  # for steps twice as long
    fine = ensemble.rollout(data).isel(trajectory=[0], time=slice(None, None, 2))
    np.testing.assert_allclose(coarse.state_std, fine.state_std, rtol=0.02)


def test_without_calibration_the_interval_is_that_of_the_members(
    ensemble: pympnode.Model, data: xr.Dataset
) -> None:
    rollout = replace(ensemble, calibration=None).rollout(data)
    assert "state_std" not in rollout
    bounds = pympnode.interval(rollout, 0.5)
    width = 2 * NormalDist().inv_cdf(0.75) * rollout.spread
    upper, lower = bounds.sel(bound="upper"), bounds.sel(bound="lower")
    np.testing.assert_allclose(upper - lower, width, rtol=1e-6, atol=1e-12)
    assert bounds.attrs["calibrated"] == 0


def test_a_single_model_is_as_before_and_can_be_calibrated(
    ensemble: pympnode.Model, data: xr.Dataset
) -> None:
    single = pympnode.train(data=data, **OPTIONS).model
    np.testing.assert_array_equal(single.theta, ensemble.theta[0])
    before = single.rollout(data)
    assert single.calibration is None and not {"spread", "state_std"} & {*before.data_vars}
    assert "coverage" not in pympnode.evaluate(single, data)
    with pytest.raises(InvalidData, match="no spread"):
        pympnode.interval(before)
    fresh = single.calibrate(data)
    after = fresh.rollout(data)
    np.testing.assert_array_equal(after.state, before.state)
    scores = pympnode.evaluate(fresh, data)
    cover = scores.coverage.sel(target="reading").mean("time")
    np.testing.assert_allclose(cover, 0.92, atol=0.01)  # of 40 trajectories 41 / 40 * 0.9
    assert ensemble.member(0).calibration is None


def test_scores_are_those_of_the_intervals(ensemble: pympnode.Model, data: xr.Dataset) -> None:
    # Other trajectories: of those of the calibration one lies on the bound, but for rounding.
    known = data.isel(trajectory=slice(9)).copy(deep=True)
    known.state[3, 5:, 2] = np.nan
    known = known.assign(state=known.state + 1e-3)
    scores = pympnode.evaluate(ensemble, known)
    lower, upper = pympnode.interval(scores, readings=True)
    inside = ((known.state >= lower) & (known.state <= upper)).where(known.state.notnull())
    found = scores.coverage.sel(target="reading")
    np.testing.assert_allclose(
        found.isel(time=slice(1, None)),
        inside.mean(("trajectory", "node")).isel(time=slice(1, None)),
    )
    assert np.isnan(found[0]).all() and np.isfinite(scores.crps[:, 1:]).all()
    np.testing.assert_allclose(
        scores.sharpness.sel(target="reading")[1:],
        (upper - lower).mean(("trajectory", "node"))[1:],
        rtol=1e-6,
    )
    assert (scores.crps_members[1:] > 0).all()


def test_what_has_no_intervals_is_refused(ensemble: pympnode.Model, data: xr.Dataset) -> None:
    rollout = ensemble.rollout(data)
    for level in (0.0, 1.0, 2.0, "high"):
        with pytest.raises(InvalidOption):
            pympnode.interval(rollout, level)  # type: ignore[arg-type]
    with pytest.raises(InvalidData, match="no spread"):
        pympnode.interval(data)
    lacking = data.copy(deep=True)
    lacking.state[:, 0, 0] = np.nan
    with pytest.raises(InvalidData, match="nothing to calibrate"):
        ensemble.calibrate(lacking)
    for other in (data.state, data.drop_vars("state"), data.isel(trajectory=0)):
        with pytest.raises(InvalidData):
            ensemble.calibrate(other)  # type: ignore[arg-type]


def test_windows_of_a_recording_calibrate(ensemble: pympnode.Model, data: xr.Dataset) -> None:
    found = calibrated(ensemble, [data.isel(trajectory=[0, 1])], longest=5).calibration
    # Two windows of each trajectory.
    assert found.trajectories == 4 and len(found.horizon) == 6
    both = calibrated(ensemble, [data.isel(trajectory=[0, 1], time=slice(4)), data]).calibration
    assert both.trajectories == 42 and len(both.horizon) == 13


# ---- members that got stuck, files -------------------------------------------------------------


def test_a_member_that_got_stuck_is_left_out(ensemble: pympnode.Model, data: xr.Dataset) -> None:
    found = diagnose(
        np.array([0.1, 2.0, np.nan, 0.12]),
        Reference({"persistence": 10.0}),
        xr.Dataset({"loss": ("epoch", [0.1]), "horizon": ("epoch", [1])}, coords={"epoch": [0]}),
        10_000,
    )
    assert found.left_out == (1, 2) and "leave it out" in found.sentences[0]
    model = replace(ensemble, left_out=(1,), calibration=None)
    rollout = model.rollout(data)
    assert rollout.member.values.tolist() == [0, 2]
    np.testing.assert_array_equal(rollout.state[1], ensemble.rollout(data).state[2])
    predictors = pympnode.evaluate(model, data).predictor.values.tolist()
    assert "member 2" in predictors and "member 1" not in predictors
    assert model.members == 3 and "member 1" in repr(model)


def test_a_training_names_and_leaves_out_a_stuck_member(
    data: xr.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pympnode.networks import assembly

    first = assembly.initial_weights

    def spoiled(*arguments: Any) -> Any:
        thetas, restored = first(*arguments)
        thetas[1] *= 8.0
        return thetas, restored

    monkeypatch.setattr(assembly, "initial_weights", spoiled)
    result = pympnode.train(data=data, members=3, **OPTIONS)
    assert result.model.left_out == (1,) and result.model.rollout(data).sizes["member"] == 2
    assert any("member 1 is apart" in sentence for sentence in result.diagnosis)
    assert result.history.sizes["member"] == 3


def test_files_hold_calibration_and_members_left_out(
    ensemble: pympnode.Model, data: xr.Dataset, tmp_path: Path
) -> None:
    model = replace(ensemble, left_out=(2,))
    model.save(tmp_path / "model.nc")
    back = pympnode.load(tmp_path / "model.nc")
    xr.testing.assert_identical(back.rollout(data), model.rollout(data))
    ds = model.to_dataset()
    for damaged in (
        ds.assign(calibration_factor=-ds.calibration_factor),
        ds.assign(calibration_horizon=ds.calibration_horizon[::-1]),
        ds.drop_vars("noise_std"),
        replace(model, left_out=(0, 1, 2)).to_dataset(),
        replace(model, left_out=(7,)).to_dataset(),
    ):
        with pytest.raises(FileDamaged):
            pympnode.Model.from_dataset(damaged)


def test_variances_at_and_after_the_last_horizon() -> None:
    found = Calibration(
        np.array([0.0, 1.0]), np.array([[0.0], [2.0]]), np.array([[0.1], [0.3]]), np.array([0.1]), 9
    )
    time = np.array([-1.0, 0.0, 1.0, 5.0])
    of_state, of_reading = found.variances(np.ones((1, 4, 1, 1)), time)
    np.testing.assert_allclose(of_state.ravel(), [0.01, 0.01, 4.09, 4.09])
    np.testing.assert_allclose(of_reading.ravel(), [0.0, 0.0, 4.10, 4.10])


# ---- pictures and the command line --------------------------------------------------------------


def test_pictures_draw_the_interval_of_a_calibrated_model(
    ensemble: pympnode.Model, data: xr.Dataset
) -> None:
    from matplotlib import pyplot as plt

    rollout = ensemble.rollout(data)
    lower, upper = pympnode.interval(rollout).isel(trajectory=1, node=2, feature=0)
    for prediction, number in ((rollout, 1), (rollout.isel(trajectory=1), 0)):
        axes = pympnode.plotting.prediction(prediction, trajectory=number, nodes=[2])
        (band,) = axes[0, 0].collections
        assert band.get_label() == "90 % interval"
        y = band.get_paths()[0].vertices[:, 1]
        assert y.min() == pytest.approx(float(lower.min())) and y.max() == pytest.approx(
            float(upper.max())
        )
        plt.close(axes[0, 0].figure)


def test_the_command_line_prints_coverage(
    ensemble: pympnode.Model, data: xr.Dataset, tmp_path: Path
) -> None:
    import json

    from click.testing import CliRunner

    from pympnode.cli import cli

    ensemble.save(tmp_path / "model.nc")
    data.to_netcdf(tmp_path / "data.nc")
    call = ["evaluate", str(tmp_path / "model.nc"), str(tmp_path / "data.nc")]
    said = CliRunner().invoke(cli, call).output
    assert "the 90 % interval of states covers" in said
    facts = json.loads(CliRunner().invoke(cli, [*call, "--json"]).output)
    covered = facts["predictors"]["model"]["coverage"]["reading"]
    assert set(covered) == set(data.feature.values.tolist()) and min(covered.values()) > 0.8


# ---- the noise in the likelihood ----------------------------------------------------------------


@pytest.mark.parametrize("steps", [5, 12])  # of 6 times differences show nothing
def test_the_gaussian_loss_estimates_the_measurement_noise(steps: int, tmp_path: Path) -> None:
    size: dict[str, Any] = dict(nodes=6, topology="ring", steps=steps, dt=0.05)
    std = pympnode.simulate("kuramoto", **size, trajectories=20, seed=2).state.std(
        ("trajectory", "time", "node")
    )
    true = 0.05 * std.values
    data = pympnode.simulate("kuramoto", **size, trajectories=80, noise=true, seed=1)
    options = OPTIONS | dict(epochs=None, updates=60)
    model = pympnode.train(data=data, loss="gaussian", **options).model
    assert model.noise is not None and model.calibration is None
    np.testing.assert_allclose(model.noise, true, rtol=0.13)
    assert "noise" in model.lines()
    model.save(tmp_path / "model.nc")
    back = pympnode.load(tmp_path / "model.nc")
    np.testing.assert_array_equal(back.noise, model.noise)
    rollout = back.rollout(data)
    assert not rollout.reading_std[:, 0].any()
    np.testing.assert_allclose(
        rollout.reading_std[:, 1:], np.broadcast_to(model.noise, rollout.state[:, 1:].shape)
    )
    bounds = pympnode.interval(rollout, readings=True)
    assert bounds.attrs["calibrated"] == 0
    with pytest.raises(InvalidData, match="no spread"):
        pympnode.interval(rollout)
    assert pympnode.evaluate(back, data).target.values.tolist() == ["reading"]
    found = back.calibrate(data).calibration
    assert found is not None
    np.testing.assert_array_equal(found.noise, model.noise) if steps == 5 else None
    given = pympnode.losses.Gaussian(std=dict(zip(model.features, true.tolist())))
    with_std = pympnode.train(data=data, loss=given, **OPTIONS).model
    np.testing.assert_allclose(with_std.noise, true)
    damaged = model.to_dataset().assign(
        likelihood_noise_std=-back.to_dataset().likelihood_noise_std
    )
    with pytest.raises(FileDamaged):
        pympnode.Model.from_dataset(damaged)


@pytest.mark.parametrize("given", [None, 3, "rollout.nc", [1.0]])
def test_an_interval_is_of_a_dataset(given: object) -> None:
    with pytest.raises(InvalidData, match="spread"):
        pympnode.interval(given)  # type: ignore[arg-type]
