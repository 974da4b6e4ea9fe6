"""``sweep``: train the cells of a grid or of a sampler; worse ones are stopped early."""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .. import _api
from ..config import arguments, flag, least, or_none, whole
from ..config import path as path_of
from ..errors import (
    CannotWrite,
    InvalidOption,
    NotEnoughDisk,
    PympnodeError,
    RunLocked,
    shown_value,
)
from ..files.lock import hold_folder
from ..files.netcdf import checksum, content_checksum, write_bytes, write_netcdf
from ..files.writing import own_folder, remove_half_written
from ..tasks import check_client, client_of, run_tasks
from ..training.processes import current
from ..training.result import Result
from .cells import read_json
from .sweep_cells import Grid, SweepCell, read_numbers, sweep_cells, values_of, write_numbers
from .sweep_results import sweep_dataset

logger = logging.getLogger("pympnode.experiments")

Report = Callable[[str], None]
Numbers = dict[str, Any]


def _callable(name: str, value: Any) -> Any:
    if not callable(value):
        raise InvalidOption(
            f"{name} is called with each line of the log",
            got=shown_value(value),
            allowed="a function of one text, such as print",
        )
    return value


@arguments(
    run=path_of,
    halving=or_none(least(2)),
    rungs=or_none(least(1)),
    client=or_none(check_client),
    workers=or_none(lambda name, value: whole(name, value, 1, 1024)),
    retry=flag,
    progress=flag,
    report=_callable,
)
def sweep(
    grid: Grid,
    system: Any = None,
    *,
    data: xr.Dataset | Sequence[xr.Dataset] | str | os.PathLike[str] | None = None,
    run: str | os.PathLike[str] = "sweep",
    cells: int | None = None,
    halving: int | None = None,
    rungs: int | None = None,
    client: Any = None,
    workers: int | None = None,
    retry: bool = False,
    progress: bool = True,
    report: Report | None = None,
    **options: Any,
) -> xr.Dataset:
    """Train a model for each cell of a grid, or for each draw of a sampler; stop the worse ones early.

    Main arguments:
        grid: ``{"hidden": [16, 32], "learning_rate": [1e-3, 1e-2]}``: every combination of values of
            keywords of `train` (``{"seed": range(5)}`` is an ensemble). Or a list of
            ``{keyword: value}``, one for each cell. Or a function that takes a
            `numpy.random.Generator` and returns ``{keyword: value}``, with ``cells=`` for their number;
            cell i depends on (``seed``, i) alone.
        system, data, options: what all cells share: the system or the data (as in `train`; of large
            data a path, which is not copied for workers), and keywords of `train`, among them the
            length (``epochs``, ``updates`` or ``time_budget``), which no grid has.
            Without ``data`` each cell simulates its own from its ``seed``.
        run: the folder of the sweep. The same call goes on where it stopped; with more values in the
            grid it trains the new cells only.
        halving: early stopping by successive halving (Jamieson & Talwalkar 2016): with 3, after the
            length of the call the third of the cells with the smallest validation loss goes on to 3
            times its epochs (`train`'s ``extend``), the best of these to 9 times, until one is left.
        rungs: the most lengths, the first included; by default until one cell is left.
    Other arguments:
        client: a `distributed.Client`: cells are tasks of its workers, which see ``run`` and the paths
            in ``data`` under the same names. workers: that many Dask workers, started for the call.
        retry: train failed cells again. progress: show a bar for each run, without workers.
        report: called with each line of the log.
    Returns: an `xarray.Dataset` over the keywords of the grid (over ``cell`` for a list or a sampler,
        with the keywords as coordinates): ``validation_loss`` and ``best_epoch`` of the kept weights;
        ``status``: "completed", "stopped" (by ``halving``), "diverged", "failed"; ``reason``;
        ``updates``, ``epochs`` and ``seconds`` of training; ``rung``, from 0; and ``folder``, the run
        folder, which `load` takes. ``attrs["best"]`` is the folder with the smallest loss, "" where no
        cell has one. Losses can be compared between cells with the same validation data. Also written
        to results.nc in ``run``. A cell has the same numbers in one process and on any number of
        workers where the length is not a time and the number of threads is the same.
    Raises: `UnknownName` and `InvalidOption` for keywords of any cell before anything runs (a value that
        only the model or the data refuse is the ``reason`` of its cell); `EngineUnavailable` without
        Dask; `RunLocked`, `NotEnoughDisk`, `CannotWrite`, after which the same call goes on. Any other
        error of a cell is its ``reason``, and the others run.

    >>> import pympnode
    >>> data = pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=8, steps=5)
    >>> ds = pympnode.sweep(
    ...     {"hidden": [4, 8]}, data=data, epochs=1, kernel="eager", progress=False, run="widths"
    ... )
    >>> ds.validation_loss.dims, ds.status.values.tolist()
    (('hidden',), ['completed', 'completed'])
    """
    _refuse_processes()
    if client is not None and workers is not None:
        raise InvalidOption(
            "a client has workers of its own",
            got=f"workers={workers} beside client=",
            allowed="one of them",
            fix="leave workers out",
        )
    if data is None and _api.holds_datasets(system):  # sweep(grid, ds)
        system, data = None, system
    given = None if data is None else list(data) if isinstance(data, list | tuple) else [data]
    seed = whole("seed", options.get("seed", 0), 0)
    values = values_of(grid, cells, seed)
    shared = {**options, "system": system} if system is not None else dict(options)
    todo = sweep_cells(values, shared, given)
    folder = path_of("run", run)
    log = logger.info if report is None else report
    fix = "wait for it, stop it, or name another folder with run="
    with hold_folder(folder / ".lock", "the sweep", fix=fix):
        _claim(folder, halving)
        for part in ("cells", "runs"):
            own_folder(folder / part)
        for written in (folder, folder / "cells", folder / "data"):
            remove_half_written(written)
        with client_of(None, workers) if client is None else nullcontext(client) as found:
            one = _Sweep(todo, given, folder, halving, found, progress, log)
            if retry:
                one.forget_failed()
            try:
                one.run(rungs)
            except BaseException:  # also after Ctrl-C: the file has the finished cells
                with suppress(PympnodeError):
                    _written(one, grid, folder)
                raise
        return _written(one, grid, folder)


def _refuse_processes() -> None:
    if current() is not None:
        raise InvalidOption(
            "a sweep runs in one process, which gives cells to others",
            got="several processes of torch.distributed",
            allowed="workers=, or client= of a Dask cluster",
            fix="start it without torchrun: python script.py",
        )


def _claim(folder: Path, halving: int | None) -> None:
    """Raise `InvalidOption` where cells of the folder were trained on by another ``halving``."""
    path = folder / "sweep.json"
    before = read_json(path, ("halving",), "remove it; the runs are still there")
    held = None if before is None else before["halving"]
    if held is not None and held != halving:
        raise InvalidOption(
            "the best cells of this folder went on by another halving",
            got=f"halving={halving!r}, the folder {str(folder)!r} has {held!r}",
            allowed=f"halving={held!r}",
            fix="name another folder with run=",
        )
    if before is None or held != halving:
        write_bytes(path, json.dumps({"halving": halving}).encode() + b"\n")


class _Sweep:
    """The cells, the numbers of each after every rung, and what computes them."""

    def __init__(
        self,
        cells: list[SweepCell],
        data: list[Any] | None,
        folder: Path,
        halving: int | None,
        client: Any,
        progress: bool,
        log: Report,
    ) -> None:
        self.cells, self.folder, self.halving = cells, folder, halving
        self.client, self.progress, self.log = client, progress, log
        # Cells with equal keywords are one run.
        self.unique = {cell.name: cell for cell in cells}
        self.numbers = {name: read_numbers(cell, folder) for name, cell in self.unique.items()}
        self.stopped: dict[str, str] = {}
        self._data = data
        if client is not None:
            self._data = None if data is None else [_at_path(one, folder) for one in data]

    def forget_failed(self) -> None:
        for rungs in self.numbers.values():
            if rungs and rungs[-1]["status"] == "failed":
                rungs.pop()

    def run(self, rungs: int | None) -> None:
        """Train all cells to the first length, and the better ones to the next ones."""
        names = list(self.unique)
        rung = 0
        while names:
            self._train(names, rung)
            if self.halving is None or len(names) == 1 or (rungs is not None and rung + 1 >= rungs):
                return
            names = self._better(names, rung)
            rung += 1

    def _better(self, names: list[str], rung: int) -> list[str]:
        """The cells that go on; the others are stopped."""
        assert self.halving is not None
        found = {name: self.numbers[name][rung] for name in names}
        good = [n for n in names if _goes_on(found[n])]
        good.sort(key=lambda name: float(found[name]["validation_loss"]))
        kept = good[: math.ceil(len(names) / self.halving)]
        for place, name in enumerate(good[len(kept) :], start=len(kept) + 1):
            self.stopped[name] = (
                f"validation loss number {place} of {len(names)} after {found[name]['epochs']} epochs; "
                f"{len(kept)} went on"
            )
        if kept:
            self.log(f"rung {rung + 1}: {len(kept)} of {len(names)} cells go on")
        return kept

    def _train(self, names: list[str], rung: int) -> None:
        left = [name for name in names if len(self.numbers[name]) <= rung]
        if len(left) < len(names):
            self.log(f"{len(names) - len(left)} of {len(names)} cells were trained before")
        arguments = [self._task(name, rung) for name in left]
        done = 0

        def on_done(number: int, numbers: Numbers) -> None:
            nonlocal done
            done += 1
            name = left[number]
            self.numbers[name].append(numbers)
            write_numbers(self.unique[name], self.folder, self.numbers[name])
            loss = float(numbers["validation_loss"])
            after = (
                f", validation loss {loss:.4g}"
                if math.isfinite(loss)
                else f" ({numbers['reason'].splitlines()[0]})"
            )
            self.log(
                f"{done}/{len(left)} {self.unique[name].in_words()}: {numbers['status']}{after}"
            )

        if self.client is not None and left:
            self.log(f"{len(left)} cells on {len(self.client.nthreads())} workers")
            run_tasks(self.client, train_cell, arguments, on_done)
            return
        for number, each in enumerate(arguments):
            on_done(number, train_cell(*each))

    def _task(self, name: str, rung: int) -> tuple[Any, ...]:
        cell, before = self.unique[name], self.numbers[name]
        extend = None
        if rung:
            assert self.halving is not None
            extend = (self.halving**rung - 1) * int(before[0]["epochs"])
        words, folder = dict(cell.words), cell.run(self.folder)
        progress = self.progress
        if self.client is not None:
            folder, progress = folder.absolute(), False
            words = {n: _at_path(v, self.folder) if n == "start" else v for n, v in words.items()}
        return words, self._data, str(folder), extend, progress


def _goes_on(numbers: Mapping[str, Any]) -> bool:
    return numbers["status"] == "completed" and np.isfinite(float(numbers["validation_loss"]))


def _at_path(value: Any, folder: Path) -> Any:
    """The path of a dataset or a model in the folder of the sweep, where workers read it; an absolute
    one of a path."""
    if isinstance(value, str | os.PathLike):
        return os.path.abspath(os.path.expanduser(value))
    if isinstance(value, Result):
        value = value.model
    own_folder(folder / "data")
    if isinstance(value, xr.Dataset):
        path = (folder / "data" / f"{content_checksum(value)[:12]}.nc").absolute()
        if not path.exists():
            write_netcdf(value, path, checksums=True)
    else:
        path = (folder / "data" / f"model-{checksum(value.theta)[:12]}.nc").absolute()
        if not path.exists():
            value.save(path)
    return str(path)


def train_cell(
    words: Mapping[str, Any], data: list[Any] | None, run: str, extend: int | None, progress: bool
) -> Numbers:
    """The numbers of a cell after training, or the reason why there are none."""
    try:
        result = _api.train(**words, data=data, run=run, extend=extend, progress=progress)
    except (RunLocked, NotEnoughDisk, CannotWrite):
        raise  # the next cell would fail for the same reason
    except Exception as error:  # of any kind: the other cells do not depend on this one
        logger.warning("%s: %s", run, error)
        nothing = {"validation_loss": math.nan, "best_epoch": -1, "epochs": 0, "updates": 0}
        reason = f"{type(error).__name__}: {error}"
        return {"status": "failed", "reason": reason, "seconds": 0.0, **nothing}
    if result.status == "interrupted":  # a notebook: training returns instead of raising
        raise KeyboardInterrupt
    return {
        "status": result.status,
        "reason": result.reason,
        "validation_loss": float(result.best_loss),
        "best_epoch": int(result.best_epoch),
        "epochs": int(result.history.sizes["epoch"]),
        "updates": int(result.updates),
        "seconds": float(result.seconds),
    }


def _written(one: _Sweep, grid: Any, folder: Path) -> xr.Dataset:
    ds = sweep_dataset(grid, one.cells, one.numbers, one.stopped, folder)
    write_netcdf(ds, folder / "results.nc")
    return ds
