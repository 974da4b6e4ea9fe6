"""Gradients of torch, whatever the user switched off around a call."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def gradients() -> Iterator[None]:
    """Lets torch compute gradients, also inside of ``torch.no_grad`` and ``torch.inference_mode``
    of the user. Nothing happens where torch was not imported."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    with torch.inference_mode(False), torch.enable_grad():
        yield
