"""Cells of a sweep: the keywords of each, and its files.

A cell's files are named after a fingerprint of everything that it is trained with, so that cells of
other keywords or other data have other names.
"""

from __future__ import annotations

import inspect
import itertools
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .. import _api
from ..config import TrainConfig, check_names, whole
from ..errors import InvalidOption, one_line, shown_value
from ..files.netcdf import checksum, content_checksum, write_bytes
from ..half import Half
from ..halves import (
    half_of_dataset,
    half_of_system,
    keywords_of,
    other,
    refuse_other_half,
    refuse_other_split,
    refuse_simulation,
)
from ..training.result import Result
from .cells import fingerprint, read_json
from .columns import plain

Sampler = Callable[[np.random.Generator], Mapping[str, Any]]
Grid = Mapping[str, Sequence[Any]] | Sequence[Mapping[str, Any]] | Sampler

LENGTHS = ("epochs", "updates", "time_budget")
MOST_CELLS = 10**6
# What the sweep itself gives to `train`.
_OWN = ("data", "run", "extend", "progress")


@dataclass(frozen=True)
class SweepCell:
    """``keywords``: what the grid or the sampler gave; ``words``: all keywords of `train` but those
    of the sweep itself; ``name``: of its files."""

    keywords: Mapping[str, Any]
    words: Mapping[str, Any]
    name: str

    def run(self, out: Path) -> Path:
        """The run folder."""
        return out / "runs" / self.name

    def file(self, out: Path) -> Path:
        """The file of the numbers."""
        return out / "cells" / f"{self.name}.json"

    def in_words(self) -> str:
        """Its keywords, for people."""
        texts = (f"{name}={_short(value)}" for name, value in self.keywords.items())
        return ", ".join(texts) or "no keywords"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else one_line(value, 40)


def values_of(grid: Grid, cells: int | None, seed: int) -> list[dict[str, Any]]:
    """The keywords of each cell, those of a grid in C order. Raises `InvalidOption`.

    Cell i of a sampler depends on (``seed``, i) alone.
    """
    if callable(grid):
        if cells is None:
            raise InvalidOption(
                "a sampler does not say how many cells there are",
                got="cells=None",
                allowed="cells=20, or another number",
            )
        drawn = [
            grid(np.random.default_rng([seed, i]))
            for i in range(whole("cells", cells, 1, MOST_CELLS))
        ]
        return [_mapping(f"what the sampler returned for cell {i}", d) for i, d in enumerate(drawn)]
    if cells is not None:
        raise InvalidOption(
            "cells is the number of draws of a sampler, and the cells are given",
            got=f"cells={cells!r}",
            allowed="a function of a random generator in the place of the grid",
            fix="leave cells out",
        )
    if isinstance(grid, Mapping):
        lists = {name: _values(name, given) for name, given in grid.items()}
        found = [dict(zip(lists, each)) for each in itertools.product(*lists.values())]
        if not lists:
            found = []
    elif isinstance(grid, list | tuple):
        found = [_mapping(f"cell {number}", each) for number, each in enumerate(grid)]
    else:
        found = []
    if not found:
        raise InvalidOption(
            "a sweep has at least one cell",
            got=shown_value(grid),
            allowed="{keyword: [values]}, a list of {keyword: value}, or a function of a random "
            "generator that returns {keyword: value}",
            fix='sweep({"hidden": [16, 32]}, "kuramoto")',
        )
    return found


def _values(name: str, given: Any) -> list[Any]:
    if isinstance(given, np.ndarray) and given.ndim == 1:
        given = given.tolist()
    if not isinstance(given, list | tuple | range) or not len(given):
        raise InvalidOption(
            f"the grid has a list of values for each keyword, and {name} has none",
            got=shown_value(given),
            allowed="a list of at least one value",
            fix=f"{name!r}: [{shown_value(given, 60)}]",
        )
    return list(given)


def _mapping(what: str, given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InvalidOption(
            f"{what} is no mapping of keywords of train",
            got=shown_value(given),
            allowed="{keyword: value}",
        )
    return dict(given)


def sweep_cells(
    values: list[dict[str, Any]], options: Mapping[str, Any], data: Any
) -> list[SweepCell]:
    """The cells, their keywords and values checked as `train` checks them.

    ``data``: datasets or paths, or None. Raises `UnknownName`, `InvalidOption`.
    """
    known = [name for name in inspect.signature(_api.train).parameters if name not in _OWN]
    check_names("option of sweep", options, known)
    if data is not None and not data:
        raise InvalidOption(
            "there are no datasets", got="data=[]", allowed="a dataset, a list of them, or paths"
        )
    of_data = None if data is None else [_described("data", one) for one in data]
    _refuse_lengths(values, options)
    cells = []
    for keywords in values:
        check_names("keyword of a sweep", keywords, known)
        for name in keywords:
            if name in LENGTHS:
                raise InvalidOption(
                    "losses after runs of different length are not compared",
                    got=f"{name} in the grid",
                    allowed=f"{name}= of all cells; halving= trains the better ones longer",
                    fix=f"sweep(grid, ..., {name}=...)",
                )
            if options.get(name) is not None:
                raise InvalidOption(
                    f"{name} is given twice",
                    got=f"{name}={shown_value(options[name], 80)} beside the grid",
                    allowed="in the grid, or for all cells",
                )
        words = {n: v for n, v in {**options, **keywords}.items() if v is not None}
        _check(words, data)
        about = {name: _described(name, value) for name, value in words.items()}
        name = fingerprint({"keywords": about, "data": of_data})
        cells.append(SweepCell(keywords, words, name))
    return cells


def _refuse_lengths(values: list[dict[str, Any]], options: Mapping[str, Any]) -> None:
    """Raise `InvalidOption` for objects ``config`` of different length in the grid."""
    if any(options.get(name) is not None for name in LENGTHS):
        return  # which goes before those of the objects
    configs = [each["config"] for each in values if isinstance(each.get("config"), TrainConfig)]
    lengths = {tuple(getattr(one, name) for name in LENGTHS) for one in configs}
    if len(lengths) > 1:
        raise InvalidOption(
            "losses after runs of different length are not compared",
            got=f"config in the grid with {', '.join(LENGTHS)} of {sorted(map(str, lengths))}",
            allowed="objects of one length; halving= trains the better ones longer",
            fix="sweep(grid, ..., updates=...), which goes before the length of each config",
        )


def _check(words: Mapping[str, Any], data: Any) -> None:
    """Raise what `train` would raise for the options of a cell, without training."""
    half = _half(words, data)
    if half is None:
        return
    options = {n: v for n, v in words.items() if n not in ("system", "start")}
    if data is not None:
        refuse_simulation(half, options, words.get("system"), data)
        refuse_other_split(words.get("split"), data)
    refuse_other_half(options, half, half.Training, other(half).Training)
    half.Training(**{n: v for n, v in options.items() if n in keywords_of(half.Training)})


def _half(words: Mapping[str, Any], data: Any) -> Half | None:
    """The half that a cell belongs to; None where only its start or a file says so."""
    if data is not None:
        return half_of_dataset(data[0]) if all(isinstance(d, xr.Dataset) for d in data) else None
    if words.get("system") is not None:
        return half_of_system(words["system"])
    if words.get("start") is None:
        raise InvalidOption(
            "sweep needs a system or data",
            got="neither",
            allowed='sweep(grid, "kuramoto") or sweep(grid, data=ds)',
            fix='pass "kuramoto", or data=ds',
        )
    return None


def _described(name: str, value: Any) -> Any:
    """``value`` as plain values that another call with an equal one has too."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return str(value)
    if isinstance(value, xr.Dataset):  # a Mapping too
        return {"sha256": content_checksum(value)}
    if isinstance(value, Mapping):
        return {str(key): _described(name, each) for key, each in value.items()}
    if isinstance(value, list | tuple | range):
        return [_described(name, each) for each in value]
    if isinstance(value, np.ndarray):
        return {"sha256": checksum(value)}
    if isinstance(value, Result):
        value = value.model
    if hasattr(value, "theta"):
        return {"sha256": checksum(value.theta)}
    if callable(value) and "<" not in getattr(value, "__qualname__", "<"):
        return f"{value.__module__}.{value.__qualname__}"
    text = repr(value)
    if " at 0x" in text or text.startswith("<"):
        raise InvalidOption(
            f"a later call of sweep could not tell this value of {name} from others",
            got=shown_value(value),
            allowed="numbers, texts, lists, arrays, datasets, models, functions with a name",
            fix="data = simulate(...); sweep(grid, data=data)"
            if name in ("system", "topology", "edge_weight", "delay")
            else "define it in a module, with a name",
        )
    return text


def write_numbers(cell: SweepCell, out: Path, rungs: Sequence[Mapping[str, Any]]) -> None:
    """Write the numbers of a cell after each of its rungs, atomically."""
    about = {name: _described(name, value) for name, value in cell.keywords.items()}
    values = {"fingerprint": cell.name, "keywords": about, "rungs": list(rungs)}
    text = json.dumps(plain(values), indent=1, allow_nan=False, default=str)
    write_bytes(cell.file(out), text.encode() + b"\n")


def read_numbers(cell: SweepCell, out: Path) -> list[dict[str, Any]]:
    """The numbers of a cell after each rung that it finished. Raises `FileDamaged`."""
    fix = "remove it: the run is still there and will be read again"
    values = read_json(cell.file(out), ("fingerprint", "rungs"), fix)
    return [] if values is None else list(values["rungs"])
