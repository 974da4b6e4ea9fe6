"""Zarr stores that are written while their data are made, and go on after an interruption.

Beside the store that will be at ``data.zarr`` lies the folder ``.data.zarr.part`` meanwhile: ``store``, which
gets the name when it is complete, ``call.json``, what decides the values, and for each piece that is complete
an archive of what is small of it.
"""

from __future__ import annotations

import io
import json
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import InvalidOption, one_line
from ..files.lock import hold_folder
from ..files.netcdf import flush_folder, write_bytes
from ..files.writing import make_folder, writing
from .chunks import bytes_of
from .names import TRAJECTORY
from .parts import require_disk
from .saving import ZarrWriter, refuse_existing
from .stores import CALL, optional_package

logger = logging.getLogger("pympnode")

_FACTS = "facts"  # of a piece, in its archive


@dataclass(frozen=True, eq=False)
class Piece:
    """Trajectories ``first`` to ``first`` + ``count`` - 1 of a store: ``facts``, plain values, and its small
    variables, those with trajectories."""

    first: int
    count: int
    facts: dict[str, Any]
    small: dict[str, NDArray]

    def save(self, folder: Path) -> None:
        """Write it, in one step."""
        held = io.BytesIO()
        words: Any = {_FACTS: np.array(json.dumps(self.facts)), **self.small}
        np.savez(held, **words)
        write_bytes(folder / f"piece-{self.first:09d}-{self.count}.npz", held.getvalue())

    @classmethod
    def read(cls, folder: Path, first: int) -> Piece | None:
        """The piece that begins there; None where there is none that can be read."""
        for path in folder.glob(f"piece-{first:09d}-*.npz"):
            try:
                with np.load(path, allow_pickle=False) as held:
                    small = {name: held[name] for name in held.files}
                facts = json.loads(str(small.pop(_FACTS)))
                return cls(first, int(path.stem.rpartition("-")[2]), facts, small)
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
                logger.warning("%s cannot be read and is made again: %s", path, one_line(error))
                path.unlink()
        return None

    def dataset(self, like: xr.Dataset) -> xr.Dataset:
        """What is small of it, as a dataset; ``like``: that of the first trajectories."""
        found = {
            name: variable if TRAJECTORY not in variable.dims
            else (variable.dims, self.small[str(name)], variable.attrs)
            for name, variable in like.variables.items()
        }  # fmt: skip
        return xr.Dataset(
            {n: v for n, v in found.items() if n not in like.coords},
            coords={n: v for n, v in found.items() if n in like.coords},
            attrs=like.attrs,
        )


def is_complete(target: Path, call: Mapping[str, str]) -> bool:
    """Whether the store at ``target`` is what ``call`` makes. Raises `InvalidOption` where it is something
    else."""
    if not target.exists() and not target.is_symlink():
        return False
    held = None
    if target.is_dir() and (target / "zarr.json").is_file():
        zarr = optional_package("zarr", "a Zarr store")
        held = zarr.open_group(str(target), mode="r").attrs.get(CALL)
    if held is None:
        refuse_existing(target)
    _require_same(str(held), call, target)
    return True


def _require_same(text: str, call: Mapping[str, str], path: Path) -> None:
    """Raise `InvalidOption` where ``text``, the call in JSON, is another one or cannot be read."""
    try:
        held = json.loads(text)
    except ValueError:
        held = None
    held = held if isinstance(held, dict) else {}
    other = sorted(name for name in {*held, *call} if held.get(name) != call.get(name))
    if other:
        raise InvalidOption(
            f"{str(path)!r} holds the data of another call",
            got=f"another {', '.join(other)}",
            allowed="the call that made or began it",
            fix="remove it, or give another path",
        )


@contextmanager
def continued(
    target: Path, ds: xr.Dataset, chunk: int, trajectories: int, call: Mapping[str, str]
) -> Iterator[tuple[ZarrWriter, list[Piece], Path]]:
    """A writer of a store of ``trajectories`` like ``ds``, the pieces that an interrupted call has completed,
    and the folder for others. What was written stays where the block fails.

    ``chunk``: trajectories in a chunk. ``call``: checksums by name, of what decides the values. Raises
    `InvalidOption` where another call was interrupted, `RunLocked`, `NotEnoughDisk`, `CannotWrite`.
    """
    folder = make_folder(target.parent / f".{target.name}.part")
    lock = hold_folder(folder / "lock", "the store", fix="wait for it, or choose another path")
    try:
        begun, store = folder / "call.json", folder / "store"
        if begun.exists():
            _require_same(begun.read_text(encoding="utf-8"), call, folder)
        pieces: list[Piece] = []
        first = 0
        while begun.exists() and (piece := Piece.read(folder, first)) is not None:
            pieces.append(piece)
            first += piece.count
        with writing(target):
            if not pieces:
                begun.unlink(missing_ok=True)
                shutil.rmtree(store, ignore_errors=True)
            else:
                logger.info("%s goes on from trajectory %d of %d", target, first, trajectories)
            left = (trajectories - first) / ds.sizes[TRAJECTORY]
            require_disk(target, int(bytes_of(ds) * left))
            writer = ZarrWriter(store, ds, chunk, trajectories, goes_on=bool(pieces))
            write_bytes(begun, json.dumps(dict(call)).encode())
            yield writer, pieces, folder
            writer.finish({CALL: json.dumps(dict(call))})
            os.rename(store, target)
    except BaseException:
        lock.release()
        if not any(folder.glob("piece-*.npz")):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    lock.release()
    shutil.rmtree(folder, ignore_errors=True)
    flush_folder(target.parent)
