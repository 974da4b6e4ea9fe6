"""Progress: a bar in a terminal or a notebook, silence in a pipe."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol


class Progress(Protocol):
    """What the trainer tells while it works."""

    def start(self, total: int, done: int, title: str) -> None:
        """A run of ``total`` updates begins, ``done`` of them already made."""

    def update(self, done: int, facts: dict[str, Any]) -> None:
        """``done`` updates are made; facts: epoch, loss, validation_loss."""

    def note(self, text: str) -> None:
        """Something to tell before or beside the bar."""

    def stop(self) -> None:
        """The run ended."""


class Silent:
    """Tells nothing."""

    def start(self, total: int, done: int, title: str) -> None: ...

    def update(self, done: int, facts: dict[str, Any]) -> None: ...

    def note(self, text: str) -> None: ...

    def stop(self) -> None: ...


class Bar:
    """A tqdm bar with the losses and the time left; plain text where there are no widgets."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._last = 0.0

    def start(self, total: int, done: int, title: str) -> None:
        """See `Progress`."""
        self._bar = _tqdm()(total=total, initial=done, desc=title, unit="update", leave=True)

    def update(self, done: int, facts: dict[str, Any]) -> None:
        """See `Progress`."""
        now = time.monotonic()
        if now - self._last < 0.2 and done < self._bar.total:
            return
        self._last = now
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


def default() -> Progress:
    """A bar where somebody looks: a terminal or a notebook."""
    return Bar() if in_notebook() or sys.stderr.isatty() else Silent()


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
