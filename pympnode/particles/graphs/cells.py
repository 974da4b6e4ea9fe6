"""``Hierarchy``: particles, the cells that hold them, and the edges of each level.

Source: the hierarchical graph of Martinkus, Lucchi, Perraudin, "Scalable graph networks for particle
simulations" (AAAI 2021), whose separation into near and far cells is that of the fast multipole method
(Greengard and Rokhlin, J. Comput. Phys. 73, 1987).

On level l a box is cut into 2^l cells per side. Particles in touching cells of the finest grid are
connected directly. On every level from the finest to 2, cells that do not touch but whose parents
touch are connected to each other; cells farther apart are connected through a coarser level. Level 2
is the coarsest: all cells of level 1 touch. Cells without particles are not stored.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import product
from math import log2
from typing import Protocol

import torch
from torch import Tensor

from ...errors import InvalidGraph

COARSEST = 2  # the 1 x 1 and 2 x 2 grids would hold no separated pair


@dataclass(frozen=True, eq=False, repr=False)
class Level:
    """The occupied cells of one level; `Hierarchy.levels` holds them finest first.

    cells: int64 (cell, axis), grid coordinates counted from the lower corner of the box.
    graph: int64 (cell,), the number of the graph in the batch. parent: int64 (cell,), the number of
    the cell's parent on the next coarser level; None on the coarsest. sender, receiver: int64 (edge,),
    cells of this level, sorted by receiver. mass, charge: (cell,) sums; position, velocity: (cell,
    axis) mass-weighted means, in the units of the particles (no cell lies across the border, so the
    mean position needs no nearest image). A cell without any mass has the plain mean. charge and
    velocity are None if none were given.
    """

    level: int
    cells: Tensor
    graph: Tensor
    sender: Tensor
    receiver: Tensor
    parent: Tensor | None = None
    mass: Tensor | None = None
    position: Tensor | None = None
    velocity: Tensor | None = None
    charge: Tensor | None = None

    @property
    def size(self) -> int:
        """Number of occupied cells."""
        return self.cells.shape[0]

    def __repr__(self) -> str:
        return f"Level({self.level}: {self.size} cells, {self.sender.shape[0]} edges)"


class Shared(Protocol):
    """The cells of level ``number`` (of `Hierarchy.levels`) that several processes share."""

    @property
    def number(self) -> int: ...

    def complete(self, values: Tensor) -> Tensor:
        """Values (cell, ...) of all cells, from those of the cells that this process has."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class Hierarchy:
    """A batch of particle sets with their cells. Every tensor is on the device of the positions.

    Particles are in *cell order*: particle i here is particle ``order[i]`` of the given batch
    (flattened), so that the particles of a cell are neighbours in memory. `cell_order` and
    `given_order` convert values between the two orders.

    order: int64 (particle,). graph: int64 (particle,), the number of the graph in the batch. sizes:
    particles of each graph. side: (graph,) box side, in units of length (of the bounding cube in open
    space). lower: (graph, axis), lower corner. position: (particle, axis), wrapped. sender, receiver:
    int64 (edge,), edges between near particles, in cell order, sorted by receiver. cell: int64
    (particle,), the number of the particle's leaf cell on the level ``leaf`` (int64 (particle,); None:
    all leaves are on ``levels[0]``). levels: finest first. shared: None, or the level whose cells, with all
    coarser ones, are those of several processes, of which this one has the particles of some.
    """

    order: Tensor
    graph: Tensor
    sizes: tuple[int, ...]
    side: Tensor
    lower: Tensor
    position: Tensor
    sender: Tensor
    receiver: Tensor
    cell: Tensor
    levels: tuple[Level, ...]
    leaf: Tensor | None = None
    periodic: bool = True
    shared: Shared | None = None

    @property
    def particles(self) -> int:
        """Number of particles, all graphs together."""
        return self.order.shape[0]

    @property
    def dims(self) -> int:
        return self.position.shape[1]

    @property
    def cells(self) -> int:
        """Number of occupied cells, all levels together."""
        return sum(level.size for level in self.levels)

    @property
    def edges(self) -> int:
        """Number of edges of all kinds: near, between cells, and one up and one down per child."""
        across = self.sender.shape[0] + sum(level.sender.shape[0] for level in self.levels)
        children = self.particles + self.cells - self.levels[-1].size
        return across + 2 * children

    @property
    def inverse(self) -> Tensor:
        """int64 (particle,): the number in cell order of each given particle."""
        out = torch.empty_like(self.order)
        out[self.order] = torch.arange(self.particles, device=self.order.device)
        return out

    def cell_order(self, values: Tensor) -> Tensor:
        """Values (particle, ...) or (graph, particle, ...), brought into cell order, flat."""
        lead = 1 if values.shape[0] == self.particles else 2
        return pick(values.reshape(self.particles, *values.shape[lead:]), self.order)

    def given_order(self, values: Tensor) -> Tensor:
        """Values (particle, ...) in cell order, brought back to the given order, flat."""
        return torch.empty_like(values).index_copy(0, self.order, values)

    def particle_edges(self) -> tuple[Tensor, Tensor]:
        """(sender, receiver) of the near pairs, numbered in the given order, sorted by receiver."""
        sender, receiver = self.order[self.sender], self.order[self.receiver]
        by_receiver = torch.sort(receiver, stable=True).indices
        return sender[by_receiver], receiver[by_receiver]

    def particles_of(self, level: Level) -> Tensor:
        """int64: the particles, numbered in cell order, whose leaf cell is on that level."""
        if self.leaf is None:
            finest = level is self.levels[0]
            return torch.arange(self.particles if finest else 0, device=self.order.device)
        return torch.nonzero(self.leaf == level.level).squeeze(1)

    def to(self, device: torch.device | str) -> Hierarchy:
        """A copy on another device."""

        def on_device(item):
            values = {f.name: getattr(item, f.name) for f in fields(item)}
            tensors = {k: v.to(device) for k, v in values.items() if isinstance(v, Tensor)}
            return replace(item, **tensors)

        return replace(on_device(self), levels=tuple(on_device(level) for level in self.levels))

    def __iter__(self) -> Iterator[Level]:
        return iter(self.levels)

    def __repr__(self) -> str:
        levels = ", ".join(f"{level.level}: {level.size}" for level in self.levels)
        return (
            f"Hierarchy({len(self.sizes)} graph(s), {self.particles} particles in {self.dims}-D, "
            f"{'periodic' if self.periodic else 'open'}, cells by level {{{levels}}}, "
            f"{self.sender.shape[0]} near pairs, {self.edges} edges)"
        )


def default_levels(particles: int, dims: int) -> int:
    """round(log4 N) in two dimensions, round(log8 N) in three: about one particle per finest cell.

    The rounding is to the nearest integer (the published data have 5 levels at N = 1000).
    Raises InvalidGraph when no level of cells is left, below 8 particles (23 in three dimensions).
    """
    levels = round(log2(max(particles, 1)) / dims)
    if levels < COARSEST:
        raise InvalidGraph(
            f"{particles} particles are too few for a hierarchy: no cell level is left",
            got=f"round(log{2**dims}({particles})) = {levels} levels",
            allowed=f">= {COARSEST}",
            fix=f"pass levels={COARSEST}, or use the fully connected graph",
        )
    return levels


def pick(values: Tensor, index: Tensor) -> Tensor:
    """``values[index]`` along the first axis; on a CPU several times faster than indexing."""
    out = values.index_select(0, index.reshape(-1))
    return out.view(*index.shape, *values.shape[1:])


# ---- Morton keys ------------------------------------------------------------------------------

_TABLE_BITS = 10  # bits per table look-up: a table of 8 KiB stays in the fastest cache


@lru_cache(maxsize=16)
def _interleaved_bits(dims: int, device: torch.device) -> Tensor:
    number = torch.arange(1 << _TABLE_BITS)
    out = torch.zeros_like(number)
    for bit in range(_TABLE_BITS):
        out |= ((number >> bit) & 1) << (dims * bit)
    return out.to(device)


def interleave_bits(coordinate: Tensor, dims: int, level: int) -> Tensor:
    """Coordinates below 2^level with their bits moved ``dims`` places apart: bit b to place dims b."""
    table = _interleaved_bits(dims, coordinate.device)
    if level <= _TABLE_BITS:
        return pick(table, coordinate)
    low = pick(table, coordinate & ((1 << _TABLE_BITS) - 1))
    return low | (
        interleave_bits(coordinate >> _TABLE_BITS, dims, level - _TABLE_BITS)
        << (dims * _TABLE_BITS)
    )


def morton(cells: Tensor, level: int) -> Tensor:
    """Morton keys (cell,) of cells (cell, axis): the bits of the axes, interleaved.

    The key of a cell's parent is key >> dims, so that sorted keys sort the cells of all levels. Source:
    Morton, "A computer oriented geodetic data base and a new technique in file sequencing" (IBM, 1966).
    """
    dims = cells.shape[1]
    key = interleave_bits(cells[:, 0], dims, level)
    for axis in range(1, dims):
        key = key | (interleave_bits(cells[:, axis], dims, level) << axis)
    return key


# ---- near and separated cells around a cell ----------------------------------------------------


@lru_cache(maxsize=16)
def window_tables(dims: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Near and separated cells in a window, for each position of a cell within its parent.

    The window of a parent are the 6^dims children of the parent and its neighbours; it starts two
    cells below the parent's lower corner. Returns near (2^dims, 3^dims) and separated (2^dims,
    6^dims - 3^dims): int64 places in the window, one row for each parity of the cell's coordinates.
    Places and parities count axis 0 fastest.
    """
    near, separated = [], []
    for parity in product((0, 1), repeat=dims):
        cell = [2 + p for p in reversed(parity)]  # `product` counts its last factor fastest
        touching: list[int] = []
        apart: list[int] = []
        for place, window in enumerate(product(range(6), repeat=dims)):
            distance = max(abs(w - c) for w, c in zip(reversed(window), cell, strict=True))
            (touching if distance <= 1 else apart).append(place)
        near.append(touching)
        separated.append(apart)
    return torch.tensor(near, device=device), torch.tensor(separated, device=device)


@lru_cache(maxsize=16)
def top_tables(dims: int, periodic: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """`window_tables` on level 2, where the window is the whole grid.

    Rows and places are Morton keys. Rows are padded with the place 4^dims, which holds no cell.
    """
    cells = list(product(range(4), repeat=dims))
    keys = morton(torch.tensor(cells), COARSEST).tolist()
    rows: list[tuple[list[int], list[int]]] = [([], []) for _ in cells]
    for cell, key in zip(cells, keys, strict=True):
        for other, place in zip(cells, keys, strict=True):
            gap = [abs(a - b) for a, b in zip(cell, other, strict=True)]
            if periodic:
                gap = [min(g, 4 - g) for g in gap]
            rows[key][0 if max(gap) <= 1 else 1].append(place)
    out = []
    for kind in (0, 1):
        lists = [sorted(row[kind]) for row in rows]
        width = max(map(len, lists))
        filled = [row + [4**dims] * (width - len(row)) for row in lists]
        out.append(torch.tensor(filled, device=device))
    return out[0], out[1]
