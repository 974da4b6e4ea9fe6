"""Names and units of features, inputs, node attributes and time: compared wherever a model meets data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.errors import InvalidData, InvalidModel, InvalidOption, PympnodeWarning
from pympnode.networks.agreement import Names, agree, same_unit

FAST: dict[str, Any] = {"epochs": 1, "kernel": "eager", "progress": False}
RNG = np.random.default_rng(0)
SOURCE = pympnode.simulate(
    "coupled_pendulum", nodes=4, topology="ring", trajectories=6, steps=6, seed=1
)
X, DT = SOURCE.state.values, float(SOURCE.time[1])
U = RNG.normal(size=(6, 7, 4, 2))
B = RNG.normal(size=(4, 2))
B[3] = B[0]  # values that differ at every node only name the nodes, with a warning


def data(**changes: Any) -> xr.Dataset:
    options: dict[str, Any] = dict(
        x=X,
        dt=DT,
        topology="ring",
        features=["angle", "velocity"],
        units=["rad", "rad/s"],
        time_unit="s",
        control=U,
        controls=["torque", "wind"],
        node_attribute=B,
        attributes=["mass", "length"],
    )
    options |= changes
    return pympnode.from_arrays(options.pop("x"), **options)


PLAIN = data()
MODEL = pympnode.train(data=PLAIN, **FAST).model
SWAPPED = {
    "features": data(x=X[..., ::-1], features=["velocity", "angle"], units=["rad/s", "rad"]),
    "inputs": data(control=U[..., ::-1], controls=["wind", "torque"]),
    "node attributes": data(node_attribute=B[:, ::-1], attributes=["length", "mass"]),
}
OTHER = {
    "features": data(features=["angle", "speed"]),
    "inputs": data(controls=["torque", "rain"]),
    "node attributes": data(attributes=["mass", "width"]),
    "unit": data(units=["deg", "deg/s"]),
    "unit of time": data(time_unit="ms"),
}
USES: dict[str, Callable[[xr.Dataset], Any]] = {
    "rollout": lambda ds: MODEL.rollout(ds),
    "evaluate": lambda ds: pympnode.evaluate(MODEL, ds),
    "finetune": lambda ds: pympnode.finetune(MODEL, data=ds, **FAST),
    "train": lambda ds: pympnode.train(data=[PLAIN, ds], **FAST),
}


@pytest.mark.parametrize("what", list(SWAPPED))
def test_another_order_is_put_right(what: str) -> None:
    ds = SWAPPED[what]
    np.testing.assert_array_equal(MODEL.rollout(ds).state, MODEL.rollout(PLAIN).state)
    assert MODEL.rollout(ds).feature.values.tolist() == ["angle", "velocity"]
    want = pympnode.evaluate(MODEL, PLAIN)
    np.testing.assert_array_equal(pympnode.evaluate(MODEL, ds).rmse, want.rmse)
    with pytest.warns(PympnodeWarning, match="put in the order"):
        both = pympnode.train(data=[PLAIN, ds], **FAST)
    assert both.best_loss == pympnode.train(data=[PLAIN, PLAIN], **FAST).best_loss
    with pytest.warns(PympnodeWarning, match="put in the order"):
        tuned = pympnode.finetune(MODEL, data=ds, **FAST)
    assert tuned.best_loss == pympnode.finetune(MODEL, data=PLAIN, **FAST).best_loss


@pytest.mark.parametrize("use", list(USES))
@pytest.mark.parametrize("what", list(OTHER))
def test_other_names_and_units_are_refused(
    use: str, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pint", None)  # as where it is not installed
    with pytest.raises(InvalidData) as caught:
        USES[use](OTHER[what])
    assert caught.value.got and caught.value.allowed and caught.value.fix


def test_units_are_converted_by_pint() -> None:
    pytest.importorskip("pint")
    degrees = data(x=np.degrees(X), units=["deg", "deg/s"])
    np.testing.assert_allclose(MODEL.rollout(degrees).state, MODEL.rollout(PLAIN).state, atol=1e-5)
    fast = data(dt=1e3 * DT, time_unit="ms")
    np.testing.assert_allclose(MODEL.rollout(fast).state, MODEL.rollout(PLAIN).state, atol=1e-5)
    assert MODEL.rollout(fast).time.attrs["units"] == "s"


def test_default_names_are_accepted_with_a_warning() -> None:
    bare = pympnode.from_arrays(X, dt=DT, topology="ring", control=U, node_attribute=B)
    with pytest.warns(PympnodeWarning, match="in the order in which they stand"):
        out = MODEL.rollout(bare)
    np.testing.assert_array_equal(out.state, MODEL.rollout(PLAIN).state)
    assert out.unit.values.tolist() == ["rad", "rad/s"]
    unnamed = pympnode.train(data=bare, **FAST).model
    with pytest.warns(PympnodeWarning, match="in the order in which they stand"):
        unnamed.rollout(PLAIN)
    one = pympnode.from_arrays(X[..., :1], dt=DT, topology="ring", features=["angle"])
    single = pympnode.train(data=one, **FAST).model
    single.rollout(pympnode.from_arrays(X[..., :1], dt=DT, topology="ring"))  # nothing to confuse


def test_spellings_of_one_unit_agree() -> None:
    for a, b in (("rad/s", "rad s^-1"), ("m/s^2", "m s**-2"), ("s", "seconds"), ("deg", "degrees"),
                 ("1/s", "s-1"), ("°C", "celsius"), ("", "kg"), ("1", "rad"), ("a.u.", "a.u.")):  # fmt: skip
        assert same_unit(a, b), (a, b)
    for a, b in (
        ("s", "ms"),
        ("rad", "deg"),
        ("m/s", "m s"),
        ("km", "10 km"),
        ("min", "m"),
        ("K", "degC"),
    ):
        assert not same_unit(a, b), (a, b)
    MODEL.rollout(data(time_unit="seconds", units=["radians", "radian / second"]))


def test_a_model_meets_its_own_system() -> None:
    model = pympnode.train(data=PLAIN.drop_vars(["control", "node_attribute"]), **FAST).model
    degrees = pympnode.from_arrays(
        np.degrees(X),
        dt=DT,
        topology="ring",
        features=["angle", "velocity"],
        units=["deg", "deg/s"],
    )
    wrong = pympnode.train(data=degrees, **FAST).model
    system = pympnode.systems.get("coupled_pendulum")
    names = list(system.feature_names)
    if names != ["angle", "velocity"]:
        model = pympnode.train(
            data=rename(PLAIN, names).drop_vars(["control", "node_attribute"]), **FAST
        ).model
        wrong = pympnode.train(data=rename(degrees, names), **FAST).model
    with pytest.raises(InvalidModel, match="unit"):
        pympnode.couple(
            [wrong, "coupled_pendulum", "coupled_pendulum"], "path", system="coupled_pendulum"
        )
    milli = pympnode.train(
        data=rename(data(time_unit="ms"), names).drop_vars(["control", "node_attribute"]), **FAST
    ).model
    with pytest.raises(InvalidOption, match="counts time"):
        pympnode.couple([model, milli, model], "path", system="coupled_pendulum")
    mixed = pympnode.couple([model] * 4, "ring", system="coupled_pendulum")
    start = rename(PLAIN, names).drop_vars(["control", "node_attribute"])
    want = mixed.rollout(start, check=False).state
    turned = mixed.rollout(start.isel(feature=[1, 0]), check=False).state
    np.testing.assert_array_equal(turned, want)


def rename(ds: xr.Dataset, names: list[str]) -> xr.Dataset:
    return ds.assign_coords(feature=names)


def test_parameters_by_feature_follow_the_order() -> None:
    ds = pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=2, steps=3)
    turned = agree(ds.isel(feature=[2, 0, 1]), Names.of(ds))
    xr.testing.assert_identical(turned, ds)
    assert agree(ds, Names.of(ds)) is ds
