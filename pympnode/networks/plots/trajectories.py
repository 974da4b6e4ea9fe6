"""Predicted and true states: over time by node and feature, and against each other."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import xarray as xr

from ...config import (
    arguments,
    choice,
    least,
    listing,
    names_of,
    whole,
)
from ...errors import InvalidData, InvalidOption, unknown_name
from ...plotting import style
from ...plotting.choosing import shaped
from ...plotting.order import predicted_first
from ...plotting.sizes import sized
from ..node_types import nodes_of_type
from .selection import View, common, pair, types_drawn, view

MAX_PANELS = 12


@predicted_first()
@sized
@arguments(nodes=listing, kind=choice("auto", "lines", "map"))
def prediction(
    predicted: xr.Dataset,
    truth: xr.Dataset | None = None,
    *,
    trajectory: int = 0,
    nodes: Sequence[int] | None = None,
    kind: Literal["auto", "lines", "map"] = "auto",
    figsize: style.FigureSize | None = None,
    axes: Any = None,
) -> np.ndarray:
    """Predicted and true states over time, by node and feature, for one trajectory.

    ``predicted``: a rollout; ``truth``: the dataset that it predicts, or None. A prediction may go on
    after the truth; the part without truth has a grey background.

    ``kind="lines"``: a panel for every feature (row) and node (column); ``"map"``: true, predicted and
    their difference as images of node against time, a row for every feature; "auto": lines up to 12
    nodes. Of an ensemble the mean, and with lines a band from the lowest to the highest member; of a
    calibrated model its 90 % interval of the state.
    ``nodes``: numbers of those to draw. ``figsize``: inches. ``axes``: (features, nodes), or (features, 3)
    for maps, (features, 1) without truth. Of several types of
    nodes the features of all types are rows, and the numbers are those of the edges. Returns the
    axes. Raises `InvalidData` for datasets of other shapes, `InvalidOption`, `UnknownName`.
    """
    if kind not in ("auto", "lines", "map"):
        raise unknown_name("kind", kind, ("auto", "lines", "map"))
    if types_drawn(predicted if truth is None else truth):
        return _of_types(predicted, truth, trajectory, nodes, kind, figsize, axes)
    one, two = _views(predicted, truth, trajectory)
    chosen = _nodes(two, nodes)
    if kind == "auto":
        kind = "lines" if len(chosen) <= MAX_PANELS else "map"
    draw = _lines if kind == "lines" else _maps
    return draw(one, two, chosen, axes, figsize=figsize)


def _views(
    predicted: xr.Dataset, truth: xr.Dataset | None, trajectory: int
) -> tuple[View | None, View]:
    if truth is None:
        return None, view(predicted, trajectory)
    return pair(truth, predicted, trajectory)


@predicted_first()
@sized
@arguments(features=names_of, points=least(1))
def parity(
    predicted: xr.Dataset,
    truth: xr.Dataset,
    *,
    features: Sequence[str] | None = None,
    points: int = 4000,
    figsize: style.FigureSize | None = None,
    axes: Any = None,
) -> np.ndarray:
    """Predicted against true values with the diagonal, a panel for every feature.

    All trajectories, nodes and times of the truth after the first, thinned evenly to about ``points``
    dots, which are coloured by time. ``figsize``: inches. Returns the axes (feature,). Raises
    `InvalidData`, `UnknownName`.
    """
    one, guess, true = common(predicted, truth)
    true, guess = true[:, 1:], guess[:, 1:]
    time = np.broadcast_to(one.time[1 : 1 + true.shape[1], None], true.shape[:3]).ravel()
    numbers = [one.feature(name) for name in (features or one.features)]
    every = max(1, time.size // points)
    if axes is None:
        axes = style.new_grid(1, len(numbers), 3.4 * len(numbers) + 0.8, 3.4, figsize)
    axes = shaped(axes, (len(numbers),))
    dots = None
    for ax, number in zip(axes, numbers):
        x, y = true[..., number].ravel()[::every], guess[..., number].ravel()[::every]
        ends = [np.nanmin(x), np.nanmax(x)]
        ax.plot(
            ends, ends, color=style.TRUTH, linewidth=1.0, zorder=1, label="predicted = true"
        )  # fmt: skip
        dots = ax.scatter(x, y, c=time[::every], s=6, cmap=style.SEQUENTIAL, linewidths=0, zorder=2)
        name, unit = one.features[number], one.units[number]
        ax.set_xlabel(style.label(f"true {name}", unit))
        ax.set_ylabel(style.label(f"predicted {name}", unit))
        style.plain(ax)
    axes[0].legend(fontsize="small", frameon=False)
    bar = axes[-1].figure.colorbar(dots, ax=list(axes))
    bar.set_label(style.label("time", one.time_unit))
    return axes


def _of_types(
    predicted: xr.Dataset,
    truth: xr.Dataset | None,
    trajectory: int,
    nodes: Sequence[int] | None,
    kind: str,
    figsize: style.FigureSize | None,
    axes: Any,
) -> np.ndarray:
    """`prediction` of nodes of several types: those of one type below those of the other."""
    known = types_drawn(predicted)
    names = known if truth is None else types_drawn(truth)
    if names != known:
        raise InvalidData(
            "truth and prediction have other types of nodes",
            got=f"{', '.join(names)} and {', '.join(known) or 'one type'}",
            allowed="the same types in the same order",
            fix="draw ds beside model.rollout(ds), which has the order of the model's types, or one type: "
            f"pympnode.nodes_of_type(ds, {names[0]!r})",
        )
    pairs = [
        _views(
            nodes_of_type(predicted, name),
            None if truth is None else nodes_of_type(truth, name),
            trajectory,
        )
        for name in names
    ]
    first = np.cumsum([0, *(two.nodes for _, two in pairs)]).tolist()
    wanted = range(first[-1]) if nodes is None else [
        whole("a node", n, 0, first[-1] - 1) for n in listing("nodes", nodes)
    ]  # fmt: skip
    chosen = [[n - a for n in wanted if a <= n < b] for a, b in itertools.pairwise(first)]
    if not any(chosen):
        raise InvalidOption("no nodes to draw", got="nodes=[]", allowed="at least one")
    if kind == "auto":
        kind = "lines" if max(map(len, chosen)) <= MAX_PANELS else "map"
    rows = [len(two.features) if some else 0 for (_, two), some in zip(pairs, chosen)]
    maps = 1 if truth is None else 3
    columns = maps if kind == "map" else max(map(len, chosen))
    new_figure = axes is None
    if new_figure:
        width = 1.0 + 3.5 * maps if kind == "map" else max(5.0, min(1.9 * columns + 0.6, 16.0))
        axes = style.new_grid(
            sum(rows), columns, width, 1.7 * sum(rows) + 0.8, figsize, sharex=True, sharey="row"
        )
    axes = shaped(axes, (sum(rows), columns))
    at = 0
    for name, (one, two), some, height, offset in zip(names, pairs, chosen, rows, first):
        if not some:
            continue
        block, at = axes[at : at + height], at + height
        if kind == "map":
            _maps(one, two, some, block, offset)
            block[0, 0].set_title(f"{name}: {block[0, 0].get_title()}", fontsize="medium")
            continue
        titles = [f"{name} {offset + node}" for node in some]
        _lines(one, two, some, block[:, : len(some)], titles, legend=False)
        for ax in block[:, len(some) :].ravel():
            ax.set_visible(False)
    if kind == "lines":
        handles, labels = axes[0, 0].get_legend_handles_labels()
        if new_figure:
            style.legend_above(axes[0, 0].figure, handles, labels)
        else:
            axes[0, 0].legend(handles, labels, fontsize="small", frameon=False)
    return axes


def _lines(
    one: View | None,
    two: View,
    chosen: list[int],
    axes: Any,
    titles: Sequence[str] = (),
    *,
    legend: bool = True,
    figsize: style.FigureSize | None = None,
) -> np.ndarray:
    rows, columns = len(two.features), len(chosen)
    new_figure = axes is None
    if axes is None and rows == 1 and columns > 4:
        axes = _wrapped(columns, figsize)
    elif axes is None:
        width = max(5.0 if columns == 1 else 4.0, min(1.9 * columns + 0.6, 16.0))
        axes = style.new_grid(
            rows, columns, width, max(2.8, 1.7 * rows + 0.6), figsize, sharex=True, sharey="row"
        )
    axes = shaped(axes, (rows, columns))
    for row, (name, unit) in enumerate(zip(two.features, two.units)):
        for column, node in enumerate(chosen):
            ax = axes[row, column]
            if one is not None:
                ax.plot(
                    one.time, one.x[:, node, row], color=style.TRUTH, linewidth=3.0, label="true"
                )
            mean = "predicted" if two.band is None else "predicted (mean)"
            ax.plot(two.time, two.x[:, node, row], color=style.MODEL, linewidth=1.3, label=mean)
            if two.band is not None:
                edges = (each[:, node, row] for each in two.band)
                ax.fill_between(
                    two.time, *edges, color=style.MODEL, alpha=0.25, linewidth=0,
                    label=two.band_label,
                )  # fmt: skip
            if one is not None and one.uncovered is not None:
                style.without_truth(ax, *one.uncovered)
            style.plain(ax)
            if row == 0 and (titles or two.nodes > 1):
                title = titles[column] if titles else f"node {node}"
                ax.set_title(title, fontsize="small")
            if _outermost(ax, "is_first_col", column == 0):
                ax.set_ylabel(style.label(name, unit))
            if _outermost(ax, "is_last_row", row == rows - 1):
                ax.set_xlabel(style.label("time", two.time_unit))
    if not legend:
        return axes
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if new_figure:
        style.legend_above(axes[0, 0].figure, handles, labels)
    else:
        axes[0, 0].legend(handles, labels, fontsize="small", frameon=False)
    return axes


def _wrapped(columns: int, figsize: style.FigureSize | None = None) -> np.ndarray:
    """Axes (1, columns) laid out on several rows of the figure, so that many panels stay legible."""
    per_row = 4 if columns % 4 == 0 or columns % 5 else 5
    rows = -(-columns // per_row)
    size = (2.4 * per_row + 0.5, 1.7 * rows + 0.7)
    grid = style.new_grid(rows, per_row, *size, figsize, sharex=True, sharey=True)
    flat = grid.ravel()
    for ax in flat[columns:]:
        ax.set_visible(False)
    for ax in flat[max(0, columns - per_row) : columns]:
        ax.tick_params(labelbottom=True)
    return flat[None, :columns]


def _maps(
    one: View | None,
    two: View,
    chosen: list[int],
    axes: Any,
    first: int = 0,
    *,
    figsize: style.FigureSize | None = None,
) -> np.ndarray:
    rows, columns = len(two.features), 1 if one is None else 3
    if axes is None:
        axes = style.new_grid(
            rows, columns, 1.0 + 3.5 * columns, 2.7 * rows + 0.5, figsize, sharex=True, sharey=True
        )
    axes = shaped(axes, (rows, columns))
    for row, (name, unit) in enumerate(zip(two.features, two.units)):
        guess = two.x[:, chosen, row].T
        true = guess if one is None else one.x[:, chosen, row].T
        known = true[np.isfinite(true)]
        low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
        error = guess - true
        largest = float(np.max(np.abs(error[np.isfinite(error)]), initial=0.0)) or 1.0
        maps: tuple[tuple[str, Any, str, Any, Any], ...] = (
            ("true", true, style.SEQUENTIAL, low, high),
            ("predicted", guess, style.SEQUENTIAL, low, high),
            ("predicted - true", error, style.SIGNED, -largest, largest),
        )
        if one is None:
            maps = maps[1:2]
        images = []
        for ax, (title, shown, colours, lowest, highest) in zip(axes[row], maps):
            images.append(
                ax.pcolormesh(
                    two.time,
                    np.arange(len(chosen)),
                    shown,
                    cmap=colours,
                    vmin=lowest,
                    vmax=highest,
                    shading="nearest",
                    rasterized=True,
                )
            )
            ax.set_facecolor(style.MISSING)
            if row == 0:
                ax.set_title(title, fontsize="medium")
            if _outermost(ax, "is_last_row", row == rows - 1):
                ax.set_xlabel(style.label("time", two.time_unit))
            if one is not None and one.uncovered is not None:
                ax.axvline(one.uncovered[0], color="black", linewidth=0.9, linestyle="--")
        _number_nodes(axes[row, 0], chosen, first)
        figure = axes[row, 0].figure
        figure.colorbar(images[-2:][0], ax=list(axes[row, :2])).set_label(style.label(name, unit))
        if one is not None:
            bar = figure.colorbar(images[2], ax=axes[row, 2])
            bar.set_label(style.label(f"error of {name}", unit))
    if one is not None and one.uncovered is not None:
        axes[0, 0].text(
            one.uncovered[1], 0.0, f"{style.NO_TRUTH} ", ha="right", va="bottom",
            fontsize="small", transform=axes[0, 0].get_xaxis_transform(),
        )  # fmt: skip
    return axes


def _number_nodes(ax: Any, chosen: list[int], first: int) -> None:
    every = max(1, len(chosen) // 8)
    ax.set_yticks(range(0, len(chosen), every), [str(first + n) for n in chosen[::every]])
    ax.set_ylabel("node")


def _nodes(one: View, nodes: Sequence[int] | None) -> list[int]:
    chosen = (
        list(range(one.nodes))
        if nodes is None
        else [whole("a node", n, 0) for n in listing("nodes", nodes)]
    )
    for node in chosen:
        if not 0 <= node < one.nodes:
            raise InvalidOption("no such node", got=node, allowed=f"0 to {one.nodes - 1}")
    if not chosen:
        raise InvalidOption("no nodes to draw", got="nodes=[]", allowed="at least one")
    return chosen


def _outermost(ax: Any, side: str, otherwise: bool) -> bool:
    """Whether ``ax`` is at that side of its grid; ``otherwise`` for axes without a grid."""
    spec = ax.get_subplotspec()
    return getattr(spec, side)() if spec is not None else otherwise
