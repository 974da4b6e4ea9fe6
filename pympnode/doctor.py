"""Doctor: what pympnode needs on this computer, each thing ok, or what is wrong and what mends it."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

Status = Literal["ok", "note", "broken"]
GIB = 2**30
PACKAGES = ("numpy", "scipy", "xarray", "netCDF4", "networkx", "matplotlib", "click", "tomli_w")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    ``status``: "ok"; "note", it works but could be better; "broken", something will fail. ``text``
    says what was found, ``fix`` is the one line that mends it.
    """

    name: str
    status: Status
    text: str
    fix: str = ""

    def as_dict(self) -> dict[str, str]:
        """Plain values, for JSON."""
        return asdict(self)

    def line(self) -> str:
        """For people: name, status, what was found, and below it what mends it."""
        mend = f"\n{'':<20}fix: {self.fix}" if self.fix else ""
        return f"{self.name:<12}{self.status:<8}{self.text}{mend}"


def examine() -> list[Finding]:
    """All findings, in order. A check that itself fails is a finding too; nothing is raised."""
    findings = []
    for name, check in CHECKS.items():
        try:
            findings.append(check())
        except Exception as error:  # a broken installation breaks in any way
            text = f"{type(error).__name__}: {error}".splitlines()[0]
            findings.append(Finding(name, "broken", text, FIXES.get(name, "")))
    return findings


def healthy(findings: list[Finding] | None = None) -> bool:
    """Whether nothing is broken."""
    return all(f.status != "broken" for f in (examine() if findings is None else findings))


# ---- the checks -------------------------------------------------------------------------------


def python() -> Finding:
    """The interpreter."""
    version = platform.python_version()
    where = f"{version} at {sys.executable}"
    if sys.version_info < (3, 11):  # noqa: UP036  the doctor may be called from an older one
        return Finding("python", "broken", where, "install Python 3.11 or newer")
    return Finding("python", "ok", where)


def packages() -> Finding:
    """The packages that pympnode builds on, torch and numba apart."""
    found, lost = [], []
    for name in PACKAGES:
        try:
            importlib.import_module(name)
            found.append(f"{name} {importlib.metadata.version(name)}")
        except ImportError as error:  # PackageNotFoundError is one too
            lost.append(f"{name} ({error})")
    if lost:
        names = " ".join(text.split()[0].lower().replace("_", "-") for text in lost)
        return Finding("packages", "broken", "; ".join(lost), f"pip install {names}")
    return Finding("packages", "ok", ", ".join(found))


def torch() -> Finding:
    """That torch computes and differentiates."""
    import torch as module

    x = module.tensor([1.0, 2.0], requires_grad=True)
    (gradient,) = module.autograd.grad((x * x).sum(), x)
    if gradient.tolist() != [2.0, 4.0]:
        return Finding("torch", "broken", f"wrong gradient {gradient.tolist()}", FIXES["torch"])
    return Finding("torch", "ok", module.__version__)


def device() -> Finding:
    """What torch can compute on."""
    import torch as module

    if module.cuda.is_available():
        module.zeros(1, device="cuda").add_(1).item()
        return Finding("device", "ok", f"cuda: {module.cuda.get_device_name()}, and the cpu")
    if shutil.which("nvidia-smi"):
        built = "has CUDA" if module.version.cuda else "is built for the cpu alone"
        return Finding(
            "device",
            "note",
            f"cpu; nvidia-smi is there, but torch ({built}) cannot use a GPU",
            "pip install --force-reinstall torch  (the default wheel has CUDA on Linux)",
        )
    return Finding("device", "ok", "cpu")


def threads() -> Finding:
    """Threads of torch against the cores that this process may use."""
    import torch as module

    cores, used = usable_cores(), module.get_num_threads()
    text = f"{used} of torch on {cores} usable core{'s' * (cores != 1)}"
    if used > cores:
        return Finding(
            "threads",
            "note",
            f"{text}: more than can run at once",
            f"export OMP_NUM_THREADS={cores}",
        )
    return Finding("threads", "ok", text)


def kernels() -> Finding:
    """That the compiled kernel gives the same rollout as the plain one, and where it is cached."""
    import numpy as np

    try:
        import numba
    except ImportError as error:
        return Finding(
            "kernels",
            "note",
            f"numba does not import ({error}); slower ones serve",
            "pip install numba",
        )
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
        # A field alone would come from the plain kernel under either name.
        rollouts.append(program.rollout(theta, start, graph, np.array([0.0, 0.1, 0.2])).state)
    off = float(np.abs(rollouts[0] - rollouts[1]).max())
    if not off < 1e-12:
        return Finding(
            "kernels", "broken", f"compiled and plain kernel differ by {off:.1e}", FIXES["kernels"]
        )
    place = kernel_cache()
    if place is None:
        from .files.compiling import temporary_cache

        spare = temporary_cache()
        return Finding(
            "kernels",
            "note",
            f"numba {numba.__version__}; no lasting folder for compiled code: "
            + ("every start compiles" if spare is None else f"kept in {spare} for the time being"),
            'export NUMBA_CACHE_DIR="$HOME/.cache/numba"',
        )
    size = sum(file.stat().st_size for file in place.glob("*.nb[ci]")) / 2**20
    return Finding(
        "kernels", "ok", f"numba {numba.__version__}, cache {place} ({size:.1f} MiB here)"
    )


def julia() -> Finding:
    """Whether the Julia engine is installed; it is not needed, and is not started here."""
    from .networks.engines.julia import installed

    record = installed.read()
    if record is None:
        return Finding("julia", "ok", "not installed; the embedded engine needs none")
    executable = record["options"].executable
    if executable and not shutil.which(str(executable)):
        return Finding(
            "julia", "broken", f"{executable!r} is no longer there", "pympnode julia install"
        )
    return Finding("julia", "ok", f"installed ({record['path']}); pympnode julia status --start")


def disk() -> Finding:
    """Room here and in the folder for temporary files, and that a dataset can be kept."""
    import numpy as np
    import xarray as xr

    from .files.netcdf import read_netcdf, write_netcdf

    with tempfile.TemporaryDirectory(prefix="pympnode-") as folder:
        there = xr.Dataset({"x": ("n", np.arange(3.0))})
        write_netcdf(there, Path(folder) / "x.nc", checksums=True)
        back = read_netcdf(Path(folder) / "x.nc", checksums=True)
    if not back.identical(there):
        return Finding("disk", "broken", "a netCDF file came back changed", FIXES["disk"])
    places = {"here": os.getcwd(), "temporary": tempfile.gettempdir()}
    free = {name: shutil.disk_usage(place).free for name, place in places.items()}
    text = ", ".join(f"{free[n] / GIB:.1f} GiB free in {places[n]}" for n in places)
    return _by_room("disk", min(free.values()), text, "free some space, or work in another folder")


def memory() -> Finding:
    """Memory that this process can still have."""
    free = usable_memory()
    if free is None:
        return Finding("memory", "ok", "this system does not tell")
    fix = "close other programs, or use fewer trajectories"
    return _by_room("memory", free, f"{free / GIB:.1f} GiB available", fix)


CHECKS: dict[str, Callable[[], Finding]] = {
    "python": python,
    "packages": packages,
    "torch": torch,
    "device": device,
    "threads": threads,
    "kernels": kernels,
    "julia": julia,
    "disk": disk,
    "memory": memory,
}
FIXES = {
    "torch": "pip install --force-reinstall torch",
    "device": 'train with device="cpu", or install a torch wheel that fits the driver',
    "kernels": "delete the folder named by NUMBA_CACHE_DIR or pympnode's __pycache__, or kernel='torch'",
    "julia": "pympnode julia install",
    "disk": "set TMPDIR to a folder that can be written",
}


# ---- what the machine has ---------------------------------------------------------------------


def usable_cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its container."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = count or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return cores


def usable_memory() -> int | None:
    """Bytes that can still be allocated, as the system and the container's limit have it."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    facts = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if ":" in line}
    free = facts.get("MemAvailable")
    try:
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())
        left = limit - int((group / "memory.current").read_text())
        free = left if free is None else min(free, left)
    except (OSError, ValueError):
        pass
    return free


def kernel_cache() -> Path | None:
    """The folder where compiled kernels are kept for good; None where none can be written."""
    from .networks.engines.torch import kernel_numba as numba_kernel

    given = os.environ.get("NUMBA_CACHE_DIR")
    home = Path(given) if given else Path(str(numba_kernel.__file__)).parent / "__pycache__"
    spare = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "numba"
    for place in (home,) if given else (home, spare):
        at = place
        while not at.exists() and at != at.parent:
            at = at.parent
        if at.is_dir() and os.access(at, os.W_OK):
            return place
    return None


def _by_room(name: str, free: int, text: str, fix: str) -> Finding:
    if free < 0.1 * GIB:
        return Finding(name, "broken", text, fix)
    return Finding(name, "note", text, fix) if free < GIB else Finding(name, "ok", text)
