"""Memory that a step of a particle model takes, by what its kernel keeps of every edge.

The numbers of layers were counted in the kernels and then measured as the peak of a process: never
below it, at most about twice it, of which the larger part is what an allocator cannot give back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .engine.program import ParticleProgram

# Bytes that a step takes whatever its size: libraries, and what an allocator holds.
_LIBRARIES = 8 << 20
# Edges that a kernel works on at a time, and the layers it has for them.
_CHUNK = {"cpu": 2048, "cuda": 65_536}
_BUFFERS = 5
# Layers of an edge network at the peak of a Hamiltonian's gradient, which is differentiated again.
_HAMILTONIAN, _STAGE = 24, 10
_PRODUCTS = 96  # width from which products of float32 have copies of their own


@dataclass(frozen=True)
class Counts:
    """Of one state: ``edges`` of all kinds, those of the ``largest`` kind, ``nodes`` with cells."""

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
    def of(cls, graph: Any) -> Counts:
        """The counts of a graph of one state (`ParticleEdges` or `Hierarchy`)."""
        levels = getattr(graph, "levels", ())
        kinds = [graph.sender.shape[0], graph.particles, *(a.sender.shape[0] for a in levels)]
        return cls(graph.edges, max(kinds), graph.particles + getattr(graph, "cells", 0))


def fixed_bytes(program: ParticleProgram) -> int:
    """Bytes that do not grow with the number of states."""
    chunk = _CHUNK.get(program.device.type, _CHUNK["cuda"])
    return _LIBRARIES + _BUFFERS * chunk * program.spec.edge_width * program.dtype.itemsize


def state_bytes(
    program: ParticleProgram, counts: Counts, *, training: bool, kernel: str | None = None
) -> int:
    """Bytes of one state in a loss, or in a gradient (``training``), with the program's kernel or
    another one."""
    spec, item = program.spec, program.dtype.itemsize
    kernel = program.kernel if kernel is None else kernel
    width, dims = spec.edge_width, spec.dims
    factor = 2 if program.precision == "bf16" else item  # of numbers that products take
    # Both ends and the sorting of a graph; displacements, their functions and those side by side.
    each = 48 + item * (6 * dims + 2 * spec.geometry)
    most = 0  # of the largest kind of edges, while they are worked on
    node = item * (10 * width + 12 * spec.node_width)
    if spec.family == "hogn":
        stages = 4 if spec.integrator == "rk4" and not spec.separable else 1
        layers = _HAMILTONIAN + _STAGE * (stages - 1) if training else _HAMILTONIAN // 2
        each += item * (layers * width + 12 * spec.geometry)
        node *= 2 + stages
    elif kernel == "eager":
        # Both layers behind their ReLU are kept; the way back has the slopes of both beside them,
        # and products of their own copies.
        each += 2 * width * item if training else 0
        layers = 8 if training and width >= _PRODUCTS and item == 4 else 6
        most = layers * width * item
    elif training and kernel == "compiled":
        each += width * factor + width  # the first layer, and where the second is positive
    elif training and kernel == "chunked":
        each += 2 * width * factor
    node = node if training else node // 2
    return counts.edges * each + counts.largest * most + counts.nodes * node
