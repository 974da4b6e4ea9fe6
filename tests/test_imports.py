"""The house stands: imports run one way, and importing the package is cheap."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "pympnode"

# From the ground up. A room may import from its own floor and those below it.
FLOORS: list[tuple[str, ...]] = [
    ("errors", "config"),
    ("graphs",),
    ("schema", "particle_schema", "storage"),
    ("systems",),
    ("data",),
    ("models", "particle_presets"),
    ("engines", "ranges"),
    ("training",),
    ("model", "model_file", "particle_model", "display", "rollout_start"),
    (
        "evaluation",
        "preparation",
        "simulation",
        "own_data",
        "own_particles",
        "learned_field",
        "mixed",
    ),
    ("result", "fitting", "particle_fitting"),
    ("given",),
    ("_api",),
    ("experiments",),
    ("plotting",),
    ("doctor", "commands", "cli"),
]
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported_rooms(path: Path) -> set[str]:
    """Rooms that a file imports at its top level, not under TYPE_CHECKING nor in a function.

    An import inside a function is a door that opens on request: it is how a lower floor reaches an
    engine by name, and it does not decide what has to be there first.
    """
    package = ("pympnode", *path.relative_to(PACKAGE).parts[:-1])
    found = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1]
                stem = ".".join((*base, *([node.module] if node.module else [])))
            else:
                stem = node.module or ""
            names = [f"{stem}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "pympnode" and len(parts) > 1 and parts[1] != "__version__":
                found.add(parts[1])
    return found


def back_arrows(path: Path) -> list[str]:
    room = room_of(path)
    if room == "__init__":
        return []
    assert room in FLOOR, f"{room} stands on no floor: add it to FLOORS"
    return [
        f"{path.relative_to(PACKAGE)} imports {other}"
        for other in imported_rooms(path)
        if other in FLOOR and other != room and FLOOR[other] > FLOOR[room]
    ]


def test_imports_run_one_way() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 30
    assert [arrow for path in files for arrow in back_arrows(path)] == []


def test_an_arrow_that_runs_back_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path)
    wrong = tmp_path / "graphs" / "wrong.py"
    wrong.parent.mkdir()
    wrong.write_text("from ..engines.base import Engine\n")
    assert back_arrows(wrong) == ["graphs/wrong.py imports engines"]


def test_no_module_has_the_name_of_a_public_function() -> None:
    import pympnode

    functions = {name for name, home in pympnode._HOME.items() if name.islower()}
    taken = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert functions & taken == set()


def test_import_loads_nothing_heavy() -> None:
    code = (
        "import sys, json, pympnode;"
        "print(json.dumps([m for m in ('torch', 'matplotlib', 'netCDF4', 'networkx', 'numba', "
        "'scipy', 'juliacall') if m in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []


def test_every_public_name_is_there() -> None:
    import pympnode

    for name in pympnode.__all__:
        assert getattr(pympnode, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = pympnode.trian  # type: ignore[attr-defined]
