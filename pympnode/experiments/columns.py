"""Columns: the numbers that a table can show, for particles and for networks.

Of a run: ``updates``, ``epochs``, ``seconds`` (of training), ``weights``, ``best_loss`` and
``best_epoch`` (by validation), ``loss_epochs`` (the lowest validation loss times the epoch that
reached it, as in Table 2 of the MP-NODE paper), ``forward_ms`` (milliseconds for one predicted time
step of one state, its graph included).

Of a rollout of networks: ``loss``, ``rmse_z``, ``rmse`` (root of the mean of squares over features,
physical units), ``valid_time`` (median over trajectories), ``not_finite``, ``observable_NAME``, and
``error_NAME`` of systems with errors of states, such as ``error_position``. Of
particles: the scalars of `pympnode.particles.metrics.particle_errors` with the number of steps
behind them, such as ``rmse_published_20``, ``energy_error_200``, ``energy_error_per_particle_200``.
The number of steps is at most that of a test; a test with fewer steps leaves the column blank.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import UnknownName, unknown_name
from ..halves import half_of_evaluation
from ..particles.metrics import SCALARS

RUN = (
    "updates", "epochs", "seconds", "weights", "best_loss", "best_epoch", "loss_epochs", "forward_ms",
)  # fmt: skip
NETWORK = ("loss", "rmse_z", "rmse", "valid_time", "not_finite")
PARTICLE = (*SCALARS, "not_finite")
BESIDE = {
    "node": ("persistence", "constant_velocity", "uncoupled"),
    "particle": ("free_flight", "constant_acceleration"),
}
# Pictures that `run` draws, see `pympnode.experiments.figures`.
FIGURES = {
    "node": ("losses", "surfaces"),
    "particle": ("losses", "paths", "conservation", "particles"),
}

TITLES = {
    "rmse_published": "RMSE",
    "energy_error": "energy",
    "energy_error_per_particle": "energy a particle",
    "momentum_error": "momentum",
    "not_finite": "not finite",
    "rmse_z": "RMSE (z)",
    "rmse": "RMSE",
    "valid_time": "valid time",
    "loss_epochs": "loss x epochs",
    "best_epoch": "best epoch",
    "best_loss": "validation loss",
    "forward_ms": "ms a step",
    "seconds": "seconds",
}


def check_columns(columns: Iterable[str], body: str, systems: Iterable[Any] = ()) -> None:
    """Raise `UnknownName` for a column that a half ("node" or "particle") does not have.

    ``systems``: of networks, those whose observables and errors of states are columns too.
    """
    named = [f"observable_{name}" for system in systems for name in system.observables]
    named += [f"error_{name}" for system in systems for name in system.errors]
    for column in columns:
        if column in RUN:
            continue
        if body == "node":
            if column in NETWORK or column in named:
                continue
            raise unknown_name(
                "column of networks", column, dict.fromkeys((*RUN, *NETWORK, *named))
            )
        stem, steps = split(column)
        if stem in PARTICLE and steps:
            continue
        close = difflib.get_close_matches(stem, PARTICLE, n=1, cutoff=0.5)
        found = unknown_name(
            "column of particles", column, (*RUN, *(f"{p}_STEPS" for p in PARTICLE))
        )
        fix = f"did you mean {close[0]}_{steps or 20}?" if close else found.fix
        raise UnknownName(found.message, got=found.got, allowed=found.allowed, fix=fix)


def horizons(columns: Iterable[str]) -> list[int]:
    """The numbers of steps that columns of particles ask for, in order."""
    pairs = [split(column) for column in columns]
    return sorted({steps for stem, steps in pairs if stem in PARTICLE and steps})


def split(column: str) -> tuple[str, int | None]:
    """("rmse_published", 20) of "rmse_published_20"; (column, None) without a number."""
    # No other way to write a number: the columns of results are named after it.
    match = re.fullmatch(r"(.+)_([1-9][0-9]*)", column)
    return (match[1], int(match[2])) if match else (column, None)


def title(column: str) -> str:
    """The heading of a column."""
    if column.startswith("observable_"):
        return column.removeprefix("observable_").replace("_", " ")
    if column.startswith("error_"):
        return f"error of {column.removeprefix('error_').replace('_', ' ')}"
    stem, steps = split(column)
    text = TITLES.get(stem, stem.replace("_", " "))
    return text if steps is None else f"{text}, {steps} steps"


def scores(evaluation: Any) -> dict[str, dict[str, float]]:
    """Numbers by predictor and column, of an evaluation of either half."""
    out: dict[str, dict[str, float]] = {}
    by_horizon = half_of_evaluation(evaluation).has_horizons
    for predictor in (str(p) for p in evaluation["predictor"].values):
        one = evaluation.sel(predictor=predictor)
        out[predictor] = _of_particles(one) if by_horizon else _of_networks(one)
    return out


def _of_particles(one: Any) -> dict[str, float]:
    return {
        f"{name}_{int(steps)}": float(one[name].sel(horizon=steps))
        for name in PARTICLE
        for steps in one["horizon"].values
    }


def _of_networks(one: Any) -> dict[str, float]:
    import numpy as np

    found = {
        "loss": float(one["loss"]),
        "rmse_z": float(one["rmse_z"]),
        "rmse": float(np.sqrt(np.mean(np.square(one["rmse"].values)))),
        "valid_time": float(np.median(one["valid_time"].values)),
        "not_finite": float(one["not_finite"]),
    }
    if "observable_rmse" in one:
        for name, value in zip(one["observable"].values, one["observable_rmse"].values):
            found[f"observable_{name}"] = float(value)
    if "state_error" in one:
        for name, value in zip(one["error"].values, one["state_error"].values):
            found[f"error_{name}"] = float(value)
    return found


def plain(value: Any) -> Any:
    """Numbers for JSON, which has neither infinity nor NaN: those as text that `float` reads."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
