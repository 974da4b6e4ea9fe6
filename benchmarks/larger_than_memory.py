"""Training on data that are larger than memory: peak memory, and the time of an epoch.

    python benchmarks/larger_than_memory.py                   # about half an hour of one core
    python benchmarks/larger_than_memory.py --gigabytes 1 4   # smaller sizes

Memory: Dask arrays whose chunks are made when they are read (waves on a ring, 321 kB a trajectory), of
several sizes in GB; each size trains in a process of its own, whose peak is what the system reports
(ru_maxrss, with all libraries). Every chunk is read once for the scales, and then those that the
updates come to.

Time: the gradients of the same epochs from memory and from a Zarr store that was just written (a warm
disk), in turns in one process, one thread for the computation and one that reads.
Writes benchmarks/results/larger_than_memory.{json,md}.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import dask.array as da
import numpy as np
import xarray as xr
from numpy.typing import NDArray
from smoke import parse

import pympnode
from pympnode.datasets.reading import as_dataset
from pympnode.halves import NETWORKS

NODES, TIMES, DT, CHUNK = 100, 201, 0.05, 52  # a chunk has 16 MiB
TRAJECTORY_BYTES = NODES * TIMES * 2 * 8
KERNEL: dict[str, Any] = {"progress": False, "device": "cpu", "engine": "torch"}
CLASS: dict[str, Any] = {"messages": "emitted", "coupling": "superposed", "matching": 0}


def waves(first: int, count: int) -> NDArray[np.float64]:
    """Trajectories ``first`` to ``first + count - 1``: a wave on the ring, with a phase of each."""
    phase = np.array([np.random.default_rng(first + i).uniform(0, 2 * np.pi) for i in range(count)])
    angle = 2 * np.pi * np.arange(NODES) / NODES - DT * np.arange(TIMES)[:, None]
    real = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    turned = np.stack([-real[..., 1], real[..., 0]], axis=-1)
    shape = (count, 1, 1, 1)
    return np.cos(phase).reshape(shape) * real + np.sin(phase).reshape(shape) * turned


def virtual(gigabytes: float) -> xr.Dataset:
    """A dataset of that size, of which no value exists before it is read."""
    trajectories = max(6 * CHUNK, round(gigabytes * 1e9 / TRAJECTORY_BYTES))
    like = pympnode.from_arrays(waves(0, 2), dt=DT, topology="ring", features=["re", "im"])

    def make(block_info: Any = None) -> NDArray[np.float64]:
        first, last = block_info[None]["array-location"][0]
        return waves(first, last - first)

    rows = tuple([CHUNK] * (trajectories // CHUNK) + [trajectories % CHUNK])
    chunks = (rows if rows[-1] else rows[:-1], (TIMES,), (NODES,), (2,))
    state = da.map_blocks(make, chunks=chunks, dtype=np.float64, meta=np.zeros((0, 0, 0, 0)))
    varying = [n for n, v in like.variables.items() if "trajectory" in v.dims]
    ds = like.drop_vars(varying)
    return ds.assign(state=(like.state.dims, state, like.state.attrs))


def train_virtual(gigabytes: float, updates: int) -> dict[str, Any]:
    """Train on a virtual dataset in this process, and its peak memory."""
    ds = virtual(gigabytes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    result = pympnode.train(data=ds, updates=updates, batch_size=16, hidden=16, **KERNEL, **CLASS)
    return {
        "gigabytes": ds.state.nbytes / 1e9,
        "chunks": len(ds.state.chunks[0]),
        "updates": result.updates,
        "libraries_mb": before * 1024 / 1e6,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
        "seconds": time.perf_counter() - start,
        "cpu_seconds": time.process_time() - cpu,
        "loss": result.best_loss,
        "data": result.history.attrs["data"],
    }


def in_process(gigabytes: float, updates: int) -> dict[str, Any]:
    """`train_virtual` in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", str(gigabytes), "--updates", str(updates)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def task_of(data: xr.Dataset, **options: Any) -> Any:
    """The training task of some data, as `train` makes it."""
    words = {**KERNEL, **CLASS, "batch_size": 64, "epochs": 1, **options}
    return NETWORKS.prepare(None, [data], NETWORKS.Training(**words), None).task


def epoch(task: Any, theta: NDArray, number: int) -> tuple[float, float]:
    """Wall and CPU seconds of the gradients of one epoch; CPU time is that of all threads."""
    start, cpu = time.perf_counter(), time.process_time()
    for batch in task.batches(task.steps, np.random.default_rng(number)):
        task.loss(theta, batch)
    return time.perf_counter() - start, time.process_time() - cpu


def throughput(trajectories: int, rounds: int, chunk: int | None = None) -> dict[str, Any]:
    """Epochs from memory and from a store, in turns, in one process."""
    ds = pympnode.simulate("kuramoto", nodes=10, topology="BA", trajectories=trajectories)
    memory = task_of(ds)
    theta = 0.1 * np.random.default_rng(0).normal(size=memory.size).astype(memory.dtype)
    found: dict[str, list[tuple[float, float]]] = {"memory": [], "store": []}
    with tempfile.TemporaryDirectory() as folder:
        path = pympnode.save_dataset(ds, Path(folder) / "data.zarr", chunk=chunk)
        lazy = as_dataset(path, lazy=True)
        chunks = -(-trajectories // lazy.state.encoding["preferred_chunks"]["trajectory"])
        store = task_of(lazy, chunks_in_memory=6)
        for number in range(rounds + 1):
            for name, task in (("memory", memory), ("store", store)):
                seconds = epoch(task, theta, number)
                if number:  # the first compiles, and warms the disk
                    found[name].append(seconds)
    wall, cpu = ({n: [each[i] for each in found[n]] for n in found} for i in range(2))
    return {
        "trajectories": trajectories,
        "megabytes": ds.state.nbytes / 1e6,
        "chunks": chunks,
        "chunks_in_memory": 6,
        "epochs": rounds,
        "wall": {n: min(v) for n, v in wall.items()},
        "cpu": {n: min(v) for n, v in cpu.items()},
        "medians": {n: float(np.median(v)) for n, v in wall.items()},
    }


def tables(rows: list[dict[str, Any]], speed: dict[str, Any]) -> str:
    """Markdown."""
    lines = [
        "Peak memory of a process that trains on Dask arrays whose chunks are made when they are read.",
        "",
        "| data [GB] | chunks | updates | peak, with libraries [MB] | libraries alone [MB] | CPU time [s] |",
        "|---" * 6 + "|",
    ]
    lines += [
        f"| {r['gigabytes']:.3g} | {r['chunks']:,} | {r['updates']} | {r['peak_mb']:.0f} "
        f"| {r['libraries_mb']:.0f} | {r['cpu_seconds']:.0f} |"
        for r in rows
    ]
    lines += [
        "",
        f"The gradients of an epoch of {speed['trajectories']:,} trajectories ({speed['megabytes']:.0f} MB, "
        f"{speed['chunks']} chunks, {speed['chunks_in_memory']} of them in memory), {speed['epochs']} epochs of "
        "each in turns; throughput is that from the store divided by that from memory.",
        "",
        "| | from memory [s] | from a Zarr store [s] | throughput |",
        "|---" * 4 + "|",
    ]
    for name, words in (
        ("wall", "smallest wall time"),
        ("medians", "median wall time"),
        ("cpu", "smallest CPU time, both threads"),
    ):
        one = speed[name]
        ratio = one["memory"] / one["store"]
        lines.append(f"| {words} | {one['memory']:.3g} | {one['store']:.3g} | {ratio:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[1.0, 4.0, 20.0])
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--trajectories", type=int, default=12_000)
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument(
        "--part",
        choices=("both", "memory", "time"),
        default="both",
        help="measure one of them anew, and take the other from the stored results",
    )
    parser.add_argument("--one", type=float, help="of one size, in this process")
    options = parse(parser, gigabytes=[0.05], updates=2, trajectories=120, rounds=1)
    warnings.simplefilter("ignore", pympnode.PympnodeWarning)
    if options.one is not None:
        print(json.dumps(train_virtual(options.one, options.updates)))
        return
    out = options.results / "larger_than_memory"
    stored = out.with_suffix(".json")
    found = json.loads(stored.read_text()) if options.part != "both" else {}
    if options.part != "time":
        measure = train_virtual if options.smoke else in_process
        found["memory"] = []
        for size in options.gigabytes:
            found["memory"].append(measure(size, options.updates))
            print(json.dumps(found["memory"][-1]), flush=True)
    if options.part != "memory":
        found["time"] = throughput(
            options.trajectories, options.rounds, 10 if options.smoke else None
        )
    text = tables(found["memory"], found["time"])
    stored.write_text(json.dumps(found, indent=1) + "\n")
    out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
