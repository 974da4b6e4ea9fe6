"""The doctor: its checks pass here, and a fault is reported with the command that repairs it."""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import sys
from collections import namedtuple
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pympnode import doctor, memory
from pympnode.cli import status_of
from pympnode.doctor import Finding

GIB = 2**30


@pytest.fixture
def no_import(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that makes the import of a package fail."""
    real = builtins.__import__

    def forbid(name: str) -> None:
        def importing(wanted: str, *rest: Any, **more: Any) -> Any:
            if wanted.split(".")[0] == name:
                raise ImportError(f"no {name} here")
            return real(wanted, *rest, **more)

        monkeypatch.setattr(builtins, "__import__", importing)
        monkeypatch.setattr(doctor.importlib, "import_module", lambda n: importing(n))

    return forbid


def test_nothing_is_broken_where_the_tests_run() -> None:
    findings = doctor.examine()
    assert [f.name for f in findings] == list(doctor.CHECKS)
    assert {f.name: f.text for f in findings if f.status == "broken"} == {}


def test_every_finding_that_is_not_ok_has_a_fix() -> None:
    for finding in doctor.examine():
        assert finding.text
        assert finding.status == "ok" or finding.fix


def test_a_missing_package_is_named_with_its_command(no_import: Any) -> None:
    no_import("netCDF4")
    finding = doctor.packages()
    assert finding.status == "broken"
    assert "no netCDF4 here" in finding.text
    assert finding.fix == "pip install netcdf4"
    assert "fix: pip install netcdf4" in finding.line()


def test_without_numba_slower_kernels_serve(no_import: Any) -> None:
    no_import("numba")
    finding = doctor.kernels()
    assert (finding.status, finding.fix) == ("note", "pip install numba")


def test_a_broken_torch_is_a_finding_and_the_other_checks_still_run(no_import: Any) -> None:
    no_import("torch")
    found = {finding.name: finding for finding in doctor.examine()}
    assert found["torch"].status == "broken"
    assert found["torch"].fix == doctor.FIXES["torch"]
    assert found["python"].status == "ok"
    assert found["disk"].status != "broken"


def test_a_kernel_that_computes_something_else_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from pympnode.networks.engines.torch.program import TorchProgram

    real = TorchProgram.rollout

    def rollout(self: TorchProgram, *args: Any, **more: Any) -> Any:
        out = real(self, *args, **more)
        return replace(out, state=out.state + 1e-6) if self.kernel == "numba" else out

    monkeypatch.setattr(TorchProgram, "rollout", rollout)
    finding = doctor.kernels()
    assert finding.status == "broken"
    assert "differ by 1.0e-06" in finding.text


def test_more_threads_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(doctor, "usable_cores", lambda: 3)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 12)
    finding = doctor.threads()
    assert (finding.status, finding.fix) == ("note", "export OMP_NUM_THREADS=3")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert doctor.threads().status == "ok"


@pytest.mark.parametrize(
    ("free", "status"), [(5 * GIB, "ok"), (GIB // 2, "note"), (GIB // 100, "broken")]
)
def test_little_free_space(free: int, status: str, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda place: usage(free, 0, free))
    monkeypatch.setattr(doctor, "available_bytes", lambda: free)
    for check in (doctor.disk, doctor.memory):
        finding = check()
        assert finding.status == status
        assert bool(finding.fix) == (status != "ok")


def test_no_folder_for_compiled_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "file" / "cache"))
    (tmp_path / "file").write_text("no folder")
    assert doctor.kernel_cache() is None
    finding = doctor.kernels()
    assert finding.status == "note"
    assert finding.fix.startswith("export NUMBA_CACHE_DIR=")
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path / "not" / "yet"))
    assert doctor.kernel_cache() == tmp_path / "not" / "yet"


def test_a_julia_that_was_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pympnode.networks.engines.julia import installed
    from pympnode.networks.engines.julia.options import JuliaOptions

    monkeypatch.setattr(installed, "read", lambda: None)
    assert doctor.julia().status == "ok"
    options = JuliaOptions.from_mapping(
        {**JuliaOptions().as_dict(), "executable": str(tmp_path / "julia")}
    )
    record = {"options": options, "path": "record.json"}
    monkeypatch.setattr(installed, "read", lambda: record)
    finding = doctor.julia()
    assert (finding.status, finding.fix) == ("broken", "pympnode julia install")


def test_cores_and_memory_are_plausible() -> None:
    assert 1 <= doctor.usable_cores() <= (os.cpu_count() or 1)
    free = doctor.available_bytes()
    assert free is None or 0 < free < 2**50


def test_the_limit_of_a_container_bounds_the_free_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    (tmp_path / "memory.stat").write_text("anon 900000\ninactive_file 50000\n")
    monkeypatch.setattr(memory, "_CONTAINER", tmp_path)
    assert memory.available_bytes() == 2_050_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() != 2_050_000


def test_exit_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    well = Finding("python", "ok", "3.13")
    slow = Finding("kernels", "note", "no numba", "pip install numba")
    ill = Finding("torch", "broken", "no torch", "pip install torch")
    for findings, status in (([well, slow], 0), ([well, ill], 1)):
        monkeypatch.setattr(doctor, "examine", lambda found=findings: found)
        assert status_of(["doctor"]) == status
        shown = capsys.readouterr().out
        assert all(f.text in shown and f.fix in shown for f in findings)
        assert status_of(["doctor", "--json"]) == status
        assert json.loads(capsys.readouterr().out) == [asdict(f) for f in findings]


def test_the_doctor_leaves_no_files(tmp_path: Path) -> None:
    root = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, "-m", "pympnode.cli", "doctor"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root, "TMPDIR": str(tmp_path)},
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kept = [p for p in tmp_path.iterdir() if p.name.startswith("pympnode")]
    assert kept == []
    assert done.stdout.count(" ok ") >= 5
