"""Radial messages: the kernel of tables beside the eager one, and all pairs beside a hierarchy.

    python benchmarks/nbody_radial.py [--budget 5] [--seeds 0 1 2] [--particles 100 300 1000] [--peers-only]

First the CPU time of a training step (loss and gradient) and of a forward pass, gravity, float32, one
thread, candidates interleaved, the shortest of several. Then models that were trained on 100 particles
for ``--budget`` CPU seconds, one of all pairs and one through cells: CPU time of a step and error over
20 steps (as published, geometric mean over seeds) at several numbers of particles; the model of pairs
also with one kick in a step, and with the same weights through cells. Beside them two peers with the same
trajectories and CPU seconds: an equivariant network of all pairs in plain torch, which assumes central forces as the models do
(`peers.RadialRival`), and an interaction network in torch_geometric, which does not (`peers.InteractionRival`).
--peers-only measures these and keeps the other stored rows. Writes benchmarks/results/nbody_radial.{json,md}.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import dataclasses
import json
import math
import platform
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from nbody_training import NETWORK, RIVALS, rival_for, train_for
from peers import MISSING, not_run, verdict, versions
from smoke import parse

import pympnode
from pympnode.experiments.scoring import forward_ms
from pympnode.particles.engine.program import ParticleProgram, Target
from pympnode.particles.evaluate import evaluate_particles
from pympnode.particles.graphs.box import Box
from pympnode.particles.spec import ParticleScales, ParticleSpec
from pympnode.particles.weights import particle_layout_of

BATCHES = {20: 8, 100: 4}  # states in an update, as in the preset; 1 elsewhere
MOST_EAGER = 300  # particles of all pairs: more take too long
_LEAST = 0.05  # CPU seconds
SPACING2 = 12.0  # area of a particle in the published data


def radial_spec(model: str) -> ParticleSpec:
    """The model of the preset: 32 units, four kicks of all pairs."""
    kicks = 4 if model == "deltagn" else 1
    return ParticleSpec.named(
        model, inputs="scaled", update="leapfrog", messages="radial", mass_coupling="product",
        edge_width=32, kicks=kicks, conserve_momentum=kicks == 1,
    )  # fmt: skip


def step_rows(counts: list[int], repeats: int) -> list[dict]:
    """CPU ms of a training step and of a forward pass for each model and kernel."""
    rows = []
    rng = np.random.default_rng(0)
    for count in counts:
        sets, side = BATCHES.get(count, 1), (SPACING2 * count) ** 0.5
        x = rng.uniform(-side / 2, side / 2, (sets, count, 2))
        v = rng.normal(size=x.shape)
        runs = {}
        for model in ("deltagn", "hierarchical_deltagn"):
            for kernel in ("eager", "numba"):
                if (model, kernel) == ("deltagn", "eager") and count > MOST_EAGER:
                    continue
                spec = radial_spec(model)
                scales = ParticleScales.of_lengths(0.2, SPACING2**0.5)
                program = ParticleProgram(spec, scales, 0.01, device="cpu", kernel=kernel)
                theta = particle_layout_of(spec).initial(rng).astype(np.float32)
                batch = program.batch(x, v, np.ones(x.shape[:2]), None, Box(side))
                target = Target(batch.position, 1.01 * batch.velocity)
                program.loss_and_gradient(theta, batch, target)
                runs[model, kernel] = program, theta, batch, target
        taken: dict = {key: [] for key in runs}
        for _ in range(repeats):
            for key, (program, *rest) in runs.items():
                calls = (program.loss_and_gradient, program.loss)
                taken[key].append([each(call, rest) for call in calls])
        for (model, kernel), found in taken.items():
            step, forward = 1000 * np.min(found, 0)
            rows.append(
                {"particles": count, "batch": sets, "model": model, "kernel": kernel,
                 "step": float(step), "forward": float(forward)}
            )  # fmt: skip
    return rows


def each(call: Callable[..., Any], arguments: list) -> float:
    """CPU seconds of a call, the mean over at least `_LEAST` of them: the clock can stand still."""
    begin, calls = time.process_time(), 0
    while (used := time.process_time() - begin) < _LEAST:
        call(*arguments)
        calls += 1
    return used / calls


def form_rows(
    counts: list[int],
    seeds: list[int],
    budget: float,
    trajectories: int,
    timed: int,
    peers_only: bool,
) -> list[dict]:
    """Error and CPU time of a step of trained models, for each number of particles."""
    data = pympnode.simulate("gravity", particles=100, trajectories=trajectories, seed=0, split=0.9)
    tests = {
        count: pympnode.simulate(
            "gravity", particles=count, trajectories=1 if count > 300 else 5, steps=31, seed=99
        )
        for count in counts
    }
    rows = []
    for seed in seeds:
        forms = {} if peers_only else models_of(data, seed, budget, timed)
        for name, kind in RIVALS.items():
            if name == NETWORK and MISSING:
                continue
            forms[name] = rival_for(data, budget, seed, kind)
        for count, test in tests.items():
            for form, model in forms.items():
                errors = evaluate_particles(model, test, horizons=[20])
                error = errors["rmse_published"].sel(predictor="model", horizon=20)
                row = {"particles": count, "form": form, "seed": seed, "rmse": float(error)}
                if form in RIVALS:
                    row |= {"ms": peer_ms(model, test), "updates": model.updates}
                    row["libraries"] = versions("torch", "torch_geometric")
                else:
                    row["ms"] = forward_ms(model, test)
                rows.append(row)
                print(row, flush=True)
    return rows


def models_of(data: Any, seed: int, budget: float, timed: int) -> dict[str, Any]:
    """Models trained for ``budget`` CPU seconds by form: one of all pairs in three forms, and one through cells."""
    common = {"messages": "radial", "seed": seed, "device": "cpu", "timed": timed}
    pairs, _ = train_for(data, budget, model="deltagn", **common)
    cells, _ = train_for(data, budget, model="hierarchical_deltagn", **common)
    pair_model, spec = pairs.model, pairs.model.spec
    through = spec.replace(kicks=1, join="hierarchy", conserve_momentum=True)
    return {
        f"all pairs, {spec.kicks} kicks": pair_model,
        "all pairs, 1 kick": dataclasses.replace(pair_model, spec=spec.replace(kicks=1)),
        "the same weights, through cells": dataclasses.replace(pair_model, spec=through),
        "trained through cells": cells.model,
    }


def peer_ms(model: Any, test: Any) -> float:
    """CPU ms of a step of a rollout of the peer, the shortest of three."""
    some, taken = test.isel(trajectory=[0], time=slice(3)), []
    for _ in range(3):
        begin = time.process_time()
        model.rollout(some)
        taken.append(time.process_time() - begin)
    return 1000 * min(taken) / 2


def mean_errors(forms: list[dict]) -> dict[str, dict[str, float]]:
    """Geometric means over seeds by form and number of particles."""
    found: dict[str, dict[str, list[float]]] = {}
    for row in forms:
        of = found.setdefault(row["form"], {})
        of.setdefault(f"{row['particles']} particles", []).append(row["rmse"])
    return {
        form: {count: math.exp(statistics.mean(map(math.log, e))) for count, e in of.items()}
        for form, of in found.items()
    }


def beside(forms: list[dict]) -> str:
    """What the peers are, and for which numbers of particles one has a smaller error than forms of the models."""
    theirs = [row for row in forms if row["form"] in RIVALS]
    if not theirs:
        return "Peers were not run."
    updates = ", ".join(
        f"{round(statistics.median(r['updates'] for r in theirs if r['form'] == name))} ({name})"
        for name in dict.fromkeys(row["form"] for row in theirs)
    )
    text = (
        f"Peers, all pairs with leapfrog steps of one kick ({theirs[0]['libraries']}; Adam), have the same trajectories "
        "and CPU seconds; the equivariant network assumes central forces as the models do, the interaction network "
        f"no direction. Updates: {updates}."
    )
    means = mean_errors(forms)
    ours = [of for form, of in means.items() if form not in RIVALS]
    worst, best = ({n: pick(of[n] for of in ours) for n in ours[0]} for pick in (max, min))
    for name in dict.fromkeys(row["form"] for row in theirs):
        text += verdict(name, means[name], "the worst form of the models", worst)
        if any(means[name][count] < worst[count] for count in worst):
            text += verdict(name, means[name], "the best form of the models", best)
    return text + not_run(NETWORK)


def table(steps: list[dict], forms: list[dict]) -> str:
    lines = [
        "| particles, batch | model | eager: step, forward, ms | tables: step, forward, ms | ratio |",
        "|---|---|---|---|---|",
    ]
    for count, model in dict.fromkeys((row["particles"], row["model"]) for row in steps):
        found = {r["kernel"]: r for r in steps if (r["particles"], r["model"]) == (count, model)}
        batch = found["numba"]["batch"]
        times = [
            f"{found[k]['step']:.2f}, {found[k]['forward']:.2f}" if k in found else ""
            for k in ("eager", "numba")
        ]
        ratio = f"{found['eager']['step'] / found['numba']['step']:.1f}" if times[0] else ""
        lines.append(f"| {count}, {batch} | {model} | {times[0]} | {times[1]} | {ratio} |")
    lines += ["", "| particles | form | error over 20 steps | ms a step |", "|---|---|---|---|"]
    for count, form in dict.fromkeys((row["particles"], row["form"]) for row in forms):
        mine = [r for r in forms if (r["particles"], r["form"]) == (count, form)]
        error = math.exp(statistics.mean(math.log(r["rmse"]) for r in mine))
        lines.append(f"| {count} | {form} | {error:.3g} | {min(r['ms'] for r in mine):.2g} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--budget", type=float, default=5.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--particles", type=int, nargs="+", default=[20, 100, 300, 1000])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peers-only", action="store_true", help="keep the other stored rows")
    given = parse(parser, budget=0.2, seeds=[0], particles=[20], repeats=2)
    torch.set_num_threads(1)
    out = given.results / "nbody_radial"
    facts = {"python": platform.python_version(), "torch": torch.__version__}
    sizes = (4, 20) if given.smoke else (30, 50)
    if given.peers_only:
        rows = json.loads(out.with_suffix(".json").read_text())
        old = [row for row in rows["forms"] if row["form"] not in RIVALS]
        counts, seeds = (sorted({row[name] for row in old}) for name in ("particles", "seed"))
        rows["forms"] = old + form_rows(counts, seeds, rows["budget"], *sizes, peers_only=True)
    else:
        steps = step_rows(given.particles, given.repeats)
        print(table(steps, []), flush=True)
        rows = {"machine": facts, "budget": given.budget, "steps": steps}
        of = given.particles, given.seeds, given.budget, *sizes
        rows["forms"] = form_rows(*of, peers_only=False)
    # A number of particles at a time.
    rows["forms"].sort(key=lambda row: row["particles"])
    text, seeds = table(rows["steps"], rows["forms"]), {row["seed"] for row in rows["forms"]}
    out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    out.with_suffix(".md").write_text(
        "# Radial messages: kernels, and all pairs beside a hierarchy\n\nOne thread, float32, gravity. "
        f"Errors of models trained on 100 particles for {rows['budget']:g} CPU seconds, "
        f"{len(seeds)} seed(s); free flight has 0.2.\n{beside(rows['forms'])}\n`python benchmarks/nbody_radial.py`\n\n"
        + text
    )
    print(text)


if __name__ == "__main__":
    main()
