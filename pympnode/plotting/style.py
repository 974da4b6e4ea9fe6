"""Colours, labels and empty axes that all pictures share.

Categories have the palette of Okabe and Ito (2008), which people with the common colour vision
deficiencies can distinguish; ordered values have viridis, signed ones a blue to red map, and angles a
cyclic one; grey is what the data do not have. matplotlib's global settings are not changed.
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
MISSING = "0.82"
NO_DATA, NO_TRUTH = "no data", "no truth"
Z_UNITS = "z units"
FigureSize = tuple[float, float]


def label(name: str, unit: str = "1") -> str:
    """An axis label, "name (unit)"; "name" for the unit "1", and for units without a scale that are named
    after what they measure, as "time"."""
    name = name.replace("_", " ")
    return name if unit in ("1", "", name) else f"{name} ({unit})"


def moment(time: float, unit: str) -> str:
    """A time as a title, "t = 2.5 s"."""
    return f"t = {time:.3g}" + ("" if unit in ("1", "", "time") else f" {unit}")


def new_axes(
    width: float = 6.0, height: float = 3.6, figsize: FigureSize | None = None, **options: Any
) -> Axes:
    """Axes in a new figure of ``figsize``, by default ``width`` x ``height`` inches."""
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=figsize or (width, height), layout="constrained")
    return figure.add_subplot(**options)


def new_grid(
    rows: int,
    columns: int,
    width: float,
    height: float,
    figsize: FigureSize | None = None,
    **options: Any,
) -> np.ndarray:
    """Axes (rows, columns) in a new figure of ``figsize``, by default ``width`` x ``height`` inches."""
    import matplotlib.pyplot as plt

    _, axes = plt.subplots(
        rows,
        columns,
        figsize=figsize or (width, height),
        squeeze=False,
        layout="constrained",
        **options,
    )
    return axes


def legend_above(figure: Any, handles: Any, labels: Any) -> None:
    """A legend above all panels, where it covers no curve, in as many columns as there is room for."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    font = FontProperties(size="medium" if len(labels) <= 2 else "small")
    size = font.get_size_in_points()
    widest = max(
        TextPath((0, 0), text or " ", size, prop=font).get_extents().width for text in labels
    )
    # Beside its text an entry has a line, a gap, and the space to the next column: in matplotlib 4.8 font sizes.
    room = 72 * figure.get_figwidth() // (widest + 4.8 * size)
    most = max(1, min(len(labels), int(room)))
    columns = -(-len(labels) // -(-len(labels) // most))
    figure.legend(
        handles, labels, loc="outside upper center", ncols=columns, frameon=False, prop=font
    )


def without_truth(ax: Axes, start: float, end: float) -> None:
    """Mark the times from ``start`` to ``end``, of which the data have no truth."""
    ax.axvspan(start, end, color="0.93", linewidth=0, zorder=0, label=NO_TRUTH)


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
