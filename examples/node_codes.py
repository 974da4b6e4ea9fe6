"""Codes of nodes that stand for frequencies which were not measured, beside the frequencies.

    python examples/node_codes.py [--images docs/images] [--smoke]

Kuramoto oscillators with a frequency each; the model gets phases and the graph, and learns two numbers
for each oscillator. Those of a second network are inferred from 25 time steps. About a minute and a
half. Writes node_codes.png.
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


def dataset(x: np.ndarray, graph: nx.Graph):
    return pympnode.from_arrays(x, dt=0.05, topology=graph, features=["phase"], units=["rad"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--smoke", action="store_true", help="few data and updates, in seconds")
    options = parser.parse_args()

    nodes, count = (6, 8) if options.smoke else (20, 60)
    rng = np.random.default_rng(0)
    graphs = [nx.barabasi_albert_graph(nodes, 2, seed=seed) for seed in (1, 2)]
    frequencies = rng.normal(0, 0.5, (2, nodes))
    train = dataset(phases(graphs[0], frequencies[0], count, 1, 50), graphs[0])
    result = pympnode.train(
        data=train, node_codes=2, messages="pairwise", invariant="phase", progress=False,
        updates=3 if options.smoke else 600,
    )  # fmt: skip
    model = result.model
    prefix = dataset(phases(graphs[1], frequencies[1], 1, 3, 25), graphs[1])
    codes = [model.node_code.values, model.infer(prefix).values]

    def columns(code: np.ndarray) -> np.ndarray:
        return np.column_stack([code, np.ones(len(code))])

    fit = np.linalg.lstsq(columns(codes[0]), frequencies[0], rcond=None)[0]
    truth = phases(graphs[1], frequencies[1], 20, 4, 50)
    rollout = model.rollout(dataset(truth, graphs[1]), node_code=codes[1], check=False)
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), layout="constrained")
    for code, frequency, color, label in zip(
        codes, frequencies, ("C0", "C1"), ("trained on", "inferred from 25 time steps")
    ):
        found = columns(code) @ fit
        r2 = 1 - np.sum((found - frequency) ** 2) / np.sum((frequency - frequency.mean()) ** 2)
        print(f"{label}: R^2 of a linear fit of the frequencies on the codes {r2:.3f}")
        axes[0].plot(frequency, found, "o", color=color, label=f"{label}, $R^2$ = {r2:.3f}")
    axes[0].axline((0, 0), slope=1, color="0.7", lw=1, zorder=0)
    axes[0].set(xlabel="frequency (rad per unit of time)", ylabel="linear fit on the codes")
    axes[0].legend(frameon=False)
    time = 0.05 * np.arange(truth.shape[1])
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
