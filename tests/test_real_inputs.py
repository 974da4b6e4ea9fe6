"""Everyday inputs: tensors, text, ragged lists, home folders, tables where datasets are meant."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

import pympnode
from pympnode.errors import (
    FileDamaged,
    InvalidData,
    InvalidGraph,
    InvalidOption,
    PympnodeError,
    UnknownName,
    one_line,
)
from pympnode.files.netcdf import write_netcdf

FAST: dict[str, Any] = dict(epochs=1, kernel="eager", progress=False)
X = np.random.default_rng(0).normal(size=(4, 5, 4, 1))


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return pympnode.simulate("heat", nodes=4, topology="ring", trajectories=4, steps=4)


@pytest.fixture(scope="module")
def model(data: xr.Dataset) -> pympnode.Model:
    return pympnode.train(data=data, **FAST).model


# ---- what arrays come as --------------------------------------------------------------------------


def test_tensors_are_read_without_their_gradients(model: pympnode.Model) -> None:
    x = torch.tensor(X, requires_grad=True)
    for values in (x, [*x], x.to(torch.bfloat16), list(X), x * 1.0):
        ds = pympnode.from_arrays(values, dt=1.0, topology="ring", control=values)
        np.testing.assert_allclose(ds.state, X, rtol=1e-2)
        np.testing.assert_allclose(ds.control, X, rtol=1e-2)
    p = torch.zeros(2, 5, 4, 2, requires_grad=True)
    pympnode.from_particles(p, p, torch.ones(4, requires_grad=True), dt=1.0)
    adjacency = torch.tensor(nx.to_numpy_array(nx.cycle_graph(4)), requires_grad=True)
    edges = torch.tensor([(0, 1), (2, 3)])
    assert pympnode.from_arrays(X, dt=1.0, topology=adjacency).sizes["edge"] == 8
    assert pympnode.from_arrays(X, dt=1.0, edges=edges).sizes["edge"] == 4
    model.rollout(torch.zeros(4, 1, requires_grad=True), topology="ring", check=False)
    a, _ = model.vector_field(torch.zeros(1, 4, 1, requires_grad=True), graph="ring")
    b, _ = model.vector_field([[[0.0]] * 4], graph="ring")
    np.testing.assert_array_equal(a, b)


BAD: dict[str, tuple[Callable[[pympnode.Model], Any], str]] = {
    "rollout of text": (lambda m: m.rollout(np.array([["a"]] * 4), topology="ring"), "numbers"),
    "rollout of a ragged list": (
        lambda m: m.rollout([[0.0], [0.0, 1.0]], topology="ring"),
        "numbers",
    ),
    "rollout of None": (lambda m: m.rollout(None, topology="ring"), "initial state"),
    "vector field of text": (lambda m: m.vector_field([["a"]], graph="ring"), "numbers"),
    "control of text": (
        lambda m: m.rollout(np.zeros((4, 1)), topology="ring", control=[["a"]]),
        "numbers",
    ),
    "message of text": (lambda m: m.initial_message([["a"]]), "numbers"),
    "numbers as text": (
        lambda m: pympnode.from_arrays(X.astype(str), dt=1.0, topology="ring"),
        "numbers",
    ),
    "durations": (
        lambda m: pympnode.from_arrays(X.astype("m8[s]"), dt=1.0, topology="ring"),
        "durations",
    ),
    "initial of text": (
        lambda m: pympnode.simulate("heat", nodes=4, topology="ring", initial=[[["a"]]]),
        "numbers",
    ),
    "mixed rollout of text": (
        lambda m: pympnode.couple([m] * 4, "ring").rollout([["a"]] * 4),
        "numbers",
    ),
    "ragged edges": (
        lambda m: pympnode.from_arrays(X, dt=1.0, edges=[(0, 1), (1,)]),
        "pairs of nodes",
    ),
    "edges that are a number": (lambda m: pympnode.from_arrays(X, dt=1.0, edges=3), "pairs"),
}


@pytest.mark.parametrize("name", BAD)
def test_values_that_are_no_numbers(name: str, model: pympnode.Model) -> None:
    make, words = BAD[name]
    with pytest.raises((InvalidData, InvalidGraph), match=words) as caught:
        make(model)
    assert caught.value.got is not None and caught.value.allowed is not None


def test_no_device_is_the_default_device(data: xr.Dataset, model: pympnode.Model) -> None:
    assert pympnode.train(data=data, device=None, **FAST).device == "cpu"  # type: ignore[arg-type]
    dataclasses.replace(model, device=None).rollout(data)  # type: ignore[arg-type]


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradients_may_be_off_around_a_call(off: Any, data: xr.Dataset) -> None:
    few = pympnode.simulate("gravity", particles=3, trajectories=3, steps=3, progress=False)
    for options in (
        dict(data=data, **FAST),
        dict(data=few, model="hogn", updates=1, progress=False),
        dict(data=few, model="deltagn", updates=1, progress=False),
    ):
        wanted = pympnode.train(**options)
        with off():
            result = pympnode.train(**options)
            rollout = result.model.rollout(options["data"])
            assert not torch.is_grad_enabled()
        np.testing.assert_array_equal(result.model.theta, wanted.model.theta)
        xr.testing.assert_equal(rollout, wanted.model.rollout(options["data"]))


# ---- paths ----------------------------------------------------------------------------------------


def test_a_tilde_is_the_home_folder_in_every_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: xr.Dataset, model: pympnode.Model
) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    write_netcdf(data, "~/data.nc")
    model.save("~/model.nc")
    np.testing.assert_array_equal(pympnode.load("~/model.nc").theta, model.theta)
    result = pympnode.train(data="~/data.nc", run="~/run", **FAST)
    np.testing.assert_array_equal(pympnode.load(Path("~/run")).theta, result.model.theta)
    pympnode.evaluate("~/model.nc", "~/data.nc")
    model.rollout("~/data.nc")
    pympnode.couple(["heat"] * 4, "ring").rollout("~/data.nc", check=False)
    pympnode.simulate(
        "gravity", particles=3, trajectories=2, steps=2, progress=False, path="~/parts"
    )
    assert list(here.iterdir()) == []
    assert {p.name for p in home.iterdir()} == {"data.nc", "model.nc", "run", "parts"}


@pytest.mark.parametrize(
    ("suffix", "reader"), [("csv", "read_csv"), ("tsv", "read_csv"), ("parquet", "read_parquet")]
)
def test_a_table_where_netcdf_is_read_names_from_frame(
    suffix: str, reader: str, tmp_path: Path, model: pympnode.Model
) -> None:
    path = tmp_path / f"counts.{suffix}"
    path.write_text("time,node,v\n0,a,1\n")
    for read in (
        lambda: pympnode.train(data=path, **FAST),
        lambda: model.rollout(path),
        lambda: pympnode.evaluate(model, path),
    ):
        with pytest.raises(FileDamaged) as caught:
            read()
        assert "pympnode.from_frame" in str(caught.value.fix) and reader in str(caught.value.fix)


# ---- data in the place of a system ----------------------------------------------------------------


def test_data_in_the_place_of_a_system(data: xr.Dataset, model: pympnode.Model) -> None:
    table = pd.DataFrame({"time": range(50), "node": 0, "v": 1.0})
    for call in (
        lambda: pympnode.train(table),
        lambda: pympnode.train(X),
        lambda: pympnode.train("counts.nc"),
    ):
        with pytest.raises((InvalidOption, UnknownName)) as caught:
            call()
        assert "train(data=" in str(caught.value.fix)
        assert len(str(caught.value).splitlines()) == 4
    # Datasets can be nothing else than data.
    few: dict[str, Any] = {"updates": 1, "progress": False}
    named = pympnode.train(data=data, **few)
    placed = pympnode.train(data, **few)
    np.testing.assert_array_equal(placed.model.theta, named.model.theta)
    assert pympnode.finetune(model, data, **few).updates == 1


def test_errors_show_datasets_on_one_line(data: xr.Dataset) -> None:
    calls: tuple[Callable[[], Any], ...] = (
        lambda: pympnode.simulate(data),
        lambda: pympnode.simulate("heat", nodes=data),  # type: ignore[arg-type]
        lambda: pympnode.simulate("heat", nodes=4, topology=data),
        lambda: pympnode.simulate("gravity", initial=data),
        lambda: pympnode.train(data=data, topology=data),
        lambda: pympnode.train("heat", missing=data),  # type: ignore[arg-type]
    )
    for call in calls:
        with pytest.raises(PympnodeError) as caught:
            call()
        assert len(str(caught.value).splitlines()) <= 4
    assert one_line(repr(data)) == repr(data).splitlines()[0] + " ..."
    assert len(one_line("x" * 1000)) == 240 and one_line("short") == "short"


# ---- labels and names of arrays -------------------------------------------------------------------


def test_labels_of_nodes_in_every_container() -> None:
    x, pairs = np.zeros((3, 2, 1)), [("a", "b")]
    for nodes in (np.array(["b", "a"], "S1"), xr.DataArray(["b", "a"], dims="node"), ("b", "a")):
        ds = pympnode.from_arrays(x, dt=1.0, nodes=nodes, edges=pairs)
        assert ds.node.values.tolist() == ["b", "a"]
    corners = [(0, 0), (0, 1)]
    ds = pympnode.from_arrays(x, dt=1.0, nodes=corners, edges=[(corners[1], corners[0])])
    assert ds.node.values.tolist() == ["(0, 0)", "(0, 1)"]
    for nodes, words in (
        ({"a", "b"}, "a set has no order"),
        (["a", None], "no label"),
        (["a", np.nan], "no label"),
    ):
        with pytest.raises(InvalidData, match=words):
            pympnode.from_arrays(x, dt=1.0, nodes=nodes, topology="ring")


def test_names_stand_once() -> None:
    with pytest.raises(InvalidData, match="each once"):
        pympnode.from_arrays(np.zeros((3, 2, 2)), dt=1.0, topology="path", features=["x", "x"])
    same = pympnode.from_arrays(np.zeros((3, 2, 2)), dt=1.0, topology="path", units=["m", "m"])
    assert same.unit.values.tolist() == ["m", "m"]


def test_inputs_are_aligned_in_time() -> None:
    dims = ("time", "node", "feature")
    x = xr.DataArray(np.zeros((4, 1, 1)), dims=dims, coords={"time": [0.0, 1.0, 2.0, 3.0]})
    u = x.rename(feature="control").copy(data=np.arange(4.0).reshape(4, 1, 1))
    ds = pympnode.from_arrays(x, control=u.isel(time=[3, 1, 0, 2]))
    np.testing.assert_array_equal(ds.control.values.ravel(), np.arange(4.0))
    with pytest.raises(InvalidData, match="other labels of its time dim"):
        pympnode.from_arrays(x, control=u.assign_coords(time=[0.0, 1.0, 2.0, 9.0]))


def test_wide_tables_and_no_features() -> None:
    wide = pd.DataFrame({"time": [0.0, 1.0], "a": [1.0, 2.0], "b": [1.0, 2.0]})
    with pytest.raises(InvalidData) as error:
        pympnode.from_frame(wide, features="x", topology="path")
    long = wide.melt("time", var_name="node", value_name="x")
    assert "frame.melt('time', var_name='node', value_name='x')" in str(error.value)
    assert pympnode.from_frame(long, features="x", topology="path").sizes["node"] == 2
    with pytest.raises(InvalidOption, match="names no column"):
        pympnode.from_frame(long, features=[], topology="path")


class Column:
    """A column as polars has it."""

    def __init__(self, name: str, values: list[Any], categories: list[str] | None = None) -> None:
        self.name, self.values = name, values
        self.dtype: Any = "Float64"
        if categories is not None:
            self.dtype = type("Enum", (), {"__str__": lambda self: "Enum(categories=[...])"})()
            self.dtype.categories = pd.Index(categories)

    def to_list(self) -> list[Any]:
        return self.values


class TableWithoutArrow:
    """A table of polars where pyarrow is not installed."""

    def __init__(self, *columns: Column) -> None:
        self.columns = columns

    def to_pandas(self) -> Any:
        raise ModuleNotFoundError("No module named 'pyarrow'")

    def get_columns(self) -> tuple[Column, ...]:
        return self.columns


def test_tables_of_polars_without_pyarrow() -> None:
    table = TableWithoutArrow(
        Column("time", [0.0, 0.0, 1.0, 1.0]),
        Column("node", ["a", "b", "a", "b"], ["b", "a"]),
        Column("x", [1.0, 2.0, 3.0, None]),
    )
    pairs = TableWithoutArrow(Column("target", ["a"]), Column("source", ["b"]))
    ds = pympnode.from_frame(table, features="x", edges=pairs, directed=True)
    assert ds.node.values.tolist() == ["b", "a"] and int(ds.state.isnull().sum()) == 1
    assert ds.sender.values.tolist() == [0] and ds.receiver.values.tolist() == [1]
    read = pympnode.read_graph(pairs, directed=True)
    assert [read.labels[i] for i in read.graph.sender] == ["b"]


def test_quantities_keep_their_unit() -> None:
    class Quantity:
        magnitude, units = np.ones((3, 2, 2)), "meter"

    ds = pympnode.from_arrays(Quantity(), dt=1.0, topology="path")
    assert ds.unit.values.tolist() == ["meter", "meter"]
    with pytest.raises(InvalidData, match="units does not fit"):
        pympnode.from_arrays(Quantity(), dt=1.0, topology="path", units=["m"])
