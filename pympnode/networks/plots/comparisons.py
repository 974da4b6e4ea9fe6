"""Errors of several models side by side, with their distribution over trajectories."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ...config import (
    arguments,
    text,
)
from ...errors import InvalidOption, unknown_name
from ...plotting import style
from ...plotting.choosing import axes_of, require
from ...plotting.logarithmic import logarithmic
from ...plotting.sizes import sized
from .selection import refuse_particles

TITLES = {
    "rmse_trajectory_z": f"root mean square error per trajectory ({style.Z_UNITS})",
    "valid_time": "valid prediction time",
}
DOT: dict[str, Any] = {"s": 9, "alpha": 0.45, "linewidths": 0}
BAND: dict[str, Any] = {"linewidth": 5, "alpha": 0.5, "solid_capstyle": "butt"}


@sized
@arguments(variable=text, ax=axes_of)
def comparison(
    evaluations: Mapping[str, xr.Dataset],
    *,
    variable: str = "rmse_trajectory_z",
    figsize: style.FigureSize | None = None,
    ax: Any = None,
) -> Any:
    """A row per model: a dot per trajectory, a bar at the median, a band from quartile to quartile.

    ``evaluations``: name -> result of `pympnode.evaluate`. ``variable``: "rmse_trajectory_z"
    (logarithmic axis) or "valid_time". The last rows are the baselines of the first evaluation. The
    label of a row counts trajectories that overflowed. ``figsize``: inches. Returns the axes. Raises
    `InvalidOption`, `InvalidData`, `UnknownName`.
    """
    if variable not in TITLES:
        raise unknown_name("variable", variable, TITLES)
    single = isinstance(evaluations, xr.Dataset)  # which is a Mapping too
    if single or not isinstance(evaluations, Mapping) or not evaluations:
        raise InvalidOption(
            "a comparison takes evaluations by name",
            got=type(evaluations).__name__,
            allowed="a mapping with at least one evaluation",
            fix='comparison({"fast": result_a.evaluate(), "paper": result_b.evaluate()})',
        )
    rows = _rows(evaluations, variable)
    new_figure = ax is None
    if ax is None:
        ax = style.new_axes(7.0, 1.4 + 0.45 * len(rows), figsize)
    names = []
    for number, (name, values, colour) in enumerate(rows):
        finite = values[np.isfinite(values)]
        nonfinite = len(values) - len(finite)
        names.append(f"{name} ({nonfinite} of {len(values)} overflowed)" if nonfinite else name)
        if not finite.size:
            continue
        # Dots are offset by rank, not at random: the same data give the same picture.
        offset = 0.32 * (np.argsort(np.argsort(finite)) % 7 - 3) / 3
        ax.scatter(finite, number + offset, color=colour, **DOT)
        low, middle, high = np.quantile(finite, [0.25, 0.5, 0.75])
        ax.plot([low, high], [number, number], color=colour, **BAND)
        ax.plot([middle, middle], [number - 0.38, number + 0.38], color="black", linewidth=1.6)
    ax.set_yticks(range(len(rows)), names)
    ax.invert_yaxis()
    ax.set_xlabel(_title(evaluations, variable))
    if variable == "rmse_trajectory_z":
        logarithmic(ax, "x")
    style.plain(ax)
    ax.grid(False, axis="y")
    _explain(ax, new_figure)
    return ax


def _explain(ax: Any, new_figure: bool) -> None:
    """A legend of the marks, above the rows."""
    from matplotlib.lines import Line2D

    marks = {
        "a trajectory": Line2D([], [], color="0.4", marker="o", markersize=3, linestyle="none"),
        "median": Line2D([], [], color="black", marker="|", markersize=9, linestyle="none"),
        "quartile to quartile": Line2D([], [], color="0.4", **BAND),
    }
    if new_figure:
        style.legend_above(ax.figure, list(marks.values()), list(marks))
        return
    ax.legend(
        list(marks.values()), list(marks), loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3,
        fontsize="small", frameon=False,
    )  # fmt: skip


def _rows(
    evaluations: Mapping[str, xr.Dataset], variable: str
) -> list[tuple[str, np.ndarray, str]]:
    rows = []
    fix = "pass the result of pympnode.evaluate(model, ds)"
    for number, (name, evaluation) in enumerate(evaluations.items()):
        refuse_particles(evaluation, "particle_error_over_time(evaluation), one for each")
        values = require(evaluation, variable, f"the evaluation of {name!r}", fix)
        colour = style.PALETTE[number % (len(style.PALETTE) - 1)]
        rows.append((str(name), values.sel(predictor="model").values.ravel(), colour))
    first = next(iter(evaluations.values()))
    for predictor in (str(p) for p in first["predictor"].values):
        if predictor != "model" and not predictor.startswith("member "):
            rows.append(
                (predictor, first[variable].sel(predictor=predictor).values.ravel(), style.TRUTH)
            )
    return rows


def _title(evaluations: Mapping[str, xr.Dataset], variable: str) -> str:
    title = TITLES[variable]
    if variable != "valid_time":
        return title
    first = next(iter(evaluations.values()))
    return style.label(title, str(first[variable].attrs.get("units", "1")))
