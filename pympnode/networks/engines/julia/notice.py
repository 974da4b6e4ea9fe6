"""Notices: what a user should see while Julia starts. Logged, and shown where a person looks on."""

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
    """Send notices elsewhere; None restores the standard one."""
    global _notice
    _notice = notice or standard


def notice(text: str) -> None:
    """Tell the user."""
    _notice(text)
