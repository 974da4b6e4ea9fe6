"""A power grid with lines of different strength loses a generator: simulate it, and draw the frequencies.

    python examples/power_grid.py [--images docs/images]

A few seconds. Writes power_grid.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import xarray as xr

import pympnode


def lose_a_generator(nodes: int = 20) -> tuple[xr.Dataset, int]:
    """The grid after a generator has failed, from its steady state before; and the generator's number."""
    grid = dict(nodes=nodes, edge_weight=(0.3, 1.5), graph_seed=7)
    rest = pympnode.simulate(
        "swing", **grid, initial=np.zeros((1, nodes, 2)), parameters={"damping": 2.0}, steps=600
    )
    power = rest.power.values.copy()
    failed = int(np.argmax(power))
    power[failed] = 0.0
    ds = pympnode.simulate(
        "swing", **grid, initial=rest.state.values[:, -1], parameters={"power": power}, steps=120
    )
    return ds, failed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    options = parser.parse_args()

    ds, failed = lose_a_generator()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), layout="constrained")
    pympnode.plotting.graph_state(ds, time=1.0, feature="omega", ax=left)
    omega = ds.state.sel(feature="omega")[0]
    right.plot(ds.time, omega, color="0.75", linewidth=0.8)
    right.plot(ds.time, omega[:, failed], color="C3", label=f"node {failed}, which failed at 0")
    right.plot(ds.time, omega.mean("node"), color="black", label="mean of the grid")
    right.set_xlabel("time (s)")
    right.set_ylabel("deviation of the frequency (rad/s)")
    right.legend(frameon=False)
    options.images.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.images / "power_grid.png", dpi=90)


if __name__ == "__main__":
    main()
