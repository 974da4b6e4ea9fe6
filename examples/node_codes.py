"""Codes of nodes that stand for frequencies which were not measured, beside the frequencies.

    python examples/node_codes.py [--images docs/images] [--smoke]

Kuramoto oscillators with a frequency each, on four graphs; the model gets phases and graphs, and learns a
number for each oscillator. Those of a fifth graph are inferred from 25 time steps. A second
model is given the frequencies. Prints the errors of both, and writes node_codes.png. About a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np

import pympnode


def phases(graph: nx.Graph, frequency: np.ndarray, trajectories: int, seed: int, steps: int):
    """Phases (trajectory, time, node, 1) at steps of 0.05, by rk4 with a fifth of it."""
    adjacency, dt = nx.to_numpy_array(graph), 0.01
    x = np.random.default_rng(seed).uniform(-np.pi, np.pi, (trajectories, len(frequency)))

    def rate(x: np.ndarray) -> np.ndarray:
        away = x[:, None, :] - x[:, :, None]
        return frequency + 0.25 * np.einsum("ij,tij->ti", adjacency, np.sin(away))

    states = [x]
    for _ in range(steps):
        for _ in range(5):
            a = rate(x)
            b = rate(x + dt / 2 * a)
            c = rate(x + dt / 2 * b)
            x = x + dt / 6 * (a + 2 * b + 2 * c + rate(x + dt * c))
        states.append(x)
    return np.stack(states, axis=1)[..., None]


def dataset(graphs, frequency, trajectories: int, seed: int, steps: int, given: bool):
    """Trajectories on each of ``graphs``; ``given``: with the frequencies as node attributes."""
    x = [
        phases(g, f, trajectories, seed + i, steps)
        for i, (g, f) in enumerate(zip(graphs, frequency))
    ]
    each = np.repeat(frequency, trajectories, axis=0)[..., None]
    return pympnode.from_arrays(
        np.concatenate(x), dt=0.05, topology=list(graphs), features=["phase"], units=["rad"],
        graph_of=np.repeat(np.arange(len(graphs)), trajectories),
        node_attribute=each if given else None,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--smoke", action="store_true", help="few data and updates, in seconds")
    options = parser.parse_args()

    nodes, count = (6, 4) if options.smoke else (20, 15)
    graphs = [nx.barabasi_albert_graph(nodes, 2, seed=seed) for seed in range(1, 6)]
    frequencies = np.random.default_rng(0).normal(0, 0.5, (5, nodes))
    old, new = slice(0, 4), slice(4, 5)

    def data(which: slice, trajectories: int, seed: int, given: bool, steps: int = 50):
        return dataset(graphs[which], frequencies[which], trajectories, seed, steps, given)

    model, informed = (
        pympnode.train(
            data=data(old, count, 1, given), node_codes=None if given else 1, messages="emitted",
            updates=3 if options.smoke else 1200, progress=False,
        ).model
        for given in (False, True)
    )  # fmt: skip
    codes = [model.node_code.values, model.infer(data(new, 1, 20, False, steps=25)).values]

    def columns(code: np.ndarray) -> np.ndarray:
        return np.column_stack([code, np.ones(len(code))])

    fit = np.linalg.lstsq(columns(codes[0]), frequencies[old].ravel(), rcond=None)[0]
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    for which, code, color, label in zip(
        (old, new), codes, ("C0", "C1"), ("trained on", "inferred from 25 time steps")
    ):
        frequency, found = frequencies[which].ravel(), columns(code) @ fit
        r2 = 1 - np.sum((found - frequency) ** 2) / np.sum((frequency - frequency.mean()) ** 2)
        print(f"{label}: R^2 of a linear fit of the frequencies on the codes {r2:.3f}")
        axes[0].plot(frequency, found, "o", color=color, label=f"{label}, $R^2$ = {r2:.3f}")
        test = [data(which, 10, 30, given) for given in (False, True)]
        rollout = model.rollout(test[0], node_code=code, check=False)
        errors = [
            float(np.sqrt(((one.state - test[0].state) ** 2).mean()))
            for one in (rollout, informed.rollout(test[1], check=False))
        ]
        print(f"    error {errors[0]:.3f} rad, of the model that is given them {errors[1]:.3f} rad")
    axes[0].axline((0, 0), slope=1, color="0.7", lw=1, zorder=0)
    axes[0].set(xlabel="frequency (rad per unit of time)", ylabel="linear fit on the codes")
    axes[0].legend(frameon=False)
    time, truth = test[0].time.values, test[0].state.values
    for node, color in zip(range(3), ("C0", "C1", "C2")):
        axes[1].plot(time, truth[0, :, node, 0], color=color, lw=3, alpha=0.4)
        axes[1].plot(time, rollout.state.values[0, :, node, 0], "--", color=color)
    axes[1].set(
        xlabel="time", ylabel="phase (rad)", title="new network: truth, and rollout (dashed)"
    )
    options.images.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.images / "node_codes.png", dpi=90)


if __name__ == "__main__":
    main()
