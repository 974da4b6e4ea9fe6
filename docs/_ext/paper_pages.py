"""A page per paper, claim by claim, with a verdict that is computed from stored results.

benchmarks/claims.toml lists the claims: what the paper says and prints, the experiment that tests it, and the two
numbers that the claim puts in an order. The numbers come from benchmarks/results/experiments/NAME.json, the
results of `pympnode experiment run NAME`. Its figures are pictures that the same run drew; benchmarks/experiments.py
copies them to docs/images/papers. `generated_pages` writes the pages when a build starts.
"""

from __future__ import annotations

import json
import math
import statistics
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
CLAIMS = ROOT / "benchmarks" / "claims.toml"
RESULTS = ROOT / "benchmarks" / "results" / "experiments"
HEAD = "| item | claim | published | ours | verdict | experiment |\n|---|---|---|---|---|---|"
PICTURES = ROOT / "docs" / "images" / "papers"
RUN = ("completed", "diverged")


def paper_pages() -> dict[str, str]:
    """The pages of the papers by file name."""
    given = tomllib.loads(CLAIMS.read_text(encoding="utf-8"))
    return {
        f"paper_{name}.md": page(
            paper,
            [claim for claim in given["claim"] if claim["paper"] == name],
            RESULTS,
            [one for one in given["figure"] if one["paper"] == name],
        )
        for name, paper in given["paper"].items()
    }


def page(
    paper: Mapping[str, str],
    claims: Sequence[Mapping[str, Any]],
    results: Path,
    figures: Sequence[Mapping[str, str]] = (),
) -> str:
    """The page of a paper: its text, a table of its claims and its figures."""
    rows = "\n".join(row(claim, results) for claim in claims)
    spent = cost(
        sorted({str(claim["experiment"]) for claim in claims if "experiment" in claim}), results
    )
    text = f"# {paper['title']}\n\n{paper['text'].strip()}\n\n{REPEAT} {spent}\n\n{HEAD}\n{rows}\n\n{VERDICTS}\n"
    drawn = "\n".join(figure(one) for one in figures if (PICTURES / picture(one)).exists())
    return f"{text}\n## Figures\n\n{DRAWN}\n\n{drawn}" if drawn else text


def cost(experiments: Sequence[str], results: Path) -> str:
    """A sentence on the runs that experiments have stored, and their time."""
    # A run that did not take place has "nan", as text: JSON has no such number.
    seconds = [
        float(second)
        for name in experiments
        if (path := results / f"{name}.json").exists()
        for row in json.loads(path.read_text(encoding="utf-8"))["data_vars"]["seconds"]["data"]
        for second in row
        if second is not None and math.isfinite(float(second))
    ]
    if not seconds:
        return "No runs are stored."
    return f"Stored here: {len(seconds)} runs, {sum(seconds) / 3600:.2g} CPU hours of training; tests come on top."


def picture(one: Mapping[str, str]) -> str:
    """The name of a figure's file in docs/images/papers."""
    return f"{one['experiment']}_{one['file']}"


def figure(one: Mapping[str, str]) -> str:
    """A figure of the page: its item of the paper, the picture, and what it shows."""
    return (
        f"### {one['item']}\n\n```{{image}} /images/papers/{picture(one)}\n:alt: {one['text']}\n:width: 100%\n```\n\n"
        f"{one['text']}. `{one['experiment']}`\n"
    )


DRAWN = """Drawn by the runs that the numbers above come from, in the form of the papers' figures. Lines are means over seeds,
predictions those of the first seed."""

REPEAT = """`pympnode experiment run NAME` repeats a row, where NAME is in the last column:
[](/howto/experiments.md)."""

VERDICTS = """A verdict compares two numbers of the experiment, each the mean over seeds, and their standard deviations. Seeds differ in
initial weights and the order of batches; data, graphs and test sets are those of all seeds, so that the spread is not that of other data:

- **holds** and **does not hold**: the ranges mean ± standard deviation do not overlap,
- **no conclusion**: they overlap,
- **one seed**: the order of one run of each, which shows little,
- **not run**: no result is stored, for the reason that stands there.

A seed that ended without a number, or with trajectories that overflowed, is counted and left out of the mean; a verdict in favour of
its row is then no conclusion. "Tuning kept the start" says in how many seeds the tuned model is its start, unchanged."""


def row(claim: Mapping[str, Any], results: Path) -> str:
    """A claim as a row of the table."""
    command = f"`{claim['experiment']}`" if "experiment" in claim else ""
    found = measured(claim, results) if "experiment" in claim else None
    if found is None:
        why = claim.get("not_run", "no result by seed is stored yet")
        ours, decided = "", f"not run: {why}"
    else:
        low, high = found
        budget = stored(claim, results)["attrs"]["budget"]
        before = started(claim, results)
        beside = f"; start {shown(before)}" if before else ""
        ours = f"{shown(low)} against {shown(high)} ({claim['measure']}; {budget}{beside})"
        decided = verdict(low, high, float(claim.get("factor", 1.0)))
        kept = sum(one == two for one, two in zip(low, before or []))
        if kept:
            decided = f"{decided}. Tuning kept the start in {kept} of {len(low)} seeds"
    if "remark" in claim:
        decided = f"{decided}. {claim['remark']}"
    cells = [claim["item"], claim["claim"], str(claim.get("published", "")), ours, decided, command]
    return "| " + " | ".join(cells) + " |"


def stored(claim: Mapping[str, Any], results: Path) -> dict[str, Any]:
    path = results / f"{claim['experiment']}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def measured(claim: Mapping[str, Any], results: Path) -> tuple[list[float], list[float]] | None:
    """The values over seeds that the claim says are smaller, and those that are larger: NaN of a seed without a number;
    None where no result is stored."""
    ds = stored(claim, results)
    if not ds:
        return None
    sides = []
    for side in ("smaller", "larger"):
        at = {"column": claim["column"], "predictor": "model", **claim[side]}
        sides.append(values(ds, **at))
    return sides[0], sides[1]


def started(claim: Mapping[str, Any], results: Path) -> list[float] | None:
    """The values over seeds of the start of a tuned row; None of a claim without one."""
    if "start" not in claim:
        return None
    return values(stored(claim, results), **{"column": claim["column"], **claim["start"]})


def values(
    ds: Mapping[str, Any], row: str, column: str, test: str | None = None, predictor: str = "model"
) -> list[float]:
    """The numbers over seeds of a column of stored results; NaN of a run that failed, of no number, and of one over the
    trajectories that did not overflow."""
    whole = _by_seed(ds, f"not_finite{_steps(column)}", row, test, predictor)
    return [
        number if math.isfinite(number) and not lost > 0 else math.nan
        for number, lost in zip(_by_seed(ds, column, row, test, predictor), whole)
    ]


def _steps(column: str) -> str:
    """ "_20" of "rmse_published_20", "" of a column of networks."""
    end = column.rpartition("_")[2]
    return f"_{end}" if end.isdigit() else ""


def _by_seed(
    ds: Mapping[str, Any], column: str, row: str, test: str | None, predictor: str
) -> list[float]:
    coordinates = {name: each["data"] for name, each in ds["coords"].items()}
    number = coordinates["row"].index(row)
    status = ds["data_vars"]["status"]["data"][number]
    array = ds["data_vars"].get(column)
    out = []
    for seed, ended in enumerate(status):
        one = None if array is None or ended not in RUN else array["data"][number][seed]
        if one is not None and "test" in array["dims"]:
            place = coordinates["test"].index(test) if test is not None else 0
            one = one[place][coordinates["predictor"].index(predictor)]
        out.append(math.nan if one is None else float(one))
    return out


def verdict(smaller: Sequence[float], larger: Sequence[float], factor: float = 1.0) -> str:
    """Whether ``smaller`` is below ``factor`` times ``larger``, by means and standard deviations of their numbers.

    A seed without a number (NaN) speaks against its row."""
    few, many = finite(smaller), [factor * value for value in finite(larger)]
    if not few or not many:
        return "no conclusion: no seed has a number"
    low, high = statistics.fmean(few), statistics.fmean(many)
    lacking = len(few) < len(smaller) if low < high else len(many) < len(larger)
    if lacking:
        return "no conclusion: a seed has no number"
    # A baseline does not depend on the seed: its spread is that of the test data, 0.
    if min(len(few), len(many)) < 2:
        return f"one seed: {'holds' if low < high else 'does not hold'}"
    spread = statistics.stdev(few) + statistics.stdev(many)
    if abs(high - low) <= spread:
        return "no conclusion"
    return "**holds**" if low < high else "**does not hold**"


def finite(numbers: Sequence[float]) -> list[float]:
    return [value for value in numbers if math.isfinite(value)]


def shown(numbers: Sequence[float]) -> str:
    known = finite(numbers)
    if not known:
        return f"no number (0 of {len(numbers)} seeds)"
    mean = f"{statistics.fmean(known):.3g}"
    spread = f" ± {statistics.stdev(known):.2g}" if len(known) > 1 else ""
    return (
        mean
        + spread
        + (f" ({len(known)} of {len(numbers)} seeds)" if len(known) < len(numbers) else "")
    )
