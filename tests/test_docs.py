"""The documentation builds without a warning, its links have targets, and its code is correct."""

from __future__ import annotations

import doctest
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from docs_pages import (
    DOCS,
    PAGES,
    ROOT,
    blocks,
    broken_links,
    examples,
    loaded_from_other_hosts,
    old_paths,
    wrong_commands,
    wrong_names,
)

import pympnode
from pympnode._moved import MOVED

TOOLS = ("sphinx", "furo", "myst_parser", "sphinx_copybutton", "sphinx_design")
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "pympnode").rglob("*.py")
    if re.search(r"^\s*>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
)
NEEDS = {"howto/identify.md": "pysindy"}  # packages that the tests alone do not bring
PACKAGES = (
    "systems", "networks", "networks.graphs", "particles", "particles.graphs", "plotting",
    "experiments",
)  # fmt: skip
# Texts that may name old module paths: they say how to replace them.
ON_OLD_NAMES = (ROOT / "CHANGELOG.md", DOCS / "explanation" / "deprecation.md")
READ = sorted(
    {
        ROOT / "README.md",
        *PAGES,
        *(ROOT / "examples").glob("*.ipynb"),
        *(ROOT / "examples").glob("*.py"),
    }
    - set(ON_OLD_NAMES)
)


def page_id(page: Path) -> str:
    return page.relative_to(DOCS).as_posix()


def run(test: doctest.DocTest) -> None:
    failures = io.StringIO()
    doctest.DocTestRunner(verbose=False).run(test, out=failures.write)
    assert not failures.getvalue(), failures.getvalue()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    missing = [name for name in TOOLS if importlib.util.find_spec(name) is None]
    if missing:
        pytest.skip(f'{", ".join(missing)} not installed: pip install -e ".[docs]"')
    out = tmp_path_factory.mktemp("docs")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-d", str(out / "trees"),
         str(DOCS), str(out / "site")],
        env={**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out / "site"


@pytest.fixture(scope="module")
def documented(site: Path) -> set[str]:
    from sphinx.util.inventory import InventoryFile

    loaded = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="")
    return {name for kind in loaded.data if kind.startswith("py:") for name in loaded.data[kind]}


def test_the_site_has_all_pages(site: Path) -> None:
    for page in PAGES:
        assert (site / page.relative_to(DOCS).with_suffix(".html")).exists()


def test_links_have_targets(site: Path) -> None:
    assert broken_links(site) == []


def test_pages_load_nothing_from_other_hosts(site: Path) -> None:
    assert loaded_from_other_hosts(site) == []


def test_every_public_name_is_in_the_reference(documented: set[str]) -> None:
    """Under its public name, or under that of the module that defines it."""
    missing = set()
    for package in (pympnode, *(import_module(f"pympnode.{name}") for name in PACKAGES)):
        for name in package.__all__:
            value = getattr(package, name)
            public = {f"pympnode.{name}", *(f"pympnode.{parent}.{name}" for parent in PACKAGES)}
            defined = f"{getattr(value, '__module__', '')}.{name}"
            if callable(value) and not {defined, *public} & documented:
                missing.add(f"{package.__name__}.{name}")
    assert missing == set()
    assert {"pympnode.train", "pympnode.systems.System", "pympnode.Model.rollout"} <= documented


@pytest.mark.parametrize("path", READ, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_text_uses_a_module_path_that_has_moved(path: Path) -> None:
    assert old_paths(path.read_text(encoding="utf-8")) == set()


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_references_of_a_page_are_documented(page: Path, documented: set[str]) -> None:
    text = page.read_text(encoding="utf-8")
    named = set(re.findall(r"\{py:\w+\}`~?([\w.]+)`", text))
    assert named <= documented


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_names_in_prose_exist(page: Path) -> None:
    """Every `pympnode.a.b` in running text exists."""
    text = page.read_text(encoding="utf-8")
    for name in set(re.findall(r"`(pympnode(?:\.\w+)+)`", text)):
        if (ROOT / name.replace("`", "")).exists():
            continue
        assert wrong_names(name) == [], name


@pytest.mark.parametrize("page", [p for p in PAGES if examples(p).examples], ids=page_id)
def test_examples_of_a_page(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page_id(page) in NEEDS:
        pytest.importorskip(NEEDS[page_id(page)])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "examples")  # pages import the functions of scripts
    run(examples(page))


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings(
    module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.DocTestFinder().find(import_module(module))
    assert any(test.examples for test in found)
    for test in found:
        run(test)


def test_links_of_the_readme_have_targets() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    assert links and [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", *PAGES], ids=lambda page: page.name)
def test_code_that_is_shown(page: Path) -> None:
    for line, code in blocks(page, "python"):
        assert wrong_names(code) == [], f"{page.name}:{line}"
    for line, script in blocks(page, "bash"):
        assert wrong_commands(script) == [], f"{page.name}:{line}"


def test_the_table_of_old_names_has_every_module_that_moved() -> None:
    """In full, or by its last name in the row of its package."""
    text = (DOCS / "explanation" / "deprecation.md").read_text(encoding="utf-8")
    rows = [row.split("|")[1] for row in text.splitlines() if row.startswith("| `")]
    for module in MOVED:
        package, _, last = module.rpartition(".")
        named = [row for row in rows if f"`{module}`" in row]
        named += [row for row in rows if f"`{package}." in row and f"`{last}`" in row]
        assert named or any(other.startswith(f"{module}.") for other in MOVED), module


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.ipynb")), ids=lambda p: p.stem)
def test_code_of_a_notebook(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    assert wrong_names(code) == []


def test_measured_tables_are_included_from_results() -> None:
    """Tables of measurements are included from benchmarks/results, not copied."""
    text = (DOCS / "explanation" / "transfer.md").read_text(encoding="utf-8")
    measured = text.split("## Measurements")[1]
    included = re.findall(r"\{include\} ../../(benchmarks/results/\w+\.md)", measured)
    assert included and all((ROOT / path).exists() for path in included)
    assert not re.search(r"^\|", text, re.MULTILINE)


# ---- the checks themselves --------------------------------------------------------------------


def test_wrong_names_are_found() -> None:
    assert wrong_names("import pympnode\npympnode.trian(epochs=1)") == ["pympnode.trian"]
    assert wrong_names("pympnode.train(epoch=1)") == ["pympnode.train(epoch=)"]
    assert wrong_names("from pympnode import nothing") == ["pympnode.nothing"]
    assert wrong_names("pympnode.finetune(model, nodes=3)\nother.call(x=1)") == []


def test_old_paths_are_found() -> None:
    text = "pympnode.graphs.hierarchy and from pympnode.schema import record, `pympnode.Model`"
    assert old_paths(text) == {"pympnode.graphs", "pympnode.schema"}
    assert old_paths("from pympnode.systems import own_system") == {"pympnode.systems.own_system"}
    assert old_paths("from pympnode import graphs, train") == {"pympnode.graphs"}
    assert (
        old_paths("pympnode.networks.graphs, pympnode.data_of, pympnode.particles.schema") == set()
    )


def test_wrong_commands_are_found() -> None:
    assert wrong_commands("pympnode trian kuramoto") == ["pympnode trian"]
    assert wrong_commands("pympnode train --epoch 3") == ["pympnode train: --epoch"]
    assert wrong_commands("pip install x\npympnode train kuramoto --epochs 3  # --no") == []


def test_broken_links_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="b.html#here">x</a><a href="c.html">y</a>')
    (tmp_path / "b.html").write_text('<p id="there"><script src="https://example.org/x.js">')
    assert broken_links(tmp_path) == ["a.html: b.html#here", "a.html: c.html"]
    assert loaded_from_other_hosts(tmp_path) == ["b.html: https://example.org/x.js"]
