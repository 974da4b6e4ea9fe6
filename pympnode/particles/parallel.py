"""Trajectories of a recipe computed side by side in threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

Compute = Callable[[int, Callable[[int], None]], None]


class _Stopped(Exception):
    """Raised in the threads once one of them failed, or the user interrupted the run."""


def compute_all(
    compute: Compute, jobs: Sequence[int], workers: int, on_done: Callable[[int], None]
) -> None:
    """Call ``compute(number, on_step)`` for each of the ``jobs``, ``workers`` of them at a time.

    Threads are enough, and cost no start-up: the compiled steps release the interpreter lock
    (``nogil``). ``compute`` calls ``on_step`` after each step of its trajectory. ``on_done(number)``
    is called in this thread, in the order in which trajectories finish. Raises what ``compute``
    or ``on_done`` raised first.
    """
    if not jobs:
        return
    stop = threading.Event()

    def on_step(step: int) -> None:
        if stop.is_set():
            raise _Stopped

    with ThreadPoolExecutor(min(workers, len(jobs))) as pool:
        try:
            number = {pool.submit(compute, i, on_step): i for i in jobs}
            for future in as_completed(number):
                future.result()
                on_done(number[future])
        except BaseException:
            # Ctrl-C too. Threads end at their next step, not after their trajectory, which may
            # take minutes.
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
