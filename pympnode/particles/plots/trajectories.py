"""Paths of particles in their box, conserved quantities, costs against size, and animations."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.collections import LineCollection
from matplotlib.colors import ListedColormap, Normalize, TwoSlopeNorm
from numpy.typing import NDArray

from ...config import (
    arguments,
    least,
    mapping,
    positive,
    text,
)
from ...errors import InvalidData, InvalidOption, shown_value
from ...plotting import style
from ...plotting.animation import Animation
from ...plotting.choosing import axes_of, shaped
from ...plotting.logarithmic import logarithmic
from ...plotting.order import predicted_first
from ...plotting.sizes import sized
from .. import schema
from ..graphs.box import Box
from .selection import numbers, part, unit_of

MAX_COLOURED = 100  # particles of one mass with a colour each: of more it is noise
FAR = 2.5
FEWEST = 4  # particles, of which one may leave a picture


def quantile_of(name: str, value: Any) -> float:
    """A share of the particles, above 0. Raises InvalidOption."""
    if positive(name, value) > 1:
        raise InvalidOption(
            f"{name} is a share", got=shown_value(value), allowed="a number in (0, 1]"
        )
    return float(value)


@predicted_first(swapped=False)
@sized
@arguments(color=text, quantile=quantile_of, ax=axes_of)
def particle_trajectories(
    predicted: xr.Dataset,
    truth: xr.Dataset | None = None,
    *,
    trajectory: int = 0,
    particles: Any = None,
    zoom: Any = None,
    color: str | None = None,
    quantile: float = 0.9,
    figsize: style.FigureSize | None = None,
    ax: Any = None,
) -> Any:
    """Paths of particles in their box, with a dot at the end; lines end at borders and continue there.

    predicted: a rollout, or any dataset of particles; truth: true paths, drawn underneath in grey.
    particles: numbers to draw, or a mask (all). color: "charge" or "mass" (the default: charge
    if there is one; mass if masses differ; else one colour per particle, a single one for more than
    100). zoom: a particle number, or (x, y, width), drawn larger in a second panel. quantile: in open
    space the picture fits this share of four or more particles where others go 2.5 times as far; the
    title counts those that leave it; 1 fits all. figsize: inches. Three-dimensional data are drawn in three
    dimensions, on a given ``ax`` of two projected along the last axis. Paths end with the last finite state,
    as the title then says. Returns the axes (two with ``zoom``). Raises InvalidData, InvalidOption.
    """
    chosen_part = part(predicted, trajectory)
    data = chosen_part.data
    chosen = numbers(particles, data.mass.shape[1])
    under = None if truth is None else _fitting(truth, trajectory, data)
    limits, leaving = _limits(data, chosen, under, quantile)
    window = None if zoom is None else _window(zoom, data, limits)
    space = {} if data.dims < 3 else {"projection": "3d"}
    panels = [ax] if ax is not None else None
    if panels is None:
        width, columns = (5, 1) if zoom is None else (10, 2)
        grid = style.new_grid(1, columns, width, 4.8, figsize, subplot_kw=space)
        panels = list(grid[0])
    elif zoom is not None:
        panels.append(ax.inset_axes((1.08, 0.0, 1.0, 1.0)))
    values, cmap, norm, name = _colours(data, color)
    note = "\n".join(filter(None, (chosen_part.note, _leaving(leaving, len(chosen)))))
    if note:
        panels[0].set_title(note, fontsize="medium")
    for number, panel in enumerate(panels):
        shown = limits if number == 0 or window is None else window
        if under is not None:
            _paths(panel, under, chosen, {"colors": style.TRUTH}, 1.0, shown)
        shades = {"array": values[chosen], "cmap": cmap, "norm": norm}
        dots = _paths(panel, data, chosen, shades, 1.2, shown)
        _frame(panel, chosen_part.ds, shown)
    if under is not None:
        _explain(panels[0], data, under, dots)
    if name:
        bar = panels[-1].figure.colorbar(dots, ax=panels, shrink=0.85, **_beside(panels[0]))
        bar.set_label(style.label(name, unit_of(predicted, name)))
    if window is None:
        return panels[0]
    centre = ", ".join(f"{value:.1f}" for value in window.mean(axis=1)[: 3 if space else 2])
    if not _in_space(panels[0]):
        corner, size = window[:2, 0], np.ptp(window[:2], axis=1)
        panels[0].indicate_inset((*corner, *size), edgecolor="black")
    panels[1].set_title(f"around ({centre})")
    return np.array(panels)


@predicted_first("data", swapped=False)
@sized
def conservation(
    predicted: xr.Dataset | Mapping[str, xr.Dataset],
    truth: xr.Dataset | None = None,
    *,
    trajectory: int = 0,
    figsize: style.FigureSize | None = None,
    axes: Any = None,
) -> Any:
    """Energy and momentum over time, two axes.

    One dataset: kinetic, potential and total energy, and each component of the momentum. With
    ``truth``, or several by name (as two integrators): their changes since the start, per
    particle. Where forces are not known the energy is the kinetic one, as the label says. Lines end
    with the last finite state, as the title then says. figsize: inches. Warns where a record
    lacks the constants of the forces (`metrics.observe`). Raises InvalidData, InvalidOption.
    """
    from ..metrics import motion, observe
    from ..schema import has_known_forces

    data = predicted
    if truth is not None and isinstance(predicted, xr.Dataset):
        data = {"predicted": predicted, "true": truth}
    single = isinstance(data, xr.Dataset)  # which is a mapping too
    several = isinstance(data, Mapping) and all(
        isinstance(one, xr.Dataset) for one in data.values()
    )
    if not single and not (several and data):
        raise InvalidOption(
            "conservation is drawn for a dataset, or for several by name",
            got="an empty mapping" if isinstance(data, Mapping) else type(data).__name__,
            allowed="a dataset, a prediction and its truth, or a mapping of names to at least one",
            fix="conservation(model.rollout(ds), ds)",
        )
    new_figure = axes is None
    if axes is None:
        axes = style.new_grid(1, 2, 10, 3.6, figsize)[0]
    axes = shaped(axes, (2,))
    notes: list[str] = []
    if isinstance(data, xr.Dataset):
        found = part(data, trajectory)
        ds = found.ds
        observed = observe(ds) if has_known_forces(ds) else motion(ds)
        notes += [found.note] if found.note else []
        for name, colour in zip(("kinetic", "potential", "energy"), style.by_order(3)):
            if name not in observed:
                continue
            axes[0].plot(ds["time"], observed[name][0], color=colour, label=name)
        for axis, colour in zip(ds["axis"].values, style.by_order(3)):
            axes[1].plot(
                ds["time"], observed["momentum"].sel(axis=axis)[0], color=colour, label=f"p_{axis}"
            )
        labels = ["energy", "momentum"]
        first = ds
    else:
        known = all(has_known_forces(ds) for ds in data.values())
        first = next(iter(data.values()))
        for (name, ds), colour in zip(data.items(), style.by_order(len(data))):
            found = part(ds, trajectory)
            notes += [f"{name}: {found.note}"] if found.note else []
            one = found.ds
            observed = observe(one) if known else motion(one)
            count = one.sizes["particle"]
            energy = observed["energy" if known else "kinetic"].values[0]
            momentum = observed["momentum"].values[0]
            axes[0].plot(one["time"], (energy - energy[0]) / count, color=colour, label=name)
            change = np.linalg.norm(momentum - momentum[0], axis=-1) / count
            axes[1].plot(one["time"], change, color=colour, label=name)
        labels = [
            f"change of {'' if known else 'kinetic '}energy per particle",
            "change of momentum per particle",
        ]
    if notes:
        axes[0].set_title("\n".join(notes), fontsize="medium")
    for ax, name, unit in zip(axes, labels, _units(first)):
        style.plain(ax)
        # The labels are long: the unit has a line of its own.
        ax.set_ylabel(style.label(name, unit).replace(" (", "\n("))
        ax.set_xlabel(style.label("time", unit_of(first, "time")))
        if new_figure and not single:
            continue
        ax.legend(frameon=False)
    if new_figure and not single:
        # Both panels have the same lines, of which a legend inside would cover some.
        style.legend_above(axes[0].figure, *axes[0].get_legend_handles_labels())
    return axes


def _units(ds: xr.Dataset) -> tuple[str, str]:
    """The units of energy and momentum, from those of mass, length and time; "1" for none."""
    mass, length, time = (unit_of(ds, name) for name in ("mass", "position", "time"))

    def product(power: str) -> str:
        above = " ".join([mass] * (mass != "1") + [f"{length}{power}"] * (length != "1"))
        below = f"/ {time}{power}" if time != "1" else ""
        return " ".join(filter(None, (above or ("1" if below else ""), below))) or "1"

    return product("²"), product("")


@sized
@arguments(curves=mapping, xlabel=text, ylabel=text, ax=axes_of)
def scaling(
    curves: Mapping[str, tuple[Any, Any]],
    *,
    xlabel: str = "particles",
    ylabel: str = "seconds",
    figsize: style.FigureSize | None = None,
    ax: Any = None,
) -> Any:
    """Cost against size on logarithmic axes, with a line of slope one.

    curves: by name (sizes, costs), in any order. The line goes through the largest size of the first
    curve. ``figsize``: inches. Returns the axes. Raises InvalidOption.
    """
    if not isinstance(curves, Mapping) or not curves:
        raise InvalidOption(
            "costs are drawn by name",
            got="an empty mapping" if isinstance(curves, Mapping) else type(curves).__name__,
            allowed="a mapping of names to (sizes, costs), at least one",
            fix='scaling({"compiled": ([100, 1000], [0.1, 1.0])})',
        )
    ax = style.new_axes(5.4, 3.8, figsize) if ax is None else ax
    ordered = {name: _by_size(name, pair) for name, pair in curves.items()}
    for (name, (x, y)), colour, mark in zip(
        ordered.items(), style.by_order(len(curves)), "osd^vP*X<>" * 3
    ):
        ax.plot(x, y, marker=mark, markersize=5, color=colour, label=name)
    x, y = next(iter(ordered.values()))
    ends = x[[0, -1]]
    line = y[-1] * ends / ends[1]
    ax.plot(ends, line, color=style.TRUTH, linestyle="--", linewidth=1, label="linear", zorder=0)
    logarithmic(ax, "x", "y")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    style.plain(ax)
    ax.legend(frameon=False, fontsize="small")
    return ax


@sized
@arguments(
    color=text, trail=least(1), every=least(1), interval=positive, quantile=quantile_of, ax=axes_of
)
def animate_particles(
    ds: xr.Dataset,
    *,
    trajectory: int = 0,
    color: str | None = None,
    trail: int = 15,
    every: int = 1,
    interval: float = 50.0,
    quantile: float = 0.9,
    figsize: style.FigureSize | None = None,
    ax: Any = None,
) -> Animation:
    """An animation of one trajectory, with ``trail`` steps of path behind each particle.

    ``every``: times between two frames; ``interval``: milliseconds per frame. A notebook shows the
    value as a player; ``.save("x.gif")`` writes a file, and with ffmpeg ``.save("x.mp4")`` or
    ``"x.webm"``. ``quantile``, ``figsize``, and data in three dimensions: as in `particle_trajectories`.
    It ends with the last finite state, as the title then says. Raises InvalidData, InvalidOption.
    """
    chosen_part = part(ds, trajectory)
    data = chosen_part.data
    everyone = np.arange(data.mass.shape[1])
    limits, leaving = _limits(data, everyone, None, quantile)
    if ax is None:
        space = {} if data.dims < 3 else {"projection": "3d"}
        ax = style.new_axes(5.0, 4.8, figsize, **space)
    dims = 3 if _in_space(ax) else 2
    values, cmap, norm, name = _colours(data, color)
    tails = _lines_of(ax, [], linewidths=1.0, alpha=0.5, cmap=cmap, norm=norm)
    start = data.position[0, 0, :, :dims]
    dots = ax.scatter(*start.T, c=values, cmap=cmap, norm=norm, s=_size(data), **_flat(ax))
    if name:
        bar = ax.figure.colorbar(dots, ax=ax, **_beside(ax))
        bar.set_label(style.label(name, unit_of(ds, name)))
    _frame(ax, chosen_part.ds, limits)  # all frames in one view
    note = "\n".join(filter(None, (chosen_part.note, _leaving(leaving, len(everyone)))))
    unit = unit_of(ds, "time")

    def words(at: int) -> str:
        return "\n".join(filter(None, (style.moment(data.time[at], unit), note)))

    title = ax.set_title(words(0), fontsize="medium" if note else None)

    def frame(at: int) -> tuple[Any, ...]:
        now = data.position[0, at, :, :dims]
        if dims == 3:
            # Three-dimensional axes do not clip what is outside of their limits.
            dots._offsets3d = tuple(np.where(_inside(now, limits)[:, None], now, np.nan).T)
        else:
            dots.set_offsets(now)
        path = data.position[0, max(0, at - trail) : at + 1]
        segments, owner = _segments(path, everyone, data.box)
        segments, owner = _drawn(segments, owner, limits, dims)
        tails.set_segments(list(segments))
        tails.set_array(values[owner])
        title.set_text(words(at))
        return dots, tails, title

    frames = range(0, len(data.time), max(1, every))
    return Animation(ax.figure, frame, frames=frames, interval=interval, repeat=True)


# ---- drawing -----------------------------------------------------------------------------------


def _by_size(name: str, pair: Any) -> tuple[NDArray, NDArray]:
    try:
        x, y = (np.asarray(values, dtype=float) for values in pair)
    except (TypeError, ValueError):
        x = y = np.zeros(0)
    if x.ndim != 1 or x.shape != y.shape or not x.size:
        raise InvalidOption(
            f"the curve {name!r} is sizes and costs",
            got=repr(pair),
            allowed="two lists of numbers, equally long, of at least one",
        )
    order = np.argsort(x, kind="stable")
    return x[order], y[order]


def _fitting(truth: xr.Dataset, trajectory: int, data: schema.ParticleArrays) -> Any:
    """The true paths, with as many particles and axes as ``data``; raises InvalidData."""
    found = part(truth, trajectory).data
    predicted, true = data.position.shape[2:], found.position.shape[2:]
    if predicted != true:
        raise InvalidData(
            "truth and prediction do not fit together",
            got=f"(particle, axis) {true} and {predicted}",
            allowed="the same particles and axes",
            fix="draw model.rollout(ds) beside ds",
        )
    return found


def _colours(data: schema.ParticleArrays, color: str | None) -> tuple[NDArray, Any, Any, str]:
    """Values (particle,), colour map, norm, and label of the colour bar, "" for none."""

    if color not in (None, "mass", "charge"):
        raise InvalidOption("particles are coloured by", got=color, allowed="mass, charge, None")
    if color == "charge" and data.charge is None:
        raise InvalidOption("there is no charge to colour by", got=data.system, allowed="mass")
    mass = data.mass[0]
    if data.charge is not None and color != "mass":
        charge = data.charge[0]
        most = max(float(np.abs(charge).max()), 1e-12)
        return charge, style.SIGNED, TwoSlopeNorm(0.0, -most, most), "charge"
    if color == "mass" or np.ptp(mass) > 0:
        low, high = float(mass.min()), float(mass.max())
        return mass, style.SEQUENTIAL, Normalize(low, high if high > low else low + 1), "mass"
    count = len(mass)
    if count > MAX_COLOURED:
        return np.zeros(count), ListedColormap([style.MODEL]), Normalize(0, 1), ""
    return np.arange(count), style.SEQUENTIAL, Normalize(0, count / 0.9), ""


def _segments(path: NDArray, owner: NDArray, box: Box) -> tuple[NDArray, NDArray]:
    """Lines (line, end, axis) of paths (time, particle, axis), and the particle of each (line,).

    ``owner``: number of each particle. A step through a border is drawn twice, from either end.
    """
    step = box.displacement(path[1:] - path[:-1])
    ahead = np.stack([path[:-1], path[:-1] + step], axis=2)
    behind = np.stack([path[1:] - step, path[1:]], axis=2)
    crossing = np.abs(path[1:] - path[:-1] - step).max(-1) > 1e-9 * np.abs(path).max(initial=1.0)
    owners = np.broadcast_to(owner, step.shape[:2])
    lines = np.concatenate([ahead.reshape(-1, 2, path.shape[-1]), behind[crossing]])
    return lines, np.concatenate([owners.reshape(-1), owners[crossing]])


def _drawn(lines: NDArray, owner: NDArray, limits: NDArray, dims: int) -> tuple[NDArray, NDArray]:
    """The lines (line, end, axis) in ``dims`` axes, and their particles; in space those within limits."""
    if dims == 3:
        # Three-dimensional axes do not clip what is outside of their limits.
        within = _inside(lines, limits).all(axis=1)
        lines, owner = lines[within], owner[within]
    return lines[..., :dims], owner


def _inside(points: NDArray, limits: NDArray) -> NDArray[np.bool_]:
    """Whether points (..., axis) are within limits (axis, end)."""
    margin = 1e-6 * np.ptp(limits, axis=1)
    within: NDArray[np.bool_] = np.all(
        (points >= limits[:, 0] - margin) & (points <= limits[:, 1] + margin), axis=-1
    )
    return within


def _lines_of(ax: Any, lines: Any, **look: Any) -> Any:
    """A collection of lines, added to axes of two or three dimensions."""
    if not _in_space(ax):
        return ax.add_collection(LineCollection(lines, **look))
    from mpl_toolkits.mplot3d.art3d import Line3DCollection

    # Without any line matplotlib fails at its limits.
    lines = lines if len(lines) else np.full((1, 2, 3), np.nan)
    return ax.add_collection3d(Line3DCollection(lines, **look))


def _in_space(ax: Any) -> bool:
    return ax.name == "3d"


def _flat(ax: Any) -> dict[str, Any]:
    """Options of scatter for axes in space: colours mean something, and do not fade with depth."""
    return {"depthshade": False} if _in_space(ax) else {}


def _beside(ax: Any) -> dict[str, Any]:
    """Options of a colour bar beside axes in space, whose last label needs room."""
    return {"pad": 0.12} if _in_space(ax) else {}


def _paths(
    ax: Any,
    data: schema.ParticleArrays,
    chosen: NDArray,
    shades: dict[str, Any],
    width: float,
    limits: NDArray,
) -> Any:
    dims = 3 if _in_space(ax) else 2
    path = data.position[0][:, chosen]
    lines, owner = _drawn(*_segments(path, np.arange(len(chosen)), data.box), limits, dims)
    ends = path[-1]
    kept = _inside(ends, limits) if dims == 3 else np.ones(len(ends), dtype=bool)
    dot = {"s": _size(data), **_flat(ax)}
    if "array" in shades:
        values, rest = shades["array"], {k: v for k, v in shades.items() if k != "array"}
        drawn = _lines_of(ax, list(lines), linewidths=width, alpha=0.75, **rest)
        if owner.size:
            drawn.set_array(values[owner])
        return ax.scatter(*ends[kept, :dims].T, c=values[kept], zorder=3, **dot, **rest)
    _lines_of(ax, list(lines), linewidths=width, **shades)
    return ax.scatter(*ends[kept, :dims].T, c=shades["colors"], zorder=2, **dot)


def _explain(ax: Any, data: schema.ParticleArrays, under: schema.ParticleArrays, dots: Any) -> None:
    """A legend: the truth in grey, which says where it ends before the prediction does, and the prediction in
    the colour of the middle one of its particles (``dots``)."""
    from matplotlib.lines import Line2D

    shorter = under.time[-1] < data.time[-1] - 1e-9 * abs(data.time[-1])
    name = f"true, until t = {under.time[-1]:.3g}" if shorter else "true"
    shades = dots.to_rgba(dots.get_array())
    shade = shades[len(shades) // 2] if len(shades) else style.MODEL
    ax.legend(
        [
            Line2D([], [], color=style.TRUTH, linewidth=1.5),
            Line2D([], [], color=shade, linewidth=1.5, marker="o", markersize=4),
        ],
        [name, "predicted"], fontsize="small", loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2,
        frameon=False, borderaxespad=0.2,
    )  # fmt: skip


def _limits(
    data: schema.ParticleArrays,
    chosen: NDArray,
    under: schema.ParticleArrays | None,
    quantile: float,
) -> tuple[NDArray, int]:
    """Limits (axis, end) of a picture, and how many of the ``chosen`` particles leave them.

    Those of the box; of open axes those of the paths with a margin of 5 %. Particles that go more than
    `FAR` times as far from the middle as a ``quantile`` of them do not count.
    """
    half = data.box.sides(data.dims) / 2
    limits = np.stack([-half, half], axis=-1)
    open_axes = ~np.isfinite(half)
    if not open_axes.any():
        return limits, 0
    paths = [data.position[0][:, chosen]]
    if under is not None:
        paths.append(under.position[0][:, chosen])
    paths = [path[..., open_axes].astype(np.float64) for path in paths if path.size]
    if not paths:
        limits[open_axes] = -1.0, 1.0
        return limits, 0
    middle = np.median(paths[-1].reshape(-1, int(open_axes.sum())), axis=0)
    reach = [np.abs(path - middle).max(axis=(0, 2)) for path in paths]
    typical = float(np.quantile(np.concatenate(reach), quantile, method="lower"))
    far = len(chosen) >= FEWEST and typical > 0 and max(map(np.max, reach)) > FAR * typical
    most = FAR * typical if far else np.inf
    fitted = np.concatenate(
        [path[:, r <= most].reshape(-1, path.shape[-1]) for path, r in zip(paths, reach)]
    )
    low, high = fitted.min(axis=0), fitted.max(axis=0)
    span = np.where(high > low, high - low, max(float(np.max(high - low)), 1e-3))
    low, high = low - 0.05 * span, high + 0.05 * span
    limits[open_axes] = np.stack([low, high], axis=-1)
    left = ((paths[0] < low) | (paths[0] > high)).any(axis=(0, 2)) if len(chosen) else np.zeros(1)
    return limits, int(left.sum())


def _leaving(count: int, of: int) -> str:
    return f"{count} of {of} particles leave the picture" if count else ""


def _size(data: schema.ParticleArrays) -> float:
    return float(np.clip(1500 / data.mass.shape[1], 2, 30))


def _frame(ax: Any, ds: xr.Dataset, limits: NDArray) -> None:
    """Limits (axis, end) of the axes, and their labels with units, in true proportions."""
    unit = unit_of(ds, "position")
    for axis, name in enumerate(ds["axis"].values[: 3 if _in_space(ax) else 2]):
        getattr(ax, f"set_{'xyz'[axis]}lim")(*limits[axis])
        getattr(ax, f"set_{'xyz'[axis]}label")(style.label(str(name), unit))
    if _in_space(ax):
        ax.set_box_aspect(np.ptp(limits, axis=1))
    else:
        ax.set_aspect("equal")


def _window(zoom: Any, data: schema.ParticleArrays, limits: NDArray) -> NDArray:
    """Limits (axis, end) around a particle, or of (x, y, width); of the third axis then all."""
    count = data.mass.shape[1]
    if isinstance(zoom, Integral) and not isinstance(zoom, bool | np.timedelta64):
        if not -count <= zoom < count:
            raise InvalidOption(
                "zoom is the number of a particle", got=zoom, allowed=f"0 to {count - 1}"
            )
        extent = float(np.ptp(limits, axis=1)[:2].max())
        width = extent * min(0.5, 6 / np.sqrt(count))
        centre = data.position[0, -1, int(zoom)].astype(np.float64)
        return np.stack([centre - width / 2, centre + width / 2], axis=-1)
    try:
        x, y, width = (float(value) for value in zoom)
    except (TypeError, ValueError):
        width = np.nan
    if isinstance(zoom, str) or not width > 0 or not np.isfinite([x, y, width]).all():
        raise InvalidOption(
            "zoom is a particle or (x, y, width)",
            got=repr(zoom),
            allowed=f"a number from 0 to {count - 1}, or three numbers, the width > 0",
        )
    window = limits.copy()
    window[:2] = np.array([[x], [y]]) + width / 2 * np.array([-1, 1])
    return window
