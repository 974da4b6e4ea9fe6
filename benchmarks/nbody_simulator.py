"""CPU time of one base step of the particle simulator against the published way.

    python benchmarks/nbody_simulator.py [--particles 20 100 1000] [--repeats 5]

The peer is `published_nbody.block_step`: the same block time steps in Python and NumPy, one force
row at a time, first shown to give the same state. Both are timed in turns in one process on one
thread, by CPU time (medians). Evaluations are single-particle accelerations; the published scheme
needs the number given, ours leaves out those that it has already. "Pairs a second" counts
evaluations times particles. Writes benchmarks/results/nbody_simulator.{json,md}.
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

import numpy as np
import published_nbody as published
from smoke import parse

from pympnode.particles.graphs.box import Box
from pympnode.particles.leapfrog import integrate_leapfrog
from pympnode.particles.systems.base import default_side
from pympnode.particles.systems.gravity import Gravity
from pympnode.particles.systems.starts import draw_start


def cpu(function) -> float:
    begin = time.process_time()
    function()
    return time.process_time() - begin


def measure(particles: int, repeats: int) -> dict:
    """Both ways on the same random states, in turns."""
    system = Gravity()
    side = default_side(particles, 2)
    states = [
        draw_start(system, "random", np.random.default_rng(i), particles, box=Box(side))
        for i in range(repeats)
    ]

    def ours(state, steps=1, **options):
        return integrate_leapfrog(system, state, box=side, steps=steps, dt=0.01, **options)

    def theirs(state):
        return published.block_step(state.position, state.velocity, state.mass, side, 0.01)

    flight = ours(states[0])
    x, v = theirs(states[0])
    difference = max(np.abs(flight.position[1] - x).max(), np.abs(flight.velocity[1] - v).max())
    assert difference < 1e-11, difference
    old, new, equal = [], [], []
    for state in states:
        old.append(cpu(lambda s=state: theirs(s)))
        steps = max(1, 20_000 // particles**2)
        new.append(cpu(lambda s=state, n=steps: ours(s, n)) / steps)
        equal.append(cpu(lambda s=state, n=steps: ours(s, n, integrator="global")) / steps)
    seconds, peer = statistics.median(new), statistics.median(old)
    return {
        "particles": particles,
        "published_way_ms": 1e3 * peer,
        "pympnode_ms": 1e3 * seconds,
        "ratio": peer / seconds,
        "ratios": sorted(a / b for a, b in zip(old, new, strict=True)),
        "global_step_ms": 1e3 * statistics.median(equal),
        "evaluations": flight.evaluations,
        "published_evaluations": int(flight.calls.sum()),
        "pairs_per_second": flight.evaluations * particles / seconds,
        "deepest_level": flight.deepest,
        "difference": float(difference),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", type=int, nargs="+", default=[20, 100, 1000])
    parser.add_argument("--repeats", type=int, default=5)
    given = parse(parser, particles=[20], repeats=1)
    measure(20, 1)  # compile
    rows = [measure(n, given.repeats) for n in given.particles]
    lines = [
        "# One base step of the simulator, gravity in two dimensions",
        "",
        f"CPU time of one thread, medians of {given.repeats} states, in turns with the peer.",
        "`python benchmarks/nbody_simulator.py`",
        "",
        "| N | published way, ms | pympnode, ms | ratio (lowest) | one equal step, ms "
        "| levels below | force rows (published) | pairs / s | states differ by |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        lines.append(
            f"| {r['particles']} | {r['published_way_ms']:.1f} | {r['pympnode_ms']:.3f} "
            f"| {r['ratio']:.0f}x ({r['ratios'][0]:.0f}x) | {r['global_step_ms']:.3f} "
            f"| {r['deepest_level']} | {r['evaluations']:,} ({r['published_evaluations']:,}) "
            f"| {r['pairs_per_second']:.2g} | {r['difference']:.0e} |"
        )
    text = "\n".join(lines) + "\n"
    (given.results / "nbody_simulator.md").write_text(text)
    content = {"machine": platform.processor() or platform.machine(), "rows": rows}
    (given.results / "nbody_simulator.json").write_text(json.dumps(content, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
