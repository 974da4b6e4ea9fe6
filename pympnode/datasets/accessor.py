"""``ds.pympnode``: the record of a dataset, and its pictures.

Registered by ``import pympnode``; matplotlib is imported with the first picture.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import xarray as xr

from .record import record

if TYPE_CHECKING:
    from ..plotting.accessor import Plots


@xr.register_dataset_accessor("pympnode")
class Accessor:
    """``ds.pympnode.plot`` draws a dataset, ``ds.pympnode.record`` is its provenance."""

    def __init__(self, ds: xr.Dataset) -> None:
        self._ds = ds

    @property
    def plot(self) -> Plots:
        """The pictures of this dataset, as methods: ``ds.pympnode.plot.NAME(...)`` is
        ``pympnode.plotting.NAME(ds, ...)``."""
        return import_module("..plotting.accessor", __package__).Plots(self._ds)

    @property
    def record(self) -> dict[str, Any]:
        """System, parameters, seeds, engine and versions of this dataset; {} without a record."""
        return record(self._ds)

    def __repr__(self) -> str:
        return f"pympnode accessor: record of {self.record.get('system', 'given data')!r}, plot"
