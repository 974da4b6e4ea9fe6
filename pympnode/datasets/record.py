"""The record of a dataset: its scalars and provenance, one JSON string in an attribute."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

from ..errors import InvalidData, one_line
from ..files import kinds
from ..files.netcdf import RECORD

SCHEMA_VERSION = 1
# Entries that the package computes with; of other kinds they are refused. JSON has no other numbers.
_KINDS = {
    "kind": kinds.text,
    "system": kinds.text,
    "parameters": kinds.named(kinds.anything),
    "parameter_arrays": kinds.listing(kinds.text),
    "graphs": kinds.whole(0),
    "node_types": kinds.listing(kinds.text),
    "topology": kinds.either(kinds.text, kinds.listing(kinds.text)),
}


_FIX = f"delete ds.attrs[{RECORD!r}] or write it with pympnode.networks.schema.with_record"


def record(ds: xr.Dataset) -> dict[str, Any]:
    """The record of a dataset: system, parameters, seeds, engine, versions; {} without one.

    Raises `InvalidData` where the attribute is no JSON object, or an entry that is computed with is
    of another kind.
    """
    text = ds.attrs.get(RECORD)
    if text is None:
        return {}
    try:
        value = json.loads(text)
        if not isinstance(value, dict):
            raise ValueError("no object")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidData(
            f"the attribute {RECORD!r} is not JSON",
            got=one_line(repr(text)[:400], 80),
            allowed="a JSON object",
            fix=_FIX,
        ) from error
    try:
        kinds.mapping(_KINDS, *_KINDS)(value)
    except (ValueError, RecursionError) as error:
        raise InvalidData(
            f"an entry of the attribute {RECORD!r} is of another kind",
            got=one_line(error),
            allowed="what the package writes",
            fix=_FIX,
        ) from error
    return value


def _plain(value: Any) -> Any:
    """Numbers and arrays of NumPy and torch as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "__array__"):  # of xarray
        return np.asarray(value).tolist()
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


def with_record(ds: xr.Dataset, **values: Any) -> xr.Dataset:
    """A copy of ``ds`` with these values in its record, added or replaced."""
    merged = {**record(ds), **values, "schema": SCHEMA_VERSION}
    return ds.assign_attrs({RECORD: json.dumps(merged, sort_keys=True, default=_plain)})
