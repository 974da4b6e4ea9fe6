"""Losses: what ``train(loss=...)`` takes.

A loss measures rollouts in z units: p and y are predicted and true states at the times after the start
of a window. ``"huber"`` (the default), ``"mse"`` and ``"gaussian"`` name `Huber`, `SquaredError` and
`Gaussian` with their default numbers. A function ``f(p, y)`` of tensors (trajectory, time, node, feature)
that returns a tensor of losses is a loss too. All are summed over times and features, and are means over
nodes and trajectories.

Of particles a loss measures single steps: the velocity change in the unit of the model, or, of plain
inputs, positions and velocities in the unit of the data, whose features are "position" and "velocity".
``"mse"`` is the default there, and all are means over particles and axes. A function takes tensors
(trajectory, time, particle, axis) with one time, of plain inputs (trajectory, time, particle, 2 axes),
positions first.
"""

from __future__ import annotations

import dataclasses
import inspect
import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, TypeVar

from .errors import InvalidOption, shown_value, unknown_name

F = TypeVar("F", bound=Callable[..., Any])

LossChoice = Any


@dataclass(frozen=True)
class Loss:
    """Base of the losses of this module. ``per_value``: whether it is a sum over values, so that a batch
    may be divided."""

    name: ClassVar[str] = ""
    per_value: ClassVar[bool] = True

    def as_dict(self) -> dict[str, Any]:
        """Name and numbers, as plain values."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values = {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}
        return {"name": self.name} | {k: v for k, v in values.items() if v is not None}

    @property
    def of_features(self) -> tuple[str, ...]:
        """Names of features that it has numbers for."""
        named = (getattr(self, field.name) for field in dataclasses.fields(self))
        return tuple(name for value in named if isinstance(value, Mapping) for name in value)


@dataclass(frozen=True)
class Huber(Loss):
    """w (e^2 / 2) where |e| <= ``delta``, w delta (|e| - delta / 2) beyond, with e = p - y.

    ``weight``: factors w by name of a feature, at least 0; 1 for the others.
    """

    delta: float = 1.0
    weight: Mapping[str, float] | None = None

    name: ClassVar[str] = "huber"

    def __post_init__(self) -> None:
        object.__setattr__(self, "delta", _number("delta", self.delta, above=True))
        object.__setattr__(self, "weight", _numbers("weight", self.weight))


@dataclass(frozen=True)
class SquaredError(Loss):
    """w e^2 with e = p - y; ``weight`` as in `Huber`."""

    weight: Mapping[str, float] | None = None

    name: ClassVar[str] = "mse"

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", _numbers("weight", self.weight))


@dataclass(frozen=True)
class Gaussian(Loss):
    """The likelihood of normal errors that are independent.

    ``std``: standard deviations s of the errors by name of a feature, in the units of the data, all of
    them: the loss is (e / s)^2 / 2, the negative log-likelihood but for a constant. Without ``std``
    each feature has its own standard deviation, which is the one of largest likelihood for the windows
    at hand. The loss is the geometric mean over features of their mean square errors, times the numbers
    of features and times: it falls as the likelihood, (2 pi e loss / (features times))^(-n / 2) of n
    values, rises, and all features count alike, however well each can be predicted.
    """

    std: Mapping[str, float] | None = None

    name: ClassVar[str] = "gaussian"

    def __post_init__(self) -> None:
        object.__setattr__(self, "std", _numbers("std", self.std, above=True))


@dataclass(frozen=True)
class OwnLoss(Loss):
    """A function of the user; ``label`` is its name in files, registered or not."""

    function: Callable[..., Any]
    label: str = ""

    def as_dict(self) -> dict[str, Any]:
        """See `Loss`: the name alone."""
        return {"name": self.label}

    @property
    def registered(self) -> bool:
        """Whether the name is that of a registered function."""
        return _functions.get(self.label) is self.function

    @property
    def takes_known(self) -> bool:
        """Whether it takes ``known``, which values of the data are not missing."""
        return "known" in inspect.signature(self.function).parameters


LOSSES: dict[str, type[Loss]] = {"huber": Huber, "mse": SquaredError, "gaussian": Gaussian}
_functions: dict[str, Callable[..., Any]] = {}


def register(name: str) -> Callable[[F], F]:
    """A decorator that gives a loss function a name, under which run folders record it.

    ``f(p, y)``, or ``f(p, y, known)``: torch tensors (trajectory, time, node, feature) of predicted and
    true states in z units, ``known`` bool of the same shape, False where the truth is missing (it is 0
    there). Returns losses of at least 0: of the same shape, of which those of missing values are left
    out, or of any shape that begins with the trajectories.

    Raises `InvalidOption` for what is no function, and for the names of other losses.
    """
    if not isinstance(name, str) or not name or name in LOSSES:
        raise InvalidOption(
            "a loss has a name that no loss of this package has",
            got=shown_value(name, 80),
            allowed=f"a text other than {', '.join(LOSSES)}",
        )

    def decorate(function: F) -> F:
        if not callable(function):
            raise InvalidOption(
                "a loss is a function", got=shown_value(function, 80), allowed="f(p, y)"
            )
        _functions[name] = function
        return function

    return decorate


def as_loss(value: Any) -> Loss:
    """The loss that ``loss=`` names or is. Raises `UnknownName`, `InvalidOption`."""
    if isinstance(value, Loss):
        return value
    if isinstance(value, str):
        if value in _functions:
            return OwnLoss(_functions[value], value)
        if value not in LOSSES:
            raise unknown_name("loss", value, (*LOSSES, *_functions))
        return LOSSES[value]()
    if callable(value) and not isinstance(value, type):
        try:
            signature = inspect.signature(value)
            known = {"known": None} if "known" in signature.parameters else {}
            signature.bind(None, None, **known)
        except (TypeError, ValueError) as error:
            raise InvalidOption(
                "a loss function takes predicted and true states",
                got=shown_value(value, 80),
                allowed="f(p, y), or f(p, y, known)",
            ) from error
        names = [name for name, function in _functions.items() if function is value]
        label = f"{getattr(value, '__module__', '?')}.{getattr(value, '__qualname__', '?')}"
        return OwnLoss(value, names[0] if names else label)
    raise InvalidOption(
        "loss is a name, a loss or a function",
        got=shown_value(value, 80),
        allowed=f"{', '.join(map(repr, LOSSES))}, pympnode.losses.Huber(delta=0.5), a function f(p, y)",
        fix='leave loss out for "huber"',
    )


def loss_fields(loss: Loss) -> dict[str, Any]:
    """`Loss.as_dict`; {} for the default, which run folders of older versions have."""
    return {} if loss == Huber() else loss.as_dict()


def unnamed_loss(loss: Loss | None) -> str:
    """That a loss has no name, under which a run folder could hold it; "" where it has one."""
    if isinstance(loss, OwnLoss) and not loss.registered:
        return f"the loss {loss.label!r} has no name: @pympnode.losses.register above it"
    return ""


def _number(name: str, value: Any, *, above: bool) -> float:
    found = math.nan
    if isinstance(value, Real) and not isinstance(value, bool):
        # A span of time is a whole number of NumPy; a large fraction has no float.
        with suppress(TypeError, OverflowError):
            found = float(value)
    if not (math.isfinite(found) and (found > 0 if above else found >= 0)):
        raise InvalidOption(
            f"{name} of a loss is a number",
            got=shown_value(value, 80),
            allowed="> 0" if above else ">= 0",
        )
    return found


def _numbers(name: str, value: Any, *, above: bool = False) -> Mapping[str, float] | None:
    if value is None:
        return None
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidOption(
            f"{name} of a loss has a number for each feature that it names",
            got=shown_value(value, 80),
            allowed='a dict by name of a feature, {"x": 2.0}',
        )
    return {key: _number(f"{name}[{key!r}]", each, above=above) for key, each in value.items()}


__all__ = ["Gaussian", "Huber", "Loss", "SquaredError", "register"]
