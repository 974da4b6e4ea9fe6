"""Rollouts that stay on the device: states are added up there, and come back in blocks of steps.

The network works in its own precision; states are kept in float64, because single precision is
enough for the change of a velocity, not for adding it up (models that predict whole states round them
to theirs). Nothing here waits for the device at every step, apart from what builds the graph. On CUDA
it has not been run yet.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .batch import ParticleBatch

Step = Callable[[ParticleBatch, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(batch, x, v) to x, v one step later, (set, particle, axis) float64; of the batch all but the
states is read."""

FASTEST = 1e3  # sides of the box a step: a box only wraps what is not far beyond reason
LOOK = 16  # steps between two looks at which sets are lost, where a look is a wait
_BLOCK = 1 << 26  # bytes of states that wait on the device


def roll(
    step: Step,
    batch: ParticleBatch,
    position: NDArray,
    velocity: NDArray,
    *,
    fastest: float,
    every: int,
) -> None:
    """Fill position, velocity (set, time, particle, axis) from their first states on.

    ``batch``: the first states on the device. A set with a value that is not finite, or a velocity
    beyond ``fastest``, ends there: that state and all later ones are NaN. Such sets are dropped
    every ``every`` steps; until then they stand still, and are not written.
    """
    walk = _Walk(step, batch, position[:, 0], velocity[:, 0], fastest)
    steps = position.shape[1] - 1
    state = 2 * position[:, 0].size * 8
    block = max(1, min(steps, _BLOCK // max(state, 1)))
    sets, _, count, dims = position.shape
    kept = torch.empty(2, block, sets, count, dims, dtype=torch.float64, device=walk.x.device)
    for begin in range(1, steps + 1, block):
        many = min(block, steps + 1 - begin)
        kept.fill_(torch.nan)
        for i in range(many):
            walk.step()
            walk.write(kept[:, i])
            if (begin + i) % every == 0 and not walk.drop():
                many = i + 1
                break
        for out, found in zip((position, velocity), kept[:, :many].cpu().numpy()):
            out[:, begin : begin + many] = found.swapaxes(0, 1)
        if not walk.sets:
            position[:, begin + many :] = velocity[:, begin + many :] = np.nan
            return


class _Walk:
    """The states at hand: x, v (set, particle, axis) float64; ``rows`` the sets that they are of;
    ``alive`` (set,) those that are not lost."""

    def __init__(
        self, step: Step, batch: ParticleBatch, position: NDArray, velocity: NDArray, fastest: float
    ) -> None:
        self.advance, self.batch, self.fastest = step, batch, fastest
        device = batch.position.device
        self.x, self.v = (
            torch.from_numpy(np.array(a, np.float64)).to(device) for a in (position, velocity)
        )
        self.rows = torch.arange(self.sets, device=device)
        self.alive = torch.ones_like(self.rows, dtype=torch.bool)

    @property
    def sets(self) -> int:
        """Sets that are still there."""
        return self.x.shape[0]

    @torch.no_grad()
    def step(self) -> None:
        """One step of all sets; those that are lost stay where they were."""
        x, v = self.advance(self.batch, self.x, self.v)
        good = torch.isfinite(x).all(2).all(1) & (v.abs() < self.fastest).all(2).all(1)
        self.alive = self.alive & good
        stay = self.alive[:, None, None]
        self.x, self.v = torch.where(stay, x, self.x), torch.where(stay, v, self.v)

    def write(self, to: Tensor) -> None:
        """The state of the sets that are alive, into (2, set, particle, axis)."""
        for out, values in zip(to, (self.x, self.v)):
            seen = torch.where(self.alive[:, None, None], values, torch.nan)
            out.index_copy_(0, self.rows, seen)

    def drop(self) -> bool:
        """Leave lost sets behind (waits for the device); whether any is left."""
        alive = self.alive.cpu().numpy()
        if alive.all():
            return True
        sets, count, _ = self.x.shape
        keep = torch.from_numpy(np.flatnonzero(alive)).to(self.x.device)
        self.x, self.v, self.rows = self.x[keep], self.v[keep], self.rows[keep]
        self.alive = torch.ones_like(self.rows, dtype=torch.bool)
        charge = self.batch.charge
        self.batch = self.batch.replace(
            position=self.x.reshape(-1, self.x.shape[2]),
            velocity=self.v.reshape(-1, self.v.shape[2]),
            mass=self.batch.mass.view(sets, count)[keep].reshape(-1),
            charge=None if charge is None else charge.view(sets, count)[keep].reshape(-1),
            sizes=(count,) * len(keep),
        )
        return bool(self.sets)
