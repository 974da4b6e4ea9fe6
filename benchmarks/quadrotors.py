"""Classes of models of quadrotors with a load at equal CPU time: trained on three, also flown by six.

    python benchmarks/quadrotors.py                      # one seed, about 15 minutes
    python benchmarks/quadrotors.py --flights 300 --seconds 160 --seeds 3
    python benchmarks/quadrotors.py --classes "default, hidden 32" "pairwise, mixed"

Each class trains on flights of three with the same optimiser, windows of up to 1.5 s and CPU time, one thread: short
runs tell the number of updates, and a run that took more than 10 % more or less is made again. Errors are root mean squares over windows of 2.5 s out of flights that no model was
trained on, from the start of a flight, after 3, 6 and 9 s. "tuned" has the default trained on with flights of six,
for half the time. Beside them persistence, constant velocity and, with the same flights and CPU time, an edge-function
graph neural ODE in torch_geometric and torchdiffeq (`peers.Rival`): positions enter as differences, positions and cables
change exactly by their velocities, thrusts are held over each interval, quaternions are normalised. A run of some
classes keeps the stored rows of the others. Writes results/quadrotors.{json,md}.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import xarray as xr
from peers import EDGE_ODE, MISSING, Rival, Structure, not_run, versions
from smoke import parse

import pympnode
from pympnode.networks import schema
from pympnode.networks.observables import state_errors
from pympnode.networks.schema import graphs_of
from pympnode.networks.systems.quadrotors import Quadrotors, augmented

TEST_SEED = 20_250_101
STEPS, STARTS = 50, (0, 60, 120, 180)  # of the windows of 2.5 s
AT = (1.0, 2.5)
EMITTED = {"messages": "emitted", "coupling": "mixed", "max_window": 1.5}
DEFAULT, PUBLISHED, TUNED = "default", "published class", "default, tuned on six"

CLASSES: dict[str, dict[str, Any]] = {
    PUBLISHED: {
        "messages": "state", "coupling": "mixed", "aggregation": "mean", "first_message": "zero",
        "message_size": 13, "max_window": 1.5,
    },
    DEFAULT: {},
    "default, no linear path": {"linear_path": False},
    "default, messages of 20": {"message_size": 20},
    "load as a node": {},
    "default, turned flights": {},
    "default, hidden 32": {"hidden": 32},
    "default, windows of 1 s": {"max_window": 1.0},
    "default, with positions": {**EMITTED, "message_size": 13, "hidden": 64},
    "default, without loops": {},
    "pairwise, mixed": {"messages": "pairwise", "coupling": "mixed", "max_window": 1.5},
    EDGE_ODE: {},
}  # fmt: skip
SHOWN = [*list(CLASSES)[:6], EDGE_ODE]


def flights(nodes: int, count: int, seed: int, name: str, split: float | None) -> xr.Dataset:
    """Flights in the form that the class takes."""
    system: Any = Quadrotors(load="node") if name == "load as a node" else "quadrotors"
    topology = "complete" if name == "default, without loops" else None
    ds = pympnode.simulate(
        system, nodes=nodes, topology=topology, trajectories=count, seed=seed, split=split
    )
    return augmented(ds, 3, seed) if name == "default, turned flights" and split else ds


def windows(ds: xr.Dataset) -> xr.Dataset:
    """Windows of 2.5 s, as trajectories."""
    times = ds.time[: STEPS + 1]
    parts = [
        ds.isel(time=slice(start, start + STEPS + 1)).assign_coords(time=times.variable)
        for start in STARTS
        if start + STEPS < ds.sizes["time"]
    ]
    joined = xr.concat(
        parts, "trajectory", data_vars="minimal", coords="minimal", compat="override",
        join="override", combine_attrs="override",
    )  # fmt: skip
    return joined.assign_coords(trajectory=np.arange(joined.sizes["trajectory"]))


def cpu(function: Callable[[], Any]) -> tuple[Any, float]:
    """What ``function`` returns, and the CPU seconds it took."""
    start = time.process_time()
    return function(), time.process_time() - start


def trained(run: Callable[[int], Any], seconds: float, most: int) -> tuple[Any, float]:
    """The result of as many updates as take ``seconds``, ``most`` at most, and the CPU seconds."""
    run(8)  # kernels compile
    (_, short), (_, long) = (cpu(lambda n=n: run(n)) for n in (100, 400))
    updates = seconds / max((long - short) / 300, 1e-4)
    # Short runs miss what depends on the load of the machine, and validations of long runs.
    for last in (False, True):
        number = int(np.clip(updates, 8, most))
        result, took = cpu(lambda n=number: run(n))
        if last or number in (8, most) or abs(took / seconds - 1) < 0.1:
            break
        updates *= seconds / took
    return result, took


def errors(model: Any, ds: xr.Dataset) -> dict[str, dict[str, list[float]]]:
    """Errors after 1 and 2.5 s by predictor and kind."""
    scores = pympnode.evaluate(model, ds)
    table = scores.state_error_time.sel(time=list(AT), method="nearest")
    return {
        str(p): {
            str(e): table.sel(predictor=p, error=e).values.tolist() for e in table.error.values
        }
        for p in scores.predictor.values
    }


def structure_of(ds: xr.Dataset) -> Structure:
    """What the default is told of features, and that velocities are the rates of positions and cables."""
    names = [str(name) for name in ds.feature.values]
    at = {name: number for number, name in enumerate(names)}
    return Structure(
        invariant=tuple(at[n] for n in names if n.startswith("position_")),
        rates={at[a]: at[b] for a, b in Quadrotors.rates.items()},
        unit=tuple(at[n] for n in names if n.startswith("quaternion_")),
    )


def rival_row(seed: int, options: argparse.Namespace, on: dict[str, xr.Dataset]) -> dict[str, Any]:
    """The row of the edge-function graph neural ODE."""
    data = flights(3, options.flights, seed, DEFAULT, 0.9)
    data = data.isel(trajectory=np.flatnonzero(data.split.values == "train"))
    dt = float(data.time[1] - data.time[0])
    given = data.state.values, graphs_of(data)[0], dt
    more: dict[str, Any] = dict(
        control=data.control.values, structure=structure_of(data), seed=seed, longest=30, batch=16,
        width=64,
    )  # fmt: skip
    Rival(*given, 0.01, **more)  # what is loaded at a first call is no part of a run
    rival, took = cpu(lambda: Rival(*given, options.seconds, **more))
    row: dict[str, Any] = {"class": EDGE_ODE, "seed": seed, "updates": rival.updates, "cpu": took}
    row |= {"errors": {}, "libraries": versions()}
    for nodes, ds in on.items():
        arrays = schema.pack(ds)
        x = rival.rollout(
            ds.state.values[:, 0], graphs_of(ds)[0], dt, STEPS, control=ds.control.values
        )
        found = state_errors(
            Quadrotors(), arrays, {"model": x}, schema.parameters_of(ds, Quadrotors())
        )
        table = found.state_error_time.assign_coords(time=ds.time.values)
        table = table.isel(predictor=0).sel(time=list(AT), method="nearest")
        row["errors"][nodes] = {
            "model": {str(e): table.sel(error=e).values.tolist() for e in table.error.values}
        }
    at = {n: e["model"]["position"] for n, e in row["errors"].items()}
    print(json.dumps({k: v for k, v in row.items() if k != "errors"} | at), flush=True)
    return row


def measure(seed: int, options: argparse.Namespace, names: list[str]) -> Iterator[dict[str, Any]]:
    """One row a class: updates, CPU seconds and errors on three and on six."""

    def tests(name: str) -> dict[str, xr.Dataset]:
        count = {3: options.tests, 6: max(1, options.tests // 2)}
        return {str(n): windows(flights(n, count[n], TEST_SEED + seed, name, None)) for n in count}

    def row_of(name: str, result: Any, took: float, on: dict[str, xr.Dataset]) -> dict[str, Any]:
        row = {"class": name, "seed": seed, "updates": result.updates, "cpu": took}
        row["errors"] = {n: errors(result.model, ds) for n, ds in on.items()}
        at = {n: e["model"]["position"] for n, e in row["errors"].items()}
        print(json.dumps({k: v for k, v in row.items() if k != "errors"} | at), flush=True)
        return row

    for name in names:
        if name == EDGE_ODE:
            if MISSING:
                print(not_run(EDGE_ODE))
            else:
                yield rival_row(seed, options, tests(DEFAULT))
            continue
        data, on = flights(3, options.flights, seed, name, 0.9), tests(name)

        def run(updates: int, data: xr.Dataset = data, name: str = name) -> Any:
            return pympnode.train(
                data=data, updates=updates, seed=seed, progress=False, **CLASSES[name]
            )

        result, took = trained(run, options.seconds, options.updates)
        yield row_of(name, result, took, on)
        if name != DEFAULT:
            continue
        six = flights(6, options.tuning, seed + 1, DEFAULT, 0.9)

        def tune(updates: int, model: Any = result.model, six: xr.Dataset = six) -> Any:
            return pympnode.finetune(
                model, data=six, updates=updates, seed=seed, max_window=1.5, progress=False
            )

        yield row_of(TUNED, *trained(tune, options.seconds / 2, options.updates), on)


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: position and attitude errors after 1 and 2.5 s, means over the seeds."""
    lines = [
        "| class | position of 3, 1 s | 2.5 s | load of 3, 1 s | attitude of 3, 1 s | position of 6, 1 s | 2.5 s | "
        "load of 6, 1 s | cable of 6, 1 s | CPU s |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]

    def line(name: str, mine: list[dict[str, Any]], predictor: str) -> str:
        def mean(nodes: str, error: str, at: int) -> str:
            values = [row["errors"][nodes][predictor][error][at] for row in mine]
            return f"{np.mean(values):.3g}"

        cells = [mean("3", "position", 0), mean("3", "position", 1), mean("3", "load_position", 0)]
        cells += [mean("3", "attitude", 0), mean("6", "position", 0), mean("6", "position", 1)]
        cells += [mean("6", "load_position", 0), mean("6", "cable_length", 0)]
        seconds = f"{np.mean([row['cpu'] for row in mine]):.0f}" if predictor == "model" else ""
        return f"| {name} | " + " | ".join([*cells, seconds]) + " |"

    for name in dict.fromkeys(row["class"] for row in rows):
        lines.append(line(name, [row for row in rows if row["class"] == name], "model"))
    plain = [row for row in rows if row["class"] in (DEFAULT, PUBLISHED)] or rows
    for predictor in ("persistence", "constant_velocity"):
        lines.append(line(predictor.replace("_", " "), plain, predictor))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=60.0, help="CPU time of a training")
    parser.add_argument("--updates", type=int, default=1_000_000, help="at most")
    parser.add_argument("--flights", type=int, default=200, help="of three, to train on")
    parser.add_argument("--tuning", type=int, default=50, help="flights of six to tune on")
    parser.add_argument("--tests", type=int, default=20, help="flights of three to test on")
    parser.add_argument("--classes", nargs="*", default=SHOWN, choices=list(CLASSES))
    options = parse(
        parser, seconds=0.01, updates=8, flights=4, tuning=4, tests=2,
        classes=[PUBLISHED, DEFAULT, "load as a node", EDGE_ODE],
    )  # fmt: skip
    warnings.simplefilter("ignore", pympnode.PympnodeWarning)
    stored = options.results / "quadrotors.json"
    rows: list[dict[str, Any]] = []
    if set(options.classes) != set(SHOWN) and stored.exists():
        found = json.loads(stored.read_text())
        rows = found["rows"] if found["options"] == about(options) else []
    for seed in range(options.seeds):
        for row in measure(seed, options, options.classes):
            rows = [r for r in rows if (r["class"], r["seed"]) != (row["class"], seed)] + [row]
            write(rows, options)
    print(table(rows))


def about(options: argparse.Namespace) -> dict[str, Any]:
    """The options that are stored."""
    return {k: v for k, v in vars(options).items() if k not in ("results", "smoke", "classes")}


def beside(rows: list[dict[str, Any]]) -> str:
    """What the peer is, and whether it has the smallest error of a column of positions."""
    peer = [row for row in rows if row["class"] == EDGE_ODE]
    if not peer:
        return not_run(EDGE_ODE).strip()
    text = (
        f"{EDGE_ODE}: the peer, an edge-function graph neural ODE ({peer[0]['libraries']}; Adam, width 64, windows of up to "
        "1.5 s) with the same flights and CPU time, which has positions as differences, exact velocities of positions "
        "and cables, and normalised quaternions."
    )
    for nodes, at in (("3", 0), ("3", 1), ("6", 0), ("6", 1)):
        means: dict[str, list[float]] = {}
        for row in rows:
            if row["class"] not in (TUNED, "default, turned flights"):
                means.setdefault(row["class"], []).append(
                    row["errors"][nodes]["model"]["position"][at]
                )
        best = min(means, key=lambda name: float(np.mean(means[name])))
        if best == EDGE_ODE:
            text += f" It has the smallest error of positions of {nodes} after {AT[at]:g} s without tuning."
    return text


def write(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """What is measured so far, in the folder of results."""
    facts = {"options": about(options), "rows": rows}
    (options.results / "quadrotors.json").write_text(json.dumps(facts, indent=1) + "\n")
    words = ", ".join(f"{k} {v}" for k, v in about(options).items() if k != "updates")
    (options.results / "quadrotors.md").write_text(
        f"Root mean square errors in m and rad ({words}; `python benchmarks/quadrotors.py`).\n"
        f"{beside(rows)}\n\n{table(rows)}\n"
    )


if __name__ == "__main__":
    main()
