"""What a preset learns in the same CPU time: today's against that of version 0.1 (Adam), one thread.

    python benchmarks/learning.py [--seeds 3] [--data kuramoto10 gene16 lorenz3 ...] [--smoke]

"adam2026" is the preset "fast" as it was before SOAP, gradient matching and runs sized by need: Adam at
5e-3 in 80 epochs of windows. It is run whole; then "fast" with its own number of updates, and "fast" with
as many updates as fit into the CPU time of "adam2026". RMSE: of rollouts of fresh trajectories without
noise, in z units. "to its loss": share of the CPU time of "adam2026" after which "fast" has a validation
loss as low as that run's best. Writes benchmarks/results/learning.md.
"""

from __future__ import annotations

import os

# Before NumPy and numba are loaded: the time is that of one thread.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse
import math
import time
from typing import Any

import numpy as np
import torch
import xarray as xr
from smoke import parse

import pympnode
from pympnode.networks.classes import CLASSES

KURAMOTO: dict[str, Any] = {"system": "kuramoto", "nodes": 10, "topology": "BA"}
DATA: dict[str, dict[str, Any]] = {
    "kuramoto10": KURAMOTO,
    "gene16": {"system": "gene", "nodes": 16, "topology": "BA"},
    "lorenz3": {"system": "lorenz", "nodes": 3},
    "lorenz3 coupling 1": {"system": "lorenz", "nodes": 3, "parameters": {"coupling": "medium"}},
    "20 trajectories": {**KURAMOTO, "trajectories": 20},
    "1 % noise": {**KURAMOTO, "noise": 0.01},
    "5 % noise": {**KURAMOTO, "noise": 0.05},
    "sparse": KURAMOTO,
    "30 % missing": KURAMOTO,
}
ADAM2026: dict[str, Any] = {
    "optimiser": "adam", "learning_rate": 5e-3, "matching": 0.0, "epochs": 80,
    "messages": "emitted", "coupling": "superposed",
}  # fmt: skip
SMOKE_EPOCHS, SMOKE_UPDATES = 1, 12


def in_units_of_spread(noise: float, clean: dict[str, Any]) -> float:
    """A noise level in units of the state, from one in units of its standard deviation."""
    ds = pympnode.simulate(**{**clean, "trajectories": 50})
    return noise * float(ds.state.std())


def make(
    name: str, seed: int, trajectories: int | None
) -> tuple[xr.Dataset, xr.Dataset, dict[str, Any]]:
    """Training data, test data without noise, and keywords of `train` that go with them."""
    keywords = {**DATA[name], "seed": seed, "graph_seed": 100 + seed}
    if trajectories is not None:
        keywords["trajectories"] = min(trajectories, keywords.get("trajectories", trajectories))
    noise = keywords.pop("noise", 0.0)
    test = pympnode.simulate(**{**keywords, "trajectories": 128, "seed": seed + 1_000_003})
    if noise:
        keywords["noise"] = in_units_of_spread(noise, keywords)
    ds = pympnode.simulate(**keywords)
    if name == "sparse":
        return ds.isel(time=slice(None, None, 5)), test.isel(time=slice(None, None, 5)), {}
    if name == "30 % missing":
        known = np.random.default_rng(seed).random(ds.state.shape) > 0.3
        known[:, 0] = True
        return ds.assign(state=ds.state.where(known)), test, {"missing": "mask"}
    return ds, test, {}


def learn(ds: xr.Dataset, test: xr.Dataset, **options: Any) -> tuple[float, pympnode.Result, float]:
    """CPU seconds of a run, its result, and the RMSE of rollouts of ``test`` in z units."""
    began = time.process_time()
    result = pympnode.train(data=ds, progress=False, **options)
    spent = time.process_time() - began
    predicted = result.model.rollout(test, check=False).state
    error = (predicted - test.state).isel(time=slice(1, None))
    error = error / test.state.std(("trajectory", "time", "node"))
    return spent, result, float(np.sqrt((error**2).mean()))


def competition(result: pympnode.Result) -> float:
    """Share of a run in which classes of models competed; history and updates are of the rest."""
    compared = "classes" in result.history.attrs
    return float(result.model.about["training"]["race"]) if compared else 0.0


def share_to(result: pympnode.Result, loss: float) -> float:
    """Share of a run after which its validation loss is at most ``loss``; inf where it never is."""
    reached = np.flatnonzero(result.history.validation_loss.values <= loss)
    seconds, before = result.history.seconds.values, competition(result)
    if not reached.size:
        return math.inf
    return before + (1 - before) * float(seconds[reached[0]] / seconds[-1])


def main() -> None:
    """Print a row for each run, and the geometric means over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=20)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--trajectories", type=int)
    options = parse(parser, seeds=1, data=["kuramoto10", "lorenz3"], trajectories=20)
    torch.set_num_threads(1)
    lines: list[str] = []

    def say(line: str) -> None:
        print(line, flush=True)
        lines.append(line)

    kernel = {"kernel": "eager"} if options.smoke else {}
    # Compilation is not part of a run.
    warm = pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=8, steps=26)
    for fields in (ADAM2026, *CLASSES.values()):
        few = {**fields, **kernel, "updates": 8}
        few.pop("epochs", None)
        pympnode.train(data=warm, progress=False, **few)

    say("| data | seed | preset | updates | CPU, s | validation loss | RMSE | to its loss |")
    say("|---|---|---|---|---|---|---|---|")
    gains: dict[str, list[tuple[float, float, float]]] = {}
    for name in options.data:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            ds, test, more = make(name, seed, options.trajectories)
            more = {**more, **kernel, "seed": seed}
            old_length = {"epochs": SMOKE_EPOCHS} if options.smoke else {}
            length = {"updates": SMOKE_UPDATES} if options.smoke else {}
            before, adam, adam_rmse = learn(ds, test, **{**ADAM2026, **more, **old_length})
            rows = [("adam2026", adam, before, adam_rmse, "")]
            spent, fast, rmse = learn(ds, test, **more, **length)
            share = share_to(fast, adam.best_loss) * spent / before
            rows.append(("fast", fast, spent, rmse, f"{share:.3f}"))
            whole = fast.updates / (1 - competition(fast))
            updates = max(1, round(whole * before / spent))
            updates = min(updates, SMOKE_UPDATES) if options.smoke else updates
            spent, fast, rmse = learn(ds, test, **more, updates=updates)
            rows.append(("fast, equal CPU", fast, spent, rmse, ""))
            for preset, result, seconds, error, to in rows:
                say(
                    f"| {name} | {seed} | {preset} | {result.updates} | {seconds:.1f} | "
                    f"{result.best_loss:.3g} | {error:.3g} | {to} |",
                )
            found = (adam.best_loss / fast.best_loss, adam_rmse / rmse, share)
            gains.setdefault(name, []).append(found)
    say("\nGeometric means over seeds: adam2026 divided by fast at equal CPU time\n")
    say("| data | seeds | validation loss | RMSE | CPU time to its loss |")
    say("|---|---|---|---|---|")
    for name, found in gains.items():
        loss, error, share = np.exp(np.log(np.array(found)).mean(axis=0))
        say(f"| {name} | {len(found)} | {loss:.3g} | {error:.3g} | {share:.3f} |")
    (options.results / "learning.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
