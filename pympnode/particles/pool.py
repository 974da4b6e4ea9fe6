"""Particle datasets on disk, made trajectory by trajectory, part by part, over threads.

A finished trajectory goes to ``building/`` in one step, `PART` of them become a part, and the part
enters the index: a run that is killed loses only the trajectories that were being computed.
"""

from __future__ import annotations

import io
import json
import logging
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..datasets.names import TRAJECTORY
from ..datasets.parts import (
    INDEX,
    PART,
    Index,
    open_part,
    open_parts,
    part_name,
    read_index,
    require_disk,
    write_index,
)
from ..errors import FileDamaged, InvalidData, MissingFile, one_line
from ..files import netcdf
from ..files.lock import hold_folder
from ..files.writing import own_folder, remove_half_written, writing
from ..memory import format_bytes
from ..training.progress import Progress
from . import schema
from .parallel import compute_all
from .recipe import Given, Recipe

log = logging.getLogger("pympnode.data")
BUILDING, LOCK = "building", ".lock"
_GIVEN = "start.npz"


def make_parts(
    recipe: Recipe,
    given: Given | None,
    folder: Path,
    workers: int,
    progress: Progress,
    client: Any = None,
) -> xr.Dataset:
    """Make or continue the dataset of a recipe in a folder; returns it, opened lazily.

    Raises InvalidData if the folder holds another dataset, RunLocked if another process writes
    to it, NotEnoughDisk before the first byte, CannotWrite.
    """
    with writing(folder / INDEX):
        return _make_parts(recipe, given, folder, workers, progress, client)


def _make_parts(
    recipe: Recipe,
    given: Given | None,
    folder: Path,
    workers: int,
    progress: Progress,
    client: Any,
) -> xr.Dataset:
    found = _matching_index(recipe, given, folder)
    index = _without_damaged(found, folder)
    damaged = set(found.finished) - set(index.finished)
    todo = [part for part in range(index.parts) if part not in index.finished]
    missing = sum(len(index.members(part)) for part in todo)
    if todo:
        # While a part is written, its single trajectories are on the disk too.
        needed = recipe.trajectory_bytes * (missing + min(PART, missing))
        needed -= sum(file.stat().st_size for file in (folder / BUILDING).glob("*.npz"))
        free = require_disk(folder, max(needed, 0))
        log.info(
            "%s of particles to write to %s, %s free",
            format_bytes(needed), folder, "unknown" if free is None else format_bytes(free),
        )  # fmt: skip
        fix = "wait for it, or choose another path"
        with hold_folder(folder / LOCK, "the dataset", fix=fix):
            # Another process may have written between the first look and the lock.
            found = _matching_index(recipe, given, folder)
            whole = tuple(part for part in found.finished if part not in damaged)
            index = replace(found, finished=whole)
            if not (folder / INDEX).exists():
                if given is not None:
                    netcdf.write_bytes(folder / _GIVEN, _as_npz(given.arrays()))
                write_index(folder, index)
            _fill(recipe, given, index, folder, workers, progress, client)
    return open_parts(folder)


def _matching_index(recipe: Recipe, given: Given | None, folder: Path) -> Index:
    """The index in the folder, or a new one; InvalidData if the folder holds something else."""
    index = read_index(folder)
    text = recipe.to_json()
    if index is None:
        names = sorted(f.name for f in folder.iterdir()) if folder.exists() else []
        # A run that was killed before its index leaves the start states, also half-written.
        ours = {LOCK, _GIVEN, *(n for n in names if n.startswith(".") and n.endswith(".part"))}
        if set(names) - ours:
            raise InvalidData(
                f"{str(folder)!r} is not empty and holds no dataset of particles",
                got=", ".join(names[:5]),
                allowed="a new or empty folder, or one that the same call has begun",
            )
        return Index(text, recipe.trajectories, ())
    old, new = json.loads(index.recipe), json.loads(text)
    other = sorted(k for k in new if k != "version" and old.get(k) != new[k])
    if other or not _same_start(given, folder / _GIVEN):
        raise InvalidData(
            f"{str(folder)!r} holds another dataset",
            got=", ".join(f"{k}={old.get(k)!r}" for k in other) or "other start states",
            allowed=", ".join(f"{k}={new[k]!r}" for k in other) or "the same start states",
            fix="choose another path, or the same options to continue",
        )
    return index


def _same_start(given: Given | None, path: Path) -> bool:
    """Whether the start states kept at ``path`` are the given ones; drawn ones are not kept."""
    if given is None or not path.exists():
        return given is None and not path.exists()
    new = given.arrays()
    try:
        with np.load(path, allow_pickle=False) as old:
            return new.keys() == set(old) and all(np.array_equal(new[k], old[k]) for k in new)
    except _DAMAGED as error:
        raise FileDamaged(
            f"the start states {str(path)!r} cannot be read",
            got=f"{type(error).__name__}: {one_line(error)}",
            allowed="the file as it was written",
            fix="restore it, or choose another path",
        ) from error


def _without_damaged(index: Index, folder: Path) -> Index:
    """``index`` without parts whose files are missing or cannot be opened: they are made again."""
    kept = []
    for part in index.finished:
        try:
            found = open_part(folder / part_name(part)).sizes.get(TRAJECTORY)
            if found == len(index.members(part)):
                kept.append(part)
                continue
            reason = f"{found} trajectories"
        except (FileDamaged, MissingFile) as error:
            reason = error.message
        log.warning("part %d of %s is made again: %s", part, folder, reason)
    return replace(index, finished=tuple(kept))


def _piece(path: Path, like: dict[str, np.ndarray]) -> dict[str, np.ndarray] | None:
    """The arrays of a finished trajectory; None where the file is damaged.

    ``like``: arrays (trajectory, ...) whose rows it must fit. The checksums of zip files are compared
    on reading.
    """
    try:
        with np.load(path, allow_pickle=False) as single:
            arrays = {name: single[name] for name in like}
    except FileNotFoundError:
        return None
    except _DAMAGED as error:
        log.warning("%s is damaged and made again: %s", path, one_line(error))
        return None
    for name, values in arrays.items():
        if values.shape != like[name].shape[1:] or values.dtype != like[name].dtype:
            log.warning("%s holds another trajectory and is made again", path)
            return None
    return arrays


# What NumPy and zipfile raise for files that are cut short or changed.
_DAMAGED = (ValueError, KeyError, EOFError, OSError, zipfile.BadZipFile, NotImplementedError,
            RuntimeError, MemoryError, SyntaxError)  # fmt: skip


def _fill(
    recipe: Recipe,
    given: Given | None,
    index: Index,
    folder: Path,
    workers: int,
    progress: Progress,
    client: Any,
) -> None:
    """Compute the trajectories that are missing, and make parts of them as they are complete."""
    building = own_folder(folder / BUILDING)
    for half_written in (building, folder):
        remove_half_written(half_written)
    for part in index.finished:  # killed after the index was written, before its files were removed
        for i in index.members(part):
            _single(building, i).unlink(missing_ok=True)
    parts = [part for part in range(index.parts) if part not in index.finished]
    one = recipe.empty(1)
    waiting = {
        p: {i for i in index.members(p) if _piece(_single(building, i), one) is None} for p in parts
    }
    jobs = [i for part in parts for i in sorted(waiting[part])]
    made = index.trajectories - len(jobs)

    def store(i: int, arrays: dict[str, np.ndarray]) -> None:
        netcdf.write_bytes(_single(building, i), _as_npz(arrays))

    def on_done(i: int) -> None:
        nonlocal index, made
        made += 1
        progress.update(made, {})
        waiting[i // PART].discard(i)
        if not waiting[i // PART]:
            index = _finish(recipe, index, folder, i // PART)

    for part in parts:
        if not waiting[part]:
            index = _finish(recipe, index, folder, part)
    progress.start(index.trajectories, made, recipe.title)
    try:
        compute_all(recipe, given, jobs, workers, store, on_done, client)
    finally:
        progress.stop()
    if index.complete and not any(building.iterdir()):
        building.rmdir()


def _finish(recipe: Recipe, index: Index, folder: Path, part: int) -> Index:
    """Write a part from its single trajectories, enter it in the index, delete the single ones."""
    members = index.members(part)
    paths = [_single(folder / BUILDING, i) for i in members]
    arrays = recipe.empty(len(members))
    for row, path in enumerate(paths):
        single = _piece(path, arrays)
        if single is None:  # damaged since it was looked at: the next call makes it again
            raise FileDamaged(
                f"{str(path)!r} was damaged while the dataset was made",
                got=str(path),
                fix="repeat the call: it makes this trajectory again",
            )
        for name, values in arrays.items():
            values[row] = single[name]
    labels = recipe.labels()
    ds = schema.unpack_particles(
        **arrays, time=recipe.time, first=members.start, about=recipe.about(),
        split=None if labels is None else labels[members.start : members.stop],
    )  # fmt: skip
    netcdf.write_netcdf(ds, folder / part_name(part), checksums=True)
    index = replace(index, finished=tuple(sorted((*index.finished, part))))
    write_index(folder, index)
    for path in paths:
        path.unlink()
    return index


def _single(building: Path, number: int) -> Path:
    return building / f"trajectory-{number:06d}.npz"


def _as_npz(arrays: dict[str, np.ndarray]) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]
    return stream.getvalue()
