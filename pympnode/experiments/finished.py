"""The finished cells of an experiment, as a dataset."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .budget import Budget
from .catalogue import described
from .catalogue import experiment as experiment_of
from .cells import cell, read
from .columns import RUN, title
from .description import Experiment
from .folders import folder_of, last_call

_RUN_DIMS = ("row", "seed")
_DIMS = ("row", "seed", "test", "predictor")


def results(
    name: str | os.PathLike[str], *, out: str | os.PathLike[str] | None = None
) -> xr.Dataset:
    """The finished cells of an experiment, of the settings of the last `run` into its folder.

    Variables (row, seed, test, predictor) are the numbers of `pympnode.experiments.columns`, all that
    were measured, NaN where a cell is not finished; those of a training run, ``status`` ("completed",
    "diverged", "failed" or "missing") and ``reason`` are over (row, seed). Predictors are "model" and
    the trivial ones. Raises `MissingFile` where nothing was run.
    """
    folder = folder_of(described(name), out)
    call = last_call(folder, name)
    found = experiment_of(name, call["settings"])
    return collected(found, Budget.of(call["budget"]), call["seeds"], folder)


def finished_cells(
    experiment: Experiment, budget: Budget, seeds: int, folder: Path
) -> dict[tuple[str, int], dict[str, Any]]:
    """(row, seed) -> the numbers in the cell's file, for the cells that are finished."""
    out = {}
    for row in experiment.rows:
        for seed in range(seeds):
            numbers = read(cell(experiment, row, budget, seed), folder)
            if numbers is not None:
                out[row.name, seed] = numbers
    return out


def collected(experiment: Experiment, budget: Budget, seeds: int, folder: Path) -> xr.Dataset:
    """See `results`."""
    done = finished_cells(experiment, budget, seeds, folder)
    rows, tests = [r.name for r in experiment.rows], [t.name for t in experiment.tests]
    scores = [each.get("scores", {}) for each in done.values()]
    predictors = list(dict.fromkeys(["model", *(p for s in scores for t in s.values() for p in t)]))
    columns = list(
        dict.fromkeys(c for s in scores for t in s.values() for p in t.values() for c in p)
    )
    shape = (len(rows), seeds, len(tests), len(predictors))
    values = {column: np.full(shape, np.nan) for column in columns}
    runs = {column: np.full(shape[:2], np.nan) for column in RUN}
    status = np.full(shape[:2], "missing", dtype=object)
    reason = np.full(shape[:2], "", dtype=object)
    for (row, seed), numbers in done.items():
        at = rows.index(row), seed
        status[at], reason[at] = numbers["status"], numbers["reason"]
        for column, value in numbers.get("run", {}).items():
            if column in runs:  # not those of another version
                runs[column][at] = float(value)
        _fill(values, at, numbers.get("scores", {}), tests, predictors)
    variables: dict[str, Any] = {
        name: (_DIMS, array, {"long_name": title(name)}) for name, array in values.items()
    }
    variables |= {name: (_RUN_DIMS, a, {"long_name": title(name)}) for name, a in runs.items()}
    variables |= {"status": (_RUN_DIMS, status), "reason": (_RUN_DIMS, reason)}
    return xr.Dataset(
        variables,
        coords={"row": rows, "seed": np.arange(seeds), "test": tests, "predictor": predictors},
        attrs={
            "title": experiment.title,
            "source": experiment.source,
            "experiment": experiment.name,
            "budget": budget.in_words(),
            "made_with": json.dumps(_made_with(done), sort_keys=True),
        },
    )


def _fill(
    values: Mapping[str, np.ndarray],
    at: tuple[int, int],
    scores: Mapping[str, Any],
    tests: list[str],
    predictors: list[str],
) -> None:
    for test, by_predictor in scores.items():
        for predictor, numbers in by_predictor.items():
            index = (*at, tests.index(test), predictors.index(predictor))
            for column, value in numbers.items():
                values[column][index] = float(value)


def _made_with(done: Mapping[Any, Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Versions and devices of all cells, every different value of each."""
    found: dict[str, list[Any]] = {}
    for numbers in done.values():
        for name, value in numbers.get("made_with", {}).items():
            if value not in found.setdefault(name, []):
                found[name].append(value)
    return found
