"""Experiments: cells that survive interruptions, tables that tell the truth."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from experiment_cases import NETWORK, PARTICLES, QUICK, cell_files, changed, numbers, written

import pympnode
from pympnode import experiments, plotting
from pympnode.cli import cli
from pympnode.errors import CannotWrite, FileDamaged, InvalidOption, MissingFile, UnknownName
from pympnode.experiments import (
    budget,
    catalogue,
    cells,
    datasets,
    figures,
    folders,
    running,
    scoring,
    tables,
)
from pympnode.halves import HALVES
from pympnode.training.trainer import Trainer


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, xr.Dataset]:
    """(TOML, folder, results) of a particle experiment that has ended."""
    folder = tmp_path_factory.mktemp("tiny")
    path = written(folder, PARTICLES)
    ds = experiments.run(
        path, budget="4 updates", seeds=2, out=folder / "out", progress=False, device="cpu"
    )
    return path, folder / "out", ds


# What `running` writes of a cell, beside its scores.
CELL: dict[str, Any] = {
    "status": "completed", "reason": "", "run": {"updates": 3}, "folder": "runs/a", "made_with": {},
}  # fmt: skip


# ---- running ----------------------------------------------------------------------------------


def test_an_experiment_of_particles_runs(tiny: tuple[Path, Path, xr.Dataset]) -> None:
    _, out, ds = tiny
    assert ds["rmse_published_4"].dims == ("row", "seed", "test", "predictor")
    assert ds["predictor"].values.tolist() == ["model", "free_flight", "constant_acceleration"]
    assert (ds["status"] == "completed").all() and (ds["updates"] == 4).all()
    assert np.isfinite(ds["rmse_published_4"]).all() and (ds["forward_ms"] > 0).all()
    xr.testing.assert_equal(ds, pympnode.experiments.results(tiny[0], out=out))
    xr.testing.assert_equal(xr.load_dataset(out / "results.nc"), ds)
    assert json.loads((out / "results.json").read_text())["dims"]["row"] == 2


@pytest.mark.parametrize(("each", "rollouts"), [(0.001, 12), (1.0, 4)])
def test_steps_of_seconds_are_timed_once(
    monkeypatch: pytest.MonkeyPatch, each: float, rollouts: int
) -> None:
    taken: list[float] = []

    def seconds(model: Any, ds: xr.Dataset) -> float:
        taken.append(each * (ds.sizes["time"] - 1) + 0.5 * each)
        return taken[-1]

    monkeypatch.setattr(scoring, "_seconds", seconds)
    ds = xr.Dataset({"position": (("trajectory", "time"), np.zeros((2, 40)))})
    assert scoring.forward_ms(None, ds) == pytest.approx(1000 * each)
    assert len(taken) == rollouts


def test_an_experiment_of_networks_shares_its_start(tmp_path: Path) -> None:
    path = written(tmp_path, NETWORK)
    ds = experiments.run(path, budget="6 updates", out=tmp_path / "out", **QUICK)
    assert (ds["status"] == "completed").all()
    assert np.isfinite(ds["loss"].sel(predictor="model")).all()
    assert ds["predictor"].values.tolist() == ["model", "persistence", "uncoupled"]
    # Three rows, three runs: the start, the one that continues it, the one from initial weights.
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 3
    kept = json.loads(next(p for p in cell_files(tmp_path / "out") if "fine" in str(p)).read_text())
    start = pympnode.load(next((tmp_path / "out" / "runs").glob("*/seed-0/model.nc")))
    assert kept["settings"]["start"]["data"]["topology"] == "complete"
    assert start.system == "kuramoto" and "graph" not in kept["status"]


def test_any_number_of_steps_is_evaluated(tmp_path: Path) -> None:
    values = changed(PARTICLES, grid={"train": {"levels": [2]}}, published=[])
    values["columns"] = ["rmse_published_2", "energy_error_3", "rmse_published_4"]
    path, out = written(tmp_path, values), tmp_path / "out"
    ds = experiments.run(path, budget="2 updates", out=out, **QUICK)
    for name in values["columns"]:
        assert np.isfinite(ds[name]).all(), name
    assert "RMSE, 2 steps" in experiments.table(path, out=out)
    (model,) = [pympnode.load(file) for file in (out / "runs").glob("*/seed-0/model.nc")]
    test = pympnode.simulate(**ds_words(path, "held out"))
    score = pympnode.evaluate(model, test, horizons=[3])
    assert float(score["energy_error"].sel(predictor="model", horizon=3)) == pytest.approx(
        float(ds["energy_error_3"].sel(test="held out", predictor="model").squeeze()), rel=1e-12
    )
    # Another number of steps evaluates the same run again.
    written(tmp_path, changed(values, columns=["rmse_published_1"]))
    runs = {file: file.stat().st_mtime_ns for file in (out / "runs").glob("*/*/model.nc")}
    again = experiments.run(path, budget="2 updates", out=out, **QUICK)
    assert np.isfinite(again["rmse_published_1"]).all() and len(cell_files(out)) == 2
    assert list((out / "runs").glob("*/*/model.nc")) == list(runs)


def ds_words(path: Path, test: str) -> dict[str, Any]:
    """The keywords of `simulate` that make a test set."""
    found = experiments.experiment(path)
    return dict(next(cells.cells(found, budget.Budget.of(60), 1)).tests[test])


def test_the_usual_numbers_of_steps_change_no_fingerprint() -> None:
    """Cells that were evaluated at 20 and 200 steps are still those of the experiment."""
    (row,) = experiments.experiment("nbody_levels").rows[:1]
    made = cells.cell(experiments.experiment("nbody_levels"), row, budget.Budget.of("20m"), 0)
    assert "horizons" not in made.settings()


@pytest.mark.parametrize(
    ("losses", "found"),
    [([np.nan, 3.0, 2.0, 4.0], 6.0), ([5.0, np.nan], 5.0), ([np.nan, np.nan], np.nan)],
)
def test_epochs_without_a_loss_are_none_of_the_best(
    losses: list[float], found: float, tiny: tuple[Path, Path, xr.Dataset],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    path, out, _ = tiny
    model = pympnode.load(next((out / "runs").glob("*/seed-0/model.nc")))
    history = xr.Dataset({"validation_loss": ("epoch", losses)})
    result = pympnode.Result(
        model=model, history=history, status="diverged", reason="it did", best_loss=np.nan,
        best_epoch=0, updates=1, seconds=1.0, engine="torch", engine_reason="", kernel="eager", device="cpu", half=HALVES[0],
    )  # fmt: skip
    monkeypatch.setattr(running, "_trained", lambda *_: result)
    first = next(cells.cells(experiments.experiment(path), budget.Budget.of("4 updates"), 1))
    kept = running._finished(first, tmp_path, datasets.Datasets(out / "data"), "cpu", False)
    np.testing.assert_equal(kept["run"]["loss_epochs"], found)


def test_numbers_of_a_cell_are_those_of_evaluate(tiny: tuple[Path, Path, xr.Dataset]) -> None:
    path, out, ds = tiny
    found = experiments.experiment(path)
    cell = next(iter(cells.cells(found, budget.Budget.of("4 updates"), 1)))
    model = pympnode.load(cell.trainings[-1].folder(out, 0) / "model.nc")
    test = pympnode.simulate(**cell.tests["held out"])
    score = pympnode.evaluate(model, test)
    assert float(score["rmse_published"].sel(predictor="model", horizon=4)) == pytest.approx(
        float(
            ds["rmse_published_4"].sel(row="levels 2", seed=0, test="held out", predictor="model")
        ),
        rel=1e-12,
    )


def test_a_second_run_does_nothing_again(
    tiny: tuple[Path, Path, xr.Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out, ds = tiny
    monkeypatch.setattr(pympnode._api, "train", None)
    before = {file: file.stat().st_mtime_ns for file in cell_files(out)}
    again = experiments.run(path, budget="4 updates", seeds=2, out=out, progress=False)
    xr.testing.assert_equal(again, ds)
    assert before == {file: file.stat().st_mtime_ns for file in cell_files(out)}


def test_interrupted_between_cells_it_goes_on(
    tiny: tuple[Path, Path, xr.Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _, ds = tiny
    keep = running.write

    def write_and_stop(*given: Any) -> None:
        keep(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(running, "write", write_and_stop)
    words: dict[str, Any] = dict(budget="4 updates", seeds=2, out=tmp_path, progress=False)
    for count in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            experiments.run(path, **words, device="cpu")
        assert len(cell_files(tmp_path)) == count
        assert (experiments.results(path, out=tmp_path)["status"] == "completed").sum() == count
    assert "| levels 2 | N = 9 |" in experiments.table(path, out=tmp_path)
    monkeypatch.setattr(running, "write", keep)
    whole = experiments.run(path, **words, device="cpu")
    xr.testing.assert_identical(numbers(whole), numbers(ds))


@pytest.mark.parametrize(
    ("values", "length", "stops_at"),
    [
        # In the start, and in the run that continues it.
        pytest.param(NETWORK, "12 updates", (3, 17), id="networks"),
        pytest.param(PARTICLES, "20 updates", (2,), id="particles"),
    ],
)
def test_interrupted_within_a_cell_it_goes_on(
    values: dict[str, Any],
    length: str,
    stops_at: tuple[int, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = written(tmp_path, values)
    words: dict[str, Any] = dict(budget=length, **QUICK)
    whole = experiments.run(path, out=tmp_path / "whole", **words)
    close, closed = Trainer._close_epoch, []

    def close_and_stop(self: Trainer, *given: Any) -> None:
        close(self, *given)
        closed.append(1)
        if len(closed) in stops_at:
            self.interrupt()

    monkeypatch.setattr(Trainer, "_close_epoch", close_and_stop)
    stops = 0
    for _ in range(5):
        try:
            broken = experiments.run(path, out=tmp_path / "broken", **words)
            break
        except KeyboardInterrupt:
            stops += 1
    assert stops == len(stops_at)
    xr.testing.assert_identical(numbers(broken), numbers(whole))


def test_changed_settings_are_not_reused(
    tiny: tuple[Path, Path, xr.Dataset], tmp_path: Path
) -> None:
    values = changed(PARTICLES, grid={"train": {"levels": [2]}})
    path, out = written(tmp_path, values), tmp_path / "out"
    told: list[str] = []
    words: dict[str, Any] = dict(out=out, report=told.append, **QUICK)
    first = experiments.run(path, budget="2 updates", **words)
    longer = experiments.run(path, budget="3 updates", **words)
    assert len(cell_files(out)) == 2 and any("other settings" in line for line in told)
    assert first["updates"].values == 2 and longer["updates"].values == 3
    # Texts do not change a cell; another test set evaluates the same run again.
    written(tmp_path, changed(values, title="Another", note="Another."))
    experiments.run(path, budget="3 updates", **words)
    assert len(cell_files(out)) == 2
    written(tmp_path, changed(values, test=[{"name": "held out", "trajectories": 1}]))
    runs = list((out / "runs").iterdir())
    experiments.run(path, budget="3 updates", **words)
    assert len(cell_files(out)) == 3 and list((out / "runs").iterdir()) == runs
    written(tmp_path, changed(values, train={"edge_width": 4}))
    assert (experiments.results(path, out=out)["status"] == "missing").all()


def test_a_file_that_was_edited_is_refused(
    tiny: tuple[Path, Path, xr.Dataset], tmp_path: Path
) -> None:
    found = experiments.experiment(tiny[0])
    cell = next(iter(cells.cells(found, budget.Budget.of("4 updates"), 1)))
    assert cells.read(cell, tmp_path) is None
    cells.write(cell, tmp_path, CELL)
    path = cell.path(tmp_path)
    path.write_text(path.read_text().replace(cell.fingerprint, "0" * 12))
    with pytest.raises(FileDamaged, match="settings"):
        cells.read(cell, tmp_path)
    path.write_text("{")
    with pytest.raises(FileDamaged, match="cannot be read"):
        cells.read(cell, tmp_path)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"status": None}, "status = None"),
        ({"reason": 3}, "reason = 3"),
        ({"made_with": "x"}, "made_with = 'x'"),
        ({"run": [1]}, "run = "),
        ({"run": {"updates": "many"}}, "many"),
        ({"folder": None}, "folder = None"),
        ({"scores": None}, "scores of None"),
        ({"scores": {"other": {}}}, "scores of .'other'"),
        ({"scores": {"ring": {"persistence": {}}}}, "without those of the model"),
        ({"scores": {"ring": {"model": {"loss": None}}}}, "'loss': None"),
        ({"scores": {"ring": {"model": [1]}}}, "'model': .1"),
    ],
)
def test_a_cell_file_with_other_values_is_refused_in_words(
    parts: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """JSON of the right fingerprint whose values are none: no traceback, and no blank row "1 of 1"."""
    path, out = written(tmp_path, NETWORK), tmp_path / "out"
    cell = next(iter(cells.cells(experiments.experiment(path), budget.Budget.of("2 updates"), 1)))
    folders.write_call(out, path, "2 updates", 1, None)
    good = {**CELL, "scores": {"ring": {"model": {"loss": 0.5}}}}
    cells.write(cell, out, good)
    assert "| 0.5 |" in experiments.table(path, out=out)
    cells.write(cell, out, {**good, **parts})
    with pytest.raises(FileDamaged, match="numbers of a cell") as error:
        experiments.table(path, out=out)
    assert re.search(words, str(error.value.got)) and "remove it" in (error.value.fix or "")


@pytest.mark.parametrize(
    "parts",
    [{"seeds": "x"}, {"seeds": -1}, {"budget": [1]}, {"settings": [1]}, {"experiment": 3}],
)
def test_a_damaged_record_of_the_call_is_refused_in_words(
    parts: dict[str, Any], tmp_path: Path
) -> None:
    path, out = written(tmp_path, NETWORK), tmp_path / "out"
    folders.write_call(out, path, "2 updates", 1, None)
    record = out / folders.CALL
    record.write_text(json.dumps({**json.loads(record.read_text()), **parts}))
    for call in (experiments.table, experiments.results, experiments.run):
        with pytest.raises(FileDamaged, match="arguments of a run"):
            call(path, out=out)


def test_settings_of_numpy_are_found_again(tmp_path: Path) -> None:
    """They ended in a TypeError of json when the call was written."""
    values = changed(NETWORK, row=[{"name": "scratch"}])
    del values["start"]
    path, out = written(tmp_path, values), tmp_path / "out"
    settings = {"train.learning_rate": np.float32(1e-3), "data.trajectories": np.int64(8)}
    experiments.run(path, budget="1 updates", settings=settings, out=out, **QUICK)
    assert (experiments.results(path, out=out)["status"] == "completed").all()
    with pytest.raises(InvalidOption, match="values of TOML"):
        folders.as_recorded({"train.callbacks": object()})


def test_a_file_in_place_of_the_folder_is_no_damaged_run(tmp_path: Path) -> None:
    path = written(tmp_path, NETWORK)
    with pytest.raises(CannotWrite, match="cannot be written"):
        experiments.run(path, budget="2 updates", out=path, **QUICK)
    with pytest.raises(MissingFile, match="nothing was run"):
        experiments.table(path, out=path)


def test_a_bar_in_a_name_is_no_border_of_a_table(tmp_path: Path) -> None:
    values = changed(NETWORK, row=[{"name": "a|b"}], published=[{"loss": "1|2"}])
    del values["start"]
    path, out = written(tmp_path, values), tmp_path / "out"
    folders.write_call(out, path, "2 updates", 1, None)
    lines = [line for line in experiments.table(path, out=out).splitlines() if line[:1] == "|"]
    assert lines[2].startswith(r"| a\|b |") and r"| 1\|2 |" in lines[2]
    assert len({line.replace(r"\|", "").count("|") for line in lines}) == 1


def test_a_failed_cell_has_its_reason_and_stops_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, changed(PARTICLES, grid={"train": {"levels": [2, 3]}}))
    trained = running._trained

    def train(training: cells.Training, *rest: Any) -> Any:
        if training.train["levels"] == 2 and not fixed:
            raise pympnode.errors.NotEnoughMemory("9 GiB are needed", fix="micro_batch=1 fits")
        return trained(training, *rest)

    fixed = False
    monkeypatch.setattr(running, "_trained", train)
    words: dict[str, Any] = dict(budget="2 updates", out=tmp_path / "out", **QUICK)
    ds = experiments.run(path, **words)
    assert ds["status"].values[:, 0].tolist() == ["failed", "completed"]
    assert "micro_batch=1" in str(ds["reason"].values[0, 0])
    text = experiments.table(path, out=tmp_path / "out")
    assert "levels 2, seed 0: failed: NotEnoughMemory: 9 GiB are needed" in text
    fixed = True
    assert str(experiments.run(path, **words)["status"].values[0, 0]) == "failed"
    assert str(experiments.run(path, **words, retry=True)["status"].values[0, 0]) == "completed"


@pytest.mark.parametrize("error", [TypeError, KeyError, AssertionError, AttributeError])
def test_whatever_fails_in_a_cell_stops_no_other(
    error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(training: cells.Training, *_: Any) -> Any:
        raise error("'<' not supported") if training.train["levels"] == 2 else MemoryError("full")

    monkeypatch.setattr(running, "_trained", train)
    ds = experiments.run(written(tmp_path, PARTICLES), out=tmp_path / "out", **QUICK)
    assert ds["status"].values[:, 0].tolist() == ["failed", "failed"]
    assert str(ds["reason"].values[0, 0]).startswith(f"{error.__name__}: ")


def test_a_device_that_is_not_there_fails_no_cell(tmp_path: Path) -> None:
    out, words = tmp_path / "out", {**QUICK, "device": "gpu"}
    with pytest.raises(UnknownName, match="unknown device 'gpu'"):
        experiments.run(written(tmp_path, PARTICLES), out=out, **words)
    assert not out.exists()


def test_a_folder_holds_one_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of one's own named like a published one would take its table away."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "_trained", lambda *_: 1 / 0)
    own = written(tmp_path, PARTICLES, "nbody_levels")
    experiments.run("nbody_levels", **QUICK)
    table = experiments.table("nbody_levels")
    for call in (experiments.run, experiments.table, experiments.results):
        with pytest.raises(InvalidOption, match="that of another experiment") as error:
            call(own, **(QUICK if call is experiments.run else {}))
        assert "out=" in (error.value.fix or "")
    assert experiments.table("nbody_levels") == table
    experiments.run(own, out="experiments/mine", **QUICK)
    assert "levels 2" in experiments.table("nbody_levels.toml", out="experiments/mine")
    with pytest.raises(InvalidOption, match="that of another experiment"):
        experiments.table("nbody_levels", out="experiments/mine")
    # A file that was moved takes its folder with it.
    moved = own.rename(tmp_path / "moved.toml")
    assert len(experiments.results(moved, out="experiments/mine").row) == 2
    (tmp_path / "experiments" / "mine" / "call.json").write_text("{}")
    with pytest.raises(FileDamaged, match=r"call\.json"):
        experiments.results(moved, out="experiments/mine")


def test_data_outside_of_training_are_recorded_without_a_warning(tmp_path: Path) -> None:
    other = [{"name": "far", "trajectories": 2, "parameters": {"side": 100.0}}]
    values = changed(PARTICLES, test=other, grid={"train": {"levels": [2]}})
    values["published"] = []
    experiments.run(written(tmp_path, values), budget="2 updates", out=tmp_path / "out", **QUICK)
    (kept,) = (json.loads(p.read_text()) for p in cell_files(tmp_path / "out"))
    assert "spacing" in " ".join(kept["outside"]["far"])


# ---- tables -----------------------------------------------------------------------------------


def table_rows(text: str) -> Iterator[list[str]]:
    for line in text.splitlines():
        if line.startswith("| ") and not line.startswith("|---"):
            yield [word.strip() for word in line.strip("|").split("|")]


def test_numbers_of_the_table_are_those_of_the_cells(tiny: tuple[Path, Path, xr.Dataset]) -> None:
    path, out, _ = tiny
    text = experiments.table(path, out=out)
    assert (out / "results.md").read_text() == text
    head, *rows = table_rows(text)
    assert head == ["", "test", "RMSE, 4 steps", "published", "energy, 4 steps",
                    "not finite, 4 steps", "updates", "seeds"]  # fmt: skip
    kept = [json.loads(file.read_text()) for file in cell_files(out)]
    for name, test, rmse, published, *_, updates, seeds in rows:
        if name.startswith("*"):
            values = [k["scores"][test][name.strip("*").replace(" ", "_")] for k in kept[:1]]
            assert rmse == tables.number(np.array([v["rmse_published_4"] for v in values]))
            continue
        mine = [k for k in kept if k["row"] == name]
        values = [k["scores"][test]["model"]["rmse_published_4"] for k in mine]
        assert rmse == f"{np.mean(values):.3g} ± {np.std(values, ddof=1):.1g}"
        assert published == (".1 ± .02" if (name, test) == ("levels 2", "held out") else "")
        assert (updates, seeds) == ("4", "2 of 2")
    assert [row[0] for row in rows[:4]] == [
        "levels 2", "levels 3", "*free flight*", "*constant acceleration*",
    ]  # fmt: skip


def test_a_number_counts_the_seeds_behind_it() -> None:
    assert tables.number(np.array([])) == ""
    assert tables.number(np.array([np.nan, np.nan])) == ""
    assert tables.number(np.array([1.0, 3.0])) == "2 ± 1"
    assert tables.number(np.array([1.0, np.nan, 3.0])) == "2 ± 1 (2 of 3)"
    assert tables.number(np.array([1.0, np.inf])) == "inf"
    assert tables.number(np.array([1234.0])) == "1,234"
    assert tables.number(np.array([500.0, 900.0])) == "700 ± 283"
    assert tables.number(np.array([0.4, 0.4, 0.1 + 0.3])) == "0.4"
    assert tables.number(np.array([0.1 + 0.2, 0.3])) == "0.3"


def test_rows_share_a_line_of_a_baseline_that_is_about_equal() -> None:
    lines: list[tables._Baseline] = []
    for row, value in (("first", 3.9), ("second", 3.8), ("third", 0.97)):
        tables._add(lines, "persistence", row, {"error": 0.673, "rmse_z": value})
    tables._add(lines, "free_flight", "first", {"error": 0.673, "rmse_z": 3.9})
    assert [(line.name(True), line.cell("error"), line.cell("rmse_z")) for line in lines] == [
        ("*persistence* (first; 2 rows)", "0.673", "3.8 to 3.9"),
        ("*persistence* (third)", "0.673", "0.97"),
        ("*free flight* (first)", "0.673", "3.9"),
    ]
    assert lines[0].cell("energy") == "" and lines[2].name(False) == "*free flight*"


def test_numbers_that_are_not_finite_survive_their_file(tmp_path: Path) -> None:
    found = experiments.experiment("nbody_levels")
    cell = next(iter(cells.cells(found, budget.Budget.of("1m"), 1)))
    score = {"held out": {"model": {"rmse_published_20": np.inf, "energy_error_20": np.nan}}}
    cells.write(cell, tmp_path, {**CELL, "status": "diverged", "scores": score})
    kept = cells.read(cell, tmp_path)
    assert kept is not None
    assert float(kept["scores"]["held out"]["model"]["rmse_published_20"]) == np.inf
    assert np.isnan(float(kept["scores"]["held out"]["model"]["energy_error_20"]))


def test_an_experiment_that_never_ran_is_an_error_with_a_fix(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="nothing was run"):
        experiments.results("nbody_levels", out=tmp_path)


# ---- the command line -------------------------------------------------------------------------


def invoke(*words: str) -> Any:
    return CliRunner().invoke(cli, ["experiment", *words])


def test_the_command_line_lists_and_shows() -> None:
    listed = invoke("list")
    assert listed.exit_code == 0 and "nbody_levels" in listed.output
    assert len(json.loads(invoke("list", "--json").output)) == len(experiments.names())
    shown = invoke("show", "nbody_levels", "--budget", "20m", "--seeds", "3")
    assert shown.exit_code == 0, shown.output
    assert "Table 3" in shown.output and "12 runs, 4.0 h of training" in shown.output
    paper = invoke("show", "nbody_levels", "--set", "train.preset=paper", "--json")
    assert {r["train"]["preset"] for r in json.loads(paper.output)["rows"]} == {"paper"}
    assert isinstance(invoke("show", "nbody_level").exception, UnknownName)


def test_the_command_line_runs_and_prints_the_table(tmp_path: Path) -> None:
    path = str(written(tmp_path, changed(PARTICLES, grid={"train": {"levels": [2]}})))
    words = (path, "--out", str(tmp_path / "out"))
    ran = invoke("run", *words, "--budget", "2 updates", "--seeds", "1", "--device", "cpu")
    assert ran.exit_code == 0, ran.output
    assert "1 cell; 1 run, 2 updates of training" in ran.output
    table = invoke("table", *words)
    assert table.output == (tmp_path / "out" / "results.md").read_text()
    told = json.loads(invoke("table", *words, "--json").output)
    assert told["data_vars"]["updates"]["data"] == [[2.0]]


def test_the_command_line_reports_that_all_cells_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "_trained", lambda *_: 1 / 0)
    words = (str(written(tmp_path, PARTICLES)), "--out", str(tmp_path / "out"), "--seeds", "1")
    first = invoke("run", *words, "--device", "cpu")
    assert first.exit_code == 1 and "every cell failed; --retry" in first.output
    assert "ZeroDivisionError" in first.output and "| levels 2 |" in first.output
    again = invoke("run", *words, "--device", "cpu")
    assert again.exit_code == 1 and "failed before; retry=True, or --retry" in again.output
    assert isinstance(invoke("run", *words, "--device", "gpu").exception, UnknownName)
    assert isinstance(invoke("show", "nbody_levels", "--seeds", "0").exception, InvalidOption)


def test_the_command_line_names_the_command_to_continue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(experiments, "run", interrupted, raising=False)
    stopped = invoke("run", "nbody_levels", "--out", str(tmp_path))
    assert stopped.exit_code == 1 and "the same command continues" in stopped.output


def test_names_are_completed() -> None:
    from pympnode.commands.experiments import run_command

    (argument,) = [p for p in run_command.params if p.name == "name"]
    found = argument.type.shell_complete(None, argument, "nbody_le")  # type: ignore[arg-type]
    assert [item.value for item in found] == ["nbody_levels"]


def test_the_how_to_names_every_experiment() -> None:
    page = Path(__file__).parent.parent / "docs" / "howto" / "experiments.md"
    text = page.read_text(encoding="utf-8")
    assert [name for name in experiments.names() if f"`{name}`" not in text] == []


def test_the_file_that_the_how_to_shows_is_valid(tmp_path: Path) -> None:
    page = Path(__file__).parent.parent / "docs" / "howto" / "experiments.md"
    shown = page.read_text(encoding="utf-8").split("```toml\n")[1].split("```")[0]
    (tmp_path / "shown.toml").write_text(shown, encoding="utf-8")
    assert len(experiments.experiment(tmp_path / "shown.toml").rows) == 2


def test_a_shipped_file_holds_values_alone() -> None:
    for path in catalogue.PUBLISHED.glob("*.toml"):
        values = tomllib.loads(path.read_text(encoding="utf-8"))
        assert json.loads(json.dumps(values)) == values


def test_many_lines_share_colours_by_name_and_differ_in_style() -> None:
    names = [f"{who}, trajectories {n}" for who in ("tuned", "scratch") for n in (50, 100, 500)]
    few = figures._Looks(names)
    assert len({few.of(name)["color"] for name in names}) == 6
    many = figures._Looks([*names, *(f"published, {name}" for name in names)])
    assert many.of("tuned, trajectories 50")["color"] == many.of("tuned, trajectories 500")["color"]
    assert many.of("tuned, trajectories 50")["color"] != many.of(names[3])["color"]
    looks = [many.of(n) for n in (*names, *(f"published, {name}" for name in names))]
    assert len({(look["color"], look["linestyle"]) for look in looks}) == 12


def test_one_row_that_left_the_truth_hides_no_other() -> None:
    ax = plotting.style.new_axes()
    small, large = np.array([0.0, -1e-5, 2e-5]), np.array([0.0, 50.0, -90.0])
    for values in (small, large):
        ax.plot([0.0, 1.0, 2.0], values)
    ax.set_ylabel("change")
    figures._on_a_logarithmic_axis(ax)
    assert ax.get_yscale() == "log" and ax.get_title() == "absolute values"
    drawn = [line.get_ydata() for line in ax.get_lines()]
    np.testing.assert_array_equal(
        drawn, np.where(np.abs([small, large]) > 0, np.abs([small, large]), np.nan)
    )
    low, high = ax.get_ylim()
    assert low < 1e-5 and high > 90
