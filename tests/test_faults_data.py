"""Files and values from outside: damaged parts, edited records, hollow files, numbers of NumPy, text."""

from __future__ import annotations

import json
import shutil
import stat
import time
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from experiment_cases import PARTICLES, written

import pympnode
from pympnode import experiments
from pympnode.datasets.parts import open_parts
from pympnode.datasets.record import record, with_record
from pympnode.errors import (
    CannotWrite,
    EngineUnavailable,
    FileDamaged,
    InvalidData,
    InvalidOption,
    NotEnoughDisk,
    PympnodeError,
    RunLocked,
)
from pympnode.experiments import running
from pympnode.files import netcdf
from pympnode.files.lock import hold_folder
from pympnode.networks.engines.julia import client as julia_client
from pympnode.networks.engines.julia.client import JuliaClient
from pympnode.networks.engines.julia.options import JuliaOptions

NETWORK: dict[str, Any] = dict(epochs=1, hidden=4, kernel="eager", progress=False)
PARTICLE: dict[str, Any] = dict(
    model="deltagn", updates=1, batch_size=2, edge_width=4, node_width=4, kernel="eager",
    progress=False,
)  # fmt: skip
PARTS: dict[str, Any] = dict(particles=4, trajectories=70, steps=3, workers=1)

pytestmark = pytest.mark.filterwarnings("ignore::pympnode.errors.PympnodeWarning")


@pytest.fixture(scope="module")
def data() -> dict[str, xr.Dataset]:
    return {
        "network": pympnode.simulate("kuramoto", nodes=3, topology="ring", trajectories=6, steps=3),
        "particle": pympnode.simulate("gravity", particles=5, trajectories=6, steps=3, workers=1),
    }


@pytest.fixture(scope="module")
def models(data: dict[str, xr.Dataset]) -> dict[str, Any]:
    return {
        "network": pympnode.train(data=data["network"], **NETWORK).model,
        "particle": pympnode.train(data=data["particle"], **PARTICLE).model,
    }


kinds = pytest.mark.parametrize("kind", ["network", "particle"])


# ---- parts of datasets ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts") / "p"
    pympnode.simulate("gravity", **PARTS, path=folder)
    return folder


@pytest.fixture()
def parts(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "p"))


@pytest.mark.parametrize("name", ["position", "velocity", "mass", "time"])
def test_a_flipped_bit_of_a_part_is_found(parts: Path, name: str) -> None:
    whole = open_parts(parts).load()
    part = parts / "part-00000.nc"
    values = whole[name].values[:64] if name != "time" else whole[name].values
    content = bytearray(part.read_bytes())
    at = content.find(values[1].tobytes())
    assert at > 0
    content[at + values.itemsize - 2] ^= 0x10
    part.write_bytes(content)
    with pytest.raises(FileDamaged, match=f"part-00000.*'{name}'") as error:
        open_parts(parts)[name].isel({whole[name].dims[0]: [2]}).load()
    assert "makes it again" in str(error.value.fix)
    part.unlink()
    again = pympnode.simulate("gravity", **PARTS, path=parts)
    assert again.load().identical(whole)


def test_a_checksum_of_large_values_is_that_of_small_ones(
    made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pympnode.datasets import parts as module

    monkeypatch.setattr(module, "_BLOCK", 100)
    monkeypatch.setattr(module, "_verified", set())
    assert np.isfinite(open_parts(made)["position"].values).all()


def test_parts_without_checksums_are_read(parts: Path) -> None:
    """Those of version 0.1."""
    whole = open_parts(parts).load()
    for path in parts.glob("part-*.nc"):
        netcdf.write_netcdf(netcdf.read_netcdf(path), path)
    assert open_parts(parts).load().identical(whole)


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "other", "text"])
def test_a_damaged_piece_is_made_again(tmp_path: Path, damage: str) -> None:
    from pympnode.particles import pool

    class Stop(Exception):
        pass

    def stop(*_: Any) -> Any:
        raise Stop

    folder, few = tmp_path / "p", {**PARTS, "trajectories": 3}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "_finish", stop)
        with pytest.raises(Stop):
            pympnode.simulate("gravity", **few, path=folder)
    piece = folder / "building" / "trajectory-000001.npz"
    content = bytearray(piece.read_bytes())
    if damage == "flip":
        content[len(content) // 2] ^= 0x40
    elif damage == "other":
        np.savez(piece, position=np.zeros(3), velocity=np.zeros(3), mass=np.zeros(3))
        content = bytearray(piece.read_bytes())
    piece.write_bytes(
        {"cut": content[:-40], "empty": b"", "text": b"x" * 100}.get(damage, bytes(content))
    )
    ds = pympnode.simulate("gravity", **few, path=folder)
    assert np.array_equal(ds["position"].values, pympnode.simulate("gravity", **few)["position"])


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_damaged_part_is_made_again(parts: Path, damage: str) -> None:
    whole, part = open_parts(parts).load(), parts / "part-00001.nc"
    content = part.read_bytes()
    part.unlink()
    if damage == "cut":
        part.write_bytes(content[:1000])
    assert pympnode.simulate("gravity", **PARTS, path=parts).load().identical(whole)


def test_links_in_a_folder_of_parts_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / ".x.part").write_text("mine")
    (tmp_path / "p" / ".lock").write_text("")
    (tmp_path / "p" / "building").symlink_to(tmp_path / "away")
    with pytest.raises(PympnodeError):
        pympnode.simulate("gravity", **PARTS, path=tmp_path / "p")
    assert (tmp_path / "away" / ".x.part").exists()


@pytest.mark.parametrize("path", ["", "a\0b", 3])
def test_what_is_no_path_holds_no_parts(path: Any) -> None:
    with pytest.raises(InvalidOption):
        pympnode.simulate("gravity", **PARTS, path=path)


# ---- model files --------------------------------------------------------------------------------

VALUES: list[Any] = [None, True, -1, 1.5, float("nan"), "x", [], [1], ["x"], {}, {"x": 1}, 10**30]


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where the entries of a record are; of lists the first."""
    inside = (
        value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list)
        else ()
    )  # fmt: skip
    return [one for key, each in inside for one in [(*at, key), *places(each, (*at, key))]]


def edited(facts: dict[str, Any], at: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """A copy with one entry replaced; KeyError stands for its removal."""
    copy = json.loads(json.dumps(facts))
    inner = copy
    for key in at[:-1]:
        inner = inner[key]
    if value is KeyError:
        del inner[at[-1]]
    else:
        inner[at[-1]] = value
    return copy


@kinds
def test_an_edited_model_file_is_found(
    data: dict[str, xr.Dataset], models: dict[str, Any], tmp_path: Path, kind: str
) -> None:
    """Its record and its variables stand under one checksum."""
    models[kind].save(tmp_path / "m.nc")
    ds = netcdf.read_netcdf(tmp_path / "m.nc", checksums=True)
    facts = record(ds)
    name = next(iter(ds.data_vars))
    several = [
        ds.assign({name: ds[name] * 1.0001}),
        with_record(ds, **edited(facts, ("about", "seed"), 7)),
        with_record(ds, **edited(facts, ("trained", "steps"), 7)),
    ]
    if kind == "particle":
        several.append(with_record(ds, **edited(facts, ("scales", "change"), 1.5)))
    for number, edit in enumerate(several):
        netcdf.write_netcdf(edit, tmp_path / "e.nc", checksums=True)
        with pytest.raises(FileDamaged, match="changed after"):
            pympnode.load(tmp_path / "e.nc")
            pytest.fail(f"edit {number} was taken")
    assert np.array_equal(pympnode.load(tmp_path / "m.nc").theta, models[kind].theta)


@kinds
def test_records_of_models_are_right_or_typed(
    data: dict[str, xr.Dataset], models: dict[str, Any], kind: str
) -> None:
    """Without the checksum of the whole: an entry of another kind is no AttributeError later."""
    model = models[kind]
    ds, truth = model.to_dataset(), data[kind].isel(trajectory=[0])
    facts, raw = record(ds), []
    wanted = [at for at in places(facts) if at[0] != "about" and at != ("kind",)]
    for at in wanted:
        for value in [VALUES[(len(at) + number) % len(VALUES)] for number in (0, 5, 9)] + [
            KeyError
        ]:
            if value is KeyError and not isinstance(at[-1], str):
                continue
            edit = ds.assign_attrs(pympnode=json.dumps(edited(facts, at, value)))
            try:
                type(model).from_dataset(edit).rollout(truth, check=True)
            except PympnodeError:
                pass
            except Exception as error:
                raw.append((at, value, type(error).__name__))
    assert not raw


def test_all_that_a_model_needs_is_asked_for(models: dict[str, Any]) -> None:
    optional = {
        "network": {"spec.circular", "trained.graphs", "trained.parameter_spans", "trained.control",
                    "trained.attribute", "trained.weight", "schema", "format"},
        "particle": {"spec.levels", "spec.mass_coupling", "spec.types", "trained.charge", "schema",
                     "trained.parameter_spans", "trained.spaces"},
    }  # fmt: skip
    for kind, model in models.items():
        ds, facts = model.to_dataset(), record(model.to_dataset())
        for at in places(facts):
            name = ".".join(map(str, at))
            if (
                (at[0] == "about" and len(at) > 1)
                or "parameter" in name
                or not isinstance(at[-1], str)
            ):
                continue
            edit = ds.assign_attrs(pympnode=json.dumps(edited(facts, at, KeyError)))
            if name in optional[kind]:
                type(model).from_dataset(edit)
                continue
            with pytest.raises(PympnodeError):
                type(model).from_dataset(edit)
                pytest.fail(f"{kind} without {name} was taken")


def test_a_model_without_its_scale_is_damaged(models: dict[str, Any]) -> None:
    for name in ("state_mean", "state_scale"):
        with pytest.raises(FileDamaged):
            type(models["network"]).from_dataset(models["network"].to_dataset().drop_vars(name))


@pytest.mark.parametrize("text", ["[" * 100_000, "3", "[]", "{", '{"kind": 3}'])
def test_a_record_that_is_none(data: dict[str, xr.Dataset], tmp_path: Path, text: str) -> None:
    data["network"].drop_vars("split").assign_attrs(pympnode=text).to_netcdf(tmp_path / "e.nc")
    with pytest.raises(FileDamaged):
        pympnode.load(tmp_path / "e.nc")
    with pytest.raises(InvalidData):
        pympnode.train(data=tmp_path / "e.nc", **NETWORK)


@pytest.mark.parametrize("claim", [{}, {"pympnode": '{"kind": "model"}'}])
def test_a_hollow_file_takes_no_memory(tmp_path: Path, claim: dict[str, str]) -> None:
    """A header that names 80 GB in 8 kB."""
    with netCDF4.Dataset(tmp_path / "h.nc", "w") as file:
        file.createDimension("n", 10**10)
        file.createVariable("state", "f8", ("n",), chunksizes=(1000,))
        file.setncatts(claim)
    began = time.perf_counter()
    with pytest.raises(FileDamaged):
        pympnode.load(tmp_path / "h.nc")
    with pytest.raises(FileDamaged, match="does not hold"):
        pympnode.train(data=tmp_path / "h.nc", **NETWORK)
    assert time.perf_counter() - began < 5


# ---- datasets -----------------------------------------------------------------------------------


def train(kind: str, ds: xr.Dataset) -> Any:
    return pympnode.train(data=ds, **(NETWORK if kind == "network" else PARTICLE))


@kinds
@pytest.mark.parametrize(
    "edit",
    [
        lambda ds: ds.assign(split=("trajectory", ["train", "tset"] * 3)),
        lambda ds: ds.assign(split=(("trajectory", "time"), np.full((6, 4), "train"))),
        lambda ds: ds.assign(split=((), "train")),
        lambda ds: ds.assign_coords(time=(("trajectory", "time"), np.zeros((6, 4)))),
        *(
            lambda ds, dtype=dtype: ds.assign(
                {n: ds[n].astype(dtype) for n in ("state", "position") if n in ds}
            )
            for dtype in (object, complex, str, "m8[s]", bool)
        ),
        lambda ds: with_record(ds, parameters=3),
        lambda ds: with_record(ds, parameters=[1]),
        lambda ds: with_record(ds, topology=3),
        lambda ds: with_record(ds, graphs="x"),
        lambda ds: with_record(ds, graphs=-1),
        lambda ds: with_record(ds, system=["x"]),
    ],
)
def test_edited_datasets_are_refused(data: dict[str, xr.Dataset], kind: str, edit: Any) -> None:
    with pytest.raises(PympnodeError):
        train(kind, edit(data[kind]))


@pytest.mark.parametrize(
    "parameters",
    [{"side": "x"}, {"side": [1.0]}, {"side": -1.0}, {"side": float("nan")}, {"softening": "x"},
     {"softening": -1.0}, {"softening": 1e308}, {"constant": []}],
)  # fmt: skip
def test_physics_that_are_no_numbers(
    data: dict[str, xr.Dataset], parameters: dict[str, Any]
) -> None:
    with pytest.raises(PympnodeError):
        train("particle", with_record(data["particle"], parameters=parameters))


@pytest.mark.parametrize("name", ["edge_graph", "graph"])
@pytest.mark.parametrize("with_count", [True, False])
def test_numbers_of_graphs_beyond_all(
    data: dict[str, xr.Dataset], name: str, with_count: bool
) -> None:
    ds = data["network"].copy(deep=True)
    ds[name].values[0] = 2**40
    ds = ds if with_count else ds.assign_attrs(pympnode="{}")
    with pytest.raises(InvalidData):
        train("network", ds)
    with pytest.raises(InvalidData, match="more graphs"):
        train("network", with_record(data["network"], graphs=10**12))


FORMS = [
    np.float32, np.float16, np.int16, np.uint8, lambda v: np.array(v), lambda v: np.array(v, "f4"),
    lambda v: np.array(v, "i2"), lambda v: xr.DataArray(v),
]  # fmt: skip
POSITION = np.zeros((2, 3, 4, 3)) + np.arange(4)[:, None]


@pytest.mark.parametrize("form", FORMS)
def test_numbers_of_any_dtype_and_of_no_axes(data: dict[str, xr.Dataset], form: Any) -> None:
    def particles(**given: Any) -> xr.Dataset:
        return pympnode.from_particles(POSITION, 0 * POSITION, 1.0, **{"dt": 2.0, **given})

    gravity = dict(particles=4, trajectories=2, steps=2, workers=1)
    calls = [
        lambda v: particles(side=v(8)),
        lambda v: particles(side=[v(8), None, v(8)]),
        lambda v: particles(dt=v(2)),
        lambda v: pympnode.from_arrays(np.zeros((2, 3, 2, 1)), dt=v(2), edges=[(0, 1)]),
        lambda v: pympnode.simulate("gravity", **gravity, dt=v(2)),
        lambda v: pympnode.simulate("gravity", **gravity, parameters={"side": v(8)}),
        lambda v: pympnode.simulate("gravity", **gravity, parameters={"mass": v(2)}),
    ]
    if np.asarray(form(2)).dtype.kind in "iu":
        network = dict(nodes=3, topology="ring", trajectories=4, steps=2)
        calls += [
            lambda v, name=name: pympnode.simulate("kuramoto", **{**network, name: v(3)})
            for name in ("nodes", "trajectories", "steps", "seed", "graph_seed")
        ]
        calls += [
            lambda v, name=name: pympnode.simulate("gravity", **{**gravity, name: v(3)})
            for name in ("particles", "trajectories", "steps", "seed", "dims")
        ]
    for call in calls:
        assert call(form).identical(call(lambda value: value))


def test_numbers_of_numpy_make_the_same_folder(tmp_path: Path) -> None:
    call = dict(particles=4, trajectories=2, steps=2, workers=1, path=tmp_path / "p")
    first = pympnode.simulate("gravity", **call, dims=np.uint8(3), split=np.float32(0.5))
    assert pympnode.simulate("gravity", **call, dims=3, split=0.5).load().identical(first.load())


def test_horizons_may_be_one_number(data: dict[str, xr.Dataset], models: dict[str, Any]) -> None:
    for horizons in (2, [2], np.array(2), np.int16(2), [np.array(2)], np.array([2])):
        scores = pympnode.evaluate(models["particle"], data["particle"], horizons=horizons)
        assert scores["horizon"].values.tolist() == [2]
    for horizons in ("2", [0], [1.5], 0):
        with pytest.raises(InvalidOption):
            pympnode.evaluate(models["particle"], data["particle"], horizons=horizons)


def test_text_is_never_spelled() -> None:
    frame = pd.DataFrame(
        {"time": [0, 0.1, 0.2] * 2, "node": list("aaabbb"), "x": np.arange(6.0), "y": 1.0, "z": 2.0}
    )
    states = np.zeros((2, 3, 2, 2))
    edges = dict(edges=[(0, 1)])
    with pytest.raises(PympnodeError):
        pympnode.from_frame(frame, features="x", nodes="ab", edges=[("a", "b")])
    for words in (
        {"features": "ab"}, {"units": "ms"}, {"nodes": "ab"}, {"split": "ab"},
        {"u": states, "controls": "ab"}, {"node_attribute": np.zeros((2, 2)), "attributes": "ab"},
    ):  # fmt: skip
        with pytest.raises(PympnodeError):
            pympnode.from_arrays(states, dt=0.1, **edges, **words)
    one = pympnode.from_arrays(states[..., :1], dt=0.1, **edges, features="level", units="m/s")
    assert one.feature.values.tolist() == ["level"] and one.unit.values.tolist() == ["m/s"]
    for words in ({"split": "ab"}, {"type": "abcd"}, {"fixed": "abcd"}):
        with pytest.raises(PympnodeError):
            pympnode.from_particles(POSITION, 0 * POSITION, 1.0, dt=0.1, **words)


# ---- experiments --------------------------------------------------------------------------------


def test_an_experiment_has_one_writer_and_is_tidied(tmp_path: Path) -> None:
    path, out = written(tmp_path, PARTICLES), tmp_path / "out"
    call = dict(budget="1 updates", seeds=1, out=out, progress=False, device="cpu")
    (out / "cells" / "x").mkdir(parents=True)
    (out / "data").mkdir()
    left = [out / ".results.md.a.part", out / "cells" / "x" / ".seed-0.json.a.part",
            out / "data" / ".x.nc.a.part"]  # fmt: skip
    for each in left:
        each.write_text("x")
    lock = hold_folder(out / running.LOCK, "the experiment", fix="wait")
    with pytest.raises(RunLocked, match="the experiment"):
        experiments.run(path, **call)
    lock.release()
    with pytest.MonkeyPatch.context() as patch:

        def full(*_: Any, **__: Any) -> None:
            raise NotEnoughDisk("full", got="1 byte")

        patch.setattr(running._api, "train", full)
        with pytest.raises(NotEnoughDisk, match="full"):
            experiments.run(path, **call)
    assert not any(each.exists() for each in left)
    # No cell was marked as failed: the same call goes on once there is space.
    assert (experiments.run(path, **call)["status"] == "completed").all()
    shutil.move(out / "cells", tmp_path / "away")
    (out / "cells").symlink_to(tmp_path / "away")
    with pytest.raises(CannotWrite, match="is a link"):
        experiments.run(path, **call)


# ---- Julia, without a Julia ---------------------------------------------------------------------


@pytest.fixture()
def program(tmp_path: Path) -> Any:
    def made(text: str) -> str:
        path = tmp_path / "julia"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return made


def test_a_wrong_julia_is_named_before_it_starts(
    tmp_path: Path, program: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plain").write_text("")
    for options, variable, fragment in (
        ({"executable": str(tmp_path / "none")}, "EXECUTABLE", "no file"),
        ({"executable": str(tmp_path)}, "EXECUTABLE", "a folder"),
        ({"executable": str(tmp_path / "plain")}, "EXECUTABLE", "without the right"),
        ({"executable": program("echo something else")}, "EXECUTABLE", "no julia"),
        ({"project": str(tmp_path / "none")}, "PROJECT", "not there"),
        ({"environment": str(tmp_path / "plain" / "x")}, "ENVIRONMENT", "cannot be written"),
        ({"depot": f"{tmp_path / 'plain' / 'x'}:/y"}, "DEPOT", "cannot be written"),
    ):
        with pytest.raises(EngineUnavailable, match=fragment) as error:
            JuliaClient(JuliaOptions(**options)).start()
        assert f"PYMPNODE_JULIA_{variable}" in str(error.value) and error.value.fix


@pytest.mark.parametrize("version", ["1.9.4", "1.10.2", "1.11.5", "1.12.1", "2.0.0"])
def test_versions_that_never_ran(
    program: Any, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    from pympnode.networks.engines.julia.executable import check_version

    path = program(f"echo julia version {version}")
    monkeypatch.delenv("PYMPNODE_JULIA_UNTESTED", raising=False)
    with pytest.raises(EngineUnavailable, match=version) as error:
        check_version(path)
    assert "PYMPNODE_JULIA_UNTESTED=1" in str(error.value.fix)
    monkeypatch.setenv("PYMPNODE_JULIA_UNTESTED", "1")
    check_version(path)
    monkeypatch.delenv("PYMPNODE_JULIA_UNTESTED")
    check_version(program("echo julia version 1.10.8"))


def test_the_last_five_logs_of_failed_starts_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "other.log").write_text("mine")
    for number in range(7):
        client = JuliaClient(JuliaOptions(), [sys.executable, "-S", "-c", f"print('try {number}')"])
        with pytest.raises(EngineUnavailable) as error:
            client.start()
        assert Path(client.log).is_file() and client.log in str(error.value)
    logs = sorted(tmp_path.glob(f"{julia_client.FAILED_PREFIX}*.log"))
    assert len(logs) == julia_client.KEPT_LOGS == 5
    assert {log.read_text() for log in logs} == {f"try {number}\n" for number in range(2, 7)}
    assert len(list(tmp_path.iterdir())) == 6
