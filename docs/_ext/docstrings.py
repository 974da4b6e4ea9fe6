"""Sphinx extension: converts the docstrings of this package to reStructuredText.

It converts three forms: a heading line ("Main arguments:") above an indented block; a paragraph that
begins with "Returns:" or "Raises:"; and entries "name, name: description", several of which may share
a line and whose continuation lines may be indented. Tables and examples stay unchanged. The character
| is escaped, so that |x| is an absolute value. `name` links to the documented object of that name. The
names of arguments get the types of the signature, which itself is shown without them.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Mapping
from typing import Any

from sphinx.util.nodes import make_refnode

_HEADING = re.compile(r"^([A-Z][A-Za-z ]+):$")
_NOTE = re.compile(r"^(Returns|Raises|Warns|Model|Run|Parameters): +(\S.*)$")
_NAMES = r"(?:`{0,2}[a-z_]\w*`{0,2})(?:(?:, | or | and )(?:`{0,2}[a-z_]\w*`{0,2}|\.\.\.))*"
_ENTRY = re.compile(rf"^({_NAMES}): +(\S.*)$")
_NEXT = re.compile(rf"(?<=\.) (?=(?:{_NAMES}): |(?:Raises|Returns|Warns) )")
_RULE = re.compile(r"^=[= ]+$")
# A bar, or code that may hold bars.
_BAR = re.compile(r"(``.*?``|`[^`]*`)|(?<!\\)\|")


def rewrite(lines: list[str], types: Mapping[str, str] = {}) -> list[str]:
    """The lines of a dedented docstring as reStructuredText. ``types``: of arguments, by name."""
    out: list[str] = []
    unchanged: set[str] = set()  # lines of tables and examples
    at = 0
    while at < len(lines):
        line = lines[at]
        if heading := _HEADING.match(line):
            block = _below(lines, at + 1)
            if block:
                out += ["", f"**{heading[1]}**", "", *rewrite(_dedent(block), types), ""]
                at += 1 + len(block)
                continue
        elif _RULE.match(line) or line.startswith((">>>", "..")):
            end = at
            while end < len(lines) and lines[end].strip():
                end += 1
            out += lines[at:end]
            unchanged.update(lines[at:end])
            at = end
            continue
        after_blank = not out or not out[-1].strip()
        if note := _NOTE.match(line):
            rest, at = _rest(lines, at + 1)
            out += ["", f"**{note[1]}:** {note[2]}", *rest, ""]
        elif after_blank and _ENTRY.match(line):
            rest, at = _rest(lines, at + 1)
            out += _entries(" ".join([line, *rest]), types)
        else:
            out.append(line)
            at += 1
    return [line if line in unchanged else _BAR.sub(lambda m: m[1] or r"\|", line) for line in out]


def _entries(text: str, types: Mapping[str, str]) -> list[str]:
    """Entries "name: description" of one paragraph as a list; "Raises ..." ends the list."""
    out: list[str] = []
    for piece in _NEXT.split(text):
        entry = _ENTRY.match(piece)
        if entry:
            out += ["", f"* {_named(entry[1].replace('`', ''), types)}: {entry[2]}"]
        else:
            out += ["", piece]
    return [*out, ""]


def _named(names: str, types: Mapping[str, str]) -> str:
    """Names of arguments in bold, each with its type."""
    if not any(name in types for name in re.findall(r"\w+", names)):
        return f"**{names}**"
    return re.sub(
        r"\b(?!(?:or|and)\b)[a-z_]\w*",
        lambda m: f"**{m[0]}**" + (f" (``{types[m[0]]}``)" if m[0] in types else ""),
        names,
    )


def types_of(what: str, obj: Any) -> dict[str, str]:
    """The annotations of the arguments of a function, as written in its source."""
    if what not in ("function", "method") or not callable(obj):
        return {}
    try:
        parameters = inspect.signature(obj).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {
        p.name: p.annotation.replace("NDArray[np.float64]", "NDArray")
        for p in parameters
        if isinstance(p.annotation, str) and p.annotation != "Any"
    }


def _below(lines: list[str], at: int) -> list[str]:
    """The indented block that starts at line ``at``, with the blank lines inside it."""
    end = at
    while end < len(lines) and (not lines[end].strip() or lines[end].startswith(" ")):
        end += 1
    while end > at and not lines[end - 1].strip():
        end -= 1
    return lines[at:end]


def _rest(lines: list[str], at: int) -> tuple[list[str], int]:
    """The continuation lines of an entry, and the index of the line after them.

    They end at a blank line, a heading or the next entry.
    """
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
    lines[:] = rewrite(list(lines), types_of(what, obj))


# ---- signatures -------------------------------------------------------------------------------

_ARRAY = re.compile(
    r"~?(?:numpy\.)?ndarray\[tuple\[~?(?:typing\.)?Any, \.\.\.\], "
    r"~?(?:numpy\.)?dtype\[~?(?:[\w.]+\.)?(\w+)\]\]"
)


def _shorter(text: str | None) -> str | None:
    if text is None:
        return None
    text = _ARRAY.sub(lambda m: "NDArray" if m[1] == "_ScalarT" else f"NDArray[{m[1]}]", text)
    return text.replace("<factory>", "...")


def _signature(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str, returned: str
) -> tuple[str | None, str | None]:
    return _shorter(signature), _shorter(returned)


# ---- links ------------------------------------------------------------------------------------


def _resolve(app: Any, env: Any, node: Any, content: Any) -> Any:
    """A link to the documented class or function of that name; the shortest path where several match."""
    if node.get("refdomain") != "py" or node.get("reftype") not in ("obj", "class", "exc"):
        return None
    target = node["reftarget"]
    found = [
        (len(name), name, entry)
        for name, entry in env.domains["py"].objects.items()
        if name.endswith(f".{target}") and entry.objtype in ("class", "exception", "function")
    ]
    if not found:
        return None
    _, name, entry = min(found, key=lambda each: each[:2])
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, content, name)


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _process)
    app.connect("autodoc-process-signature", _signature)
    app.connect("missing-reference", _resolve)
    return {"parallel_read_safe": True}
