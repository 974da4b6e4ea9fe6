"""Run folders in trouble: other calls, other things in their place, removed, half-written, signals."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.errors import (
    CannotWrite,
    CheckpointDamaged,
    FileDamaged,
    InvalidOption,
    NotEnoughDisk,
    PympnodeError,
    RunLocked,
    RunNotSaved,
)
from pympnode.files import netcdf, writing
from pympnode.training.checkpoint import Run, State, from_dataset, to_dataset
from pympnode.training.trainer import Trainer

CALL: dict[str, Any] = dict(epochs=3, hidden=4, kernel="eager", progress=False)


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return pympnode.simulate("kuramoto", nodes=3, topology="ring", trajectories=4, steps=3)


@pytest.fixture(scope="module")
def ended(data: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that has ended, with a checkpoint of each of its last two epochs."""
    run = tmp_path_factory.mktemp("runs") / "ended"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(Trainer.__init__.__kwdefaults__, "checkpoint_seconds", 0.0)
        pympnode.train(data=data, run=run, **CALL)
    return run


@pytest.fixture()
def run(ended: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ended, tmp_path / "run"))


def newest(run: Path) -> Path:
    return sorted((run / "checkpoints").glob("epoch-*.nc"))[-1]


def told(category: type[Warning], function: Any) -> tuple[Any, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function()
    return result, [str(w.message) for w in caught if issubclass(w.category, category)]


# ---- whose checkpoints ------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{"seed": 2}, {"epochs": 9}, {"hidden": 5}])
def test_without_its_description_a_folder_serves_no_other_call(
    data: xr.Dataset, run: Path, change: dict[str, Any]
) -> None:
    (run / "config.toml").unlink()
    with pytest.raises(InvalidOption, match="checkpoints of another call"):
        pympnode.train(data=data, run=run, **{**CALL, **change})
    assert not (run / "config.toml").exists()


def test_without_its_description_a_folder_serves_the_same_call(data: xr.Dataset, run: Path) -> None:
    theta = pympnode.load(run).theta
    (run / "config.toml").unlink()
    assert np.array_equal(pympnode.train(data=data, run=run, **CALL).model.theta, theta)


def test_a_checkpoint_of_another_call_is_passed_over(
    data: xr.Dataset, run: Path, tmp_path: Path
) -> None:
    theta = pympnode.load(run).theta
    pympnode.train(data=data, run=tmp_path / "other", **{**CALL, "seed": 5, "epochs": 9})
    shutil.copy(newest(tmp_path / "other"), run / "checkpoints")
    result, texts = told(CheckpointDamaged, lambda: pympnode.train(data=data, run=run, **CALL))
    assert np.array_equal(result.model.theta, theta)
    assert len(texts) == 1 and "another call" in texts[0] and "the one before is read" in texts[0]


def test_unnamed_checkpoints_of_0_1_need_their_description(run: Path) -> None:
    for path in (run / "checkpoints").glob("*.nc"):
        ds = netcdf.read_netcdf(path).drop_vars("fingerprint").drop_attrs()
        netcdf.write_netcdf(ds, path, checksums=True)
    import tomllib

    config = tomllib.loads((run / "config.toml").read_text())
    opened = Run(run, config)
    assert opened.load() is not None
    opened.close()
    (run / "config.toml").unlink()
    with pytest.raises(InvalidOption, match="without the name of its call"):
        Run(run, config)


# ---- damaged checkpoints ----------------------------------------------------------------------


def test_the_warning_says_whether_the_run_starts_over(data: xr.Dataset, run: Path) -> None:
    newest(run).write_bytes(b"x")
    _, texts = told(CheckpointDamaged, lambda: pympnode.train(data=data, run=run, **CALL))
    assert "the one before is read" in texts[0] and "starts over" not in texts[0]
    for path in (run / "checkpoints").glob("*.nc"):
        path.write_bytes(b"x")
    _, texts = told(CheckpointDamaged, lambda: pympnode.train(data=data, run=run, **CALL))
    assert len(texts) == 1 and "starts over" in texts[0] and "one before" not in texts[0]
    _, texts = told(CheckpointDamaged, lambda: pympnode.train(data=data, run=run, **CALL))
    assert not texts  # the damaged ones were replaced


COUNTERS = {
    "retries": [-1, None, "x", 1.5],
    "cause": [None, 3, []],
    "restart": [-1, None, "x", 10**6],
    "count": [None, "1", -1, 1.5, True, [], 10**30, 2],
    "epoch": [None, "x", -1, 1, 99],
    "seconds": [None, [], "x", -1.0],
    "epochs": [None, "x", -3],
    "updates": ["x", -1, 0.5],
    "status": [None, "done", 3],
}
ARRAYS = {
    "more members": lambda v: xr.DataArray(np.zeros((len(v) + 1, 3)), dims=("q", "r")),
    "text": lambda v: v.astype(str).astype(object),
    "other dtype": lambda v: v.astype("f4" if v.dtype == "f8" else "f8"),
    "empty": lambda v: xr.DataArray(np.zeros(0), dims=("q",)),
    "number": lambda v: xr.DataArray(1.0),
}


def unsealed(ds: xr.Dataset) -> xr.Dataset:
    """As an edit that also corrects the checksums of the file."""
    return ds.drop_attrs(deep=False)


def test_an_edited_state_is_damaged(ended: Path) -> None:
    ds = netcdf.read_netcdf(newest(ended), checksums=True)
    whole = from_dataset(ds)
    like = whole.theta
    counters = json.loads(str(ds["counters"].values))
    edits = [
        ds.assign(counters=((), json.dumps({**counters, name: value})))
        for name, values in COUNTERS.items()
        for value in values
    ]
    edits += [ds.assign(counters=((), text)) for text in ("[" * 100_000, "3", "[]", "{}", "x")]
    edits += [ds.drop_vars(name) for name in ds.data_vars if name != "fingerprint"]
    for name in ("theta", "first", "best", "best_loss", "best_epoch", "loss", "seconds"):
        edits += [ds.drop_vars(name).assign({name: edit(ds[name])}) for edit in ARRAYS.values()]
    taken = []
    for number, edit in enumerate(edits):
        for one in (edit, unsealed(edit)):
            try:
                from_dataset(one, like, whole.optimiser)
                taken.append(number)
            except FileDamaged:
                pass
    assert not taken
    with pytest.raises(FileDamaged, match="changed after it was written"):
        from_dataset(ds.assign(theta=ds["theta"] * 2), like)
    assert from_dataset(ds, like).status == "completed"


def test_a_state_without_later_counters_is_read(ended: Path) -> None:
    """Checkpoints of versions that had no retries."""
    ds = netcdf.read_netcdf(newest(ended), checksums=True)
    counters = json.loads(str(ds["counters"].values))
    for name in ("retries", "cause", "restart"):
        del counters[name]
    state = from_dataset(unsealed(ds.assign(counters=((), json.dumps(counters)))))
    assert (state.retries, state.cause, state.restart) == (0, "", 0)


def test_a_state_comes_back_whole() -> None:
    state = State.start(np.ones((2, 3), np.float32))
    back = from_dataset(to_dataset(state, "f"), state.theta)
    assert back.theta.dtype == np.float32 and back.history == state.history


# ---- other things in place of ours --------------------------------------------------------------


@pytest.mark.parametrize("name", ["checkpoints", "config.toml", "lock"])
@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling link", "pipe"])
def test_other_things_in_a_run_folder(
    data: xr.Dataset, tmp_path: Path, name: str, kind: str
) -> None:
    run, away = tmp_path / "run", tmp_path / "away"
    run.mkdir()
    if kind == "file":
        (run / name).write_text("")
    elif kind == "folder":
        (run / name).mkdir()
    elif kind == "link":
        away.mkdir() if name == "checkpoints" else away.write_text("")
        (run / name).symlink_to(away)
    elif kind == "dangling link":
        (run / name).symlink_to(away)
    else:
        os.mkfifo(run / name)
    if (name, kind) in (("checkpoints", "folder"), ("lock", "file")):
        pympnode.train(data=data, run=run, **CALL)
        return
    with pytest.raises(PympnodeError) as error:
        pympnode.train(data=data, run=run, **CALL)
    assert name in str(error.value) or "belongs to another call" in str(error.value)
    assert kind != "link" or name != "checkpoints" or not list(away.iterdir())


def test_a_linked_run_folder_is_the_users_choice(data: xr.Dataset, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "run").symlink_to(tmp_path / "scratch")
    pympnode.train(data=data, run=tmp_path / "run", **CALL)
    assert (tmp_path / "scratch" / "model.nc").is_file()


def test_checkpoints_of_strange_names_are_left_alone(data: xr.Dataset, run: Path) -> None:
    theta = pympnode.load(run).theta
    strange = ["epoch-zzzzzz.nc", "epoch-.nc", "epoch-000009.nc.bak", "epoch-1.nc"]
    for name in strange:
        (run / "checkpoints" / name).write_text("mine")
    (run / "checkpoints" / "epoch-000099.nc").mkdir()
    result, texts = told(CheckpointDamaged, lambda: pympnode.train(data=data, run=run, **CALL))
    assert np.array_equal(result.model.theta, theta) and not texts
    assert all((run / "checkpoints" / name).exists() for name in strange)


def test_epochs_beyond_a_million_are_in_order(run: Path, tmp_path: Path) -> None:
    opened = Run(tmp_path / "new", {"a": 1})
    try:
        for number in (999_999, 1_000_000):
            (opened.checkpoints / f"epoch-{number:06d}.nc").write_text("")
        assert [p.name for p in opened._all()] == ["epoch-999999.nc", "epoch-1000000.nc"]
    finally:
        opened.close()


@pytest.mark.parametrize("path", ["", " ", "a\0b", b"x", 3, "~no_such_user_here/x"])
def test_what_is_no_path_is_refused(
    data: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidOption):
        pympnode.train(data=data, run=path, **CALL)
    assert not os.listdir(tmp_path)


def test_half_written_files_are_removed(data: xr.Dataset, run: Path) -> None:
    left = [
        run / "checkpoints" / ".epoch-000001.nc.abcdefgh.part",
        run / ".model.nc.0123456789abcdef.part",
        run / ".config.toml.x.part",
    ]
    mine = run / ".mine.part"
    for path in (*left, mine):
        path.write_bytes(b"x")
    pympnode.train(data=data, run=run, **CALL)
    assert not any(path.exists() for path in left) and mine.exists()


# ---- what happens while it trains ---------------------------------------------------------------


def during(monkeypatch: pytest.MonkeyPatch, update: int, action: Any) -> None:
    """Call ``action`` after an update of the training."""
    tell = Trainer._tell

    def then(self: Trainer, state: Any, count: int, values: Any) -> None:
        tell(self, state, count, values)
        if count == update:
            action()

    monkeypatch.setattr(Trainer, "_tell", then)


@pytest.mark.parametrize("what", ["folder", "lock", "taken over"])
def test_a_folder_that_goes_leaves_the_result(
    data: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    run, alone = tmp_path / "run", pympnode.train(data=data, **CALL)
    opened = []

    def gone() -> None:
        if what == "lock":
            (run / "lock").unlink()
        else:
            shutil.rmtree(run)
        if what == "taken over":
            opened.append(Run(run, {"another": "call"}))

    during(monkeypatch, 2, gone)
    result, texts = told(RunNotSaved, lambda: pympnode.train(data=data, run=run, **CALL))
    assert len(texts) == 1 and "removed while the run trained" in texts[0]
    assert np.array_equal(result.model.theta, alone.model.theta)
    assert result.status == "completed" and "not saved" in result.reason
    assert isinstance(result.save_error, CannotWrite) and result.save_error.fix
    assert not (run / "model.nc").exists()
    result.save(tmp_path / "elsewhere.nc")
    assert np.array_equal(pympnode.load(tmp_path / "elsewhere.nc").theta, result.model.theta)
    for each in opened:
        each.close()


@pytest.mark.parametrize("number", [28, 122, 27, 30, 13, 5, 110, 116], ids=os.strerror)
def test_a_disk_that_fails_leaves_the_result(
    data: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """ENOSPC, EDQUOT, EFBIG, EROFS, EACCES, EIO, ETIMEDOUT, ESTALE of the last saves."""
    run = tmp_path / "run"

    def fails(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    during(monkeypatch, 2, lambda: monkeypatch.setattr(netcdf.os, "replace", fails))
    result, texts = told(RunNotSaved, lambda: pympnode.train(data=data, run=run, **CALL))
    expected = NotEnoughDisk if number in (28, 122, 27) else CannotWrite
    assert type(result.save_error) is expected and isinstance(result.save_error, OSError)
    assert str(run) in str(result.save_error) and "bytes" in str(result.save_error)
    assert result.save_error.needed and result.save_error.folder.startswith(str(run))
    assert result.status == "completed" and "not saved" in result.reason and len(texts) == 1
    monkeypatch.undo()
    again = pympnode.train(data=data, run=run, **CALL)
    assert again.save_error is None and np.array_equal(again.model.theta, result.model.theta)


def test_a_disk_that_is_full_is_found_before_the_first_update(
    data: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    during(monkeypatch, 1, lambda: pytest.fail("an update was made"))

    def full(folder: Path, size: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "reserve", full)
    with pytest.raises(NotEnoughDisk, match="checkpoints") as error:
        pympnode.train(data=data, run=tmp_path / "run", **CALL)
    assert error.value.needed > 3000 and error.value.free > 0


_LIMITED = """
import resource, sys, warnings, pympnode
warnings.simplefilter("ignore")
data, folder = pympnode.simulate("kuramoto", nodes=3, topology="ring", trajectories=4, steps=3), sys.argv[1]
call = dict(data=data, epochs=1, kernel="eager", progress=False)
model = pympnode.train(**call).model
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, resource.RLIM_INFINITY))
for write in (
    lambda: model.save(folder + "/m.nc"),
    lambda: pympnode.train(**call, run=folder + "/r"),
    lambda: pympnode.simulate(
        "gravity", particles=20, trajectories=2, steps=40, workers=1, path=folder + "/p"
    ),
):
    try:
        write()
    except pympnode.errors.NotEnoughDisk as error:
        assert folder in str(error) and "bytes" in str(error) and len(str(error)) < 800, error
        print("typed")
"""


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    """A model, a run and the parts of a dataset under ``ulimit -f``."""
    pytest.importorskip("resource")
    out = subprocess.run(
        [sys.executable, "-c", _LIMITED, str(tmp_path)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert out.stdout == "typed\n" * 3, out.stderr[-2000:]
    assert not list(tmp_path.glob("**/*.part"))


def test_a_device_is_not_replaced(data: xr.Dataset, ended: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CannotWrite, match="is no file"):
        pympnode.load(ended).save(tmp_path / "pipe")
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="mounting a disk needs root")
def test_a_full_and_a_read_only_disk(data: xr.Dataset, ended: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this system lets root mount nothing")
    try:
        model = pympnode.load(ended)
        with open(disk / "fill", "wb", buffering=0) as stream:
            try:
                while stream.write(b"x" * 512):
                    pass
            except OSError:
                pass
        with pytest.raises(NotEnoughDisk, match="No space left") as error:
            model.save(disk / "m.nc")
        assert error.value.free == 0 and error.value.folder == str(disk)
        with pytest.raises(NotEnoughDisk):
            pympnode.train(data=data, run=disk / "run", **CALL)
        (disk / "fill").unlink()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for call in (
            lambda: model.save(disk / "m.nc"),
            lambda: pympnode.train(data=data, run=disk / "r", **CALL),
            lambda: pympnode.simulate(
                "gravity", particles=5, trajectories=2, steps=2, path=disk / "p"
            ),
        ):
            with pytest.raises(CannotWrite, match="Read-only"):
                call()
    finally:
        subprocess.run(["umount", str(disk)], check=True)


_TERMINATED = """
import os, signal, sys, pympnode
from pympnode.training.trainer import Trainer
tell = Trainer._tell
def then(self, state, count, values):
    tell(self, state, count, values)
    if count == 7:
        os.kill(os.getpid(), signal.SIGTERM)
Trainer._tell = then
data = pympnode.simulate("kuramoto", nodes=3, topology="ring", trajectories=4, steps=3)
pympnode.train(data=data, epochs=40, hidden=4, kernel="eager", progress=False, run=sys.argv[1])
print("went on")
"""


def test_a_terminated_run_is_saved_and_goes_on(data: xr.Dataset, tmp_path: Path) -> None:
    out = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _TERMINATED, str(tmp_path / "run")],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert out.returncode == -signal.SIGTERM and out.stdout == "", out.stderr[-2000:]
    assert pympnode.load(tmp_path / "run").about["status"] == "interrupted"
    call = {**CALL, "epochs": 40}
    same = pympnode.train(data=data, run=tmp_path / "run", **call)
    assert np.array_equal(same.model.theta, pympnode.train(data=data, **call).model.theta)


def test_a_lock_is_held_while_it_trains(
    data: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def second() -> None:
        monkeypatch.undo()
        with pytest.raises(RunLocked):
            pympnode.train(data=data, run=tmp_path / "run", **CALL)

    during(monkeypatch, 2, second)
    assert pympnode.train(data=data, run=tmp_path / "run", **CALL).save_error is None
