"""The graph with the state of its nodes as colour."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
    listing,
)
from ...datasets.reading import numbers
from ...errors import InvalidOption, shown_value, unknown_name
from ...plotting import style
from ...plotting.choosing import axes_of, shaped
from ...plotting.sizes import sized
from .selection import View, view

LAYOUTS = ("spring", "kamada_kawai", "circular", "spectral", "grid")
Layout = str | Mapping[int, Any] | NDArray | Callable[[Any], Mapping[int, Any]]
MAX_NUMBERED = 20


@sized
@arguments(times=listing, feature=label, ax=axes_of)
def graph_state(
    ds: xr.Dataset,
    *,
    time: float | None = None,
    times: Sequence[float] | None = None,
    feature: str | None = None,
    trajectory: int = 0,
    layout: Layout = "spring",
    figsize: style.FigureSize | None = None,
    ax: Any = None,
    axes: Any = None,
) -> Any:
    """The graph of one trajectory, its nodes coloured by ``feature`` at ``time`` (the last one).

    ``times``: several, a graph for each, on ``axes`` (time,). Edges of directed graphs are arrows from
    sender to receiver; lines are wider for a larger weight, and dashed for a negative one. Nodes
    without data at a time are grey.
    ``layout``: a networkx layout by name ("spring", "kamada_kawai", "circular", "spectral"), "grid"
    (row by row), positions (node, 2), or a function of a networkx graph. The colour scale is that of
    the whole trajectory, so that pictures at different times can be compared; angles that span more
    than half a turn are wrapped and have a cyclic map. ``figsize``: inches. Returns the axes, of
    ``times`` an array of them. Raises `InvalidData`, `InvalidOption`, `UnknownName`.
    """
    one = view(ds, trajectory)
    number = one.feature(feature)
    if times is None and axes is not None:
        raise InvalidOption(
            "axes= are those of several times",
            got="axes=",
            allowed="ax= for one time",
            fix="times=",
        )
    if times is not None and (time is not None or ax is not None or not len(times)):
        raise InvalidOption(
            "times= are several times, each with axes of its own",
            got=shown_value(times) if not len(times) else "times= with time= or ax=",
            allowed="times= and axes=, or time= and ax=",
            fix="leave time= and ax= out",
        )
    at = [one.at(time)] if times is None else [one.at(t) for t in times]
    given = ax if times is None else axes
    if given is not None:
        panels = shaped(given, (len(at),))
    elif times is None:
        panels = np.array([style.new_axes(5.6, 4.6, figsize)], dtype=object)
    else:
        panels = style.new_grid(1, len(at), 3.0 * len(at) + 0.9, 3.4, figsize).ravel()
    xy = positions(one, layout)
    for panel, index in zip(panels, at):
        nodes = draw_graph(panel, one, number, index, xy)
        panel.set_title(style.moment(one.time[index], one.time_unit))
    bar = panels[0].figure.colorbar(nodes, ax=list(panels), shrink=0.9)
    bar.set_label(style.label(one.features[number], one.units[number]))
    explain(panels, one, bool(missing(one, number)[at].any()), new_figure=given is None)
    return panels[0] if times is None else panels


def draw_graph(ax: Any, one: View, number: int, at: int, layout: Layout) -> PathCollection:
    """Draw edges and coloured nodes on ``ax``; returns the nodes, for an animation to recolour."""
    xy = positions(one, layout)
    size = float(np.clip(6000 / one.nodes, 60, 320)) * _room(ax)
    _draw_edges(ax, one, xy, size)
    low, high, colours = colour_range(one, number)
    dots = ax.scatter(
        xy[:, 0], xy[:, 1], c=colour_values(one, number, at), s=size, cmap=colour_map(colours),
        vmin=low, vmax=high, edgecolors="black", linewidths=0.7, zorder=2, plotnonfinite=True,
    )  # fmt: skip
    if one.nodes <= MAX_NUMBERED:
        points = min(8.0, 0.55 * np.sqrt(size))
        for node, (x, y) in enumerate(xy):
            text = ax.text(x, y, str(node), ha="center", va="center", fontsize=points, zorder=3)
            # White with a dark outline is legible on every colour of the map.
            text.set_color("white")
            text.set_path_effects([withStroke(linewidth=2.0, foreground="black")])
    ax.set_axis_off()
    ax.set_aspect("equal")
    ax.margins(0.12)
    ax.autoscale_view()
    return dots


def _room(ax: Any) -> float:
    """The share that the area of ``ax`` is of that of a new figure, at most 1: nodes shrink with it."""
    place, (width, height) = ax.get_position(), ax.figure.get_size_inches()
    return float(np.clip(place.width * width * place.height * height / 15.4, 0.12, 1.0))


def missing(one: View, number: int) -> NDArray[np.bool_]:
    """(time, node): where feature ``number`` is not finite."""
    return ~np.isfinite(one.x[..., number])


def colour_map(name: str) -> Any:
    """The colour map of that name, with grey for what is missing."""
    import matplotlib

    return matplotlib.colormaps[name].with_extremes(bad=style.MISSING)


def explain(panels: Any, one: View, no_data: bool, *, new_figure: bool) -> None:
    """A legend of what is grey, and of the widths and dashes of edges with weights."""
    from matplotlib.lines import Line2D

    entries: dict[str, Any] = {}
    if no_data:
        entries[style.NO_DATA] = Line2D(
            [], [], marker="o", markersize=9, linestyle="none", markerfacecolor=style.MISSING,
            markeredgecolor="black",
        )  # fmt: skip
    # Edges that join a node to itself are not drawn.
    weight = None if one.weight is None else one.weight[one.sender != one.receiver]
    if weight is not None and len(weight) and np.abs(weight).max() > 0:
        most = float(np.abs(weight).max())
        for value in (most, most / 4):
            width = float(_widths(np.array([value]), most)[0])
            entries[f"weight {value:.2g}"] = Line2D([], [], color="0.45", linewidth=width)
        if (weight < 0).any():
            entries["negative weight"] = Line2D([], [], color="0.45", linestyle="--")
    if not entries:
        return
    words = dict(ncols=min(len(entries), 4), fontsize="small", frameon=False)
    if new_figure:
        figure = panels[0].figure
        words["ncols"] = max(1, min(len(entries), int(figure.get_figwidth() // 1.3)))
        figure.legend(list(entries.values()), list(entries), loc="outside lower center", **words)
    else:
        panels[0].legend(list(entries.values()), list(entries), **words)


def _widths(weight: NDArray, most: float) -> NDArray:
    """Line widths in points of weights, of which ``most`` is the largest size."""
    return 0.3 + 2.7 * np.abs(weight) / max(most, 1e-300)


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
        widths = _widths(weight, float(np.abs(weight).max()))
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
    values = one.x[..., number]
    values = values[np.isfinite(values)]
    return one.angles[number] and values.size > 0 and float(np.ptp(values)) > np.pi


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
