"""Rollouts that stay on the device: states are added up there, and come back in blocks of steps.

The network works in its own precision; states are kept in float64, because single precision is
enough for the change of a velocity, not for adding it up (models that predict whole states round them
to theirs). Nothing here waits for the device at
every step, apart from what builds the graph. On CUDA it has not been run yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pympnode.graphs.box import Box

from .batch import ParticleBatch
from .captured import Captured, all_pairs, stands_still

if TYPE_CHECKING:
    from .program import Graph, ParticleProgram

FASTEST = 1e3  # sides of the box a step: a box only wraps what is not far beyond reason
_BLOCK = 1 << 26  # bytes of states that wait on the device
_LOOK = 16  # steps between two looks at which sets are lost, where a look is a wait
_WORTH = 16  # steps that pay for recording one


def look_every(program: ParticleProgram) -> int:
    """Steps after which lost sets are dropped. Until then they stand still, and are not written.

    At once where that costs nothing, and where the sets of a batch feel each other (the published
    hierarchical HOGN).
    """
    if program.device.type == "cpu" or program.spec.behaviour == "published":
        return 1
    return _LOOK


def roll(
    program: ParticleProgram,
    theta: NDArray,
    position: NDArray,
    velocity: NDArray,
    mass: Any,
    charge: Any,
    box: Box,
    *,
    every: int | None = None,
) -> None:
    """Fill position, velocity (set, time, particle, axis) from their first states on.

    A set with a value that is not finite, or a velocity beyond reason, ends there: that state and
    all later ones are NaN. ``every``: see `look_every`.
    """
    walk = _Walk(program, theta, position[:, 0], velocity[:, 0], mass, charge, box)
    try:
        _fill(walk, position, velocity, look_every(program) if every is None else every)
    finally:
        # What was recorded calls the walk: in a circle its memory would outlast the rollout.
        walk.captured = None


def _fill(walk: _Walk, position: NDArray, velocity: NDArray, every: int) -> None:
    """The steps of `roll`, in blocks."""
    steps = position.shape[1] - 1
    state = 2 * position[:, 0].size * 8
    block = max(1, min(steps, _BLOCK // max(state, 1)))
    sets, _, count, dims = position.shape
    kept = torch.empty(2, block, sets, count, dims, dtype=torch.float64, device=walk.x.device)
    for begin in range(1, steps + 1, block):
        many = min(block, steps + 1 - begin)
        kept.fill_(torch.nan)
        for i in range(many):
            walk.step(left=steps + 1 - begin - i)
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
        self, program: ParticleProgram, theta: NDArray, position: NDArray, velocity: NDArray,
        mass: Any, charge: Any, box: Box,
    ) -> None:  # fmt: skip
        self.program, self.weights = program, program.weights(theta)
        self.batch = program.batch(position, velocity, mass, charge, box)
        self.published = program.spec.behaviour == "published"
        self.fastest = FASTEST * box.side / program.step_length
        self.x, self.v = (
            torch.from_numpy(np.array(a, np.float64)).to(program.device)
            for a in (position, velocity)
        )
        self.rows = torch.arange(self.sets, device=program.device)
        self.alive = torch.ones_like(self.rows, dtype=torch.bool)
        self.done = 0
        self.still: Graph | None = None
        self.captured: Captured | None = None

    @property
    def sets(self) -> int:
        """Sets that are still there."""
        return self.x.shape[0]

    @torch.no_grad()
    def step(self, left: int) -> None:
        """One step of all sets; ``left``: steps that remain."""
        state = (self.x, self.v, self.alive)
        if self.program.spec.join != "complete":
            graph = self.program.graph(self._now(*state[:2]), averaged_charge=self._averaged)
            self.x, self.v, self.alive = self._advance(graph, *state)
        else:
            if self.still is None:
                self.still = self.program.graph(self._now(*state[:2]))
                if stands_still(self.program.spec, all_pairs(self.batch)) and left >= _WORTH:
                    still = self.still
                    self.captured = Captured(lambda *a: self._advance(still, *a), state)
            if self.captured is not None:
                self.x, self.v, self.alive = self.captured(*state)
            else:
                self.x, self.v, self.alive = self._advance(self.still, *state)
        self.done += 1

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
        self.still = self.captured = None
        return bool(self.sets)

    @property
    def _averaged(self) -> bool:
        return self.published and self.done > 0

    def _now(self, x: Tensor, v: Tensor) -> ParticleBatch:
        real, dims = self.program.real, x.shape[2]
        return self.batch.replace(
            position=x.reshape(-1, dims).to(real), velocity=v.reshape(-1, dims).to(real)
        )

    def _advance(
        self, graph: Graph, x: Tensor, v: Tensor, alive: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The state one step later; sets that are lost stay where they were."""
        program, now = self.program, self._now(x, v)
        if program.spec.inputs == "scaled":
            change = program.velocity_change(self.weights, now, graph, training=False)
            later_v = v + change.double().view_as(v)
            later_x = now.box.wrap(x + 0.5 * program.step_length * (v + later_v))
        else:
            later, faster = program.next_state(self.weights, now, graph, training=False)
            later_x, later_v = later.double().view_as(x), faster.double().view_as(v)
        good = torch.isfinite(later_x).all(2).all(1) & (later_v.abs() < self.fastest).all(2).all(1)
        alive = alive & good
        stay = alive[:, None, None]
        return torch.where(stay, later_x, x), torch.where(stay, later_v, v), alive
