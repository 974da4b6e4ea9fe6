"""The command line as people and scripts use it: in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.cli import COMMANDS, status_of

SMALL = ["--nodes", "3", "--topology", "ring", "--trajectories", "8", "--steps", "10"]
QUICK = ["--epochs", "2", "--hidden", "8", "--kernel", "eager"]


def call(*arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "pympnode.cli", *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(**variables),
        timeout=300,
    )


def environment(**variables: str) -> dict[str, str]:
    root = str(Path(__file__).resolve().parent.parent)
    return {
        **os.environ,
        "PYTHONPATH": root,
        "OMP_NUM_THREADS": "1",
        "MPLBACKEND": "agg",
        **variables,
    }


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset, a trained run, its prediction and its evaluation."""
    folder = tmp_path_factory.mktemp("cli")
    at = [str(folder / name) for name in ("test.nc", "run", "predicted.nc", "scores.nc")]
    for arguments in (
        ["simulate", "kuramoto", *SMALL, "--seed", "7", "--out", at[0]],
        ["train", "kuramoto", *SMALL, *QUICK, "--run", at[1]],
        ["rollout", at[1], at[0], "--out", at[2]],
        ["evaluate", at[1], at[0], "--out", at[3]],
    ):
        assert status_of(arguments) == 0
    return folder


# ---- help -------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "julia"])
def test_help_of_every_command_has_an_example(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example:" in shown
    assert f"pympnode {command}" in shown


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from pympnode.cli import status_of, COMMANDS\n"
        "for name in set(COMMANDS) - {'julia'}: assert status_of([name, '--help']) == 0\n"
        "heavy = ('torch', 'matplotlib', 'netCDF4', 'networkx', 'numba', 'scipy')\n"
        "print([m for m in heavy if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0
    assert done.stderr.strip() == "[]"


def test_options_are_the_keywords_of_the_functions() -> None:
    import inspect

    from pympnode.cli import cli
    from pympnode.halves import NETWORKS, keywords_of

    renamed = {"topology_option", "parameter", "setting", "system_option", "run"}
    own = {"out", "config", "save_config", "as_json", *renamed}
    for name, function in (("train", pympnode.train), ("simulate", pympnode.simulate)):
        command = cli.get_command(None, name)  # type: ignore[arg-type]
        offered = {p.name for p in command.params} - own  # those of particles: test_cli_particles
        # What a shell cannot hold, or --no-... would say.
        left_out = {
            "progress", "run", "parameters", "control", "initial", "client",
            "callbacks", "config", "message", "update",
        }  # fmt: skip
        options = NETWORKS.Training if name == "train" else NETWORKS.Simulation
        wanted = set(keywords_of(options)) - left_out
        assert wanted <= set(inspect.signature(function).parameters)
        assert wanted <= offered | {"parameters"}


# ---- what commands do -------------------------------------------------------------------------


def test_simulate_is_the_function(work: Path) -> None:
    ours = xr.load_dataset(work / "test.nc")
    theirs = pympnode.simulate(
        "kuramoto", nodes=3, topology="ring", trajectories=8, steps=10, seed=7
    )
    np.testing.assert_array_equal(ours.state, theirs.state)


def test_weights_of_edges_are_drawn(tmp_path: Path) -> None:
    out = tmp_path / "a.nc"
    made = ["simulate", "swing", "--nodes", "6", "--edge-weight", "0.5", "2", "--trajectories", "2"]
    assert status_of([*made, "--steps", "2", "--out", str(out)]) == 0
    drawn = pympnode.simulate("swing", nodes=6, edge_weight=(0.5, 2.0), trajectories=2, steps=2)
    with xr.open_dataset(out) as ds:
        np.testing.assert_array_equal(ds.edge_weight, drawn.edge_weight)
        np.testing.assert_array_equal(ds.state, drawn.state)


def test_topology_options_and_parameters_arrive(tmp_path: Path) -> None:
    out = tmp_path / "a.nc"
    options = ["--topology", "BA", "--topology-option", "k=2", "--nodes", "6", "--parameter"]
    made = ["simulate", "gene", *options, "decay=0.25", "--trajectories", "2", "--out", str(out)]
    assert status_of(made) == 0
    ds = xr.load_dataset(out)
    record = pympnode.networks.schema.record(ds)
    assert record["parameters"]["decay"] == 0.25
    # Barabasi-Albert with k = 2 on 6 nodes: 2 (6 - 2) undirected edges.
    assert ds.sizes["edge"] == 2 * 2 * (6 - 2)


def test_edges_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = tmp_path / "edges.txt"
    pairs.write_text("# a line of three\n0 1\n1,2\n")
    out = tmp_path / "a.nc"
    made = ["simulate", "heat", "--topology", str(pairs), "--trajectories", "1", "--out", str(out)]
    assert status_of(made) == 0
    ds = xr.load_dataset(out)
    assert ds.sizes["node"] == 3
    found = set(zip(ds.sender.values.tolist(), ds.receiver.values.tolist()))
    assert found == {(0, 1), (1, 0), (1, 2), (2, 1)}
    pairs.write_text("0 1\none two\n")
    assert status_of([*made, "--force"]) == 1
    assert "line 2" in capsys.readouterr().err


def test_train_with_run_writes_a_model_and_prints_its_path_as_json(work: Path) -> None:
    done = call("train", "kuramoto", *SMALL, *QUICK, "--run", str(work / "run"), "--json")
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["status"] == "completed"
    assert facts["epochs"] == 2
    assert done.stderr == ""  # a pipe sees no progress bar
    model = pympnode.load(facts["model"])
    assert model.system == "kuramoto"
    assert model.spec.hidden == 8


def test_finetune_takes_the_weights_of_its_start(
    work: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start, out = str(work / "run" / "model.nc"), str(tmp_path / "more.nc")
    given = ["finetune", start, *SMALL, *QUICK[:2], "--kernel", "eager", "--out", out, "--json"]
    assert status_of(given) == 0
    assert set(json.loads(capsys.readouterr().out)["loaded"]) == set(pympnode.load(start).weights)
    assert pympnode.load(out).spec == pympnode.load(start).spec


def test_train_on_given_data(work: Path, tmp_path: Path) -> None:
    out = tmp_path / "m.nc"
    data = ["--data", str(work / "test.nc")]
    assert status_of(["train", *data, *data, *QUICK, "--out", str(out)]) == 0
    assert pympnode.load(out).trained.trajectories == 16


def test_rollout_is_the_model_s(work: Path, tmp_path: Path) -> None:
    model, ds = pympnode.load(work / "run" / "model.nc"), xr.load_dataset(work / "test.nc")
    np.testing.assert_array_equal(
        xr.load_dataset(work / "predicted.nc").state, model.rollout(ds).state
    )
    out = tmp_path / "long.nc"
    given = ["rollout", str(work / "run"), str(work / "test.nc"), "--steps", "4", "--topology"]
    done = call(*given, "star", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith("warning: the rollout lies outside what the model was trained on")
    assert "degree 1 to 2, trained on 2" in done.stderr
    other = xr.load_dataset(out)
    assert other.sizes["time"] == 5
    np.testing.assert_array_equal(
        other.state, model.rollout(ds, steps=4, topology="star", check=False).state
    )


def test_evaluate_in_json(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["evaluate", str(work / "run"), str(work / "test.nc"), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    scores = pympnode.evaluate(
        pympnode.load(work / "run" / "model.nc"), xr.load_dataset(work / "test.nc")
    )
    assert list(facts["predictors"]) == scores.predictor.values.tolist()
    for name, row in facts["predictors"].items():
        assert row["rmse_z"] == pytest.approx(float(scores.rmse_z.sel(predictor=name)), rel=1e-6)
        seen = scores.observable_rmse.sel(predictor=name).values
        assert list(row["observable_rmse"].values()) == pytest.approx(seen.tolist(), rel=1e-4)
    assert set(facts["predictors"]["model"]["rmse"]) == {"phase_1", "phase_2", "phase_3"}


def test_evaluate_on_a_simulated_set(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["--system", "kuramoto", *SMALL, "--seed", "7"]
    assert status_of(["evaluate", str(work / "run"), *given]) == 0
    simulated = capsys.readouterr().out
    assert status_of(["evaluate", str(work / "run"), str(work / "test.nc")]) == 0
    assert simulated == capsys.readouterr().out
    assert "persistence" in simulated


def test_systems_lists_all_and_shows_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of(["systems", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in listed] == list(pympnode.systems.names())
    assert status_of(["systems", "gene"]) == 0
    shown = capsys.readouterr().out
    assert "decay" in shown
    assert "expression" in shown


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("test.nc", "simulation"),
        ("predicted.nc", "rollout"),
        ("scores.nc", "evaluation"),
        ("run", "run"),
        ("run/model.nc", "model"),
        ("run/history.nc", "history"),
    ],
)
def test_info_describes_every_kind_of_file(
    work: Path, name: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(["info", str(work / name), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["kind"] == kind
    if kind == "run":
        assert facts["finished"] is True
        assert facts["epochs"] == 2
        checkpoint = work / "run" / "checkpoints" / facts["checkpoints"][-1]
        assert status_of(["info", str(checkpoint)]) == 0
        assert "checkpoint" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("prediction", ["predicted.nc", "test.nc"]),
        ("phase-portrait", ["test.nc"]),
        ("message-norms", ["predicted.nc"]),
        ("training-curves", ["run"]),
        ("error-over-time", ["scores.nc"]),
        ("comparison", ["first=scores.nc", "scores.nc"]),
        ("graph", ["test.nc"]),
    ],
)
def test_plot_writes_a_picture(work: Path, tmp_path: Path, kind: str, files: list[str]) -> None:
    from matplotlib.image import imread

    out = tmp_path / "made" / "p.png"
    at = [
        f"first={work / f.removeprefix('first=')}" if f.startswith("first=") else str(work / f)
        for f in files
    ]
    assert status_of(["plot", kind, *at, "--out", str(out), "--dpi", "40", "--parents"]) == 0
    picture = imread(out)
    assert picture.shape[0] > 60
    assert len(np.unique(picture.reshape(-1, picture.shape[-1]), axis=0)) > 5


@pytest.mark.parametrize("kind", ["particles", "conservation", "cells"])
def test_plot_of_particles(tmp_path: Path, kind: str) -> None:
    data, out = str(tmp_path / "p.nc"), tmp_path / "p.svg"
    few = ["--particles", "20", "--trajectories", "1", "--steps", "3"]
    assert status_of(["simulate", "gravity", *few, "--out", data]) == 0
    assert status_of(["plot", kind, data, "--out", str(out)]) == 0
    assert out.read_text().count("<path") > 20


# ---- configuration ----------------------------------------------------------------------------


def test_a_saved_configuration_makes_the_same_dataset(tmp_path: Path) -> None:
    saved, a, b = tmp_path / "c.toml", tmp_path / "a.nc", tmp_path / "b.nc"
    words = ["kuramoto", "--nodes", "5", "--topology", "BA", "--topology-option", "k=2"]
    more = ["--trajectories", "2", "--dt", "0.1", "--parameter", "coupling=0.5"]
    made = ["simulate", *words, *more, "--save-config", str(saved), "--out", str(a)]
    assert status_of(made) == 0
    values = tomllib.loads(saved.read_text())
    assert values["topology_options"] == {"k": 2}
    assert values["parameters"] == {"coupling": 0.5}
    assert status_of(["simulate", "--config", str(saved), "--out", str(b)]) == 0
    assert xr.load_dataset(a).identical(xr.load_dataset(b))


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    config, out = tmp_path / "c.toml", tmp_path / "a.nc"
    config.write_text(
        'system = "heat"\nnodes = 5\ntopology = "ring"\ntrajectories = 2\nsteps = 4\n'
    )
    given = ["simulate", "--config", str(config), "--nodes", "7", "--out", str(out)]
    assert status_of(given) == 0
    ds = xr.load_dataset(out)
    assert (ds.sizes["node"], ds.sizes["time"], ds.sizes["trajectory"]) == (7, 5, 2)


def test_a_configuration_that_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "c.toml"
    given = ["simulate", "heat", "--config", str(config), "--out", str(tmp_path / "a.nc")]
    assert status_of(given) == 1
    assert "--save-config" in capsys.readouterr().err
    config.write_text("trajectory = 5\n")
    assert status_of(given) == 1
    assert "did you mean 'trajectories'?" in capsys.readouterr().err
    config.write_text('trajectories = "many"\n')
    assert status_of(given) == 2
    assert "'many' is not a valid integer" in capsys.readouterr().err
    config.write_text("trajectories =\n")
    assert status_of(given) == 1
    assert "is not TOML" in capsys.readouterr().err
    assert not (tmp_path / "a.nc").exists()


# ---- exit codes -------------------------------------------------------------------------------


def test_an_error_says_got_allowed_fix_without_a_traceback(tmp_path: Path) -> None:
    done = call("train", "kuramto", "--out", str(tmp_path / "m.nc"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    for line in ("got:     'kuramto'", "allowed: ", "fix:     did you mean 'kuramoto'?"):
        assert line in done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trian"], "Did you mean 'train'?"),
        (["train", "kuramoto"], "--run DIR, or --out MODEL.nc"),
        (["train", "--out", "m.nc"], "name a system or data"),
        (["simulate", "kuramoto"], "--out FILE.nc"),
        (["simulate", "kuramoto", "--nodes", "ten", "--out", "x.nc"], "not a valid integer"),
        (["simulate", "kuramoto", "--topology-option", "k3", "--out", "x.nc"], "NAME=VALUE"),
        (["simulate", "kuramoto", "--topology-option", "k=3", "--out", "x.nc"], "needs --topology"),
        (["plot", "parity", "a.nc", "--out", "p.png"], "ROLLOUT DATA"),
        (["plot", "graph", "a.nc", "b.nc", "--out", "p.png"], "there are 2 files"),
        (["plot", "parity", "a.nc", "b.nc", "--time", "1", "--out", "p.png"], "no effect"),
        (["evaluate", "m.nc"], None),
    ],
)
def test_a_call_that_cannot_be_read_is_2(
    arguments: list[str], says: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if says is None:  # a model that is not there comes first
        assert status_of(arguments) == 1
        assert "there is no file 'm.nc'" in capsys.readouterr().err
        return
    assert status_of(arguments) == 2
    assert says in capsys.readouterr().err


def test_a_damaged_file_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.nc"
    bad.write_bytes(b"not netCDF at all")
    assert status_of(["info", str(bad)]) == 1
    assert "cannot be read as netCDF" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    out = str(tmp_path / "file" / "a.nc")
    assert status_of(["simulate", "heat", "--trajectories", "1", "--out", out]) == 1
    assert "error: " in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="SIGINT to another process is not there on Windows")
def test_ctrl_c_keeps_the_run_and_the_same_command_ends_it_bit_equal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    length = ["--epochs", "100", "--hidden", "8", "--batch-size", "8", "--kernel", "torch"]
    command = ["train", "kuramoto", *SMALL, *length, "--run"]
    process = subprocess.Popen(
        [sys.executable, "-m", "pympnode.cli", *command, str(run)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    until = time.monotonic() + 120
    while not (run / "config.toml").exists() and time.monotonic() < until:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        time.sleep(0.02)
    time.sleep(0.7)  # some of its 100 epochs
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 130, told
    assert "the same command continues the run" in told
    assert "Traceback" not in told
    stopped = len(xr.load_dataset(run / "history.nc").epoch)
    assert 0 < stopped < 100
    assert list((run / "checkpoints").glob("*.nc"))

    capsys.readouterr()
    assert status_of([*command, str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["epochs"] == 100
    assert status_of([*command, str(whole)]) == 0
    a, b = (pympnode.load(folder / "model.nc") for folder in (run, whole))
    np.testing.assert_array_equal(a.theta, b.theta)


# ---- completion -------------------------------------------------------------------------------


def test_shell_completion_completes_commands_and_systems() -> None:
    script = call("completion", "zsh")
    assert script.returncode == 0
    assert "_PYMPNODE_COMPLETE=zsh_complete" in script.stdout
    for words, found in (("pympnode tr", "train"), ("pympnode train kura", "kuramoto")):
        done = call(
            _PYMPNODE_COMPLETE="bash_complete",
            COMP_WORDS=words,
            COMP_CWORD=str(len(words.split()) - 1),
        )
        assert found in done.stdout.replace(",", "\n").split("\n")
