"""Arrays with names: dims of a DataArray and labels of a frame, put in the order of the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import ATTRIBUTE, CONTROL_FEATURE, NODE, TIME, TRAJECTORY
from ..datasets.reading import numbers
from ..errors import InvalidData
from .graphs.labels import plain, shown

_ALIASES = {"control": CONTROL_FEATURE}


@dataclass(frozen=True, eq=False)
class NamedArray:
    """Numbers, and by dim the labels that came with them."""

    values: NDArray[np.float64]
    labels: Mapping[str, list[Any]] = field(default_factory=dict)

    def along(self, dim: str, axis: int, wanted: Sequence[Any] | None, name: str) -> NamedArray:
        """The same array with the entries along ``axis`` in the order of the labels ``wanted``.

        Nothing changes where the array has no labels of its own, or ``wanted`` is None. Raises
        InvalidData where labels are missing.
        """
        mine = self.labels.get(dim)
        unnamed = mine is None or mine == list(range(len(mine)))
        if wanted is None or mine is None or mine == list(wanted):
            return self
        if unnamed and any(isinstance(label, str) for label in wanted):
            return self
        lacking = [label for label in wanted if label not in set(mine)]
        if lacking or len(set(mine)) < len(mine):
            raise InvalidData(
                f"{name} has other labels of its {dim} dim than x",
                got=shown(mine),
                allowed=shown(list(wanted)),
                fix=f"give every label of x once; missing here: {shown(lacking, 4)}"
                if lacking
                else "each label once",
            )
        order = [mine.index(label) for label in wanted]
        return NamedArray(np.take(self.values, order, axis=axis), {**self.labels, dim: [*wanted]})


def named_array(
    name: str, values: Any, dims: Sequence[str], optional: Sequence[str] = ()
) -> NamedArray:
    """``values`` as float64; a DataArray or a frame in the order of ``dims``, by name.

    ``optional`` dims may be missing and have length 1 then. A DataArray none of whose dims has a
    name of ``dims`` is taken as it stands. Raises InvalidData for dims with other names.
    """
    if isinstance(values, xr.Dataset):
        raise InvalidData(
            f"{name} is a dataset, not an array",
            got=", ".join(map(str, values.data_vars)) or "no variables",
            allowed=f"numbers ({', '.join(dims)})",
            fix="give one of its variables: ds[name]",
        )
    if hasattr(values, "iloc"):
        return _of_frame(name, values, dims)
    if not isinstance(values, xr.DataArray):
        return NamedArray(numbers(name, values))
    array = values.rename({a: b for a, b in _ALIASES.items() if a in values.dims and b in dims})
    if set(array.dims).isdisjoint(dims):
        return NamedArray(numbers(name, array.values))
    missing = [dim for dim in dims if dim not in array.dims]
    if not set(array.dims) <= set(dims) or not set(missing) <= set(optional):
        raise InvalidData(
            f"{name} has other dims",
            got=f"({', '.join(map(str, array.dims))})",
            allowed=f"({', '.join(dims)}), in any order",
            fix="rename with .rename({old: new}); .values takes the axes as they stand",
        )
    labels = {
        str(dim): [plain(v) for v in array.coords[dim].values]
        for dim in array.dims
        if dim in array.coords
    }
    array = array.transpose(*(dim for dim in dims if dim in array.dims))
    found = np.expand_dims(
        numbers(name, array.values), [i for i, dim in enumerate(dims) if dim in missing]
    )
    return NamedArray(found, labels)


def _of_frame(name: str, frame: Any, dims: Sequence[str]) -> NamedArray:
    """A frame of constants of nodes, a row for each node; a series is one column."""
    if tuple(dims) != (NODE, ATTRIBUTE):
        raise InvalidData(
            f"{name} is a table",
            got=f"{type(frame).__name__} {frame.shape}",
            allowed=f"an array ({', '.join(dims)})",
            fix="pympnode.from_frame reads tables in long form; frame.to_numpy() is an array",
        )
    table = frame.to_frame() if frame.ndim == 1 else frame
    columns = [numbers(f"{name}, column {c!r}", table.iloc[:, i]) for i, c in enumerate(table)]
    labels = {NODE: [plain(v) for v in table.index], ATTRIBUTE: [str(c) for c in table.columns]}
    if not columns:
        raise InvalidData(f"{name} has no columns", got=f"shape {table.shape}", allowed=">= 1")
    return NamedArray(np.stack(columns, axis=-1), labels)


def carried_coords(x: Any, ds: xr.Dataset) -> dict[str, Any]:
    """Coordinates of nodes and trajectories of a DataArray that a dataset of it does not have yet."""
    if not isinstance(x, xr.DataArray) or TIME not in x.dims:
        return {}
    return {
        str(name): coord.variable
        for name, coord in x.coords.items()
        if name not in ds.coords and coord.dims and set(coord.dims) <= {NODE, TRAJECTORY}
    }
