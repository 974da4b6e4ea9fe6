"""Flights of quadrotors with their load in space: paths, cables and the door."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ...datasets.names import FEATURE, NODE, STATE, TIME, TRAJECTORY, UNIT
from ...datasets.record import record
from ...errors import InvalidData
from ...plotting import style
from ...plotting.order import predicted_first
from ...plotting.sizes import NARROW, sized
from ..node_types import nodes_of_type
from ..systems.quadrotors import CYLINDER_RADIUS, CYLINDERS_AT, DOOR, Quadrotors, load_of
from .selection import View, pair, types_drawn, values, view


@predicted_first()
@sized
def quadrotor_paths(
    predicted: xr.Dataset,
    truth: xr.Dataset | None = None,
    *,
    trajectory: int = 0,
    times: Sequence[float] | None = None,
    figsize: style.FigureSize | None = None,
    ax: Any = None,
) -> Any:
    """The paths of the quadrotors and the load of one flight in three dimensions, with cables and door.

    predicted: a rollout, or a dataset of flights.
    truth: the same flight. Beside it the predicted paths are dashed, dotted after its last time, and
        quadrotors and cables are those of the truth.
    times: those at which quadrotors and cables are drawn, by default five at equal distances along the
        path of the load. The door is drawn where the dataset has its position.
    ax: axes with ``projection="3d"``. figsize: inches.
    Returns: the axes.
    Raises: `InvalidData`, `InvalidOption`.
    """
    ds, one, two = flights_of(predicted, truth, trajectory)
    at = _along_the_way(load_of(one.x)[:, :3]) if times is None else [one.at(t) for t in times]
    if ax is None:
        ax = style.new_axes(8.0, 4.4, figsize, projection="3d")
    door = door_of(ds, trajectory)
    span = span_of((one, two), door)
    if door is not None:
        draw_door(ax, door, span[2])
    colours = style.by_order(one.nodes + 1)
    # The magnified box is wider than the rectangle of the axes, which must not clip it nor be shrunk for it.
    free: dict[str, Any] = {"clip_on": False, "in_layout": False}
    for flight, line in ((one, "-"), (two, "--")):
        if flight is None:
            continue
        load = load_of(flight.x)[:, None, :3]
        bodies = np.concatenate([load, flight.x[..., :3]], axis=1)
        for body, colour in enumerate(["black", *colours[: one.nodes]]):
            name = "load" if body == 0 else f"quadrotor {body - 1}"
            path = bodies[:, body].T
            known = len(one.time)
            ax.plot(
                *path[:, :known], line, color=colour, linewidth=1.2, alpha=0.8, **free,
                label=name if flight is one else None,
            )  # fmt: skip
            if path.shape[1] > known:
                ax.plot(
                    *path[:, known - 1 :], ":", color=colour, linewidth=1.2, alpha=0.8, **free
                )  # fmt: skip
    load = load_of(one.x)[..., :3]
    for index in at:
        for node in range(one.nodes):
            cable = np.stack([load[index], one.x[index, node, :3]])
            ax.plot(*cable.T, color="0.45", linewidth=0.8, **free)
        places = one.x[index, :, :3]
        ax.scatter(*places.T, color=colours[: one.nodes], s=16, depthshade=False, **free)
        ax.scatter(*load[index], color="black", marker="s", s=20, depthshade=False, **free)
    frame(ax, span)
    handles, names = (list(found) for found in ax.get_legend_handles_labels())
    if two is not None:
        handles.append(Line2D([], [], linestyle="--", color="0.4", linewidth=1.2))
        names.append("predicted")
        if len(two.time) > len(one.time):
            handles.append(Line2D([], [], linestyle=":", color="0.4", linewidth=1.2))
            names.append(f"predicted, {style.NO_TRUTH}")
    ax.legend(
        handles, names, fontsize="small", frameon=False, loc="upper center", ncols=max(1, min(len(names), 4, int(ax.figure.get_figwidth() // 1.3))),
    )  # fmt: skip
    return ax


def flights_of(
    predicted: xr.Dataset, truth: xr.Dataset | None, trajectory: int
) -> tuple[xr.Dataset, View, View | None]:
    """The dataset with the load in the states and one flight of it: of the truth, and then the same
    flight of the rollout, which may be longer; without truth of the only dataset, and None.

    Raises `InvalidData` for other data than those of quadrotors.
    """
    ds = of_one_type(predicted if truth is None else truth)
    one = view(ds, trajectory)
    if one.features != Quadrotors().feature_names:
        raise InvalidData(
            "paths of quadrotors are drawn from their states",
            got=", ".join(one.features[:6]),
            allowed="the 19 features of simulate('quadrotors')",
            fix="pass what pympnode.simulate('quadrotors') or a model's rollout returned",
        )
    if truth is None:
        return ds, one, None
    two = pair(ds, of_one_type(predicted), trajectory)[1]
    return ds, one, two


def frame(ax: Any, span: Sequence[tuple[float, float]]) -> None:
    """Labels and limits of the three axes, in true proportions."""
    from matplotlib.ticker import MaxNLocator

    for axis, name in enumerate("xyz"):
        getattr(ax, f"set_{name}label")(style.label(name, "m"))
        getattr(ax, f"set_{name}lim")(*span[axis])
        getattr(ax, f"{name}axis").set_major_locator(MaxNLocator(8 if name == "x" else 3))
    # Larger than matplotlib draws a flat box, where there is room for the labels.
    wide = ax.figure.get_figwidth() > NARROW
    ax.set_box_aspect([high - low for low, high in span], zoom=1.2 if wide else 0.95)
    # The label of x would stand on numbers of its ticks.
    ax.xaxis.labelpad, ax.zaxis.labelpad = 16 if wide else 10, -2
    ax.view_init(elev=24, azim=-60)


def of_one_type(ds: xr.Dataset) -> xr.Dataset:
    """A dataset of quadrotors and a load as nodes of two types with the load in the state of the quadrotors."""
    system = Quadrotors(load="node")
    if types_drawn(ds) != tuple(system.node_types):
        return ds
    crafts, load = (nodes_of_type(ds, name) for name in system.node_types)
    x = system.join_types({"quadrotor": values(crafts), "load": values(load)})
    dims = (TRAJECTORY, TIME, NODE, FEATURE)
    plain = crafts.drop_vars([STATE, FEATURE, UNIT], errors="ignore").drop_dims(
        FEATURE, errors="ignore"
    )
    units = [v.unit for v in system.state]
    return plain.assign({STATE: (dims, x)}).assign_coords(
        {FEATURE: list(system.feature_names), UNIT: (FEATURE, units)}
    )


def _along_the_way(load: NDArray) -> list[int]:
    """Indices of five times between which a load (time, 3) moves equally far, with the first and last."""
    moved = np.linalg.norm(np.diff(load, axis=0), axis=-1)
    way = np.concatenate([[0.0], np.cumsum(moved)])
    found = np.searchsorted(way, np.linspace(0, way[-1], 5))
    found[-1] = len(load) - 1
    return np.unique(found).tolist()


def span_of(
    flights: Sequence[View | None], door: tuple[float, float, float] | None
) -> list[tuple[float, float]]:
    """Limits of the three axes: those of all bodies of the first flight with a margin, the floor and the sides of
    the door, and up to 1 m for other flights, which may diverge."""
    spans = [_limits(flight) for flight in flights if flight is not None]
    low, high = spans[0]
    for other_low, other_high in spans[1:]:
        low = np.fmax(np.fmin(low, other_low), low - 1.0)
        high = np.fmin(np.fmax(high, other_high), high + 1.0)
    low, high = low - 0.3, high + 0.3
    low[2] = min(low[2], 0.0)
    if door is not None:
        side = door[2] / 2 + CYLINDER_RADIUS
        low[1], high[1] = min(low[1], door[1] - side), max(high[1], door[1] + side)
    return [(float(a), float(b)) for a, b in zip(low, high)]


def _limits(flight: View) -> tuple[NDArray, NDArray]:
    """The smallest and largest x, y and z of all bodies."""
    points = np.concatenate([flight.x[..., :3].reshape(-1, 3), load_of(flight.x)[:, :3]])
    return np.nanmin(points, axis=0), np.nanmax(points, axis=0)


def door_of(ds: xr.Dataset, trajectory: int) -> tuple[float, float, float] | None:
    """x and y of the middle of the door and its width; None where the dataset does not say it."""
    parameters = record(ds).get("parameters", {})
    if DOOR not in ds or not {"goal", "door_width"} <= set(parameters):
        return None
    places = np.atleast_1d(ds[DOOR].values)
    y = places[trajectory if TRAJECTORY in ds[DOOR].dims else 0]
    return parameters["goal"] / 2, float(y), parameters["door_width"]


def draw_door(ax: Any, door: tuple[float, float, float], heights: tuple[float, float]) -> None:
    """The cylinders on both sides of the door, as high as the picture."""
    x, y, width = door
    angle, height = np.meshgrid(np.linspace(0, 2 * np.pi, 25), np.array(heights))
    circle: tuple[NDArray, NDArray] = (np.cos(angle), np.sin(angle))
    for along in CYLINDERS_AT:
        for side in (-1, 1):
            ax.plot_surface(
                x + along + CYLINDER_RADIUS * circle[0],
                y + side * (width / 2 + CYLINDER_RADIUS) + CYLINDER_RADIUS * circle[1],
                height, color="0.6", alpha=0.25, linewidth=0,
            )  # fmt: skip
