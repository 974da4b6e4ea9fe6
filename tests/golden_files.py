"""Golden files: all of them in a folder outside the repository, or the selection in ``golden/``."""

from __future__ import annotations

from collections.abc import Container
from pathlib import Path

import pytest

SELECTION = Path(__file__).resolve().parent / "golden"


def is_selection(path: Path) -> bool:
    """Whether a file or folder is of the selection, which holds few files and not all their arrays."""
    return path.is_relative_to(SELECTION)


def found_files(folder: Path, pattern: str) -> list[Path]:
    """Files of a pattern anywhere in the folder.

    None: the test is skipped where the folder is the selection; elsewhere it fails.
    """
    files = sorted(folder.rglob(pattern))
    if not files and is_selection(folder):
        skip_selection(f"no {pattern}")
    assert files, f"{folder} holds no {pattern}"
    return files


def skip_selection(lack: str) -> None:
    """Skip because of what the selection lacks."""
    pytest.skip(
        f"tests/golden holds {lack} (set PYMPNODE_REFERENCE_DIR to the folder of all files)"
    )


def is_cut(path: Path, data: Container[str], *names: str) -> bool:
    """Whether arrays are missing from a file of the selection. Any other file has to have them."""
    return is_selection(path) and not all(name in data for name in names)
