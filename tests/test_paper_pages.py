"""The pages of the papers: claims name what exists, and verdicts follow from numbers."""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pympnode import experiments
from pympnode.experiments.catalogue import experiment
from pympnode.experiments.columns import RUN

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "docs" / "_ext"))
import paper_pages  # noqa: E402

GIVEN = tomllib.loads((ROOT / "benchmarks" / "claims.toml").read_text(encoding="utf-8"))
CLAIMS = GIVEN["claim"]
PAGES = paper_pages.paper_pages()
NAN = float("nan")
TESTED = [claim for claim in CLAIMS if "experiment" in claim]


@pytest.mark.parametrize("claim", TESTED, ids=lambda c: f"{c['experiment']}: {c['item']}")
def test_a_claim_names_rows_tests_and_columns_of_its_experiment(claim: dict[str, Any]) -> None:
    found = experiment(claim["experiment"])
    rows, tests = {row.name for row in found.rows}, {test.name for test in found.tests}
    for side in (
        claim["smaller"],
        claim["larger"],
        *([claim["start"]] if "start" in claim else []),
    ):
        assert side["row"] in rows
        assert side.get("test") is None or side["test"] in tests
        assert side.get("predictor", "model") in {"model", *found.beside}
    assert claim["column"] in (*found.columns, *RUN)


def test_a_tuned_row_stands_beside_its_start() -> None:
    """A model that tuning left unchanged is no tuned one: the page has to say so."""
    kinds = {row.name: row.start for c in TESTED for row in experiment(c["experiment"]).rows}
    for claim in TESTED:
        tuned = kinds[claim["smaller"]["row"]] == "finetune"
        assert tuned == ("start" in claim), claim["claim"]
        if tuned:
            assert kinds[claim["start"]["row"]] == "unchanged"


@pytest.mark.parametrize("path", sorted(paper_pages.RESULTS.glob("*.json")), ids=lambda p: p.stem)
def test_stored_results_are_those_of_todays_file(path: Path) -> None:
    """A row or a test that was renamed since would be missing, and another one is not its number."""
    stored, found = json.loads(path.read_text(encoding="utf-8")), experiment(path.stem)
    assert stored["coords"]["row"]["data"] == [row.name for row in found.rows]
    assert stored["coords"]["test"]["data"] == [test.name for test in found.tests]
    assert set(found.columns) <= stored["data_vars"].keys()


@pytest.mark.parametrize("figure", GIVEN["figure"], ids=paper_pages.picture)
def test_a_figure_is_one_that_its_experiment_draws_and_is_on_its_page(
    figure: dict[str, str],
) -> None:
    kind = figure["file"].removesuffix(".png").split("-")[0]
    assert kind in experiment(figure["experiment"]).figures
    assert (paper_pages.PICTURES / paper_pages.picture(figure)).is_file()
    page = PAGES[f"paper_{figure['paper']}.md"]
    assert f"/images/papers/{paper_pages.picture(figure)}" in page and figure["text"] in page


def test_every_published_experiment_has_a_claim_or_is_beyond_the_papers() -> None:
    missing = set(experiments.names()) - {claim["experiment"] for claim in TESTED}
    for name in missing:
        source = experiment(name).source
        assert source.startswith("beyond") or name == "quadrotor_finetune", (name, source)


def results(status: list[str], low: list[Any], high: list[Any]) -> dict[str, Any]:
    """Stored results of two rows and two tests; the second test has ten times the numbers."""

    def nested(values: list[Any]) -> list[Any]:
        return [[[v], [None if v is None else 10 * v]] for v in values]

    dims = ["row", "seed", "test", "predictor"]
    return {
        "attrs": {"budget": "9 updates"},
        "coords": {
            name: {"data": data}
            for name, data in (("row", ["a", "b"]), ("test", ["x", "y"]), ("predictor", ["model"]))
        },
        "data_vars": {
            "loss": {"dims": dims, "data": [nested(low), nested(high)]},
            "status": {"dims": dims[:2], "data": [status, status]},
        },
    }


def test_a_row_of_the_table_has_numbers_budget_and_verdict(tmp_path: Path) -> None:
    done = ["completed", "failed", "diverged", "completed"]
    (tmp_path / "tiny.json").write_text(
        json.dumps(results(done, [1.0, 99.0, 1.2, None], [4.0, 0.1, 4.4, 4.2]))
    )
    claim = {
        "paper": "p", "item": "Figure 1", "claim": "a is below b", "experiment": "tiny", "column": "loss",
        "measure": "loss", "smaller": {"row": "a"}, "larger": {"row": "b", "test": "y"},
    }  # fmt: skip
    low, high = paper_pages.measured(claim, tmp_path) or ([], [])
    assert [str(v) for v in low] == ["1.0", "nan", "1.2", "nan"]
    assert [str(v) for v in high] == ["40.0", "nan", "44.0", "42.0"]
    line = paper_pages.row(claim, tmp_path)
    ours = "1.1 ± 0.14 (2 of 4 seeds) against 42 ± 2 (3 of 4 seeds) (loss; 9 updates)"
    assert f"{ours} | no conclusion: a seed has no number |" in line
    assert line.endswith("| `tiny` |")
    assert "not run" in paper_pages.row({**claim, "experiment": "other"}, tmp_path)


def test_trajectories_that_overflowed_are_no_number(tmp_path: Path) -> None:
    """An error is the mean over the others: of a model that lost half, it is that of the easy half."""
    stored = results(["completed"] * 2, [1.0, 1.1], [2.0, 2.1])
    array = stored["data_vars"]["loss"]
    stored["data_vars"]["rmse_20"] = array
    for name, lost in (("not_finite_20", 0.5), ("not_finite_200", 0.0)):
        data = [[[[lost], [0.0]], [[0.0], [0.0]]], [[[0.0], [0.0]], [[0.0], [0.0]]]]
        stored["data_vars"][name] = {"dims": array["dims"], "data": data}
    assert str(paper_pages.values(stored, "a", "rmse_20")) == "[nan, 1.1]"
    assert paper_pages.values(stored, "a", "rmse_20", "y") == [10.0, 11.0]
    assert paper_pages.values(stored, "a", "loss") == [1.0, 1.1]


def test_a_tuned_row_that_is_its_start_is_named(tmp_path: Path) -> None:
    stored = results(["completed"] * 2, [1.0, 1.1], [2.0, 2.1])
    stored["coords"]["row"]["data"] = ["a", "b", "c"]
    for array in stored["data_vars"].values():
        array["data"].append(array["data"][0])
    stored["data_vars"]["loss"]["data"][2] = [[[1.0], [9.0]], [[1.4], [9.0]]]
    (tmp_path / "tiny.json").write_text(json.dumps(stored))
    claim = {
        "item": "i", "claim": "c", "experiment": "tiny", "column": "loss", "measure": "loss",
        "smaller": {"row": "a"}, "larger": {"row": "b"}, "start": {"row": "c"},
    }  # fmt: skip
    line = paper_pages.row(claim, tmp_path)
    assert "(loss; 9 updates; start 1.2 ± 0.28)" in line
    assert "**holds**. Tuning kept the start in 1 of 2 seeds |" in line
    del claim["start"]
    assert "start" not in paper_pages.row(claim, tmp_path)


def test_the_cost_counts_runs_that_took_time(tmp_path: Path) -> None:
    stored = {"data_vars": {"seconds": {"data": [[1800.0, None], [5400.0, 1.8e3], ["nan", "nan"]]}}}
    (tmp_path / "tiny.json").write_text(json.dumps(stored))
    assert paper_pages.cost(["tiny", "other"], tmp_path).startswith(
        "Stored here: 3 runs, 2.5 CPU hours"
    )
    assert paper_pages.cost(["other"], tmp_path) == "No runs are stored."


@pytest.mark.parametrize(
    ("smaller", "larger", "factor", "expected"),
    [
        ([1.0, 1.1], [2.0, 2.1], 1.0, "**holds**"),
        ([2.0, 2.1], [1.0, 1.1], 1.0, "**does not hold**"),
        ([1.0, 2.0], [1.5, 2.5], 1.0, "no conclusion"),
        ([1.0], [2.0], 1.0, "one seed: holds"),
        ([2.0], [1.0], 1.0, "one seed: does not hold"),
        ([1.1, 1.1], [1.0, 1.0], 1.2, "**holds**"),
        ([1.1, 1.1], [1.0, 1.0], 1.0, "**does not hold**"),
        ([1.0, 1.1, NAN], [2.0, 2.1, 2.1], 1.0, "no conclusion: a seed has no number"),
        ([2.0, 2.1, NAN], [1.0, 1.1, 1.1], 1.0, "**does not hold**"),
        ([1.0, 1.1, 1.1], [2.0, 2.1, NAN], 1.0, "**holds**"),
        ([2.0, 2.1, 2.1], [1.0, 1.1, NAN], 1.0, "no conclusion: a seed has no number"),
        ([NAN, NAN], [1.0, 1.1], 1.0, "no conclusion: no seed has a number"),
    ],
)
def test_verdicts(smaller: list[float], larger: list[float], factor: float, expected: str) -> None:
    assert paper_pages.verdict(smaller, larger, factor) == expected
