"""Tables in notebooks."""

from __future__ import annotations

import html
from typing import Any


def html_table(title: str, lines: dict[str, Any]) -> str:
    """A two-column table."""
    rows = "".join(
        f"<tr><th style='text-align:left;vertical-align:top'>{html.escape(str(name))}</th>"
        f"<td style='text-align:left'>{html.escape(str(text))}</td></tr>"
        for name, text in lines.items()
    )
    return f"<table><caption><code>{html.escape(title)}</code></caption>{rows}</table>"
