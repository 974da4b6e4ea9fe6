"""The front door: keywords to objects. Each function here is re-exported by `pympnode`."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from . import schema
from .config import precision, whole
from .errors import InvalidData, InvalidOption, unknown_name
from .model import Model
from .model_file import load as load_model
from .own_data import as_dataset
from .result import Result

StartModel = Model | Result | str | os.PathLike[str]

# Keywords of `train` that say how to simulate, and have no place beside data.
_SIMULATION = (
    "nodes", "topology", "graphs", "graph_seed", "particles", "dims", "parameters", "trajectories",
    "steps", "dt", "noise",
)  # fmt: skip


def simulate(
    system: Any,
    *,
    nodes: int | None = None,
    topology: Any = None,
    graphs: int = 1,
    graph_seed: int = 42,
    parameters: Mapping[str, Any] | None = None,
    trajectories: int | None = None,
    steps: int | None = None,
    dt: float | None = None,
    seed: int = 0,
    noise: float = 0.0,
    split: float | None = 0.7,
    control: Any = None,
    initial: Any = None,
    tolerance: float = 1e-8,
    engine: str = "auto",
    **unknown: Any,
) -> xr.Dataset:
    """Simulate a system from random initial states: `state` (trajectory, time, node, feature).

    Main arguments:
        system: a name (`pympnode.systems.names()`) or a `System` of your own.
        nodes, topology: how many nodes, and who is coupled to whom: "BA", ("BA", {"k": 3}), a
            networkx graph, an edge list, an adjacency; the defaults are the system's.
        trajectories, steps, dt: how much; time steps of length ``dt``.
        seed: initial states, controls, noise and split. Trajectory i depends on (seed, i) alone.
    Other arguments:
        graphs, graph_seed: graphs drawn into one dataset, and their seed (42 takes the published
            instance where one is shipped).
        parameters: physics other than the published default, by name.
        noise: std of the measurement noise, in the units of the state (a number, or one a feature).
        split: the share of the trajectories that train; None leaves the split out.
        control: inputs (trajectory, time, node, control) instead of sampled ones, each held from
            t_i to t_(i+1); without the first axis the same for all.
        initial: states (trajectory, node, feature) to start from instead of random ones; they say
            how many trajectories there are.
        tolerance: relative and absolute, of the adaptive integrator.
    Particle systems ("gravity", "coulomb") take ``particles`` instead of nodes and topology, and
    ``dims``, ``start``, ``integrator``, ``path``, ``workers``: see
    `pympnode.data.particles.simulate_particles`.
    Returns: an `xarray.Dataset` as `pympnode.schema` describes it, float64, each feature in the unit
        that the coordinate ``unit`` names.
    Raises: `UnknownName`, `InvalidOption`, `InvalidGraph`, `InvalidData` (controls, a field of the
        wrong shape), `IntegrationFailed` (trajectory, node, feature, time), `NotEnoughMemory`.

    >>> ds = simulate("lorenz", nodes=3, trajectories=4, steps=10, seed=1)
    >>> ds.state.shape
    (4, 11, 3, 3)
    """
    from .systems.registry import get

    given, system = system, get(system)
    if system.body == "particle":
        _refuse_julia(engine, "simulated by compiled steps of Python")
        network = dict(
            tolerance=None if tolerance == 1e-8 else tolerance,
            graph_seed=None if graph_seed == 42 else graph_seed,
            nodes=nodes,
            topology=topology,
            control=control,
            initial=initial,
            noise=noise or None,
            graphs=None if graphs == 1 else graphs,
        )
        options = dict(
            parameters=parameters,
            steps=steps,
            dt=dt,
            seed=seed,
            split=split,
            trajectories=trajectories,
        )
        return _particles(given, network, {**options, **unknown})
    _refuse(unknown, simulate)
    from .simulation import simulate_network

    return simulate_network(
        system,
        nodes=nodes,
        topology=topology,
        graphs=graphs,
        graph_seed=graph_seed,
        parameters=parameters,
        trajectories=1000 if trajectories is None else trajectories,
        steps=steps,
        dt=dt,
        seed=seed,
        noise=noise,
        split=split,
        control=control,
        initial=initial,
        tolerance=tolerance,
        engine=engine,
    )


def train(
    system: Any = None,
    *,
    data: xr.Dataset | Sequence[xr.Dataset] | str | os.PathLike[str] | None = None,
    nodes: int | None = None,
    topology: Any = None,
    graphs: int = 1,
    graph_seed: int = 42,
    parameters: Mapping[str, Any] | None = None,
    trajectories: int | None = None,
    steps: int | None = None,
    dt: float | None = None,
    seed: int = 0,
    noise: float = 0.0,
    split: float = 0.7,
    missing: schema.Missing = "error",
    model: str | None = None,
    message_size: int | None = None,
    hidden: int | None = None,
    depth: int | None = None,
    aggregation: str | None = None,
    messages: str | None = None,
    coupling: str | None = None,
    first_message: str | None = None,
    solver: str | None = None,
    substeps: int | None = None,
    start: StartModel | None = None,
    normalisation: str = "keep",
    preset: str = "fast",
    epochs: int | None = None,
    updates: int | None = None,
    time_budget: float | str | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    members: int = 1,
    engine: str = "auto",
    kernel: str = "auto",
    device: str = "auto",
    dtype: str = "float32",
    run: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **unknown: Any,
) -> Result:
    """Train a simulator of a networked system.

    Main arguments:
        system, nodes, topology, trajectories, steps, dt, seed, ...: the data, as in `simulate`.
        data: given data instead: a dataset that `pympnode.schema.validate` accepts, several of them
            (sizes may differ), or the path of one. Keywords that say how to simulate are then
            refused, and so is a system other than that of the data.
        preset: "fast" (default) or "paper", the published configuration.
        epochs, updates or time_budget: how long; a budget is seconds or "10m".
        start: a Model, a Result or a path to go on from (see `finetune`).
        run: a folder for checkpoints and results; the same call continues where it stopped.
    Model: ``model`` ("mpnode", "l2s", "node"), ``message_size``, ``hidden``, ``depth``,
        ``aggregation``, ``messages``, ``coupling``, ``first_message``, ``solver``, ``substeps``: see
        `pympnode.models.spec.ModelSpec`; what is not given comes from the preset or from ``start``.
    Run: ``batch_size``, ``learning_rate``; ``members`` trains an ensemble of that many, side by side
        from different weights and batches: history, weights and rollouts have a dim "member";
        ``engine`` ("auto", "torch", "julia"), ``kernel`` ("auto", "numba", "torch", "triton", "eager"),
        ``device`` ("auto", "cpu", "cuda"), ``dtype`` ("float32", "float64"); ``missing="mask"`` takes
        NaN in `state` as missing; ``normalisation`` "keep" or "refit" when there is a start.
    Particle systems ("gravity", "coulomb") and particle datasets take ``particles``, ``model``
        ("hierarchical_deltagn", "hierarchical_hogn", "deltagn", "hogn", "nearest_deltagn") and the
        options of `pympnode.particle_fitting.train_particles`.
    Returns: a `Result` with the model, the history and how it ended.
    Raises: `UnknownName`, `InvalidOption`, `InvalidData`, `InvalidGraph`, `EngineUnavailable`,
        `RunLocked`, each with got, allowed, fix; KeyboardInterrupt in a script.

    >>> ds = simulate("kuramoto", nodes=4, topology="ring", trajectories=8, steps=5)
    >>> result = train(data=ds, epochs=1, kernel="eager", progress=False)
    >>> result.status, result.model.trained.nodes
    ('completed', (4, 4))
    """
    options = {**locals(), **unknown}
    whole("seed", seed, 0)
    options["dtype"] = dtype = precision("dtype", dtype)
    if run is not None and os.path.isfile(run):
        raise InvalidOption(
            "run is a folder, and this is a file",
            got=repr(str(run)),
            allowed="a folder that is there or will be made",
            fix="run is where checkpoints go; result.model.save(path) writes one file",
        )
    datasets = _datasets(data)
    if datasets is not None:
        _refuse_simulation(options, datasets)
    start_model = None if start is None else _start_model(start)
    if start_model is not None and system is None and datasets is None:
        options["system"] = system = _own_system(start_model)
    particles = _particles_meant(system, datasets)
    if start_model is not None:
        _refuse_other_model(start_model, model, particles)
    if particles:
        from .particle_fitting import train_particles

        options |= {"data": datasets, "start": start_model}
        return train_particles(**_particle_options(options, train_particles))
    _refuse(unknown, train)
    trajectories = 1000 if trajectories is None else trajectories
    given = dict(
        family=model,
        message=message_size,
        hidden=hidden,
        depth=depth,
        aggregation=aggregation,
        messages=messages,
        coupling=coupling,
        first_message=first_message,
        solver=solver,
        substeps=substeps,
    )
    simulation: dict[str, Any] = {}
    if datasets is None:
        if system is None:
            raise InvalidOption(
                "train needs a system or data",
                got="neither",
                allowed='train(system="kuramoto") or train(data=ds)',
                fix='pass system="kuramoto", or data=ds',
            )
        simulation = dict(
            system=system,
            nodes=nodes,
            topology=topology,
            graphs=graphs,
            graph_seed=graph_seed,
            parameters=parameters,
            trajectories=trajectories,
            steps=steps,
            dt=dt,
            seed=seed,
            noise=noise,
            split=split,
            control=None,
            tolerance=1e-8,
            engine=engine,
        )
    from .fitting import fit
    from .simulation import simulate_network

    return fit(
        [simulate_network(**simulation)] if datasets is None else datasets,
        simulation,
        spec={name: value for name, value in given.items() if value is not None},
        start=start_model,
        normalisation=normalisation,
        preset_name=preset,
        run_options={
            "epochs": epochs,
            "updates": updates,
            "time_budget": time_budget,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
        },
        engine=engine,
        kernel=kernel,
        device=device,
        dtype=dtype,
        split=split,
        seed=seed,
        missing=missing,
        run=run,
        progress=progress,
        system=system,
        members=start_model.members if members == 1 and start_model is not None else members,
    )


def finetune(start: StartModel, system: Any = None, **options: Any) -> Result:
    """Train on from a model: ``train(start=...)``, with the system of the start by default.

    ``start``: a Model, a Result or the path of a saved model. Its weights and normalisation are kept
    (``normalisation="refit"`` fits it to the new data). ``options`` are those of `train`, but for
    another ``model``; the result's ``loaded`` names the tensors that were taken. Returns a `Result`.
    Raises what `train` raises, and `MissingFile` or `FileDamaged` for a path.
    """
    return train(system, start=_start_model(start), **options)


def evaluate(
    model: StartModel,
    data: xr.Dataset | str | os.PathLike[str],
    *,
    threshold: float | None = None,
    system: Any = None,
    horizons: Sequence[int] | None = None,
) -> xr.Dataset:
    """Errors of a model's rollouts on a dataset, beside simple baselines.

    Returns a dataset over ``predictor`` ("model", "persistence", and "uncoupled", the true system
    without coupling, where the system is known): root mean square errors in physical units and in z
    units, in total, by feature, over time and by trajectory, the training loss, and the valid
    prediction time: until the error first exceeds ``threshold`` z units (0.4); and errors in the system's
    observables. The system is the registered one that the data name, or ``system``. See
    `pympnode.evaluation.metrics`. Raises `InvalidData` for data that the model does not fit, and warns
    `OutsideTrainingRange` with the numbers. For particle models see
    `pympnode.evaluation.particle_models.evaluate_particles`: over ``horizons``, 20 and 200 steps by
    default, beside free flight and constant acceleration. What belongs to the other half
    (``threshold``, ``system``, ``horizons``) is refused with `InvalidOption`.
    """
    model = as_model(model)
    if not isinstance(model, Model):
        from .evaluation.particle_models import evaluate_particles
        from .evaluation.particles import HORIZONS

        for name, value in (("threshold", threshold), ("system", system)):
            if value is not None:
                raise InvalidOption(
                    f"{name} belongs to models of networks",
                    got=f"{name}={value!r} for a model of particles",
                    allowed="horizons=, the steps to judge over",
                    fix=f"leave {name} out"
                    + (": the data say it themselves" if name == "system" else ""),
                )
        wanted = HORIZONS if horizons is None else horizons
        return evaluate_particles(model, _dataset(data), horizons=wanted)
    if horizons is not None:
        raise InvalidOption(
            "horizons belong to models of particles",
            got=f"horizons={horizons!r} for a model of networks",
            allowed="errors over time stand in the result",
            fix="leave horizons out",
        )
    from .evaluation.metrics import evaluate_model

    end = 0.4 if threshold is None else threshold
    return evaluate_model(model, _dataset(data), threshold=end, system=system)


def load(path: str | os.PathLike[str]) -> Model:
    """The model in a file written by ``model.save``, or in a run folder.

    Raises `MissingFile`, or `FileDamaged` when the file is cut short, fails a checksum or is no
    model.
    """
    return load_model(path)


def from_arrays(
    x: Any,
    *,
    dt: float | None = None,
    time: Any = None,
    edges: Any = None,
    topology: Any = None,
    directed: bool = False,
    u: Any = None,
    node_attribute: Any = None,
    features: Sequence[str] | None = None,
    units: Sequence[str] | None = None,
    controls: Sequence[str] | None = None,
    attributes: Sequence[str] | None = None,
    time_unit: str = "1",
    split: Sequence[str] | None = None,
    graph_of: Any = None,
) -> xr.Dataset:
    """A dataset of your own arrays, checked.

    Main arguments:
        x: (trajectory, time, node, feature), or (time, node, feature) for one trajectory. NaN is
            kept: train with ``missing="mask"``; the first state of a trajectory must be known.
        dt, time: the step of an even time grid, or the times (time,), which may be uneven.
        edges, topology: pairs of node numbers (edges, 2), undirected unless ``directed``; or
            whatever names or is a graph, also several (``graph_of`` (trajectory,) then says which).
    Other arguments:
        u: inputs (trajectory, time, node, control), each held from t_i to t_(i+1).
        node_attribute: constants of the nodes (node, attribute).
        features, units, controls, attributes, time_unit: names and units.
        split: "train", "validation" or "test" for each trajectory. What is marked "test" is used
            for nothing in training, not even the normalisation.
    Returns: an `xarray.Dataset` as `pympnode.schema` describes it, float64.
    Raises: `InvalidData`, `InvalidGraph`: got, allowed, fix.

    >>> import numpy as np
    >>> from_arrays(np.zeros((5, 21, 3, 1)), dt=0.1, edges=[(0, 1), (1, 2)]).receiver.values
    array([0, 1, 1, 2])
    """
    from .own_data import dataset_from_arrays

    return dataset_from_arrays(
        x,
        dt=dt,
        time=time,
        edges=edges,
        topology=topology,
        directed=directed,
        u=u,
        node_attribute=node_attribute,
        features=features,
        units=units,
        controls=controls,
        attributes=attributes,
        time_unit=time_unit,
        split=split,
        graph_of=graph_of,
    )


def from_frame(
    frame: Any,
    *,
    features: Sequence[str] | str,
    time: str = "time",
    node: str = "node",
    trajectory: str | None = None,
    controls: Sequence[str] = (),
    attributes: Sequence[str] = (),
    edges: Any = None,
    topology: Any = None,
    directed: bool = False,
    units: Sequence[str] | None = None,
    time_unit: str = "1",
    dt: float | None = None,
    relative_time: bool = False,
    split: str | None = None,
) -> xr.Dataset:
    """A dataset of a pandas table in long form: one row for each trajectory, time and node.

    Main arguments:
        frame: a DataFrame, or what has ``to_pandas``. Rows may lack: what has no row is NaN (train
            with ``missing="mask"``), so times need not be even nor the same for all nodes.
        features: the columns that are the state; ``time``, ``node``, ``trajectory``: the columns
            that tell rows apart (without ``trajectory`` there is one).
        edges, topology: who is coupled to whom, as in `from_arrays`; edges are pairs of the labels
            in the node column (a list, or a frame of two columns), as is a networkx graph.
    Other arguments:
        controls, attributes: columns that are inputs, and constants of the nodes.
        dt: puts the rows on an even grid, with holes where a time has no row at all.
        relative_time: time counts from the first row of each trajectory.
        split: the column that says "train", "validation" or "test".
    Returns: a dataset whose node and trajectory coordinates are the table's labels.
    Raises: `InvalidData`, `InvalidGraph`: got, allowed, fix.

    >>> import pandas as pd
    >>> rows = [(t, sensor, t + 0.5) for t in (0.0, 0.1, 0.2) for sensor in ("a", "b")]
    >>> frame = pd.DataFrame(rows, columns=["time", "node", "level"])
    >>> from_frame(frame, features="level", edges=[("a", "b")]).node.values.tolist()
    ['a', 'b']
    """
    from .own_data import dataset_from_frame

    return dataset_from_frame(
        frame,
        features=features,
        time=time,
        node=node,
        trajectory=trajectory,
        controls=controls,
        attributes=attributes,
        edges=edges,
        topology=topology,
        directed=directed,
        units=units,
        time_unit=time_unit,
        dt=dt,
        relative_time=relative_time,
        split=split,
    )


# ---- doors ------------------------------------------------------------------------------------


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


def _particles(system: Any, network: Mapping[str, Any], options: dict[str, Any]) -> xr.Dataset:
    from .data.particles import simulate_particles

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


def _datasets(data: Any) -> list[Any] | None:
    """The datasets meant by ``data`` of `train`: one or several, or paths of such."""
    if data is None:
        return None
    many = [_dataset(one) for one in (data if isinstance(data, list | tuple) else [data])]
    if not many:
        raise InvalidData("there are no datasets", got="an empty list", allowed="at least one")
    return many


def _dataset(data: Any) -> xr.Dataset:
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


def _start_model(start: Any) -> Any:
    """The model to go on from; the name of a start of the simulation is told apart."""
    from .systems.starts import STARTS

    if isinstance(start, str) and start in STARTS and not os.path.exists(start):
        raise InvalidOption(
            "start= of train is a model to go on from, and this is a start of the simulation",
            got=f"start={start!r}",
            allowed="a Model, a Result or the path of one",
            fix=f"data = simulate(system, start={start!r}); train(data=data)",
        )
    return as_model(start)


def _own_system(start: Any) -> str:
    """The system that a start model was trained on."""
    if not start.system:
        raise InvalidOption(
            "the start model was trained on given data, so there is nothing to simulate",
            got="no system, no data",
            allowed="finetune(model, data=ds) or finetune(model, system=...)",
        )
    return start.system


def _refuse_julia(engine: str, why: str) -> None:
    """Particles know one engine; another is refused, saying why."""
    from .engines import NAMES

    if engine not in ("auto", *NAMES):
        raise unknown_name("engine", engine, ("auto", *NAMES))
    if engine == "julia":
        raise InvalidOption(
            f"particles are {why}; the Julia engine has networks alone",
            got='engine="julia"',
            allowed='engine="auto" or "torch"',
            fix="leave engine out",
        )


def _refuse_simulation(options: Mapping[str, Any], datasets: Sequence[Any]) -> None:
    """Given data are not simulated: no keyword may say how, and no other system may be named."""
    for name in _SIMULATION:
        if name in options and _was_given(name, options[name]):
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
    from .particle_schema import is_particle_dataset

    if not isinstance(ds, xr.Dataset):
        return ""
    plain = ("coulomb" if schema.CHARGE in ds else "gravity") if is_particle_dataset(ds) else ""
    return str(schema.record(ds).get("system", plain))


def _was_given(name: str, value: Any) -> bool:
    """Whether a keyword of `train` has a value other than its default."""
    usual = inspect.signature(train).parameters
    default = usual[name].default if name in usual else None
    if value is None or value is default or (isinstance(value, Mapping) and not value):
        return False
    return not (isinstance(value, int | float | str) and value == default)


def _refuse_other_model(start: Any, model: str | None, particles: bool) -> None:
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


def _particles_meant(system: Any, datasets: Sequence[Any] | None) -> bool:
    """Whether particles are to be trained: by the data, else by the system."""
    from .particle_schema import is_particle_dataset
    from .systems.registry import get

    if datasets is not None:
        return is_particle_dataset(datasets[0])
    return system is not None and get(system).body == "particle"


def _particle_options(options: Mapping[str, Any], function: Any) -> dict[str, Any]:
    """Of the keywords of `train` those that were given, checked against those of ``function``."""
    known = inspect.signature(function).parameters
    usual = inspect.signature(train).parameters
    _refuse_julia(options["engine"], "trained in torch")
    given = {}
    for name, value in options.items():
        if name in ("unknown", "engine") or (name in usual and not _was_given(name, value)):
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
    from .data.particles import simulate_particles

    return [name for name in inspect.signature(simulate_particles).parameters if name != "system"]


def _refuse(unknown: Mapping[str, Any], function: Any) -> None:
    """Keywords that `simulate` and `train` do not have for networks."""
    if not unknown:
        return
    from .particle_fitting import train_particles

    own = _simulation_of_particles()
    if function is train:
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
