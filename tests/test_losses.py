"""Losses of networks: their values by hand, gradients in every kernel, run folders, refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import pympnode
from pympnode import losses
from pympnode.errors import InvalidOption, UnknownName
from pympnode.networks.half import NETWORKS

pytestmark = pytest.mark.filterwarnings("ignore:node attributes only name:pympnode.PympnodeWarning")


def data(*, missing: bool = False) -> xr.Dataset:
    """Two features, on graphs of two sizes; with ``missing`` some values are NaN."""
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.normal(0, 0.3, (8, 9, 4, 2)), axis=1)
    if missing:
        x[:, 1:][rng.random((8, 8, 4, 2)) < 0.2] = np.nan
    return pympnode.from_arrays(x, dt=0.2, topology="ring", features=["x", "y"])


def elementwise(p: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (p - y) ** 4


def of_trajectories(p: torch.Tensor, y: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    return (((p - y) ** 2) * known).amax(dim=(1, 2, 3))


def huber(e: Any, delta: float) -> Any:
    return np.where(abs(e) <= delta, e * e / 2, delta * (abs(e) - delta / 2))


# Loss -> the sum over nodes and trajectories of errors (trajectory, time, node, feature) in z units,
# where NaN is missing, with the z scores ``scale``.
CASES: dict[str, tuple[Any, Any]] = {
    "huber": ("huber", lambda e, s: np.nansum(huber(e, 1.0))),
    "small delta": (losses.Huber(delta=0.2), lambda e, s: np.nansum(huber(e, 0.2))),
    "weights": (
        losses.Huber(weight={"y": 3.0}),
        lambda e, s: np.nansum(huber(e, 1.0) * [1.0, 3.0]),
    ),
    "mse": ("mse", lambda e, s: np.nansum(e * e)),
    "weighted mse": (
        losses.SquaredError(weight={"x": 0.0}),
        lambda e, s: np.nansum(e * e * [0.0, 1.0]),
    ),
    "gaussian": (
        "gaussian",
        lambda e, s: e.size * math.sqrt(np.prod(np.nanmean(e * e, axis=(0, 1, 2)))),
    ),
    "gaussian of given std": (
        losses.Gaussian(std={"x": 0.1, "y": 0.5}),
        lambda e, s: np.nansum((e * s / [0.1, 0.5]) ** 2 / 2),
    ),
    "function": (elementwise, lambda e, s: np.nansum(e**4)),
    "function of trajectories": (
        of_trajectories,
        lambda e, s: np.nanmax(e * e, axis=(1, 2, 3)).sum(),
    ),
}


def prepared(ds: xr.Dataset, loss: Any, kernel: str, **options: Any) -> Any:
    options = {"hidden": 4, "updates": 1, "dtype": "float64", "batch_size": 4, **options}
    return NETWORKS.prepare(
        None, [ds], NETWORKS.Training(loss=loss, kernel=kernel, **options), None
    )


@pytest.mark.parametrize("kernel", ["eager", "numba", "torch"])
@pytest.mark.parametrize("name", CASES)
def test_the_loss_is_the_one_by_hand_in_every_kernel(name: str, kernel: str) -> None:
    loss, by_hand = CASES[name]
    ds = data(missing=True)
    made = prepared(ds, loss, kernel, missing="mask")
    task, theta = made.task, made.theta[0]
    batch = next(task.batches(4, np.random.default_rng(0)))
    value, gradient = task.loss(theta, batch)
    arrays = task.arrays[0]
    rows = batch.trajectory[:, None], batch.start[:, None] + np.arange(batch.horizon + 1)
    truth = np.where(arrays.mask[rows], arrays.x[rows], np.nan)
    first = np.nan_to_num(arrays.x[rows][:, 0])
    times = arrays.time[: batch.horizon + 1]
    state = task.program.rollout(theta, first, arrays.graph, times).state
    error = (state - truth)[:, 1:]
    expected = by_hand(error, made.model.state_scale.scale) / (error.shape[0] * error.shape[2])
    assert value == pytest.approx(expected, rel=1e-9)
    assert task.program.loss(theta, batch) == pytest.approx(expected, rel=1e-9)
    direction = np.random.default_rng(1).normal(size=theta.shape)
    h = 1e-5
    ends = [task.program.loss(theta + sign * h * direction, batch) for sign in (1, -1)]
    assert gradient @ direction == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=2e-5)


def test_baselines_are_in_the_same_loss() -> None:
    ds = data()
    made = prepared(ds, "mse", "eager")
    arrays, batches = made.task.arrays[0], made.task.validation_batches
    x = arrays.x[batches[0].trajectory]
    expected = np.square(x[:, 1:] - x[:, :1]).sum() / (x.shape[0] * x.shape[2])
    assert made.task.reference().losses["persistence"] == pytest.approx(expected)
    assert made.task.reference().noise is None


def test_a_weight_of_zero_leaves_a_feature_out_and_training_lowers_the_loss() -> None:
    ds = data()
    # Windows of one length, whose losses can be compared.
    options = dict(epochs=6, hidden=4, window=0.4, kernel="eager", progress=False)
    result = pympnode.train(ds, loss=losses.SquaredError(weight={"x": 0.0}), **options)
    history = result.history
    assert float(history.loss[-1]) < float(history.loss[0])
    assert result.model.about["training"]["loss"] == {"name": "mse", "weight": {"x": 0.0}}
    default = pympnode.train(ds, **options)
    named = pympnode.train(ds, loss="huber", **options)
    assert np.array_equal(default.model.theta, named.model.theta)
    assert "loss" not in default.model.about["training"]


def test_run_folders_know_losses_by_name_and_numbers(tmp_path: Path) -> None:
    ds = data()
    options = dict(epochs=1, hidden=4, kernel="eager", progress=False, run=tmp_path / "run")
    pympnode.train(ds, loss=losses.Huber(delta=0.5), **options)
    with pytest.raises(InvalidOption, match="another call"):
        pympnode.train(ds, loss=losses.Huber(delta=0.25), **options)
    with pytest.raises(InvalidOption, match="has no name"):
        pympnode.train(ds, loss=lambda p, y: (p - y) ** 2, **{**options, "run": tmp_path / "b"})
    losses.register("test quartic")(elementwise)
    named = {**options, "run": tmp_path / "c"}
    first = pympnode.train(ds, loss=elementwise, **named)
    again = pympnode.train(ds, loss="test quartic", **named)
    assert again.seconds == first.seconds


def test_codes_and_ensembles_have_losses_too() -> None:
    ds = data()
    options = dict(updates=1, hidden=4, progress=False, loss="mse")
    assert pympnode.train(ds, node_codes=1, **options).kernel == "eager"
    assert pympnode.train(ds, members=2, **options).model.members == 2
    with pytest.raises(InvalidOption, match="kernel"):
        pympnode.train(ds, node_codes=1, kernel="numba", **options)


@pytest.mark.parametrize(
    ("loss", "kind", "words"),
    [
        ("hubert", UnknownName, "hubert"),
        (3, InvalidOption, "loss"),
        (losses.Huber, InvalidOption, "loss"),
        (lambda p: p, InvalidOption, "predicted and true"),
        (losses.Huber(weight={"z": 1.0}), UnknownName, "z"),
        (losses.Gaussian(std={"x": 1.0}), InvalidOption, "std"),
        (lambda p, y: (p - y).mean(), InvalidOption, "trajectories"),
        (lambda p, y: -((p - y) ** 2), InvalidOption, "at least 0"),
        (lambda p, y: y.sub_(p) ** 2, InvalidOption, "changes its arguments"),
        (lambda p, y: ((p - y) ** 2).detach(), InvalidOption, "does not depend on"),
    ],
)
@pytest.mark.parametrize("kernel", ["eager", "torch"])
def test_what_is_no_loss_is_refused(loss: Any, kind: type, words: str, kernel: str) -> None:
    with pytest.raises(kind, match=words):
        pympnode.train(data(), loss=loss, updates=1, kernel=kernel, hidden=4, progress=False)


def test_a_loss_that_is_not_told_what_is_missing_is_refused() -> None:
    with pytest.raises(InvalidOption, match="known"):
        pympnode.train(
            data(missing=True),
            missing="mask",
            loss=lambda p, y: ((p - y) ** 2).sum(dim=(1, 2, 3)),
            updates=1,
            kernel="eager",
            progress=False,
        )


@pytest.mark.parametrize(
    "make",
    [
        lambda: losses.Huber(delta=0),
        lambda: losses.Huber(delta="1"),
        lambda: losses.SquaredError(weight={"x": -1}),
        lambda: losses.SquaredError(weight=[1, 2]),
        lambda: losses.Gaussian(std={"x": 0.0}),
        lambda: losses.register("mse"),
        lambda: losses.register("mine")(3),
    ],
)
def test_numbers_of_a_loss_are_checked(make: Any) -> None:
    with pytest.raises(InvalidOption):
        make()


def test_an_angle_is_measured_the_shorter_way() -> None:
    """The same loss, where the truth is moved by whole turns."""
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.normal(0, 0.1, (6, 6, 3, 1)), axis=1)
    found = []
    for turns in (0, 3):
        moved = x.copy()
        moved[:, 3:] += 2 * math.pi * turns
        ds = pympnode.from_arrays(moved, dt=0.1, topology="ring", circular={"x0": 2 * math.pi})
        made = prepared(ds, "mse", "eager")
        batch = made.task.validation_batches[0]
        found.append(made.task.program.loss(made.theta[0], batch))
    assert found[0] == pytest.approx(found[1], rel=1e-9)
