"""Hierarchical DeltaGN at the published widths: training steps and forward passes against the peer.

    python benchmarks/nbody_networks.py [--largest 100000] [--repeats 5]

The peer (`published_networks`) is the same function computed the published way, in the same run, in
turns, on the same graph; both are first shown to agree in double precision. float32, one thread, CPU
time, medians; the graph is built beforehand on both sides. Beside them the bare matrix products of
the edge networks, in chunks, measured in the same run. Memory: most of a process of its own above what
it held before the step. Writes benchmarks/results/nbody_networks.{json,md}.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from published_networks import PublishedNetworks

from pympnode.engines.torch.particles.program import ParticleProgram, Target
from pympnode.graphs.box import Box
from pympnode.models.particle_spec import ParticleScales, ParticleSpec

RESULTS = Path(__file__).parent / "results"
SIDES = ("published", "eager", "compiled", "recompute")


class PublishedProgram(ParticleProgram):
    """The program with the networks of the peer."""

    def networks(self, weights, box):
        return PublishedNetworks(self.spec, self.scales, weights, box, self.step_length)


def program(side: str, dtype: str = "float32") -> ParticleProgram:
    spec = ParticleSpec.named("hierarchical_deltagn")
    options = dict(dtype=dtype, device="cpu")
    if side == "published":
        return PublishedProgram(spec, ParticleScales(), 0.01, **options, kernel="eager")
    return ParticleProgram(spec, ParticleScales(), 0.01, **options, kernel=side)


def problem(p: ParticleProgram, particles: int, batch: int):
    rng = np.random.default_rng(particles)
    box = Box((12 * particles) ** 0.5)
    x = rng.uniform(-box.side / 2, box.side / 2, (batch, particles, 2))
    v = rng.uniform(-1, 1, (batch, particles, 2))
    mass = np.ones((batch, particles))
    now = p.batch(x, v, mass, None, box)
    later = p.batch(box.wrap(x + 0.01 * v), v + 0.01, mass, None, box)
    graph = p.graph(now)
    p.graph = lambda batch, **_: graph  # type: ignore[method-assign]
    theta = p.layout.initial(np.random.default_rng(0)).astype(p.dtype)
    return theta, now, Target(later.position, later.velocity), graph


def work(p: ParticleProgram, particles: int, batch: int, training: bool):
    theta, now, target, graph = problem(p, particles, batch)
    if training:
        return lambda: p.loss_and_gradient(theta, now, target)
    weights = p.weights(theta)

    def forward():
        with torch.no_grad():
            return p.next_state(weights, now, graph, training=False)

    return forward


def products(particles: int, batch: int, training: bool) -> float:
    """CPU seconds of the bare products of the second edge layers, chunk by chunk."""
    p = program("eager")
    *_, graph = problem(p, particles, batch)
    spec = p.spec
    up = [len(graph.cell), *(level.size for level in graph.levels[:-1])]
    wide = [*up, len(graph.sender), *(len(level.sender) for level in graph.levels)]
    chunk = 2048
    begin = time.process_time()
    for width, counts in ((spec.node_width, up), (spec.edge_width, wide)):
        weight = torch.randn(width, width)
        a, out, of = torch.randn(chunk, width), torch.empty(chunk, width), torch.zeros(width, width)
        for edges in counts:
            for at in range(0, edges, chunk):
                n = min(chunk, edges - at)
                torch.mm(a[:n], weight.t(), out=out[:n])
                if training:
                    torch.mm(out[:n], weight, out=a[:n])
                    of.addmm_(out[:n].t(), a[:n])
                    out.clamp_(-1, 1), a.clamp_(-1, 1)
    return time.process_time() - begin


def cpu(function) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def agreement() -> float:
    """Largest relative difference of the peer's gradient from ours, in double precision."""
    found = []
    for side in ("published", "eager", "compiled"):
        p = program(side, "float64")
        theta, now, target, _ = problem(p, 100, 3)
        found.append(p.loss_and_gradient(theta, now, target)[1])
    return max(float(np.abs(g - found[0]).max() / np.abs(found[0]).max()) for g in found[1:])


def memory(side: str, particles: int, batch: int, training: bool) -> float:
    """MiB above what the process held before, in a process of its own."""
    call = [
        sys.executable,
        __file__,
        "--memory",
        side,
        str(particles),
        str(batch),
        str(int(training)),
    ]
    return float(subprocess.run(call, capture_output=True, text=True, check=True).stdout)


def one_memory(side: str, particles: str, batch: str, training: str) -> None:
    work(program(side), 100, 1, training == "1")()  # compiles and loads what is needed
    function = work(program(side), int(particles), int(batch), training == "1")
    with open("/proc/self/statm") as stream:
        before = int(stream.read().split()[1]) * resource.getpagesize()
    with open("/proc/self/clear_refs", "w") as stream:
        stream.write("5")  # the highest mark starts anew
    function()
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024
    print((peak - before) / 2**20)


def measure(particles: int, batch: int, training: bool, repeats: int) -> dict[str, float]:
    functions = {side: work(program(side), particles, batch, training) for side in SIDES
                 if training or side != "recompute"}  # fmt: skip
    if particles < 100_000:
        for function in functions.values():
            function()
    times: dict[str, list[float]] = {side: [] for side in functions}
    bare = []
    for _ in range(repeats):
        for side, function in functions.items():
            times[side].append(cpu(function))
        bare.append(products(particles, batch, training))
    row = {f"{side}_ms": 1e3 * statistics.median(t) for side, t in times.items()}
    row["products_ms"] = 1e3 * statistics.median(bare)
    row["ratio"] = statistics.median(a / b for a, b in zip(times["published"], times["compiled"]))
    row["ratio_eager"] = statistics.median(
        a / b for a, b in zip(times["published"], times["eager"])
    )
    return row


def table(rows: list[dict]) -> str:
    lines = [
        "| | published way, ms | plain torch | compiled | recomputing | bare products | ratio |"
        " memory above idle, MiB: published / compiled / recomputing |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        again = f"{r['recompute_ms']:.0f}" if "recompute_ms" in r else ""
        kinds = ("published", "compiled", "recompute")
        held = " / ".join(f"{r[k + '_mib']:.0f}" for k in kinds if k + "_mib" in r)
        lines.append(
            f"| {r['what']} | {r['published_ms']:.0f} | {r['eager_ms']:.0f} | {r['compiled_ms']:.0f}"
            f" | {again} | {r['products_ms']:.0f} | {r['ratio']:.2f}x | {held} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--memory", nargs=4)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.memory:
        one_memory(*given.memory)
        return
    difference = agreement()
    assert difference < 1e-10, difference
    rows = []
    for particles, batch, training in (
        (1000, 4, True), (100, 100, True), (10_000, 1, False), (100_000, 1, False)
    ):  # fmt: skip
        if particles > given.largest:
            continue
        kind = "training step" if training else "forward"
        row = {"what": f"{kind}, N = {particles:,}, batch {batch}"}
        repeats = given.repeats if particles < 100_000 else 1
        row |= measure(particles, batch, training, repeats)
        for side in ("published", "compiled", *(("recompute",) if training else ())):
            row[f"{side}_mib"] = memory(side, particles, batch, training)
        rows.append(row)
        print(table([row]).splitlines()[-1], flush=True)
    RESULTS.mkdir(exist_ok=True)
    facts = {"python": platform.python_version(), "torch": torch.__version__,
             "processor": platform.processor(), "load": os.getloadavg()}  # fmt: skip
    out = {"machine": facts, "gradient_difference_float64": difference, "rows": rows}
    (RESULTS / "nbody_networks.json").write_text(json.dumps(out, indent=1) + "\n")
    head = (
        "# Hierarchical DeltaGN, widths 150 / 100, float32, one thread\n\n"
        f"CPU time, medians of {given.repeats} in turns (one at N = 100,000); ratio: published way over "
        f"compiled. Gradients of all agree to {difference:.0e} in double precision. Load of the machine "
        f"at the end: {os.getloadavg()[0]:.1f}.\n\n"
    )
    (RESULTS / "nbody_networks.md").write_text(head + table(rows))


if __name__ == "__main__":
    main()
