"""The kernels on a GPU: wall time of a step with the device in step, beside the error of each."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from pympnode.engines.torch import adjoint, eager, fused
from pympnode.engines.torch.window import Window
from pympnode.models.spec import ModelSpec

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
    """Steps on the device of ``window``. The fused program is left out where it does not serve."""
    found: dict[str, Callable[[], tuple[float, torch.Tensor]]] = {
        "eager autograd": lambda: eager.loss_and_gradient(spec, theta, window),
        "torch kernel, CUDA graph": lambda: adjoint.loss_and_gradient(spec, theta, window),
    }
    if fused.supports(spec) is None:
        for precision in ("ieee", "tf32x3", "tf32"):
            found[f"fused kernel, {precision}"] = lambda p=precision: fused.loss_and_gradient(
                spec, theta, window, precision=p
            )
    return found


def gpu_table(problems: dict[str, Problem], count: int) -> list[dict[str, Any]]:
    """Median milliseconds of a step and relative error of its gradient against float64 autograd,
    candidates interleaved; no rows without a CUDA device."""
    if not torch.cuda.is_available():
        return []
    rows = []
    for name, (spec, theta, window) in problems.items():
        truth = eager.loss_and_gradient(spec, theta.double(), moved(window, "cpu", torch.float64))[
            1
        ]
        there = moved(window, "cuda", torch.float32)
        runs = candidates(spec, theta.cuda(), there)
        error: dict[str, float | str] = {}
        for kernel, run in list(runs.items()):
            try:
                for _ in range(3):  # compiles, captures
                    gradient = run()[1].double().cpu()
            except Exception as problem:  # too wide for the shared memory of this device, say
                error[kernel] = f"{type(problem).__name__}: {str(problem).splitlines()[0][:80]}"
                del runs[kernel]
                continue
            error[kernel] = float((gradient - truth).norm() / truth.norm())
        spent: dict[str, list[float]] = {kernel: [] for kernel in runs}
        for _ in range(count):
            for kernel, run in runs.items():
                torch.cuda.synchronize()
                start = time.perf_counter()
                run()
                torch.cuda.synchronize()
                spent[kernel].append(1e3 * (time.perf_counter() - start))
        for kernel, found in error.items():
            ms = round(statistics.median(spent[kernel]), 3) if kernel in spent else None
            rows.append({"case": name, "kernel": kernel, "ms": ms, "gradient_error": found})
    return rows
