"""``Hierarchy``: particles, the cells that hold them, and who talks to whom on which level.

A box is cut into 2^l cells a side on level l. Particles in touching cells of the finest grid are
joined directly; on every level from the finest to 2, cells that do not touch but whose parents do
are joined to each other; whatever is farther meets on a coarser level. Level 2 is the top: its
parents all touch. Empty cells do not exist.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from itertools import product
from math import log2

import torch
from torch import Tensor

from ...errors import InvalidGraph

COARSEST = 2  # the 1 x 1 and 2 x 2 grids would hold no separated pair


@dataclass(frozen=True, eq=False, repr=False)
class Level:
    """The occupied cells of one level, finest to coarsest in `Hierarchy.levels`.

    cells: int64 (cell, axis), grid coordinates counted from the lower corner of the box.
    graph: int64 (cell,), which graph of the batch. parent: int64 (cell,), the cell's parent in
    the next coarser level; None on the coarsest. sender, receiver: int64 (edge,), cells of this
    level, sorted by receiver. mass, charge: (cell,) sums; position, velocity: (cell, axis)
    mass-weighted means (positions never straddle the border: a cell does not). A cell without
    any mass has the plain mean. charge and velocity are None if none were given.
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
        """How many occupied cells."""
        return self.cells.shape[0]

    def __repr__(self) -> str:
        return f"Level({self.level}: {self.size} cells, {self.sender.shape[0]} edges)"


@dataclass(frozen=True, eq=False, repr=False)
class Hierarchy:
    """A batch of particle sets with their cells. Every tensor is on the device of the positions.

    Particles stand in *cell order*: row i here is row ``order[i]`` of what was given (the batch
    flattened), so that a cell's particles are neighbours in memory. `cell_order` and
    `given_order` carry values there and back.

    order: int64 (particle,). graph: int64 (particle,), which graph of the batch. sizes: particles
    of each graph. side: box side of each graph (of the bounding cube if open). lower: (graph,
    axis), lower corner. position: (particle, axis), wrapped. sender, receiver: int64 (edge,),
    near particles, in cell order, sorted by receiver. cell: int64 (particle,), the particle's
    leaf cell: a row of the level named by ``leaf`` (None: of ``levels[0]``, all of them).
    levels: finest first.
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

    @property
    def particles(self) -> int:
        """How many particles, all graphs together."""
        return self.order.shape[0]

    @property
    def dims(self) -> int:
        return self.position.shape[1]

    @property
    def cells(self) -> int:
        """How many occupied cells, all levels together."""
        return sum(level.size for level in self.levels)

    @property
    def edges(self) -> int:
        """Edges of all kinds: near, between cells, and one up and one down a child."""
        across = self.sender.shape[0] + sum(level.sender.shape[0] for level in self.levels)
        children = self.particles + self.cells - self.levels[-1].size
        return across + 2 * children

    @property
    def inverse(self) -> Tensor:
        """int64 (particle,): where each given particle stands in cell order."""
        out = torch.empty_like(self.order)
        out[self.order] = torch.arange(self.particles, device=self.order.device)
        return out

    def cell_order(self, values: Tensor) -> Tensor:
        """Rows of a value a particle, given flat or as (graph, particle, ...), in cell order."""
        lead = 1 if values.shape[0] == self.particles else 2
        return pick(values.reshape(self.particles, *values.shape[lead:]), self.order)

    def given_order(self, values: Tensor) -> Tensor:
        """Rows in cell order brought back to the flat order that was given."""
        return torch.empty_like(values).index_copy(0, self.order, values)

    def particle_edges(self) -> tuple[Tensor, Tensor]:
        """(sender, receiver) of the near pairs as given particle numbers, sorted by receiver."""
        sender, receiver = self.order[self.sender], self.order[self.receiver]
        by_receiver = torch.sort(receiver, stable=True).indices
        return sender[by_receiver], receiver[by_receiver]

    def particles_of(self, level: Level) -> Tensor:
        """int64: the particles (cell order) whose leaf cell is on that level."""
        if self.leaf is None:
            here = level is self.levels[0]
            return torch.arange(self.particles if here else 0, device=self.order.device)
        return torch.nonzero(self.leaf == level.level).squeeze(1)

    def to(self, device: torch.device | str) -> Hierarchy:
        """The same on another device."""

        def moved(item):
            values = {f.name: getattr(item, f.name) for f in fields(item)}
            tensors = {k: v.to(device) for k, v in values.items() if isinstance(v, Tensor)}
            return replace(item, **tensors)

        return replace(moved(self), levels=tuple(moved(level) for level in self.levels))

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
    """round(log4 N) in two dimensions, round(log8 N) in three: about one particle a finest cell.

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
    """``values[index]`` along the first axis; several times faster than indexing on a CPU."""
    out = values.index_select(0, index.reshape(-1))
    return out.view(*index.shape, *values.shape[1:])


# ---- Morton keys ------------------------------------------------------------------------------

_LOW = 10  # bits a table look-up spreads


@lru_cache(maxsize=16)
def _spread_table(dims: int, device: torch.device) -> Tensor:
    number = torch.arange(1 << _LOW)
    out = torch.zeros_like(number)
    for bit in range(_LOW):
        out |= ((number >> bit) & 1) << (dims * bit)
    return out.to(device)


def spread(coordinate: Tensor, dims: int, level: int) -> Tensor:
    """Bits of ``coordinate`` moved ``dims`` apart; for coordinates below 2^level."""
    table = _spread_table(dims, coordinate.device)
    if level <= _LOW:
        return pick(table, coordinate)
    low = pick(table, coordinate & ((1 << _LOW) - 1))
    return low | (spread(coordinate >> _LOW, dims, level - _LOW) << (dims * _LOW))


def morton(cells: Tensor, level: int) -> Tensor:
    """Keys of cells (n, axis): bits of the axes interleaved, so a parent's key is key >> dims."""
    dims = cells.shape[1]
    key = spread(cells[:, 0], dims, level)
    for axis in range(1, dims):
        key = key | (spread(cells[:, axis], dims, level) << axis)
    return key


# ---- which of the cells around are near and which are separated --------------------------------


@lru_cache(maxsize=16)
def window_tables(dims: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Places in the window of 6^dims children of the parent's neighbours, by own parity.

    Returns near (2^dims, 3^dims) and separated (2^dims, 6^dims - 3^dims). The window starts two
    cells below the parent's lower corner; its places and parities count axis 0 fastest.
    """
    near, separated = [], []
    for parity in product((0, 1), repeat=dims):
        own = [2 + p for p in reversed(parity)]  # product counts its last factor fastest
        touching: list[int] = []
        apart: list[int] = []
        for place, window in enumerate(product(range(6), repeat=dims)):
            far = max(abs(w - o) for w, o in zip(reversed(window), own, strict=True))
            (touching if far <= 1 else apart).append(place)
        near.append(touching)
        separated.append(apart)
    return torch.tensor(near, device=device), torch.tensor(separated, device=device)


@lru_cache(maxsize=16)
def top_tables(dims: int, periodic: bool, device: torch.device) -> tuple[Tensor, Tensor]:
    """The same on level 2, where the window is the whole grid; rows and places are Morton keys.

    Rows are filled up with the place 4^dims, which holds no cell.
    """
    cells = list(product(range(4), repeat=dims))
    keys = morton(torch.tensor(cells), COARSEST).tolist()
    rows: list[tuple[list[int], list[int]]] = [([], []) for _ in cells]
    for own, key in zip(cells, keys, strict=True):
        for other, place in zip(cells, keys, strict=True):
            gap = [abs(a - b) for a, b in zip(own, other, strict=True)]
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
