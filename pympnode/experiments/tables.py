"""Tables of finished cells in Markdown, published numbers beside ours."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..files import netcdf
from .budget import Budget
from .catalogue import described
from .catalogue import experiment as experiment_of
from .columns import RUN, plain, title
from .description import Experiment
from .finished import collected
from .folders import folder_of, last_call


def table(name: str | os.PathLike[str], *, out: str | os.PathLike[str] | None = None) -> str:
    """The table of the finished cells, in Markdown; also written to results.md, results.nc and
    results.json in the folder of the experiment.

    A number is the mean over the seeds that have one, ± their standard deviation (with N - 1);
    published numbers stand in columns of their own, as printed. Raises `MissingFile`.
    """
    folder = folder_of(described(name), out)
    call = last_call(folder, name)
    found = experiment_of(name, call["settings"])
    ds = write_results(found, Budget.of(call["budget"]), call["seeds"], folder)
    return markdown(found, ds)


def write_results(experiment: Experiment, budget: Budget, seeds: int, folder: Path) -> xr.Dataset:
    """Write the table, the dataset and its numbers as JSON; returns the dataset."""
    ds = collected(experiment, budget, seeds, folder)
    netcdf.write_bytes(folder / "results.md", markdown(experiment, ds).encode())
    netcdf.write_netcdf(ds, folder / "results.nc")
    text = json.dumps(plain(ds.to_dict()), indent=1, allow_nan=False)
    netcdf.write_bytes(folder / "results.json", text.encode() + b"\n")
    return ds


def markdown(experiment: Experiment, ds: xr.Dataset) -> str:
    """The table of a dataset of results."""
    parts = [f"# {experiment.title}", experiment.source + "."]
    if experiment.note:
        parts.append(experiment.note)
    seeds = ds.sizes["seed"]
    parts.append(
        f"Each run had a budget of {ds.attrs['budget']}; "
        + (f"{seeds} seeds, mean ± standard deviation. " if seeds > 1 else "1 seed. ")
        + _made_with(ds)
    )
    lines = list(_lines(experiment, ds))
    parts.append("\n".join(lines))
    failures = list(_failures(ds))
    if failures:
        parts.append("\n".join(failures))
    return "\n\n".join(parts) + "\n"


def _lines(experiment: Experiment, ds: xr.Dataset) -> Iterator[str]:
    several = len(experiment.tests) > 1
    # Published numbers have a column only where some were published.
    printed = [c for c in experiment.columns if any(c in p for p in experiment.published.values())]
    head = ["", *(["test"] * several)]
    for column in experiment.columns:
        head += [title(column), *(["published"] * (column in printed))]
    yield _row([*head, "seeds"])
    yield "|---" * (len(head) + 1) + "|"
    for test in (str(t) for t in ds["test"].values):
        baselines: list[_Baseline] = []
        for row in (str(r) for r in ds["row"].values):
            published = experiment.published.get((row, test), {})
            cells = [row, *([test] * several)]
            for column in experiment.columns:
                cells.append(number(_values(ds, column, row, test, "model")))
                if column in printed:
                    cells.append(str(published.get(column, "")))
            done = int(ds["status"].sel(row=row).isin(["completed", "diverged"]).sum())
            yield _row([*cells, f"{done} of {ds.sizes['seed']}"])
            for predictor in experiment.beside:
                shown = {
                    column: value
                    for column in experiment.columns
                    if column not in RUN
                    for value in _values(ds, column, row, test, predictor)[:1]
                    if not np.isnan(value)
                }
                if shown:
                    _add(baselines, predictor, row, shown)
        named = [baseline.predictor for baseline in baselines]
        for baseline in baselines:
            several_lines = named.count(baseline.predictor) > 1
            line = [baseline.name(several_lines), *([test] * several)]
            for column in experiment.columns:
                line += [baseline.cell(column), *([""] * (column in printed))]
            yield _row([*line, ""])


def _row(cells: list[str]) -> str:
    """A row of a Markdown table; a bar within a name or a printed number is none between cells."""
    return "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in cells) + " |"


@dataclass
class _Baseline:
    """A line of a baseline: its numbers of each row that shares it."""

    predictor: str
    rows: list[str]
    numbers: dict[str, list[float]]

    def name(self, with_row: bool) -> str:
        others = f"; {len(self.rows)} rows" if len(self.rows) > 1 else ""
        where = f" ({self.rows[0]}{others})" if with_row else ""
        return f"*{self.predictor.replace('_', ' ')}*{where}"

    def cell(self, column: str) -> str:
        numbers = self.numbers.get(column, [])
        if not numbers:
            return ""
        low, high = _short(min(numbers), 3), _short(max(numbers), 3)
        return low if low == high else f"{low} to {high}"


def _add(baselines: list[_Baseline], predictor: str, row: str, shown: dict[str, float]) -> None:
    """Add a row's numbers of a baseline to the line that has about the same ones, or a new line.

    A baseline depends on the test data alone, but z units are those of the row's training data, which differ
    by a few percent between rows.
    """
    for baseline in baselines:
        firsts = {column: numbers[0] for column, numbers in baseline.numbers.items()}
        if baseline.predictor == predictor and firsts.keys() == shown.keys():
            if all(
                value == firsts[c] or abs(value / firsts[c] - 1) <= 0.05
                for c, value in shown.items()
            ):
                baseline.rows.append(row)
                for column, value in shown.items():
                    baseline.numbers[column].append(value)
                return
    baselines.append(_Baseline(predictor, [row], {c: [value] for c, value in shown.items()}))


def _values(ds: xr.Dataset, column: str, row: str, test: str, predictor: str) -> Any:
    """One number per finished seed."""
    if column not in ds:
        return np.array([])
    one = ds[column].sel(row=row)
    if "test" in one.dims:
        if predictor not in ds["predictor"].values:
            return np.array([])
        one = one.sel(test=test, predictor=predictor)
    return one.values[ds["status"].sel(row=row).isin(["completed", "diverged"]).values]


def number(values: Any) -> str:
    """Mean ± standard deviation of the values, the mean alone of one, "" of none.

    A seed without a number (all of its trajectories overflowed) is left out, and the count says so.
    """
    good = values[~np.isnan(values)]
    if 0 < len(good) < len(values):
        return f"{number(good)} ({len(good)} of {len(values)})"
    values = good
    if not len(values):
        return ""
    with np.errstate(invalid="ignore"):
        mean = float(np.mean(values))
    if len(values) < 2 or not math.isfinite(mean):
        return _short(mean, 3)
    deviation = float(np.std(values, ddof=1))
    # Rounding of the mean gives equal numbers a deviation of some 1e-17.
    equal = deviation <= 1e-12 * abs(mean)
    return _short(mean, 3) if equal else f"{_short(mean, 3)} ± {_short(deviation, 1)}"


def _short(value: float, digits: int) -> str:
    """``digits`` significant digits; all digits of a large number, which is a count."""
    text = f"{value:.{digits}g}"
    return f"{value:,.0f}" if "e+" in text else text


def _made_with(ds: xr.Dataset) -> str:
    facts = json.loads(ds.attrs["made_with"])
    if not facts:
        return "Nothing is finished yet."
    made_with = (f"{name} {' and '.join(map(str, facts[name]))}" for name in facts)
    return f"Made with {', '.join(made_with)}."


def _failures(ds: xr.Dataset) -> Iterator[str]:
    """A line for each failed or diverged cell, with its error."""
    for row in ds["row"].values:
        for seed in ds["seed"].values:
            one = ds[["status", "reason"]].sel(row=row, seed=seed)
            status = str(one["status"].item())
            if status in ("failed", "diverged"):
                words = " ".join(str(one["reason"].item()).split())
                yield f"- {row}, seed {seed}: {status}: {words}"
