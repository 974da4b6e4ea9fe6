"""Rollouts that stay on the device: states are added up there and copied back in blocks of steps.

The network works in its own precision; states are float64, because single precision suffices for the
change of a velocity over a step, and not for the sum of many changes (models that predict whole states
round them to theirs). Apart from what builds the graph, no step waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .batch import ParticleBatch

Step = Callable[[ParticleBatch, Tensor, Tensor], tuple[Tensor, Tensor]]
"""(batch, x, v) to x, v one step later, (set, particle, axis) float64; all of the batch but its states
is read."""

# Sides of the box per step. Beyond it the set counts as nonfinite: the wrapped position would be made
# of rounding errors alone.
MAX_SIDES_PER_STEP = 1e3
CHECK_EVERY = 16  # steps between two checks for nonfinite sets, where a check waits for the device
_BLOCK_BYTES = 1 << 26  # of states that stay on the device before they are copied back


def fill_rollout(
    step: Step,
    batch: ParticleBatch,
    position: NDArray,
    velocity: NDArray,
    *,
    max_speed: float,
    every: int,
) -> None:
    """Fill position, velocity (set, time, particle, axis) from their first states on.

    ``batch``: the first states on the device. A set with a value that is not finite, or a velocity
    component of at least ``max_speed``, ends there: that state and all later ones are NaN. Such sets
    leave the batch every ``every`` steps; until then they keep their last finite state, which is not
    written.
    """
    state = RolloutState(step, batch, position[:, 0], velocity[:, 0], max_speed)
    steps = position.shape[1] - 1
    state_bytes = 2 * position[:, 0].size * 8
    block = max(1, min(steps, _BLOCK_BYTES // max(state_bytes, 1)))
    sets, _, count, dims = position.shape
    states = torch.empty(2, block, sets, count, dims, dtype=torch.float64, device=state.x.device)
    for begin in range(1, steps + 1, block):
        filled = min(block, steps + 1 - begin)
        states.fill_(torch.nan)  # the states of sets that have left the batch
        for i in range(filled):
            state.step()
            state.write(states[:, i])
            if (begin + i) % every == 0 and not state.drop_nonfinite():
                filled = i + 1
                break
        for out, computed in zip((position, velocity), states[:, :filled].cpu().numpy()):
            out[:, begin : begin + filled] = computed.swapaxes(0, 1)
        if not state.sets:
            position[:, begin + filled :] = velocity[:, begin + filled :] = np.nan
            return


class RolloutState:
    """The current states of a rollout, on the device.

    x, v: (set, particle, axis) float64, of the sets that are still in the batch. set_number: int64
    (set,), their numbers in the arrays of `fill_rollout`. finite: bool (set,), False from a set's
    first nonfinite state on.
    """

    def __init__(
        self,
        step: Step,
        batch: ParticleBatch,
        position: NDArray,
        velocity: NDArray,
        max_speed: float,
    ) -> None:
        self.advance, self.batch, self.max_speed = step, batch, max_speed
        device = batch.position.device
        self.x, self.v = (
            torch.from_numpy(np.array(a, np.float64)).to(device) for a in (position, velocity)
        )
        self.set_number = torch.arange(self.sets, device=device)
        self.finite = torch.ones_like(self.set_number, dtype=torch.bool)

    @property
    def sets(self) -> int:
        """Sets that are still in the batch."""
        return self.x.shape[0]

    @torch.no_grad()
    def step(self) -> None:
        """One step of all sets; nonfinite sets keep their last finite state."""
        x, v = self.advance(self.batch, self.x, self.v)
        good = torch.isfinite(x).all(2).all(1) & (v.abs() < self.max_speed).all(2).all(1)
        self.finite = self.finite & good
        # NaN must not reach the graph of the next step, whose builder refuses it for the whole batch.
        keep = self.finite[:, None, None]
        self.x, self.v = torch.where(keep, x, self.x), torch.where(keep, v, self.v)

    def write(self, to: Tensor) -> None:
        """Write the states into (2, set, particle, axis): NaN for nonfinite sets."""
        for out, values in zip(to, (self.x, self.v)):
            masked = torch.where(self.finite[:, None, None], values, torch.nan)
            out.index_copy_(0, self.set_number, masked)

    def drop_nonfinite(self) -> bool:
        """Take nonfinite sets out of the batch; True if a set is left. Waits for the device."""
        finite = self.finite.cpu().numpy()
        if finite.all():
            return True
        sets, count, _ = self.x.shape
        keep = torch.from_numpy(np.flatnonzero(finite)).to(self.x.device)
        self.x, self.v, self.set_number = self.x[keep], self.v[keep], self.set_number[keep]
        self.finite = torch.ones_like(self.set_number, dtype=torch.bool)
        charge = self.batch.charge
        self.batch = self.batch.replace(
            position=self.x.reshape(-1, self.x.shape[2]),
            velocity=self.v.reshape(-1, self.v.shape[2]),
            mass=self.batch.mass.view(sets, count)[keep].reshape(-1),
            charge=None if charge is None else charge.view(sets, count)[keep].reshape(-1),
            kind=_of_sets(self.batch.kind, sets, count, keep),
            free=_of_sets(self.batch.free, sets, count, keep),
            sizes=(count,) * len(keep),
        )
        return bool(self.sets)


def _of_sets(values: Tensor | None, sets: int, count: int, keep: Tensor) -> Tensor | None:
    """Values (particle, ...) of the sets ``keep``."""
    if values is None:
        return None
    return values.view(sets, count, *values.shape[1:])[keep].reshape(-1, *values.shape[1:])
