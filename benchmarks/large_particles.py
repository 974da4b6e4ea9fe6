"""A million particles over two processes, by ranges of the space-filling curve.

    python benchmarks/large_particles.py                       # a million particles, one step
    python benchmarks/large_particles.py --particles 100000

A model of gravity with cells, trained for a moment on few particles (what it predicts does not matter
here), rolls out particles at random in a box of the same density in float64: with
`ParticleModel.rollout(partition=)` in two processes, and without in one. Differences of velocities are
relative to the largest change. Writes benchmarks/results/large_particles.{json,md}.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from smoke import parse

import pympnode
from pympnode.datasets.record import record


def worker(options: argparse.Namespace) -> None:
    """One process: roll out, write what it found."""
    rank, size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    model = pympnode.load(options.folder / "model.nc")
    keywords = {"partition": "curve"} if size > 1 else {}
    began = time.process_time()
    out = model.rollout(options.folder / "data.nc", steps=options.steps, check=False, **keywords)
    seconds = time.process_time() - began
    count = out.sizes["particle"]
    about = record(out)
    np.savez(
        options.folder / f"{size}-{rank}.npz", position=out.position.values[0, -1],
        velocity=out.velocity.values[0, -1], seconds=seconds, halo=about.get("halo", 0.0),
        sent=about.get("sent_bytes", 0),
        number=out.particle_number.values if size > 1 else np.arange(count),
    )  # fmt: skip


def run(processes: int, options: argparse.Namespace, folder: Path) -> list[dict[str, Any]]:
    """What each process found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, __file__, "--worker", "--folder", str(folder), "--steps", str(options.steps)
    ]  # fmt: skip
    started = []
    for rank in range(processes):
        several = {"RANK": rank, "WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1"}
        several["MASTER_PORT"] = port
        env = {n: str(v) for n, v in several.items()} if processes > 1 else {}
        started.append(subprocess.Popen(command, env={**os.environ, **env}))
    codes = [process.wait() for process in started]
    assert not any(codes), codes
    return [dict(np.load(folder / f"{processes}-{rank}.npz")) for rank in range(processes)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--particles", type=int, default=1_000_000)
    parser.add_argument("--steps", type=int, default=1)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    if "--worker" in sys.argv:
        worker(parser.parse_args())
        return
    options = parse(parser, particles=2000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        small = pympnode.simulate("gravity", particles=100, trajectories=4, steps=4)
        model = pympnode.train(
            data=small, model="hierarchical_deltagn", messages="directed", edge_width=16, node_width=16,
            updates=50, dtype="float64", device="cpu", progress=False,
        ).model  # fmt: skip
        model.save(folder / "model.nc")
        count = options.particles
        side = record(small)["parameters"]["side"] * (count / 100) ** 0.5
        rng = np.random.default_rng(0)
        start = rng.uniform(-side / 2, side / 2, (1, 1, count, 2))
        speed = float(small.velocity.std())
        first = speed * rng.normal(size=start.shape)
        data = pympnode.from_particles(
            start, first, dt=model.dt, mass=np.ones((1, count)), side=side
        )
        data.to_netcdf(folder / "data.nc")
        one = run(1, options, folder)[0]
        two = run(2, options, folder)
    change = np.abs(one["velocity"] - first[0, 0]).max()
    row = {
        "particles": count,
        "steps": options.steps,
        "of each process": [len(each["number"]) for each in two],
        "halo": max(float(each["halo"]) for each in two),
        "sent_mb": max(int(each["sent"]) for each in two) / 1e6 / options.steps,
        "seconds": [float(one["seconds"]), max(float(each["seconds"]) for each in two)],
        "positions": max(
            float(np.abs(each["position"] - one["position"][each["number"]]).max()) for each in two
        )
        / side,
        "velocities": max(
            float(np.abs(each["velocity"] - one["velocity"][each["number"]]).max()) for each in two
        )
        / change,
    }
    seconds = row["seconds"]
    text = (
        f"{count:,} particles in two processes ({', '.join(f'{n:,}' for n in row['of each process'])}), "
        f"{options.steps} step{'s' * (options.steps > 1)} in float64, directed messages of width 16 and cells.\n\n"
        "| halo | sent by a process, MB a step | CPU time of one process [s] | of the slower of two [s] | "
        "positions differ by [sides] | velocities differ by [largest change] |\n"
        "|---|---|---|---|---|---|\n"
        f"| {100 * row['halo']:.2g} % | {row['sent_mb']:.3g} | {seconds[0]:.0f} | {seconds[1]:.0f} | "
        f"{row['positions']:.1e} | {row['velocities']:.1e} |\n"
    )
    print(text)
    (options.results / "large_particles.md").write_text(text, encoding="utf-8")
    (options.results / "large_particles.json").write_text(json.dumps(row, indent=1) + "\n")


if __name__ == "__main__":
    main()
