"""Networks as a half of the package: what `pympnode.train` and its kin call for them."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from ..config import TrainConfig, check_names
from ..datasets.names import STATE
from ..datasets.record import record, with_record
from ..datasets.split import data_fingerprint, held_out_of, labels_of, split_trajectories
from ..files.netcdf import checksum
from ..half import EngineFacts, Prepared
from ..training.initial import initial_weights
from ..training.ranges import warn_outside
from . import engines
from .circular import with_circular
from .edge_weights import check_training
from .engines.base import Program
from .evaluate import evaluate_model
from .generate import check_request
from .graphs.topology import resolve
from .model import Model
from .options import NetworkEvaluation, NetworkSimulation, NetworkTraining
from .prepare import Prepared as Data
from .prepare import prepare
from .presets import preset
from .ranges import TrainingRange
from .recordings import choose_windows, interpolate_starts, split_recordings
from .simulate import simulate_network
from .spec import ModelSpec
from .task import TrajectoryTask
from .weights import layout_of

logger = logging.getLogger("pympnode.training")


class Networks:
    """See `half.Half`."""

    name = "networks"
    body = "node"
    model_kind = Model.KIND
    has_horizons = False
    shared_keywords = ("engine",)
    rollout_options = (
        "steps",
        "dt",
        "topology",
        "graph_seed",
        "control",
        "node_attribute",
        "ignore_weights",
    )
    example = "nodes=, topology=, ... (see the docstring)"
    Simulation = NetworkSimulation
    Training = NetworkTraining
    Evaluation = NetworkEvaluation

    def owns(self, ds: xr.Dataset) -> bool:
        """See `half.Half`."""
        return STATE in ds

    def system_of(self, ds: xr.Dataset) -> str:
        """See `half.Half`."""
        return str(record(ds).get("system", ""))

    def kind_of(self, model: Model) -> str:
        """See `half.Half`."""
        return model.spec.family

    def load(self, ds: xr.Dataset, source: str) -> Model:
        """See `half.Half`."""
        return Model.from_dataset(ds, source)

    def simulate(self, system: Any, options: NetworkSimulation) -> xr.Dataset:
        """See `half.Half`."""
        return simulate_network(system, **options.as_keywords())

    def evaluate(self, model: Model, ds: xr.Dataset, options: NetworkEvaluation) -> xr.Dataset:
        """See `half.Half`."""
        return evaluate_model(
            model,
            ds,
            threshold=options.threshold,
            system=options.system,
            ignore_weights=options.ignore_weights,
        )

    def test_set(self, simulation: Mapping[str, Any], trajectories: int, seed: int) -> xr.Dataset:
        """See `half.Half`; without measurement noise."""
        fresh = {"trajectories": trajectories, "seed": seed, "noise": 0.0}
        return simulate_network(**{**simulation, **fresh})

    def like_training_data(self, model: Model, keywords: Mapping[str, Any]) -> dict[str, Any]:
        """See `half.Half`: a network's data follow from its system and graph."""
        return dict(keywords)

    def must_agree(self, system: Any) -> dict[str, Any]:
        """See `half.Half`: nothing but the system."""
        return {}

    def check_simulation(self, system: Any, keywords: Mapping[str, Any]) -> None:
        """See `half.Half`."""
        options = NetworkSimulation(**keywords)
        check_names(f"parameter of {system.name}", options.parameters or {}, system.parameters)
        graph = resolve(
            system.default_topology if options.topology is None else options.topology,
            system.default_nodes if options.nodes is None else options.nodes,
            graphs=options.graphs,
            graph_seed=options.graph_seed,
            system=system,
        )
        names = ("parameters", "trajectories", "seed", "steps", "dt", "noise")
        check_request(system, graph, **{name: keywords[name] for name in names if name in keywords})
        if options.split is not None:
            split_trajectories(1, options.split)

    def check_training(
        self, system: str, data: Mapping[str, Any], keywords: Mapping[str, Any]
    ) -> TrainConfig:
        """See `half.Half`."""
        return NetworkTraining(**keywords).check(system)

    def prepare(
        self,
        system: Any,
        datasets: list[xr.Dataset] | None,
        options: NetworkTraining,
        start: Model | None,
    ) -> Prepared[Model]:
        """See `half.Half`."""
        config = options.run_config(fresh=start is None)
        members = options.members
        if members is None:
            members = 1 if start is None else start.members
        simulation: dict[str, Any] = {}
        if datasets is None:
            keywords = options.simulation().as_keywords()
            del keywords["initial"]  # not a keyword of train
            simulation = {"system": system, **keywords}
            datasets = [simulate_network(**simulation)]
        elif isinstance(system, str):
            datasets = [with_record(ds, system=system) for ds in datasets]
        if options.circular is not None:
            datasets = [with_circular(ds, options.circular) for ds in datasets]
        datasets, split_text = split_recordings(datasets, options.split)
        kept = None
        if start is not None and options.normalisation == "keep":
            kept = (start.state_scale, start.control_scale, start.attribute_scale)
        data = prepare(
            datasets,
            split=options.split,
            seed=options.seed,
            missing=options.missing,
            training_noise=config.training_noise,
            dtype=options.dtype,
            scales=kept,
            time_scale=None if start is None else start.time_scale,
            names=None if start is None else start.names,
            ignore_weights=options.ignore_weights,
        )
        chosen, reason = engines.choose(
            options.engine,
            kernel=options.kernel,
            device=options.device,
            weighted=any(a.graph.weight is not None for a in data.physical),
        )
        windows = choose_windows(
            config,
            data.physical,
            data.train,
            split_in_time=split_text is not None,
            window=options.window,
            max_window=options.max_window,
            time_unit=data.time_unit,
        )
        config = config.replace(curriculum=windows.curriculum)
        scaled, starts, start_text = data.scaled, None, None
        if windows.longest is not None:
            scaled, starts, start_text = interpolate_starts(data.scaled)
        texts = {"windows": windows.text, "split": split_text, "starts": start_text}
        for text in filter(None, texts.values()):
            logger.info(text)
        spec = _spec(data, options, start)
        check_training(spec.family, data.physical, start)
        thetas, restored = initial_weights(
            layout_of(spec), start, options.seed, members, options.dtype
        )
        thetas = thetas.astype(options.dtype)
        model = replace(_untrained(data, spec, options.dtype, chosen, options.device), theta=thetas)
        if start is not None and start.trained.weight and not model.trained.weight:
            # A model that takes weights goes on to take them.
            model = replace(model, trained=replace(model.trained, weight=(1.0, 1.0)))
        if start is not None:
            start.check(data.physical[0], data.features)
            dt = np.concatenate([np.diff(a.time) for a in data.physical])
            warn_outside("the data to train on", start.trained.other_physics(dt, data.parameters))
        program = model.bind(scaled, kernel=options.kernel)
        task = TrajectoryTask(
            program,
            scaled,
            data.train,
            data.validation,
            config.batch_size,
            windows.longest,
            starts,
        )
        task.require_memory()
        labels = [labels_of(ds, options.split, options.seed) for ds in datasets]
        task.features, task.time_scale = data.features, data.time_scale
        in_data = [np.flatnonzero(label != "test") for label in labels]
        task.numbers = [numbers for numbers in in_data if numbers.size]
        return Prepared(
            half=self,
            model=model,
            theta=thetas,
            task=task,
            config=config,
            fingerprint=run_fingerprint(
                config,
                model,
                data_fingerprint(datasets, options.split, options.seed)
                | ({"ignore_weights": True} if options.ignore_weights else {}),
                program,
                start,
                options.normalisation,
            ),
            engine=EngineFacts(
                chosen, reason, program.kernel, str(getattr(program, "device", "cpu"))
            ),
            restored_tensors=restored,
            deviations_from_paper=preset(options.preset).deviations if start is None else (),
            simulation=simulation,
            held_out=None if simulation else held_out_of(datasets, labels),
            about={"graph_seed": simulation.get("graph_seed")},
            history_attributes={name: text for name, text in texts.items() if text is not None},
        )


NETWORKS = Networks()


def _spec(data: Data, options: NetworkTraining, start: Model | None) -> ModelSpec:
    if start is not None:
        return start.spec.replace(**options.spec_fields())
    arrays = data.physical[0]
    return options.new_spec(
        np.concatenate([a.graph.in_degree for a in data.physical]),
        channels=arrays.x.shape[-1],
        controls=0 if arrays.u is None else arrays.u.shape[-1],
        attributes=0 if arrays.attribute is None else arrays.attribute.shape[-1],
        nodes=arrays.x.shape[2],
        circular=tuple(int(number) for number in np.flatnonzero(data.periods)),
    )


def _untrained(data: Data, spec: ModelSpec, dtype: str, engine: str, device: str) -> Model:
    trained = TrainingRange.of(data.physical, data.parameters, data.graphs, data.parameter_spans)
    return Model(
        spec=spec,
        theta=np.zeros(layout_of(spec).size, dtype=dtype),
        state_scale=data.state,
        control_scale=data.control,
        attribute_scale=data.attribute,
        features=data.features,
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
