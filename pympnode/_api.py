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
            store, "data.zarr"; of particles a folder of parts. The same call goes on after an interruption, and
            opens what is complete; another call is refused.
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

    Main arguments:
        system, nodes, topology, edge_weight, particles, trajectories, steps, dt, seed, ...: the data, as in
            `simulate`. Particles default to 20,000 / particles trajectories, 20 to 1000.
        data: given data instead: a dataset, several of them (sizes may differ), or the path of one.
            Keywords that say how to simulate are then refused, and so are a system other than that
            of the data and a ``split`` (0.7) other than that of their labels. A dataset may also come first: ``train(ds)``. Dask arrays, and stores of more
            than 1 GiB, are read chunk by chunk.
            One trajectory alone is split in time: the first 70 % (``split``) train.
        preset: "fast" (default), the best measured, or "paper", the published configuration.
        epochs, updates or time_budget: how long; a budget is seconds or "10m".
        window, max_window: of networks, in the unit of time of the data: the length of all windows
            of trajectories that training rolls out, or of the longest ones, where the curriculum of
            shorter ones ends (n time steps are n * dt; inf is the whole trajectory). By default
            whole trajectories of up to 200 intervals; longer ones in windows that end at four
            memories of the data, 10 to 200 intervals; ``history.attrs["windows"]`` says which.
        matching: of networks: the share of the updates, before those windows, that fit the vector
            field to derivatives of the data without rollouts; 0 by default. Not for messages that
            are ODE states, for controls, uneven time grids, and data too noisy or too coarse.
        start: a model, a `Result` or a path to train on from (see `finetune`).
        run: a folder for checkpoints and results; the same call continues where it stopped.
        extend: the same call with ``extend=40`` adds 40 epochs to the finished run in the folder, from
            its last weights and the state of its optimiser, with the longest windows. A cosine
            schedule begins anew over these epochs at half its rate; other schedules go on.
    Model of networks: ``model`` ("mpnode", "l2s", "node"; a `pympnode.ModelSpec`, whose
        widths are those of the data and whose other fields are taken as they are; or a `torch.nn.Module`
        of your own whose forward(x, edge_index) is dx/dt, see `pympnode.register_module`), ``message_size``, ``hidden``, ``depth``,
        ``aggregation``, ``messages``, ``coupling``, ``first_message``, ``solver``, ``substeps``,
        ``antisymmetric``, ``linear_path`` (a linear map of the inputs beside the network of a node, which
        starts as the best linear field), modules of your own for a ``message`` (of receiver, sender and edge) and for the
        ``update`` of a node by what it receives (`pympnode.networks.own_module.MessagePassing`), and the names of features that enter pairwise messages (``relative``) or the
        whole model (``invariant``; with emitted messages not at all) as differences only: see `pympnode.ModelSpec`; the rest comes from the preset or from ``start``.
    Model of particles: ``model`` ("hogn", "deltagn", "hierarchical_deltagn",
        "hierarchical_hogn", "nearest_deltagn"; by default "deltagn" for up to 100 particles and
        "hierarchical_deltagn" for more; where the law of the forces is known both have
        ``messages="radial"``, central forces, and "deltagn" serves up to 1,000; or a
        `pympnode.ParticleSpec`), ``behaviour``, ``levels``, ``neighbours``,
        ``edge_width``, ``node_width``, ``global_width``, ``inputs``, ``integrator``,
        ``conserve_momentum``, ``update``, ``messages``, ``mass_coupling``, ``kicks``: see
        `pympnode.ParticleSpec`. ``mass="learned"`` learns the masses of all particles but one
        (``fixed_mass``, a label or number; by default the heaviest of the data, the first of several);
        those of the others in the data are not used. Fix a heavy one: all begin at its mass, from
        where they find smaller ones. They are in `ParticleModel.learned_mass`.
    Run: ``config`` (a `pympnode.TrainConfig`: every field of the run, in place of those of the preset;
        keywords go before its fields, and ``seed`` is 0 without both); ``batch_size`` (trajectories, or states of particles, of which ``micro_batch`` are computed
        at a time), ``learning_rate``; ``optimiser`` ("soap", the default of "fast", "adam", that
        of "paper", or a callable that makes one from the layout of the weights, see
        `pympnode.training.optimiser.Optimiser`); ``loss`` ("huber", the default of networks, "mse", that of
        particles, "gaussian", with numbers of each feature as `pympnode.losses.Huber` and others have, or a
        function of predicted and true states; gradient matching is left out then; "gaussian" also
        estimates the measurement noise, `Model.noise`); ``retry_diverged=True`` lets a run that diverges
        go back to its best weights once, at half the rate; ``members`` trains an ensemble side by side from
        different weights and batches: history, weights and rollouts have a dim "member";
        ``engine`` ("auto", "torch", "julia"), ``kernel`` ("auto", "numba", "torch", "eager"),
        ``recompute`` (particles: less memory, more time), ``device`` ("auto", "cpu", "cuda"),
        ``dtype`` ("float32", "float64"), ``precision`` ("bf16": products over edges of particles);
        ``missing="mask"`` takes NaN in `state` as missing; ``chunks_in_memory=8`` reads any store, folder of
        parts or Dask arrays chunk by chunk and holds at most 8 (at least 3): a third in use, a third
        that a thread reads meanwhile, the rest as the sample for what looks at all data otherwise (``history.attrs["data"]``
        names it); ``ignore_weights=True`` leaves out the weights and
        attributes of edges: otherwise weights multiply messages, and pairwise messages take attributes;
        ``edge_weight="learn"`` learns a positive weight for each given edge, kept in ``model.graph``;
        ``node_codes`` numbers for each node are learned with the model and are attributes of the node that
        are not measured (`Model.node_code`, `Model.infer`);
        ``partition`` ("auto", "metis", "blocks", or a process (node,) for each node) divides the nodes of one
        large graph among the processes of torchrun, in place of the trajectories: see the how-to on
        clusters;
        ``topology="learn"`` learns the graph, with weights that are not negative, whatever graph the data
        have: ``model.graph`` holds the edges that were kept, ``model.edge_scores`` (receiver, sender) all
        pairs, see `pympnode.networks.unknown_graph`; ``topology="learn each"`` a graph of each trajectory
        (``edge_scores`` (trajectory, receiver, sender)), with functions that all share;
        ``delay``: messages are computed from the senders' states that long ago, in the unit of time of
        the data (data with ``edge_delay`` bring their own); ``delay="learn"`` learns one for all edges,
        ``"learn per edge"`` one for each, between one step and half of a trajectory, 40 steps at most,
        from ``delay_start`` on (3 steps); ``circular`` names the features that are
        positions on a circle (see `from_arrays`); ``normalisation`` "keep" or "refit" when
        there is a start; ``augment`` (rotated and reflected particles), ``mixed_levels`` (one level
        of cells more in every second update).
    Watching: ``callbacks``, objects or functions that are called at the start, after every update and
        epoch and at the end, and may end the run: early stopping, CSV, TensorBoard, Weights & Biases,
        pruning by Optuna (`pympnode.callbacks`); ``progress``: a bar in a terminal or a notebook,
        and elsewhere a line a minute through `logging` (logger "pympnode.training.progress").
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

    ``start``: a model, a `Result` or the path of a saved model. Its weights and normalisation are
    kept (``normalisation="refit"`` fits it to the new data). ``options`` are those of `train`, but
    for another ``model``; ``result.restored_tensors`` names the tensors that were taken. Returns a
    `Result`. Raises what `train` raises, and `MissingFile` or `FileDamaged` for a path.
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

    Networks: a dataset over ``predictor`` ("model", "persistence", and "uncoupled", the true system
    without coupling, where the system is known): root mean square errors in physical units and in z
    units, in total, by feature, over time and by trajectory, the training loss, and the valid
    prediction time: until the error first exceeds ``threshold`` z units (0.4); and errors in the
    system's observables. The system is the registered one that the data name, or ``system``. See
    `pympnode.networks.evaluate`. ``ignore_weights`` leaves out the weights of edges, which a model
    that was trained without them refuses. Raises `InvalidData` for data that the model does not fit, and
    warns `OutsideTrainingRange` with the numbers.

    Particles: errors over ``horizons``, 20 and 200 steps by default, beside free flight and constant
    acceleration; see `pympnode.particles.evaluate.evaluate_particles`. A keyword of the other half
    is refused with `InvalidOption`.
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
    """Central intervals of a rollout or an evaluation: (bound, trajectory, time, node, feature), bounds
    "lower" and "upper", in the units of the features.

    They hold the true state with probability ``level``, with ``readings=True`` a reading of it, measurement
    noise included. The distribution is normal about the mean of the members; its standard deviation is
    that of a calibrated model, or the spread of the members where it was not calibrated (the attribute
    ``calibrated`` is 0 then, and such intervals are mostly too narrow).

    Of a rollout of particles: (bound, trajectory, time, particle, axis) of ``variable``, "position" (the default) or
    "velocity".

    Raises `InvalidData` for predictions without a spread, and for nodes of several types; `InvalidOption`.
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
