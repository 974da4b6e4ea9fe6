"""Times of users: dates as numbers of a stated unit, and grids that are even to their own rounding."""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidData

# The name in the attribute ``units`` of the times, and NumPy's code.
UNITS: dict[str, Any] = {
    "week": "W",
    "day": "D",
    "h": "h",
    "min": "m",
    "s": "s",
    "ms": "ms",
    "us": "us",
    "ns": "ns",
}
_OTHER_NAMES = {
    "weeks": "week",
    "days": "day",
    "d": "day",
    "D": "day",
    "hour": "h",
    "hours": "h",
    "minute": "min",
    "minutes": "min",
    "second": "s",
    "seconds": "s",
}
_DATES = (datetime.date, np.datetime64)
_DURATIONS = (datetime.timedelta, np.timedelta64)


def dates_as_numbers(name: str, values: Any, unit: str = "1") -> tuple[Any, str, str]:
    """(numbers, unit, first date) of dates or durations; other values as they are.

    Dates (NumPy, pandas with or without a time zone, `datetime`) are counted from the first of them,
    durations from zero, in ``unit``; where that is not given, in the largest of day, h, min, s, ms,
    us and ns that is no longer than the shortest step. The first date is text (UTC where there is a
    time zone), "" for durations. Raises InvalidData for missing dates and units of no fixed length.
    """
    array = _dates(values)
    if array is None:
        return values, unit, ""
    if np.isnat(array).any():
        raise InvalidData(
            f"{name} holds missing dates",
            got=f"{int(np.isnat(array).sum())} of {array.size}",
            allowed="a date for each",
            fix="drop what has no date: frame.dropna(subset=[...])",
        )
    origin = ""
    if array.dtype.kind == "M":
        # Months and years have no fixed length; their first days have a date.
        array = array.astype("datetime64[D]") if _code(array) in ("Y", "M") else array
        first = array.min() if array.size else np.datetime64(0, "s")
        origin = str(first)
        array = array - first
    unit = _OTHER_NAMES.get(unit, unit)
    if unit in ("", "1"):
        unit = _unit_of(array)
    if unit not in UNITS or _code(array) in ("Y", "M"):
        raise InvalidData(
            f"{name} holds dates, which are counted in a unit of fixed length",
            got=f"unit {unit!r}, dtype {array.dtype}",
            allowed=", ".join(UNITS),
            fix='time_unit="day"',
        )
    return array / np.timedelta64(1, UNITS[unit]), unit, origin


def coded_dates(times: Any) -> str:
    """A warning for whole numbers that look like dates, 202053 before 202101; "" for others.

    Their differences are no lengths of time: a step over the end of a year counts 48 weeks.
    """
    array = np.unique(np.asarray(times))
    if array.dtype.kind not in "iuf" or array.size < 3 or not np.isfinite(array).all():
        return ""
    if array[0] < 190001 or array[-1] > 21000000 or not np.array_equal(array, np.rint(array)):
        return ""
    number = array.astype(np.int64)
    last, before = number % 100, number // 100
    if before[0] == before[-1]:
        return ""
    if number[-1] < 210000:
        fits, what = 1 <= last.min() and last.max() <= 53, "years and weeks or months"
    else:
        month = before % 100
        fits = number[0] >= 19000101 and 1 <= last.min() and last.max() <= 31
        fits, what = fits and 1 <= month.min() and month.max() <= 12, "years, months and days"
    at = int(np.flatnonzero(np.diff(before))[0])
    if not fits:
        return ""
    return (
        f"times look like {what} written as numbers: from {number[at]} to {number[at + 1]} they grow "
        f"by {number[at + 1] - number[at]}; give dates (pandas.to_datetime with format=), or count "
        "the steps"
    )


def _code(array: NDArray) -> Any:
    return np.datetime_data(array.dtype)[0]


def _dates(values: Any) -> NDArray | None:
    """``values`` as datetime64 or timedelta64; None where they are neither."""
    if str(getattr(values, "dtype", "")).startswith("period"):  # of a table, or an index
        values = getattr(values, "dt", values).to_timestamp()
    dtype = getattr(values, "dtype", None)
    if getattr(dtype, "kind", "") in ("m", "M") and getattr(dtype, "tz", None) is None:
        return np.asarray(values)
    items = values if isinstance(values, _DATES + _DURATIONS) else None
    if items is None and getattr(dtype, "kind", "O") in ("O", "M") and not np.isscalar(values):
        try:
            first = next(iter(values), None)
        except TypeError:
            return None
        items = values if isinstance(first, _DATES + _DURATIONS) else None
    if items is None:
        return None
    if isinstance(items, _DATES + _DURATIONS):
        return _dates_of_list([items])[0]
    return _dates_of_list(list(items))


def _dates_of_list(items: list[Any]) -> NDArray:
    import pandas as pd

    if isinstance(items[0], _DURATIONS):
        return np.asarray(pd.to_timedelta(items))
    stamps = [pd.Timestamp(item) for item in items]
    zones = any(stamp.tzinfo is not None for stamp in stamps)
    index = pd.DatetimeIndex(pd.to_datetime(stamps, utc=True) if zones else stamps)
    return np.asarray(index.tz_localize(None) if zones else index)


def _unit_of(durations: NDArray) -> str:
    """The largest unit, a day at most, that is no longer than the shortest step."""
    code = _code(durations)
    if durations.size == 0 or code in ("Y", "M"):
        return "day" if code in ("W", "D") else "s"
    steps = (
        np.diff(np.unique(durations)) if durations.size > 1 else np.abs(np.atleast_1d(durations))
    )
    shortest = steps[steps > np.timedelta64(0, code)]
    if not shortest.size:
        return "s"
    for unit in list(UNITS)[1:]:
        if shortest.min() >= np.timedelta64(1, UNITS[unit]):
            return unit
    return "ns"


# ---- rounding -----------------------------------------------------------------------------------


def rounding(times: NDArray) -> float:
    """The rounding error of times: one unit in the last place of the largest, in their own type.

    Of float32 where all values are ones of float32, whatever type holds them now; 0 for integers.
    """
    times = np.asarray(times)
    if times.dtype.kind != "f" or not times.size:
        return 0.0
    largest = float(np.nanmax(np.abs(times)))
    kind: Any = times.dtype.type
    if kind is np.float64:
        single = times.astype(np.float32)
        whole = np.array_equal(times, np.rint(times))
        kind = np.float32 if not whole and np.array_equal(single, times) else np.float64
    if not np.isfinite(largest) or largest > float(np.finfo(kind).max):
        return 0.0
    return float(np.spacing(kind(largest)))


def even_times(times: NDArray) -> NDArray[np.float64]:
    """Times as float64; a grid that is even to its own rounding becomes exactly even.

    Steps of a float32 grid far from zero differ by more than their rounding in float64. A grid whose
    steps agree to 1e-6 is returned as it is.
    """
    wide = np.asarray(times, dtype=np.float64)
    if wide.ndim != 1 or wide.size < 3 or not np.isfinite(wide).all():
        return wide
    steps = np.diff(wide)
    if steps.min() <= 0 or np.allclose(steps, steps[0], rtol=1e-6, atol=0.0):
        return wide
    step = (wide[-1] - wide[0]) / (wide.size - 1)
    even = wide[0] + step * np.arange(wide.size)
    slack = 2.0 * rounding(times)
    if slack < 0.25 * step and np.abs(even - wide).max() <= slack:
        return even
    return wide


def merged_times(times: NDArray, error: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The different times, sorted, and for each of ``times`` its number among them.

    Times that differ by at most ``error``, their rounding, are one, with the value of the shortest
    text (0.1 before 0.10000000000000142).
    """
    found, number = np.unique(np.asarray(times, np.float64), return_inverse=True)
    new = np.concatenate([[True], np.diff(found) > error])
    if new.all():
        return found, number
    group = np.cumsum(new) - 1
    out = np.empty(group[-1] + 1)
    for at, members in enumerate(np.split(found, np.flatnonzero(new)[1:])):
        out[at] = min(members.tolist(), key=lambda value: len(repr(value)))
    return out, group[number]


def repeated(times: NDArray) -> str:
    """Where times repeat or fall, in words with numbers: the first two places; "" where nowhere."""
    wide = np.asarray(times, np.float64)
    bad = np.flatnonzero(~(np.diff(wide) > 0))
    words = [f"{wide[i]:.9g} then {wide[i + 1]:.9g} at positions {i} and {i + 1}" for i in bad[:2]]
    more = f", and {len(bad) - 2} more" if len(bad) > 2 else ""
    return "; ".join(words) + more
