"""Particles as a half of the package: what `pympnode.train` and its kin call for them."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import TrainConfig, check_names, whole
from ..datasets.names import CHARGE, PARTICLE, TRAJECTORY
from ..datasets.record import record
from ..datasets.split import data_fingerprint, held_out_of, labels_of
from ..errors import InvalidData
from ..files.netcdf import checksum
from ..half import EngineFacts, Prepared
from ..losses import Loss, unnamed_loss
from ..training.initial import initial_weights
from ..training.progress import Silent, default
from ..training.ranges import warn_outside, warn_user
from ..training.streamed import refuse_several, streams
from . import schema
from .bodies import assumed_coupling, fixed_particle, usual_coupling
from .constants import LAWS
from .evaluate import evaluate_particles
from .model import ParticleModel
from .model_file import WEIGHTS_VERSION
from .options import ParticleEvaluation, ParticleSimulation, ParticleTraining
from .presets import particle_preset
from .ranges import PHYSICS, ParticleRange
from .recordings import split_in_time
from .schema import ParticleArrays
from .simulate import check_particle_options, simulate_particles
from .spec import ParticleSpec
from .systems.base import ParticleSystem
from .uncertainty import calibrated_or_not
from .weights import LOG_MASS, MASS_GAIN, particle_layout_of

if TYPE_CHECKING:
    from .task import StepTask

logger = logging.getLogger("pympnode.training")

# States (trajectories times particles) of a dataset that is simulated for training.
_SIMULATED_STATES = 20_000


class Particles:
    """See `half.Half`."""

    name = "particles"
    body = "particle"
    model_kind = ParticleModel.KIND
    has_horizons = True
    shared_keywords = ("integrator", "dtype", "engine")
    rollout_options = ("steps",)
    example = "particles=, trajectories=, steps=, dt=, dims=, start=, ..."
    Simulation = ParticleSimulation
    Training = ParticleTraining
    Evaluation = ParticleEvaluation

    def owns(self, ds: xr.Dataset) -> bool:
        """See `half.Half`."""
        return schema.is_particle_dataset(ds)

    def system_of(self, ds: xr.Dataset) -> str:
        """See `half.Half`."""
        return str(record(ds).get("system", "coulomb" if CHARGE in ds else "gravity"))

    def kind_of(self, model: ParticleModel) -> str:
        """See `half.Half`."""
        return model.spec.name

    def load(self, ds: xr.Dataset, source: str) -> ParticleModel:
        """See `half.Half`."""
        return ParticleModel.from_dataset(ds, source)

    def simulate(self, system: Any, options: ParticleSimulation) -> xr.Dataset:
        """See `half.Half`."""
        return simulate_particles(system, **options.as_keywords())

    def evaluate(
        self, model: ParticleModel, ds: xr.Dataset, options: ParticleEvaluation
    ) -> xr.Dataset:
        """See `half.Half`."""
        return evaluate_particles(model, ds, horizons=options.horizons)

    def test_set(self, simulation: Mapping[str, Any], trajectories: int, seed: int) -> xr.Dataset:
        """See `half.Half`."""
        return simulate_particles(**{**simulation, "trajectories": trajectories, "seed": seed})

    def like_training_data(
        self, model: ParticleModel, keywords: Mapping[str, Any]
    ) -> dict[str, Any]:
        """See `half.Half`."""
        if model.system != keywords["system"]:
            return dict(keywords)
        like = model.simulation(keywords.get("particles"), keywords.get("parameters"))
        return {**like, **keywords, "parameters": like["parameters"]}

    def must_agree(self, system: Any) -> dict[str, Any]:
        """See `half.Half`: dimensions and time step."""
        return {"dims": 2, "dt": system.dt}

    def check_simulation(self, system: Any, keywords: Mapping[str, Any]) -> None:
        """See `half.Half`."""
        options = ParticleSimulation(**keywords)
        check_names(f"parameter of {system.name}", options.parameters or {}, system.parameters)
        check_particle_options(system.name, options.as_keywords())

    def check_training(
        self, system: str, data: Mapping[str, Any], keywords: Mapping[str, Any]
    ) -> TrainConfig:
        """See `half.Half`."""
        return ParticleTraining(**keywords).check(ParticleSimulation(**data), system)

    def prepare(
        self,
        system: Any,
        datasets: list[xr.Dataset] | None,
        options: ParticleTraining,
        start: ParticleModel | None,
    ) -> Prepared[ParticleModel]:
        """See `half.Half`."""
        # Torch is imported here, so that simulating does not wait for it.
        from .engine.program import ParticleProgram
        from .engine.threads import threads_for
        from .scales import fitted_scales, reach_of
        from .stream import ParticleStream
        from .streamed_task import StreamedStepTask
        from .task import StepTask

        simulation: dict[str, Any] = {}
        if datasets is None:
            simulation = _simulation(system, options, start)
            workers = os.cpu_count() or 1
            datasets = [
                simulate_particles(**simulation, workers=workers, progress=options.progress)
            ]
        members = options.members
        if members is None:
            members = 1 if start is None else start.members
        stream = None
        if streams(datasets, options.chunks_in_memory):
            refuse_several(datasets, "of the same particles")
            stream = ParticleStream(
                datasets[0],
                chunks_in_memory=options.chunks_in_memory,
                split=options.split,
                seed=options.seed,
                members=members,
            )
            stream.measure(default() if options.progress else Silent())
            datasets = [stream.sample]
        else:
            datasets, _ = split_in_time(datasets, options.split, options.seed)
        arrays, labels = _without_test(
            [schema.pack_particles(ds) for ds in datasets],
            [labels_of(ds, options.split, options.seed) for ds in datasets],
        )
        step = _one_step(arrays)
        _warn_of_data(datasets, arrays, start, step)
        train = [np.flatnonzero(one == "train") for one in labels]
        validation = [np.flatnonzero(one == "validation") for one in labels]

        # What follows from masses follows from all of them.
        facts_of_mass = arrays if stream is None else [stream.with_all_masses(arrays[0])]
        most = max(a.position.shape[2] for a in arrays)
        given = options.model if isinstance(options.model, ParticleSpec) else None
        in_spec = given is not None and given.learned_masses > 0 and options.mass is None
        learns_mass, fixed, unit = options.mass == "learned" or in_spec, 0, 1.0
        if learns_mass:
            names = datasets[0].coords.get(PARTICLE)
            labelled = None if names is None or in_spec else names.values.tolist()
            wanted = given.fixed_mass if given is not None and in_spec else options.fixed_mass
            fixed, unit = fixed_particle(wanted, facts_of_mass, labelled)
        if start is not None:
            spec = start.spec.replace(**options.spec_fields())
            if options.mass is not None:
                spec = spec.replace(learned_masses=most if learns_mass else 0, fixed_mass=fixed)
            scales = start.scales.at_step(step / start.dt)
        else:
            coupling = usual_coupling(facts_of_mass)
            spec = options.new_spec(
                particles=most,
                dims=arrays[0].dims,
                charged=arrays[0].charge is not None,
                mass_coupling=coupling,
                known=arrays[0].system in LAWS,
                types=_types(arrays) if stream is None else stream.types,
            )
            if learns_mass or options.mass == "given":
                spec = spec.replace(learned_masses=most if learns_mass else 0, fixed_mass=fixed)
            left_open = options.mass_coupling is None and not isinstance(
                options.model, ParticleSpec
            )
            if left_open and not learns_mass and spec.mass_coupling == coupling:
                if text := assumed_coupling(facts_of_mass, coupling):
                    warn_user(text)
            scales = fitted_scales(arrays, train) if stream is None else stream.scales()
            if learns_mass:
                scales = dataclasses.replace(scales, mass=unit)
        if spec.radial:
            reach = reach_of(arrays, train) if stream is None else stream.reach
            reach = max(reach, scales.reach or 0.0)
            scales = dataclasses.replace(scales, reach=reach)
        options.refuse_unused(spec)
        if start is None and not any("softening" in a.parameters for a in arrays):
            logger.info(
                "no softening was given: near distances are in units of %.4g, %.3f of the mean "
                "distance of particles",
                scales.near,
                scales.near / scales.length,
            )
        named = isinstance(options.model, str)
        name = options.model if named else spec.name
        choice = particle_preset(options.preset, name, most, spec.messages)
        config = options.run_config(name, most, fresh=start is None, messages=spec.messages)
        program = ParticleProgram(
            spec,
            scales,
            step,
            dtype=options.dtype,
            device=options.device,
            kernel=options.kernel,
            recompute=options.recompute,
            precision=options.precision,
        )
        options.check_loss()
        loss = options.step_loss
        if loss is not None:
            from .engine.losses import StepLoss

            program.measure = StepLoss(loss, spec)
        thetas, restored = initial_weights(
            particle_layout_of(spec), start, options.seed, members, options.dtype
        )
        if learns_mass and LOG_MASS not in restored:
            # From the largest mass down: what a mass does vanishes with it, and so does its gradient.
            begin = np.log(unit / scales.mass) / MASS_GAIN
            for one in thetas:
                particle_layout_of(spec).unpack(one)[LOG_MASS][...] = begin
        thetas = thetas.astype(options.dtype)
        theta = thetas if members > 1 else thetas[0]
        mixed_levels = options.mixed_levels
        if mixed_levels is None:
            mixed_levels = choice.task.get("mixed_levels", False)
        mixed_levels = (
            mixed_levels and spec.hierarchical and spec.levels is None and not spec.radial
        )
        words: dict[str, Any] = dict(
            program=program,
            arrays=arrays,
            train=train,
            validation=validation,
            batch_size=config.batch_size,
            micro_batch=options.micro_batch,
            augment=options.augment,
            mixed_levels=mixed_levels,
        )
        task = StepTask(**words) if stream is None else StreamedStepTask(stream, **words)
        task.require_memory()
        model = ParticleModel(
            spec,
            theta,
            scales,
            step,
            arrays[0].system,
            ParticleRange.of(arrays, train) if stream is None else stream.trained,
            options.device,
        )
        if stream is None:
            facts = data_fingerprint(datasets, options.split, options.seed)
        else:
            facts = stream.fingerprint
        return Prepared(
            half=self,
            model=model,
            theta=thetas,
            task=task,
            config=config,
            fingerprint=run_fingerprint(config, model, facts, arrays, task, start),
            engine=EngineFacts(
                "torch", "particles are trained in torch", program.kernel, str(program.device)
            ),
            restored_tensors=restored,
            deviations_from_paper=choice.deviations if start is None else (),
            simulation=simulation,
            held_out=None
            if simulation
            else held_out_of(
                datasets, [labels_of(ds, options.split, options.seed) for ds in datasets]
            ),
            about={"mixed_levels": mixed_levels, "precision": program.precision},
            history_attributes={"loss": _loss_text(spec, loss)}
            | ({} if stream is None else {"data": stream.text}),
            only_in_memory=unnamed_loss(loss),
            threads=lambda: threads_for(task.operations, program.device),
            calibrated=lambda trained: calibrated_or_not(trained, _validation(datasets, options)),
        )


PARTICLES = Particles()


def _validation(datasets: list[xr.Dataset], options: ParticleTraining) -> list[xr.Dataset]:
    """The validation part of the datasets."""
    labels = [labels_of(ds, options.split, options.seed) for ds in datasets]
    chosen = [np.flatnonzero(one == "validation") for one in labels]
    return [ds.isel({TRAJECTORY: i}) for ds, i in zip(datasets, chosen, strict=True) if i.size]


def _simulation(
    system: Any, options: ParticleTraining, start: ParticleModel | None
) -> dict[str, Any]:
    """Keywords of `simulate_particles` for training data; those of a start are like its own."""
    dims = options.dims
    if isinstance(system, ParticleSystem):
        dims = system.dims if dims is None else dims
        system = system.name
    count = 100 if options.particles is None else whole("particles", options.particles)
    usual: dict[str, Any] = {"dims": 2}
    if start is not None:
        same = start.system == system
        usual = (
            start.simulation(options.particles, options.parameters)
            if same
            else {"dims": start.spec.dims}
        )
    count = usual.get("particles", count)
    trajectories = options.trajectories
    if trajectories is None:
        trajectories = min(1000, max(20, _SIMULATED_STATES // count))
    keywords = {
        "system": system,
        "particles": count,
        "dims": usual["dims"] if dims is None else dims,
        "trajectories": trajectories,
        "steps": options.steps,
        "dt": usual.get("dt") if options.dt is None else options.dt,
        "parameters": usual.get("parameters", options.parameters),
        "seed": options.seed,
        "split": options.split,
    }
    return {name: value for name, value in keywords.items() if value is not None}


def _warn_of_data(
    datasets: list[xr.Dataset],
    arrays: list[ParticleArrays],
    start: ParticleModel | None,
    step: float,
) -> None:
    """Warn, with the numbers, of boxes that are not recorded, of physics that differ between
    datasets, and of other physics than those of the start."""
    for number, ds in enumerate(datasets):
        if guess := schema.guess_missing_box(ds):
            warn_user(f"dataset {number}: {guess}")
    ranges = ParticleRange.of(arrays)
    mixed = [
        f"{name} from {low:g} to {high:g}"
        for name, (low, high) in ranges.parameter_spans.items()
        if name in PHYSICS
    ]
    if len(ranges.spaces) > 1:
        mixed.append("open space and periodic boxes")
    if mixed:
        warn_user(
            f"the datasets differ in their physics, which is no input of the model: "
            f"{'; '.join(mixed)}; it learns something in between"
        )
    if start is None:
        return
    other = [text for a in arrays for text in start.trained.other_physics(a)]
    if not np.isclose(step, start.dt, rtol=1e-6, atol=0):
        other.insert(0, f"time step {step:g} (trained on {start.dt:g})")
    warn_outside("the data to train on", list(dict.fromkeys(other)))


def _without_test(
    arrays: list[ParticleArrays], labels: list[NDArray[np.str_]]
) -> tuple[list[ParticleArrays], list[NDArray[np.str_]]]:
    """The datasets that are not marked "test" as a whole, and their labels; each must hold steps."""
    if not any((one == "train").any() for one in labels):
        raise InvalidData(
            "there is nothing to train on",
            got='no trajectory is marked "train"',
            allowed='some marked "train"',
            fix='ds["split"] = ("trajectory", ["train", ...]), or more trajectories',
        )
    kept = [number for number, one in enumerate(labels) if (one != "test").any()]
    for number in kept:
        if len(arrays[number].time) < 2:
            raise InvalidData(
                f"dataset {number} holds no step from one time to the next",
                got=f"{len(arrays[number].time)} times",
                allowed=">= 2 times",
                fix="leave it out",
            )
    return [arrays[number] for number in kept], [labels[number] for number in kept]


def _types(arrays: list[ParticleArrays]) -> list[str]:
    """The labels of types in all datasets, sorted. Raises `InvalidData` where some have none."""
    typed = [a.type for a in arrays if a.type is not None]
    if typed and len(typed) < len(arrays):
        raise InvalidData(
            "some of the datasets have types of particles",
            got=f"{len(typed)} of {len(arrays)}",
            allowed="all or none",
            fix='ds.drop_vars("type")',
        )
    return sorted({str(label) for one in typed for label in np.unique(one)})


def _one_step(arrays: list[ParticleArrays]) -> float:
    """The one time step of all datasets. Raises `InvalidData`."""
    steps = np.concatenate([np.diff(a.time) for a in arrays])
    if not np.allclose(steps, steps[0], rtol=1e-6, atol=0):
        raise InvalidData(
            "particle models learn one time step",
            got=f"steps from {steps.min():g} to {steps.max():g}",
            allowed="an even time grid, the same in all datasets",
        )
    for what, values in (
        ("systems", {a.system for a in arrays}),
        ("dimensions", {a.dims for a in arrays}),
    ):
        if len(values) > 1:
            raise InvalidData(f"the datasets are of several {what}", got=sorted(map(str, values)))
    return float(np.mean(steps))


def _loss_text(spec: ParticleSpec, loss: Loss | None) -> str:
    """The unit of a model's loss, for pictures of its history."""
    if loss is not None:
        name = loss.as_dict()["name"]
        of = "the velocity change" if spec.inputs == "scaled" else "positions and velocities"
        return f"{name} of {of}"
    if spec.weighted:
        return "in variances of the velocity change of each body"
    if spec.inputs == "scaled":
        return "in variances of the velocity change"
    return "mean square of positions and velocities"


def run_fingerprint(
    config: TrainConfig,
    model: ParticleModel,
    data: dict[str, Any],
    arrays: list[ParticleArrays],
    task: StepTask,
    start: ParticleModel | None,
) -> dict[str, Any]:
    """Everything that decides the numbers of a run, as plain values."""
    program = task.program
    physics = [
        {"side": a.box.side} | {k: v for k, v in a.parameters.items() if v is not None}
        for a in arrays
    ]
    call: dict[str, Any] = {
        "training": config.as_dict(),
        "model": {**model.spec.as_dict(), "networks": WEIGHTS_VERSION},
        "data": {**data, "system": model.system, "step": model.dt},
        "parameters": {str(number): one for number, one in enumerate(physics)},
        "scales": model.scales.as_dict(),
        "precision": {
            "dtype": program.dtype.name,
            "products": program.precision,
            "kernel": program.fingerprint_kernel,
            "device": str(program.device),
        },
        "micro_batch": task.micro_batch,
        "augment": task.augment,
        "mixed_levels": task.mixed_levels,
    }
    if program.measure is not None:
        call["loss"] = program.measure.loss.as_dict()
    if model.members > 1:
        call["members"] = model.members
    if start is not None:
        call["start"] = {"sha256": checksum(start.theta)}
    return json.loads(json.dumps(call))
