"""The spring and Kuramoto tasks of Neural Relational Inference (Kipf et al. 2018, arXiv:1802.04687).

Each simulation has another random graph, in which a pair is coupled with probability 1/2. The rules are
those of the published generator of the springs (github.com/ethanfetaya/NRI, data/synthetic_sim.py) and
of section 5.1 and the appendix for Kuramoto oscillators. A simulation has 49 recorded times, 0.1 apart.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import pympnode

TIMES, EVERY = 49, 0.1
BOX, STIFFNESS, SPREAD, SPEED, STEP = 5.0, 0.1, 0.5, 0.5, 0.001  # of springs
FREQUENCIES = (1.0, 10.0)
# Accuracy in percent of the unsupervised model and of the supervised encoder, table 1 of the paper.
PUBLISHED = {
    ("springs", 5): (99.9, 99.9),
    ("kuramoto", 5): (96.0, 99.7),
    ("springs", 10): (98.4, 98.8),
    ("kuramoto", 10): (75.7, 97.1),
}
SIMULATIONS = 50_000  # with which those were trained, unsupervised


def graphs(count: int, nodes: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Symmetric adjacencies (simulation, node, node) of random graphs, pairs with probability 1/2."""
    upper = np.triu(rng.random((count, nodes, nodes)) < 0.5, 1)
    return (upper | upper.transpose(0, 2, 1)).astype(float)


def springs(
    count: int, nodes: int, rng: np.random.Generator
) -> tuple[NDArray, NDArray[np.float64], int]:
    """States (simulation, time, node, x y vx vy), adjacencies, and the number of bounces off walls.

    Particles of mass 1 in a box from -5 to 5 with elastic walls, springs of rest length 0 and stiffness
    0.1; leapfrog of step 0.001, one state in 100 is recorded. First positions are normal with standard
    deviation 0.5; first velocities have norm 0.5.
    """
    adjacency = graphs(count, nodes, rng)
    x = SPREAD * rng.standard_normal((count, nodes, 2))
    v = rng.standard_normal((count, nodes, 2))
    v *= SPEED / np.linalg.norm(v, axis=-1, keepdims=True)
    degree = adjacency.sum(axis=2)[..., None]

    def kick() -> None:
        v[...] += STEP * STIFFNESS * (adjacency @ x - degree * x)

    out, bounces = np.empty((count, TIMES, nodes, 4)), 0
    every = round(EVERY / STEP)
    kick()
    for step in range(1, TIMES * every + 1):
        x += STEP * v
        over = np.abs(x) > BOX
        if over.any():
            bounces += int(over.sum())
            v[over] = -np.sign(x[over]) * np.abs(v[over])
            x[over] = np.sign(x[over]) * 2 * BOX - x[over]
        if step % every == 0:
            out[:, step // every - 1] = np.concatenate([x, v], axis=-1)
        kick()
    return out, adjacency, bounces


def kuramoto(
    count: int, nodes: int, rng: np.random.Generator
) -> tuple[NDArray, NDArray[np.float64], NDArray]:
    """Phases (simulation, time, node, 1), adjacencies, and frequencies (simulation, node, 1).

    Frequencies are uniform in [1, 10), first phases in [0, 2 pi), the coupling of a pair is 1; rk4 of
    step 0.01, one state in 10 is recorded. The published features dphi/dt, sin phi and the frequency
    follow from these up to the estimate of the derivative.
    """
    adjacency = graphs(count, nodes, rng)
    frequency = rng.uniform(*FREQUENCIES, (count, nodes))
    phase = rng.uniform(0, 2 * np.pi, (count, nodes))

    def slope(at: NDArray) -> NDArray:
        return frequency + (adjacency * np.sin(at[:, None, :] - at[:, :, None])).sum(axis=2)

    step, every = 0.01, 10
    out = np.empty((count, TIMES, nodes, 1))
    for number in range(TIMES):
        out[:, number, :, 0] = phase
        for _ in range(every):
            k1 = slope(phase)
            k2 = slope(phase + step / 2 * k1)
            k3 = slope(phase + step / 2 * k2)
            phase = phase + step / 6 * (k1 + 2 * k2 + 2 * k3 + slope(phase + step * k3))
    return out, adjacency, frequency[..., None]


def dataset(
    task: str, nodes: int, train: int, test: int, seed: int = 1
) -> tuple[xr.Dataset, NDArray[np.float64], int]:
    """The simulations without their graphs, the last ``test`` marked "test"; their adjacencies; and the
    number of bounces off walls."""
    rng, count, bounces = np.random.default_rng([seed, nodes]), train + test, 0
    held = max(1, train // 10)
    split = ["train"] * (train - held) + ["validation"] * held + ["test"] * test
    options = dict(dt=EVERY, topology="learn each", split=split)
    if task == "springs":
        x, adjacency, bounces = springs(count, nodes, rng)
        ds = pympnode.from_arrays(x, features=["x", "y", "vx", "vy"], **options)
    else:
        x, adjacency, frequency = kuramoto(count, nodes, rng)
        ds = pympnode.from_arrays(
            x,
            features=["phase"],
            circular="phase",
            units=["rad"],
            node_attribute=frequency,
            **options,
        )
    return ds, adjacency, bounces
