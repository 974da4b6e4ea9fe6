"""Memory that a step of a particle model takes, from what its kernel keeps of every edge.

The numbers of layers were counted in the kernels, and the estimate then compared with the measured
peak of a process: it is never below the peak and at most about twice as high. Most of the difference
is memory that an allocator holds and cannot give back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .spec import RADIAL_POWERS

if TYPE_CHECKING:
    from .engine.program import ParticleProgram

# Bytes of a step of any size: buffers of libraries, and what an allocator holds.
_LIBRARIES = 8 << 20
# Edges per chunk of the torch and numba kernels, and the layers that they hold for a chunk.
_CHUNK = {"cpu": 2048, "cuda": 65_536}
_BUFFERS = 5
# Layers of an edge network at the peak of a Hamiltonian's gradient, which is differentiated again: of
# the first stage of the integrator, and of each further one.
_HAMILTONIAN, _STAGE = 24, 10
# Width from which float32 products of the eager kernel copy their factors to padded rows (`products`).
_PADDED_WIDTH = 96


@dataclass(frozen=True)
class Counts:
    """Sizes of the graph of one state: ``edges`` of all kinds, edges of the ``largest`` kind, and
    ``nodes``, particles and cells together."""

    edges: int
    largest: int
    nodes: int

    def union(self, other: Counts) -> Counts:
        """The larger of each."""
        pairs = zip(self.values, other.values, strict=True)
        return Counts(*(max(pair) for pair in pairs))

    @property
    def values(self) -> tuple[int, int, int]:
        """The numbers in their order."""
        return self.edges, self.largest, self.nodes

    @classmethod
    def of(cls, graph: Any, *, radial: bool = False) -> Counts:
        """The counts of a graph of one state (`ParticleEdges` or `Hierarchy`).

        ``radial``: as radial messages use it, whose edges from far cells end in particles.
        """
        levels = getattr(graph, "levels", ())
        if radial and levels:
            from .engine.radial import far_counts

            near, far = graph.sender.shape[0], far_counts(graph)
            # Two points for each axis stand for a cell, and for its charges of each sign.
            points = 2 * graph.dims * (1 if levels[0].charge is None else 2)
            return cls(
                near + points * sum(far), max(near, *far), graph.particles + points * graph.cells
            )
        kinds = [graph.sender.shape[0], graph.particles, *(a.sender.shape[0] for a in levels)]
        return cls(graph.edges, max(kinds), graph.particles + getattr(graph, "cells", 0))


def fixed_bytes(program: ParticleProgram) -> int:
    """Bytes that do not grow with the number of states."""
    chunk = _CHUNK.get(program.device.type, _CHUNK["cuda"])
    if program.spec.radial:
        from .engine.radial import CHUNK

        chunk = CHUNK.get(program.device.type, CHUNK["cuda"])
    return _LIBRARIES + _BUFFERS * chunk * program.spec.edge_width * program.dtype.itemsize


def state_bytes(
    program: ParticleProgram, counts: Counts, *, training: bool, recompute: bool | None = None
) -> int:
    """Bytes of one state in a loss, or in a gradient (``training``).

    ``recompute``: with or without computing the layers of edges again; None: as the program does. True
    means a kernel that can, also where the program's is eager.
    """
    spec, item = program.spec, program.dtype.itemsize
    kernel = program.kernel
    recompute = program.recompute if recompute is None else recompute
    width, dims = spec.edge_width, spec.dims
    factor = 2 if program.precision == "bf16" else item  # bytes of the numbers that products take
    # Per edge: both ends and the sorting of a graph; displacements, their features, and these
    # concatenated.
    each = 48 + item * (6 * dims + 2 * spec.n_edge_features)
    most = 0  # per edge of the largest kind, while that kind is computed
    node = item * (10 * width + 12 * spec.node_width)
    if spec.family == "hogn":
        stages = 4 if spec.integrator == "rk4" and not spec.separable else 1
        layers = _HAMILTONIAN + _STAGE * (stages - 1) if training else _HAMILTONIAN // 2
        each += item * (layers * width + 12 * spec.n_edge_features)
        node *= 2 + stages
    elif spec.radial and kernel == "numba" and not spec.base:
        each = 48  # both ends and the sorting of a graph: edges read a table
    elif spec.radial:
        # Differences, features, both layers and what the gradients of all these take; without a
        # gradient, layers are those of one chunk (`fixed_bytes`).
        each += item * (6 * dims + 4 * RADIAL_POWERS)
        # Those of every kick are kept; of all pairs, one of the two edges is computed.
        kept = item * (2 * width + 2 * spec.n_edge_features + 4 * dims) * spec.kicks
        each += (kept // 2 if spec.join == "complete" else kept) if training else 0
        most = item * (4 * width + 4 * spec.n_edge_features) if training else 0
    elif kernel == "eager" and not recompute:
        # Both layers behind their ReLU are kept; the backward pass adds the gradients of both, and
        # the copies that its products make.
        each += 2 * width * item if training else 0
        layers = 8 if training and width >= _PADDED_WIDTH and item == 4 else 6
        most = layers * width * item
    elif training and kernel == "numba" and not recompute:
        each += width * factor + width  # the first layer, and a byte for each sign of the second
    elif training and kernel == "torch" and not recompute:
        each += 2 * width * factor  # both layers
    node = node if training else node // 2
    return counts.edges * each + counts.largest * most + counts.nodes * node
