"""Simulate gravity, print the energy, and draw the part of the hierarchy that acts on one particle.

    python examples/nbody_hierarchy.py [--particles 1000] [--steps 200] [--images docs/images]

About 15 seconds. Writes nbody_hierarchy.png and nbody_trajectories.png.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import torch

import pympnode
from pympnode.particles.metrics import observe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", type=int, default=1000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--images", type=Path, default=Path("docs/images"))
    options = parser.parse_args()

    ds = pympnode.simulate(
        system="gravity", particles=options.particles, trajectories=1, steps=options.steps, seed=0
    )
    print(ds)

    energy = observe(ds.isel(time=[0, -1]))["energy"].values[0]
    print(f"energy {energy[0]:.4f}, after {options.steps} steps {energy[1]:.4f}")

    box = pympnode.particles.schema.box_of(ds)
    print(pympnode.particles.graphs.hierarchy(torch.from_numpy(ds["position"].values[0, -1]), box))

    options.images.mkdir(parents=True, exist_ok=True)
    axes = pympnode.plotting.hierarchy_of(ds, particle=17)
    axes[0].figure.savefig(options.images / "nbody_hierarchy.png", dpi=90)
    few = ds.isel(particle=slice(0, 150))
    axes = pympnode.plotting.particle_trajectories(few, zoom=17)
    axes[0].figure.savefig(options.images / "nbody_trajectories.png", dpi=90)


if __name__ == "__main__":
    main()
