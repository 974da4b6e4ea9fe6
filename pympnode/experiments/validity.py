"""Whether the keywords of an experiment are those that `simulate` and `train` take.

Nothing is simulated or trained: a keyword that was renamed shows before the first hour of a run.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from ..config import TrainConfig, check_names, preset, seconds
from ..errors import InvalidOption
from ..systems.registry import get
from .columns import BESIDE, check_columns, horizons, split
from .description import Experiment

# What the runner says itself, and what belongs to [data].
_RUNNER = {"run", "progress", "start", "seed", "device", "unknown", "members"}
_DATA = {
    "system", "data", "nodes", "topology", "graphs", "graph_seed", "parameters", "trajectories",
    "steps", "dt", "noise", "split", "particles", "dims",
}  # fmt: skip
_NOT_DATA = {"system", "path", "workers", "progress", "unknown", "engine", "control", "initial"}
_FIELDS = {"model": "family", "message_size": "message"}  # keyword of train -> field of ModelSpec
_SPEC = (
    "model", "message_size", "hidden", "depth", "aggregation", "messages", "coupling",
    "first_message", "solver", "substeps",
)  # fmt: skip
_RUN = ("epochs", "updates", "time_budget", "batch_size", "learning_rate")


def body_of(experiment: Experiment) -> str:
    """ "node" or "particle": which half the experiment is about."""
    return get(_system(experiment.data, experiment.name)).body


def check(experiment: Experiment) -> None:
    """Raise the first error that training any row would meet for its keywords."""
    where = f"experiment {experiment.name!r}"
    body = body_of(experiment)
    check_columns(experiment.columns, body)
    check_names(f"predictor in beside of {where}", experiment.beside, BESIDE[body])
    start = experiment.start_train or {}
    parts = []
    for each in experiment.rows:
        train = each.train
        if each.start == "finetune":
            _check_kind(f"row {each.name!r} of {where}", start, train)
            train = {**start, **train}
        parts.append((f"row {each.name!r}", each.data, train))
    if experiment.start_data is not None and experiment.start_train is not None:
        parts.append(("[start]", experiment.start_data, experiment.start_train))
    for part, data, train in parts:
        _check_data(f"{part} of {where}", data, body)
        _check_train(f"{part} of {where}", data, train, body)
        for test in experiment.tests:
            _check_data(f"test {test.name!r} of {where}", {**data, **test.data}, body)
    if body == "particle":
        _check_horizons(where, experiment)
    for (row, test_name), columns in experiment.published.items():
        part = f"[[published]] of {where}"
        check_names(f"row of {part}", [row], [r.name for r in experiment.rows])
        check_names(f"test of {part}", [test_name], [t.name for t in experiment.tests])
        check_names(f"column of {part}", columns, experiment.columns)


def _check_kind(where: str, start: Mapping[str, Any], train: Mapping[str, Any]) -> None:
    """A row that goes on from a model cannot name another kind of it."""
    if "model" in train and train["model"] != start.get("model", train["model"]):
        raise InvalidOption(
            f"{where} makes another kind of model than it starts from",
            got=f"model = {train['model']!r}, the start is {start['model']!r}",
            allowed=repr(start["model"]),
            fix="leave model out of the row",
        )


def _check_horizons(where: str, experiment: Experiment) -> None:
    """No column may ask for more steps than any test has: it would stay blank."""
    usual = get(_system(experiment.data, experiment.name)).steps
    given = [
        {**row.data, **test.data}.get("steps", usual)
        for row in experiment.rows
        for test in experiment.tests
    ]
    longest = max((steps for steps in given if isinstance(steps, int)), default=usual)
    for column in experiment.columns:
        for horizon in horizons([column]):
            if horizon > longest:
                raise InvalidOption(
                    f"no test of {where} has as many steps as a column asks for",
                    got=f"{column}, and tests of at most {longest} steps",
                    allowed=f"1 to {longest} steps",
                    fix=f"give a [[test]] steps = {horizon}, or name the column "
                    f"{split(column)[0]}_{longest}",
                )


def _system(data: Mapping[str, Any], name: str) -> str:
    if not isinstance(data.get("system"), str):
        raise InvalidOption(
            f"experiment {name!r} does not say which system",
            got=f"system = {data.get('system')!r}",
            allowed='[data] with system = "gravity" or another name',
        )
    return data["system"]


def _check_data(where: str, data: Mapping[str, Any], body: str) -> None:
    from .. import _api
    from ..data.particles import simulate_particles

    function: Any = simulate_particles if body == "particle" else _api.simulate
    known = [p for p in inspect.signature(function).parameters if p not in _NOT_DATA]
    check_names(f"keyword of data in {where}", data, ["system", *known])
    system = get(_system(data, where))
    if system.body != body:
        raise InvalidOption(
            f"{where} is of the other half", got=system.name, allowed="networks or particles"
        )
    if body == "node":
        _check_graph(system, data)
    check_names(
        f"parameter of {system.name} in {where}", data.get("parameters", {}), system.parameters
    )


def _check_graph(system: Any, data: Mapping[str, Any]) -> None:
    from ..graphs.topology import resolve

    topology = keyword(data.get("topology", system.default_topology))
    count = data.get("nodes", system.default_nodes)
    resolve(
        topology, count, graphs=data.get("graphs", 1), graph_seed=data.get("graph_seed", 42),
        system=system,
    )  # fmt: skip


def _check_train(where: str, data: Mapping[str, Any], train: Mapping[str, Any], body: str) -> None:
    from .. import _api
    from ..particle_fitting import train_particles

    function: Any = train_particles if body == "particle" else _api.train
    known = [p for p in inspect.signature(function).parameters if p not in _RUNNER | _DATA]
    check_names(f"keyword of train in {where}", train, known)
    run = {name: train[name] for name in _RUN if name in train}
    if "time_budget" in run:
        run["time_budget"] = seconds(run["time_budget"])
    if body == "particle":
        base = _particle_spec(data, train)
    else:
        base = _network_spec(data, train)
    TrainConfig(**{**base, **run})


def _particle_spec(data: Mapping[str, Any], train: Mapping[str, Any]) -> Mapping[str, Any]:
    """Raises for options that no particle model has; returns what the preset says of the run."""
    from dataclasses import fields

    from ..models.particle_spec import ParticleSpec
    from ..particle_presets import particle_preset

    name = train.get("model", "hierarchical_deltagn")
    choice = particle_preset(train.get("preset", "fast"), name, data.get("particles", 100))
    own = {field.name for field in fields(ParticleSpec)}
    given = {key: value for key, value in train.items() if key in own}
    ParticleSpec.named(name, **choice.fields(given)).refuse_unused(train)
    return choice.run


def _network_spec(data: Mapping[str, Any], train: Mapping[str, Any]) -> Mapping[str, Any]:
    from ..models.spec import ModelSpec

    choice = preset(train.get("preset", "fast"))
    given = {_FIELDS.get(key, key): train[key] for key in _SPEC if key in train}
    fields = {**choice.model, "channels": get(data["system"]).features, **given}
    if fields.get("aggregation") == "auto":  # which of the two follows from the graphs
        fields["aggregation"] = "sum"
    ModelSpec(**fields)
    return choice.run


def keyword(value: Any) -> Any:
    """A value of TOML as `simulate` takes it: ["BA", {k = 3}] is a topology with its options."""
    named = isinstance(value, list) and len(value) == 2 and isinstance(value[1], dict)
    return tuple(value) if named else value
