"""One long recording: 20,000 steps of 12 coupled FitzHugh-Nagumo nodes, trained in seconds.

    python benchmarks/long_recording.py                # three seeds, about a minute
    python benchmarks/long_recording.py --seeds 1
    python benchmarks/long_recording.py --peer-only    # measures the peer of the stored rows alone

The recording is the whole of the data: `train` splits it in time and takes windows by its memory. The
equations are integrated here, as those of data that come from elsewhere. The errors are those of
rollouts of 100 steps from many starts in the block that was held out, in z units, beside persistence and a
peer with the same CPU time and training block, an edge-function graph neural ODE in torch_geometric and
torchdiffeq on windows of up to 34 intervals (`peers.Rival`). Writes benchmarks/results/long_recording.{json,md}.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from peers import EDGE_ODE, MISSING, Rival, not_run, verdict, versions
from smoke import parse

import pympnode
from pympnode.networks.recordings import cut_windows
from pympnode.networks.schema import graphs_of

NODES, DT, COUPLING = 12, 0.2, 0.1
HORIZON = 100  # steps
SHARE = 0.7  # of the recording that `train` takes
WINDOW = 34  # intervals of the longest windows of the peer: one memory of the data


def field(state: NDArray, neighbours: NDArray, drive: NDArray) -> NDArray:
    """FitzHugh-Nagumo: dv/dt = v - v^3/3 - w + I + k sum(v_j - v_i), dw/dt = 0.08 (v + 0.7 - 0.8 w)."""
    v, w = state[:, 0], state[:, 1]
    coupled = neighbours @ v - neighbours.sum(axis=1) * v
    return np.stack([v - v**3 / 3 - w + drive + COUPLING * coupled, 0.08 * (v + 0.7 - 0.8 * w)], 1)


def recording(steps: int, seed: int) -> xr.Dataset:
    """One trajectory of a ring with chords, by RK4 with ten steps an interval."""
    rng = np.random.default_rng(seed)
    neighbours = np.zeros((NODES, NODES))
    for node in range(NODES):
        for other in (node + 1, node + 5):
            neighbours[node, other % NODES] = neighbours[other % NODES, node] = 1
    state = rng.normal(size=(NODES, 2))
    drive = np.full(NODES, 0.5)
    small, states = DT / 10, []
    for number in range((steps + 500) * 10 + 1):
        if (
            number % 10 == 0 and number >= 5000
        ):  # the first 500 intervals are the way to the attractor
            states.append(state)
        k1 = field(state, neighbours, drive)
        k2 = field(state + small / 2 * k1, neighbours, drive)
        k3 = field(state + small / 2 * k2, neighbours, drive)
        k4 = field(state + small * k3, neighbours, drive)
        state = state + small / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return pympnode.from_arrays(np.array(states)[None], dt=DT, topology=neighbours)


def rival_of(ds: xr.Dataset, windows: xr.Dataset, seconds: float, seed: int) -> dict[str, Any]:
    """CPU seconds, updates and the error of the peer at the last time of ``windows``, in standard deviations
    of its training block; empty where it is not installed."""
    if MISSING:
        return {}
    x = ds.state.values[:, : round(SHARE * (ds.sizes["time"] - 1)) + 1]
    given = x, graphs_of(ds)[0], DT
    Rival(*given, 0.01, longest=WINDOW)  # what is loaded at a first call is no part of a run
    start = time.process_time()
    rival = Rival(*given, seconds, seed=seed, longest=WINDOW)
    spent = time.process_time() - start
    truth = windows.state.values
    found = rival.rollout(truth[:, 0], given[1], DT, truth.shape[1] - 1)
    away = (found[:, -1] - truth[:, -1]) / x.std((0, 1, 2))
    error = float(np.sqrt((away**2).mean()))
    return {
        "error": error, "updates": rival.updates, "cpu_seconds": spent, "libraries": versions()
    }  # fmt: skip


def held_out(result: pympnode.Result) -> xr.Dataset:
    """Windows of the block that training did not see."""
    block = result.test_set()
    horizon = min(HORIZON, block.sizes["time"] - 1)
    return cut_windows(block, horizon, every=max(1, horizon // 4))


def run(steps: int, seed: int, **options: Any) -> dict[str, Any]:
    """Train on one recording and score rollouts from the block that was held out."""
    ds = recording(steps, seed)
    start = time.process_time()
    result = pympnode.train(data=ds, seed=seed, progress=False, device="cpu", **options)
    seconds = time.process_time() - start
    windows = held_out(result)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pympnode.PympnodeWarning)
        scores = pympnode.evaluate(result, windows)
    last = scores["rmse_time_z"].isel(time=-1)
    return {
        "seed": seed,
        "steps": steps,
        "windows": result.history.attrs.get("windows", ""),
        "updates": result.updates,
        "cpu_seconds": seconds,
        "reason": result.reason,
        "horizon": windows.sizes["time"] - 1,
        "starts": windows.sizes["trajectory"],
        "model": float(last.sel(predictor="model")),
        "persistence": float(last.sel(predictor="persistence")),
        "peer": rival_of(ds, windows, seconds, seed),
    }


def peer_again(row: dict[str, Any]) -> dict[str, Any]:
    """A stored row with its peer measured anew."""
    ds = recording(row["steps"], row["seed"])
    # The block that is held out follows the data alone: two updates have that of the whole run.
    result = pympnode.train(data=ds, seed=row["seed"], progress=False, device="cpu", updates=2)
    return {**row, "peer": rival_of(ds, held_out(result), row["cpu_seconds"], row["seed"])}


def beside(rows: list[dict[str, Any]]) -> str:
    """What the peer is, and with which seeds it has the smaller error."""
    there = [row for row in rows if row.get("peer")]
    if not there:
        return not_run(EDGE_ODE)
    updates = ", ".join(str(row["peer"]["updates"]) for row in there)
    text = (
        f" {EDGE_ODE}: the peer ({there[0]['peer']['libraries']}; Adam, windows of up to {WINDOW} intervals) with the "
        f"same training block and CPU time; updates: {updates}."
    )
    return text + verdict(
        EDGE_ODE,
        {f"seed {row['seed']}": row["peer"]["error"] for row in there},
        "the model",
        {f"seed {row['seed']}": row["model"] for row in there},
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown, a line a seed."""
    lines = [
        "| seed | updates | CPU time of train [s] | model | edge GNN ODE | persistence | ratio |",
        "|---" * 7 + "|",
    ]
    lines += [
        f"| {r['seed']} | {r['updates']} | {r['cpu_seconds']:.1f} | {r['model']:.3g} "
        f"| {format(r['peer']['error'], '.3g') if r.get('peer') else 'not run'} | {r['persistence']:.3g} "
        f"| {r['model'] / r['persistence']:.3g} |"
        for r in rows
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--time-budget", help="seconds for train, instead of its default epochs")
    parser.add_argument("--out", type=Path, help="path of both tables, no suffix")
    parser.add_argument("--peer-only", action="store_true", help="keep the other stored numbers")
    options = parse(parser, seeds=1, steps=400)
    out = options.out or options.results / "long_recording"
    length = {"epochs": 2} if options.smoke else {}
    if options.time_budget:
        length = {"time_budget": options.time_budget}
    rows = []
    if options.peer_only:
        for row in json.loads(out.with_suffix(".json").read_text()):
            rows.append(peer_again(row))
            print(json.dumps(rows[-1]), flush=True)
    else:
        # Compilation is not part of a run.
        pympnode.train(data=recording(60, 0), progress=False, device="cpu", updates=4)
        for seed in range(options.seeds):
            rows.append(run(options.steps, seed, **length))
            print(json.dumps(rows[-1]), flush=True)
    text = (
        f"One recording of {rows[0]['steps']:,} steps (dt {DT}) of {NODES} FitzHugh-Nagumo nodes; root "
        f"mean square error, z units, after {rows[0]['horizon']} steps from {rows[0]['starts']} "
        f"starts in the held-out block; {rows[0]['windows']}.{beside(rows)} Ratio: model over persistence.\n\n"
        f"{table(rows)}\n"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(rows, indent=1) + "\n")
    out.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
