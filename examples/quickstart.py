"""Train a model of Kuramoto oscillators on a Barabasi-Albert graph, evaluate it and save it.

    python examples/quickstart.py          # about a minute on two cores

Writes kuramoto.nc (the model) and kuramoto.png (predicted and true states, errors over time).
"""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

import pympnode
from pympnode import plotting


def main() -> None:
    result = pympnode.train(system="kuramoto", topology="BA")
    print(result)

    score = result.evaluate()
    print("\nroot mean square error (z units) on fresh trajectories:")
    print(score.rmse_z.to_series().to_string())

    result.model.save("kuramoto.nc")
    model = pympnode.load("kuramoto.nc")

    test = result.test_set(trajectories=20)
    nodes = [0, 3, 6, 9]
    figure = plt.figure(figsize=(11, 5.6), layout="constrained")
    left, right = figure.subfigures(1, 2, width_ratios=[1.8, 1])
    panels = left.subplots(3, len(nodes), sharex=True, squeeze=False)
    plotting.prediction(model.rollout(test), test, trajectory=0, nodes=nodes, axes=panels)
    top, bottom = right.subplots(2, 1)
    plotting.error_over_time(score, ax=top)
    plotting.training_curves(result.history, ax=bottom)
    figure.savefig("kuramoto.png", dpi=140)
    print("\nwrote kuramoto.nc and kuramoto.png")


if __name__ == "__main__":
    main()
