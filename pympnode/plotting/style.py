"""Colours, labels and empty axes that all pictures share.

Categories have the palette of Okabe and Ito (2008), which people with the common colour vision
deficiencies can distinguish; ordered values have viridis, signed ones a blue to red map, and angles a
cyclic one. matplotlib's global settings are not changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
TRUTH = "#8C8C8C"
MODEL = "#0072B2"
SEQUENTIAL, SIGNED, CYCLIC = "viridis", "RdBu_r", "twilight"


def label(name: str, unit: str = "1") -> str:
    """An axis label, "name (unit)", or "name" for the unit "1"."""
    name = name.replace("_", " ")
    return name if unit in ("1", "") else f"{name} ({unit})"


def moment(time: float, unit: str) -> str:
    """A time as a title, "t = 2.5 s"."""
    return f"t = {time:.3g}" + ("" if unit in ("1", "") else f" {unit}")


def new_axes(width: float = 6.0, height: float = 3.6, **options: Any) -> Axes:
    """Axes in a new figure of ``width`` x ``height`` inches."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(width, height), layout="constrained")
    return figure.add_subplot(**options)


def new_grid(rows: int, columns: int, width: float, height: float, **options: Any) -> np.ndarray:
    """Axes (rows, columns) in a new figure of ``width`` x ``height`` inches."""
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(
        rows, columns, figsize=(width, height), squeeze=False, layout="constrained", **options
    )
    return axes


def plain(ax: Axes) -> None:
    """Draw a light grid behind the lines, and no frame at the top and the right."""
    ax.grid(True, color="0.9", linewidth=0.7)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)


def by_order(count: int) -> list[Any]:
    """``count`` colours of the palette, or graded ones if the palette has fewer."""
    return list(PALETTE[:count]) if count <= len(PALETTE) else graded(count)


def graded(count: int) -> list[Any]:
    """``count`` ordered colours of the sequential map, without its palest end."""
    import matplotlib

    ends = (0.0, 0.9) if count > 1 else (0.3, 0.3)
    return list(matplotlib.colormaps[SEQUENTIAL](np.linspace(*ends, count)))
