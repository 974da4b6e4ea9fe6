"""Ensembles of particles: calibrated intervals, their scores and files; losses of steps."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode import losses
from pympnode.errors import FileDamaged, InvalidData, InvalidOption, UnknownName
from pympnode.particles.half import PARTICLES

OPTIONS: dict[str, Any] = dict(
    model="deltagn", messages="directed", edge_width=8, node_width=8, kernel="eager",
    batch_size=8, updates=3, progress=False, dtype="float64",
)  # fmt: skip
Q = NormalDist().inv_cdf(0.95)


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return pympnode.simulate("gravity", particles=5, trajectories=40, steps=10, dt=0.05, seed=1)


@pytest.fixture(scope="module")
def ensemble(data: xr.Dataset) -> pympnode.ParticleModel:
    return pympnode.train(data=data, members=3, **OPTIONS).model


def test_an_ensemble_is_calibrated_on_its_validation_part(
    ensemble: pympnode.ParticleModel, data: xr.Dataset
) -> None:
    found = ensemble.calibration
    assert found is not None and found.factor.shape == (11, 2)
    assert found.trajectories == int((data.split == "validation").sum())
    rollout = ensemble.rollout(data)
    fresh = pympnode.simulate("gravity", particles=5, trajectories=40, steps=10, dt=0.05, seed=2)
    scores = pympnode.evaluate(ensemble, fresh)
    assert scores.coverage.dims == ("target", "time", "feature") and scores.sizes["time"] == 10
    assert scores.feature.values.tolist() == ["position", "velocity"]
    covered = scores.coverage.mean("time")
    assert ((covered > 0.8) & (covered < 0.99)).all()
    raw = pympnode.evaluate(replace(ensemble, calibration=None), fresh)
    assert (raw.coverage.mean("time") < 0.8).all() and raw.coverage.attrs["calibrated"] == 0
    for name in ("position", "velocity"):
        square = found.factor[:, None, None] ** 2
        k = ("position", "velocity").index(name)
        spread2 = np.square(rollout[f"spread_{name}"].values) ** found.power[k]
        expected = np.sqrt(square[..., k] * spread2 + found.floor[:, None, None, k] ** 2)
        np.testing.assert_allclose(rollout[f"state_std_{name}"][:, 1:], expected[:, 1:])
        lower, upper = pympnode.interval(rollout, variable=name)
        np.testing.assert_allclose(upper - lower, 2 * Q * rollout[f"state_std_{name}"], atol=1e-12)
    assert lower.dims == ("trajectory", "time", "particle", "axis")
    np.testing.assert_allclose(0.5 * (lower + upper), rollout.velocity.mean("member"))
    assert pympnode.interval(rollout).attrs["calibrated"] == 1


def test_members_on_both_sides_of_a_face_have_a_mean_at_the_face(
    ensemble: pympnode.ParticleModel,
) -> None:
    from pympnode.particles.graphs.box import as_box
    from pympnode.particles.uncertainty import with_uncertainty

    x = np.zeros((2, 1, 2, 1, 2))
    x[0, ..., 0], x[1, ..., 0] = 9.9, 0.1
    dims = ("member", "trajectory", "time", "particle", "axis")
    ds = xr.Dataset({"position": (dims, x), "velocity": (dims, 0 * x)}, coords={"time": [0.0, 1.0]})
    plain = replace(ensemble, calibration=None)
    spread = with_uncertainty(plain, ds, as_box(10.0)).spread_position
    np.testing.assert_allclose(spread[..., 0], np.sqrt(2) * 0.1)


def test_a_single_model_can_be_calibrated_and_kept(
    ensemble: pympnode.ParticleModel, data: xr.Dataset, tmp_path: Path
) -> None:
    single = ensemble.member(0)
    assert single.calibration is None
    with pytest.raises(InvalidData, match="no spread"):
        pympnode.interval(single.rollout(data))
    with pytest.raises(UnknownName):
        pympnode.interval(ensemble.rollout(data), variable="mass")
    fresh = single.calibrate(data)
    cover = pympnode.evaluate(fresh, data).coverage.mean("time")
    np.testing.assert_allclose(cover, 0.92, atol=0.011)  # of 40 trajectories 41 / 40 * 0.9
    assert "calibrated" in repr(fresh)
    fresh.save(tmp_path / "model.nc")
    back = pympnode.load(tmp_path / "model.nc")
    xr.testing.assert_identical(back.rollout(data), fresh.rollout(data))
    ds = fresh.to_dataset()
    with pytest.raises(FileDamaged):
        pympnode.ParticleModel.from_dataset(ds.assign(calibration_floor=-ds.calibration_floor))
    with pytest.raises(InvalidData, match="nothing to calibrate"):
        ensemble.calibrate(data.isel(time=[0]))


# ---- losses -------------------------------------------------------------------------------------


def quartic(p: Any, y: Any) -> Any:
    return (p - y) ** 4


def prepared(data: xr.Dataset, loss: Any, **options: Any) -> Any:
    return PARTICLES.prepare(
        None, [data], PARTICLES.Training(**{**OPTIONS, "loss": loss, **options}), None
    )


def errors_of(one: Any, theta: np.ndarray, steps: Any) -> np.ndarray:
    """Errors (feature, particle, axis) of the steps of a batch."""
    import torch

    program, (now, target) = one.task.program, one.task.states(steps)
    with torch.no_grad():
        graph, weights = program.graph(now), program.weights(theta)
        if program.spec.inputs == "scaled":
            change = program.velocity_change(weights, now, graph, training=False)
            return ((change - target.change_from(now)) / program.scales.change).numpy()[None]
        x, v = program.next_state(weights, now, graph, training=False)
        dx = now.box.displacement(x - target.position)
        return np.stack([dx.numpy(), (v - target.velocity).numpy()])


PLAIN: dict[str, Any] = dict(inputs="plain", behaviour="published", messages=None, update=None)


@pytest.mark.parametrize(
    ("loss", "options", "expected"),
    [
        ("mse", {}, lambda e: np.mean(e**2)),
        ("huber", {}, lambda e: np.mean(np.where(abs(e) < 1, e**2 / 2, abs(e) - 0.5))),
        (losses.Huber(delta=0.2), {}, lambda e: np.mean(
            np.where(abs(e) < 0.2, e**2 / 2, 0.2 * (abs(e) - 0.1)))),
        (quartic, {}, lambda e: np.mean(e**4)),
        (quartic, PLAIN, lambda e: np.mean(e**4)),
        (losses.SquaredError(weight={"position": 3.0}), PLAIN,
         lambda e: np.mean(e**2, axis=(1, 2)) @ [1.5, 0.5]),
        ("gaussian", PLAIN, lambda e: np.sqrt(np.prod(np.mean(e**2, axis=(1, 2))))),
        (losses.Gaussian(std={"position": 0.1, "velocity": 2.0}), PLAIN,
         lambda e: np.mean((e / np.array([0.1, 2.0])[:, None, None]) ** 2) / 2),
    ],
)  # fmt: skip
def test_values_and_gradients_of_losses(
    loss: Any, options: dict[str, Any], expected: Any, data: xr.Dataset
) -> None:
    one = prepared(data, loss, **options)
    steps = next(one.task.batches(1, np.random.default_rng(0)))
    # Away from biases of 0, where rectifiers have no gradient.
    theta = one.theta[0] + 0.05 * np.random.default_rng(2).normal(size=one.theta[0].shape)
    value, gradient = one.task.loss(theta, steps)
    assert value == pytest.approx(expected(errors_of(one, theta, steps)), rel=1e-9)
    along = np.random.default_rng(1).normal(size=theta.shape)
    h = 1e-6
    both = [one.task.loss(theta + s * h * along, steps)[0] for s in (1, -1)]
    assert gradient @ along == pytest.approx((both[0] - both[1]) / (2 * h), rel=1e-4)


def test_fixed_particles_have_no_loss(data: xr.Dataset) -> None:
    fixed = np.zeros((40, 5), bool)
    fixed[:, 0] = True
    still = data.assign(fixed=(("trajectory", "particle"), fixed))
    still["position"][:, :, 0] = still["position"][:, 0, 0].drop_vars("time")
    still["velocity"][:, :, 0] = 0.0
    for loss in ("huber", quartic):
        one = prepared(still, loss)
        steps = next(one.task.batches(1, np.random.default_rng(0)))
        e = errors_of(one, one.theta[0], steps).reshape(-1, 5, 2)[:, 1:]
        mean = np.mean(e**4) if loss is quartic else np.mean(np.where(abs(e) < 1, e**2 / 2, abs(e) - 0.5))  # fmt: skip
        assert one.task.loss(one.theta[0], steps)[0] == pytest.approx(mean, rel=1e-9)


def test_mse_is_the_default_and_huber_is_another_run(data: xr.Dataset) -> None:
    default, mse, huber = (prepared(data, loss).fingerprint for loss in (None, "mse", "huber"))
    assert default == mse != huber and huber["loss"]["name"] == "huber"
    assert "quartic" in prepared(data, quartic).only_in_memory


@pytest.mark.parametrize(
    ("loss", "options", "words"),
    [
        ("gaussian", {}, "one error"),
        (losses.Huber(weight={"velocity": 2.0}), {}, "one error"),
        (losses.Huber(weight={"mass": 2.0}), PLAIN, "feature in loss"),
        ("gaussian", {**PLAIN, "micro_batch": 2}, "whole batch"),
        ("hubert", {}, "huber"),
    ],
)
def test_losses_without_a_meaning_are_refused(
    loss: Any, options: dict[str, Any], words: str, data: xr.Dataset
) -> None:
    with pytest.raises((InvalidOption, UnknownName), match=words):
        prepared(data, loss, **options)
