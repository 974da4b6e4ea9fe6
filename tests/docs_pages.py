"""What the pages of docs/ say, in pieces that a test can check."""

from __future__ import annotations

import ast
import builtins
import doctest
import inspect
import re
import shlex
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import unquote, urlsplit

import click

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.md") if "_generated" not in p.parts)

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """(line, text) of each block of code in a language."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        if match[1] == language:
            yield text.count("\n", 0, match.start()) + 1, match[2]


def examples(page: Path) -> doctest.DocTest:
    """The examples of a page, which share their names from top to bottom."""
    found, parser = [], doctest.DocTestParser()
    for line, text in blocks(page, "pycon"):
        for example in parser.get_examples(text, str(page)):
            example.lineno += line
            found.append(example)
    name = page.relative_to(DOCS).as_posix()
    return doctest.DocTest(found, {}, name, str(page), 0, None)


# ---- Python that is shown and not run ---------------------------------------------------------


def wrong_names(code: str) -> list[str]:
    """Names of pympnode that do not exist, and keywords that its functions do not take."""
    tree, known, wrong = ast.parse(code), {}, []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "pympnode":
                    known[alias.asname or "pympnode"] = import_module(
                        alias.name if alias.asname else "pympnode"
                    )
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("pympnode"):
            for alias in node.names:
                source = import_module(node.module or "")
                if not hasattr(source, alias.name):
                    wrong.append(f"{node.module}.{alias.name}")
                    continue
                known[alias.asname or alias.name] = getattr(source, alias.name)
    known.setdefault("pympnode", import_module("pympnode"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = _value(node.value, known)
            if owner is not None and _part(owner, node.attr) is None:
                wrong.append(ast.unparse(node))
        elif isinstance(node, ast.Call):
            function = _value(node.func, known)
            if function is not None and callable(function):
                taken = _keywords(function)
                wrong += [
                    f"{ast.unparse(node.func)}({keyword.arg}=)"
                    for keyword in node.keywords
                    if keyword.arg and taken and keyword.arg not in taken
                ]
    return wrong


def _value(node: ast.expr, known: dict[str, Any]) -> Any:
    """What an expression such as ``pympnode.a.b`` is; None where it is nothing of pympnode."""
    if isinstance(node, ast.Name):
        return None if hasattr(builtins, node.id) else known.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _value(node.value, known)
        return None if owner is None else _part(owner, node.attr)
    return None


def _part(owner: Any, name: str) -> Any:
    """An attribute, or a module that was not imported yet; None where there is neither."""
    if not hasattr(owner, name) and isinstance(owner, ModuleType):
        try:
            return import_module(f"{owner.__name__}.{name}")
        except ModuleNotFoundError:
            return None
    return getattr(owner, name, None)


def _keywords(function: Any) -> set[str]:
    """The keywords that a function takes; those of two functions pass through to others."""
    import pympnode
    from pympnode.particles.fitting import train_particles
    from pympnode.particles.simulate import simulate_particles

    parameters = inspect.signature(function).parameters.values()
    names = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
    if function is pympnode.finetune:
        return names | _keywords(pympnode.train)
    if function is pympnode.simulate:
        return names | _keywords(simulate_particles)
    if function is pympnode.train:
        return names | _keywords(train_particles)
    return names


# ---- commands ---------------------------------------------------------------------------------


def wrong_commands(script: str) -> list[str]:
    """Commands and options of the command line that do not exist."""
    from pympnode.cli import cli

    wrong = []
    for line in re.sub(r"\\\n", " ", script).splitlines():
        words = shlex.split(line, comments=True)
        if not words or not words[0].endswith("pympnode"):
            continue
        command: click.Command = cli
        context = click.Context(cli)
        for place, word in enumerate(words[1:], 1):
            if word.startswith("-"):
                options = {o for p in command.params for o in (*p.opts, *p.secondary_opts)}
                options |= {"-h", "--help"}
                if word.split("=")[0] not in options:
                    wrong.append(f"{' '.join(words[:place])}: {word}")
            elif isinstance(command, click.Group):
                found = command.get_command(context, word)
                if found is None:
                    wrong.append(" ".join(words[: place + 1]))
                    break
                command = found
    return wrong


# ---- the built site ---------------------------------------------------------------------------


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[n] for n in ("id", "name") if values.get(n)}
        for name in ("href", "src"):
            if name in values:
                is_link = tag == "a" or values.get("rel") in ("canonical", "author")
                (self.links if is_link else self.loaded).append(values[name])


def broken_links(site: Path) -> list[str]:
    """Local links of a built site, pictures and scripts included, that lead nowhere."""
    pages = {path: _Links() for path in site.rglob("*.html")}
    for path, found in pages.items():
        found.feed(path.read_text(encoding="utf-8"))
    broken = []
    for path, found in pages.items():
        for link in found.links + found.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or link == "#":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.exists():
                broken.append(f"{path.name}: {link}")
            elif anchor and target in pages and anchor not in pages[target].anchors:
                broken.append(f"{path.name}: {link}")
    return broken


def fetched(site: Path) -> list[str]:
    """What the pages of a site load from elsewhere."""
    out = []
    for path in site.rglob("*.html"):
        found = _Links()
        found.feed(path.read_text(encoding="utf-8"))
        out += [f"{path.name}: {link}" for link in found.loaded if urlsplit(link).netloc]
    return out
