"""Graphs of particles without cells: k nearest neighbours, and all pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from ...errors import InvalidData, InvalidGraph, unknown_name
from ...graph import Graph
from ...memory import available_bytes, need
from .box import Box, as_box
from .tree_input import flat_positions

KERNELS = ("auto", "grid", "tree", "tiles")
_TILE_BYTES = 1 << 27  # of a block of the distance matrix
# Particles in the fullest cell, over those in a cell of mean size, from which the tree is faster than
# the grid.
_CROWDED = 20


@dataclass(frozen=True, eq=False, repr=False)
class ParticleEdges:
    """Directed edges between the particles of a batch, on their device.

    sender, receiver: int64 (edge,), particle numbers in the flattened batch, sorted by receiver;
    messages are summed at the receiver. sizes: particles of each graph.
    """

    sender: Tensor
    receiver: Tensor
    sizes: tuple[int, ...]

    @property
    def particles(self) -> int:
        return sum(self.sizes)

    @property
    def edges(self) -> int:
        return self.sender.shape[0]

    def to_graph(self) -> Graph:
        """The edges as a `Graph` of NumPy arrays."""
        sender, receiver = self.sender.cpu().numpy(), self.receiver.cpu().numpy()
        return Graph(sender, receiver, np.array(self.sizes))

    def __repr__(self) -> str:
        return (
            f"ParticleEdges({len(self.sizes)} graph(s), {self.particles} particles, "
            f"{self.edges} edges)"
        )


def nearest_neighbours(
    position: Tensor | Sequence[Tensor],
    box: Box | float | None,
    *,
    k: int = 15,
    sizes: Sequence[int] | None = None,
    kernel: Literal["auto", "grid", "tree", "tiles"] = "auto",
) -> ParticleEdges:
    """Edges to each particle from its k nearest others, by nearest image; exact, not symmetrised.

    position, box, sizes: as in `hierarchy`; k: 15 in the published models. Ties are broken
    arbitrarily; a particle is never its own neighbour, also where others are in the same point.
    kernel: the search. "tree": the periodic k-d tree of SciPy, CPU. "grid": compiled, over rings of
    cells, CPU; twice as fast where particles are evenly spread. "tiles": blocks of the distance
    matrix, on the device of the positions. "auto": on a CPU grid, or tree where particles are crowded;
    elsewhere tiles. Raises UnknownName, InvalidGraph if a graph has too few particles, and InvalidData
    for positions that are not finite.
    """
    if kernel not in KERNELS:
        raise unknown_name("kernel", kernel, KERNELS)
    flat, counts, box = _particles(position, box, sizes)
    if min(counts) < 2:
        raise InvalidGraph(
            "a particle alone has no neighbours",
            got=f"a graph of {min(counts)}",
            allowed="graphs of two or more particles",
        )
    if k < 1 or k >= min(counts):
        raise InvalidGraph(
            f"a graph with {min(counts)} particles has no {k} neighbours",
            got=f"k={k}",
            allowed=f"1 to {min(counts) - 1}",
            fix="choose a smaller k, or use the fully connected graph",
        )
    if isinstance(box.side, tuple):
        kernel = "tiles"  # the others have one side
    if kernel == "auto":
        kernel = "grid" if flat.device.type == "cpu" else "tiles"
    find = {"grid": _by_grid, "tree": _by_tree, "tiles": _by_tiles}[kernel]
    senders, offset = [], 0
    for count in counts:
        senders.append(find(flat[offset : offset + count], box, k) + offset)
        offset += count
    receiver = torch.arange(flat.shape[0], device=flat.device).repeat_interleave(k)
    return ParticleEdges(torch.cat(senders).reshape(-1), receiver, counts)


def fully_connected(
    position: Tensor | Sequence[Tensor],
    box: Box | float | None = None,
    *,
    sizes: Sequence[int] | None = None,
) -> ParticleEdges:
    """All N (N - 1) ordered pairs of each graph, sorted by receiver, then sender.

    Aggregated at the receiver like every other graph (the published fully connected graph
    aggregates at the sender). Raises NotEnoughMemory with the bytes before allocating.
    """
    flat, counts, _ = _particles(position, box, sizes)
    total = sum(count * (count - 1) for count in counts)
    need(
        32 * total,
        f"a fully connected graph with {total:,} edges",
        fix="use the hierarchy, or the nearest neighbours",
        device=flat.device,
    )
    senders, receivers, offset = [], [], 0
    for count in counts:
        edge = torch.arange(count * (count - 1), device=flat.device)
        receiver = torch.div(edge, max(count - 1, 1), rounding_mode="floor")
        sender = edge - receiver * (count - 1)
        sender += sender >= receiver  # skips the receiver itself
        senders.append(sender + offset)
        receivers.append(receiver + offset)
        offset += count
    return ParticleEdges(torch.cat(senders), torch.cat(receivers), counts)


def _particles(
    position: Any, box: Any, sizes: Sequence[int] | None
) -> tuple[Tensor, tuple[int, ...], Box]:
    flat, counts = flat_positions(position, sizes)
    flat = flat.detach()
    if not bool(torch.isfinite(flat).all()):
        raise InvalidData(
            "the positions hold values that are not finite", got="NaN or inf", allowed="numbers"
        )
    box = as_box(box)
    return box.wrap(flat), counts, box


def _by_grid(x: Tensor, box: Box, k: int) -> Tensor:
    """(particle, k) neighbours from a grid of cells; from the tree where particles are crowded."""
    from .neighbour_kernels import into_grid, nearest_in_grid

    points = np.ascontiguousarray(x.cpu().numpy(), dtype=np.float64)
    count, dims = points.shape
    if box.periodic:
        lower, side = np.full(dims, -box.side / 2), box.side
    else:
        lower = points.min(0)
        side = float((points.max(0) - lower).max()) * (1 + 1e-9) or 1.0
    # A cell about as wide as the distance to the k-th neighbour: the first ring then mostly suffices.
    mean = max(1.0, (k + 1) / (np.pi if dims == 2 else 4 * np.pi / 3))
    size = max(1, int((count / mean) ** (1 / dims)))
    order, start = into_grid(points, lower, size, side / size)
    occupied = np.diff(start)
    if occupied.max() > _CROWDED * mean or np.count_nonzero(occupied) < 0.3 * occupied.size:
        return _by_tree(x, box, k)
    found = np.empty((count, k), np.int64)
    sorted_points = np.ascontiguousarray(points[order].T)
    nearest_in_grid(sorted_points, order, start, lower, size, side / size, box.side, k, found)
    return torch.from_numpy(found).to(x.device)


def _by_tree(x: Tensor, box: Box, k: int) -> Tensor:
    """(particle, k) neighbours from a k-d tree."""
    from scipy.spatial import cKDTree

    points = x.cpu().numpy().astype(np.float64)
    if box.periodic:
        points = points + box.side / 2
        # The shift can round onto a border, which SciPy refuses.
        points[points >= box.side] = 0.0
        points[points < 0] = 0.0
    tree = cKDTree(
        points,
        boxsize=box.side if box.periodic else None,
        leafsize=12,
        balanced_tree=False,
        compact_nodes=False,
    )
    # In the order of the leaves, successive queries read the same part of the tree, from the cache.
    order = tree.indices
    found = np.empty((points.shape[0], k + 1), np.int64)
    found[order] = tree.query(points[order], k=k + 1)[1]
    return torch.from_numpy(_drop_self(found)).to(x.device)


def _drop_self(found: np.ndarray) -> np.ndarray:
    """k of k + 1 neighbours (particle, k + 1): without the particle itself.

    Where many particles are in one point the particle may not be among them: the last is left out.
    """
    particle = np.arange(found.shape[0])
    is_self = found == particle[:, None]
    missing = ~is_self.any(axis=1)
    is_self[missing, -1] = True
    return found[~is_self].reshape(found.shape[0], -1)


def _by_tiles(x: Tensor, box: Box, k: int) -> Tensor:
    """(particle, k) neighbours from blocks (receiver, particle) of the distance matrix."""
    count, dims = x.shape
    free = available_bytes(x.device) or _TILE_BYTES * 8
    receiver_bytes = count * x.element_size() * (2 * dims + 3)
    receivers = max(1, min(count, min(_TILE_BYTES, free // 4) // receiver_bytes))
    along = [Box(side) for side in box.sides(dims).tolist()]
    out = []
    for start in range(0, count, receivers):
        block = x[start : start + receivers]
        distance2 = torch.zeros(block.shape[0], count, dtype=x.dtype, device=x.device)
        for axis in range(dims):
            difference = x[None, :, axis] - block[:, axis, None]
            distance2 += along[axis].displacement(difference) ** 2
        number = torch.arange(block.shape[0], device=x.device)
        distance2[number, number + start] = torch.inf  # no particle is its own neighbour
        out.append(distance2.topk(k, largest=False, sorted=False).indices)
    return torch.cat(out)
