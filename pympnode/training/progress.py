"""Progress of a long call: a bar in a terminal or a notebook, a line of the log a minute elsewhere, or a
function."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..config import format_duration
from ..errors import InvalidOption, shown_value

logger = logging.getLogger("pympnode.training.progress")

LINE_EVERY = 60.0  # seconds from one line of the log to the next


class Progress(Protocol):
    """What a long call reports while it works: updates of a training, trajectories of a dataset."""

    def start(self, total: int, done: int, title: str) -> None:
        """Work of ``total`` units begins, ``done`` of them already made."""

    def update(self, done: int, facts: dict[str, Any]) -> None:
        """``done`` units are made; facts: epoch, loss, validation_loss of a training."""

    def note(self, text: str) -> None:
        """A line of text before or beside the bar."""

    def stop(self) -> None:
        """The work ended."""


class Silent:
    """Reports nothing."""

    def start(self, total: int, done: int, title: str) -> None: ...

    def update(self, done: int, facts: dict[str, Any]) -> None: ...

    def note(self, text: str) -> None: ...

    def stop(self) -> None: ...


class Bar:
    """A tqdm bar with the losses and the time left; plain text where there are no widgets."""

    def __init__(self, unit: str = "update") -> None:
        self._unit = unit
        self._bar: Any = None
        self._last = 0.0

    def start(self, total: int, done: int, title: str) -> None:
        """See `Progress`."""
        self._bar = _tqdm()(total=total, initial=done, desc=title, unit=self._unit, leave=True)

    def update(self, done: int, facts: dict[str, Any]) -> None:
        """See `Progress`."""
        now = time.monotonic()
        # Drawing takes longer than an update of a small model.
        if now - self._last < 0.2 and done < self._bar.total:
            return
        self._last = now
        if facts:
            shown = {k: f"{v:.4g}" if isinstance(v, float) else v for k, v in facts.items()}
            self._bar.set_postfix(shown, refresh=False)
        self._bar.update(done - self._bar.n)

    def note(self, text: str) -> None:
        """See `Progress`."""
        _tqdm().write(text, file=sys.stderr)

    def stop(self) -> None:
        """See `Progress`."""
        if self._bar is not None:
            self._bar.close()


class Lines(Silent):
    """Logs a line a minute, at level INFO of the logger "pympnode.training.progress": what was made, the losses
    and about how long the rest takes. Work of less than a minute logs nothing."""

    def __init__(self, unit: str = "update") -> None:
        self._unit = unit

    def start(self, total: int, done: int, title: str) -> None:
        """See `Progress`."""
        self._total, self._before, self._title = total, done, title
        self._began = self._last = time.monotonic()

    def update(self, done: int, facts: dict[str, Any]) -> None:
        """See `Progress`."""
        now = time.monotonic()
        if now - self._last < LINE_EVERY:
            return
        self._last = now
        each = (now - self._began) / max(done - self._before, 1)
        shown = [f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in facts.items()]
        left = format_duration(each * max(self._total - done, 0))
        parts = [f"{self._unit} {done:,} of {self._total:,}", *shown, f"about {left} left"]
        logger.info("%s: %s", self._title, ", ".join(parts))

    def note(self, text: str) -> None:
        """See `Progress`."""
        logger.info(text)


class Calls(Silent):
    """Calls ``report(done, total, seconds left)`` after each unit; the time left is estimated from
    the units that were made since the start."""

    def __init__(self, report: Callable[[int, int, float], object]) -> None:
        self._report = report

    def start(self, total: int, done: int, title: str) -> None:
        """See `Progress`."""
        self._total, self._before = total, done
        self._began = time.monotonic()

    def update(self, done: int, facts: dict[str, Any]) -> None:
        """See `Progress`."""
        each = (time.monotonic() - self._began) / (done - self._before)
        self._report(done, self._total, each * (self._total - done))


def default(unit: str = "update") -> Progress:
    """A bar in a terminal or a notebook; lines of the log elsewhere."""
    return Bar(unit) if in_notebook() or sys.stderr.isatty() else Lines(unit)


def progress_of(
    choice: Callable[[int, int, float], object] | bool | None, unit: str = "update"
) -> Progress:
    """What a keyword ``progress=`` means: a function to call, True for `default`, else silence."""
    if callable(choice) and not isinstance(choice, type):
        return Calls(choice)
    if choice is not None and not isinstance(choice, bool | np.bool_):
        raise InvalidOption(
            "progress is True, False or a function",
            got=shown_value(choice),
            allowed="progress(done, all, seconds_left)",
        )
    return default(unit) if choice else Silent()


def in_notebook() -> bool:
    """Whether the code runs in a Jupyter kernel."""
    shell = sys.modules.get("IPython")
    running = shell.get_ipython() if shell is not None else None
    return running is not None and "IPKernelApp" in getattr(running, "config", {})


def _tqdm() -> Any:
    if in_notebook():
        try:
            import ipywidgets  # noqa: F401
            from tqdm.notebook import tqdm
        except ImportError:
            from tqdm import tqdm
        return tqdm
    from tqdm import tqdm

    return tqdm


def is_interactive() -> bool:
    """Whether a person holds the result: a notebook or an interactive session."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None or hasattr(sys, "ps1")
