"""Cells: one row at one seed, with all settings that determine its numbers, and its file.

A cell's file is named after a fingerprint of its settings, so that numbers made with other settings
have another name. The fingerprint of a training run does not include the tests: a new test set needs
no new training, and rows with equal training share one run.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import FileDamaged, InvalidOption, one_line
from ..files.netcdf import write_bytes
from ..particles.metrics import HORIZONS
from .budget import LENGTHS, Budget
from .columns import horizons, plain
from .description import Experiment, Row

TEST_SEED = 1_000_003  # far from usual seeds, so that no test set equals a training set


@dataclass(frozen=True)
class Training:
    """A training run: keywords of `simulate` and of `train`; ``start`` is the run it continues."""

    data: Mapping[str, Any]
    train: Mapping[str, Any]
    start: Training | None = None

    def settings(self) -> dict[str, Any]:
        """Plain values that determine the run, without its seed."""
        start = None if self.start is None else self.start.settings()
        return {"data": dict(self.data), "train": dict(self.train), "start": start}

    def folder(self, out: Path, seed: int) -> Path:
        """Folder of the checkpoints and of the model."""
        name = f"{self.data['system']}-{self.train.get('model', 'model')}"
        return out / "runs" / f"{name}-{fingerprint(self.settings())}" / f"seed-{seed}"


@dataclass(frozen=True)
class Cell:
    """One row at one seed. ``training`` is None for a start model that is evaluated unchanged.

    ``horizons``: numbers of steps of the columns beside the usual ones.
    """

    experiment: str
    row: str
    seed: int
    training: Training | None
    start: Training | None
    tests: Mapping[str, Mapping[str, Any]]
    horizons: tuple[int, ...] = ()

    def settings(self) -> dict[str, Any]:
        """Plain values that determine the numbers of the row, without the seed."""
        run = self.training or self.start
        assert run is not None
        tests = {name: dict(data) for name, data in self.tests.items()}
        more = {"horizons": list(self.horizons)} if self.horizons else {}
        return {**run.settings(), "unchanged": self.training is None, "tests": tests, **more}

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the settings."""
        return fingerprint(self.settings())

    def path(self, out: Path) -> Path:
        """The file of the numbers."""
        return out / "cells" / f"{slug(self.row)}-{self.fingerprint}" / f"seed-{self.seed}.json"

    @property
    def trainings(self) -> tuple[Training, ...]:
        """The runs that the cell needs, in order."""
        return tuple(t for t in (self.start, self.training) if t is not None)


def check_seeds(seeds: int) -> None:
    """Raise `InvalidOption` unless ``seeds`` is a positive whole number."""
    if not isinstance(seeds, int) or isinstance(seeds, bool) or seeds < 1:
        raise InvalidOption(
            "an experiment runs at least one seed",
            got=f"seeds={seeds!r}",
            allowed="a whole number, >= 1",
            fix="give seeds=3",
        )


def cells(experiment: Experiment, budget: Budget, seeds: int) -> Iterator[Cell]:
    """All cells, seed by seed, so that a run that is stopped early has every row.

    Raises `InvalidOption` for fewer than one seed.
    """
    check_seeds(seeds)
    for seed in range(seeds):
        for row in experiment.rows:
            yield cell(experiment, row, budget, seed)


def cell(experiment: Experiment, row: Row, budget: Budget, seed: int) -> Cell:
    """The cell of a row at a seed."""
    start = None
    if row.start:
        assert row.start_data is not None and row.start_train is not None
        start = Training(row.start_data, budget.applied(row.start_train))
    training = None
    if row.start != "unchanged":
        training = Training(row.data, budget.applied(row.train), start)
    shared = {name: value for name, value in row.data.items() if name != "mixed"}
    tests = {test.name: {**shared, "seed": TEST_SEED, **test.data} for test in experiment.tests}
    more = tuple(h for h in horizons(experiment.columns) if h not in HORIZONS)
    return Cell(experiment.name, row.name, seed, training, start, tests, more)


def runs_of(experiment: Experiment, budget: Budget, seeds: int) -> list[tuple[Training, int]]:
    """The training runs that all cells need, each once, with its seed."""
    found = {}
    for each in cells(experiment, budget, seeds):
        for training in each.trainings:
            found[fingerprint(training.settings()), each.seed] = (training, each.seed)
    return list(found.values())


def total(experiment: Experiment, budget: Budget, seeds: int) -> str:
    """How many runs an experiment is, and how long they train together, in words."""
    runs = runs_of(experiment, budget, seeds)
    usual = {budget.keyword: budget.value}
    with_length = sum(
        {name: training.train[name] for name in LENGTHS if name in training.train} != usual
        for training, _ in runs
    )
    text = f"{len(runs)} run{'s' * (len(runs) > 1)}, {budget.in_words(len(runs) - with_length)} of training"
    return text + (f", and {with_length} with a length of their own" if with_length else "")


def fingerprint(settings: Mapping[str, Any]) -> str:
    """A hash of settings, independent of their order."""
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def slug(text: str) -> str:
    """``text`` as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "row"


def write(cell: Cell, out: Path, numbers: Mapping[str, Any]) -> None:
    """Write the numbers of a finished cell, atomically."""
    values = {
        "experiment": cell.experiment,
        "row": cell.row,
        "seed": cell.seed,
        "fingerprint": cell.fingerprint,
        "settings": cell.settings(),
        **numbers,
    }
    text = json.dumps(plain(values), indent=1, allow_nan=False, default=str)
    write_bytes(cell.path(out), text.encode() + b"\n")


def read(cell: Cell, out: Path) -> dict[str, Any] | None:
    """The numbers of a cell, None where it is not finished. Raises `FileDamaged`."""
    fix = "remove it: the run is still there and will be evaluated again"
    path = cell.path(out)
    values = read_json(path, ("fingerprint",), fix)
    if values is not None and values["fingerprint"] != cell.fingerprint:
        raise FileDamaged(
            f"{str(path)!r} is not about the settings that its name says",
            got=values["fingerprint"],
            allowed=cell.fingerprint,
            fix=fix,
        )
    if values is not None:
        wrong = _wrong(values, cell)
        if wrong:
            raise FileDamaged(
                f"{str(path)!r} does not hold the numbers of a cell",
                got=wrong,
                allowed="the file that the run wrote",
                fix=fix,
            )
    return values


def _wrong(values: Mapping[str, Any], cell: Cell) -> str:
    """What the JSON of a cell has that `running` does not write, "" for nothing."""
    for name in ("status", "reason"):
        if not isinstance(values.get(name), str):
            return f"{name} = {values.get(name)!r}"
    made_with = values.get("made_with")
    if not isinstance(made_with, Mapping):
        return f"made_with = {made_with!r}"
    if values["status"] == "failed":
        return ""
    run, scores = values.get("run"), values.get("scores")
    if not isinstance(values.get("folder"), str):
        return f"folder = {values.get('folder')!r}"
    if not isinstance(run, Mapping) or not all(map(_is_number, run.values())):
        return f"run = {run!r}"
    if not isinstance(scores, Mapping) or scores.keys() != cell.tests.keys():
        return f"scores of {list(scores) if isinstance(scores, Mapping) else scores!r}"
    for test, predictors in scores.items():
        if not isinstance(predictors, Mapping) or "model" not in predictors:
            return f"scores of {test!r} without those of the model"
        for name, columns in predictors.items():
            if not isinstance(columns, Mapping) or not all(map(_is_number, columns.values())):
                return f"scores of {test!r}, {name!r}: {columns!r}"
    return ""


def _is_number(value: Any) -> bool:
    """Whether JSON holds a number, or one of those that it has no word for (`columns.plain`)."""
    if isinstance(value, bool):
        return False
    return isinstance(value, int | float) or value in ("inf", "-inf", "nan")


def read_json(path: Path, keys: Iterable[str], fix: str) -> dict[str, Any] | None:
    """The JSON object in a file that has all ``keys``; None for no file. Raises `FileDamaged`."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(values, dict) or not set(keys) <= values.keys():
            raise ValueError(f"not all of {', '.join(sorted(keys))}")
    except (FileNotFoundError, NotADirectoryError):  # the latter: a file has the name of the folder
        return None
    except (ValueError, RecursionError, OSError) as error:
        raise FileDamaged(
            f"{str(path)!r} cannot be read",
            got=one_line(error),
            allowed="the file that the run wrote",
            fix=fix,
        ) from error
    return values


def of_other_settings(current: list[Cell], out: Path) -> int:
    """How many finished cells in ``out`` were made with settings other than the present ones."""
    wanted = {cell.path(out).parent.name for cell in current}
    return sum(path.parent.name not in wanted for path in (out / "cells").glob("*/seed-*.json"))
