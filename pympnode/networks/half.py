"""Networks as a half of the package: what `pympnode.train` and its kin call for them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import xarray as xr

from ..config import TrainConfig, check_names
from ..datasets.chunks import in_memory
from ..datasets.names import STATE
from ..datasets.record import record, with_record
from ..datasets.split import split_trajectories
from ..errors import InvalidOption
from ..half import Candidate, Prepared
from ..systems.registry import first_name
from ..training.progress import Silent, default
from ..training.ranges import warn_user
from ..training.schedule import updates_of
from ..training.streamed import streams
from .assembly import Common, assemble, mean_degree, spec_of, with_own_parts
from .circular import with_circular
from .classes import (
    LONG,
    LONG_SECONDS,
    UNMATCHED,
    competing,
    cost,
    no_inputs,
    short_class,
    with_options_of_system,
)
from .delays import require_delayed, with_drawn_delays
from .evaluate import evaluate_model
from .generate import check_request
from .graphs.drawn_weights import weights_in_time, with_drawn_weights
from .graphs.topology import resolve
from .model import Model
from .node_types import types_of
from .options import NetworkEvaluation, NetworkSimulation, NetworkTraining, left_open
from .partition_training import divided, in_words, of_partition, require_windows
from .prepare import Scales, prepare
from .recordings import choose_windows, interpolate_starts, split_recordings
from .simulate import simulate_network
from .stream import Stream, refuse
from .unknown_graph import find_graph, is_unknown, on_found_graph, scores_of, with_graph

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
        "node_code",
        "ignore_weights",
    )
    example = "nodes=, topology=, ... (see the docstring)"
    Simulation = NetworkSimulation
    Training = NetworkTraining
    Evaluation = NetworkEvaluation

    def owns(self, ds: xr.Dataset) -> bool:
        """See `half.Half`."""
        return isinstance(ds, xr.Dataset) and (STATE in ds or bool(types_of(ds)))

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
        if weights_in_time(graph, options.edge_weight, options.graph_seed) is None:
            graph = with_drawn_weights(graph, options.edge_weight, options.graph_seed)
        else:  # they follow from times; the system only has to take weights
            graph = graph.with_weight(graph.weight_or_ones)
        step = system.dt if options.dt is None else options.dt
        graph = with_drawn_delays(graph, options.delay, options.graph_seed, step)
        if graph.delay is not None:
            require_delayed(system, graph, step)
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
        config, asked = options.run_config(fresh=start is None), options
        members = options.members
        if members is None:
            members = 1 if start is None else start.members
        simulation: dict[str, Any] = {}
        if datasets is None:
            keywords = options.simulation().as_keywords()
            for name in ("initial", "client", "path"):  # not keywords of train
                del keywords[name]
            simulation = {"system": system, **keywords}
            datasets = [simulate_network(**simulation)]
        elif isinstance(system, str):
            datasets = [with_record(ds, system=first_name(system)) for ds in datasets]
        if options.circular is not None:
            datasets = [with_circular(ds, options.circular) for ds in datasets]
        of_system = None
        if start is None:
            options, of_system = with_options_of_system(options, datasets)
        stream, split_text, part = None, None, None
        if options.partition is not None:
            options, config = of_partition(options, config)
            datasets, part = divided(datasets, options.partition)
            datasets, split_text = split_recordings(datasets, options.split)
        elif streams(datasets, options.chunks_in_memory):
            refuse(datasets, learns_each_graph=options.learns_each_graph)
            stream = Stream(
                datasets[0],
                chunks_in_memory=options.chunks_in_memory,
                split=options.split,
                seed=options.seed,
                members=members,
            )
            datasets = [stream.sample]
        else:
            datasets = [ds if in_memory(ds) else ds.compute() for ds in datasets]
            datasets, split_text = split_recordings(datasets, options.split)
        found = None
        if options.learns_graph or any(is_unknown(ds) for ds in datasets):
            options, datasets, found = self._with_graph(options, datasets, config, start, members)
        kept = None
        if start is None and options.normalisation is not None:
            raise InvalidOption(
                "normalisation says what becomes of that of a start model",
                got=f"normalisation={options.normalisation!r} without a start",
                allowed='finetune(start, ..., normalisation="refit")',
                fix="leave normalisation out: a fresh model has that of its data",
            )
        if start is not None and options.normalisation != "refit":
            kept = Scales(
                start.state_scale,
                start.control_scale,
                start.attribute_scale,
                start.edge_attribute_scale,
            )
        if stream is not None:
            stream.measure(
                datasets[0],
                default() if options.progress else Silent(),
                missing=options.missing,
                names=None if start is None else start.names,
                types=None if start is None else start.types,
                ignore_weights=options.ignore_weights,
                start=start,
            )
        data = prepare(
            datasets,
            totals=None if stream is None else stream.totals,
            split=options.split,
            seed=options.seed,
            missing=options.missing,
            training_noise=config.training_noise,
            dtype=options.dtype,
            scales=kept,
            start=start,
            time_scale=None if start is None else start.time_scale,
            names=None if start is None else start.names,
            ignore_weights=options.ignore_weights,
            no_inputs=no_inputs(options),
            part=part,
        )
        if options.has_own_parts:
            if start is not None:
                raise InvalidOption(
                    "networks of your own are of a fresh model, and the start has its networks",
                    got="message= or update= with a start",
                    allowed="one of them",
                    fix="leave start out, or message and update",
                )
            options = with_own_parts(data, options)
        if part is not None:
            require_windows(data.physical, options)
        windows = choose_windows(
            config,
            data.physical,
            data.train,
            split_in_time=split_text is not None,
            window=options.window,
            max_window=options.max_window,
            time_unit=data.time_unit,
            as_given=options.config is not None and bool(config.curriculum),
        )
        if start is not None:
            options.refuse_race("with a start")
        share = 0.0 if start is not None else config.race
        several = competing(options, len(data.edge_attributes)) if share else {}
        delayed = options.delay is not None or any(a.graph.delay is not None for a in data.physical)
        if delayed and data.controls:
            several = {}  # pairwise messages with controls take no delays
        # Without classes that compete the run is that of versions which had no such stage.
        config = config.replace(curriculum=windows.curriculum, race=share if several else 0.0)
        scaled, starts, start_text = data.scaled, None, None
        if windows.longest is not None:
            scaled, starts, start_text = interpolate_starts(data.scaled)
        if stream is not None:
            stream.use(
                data,
                options.dtype,
                config.training_noise,
                options.seed,
                fills=windows.longest is not None,
            )
        texts = {
            "data": None if stream is None else stream.text,
            "windows": windows.text,
            "split": split_text,
            "starts": start_text,
            "class": of_system,
        }
        texts["partition"] = None if part is None else in_words(part)
        texts["graph"] = None if found is None else str(found.attrs["pruning"])
        for name, text in texts.items():
            if text is not None and name != "data":  # said before the data were read
                logger.info(text)
        common = Common(
            datasets,
            data,
            config,
            start,
            members,
            simulation,
            scaled,
            starts,
            windows.longest,
            texts,
            asked,
            found,
            stream,
            part,
        )
        if not share:
            return assemble(self, options, common)
        if len(several) < 2:
            options.refuse_race("and no two classes of models are left open")
        elif _too_short(options, config):
            options.refuse_race(f"and a run of less than {LONG} updates or {LONG_SECONDS:g} s")
        short = short_class(options, len(data.edge_attributes))
        if not several or _too_short(options, config):
            return assemble(self, short, common)
        if config.updates is None and config.time_budget is None and not options.sized:
            # Passes over the data are counted by a task.
            prepared = assemble(self, short, common)
            if updates_of(prepared) < LONG:
                options.refuse_race(f"and a run of less than {LONG} updates")
                return prepared
        candidates = [
            Candidate(
                name,
                cost(spec_of(data, chosen), mean_degree(data)),
                partial(assemble, self, chosen, common),
                2.0 if chosen.messages == "pairwise" else 4.0,
            )
            for name, chosen in several.items()
        ]
        prepared = candidates[0].make()
        if prepared.config.matching:
            candidates = [one for one in candidates if one.name not in UNMATCHED]
        if len(candidates) == 1:
            options.refuse_race("and gradient matching leaves one class")
            return prepared
        return replace(prepared, candidates=tuple(candidates))

    def _with_graph(
        self,
        options: NetworkTraining,
        datasets: list[xr.Dataset],
        config: TrainConfig,
        start: Model | None,
        members: int,
    ) -> tuple[NetworkTraining, list[xr.Dataset], xr.DataArray | None]:
        """Options and datasets with the graph that was learned, or that of ``start``; and the scores of
        all pairs where it was learned here."""
        if start is not None:
            if options.learns_graph:
                raise InvalidOption(
                    "a graph is learned with a fresh model",
                    got='topology="learn" with a start',
                    allowed="data with a graph, or data of the nodes of start.graph",
                    fix="leave topology out, or start",
                )
            return options, [on_found_graph(start, ds) for ds in datasets], None
        if options.learns_weights and not options.learns_graph:
            options = replace(options, topology="learn")
        found = find_graph(datasets, options, config, default() if options.progress else Silent())
        if not found.graph.edges:
            warn_user("no pair of nodes has a coupling that improves the prediction: no edges")
        datasets = [with_graph(ds, found.graph, "learned") for ds in datasets]
        # Where it can be, the weights of the edges that were kept are trained on with the model.
        evaluated = options.model in (None, "mpnode") and options.messages not in (
            "state", "zero", "self",
        )  # fmt: skip
        evaluated &= left_open(options.messages) is False or options.preset == "fast"
        # Of a graph of each trajectory only those of training trajectories would be.
        evaluated &= found.scores.ndim == 2
        learn = evaluated and members == 1 and found.graph.edges and options.engine != "julia"
        weight = "learn" if learn else None
        options = replace(options, topology=None, edge_weight=weight)
        return options, datasets, scores_of(found, datasets[0])


def _too_short(options: NetworkTraining, config: TrainConfig) -> bool:
    """Whether a length that is given, in updates or seconds, is too short for a competition."""
    if config.time_budget is not None:
        return config.time_budget < LONG_SECONDS
    return not options.sized and config.updates is not None and config.updates < LONG


NETWORKS = Networks()
