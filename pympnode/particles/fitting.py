"""Fitting of particle models: from data and options to a Result, through the one Trainer."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import TrainConfig, duration_in_words, seconds, whole
from ..datasets.split import data_fingerprint, held_out, labels_of
from ..errors import InvalidData, InvalidOption
from ..files import netcdf as storage
from ..training.ranges import warn_outside, warn_user
from ..training.result import Result
from ..version import __version__
from . import schema as particle_schema
from .model import NETWORKS, PHYSICS, ParticleModel, ParticleRange
from .presets import particle_preset
from .schema import ParticleArrays
from .spec import ParticleSpec
from .weights import particle_layout_of

if TYPE_CHECKING:
    from .task import StepTask

# States of a dataset that is simulated for training: trajectories times particles.
_SIMULATED = 20_000


def train_particles(
    system: str | None = None,
    *,
    data: list[xr.Dataset] | None = None,
    particles: int | None = None,
    dims: int | None = None,
    trajectories: int | None = None,
    steps: int | None = None,
    dt: float | None = None,
    parameters: Any = None,
    seed: int = 0,
    split: float = 0.7,
    model: str | None = None,
    behaviour: str | None = None,
    levels: int | None = None,
    neighbours: int | None = None,
    edge_width: int | None = None,
    node_width: int | None = None,
    global_width: int | None = None,
    inputs: str | None = None,
    integrator: str | None = None,
    conserve_momentum: bool | None = None,
    update: str | None = None,
    messages: str | None = None,
    augment: bool = False,
    mixed_levels: bool | None = None,
    micro_batch: int | None = None,
    preset: str = "fast",
    epochs: int | None = None,
    updates: int | None = None,
    time_budget: float | str | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    start: ParticleModel | None = None,
    kernel: str = "auto",
    device: str = "auto",
    dtype: str = "float32",
    precision: str | None = None,
    run: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> Result:
    """Train a model of particles.

    Main arguments:
        system, particles, dims, trajectories, steps, dt, parameters, seed, split: the data, as in
            `simulate`. ``trajectories`` default to 20,000 / particles, at least 20, at most 1000;
            with a start, particles, dims, dt and parameters to those that it was trained on.
        data: given data instead: a list of particle datasets, of any particle counts.
        model: "hierarchical_deltagn" (default), "hierarchical_hogn", "deltagn", "hogn",
            "nearest_deltagn".
        preset: "fast" (default) or "paper".
        epochs, updates or time_budget: how long; an epoch is at most 250 updates.
        start: a ParticleModel to go on from; ``run``: a folder for checkpoints and results.
    Model: ``behaviour``, ``levels``, ``neighbours``, ``edge_width``, ``node_width``,
        ``global_width``, ``inputs``, ``integrator``, ``conserve_momentum``, ``update``,
        ``messages``: see `ParticleSpec`.
    Run: ``batch_size`` states an update, ``micro_batch`` of them at a time, ``learning_rate``,
        ``augment`` (turns and mirrors), ``mixed_levels`` (one level of cells more in every second
        update; where ``levels`` is not given), ``kernel``, ``device``, ``dtype``, ``precision``
        ("bf16": products over edges in bfloat16 while training).
    Returns: a `Result` with a `ParticleModel`. Raises: `PympnodeError` children.
    """
    from ..training import progress as meters
    from ..training.checkpoint import Run
    from ..training.progress import is_interactive
    from ..training.trainer import Trainer
    from .engine.program import ParticleProgram
    from .engine.threads import threads_for
    from .task import StepTask, fitted_scales

    if integrator in ("block", "global"):  # those of `simulate_particles`
        raise InvalidOption(
            "integrator= of train is that of a HOGN, and this is one of the simulation",
            got=f"integrator={integrator!r}",
            allowed="rk4, euler",
            fix=f"data = simulate(system, integrator={integrator!r}); train(data=data)",
        )
    simulation: dict[str, Any] = {}
    if data is None:
        count = 100 if particles is None else whole("particles", particles)
        own: dict[str, Any] = {"dims": 2}
        if start is not None:  # data like its own, where nothing else is asked for
            of_one = start.system == system
            own = start.simulation(particles, parameters) if of_one else {"dims": start.spec.dims}
        count = own.get("particles", count)
        simulation = {
            "system": system,
            "particles": count,
            "dims": own["dims"] if dims is None else dims,
            "trajectories": min(1000, max(20, _SIMULATED // count))
            if trajectories is None
            else trajectories,
            "steps": steps,
            "dt": own.get("dt") if dt is None else dt,
            "parameters": own.get("parameters", parameters),
            "seed": seed,
            "split": split,
        }
    datasets = _datasets(data, simulation, progress)
    arrays, labels = _without_test(
        [particle_schema.pack_particles(ds) for ds in datasets],
        [labels_of(ds, split, seed) for ds in datasets],
    )
    step = _one_step(arrays)
    _warn_of_data(datasets, arrays, start, step)
    train = [np.flatnonzero(one == "train") for one in labels]
    validation = [np.flatnonzero(one == "validation") for one in labels]

    most = max(a.position.shape[2] for a in arrays)
    name = model or (start.spec.name if start is not None else "hierarchical_deltagn")
    choice = particle_preset(preset, name, most)
    given = {
        "behaviour": behaviour,
        "levels": levels,
        "neighbours": neighbours,
        "edge_width": edge_width,
        "node_width": node_width,
        "global_width": global_width,
        "inputs": inputs,
        "integrator": integrator,
        "conserve_momentum": conserve_momentum,
        "update": update,
        "messages": messages,
    }
    given = {key: value for key, value in given.items() if value is not None}
    if start is not None:
        spec = start.spec.replace(**given)
    else:
        physics = {"dims": arrays[0].dims, "charged": arrays[0].charge is not None}
        spec = ParticleSpec.named(name, **choice.fields(given) | physics)
    spec.refuse_unused({**given, "mixed_levels": mixed_levels})
    base = choice.run if start is None else {**choice.run, **choice.finetune}
    config = _config(base, preset, seed, {
        "epochs": epochs, "updates": updates, "time_budget": time_budget,
        "batch_size": batch_size, "learning_rate": learning_rate,
    })  # fmt: skip
    if start is None:
        scales = fitted_scales(arrays, train)
    else:
        scales = start.scales.at_step(step / start.dt)
    program = ParticleProgram(
        spec, scales, step, dtype=dtype, device=device, kernel=kernel, precision=precision
    )
    theta = particle_layout_of(spec).initial(np.random.default_rng([seed, 2, 0]))
    loaded: tuple[str, ...] = ()
    if start is not None:
        theta, loaded = _taken(spec, theta, start)
    theta = theta.astype(dtype)
    if mixed_levels is None:
        mixed_levels = choice.task.get("mixed_levels", False)
    mixed_levels = mixed_levels and spec.hierarchical and spec.levels is None
    task = StepTask(
        program, arrays, train, validation, config.batch_size,
        micro_batch=micro_batch, augment=augment, mixed_levels=mixed_levels,
    )  # fmt: skip
    task.require_memory()
    blank = ParticleModel(
        spec, theta, scales, step, arrays[0].system, ParticleRange.of(arrays, train), device
    )
    folder = None
    if run is not None:
        facts = data_fingerprint(datasets, split, seed)
        folder = Run(run, _call(config, blank, facts, arrays, task, start))
    try:
        meter = meters.default() if progress else meters.Silent()
        trainer = Trainer(task, config, folder, meter, title=blank.system)  # type: ignore[arg-type]
        with threads_for(task.operations, program.device):
            if preset == "paper":
                expected = duration_in_words(trainer.expected_seconds(theta[None]))
                meter.note(f'preset "paper": about {expected} for a whole run')
            outcome = trainer.fit(theta[None])
        outcome.history.attrs["loss"] = _loss_in_words(spec)
        about = {
            "version": __version__,
            "preset": preset,
            "training": config.as_dict(),
            "kernel": program.kernel,
            "mixed_levels": mixed_levels,
            "precision": program.precision,
            "best_loss": outcome.best_loss.tolist(),
            "status": outcome.status,
            "seed": seed,
        }
        trained = replace(blank, theta=outcome.theta[0], about=about)
        result = Result(
            model=trained,  # type: ignore[arg-type]
            history=outcome.history,
            status=outcome.status,
            reason=outcome.reason,
            best_loss=float(outcome.best_loss[0]),
            best_epoch=int(outcome.best_epoch[0]),
            updates=outcome.updates,
            seconds=outcome.seconds,
            engine="torch",
            why="particles are trained in torch",
            kernel=program.kernel,
            device=str(program.device),
            loaded=loaded,
            departures=choice.departures if start is None else (),
            simulation={k: v for k, v in simulation.items() if v is not None},
            held_out=None
            if simulation
            else held_out(datasets[0], labels_of(datasets[0], split, seed)),
        )
        if folder is not None:
            trained.save(folder.folder / "model.nc")
            storage.write_netcdf(outcome.history, folder.folder / "history.nc")
    finally:
        if folder is not None:
            folder.close()
    if outcome.status == "interrupted" and not is_interactive():
        raise KeyboardInterrupt
    return result


def _datasets(
    data: list[xr.Dataset] | None, simulation: dict[str, Any], progress: bool
) -> list[xr.Dataset]:
    if data is None:
        from .simulate import simulate_particles

        given = {k: v for k, v in simulation.items() if v is not None}
        return [simulate_particles(**given, workers=os.cpu_count() or 1, progress=progress)]
    return data


def _warn_of_data(
    datasets: list[xr.Dataset],
    arrays: list[ParticleArrays],
    start: ParticleModel | None,
    step: float,
) -> None:
    """Warn, with the numbers, of boxes that nobody named, of physics that differ from dataset to
    dataset, and of other physics than that of the start."""
    for number, ds in enumerate(datasets):
        if told := particle_schema.unsaid_box(ds):
            warn_user(f"dataset {number}: {told}")
    seen = ParticleRange.of(arrays)
    mixed = [
        f"{name} from {low:g} to {high:g}"
        for name, (low, high) in seen.parameter_spans.items()
        if name in PHYSICS
    ]
    if len(seen.spaces) > 1:
        mixed.append("open space and periodic boxes")
    if mixed:
        warn_user(
            f"the datasets differ in their physics, of which a model is told nothing: "
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
    """The datasets that are not marked "test" as a whole, and their labels; they must hold steps."""
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


def _one_step(arrays: list[ParticleArrays]) -> float:
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


def _config(base: dict[str, Any], preset: str, seed: int, options: dict[str, Any]) -> TrainConfig:
    given = {key: value for key, value in options.items() if value is not None}
    lengths = [key for key in ("epochs", "updates", "time_budget") if key in given]
    if len(lengths) > 1:
        raise InvalidOption(
            "a run has one length",
            got=", ".join(f"{key}={given[key]!r}" for key in lengths),
            allowed="epochs=, updates= or time_budget=",
            fix="give one of them",
        )
    if lengths:
        base = {k: v for k, v in base.items() if k not in ("epochs", "updates")}
    if "time_budget" in given:
        given["time_budget"] = seconds(given["time_budget"])
    return TrainConfig(**{**base, **given, "preset": preset, "seed": seed})


def _loss_in_words(spec: ParticleSpec) -> str:
    """What the loss of a model is, for pictures of its history."""
    if spec.inputs == "scaled":
        return "in variances of the velocity change"
    return "mean square of positions and velocities"


def _taken(
    spec: ParticleSpec, theta: NDArray, start: ParticleModel
) -> tuple[NDArray, tuple[str, ...]]:
    """Fresh weights with those of ``start`` that have the same name and shape."""
    weights, loaded = start.weights, []
    for name, view in particle_layout_of(spec).unpack(theta).items():
        if name in weights and weights[name].shape == view.shape:
            view[...] = weights[name]
            loaded.append(name)
    return theta, tuple(loaded)


def _call(
    config: TrainConfig,
    model: ParticleModel,
    data: dict[str, Any],
    arrays: list[ParticleArrays],
    task: StepTask,
    start: ParticleModel | None,
) -> dict[str, Any]:
    """What makes a run this run, as plain values: another call may not continue it."""
    program = task.program
    physics = [
        {"side": a.box.side} | {k: v for k, v in a.parameters.items() if v is not None}
        for a in arrays
    ]
    call: dict[str, Any] = {
        "training": config.as_dict(),
        "model": {**model.spec.as_dict(), "networks": NETWORKS},
        "data": {**data, "system": model.system, "step": model.dt},
        "parameters": {str(number): one for number, one in enumerate(physics)},
        "scales": model.scales.as_dict(),
        "precision": {
            "dtype": program.dtype.name,
            "products": program.precision,
            "kernel": program.kernel,
            "device": str(program.device),
        },
        "micro_batch": task.micro_batch,
        "augment": task.augment,
        "mixed_levels": task.mixed_levels,
    }
    if start is not None:
        call["start"] = {"sha256": storage.checksum(start.theta)}
    return json.loads(json.dumps(call))
