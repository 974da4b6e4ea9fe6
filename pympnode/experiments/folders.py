"""The folder of an experiment, whose it is, and the last call into it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import FileDamaged, InvalidOption, MissingFile
from ..files import netcdf
from .catalogue import names
from .description import Experiment

CALL = "call.json"  # the last call into a folder: what its table shows


def folder_of(experiment: Experiment, out: str | os.PathLike[str] | None) -> Path:
    """The folder of an experiment's cells."""
    return Path("experiments") / experiment.name if out is None else Path(out).expanduser()


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


def claim(folder: Path, name: str | os.PathLike[str]) -> None:
    """Raise `InvalidOption` where a folder holds what `run` made of another experiment."""
    call = _read(folder)
    if call is not None:
        _refuse_other(folder, call, name)


def note_call(
    folder: Path,
    name: str | os.PathLike[str],
    budget: str | float,
    seeds: int,
    settings: Mapping[str, Any] | None,
) -> None:
    """Keep what `run` was called with."""
    call = {
        "experiment": _identity(name), "budget": budget, "seeds": seeds,
        "settings": dict(settings or {}),
    }  # fmt: skip
    netcdf.write_bytes(folder / CALL, json.dumps(call, indent=1).encode() + b"\n")


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / CALL
    try:
        call = json.loads(path.read_text(encoding="utf-8"))
        wanted = {"experiment", "budget", "seeds", "settings"}
        if not isinstance(call, dict) or not wanted <= call.keys():
            raise ValueError(f"not all of {', '.join(sorted(wanted))}")
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise FileDamaged(
            f"{str(path)!r} cannot be read",
            got=str(error),
            allowed="the file that the run wrote",
            fix="remove it and run again: finished cells are still there",
        ) from error
    return call


def _refuse_other(folder: Path, call: Mapping[str, Any], name: str | os.PathLike[str]) -> None:
    mine, whose = _identity(name), _identity(call["experiment"])
    # A file that is gone was moved or renamed: nobody can mean it any more.
    if whose == mine or not (whose in names() or Path(whose).is_file()):
        return
    raise InvalidOption(
        f"the folder {str(folder)!r} is that of another experiment",
        got=f"{mine}, and the folder holds {whose}",
        allowed="a folder for each experiment",
        fix=f'name another folder: out="experiments/my_{Path(mine).stem}", or --out',
    )


def _identity(name: str | os.PathLike[str]) -> str:
    """The name of an experiment of the package, or the whole path of a file."""
    own = not isinstance(name, str) or name not in names()
    return str(Path(name).resolve()) if own else str(name)
