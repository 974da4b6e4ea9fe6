"""Presets of particle models at equal CPU time, beside rows that know no model.

    python benchmarks/nbody_training.py [--budget 60] [--seeds 1] [--cases n20 n100 coulomb100]
        [--variants "fast" "paper"]

Both presets run the same code on the same data for the same CPU seconds (the number of updates follows
from a timed start), one thread; chosen on the validation split, reported on trajectories of another
seed. RMSE as published, over 20 and 200 steps. The model trained at N = 100 is also rolled out at other
particle counts. Rows of an earlier run with other cases, variants or seeds are kept. Writes benchmarks/results/nbody_training.{json,md}.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import platform
import time
from pathlib import Path

import torch

import pympnode

RESULTS = Path(__file__).parent / "results"
CASES = {
    "n20": ("gravity", 20, "deltagn", 200),
    "n100": ("gravity", 100, "hierarchical_deltagn", 120),
    "coulomb100": ("coulomb", 100, "hierarchical_deltagn", 120),
}
VARIANTS = {
    "fast": {"preset": "fast"},
    "fast, momentum free": {"preset": "fast", "conserve_momentum": False},
    "paper": {"preset": "paper"},
}


def train_for(data, budget: float, **options):
    """A run of about ``budget`` CPU seconds; (result, CPU seconds it took)."""
    used = {}
    pympnode.train(data=data, updates=2, progress=False, **options)  # compiles, loads
    for updates in (5, 35):
        begin = time.process_time()
        pympnode.train(data=data, updates=updates, progress=False, **options)
        used[updates] = time.process_time() - begin
    each = (used[35] - used[5]) / 30
    begin = time.process_time()
    updates = max(10, int(budget / each))
    result = pympnode.train(data=data, updates=updates, progress=False, **options)
    return result, time.process_time() - begin


def numbers(errors) -> dict[str, dict[str, float]]:
    names = ("rmse_published", "energy_error", "momentum_error", "not_finite")
    return {
        str(predictor): {
            f"{name}_{int(h)}": float(errors[name].sel(predictor=predictor, horizon=h))
            for name in names
            for h in errors["horizon"].values
        }
        for predictor in errors["predictor"].values
    }


def elsewhere(model, counts=((20, 200, 10), (1000, 20, 2))) -> dict[str, dict]:
    """The same model at other particle counts."""
    out = {}
    for particles, steps, trajectories in counts:
        test = pympnode.simulate(
            model.system, particles=particles, trajectories=trajectories, steps=steps, seed=4321
        )
        out[str(particles)] = numbers(pympnode.evaluate(model, test))
    return out


def table(rows: list[dict]) -> str:
    lines = [
        "| case | predictor | seed | CPU s | updates | RMSE 20 | RMSE 200 | energy 20 | energy 200 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        e = r["errors"]
        shown = [e.get(f"{n}_{h}") for n in ("rmse_published", "energy_error") for h in (20, 200)]
        cells = " | ".join("" if v is None else f"{v:.3g}" for v in shown)
        lines.append(
            f"| {r['case']} | {r['what']} | {r.get('seed', '')} | {r.get('cpu', '')} | "
            f"{r.get('updates', '')} | {cells} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    parser.add_argument("--variants", nargs="+", default=["fast", "paper"], choices=list(VARIANTS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict] = []
    for case in given.cases:
        system, particles, model, trajectories = CASES[case]
        data = pympnode.simulate(
            system, particles=particles, trajectories=trajectories, seed=0, split=0.9
        )
        test = pympnode.simulate(system, particles=particles, trajectories=10, seed=1234)
        trivial = None
        for seed in range(given.seeds):
            for preset in given.variants:
                result, cpu = train_for(
                    data, given.budget, model=model, **VARIANTS[preset], seed=seed, device="cpu"
                )
                found = numbers(pympnode.evaluate(result, test))
                about = {"seed": seed, "cpu": round(cpu), "updates": result.updates}
                rows.append({"case": case, "what": preset, "errors": found["model"], **about})
                trivial = found
                if preset.startswith("fast") and case == "n100":
                    for count, errors in elsewhere(result.model).items():
                        for what in ("model", "free_flight", "constant_acceleration"):
                            name = preset if what == "model" else what
                            rows.append({"case": f"{case} at {count}", "what": name,
                                         "errors": errors[what], "seed": seed})  # fmt: skip
                print(table(rows[-1:]).splitlines()[-1], flush=True)
        for what in ("free_flight", "constant_acceleration"):
            rows.append({"case": case, "what": what, "errors": trivial[what]})
    RESULTS.mkdir(exist_ok=True)
    facts = {"python": platform.python_version(), "torch": torch.__version__}
    path = RESULTS / "nbody_training.json"
    keys = {(r["case"], r["what"], r.get("seed")) for r in rows}
    before = json.loads(path.read_text())["rows"] if path.exists() else []
    rows = [r for r in before if (r["case"], r["what"], r.get("seed")) not in keys] + rows
    rows.sort(key=lambda r: (r["case"], r.get("seed") is None))
    out = {"machine": facts, "budget": given.budget, "rows": rows}
    path.write_text(json.dumps(out, indent=1) + "\n")
    (RESULTS / "nbody_training.md").write_text(
        "# Presets at equal CPU time\n\nOne thread, float32, the same code on both "
        "sides; 10 test trajectories of another seed (2 over 20 steps at N = 1000).\n\n"
        + table(rows)
    )


if __name__ == "__main__":
    main()
