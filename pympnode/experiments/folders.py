"""The folder of an experiment, and the last call into it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import storage
from ..errors import MissingFile
from .description import Experiment

CALL = "call.json"  # the last call into a folder: what its table shows


def folder_of(experiment: Experiment, out: str | os.PathLike[str] | None) -> Path:
    """The folder of an experiment's cells."""
    return Path("experiments") / experiment.name if out is None else Path(out)


def last_call(folder: Path) -> dict[str, Any]:
    """budget, seeds and settings of the last `run` into a folder. Raises `MissingFile`."""
    path = folder / CALL
    if not path.is_file():
        raise MissingFile(
            f"nothing was run into {str(folder)!r} yet",
            got="no finished cells",
            allowed="a folder that `pympnode experiment run` wrote",
            fix="run it first, or name its folder with out=",
        )
    return json.loads(path.read_text(encoding="utf-8"))


def note_call(
    folder: Path,
    name: str | os.PathLike[str],
    budget: str | float,
    seeds: int,
    settings: Mapping[str, Any] | None,
) -> None:
    """Keep what `run` was called with."""
    call = {
        "experiment": str(name), "budget": budget, "seeds": seeds, "settings": dict(settings or {}),
    }  # fmt: skip
    storage.write_bytes(folder / CALL, json.dumps(call, indent=1).encode() + b"\n")
