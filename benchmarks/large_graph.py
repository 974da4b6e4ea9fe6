"""One graph of a million nodes over two processes, each with less memory than one process needs.

    python benchmarks/large_graph.py                       # a million nodes, ten million directed edges
    python benchmarks/large_graph.py --nodes 100000

Heat on a geometric graph (points in the unit square, joined up to a distance), from a Zarr store that each
process reads its part of. The same `train(partition=)` and `Model.rollout(partition=)` run in one process, and in
two under a limit of address space (RLIMIT_AS) of three quarters of what one takes beyond its libraries: one
process has to fail under it. Differences are those of two processes from one. The halos of other
divisions and of a Barabási-Albert graph are counted beside it. Writes benchmarks/results/large_graph.{json,md}.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import re
import resource
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from smoke import parse

import pympnode
import pympnode.callbacks
from pympnode.errors import EngineUnavailable
from pympnode.networks.partition import blocks_of, halo_share, partition_nodes

DT, STEPS, RATE = 0.1, 1, 0.05
TRAINING: dict[str, Any] = dict(
    messages="emitted", hidden=16, depth=2, updates=2, optimiser="adam", dtype="float64", batch_size=1,
    split=0.5, device="cpu", progress=False, solver="euler",
)  # fmt: skip


def geometric(nodes: int, degree: float, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Senders and receivers of points in the unit square, numbered from left to right."""
    from scipy.spatial import cKDTree

    points = rng.random((nodes, 2))
    points = points[np.argsort(points[:, 0])]
    pairs = cKDTree(points).query_pairs(np.sqrt(degree / (np.pi * nodes)), output_type="ndarray")
    return np.concatenate([pairs[:, 0], pairs[:, 1]]), np.concatenate([pairs[:, 1], pairs[:, 0]])


def barabasi_albert(nodes: int, each: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Each new node joins ``each`` others, by their degrees: a random end of a random earlier edge."""
    new = np.repeat(np.arange(1, nodes), each)
    draw = (rng.random(len(new)) * 2 * each * (new - 1)).astype(np.int64)
    old = np.zeros(len(new), np.int64)
    for node in range(1, nodes):  # ends of edges that stand before this node's
        here = slice((node - 1) * each, node * each)
        at = draw[here]
        old[here] = np.where(at % 2, old[at // 2], new[at // 2]) if node > 1 else 0
    return np.concatenate([new, old]), np.concatenate([old, new])


def write_data(path: Path, nodes: int, degree: float) -> tuple[NDArray, NDArray]:
    """Two trajectories of heat on the graph, in a Zarr store in chunks of nodes and of edges."""
    from scipy.sparse import coo_array

    rng = np.random.default_rng(0)
    sender, receiver = geometric(nodes, degree, rng)
    order = np.lexsort((sender, receiver))
    sender, receiver = sender[order], receiver[order]
    neighbours = coo_array((np.ones(len(sender)), (receiver, sender)), (nodes, nodes)).tocsr()
    count = np.bincount(receiver, minlength=nodes)[:, None]
    states = [rng.normal(size=(nodes, 2))]
    for _ in range(STEPS):
        state = states[-1]
        for _ in range(4):
            state = state + RATE * DT / 4 * (neighbours @ state - count * state)
        states.append(state)
    ds = xr.Dataset(
        {
            "state": (
                ("trajectory", "time", "node", "feature"),
                np.stack(states).transpose(2, 0, 1)[..., None],
            ),
            "sender": ("edge", sender),
            "receiver": ("edge", receiver),
        },
        coords={"time": DT * np.arange(STEPS + 1), "feature": ["heat"]},
    )
    chunks = {"node": max(1, nodes // 16), "edge": max(1, len(sender) // 16)}
    encoding = {
        n: {"chunks": tuple(chunks.get(str(d), v.sizes[d]) for d in v.dims)}
        for n, v in ds.data_vars.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # text has no type in the specification of Zarr 3 yet
        ds.to_zarr(path, encoding=encoding, consolidated=False, zarr_format=3)
    return sender, receiver


def peak() -> int:
    """The largest address space of this process so far, bytes."""
    text = Path("/proc/self/status").read_text()
    return 1024 * next(int(line.split()[1]) for line in text.splitlines() if "VmPeak" in line)


class Clock(pympnode.callbacks.Callback):
    """The CPU seconds from the end of an epoch, its validation included, to the next update.

    The first process alone calls it, as all callbacks.
    """

    def __init__(self) -> None:
        self.began, self.updates = time.process_time(), []
        self.first = self.began

    def start(self, run: Any) -> None:
        self.first = self.began = time.process_time()

    def batch(self, run: Any, update: int, loss: float) -> None:
        self.updates.append(time.process_time() - self.began)

    def epoch(self, run: Any, metrics: dict[str, float]) -> None:
        self.began = time.process_time()


def worker(options: argparse.Namespace) -> None:
    """One process: train, roll out, write what it found."""
    rank = int(os.environ.get("RANK", 0))
    import torch
    import torch.distributed  # noqa: F401

    libraries = peak()
    if options.limit:
        resource.setrlimit(resource.RLIMIT_AS, (options.limit, options.limit))
    began = time.process_time()
    clock = Clock()
    result = pympnode.train(data=options.data, partition="blocks", callbacks=[clock], **TRAINING)
    trained = time.process_time()
    out = result.model.rollout(options.data, partition="blocks", steps=options.steps)
    done = time.process_time()
    np.savez(
        options.out / f"{rank}.npz", theta=result.model.theta, loss=result.history.loss.values,
        state=out.state.values[:, -1], number=out.node_number.values, peak=peak(), libraries=libraries,
        train_seconds=trained - began, setup_seconds=clock.first - began,
        update_seconds=min(clock.updates, default=0.0), rollout_seconds=done - trained,
        said=result.history.attrs["partition"],
    )  # fmt: skip


def run(processes: int, options: argparse.Namespace, data: Path, limit: int) -> Any:
    """What each process found, or the end of the first one's output where one failed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, __file__, "--worker", "--data", str(data), "--out", folder,
            "--limit", str(limit), "--steps", str(options.steps),
        ]  # fmt: skip
        started = []
        for rank in range(processes):
            several = {
                "RANK": str(rank),
                "WORLD_SIZE": str(processes),
                "MASTER_ADDR": "127.0.0.1",
                "MASTER_PORT": str(port),
            }
            # Threads of torch.distributed would reserve address space for heaps of their own.
            env = {**os.environ, "MALLOC_ARENA_MAX": "1", **(several if processes > 1 else {})}
            started.append(
                subprocess.Popen(
                    command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
                )
            )
        said = [process.communicate()[0] for process in started]
        if any(process.returncode for process in started):
            raised = [line for line in said[0].splitlines() if re.match(r"[\w.]+: \S", line)]
            return raised[-1].rpartition("errors.")[2] if raised else "killed"
        return [dict(np.load(Path(folder) / f"{rank}.npz")) for rank in range(processes)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", type=int, default=1_000_000)
    parser.add_argument("--degree", type=float, default=10.0)
    parser.add_argument("--steps", type=int, default=2, help="of the rollout")
    parser.add_argument("--ba-nodes", type=int, default=100_000)
    for name, kind in (("--data", str), ("--out", Path), ("--limit", int)):
        parser.add_argument(name, type=kind, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    if "--worker" in sys.argv:
        worker(parser.parse_args())
        return
    options = parse(parser, nodes=3000, ba_nodes=500)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "heat.zarr"
        sender, receiver = write_data(data, options.nodes, options.degree)
        print(f"{options.nodes:,} nodes, {len(sender):,} directed edges", flush=True)
        one = run(1, options, data, 0)
        assert not isinstance(one, str), one
        peak_of_one, libraries = (int(one[0][name]) for name in ("peak", "libraries"))
        limit = libraries + 3 * (peak_of_one - libraries) // 4
        print(f"one process: {peak_of_one / 1e9:.2f} GB, limit {limit / 1e9:.2f} GB", flush=True)
        # Small graphs take little beside what torch.distributed itself takes.
        two = run(2, options, data, 0 if options.smoke else limit)
        assert not isinstance(two, str), two
        failed = "" if options.smoke else run(1, options, data, limit)
        assert options.smoke or isinstance(failed, str), "one process needs no more than the limit"
        state = one[0]["state"]
        for found in (one, two):
            off = max(float(np.abs(state[:, f["number"]] - f["state"]).max()) for f in found)
            rows.append(
                {
                    "processes": len(found),
                    "limit": limit if found is two else None,
                    "peak": max(int(f["peak"]) for f in found),
                    **{
                        name: max(float(f[name]) for f in found)
                        for name in (
                            "train_seconds",
                            "setup_seconds",
                            "update_seconds",
                            "rollout_seconds",
                        )
                    },
                    "theta_difference": float(np.abs(found[0]["theta"] - one[0]["theta"]).max()),
                    "state_difference": off,
                }
            )
            print(rows[-1], flush=True)
        said = str(two[0]["said"])
    halos = divisions(sender, receiver, options)
    write(options, said, rows, limit, failed, halos, libraries)


def divisions(
    sender: NDArray, receiver: NDArray, options: argparse.Namespace
) -> list[dict[str, Any]]:
    """The largest halo of each of two parts, as a share of its nodes."""
    rng = np.random.default_rng(1)
    shuffled = rng.permutation(options.nodes)
    hubs = barabasi_albert(options.ba_nodes, 5, rng)
    found = []
    for graph, ends, nodes in (
        ("geometric, numbered from left to right", (sender, receiver), options.nodes),
        ("geometric, numbered at random", (shuffled[sender], shuffled[receiver]), options.nodes),
        ("Barabási-Albert", hubs, options.ba_nodes),
    ):
        row: dict[str, Any] = {"graph": graph, "nodes": nodes, "edges": len(ends[0])}
        row["blocks"] = halo_share(blocks_of(nodes, 2), *ends, 2)
        began = time.process_time()
        row["metis"] = None
        if graph.endswith("right"):  # METIS does not look at the numbers: the next row
            found.append(row)
            continue
        try:
            row["metis"] = halo_share(partition_nodes((*ends, nodes), 2, "metis"), *ends, 2)
            row["metis_seconds"] = time.process_time() - began
        except EngineUnavailable as error:
            print(error.message)
        found.append(row)
        print(row, flush=True)
    return found


def write(
    options: argparse.Namespace, said: str, rows: list[dict[str, Any]], limit: int, failed: str,
    halos: list[dict[str, Any]], libraries: int,
) -> None:  # fmt: skip
    """The tables, as JSON and as Markdown."""

    def size(count: int | None) -> str:
        return "none" if count is None else f"{count / 1e9:.2f}"

    lines = [
        f"{said}; {TRAINING['updates']} updates of emitted messages in {TRAINING['dtype']}, one "
        f"trajectory a batch, and a rollout of 2 trajectories over {options.steps} steps. Address space is that of "
        f"the process that takes most; its libraries are {size(libraries)} GB of it. CPU times of one thread "
        "include reading.",
        "",
        "| processes | limit [GB] | address space [GB] | train [s] | of it before the first update [s] | "
        "one update [s] | rollout [s] | weights differ by | states differ by |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['processes']} | {size(row['limit'])} | {size(row['peak'])} | "
            f"{row['train_seconds']:.0f} | {row['setup_seconds']:.0f} | {row['update_seconds']:.2f} | "
            f"{row['rollout_seconds']:.0f} | {row['theta_difference']:.1e} | "
            f"{row['state_difference']:.1e} |"
        )
    if failed:
        lines.append(f"| 1 | {size(limit)} | fails: {failed} | | | | | | |")
    lines += [
        "",
        "| graph | nodes | edges | halo of two blocks | halo of two parts by METIS |",
        "|---|---|---|---|---|",
    ]
    for row in halos:
        metis = "-" if row["metis"] is None else f"{100 * row['metis']:.2g} %"
        lines.append(
            f"| {row['graph']} | {row['nodes']:,} | {row['edges']:,} | {100 * row['blocks']:.3g} % | "
            f"{metis} |"
        )
    text = "\n".join(lines) + "\n"
    print(text)
    (options.results / "large_graph.md").write_text(text, encoding="utf-8")
    record = {
        "rows": rows,
        "failed": failed,
        "halos": halos,
        "limit": limit,
        "libraries": libraries,
    }
    (options.results / "large_graph.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
