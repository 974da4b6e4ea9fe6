"""Published tables and figures at a small budget, as `pympnode experiment run` makes them.

    python benchmarks/experiments.py [--budget "20m"] [--seeds 1] [--only nbody_levels ...]

Runs go on where an earlier call stopped (folder ``runs/experiments``). One thread. Writes the table of each
to benchmarks/results/experiments/NAME.md, its numbers by seed to NAME.json, and the figures that benchmarks/claims.toml
names to docs/images/papers. All rows of a table make as many updates, as in the papers, which
a busy machine does not change; ``--budget "10"`` gives all the same seconds of CPU time instead. What the papers trained for
hours or days on a GPU is here what minutes on a CPU give.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import time

# A time budget is CPU time of this process, which a busy machine does not change. Before anything binds the clock.
time.perf_counter = time.process_time

import argparse
import json
import shutil
import tomllib
from pathlib import Path

import torch
from smoke import parse

from pympnode import experiments

ROOT = Path(__file__).resolve().parent.parent
RUNS = ROOT / "runs" / "experiments"
FIGURES = tomllib.loads((ROOT / "benchmarks" / "claims.toml").read_text(encoding="utf-8"))["figure"]
PICTURES = ROOT / "docs" / "images" / "papers"
CHOICE = {
    "nbody_levels": "3000 updates",
    "nbody_density": "3000 updates",
    "nbody_batch_one": "3000 updates",
    "nbody_symmetry": "10000 updates",
    "nbody_particle_counts": "3000 updates",
    "quadrotor_message_size": "1000 updates",
}
SMALL = """
title = "Two rows that train for two updates"
source = "benchmarks/experiments.py --smoke"
columns = ["rmse_published_2", "updates"]
beside = ["free_flight"]

[data]
system = "gravity"
particles = 20
trajectories = 4
steps = 5

[[test]]
name = "held out"
trajectories = 2
steps = 5

[[row]]
name = "DeltaGN"
train.model = "deltagn"

[[row]]
name = "hier. DeltaGN"
train.model = "hierarchical_deltagn"
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default=None)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=list(CHOICE), choices=experiments.names())
    given = parse(parser, budget="2 updates")
    torch.set_num_threads(1)
    results, runs = given.results / "experiments", RUNS
    results.mkdir(exist_ok=True)
    if given.smoke:
        runs, small = given.results / "runs", given.results / "small.toml"
        small.write_text(SMALL)
        given.only = [str(small)]
    for chosen in given.only:
        name = Path(chosen).stem
        out = runs / name
        experiments.run(
            chosen, budget=given.budget or CHOICE.get(chosen, "60"), seeds=given.seeds, out=out, device="cpu", progress=False,
            report=lambda line: print(line, flush=True),
        )  # fmt: skip
        text = experiments.table(chosen, out=out)
        (results / f"{name}.md").write_text(text)
        # The numbers of each seed, for the pages of the papers; on one line.
        numbers = json.loads((out / "results.json").read_text(encoding="utf-8"))
        (results / f"{name}.json").write_text(json.dumps(numbers, separators=(",", ":")) + "\n")
        for figure in FIGURES:
            drawn = out / "figures" / figure["file"]
            if figure["experiment"] == name and drawn.exists():
                PICTURES.mkdir(exist_ok=True)
                shutil.copyfile(drawn, PICTURES / f"{name}_{drawn.name}")
        print(text, flush=True)


if __name__ == "__main__":
    main()
