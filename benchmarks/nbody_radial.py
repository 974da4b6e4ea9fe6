"""Radial messages: the kernel of tables beside the eager one, and all pairs beside a hierarchy.

    python benchmarks/nbody_radial.py [--budget 5] [--seeds 0 1 2] [--particles 100 300 1000]

First the CPU time of a training step (loss and gradient) and of a forward pass, gravity, float32, one
thread, candidates interleaved, the shortest of several. Then models that were trained on 100 particles
for ``--budget`` CPU seconds, one of all pairs and one through cells: CPU time of a step and error over
20 steps (as published, geometric mean over seeds) at several numbers of particles; the model of pairs
also with one kick in a step, and with the same weights through cells. Beside them a peer with the same
trajectories and CPU seconds, an interaction network of all pairs in torch_geometric (`peers.InteractionRival`). Writes
benchmarks/results/nbody_radial.{json,md}.
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
from nbody_training import NETWORK, rival_for, train_for
from peers import MISSING, InteractionRival, not_run, versions
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
    counts: list[int], seeds: list[int], budget: float, trajectories: int, timed: int
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
        common = {"messages": "radial", "seed": seed, "device": "cpu", "timed": timed}
        pairs, _ = train_for(data, budget, model="deltagn", **common)
        cells, _ = train_for(data, budget, model="hierarchical_deltagn", **common)
        pair_model, spec = pairs.model, pairs.model.spec
        through = spec.replace(kicks=1, join="hierarchy", conserve_momentum=True)
        forms = {
            f"all pairs, {spec.kicks} kicks": pair_model,
            "all pairs, 1 kick": dataclasses.replace(pair_model, spec=spec.replace(kicks=1)),
            "the same weights, through cells": dataclasses.replace(pair_model, spec=through),
            "trained through cells": cells.model,
        }
        if not MISSING:
            forms[NETWORK] = rival_for(data, budget, seed, InteractionRival)
        for count, test in tests.items():
            for form, model in forms.items():
                errors = evaluate_particles(model, test, horizons=[20])
                error = errors["rmse_published"].sel(predictor="model", horizon=20)
                ms = peer_ms(model, test) if form == NETWORK else forward_ms(model, test)
                rows.append(
                    {"particles": count, "form": form, "seed": seed, "rmse": float(error), "ms": ms}
                )
                print(rows[-1], flush=True)
    return rows


def peer_ms(model: Any, test: Any) -> float:
    """CPU ms of a step of a rollout of the peer, the shortest of three."""
    some, taken = test.isel(trajectory=[0], time=slice(6)), []
    for _ in range(3):
        begin = time.process_time()
        model.rollout(some)
        taken.append(time.process_time() - begin)
    return 1000 * min(taken) / 5


def beside(forms: list[dict]) -> str:
    """What the peer is, and where it has a smaller error than all pairs."""
    if not any(row["form"] == NETWORK for row in forms):
        return not_run(NETWORK).strip()
    text = (
        f"The {NETWORK} is the peer ({versions('torch', 'torch_geometric')}; all pairs, leapfrog steps, no "
        "assumption on directions of forces), with the same trajectories and CPU seconds."
    )
    for count in dict.fromkeys(row["particles"] for row in forms):
        errors: dict[str, list[float]] = {}
        for row in forms:
            if row["particles"] == count:
                errors.setdefault(row["form"], []).append(row["rmse"])
        best = min(errors, key=lambda form: statistics.mean(map(math.log, errors[form])))
        text += f" It has the smallest error with {count} particles." if best == NETWORK else ""
    return text


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
    given = parse(parser, budget=0.2, seeds=[0], particles=[20], repeats=2)
    torch.set_num_threads(1)
    steps = step_rows(given.particles, given.repeats)
    print(table(steps, []), flush=True)
    forms = form_rows(
        given.particles, given.seeds, given.budget, 4 if given.smoke else 30, 20 if given.smoke else 50
    )  # fmt: skip
    text = table(steps, forms)
    facts = {"python": platform.python_version(), "torch": torch.__version__}
    out = given.results / "nbody_radial"
    rows = {"machine": facts, "budget": given.budget, "steps": steps, "forms": forms}
    out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    out.with_suffix(".md").write_text(
        "# Radial messages: kernels, and all pairs beside a hierarchy\n\nOne thread, float32, gravity. "
        f"Errors of models trained on 100 particles for {given.budget:g} CPU seconds, "
        f"{len(given.seeds)} seed(s); free flight has 0.2.\n{beside(forms)}\n`python benchmarks/nbody_radial.py`\n\n"
        + text
    )
    print(text)


if __name__ == "__main__":
    main()
