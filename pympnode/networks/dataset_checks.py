"""Checks of a whole network dataset: that it is what `pympnode.networks.schema` describes."""

from __future__ import annotations

import numpy as np
import xarray as xr

from ..config import arguments, choice
from ..datasets.names import (
    ATTRIBUTE,
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
    NODE,
    NODE_ATTRIBUTE,
    RECEIVER,
    SENDER,
    STATE,
    STATE_DIMS,
    TIME,
    TRAJECTORY,
    Missing,
)
from ..datasets.record import record
from ..datasets.split import check_split
from ..datasets.times import even_times, repeated, rounding
from ..edge_values import checked_delay
from ..errors import InvalidData, one_line
from ..files import kinds
from ..systems.registry import get, names
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
    naming,
    part,
    types_of,
)
from .variable_dims import attribute_dims, weight_dims


@arguments(missing=choice("error", "mask"))
def validate(ds: xr.Dataset, *, missing: Missing = "error") -> xr.Dataset:
    """Return ``ds`` if it is a network dataset, as `pympnode.networks.schema` describes it.

    With ``missing="mask"`` NaN in ``state`` means missing. Rollouts start at the first time: what is
    missing there is filled when the data are used (`networks.missing`), with a warning. Raises
    `InvalidData`.
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
        _require_variable(ds, NODE_ATTRIBUTE, attribute_dims(ds))
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
    """`xr.concat` repeats the graph along the new axis by default, which this refuses."""
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
    times = even_times(ds[TIME].values)
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
    for name, dims in ((EDGE_WEIGHT, weight_dims(ds)), (EDGE_ATTRIBUTE, (EDGE, EDGE_FEATURE))):
        if name in ds:
            _require_variable(ds, name, dims)
            # What is given at the last time is of no interval.
            _check_finite(ds.isel({TIME: slice(None, -1)}) if TIME in dims else ds, name)
    if EDGE_DELAY in ds:
        _require_variable(ds, EDGE_DELAY, (EDGE,))
        _check_finite(ds, EDGE_DELAY)
        delay = checked_delay(ds[EDGE_DELAY].values, ds.sizes[EDGE])
        time = even_times(ds[TIME].values)
        check_delays(delay, time, bool(np.allclose(np.diff(time), time[1] - time[0], rtol=1e-6,
                                                   atol=2.0 * rounding(time))))  # fmt: skip
    if EDGE_WEIGHT in ds or EDGE_ATTRIBUTE in ds or EDGE_DELAY in ds:
        check_edges_once(ds)


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
