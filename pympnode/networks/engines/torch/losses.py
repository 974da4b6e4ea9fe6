"""Losses of `pympnode.losses` on windows of the torch engine, and on arrays for baselines."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ....losses import Loss, OwnLoss
from ....training.tensor_loss import TensorLoss
from ...normalise import Normalisation
from .window import Window


class Measure(TensorLoss):
    """A loss for data with certain features: of windows (`of_window`) and of arrays (`of_arrays`).

    ``features`` names and ``scale`` (feature,) z scores; ``circular`` numbers the features that are
    angles in radians. Raises `UnknownName` for features that the data lack, `InvalidOption`.
    """

    def __init__(
        self,
        loss: Loss,
        features: Sequence[str],
        scale: Normalisation,
        circular: tuple[int, ...] = (),
    ) -> None:
        super().__init__(loss, features, scale.scale)
        self.circular = circular

    def of_window(self, predicted: torch.Tensor, window: Window) -> torch.Tensor:
        """The loss (a scalar) of states ``predicted`` (time, feature, column) at times 1.. of a window."""
        assert window.target is not None
        target = window.target[1:]
        known = None if window.mask is None else window.mask[1:]
        if self.circular:
            channels = list(self.circular)
            turns = torch.round((predicted - target)[:, channels] / (2 * math.pi))
            predicted = predicted.clone()
            predicted[:, channels] = predicted[:, channels] - 2 * math.pi * turns.detach()
        if isinstance(self.loss, OwnLoss):
            total = predicted.new_zeros(())
            for nodes, width, offset, _ in window.columns.blocks():
                parts = [
                    None
                    if values is None
                    else values[:, :, offset : offset + nodes * width]
                    .unflatten(2, (nodes, width))
                    .permute(3, 0, 2, 1)
                    for values in (predicted, target, known)
                ]
                total = total + self.total_of_function(*parts)  # type: ignore[arg-type]
            return total * window.scale
        return self.total_of_errors(predicted - target, known, axis=1) * window.scale

    def of_arrays(self, predicted: NDArray, truth: NDArray) -> float:
        """The summed loss over all nodes and trajectories of states (trajectory, time, node, feature);
        NaN in ``truth`` is missing."""
        known = np.isfinite(truth)
        p, y, k = (
            torch.from_numpy(np.array(each, dtype=np.float64))
            for each in (np.where(known, predicted, 0.0), np.where(known, truth, 0.0), known)
        )
        with torch.no_grad():
            if isinstance(self.loss, OwnLoss):
                return float(self.total_of_function(p, y, k))
            return float(self.total_of_errors(p - y, k, axis=3))
