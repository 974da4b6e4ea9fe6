"""Whether the keywords of an experiment, and their values, are those that `simulate` and `train` take.

Nothing is simulated or trained: a keyword that was renamed, a value that nothing takes, or a test that
does not fit its row shows before the first hour of a run.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..config import TrainConfig, check_names, preset, seconds
from ..errors import InvalidOption, PympnodeError, unknown_name
from ..systems.registry import get
from .budget import LENGTHS
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
DTYPES = ("float32", "float64")
_RUN = ("epochs", "updates", "time_budget", "batch_size", "learning_rate")


def body_of(experiment: Experiment) -> str:
    """ "node" or "particle": which half the experiment is about."""
    return get(_system(experiment.data, experiment.name)).body


def check(experiment: Experiment) -> None:
    """Raise the first error that training or judging any row would meet for its keywords."""
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
        with _said_of(f"{part} of {where}") as place:
            _check_data(place, data, body)
            _check_train(place, data, train, body)
    for each in experiment.rows:
        row = f"row {each.name!r}"
        if each.start and experiment.start_data is not None:
            with _said_of(f"{row} of {where}") as place:
                other = each.start == "finetune"  # which takes data of another step
                _check_agree("[start]", experiment.start_data, place, each.data, body, other)
        for test in experiment.tests:
            with _said_of(f"test {test.name!r} of {where}") as place:
                data = {**each.data, **test.data}
                _check_data(place, data, body)
                _check_agree(row, each.data, place, data, body)
    if body == "particle":
        _check_horizons(where, experiment)
    for (row, test_name), columns in experiment.published.items():
        part = f"[[published]] of {where}"
        check_names(f"row of {part}", [row], [r.name for r in experiment.rows])
        check_names(f"test of {part}", [test_name], [t.name for t in experiment.tests])
        check_names(f"column of {part}", columns, experiment.columns)


@contextmanager
def _said_of(where: str) -> Iterator[str]:
    """Within it an error says where the value stands; what is no error of ours becomes one."""
    try:
        yield where
    except PympnodeError as error:
        if where in error.message:
            raise
        raise type(error)(
            f"{where}: {error.message}", got=error.got, allowed=error.allowed, fix=error.fix
        ) from error
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError) as error:
        raise InvalidOption(
            f"{where} holds a value of the wrong kind",
            got=f"{type(error).__name__}: {error}",
            allowed="values as `pympnode.simulate` and `pympnode.train` take them",
        ) from error


def _check_agree(
    one: str, data: Mapping[str, Any], two: str, other: Mapping[str, Any], body: str,
    any_step: bool = False,
) -> None:  # fmt: skip
    """What a model was trained on and what it meets are of one system; of particles, also of one
    number of dimensions and, unless ``any_step``, of one time step."""
    system = get(data["system"])
    usual: dict[str, Any] = {"system": system.name}
    if body == "particle":
        usual |= {"dims": 2} if any_step else {"dims": 2, "dt": system.dt}
    for name, value in usual.items():
        mine = data.get(name, value)
        met = other.get(name, value)
        if met != mine:
            raise InvalidOption(
                f"{two} has another {name} than {one}, whose model cannot take it",
                got=f"{name} = {met!r}",
                allowed=f"{name} = {mine!r}",
                fix=f"leave {name} out there, or change it in [data]",
            )


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
    from ..particles.simulate import check_particle_options, simulate_particles

    function: Any = simulate_particles if body == "particle" else _api.simulate
    known = [p for p in inspect.signature(function).parameters if p not in _NOT_DATA]
    check_names(f"keyword of data in {where}", data, ["system", *known])
    system = get(_system(data, where))
    if system.body != body:
        raise InvalidOption(
            f"{where} is of the other half", got=system.name, allowed="networks or particles"
        )
    check_names(
        f"parameter of {system.name} in {where}", data.get("parameters", {}), system.parameters
    )
    if body == "node":
        _check_network(system, data)
    else:
        check_particle_options(system.name, **{k: v for k, v in data.items() if k != "system"})


def _check_network(system: Any, data: Mapping[str, Any]) -> None:
    from ..datasets.split import split_trajectories
    from ..networks.generate import check_request
    from ..networks.graphs.topology import resolve

    topology = keyword(data.get("topology", system.default_topology))
    count = data.get("nodes", system.default_nodes)
    graph = resolve(
        topology, count, graphs=data.get("graphs", 1), graph_seed=data.get("graph_seed", 42),
        system=system,
    )  # fmt: skip
    names = ("parameters", "trajectories", "seed", "steps", "dt", "noise")
    check_request(system, graph, **{name: data[name] for name in names if name in data})
    if data.get("split") is not None:
        split_trajectories(1, data["split"])


def _check_train(where: str, data: Mapping[str, Any], train: Mapping[str, Any], body: str) -> None:
    from .. import _api
    from ..particles.fitting import train_particles

    function: Any = train_particles if body == "particle" else _api.train
    known = [p for p in inspect.signature(function).parameters if p not in _RUNNER | _DATA]
    check_names(f"keyword of train in {where}", train, known)
    run = {name: train[name] for name in _RUN if name in train}
    lengths = [name for name in LENGTHS if name in run]
    if len(lengths) > 1:
        raise InvalidOption(
            "a run has one length",
            got=", ".join(f"{name} = {run[name]!r}" for name in lengths),
            allowed=" or ".join(LENGTHS),
            fix="keep one of them",
        )
    if "time_budget" in run:
        run["time_budget"] = seconds(run["time_budget"])
    if body == "particle":
        base = _particle_spec(data, train)
        _check_particle_run(data, train)
    else:
        base = _network_spec(data, train)
        _check_network_run(train)
    TrainConfig(**{**base, **run})


def _check_particle_run(data: Mapping[str, Any], train: Mapping[str, Any]) -> None:
    """Keywords of `train_particles` that are neither of the model nor of `TrainConfig`."""
    for name in ("augment", "mixed_levels", "conserve_momentum"):
        if name in train and not isinstance(train[name], bool):
            raise InvalidOption(
                f"{name} is said or not", got=f"{name} = {train[name]!r}", allowed="true, false"
            )
    states = train.get("micro_batch", 1)
    if not isinstance(states, int) or isinstance(states, bool) or states < 1:
        raise InvalidOption(
            "micro_batch is a number of states", got=f"micro_batch = {states!r}", allowed=">= 1"
        )
    if train.get("augment") and data.get("dims", 2) != 2:
        raise InvalidOption(
            "augmentation turns particles in the plane",
            got=f"augment = true with dims = {data['dims']}",
            allowed="dims = 2",
            fix="leave augment out",
        )
    dtype = train.get("dtype", "float32")
    if dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    if "kernel" in train or "precision" in train:
        from ..particles.engine.kernels import KERNELS, precision_of

        if train.get("kernel", "auto") not in KERNELS:
            raise unknown_name("kernel of particles", train["kernel"], KERNELS)
        precision_of(train.get("precision"), dtype)


def _check_network_run(train: Mapping[str, Any]) -> None:
    """Keywords of `train` that are neither of the model nor of `TrainConfig`."""
    from ..networks.engines import NAMES, TORCH_KERNELS

    names = {
        "dtype": DTYPES, "missing": ("error", "mask"), "normalisation": ("keep", "refit"),
        "engine": ("auto", *NAMES),
    }  # fmt: skip
    if train.get("engine") != "julia":
        names["kernel"] = ("auto", *TORCH_KERNELS)
    for name, allowed in names.items():
        if name in train and train[name] not in allowed:
            raise unknown_name(name, train[name], allowed)


def _particle_spec(data: Mapping[str, Any], train: Mapping[str, Any]) -> Mapping[str, Any]:
    """Raises for options that no particle model has; returns what the preset says of the run."""
    from dataclasses import fields

    from ..particles.presets import particle_preset
    from ..particles.spec import ParticleSpec

    name = train.get("model", "hierarchical_deltagn")
    choice = particle_preset(train.get("preset", "fast"), name, data.get("particles", 100))
    own = {field.name for field in fields(ParticleSpec)}
    given = {key: value for key, value in train.items() if key in own}
    physics = {"dims": data.get("dims", 2), "charged": data["system"] == "coulomb"}
    ParticleSpec.named(name, **choice.fields(given) | physics).refuse_unused(train)
    return choice.run


def _network_spec(data: Mapping[str, Any], train: Mapping[str, Any]) -> Mapping[str, Any]:
    from ..networks.spec import ModelSpec

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
