"""The graph with the state of its nodes as colour."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.patches import FancyArrowPatch
from matplotlib.patheffects import withStroke
from numpy.typing import NDArray

from ...config import (
    arguments,
    label,
)
from ...datasets.reading import numbers
from ...errors import InvalidOption, shown_value, unknown_name
from ...plotting import style
from ...plotting.choosing import axes_of
from .selection import View, view

LAYOUTS = ("spring", "kamada_kawai", "circular", "spectral", "grid")
Layout = str | Mapping[int, Any] | NDArray | Callable[[Any], Mapping[int, Any]]
MAX_NUMBERED = 20


@arguments(feature=label, ax=axes_of)
def graph_state(
    ds: xr.Dataset,
    *,
    time: float | None = None,
    feature: str | None = None,
    trajectory: int = 0,
    layout: Layout = "spring",
    ax: Any = None,
) -> Any:
    """The graph of one trajectory, its nodes coloured by ``feature`` at ``time`` (the last one).

    ``layout``: a networkx layout by name ("spring", "kamada_kawai", "circular", "spectral"), "grid"
    (row by row), positions (node, 2), or a function of a networkx graph. The colour scale is that of
    the whole trajectory, so that pictures at different times can be compared; angles that span more
    than half a turn are wrapped and have a cyclic map. Returns the axes. Raises `InvalidData`,
    `InvalidOption`, `UnknownName`.
    """
    one = view(ds, trajectory)
    number = one.feature(feature)
    at = one.at(time)
    if ax is None:
        ax = style.new_axes(5.6, 4.6)
    nodes = draw_graph(ax, one, number, at, layout)
    bar = ax.figure.colorbar(nodes, ax=ax)
    bar.set_label(style.label(one.features[number], one.units[number]))
    ax.set_title(style.moment(one.time[at], one.time_unit))
    return ax


def draw_graph(ax: Any, one: View, number: int, at: int, layout: Layout) -> PathCollection:
    """Draw edges and coloured nodes on ``ax``; returns the nodes, for an animation to recolour."""
    xy = positions(one, layout)
    size = float(np.clip(6000 / one.nodes, 60, 320))
    _draw_edges(ax, one, xy, size)
    low, high, colours = colour_range(one, number)
    dots = ax.scatter(
        xy[:, 0], xy[:, 1], c=colour_values(one, number, at), s=size, cmap=colours, vmin=low,
        vmax=high, edgecolors="black", linewidths=0.7, zorder=2,
    )  # fmt: skip
    if one.nodes <= MAX_NUMBERED:
        for node, (x, y) in enumerate(xy):
            text = ax.text(x, y, str(node), ha="center", va="center", fontsize=8, zorder=3)
            # White with a dark outline is legible on every colour of the map.
            text.set_color("white")
            text.set_path_effects([withStroke(linewidth=2.0, foreground="black")])
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.margins(0.12)
    ax.autoscale_view()
    return dots


def _draw_edges(ax: Any, one: View, xy: NDArray, size: float) -> None:
    """Lines, or arrows where edges differ by direction; wider for a larger weight, dashed for a
    negative one. ``size``: area of a node in square points, which arrows end at."""
    keep = one.sender != one.receiver
    sender, receiver = one.sender[keep], one.receiver[keep]
    weight = None if one.weight is None else one.weight[keep]
    if both_ways(one):
        # The two directions of a coupling would be drawn on top of each other: once is enough.
        pairs = np.sort(np.stack([sender, receiver], 1), 1)
        _, once = np.unique(pairs, axis=0, return_index=True)
        sender, receiver = sender[once], receiver[once]
        weight = None if weight is None else weight[once]
        arrows = False
    else:
        arrows = True
    alpha = float(np.clip(30.0 / max(len(sender), 1), 0.15, 0.8))
    widths, styles = np.full(len(sender), 0.8), ["solid"] * len(sender)
    if weight is not None and len(weight):
        widths = 0.3 + 2.7 * np.abs(weight) / max(float(np.abs(weight).max()), 1e-300)
        styles = ["dashed" if value < 0 else "solid" for value in weight]
    if not arrows:
        ends = np.stack([xy[sender], xy[receiver]], axis=1)
        ax.add_collection(
            LineCollection(
                list(ends), colors="0.45", linewidths=widths, linestyles=styles, alpha=alpha
            )
        )
        return
    gap = np.sqrt(size) / 2
    pairs_both = set(zip(sender.tolist(), receiver.tolist()))
    for j, k, width, line in zip(sender.tolist(), receiver.tolist(), widths, styles):
        bend = "arc3,rad=0.12" if (k, j) in pairs_both else "arc3"
        arrow = FancyArrowPatch(
            tuple(xy[j]),
            tuple(xy[k]),
            arrowstyle="-|>",
            mutation_scale=9.0,
            connectionstyle=bend,
            shrinkA=gap,
            shrinkB=gap,
            linewidth=width,
            linestyle=line,
            color="0.45",
            alpha=max(alpha, 0.4),
            zorder=1,
        )
        ax.add_patch(arrow)


def both_ways(one: View) -> bool:
    """Whether every edge has its reverse, of the same weight."""
    weight = np.ones(len(one.sender)) if one.weight is None else one.weight
    there = dict(zip(zip(one.sender.tolist(), one.receiver.tolist()), weight.tolist()))
    return all(there.get((k, j)) == value for (j, k), value in there.items())


def colour_values(one: View, number: int, at: int) -> NDArray:
    """Values (node,) of feature ``number`` at time index ``at``; angles that `_wraps` are wrapped."""
    values = one.x[at, :, number]
    return np.angle(np.exp(1j * values)) if _wraps(one, number) else values


def colour_range(one: View, number: int) -> tuple[float, float, str]:
    """Lowest and highest value of the colour scale, and the name of its map."""
    if _wraps(one, number):
        return -np.pi, np.pi, style.CYCLIC
    values = one.x[..., number]
    values = values[np.isfinite(values)]
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 1.0)
    return low, high if high > low else low + 1.0, style.SEQUENTIAL


def _wraps(one: View, number: int) -> bool:
    """Whether a feature is an angle that spans more than half a turn over the trajectory."""
    return one.angles[number] and float(np.ptp(one.x[..., number])) > np.pi


def _is_function(layout: Any) -> bool:
    return callable(layout) and not isinstance(layout, type)


def positions(one: View, layout: Layout) -> NDArray:
    """Positions of the nodes (node, 2). Raises `InvalidOption`, `UnknownName`."""
    import networkx as nx

    graph = nx.Graph()
    graph.add_nodes_from(range(one.nodes))
    graph.add_edges_from(zip(one.sender.tolist(), one.receiver.tolist()))
    if isinstance(layout, str):
        if layout not in LAYOUTS:
            raise unknown_name("layout", layout, LAYOUTS)
        if layout == "grid":
            from ..graphs.regular import grid_shape

            columns = grid_shape(one.nodes)[1]
            return np.array([(i % columns, -(i // columns)) for i in range(one.nodes)], float)
        options = {"seed": 1} if layout == "spring" else {}
        layout_of_nodes = getattr(nx, f"{layout}_layout")(graph, **options)
    else:
        layout_of_nodes = layout(graph) if callable(layout) and _is_function(layout) else layout
    if isinstance(layout_of_nodes, Mapping):
        if set(range(one.nodes)) - set(layout_of_nodes):
            raise InvalidOption(
                "layout has a position for each node",
                got=shown_value(layout_of_nodes),
                allowed=f"keys 0 to {one.nodes - 1}",
            )
        layout_of_nodes = [layout_of_nodes[node] for node in range(one.nodes)]
    xy = numbers("layout", layout_of_nodes)
    if xy.shape != (one.nodes, 2):
        raise InvalidOption(
            "positions do not fit the graph", got=xy.shape, allowed=f"({one.nodes}, 2)"
        )
    return xy
