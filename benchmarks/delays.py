"""Messages with delays: the error against the delay that a model assumes.

    python benchmarks/delays.py

Kuramoto oscillators on a ring, with frequencies of their own and one delay of eight time steps; models
that assume other delays, or learn one, are trained alike and scored on other trajectories. Beside them two peers
(`peers`) with the mean CPU time of these trainings and the same trajectories: an edge-function graph neural ODE
in torch_geometric and torchdiffeq, which has no delay (torchdiffeq solves none), and a graph network in
torch_geometric whose nodes hold their last 21 states. Writes
results/delays.json, results/delays.md and docs/images/delays.png. What a training step costs is in
heterogeneous.py.
"""

from __future__ import annotations

import os

# Before anything loads a thread pool.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from peers import EDGE_ODE, MISSING, PastRival, Rival, Structure, not_run, versions
from smoke import parse

import pympnode
from pympnode.networks import schema

_HERE = Path(__file__).parent
DT, TRUE = 0.05, 8
FREQUENCY = np.random.default_rng(3).normal(0.0, 1.5, (6, 3))
SYSTEM: dict[str, Any] = dict(
    system="kuramoto", nodes=6, topology="ring", dt=DT, steps=60,
    parameters={"coupling": 1.5, "frequency": FREQUENCY}, delay=TRUE * DT,
)  # fmt: skip


PAST = 20  # steps that all are given before they predict
GRAPH_NETWORK = f"graph network of the last {PAST + 1} states"


def made(trajectories: int) -> tuple[xr.Dataset, xr.Dataset]:
    """Training and test data, which do not hold the delay."""
    data, test = (
        pympnode.simulate(**SYSTEM, trajectories=count, seed=seed).drop_vars("edge_delay")
        for count, seed in ((trajectories, 1), (trajectories // 3 + 1, 2))
    )
    return data, test


def apart(predicted: np.ndarray, test: xr.Dataset) -> float:
    """Root mean square error in radians of (trajectory, step, node, feature) after step `PAST`."""
    truth = test.state.values[:, PAST + 1 : 2 * PAST + 1]
    error = np.angle(np.exp(1j * (predicted - truth)))
    return float(np.sqrt((error**2).mean()))


def error_of(
    assumed: int | str, updates: int, data: xr.Dataset, test: xr.Dataset
) -> tuple[float, float, float]:
    """Root mean square error in radians over 20 steps of held out trajectories, the delay, CPU seconds."""
    delay = {} if assumed == 0 else {"delay": assumed if assumed == "learn" else assumed * DT}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one graph, whose node attributes name its nodes
        began = time.process_time()
        result = pympnode.train(
            data=data, messages="emitted", updates=updates, matching=0.0, progress=False, window=0.25,
            circular=("phase_1", "phase_2", "phase_3"), **delay,
        )  # fmt: skip
        seconds = time.process_time() - began
        # All predict from step 20 on.
        model, x = result.model, test.state.values
        rollout = model.rollout(
            x[:, PAST], history=x[:, :PAST], topology=schema.pack(test).graph, dt=DT, steps=PAST,
            node_attribute=test.node_attribute.values, check=False,
        )  # fmt: skip
    return apart(rollout.state.values[:, 1:], test), float(model.delay or 0.0), seconds


def rivals(seconds: float, data: xr.Dataset, test: xr.Dataset) -> dict[str, tuple[float, float]]:
    """Error and CPU seconds of the peers."""
    graph, x = schema.graphs_of(data)[0], data.state.values[data.split.values == "train"]
    attribute, first = data.node_attribute.values, test.state.values[:, : PAST + 1]
    angles = Structure(circular=(0, 1, 2), invariant=(0, 1, 2))
    found = {}

    def ode(budget: float) -> Rival:
        return Rival(x, graph, DT, budget, attribute=attribute, structure=angles, longest=PAST)

    def network(budget: float) -> PastRival:
        return PastRival(x, graph, budget, PAST, attribute=attribute, longest=PAST)

    ode(0.01), network(0.01)  # what is loaded at a first call is no part of a run
    began = time.process_time()
    one = ode(seconds)
    spent = time.process_time() - began
    predicted = one.rollout(first[:, -1], graph, DT, PAST, attribute=attribute)
    found[f"{EDGE_ODE}, no delay"] = apart(predicted[:, 1:], test), spent
    began = time.process_time()
    other = network(seconds)
    spent = time.process_time() - began
    found[GRAPH_NETWORK] = apart(other.rollout(first, PAST), test), spent
    return found


def draw(errors: dict[str, float], learned: float, path: Path) -> None:
    """The picture of the how-to."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    from pympnode.plotting.logarithmic import logarithmic

    assumed = sorted(int(name) for name in errors if name != "learn")
    figure, axes = plt.subplots(figsize=(5.5, 3.2), layout="constrained")
    axes.plot(assumed, [errors[str(n)] for n in assumed], "o-", label="assumed")
    axes.plot([learned / DT], [errors["learn"]], "s", label="learned")
    logarithmic(axes, "y")
    axes.axvline(TRUE, color="0.6", linestyle=":", label="true delay")
    axes.set_xlabel("delay of the model (time steps)")
    axes.set_ylabel("error of rollouts (rad)")
    axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def beside(errors: dict[str, float], others: dict[str, tuple[float, float]]) -> str:
    """What is said where a peer has a smaller error than a model."""
    said = []
    for name, (error, _) in others.items():
        worse = [
            "the learned delay" if of == "learn" else f"a delay of {of} steps"
            for of, own in errors.items()
            if own > error
        ]
        if worse:
            said.append(f" The {name} has a smaller error than models with {', '.join(worse)}.")
    return "".join(said)


def main() -> None:
    """Measure the table and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assumed", type=int, nargs="+", default=[0, 4, 6, 8, 10, 12])
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--trajectories", type=int, default=40)
    options = parse(parser, assumed=[0, 8], updates=2, trajectories=4)
    torch.set_num_threads(1)
    lines = ["| delay of the model (steps) | error (rad) | CPU s |", "| --- | --- | --- |"]
    print("\n".join(lines))
    data, test = made(options.trajectories)
    error_of(4, 2, data, test)  # compiles
    errors: dict[str, float] = {}
    taken: dict[str, float] = {}
    learned = 0.0
    for assumed in [*options.assumed, "learn"]:
        name = str(assumed)
        errors[name], found, taken[name] = error_of(assumed, options.updates, data, test)
        if assumed == "learn":
            learned = found
        text = name if assumed != "learn" else f"{found / DT:.2f}, learned"
        lines.append(f"| {text} | {errors[name]:.4g} | {taken[name]:.1f} |")
        print(lines[-1], flush=True)
    others = {} if MISSING else rivals(float(np.mean(list(taken.values()))), data, test)
    for name, (error, seconds) in others.items():
        lines.append(f"| {name} | {error:.4g} | {seconds:.1f} |")
        print(lines[-1], flush=True)
    head = (
        f"Root mean square error over {PAST} steps of fresh trajectories, {options.updates} updates; the true delay is "
        f"{TRUE} steps. One thread, pympnode {pympnode.__version__}. Peers, with the mean CPU time of the rows above them "
        f"and the same trajectories, frequencies and angles as sine and cosine ({versions()}; Adam): an edge-function "
        f"graph neural ODE without delay, and a {GRAPH_NETWORK}.{not_run('Peers')}{beside(errors, others)}\n\n"
    )
    record = {
        "dt": DT, "true": TRUE, "errors": errors, "learned": learned, "cpu_s": taken,
        "peers": {name: {"error": e, "cpu_s": s} for name, (e, s) in others.items()},
    }  # fmt: skip
    (options.results / "delays.json").write_text(json.dumps(record, indent=1) + "\n")
    (options.results / "delays.md").write_text(head + "\n".join(lines) + "\n")
    images = options.results if options.smoke else _HERE.parent / "docs" / "images"
    draw(errors, learned, images / "delays.png")


if __name__ == "__main__":
    main()
