"""Training ranges: texts for physics outside of them, and the warnings."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import OutsideTrainingRange, PympnodeWarning


def different_parameters(trained: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """A text for each parameter of the physics that differs; those of other shapes are skipped."""
    found = []
    for name in sorted(trained.keys() & given.keys()):
        try:
            a, b = np.asarray(trained[name]), np.asarray(given[name])
        except ValueError:  # lists of unequal length
            continue
        if a.dtype.kind not in "fiu" or b.dtype.kind not in "fiu" or a.shape != b.shape:
            continue
        if not np.allclose(a, b, rtol=1e-9, atol=1e-12):
            found.append(f"parameter {name} {short_value(b)}, trained on {short_value(a)}")
    return found


def beyond_parameters(spans: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """A text for each parameter outside the span (smallest, largest) of several datasets."""
    found = []
    for name in sorted(spans.keys() & given.keys()):
        low, high = (np.asarray(end) for end in spans[name])
        value = np.asarray(given[name])
        if value.dtype.kind not in "fiu" or value.shape != low.shape:
            continue
        slack = 1e-9 * np.maximum(np.abs(low), np.abs(high))
        if np.any(value < low - slack) or np.any(value > high + slack):
            found.append(
                f"parameter {name} {short_value(value)}, trained on {describe_span(low, high)}"
            )
    return found


def describe_span(low: Any, high: Any) -> str:
    """``low`` to ``high`` as text, for numbers and arrays."""
    return f"{short_value(np.asarray(low))} to {short_value(np.asarray(high))}"


def describe_value(value: Any) -> str:
    """A parameter as short text: up to four numbers, larger arrays by their norm."""
    array = np.asarray(value)
    return short_value(array) if array.dtype.kind in "fiu" else str(value)


def warn_outside(what: str, found: list[str]) -> None:
    """One warning `OutsideTrainingRange` for all texts in ``found``; none where it is empty."""
    if found:
        warn_user(
            f"{what} lies outside what the model was trained on: " + "; ".join(found),
            OutsideTrainingRange,
        )


def warn_user(text: str, category: type[PympnodeWarning] = PympnodeWarning) -> None:
    """A warning whose location is the line of the user that called the package."""
    warnings.warn(text, category, stacklevel=_callers_level())


def _callers_level() -> int:
    """The stack level, for `warn_user`, of the first line outside of this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("pympnode"):
        frame, level = frame.f_back, level + 1
    return level


def interval(low: float, high: float) -> str:
    """Two numbers as "low to high", or one where they read the same."""
    a, b = f"{low:.4g}", f"{high:.4g}"
    return a if a == b else f"{a} to {b}"


def short_value(values: np.ndarray) -> str:
    """An array of numbers as short text: up to four of them, larger arrays by their norm."""
    if values.ndim == 0:
        return f"{float(values):.4g}"
    if values.size <= 4:
        return np.array2string(values, precision=4, separator=", ")
    return f"of norm {np.linalg.norm(values):.4g}"
