"""The cells of a sweep as a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..errors import one_line
from ..version import __version__
from .sweep_cells import SweepCell

# Variable -> what it is where a cell has no number, its unit and its name.
_VARIABLES: dict[str, tuple[Any, str, str]] = {
    "validation_loss": (np.nan, "1", "validation loss of the kept weights"),
    "best_epoch": (-1, "1", "epoch of the kept weights"),
    "updates": (0, "1", "updates of training"),
    "epochs": (0, "1", "epochs of training"),
    "seconds": (0.0, "s", "time of training"),
}


def sweep_dataset(
    grid: Any,
    cells: list[SweepCell],
    numbers: Mapping[str, Sequence[Mapping[str, Any]]],
    stopped: Mapping[str, str],
    folder: Path,
) -> xr.Dataset:
    """See `pympnode.sweep`. ``numbers``: of each cell by its name, after every rung; ``stopped``: why
    cells did not go on."""
    if isinstance(grid, Mapping):
        dims = tuple(grid)
        shape = tuple(len(values) for values in grid.values())
        coords: dict[str, Any] = {name: _labels(list(v)) for name, v in grid.items()}
    else:
        dims, shape = ("cell",), (len(cells),)
        names = list(dict.fromkeys(name for cell in cells for name in cell.keywords))
        coords = {"cell": np.arange(len(cells))}
        for name in names:
            coords[name] = ("cell", _labels([cell.keywords.get(name) for cell in cells]))
    last = [(numbers[cell.name] or [{}])[-1] for cell in cells]
    variables: dict[str, Any] = {}
    for name, (missing, unit, long_name) in _VARIABLES.items():
        values = np.array([type(missing)(each.get(name, missing)) for each in last])
        attrs = {"units": unit, "long_name": long_name}
        variables[name] = (dims, values.reshape(shape), attrs)
    status = [
        "stopped" if c.name in stopped else e.get("status", "missing") for c, e in zip(cells, last)
    ]
    reason = [stopped.get(c.name, str(e.get("reason", ""))) for c, e in zip(cells, last)]
    rung = np.array([len(numbers[cell.name]) - 1 for cell in cells])
    variables["rung"] = (dims, rung.reshape(shape), {"long_name": "lengths trained, from 0"})
    for name, texts in (
        ("status", status),
        ("reason", reason),
        ("folder", [str(c.run(folder)) for c in cells]),
    ):
        variables[name] = (dims, np.array(texts, dtype=object).reshape(shape))
    losses = variables["validation_loss"][1].ravel()
    best = str(cells[int(np.nanargmin(losses))].run(folder)) if np.isfinite(losses).any() else ""
    return xr.Dataset(variables, coords=coords, attrs={"best": best, "made_with": __version__})


def _labels(values: list[Any]) -> NDArray:
    """Coordinates of values of a keyword: numbers or texts; others as their text."""
    values = [v.item() if isinstance(v, np.generic) else v for v in values]
    kinds = {type(value) for value in values}
    if kinds in ({bool}, {int}, {str}) or kinds <= {int, float}:
        return np.array(values, dtype=object if kinds == {str} else None)
    return np.array([one_line(value, 80) for value in values], dtype=object)
