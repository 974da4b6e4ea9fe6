"""``from_arrays``: a network dataset of the user's arrays, checked."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import (
    arguments,
    flag,
    listing,
    names_of,
    text,
    whole,
)
from ..datasets.names import (
    ATTRIBUTE_DIMS,
    CONTROL_DIMS,
    FEATURE,
    NODE,
    NODE_NUMBER,
    POSITION,
    STATE_DIMS,
    TIME,
    TRAJECTORY,
    WEIGHT_DIMS,
)
from ..datasets.reading import time_grid
from ..datasets.times import coded_dates, dates_as_numbers
from ..edge_values import AdjacencyConvention, DuplicateEdges, EdgeOptions, checked_delay
from ..errors import InvalidData, shown_value
from ..graph import Graph
from ..training.ranges import warn_user
from ..version import __version__
from . import schema
from .circular import Circular, with_circular
from .exchanged import refuse_exchanged, suspect_exchanged
from .graphs.labels import NodeLabels, as_coords
from .graphs.topology import SelfLoops, resolve, resolve_edges
from .named_arrays import NamedArray, carried_coords, named_array
from .node_types import by_type_or_refuse, naming, together
from .switching import switched


def names_or_types(name: str, value: Any) -> Any:
    """A list of names, or for nodes of several types a mapping of types to such lists."""
    if isinstance(value, Mapping):
        return {of_type: names_of(name, each) for of_type, each in value.items()}
    return names_of(name, value)


@arguments(
    directed=flag,
    features=names_or_types,
    units=names_or_types,
    controls=names_or_types,
    attributes=names_or_types,
    split=names_of,
    time_unit=text,
)
def from_arrays(
    x: Any,
    *,
    dt: float | None = None,
    time: Any = None,
    edges: Any = None,
    topology: Any = None,
    directed: bool = False,
    self_loops: SelfLoops = "error",
    edge_weight: Any = "weight",
    edge_attributes: Sequence[str] = (),
    duplicate_edges: DuplicateEdges = "error",
    adjacency_convention: AdjacencyConvention = "sender_first",
    edge_delay: Any = None,
    edge_intervals: Mapping[Any, Any] | None = None,
    nodes: Sequence[Any] | None = None,
    control: Any = None,
    node_attribute: Any = None,
    features: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    units: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    controls: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    attributes: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    time_unit: str = "1",
    split: Sequence[str] | None = None,
    graph_of: Any = None,
    circular: Circular = None,
    u: Any = None,
) -> xr.Dataset:
    """A dataset of your own arrays, checked.

    Main arguments:
        x: (trajectory, time, node, feature), or (time, node, feature) for one trajectory. NaN is
            kept: train with ``missing="mask"``; the first state of a trajectory must be known.
            Masked entries of a masked array are NaN. An `xarray.DataArray` with these dims may have
            them in any order; its labels, times and unit are taken. Nodes of several types, as
            generators and loads, are a mapping of types to such arrays of the same trajectories and times:
            ``{"generator": a, "load": b}``. ``control``, ``node_attribute`` and the names are then
            mappings too, and nodes are numbered type after type.
        dt, time: the step of an even time grid, or the times (time,), which may be uneven. Dates are
            counted from the first one, in ``time_unit``, or where that is not given in days, h, min,
            s, ms, us or ns, whichever fits the step; the unit is stored, and the first date as the
            attribute ``origin`` of the times.
        edges, topology: pairs of nodes (edges, 2), undirected unless ``directed``; or a topology
            name, a graph, an adjacency (row sends to column: entry [i, j] is the edge i -> j; see
            ``adjacency_convention``), or a list of graphs (``graph_of`` (trajectory,) are then the
            graph numbers of the trajectories; by default they take turns); or "learn" for a graph that
            is not known, which `train` learns, and "learn each" where each trajectory has its own.
            Nodes of a networkx graph, of pairs or of a labelled matrix are called by their numbers, or
            by the labels of ``nodes``. Weights are the entries of an adjacency, a third column of
            edges, the column or the attribute ``edge_weight`` of a frame or of networkx; weights that
            are all 1 are no weights.
    Other arguments:
        nodes: the labels of the nodes, in the order of x; by default 0 to n - 1.
        self_loops: "error", "drop" or "keep" for edges that join a node to itself.
        edge_weight, edge_attributes: names of what edges of networkx and of frames hold; of the
            weight, None takes none. ``edge_weight`` may also be an array (time, edge), or (trajectory,
            time, edge), of weights that vary in time, each held from t_i to t_(i+1): in the order of
            the pairs of ``edges``, both directions of an undirected one alike; of another topology in
            the order of ``sender`` and ``receiver`` of the dataset.
        edge_delay: the time that a message takes, 0 or at least one time step: one number, or one for each
            edge, in the order of the pairs of ``edges``, both directions of an undirected one alike; of
            another topology in the order of ``sender`` and ``receiver`` of the dataset.
        edge_intervals: when edges are on, by (sender, receiver) in node labels: ``{("a", "b"): [(0, 2.5),
            (4, 5)]}`` has the messages of a to b from time 0 to 2.5 and from 4 to 5, in times of the data.
            Edges that are not named are always on. It becomes ``edge_weight`` (time, edge) of 0 and 1,
            times the weights that the edges have.
        duplicate_edges: "error", "sum" (of weights, 1 for an edge without) or "first".
        adjacency_convention: "sender_first", row i sends to column j as in networkx, or
            "receiver_first", row i receives from column j as often in physics.
        control: inputs (trajectory, time, node, control), each held from t_i to t_(i+1).
        node_attribute: constants of the nodes (node, attribute), or (trajectory, node, attribute)
            where they differ by trajectory.
        features, units, controls, attributes, time_unit: names and units.
        split: "train", "validation" or "test" for each trajectory. Trajectories marked "test" are
            not used in training, nor for the normalisation.
        circular: features that are positions on a circle, as phases are: names, whose periods
            follow from their units (rad, deg, turn), or periods by name, ``{"hour": 24.0}``. They are
            stored in the coordinate ``period``; a model then has their sine and cosine as inputs,
            and errors are of the shorter way around.
        u: the name of ``control`` until version 0.2, with a `DeprecationWarning`.
    Returns: an `xarray.Dataset` as `pympnode.networks.schema` describes it, float64.
    Raises: `InvalidData`, `InvalidGraph`.

    >>> import numpy as np
    >>> from_arrays(np.zeros((5, 21, 3, 1)), dt=0.1, edges=[(0, 1), (1, 2)]).receiver.values
    array([0, 1, 1, 2])
    """
    if u is not None:
        if control is not None:
            raise InvalidData(
                "inputs are given twice",
                got="control= and u=",
                allowed="control=, of which u= is the old name",
                fix="leave u out",
            )
        warnings.warn("u= of from_arrays is now control=", DeprecationWarning, stacklevel=3)
        control = u
    if isinstance(x, Mapping) and not isinstance(x, xr.Dataset):
        return _of_types(
            x,
            dict(control=control, node_attribute=node_attribute, features=features, units=units,
                 controls=controls, attributes=attributes),
            dict(dt=dt, time=time, time_unit=time_unit),
            dict(edges=edges, topology=topology, directed=directed, self_loops=self_loops,
                 edge_weight=edge_weight, edge_attributes=edge_attributes,
                 duplicate_edges=duplicate_edges, adjacency_convention=adjacency_convention,
                 split=split, graph_of=graph_of),
            nodes,
            circular,
        )  # fmt: skip
    for name, value in (
        ("control", control), ("node_attribute", node_attribute), ("features", features), ("units", units),
        ("controls", controls), ("attributes", attributes),
    ):  # fmt: skip
        if isinstance(value, Mapping) and not isinstance(value, xr.Dataset):
            raise InvalidData(
                f"{name} is given by type of nodes, and x is one array",
                got=f"{name} of {', '.join(map(str, value))}",
                allowed="an array, or x by type too",
                fix="x={'generator': a, 'load': b}",
            )
    if isinstance(x, xr.Dataset):
        particles = POSITION in x
        raise InvalidData(
            "x is a dataset, not an array",
            got=", ".join(map(str, x.data_vars)) or "no variables",
            allowed="numbers (trajectory, time, node, feature)",
            fix="particles need no nodes: train(data=ds) takes the dataset as it is"
            if particles
            else "train(data=ds) takes a dataset that pympnode.networks.schema.validate accepts",
        )
    given = x
    if hasattr(x, "magnitude") and hasattr(x, "units"):  # a quantity of pint
        x, unit = x.magnitude, str(x.units)
        units = [unit] * (np.shape(x)[-1] if np.ndim(x) else 1) if units is None else units
    read = named_array("x", x, STATE_DIMS, optional=(TRAJECTORY, NODE, FEATURE))
    x, labels = read.values, dict(read.labels)
    x = x[None] if x.ndim == 3 else x
    if x.ndim != 4:
        raise InvalidData(
            "x has the wrong number of axes",
            got=f"shape {np.shape(x)}",
            allowed="(trajectory, time, node, feature) or (time, node, feature)",
            fix="add an axis of length 1 for a single node or feature: x[..., None]",
        )
    trajectories, count, size, channels = x.shape
    if nodes is None and NODE not in labels:  # labels say which axis is that of the nodes
        refuse_exchanged(x, time=time, edges=edges, topology=topology, attribute=node_attribute)
    exchanged = suspect_exchanged(x)
    if exchanged:
        warn_user(exchanged)
    if nodes is not None:
        labels[NODE] = list(_labels_of(nodes, size).values)
    own_times = given[TIME].values if TIME in labels else None
    if dt is None and time is None:
        time = own_times
    dt, time_unit, _ = dates_as_numbers("dt", dt, time_unit)
    time, time_unit, origin = dates_as_numbers("time", time, time_unit)
    if own_times is not None and dt is not None and own_times.dtype.kind == "M":
        time, time_unit, origin = _dates_of_step(own_times, dt, time_unit)
        dt = None
    times = time_grid(count, dt, time, "x", "(trajectory, time, node, feature)")
    warning = coded_dates(times)
    if warning:
        warn_user(warning)
    node_labels = _labels_of(labels.get(NODE, range(size)), size)
    in_time = None
    if not (edge_weight is None or isinstance(edge_weight, str)):
        in_time, edge_weight = edge_weight, "weight"
    of_edges = EdgeOptions(
        edge_weight,
        edge_attributes,
        duplicate_edges,
        adjacency_convention,
    )
    by_pair = in_time is not None or (edge_delay is not None and np.ndim(edge_delay) > 0)
    pairs = len(edges) if by_pair and _are_pairs(edges) else None
    graph = _graph(
        edges if pairs is None else _numbered(edges),
        topology,
        node_labels,
        directed,
        self_loops,
        of_edges,
    )
    weight = None
    numbers_of_pairs = None
    if pairs is not None:
        numbers_of_pairs = graph.weight_or_ones.astype(np.int64) - 2
        graph = graph.with_weight(None)
    if in_time is not None:
        graph, weight = _weights_in_time(
            in_time, graph, trajectories, count, pairs, numbers_of_pairs
        )
    if edge_delay is not None:
        delay = np.asarray(edge_delay)
        if numbers_of_pairs is not None and delay.ndim == 1:
            delay = checked_delay(delay, pairs or 0)[numbers_of_pairs]
        graph = graph.with_delay(delay)
    if edge_intervals is not None:
        on = switched(edge_intervals, graph, node_labels, times)
        weight = (graph.weight_or_ones if weight is None else weight) * on
        graph = graph.with_weight(None)
    u, control_labels = _shaped(
        "control", control, CONTROL_DIMS, (trajectories, count, size), labels
    )
    varied = np.ndim(node_attribute) == 3
    b, attribute_labels = _shaped(
        "node_attribute",
        node_attribute,
        ATTRIBUTE_DIMS if varied else ATTRIBUTE_DIMS[1:],
        (trajectories, size) if varied else (size,),
        labels,
    )
    numbers_of = np.arange(trajectories, dtype=np.int64) % graph.graphs
    if graph_of is not None:
        numbers_of = np.asarray(
            [whole("a graph number", n, 0) for n in listing("graph_of", graph_of)], dtype=np.int64
        )
        fits = numbers_of.shape == (trajectories,) and numbers_of.dtype.kind in "iu"
        if not fits or np.any(numbers_of >= graph.graphs):
            raise InvalidData(
                "graph_of must be the graph number of each trajectory",
                got=f"shape {numbers_of.shape}, dtype {numbers_of.dtype}",
                allowed=f"({trajectories},) whole numbers from 0 to {graph.graphs - 1}",
            )
    names = features if features is not None else labels.get(FEATURE)
    if names is None:
        names = [f"x{i}" for i in range(channels)]
    if units is None and "units" in getattr(given, "attrs", {}):
        units = [str(given.attrs["units"])] * channels
    ds = schema.unpack(
        schema.Arrays(x, times, graph, numbers_of.astype(np.int64), u, b, None, weight),
        features=_named("features", names, channels),
        units=None if units is None else _named("units", units, channels),
        controls=_names_of("controls", controls or control_labels, u),
        attributes=_names_of("attributes", attributes or attribute_labels, b),
        time_unit=time_unit,
        split=None if split is None else np.array(_named("split", split, trajectories)),
        about={"kind": "given", "topology": list(graph.source), "version": __version__},
    )
    ds = with_circular(ds, circular)
    if origin:
        ds = ds.assign_coords({TIME: ds[TIME].assign_attrs(origin=origin)})
    ds = ds.assign_coords(
        {dim: as_coords(labels[dim]) for dim in (NODE, TRAJECTORY) if dim in labels}
    )
    ds = ds.assign_coords(carried_coords(given, ds))
    return schema.validate(ds, missing="mask")


def _of_types(
    x: Mapping[str, Any],
    of_nodes: Mapping[str, Any],
    times: Mapping[str, Any],
    of_edges: Mapping[str, Any],
    nodes: Any,
    circular: Circular,
) -> xr.Dataset:
    """See `from_arrays`: the dataset of nodes of several types."""
    names = [str(name) for name in x]
    if len(names) < 2:
        raise InvalidData(
            "several types of nodes are two or more",
            got=", ".join(names) or "an empty mapping",
            allowed='{"generator": a, "load": b}',
            fix="give the array itself where all nodes have one type",
        )
    if circular is not None:
        raise InvalidData(
            "circular features need nodes of one type",
            got=f"circular={circular!r} with the types {', '.join(names)}",
            allowed="circular=None",
            fix="leave it out, and give the angles continuous in time: np.unwrap(x, axis=1)",
        )
    given = {what: by_type_or_refuse(what, values, names) for what, values in of_nodes.items()}
    parts: dict[str, xr.Dataset] = {}
    for name, values in x.items():
        mine = {what: values_of[name] for what, values_of in given.items() if name in values_of}
        with naming(name):
            parts[name] = from_arrays(values, topology="none", **times, **mine)
    first = parts[names[0]]
    for name, one in parts.items():
        if one.sizes[TRAJECTORY] != first.sizes[TRAJECTORY] or not np.array_equal(
            one[TIME].values, first[TIME].values
        ):
            raise InvalidData(
                f"nodes of type {name!r} have other trajectories or times than those of {names[0]!r}",
                got=f"{one.sizes[TRAJECTORY]} trajectories of {one.sizes[TIME]} times",
                allowed=f"{first.sizes[TRAJECTORY]} trajectories of {first.sizes[TIME]} times",
                fix="give x (trajectory, time, node, feature) of every type at the same times",
            )
    counts = [one.sizes[NODE] for one in parts.values()]
    size = sum(counts)
    if isinstance(nodes, Mapping):
        by_names = by_type_or_refuse("nodes", nodes, names)
        nodes = [label for name in names for label in by_names.get(name, ())]
    labels = nodes if nodes is not None else _labels_of_parts(parts)
    labels = list(_labels_of(range(size) if labels is None else labels, size).values)
    # All nodes without features, for the edges and what belongs to trajectories.
    nothing = np.zeros((first.sizes[TRAJECTORY], first.sizes[TIME], size, 1))
    rest = from_arrays(nothing, time=first[TIME].values, nodes=labels, **of_edges)
    rest = rest.drop_vars([n for n, v in rest.variables.items() if {NODE, FEATURE} & set(v.dims)])
    rest = rest.assign_coords({n: first[n] for n in (TIME, TRAJECTORY) if n in first.coords})
    coords, at = as_coords(labels), 0
    for name, count in zip(names, counts, strict=True):
        here, at = np.arange(at, at + count), at + count
        parts[name] = parts[name].assign_coords(
            {
                NODE: [coords[i] for i in here],
                NODE_NUMBER: (NODE, here, {"long_name": "number of the node in the edges"}),
            }
        )
    return schema.validate(together(rest, parts), missing="mask")


def _labels_of_parts(parts: Mapping[str, xr.Dataset]) -> list[Any] | None:
    """Labels of the nodes of all types, where each has labels of its own that are no numbers from 0."""
    own = [one[NODE].values.tolist() for one in parts.values()]
    if all(each == list(range(len(each))) for each in own):
        return None
    labels = [label for each in own for label in each]
    return labels if len(set(labels)) == len(labels) else None


# ---- checks of the arguments ------------------------------------------------------------------


def _dates_of_step(dates: NDArray, dt: Any, unit: str) -> tuple[NDArray, str, str]:
    """The dates of x as numbers, their unit and the first; InvalidData where ``dt`` is not their step."""
    times, unit, origin = dates_as_numbers("the times of x", dates, unit)
    steps = np.diff(times)
    if steps.size and not np.allclose(steps, np.asarray(dt, np.float64), rtol=1e-6):
        raise InvalidData(
            "dt is another step than that of the times of x",
            got=f"dt={dt:g}, steps of x from {steps.min():g} to {steps.max():g} {unit}",
            allowed="the same step, in the same unit",
            fix="leave dt out: x has its times",
        )
    return times, unit, origin


def _labels_of(labels: Sequence[Any], size: int) -> NodeLabels:
    no_order = not hasattr(labels, "__len__") or isinstance(labels, str | set | frozenset)
    no_order = no_order or (hasattr(labels, "ndim") and labels.ndim != 1)
    if no_order or len(labels) != size:
        raise InvalidData(
            "nodes are the labels of the nodes of x",
            got=shown_value(labels, 80) if no_order else f"{len(labels)} labels",
            allowed=f"{size} labels, in the order of x",
            fix="a set has no order: give a list"
            if isinstance(labels, set | frozenset)
            else "leave nodes out: they are called 0, 1, 2, ... then",
        )
    return labels if isinstance(labels, NodeLabels) else NodeLabels.of(labels)


def _graph(
    edges: Any,
    topology: Any,
    labels: NodeLabels,
    directed: bool,
    self_loops: SelfLoops,
    of_edges: EdgeOptions,
) -> Graph:
    nodes = len(labels.values)
    if edges is not None and topology is not None:
        raise InvalidData("give edges or a topology", got="both", allowed="one of them")
    options: dict[str, Any] = dict(
        labels=labels, directed=directed, self_loops=self_loops, edge=of_edges
    )
    if edges is not None:
        return resolve_edges(edges, nodes, **options)
    if is_learn(topology):
        return Graph.single(
            np.zeros(0, np.int64), np.zeros(0, np.int64), nodes, source=topology.lower()
        )
    if topology is None:
        if nodes > 1:
            raise InvalidData(
                f"a dataset of {nodes} nodes needs a graph",
                got="neither edges nor topology",
                allowed='edges=[(0, 1), ...] or topology="ring"',
                fix='topology="learn" for a graph that is not known, "none" for nodes that are not '
                "coupled; pympnode.from_particles for particles, whose forces depend on their positions",
            )
        topology, options["directed"] = "none", False
    return resolve(topology, nodes, **options)


def is_learn(topology: Any) -> bool:
    """Whether the graph, or that of each trajectory, is not known, and is to be learned in training."""
    return isinstance(topology, str) and topology.lower() in ("learn", "learn each")


def _are_pairs(edges: Any) -> bool:
    if isinstance(edges, np.ndarray):
        return edges.ndim == 2 and edges.shape[1] == 2
    pairs = isinstance(edges, list | tuple) and len(edges) > 0
    return pairs and all(hasattr(e, "__len__") and len(e) == 2 for e in edges)


def _numbered(pairs: Any) -> list[tuple[Any, Any, float]]:
    """Pairs with their numbers, from 2 on, as weights, to find them in a graph."""
    # Weights that are all 1 would be dropped as no weights: no number is 1.
    return [(first, second, number + 2.0) for number, (first, second) in enumerate(pairs)]


def _weights_in_time(
    values: Any,
    graph: Graph,
    trajectories: int,
    times: int,
    pairs: int | None,
    numbers: NDArray[np.int64] | None,
) -> tuple[Graph, NDArray[np.float64]]:
    """The graph without weights, and ``values`` in the order of its edges, see `Arrays.edge_weight`.

    pairs: how many were listed, and ``numbers`` (edges,) that of each edge, or None. Raises `InvalidData`.
    """
    edges = graph.edges
    number = np.arange(edges)
    if pairs is not None and numbers is not None:
        number, edges = numbers, pairs
    elif graph.weight is not None:
        raise InvalidData(
            "weights are given twice",
            got="edge_weight= and a topology with weights",
            allowed="one of them",
            fix="topology=graph.with_weight(None)",
        )
    array = named_array("edge_weight", values, WEIGHT_DIMS, optional=(TRAJECTORY,)).values
    if hasattr(values, "dims") and array.ndim == 3 and TRAJECTORY not in values.dims:
        array = array[0]  # the axis that a DataArray lacked
    if array.shape[-2:] == (times - 1, edges) and array.ndim in (2, 3):  # without the last, unused
        array = np.concatenate([array, array[..., -1:, :]], axis=-2)
    if array.shape not in ((times, edges), (trajectories, times, edges)):
        raise InvalidData(
            "edge_weight does not fit the times of x and the edges",
            got=f"shape {np.shape(values)}",
            allowed=f"({times}, {edges}): (time, edge), or ({trajectories}, {times}, {edges}): "
            "(trajectory, time, edge)",
            fix="one weight for each time and edge; constant weights are a third column of edges",
        )
    return graph.with_weight(None), array[..., number]


def _shaped(
    name: str,
    values: Any,
    dims: tuple[str, ...],
    start: tuple[int, ...],
    labels: Mapping[str, list[Any]],
) -> tuple[NDArray | None, list[str] | None]:
    """``values`` as float64 of shape (*start, any), or None, and the names of its last axis."""
    if values is None:
        return None, None
    read = named_array(name, values, dims, optional=(TRAJECTORY,))
    array, axes = read.values, f"({', '.join(dims)})"
    if array.ndim == len(start) and start and array.shape == start[1:] + array.shape[-1:]:
        array = array[None]  # one trajectory, as x may be given
    if array.ndim != len(start) + 1 or array.shape[:-1] != start:
        raise InvalidData(
            f"{name} does not fit x",
            got=f"shape {np.shape(values)}",
            allowed=f"{axes} = ({', '.join(map(str, start))}, any)",
            fix="one value for each time; the last one is unused"
            if name == "control"
            else f"one row for each of the {start[-1]} nodes",
        )
    read = NamedArray(array, read.labels)
    for dim in (TRAJECTORY, NODE):
        if dim in dims:
            wanted = labels.get(dim, list(range(start[dims.index(dim)])))
            read = read.along(dim, dims.index(dim), wanted, name)
    if TIME in dims and TIME in labels and TIME in read.labels:
        read = read.along(TIME, dims.index(TIME), labels[TIME], name)
    names = read.labels.get(dims[-1])
    return read.values, None if names is None else [str(n) for n in names]


def _named(what: str, names: Any, count: int) -> list[str]:
    names = names_of(what, names)
    twice = what not in ("units", "split") and len(set(names)) < len(names)
    if len(names) != count or twice:
        raise InvalidData(
            f"{what} names two columns alike" if twice else f"{what} does not fit the data",
            got=f"{len(names)}: {', '.join(names[:6])}",
            allowed=f"{count} names" + ", each once" * twice,
        )
    return names


def _names_of(what: str, names: Any, values: NDArray | None) -> list[str] | None:
    return None if names is None or values is None else _named(what, names, values.shape[-1])
