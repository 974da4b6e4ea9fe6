"""Checkpoints and the run folder of a training.

A run folder holds ``config.toml``, ``checkpoints/``, ``lock``, and at the end ``model.nc`` and
``history.nc``. A checkpoint is one netCDF file with all that the loop needs to continue bit for bit;
the one before it is kept, and read when the newest is damaged.
"""

from __future__ import annotations

import json
import os
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import CheckpointDamaged, FileDamaged, InvalidOption
from ..files import netcdf
from ..files.lock import hold_folder

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

    Vectors (member, size): ``theta``, the optimiser's ``first`` and ``second`` moments, the running
    ``mean`` of weights, and the ``best`` weights by validation. Arrays (member,): ``best_loss``,
    ``best_epoch``, ``since_best``, ``rate_factor``. ``updates``: number of updates
    that fit into the time budget; None without one. ``retries``: how often the run went back to its
    best weights; ``cause``: what it diverged by, in words.
    """

    theta: NDArray
    first: NDArray
    second: NDArray
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
    history: dict[str, list[Any]] = field(default_factory=lambda: {k: [] for k in HISTORY})

    @classmethod
    def start(cls, theta: NDArray) -> State:
        """The state before the first update of ``theta`` (member, size)."""
        members = len(theta)
        return cls(
            theta=theta,
            first=np.zeros_like(theta),
            second=np.zeros_like(theta),
            mean=theta.copy(),
            best=theta.copy(),
            # Any finite loss is better than that of no epoch.
            best_loss=np.full(members, np.inf),
            best_epoch=np.full(members, -1),
            since_best=np.zeros(members, dtype=np.int64),
            rate_factor=np.ones(members),
        )


_VECTORS = ("theta", "first", "second", "mean", "best")
_BY_MEMBER = ("best_loss", "best_epoch", "since_best", "rate_factor")
_COUNTERS = ("count", "epoch", "seconds", "epochs", "updates", "status", "retries", "cause")
_OF_RUN = ("seconds", "horizon", "updates")


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


def to_dataset(state: State) -> xr.Dataset:
    """A checkpoint as a dataset."""
    ds = history_dataset(state.history)
    for name in _VECTORS:
        ds[name] = (("member", "parameter"), getattr(state, name))
    for name in _BY_MEMBER:
        ds[name] = ("member", getattr(state, name))
    ds["counters"] = ((), json.dumps({name: getattr(state, name) for name in _COUNTERS}))
    return ds


def from_dataset(ds: xr.Dataset) -> State:
    """The inverse of `to_dataset`."""
    try:
        counters = json.loads(str(ds["counters"].values))
        arrays: dict[str, Any] = {name: ds[name].values.copy() for name in (*_VECTORS, *_BY_MEMBER)}
        history: dict[str, list[Any]] = {}
        for name in HISTORY:
            values = ds[name].values
            history[name] = (
                list(values) if name in _OF_RUN else [np.atleast_1d(row) for row in values]
            )
        return State(**arrays, **counters, history=history)
    except (KeyError, ValueError, TypeError) as error:
        raise FileDamaged(
            "the checkpoint is incomplete",
            got=f"{type(error).__name__}: {error}",
            allowed="a checkpoint written by this package",
        ) from error


class Run:
    """A run folder with one writer at a time.

    ``config`` describes the call. Raises RunLocked where another process writes to the folder,
    InvalidOption where it belongs to another call, FileDamaged where its description is not TOML.
    """

    def __init__(self, folder: str | os.PathLike[str], config: dict[str, Any]) -> None:
        self.folder = Path(folder).expanduser()
        self.folder.mkdir(parents=True, exist_ok=True)
        # Before the description is read: another process may be writing it.
        self._lock = hold_folder(
            self.folder / "lock",
            "the run folder",
            fix="wait for it, stop it, or name another folder with run=",
        )
        try:
            self._claim(config)
        except BaseException:
            self.close()
            raise

    def _claim(self, config: dict[str, Any]) -> None:
        import tomllib

        import tomli_w

        path = self.folder / "config.toml"
        text = tomli_w.dumps(config)
        if path.exists():
            try:
                before = tomllib.loads(path.read_text(encoding="utf-8"))
            except tomllib.TOMLDecodeError as error:
                raise FileDamaged(
                    f"{str(path)!r} is not TOML",
                    got=str(error),
                    allowed="the file that the run wrote",
                    fix="restore it, or name another run folder",
                ) from error
            # As TOML reads it back: tuples have become lists.
            if before != tomllib.loads(text):
                changed = _differences(before, tomllib.loads(text))
                raise InvalidOption(
                    f"the run folder {str(self.folder)!r} belongs to another call",
                    got="; ".join(changed[:5]),
                    allowed="the same call, which continues where it stopped",
                    fix="name another folder with run=, or repeat the call that made this one",
                )
            return
        netcdf.write_bytes(path, text.encode())

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / "checkpoints"

    def save(self, state: State) -> None:
        """Write a checkpoint; the one before is kept, older ones are deleted."""
        # Two are kept: a crash while the newest is on its way to the disk leaves the one before.
        path = self.checkpoints / f"epoch-{state.epoch:06d}.nc"
        netcdf.write_netcdf(to_dataset(state), path, checksums=True)
        for old in self._all()[:-2]:
            old.unlink(missing_ok=True)

    def load(self) -> State | None:
        """The newest complete checkpoint, or None; a damaged one is skipped with a warning."""
        for path in reversed(self._all()):
            try:
                return from_dataset(netcdf.read_netcdf(path, checksums=True))
            except FileDamaged as error:
                warnings.warn(
                    f"the checkpoint {path.name} is damaged and the one before is read: "
                    f"{error.message} (got {error.got})",
                    CheckpointDamaged,
                    stacklevel=2,
                )
        return None

    def _all(self) -> list[Path]:
        return sorted(self.checkpoints.glob("epoch-*.nc"))

    def close(self) -> None:
        """Release the folder; harmless when called twice."""
        self._lock.release()


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
