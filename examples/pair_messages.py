"""What a model learned of an interaction: messages of pairs and emitted messages beside the truth.

    python examples/pair_messages.py [--images docs/images] [--smoke]

Oscillators pull each other by tanh(4 d), d the difference of their states, which is no sum of a few
products of a function of each. About half a minute. Writes pair_messages.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

import pympnode

EDGE = pympnode.Graph.single([0], [1], nodes=2)


def field(t: float, x: np.ndarray, u: Any, graph: Any, parameters: Any) -> np.ndarray:
    """dx_k/dt = -x_k / 2 + 1/2 sum_j tanh(4 (x_j - x_k))."""
    rate = -0.5 * x
    pull = 0.5 * np.tanh(4 * (x[:, graph.sender] - x[:, graph.receiver]))
    np.add.at(rate.swapaxes(0, 1), graph.receiver, pull.swapaxes(0, 1))
    return rate


def pull_of(model: pympnode.Model, receiver: float, senders: np.ndarray) -> np.ndarray:
    """What one neighbour in state ``senders`` adds to the derivative of a node: the field with the
    edge less the field without."""
    x = np.stack([senders, np.full_like(senders, receiver)], axis=1)[..., None]
    with_edge, _ = model.vector_field(x, graph=EDGE)
    without, _ = model.vector_field(x, graph=EDGE.without_edges)
    return (with_edge - without)[:, 1, 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--smoke", action="store_true", help="a few updates, in seconds")
    options = parser.parse_args()

    system = pympnode.own_system("pull", field, ["x"], start=(-2.0, 2.0))
    few: dict[str, Any] = {"updates": 3} if options.smoke else {"updates": 1500}
    ds = pympnode.simulate(system, trajectories=20 if options.smoke else 200)
    models = {
        name: pympnode.train(data=ds, messages=name, coupling="superposed", progress=False, **few)
        for name in ("emitted", "pairwise")
    }
    receivers, senders = (-0.5, 0.0, 0.5), np.linspace(-1.2, 1.2, 121)
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.8), sharey=True, layout="constrained")
    for ax, (name, result) in zip(axes, models.items()):
        for color, receiver in zip(("C0", "C1", "C2"), receivers):
            truth = 0.5 * np.tanh(4 * (senders - receiver))
            ax.plot(senders, truth, color="0.8", linewidth=4)
            learned = pull_of(result.model, receiver, senders)
            ax.plot(senders, learned, color=color, label=f"receiver at {receiver:g}")
        ax.set_title(f'messages="{name}", validation loss {result.best_loss:.1e}', fontsize=10)
        ax.set_xlabel("state of the sender")
    axes[0].set_ylabel("what the sender adds to the derivative")
    axes[0].legend(frameon=False, title="grey: truth")
    options.images.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.images / "pair_messages.png", dpi=90)


if __name__ == "__main__":
    main()
