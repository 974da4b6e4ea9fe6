"""Runs the fused kernel beside autograd and prints the differences as JSON.

A process of its own, because Triton decides when it is imported whether programs are interpreted.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import torch
from kernel_windows import OPTIONS, random_theta, random_window

from pympnode.engines.torch import eager, fused
from pympnode.engines.torch.fused_kernel import plan
from pympnode.engines.torch.window import Window
from pympnode.models.spec import ModelSpec

SERVED = [
    name
    for name, options in OPTIONS.items()
    if "solver" not in options and "stride" not in options and options.get("depth", 2) <= 2
]
# name: (nodes of the graphs, graph of each trajectory, largest size of a tile)
SHAPES: dict[str, tuple[list[int], list[int], int]] = {
    "one program": ([5], [0, 0, 0], 16),
    "several tiles, the last not full": ([5], [0] * 8, 16),
    "several graphs": ([4, 7, 1, 12], [1, 0, 3, 1, 1, 2, 3], 16),
    "wide tiles": ([3, 18], [0] * 12 + [1] * 2, 64),
    "a graph that fills a tile": ([16], [0, 0], 16),
    "64 nodes": ([64], [0], 64),
}


def moved(window: Window, device: str) -> Window:
    there = {
        name: value.to(device) if isinstance(value, torch.Tensor) else value
        for name, value in window.__dict__.items()
    }
    return Window(**there)


def compare(spec: ModelSpec, window: Window, theta: torch.Tensor, device: str) -> dict[str, Any]:
    """Largest differences relative to the largest number, and whether a second run repeats."""
    value, gradient = eager.loss_and_gradient(spec, theta, window)
    states = eager.rollout(spec, theta, window)
    there = moved(window, device)
    got, slope = fused.loss_and_gradient(spec, theta.to(device), there)
    again = fused.loss_and_gradient(spec, theta.to(device), there)
    found = fused.rollout(spec, theta.to(device), there).cpu()
    return {
        "loss": abs(got - value) / abs(value),
        "gradient": float((slope.cpu() - gradient).abs().max() / gradient.abs().max()),
        "rollout": float((found - states).abs().max() / states.abs().max()),
        "repeats": again[0] == got and torch.equal(again[1], slope),
    }


def main(device: str) -> None:
    torch.set_num_threads(1)
    rng = np.random.default_rng(5)
    found: dict[str, Any] = {}
    for name in SERVED:
        spec = ModelSpec(channels=3, message=2, hidden=20).replace(**OPTIONS[name])
        for dtype in (torch.float64, torch.float32):
            window = random_window(spec, rng, [4, 7], [1, 0, 1], 2, dtype, masked=True)
            theta = random_theta(spec, rng, dtype)
            found[f"{name}, {dtype}"] = compare(spec, window, theta, device)
    for name, (sizes, graph_of, widest) in SHAPES.items():
        spec = ModelSpec(channels=2, message=3, hidden=33, controls=1)
        plan.WIDEST, plan.PROGRAMS = widest, 1
        window = random_window(spec, rng, sizes, graph_of, 2, torch.float64)
        theta = random_theta(spec, rng, torch.float64)
        found[f"{name}, {torch.float64}"] = compare(spec, window, theta, device)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
