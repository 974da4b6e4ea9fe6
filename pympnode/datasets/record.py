"""The record of a dataset: its scalars and provenance, one JSON string in an attribute."""

from __future__ import annotations

import json
from typing import Any

import xarray as xr

from ..errors import InvalidData

SCHEMA_VERSION = 1
RECORD = "pympnode"  # the attribute of a dataset that holds the record


def record(ds: xr.Dataset) -> dict[str, Any]:
    """The record of a dataset: system, parameters, seeds, engine, versions; {} without one.

    Raises `InvalidData` where the attribute is not JSON.
    """
    text = ds.attrs.get(RECORD)
    if text is None:
        return {}
    try:
        value = json.loads(text)
    except (TypeError, ValueError) as error:
        raise InvalidData(
            f"the attribute {RECORD!r} is not JSON",
            got=repr(text)[:80],
            allowed="a JSON object",
            fix=f"delete ds.attrs[{RECORD!r}] or write it with pympnode.networks.schema.with_record",
        ) from error
    return value if isinstance(value, dict) else {}


def _plain(value: Any) -> Any:
    """Numbers and arrays of NumPy and torch as JSON has them."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


def with_record(ds: xr.Dataset, **values: Any) -> xr.Dataset:
    """A copy of ``ds`` with these values in its record, added or replaced."""
    merged = {**record(ds), **values, "schema": SCHEMA_VERSION}
    return ds.assign_attrs({RECORD: json.dumps(merged, sort_keys=True, default=_plain)})
