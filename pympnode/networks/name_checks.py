"""Checks of the names of a network dataset's components."""

from __future__ import annotations

import xarray as xr

from ..datasets.names import ATTRIBUTE, CONTROL_FEATURE, EDGE_FEATURE, FEATURE, UNIT
from ..errors import InvalidData


def check_names_of_axes(ds: xr.Dataset) -> None:
    """Raise InvalidData where names or units of components are over another dim than theirs."""
    for name, dim in (
        (FEATURE, FEATURE),
        (UNIT, FEATURE),
        (CONTROL_FEATURE, CONTROL_FEATURE),
        (ATTRIBUTE, ATTRIBUTE),
        (EDGE_FEATURE, EDGE_FEATURE),
    ):
        if name in ds.coords and ds[name].dims != (dim,):
            raise InvalidData(
                f"{name!r} must be over the dim {dim!r} alone",
                got=f"dims {ds[name].dims}",
                allowed=f"{name}({dim})",
                fix=f'ds.assign_coords({name}=("{dim}", [...]))',
            )
