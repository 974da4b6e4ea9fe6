"""Observables of a system over time, true and predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ...plotting import style
from ...plotting.choosing import position, require, shaped
from ...plotting.sizes import sized
from ...uncertainty import MEMBER
from .selection import members_band


@sized
def observables(
    evaluation: xr.Dataset,
    *,
    trajectory: int = 0,
    figsize: style.FigureSize | None = None,
    axes: Any = None,
) -> np.ndarray:
    """The observables of a system (order parameter, energy, ...) over time, true and predicted.

    ``evaluation``: the result of `pympnode.evaluate` for a system that has observables. Of an ensemble
    the mean and a band from the lowest to the highest member. ``figsize``: inches. Returns the axes
    (observable,). Raises `InvalidData` for an evaluation without observables.
    """
    fix = (
        "draw error_over_time(evaluation): its system has no observables, and a system of your own has "
        "those of pympnode.own_system(..., observables=)"
    )
    true = require(evaluation, "observable_true", "an evaluation with observables", fix)
    predicted = require(evaluation, "observable_predicted", "an evaluation with observables", fix)
    number = position(trajectory, true.sizes["trajectory"])
    names = [str(name) for name in true["observable"].values]
    units = ["1"] * len(names)
    if "observable_unit" in true.coords:
        units = [str(unit) for unit in true["observable_unit"].values]
    if axes is None:
        axes = style.new_grid(1, len(names), 4.2 * len(names) + 0.6, 3.2, figsize)
    axes = shaped(axes, (len(names),))
    band: list[np.ndarray] = []
    members = predicted.sizes.get(MEMBER, 1)
    if MEMBER in predicted.dims:
        ends = (predicted.min(MEMBER), predicted.max(MEMBER))
        band = [e.transpose("trajectory", "time", "observable").values[number] for e in ends]
        predicted = predicted.mean(MEMBER)
    time = evaluation["time"]
    order = ("trajectory", "time", "observable")
    x_true = true.transpose(*order).values[number]
    x_predicted = predicted.transpose(*order).values[number]
    for column, (ax, name, unit) in enumerate(zip(axes, names, units)):
        ax.plot(time.values, x_true[:, column], color=style.TRUTH, linewidth=3.0, label="true")
        ax.plot(
            time.values, x_predicted[:, column], color=style.MODEL, linewidth=1.3, label="predicted"
        )
        if band:
            ax.fill_between(
                time.values, *(end[:, column] for end in band), color=style.MODEL, alpha=0.25,
                linewidth=0, label=members_band(members),
            )  # fmt: skip
        ax.set_xlabel(style.label("time", str(time.attrs.get("units", "1"))))
        ax.set_ylabel(style.label(name, unit))
        style.plain(ax)
    axes[0].legend(fontsize="small", frameon=False)
    return axes
