"""Hierarchical DeltaGN at the published widths: training steps and forward passes against the peer.

    python benchmarks/nbody_networks.py [--largest 100000] [--repeats 5] [--updates 2000] [--seeds 4]

The peer (`published_networks`) is the same function computed the published way, in the same run, in
turns, on the same graph; both are first shown to agree in double precision. float32, one thread, CPU
time, medians; the graph is built beforehand on both sides. Beside them the bare matrix products of
the edge networks, in chunks, measured in the same run. Memory: most of a process of its own above what
it held before the step. bf16: the compiled sum with factors of products rounded to bfloat16; what that
does to training is measured on 20 particles, several seeds. Writes
benchmarks/results/nbody_networks.{json,md}.
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
from smoke import parse

import pympnode
from pympnode.particles.engine.products import outer_product, product
from pympnode.particles.engine.program import ParticleProgram, Target
from pympnode.particles.graphs.box import Box
from pympnode.particles.spec import ParticleScales, ParticleSpec

SIDES = {
    "published": "published way",
    "eager": "plain torch",
    "torch": "chunked, torch alone",
    "numba": "compiled",
    "recompute": "compiled, recomputing",
    "bf16": "compiled, bf16",
}


class PublishedProgram(ParticleProgram):
    """The program with the networks of the peer."""

    def networks(self, weights, box):
        return PublishedNetworks(self.spec, self.scales, weights, box, self.step_length)


def program(side: str, dtype: str = "float32") -> ParticleProgram:
    spec = ParticleSpec.named("hierarchical_deltagn")
    options: dict = dict(dtype=dtype, device="cpu")
    if side == "bf16":
        options |= dict(kernel="numba", precision="bf16")
    elif side == "recompute":
        options |= dict(kernel="numba", recompute=True)
    else:
        options["kernel"] = "eager" if side == "published" else side
    if side == "published":
        return PublishedProgram(spec, ParticleScales(), 0.01, **options)
    return ParticleProgram(spec, ParticleScales(), 0.01, **options)


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


def products(particles: int, batch: int, training: bool, dtype=torch.float32) -> float:
    """CPU seconds of the bare products of the second edge layers, chunk by chunk."""
    p = program("eager")
    *_, graph = problem(p, particles, batch)
    spec = p.spec
    up = [len(graph.cell), *(level.size for level in graph.levels[:-1])]
    wide = [*up, len(graph.sender), *(len(level.sender) for level in graph.levels)]
    chunk = 2048
    begin = time.process_time()
    for width, counts in ((spec.node_width, up), (spec.edge_width, wide)):
        weight = torch.randn(width, width).to(dtype)
        a = torch.randn(chunk, width).to(dtype)
        for edges in counts:
            for at in range(0, edges, chunk):
                rows = a[: min(chunk, edges - at)]
                out = product(rows, weight)
                if training:
                    product(out, weight.t())
                    outer_product(out, rows)
    return time.process_time() - begin


def cpu(function) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def agreement() -> float:
    """Largest relative difference of the peer's gradient from ours, in double precision."""
    found = []
    for side in ("published", "eager", "torch", "numba"):
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
    bare: dict[str, list[float]] = {"products": [], "products_bf16": []}
    for _ in range(repeats):
        for side, function in functions.items():
            times[side].append(cpu(function))
        bare["products"].append(products(particles, batch, training))
        bare["products_bf16"].append(products(particles, batch, training, torch.bfloat16))
    row = {f"{side}_ms": 1e3 * statistics.median(t) for side, t in (times | bare).items()}
    for side, mine in times.items():
        row[f"{side}_ratio"] = statistics.median(a / b for a, b in zip(times["published"], mine))
    return row


def trained(updates: int, seeds: int, trajectories: int, steps: int) -> list[dict]:
    """Validation loss (computed in float32) and CPU time of training in either precision."""
    from pympnode.datasets.split import labels_of
    from pympnode.particles.schema import pack_particles
    from pympnode.particles.task import StepTask

    data = pympnode.simulate(
        "gravity", particles=20, trajectories=trajectories, steps=steps, seed=0
    )
    arrays = pack_particles(data)
    rows = []
    for precision in ("float32", "bf16"):
        losses, used = [], []
        for seed in range(seeds):
            begin = time.process_time()
            model = pympnode.train(
                data=data, model="deltagn", updates=updates, seed=seed, precision=precision,
                progress=False,
            ).model  # fmt: skip
            used.append(time.process_time() - begin)
            labels = labels_of(data, 0.7, seed)
            parts = [[np.flatnonzero(labels == name)] for name in ("train", "validation")]
            task = StepTask(model.bind(), [arrays], *parts, 16)
            losses.append(task.validate(model.theta)["validation_loss"])
        rows.append({"precision": precision, "loss": losses,
                     "ms": 1e3 * statistics.median(used) / updates})  # fmt: skip
    return rows


def table(rows: list[dict]) -> str:
    lines = [
        "| CPU time, ms | " + " | ".join(SIDES.values()) + " | bare products, float32 / bf16 |",
        "|---" * (len(SIDES) + 2) + "|",
    ]
    for r in rows:
        cells = []
        for side in SIDES:
            ms, ratio = r.get(f"{side}_ms"), r.get(f"{side}_ratio")
            times = "" if side == "published" or ms is None else f" ({ratio:.2f}x)"
            cells.append("" if ms is None else f"{ms:,.0f}{times}")
        bare = f"{r['products_ms']:,.0f} / {r['products_bf16_ms']:,.0f}"
        lines.append(f"| {r['what']} | " + " | ".join(cells) + f" | {bare} |")
    kinds = [side for side in SIDES if side != "eager"]
    lines += [
        "",
        "| memory above idle, MiB | " + " | ".join(SIDES[k] for k in kinds) + " |",
        "|---" * (len(kinds) + 1) + "|",
    ]
    for r in rows:
        held = [f"{r[k + '_mib']:,.0f}" if k + "_mib" in r else "" for k in kinds]
        lines.append(f"| {r['what']} | " + " | ".join(held) + " |")
    return "\n".join(lines) + "\n"


def precision_table(rows: list[dict], updates: int) -> str:
    lines = [
        f"| DeltaGN, 20 particles, {updates:,} updates | ms an update | validation loss: geometric "
        "mean | smallest to largest |",
        "|---|---|---|---|",
    ]
    for r in rows:
        mean = statistics.geometric_mean(r["loss"])
        lines.append(
            f"| {r['precision']} | {r['ms']:.2f} | {mean:.2e} | "
            f"{min(r['loss']):.2e} to {max(r['loss']):.2e} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--updates", type=int, default=2000)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--memory", nargs=4)
    given = parse(parser, repeats=1, updates=2, seeds=1)
    torch.set_num_threads(1)
    if given.memory:
        one_memory(*given.memory)
        return
    difference = agreement()
    assert difference < 1e-10, difference
    rows = []
    cases = ((1000, 4, True), (100, 100, True), (10_000, 1, False), (100_000, 1, False))
    if given.smoke:
        cases = ((50, 2, True), (100, 1, False))
    for particles, batch, training in cases:
        if particles > given.largest:
            continue
        kind = "training step" if training else "forward"
        row = {"what": f"{kind}, N = {particles:,}, batch {batch}"}
        repeats = given.repeats if particles < 100_000 else 1
        row |= measure(particles, batch, training, repeats)
        for side in SIDES:
            # Processes are what takes long at small sizes: a smoke test starts one.
            alone = not given.smoke or (side == "published" and training)
            if side != "eager" and f"{side}_ms" in row and alone:
                row[f"{side}_mib"] = memory(side, particles, batch, training)
        rows.append(row)
        print(table([row]), flush=True)
    trajectories, steps = (4, 5) if given.smoke else (40, 50)
    precisions = trained(given.updates, given.seeds, trajectories, steps)
    facts = {"python": platform.python_version(), "torch": torch.__version__,
             "processor": platform.processor(), "load": os.getloadavg()}  # fmt: skip
    out = {"machine": facts, "gradient_difference_float64": difference, "rows": rows,
           "training": {"updates": given.updates, "seeds": given.seeds, "rows": precisions}}  # fmt: skip
    (given.results / "nbody_networks.json").write_text(json.dumps(out, indent=1) + "\n")
    head = (
        "# Hierarchical DeltaGN, widths 150 / 100, float32, one thread\n\n"
        f"CPU time, medians of {given.repeats} in turns (one at N = 100,000); in brackets: the "
        "published way over it. The published way takes the products that torch takes by itself (MKL); the "
        "others take oneDNN where the processor has AVX-512 (`particles/engine/products.py`). Gradients of all in "
        f"float32 and of the published way agree to {difference:.0e} in double precision. Load of the "
        f"machine at the end: {os.getloadavg()[0]:.1f}.\n\n"
    )
    middle = (
        f"\n## Trained in bfloat16\n\nThe same data and {given.seeds} seeds; the loss is computed in "
        "float32, in units of the spread of the velocity change. Runs that differ in the last bits alone "
        "differ by a fifth in their loss.\n\n"
    )
    text = head + table(rows) + middle + precision_table(precisions, given.updates)
    (given.results / "nbody_networks.md").write_text(text)


if __name__ == "__main__":
    main()
