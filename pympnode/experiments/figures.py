"""Figures of an experiment in the form of the papers, drawn from its finished cells.

``figures`` of a file names them; `pympnode.experiments.run` writes them to ``figures/`` of the folder:

- ``losses``: the lowest validation loss so far against updates, a line per row: the mean over seeds, a
  band from the smallest to the largest.
- ``surfaces`` (networks): true and predicted first feature of the first test trajectory as surfaces over
  the grid that the nodes fill row by row, at four times. One picture per row and test.
- ``paths`` (particles): paths of the first test trajectory, the true ones in grey. One per row and test.
- ``conservation`` (particles): absolute changes of energy and momentum over time of the first test trajectory,
  the true ones and those of each row, on logarithmic axes. One per test.
- ``particles``: the first four columns of a table against the number of particles of a test.

Pictures of predictions are those of the first seed that is finished.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .. import _api
from ..datasets.names import FEATURE, STATE, TIME, TRAJECTORY
from ..errors import InvalidOption, PympnodeError
from ..files import netcdf
from ..networks.graphs.regular import grid_shape
from ..plotting import style
from ..plotting.logarithmic import logarithmic
from .budget import Budget
from .cells import cell, slug
from .columns import RUN, title
from .datasets import Datasets
from .description import Experiment, Row
from .finished import collected, finished_cells
from .scoring import range_warnings

logger = logging.getLogger("pympnode.experiments")

PANELS = 4


def write_figures(
    experiment: Experiment, budget: Budget, seeds: int, folder: Path, datasets: Datasets
) -> list[Path]:
    """Draw the figures of an experiment into ``folder / "figures"``; returns their files.

    A picture that cannot be drawn (a rollout that is not finite) is logged and left out.
    """
    import matplotlib.pyplot as plt

    written: list[Path] = []
    done = _Finished(experiment, budget, seeds, folder, datasets)
    for kind in experiment.figures:
        for name, draw in _DRAWN[kind](done):
            try:
                figure = draw()
            except PympnodeError as error:
                logger.warning("no figure %s %s: %s", kind, name, error.message)
                continue
            path = folder / "figures" / f"{slug(' '.join((kind, name)))}.png"
            path.parent.mkdir(exist_ok=True)
            figure.savefig(path, dpi=150)
            plt.close(figure)
            written.append(path)
    return written


class _Finished:
    """The finished cells, and rollouts of their models."""

    def __init__(
        self, experiment: Experiment, budget: Budget, seeds: int, folder: Path, datasets: Datasets
    ) -> None:
        self.experiment = experiment
        self.folder = folder
        self.datasets = datasets
        self.cells = {
            key: numbers
            for key, numbers in finished_cells(experiment, budget, seeds, folder).items()
            if numbers["status"] in ("completed", "diverged")
        }
        self.results = collected(experiment, budget, seeds, folder)
        self._tests = {row.name: cell(experiment, row, budget, 0).tests for row in experiment.rows}

    def first(self) -> Iterator[tuple[Row, dict[str, Any]]]:
        """Each row with a finished cell, and its first one."""
        for row in self.experiment.rows:
            found = [numbers for (name, _), numbers in self.cells.items() if name == row.name]
            if found:
                yield row, found[0]

    def prediction(self, row: Row, numbers: dict[str, Any], test: str) -> tuple[Any, Any]:
        """(true, predicted) of the first trajectory of a test."""
        ds = self.datasets.get(self._tests[row.name][test]).isel({TRAJECTORY: [0]})
        model = _api.load(self.folder / numbers["folder"] / "model.nc")
        with range_warnings():  # they are kept with the numbers
            return ds, model.rollout(ds)


def _losses(done: _Finished) -> Iterator[tuple[str, Any]]:
    yield "", lambda: _draw_losses(done)


def _draw_losses(done: _Finished) -> Any:
    ax = style.new_axes(7.2, 4.6)
    rows = [row for row in done.experiment.rows if row.start != "unchanged"]
    looks = _Looks([row.name for row in rows])
    unit = ""
    for row in rows:
        curves = []
        for (name, _), numbers in done.cells.items():
            path = done.folder / numbers["folder"] / "history.nc"
            if name == row.name and path.exists():
                history = netcdf.read_netcdf(path)
                unit = str(history.attrs.get("loss", ""))
                curves.append((history["updates"].values, _lowest(history)))
        if not curves:
            continue
        longest = max(updates[-1] for updates, _ in curves)
        at = np.geomspace(1, max(longest, 2), 200)
        values = np.array([np.interp(at, x, y, left=np.nan, right=y[-1]) for x, y in curves])
        known = ~np.isnan(values).any(axis=0)
        look = looks.of(row.name)
        ax.plot(at[known], values[:, known].mean(axis=0), label=row.name, **look)
        ax.fill_between(
            at[known],
            values[:, known].min(axis=0),
            values[:, known].max(axis=0),
            color=look["color"],
            alpha=0.2,
            linewidth=0,
        )
    logarithmic(ax, "x", "y")
    ax.set(
        xlabel="updates",
        ylabel=f"lowest validation loss\n({unit})" if unit else "lowest validation loss",
    )
    style.plain(ax)
    looks.legend(ax)
    return ax.figure


class _Looks:
    """Colours and line styles of lines by name.

    A colour each, as long as the palette has one. More lines than that share the colour of what stands before the last
    comma of their name ("scratch, trajectories 50") and differ in the line style of what stands behind it.
    """

    STYLES = ("-", "--", ":", "-.")

    def __init__(self, names: Sequence[str]) -> None:
        parts = {name: (name, "") for name in names}
        if len(names) > len(style.PALETTE):
            parts = {
                name: (name.rpartition(", ")[0], name.rpartition(", ")[2])
                if ", " in name
                else (name, "")
                for name in names
            }
        groups = list(dict.fromkeys(group for group, _ in parts.values()))
        kinds = list(dict.fromkeys(kind for _, kind in parts.values()))
        if len(groups) > len(style.PALETTE) or len(kinds) > len(self.STYLES):
            parts, groups, kinds = {name: (name, "") for name in names}, list(names), [""]
        self._parts = parts
        self._colours = dict(zip(groups, style.by_order(len(groups))))
        self._styles: dict[str, Any] = dict(zip(kinds, self.STYLES))

    def of(self, name: str) -> dict[str, Any]:
        """Keywords of a line."""
        group, kind = self._parts[name]
        return {"color": self._colours[group], "linestyle": self._styles[kind]}

    def legend(self, ax: Any) -> None:
        """A legend above the panels of ``ax``: a colour, and a line style, for each that was drawn."""
        from matplotlib.lines import Line2D

        drawn = [self._parts[name] for name in ax.get_legend_handles_labels()[1]]
        handles = {
            group: Line2D([], [], color=self._colours[group], label=group) for group, _ in drawn
        }
        if len(self._styles) > 1:
            handles |= {
                kind: Line2D([], [], color="0.3", linestyle=self._styles[kind])
                for _, kind in drawn
                if kind
            }
        if handles:
            style.legend_above(ax.figure, list(handles.values()), list(handles))


def _lowest(history: xr.Dataset) -> np.ndarray:
    losses = np.where(np.isfinite(history["validation_loss"]), history["validation_loss"], np.inf)
    lowest = np.minimum.accumulate(losses)
    return np.where(np.isfinite(lowest), lowest, np.nan)


def _surfaces(done: _Finished) -> Iterator[tuple[str, Any]]:
    for row, numbers in done.first():
        for test in done.experiment.tests:
            yield (
                f"{row.name} {test.name}",
                lambda row=row, numbers=numbers, test=test: _draw_surfaces(
                    *done.prediction(row, numbers, test.name)
                ),
            )


def _draw_surfaces(true: xr.Dataset, predicted: xr.Dataset) -> Any:
    states = [np.asarray(ds[STATE].values[0, ..., 0], dtype=float) for ds in (true, predicted)]
    times = true[TIME].values
    last = len(times) - 1
    at = sorted({0, round(0.1 * last), round(0.35 * last), last})
    shape = grid_shape(states[0].shape[1])
    if min(shape) < 2:
        raise InvalidOption(
            "nodes in one line have no surface",
            got=f"{states[0].shape[1]} nodes",
            allowed="rows x columns, at least 2 x 2",
            fix="leave surfaces out of figures",
        )
    column, row = np.meshgrid(np.arange(shape[1]), np.arange(shape[0]))
    axes = style.new_grid(2, len(at), 2.8 * len(at) + 0.6, 6.2, subplot_kw={"projection": "3d"})
    low, high = np.nanmin(states[0]), np.nanmax(states[0])
    for states_of, line, name in zip(states, axes, ("true", "predicted")):
        for ax, number in zip(line, at):
            ax.plot_surface(
                column, row, states_of[number].reshape(shape), cmap=style.SEQUENTIAL, vmin=low,
                vmax=high,
            )  # fmt: skip
            ax.set_title(f"{name}, {style.moment(times[number], _unit(true))}", fontsize="medium")
            ax.set(xlabel="column", ylabel="row", zlim=(low, high))
            ax.tick_params(labelsize="x-small", pad=-1)
            ax.set_box_aspect(None, zoom=0.85)  # labels of three axes need room beside the cube
    # A label beside the last axis would be cut off: constrained layout leaves no room for it.
    feature, unit = str(true[FEATURE].values[0]), str(true["unit"].values[0])
    axes[0, 0].figure.suptitle(f"height: {style.label(feature, unit)}", fontsize="medium")
    return axes[0, 0].figure


def _unit(ds: xr.Dataset) -> str:
    return str(ds[TIME].attrs.get("units", "1"))


def _paths(done: _Finished) -> Iterator[tuple[str, Any]]:
    from ..plotting import particle_trajectories

    def draw(row: Row, numbers: dict[str, Any], test: str) -> Any:
        true, predicted = done.prediction(row, numbers, test)
        count = true.sizes["particle"]
        # The box of many particles holds paths of a few points each: a part is drawn larger.
        zoom = 0 if count > 50 else None
        drawn = particle_trajectories(predicted, truth=true, zoom=zoom)
        return np.ravel(drawn)[0].figure

    for row, numbers in done.first():
        for test in done.experiment.tests:
            yield (
                f"{row.name} {test.name}",
                lambda row=row, numbers=numbers, test=test: draw(row, numbers, test.name),
            )


def _conservation(done: _Finished) -> Iterator[tuple[str, Any]]:
    from ..plotting import conservation

    def draw(test: str) -> Any:
        shown: dict[str, xr.Dataset] = {}
        for row, numbers in done.first():
            true, predicted = done.prediction(row, numbers, test)
            shown.setdefault("true", true)
            shown[row.name] = predicted
        axes = conservation(shown)
        for ax in axes:
            _on_a_logarithmic_axis(ax)
        return axes[0].figure

    if done.cells:
        for test in done.experiment.tests:
            yield test.name, lambda test=test: draw(test.name)


def _on_a_logarithmic_axis(ax: Any) -> None:
    """Absolute values of the lines of ``ax`` on a logarithmic axis: rows differ by orders of magnitude, and one
    that left the truth would hide all others. Ten orders below the largest there is rounding."""
    sizes = []
    for line in ax.get_lines():
        size = np.abs(np.asarray(line.get_ydata(), dtype=float))
        line.set_ydata(np.where(size > 0, size, np.nan))
        sizes.append(size[np.isfinite(size) & (size > 0)])
    largest = max((size.max() for size in sizes if size.size), default=0.0)
    if not largest:
        return
    smallest = min(size.min() for size in sizes if size.size)
    ax.set_ylim(max(smallest, 1e-10 * largest) / 2, 2 * largest)
    if not ax.get_title():
        ax.set_title("absolute values", fontsize="medium")
    logarithmic(ax, "y")


def _particles(done: _Finished) -> Iterator[tuple[str, Any]]:
    yield "", lambda: _draw_particles(done)


def _draw_particles(done: _Finished) -> Any:
    columns = [c for c in done.experiment.columns if c not in RUN and c in done.results][:PANELS]
    # A panel of zeros, as of rollouts that all stayed finite, shows nothing.
    columns = [c for c in columns if not (done.results[c].fillna(0) == 0).all()] or columns[:1]
    across = min(2, max(1, len(columns)))
    axes = style.new_grid(-(-max(1, len(columns)) // across), across, 5.2 * across, 6.4)
    for ax, column in zip(axes.flat, columns):
        lines: dict[str, list[tuple[int, float]]] = {}
        for row in done.experiment.rows:
            points = _points(done, row, column)
            # Rows that are each used at one number are one line of the models that they name.
            name = re.sub(r", particles \d+$", "", row.name) if len(points) < 2 else row.name
            lines.setdefault(name, []).extend(points)
        looks = _Looks(list(lines))
        for name, points in lines.items():
            if points:
                x, y = zip(*sorted(points))
                ax.plot(x, y, marker="o", markersize=4, label=name, **looks.of(name))
        positive = any(value > 0 for points in lines.values() for _, value in points)
        ax.set(xlabel="particles", ylabel=title(column))
        logarithmic(ax, *("xy" if positive else "x"))
        style.plain(ax)
    for ax in axes.flat[len(columns) :]:
        ax.set_axis_off()
    if len(columns):
        looks.legend(axes.flat[0])
    return axes.flat[0].figure


def _points(done: _Finished, row: Row, column: str) -> list[tuple[int, float]]:
    """(particles, mean over seeds) of each test of a row that has a number."""
    out = []
    for test in done.experiment.tests:
        count = {**row.data, **test.data}.get("particles", 100)
        values = done.results[column].sel(row=row.name, test=test.name, predictor="model").values
        if np.isfinite(values).any():
            out.append((int(count), float(values[np.isfinite(values)].mean())))
    return out


_DRAWN = {
    "losses": _losses,
    "surfaces": _surfaces,
    "paths": _paths,
    "conservation": _conservation,
    "particles": _particles,
}
