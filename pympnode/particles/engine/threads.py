"""The number of torch's threads for small steps: one.

Two threads make a step of a hundred particles at best a quarter faster, and fifty times slower where
another program keeps a core busy: a thread that has finished its half spins on its core while the
other half waits for a core, some hundred times per step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

SMALL = 4e9  # floating point operations; about a tenth of a second of one thread


@contextmanager
def threads_for(operations: float, device: torch.device) -> Iterator[None]:
    """Run torch with one thread inside, where a step has fewer than `SMALL` ``operations``."""
    before = torch.get_num_threads()
    if device.type == "cpu" and operations < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
