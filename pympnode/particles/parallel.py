"""Trajectories of a recipe computed side by side, in threads or on a Dask cluster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import numpy as np

from ..tasks import run_tasks
from .recipe import Given, Recipe, trajectory

Arrays = dict[str, np.ndarray]
Store = Callable[[int, Arrays], None]


class _Stopped(Exception):
    """Raised in the threads once one of them failed, or the user interrupted the run."""


def compute_all(
    recipe: Recipe,
    given: Given | None,
    jobs: Sequence[int],
    workers: int,
    store: Store,
    on_done: Callable[[int], None],
    client: Any = None,
) -> None:
    """Compute the trajectories with the numbers ``jobs``, and call ``store(number, arrays)`` for each.

    ``workers`` threads at a time: they are enough, and cost no start-up, since the compiled steps
    release the interpreter lock (``nogil``). With a ``client`` of Dask they are its tasks, and stored
    in this thread. ``on_done(number)`` is called in this thread, in the order in which trajectories
    finish. Raises what failed first.
    """
    if not jobs:
        return
    if client is not None:

        def stored(position: int, arrays: Arrays) -> None:
            store(jobs[position], arrays)
            on_done(jobs[position])

        run_tasks(client, trajectory, [(recipe, given, number) for number in jobs], stored)
        return
    stop = threading.Event()

    def on_step(step: int) -> None:
        if stop.is_set():
            raise _Stopped

    def compute(number: int) -> None:
        store(number, trajectory(recipe, given, number, on_step))

    with ThreadPoolExecutor(min(workers, len(jobs))) as pool:
        try:
            number = {pool.submit(compute, i): i for i in jobs}
            for future in as_completed(number):
                future.result()
                on_done(number[future])
        except BaseException:
            # Ctrl-C too. Threads end at their next step, not after their trajectory, which may
            # take minutes.
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
