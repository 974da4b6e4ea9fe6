"""A graph that is learned from trajectories alone, beside the true one.

    python examples/unknown_graph.py [--images docs/images] [--smoke]

Kuramoto oscillators on a directed graph with weights; the model gets their phases and no graph. About a
minute. Writes unknown_graph.png.
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    parser.add_argument("--smoke", action="store_true", help="few data and updates, in seconds")
    options = parser.parse_args()

    nodes = 4 if options.smoke else 12
    graph = nx.gnp_random_graph(nodes, 0.3, seed=3, directed=True)
    ds = pympnode.simulate(
        "kuramoto", nodes=nodes, topology=graph, edge_weight=(0.5, 2.0), seed=1,
        trajectories=10 if options.smoke else 60,
    )  # fmt: skip
    data = pympnode.from_arrays(ds.state, topology="learn")  # the states alone
    result = pympnode.train(data=data, updates=3 if options.smoke else 500, progress=False)

    true = np.zeros((nodes, nodes))
    true[ds.receiver, ds.sender] = ds.edge_weight / ds.edge_weight.mean()
    scores, found = result.model.edge_scores.values, result.model.graph
    kept = np.zeros_like(true)
    kept[found.receiver, found.sender] = found.weight
    print(f"{found.edges} edges, of which {int((true[kept > 0] > 0).sum())} are true; ", end="")
    print(f"{int((true > 0).sum())} edges in the data")

    figure, axes = plt.subplots(1, 4, figsize=(12.5, 3.3), layout="constrained")
    for ax, values, title in zip(
        axes, (true, scores, kept), ("true weights", "edge_scores", "model.graph")
    ):
        image = ax.imshow(values, cmap="Blues", vmin=0, vmax=2)
        ax.set(title=title, xlabel="sender", ylabel="receiver")
    figure.colorbar(image, ax=axes[:3], label="weight, mean 1", shrink=0.8)
    edge = true > 0
    off = ~np.eye(nodes, dtype=bool)
    axes[3].plot([0, 2], [0, 2], color="0.7", lw=1)
    axes[3].plot(true[off & ~edge], kept[off & ~edge], ".", color="C1", label="no edge")
    axes[3].plot(true[edge], kept[edge], ".", color="C0", label="edge")
    axes[3].set(xlabel="true weight", ylabel="learned weight", title="model.graph")
    axes[3].legend(frameon=False)
    options.images.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.images / "unknown_graph.png", dpi=90)


if __name__ == "__main__":
    main()
