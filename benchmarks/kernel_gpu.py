"""The kernels on a device: wall time of a step, all its work done, beside the error of each."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from pympnode.networks.engines.torch import kernel_eager as eager
from pympnode.networks.engines.torch.kernel_torch import run as adjoint
from pympnode.networks.engines.torch.window import Window
from pympnode.networks.spec import ModelSpec

Problem = tuple[ModelSpec, torch.Tensor, Window]


def moved(window: Window, device: str, dtype: torch.dtype) -> Window:
    """The window on a device, in a precision."""
    there = {
        field.name: value.to(device=device, dtype=dtype)
        for field in dataclasses.fields(window)
        if isinstance(value := getattr(window, field.name), torch.Tensor)
    }
    return dataclasses.replace(window, **there)


def candidates(
    spec: ModelSpec, theta: torch.Tensor, window: Window
) -> dict[str, Callable[[], tuple[float, torch.Tensor]]]:
    """Steps on the device of ``window``."""
    return {
        "eager autograd": lambda: eager.loss_and_gradient(spec, theta, window),
        "torch kernel": lambda: adjoint.loss_and_gradient(spec, theta, window),
    }


def device_table(
    problems: dict[str, Problem], count: int, device: str = "cuda"
) -> list[dict[str, Any]]:
    """Median milliseconds of a step and relative error of its gradient against float64 autograd,
    candidates interleaved."""

    def synchronise() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    rows = []
    for name, (spec, theta, window) in problems.items():
        truth = eager.loss_and_gradient(spec, theta.double(), moved(window, "cpu", torch.float64))[
            1
        ]
        there = moved(window, device, torch.float32)
        runs = candidates(spec, theta.to(device), there)
        error: dict[str, float] = {}
        for kernel, run in runs.items():
            for _ in range(3):  # libraries load, memory is set aside
                gradient = run()[1].double().cpu()
            error[kernel] = float((gradient - truth).norm() / truth.norm())
        spent: dict[str, list[float]] = {kernel: [] for kernel in runs}
        for _ in range(count):
            for kernel, run in runs.items():
                synchronise()
                start = time.perf_counter()
                run()
                synchronise()
                spent[kernel].append(1e3 * (time.perf_counter() - start))
        for kernel, found in error.items():
            ms = round(statistics.median(spent[kernel]), 3)
            rows.append({"case": name, "kernel": kernel, "ms": ms, "gradient_error": found})
    return rows
