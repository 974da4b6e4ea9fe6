"""Budget: how long each run of an experiment trains."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..config import format_duration, seconds
from ..errors import InvalidOption

LENGTHS = ("time_budget", "updates", "epochs")


@dataclass(frozen=True)
class Budget:
    """The keyword of `train` for the length (``time_budget``, ``updates``, ``epochs``), and its value."""

    keyword: str
    value: float

    @classmethod
    def of(cls, given: str | float) -> Budget:
        """From seconds, "20m", "500 updates" or "30 epochs". Raises `InvalidOption`."""
        match = re.fullmatch(r"\s*(\d+)\s*(updates|epochs)\s*", str(given))
        if match and int(match[1]):
            return cls(match[2], int(match[1]))
        try:
            length = None if isinstance(given, bool) else seconds(given, "budget")
        except (InvalidOption, TypeError, ValueError):
            length = None
        if length is None:
            raise InvalidOption(
                "the budget of a run is no length",
                got=repr(given),
                allowed='a time ("90s", "20m", "1.5h", 600) or "500 updates", "30 epochs"',
                fix='give budget="20m"',
            )
        return cls("time_budget", length)

    def applied(self, train: Mapping[str, Any]) -> dict[str, Any]:
        """Keywords of `train` with this length, unless they name one themselves."""
        if any(name in train for name in LENGTHS):
            return dict(train)
        return {**train, self.keyword: self.value}

    def in_words(self, runs: int = 1) -> str:
        """The length of that many runs, for people."""
        if self.keyword == "time_budget":
            return format_duration(self.value * runs)
        return f"{int(self.value) * runs:,} {self.keyword}"
