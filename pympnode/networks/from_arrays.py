"""``from_arrays``: a network dataset of the user's arrays, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import POSITION, TIME
from ..datasets.reading import numbers, time_grid
from ..datasets.times import dates_as_numbers
from ..errors import InvalidData
from ..graph import Graph
from ..training.ranges import warn_user
from ..version import __version__
from . import schema
from .circular import Circular, with_circular
from .exchanged import refuse_exchanged, suspect_exchanged
from .graphs.topology import resolve


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
    circular: Circular = None,
) -> xr.Dataset:
    """A dataset of your own arrays, checked.

    Main arguments:
        x: (trajectory, time, node, feature), or (time, node, feature) for one trajectory. NaN is
            kept: train with ``missing="mask"``; the first state of a trajectory must be known.
        dt, time: the step of an even time grid, or the times (time,), which may be uneven. Dates are
            counted from the first one, in ``time_unit``, or where that is not given in days, h, min,
            s, ms, us or ns, whichever fits the step; the unit is stored, and the first date as the
            attribute ``origin`` of the times.
        edges, topology: pairs of node numbers (edges, 2), undirected unless ``directed``; or a
            topology name, a graph, an adjacency, or a list of graphs (``graph_of`` (trajectory,) are
            then the graph numbers of the trajectories; by default they take turns).
    Other arguments:
        u: inputs (trajectory, time, node, control), each held from t_i to t_(i+1).
        node_attribute: constants of the nodes (node, attribute).
        features, units, controls, attributes, time_unit: names and units.
        split: "train", "validation" or "test" for each trajectory. Trajectories marked "test" are
            not used in training, nor for the normalisation.
        circular: features that are positions on a circle, as phases are: names, whose periods
            follow from their units (rad, deg, turn), or periods by name, ``{"hour": 24.0}``. They are
            stored in the coordinate ``period``; a model then has their sine and cosine as inputs,
            and errors are of the shorter way around.
    Returns: an `xarray.Dataset` as `pympnode.networks.schema` describes it, float64.
    Raises: `InvalidData`, `InvalidGraph`.

    >>> import numpy as np
    >>> from_arrays(np.zeros((5, 21, 3, 1)), dt=0.1, edges=[(0, 1), (1, 2)]).receiver.values
    array([0, 1, 1, 2])
    """
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
    x = numbers("x", x)
    x = x[None] if x.ndim == 3 else x
    if x.ndim != 4:
        raise InvalidData(
            "x has the wrong number of axes",
            got=f"shape {np.shape(x)}",
            allowed="(trajectory, time, node, feature) or (time, node, feature)",
            fix="add an axis of length 1 for a single node or feature: x[..., None]",
        )
    trajectories, count, nodes, channels = x.shape
    refuse_exchanged(x, time=time, edges=edges, topology=topology, attribute=node_attribute)
    exchanged = suspect_exchanged(x)
    if exchanged:
        warn_user(exchanged)
    dt, time_unit, _ = dates_as_numbers("dt", dt, time_unit)
    time, time_unit, origin = dates_as_numbers("time", time, time_unit)
    times = time_grid(count, dt, time, "x", "(trajectory, time, node, feature)")
    graph = _graph(edges, topology, nodes, directed)
    u = _shaped("u", u, (trajectories, count, nodes), "(trajectory, time, node, control)")
    b = _shaped("node_attribute", node_attribute, (nodes,), "(node, attribute)")
    numbers_of = np.arange(trajectories, dtype=np.int64) % graph.graphs
    if graph_of is not None:
        numbers_of = np.asarray(graph_of)
        fits = numbers_of.shape == (trajectories,) and numbers_of.dtype.kind in "iu"
        if not fits or np.any(numbers_of >= graph.graphs):
            raise InvalidData(
                "graph_of must be the graph number of each trajectory",
                got=f"shape {numbers_of.shape}, dtype {numbers_of.dtype}",
                allowed=f"({trajectories},) whole numbers from 0 to {graph.graphs - 1}",
            )
    names = list(features) if features is not None else [f"x{i}" for i in range(channels)]
    ds = schema.unpack(
        schema.Arrays(x, times, graph, numbers_of.astype(np.int64), u, b),
        features=_named("features", names, channels),
        units=None if units is None else _named("units", units, channels),
        controls=_names_of("controls", controls, u),
        attributes=_names_of("attributes", attributes, b),
        time_unit=time_unit,
        split=None if split is None else np.array(_named("split", split, trajectories)),
        about={"kind": "given", "topology": list(graph.source), "version": __version__},
    )
    ds = with_circular(ds, circular)
    if origin:
        ds = ds.assign_coords({TIME: ds[TIME].assign_attrs(origin=origin)})
    return schema.validate(ds, missing="mask")


# ---- checks of the arguments ------------------------------------------------------------------


def _graph(edges: Any, topology: Any, nodes: int, directed: bool) -> Graph:
    if edges is not None and topology is not None:
        raise InvalidData("give edges or a topology", got="both", allowed="one of them")
    if edges is not None:
        return Graph.from_edges(edges, nodes, directed=directed, source="edge list")
    if topology is None:
        if nodes > 1:
            raise InvalidData(
                f"a dataset of {nodes} nodes needs a graph",
                got="neither edges nor topology",
                allowed='edges=[(0, 1), ...] or topology="ring"',
                fix='topology="none" for nodes that are not coupled; pympnode.from_particles for '
                "particles, whose forces depend on their positions",
            )
        topology = "none"
    return resolve(topology, nodes)


def _shaped(name: str, values: Any, start: tuple[int, ...], axes: str) -> NDArray | None:
    """``values`` as float64 of shape (*start, any), or None."""
    if values is None:
        return None
    array = numbers(name, values)
    if array.ndim == len(start) and start and array.shape == start[1:] + array.shape[-1:]:
        array = array[None]  # one trajectory, as x may be given
    if array.ndim != len(start) + 1 or array.shape[:-1] != start:
        raise InvalidData(
            f"{name} does not fit x",
            got=f"shape {np.shape(values)}",
            allowed=f"{axes} = ({', '.join(map(str, start))}, any)",
            fix="one value for each time; the last one is unused"
            if name == "u"
            else f"one row for each of the {start[0]} nodes",
        )
    return array


def _named(what: str, names: Any, count: int) -> list[str]:
    names = [str(name) for name in names]
    if len(names) != count:
        raise InvalidData(
            f"{what} does not fit the data",
            got=f"{len(names)}: {', '.join(names[:6])}",
            allowed=f"{count} names",
        )
    return names


def _names_of(what: str, names: Sequence[str] | None, values: NDArray | None) -> list[str] | None:
    return None if names is None or values is None else _named(what, names, values.shape[-1])
