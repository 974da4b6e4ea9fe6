"""Memory: what is available here, and calls that do not fit refused with the bytes before they start.

Estimates are compared with the peak of a process of their own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pympnode
from pympnode import memory
from pympnode.errors import NotEnoughMemory

LINUX = pytest.mark.skipif(
    not Path("/proc/self/clear_refs").exists(), reason="reads /proc of Linux"
)


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda device="cpu": 2 << 30)


@pytest.fixture(scope="module")
def ds() -> object:
    return pympnode.simulate("kuramoto", nodes=3, topology="ring", trajectories=4, steps=3)


RUN = dict(epochs=1, kernel="eager", progress=False)


@pytest.mark.parametrize(
    ("keywords", "fix"),
    [
        (dict(nodes=10**6, topology="complete", trajectories=1, steps=1), "nodes="),
        (dict(nodes=10**6, topology="full", trajectories=1, steps=1), "nodes="),
        (dict(nodes=10**5, topology=("ER", {"p": 0.5}), trajectories=1, steps=1), "nodes="),
        (dict(nodes=10**5, topology=("BA", {"k": 10**4}), trajectories=1, steps=1), "nodes="),
        (dict(nodes=3, topology="ring", trajectories=2, steps=10**10), "steps="),
        (dict(nodes=3, topology="ring", trajectories=10**10, steps=2), "trajectories="),
        (dict(nodes=10**10, topology="ring", trajectories=1, steps=1), "nodes="),
        (dict(nodes=3, topology="ring", trajectories=2, steps=2, graphs=10**8), "graphs="),
    ],
)
def test_simulations_that_do_not_fit(little: None, keywords: dict, fix: str) -> None:
    with pytest.raises(NotEnoughMemory, match="bytes needed") as caught:
        pympnode.simulate("kuramoto", **keywords)
    assert fix in str(caught.value.fix)


@pytest.mark.parametrize(
    ("keywords", "fix"),
    [(dict(hidden=10**6), "hidden="), (dict(members=10**9), "members="), (dict(epochs=10**10), "epochs=")],
)  # fmt: skip
def test_training_that_does_not_fit(little: None, ds: object, keywords: dict, fix: str) -> None:
    with pytest.raises(NotEnoughMemory, match="bytes needed") as caught:
        pympnode.train(data=ds, **{**RUN, **keywords})
    assert fix in str(caught.value.fix)


def test_a_batch_that_does_not_fit_names_one_that_does(monkeypatch: pytest.MonkeyPatch) -> None:
    ds = pympnode.simulate("kuramoto", nodes=10, topology="ring", trajectories=200, steps=40)
    monkeypatch.setattr(memory, "available_bytes", lambda device="cpu": 100 << 20)
    monkeypatch.setattr("pympnode.networks.memory.available_bytes", memory.available_bytes)
    with pytest.raises(NotEnoughMemory, match="a batch of 140 windows") as caught:
        pympnode.train(data=ds, batch_size=140, **RUN)
    fits = int(str(caught.value.fix).split("batch_size=")[1].split()[0])
    assert 10 < fits < 140
    pympnode.train(data=ds, batch_size=fits, **RUN)


def test_rollouts_and_grids_that_do_not_fit(little: None, ds: object) -> None:
    import pandas as pd

    model = pympnode.train(data=ds, **RUN).model
    for start in (ds, np.zeros((2, 3, 3))):
        with pytest.raises(NotEnoughMemory, match="bytes needed"):
            model.rollout(start, steps=10**10, topology="ring", check=False)
    mixed = pympnode.couple(["coupled_pendulum"] * 3, "path")
    with pytest.raises(NotEnoughMemory, match="bytes needed"):
        mixed.rollout(np.zeros((3, 2)), steps=10**9, dt=0.1)
    table = pd.DataFrame({"time": [0.0, 10.0] * 2, "node": list("aabb"), "x": [1.0, 2, 3, 4]})
    for resample in (None, "linear"):
        with pytest.raises(NotEnoughMemory, match="a time grid of") as caught:
            pympnode.from_frame(table, features="x", edges=[("a", "b")], dt=1e-9, resample=resample)
        assert "dt=" in str(caught.value.fix)


def test_what_no_estimate_covers_is_typed_too() -> None:
    @memory.guarded
    def takes_too_much() -> None:
        np.empty(1 << 60, dtype=np.int8)

    with pytest.raises(NotEnoughMemory, match="takes_too_much ran out of memory"):
        takes_too_much()


@pytest.mark.parametrize("version", [1, 2])
def test_limits_of_control_groups_and_those_above(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The least of a group and of all above it, without pages of files that the kernel can drop."""
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    (proc / "meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 4000000 kB\n")
    names = ("memory.max", "memory.current", "inactive_file")
    root = groups
    if version == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        root = groups / "memory"
    line = "0::/a/b" if version == 2 else "4:cpu,memory:/a/b"
    (proc / "self" / "cgroup").write_text(f"1:pids:/x\n{line}\n")
    for folder, limit, used in ((root / "a", "3000000", 1), (root / "a" / "b", "max", 0)):
        folder.mkdir(parents=True)
        (folder / names[0]).write_text(f"{limit}\n")
        (folder / names[1]).write_text(f"{used * 1000000}\n")
        (folder / "memory.stat").write_text(f"anon 1\n{names[2]} 50000\n")
    monkeypatch.setattr(memory, "_PROC", proc)
    monkeypatch.setattr(memory, "_CONTAINER", groups)
    assert memory.available_bytes() == 2_050_000
    (root / "a" / "b" / names[0]).write_text("1000000\n")
    assert memory.available_bytes() == 1_050_000


@LINUX
def test_the_limit_of_address_space_counts() -> None:
    code = """
import resource
from pympnode.memory import available_bytes
used = next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmSize")) * 1024
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28), resource.RLIM_INFINITY))
print(available_bytes() / (1 << 28))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0.9 < float(out.stdout) <= 1.0


_PEAK = """
import gc, json, sys, warnings
import numpy as np
import pympnode
from pympnode.networks.engines.base import Batch
from pympnode.networks.half import NETWORKS
from pympnode.networks.memory import window_bytes
from pympnode.networks.options import NetworkTraining

warnings.simplefilter("ignore")
kernel, nodes, batch, steps, hidden = sys.argv[1], *map(int, sys.argv[2:6])
given = json.loads(sys.argv[6]) if len(sys.argv) > 6 else {}
topology, longest = given.pop("topology", "ring"), given.pop("longest_delay", 0)

def kilobytes(name):
    return next(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(name))

def task_of(nodes, batch, steps):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(batch + 1, longest + steps + 1, nodes, 3)).cumsum(1) * 0.01
    split = ["train"] * batch + ["validation"]
    ds = pympnode.from_arrays(x, dt=0.05, topology=topology, split=split)
    if longest:
        ds["edge_delay"] = "edge", rng.uniform(0.05, 0.05 * longest, ds.sizes["edge"])
        ds.edge_delay[0] = 0.05 * longest
    options = NetworkTraining(kernel=kernel, hidden=hidden, batch_size=batch, epochs=1, **given)
    return NETWORKS.prepare(None, [ds], options, None)

def gradient(prepared, batch, steps):
    chosen = Batch(np.arange(batch), np.full(batch, longest), steps)
    prepared.task.losses(prepared.theta, [chosen])

gradient(task_of(3, 2, 2), 2, 2)  # libraries and compiled code
prepared = task_of(nodes, batch, steps)
gc.collect()
open("/proc/self/clear_refs", "w").write("5")
before = kilobytes("VmRSS")
gradient(prepared, batch, steps)
peak = (kilobytes("VmHWM") - before) * 1024
needed = window_bytes(
    prepared.model.spec, kernel, columns=batch * nodes, steps=steps, itemsize=4, nodes=nodes,
    edges=prepared.task.arrays[0].graph.edges, past=longest,
    senders=prepared.task.arrays[0].graph.edges if longest else 0,
)
print(needed / peak)
"""

_SIZES = [("10", "128", "40", "32"), ("10", "128", "30", "64"), ("50", "128", "25", "32")]


@LINUX
@pytest.mark.parametrize(
    ("kernel", "size"),
    [
        pytest.param(
            kernel, size, marks=() if kernel == "torch" and not number else pytest.mark.slow
        )
        for kernel in ("eager", "torch", "numba")
        for number, size in enumerate(_SIZES)
    ],
)
def test_estimates_are_within_a_fifth_of_what_is_taken(kernel: str, size: tuple[str, ...]) -> None:
    assert 0.8 < _ratio(kernel, *size) < 1.25


_PAIRS: dict[str, Any] = {"messages": "pairwise", "coupling": "superposed", "aggregation": "sum"}


@LINUX
@pytest.mark.parametrize(
    ("kernel", "size", "options"),
    [
        ("torch", ("10", "128", "40", "32"), _PAIRS | {"topology": "complete"}),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                ("eager", ("10", "64", "20", "32"), _PAIRS | {"antisymmetric": True}),
                ("eager", ("10", "64", "20", "32"), {"messages": "pairwise", "aggregation": "max"}),
                ("eager", ("10", "32", "10", "32"), _PAIRS | {"topology": "complete"}),
                (
                    "torch",
                    ("10", "128", "20", "32"),
                    {"messages": "pairwise", "aggregation": "max"},
                ),
                ("numba", ("10", "128", "30", "64"), _PAIRS),
                ("numba", ("50", "128", "25", "32"), _PAIRS),
            )
        ),
    ],
)
def test_estimates_of_messages_of_pairs(
    kernel: str, size: tuple[str, ...], options: dict[str, Any]
) -> None:
    assert 0.8 < _ratio(kernel, *size, json.dumps(options)) < 1.25


_EMITTED: dict[str, Any] = {"messages": "emitted", "coupling": "superposed", "longest_delay": 20}


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["eager", "numba"])
@pytest.mark.parametrize("options", [_EMITTED, _PAIRS | {"longest_delay": 20}])
def test_estimates_of_delayed_messages(kernel: str, options: dict[str, Any]) -> None:
    assert 0.8 < _ratio(kernel, "10", "64", "20", "32", json.dumps(options)) < 1.25


def _ratio(kernel: str, *arguments: str) -> float:
    """The estimate of a gradient divided by what a process of its own takes for it."""
    out = subprocess.run(
        [sys.executable, "-c", _PEAK, kernel, *arguments], capture_output=True, text=True
    )
    assert out.returncode == 0, out.stderr
    return float(out.stdout)
