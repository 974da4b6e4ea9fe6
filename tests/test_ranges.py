"""What a model was trained on: kept, shown, and compared with what it is asked for."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.errors import OutsideTrainingRange
from pympnode.networks.ranges import TrainingRange

TRAIN: dict[str, Any] = dict(
    kernel="eager",
    hidden=4,
    message_size=1,
    batch_size=8,
    progress=False,
    dtype="float64",
    epochs=1,
)


def driven(**options: Any) -> xr.Dataset:
    base = dict(nodes=5, topology="ring", trajectories=12, steps=6)
    return pympnode.simulate("kuramoto_controlled", **{**base, **options})


@pytest.fixture(scope="module")
def model() -> pympnode.Model:
    data = [driven(), driven(parameters={"coupling": 0.5}, seed=1)]
    return pympnode.train(data=data, **TRAIN).model


def words(model: pympnode.Model, ds: xr.Dataset, **options: Any) -> str:
    with pytest.warns(OutsideTrainingRange) as caught:
        model.rollout(ds, **options)
    assert len(caught) == 1 and caught[0].filename == __file__
    return str(caught[0].message)


def test_repr_shows_every_range(model: pympnode.Model) -> None:
    text = repr(model)
    for piece in (
        "5 nodes of degree 2",
        "dt 0.05",
        "phase_1 -",
        "input -",
        "coupling 0.3333 to 0.5",
    ):
        assert piece in text
    assert "coupling 0.3333 to 0.5" in model._repr_html_()


def test_inside_is_silent(model: pympnode.Model) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.rollout(driven(parameters={"coupling": 0.4}, seed=7, trajectories=2, steps=3))
        model.rollout(driven(topology="none"), check=False)


@pytest.mark.parametrize(
    ("data", "options", "expected"),
    [
        (dict(nodes=7), {}, "nodes 7, trained on 5"),
        (dict(topology="complete"), {}, "degree 4, trained on 2"),
        (dict(dt=0.1), {}, "time step 0.1, trained on 0.05"),
        (dict(parameters={"coupling": 0.6}), {}, "coupling 0.6, trained on 0.3333 to 0.5"),
        (dict(parameters={"frequency": 1.0}), {}, r"frequency [1., 1., 1.], trained on ["),
        ({}, dict(control=np.full((12, 7, 5, 1), 9.0)), "input 9, trained on -"),
        ({}, dict(dt=0.01), "time step 0.01"),
    ],
)
def test_outside_is_a_warning_with_the_numbers(
    model: pympnode.Model, data: Any, options: Any, expected: str
) -> None:
    assert expected in words(model, driven(**data), **options)


def test_states_outside(model: pympnode.Model) -> None:
    ds = driven(trajectories=2)
    ds.state[0, 0, 0, 1] = 40.0
    text = words(model, ds)
    assert "initial phase_2" in text and "to 40, trained on" in text
    assert "phase_1" not in text


def test_evaluate_warns_too(model: pympnode.Model) -> None:
    with pytest.warns(OutsideTrainingRange, match="nodes 6, trained on 5"):
        pympnode.evaluate(model, driven(nodes=6, trajectories=2))


def test_ranges_survive_the_file(model: pympnode.Model, tmp_path: Path) -> None:
    model.save(tmp_path / "m.nc")
    again = pympnode.load(tmp_path / "m.nc")
    assert repr(again) == repr(model)
    assert again.trained.control == model.trained.control
    assert "coupling 0.6" in words(again, driven(parameters={"coupling": 0.6}))


def test_files_without_the_newer_ranges_are_read(model: pympnode.Model) -> None:
    values = model.trained.as_dict()
    for name in ("parameter_spans", "control", "attribute"):
        del values[name]
    old = TrainingRange.from_dict(values)
    assert old.control == () and old.nodes == model.trained.nodes


@pytest.mark.filterwarnings("ignore:node attributes only name the nodes")
def test_node_attributes_have_a_range() -> None:
    ds = pympnode.simulate(
        "kuramoto", nodes=4, topology="ring", trajectories=8, steps=4,
        parameters={"frequency": "heterogeneous"},
    )  # fmt: skip
    model = pympnode.train(data=ds, **TRAIN).model
    low, high = model.trained.attribute[0]
    assert (low, high) == (ds.node_attribute[:, 0].min(), ds.node_attribute[:, 0].max())
    assert "attributes" in repr(model)
    away = ds.assign(node_attribute=ds.node_attribute + 10.0)
    assert "frequency_0" in words(model, away)


def test_fine_tuning_on_other_physics_warns(model: pympnode.Model) -> None:
    with pytest.warns(OutsideTrainingRange, match="time step 0.1, trained on 0.05"):
        pympnode.finetune(model, data=driven(dt=0.1), **TRAIN)
    with pytest.warns(OutsideTrainingRange, match=r"coupling 0.9, trained on 0.3333 to 0.5"):
        pympnode.finetune(model, data=driven(parameters={"coupling": 0.9}), **TRAIN)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a larger system is what fine-tuning is for
        pympnode.finetune(model, data=driven(nodes=8), **TRAIN)
