"""Options of the worker, the record of an installation, what "auto" takes, and the commands."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from julia_stand_in import COMMAND

from pympnode.errors import EngineUnavailable, FileDamaged, InvalidOption, UnknownName
from pympnode.networks import engines
from pympnode.networks.engines.julia import installed
from pympnode.networks.engines.julia import notice as notices
from pympnode.networks.engines.julia.client import JuliaClient, shared
from pympnode.networks.engines.julia.commands import julia
from pympnode.networks.engines.julia.options import JuliaOptions


@pytest.fixture(autouse=True)
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No record, and no options of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith(("PYMPNODE_JULIA_", "PYTHON_JULIA", "JULIA_")):
            monkeypatch.delenv(name)
    path = tmp_path / "record.json"
    monkeypatch.setenv(installed.VARIABLE, str(path))
    return path


# ---- options ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"threads": "4"}, {"PYTHON_JULIACALL_THREADS": "4"}),
        ({"threads": "auto"}, {"PYTHON_JULIACALL_THREADS": "auto"}),
        ({"depot": "/d:/e"}, {"JULIA_DEPOT_PATH": "/d:/e"}),
        ({"environment": "/env"}, {"PYTHON_JULIAPKG_PROJECT": "/env"}),
        ({"offline": True}, {"PYTHON_JULIAPKG_OFFLINE": "yes", "JULIA_PKG_OFFLINE": "true"}),
        ({"executable": "/j"}, {"PYTHON_JULIAPKG_EXE": "/j"}),
        (
            {"executable": "/j", "project": "/p"},
            {"PYTHON_JULIACALL_EXE": "/j", "PYTHON_JULIACALL_PROJECT": "/p"},
        ),
    ],
)
def test_each_option_reaches_the_worker(options: dict, expected: dict) -> None:
    client = JuliaClient(JuliaOptions(**options), COMMAND)
    try:
        seen = client.call("environment", names=list(expected))["variables"]
    finally:
        client.close()
    assert seen == expected


def test_an_executable_alone_leaves_the_project_to_juliapkg() -> None:
    env = JuliaOptions(executable="/j").variables({"PYTHON_JULIACALL_EXE": ""})
    assert "PYTHON_JULIACALL_EXE" not in env and "PYTHON_JULIACALL_PROJECT" not in env


def test_a_project_finds_the_julia_on_path(tmp_path: Path) -> None:
    program = tmp_path / "julia"
    program.write_text("#!/bin/sh\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    env = JuliaOptions(project="/p").variables({"PATH": str(tmp_path)})
    assert env["PYTHON_JULIACALL_EXE"] == str(program)
    with pytest.raises(InvalidOption, match="PYMPNODE_JULIA_EXECUTABLE"):
        JuliaOptions(project="/p").variables({"PATH": ""})


def test_variables_override_the_record(monkeypatch: pytest.MonkeyPatch) -> None:
    installed.write(JuliaOptions(threads="2", depot="/d"), {})
    monkeypatch.setenv("PYMPNODE_JULIA_THREADS", "3")
    monkeypatch.setenv("PYMPNODE_JULIA_OFFLINE", "yes")
    assert installed.options() == JuliaOptions(threads="3", depot="/d", offline=True)


@pytest.mark.parametrize("threads", ["0", "-1", "many", ""])
def test_threads_are_a_number(threads: str) -> None:
    with pytest.raises(InvalidOption, match="threads"):
        JuliaOptions(threads=threads)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(UnknownName, match="did you mean 'threads'"):
        JuliaOptions.from_mapping({"thread": 1})
    with pytest.raises(InvalidOption, match="OFFLINE"):
        JuliaOptions().with_variables({"PYMPNODE_JULIA_OFFLINE": "maybe"})


def test_the_shared_client_follows_the_options(monkeypatch: pytest.MonkeyPatch) -> None:
    first = shared()
    assert shared() is first
    monkeypatch.setenv("PYMPNODE_JULIA_THREADS", "2")
    assert shared() is not first and shared().options.threads == "2"


# ---- what "auto" takes ------------------------------------------------------------------------


def test_auto_takes_julia_only_where_it_was_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record: Path
) -> None:
    program = tmp_path / "julia"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert engines.choose("auto")[0] == "torch", "a julia on PATH is no installation"
    installed.write(JuliaOptions(), {"julia": "1.10"})
    name, why = engines.choose("auto")
    assert name == "julia" and str(record) in why
    assert engines.choose("auto", device="cuda")[0] == "torch"
    assert engines.choose("auto", kernel="numba")[0] == "torch"
    assert engines.choose("auto", kernel="gauss", device="cpu")[0] == "julia"
    assert engines.choose("torch") == ("torch", "asked for")
    assert engines.choose("julia") == ("julia", "asked for")
    with pytest.raises(UnknownName, match="julia"):
        engines.choose("juila")
    record.write_text("{")
    with pytest.raises(FileDamaged, match="pympnode julia install"):
        engines.choose("auto")


def test_a_user_system_is_integrated_in_python() -> None:
    from pympnode.networks.systems.kuramoto import Kuramoto
    from pympnode.systems.registry import get

    class Mine(Kuramoto):
        name = "kuramoto"

    solve, why = engines.solver_for("julia", Mine())
    assert solve is None and "Python" in why
    assert engines.solver_for("julia", get("kuramoto"))[0] is not None
    assert engines.solver_for("torch", get("kuramoto"))[0] is None


def test_bind_refuses_options_that_julia_lacks() -> None:
    from pympnode.networks.engines.julia.engine import JuliaEngine
    from pympnode.networks.spec import ModelSpec

    engine, spec = JuliaEngine(), ModelSpec()
    for options, error in (
        ({"device": "cuda"}, EngineUnavailable),
        ({"dtype": "float16"}, UnknownName),
        ({"kernel": "numba"}, UnknownName),
        ({"adjoint": "discrete", "horizon": True}, InvalidOption),
    ):
        with pytest.raises(error):
            engine.bind(spec, **options)
    assert engine.bind(spec).kernel == "discrete"
    assert engine.bind(spec, kernel="gauss").kernel == "gauss"
    assert engine.supports(spec) is None


# ---- the record and the commands --------------------------------------------------------------


def test_the_record_moves_where_it_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(installed.VARIABLE)
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setattr(sys, "prefix", str(blocked / "below"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    place = installed.write(JuliaOptions(depot="/d"), {})
    assert place.is_relative_to(tmp_path / "config")
    found = installed.read()
    assert found is not None and found["options"].depot == "/d"


def test_status_without_julia() -> None:
    result = CliRunner().invoke(julia, ["status", "--json"])
    assert result.exit_code == 0, result.output
    facts = json.loads(result.output)
    assert facts["installed"] is False and Path(facts["sources"]).is_dir()
    assert "pympnode julia install" in CliRunner().invoke(julia, ["status"]).output


def test_install_records_and_status_shows(monkeypatch: pytest.MonkeyPatch, record: Path) -> None:
    from pympnode.networks.engines.julia import install

    monkeypatch.setattr(install, "JuliaClient", lambda options: JuliaClient(options, COMMAND))
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda name: object())
    result = CliRunner().invoke(julia, ["install", "--threads", "2", "--depot", "/d"])
    assert result.exit_code == 0, result.output
    assert "starting" in result.output and str(record) in result.output
    stored = json.loads(record.read_text())
    assert stored["options"]["threads"] == "2" and stored["options"]["depot"] == "/d"
    assert engines.choose("auto")[0] == "julia"
    facts = json.loads(CliRunner().invoke(julia, ["status", "--json"]).output)
    assert facts["installed"] is True and facts["threads"] == "2"
    assert notices._notice is notices.standard


def test_install_that_fails_leaves_no_record(monkeypatch: pytest.MonkeyPatch, record: Path) -> None:
    from pympnode.networks.engines.julia import install

    monkeypatch.setattr(install, "JuliaClient", lambda options: JuliaClient(options, COMMAND))
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setenv("STAND_IN", "fails: URLError <urlopen error no route>")
    result = CliRunner().invoke(julia, ["install"])
    assert result.exit_code == 1 and "PYMPNODE_JULIA_EXECUTABLE" in result.output
    assert not record.exists()
    monkeypatch.setattr(install.importlib.util, "find_spec", lambda name: None)
    result = CliRunner().invoke(julia, ["install"])
    assert result.exit_code == 1 and "pympnode[julia]" in result.output


def test_notices_are_logged_and_pluggable(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="pympnode.networks.engines.julia"):
        notices.notice("hello")
    assert "hello" in caplog.text
    seen: list[str] = []
    notices.set_notice(seen.append)
    notices.notice("there")
    notices.set_notice(None)
    assert seen == ["there"]
