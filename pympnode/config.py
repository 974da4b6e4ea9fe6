"""Configuration of a run, and checks of numbers and names that users give."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Literal, get_args

from .errors import InvalidOption, unknown_name
from .training.optimiser import OptimiserChoice, check_optimiser, optimiser_name

Schedule = Literal["cosine", "plateau", "constant", "steps"]
Keep = Literal["best", "last"]


@dataclass(frozen=True)
class TrainConfig:
    """How a run trains; the model is described by `ModelSpec` or `ParticleSpec`.

    ``epochs`` passes over the training data, or ``updates`` steps of the optimiser, or
    ``time_budget`` seconds (turned into updates after a timed warm-up). ``curriculum`` pairs of
    (window in intervals, share of the updates); window 0 is the whole horizon. ``matching``: the share
    of the updates, below 1, that come before it and fit the vector field to derivatives of the data,
    without rollouts (networks, see `pympnode.networks.matching`). ``standstill``: the share of the updates without a
    better validation loss after which a run is complete; 0 for never. ``schedule``:
    "cosine" (after ``warmup``, a share of the updates, from ``learning_rate`` down to
    ``final_rate`` of it), "plateau" (times ``plateau_factor`` after ``patience`` epochs without
    improvement, not below ``rate_floor``), "steps" (times 0.1 every ``decay_every`` updates) or
    "constant". ``optimiser``: "adam", "soap", or a callable that makes an
    `Optimiser` from the `Layout`, see `pympnode.training.optimiser`. ``clip`` bounds the norm of the whole gradient. ``average`` is the decay of the
    running mean of weights that is validated and kept (0: none). ``training_noise`` is the std, in
    z units, of noise added once to the training part. With ``keep_start`` the weights that a run
    starts from count as its best until better ones come. ``keep="last"`` returns the last weights
    instead of the best by validation.
    """

    preset: str = "fast"
    epochs: int = 80
    updates: int | None = None
    time_budget: float | None = None
    batch_size: int = 32
    optimiser: OptimiserChoice = "adam"
    learning_rate: float = 5e-3
    schedule: Schedule = "cosine"
    warmup: float = 0.03
    final_rate: float = 0.01
    rate_floor: float = 1e-6
    plateau_factor: float = 0.5
    patience: int = 500
    clip: float = 1.0
    curriculum: tuple[tuple[int, float], ...] = ()
    matching: float = 0.0
    standstill: float = 0.0
    average: float = 0.0
    training_noise: float = 0.0
    keep_start: bool = False
    race: float = 0.0
    decay_every: int = 200_000
    keep: Keep = "best"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.schedule not in get_args(Schedule):
            raise unknown_name("schedule", self.schedule, get_args(Schedule))
        if self.keep not in get_args(Keep):
            raise unknown_name("keep", self.keep, get_args(Keep))
        check_optimiser(self.optimiser)
        for name in ("matching", "standstill"):
            object.__setattr__(self, name, _share(name, getattr(self, name)))
        for name in ("epochs", "batch_size", "decay_every", "updates"):
            if (value := getattr(self, name)) is not None or name != "updates":
                object.__setattr__(self, name, whole(name, value))
        object.__setattr__(self, "seed", whole("seed", self.seed, 0))
        for name in ("learning_rate", "clip"):
            object.__setattr__(self, name, positive(name, getattr(self, name)))
        object.__setattr__(
            self, "curriculum", tuple((int(w), float(s)) for w, s in self.curriculum)
        )

    def replace(self, **changes: Any) -> TrainConfig:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for files."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["curriculum"] = [list(stage) for stage in self.curriculum]
        values["optimiser"] = optimiser_name(self.optimiser)
        for name in ("optimiser", "matching", "standstill", "race"):
            if values[name] == getattr(TrainConfig, name):
                # Run folders of versions without this field stay as they are.
                del values[name]
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Preset:
    """Fields that a preset sets: ``model`` of the specification, ``run`` of `TrainConfig`,
    ``finetune`` of a run that starts from a model, ``task`` of the task; ``deviations`` from the
    paper, in words. ``rates``: of optimisers other than that of ``run``, the learning rates of a
    fresh run and of one that starts from a model."""

    model: Mapping[str, Any]
    run: Mapping[str, Any]
    finetune: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    deviations: tuple[str, ...] = ()
    task: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rates: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

    def run_fields(self, fresh: bool, optimiser: Any = None) -> dict[str, Any]:
        """Fields of a run from fresh weights, or from those of a start model, by an optimiser: that
        of ``run`` where it is None. An optimiser without a rate takes that of ``run``."""
        fields = dict(self.run if fresh else {**self.run, **self.finetune})
        if isinstance(optimiser, str) and optimiser in self.rates:
            fields["learning_rate"] = self.rates[optimiser][0 if fresh else 1]
        return fields


def _share(name: str, value: Any) -> float:
    """A share of the updates. Raises `InvalidOption`."""
    number = _scalar(value)
    if isinstance(number, bool) or not isinstance(number, Real) or not 0 <= float(number) < 1:
        raise InvalidOption(
            f"{name} is a share of the updates",
            got=f"{name}={value!r}",
            allowed="0 to below 1",
            fix=f"give {name}=0 for none",
        )
    return float(number)


def seconds(value: float | int | str | None, name: str = "time_budget") -> float | None:
    """Seconds from a number or from text such as "90s", "10m", "1.5h"."""
    if value is None:
        return None
    if isinstance(value, str):
        match = re.fullmatch(r"\s*([0-9.]+)\s*(s|sec|m|min|h)?\s*", value)
        units = {None: 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}
        try:
            number = float(match[1]) * units[match[2]] if match else math.nan
        except ValueError:
            number = math.nan
    else:
        number = float(value)
    if not (math.isfinite(number) and number > 0):
        raise InvalidOption(
            f"{name} is not a length of time",
            got=repr(value),
            allowed='seconds (600) or text ("90s", "10m", "1.5h")',
            fix=f'give {name}="10m"',
        )
    return number


def format_duration(length: float) -> str:
    """A length of time in seconds as text: "40 s", "12 min", "3.5 h"."""
    if length < 90:
        return f"{length:.0f} s"
    return f"{length / 60:.0f} min" if length < 5400 else f"{length / 3600:.1f} h"


def check_names(kind: str, given: Iterable[str], allowed: Iterable[str]) -> None:
    """Raise `UnknownName` for the first given name that is not allowed."""
    allowed = list(allowed)
    for name in given:
        if name not in allowed:
            raise unknown_name(kind, name, allowed)


def whole(name: str, value: Any, least: int = 1) -> int:
    """``value`` as an int, also from NumPy's integers.

    Raises `InvalidOption` unless it is a whole number of at least ``least``; True and 2.0 are none.
    """
    value = _scalar(value)
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise InvalidOption(
            f"{name} must be a whole number of at least {least}",
            got=repr(value),
            allowed=f"{least}, {least + 1}, ...",
            fix=f"give {name}={least} or more",
        )
    return int(value)


def _scalar(value: Any) -> Any:
    """The number in an array or a tensor of no axes; other values as they are."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    return value


def positive(name: str, value: Any) -> float:
    """``value`` as a float. Raises `InvalidOption` unless it is a finite number above zero."""
    value = _scalar(value)
    if isinstance(value, bool) or not isinstance(value, Real) or not 0 < float(value) < math.inf:
        raise InvalidOption(f"{name} must be a positive number", got=repr(value), allowed="> 0")
    return float(value)


def precision(name: str, value: Any, allowed: tuple[str, ...] = ("float32", "float64")) -> str:
    """The name of a floating-point dtype, also from NumPy's own. Raises `UnknownName`."""
    text = value if isinstance(value, str) else getattr(value, "name", None)
    text = getattr(value, "__name__", None) if text is None else text
    if text not in allowed:
        raise unknown_name(name, value, allowed)
    return str(text)


# Old name of version 0.1 in this module -> the module and the name of it now.
_MOVED = {
    "preset": ("networks.presets", "preset"),
    "PRESETS": ("networks.presets", "PRESETS"),
    "PresetChoice": ("config", "Preset"),
}


def __getattr__(name: str) -> Any:
    if name not in _MOVED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import warnings

    from ._moved import load

    module, new = _MOVED[name]
    text = f"pympnode.config.{name} is now pympnode.{module}.{new}"
    warnings.warn(text, DeprecationWarning, stacklevel=2)
    return getattr(load(f"{__package__}.{module}"), new)
