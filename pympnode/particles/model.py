"""ParticleModel: a trained simulator of particles. It rolls out, saves and loads."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from math import isclose
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import arguments, choice, flag, least, whole
from ..config import path as path_of
from ..datasets.record import record, with_record
from ..display import html_table
from ..errors import FileDamaged, InvalidModel, InvalidOption
from ..files import kinds, netcdf
from ..files.kinds import check_record
from ..layout import weight_dtype
from ..memory import format_bytes, guarded, need
from ..training.gradients import gradients
from ..training.ranges import interval, warn_outside, warn_user
from ..uncertainty import Calibration, calibration_text
from . import schema as particle_schema
from .bodies import require_bodies
from .ranges import PHYSICS, ParticleRange
from .schema import ParticleArrays
from .spec import ParticleScales, ParticleSpec
from .systems.base import default_side
from .uncertainty import FEATURES, calibrated, with_uncertainty
from .weights import LOG_MASS, MASS_GAIN, particle_layout_of

if TYPE_CHECKING:
    from .engine.program import ParticleProgram

MODEL_KIND = "particle_model"
# Version of what weights of scaled inputs compute; files of another version are refused.
WEIGHTS_VERSION = 2
# The record of a file: what a model needs, all of it. Fields of a specification that version 0.1 did
# not write are left out (levels, mass_coupling, types, cell_units, learned_masses), and the entries that are optional below.
_SPAN = kinds.pair(kinds.real)
_PHYSICS: dict[str, kinds.Check] = {
    "constant": kinds.real,
    "softening": kinds.real,
    "accuracy": kinds.positive,
}
_RECORD: dict[str, kinds.Check] = {
    "spec": kinds.mapping(
        {
            **{
                name: kinds.text
                for name in ("family", "join", "behaviour", "inputs", "integrator", "update",
                             "messages", "mass_coupling", "cell_units")
            },
            **{
                name: kinds.whole(1, 1 << 31)
                for name in ("dims", "edge_width", "node_width", "global_width", "neighbours")
            },
            "charged": kinds.flag,
            "conserve_momentum": kinds.flag,
            "levels": kinds.whole(2, 60),
            "kicks": kinds.whole(1, 1 << 10),
            "learned_masses": kinds.whole(1, 1 << 20),
            "fixed_mass": kinds.whole(0, 1 << 20),
            "types": kinds.listing(kinds.text),
        },
        "levels", "mass_coupling", "types", "kicks", "cell_units",
        "learned_masses", "fixed_mass",
    ),
    "scales": kinds.mapping(
        {
            **dict.fromkeys(
                ("length", "near", "mass", "charge", "velocity", "change"), kinds.positive
            ),
            "lengths": kinds.listing(kinds.positive, 3),
            "reach": kinds.positive,
        },
        "reach",
    ),
    "dt": kinds.positive,
    "system": kinds.text,
    "trained": kinds.mapping(
        {
            "particles": kinds.pair(kinds.whole(1)),
            "spacing": _SPAN,
            "mass": _SPAN,
            "speed": _SPAN,
            "trajectories": kinds.whole(0),
            "steps": kinds.whole(0),
            "parameters": kinds.mapping(_PHYSICS, *_PHYSICS),
            "charge": kinds.either(kinds.nothing, _SPAN),
            "parameter_spans": kinds.named(_SPAN),
            "spaces": kinds.listing(kinds.one_of("open", "periodic")),
        },
        "charge", "parameter_spans", "spaces",
    ),
    "left_out": kinds.listing(kinds.whole(0)),
    "calibrated_on": kinds.whole(1),
    "bodies": kinds.listing(kinds.text),
    "about": kinds.named(kinds.anything),
}  # fmt: skip
# Bytes of trajectories that are rolled out in one batch.
BATCH_BYTES = {"cpu": 1 << 27, "cuda": 1 << 31}


@dataclass(frozen=True, eq=False, repr=False)
class ParticleModel:
    """A learned time step of particles.

    ``theta`` (size,) the weights as one vector, named by `weights`, or (member, size) of an ensemble; ``scales`` the units of its
    inputs; ``dt`` the length of the step it was trained on; ``system`` "gravity" or "coulomb";
    ``trained`` the range of the training data; ``left_out`` members that got stuck in training, which rollouts
    leave out; ``calibration`` how large errors are, see `calibrate`, or None; ``bodies`` the labels of the
    particles whose masses were learned, in their order, () where they had none; ``about`` provenance for the files.
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

    KIND: ClassVar[str] = MODEL_KIND

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

        ``data``: trajectories that it was not trained on, some tens or more, with the noise of the readings
        that are to be predicted. Rollouts then have ``state_std_position``, ``state_std_velocity``
        and the same of ``reading_std_``, of which `pympnode.interval` makes intervals; a single model has
        them too. `train` calibrates ensembles on the validation part. See `pympnode.uncertainty`.
        Raises `InvalidData`.
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

        ``distance``: of any shape, which the result has too; all in units of the data. Negative where
        bodies repel. It is the learned law itself: the mass of the body that moves does not enter.
        Raises `InvalidModel` for a model whose forces are not products of masses and a function of the
        distance (``messages="radial"``, ``mass_coupling="product"``, no charges or types), and for an
        ensemble.
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
        """Predict from the first states of a particle dataset, its graph rebuilt at every step.

        ``initial``: a dataset, or the path of one. ``steps``: by default as many as the dataset has, or as the model was trained on when it
        holds one state. Returns a dataset of position, velocity (trajectory, time, particle, axis;
        float64), mass, (charge) and ``finite(trajectory)``: False where a prediction overflowed, NaN
        from there on; of an ensemble these three have a dim ``member``, and ``spread_position``,
        ``spread_velocity`` (trajectory, time, particle, axis) are the standard deviations over it; a
        calibrated model adds ``state_std_`` and ``reading_std_`` of both (see `pympnode.interval`).
        ``partition="auto"`` (or "curve") divides the
        particles of the one trajectory among the processes of torchrun, by ranges of the space-filling
        curve: each returns the particles that are its own at the first time, with their numbers
        (``particle_number``). Warns `OutsideTrainingRange` with the numbers unless ``check=False``. Raises
        `InvalidData`, `NotEnoughMemory`, and `InvalidOption` for a dataset of another time step.
        """
        from ..datasets.reading import as_dataset

        if partition is not None:
            from .divided import rollout_by_curve

            return rollout_by_curve(self, initial, steps)
        given: xr.Dataset = as_dataset(initial)
        require_bodies(self.bodies, given)
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
        """Write one netCDF file: named weights with checksums, configuration, scales."""
        netcdf.write_netcdf(netcdf.sealed(self.to_dataset()), path, checksums=True)

    def to_dataset(self) -> xr.Dataset:
        """The model as a dataset: what `save` writes."""
        members = ("member",) if self.theta.ndim == 2 else ()
        variables: dict[str, Any] = {
            name: (((*members, f"{name}_out", f"{name}_in"))[: value.ndim], value)
            for name, value in self.weights.items()
        }
        if self.calibration is not None:
            variables |= self.calibration.variables("calibration_feature")
        return with_record(
            xr.Dataset(variables), kind=MODEL_KIND, networks=WEIGHTS_VERSION,
            spec=self.spec.as_dict(), scales=self.scales.as_dict(), dt=self.dt,
            system=self.system, trained=asdict(self.trained), about=dict(self.about),
            **({"left_out": list(self.left_out)} if self.left_out else {}),
            **({"bodies": list(self.bodies)} if self.bodies else {}),
            **({"calibrated_on": self.calibration.trajectories} if self.calibration else {}),
        )  # fmt: skip

    @classmethod
    def from_dataset(cls, ds: xr.Dataset, source: str = "the dataset") -> ParticleModel:
        """The inverse of `to_dataset`. Raises `FileDamaged` when it is no particle model, and
        `InvalidModel` when its networks were others."""
        facts = record(ds)
        if facts.get("kind") != MODEL_KIND:
            raise FileDamaged(
                f"{source} is not a model of particles",
                got=f"kind {facts.get('kind', 'unknown')!r}",
                allowed="a file written by model.save",
            )
        check_record(facts, _RECORD, source, "left_out", "calibrated_on", "bodies")
        try:
            spec = ParticleSpec.from_dict(facts["spec"])
            if spec.inputs == "scaled" and facts.get("networks") != WEIGHTS_VERSION:
                raise InvalidModel(
                    f"{source} holds weights of an older version of the networks",
                    got=f"networks {facts.get('networks', 1)}",
                    allowed=f"networks {WEIGHTS_VERSION}",
                    fix="train the model again",
                )
            layout = particle_layout_of(spec)
            weights = {name: ds[name].values for name in layout.shapes}
            dtype = weight_dtype(weights)
            if "member" in ds.dims:
                each = [{n: w[i] for n, w in weights.items()} for i in range(ds.sizes["member"])]
                theta = np.stack([layout.pack(one, dtype=dtype) for one in each])
            else:
                theta = layout.pack(weights, dtype=dtype)
            left_out = tuple(facts.get("left_out", ()))
            if not set(left_out) < set(range(len(theta) if theta.ndim == 2 else 1)):
                raise KeyError(f"members {list(left_out)} that are left out")
            return cls(
                spec,
                theta,
                ParticleScales.from_dict(facts["scales"]),
                float(facts["dt"]),
                facts["system"],
                ParticleRange.from_dict(facts["trained"]),
                left_out=left_out,
                bodies=tuple(facts.get("bodies", ())),
                calibration=None
                if "calibrated_on" not in facts
                else Calibration.from_variables(ds, len(FEATURES), int(facts["calibrated_on"])),
                about=facts["about"],
            )
        except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
            raise netcdf.incomplete_model(source, error) from error

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
