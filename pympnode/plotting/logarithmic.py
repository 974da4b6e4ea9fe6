"""Ticks of logarithmic axes whose labels are few, exact and all different.

matplotlib labels minor ticks as "3 x 10^-1 4 x 10^-1", which run into each other, and within a part of
a decade falls back to numbers such as "1.71 x 10^-1".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import Formatter, Locator, LogLocator, MaxNLocator, NullFormatter

MOST = 7
_STEPS = ((1.0,), (1.0, 3.0), (1.0, 2.0, 5.0))


class LogTicks(Locator):
    """Powers of ten; within few decades 1 and 3, or 1, 2 and 5 of each; within less even steps."""

    def __call__(self) -> Any:
        return self.tick_values(*self.axis.get_view_interval())  # type: ignore[union-attr]

    def tick_values(self, vmin: float, vmax: float) -> Any:
        low, high = sorted((float(vmin), float(vmax)))
        if not (np.isfinite([low, high]).all() and low > 0):
            return np.array([1.0])
        decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
        for steps in _STEPS:
            ticks = np.multiply.outer(10.0**decades, steps).ravel()
            ticks = ticks[(ticks >= low * (1 - 1e-9)) & (ticks <= high * (1 + 1e-9))]
            if len(ticks) >= 3:
                return ticks[:: -(-len(ticks) // MOST)]
        ticks = np.asarray(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high))
        return ticks[(ticks > 0) & (ticks >= low) & (ticks <= high)]


class LogLabels(Formatter):
    """Numbers without an exponent from 0.001 to 9999, with as many digits as all need; else powers of ten."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return self.format_ticks([x])[0]

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        return [_text(float(v)) for v in values]


def _text(value: float) -> str:
    rounded = float(f"{value:.6g}")  # 0.30000000000000004
    if rounded == 0 or 1e-3 <= abs(rounded) < 1e4:
        return f"{rounded:.6g}"
    factor, exponent = f"{rounded:e}".split("e")
    power = f"10^{{{int(exponent)}}}"
    return f"${power}$" if float(factor) == 1 else rf"${float(factor):g}\times{power}$"


def logarithmic(ax: Any, *names: str) -> None:
    """Make the axes "x" or "y" of ``ax`` logarithmic, with these ticks."""
    for name in names:
        getattr(ax, f"set_{name}scale")("log")
        axis = getattr(ax, f"{name}axis")
        axis.set_major_locator(LogTicks())
        axis.set_major_formatter(LogLabels())
        axis.set_minor_locator(LogLocator(10, subs=range(2, 10)))
        axis.set_minor_formatter(NullFormatter())
