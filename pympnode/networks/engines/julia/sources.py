"""The folder of the bundled Julia package: inside the wheel, or next to `pympnode` in a checkout."""

from __future__ import annotations

from pathlib import Path

from ....errors import MissingFile

PACKAGE = "MessagePassingNODE"


def julia_sources() -> Path:
    """The folder of the bundled package's Project.toml. Raises `MissingFile`."""
    here = Path(__file__).resolve().parent
    for folder in (here / PACKAGE, here.parents[3] / "julia"):
        project = folder / "Project.toml"
        if project.is_file() and f'name = "{PACKAGE}"' in project.read_text(encoding="utf-8"):
            return folder
    raise MissingFile(
        "the bundled Julia sources are missing",
        got=f"neither {here / PACKAGE} nor {here.parents[2] / 'julia'}",
        fix="install pympnode again from a wheel, or work in a whole checkout",
    )
