"""Grids of pandapower: swing dynamics learned on case39 and used on case118 and case30.

    python benchmarks/power_grid.py                # three seeds, about five CPU minutes
    python benchmarks/power_grid.py --images docs/images

Rows: persistence; a model without the susceptances of the lines; one with them; one that learns a weight
for each line of case39 (which has none for other grids); one with the sine and cosine of differences of
angles as inputs, in half of the updates, because the compiled kernel does not run it; and the two with
susceptances under faults outside of their training data; and a peer with the CPU time of the model with
susceptances, an edge-function graph neural ODE in torch_geometric and torchdiffeq (`peers.Rival`) that has them too, and
for which only differences of angles count and the rate of an angle is its frequency. Errors of rollouts of 3 s after random faults:
root mean square over all nodes, times and features, each in units of its standard deviation; 50 fresh
trajectories for each grid. The functions are those of examples/ieee_grids.py. Writes
benchmarks/results/power_grid.{json,md}; with --images the figures of the page "Power grids" too.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import EDGE_ODE, MISSING, Rival, Structure, not_run, versions
from smoke import parse

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))

import ieee_grids

import pympnode
from pympnode.networks.schema import graphs_of

COLUMNS = (ieee_grids.TRAINED, *ieee_grids.OTHERS)
PERSISTENCE, WITHOUT, WITH = "persistence", "without susceptances", "with susceptances"
LEARNED = "susceptances learned with the model"
CIRCULAR = "with susceptances, circular angles, half of the updates"
STRONG = {WITH: "with susceptances, faults 3 times as strong",
          CIRCULAR: "with susceptances, circular angles, faults 3 times as strong"}  # fmt: skip
STRENGTH = 3.0
PEER = f"{EDGE_ODE}, with susceptances"
TRAINED = {"without": WITHOUT, "with": WITH, "learned": LEARNED, "circular": CIRCULAR,
           "peer": PEER}  # fmt: skip
ROWS = (PERSISTENCE, WITHOUT, WITH, PEER, LEARNED, CIRCULAR, *STRONG.values())


def train(name: str, ds: Any, updates: int, seed: int) -> pympnode.Result:
    """The model of a row."""
    if name == CIRCULAR:
        return ieee_grids.train(ds, "with", max(1, updates // 2), seed, circular=True)
    return ieee_grids.train(ds, name.split()[0], updates, seed)


def rival_row(seed: int, ds: Any, tests: dict[str, Any], seconds: float) -> dict[str, Any]:
    """The row of the peer, which has ``seconds`` of CPU time."""
    train = ds.isel(trajectory=np.flatnonzero(ds.split.values == "train"))
    given = train.state.values, graphs_of(ds)[0], ieee_grids.DT
    more: dict[str, Any] = dict(
        attribute=train.node_attribute.values, seed=seed,
        structure=Structure(invariant=(0,), rates={0: 1}),
    )  # fmt: skip
    Rival(*given, 0.01, **more)  # what is loaded at a first call is no part of a run
    began = time.process_time()
    rival = Rival(*given, seconds, **more)
    row: dict[str, Any] = dict(row=PEER, seed=seed, seconds=time.process_time() - began)
    row |= {"updates": rival.updates, "libraries": versions()}
    for case, test in tests.items():
        x = rival.rollout(
            test.state.values[:, 0], graphs_of(test)[0], ieee_grids.DT, test.sizes["time"] - 1,
            attribute=test.node_attribute.values,
        )  # fmt: skip
        row[case] = ieee_grids.error(test.assign(state=(test.state.dims, x)), test)
    return row


def run(
    seed: int, options: argparse.Namespace, stored: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of one seed, and the models by their row with what the figures show beside them."""
    grids = {case: ieee_grids.read(case) for case in COLUMNS}
    ds = ieee_grids.simulate(grids[COLUMNS[0]], options.trajectories, seed)
    tests, strong = (
        {
            case: ieee_grids.simulate(grid, options.tests, 1000 + seed, strength=strength)
            for case, grid in grids.items()
        }
        for strength in (1.0, STRENGTH)
    )
    errors = {case: ieee_grids.persistence(test) for case, test in tests.items()}
    rows: list[dict[str, Any]] = [dict(row=PERSISTENCE, seed=seed, seconds=0.0, **errors)]
    models: dict[str, Any] = {}
    for name in (TRAINED[key] for key in options.models):
        if name == PEER:
            # The time that the model with susceptances took, in this run or before.
            spent = [
                r["seconds"] for r in [*stored, *rows] if (r["row"], r["seed"]) == (WITH, seed)
            ]
            if MISSING or not spent:
                print(not_run(PEER) or f" {PEER} was not run: {WITH} has no time yet.")
            else:
                rows.append(rival_row(seed, ds, tests, spent[-1]))
            continue
        began = time.process_time()
        result = train(name, ds, options.updates, seed)
        row: dict[str, Any] = dict(row=name, seed=seed, seconds=time.process_time() - began)
        for case, test in tests.items():
            if name == LEARNED and case != COLUMNS[0]:
                continue  # lines of other grids have no learned weights
            inputs = ieee_grids.without_weights(test) if name in (WITHOUT, LEARNED) else test
            row[case] = ieee_grids.error(result.model.rollout(inputs, check=False), test)
        if name == LEARNED:
            row["correlation"] = ieee_grids.log_correlation(
                result.model.graph, grids[COLUMNS[0]].graph
            )
        rows.append(row)
        if name in STRONG:
            errors = {
                case: ieee_grids.error(result.model.rollout(test, check=False), test)
                for case, test in strong.items()
            }
            rows.append(dict(row=STRONG[name], seed=seed, seconds=0.0, **errors))
        models[name] = result.model
    return rows, {"models": models, "tests": tests, "grid": grids[COLUMNS[0]]}


def table(rows: list[dict[str, Any]]) -> str:
    """A line for each row: means over the seeds, and the range where there are several."""
    lines = [
        f"| model | held out on {COLUMNS[0]} | "
        + " | ".join(f"zero-shot on {case}" for case in COLUMNS[1:])
        + " | r of log weights | CPU, s |",
        "|---" * (len(COLUMNS) + 3) + "|",
    ]
    for name in ROWS:
        mine = [row for row in rows if row["row"] == name]
        if not mine:
            continue
        cells = [_cell([row[key] for row in mine if key in row]) for key in COLUMNS]
        cells.append(_cell([row["correlation"] for row in mine if "correlation" in row], 6))
        spent = float(np.mean([row["seconds"] for row in mine]))
        cells.append(f"{spent:.0f}" if spent else "-")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def report(rows: list[dict[str, Any]], options: argparse.Namespace) -> str:
    """What was measured, in words and as a table."""
    return (
        f"Swing dynamics of {COLUMNS[0]}, {options.trajectories} trajectories of "
        f"{ieee_grids.STEPS * ieee_grids.DT:g} s after random faults, {options.updates} updates: error of "
        f"{options.tests} fresh trajectories for each grid, in standard deviations, mean "
        f"(range) of {options.seeds} seeds; pympnode {pympnode.__version__}, one thread. "
        f"{beside(rows)}\n\n"
        f"{table(rows)}\n"
    )


def beside(rows: list[dict[str, Any]]) -> str:
    """What the peer is, and where it has a smaller error than the model with susceptances."""
    mine = {name: [row for row in rows if row["row"] == name] for name in (PEER, WITH)}
    if not mine[PEER]:
        return not_run(PEER).strip()
    text = (
        f"{PEER}: the peer, an edge-function graph neural ODE ({mine[PEER][0]['libraries']}; Adam) with the same "
        "trajectories and the CPU time of the model with susceptances; only differences of angles enter, and the rate of "
        "an angle is exactly its frequency."
    )
    means = {k: {c: np.mean([r[c] for r in of]) for c in COLUMNS} for k, of in mine.items() if of}
    won = [c for c in COLUMNS if WITH in means and means[PEER][c] < means[WITH][c]]
    return text + (f" It has the smaller error on {', '.join(won)}." if won else "")


def _cell(values: list[float], digits: int = 3) -> str:
    if not values:
        return "-"
    text = f"{np.mean(values):.{digits}f}"
    if len(values) > 1:
        text += f" ({min(values):.{digits}f} to {max(values):.{digits}f})"
    return text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=ieee_grids.UPDATES)
    parser.add_argument("--trajectories", type=int, default=ieee_grids.TRAJECTORIES)
    parser.add_argument("--tests", type=int, default=50)
    parser.add_argument(
        "--models",
        nargs="+",
        choices=TRAINED,
        default=list(TRAINED),
        help="measure these alone; the other rows of the stored results stay",
    )
    parser.add_argument("--images", type=Path, help="folder of the figures of the documentation")
    options = parse(parser, seeds=1, updates=6, trajectories=8, tests=2)
    torch.set_num_threads(1)
    # Compilation is not part of a run.
    warm = ieee_grids.simulate(ieee_grids.read("case14"), 8, 0)
    for key in (key for key in options.models if key != "peer"):
        train(TRAINED[key], warm, 6, 0)

    out = options.results / "power_grid"
    stored = out.with_suffix(".json")
    rows: list[dict[str, Any]] = []
    if set(options.models) < set(TRAINED) and stored.exists():
        rows = json.loads(stored.read_text())
    for seed in range(options.seeds):
        found, drawn = run(seed, options, rows)
        new = {(row["row"], seed) for row in found}
        rows = [row for row in rows if (row["row"], row["seed"]) not in new] + found
        stored.write_text(json.dumps(rows, indent=1) + "\n")
        if seed == 0 and options.images is not None:
            ieee_grids.draw(
                drawn["models"][WITH], drawn["models"][WITHOUT], drawn["models"][LEARNED],
                drawn["grid"], drawn["tests"], options.images,
            )  # fmt: skip
    text = report(rows, options)
    out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
