"""Phases and angles: jumps of a whole turn are said, and circular features are learned as such."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.errors import EngineUnavailable, InvalidOption, PympnodeWarning, UnknownName
from pympnode.networks import schema
from pympnode.networks.circular import jumps, shorter_way, unwrapped
from pympnode.networks.engines.base import Batch
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of

FAST: dict[str, Any] = {"progress": False, "seed": 1}
RNG = np.random.default_rng(0)
T = 0.1 * np.arange(40)[None, :, None, None]
PHASE = (
    3.0 * T
    + RNG.uniform(0, 6, (1, 1, 4, 1))
    + RNG.uniform(0, 6, (12, 1, 1, 1))
    + 0.3 * np.sin(3 * T)
)
UNITS = {
    "radians in [-pi, pi)": ((PHASE + np.pi) % (2 * np.pi) - np.pi, "rad", 2 * np.pi),
    "radians in [0, 2 pi)": (PHASE % (2 * np.pi), "rad", 2 * np.pi),
    "degrees in [0, 360)": (np.degrees(PHASE) % 360, "deg", 360.0),
    "turns": (PHASE / (2 * np.pi) % 1, "turn", 1.0),
    "radians of no unit": (PHASE % (2 * np.pi), "1", 2 * np.pi),
    "degrees of no unit": (np.degrees(PHASE) % 360, "1", 360.0),
}


def data(x: np.ndarray, unit: str, **options: Any) -> xr.Dataset:
    return pympnode.from_arrays(
        x, dt=0.1, topology="ring", features=["phase"], units=[unit], **options
    )


@pytest.mark.parametrize("case", list(UNITS))
def test_jumps_of_a_turn_are_said(case: str) -> None:
    x, unit, period = UNITS[case]
    with pytest.warns(PympnodeWarning, match=r"whole turn.*circular=\('phase',\)"):
        pympnode.train(data=data(x, unit), epochs=1, **FAST)
    found = jumps(x[..., 0], unit)
    assert found is not None and found[0] == period and found[1] > 10
    ds = data(x, unit, circular=("phase",))
    assert ds.period.values.tolist() == [period]


@pytest.mark.parametrize(
    "x",
    [
        PHASE,  # continuous
        RNG.uniform(-np.pi, np.pi, PHASE.shape),  # noise all over the circle is no jump
        np.sin(PHASE),
        np.cumsum(RNG.choice([-1.0, 1.0], PHASE.shape), axis=1),
        np.where(T > 2, 5.0, 0.0) + 0 * PHASE,  # one step that is not a turn
    ],
)
def test_other_motions_are_no_jumps(x: np.ndarray) -> None:
    assert jumps(x[..., 0], "rad") is None
    with warnings.catch_warnings():
        warnings.simplefilter("error", PympnodeWarning)
        pympnode.train(data=data(x, "rad"), epochs=1, **FAST)


@pytest.mark.parametrize("model", ["mpnode", "l2s", "node"])
def test_a_start_turned_by_whole_turns_moves_alike(model: str, tmp_path: Path) -> None:
    x, unit, period = UNITS["degrees in [0, 360)"]
    ds = data(x, unit, circular=("phase",))
    with warnings.catch_warnings():
        warnings.simplefilter("error", PympnodeWarning)
        # In so few updates Adam gets further.
        result = pympnode.train(data=ds, epochs=12, model=model, optimiser="adam", **FAST)
        out = result.model.rollout(ds)
        turned = result.model.rollout(ds.assign(state=ds.state + 3 * period))
    assert result.model.periods == (360.0,)
    np.testing.assert_allclose(turned.state - 3 * period, out.state, atol=0.05)
    scores = pympnode.evaluate(result, ds).rmse.sel(feature="phase")
    assert scores.sel(predictor="model") < 0.75 * scores.sel(predictor="persistence")
    assert scores.max() <= 180.0
    result.model.save(tmp_path / "model.nc")
    np.testing.assert_array_equal(pympnode.load(tmp_path / "model.nc").rollout(ds).state, out.state)


def test_circular_may_be_named_in_train_and_from_frame() -> None:
    x, unit, _ = UNITS["radians in [0, 2 pi)"]
    named = pympnode.train(data=data(x, unit), circular=("phase",), epochs=1, **FAST)
    given = pympnode.train(data=data(x, unit, circular="phase"), epochs=1, **FAST)
    assert named.best_loss == given.best_loss and named.kernel == "eager"
    table = data(x[:1], unit).state.to_dataframe().reset_index().rename(columns={"state": "phase"})
    table = table[["time", "node", "phase"]]
    ds = pympnode.from_frame(
        table, features="phase", units=["rad"], topology="ring", circular=["phase"]
    )
    assert np.isclose(ds.period, 2 * np.pi)
    hours = data(x * 24 / (2 * np.pi), "h", circular={"phase": 24.0})
    assert pympnode.train(data=hours, epochs=1, **FAST).model.periods == (24.0,)
    # The unit of the angle changes nothing.
    loss = pympnode.train(data=hours, epochs=1, **FAST).best_loss
    assert np.isclose(loss, given.best_loss, rtol=1e-3)


def test_what_circular_refuses() -> None:
    x, _, _ = UNITS["radians in [0, 2 pi)"]
    with pytest.raises(UnknownName):
        data(x, "rad", circular=("phases",))
    for options in (
        {"unit": "m", "circular": ("phase",)},
        {"unit": "m", "circular": {"phase": -1.0}},
    ):
        with pytest.raises(InvalidOption):
            data(x, **options)
    with pytest.raises(EngineUnavailable):
        pympnode.train(data=data(x, "rad", circular="phase"), kernel="torch", epochs=1, **FAST)
    with pytest.raises(InvalidOption):
        ModelSpec(channels=1, circular=(1,))
    number = pympnode.train(data=data(PHASE, "rad"), epochs=1, **FAST).model
    with pytest.warns(PympnodeWarning, match="circular features"):
        number.rollout(data(x, "rad", circular="phase"))


def test_loss_and_errors_go_the_shorter_way() -> None:
    assert np.allclose(shorter_way(np.array([[359.0, 3.0], [-190.0, 400.0]]), (360.0, 0.0)),
                       [[-1.0, 3.0], [170.0, 400.0]])  # fmt: skip
    # The loss of the program and that of evaluate are one, in data that wrap.
    x, unit, _ = UNITS["degrees in [0, 360)"]
    ds = data(x, unit, circular="phase")
    with pytest.warns(PympnodeWarning, match="nothing is held out"):
        result = pympnode.train(data=ds, epochs=1, split=1.0, **FAST)
    score = float(pympnode.evaluate(result, ds).loss.sel(predictor="model"))
    assert np.isclose(score, result.best_loss, rtol=1e-4)


def test_gradient_of_a_circular_model() -> None:
    spec = ModelSpec(channels=2, circular=(1,), message=2, hidden=5, messages="emitted",
                     coupling="superposed", aggregation="mean")  # fmt: skip
    x = np.cumsum(RNG.normal(size=(3, 5, 4, 2)), axis=1)
    ds = pympnode.from_arrays(x, dt=0.3, topology="ring")
    from pympnode.networks.engines import engine

    program = engine("torch").bind(spec, [schema.pack(ds)], dtype="float64", device="cpu")
    assert program.kernel == "eager"
    theta = layout_of(spec).initial(np.random.default_rng(0)).astype(np.float64)
    batch = Batch(np.arange(3), np.zeros(3, np.int64), 4)
    _, gradient = program.loss_and_gradient(theta, batch)
    for index in RNG.integers(0, theta.size, 12):
        step = np.zeros(theta.size)
        step[index] = 1e-6
        slope = (program.loss(theta + step, batch) - program.loss(theta - step, batch)) / 2e-6
        assert np.isclose(slope, gradient[index], rtol=1e-5, atol=1e-7)
    turned = x.copy()
    turned[..., 1] += 2 * np.pi * RNG.integers(-3, 4, x.shape[:3])
    again = engine("torch").bind(
        spec, [schema.pack(pympnode.from_arrays(turned, dt=0.3, topology="ring"))],
        dtype="float64", device="cpu",
    )  # fmt: skip
    assert np.isclose(again.loss(theta, batch), program.loss(theta, batch), rtol=1e-9)


def test_unwrapping_passes_over_what_is_missing() -> None:
    x = UNITS["degrees in [0, 360)"][0].copy()
    x[0, 5:7, 1] = np.nan
    whole = unwrapped(x, (360.0,))
    steps = np.diff(whole, axis=1)
    assert np.nanmax(np.abs(steps)) < 60 and np.isnan(whole).sum() == 2
    filled = unwrapped(x, (0.0,))
    assert filled is x
    ds = data(x, "deg", circular="phase")
    assert np.isfinite(pympnode.train(data=ds, missing="mask", epochs=1, **FAST).best_loss)


def test_messages_of_a_circular_model_are_those_of_the_kernel() -> None:
    x, unit, _ = UNITS["radians in [0, 2 pi)"]
    ds = data(x, unit, circular="phase")
    model = pympnode.train(data=ds, epochs=1, **FAST).model
    out = model.rollout(ds)
    turned = model.rollout(ds.assign(state=ds.state + 2 * np.pi))
    np.testing.assert_allclose(out.message, turned.message, atol=1e-4)
    assert out.period.values.tolist() == [2 * np.pi]


def test_julia_says_what_it_lacks() -> None:
    with pytest.raises(EngineUnavailable, match="circular") as error:
        pympnode.train(data=data(PHASE, "rad", circular="phase"), engine="julia", updates=1, **FAST)
    assert "model with stride=1" not in str(error.value)
