"""Judging a model: errors on every test set, and the time that a predicted step takes."""

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


def judged(
    model: Any,
    tests: Mapping[str, Mapping[str, Any]],
    datasets: Datasets,
    horizons: Sequence[int] = (),
) -> dict[str, Any]:
    """``scores`` (test -> predictor -> column), ``outside`` (test -> warnings), ``forward_ms``.

    ``horizons``: steps over which particles are judged, beside the usual ones.
    A test may lie outside of what the model was trained on, that is what it is for: the warnings are
    kept with the numbers.
    """
    found: dict[str, Any] = {"scores": {}, "outside": {}}
    for name, data in tests.items():
        ds = datasets.get(data)
        with noted() as told:
            over = (*HORIZONS, *horizons) if horizons else None
            found["scores"][name] = scores(_api.evaluate(model, ds, horizons=over))
            if "forward_ms" not in found:
                found["forward_ms"] = forward_ms(model, ds)
        if told:
            found["outside"][name] = list(dict.fromkeys(told))
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
def noted() -> Iterator[list[str]]:
    """Within it warnings of data outside the training range go into the list, others where they go."""
    told: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", OutsideTrainingRange)
        shown = warnings.showwarning

        def show(message: Any, category: type[Warning], *rest: Any, **more: Any) -> None:
            if issubclass(category, OutsideTrainingRange):
                told.append(str(message))
            else:
                shown(message, category, *rest, **more)

        warnings.showwarning = show  # type: ignore[assignment]
        yield told
