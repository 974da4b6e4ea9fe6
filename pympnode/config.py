"""Configuration of a run, and checks of numbers and names that users give."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar, get_args

from .errors import InvalidOption, shown_value, unknown_name
from .losses import Loss, LossChoice, as_loss, loss_fields
from .training.optimiser import OptimiserChoice, check_optimiser, optimiser_name

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

Schedule = Literal["cosine", "plateau", "constant", "steps"]
Keep = Literal["best", "last"]


# ---- which fields of an option object were given --------------------------------------------------


def remembers_given(cls: type[T]) -> type[T]:
    """A decorator of a dataclass whose objects know which of their fields were given, see `given_fields`.

    A value that is given may equal the default, and only who gave it knows that it was meant.
    """
    fields = [field for field in dataclasses.fields(cls) if field.init]  # type: ignore[arg-type]
    make = cls.__init__

    @functools.wraps(make)
    def init(self: Any, *values: Any, **named: Any) -> None:
        names = {field.name for field, _ in zip(fields, values, strict=False)} | named.keys()
        if len(names) == len(fields):
            # `dataclasses.replace` and files give every field, also those that the caller did not name.
            found = dict(zip((field.name for field in fields), values, strict=False)) | named
            names = {f.name for f in fields if not _is_default(found[f.name], f.default)}
        make(self, *values, **named)
        object.__setattr__(self, _GIVEN, frozenset(names))

    cls.__init__ = init  # type: ignore[assignment]
    return cls


def given_fields(options: Any) -> frozenset[str]:
    """Names of the fields that were given to the constructor of an option object, or to its ``replace``.

    Of an object that `dataclasses.replace` made: those that differ from their defaults.
    """
    found: frozenset[str] = getattr(options, _GIVEN)
    return found


def replaced(options: T, changes: Mapping[str, Any]) -> T:
    """A copy of an option object with some fields changed, which count as given."""
    made: T = dataclasses.replace(options, **changes)  # type: ignore[type-var]
    object.__setattr__(made, _GIVEN, given_fields(options) | changes.keys())
    return made


_GIVEN = "_given_fields"
_LENGTHS = ("epochs", "updates", "time_budget")


def _is_default(value: Any, default: Any) -> bool:
    return value is default or (type(value) is type(default) and bool(value == default))


@remembers_given
@dataclass(frozen=True)
class TrainConfig:
    """How a run trains; the model is described by `ModelSpec` or `ParticleSpec`.

    preset: the name that it is recorded under.
    epochs, updates, time_budget: the length: passes over the training data, or steps of the optimiser,
        or seconds (turned into updates after a timed warm-up).
    batch_size: trajectories, or states of particles, in an update.
    optimiser: "adam", "soap", or a callable that makes an `Optimiser` from the `Layout`, see
        `pympnode.training.optimiser`.
    learning_rate, schedule: the highest rate, and how it falls: "cosine" (after ``warmup``, a share of
        the updates, down to ``final_rate`` of it), "plateau" (times ``plateau_factor`` after
        ``patience`` epochs without improvement, not below ``rate_floor``), "steps" (times 0.1 every
        ``decay_every`` updates) or "constant".
    clip: the largest norm of the whole gradient.
    curriculum: pairs of (window in intervals, share of the updates); window 0 is the whole horizon.
    matching: the share of the updates, below 1, that come before it and fit the vector field to
        derivatives of the data, without rollouts (networks, see `pympnode.networks.matching`).
    from_start: the share of the windows of whole trajectories that begin with them (networks); the
        others begin at any time.
    race: the share of the updates in which classes of models compete before the run itself (networks,
        see `pympnode.training.race`).
    standstill: the share of the updates without a better validation loss after which a run is
        complete; 0 for never.
    average: the decay of the running mean of weights that is validated and kept; 0 for none.
    training_noise: the standard deviation, in z units, of noise added once to the training part.
    keep: "best" returns the best weights by validation, "last" the last ones.
    keep_start: the weights that a run starts from count as its best until better ones come.
    margin: by how many standard errors of the mean over validation trajectories the best must be better
        than they at the end (networks; 0: any).
    retry_diverged: a run that diverges goes back to its best weights once, at half the rate.
    loss: of rollouts (networks), or of steps (particles), see `pympnode.losses`; None for the default of
        either, "huber" or "mse".
    seed: of first weights and batches.
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
    margin: float = 0.0
    race: float = 0.0
    from_start: float = 0.0
    loss: LossChoice = None
    decay_every: int = 200_000
    keep: Keep = "best"
    retry_diverged: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        one_of("schedule", self.schedule, get_args(Schedule))
        one_of("keep", self.keep, get_args(Keep))
        text("preset", self.preset)
        check_optimiser(self.optimiser)
        if self.loss is not None:
            object.__setattr__(self, "loss", as_loss(self.loss))
        for name in ("matching", "standstill", "race", "from_start"):
            object.__setattr__(self, name, share_of_updates(name, getattr(self, name)))
        for name in ("epochs", "batch_size", "decay_every", "updates"):
            if (value := getattr(self, name)) is not None or name != "updates":
                object.__setattr__(self, name, whole(name, value))
        object.__setattr__(self, "seed", whole("seed", self.seed, 0))
        for name in ("learning_rate", "clip"):
            object.__setattr__(self, name, positive(name, getattr(self, name)))
        object.__setattr__(self, "patience", whole("patience", self.patience))
        for name, most in (
            ("warmup", 1.0), ("final_rate", 1.0), ("rate_floor", math.inf),
            ("plateau_factor", 1.0), ("average", 1.0), ("training_noise", math.inf),
            ("margin", math.inf),
        ):  # fmt: skip
            object.__setattr__(self, name, number(name, getattr(self, name), 0.0, most))
        if self.time_budget is not None:
            object.__setattr__(self, "time_budget", seconds(self.time_budget))
        for name in ("keep_start", "retry_diverged"):
            object.__setattr__(self, name, flag(name, getattr(self, name)))
        object.__setattr__(self, "curriculum", _stages(self.curriculum))

    def replace(self, **changes: Any) -> TrainConfig:
        """A copy with some fields changed."""
        made = replaced(self, changes)
        if any(changes.get(name) is not None for name in _LENGTHS):
            # The length that it had is no longer that of the run.
            given = given_fields(made) - ({*_LENGTHS} - changes.keys())
            object.__setattr__(made, _GIVEN, given)
        return made

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for files."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        values["curriculum"] = [list(stage) for stage in self.curriculum]
        values["optimiser"] = optimiser_name(self.optimiser)
        loss: Loss | None = values.pop("loss")
        values["loss"] = None if loss is None else loss_fields(loss) or None
        before = {
            "optimiser": "adam",
            "matching": 0,
            "standstill": 0,
            "race": 0,
            "from_start": 0,
            "retry_diverged": False,
            "margin": 0,
        }
        for name, default in before.items():
            if values[name] == default:
                # Run folders of versions without this field stay as they are.
                del values[name]
        return {name: value for name, value in values.items() if value is not None}


SHORT = 600
"""Updates; a run of fewer is short."""


@dataclass(frozen=True)
class Preset:
    """Fields that a preset sets: ``model`` of the specification, ``run`` of `TrainConfig`,
    ``finetune`` of a run that starts from a model, ``task`` of the task; ``deviations`` from the
    paper, in words. ``rates``: of optimisers other than that of ``run``, the learning rates of a
    fresh run and of one that starts from a model. ``pairwise_rate``: factor of the rate of ``run`` for
    fresh models with messages of pairs; ``short_rate``: the learning rate of a fresh run of fewer than
    `SHORT` given updates, whatever the messages; 0 for that of other runs."""

    model: Mapping[str, Any]
    run: Mapping[str, Any]
    finetune: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    deviations: tuple[str, ...] = ()
    task: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rates: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    pairwise_rate: float = 1.0
    short_rate: float = 0.0

    def run_fields(self, fresh: bool, optimiser: Any = None) -> dict[str, Any]:
        """Fields of a run from fresh weights, or from those of a start model, by an optimiser: that
        of ``run`` where it is None. An optimiser without a rate takes that of ``run``."""
        fields = dict(self.run if fresh else {**self.run, **self.finetune})
        if isinstance(optimiser, str) and optimiser in self.rates:
            fields["learning_rate"] = self.rates[optimiser][0 if fresh else 1]
        return fields


def share_of_updates(name: str, value: Any) -> float:
    """A share of the updates. Raises `InvalidOption`."""
    found = _scalar(value)
    if isinstance(found, bool) or not isinstance(found, Real) or not 0 <= as_float(found) < 1:
        raise InvalidOption(
            f"{name} is a share of the updates",
            got=f"{name}={shown_value(value)}",
            allowed="0 to below 1",
            fix=f"give {name}=0 for none",
        )
    return float(found)


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
        value = _scalar(value)
        real = isinstance(value, Real) and not isinstance(value, bool)
        number = as_float(value) if real else math.nan
    if not (math.isfinite(number) and number > 0):
        raise InvalidOption(
            f"{name} is not a length of time",
            got=shown_value(value),
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


# ---- values that users give: each is checked here, and returned as plain Python -------------------


def whole(name: str, value: Any, least: int = 1, most: int = 2**63 - 1) -> int:
    """``value`` as an int, also from NumPy's integers.

    Raises `InvalidOption` unless it is a whole number of at least ``least``; True and 2.0 are none.
    """
    value = _scalar(value)
    if (
        isinstance(value, bool)
        or not isinstance(value, Integral)
        or not least <= int(value) <= most
    ):
        allowed = f"{least}, {least + 1}, ..."
        if most == least + 1:
            allowed = f"{least} or {most}"
        elif isinstance(value, Integral) and int(value) > most:
            allowed += f", {most}"
        raise InvalidOption(
            f"{name} must be a whole number of at least {least}",
            got=shown_value(value),
            allowed=allowed,
            fix=f"give {name}={least} or more",
        )
    return int(value)


def _scalar(value: Any) -> Any:
    """The number in an array or a tensor of no axes; other values as they are."""
    if getattr(value, "shape", None) == () and hasattr(value, "item"):
        return value.item()
    return value


def as_float(value: Any) -> float:
    """A real number as a float; infinity where it lies outside the range of floats."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def number(
    name: str, value: Any, least: float = -math.inf, most: float = math.inf, *, above: bool = False
) -> float:
    """``value`` as a float. Raises `InvalidOption` unless it is a finite number from ``least`` to
    ``most``, both allowed; with ``above`` it lies above ``least``."""
    value = _scalar(value)
    real = isinstance(value, Real) and not isinstance(value, bool)
    found = as_float(value) if real else math.nan
    inside = least < found <= most if above else least <= found <= most
    if not (inside and math.isfinite(found)):
        sign = ">" if above else ">="
        limits = [f"{sign} {least:g}"] * math.isfinite(least)
        limits += [f"<= {most:g}"] * math.isfinite(most)
        raise InvalidOption(
            f"{name} must be a number",
            got=shown_value(value),
            allowed=" and ".join(limits) or "a finite number",
        )
    return found


def positive(name: str, value: Any) -> float:
    """``value`` as a float. Raises `InvalidOption` unless it is a finite number above zero."""
    value = _scalar(value)
    real = isinstance(value, Real) and not isinstance(value, bool)
    if not real or not 0 < as_float(value) < math.inf:
        raise InvalidOption(
            f"{name} must be a positive number", got=shown_value(value), allowed="> 0"
        )
    return float(value)


def flag(name: str, value: Any) -> bool:
    """``value`` as a bool. Raises `InvalidOption` unless it is True or False."""
    value = _scalar(value)
    if not isinstance(value, bool):
        raise InvalidOption(
            f"{name} is True or False", got=shown_value(value), allowed="True, False"
        )
    return value


def text(name: str, value: Any) -> str:
    """A text that is not empty. Raises `InvalidOption`."""
    if not isinstance(value, str) or not value:
        raise InvalidOption(f"{name} is a text", got=shown_value(value), allowed="a text")
    return str(value)


def one_of(name: str, value: Any, allowed: Iterable[str]) -> str:
    """One of the ``allowed`` names. Raises `UnknownName`, also for what is no text."""
    names = list(allowed)
    # Only text is compared: an array or a dataset is "equal" to anything.
    if not isinstance(value, str) or value not in names:
        raise unknown_name(name, value, names)
    return str(value)


def names_of(name: str, value: Any) -> list[str]:
    """A list of names; one text is one name. Raises `InvalidOption` for what is no list of texts."""
    listed = [value] if isinstance(value, str) else listing(name, value)
    for one in listed:
        if isinstance(one, bytes | Mapping) or (
            isinstance(one, Iterable) and not isinstance(one, str)
        ):
            raise InvalidOption(
                f"{name} holds names", got=shown_value(one), allowed="a text, or a list of texts"
            )
    return [str(one) for one in listed]


def listing(name: str, value: Any) -> list[Any]:
    """``value`` as a list: of a list, a tuple, an array or an index. Raises `InvalidOption`."""
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidOption(
            f"{name} is a list", got=shown_value(value), allowed="a list or a tuple"
        )
    try:
        return list(value)
    except TypeError as error:  # an array of no axes
        raise InvalidOption(
            f"{name} is a list", got=shown_value(value), allowed="a list or a tuple"
        ) from error


def mapping(name: str, value: Any) -> dict[str, Any]:
    """A mapping by name; {} for None. Raises `InvalidOption` for anything else."""
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise InvalidOption(
            f"{name} is a mapping of names to values",
            got=shown_value(value),
            allowed="a dict whose keys are texts",
            fix=f"give {name}={{}} for the defaults",
        )
    return dict(value)


def path(name: str, value: Any) -> Path:
    """A path, its ``~`` expanded. Raises `InvalidOption` for what no file can be called."""
    given = value
    try:
        value = os.fspath(value)
    except TypeError:
        value = None
    too_long = isinstance(value, str) and any(
        len(part.encode(errors="replace")) > 255 for part in re.split(r"[\\/]", value)
    )
    if not isinstance(value, str) or not value.strip() or "\0" in value or too_long:
        raise InvalidOption(
            f"{name} is no path of a file or a folder",
            got=shown_value(given),
            allowed="a text or a pathlib.Path of names of up to 255 bytes, without NUL",
        )
    try:
        return Path(value).expanduser()
    except RuntimeError as error:  # of a user that does not exist
        raise InvalidOption(
            f"{name} is no path", got=shown_value(given), allowed="a path"
        ) from error


def check_fields(options: Any, checks: Mapping[str, Callable[[str, Any], Any]]) -> None:
    """Replace fields of a frozen dataclass by what their check returns; None stays None."""
    for name, check in checks.items():
        value = getattr(options, name)
        if value is not None:
            object.__setattr__(options, name, check(name, value))


def arguments(**checks: Callable[[str, Any], Any]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator that checks arguments by name before the function sees them.

    Each check takes the name and the value and returns what the function gets. The default of an
    argument is not checked. The function keeps its signature.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def checked(*args: P.args, **keywords: P.kwargs) -> R:
            try:
                bound = signature.bind(*args, **keywords)
            except TypeError:
                return function(*args, **keywords)  # Python's own error, with the function's name
            for name, check in checks.items():
                if name in bound.arguments:
                    value = bound.arguments[name]
                    if value is not signature.parameters[name].default:
                        bound.arguments[name] = check(name, value)
            return function(*bound.args, **bound.kwargs)

        return checked

    return decorate


def choice(*allowed: str) -> Callable[[str, Any], str]:
    """A check of `arguments`: one of the ``allowed`` names."""
    return lambda name, value: one_of(name, value, allowed)


def or_none(check: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
    """A check of `arguments` that lets None through."""
    return lambda name, value: None if value is None else check(name, value)


def label(name: str, value: Any) -> Any:
    """The name of a column, a feature, an edge attribute: text or a whole number, no array."""
    try:
        hash(value)
    except TypeError:
        value = None
    if value is None or not isinstance(value, str | Integral | tuple):
        raise InvalidOption(f"{name} is a name", got=shown_value(value), allowed="a text")
    return value


def least(smallest: int) -> Callable[[str, Any], int]:
    """A check of `check_fields`: a whole number of at least ``smallest``."""
    return lambda name, value: whole(name, value, smallest)


def device(name: str, value: Any) -> str:
    """The name of a device, also from torch's own. Raises `InvalidOption`."""
    kind = getattr(value, "type", None)
    return text(name, str(value) if isinstance(kind, str) else value)


def share(name: str, value: Any) -> float:
    """A share from 0 to 1. Raises `InvalidOption`."""
    return number(name, value, 0.0, 1.0)


def precision(name: str, value: Any, allowed: tuple[str, ...] = ("float32", "float64")) -> str:
    """The name of a floating-point dtype, also from NumPy's own. Raises `UnknownName`."""
    text = value if isinstance(value, str) else getattr(value, "name", None)
    text = getattr(value, "__name__", None) if text is None else text
    if not isinstance(text, str) or text not in allowed:
        raise unknown_name(name, value, allowed)
    return str(text)


def _stages(value: Any) -> tuple[tuple[int, float], ...]:
    """The stages of a curriculum. Raises `InvalidOption`."""
    stages = []
    for stage in listing("curriculum", value):
        pair = listing("a stage of curriculum", stage)
        if len(pair) != 2:
            raise InvalidOption(
                "a stage of curriculum is a window and its share of the updates",
                got=shown_value(stage),
                allowed="(intervals, share)",
                fix="curriculum=((5, 0.4), (0, 0.6))",
            )
        stages.append(
            (
                whole("a window of curriculum", pair[0], 0),
                number("a share of curriculum", pair[1], 0.0, 1.0),
            )
        )
    return tuple(stages)


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
