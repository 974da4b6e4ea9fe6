"""Doctor: checks of what pympnode needs on this computer, each with the command that repairs it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from .memory import available_bytes

GIB = 2**30
PACKAGES = ("numpy", "scipy", "xarray", "netCDF4", "networkx", "matplotlib", "click", "tomli_w")


@dataclass(frozen=True)
class Finding:
    """The result of one check: ``text`` says what was found, ``fix`` is the line that repairs it.

    ``status``: "ok"; "note", works but could be better; "broken", something will fail.
    """

    name: str
    status: Literal["ok", "note", "broken"]
    text: str
    fix: str = ""

    def line(self) -> str:
        """Name, status and text, and the fix on a second line."""
        fix = f"\n{'':<20}fix: {self.fix}" if self.fix else ""
        return f"{self.name:<12}{self.status:<8}{self.text}{fix}"


def examine() -> list[Finding]:
    """All findings, in order. A check that fails is a finding too; nothing is raised."""
    findings = []
    for name, check in CHECKS.items():
        try:
            findings.append(check())
        except Exception as error:  # a broken installation can raise anything
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            findings.append(Finding(name, "broken", text, FIXES.get(name, "")))
    return findings


def python() -> Finding:
    """The interpreter."""
    text = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < (3, 11):  # noqa: UP036  the doctor may be started by an older one
        return Finding("python", "broken", text, "install Python 3.11 or newer")
    return Finding("python", "ok", text)


def packages() -> Finding:
    """The required packages, without torch and numba."""
    found, missing = [], {}
    for name in PACKAGES:
        try:
            importlib.import_module(name)
            found.append(f"{name} {importlib.metadata.version(name)}")
        except ImportError as error:  # PackageNotFoundError is one too
            missing[name] = f"{name} ({error})"
    if missing:
        names = " ".join(missing).lower().replace("_", "-")
        return Finding("packages", "broken", "; ".join(missing.values()), f"pip install {names}")
    return Finding("packages", "ok", ", ".join(found))


def torch() -> Finding:
    """Whether torch computes a gradient."""
    import torch as module

    x = module.tensor([1.0, 2.0], requires_grad=True)
    (gradient,) = module.autograd.grad((x * x).sum(), x)
    if gradient.tolist() != [2.0, 4.0]:
        return Finding("torch", "broken", f"wrong gradient {gradient.tolist()}", FIXES["torch"])
    return Finding("torch", "ok", module.__version__)


def device() -> Finding:
    """The devices of torch."""
    import torch as module

    if module.cuda.is_available():
        module.zeros(1, device="cuda").add_(1).item()
        return Finding("device", "ok", f"cuda: {module.cuda.get_device_name()}, and the cpu")
    if shutil.which("nvidia-smi"):
        built = "has CUDA" if module.version.cuda else "is built for the cpu alone"
        text = f"cpu; nvidia-smi is there, but torch ({built}) cannot use a GPU"
        fix = "pip install --force-reinstall torch  (the default wheel has CUDA on Linux)"
        return Finding("device", "note", text, fix)
    return Finding("device", "ok", "cpu")


def threads() -> Finding:
    """Threads of torch against the cores that this process may use."""
    import torch as module

    cores, used = usable_cores(), module.get_num_threads()
    text = f"{used} of torch on {cores} usable core{'s' * (cores != 1)}"
    if used > cores:
        text += ": more than can run at once"
        return Finding("threads", "note", text, f"export OMP_NUM_THREADS={cores}")
    return Finding("threads", "ok", text)


def kernels() -> Finding:
    """Whether the compiled kernel gives the rollout of the plain one, and where it is cached."""
    import numpy as np

    try:
        import numba
    except ImportError as error:
        text = f"numba does not import ({error}); slower ones serve"
        return Finding("kernels", "note", text, "pip install numba")
    from .graph import Graph
    from .networks.engines import engine
    from .networks.spec import ModelSpec
    from .networks.weights import layout_of

    spec = ModelSpec(channels=2, message=2, hidden=4, messages="state")
    theta = layout_of(spec).initial(np.random.default_rng(0))
    graph = Graph.from_edges([(0, 1), (1, 2)], 3)
    start = np.linspace(-1.0, 1.0, 3 * spec.channels).reshape(1, 3, spec.channels)
    rollouts = []
    for name in ("numba", "eager"):
        program = engine("torch").bind(spec, None, dtype="float64", device="cpu", kernel=name)
        # A rollout, because `field` is computed by the eager kernel under either name.
        rollouts.append(program.rollout(theta, start, graph, np.array([0.0, 0.1, 0.2])).state)
    off = float(np.abs(rollouts[0] - rollouts[1]).max())
    if not off < 1e-12:  # also NaN
        text = f"compiled and plain kernel differ by {off:.1e}"
        return Finding("kernels", "broken", text, FIXES["kernels"])
    folder, text = kernel_cache(), f"numba {numba.__version__}"
    if folder is None:
        from .files.compiling import temporary_cache

        spare = temporary_cache()
        text += "; no lasting folder for compiled code: "
        text += "every start compiles" if spare is None else f"kept in {spare} for the time being"
        fix = 'export NUMBA_CACHE_DIR="$HOME/.cache/numba"'
        return Finding("kernels", "note", text, fix)
    size = sum(file.stat().st_size for file in folder.glob("*.nb[ci]")) / 2**20
    return Finding("kernels", "ok", f"{text}, cache {folder} ({size:.1f} MiB here)")


def julia() -> Finding:
    """Whether the Julia engine is installed; it is optional, and is not started here."""
    from .networks.engines.julia import installed

    record = installed.read()
    if record is None:
        return Finding("julia", "ok", "not installed; the embedded engine needs none")
    executable = record["options"].executable
    if executable and not shutil.which(str(executable)):
        return Finding("julia", "broken", f"{executable!r} is no longer there", FIXES["julia"])
    return Finding("julia", "ok", f"installed ({record['path']}); pympnode julia status --start")


def disk() -> Finding:
    """Free space here and in the folder for temporary files; a dataset written and read back."""
    import numpy as np
    import xarray as xr

    from .files.netcdf import read_netcdf, write_netcdf

    with tempfile.TemporaryDirectory(prefix="pympnode-") as folder:
        written = xr.Dataset({"x": ("n", np.arange(3.0))})
        write_netcdf(written, Path(folder) / "x.nc", checksums=True)
        read = read_netcdf(Path(folder) / "x.nc", checksums=True)
    if not read.identical(written):
        return Finding("disk", "broken", "a netCDF file came back changed", FIXES["disk"])
    free = {path: shutil.disk_usage(path).free for path in (os.getcwd(), tempfile.gettempdir())}
    text = ", ".join(f"{size / GIB:.1f} GiB free in {path}" for path, size in free.items())
    fix = "free some space, or work in another folder"
    return _free_space("disk", min(free.values()), text, fix)


def memory() -> Finding:
    """Memory that this process can still allocate."""
    free = available_bytes()
    if free is None:
        return Finding("memory", "ok", "not reported by this system")
    fix = "close other programs, or use fewer trajectories"
    return _free_space("memory", free, f"{free / GIB:.1f} GiB available", fix)


CHECKS: dict[str, Callable[[], Finding]] = {
    check.__name__: check
    for check in (python, packages, torch, device, threads, kernels, julia, disk, memory)
}
FIXES = {
    "torch": "pip install --force-reinstall torch",
    "device": 'train with device="cpu", or install a torch wheel that fits the driver',
    "kernels": "delete the folder named by NUMBA_CACHE_DIR or pympnode's __pycache__, or kernel='torch'",
    "julia": "pympnode julia install",
    "disk": "set TMPDIR to a folder that can be written",
}


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = count or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return cores if quota == "max" else min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        return cores


def kernel_cache() -> Path | None:
    """The folder where compiled kernels are kept for good; None where none can be written."""
    from .networks.engines.torch import kernel_numba

    chosen = os.environ.get("NUMBA_CACHE_DIR")
    beside = Path(str(kernel_numba.__file__)).parent / "__pycache__"
    user = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "numba"
    for folder in (Path(chosen),) if chosen else (beside, user):
        existing = folder
        while not existing.exists() and existing != existing.parent:
            existing = existing.parent
        if existing.is_dir() and os.access(existing, os.W_OK):
            return folder
    return None


def _free_space(name: str, free: int, text: str, fix: str) -> Finding:
    if free >= GIB:
        return Finding(name, "ok", text)
    return Finding(name, "broken" if free < 0.1 * GIB else "note", text, fix)
