"""What decides whether a number of particles may be believed: parts, scales, seeds, the box."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.errors import OutsideTrainingRange, PympnodeWarning

TINY: dict[str, Any] = {
    "model": "deltagn", "edge_width": 6, "node_width": 6, "progress": False, "device": "cpu",
    "dtype": "float64", "kernel": "eager",
}  # fmt: skip
STILL: dict[str, Any] = {"updates": 1, "learning_rate": 1e-30}  # weights keep their bits
MORE = {key: TINY[key] for key in ("progress", "device", "dtype", "kernel")}
SIDE, STEP = 8.0, 0.1


def random_walks(trajectories: int, step: float = STEP, **options: Any) -> xr.Dataset:
    """Particles whose velocity changes by standard normal numbers times the step."""
    rng = np.random.default_rng(4)
    push = step * rng.normal(size=(trajectories, 6, 5, 2))
    v = 0.5 + np.cumsum(push, axis=1)
    x = rng.uniform(-SIDE / 2, SIDE / 2, (trajectories, 1, 5, 2)) + np.cumsum(step * v, axis=1)
    return pympnode.from_particles(x, v, 1.0, dt=step, side=SIDE, **options)


def mean_square_change(ds: xr.Dataset, part: str) -> float:
    chosen = ds.velocity.isel(trajectory=np.flatnonzero(ds.split.values == part))
    return float(np.mean(np.diff(chosen.transpose("trajectory", "time", ...).values, axis=1) ** 2))


@pytest.fixture(scope="module")
def walks() -> xr.Dataset:
    """The validation part is ten times as wild as the training part."""
    ds = random_walks(6, split=["validation"] * 2 + ["train"] * 3 + ["test"])
    wild = xr.where(ds.split == "validation", 10.0, 1.0)
    return ds.assign(velocity=(ds.velocity * wild).transpose(*ds.velocity.dims))


@pytest.fixture(scope="module")
def start(walks: xr.Dataset) -> Any:
    return pympnode.train(data=walks, inputs="scaled", **TINY, **STILL).model


def test_losses_are_computed_on_their_part(walks: xr.Dataset, start: Any) -> None:
    """Weights of zero predict no change of velocity: the loss is then known."""
    resting = replace(start, theta=np.zeros_like(start.theta))
    options = {**MORE, **STILL, "batch_size": 15}  # all steps of three trajectories
    result = pympnode.finetune(resting, data=walks, **options)
    trained, validated = (mean_square_change(walks, p) for p in ("train", "validation"))
    assert validated > 20 * trained
    np.testing.assert_allclose(start.scales.change**2, trained, rtol=1e-12)
    np.testing.assert_allclose(result.history.loss, 1.0, rtol=1e-12)
    np.testing.assert_allclose(result.best_loss, validated / trained, rtol=1e-12)
    np.testing.assert_allclose(result.history.validation_loss, validated / trained, rtol=1e-12)


@pytest.mark.parametrize(("count", "share"), [(10, 0.7), (7, 0.2)])
def test_a_drawn_split_trains_its_share(count: int, share: float) -> None:
    result = pympnode.train(data=random_walks(count), split=share, **TINY, **STILL)
    trained = round(share * count)
    assert result.model.trained.trajectories == trained
    assert result.test_set().sizes["trajectory"] == count - trained


def test_the_seed_draws_the_first_weights_whatever_the_data(walks: xr.Dataset) -> None:
    first, again, other = (
        pympnode.train(data=walks, seed=seed, **TINY, **STILL).model.theta for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    drawn = first != 0  # biases begin at zero
    assert drawn.sum() > 50 and (first[drawn] != other[drawn]).all()


@pytest.mark.parametrize("times", [0.5, 3.0])
def test_another_step_changes_velocities_in_proportion(
    walks: xr.Dataset, start: Any, times: float
) -> None:
    ds = random_walks(4, step=times * STEP, split="train")
    with (
        pytest.warns(OutsideTrainingRange, match="time step"),
        pytest.warns(PympnodeWarning, match="nothing is held out"),
    ):
        tuned = pympnode.finetune(start, data=ds, **MORE, **STILL).model
    # The mean of equal weights may differ from them in the last bit.
    np.testing.assert_allclose(tuned.theta, start.theta, rtol=1e-15)
    # At rest, so that neither velocities nor half a step of drift are inputs of the networks.
    first = walks.isel(time=[0])
    first = first.assign(velocity=0 * first.velocity)
    changes = []
    for model in (start, tuned):
        out = model.rollout(first, steps=1, check=False).velocity
        changes.append((out.isel(time=1) - out.isel(time=0)).values)
    assert np.abs(changes[0]).max() > 1e-3
    np.testing.assert_allclose(changes[1], times * changes[0], rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("inputs", ["scaled", "plain"])
def test_a_particle_that_leaves_the_box_comes_back_on_the_other_side(inputs: str) -> None:
    ds = random_walks(4)
    trained = pympnode.train(data=ds, inputs=inputs, **TINY, **STILL).model
    model = replace(trained, theta=np.zeros_like(trained.theta))
    first = ds.isel(time=[0])
    dims = ("trajectory", "time", "particle", "axis")
    moved = STEP * first.velocity.transpose(*dims).values  # in a step, without any force
    if inputs == "plain":  # positions are predicted too: here the same change for every particle
        moved = np.array([0.3, -0.2])
        model.weights["out_bias"][:2] = moved
    straight = first.position.transpose(*dims).values + moved * np.arange(201)[:, None, None]
    assert (np.abs(straight) > 1.5 * SIDE).any()
    found = model.rollout(first, steps=200, check=False).position.transpose(*dims).values
    assert (found >= -SIDE / 2).all() and (found < SIDE / 2).all()
    expected = (straight + SIDE / 2) % SIDE - SIDE / 2
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)
