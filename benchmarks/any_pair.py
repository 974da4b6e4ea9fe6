"""Systems whose coupling is a general function of the pair: who learns it, at equal CPU time.

    python benchmarks/any_pair.py                       # three seeds, about 40 minutes
    python benchmarks/any_pair.py --systems tanh local --seeds 1

Each system is an `own_system` on a Barabasi-Albert graph of 10 nodes, 200 trajectories of 50 steps.
Rows: pympnode as it is ("default"), the class of version 0.1 (emitted, superposed, rank 6) with today's
optimiser and with Adam as version 0.1 had it, and an edge-function graph neural ODE in torch_geometric and
torchdiffeq (`peers`), which gets the CPU time that the default took. Errors are root mean squares over
50 steps in standard deviations of the training data: held out, and zero-shot on ER, WS and BA20.
Writes benchmarks/results/any_pair.{json,md}.
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
from collections.abc import Callable
from typing import Any

import numpy as np
from peers import MISSING, Rival
from smoke import parse

import pympnode
from pympnode.networks.classes import CLASSES
from pympnode.networks.schema import graphs_of

TEST_SEED = 20_260_101
SMOOTH = ("tanh", "switch")

Pair = Callable[[np.ndarray], np.ndarray]


def coupled(pair: Pair, gain: float, own: float = -0.5) -> Callable[..., np.ndarray]:
    """dx_k/dt = own x_k + gain sum_j h(x_j - x_k)."""

    def field(t: float, x: np.ndarray, u: Any, graph: Any, parameters: Any) -> np.ndarray:
        rate = own * x
        h = gain * pair(x[:, graph.sender] - x[:, graph.receiver])
        np.add.at(rate.swapaxes(0, 1), graph.receiver, h.swapaxes(0, 1))
        return rate

    return field


def saturated(t: float, x: np.ndarray, u: Any, graph: Any, parameters: Any) -> np.ndarray:
    """The sum of what comes in saturates: dx_k/dt = -x_k / 2 + 1.5 tanh(sum_j x_j)."""
    return -0.5 * x + 1.5 * np.tanh(graph.sum_neighbours(x))


def largest(t: float, x: np.ndarray, u: Any, graph: Any, parameters: Any) -> np.ndarray:
    """Only the largest neighbour counts: dx_k/dt = -x_k / 2 + max_j sin x_j."""
    out = np.full_like(x, -np.inf)
    np.maximum.at(out.swapaxes(0, 1), graph.receiver, np.sin(x[:, graph.sender]).swapaxes(0, 1))
    return -0.5 * x + np.where(np.isfinite(out), out, 0.0)


def softened(d: np.ndarray) -> np.ndarray:
    return d / ((d * d).sum(axis=-1, keepdims=True) + 0.15**2)


SYSTEMS: dict[str, tuple[str, Any, list[str]]] = {
    "tanh": ("tanh 4d", coupled(lambda d: np.tanh(4 * d), 0.5), ["x"]),
    "local": ("d exp(-d^2 / .18)", coupled(lambda d: d * np.exp(-d * d / 0.18), 3.0), ["x"]),
    "switch": ("1 / (1 + exp(-20 d))", coupled(lambda d: 1 / (1 + np.exp(-20 * d)), 0.5), ["x"]),
    "saturation": ("tanh of the sum", saturated, ["x"]),
    "max": ("largest neighbour", largest, ["x"]),
    "force": ("d / (r^2 + .15^2), 2-D", coupled(softened, 0.3), ["x", "y"]),
}
TRANSFER: dict[str, dict[str, Any]] = {
    "held out": {},
    "ER": dict(topology=("ER", {"m": 15}), nodes=10),
    "WS": dict(topology="WS", nodes=10),
    "BA20": dict(topology="BA", nodes=20),
}
# 80 epochs of Adam at 5e-3, without gradient matching.
ADAM: dict[str, Any] = {"optimiser": "adam", "learning_rate": 5e-3, "epochs": 80}
OLD: dict[str, Any] = {"messages": "emitted", "coupling": "superposed", "message_size": 6}


def error(predicted: np.ndarray, truth: np.ndarray, scale: np.ndarray) -> float:
    return float(np.sqrt(np.mean(((predicted - truth)[:, 1:] / scale) ** 2)))


def compare(key: str, seed: int, trajectories: int, most: int | None) -> list[dict[str, Any]]:
    """All rows of one system and seed."""
    title, field, features = SYSTEMS[key]
    system = pympnode.own_system(f"{key} pair", field, features, start=(-2.0, 2.0))
    ds = pympnode.simulate(system, trajectories=trajectories, seed=seed, graph_seed=42 + seed)
    tests = {}
    for where, options in TRANSFER.items():
        graph_seed = 42 + seed if where == "held out" else 101 + seed
        count = min(60, trajectories)
        tests[where] = pympnode.simulate(
            system, **options, trajectories=count, seed=TEST_SEED + seed, graph_seed=graph_seed
        )
    scale = ds.state.values.std((0, 1, 2))
    rows = []

    def score(who: str, seconds: float, updates: int, rollout: Any, note: str = "") -> None:
        row = {"system": title, "key": key, "seed": seed, "who": who, "cpu": seconds}
        row |= {"updates": updates, "note": note}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pympnode.PympnodeWarning)
            for where, test in tests.items():
                row[where] = error(rollout(test), test.state.values, scale)
        rows.append(row)
        print(json.dumps(row), flush=True)

    common: dict[str, Any] = dict(data=ds, seed=seed, progress=False)
    if most is not None:
        common["updates"] = most
    ours = {"default": {}, "emitted, superposed, rank 6": OLD, "version 0.1": {**OLD, **ADAM}}
    seconds = 1.0
    for fields in (OLD, *CLASSES.values()):
        pympnode.train(**{**common, "updates": 2}, **fields)  # compiles
    for who, options in ours.items():
        start = time.process_time()
        given = {**common, **options}
        if most is not None:
            given.pop("epochs", None)
        result = pympnode.train(**given)
        spent = time.process_time() - start
        seconds = spent if who == "default" else seconds
        spec = result.model.spec
        score(
            who, spent, result.updates, lambda test, m=result.model: m.rollout(test).state.values,
            f"{spec.messages}, {spec.coupling}, {spec.aggregation}",
        )  # fmt: skip
    if not MISSING:
        graph = graphs_of(ds)[0]
        train = ds.state.values[ds.split.values == "train"]
        dt = float(ds.time[1] - ds.time[0])
        aggregation = "max" if key == "max" else "add"
        start = time.process_time()
        rival = Rival(train, graph, dt, seconds, seed=seed, aggregation=aggregation)
        score(
            "torch_geometric + torchdiffeq, Adam", time.process_time() - start, rival.updates,
            lambda test: rival.rollout(
                test.state.values[:, 0], graphs_of(test)[0], dt, test.sizes["time"] - 1
            ),
        )  # fmt: skip
    score("persistence", 0.0, 0, lambda test: test.state.values[:, :1])
    return rows


def geometric(values: list[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| coupling | who | class | CPU s | updates | " + " | ".join(TRANSFER) + " |",
        "|---|---|---|---|---|" + "---|" * len(TRANSFER),
    ]
    for system in dict.fromkeys(row["system"] for row in rows):
        for who in dict.fromkeys(row["who"] for row in rows if row["system"] == system):
            mine = [row for row in rows if row["system"] == system and row["who"] == who]
            cells = [f"{geometric([row[where] for row in mine]):.3g}" for where in TRANSFER]
            cpu = np.mean([row["cpu"] for row in mine])
            updates = np.mean([row["updates"] for row in mine])
            notes = " / ".join(dict.fromkeys(row["note"] for row in mine))
            lines.append(
                f"| {system} | {who} | {notes} | {cpu:.1f} | {updates:.0f} | " + " | ".join(cells)
                + " |"
            )  # fmt: skip
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--trajectories", type=int, default=200)
    parser.add_argument("--updates", type=int, help="of our runs; their own number by default")
    options = parse(parser, seeds=1, systems=["tanh"], trajectories=8, updates=3)
    if MISSING:
        print(f"left out, not installed: {', '.join(MISSING)} (pip install pympnode[bench])")
    rows = [
        row
        for key in options.systems
        for seed in range(options.seeds)
        for row in compare(key, seed, options.trajectories, options.updates)
    ]
    header = (
        f"General couplings at equal CPU time, {options.seeds} seed{'s' * (options.seeds > 1)}, one thread, "
        f"{platform.machine()}, pympnode {pympnode.__version__}; geometric means over seeds.\n\n"
    )
    out = options.results / "any_pair"
    out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    out.with_suffix(".md").write_text(header + table(rows) + "\n")
    print(header + table(rows))


if __name__ == "__main__":
    main()
