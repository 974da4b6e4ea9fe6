"""Which experiments there are, and how one is read from its TOML file."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config import arguments, mapping
from ..config import path as path_of
from ..errors import FileDamaged, MissingFile, one_line, unknown_name
from .description import Experiment, from_mapping

PUBLISHED = Path(__file__).parent / "published"


def names() -> tuple[str, ...]:
    """Names of the experiments that come with the package.

    >>> "nbody_levels" in names()
    True
    """
    return tuple(sorted(path.stem for path in PUBLISHED.glob("*.toml")))


@arguments(settings=mapping)
def experiment(
    name: str | os.PathLike[str], settings: Mapping[str, Any] | None = None
) -> Experiment:
    """The experiment of that name, or in a TOML file of your own.

    ``settings`` sets "train.NAME" or "data.NAME" for all rows. Every keyword is checked without
    training anything. Raises `UnknownName`, `InvalidOption`, `MissingFile`, `FileDamaged`: got,
    allowed, fix.

    >>> [row.name for row in experiment("nbody_levels").rows]
    ['levels 2', 'levels 3', 'levels 4', 'levels 5']
    """
    from .validity import check

    found = described(name).with_settings(settings or {})
    check(found)
    return found


def described(name: str | os.PathLike[str]) -> Experiment:
    """The experiment as its file says, its keywords unchecked: enough for a list."""
    if isinstance(name, str) and name in names():
        path = PUBLISHED / f"{name}.toml"
    else:
        path = path_of("an experiment", name)
        if path.suffix != ".toml":
            raise unknown_name("experiment", str(name), names())
    return from_mapping(path.stem, _read(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise MissingFile(
            f"there is no file {str(path)!r}",
            got=str(path),
            allowed=f"a TOML file, or one of {', '.join(names())}",
            fix="check the path; `pympnode experiment list` has the names",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FileDamaged(
            f"{str(path)!r} is not TOML",
            got=one_line(error),
            allowed="lines such as train.levels = 3",
            fix="`got` names the line",
        ) from error
    except OSError as error:
        raise FileDamaged(
            f"{str(path)!r} cannot be read",
            got=one_line(error),
            allowed="a TOML file",
            fix="give the path of a file that you may read",
        ) from error
