"""Several processes against one: a training step of the kernel over torch.distributed, simulation on Dask.

    python benchmarks/scaling_out.py               # a few minutes on 2 cores

Training: the step of `pympnode.train` (loss and gradient of a batch by the compiled kernel, one
all-reduce, the optimiser's step on rank 0, one broadcast) for batches of 128 and 1,024 trajectories of 51
states of ten Kuramoto oscillators. The arms are processes that stay: one with one thread, two with one
thread each (gloo, as torchrun starts them), one with two threads. They take short turns, while the others
wait for their turn without computing. Dask: `simulate` of 10,000 trajectories by one process, by a cluster
of one worker and by one of two, one thread each, in turns; of Kuramoto oscillators, whose trajectory takes
about as long to compute as to send, and of Lorenz systems, which take longer.

Two ratios are printed. By the clock: the median over turns of the seconds of one process over those of
two. By CPU time: the CPU seconds of one process over those of the busier of two (of the busier worker,
with the client's beside), which is the ratio by the clock on cores that nothing else uses, waiting left
out. The load of the machine is printed with them: with other programs on the cores the clock says little.
Writes results/scaling_out.json and scaling_out.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from smoke import parse

ARMS = {"1 process": (1, 1), "2 processes": (2, 1), "1 process, 2 threads": (1, 2)}
WANTED = 1.8
BANDWIDTH = 100e9 / 8  # bytes a second: 100 Gbit/s
LATENCY = 10e-6  # seconds for a message: TCP in one rack, assumed
RANKS = (2, 4, 8, 16, 32, 64)
# Of a large graph divided over ranks (on paper): nodes, the halo of a part over its nodes.
LARGE_NODES, HALO = 1_000_000, 0.05


# ---- a process of an arm -----------------------------------------------------------------------


def serve(batches: list[int], steps: int) -> None:
    """Make training steps when a line on stdin asks: "BATCH COUNT"; a line of JSON for each."""
    import numpy as np

    import pympnode
    from pympnode.networks.half import NETWORKS
    from pympnode.networks.options import NetworkTraining
    from pympnode.training.optimiser import clip, make_optimiser
    from pympnode.training.processes import SharedOptimiser, SharedTask, current

    group = current()
    seconds, sent = [0.0], [0]

    def counted(call: Any) -> Any:
        def timed(values: Any) -> Any:
            began = time.perf_counter()
            found = call(values)
            seconds[0] += time.perf_counter() - began
            sent[0] += np.asarray(values).nbytes
            return found

        return timed

    if group is not None:
        group.sum, group.of_first = counted(group.sum), counted(group.of_first)
    held = {}
    for size in batches:
        data = pympnode.simulate(
            "kuramoto", topology="BA", nodes=10, trajectories=size + 2, steps=steps, split=None
        )
        data["split"] = ("trajectory", ["train"] * size + ["validation"] * 2)
        options = NetworkTraining(
            messages="emitted", kernel="numba", optimiser="adam", batch_size=size, updates=1,
            matching=0.0, device="cpu",
        )  # fmt: skip
        prepared = NETWORKS.prepare(None, [data], options, None)
        task: Any = prepared.task
        optimiser: Any = make_optimiser(prepared.config.optimiser, task.layout)
        batch = next(task.batches(task.steps, np.random.default_rng(0)))
        assert len(batch.trajectory) == size and batch.horizon == steps
        if group is not None:
            task = SharedTask(task, group, lambda: False)
            optimiser = SharedOptimiser(optimiser, group)
        theta = prepared.theta.copy()
        held[size] = [task, optimiser, batch, theta, optimiser.start(theta)]

    def step(size: int, count: int) -> None:
        task, optimiser, batch, theta, state = held[size]
        _, gradient = task.losses(theta, (batch,))
        norm = np.sqrt(np.square(gradient, dtype=np.float64).sum(axis=1))
        held[size][3] = optimiser.update(
            theta, clip(gradient, norm, 1.0), np.full(1, 1e-4), state, count
        )

    print(json.dumps({"weights": int(held[batches[0]][3].size)}), flush=True)
    made = 0
    for line in sys.stdin:
        size, count = map(int, line.split())
        if group is not None:
            group.sum(np.zeros(1))  # all start together
        seconds[0], sent[0] = 0.0, 0
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            made += 1
            step(size, made)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        words = {"wall": wall, "cpu": cpu, "sent": seconds[0], "bytes": sent[0]}
        words["theta"] = float(np.abs(held[size][3]).sum())
        print(
            json.dumps({n: v if n == "theta" else v / count for n, v in words.items()}), flush=True
        )


class Arm:
    """The processes of an arm, which wait for turns."""

    def __init__(self, size: int, threads: int, batches: list[int], steps: int) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        root = str(Path(__file__).resolve().parent.parent)
        self.processes = []
        for rank in range(size):
            path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
            environment = {**os.environ, "PYTHONPATH": path}
            for name in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
                environment[f"{name}_NUM_THREADS"] = str(threads)
            if size > 1:
                environment.update(
                    RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1",
                    MASTER_PORT=str(port), LOCAL_RANK=str(rank),
                )  # fmt: skip
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, __file__, "--serve", ",".join(map(str, batches)), str(steps)],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
        self.weights = self.answers()[0]["weights"]

    def answers(self) -> list[dict[str, Any]]:
        """A line of each process."""
        found = []
        for process in self.processes:
            assert process.stdout
            line = process.stdout.readline()
            if not line:
                raise SystemExit("a process of an arm ended")
            found.append(json.loads(line))
        return found

    def turn(self, batch: int, count: int) -> list[dict[str, Any]]:
        """``count`` steps in all processes."""
        for process in self.processes:
            assert process.stdin
            process.stdin.write(f"{batch} {count}\n")
            process.stdin.flush()
        return self.answers()

    def close(self) -> None:
        for process in self.processes:
            process.communicate()


# ---- measurements ------------------------------------------------------------------------------


def training(batches: list[int], steps: int, turns: int, seconds: float) -> list[dict[str, Any]]:
    """A row for each batch and arm. A turn of an arm takes about ``seconds``."""
    arms = {name: Arm(*how, batches, steps) for name, how in ARMS.items()}
    rows = []
    try:
        for batch in batches:
            last = {name: arm.turn(batch, 3) for name, arm in arms.items()}  # compiled, warm
            each = max(1e-4, last["1 process"][0]["cpu"])
            count = max(1, round(seconds / each))
            found: dict[str, list[list[dict[str, Any]]]] = {name: [] for name in arms}
            for number in range(turns):
                names = list(arms) if number % 2 == 0 else list(arms)[::-1]
                for name in names:
                    found[name].append(arms[name].turn(batch, count))
            for name, taken in found.items():
                wall = [max(one["wall"] for one in turn) for turn in taken]
                cpu = [max(one["cpu"] for one in turn) for turn in taken]
                one = found["1 process"]
                rows.append(
                    {
                        "batch": batch,
                        "arm": name,
                        "steps_in_a_turn": count,
                        "wall_ms": 1e3 * statistics.median(wall),
                        "cpu_ms": 1e3 * statistics.median(cpu),
                        "first_cpu_ms": 1e3 * statistics.median(turn[0]["cpu"] for turn in taken),
                        "wall_ratio": statistics.median(
                            a[0]["wall"] / b for a, b in zip(one, wall, strict=True)
                        ),
                        "best_wall_ratio": min(a[0]["wall"] for a in one) / min(wall),
                        "cpu_ratio": statistics.median(
                            a[0]["cpu"] / b for a, b in zip(one, cpu, strict=True)
                        ),
                        "bytes": taken[0][0]["bytes"],
                        "weights": arms[name].weights,
                    }
                )
            ends = {name: taken[-1][0]["theta"] for name, taken in found.items()}
            first = ends["1 process"]
            assert all(abs(value / first - 1) < 1e-3 for value in ends.values()), ends
    finally:
        for arm in arms.values():
            arm.close()
    return rows


def cpu_time() -> float:
    """CPU seconds of the process that calls."""
    return time.process_time()


def simulation(trajectories: int, turns: int) -> list[dict[str, Any]]:
    """A row for one process, one worker and two workers of Dask."""
    from distributed import Client, LocalCluster

    clusters = {
        f"{n} worker{'s' * (n > 1)}": LocalCluster(
            n_workers=n, threads_per_worker=1, dashboard_address=None
        )
        for n in (1, 2)
    }
    clients: dict[str, Any] = {"1 process": None}
    clients |= {name: Client(cluster) for name, cluster in clusters.items()}
    try:
        return [
            row
            for system, topology in (("kuramoto", "BA"), ("lorenz", "complete"))
            for row in simulated(
                clients, system, dict(topology=topology, nodes=10, trajectories=trajectories), turns
            )
        ]
    finally:
        for client in clients.values():
            if client is not None:
                client.close()
        for cluster in clusters.values():
            cluster.close()


def simulated(
    clients: dict[str, Any], system: str, keywords: dict[str, Any], turns: int
) -> list[dict[str, Any]]:
    """The rows of a system."""
    import pympnode

    taken: dict[str, list[dict[str, float]]] = {name: [] for name in clients}
    sums = {}
    for number in range(turns + 1):
        names = list(clients) if number % 2 else list(clients)[::-1]
        for name in names:
            client = clients[name]
            before = client.run(cpu_time) if client else {}
            own, wall = time.process_time(), time.perf_counter()
            ds = pympnode.simulate(system, **keywords, client=client)
            wall, own = time.perf_counter() - wall, time.process_time() - own
            after = client.run(cpu_time) if client else {}
            busy = [after[worker] - before[worker] for worker in after]
            sums[name] = float(ds.state.sum())
            if number:  # the first turn loads machine code
                taken[name].append({"wall": wall, "cpu": max(busy, default=own), "client": own})
    assert len(set(sums.values())) == 1, sums
    one, worker = taken["1 process"], taken["1 worker"]
    return [
        {
            "system": system,
            "trajectories": keywords["trajectories"],
            "arm": name,
            "wall_s": statistics.median(t["wall"] for t in turns_of),
            "cpu_s": statistics.median(t["cpu"] for t in turns_of),
            "client_cpu_s": 0.0 if name == "1 process" else statistics.median(t["client"] for t in turns_of),
            "wall_ratio": statistics.median(
                a["wall"] / b["wall"] for a, b in zip(one, turns_of, strict=True)
            ),
            "cpu_ratio": statistics.median(
                a["cpu"] / b["cpu"] for a, b in zip(one, turns_of, strict=True)
            ),
            "worker_ratio": statistics.median(
                a["cpu"] / b["cpu"] for a, b in zip(worker, turns_of, strict=True)
            ),
        }
        for name, turns_of in taken.items()
    ]  # fmt: skip


# ---- the model on paper ------------------------------------------------------------------------


def communication(ranks: int, reduced: int, broadcast: int) -> float:
    """Seconds of a ring all-reduce of ``reduced`` bytes and a binomial broadcast on the network."""
    ring = 2 * (ranks - 1) / ranks * reduced / BANDWIDTH + 2 * (ranks - 1) * LATENCY
    return ring + math.ceil(math.log2(ranks)) * (LATENCY + broadcast / BANDWIDTH)


def on_paper(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ratios for more ranks: the part of a step that is divided, by the CPU times of one and two."""
    found = []
    for batch in dict.fromkeys(row["batch"] for row in rows):
        by = {row["arm"]: row for row in rows if row["batch"] == batch}
        one, two = by["1 process"]["cpu_ms"] / 1e3, by["2 processes"]["cpu_ms"] / 1e3
        weights = by["1 process"]["weights"]
        # one = fixed + divided, two = fixed + divided / 2
        divided = min(one, max(0.0, 2 * (one - two)))
        fixed = one - divided
        for ranks in RANKS:
            sent = communication(ranks, reduced_bytes(weights), 4 * weights)
            strong = one / (fixed + divided / ranks + sent)
            weak = ranks * one / (fixed + divided + sent)
            found.append(
                {
                    "batch": batch,
                    "ranks": ranks,
                    "fixed_ms": 1e3 * fixed,
                    "divided_ms": 1e3 * divided,
                    "communication_ms": 1e3 * sent,
                    "same_batch": strong,
                    "batch_of_each": weak,
                }
            )
    return found


def reduced_bytes(weights: int) -> int:
    """Bytes of the vector that is summed: gradient, loss and whether a process was asked to stop."""
    return 8 * (weights + 2)


def halo_bytes(ranks: int, message_size: int, itemsize: int, stages: int) -> float:
    """Bytes that a rank receives in an interval of a trajectory of a divided graph: its halo, by what a
    node sends, in each stage, forward and back."""
    return LARGE_NODES / ranks * HALO * message_size * itemsize * stages * 2


def table(rows: list[dict[str, Any]], columns: dict[str, str]) -> str:
    """Markdown; ``columns``: head -> format of the row."""
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    lines += [
        "| " + " | ".join(form.format(**row) for form in columns.values()) + " |" for row in rows
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=11)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a turn of an arm")
    parser.add_argument("--batches", default="128,1024")
    parser.add_argument("--steps", type=int, default=50, help="intervals in a window")
    parser.add_argument("--trajectories", type=int, default=10_000, help="simulated on Dask")
    given = parse(parser, turns=1, seconds=0.0, batches="4,8", steps=5, trajectories=70)
    load = [os.getloadavg()[0]]
    batches = [int(text) for text in given.batches.split(",")]
    trained = training(batches, given.steps, given.turns, given.seconds)
    load.append(os.getloadavg()[0])
    made = simulation(given.trajectories, max(1, given.turns // 3))
    load.append(os.getloadavg()[0])
    paper = on_paper(trained)
    two = [row for row in (*trained, *made) if row["arm"] in ("2 processes", "2 workers")]
    short = [
        f"{row.get('system', row.get('batch'))}, {row['arm']}: {row['cpu_ratio']:.2f}"
        for row in two
        if row["cpu_ratio"] < WANTED
    ]
    weights = trained[0]["weights"]
    measured = next(row["bytes"] for row in trained if row["arm"] == "2 processes")
    sizes = dict(message_size=2, itemsize=4, stages=4)
    text = (
        "# Several processes against one\n\n"
        f"{os.cpu_count()} cores; load of the machine (1 minute) at the start, after training, at the end: "
        + ", ".join(f"{one:.1f}" for one in load)
        + f". Medians of {given.turns} turns of about {given.seconds:g} s of each arm, in turns. Python "
        f"{platform.python_version()}. `python benchmarks/scaling_out.py`\n\n"
        "With a load above the number of cores the clock measures who else computes; the ratio by CPU time "
        "(one process over the busier of two) is that of cores which nothing else uses, waiting left out. "
        f"Wanted: {WANTED}, for two processes and two workers"
        + (f"; by CPU time not reached by {'; '.join(short)}.\n\n" if short else ", reached by CPU time.\n\n")
        + "## A training step (Kuramoto, 10 nodes, BA, "
        f"{given.steps} intervals, compiled kernel, Adam, float32)\n\n"
        + table(
            trained,
            {
                "trajectories": "{batch}", "arm": "{arm}", "ms by the clock": "{wall_ms:.2f}",
                "CPU ms, busier process": "{cpu_ms:.2f}", "ratio by the clock": "{wall_ratio:.2f}",
                "of the fastest turns": "{best_wall_ratio:.2f}", "ratio by CPU time": "{cpu_ratio:.2f}",
            },
        )
        + "\nA process with two threads counts the CPU time of both, so that its ratio by CPU time is "
        "not one of speed.\n\n"
        "## Bytes of a step, and more ranks on paper\n\n"
        f"Measured in a process of two: {measured:,.0f} bytes in calls, of {weights:,} weights: "
        f"all-reduce 8 (weights + 2) = {reduced_bytes(weights):,}, broadcast of float32 weights "
        f"4 weights = {4 * weights:,}. Halo of a step that divides trajectories: 0.\n\n"
        "Model: t(p) = fixed + divided / p + c(p), with fixed + divided = t(1) and fixed + divided / 2 = "
        "t(2) by CPU time; c(p) = 2 (p - 1) / p R / B + 2 (p - 1) L (ring all-reduce of R bytes) + "
        "ceil(log2 p) (L + W / B) (broadcast of W bytes); "
        f"B = 12.5e9 bytes/s (100 Gbit/s), L = {1e6 * LATENCY:g} µs (assumed). \"Same batch\" is t(1) / t(p); "
        "\"a batch each\" is p t(1) / (t(1) + c(p)), every rank with the whole batch of one.\n\n"
        + table(
            paper,
            {
                "trajectories": "{batch}", "ranks": "{ranks}", "fixed ms": "{fixed_ms:.3f}",
                "divided ms": "{divided_ms:.2f}", "c(p) ms": "{communication_ms:.3f}",
                "same batch": "{same_batch:.1f}", "a batch each": "{batch_of_each:.1f}",
            },
        )
        + f"\nA graph of {LARGE_NODES:,} nodes divided over ranks, halo {100 * HALO:g} % of a part, messages "
        "of 2 float32, 4 stages of rk4, forward and back: halo bytes of a rank = nodes / p x halo x 2 x 4 x "
        "4 x 2 for an interval of a trajectory.\n\n"
        + table(
            [
                {"ranks": p, "bytes": halo_bytes(p, **sizes),
                 "ms": 1e3 * (halo_bytes(p, **sizes) / BANDWIDTH + 8 * LATENCY)}
                for p in RANKS
            ],
            {"ranks": "{ranks}", "halo bytes": "{bytes:,.0f}", "ms, bytes / B + 8 L": "{ms:.3f}"},
        )
        + f"\n## Simulation on Dask ({given.trajectories:,} trajectories, 10 nodes)\n\n"
        + table(
            made,
            {
                "system": "{system}", "arm": "{arm}", "s by the clock": "{wall_s:.2f}",
                "CPU s, busier worker": "{cpu_s:.2f}", "CPU s of the client": "{client_cpu_s:.2f}",
                "ratio by the clock": "{wall_ratio:.2f}", "ratio by CPU time": "{cpu_ratio:.2f}",
                "to one worker": "{worker_ratio:.2f}",
            },
        )
    )  # fmt: skip
    (given.results / "scaling_out.md").write_text(text)
    stored = {"load": load, "training": trained, "paper": paper, "simulation": made}
    (given.results / "scaling_out.json").write_text(json.dumps(stored, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve([int(text) for text in sys.argv[2].split(",")], int(sys.argv[3]))
    else:
        main()
