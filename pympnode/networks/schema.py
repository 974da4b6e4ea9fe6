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
``unit_load`` and ``node_number_load``, for the type "load". ``sender`` and ``receiver`` number the nodes type after
type, in the order of the entry ``node_types`` of the record, or of the variables. Types with the same
features may share ``state`` and have ``node_type(node)``, the name of each node's type, in order. See
`networks.node_types`. The names above are constants of
`pympnode.datasets.names`. Particle datasets: `pympnode.particles.schema`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import arguments, choice
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
from ..datasets.split import check_split
from ..datasets.times import even_times, repeated, rounding
from ..edge_values import checked_delay
from ..errors import InvalidData, one_line
from ..files import kinds
from ..graph import Graph
from ..systems.registry import first_name, get, names
from ..training.ranges import warn_user
from .edge_checks import (
    check_delays,
    check_edges_once,
    check_graph_numbers,
    check_node_order,
    check_one_graph,
    check_whole,
)
from .missing import with_first_state
from .name_checks import check_names_of_axes
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
from .partition import Part


@dataclass(frozen=True, eq=False)
class Arrays:
    """A network dataset as plain arrays.

    ``x`` (trajectory, time, node, feature); ``time`` (time,) float64, increasing; ``graph`` any
    number of graphs of ``node`` nodes each; ``graph_of`` (trajectory,) int64, graph numbers; ``u``
    (trajectory, time, node, control) or None; ``attribute`` (node, attribute), (trajectory, node,
    attribute) where it differs by trajectory, or None; ``mask`` of
    the shape of x, True where a value is known, or None where all are. ``edge_weight`` (time, edge),
    (trajectory, time, edge) where they differ by trajectory, or None: weights that vary in time, each
    held from t_i to t_(i+1), in the order of the edges of ``graph``, whose own weights are then None.

    ``types`` of nodes of several types, whose numbers are ``graph.node_type``: a node of type t has the
    first ``types.channels[t]`` of the features, and 0 in the others, which ``mask`` counts as known; so
    with ``u`` and ``attribute``. All graphs have as many nodes of each type.

    ``part``: the nodes are the part of one process of a large graph, its own first, then their halo; None
    where this process has all.
    """

    x: NDArray
    time: NDArray[np.float64]
    graph: Graph
    graph_of: NDArray[np.int64]
    u: NDArray | None = None
    attribute: NDArray | None = None
    mask: NDArray[np.bool_] | None = None
    edge_weight: NDArray | None = None
    types: NodeTypes | None = None
    part: Part | None = None

    @property
    def of_own_nodes(self) -> Arrays:
        """The values of the nodes that are not in a halo; the graph stays as it is."""
        if self.part is None:
            return self
        own = slice(len(self.part.own))
        return replace(
            self,
            x=self.x[:, :, own],
            u=None if self.u is None else self.u[:, :, own],
            attribute=None if self.attribute is None else self.attribute[..., own, :],
            mask=None if self.mask is None else self.mask[:, :, own],
        )

    @property
    def node_type(self) -> NDArray[np.int64] | None:
        """The numbers of the types (node,) of the nodes of each graph; None for one type."""
        return self.graph[0].node_type if self.types is not None else None

    @property
    def real(self) -> NDArray[np.bool_]:
        """(node, feature): whether nodes have these features."""
        nodes, channels = self.x.shape[2:]
        if self.types is None or self.node_type is None:
            return np.ones((nodes, channels), bool)
        return np.arange(channels) < np.array(self.types.channels)[self.node_type][:, None]

    @property
    def known(self) -> NDArray:
        """x as float64; NaN where a value is missing, or a node does not have the feature."""
        out = self.x.astype(np.float64)
        if self.mask is not None:
            out[~self.mask] = np.nan
        if self.types is not None:
            out[..., ~self.real] = np.nan
        return out

    def of_each_type(self) -> list[Arrays]:
        """The nodes of each type as arrays of one type, with the edges among them."""
        if self.types is None or self.node_type is None:
            return [self]
        return [self._of_type(number) for number in range(len(self.types.names))]

    def _of_type(self, number: int) -> Arrays:
        assert self.types is not None
        here = np.flatnonzero(self.node_type == number)
        channels, controls, attributes = (
            getattr(self.types, name)[number] for name in ("channels", "controls", "attributes")
        )
        u = None if self.u is None or not controls else self.u[:, :, here, :controls]
        attribute = None
        if self.attribute is not None and attributes:
            attribute = self.attribute[..., here, :attributes]
        graphs = []
        for graph in (self.graph[i] for i in range(self.graph.graphs)):
            inside = np.isin(graph.sender, here) & np.isin(graph.receiver, here)
            sender, receiver = (
                np.searchsorted(here, each[inside]) for each in (graph.sender, graph.receiver)
            )
            # A graph has one node at least; those of a type without any have no values.
            graphs.append(Graph(sender, receiver, np.array([max(len(here), 1)])))
        mask = None if self.mask is None else self.mask[:, :, here, :channels]
        return Arrays(
            self.x[:, :, here, :channels], self.time, Graph.union(graphs), self.graph_of, u, attribute,
            mask,
        )  # fmt: skip

    @property
    def trajectories(self) -> int:
        """Number of trajectories."""
        return self.x.shape[0]

    @property
    def steps(self) -> int:
        """Number of intervals of the time grid."""
        return self.x.shape[1] - 1

    @property
    def varied(self) -> bool:
        """Whether the node attributes differ by trajectory."""
        return self.attribute is not None and self.attribute.ndim == 3

    @property
    def even(self) -> bool:
        """Whether all intervals have the same length, to rounding."""
        dt = np.diff(self.time)
        # Stamps far from zero, as seconds since 1970, are rounded by more than that.
        return bool(np.allclose(dt, dt[0], rtol=1e-6, atol=2.0 * rounding(self.time)))

    @property
    def weighted(self) -> bool:
        """Whether the edges have weights, constant or varying in time."""
        return self.graph.weight is not None or self.edge_weight is not None

    @property
    def held_weight(self) -> NDArray:
        """All weights that are used, constant or varying in time: (..., edge); 1 where there are none."""
        if self.edge_weight is None:
            return self.graph.weight_or_ones
        # The last weights are of no interval, and may be missing.
        return self.edge_weight[..., :-1, :]

    def graph_at(self, time: int, trajectory: int) -> Graph:
        """The graphs with the weights that hold from time number ``time``; at the last time those of
        the last interval."""
        if self.edge_weight is None:
            return self.graph
        weight = self.edge_weight[trajectory] if self.edge_weight.ndim == 3 else self.edge_weight
        return self.graph.with_weight(weight[min(time, self.steps - 1)])

    def select(self, index: NDArray[np.int64]) -> Arrays:
        """The trajectories of ``index``."""
        return replace(
            self,
            x=self.x[index],
            graph_of=self.graph_of[index],
            u=None if self.u is None else self.u[index],
            attribute=self.attribute[index]
            if self.attribute is not None and self.varied
            else self.attribute,
            mask=None if self.mask is None else self.mask[index],
            edge_weight=self.edge_weight[index]
            if self.edge_weight is not None and self.edge_weight.ndim == 3
            else self.edge_weight,
        )


# ---- the record: scalars and provenance in one JSON attribute ---------------------------------


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
    """Names of the variables that the schema and the physics do not know: the user's own."""
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
        attribute = ds[NODE_ATTRIBUTE].transpose(*_attribute_dims(ds)).values
    graph, graph_of, order = _graphs_of(ds)
    weight = None
    if _weights_vary(ds):
        weight = ds[EDGE_WEIGHT].transpose(*_weight_dims(ds)).values[..., order]
    return Arrays(x, _times(ds), graph, graph_of, u, attribute, mask, weight)


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
    if _weights_vary(ds):
        weight = ds[EDGE_WEIGHT].transpose(*_weight_dims(ds)).values[..., order]
    return Arrays(x, _times(ds), graph, graph_of, u, attribute, mask, weight, types)


def check_types(ds: xr.Dataset, types: NodeTypes, whose: str = "the model") -> None:
    """Raise `InvalidData` where the types of the nodes of a dataset, their features, controls or attributes
    are not those of ``types``."""
    names = types_of(ds)
    if not names:
        raise InvalidData(
            f"the nodes of the data have one type, and those of {whose} several",
            got="state(trajectory, time, node, feature)",
            allowed=", ".join(f"{STATE}_{name}" for name in types.names),
            fix=f'ds["node_type"] = ("node", [{types.names[0]!r}, ...]) names the type of each node, or '
            f"rename the variables: {STATE}_{types.names[0]}(trajectory, time, node_{types.names[0]}, "
            f"feature_{types.names[0]})",
        )
    strangers = [name for name in names if name not in types.names]
    if strangers:
        raise InvalidData(
            f"the data have types of nodes that {whose} does not have",
            got=", ".join(strangers),
            allowed=", ".join(types.names),
            fix="rename them where they are the same; or train a model on data with all types: "
            "train(data=[a, b])",
        )
    ds = by_type(ds)
    for name in names:
        one, number = part(ds, name), types.names.index(name)
        for what, variable, dim, wanted in (
            ("features", STATE, FEATURE, types.channels[number]),
            ("controls", CONTROL, CONTROL_FEATURE, types.controls[number]),
            ("node attributes", NODE_ATTRIBUTE, ATTRIBUTE, types.attributes[number]),
        ):
            got = one.sizes[dim] if variable in one else 0
            if got != wanted:
                raise InvalidData(
                    f"nodes of type {name!r} have another number of {what} than in {whose}",
                    got=got,
                    allowed=wanted,
                    fix=f"give {variable}_{name} with {wanted} components"
                    if wanted
                    else f"drop {variable}_{name}",
                )


def _attribute_dims(ds: xr.Dataset) -> tuple[str, ...]:
    """The dims of the node attributes: with that of trajectories where they differ by trajectory."""
    return ATTRIBUTE_DIMS if TRAJECTORY in ds[NODE_ATTRIBUTE].dims else ATTRIBUTE_DIMS[1:]


def _weights_vary(ds: xr.Dataset) -> bool:
    return EDGE_WEIGHT in ds and TIME in ds[EDGE_WEIGHT].dims


def _weight_dims(ds: xr.Dataset) -> tuple[str, ...]:
    """The dims of the weights: with those of times and of trajectories where they differ by them."""
    if not _weights_vary(ds):
        return WEIGHT_DIMS[-1:]
    return WEIGHT_DIMS if TRAJECTORY in ds[EDGE_WEIGHT].dims else WEIGHT_DIMS[1:]


def graphs_of(ds: xr.Dataset) -> tuple[Graph, NDArray[np.int64]]:
    """The graphs of a dataset, and int64 (trajectory,), the graph number of every trajectory.

    Weights that vary in time are not those of a graph, with a warning: `pack` has them.
    """
    if _weights_vary(ds):
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
    weight = ds[EDGE_WEIGHT].values if EDGE_WEIGHT in ds and not _weights_vary(ds) else None
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


def _times(ds: xr.Dataset) -> NDArray[np.float64]:
    """(time,) float64; a grid that is even to the rounding of its own type is exactly even."""
    return even_times(ds[TIME].values)


# ---- checks -----------------------------------------------------------------------------------


@arguments(missing=choice("error", "mask"))
def validate(ds: xr.Dataset, *, missing: Missing = "error") -> xr.Dataset:
    """Return ``ds`` if it is a network dataset as described above; raise `InvalidData` if not.

    With ``missing="mask"`` NaN in ``state`` means missing. Rollouts start at the first time: what is
    missing there is filled when the data are used (`networks.missing`), with a warning.
    """
    if not isinstance(ds, xr.Dataset):
        raise InvalidData(
            "a dataset is an xarray.Dataset",
            got=type(ds).__name__,
            allowed="xarray.Dataset",
            fix="build one with pympnode.from_arrays or xarray.open_dataset",
        )
    types = types_of(ds)
    check_parameters(ds)
    _check_concatenated(ds)
    if types:
        checked = by_type(ds)
        for name in types:
            dims = tuple(f"{dim}_{name}" if dim in (NODE, FEATURE) else dim for dim in STATE_DIMS)
            _require_variable(checked, f"{STATE}_{name}", dims)
            with naming(name):
                _check_nodes(part(checked, name), missing)
        _check_graph(checked)
    else:
        _check_nodes(ds, missing)
        _check_graph(ds)
    check_split(ds)
    return ds


def _check_nodes(ds: xr.Dataset, missing: Missing) -> None:
    """Check states, controls and attributes of nodes of one type, and the times."""
    _require_variable(ds, STATE, STATE_DIMS)
    check_names_of_axes(ds)
    for dim in STATE_DIMS:
        if ds.sizes[dim] < 1:
            raise InvalidData(
                f"the dataset has no {dim}",
                got=f"{dim} of size 0",
                allowed="at least 1",
                fix=f"give data with at least one {dim}",
            )
    _check_time(ds)
    _check_finite(ds, STATE, allow_nan=missing == "mask")
    if CONTROL in ds:
        _require_variable(ds, CONTROL, CONTROL_DIMS)
        _check_finite(ds.isel({TIME: slice(None, -1)}), CONTROL)
    if NODE_ATTRIBUTE in ds:
        _require_variable(ds, NODE_ATTRIBUTE, _attribute_dims(ds))
        _check_finite(ds, NODE_ATTRIBUTE)


def check_parameters(ds: xr.Dataset) -> None:
    """Raise InvalidData where a parameter in the record of a known system is no number; arrays are variables."""
    facts = record(ds)
    system = facts.get("system", "")
    if system not in names():
        return
    for name in get(system).parameters:
        value = facts.get("parameters", {}).get(name, 0.0)
        try:
            kinds.real(value)
        except ValueError as error:
            raise InvalidData(
                f"the parameter {name!r} in the record of the dataset is no number",
                got=one_line(error),
                allowed="a finite number",
                fix=f"pympnode.networks.schema.with_record(ds, parameters={{{name!r}: ...}})",
            ) from error


def _require_variable(ds: xr.Dataset, name: str, dims: tuple[str, ...]) -> None:
    if name not in ds:
        raise InvalidData(
            f"the dataset has no variable {name!r}",
            got=", ".join(map(str, ds.data_vars)) or "no variables",
            allowed=f"{name}({', '.join(dims)})",
            fix=f'rename yours: ds.rename({{"...": {name!r}}}), or use pympnode.from_arrays',
        )
    if set(ds[name].dims) != set(dims):
        raise InvalidData(
            f"{name!r} has the wrong dims",
            got=f"({', '.join(map(str, ds[name].dims))})",
            allowed=f"({', '.join(dims)}), in any order",
            fix="rename with ds.rename, add a missing dim with ds.expand_dims",
        )
    kind = ds[name].dtype.kind
    if kind not in "fiu":
        fixes = {
            "m": f'divide by its unit: ds["{name}"] / np.timedelta64(1, "s") is in seconds',
            "M": f'count from a date in a unit: (ds["{name}"] - start) / np.timedelta64(1, "s")',
            "c": "give real and imaginary parts as two features",
        }
        raise InvalidData(
            f"{name!r} does not hold numbers",
            got=f"dtype {ds[name].dtype}",
            allowed="real numbers",
            fix=fixes.get(kind, f'convert it: ds["{name}"] = ds["{name}"].astype(float)'),
        )


def _check_concatenated(ds: xr.Dataset) -> None:
    """`xr.concat` repeats the graph along the new axis unless it is told not to."""
    attributes = {NODE_ATTRIBUTE, *(f"{NODE_ATTRIBUTE}_{name}" for name in types_of(ds))}
    constant = (
        SENDER, RECEIVER, EDGE_GRAPH, *attributes, EDGE_WEIGHT, EDGE_ATTRIBUTE, EDGE_DELAY,
    )  # fmt: skip
    for name in constant:
        more = {TRAJECTORY, TIME} & set(ds[name].dims) if name in ds else set()
        if name in attributes:
            more = more - {TRAJECTORY}
        if name == EDGE_WEIGHT and TIME in more:
            more = set()  # weights that vary in time
        if more:
            dim = sorted(more)[0]
            raise InvalidData(
                f"{name!r} has the axis {dim!r}, as datasets have that xr.concat joined",
                got=f"dims ({', '.join(map(str, ds[name].dims))})",
                allowed="one graph for all",
                fix=f'xr.concat(datasets, dim="{dim}", data_vars="minimal"); of several graphs '
                "train(data=[a, b]) takes a list",
            )


def _check_time(ds: xr.Dataset) -> None:
    if TIME not in ds.coords or ds[TIME].dtype.kind not in "fiu" or ds[TIME].dims != (TIME,):
        raise InvalidData(
            "the dataset has no numeric time coordinate",
            got=f"dims {ds[TIME].dims}, dtype {ds[TIME].dtype}"
            if TIME in ds.coords
            else "no coordinate",
            allowed="time(time) in one unit, increasing",
            fix='ds = ds.assign_coords(time=dt * np.arange(ds.sizes["time"]))'
            if TIME not in ds.coords or ds[TIME].dtype.kind not in "mM"
            else 'ds.assign_coords(time=("time", (ds.time - ds.time[0]).values / '
            'np.timedelta64(1, "D"), {"units": "day"}))',
        )
    times = _times(ds)
    if times.size < 2 or not np.all(np.isfinite(times)) or np.any(np.diff(times) <= 0):
        raise InvalidData(
            "time must increase over at least two points",
            got=f"{times.size} points: {repeated(times) or np.array2string(times[:4])}",
            allowed="t_0 < t_1 < ...",
            fix='sort with ds.sortby("time") and drop repeated times',
        )


_GAPS = {
    STATE: 'remove them; missing="mask" leaves NaN in `state` out of the loss',
    CONTROL: "inputs are needed at every time but the last: fill gaps in, for instance by "
    "ds.control.ffill, or give the column as a feature, where NaN may be missing",
    NODE_ATTRIBUTE: "constants of nodes are needed for every node: fill gaps in, or leave them out",
    EDGE_WEIGHT: "a weight is needed for every edge: fill gaps in, or leave these edges out",
    EDGE_ATTRIBUTE: "constants of edges are needed for every edge: fill gaps in, or leave them out",
    EDGE_DELAY: "a delay is needed for every edge: give 0 for those without",
}


def _check_finite(ds: xr.Dataset, name: str, *, allow_nan: bool = False) -> None:
    values = ds[name].values
    if values.dtype.kind != "f":
        return
    bad = np.isinf(values) if allow_nan else ~np.isfinite(values)
    if allow_nan and name == STATE:
        with_first_state(ds[STATE].transpose(*STATE_DIMS).values)
    if bad.any():
        where = np.argwhere(bad)[0]
        position = ", ".join(f"{dim} {int(i)}" for dim, i in zip(ds[name].dims, where))
        raise InvalidData(
            f"{name!r} holds values that are not finite",
            got=f"{int(bad.sum())} of {bad.size}, the first at {position}",
            allowed="finite numbers",
            fix=_GAPS.get(name, "fill them in"),
        )


def _check_graph(ds: xr.Dataset) -> None:
    nodes = count_nodes(ds)
    if (SENDER in ds) != (RECEIVER in ds):
        raise InvalidData(
            "a graph needs both ends of its edges",
            got=SENDER if SENDER in ds else RECEIVER,
            allowed="sender(edge) and receiver(edge)",
            fix="give both",
        )
    if SENDER not in ds:
        if nodes > 1:
            raise InvalidData(
                f"the dataset has {nodes} nodes and no graph",
                got="no sender(edge), receiver(edge)",
                allowed="edges, of any number, also none: two empty variables",
                fix="pass topology= with the data, or use pympnode.from_arrays(..., edges=...)",
            )
        for name in (EDGE_WEIGHT, EDGE_ATTRIBUTE, EDGE_DELAY):
            if name in ds:
                raise InvalidData(
                    f"{name!r} belongs to edges, and the dataset has none",
                    got="no sender(edge), receiver(edge)",
                    allowed="sender(edge) and receiver(edge)",
                    fix=f"give the edges, or drop it: ds.drop_vars({name!r})",
                )
        check_one_graph(ds)
        return
    for name in (SENDER, RECEIVER):
        check_whole(ds, name, EDGE)
    check_node_order(ds)
    for name in (SENDER, RECEIVER):
        ends = ds[name].values
        if ends.size and (ends.min() < 0 or ends.max() >= nodes):
            raise InvalidData(
                f"{name!r} names nodes that do not exist",
                got=f"from {ends.min()} to {ends.max()}",
                allowed=f"0 to {nodes - 1}",
                fix="number nodes from 0 within each graph; pympnode.subgraph(ds, nodes) selects "
                "nodes with their edges",
            )
    check_graph_numbers(ds)
    for name, dims in ((EDGE_WEIGHT, _weight_dims(ds)), (EDGE_ATTRIBUTE, (EDGE, EDGE_FEATURE))):
        if name in ds:
            _require_variable(ds, name, dims)
            # What is given at the last time is of no interval.
            _check_finite(ds.isel({TIME: slice(None, -1)}) if TIME in dims else ds, name)
    if EDGE_DELAY in ds:
        _require_variable(ds, EDGE_DELAY, (EDGE,))
        _check_finite(ds, EDGE_DELAY)
        delay = checked_delay(ds[EDGE_DELAY].values, ds.sizes[EDGE])
        time = _times(ds)
        check_delays(delay, time, bool(np.allclose(np.diff(time), time[1] - time[0], rtol=1e-6,
                                                   atol=2.0 * rounding(time))))  # fmt: skip
    if EDGE_WEIGHT in ds or EDGE_ATTRIBUTE in ds or EDGE_DELAY in ds:
        check_edges_once(ds)
