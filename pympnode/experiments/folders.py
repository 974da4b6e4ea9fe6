"""The folder of an experiment, and the record of the last call that wrote to it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..config import path as path_of
from ..errors import FileDamaged, InvalidOption, MissingFile, PympnodeError, one_line
from ..files import netcdf
from .budget import Budget
from .catalogue import names
from .cells import check_seeds, read_json
from .description import Experiment

CALL = "call.json"  # arguments of the last call, which its table is made with


def folder_of(experiment: Experiment, out: str | os.PathLike[str] | None) -> Path:
    """The folder of an experiment's cells."""
    return Path("experiments") / experiment.name if out is None else path_of("out", out)


def last_call(folder: Path, name: str | os.PathLike[str]) -> dict[str, Any]:
    """budget, seeds and settings of the last `run` of an experiment into a folder.

    Raises `MissingFile`, `FileDamaged`, and `InvalidOption` for the folder of another experiment.
    """
    call = _read(folder)
    if call is None:
        raise MissingFile(
            f"nothing was run into {str(folder)!r} yet",
            got="no finished cells",
            allowed="a folder that `pympnode experiment run` wrote",
            fix="run it first, or name its folder with out=",
        )
    _refuse_other(folder, call, name)
    return call


def refuse_other(folder: Path, name: str | os.PathLike[str]) -> None:
    """Raise `InvalidOption` where a folder holds another experiment."""
    call = _read(folder)
    if call is not None:
        _refuse_other(folder, call, name)


def write_call(
    folder: Path,
    name: str | os.PathLike[str],
    budget: str | float,
    seeds: int,
    settings: Mapping[str, Any] | None,
) -> None:
    """Write the arguments of `run` to the folder."""
    call = {
        "experiment": _identity(name), "budget": budget, "seeds": seeds,
        "settings": dict(settings or {}),
    }  # fmt: skip
    netcdf.write_bytes(folder / CALL, json.dumps(call, indent=1).encode() + b"\n")


def as_recorded(settings: Mapping[str, Any]) -> dict[str, Any]:
    """``settings`` as the record of a call holds them: numbers of NumPy are plain ones, tuples lists.

    Raises `InvalidOption` for a value that JSON has no word for.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, np.generic | np.ndarray):
            return value.tolist()
        raise InvalidOption(
            "settings are written to a file, and hold values of TOML",
            got=one_line(value),
            allowed="texts, numbers, lists and tables",
            fix="leave it out, or call simulate and train yourself",
        )

    held: dict[str, Any] = json.loads(json.dumps(dict(settings), default=plain))
    return held


def _read(folder: Path) -> dict[str, Any] | None:
    fix = "remove it and run again: finished cells are still there"
    call = read_json(folder / CALL, ("experiment", "budget", "seeds", "settings"), fix)
    if call is None:
        return None
    try:
        check_seeds(call["seeds"])
        Budget.of(call["budget"])
        right = isinstance(call["experiment"], str) and isinstance(call["settings"], dict)
    except PympnodeError:
        right = False
    if not right:
        raise FileDamaged(
            f"{str(folder / CALL)!r} does not hold the arguments of a run",
            got=one_line(call),
            allowed="the file that the run wrote",
            fix=fix,
        )
    return call


def _refuse_other(folder: Path, call: Mapping[str, Any], name: str | os.PathLike[str]) -> None:
    asked, held = _identity(name), _identity(call["experiment"])
    # A file that no longer exists was moved or renamed, so that its folder may be taken over.
    if held == asked or not (held in names() or Path(held).is_file()):
        return
    raise InvalidOption(
        f"the folder {str(folder)!r} is that of another experiment",
        got=f"{asked}, and the folder holds {held}",
        allowed="a folder for each experiment",
        fix=f'name another folder: out="experiments/my_{Path(asked).stem}", or --out',
    )


def _identity(name: str | os.PathLike[str]) -> str:
    """The name of an experiment of the package, or the whole path of a file."""
    packaged = isinstance(name, str) and name in names()
    return str(name) if packaged else str(Path(name).resolve())
