"""Seconds from data to the first update of a training, in a first process and in a second one.

    python benchmarks/first_seconds.py

Each run is a process of its own: the first one with an empty folder for compiled code
(``NUMBA_CACHE_DIR``), the second with what the first one left there. The clock starts when the package
is imported and the dataset is in memory, and stops after the first update; with the kernel "torch",
which compiles nothing, beside it: the rest is the preparation of data, model and optimiser. Seconds of
CPU and of the clock, medians of three.
Writes benchmarks/results/first_seconds.{json,md}.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from smoke import parse

CHILD = """
import json, sys, time
import numpy as np
import pympnode
from pympnode.training.trainer import Trainer

messages, kernel, nodes = sys.argv[1], sys.argv[2], int(sys.argv[3])
rng = np.random.default_rng(0)
times = 0.05 * np.arange(21)
phase, rate = rng.uniform(0, 6, (2, 32, 1, nodes, 2))
x = np.sin(phase + rate * times[:, None, None])
edges = [(i, (i + 1) % nodes) for i in range(nodes)]
data = pympnode.from_arrays(x, dt=0.05, edges=edges, split=["train"] * 24 + ["validation"] * 8)
start = time.process_time(), time.perf_counter()
first = []


def report(trainer, state, count, values):
    if not first:
        first.extend((time.process_time() - start[0], time.perf_counter() - start[1]))


Trainer._tell = report  # called after each update
result = pympnode.train(data=data, messages=messages, kernel=kernel, updates=2, progress=False)
assert result.kernel == kernel
print(json.dumps(first))
"""


def seconds(messages: str, kernel: str, nodes: int, folder: Path) -> tuple[float, float]:
    """CPU and clock seconds to the first update of a process that keeps compiled code in ``folder``."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, messages, kernel, str(nodes)],
        env={**os.environ, "NUMBA_CACHE_DIR": str(folder)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    cpu, clock = json.loads(done.stdout.splitlines()[-1])
    return cpu, clock


def measure(repeats: int, nodes: int, kinds: tuple[str, ...]) -> list[dict[str, Any]]:
    """Medians by kind of messages, kernel and process."""
    found: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for _ in range(repeats):
        for messages in kinds:
            with tempfile.TemporaryDirectory(prefix="benchmark-") as folder:
                for kernel, process in (("numba", "first"), ("numba", "second"), ("torch", "any")):
                    spent = seconds(messages, kernel, nodes, Path(folder))
                    found.setdefault((messages, kernel, process), []).append(spent)
    rows = []
    for (messages, kernel, process), each in found.items():
        cpu, clock = (median(values) for values in zip(*each))
        rows.append(dict(messages=messages, kernel=kernel, process=process, cpu=cpu, clock=clock))
    for row in rows:
        base = next(r for r in rows if r["messages"] == row["messages"] and r["kernel"] == "torch")
        row["beyond"] = row["cpu"] - base["cpu"]
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "| messages | kernel | process | CPU s to the first update | clock s | CPU s beyond torch |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['messages']} | {row['kernel']} | {row['process']} | {row['cpu']:.2f} | "
            f"{row['clock']:.2f} | {row['beyond']:+.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--nodes", type=int, default=10)
    parser.add_argument("--messages", nargs="+", default=["emitted", "pairwise"])
    options = parse(parser, repeats=1, nodes=4, messages=["emitted"])
    rows = measure(options.repeats, options.nodes, tuple(options.messages))
    print(table(rows))
    (options.results / "first_seconds.json").write_text(json.dumps(rows, indent=1) + "\n")
    (options.results / "first_seconds.md").write_text(table(rows) + "\n")


if __name__ == "__main__":
    main()
