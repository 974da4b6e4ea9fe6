"""One long run of each paper's model: Kuramoto10 as published, and a hierarchical DeltaGN of 1,000 particles.

    python benchmarks/long_runs.py [--only kuramoto gravity] [--budget 3600] [--peer-budget 600] [--trajectories N]

An hour of CPU time of one thread for each run, and what it had reached on the way: the best validation loss at
fractions of the time. Kuramoto10 is ``preset="paper"`` (the published class, optimiser and batches); the
particles are ``model="hierarchical_deltagn"`` with the package's own training. Beside them in the same
run: the package's default, which ends by itself on Kuramoto and gets the peer's time on particles, a peer
(`peers.Rival`, an edge-function graph neural ODE; `peers.InteractionRival`, an interaction network) with
--peer-budget CPU seconds, and rows that learn nothing. All are tested on trajectories of another seed. A run that was interrupted
goes on from its folder (``runs/long_runs``). A case is written when it is done; the other stored one is kept.
Writes benchmarks/results/long_runs.{json,md}.
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
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from peers import EDGE_ODE, MISSING, InteractionRival, Rival, not_run, versions
from smoke import parse

import pympnode
from pympnode.datasets.record import record
from pympnode.networks.schema import graphs_of
from pympnode.particles.evaluate import evaluate_particles

RUNS = Path(__file__).parent.parent / "runs" / "long_runs"
TEST_SEED = 20_250_101
NETWORK = "interaction network in torch_geometric"
FRACTIONS = (1 / 60, 1 / 12, 1 / 6, 1 / 3, 1 / 2, 1.0)
TITLES = {
    "kuramoto": "Kuramoto10, the published configuration",
    "gravity": "Gravity, N = 1000, hierarchical DeltaGN",
}


def learned(data: xr.Dataset, run: Path | None, **options: Any) -> dict[str, Any]:
    """A run: its model, CPU seconds, updates and best validation loss on the way."""
    begin = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pympnode.PympnodeWarning)
        result = pympnode.train(data=data, run=run, progress=False, **options)
    seconds, updates = time.process_time() - begin, result.history.updates.values
    best = np.fmin.accumulate(result.history.validation_loss.values)
    on_the_way = {}
    for fraction in FRACTIONS:
        reached = np.flatnonzero(updates <= fraction * updates[-1])
        if reached.size:
            on_the_way[f"{fraction:.4f}"] = float(best[reached[-1]])
    return {
        "model": result.model, "seconds": seconds, "updates": int(updates[-1]), "status": result.status,
        "validation_loss": on_the_way,
    }  # fmt: skip


def without_model(run: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in run.items() if name != "model"}


def kuramoto(budget: float, peer_budget: float, trajectories: int | None, run: Path | None) -> Any:
    """Loss (Huber, z units) and RMSE (z units) of each row on 300 trajectories of the same graph."""
    more = {} if trajectories is None else {"trajectories": trajectories}
    about: dict[str, Any] = dict(system="kuramoto", topology="BA", nodes=10)
    data = pympnode.simulate(**about, **more, seed=0)
    test = pympnode.simulate(**about, **({"trajectories": 300} | more), seed=TEST_SEED, split=None)
    runs = {
        "default, as it ends by itself": learned(data, None, **({"epochs": 2} if more else {})),
        "published configuration": learned(data, run, preset="paper", time_budget=budget),
    }
    rows: dict[str, Any] = {}
    for name, found in runs.items():
        score = pympnode.evaluate(found["model"], test)
        for predictor in score.predictor.values:
            one = score.sel(predictor=predictor)
            row = {"loss": float(one.loss), "rmse": float(one.rmse_z.mean())}
            key = name if predictor == "model" else str(predictor)
            rows.setdefault(key, row | (without_model(found) if key == name else {}))
    if MISSING:
        print(not_run(EDGE_ODE))
        return rows
    states = data.state.values[data.split.values == "train"]
    step = float(data.time[1] - data.time[0])
    begin = time.process_time()
    rival = Rival(states, graphs_of(data)[0], step, peer_budget, seed=0)
    spent = time.process_time() - begin
    truth = test.state.values
    predicted = rival.rollout(truth[:, 0], graphs_of(test)[0], step, truth.shape[1] - 1)
    apart = (predicted - truth) / rival.scale
    size = np.abs(apart[:, 1:])
    huber = np.where(size < 1, 0.5 * size**2, size - 0.5)
    rows[f"peer: {EDGE_ODE}"] = {
        "loss": float(huber.sum((1, 3)).mean()), "rmse": float(np.sqrt((apart**2).mean())),
        "seconds": spent, "updates": rival.updates, "libraries": versions(),
    }  # fmt: skip
    return rows


def gravity(budget: float, peer_budget: float, trajectories: int | None, run: Path | None) -> Any:
    """Published RMSE over 20 and 200 steps and energy error of each row on three trajectories."""
    more: dict[str, Any] = {} if trajectories is None else {"steps": 20}
    about: dict[str, Any] = dict(system="gravity", particles=1000 if trajectories is None else 30)
    data = pympnode.simulate(**about, trajectories=trajectories or 20, seed=0)
    test = pympnode.simulate(**about, trajectories=3, seed=TEST_SEED, split=None, **more)
    runs = {
        "default (radial messages)": learned(data, None, time_budget=peer_budget),
        "hierarchical DeltaGN": learned(
            data, run, model="hierarchical_deltagn", time_budget=budget
        ),
    }
    rows: dict[str, Any] = {}

    def keep(name: str, errors: xr.Dataset, found: dict[str, Any] | None = None) -> None:
        rows[name] = {
            f"{quantity}_{int(h)}": float(errors[quantity].sel(horizon=h))
            for quantity in ("rmse_published", "energy_error")
            for h in errors["horizon"].values
        } | (without_model(found) if found else {})

    for name, found in runs.items():
        errors = pympnode.evaluate(found["model"], test)
        for predictor in map(str, errors["predictor"].values):
            if predictor == "model":
                keep(name, errors.sel(predictor=predictor), found)
            elif predictor not in rows:
                keep(predictor, errors.sel(predictor=predictor))
    if MISSING:
        print(not_run(NETWORK))
        return rows
    part = data.isel(trajectory=np.flatnonzero(data.split.values == "train"))
    begin = time.process_time()
    rival = InteractionRival(
        part.position.values, part.velocity.values, record(data)["parameters"]["side"],
        float(data.time[1] - data.time[0]), peer_budget, seed=0, batch=1,
    )  # fmt: skip
    spent = time.process_time() - begin
    # All pairs of 1,000 particles cost seconds a step: the shorter horizon, which the rows above have too.
    short = test.isel(time=slice(0, 21))
    errors = evaluate_particles(rival, short).sel(predictor="model")
    about = {"seconds": spent, "updates": rival.updates}
    keep(f"peer: {NETWORK}", errors, about | {"libraries": versions("torch", "torch_geometric")})
    return rows


CASES = {"kuramoto": kuramoto, "gravity": gravity}


def table(case: str, rows: dict[str, Any]) -> str:
    """Markdown of one case: errors of each row, then its validation loss on the way."""
    names = [
        name
        for name in ("loss", "rmse", "rmse_published_20", "rmse_published_200", "energy_error_200")
        if any(name in row for row in rows.values())
    ]
    lines = [
        f"## {TITLES[case]}", "", f"| row | {' | '.join(names)} | updates | CPU s |",
        "|---|" + "---|" * (len(names) + 2),
    ]  # fmt: skip
    for what, row in rows.items():
        shown = [f"{row[name]:.3g}" if name in row else "not run" for name in names]
        ran = [str(row["updates"]), f"{row['seconds']:.0f}"] if "updates" in row else ["", ""]
        lines.append(f"| {what} | {' | '.join(shown + ran)} |")
    lines += ["", "Best validation loss after a part of the updates:", ""]
    lines += [
        "| row | " + " | ".join(f"{100 * f:.3g} %" for f in FRACTIONS) + " |",
        "|---|" + "---|" * len(FRACTIONS),
    ]
    for what, row in rows.items():
        if found := row.get("validation_loss"):
            cells = [f"{found[k]:.3g}" if (k := f"{f:.4f}") in found else "" for f in FRACTIONS]
            lines.append(f"| {what} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=TITLES, default=list(TITLES))
    parser.add_argument("--budget", type=float, default=3600, help="CPU seconds of each long run")
    parser.add_argument("--peer-budget", type=float, default=600, help="CPU seconds of each peer")
    parser.add_argument("--trajectories", type=int, help="to train on; the package's own number")
    given = parse(parser, budget=0.5, peer_budget=0.5, trajectories=4)
    torch.set_num_threads(1)
    path = given.results / "long_runs.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    for case in given.only:
        run = None if given.smoke else RUNS / case
        rows = CASES[case](given.budget, given.peer_budget, given.trajectories, run)
        # Another process may have stored the other case meanwhile.
        stored = (json.loads(path.read_text()) if path.exists() else {}) | {case: rows}
        path.write_text(json.dumps(stored, indent=1) + "\n")
    head = (
        "# Long runs\n\nOne run of each, one seed, one thread, CPU time. `python benchmarks/long_runs.py`\n\n"
        "Losses are Huber sums in z units of the training data, RMSE in z units; particles have the published errors.\n\n"
    )
    text = head + "\n\n".join(table(c, stored[c]) for c in TITLES if c in stored) + "\n"
    (given.results / "long_runs.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
