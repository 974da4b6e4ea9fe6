"""The two presets at equal CPU time: what is held out, and zero-shot on other graphs and sizes.

    python benchmarks/presets.py                      # three seeds, about 10 minutes
    python benchmarks/presets.py --long 600
    python benchmarks/presets.py --systems lorenz --first-seed 2 --seeds 1    # adds to the stored rows
    python benchmarks/presets.py --peer-only          # measures the peer of the stored rows, keeps the rest
    python benchmarks/presets.py --epochs 20 --seeds 1 --systems kuramoto

Both presets run on the same data with the same code and kernel, one thread. `fast` runs as it is
shipped (or for --epochs); `paper` gets as many updates as fill the CPU time that `fast` then took, by
its own measured CPU time an update; "paper, sum" is `paper` with sums of six message components in
place of means of three, the rest of its training, and the same number of updates. With --long one more
run of `paper`, of so many CPU seconds, is tested on the first system and seed. Errors are the training loss (Huber in z units of the training data, summed over
features and times, mean over nodes and trajectories) on test sets that no choice was made on. The rows
"persistence" and "uncoupled" stand beside, and a peer with the CPU time of `fast` and the same training data, an
edge-function graph neural ODE in torch_geometric and torchdiffeq (`peers.Rival`). Rows of other systems and seeds that are
stored stay. Writes benchmarks/results/presets.{json,md} after each row.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import platform
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from peers import EDGE_ODE, MISSING, Rival, not_run, verdict, versions
from smoke import parse

import pympnode
from pympnode.networks.schema import graphs_of

TEST_SEED = 20_250_101
SUM: dict[str, Any] = {"aggregation": "sum", "message_size": 6}

SYSTEMS: dict[str, dict[str, Any]] = {
    "kuramoto": {
        "title": "Kuramoto10 BA",
        "train": dict(system="kuramoto", topology="BA"),
        "transfer": {
            "ER, 5 edges": dict(topology=("ER", {"m": 5}), nodes=10),
            "WS": dict(topology="WS", nodes=10),
            "BA(20,9)": dict(topology=("BA", {"k": 9}), nodes=20),
            "BA(6,3)": dict(topology=("BA", {"k": 3}), nodes=6),
        },
    },
    "gene": {
        "title": "gene16 BA",
        "train": dict(system="gene", topology="BA", nodes=16),
        "transfer": {
            "BA64": dict(topology="BA", nodes=64),
            "ER64": dict(topology="ER", nodes=64),
            "WS64": dict(topology="WS", nodes=64),
        },
    },
    "lorenz": {
        "title": "Lorenz3",
        "train": dict(system="lorenz", nodes=3),
        "transfer": {},
    },
}


def cpu(function: Any) -> tuple[Any, float]:
    """What ``function`` returns, and the CPU seconds it took."""
    start = time.process_time()
    return function(), time.process_time() - start


def losses(model: pympnode.Model, ds: Any) -> dict[str, float]:
    """Loss of the model and of the baselines on one test set."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pympnode.PympnodeWarning)
        score = pympnode.evaluate(model, ds)
    return {str(p): float(score.loss.sel(predictor=p)) for p in score.predictor.values}


def history_in_words(result: pympnode.Result) -> str:
    """The best validation loss by a quarter, half and the end of a run."""
    best = np.minimum.accumulate(result.history.validation_loss.values)
    at = [len(best) // 4, len(best) // 2, len(best)]
    found = [f"{result.history.updates.values[n - 1]}: {best[n - 1]:.3g}" for n in at if n]
    return "best validation loss by updates: " + ", ".join(found)


def test_sets(key: str, seed: int, sizes: dict[str, int]) -> dict[str, Any]:
    """Data that no choice was made on, by title."""
    about = SYSTEMS[key]
    tests = {
        "held out": pympnode.simulate(
            **about["train"], **{"trajectories": 300, **sizes}, seed=TEST_SEED + seed, split=None
        )
    }
    for title, where in about["transfer"].items():
        tests[title] = pympnode.simulate(
            about["train"]["system"],
            **where,
            **{"trajectories": 100, **sizes},
            seed=TEST_SEED + seed,
            graph_seed=101 + seed,
            split=None,
        )
    return tests


def peer(
    key: str, seed: int, sizes: dict[str, int], tests: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """CPU seconds, updates and the loss on each test set of the peer; empty where it is not installed."""
    if MISSING:
        return {}
    ds = pympnode.simulate(**SYSTEMS[key]["train"], **sizes, seed=seed)
    x, dt = ds.state.values[ds.split.values == "train"], float(ds.time[1] - ds.time[0])
    given = x, graphs_of(ds)[0], dt
    Rival(*given, 0.01)  # what is loaded at a first call is no part of a run
    rival, spent = cpu(lambda: Rival(*given, seconds, seed=seed))
    found = {}
    for title, test in tests.items():
        truth = test.state.values
        predicted = rival.rollout(truth[:, 0], graphs_of(test)[0], dt, truth.shape[1] - 1)
        size = np.abs((predicted - truth)[:, 1:] / rival.scale)
        huber = np.where(size < 1, 0.5 * size**2, size - 0.5)
        found[title] = float(huber.sum((1, 3)).mean())
    return {"seconds": spent, "updates": rival.updates, "loss": found, "libraries": versions()}


def compare(
    key: str,
    seed: int,
    epochs: int | None,
    sizes: dict[str, int],
    most: float,
    long: float = 0.0,
) -> dict[str, Any]:
    """Train both presets on one system and seed, and test both everywhere.

    ``sizes`` replaces the numbers of trajectories; ``most`` bounds the updates of "paper"; ``long``:
    CPU seconds of one more run of it, 0 for none.
    """
    about = SYSTEMS[key]
    common = dict(**about["train"], **sizes, seed=seed, progress=False)
    tests = test_sets(key, seed, sizes)
    # Kernels compile and data are made once, outside of what is compared.
    pympnode.train(**common, updates=12)
    pympnode.train(**common, preset="paper", updates=12)
    _, base = cpu(lambda: pympnode.train(**common, preset="paper", updates=6))
    _, more = cpu(lambda: pympnode.train(**common, preset="paper", updates=66))
    fast, fast_cpu = cpu(lambda: pympnode.train(**common, epochs=epochs))
    updates = max(6, round(min(most, (fast_cpu - base) / ((more - base) / 60))))
    paper, paper_cpu = cpu(lambda: pympnode.train(**common, preset="paper", updates=updates))
    of_class, class_cpu = cpu(
        lambda: pympnode.train(**common, preset="paper", **SUM, updates=updates)
    )
    out: dict[str, Any] = {
        "system": about["title"],
        "seed": seed,
        "cpu_seconds": {"fast": fast_cpu, "paper": paper_cpu, "paper, sum": class_cpu},
        "updates": {"fast": fast.updates, "paper": paper.updates},
        "class": fast.history.attrs.get("classes", ""),
        "kernel": fast.kernel,
        "loss": {},
    }
    models = {"fast": fast.model, "paper": paper.model, "paper, sum": of_class.model}
    if long:
        wanted = max(6, round(min(most, (long - base) / ((more - base) / 60))))
        run, seconds = cpu(lambda: pympnode.train(**common, preset="paper", updates=wanted))
        models["paper, long"] = run.model
        out["cpu_seconds"]["paper, long"], out["updates"]["paper, long"] = seconds, run.updates
        out["long"] = history_in_words(run)
    for title, ds in tests.items():
        of_models = {who: losses(model, ds) for who, model in models.items()}
        baselines = {k: v for k, v in of_models["fast"].items() if k != "model"}
        out["loss"][title] = baselines | {who: of["model"] for who, of in of_models.items()}
    out["peer"] = peer(key, seed, sizes, tests, fast_cpu)
    print(json.dumps(out), flush=True)
    return out


def geometric(values: list[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: a row a test set, geometric means over seeds, ratio with its smallest seed."""
    lines = [
        "| system | test set | paper | paper, sum | edge GNN ODE | fast | ratio paper / fast | smallest of the seeds | "
        "uncoupled | persistence | CPU s paper / fast |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for system in dict.fromkeys(row["system"] for row in rows):
        mine = [row for row in rows if row["system"] == system]
        transfer = []
        for title in mine[0]["loss"]:
            of = {
                who: [row["loss"][title][who] for row in mine]
                for who in ("paper", "paper, sum", "fast", "uncoupled", "persistence")
            }
            ratios = [p / f for p, f in zip(of["paper"], of["fast"])]
            if title != "held out":
                transfer += ratios
            spent = " / ".join(
                f"{np.mean([row['cpu_seconds'][who] for row in mine]):.0f}"
                for who in ("paper", "fast")
            )
            cells = [f"{geometric(of[who]):.3g}" for who in ("paper", "paper, sum", "fast")]
            theirs = [row["peer"]["loss"][title] for row in mine if row.get("peer")]
            cells.insert(2, f"{geometric(theirs):.3g}" if theirs else "not run")
            cells += [f"{geometric(ratios):.3g}x", f"{min(ratios):.3g}x"]
            cells += [f"{geometric(of[who]):.3g}" for who in ("uncoupled", "persistence")]
            lines.append(f"| {system} | {title} | {' | '.join(cells)} | {spent} |")
        if transfer:
            lines.append(
                f"| {system} | all zero-shot columns | | | | | {geometric(transfer):.3g}x | "
                f"{min(transfer):.3g}x | | | |"
            )
    for row in rows:
        if "long" in row:
            seconds, updates = row["cpu_seconds"]["paper, long"], row["updates"]["paper, long"]
            found = ", ".join(f"{t} {loss['paper, long']:.3g}" for t, loss in row["loss"].items())
            lines += [
                "",
                f"`paper` for {seconds:.0f} CPU s, {updates} updates, {row['system']}, seed "
                f"{row['seed']}: {found}; {row['long']}.",
            ]
    return "\n".join(lines)


def beside(rows: list[dict[str, Any]]) -> str:
    """What the peer is, and on which test sets it has a smaller loss than each preset."""
    there = [row for row in rows if row.get("peer")]
    if not there:
        return not_run(EDGE_ODE)
    systems = list(dict.fromkeys(row["system"] for row in there))
    updates = ", ".join(
        f"{np.mean([row['peer']['updates'] for row in there if row['system'] == system]):.0f} ({system})"
        for system in systems
    )
    text = (
        f" {EDGE_ODE}: the peer, an edge-function graph neural ODE ({there[0]['peer']['libraries']}; Adam) with the "
        f"CPU time of `fast` and the same data; updates: {updates}."
    )
    for who in ("fast", "paper", "paper, sum", "uncoupled"):
        theirs, ours = {}, {}
        for system in systems:
            some = [row for row in there if row["system"] == system]
            titles = list(some[0]["loss"])
            of_peer = {t: geometric([row["peer"]["loss"][t] for row in some]) for t in titles}
            of_who = {t: geometric([row["loss"][t][who] for row in some]) for t in titles}
            # Where all test sets of a system agree, the first stands for them.
            same = len({of_peer[title] < of_who[title] for title in titles}) == 1
            for title in titles[: 1 if same else None]:
                where = system if same else f"{system}: {title}"
                theirs[where], ours[where] = of_peer[title], of_who[title]
        text += verdict(EDGE_ODE, theirs, f'"{who}"', ours, "loss")
    return text


def seeds_in_words(rows: list[dict[str, Any]]) -> str:
    """Numbers of seeds: one for all systems, or one a system."""
    counts = {
        row["system"]: len({r["seed"] for r in rows if r["system"] == row["system"]})
        for row in rows
    }
    if len(set(counts.values())) > 1:
        return f"seeds: {', '.join(f'{n} ({system})' for system, n in counts.items())}"
    count = next(iter(counts.values()))
    return f"{count} seed{'s' * (count > 1)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, help="of a fast run; its own number by default")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--long", type=float, default=0.0, help="CPU seconds of one run of paper")
    parser.add_argument("--out", type=Path, help="path of both tables, no suffix")
    parser.add_argument("--peer-only", action="store_true", help="keep the other stored numbers")
    options = parse(parser, epochs=1, seeds=1, systems=["kuramoto"])
    out = options.out or options.results / "presets"
    # Where runs are as short as their start, the updates that fill a time are any number.
    sizes, most = ({"trajectories": 8}, 10) if options.smoke else ({}, float("inf"))
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.with_suffix(".json")
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    titles = [about["title"] for about in SYSTEMS.values()]

    def store() -> str:
        rows.sort(key=lambda row: (titles.index(row["system"]), row["seed"]))
        text = (
            f"Presets at equal CPU time, {seeds_in_words(rows)}, one thread, {platform.machine()}, "
            f"Python {platform.python_version()}, pympnode {pympnode.__version__}. "
            f"Losses are geometric means over seeds.{beside(rows)}\n\n{table(rows)}\n"
        )
        path.write_text(json.dumps(rows, indent=1) + "\n")
        out.with_suffix(".md").write_text(text)
        return text

    seeds = range(options.first_seed, options.first_seed + options.seeds)
    with_long = True
    for key in options.systems:
        if options.peer_only:
            for row in rows:
                if row["system"] == SYSTEMS[key]["title"]:
                    tests = test_sets(key, row["seed"], sizes)
                    seconds = row["cpu_seconds"]["fast"]
                    row["peer"] = peer(key, row["seed"], sizes, tests, seconds)
                    print(json.dumps(row["peer"]), flush=True)
                    store()
            continue
        for seed in seeds:
            long = options.long if with_long else 0.0
            new = compare(key, seed, options.epochs, sizes, most, long)
            same = (new["system"], new["seed"])
            rows[:] = [row for row in rows if (row["system"], row["seed"]) != same]
            rows.append(new)
            with_long = False
            store()
    print(store())


if __name__ == "__main__":
    main()
