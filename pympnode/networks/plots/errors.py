"""Errors over time, of all nodes and by their number of neighbours."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import xarray as xr

from ...config import (
    arguments,
    label,
    text,
)
from ...errors import unknown_name
from ...plotting import style
from ...plotting.choosing import axes_of, require
from ...plotting.logarithmic import logarithmic
from ...plotting.order import predicted_first
from ...plotting.sizes import sized
from .selection import common, refuse_particles, view

STYLES = {
    "model": (style.MODEL, "-"),
    "persistence": (style.TRUTH, "--"),
    "uncoupled": (style.PALETTE[4], "-."),
}
MAX_GROUPS = 6


@sized
@arguments(feature=text, ax=axes_of)
def error_over_time(
    evaluation: xr.Dataset,
    *,
    feature: str | None = None,
    figsize: style.FigureSize | None = None,
    ax: Any = None,
) -> Any:
    """Root mean square error of a model and its baselines over time.

    ``evaluation``: the result of `pympnode.evaluate`. In z units over all features, or in the unit of
    one ``feature``. The members of an ensemble are thin lines. ``figsize``: inches. Returns the axes.
    Raises `InvalidData`, `UnknownName`. For evaluations of particles see `particle_error_over_time`.
    """
    fix = "pass the result of pympnode.evaluate(model, ds)"
    refuse_particles(evaluation, "particle_error_over_time(evaluation)")
    name = "rmse_time_z" if feature is None else "rmse_time"
    error = require(evaluation, name, "an evaluation", fix)
    unit = style.Z_UNITS
    if feature is not None:
        features = [str(f) for f in evaluation["feature"].values]
        if feature not in features:
            raise unknown_name("feature", feature, features)
        error = error.isel(feature=features.index(feature))
        unit = str(error["unit"].values) if "unit" in error.coords else "1"
    if ax is None:
        ax = style.new_axes(figsize=figsize)
    time = error["time"].values
    other_colours = itertools.cycle(style.PALETTE[1:])
    for predictor in (str(p) for p in error["predictor"].values):
        one = error.sel(predictor=predictor)
        if predictor.startswith("member "):
            values = one.where(np.isfinite(one) & (one > 0)).values
            name = "each member" if predictor == "member 0" else "_member"
            ax.plot(time, values, color=style.MODEL, linewidth=0.6, alpha=0.5, label=name)
            continue
        colour, dashes = STYLES.get(predictor) or (next(other_colours), "-")
        # The error at the first time is zero, which a logarithmic axis cannot show.
        shown = one.where(np.isfinite(one) & (one > 0)).values
        marker = "o" if np.isfinite(shown).sum() == 1 else None
        ax.plot(time, shown, color=colour, linestyle=dashes, marker=marker, label=predictor)
    logarithmic(ax, "y")
    ax.set_xlabel(style.label("time", str(evaluation["time"].attrs.get("units", "1"))))
    ax.set_ylabel(style.label(f"error of {feature}" if feature else "root mean square error", unit))
    style.plain(ax)
    ax.legend(fontsize="small", frameon=False)
    return ax


@predicted_first()
@sized
@arguments(feature=label, ax=axes_of)
def error_by_degree(
    predicted: xr.Dataset,
    truth: xr.Dataset,
    *,
    feature: str | None = None,
    figsize: style.FigureSize | None = None,
    ax: Any = None,
) -> Any:
    """Root mean square error over time, a line per number of neighbours (in-degree) of a node.

    The degrees are those of each trajectory's graph; more than 6 different ones are put into groups
    of about equally many nodes. Without ``feature`` the error is in z units over all features, each
    divided by its standard deviation in ``truth``. Times beyond the truth are left out. ``figsize``:
    inches. Returns the axes. Raises `InvalidData`, `UnknownName`.
    """
    one, guess, x = common(predicted, truth)
    error = guess - x
    if feature is not None or len(one.features) == 1:
        number = one.feature(feature)
        square = np.square(error[..., number])
        ylabel = style.label(f"error of {one.features[number]}", one.units[number])
    else:
        std = np.nanstd(x, axis=(0, 1, 2))
        square = np.square(error / np.where(std > 0, std, 1.0)).mean(axis=-1)
        ylabel = style.label("root mean square error", style.Z_UNITS)
    degree = np.stack([view(truth, i).degree for i in range(len(x))])
    square = square.transpose(0, 2, 1)
    groups = _groups(degree)
    if ax is None:
        ax = style.new_axes(figsize=figsize)
    for (low, high), colour in zip(groups, style.graded(len(groups))):
        inside = (degree >= low) & (degree <= high)
        # Without the first time, whose error is rounding and would stretch a logarithmic axis.
        rmse = np.sqrt(np.nanmean(square[inside], axis=0))[1:]
        degrees = f"{low}" if low == high else f"{low} to {high}"
        shown = np.where(rmse > 0, rmse, np.nan)
        ax.plot(
            one.time[1 : len(rmse) + 1],
            shown,
            color=colour,
            label=f"{degrees} (n = {inside.sum()})",
        )
    logarithmic(ax, "y")
    ax.set_xlabel(style.label("time", one.time_unit))
    ax.set_ylabel(ylabel)
    style.plain(ax)
    ax.legend(title="neighbours", fontsize="small", title_fontsize="small", frameon=False)
    return ax


@sized
@arguments(ax=axes_of)
def error_by_type(
    evaluation: xr.Dataset, *, figsize: style.FigureSize | None = None, ax: Any = None
) -> Any:
    """Root mean square error over time of each type of nodes, in z units: a model and persistence.

    ``evaluation``: the result of `pympnode.evaluate` for nodes of several types. A colour for each type;
    dashed lines are persistence. ``figsize``: inches. Returns the axes. Raises `InvalidData`.
    """
    fix = "pass the result of pympnode.evaluate for nodes of several types"
    refuse_particles(evaluation, "particle_error_over_time(evaluation)")
    error = require(evaluation, "rmse_time_z_type", "an evaluation of several types of nodes", fix)
    if ax is None:
        ax = style.new_axes(figsize=figsize)
    time = evaluation["time"]
    names = [str(name) for name in evaluation["node_type"].values]
    for name, colour in zip(names, style.by_order(len(names))):
        for predictor, dashes in (("model", "-"), ("persistence", "--")):
            one = error.sel(predictor=predictor, node_type=name)
            # The error at the first time is zero, which a logarithmic axis cannot show.
            shown = one.where(np.isfinite(one) & (one > 0)).values
            label_of = name if predictor == "model" else f"{name}, {predictor}"
            ax.plot(time.values, shown, color=colour, linestyle=dashes, label=label_of)
    logarithmic(ax, "y")
    ax.set_xlabel(style.label("time", str(time.attrs.get("units", "1"))))
    ax.set_ylabel(style.label("root mean square error", style.Z_UNITS))
    style.plain(ax)
    ax.legend(fontsize="small", frameon=False)
    return ax


def _groups(degree: np.ndarray) -> list[tuple[int, int]]:
    """Ranges (lowest, highest) of degrees with about equally many nodes each."""
    values = np.unique(degree)
    if len(values) <= MAX_GROUPS:
        return [(int(v), int(v)) for v in values]
    edges = np.quantile(degree, np.linspace(0, 1, MAX_GROUPS + 1)[1:-1], method="nearest")
    starts = np.unique([values[0], *(e for e in edges)])
    ends = [values[values < s].max() for s in starts[1:]] + [values[-1]]
    return [(int(s), int(e)) for s, e in zip(starts, ends)]
