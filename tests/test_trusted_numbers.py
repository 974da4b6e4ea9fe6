"""What decides whether a learned number may be believed: optimiser, clipping, batches, best weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import pympnode
from pympnode.config import TrainConfig
from pympnode.layout import Layout
from pympnode.networks import schema
from pympnode.networks.task import TrajectoryTask
from pympnode.training.diagnosis import Reference
from pympnode.training.optimiser import Adam, clip
from pympnode.training.trainer import Trainer


class Quadratic:
    """A task whose gradient is theta - target - batch, and whose validation loss is the squared
    distance to ``validation``; it notes what was drawn and what was validated."""

    steps = 1
    size = 3
    layout = Layout({"theta": (3,)})
    dtype = np.dtype("float64")

    def __init__(self, updates: int, spread: float = 0.0, validation: float = 0.0) -> None:
        self.updates, self.spread, self.validation = updates, spread, validation
        self.drawn: list[list[NDArray]] = []  # of every generator, in the order they were made
        self.validated: list[NDArray] = []

    def count(self, horizon: int) -> int:
        return self.updates

    def batches(self, horizon: int, rng: np.random.Generator) -> Iterator[Any]:
        mine: list[NDArray] = []
        self.drawn.append(mine)
        for _ in range(self.updates):
            # Sizes of several orders, so that some gradients are clipped and some are not.
            mine.append(self.spread * rng.standard_normal(self.size) * 10 ** rng.uniform(-2, 1))
            yield mine[-1]

    def reference(self) -> Reference:
        return Reference({"persistence": 10.0})

    def kinds(self, horizon: int, rng: np.random.Generator) -> list[tuple[float, Any]]:
        return [(1.0, next(self.batches(horizon, rng)))]

    def loss(self, theta: NDArray, batch: Any) -> tuple[float, NDArray]:
        away = theta - 1.0 - batch
        return 0.5 * float(away @ away), away

    def losses(self, thetas: NDArray, batches: Sequence[Any]) -> tuple[NDArray, NDArray]:
        found = [self.loss(theta, batch) for theta, batch in zip(thetas, batches)]
        return np.array([value for value, _ in found]), np.stack([slope for _, slope in found])

    def validate(self, theta: NDArray) -> dict[str, float]:
        self.validated.append(theta.copy())
        away = theta - self.validation
        return {"validation_loss": float(away @ away)}


# ---- the optimiser ----------------------------------------------------------------------------


def test_adam_is_that_of_torch(rng: np.random.Generator) -> None:
    rates = np.array([1e-3, 0.2])
    theta = rng.normal(size=(2, 5))
    peers = [torch.tensor(row, requires_grad=True) for row in theta]
    optimisers = [torch.optim.Adam([p], lr=rate) for p, rate in zip(peers, rates)]
    adam = Adam()
    state = adam.start(theta)
    for count in range(1, 11):
        gradient = rng.normal(size=theta.shape) * 10.0 ** rng.integers(-3, 3)
        theta = adam.update(theta, gradient, rates, state, count)
        for peer, optimiser, row in zip(peers, optimisers, gradient):
            peer.grad = torch.tensor(row)
            optimiser.step()
        expected = [peer.detach().numpy() for peer in peers]
        # Ten steps of a few roundings each.
        np.testing.assert_allclose(theta, expected, rtol=0, atol=1e-13 * np.abs(theta).max())


def test_a_clipped_gradient_has_the_norm_of_the_limit_and_its_own_direction(
    rng: np.random.Generator,
) -> None:
    direction = rng.normal(size=(3, 4))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    norm = np.array([0.1, 2.0, 1e6])
    clipped = clip(direction * norm[:, None], norm, 2.0)
    np.testing.assert_allclose(clipped, direction * [[0.1], [2.0], [2.0]], rtol=1e-14)


def test_a_run_is_adam_on_clipped_gradients() -> None:
    task, limit = Quadratic(updates=10, spread=1.0), 2.0
    config = TrainConfig(epochs=1, schedule="constant", learning_rate=0.05, clip=limit, keep="last")
    outcome = Trainer(task, config).fit(np.zeros((1, 3)))
    peer = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([peer], lr=0.05)
    norms = []
    for batch in task.drawn[0]:
        slope = peer.detach().numpy() - 1.0 - batch
        norms.append(np.linalg.norm(slope))
        peer.grad = torch.tensor(slope * min(1.0, limit / norms[-1]))
        optimiser.step()
    assert min(norms) < limit < max(norms) / 1.5
    np.testing.assert_allclose(outcome.theta[0], peer.detach().numpy(), rtol=0, atol=1e-13)
    # The history tells the norm before clipping.
    np.testing.assert_allclose(outcome.history.gradient_norm, np.mean(norms), rtol=1e-12)


# ---- which weights come back --------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["best", "last"])
def test_the_best_weights_come_back_where_the_validation_loss_rises(keep: Any) -> None:
    task = Quadratic(updates=1, validation=0.3)  # passed on the way to 1
    config = TrainConfig(epochs=20, schedule="constant", learning_rate=0.05, keep=keep)
    outcome = Trainer(task, config).fit(np.zeros((1, 3)))
    losses = outcome.history.validation_loss.values
    least = int(losses.argmin())
    assert 2 < least < 17 and losses[-1] > 3 * losses[least]
    chosen = least if keep == "best" else 19
    assert outcome.best_epoch == chosen + 1 and outcome.best_loss == losses[chosen]
    np.testing.assert_array_equal(outcome.theta[0], task.validated[chosen])


# ---- batches ------------------------------------------------------------------------------------


def test_batches_differ_between_epochs_members_and_seeds() -> None:
    def drawn(seed: int) -> NDArray:
        task = Quadratic(updates=4, spread=1.0)
        Trainer(task, TrainConfig(epochs=3, seed=seed)).fit(np.zeros((2, 3)))
        # The last epoch is drawn once more at the end, to name what would have driven a divergence.
        assert len(task.drawn) == 3 * 2 + 1
        return np.array(task.drawn[: 3 * 2])

    first, again, other = drawn(0), drawn(0), drawn(1)
    np.testing.assert_array_equal(first, again)
    for a, b in combinations([*first, *other], 2):
        assert not np.isclose(a, b).any()


def starts(ds: Any, horizon: int) -> dict[int, set[int]]:
    """Of each trajectory, where its windows began in 1,000 draws."""
    arrays = schema.pack(ds, missing="mask")
    index = np.arange(arrays.trajectories)
    program: Any = SimpleNamespace(layout=SimpleNamespace(size=1), dtype=np.dtype("float64"))
    task = TrajectoryTask(program, [arrays], index, index[:0], batch_size=2)
    rng = np.random.default_rng(0)
    found: dict[int, set[int]] = {int(i): set() for i in index}
    draws = 0
    while draws < 1000:
        for batch in task.batches(horizon, rng):
            assert batch.horizon == horizon
            draws += len(batch.start)
            for trajectory, start in zip(batch.trajectory, batch.start):
                found[int(trajectory)].add(int(start))
    return found


@pytest.mark.parametrize("horizon", [3, 7])
def test_every_window_of_a_trajectory_is_drawn(horizon: int) -> None:
    x = np.random.default_rng(1).normal(size=(3, 8, 2, 1))
    every = set(range(8 - horizon))
    even = pympnode.from_arrays(x, dt=0.1, edges=[(0, 1)])
    assert starts(even, horizon) == dict.fromkeys(range(3), every)
    uneven = pympnode.from_arrays(x, time=np.arange(8.0) ** 2, edges=[(0, 1)])
    assert starts(uneven, horizon) == dict.fromkeys(range(3), every)
    x[0, 2, 1] = np.nan  # no window starts where a state is not known
    gaps = pympnode.from_arrays(x, dt=0.1, edges=[(0, 1)])
    assert starts(gaps, horizon) == {0: every - {2}, 1: every, 2: every}


def test_windows_reach_the_end_of_trajectories_of_different_length() -> None:
    rng = np.random.default_rng(2)
    sets = [
        pympnode.from_arrays(rng.normal(size=(1, times, 2, 1)), dt=0.1, edges=[(0, 1)])
        for times in (5, 9)
    ]
    program: Any = SimpleNamespace(layout=SimpleNamespace(size=1), dtype=np.dtype("float64"))
    task = TrajectoryTask(
        program, [schema.pack(ds) for ds in sets], np.arange(2), np.zeros(0, int), 2
    )
    drawn = [batch for _ in range(300) for batch in task.batches(2, rng)]
    pairs = {(int(i), int(s)) for b in drawn for i, s in zip(b.trajectory, b.start)}
    assert pairs == {(0, s) for s in range(3)} | {(1, s) for s in range(7)}
