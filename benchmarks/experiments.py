"""Published tables and figures at a small budget, as `pympnode experiment run` makes them.

    python benchmarks/experiments.py [--budget "20m"] [--seeds 1] [--only nbody_levels ...]

Runs go on where an earlier call stopped (folder ``runs/experiments``). One thread. Writes the table of each
to benchmarks/results/experiments/NAME.md. All rows of a table make as many updates, as in the papers, which
a busy machine does not change; ``--budget`` gives all the same time instead. What the papers trained for
hours or days on a GPU is here what minutes on a CPU give.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
from pathlib import Path

import torch

from pympnode import experiments

RESULTS = Path(__file__).parent / "results" / "experiments"
RUNS = Path(__file__).parent.parent / "runs" / "experiments"
CHOICE = {
    "nbody_levels": "3000 updates",
    "nbody_density": "3000 updates",
    "nbody_batch_one": "3000 updates",
    "nbody_symmetry": "10000 updates",
    "nbody_particle_counts": "3000 updates",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", default=None)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", default=list(CHOICE), choices=experiments.names())
    given = parser.parse_args()
    torch.set_num_threads(1)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for chosen in given.only:
        out = RUNS / chosen
        experiments.run(
            chosen, budget=given.budget or CHOICE.get(chosen, "60"), seeds=given.seeds, out=out, device="cpu", progress=False,
            report=lambda line: print(line, flush=True),
        )  # fmt: skip
        (RESULTS / f"{chosen}.md").write_text(experiments.table(chosen, out=out))


if __name__ == "__main__":
    main()
