"""``figsize=`` of pictures: a size in inches, with smaller text where it is that of a paper's column."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import numpy as np

from ..errors import InvalidOption, shown_value

P = ParamSpec("P")
R = TypeVar("R")

NARROW = 5.0  # inches
SMALL_TEXT = 8.0  # points


def sized(function: Callable[P, R]) -> Callable[P, R]:
    """A decorator for pictures with the keyword ``figsize``: width and height of the figure in inches.

    It is checked. The text of figures narrower than 5 inches has 8 points instead of matplotlib's 10.
    """

    @functools.wraps(function)
    def drawn(*args: P.args, **keywords: P.kwargs) -> R:
        if keywords.get("figsize") is None:
            return function(*args, **keywords)
        size = figure_size("figsize", keywords["figsize"])
        if keywords.get("ax") is not None or keywords.get("axes") is not None:
            raise InvalidOption(
                "figsize is the size of a new figure, and the axes were given",
                got=f"figsize={size}",
                allowed="figsize=, or ax= and axes=",
                fix="fig, ax = plt.subplots(figsize=...)",
            )
        import matplotlib

        points = float(matplotlib.rcParams["font.size"])
        if size[0] < NARROW:
            points = min(points, SMALL_TEXT)
        keywords["figsize"] = size
        with matplotlib.rc_context({"font.size": points}):
            return function(*args, **keywords)

    return drawn


def figure_size(name: str, value: Any) -> tuple[float, float]:
    """Width and height in inches. Raises `InvalidOption`."""
    try:
        width, height = (float(each) for each in value)
    except (TypeError, ValueError, OverflowError):
        width = height = np.nan
    if isinstance(value, str | bytes) or not (0 < width <= 100 and 0 < height <= 100):
        raise InvalidOption(
            f"{name} is the width and the height of the figure",
            got=shown_value(value),
            allowed="two numbers, > 0 and at most 100 inches",
            fix=f"{name}=(3.4, 2.6) for a column of a paper",
        )
    return width, height
