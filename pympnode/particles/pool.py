"""Large particle datasets made over processes, trajectory by trajectory, part by part.

Each worker is a fresh Python process that reads one line of JSON for each trajectory and answers
with one; it ends when its input closes, also when this process is killed. A finished trajectory
goes to ``building/`` in one step, 64 of them become a part, and the part enters the index: at any
instant a killed run loses only the trajectories that were being computed.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import xarray as xr

from ..datasets.parts import (
    INDEX,
    Index,
    open_parts,
    part_name,
    read_index,
    require_disk,
    write_index,
)
from ..errors import InvalidData, RunLocked
from ..files import netcdf as storage
from ..files.memory import in_words
from . import schema as particle_schema
from .crew import computed
from .meter import Meter, Progress
from .recipe import Given, Recipe

log = logging.getLogger("pympnode.data")
BUILDING = "building"
_GIVEN = "start.npz"


def make_parts(
    recipe: Recipe,
    given: Given | None,
    folder: Path,
    workers: int,
    progress: Progress | bool | None,
) -> xr.Dataset:
    """Make (or go on making) the dataset of a recipe in a folder; the lazy Dataset when whole.

    Raises InvalidData if the folder holds another dataset, RunLocked if another process writes
    to it, NotEnoughDisk before the first byte.
    """
    index = _agree(recipe, given, folder)
    todo = [p for p in range(index.parts) if p not in index.whole]
    missing = sum(len(index.members(part)) for part in todo)
    if todo:
        spool = recipe.trajectory_bytes * min(64, missing)  # a part and its single trajectories
        needed = recipe.trajectory_bytes * missing + spool - _bytes_in(folder / BUILDING)
        free = require_disk(folder, max(needed, 0))
        log.info(
            "%s of particles to write to %s, %s free", in_words(needed), folder, in_words(free)
        )
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder):
            index = _agree(recipe, given, folder)
            if not (folder / INDEX).exists():
                _keep_given(given, folder)
                write_index(folder, index)
            index = _fill(recipe, index, folder, workers, progress)
    return open_parts(folder)


def _agree(recipe: Recipe, given: Given | None, folder: Path) -> Index:
    """The index in the folder, or a fresh one; InvalidData if the folder holds something else."""
    index = read_index(folder)
    text = recipe.to_json()
    if index is None:
        if folder.exists() and any(f for f in folder.iterdir() if f.name not in (".lock",)):
            raise InvalidData(
                f"{str(folder)!r} is not empty and holds no dataset of ours",
                got=", ".join(sorted(f.name for f in folder.iterdir())[:5]),
                allowed="a new or empty folder, or one that the same call has begun",
            )
        return Index(text, recipe.trajectories, ())
    old, new = json.loads(index.recipe), json.loads(text)
    other = sorted(k for k in new if k != "version" and old.get(k) != new[k])
    if other or not _same_given(given, folder):
        raise InvalidData(
            f"{str(folder)!r} holds another dataset",
            got=", ".join(f"{k}={old.get(k)!r}" for k in other) or "other start states",
            allowed=", ".join(f"{k}={new[k]!r}" for k in other) or "the same start states",
            fix="choose another path, or the same options to go on",
        )
    return index


def _fill(
    recipe: Recipe, index: Index, folder: Path, workers: int, progress: Progress | bool | None
) -> Index:
    building = folder / BUILDING
    building.mkdir(exist_ok=True)
    for left in [*building.glob(".*.part"), *folder.glob(".*.part")]:
        left.unlink()  # half-written by a run that was killed
    for part in index.whole:  # killed between the index and the tidying up
        for i in index.members(part):
            _single(building, i).unlink(missing_ok=True)
    parts = [p for p in range(index.parts) if p not in index.whole]
    waiting = {p: {i for i in index.members(p) if not _single(building, i).exists()} for p in parts}
    jobs = [i for p in parts for i in sorted(waiting[p])]
    done = index.trajectories - len(jobs)
    meter = Meter(index.trajectories, done, progress, f"{recipe.system}, {in_words(recipe.bytes)}")
    for part in [p for p in parts if not waiting[p]]:
        index = _finish(recipe, index, folder, part)
    for done in computed(folder, jobs, min(workers, max(len(jobs), 1))):
        meter.add()
        part = done // 64
        waiting[part].discard(done)
        if not waiting[part]:
            index = _finish(recipe, index, folder, part)
    if index.complete and not any(building.iterdir()):
        building.rmdir()
    return index


def _finish(recipe: Recipe, index: Index, folder: Path, part: int) -> Index:
    """Single trajectories to a part, the part to the index, the single ones away."""
    members = index.members(part)
    paths = [_single(folder / BUILDING, i) for i in members]
    shape = (len(members), recipe.steps + 1, recipe.particles, recipe.dims)
    position, velocity = np.empty(shape, recipe.dtype), np.empty(shape, recipe.dtype)
    mass = np.empty(shape[::2], recipe.dtype)
    charge = np.empty_like(mass) if recipe.system == "coulomb" else None
    for row, path in enumerate(paths):
        with np.load(path, allow_pickle=False) as single:
            position[row], velocity[row] = single["position"], single["velocity"]
            mass[row] = single["mass"]
            if charge is not None:
                charge[row] = single["charge"]
    labels = recipe.labels()
    ds = particle_schema.unpack_particles(
        position, velocity, mass, recipe.time, charge=charge, first=members.start,
        split=None if labels is None else labels[members.start : members.stop],
        about=recipe.about(),
    )  # fmt: skip
    storage.write_netcdf(ds, folder / part_name(part))
    index = replace(index, whole=tuple(sorted((*index.whole, part))))
    write_index(folder, index)
    for path in paths:
        path.unlink()
    return index


def _single(building: Path, index: int) -> Path:
    return building / f"trajectory-{index:06d}.npz"


# ---- the folder -------------------------------------------------------------------------------


def write_single(building: Path, index: int, arrays: dict[str, np.ndarray]) -> None:
    """One finished trajectory, put in place in one step (called by the workers)."""
    path = _single(building, index)
    beside = building / f".{path.name}.{os.getpid()}.part"
    with open(beside, "wb") as stream:
        np.savez(stream, **arrays)  # type: ignore[arg-type]
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(beside, path)


def _keep_given(given: Given | None, folder: Path) -> None:
    if given is None:
        return
    beside = folder / f".{_GIVEN}.part"
    with open(beside, "wb") as stream:
        np.savez(stream, **_stacked(given))  # type: ignore[arg-type]
    os.replace(beside, folder / _GIVEN)


def read_given(folder: Path) -> dict[str, np.ndarray] | None:
    """The start states kept in a folder, stacked over trajectory; None if they are drawn."""
    path = folder / _GIVEN
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def _stacked(given: Given) -> dict[str, np.ndarray]:
    names = ["position", "velocity", "mass"]
    names += ["charge"] if given.states[0].charge is not None else []
    return {name: np.stack([getattr(s, name) for s in given.states]) for name in names}


def _same_given(given: Given | None, folder: Path) -> bool:
    stored = read_given(folder)
    if given is None or stored is None:
        return (given is None) == (stored is None)
    new = _stacked(given)
    return new.keys() == stored.keys() and all(np.array_equal(new[k], stored[k]) for k in new)


def _bytes_in(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.glob("*.npz")) if folder.exists() else 0


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the folder against a second writer; the system lets go when the process ends."""
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    with open(folder / ".lock", "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RunLocked(
                f"another process is writing to {str(folder)!r}",
                got=str(folder / ".lock"),
                fix="wait for it, or choose another path",
            ) from error
        yield
