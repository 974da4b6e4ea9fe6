"""Datasets: arrays in, arrays out, nothing lost; foreign data checked in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import pympnode
from pympnode.datasets.names import STATE_DIMS
from pympnode.datasets.record import record
from pympnode.errors import FileDamaged, InvalidData, MissingFile, PympnodeWarning
from pympnode.files import netcdf as storage
from pympnode.graph import Graph
from pympnode.networks import schema


def sample(
    trajectories: int = 3, times: int = 5, nodes: int = 4, features: int = 2, graphs: int = 2
) -> xr.Dataset:
    rng = np.random.default_rng(7)
    union = Graph.union(
        [
            Graph.single(*np.nonzero(np.triu(rng.random((nodes, nodes)) < 0.6, 1)), nodes)
            for _ in range(graphs)
        ]
    )
    arrays = schema.Arrays(
        rng.standard_normal((trajectories, times, nodes, features)),
        0.1 * np.arange(times),
        union,
        np.arange(trajectories) % graphs,
        rng.standard_normal((trajectories, times, nodes, 1)),
        rng.standard_normal((nodes, 2)),
    )
    split = np.array(["train", "validation", "test"])[np.arange(trajectories) % 3]
    return schema.unpack(
        arrays,
        features=[f"f{i}" for i in range(features)],
        units=["m"] * features,
        split=split,
        parameters={"frequency": (("feature",), rng.standard_normal(features))},
        about={"system": "mine", "seed": 3},
    )


@settings(max_examples=15, deadline=None)
@given(
    trajectories=st.integers(1, 4),
    times=st.integers(2, 6),
    nodes=st.integers(1, 5),
    features=st.integers(1, 3),
    graphs=st.integers(1, 3),
)
def test_netcdf_round_trip_loses_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    trajectories: int,
    times: int,
    nodes: int,
    features: int,
    graphs: int,
) -> None:
    ds = sample(trajectories, times, nodes, features, graphs)
    path = tmp_path_factory.mktemp("nc") / "data.nc"
    storage.write_netcdf(ds, path, checksums=True)
    back = storage.read_netcdf(path, checksums=True)
    xr.testing.assert_identical(ds, back)
    before, after = schema.pack(ds), schema.pack(back)
    np.testing.assert_array_equal(before.x, after.x)
    np.testing.assert_array_equal(before.graph.sender, after.graph.sender)
    np.testing.assert_array_equal(before.graph.nodes, after.graph.nodes)
    assert record(back) == record(ds)


def test_pack_is_the_inverse_of_unpack() -> None:
    ds = sample()
    arrays = schema.pack(ds.transpose("feature", "node", "time", "trajectory", ...))
    np.testing.assert_array_equal(arrays.x, ds.state.values)
    assert arrays.u is not None and arrays.u.shape == (3, 5, 4, 1)
    assert arrays.graph.nodes.tolist() == [4, 4]
    assert arrays.graph_of.tolist() == [0, 1, 0]


def test_a_graph_that_no_edge_names_is_kept() -> None:
    empty = Graph.single(np.zeros(0, int), np.zeros(0, int), 4)
    some = Graph.single([0], [1], 4)
    arrays = schema.Arrays(
        np.zeros((2, 3, 4, 1)), np.arange(3.0), Graph.union([some, empty]), np.array([0, 1])
    )
    back = schema.pack(schema.unpack(arrays, features=["x"]))
    assert back.graph.nodes.tolist() == [4, 4]
    assert back.graph.in_degree.tolist() == [0, 1, 0, 0, 0, 0, 0, 0]


BROKEN = {
    "no state": (lambda ds: ds.drop_vars("state"), "no variable 'state'"),
    "wrong dims": (lambda ds: ds.rename(node="knot"), "wrong dims"),
    "text": (lambda ds: ds.assign(state=ds.state.astype(str)), "does not hold numbers"),
    "nan": (lambda ds: ds.assign(state=ds.state.where(ds.state < 0.5)), "not finite"),
    "infinite": (
        lambda ds: ds.assign(state=ds.state.where(ds.state < 0.5, np.inf)),
        "not finite",
    ),
    "time backwards": (lambda ds: ds.assign_coords(time=-ds.time), "time must increase"),
    "one time": (lambda ds: ds.isel(time=[0]), "time must increase"),
    "no trajectories": (lambda ds: ds.isel(trajectory=[]), "no trajectory"),
    "no graph": (lambda ds: ds.drop_vars(["sender", "receiver"]), "no graph"),
    "half a graph": (lambda ds: ds.drop_vars("sender"), "both ends"),
    "edge out of range": (lambda ds: ds.assign(sender=ds.sender + 9), "do not exist"),
    "edges of floats": (lambda ds: ds.assign(sender=ds.sender * 1.0), "whole numbers"),
    "unknown split": (lambda ds: ds.assign(split=("trajectory", ["a", "b", "c"])), "split"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_foreign_data_are_refused_in_words(case: str) -> None:
    damage, words = BROKEN[case]
    with pytest.raises(InvalidData, match=words) as caught:
        schema.validate(damage(sample()))
    assert caught.value.got is not None and caught.value.allowed is not None
    assert isinstance(caught.value, ValueError)


def test_nan_may_mean_missing() -> None:
    ds = sample()
    ds["state"] = ds.state.where((ds.time == 0) | (ds.state < 0.5))
    arrays = schema.pack(ds, missing="mask")
    assert arrays.mask is not None
    np.testing.assert_array_equal(arrays.mask, np.isfinite(ds.state.values))
    ds["state"] = ds.state.where(ds.time > 0)
    with pytest.warns(PympnodeWarning, match="first states"):
        filled = schema.pack(ds, missing="mask")
    assert np.isfinite(filled.x[:, 0]).all() and filled.mask is not None
    assert not filled.mask[:, 0].any()


def test_not_a_dataset() -> None:
    with pytest.raises(InvalidData, match=r"xarray\.Dataset"):
        schema.validate(np.zeros(3))  # type: ignore[arg-type]


def test_from_arrays() -> None:
    x = np.zeros((2, 4, 3, 1))
    ds = pympnode.from_arrays(x, dt=0.5, edges=[(0, 1), (1, 2)], features=["height"], units=["m"])
    assert ds.state.dims == STATE_DIMS and ds.state.attrs["units"] == "m"
    assert sorted(zip(ds.sender.values, ds.receiver.values)) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    with pytest.raises(InvalidData, match="time step"):
        pympnode.from_arrays(x, edges=[(0, 1)])
    with pytest.raises(InvalidData, match="needs a graph"):
        pympnode.from_arrays(x, dt=1.0)
    with pytest.raises(InvalidData, match="axes"):
        pympnode.from_arrays(np.zeros(3), dt=1.0)


def test_files_that_are_damaged_or_absent(tmp_path: Path) -> None:
    path = tmp_path / "data.nc"
    with pytest.raises(MissingFile):
        storage.read_netcdf(path)
    storage.write_netcdf(sample(), path, checksums=True)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileDamaged):
        storage.read_netcdf(path, checksums=True)
    number = np.float64(sample().state.values[0, 0, 0, 0]).tobytes()
    assert whole.count(number) == 1
    path.write_bytes(whole.replace(number, np.float64(1.5).tobytes()))
    with pytest.raises(FileDamaged, match="checksum"):
        storage.read_netcdf(path, checksums=True)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "data.nc"
    storage.write_netcdf(sample(), path)
    before = path.read_bytes()
    broken = sample().assign(state=("x", np.array([object()], dtype=object)))
    with pytest.raises(Exception):  # noqa: B017 - whatever the netCDF library raises
        storage.write_netcdf(broken.drop_dims(["time"], errors="ignore"), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["data.nc"]
