"""Datasets of networks: simulated here, or made of the user's own arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from . import __version__, engines, schema
from .data.generate import generate, split_trajectories
from .errors import InvalidData
from .graphs.graph import Graph
from .graphs.topology import resolve
from .systems.registry import get

_LABELS = np.array(["train", "validation"])


def simulate_network(
    system: Any,
    *,
    nodes: int | None,
    topology: Any,
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
    tolerance: float,
    engine: str,
) -> xr.Dataset:
    """See `pympnode.simulate`."""
    system = get(system)
    chosen, why = engines.choose(engine)
    topology = system.default_topology if topology is None else topology
    named = isinstance(topology, str | tuple)
    count = nodes if nodes is not None else (system.default_nodes if named else None)
    graph = resolve(topology, count, graphs=graphs, graph_seed=graph_seed, system=system)
    made = generate(
        system,
        graph,
        parameters,
        trajectories,
        None,
        seed,
        steps=steps,
        dt=dt,
        controls=control,
        noise=noise,
        tolerance=tolerance,
    )
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
        made.x, made.time, made.graph, made.graph_of, made.u, made.attribute
    )
    return schema.unpack(
        arrays,
        features=system.feature_names,
        units=[v.unit for v in system.state for _ in range(v.components)],
        controls=system.control_names or None,
        attributes=attribute_names(system, made.attribute),
        split=label,
        parameters=shaped,
        about={
            "kind": "simulation",
            "system": system.name,
            "parameters": scalars,
            "topology": list(graph.source),
            "graph_seed": graph_seed,
            "seed": seed,
            "noise": noise,
            "solver": made.method,
            "tolerance": made.tolerance,
            "evaluations": made.evaluations,
            "engine": chosen,
            "engine_why": why,
            "version": __version__,
        },
    )


def attribute_names(system: Any, attribute: np.ndarray | None) -> list[str] | None:
    """Names of a dataset's node attributes: those of the parameters they come from."""
    if attribute is None:
        return None
    names = list(system.node_attributes)
    width = attribute.shape[-1]
    if len(names) == width:
        return names
    return [f"{names[0] if names else 'b'}_{i}" for i in range(width)]


def dataset_from_arrays(
    x: Any,
    *,
    dt: float | None,
    time: Any,
    edges: Any,
    topology: Any,
    u: Any,
    node_attribute: Any,
    features: Sequence[str] | None,
    units: Sequence[str] | None,
    time_unit: str,
) -> xr.Dataset:
    """See `pympnode.from_arrays`."""
    x = np.asarray(x, dtype=np.float64)
    x = x[None] if x.ndim == 3 else x
    if x.ndim != 4:
        raise InvalidData(
            "x has the wrong number of axes",
            got=f"shape {np.shape(x)}",
            allowed="(trajectory, time, node, feature) or (time, node, feature)",
            fix="add an axis of length 1 for a single node or feature: x[..., None]",
        )
    if (dt is None) == (time is None):
        raise InvalidData(
            "give the time step or the times",
            got="both" if dt is not None else "neither",
            allowed="dt= or time=",
            fix="dt=0.05 for an even grid, time=array for an uneven one",
        )
    times = (
        np.asarray(time, dtype=np.float64)
        if dt is None
        else float(dt) * np.arange(x.shape[1], dtype=np.float64)
    )
    if times.shape != (x.shape[1],):
        raise InvalidData(
            "time does not fit x", got=times.shape, allowed=f"({x.shape[1]},)"
        )
    nodes = x.shape[2]
    if edges is not None and topology is not None:
        raise InvalidData("give edges or a topology", got="both", allowed="one of them")
    given = edges if edges is not None else topology
    if given is None:
        if nodes > 1:
            raise InvalidData(
                f"{nodes} nodes need to know who is coupled to whom",
                got="neither edges nor topology",
                allowed='edges=[(0, 1), ...] or topology="ring"',
                fix='topology="none" for nodes that are not coupled',
            )
        given = "none"
    graph: Graph = resolve(given, nodes)
    count = len(graph.nodes)
    arrays = schema.Arrays(
        x,
        times,
        graph,
        np.arange(len(x), dtype=np.int64) % count,
        None if u is None else np.asarray(u, dtype=np.float64),
        None if node_attribute is None else np.asarray(node_attribute, dtype=np.float64),
    )
    names = list(features) if features is not None else [f"x{i}" for i in range(x.shape[-1])]
    if len(names) != x.shape[-1]:
        raise InvalidData(
            "features does not fit x", got=len(names), allowed=f"{x.shape[-1]} names"
        )
    ds = schema.unpack(
        arrays,
        features=names,
        units=units,
        time_unit=time_unit,
        about={"kind": "given", "topology": list(graph.source), "version": __version__},
    )
    return schema.validate(ds, missing="mask")
