"""Scores of a model: its errors on every test set, and the time that a predicted step takes."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import xarray as xr

from .. import _api
from ..errors import OutsideTrainingRange
from ..particles.metrics import HORIZONS
from .columns import scores
from .datasets import Datasets

_TIMED = (5, 30)  # predicted steps
_REPEATS = 5
_ENOUGH_SECONDS = 5.0  # of timed rollouts: where they are long, few of them tell as much


def scored(
    model: Any,
    tests: Mapping[str, Mapping[str, Any]],
    datasets: Datasets,
    horizons: Sequence[int] = (),
) -> dict[str, Any]:
    """``scores`` (test -> predictor -> column), ``outside`` (test -> warnings), ``forward_ms``.

    ``horizons``: numbers of steps at which errors of particles are taken, beside the usual ones. A
    test may lie outside the training range on purpose, so the warnings are kept with the numbers.
    """
    found: dict[str, Any] = {"scores": {}, "outside": {}}
    for name, data in tests.items():
        ds = datasets.get(data)
        with range_warnings() as warned:
            over = (*HORIZONS, *horizons) if horizons else None
            found["scores"][name] = scores(_api.evaluate(model, ds, horizons=over))
            if "forward_ms" not in found:
                found["forward_ms"] = forward_ms(model, ds)
        if warned:
            found["outside"][name] = list(dict.fromkeys(warned))
    return found


def forward_ms(model: Any, ds: xr.Dataset) -> float:
    """Milliseconds for one predicted step of one state.

    The shortest of several rollouts of two lengths (one of each where it takes seconds), after one of each that compiles
    and loads; what a rollout begins with takes no part in their difference. Elapsed time, or, where it is less, CPU time:
    elapsed time on a CPU that other processes share is several times that of a step.
    """
    one = ds.isel(trajectory=[0])
    most = min(_TIMED[1], ds.sizes["time"] - 1)
    lengths = (min(_TIMED[0], most - 1), most)
    shortest = dict.fromkeys(lengths, math.inf)
    used = 0.0
    for repeat in range(_REPEATS + 1):
        for steps in lengths:
            taken = _seconds(model, one.isel(time=slice(steps + 1))) if steps else 0.0
            used += taken
            shortest[steps] = min(shortest[steps], taken) if repeat else math.inf
        if repeat and used > _ENOUGH_SECONDS:
            break
    few, many = (shortest[steps] for steps in lengths)
    # Where a step takes less than the clock can tell, all of the longer rollout is a bound.
    each = (many - few) / (lengths[1] - lengths[0])
    return 1000 * (each if each > 0 else many / most)


def _seconds(model: Any, ds: xr.Dataset) -> float:
    """The time of one rollout."""
    import torch

    began = time.perf_counter(), time.process_time()
    model.rollout(ds)
    elapsed, used = time.perf_counter() - began[0], time.process_time() - began[1]
    on_cpu = str(getattr(model, "device", "cpu")) == "cpu" or not torch.cuda.is_available()
    return min(elapsed, used) if on_cpu else elapsed


@contextmanager
def range_warnings() -> Iterator[list[str]]:
    """Collects the warnings of data outside the training range; others are shown as usual."""
    warned: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", OutsideTrainingRange)
        shown = warnings.showwarning

        def show(message: Any, category: type[Warning], *rest: Any, **more: Any) -> None:
            if issubclass(category, OutsideTrainingRange):
                warned.append(str(message))
            else:
                shown(message, category, *rest, **more)

        warnings.showwarning = show  # type: ignore[assignment]
        yield warned
