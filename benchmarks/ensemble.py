"""Five members in one run against five times one run, on the cores there are.

    python benchmarks/ensemble.py

Wall time of `train(members=5)` and of a single run, interleaved, medians of three; the issue of it is
the ratio, which on two cores should be at most 5 / 2. Writes benchmarks/results/ensemble.{json,md}.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from typing import Any

import numpy as np
from smoke import parse

import pympnode


def seconds(data: Any, members: int, epochs: int, threads: int) -> tuple[float, float]:
    """Wall and CPU seconds of a run, compiling not counted."""
    import torch

    torch.set_num_threads(threads)
    wall, cpu = time.perf_counter(), time.process_time()
    pympnode.train(data=data, epochs=epochs, members=members, progress=False)
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--turns", type=int, default=3)
    options = parse(parser, epochs=1, turns=1)
    size = dict(trajectories=16, steps=5) if options.smoke else {}
    data = pympnode.simulate("kuramoto", topology="BA", **size)
    cores = os.cpu_count() or 1
    seconds(data, 1, 1, cores)
    seconds(data, 5, 1, cores)
    kinds = {
        "one member, one thread": (1, 1),
        f"one member, {cores} threads": (1, cores),
        f"five members, {cores} threads": (5, cores),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in kinds}
    for _ in range(options.turns):
        for name, (members, threads) in kinds.items():
            times[name].append(seconds(data, members, options.epochs, threads))
    wall = {name: statistics.median(w for w, _ in found) for name, found in times.items()}
    cpu = {name: statistics.median(c for _, c in found) for name, found in times.items()}
    one = next(iter(kinds))
    lines = [
        f"Kuramoto10 BA, fast preset, {options.epochs} epochs, {cores} cores, median of {options.turns}.",
        "",
        "| run | wall s | CPU s | wall against one member on one thread |",
        "|---|---|---|---|",
    ]
    for name in kinds:
        ratio = float(np.median([a[0] / b[0] for a, b in zip(times[name], times[one])]))
        lines.append(f"| {name} | {wall[name]:.1f} | {cpu[name]:.1f} | {ratio:.2f} |")
    text = "\n".join(lines) + "\n"
    (options.results / "ensemble.json").write_text(json.dumps({"wall_cpu": times}, indent=1) + "\n")
    (options.results / "ensemble.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
