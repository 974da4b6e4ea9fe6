"""Animation of a trajectory: the graph with the states of its nodes as colours."""

from __future__ import annotations

from typing import Any

import xarray as xr

from ...config import (
    arguments,
    label,
    least,
    positive,
)
from ...plotting import style
from ...plotting.animation import Animation
from ...plotting.choosing import axes_of
from ...plotting.sizes import sized
from .graph_drawing import Layout, colour_values, draw_graph, explain, missing
from .selection import view


@sized
@arguments(feature=label, every=least(1), interval=positive, ax=axes_of)
def animate(
    ds: xr.Dataset,
    *,
    feature: str | None = None,
    trajectory: int = 0,
    layout: Layout = "spring",
    every: int = 1,
    interval: float = 60.0,
    figsize: style.FigureSize | None = None,
    ax: Any = None,
) -> Animation:
    """The graph of one trajectory with ``feature`` as colour, over time.

    ``every``: number of time steps between two frames; ``interval``: milliseconds per frame. A
    notebook shows the animation as a player; ``.save("x.gif")`` writes a file, and with ffmpeg
    ``.save("x.mp4")`` or ``"x.webm"``. Other arguments as in
    `graph_state`.
    """
    one = view(ds, trajectory)
    number = one.feature(feature)
    new_figure = ax is None
    if ax is None:
        ax = style.new_axes(5.2, 4.4, figsize)
    nodes = draw_graph(ax, one, number, 0, layout)
    bar = ax.figure.colorbar(nodes, ax=ax)
    bar.set_label(style.label(one.features[number], one.units[number]))
    explain([ax], one, bool(missing(one, number).any()), new_figure=new_figure)
    title = ax.set_title(style.moment(one.time[0], one.time_unit))

    def frame(index: int) -> tuple[Any, ...]:
        nodes.set_array(colour_values(one, number, index))
        title.set_text(style.moment(one.time[index], one.time_unit))
        return nodes, title

    frames = range(0, len(one.time), max(1, every))
    return Animation(ax.figure, frame, frames=frames, interval=interval, repeat=True)
