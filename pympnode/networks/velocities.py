"""Velocities that were not measured, estimated from the positions: states of second-order systems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..config import names_of
from ..datasets.names import FEATURE, PERIOD, STATE, STATE_DIMS, UNIT
from ..datasets.record import record, with_record
from ..errors import InvalidData, unknown_name
from . import schema
from .agreement import labels, periods_of, time_unit_of, units_of
from .circular import TURN
from .matching import Unmatched, derivatives
from .node_types import refuse_types

ESTIMATED_FROM = (
    "velocity_times"  # in the record: times that the velocities at the first one depend on
)
_NAME = "velocity of "


def with_velocities(ds: xr.Dataset, features: str | Sequence[str] | None = None) -> xr.Dataset:
    """A dataset of positions with their velocities as further features, for systems of second order.

    ds: a network dataset on an even time grid, of 9 times or more. features: names of those whose
    velocities are not measured and matter; by default all.
    Velocities are derivatives of local polynomials through the positions around each time, of the
    width and degree with the smallest error by noise and by the length of the time steps; NaN where a
    position around is missing (train with ``missing="mask"``). At the first and the last times
    the polynomials are those of one side, and less exact. "velocity of phase" is the name of the
    velocity of phase. A model that was trained on such data adds them to other datasets of positions.
    Returns: a dataset as `pympnode.networks.schema` describes it; ``velocity_times`` of its record is
    the number of times that the first velocities depend on: a rollout predicts the later ones.
    Raises: `InvalidData` (an uneven grid, too few times, noise or steps too large for derivatives, nodes
    of several types), `UnknownName`.

    >>> import numpy as np
    >>> from pympnode import from_arrays
    >>> x = np.sin(0.1 * np.arange(40))[None, :, None, None]
    >>> ds = with_velocities(from_arrays(x, dt=0.1, topology="none", features=["angle"]))
    >>> ds.feature.values.tolist(), round(float(ds.state[0, 0, 0, 1]), 3)
    (['angle', 'velocity of angle'], 1.0)
    """
    schema.validate(ds, missing="mask")
    refuse_types(ds, "the nodes of data without velocities")
    names = labels(ds, FEATURE)
    wanted = list(names) if features is None else list(names_of("features", features))
    for name in wanted:
        if name not in names:
            raise unknown_name("feature", name, names)
        if _NAME + name in names:
            raise InvalidData(
                "the dataset has this velocity",
                got=f"features {', '.join(names)}",
                allowed="a feature whose velocity it has not",
                fix="use the dataset as it is, or name other features",
            )
    columns = [names.index(name) for name in wanted]
    arrays = schema.pack(ds, missing="mask")
    if not arrays.even:
        raise InvalidData(
            "velocities are estimated on an even time grid",
            got=f"steps of {np.diff(arrays.time).min():g} to {np.diff(arrays.time).max():g}",
            allowed="equal time steps",
            fix="resample the positions: ds.interp(time=...)",
        )
    x = ds[STATE].transpose(*STATE_DIMS).values[..., columns].astype(np.float64)
    periods = np.array(periods_of(ds))[columns]
    radians = np.where(periods > 0, TURN / np.where(periods > 0, periods, 1.0), 1.0)
    step = float((arrays.time[-1] - arrays.time[0]) / arrays.steps)
    try:
        slope, times = derivatives(x * radians, step, tuple(np.flatnonzero(periods).tolist()))
    except Unmatched as error:
        raise InvalidData(
            "velocities cannot be estimated from these positions",
            got=str(error),
            allowed="9 times or more, with small noise and short time steps",
            fix="give more times, or smooth or measure the velocities yourself",
        ) from error
    per = time_unit_of(ds)
    units = [_per(units_of(ds)[column], per) for column in columns]
    more = ds[[STATE]].isel({FEATURE: columns}).transpose(*STATE_DIMS, missing_dims="ignore")
    more = more.assign_coords({FEATURE: [_NAME + name for name in wanted], UNIT: (FEATURE, units)})
    more[STATE] = (STATE_DIMS, slope / radians)
    if PERIOD in ds.coords:
        more = more.assign_coords({PERIOD: (FEATURE, np.zeros(len(columns)))})
    first = ds[[STATE]]
    if UNIT not in first.coords:
        first = first.assign_coords({UNIT: (FEATURE, list(units_of(ds)))})
    state = xr.concat([first, more], FEATURE, combine_attrs="drop")[STATE].transpose(*STATE_DIMS)
    out = state.to_dataset().merge(ds.drop_dims(FEATURE), combine_attrs="drop")
    out.attrs = dict(ds.attrs)
    facts = {"system": ""} if "system" in record(ds) else {}
    return with_record(out, **facts, **{ESTIMATED_FROM: times})


def for_model(ds: Any, features: Sequence[str]) -> Any:
    """``ds`` with the velocities that a model of ``features`` was trained on and ``ds`` has not."""
    if not isinstance(ds, xr.Dataset) or STATE not in ds or FEATURE not in ds.dims:
        return ds
    given = labels(ds, FEATURE)
    missing = [name for name in features if name not in given]
    of = [name.removeprefix(_NAME) for name in missing]
    if not missing or any(not m.startswith(_NAME) or o not in given for m, o in zip(missing, of)):
        return ds
    return with_velocities(ds, of)


def times_used(ds: Any) -> dict[str, int]:
    """The record of a rollout from ``ds``: from how many times its first velocities were estimated."""
    facts = record(ds) if isinstance(ds, xr.Dataset) else {}
    return {ESTIMATED_FROM: facts[ESTIMATED_FROM]} if ESTIMATED_FROM in facts else {}


def _per(unit: str, time_unit: str) -> str:
    return unit if time_unit == "1" else f"{unit}/{time_unit}"
