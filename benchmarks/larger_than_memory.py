"""Training on data that are larger than memory: peak memory, and the time of an epoch.

    python benchmarks/larger_than_memory.py                   # about half an hour of one core
    python benchmarks/larger_than_memory.py --gigabytes 1 4   # smaller sizes

Memory: Dask arrays whose chunks are made when they are read (waves on a ring, 321 kB a trajectory), of
several sizes in GB; each size trains in a process of its own, whose peak is what the system reports
(ru_maxrss, with all libraries). Every chunk is read once for the scales, and then those that the
updates come to.

Time: the same data and the same updates from memory and from a Zarr store that was just written (a
warm disk), in turns, one thread for the computation; the smallest time of an epoch of each arm.
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

NODES, TIMES, DT, CHUNK = 100, 201, 0.05, 52  # a chunk has 16 MiB
TRAJECTORY_BYTES = NODES * TIMES * 2 * 8
KERNEL: dict[str, Any] = {"progress": False, "device": "cpu", "engine": "torch"}
SHORT = {"messages": "emitted", "coupling": "superposed", "hidden": 16, "matching": 0}


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
    result = pympnode.train(data=ds, updates=updates, batch_size=16, **KERNEL, **SHORT)
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


def epochs(data: Any, count: int, **options: Any) -> list[float]:
    """Seconds of each epoch but the first, validation included."""
    result = pympnode.train(data=data, epochs=count, batch_size=64, **KERNEL, **SHORT, **options)
    return np.diff(result.history["seconds"].values).tolist()


def throughput(trajectories: int, rounds: int, count: int) -> dict[str, Any]:
    """Epochs from memory and from a store, in turns."""
    ds = pympnode.simulate("kuramoto", nodes=10, topology="BA", trajectories=trajectories)
    # Validated by few trajectories, the same in both: they are in the first chunk, which is in the sample.
    label = np.where(np.arange(trajectories) < 32, "validation", "train")
    ds = ds.assign(split=("trajectory", label))
    memory: list[float] = []
    stored: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        path = pympnode.save_dataset(ds, Path(folder) / "data.zarr", chunk=trajectories // 12)
        for _ in range(rounds):
            memory += epochs(ds, count)
            stored += epochs(path, count, chunks_in_memory=6)
    return {
        "trajectories": trajectories,
        "megabytes": ds.state.nbytes / 1e6,
        "chunks": 12,
        "chunks_in_memory": 6,
        "memory_seconds": min(memory),
        "stored_seconds": min(stored),
        "ratio": min(memory) / min(stored),
        "ratio_of_medians": float(np.median(memory) / np.median(stored)),
        "epochs": len(memory),
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
        f"An epoch of {speed['trajectories']:,} trajectories ({speed['megabytes']:.0f} MB, {speed['chunks']} "
        f"chunks, {speed['chunks_in_memory']} of them in memory), the smallest of {speed['epochs']}.",
        "",
        "| from memory [s] | from a Zarr store [s] | throughput, store / memory | ratio of medians |",
        "|---" * 4 + "|",
        f"| {speed['memory_seconds']:.3g} | {speed['stored_seconds']:.3g} | {speed['ratio']:.2f} "
        f"| {speed['ratio_of_medians']:.2f} |",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[1.0, 4.0, 20.0])
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--trajectories", type=int, default=6000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--part",
        choices=("both", "memory", "time"),
        default="both",
        help="measure one of them anew, and take the other from the stored results",
    )
    parser.add_argument("--one", type=float, help="of one size, in this process")
    options = parse(parser, gigabytes=[0.05], updates=2, trajectories=120, rounds=1, epochs=2)
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
        found["time"] = throughput(options.trajectories, options.rounds, options.epochs)
    text = tables(found["memory"], found["time"])
    stored.write_text(json.dumps(found, indent=1) + "\n")
    out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
