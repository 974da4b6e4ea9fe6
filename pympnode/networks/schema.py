"""Network datasets: their variables, dims and units, and the way to plain arrays and back.

A network dataset is an `xarray.Dataset` with these variables (``state`` is required; the edges are
for more than one node; the others are optional):

==================  ==========================================  ==================================
variable            dims                                        meaning
==================  ==========================================  ==================================
``state``           trajectory, time, node, feature             what is simulated or predicted
``control``         trajectory, time, node, control_feature     held from t_i to t_(i+1); last unused
``message``         trajectory, time, node, message_component   messages of a rollout
``node_attribute``  node, attribute                             constants of the nodes
 or                 trajectory, node, attribute                 those that differ by trajectory
``sender``          edge                                        node number in its graph, from 0
``receiver``        edge                                        node number in its graph, from 0
``edge_graph``      edge                                        graph number of the edge
``edge_weight``     edge                                        factor of what the edge carries
 or                 time, edge                                  held from t_i to t_(i+1); last unused
 or                 trajectory, time, edge                      those that differ by trajectory
``edge_attribute``  edge, edge_feature                          other constants of the edges
``edge_delay``      edge                                        time from sender to receiver
``graph``           trajectory                                  graph number of the trajectory
``split``           trajectory                                  "train", "validation" or "test"
==================  ==========================================  ==================================

Coordinates: ``time`` (time,) in one unit (attribute ``units``), increasing; ``feature`` the names of
the features and ``unit`` (feature,) their units; ``node_number`` (node,) the numbers by which
``sender`` and ``receiver`` call the nodes: 0, 1, 2, ... Where nodes were selected or sorted it shows,
and `validate` refuses the dataset, because its edges would join other nodes;
`pympnode.subgraph` selects nodes and numbers the edges anew. Parameters of the physics that are arrays are
variables under their own names (``frequency``, ``coupling``); those that are numbers, and the
provenance, are in the JSON record of `pympnode.datasets.record`.

Nodes of several types have variables by type: ``state_load(trajectory, time, node_load,
feature_load)``, ``control_load``, ``message_load``, ``node_attribute_load``, with the coordinates
``unit_load`` and ``node_number_load``, for the type "load". ``sender`` and ``receiver`` number the
nodes type after type, in the order of the entry ``node_types`` of the record, or of the variables.
Types with the same features may share ``state`` and have ``node_type(node)``, the name of each node's
type, in order. See `networks.node_types`. The names above are constants of `pympnode.datasets.names`.
Particle datasets: `pympnode.particles.schema`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import (
    ATTRIBUTE,
    ATTRIBUTE_DIMS,
    CONTROL,
    CONTROL_DIMS,
    CONTROL_FEATURE,
    EDGE,
    EDGE_ATTRIBUTE,
    EDGE_DELAY,
    EDGE_FEATURE,
    EDGE_GRAPH,
    EDGE_WEIGHT,
    FEATURE,
    GRAPH,
    MESSAGE,
    MESSAGE_COMPONENT,
    MESSAGE_DIMS,
    NODE,
    NODE_ATTRIBUTE,
    NODE_NUMBER,
    OF_TYPES,
    OWN_VARIABLES,
    RECEIVER,
    SENDER,
    SPLIT,
    STATE,
    STATE_DIMS,
    TIME,
    TRAJECTORY,
    UNIT,
    WEIGHT_DIMS,
    Missing,
    texts,
)
from ..datasets.record import record, with_record
from ..datasets.times import even_times
from ..graph import Graph
from ..systems.registry import first_name, get, names
from ..training.ranges import warn_user
from .arrays import Arrays
from .dataset_checks import check_types, validate
from .missing import with_first_state
from .node_types import (
    NodeTypes,
    by_type,
    count_nodes,
    counts_of,
    cut,
    in_order,
    naming,
    part,
    plain_names,
    together,
    types_of,
)
from .variable_dims import attribute_dims, weight_dims, weights_vary

# ---- parameters of the physics, and variables of the user --------------------------------------


def parameters_of(ds: xr.Dataset, system: Any = None) -> dict[str, Any]:
    """The parameters of the physics by name: numbers of the record, arrays of the variables.

    Variables that neither the record nor ``system``, by default that of the record, names as
    parameters are the user's own and are left out.
    """
    parameters = dict(record(ds).get("parameters", {}))
    own = {*own_variables(ds, system), *_of_trajectory(ds, system), *_of_schema(ds)}
    for name in ds.data_vars:
        if name not in own:
            parameters[str(name)] = ds[name].values
    return parameters


def own_variables(ds: xr.Dataset, system: Any = None) -> list[str]:
    """Names of the variables that are part of neither the schema nor the physics: the user's own."""
    facts = record(ds)
    system = facts.get("system", "") if system is None else system
    system = first_name(system) if isinstance(system, str) else system
    physics = set(facts.get("parameter_arrays", ()))
    if not isinstance(system, str) or system in names():
        physics |= set(get(system).parameters)
    # Before version 0.2 the record of a simulation did not name the arrays.
    unnamed = facts.get("kind") == "simulation" and "parameter_arrays" not in facts

    def is_parameter(name: Any) -> bool:
        variable = ds[name]
        fits = variable.dtype.kind in "biuf" and not {TIME, TRAJECTORY} & set(variable.dims)
        return fits and (name in physics or unnamed)

    # "finite" and "learned" are those of rollouts.
    known = {*_of_schema(ds), "finite", "learned", *_of_trajectory(ds, system)}
    return [str(n) for n in ds.data_vars if n not in known and not is_parameter(n)]


def _of_schema(ds: xr.Dataset) -> set[str]:
    """Names of variables that have a meaning in the schema."""
    return {*OWN_VARIABLES, *(f"{of}_{name}" for of in OF_TYPES for name in types_of(ds))}


def _of_trajectory(ds: xr.Dataset, system: Any) -> set[str]:
    """Names of the variables that simulations of the data's system have beside the schema's."""
    system = record(ds).get("system", "") if system is None else system
    if isinstance(system, str) and first_name(system) not in names():
        return set()
    return {variable.name for variable in get(system).of_trajectory}


# ---- arrays to dataset ------------------------------------------------------------------------


def unpack(
    arrays: Arrays,
    *,
    features: Sequence[str],
    units: Sequence[str] | None = None,
    controls: Sequence[str] | None = None,
    attributes: Sequence[str] | None = None,
    time_unit: str = "1",
    split: NDArray | None = None,
    message: NDArray | None = None,
    parameters: Mapping[str, tuple[Sequence[str], NDArray]] | None = None,
    about: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """An `xarray.Dataset` of ``arrays``, in physical units; the inverse of `pack`.

    features, units: names and units of the state's last axis; controls, attributes: names of the
        last axis of ``arrays.u`` and ``arrays.attribute``; time_unit: of the time coordinate.
    split: (trajectory,), "train", "validation" or "test". message: (trajectory, time, node, message).
    parameters: (dims, values) by name. about: plain values for the record.
    Of several types of nodes, names and units are those of all types in one list, "type.name".
    """
    if arrays.types is not None:
        return _unpack_types(
            arrays, arrays.types, features, units, controls or (), attributes or (), time_unit, split,
            message, parameters, about,
        )  # fmt: skip
    trajectories, _, nodes, channels = arrays.x.shape
    units = tuple(units) if units is not None else ("1",) * channels
    state_attrs = {"long_name": "state"}
    if len(set(units)) == 1:
        state_attrs["units"] = units[0]
    variables: dict[str, Any] = {STATE: (STATE_DIMS, arrays.x, state_attrs)}
    coords: dict[str, Any] = {
        TRAJECTORY: np.arange(trajectories),
        TIME: (TIME, arrays.time, {"units": time_unit, "long_name": "time"}),
        NODE: np.arange(nodes),
        NODE_NUMBER: (NODE, np.arange(nodes), {"long_name": "number of the node in the edges"}),
        FEATURE: np.array([str(f) for f in features]),
        UNIT: (FEATURE, np.array([str(u) for u in units])),
    }
    if arrays.u is not None:
        variables[CONTROL] = (CONTROL_DIMS, arrays.u, {"long_name": "input held over an interval"})
        labels = controls or [f"u{i}" for i in range(arrays.u.shape[-1])]
        coords[CONTROL_FEATURE] = np.array([str(c) for c in labels])
    if arrays.attribute is not None:
        attribute_dims = ATTRIBUTE_DIMS[-arrays.attribute.ndim :]
        variables[NODE_ATTRIBUTE] = (attribute_dims, arrays.attribute)
        labels = attributes or [f"b{i}" for i in range(arrays.attribute.shape[-1])]
        coords[ATTRIBUTE] = np.array([str(a) for a in labels])
    if message is not None and message.shape[-1]:
        variables[MESSAGE] = (MESSAGE_DIMS, message, {"units": "1", "long_name": "message"})
        coords[MESSAGE_COMPONENT] = np.arange(message.shape[-1])
    graph = arrays.graph
    # A `Graph` numbers the nodes of all its graphs in one run; a dataset numbers each graph from 0.
    edge_graph = np.asarray(graph.edge_graph, dtype=np.int64)
    offset = np.asarray(graph.node_offset, dtype=np.int64)[edge_graph]
    variables[SENDER] = (EDGE, graph.sender - offset, {"long_name": "sending node"})
    variables[RECEIVER] = (EDGE, graph.receiver - offset, {"long_name": "receiving node"})
    variables[EDGE_GRAPH] = (EDGE, edge_graph)
    if graph.weight is not None:
        variables[EDGE_WEIGHT] = (EDGE, graph.weight, {"long_name": "weight of the edge"})
    elif arrays.edge_weight is not None:
        words = "weight of the edge, held over an interval"
        weight_dims = WEIGHT_DIMS[-arrays.edge_weight.ndim :]
        variables[EDGE_WEIGHT] = (weight_dims, arrays.edge_weight, {"long_name": words})
    if graph.attribute is not None:
        variables[EDGE_ATTRIBUTE] = ((EDGE, EDGE_FEATURE), graph.attribute)
        coords[EDGE_FEATURE] = np.array(graph.attribute_names)
    if graph.delay is not None:
        facts = {"long_name": "time from sender to receiver", "units": time_unit}
        variables[EDGE_DELAY] = (EDGE, graph.delay, facts)
    variables[GRAPH] = (TRAJECTORY, np.asarray(arrays.graph_of, dtype=np.int64))
    if split is not None:
        variables[SPLIT] = (TRAJECTORY, np.asarray(split))
    for name, (dims, values) in (parameters or {}).items():
        variables[name] = (tuple(dims), np.asarray(values))
    ds = xr.Dataset(variables, coords=coords)
    arrays_of = {"parameter_arrays": sorted(parameters)} if parameters else {}
    return with_record(ds, **dict(about or {}), **arrays_of, graphs=len(graph.nodes))


def _unpack_types(
    arrays: Arrays,
    types: NodeTypes,
    features: Sequence[str],
    units: Sequence[str] | None,
    controls: Sequence[str],
    attributes: Sequence[str],
    time_unit: str,
    split: NDArray | None,
    message: NDArray | None,
    parameters: Mapping[str, tuple[Sequence[str], NDArray]] | None,
    about: Mapping[str, Any] | None,
) -> xr.Dataset:
    """See `unpack`: a dataset of the types that have nodes."""
    nodes, node_type = arrays.x.shape[2], arrays.node_type
    # All nodes without features, for the edges and what else no type has of its own.
    nothing = replace(
        arrays, x=np.zeros((*arrays.x.shape[:3], 1)), u=None, attribute=None, types=None
    )
    rest = unpack(
        nothing, features=["none"], time_unit=time_unit, split=split, parameters=parameters, about=about
    )  # fmt: skip
    rest = rest.drop_vars([STATE, NODE, NODE_NUMBER, FEATURE, UNIT])
    lists = (
        cut(features, types.channels),
        cut(units if units is not None else ("1",) * sum(types.channels), types.channels),
        cut(controls, types.controls if controls else (0,) * len(types.names)),
        cut(attributes, types.attributes if attributes else (0,) * len(types.names)),
    )
    parts = {}
    for number, (name, each) in enumerate(zip(types.names, arrays.of_each_type(), strict=True)):
        here = np.flatnonzero(node_type == number)
        if not here.size:
            continue
        of_features, of_units, of_controls, of_attributes = (some[number] for some in lists)
        one = unpack(
            replace(each, mask=None),
            features=plain_names(name, of_features),
            units=of_units,
            controls=plain_names(name, of_controls) or None,
            attributes=plain_names(name, of_attributes) or None,
            time_unit=time_unit,
            message=None if message is None else message[:, :, here],
        )
        number_attrs = {"long_name": "number of the node in the edges"}
        parts[name] = one.assign_coords(
            {NODE: here, NODE_NUMBER: (NODE, np.arange(nodes)[here], number_attrs)}
        )
    return together(rest, parts)


# ---- dataset to arrays ------------------------------------------------------------------------


def pack(ds: xr.Dataset, *, missing: Missing = "error", types: NodeTypes | None = None) -> Arrays:
    """The arrays of a network dataset, checked; raises what `validate` raises. ``types`` of a model,
    see `arrays_of`.

    >>> from pympnode import simulate
    >>> pack(simulate("heat", nodes=4, trajectories=2, steps=3)).x.shape
    (2, 4, 4, 1)
    """
    validate(ds, missing=missing)
    return arrays_of(ds, missing=missing, types=types)


def arrays_of(
    ds: xr.Dataset,
    *,
    missing: Missing = "error",
    types: NodeTypes | None = None,
    quiet: bool = False,
) -> Arrays:
    """The arrays of a dataset that `validate` has checked already.

    ``types``: those of a model, of which the dataset may lack some; by default its own. Raises
    InvalidData where it has others, or other features. ``quiet``: without a warning of what was filled in.
    """
    if types is not None or types_of(ds):
        return _arrays_by_type(ds, missing, types, quiet)
    x = ds[STATE].transpose(*STATE_DIMS).values
    mask = None
    if missing == "mask":
        mask = np.isfinite(x)
        mask = None if mask.all() else mask
        x, filled = with_first_state(x)
        if filled and not quiet:
            warn_user(filled)
    u = ds[CONTROL].transpose(*CONTROL_DIMS).values if CONTROL in ds else None
    attribute = None
    if NODE_ATTRIBUTE in ds:
        attribute = ds[NODE_ATTRIBUTE].transpose(*attribute_dims(ds)).values
    graph, graph_of, order = _graphs_of(ds)
    weight = None
    if weights_vary(ds):
        weight = ds[EDGE_WEIGHT].transpose(*weight_dims(ds)).values[..., order]
    return Arrays(x, even_times(ds[TIME].values), graph, graph_of, u, attribute, mask, weight)


def _arrays_by_type(
    ds: xr.Dataset, missing: Missing, types: NodeTypes | None, quiet: bool
) -> Arrays:
    ds = by_type(ds)
    types = NodeTypes.of([ds]) if types is None else types
    check_types(ds, types)
    ds = in_order(ds, types.names)
    counts, each = counts_of(ds), {}
    for name in types_of(ds):
        with naming(name):
            one = part(ds, name).drop_vars(UNIT, errors="ignore")
            each[name] = arrays_of(one, missing=missing, quiet=quiet)
    first = next(iter(each.values()))
    trajectories, times = first.x.shape[:2]
    nodes = sum(counts.values())
    dtype = np.result_type(*(a.x.dtype for a in each.values()))
    x = np.zeros((trajectories, times, nodes, max(types.channels)), dtype)
    mask = np.ones(x.shape, bool) if any(a.mask is not None for a in each.values()) else None
    u = np.zeros((trajectories, times, nodes, max(types.controls))) if max(types.controls) else None
    attribute = None
    if max(types.attributes):
        varied = any(a.varied for a in each.values())
        attribute = np.zeros(((trajectories,) if varied else ()) + (nodes, max(types.attributes)))
    at = 0
    for name, a in each.items():
        here, at = slice(at, at + counts[name]), at + counts[name]
        x[:, :, here, : a.x.shape[-1]] = a.x
        if mask is not None and a.mask is not None:
            mask[:, :, here, : a.x.shape[-1]] = a.mask
        if u is not None and a.u is not None:
            u[:, :, here, : a.u.shape[-1]] = a.u
        if attribute is not None and a.attribute is not None:
            attribute[..., here, : a.attribute.shape[-1]] = a.attribute
    graph, graph_of, order = _graphs_of(ds, types.names)
    weight = None
    if weights_vary(ds):
        weight = ds[EDGE_WEIGHT].transpose(*weight_dims(ds)).values[..., order]
    return Arrays(
        x, even_times(ds[TIME].values), graph, graph_of, u, attribute, mask, weight, types
    )


def graphs_of(ds: xr.Dataset) -> tuple[Graph, NDArray[np.int64]]:
    """The graphs of a dataset, and int64 (trajectory,), the graph number of every trajectory.

    Weights that vary in time are not those of a graph, with a warning: `pack` has them.
    """
    if weights_vary(ds):
        warn_user(
            "the weights of these edges vary in time, and the graphs have none. "
            "pack(ds).graph_at(time, trajectory) has those of one interval"
        )
    graph, graph_of, _ = _graphs_of(by_type(ds))
    return graph, graph_of


def _graphs_of(
    ds: xr.Dataset, types: Sequence[str] = ()
) -> tuple[Graph, NDArray[np.int64], NDArray[np.int64]]:
    """See `graphs_of`; and int64 (edge,), the number in the dataset of each edge of the graphs.

    ``types``: names of all types, which the types of nodes are numbered by.
    """
    nodes, trajectories = count_nodes(ds), ds.sizes[TRAJECTORY]
    counts = counts_of(ds)
    types = types or tuple(counts)
    node_type = None
    if counts:
        node_type = np.repeat([types.index(name) for name in counts], [*counts.values()])
    graph_of = np.zeros(trajectories, np.int64)
    if GRAPH in ds:
        graph_of = ds[GRAPH].values.astype(np.int64)
    if SENDER not in ds:
        none = np.zeros(0, np.int64)
        return Graph.single(none, none, nodes).with_types(node_type), graph_of, none
    edge_graph = np.zeros(ds.sizes[EDGE], np.int64)
    if EDGE_GRAPH in ds:
        edge_graph = ds[EDGE_GRAPH].values.astype(np.int64)
    # A last graph without edges and trajectories is known from the record alone.
    numbers_of = [int(record(ds).get("graphs", 1))]
    numbers_of += [
        int(numbers.max()) + 1 if numbers.size else 1 for numbers in (edge_graph, graph_of)
    ]
    sender = ds[SENDER].values.astype(np.int64) + edge_graph * nodes
    receiver = ds[RECEIVER].values.astype(np.int64) + edge_graph * nodes
    weight = ds[EDGE_WEIGHT].values if EDGE_WEIGHT in ds and not weights_vary(ds) else None
    attribute, names = None, ()
    if EDGE_ATTRIBUTE in ds:
        attribute = ds[EDGE_ATTRIBUTE].transpose(EDGE, EDGE_FEATURE).values
        if EDGE_FEATURE in ds.coords:
            names = tuple(texts(ds[EDGE_FEATURE].values).tolist())
    count = np.full(max(numbers_of), nodes, dtype=np.int64)
    node_type = None if node_type is None else np.tile(node_type, len(count))
    delay = ds[EDGE_DELAY].values if EDGE_DELAY in ds else None
    graph = Graph(sender, receiver, count, (), weight, attribute, names, node_type, delay)
    return graph, graph_of, np.lexsort((sender, receiver))
