"""ParticleProgram: a particle model bound to torch; its step, its loss and its gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...errors import EngineUnavailable, InvalidData, unknown_name
from ..graphs.box import Box
from ..graphs.cells import COARSEST, Hierarchy
from ..graphs.connect import connection
from ..graphs.neighbours import ParticleEdges
from ..spec import ParticleScales, ParticleSpec, Units
from ..weights import LOG_MASS, MASS_GAIN, ParticleLayout, particle_layout_of
from . import delta, hamiltonian, radial, rollout
from .batch import ParticleBatch
from .kernels import edge_sum_of, kernel_in_files, kernel_named, precision_of
from .losses import StepLoss
from .networks import Networks
from .threads import threads_for

Graph = ParticleEdges | Hierarchy


@dataclass(frozen=True, eq=False)
class Target:
    """The state one step later: position, velocity (particle, axis), in the units of the data.

    ``change`` (particle, axis): the velocity change, a difference taken before velocities were
    rounded to the dtype of the program; None: the difference of the rounded ones. ``spread``
    (particle,): the size of the velocity change of each body, in units of ``scales.change``; None:
    1. All are in the units of the program.
    """

    position: Tensor
    velocity: Tensor
    change: Tensor | None = None
    spread: Tensor | None = None

    def change_from(self, batch: ParticleBatch) -> Tensor:
        """Velocity change (particle, axis) from a batch to this state."""
        return self.velocity - batch.velocity if self.change is None else self.change


class ParticleProgram:
    """One time step of a particle model, as a function of its flat weight vector.

    spec, scales: the model and the units of its inputs; step: length of the time step, in units of
    time; dtype "float32" or "float64"; device "auto", "cpu", "cuda"; kernel: "auto", "eager", "torch"
    or "numba", and recompute: see `edge_sum_of`; precision: see `precision_of`. A graph is built from
    the current positions, on their device. Batches, ``scales`` and ``step_length`` are in ``units``.
    Raises UnknownName, InvalidOption, EngineUnavailable.
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
        recompute: bool | None = None,
        precision: str | None = None,
    ) -> None:
        self.spec, self.units = spec, Units.of(spec, scales)
        self.scales = self.units.scales(scales)
        self.step_length = float(step) / self.units.time
        self.layout: ParticleLayout = particle_layout_of(spec)
        self.dtype = np.dtype(dtype)
        self.real = torch.float64 if self.dtype == np.float64 else torch.float32
        self.device = _device(device)
        self.precision = precision_of(precision, self.dtype.name)
        kernel, implied = kernel_named(kernel)
        self.recompute = implied if recompute is None else recompute
        # Another loss than the mean square; see `losses.StepLoss`.
        self.measure: StepLoss | None = None
        self._bound: Networks | None = None
        self._pairs: ParticleEdges | None = None
        self.kernel, self._edge_sum = edge_sum_of(
            kernel,
            spec,
            self.device,
            recompute=self.recompute,
            bf16=self.precision == "bf16",
        )

    @property
    def fingerprint_kernel(self) -> str:
        """The kernel by the name that run folders and model files store (`kernel_in_files`)."""
        return kernel_in_files(self.kernel, self.recompute)

    # ---- data ---------------------------------------------------------------------------------

    def batch(
        self,
        position: Any,
        velocity: Any,
        mass: Any,
        charge: Any,
        box: Box,
        *,
        kinds: Any = None,
        fixed: Any = None,
    ) -> ParticleBatch:
        """Arrays in units of the data as a batch on the device, in dtype and units of the program.

        position, velocity: (set, particle, axis); mass, charge: (set, particle), charge None for a
        model without charges. kinds (set, particle): labels of types; fixed (set, particle): true for
        particles that do not move. Raises InvalidData where the data do not fit the model.
        """
        sets, count, dims = np.shape(position)
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
        if self.spec.learned_masses not in (0, count):
            raise InvalidData(
                "the model has learned the masses of other particles",
                got=f"{count} particles",
                allowed=f"the {self.spec.learned_masses} of its training data, in their order",
            )
        spec, units = self.spec, self.units
        hogn = spec.family == "hogn"
        divides = hogn or spec.messages in ("antisymmetric", "radial")
        if spec.mass_coupling == "product" and not spec.charged:
            # a_i = sum_j m_j e_ij holds without m_i; only means over cells of a Hamiltonian divide.
            divides = hogn and spec.hierarchical
        mass = np.asarray(mass) / units.mass
        # Checked before the masses are on the device: reading the answer back would be a wait.
        if divides and (mass.astype(self.dtype) <= 0).any():
            raise InvalidData(
                "a model of Hamiltonians or of impulses divides by the mass",
                got="a particle without mass",
                allowed="masses > 0",
                fix='use model="hierarchical_deltagn" with messages="directed", or leave such '
                "particles out",
            )
        return ParticleBatch(
            self.flat_tensor(position, units.length),
            self.flat_tensor(velocity, units.velocity),
            self.flat_tensor(mass),
            None if charge is None else self.flat_tensor(charge, units.charge),
            (count,) * sets,
            box if units.length == 1 else box.divided(units.length),
            kind=self._kind(kinds),
            free=None if fixed is None else self.flat_tensor(1.0 - np.asarray(fixed, np.float64)),
        )

    def _kind(self, labels: Any) -> Tensor | None:
        """One-hot types (particle, type) of labels (set, particle). Raises InvalidData."""
        types = np.array(self.spec.types)
        if not len(types):
            return None
        if labels is None:
            raise InvalidData(
                "the model has types of particles, and the data do not",
                got='no variable "type"',
                allowed=f"a label of each particle: {', '.join(types)}",
                fix='ds.assign(type=(("trajectory", "particle"), ...))',
            )
        labels = np.asarray(labels)
        unknown = sorted(set(labels.ravel().tolist()) - set(types.tolist()))
        if unknown:
            raise InvalidData(
                "the data have types of particles that the model was not trained on",
                got=", ".join(map(str, unknown)),
                allowed=", ".join(types),
                fix="train on data with all types",
            )
        return self.flat_tensor((labels[..., None] == types).astype(np.float64))

    def flat_tensor(self, values: Any, unit: float = 1.0) -> Tensor:
        """Values (set, particle, ...) as a tensor (set * particle, ...) in the program's dtype and
        on its device, divided by ``unit``."""
        if unit != 1:
            # Before they are rounded: masses of stars in kg leave the range of float32.
            values = np.asarray(values, np.float64) / unit
        values = np.require(values, requirements=["C", "W"])
        tensor = torch.as_tensor(values).to(self.device, self.real)
        if unit == 1 and self.spec.inputs == "plain":
            self._refuse_large(values)
        return tensor.reshape(-1, *tensor.shape[2:])

    def _refuse_large(self, values: NDArray) -> None:
        """Raise InvalidData for finite numbers that are not finite in the program's dtype."""
        most = float(
            np.abs(values, where=np.isfinite(values), out=np.zeros(values.shape)).max(initial=0)
        )
        if most > float(np.finfo(self.dtype).max):
            raise InvalidData(
                f"numbers of the data leave the range of {self.dtype.name}, and plain inputs take "
                "them as they are",
                got=f"{most:.3g}",
                allowed=f"at most {np.finfo(self.dtype).max:.3g}",
                fix='inputs="scaled" has units of its own; or give larger units of length, mass, time',
            )

    def graph(
        self, batch: ParticleBatch, *, averaged_charge: bool = False, extra_levels: int = 0
    ) -> Graph:
        """The graph of a batch, from the positions that the networks take (`network_inputs`).

        ``averaged_charge``: cells carry mean charges (`delta.published_charges`). ``extra_levels``:
        levels of cells beyond `levels`.
        """
        spec, batch = self.spec, self.network_inputs(batch)
        with torch.no_grad():
            position = batch.position.detach()
            if spec.join == "complete":
                # The edges of all pairs depend on the sizes of the sets alone.
                if self._pairs is None or self._pairs.sizes != batch.sizes:
                    pairs = connection("complete")(position, batch.box, sizes=batch.sizes)
                    assert isinstance(pairs, ParticleEdges)
                    self._pairs = pairs
                return self._pairs
            if spec.join == "nearest":
                near = min(spec.neighbours, min(batch.sizes) - 1)
                return connection("nearest", k=near)(position, batch.box, sizes=batch.sizes)
            tree = connection("hierarchy", levels=self.levels(batch) + extra_levels)(
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
        """Levels of the hierarchy: those of the spec, or round(log4 N) (in three dimensions
        round(log8 N)) of the largest set, and at least 2."""
        if self.spec.levels is not None:
            return self.spec.levels
        return max(COARSEST, round(float(np.log2(max(batch.sizes))) / self.spec.dims))

    def operations(self, sizes: tuple[int, ...]) -> float:
        """Floating point operations over the edges of sets of those sizes, an estimate.

        Of one forward pass; a product of (edge, width) and (width, width) is 2 edges width^2.
        """
        return 2.0 * sum(map(self._edges, sizes)) * self.spec.edge_width**2

    def _edges(self, count: int) -> int:
        """Edges of a set of ``count`` particles, an estimate."""
        spec = self.spec
        # Of a hierarchy with about one particle per finest cell, edges between cells included.
        per_particle = {"hierarchy": 35 if spec.dims == 2 else 140, "nearest": spec.neighbours}
        return max(1, count * per_particle.get(spec.join, count - 1))

    # ---- one step -----------------------------------------------------------------------------

    def network_inputs(self, batch: ParticleBatch) -> ParticleBatch:
        """The batch that the networks take: the given one, or half a step of free flight later
        (``update="leapfrog"``: drift, kick, drift)."""
        return batch.drifted(0.5 * self.step_length) if self.spec.update == "leapfrog" else batch

    def networks(self, weights: dict[str, Tensor], box: Box) -> Networks:
        """The networks bound to named weights and a box."""
        bound = self._bound
        if not torch.is_grad_enabled() and bound is not None:
            # A rollout has one dictionary of weights, and tables of its forces serve all its steps.
            if bound.weights is weights and bound.box == box:
                return bound
        tables: dict | None = {} if self.spec.radial and self.kernel == "numba" else None
        net = Networks(
            self.spec, self.scales, weights, box, self.step_length, self._edge_sum, tables
        )
        if tables is not None and not torch.is_grad_enabled():
            self._bound = net
        return net

    def weights(self, theta: NDArray) -> dict[str, Tensor]:
        """Named weights of a flat vector, as tensors on the device."""
        flat = torch.as_tensor(np.ascontiguousarray(theta, dtype=self.dtype)).to(self.device)
        return self.layout.unpack(flat)

    def next_state(
        self, weights: dict[str, Tensor], batch: ParticleBatch, graph: Graph, *, training: bool
    ) -> tuple[Tensor, Tensor]:
        """(position, velocity) after one step."""
        net = self.networks(weights, batch.box)
        if batch.free is not None and self.spec.inputs == "plain":
            x, v = self.next_state(weights, batch.replace(free=None), graph, training=training)
            fixed = (batch.free == 0)[:, None]
            return torch.where(fixed, batch.position, x), torch.where(fixed, batch.velocity, v)
        if self.spec.inputs == "scaled":
            change, further = self.changes(weights, batch, graph, training=training)
            moved = batch.position + (batch.velocity + 0.5 * change) * self.step_length
            moved = moved if further is None else moved + further
            return batch.box.wrap(moved), batch.velocity + change
        if self.spec.family == "hogn":
            x, v, _ = hamiltonian.next_state(net, batch, graph, differentiable=training)
            return (x, v) if training else (x.detach(), v.detach())
        return delta.next_state(net, batch, delta.raw_output(net, batch, graph))

    def velocity_change(
        self, weights: dict[str, Tensor], batch: ParticleBatch, graph: Graph, *, training: bool
    ) -> Tensor:
        """Velocity change (particle, axis) over one step, of models with scaled inputs."""
        return self.changes(weights, batch, graph, training=training)[0]

    def changes(
        self, weights: dict[str, Tensor], batch: ParticleBatch, graph: Graph, *, training: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Velocity change (particle, axis) over one step, and how much farther positions move than
        at the mean of both velocities: None for 0, which it is for one kick in a step."""
        net, kicks = self.networks(weights, batch.box), self.spec.kicks
        batch = self._with_masses(weights, batch)
        if self.spec.radial and (found := radial.whole_step(net, batch, graph)) is not None:
            change, moved = found
            further = moved - 0.5 * self.step_length * change
            return change, further if kicks > 1 else None
        if kicks == 1:
            return self._change(weights, batch, graph, training=training), None
        short = self.step_length / kicks
        change = torch.zeros_like(batch.velocity)
        moved = torch.zeros_like(change)  # beyond free flight
        for number in range(kicks):
            moved = moved + 0.5 * short * change
            flown = (number + 0.5) * short * batch.velocity
            here = batch.replace(position=batch.box.wrap(batch.position + flown + moved))
            kick = delta.velocity_change(net, here, radial.velocity_change(net, here, graph))
            kick = kick if batch.free is None else kick * batch.free[:, None]
            change = change + kick / kicks
            moved = moved + 0.5 * short * change
        return change, moved - 0.5 * self.step_length * change

    def _with_masses(self, weights: dict[str, Tensor], batch: ParticleBatch) -> ParticleBatch:
        """The batch with the masses of the model, where it has learned them."""
        if not self.spec.learned_masses:
            return batch
        log = weights[LOG_MASS]
        fixed = self.spec.fixed_mass
        log = torch.cat([log[:fixed], log[fixed : fixed + 1].detach(), log[fixed + 1 :]])
        return batch.replace(
            mass=(self.scales.mass * torch.exp(MASS_GAIN * log)).repeat(len(batch.sizes))
        )

    def _change(
        self, weights: dict[str, Tensor], batch: ParticleBatch, graph: Graph, *, training: bool
    ) -> Tensor:
        """Velocity change (particle, axis) of a step that evaluates forces once."""
        net, inputs = self.networks(weights, batch.box), self.network_inputs(batch)
        if self.spec.family == "hogn":
            change = hamiltonian.velocity_change(net, inputs, graph, differentiable=training)
        else:
            output = radial.velocity_change if self.spec.radial else delta.raw_output
            change = delta.velocity_change(net, inputs, output(net, inputs, graph))
        return change if batch.free is None else change * batch.free[:, None]

    def change_on(self, weights: dict[str, Tensor], batch: ParticleBatch, graph: Graph) -> Tensor:
        """Velocity change (particle, axis) over one step on a given graph, of models with scaled inputs
        and one kick in a step; momentum is not conserved, of which a part of a set has another."""
        net, inputs = self.networks(weights, batch.box), self.network_inputs(batch)
        output = radial.velocity_change if self.spec.radial else delta.raw_output
        change = output(net, inputs, graph) * self.scales.change
        return change if batch.free is None else change * batch.free[:, None]

    def roll(
        self,
        theta: NDArray,
        position: NDArray,
        velocity: NDArray,
        mass: Any,
        charge: Any,
        box: Box,
        *,
        kinds: Any = None,
        fixed: Any = None,
        every: int | None = None,
    ) -> None:
        """Fill position, velocity (set, time, particle, axis) from their first states.

        mass, charge: (set, particle); all in units of the data. See `rollout.fill_rollout`. ``every``:
            steps between two checks for nonfinite sets; None: 1 where a check costs nothing, and where
            the sets of a batch act on each other (the published hierarchical HOGN).
        """
        sets, _, count, _ = position.shape
        if every is None:
            at_once = self.device.type == "cpu" or self.spec.behaviour == "published"
            every = 1 if at_once else rollout.CHECK_EVERY
        batch = self.batch(
            position[:, 0], velocity[:, 0], mass, charge, box, kinds=kinds, fixed=fixed
        )
        max_speed = rollout.MAX_SIDES_PER_STEP * float(batch.box.sides(position.shape[3]).max())
        max_speed = max_speed / self.step_length
        # In place: powers of two change no digit, and a rollout may fill most of the memory.
        states = (position, self.units.length), (velocity, self.units.velocity)
        for values, unit in states:
            if unit != 1:
                values[:, 0] /= unit
        with threads_for(self.operations((count,) * sets), self.device):
            rollout.fill_rollout(
                self.stepper(theta), batch, position, velocity, max_speed=max_speed, every=every
            )
        for values, unit in states:
            if unit != 1:
                values *= unit

    def stepper(self, theta: NDArray) -> rollout.Step:
        """The step function of one rollout: (batch, x, v) to x, v one step later.

        x, v: (set, particle, axis) float64, rounded to the dtype of the program for the networks, in
        its units; of the batch masses, charges, sizes and box are read.
        """
        weights, spec = self.weights(theta), self.spec
        graph: Graph | None = None
        sizes: tuple[int, ...] = ()
        done = 0

        def step(batch: ParticleBatch, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
            nonlocal graph, sizes, done
            dims = x.shape[2]
            now = batch.replace(
                position=x.reshape(-1, dims).to(self.real),
                velocity=v.reshape(-1, dims).to(self.real),
            )
            # The edges of a complete graph depend on the sizes of the sets alone.
            if graph is None or spec.join != "complete" or sizes != batch.sizes:
                averaged = spec.behaviour == "published" and done > 0
                graph, sizes = self.graph(now, averaged_charge=averaged), batch.sizes
            done += 1
            if spec.inputs == "scaled":
                change, further = self.changes(weights, now, graph, training=False)
                # Added in float64: the changes are small against the velocities.
                later_v = v + change.double().view_as(v)
                later_x = x + 0.5 * self.step_length * (v + later_v)
                if further is not None:
                    later_x = later_x + further.double().view_as(x)
                return now.box.wrap(later_x), later_v
            later_x, later_v = self.next_state(weights, now, graph, training=False)
            later_x, later_v = later_x.double().view_as(x), later_v.double().view_as(v)
            if now.free is not None:
                fixed = (now.free == 0).view(*x.shape[:2], 1)
                later_x, later_v = torch.where(fixed, x, later_x), torch.where(fixed, v, later_v)
            return later_x, later_v

        return step

    def error(
        self,
        weights: dict[str, Tensor],
        batch: ParticleBatch,
        target: Target,
        *,
        training: bool,
        graph: Graph | None = None,
    ) -> Tensor:
        """The loss of one step, a scalar. ``graph``: that of the batch; None: it is built.

        Plain inputs, as published: the mean square error of positions (nearest image) and velocities.
        Scaled inputs: the mean square error of the velocity change, in units of ``scales.change``
        times the spread of each body (`Target`). With ``measure`` its loss of the same errors.
        """
        graph = self.graph(batch) if graph is None else graph
        if self.spec.inputs == "scaled":
            change = self.velocity_change(weights, batch, graph, training=training)
            error = (change - target.change_from(batch)) / self.scales.change
            if target.spread is not None:
                error = error / target.spread[:, None]
            if self.measure is not None:
                true = target.change_from(batch) / self.scales.change
                if target.spread is not None:
                    true = true / target.spread[:, None]
                return self.measure.of_step((error,), (true,), batch)
            if batch.free is not None:
                error = error * batch.free[:, None]
            return (error * error).mean() * _per_free(batch)
        x, v = self.next_state(weights, batch, graph, training=training)
        dx = batch.box.displacement(x - target.position)
        dv = v - target.velocity
        if self.measure is not None:
            moved = batch.box.wrap(target.position), target.velocity
            return self.measure.of_step((dx, dv), moved, batch)
        return 0.5 * ((dx * dx).mean() + (dv * dv).mean()) * _per_free(batch)

    def loss(self, theta: NDArray, batch: ParticleBatch, target: Target) -> float:
        """The loss of one step, without a gradient; ``theta`` (size,)."""
        with torch.no_grad():
            return float(self.error(self.weights(theta), batch, target, training=False))

    def loss_and_gradient(
        self, theta: NDArray, batch: ParticleBatch, target: Target, *, extra_levels: int = 0
    ) -> tuple[float, NDArray]:
        """The loss and its gradient (size,). ``extra_levels``: see `graph`."""
        named = self.weights(theta)
        weights = {name: value.detach().requires_grad_() for name, value in named.items()}
        graph = self.graph(batch, extra_levels=extra_levels)
        value = self.error(weights, batch, target, training=True, graph=graph)
        grads = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
        flat = [
            torch.zeros_like(w).reshape(-1) if g is None else g.reshape(-1)
            for w, g in zip(weights.values(), grads)
        ]
        return float(value.detach()), torch.cat(flat).cpu().numpy()


def _per_free(batch: ParticleBatch) -> Tensor | float:
    """What turns a mean over all particles into one over those that are not fixed."""
    return 1.0 if batch.free is None else batch.particles / batch.free.sum().clamp_min(1)


def _device(name: str) -> torch.device:
    if name not in ("auto", "cpu", "cuda"):
        raise unknown_name("device", name, ("auto", "cpu", "cuda"))
    if name == "cuda" and not torch.cuda.is_available():
        raise EngineUnavailable(
            "there is no CUDA device here", got='device="cuda"', fix='device="cpu"'
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
