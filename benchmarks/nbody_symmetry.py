"""What turning the data and conserving momentum bring to a particle model.

    python benchmarks/nbody_symmetry.py [--updates 4000] [--seeds 1]

Gravity, N = 20, DeltaGN, preset "fast", the same number of updates for each row; RMSE as published,
energy and momentum errors over 20 and 200 steps on trajectories of another seed. Writes
benchmarks/results/nbody_symmetry.{json,md}.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
from pathlib import Path

import torch

import pympnode

RESULTS = Path(__file__).parent / "results"
FREE = {"update": "direct", "messages": "directed", "conserve_momentum": False}
ROWS = {
    "none": FREE,
    "augment": FREE | {"augment": True},
    "conserve_momentum": FREE | {"conserve_momentum": True},
    "antisymmetric": FREE | {"messages": "antisymmetric"},
    "leapfrog": FREE | {"update": "leapfrog"},
    "antisymmetric, leapfrog": FREE | {"messages": "antisymmetric", "update": "leapfrog"},
    "all": FREE | {"messages": "antisymmetric", "update": "leapfrog", "augment": True},
}
SHOWN = ("rmse_published", "energy_error", "momentum_error")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--updates", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    data = pympnode.simulate("gravity", particles=20, trajectories=200, seed=0, split=0.9)
    test = pympnode.simulate("gravity", particles=20, trajectories=10, seed=1234)
    rows = []
    lines = [
        "| | seed | RMSE 20 | RMSE 200 | energy 20 | energy 200 | momentum 20 | momentum 200 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for seed in range(given.seeds):
        for name, options in ROWS.items():
            result = pympnode.train(
                data=data, model="deltagn", updates=given.updates, seed=seed, device="cpu",
                progress=False, **options,
            )  # fmt: skip
            errors = pympnode.evaluate(result, test).sel(predictor="model")
            row = {
                f"{n}_{int(h)}": float(errors[n].sel(horizon=h)) for n in SHOWN for h in (20, 200)
            }
            rows.append({"what": name, "seed": seed, **row})
            lines.append(
                f"| {name} | {seed} | " + " | ".join(f"{v:.3g}" for v in row.values()) + " |"
            )
            print(lines[-1], flush=True)
    RESULTS.mkdir(exist_ok=True)
    out = {"updates": given.updates, "rows": rows}
    (RESULTS / "nbody_symmetry.json").write_text(json.dumps(out, indent=1) + "\n")
    (RESULTS / "nbody_symmetry.md").write_text(
        f"# Symmetries, N = 20, DeltaGN, {given.updates} updates\n\n" + "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    main()
