"""States of nodes on a grid as images at several times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.patches import Patch

from ...config import (
    arguments,
    label,
    listing,
)
from ...errors import InvalidOption
from ...plotting import style
from ...plotting.choosing import shaped
from ...plotting.sizes import sized
from ..graphs.regular import grid_shape
from .graph_drawing import colour_map, colour_range, colour_values, missing
from .selection import view


@sized
@arguments(times=listing, feature=label, shape=listing)
def grid_state(
    ds: xr.Dataset,
    *,
    time: float | None = None,
    times: Sequence[float] | None = None,
    feature: str | None = None,
    trajectory: int = 0,
    shape: tuple[int, int] | None = None,
    figsize: style.FigureSize | None = None,
    axes: Any = None,
) -> np.ndarray:
    """``feature`` on a grid that the nodes fill row by row, an image for each of ``times``.

    ``times``: by default four, early ones closer together; ``time``: one; ``shape``: rows and columns, by
    default as equal as possible. All images have the same colour scale; nodes without data are grey.
    ``figsize``: inches. Returns the axes (time,). Raises
    `InvalidData`, `InvalidOption`, `UnknownName`.
    """
    one = view(ds, trajectory)
    number = one.feature(feature)
    rows, columns = shape or grid_shape(one.nodes)
    if rows * columns < one.nodes:
        raise InvalidOption(
            "the grid is too small",
            got=f"shape=({rows}, {columns}) for {one.nodes} nodes",
            allowed=f"rows * columns >= {one.nodes}",
            fix="leave shape= out",
        )
    if time is not None and times is not None:
        raise InvalidOption(
            "time= is one time and times= are several", got="both", allowed="one of them"
        )
    times = times if time is None else [time]
    if times is not None and not len(times):
        raise InvalidOption("no times to draw", got="times=[]", allowed="at least one")
    last = len(one.time) - 1
    at = (
        sorted({0, round(0.1 * last), round(0.35 * last), last})
        if times is None
        else [one.at(t) for t in times]
    )
    if axes is None:
        axes = style.new_grid(1, len(at), 2.3 * len(at) + 0.9, 2.7, figsize)
    axes = shaped(axes, (len(at),))
    low, high, colours = colour_range(one, number)
    image = None
    for ax, index in zip(axes, at):
        cells = np.full(rows * columns, np.nan)
        cells[: one.nodes] = colour_values(one, number, index)
        image = ax.imshow(
            cells.reshape(rows, columns), cmap=colour_map(colours), vmin=low, vmax=high
        )
        ax.set_title(style.moment(one.time[index], one.time_unit), fontsize="medium")
        ax.set_xlabel("column")
        ax.set_xticks([0, columns - 1] if columns > 1 else [0])
        ax.set_yticks([0, rows - 1] if rows > 1 else [0])
    axes[0].set_ylabel("row")
    bar = axes[0].figure.colorbar(image, ax=list(axes))
    bar.set_label(style.label(one.features[number], one.units[number]))
    if missing(one, number)[at].any():
        grey = Patch(facecolor=style.MISSING, edgecolor="black", linewidth=0.5)
        axes[0].legend([grey], [style.NO_DATA], fontsize="small")
    return axes
