"""Errors of particle models: over time, and over the number of particles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ...config import (
    arguments,
    least,
    text,
)
from ...errors import InvalidData, InvalidOption, unknown_name
from ...plotting import style
from ...plotting.choosing import axes_of, require
from ...plotting.logarithmic import logarithmic
from ...plotting.sizes import sized

LINE_STYLES = {
    "model": (style.MODEL, "-"),
    "free_flight": (style.TRUTH, "--"),
    "constant_acceleration": (style.PALETTE[4], "-."),
}
LABELS = {
    "rmse_published": "root mean square error, as published",
    "rmse_state": "root mean square error of the state",
    "rmse_position": "root mean square error of positions",
    "rmse_velocity": "root mean square error of velocities",
    "energy_error": "relative energy error",
    "energy_error_per_particle": "energy error per particle",
    "momentum_error": "momentum error per particle",
}


@sized
@arguments(variable=text, ax=axes_of)
def particle_error_over_time(
    evaluation: xr.Dataset,
    *,
    variable: str = "rmse_state",
    figsize: style.FigureSize | None = None,
    ax: Any = None,
) -> Any:
    """Error of a model and of the baselines over the time of a rollout.

    ``evaluation``: what `pympnode.evaluate` returned for particles. ``variable``: "rmse_state",
    "rmse_published", "rmse_position" or "rmse_velocity". The legend counts the trajectories
    that are excluded because they are not finite. ``figsize``: inches. Returns the axes. Raises
    InvalidData, UnknownName.
    """
    _require_particles(evaluation)
    series = [str(n)[:-3] for n in evaluation.data_vars if str(n).endswith("_at")]
    if variable not in series:
        raise unknown_name("error over time", variable, series)
    ax = style.new_axes(figsize=figsize) if ax is None else ax
    error = evaluation[f"{variable}_at"]
    for predictor in (str(p) for p in error["predictor"].values):
        colour, dashes = LINE_STYLES.get(predictor, (style.PALETTE[1], "-"))
        values = error.sel(predictor=predictor).values
        shown = np.where(np.isfinite(values) & (values > 0), values, np.nan)
        label = _label(predictor, [evaluation.isel(horizon=-1)])
        ax.plot(error["time"], shown, color=colour, linestyle=dashes, label=label)
    logarithmic(ax, "y")
    ax.set_xlabel(style.label("time", str(error["time"].attrs.get("units", "1"))))
    ax.set_ylabel(style.label(LABELS[variable], str(error.attrs.get("units", "1"))))
    style.plain(ax)
    ax.legend(fontsize="small", frameon=False)
    return ax


@sized
@arguments(variable=text, horizon=least(1), trained=least(1), ax=axes_of)
def error_over_particles(
    evaluations: Mapping[int, xr.Dataset],
    *,
    variable: str = "rmse_published",
    horizon: int | None = None,
    trained: int | None = None,
    figsize: style.FigureSize | None = None,
    ax: Any = None,
) -> Any:
    """Error over a number of steps against the number of particles.

    ``evaluations``: particle count to what `pympnode.evaluate` returned. ``horizon``: steps; by
    default the most that all of them have. ``trained``: the count of the training data, marked.
    The legend counts the trajectories of all evaluations that are excluded because they are not
    finite. ``figsize``: inches. Returns the axes. Raises InvalidData where the evaluations share no horizon,
    InvalidOption, UnknownName.
    """
    one = isinstance(evaluations, xr.Dataset)  # which is a mapping too
    numbered = isinstance(evaluations, Mapping) and not one
    if not numbered or not evaluations or not all(map(_is_count, evaluations)):
        raise InvalidOption(
            "errors over particles take evaluations by the number of particles",
            got=f"keys {list(evaluations)[:4]}" if numbered else type(evaluations).__name__,
            allowed="a mapping from numbers of particles, at least one",
            fix="error_over_particles({100: evaluate(model, ds100), 1000: evaluate(model, ds1000)})",
        )
    for evaluation in evaluations.values():
        _require_particles(evaluation)
    if variable not in LABELS:
        raise unknown_name("error of particles", variable, LABELS)
    counts = sorted(evaluations)
    shared = set.intersection(
        *({int(h) for h in e["horizon"].values} for e in evaluations.values())
    )
    if not shared or (horizon is not None and horizon not in shared):
        raise InvalidData(
            "the evaluations have no such number of steps in common",
            got=f"horizon={horizon}",
            allowed=", ".join(map(str, sorted(shared))) or "at least one",
            fix="evaluate with the same horizons=",
        )
    steps = max(shared) if horizon is None else horizon
    ax = style.new_axes(figsize=figsize) if ax is None else ax
    # Predictors that not all evaluations have (the forces of some are not known) are not drawn.
    predictors = [str(p) for p in evaluations[counts[0]]["predictor"].values]
    for predictor in predictors:
        if not all(predictor in evaluations[n]["predictor"].values for n in counts):
            continue
        colour, dashes = LINE_STYLES.get(predictor, (style.PALETTE[1], "-"))
        values = [
            float(
                require(
                    evaluations[n], variable, "an evaluation", "pass what evaluate returned"
                ).sel(predictor=predictor, horizon=steps)
            )
            for n in counts
        ]
        ax.plot(
            counts, values, color=colour, linestyle=dashes, marker="o", markersize=5,
            label=_label(predictor, [evaluations[n].sel(horizon=steps) for n in counts]),
        )  # fmt: skip
    if trained is not None:
        ax.axvline(trained, color="0.6", linewidth=0.8, linestyle=":", label="trained on", zorder=0)
    logarithmic(ax, "x", "y")
    ax.set_xlabel("particles")
    ax.set_ylabel(f"{LABELS.get(variable, variable)},\n{steps} steps")
    style.plain(ax)
    ax.legend(fontsize="small", frameon=False)
    return ax


def _is_count(key: Any) -> bool:
    return isinstance(key, int | np.integer) and not isinstance(key, bool) and bool(key > 0)


def _require_particles(evaluation: Any) -> None:
    """Raise InvalidData for other values than an evaluation of particles."""
    fix = "pass what pympnode.evaluate(model, ds) returned"
    if isinstance(evaluation, xr.Dataset) and "rmse_z" in evaluation:
        fix = "evaluations of networks are drawn by error_over_time"
    found = require(evaluation, "rmse_published", "an evaluation of particles", fix)
    if "horizon" not in found.dims or "predictor" not in found.dims:
        raise InvalidData(
            "this is not an evaluation of particles",
            got=f"rmse_published over {', '.join(map(str, found.dims)) or 'nothing'}",
            allowed="numbers over predictor and horizon",
            fix=fix,
        )


def _label(predictor: str, evaluations: Sequence[xr.Dataset]) -> str:
    """The name of a predictor, and the number of trajectories that its errors exclude."""
    excluded = sum(
        int(one["not_finite"].sel(predictor=predictor))
        for one in evaluations
        if "not_finite" in one
    )
    return predictor.replace("_", " ") + (f" ({excluded} not finite)" if excluded else "")
