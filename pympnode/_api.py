"""The public functions: which half, typed options, then hand on. `pympnode` re-exports each."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import xarray as xr

from .config import arguments, flag, whole
from .config import path as path_of
from .datasets.names import Missing
from .errors import InvalidOption, shown_value
from .half import TrainedModel
from .halves import (
    as_model,
    given_keywords,
    half_of_dataset,
    half_of_model,
    half_of_system,
    known_keywords,
    one_dataset,
    other,
    refuse_name_of_start,
    refuse_other_half,
    refuse_other_model,
    refuse_other_split,
    refuse_simulation,
    several_datasets,
)
from .halves import load as load_model
from .memory import guarded
from .training.fit import fit
from .training.gradients import gradients
from .training.optimiser import OptimiserChoice
from .training.result import Result
from .uncertainty import LEVEL, check_level

if TYPE_CHECKING:
    from .networks.identified import IdentifiedEquations

StartModel = TrainedModel | Result[Any] | str | os.PathLike[str]


@guarded
@known_keywords
def simulate(
    system: Any,
    *,
    nodes: int | None = None,
    topology: Any = None,
    edge_weight: Any = None,
    delay: Any = None,
    graphs: int | None = None,
    graph_seed: int | None = None,
    control: Any = None,
    initial: Any = None,
    noise: float | None = None,
    tolerance: float | None = None,
    engine: str | None = None,
    parameters: Mapping[str, Any] | None = None,
    trajectories: int | None = None,
    steps: int | None = None,
    dt: float | None = None,
    seed: int = 0,
    split: float | None = 0.7,
    particles: int | None = None,
    dims: int | None = None,
    start: Any = None,
    integrator: str | None = None,
    substeps: int | None = None,
    dtype: str | None = None,
    path: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    progress: Any = None,
    client: Any = None,
) -> xr.Dataset:
    """Simulate a system from random initial states.

    Main arguments:
        system: a name (`pympnode.systems.names()`) or a `System` of your own.
        nodes, topology: of networks: the number of nodes, and which are coupled: "BA",
            ("BA", {"k": 3}), a networkx graph, an edge list, an adjacency (row sends to column:
            entry [i, j] is the edge i -> j); defaults of the system. Weights of edges multiply the
            couplings.
        particles: of particles: how many, 100 by default.
        trajectories, steps, dt: number of trajectories (1000), and of time steps of length ``dt``.
        seed: initial states, controls, noise and split. Trajectory i depends on (seed, i) alone.
    Other arguments:
        edge_weight: weights drawn for a topology that has none: (low, high), uniform, the same in both
            directions of an undirected edge; or a function ``f(rng, sender, receiver)`` of the ends
            (edges,) of the directed edges of a graph, that returns their weights (edges,). They are in
            the unit that the system gives them (most: no unit) and depend on ``graph_seed`` alone.
            Weights that vary in time: an array (time, edge) in the order of the edges, or a function
            ``f(rng, sender, receiver, times)`` that returns one, each held from t_i to t_(i+1).
        delay: the time that the coupling takes from a sender to a receiver (``kuramoto``): one number,
            (low, high) drawn uniformly as weights are, or a function ``f(rng, sender, receiver)``; 0, or
            at least one step ``dt`` (smaller draws are rounded to 0 or to one step). Before time 0 the
            nodes move without coupling. Solved by fixed steps, without ``tolerance``.
        graphs, graph_seed: number of graphs drawn into one dataset (1), and their seed (42 takes
            the published instance where one is shipped).
        parameters: physics other than the published default, by name.
        noise: standard deviation of the measurement noise, in the units of the state (a number, or
            one per feature); 0.
        split: the share of the trajectories that train; None leaves the split out.
        control: inputs (trajectory, time, node, control) instead of sampled ones, each held from
            t_i to t_(i+1); without the first axis the same for all.
        initial: states (trajectory, node, feature) to start from instead of random ones; their
            number is the number of trajectories.
        tolerance: relative and absolute, of the adaptive integrator; 1e-8. Refused where another one solves.
        engine: "auto", "torch" or "julia", which integrates networks.
        path: where to write while the data are made, for what is larger than memory: of networks a Zarr
            store, "data.zarr"; of particles a folder of parts. The same call goes on after an
            interruption, and opens what is complete; another call is refused.
        dims, start, integrator, substeps, dtype, path, workers, progress: of particles; see
            `pympnode.particles.simulate.simulate_particles`.
        client: a `distributed.Client`: blocks of trajectories are tasks of a Dask cluster; the
            numbers are the same.
    Returns: an `xarray.Dataset`, float64: `state` (trajectory, time, node, feature), each feature in
        the unit that the coordinate ``unit`` names; of particles `position` and `velocity`
        (trajectory, time, particle, axis). See `pympnode.networks.schema`, `particles.schema`.
    Raises: `UnknownName`, `InvalidOption`, `InvalidGraph`, `InvalidData` (controls, a field of the
        wrong shape), `IntegrationFailed` (trajectory, node, feature, time), `NotEnoughMemory`.

    >>> ds = simulate("lorenz", nodes=3, trajectories=4, steps=10, seed=1)
    >>> ds.state.shape
    (4, 11, 3, 3)
    """
    half = half_of_system(system)
    given = given_keywords(
        dict(
            nodes=nodes,
            topology=topology,
            edge_weight=edge_weight,
            delay=delay,
            graphs=graphs,
            graph_seed=graph_seed,
            control=control,
            initial=initial,
            noise=noise,
            tolerance=tolerance,
            engine=engine,
            parameters=parameters,
            trajectories=trajectories,
            steps=steps,
            dt=dt,
            seed=seed,
            particles=particles,
            dims=dims,
            start=start,
            integrator=integrator,
            substeps=substeps,
            dtype=dtype,
            path=path,
            workers=workers,
            progress=progress,
            client=client,
        )
    )
    refuse_other_half(given, half, half.Simulation, other(half).Simulation)
    return half.simulate(system, half.Simulation(**given, split=split))


@guarded
@known_keywords
def train(
    system: Any = None,
    *,
    data: xr.Dataset | Sequence[xr.Dataset] | str | os.PathLike[str] | None = None,
    nodes: int | None = None,
    topology: Any = None,
    edge_weight: Any = None,
    node_codes: int | None = None,
    partition: Any = None,
    delay: Any = None,
    graphs: int | None = None,
    graph_seed: int | None = None,
    noise: float | None = None,
    particles: int | None = None,
    dims: int | None = None,
    parameters: Mapping[str, Any] | None = None,
    trajectories: int | None = None,
    steps: int | None = None,
    dt: float | None = None,
    seed: int | None = None,
    split: float | None = None,
    missing: Missing | None = None,
    chunks_in_memory: int | None = None,
    window: float | None = None,
    max_window: float | None = None,
    matching: float | None = None,
    model: Any = None,
    message_size: int | None = None,
    hidden: int | None = None,
    depth: int | None = None,
    aggregation: str | None = None,
    messages: str | None = None,
    mass_coupling: str | None = None,
    kicks: int | None = None,
    mass: str | None = None,
    fixed_mass: int | str | None = None,
    message: Any = None,
    coupling: str | None = None,
    first_message: str | None = None,
    solver: str | None = None,
    substeps: int | None = None,
    behaviour: str | None = None,
    levels: int | None = None,
    neighbours: int | None = None,
    edge_width: int | None = None,
    node_width: int | None = None,
    global_width: int | None = None,
    inputs: str | None = None,
    integrator: str | None = None,
    conserve_momentum: bool | None = None,
    update: Any = None,
    augment: bool | None = None,
    mixed_levels: bool | None = None,
    circular: Any = None,
    ignore_weights: bool | None = None,
    relative: str | Sequence[str] | None = None,
    invariant: str | Sequence[str] | None = None,
    antisymmetric: bool | None = None,
    linear_path: bool | None = None,
    delay_start: float | None = None,
    start: StartModel | None = None,
    normalisation: str | None = None,
    preset: str | None = None,
    epochs: int | None = None,
    updates: int | None = None,
    time_budget: float | str | None = None,
    batch_size: int | None = None,
    micro_batch: int | None = None,
    optimiser: OptimiserChoice | None = None,
    loss: Any = None,
    learning_rate: float | None = None,
    retry_diverged: bool | None = None,
    members: int | None = None,
    engine: str | None = None,
    kernel: str = "auto",
    recompute: bool | None = None,
    device: str = "auto",
    dtype: str = "float32",
    precision: str | None = None,
    run: str | os.PathLike[str] | None = None,
    extend: int | None = None,
    config: Any = None,
    callbacks: Any = None,
    progress: bool = True,
) -> Result[Any]:
    """Train a simulator of a networked system or of particles.

    Keywords that are not given take the value of ``start``, of the system or of the preset.

    Main arguments:
        system: simulate the data of this system: a name (`pympnode.systems.names()`) or a `System`.
        data: train on given data instead: a dataset, a list of datasets (sizes may differ), or the
            path of one; a dataset may also come first, ``train(ds)``. Keywords that say how to
            simulate are then refused, and so are a system other than that of the data and a
            ``split`` (0.7) other than that of their labels. One trajectory alone is split in time: its
            first 70 % (``split``) train.
        preset: "fast", the best that was measured, or "paper", the published configuration.
        epochs, updates, time_budget: how long: passes over the data, steps of the optimiser, or a
            time, in seconds or as "10m"; one of them.
        start: a model, a `Result` or a path to train on from, see `finetune`.
        run: a folder for checkpoints and results; the same call continues where it stopped.
        extend: the same call with ``extend=40`` adds 40 epochs to the finished run in the folder, from
            its last weights and the state of its optimiser, with the longest windows. A cosine
            schedule begins anew over these epochs at half its rate; other schedules go on.
        seed: of initial states, controls, noise, split, first weights and batches; 0.
    Simulated data:
        nodes, topology, edge_weight, delay, graphs, graph_seed, parameters: as in `simulate`.
        particles, dims, trajectories, steps, dt, noise, split: as in `simulate`. Particles have
            20,000 / particles trajectories by default, 20 to 1000.
    Given data:
        missing: "mask" takes NaN in `state` as missing; "error" (default) refuses NaN.
        chunks_in_memory: read any store, folder of parts or Dask arrays chunk by chunk, and hold at
            most that many chunks, 3 or more: a third in use, a third that a thread reads meanwhile,
            the rest as the sample for what looks at all data otherwise (``history.attrs["data"]``
            names it). Dask arrays, and stores of more than 1 GiB, are always read so.
        ignore_weights: True leaves out the weights and attributes of edges. Otherwise weights multiply
            messages, and pairwise messages take attributes.
        circular: names of the features that are positions on a circle, see `from_arrays`.
        normalisation: with a ``start``, "keep" its normalisation, or "refit" it to the new data.
        partition: divide the nodes of one large graph, in place of the trajectories, among the
            processes of torchrun: "auto", "metis", "blocks", or the number of a process for each node,
            (node,). See the how-to on clusters.
    Model of networks:
        model: "mpnode", "l2s" or "node"; a `pympnode.ModelSpec`, whose widths are those of the data
            and whose other fields are taken as they are; or a `torch.nn.Module` of your own, whose
            forward(x, edge_index) is dx/dt, see `pympnode.register_module`.
        message_size, hidden, depth, aggregation, messages, coupling, first_message: fields of
            `pympnode.ModelSpec`, where ``message_size`` is called ``message``.
        solver, substeps: the method of one time step, and the number of its equal parts.
        linear_path: a linear map of the inputs beside the network of a node, which starts as the best
            linear field.
        relative, invariant: names of features that enter pairwise messages (``relative``) or the whole
            model (``invariant``; with emitted messages not at all) as differences only.
        antisymmetric: pairwise messages of opposite sign in the two directions of an edge.
        message, update: modules of your own for a message (of receiver, sender and edge) and for the
            change of a node by what it receives, see `pympnode.networks.own_module.MessagePassing`.
        node_codes: that many numbers for each node are learned with the model. They are attributes of
            the node that are not measured (`Model.node_code`, `Model.infer`).
    Learned graphs and delays:
        topology: "learn" learns the graph, with weights that are not negative, whatever graph the data
            have: ``model.graph`` holds the edges that were kept, ``model.edge_scores`` (receiver, sender)
            all pairs, see `pympnode.networks.unknown_graph`. "learn each" learns a graph of each
            trajectory (``edge_scores`` (trajectory, receiver, sender)), with functions that all share.
        edge_weight: "learn" learns a positive weight for each given edge, kept in ``model.graph``.
        delay: messages are computed from the senders' states that long ago, in the unit of time of
            the data (data with ``edge_delay`` bring their own). "learn" learns one delay for all edges,
            "learn per edge" one for each, between one step and half of a trajectory, 40 steps at most.
        delay_start: the time at which the learning of delays begins; 3 time steps.
    Model of particles:
        model: "hogn", "deltagn", "hierarchical_deltagn", "hierarchical_hogn", "nearest_deltagn", or a
            `pympnode.ParticleSpec`. By default "deltagn" for up to 100 particles and
            "hierarchical_deltagn" for more; where the law of the forces is known both have
            ``messages="radial"``, central forces, and "deltagn" serves up to 1,000.
        behaviour, levels, neighbours, inputs, integrator, update, messages: fields of
            `pympnode.ParticleSpec`.
        edge_width, node_width, global_width, conserve_momentum, mass_coupling, kicks: the same.
        mass: "learned" learns the masses of all particles but one, and does not use those in the data;
            see `ParticleModel.learned_mass`.
        fixed_mass: the particle whose mass is not learned, a label or number; by default the heaviest
            of the data, the first of several. The others begin at its mass, from where training finds
            smaller ones, so it should be a heavy one.
        augment: rotated and reflected states in training.
        mixed_levels: one level of cells more in every second update.
    Training:
        config: a `pympnode.TrainConfig`: every field of the run, in place of those of the preset;
            keywords replace its fields.
        batch_size: trajectories, or states of particles, in an update.
        micro_batch: of particles: how many of them are computed at a time.
        optimiser: "soap", the default of "fast", "adam", that of "paper", or a callable that makes one
            from the layout of the weights, see `pympnode.training.optimiser.Optimiser`.
        learning_rate: the highest one of the schedule.
        loss: "huber", the default of networks, "mse", that of particles, "gaussian", which also
            estimates the measurement noise (`Model.noise`), one of `pympnode.losses` with numbers of
            each feature, or a function of predicted and true states. Gradient matching is then left out.
        window, max_window: of networks, in the unit of time of the data: the length of all windows of
            trajectories that training rolls out, or of the longest ones, where the curriculum of
            shorter ones ends (n time steps are n * dt; inf is the whole trajectory). By default whole
            trajectories of up to 200 intervals; longer ones in windows that end at four memories of
            the data, 10 to 200 intervals; ``history.attrs["windows"]`` says which.
        matching: of networks: the share of the updates, before those windows, that fit the vector
            field to derivatives of the data without rollouts; 0.8 of "fast" unless ``epochs`` or
            ``loss`` is given, 0 of "paper". Not for messages that are ODE states, for controls, uneven
            time grids, and data too noisy or too coarse.
        retry_diverged: True lets a run that diverges go back to its best weights once, at half the rate.
        members: train an ensemble of that many side by side, from different weights and batches:
            history, weights and rollouts have a dim "member".
    Computing:
        engine: "auto", "torch", or, for networks, "julia".
        kernel: "auto", "numba", "torch" or "eager".
        device: "auto", "cpu", "cuda", or one of several, "cuda:1".
        dtype: of the weights, "float32" or "float64".
        precision: of particles: "bf16" for the products over edges.
        recompute: of particles: less memory, more time.
    Watching:
        callbacks: objects or functions that are called at the start, after every update and epoch and
            at the end, and may end the run: early stopping, CSV, TensorBoard, Weights & Biases,
            pruning by Optuna (`pympnode.callbacks`).
        progress: a bar in a terminal or a notebook, and elsewhere a line a minute through `logging`
            (logger "pympnode.training.progress").
    Returns: a `Result` with the model, the history and how the run ended.
    Raises: `UnknownName`, `InvalidOption`, `InvalidData`, `InvalidGraph`, `EngineUnavailable`,
        `RunLocked`, each with got, allowed, fix; KeyboardInterrupt in a script.

    >>> ds = simulate("kuramoto", nodes=4, topology="ring", trajectories=8, steps=5)
    >>> result = train(data=ds, epochs=1, kernel="eager", progress=False)
    >>> result.status, result.model.trained.nodes
    ('completed', (4, 4))
    """
    if holds_datasets(system):  # train(ds)
        if data is not None:
            half_of_system(system)  # refuses what is no system
        system, data = None, system
    given = given_keywords(
        dict(
            nodes=nodes,
            topology=topology,
            edge_weight=edge_weight,
            node_codes=node_codes,
            partition=partition,
            delay=delay,
            graphs=graphs,
            graph_seed=graph_seed,
            noise=noise,
            particles=particles,
            dims=dims,
            parameters=parameters,
            trajectories=trajectories,
            steps=steps,
            dt=dt,
            seed=seed,
            split=split,
            missing=missing,
            chunks_in_memory=chunks_in_memory,
            window=window,
            max_window=max_window,
            matching=matching,
            model=model,
            message_size=message_size,
            hidden=hidden,
            depth=depth,
            aggregation=aggregation,
            messages=messages,
            mass_coupling=mass_coupling,
            kicks=kicks,
            mass=mass,
            fixed_mass=fixed_mass,
            message=message,
            coupling=coupling,
            first_message=first_message,
            solver=solver,
            substeps=substeps,
            behaviour=behaviour,
            levels=levels,
            neighbours=neighbours,
            edge_width=edge_width,
            node_width=node_width,
            global_width=global_width,
            inputs=inputs,
            integrator=integrator,
            conserve_momentum=conserve_momentum,
            update=update,
            augment=augment,
            mixed_levels=mixed_levels,
            circular=circular,
            ignore_weights=ignore_weights,
            relative=relative,
            invariant=invariant,
            antisymmetric=antisymmetric,
            linear_path=linear_path,
            delay_start=delay_start,
            normalisation=normalisation,
            preset=preset,
            epochs=epochs,
            updates=updates,
            time_budget=time_budget,
            batch_size=batch_size,
            micro_batch=micro_batch,
            optimiser=optimiser,
            loss=loss,
            learning_rate=learning_rate,
            retry_diverged=retry_diverged,
            members=members,
            engine=engine,
            kernel=kernel,
            recompute=recompute,
            device=device,
            dtype=dtype,
            precision=precision,
            config=config,
            callbacks=callbacks,
            progress=progress,
        )
    )
    extend = 0 if extend is None else whole("extend", extend)
    if extend and run is None:
        raise InvalidOption(
            "extend adds epochs to the run in a folder",
            got=f"extend={extend} without run=",
            allowed="the call that made the run, with run= and extend=",
            fix="name the folder with run=, or train longer with epochs=",
        )
    if run is not None:
        run = path_of("run", run)
    if run is not None and run.is_file():
        raise InvalidOption(
            "run is a folder, and this is a file",
            got=repr(str(run)),
            allowed="a folder that is there or will be made",
            fix="run is where checkpoints go; result.model.save(path) writes one file",
        )
    lazy = True if chunks_in_memory is not None else None
    datasets = several_datasets(data, lazy=lazy, divided=partition is not None)
    start_model = None
    if start is not None:
        refuse_name_of_start(start)
        start_model = as_model(start)
        if system is None and datasets is None:
            system = _system_of_start(start_model)
    if datasets is not None:
        half = half_of_dataset(datasets[0])
        refuse_simulation(half, given, system, datasets)
        refuse_other_split(split, datasets)
    elif system is not None:
        half = half_of_system(system)
    else:
        raise InvalidOption(
            "train needs a system or data",
            got="neither",
            allowed='train(system="kuramoto") or train(data=ds)',
            fix='pass system="kuramoto", or data=ds',
        )
    if start_model is not None:
        refuse_other_model(start_model, model, half)
    refuse_other_half(given, half, half.Training, other(half).Training)
    options = half.Training(**given)
    with gradients():
        prepared = half.prepare(system, datasets, options, start_model)
        return fit(
            prepared,
            run=run,
            progress=options.progress,
            extend=extend,
            callbacks=options.callbacks,
        )


def finetune(start: StartModel, system: Any = None, **options: Any) -> Result[Any]:
    """Train on from a model: ``train(start=...)``, with the system of the start by default.

    start: a model, a `Result` or the path of a saved model. Its weights and normalisation are kept
        (``normalisation="refit"`` fits the normalisation to the new data).
    system: a name or a `System` to simulate new data of; or ``data=``, as in `train`.
    options: keywords of `train`, except another ``model``.
    Returns: a `Result`, whose ``restored_tensors`` names the tensors that were taken from the start.
    Raises: what `train` raises, and `MissingFile` or `FileDamaged` for a path.
    """
    refuse_name_of_start(start)
    return train(system, start=as_model(start), **options)


@guarded
def evaluate(
    model: StartModel,
    data: xr.Dataset | str | os.PathLike[str],
    *,
    threshold: float | None = None,
    system: Any = None,
    horizons: Sequence[int] | None = None,
    ignore_weights: bool | None = None,
) -> xr.Dataset:
    """Errors of a model's rollouts on a dataset, beside simple baselines.

    Main arguments:
        model: a model, a `Result` or the path of a saved model.
        data: a dataset, or the path of one.
    Other arguments:
        threshold: of networks: the error, in z units, that ends the valid prediction time; 0.4.
        system: of networks: the system whose observables and equations are used; by default the
            registered one that the data name.
        ignore_weights: of networks: leave out the weights of edges, which a model that was trained
            without them refuses otherwise.
        horizons: of particles: the numbers of steps whose errors are returned; 20 and 200.
    Returns: of networks a dataset over ``predictor``: "model", "persistence", and "uncoupled", the true
        system without coupling, where the system is known. It holds root mean square errors in
        physical units and in z units, in total, by feature, over time and by trajectory; the training
        loss; the valid prediction time; and errors of the system's observables. See
        `pympnode.networks.evaluate`. Of particles errors over ``horizons``, beside free flight and
        constant acceleration, see `pympnode.particles.evaluate.evaluate_particles`.
    Raises: `InvalidData` for data that do not fit the model, `InvalidOption` for a keyword of the other
        kind of model. Warns `OutsideTrainingRange` with the numbers.
    """
    model = as_model(model)
    half = half_of_model(model)
    given = given_keywords(
        dict(threshold=threshold, system=system, horizons=horizons, ignore_weights=ignore_weights)
    )
    refuse_other_half(given, half, half.Evaluation, other(half).Evaluation)
    return half.evaluate(model, one_dataset(data), half.Evaluation(**given))


@arguments(level=check_level, readings=flag)
def interval(
    prediction: xr.Dataset,
    level: float = LEVEL,
    *,
    readings: bool = False,
    variable: str | None = None,
) -> xr.DataArray:
    """Central intervals of a rollout, which hold the true state with a given probability.

    prediction: a rollout, or an evaluation, of an ensemble or of a calibrated model.
    level: the probability, between 0 and 1.
    readings: True for intervals that hold a reading of the state, measurement noise included.
    variable: of particles "position" (the default) or "velocity".
    Returns: (bound, trajectory, time, node, feature), bounds "lower" and "upper", in the units of the
        features; of particles (bound, trajectory, time, particle, axis). The distribution is normal
        about the mean of the members. Its standard deviation is that of a calibrated model, or the
        spread of the members where it was not calibrated: the attribute ``calibrated`` is 0 then, and
        such intervals are mostly too narrow.
    Raises: `InvalidData` for predictions without a spread, and for nodes of several types;
        `InvalidOption`.
    """
    half = half_of_dataset(prediction)
    if half.body == "particle":
        from .particles.uncertainty import interval as of_particles

        chosen = "position" if variable is None else variable
        return of_particles(prediction, level, readings=readings, variable=chosen)
    if variable is not None and not (isinstance(variable, str) and variable == "state"):
        raise InvalidOption(
            "variable is of particles, and these are networks",
            got=shown_value(variable, 80),
            allowed='"state"',
            fix="interval(...).sel(feature=...)",
        )
    from .networks.uncertainty import interval as of_networks

    return of_networks(prediction, level, readings=readings)


@guarded
def identify(
    model: StartModel,
    data: xr.Dataset | str | os.PathLike[str] | None = None,
    *,
    library: Sequence[str] = ("polynomial", "difference", "sine", "hill"),
    degree: int = 3,
    node_terms: Mapping[str, Callable[..., Any]] | None = None,
    pair_terms: Mapping[str, Callable[..., Any]] | None = None,
    tolerance: float = 0.5,
    optimiser: Any = None,
    samples: int = 500,
    seed: int = 0,
) -> IdentifiedEquations:
    """Equations of a trained network model: dx_i/dt = F(x_i) + sum over senders j of w_ij h(x_i, x_j).

    F and h are sparse sums of candidate terms, fitted together to the model's derivatives at states of the
    data by pysindy (``pip install 'pympnode[identify]'``). Only nodes of different degrees tell a function of
    x_i in h from one in F; so graphs with equal degrees and models with ``aggregation="mean"`` are refused.

    Main arguments:
        model: a network model, a `Result` or the path of a saved model. data: a dataset, or its path, whose
            states, graphs, controls and node attributes are taken; without it the model's system is simulated
            on its default graph.
        library: families of candidates, of "polynomial" (of a node up to ``degree``, of a pair up to 2),
            "difference" (x_j - x_i), "sine" (of features and of differences) and "hill" (x / (1 + x) and
            x^2 / (1 + x^2), of features that are never negative).
        node_terms, pair_terms: further candidates by the text that stands for them: ``f(x)`` with x (...,
            variable), features followed by controls and node attributes, and ``f(x_i, x_j)`` with (...,
            feature) each; both return (...).
    Other arguments:
        tolerance: fewest terms whose error at states that are not fitted is at most 1 + tolerance times the
            smallest. optimiser: one of pysindy, such as ``pysindy.STLSQ(threshold=0.05)``, whose terms are
            taken as they are; candidates and derivatives are over their root mean squares. By default
            candidates are removed one by one (``pysindy.SSR``) and added one by one (``pysindy.FROLS``).
        samples: number of states of the whole network. seed: of their choice.
    Returns: an `IdentifiedEquations`: ``text``, ``latex``, ``terms``, ``system`` (for `simulate`),
    ``field_error`` and ``pair_error``.
    Raises: EngineUnavailable (no pysindy), InvalidModel (no sum over pairs), InvalidData, InvalidOption.
    """
    from .networks.identification import data_of_model, identify_model

    network: Any = as_model(model)
    if data is None:
        ds = simulate(**data_of_model(network), seed=seed)
    else:
        ds = one_dataset(data)
    return identify_model(
        network,
        ds,
        library=library,
        degree=degree,
        node_terms=node_terms,
        pair_terms=pair_terms,
        tolerance=tolerance,
        optimiser=optimiser,
        samples=samples,
        seed=seed,
    )


def load(path: str | os.PathLike[str]) -> TrainedModel:
    """The model in a file written by ``model.save``, or in a run folder: a `Model` of networks or a
    `ParticleModel`.

    Raises `MissingFile`, or `FileDamaged` when the file is cut short, fails a checksum or is no
    model.
    """
    return load_model(path)


def holds_datasets(value: Any) -> bool:
    """Whether ``value`` is a dataset, or a list of them."""
    several = value if isinstance(value, list | tuple) else [value]
    return bool(several) and all(isinstance(one, xr.Dataset) for one in several)


def _system_of_start(start: TrainedModel) -> str:
    if not start.system:
        raise InvalidOption(
            "the start model was trained on given data, so there is nothing to simulate",
            got="no system, no data",
            allowed="finetune(model, data=ds) or finetune(model, system=...)",
        )
    return start.system
