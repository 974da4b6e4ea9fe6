"""Presets of particle models at equal CPU time, beside rows that know no model.

    python benchmarks/nbody_training.py [--budget 60] [--seeds 0 1 2] [--cases n20 n100 coulomb100]
        [--variants "fast" "paper" "adam2026" "radial" "radial, cells" "HOGN of pairs"
        "equivariant network in plain torch" "interaction network in torch_geometric"]

All variants run the same code on the same data for a number of CPU seconds (the number of updates
follows from a timed start, --timed updates), one thread; chosen on the validation split, reported on trajectories of
another seed. The variants "fast" and "adam2026" (the same with Adam at 1e-2, the default of version 0.1) train the
model of the case, "radial" and "HOGN of pairs" models of all pairs. The last two variants are peers (`peers.RadialRival`,
`peers.InteractionRival`), trained for the same CPU seconds on the same trajectories. RMSE as published, over 20 and 200 steps. Models of N = 100 are also rolled out at other
particle counts (20 and 1,000). Every row is written when it is done; rows of earlier runs with other cases, variants,
budgets or seeds are kept. Writes benchmarks/results/nbody_training.{json,md}.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import math
import platform
import statistics
import time
from functools import cache
from pathlib import Path

import numpy as np
import torch
from peers import MISSING, InteractionRival, RadialRival, not_run, versions
from smoke import parse

import pympnode
from pympnode.datasets.record import record
from pympnode.particles.evaluate import evaluate_particles

CASES = {
    "n20": ("gravity", 20, "deltagn", 200),
    "n100": ("gravity", 100, "hierarchical_deltagn", 120),
    "n100 of 1000": ("gravity", 100, "hierarchical_deltagn", 1000),  # trajectories, as published
    "coulomb100": ("coulomb", 100, "hierarchical_deltagn", 120),
    "hogn20": ("gravity", 20, "hogn", 200),
    "hogn100": ("gravity", 100, "hierarchical_hogn", 120),
}
TRIVIAL = ("free_flight", "constant_acceleration")
RADIAL, NETWORK = "equivariant network in plain torch", "interaction network in torch_geometric"
RIVALS = {RADIAL: RadialRival, NETWORK: InteractionRival}
VARIANTS = {
    "fast": {"preset": "fast"},
    "fast, directed messages": {"preset": "fast", "messages": "directed"},
    "fast, direct update": {"preset": "fast", "messages": "directed", "update": "direct"},
    "paper": {"preset": "paper"},
    "adam2026": {"preset": "fast", "optimiser": "adam", "learning_rate": 1e-2},
    "radial": {"model": "deltagn", "messages": "radial"},
    "radial, cells": {"model": "hierarchical_deltagn", "messages": "radial"},
    "HOGN of pairs": {"model": "hogn"},
    **dict.fromkeys(RIVALS),
}


def train_for(data, budget: float, timed: int = 200, **options):
    """A run of about ``budget`` CPU seconds; (result, CPU seconds it took)."""
    used = {}
    pympnode.train(data=data, updates=2, progress=False, **options)  # compiles, loads
    for updates in (
        5,
        5 + timed,
    ):  # what is left of their difference is updates, not the reading of data
        begin = time.process_time()
        pympnode.train(data=data, updates=updates, progress=False, **options)
        used[updates] = time.process_time() - begin
    each = (used[5 + timed] - used[5]) / timed
    if each <= 0:
        raise RuntimeError(f"updates take no time beside what a run begins with: {used}")
    begin = time.process_time()
    updates = max(10, int(budget / each))
    result = pympnode.train(data=data, updates=updates, progress=False, **options)
    return result, time.process_time() - begin


def rival_for(data, budget: float, seed: int, kind=RadialRival):
    """A peer trained for ``budget`` CPU seconds on the training part of some data."""
    part = data.isel(trajectory=np.flatnonzero(data.split.values == "train"))
    particles = data.sizes["particle"]
    given = (
        part.position.values, part.velocity.values, record(data)["parameters"]["side"],
        float(data.time[1] - data.time[0]),
    )  # fmt: skip
    # Masses are equal.
    more = {"charge": part.charge.values} if "charge" in part else {}
    more |= {"seed": seed, "batch": max(1, min(8, 400 // particles))}
    kind(*given, 0.01, **more)  # what is loaded at a first call is no part of a run
    return kind(*given, budget, **more)


def numbers(errors) -> dict[str, dict[str, float]]:
    names = ("rmse_published", "energy_error", "energy_error_per_particle", "momentum_error")
    return {
        str(predictor): {
            f"{name}_{int(h)}": float(errors[name].sel(predictor=predictor, horizon=h))
            for name in names
            for h in errors["horizon"].values
        }
        for predictor in errors["predictor"].values
    }


def elsewhere(model, system: str, counts) -> dict[str, dict]:
    """The same model at other particle counts: (particles, steps, trajectories) of each."""
    out = {}
    for particles, steps, trajectories in counts:
        test = _other_size(system, particles, trajectories, steps)
        out[str(particles)] = numbers(evaluate_particles(model, test))
    return out


@cache
def _other_size(system: str, particles: int, trajectories: int, steps: int):
    return pympnode.simulate(
        system, particles=particles, trajectories=trajectories, steps=steps, seed=4321
    )


def key(row: dict) -> tuple:
    return (row["case"], row.get("budget", -1), row["what"], row.get("seed", -1))


def table(rows: list[dict]) -> str:
    """Rows of one case, predictor and budget as one: geometric means over seeds, and the worst."""
    lines = [
        "| case | predictor | budget, CPU s | seeds | updates | RMSE 20 (largest) | RMSE 200 (largest)"
        " | energy 20 | energy 200 | per particle, 200 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple, list[dict]] = {}
    for row in sorted(rows, key=key):
        groups.setdefault(key(row)[:3], []).append(row)
    for (case, budget, what), group in groups.items():

        def shown(name: str, worst: bool = False, group: list[dict] = group) -> str:
            values = [r["errors"].get(name) for r in group]
            if any(v is None for v in values):
                return ""
            text = f"{math.exp(statistics.mean(math.log(v) for v in values)):.3g}"
            return f"{text} ({max(values):.3g})" if worst and len(values) > 1 else text

        updates = [r["updates"] for r in group if "updates" in r]
        lines.append(
            f"| {case} | {what} | {'' if budget < 0 else f'{budget:g}'} | "
            f"{len(group) if budget >= 0 else ''} | "
            f"{round(statistics.median(updates)) if updates else ''} | "
            + " | ".join(
                [
                    shown("rmse_published_20", True),
                    shown("rmse_published_200", True),
                    shown("energy_error_20"),
                    shown("energy_error_200"),
                    shown("energy_error_per_particle_200"),
                ]
            )
            + " |"
        )
    return "\n".join(lines) + "\n"


def winner(rows: list[dict], case: str) -> str:
    """Which models of a case a peer with the same budget has a smaller error than; "" where none."""
    said = []
    for budget in sorted({r["budget"] for r in rows if r["case"] == case and "budget" in r}):
        for steps in (20, 200):
            groups: dict[str, list[float]] = {}
            for row in rows:
                error = row["errors"].get(f"rmse_published_{steps}")
                if row["case"] == case and row.get("budget") == budget and error is not None:
                    groups.setdefault(row["what"], []).append(error)
            means = {w: math.exp(statistics.mean(map(math.log, of))) for w, of in groups.items()}
            for peer in RIVALS.keys() & means.keys():
                worse = [w for w in means if w not in RIVALS and means[w] > means[peer]]
                if worse:
                    said.append(
                        f"{case}, {budget:g} s, {steps} steps: the {peer} has a smaller error than {', '.join(worse)}."
                    )
    return " ".join(sorted(said))


def keep(rows: list[dict], results: Path) -> None:
    """Write rows over those of the same key in the folder ``results``."""
    path = results / "nbody_training.json"
    before = json.loads(path.read_text())["rows"] if path.exists() else []
    merged = {key(row): row for row in [*before, *rows]}
    ordered = [merged[k] for k in sorted(merged)]
    facts = {"python": platform.python_version(), "torch": torch.__version__}
    libraries = " / ".join(sorted({row["libraries"] for row in ordered if "libraries" in row}))
    beaten = [
        text
        for case in dict.fromkeys(r["case"] for r in ordered)
        if (text := winner(ordered, case))
    ]
    path.write_text(json.dumps({"machine": facts, "rows": ordered}, indent=1) + "\n")
    (results / "nbody_training.md").write_text(
        "# Presets of particle models at given CPU times\n\nOne thread, float32, the same code on all "
        "sides; geometric means over seeds; 10 test trajectories of another\nseed (2 over 20 steps at "
        "N = 1000). hogn20 and hogn100 are HOGN and hierarchical HOGN. Trained on 120 trajectories (200 of N = 20),\n"
        '"n100 of 1000" on 1000, as published. Peers, with the same budget and trajectories: an equivariant network in '
        "plain torch,\nwhich assumes central forces as radial messages do, and an interaction network of all pairs in "
        f"torch_geometric, both with leapfrog steps ({libraries}). "
        f"{' '.join(beaten) or 'No peer has a smaller error than a model of its case and budget.'}\n"
        "`python benchmarks/nbody_training.py`\n\n" + table(ordered)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=float, default=60.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    usual = [name for name in CASES if name != "n100 of 1000"]
    parser.add_argument("--cases", nargs="+", default=usual, choices=list(CASES))
    parser.add_argument("--timed", type=int, default=200)
    parser.add_argument("--variants", nargs="+", default=["fast", "paper"], choices=list(VARIANTS))
    given = parse(parser, budget=0.2, cases=["n100"], variants=["fast", "radial", *RIVALS])
    torch.set_num_threads(1)
    counts = ((20, 200, 10), (1000, 20, 2))
    sizes, timed = {}, {"timed": given.timed}
    if given.smoke:
        counts = ((20, 20, 1),)
        sizes = {"trajectories": 4, "steps": 20}
        timed = {"timed": 20}
    for case in given.cases:
        system, particles, model, trajectories = CASES[case]
        size = {"trajectories": trajectories, **sizes}
        data = pympnode.simulate(system, particles=particles, **size, seed=0, split=0.9)
        size = {"trajectories": 10, **sizes}
        test = pympnode.simulate(system, particles=particles, **size, seed=1234)
        for seed in given.seeds:
            for variant in given.variants:
                if variant == NETWORK and MISSING:
                    print(not_run(NETWORK))
                    continue
                if variant in RIVALS:
                    result = rival_for(data, given.budget, seed, RIVALS[variant])
                    trained, cpu = result, given.budget
                else:
                    options = {"model": model, **VARIANTS[variant], **timed}
                    result, cpu = train_for(data, given.budget, **options, seed=seed, device="cpu")
                    trained = result.model
                found = numbers(evaluate_particles(trained, test))
                about = {"seed": seed, "budget": given.budget}
                row = {"case": case, "what": variant, "errors": found["model"], **about}
                if variant in RIVALS:
                    row["libraries"] = versions("torch", "torch_geometric")
                rows = [{**row, "cpu": round(cpu), "updates": result.updates}]
                rows += [{"case": case, "what": w, "errors": found[w]} for w in TRIVIAL]
                if variant != "paper" and particles == 100 and system == "gravity":
                    for count, errors in elsewhere(trained, system, counts).items():
                        at = f"{case} at {count}"
                        rows.append(
                            {"case": at, "what": variant, "errors": errors["model"], **about}
                        )
                        rows += [{"case": at, "what": w, "errors": errors[w]} for w in TRIVIAL]
                keep(rows, given.results)
                print(table(rows), flush=True)


if __name__ == "__main__":
    main()
