"""Sweeps: cells of a grid, a list and a sampler; early stopping; what goes on, fails and is refused."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner

import pympnode
from pympnode import _api
from pympnode.cli import cli
from pympnode.errors import FileDamaged, InvalidOption, UnknownName

GRID: dict[str, Any] = {"hidden": [4, 6], "learning_rate": [1e-3, 1e-2]}
QUICK: dict[str, Any] = dict(epochs=1, kernel="eager", preset="paper", progress=False)


@pytest.fixture(scope="module")
def data() -> xr.Dataset:
    return pympnode.simulate("kuramoto", nodes=3, topology="ring", trajectories=6, steps=4)


@pytest.fixture(scope="module")
def whole(data: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> xr.Dataset:
    folder = tmp_path_factory.mktemp("whole")
    return pympnode.sweep(GRID, data=data, halving=2, run=folder, **QUICK)


def numbers(ds: xr.Dataset) -> xr.Dataset:
    return ds.drop_vars(["seconds", "folder"]).drop_attrs()


def test_the_better_half_goes_on_to_twice_the_epochs(whole: xr.Dataset) -> None:
    assert whole.validation_loss.dims == ("hidden", "learning_rate")
    assert sorted(whole.epochs.values.ravel()) == [1, 1, 2, 4]
    assert sorted(whole.rung.values.ravel()) == [0, 0, 1, 2]
    assert sorted(whole.status.values.ravel()) == ["completed", "stopped", "stopped", "stopped"]
    last = whole.where(whole.status == "completed", drop=True)
    assert last.validation_loss.item() == whole.validation_loss.min()
    assert whole.attrs["best"] == last.folder.item()
    reason = whole.reason.where(whole.rung == 1, drop=True).item()
    assert reason == "validation loss number 2 of 2 after 2 epochs; 1 went on"


def test_cells_are_those_of_train(data: xr.Dataset, whole: xr.Dataset, tmp_path: Path) -> None:
    for cell in (whole.isel(hidden=i, learning_rate=j) for i in (0, 1) for j in (0, 1)):
        keywords = dict(
            hidden=cell.hidden.item(), learning_rate=cell.learning_rate.item(), data=data,
            run=tmp_path / f"{cell.hidden.item()} {cell.learning_rate.item()}", **QUICK,
        )  # fmt: skip
        for extend in (None, 1, 3)[: cell.rung.item() + 1]:
            result = pympnode.train(**keywords, extend=extend)
        assert result.best_loss == cell.validation_loss and result.updates == cell.updates
        theta = pympnode.load(cell.folder.item()).theta
        assert np.array_equal(theta, result.model.theta)


def test_an_interrupted_sweep_goes_on(
    data: xr.Dataset, whole: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, calls = _api.train, []

    @functools.wraps(train)
    def stops(**words: Any) -> Any:
        calls.append(words["extend"])
        if len(calls) == 5:
            raise KeyboardInterrupt
        return train(**words)

    monkeypatch.setattr(_api, "train", stops)
    words: dict[str, Any] = dict(data=data, halving=2, run=tmp_path, **QUICK)
    with pytest.raises(KeyboardInterrupt):
        pympnode.sweep(GRID, **words)
    assert (xr.open_dataset(tmp_path / "results.nc").epochs == 1).all()
    again = pympnode.sweep(GRID, **words)
    assert calls == [None] * 4 + [1] + [1, 1, 3]
    xr.testing.assert_identical(numbers(again), numbers(whole))
    more = pympnode.sweep(
        {**GRID, "hidden": [4, 6, 5]}, data=data, run=tmp_path, halving=2, **QUICK
    )
    assert calls[8:10] == [None, None] and more.sizes == {"hidden": 3, "learning_rate": 2}


def test_a_cell_of_a_sampler_depends_on_its_number_alone(data: xr.Dataset, tmp_path: Path) -> None:
    def draw(rng: np.random.Generator) -> dict[str, Any]:
        return {"hidden": int(rng.integers(4, 7)), "learning_rate": float(rng.uniform(1e-3, 1e-2))}

    words: dict[str, Any] = dict(data=data, run=tmp_path, seed=3, **QUICK)
    one = pympnode.sweep(draw, cells=1, **words)
    two = pympnode.sweep(draw, cells=2, **words)
    assert two.validation_loss.dims == ("cell",) and "hidden" in two.coords
    xr.testing.assert_identical(two.isel(cell=[0]).drop_attrs(), one.drop_attrs())
    assert two.learning_rate[0] != two.learning_rate[1]


def test_equal_cells_of_a_list_are_one_run(data: xr.Dataset, tmp_path: Path) -> None:
    lines: list[str] = []
    cells = [{"hidden": 4}, {"depth": 1}, {"hidden": 4}]
    ds = pympnode.sweep(cells, data, run=tmp_path, report=lines.append, **QUICK)
    assert ds.folder[0] == ds.folder[2] != ds.folder[1]
    assert sum("completed" in line for line in lines) == len(list((tmp_path / "runs").iterdir()))
    assert len(lines) == 2 and ds.hidden.values.tolist() == ["4", "None", "4"]


def test_a_failed_cell_does_not_stop_the_others(tmp_path: Path) -> None:
    words: dict[str, Any] = dict(trajectories=6, steps=4, nodes=3, run=tmp_path, halving=2, **QUICK)
    lines: list[str] = []
    ds = pympnode.sweep({"topology": ["ring", [(0, 5)]]}, "kuramoto", report=lines.append, **words)
    assert ds.status.values.tolist() == ["completed", "failed"]
    assert "InvalidGraph" in ds.reason[1].item() and np.isnan(ds.validation_loss[1])
    assert ds.rung.values.tolist() == [1, 0]
    before = len(lines)
    pympnode.sweep({"topology": ["ring", [(0, 5)]]}, "kuramoto", report=lines.append, **words)
    assert not any("failed" in line for line in lines[before:])
    words["retry"] = True
    pympnode.sweep({"topology": ["ring", [(0, 5)]]}, "kuramoto", report=lines.append, **words)
    assert any("failed" in line for line in lines[before:])


@pytest.mark.parametrize(
    ("grid", "words", "match"),
    [
        ({"hiden": [4]}, {}, "did you mean 'hidden'"),
        ({"hidden": [4]}, {"hiden": 3}, "did you mean 'hidden'"),
        ({"hidden": [4]}, {"extend": 3}, "unknown option of sweep"),
        ({"batch_size": [4, 0]}, {}, "batch_size"),
        ({"hidden": 4}, {}, "list of values"),
        ({"model": "mpnode"}, {}, "list of values"),
        ({"hidden": []}, {}, "list of values"),
        ({}, {}, "at least one cell"),
        ("hidden", {}, "at least one cell"),
        ([], {}, "at least one cell"),
        ([3], {}, "no mapping"),
        ({"epochs": [1, 2]}, {}, "different length"),
        ({"hidden": [4]}, {"hidden": 4}, "given twice"),
        ({"hidden": [4]}, {"cells": 3}, "draws of a sampler"),
        (lambda rng: {}, {}, "how many cells"),
        (lambda rng: 3, {"cells": 1}, "no mapping"),
        ({"hidden": [4]}, {"halving": 1}, "halving"),
        ({"hidden": [4]}, {"rungs": 0}, "rungs"),
        ({"hidden": [4]}, {"client": "tcp://127.0.0.1:1"}, "no client"),
        ({"levels": [2]}, {}, "levels"),
        ({"hidden": [4]}, {"optimiser": lambda layout: None}, "could not tell"),
        ({"hidden": [4]}, {"nodes": 3}, "how to simulate"),
    ],
)  # fmt: skip
def test_what_is_refused_before_anything_runs(
    data: xr.Dataset, tmp_path: Path, grid: Any, words: dict[str, Any], match: str
) -> None:
    with pytest.raises((InvalidOption, UnknownName), match=match):
        pympnode.sweep(grid, data=data, run=tmp_path / "run", **{**QUICK, **words})
    assert not (tmp_path / "run").exists()


def test_a_sweep_needs_a_system_or_data_and_one_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InvalidOption, match="system or data"):
        pympnode.sweep({"hidden": [4]}, run=tmp_path)
    monkeypatch.setattr("pympnode.experiments.sweeping.current", object)
    with pytest.raises(InvalidOption, match="one process"):
        pympnode.sweep({"hidden": [4]}, "kuramoto", run=tmp_path)


def test_a_folder_of_another_halving_or_that_is_damaged_is_refused(
    data: xr.Dataset, tmp_path: Path
) -> None:
    words: dict[str, Any] = dict(data=data, run=tmp_path, **QUICK)
    pympnode.sweep({"hidden": [4]}, **words)
    ds = pympnode.sweep({"hidden": [4]}, **words, halving=3)  # was without: may begin
    assert ds.rung == 0
    with pytest.raises(InvalidOption, match="another halving"):
        pympnode.sweep({"hidden": [4]}, **words, halving=2)
    (file,) = (tmp_path / "cells").iterdir()
    file.write_text("{")
    with pytest.raises(FileDamaged):
        pympnode.sweep({"hidden": [4]}, **words, halving=3)


def test_the_command_prints_the_cells_by_their_loss(data: xr.Dataset, tmp_path: Path) -> None:
    data.to_netcdf(tmp_path / "data.nc")
    words = ["sweep", "--data", str(tmp_path / "data.nc"), "--grid", "hidden=4,6", "--epochs", "1"]
    words += ["--kernel", "eager", "--preset", "paper", "--run", str(tmp_path / "run")]
    ended = CliRunner().invoke(cli, words)
    assert ended.exit_code == 0, ended.output
    rows = [line.split() for line in ended.stdout.splitlines()]
    assert rows[0][:2] == ["hidden", "validation"]
    assert float(rows[1][1]) <= float(rows[2][1]) and {rows[1][0], rows[2][0]} == {"4", "6"}
    ended = CliRunner().invoke(cli, [*words, "--json"])
    assert json.loads(ended.stdout)["dims"] == {"hidden": 2}
    assert CliRunner().invoke(cli, words[:3]).exit_code == 2
