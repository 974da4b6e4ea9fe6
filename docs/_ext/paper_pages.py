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
    seconds = [
        second
        for name in experiments
        if (path := results / f"{name}.json").exists()
        for row in json.loads(path.read_text(encoding="utf-8"))["data_vars"]["seconds"]["data"]
        for second in row
        if second is not None and math.isfinite(second)
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

VERDICTS = """A verdict compares two numbers of the experiment, each the mean of the seeds that ended, and their standard deviations:

- **holds** and **does not hold**: the ranges mean ± standard deviation do not overlap,
- **no conclusion**: they overlap,
- **one seed**: the order of one run of each, which shows little,
- **not run**: no result is stored, for the reason that stands there."""


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
        ours = f"{shown(low)} against {shown(high)} ({claim['measure']}; {budget})"
        decided = verdict(low, high, float(claim.get("factor", 1.0)))
    if "remark" in claim:
        decided = f"{decided}. {claim['remark']}"
    cells = [claim["item"], claim["claim"], str(claim.get("published", "")), ours, decided, command]
    return "| " + " | ".join(cells) + " |"


def stored(claim: Mapping[str, Any], results: Path) -> dict[str, Any]:
    path = results / f"{claim['experiment']}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def measured(claim: Mapping[str, Any], results: Path) -> tuple[list[float], list[float]] | None:
    """The values over seeds that the claim says are smaller, and those that are larger; None where
    either is missing."""
    ds = stored(claim, results)
    if not ds:
        return None
    sides = []
    for side in ("smaller", "larger"):
        at = {"column": claim["column"], "predictor": "model", **claim[side]}
        sides.append(values(ds, **at))
    return (sides[0], sides[1]) if all(sides) else None


def values(
    ds: Mapping[str, Any], row: str, column: str, test: str | None = None, predictor: str = "model"
) -> list[float]:
    """The numbers over seeds of a column of stored results, of runs that ended."""
    coordinates = {name: each["data"] for name, each in ds["coords"].items()}
    array = ds["data_vars"][column]
    number = coordinates["row"].index(row)
    status = ds["data_vars"]["status"]["data"][number]
    out = []
    for seed, one in enumerate(array["data"][number]):
        if status[seed] not in RUN:
            continue
        if "test" in array["dims"]:
            place = coordinates["test"].index(test) if test is not None else 0
            one = one[place][coordinates["predictor"].index(predictor)]
        if one is not None and math.isfinite(one):
            out.append(float(one))
    return out


def verdict(smaller: Sequence[float], larger: Sequence[float], factor: float = 1.0) -> str:
    """Whether ``smaller`` is below ``factor`` times ``larger``, by means and standard deviations."""
    larger = [factor * value for value in larger]
    low, high = statistics.fmean(smaller), statistics.fmean(larger)
    # A baseline does not depend on the seed: its spread is that of the test data, 0.
    if min(len(smaller), len(larger)) < 2:
        return f"one seed: {'holds' if low < high else 'does not hold'}"
    spread = statistics.stdev(smaller) + statistics.stdev(larger)
    if abs(high - low) <= spread:
        return "no conclusion"
    return "**holds**" if low < high else "**does not hold**"


def shown(numbers: Sequence[float]) -> str:
    mean = f"{statistics.fmean(numbers):.3g}"
    return f"{mean} ± {statistics.stdev(numbers):.2g}" if len(numbers) > 1 else mean
