"""Rollouts of one large set of particles in several processes: ranges of the space-filling curve.

The cells of one level, the blocks, are divided among the processes by the curve of their keys (Morton 1966).
A process computes the forces on the particles in its blocks. It receives the particles of all blocks that
touch its own, the halo: near pairs and pairs of cells on levels finer than the blocks reach no farther, and
what such cells send depends on the particles in them alone. What blocks send is summed over processes,
in which each block counts once; they and all coarser cells are then the same everywhere.

A particle has a home, the process in whose blocks it is at the first time: that integrates it, sends its
state each step to those that need it, and receives its change. Homes stay, so that each process returns
the same particles at all times; particles that move to other blocks are computed there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import EngineUnavailable, InvalidData
from ...training.group import Group, gathered
from ..graphs import tree_kernels
from ..graphs.box import Box
from ..graphs.cells import COARSEST, Hierarchy, morton, pick
from ..graphs.features import with_features
from ..graphs.tree import hierarchy
from .batch import ParticleBatch
from .program import ParticleProgram
from .threads import threads_for

Ints = NDArray[np.int64]

_BLOCK_BITS = 14  # of a key: 16,384 blocks, where the finest level has more cells


def refuses_curve(program: ParticleProgram, box: Box) -> str | None:
    """None, or why rollouts of this model are not divided among processes."""
    spec = program.spec
    if spec.join != "hierarchy" or spec.family != "deltagn" or spec.inputs != "scaled":
        return f"model={spec.name!r} with {spec.inputs} inputs"
    if not box.periodic or isinstance(box.side, tuple):
        return "open space" if not box.periodic else "a box that is no square or cube"
    return None if program.device.type == "cpu" else f"the device {program.device}"


@dataclass(frozen=True, eq=False)
class SharedBlocks:
    """The blocks of a hierarchy whose finer cells are those of one process.

    ``number``: of their level in `Hierarchy.levels`. ``own``: bool (block,), whether this process has all
    particles of the block and speaks for it.
    """

    group: Group
    number: int
    own: Tensor

    def complete(self, values: Tensor) -> Tensor:
        """``values`` (block, ...) of all blocks, each from the process that speaks for it."""
        mine = torch.where(self.own.view(-1, *[1] * (values.dim() - 1)), values, 0)
        total = self.group.sum(mine.double().numpy())
        return torch.from_numpy(total).to(values.dtype)


class Blocks:
    """The blocks of a box and their processes.

    ``level``: of the blocks; ``levels``: of the finest cells. ``owner`` (key,): process of each block by
    its key. ``wanted`` (process, key): whether a process has the block or one that touches it.
    """

    def __init__(
        self, group: Group, levels: int, dims: int, side: float, inputs: Tensor, share: int
    ) -> None:
        self.group, self.levels, self.dims = group, levels, dims
        self.level = max(COARSEST, min(levels - 1, round(_BLOCK_BITS / dims)))
        self._side = torch.tensor([side], dtype=inputs.dtype).numpy()
        self._lower = -np.repeat(self._side[:, None], dims, axis=1) / 2
        key = self.keys(inputs)
        # Each process counts its share of the particles, which all have at first.
        rows = np.array_split(key, group.size)[group.rank] if share else key
        count = group.sum(np.bincount(rows, minlength=1 << dims * self.level).astype(float))
        middle = np.cumsum(count) - count / 2
        self.owner = np.minimum(group.size - 1, middle * group.size // count.sum()).astype(int)
        grid = np.stack(np.meshgrid(*[np.arange(1 << self.level)] * dims, indexing="ij"), axis=-1)
        cells = grid.reshape(-1, dims)
        self.cells = np.empty_like(cells)
        self.cells[morton(torch.from_numpy(cells), self.level).numpy()] = cells
        self.wanted = np.zeros((group.size, len(cells)), bool)
        steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * dims, indexing="ij"), axis=-1)
        for step in steps.reshape(-1, dims):
            beside = (self.cells + step) % (1 << self.level)
            other = morton(torch.from_numpy(beside), self.level).numpy()
            self.wanted[self.owner, other] = True

    def keys(self, inputs: Tensor) -> Ints:
        """The block (particle,) of each particle, by the positions that the tree is built of."""
        count = len(inputs)
        key, cells = np.empty(count, np.int64), np.empty((count, self.dims), np.int64)
        x = np.ascontiguousarray(inputs.numpy())
        graph = np.zeros(count, np.int64)
        tree_kernels.place_in_cells(
            x, graph, self._side, self._lower, self.levels, True, np.empty_like(x), key, cells
        )
        return key >> self.dims * (self.levels - self.level)

    def hierarchy(self, inputs: ParticleBatch, keys: Ints) -> Hierarchy:
        """The hierarchy of own particles and halo, with the blocks and coarser cells of all particles.

        ``keys`` (particle,): blocks of the particles.
        """
        mine = self.owner == self.group.rank
        count = np.bincount(keys[mine[keys]], minlength=len(self.owner)).astype(float)
        occupied = np.flatnonzero(self.group.sum(count))
        number = np.full(len(self.owner), -1)
        number[occupied] = np.arange(len(occupied))
        side = inputs.box.cube
        centre = (self.cells[occupied] + 0.5) * (side / (1 << self.level)) - side / 2
        coarse = hierarchy(torch.from_numpy(centre), inputs.box, levels=self.level)
        fine = hierarchy(inputs.position, inputs.box, levels=self.levels)
        finer = self.levels - self.level
        # Blocks that hold no particle of this process have no finer cells here.
        of_local = number[morton(fine.levels[finer].cells, self.level).numpy()]
        last = fine.levels[finer - 1]
        assert last.parent is not None
        last = replace(last, parent=torch.from_numpy(of_local)[last.parent])
        shared = SharedBlocks(self.group, finer, torch.from_numpy(mine[occupied]))
        tree = replace(
            fine,
            levels=(*fine.levels[: finer - 1], last, *coarse.levels),
            shared=shared,
        )
        order = tree.order
        charge = None if inputs.charge is None else pick(inputs.charge, order)
        return with_features(tree, pick(inputs.mass, order), pick(inputs.velocity, order), charge)


class CurveRollout:
    """A rollout of one set of particles by the processes of a group.

    program: bound to a model that `refuses_curve` does not refuse. ``batch``: all particles, the same in
    every process, in units of the program; x, v: (particle, axis) float64. ``home``: int64, the numbers
    of the particles that this process integrates; ``x``, ``v`` their states. ``sent_bytes``: what this
    process has sent so far; ``halo``: particles of its last halo over those in its blocks.
    """

    def __init__(
        self,
        program: ParticleProgram,
        theta: NDArray,
        batch: ParticleBatch,
        x: Tensor,
        v: Tensor,
        group: Group,
    ) -> None:
        self.program, self.group, self.box = program, group, batch.box
        # The mean momentum is taken over all particles below.
        self._conserves = program.spec.conserve_momentum and batch.free is None
        self._weights = program.weights(theta)
        inputs = program.network_inputs(batch).position
        dims = x.shape[1]
        self.blocks = Blocks(
            group, program.levels(batch), dims, batch.box.cube, inputs, share=group.size > 1
        )
        self.home = np.flatnonzero(self.blocks.owner[self.blocks.keys(inputs)] == group.rank)
        if gathered(group, np.array([float(len(self.home))])).min() == 0:
            raise InvalidData(
                "a process has no particles",
                got=f"{batch.particles} particles in {group.size} processes",
                allowed="particles in as many blocks of cells as there are processes, or more",
                fix="start fewer processes",
            )
        here = torch.from_numpy(self.home)
        self.x, self.v = x[here], v[here]
        fixed = [batch.mass[:, None], *([] if batch.charge is None else [batch.charge[:, None]])]
        fixed += [] if batch.kind is None else [batch.kind]
        fixed += [] if batch.free is None else [batch.free[:, None]]
        self._fixed = torch.cat(fixed, 1)[here].double()
        self._has = (batch.charge is not None, batch.kind is not None, batch.free is not None)
        self._mass = batch.mass[here].double()
        self._total = float(group.sum(np.array([float(self._mass.sum())]))[0])
        self.sent_bytes, self.halo = 0, 0.0

    @torch.no_grad()
    def step(self) -> None:
        """One step of all particles."""
        program, blocks, rank = self.program, self.blocks, self.group.rank
        rows = torch.cat([self.x, self.v, self._fixed], 1)
        keys = blocks.keys(program.network_inputs(self._batch(rows)).position)
        others = [other for other in range(self.group.size) if other != rank]
        lent = {o: np.flatnonzero(blocks.wanted[o, keys]) for o in others}
        received = self._exchange_rows(rows, lent)
        stays = np.flatnonzero(blocks.wanted[rank, keys])
        every = torch.cat([rows[torch.from_numpy(stays)], *received.values()])
        batch = self._batch(every)
        inputs = program.network_inputs(batch)
        here = blocks.keys(inputs.position)
        mine = blocks.owner[here] == rank
        self.halo = float((~mine).sum() / max(1, mine.sum()))
        # The momentum of the particles here is not that of all: it is conserved below.
        tree = blocks.hierarchy(inputs, here)
        change = program.change_on(self._weights, batch, tree).double()
        found = torch.zeros_like(self.v)
        ends = np.cumsum([0, len(stays), *(len(each) for each in received.values())])
        kept = mine[: ends[1]]
        found[torch.from_numpy(stays[kept])] = change[: ends[1]][torch.from_numpy(kept)]
        answers = {
            other: change[first:last][torch.from_numpy(mine[first:last])]
            for other, first, last in zip(received, ends[1:-1], ends[2:])
        }
        asked = {o: index[blocks.owner[keys[index]] == o] for o, index in lent.items()}
        returned = {
            o: np.empty((len(index), self.v.shape[1])) for o, index in asked.items() if len(index)
        }
        self._send({o: each.numpy() for o, each in answers.items() if len(each)}, returned)
        for other, values in returned.items():
            found[torch.from_numpy(asked[other])] = torch.from_numpy(values)
        if self._conserves:
            momentum = self.group.sum((self._mass[:, None] * found).sum(0).numpy())
            found = found - torch.from_numpy(momentum / self._total)
        later = self.v + found
        self.x = self.box.wrap(self.x + 0.5 * program.step_length * (self.v + later))
        self.v = later

    def _batch(self, rows: Tensor) -> ParticleBatch:
        dims, real = self.x.shape[1], self.program.real
        parts = rows.to(real)
        at = 2 * dims + 1
        charged, typed, marked = self._has
        charge = parts[:, at].contiguous() if charged else None
        types = len(self.program.spec.types) if typed else 0
        at += charged
        return ParticleBatch(
            parts[:, :dims].contiguous(),
            parts[:, dims : 2 * dims].contiguous(),
            parts[:, 2 * dims].contiguous(),
            charge,
            (len(rows),),
            self.box,
            kind=parts[:, at : at + types].contiguous() if typed else None,
            free=parts[:, -1].contiguous() if marked else None,
        )

    def _exchange_rows(self, rows: Tensor, lent: dict[int, Ints]) -> dict[int, Tensor]:
        """Rows (particle, column) from each other process that has some; ``lent``: numbers of ours."""
        counts = np.zeros(self.group.size)
        for other, index in lent.items():
            counts[other] = len(index)
        come = gathered(self.group, counts)[:, self.group.rank].astype(int)
        received = {other: np.empty((come[other], rows.shape[1])) for other in lent if come[other]}
        self._send(
            {o: rows[torch.from_numpy(i)].numpy() for o, i in lent.items() if len(i)}, received
        )
        return {other: torch.from_numpy(values) for other, values in received.items()}

    def _send(self, sent: dict[int, NDArray], received: dict[int, NDArray]) -> None:
        self.sent_bytes += sum(each.nbytes for each in sent.values())
        self.group.exchange(sent, received)


def fill_rollout(
    program: ParticleProgram,
    theta: NDArray,
    batch: ParticleBatch,
    x: Tensor,
    v: Tensor,
    steps: int,
    max_speed: float,
    group: Group,
) -> tuple[Ints, NDArray[np.float64], NDArray[np.float64], CurveRollout]:
    """Numbers of the particles of this process, their positions and velocities (time, particle, axis) in
    units of the program, and the rollout; NaN from the first time on at which a value of any process is
    not finite or a velocity component at least ``max_speed``."""
    reason = refuses_curve(program, batch.box)
    if reason is None and program.levels(batch) <= COARSEST:
        reason = f"{batch.particles} particles, {program.levels(batch)} levels of cells"
    if reason is not None:
        raise EngineUnavailable(
            "this rollout is not divided among processes",
            got=reason,
            allowed='model="hierarchical_deltagn" with scaled inputs, in a periodic box, on the CPU',
            fix="leave partition out",
        )
    rollout = CurveRollout(program, theta, batch, x, v, group)
    shape = (steps + 1, len(rollout.home), x.shape[1])
    position, velocity = np.full(shape, np.nan), np.full(shape, np.nan)
    position[0], velocity[0] = rollout.x.numpy(), rollout.v.numpy()
    with threads_for(program.operations((max(2, len(rollout.home)),)), program.device):
        for number in range(1, steps + 1):
            rollout.step()
            good = torch.isfinite(rollout.x).all() & (rollout.v.abs() < max_speed).all()
            if group.sum(np.array([float(not bool(good))]))[0]:
                break
            position[number], velocity[number] = rollout.x.numpy(), rollout.v.numpy()
    return rollout.home, position, velocity, rollout
