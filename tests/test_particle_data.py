"""Particle datasets: seeds, schema, parts on disk, a run that is killed and continued."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import xarray as xr

from pympnode.datasets.parts import open_parts, read_index
from pympnode.datasets.record import record, with_record
from pympnode.errors import (
    FileDamaged,
    IntegrationFailed,
    InvalidData,
    InvalidOption,
    MissingFile,
    NotEnoughDisk,
    NotEnoughMemory,
    RunLocked,
    UnknownName,
)
from pympnode.particles import schema as particle_schema
from pympnode.particles.simulate import simulate_particles
from pympnode.particles.systems.base import ParticleState

SMALL = dict(particles=5, trajectories=70, steps=3, seed=4)


def test_dataset_layout():
    ds = simulate_particles("coulomb", particles=6, trajectories=4, steps=3, dims=3, seed=1)
    assert ds["position"].dims == ("trajectory", "time", "particle", "axis")
    assert ds["velocity"].dims == ds["position"].dims
    assert ds["mass"].dims == ds["charge"].dims == ("trajectory", "particle")
    assert ds.sizes == {"trajectory": 4, "time": 4, "particle": 6, "axis": 3}
    assert ds["position"].attrs["units"] == "length" and ds["time"].attrs["units"] == "time"
    assert set(ds["split"].values) <= {"train", "validation"}
    about = record(ds)
    assert about["system"] == "coulomb" and about["seed"] == 1
    assert about["parameters"]["constant"] == 2.0 and about["parameters"]["softening"] == 0.2
    box = particle_schema.box_of(ds)
    assert box.side == pytest.approx(12**0.5 * 6 ** (1 / 3))
    assert (np.abs(ds["position"]) <= box.side / 2).all()
    size = np.abs(ds["charge"].values)
    assert (size >= 0.5).all() and (size <= 1.5).all() and (ds["charge"] < 0).any()
    assert np.array_equal(ds["time"], np.arange(4) * 0.01)


def test_a_trajectory_depends_on_seed_and_number_alone():
    whole = simulate_particles("gravity", **SMALL)
    fewer = simulate_particles("gravity", **(SMALL | {"trajectories": 3}))
    for name in ("position", "velocity", "mass"):
        assert np.array_equal(whole[name][:3], fewer[name])
    threads = simulate_particles("gravity", **SMALL, workers=3)
    assert whole.identical(threads)
    other = simulate_particles("gravity", **(SMALL | {"seed": 5, "trajectories": 3}))
    assert not np.array_equal(other["position"], fewer["position"])
    assert not np.array_equal(whole["position"][0], whole["position"][1])


def test_parameters_change_physics():
    options = dict(particles=4, trajectories=2, steps=2)
    plain = simulate_particles("gravity", **options)
    heavy = simulate_particles("gravity", **options, parameters={"mass": [1.0, 2.0, 3.0, 0.0]})
    assert np.array_equal(heavy["mass"][1], [1, 2, 3, 0])
    assert np.array_equal(plain["position"][:, 0], heavy["position"][:, 0])
    assert not np.array_equal(plain["velocity"][:, 2], heavy["velocity"][:, 2])
    space = simulate_particles("gravity", **options, parameters={"side": None})
    assert not particle_schema.box_of(space).periodic
    assert record(space)["parameters"]["side"] is None
    q = simulate_particles("coulomb", **options, parameters={"charge": 1.0})
    assert (q["charge"] == 1.0).all()
    single = simulate_particles("gravity", **options, dtype="float32")
    assert single["position"].dtype == np.float32
    assert np.array_equal(single["position"], plain["position"].astype(np.float32))


def test_given_starts():
    state = ParticleState(np.array([[0.0, 0.0], [1.0, 1.0]]), np.zeros((2, 2)), np.ones(2))
    ds = simulate_particles("gravity", start=state, steps=2, parameters={"side": 8.0})
    assert ds.sizes["trajectory"] == 1 and np.array_equal(ds["position"][0, 0], state.position)
    again = simulate_particles("gravity", start=ds, steps=2, parameters={"side": 8.0})
    assert np.array_equal(again["position"], ds["position"])
    both = simulate_particles("gravity", start=[state, state], steps=2)
    assert np.array_equal(both["position"][0], both["position"][1])
    disc = simulate_particles(
        "gravity", particles=30, trajectories=2, steps=2, start="plummer",
        parameters={"constant": 1.0, "side": None},
    )  # fmt: skip
    assert float(disc["mass"][0].sum()) == pytest.approx(1.0)


def test_netcdf_round_trip(tmp_path):
    ds = simulate_particles("coulomb", particles=4, trajectories=3, steps=2)
    ds.to_netcdf(tmp_path / "particles.nc")
    with xr.open_dataset(tmp_path / "particles.nc") as back:
        particle_schema.validate_particles(back)
        for name in ("position", "velocity", "mass", "charge", "time"):
            assert np.array_equal(back[name], ds[name])
        assert record(back) == record(ds)


def test_parts_hold_the_same_dataset(tmp_path):
    whole = simulate_particles("coulomb", **SMALL)
    seen = []
    lazy = simulate_particles(
        "coulomb", **SMALL, path=tmp_path / "data", workers=2, progress=lambda *p: seen.append(p)
    )
    assert sorted(p.name for p in (tmp_path / "data").glob("*.nc")) == [
        "part-00000.nc",
        "part-00001.nc",
    ]
    assert not (tmp_path / "data" / "building").exists()
    assert [done for done, _, _ in seen] == list(range(1, 71))
    assert all(total == 70 for _, total, _ in seen) and seen[-1][2] == 0
    assert not lazy["position"].variable._in_memory
    for name in whole.variables:
        assert np.array_equal(lazy[name].values, whole[name].values), name
    pick = dict(trajectory=[66, 1, 64], time=slice(1, 3), particle=2, axis=[1])
    assert np.array_equal(lazy["velocity"].isel(pick).values, whole["velocity"].isel(pick).values)
    assert np.array_equal(lazy["mass"][65].values, whole["mass"][65].values)
    assert lazy["position"].isel(trajectory=[]).shape == (0, 4, 5, 2)
    one = dict(trajectory=69, time=-1)
    assert np.array_equal(lazy["position"].isel(one).values, whole["position"].isel(one).values)
    again = simulate_particles("coulomb", **SMALL, path=tmp_path / "data", progress=seen.append)
    assert again.identical(lazy) and len(seen) == 70  # nothing was computed


_KILLED = """
import sys
from pympnode.particles.simulate import simulate_particles
simulate_particles("gravity", particles=5, trajectories=140, steps=100, seed=4,
                   path=sys.argv[1], workers=2,
                   progress=lambda done, total, left: print(done, flush=True))
"""


def test_a_killed_run_is_continued_without_repeating_finished_parts(tmp_path):
    folder = tmp_path / "data"
    run = subprocess.Popen(
        [sys.executable, "-c", _KILLED, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    for line in run.stdout:
        if int(line) >= 80 and read_index(folder).finished == (0,):
            break  # the first part is whole, of the second some single trajectories
    run.send_signal(signal.SIGKILL)
    run.wait()
    run.stdout.close()
    index = read_index(folder)
    assert index.finished == (0,) and index.parts == 3
    growing = open_parts(folder)
    assert growing.sizes["trajectory"] == 64
    kept = (folder / "part-00000.nc").stat().st_mtime_ns
    singles = len(list((folder / "building").glob("trajectory-*.npz")))
    assert singles >= 1

    seen = []
    options = dict(particles=5, trajectories=140, steps=100, seed=4)
    lazy = simulate_particles(
        "gravity", **options, path=folder, workers=1, progress=lambda *p: seen.append(p[0])
    )
    assert len(seen) == 140 - 64 - singles
    assert (folder / "part-00000.nc").stat().st_mtime_ns == kept
    whole = simulate_particles("gravity", **options)
    assert np.array_equal(lazy["position"].values, whole["position"].values)
    assert np.array_equal(lazy["split"].values.astype(str), whole["split"].values)


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    folder = tmp_path / "data"
    simulate_particles("gravity", **SMALL, path=folder, workers=1)
    before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    with pytest.raises(InvalidData, match="another dataset") as error:
        simulate_particles("gravity", **(SMALL | {"seed": 9}), path=folder)
    assert "seed=4" in str(error.value) and "seed=9" in str(error.value)
    state = ParticleState(np.zeros((5, 2)), np.zeros((5, 2)), np.ones(5))
    with pytest.raises(InvalidData, match="another dataset"):
        simulate_particles("gravity", steps=3, trajectories=70, seed=4, start=state, path=folder)
    assert before == {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(InvalidData, match="not empty"):
        simulate_particles("gravity", **SMALL, path=tmp_path / "mine")


def test_given_starts_in_parts(tmp_path):
    state = ParticleState(
        np.random.default_rng(0).normal(size=(5, 2)), np.zeros((5, 2)), np.ones(5)
    )
    options = dict(start=state, steps=2, trajectories=2)
    lazy = simulate_particles("gravity", **options, path=tmp_path / "d", workers=1)
    assert np.array_equal(
        lazy["position"].values, simulate_particles("gravity", **options)["position"]
    )


_HOLDS = """
import sys, time
from pathlib import Path
from pympnode.files.lock import hold_folder
lock = hold_folder(Path(sys.argv[1]), "the dataset", fix="wait")
print("held", flush=True)
time.sleep(600)
"""


def test_a_second_writer_is_refused_until_the_first_is_killed(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    other = subprocess.Popen(
        [sys.executable, "-c", _HOLDS, str(folder / ".lock")],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunLocked, match="another process writes to the dataset") as error:
            simulate_particles("gravity", **SMALL, path=folder)
        assert str(folder) in str(error.value) and error.value.fix
    finally:
        other.send_signal(signal.SIGKILL)
        other.wait()
        other.stdout.close()
    assert simulate_particles("gravity", **SMALL, path=folder).sizes["trajectory"] == 70


def test_damaged_folders_are_named(tmp_path):
    folder = tmp_path / "data"
    with pytest.raises(MissingFile, match="no dataset"):
        open_parts(folder)
    simulate_particles("gravity", **SMALL, path=folder, workers=1)
    part = folder / "part-00001.nc"
    part.write_bytes(part.read_bytes()[:1000])
    with pytest.raises(FileDamaged, match="part-00001"):
        open_parts(folder)
    part.unlink()
    with pytest.raises(MissingFile, match="part-00001"):
        open_parts(folder)
    index = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps(index | {"whole": []}))
    with pytest.raises(InvalidData, match="0 of 2 parts"):
        open_parts(folder)
    (folder / "index.json").write_text("{")
    with pytest.raises(FileDamaged, match="index"):
        open_parts(folder)


def test_bytes_are_logged_and_refused(tmp_path, monkeypatch, caplog):
    huge = dict(particles=1000, trajectories=20_000, steps=200)
    with pytest.raises(NotEnoughMemory, match="128,960,000,000 bytes needed"):
        simulate_particles("gravity", **huge)
    with pytest.raises(NotEnoughDisk, match="bytes still to write"):
        simulate_particles("gravity", **huge, path=tmp_path / "data")
    assert not (tmp_path / "data").exists()  # refused before the first byte
    with caplog.at_level("INFO", logger="pympnode.data"):
        simulate_particles("gravity", **SMALL, path=tmp_path / "data", workers=1)
    assert "KiB" in caplog.text


def test_a_trajectory_that_fails_is_named(tmp_path):
    state = ParticleState(np.zeros((2, 2)), np.array([[1.0, 0], [1e308, 0]]), np.ones(2))
    options = dict(start=state, steps=2, dt=1e3, parameters={"side": None})
    for path in (None, tmp_path / "d"):
        with pytest.raises(IntegrationFailed, match=r"trajectory 0: .* not finite after step 1"):
            simulate_particles("gravity", **options, path=path)


@pytest.mark.parametrize(
    "change, error, fragment",
    [
        ({"particles": 0}, InvalidOption, "particles"),
        ({"trajectories": 0}, InvalidOption, "trajectories"),
        ({"steps": 0}, InvalidOption, "steps"),
        ({"dt": 0.0}, InvalidOption, "dt"),
        ({"dims": 4}, InvalidOption, "two or three"),
        ({"seed": -1}, InvalidOption, "seed"),
        ({"dtype": "int8"}, UnknownName, "dtype"),
        ({"split": 2.0}, InvalidOption, "split"),
        ({"start": "randm"}, UnknownName, "random"),
        ({"integrator": "rk4"}, UnknownName, "integrator"),
        ({"system": "gravty"}, UnknownName, "gravity"),
        ({"parameters": {"mass": -1.0}}, InvalidData, "mass of particle 0"),
        ({"parameters": {"masses": 1.0}}, UnknownName, "mass"),
        ({"parameters": {"charge": 1.0}}, UnknownName, "charge"),
        ({"system": "coulomb", "parameters": {"mass": 0.0}}, InvalidData, "mass of particle 0"),
        ({"parameters": {"softening": 0.0}}, InvalidOption, "softening"),
        ({"parameters": {"side": -1.0}}, InvalidOption, "positive side"),
        ({"parameters": {"constant": np.nan}}, InvalidOption, "finite"),
        ({"start": [1, 2]}, InvalidOption, "ParticleState"),
        ({"start": 5}, InvalidOption, "ParticleState"),
        ({"start": "plummer", "parameters": {"mass": 2.0}}, InvalidOption, "its own masses"),
        ({"system": "coulomb", "start": "plummer"}, InvalidOption, "equilibrium"),
    ],
)
def test_bad_input_is_refused(change, error, fragment):
    options = dict(system="gravity", particles=4, trajectories=2, steps=2) | change
    with pytest.raises(error, match=fragment):
        simulate_particles(**options)


def test_foreign_datasets_are_checked():
    ds = simulate_particles("coulomb", particles=4, trajectories=2, steps=2)
    check = particle_schema.validate_particles
    assert check(ds) is ds
    assert check(ds.transpose("axis", "time", "particle", "trajectory")) is not None
    bad = ds.copy(deep=True)
    bad["velocity"][1, 2, 3, 0] = np.nan
    with pytest.raises(InvalidData, match="'time': 2"):
        check(bad)
    with pytest.raises(InvalidData, match="needs 'velocity'"):
        check(ds.drop_vars("velocity"))
    with pytest.raises(InvalidData, match="wrong dims"):
        check(ds.assign(mass=ds["mass"][0]))
    with pytest.raises(InvalidData, match="needs charges"):
        check(ds.drop_vars("charge"))
    with pytest.raises(InvalidData, match="negative"):
        check(ds.assign(mass=-ds["mass"]))
    with pytest.raises(InvalidData, match="no charge"):
        check(with_record(ds, system="gravity"))
    with pytest.raises(InvalidData, match="2 or 3"):
        check(ds.isel(axis=[0]))


@pytest.mark.parametrize("on_disk", [False, True])
def test_an_interrupted_run_leaves_no_thread_behind(tmp_path, on_disk):
    """Ctrl-C in the middle: threads end at their next step, and the same call goes on."""
    path = tmp_path / "data" if on_disk else None
    options = dict(particles=20, trajectories=50, steps=50, workers=2, path=path)

    def interrupt(done, total, left):
        raise KeyboardInterrupt

    threads = threading.active_count()
    with pytest.raises(KeyboardInterrupt):
        simulate_particles("gravity", **options, progress=interrupt)
    assert threading.active_count() == threads
    if on_disk:
        made = len(list((path / "building").glob("trajectory-*.npz")))
        assert 1 <= made < 10
        seen = []
        lazy = simulate_particles("gravity", **options, progress=lambda *p: seen.append(p[0]))
        assert seen == list(range(made + 1, 51))
        whole = simulate_particles("gravity", **(options | {"path": None}))
        assert np.array_equal(lazy["position"].values, whole["position"].values)


def test_files_have_the_usual_mode_and_threads_leave_the_umask_alone(tmp_path, monkeypatch):
    """The umask can be read only by setting it, for all threads that write at that moment."""

    def forbidden(mask):
        raise AssertionError("the umask was set")

    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(os, "umask", forbidden)
            simulate_particles("gravity", **SMALL, path=tmp_path / "data", workers=2)
    finally:
        os.umask(before)
    for path in ("part-00000.nc", "index.json"):
        assert (tmp_path / "data" / path).stat().st_mode & 0o777 == 0o640


def test_a_bar_is_silent_in_a_pipe(capfd):
    ds = simulate_particles("gravity", particles=4, trajectories=3, steps=2, progress=True)
    assert ds.sizes["trajectory"] == 3
    assert capfd.readouterr() == ("", "")
