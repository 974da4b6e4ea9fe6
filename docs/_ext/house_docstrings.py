"""The layout of this package's docstrings, made into reStructuredText.

A docstring is prose in which three things mean more than they do in reStructuredText: a heading line
("Main arguments:") over an indented block, a paragraph "Returns: ...", and entries "name, name: what
it is", whose further lines may be indented. Tables and examples are left alone. A bar is a bar, as in |x|.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

_HEADING = re.compile(r"^([A-Z][A-Za-z ]+):$")
_NOTE = re.compile(r"^(Returns|Raises|Warns|Model|Run|Parameters): +(\S.*)$")
_NAMES = r"`{0,2}\w+`{0,2}"
_ENTRY = re.compile(rf"^({_NAMES}(?:(?:, | or | and ){_NAMES})*): +(\S.*)$")
_RULE = re.compile(r"^=[= ]+$")
_BAR = re.compile(r"(?<!\\)\|(?=(?:[^`]*`[^`]*`)*[^`]*$)")  # not inside `code`


def rewrite(lines: list[str]) -> list[str]:
    """The lines of a docstring, dedented, as reStructuredText."""
    out: list[str] = []
    alone: set[str] = set()
    at = 0
    while at < len(lines):
        line = lines[at]
        block = _below(lines, at + 1)
        if heading := _HEADING.match(line):
            if block:
                out += ["", f"**{heading[1]}**", "", *rewrite(_dedent(block)), ""]
                at += 1 + len(block)
                continue
        elif _RULE.match(line) or line.startswith((">>>", "..")):
            end = at
            while end < len(lines) and lines[end].strip():
                end += 1
            out += lines[at:end]
            alone.update(lines[at:end])
            at = end
            continue
        note, entry = _NOTE.match(line), _ENTRY.match(line)
        if note or (entry and (entry[1][0].islower() or entry[1][0] == "`")):
            rest, at = _rest(lines, at + 1)
            if note:
                out += ["", f"**{note[1]}:** {note[2]}", *rest, ""]
            else:
                names = entry[1].replace("`", "")
                out += ["", f"* **{names}**: {entry[2]}", *(f"  {text}" for text in rest), ""]
            continue
        out.append(line)
        at += 1
    return [line if line in alone else _BAR.sub(r"\|", line) for line in out]


def _below(lines: list[str], at: int) -> list[str]:
    """The indented block that starts at a line, blank lines inside it included."""
    end = at
    while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" ")):
        end += 1
    while end > at and not lines[end - 1].strip():
        end -= 1
    return lines[at:end]


def _rest(lines: list[str], at: int) -> tuple[list[str], int]:
    """The further lines of an entry: up to a blank line, a heading or the next entry."""
    rest = []
    while at < len(lines) and lines[at].strip():
        line = lines[at]
        if any(pattern.match(line) for pattern in (_ENTRY, _NOTE, _HEADING)):
            break
        rest.append(line.strip())
        at += 1
    return rest, at


def _dedent(block: list[str]) -> list[str]:
    return textwrap.dedent("\n".join(block)).split("\n")


def _process(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = rewrite(list(lines))


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _process)
    return {"parallel_read_safe": True}
