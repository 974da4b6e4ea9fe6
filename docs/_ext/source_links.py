"""Sphinx extension: repairs the links from the pages of source code back to the reference.

sphinx.ext.viewcode keeps one public name for each module, and uses it for all objects of the module:
where some are documented under a shorter name (`pympnode.TrainConfig` of `pympnode.config`) and others
are not (`pympnode.config.Preset`), the links of one kind lead nowhere.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote

_BACK = re.compile(r'<a class="viewcode-back" href="([^"#]+)#([^"]+)">\[docs\]</a>')


def _repair(app: Any, problem: Exception | None) -> None:
    if problem is not None or app.builder.format != "html":
        return
    out = Path(app.outdir)
    anchors: dict[Path, set[str]] = defaultdict(set)
    for entry in app.env.domains["py"].objects.values():
        anchors[out / f"{entry.docname}.html"].add(entry.node_id)
    for page in (out / "_modules").rglob("*.html"):
        text = page.read_text(encoding="utf-8")

        def link(match: re.Match[str], folder: Path = page.parent) -> str:
            target = Path(os.path.normpath(folder / unquote(match[1])))
            found = best(match[2], anchors.get(target, set()))
            return match[0].replace(f"#{match[2]}", f"#{found}") if found else ""

        repaired = _BACK.sub(link, text)
        if repaired != text:
            page.write_text(repaired, encoding="utf-8")


def best(anchor: str, known: set[str]) -> str | None:
    """The anchor, or the shortest known one of the same object; None where there is none."""
    if anchor in known:
        return anchor
    names = anchor.split(".")
    for first in range(1, len(names)):
        tail = "." + ".".join(names[first:])
        if found := [one for one in known if one.endswith(tail)]:
            return min(found, key=lambda one: (len(one), one))
    return None


def setup(app: Any) -> dict[str, bool]:
    # viewcode writes its pages before this event.
    app.connect("build-finished", _repair)
    return {"parallel_read_safe": True}
