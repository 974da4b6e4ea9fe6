"""Checks of what stands in the JSON records of files: each raises ValueError for another kind.

A record may have been edited, or be that of another program: nothing in it is used before its kind is
known, and nothing that a model needs is replaced by a default.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from ..errors import FileDamaged, one_line

Check = Callable[[Any], object]


def check_record(facts: Any, checks: Mapping[str, Check], source: str, *optional: str) -> None:
    """Raise `FileDamaged` unless every name of ``checks`` is there and of its kind.

    ``optional``: names that files of older versions lack.
    """
    try:
        mapping(checks, *optional)(facts)
    except ValueError as error:
        raise FileDamaged(
            f"the record of {source} cannot be used",
            got=one_line(error),
            allowed="what the package wrote",
            fix="restore the file from a copy, or make it again",
        ) from error


def _wrong(value: Any, allowed: str) -> ValueError:
    return ValueError(f"{one_line(repr(value), 80)} is not {allowed}")


def text(value: Any) -> None:
    if not isinstance(value, str):
        raise _wrong(value, "text")


def flag(value: Any) -> None:
    if not isinstance(value, bool):
        raise _wrong(value, "true or false")


def anything(value: Any) -> None:
    """No check: what only says where a file comes from."""


def real(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _wrong(value, "a finite number")


def positive(value: Any) -> None:
    real(value)
    if not value > 0:
        raise _wrong(value, "above 0")


def length(value: Any) -> None:
    """At least 0, and so far from the end of float64 that powers of it are finite."""
    real(value)
    if not 0 <= value <= 1e75:
        raise _wrong(value, "a length of at least 0")


def positive_or_inf(value: Any) -> None:
    if value != math.inf:
        positive(value)


def whole(least: int, most: float = math.inf) -> Check:
    """Whole numbers from ``least`` to ``most``."""

    def check(value: Any) -> None:
        if type(value) is not int or not least <= value <= most:
            raise _wrong(value, f"a whole number of at least {least}")

    return check


def either(*checks: Check) -> Check:
    """What one of the checks lets pass; the error is that of the last."""

    def check(value: Any) -> None:
        for one in checks[:-1]:
            try:
                one(value)
            except ValueError:
                continue
            return
        checks[-1](value)

    return check


def nothing(value: Any) -> None:
    if value is not None:
        raise _wrong(value, "null")


def one_of(*allowed: Any) -> Check:
    """One of some values."""

    def check(value: Any) -> None:
        if not any(type(value) is type(one) and value == one for one in allowed):
            raise _wrong(value, f"one of {', '.join(map(repr, allowed))}")

    return check


def listing(each: Check, length: int | None = None) -> Check:
    """A list whose entries ``each`` lets pass."""

    def check(value: Any) -> None:
        if not isinstance(value, list | tuple):
            raise _wrong(value, "a list")
        if length is not None and len(value) != length:
            raise ValueError(f"{len(value)} entries, where {length} belong")
        for one in value:
            each(one)

    return check


def pair(each: Check) -> Check:
    """(smallest, largest)."""

    def check(value: Any) -> None:
        listing(each, 2)(value)
        if value[0] > value[1]:
            raise _wrong(value, "(smallest, largest)")

    return check


def named(each: Check) -> Check:
    """A mapping of names to values that ``each`` lets pass."""

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise _wrong(value, "a mapping")
        for name, one in value.items():
            try:
                each(one)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error

    return check


def mapping(checks: Mapping[str, Check], *optional: str) -> Check:
    """A mapping that has all names of ``checks``, but for the ``optional`` ones; others may be there."""

    def check(value: Any) -> None:
        if not isinstance(value, dict):
            raise _wrong(value, "a mapping")
        for name, each in checks.items():
            if name not in value:
                if name in optional:
                    continue
                raise ValueError(f"{name} is missing")
            try:
                each(value[name])
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error

    return check
