"""The record that `pympnode julia install` leaves: that Julia was installed for this environment.

It lies in the Python environment, or in the user's configuration where that cannot be written.
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


def places() -> list[Path]:
    """Where the record may lie, best first."""
    given = os.environ.get(VARIABLE)
    if given:
        return [Path(given)]
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    key = hashlib.sha256(os.path.realpath(sys.prefix).encode()).hexdigest()[:16]
    return [Path(sys.prefix) / NAME, config / "pympnode" / f"julia-{key}.json"]


def read() -> dict[str, Any] | None:
    """The record, or None where nothing was installed. Raises `FileDamaged`."""
    for path in places():
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
    """Leave the record; returns where."""
    text = json.dumps({"options": options.as_dict(), "facts": facts}, indent=2, sort_keys=True)
    problem: OSError | None = None
    for path in places():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_suffix(".part")
            beside.write_text(text + "\n", encoding="utf-8")
            os.replace(beside, path)
            return path
        except OSError as error:
            problem = error
    assert problem is not None
    raise problem


def options() -> JuliaOptions:
    """The stored options, changed by the variables that are set."""
    record = read()
    stored = record["options"] if record else JuliaOptions()
    return stored.with_variables()
