"""Checkpoints and the run folder of a training.

A run folder holds ``config.toml``, ``checkpoints/``, ``lock``, and at the end ``model.nc`` and
``history.nc``. A checkpoint is one netCDF file with all that the loop needs to continue bit for bit;
the one before it is kept, and read when the newest is damaged.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import path as path_of
from ..errors import (
    CannotWrite,
    CheckpointDamaged,
    FileDamaged,
    InvalidOption,
    MissingFile,
    NotEnoughDisk,
    PympnodeError,
    RunNotSaved,
    one_line,
)
from ..files import netcdf
from ..files.lock import hold_folder
from ..files.writing import (
    make_folder,
    own_folder,
    remove_half_written,
    require_space,
    writing,
)
from .optimiser import OptimiserState

HISTORY = (
    "loss",
    "validation_loss",
    "gradient_norm",
    "learning_rate",
    "seconds",
    "horizon",
    "updates",
)


@dataclass
class State:
    """All that a training loop needs from one epoch to the next.

    Vectors (member, size): ``theta``, the running ``mean`` of weights, and the ``best`` weights by
    validation. ``optimiser``: its named arrays (member, length). Arrays (member,): ``best_loss``,
    ``best_epoch``, ``since_best``, ``rate_factor``. ``updates``: number of updates
    that fit into the time budget; None without one. ``retries``: how often the run went back to its
    best weights; ``cause``: what it diverged by, in words; ``restart``: the update after which the
    optimiser started anew. ``extensions``: the epoch and the update at which epochs were added to the
    finished run, and how many (see `schedule.extended`). ``stop``: why a callback ended the run.
    """

    theta: NDArray
    mean: NDArray
    best: NDArray
    best_loss: NDArray[np.float64]
    best_epoch: NDArray[np.int64]
    since_best: NDArray[np.int64]
    rate_factor: NDArray[np.float64]
    count: int = 0
    epoch: int = 0
    seconds: float = 0.0
    epochs: int = 0
    updates: int | None = None
    status: str = "running"
    retries: int = 0
    cause: str = ""
    restart: int = 0
    stop: str = ""
    extensions: list[list[int]] = field(default_factory=list)
    history: dict[str, list[Any]] = field(default_factory=lambda: {k: [] for k in HISTORY})
    optimiser: dict[str, NDArray] = field(default_factory=dict)

    @classmethod
    def start(cls, theta: NDArray) -> State:
        """The state before the first update of ``theta`` (member, size)."""
        members = len(theta)
        return cls(
            theta=theta,
            mean=theta.copy(),
            best=theta.copy(),
            # Any finite loss is better than that of no epoch.
            best_loss=np.full(members, np.inf),
            best_epoch=np.full(members, -1),
            since_best=np.zeros(members, dtype=np.int64),
            rate_factor=np.ones(members),
        )


_VECTORS = ("theta", "mean", "best")
# The moments of Adam are named as in checkpoints of version 0.2; other arrays of an optimiser have a
# prefix, so that no name of a user's optimiser is one of the others.
_MOMENTS = ("first", "second")
_PREFIX = "optimiser_"
_BY_MEMBER = ("best_loss", "best_epoch", "since_best", "rate_factor")
_COUNTERS = (
    "count",
    "epoch",
    "seconds",
    "epochs",
    "updates",
    "status",
    "retries",
    "cause",
    "restart",
    "extensions",
    "stop",
)
# Which versions before 0.2 did not write.
_LATER = ("retries", "cause", "restart", "extensions", "stop")
_OF_RUN = ("seconds", "horizon", "updates")
STATUSES = ("running", "completed", "interrupted", "diverged")
_EPOCH = re.compile(r"epoch-(\d{6,18})\.nc")


def history_dataset(history: dict[str, list[Any]]) -> xr.Dataset:
    """History over ``epoch`` (and ``member``, of an ensemble): losses, gradient norm, learning rate,
    seconds since the start."""
    units = {"seconds": "s"}
    names = {"seconds": "time since the start", "horizon": "intervals in a window"}
    members = len(history["loss"][0]) if history["loss"] else 1
    variables = {}
    for name, values in history.items():
        dtype = np.int64 if name in ("horizon", "updates") else np.float64
        attrs = {
            "units": units.get(name, "1"),
            "long_name": names.get(name, name.replace("_", " ")),
        }
        array = np.array(values, dtype=dtype)
        dims: tuple[str, ...] = ("epoch",)
        if name not in _OF_RUN:
            array = array.reshape(len(values), members)
            if members > 1:
                dims = ("epoch", "member")
            else:
                array = array[:, 0]
        variables[name] = (dims, array, attrs)
    coords = {"epoch": np.arange(1, len(history["loss"]) + 1)}
    if members > 1:
        coords["member"] = np.arange(members)
    return xr.Dataset(variables, coords=coords)


def to_dataset(state: State, fingerprint: str = "") -> xr.Dataset:
    """A checkpoint as a dataset; ``fingerprint`` identifies the call that it belongs to."""
    ds = history_dataset(state.history)
    for name in _VECTORS:
        ds[name] = (("member", "parameter"), getattr(state, name))
    for name in _BY_MEMBER:
        ds[name] = ("member", getattr(state, name))
    for name, array in state.optimiser.items():
        name = name if name in _MOMENTS else _PREFIX + name
        ds[name] = (("member", f"length_{name}"), array)
    counters = {name: getattr(state, name) for name in _COUNTERS}
    for name in ("extensions", "stop"):
        if not counters[name]:
            del counters[name]
    ds["counters"] = ((), json.dumps(counters))
    if fingerprint:
        ds["fingerprint"] = ((), fingerprint)
    return netcdf.sealed(ds)


def from_dataset(
    ds: xr.Dataset, like: NDArray | None = None, optimiser: OptimiserState | None = None
) -> State:
    """The inverse of `to_dataset`.

    ``like`` (member, size): weights of the run, and ``optimiser``: a state of its optimiser, whose
    names and shapes those of the checkpoint must have.
    Raises `FileDamaged` where a part lacks, is of another kind or size, or contradicts another.
    """
    ds = netcdf.check_seal(ds, "the checkpoint")
    try:
        counters = json.loads(str(ds["counters"].values))
        arrays: dict[str, Any] = {name: ds[name].values.copy() for name in (*_VECTORS, *_BY_MEMBER)}
        history: dict[str, list[Any]] = {}
        for name in HISTORY:
            values = ds[name].values
            history[name] = (
                list(values) if name in _OF_RUN else [np.atleast_1d(row) for row in values]
            )
        numbers = {
            str(name).removeprefix(_PREFIX): ds[name].values.copy()
            for name in ds.data_vars
            if name in _MOMENTS or str(name).startswith(_PREFIX)
        }
        state = State(**arrays, **counters, history=history, optimiser=numbers)
        _check(state, counters, like, optimiser)
        return state
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, FileDamaged):
            raise
        raise FileDamaged(
            "the checkpoint is incomplete",
            got=f"{type(error).__name__}: {one_line(error)}",
            allowed="a checkpoint written by this package",
        ) from error


def _check(
    state: State,
    counters: dict[str, Any],
    like: NDArray | None,
    optimiser: OptimiserState | None,
) -> None:
    """Raise ValueError where parts of a state are of a wrong kind or contradict each other."""
    if not set(_COUNTERS) - set(_LATER) <= set(counters):
        raise ValueError(f"counters {', '.join(sorted(counters))}")
    if like is None:
        like = state.theta
    shape = np.shape(like)
    if len(shape) != 2 or like.dtype.kind != "f":
        raise ValueError(f"weights of dtype {like.dtype} and shape {shape}")
    for name in _VECTORS:
        values = getattr(state, name)
        if values.shape != shape or values.dtype != like.dtype:
            raise ValueError(f"{name} {values.dtype} {values.shape}, not {like.dtype} {shape}")
    for name in _BY_MEMBER:
        values = getattr(state, name)
        dtype = np.int64 if name in ("best_epoch", "since_best") else np.float64
        if values.shape != shape[:1] or values.dtype != dtype:
            raise ValueError(f"{name} {values.dtype} {values.shape}, not {shape[:1]}")
    if optimiser is not None and state.optimiser.keys() != optimiser.keys():
        raise ValueError(f"numbers of the optimiser: {', '.join(state.optimiser)}")
    for name, values in state.optimiser.items():
        if optimiser is not None and (values.shape, values.dtype) != (
            optimiser[name].shape,
            optimiser[name].dtype,
        ):
            raise ValueError(f"{name} of the optimiser {values.dtype} {values.shape}")
        if values.ndim != 2 or len(values) != shape[0] or values.dtype.kind != "f":
            raise ValueError(f"{name} of the optimiser {values.dtype} {values.shape}")
    for name in ("count", "epoch", "epochs", "updates", "retries", "restart"):
        value = getattr(state, name)
        if value is None and name == "updates":
            continue
        if type(value) is not int or value < 0:
            raise ValueError(f"{name} {one_line(repr(value))}")
    if type(state.seconds) not in (int, float) or not 0 <= state.seconds < np.inf:
        raise ValueError(f"seconds {one_line(repr(state.seconds))}")
    if not isinstance(state.cause, str) or state.restart > state.count:
        raise ValueError(f"cause {one_line(repr(state.cause))}, restart {state.restart}")
    numbers = [n for extension in state.extensions for n in extension]
    if any(len(e) != 3 for e in state.extensions) or any(type(n) is not int for n in numbers):
        raise ValueError(f"extensions {one_line(repr(state.extensions))}")
    if any(not 0 < e <= state.epoch or not 0 < u <= state.count or n < 1
           for e, u, n in state.extensions):  # fmt: skip
        raise ValueError(f"extensions {one_line(repr(state.extensions))}, epoch {state.epoch}")
    if state.status not in STATUSES:
        raise ValueError(f"status {one_line(repr(state.status))}")
    for name, rows in state.history.items():
        wide = name not in _OF_RUN
        dtype = np.int64 if name in ("horizon", "updates") else np.float64
        if len(rows) != state.epoch or any(
            np.shape(row) != (shape[:1] if wide else ()) or np.asarray(row).dtype != dtype
            for row in rows
        ):
            raise ValueError(f"{name} has {len(rows)} rows at epoch {state.epoch}")
    if state.epoch and state.count != state.history["updates"][-1]:
        raise ValueError(f"{state.count} updates, {state.history['updates'][-1]} in the history")
    if (state.best_epoch > state.epoch).any() or (state.since_best > state.epoch).any():
        raise ValueError(f"a best epoch after epoch {state.epoch}")


class Run:
    """A run folder with one writer at a time.

    ``config`` describes the call. Raises InvalidOption for what is no path and for the folder of
    another call, RunLocked where another process writes to it, FileDamaged where its description is
    not TOML, CannotWrite and NotEnoughDisk where it cannot be written.

    A save that fails later does not end the training: `problem` holds its error, with a warning.
    """

    def __init__(self, folder: str | os.PathLike[str], config: dict[str, Any]) -> None:
        self.folder = make_folder(path_of("run", folder))
        self.problem: PympnodeError | None = None  # why the last save failed
        self._gone = False
        self._unusable: list[Path] = []
        # Before the description is read: another process may be writing it.
        lock = self.folder / "lock"
        self._lock = hold_folder(
            lock, "the run folder", fix="wait for it, stop it, or name another folder with run="
        )
        try:
            self._identity = _identity(lock)
            self._claim(config)
            own_folder(self.checkpoints)
            for folder, names in (
                (self.folder, ("config.toml.*", "model.nc.*", "history.nc.*")),
                (self.checkpoints, ("epoch-*",)),
            ):
                for name in names:
                    remove_half_written(folder, name)
        except BaseException:
            self.close()
            raise

    def _claim(self, config: dict[str, Any]) -> None:
        import tomllib

        import tomli_w

        path = self.folder / "config.toml"
        text = tomli_w.dumps(config)
        # As TOML reads it back: tuples have become lists.
        now = tomllib.loads(text)
        self.fingerprint = netcdf.checksum(json.dumps(now, sort_keys=True, default=str))
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise FileDamaged(
                f"{str(path)!r} is no file",
                got="a link" if path.is_symlink() else "a folder or a device",
                allowed="the file that the run wrote",
                fix="restore it, or name another run folder",
            )
        if path.exists():
            try:
                before = tomllib.loads(path.read_text(encoding="utf-8"))
            except (ValueError, RecursionError, OSError) as error:  # TOML and UTF-8 are ValueErrors
                raise FileDamaged(
                    f"{str(path)!r} is not TOML",
                    got=one_line(error),
                    allowed="the file that the run wrote",
                    fix="restore it, or name another run folder",
                ) from error
            if before != now:
                changed = _differences(before, now)
                raise InvalidOption(
                    f"the run folder {str(self.folder)!r} belongs to another call",
                    got="; ".join(changed[:5]),
                    allowed="the same call, which continues where it stopped",
                    fix="name another folder with run=, or repeat the call that made this one; that "
                    "call with extend= adds epochs",
                )
            self._is_described = True
            return
        self._is_described = False
        if not self.checkpoints.is_symlink():
            self._refuse_other_checkpoints()
        netcdf.write_bytes(path, text.encode())

    def _refuse_other_checkpoints(self) -> None:
        """Raise InvalidOption where a folder without a description holds states of another call."""
        for path in reversed(self._all()):
            try:
                found = _fingerprint_of(netcdf.read_netcdf(path, checksums=True))
            except PympnodeError:
                continue  # damaged: it is passed over when it is read
            if found != self.fingerprint:
                raise InvalidOption(
                    f"the run folder {str(self.folder)!r} holds checkpoints of another call",
                    got=f"{path.name} "
                    + ("without the name of its call" if found is None else "of another call")
                    + ", and no config.toml",
                    allowed="the same call, or a folder without checkpoints",
                    fix="name another folder with run=, restore config.toml, or remove checkpoints/",
                )

    def within(self, name: str, config: dict[str, Any]) -> Run:
        """The run folder of a part of this run, for a call of its own."""
        return Run(self.folder / name, config)

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / "checkpoints"

    def require_space(self, theta: NDArray) -> None:
        """Raise unless two checkpoints and a model of weights ``theta`` (member, size) fit.

        Before the first update: what is trained for hours is not to find a full disk.
        Raises `NotEnoughDisk`, `CannotWrite`.
        """
        state = State.start(theta)
        one = netcdf.bytes_in_file(to_dataset(state))
        require_space(self.checkpoints, "the checkpoints of the run", one, 3 * one)

    def save(self, state: State) -> None:
        """Write a checkpoint; the one before is kept, older ones are deleted.

        Where that fails, `RunNotSaved` is warned of and `problem` is set; the next save may succeed.
        """
        # Two are kept: a crash while the newest is on its way to the disk leaves the one before.
        path = self.checkpoints / f"epoch-{state.epoch:06d}.nc"

        def write() -> None:
            ds = to_dataset(state, self.fingerprint)
            netcdf.write_netcdf(ds, own_folder(self.checkpoints) / path.name, checksums=True)
            for old in self._unusable:
                if old != path:
                    _remove(old)
            self._unusable = []
            for old in [p for p in self._all() if _epoch(p) <= state.epoch][:-2]:
                _remove(old)

        self.attempt(write, f"the checkpoint of epoch {state.epoch}")

    def attempt(self, write: Callable[[], object], what: str) -> bool:
        """Call ``write``; whether it succeeded. Warns `RunNotSaved` where it did not."""
        if not self._is_ours():
            return False
        try:
            write()
        except (CannotWrite, NotEnoughDisk, InvalidOption) as error:
            # Once a kind of error: a disk that stays full is told of once, not every 10 seconds.
            if type(error) is not type(self.problem):
                warnings.warn(
                    f"{what} was not saved, and the training goes on: {error}",
                    RunNotSaved,
                    stacklevel=3,
                )
            self.problem = error
            return False
        self.problem = None
        return True

    def _is_ours(self) -> bool:
        """Whether the folder and its lock are still those that were opened; warns once if not."""
        try:
            gone = _identity(self.folder / "lock") != self._identity
        except OSError:
            gone = (
                False  # the disk does not answer now: the save itself says so, and the next may do
            )
        if gone and not self._gone:
            self._gone = True
            self.problem = CannotWrite(
                f"the run folder {str(self.folder)!r} or its lock was removed while the run trained",
                got="no lock file, or another one",
                allowed="the folder as the run made it",
                fix="the training goes on in memory; save its result with result.save(path)",
            )
            warnings.warn(str(self.problem), RunNotSaved, stacklevel=4)
        return not self._gone

    def load(
        self, like: NDArray | None = None, optimiser: OptimiserState | None = None
    ) -> State | None:
        """The newest complete checkpoint, or None; a damaged one is skipped with a warning.

        ``like`` (member, size): first weights of the run, ``optimiser``: the first state of its
        optimiser; a checkpoint of other shapes is damaged.
        """
        skipped: list[str] = []
        found = None
        for path in reversed(self._all()):
            try:
                ds = netcdf.read_netcdf(path, checksums=True)
                of_call = _fingerprint_of(ds)
                if of_call is not None and of_call != self.fingerprint:
                    raise FileDamaged("it belongs to another call", got="another fingerprint")
                found = from_dataset(ds, like, optimiser)
                break
            except (FileDamaged, MissingFile) as error:
                skipped.append(f"{path.name}: {error.message} (got {one_line(error.got)})")
                self._unusable.append(path)
        if skipped:
            many = len(skipped) > 1
            then = (
                "the one before is read"
                if found is not None
                else "no other is left, so that the run starts over"
            )
            warnings.warn(
                f"{len(skipped)} checkpoint{'s are' if many else ' is'} damaged and {then}: "
                + "; ".join(skipped),
                CheckpointDamaged,
                stacklevel=2,
            )
        return found

    def _all(self) -> list[Path]:
        """The checkpoints by epoch; other names are not ours."""
        if not self.checkpoints.is_dir():
            return []
        with writing(self.checkpoints):
            found = [p for p in self.checkpoints.iterdir() if _EPOCH.fullmatch(p.name)]
        return sorted((p for p in found if p.is_file()), key=_epoch)

    def close(self) -> None:
        """Release the folder; harmless when called twice."""
        self._lock.release()


def _epoch(path: Path) -> int:
    found = _EPOCH.fullmatch(path.name)
    return int(found[1]) if found else -1


def _fingerprint_of(ds: xr.Dataset) -> str | None:
    """The fingerprint in a checkpoint; None in those of version 0.1, which have none."""
    return str(ds["fingerprint"].values) if "fingerprint" in ds else None


def _identity(path: Path) -> tuple[int, int] | None:
    """What tells a file from another of the same name; None where there is none.

    Raises OSError where the disk does not answer.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _differences(before: dict[str, Any], now: dict[str, Any], at: str = "") -> list[str]:
    """Entries of nested tables that differ, as "table.name was a, is b"."""
    found = []
    for name in sorted({*before, *now}):
        a, b = before.get(name), now.get(name)
        if isinstance(a, dict) and isinstance(b, dict):
            found += _differences(a, b, f"{at}{name}.")
        elif a != b:
            found.append(f"{at}{name} was {a!r}, is {b!r}")
    return found
