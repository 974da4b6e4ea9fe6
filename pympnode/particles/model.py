"""ParticleModel: a trained simulator of particles. It rolls out, saves and loads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import inf, isclose
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import whole
from ..datasets.record import record, with_record
from ..errors import FileDamaged, InvalidModel, InvalidOption
from ..files import netcdf as storage
from ..files.memory import in_words, require_bytes
from ..training.ranges import warn_outside, warn_user
from . import schema as particle_schema
from .schema import ParticleArrays, spacings
from .spec import ParticleScales, ParticleSpec
from .systems.base import default_side
from .weights import particle_layout_of

if TYPE_CHECKING:
    from .engine.program import ParticleProgram

KIND = "particle_model"
# What the same weights of scaled inputs compute: another number, another function.
NETWORKS = 2
_SIDE_BY_SIDE = {"cpu": 1 << 27, "cuda": 1 << 31}  # bytes of trajectories rolled out side by side
_BEYOND = 0.5  # of the largest speed, charge or open spacing seen: what others may go beyond it
PHYSICS = ("constant", "softening")  # numbers of the force, by their names in records
_SPACE = {"open": "open space", "periodic": "a periodic box"}


@dataclass(frozen=True)
class ParticleRange:
    """What a particle model was trained on, its training trajectories: pairs are (smallest, largest).

    ``spacing`` is the mean distance in first states, (volume / particles)^(1 / dims); ``speed`` (0,
    the largest component of a velocity); ``charge`` None without charges. ``parameters`` is the physics
    that all datasets share, ``parameter_spans`` a pair for each number in which they differ.
    ``spaces``: "periodic", "open" or both; empty in older files.
    """

    particles: tuple[int, int]
    spacing: tuple[float, float]
    mass: tuple[float, float]
    speed: tuple[float, float]
    trajectories: int
    steps: int
    parameters: Mapping[str, float] = field(default_factory=dict)
    charge: tuple[float, float] | None = None
    parameter_spans: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    spaces: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, arrays: Sequence[ParticleArrays], train: Sequence[NDArray[np.int64]] | None = None
    ) -> ParticleRange:
        """The range of some datasets; ``train``: which trajectories of each, all by default."""
        chosen = [np.arange(len(a.position)) for a in arrays] if train is None else train
        used = [(a, index) for a, index in zip(arrays, chosen) if len(index)]
        counts = [a.position.shape[2] for a, _ in used]
        spacing = [spacings(a.position[index], a.box) for a, index in used]
        charges = [a.charge[index] for a, index in used if a.charge is not None]
        shared, spans = _physics([a.parameters for a, _ in used])
        return cls(
            (min(counts), max(counts)),
            _extremes(spacing),
            _extremes([a.mass[index] for a, index in used]),
            (0.0, max(float(np.abs(a.velocity[index]).max()) for a, index in used)),
            sum(len(index) for _, index in used),
            max(len(a.time) - 1 for a, _ in used),
            shared,
            _extremes(charges) if charges else None,
            spans,
            tuple(sorted({_space(a) for a, _ in used})),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ParticleRange:
        """From what a file holds, where pairs are lists; older files lack charges and spans."""
        spans = {name: tuple(pair) for name, pair in values.get("parameter_spans", {}).items()}
        found: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
        }
        return cls(**{**found, "parameter_spans": spans})

    def outside(self, data: ParticleArrays, transfers: bool) -> list[str]:
        """In words, with numbers: how some data lie outside. ``transfers``: any count is fine.

        Velocities and spacings are those of the start. Velocities, charges and spacings in open
        space may go beyond what was seen by half of the largest: a range of drawn numbers is a
        little wider in the next draw.
        """
        found = []
        count = data.position.shape[2]
        low, high = _extremes([spacings(data.position, data.box)])
        slack = 1.05 if data.box.periodic else 1 + _BEYOND
        if not self.spaces and not data.box.periodic:
            slack = inf  # older files hold the extent over all trajectories and times
        if not transfers and not self.particles[0] <= count <= self.particles[1]:
            found.append(f"{count} particles (trained on {_span(self.particles)})")
        if low < self.spacing[0] / slack or high > self.spacing[1] * slack:
            found.append(f"mean spacing {_span((low, high))} (trained on {_span(self.spacing)})")
        low, high = float(data.mass.min()), float(data.mass.max())
        if low < self.mass[0] * 0.999 or high > self.mass[1] * 1.001:
            found.append(f"masses {low:.3g} to {high:.3g} (trained on {_span(self.mass)})")
        fastest = float(np.abs(data.velocity[:, 0]).max())
        if fastest > (1 + _BEYOND) * self.speed[1]:
            found.append(f"speeds up to {fastest:.3g} (trained on up to {self.speed[1]:.3g})")
        if self.charge is not None and data.charge is not None:
            low, high = _extremes([data.charge])
            slack = _BEYOND * max(map(abs, self.charge))
            if low < self.charge[0] - slack or high > self.charge[1] + slack:
                found.append(f"charges {_span((low, high))} (trained on {_span(self.charge)})")
        return found + self.other_physics(data)

    def other_physics(self, data: ParticleArrays) -> list[str]:
        """In words: other constants of the force, and open space instead of a periodic box."""
        found = []
        for name in PHYSICS:
            here, seen = data.parameters.get(name), self._seen(name)
            if here is None or seen is None:
                continue
            slack = 1e-9 * max(map(abs, seen))
            if not seen[0] - slack <= here <= seen[1] + slack:
                found.append(f"{name} {here:g} (trained on {_span(seen)})")
        if self.spaces and _space(data) not in self.spaces:
            found.append(f"{_SPACE[_space(data)]} (trained in {_SPACE[self.spaces[0]]})")
        return found

    def _seen(self, name: str) -> tuple[float, float] | None:
        """The values of a parameter, (smallest, largest)."""
        if name in self.parameters:
            return self.parameters[name], self.parameters[name]
        return self.parameter_spans.get(name)


@dataclass(frozen=True, eq=False, repr=False)
class ParticleModel:
    """A learned time step of particles.

    ``theta`` (size,) the weights as one vector, named by `weights`; ``scales`` the units of its
    inputs; ``dt`` the length of the step it was trained on; ``system`` "gravity" or "coulomb";
    ``trained`` what it has seen; ``about`` provenance for the files.
    """

    spec: ParticleSpec
    theta: NDArray
    scales: ParticleScales
    dt: float
    system: str
    trained: ParticleRange
    device: str = "auto"
    about: Mapping[str, Any] = field(default_factory=dict)

    KIND = KIND

    @property
    def weights(self) -> dict[str, NDArray]:
        """The weights by name, (outputs, inputs) each."""
        return particle_layout_of(self.spec).unpack(self.theta)

    def bind(self, **options: Any) -> ParticleProgram:
        """The program that makes this model's steps.

        ``options``: ``kernel``, ``precision``, ``device``, ``dtype`` of `ParticleProgram`.
        """
        from .engine.program import ParticleProgram

        options.setdefault("dtype", self.theta.dtype.name)
        options.setdefault("device", self.device)
        return ParticleProgram(self.spec, self.scales, self.dt, **options)

    def rollout(
        self,
        initial: xr.Dataset | str | os.PathLike[str],
        *,
        steps: int | None = None,
        check: bool = True,
    ) -> xr.Dataset:
        """Predict from the first states of a particle dataset, its graph rebuilt at every step.

        ``initial``: a dataset, or the path of one. ``steps``: by default as many as the dataset has, or as the model was trained on when it
        holds one state. Returns a dataset of position, velocity (trajectory, time, particle, axis;
        float64), mass, (charge) and ``finite(trajectory)``: False where a prediction overflowed, NaN
        from there on. Warns `OutsideTrainingRange` with the numbers unless ``check=False``. Raises
        `InvalidData`, `NotEnoughMemory`, and `InvalidOption` for a dataset of another time step.
        """
        from ..datasets.reading import as_dataset

        given: xr.Dataset = as_dataset(initial)
        data = particle_schema.pack_particles(given)
        if len(data.time) > 1:
            self._check_step(data.time)
        if steps is None:
            steps = len(data.time) - 1 or self.trained.steps
        steps = whole("steps", steps)
        if check:
            warn_outside("the rollout", self.trained.outside(data, self.spec.hierarchical))
            if told := particle_schema.unsaid_box(given):
                warn_user(told)
        sets, _, count, dims = data.position.shape
        shape = (sets, steps + 1, count, dims)
        state = 2 * 8 * sets * count * dims
        require_bytes(
            state * (steps + 1),
            f"a rollout of {sets} x {count:,} particles over {steps:,} steps",
            fix=f"roll out fewer steps and go on from the last; a step takes {in_words(state)}",
        )
        position, velocity = np.full(shape, np.nan), np.full(shape, np.nan)
        position[:, 0] = data.box.wrap(data.position[:, 0])
        velocity[:, 0] = data.velocity[:, 0]
        program = self.bind()
        one = self._bytes_of_a_step(program, position[:1, 0], velocity[:1, 0], data)
        require_bytes(
            one,
            f"a step of {count:,} particles",
            fix="use a hierarchical model, whose edges grow with the particles",
            device=program.device,
        )
        each = max(1, _SIDE_BY_SIDE[program.device.type] // one)
        if self.spec.name == "hierarchical_hogn" and self.spec.behaviour == "published":
            each = 1  # sets of a batch would feel each other
        for at in range(0, sets, each):
            some = slice(at, at + each)
            charge = None if data.charge is None else data.charge[some]
            program.roll(
                self.theta, position[some], velocity[some], data.mass[some], charge, data.box
            )
        finite = np.isfinite(position[:, -1]).all((1, 2)) & np.isfinite(velocity[:, -1]).all((1, 2))
        about = record(given)
        ds = particle_schema.unpack_particles(
            position,
            velocity,
            data.mass,
            data.time[0] + self.dt * np.arange(steps + 1),
            charge=data.charge,
            about={**about, "kind": "rollout", "model": self.spec.name},
        )
        if steps + 1 == len(data.time):
            ds = ds.assign_coords(time=given["time"])
        ds = ds.assign_coords(trajectory=given["trajectory"].values)
        ds["finite"] = ("trajectory", finite, {"long_name": "no value overflowed"})
        return ds

    @staticmethod
    def _bytes_of_a_step(
        program: ParticleProgram, position: NDArray, velocity: NDArray, data: ParticleArrays
    ) -> int:
        """Bytes that a step of one set takes, from the graph of its first state (1, particle, axis)."""
        from .memory import Counts, state_bytes

        charge = None if data.charge is None else data.charge[:1]
        batch = program.batch(position, velocity, data.mass[:1], charge, data.box)
        return state_bytes(program, Counts.of(program.graph(batch)), training=False)

    def _check_step(self, time: NDArray[np.float64]) -> None:
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

        Its dims, time step, particles (the most that it has seen) and physics, and a box of the
        same mean spacing where all had one; ``particles`` and ``parameters`` go first.
        """
        seen, dims = self.trained, self.spec.dims
        count = seen.particles[1] if particles is None else particles
        physics: dict[str, Any] = {
            name: seen.parameters[name]
            for name in (*PHYSICS, "accuracy")
            if name in seen.parameters
        }
        if seen.mass[0] == seen.mass[1] != 1:
            physics["mass"] = seen.mass[0]
        if seen.charge is not None and seen.charge[0] == seen.charge[1]:
            physics["charge"] = seen.charge[0]
        if seen.spaces == ("open",):
            physics["side"] = None
        elif seen.spaces == ("periodic",) and isclose(*seen.spacing):
            side = seen.spacing[0] * count ** (1 / dims)
            if not isclose(side, default_side(count, dims)):
                physics["side"] = side
        return {
            "particles": count,
            "dims": dims,
            "dt": self.dt,
            "parameters": physics | dict(parameters or {}),
        }

    # ---- keeping it ---------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one netCDF file: named weights with checksums, configuration, scales."""
        storage.write_netcdf(self.to_dataset(), path, checksums=True)

    def to_dataset(self) -> xr.Dataset:
        """The model as a dataset: what `save` writes."""
        variables = {
            name: ((f"{name}_out", f"{name}_in")[: value.ndim], value)
            for name, value in self.weights.items()
        }
        return with_record(
            xr.Dataset(variables),
            kind=KIND,
            networks=NETWORKS,
            spec=self.spec.as_dict(),
            scales=self.scales.as_dict(),
            dt=self.dt,
            system=self.system,
            trained=asdict(self.trained),
            about=dict(self.about),
        )

    @classmethod
    def from_dataset(cls, ds: xr.Dataset, source: str = "the dataset") -> ParticleModel:
        """The inverse of `to_dataset`. Raises `FileDamaged` when it is no particle model, and
        `InvalidModel` when its networks were others."""
        facts = record(ds)
        if facts.get("kind") != KIND:
            raise FileDamaged(
                f"{source} is not a model of particles",
                got=f"kind {facts.get('kind', 'unknown')!r}",
                allowed="a file written by model.save",
            )
        try:
            spec = ParticleSpec.from_dict(facts["spec"])
            if spec.inputs == "scaled" and facts.get("networks") != NETWORKS:
                raise InvalidModel(
                    f"{source} holds weights of networks that are no longer what they were",
                    got=f"networks {facts.get('networks', 1)}",
                    allowed=f"networks {NETWORKS}",
                    fix="train the model again",
                )
            layout = particle_layout_of(spec)
            weights = {name: ds[name].values for name in layout.shapes}
            return cls(
                spec,
                layout.pack(weights, dtype=weights["edge_1_weight"].dtype),
                ParticleScales.from_dict(facts["scales"]),
                float(facts["dt"]),
                facts["system"],
                ParticleRange.from_dict(facts["trained"]),
                about=facts["about"],
            )
        except (KeyError, TypeError) as error:
            raise FileDamaged(
                f"{source} lacks parts of a model",
                got=f"{type(error).__name__}: {error}",
                allowed="a file written by model.save of this or an earlier version",
                fix="save the model again",
            ) from error

    # ---- telling of it ------------------------------------------------------------------------

    def in_one_line(self) -> str:
        """The model in one line."""
        spec = self.spec
        return (
            f"{spec.name}, {self.theta.size:,} weights, widths {spec.edge_width} / "
            f"{spec.node_width}, {spec.inputs} inputs, {spec.behaviour}, step {self.dt:g}"
        )

    def lines(self) -> dict[str, str]:
        """Label and text of every line of the repr."""
        seen = self.trained
        return {
            "Model": self.in_one_line(),
            "system": self.system,
            "trained on": (
                f"{seen.trajectories} trajectories of {seen.steps} steps, "
                f"{_span(seen.particles)} particles at a mean spacing of {_span(seen.spacing)}"
            ),
        }

    def __repr__(self) -> str:
        return "\n".join(f"{name:<12} {text}" for name, text in self.lines().items())

    def _repr_html_(self) -> str:
        from ..display import html_table

        return html_table("pympnode.ParticleModel", self.lines())


def _space(data: ParticleArrays) -> str:
    return "periodic" if data.box.periodic else "open"


def _extremes(values: Sequence[NDArray]) -> tuple[float, float]:
    return min(float(v.min()) for v in values), max(float(v.max()) for v in values)


def _physics(
    given: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Numbers that all records share, and (smallest, largest) of those in which they differ."""
    shared: dict[str, float] = {}
    spans: dict[str, tuple[float, float]] = {}
    for name in given[0]:
        values = [v for one in given if isinstance(v := one.get(name), int | float)]
        if len(values) < len(given):
            continue
        if min(values) == max(values):
            shared[name] = values[0]
        else:
            spans[name] = min(values), max(values)
    return shared, spans


def _span(pair: tuple[float, float]) -> str:
    low, high = f"{pair[0]:.4g}", f"{pair[1]:.4g}"
    return low if low == high else f"{low} to {high}"
