"""Initial states, times, graphs and inputs of a rollout as checked arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import positive, whole
from ..datasets.names import (
    ATTRIBUTE_DIMS,
    CONTROL_DIMS,
    FEATURE,
    NODE,
    STATE_DIMS,
    TIME,
    TRAJECTORY,
)
from ..errors import InvalidData, InvalidOption
from ..graph import Graph
from ..memory import need
from . import schema
from .agreement import labels as names_along
from .graphs.labels import plain
from .graphs.topology import resolve
from .memory import require_rollout
from .missing import interpolated
from .named_arrays import NamedArray, named_array
from .node_types import (
    NodeTypes,
    by_type_or_refuse,
    counts_of,
    cut,
    naming,
    node_values,
    plain_names,
    types_of,
)
from .ranges import TrainingRange
from .spec import ModelSpec


class RolloutModel(Protocol):
    """The attributes of a `Model` that a rollout's start depends on.

    A protocol, because `Model` imports this module.
    """

    @property
    def spec(self) -> ModelSpec: ...
    @property
    def features(self) -> tuple[str, ...]: ...
    @property
    def types(self) -> NodeTypes | None: ...
    @property
    def system(self) -> str: ...
    @property
    def trained(self) -> TrainingRange: ...
    @property
    def delayed(self) -> bool: ...
    def check(self, arrays: schema.Arrays, features: tuple[str, ...] | None = None) -> None: ...


def start_of_dataset(
    model: RolloutModel,
    ds: xr.Dataset,
    steps: int | None,
    dt: float | None,
    control: Any,
    attribute: Any,
) -> schema.Arrays:
    """First states, times, graphs and inputs of a dataset.

    ``steps``, ``dt``, ``control`` (trajectory, time, node, control) and ``attribute`` (node,
    attribute), or (trajectory, node, attribute), replace those of the dataset. On another time grid the
    controls of the dataset stay constant over its own intervals; weights of edges that vary in time are
    those of the dataset, on its own time grid. Raises `InvalidData`.
    """
    if ds.sizes.get(TIME) == 1:
        # A dataset of initial states alone, where a time grid needs two times: the second one is
        # made up, and replaced by the new grid below.
        step = dt or model.trained.dt[1]
        later = ds.assign_coords({TIME: ds[TIME] + step})
        ds = xr.concat([ds, later], dim=TIME, data_vars="minimal")
        steps = steps or model.trained.steps
    arrays = schema.pack(ds, missing="mask", types=model.types)
    if steps is not None or dt is not None:
        count, _, nodes, _ = arrays.x.shape
        require_rollout(
            model.spec,
            count,
            arrays.steps if steps is None else steps,
            nodes,
            delayed=model.delayed,
        )
        time = new_times(arrays.time, steps, dt)
        u = None if arrays.u is None else held_at(arrays.u, arrays.time, time)
        weight = _weights_until(arrays, time)
        arrays = replace(arrays, time=time, u=u, mask=None, edge_weight=weight)
    labels = labels_of(ds)
    if arrays.types is not None:
        counts = counts_of(ds)
        arrays = _with_inputs_by_type(arrays, arrays.types, counts, control, attribute)
        control = attribute = None
    if control is not None:
        trajectories, _, nodes, _ = arrays.x.shape
        u = controls_for(
            control, trajectories, len(arrays.time), nodes, model.spec.controls, labels
        )
        arrays = replace(arrays, u=u)
    if attribute is not None:
        arrays = replace(arrays, attribute=_attribute(attribute, labels, arrays.x))
    model.check(arrays, names_along(ds, FEATURE))
    return arrays


def start_of_states(
    model: RolloutModel,
    initial: Any,
    steps: int | None,
    dt: float | None,
    topology: Any,
    graph_seed: int,
    control: Any,
    attribute: Any,
) -> schema.Arrays:
    """States (node, feature) or (trajectory, node, feature) on a graph.

    The dims and labels of a DataArray are read by name. Of nodes of several types states are given by
    type. Raises `InvalidData`.
    """
    if model.types is not None:
        return _start_by_type(
            model, model.types, initial, steps, dt, topology, graph_seed, control, attribute
        )
    read = states_of(initial, model.features)
    x = read.values
    if x.ndim != 3 or x.shape[-1] != len(model.features) or 0 in x.shape:
        raise InvalidData(
            "initial states have the wrong shape",
            got=np.shape(initial),
            allowed=f"(node, {len(model.features)}) or (trajectory, node, {len(model.features)})",
            fix=f"the last axis holds the features {', '.join(model.features)}",
        )
    if not np.isfinite(x).all():
        raise InvalidData("initial states must be finite", got="NaN or infinity")
    step = model.trained.dt[1] if dt is None else dt
    require_rollout(
        model.spec, len(x), model.trained.steps if steps is None else steps, x.shape[1],
        delayed=model.delayed,
    )  # fmt: skip
    time = new_times(np.zeros(1), model.trained.steps if steps is None else steps, step)
    labels = read.labels.get(NODE)
    graph = graph_for(topology, x.shape[1], graph_seed, model.system, labels)
    graph_of = np.arange(len(x), dtype=np.int64) % len(graph.nodes)
    u = control
    if u is not None:
        u = controls_for(u, len(x), len(time), x.shape[1], model.spec.controls, labels)
    b = None if attribute is None else _attribute(attribute, labels, x)
    arrays = schema.Arrays(x[:, None], time, graph, graph_of, u, b)
    model.check(arrays)
    return arrays


def _start_by_type(
    model: RolloutModel,
    types: NodeTypes,
    initial: Any,
    steps: int | None,
    dt: float | None,
    topology: Any,
    graph_seed: int,
    control: Any,
    attribute: Any,
) -> schema.Arrays:
    given = by_type_or_refuse("the initial state", initial, types.names)
    features = dict(zip(types.names, cut(model.features, types.channels), strict=True))
    each: dict[str, NDArray] = {}
    labels: list[Any] = []
    for name in (name for name in types.names if name in given):
        with naming(name):
            wanted = plain_names(name, features[name])
            read = states_of(given[name], wanted)
            x = read.values
            if x.ndim != 3 or x.shape[-1] != len(wanted) or 0 in x.shape:
                raise InvalidData(
                    "initial states have the wrong shape",
                    got=np.shape(given[name]),
                    allowed=f"(node, {len(wanted)}) or (trajectory, node, {len(wanted)})",
                    fix=f"the last axis holds the features {', '.join(wanted)}",
                )
            if not np.isfinite(x).all():
                raise InvalidData("initial states must be finite", got="NaN or infinity")
        labels += read.labels.get(NODE, [None] * x.shape[1])
        each[name] = x
    several = {len(x) for x in each.values()}
    if len(several) != 1:
        raise InvalidData(
            "the types of nodes have other numbers of trajectories",
            got=", ".join(f"{name}: {len(x)}" for name, x in each.items()) or "no states",
            allowed="the same number of all, and nodes of one type at least",
            fix="give states (trajectory, node, feature) of as many trajectories for each type",
        )
    counts = {name: x.shape[1] for name, x in each.items()}
    trajectories, nodes = several.pop(), sum(counts.values())
    x = np.zeros((trajectories, nodes, max(types.channels)))
    at = 0
    for values in each.values():
        x[:, at : at + values.shape[1], : values.shape[2]] = values
        at += values.shape[1]
    step = model.trained.dt[1] if dt is None else dt
    length = model.trained.steps if steps is None else steps
    require_rollout(model.spec, trajectories, length, nodes)
    time = new_times(np.zeros(1), length, step)
    known = None if any(label is None for label in labels) else labels
    graph = graph_for(topology, nodes, graph_seed, model.system, known)
    node_type = np.repeat([types.names.index(name) for name in counts], [*counts.values()])
    graph = graph.with_types(np.tile(node_type, graph.graphs))
    graph_of = np.arange(trajectories, dtype=np.int64) % graph.graphs
    arrays = schema.Arrays(x[:, None], time, graph, graph_of, types=types)
    return _with_inputs_by_type(arrays, types, counts, control, attribute)


def _with_inputs_by_type(
    arrays: schema.Arrays,
    types: NodeTypes,
    counts: Mapping[str, int],
    control: Any,
    attribute: Any,
) -> schema.Arrays:
    """``arrays`` with controls and attributes given by type; ``counts``: nodes of each type there is.

    Raises `InvalidData` where those of a type are lacking.
    """
    trajectories, nodes, times = len(arrays.x), arrays.x.shape[2], len(arrays.time)
    for what, values, widths, held in (
        ("control", control, types.controls, arrays.u),
        ("node_attribute", attribute, types.attributes, arrays.attribute),
    ):
        given = by_type_or_refuse(what, values, types.names)
        wanted = {
            name: width
            for name, width in zip(types.names, widths, strict=True)
            if width and name in counts
        }
        useless = [name for name in given if name not in wanted]
        lacking = [name for name in wanted if name not in given]
        if useless or (lacking and held is None):
            raise InvalidData(
                f"types of nodes lack {what}, or do not take it",
                got=f"{what} of {', '.join(given) or 'no type'}",
                allowed=", ".join(wanted) or "no type",
                fix=f"give {what}={{{', '.join(f'{n!r}: ...' for n in wanted)}}}"
                if wanted
                else f"leave {what} out",
            )
        if not given:
            continue
        varied = what == "control" or any(np.ndim(v) == 3 for v in given.values())
        shape: tuple[int, ...] = (nodes, max(widths))
        shape = (trajectories, times, *shape) if what == "control" else shape
        if what != "control" and (varied or (held is not None and held.ndim == 3)):
            shape = (trajectories, *shape)
        out = np.zeros(shape) if held is None else np.array(np.broadcast_to(held, shape))
        starts = dict(zip(counts, np.cumsum([0, *counts.values()]).tolist()))
        for name, one in given.items():
            here = slice(starts[name], starts[name] + counts[name])
            with naming(name):
                if what == "control":
                    read = controls_for(one, trajectories, times, counts[name], wanted[name])
                else:
                    read = _attribute(one, None, arrays.x[:, :, here])
                    if read.shape[-1] != wanted[name]:
                        raise InvalidData(
                            "node_attribute has another number of components",
                            got=read.shape[-1],
                            allowed=wanted[name],
                        )
            out[..., here, : wanted[name]] = read
        arrays = replace(arrays, u=out) if what == "control" else replace(arrays, attribute=out)
    return arrays


def history_for(
    history: Any, x: NDArray, prefix: int, labels: Sequence[Any] | None = None
) -> NDArray[np.float64] | None:
    """``history`` (trajectory, time, node, feature), or without the first axis the same for all, checked
    against states x (trajectory, ..., node, feature) and the ``prefix`` that the delays take.

    Raises `InvalidData`.
    """
    if history is None:
        return None
    read = named_array("history", history, STATE_DIMS, optional=(TRAJECTORY,))
    values = read.along(NODE, -2, labels, "history").values
    if values.ndim == 3:
        values = np.broadcast_to(values, (len(x), *values.shape))
    wanted = (len(x), *x.shape[-2:])
    fits = values.ndim == 4 and (len(values), *values.shape[2:]) == wanted
    if not fits or values.shape[1] < prefix:
        raise InvalidData(
            "history does not fit the initial states and the delays",
            got=f"shape {np.shape(history)}",
            allowed=f"({wanted[0]}, {prefix} or more, {wanted[1]}, {wanted[2]}): (trajectory, time, node, "
            "feature), the last time one step before the start",
            fix="give the states at the steps before the start, or a dataset, whose first times they are",
        )
    if not np.isfinite(values).all():
        raise InvalidData("the history must be finite", got="NaN or infinity")
    return values


def past_of_dataset(ds: xr.Dataset, dt: float, prefix: int) -> NDArray:
    """States (trajectory, prefix + 1, node, feature) of the first times, missing ones interpolated.

    Raises `InvalidData` where the record is too short, or its step is not ``dt``.
    """
    arrays = schema.pack(ds, missing="mask")
    if arrays.steps < prefix:
        raise InvalidData(
            "the record is shorter than the past that the delays take",
            got=f"{arrays.steps} steps of {arrays.time[1] - arrays.time[0]:.4g}",
            allowed=f"at least {prefix}: the longest delay, and no fewer than 4",
            fix="give a longer record, or history= with the states before its start",
        )
    step = float(arrays.time[1] - arrays.time[0])
    if not arrays.even or abs(step - dt) > 1e-6 * dt:
        raise InvalidData(
            "the past is known at the times of the data alone",
            got=f"steps of {dt:.6g}, the data have {step:.6g}",
            allowed=f"dt={step:.6g} on an even time grid",
            fix="leave dt out",
        )
    x = arrays.x
    if arrays.mask is not None:
        x = interpolated(x, arrays.time, np.isfinite(x))
    return x[:, : prefix + 1]


def states_of(initial: Any, features: Sequence[str]) -> NamedArray:
    """Initial states (trajectory, node, feature) of an array; of a DataArray by its dims and labels.

    Raises InvalidData where they are no numbers or have other features.
    """
    dims = (TRAJECTORY, NODE, FEATURE)
    read = named_array("the initial state", initial, dims, optional=(TRAJECTORY, NODE, FEATURE))
    values = read.values[None] if read.values.ndim == 2 else read.values
    named = [label for label in read.labels.get(FEATURE, ()) if isinstance(label, str)]
    wanted = list(features) if named else None
    return NamedArray(values, read.labels).along(FEATURE, -1, wanted, "the initial state")


def labels_of(ds: xr.Dataset) -> list[Any] | None:
    """The labels of the nodes of a dataset, None where they are their numbers."""
    values = node_values(ds, NODE) if types_of(ds) else None
    if values is not None:
        return [plain(v) for v in values]
    return [plain(v) for v in ds[NODE].values] if NODE in ds.coords else None


def kept_coords(initial: Any, ds: xr.Dataset, same_times: bool) -> dict[str, Any]:
    """The coordinates of a start that its rollout ``ds`` keeps: labels, and times that are the same.

    ``initial``: a dataset, or states as a DataArray.
    """
    if not isinstance(initial, xr.Dataset | xr.DataArray):
        return {}
    of_nodes = {NODE, *(f"{NODE}_{name}" for name in types_of(ds))}
    dims = {TRAJECTORY, *of_nodes} | (
        {*ds.dims} if same_times and isinstance(initial, xr.Dataset) else set()
    )
    coords = {
        str(name): coord.variable
        for name, coord in initial.coords.items()
        if coord.dims
        and set(coord.dims) <= dims
        and all(coord.sizes[dim] == ds.sizes[dim] for dim in coord.dims)
    }
    if not same_times or not isinstance(initial, xr.Dataset):
        coords.pop(TIME, None)
    return coords


def _attribute(attribute: Any, labels: Sequence[Any] | None, x: NDArray) -> NDArray[np.float64]:
    """Attributes (node, attribute) or (trajectory, node, attribute) of states x (trajectory, ...,
    node, feature). Raises InvalidData."""
    dims = ATTRIBUTE_DIMS if np.ndim(attribute) == 3 else ATTRIBUTE_DIMS[1:]
    read = named_array("node_attribute", attribute, dims)
    values = read.along(NODE, -2, labels, "node_attribute").values
    trajectories, nodes = len(x), x.shape[-2]
    if values.shape[:-1] not in ((nodes,), (trajectories, nodes)):
        raise InvalidData(
            "node_attribute does not fit the initial states",
            got=np.shape(attribute),
            allowed=f"({nodes}, any): (node, attribute), or ({trajectories}, {nodes}, any): "
            "(trajectory, node, attribute)",
            fix="one row for each node",
        )
    return values


def on_graph(
    arrays: schema.Arrays,
    topology: Any,
    seed: int,
    system: str,
    labels: Sequence[Any] | None = None,
) -> schema.Arrays:
    """The same trajectories on another graph."""
    graph = graph_for(topology, arrays.x.shape[2], seed, system, labels)
    if arrays.node_type is not None:
        graph = graph.with_types(np.tile(arrays.node_type, graph.graphs))
    graph_of = np.arange(arrays.trajectories, dtype=np.int64) % len(graph.nodes)
    return replace(arrays, graph=graph, graph_of=graph_of, edge_weight=None)


def graph_for(
    topology: Any,
    nodes: int,
    graph_seed: int,
    system: str,
    labels: Sequence[Any] | None = None,
) -> Graph:
    """The graph of ``topology`` with that many nodes, of these labels (by default their numbers).

    Raises `InvalidGraph`, `InvalidOption`.
    """
    if topology is None:
        if nodes > 1:
            raise InvalidOption(
                f"a rollout of {nodes} nodes needs a graph",
                got="topology=None",
                allowed='topology="BA", ("BA", {"k": 3}), a networkx graph, edges, an adjacency',
                fix="pass topology=, or a dataset that holds its graph",
            )
        topology = "none"
    return resolve(
        topology,
        nodes,
        graphs=1,
        graph_seed=graph_seed,
        system=system or None,
        labels=range(nodes) if labels is None else labels,
    )


def new_times(
    time: NDArray[np.float64], steps: int | None, dt: float | None
) -> NDArray[np.float64]:
    """A time grid of ``steps`` intervals of ``dt`` that starts at time[0].

    Without ``dt`` it is ``time``, cut after ``steps`` intervals or extended by its last interval.
    """
    length = len(time) - 1 if steps is None else whole("steps", steps)
    need(24 * (length + 1), f"a grid of {length + 1:,} times", "ask for fewer steps=")
    if dt is not None:
        return time[0] + positive("dt", dt) * np.arange(length + 1)
    if length < len(time):
        return time[: length + 1]
    more = time[-1] + np.diff(time)[-1] * np.arange(1, length - len(time) + 2)
    return np.concatenate([time, more])


def _weights_until(arrays: schema.Arrays, time: NDArray[np.float64]) -> NDArray | None:
    """The weights of ``arrays`` that vary in time, over the first of its times, which ``time`` must
    be. Raises `InvalidData` for other times."""
    if arrays.edge_weight is None:
        return None
    count, known = len(time), arrays.time
    if count > len(known) or not np.allclose(
        time, known[:count], rtol=0, atol=1e-6 * float(np.diff(known).min())
    ):
        raise InvalidData(
            "the weights of edges vary in time, and they are not known at the times of the rollout",
            got=f"{count - 1} steps to time {time[-1]:.6g}, the first of {time[1] - time[0]:.6g}",
            allowed=f"up to {len(known) - 1} steps to time {known[-1]:.6g}, the first of "
            f"{known[1] - known[0]:.6g}",
            fix="leave steps and dt out, or take fewer steps; for other times give a dataset that has "
            "edge_weight(time, edge) at them (its states after the first may be NaN), or constant "
            "weights: topology=graph.with_weight(values)",
        )
    return arrays.edge_weight[..., :count, :]


def controls_for(
    control: Any,
    trajectories: int,
    times: int,
    nodes: int,
    width: int,
    labels: Sequence[Any] | None = None,
) -> NDArray[np.float64]:
    """Controls as (trajectory, time, node, control), checked.

    ``control`` may lack the first axis (the same controls for all trajectories) and the last time,
    which is not used. The dims of a DataArray are read by name, and its nodes by the ``labels`` of
    the nodes. Raises `InvalidData`.
    """
    read = named_array("control", control, CONTROL_DIMS, optional=(TRAJECTORY,))
    u = read.along(NODE, -2, labels, "control").values
    if isinstance(control, xr.DataArray) and u.ndim == 4 and len(u) == 1 < trajectories:
        u = u[0]
    if u.ndim == 3:
        u = np.broadcast_to(u, (trajectories, *u.shape))
    if u.ndim == 4 and u.shape[1] == times - 1:
        u = np.concatenate([u, u[:, -1:]], axis=1)
    wanted = (trajectories, times, nodes, width)
    if u.shape != wanted:
        raise InvalidData(
            "controls have the wrong shape",
            got=np.shape(control),
            allowed=f"{wanted}: (trajectory, time, node, control); the last time is unused",
            fix="give one value for each interval" if width else "leave control= out",
        )
    bad = np.argwhere(~np.isfinite(u[:, :-1]))
    if bad.size:
        raise InvalidData(
            "controls must be finite",
            got="{} at trajectory {}, time {}, node {}, control {}".format(
                u[tuple(bad[0])], *bad[0]
            ),
            allowed="finite numbers at all times but the last",
        )
    return u


def held_at(u: NDArray, time: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray:
    """Controls u (trajectory, time, node, control), constant over the intervals of ``time``, at the
    times ``wanted``; after the last interval its value is kept."""
    # The last control of a dataset is not used, and may be NaN.
    last = u.shape[1] - 1 if np.isfinite(u[:, -1]).all() else max(u.shape[1] - 2, 0)
    # A time that equals a grid point to rounding belongs to the interval that starts there.
    slack = 1e-9 * (time[-1] - time[0])
    at = np.searchsorted(time, wanted + slack, side="right") - 1
    return u[:, np.clip(at, 0, last)]
