"""Keywords of `pympnode.simulate`, `train` and `evaluate` for particles, with their defaults."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from ..config import (
    TrainConfig,
    check_fields,
    flag,
    given_fields,
    least,
    listing,
    mapping,
    one_of,
    path,
    positive,
    text,
    whole,
)
from ..errors import InvalidOption, shown_value
from ..losses import Gaussian, Loss, SquaredError, as_loss
from ..tasks import check_client
from ..training.options import RunOptions
from ..training.streamed import LEAST_CHUNKS
from .metrics import HORIZONS
from .presets import particle_preset, preset_fields
from .spec import MODELS, ParticleSpec

DEFAULT_MODEL = "hierarchical_deltagn"
# Up to that many particles a model of all pairs is the best one (docs/measured/particles.md).
MOST_PAIRS = 100
# With radial messages, whose error through cells is that of the far cells (benchmarks/nbody_radial.py).
MOST_RADIAL_PAIRS = 1000
MASSES = ("given", "learned")
# Fields of ParticleSpec that are keywords of `train`.
_SPEC = (
    "behaviour", "levels", "neighbours", "edge_width", "node_width", "global_width", "inputs",
    "integrator", "conserve_momentum", "update", "messages", "mass_coupling", "kicks",
)  # fmt: skip


_DEFAULT_SPEC, _DEFAULT_RUN = ParticleSpec(), TrainConfig()


def _model(name: str, value: Any) -> Any:
    """A name or a specification. Raises `InvalidOption`."""
    if isinstance(value, ParticleSpec):
        return value
    if not isinstance(value, str):
        raise InvalidOption(
            "model of particles is a name or a specification",
            got=shown_value(value, 80),
            allowed=", ".join(MODELS) + ", a pympnode.ParticleSpec",
        )
    return text(name, value)


def _folder(name: str, value: Any) -> Any:
    found = path(name, value)
    if found.exists() and not found.is_dir():
        raise InvalidOption(
            f"{name} is a folder for parts, and this is a file",
            got=repr(str(found)),
            allowed="a folder that is there or will be made",
            fix="give another path=, or leave it out for a dataset in memory",
        )
    return found


def refuse_julia(engine: str, how: str) -> None:
    """Raise `InvalidOption` for the Julia engine, which has networks alone, and `UnknownName`."""
    one_of("engine", engine, ("auto", "torch", "julia"))
    if engine == "julia":
        raise InvalidOption(
            f"particles are {how}; the Julia engine has networks alone",
            got='engine="julia"',
            allowed='engine="auto" or "torch"',
            fix="leave engine out",
        )


_SIMULATION_CHECKS: dict[str, Any] = {
    "particles": least(1),
    "trajectories": least(1),
    "steps": least(1),
    "seed": least(0),
    "dims": lambda name, value: whole(name, value, 2, 3),
    "dt": positive,
    "parameters": mapping,
}


@dataclass(frozen=True)
class ParticleSimulation:
    """Keywords of `pympnode.simulate` for particles; see `particles.simulate.simulate_particles`."""

    particles: int | None = None
    trajectories: int | None = None
    steps: int | None = None
    dt: float | None = None
    seed: int = 0
    dims: int | None = None
    parameters: Mapping[str, Any] | None = None
    start: Any = "random"
    split: float | None = 0.7
    integrator: str = "block"
    substeps: int = 1
    dtype: str = "float64"
    path: str | os.PathLike[str] | None = None
    workers: int | None = None
    progress: Any = None
    client: Any = None
    engine: str = "auto"

    def __post_init__(self) -> None:
        refuse_julia(self.engine, "simulated by compiled steps of Python")
        check_fields(
            self,
            _SIMULATION_CHECKS
            | {"integrator": text, "substeps": least(1), "workers": least(1), "path": _folder}
            | {"client": check_client},
        )

    def as_keywords(self) -> dict[str, Any]:
        """Keywords of `simulate_particles`, which has one engine."""
        names = [field.name for field in fields(self) if field.name != "engine"]
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class ParticleTraining(RunOptions):
    """Keywords of `pympnode.train` for particles; see there."""

    particles: int | None = None
    dims: int | None = None
    trajectories: int | None = None
    steps: int | None = None
    dt: float | None = None
    parameters: Mapping[str, Any] | None = None
    model: Any = None
    behaviour: str | None = None
    levels: int | None = None
    neighbours: int | None = None
    edge_width: int | None = None
    node_width: int | None = None
    global_width: int | None = None
    inputs: str | None = None
    integrator: str | None = None
    conserve_momentum: bool | None = None
    update: str | None = None
    messages: str | None = None
    mass_coupling: str | None = None
    kicks: int | None = None
    mass: str | None = None
    fixed_mass: int | str | None = None
    augment: bool = False
    mixed_levels: bool | None = None
    micro_batch: int | None = None
    precision: str | None = None
    recompute: bool | None = None
    members: int | None = None
    chunks_in_memory: int | None = None
    loss: Any = None
    engine: str = "auto"

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_julia(self.engine, "trained in torch")
        if self.loss is not None:
            object.__setattr__(self, "loss", as_loss(self.loss))
        texts = (
            "behaviour", "inputs", "integrator", "update", "messages", "mass_coupling",
            "precision",
        )  # fmt: skip
        check_fields(
            self,
            _SIMULATION_CHECKS
            | {"members": least(1), "micro_batch": least(1), "model": _model}
            | {"chunks_in_memory": least(LEAST_CHUNKS)}
            | dict.fromkeys(texts, text),
        )
        if self.integrator in ("block", "global"):  # those of `simulate_particles`
            raise InvalidOption(
                "integrator= of train is that of a HOGN, and this is one of the simulation",
                got=f"integrator={self.integrator!r}",
                allowed="rk4, euler",
                fix=f"data = simulate(system, integrator={self.integrator!r}); train(data=data)",
            )
        if self.mass is not None:
            one_of("mass", self.mass, MASSES)
        named = isinstance(self.fixed_mass, str | Integral) and not isinstance(
            self.fixed_mass, bool
        )
        if self.fixed_mass is not None and not named:
            raise InvalidOption(
                "fixed_mass names a particle",
                got=shown_value(self.fixed_mass),
                allowed="a label or a number",
            )
        if self.fixed_mass is not None and self.mass != "learned":
            raise InvalidOption(
                "fixed_mass is the particle whose mass is not learned",
                got=f"fixed_mass={self.fixed_mass!r}, mass={self.mass!r}",
                allowed='with mass="learned"',
                fix="leave fixed_mass out",
            )
        if self.mass == "learned" and self.mass_coupling not in (None, "product"):
            raise InvalidOption(
                "masses are learned as factors of the forces",
                got=f'mass="learned", mass_coupling="{self.mass_coupling}"',
                allowed='mass_coupling="product"',
                fix="leave mass_coupling out",
            )
        switches = ("augment", "mixed_levels", "conserve_momentum", "recompute")
        check_fields(self, dict.fromkeys(switches, flag))
        from .engine.kernels import kernel_named, precision_of

        kernel, recompute = kernel_named(self.kernel)
        object.__setattr__(self, "kernel", kernel)
        if recompute and self.recompute is None:
            object.__setattr__(self, "recompute", True)
        precision_of(self.precision, self.dtype)

    def spec_fields(self) -> dict[str, Any]:
        """The fields of `ParticleSpec` that were given."""
        return {name: value for name in _SPEC if (value := getattr(self, name)) is not None}

    def default_model(self, particles: int, conservative: bool) -> str:
        """The best model for that many particles that has the given options.

        All pairs for up to `MOST_RADIAL_PAIRS` with radial messages and `MOST_PAIRS` without:
        DeltaGN, or HOGN where forces are those of a potential and the options do not go with radial
        messages. The hierarchical DeltaGN beyond, and for the published forms.
        """
        if self.default_messages(conservative) == "radial":
            pairs = particles <= MOST_RADIAL_PAIRS and self.levels is None
            return "deltagn" if pairs else DEFAULT_MODEL
        published = (
            self.preset == "paper" or self.inputs == "plain" or self.behaviour == "published"
        )
        cells = self.levels is not None or self.mixed_levels
        if particles > MOST_PAIRS or published or cells:
            return DEFAULT_MODEL
        # Options that a HOGN refuses.
        deltagn = (
            self.messages in ("directed", "antisymmetric", "radial")
            or self.update == "direct"
            or self.conserve_momentum is not None
            or self.kernel in ("numba", "torch")
            or self.recompute
            or self.precision == "bf16"
        )
        return "hogn" if conservative and not deltagn else "deltagn"

    def default_messages(self, conservative: bool) -> str | None:
        """The messages of a fresh model: those given, "radial" where no model was named, forces are
        those of a potential and the options go with it, and None for those of the preset."""
        others = bool(
            self.model is not None
            or self.preset == "paper"
            or self.behaviour == "published"
            or self.inputs == "plain"
            or self.update == "direct"
            or self.conserve_momentum is False
            or self.kernel == "torch"
            or self.recompute
            or self.precision == "bf16"
            or self.mixed_levels
            or self.node_width is not None
        )
        if self.messages is not None or others or not conservative:
            return self.messages
        return "radial"

    def new_spec(
        self,
        *,
        particles: int,
        dims: int,
        charged: bool,
        mass_coupling: str = "input",
        known: bool = True,
        types: Sequence[str] = (),
    ) -> ParticleSpec:
        """The specification of a fresh model for that many particles; ``mass_coupling``: that of
        models with scaled inputs; ``known``: whether the law of the forces is known."""
        if self.mass == "learned":
            mass_coupling = "product"
        conservative = known or mass_coupling == "product"
        if isinstance(self.model, ParticleSpec):
            return self._like(self.model, dims=dims, charged=charged, types=tuple(types))
        name = self.model or self.default_model(particles, conservative)
        choice = particle_preset(self.preset, name, particles, self.default_messages(conservative))
        chosen = preset_fields(choice, self.spec_fields())
        if chosen["inputs"] == "scaled":
            # A known law is the product of masses or charges times a function of the distance.
            product = known and chosen.get("messages") == "radial"
            chosen.setdefault("mass_coupling", "product" if product else mass_coupling)
            cells = MODELS[name][1] == "hierarchy" and chosen.get("messages") != "radial"
            if cells and dims == 2:
                # Forces between far cells that fall with the square of the distance are the same
                # function in these units for cells of any size; in three dimensions they are not.
                chosen["cell_units"] = "side"
        return ParticleSpec.named(
            name,
            **chosen,
            dims=dims,
            charged=charged,
            types=tuple(types),
        )

    def _like(self, spec: ParticleSpec, **of_data: Any) -> ParticleSpec:
        """The specification ``model=`` with keywords that were given and what follows from the data.

        Raises `InvalidOption` where it says something else of the data."""
        for name, value in of_data.items():
            chosen = name in given_fields(spec)
            given = getattr(spec, name)
            if given != value and (chosen or given != getattr(_DEFAULT_SPEC, name)):
                raise InvalidOption(
                    f"{name} of a specification follows from the data",
                    got=f"ParticleSpec({name}={given!r})",
                    allowed=f"{value!r}, or leave it out",
                    fix=f"leave {name} out, or spec.replace({name}={value!r})",
                )
        return dataclasses.replace(spec, **{**self.spec_fields(), **of_data})

    def run_config(
        self, name: str, particles: int, fresh: bool, messages: str | None = None
    ) -> TrainConfig:
        """The configuration of a run of the model ``name``, from fresh or from given weights."""
        choice = particle_preset(self.preset, name, particles, messages)
        run = {} if self.config is not None else choice.run_fields(fresh, self.optimiser)
        found = self.configured(run)
        for name in ("matching", "race", "from_start", "margin", "training_noise", "curriculum"):
            if getattr(found, name) != getattr(_DEFAULT_RUN, name):
                raise InvalidOption(
                    f"{name} is of networks, and these are particles",
                    got=f"TrainConfig({name}={getattr(found, name)!r})",
                    allowed=f"{name}={getattr(_DEFAULT_RUN, name)!r}, the default",
                    fix=f"leave {name} out of config",
                )
        return found

    def check_loss(self) -> None:
        """Raise `InvalidOption` for a loss of a batch as a whole with a batch in parts."""
        loss = self.step_loss
        whole_batch = isinstance(loss, Gaussian) and loss.std is None
        if self.micro_batch is not None and whole_batch:
            raise InvalidOption(
                "standard deviations that a Gaussian loss finds are of a whole batch",
                got=f"micro_batch={self.micro_batch}, loss={loss!r}",
                allowed="without micro_batch, or with std",
                fix="leave micro_batch out",
            )

    @property
    def step_loss(self) -> Loss | None:
        """The loss of steps; None for the default, the mean square."""
        loss: Loss | None = self.loss
        if loss is None and self.config is not None:
            loss = self.config.loss
        return None if loss == SquaredError() else loss

    def refuse_unused(self, spec: ParticleSpec) -> None:
        """Raise `InvalidOption` for a given option that changes nothing in ``spec``."""
        spec.refuse_unused({**self.spec_fields(), "mixed_levels": self.mixed_levels})

    def check(self, data: ParticleSimulation, system: str) -> TrainConfig:
        """Raise what training on ``data`` would raise for these keywords; return the run."""
        particles = data.particles or 100
        dims = 2 if data.dims is None else data.dims
        spec = self.new_spec(particles=particles, dims=dims, charged=system == "coulomb")
        self.refuse_unused(spec)
        self.check_loss()
        return self.run_config(spec.name, particles, fresh=True, messages=spec.messages)


@dataclass(frozen=True)
class ParticleEvaluation:
    """Keywords of `pympnode.evaluate` for particles: ``horizons``, steps to report errors over."""

    horizons: Sequence[int] = HORIZONS

    def __post_init__(self) -> None:
        given: Any = self.horizons
        if isinstance(given, Real) or getattr(given, "shape", None) == ():
            given = [given]  # one number
        steps = [whole("a horizon", each) for each in listing("horizons", given)]
        if not steps:
            raise InvalidOption("there are no horizons", got="an empty list", allowed=">= 1")
        object.__setattr__(self, "horizons", steps)

    @classmethod
    def for_simulation(cls, simulation: Mapping[str, Any]) -> ParticleEvaluation:
        """The keywords for data that ``simulation`` made."""
        return cls()
