"""The wheel, built and used in a fresh environment from another directory."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

USE = """
import pathlib, sys, pympnode
assert pathlib.Path(pympnode.__file__).is_relative_to(sys.prefix), pympnode.__file__
result = pympnode.train(
    system="kuramoto", topology="BA", trajectories=16, steps=5, epochs=1, hidden=8,
    kernel="eager", progress=False,
)
result.model.save("model.nc")
print(pympnode.load("model.nc").system, result.model.trained.graphs[0])
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="hatchling builds the wheel without an index")
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_the_package_and_its_data(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    for path in (ROOT / "pympnode").rglob("*"):
        if path.is_file() and path.suffix in (".py", ".json", ".typed", ".jl", ".toml", ".nc"):
            assert path.relative_to(ROOT).as_posix() in names
    assert "pympnode/py.typed" in names and "pympnode/networks/graphs/instances.json" in names
    assert not any(name.startswith(("tests/", "examples/")) for name in names)


def test_the_wheel_works_from_another_directory(wheel: Path, tmp_path: Path) -> None:
    env = tmp_path / "env"
    # The heavy dependencies come from this environment; the package itself only from the wheel.
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(env)], check=True)
    python = env / "bin" / "python" if sys.platform != "win32" else env / "Scripts" / "python.exe"
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(python),
         "install", "-q", "--no-deps", "--no-index", "--no-compile", str(wheel)],
        check=True, capture_output=True,
    )  # fmt: skip
    site = subprocess.run(
        [sys.executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    own = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    Path(own, "borrowed.pth").write_text(site + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    clean = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # Compiled code is kept by the path of its source: this copy would compile the stepper for itself.
    clean["NUMBA_DISABLE_JIT"] = "1"
    done = subprocess.run(
        [str(python), "-c", USE],
        cwd=elsewhere,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] == "kuramoto" and "BA(10)" in done.stdout
    assert (elsewhere / "model.nc").exists()
    script = Path(env, "bin" if sys.platform != "win32" else "Scripts", "pympnode")
    assert script.exists()
