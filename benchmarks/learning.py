"""What a default run learns in the CPU time of one of version 0.1, and rivals in the same time; one thread.

    python benchmarks/learning.py [--seeds 3] [--data kuramoto10 gene16 lorenz3 ...] [--smoke]
    python benchmarks/learning.py --earlier FOLDER    # a checkout of version 0.1 that holds pympnode/
    python benchmarks/learning.py --rows A.json B.json ...    # tables of rows that were measured before

Rows: "0.1", a default run of that version in a process of its own (without --earlier today's code with
its settings: Adam at 5e-3 in 80 epochs of windows, emitted messages); "today", with as many updates as
fit into its CPU time; "today, a tenth", with as many as fit into a tenth of it; "edge GNN", an
edge-function graph neural ODE in torch_geometric and torchdiffeq with Adam; and "pysindy, true terms",
a regression on the terms of the true equation, which bounds what can be reached. RMSE: of rollouts of
fresh trajectories without noise, in z units. Losses of noisy data hold the noise. Rivals have missing
values filled linearly. Writes learning.json and learning.md into benchmarks/results.
"""

from __future__ import annotations

import os

# Before NumPy and numba are loaded: the time is that of one thread.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

import argparse
import importlib.util
import json
import math
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from peers import MISSING, Rival, TrueLibrary
from smoke import parse

import pympnode
from pympnode.networks.classes import CLASSES
from pympnode.networks.schema import graphs_of

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


def share_to(result: pympnode.Result, loss: float) -> float:
    """Share of a run after which its validation loss is at most ``loss``; inf where it never is."""
    reached = np.flatnonzero(result.history.validation_loss.values <= loss)
    before = float(result.history.attrs.get("race_seconds", 0.0))
    seconds = before + result.history.seconds.values
    return float(seconds[reached[0]] / seconds[-1]) if reached.size else math.inf


def earlier(ds: xr.Dataset, test: xr.Dataset, folder: Path, **options: Any) -> dict[str, Any]:
    """A default run of the version in ``folder``, see `earlier.py`."""
    with tempfile.TemporaryDirectory() as place:
        paths = [str(Path(place) / name) for name in ("train.nc", "test.nc")]
        for each, path in zip((ds, test), paths):
            each.to_netcdf(path)
        paths_of_imports = [str(folder.resolve()), str(Path(__file__).resolve().parent)]
        out = subprocess.run(
            [sys.executable, "-c", "import earlier; earlier.main()", *paths, json.dumps(options)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths_of_imports)},
            cwd=place, capture_output=True, text=True, check=True,
        )  # fmt: skip
    return dict(json.loads(out.stdout.splitlines()[-1]))


def row_of(who: str, run: tuple[float, pympnode.Result, float]) -> dict[str, Any]:
    seconds, result, error = run
    spec = result.model.spec
    return {
        "who": who, "seconds": seconds, "updates": result.updates, "loss": result.best_loss,
        "error": error, "class": f"{spec.messages}, {spec.coupling}",
    }  # fmt: skip


def rivals(name: str, ds: xr.Dataset, test: xr.Dataset, seconds: float, seed: int) -> list[dict]:
    """Rows of the edge GNN in ``seconds`` of CPU time, and of pysindy."""
    graph, dt = graphs_of(ds)[0], float(ds.time[1] - ds.time[0])
    x = ds.state.values[ds.split.values == "train"]
    if np.isnan(x).any():
        x = ds.state.interpolate_na("time", fill_value="extrapolate").values[
            ds.split.values == "train"
        ]
    found, truth = [], test.state
    scale = truth.std(("trajectory", "time", "node")).values

    def score(who: str, make: Any) -> None:
        began = time.process_time()
        rival = make()
        spent = time.process_time() - began
        error = rival.rollout(truth.values[:, 0], graph, dt, truth.sizes["time"] - 1)
        error = ((error - truth.values) / scale)[:, 1:]
        found.append({
            "who": who, "seconds": spent, "updates": getattr(rival, "updates", None),
            "loss": None, "error": float(np.sqrt((error**2).mean())), "class": "",
        })  # fmt: skip

    if not MISSING:
        Rival(x[:8], graph, dt, 0.01)  # what is loaded at a first call is not part of a run
        score("edge GNN", lambda: Rival(x, graph, dt, seconds, seed=seed))
    if importlib.util.find_spec("pysindy"):
        system, noisy = DATA[name]["system"], "noise" in name
        score("pysindy, true terms", lambda: TrueLibrary(x, graph, dt, system, noisy=noisy))
    return found


def compare(name: str, seed: int, options: Any) -> list[dict[str, Any]]:
    """The rows of one cell."""
    ds, test, more = make(name, seed, options.trajectories)
    more = {**more, "seed": seed}
    kernel = {"kernel": "eager"} if options.smoke else {}
    if options.earlier is None:
        length = {"epochs": SMOKE_EPOCHS} if options.smoke else {}
        run = learn(ds, test, **{**ADAM2026, **more, **kernel, **length})
        rows = [row_of("0.1", run)]
    else:
        rows = [{"who": "0.1", "class": "emitted, superposed"}]
        rows[0] |= earlier(ds, test, options.earlier, **more)
    goal, made = rows[0]["seconds"], rows[0]["updates"]

    def within(seconds: float, guess: float) -> tuple[float, pympnode.Result, float]:
        """A run of about ``seconds``: of ``guess`` updates, and once more where that was far off."""
        updates = SMOKE_UPDATES if options.smoke else max(20, round(guess))
        tried = []
        for _ in range(1 if options.smoke else 3):
            found = learn(ds, test, **more, **kernel, updates=updates)
            tried.append(found)
            if 0.7 < found[0] / seconds < 1.1:
                return found
            updates = max(20, round(0.95 * updates * seconds / found[0]))
        # Runs of fewer than 600 updates have another class, so that no number may fit.
        fitting = [one for one in tried if one[0] < 1.1 * seconds]
        order = [one[0] for one in fitting or tried]
        return fitting[int(np.argmax(order))] if fitting else tried[int(np.argmin(order))]

    # An update of SOAP, with matching in most of the run, takes less than one of Adam on windows.
    run = within(goal / 10, 0.15 * made)
    short = row_of("today, a tenth", run)
    per_update = short["seconds"] / short["updates"]
    run = within(goal, goal / per_update / (1.3 if "lorenz" in name else 2.8))
    full = row_of("today", run)
    full["to"] = share_to(run[1], rows[0]["loss"]) * full["seconds"] / goal
    rows += [full, short]
    if not options.smoke:
        rows += rivals(name, ds, test, goal, seed)
    return [{"data": name, "seed": seed, **row} for row in rows]


def geometric(values: list[float]) -> float:
    return float(np.exp(np.log(values).mean()))


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: geometric means over seeds of every row, then ratios."""

    def text(mine: list[dict[str, Any]], key: str) -> str:
        values = [row[key] for row in mine]
        return "" if None in values else f"{geometric(values):.3g}"

    def of(name: str, who: str) -> list[dict[str, Any]]:
        found = [row for row in rows if (row["data"], row["who"]) == (name, who)]
        return sorted(found, key=lambda row: row["seed"])

    names = dict.fromkeys(row["data"] for row in rows)
    lines = ["| data | seeds | who | class | CPU, s | updates | validation loss | RMSE |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for name in names:
        for who in dict.fromkeys(row["who"] for row in rows if row["data"] == name):
            mine = of(name, who)
            classes = " / ".join(dict.fromkeys(row["class"] for row in mine))
            cells = [text(mine, key) for key in ("seconds", "updates", "loss", "error")]
            lines.append(f"| {name} | {len(mine)} | {who} | {classes} | {' | '.join(cells)} |")
    lines += ["", "0.1 divided by today; in brackets the smallest ratio of a seed", ""]
    lines += [
        "| data | seeds | loss, equal CPU time | RMSE, equal CPU time | loss, a tenth of the CPU time | "
        "RMSE, a tenth | share of its CPU time to its loss |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in names:
        before = of(name, "0.1")
        cells = []
        for who in ("today", "today, a tenth"):
            for key in ("loss", "error"):
                ratios = [a[key] / b[key] for a, b in zip(before, of(name, who))]
                cells.append(f"{geometric(ratios):.3g} ({min(ratios):.2g})")
        share = geometric([row["to"] for row in of(name, "today")])
        lines.append(f"| {name} | {len(before)} | {' | '.join(cells)} | {share:.3f} |")
    return "\n".join(lines)


def main() -> None:
    """Print a row for each run, and tables of geometric means over the seeds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=20)
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    parser.add_argument("--trajectories", type=int, default=400)
    parser.add_argument("--earlier", type=Path, help="folder that holds pympnode/ of version 0.1")
    parser.add_argument("--rows", type=Path, nargs="+", help="make the tables of these rows only")
    parser.add_argument("--out", type=Path, help="path of both results, no suffix")
    options = parse(parser, seeds=1, data=["kuramoto10", "lorenz3"], trajectories=20)
    torch.set_num_threads(1)
    out = options.out or options.results / "learning"
    rows: list[dict[str, Any]] = []
    if options.rows:
        rows = [row for path in options.rows for row in json.loads(path.read_text())]
    else:
        # Compilation is not part of a run.
        warm = pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=8, steps=26)
        for fields in (ADAM2026, *CLASSES.values()):
            few = {**fields, "updates": 8} | ({"kernel": "eager"} if options.smoke else {})
            few.pop("epochs", None)
            pympnode.train(data=warm, progress=False, **few)
        for name in options.data:
            for seed in range(options.first_seed, options.first_seed + options.seeds):
                for row in compare(name, seed, options):
                    print(json.dumps(row), flush=True)
                    rows.append(row)
                out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    header = (
        f"One thread, {platform.machine()}, pympnode {pympnode.__version__}; up to {options.trajectories} "
        "trajectories; geometric means over seeds.\n\n"
    )
    out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    out.with_suffix(".md").write_text(header + table(rows) + "\n")
    print(header + table(rows))


if __name__ == "__main__":
    main()
