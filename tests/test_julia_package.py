"""The bundled Julia package as files: what needs no Julia to be wrong."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from pympnode.networks.engines.julia.sources import PACKAGE, julia_sources

ROOT = Path(__file__).resolve().parent.parent
STANDARD_LIBRARY = {"LinearAlgebra", "Random", "Test"}


def julia_files() -> list[Path]:
    files = sorted(julia_sources().rglob("*.jl"))
    assert len(files) > 20
    return files


# ---- a reader of Julia that knows strings, comments and blocks --------------------------------

OPENERS = {
    "function",
    "if",
    "for",
    "while",
    "begin",
    "let",
    "do",
    "try",
    "struct",
    "module",
    "quote",
    "macro",
    "baremodule",
}
TOKEN = re.compile(
    r'#=|"""|"|#[^\n]*|\'(?:\\.|[^\\\'\n])\'(?!\w)|[\[\](){}]|:?@?[A-Za-z_][\w!]*|.', re.DOTALL
)


def tokens(text: str) -> list[tuple[str, int]]:
    """Words and brackets outside strings and comments, with their line."""
    found, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        assert match is not None
        token, line = match[0], text.count("\n", 0, at) + 1
        at = match.end()
        if token == "#=":
            at = text.index("=#", at) + 2
        elif token in ('"""', '"'):
            while not text.startswith(token, at):
                if text.startswith("$(", at):
                    depth, at = 1, at + 2
                    while depth:
                        if text[at] == '"':
                            at = text.index('"', at + 1)
                        depth += {"(": 1, ")": -1}.get(text[at], 0)
                        at += 1
                    continue
                at += 2 if text[at] == "\\" else 1
                assert at < len(text), f"a string that begins in line {line} has no end"
            at += len(token)
        elif not token.startswith("#") and not token.isspace():
            found.append((token, line))
    return found


def problem(text: str) -> str | None:
    """None, or the first block or bracket that is not closed where it should be."""
    open_now: list[tuple[str, int]] = []
    pairs = {")": "(", "]": "[", "}": "{"}
    before = ""
    for token, line in tokens(text):
        inside = bool(open_now) and open_now[-1][0] in "([{"
        if token in "([{":
            open_now.append((token, line))
        elif token in ")]}":
            if not open_now or open_now[-1][0] != pairs[token]:
                return f"line {line}: {token} closes nothing"
            open_now.pop()
        elif token in OPENERS and before != ".":
            generator = inside and token in ("for", "if")
            index = token == "begin" and inside and open_now[-1][0] == "["
            if not generator and not index:
                open_now.append((token, line))
        elif token == "type" and before in ("abstract", "primitive"):
            open_now.append((token, line))
        elif token == "end" and before != ".":
            if inside:
                if open_now[-1][0] != "[" and open_now[-1][0] != "(":
                    return f"line {line}: end in {open_now[-1][0]}"
            elif not open_now:
                return f"line {line}: end closes nothing"
            else:
                open_now.pop()
        before = token
    return f"line {open_now[-1][1]}: {open_now[-1][0]} is not closed" if open_now else None


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("function f(x)\n  x[end] + sum(a for a in x if a > 0)\nend", True),
        ("function f(x)\n  if x > 0\n    1\nend", False),
        ('s = "end $(f("(")) begin"', True),
        ("f(x) = (x, [1, 2)", False),
        ("end", False),
        ("#= function =#\nmodule A\nend # begin", True),
        ("map(x) do y\n  y\nend", True),
        ("map(x) do y\n  y\n", False),
    ],
)
def test_the_reader_finds_faults(text: str, good: bool) -> None:
    assert (problem(text) is None) == good, problem(text)


def test_blocks_and_brackets_balance() -> None:
    for path in julia_files():
        assert problem(path.read_text(encoding="utf-8")) is None, path


def test_every_source_is_included_and_every_include_exists() -> None:
    source = julia_sources() / "src"
    main = (source / f"{PACKAGE}.jl").read_text(encoding="utf-8")
    included = set(re.findall(r'^include\("(.+)"\)', main, re.MULTILINE))
    here = {str(p.relative_to(source)) for p in source.rglob("*.jl")} - {f"{PACKAGE}.jl"}
    assert included == here


def test_exported_names_are_defined() -> None:
    source = julia_sources() / "src"
    text = "\n".join(p.read_text(encoding="utf-8") for p in source.rglob("*.jl"))
    exports = set()
    for line in re.findall(r"^export (.+)$", text, re.MULTILINE):
        exports |= {name.strip() for name in line.split(",")}
    assert {"Program", "train", "simulate"} <= exports
    for name in exports:
        pattern = rf"^\s*(?:function |struct |mutable struct |Base\.@kwdef struct |const )?{name}(?:\{{.*?\}})?[\s({{<]"
        assert re.search(pattern, text, re.MULTILINE), f"{name} is exported and not defined"


def test_everything_python_calls_is_exported() -> None:
    operations = ROOT / "pympnode" / "networks" / "engines" / "julia" / "operations.py"
    called = {
        node.attr
        for node in ast.walk(ast.parse(operations.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Attribute)
        and node.value.attr == "_bridge"
    }
    bridge = (julia_sources() / "src" / "bridge.jl").read_text(encoding="utf-8")
    exported = {n.strip() for n in re.search(r"^export (.+)$", bridge, re.MULTILINE)[1].split(",")}
    assert called and called == exported


def test_every_option_of_a_model_exists_in_julia_or_is_refused() -> None:
    import dataclasses

    from pympnode.networks.engines.julia.engine import JuliaEngine
    from pympnode.networks.spec import ModelSpec

    pairwise = {"messages": "pairwise", "coupling": "superposed", "message": 1}
    types = {
        "node_types": ("one", "other"), "type_channels": (1, 1), "type_controls": (0, 0),
        "type_attributes": (0, 0),
    }  # fmt: skip
    refused: dict[str, dict[str, Any]] = {
        "stride": {"stride": 2},
        "circular": {"circular": (0,)},
        "sender_controls": {"messages": "emitted", "controls": 1, "sender_controls": True},
        "edge_attributes": {**pairwise, "edge_attributes": 1},
        "relative": {**pairwise, "relative": (0,)},
        "invariant": {**pairwise, "invariant": (0,)},
        "antisymmetric": {**pairwise, "aggregation": "sum", "antisymmetric": True},
        "learned_edges": {"learned_edges": 1},
        **{key: {**pairwise, "codes": 1, "coded_nodes": 2} for key in ("codes", "coded_nodes")},
        **{key: {"messages": "emitted", "delay": 0.5} for key in ("delay", "longest_delay")},
        "learned_delays": {"messages": "emitted", "learned_delays": 1, "longest_delay": 4},
        "linear": {**pairwise, "linear": True},
        **{
            key: {"family": "own", "module": "field", "module_arguments": "{}"}
            for key in ("module", "module_arguments")
        },
        **dict.fromkeys(("node_types", "type_channels", "type_controls", "type_attributes"), types),
    }
    text = (julia_sources() / "src" / "spec.jl").read_text(encoding="utf-8")
    fields = {field.name for field in dataclasses.fields(ModelSpec)}
    known = set(re.findall(r"^    (\w+)::", text, re.MULTILINE))
    # The program flattens "bodies" away.
    assert fields - known == {"bodies", *refused}
    supports = JuliaEngine().supports
    assert supports(ModelSpec()) is None
    for name, options in refused.items():
        assert supports(ModelSpec(**options)), name
    assert "pairwise" not in text and supports(ModelSpec(messages="pairwise"))
    assert ":max" not in text and supports(ModelSpec(aggregation="max"))


def test_every_known_system_exists_in_julia() -> None:
    from pympnode.networks.engines.julia.systems import JULIA_NAMES
    from pympnode.systems.registry import get, names

    bridge = (julia_sources() / "src" / "bridge.jl").read_text(encoding="utf-8")
    systems = re.search(r"^const SYSTEMS = \((.+)\)", bridge, re.MULTILINE)[1]
    assert {f'"{name}"' for name in JULIA_NAMES.values()} == {s.strip() for s in systems.split(",")}
    classes = {
        f"{type(get(n)).__module__.rsplit('.', 1)[1]}.{type(get(n)).__name__}" for n in names()
    }
    assert set(JULIA_NAMES) <= classes


# ---- dependencies -----------------------------------------------------------------------------


def project(folder: Path) -> dict:
    return tomllib.loads((folder / "Project.toml").read_text(encoding="utf-8"))


def test_juliapkg_lists_the_registered_packages_with_their_bounds() -> None:
    wanted = project(julia_sources())
    listed = json.loads((ROOT / "pympnode" / "juliapkg.json").read_text(encoding="utf-8"))
    packages = listed["packages"]
    assert set(packages) == set(wanted["deps"]) - STANDARD_LIBRARY
    for name, entry in packages.items():
        assert set(entry) == {"uuid", "version"}, f"{name} must be registered: no path, no url"
        assert entry["uuid"] == wanted["deps"][name]
        assert entry["version"] == wanted["compat"][name]
    assert PACKAGE not in packages


def test_every_dependency_has_a_bound() -> None:
    for folder in (julia_sources(), ROOT):
        found = project(folder)
        names = {*found["deps"], *found.get("extras", {})} - STANDARD_LIBRARY - {PACKAGE}
        assert names <= set(found["compat"]) and "julia" in found["compat"]


def test_the_top_environment_develops_the_package() -> None:
    top, package = project(ROOT), project(ROOT / "julia")
    assert top["deps"][PACKAGE] == package["uuid"]
    assert top["sources"][PACKAGE]["path"] == "julia"


def test_no_netcdf_hdf5_or_gpu_in_julia() -> None:
    assert not set(project(julia_sources())["deps"]) & {"NCDatasets", "NetCDF", "HDF5", "CUDA"}


# ---- the wheel --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="hatchling builds the wheel")
    out = tmp_path_factory.mktemp("wheel")
    made = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert made.returncode == 0, made.stderr
    return next(out.glob("*.whl"))


def test_the_wheel_holds_the_julia_sources(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path)
    inside = f"pympnode/networks/engines/julia/{PACKAGE}/"
    for path in (ROOT / "julia").rglob("*.jl"):
        assert inside + path.relative_to(ROOT / "julia").as_posix() in names
    assert inside + "Project.toml" in names
    assert "pympnode/juliapkg.json" in names, "juliapkg looks beside the package, not deeper"
    assert not [n for n in names if n.endswith("Manifest.toml")]
    code = (
        "from pympnode.networks.engines.julia.sources import julia_sources as s; "
        "from pympnode.networks.engines.julia.client import ROOT; print(s()); print(ROOT)"
    )
    out = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    found, root = out.stdout.split()
    assert Path(found) == tmp_path / inside.rstrip("/") and Path(root) == tmp_path


def test_the_notebook_is_code_and_its_outputs_are_not_invented() -> None:
    cells = json.loads((ROOT / "examples" / "julia_engine.ipynb").read_text(encoding="utf-8"))[
        "cells"
    ]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    for cell in code:
        ast.parse("".join(cell["source"]))
        assert cell["execution_count"] is not None or not cell["outputs"]


def test_juliapkg_finds_the_list_in_the_wheel(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("juliapkg", reason="juliapkg comes with juliacall")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = "from juliapkg.deps import deps_files; print('\\n'.join(deps_files()))"
    out = subprocess.run(
        [sys.executable, "-P", "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    )
    assert str(tmp_path / "pympnode" / "juliapkg.json") in out.stdout.split("\n")


def test_juliapkg_understands_every_bound() -> None:
    compat = pytest.importorskip("juliapkg.compat", reason="juliapkg comes with juliacall")
    listed = json.loads((ROOT / "pympnode" / "juliapkg.json").read_text(encoding="utf-8"))
    julia = compat.Compat.parse(listed["julia"])
    assert compat.Version.parse("1.10.8") in julia
    assert compat.Version.parse("1.9.4") not in julia
    for entry in listed["packages"].values():
        compat.Compat.parse(entry["version"])
