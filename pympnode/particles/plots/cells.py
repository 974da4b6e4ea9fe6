"""The hierarchy of cells of one particle: Figure 1 of Martinkus, Lucchi, Perraudin (AAAI 2021)."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.collections import LineCollection, PatchCollection
from matplotlib.patches import Rectangle

from ...errors import InvalidOption
from ...plotting import style
from ...plotting.choosing import nearest, shaped
from ...plotting.sizes import sized
from .selection import part


@sized
def hierarchy_of(
    ds: xr.Dataset,
    particle: int = 0,
    *,
    trajectory: int = 0,
    time: float | None = None,
    levels: int | None = None,
    split_above: int | None = None,
    figsize: style.FigureSize | None = None,
    axes: Any = None,
) -> Any:
    """The cells and particles that send messages to one particle: all levels, then each level.

    Filled cells send to the outlined cell, which holds the particle on that level; lines join their
    centres of mass, dots of a size in proportion to the mass. The last panel has the particles that
    send to it directly. Together they cover the box exactly once.
    time: the time to draw, by default the last finite one. levels, split_above: as in
    `pympnode.particles.graphs.tree.hierarchy`; by default as many levels as a hierarchical model has,
    at least 2. figsize: inches. Three-dimensional data are projected along the last axis. Returns the
    axes. Raises InvalidData, InvalidOption.
    """
    import torch

    from ..graphs.cells import COARSEST
    from ..graphs.tree import hierarchy

    data = part(ds, trajectory).data
    at = nearest(data.time, time)
    count = data.mass.shape[1]
    known = isinstance(particle, Integral) and not isinstance(particle, bool | np.timedelta64)
    if not known or not -count <= particle < count:
        raise InvalidOption(
            "there is no such particle", got=repr(particle), allowed=f"0 to {count - 1}"
        )
    particle = int(particle) % count
    for name, value, least in (("levels", levels, COARSEST), ("split_above", split_above, 1)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise InvalidOption(
                f"{name} is a whole number", got=repr(value), allowed=f">= {least}, or None"
            )
    if levels is None and split_above is None:
        levels = max(COARSEST, round(float(np.log2(count)) / data.dims))
    h = hierarchy(
        torch.from_numpy(np.asarray(data.position[0, at], dtype=np.float64)),
        data.box,
        mass=data.mass[0],
        levels=levels,
        split_above=split_above,
    )
    levels_of = _senders_by_level(h, int(h.inverse[particle]))
    panels = _panels(axes, len(levels_of) + 2, figsize)
    colours = style.graded(len(levels_of) + 1)
    x = h.position.numpy()[:, :2]
    index = int(h.inverse[particle])  # the hierarchy sorts particles by their cell
    centre_point = x[index]
    side, lower = float(h.side[0]), h.lower[0].numpy()[:2]
    for ax in panels[: len(levels_of) + 2]:
        _box(ax, x, lower, side, str(ds["position"].attrs.get("units", "1")), ds["axis"].values)
    all_levels, *single, near = panels[: len(levels_of) + 2]
    for (level, cell, senders), colour, ax in zip(levels_of[::-1], colours, single):
        size = side / 2**level.level
        for panel in (all_levels, ax):
            _fill(panel, level.cells[senders].numpy()[:, :2], lower, size, colour)
        _fill(ax, level.cells.numpy()[:, :2], lower, size, None)
        corner = lower + level.cells[cell].numpy()[:2] * size
        ax.add_patch(Rectangle(corner, size, size, fill=False, edgecolor="black", linewidth=1.8))
        centre = level.position[cell].numpy()[:2]
        _join(ax, centre, level.position[senders].numpy()[:, :2], data.box, colour)
        mass = level.mass[senders].numpy()
        ax.scatter(
            *level.position[senders].numpy()[:, :2].T,
            s=18 * mass / max(mass.mean(), 1e-30) if len(mass) else 18,
            color=colour, edgecolors="black", linewidths=0.5, zorder=4,
        )  # fmt: skip
        ax.set_title(f"level {level.level}: {len(senders)} of {level.size} cells")
    direct = h.sender[h.receiver == index].numpy()
    for ax in (all_levels, near):
        _join(ax, centre_point, x[direct], data.box, colours[-1])
        ax.scatter(
            *x[direct].T, s=16, color=colours[-1], edgecolors="black", linewidths=0.5, zorder=4
        )
    near.set_title(f"{len(direct)} particles directly (enlarged)")
    finest, cell, _ = levels_of[0]
    size = side / 2**finest.level
    _fill(near, finest.cells.numpy()[:, :2], lower, size, None)
    centre = lower + (finest.cells[cell].numpy()[:2] + 0.5) * size
    near.set(xlim=centre[0] + 3.5 * size * np.array([-1, 1]))
    near.set(ylim=centre[1] + 3.5 * size * np.array([-1, 1]))
    near.scatter(*x.T, s=14, color="0.45", zorder=2)
    all_levels.set_title(f"particle {particle} of {count}: all levels")
    for ax in panels[: len(levels_of) + 2]:
        ax.scatter(*centre_point, marker="*", s=110, color="#D55E00", edgecolors="black", zorder=6)
    for ax in panels[len(levels_of) + 2 :]:
        ax.set_visible(False)
    return np.array(panels[: len(levels_of) + 2])


def _senders_by_level(h: Any, index: int) -> list[tuple[Any, int, Any]]:
    """(level, cell of the particle on it, cells that send to that cell), finest level first."""
    out: list[tuple[Any, int, Any]] = []
    cell = None
    for i, level in enumerate(h):
        if cell is None:
            leaf = level.level if h.leaf is None else int(h.leaf[index])
            if leaf != level.level:
                continue
            cell = int(h.cell[index])
        else:
            cell = int(h.levels[i - 1].parent[cell])
        out.append((level, cell, level.sender[level.receiver == cell]))
    return out


def _count_of(axes: Any) -> int:
    return int(np.size(axes)) if isinstance(axes, list | tuple | np.ndarray) else 1


def _panels(axes: Any, count: int, figsize: style.FigureSize | None) -> list[Any]:
    if axes is not None:
        panels = list(shaped(axes, (_count_of(axes),)))
        if len(panels) < count:
            raise InvalidOption("too few axes", got=len(panels), allowed=f">= {count}")
        return panels
    columns = 2 if count == 4 else min(count, 3 if count <= 6 else 4)
    rows = -(-count // columns)
    return list(style.new_grid(rows, columns, 3.7 * columns, 3.8 * rows, figsize).ravel())


def _box(ax: Any, x: Any, lower: Any, side: float, unit: str, names: Any) -> None:
    ax.scatter(*x.T, s=float(np.clip(1200 / len(x), 1, 10)), color="0.45", zorder=2)
    ax.set(
        xlim=(lower[0], lower[0] + side),
        ylim=(lower[1], lower[1] + side),
        aspect="equal",
        xlabel=style.label(str(names[0]), unit),
        ylabel=style.label(str(names[1]), unit),
    )


def _fill(ax: Any, cells: Any, lower: Any, size: float, colour: Any) -> None:
    """Squares, filled with a colour, or the bare outlines of cells."""
    corners = np.unique(lower + cells * size, axis=0)
    squares = [Rectangle(corner, size, size) for corner in corners]
    look: dict[str, Any] = {"facecolor": colour, "alpha": 0.35, "edgecolor": "white", "zorder": 1}
    if colour is None:
        look = {"facecolor": "none", "edgecolor": "0.85", "linewidth": 0.5, "zorder": 0}
    ax.add_collection(PatchCollection(squares, **look))


def _join(ax: Any, point: Any, others: Any, box: Any, colour: Any) -> None:
    """Lines from a point (axis,) to the nearest images of others (other, axis).

    A line through a border is drawn twice, from either end, so that both sides of the box show it.
    """
    step = box.displacement(others - point)
    lines = np.concatenate(
        [
            np.stack([np.broadcast_to(point, step.shape), point + step], 1),
            np.stack([others - step, others], 1),
        ]
    )
    ax.add_collection(
        LineCollection(list(lines), colors=[colour], linewidths=0.8, alpha=0.8, zorder=3)
    )
