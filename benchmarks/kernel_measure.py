"""Peak memory and first-call time of each kernel, each in a process of its own."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_HERE = Path(__file__).parent

_MEMORY = """
import kernel
from kernel import case
from pympnode.networks.engines.torch.kernel_torch import run as adjoint
from pympnode.networks.engines.torch.kernel_numba import run as compiled
from pympnode.networks.engines.torch import kernel_eager as eager
kernel.torch.set_num_threads(1)

def status(name):
    for line in open("/proc/self/status"):
        if line.startswith(name):
            return int(line.split()[1]) / 1024


small = case(steps=2, batch=1)
run = lambda spec, theta, window: {run}
run(*small)  # compile, load libraries
problem = case(steps={steps}, batch={batch})
before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # forget the peak so far
run(*problem)
print(status("VmHWM") - before)
"""

_CASES = [
    ("eager autograd, T=50", "eager.loss_and_gradient(spec, theta, window)", 50),
    ("torch kernel, T=50", "adjoint.loss_and_gradient(spec, theta, window)", 50),
    ("numba kernel, auto, T=50", "compiled.loss_and_gradient(spec, theta, window)", 50),
    (
        "numba kernel, recomputing, T=50",
        "compiled.loss_and_gradient(spec, theta, window, store=False)",
        50,
    ),
    ("torch kernel, T=2000", "adjoint.loss_and_gradient(spec, theta, window)", 2000),
    ("numba kernel, auto, T=2000", "compiled.loss_and_gradient(spec, theta, window)", 2000),
]

_FIRST = """
import time
import kernel
from kernel import case
from pympnode.networks.engines.torch.kernel_torch import run as adjoint
from pympnode.networks.engines.torch.kernel_numba import run as compiled
from pympnode.networks.engines.torch import kernel_eager as eager
kernel.torch.set_num_threads(1)
spec, theta, window = case(batch={batch})
import kernel_peers
start = time.process_time()
{run}
print(time.process_time() - start)
"""


def _run(code: str, **environment: str) -> float:
    paths = [str(_HERE), str(_HERE.parent), os.environ.get("PYTHONPATH", "")]
    found = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **environment},
    )
    return float(found.stdout.split()[-1])


def peak_memory(count: int | None = None, batch: int = 128) -> list[dict[str, Any]]:
    """Mebibytes above what stood before the step (Linux only); the states of T=2000 are 59.

    ``count``: so many of the cases.
    """
    if not Path("/proc/self/clear_refs").exists():
        return [{"case": "not measured: needs Linux", "MiB": None}]
    rows = []
    for name, run, steps in _CASES[:count]:
        code = _MEMORY.replace("{run}", run).replace("{steps}", str(steps))
        code = code.replace("{batch}", str(batch))
        rows.append({"case": name, "MiB": round(_run(code), 1)})
    return rows


def first_calls(count: int | None = None, batch: int = 128) -> list[dict[str, Any]]:
    """CPU seconds of the first loss and gradient, imports of the kernel included.

    ``count``: so many of the cases.
    """
    numba = "compiled.loss_and_gradient(spec, theta, window)"
    diffrax = "kernel_peers.candidates(spec, theta, window)['diffrax Tsit5, constant dt']()"
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        cases = (
            ("eager autograd", "eager.loss_and_gradient(spec, theta, window)"),
            ("torch kernel", "adjoint.loss_and_gradient(spec, theta, window)"),
            ("numba kernel, compiling", numba),
            ("numba kernel, kept from an earlier run", numba),
            ("diffrax Tsit5, constant dt", diffrax),
        )
        for name, run in cases[:count]:
            if run == diffrax and importlib.util.find_spec("diffrax") is None:
                continue  # `kernel_peers.candidates` has printed why
            code = _FIRST.replace("{run}", run).replace("{batch}", str(batch))
            seconds = _run(code, NUMBA_CACHE_DIR=folder)
            rows.append({"kernel": name, "CPU s": round(seconds, 2)})
    return rows
