"""Checks of the keywords of an experiment and of their values against `simulate` and `train`.

Nothing is simulated or trained: a keyword that was renamed, a value that is not allowed, or a test
that does not fit its row is an error before the run starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..config import check_names
from ..errors import InvalidOption, PympnodeError
from ..half import Half
from ..halves import half_of_system, keywords_of, simulation_keywords
from ..networks.graphs.regular import grid_shape
from ..systems.base import System
from ..systems.registry import get
from .cells import TEST_SEED
from .columns import BESIDE, FIGURES, check_columns, horizons, split
from .description import Experiment

# Keywords of `train` that the runner sets itself, and of `simulate` that [data] does not take.
_RUNNER = {"progress", "seed", "device", "members", "split"}
_NOT_DATA = {"path", "workers", "progress", "engine", "control", "initial"}


def half_of(experiment: Experiment) -> Half:
    """The half that the experiment is about."""
    return half_of_system(_system(experiment.data, experiment.name))


def check(experiment: Experiment) -> None:
    """Raise the first error that training or evaluating any row would raise for its keywords."""
    where = f"experiment {experiment.name!r}"
    half = half_of(experiment)
    check_names(f"predictor in beside of {where}", experiment.beside, BESIDE[half.body])
    check_names(f"figure of {where}", experiment.figures, FIGURES[half.body])
    parts = []
    for each in experiment.rows:
        train = each.train
        if each.start_data is not None and each.start_train is not None:
            if each.start == "finetune":
                _check_kind(f"row {each.name!r} of {where}", each.start_train, train)
                train = {**each.start_train, **train}
            parts.append((f"the start of row {each.name!r}", each.start_data, each.start_train))
        parts.append((f"row {each.name!r}", each.data, train))
    if experiment.start_data is not None and experiment.start_train is not None:
        parts.append(("[start]", experiment.start_data, experiment.start_train))
    for part, data, train in parts:
        with _located(f"{part} of {where}") as place:
            for one in _parts(place, data):
                _check_data(place, one, half)
                _check_train(place, one, train, half)
    for each in experiment.rows:
        row = f"row {each.name!r}"
        if each.start_data is not None:
            with _located(f"{row} of {where}") as place:
                any_step = each.start == "finetune"  # which accepts another time step
                _check_agree("[start]", each.start_data, place, each.data, half, any_step)
        for test in experiment.tests:
            with _located(f"test {test.name!r} of {where}") as place:
                check_names(f"keyword of {place}", test.data, _test_keywords(half))
                data = {**each.data, **test.data}
                data.pop("mixed", None)
                if "initial" in data:
                    data = _check_initial(place, data)
                _check_data(place, data, half)
                _check_agree(row, each.data, place, data, half)
                if "initial" not in test.data:
                    seed = test.data.get("seed", TEST_SEED)
                    trained = [each.data] * (each.start != "unchanged")
                    trained += [each.start_data] if each.start_data is not None else []
                    parts_of = [one for some in trained for one in _parts(place, some)]
                    _check_unseen(place, parts_of, {**data, "seed": seed})
    systems = _systems(experiment)
    check_columns(experiment.columns, half.body, systems if half.body == "node" else ())
    _check_beside(where, experiment, systems)
    if "surfaces" in experiment.figures:
        _check_surfaces(where, experiment)
    if half.has_horizons:
        _check_horizons(where, experiment)
    for (row, test_name), columns in experiment.published.items():
        part = f"[[published]] of {where}"
        check_names(f"row of {part}", [row], [r.name for r in experiment.rows])
        check_names(f"test of {part}", [test_name], [t.name for t in experiment.tests])
        check_names(f"column of {part}", columns, experiment.columns)


@contextmanager
def _located(where: str) -> Iterator[str]:
    """Adds ``where`` to errors raised inside, and turns built-in ones into `InvalidOption`."""
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
            fix="`pympnode experiment show nbody_levels` prints values that are right",
        ) from error


def _check_agree(
    one: str, data: Mapping[str, Any], two: str, tested: Mapping[str, Any], half: Half,
    any_step: bool = False,
) -> None:  # fmt: skip
    """Raise where training and test data differ in the system, unless both have the same features; for
    particles, also in the number of dimensions or, unless ``any_step``, in the time step."""
    system = get(data["system"])
    usual = {"system": system.name, **half.must_agree(system)}
    if half.body == "node" and _same_features(data["system"], tested["system"]):
        usual.pop("system")
    if any_step:
        usual.pop("dt", None)
    for name, value in usual.items():
        mine = data.get(name, value)
        theirs = tested.get(name, value)
        if theirs != mine:
            raise InvalidOption(
                f"{two} has another {name} than {one}, whose model cannot take it",
                got=f"{name} = {theirs!r}",
                allowed=f"{name} = {mine!r}",
                fix=f"leave {name} out there, or change it in [data]",
            )


def _same_features(one: str, two: str) -> bool:
    """Whether two systems have the same variables of a node: a model of one predicts the other."""
    first, second = (
        [(v.name, v.unit) for v in (*get(name).state, *get(name).controls)] for name in (one, two)
    )
    return first == second


def _check_initial(where: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Raise unless ``initial`` names a system with the features of the test; the data without it."""
    rest = {name: value for name, value in data.items() if name != "initial"}
    named = data["initial"]
    if not isinstance(named, str) or not _same_features(named, _system(data, where)):
        raise InvalidOption(
            f"initial of {where} names the system whose initial states are taken",
            got=f"initial = {named!r}",
            allowed=f"a system with the features of {data['system']}",
            fix="leave initial out: the initial states are then those of the test's own system",
        )
    return rest


def _systems(experiment: Experiment) -> list[System]:
    """The systems that models are tested on, each once."""
    found = {}
    for row in experiment.rows:
        for test in experiment.tests:
            name = {**row.data, **test.data}["system"]
            found[name] = get(name)
    return list(found.values())


def _check_beside(where: str, experiment: Experiment, systems: list[System]) -> None:
    """Raise for a baseline that no test has: its line would be left out."""
    if "constant_velocity" in experiment.beside and not any(system.rates for system in systems):
        raise InvalidOption(
            f"no system of {where} has the baseline constant_velocity",
            got=", ".join(system.name for system in systems),
            allowed="a system in which a feature is the derivative of another",
            fix="leave it out of beside",
        )


def _check_surfaces(where: str, experiment: Experiment) -> None:
    """Raise where the nodes of a test fill no grid, which has no surface."""
    for row in experiment.rows:
        for test in experiment.tests:
            data = {**row.data, **test.data}
            nodes = data.get("nodes", get(data["system"]).default_nodes)
            # The edges of a list may be those of any number of nodes.
            by_name = isinstance(data.get("topology", ""), str) or "nodes" in data
            if by_name and isinstance(nodes, int) and min(grid_shape(nodes)) < 2:
                raise InvalidOption(
                    f"surfaces of {where} are drawn over nodes in a grid",
                    got=f"{nodes} nodes in test {test.name!r} of row {row.name!r}",
                    allowed="rows x columns, at least 2 x 2, such as 4, 6 or 16 nodes",
                    fix="leave surfaces out of figures, or give another number of nodes",
                )


def _check_unseen(where: str, trained: list[dict[str, Any]], tested: Mapping[str, Any]) -> None:
    """Raise where a test has the trajectories of a training set: the same keywords and the same seed."""

    def drawn(data: Mapping[str, Any]) -> dict[str, Any]:
        rest = {k: v for k, v in data.items() if k not in ("trajectories", "steps", "mixed")}
        return {"seed": 0, **rest}

    for data in trained:
        if drawn(data) == drawn(tested):
            raise InvalidOption(
                f"{where} has the trajectories that its row is trained on",
                got=f"seed = {tested['seed']!r}, that of the training data",
                allowed="another seed, or none: tests have one of their own",
                fix="leave seed out of the test",
            )


def _parts(where: str, data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The keywords of each dataset of a row. Raises `InvalidOption` for a wrong ``mixed``."""
    if "mixed" not in data:
        return [dict(data)]
    mixed = data["mixed"]
    if (
        not isinstance(mixed, list)
        or len(mixed) < 2
        or not all(isinstance(changes, Mapping) and "mixed" not in changes for changes in mixed)
    ):
        raise InvalidOption(
            f"mixed of {where} lists the changes of each dataset",
            got=f"mixed = {mixed!r}",
            allowed='at least two tables, such as [{topology = "BA"}, {topology = "ER"}]',
            fix="leave mixed out for one dataset; none of the tables has a mixed of its own",
        )
    shared = {name: value for name, value in data.items() if name != "mixed"}
    for changes in mixed:
        if changes.get("system", data.get("system")) != data.get("system"):
            raise InvalidOption(
                f"the datasets in mixed of {where} are of one system",
                got=f"system = {changes['system']!r}",
                allowed=repr(data.get("system")),
                fix="leave system out of mixed",
            )
    return [{**shared, **changes} for changes in mixed]


def _check_kind(where: str, start: Mapping[str, Any], train: Mapping[str, Any]) -> None:
    """Raise where a row names another kind of model than the one it starts from."""
    if "model" in train and train["model"] != start.get("model", train["model"]):
        raise InvalidOption(
            f"{where} makes another kind of model than it starts from",
            got=f"model = {train['model']!r}, the start is {start['model']!r}",
            allowed=repr(start["model"]),
            fix="leave model out of the row",
        )


def _check_horizons(where: str, experiment: Experiment) -> None:
    """Raise for a column of more steps than every test has: it would stay blank."""
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
            fix='write system = "gravity" under [data]',
        )
    return data["system"]


def _check_data(where: str, data: Mapping[str, Any], half: Half) -> None:
    known = [name for name in keywords_of(half.Simulation) if name not in _NOT_DATA]
    check_names(f"keyword of data in {where}", data, ["system", "mixed", *known])
    system = get(_system(data, where))
    if half_of_system(system) is not half:
        raise InvalidOption(
            f"{where} is of the other half", got=system.name, allowed="networks or particles"
        )
    half.check_simulation(system, {k: v for k, v in _keywords(data).items() if k != "system"})


def _check_train(where: str, data: Mapping[str, Any], train: Mapping[str, Any], half: Half) -> None:
    data_keywords = simulation_keywords(half)
    known = [
        name
        for name in keywords_of(half.Training)
        if name not in _RUNNER and name not in data_keywords
    ]
    check_names(f"keyword of train in {where}", train, known)
    words = {k: v for k, v in _keywords(data).items() if k != "system"}
    half.check_training(data["system"], words, _keywords(train))


def _test_keywords(half: Half) -> list[str]:
    """Keywords of a [[test]]."""
    known = [name for name in keywords_of(half.Simulation) if name not in _NOT_DATA]
    return ["system", *known, *(["initial"] if half.body == "node" else [])]


def _keywords(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: keyword(value) for name, value in values.items()}


def keyword(value: Any) -> Any:
    """A value of TOML as `simulate` takes it: ["BA", {k = 3}] is a topology with its options."""
    named = isinstance(value, list) and len(value) == 2 and isinstance(value[1], dict)
    return tuple(value) if named else value
