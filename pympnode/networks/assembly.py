"""A run made ready: model, program, task and fingerprint of one class of models on prepared data."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import SHORT, TrainConfig
from ..datasets.names import TRAJECTORY
from ..datasets.split import data_fingerprint, held_out_of, labels_of
from ..errors import InvalidOption
from ..files.netcdf import checksum
from ..half import EngineFacts, Half, Prepared
from ..losses import Gaussian, Huber, Loss, unnamed_loss
from ..training.initial import initial_weights
from ..training.ranges import warn_outside, warn_user
from . import engines
from .arrays import Arrays
from .calibration import calibrated_or_not, with_noise
from .edge_weights import check_training
from .engines.base import Program
from .learned_edges import (
    delay_logit,
    with_delays,
    with_found_delays,
    with_found_weights,
    with_learned_edges,
)
from .linear_path import start_linear_path
from .matching import Matching, Unmatched
from .model import Model
from .node_codes import CODED_GRAPH, graph_checksum, with_coded_nodes
from .normalise import Normalisation
from .options import NetworkTraining
from .partition import Part
from .partition_data import fingerprint_of_parts
from .partition_training import in_degrees, range_of_all, rounded
from .prepare import Prepared as Data
from .presets import preset, sized_updates
from .ranges import TrainingRange
from .spec import ModelSpec
from .stability import substeps_of_data
from .stream import Stream, refuse_engine
from .streamed_task import StreamedTask
from .task import TrajectoryTask
from .weights import layout_of, without_codes_in_messages

logger = logging.getLogger("pympnode.networks")


@dataclass(frozen=True, eq=False)
class Common:
    """What all classes of models that compete for the same data share.

    ``scaled``, ``starts`` and ``longest`` are those of `TrajectoryTask`; ``texts`` what was done with
    the data, in words, by name. ``scores``: of all pairs of nodes, where the graph was learned.
    ``stream``: where the data are read chunk by chunk; ``datasets`` and ``data`` are then of its sample.
    ``part``: of a graph that is divided among processes, that of this one.
    """

    datasets: list[xr.Dataset]
    data: Data
    config: TrainConfig
    start: Model | None
    members: int
    simulation: dict[str, Any]
    scaled: list[Arrays]
    starts: list[NDArray[np.bool_]] | None
    longest: int | None
    texts: dict[str, str | None]
    scores: xr.DataArray | None = None
    stream: Stream | None = None
    part: Part | None = None


def assemble(half: Half, options: NetworkTraining, common: Common) -> Prepared[Model]:
    """The run of the model that ``options`` ask for. Raises `InvalidOption`, `InvalidData`."""
    datasets, data, config, start = common.datasets, common.data, common.config, common.start
    members, simulation, scaled = common.members, common.simulation, common.scaled
    starts, texts, part = common.starts, dict(common.texts), common.part
    spec = spec_of(data, options, start)
    if spec.codes:
        spec = with_coded_nodes(spec, data.physical)
    if options.learns_delay or not simulation:
        # Simulated data bring the delays of the keyword with their edges.
        spec = with_delays(spec, options, data.physical, data.time_scale, members)
    given = isinstance(options.model, ModelSpec) and start is None
    open_steps = start is None and options.substeps is None and not given
    if open_steps and spec.solver == "rk4" and data.system and part is None:
        substeps, texts["substeps"] = substeps_of_data(
            data.system, datasets, data.physical, data.attributes
        )
        if substeps > 1:
            spec = spec.replace(substeps=substeps, stride=1)
    if options.learns_weights:
        spec = with_learned_edges(spec, data.physical, members)
    engine, kernel = _engine_for_loss(options, config, spec)
    chosen, reason = engines.choose(
        engine,
        kernel=kernel,
        device=options.device,
        weighted=any(a.weighted or a.graph.delay is not None for a in data.physical),
        varied=any(a.varied for a in data.physical),
        spec=spec,
    )
    stream = common.stream
    if stream is not None:
        refuse_engine(chosen)
    check_training(spec, data.physical, start)
    thetas, restored = initial_weights(layout_of(spec), start, options.seed, members, options.dtype)
    own = options.own if start is None else None
    if own is not None:
        if data.node_types:
            raise InvalidOption(
                "a module of your own is for nodes of one type",
                got=f"the types {', '.join(data.node_types)}",
                allowed="pympnode.nodes_of_type(ds, name)",
            )
        thetas = own.first_weights(options.seed, members, options.dtype)
        _tell_unused(own, data)
    if spec.codes:
        thetas = thetas * without_codes_in_messages(spec)
    if spec.linear:
        start_linear_path(spec, thetas, scaled, data.train, restored, fresh=start is None)
    thetas = thetas.astype(options.dtype)
    dt = float(data.physical[0].time[1] - data.physical[0].time[0])
    if spec.learned_delays and "delay_logit" not in restored:
        for theta in thetas:
            logits = layout_of(spec).unpack(theta)["delay_logit"]
            logits[...] = delay_logit(spec, options.delay_start, dt)
    model = replace(untrained(data, spec, options.dtype, chosen, options.device), theta=thetas)
    if stream is not None:
        model = replace(model, trained=stream.in_range(model.trained))
    if start is not None and start.trained.weight and not model.trained.weight:
        # A model that takes weights goes on to take them.
        model = replace(model, trained=replace(model.trained, weight=(1.0, 1.0)))
    if start is not None:
        start.check(data.physical[0], data.features)
        steps = np.concatenate([np.diff(a.time) for a in data.physical])
        warn_outside("the data to train on", start.trained.other_physics(steps, data.parameters))
    open_rate = options.learning_rate is options.optimiser is options.config is None
    if start is None and open_rate:
        chosen_preset = preset(options.preset)
        if spec.pairwise:
            rate = chosen_preset.pairwise_rate * config.learning_rate
            config = config.replace(learning_rate=rate)
        if chosen_preset.short_rate and options.updates is not None and options.updates < SHORT:
            config = config.replace(learning_rate=chosen_preset.short_rate)
    if options.sized:
        if stream is not None:
            values = stream.values
        else:
            values = _training_values([each.of_own_nodes for each in scaled], data.train)
            if part is not None:
                values = int(part.group.sum(np.array([float(values)]))[0])
        updates = sized_updates(layout_of(spec).size, values, pairwise=spec.pairwise)
        # Weights of a start have the first half of a run behind them. Runs of pairwise messages have a
        # third of the updates of others already; half of that ends before the rollouts have gained
        # (benchmarks/finetune.py).
        halved = start is not None and not spec.pairwise
        config = config.replace(updates=updates // 2 if halved else updates)
    program: Any = model.bind(scaled, kernel=kernel)
    measure = None
    if config.loss != Huber():
        from .engines.torch.losses import Measure

        measure = program.measure = Measure(
            config.loss, data.features, _scale_for_loss(config, data), program.spec.circular
        )
    matching = None
    if config.matching:
        try:
            matching = Matching(
                lambda spec, pairs: replace(model, spec=spec).bind(pairs, kernel=kernel),
                spec,
                scaled,
                data.train,
                config.batch_size,
                chosen,
                asked=bool(options.matching),
            )
            texts["matching"] = matching.text
        except Unmatched as unmatched:
            if options.matching:
                raise InvalidOption(
                    "these data, or this model, have no stage of gradient matching",
                    got=str(unmatched),
                    allowed="matching=0",
                    fix="leave matching out",
                ) from unmatched
            config = config.replace(matching=0.0)
            texts["matching"] = f"none: {unmatched}"
            logger.info("no gradient matching: %s", unmatched)
    words: dict[str, Any] = dict(
        program=program,
        arrays=scaled,
        train=data.train,
        validation=data.validation,
        batch_size=config.batch_size,
        longest=common.longest,
        starts=starts,
        matching=matching,
        from_start=config.from_start,
    )
    task = TrajectoryTask(**words) if stream is None else StreamedTask(stream, **words)
    task.require_memory()
    labels = [labels_of(ds, options.split, options.seed) for ds in datasets]
    task.features, task.time_scale = data.features, data.time_scale
    if measure is not None:
        task.measure = measure.of_arrays
    in_data = [np.flatnonzero(label != "test") for label in labels]
    if stream is not None:
        in_data = [ds[TRAJECTORY].values[rows] for ds, rows in zip(datasets, in_data)]
    task.numbers = [numbers for numbers in in_data if numbers.size]
    if stream is not None:
        facts = stream.fingerprint
    elif part is not None:
        facts = fingerprint_of_parts(datasets[0], part, options.split, options.seed)
    else:
        facts = data_fingerprint(datasets, options.split, options.seed)
    facts |= {"ignore_weights": True} if options.ignore_weights else {}
    facts |= {"delay_start": options.delay_start} if options.delay_start else {}
    fingerprint = run_fingerprint(config, model, facts, program, start, options.normalisation)
    if part is not None:
        fingerprint["scales"] = rounded(fingerprint["scales"])
    return Prepared(
        half=half,
        model=model,
        theta=thetas,
        task=task,
        config=config,
        fingerprint=fingerprint
        | ({} if own is None else {"module": {"first_weights": checksum(thetas)}}),
        only_in_memory=_unnamed(own, config.loss),
        engine=EngineFacts(chosen, reason, program.kernel, str(getattr(program, "device", "cpu"))),
        restored_tensors=restored,
        deviations_from_paper=preset(options.preset).deviations if start is None else (),
        simulation=simulation,
        held_out=None if simulation or part is not None else held_out_of(datasets, labels),
        about={
            "graph_seed": simulation.get("graph_seed"),
            **({CODED_GRAPH: graph_checksum(data.physical[0].graph)} if spec.codes else {}),
        },
        finished=lambda trained: with_found_delays(
            with_found_weights(trained, data.physical[0].graph, common.scores),
            data.physical[0].graph,
            dt,
        ),
        calibrated=lambda trained: _calibrated(trained, config.loss, options, common, labels),
        history_attributes={name: text for name, text in texts.items() if text is not None},
    )


def _calibrated(
    trained: Model,
    loss: Loss,
    options: NetworkTraining,
    common: Common,
    labels: list[NDArray[np.str_]],
) -> Model:
    """A model with the noise that its ``loss`` estimates, and an ensemble with its calibration, on the
    validation part."""
    if trained.members < 2 and not isinstance(loss, Gaussian):
        return trained
    marked = list(zip(common.datasets, labels, strict=True))
    parts = [
        ds.isel({TRAJECTORY: chosen})
        for ds, label in marked
        if (chosen := np.flatnonzero(label == "validation")).size
    ]
    some = parts
    if not parts and isinstance(loss, Gaussian):  # what the noise alone can be estimated on
        some = [ds.isel({TRAJECTORY: np.flatnonzero(label == "train")}) for ds, label in marked]
    weights = {"ignore_weights": options.ignore_weights}
    trained = with_noise(trained, some, loss, **weights)
    if trained.members < 2:
        return trained
    return calibrated_or_not(trained, parts, longest=common.longest, **weights)


def _engine_for_loss(
    options: NetworkTraining, config: TrainConfig, spec: ModelSpec
) -> tuple[str, str]:
    """Engine and kernel that compute the loss. Raises `InvalidOption`."""
    engine, kernel = options.engine, options.kernel
    if config.loss == Huber():
        return engine, kernel
    if engine == "julia":
        raise InvalidOption(
            "the Julia engine has the default loss alone",
            got=f"loss={config.loss!r} with engine='julia'",
            allowed='engine="torch"',
            fix="leave engine out, or loss",
        )
    if spec.codes:
        # Codes are attributes, of which the sweeps of the other kernels return no gradient.
        if kernel not in ("auto", "eager"):
            raise InvalidOption(
                "codes of nodes are learned with another loss by one kernel",
                got=f"kernel={kernel!r}",
                allowed='kernel="auto" or "eager"',
                fix="leave kernel out",
            )
        kernel = "eager"
    return "torch" if engine == "auto" else engine, kernel


def _scale_for_loss(config: TrainConfig, data: Data) -> Normalisation:
    """The z scores of the features. Raises `InvalidOption` for losses by feature where types of nodes
    have features of their own."""
    loss = config.loss
    if data.node_types and (loss.of_features or isinstance(loss, Gaussian)):
        raise InvalidOption(
            "losses by feature are for nodes of one type",
            got=f"loss={loss!r} with the types {', '.join(data.node_types)}",
            allowed='"huber", "mse" or a function',
        )
    return data.state  # type: ignore[return-value]


def _unnamed(own: Any, loss: Any) -> str:
    """What of a run has no name, under which a run folder could hold it; "" where all has one."""
    if own is not None and not own.registered:
        return f"the module {own!r} has no name: @pympnode.register_module above its class"
    return unnamed_loss(loss)


def _tell_unused(own: Any, data: Data) -> None:
    """Warn of inputs in the data that the forward of a module of the user does not take."""
    there = {
        "control": bool(data.controls),
        "node_attribute": bool(data.attributes),
        "edge_weight": any(each.weighted for each in data.physical),
    }
    for name, given in there.items():
        if given and name not in own.takes:
            warn_user(
                f"the data have {name}, and the module does not take it: its forward has no parameter "
                "of that name"
            )


def mean_degree(data: Data) -> float:
    """Edges that come into a node, on average over the training graphs."""
    return float(in_degrees(data.physical).mean())


def _training_values(arrays: list[Arrays], train: NDArray[np.int64]) -> int:
    """Known values in the training trajectories."""
    first, total = 0, 0
    for each in arrays:
        rows = train[(train >= first) & (train < first + each.trajectories)] - first
        first += each.trajectories
        known = each.x[rows].size if each.mask is None else int(each.mask[rows].sum())
        known -= int((~each.real).sum()) * len(rows) * each.x.shape[1]  # features that nodes lack
        total += known
    return total


def spec_of(data: Data, options: NetworkTraining, start: Model | None = None) -> ModelSpec:
    """The specification of the model that ``options`` ask for."""
    if start is not None:
        for name in ("relative", "invariant"):
            if getattr(options, name) is not None:
                raise InvalidOption(
                    f"{name} is a choice for fresh models, and the start has made it",
                    got=f"{name}={getattr(options, name)!r}",
                    allowed="a start without it",
                    fix=f"leave {name} out, or train a fresh model",
                )
        return start.spec.replace(**options.spec_fields())
    arrays = data.physical[0]
    spec = options.new_spec(
        in_degrees(data.physical),
        channels=arrays.x.shape[-1],
        controls=0 if arrays.u is None else arrays.u.shape[-1],
        attributes=0 if arrays.attribute is None else arrays.attribute.shape[-1],
        nodes=arrays.x.shape[2],
        circular=tuple(int(number) for number in np.flatnonzero(data.periods)),
        edge_attributes=len(data.edge_attributes),
        features=data.features,
        delayed=options.delay is not None or any(a.graph.delay is not None for a in data.physical),
    )
    return spec.replace(
        node_types=data.node_types,
        type_channels=data.type_channels,
        type_controls=data.type_controls,
        type_attributes=data.type_attributes,
    )


def with_own_parts(data: Data, options: NetworkTraining) -> NetworkTraining:
    """``options`` whose model is made of networks of the user for messages and their effect.

    Raises `InvalidOption`."""
    if data.node_types:
        raise InvalidOption(
            "networks of your own are for nodes of one type",
            got=f"the types {', '.join(data.node_types)}",
            allowed="pympnode.nodes_of_type(ds, name)",
        )
    arrays = data.physical[0]
    return options.with_own_parts(
        np.concatenate([a.graph.in_degree for a in data.physical]),
        features=arrays.x.shape[-1],
        controls=len(data.controls),
        attributes=len(data.attributes),
        edge_attributes=len(data.edge_attributes),
        circular=[int(number) for number in np.flatnonzero(data.periods)],
    )


def untrained(data: Data, spec: ModelSpec, dtype: str, engine: str, device: str) -> Model:
    """A `Model` with the facts of the data, and weights of zero."""
    trained = TrainingRange.of(data.physical, data.parameters, data.graphs, data.parameter_spans)
    if data.physical[0].part is not None:
        trained = range_of_all(trained, data.physical[0])
    if spec.delay:
        trained = replace(trained, delay=(spec.delay * data.time_scale,) * 2)
    return Model(
        spec=spec,
        theta=np.zeros(layout_of(spec).size, dtype=dtype),
        state_scale=data.state,
        control_scale=data.control,
        attribute_scale=data.attribute,
        edge_attribute_scale=data.edge_attribute if spec.edge_attributes else None,
        edge_attributes=data.edge_attributes if spec.edge_attributes else (),
        features=data.features,
        unit_norm=data.unit_norm,
        units=data.units,
        controls=data.controls,
        attributes=data.attributes,
        trained=trained,
        system=data.system,
        engine=engine,
        device=device,
        time_unit=data.time_unit,
        time_scale=data.time_scale,
    )


def run_fingerprint(
    config: TrainConfig,
    model: Model,
    data: dict[str, Any],
    program: Program,
    start: Model | None,
    normalisation: str,
) -> dict[str, Any]:
    """Everything that decides the numbers of a run, as plain values."""
    scales = {
        "state": model.state_scale,
        "control": model.control_scale,
        "attribute": model.attribute_scale,
        "edge_attribute": model.edge_attribute_scale,
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
    if start is None:
        call["scales"]["time"] = model.time_scale
    else:
        call["start"] = {"sha256": checksum(start.theta), "normalisation": normalisation}
    return json.loads(json.dumps(call))
