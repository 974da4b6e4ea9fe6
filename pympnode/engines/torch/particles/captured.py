"""Steps of fixed shape, recorded once as a CUDA graph and replayed: small systems are all launches.

Complete graphs are of that kind: their edges do not move with the particles. On a CPU the recorded
function is called instead, on the same buffers. Recording was written without a GPU at hand and has
not been run on one.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from pympnode.graphs.neighbours import ParticleEdges

from .batch import ParticleBatch

if TYPE_CHECKING:
    from pympnode.models.particle_spec import ParticleSpec

    from .program import ParticleProgram, Target

logger = logging.getLogger("pympnode.kernel")

SMALL = 1 << 20  # edges; above, a step works for longer than it takes to launch
_WARM_UP = 3
Function = Callable[..., tuple[Tensor, ...]]


class Captured:
    """A function of tensors, of the shapes of ``inputs``; its results last until the next call.

    It must launch the same kernels whatever the numbers, and not wait for the device.
    """

    def __init__(self, function: Function, inputs: tuple[Tensor, ...]) -> None:
        self.function = function
        self.inputs = tuple(a.clone() for a in inputs)
        self.graph: torch.cuda.CUDAGraph | None = None
        self.outputs: tuple[Tensor, ...] = ()
        if self.inputs[0].device.type == "cuda":
            try:
                self._record()
            except RuntimeError as error:
                logger.warning("no CUDA graph for this step, which is slower without: %s", error)
                self.graph, self.outputs = None, ()

    def _record(self) -> None:
        device = self.inputs[0].device
        side = torch.cuda.Stream(device=device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):  # kernels are compiled, and libraries have their buffers
            for _ in range(_WARM_UP):
                self.function(*self.inputs)
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        before = torch.cuda.current_stream()
        try:
            with torch.cuda.graph(graph):
                self.outputs = self.function(*self.inputs)
        finally:  # torch stays on the stream of a recording whose end raises
            torch.cuda.set_stream(before)
        self.graph = graph

    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        for fixed, given in zip(self.inputs, inputs):
            fixed.copy_(given)
        if self.graph is None:
            return self.function(*self.inputs)
        self.graph.replay()
        return self.outputs


def stands_still(spec: ParticleSpec, edges: int) -> bool:
    """Whether steps of a model can be recorded, and are small enough to gain by it."""
    return spec.family == "deltagn" and spec.join == "complete" and edges <= SMALL


def all_pairs(batch: ParticleBatch) -> int:
    """Edges of the complete graph of a batch."""
    return sum(n * (n - 1) for n in batch.sizes)


class CapturedTraining:
    """Loss and gradient of a complete DeltaGN for batches of one shape in one box."""

    def __init__(self, program: ParticleProgram, batch: ParticleBatch, target: Target) -> None:
        graph = program.graph(batch)
        assert isinstance(graph, ParticleEdges)
        kind, slope = type(target), weakref.WeakMethod(program.slope)

        def step(theta: Tensor, x: Tensor, v: Tensor, x1: Tensor, v1: Tensor, dv: Tensor,
                 mass: Tensor, *charge: Tensor) -> tuple[Tensor, ...]:  # fmt: skip
            here = batch.replace(
                position=x, velocity=v, mass=mass, charge=charge[0] if charge else None
            )
            find = slope()  # the program holds what it recorded: one way, or memory outlasts both
            assert find is not None
            return find(theta, here, kind(x1, v1, dv), graph)

        theta = torch.zeros(program.layout.size, dtype=program.real, device=program.device)
        self.step = Captured(step, self._inputs(theta, batch, target))

    @staticmethod
    def _inputs(theta: Tensor, batch: ParticleBatch, target: Target) -> tuple[Tensor, ...]:
        charge = () if batch.charge is None else (batch.charge,)
        now = (batch.position, batch.velocity)
        later = (target.position, target.velocity, target.change_from(batch))
        return (theta, *now, *later, batch.mass, *charge)

    def __call__(
        self, theta: Tensor, batch: ParticleBatch, target: Target
    ) -> tuple[Tensor, Tensor]:
        """(loss, gradient (size,)); they last until the next call."""
        value, gradient = self.step(*self._inputs(theta, batch, target))
        return value, gradient
