"""Imports: the layers of the package, no cycles of files, no private names across files.

The rules hold for all imports of a file: at its top, inside functions and under TYPE_CHECKING. The
core is everything outside the two halves, `networks` and `particles`, and outside the modules above
them (`ABOVE`).
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from types import ModuleType

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "pympnode"
HALVES = ("networks", "particles")
# Modules and packages that may import both halves.
ABOVE = (
    "_api", "halves", "experiments", "commands", "cli", "doctor", "pretrained_models", "__main__",
)  # fmt: skip
# Modules of the core that look up modules of both halves by name: old names of version 0.1, the
# built-in systems, and the one list of pictures.
BY_NAME = {"_moved", "config", "systems", "systems.registry", "plotting"}


@dataclass(frozen=True)
class Import:
    """One name that one file imports: of ``module``, or the module itself where ``name`` is None."""

    importer: str
    module: str
    name: str | None
    line: int
    relative: bool

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.module}" + (
            f".{self.name}" if self.name else ""
        )


def files_of(root: Path) -> dict[str, Path]:
    """The files of a package by the name of their module; a package has the name of its folder."""
    names = {}
    for path in sorted(root.rglob("*.py")):
        parts = (root.name, *path.relative_to(root).with_suffix("").parts)
        names[".".join(parts).removesuffix(".__init__")] = path
    return names


def _nodes(path: Path) -> list[ast.AST]:
    return _nodes_of(path.read_text(encoding="utf-8"))


@cache  # several rules read each file of the package
def _nodes_of(text: str) -> list[ast.AST]:
    return list(ast.walk(ast.parse(text)))


def _absolute(module: str | None, level: int, package: str) -> str:
    if not level:
        return module or ""
    parts = package.split(".")
    return ".".join([*parts[: len(parts) - level + 1], *([module] if module else [])])


def imports_of(root: Path) -> list[Import]:
    """All imports of the package's modules by its files.

    ``from a import b`` is an import of the module ``a.b`` where there is such a file, else of the
    name ``b`` of ``a``, which is its ``__init__`` where ``a`` is a package. ``import_module`` counts
    where its argument is a literal.
    """
    files = files_of(root)
    found = []
    for importer, path in files.items():
        package = importer if path.name == "__init__.py" else importer.rpartition(".")[0]
        for node in _nodes(path):
            wanted: list[tuple[str, str | None, bool]] = []
            if isinstance(node, ast.ImportFrom):
                module = _absolute(node.module, node.level, package)
                wanted = [(module, alias.name, node.level > 0) for alias in node.names]
            elif isinstance(node, ast.Import):
                wanted = [(alias.name, None, False) for alias in node.names]
            elif isinstance(node, ast.Call) and node.args:
                called, first = node.func, node.args[0]
                function = getattr(called, "attr", getattr(called, "id", ""))
                if function == "import_module" and isinstance(first, ast.Constant):
                    text = str(first.value)
                    stem = text.lstrip(".")
                    level = len(text) - len(stem)
                    wanted = [(_absolute(stem, level, package), None, level > 0)]
            for module, name, relative in wanted:
                if module.split(".")[0] != root.name:
                    continue
                if name is not None and f"{module}.{name}" in files:
                    module, name = f"{module}.{name}", None
                found.append(Import(importer, module, name, node.lineno, relative))
    return found


def layer_of(module: str) -> str:
    """A half, "above" or "core"."""
    _, _, inside = module.partition(".")
    first = inside.split(".")[0]
    if first in HALVES:
        return first
    return "above" if first in ABOVE or not inside else "core"


def across_layers(root: Path) -> list[str]:
    """Imports between the halves, and from the core or a half into what stands above it."""
    allowed = {"core": {"core"}, "above": {"above", "core", *HALVES}}
    allowed |= {half: {half, "core"} for half in HALVES}
    return [
        str(one)
        for one in imports_of(root)
        if layer_of(one.module) not in allowed[layer_of(one.importer)]
    ]


def named_in_strings(root: Path) -> dict[str, list[str]]:
    """Modules of the halves by the modules of the core that name them in strings.

    Such a string is an import that `imports_of` does not find: a table for `import_module`, say.
    """
    files = files_of(root)
    found: dict[str, list[str]] = {}
    for importer, path in files.items():
        if layer_of(importer) != "core":
            continue
        for node in _nodes(path):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                inside = node.value.lstrip(".").removeprefix(f"{root.name}.").partition(":")[0]
                module = f"{root.name}.{inside}"
                if "." in inside and module in files and layer_of(module) in HALVES:
                    found.setdefault(importer, []).append(module)
    return found


def cycle(root: Path) -> list[str]:
    """The files of a cycle of imports; empty where there is none.

    The packages that a module lies in do not count: a module may take a sibling through them.
    """
    graph: dict[str, set[str]] = {name: set() for name in files_of(root)}
    for one in imports_of(root):
        if not f"{one.importer}.".startswith(f"{one.module}."):
            graph[one.importer].add(one.module)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


# Public attributes of named tuples, which start with an underscore so as not to clash with fields.
NAMED_TUPLE = frozenset({"_asdict", "_fields", "_make", "_replace"})


def _private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in NAMED_TUPLE


def private_names(root: Path) -> list[str]:
    """Private names that another file imports, or takes as attributes of what it imports."""
    found = [str(one) for one in imports_of(root) if one.name and _private(one.name)]
    ours = {(one.importer, one.line) for one in imports_of(root)}
    for importer, path in files_of(root).items():
        nodes = _nodes(path)
        imported = {
            alias.asname or alias.name.split(".")[0]
            for node in nodes
            if isinstance(node, ast.Import | ast.ImportFrom) and (importer, node.lineno) in ours
            for alias in node.names
        }
        found += [
            f"{importer}:{node.lineno} takes {node.value.id}.{node.attr}"
            for node in nodes
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id in imported
            and _private(node.attr)
        ]
    return found


def absolute_imports(root: Path) -> list[str]:
    """Imports of the package's own modules by their full names."""
    return [str(one) for one in imports_of(root) if not one.relative]


# ---- the package ------------------------------------------------------------------------------


def test_all_files_are_read() -> None:
    files, found = files_of(PACKAGE), imports_of(PACKAGE)
    assert len(files) > 100 and len(found) > 500
    missing = [str(one) for one in found if one.module not in files]
    assert missing == [], "a name or a module that is no file of the package"
    layers = {layer_of(name) for name in files}
    assert layers == {"core", "above", *HALVES}


def test_core_and_halves_import_no_layer_beside_or_above_them() -> None:
    assert across_layers(PACKAGE) == []


def test_only_tables_of_the_core_name_modules_of_the_halves() -> None:
    found = {name.partition(".")[2]: modules for name, modules in named_in_strings(PACKAGE).items()}
    assert set(found) <= BY_NAME, found


def test_no_cycle_of_files() -> None:
    assert cycle(PACKAGE) == []


def test_no_private_name_is_used_in_another_file() -> None:
    assert private_names(PACKAGE) == []


def test_the_package_imports_itself_by_relative_names() -> None:
    assert absolute_imports(PACKAGE) == []


# ---- each rule on a small tree ----------------------------------------------------------------

INSIDE = "def f():\n    {}\n"
TYPED = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {}\n"
PLACES = pytest.mark.parametrize("place", ["{}\n", INSIDE, TYPED], ids=["top", "inside", "typed"])


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[Path]:
    """A small package that breaks no rule."""
    root = tmp_path / "small"
    write(
        root,
        {
            "__init__": "from . import _api\nfrom ._api import train",
            "_api": "from .networks.model import Model\nfrom .particles import Cloud\ntrain = 1",
            "errors": "from __future__ import annotations\nimport os\nWrong = 1\n_hidden = 2",
            "training.__init__": "from .loop import Loop",
            "training.loop": "from . import task\nfrom ..errors import Wrong\nLoop = task.__name__",
            "training.task": "from .. import errors\nTask = errors.Wrong",
            "networks.__init__": "from .model import Model",
            "networks.model": "from ..training import Loop\nfrom . import graph\nModel = 1",
            "networks.graph": "_own = 1\nGraph = _own",
            "particles.__init__": "Cloud = 1",
            "particles.cells": "from ..training.task import Task\nCells = Task",
        },
    )
    assert not [*across_layers(root), *cycle(root), *private_names(root), *absolute_imports(root)]
    yield root


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@PLACES
@pytest.mark.parametrize(
    ("file", "statement", "target"),
    [
        ("networks.graph", "from ..particles.cells import Cells", "small.particles.cells.Cells"),
        ("networks.graph", "from ..particles import Cloud", "small.particles.Cloud"),
        ("particles.cells", "from .. import networks", "small.networks"),
        ("particles.cells", "import small.networks.graph", "small.networks.graph"),
        ("errors", "from .networks import graph", "small.networks.graph"),
        ("training.task", "from ..particles.cells import Cells", "small.particles.cells.Cells"),
        ("training.task", "from .._api import train", "small._api.train"),
        ("training.task", "from .. import train", "small.train"),
        ("networks.graph", "from .._api import train", "small._api.train"),
    ],
)
def test_an_import_across_layers_is_found(
    tree: Path, place: str, file: str, statement: str, target: str
) -> None:
    write(tree, {file: place.format(statement)})
    line = place.split("{}")[0].count("\n") + 1
    assert across_layers(tree) == [f"small.{file}:{line} imports {target}"]


@PLACES
@pytest.mark.parametrize(
    ("file", "statement", "length"),
    [
        ("training.task", "from .loop import Loop", 2),
        ("training.task", "from . import loop", 2),
        # Through the name of a package: training/__init__ imports loop, loop imports errors.
        ("errors", "from .training import Loop", 3),
        ("errors", 'import_module(".training.task", __package__)', 2),
    ],
)
def test_a_cycle_is_found(tree: Path, place: str, file: str, statement: str, length: int) -> None:
    write(tree, {file: place.format(statement)})
    found = cycle(tree)
    assert f"small.{file}" in found and found[0] == found[-1] and len(found) == length + 1


@PLACES
@pytest.mark.parametrize(
    "statement",
    [
        "from ..errors import _hidden",
        "from .. import errors; errors._hidden",
        "from .. import errors as wrong; wrong._hidden",
        "from ..training.loop import Loop; Loop._hidden",
    ],
)
def test_a_private_name_in_another_file_is_found(tree: Path, place: str, statement: str) -> None:
    write(tree, {"particles.cells": place.format(statement)})
    (found,) = private_names(tree)
    assert found.startswith("small.particles.cells:") and found.endswith("_hidden")


@PLACES
@pytest.mark.parametrize(
    "statement", ["from small.errors import Wrong", "import small.errors", "import small"]
)
def test_an_absolute_import_is_found(tree: Path, place: str, statement: str) -> None:
    write(tree, {"particles.cells": place.format(statement)})
    (found,) = absolute_imports(tree)
    assert found.startswith("small.particles.cells:")


def test_a_module_of_a_half_in_a_string_of_the_core_is_found(tree: Path) -> None:
    write(tree, {"training.task": 'PLACE = {"Model": ("..networks.model:Model", "networks")}'})
    assert named_in_strings(tree) == {"small.training.task": ["small.networks.model"]}


# ---- what an import costs ---------------------------------------------------------------------


def test_no_module_has_the_name_of_a_public_function() -> None:
    """Importing a.b sets the attribute b of a: a module of that name would hide the function."""
    import pympnode

    public = {name: getattr(pympnode, name) for name in pympnode.__all__}
    functions = {name for name, value in public.items() if not isinstance(value, ModuleType)}
    taken = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert {"train", "simulate"} <= functions and functions & taken == set()


def test_import_loads_nothing_heavy() -> None:
    """xarray, with NumPy and pandas, is the exception: ``ds.pympnode`` is registered with it."""
    code = (
        "import sys, json, pympnode;"
        "print(json.dumps([m for m in ('torch', 'matplotlib', 'netCDF4', 'networkx', 'numba', "
        "'scipy', 'juliacall', 'click', 'tqdm') if m in sys.modules]))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []


def test_every_public_name_is_there() -> None:
    import pympnode

    for name in pympnode.__all__:
        assert getattr(pympnode, name) is not None
    with pytest.raises(AttributeError, match="trian"):
        _ = pympnode.trian  # type: ignore[attr-defined]
