"""ParticleModel: a trained simulator of particles. It rolls out, saves and loads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isclose
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import arguments, choice, flag, least, whole
from ..config import path as path_of
from ..datasets.record import record
from ..display import html_table
from ..errors import InvalidModel, InvalidOption
from ..files import netcdf
from ..memory import format_bytes, guarded, need
from ..training.gradients import gradients
from ..training.ranges import interval, warn_outside, warn_user
from ..uncertainty import Calibration, calibration_text
from . import schema as particle_schema
from .bodies import require_bodies
from .model_file import KIND as FILE_KIND
from .model_file import dataset_of, fields_of
from .ranges import PHYSICS, ParticleRange
from .schema import ParticleArrays
from .spec import ParticleScales, ParticleSpec
from .systems.base import default_side
from .uncertainty import FEATURES, calibrated, with_uncertainty
from .weights import LOG_MASS, MASS_GAIN, particle_layout_of

if TYPE_CHECKING:
    from .engine.program import ParticleProgram

# Bytes of trajectories that are rolled out in one batch.
BATCH_BYTES = {"cpu": 1 << 27, "cuda": 1 << 31}


@dataclass(frozen=True, eq=False, repr=False)
class ParticleModel:
    """A learned time step of particles; `train` makes it, `load` reads it.

    spec: the architecture.
    theta: (size,), the weights as one vector (`weights` has them by name), or (member, size) of an
        ensemble.
    scales: the units of the inputs of the networks.
    dt: the length of the time step that was learned.
    system: "gravity", "coulomb", or the name that the data gave.
    trained: the ranges of the training data.
    device: "auto", "cpu" or "cuda".
    left_out: numbers of the members that training left in a poor minimum, which rollouts leave out.
    calibration: how large errors are, see `calibrate`, or None.
    bodies: labels of the particles whose masses were learned, in their order; () where they had none.
    about: provenance for the files.
    """

    spec: ParticleSpec
    theta: NDArray
    scales: ParticleScales
    dt: float
    system: str
    trained: ParticleRange
    device: str = "auto"
    left_out: tuple[int, ...] = ()
    calibration: Calibration | None = None
    bodies: tuple[str, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)

    KIND: ClassVar[str] = FILE_KIND

    @property
    def members(self) -> int:
        """Number of members of the ensemble; 1 for a single model."""
        return len(self.theta) if self.theta.ndim == 2 else 1

    def member(self, number: int) -> ParticleModel:
        """One member of an ensemble as a model of its own. Raises `InvalidOption`."""
        if not 0 <= number < self.members:
            raise InvalidOption(
                "there is no such member", got=number, allowed=f"0 to {self.members - 1}"
            )
        if self.theta.ndim != 2:
            return self
        return replace(self, theta=self.theta[number], left_out=(), calibration=None)

    @property
    def kept(self) -> tuple[int, ...]:
        """Numbers of the members that rollouts and evaluations take: those that are not left out."""
        return tuple(i for i in range(self.members) if i not in self.left_out)

    def calibrate(self, data: xr.Dataset | str | os.PathLike[str]) -> ParticleModel:
        """This model with standard deviations that fit its errors on ``data``.

        data: trajectories that it was not trained on, some tens or more, with the noise of the readings
            that are to be predicted.
        Returns: a model whose rollouts have ``state_std_position``, ``state_std_velocity`` and the same
            of ``reading_std_``, of which `pympnode.interval` makes intervals. Single models can be
            calibrated too; `train` calibrates ensembles on the validation part. See
            `pympnode.uncertainty`.
        Raises: `InvalidData`.
        """
        from ..datasets.reading import as_dataset

        return calibrated(self, [as_dataset(data)])

    @property
    def weights(self) -> dict[str, NDArray]:
        """The weights by name, (outputs, inputs) each; (member, outputs, inputs) of an ensemble."""
        if self.theta.ndim == 2:
            each = [self.member(i).weights for i in range(self.members)]
            return {name: np.stack([w[name] for w in each]) for name in each[0]}
        return particle_layout_of(self.spec).unpack(self.theta)

    @property
    def learned_mass(self) -> NDArray[np.float64] | None:
        """Masses (particle,) that were learned, in the unit of the data; (member, particle) of an
        ensemble; None of a model that takes the masses of the data."""
        if not self.spec.learned_masses:
            return None
        return self.scales.mass * np.exp(MASS_GAIN * self.weights[LOG_MASS].astype(np.float64))

    def acceleration_at(self, distance: Any, *, mass: float = 1.0) -> NDArray[np.float64]:
        """The acceleration of a body towards another one of ``mass`` at some distances.

        distance: of any shape. mass: of the other body. All in units of the data.
        Returns: accelerations, float64, of the shape of ``distance``; negative where bodies repel. It is
            the learned law: the mass of the body that moves does not enter.
        Raises: `InvalidModel` for a model whose forces are not products of masses and a function of the
            distance (``messages="radial"``, ``mass_coupling="product"``, no charges or types), and for
            an ensemble.
        """
        spec = self.spec
        if not (spec.radial and spec.mass_coupling == "product") or spec.charged or spec.types:
            raise InvalidModel(
                "forces between two bodies are no function of their distance and masses alone",
                got=self.summary(),
                allowed='messages="radial" with mass_coupling="product", no charges and no types',
            )
        import torch

        from .engine.radial import radial_force
        from .graphs.box import Box

        program = self.bind(dtype="float64", kernel="eager", device="cpu")
        scales, units = program.scales, program.units
        r = np.asarray(distance, np.float64)
        d = torch.as_tensor(r.reshape(-1, 1) / units.length)
        with torch.no_grad():
            net = program.networks(program.weights(self.theta), Box())
            softened = (d.square() + scales.near**2).sqrt()
            nothing = d.new_zeros(len(d), 0)
            force = radial_force(net, softened, nothing, nothing) * d
        change = force[:, 0].numpy() * scales.change * units.velocity
        return (change * (mass / self.scales.mass) / self.dt).reshape(r.shape)

    def bind(self, **options: Any) -> ParticleProgram:
        """The program that makes this model's steps.

        ``options``: ``kernel``, ``precision``, ``device``, ``dtype`` of `ParticleProgram`. Raises
        `InvalidModel` for an ensemble.
        """
        from .engine.program import ParticleProgram

        if self.members > 1:
            raise InvalidModel(
                "an ensemble has no one step",
                got=f"{self.members} members",
                allowed="rollout, evaluate, save; or one member",
                fix="take model.member(0)",
            )
        options.setdefault("dtype", self.theta.dtype.name)
        options.setdefault("device", self.device)
        return ParticleProgram(self.spec, self.scales, self.dt, **options)

    @guarded
    @arguments(steps=least(1), partition=choice("auto", "curve"), check=flag)
    def rollout(
        self,
        initial: xr.Dataset | str | os.PathLike[str],
        *,
        steps: int | None = None,
        partition: str | None = None,
        check: bool = True,
    ) -> xr.Dataset:
        """Predict from the first states of a particle dataset; edges are found anew at every step.

        initial: a dataset, or the path of one.
        steps: number of time steps; by default as many as the dataset has, or as the model was trained
            on where the dataset holds one state.
        partition: "auto" or "curve" divides the particles of the one trajectory among the processes of
            torchrun, by ranges of a space-filling curve: each returns the particles that are its own at
            the first time, with their numbers (``particle_number``).
        check: False leaves out the warning below.
        Returns: a dataset of position, velocity (trajectory, time, particle, axis; float64), mass,
            (charge) and ``finite(trajectory)``: False where a prediction overflowed, NaN from there
            on. Of an ensemble these three have a dim ``member``, and ``spread_position``,
            ``spread_velocity`` (trajectory, time, particle, axis) are the standard deviations over it;
            a calibrated model adds ``state_std_`` and ``reading_std_`` of both (see
            `pympnode.interval`).
        Raises: `InvalidData`, `NotEnoughMemory`, and `InvalidOption` for a dataset of another time
            step. Warns `OutsideTrainingRange` with the numbers.
        """
        from ..datasets.reading import as_dataset

        if partition is not None:
            from .divided import rollout_by_curve

            return rollout_by_curve(self, initial, steps)
        given: xr.Dataset = as_dataset(initial)
        if self.members > 1:
            rollouts = [
                self.member(i).rollout(given, steps=steps, check=check and i == self.kept[0])
                for i in self.kept
            ]
            own = ["position", "velocity", "finite"]
            dim = xr.Variable("member", np.array(self.kept))
            together = xr.concat([e[own] for e in rollouts], dim=dim)
            both = rollouts[0].drop_vars(own).merge(together, combine_attrs="override")
            return with_uncertainty(self, both, particle_schema.box_of(given))
        data = particle_schema.pack_particles(given)
        require_bodies(self.bodies, given)
        if self.learned_mass is not None:
            data = self._with_learned_mass(data)
        if len(data.time) > 1:
            self.require_step(data.time)
        if steps is None:
            steps = len(data.time) - 1 or self.trained.steps
        steps = whole("steps", steps)
        if check:
            learned = self.spec.learned_masses > 0
            outside = self.trained.outside(data, self.spec.transfers, any_mass=learned)
            warn_outside("the rollout", outside)
            if warning := particle_schema.guess_missing_box(given):
                warn_user(warning)
        sets, _, count, dims = data.position.shape
        shape = (sets, steps + 1, count, dims)
        state = 2 * 8 * sets * count * dims
        need(
            state * (steps + 1),
            f"a rollout of {sets} x {count:,} particles over {steps:,} steps",
            fix=f"roll out fewer steps and continue from the last; a step takes {format_bytes(state)}",
        )
        position, velocity = np.full(shape, np.nan), np.full(shape, np.nan)
        position[:, 0] = data.box.wrap(data.position[:, 0])
        velocity[:, 0] = data.velocity[:, 0]
        program = self.bind()
        one = self._bytes_of_a_step(program, position[:1, 0], velocity[:1, 0], data)
        need(
            one,
            f"a step of {count:,} particles",
            fix="use a hierarchical model, whose edges grow with the particles",
            device=program.device,
        )
        each = max(1, BATCH_BYTES[program.device.type] // one)
        if self.spec.name == "hierarchical_hogn" and self.spec.behaviour == "published":
            each = 1  # as published, particles of different sets in a batch interact
        for at in range(0, sets, each):
            some = slice(at, at + each)
            charge = None if data.charge is None else data.charge[some]
            marks: dict[str, Any] = {
                name: values[some]
                for name, values in (("kinds", data.type), ("fixed", data.fixed))
                if values is not None
            }
            with gradients():  # forces of HOGN are gradients of energies
                program.roll(
                    self.theta,
                    position[some],
                    velocity[some],
                    data.mass[some],
                    charge,
                    data.box,
                    **marks,
                )
        finite = np.isfinite(position[:, -1]).all((1, 2)) & np.isfinite(velocity[:, -1]).all((1, 2))
        about = record(given)
        ds = particle_schema.unpack_particles(
            position,
            velocity,
            data.mass,
            data.time[0] + self.dt * np.arange(steps + 1),
            charge=data.charge,
            fixed=data.fixed,
            type=data.type,
            about={**about, "kind": "rollout", "model": self.spec.name},
        )
        if steps + 1 == len(data.time):
            ds = ds.assign_coords(time=given["time"])
        ds = ds.assign_coords(particle_schema.labels(given))
        ds["finite"] = ("trajectory", finite, {"long_name": "no value overflowed"})
        return ds if self.calibration is None else with_uncertainty(self, ds, data.box)

    def _with_learned_mass(self, data: ParticleArrays) -> ParticleArrays:
        """The data with the masses of the model, where they have as many particles."""
        mass = self.learned_mass
        assert mass is not None
        if mass.shape[-1:] != data.mass.shape[1:]:
            return data  # refused by `ParticleProgram.batch`
        return replace(data, mass=np.broadcast_to(mass, data.mass.shape))

    @staticmethod
    def _bytes_of_a_step(
        program: ParticleProgram, position: NDArray, velocity: NDArray, data: ParticleArrays
    ) -> int:
        """Bytes that a step of one set takes, from the graph of its first state (1, particle, axis)."""
        from .memory import Counts, state_bytes

        charge = None if data.charge is None else data.charge[:1]
        kinds = None if data.type is None else data.type[:1]
        batch = program.batch(position, velocity, data.mass[:1], charge, data.box, kinds=kinds)
        counts = Counts.of(program.graph(batch), radial=program.spec.radial)
        return state_bytes(program, counts, training=False)

    def require_step(self, time: NDArray[np.float64]) -> None:
        """Raise `InvalidOption` where ``time`` has other steps than the model."""
        steps = np.diff(time)
        if not np.allclose(steps, self.dt, rtol=1e-6, atol=0):
            raise InvalidOption(
                "the dataset has another time step than the model",
                got=f"{steps.min():g} to {steps.max():g}",
                allowed=f"{self.dt:g}",
                fix="simulate with that dt, or train a model on data of this one",
            )

    def simulation(
        self, particles: int | None = None, parameters: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """Keywords of `pympnode.simulate` for data like those it was trained on.

        Its dims, time step, particles (the most in training) and physics, and a box of the
        same mean spacing where all had one; ``particles`` and ``parameters`` go first.
        """
        trained, dims = self.trained, self.spec.dims
        count = trained.particles[1] if particles is None else particles
        physics: dict[str, Any] = {
            name: trained.parameters[name]
            for name in (*PHYSICS, "accuracy")
            if name in trained.parameters
        }
        if trained.mass[0] == trained.mass[1] != 1:
            physics["mass"] = trained.mass[0]
        if trained.charge is not None and trained.charge[0] == trained.charge[1]:
            physics["charge"] = trained.charge[0]
        if trained.spaces == ("open",):
            physics["side"] = None
        elif trained.spaces == ("periodic",) and isclose(*trained.spacing):
            side = trained.spacing[0] * count ** (1 / dims)
            if not isclose(side, default_side(count, dims)):
                physics["side"] = side
        return {
            "particles": count,
            "dims": dims,
            "dt": self.dt,
            "parameters": physics | dict(parameters or {}),
        }

    # ---- files -------------------------------------------------------------------------------

    @arguments(path=path_of)
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one netCDF file: named weights with checksums, configuration, scales.

        What stood at ``path`` is replaced in one step. Raises `NotEnoughDisk`, `CannotWrite`.
        """
        netcdf.write_netcdf(netcdf.sealed(self.to_dataset()), path, checksums=True)

    def to_dataset(self) -> xr.Dataset:
        """The model as a dataset: what `save` writes."""
        return dataset_of(self)

    @classmethod
    def from_dataset(cls, ds: xr.Dataset, source: str = "the dataset") -> ParticleModel:
        """The inverse of `to_dataset`. Raises `FileDamaged` when it is no particle model, and
        `InvalidModel` when its networks were others."""
        return cls(**fields_of(ds, source))

    # ---- repr ---------------------------------------------------------------------------------

    def summary(self) -> str:
        """The model in one line."""
        spec = self.spec
        ensemble = f"{self.members} members of " if self.members > 1 else ""
        coupling = f", mass_coupling {spec.mass_coupling}" if spec.weighted else ""
        coupling += ", learned masses" if spec.learned_masses else ""
        return (
            f"{ensemble}{spec.name}, {self.theta.shape[-1]:,} weights, widths {spec.edge_width} / "
            f"{spec.node_width}, {spec.inputs} inputs{coupling}, {spec.behaviour}, step {self.dt:g}"
        )

    def graph_summary(self) -> str:
        """The graphs that it was trained on, in one line."""
        return "rebuilt from positions at every step"

    def lines(self) -> dict[str, str]:
        """Label and text of every line of the repr."""
        trained = self.trained
        near = {}
        if self.spec.inputs == "scaled" and "softening" not in {
            *trained.parameters,
            *trained.parameter_spans,
        }:
            near["softening"] = f"{self.scales.near:.4g}, for inputs; none was given"
        if self.calibration is not None:
            near["calibrated"] = calibration_text(FEATURES, self.calibration)
        return {
            "Model": self.summary(),
            "system": self.system,
            "trained on": (
                f"{trained.trajectories} trajectories of {trained.steps} steps, "
                f"{interval(*trained.particles)} particles at a mean spacing of {interval(*trained.spacing)}"
            ),
            **near,
        }

    def __repr__(self) -> str:
        return "\n".join(f"{name:<12} {text}" for name, text in self.lines().items())

    def _repr_html_(self) -> str:
        return html_table("pympnode.ParticleModel", self.lines())
