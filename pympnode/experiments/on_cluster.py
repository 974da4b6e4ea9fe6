"""Cells of an experiment as tasks of a Dask cluster, whose workers share the experiment's folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..tasks import run_tasks
from .cells import Cell, Training, fingerprint
from .datasets import parts

OnDone = Callable[[Cell, dict[str, Any]], None]


def run_cells(
    client: Any,
    call: Callable[..., Any],
    cells: list[Cell],
    folder: Path,
    device: str,
    on_done: OnDone,
) -> None:
    """Compute the numbers of ``cells`` on the workers, and call ``on_done(cell, numbers)`` here.

    ``call(folder, device, kind, what, seed)`` is the work of a task, see `running.task`.

    A dataset and a training that several cells share are one task each; a cell waits for those it
    needs, and for the cell before it that opens one of its run folders. A task whose worker died is
    done again, and goes on from its last checkpoint. Raises what `tasks.run_tasks` raises.
    """
    arguments: list[tuple[Any, ...]] = []
    after: list[list[int]] = []
    known: dict[str, int] = {}

    def task(key: str, given: tuple[Any, ...], before: list[int]) -> int:
        if key not in known:
            known[key] = len(arguments)
            arguments.append((str(folder), device, *given))
            after.append(before)
        return known[key]

    def data(keywords: Mapping[str, Any]) -> int:
        plain = dict(keywords)
        return task(f"data {fingerprint(plain)}", ("data", plain), [])

    def training(one: Training, seed: int) -> int:
        before = [data(part) for part in parts(one.data)]
        if one.start is not None:
            before.append(training(one.start, seed))
        return task(f"run {one.folder(folder, seed)}", ("training", one, seed), before)

    of_cell: dict[int, Cell] = {}
    last: dict[Path, int] = {}  # a run folder -> the cell that opens it last
    for cell in cells:
        before = [training(one, cell.seed) for one in cell.trainings]
        before += [data(test) for test in cell.tests.values()]
        # A finished run is read under the lock of its folder: two cells at once would refuse it.
        opened = [one.folder(folder, cell.seed) for one in cell.trainings]
        before += [last[path] for path in opened if path in last]
        number = task(f"cell {cell.path(folder)}", ("cell", cell), before)
        last.update(dict.fromkeys(opened, number))
        of_cell[number] = cell

    def ended(number: int, numbers: Any) -> None:
        if number in of_cell:
            on_done(of_cell[number], numbers)

    run_tasks(client, call, arguments, ended, after)
