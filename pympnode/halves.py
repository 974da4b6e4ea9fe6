"""The two halves, and the one place that chooses between networks and particles."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import xarray as xr

from .config import path as path_of
from .datasets.reading import as_dataset
from .datasets.record import record
from .errors import (
    FileDamaged,
    InvalidData,
    InvalidOption,
    PympnodeError,
    shown_value,
    unknown_name,
)
from .files import netcdf
from .half import Half, TrainedModel
from .networks.half import NETWORKS
from .particles.half import PARTICLES
from .systems.registry import first_name, get
from .training.options import RunOptions
from .training.result import Result

P = ParamSpec("P")
R = TypeVar("R")

HALVES: tuple[Half, Half] = (NETWORKS, PARTICLES)


# ---- which half ---------------------------------------------------------------------------------


def half_of_system(system: Any) -> Half:
    """The half that a system, or the name of one, belongs to. Raises `UnknownName`."""
    body = get(system).body
    return next(half for half in HALVES if half.body == body)


def half_of_dataset(ds: xr.Dataset) -> Half:
    """The half that a dataset belongs to; networks where it has the variables of neither."""
    return next((half for half in reversed(HALVES) if half.owns(ds)), HALVES[0])


def half_of_model(model: Any) -> Half:
    """The half that a model belongs to."""
    return next(half for half in HALVES if half.model_kind == model.KIND)


def half_of_evaluation(scores: xr.Dataset) -> Half:
    """The half of the model whose errors `pympnode.evaluate` returned."""
    by_horizon = "horizon" in scores.dims
    return next(half for half in HALVES if half.has_horizons is by_horizon)


def other(half: Half) -> Half:
    """The half that ``half`` is not."""
    return next(one for one in HALVES if one is not half)


# ---- models and datasets that users give ---------------------------------------------------------


def load(path: str | os.PathLike[str]) -> TrainedModel:
    """The model in a file or a run folder; see `pympnode.load`."""
    path = netcdf.inside_run(path_of("path", path), "model.nc")
    source = repr(str(path))
    # The attributes alone: a file that is no model is not read, however large its variables are.
    attributes = netcdf.read_attributes(path)
    try:
        kind = record(xr.Dataset(attrs=attributes)).get("kind")
    except InvalidData as error:
        raise FileDamaged(
            f"the record of {source} cannot be read",
            got=error.got,
            allowed="a file written by model.save",
            fix="restore it from a copy, or save the model again",
        ) from error
    half = next((half for half in HALVES if half.model_kind == kind), None)
    if half is None:
        raise FileDamaged(
            f"{source} is not a model",
            got=f"kind {kind or 'unknown'!r}, variables {attributes['']}",
            allowed="a file written by model.save",
            fix="datasets are opened with xarray.open_dataset",
        )
    ds = netcdf.check_seal(netcdf.read_netcdf(path, checksums=True), source)
    try:
        return half.load(ds, source)
    except RecursionError as error:
        raise netcdf.incomplete_model(source, error) from error


def as_model(start: Any) -> Any:
    """The model of a model, a Result or a path. Raises `InvalidOption`, and what `load` raises."""
    if isinstance(start, Result):
        return start.model
    if getattr(start, "KIND", None) in [half.model_kind for half in HALVES]:
        return start
    if isinstance(start, str | os.PathLike):
        return load(start)
    raise InvalidOption(
        "a model is a Model, a Result or a path",
        got=type(start).__name__,
        allowed="Model, Result, str, Path",
        fix="pass result, result.model, or the path given to model.save",
    )


def one_dataset(data: Any, *, lazy: bool | None = None, divided: bool = False) -> xr.Dataset:
    """A dataset, or the one at a path (see `as_dataset`). ``divided``: among processes, so that each reads its
    part alone. Raises `InvalidData` for anything else."""
    ds = as_dataset(data, lazy=lazy, checked=not divided)
    if not isinstance(ds, xr.Dataset):
        raise InvalidData(
            "data are a dataset or the path of one",
            got=type(ds).__name__,
            allowed="an xarray.Dataset, a path",
            fix="make one of arrays: pympnode.from_arrays, or of a table: pympnode.from_frame",
        )
    return ds


def open_dataset(path: str | os.PathLike[str]) -> xr.Dataset:
    """The dataset at a path: a netCDF file, a Zarr store, or a folder of parts.

    Reads what `pympnode.train` and `pympnode.evaluate` take as a path. A netCDF file, and a store of up
    to 1 GiB, is in memory; of a larger store, and of parts, values are read where they are indexed.
    Raises `MissingFile`, `FileDamaged`, and `InvalidOption` for what is no path.

    >>> import pympnode
    >>> ds = pympnode.simulate("heat", nodes=4, trajectories=2, steps=3)
    >>> ds.to_netcdf("heat.nc")
    >>> pympnode.open_dataset("heat.nc").state.dims
    ('trajectory', 'time', 'node', 'feature')
    """
    return one_dataset(path_of("path", path))


def several_datasets(
    data: Any, *, lazy: bool | None = None, divided: bool = False
) -> list[xr.Dataset] | None:
    """The datasets in ``data=`` of `train`, one or several, or paths of such; None for None."""
    if data is None:
        return None
    given = data if isinstance(data, list | tuple) else [data]
    many = [one_dataset(one, lazy=lazy, divided=divided) for one in given]
    if not many:
        raise InvalidData("there are no datasets", got="an empty list", allowed="at least one")
    return many


# ---- keywords ------------------------------------------------------------------------------------


def keywords_of(options: type[Any]) -> tuple[str, ...]:
    """The keywords that an options dataclass takes."""
    return tuple(field.name for field in fields(options))


def given_keywords(values: Mapping[str, Any]) -> dict[str, Any]:
    """Keywords that have a value; None stands for the default of the half."""
    return {name: value for name, value in values.items() if value is not None}


def differs_from_default(options: type[Any], name: str, value: Any) -> bool:
    """Whether a keyword was given a value that is not its default."""
    default = next((f.default for f in fields(options) if f.name == name), MISSING)
    if isinstance(value, Mapping) and not value:
        return False
    return not (isinstance(value, int | float | str) and value == default)


def refuse_other_half(
    given: Mapping[str, Any], half: Half, options: type[Any], elsewhere: type[Any]
) -> None:
    """Raise `InvalidOption` for a keyword of ``elsewhere``, the other half's options."""
    known = keywords_of(options)
    for name, value in given.items():
        if name in known:
            continue
        if name in keywords_of(elsewhere):
            raise InvalidOption(
                f"{name} belongs to {other(half).name}, and these are {half.name}",
                got=f"{name}={value!r}",
                allowed=", ".join(known),
                fix=f"leave {name} out; {half.name} take {half.example}",
            )
        if name in keywords_of(half.Simulation):
            raise _belongs_to_simulate(name, value, known)
        raise unknown_name(f"option for {half.name}", name, known)


def _belongs_to_simulate(name: str, value: Any, known: Sequence[str]) -> InvalidOption:
    return InvalidOption(
        f"{name} belongs to simulate",
        got=f"{name}={value!r}",
        allowed=", ".join(known),
        fix=f"data = simulate(system, {name}={value!r}, ...); train(data=data)",
    )


def known_keywords(function: Callable[P, R]) -> Callable[P, R]:
    """Make an unknown keyword an `UnknownName` with the closest names, not a bare TypeError.

    The function keeps its signature for help(), completion and type checkers.
    """
    code = function.__code__
    names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    simulated = {name for half in HALVES for name in keywords_of(half.Simulation)}

    @wraps(function)
    def checked(*args: P.args, **keywords: P.kwargs) -> R:
        for name in keywords:
            if name in names:
                continue
            if name in simulated:
                raise _belongs_to_simulate(name, keywords[name], names)
            system: Any = args[0] if args else keywords.get("system")
            if name in _parameters_of(system):
                raise InvalidOption(
                    f"{name} is a parameter of the system {get(system).name!r}",
                    got=f"{name}={shown_value(keywords[name], 80)}",
                    allowed="parameters= by name: " + ", ".join(_parameters_of(system)),
                    fix=f"parameters={{{name!r}: {shown_value(keywords[name], 80)}}}",
                )
            raise unknown_name(f"option of {function.__name__}", name, names)
        return function(*args, **keywords)

    return checked


def _parameters_of(system: Any) -> tuple[str, ...]:
    """Names of the physical parameters of a system; none for what is no system."""
    try:
        return tuple(get(system).parameters)
    except PympnodeError:
        return ()


def simulation_keywords(half: Half) -> tuple[str, ...]:
    """Keywords of `train` that say how to simulate the training data."""
    other_use = (*keywords_of(RunOptions), *half.shared_keywords)
    return tuple(
        name
        for name in keywords_of(half.Simulation)
        if name in keywords_of(half.Training) and name not in other_use
    )


def refuse_simulation(
    half: Half, given: Mapping[str, Any], system: Any, datasets: Sequence[xr.Dataset]
) -> None:
    """Raise `InvalidOption` for keywords that say how to simulate beside given data, and for a
    system other than that of the data."""
    simulated = [name for one in HALVES for name in simulation_keywords(one)]
    for name in simulated:
        value = given.get(name)
        if name in half.Training.OF_BOTH:
            continue
        if isinstance(value, str) and value in half.Training.OF_MODELS.get(name, ()):
            continue
        if name in given and differs_from_default(half.Training, name, value):
            raise InvalidOption(
                f"{name} says how to simulate, and the data are given",
                got=f"{name}={given[name]!r} beside data=",
                allowed="split= and seed= of what the data leave open",
                fix=f"leave {name} out, or leave data out to simulate",
            )
    named = first_name(system) if isinstance(system, str) else getattr(system, "name", None)
    for number, ds in enumerate(datasets):
        recorded = half_of_dataset(ds).system_of(ds)
        if named is not None and recorded and recorded != named:
            raise InvalidOption(
                f"dataset {number} is of another system",
                got=f"system={named!r}, the data are of {recorded!r}",
                allowed=repr(recorded),
                fix="leave system out: the data have it in their record",
            )


def refuse_other_model(start: Any, model: Any, half: Half) -> None:
    """Raise `InvalidOption` for a start of the other half, or of another kind of model."""
    own = half_of_model(start)
    if own is not half:
        raise InvalidOption(
            "the start model is of the other half",
            got=f"a model of {own.name}",
            allowed=f"a model of {half.name}",
        )
    kind = half.kind_of(start)
    if model is not None and not (isinstance(model, str) and model == kind):
        raise InvalidOption(
            "training on from a model cannot make another kind of it",
            got=f"model={shown_value(model, 80)}, the start is {kind!r}",
            allowed=f"model={kind!r}, or leave it out",
            fix="train(model=...) without a start makes a fresh one",
        )


def refuse_name_of_start(start: Any) -> None:
    """Raise `InvalidOption` where ``start=`` of `train` is the name of a start of the simulation."""
    from .particles.systems.starts import STARTS

    if isinstance(start, str) and start in STARTS and not os.path.exists(start):
        raise InvalidOption(
            "start= of train is a model to go on from, and this is a start of the simulation",
            got=f"start={start!r}",
            allowed="a Model, a Result or the path of one",
            fix=f"data = simulate(system, start={start!r}); train(data=data)",
        )
