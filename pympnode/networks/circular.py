"""Features that are positions on a circle (phases, angles, hours of a day), and jumps of whole turns.

A circular feature has a period in the coordinate ``period`` of the features (0 for all others). Its z
score is the angle in radians: a model's inputs are the sine and cosine of it (`ModelSpec.circular`),
the loss and the errors of `evaluate` are of the shorter way around the circle, and the states that it
trains on are made continuous in time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import names_of
from ..datasets.names import FEATURE, PERIOD, STATE, STATE_DIMS
from ..errors import InvalidOption, unknown_name
from .agreement import labels, same_unit, units_of
from .node_types import refuse_types

TURN = 2.0 * np.pi
_PERIODS = {"rad": TURN, "deg": 360.0, "turn": 1.0, "turns": 1.0, "cycle": 1.0, "cycles": 1.0}

Circular = Sequence[str] | Mapping[str, float] | str | None


def with_circular(ds: xr.Dataset, circular: Circular) -> xr.Dataset:
    """``ds`` with the periods of its circular features.

    circular: names of features, whose periods follow from their units (rad, deg, turn), or periods
    by name. Raises `UnknownName`, `InvalidOption`.
    """
    if circular is None:
        return ds
    refuse_types(ds, "the nodes of data with circular features")
    if not isinstance(circular, Mapping):
        circular = names_of("circular", circular)
    names = labels(ds, FEATURE)
    given: Mapping[str, Any] = (
        circular
        if isinstance(circular, Mapping)
        else dict.fromkeys([circular] if isinstance(circular, str) else circular)
    )
    periods = np.zeros(len(names))
    for name, period in given.items():
        if name not in names:
            raise unknown_name("feature", name, names)
        column = names.index(name)
        periods[column] = _period(ds, name, column) if period is None else _positive(name, period)
    return ds.assign_coords({PERIOD: (FEATURE, periods)})


def _positive(name: str, period: Any) -> float:
    try:
        value = float(period)
    except (TypeError, ValueError):
        value = np.nan
    if not (np.isfinite(value) and value > 0):
        raise InvalidOption(
            f"the period of {name!r} must be a positive number",
            got=repr(period),
            allowed="> 0",
            fix=f"circular={{{name!r}: 360.0}}",
        )
    return value


def _period(ds: xr.Dataset, name: str, column: int) -> float:
    """The period that follows from the unit of a feature, or from its jumps."""
    unit = units_of(ds)[column]
    for known, period in _PERIODS.items():
        if unit not in ("", "1") and same_unit(unit, known):
            return period
    found = jumps(ds[STATE].transpose(*STATE_DIMS).values[..., column], "1")
    if unit in ("", "1") and found is not None:
        return found[0]
    raise InvalidOption(
        f"the period of {name!r} does not follow from its unit",
        got=f"unit {unit!r}",
        allowed=", ".join(_PERIODS),
        fix=f"give its period: circular={{{name!r}: 360.0}}, or its unit: units=[...]",
    )


# ---- jumps --------------------------------------------------------------------------------------


def jumps(x: NDArray, unit: str) -> tuple[float, int] | None:
    """(period, number) of the jumps of a whole turn in x (trajectory, time, node); None without any.

    Values are wrapped where they span one period and not more, some steps are nearly a period long,
    hardly any about half of it, and those long ones are steps like the others once a turn is taken
    off. ``unit`` rad, deg or turn has one period;
    for a unit that is not given both 2 pi and 360 are tried.
    """
    stated = [period for name, period in _PERIODS.items() if same_unit(unit, name)]
    candidates = [TURN, 360.0] if unit in ("", "1") else stated[:1]
    finite = x[np.isfinite(x)]
    if not candidates or not finite.size:
        return None
    extent = float(np.ptp(finite))
    step = np.abs(np.diff(x, axis=1))
    step = step[np.isfinite(step)]
    for period in candidates:
        if not 0.75 * period <= extent <= period * (1 + 1e-6):
            continue
        jump = step > 0.65 * period
        between = (step > 0.35 * period) & ~jump
        usual = step[step <= 0.35 * period]
        if not jump.any() or not usual.size or between.sum() > 0.1 * jump.sum():
            continue
        # Unwrapped, a jump is a step like the others.
        short = np.median(np.abs(period - step[jump]))
        if short <= 3.0 * np.quantile(usual, 0.95) + 1e-3 * period:
            return period, int(jump.sum())
    return None


def tell_jumps(ds: xr.Dataset, x: NDArray, periods: Sequence[float]) -> str:
    """A warning for features of x (trajectory, time, node, feature) that jump by whole turns."""
    found = []
    for column, (name, unit) in enumerate(zip(labels(ds, FEATURE), units_of(ds))):
        jump = None if periods[column] else jumps(x[..., column], unit)
        if jump is not None:
            found.append((name, *jump))
    if not found:
        return ""
    words = ", ".join(f"{n!r} ({count} jumps of {period:.6g})" for n, period, count in found)
    names = ", ".join(repr(name) for name, *_ in found)
    return (
        f"features jump by a whole turn, which is learned as motion: {words}; circular=({names},) of "
        "from_arrays, from_frame or train takes them as positions on a circle"
    )


# ---- turns --------------------------------------------------------------------------------------


def unwrapped(x: NDArray, periods: Sequence[float]) -> NDArray:
    """x (trajectory, time, node, feature) with circular features continuous in time.

    From one known value to the next they take the shorter way; missing values stay missing.
    """
    if not any(periods):
        return x
    out = x.astype(np.float64)
    for column, period in enumerate(periods):
        if not period:
            continue
        values = out[..., column]
        known = np.isfinite(values)
        if known.all():
            out[..., column] = np.unwrap(values, axis=1, period=period)
            continue
        for trajectory, node in np.ndindex(values.shape[0], values.shape[2]):
            here = known[trajectory, :, node]
            values[trajectory, here, node] = np.unwrap(
                values[trajectory, here, node], period=period
            )
    return out


def shorter_way(difference: NDArray, periods: Sequence[float]) -> NDArray:
    """Differences (..., feature), those of circular features between half a turn back and ahead."""
    if not any(periods):
        return difference
    out = np.array(difference, dtype=np.float64)
    for column, period in enumerate(periods):
        if period:
            with np.errstate(invalid="ignore"):
                out[..., column] -= period * np.round(out[..., column] / period)
    return out
