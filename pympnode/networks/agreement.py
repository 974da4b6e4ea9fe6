"""Names and units of a dataset compared with those that a model, or another dataset, has.

Equal names in another order are reordered, other names refused; units that differ are converted
where `pint` is installed and refused otherwise. The unit "1" is also the default of `from_arrays`
and stands for a unit that was not given: it agrees with every other.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..datasets.names import (
    ATTRIBUTE,
    CONTROL,
    CONTROL_FEATURE,
    FEATURE,
    NODE_ATTRIBUTE,
    PERIOD,
    STATE,
    TIME,
    UNIT,
    texts,
)
from ..errors import InvalidData
from ..training.ranges import warn_user
from .name_checks import check_names_of_axes
from .node_types import by_type, in_order, naming, part, shared, together, types_of
from .unit_norm import Groups, all_of, groups_of

_WORDS = {FEATURE: "features", CONTROL_FEATURE: "inputs", ATTRIBUTE: "node attributes"}
_UNSTATED = frozenset({"", "1", "None", "nan"})
# Spellings of one unit. Units of different size (min and h) need `pint`.
_SPELLINGS = {
    "s": ("sec", "secs", "second", "seconds"),
    "ms": ("msec", "millisecond", "milliseconds"),
    "us": ("µs", "μs", "microsecond", "microseconds"),
    "ns": ("nanosecond", "nanoseconds"),
    "min": ("mins", "minute", "minutes"),
    "h": ("hr", "hrs", "hour", "hours"),
    "day": ("days", "d"),
    "week": ("weeks", "wk"),
    "year": ("years", "yr", "yrs"),
    "rad": ("radian", "radians"),
    "deg": ("degree", "degrees", "°"),
    "m": ("metre", "metres", "meter", "meters"),
    "kg": ("kilogram", "kilograms"),
    "degC": ("celsius", "Celsius", "°C"),
    "K": ("kelvin", "kelvins", "Kelvin"),
}
_SPELLING = {other: unit for unit, others in _SPELLINGS.items() for other in others}


@dataclass(frozen=True)
class Names:
    """Names and units: ``units`` of the features, ``time_unit`` of the times; "1" where not given.

    ``periods`` of the features that are positions on a circle, in their units, 0 for the others.
    ``unit_norm``: groups of features whose squares add up to 1 (see `unit_norm`).
    ``by_type``: names of nodes of several types, (type, `Names`) each; the lists of names are then those
    of all types, "type.name".
    """

    features: tuple[str, ...]
    units: tuple[str, ...] = ()
    controls: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    time_unit: str = "1"
    periods: tuple[float, ...] = ()
    by_type: tuple[tuple[str, Names], ...] = ()
    unit_norm: Groups = ()

    @classmethod
    def of_types(cls, by_type: Mapping[str, Names]) -> Names:
        """Those of nodes of several types."""
        lists = {
            name: tuple(f"{t}.{each}" for t, one in by_type.items() for each in getattr(one, name))
            for name in ("features", "controls", "attributes")
        }
        units = tuple(unit for one in by_type.values() for unit in one.units)
        periods = tuple(period for one in by_type.values() for period in one.periods)
        time_unit = next(iter(by_type.values())).time_unit
        return cls(
            lists["features"], units, lists["controls"], lists["attributes"], time_unit, periods,
            tuple(by_type.items()),
            tuple(group for t, one in by_type.items() for group in all_of(one.unit_norm, t)),
        )  # fmt: skip

    @classmethod
    def of(cls, ds: xr.Dataset) -> Names:
        """Those of a dataset."""
        if types_of(ds):
            ds = by_type(ds)
            return cls.of_types({name: cls.of(part(ds, name)) for name in types_of(ds)})
        features = labels(ds, FEATURE) or _default("x", ds.sizes[FEATURE])
        return cls(
            features,
            units_of(ds),
            # Labels may stay behind where the variable was dropped.
            labels(ds, CONTROL_FEATURE) if CONTROL in ds else (),
            labels(ds, ATTRIBUTE) if NODE_ATTRIBUTE in ds else (),
            time_unit_of(ds),
            periods_of(ds),
            unit_norm=groups_of(ds, features),
        )


def labels(ds: xr.Dataset, dim: str) -> tuple[str, ...]:
    """The labels of a dim as text; () where it has none."""
    return tuple(texts(ds[dim].values).tolist()) if dim in ds.coords else ()


def units_of(ds: xr.Dataset) -> tuple[str, ...]:
    """The unit of each feature, "1" where none is given."""
    width = ds.sizes[FEATURE]
    if UNIT in ds.coords and ds[UNIT].dims == (FEATURE,):
        return tuple(texts(ds[UNIT].values).tolist())
    return (str(ds[STATE].attrs.get("units", "1")),) * width if STATE in ds else ("1",) * width


def time_unit_of(ds: xr.Dataset) -> str:
    """The unit of the time coordinate, "1" where none is given."""
    return str(ds[TIME].attrs.get("units", "1")) if TIME in ds.coords else "1"


def periods_of(ds: xr.Dataset) -> tuple[float, ...]:
    """The period of each feature, 0 for those that are not circular."""
    if PERIOD not in ds.coords:
        return (0.0,) * ds.sizes[FEATURE]
    return tuple(float(p) for p in np.asarray(ds[PERIOD].values))


def agree(
    ds: xr.Dataset, wanted: Names, whose: str = "the model", *, reordering: bool = False
) -> xr.Dataset:
    """``ds`` with the order and the units of ``wanted``; ``whose`` names their owner in messages.

    A dataset whose numbers of features and inputs differ is returned as it is: widths are checked
    elsewhere. Warns `PympnodeWarning` where default names (x0, x1, ...) stand for given
    ones, and with ``reordering`` where names stand in another order. Raises `InvalidData`.
    """
    if wanted.by_type:
        return _agree_by_type(ds, wanted, whose, reordering)
    if STATE not in ds or FEATURE not in ds.dims:
        return ds
    check_names_of_axes(ds)
    for dim, names, prefix in (
        (FEATURE, wanted.features, "x"),
        (CONTROL_FEATURE, wanted.controls, "u"),
        (ATTRIBUTE, wanted.attributes, "b"),
    ):
        ds = _in_order(ds, dim, names, prefix, whose, reordering)
    given = periods_of(ds)
    if any(given) and len(given) == len(wanted.periods) and not any(wanted.periods):
        warn_user(f"circular features of the data are numbers for {whose}: their jumps are motion")
    if ds.sizes[FEATURE] == len(wanted.units):
        ds = _in_units(ds, wanted, whose)
    return _in_time_unit(ds, wanted.time_unit, whose)


def _agree_by_type(ds: xr.Dataset, wanted: Names, whose: str, reordering: bool) -> xr.Dataset:
    """See `agree`: types stand in the order of ``wanted`` too. Types that are not among them stay as
    they are: they are refused elsewhere."""
    names, ds = dict(wanted.by_type), by_type(ds)
    own = types_of(ds)
    if not own or not set(own) <= names.keys():
        return ds
    ds = in_order(ds, [*names])
    parts = {}
    for name in types_of(ds):
        with naming(name):
            parts[name] = agree(part(ds, name), names[name], whose, reordering=reordering)
    return together(shared(ds), parts)


def same_unit(a: str, b: str) -> bool:
    """Whether two units are one, in any spelling; one that is not given is any."""
    return a in _UNSTATED or b in _UNSTATED or _factors(a) == _factors(b)


# ---- names --------------------------------------------------------------------------------------


def _in_order(
    ds: xr.Dataset, dim: str, wanted: Sequence[str], prefix: str, whose: str, reordering: bool
) -> xr.Dataset:
    if dim not in ds.dims or ds.sizes[dim] != len(wanted):
        return ds
    default = _default(prefix, len(wanted))
    wanted, given = tuple(wanted), labels(ds, dim) or default
    if given == wanted:
        return ds
    if sorted(given) == sorted(wanted) and len(set(given)) == len(given):
        if reordering:
            warn_user(
                f"the {_WORDS[dim]} of the data, {', '.join(given)}, are put in the order of {whose}: "
                f"{', '.join(wanted)}"
            )
        return ds.isel({dim: [given.index(name) for name in wanted]})
    what = _WORDS[dim]
    if given == default or wanted == default:
        if len(wanted) > 1:
            warn_user(
                f"the {what} of the data are taken in the order in which they stand: their names are "
                f"{', '.join(given)}, those of {whose} {', '.join(wanted)}"
            )
        return ds.assign_coords({dim: list(wanted)}) if given == default else ds
    raise InvalidData(
        f"the {what} of the data have other names than those of {whose}",
        got=", ".join(given),
        allowed=", ".join(wanted) + ", in any order",
        fix=f"rename them if they are the same quantities: ds.assign_coords({dim}={list(wanted)!r})",
    )


def _default(prefix: str, count: int) -> tuple[str, ...]:
    """The names that `from_arrays` gives."""
    return tuple(f"{prefix}{i}" for i in range(count))


# ---- units --------------------------------------------------------------------------------------


def _in_units(ds: xr.Dataset, wanted: Names, whose: str) -> xr.Dataset:
    given = units_of(ds)
    new, periods, values = list(given), list(periods_of(ds)), None
    for column, (name, got, unit) in enumerate(zip(wanted.features, given, wanted.units)):
        if unit in _UNSTATED:
            continue
        new[column] = unit
        if same_unit(got, unit):
            continue
        if values is None:
            values = ds[STATE].astype(np.float64).copy()
        at = {FEATURE: column}
        values[at] = _converted(values[at].values, got, unit, f"feature {name!r}", whose)
        periods[column] = float(
            np.ptp(_converted(np.array([0.0, periods[column]]), got, unit, name, whose))
        )
    if tuple(new) != given:
        ds = ds.assign_coords({UNIT: (FEATURE, new)})
        if PERIOD in ds.coords:
            ds = ds.assign_coords({PERIOD: (FEATURE, periods)})
    if values is not None:
        values.attrs.pop("units", None)
        if len(set(new)) == 1:
            values.attrs["units"] = new[0]
        ds = ds.assign({STATE: values})
    return ds


def _in_time_unit(ds: xr.Dataset, wanted: str, whose: str) -> xr.Dataset:
    got = time_unit_of(ds)
    if TIME not in ds.coords or wanted in _UNSTATED or same_unit(got, wanted):
        return ds
    times = _converted(np.asarray(ds[TIME].values, np.float64), got, wanted, "time", whose)
    return ds.assign_coords({TIME: (TIME, times, {**ds[TIME].attrs, "units": wanted})})


def _converted(values: NDArray, got: str, wanted: str, what: str, whose: str) -> NDArray:
    """``values`` in the unit ``wanted``, by `pint`."""
    reason = ""
    try:
        pint: Any = importlib.import_module("pint")
    except ImportError:
        reason = "or install pint, which converts units"
    else:
        try:
            quantity = pint.application_registry.get().Quantity
            return np.asarray(quantity(values, got).to(wanted).magnitude, np.float64)
        except Exception as error:  # pint raises errors of many kinds for text that is no unit
            reason = f"pint cannot convert them: {type(error).__name__}: {error}"
    where = "ds.time" if what == "time" else "x"
    raise InvalidData(
        f"{what} of the data is in another unit than that of {whose}",
        got=repr(got),
        allowed=repr(wanted),
        fix=f"convert {where} and its unit before; {reason}",
    )


def _factors(unit: str) -> Any:
    """A unit as the powers of its factors, so that "rad/s", "rad s^-1" and "radian / second" are
    equal; the text itself where it is not of that form."""
    powers: dict[str, int] = {}
    text = unit.strip().replace("**", "^").replace("·", "*").replace(" per ", "/")
    sign, at = 1, 0
    for match in re.finditer(
        r"\s*([*/]?)\s*([^\W\d]+|°[A-Za-z]?|1(?!\d)|%)\s*(?:\^?\s*([+-]?\d+))?", text
    ):
        if match.start() != at:
            return text
        sign, at = (-1 if match[1] == "/" else 1), match.end()
        if match[2] != "1":
            name = _SPELLING.get(match[2], match[2])
            powers[name] = powers.get(name, 0) + sign * int(match[3] or 1)
    if text[at:].strip():
        return text
    return frozenset((name, power) for name, power in powers.items() if power)
