"""DataArrays of particles: dims by name in the order of the package, labels matched to positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..datasets.names import PARTICLE_DIMS, TIME, TRAJECTORY
from ..errors import InvalidData, one_line

Labels = Mapping[str, list[Any]]


def labels_of(array: Any) -> dict[str, list[Any]]:
    """The labels by dim of a DataArray; none of anything else."""
    if not isinstance(array, xr.DataArray):
        return {}
    return {str(dim): array[dim].values.tolist() for dim in array.dims if dim in array.coords}


def by_name(name: str, values: Any, dims: Sequence[str], wanted: Labels) -> Any:
    """The values of a DataArray with its dims in the order of ``dims``; other values as they are.

    Entries are put in the order of the labels ``wanted``, those of the positions, where both have
    labels; a pandas series is read by the labels of its index in the same way. A DataArray none of
    whose dims has a name of ``dims`` is taken as it stands. Raises InvalidData for dims with other
    names and for labels that the positions do not have.
    """
    if not isinstance(values, xr.DataArray):
        series = hasattr(values, "iloc") and getattr(values, "ndim", 0) == 1
        if not series or "particle" not in wanted or len(values) != len(wanted["particle"]):
            return values
        if list(values.index) == list(range(len(values))):
            return values
        coords = {"particle": np.asarray(values.index)}
        values = xr.DataArray(np.asarray(values), dims="particle", coords=coords)
    if set(values.dims).isdisjoint(dims):
        return values.values
    if not set(values.dims) <= set(dims):
        raise InvalidData(
            f"{name} has other dims",
            got=f"({', '.join(map(str, values.dims))})",
            allowed=f"({', '.join(dims)}), in any order",
            fix="rename with .rename({old: new}); .values takes the axes as they stand",
        )
    for dim, own in labels_of(values).items():
        there = wanted.get(dim, own)
        if dim == TIME or own == there:
            continue
        if set(own) != set(there) or len(set(own)) < len(own):
            raise InvalidData(
                f"{name} has other labels of its {dim} dim than position",
                got=one_line(repr(own), 100),
                allowed=one_line(repr(there), 100),
                fix=f"give each label of position once, or drop the labels: .drop_vars({dim!r})",
            )
        place = {label: i for i, label in enumerate(own)}
        values = values.isel({dim: [place[label] for label in there]})
    return values.transpose(*(dim for dim in dims if dim in values.dims)).values


PATH_DIMS = PARTICLE_DIMS
EACH_DIMS = (TRAJECTORY, PARTICLE_DIMS[2])
