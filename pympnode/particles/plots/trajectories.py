"""Paths of particles in their box, conserved quantities, costs against size, and animations."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.collections import LineCollection
from matplotlib.colors import TwoSlopeNorm
from numpy.typing import NDArray

from ...config import (
    arguments,
    least,
    mapping,
    positive,
    text,
)
from ...errors import InvalidData, InvalidOption
from ...plotting import style
from ...plotting.animation import Animation
from ...plotting.choosing import axes_of, shaped
from .. import schema
from ..graphs.box import Box
from .selection import numbers, part


@arguments(color=text, ax=axes_of)
def particle_trajectories(
    ds: xr.Dataset,
    *,
    trajectory: int = 0,
    particles: Any = None,
    zoom: Any = None,
    color: str | None = None,
    truth: xr.Dataset | None = None,
    ax: Any = None,
) -> Any:
    """Paths of particles in their box, with a dot at the end; lines end at borders and continue there.

    particles: numbers to draw, or a mask (all). color: "charge" or "mass" (the default: charge
    if there is one; mass if masses differ; else one colour per particle). zoom: a particle
    number, or (x, y, width), drawn larger in a second panel. truth: true paths, drawn underneath in
    grey. Three-dimensional data are projected along the last axis. Paths end with the last finite state,
    as the title then says. Returns the axes (two with ``zoom``). Raises InvalidData, InvalidOption.
    """
    chosen_part = part(ds, trajectory)
    data, note = chosen_part.data, chosen_part.note
    chosen = numbers(particles, data.mass.shape[1])
    under = None if truth is None else _fitting(truth, trajectory, data)
    window = None if zoom is None else _window(zoom, data)
    panels = [ax] if ax is not None else None
    if panels is None:
        panels = list(
            style.new_grid(1, 1 if zoom is None else 2, 5 if zoom is None else 10, 4.8)[0]
        )
    elif zoom is not None:
        panels.append(ax.inset_axes((1.08, 0.0, 1.0, 1.0)))
    values, cmap, norm, name = _colours(data, color)
    if note:
        panels[0].set_title(note, fontsize="medium")
    for panel in panels:
        if under is not None:
            _paths(panel, under, chosen, {"colors": style.TRUTH}, 1.0)
        shades = {"array": values[chosen], "cmap": cmap, "norm": norm}
        dots = _paths(panel, data, chosen, shades, 1.2)
        _frame(panel, ds, data)
    if name:
        panels[-1].figure.colorbar(dots, ax=panels, label=name, shrink=0.85)
    if window is None:
        return panels[0]
    x, y, width = window
    panels[1].set(xlim=(x - width / 2, x + width / 2), ylim=(y - width / 2, y + width / 2))
    panels[0].indicate_inset((x - width / 2, y - width / 2, width, width), edgecolor="black")
    panels[1].set_title(f"around ({x:.1f}, {y:.1f})")
    return np.array(panels)


def conservation(
    data: xr.Dataset | Mapping[str, xr.Dataset], *, trajectory: int = 0, axes: Any = None
) -> Any:
    """Energy and momentum over time, two axes.

    One dataset: kinetic, potential and total energy, and each component of the momentum. Several
    by name (a prediction and the truth, two integrators): their changes since the start, per
    particle. Where forces are not known the energy is the kinetic one, as the label says. Lines end
    with the last finite state, as the title then says. Warns where a record
    lacks the constants of the forces (`metrics.observe`). Raises InvalidData, InvalidOption.
    """
    from ..metrics import motion, observe
    from ..schema import has_known_forces

    single = isinstance(data, xr.Dataset)  # which is a mapping too
    several = isinstance(data, Mapping) and all(
        isinstance(one, xr.Dataset) for one in data.values()
    )
    if not single and not (several and data):
        raise InvalidOption(
            "conservation is drawn for a dataset, or for several by name",
            got="an empty mapping" if isinstance(data, Mapping) else type(data).__name__,
            allowed="a dataset, or a mapping of names to at least one",
            fix='conservation({"true": ds, "predicted": model.rollout(ds)})',
        )
    if axes is None:
        axes = style.new_grid(1, 2, 10, 3.6)[0]
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
        axes[0].set_ylabel("energy")
        axes[1].set_ylabel("momentum")
    else:
        known = all(has_known_forces(ds) for ds in data.values())
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
        axes[0].set_ylabel(f"change of {'' if known else 'kinetic '}energy per particle")
        axes[1].set_ylabel("change of momentum per particle")
    if notes:
        axes[0].set_title("\n".join(notes), fontsize="medium")
    for ax in axes:
        style.plain(ax)
        ax.set_xlabel("time")
        ax.legend(frameon=False)
    return axes


@arguments(curves=mapping, xlabel=text, ylabel=text, ax=axes_of)
def scaling(
    curves: Mapping[str, tuple[Any, Any]],
    *,
    xlabel: str = "particles",
    ylabel: str = "seconds",
    ax: Any = None,
) -> Any:
    """Cost against size on logarithmic axes, with a line of slope one.

    curves: by name (sizes, costs), in any order. The line goes through the largest size of the first
    curve. Returns the axes. Raises InvalidOption.
    """
    if not isinstance(curves, Mapping) or not curves:
        raise InvalidOption(
            "costs are drawn by name",
            got="an empty mapping" if isinstance(curves, Mapping) else type(curves).__name__,
            allowed="a mapping of names to (sizes, costs), at least one",
            fix='scaling({"compiled": ([100, 1000], [0.1, 1.0])})',
        )
    ax = style.new_axes(5.4, 3.8) if ax is None else ax
    ordered = {name: _by_size(name, pair) for name, pair in curves.items()}
    for (name, (x, y)), colour, mark in zip(
        ordered.items(), style.by_order(len(curves)), "osd^vP*X<>" * 3
    ):
        ax.plot(x, y, marker=mark, markersize=5, color=colour, label=name)
    x, y = next(iter(ordered.values()))
    ends = x[[0, -1]]
    line = y[-1] * ends / ends[1]
    ax.plot(ends, line, color=style.TRUTH, linestyle="--", linewidth=1, label="linear", zorder=0)
    ax.set(xscale="log", yscale="log", xlabel=xlabel, ylabel=ylabel)
    style.plain(ax)
    ax.legend(frameon=False, fontsize="small")
    return ax


@arguments(color=text, trail=least(1), every=least(1), interval=positive, ax=axes_of)
def animate_particles(
    ds: xr.Dataset,
    *,
    trajectory: int = 0,
    color: str | None = None,
    trail: int = 15,
    every: int = 1,
    interval: float = 50.0,
    ax: Any = None,
) -> Animation:
    """An animation of one trajectory, with ``trail`` steps of path behind each particle.

    ``every``: times between two frames; ``interval``: milliseconds per frame. A notebook shows the
    value as a player; ``.save("x.gif")`` writes a file. It ends with the last finite state, as the
    title then says. Raises InvalidData, InvalidOption.
    """
    chosen_part = part(ds, trajectory)
    data, note = chosen_part.data, chosen_part.note
    ax = style.new_axes(5.0, 4.8) if ax is None else ax
    values, cmap, norm, name = _colours(data, color)
    tails = LineCollection([], linewidths=1.0, alpha=0.5, cmap=cmap, norm=norm)
    ax.add_collection(tails)
    dots = ax.scatter(*data.position[0, 0, :, :2].T, c=values, cmap=cmap, norm=norm, s=_size(data))
    if name:
        ax.figure.colorbar(dots, ax=ax, label=name)
    ax.update_datalim(data.position[0, ..., :2].reshape(-1, 2))  # all frames in one view
    _frame(ax, ds, data)
    everyone = np.arange(len(values))

    def words(at: int) -> str:
        return "\n".join(filter(None, (style.moment(data.time[at], "time"), note)))

    title = ax.set_title(words(0), fontsize="medium" if note else None)

    def frame(at: int) -> tuple[Any, ...]:
        dots.set_offsets(data.position[0, at, :, :2])
        path = data.position[0, max(0, at - trail) : at + 1]
        segments, owner = _segments(path[..., :2], everyone, data.box)
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
            fix="draw model.rollout(ds) over truth=ds",
        )
    return found


def _colours(data: schema.ParticleArrays, color: str | None) -> tuple[NDArray, str, Any, str]:
    """Values (particle,), colour map, norm, and label of the colour bar, "" for none."""
    from matplotlib.colors import Normalize

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
    lines = np.concatenate([ahead.reshape(-1, 2, 2), behind[crossing]])
    return lines, np.concatenate([owners.reshape(-1), owners[crossing]])


def _paths(
    ax: Any, data: schema.ParticleArrays, chosen: NDArray, shades: dict[str, Any], width: float
) -> Any:
    path = data.position[0][:, chosen, :2]
    lines, owner = _segments(path, np.arange(len(chosen)), data.box)
    if "array" in shades:
        values, rest = shades["array"], {k: v for k, v in shades.items() if k != "array"}
        drawn = LineCollection(list(lines), linewidths=width, alpha=0.75, **rest)
        drawn.set_array(values[owner])
        ax.add_collection(drawn)
        return ax.scatter(*path[-1].T, c=values, s=_size(data), zorder=3, **rest)
    ax.add_collection(LineCollection(list(lines), linewidths=width, **shades))
    return ax.scatter(*path[-1].T, c=shades["colors"], s=_size(data), zorder=2)


def _size(data: schema.ParticleArrays) -> float:
    return float(np.clip(1500 / data.mass.shape[1], 2, 30))


def _frame(ax: Any, ds: xr.Dataset, data: schema.ParticleArrays) -> None:
    """The box as limits of the axes, and their labels with units."""
    unit = str(ds["position"].attrs.get("units", "1"))
    names = ds["axis"].values
    ax.autoscale_view()
    half = data.box.sides(data.dims) / 2
    for limits, end in zip((ax.set_xlim, ax.set_ylim), half):
        if np.isfinite(end):
            limits(-end, end)
    ax.set(
        xlabel=style.label(str(names[0]), unit),
        ylabel=style.label(str(names[1]), unit),
        aspect="equal",
    )


def _window(zoom: Any, data: schema.ParticleArrays) -> tuple[float, float, float]:
    count = data.mass.shape[1]
    if isinstance(zoom, Integral) and not isinstance(zoom, bool | np.timedelta64):
        if not -count <= zoom < count:
            raise InvalidOption(
                "zoom is the number of a particle", got=zoom, allowed=f"0 to {count - 1}"
            )
        x, y = data.position[0, -1, int(zoom), :2]
        extent = float(data.box.sides(data.dims)[:2].max())
        if not np.isfinite(extent):
            extent = float(np.ptp(data.position[0, ..., :2]))
        return float(x), float(y), extent * min(0.5, 6 / np.sqrt(count))
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
    return x, y, width
