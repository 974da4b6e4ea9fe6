"""The record of `pympnode julia install`: Julia is installed for this Python environment.

A file in the Python environment, or in the user's configuration folder where that is read-only.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from ....errors import FileDamaged
from .options import JuliaOptions

VARIABLE = "PYMPNODE_JULIA_RECORD"
NAME = "pympnode-julia.json"


def paths() -> list[Path]:
    """The paths of the record, in the order in which they are tried."""
    variable = os.environ.get(VARIABLE)
    if variable:
        return [Path(variable)]
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    key = hashlib.sha256(os.path.realpath(sys.prefix).encode()).hexdigest()[:16]
    return [Path(sys.prefix) / NAME, config / "pympnode" / f"julia-{key}.json"]


def read() -> dict[str, Any] | None:
    """The record, or None where Julia was not installed. Raises `FileDamaged`."""
    for path in paths():
        if not path.is_file():
            continue
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            record["options"] = JuliaOptions.from_mapping(record["options"])
        except (ValueError, KeyError, TypeError) as error:
            raise FileDamaged(
                "the record of the Julia installation cannot be read",
                got=f"{path}: {error}",
                fix="run `pympnode julia install` again",
            ) from error
        return {**record, "path": str(path)}
    return None


def write(options: JuliaOptions, facts: dict[str, Any]) -> Path:
    """Write the record; returns its path. Raises `OSError`."""
    text = json.dumps({"options": options.as_dict(), "facts": facts}, indent=2, sort_keys=True)
    problem: OSError | None = None
    for path in paths():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Written under another name and renamed: no reader gets half a record.
            temporary = path.with_suffix(".part")
            temporary.write_text(text + "\n", encoding="utf-8")
            os.replace(temporary, path)
            return path
        except OSError as error:
            problem = error
    assert problem is not None
    raise problem


def options() -> JuliaOptions:
    """The recorded options, overridden by environment variables."""
    record = read()
    stored = record["options"] if record else JuliaOptions()
    return stored.with_variables()
