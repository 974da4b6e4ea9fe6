"""Datasets of networks, simulated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from ..config import positive, whole
from ..datasets.names import NODE, TRAJECTORY
from ..datasets.reading import numbers
from ..datasets.split import split_trajectories
from ..errors import InvalidData
from ..systems.registry import get
from ..version import __version__
from . import engines, schema
from .delays import with_drawn_delays
from .generate import Generated, generate
from .generate_tasks import generate_over
from .graphs.drawn_weights import weights_in_time, with_drawn_weights
from .graphs.topology import names_in, resolve
from .system_types import arrays_by_type, one_noise
from .unit_norm import with_unit_norm

_LABELS = np.array(["train", "validation"])


def simulate_network(
    system: Any,
    *,
    nodes: int | None,
    topology: Any,
    edge_weight: Any = None,
    delay: Any = None,
    graphs: int,
    graph_seed: int,
    parameters: Mapping[str, Any] | None,
    trajectories: int,
    steps: int | None,
    dt: float | None,
    seed: int,
    noise: float,
    split: float | None,
    control: Any,
    initial: Any = None,
    tolerance: float,
    engine: str,
    client: Any = None,
) -> xr.Dataset:
    """See `pympnode.simulate`."""
    system = get(system)
    topology = system.default_topology if topology is None else topology
    named = isinstance(topology, str | tuple)
    count = nodes if nodes is not None else (system.default_nodes if named else None)
    seed, trajectories = whole("seed", seed, 0), whole("trajectories", trajectories)
    graph = resolve(topology, count, graphs=graphs, graph_seed=graph_seed, system=system)
    in_time = weights_in_time(graph, edge_weight, graph_seed)
    if in_time is None:
        graph = with_drawn_weights(graph, edge_weight, graph_seed)
    step = system.dt if dt is None else positive("dt", dt)
    graph = with_drawn_delays(graph, delay, graph_seed, step)
    weighted = graph.weight is not None or in_time is not None or graph.delay is not None
    chosen, why = engines.choose(engine, weighted=weighted)
    solve, solver = engines.solver_for(chosen, system)
    if in_time is not None:
        solve, solver = None, "the solver in Python: weights of edges vary in time"
    if initial is not None:
        initial = numbers("initial", initial)
        if initial.ndim != 3 or not len(initial):
            raise InvalidData(
                "initial states have the wrong shape",
                got=initial.shape,
                allowed=f"(trajectory, node, {system.features}): (trajectory, node, feature)",
                fix="one trajectory is initial[None]",
            )
        trajectories = len(initial)
    # Noise is added to the features of each type, not to those that they are computed from.
    of_types = one_noise(noise) if system.node_types else None
    words: dict[str, Any] = dict(
        steps=steps, dt=dt, controls=control, initial=initial,
        noise=noise if of_types is None else 0.0, tolerance=tolerance, solve=solve,
        edge_weight=in_time,
    )  # fmt: skip
    if client is None:
        made = generate(system, graph, parameters, trajectories, None, seed, **words)
    else:
        made = generate_over(client, system, graph, parameters, trajectories, seed, **words)
    label = None
    if split is not None:
        label = _LABELS[split_trajectories(trajectories, split, seed)]
    scalars = {n: v for n, v in made.parameters.items() if np.ndim(v) == 0}
    shaped = {
        name: (system.parameter_dims(name, value, graph), value)
        for name, value in made.parameters.items()
        if np.ndim(value)
    }
    arrays = schema.Arrays(
        made.x, made.time, made.graph, made.graph_of, made.u, made.attribute,
        edge_weight=made.edge_weight,
    )  # fmt: skip
    names_and_units: dict[str, Any] = dict(
        features=system.feature_names,
        units=[v.unit for v in system.state for _ in range(v.components)],
        controls=system.control_names or None,
        attributes=made.attribute_names or None,
    )
    if of_types is not None:
        arrays, names_and_units = arrays_by_type(system, arrays, of_types, seed)
    ds = schema.unpack(
        arrays,
        **names_and_units,
        split=label,
        parameters=shaped,
        about={
            "kind": "simulation",
            "system": system.name,
            "parameters": scalars,
            "topology": list(graph.source),
            "graph_seed": graph_seed,
            "seed": seed,
            "noise": np.asarray(noise, np.float64).tolist(),
            "solver": made.method,
            **_solved(made),
            "engine": chosen,
            "engine_why": f"{why}; {solver}",
            "version": __version__,
        },
    )
    if system.unit_norm:
        ds = with_unit_norm(ds, *system.unit_norm)
    for variable in system.of_trajectory:
        attrs = {} if variable.unit == "1" else {"units": variable.unit}
        ds[variable.name] = (TRAJECTORY, made.of_trajectory[variable.name], attrs)
    names = names_in(topology) if of_types is None else None
    return ds if names is None else ds.assign_coords({NODE: names})


def _solved(made: Generated) -> dict[str, Any]:
    """What the record says of the solver, or of the draws of a system that simulates itself."""
    if made.draws is not None:
        return {"draws": made.draws}
    return {"tolerance": made.tolerance, "evaluations": made.evaluations}
