"""The front door: keywords to objects. Each function here is re-exported by `pympnode`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from .config import precision, whole
from .datasets.names import Missing
from .errors import InvalidOption
from .given import (
    as_model,
    dataset_of,
    datasets_of,
    particle_options,
    particles_meant,
    refuse_julia,
    refuse_other_model,
    refuse_simulation,
    refuse_unknown,
    simulated_particles,
    start_of,
    system_of_start,
)
from .networks.model import Model
from .networks.model_file import load as load_model
from .training.result import Result

StartModel = Model | Result | str | os.PathLike[str]


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
    `pympnode.particles.simulate.simulate_particles`.
    Returns: an `xarray.Dataset` as `pympnode.networks.schema` describes it, float64, each feature in the unit
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
        refuse_julia(engine, "simulated by compiled steps of Python")
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
        return simulated_particles(given, network, {**options, **unknown})
    refuse_unknown(unknown, simulate)
    from .networks.simulate import simulate_network

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
    missing: Missing = "error",
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
        data: given data instead: a dataset that `pympnode.networks.schema.validate` accepts, several of them
            (sizes may differ), or the path of one. Keywords that say how to simulate are then
            refused, and so is a system other than that of the data.
        preset: "fast" (default) or "paper", the published configuration.
        epochs, updates or time_budget: how long; a budget is seconds or "10m".
        start: a Model, a Result or a path to go on from (see `finetune`).
        run: a folder for checkpoints and results; the same call continues where it stopped.
    Model: ``model`` ("mpnode", "l2s", "node"), ``message_size``, ``hidden``, ``depth``,
        ``aggregation``, ``messages``, ``coupling``, ``first_message``, ``solver``, ``substeps``: see
        `pympnode.networks.spec.ModelSpec`; what is not given comes from the preset or from ``start``.
    Run: ``batch_size``, ``learning_rate``; ``members`` trains an ensemble of that many, side by side
        from different weights and batches: history, weights and rollouts have a dim "member";
        ``engine`` ("auto", "torch", "julia"), ``kernel`` ("auto", "numba", "torch", "eager"),
        ``device`` ("auto", "cpu", "cuda"), ``dtype`` ("float32", "float64"); ``missing="mask"`` takes
        NaN in `state` as missing; ``normalisation`` "keep" or "refit" when there is a start.
    Particle systems ("gravity", "coulomb") and particle datasets take ``particles``, ``model``
        ("hierarchical_deltagn", "hierarchical_hogn", "deltagn", "hogn", "nearest_deltagn") and the
        options of `pympnode.particles.fitting.train_particles`.
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
    datasets = datasets_of(data)
    if datasets is not None:
        refuse_simulation(options, datasets, train)
    start_model = None if start is None else start_of(start)
    if start_model is not None and system is None and datasets is None:
        options["system"] = system = system_of_start(start_model)
    particles = particles_meant(system, datasets)
    if start_model is not None:
        refuse_other_model(start_model, model, particles)
    if particles:
        from .particles.fitting import train_particles

        options |= {"data": datasets, "start": start_model}
        return train_particles(**particle_options(options, train_particles, train))
    refuse_unknown(unknown, train)
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
    from .networks.fitting import fit
    from .networks.simulate import simulate_network

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
    return train(system, start=start_of(start), **options)


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
    `pympnode.networks.evaluate`. Raises `InvalidData` for data that the model does not fit, and warns
    `OutsideTrainingRange` with the numbers. For particle models see
    `pympnode.particles.evaluate.evaluate_particles`: over ``horizons``, 20 and 200 steps by
    default, beside free flight and constant acceleration. What belongs to the other half
    (``threshold``, ``system``, ``horizons``) is refused with `InvalidOption`.
    """
    model = as_model(model)
    if not isinstance(model, Model):
        from .particles.evaluate import evaluate_particles
        from .particles.metrics import HORIZONS

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
        return evaluate_particles(model, dataset_of(data), horizons=wanted)
    if horizons is not None:
        raise InvalidOption(
            "horizons belong to models of particles",
            got=f"horizons={horizons!r} for a model of networks",
            allowed="errors over time stand in the result",
            fix="leave horizons out",
        )
    from .networks.evaluate import evaluate_model

    end = 0.4 if threshold is None else threshold
    return evaluate_model(model, dataset_of(data), threshold=end, system=system)


def load(path: str | os.PathLike[str]) -> Model:
    """The model in a file written by ``model.save``, or in a run folder.

    Raises `MissingFile`, or `FileDamaged` when the file is cut short, fails a checksum or is no
    model.
    """
    return load_model(path)
