"""Ways into the package that people try first: names of other libraries, files, help, pipes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import click
import pytest
import xarray as xr
from test_cli import environment

import pympnode
from pympnode.cli import COMMANDS, cli, status_of
from pympnode.commands import options as o
from pympnode.errors import ALIASES, InvalidOption, UnknownName, alias

FEW = ["--nodes", "3", "--topology", "ring", "--trajectories", "2", "--steps", "3"]


@pytest.fixture(scope="module")
def ds() -> xr.Dataset:
    return pympnode.simulate("heat", nodes=3, topology="ring", trajectories=6, steps=4)


@pytest.fixture(scope="module")
def result(ds: xr.Dataset) -> Any:
    return pympnode.train(ds, epochs=1, hidden=4, kernel="eager", progress=False)


# ---- functions --------------------------------------------------------------------------------


def test_train_takes_a_dataset_first(ds: xr.Dataset, result: Any) -> None:
    assert result.model.trained.nodes == (3, 3)
    assert result.simulation == {}  # given data
    with pytest.raises(InvalidOption, match="a system is a name or a System") as caught:
        pympnode.train(ds, data=ds)
    assert len(str(caught.value).splitlines()) <= 4


def test_result_evaluates_on_a_dataset(ds: xr.Dataset, result: Any, tmp_path: Path) -> None:
    scores = result.evaluate(ds)
    assert scores.identical(pympnode.evaluate(result, ds))
    ds.to_netcdf(tmp_path / "a.nc")
    assert float(result.evaluate(tmp_path / "a.nc").rmse_z[0]) == float(scores.rmse_z[0])
    assert result.evaluate().sizes["predictor"] == scores.sizes["predictor"]
    for words in ({"trajectories": 3}, {"seed": 1}):
        with pytest.raises(InvalidOption, match="the data are given"):
            result.evaluate(ds, **words)
    with pytest.raises(InvalidOption, match="evaluate takes a dataset") as caught:
        result.evaluate(ds.state)
    assert len(str(caught.value).splitlines()) <= 4


def test_a_number_alone_is_how_many_trajectories(result: Any) -> None:
    with pytest.raises(InvalidOption, match="trajectories says what to simulate"):
        result.evaluate(20)  # refused as before, because the data were given


def test_open_dataset(ds: xr.Dataset, tmp_path: Path) -> None:
    ds.to_netcdf(tmp_path / "a.nc")
    assert pympnode.open_dataset(tmp_path / "a.nc").state.equals(ds.state)
    with pytest.raises(InvalidOption):
        pympnode.open_dataset(3)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        pympnode.open_dataset(tmp_path / "b.nc")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("lr", "learning_rate"), ("optimizer", "optimiser"), ("n_epochs", "epochs"),
        ("hidden_dim", "hidden"), ("n_layers", "depth"), ("batch", "batch_size"),
        ("num_nodes", "nodes"), ("adjacency", "topology"), ("verbose", "progress"),
        ("random_state", "seed"), ("neighbors", "neighbours"), ("behavior", "behaviour"),
    ],
)  # fmt: skip
def test_names_of_other_libraries_are_understood(given: str, meant: str) -> None:
    with pytest.raises(UnknownName, match=f"did you mean '{meant}'"):
        pympnode.train("kuramoto", **{given: 3})


def test_every_alias_leads_to_a_keyword_and_hides_none() -> None:
    import inspect

    functions = (pympnode.train, pympnode.simulate)
    names = {n for function in functions for n in inspect.signature(function).parameters}
    names |= {"cuda", "edges"}
    assert {n for meant in ALIASES.values() for n in meant} <= names
    assert not ALIASES.keys() & (names - {"edges"})
    assert alias("Hidden-Dim", names) == "hidden"
    assert alias("lr", ["seed"]) is None
    assert alias(3, names) is None


def test_a_parameter_of_the_system_belongs_into_parameters(ds: xr.Dataset) -> None:
    with pytest.raises(InvalidOption) as caught:
        pympnode.simulate("kuramoto", coupling=2)
    assert caught.value.fix == "parameters={'coupling': 2}"
    with pytest.raises(InvalidOption) as caught:
        pympnode.simulate(system="gene", decay=0.5)
    assert caught.value.fix == "parameters={'decay': 0.5}"
    with pytest.raises(InvalidOption) as caught:
        pympnode.train("kuramoto", coupling=2)
    assert caught.value.fix is not None
    assert caught.value.fix.endswith('parameters={"coupling": 2}')
    with pytest.raises(UnknownName, match="option of simulate"):
        pympnode.simulate("kuramoto", nothing_of_the_kind=2)


def test_the_device_gpu_is_cuda() -> None:
    from pympnode.errors import EngineUnavailable
    from pympnode.networks.engines.torch.engine import resolve_device

    with pytest.raises(EngineUnavailable, match='device="cuda"'):
        resolve_device("gpu")


# ---- the command line -------------------------------------------------------------------------


def test_the_package_is_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pympnode", "--version"],
        capture_output=True, text=True, env=environment(),
    )  # fmt: skip
    assert done.returncode == 0
    assert pympnode.__version__ in done.stdout


def test_an_alias_of_an_option_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    for flag, meant in (("--lr", "--learning-rate"), ("--n-epochs", "--epochs")):
        assert status_of(["train", "kuramoto", flag, "1"]) == 2
        assert f"Did you mean {meant}" in capsys.readouterr().err.replace("'", "")


def test_closed_sets_are_those_of_the_modules() -> None:
    from pympnode.losses import LOSSES
    from pympnode.networks import engines, partition, presets, spec
    from pympnode.networks.plots.graph_drawing import LAYOUTS
    from pympnode.particles import presets as of_particles
    from pympnode.particles import spec as particles
    from pympnode.training.optimiser import OPTIMISERS

    # "own" is the family of modules of the user, which a command line cannot give.
    assert get_args(spec.Family) == (*o.NETWORK_MODELS, "own")
    assert set(particles.MODELS) == set(o.PARTICLE_MODELS)
    assert get_args(spec.Messages) == o.NETWORK_MESSAGES
    assert get_args(particles.Messages) == o.PARTICLE_MESSAGES
    assert get_args(spec.Aggregation) == o.AGGREGATIONS
    assert get_args(spec.Coupling) == o.COUPLINGS
    assert get_args(spec.FirstMessage) == o.FIRST_MESSAGES
    assert get_args(spec.Solver) == o.SOLVERS
    assert set(OPTIMISERS) == set(o.OPTIMISERS)
    assert tuple(LOSSES) == o.LOSSES
    assert ("auto", *engines.NAMES) == o.ENGINES
    assert ("auto", *engines.TORCH_KERNELS) == o.KERNELS
    assert partition.METHODS == o.PARTITIONS
    assert set(presets.PRESETS) == set(of_particles.PRESETS) == set(o.PRESETS)
    from pympnode.commands.pictures import LAYOUTS as offered

    assert offered == LAYOUTS


@pytest.mark.parametrize(
    ("option", "incomplete", "found"),
    [
        ("preset", "p", ["paper"]),
        ("model", "hier", ["hierarchical_deltagn", "hierarchical_hogn"]),
        ("messages", "pair", ["pairwise"]),
        ("solver", "ts", ["tsit5"]),
        ("kernel", "nu", ["numba"]),
        ("device", "c", ["cpu", "cuda"]),
        ("progress", "o", ["on", "off"]),
        ("topology", "W", ["WS"]),
    ],
)
def test_a_shell_completes_names(option: str, incomplete: str, found: list[str]) -> None:
    command = cli.get_command(click.Context(cli), "train")
    assert command is not None
    parameter = next(p for p in command.params if p.name == option)
    items = parameter.shell_complete(click.Context(command), incomplete)
    assert [item.value for item in items] == found


@pytest.mark.parametrize("command", ["train", "simulate"])
def test_help_shows_defaults(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status_of([command, "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Number of trajectories. [default: (1000; fewer of particles)]" in shown
    assert "splits" not in shown
    assert "[default: (0.7)]" in shown
    if command == "train":
        assert "[default: (fast)]" in shown


def test_out_in_a_missing_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "missing" / "a.nc"
    made = ["simulate", "heat", *FEW, "--out", str(out)]
    assert status_of(made) == 1
    assert "--parents" in capsys.readouterr().err
    assert not out.parent.exists()
    assert status_of([*made, "--parents"]) == 0
    assert out.is_file()
    # It is refused before anything is computed: there is no such model.
    assert status_of(["rollout", "no.nc", "no.nc", "--out", str(tmp_path / "x" / "a.nc")]) == 1
    assert "the folder of --out" in capsys.readouterr().err


def test_a_file_is_replaced_only_with_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a.nc"
    made = ["simulate", "heat", *FEW, "--out", str(out)]
    assert status_of(made) == 0
    before = out.stat().st_mtime_ns
    assert status_of(made) == 1
    assert "--force" in capsys.readouterr().err
    assert out.stat().st_mtime_ns == before
    assert status_of([*made, "--seed", "3", "--force"]) == 0
    assert out.stat().st_mtime_ns != before


def test_a_terminal_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    answers = iter([False, True])

    class Terminal:
        def isatty(self) -> bool:
            return True

    def confirm(question: str, **_: Any) -> bool:
        asked.append(question)
        return next(answers)

    monkeypatch.setattr(o.sys, "stdin", Terminal())
    monkeypatch.setattr(o.sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(o.click, "confirm", confirm)
    out = tmp_path / "new" / "a.nc"
    command = cli.get_command(click.Context(cli), "simulate")
    assert command is not None
    context = click.Context(command)
    context.params = {"out": str(out), "parents": False, "force": False}
    with pytest.raises(FileNotFoundError, match="--parents"):
        o.check_target(context)
    o.check_target(context)  # the answer is yes
    assert len(asked) == 2
    assert "make it?" in asked[0]


def test_a_missing_file_of_edges_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    made = ["simulate", "heat", "--topology", "edges.txt", "--out", "never.nc"]
    assert status_of(made) == 1
    assert "there is no file of edges 'edges.txt'" in capsys.readouterr().err
    assert status_of(["simulate", "heat", "--topology", "BB", "--out", "never.nc"]) == 1
    assert "unknown topology" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "kind"),
    [
        (["train", "kuramto", "--run", "never", "--json"], 1, "UnknownName"),
        (["info", "no-such-file.nc", "--json"], 1, "MissingFile"),
        (["train", "kuramoto", "--epochs", "many", "--json"], 2, "BadParameter"),
        (["train", "kuramoto", "--lr", "1", "--json"], 2, "NoSuchOption"),
    ],
)
def test_with_json_an_error_is_json(
    arguments: list[str], status: int, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(arguments) == status
    shown = capsys.readouterr()
    assert shown.out == ""
    error = json.loads(shown.err)["error"]
    assert error["kind"] == kind
    assert error["message"]
    if status == 1:
        assert error["got"]
    else:
        assert "Usage" not in error["message"]


def test_a_reader_that_ends_is_no_error() -> None:
    """As `pympnode systems | head -1`: the pipe is closed before anything is written."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pympnode", "systems"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    assert process.wait(timeout=120) == 0
    assert said == ""


def test_an_animation_without_a_writer_is_a_typed_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from matplotlib.animation import writers

    from pympnode.errors import EngineUnavailable
    from pympnode.plotting.animation import writer_of

    monkeypatch.setattr(writers, "is_available", lambda name: name == "pillow")
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    data = str(tmp_path / "a.nc")
    assert status_of(["simulate", "heat", *FEW, "--out", data]) == 0
    capsys.readouterr()
    for ending, says in (("mp4", "ffmpeg"), ("webm", "ffmpeg"), ("doc", ".gif")):
        out = tmp_path / f"a.{ending}"
        assert status_of(["plot", "animation", data, "--out", str(out)]) == 1
        shown = capsys.readouterr().err
        assert "Traceback" not in shown
        assert says in shown
        assert not out.exists()
    with pytest.raises(EngineUnavailable, match="ffmpeg"):
        writer_of(Path("a.mov"))
    assert writer_of(Path("a.gif")) == "pillow"


def test_a_kind_of_picture_has_the_name_of_its_function_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("phase_portrait", "graph_state"):
        assert status_of(["plot", name, "no.nc", "--out", "p.png"]) == 1  # there is no such file
        assert "there is no file 'no.nc'" in capsys.readouterr().err
    assert status_of(["plot", "nothing", "no.nc", "--out", "p.png"]) == 2


def test_every_command_has_a_line_in_its_help() -> None:
    context = click.Context(cli)
    for name in set(COMMANDS) - {"julia"}:
        command = cli.get_command(context, name)
        assert command is not None
        group = command.commands.values() if isinstance(command, click.Group) else [command]
        for one in group:
            for parameter in one.params:
                if isinstance(parameter, click.Option):
                    assert parameter.help, f"{name} {parameter.name}"
