"""Rollouts on a graph whose nodes are divided among processes (``Model.rollout(partition=)``)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import CONTROL, NODE_NUMBER, STATE, TIME, TRAJECTORY
from ..datasets.times import even_times
from ..errors import InvalidData, InvalidOption
from ..graph import Graph
from ..training.group import ALONE
from ..training.processes import current
from . import schema
from .agreement import agree
from .edge_weights import arrays_for_model, graph_for_program
from .partition import Part
from .partition_data import divide
from .rollout_start import kept_coords, new_times, start_of_dataset
from .velocities import for_model


def rollout_in_parts(
    model: Any,
    initial: Any,
    choice: str | NDArray,
    *,
    steps: int | None,
    dt: float | None,
    ignore_weights: bool,
    **others: Any,
) -> xr.Dataset:
    """The rollout of this process's nodes; every process of the group calls it with the same arguments.

    model: a `Model`. initial: a dataset, opened lazily where it is large. choice: see
    `partition.check_partition`. others: keywords of `Model.rollout` that do not go with a partition.
    Raises `InvalidOption`, `InvalidData`, `EngineUnavailable`.
    """
    _require(model, initial, others)
    if model.members > 1:
        each = [
            rollout_in_parts(
                model.member(i), initial, choice, steps=steps, dt=dt, ignore_weights=ignore_weights
            )
            for i in range(model.members)
        ]
        own = [STATE, "finite"]
        together = xr.concat(
            [one[own] for one in each], dim=xr.Variable("member", np.arange(model.members))
        )
        return each[0].drop_vars(own).merge(together, combine_attrs="override")
    times = even_times(initial[TIME].values) if initial.sizes[TIME] > 1 else None
    if times is not None and CONTROL not in initial:
        # Of the states the first are needed; the others may be larger than memory.
        initial = initial.isel({TIME: slice(0, 2)})
    ds, part = divide(initial, choice, current() or ALONE)
    ds = agree(for_model(ds, model.features), model.names)
    first_times = times is None or CONTROL in initial
    arrays = start_of_dataset(
        model, ds, steps if first_times else None, dt if first_times else None, None, None
    )
    if not first_times:
        assert times is not None
        arrays = replace(arrays, time=new_times(times, steps, dt))
    arrays = arrays_for_model(model, arrays, ignore_weights=ignore_weights)
    return _rolled_out(model, arrays, ds, part, steps is None and dt is None)


def _rolled_out(
    model: Any, arrays: schema.Arrays, ds: xr.Dataset, part: Part, same_times: bool
) -> xr.Dataset:
    program = model.bind(kernel="torch")
    u, attribute = (
        None if values is None or scale is None else scale.apply(values)
        for scale, values in (
            (model.control_scale, arrays.u),
            (model.attribute_scale, arrays.attribute),
        )
    )
    own, start = slice(len(part.own)), arrays.x[:, 0]
    result = program.rollout(
        model.theta,
        model.state_scale.apply(start),
        graph_for_program(model, arrays.graph),
        arrays.time / model.time_scale,
        graph_of=arrays.graph_of,
        u=u,
        attribute=attribute,
        part=part,
        **({} if arrays.edge_weight is None else {"edge_weight": arrays.edge_weight}),
    )
    state = model.state_scale.undo(result.state[:, :, own])
    state[:, 0] = start[:, own]
    overflowed = (~np.isfinite(state)).sum(axis=(1, 2, 3)).astype(float)
    none = np.zeros(0, np.int64)
    predicted = schema.Arrays(
        state.astype(model.theta.dtype),
        arrays.time,
        Graph.single(none, none, len(part.own)),
        np.zeros(len(state), np.int64),
    )
    out = schema.unpack(
        predicted,
        features=model.features,
        units=model.units,
        time_unit=model.time_unit,
        about={
            "kind": "rollout",
            "system": model.system,
            "engine": model.engine,
            "kernel": program.kernel,
            "part": [part.group.rank, part.group.size],
        },
    ).drop_dims("edge")
    out["finite"] = (
        TRAJECTORY,
        part.group.sum(overflowed) == 0,
        {"long_name": "no value overflowed"},
    )
    out = out.assign_coords(kept_coords(ds.isel(node=own), out, same_times))
    facts = {"long_name": "number of the node in the whole graph"}
    return out.assign_coords({NODE_NUMBER: ("node", part.own, facts)})


def _require(model: Any, initial: Any, others: dict[str, Any]) -> None:
    given = [name for name, value in others.items() if value is not None]
    if not isinstance(initial, xr.Dataset):
        raise InvalidData(
            "a graph is divided with the dataset that it is in",
            got=type(initial).__name__,
            allowed="a dataset, or the path of one",
            fix="pympnode.from_arrays(states, dt=..., topology=...) makes one",
        )
    if model.unit_norm:
        given.append("a model with unit_norm")
    if model.delayed:
        given.append("a model with delays")
    if model.engine != "torch":
        given.append(f"a model of the engine {model.engine!r}")
    if given:
        raise InvalidOption(
            "this does not go with a graph that is divided among processes",
            got=", ".join(given),
            allowed="a dataset with its graph, controls and attributes; steps=, dt=, ignore_weights=",
            fix="leave partition out, or put the values into the dataset",
        )
