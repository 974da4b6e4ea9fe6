"""Progress messages while Julia starts: logged, and written to a terminal or a notebook."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable

logger = logging.getLogger("pympnode.networks.engines.julia")

Notice = Callable[[str], None]


def standard(text: str) -> None:
    """Log ``text``, and write it to stderr in a terminal or a notebook."""
    logger.info(text)
    notebook = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)() is not None
    if sys.stderr is not None and (notebook or sys.stderr.isatty()):
        sys.stderr.write(f"pympnode: {text}\n")
        sys.stderr.flush()


_notice: Notice = standard


def set_notice(notice: Notice | None) -> None:
    """Pass messages to ``notice`` instead of `standard`; None restores it."""
    global _notice
    _notice = notice or standard


def notice(text: str) -> None:
    """Pass a message to the current function."""
    _notice(text)
