"""What commands print: text for people, JSON for scripts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import click


def plain(value: Any) -> Any:
    """``value`` for JSON: arrays as lists, numbers that are not finite as null."""
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_json(value: Any) -> None:
    """One JSON value on stdout."""
    click.echo(json.dumps(plain(value), indent=2, allow_nan=False))


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """Left-aligned columns on stdout."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    for row in (head, *rows):
        click.echo("  ".join(word.ljust(width) for word, width in zip(row, widths)).rstrip())
