"""ParticleProgram: a particle model bound to torch; its step, its loss and its gradient."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pympnode.engines.torch.particles import delta, hamiltonian
from pympnode.engines.torch.particles.batch import ParticleBatch
from pympnode.engines.torch.particles.networks import EdgeSum, Networks, plain_edge_sum
from pympnode.errors import EngineUnavailable, InvalidData, InvalidOption, unknown_name
from pympnode.graphs.box import Box
from pympnode.graphs.cells import COARSEST, Hierarchy
from pympnode.graphs.connect import connection
from pympnode.graphs.neighbours import ParticleEdges
from pympnode.models.particle_layout import ParticleLayout, particle_layout_of
from pympnode.models.particle_spec import ParticleScales, ParticleSpec

KERNELS = ("auto", "compiled", "recompute", "chunked", "eager")
PRECISIONS = ("float32", "float64", "bf16")
Graph = ParticleEdges | Hierarchy


@dataclass(frozen=True, eq=False)
class Target:
    """The state one step later: position, velocity (particle, axis)."""

    position: Tensor
    velocity: Tensor


class ParticleProgram:
    """One time step of a particle model over a flat weight vector.

    spec, scales: what the model is; step: length of the time step; dtype "float32" or "float64";
    device "auto", "cpu", "cuda"; kernel: what sums over edges of DeltaGN: "compiled" (chunks of
    edges, numba; CPU), "chunked" (the same in torch, any device), "recompute" (one of them, with less
    memory while training), "eager" (plain torch, any model), "auto" (compiled where it can be,
    otherwise chunked; HOGN: eager). precision: of the products over edges: that of dtype, or "bf16"
    (their factors rounded to bfloat16, all else float32).
    Graphs are built from the positions at hand, on their device. Raises UnknownName, InvalidOption,
    EngineUnavailable.
    """

    def __init__(
        self,
        spec: ParticleSpec,
        scales: ParticleScales,
        step: float,
        *,
        dtype: str = "float32",
        device: str = "auto",
        kernel: str = "auto",
        precision: str | None = None,
    ) -> None:
        if kernel not in KERNELS:
            raise unknown_name("kernel of particles", kernel, KERNELS)
        self.spec, self.scales, self.step_length = spec, scales, float(step)
        self.layout: ParticleLayout = particle_layout_of(spec)
        self.dtype = np.dtype(dtype)
        self.real = torch.float64 if self.dtype == np.float64 else torch.float32
        self.device = _device(device)
        self.precision = _precision(precision, self.dtype.name)
        self.kernel, self._edge_sum = _edge_sum(kernel, spec, self.device, self.precision == "bf16")

    # ---- data ---------------------------------------------------------------------------------

    def batch(
        self, position: Any, velocity: Any, mass: Any, charge: Any, box: Box
    ) -> ParticleBatch:
        """Arrays (set, particle, axis) and (set, particle) on the device, in this dtype."""
        sets, count, dims = np.shape(position)

        def flat(values: Any, *tail: int) -> Tensor:
            values = torch.as_tensor(np.ascontiguousarray(values))
            return values.to(self.device, self.real).reshape(sets * count, *tail)

        if self.spec.charged != (charge is not None):
            raise InvalidData(
                "the model and the data differ in whether particles are charged",
                got="charges" if charge is not None else "no charges",
                allowed="charges" if self.spec.charged else "no charges",
                fix="use data of the system that the model was made for",
            )
        if dims != self.spec.dims:
            raise InvalidData(
                "the model and the data differ in dimensions", got=dims, allowed=self.spec.dims
            )
        mass_values = flat(mass)
        if self.spec.family == "hogn" and bool((mass_values <= 0).any()):
            raise InvalidData(
                "a Hamiltonian model divides by the mass",
                got="a particle without mass",
                allowed="masses > 0",
                fix='use model="hierarchical_deltagn", or leave such particles out',
            )
        return ParticleBatch(
            flat(position, dims),
            flat(velocity, dims),
            mass_values,
            None if charge is None else flat(charge),
            (count,) * sets,
            box,
        )

    def graph(self, batch: ParticleBatch, *, averaged_charge: bool = False) -> Graph:
        """The graph of the positions of a batch. ``averaged_charge``: as the published rollout."""
        spec = self.spec
        with torch.no_grad():
            position = batch.position.detach()
            if spec.join == "complete":
                return connection("complete")(position, batch.box, sizes=batch.sizes)
            if spec.join == "nearest":
                near = min(spec.neighbours, min(batch.sizes) - 1)
                return connection("nearest", k=near)(position, batch.box, sizes=batch.sizes)
            tree = connection("hierarchy", levels=self.levels(batch))(
                position,
                batch.box,
                sizes=batch.sizes,
                mass=batch.mass,
                velocity=batch.velocity.detach(),
                charge=batch.charge,
            )
            assert isinstance(tree, Hierarchy)
            if averaged_charge and batch.charge is not None:
                order = tree.order
                return delta.published_charges(tree, batch.mass[order], batch.charge[order])
            return tree

    def levels(self, batch: ParticleBatch) -> int:
        """Levels of the hierarchy: those of the model, or round(log4 N) and at least 2."""
        if self.spec.levels is not None:
            return self.spec.levels
        return max(COARSEST, round(float(np.log2(max(batch.sizes))) / self.spec.dims))

    # ---- one step -----------------------------------------------------------------------------

    def networks(self, weights: dict[str, Tensor], box: Box) -> Networks:
        """The networks with some weights."""
        return Networks(
            self.spec, self.scales, weights, box, self.step_length, edge_sum=self._edge_sum
        )

    def weights(self, theta: NDArray, *, training: bool = False) -> dict[str, Tensor]:
        """Named weights of a flat vector, as tensors on the device."""
        flat = torch.as_tensor(np.ascontiguousarray(theta, dtype=self.dtype)).to(self.device)
        named = self.layout.unpack(flat)
        if training:
            named = {name: value.detach().requires_grad_() for name, value in named.items()}
        return named

    def next_state(
        self, weights: dict[str, Tensor], batch: ParticleBatch, graph: Graph, *, training: bool
    ) -> tuple[Tensor, Tensor]:
        """(position, velocity) after one step."""
        net = self.networks(weights, batch.box)
        if self.spec.family == "hogn":
            x, v, _ = hamiltonian.next_state(net, batch, graph, differentiable=training)
            return (x, v) if training else (x.detach(), v.detach())
        return delta.next_state(net, batch, delta.raw_output(net, batch, graph))

    def error(
        self, weights: dict[str, Tensor], batch: ParticleBatch, target: Target, *, training: bool
    ) -> Tensor:
        """The loss of one step.

        Plain inputs, as published: the mean square over positions (nearest image) and velocities.
        Scaled: the mean square of the velocity change in units of its spread.
        """
        graph = self.graph(batch)
        if self.spec.inputs == "scaled":
            net = self.networks(weights, batch.box)
            change = delta.velocity_change(net, batch, delta.raw_output(net, batch, graph))
            wrong = (change - (target.velocity - batch.velocity)) / self.scales.change
            return (wrong * wrong).mean()
        x, v = self.next_state(weights, batch, graph, training=training)
        dx = batch.box.displacement(x - target.position)
        dv = v - target.velocity
        return 0.5 * ((dx * dx).mean() + (dv * dv).mean())

    def loss(self, theta: NDArray, batch: ParticleBatch, target: Target) -> float:
        """The loss alone."""
        with torch.no_grad():
            return float(self.error(self.weights(theta), batch, target, training=False))

    def loss_and_gradient(
        self, theta: NDArray, batch: ParticleBatch, target: Target
    ) -> tuple[float, NDArray]:
        """The loss and its gradient (size,)."""
        weights = self.weights(theta, training=True)
        value = self.error(weights, batch, target, training=True)
        found = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
        flat = [
            torch.zeros_like(w).reshape(-1) if g is None else g.reshape(-1)
            for w, g in zip(weights.values(), found)
        ]
        return float(value.detach()), torch.cat(flat).cpu().numpy()


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise unknown_name("device", name, ("auto", "cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise EngineUnavailable(
            "there is no CUDA device here", got='device="cuda"', fix='device="cpu"'
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _precision(name: str | None, dtype: str) -> str:
    if name is not None and name not in PRECISIONS:
        raise unknown_name("precision of products", name, PRECISIONS)
    if name is None or name == dtype:
        return dtype
    if (name, dtype) != ("bf16", "float32"):
        raise InvalidOption(
            f"products of {dtype} numbers are computed in {dtype}",
            got=f"precision={name!r} with dtype={dtype!r}",
            allowed='precision="bf16" with dtype="float32"',
            fix="leave precision= out, or give the dtype that goes with it",
        )
    return name


def _edge_sum(
    kernel: str, spec: ParticleSpec, device: torch.device, low: bool
) -> tuple[str, EdgeSum]:
    """The name and the sum over edges; ``low``: with products in bfloat16."""
    deltagn = spec.family == "deltagn"
    if low and (kernel == "eager" or not deltagn):
        raise EngineUnavailable(
            "products in bfloat16 are those of DeltaGN's kernels",
            got=f'precision="bf16" for {spec.family} with kernel={kernel!r}',
            allowed="a DeltaGN with another kernel than eager",
            fix="leave precision= out",
        )
    if kernel == "eager" or (kernel == "auto" and not deltagn):
        return "eager", plain_edge_sum
    compiles = device.type == "cpu" and importlib.util.find_spec("numba") is not None
    if not deltagn or (kernel == "compiled" and not compiles):
        raise EngineUnavailable(
            f"the kernel {kernel!r} cannot run this model here",
            got=f"{spec.family} on {device}",
            allowed='DeltaGN ("compiled": on the CPU, with numba); kernel="eager" runs all',
            fix='leave kernel="auto"',
        )
    recompute = kernel == "recompute"
    if kernel != "chunked" and compiles:
        from .edge_block import CompiledEdgeSum

        return "recompute" if recompute else "compiled", CompiledEdgeSum(
            recompute=recompute, low=low
        )
    from .edge_chunks import ChunkedEdgeSum

    return "recompute" if recompute else "chunked", ChunkedEdgeSum(recompute=recompute, low=low)
