"""One training step as a CUDA graph: captured at the first call of a shape, replayed afterwards.

A step is some ten thousand small kernels; launched one by one they take longer than they run.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import OrderedDict
from typing import Any

import torch

from ....models.spec import ModelSpec
from ..window import Window

logger = logging.getLogger("pympnode.kernel")

_KEPT = 8  # captured graphs, each with its buffers
_captured: OrderedDict[tuple[Any, ...], _Captured | None] = OrderedDict()
_TENSORS = ("initial", "target", "control", "attribute", "mask")


class _Captured:
    """A step whose inputs are copied into fixed tensors before each replay."""

    def __init__(
        self, spec: ModelSpec, theta: torch.Tensor, window: Window, store: bool | None
    ) -> None:
        from ..adjoint import _kept, step

        self.theta = theta.clone()
        still: dict[str, Any] = {
            n: None if (v := getattr(window, n)) is None else v.clone() for n in _TENSORS
        }
        self.window = dataclasses.replace(window, **still)
        side = torch.cuda.Stream(device=theta.device)
        side.wait_stream(torch.cuda.current_stream(theta.device))
        with torch.cuda.stream(side):
            step(spec, self.theta, self.window, store)  # buffers, and cuBLAS's own, exist now
        torch.cuda.current_stream(theta.device).wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.value, self.gradient = step(spec, self.theta, self.window, store)
        # The graph writes to these buffers: keep them, and let nobody else take them.
        self.buffers = _kept.buffers
        _kept.key = _kept.buffers = None

    def replay(self, theta: torch.Tensor, window: Window) -> tuple[torch.Tensor, torch.Tensor]:
        self.theta.copy_(theta)
        for name in _TENSORS:
            fixed = getattr(self.window, name)
            if fixed is not None:
                fixed.copy_(getattr(window, name))
        self.graph.replay()
        return self.value.clone(), self.gradient.clone()


def replay(
    spec: ModelSpec, theta: torch.Tensor, window: Window, store: bool | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """`adjoint.step` through a captured graph; plainly where the device refuses to capture."""
    from ..adjoint import step

    # Step sizes and graphs are constants of a capture.
    key = (
        spec,
        store,
        window.initial.dtype,
        window.initial.device,
        tuple(window.dt),
        window.scale,
        window.mask is None,
        window.columns,
    )
    if key not in _captured:
        try:
            _captured[key] = _Captured(spec, theta, window, store)
        except RuntimeError as error:
            logger.warning("no CUDA graph for this step, which is slower without: %s", error)
            _captured[key] = None
        while len(_captured) > _KEPT:
            _captured.popitem(last=False)
    _captured.move_to_end(key)
    captured = _captured[key]
    if captured is None:
        return step(spec, theta, window, store)
    return captured.replay(theta, window)
