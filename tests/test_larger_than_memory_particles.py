"""Particles that are trained on chunk by chunk."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from test_training import stop_after

import pympnode
from pympnode.datasets.names import SPLIT
from pympnode.errors import InvalidData, InvalidOption, PympnodeWarning
from pympnode.particles.bodies import BodySizes, body_spreads
from pympnode.particles.schema import pack_particles
from pympnode.particles.streamed_task import StreamedSteps, StreamedStepTask
from pympnode.particles.task import StepTask

pytest.importorskip("dask.array")
pytestmark = pytest.mark.filterwarnings("ignore::pympnode.errors.PympnodeWarning")

RUN: dict[str, Any] = dict(epochs=1, batch_size=20, progress=False, device="cpu", kernel="eager")


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    return pympnode.simulate("gravity", particles=5, trajectories=12, steps=12)


@pytest.fixture(scope="module")
def bodies(ds: xr.Dataset) -> xr.Dataset:
    """Masses that differ, the same in each pair of trajectories."""
    mass = np.repeat(np.random.default_rng(0).uniform(0.1, 9.0, (6, 5)), 2, axis=0)
    return ds.assign(mass=(ds.mass.dims, mass))


def task_of(data: xr.Dataset, **options: Any) -> StepTask:
    from pympnode.halves import PARTICLES

    words = {**RUN, "dtype": "float64", **options}
    task = PARTICLES.prepare(None, [data], PARTICLES.Training(**words), None).task
    assert isinstance(task, StepTask)
    return task


def streamed(data: xr.Dataset, **options: Any) -> StreamedStepTask:
    task = task_of(data, chunks_in_memory=3, **options)
    assert isinstance(task, StreamedStepTask)
    return task


def epoch(task: StreamedStepTask, seed: int = 0) -> list[StreamedSteps]:
    found = list(task.batches(1, np.random.default_rng(seed)))
    assert all(isinstance(batch, StreamedSteps) for batch in found)
    return found  # type: ignore[return-value]


def taken(batches: list[StreamedSteps]) -> list[tuple[int, float]]:
    return [(int(n), float(t)) for b in batches for n, t in zip(b.number, b.begin)]


@pytest.mark.parametrize("options", [{}, {"augment": True, "model": "hierarchical_deltagn"}])
def test_one_chunk_has_the_bits_of_data_in_memory(
    bodies: xr.Dataset, options: dict[str, Any]
) -> None:
    plain = pympnode.train(data=bodies, **RUN, **options)
    one = pympnode.train(data=bodies.chunk(), **RUN, **options)
    np.testing.assert_array_equal(one.model.theta, plain.model.theta)
    np.testing.assert_array_equal(one.history.loss, plain.history.loss)
    assert one.model.trained == plain.model.trained and one.model.scales == plain.model.scales
    assert "1 chunks" in one.history.attrs["data"]


@pytest.mark.parametrize("recorded", [True, False])
def test_scales_and_gradients_are_those_of_all_data(bodies: xr.Dataset, recorded: bool) -> None:
    """``recorded``: with the softening; without, it is found from distances of neighbours."""
    if not recorded:
        bodies = bodies.drop_attrs()
        label = np.where(np.arange(12) % 4 == 3, "validation", "train")
        bodies = bodies.assign({SPLIT: ("trajectory", label)})
    plain = task_of(bodies)
    task = streamed(bodies.chunk(trajectory=(3, 4, 2, 2, 1)))
    for name, value in plain.program.scales.as_dict().items():
        np.testing.assert_allclose(task.program.scales.as_dict()[name], value, rtol=1e-12)
    assert task.program.spec == plain.program.spec and task.program.spec.weighted
    theta = 0.1 * np.random.default_rng(0).normal(size=task.size)
    batches = epoch(task)
    assert {len(b.time) for b in batches} == {20} and len(batches) == plain.count(1)
    chosen = taken(batches)
    assert len(set(chosen)) == len(chosen)
    train = {int(n) for n in np.flatnonzero(bodies[SPLIT].values == "train")}
    assert len(chosen) == 20 * plain.count(1) and {number for number, _ in chosen} <= train
    times = bodies.time.values
    from pympnode.particles.task import Steps

    for batch in batches:
        number, time = batch.number, np.searchsorted(times, batch.begin)
        wanted = plain.loss(theta, Steps(0, number, time, batch.rotation))
        found = task.loss(theta, batch)
        np.testing.assert_allclose(found[0], wanted[0], rtol=1e-9)
        np.testing.assert_allclose(found[1], wanted[1], rtol=1e-7, atol=1e-10)
        parts = [task.part(batch, rank, 2) for rank in (0, 1)]
        values = [task.loss(theta, part)[0] * weight for part, weight in parts if part]
        np.testing.assert_allclose(sum(values), found[0], rtol=1e-9)
    # Other epochs: other steps, and chunks in another order.
    assert taken(epoch(task)) == chosen != taken(epoch(task, 1))
    one = batches[0].subset(slice(3, 4))
    assert f"trajectory {one.number[0]}," in task.worst(theta, one)
    assert f"time {one.begin[0]:.6g}" in task.worst(theta, one)


def test_a_short_epoch_reads_some_chunks(ds: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    task = streamed(ds.chunk(trajectory=1).assign({SPLIT: ds[SPLIT].copy(data=["train"] * 12)}))
    task.batch_size, task._updates, task._filled = 1, 20, np.array([144])
    used = [set(n for n, _ in taken(epoch(task, seed))) for seed in range(4)]
    assert all(len(one) == 2 for one in used) and len(set.union(*used)) > 2
    monkeypatch.setattr(task, "_updates", 144)
    assert len(set(taken(epoch(task)))) == 144


def test_chunks_are_released(ds: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    task = streamed(ds.chunk(trajectory=1))
    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most, original = 0, task.stream.arrays

    def arrays(chunk: int) -> Any:
        nonlocal most
        found = original(chunk)
        alive.add(found)
        most = max(most, len(alive))
        return found

    monkeypatch.setattr(task.stream, "arrays", arrays)
    batches = epoch(task)
    assert task.stream.group == 1 and len({n for n, _ in taken(batches)}) > 4
    # In use, read ahead, and for an instant the one that was used before; batches hold copies.
    assert most <= 3


def test_a_run_that_is_continued_has_the_same_batches(ds: xr.Dataset, tmp_path: Path) -> None:
    data = ds.chunk(trajectory=3)
    options = {**RUN, "epochs": 4, "data": data, "chunks_in_memory": 3}
    whole = pympnode.train(**options)
    with pytest.raises(KeyboardInterrupt):
        stop_after({**options, "run": tmp_path / "run"}, updates=7)
    resumed = pympnode.train(**options, run=tmp_path / "run")
    np.testing.assert_array_equal(resumed.model.theta, whole.model.theta)
    for changed in (
        {"data": ds.chunk(trajectory=4)},
        {"data": data.assign(position=data.position + 1e-9)},
    ):
        with pytest.raises(InvalidOption, match="belongs to another call"):
            pympnode.train(**{**options, **changed}, run=tmp_path / "run")


def test_a_folder_of_parts_and_chunks_in_time(tmp_path: Path) -> None:
    long = pympnode.simulate("gravity", particles=3, trajectories=1, steps=2100)
    long = long.drop_vars("split").drop_attrs()
    pympnode.save_dataset(long, tmp_path / "parts")
    task = streamed(long.chunk(time=1000))
    # The first chunks train; the last one validates.
    assert [c.times for c in task.stream.chunks] == [1000, 1101]
    number, begin = np.array(taken(epoch(task))[:5]).T
    assert (number == 0).all() and (begin < long.time.values[999]).all()
    batch = epoch(task)[0]
    at = np.searchsorted(long.time.values, batch.begin)
    np.testing.assert_array_equal(batch.source.position[:, 0], long.position.values[0, at])
    np.testing.assert_array_equal(batch.source.position[:, 1], long.position.values[0, at + 1])
    result = pympnode.train(data=tmp_path / "parts", chunks_in_memory=3, **RUN)
    assert result.status == "completed"


def test_sizes_of_bodies_in_parts(bodies: xr.Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = pack_particles(bodies)
    train = np.arange(0, 12, 3)
    wanted = body_spreads(arrays, train)
    cuts = [np.arange(0, 5), np.arange(5, 12)]
    parts = [pack_particles(bodies.isel(trajectory=cut)) for cut in cuts]
    sizes = [BodySizes.of(p, np.flatnonzero(cut % 3 == 0)) for p, cut in zip(parts, cuts)]
    joined = sizes[0].joined(sizes[1])
    np.testing.assert_allclose(joined.spreads(arrays), wanted, rtol=1e-12)
    monkeypatch.setattr("pympnode.particles.bodies._MOST_BYTES", 0)
    few = sizes[0].joined(sizes[1])
    assert len(few.groups) < 6
    assert np.isfinite(few.spreads(arrays)).all()


def test_what_is_refused(ds: xr.Dataset) -> None:
    with pytest.raises(InvalidOption, match="several datasets are not read chunk by chunk"):
        pympnode.train(data=[ds.chunk(), ds.chunk()], **RUN)
    with pytest.raises(InvalidOption, match="chunks_in_memory"):
        pympnode.train(data=ds, chunks_in_memory=2, **RUN)
    bad = ds.position.values.copy()
    bad[7, 3, 1, 0] = np.nan
    with pytest.raises(InvalidData, match="not finite"):
        pympnode.train(data=ds.assign(position=(ds.position.dims, bad)).chunk(trajectory=2), **RUN)
    with pytest.raises(InvalidData, match="needs 'velocity'"):
        pympnode.train(data=ds.drop_vars("velocity").chunk(), **RUN)
    # Windows cut from one path are split at random, with a warning.
    path = pympnode.simulate("gravity", particles=3, trajectories=1, steps=60).drop_vars("split")
    windows = xr.concat(
        [path.isel(time=slice(i, i + 11)).assign_coords(time=path.time[:11]) for i in range(0, 50, 10)],
        "trajectory",
    ).assign_coords(trajectory=np.arange(5)).drop_attrs()  # fmt: skip
    with pytest.warns(PympnodeWarning, match="pieces of 1 paths"):
        pympnode.train(data=windows.chunk(), **RUN)
