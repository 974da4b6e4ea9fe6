"""The main job: learn Kuramoto oscillators on a Barabasi-Albert graph, look at it, keep it.

    python examples/quickstart.py          # about a minute on two cores

Writes kuramoto.nc (the model) and kuramoto.png (predicted against true, errors over time).
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
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.2), layout="constrained")
    plotting.predicted(test, model.rollout(test), trajectory=0, ax=axes[0])
    plotting.error_over_time(score, ax=axes[1])
    plotting.training_curves(result.history, ax=axes[2])
    figure.savefig("kuramoto.png", dpi=150)
    print("\nwrote kuramoto.nc and kuramoto.png")


if __name__ == "__main__":
    main()
