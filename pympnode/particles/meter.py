"""How far the making of a dataset is, and how long it will take still."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

Progress = Callable[[int, int, float], None]  # trajectories done, all, seconds left


class Meter:
    """Counts trajectories and estimates the time left from the ones done in this run.

    progress: called after each trajectory; True for a bar on the terminal (silent in a pipe).
    """

    def __init__(
        self, total: int, done: int, progress: Progress | bool | None, title: str = ""
    ) -> None:
        self.total, self.before, self.done = total, done, done
        self.bar: Any = None
        self.report = progress if callable(progress) else None
        if progress is True:
            from tqdm.auto import tqdm

            from ..training.progress import in_notebook

            # None: silent where nobody looks; a notebook is no terminal, and somebody looks.
            disable = False if in_notebook() else None
            self.bar = tqdm(
                desc=title, total=total, initial=done, unit="trajectory", disable=disable
            )
        self.began = time.monotonic()

    def add(self) -> None:
        """One more trajectory is done."""
        self.done += 1
        if self.bar is not None:
            self.bar.update()
            if self.done == self.total:
                self.bar.close()
        if self.report is not None:
            each = (time.monotonic() - self.began) / (self.done - self.before)
            self.report(self.done, self.total, each * (self.total - self.done))
