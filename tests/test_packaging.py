"""What a release needs: versions, bounds, licence, workflows and lists that must agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pympnode.version import __version__

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PYTHONS = [
    c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r"Python :: 3\.\d+$", c)
]


def read_yaml(path: str) -> Any:
    yaml = pytest.importorskip("yaml", reason="PyYAML comes with myst-parser")
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


def bounds(requirements: list[str]) -> dict[str, str]:
    """Name and bounds of requirements of pip ("numba>=0.60,<0.70") or conda ("numba >=0.60,<0.70")."""
    found = {}
    for text in requirements:
        match = re.fullmatch(r"([\w.-]+?)\s*([<>=!].*)?", text)
        assert match, text
        found[match[1].lower()] = match[2] or ""
    return found


def test_every_file_names_the_same_version() -> None:
    assert PROJECT["version"] == __version__
    citation = read_yaml("CITATION.cff")
    assert citation["version"] == citation["preferred-citation"]["version"] == __version__
    recipe = (ROOT / "packaging" / "conda" / "meta.yaml").read_text(encoding="utf-8")
    assert f'set version = "{__version__}"' in recipe


def test_the_licence_is_an_spdx_expression() -> None:
    assert PROJECT["license"] == "MIT" == read_yaml("CITATION.cff")["license"]
    assert all((ROOT / name).is_file() for name in PROJECT["license-files"])
    # PEP 639: the expression replaces the classifiers.
    assert not any(c.startswith("License ::") for c in PROJECT["classifiers"])


def test_the_conda_recipe_has_the_bounds_of_the_package() -> None:
    lines = (ROOT / "packaging" / "conda" / "meta.yaml").read_text(encoding="utf-8").splitlines()
    run = lines[lines.index("  run:") + 1 : lines.index("test:")]
    recipe = bounds([line.strip("- ") for line in run if line.startswith("    - ")])
    assert "python" in recipe
    del recipe["python"]
    of_conda = {"torch": "pytorch", "matplotlib": "matplotlib-base"}
    ours = {of_conda.get(n, n): b for n, b in bounds(PROJECT["dependencies"]).items()}
    assert recipe == ours


def test_numba_has_an_upper_bound_that_holds_what_was_tried() -> None:
    """`files.compiling` writes to private attributes of numba's cache."""
    import numba

    found = bounds(PROJECT["dependencies"])["numba"]
    upper = re.search(r"<(\d+)\.(\d+)", found)
    assert upper
    assert tuple(map(int, numba.__version__.split(".")[:2])) < (int(upper[1]), int(upper[2]))


@pytest.mark.parametrize("name", ["tests", "release"])
def test_workflows_run_on_the_versions_of_the_classifiers(name: str) -> None:
    workflow = read_yaml(f".github/workflows/{name}.yml")
    found = set()
    for job in workflow["jobs"].values():
        matrix = job.get("strategy", {}).get("matrix", {})
        found |= {*matrix.get("python", [])}
        found |= {row["python"] for row in matrix.get("include", [])}
    assert PYTHONS and found == set(PYTHONS)


def test_a_release_is_published_without_a_password_after_its_tests() -> None:
    jobs = read_yaml(".github/workflows/release.yml")["jobs"]
    assert jobs["publish"]["needs"] == "test"
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text(encoding="utf-8")
    assert "password" not in text.replace("no\n# password is stored", "")


@pytest.mark.parametrize("name", ["fault", "idea", "question"])
def test_issue_forms_have_what_a_form_needs(name: str) -> None:
    form = read_yaml(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert form["name"] and form["description"]
    ids = [field["id"] for field in form["body"]]
    assert len(set(ids)) == len(ids)
    for field in form["body"]:
        assert field["type"] in ("textarea", "dropdown", "input", "checkboxes")
        assert field["attributes"]["label"]


def test_the_tests_install_what_the_documentation_needs() -> None:
    extras = PROJECT["optional-dependencies"]
    assert set(extras["docs"]) <= set(extras["test"])
    pinned = bounds(re.sub("#.*", "", (ROOT / "constraints.txt").read_text()).split())
    for name, version in pinned.items():
        assert version.startswith("=="), name


def test_findings_are_all_listed_with_one_line() -> None:
    text = (ROOT / "findings" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w.]+)` \| \S.* \| \S.* \|$", text, re.MULTILINE)
    scripts = [p.name for p in (ROOT / "findings").iterdir() if p.name != "README.md"]
    assert sorted(listed) == sorted(scripts)
