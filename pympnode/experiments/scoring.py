"""Scores of a model: its errors on every test set, and the time that a predicted step takes."""

from __future__ import annotations

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

_TIMED = 10  # predicted steps


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
    """Milliseconds for one predicted step of one state: the best of three rollouts."""
    one = ds.isel(trajectory=[0])
    one = one.isel(time=slice(min(_TIMED, ds.sizes["time"] - 1) + 1))
    steps = one.sizes["time"] - 1
    model.rollout(one)
    taken = []
    for _ in range(3):
        began = time.perf_counter()
        model.rollout(one)
        taken.append(time.perf_counter() - began)
    return 1000 * min(taken) / steps


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
