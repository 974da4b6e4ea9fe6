"""What was given to the front door: datasets, models and keywords told apart, and refused where nothing
takes them. ``door`` is the function of the front door whose keywords they are."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import xarray as xr

from .datasets.names import CHARGE
from .datasets.reading import as_dataset
from .datasets.record import record
from .errors import InvalidData, InvalidOption, unknown_name
from .networks.model import Model
from .networks.model_file import load as load_model
from .training.result import Result

# Keywords of `train` that say how to simulate, and have no place beside data.
SIMULATION = (
    "nodes", "topology", "graphs", "graph_seed", "particles", "dims", "parameters", "trajectories",
    "steps", "dt", "noise",
)  # fmt: skip


def as_model(start: Any) -> Model:
    """The model meant by a Model, a Result or a path."""
    if isinstance(start, Model):
        return start
    if isinstance(start, Result):
        return start.model
    if getattr(start, "KIND", None) == "particle_model":
        return start
    if isinstance(start, str | os.PathLike):
        return load_model(start)
    raise InvalidOption(
        "a model is a Model, a Result or a path",
        got=type(start).__name__,
        allowed="Model, Result, str, Path",
        fix="pass result, result.model, or the path given to model.save",
    )


def simulated_particles(
    system: Any, network: Mapping[str, Any], options: dict[str, Any]
) -> xr.Dataset:
    """What `simulate` makes of particles; ``network``: keywords that they have no use for."""
    from .particles.simulate import simulate_particles

    for name, value in network.items():
        if value is not None:
            raise InvalidOption(
                f"{name} belongs to networks, and this is a system of particles",
                got=f"{name}={value!r}",
                allowed="particles=, trajectories=, steps=, dt=, dims=, start=, ...",
                fix="give particles=100",
            )
    known = _simulation_of_particles()
    for name in options:
        if name not in known:
            raise unknown_name("option of simulate for particles", name, known)
    return simulate_particles(system, **options)


def datasets_of(data: Any) -> list[Any] | None:
    """The datasets meant by ``data`` of `train`: one or several, or paths of such."""
    if data is None:
        return None
    many = [dataset_of(one) for one in (data if isinstance(data, list | tuple) else [data])]
    if not many:
        raise InvalidData("there are no datasets", got="an empty list", allowed="at least one")
    return many


def dataset_of(data: Any) -> xr.Dataset:
    """A dataset, or the one at a path. Raises `InvalidData` for anything else."""
    ds = as_dataset(data)
    if not isinstance(ds, xr.Dataset):
        raise InvalidData(
            "data are a dataset or the path of one",
            got=type(ds).__name__,
            allowed="an xarray.Dataset, a path",
            fix="make one of arrays: pympnode.from_arrays, or of a table: pympnode.from_frame",
        )
    return ds


def start_of(start: Any) -> Any:
    """The model to go on from; the name of a start of the simulation is told apart."""
    from .particles.systems.starts import STARTS

    if isinstance(start, str) and start in STARTS and not os.path.exists(start):
        raise InvalidOption(
            "start= of train is a model to go on from, and this is a start of the simulation",
            got=f"start={start!r}",
            allowed="a Model, a Result or the path of one",
            fix=f"data = simulate(system, start={start!r}); train(data=data)",
        )
    return as_model(start)


def system_of_start(start: Any) -> str:
    """The system that a start model was trained on."""
    if not start.system:
        raise InvalidOption(
            "the start model was trained on given data, so there is nothing to simulate",
            got="no system, no data",
            allowed="finetune(model, data=ds) or finetune(model, system=...)",
        )
    return start.system


def refuse_julia(engine: str, why: str) -> None:
    """Particles know one engine; another is refused, saying why."""
    from .networks.engines import NAMES

    if engine not in ("auto", *NAMES):
        raise unknown_name("engine", engine, ("auto", *NAMES))
    if engine == "julia":
        raise InvalidOption(
            f"particles are {why}; the Julia engine has networks alone",
            got='engine="julia"',
            allowed='engine="auto" or "torch"',
            fix="leave engine out",
        )


def refuse_simulation(
    options: Mapping[str, Any], datasets: Sequence[Any], door: Callable[..., Any]
) -> None:
    """Given data are not simulated: no keyword may say how, and no other system may be named."""
    for name in SIMULATION:
        if name in options and _was_given(name, options[name], door):
            raise InvalidOption(
                f"{name} says how to simulate, and the data are given",
                got=f"{name}={options[name]!r} beside data=",
                allowed="split= and seed= of what the data leave open",
                fix=f"leave {name} out, or leave data out to simulate",
            )
    system = options["system"]
    named = system if isinstance(system, str) else getattr(system, "name", None)
    for number, ds in enumerate(datasets):
        own = _system_of(ds)
        if named is not None and own and own != named:
            raise InvalidOption(
                f"dataset {number} is of another system",
                got=f"system={named!r}, the data are of {own!r}",
                allowed=repr(own),
                fix="leave system out: the data say it themselves",
            )


def _system_of(ds: Any) -> str:
    """The system that a dataset is of; "" where it does not say."""
    from .particles.schema import is_particle_dataset

    if not isinstance(ds, xr.Dataset):
        return ""
    plain = ("coulomb" if CHARGE in ds else "gravity") if is_particle_dataset(ds) else ""
    return str(record(ds).get("system", plain))


def _was_given(name: str, value: Any, door: Callable[..., Any]) -> bool:
    """Whether a keyword of ``door`` has a value other than its default."""
    usual = inspect.signature(door).parameters
    default = usual[name].default if name in usual else None
    if value is None or value is default or (isinstance(value, Mapping) and not value):
        return False
    return not (isinstance(value, int | float | str) and value == default)


def refuse_other_model(start: Any, model: str | None, particles: bool) -> None:
    """What a start model is cannot change; its widths and other options may."""
    if isinstance(start, Model) is particles:
        raise InvalidOption(
            "the start model is of the other half",
            got=f"a model of {'networks' if particles else 'particles'}",
            allowed=f"a model of {'particles' if particles else 'networks'}",
        )
    own = start.spec.family if isinstance(start, Model) else start.spec.name
    if model is not None and model != own:
        raise InvalidOption(
            "training on from a model cannot make another kind of it",
            got=f"model={model!r}, the start is {own!r}",
            allowed=f"model={own!r}, or leave it out",
            fix=f"train(model={model!r}) makes a fresh one",
        )


def particles_meant(system: Any, datasets: Sequence[Any] | None) -> bool:
    """Whether particles are to be trained: by the data, else by the system."""
    from .particles.schema import is_particle_dataset
    from .systems.registry import get

    if datasets is not None:
        return is_particle_dataset(datasets[0])
    return system is not None and get(system).body == "particle"


def particle_options(
    options: Mapping[str, Any], function: Callable[..., Any], door: Callable[..., Any]
) -> dict[str, Any]:
    """Of the keywords of ``door`` those that were given, checked against those of ``function``."""
    known = inspect.signature(function).parameters
    usual = inspect.signature(door).parameters
    refuse_julia(options["engine"], "trained in torch")
    given = {}
    for name, value in options.items():
        if name in ("unknown", "engine") or (name in usual and not _was_given(name, value, door)):
            continue
        if name in usual and name not in known:
            raise InvalidOption(
                f"{name} belongs to networks, and particles are trained",
                got=f"{name}={value!r}",
                allowed=", ".join(known),
            )
        if name not in known:
            if name in _simulation_of_particles():
                raise InvalidOption(
                    f"{name} belongs to simulate",
                    got=f"{name}={value!r}",
                    allowed=", ".join(known),
                    fix=f"data = simulate(system, {name}={value!r}, ...); train(data=data)",
                )
            raise unknown_name("option of train for particles", name, known)
        given[name] = value
    if given.get("system") is not None and not isinstance(given["system"], str):
        given.setdefault("dims", given["system"].dims)
        given["system"] = given["system"].name
    return given


def _simulation_of_particles() -> list[str]:
    """The keywords of `simulate` for particles."""
    from .particles.simulate import simulate_particles

    return [name for name in inspect.signature(simulate_particles).parameters if name != "system"]


def refuse_unknown(unknown: Mapping[str, Any], function: Callable[..., Any]) -> None:
    """Keywords that `simulate` and `train` do not have for networks."""
    if not unknown:
        return
    from .particles.fitting import train_particles

    own = _simulation_of_particles()
    if "data" in inspect.signature(function).parameters:
        own += inspect.signature(train_particles).parameters
    for name, value in unknown.items():
        if name in own:
            raise InvalidOption(
                f"{name} belongs to particles, and this is a system of networks",
                got=f"{name}={value!r}",
                allowed="nodes=, topology=, ... (see the docstring)",
                fix=f'leave {name} out, or name a system of particles: "gravity", "coulomb"',
            )
        known = [p for p in inspect.signature(function).parameters if p != "unknown"]
        raise unknown_name(f"option of {function.__name__}", name, known)
