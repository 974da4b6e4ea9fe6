"""Observables of a system over time, true and predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ...plotting import style
from ...plotting.choosing import position, require, shaped
from .selection import MEMBER


def observables(evaluation: xr.Dataset, *, trajectory: int = 0, axes: Any = None) -> np.ndarray:
    """The observables of a system (order parameter, energy, ...) over time, true and predicted.

    ``evaluation``: the result of `pympnode.evaluate` for a system that has observables. Returns the
    axes (observable,). Raises `InvalidData` for an evaluation without observables.
    """
    fix = "pass the result of pympnode.evaluate for a system with observables"
    true = require(evaluation, "observable_true", "an evaluation with observables", fix)
    predicted = require(evaluation, "observable_predicted", "an evaluation with observables", fix)
    number = position(trajectory, true.sizes["trajectory"])
    names = [str(name) for name in true["observable"].values]
    units = ["1"] * len(names)
    if "observable_unit" in true.coords:
        units = [str(unit) for unit in true["observable_unit"].values]
    if axes is None:
        axes = style.new_grid(1, len(names), 4.2 * len(names) + 0.6, 3.2)
    axes = shaped(axes, (len(names),))
    if MEMBER in predicted.dims:
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
        ax.set_xlabel(style.label("time", str(time.attrs.get("units", "1"))))
        ax.set_ylabel(style.label(name, unit))
        style.plain(ax)
    axes[0].legend(fontsize="small", frameon=False)
    return axes
