"""One order of arguments, (predicted, truth), of the pictures that compare; version 0.1 had others."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import xarray as xr

from ..datasets.names import PREDICTED, STATE
from ..datasets.record import record

P = ParamSpec("P")
R = TypeVar("R")

_UNTIL = "version 0.3 takes the new order alone"


def predicted_first(
    old: str = "ds", *, swapped: bool = True
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator of pictures of (predicted, truth) that also serves the calls of version 0.1.

    ``old``: the former name of the first dataset. ``swapped``: whether the truth came first. Two
    positional datasets are swapped where the second one is a rollout or an evaluation by its record
    and the first one is not. Where the records do not tell them apart, the new order counts. Both
    give a `DeprecationWarning`.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def ordered(*args: P.args, **keywords: P.kwargs) -> R:
            given, named = _in_order(function.__name__, old, swapped, args, dict(keywords))
            return function(*given, **named)  # type: ignore[arg-type]

        return ordered

    return decorate


def _in_order(
    name: str, old: str, swapped: bool, args: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if old in keywords and not args:
        now = "truth" if "predicted" in keywords else "predicted"
        if now not in keywords:
            _warn(f"the argument {old} of {name} is now {now}; {_UNTIL}")
            keywords[now] = keywords.pop(old)
        return args, keywords
    if len(args) == 1 and "predicted" in keywords and "truth" not in keywords:
        _warn(f"{name} takes the prediction first: {name}(predicted, truth); {_UNTIL}")
        return (), {"truth": args[0], **keywords}
    if len(args) < 2:
        return args, keywords
    first, second, *rest = args
    if is_prediction(second) and not is_prediction(first):
        _warn(f"{name} takes the prediction first: {name}(predicted, truth); {_UNTIL}")
        return (second, first, *rest), keywords
    both = isinstance(first, xr.Dataset) and isinstance(second, xr.Dataset)
    if swapped and both and is_prediction(first) == is_prediction(second):
        _warn(
            f"{name} took (truth, predicted) and now takes (predicted, truth), and neither dataset "
            f"says which it is: name them, {name}(predicted=..., truth=...)"
        )
    return args, keywords


def is_prediction(ds: Any) -> bool:
    """Whether a dataset is a rollout or an evaluation, by its record and its variables."""
    if not isinstance(ds, xr.Dataset):
        return False
    if PREDICTED in ds and STATE not in ds:
        return True
    return record(ds).get("kind") in ("rollout", "evaluation")


def _warn(message: str) -> None:
    # Of the frames _warn, _in_order, ordered, and the caller.
    warnings.warn(message, DeprecationWarning, stacklevel=4)
