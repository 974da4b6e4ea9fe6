"""Exchange with other libraries: labels of every text type, numbers in arrays, joined datasets, axes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import pympnode
from pympnode.datasets.names import texts
from pympnode.errors import InvalidData, PympnodeWarning
from pympnode.files.netcdf import checksum
from pympnode.networks import schema

FAST: dict[str, Any] = {"epochs": 1, "kernel": "eager", "progress": False}
SOURCE = pympnode.simulate(
    "coupled_pendulum", nodes=4, topology="ring", trajectories=6, steps=6, seed=1
)
X = SOURCE.state.values
PLAIN = pympnode.from_arrays(
    X,
    dt=0.05,
    topology="ring",
    features=["angle", "velocity"],
    units=["rad", "rad/s"],
    split=["train"] * 4 + ["validation"] * 2,
)
FORMS: dict[str, Callable[[Any], Any]] = {
    "StringDType": lambda v: np.asarray(v).astype(np.dtypes.StringDType()),
    "StringDType with missing": lambda v: np.asarray(v).astype(
        np.dtypes.StringDType(na_object=np.nan)
    ),
    "objects": lambda v: np.asarray(v, dtype=object),
    "bytes": lambda v: np.asarray(v).astype("S"),
    "pandas str": lambda v: pd.array(list(v), dtype="str"),
    "pandas string, python": lambda v: pd.array(list(v), dtype=pd.StringDtype("python")),
    "pandas categories": lambda v: pd.Categorical(list(v)),
    "pandas index": lambda v: pd.Index(list(v)),
}


def labelled(form: str) -> xr.Dataset:
    make = FORMS[form]
    ds = PLAIN.assign_coords(
        feature=make(["angle", "velocity"]),
        unit=("feature", make(["rad", "rad/s"])),
        node=make(list("abcd")),
    )
    ds["split"] = ("trajectory", make(PLAIN.split.values))
    return ds


@pytest.mark.parametrize("form", list(FORMS))
def test_labels_of_every_text_type(form: str, tmp_path: Path) -> None:
    ds = labelled(form)
    schema.validate(ds)
    result = pympnode.train(data=ds, run=tmp_path / "run", **FAST)
    assert result.model.features == ("angle", "velocity")
    assert result.best_loss == pympnode.train(data=PLAIN, **FAST).best_loss
    np.testing.assert_array_equal(result.model.rollout(ds).state, result.model.rollout(PLAIN).state)
    assert pympnode.evaluate(result, ds).rmse.shape[0] >= 2
    # The same call goes on in the folder: its checksums are those of the labels.
    assert pympnode.train(data=ds, run=tmp_path / "run", **FAST).status == "completed"
    assert texts(ds.feature.values).tolist() == ["angle", "velocity"]
    if form != "bytes":
        assert checksum(ds.split.values) == checksum(PLAIN.split.values)


def test_pyarrow_strings() -> None:
    pytest.importorskip("pyarrow")
    ds = PLAIN.copy()
    ds["split"] = ("trajectory", pd.array(list(PLAIN.split.values), dtype="string[pyarrow]"))
    assert pympnode.train(data=ds, **FAST).best_loss == pympnode.train(data=PLAIN, **FAST).best_loss


@pytest.mark.parametrize(
    "number", [np.float32(6), np.array(6.0), np.array(6, np.float32), np.int64(6)]
)
def test_numbers_may_be_arrays_of_no_axes(number: Any) -> None:
    flow = pympnode.simulate("gravity", particles=4, trajectories=2, steps=6, seed=0)
    ds = pympnode.from_particles(
        flow.position.values % 6,
        flow.velocity.values,
        number,
        dt=np.array(0.01, np.float32),
        side=number,
    )
    assert pympnode.particles.schema.box_of(ds).side == 6.0
    even = pympnode.from_arrays(X, dt=number, topology="ring")
    assert even.time.values[1] == 6.0
    assert pympnode.train(data=PLAIN, epochs=np.array(1), learning_rate=np.array(1e-3), kernel="eager",
                          progress=False).status == "completed"  # fmt: skip


def test_joined_datasets_name_their_fix() -> None:
    bare = PLAIN.drop_vars("split")
    for dim, more in (("trajectory", bare), ("time", bare.assign_coords(time=bare.time + 1))):
        joined = xr.concat(
            [bare, more], dim=dim, data_vars="all", coords="minimal", compat="override"
        )
        with pytest.raises(InvalidData) as caught:
            pympnode.train(data=joined, **FAST)
        assert 'data_vars="minimal"' in str(caught.value.fix)
        fixed = xr.concat([bare, more], dim=dim, data_vars="minimal")
        assert pympnode.train(data=fixed, **FAST).status == "completed"


def test_exchanged_axes_are_suspected() -> None:
    x = np.swapaxes(X, 1, 2)  # four "times" of seven "nodes"
    ring = np.roll(np.eye(4), 1, axis=0) + np.roll(np.eye(4), -1, axis=0)
    for options in (
        {"time": 0.05 * np.arange(7), "topology": "ring"},
        {"dt": 0.05, "topology": ring},
        {"dt": 0.05, "topology": "ring", "node_attribute": np.zeros((4, 1))},
    ):
        with pytest.raises(InvalidData, match="exchanged") as caught:
            pympnode.from_arrays(x, **options)
        assert "swapaxes" in str(caught.value.fix)
        pympnode.from_arrays(X, **options)
    long = np.sin(0.01 * np.arange(500))[:, None, None] * np.array([1.0, -2.0, 3.0, -1.0])[:, None]
    with pytest.warns(PympnodeWarning, match="exchanged"):
        pympnode.from_arrays(np.swapaxes(long, 0, 1), dt=1.0, topology="path")
    many = np.random.default_rng(0).normal(size=(5, 200, 1))  # many nodes that differ are no reason
    pympnode.from_arrays(many, dt=1.0, topology="path")
