"""What a picture needs of a dataset: one trajectory as arrays, with the words for its axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ...datasets.names import (
    EDGE_GRAPH,
    FEATURE,
    GRAPH,
    NODE,
    RECEIVER,
    SENDER,
    STATE,
    TIME,
    TRAJECTORY,
    UNIT,
)
from ...datasets.record import record
from ...errors import InvalidData, UnknownName, unknown_name
from ...plotting.choosing import nearest, position

PREDICTED = "predicted"
MEMBER = "member"


@dataclass(frozen=True, eq=False)
class View:
    """One trajectory: ``x`` (time, node, feature), ``time`` (time,), edges of its own graph.

    Of an ensemble's rollout ``x`` is the mean over members, ``band`` their lowest and highest.
    """

    x: NDArray
    time: NDArray
    time_unit: str
    features: tuple[str, ...]
    units: tuple[str, ...]
    angles: tuple[bool, ...]
    sender: NDArray[np.int64]
    receiver: NDArray[np.int64]
    system: str = ""
    band: tuple[NDArray, NDArray] | None = None

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.x.shape[1]

    @property
    def degree(self) -> NDArray[np.int64]:
        """How many nodes each node hears."""
        return np.bincount(self.receiver, minlength=self.nodes)

    def feature(self, name: str | int | None) -> int:
        """The position of a feature given by name or position; the first by default."""
        if name is None:
            return 0
        if isinstance(name, int) and -len(self.features) <= name < len(self.features):
            return name % len(self.features)
        if name not in self.features:
            raise unknown_name("feature", name, self.features)
        return self.features.index(str(name))

    def at(self, time: float | None) -> int:
        """The position of the time closest to ``time``; the last one by default."""
        return nearest(self.time, time)


def view(ds: xr.Dataset, trajectory: int = 0) -> View:
    """Trajectory number ``trajectory`` of a dataset, a rollout or an evaluation.

    Raises `InvalidData` when there are no states to draw, `InvalidOption` when there are fewer
    trajectories.
    """
    state = states(ds)
    count = state.sizes[TRAJECTORY]
    number = position(trajectory, count)
    one = state.isel({TRAJECTORY: number})
    order = (TIME, NODE, FEATURE)
    band = None
    if MEMBER in one.dims:
        band = (one.min(MEMBER).transpose(*order).values, one.max(MEMBER).transpose(*order).values)
        one = one.mean(MEMBER)
    x = one.transpose(*order).values
    sender, receiver = _edges(ds, number, count)
    time = state[TIME]
    features = tuple(str(f) for f in state[FEATURE].values)
    units = ("1",) * len(features)
    if UNIT in state.coords:
        units = tuple(str(u) for u in state[UNIT].values)
    system = str(record(ds).get("system", ""))
    return View(
        np.asarray(x, dtype=np.float64),
        np.asarray(time.values, dtype=np.float64),
        str(time.attrs.get("units", "1")),
        features,
        units,
        _angles(system, len(features)),
        sender,
        receiver,
        system,
        band,
    )


def states(ds: xr.Dataset) -> xr.DataArray:
    """The states (trajectory, time, node, feature) of a dataset, or of an evaluation's rollout."""
    name = STATE if STATE in ds else PREDICTED
    if name not in ds:
        raise InvalidData(
            "there are no states to draw",
            got=", ".join(map(str, ds.data_vars)) or "no variables",
            allowed="a dataset with state(trajectory, time, node, feature)",
            fix="pass what pympnode.simulate or model.rollout returned",
        )
    state = ds[name]
    for dim in (TRAJECTORY, TIME, NODE, FEATURE):
        if dim not in state.dims:
            # `ds.isel(node=0)` leaves a scalar behind: it is still one node.
            state = state.expand_dims(dim)
    return state


def values(ds: xr.Dataset) -> NDArray[np.float64]:
    """(trajectory, time, node, feature) of all; the mean over the members of an ensemble."""
    state = states(ds)
    if MEMBER in state.dims:
        state = state.mean(MEMBER)
    order = (TRAJECTORY, TIME, NODE, FEATURE)
    return np.asarray(state.transpose(*order).values, dtype=np.float64)


def pair(truth: xr.Dataset, predicted: xr.Dataset, trajectory: int = 0) -> tuple[View, View]:
    """The same trajectory of both, or `InvalidData` when they do not fit together."""
    one, two = view(truth, trajectory), view(predicted, trajectory)
    if one.x.shape != two.x.shape or one.features != two.features:
        raise InvalidData(
            "truth and prediction do not fit together",
            got=f"(time, node, feature) {one.x.shape} and {two.x.shape}",
            allowed="the same times, nodes and features",
            fix="draw ds beside model.rollout(ds)",
        )
    return one, two


def refuse_particles(evaluation: Any, instead: str) -> None:
    """Raise `InvalidData` for an evaluation of particles; ``instead`` is the picture for those."""
    if isinstance(evaluation, xr.Dataset) and "horizon" in evaluation.dims:
        raise InvalidData(
            "this is an evaluation of particles",
            got=", ".join(map(str, evaluation.data_vars)),
            allowed="what pympnode.evaluate returned for a model of networks",
            fix=f"draw it with pympnode.plotting.{instead}",
        )


def _edges(ds: xr.Dataset, number: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    empty = np.zeros(0, dtype=np.int64)
    if SENDER not in ds or RECEIVER not in ds:
        return empty, empty
    sender = ds[SENDER].values.astype(np.int64)
    receiver = ds[RECEIVER].values.astype(np.int64)
    if EDGE_GRAPH in ds and GRAPH in ds:
        of = np.broadcast_to(ds[GRAPH].values, (count,))
        mine = ds[EDGE_GRAPH].values == of[number]
        sender, receiver = sender[mine], receiver[mine]
    return sender, receiver


def _angles(system: str, features: int) -> tuple[bool, ...]:
    """Which features are angles: what the named system says of itself, none when it is unknown."""
    from ...systems.registry import get

    try:
        state = get(system).state
    except UnknownName:
        return (False,) * features
    kinds = [v.kind == "angle" for v in state for _ in range(v.components)]
    return tuple(kinds) if len(kinds) == features else (False,) * features
