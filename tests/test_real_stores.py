"""Datasets in Zarr stores and HDF5 files, arrays of Julia in JLD2 files."""

from __future__ import annotations

import importlib
import shutil
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.datasets.reading import as_dataset
from pympnode.datasets.stores import is_zarr, optional_package
from pympnode.errors import (
    EngineUnavailable,
    FileDamaged,
    InvalidData,
    MissingFile,
    PympnodeWarning,
    UnknownName,
)

HEADER = b"HDF5-based Julia Data Format, version 0.1.1\x00 (Julia 1.10.4 64-bit Linux)"


@pytest.fixture
def ds() -> xr.Dataset:
    x = np.random.default_rng(0).normal(size=(4, 11, 3, 1))
    made = pympnode.from_arrays(x, dt=0.1, topology="ring", split=["train"] * 3 + ["validation"])
    return made.assign_coords(node=np.array(["a", "bb", "ccc"], dtype=object))


def same(a: xr.Dataset, b: xr.Dataset) -> None:
    assert set(a.variables) == set(b.variables) and a.attrs == b.attrs
    for name in a.variables:
        assert np.array_equal(a[name].values.astype(str), b[name].values.astype(str)), name
        assert a[name].dims == b[name].dims


# ---- Zarr ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::UserWarning", "error::pympnode.errors.PympnodeWarning")
@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("consolidated", [True, False])
def test_zarr_stores(version: int, consolidated: bool, ds: xr.Dataset, tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    if version == 3 and int(zarr.__version__.split(".")[0]) < 3:
        pytest.skip("zarr 2 writes format 2")
    path = tmp_path / "data.zarr"
    chunk: Any = {"zarr_format": version} if int(zarr.__version__.split(".")[0]) > 2 else {}
    ds.to_zarr(path, consolidated=consolidated, **chunk)
    read = as_dataset(str(path))
    same(read, ds)
    assert pympnode.networks.schema.validate(read) is not None
    assert read.chunks == {} or not read.chunks, "in memory"
    shutil.move(path, tmp_path / "another ending")
    same(as_dataset(tmp_path / "another ending"), ds)
    # As "zip -r" packs it: the paths within the store.
    packed = shutil.make_archive(str(tmp_path / "packed.zarr"), "zip", tmp_path / "another ending")
    same(as_dataset(packed), ds)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_zarr_stores_that_hold_nothing(ds: xr.Dataset, tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    ds.to_zarr(tmp_path / "a.zarr", group="run1")
    with pytest.raises(InvalidData, match="holds no variables") as raised:
        as_dataset(tmp_path / "a.zarr")
    assert raised.value.got == "groups run1" and "group=" in str(raised.value.fix)
    (tmp_path / "b.zarr").mkdir()
    with pytest.raises(FileDamaged, match="Zarr"):
        as_dataset(tmp_path / "b.zarr")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_training_takes_the_path_of_a_store(ds: xr.Dataset, tmp_path: Path) -> None:
    pytest.importorskip("zarr")
    ds.to_zarr(tmp_path / "a.zarr")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = pympnode.train(
            data=str(tmp_path / "a.zarr"), epochs=1, progress=False, kernel="eager"
        )
        predicted = result.model.rollout(str(tmp_path / "a.zarr"), steps=2)
    assert predicted.sizes["node"] == 3 and np.isfinite(predicted.state).all()


def test_a_store_without_zarr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").write_text("{}")
    assert is_zarr(tmp_path / "a.zarr")
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(EngineUnavailable, match="needs the package zarr") as raised:
        as_dataset(tmp_path / "a.zarr")
    assert "pip install zarr" in str(raised.value.fix)
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(EngineUnavailable, match="h5py"):
        pympnode.read_jld2(tmp_path / "a.jld2")
    assert optional_package("json", "a test") is importlib.import_module("json")


def test_other_folders_and_files_are_no_stores(ds: xr.Dataset, tmp_path: Path) -> None:
    assert not is_zarr(tmp_path) and not is_zarr(tmp_path / "missing.zarr")
    with pytest.raises(MissingFile):
        as_dataset(tmp_path / "missing.zarr")
    with pytest.raises(MissingFile, match="is a folder"):
        as_dataset(tmp_path)


# ---- HDF5 ---------------------------------------------------------------------------------------


def test_hdf5_that_is_netcdf(ds: xr.Dataset, tmp_path: Path) -> None:
    for name in ("a.h5", "a.hdf5", "a.nc"):
        ds.to_netcdf(tmp_path / name)
        same(as_dataset(tmp_path / name), ds)


def test_groups_of_netcdf_are_named(ds: xr.Dataset, tmp_path: Path) -> None:
    ds.to_netcdf(tmp_path / "a.nc", group="run1")
    with pytest.raises(InvalidData, match="axes have no names") as raised:
        as_dataset(tmp_path / "a.nc")
    assert "group run1" in str(raised.value.got)


def test_hdf5_without_names_of_axes(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["x"] = np.zeros((2, 5, 3, 1))
    with pytest.raises(InvalidData, match="axes have no names") as raised:
        as_dataset(tmp_path / "a.h5")
    assert raised.value.got == "x (2, 5, 3, 1)"
    assert "h5py.File('a.h5')['x'][...]" in str(raised.value.fix)
    with h5py.File(tmp_path / "b.jld2", "w", userblock_size=512) as file:
        file["x"] = np.zeros((2, 5))
    mark(tmp_path / "b.jld2")
    with pytest.raises(InvalidData) as raised:
        as_dataset(tmp_path / "b.jld2")
    assert "pympnode.read_jld2" in str(raised.value.fix)


# ---- JLD2 ---------------------------------------------------------------------------------------


def mark(path: Path) -> None:
    """The header of JLD2 in the user block."""
    with open(path, "r+b") as stream:
        stream.write(HEADER)


@pytest.fixture
def jld2(tmp_path: Path) -> Path:
    """A file as JLD2 writes it: axes reversed, ranges as structs, vectors of vectors by reference."""
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "sol.jld2"
    pair = np.dtype([("hi", "<f8"), ("lo", "<f8")])
    steps = np.dtype([("ref", pair), ("step", pair), ("len", "<i8"), ("offset", "<i8")])
    with h5py.File(path, "w", userblock_size=512) as file:
        julia = np.arange(24.0).reshape(4, 3, 2)  # size (4, 3, 2) in Julia
        file["x"] = julia.T  # Julia writes its own order of memory: (2, 3, 4) for h5py
        file["nested/y"] = np.arange(3)
        file["t"] = np.array(((0.0, 0.0), (0.1, 0.0), 5, 1), dtype=steps)
        file["unit"] = np.array((2, 4), dtype=[("start", "<i8"), ("stop", "<i8")])
        file["down"] = np.array(
            (5, -2, 1), dtype=[("start", "<i8"), ("step", "<i8"), ("stop", "<i8")]
        )
        file["z"] = np.array([[(1.0, 2.0)], [(3.0, 4.0)]], dtype=[("re_", "<f8"), ("im_", "<f8")])
        file["dt"] = 0.1
        file["name"] = "pendulum"
        file["struct"] = np.array((1.0, 2), dtype=[("mass", "<f8"), ("n", "<i8")])
        file["_types/00000001"] = 1.0
        vectors = file.create_group("vectors")
        parts = [vectors.create_dataset(f"{i}", data=np.full((2, 3), float(i))) for i in range(4)]
        file.create_dataset("u", data=[p.ref for p in parts], dtype=h5py.ref_dtype)
        ragged = vectors.create_dataset("ragged", data=np.zeros(5))
        file.create_dataset("r", data=[parts[0].ref, ragged.ref], dtype=h5py.ref_dtype)
    mark(path)
    return path


def test_axes_are_in_the_order_of_julia(jld2: Path) -> None:
    with pytest.warns(PympnodeWarning, match="not read .*: name, r, struct"):
        arrays = pympnode.read_jld2(jld2)
    assert np.array_equal(arrays["x"], np.arange(24.0).reshape(4, 3, 2))
    assert np.array_equal(arrays["nested/y"], [0, 1, 2])
    assert np.allclose(arrays["t"], [0.0, 0.1, 0.2, 0.3, 0.4], rtol=0, atol=1e-15)
    assert arrays["unit"].tolist() == [2, 3, 4] and arrays["down"].tolist() == [5, 3, 1]
    assert arrays["z"].tolist() == [[1 + 2j, 3 + 4j]] and arrays["dt"] == 0.1
    # u[k] of Julia is a matrix (3, 2).
    assert arrays["u"].shape == (4, 3, 2) and np.all(arrays["u"][2] == 2.0)
    assert not any(name.startswith("_types") for name in arrays)


def test_named_arrays_of_julia(jld2: Path, tmp_path: Path) -> None:
    assert set(pympnode.read_jld2(str(jld2), "x", "nested/y")) == {"x", "nested/y"}
    with pytest.raises(UnknownName, match="array of"):
        pympnode.read_jld2(jld2, "X")
    for name in ("name", "struct", "r"):
        with pytest.raises(InvalidData, match="no array of numbers") as raised:
            pympnode.read_jld2(jld2, name)
        assert "jldsave" in str(raised.value.fix)
    with pytest.raises(MissingFile):
        pympnode.read_jld2(tmp_path / "missing.jld2")
    (tmp_path / "cut.jld2").write_bytes(jld2.read_bytes()[:900])
    with pytest.raises(FileDamaged):
        pympnode.read_jld2(tmp_path / "cut.jld2")


def test_a_solution_of_julia_becomes_a_dataset(tmp_path: Path) -> None:
    """Array(sol) of an ensemble has the size (state, time, trajectory) in Julia."""
    h5py = pytest.importorskip("h5py")
    julia = np.random.default_rng(1).normal(size=(3, 7, 2))
    with h5py.File(tmp_path / "a.jld2", "w") as file:
        file["x"], file["t"] = julia.T, 0.1 * np.arange(7)
    arrays = pympnode.read_jld2(tmp_path / "a.jld2")
    x = np.moveaxis(arrays["x"], [2, 1, 0], [0, 1, 2])[..., None]  # trajectory, time, node, feature
    ds = pympnode.from_arrays(x, time=arrays["t"], topology="ring")
    assert np.array_equal(ds.state[1, 4, :, 0], julia[:, 4, 1])
