"""What files of experiments may say, and that those that are shipped say it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from experiment_cases import NETWORK, PARTICLES, changed, written

from pympnode import experiments
from pympnode.errors import FileDamaged, InvalidOption, MissingFile, UnknownName
from pympnode.experiments import budget, cells, datasets

# ---- the files that are shipped ---------------------------------------------------------------


def test_the_published_tables_and_figures_are_there() -> None:
    wanted = {
        "nbody_gravity", "nbody_coulomb", "nbody_levels", "nbody_time_budget", "nbody_batch_one",
        "nbody_particle_counts", "nbody_density", "nbody_presets", "nbody_symmetry",
        "gene_topologies", "lorenz_finetune", "kuramoto_finetune", "gene_finetune",
        "pendulum_messages", "kuramoto_messages", "kuramoto_message_size",
        "quadrotor_message_size", "quadrotor_finetune", "quadrotor_finetune_published",
        "pendulum_cut", "gene_surfaces", "lorenz_sizes", "kuramoto_ba_sizes",
        "kuramoto_finetune_er_ba", "lorenz_finetune_coupling", "lorenz_finetune_strong",
        "lorenz_finetune_horizon", "nbody_sizes", "nbody_training_counts", "nbody_largest_batch",
        "nbody_paths", "nbody_paths_coulomb",
    }  # fmt: skip
    assert wanted <= set(experiments.names())


@pytest.mark.parametrize("name", experiments.names())
def test_every_shipped_experiment_has_valid_options(name: str) -> None:
    """The keywords of each row are checked against `simulate`, `train`, and what a model is."""
    found = experiments.experiment(name)
    assert found.title and found.source and found.note and found.columns
    made = list(cells.cells(found, budget.Budget.of("20m"), 2))
    assert len({cell.path(Path()) for cell in made}) == 2 * len(found.rows)
    for cell in made:
        for data in cell.tests.values():
            assert data["seed"] == cells.TEST_SEED
        for training in cell.trainings:
            assert training.train["time_budget"] == 1200


@pytest.mark.parametrize("name", experiments.names())
def test_data_of_every_shipped_experiment_can_be_simulated(name: str) -> None:
    found = experiments.experiment(name)
    made = list(cells.cells(found, budget.Budget.of(60), 1))
    wanted = [t.data for c in made for t in c.trainings] + [
        d for c in made for d in c.tests.values()
    ]
    seen = set()
    for data in wanted:
        for part in datasets.parts(data):
            short = {**part, "trajectories": 5 if data.get("graphs") else 1, "steps": 1}
            if "particles" in short:  # of 10,000 one step takes seconds
                short["particles"] = min(short["particles"], 1000)
            if (key := cells.fingerprint(short)) in seen:
                continue
            seen.add(key)
            assert datasets.simulated(short).sizes["time"] == 2


# ---- what a file may say ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "hint"),
    [
        ({"titel": "x"}, "'title'"),
        ({"train": {"edge_widht": 8}}, "'edge_width'"),
        ({"data": {"particels": 8}}, "'particles'"),
        ({"data": {"system": "gravty"}}, "'gravity'"),
        ({"grid": {"train": {"level": [2]}}}, "'levels'"),
        ({"columns": ["rmse_publisht_20"]}, "rmse_published_20"),
        ({"beside": ["free_fligt"]}, "'free_flight'"),
        ({"published": [{"row": "level 2"}]}, "'levels 2'"),
        ({"published": [{"rmse_published_5": 1}]}, "'rmse_published_4'"),
        ({"test": [{"name": "a", "trajectory": 2}]}, "'trajectories'"),
        ({"row": [{"name": "a", "trian": {}}]}, "'train'"),
        ({"row": [{"name": "a", "start": "fine-tune"}]}, "'finetune'"),
        ({"train": {"model": "hierarchical_deltgn"}}, "'hierarchical_deltagn'"),
    ],
)
def test_an_unknown_name_is_refused_with_the_closest(
    parts: dict[str, Any], hint: str, tmp_path: Path
) -> None:
    with pytest.raises(UnknownName) as error:
        experiments.experiment(written(tmp_path, changed(PARTICLES, **parts)))
    assert hint in (error.value.fix or "")


@pytest.mark.parametrize(
    "parts",
    [
        {"test": {"name": "a"}},
        {"grid": {"train": {"levels": 2}}},
        {"row": [{"name": "a"}, {"name": "a"}]},
        {"row": [{"name": "a", "start": "finetune"}]},
        {"train": {"edge_width": 0}},
        {"train": {"batch_size": 0}},
        {"train": {"conserve_momentum": True, "model": "hogn"}},
        {"train": {"neighbours": 3}},
        {"columns": ["rmse_published_5"]},
    ],
)
def test_a_wrong_value_is_refused_before_anything_runs(parts: dict, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption):
        experiments.experiment(written(tmp_path, changed(PARTICLES, **parts)))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"data": {"particles": "many"}}, "row 'levels 2' .*particles must be a whole number"),
        ({"data": {"steps": 0}}, "steps must be a whole number"),
        ({"data": {"dt": "short"}}, "dt must be"),
        ({"data": {"dims": 4}}, "2 or 3"),
        ({"data": {"start": "plumer"}}, "unknown start 'plumer'"),
        ({"data": {"split": 2}}, "split is the training share"),
        ({"data": {"dtype": "float16"}}, "unknown dtype"),
        ({"data": {"parameters": {"side": "wide"}}}, "side"),
        ({"train": {"kernel": "fussed"}}, "unknown kernel"),
        ({"train": {"dtype": "float16"}}, "unknown dtype"),
        ({"train": {"precision": "bf17"}}, "unknown precision"),
        ({"train": {"micro_batch": 0}}, "micro_batch must be a whole number"),
        ({"train": {"augment": "yes"}}, "augment is True or False"),
        ({"train": {"updates": 0}}, "updates must be a whole number"),
        ({"train": {"updates": 2, "epochs": 2}}, "one length"),
        ({"train": {"time_budget": "soon"}}, "time_budget is not a length"),
        ({"train": {"model": ["deltagn"]}}, "model of particles is a name"),
        (
            {"grid": {"train": {"levels": [2, "two"]}}},
            "row 'levels two' .*levels must be a whole number",
        ),
        ({"test": [{"name": "a", "steps": -1}]}, "test 'a' .*steps must be a whole number"),
        (
            {"test": [{"name": "a", "dt": 0.02}]},
            "test 'a' of .* has another dt than row 'levels 2'",
        ),
        ({"test": [{"name": "a", "dims": 3}]}, "another dims"),
        ({"test": [{"name": "a", "system": "coulomb"}]}, "another system"),
    ],
)
def test_a_value_that_nothing_takes_is_refused_with_its_place(
    parts: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """Not after the training of a row, and not in the words of Python."""
    with pytest.raises((InvalidOption, UnknownName), match=words) as error:
        experiments.experiment(written(tmp_path, changed(PARTICLES, **parts)))
    assert "experiment 'tiny'" in str(error.value)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"data": {"steps": "many"}}, "steps must be a whole number"),
        ({"data": {"dt": "short"}}, "dt must be"),
        ({"data": {"noise": "loud"}}, "noise is a standard deviation"),
        ({"data": {"split": 2}}, "split is the training share"),
        ({"data": {"parameters": {"coupling": "x"}}}, "coupling"),
        ({"train": {"kernel": "numbr"}}, "unknown kernel"),
        ({"train": {"missing": "drop"}}, "unknown missing"),
        ({"train": {"hidden": 0}}, "hidden must be a whole number"),
        ({"test": [{"name": "a", "system": "gene"}]}, "another system"),
    ],
)
def test_values_of_networks_are_checked_too(
    parts: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises((InvalidOption, UnknownName), match=words):
        experiments.experiment(written(tmp_path, changed(NETWORK, **parts)))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"title": 3}, "title of .* is a text"),
        ({"source": ["x"]}, "source of .* is a text"),
        ({"note": True}, "note of .* is a text"),
        ({"title": " "}, "title of .* is a text"),
        ({"row": [{"name": 3}]}, "name of a row .* is a text"),
        ({"test": [{"name": ""}]}, "name of a test .* is a text"),
        ({"columns": []}, "columns of .* names each once, and at least one"),
        ({"columns": ["loss", "loss"]}, "columns of .* names each once"),
        ({"beside": ["persistence", "persistence"]}, "beside of .* names each once"),
        ({"columns": ["observable_foo"]}, "unknown column of networks 'observable_foo'"),
        ({"columns": ["error_position"]}, "unknown column of networks 'error_position'"),
        ({"beside": ["constant_velocity"]}, "baseline constant_velocity"),
        ({"figures": ["surfaces"], "data": {"nodes": 3}}, "nodes in a grid"),
        ({"published": [{"loss": [1]}]}, "holds what was printed"),
        ({"published": [{"loss": float("nan")}]}, "holds what was printed"),
        ({"published": [{"loss": True}]}, "holds what was printed"),
        ({"published": [{"loss": 1}, {"row": "as it is", "loss": 2}]}, "has a number twice"),
        ({"data": {"mixed": [{"mixed": [{}, {}]}, {}]}}, "mixed of .* lists the changes"),
        ({"test": [{"name": "a", "seed": 0}]}, "test 'a' .* trajectories that its row is trained"),
        (
            {"row": [{"name": "a", "start": "unchanged", "train": {"hidden": 3}}]},
            "row 'a' .* trains nothing",
        ),
        ({"row": [{"name": "a"}]}, r"no row .* goes on from the model of \[start\]"),
    ],
)
def test_what_a_table_would_drop_or_repeat_is_refused(
    parts: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """Each of these ran, and a number, a line or a keyword was missing, twice or ignored."""
    assert experiments.experiment(written(tmp_path, NETWORK))
    with pytest.raises((InvalidOption, UnknownName), match=words) as error:
        experiments.experiment(written(tmp_path, changed(NETWORK, **parts)))
    assert None not in (error.value.got, error.value.allowed, error.value.fix)


@pytest.mark.parametrize("column", ["rmse_published_04", "rmse_published_\u0664"])
def test_a_number_of_steps_is_written_in_one_way(column: str, tmp_path: Path) -> None:
    """Columns of results are named after it: another spelling would stay blank."""
    values = changed(PARTICLES, columns=[column], published=[])
    with pytest.raises(UnknownName, match="unknown column of particles"):
        experiments.experiment(written(tmp_path, values))


def test_another_seed_or_other_data_are_a_test(tmp_path: Path) -> None:
    for test in ({"seed": 5}, {"seed": 0, "nodes": 6}, {"seed": 0, "initial": "kuramoto"}):
        values = changed(NETWORK, test=[{"name": "a", **test}])
        assert experiments.experiment(written(tmp_path, values)).tests


def test_fine_tuning_takes_another_step_and_judging_does_not(tmp_path: Path) -> None:
    row = {"name": "more", "data": {"dt": 0.02}}
    values = changed(PARTICLES, start={"train": {"levels": 2}}, published=[])
    del values["grid"]
    for start, works in (("finetune", True), ("unchanged", False)):
        path = written(tmp_path, changed(values, row=[{**row, "start": start}]))
        if works:
            assert len(experiments.experiment(path).rows) == 1
            continue
        with pytest.raises(InvalidOption, match=r"row 'more' of .* has another dt than \[start\]"):
            experiments.experiment(path)


def test_a_row_lives_in_the_space_of_its_start(tmp_path: Path) -> None:
    values = changed(PARTICLES, start={"data": {"dims": 3}}, published=[])
    values["row"] = [{"name": "more", "start": "finetune"}]
    with pytest.raises(
        InvalidOption, match=r"row 'more, levels 2' of .* has another dims than \[start\]"
    ):
        experiments.experiment(written(tmp_path, values))


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"data": "gravity"}, "data of .* is a table"),
        ({"train": ["a"]}, "train of .* is a table"),
        ({"start": {"train": 3}}, "start.train of .* is a table"),
        ({"grid": {"train": ["levels"]}}, "grid.train of .* is a table"),
        ({"grid": 3}, "grid of .* is a table"),
        ({"row": [{"name": "a", "train": "paper"}]}, "train of row 'a' .* is a table"),
        ({"columns": "rmse_published_4"}, "columns of .* is a list of names"),
        ({"beside": "free_flight"}, "beside of .* is a list of names"),
        ({"columns": [4]}, "columns of .* is a list of names"),
        ({"test": ["held out"]}, "double brackets"),
        ({"test": "held out"}, "double brackets"),
        ({"test": []}, "has no tests"),
        ({"grid": {}}, "has no rows"),
        ({"row": []}, "has no rows"),
    ],
)
def test_a_value_of_another_shape_is_refused(
    parts: dict[str, Any], words: str, tmp_path: Path
) -> None:
    values = {**changed(PARTICLES), **parts}
    if parts.get("row") == []:
        del values["grid"]
    with pytest.raises(InvalidOption, match=words) as error:
        experiments.experiment(written(tmp_path, values))
    assert error.value.got is not None and error.value.allowed is not None


def test_a_row_that_is_not_there_is_named() -> None:
    with pytest.raises(UnknownName, match="row of experiment 'nbody_levels' 'nope'"):
        experiments.experiment("nbody_levels").row("nope")


def test_a_horizon_beyond_all_tests_is_refused_in_numbers(tmp_path: Path) -> None:
    """Where one test has the steps, the column is blank in the others and stays."""
    words = changed(PARTICLES, columns=["rmse_published_9"], published=[])
    with pytest.raises(InvalidOption, match="rmse_published_9, and tests of at most 4") as error:
        experiments.experiment(written(tmp_path, words))
    assert "rmse_published_4" in (error.value.fix or "")
    words["test"][1]["steps"] = 9
    assert len(experiments.experiment(written(tmp_path, words)).rows) == 2
    with pytest.raises(UnknownName):
        experiments.experiment(written(tmp_path, changed(words, columns=["rmse_published_0"])))
    with pytest.raises(InvalidOption, match="tests of at most 50"):
        experiments.experiment("nbody_levels", {"data.steps": 50})


def test_an_option_that_a_row_has_no_use_for_is_refused(tmp_path: Path) -> None:
    rows = [{"name": "a", "train": {"model": "deltagn"}}, {"name": "b"}]
    with pytest.raises(InvalidOption, match="levels changes nothing"):
        experiments.experiment(written(tmp_path, changed(PARTICLES, row=rows, published=[])))


def test_a_row_that_goes_on_is_of_the_kind_of_its_start(tmp_path: Path) -> None:
    rows = [{"name": "more", "start": "finetune", "train": {"neighbours": 3}}]
    start = {"train": {"model": "nearest_deltagn"}}
    words = changed(PARTICLES, row=rows, start=start, published=[])
    del words["grid"]
    assert len(experiments.experiment(written(tmp_path, words)).rows) == 1
    rows[0]["train"] = {"model": "deltagn"}
    with pytest.raises(InvalidOption, match="another kind of model"):
        experiments.experiment(written(tmp_path, changed(words, row=rows)))


def test_a_missing_part_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="lacks 'source'"):
        without = {k: v for k, v in PARTICLES.items() if k != "source"}
        experiments.experiment(written(tmp_path, without))
    with pytest.raises(UnknownName, match="nbody_level"):
        experiments.experiment("nbody_level")
    with pytest.raises(MissingFile):
        experiments.experiment(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("title = ")
    with pytest.raises(FileDamaged):
        experiments.experiment(tmp_path / "bad.toml")
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(FileDamaged, match="cannot be read"):
        experiments.experiment(tmp_path / "folder.toml")


def test_rows_are_crossed_with_the_grid() -> None:
    found = experiments.experiment("lorenz_finetune")
    names = [row.name for row in found.rows]
    assert names[:3] == ["as it is", "fine-tuned, trajectories 50", "fine-tuned, trajectories 100"]
    assert "rows         as it is, fine-tuned" in repr(found)
    assert found.row("scratch, trajectories 500").data["trajectories"] == 500
    runs = cells.runs_of(found, budget.Budget.of("1m"), 2)
    # Two classes; the start once a seed.
    assert len(runs) == 2 * 2 * (1 + 3 + 3)
    assert cells.total(found, budget.Budget.of("1m"), 2) == "28 runs, 28 min of training"


def test_settings_are_those_of_all_rows_and_checked() -> None:
    found = experiments.experiment("lorenz_finetune", {"train.preset": "paper"})
    assert {row.train["preset"] for row in found.rows} == {"paper"}
    assert found.start_train == {"preset": "paper"}
    for wrong in ({"train.presett": "paper"}, {"preset": "paper"}, {"model.preset": 1}):
        with pytest.raises(UnknownName):
            experiments.experiment("lorenz_finetune", wrong)


def test_a_setting_of_a_varied_keyword_is_refused(tmp_path: Path) -> None:
    """Rows named "levels 2" and "levels 3" would have the numbers of one."""
    with pytest.raises(InvalidOption, match=r"train\.levels is what the rows"):
        experiments.experiment("nbody_levels", {"train.levels": 3})
    rows = [{"name": name, "train": {"edge_width": n}} for name, n in (("narrow", 8), ("wide", 16))]
    path = written(tmp_path, changed(PARTICLES, row=rows, published=[]))
    with pytest.raises(InvalidOption, match="would be the same") as error:
        experiments.experiment(path, {"train.edge_width": 8})
    assert "'narrow, levels 2' and 'wide, levels 2'" in str(error.value.got)
    assert experiments.experiment(path, {"train.node_width": 4}).rows[0].train["node_width"] == 4


@pytest.mark.parametrize(
    ("given", "keyword", "value"),
    [("20m", "time_budget", 1200), (90, "time_budget", 90), ("500 updates", "updates", 500),
     ("3 epochs", "epochs", 3)],
)  # fmt: skip
def test_a_budget_is_a_time_or_a_number_of_updates(given: Any, keyword: str, value: float) -> None:
    assert budget.Budget.of(given) == budget.Budget(keyword, value)


@pytest.mark.parametrize("given", ["soon", "0 updates", "-3", "5 upd", None, True, [3]])
def test_a_budget_that_is_no_length_is_refused(given: Any) -> None:
    with pytest.raises(InvalidOption, match="budget"):
        budget.Budget.of(given)


@pytest.mark.parametrize("seeds", [0, -1, "3", 1.5, True])
def test_seeds_are_counted(seeds: Any) -> None:
    found, length = experiments.experiment("nbody_levels"), budget.Budget.of("1m")
    for ask in (cells.total, cells.runs_of):
        with pytest.raises(InvalidOption, match=f"seeds={seeds!r}"):
            ask(found, length, seeds)
    with pytest.raises(InvalidOption, match=f"seeds={seeds!r}"):
        experiments.run("nbody_levels", seeds=seeds)
