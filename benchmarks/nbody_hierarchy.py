"""CPU time, size and memory of the hierarchy and neighbour builders against the published way.

    python benchmarks/nbody_hierarchy.py [--largest 1000000] [--repeats 9]

Three tables and a plot: builders in turns with the peer (`published_nbody`, first shown to give the
same graph) at N = 100, 1000, 10,000; k nearest neighbours likewise; time, edges and peak memory from
10^2 to 10^6 particles, two and three dimensions, each N in its own process. One thread, CPU time,
medians. Writes benchmarks/results/nbody_hierarchy.{json,md,png}.
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
import published_nbody as published
import torch
from smoke import parse

from pympnode.particles.graphs.cells import default_levels
from pympnode.particles.graphs.neighbours import nearest_neighbours
from pympnode.particles.graphs.tree import hierarchy
from pympnode.particles.systems.base import default_side

KERNELS = ("torch", "numba")


def cpu(function) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def state(particles: int, dims: int = 2) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, float]:
    rng = np.random.default_rng(particles)
    side = default_side(particles, dims)
    x = rng.uniform(-side / 2, side / 2, (particles, dims))
    v = rng.uniform(-1, 1, (particles, dims))
    m = rng.uniform(0.5, 1.5, particles)
    return torch.from_numpy(x), torch.from_numpy(v), torch.from_numpy(m), side


def same_graph(h, near, levels, n) -> bool:
    """Whether the peer's edges, cells and features are ours."""
    ours = torch.stack(h.particle_edges(), 1).numpy()
    equal = set(map(tuple, ours.tolist())) == set(map(tuple, near.tolist()))
    for mine, theirs in zip(h, levels, strict=True):
        width = 2**mine.level
        ids = (mine.cells[:, 1] * width + mine.cells[:, 0]).numpy()
        edges = np.stack([ids[mine.sender], ids[mine.receiver]], 1)
        equal &= set(map(tuple, edges.tolist())) == set(map(tuple, theirs["edges"].tolist()))
        order = np.argsort(ids)
        features = torch.cat([mine.mass[:, None], mine.position, mine.velocity], 1).numpy()[order]
        equal &= np.array_equal(ids[order], theirs["cells"])
        equal &= bool(np.abs(features - theirs["features"]).max() < 1e-10)
    return equal


def against_the_published_way(particles: int, repeats: int) -> dict:
    x, v, m, side = state(particles)
    levels = default_levels(particles, 2)

    def theirs():
        return published.hierarchical_graph(x.numpy(), v.numpy(), m.numpy(), side, levels)

    def ours(kernel):
        return hierarchy(x, side, mass=m, velocity=v, kernel=kernel)

    near, cells = theirs()
    assert all(same_graph(ours(kernel), near, cells, particles) for kernel in KERNELS)
    times: dict[str, list[float]] = {"published": [], **{k: [] for k in KERNELS}}
    for _ in range(repeats if particles < 10_000 else 3):
        times["published"].append(cpu(theirs))
        for kernel in KERNELS:
            times[kernel] += [cpu(lambda k=kernel: ours(k)) for _ in range(7)]
    row = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    return {"particles": particles, "levels": levels} | row


def neighbours(particles: int, repeats: int) -> dict:
    x, _, _, side = state(particles)
    times: dict[str, list[float]] = {"published": [], "grid": [], "tree": [], "tiles": []}
    for _ in range(min(repeats, 3)):
        times["published"].append(cpu(lambda: published.nearest(x.numpy(), side, 15)))
        for kernel in ("grid", "tree", "tiles") if particles < 10_000 else ("grid", "tree"):
            for _ in range(3):
                times[kernel].append(cpu(lambda k=kernel: nearest_neighbours(x, side, kernel=k)))
    row = {k: 1e3 * statistics.median(v) if v else None for k, v in times.items()}
    return {"particles": particles} | row


def clustered(particles: int, repeats: int) -> dict:
    """Eight clumps, a fiftieth of the box wide: the uniform hierarchy beside the adaptive tree."""
    rng = np.random.default_rng(particles)
    side = default_side(particles, 2)
    clumps = rng.uniform(-side / 2, side / 2, (8, 2))
    x = clumps[rng.integers(0, 8, particles)] + rng.normal(0, side / 50, (particles, 2))
    x = torch.from_numpy(x)
    row: dict = {"particles": particles}
    for name, options in (("uniform", {}), ("adaptive", {"split_above": 8})):
        times = []
        for _ in range(repeats):
            begin = time.process_time()
            h = hierarchy(x, side, **options)
            times.append(time.process_time() - begin)
        row[name] = {
            "ms": 1e3 * statistics.median(times),
            "near_pairs": h.sender.shape[0],
            "edges": h.edges,
            "levels": h.levels[0].level,
        }
    return row


def one_size(particles: int, dims: int, kernel: str, repeats: int) -> dict:
    """Time, size and peak memory of one builder at one N; run in a process of its own."""
    x, v, m, side = state(particles, dims)
    hierarchy(x[:1000], side, mass=m[:1000], velocity=v[:1000], kernel=kernel)  # compile
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    user, system = [], []
    for _ in range(repeats):
        begin = resource.getrusage(resource.RUSAGE_SELF)
        h = hierarchy(x, side, mass=m, velocity=v, kernel=kernel)
        end = resource.getrusage(resource.RUSAGE_SELF)
        user.append(end.ru_utime - begin.ru_utime)
        system.append(end.ru_stime - begin.ru_stime)
    both = [a + b for a, b in zip(user, system, strict=True)]
    if statistics.median(both) < 0.02:  # the kernel splits so short a time by whole ticks
        user, system = both, [0.0]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    nodes = h.particles + h.cells
    assert nodes < 3 * particles
    widest = 6**dims - 3**dims
    assert all(level.sender.shape[0] <= widest * level.size for level in h)
    return {
        "particles": particles,
        "dims": dims,
        "kernel": kernel,
        "levels": h.levels[0].level,
        "ms": 1e3 * statistics.median(user),
        "system_ms": 1e3 * statistics.median(system),
        "nodes": nodes,
        "edges": h.edges,
        "near_pairs": h.sender.shape[0],
        "mib_above_idle": (peak - idle) / 1024,
    }


def in_own_process(particles: int, dims: int, kernel: str, repeats: int) -> dict:
    command = [sys.executable, __file__, "--one", str(particles), str(dims), kernel, str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def plot(rows: list[dict], peers: list[dict], results: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from pympnode.particles.plots.trajectories import scaling

    curves = {}
    for dims in (2, 3):
        for kernel in KERNELS:
            mine = [r for r in rows if r["dims"] == dims and r["kernel"] == kernel]
            curves[f"{kernel}, {dims}-D"] = (
                [r["particles"] for r in mine],
                [r["ms"] / 1e3 for r in mine],
            )
    curves["published way, 2-D"] = (
        [r["particles"] for r in peers],
        [r["published"] / 1e3 for r in peers],
    )
    edges = {
        f"edges, {dims}-D": (
            [r["particles"] for r in rows if r["dims"] == dims and r["kernel"] == "torch"],
            [r["edges"] for r in rows if r["dims"] == dims and r["kernel"] == "torch"],
        )
        for dims in (2, 3)
    }
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    scaling(curves, ax=axes[0], ylabel="user CPU seconds a graph")
    scaling(edges, ax=axes[1], ylabel="edges, all kinds")
    figure.savefig(results / "nbody_hierarchy.png", dpi=120)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--largest", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--one", nargs=4, help=argparse.SUPPRESS)
    given = parse(parser, largest=100, repeats=1)
    torch.set_num_threads(1)
    if given.one:
        particles, dims, kernel, repeats = given.one
        print(json.dumps(one_size(int(particles), int(dims), kernel, int(repeats))))
        return
    against_the_published_way(100, 1)  # compile
    sizes = (100,) if given.smoke else (100, 1000, 10_000)
    peers = [against_the_published_way(n, given.repeats) for n in sizes]
    near = [neighbours(n, given.repeats) for n in sizes]
    clumps = [
        clustered(n, min(given.repeats, 3))
        for n in ((100,) if given.smoke else (1000, 10_000, 50_000))
    ]
    rows = []
    for dims in (2, 3):
        for particles in (10**k for k in range(2, 7)):
            if particles <= given.largest:
                for kernel in KERNELS:
                    repeats = given.repeats if particles < 10**6 else 2
                    # Processes are what takes long at small sizes: a smoke test starts one.
                    alone = not given.smoke or not rows
                    measure = in_own_process if alone else one_size
                    rows.append(measure(particles, dims, kernel, repeats))
    lines = [
        "# Building graphs of particles",
        "",
        "CPU time of one thread, medians, in turns with the peer; uniform positions, published density,",
        "masses and velocities given. `python benchmarks/nbody_hierarchy.py`",
        "",
        "| N | levels | published way, ms | torch, ms | ratio | numba, ms | ratio |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['particles']:,} | {r['levels']} | {r['published']:.1f} | {r['torch']:.2f} "
        f"| {r['published'] / r['torch']:.0f}x | {r['numba']:.2f} "
        f"| {r['published'] / r['numba']:.0f}x |"
        for r in peers
    ]
    lines += [
        "",
        "15 nearest neighbours, periodic:",
        "",
        "| N | published way, ms | grid, ms | ratio | k-d tree, ms | ratio | tiles, ms |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['particles']:,} | {r['published']:.1f} | {r['grid']:.2f} "
        f"| {r['published'] / r['grid']:.0f}x | {r['tree']:.2f} "
        f"| {r['published'] / r['tree']:.0f}x | {'' if r['tiles'] is None else round(r['tiles'], 2)} |"
        for r in near
    ]
    lines += [
        "",
        "Clustered particles (eight clumps), the uniform grid compiled, the adaptive tree",
        "(`split_above=8`) in torch:",
        "",
        "| N | uniform: ms | edges / N | adaptive: ms | edges / N | deepest level |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['particles']:,} | {r['uniform']['ms']:.1f} "
        f"| {r['uniform']['edges'] / r['particles']:.0f} | {r['adaptive']['ms']:.1f} "
        f"| {r['adaptive']['edges'] / r['particles']:.0f} | {r['adaptive']['levels']} |"
        for r in clumps
    ]
    lines += [
        "",
        "Growth (nodes are particles and cells; system time is what the operating system takes to hand",
        "out fresh memory; MiB: rise of the process's peak memory over its start):",
        "",
        "| N | dims | levels | kernel | user ms | us a particle | system ms | nodes / N | edges / N "
        "| MiB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r['particles']:,} | {r['dims']} | {r['levels']} | {r['kernel']} | {r['ms']:.2f} "
        f"| {1e3 * r['ms'] / r['particles']:.2f} | {r['system_ms']:.2f} "
        f"| {r['nodes'] / r['particles']:.2f} "
        f"| {r['edges'] / r['particles']:.1f} | {r['mib_above_idle']:.0f} |"
        for r in rows
    ]
    text = "\n".join(lines) + "\n"
    (given.results / "nbody_hierarchy.md").write_text(text)
    content = {
        "machine": platform.processor() or platform.machine(),
        "builders": peers,
        "neighbours": near,
        "clustered": clumps,
        "growth": rows,
    }
    (given.results / "nbody_hierarchy.json").write_text(json.dumps(content, indent=1) + "\n")
    plot(rows, peers, given.results)
    print(text)


if __name__ == "__main__":
    main()
