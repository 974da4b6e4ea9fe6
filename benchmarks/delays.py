"""Messages with delays: the error against the delay that a model assumes.

    python benchmarks/delays.py

Kuramoto oscillators on a ring, with frequencies of their own and one delay of eight time steps; models
that assume other delays, or learn one, are trained alike and scored on other trajectories. Writes
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
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
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


def error_of(assumed: int | str, updates: int, trajectories: int) -> tuple[float, float]:
    """Root mean square error in radians over 20 steps of held out trajectories, and the delay."""
    data, test = (
        pympnode.simulate(**SYSTEM, trajectories=count, seed=seed).drop_vars("edge_delay")
        for count, seed in ((trajectories, 1), (trajectories // 3 + 1, 2))
    )
    delay = {} if assumed == 0 else {"delay": assumed if assumed == "learn" else assumed * DT}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one graph, whose node attributes name its nodes
        result = pympnode.train(
            data=data, messages="emitted", updates=updates, matching=0.0, progress=False, window=0.25,
            circular=("phase_1", "phase_2", "phase_3"), **delay,
        )  # fmt: skip
        # All predict from step 20 on.
        model, x = result.model, test.state.values
        rollout = model.rollout(
            x[:, 20], history=x[:, :20], topology=schema.pack(test).graph, dt=DT, steps=20,
            node_attribute=test.node_attribute.values, check=False,
        )  # fmt: skip
    error = np.angle(np.exp(1j * (rollout.state.values[:, 1:] - x[:, 21:41])))
    return float(np.sqrt((error**2).mean())), float(model.delay or 0.0)


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


def main() -> None:
    """Measure the table and draw it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--assumed", type=int, nargs="+", default=[0, 4, 6, 8, 10, 12])
    parser.add_argument("--updates", type=int, default=400)
    parser.add_argument("--trajectories", type=int, default=40)
    options = parse(parser, assumed=[0, 8], updates=2, trajectories=4)
    torch.set_num_threads(1)
    lines = ["| delay of the model (steps) | error (rad) |", "| --- | --- |"]
    print("\n".join(lines))
    errors: dict[str, float] = {}
    learned = 0.0
    for assumed in [*options.assumed, "learn"]:
        errors[str(assumed)], found = error_of(assumed, options.updates, options.trajectories)
        if assumed == "learn":
            learned = found
        text = str(assumed) if assumed != "learn" else f"{found / DT:.2f}, learned"
        lines.append(f"| {text} | {errors[str(assumed)]:.4g} |")
        print(lines[-1], flush=True)
    record = {"dt": DT, "true": TRUE, "errors": errors, "learned": learned}
    (options.results / "delays.json").write_text(json.dumps(record, indent=1) + "\n")
    (options.results / "delays.md").write_text("\n".join(lines) + "\n")
    images = options.results if options.smoke else _HERE.parent / "docs" / "images"
    draw(errors, learned, images / "delays.png")


if __name__ == "__main__":
    main()
