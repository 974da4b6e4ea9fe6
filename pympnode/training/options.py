"""Keywords of a training run that both halves share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from ..callbacks import check_callbacks
from ..config import (
    TrainConfig,
    check_fields,
    device,
    flag,
    given_fields,
    least,
    positive,
    precision,
    seconds,
    share,
    text,
)
from ..errors import InvalidOption, shown_value
from .optimiser import OptimiserChoice, check_optimiser

LENGTHS = ("epochs", "updates", "time_budget")
_USUAL = TrainConfig()
_OF_CONFIG: Any = None  # not given: that of ``config``


@dataclass(frozen=True)
class RunOptions:
    """How a run trains: its length, batches, optimiser, rate, seed, precision.

    ``epochs``, ``updates`` or ``time_budget`` (seconds, or text such as "10m"): at most one.
    ``config``: every field of the run, in place of those of the preset; keywords that are given go before
    its fields. ``preset``, ``seed`` and ``retry_diverged`` are those of ``config``, or "fast", 0 and False,
    where they are not given.
    """

    preset: str = _OF_CONFIG
    epochs: int | None = None
    updates: int | None = None
    time_budget: float | str | None = None
    batch_size: int | None = None
    optimiser: OptimiserChoice | None = None
    learning_rate: float | None = None
    seed: int = _OF_CONFIG
    split: float = 0.7
    kernel: str = "auto"
    device: str = "auto"
    dtype: str = "float32"
    retry_diverged: bool = _OF_CONFIG
    config: TrainConfig | None = None
    callbacks: Any = None
    progress: bool = True

    # Whether a length that is given replaces every length of the preset in the configuration.
    REPLACES_LENGTH: ClassVar[bool] = True
    # Values of keywords of simulations that say something of the model.
    OF_MODELS: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    # Keywords of simulations that also say something of a model of given data.
    OF_BOTH: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        check_fields(
            self,
            {
                "seed": least(0), "dtype": precision, "preset": text, "kernel": text,
                "device": device, "progress": flag, "retry_diverged": flag, "split": share, "epochs": least(1),
                "updates": least(1), "batch_size": least(1), "learning_rate": positive,
                "callbacks": check_callbacks, "config": _config,
            },
        )  # fmt: skip
        if self.optimiser is not None:
            check_optimiser(self.optimiser)
        for name in ("preset", "seed", "retry_diverged"):
            if getattr(self, name) is None:
                object.__setattr__(self, name, getattr(self.config or _USUAL, name))

    def configured(self, base: Mapping[str, Any]) -> TrainConfig:
        """The configuration of the run: the preset's ``base``, or ``config``, with what was given.

        Raises `InvalidOption` for two lengths, `UnknownName`.
        """
        names = (*LENGTHS, "batch_size", "optimiser", "learning_rate")
        given: dict[str, Any] = {
            name: value for name in names if (value := getattr(self, name)) is not None
        }
        lengths = [name for name in LENGTHS if name in given]
        if len(lengths) > 1:
            raise InvalidOption(
                "a run has one length",
                got=", ".join(f"{name}={given[name]!r}" for name in lengths),
                allowed="epochs=, updates= or time_budget=",
                fix="give one of them",
            )
        if self.config is not None:
            found = {f.name: getattr(self.config, f.name) for f in fields(self.config)}
            # Fields that the caller put into the base were given as keywords.
            base = {**found, **base}
            if lengths:
                base |= {"updates": None, "time_budget": None}
        elif lengths and self.REPLACES_LENGTH:
            base = {k: v for k, v in base.items() if k not in ("epochs", "updates")}
        if "time_budget" in given:
            given["time_budget"] = seconds(given["time_budget"])
        return TrainConfig(
            **{
                **base,
                **given,
                "preset": self.preset,
                "seed": self.seed,
                "retry_diverged": self.retry_diverged,
            }
        )


def _config(name: str, value: Any) -> TrainConfig:
    if not isinstance(value, TrainConfig):
        raise InvalidOption(
            "config is the configuration of a run",
            got=shown_value(value, 80),
            allowed="a pympnode.TrainConfig",
            fix="config=pympnode.TrainConfig(epochs=40, schedule='steps')",
        )
    given = given_fields(value)
    lengths = [
        f"{length}={getattr(value, length)!r}"
        for length in LENGTHS
        if (length in given if length == "epochs" else getattr(value, length) is not None)
    ]
    if len(lengths) > 1:
        raise InvalidOption(
            "a run has one length",
            got=f"TrainConfig({', '.join(lengths)})",
            allowed="epochs=, updates= or time_budget=",
            fix="give one of them; a copy with another length: config.replace(updates=..., time_budget=None)",
        )
    return value
