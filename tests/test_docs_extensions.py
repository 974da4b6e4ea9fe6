"""The extensions of the documentation, without a build."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="the extra `docs` brings sphinx")
sys.path.append(str(Path(__file__).resolve().parent.parent / "docs" / "_ext"))

import docstrings
import generated_pages
import source_links

import pympnode


def test_arguments_have_the_types_of_the_signature() -> None:
    def function(nodes: int | None, dt: float, free: object) -> None:
        """One."""

    types = docstrings.types_of("function", function)
    assert types == {"nodes": "int | None", "dt": "float", "free": "object"}
    lines = ["Main arguments:", "    nodes, dt: two of them.", "    other: a third."]
    text = "\n".join(docstrings.rewrite(lines, types))
    assert "* **nodes** (``int | None``), **dt** (``float``): two of them." in text
    assert "* **other**: a third." in text
    assert docstrings.types_of("class", int) == {}
    assert docstrings.types_of("function", pympnode.train)["epochs"] == "int | None"


def test_back_links_find_the_longer_name() -> None:
    known = {"pympnode.config.Preset", "pympnode.TrainConfig", "pympnode.Mixed.rollout"}
    assert source_links.best("pympnode.TrainConfig", known) == "pympnode.TrainConfig"
    assert source_links.best("pympnode.Preset", known) == "pympnode.config.Preset"
    assert source_links.best("pympnode.hybrid.Mixed.rollout", known) == "pympnode.Mixed.rollout"
    assert source_links.best("pympnode.Nothing", known) is None


def test_every_table_of_results_is_on_one_page() -> None:
    pages = generated_pages.figures_pages()
    results = generated_pages.ROOT / "benchmarks" / "results"
    for path in results.rglob("*.md"):
        name = f"(`{path.relative_to(generated_pages.ROOT).as_posix()}`)"
        assert [text.count(name) for text in pages.values()].count(1) == 1, name
    assert set(generated_pages.TOPICS) >= {
        name.removeprefix("figures_").removesuffix(".md") for name in pages if name != "figures.md"
    }
    for name in pages:
        if name != "figures.md":
            assert f"/_generated/{name[:-3]}\n" in pages["figures.md"]


def test_the_gallery_shows_pictures_that_exist() -> None:
    docs = generated_pages.ROOT / "docs"
    for picture, (page, _, _) in generated_pages.SHOWN.items():
        assert (docs / "images" / picture).is_file()
        assert (docs / f"{page}.md").is_file()
    text = generated_pages.card("a", "Title", "About.", None)
    assert ":img-top:" not in text and ":link: a" in text


def test_code_of_the_pages_fits_its_box() -> None:
    """105 characters at a window of 1280 points (docs/_static/pympnode.css)."""
    docs = generated_pages.ROOT / "docs"
    wide = []
    for page in docs.rglob("*.md"):
        if "_generated" in page.parts:
            continue
        language = None
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            if line.startswith("```"):
                language = line[3:] if language is None else None
            # Outputs of examples cannot be wrapped.
            elif language in ("python", "bash") or (
                language == "pycon" and line.startswith((">>>", "..."))
            ):
                if len(line) > 105:
                    wide.append(f"{page.name}:{number}")
    assert wide == []
