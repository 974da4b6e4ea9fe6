"""A run folder stands for its model wherever a model is meant; other folders are refused as such."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pympnode
from pympnode.cli import status_of
from pympnode.errors import InvalidOption, MissingFile
from pympnode.files import netcdf as storage

DATA: dict[str, Any] = {
    "gravity": {"particles": 8, "trajectories": 4, "steps": 3},
    "kuramoto": {"nodes": 3, "topology": "ring", "trajectories": 6, "steps": 4},
}
MODEL: dict[str, Any] = {
    "gravity": {"model": "deltagn", "edge_width": 8, "node_width": 8, "updates": 1},
    "kuramoto": {"hidden": 4, "epochs": 1, "kernel": "eager"},
}
LENGTH: dict[str, Any] = {"gravity": {"updates": 1}, "kuramoto": {"epochs": 1, "kernel": "eager"}}
systems = pytest.mark.parametrize("system", list(DATA))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with DATA.nc and a run folder of each system, named after it."""
    made = tmp_path_factory.mktemp("runs")
    for system in DATA:
        ds = pympnode.simulate(system, **DATA[system])
        storage.write_netcdf(ds, made / f"{system}.nc")
        pympnode.train(data=ds, run=made / system, progress=False, **MODEL[system])
    return made


@systems
def test_a_run_folder_serves_as_a_model(folder: Path, system: str) -> None:
    data, run = folder / f"{system}.nc", folder / system
    model = pympnode.load(run)
    np.testing.assert_array_equal(model.theta, pympnode.load(run / "model.nc").theta)
    assert pympnode.evaluate(run, data).identical(pympnode.evaluate(model, data))
    for begin in (
        lambda: pympnode.finetune(str(run), data=data, progress=False, **LENGTH[system]),
        lambda: pympnode.train(data=data, start=run, progress=False, **LENGTH[system]),
    ):
        assert set(begin().restored_tensors) == set(model.weights)


@systems
def test_the_start_of_a_command_is_a_run_folder_too(
    folder: Path, tmp_path: Path, system: str
) -> None:
    words = ["--data", str(folder / f"{system}.nc"), "--out", str(tmp_path / "m.nc")]
    length = ["--updates", "1"] if system == "gravity" else ["--epochs", "1", "--kernel", "eager"]
    assert status_of(["finetune", str(folder / system), *words, *length]) == 0
    again = ["train", "--start", str(folder / system), *words, *length, "--force"]
    assert status_of(again) == 0


def test_other_folders_are_distinguished_from_broken_files(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"has no model\.nc") as error:
        pympnode.load(tmp_path)
    assert "an empty folder" in str(error.value)
    with pytest.raises(MissingFile, match="is a folder, and a file is read") as error:
        pympnode.evaluate(folder / "gravity", folder / "gravity")
    assert "model.nc" in str(error.value.got)


def test_a_model_is_saved_to_a_file(folder: Path, tmp_path: Path) -> None:
    for system in DATA:
        with pytest.raises(InvalidOption, match="is a folder, and a file is written") as error:
            pympnode.load(folder / system).save(tmp_path)
        assert "model.nc" in str(error.value.fix)


@systems
def test_info_shows_how_a_run_ended(
    folder: Path, system: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folder / system
    model = pympnode.load(run)

    def told() -> dict[str, Any]:
        assert status_of(["info", str(run), "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert told()["finished"] is True and told()["status"] == "completed"
    replace(model, about={**model.about, "status": "interrupted"}).save(run / "model.nc")
    assert told()["finished"] is False and told()["status"] == "interrupted"
    model.save(run / "model.nc")
    (run / "model.nc").rename(run / "away.nc")
    assert told()["finished"] is False and told()["status"] == "no model yet"
    (run / "away.nc").rename(run / "model.nc")


def test_info_of_a_model_of_particles(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["info", str(folder / "gravity" / "model.nc"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kind"] == "particle_model" and "8 particles" in facts["trained on"]
