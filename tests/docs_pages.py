"""Parts of the documentation pages that tests check: examples, names, commands, links."""

from __future__ import annotations

import ast
import builtins
import doctest
import inspect
import re
import shlex
from collections.abc import Iterator
from functools import cache
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
    """(line, text) of each code block in a language."""
    text = page.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        if match[1] == language:
            yield text.count("\n", 0, match.start()) + 1, match[2]


def examples(page: Path) -> doctest.DocTest:
    """The examples of a page, which share one namespace."""
    found, parser = [], doctest.DocTestParser()
    for line, text in blocks(page, "pycon"):
        for example in parser.get_examples(text, str(page)):
            example.lineno += line
            found.append(example)
    name = page.relative_to(DOCS).as_posix()
    return doctest.DocTest(found, {}, name, str(page), 0, None)


# ---- Python code that is shown but not run ------------------------------------------------------


def wrong_names(code: str) -> list[str]:
    """Names in pympnode that do not exist, and keywords that its functions do not accept."""
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
            if owner is not None and _attribute(owner, node.attr) is None:
                wrong.append(ast.unparse(node))
        elif isinstance(node, ast.Call):
            function = _value(node.func, known)
            if function is not None and callable(function):
                accepted = _keywords(function)
                wrong += [
                    f"{ast.unparse(node.func)}({keyword.arg}=)"
                    for keyword in node.keywords
                    if keyword.arg and accepted and keyword.arg not in accepted
                ]
    return wrong


def _value(node: ast.expr, known: dict[str, Any]) -> Any:
    """The value of an expression such as ``pympnode.a.b``; None for anything outside pympnode."""
    if isinstance(node, ast.Name):
        return None if hasattr(builtins, node.id) else known.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _value(node.value, known)
        return None if owner is None else _attribute(owner, node.attr)
    return None


def _attribute(owner: Any, name: str) -> Any:
    """An attribute, or a module that is not imported yet; None if there is neither."""
    if not hasattr(owner, name) and isinstance(owner, ModuleType):
        try:
            return import_module(f"{owner.__name__}.{name}")
        except ModuleNotFoundError:
            return None
    return getattr(owner, name, None)


def _keywords(function: Any) -> set[str]:
    """The keywords that a function accepts, with those that it passes on to another function."""
    import pympnode

    parameters = inspect.signature(function).parameters.values()
    names = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
    if len(names) == len(parameters):
        return names
    if function in (pympnode.finetune, pympnode.sweep):
        return names | _keywords(pympnode.train)
    if function is pympnode.simulate:
        return names | _keywords(import_module("pympnode.particles.simulate").simulate_particles)
    if function is pympnode.train:
        return names | _keywords(import_module("pympnode.particles.fitting").train_particles)
    return names


def old_paths(text: str) -> set[str]:
    """Modules and names of version 0.1 in a text that have moved, and warn where they are used."""
    from pympnode._moved import MOVED

    named = set(re.findall(r"pympnode(?:\.\w+)+", text))
    for package, names in re.findall(r"from (pympnode[\w.]*) import ([\w, ]+)", text):
        named |= {f"{package}.{name.split()[0]}" for name in names.split(",") if name.strip()}
    prefixes = {".".join(name.split(".")[:n]) for name in named for n in range(2, 6)}
    return prefixes & {*MOVED, "pympnode.systems.own_system"}


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


@cache  # a site is built once, and several tests read it
def _links_of(page: Path) -> _Links:
    found = _Links()
    found.feed(page.read_text(encoding="utf-8"))
    return found


def broken_links(site: Path) -> list[str]:
    """Local links of a built site, with those to pictures and scripts, whose target does not exist."""
    pages = {path: _links_of(path) for path in site.rglob("*.html")}
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


def loaded_from_other_hosts(site: Path) -> list[str]:
    """What the pages of a site load from other hosts."""
    out = []
    for path in site.rglob("*.html"):
        loaded = _links_of(path).loaded
        out += [f"{path.name}: {link}" for link in loaded if urlsplit(link).netloc]
    return out
