"""The experiments of both papers run from their files, in small, and draw their figures."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from experiment_cases import QUICK, written

import pympnode
from pympnode import experiments
from pympnode.datasets.record import record
from pympnode.errors import InvalidOption, OutsideTrainingRange, UnknownName
from pympnode.experiments import cells, datasets

PUBLISHED = Path(experiments.__file__).parent / "published"
SLOW = (
    "kuramoto_ba_sizes", "gene_surfaces", "lorenz_sizes", "kuramoto_finetune_er_ba", "lorenz_finetune_coupling",
    "lorenz_finetune_strong", "lorenz_finetune_horizon", "lorenz_finetune", "kuramoto_finetune",
    "gene_finetune", "nbody_sizes", "nbody_training_counts", "nbody_largest_batch",
    "nbody_paths_coulomb",
)  # fmt: skip


def shipped(name: str) -> dict[str, Any]:
    return tomllib.loads((PUBLISHED / f"{name}.toml").read_text(encoding="utf-8"))


def in_small(values: dict[str, Any]) -> dict[str, Any]:
    """The same rows, tests and figures with few nodes or particles, short data and small models."""
    particles = values["data"]["system"] in ("gravity", "coulomb")
    few = {"trajectories": 4, "steps": 5}
    for table in (values["data"], *(row.get("data", {}) for row in values["row"])):
        for changes in (table, *table.get("mixed", [])):
            changes |= {name: few[name] for name in few if name in changes}
            if "particles" in changes:
                # Rows stay different: those of a figure differ in this number alone.
                changes["particles"] = 6 + changes["particles"] % 13
    values["data"] |= few
    if "start" in values:
        values["start"]["data"] |= few
    for test in values["test"]:
        test |= {"trajectories": 2, "steps": 5}
        if "particles" in test:
            test["particles"] = 6 + test["particles"] % 13
    for row in values["row"]:
        sizes = row.get("train", {})
        sizes |= {name: 2 for name in ("batch_size", "micro_batch") if name in sizes}
    small = {"edge_width": 8} if particles else {"hidden": 4}
    values["train"] = {**small, "kernel": "eager", **values.get("train", {})}
    if "grid" in values:
        values["grid"]["data"]["trajectories"] = [3, 4]
    values.pop("published", None)
    if len(values["row"]) > 12:  # every model of a long list, at other numbers of particles
        values["row"] = values["row"][::5]
    columns = [re.sub(r"_(20|200)$", "_4", column) for column in values["columns"]]
    values["columns"] = list(dict.fromkeys(columns))
    return values


@pytest.mark.parametrize(
    "name",
    ["pendulum_cut", "nbody_paths", *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)],
)  # fmt: skip
def test_runs_in_small_and_draws_its_figures(name: str, tmp_path: Path) -> None:
    values = in_small(shipped(name))
    path, out = written(tmp_path, values, name), tmp_path / "out"
    ds = experiments.run(str(path), budget="2 updates", out=out, **QUICK)
    assert (ds.status == "completed").all(), ds.reason.values
    for column in values["columns"]:
        if column in ds and "predictor" in ds[column].dims:
            assert np.isfinite(ds[column].sel(predictor="model")).all(), column
    text = experiments.table(str(path), out=out)
    assert all(f"| {row} |" in text for row in ds.row.values)
    drawn = {p.name.split("-")[0].removesuffix(".png") for p in (out / "figures").glob("*.png")}
    assert drawn == set(values.get("figures", []))


def test_a_graph_without_edges_cuts_the_messages(tmp_path: Path) -> None:
    """A test may have another system with the same features, from the states of a named one."""
    found = experiments.experiment("pendulum_cut")
    row = found.row("default")
    cut, single = (
        datasets.simulated({**row.data, "seed": 3, **test.data, "trajectories": 3, "steps": 4})
        for test in found.tests[1:]
    )
    first = {"time": 0}
    xr.testing.assert_equal(cut.state.isel(first), single.state.isel(first))
    assert not np.allclose(cut.state, single.state) and record(single)["system"] == "pendulum"
    result = pympnode.train(
        "coupled_pendulum", trajectories=4, steps=4, updates=2, kernel="eager", hidden=4,
        progress=False,
    )  # fmt: skip
    moved = cut.copy(deep=True)
    moved.state[:, 0, 1] += 0.3  # the neighbour
    with pytest.warns(OutsideTrainingRange, match="degree 0"):
        one, two = (result.model.rollout(ds).state.sel(node=0) for ds in (cut, moved))
    xr.testing.assert_allclose(one, two)


def test_each_row_may_change_its_start() -> None:
    found = experiments.experiment("lorenz_finetune_strong")
    assert found.start_train == {}
    high = found.row("coupling 5, published class, fine-tuned")
    assert high.start_train["messages"] == "state" and "messages" not in high.train
    assert high.start_data["parameters"] == {"coupling": "high"} and high.start_data["nodes"] == 3
    changed = experiments.experiment("lorenz_finetune_strong", {"train.hidden": 8})
    row = changed.row("coupling 5, published class, fine-tuned")
    assert row.start_train["hidden"] == 8 and row.start_train["messages"] == "state"
    length = experiments.budget.Budget.of("1m")
    runs = cells.runs_of(found, length, 1)
    # Two classes at two couplings: four starts, four tuned, four from scratch.
    assert len(runs) == 12


def test_rows_train_on_several_datasets_together() -> None:
    row = experiments.experiment("kuramoto_ba_sizes").row("BA and ER")
    one, two = datasets.parts(row.data)
    assert (one["topology"], two["topology"]) == ("BA", "ER") and "mixed" not in one
    assert datasets.parts({"system": "lorenz"}) == [{"system": "lorenz"}]


@pytest.mark.parametrize(
    ("parts", "error", "words"),
    [
        ({"figures": ["surface"]}, UnknownName, "surfaces"),
        ({"figures": ["paths"]}, UnknownName, "figure of"),
        ({"figures": "losses"}, InvalidOption, "list of names"),
        ({"data": {"system": "kuramoto", "mixed": [{"topology": "BA"}]}}, InvalidOption, "mixed"),
        ({"data": {"system": "kuramoto", "mixed": [{"topolgy": "BA"}, {}]}}, UnknownName, "topology"),
        ({"data": {"system": "kuramoto", "mixed": [{"system": "gene"}, {}]}}, InvalidOption, "one system"),
        ({"test": [{"name": "a", "initial": "gene"}]}, InvalidOption, "initial"),
        ({"test": [{"name": "a", "initial": 3}]}, InvalidOption, "initial"),
        ({"data": {"system": "kuramoto", "initial": "kuramoto"}}, UnknownName, "initial"),
        ({"row": [{"name": "a", "parent": {"train": {}, "data": {"nodes": 3}}}]}, InvalidOption, "parent"),
        ({"row": [{"name": "a", "start": "finetune", "parent": {"trian": {}}}]}, UnknownName, "train"),
        ({"row": [{"name": "a", "start": "finetune", "parent": {"train": {"hiden": 3}}}]}, UnknownName, "hidden"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused(
    parts: dict[str, Any], error: type[Exception], words: str, tmp_path: Path
) -> None:
    values = {
        "title": "t", "source": "s", "columns": ["loss"], "data": {"system": "kuramoto"},
        "start": {"data": {"nodes": 4}}, "row": [{"name": "a"}, {"name": "c", "start": "finetune"}], "test": [{"name": "b"}], **parts,
    }  # fmt: skip
    with pytest.raises(error, match=words):
        experiments.experiment(written(tmp_path, values))
