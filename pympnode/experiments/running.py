"""``run``: train and evaluate the cells of an experiment in order; finished ones are skipped."""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .. import _api
from ..errors import CannotWrite, NotEnoughDisk, PympnodeError, RunLocked, unknown_name
from ..files.lock import hold_folder
from ..files.writing import own_folder, remove_half_written
from ..tasks import check_client
from ..version import __version__
from .budget import Budget
from .catalogue import experiment as experiment_of
from .cells import Cell, Training, cells, check_seeds, of_other_settings, read, total, write
from .datasets import Datasets, parts
from .folders import as_recorded, folder_of, refuse_other, write_call
from .on_cluster import run_cells
from .scoring import range_warnings, scored

logger = logging.getLogger("pympnode.experiments")

LOCK = ".lock"
DEVICES = ("auto", "cpu", "cuda")
Report = Callable[[str], None]


def run(
    name: str | os.PathLike[str],
    *,
    budget: str | float = "10m",
    seeds: int = 3,
    out: str | os.PathLike[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    device: str = "auto",
    retry: bool = False,
    progress: bool = True,
    report: Report | None = None,
    client: Any = None,
) -> xr.Dataset:
    """Train and evaluate the cells of an experiment that are not finished yet.

    Main arguments:
        name: an experiment (`names`), or the path of a TOML file of your own.
        budget: how long each run trains: seconds, "20m", "500 updates" or "30 epochs". A row that
            names a length itself keeps it. The budget does not cover simulation and evaluation.
        seeds: runs of each row, with seeds 0, 1, ...; they share data.
        out: folder, "experiments/NAME" by default; the same call continues where it stopped. A
            folder holds one experiment: that of another is refused.
    Other arguments:
        settings: "train.NAME" or "data.NAME" for all rows, such as {"train.preset": "paper"}.
        device: "auto", "cpu" or "cuda".
        retry: run failed cells again.
        progress: show a bar for each run. report: called with each line of the log of the cells.
        client: a `distributed.Client`: datasets, runs and cells are tasks of its workers, which see
            ``out`` under the same path. Budgets in seconds are those of a worker.
    Returns: the rows as an `xarray.Dataset`, see `pympnode.experiments.results`; results.md,
        results.nc and results.json are written to ``out`` with the same numbers, and the figures that
        the experiment names to its folder ``figures``.
    Raises: `UnknownName`, `InvalidOption`, `MissingFile`, `EngineUnavailable` (a device that is not
        there), `RunLocked`, before anything runs; `NotEnoughDisk` and `CannotWrite`, after which the
        same call goes on. Any other error within a cell (too little memory,
        data that cannot be made) is kept in its row and does not stop the others. KeyboardInterrupt
        after Ctrl-C; finished cells and the state of the present one are kept.
    """
    from .figures import write_figures
    from .tables import write_results

    check_seeds(seeds)
    check_device(device)
    if client is not None:
        check_client("client", client)
    found = experiment_of(name, settings)
    length = Budget.of(budget)
    budget = budget if isinstance(budget, str) else float(budget)
    if settings:  # cells are named after what the record of the call gives back
        settings = as_recorded(settings)
        found = experiment_of(name, settings)
    folder = folder_of(found, out)
    refuse_other(folder, name)
    log = report or logger.info
    todo = list(cells(found, length, seeds))
    log(f"{len(todo)} cell{'s' * (len(todo) > 1)}; {total(found, length, seeds)}")
    fix = "wait for it, stop it, or name another folder with out="
    with hold_folder(folder / LOCK, "the experiment", fix=fix):
        write_call(folder, name, budget, seeds, settings)
        for part in ("cells", "runs", "data"):
            own_folder(folder / part)
        for written in (folder, folder / "data", *(folder / "cells").glob("*")):
            remove_half_written(written)
        other = of_other_settings(todo, folder)
        if other:
            log(f"{other} finished cells of other settings lie in {folder} and are left alone")
        try:
            _run_cells(todo, folder, length, device, retry, progress, log, client)
        except BaseException:  # also after Ctrl-C: the table has the finished cells
            with suppress(PympnodeError):  # a full disk is told of once
                write_results(found, length, seeds, folder)
            raise
        results = write_results(found, length, seeds, folder)
        if found.figures:
            for path in write_figures(found, length, seeds, folder, Datasets(folder / "data")):
                log(f"figure: {path}")
        return results


def _run_cells(
    todo: list[Cell],
    folder: Path,
    length: Budget,
    device: str,
    retry: bool,
    progress: bool,
    log: Report,
    client: Any = None,
) -> None:
    datasets = Datasets(folder / "data")
    for_workers: list[Cell] = []
    for number, cell in enumerate(todo, start=1):
        at = f"{number}/{len(todo)} {cell.row}, seed {cell.seed}"
        before = read(cell, folder)
        if before is not None and not (retry and before["status"] == "failed"):
            log(f"{at}: {before['status']} before" + _again(before))
            continue
        if client is not None:
            for_workers.append(cell)
            continue
        log(f"{at}: {length.in_words()}")
        numbers = _finished(cell, folder, datasets, device, progress)
        write(cell, folder, numbers)
        log(f"{at}: {numbers['status']}" + _why(numbers))
    if for_workers:
        done = 0

        def on_done(cell: Cell, numbers: dict[str, Any]) -> None:
            nonlocal done
            done += 1
            write(cell, folder, numbers)
            at = f"{done}/{len(for_workers)} {cell.row}, seed {cell.seed}"
            log(f"{at}: {numbers['status']}" + _why(numbers))

        log(f"{len(for_workers)} cells on {len(client.nthreads())} workers")
        run_cells(client, task, for_workers, folder.absolute(), device, on_done)


def _finished(
    cell: Cell, out: Path, datasets: Datasets, device: str, progress: bool
) -> dict[str, Any]:
    """The numbers of a cell after training and evaluation, or the reason why there are none."""
    try:
        with range_warnings() as warned:
            for training in cell.trainings:
                result = _trained(training, cell.seed, out, datasets, device, progress)
        found = scored(result.model, cell.tests, datasets, cell.horizons)
        if warned:
            found["outside"]["training"] = list(dict.fromkeys(warned))
    except (RunLocked, NotEnoughDisk, CannotWrite):
        raise  # the next cell would fail for the same reason
    except Exception as error:  # of any kind: the other cells do not depend on this one
        logger.warning("%s, seed %d: %s", cell.row, cell.seed, error)
        words = f"{type(error).__name__}: {error}"
        return {"status": "failed", "reason": words, "made_with": _facts(device)}
    losses = np.asarray(result.history["validation_loss"].values, dtype=np.float64)
    # A diverged run has NaN losses, and `argmin` would return the first of them.
    best = int(np.nanargmin(losses)) if np.isfinite(losses).any() else None
    return {
        "status": result.status,
        "reason": result.reason,
        "run": {
            "updates": result.updates,
            "epochs": int(losses.size),
            "seconds": float(result.seconds),
            "weights": int(np.size(result.model.theta)),
            "best_loss": float(result.best_loss),
            "best_epoch": int(result.best_epoch),
            "loss_epochs": float("nan") if best is None else float(losses[best] * (best + 1)),
            "forward_ms": found.pop("forward_ms"),
        },
        **found,
        "folder": str(cell.trainings[-1].folder(out, cell.seed).relative_to(out)),
        "made_with": _facts(result.device),
    }


def _trained(
    training: Training, seed: int, out: Path, datasets: Datasets, device: str, progress: bool
) -> Any:
    """The result of a run: read from its folder if it has ended, else trained or continued."""
    several = [datasets.get(part) for part in parts(training.data)]
    data = several if len(several) > 1 else several[0]
    words: dict[str, Any] = dict(
        data=data, seed=seed, device=device, progress=progress, run=training.folder(out, seed)
    )
    if training.start is None:
        result = _api.train(**training.train, **words)
    else:
        start = _api.load(training.start.folder(out, seed) / "model.nc")
        result = _api.finetune(start, **training.train, **words)
    if result.status == "interrupted":  # a notebook: training returns instead of raising
        raise KeyboardInterrupt
    return result


def task(folder: str, device: str, kind: str, what: Any, seed: int = 0) -> dict[str, Any] | None:
    """A task of `on_cluster.run_cells`: a dataset ("data", its keywords), a run ("training"), or the
    numbers of a "cell"."""
    out = Path(folder)
    datasets = Datasets(out / "data")
    if kind == "cell":
        return _finished(what, out, datasets, device, False)
    # The cell itself meets the error again, and keeps it in its row.
    with suppress(PympnodeError):
        if kind == "data":
            datasets.get(what)
        else:
            _trained(what, seed, out, datasets, device, False)
    return None


def _why(numbers: Mapping[str, Any]) -> str:
    return "" if numbers["status"] == "completed" else f" ({numbers['reason'].splitlines()[0]})"


def _again(numbers: Mapping[str, Any]) -> str:
    """How to run a failed cell again."""
    return "; retry=True, or --retry, tries it again" if numbers["status"] == "failed" else ""


def check_device(device: str) -> None:
    """Raise `UnknownName` for another name, `EngineUnavailable` for a device that is missing."""
    from ..networks.engines.torch.engine import resolve_device

    if device not in DEVICES:
        raise unknown_name("device", device, DEVICES)
    resolve_device(device)


def _facts(device: str) -> dict[str, Any]:
    import torch

    return {
        "pympnode": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "device": device,
        "threads": torch.get_num_threads(),
    }
