"""The command line with particles: every command takes them, and says what it does with them."""

from __future__ import annotations

import inspect
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.cli import cli, status_of
from pympnode.datasets.reading import as_dataset
from pympnode.particles.engine.kernels import KERNELS
from pympnode.particles.simulate import simulate_particles
from pympnode.particles.spec import _NAMES

FEW = ["--particles", "8", "--trajectories", "4", "--steps", "4"]
TINY = ["--edge-width", "8", "--node-width", "8", "--updates", "1", "--device", "cpu"]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset, a trained run, its prediction and its evaluation."""
    folder = tmp_path_factory.mktemp("particles")
    at = [str(folder / name) for name in ("test.nc", "run", "predicted.nc", "scores.nc")]
    for arguments in (
        ["simulate", "gravity", *FEW, "--seed", "7", "--out", at[0]],
        ["train", "gravity", *FEW, *TINY, "--run", at[1]],
        ["rollout", at[1], at[0], "--out", at[2]],
        ["evaluate", at[1], at[0], "--out", at[3]],
    ):
        assert status_of(arguments) == 0
    return folder


# ---- evaluate and rollout ------------------------------------------------------------------------


def test_evaluate_prints_errors_by_predictor_and_steps(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = pympnode.evaluate(work / "run", work / "test.nc")
    xr.testing.assert_allclose(xr.load_dataset(work / "scores.nc"), scores)
    given = ["evaluate", str(work / "run"), str(work / "test.nc"), "--horizon", "2", "--horizon"]
    assert status_of([*given, "4"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split()[:4] == ["predictor", "steps", "rmse_state", "rmse_published"]
    assert [line.split()[:2] for line in shown[1:3]] == [["model", "2"], ["model", "4"]]
    assert len(shown) == 1 + 3 * 2
    assert status_of([*given, "4", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)["predictors"]
    assert list(facts) == scores["predictor"].values.tolist()
    for name, by_steps in facts.items():
        one = scores.sel(predictor=name, horizon=4)
        assert by_steps["4"]["rmse_state"] == pytest.approx(float(one["rmse_state"]))
        assert by_steps["4"]["not_finite"] == 0


def test_evaluate_simulates_a_test_set_of_other_particle_counts(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--system", "gravity", "--particles", "12", "--trajectories", "2", "--steps", "2"]
    assert status_of(["evaluate", str(work / "run"), *words, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["trajectories"] == 2 and list(facts["predictors"]["model"]) == ["2"]


def test_rollout_prints_the_file_and_its_sizes(
    work: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = xr.load_dataset(work / "predicted.nc")
    theirs = pympnode.load(work / "run").rollout(xr.load_dataset(work / "test.nc"))
    np.testing.assert_array_equal(ours["position"], theirs["position"])
    given = ["rollout", str(work / "run"), str(work / "test.nc"), "--out", str(work / "more.nc")]
    assert status_of([*given, "--steps", "6"]) == 0
    assert "trajectory 4, time 7, particle 8" in capsys.readouterr().out
    for words, flag in ((["--dt", "0.02"], "--dt"), (["--topology", "ring"], "--topology")):
        assert status_of([*given, *words, "--force"]) == 2
        told = capsys.readouterr().err
        assert f"{flag} has no effect on a model of particles" in told and "0.01" in told


# ---- options -------------------------------------------------------------------------------------


def test_every_option_is_a_keyword_and_every_keyword_can_be_said() -> None:
    """--set takes the keywords that have no option, checked by the functions."""
    own = {"system_option", "topology_option", "parameter", "setting", "out", "config",
           "save_config", "as_json", "parents", "force"}  # fmt: skip
    for name, functions in (
        ("simulate", (pympnode.simulate, simulate_particles)),
        ("train", (pympnode.train,)),
        ("finetune", (pympnode.train,)),
    ):
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        offered = {p.name for p in command.params}
        assert {"particles", "dims", "setting"} <= offered
        assert offered - own <= set().union(*(inspect.signature(f).parameters for f in functions))


def test_train_takes_the_options_of_particles(tmp_path: Path) -> None:
    out = tmp_path / "m.nc"
    words = ["--levels", "2", "--augment", "--batch-size", "4"]
    settings = ["--set", "micro_batch=2", "--set", "update=direct", "--set", "mixed_levels=false"]
    made = ["train", "gravity", *FEW, *TINY, *words, *settings, "--out", str(out)]
    assert status_of(made) == 0
    model = pympnode.load(out)
    assert model.spec.levels == 2 and model.spec.update == "direct"
    assert model.spec.edge_width == model.spec.node_width == 8
    assert model.about["mixed_levels"] is False


def test_finetune_goes_from_some_particles_to_more(work: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.nc"
    words = ["--particles", "20", "--trajectories", "4", "--steps", "2", "--updates", "1"]
    assert status_of(["finetune", str(work / "run"), *words, "--out", str(out)]) == 0
    assert pympnode.load(out).trained.particles == (20, 20)


def test_set_options_are_checked_like_keywords(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ["train", "gravity", *FEW, *TINY, "--out", str(tmp_path / "m.nc"), "--set"]
    assert status_of([*made, "behavior=published"]) == 1
    assert "did you mean 'behaviour'?" in capsys.readouterr().err
    assert status_of([*made, "update=sideways"]) == 1
    assert "direct, leapfrog" in capsys.readouterr().err
    assert status_of([*made, "levels=3"]) == 2
    assert "levels is an option too; give --levels" in capsys.readouterr().err
    assert status_of([*made, "update"]) == 2
    assert "--set takes NAME=VALUE" in capsys.readouterr().err


def test_set_options_are_saved_and_read_back(tmp_path: Path) -> None:
    saved, a, b = tmp_path / "c.toml", tmp_path / "a.nc", tmp_path / "b.nc"
    words = ["--integrator", "global", "--set", "substeps=3", "--save-config", str(saved)]
    assert status_of(["simulate", "gravity", *FEW, *words, "--out", str(a)]) == 0
    assert tomllib.loads(saved.read_text())["settings"] == {"substeps": 3}
    assert status_of(["simulate", "--config", str(saved), "--out", str(b)]) == 0
    assert xr.load_dataset(a).identical(xr.load_dataset(b))
    record = pympnode.networks.schema.record(xr.load_dataset(a))
    assert (record["solver"], record["substeps"]) == ("leapfrog, global time steps", 3)


def test_simulate_starts_from_a_dataset_and_writes_parts(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, parts = tmp_path / "a.nc", tmp_path / "parts"
    again = ["simulate", "gravity", "--start", str(work / "test.nc"), "--steps", "2"]
    assert status_of([*again, "--dtype", "float32", "--out", str(out)]) == 0
    ds = xr.load_dataset(out)
    assert ds["position"].dtype == np.float32
    first = xr.load_dataset(work / "test.nc")["position"][:, 0]
    np.testing.assert_allclose(ds["position"][:, 0], first, rtol=1e-6)
    made = ["simulate", "gravity", "--start", "plummer", "--set", "workers=1", *FEW]
    assert status_of([*made, "--path", str(parts)]) == 0
    assert str(parts) in capsys.readouterr().out
    assert dict(as_dataset(parts).sizes) == {"trajectory": 4, "time": 5, "particle": 8, "axis": 2}
    assert status_of(made) == 2
    assert "--path FOLDER" in capsys.readouterr().err


def test_help_names_the_choices_of_particles(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["train", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for word in (*KERNELS, *_NAMES["messages"]):
        assert word in shown


def test_systems_say_where_particles_start(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["systems", "gravity"]) == 0
    position, velocity = capsys.readouterr().out.split("position")[1].splitlines()[:2]
    assert "anywhere in the box" in position and "from [-1.0, 1.0]" in velocity


# ---- pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "files", "words"),
    [
        ("error-over-time", ["scores.nc"], []),
        ("particles", ["predicted.nc", "test.nc"], []),
        ("conservation", ["predicted.nc", "test.nc"], []),
        ("cells", ["test.nc"], ["--time", "0.03", "--particle", "3"]),
    ],
)
def test_plot_takes_predictions_and_evaluations_of_particles(
    work: Path, tmp_path: Path, kind: str, files: list[str], words: list[str]
) -> None:
    out = tmp_path / "p.svg"
    at = [str(work / name) for name in files]
    assert status_of(["plot", kind, *at, *words, "--out", str(out)]) == 0
    assert out.read_text().count("<path") > 10


def test_a_time_of_cells_is_a_time(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pympnode import plotting

    seen: dict[str, object] = {}
    drawn = plotting.hierarchy_of

    def noted(ds: xr.Dataset, **words: object) -> object:
        seen.update(words)
        return drawn(ds, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(plotting, "hierarchy_of", noted)
    out = str(tmp_path / "p.png")
    assert status_of(["plot", "cells", str(work / "test.nc"), "--time", "0.031", "--out", out]) == 0
    assert seen == {"time": 0.031}  # as Python takes it: the nearest that there is
