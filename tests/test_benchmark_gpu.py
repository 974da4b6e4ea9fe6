"""The benchmark of particles on a GPU runs in small where there is none, and keeps no figures then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).resolve().parent.parent / "benchmarks" / "nbody_gpu.py"


def _run(*options: str) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, str(SCRIPT), "--device", "cpu", "--repeats", "1", *options]
    return subprocess.run(call, capture_output=True, text=True)


def test_the_gpu_benchmark_runs_in_small() -> None:
    done = _run("--largest", "1000", "--width", "16")
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [row for row in done.stdout.splitlines() if row.startswith("| 1,000 |")]
    assert {row.split("|")[4].strip() for row in rows} >= {"plain", "compiled"}
    assert "Error" not in done.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_figures_are_kept_on_a_gpu_alone() -> None:
    done = _run("--largest", "10", "--write")
    assert done.returncode == 2 and "--write" in done.stderr
