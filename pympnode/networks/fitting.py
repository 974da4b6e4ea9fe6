"""Fitting: from data and options to a Result. The steps that `train` and `finetune` share."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import PresetChoice, TrainConfig, duration_in_words, preset, seconds, whole
from ..datasets.names import Missing
from ..datasets.record import with_record
from ..datasets.split import data_fingerprint, held_out, labels_of
from ..errors import InvalidOption, unknown_name
from ..files import netcdf as storage
from ..training import progress as meters
from ..training.checkpoint import Run
from ..training.progress import is_interactive
from ..training.ranges import warn_outside
from ..training.result import Result
from ..training.trainer import Trainer
from ..version import __version__
from . import engines
from .engines.base import Program
from .model import Model
from .prepare import Prepared, prepare
from .ranges import TrainingRange
from .spec import ModelSpec
from .task import TrajectoryTask
from .weights import layout_of

logger = logging.getLogger("pympnode.training")


def fit(
    datasets: list[xr.Dataset],
    simulation: dict[str, Any],
    *,
    spec: dict[str, Any],
    start: Model | None,
    normalisation: str,
    preset_name: str,
    run_options: dict[str, Any],
    engine: str,
    kernel: str,
    device: str,
    dtype: str,
    split: float,
    seed: int,
    missing: Missing,
    run: str | os.PathLike[str] | None,
    progress: bool,
    system: Any,
    members: int = 1,
) -> Result:
    """Train as `pympnode.train` says; ``simulation``, the keywords that made the data, is empty for
    given data."""
    members = whole("members", members)
    choice = preset(preset_name)
    config = _config(choice, preset_name, run_options, seed, fresh=start is None)
    if normalisation not in ("keep", "refit"):
        raise unknown_name("normalisation", normalisation, ("keep", "refit"))
    chosen, why = engines.choose(engine, kernel=kernel, device=device)
    if isinstance(system, str) and not simulation:
        datasets = [with_record(ds, system=system) for ds in datasets]
    kept = None
    if start is not None and normalisation == "keep":
        kept = (start.state_scale, start.control_scale, start.attribute_scale)
    prepared = prepare(
        datasets,
        split=split,
        seed=seed,
        missing=missing,
        training_noise=config.training_noise,
        dtype=dtype,
        scales=kept,
    )
    model = _blank(prepared, _spec(prepared, choice, spec, start), dtype, chosen, device)
    thetas, loaded = _initial(model.spec, start, seed, members)
    thetas = thetas.astype(dtype)
    model = replace(model, theta=thetas)
    if start is not None:
        start.check(prepared.physical[0], prepared.features)
        dt = np.concatenate([np.diff(a.time) for a in prepared.physical])
        other = start.trained.other_physics(dt, prepared.parameters)
        warn_outside("the data to train on", other)
    program = model.bind(prepared.scaled, kernel=kernel)
    task = TrajectoryTask(
        program, prepared.scaled, prepared.train, prepared.validation, config.batch_size
    )
    folder = None
    if run is not None:
        data = data_fingerprint(datasets, split, seed)
        folder = Run(run, _call(config, model, data, program, start, normalisation))
    meter = meters.default() if progress else meters.Silent()
    title = model.system or "training"
    try:
        trainer = Trainer(task, config, folder, meter, title=title)
        if preset_name == "paper":
            expected = trainer.expected_seconds(thetas)
            text = f'preset "paper": about {duration_in_words(expected)} for a whole run'
            logger.info(text)
            meter.note(text)
        outcome = trainer.fit(thetas)
        about = {
            "version": __version__,
            "preset": preset_name,
            "training": config.as_dict(),
            "engine": chosen,
            "kernel": program.kernel,
            "best_loss": outcome.best_loss.tolist(),
            "best_epoch": outcome.best_epoch.tolist(),
            "status": outcome.status,
            "graph_seed": simulation.get("graph_seed"),
            "seed": seed,
        }
        best = int(np.argmin(outcome.best_loss))
        model = replace(
            model, theta=outcome.theta if members > 1 else outcome.theta[0], about=about
        )
        result = Result(
            model=model,
            history=outcome.history,
            status=outcome.status,
            reason=outcome.reason,
            best_loss=float(outcome.best_loss[best]),
            best_epoch=int(outcome.best_epoch[best]),
            updates=outcome.updates,
            seconds=outcome.seconds,
            engine=chosen,
            why=why,
            kernel=program.kernel,
            device=str(getattr(program, "device", "cpu")),
            loaded=loaded,
            departures=choice.departures if start is None else (),
            simulation=simulation,
            held_out=None
            if simulation
            else held_out(datasets[0], labels_of(datasets[0], split, seed)),
        )
        if folder is not None:
            model.save(folder.folder / "model.nc")
            storage.write_netcdf(outcome.history, folder.folder / "history.nc")
    finally:
        if folder is not None:
            folder.close()
    if outcome.status == "interrupted" and not is_interactive():
        raise KeyboardInterrupt
    return result


# ---- the steps --------------------------------------------------------------------------------


def _config(
    choice: PresetChoice, name: str, options: Mapping[str, Any], seed: int, *, fresh: bool
) -> TrainConfig:
    given = {key: value for key, value in options.items() if value is not None}
    lengths = [key for key in ("epochs", "updates", "time_budget") if key in given]
    if len(lengths) > 1:
        raise InvalidOption(
            "a run has one length",
            got=", ".join(f"{key}={given[key]!r}" for key in lengths),
            allowed="epochs=, updates= or time_budget=",
            fix="give one of them",
        )
    if "time_budget" in given:
        given["time_budget"] = seconds(given["time_budget"])
    base = choice.run if fresh else {**choice.run, **choice.finetune}
    return TrainConfig(**{**base, **given, "preset": name, "seed": seed})


def _spec(
    prepared: Prepared, choice: PresetChoice, given: dict[str, Any], start: Model | None
) -> ModelSpec:
    arrays = prepared.physical[0]
    data = {
        "channels": arrays.x.shape[-1],
        "controls": 0 if arrays.u is None else arrays.u.shape[-1],
        "attributes": 0 if arrays.attribute is None else arrays.attribute.shape[-1],
    }
    if start is not None:
        return start.spec.replace(**given)
    degree = np.concatenate([a.graph.in_degree for a in prepared.physical])
    fields = {**choice.model, **data, **given}
    if fields.get("aggregation") == "auto":
        # From graphs where every node has the same degree nobody can tell the effect of one
        # message from that of the degree: a sum would carry over wrongly to any other graph.
        fields["aggregation"] = "mean" if degree.min() == degree.max() else "sum"
    family = fields.get("family", "mpnode")
    if family == "l2s":
        fields = {"aggregation": "sum", "depth": 1, "hidden": 32, **data, **given}
    if family == "node":
        fields["bodies"] = arrays.x.shape[2]
    elif fields.get("aggregation") == "sum" and family != "l2s":
        fields["divisor"] = max(float(degree.mean()), 1.0)
    return ModelSpec(**fields)


def _blank(prepared: Prepared, spec: ModelSpec, dtype: str, engine: str, device: str) -> Model:
    trained = TrainingRange.of(
        prepared.physical, prepared.parameters, prepared.graphs, prepared.parameter_spans
    )
    return Model(
        spec=spec,
        theta=np.zeros(layout_of(spec).size, dtype=dtype),
        state_scale=prepared.state,
        control_scale=prepared.control,
        attribute_scale=prepared.attribute,
        features=prepared.features,
        units=prepared.units,
        controls=prepared.controls,
        attributes=prepared.attributes,
        trained=trained,
        system=prepared.system,
        engine=engine,
        device=device,
        time_unit=prepared.time_unit,
    )


def _initial(
    spec: ModelSpec, start: Model | None, seed: int, members: int
) -> tuple[NDArray, tuple[str, ...]]:
    """Weights (member, size): fresh, with those of ``start`` that have the same name and shape.

    A start that is an ensemble gives each member its own, one that is not gives all the same.
    """
    layout = layout_of(spec)
    thetas = np.stack(
        [layout.initial(np.random.default_rng([seed, 2, member])) for member in range(members)]
    )
    if start is None:
        return thetas, ()
    if start.members not in (1, members):
        raise InvalidOption(
            "the start is an ensemble of another size",
            got=f"members={members}, the start has {start.members}",
            allowed=f"members={start.members}, or one member: start.member(0)",
        )
    loaded: dict[str, None] = {}
    for number, theta in enumerate(thetas):
        weights = start.member(number if start.members > 1 else 0).weights
        for name, view in layout.unpack(theta).items():
            if name in weights and weights[name].shape == view.shape:
                view[...] = weights[name]
                loaded[name] = None
    return thetas, tuple(loaded)


def _call(
    config: TrainConfig,
    model: Model,
    data: dict[str, Any],
    program: Program,
    start: Model | None,
    normalisation: str,
) -> dict[str, Any]:
    """What makes a run this run, as plain values: another call may not continue it."""
    scales = {
        "state": model.state_scale,
        "control": model.control_scale,
        "attribute": model.attribute_scale,
    }
    call: dict[str, Any] = {
        "training": config.as_dict(),
        "model": model.spec.as_dict(),
        "data": {**data, "system": model.system},
        "scales": {
            name: {"mean": scale.mean.tolist(), "scale": scale.scale.tolist()}
            for name, scale in scales.items()
            if scale is not None
        },
        "members": int(np.atleast_2d(model.theta).shape[0]),
        "precision": {
            "dtype": program.dtype.name,
            "kernel": program.kernel,
            "engine": model.engine,
            "device": str(getattr(program, "device", "cpu")),
        },
    }
    if start is not None:
        call["start"] = {"sha256": storage.checksum(start.theta), "normalisation": normalisation}
    return json.loads(json.dumps(call))
