"""CPU time of one training step and of data generation, the Julia engine beside the embedded one.

    python benchmarks/julia.py                            # the discrete adjoint, about a minute
    python benchmarks/julia.py --adjoints interpolating backsolve gauss    # compiles for minutes
    python benchmarks/julia.py --without-julia            # the embedded kernels alone

Both engines run in turns in one run, on the same data and weights, one thread each. A figure is the
median of CPU times: that of this process, and for Julia that of this process and its worker together,
so that the message there and back is counted. "Kuramoto10 step" is loss and gradient of a batch of 128
trajectories of 10 nodes over 50 intervals, float32. Writes benchmarks/results/julia.{json,md}.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from smoke import parse

import pympnode
from pympnode.errors import EngineUnavailable, PympnodeError
from pympnode.networks import schema
from pympnode.networks.engines.base import Batch
from pympnode.networks.engines.julia.engine import JuliaEngine
from pympnode.networks.engines.torch.engine import TorchEngine
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of

PUBLISHED = dict(message=3, hidden=32)
FAST = dict(
    message=6,
    hidden=32,
    messages="emitted",
    coupling="superposed",
    aggregation="sum",
    first_message="zero",
)
CASES = {
    "Kuramoto10 step, published model": ("kuramoto", 10, 128, PUBLISHED),
    "Kuramoto10 step, fast preset": ("kuramoto", 10, 128, FAST),
    "gene64 step, published model": ("gene", 64, 32, PUBLISHED),
}


def prepared(system: str, nodes: int, trajectories: int, **size: int) -> schema.Arrays:
    """A dataset in z units."""
    ds = pympnode.simulate(
        system, nodes=nodes, topology="BA", trajectories=trajectories, engine="torch", **size
    )
    arrays = schema.pack(ds)
    x = arrays.x - arrays.x.mean(axis=(0, 1, 2))
    return schema.Arrays(x / x.std(axis=(0, 1, 2)), arrays.time, arrays.graph, arrays.graph_of)


def medians(
    runs: dict[str, Callable[[], Any]], clocks: dict[str, Callable[[], float]], repeats: int
) -> dict[str, dict[str, float]]:
    """CPU milliseconds of each run, in turns; the first call apart."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats + 1):
        for name, run in runs.items():
            began = clocks[name]()
            run()
            times[name].append(1e3 * (clocks[name]() - began))
    return {
        name: {"first_ms": each[0], "median_ms": statistics.median(each[1:])}
        for name, each in times.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--adjoints", nargs="*", default=[])
    parser.add_argument("--without-julia", action="store_true")
    parser.add_argument("--only", default="", help="cases whose title holds this text")
    arguments = parse(parser, repeats=1, without_julia=True)
    engine, facts, results = None, {}, arguments.results
    if arguments.smoke:
        print("Julia is left out: it starts and compiles for longer than --smoke may take")
    elif not arguments.without_julia:
        try:
            engine = JuliaEngine()
            facts = engine.client.start().facts
        except EngineUnavailable as error:
            # Half a table must not take the place of a whole one that was measured before.
            engine, results = None, None
            print(f"Julia is left out, and no results are kept: {error}")

    def both() -> float:
        return time.process_time() + engine.client.call("cpu_seconds")

    rows: list[dict[str, Any]] = []
    for title, (system, nodes, trajectories, options) in CASES.items():
        if arguments.only not in title:
            continue
        size = dict(steps=5) if arguments.smoke else {}
        trajectories = 4 if arguments.smoke else trajectories
        arrays = prepared(system, nodes, trajectories, **size)
        spec = ModelSpec(channels=arrays.x.shape[-1], **options)
        theta = layout_of(spec).initial(np.random.default_rng(0)).astype("float32")
        batch = Batch(np.arange(trajectories), np.zeros(trajectories, np.int64), arrays.steps)
        runs: dict[str, Callable[[], Any]] = {}
        clocks: dict[str, Callable[[], float]] = {}
        gradients = {}
        for kernel in ("numba", "torch", "eager"):
            try:
                program = TorchEngine().bind(spec, [arrays], device="cpu", kernel=kernel)
            except PympnodeError:
                continue
            runs[f"torch: {kernel}"] = partial(program.loss_and_gradient, theta, batch)
            clocks[f"torch: {kernel}"] = time.process_time
        for adjoint in ("discrete", *arguments.adjoints) if engine else ():
            program = engine.bind(spec, [arrays], adjoint=adjoint, tolerance=1e-4)
            runs[f"julia: {adjoint}"] = partial(program.loss_and_gradient, theta, batch)
            clocks[f"julia: {adjoint}"] = both
        found = medians(runs, clocks, arguments.repeats)
        for name, run in runs.items():
            gradients[name] = run()[1].astype(float)
        peer = gradients[next(iter(gradients))]
        for name, figures in found.items():
            apart = np.linalg.norm(gradients[name] - peer) / np.linalg.norm(peer)
            rows.append({"case": title, "engine": name, **figures, "gradient_apart": float(apart)})
    for system in ("kuramoto", "gene", "lorenz"):
        if arguments.only not in f"simulate {system}":
            continue
        options = dict(trajectories=4 if arguments.smoke else 128, seed=1)
        runs = {"torch": partial(pympnode.simulate, system, engine="torch", **options)}
        clocks = {"torch": time.process_time}
        if engine:
            runs["julia"] = partial(pympnode.simulate, system, engine="julia", **options)
            clocks["julia"] = both
        for name, figures in medians(
            runs, clocks, 1 if arguments.smoke else max(3, arguments.repeats // 5)
        ).items():
            rows.append(
                {
                    "case": f"simulate {system}, {options['trajectories']} trajectories",
                    "engine": name,
                    **figures,
                }
            )
    if engine:
        times = []
        for _ in range(500):
            began = time.perf_counter()
            engine.client.call("ping")
            times.append(1e6 * (time.perf_counter() - began))
        facts["ping_microseconds"] = statistics.median(times)
        engine.client.close()
    write(rows, facts, results)


def write(rows: list[dict[str, Any]], facts: dict[str, Any], results: Path | None) -> None:
    """Table and JSON to the folder ``results``; the table is printed."""
    # Paths of the machine that measured are no results.
    told = {k: v for k, v in facts.items() if k not in ("depot", "bindir", "project")}
    about = {"python": platform.python_version(), "machine": platform.machine(), "julia": told}
    lines = [
        "# Julia beside the embedded engine",
        "",
        "CPU medians in milliseconds, one thread, engines in turns; the ratio is to the first row of a",
        "case. "
        + (
            f"Julia {facts['julia']}; "
            + ", ".join(f"{k} {v}" for k, v in sorted(facts.items()) if k[0].isupper())
            + "."
            if facts
            else "No Julia took part in this run."
        ),
        "",
        "| case | engine | first call | median | ratio | gradient apart |",
        "|---|---|---|---|---|---|",
    ]
    base: dict[str, float] = {}
    for row in rows:
        base.setdefault(row["case"], row["median_ms"])
        apart = f"{row['gradient_apart']:.0e}" if "gradient_apart" in row else ""
        lines.append(
            f"| {row['case']} | {row['engine']} | {row['first_ms']:.0f} | {row['median_ms']:.1f} | "
            f"{row['median_ms'] / base[row['case']]:.2f} | {apart} |"
        )
    if "ping_microseconds" in facts:
        lines += [
            "",
            f"A message to the worker and back: {facts['ping_microseconds']:.0f} µs (wall).",
        ]
    text = "\n".join(lines) + "\n"
    print(text)
    if results is not None:
        content = json.dumps({"about": about, "rows": rows}, indent=2)
        (results / "julia.json").write_text(content + "\n")
        (results / "julia.md").write_text(text)


if __name__ == "__main__":
    main()
