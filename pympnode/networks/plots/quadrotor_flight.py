"""Tensions and thrusts of a flight of quadrotors over time, and the flight as an animation."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from ...config import arguments, least, positive
from ...datasets.names import CONTROL, CONTROL_DIMS
from ...datasets.record import record
from ...errors import InvalidData
from ...graph import Graph
from ...plotting import style
from ...plotting.animation import Animation
from ...plotting.order import predicted_first
from ...plotting.sizes import sized
from ..systems.quadrotors import Quadrotors, load_of, tensions
from .quadrotor_paths import door_of, draw_door, flights_of, frame, span_of
from .selection import View


@predicted_first()
@sized
@arguments()
def quadrotor_forces(
    predicted: xr.Dataset,
    truth: xr.Dataset | None = None,
    *,
    trajectory: int = 0,
    figsize: style.FigureSize | None = None,
    axes: Any = None,
) -> Any:
    """Tension of the cable and thrust of the rotors of each quadrotor over time, in N.

    ``truth``: a dataset with controls, and ``predicted`` a rollout of the same flight; the tensions at its
    states, under the same controls, are dashed. Without ``truth`` those of ``predicted``, which has the
    controls. Times beyond the truth have no controls. ``figsize``: inches. ``axes``: two axes; new ones
    by default. Returns the axes. Raises `InvalidData`, `InvalidOption`.
    """
    ds = predicted if truth is None else truth
    if not isinstance(ds, xr.Dataset) or not {CONTROL, f"{CONTROL}_quadrotor"} & {*ds.data_vars}:
        raise InvalidData(
            "thrusts are drawn from recorded controls",
            got=", ".join(map(str, getattr(ds, "data_vars", []))) or type(ds).__name__,
            allowed="control(trajectory, time, node, control_feature)",
            fix="pass what pympnode.simulate('quadrotors') returned",
        )
    ds, one, two = flights_of(predicted, truth, trajectory)
    control = ds[CONTROL].transpose(*CONTROL_DIMS, missing_dims="ignore").values
    u = np.asarray(control[trajectory] if control.ndim == 4 else control, np.float64)[:-1]
    new_figure = axes is None
    if axes is None:
        axes = style.new_grid(2, 1, 6.4, 4.8, figsize, sharex=True).ravel()
    pull, thrust = np.asarray(axes, dtype=object).ravel()
    parameters = _parameters(ds, one.nodes)
    colours = style.by_order(one.nodes)
    # The last controls are of no interval.
    time = one.time[:-1]
    for flight, line in ((one, "-"), (two, "--")):
        if flight is None:
            continue
        values = tensions(flight.x[: len(time)], u, parameters)
        for node, colour in enumerate(colours):
            name = f"quadrotor {node}" if flight is one else None
            pull.plot(time, values[:, node], line, color=colour, linewidth=1.2, label=name)
    for node, colour in enumerate(colours):
        thrust.plot(time, u[:, node].sum(axis=-1), color=colour, linewidth=1.2)
    for ax, name in ((pull, "tension"), (thrust, "thrust of four rotors")):
        style.plain(ax)
        ax.set_ylabel(style.label(name, "N"))
    handles, names = (list(found) for found in pull.get_legend_handles_labels())
    if two is not None:
        handles.append(Line2D([], [], linestyle="--", color="0.4", linewidth=1.2))
        names.append("predicted")
    thrust.set_xlabel(style.label("time", one.time_unit))
    if new_figure:
        style.legend_above(pull.figure, handles, names)
    else:
        pull.legend(handles, names, fontsize="small", frameon=False, ncols=min(one.nodes, 3))
    return np.array([pull, thrust], dtype=object)


@predicted_first()
@sized
@arguments(every=least(1), interval=positive)
def animate_quadrotors(
    predicted: xr.Dataset,
    truth: xr.Dataset | None = None,
    *,
    trajectory: int = 0,
    every: int = 4,
    interval: float = 100.0,
    figsize: style.FigureSize | None = None,
    ax: Any = None,
) -> Animation:
    """An animation of one flight in three dimensions, with cables, load, door and the paths so far.

    ``predicted``: a rollout, or a dataset of flights. Beside ``truth``, the same flight, it is drawn
        dashed and hollow; after the last time of the truth that stands still. ``every``: time steps
        between two frames; ``interval``: milliseconds per frame. A notebook shows the value as a
        player; ``.save("x.gif")`` writes a file, and with ffmpeg ``.save("x.mp4")`` or ``"x.webm"``.
        ``figsize``: inches. ``ax``: axes with ``projection="3d"``. Raises `InvalidData`,
        `InvalidOption`.
    """
    ds, one, two = flights_of(predicted, truth, trajectory)
    if ax is None:
        ax = style.new_axes(7.5, 4.2, figsize, projection="3d")
    door = door_of(ds, trajectory)
    span = span_of((one, two), door)
    if door is not None:
        draw_door(ax, door, span[2])
    frame(ax, span)
    colours = ["black", *style.by_order(one.nodes)]
    drawn: list[tuple[NDArray, list[Any], list[Any], Any]] = []
    for flight, line in ((one, "-"), (two, "--")):
        if flight is None:
            continue
        bodies = _bodies(flight)
        paths = [ax.plot([], [], [], line, color=c, linewidth=1, alpha=0.7)[0] for c in colours]
        cables = [ax.plot([], [], [], line, color="0.4", linewidth=0.9)[0] for _ in colours[1:]]
        face: Any = colours if flight is one else "none"
        dots = ax.scatter(
            *bodies[0].T, facecolors=face, edgecolors=colours, s=26, depthshade=False
        )  # fmt: skip
        drawn.append((bodies, paths, cables, dots))
    longest = one if two is None else two
    title = ax.set_title(style.moment(longest.time[0], one.time_unit))

    def draw(frame_at: int) -> tuple[Any, ...]:
        for bodies, paths, cables, dots in drawn:
            at = min(frame_at, len(bodies) - 1)
            for body, path in enumerate(paths):
                path.set_data_3d(*bodies[: at + 1, body].T)
            for body, cable in enumerate(cables, start=1):
                cable.set_data_3d(*bodies[at, [0, body]].T)
            dots._offsets3d = tuple(bodies[at].T)
        words = style.moment(longest.time[frame_at], one.time_unit)
        title.set_text(words if frame_at < len(one.time) else f"{words}, {style.NO_TRUTH}")
        return (title,)

    frames = range(0, len(longest.time), max(1, every))
    return Animation(ax.figure, draw, frames=frames, interval=interval, repeat=True)


def _bodies(flight: View) -> NDArray:
    """Positions (time, body, 3): the load, then the quadrotors."""
    load = load_of(flight.x)[:, None, :3]
    return np.concatenate([load, flight.x[..., :3]], axis=1)


def _parameters(ds: xr.Dataset, nodes: int) -> dict[str, Any]:
    """Parameters of the flights, those of the system where the dataset has none."""
    system = Quadrotors()
    given = {k: v for k, v in record(ds).get("parameters", {}).items() if k in system.parameters}
    empty = np.zeros(0, np.int64)
    return system.resolve_parameters(given, Graph.single(empty, empty, nodes))
