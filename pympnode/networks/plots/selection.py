"""``View``: one trajectory of a dataset as arrays, with the names and units for its axes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ...datasets.names import (
    EDGE,
    EDGE_GRAPH,
    EDGE_WEIGHT,
    FEATURE,
    GRAPH,
    NODE,
    PREDICTED,
    RECEIVER,
    SENDER,
    STATE,
    TIME,
    TRAJECTORY,
    UNIT,
)
from ...datasets.record import record
from ...errors import InvalidData, UnknownName, shown_value, unknown_name
from ...plotting.choosing import is_particle_evaluation, nearest, position
from ...uncertainty import BOUND, LEVEL, MEMBER, STATE_STD
from ..node_types import types_of
from ..uncertainty import interval


@dataclass(frozen=True, eq=False)
class View:
    """One trajectory: ``x`` (time, node, feature), ``time`` (time,), the edges of its graph and
    their ``weight`` (edge,), None where they have none.

    ``angles`` (feature,): which features are angles. For the rollout of an ensemble ``x`` is the mean
    over its ``members`` and ``band`` their minimum and maximum, of a calibrated model its 90 % interval
    of the state; ``band_label`` says which. ``covered``: of a truth beside a longer prediction the
    number of times that it has; its states are NaN after those.
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
    weight: NDArray[np.float64] | None = None
    members: int = 1
    band_label: str = ""
    covered: int | None = None

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.x.shape[1]

    @property
    def degree(self) -> NDArray[np.int64]:
        """(node,): number of edges that end in each node."""
        return np.bincount(self.receiver, minlength=self.nodes)

    @property
    def uncovered(self) -> tuple[float, float] | None:
        """First and last time of the part without truth; None where there is none."""
        if self.covered is None or self.covered >= len(self.time):
            return None
        return float(self.time[self.covered - 1]), float(self.time[-1])

    def feature(self, name: str | int | None) -> int:
        """The index of a feature given by name or index; the first by default."""
        if name is None:
            return 0
        if isinstance(name, int) and -len(self.features) <= name < len(self.features):
            return name % len(self.features)
        if not isinstance(name, str) or name not in self.features:
            raise unknown_name("feature", name, self.features)
        return self.features.index(str(name))

    def at(self, time: float | None) -> int:
        """The index of the time closest to ``time``; the last one by default."""
        return nearest(self.time, time)


def view(ds: xr.Dataset, trajectory: int = 0) -> View:
    """Trajectory number ``trajectory`` of a dataset, a rollout or an evaluation.

    Raises `InvalidData` for a dataset without states, `InvalidOption` for a trajectory that it does
    not have.
    """
    state = states(ds)
    count = state.sizes[TRAJECTORY]
    number = position(trajectory, count)
    one = state.isel({TRAJECTORY: number})
    order = (TIME, NODE, FEATURE)
    band, label = None, ""
    if STATE_STD in ds:
        some = ds.isel({TRAJECTORY: number}) if TRAJECTORY in ds[STATE_STD].dims else ds
        bounds = interval(some)
        lacking = [dim for dim in order if dim not in bounds.dims]
        lower, upper = bounds.expand_dims(lacking).transpose(BOUND, *order).values
        band, label = (lower, upper), f"{100 * LEVEL:g} % interval"
        if MEMBER in one.dims:
            one = one.mean(MEMBER)
    elif MEMBER in one.dims:
        label = members_band(state.sizes[MEMBER])
        band = (one.min(MEMBER).transpose(*order).values, one.max(MEMBER).transpose(*order).values)
        one = one.mean(MEMBER)
    x = one.transpose(*order).values
    sender, receiver, weight = _edges(ds, number, count)
    time = state[TIME]
    features = tuple(str(f) for f in state[FEATURE].values)
    units = ("1",) * len(features)
    if UNIT in state.coords:
        units = tuple(str(u) for u in state[UNIT].values)
    system = str(record(ds).get("system", ""))
    return View(
        np.asarray(x, dtype=np.float64), np.asarray(time.values, dtype=np.float64),
        str(time.attrs.get("units", "1")), features, units, _angles(system, len(features)),
        sender, receiver, system, band, weight, state.sizes.get(MEMBER, 1), label,
    )  # fmt: skip


def states(ds: xr.Dataset) -> xr.DataArray:
    """The states (trajectory, time, node, feature) of a dataset, or of an evaluation's rollout."""
    is_data = isinstance(ds, xr.Dataset)
    name = STATE if is_data and STATE in ds else PREDICTED
    types = types_drawn(ds)
    if types:
        raise InvalidData(
            "the picture shows nodes of one type",
            got=f"nodes of the types {', '.join(types)}",
            allowed="a dataset with state(trajectory, time, node, feature)",
            fix=f"draw those of one type: pympnode.nodes_of_type(ds, {types[0]!r})",
        )
    if not is_data or name not in ds:
        raise InvalidData(
            "there are no states to draw",
            got=(", ".join(map(str, ds.data_vars)) or "no variables")
            if is_data
            else shown_value(ds, 80),
            allowed="a dataset with state(trajectory, time, node, feature)",
            fix="pass what pympnode.simulate or model.rollout returned",
        )
    state = ds[name]
    for dim in (TRAJECTORY, TIME, NODE, FEATURE):
        if dim not in state.dims:
            # `ds.isel(node=0)` drops the dim: restored, with length 1.
            state = state.expand_dims(dim)
    return state


def types_drawn(ds: Any) -> tuple[str, ...]:
    """The types of the nodes of a dataset or an evaluation with variables of each; () for one type."""
    if not isinstance(ds, xr.Dataset) or STATE in ds:
        return ()
    return types_of(ds) or types_of(ds, PREDICTED)


def values(ds: xr.Dataset) -> NDArray[np.float64]:
    """All states (trajectory, time, node, feature); the mean over the members of an ensemble."""
    state = states(ds)
    if MEMBER in state.dims:
        state = state.mean(MEMBER)
    order = (TRAJECTORY, TIME, NODE, FEATURE)
    return np.asarray(state.transpose(*order).values, dtype=np.float64)


def pair(truth: xr.Dataset, predicted: xr.Dataset, trajectory: int = 0) -> tuple[View, View]:
    """The same trajectory of both datasets.

    A prediction may go on after the truth, whose states are NaN then. Raises `InvalidData` for other
    shapes, features or times.
    """
    one, two = view(truth, trajectory), view(predicted, trajectory)
    fits = one.x.shape[1:] == two.x.shape[1:] and one.features == two.features
    covered = len(one.time)
    beyond = len(two.time) - covered
    if beyond > 0:
        step = (two.time[-1] - two.time[0]) / (len(two.time) - 1)
        fits = fits and bool(np.allclose(one.time, two.time[:covered], rtol=0, atol=1e-3 * step))
    if not fits or beyond < 0:
        shorter = fits and beyond < 0
        raise InvalidData(
            "truth and prediction do not fit together",
            got=f"(time, node, feature) {one.x.shape} and {two.x.shape}",
            allowed="the same nodes and features, and the times of the truth, after which the "
            "prediction may go on",
            fix=f"cut the truth: truth.isel(time=slice(0, {len(two.time)}))"
            if shorter
            else "draw model.rollout(ds) beside ds",
        )
    if beyond:
        rest = np.full((beyond, *one.x.shape[1:]), np.nan)
        one = replace(one, x=np.concatenate([one.x, rest]), time=two.time, covered=covered)
    return one, two


def common(
    predicted: xr.Dataset, truth: xr.Dataset
) -> tuple[View, NDArray[np.float64], NDArray[np.float64]]:
    """The truth of the first trajectory, and all states (trajectory, time, node, feature) of both, over
    the times of the truth. Raises `InvalidData` for other shapes, features or times."""
    one, _ = pair(truth, predicted)
    true, guess = values(truth), values(predicted)
    if len(true) != len(guess):
        raise InvalidData(
            "truth and prediction do not fit together",
            got=f"{len(true)} and {len(guess)} trajectories",
            allowed="the same trajectories",
            fix="draw model.rollout(ds) beside ds",
        )
    return one, guess[:, : true.shape[1]], true


def members_band(members: int) -> str:
    """What the band of an ensemble is, for a legend."""
    return f"lowest to highest of {members} members"


def refuse_particles(evaluation: Any, instead: str) -> None:
    """Raise `InvalidData` for an evaluation of particles; ``instead``: the function for those."""
    if is_particle_evaluation(evaluation):
        raise InvalidData(
            "this is an evaluation of particles",
            got=", ".join(map(str, evaluation.data_vars)),
            allowed="what pympnode.evaluate returned for a model of networks",
            fix=f"draw it with pympnode.plotting.{instead}",
        )


def _edges(
    ds: xr.Dataset, number: int, count: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64] | None]:
    """Senders, receivers and weights (edge,) of the graph of trajectory ``number``; of weights that
    vary in time the means over the intervals."""
    empty = np.zeros(0, dtype=np.int64)
    if SENDER not in ds or RECEIVER not in ds:
        return empty, empty, None
    sender = ds[SENDER].values.astype(np.int64)
    receiver = ds[RECEIVER].values.astype(np.int64)
    weight = _mean_weight(ds, number) if EDGE_WEIGHT in ds else None
    if EDGE_GRAPH in ds and GRAPH in ds:
        graph_of = np.broadcast_to(ds[GRAPH].values, (count,))
        in_graph = ds[EDGE_GRAPH].values == graph_of[number]
        sender, receiver = sender[in_graph], receiver[in_graph]
        weight = None if weight is None else weight[in_graph]
    return sender, receiver, weight


def _mean_weight(ds: xr.Dataset, number: int) -> NDArray[np.float64]:
    """The weights (edge,) of trajectory ``number``, their means over the intervals of the times."""
    weight = ds[EDGE_WEIGHT].astype(np.float64)
    if TRAJECTORY in weight.dims:
        weight = weight.isel({TRAJECTORY: number})
    if TIME not in weight.dims or ds.sizes[TIME] < 2:
        return weight.isel({TIME: 0}).values if TIME in weight.dims else weight.values
    # The last weights are of no interval.
    held = weight.isel({TIME: slice(None, -1)}).transpose(TIME, EDGE).values
    return np.average(held, axis=0, weights=np.diff(ds[TIME].values.astype(np.float64)))


def _angles(system: str, features: int) -> tuple[bool, ...]:
    """(feature,): which are angles of the named system; none when it is not registered."""
    from ...systems.registry import get

    try:
        state = get(system).state
    except UnknownName:
        return (False,) * features
    kinds = [v.kind == "angle" for v in state for _ in range(v.components)]
    return tuple(kinds) if len(kinds) == features else (False,) * features
