"""Phase portraits: one feature against another, or against its rate of change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ...config import (
    arguments,
    listing,
    names_of,
    whole,
)
from ...errors import InvalidOption
from ...plotting import style
from ...plotting.choosing import axes_of
from ...plotting.order import predicted_first
from ...plotting.sizes import sized
from .selection import View, pair, view


def _node_numbers(name: str, value: Any) -> list[int]:
    return [whole("a node", node, 0) for node in listing(name, value)]


@predicted_first()
@sized
@arguments(features=names_of, nodes=_node_numbers, ax=axes_of)
def phase_portrait(
    predicted: xr.Dataset,
    truth: xr.Dataset | None = None,
    *,
    features: Sequence[str] | None = None,
    trajectory: int = 0,
    nodes: Sequence[int] | None = None,
    figsize: style.FigureSize | None = None,
    ax: Any = None,
) -> Any:
    """Paths of the nodes of one trajectory in the plane (or space) of ``features``.

    ``predicted``: a rollout, or any dataset with states; beside ``truth`` it is dashed, and dotted after
    the last time of the truth. ``features``: one to three names, by default the first and the last; three
    are drawn in space, one against its rate of change from central differences on the time grid. Dots
    mark the first state. ``nodes``: numbers of those to draw. ``figsize``: inches. Returns the axes. Raises
    `InvalidData`, `InvalidOption`, `UnknownName`.
    """
    two: View | None = None
    if truth is None:
        one = view(predicted, trajectory)
    else:
        one, two = pair(truth, predicted, trajectory)
    names = list(features) if features is not None else _default(one)
    if not 1 <= len(names) <= 3:
        raise InvalidOption(
            "a phase portrait has one, two or three features",
            got=len(names),
            allowed="1 (against its rate of change), 2 or 3",
            fix=f"features={list(one.features[:2])!r}",
        )
    numbers = [one.feature(name) for name in names]
    chosen = range(one.nodes) if nodes is None else nodes
    if ax is None:
        space = {"projection": "3d"} if len(numbers) == 3 else {}
        ax = style.new_axes(5.4, 4.6, figsize, **space)
    colours = style.by_order(len(chosen))
    thin = 1.6 if len(chosen) <= 10 else 0.8
    for colour, node in zip(colours, chosen):
        path = _path(one, node, numbers)
        compared = two is not None
        ax.plot(
            *path,
            color=colour,
            linewidth=2.6 if compared and len(chosen) <= 10 else thin,
            alpha=0.45 if compared else 0.9,
            label=f"node {node}",
        )
        ax.plot(*(p[:1] for p in path), color=colour, marker="o", markersize=4, linestyle="none")
        if two is not None:
            covered = len(two.time) if one.covered is None else one.covered
            guess = _path(two, node, numbers)
            ax.plot(*(p[:covered] for p in guess), color=colour, linewidth=1.2, linestyle="--")
            if one.uncovered is not None:
                rest = (p[covered - 1 :] for p in guess)
                ax.plot(*rest, color=colour, linewidth=1.2, linestyle=":")
    _name_axes(ax, one, numbers)
    _add_legend(ax, len(chosen), two is not None, one.uncovered is not None)
    return ax


def _default(one: View) -> list[str]:
    return [one.features[0], one.features[-1]] if len(one.features) > 1 else [one.features[0]]


def _path(one: View, node: int, numbers: list[int]) -> list[np.ndarray]:
    if node >= one.nodes:
        raise InvalidOption("no such node", got=node, allowed=f"0 to {one.nodes - 1}")
    path = [one.x[: one.covered, node, number] for number in numbers]
    if len(path) == 1:
        path.append(np.gradient(path[0], one.time[: one.covered]))
    return path


def _name_axes(ax: Any, one: View, numbers: list[int]) -> None:
    labels = [style.label(one.features[n], one.units[n]) for n in numbers]
    if len(labels) == 1:
        unit, time = one.units[numbers[0]], one.time_unit
        rate = unit if time == "1" else f"{unit}/{time}"
        labels.append(style.label(f"rate of {one.features[numbers[0]]}", rate))
    ax.set_xlabel(labels[0])
    ax.set_ylabel(labels[1])
    if len(labels) == 3:
        ax.set_zlabel(labels[2])
    else:
        style.plain(ax)


def _add_legend(ax: Any, nodes: int, predicted: bool, longer: bool) -> None:
    """A legend of nodes, while the palette suffices, and of true and predicted paths."""
    from matplotlib.lines import Line2D

    handles, labels = [], []
    if 1 < nodes <= len(style.PALETTE):
        found = ax.get_legend_handles_labels()
        handles, labels = list(found[0]), list(found[1])
    if predicted:
        handles += [
            Line2D([], [], color="0.4", linewidth=2.6, alpha=0.45),
            Line2D([], [], color="0.4", linewidth=1.2, linestyle="--"),
        ]
        labels += ["true", "predicted"]
        if longer:
            handles.append(Line2D([], [], color="0.4", linewidth=1.2, linestyle=":"))
            labels.append(f"predicted, {style.NO_TRUTH}")
    if handles:
        ax.legend(handles, labels, fontsize="small", frameon=False)
    if nodes > len(style.PALETTE):
        ax.set_title(f"{nodes} nodes, dark to light in their order", fontsize="small")
