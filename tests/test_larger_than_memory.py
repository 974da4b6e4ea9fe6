"""Data that are trained on chunk by chunk, and the stores that they are read from."""

from __future__ import annotations

import json
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from test_training import stop_after

import pympnode
from pympnode.cli import status_of
from pympnode.datasets import chunks as chunking
from pympnode.datasets.chunks import ChunkedDataset, ahead
from pympnode.datasets.reading import as_dataset
from pympnode.errors import CannotWrite, FileDamaged, InvalidData, InvalidOption
from pympnode.networks import stream as streaming
from pympnode.networks.normalise import Moments, Normalisation
from pympnode.networks.streamed_task import StreamedBatch, StreamedTask

da = pytest.importorskip("dask.array")
pytestmark = pytest.mark.filterwarnings("ignore::pympnode.errors.PympnodeWarning")

RUN: dict[str, Any] = dict(
    epochs=2, batch_size=6, progress=False, engine="torch", device="cpu", kernel="eager"
)


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    return pympnode.simulate("kuramoto", nodes=4, topology="BA", trajectories=24, steps=8)


@pytest.fixture(scope="module")
def recording() -> xr.Dataset:
    """One long trajectory."""
    rng = np.random.default_rng(0)
    t = 0.1 * np.arange(2401)[:, None]
    x = np.sin(t + rng.uniform(0, 6, 3)) + 0.01 * rng.normal(size=(2401, 3))
    return pympnode.from_arrays(x[None, ..., None], dt=0.1, topology="ring")


def task_of(data: Any, **options: Any) -> StreamedTask:
    from pympnode.halves import NETWORKS

    words = {k: v for k, v in RUN.items() if k != "epochs"} | {"epochs": 1} | options
    task = NETWORKS.prepare(None, [data], NETWORKS.Training(**words), None).task
    assert isinstance(task, StreamedTask)
    return task


def epoch(task: StreamedTask, seed: int = 0) -> list[StreamedBatch]:
    horizon = task.steps if task.whole else 5
    return list(task.batches(horizon, np.random.default_rng(seed)))  # type: ignore[arg-type]


# ---- the same numbers as in memory --------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"preset": "paper", "window": 0.2},
        {"max_window": 0.2, "missing": "mask"},
        {"loss": "mse"},
    ],
)
def test_one_chunk_has_the_bits_of_data_in_memory(ds: xr.Dataset, options: dict[str, Any]) -> None:
    if "missing" in options:
        x = ds.state.values.copy()
        x[np.random.default_rng(1).random(x.shape) < 0.1] = np.nan
        ds = ds.assign(state=(ds.state.dims, x))
    plain = pympnode.train(data=ds, **RUN, **options)
    streamed = pympnode.train(data=ds.chunk(), **RUN, **options)
    np.testing.assert_array_equal(streamed.model.theta, plain.model.theta)
    np.testing.assert_array_equal(streamed.history.loss, plain.history.loss)
    assert repr(streamed.model.trained) == repr(plain.model.trained)
    assert "1 chunks" in streamed.history.attrs["data"]


def test_an_epoch_has_every_window_once_and_batches_of_one_size(ds: xr.Dataset) -> None:
    """Chunks of unequal sizes, of which the last has one trajectory."""
    task = task_of(ds.chunk(trajectory=(5, 7, 5, 6, 1)), chunks_in_memory=3)
    batches = epoch(task)
    sizes = [len(b.trajectory) for b in batches]
    train = np.flatnonzero(ds.split.values == "train")
    assert sizes == [6] * (len(train) // 6) + [len(train) % 6] * (len(train) % 6 > 0)
    assert len(sizes) == task.count(task.steps)
    seen = [task.stream.trajectory(u) for b in batches for u in b.units[b.trajectory]]
    assert sorted(seen) == train.tolist() and seen != train.tolist()
    # Values are those of the data, in z units.
    batch = batches[-1]
    arrays = batch.source.arrays[0]
    z = task.stream._scales.state.apply(ds.state.values[seen[-1]])
    np.testing.assert_allclose(arrays.x[batch.trajectory[-1]], z, rtol=1e-6, atol=1e-6)
    assert [len(b.trajectory) for b in epoch(task, 1)] == sizes
    again = [task.stream.trajectory(u) for b in epoch(task, 1) for u in b.units[b.trajectory]]
    assert sorted(again) == train.tolist() and again != seen
    # Chunks come in another order, and the windows of the first ones before those of the last.
    orders = [_order_of_chunks(task, seed) for seed in range(4)]
    assert len(set(orders)) > 1 and all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)


def _order_of_chunks(task: StreamedTask, seed: int) -> tuple[int, ...]:
    units = np.concatenate([b.units[b.trajectory] for b in epoch(task, seed)])
    return tuple(dict.fromkeys(task.stream.unit_chunk[units].tolist()))


def test_chunks_are_released(ds: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of(ds.chunk(trajectory=2), chunks_in_memory=3)
    original, alive, most = StreamedTask._load, weakref.WeakSet(), 0

    def load(self: StreamedTask, *part: Any) -> Any:
        nonlocal most
        loaded = original(self, *part)
        alive.add(loaded.source)
        most = max(most, len(alive))
        return loaded

    monkeypatch.setattr(StreamedTask, "_load", load)
    for _ in task.batches(task.steps, np.random.default_rng(0)):
        pass
    assert task.stream.group == 1 and len(task.stream.chunks) == 12
    # In use, read ahead, and for an instant the one that was used before.
    assert most <= 3


def test_losses_of_chunks_are_those_of_data_in_memory(ds: xr.Dataset) -> None:
    task = task_of(ds.chunk(trajectory=5), chunks_in_memory=3, dtype="float64")
    theta = 0.3 * np.random.default_rng(0).normal(size=task.size)
    scaled = task.stream._scales.state.apply(ds.state.values)
    from dataclasses import replace

    from pympnode.networks.engines.base import Batch

    whole = replace(task.arrays[0], x=scaled, graph_of=ds.graph.values, mask=None)
    program = task.program.rebound([whole])  # type: ignore[attr-defined]
    for batch in epoch(task):
        number = np.array([task.stream.trajectory(u) for u in batch.units[batch.trajectory]])
        loss, gradient = task.loss(theta, batch)
        wanted = program.loss_and_gradient(theta, Batch(number, batch.start, batch.horizon))
        np.testing.assert_allclose(loss, wanted[0], rtol=1e-9)
        np.testing.assert_allclose(gradient, wanted[1], rtol=1e-7, atol=1e-9)
        first, second = (task.part(batch, rank, 2) for rank in (0, 1))
        parts = [task.loss(theta, part)[0] * weight for part, weight in (first, second) if part]
        np.testing.assert_allclose(sum(parts), loss, rtol=1e-9)


def test_scales_and_ranges_are_those_of_all_data(ds: xr.Dataset) -> None:
    plain = pympnode.train(data=ds, **{**RUN, "epochs": 1}).model
    streamed = pympnode.train(
        data=ds.chunk(trajectory=5), chunks_in_memory=3, **{**RUN, "epochs": 1}
    ).model
    np.testing.assert_allclose(
        streamed.state_scale.mean, plain.state_scale.mean, rtol=1e-12, atol=1e-14
    )
    np.testing.assert_allclose(streamed.state_scale.scale, plain.state_scale.scale, rtol=1e-12)
    assert repr(streamed.trained) == repr(plain.trained)


def test_moments_of_parts() -> None:
    x = np.random.default_rng(0).normal(size=(50, 3, 2)) + np.array([1e6, 0.0])
    x[::7, 0, 1] = np.nan
    wanted = Normalisation.fit(x, np.isfinite(x))
    parts = [Moments.of_part(part) for part in np.split(x, [3, 20])]
    found = parts[0].joined(parts[1]).joined(parts[2])
    np.testing.assert_allclose(found.normalisation().mean, wanted.mean, rtol=1e-13)
    np.testing.assert_allclose(found.normalisation().scale, wanted.scale, rtol=1e-9)
    assert found.span is not None
    np.testing.assert_array_equal(found.span[0], np.nanmin(x, axis=(0, 1)))
    constant = Moments.of_part(np.full((4, 1), 0.1)).joined(Moments.of_part(np.full((3, 1), 0.1)))
    assert constant.normalisation().scale == 1.0


def test_a_run_that_is_continued_has_the_same_batches(ds: xr.Dataset, tmp_path: Path) -> None:
    data = ds.chunk(trajectory=5)
    options = {**RUN, "epochs": 4, "data": data, "chunks_in_memory": 3}
    whole = pympnode.train(**options)
    with pytest.raises(KeyboardInterrupt):
        stop_after({**options, "run": tmp_path / "run"}, updates=7)
    resumed = pympnode.train(**options, run=tmp_path / "run")
    np.testing.assert_array_equal(resumed.model.theta, whole.model.theta)
    np.testing.assert_array_equal(resumed.history.loss, whole.history.loss)
    # Other chunks have other batches, and other values are other data.
    for changed in (
        {"data": ds.chunk(trajectory=6)},
        {"chunks_in_memory": 6},
        {"data": data.assign(state=data.state + 1e-9)},
    ):
        with pytest.raises(InvalidOption, match="belongs to another call"):
            pympnode.train(**{**options, **changed}, run=tmp_path / "run")


# ---- what is read, and when ---------------------------------------------------------------------


def test_dask_arrays_are_never_computed_as_a_whole(ds: xr.Dataset) -> None:
    """At most as many chunks exist at a time as are held, each read on its own."""
    from dask.callbacks import Callback

    values, read = ds.state.values, []

    def make(block_info: Any = None) -> Any:
        first, last = block_info[None]["array-location"][0]
        read.append(first)
        return values[first:last].copy()

    sizes = ((4,) * 6, *((n,) for n in values.shape[1:]))
    state = da.map_blocks(make, chunks=sizes, dtype=float, meta=np.zeros((0,) * 4))
    most = 0

    class Watch(Callback):
        def _start(self, dsk: Any) -> None:
            self.before = len(read)

        def _finish(self, dsk: Any, state: Any, errored: bool) -> None:
            nonlocal most
            most = max(most, len(read) - self.before)

    with Watch():
        result = pympnode.train(data=ds.assign(state=(ds.state.dims, state)), **RUN)
    assert result.status == "completed"
    assert most == 1, "several chunks were computed at once"
    assert set(read) == set(range(0, 24, 4))


def test_a_thread_reads_one_ahead() -> None:
    loaded: list[int] = []

    def load(number: int) -> int:
        loaded.append(number)
        return number

    for used in ahead(load, range(5)):
        assert len(loaded) <= used + 2
    assert loaded == list(range(5))

    def fails(number: int) -> int:
        if number:
            raise FileDamaged("a chunk")
        return number

    results = ahead(fails, range(3))
    assert next(results) == 0
    with pytest.raises(FileDamaged):
        next(results)


def test_chunks_of_time(recording: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunking, "LEAST_TIMES", 300)
    data = ChunkedDataset(recording.chunk(time=100))
    assert [c.begin for c in data.chunks] == list(range(0, 2400, 300))
    assert data.chunks[-1].end == 2401
    task = task_of(recording.chunk(time=100), chunks_in_memory=4, max_window=1.0)
    assert task.stream.unit_steps.tolist() == [299] * 6, "a quarter of the chunks is for validation"
    assert not task.validates_on_training
    batches = epoch(task)
    assert len(batches) == task.count(5)
    assert all((b.start + b.horizon <= 299).all() for b in batches)
    x = np.concatenate([b.source.arrays[0].x[b.trajectory, b.start].ravel() for b in batches])
    z = task.stream._scales.state.apply(recording.state.values).astype(np.float32)
    assert np.isin(x, z[:, : 6 * 300]).all()
    result = pympnode.train(data=recording.chunk(time=100), max_window=1.0, **RUN)
    assert np.isfinite(result.best_loss) and result.model.trained.steps == 2400


def test_the_sample_has_validation_trajectories(ds: xr.Dataset) -> None:
    label = np.repeat(["train", "validation", "test"], [16, 4, 4])
    task = task_of(ds.assign(split=("trajectory", label)).chunk(trajectory=4), chunks_in_memory=3)
    assert not task.validates_on_training
    assert set(task.stream.sample.split.values) >= {"validation", "train"}
    assert set(np.unique(task.stream.unit_chunk)) == {0, 1, 2, 3}


# ---- what is refused ----------------------------------------------------------------------------


def test_refused_in_words(ds: xr.Dataset, recording: xr.Dataset) -> None:
    lazy = ds.chunk(trajectory=6)
    with pytest.raises(InvalidOption, match="several datasets are not read chunk by chunk"):
        pympnode.train(data=[lazy, ds], **RUN)
    with pytest.raises(InvalidOption, match="a graph of each trajectory"):
        pympnode.train(data=lazy, topology="learn each", **RUN)
    with pytest.raises(InvalidOption, match="chunks_in_memory"):
        pympnode.train(data=ds, chunks_in_memory=2, **RUN)
    with pytest.raises(InvalidOption, match="torch engine"):
        streaming.refuse_engine("julia")
    uneven = recording.assign_coords(time=recording.time.values**1.1).chunk(time=1000)
    with pytest.raises(InvalidData, match="uneven time grid"):
        pympnode.train(data=uneven, **RUN)
    with pytest.raises(InvalidData, match="not finite"):
        broken = ds.state.values.copy()
        broken[20, 3] = np.inf
        pympnode.train(data=ds.assign(state=(ds.state.dims, broken)).chunk(trajectory=6), **RUN)
    with pytest.raises(InvalidData, match="no trajectories to train on"):
        none = ds.assign(split=("trajectory", ["test"] * ds.sizes["trajectory"]))
        pympnode.train(data=none.chunk(trajectory=6), **RUN)


# ---- stores -------------------------------------------------------------------------------------


def same(a: xr.Dataset, b: xr.Dataset) -> None:
    assert set(a.variables) == set(b.variables) and a.attrs == b.attrs
    for name in a.variables:
        assert a[name].dims == b[name].dims and a[name].attrs == b[name].attrs, name
        np.testing.assert_array_equal(a[name].values.astype(str), b[name].values.astype(str))


@pytest.mark.parametrize("name", ["data.zarr", "data.nc", "data"])
@pytest.mark.parametrize("dask", [False, True])
def test_saved_and_opened(name: str, dask: bool, ds: xr.Dataset, tmp_path: Path) -> None:
    pytest.importorskip("zarr", minversion="3")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path = pympnode.save_dataset(ds.chunk(trajectory=7) if dask else ds, tmp_path / name)
        opened = pympnode.open_dataset(path)
    same(opened, ds)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    if not name.endswith(".nc"):
        with pytest.raises(InvalidOption, match="is there already"):
            pympnode.save_dataset(ds, path)


def test_text_that_xarray_reads_from_a_store(ds: xr.Dataset) -> None:
    """NumPy does not cast its StringDType, as which xarray reads text of Zarr, to fixed width."""
    variable = np.dtypes.StringDType()
    texts = {
        n: (v.dims, v.values.astype(variable))
        for n, v in ds.variables.items()
        if v.dtype.kind == "U"
    }
    read = ds.assign({"split": texts["split"]}).assign_coords(
        {n: v for n, v in texts.items() if n in ds.coords}
    )
    expected = pympnode.train(ds, **RUN).model.theta
    for data in (read, read.chunk(trajectory=len(ds.state))):
        assert np.array_equal(pympnode.train(data, **RUN).model.theta, expected)
    kinds = np.array(["a", "b", "a"])
    x = np.arange(18.0).reshape(1, 3, 3, 2)
    found = pympnode.from_particles(x, x, 1.0, dt=1.0, type=kinds.astype(variable))
    assert found.identical(pympnode.from_particles(x, x, 1.0, dt=1.0, type=kinds))


def test_saved_in_chunks_of_time(recording: xr.Dataset, tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("zarr", minversion="3")
    from pympnode.datasets import saving

    monkeypatch.setattr(saving, "_LONG_BYTES", 1000)
    monkeypatch.setattr(saving, "CHUNK_BYTES", 1 << 12)
    path = pympnode.save_dataset(recording, tmp_path / "a.zarr")
    opened = as_dataset(path, lazy=True)
    same(opened, recording)
    assert ChunkedDataset(opened).cut_in_time


def test_trained_from_a_store_and_from_parts(ds: xr.Dataset, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("zarr", minversion="3")
    store = pympnode.save_dataset(ds, tmp_path / "a.zarr", chunk=5)
    parts = pympnode.save_dataset(ds, tmp_path / "a")
    lazy = as_dataset(store, lazy=True)
    assert not lazy.state.variable._in_memory and lazy.split.variable._in_memory
    wanted = pympnode.train(data=ds.chunk(trajectory=5), chunks_in_memory=3, **RUN)
    found = pympnode.train(data=store, chunks_in_memory=3, **RUN)
    np.testing.assert_array_equal(found.model.theta, wanted.model.theta)
    # A small store, or parts, are loaded where nothing is asked for.
    plain = pympnode.train(data=ds, **RUN)
    for path in (store, parts):
        loaded = pympnode.train(data=str(path), **RUN)
        np.testing.assert_array_equal(loaded.model.theta, plain.model.theta)
    words = ["train", "--data", str(store), "--chunks-in-memory", "3", "--epochs", "1", "--json"]
    assert status_of([*words, "--kernel", "eager", "--out", str(tmp_path / "model.nc")]) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "completed"


@pytest.mark.parametrize(
    "options",
    [
        {"system": "kuramoto", "noise": 0.1, "graphs": 2},
        {"system": "kuramoto_controlled", "nodes": 4},
        pytest.param({"system": "quadrotors", "steps": 5}, marks=pytest.mark.slow),
    ],
)
def test_simulated_into_a_store(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In two blocks, with the numbers of one dataset in memory."""
    pytest.importorskip("zarr", minversion="3")
    from pympnode.networks import simulate

    monkeypatch.setattr(simulate, "CHUNK_BYTES", 1 << 12)
    monkeypatch.setattr(simulate, "BLOCK", 4)
    options = {"trajectories": 10, "steps": 6, **options}
    wanted = pympnode.simulate(**options)
    found = pympnode.simulate(**options, path=tmp_path / "a.zarr")
    assert {"c"} <= {p.name for p in next(tmp_path.glob("a.zarr/state*")).iterdir()}
    same(found, wanted)
    # The same call opens what is there, another one is refused.
    same(pympnode.simulate(**options, path=tmp_path / "a.zarr"), wanted)
    with pytest.raises(InvalidOption, match="data of another call") as refused:
        pympnode.simulate(**{**options, "seed": 1}, path=tmp_path / "a.zarr")
    assert "seed" in str(refused.value)
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]
    with pytest.raises(InvalidOption, match="into a Zarr store"):
        pympnode.simulate(**options, path=tmp_path / "a")
    (tmp_path / "given").mkdir()
    x = wanted[next(n for n in wanted.data_vars if n.startswith("state"))]
    if x.name == "state" and options["system"] == "kuramoto":
        given = {**options, "initial": x.values[:, 0], "noise": 0.0}
        same(
            pympnode.simulate(**given, path=tmp_path / "given" / "a.zarr"),
            pympnode.simulate(**given),
        )


@pytest.mark.parametrize("system", ["kuramoto", "kuramoto_controlled"])
def test_a_simulation_that_is_continued(
    system: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces that are complete are kept, and the bits are those of a call without an interruption."""
    pytest.importorskip("zarr", minversion="3")
    from pympnode.networks import simulate

    monkeypatch.setattr(simulate, "CHUNK_BYTES", 1 << 10)
    monkeypatch.setattr(simulate, "BLOCK", 4)
    options: dict[str, Any] = {"system": system, "trajectories": 18, "steps": 6, "graphs": 2}
    path = tmp_path / "a.zarr"
    made: list[int] = []
    original, limit = simulate.generate, 3

    def generate(*args: Any, **words: Any) -> Any:
        if len(made) == limit:
            raise KeyboardInterrupt
        made.append(words["first"])
        return original(*args, **words)

    monkeypatch.setattr(simulate, "generate", generate)
    with pytest.raises(KeyboardInterrupt):
        pympnode.simulate(**options, path=path)
    assert made == [0, 0, 4] and not path.exists()
    limit = 99
    for changed, word in (
        ({"seed": 1}, "seed"),
        ({"steps": 7}, "times"),
        ({"trajectories": 19}, "trajectories"),
        ({"parameters": {"coupling": 0.3}}, "parameters"),
    ):
        with pytest.raises(InvalidOption, match="data of another call") as refused:
            pympnode.simulate(**{**options, **changed}, path=path)
        assert word in str(refused.value)
    call = tmp_path / ".a.zarr.part" / "call.json"
    written = call.read_text()
    call.write_text("{not JSON")
    with pytest.raises(InvalidOption, match="data of another call"):
        pympnode.simulate(**options, path=path)
    call.write_text(written)
    made.clear()
    found = pympnode.simulate(**options, path=path)
    assert made == [0, 8, 12, 16]
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]
    whole = pympnode.simulate(**options, path=tmp_path / "b.zarr")
    same(found, whole)
    assert found.attrs == whole.attrs
    # A piece that cannot be read is made again.
    limit = len(made) + 4
    with pytest.raises(KeyboardInterrupt):
        pympnode.simulate(**options, path=tmp_path / "c.zarr")
    last = sorted((tmp_path / ".c.zarr.part").glob("piece-*"))[-1]
    last.write_bytes(b"no archive")
    limit = 99
    same(pympnode.simulate(**options, path=tmp_path / "c.zarr"), whole)


def test_damaged_stores(ds: xr.Dataset, tmp_path: Path) -> None:
    pytest.importorskip("zarr", minversion="3")

    def fresh(name: str) -> Path:
        return pympnode.save_dataset(ds, tmp_path / name, chunk=5)

    store = fresh("cut.zarr")
    lazy = as_dataset(store, lazy=True)
    chunk = store / "state" / "c" / "2" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-100])
    for lazily in (False, True):
        with pytest.raises(FileDamaged):
            pympnode.train(data=as_dataset(store, lazy=lazily), chunks_in_memory=3, **RUN)
    chunk.unlink()
    with pytest.raises(FileDamaged, match="chunks of 'state' are missing"):
        pympnode.open_dataset(store)
    with pytest.raises(FileDamaged, match="chunks of 'state' are missing") as caught:
        lazy.state.load()
    assert "state/c/2" in str(caught.value.got)
    np.testing.assert_array_equal(lazy.state[:5], ds.state[:5])  # those that are there
    store = fresh("record.zarr")
    text = (store / "zarr.json").read_text()
    (store / "zarr.json").write_text(text.replace("kuramoto", "kuramota"))
    with pytest.raises(FileDamaged, match="its record"):
        pympnode.open_dataset(store)
    store = fresh("edges.zarr")
    edge = next(p for p in (store / "sender").rglob("*") if p.name != "zarr.json" and p.is_file())
    edge.write_bytes((store / "receiver" / edge.relative_to(store / "sender")).read_bytes())
    with pytest.raises(FileDamaged, match="'sender'"):
        pympnode.open_dataset(store)


def test_what_is_not_saved(ds: xr.Dataset, tmp_path: Path, monkeypatch: Any) -> None:
    with pytest.raises(InvalidData, match="only a dataset"):
        pympnode.save_dataset(ds.state, tmp_path / "a.zarr")  # type: ignore[arg-type]
    with pytest.raises(InvalidOption, match="the ending of the path"):
        pympnode.save_dataset(ds, tmp_path / "a.h5")
    with pytest.raises(InvalidData, match="trajectories and times"):
        pympnode.save_dataset(ds[["sender"]], tmp_path / "a.zarr")
    pytest.importorskip("zarr", minversion="3")
    from pympnode.datasets.saving import ZarrWriter

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ZarrWriter, "write", full)
    with pytest.raises((CannotWrite, pympnode.errors.NotEnoughDisk)):
        pympnode.save_dataset(ds, tmp_path / "a.zarr")
    assert list(tmp_path.iterdir()) == [], "half a store is left"
