"""Threads of torch for small steps: one.

Two threads make a step of a hundred particles at best a quarter faster, and where another program
keeps a core busy fifty times slower: a thread that waits for its other half holds the core that the
half waits for, some hundred times a step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 4e9  # floating point operations; about a tenth of a second of one thread


@contextmanager
def threads_for(operations: float, device: torch.device) -> Iterator[None]:
    """Within it torch works with one thread where a step has few ``operations``."""
    before = torch.get_num_threads()
    if device.type == "cpu" and operations < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
