"""Losses of `pympnode.losses` on tensors of torch, for both halves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..errors import InvalidOption, unknown_name
from ..losses import Gaussian, Huber, Loss, OwnLoss, SquaredError

_EXACT = 1e-12  # of the variance in z units


def version_of(value: torch.Tensor) -> int:
    """How often a tensor was changed in place."""
    return 0 if value.is_inference() else value._version


class TensorLoss:
    """A loss for data with certain features.

    ``features`` names and ``scale`` (feature,) their units. Raises `UnknownName` for features that the data
    lack, `InvalidOption`.
    """

    def __init__(self, loss: Loss, features: Sequence[str], scale: Any) -> None:
        self.loss = loss
        for name in loss.of_features:
            if name not in features:
                raise unknown_name("feature in loss", name, features)
        weight = getattr(loss, "weight", None)
        self._weight = None
        if weight is not None:
            self._weight = np.array([weight.get(name, 1.0) for name in features])
            if not self._weight.any():
                raise InvalidOption(
                    "no feature counts in the loss",
                    got=f"weight={dict(weight)}",
                    allowed="a factor above 0",
                )
        std = getattr(loss, "std", None)
        if std is not None:
            lacking = [name for name in features if name not in std]
            if lacking:
                raise InvalidOption(
                    "std of a Gaussian loss has all features",
                    got=", ".join(std),
                    allowed=", ".join(features),
                    fix=f"give std of {', '.join(lacking)} too, or no std",
                )
            s = np.array([std[name] for name in features]) / np.asarray(scale)
            self._weight = 0.5 / np.square(s)

    def total_of_errors(
        self, error: torch.Tensor, known: torch.Tensor | None, axis: int
    ) -> torch.Tensor:
        """The sum over values of a loss of errors whose features lie along ``axis``."""
        loss = self.loss
        shape = [1] * error.dim()
        shape[axis] = -1
        if isinstance(loss, Gaussian) and loss.std is None:
            others = [n for n in range(error.dim()) if n != axis]
            square = error * error if known is None else error * error * known
            count = (torch.ones_like(error) if known is None else known).sum(others)
            mean = square.sum(others) / count.clamp(min=1.0)
            # A feature that is exact, as one that stands still, leaves the others their loss.
            power = torch.exp(torch.log(mean + _EXACT).mean())
            return power * error.numel()
        if isinstance(loss, Huber):
            values = torch.nn.functional.huber_loss(
                error, torch.zeros_like(error), reduction="none", delta=loss.delta
            )
        else:
            assert isinstance(loss, SquaredError | Gaussian)
            values = error * error
        if self._weight is not None:
            values = values * torch.as_tensor(self._weight).to(values).view(shape)
        return values.sum() if known is None else (values * known).sum()

    def total_of_function(
        self, predicted: torch.Tensor, truth: torch.Tensor, known: torch.Tensor | None
    ) -> torch.Tensor:
        """The sum of what a function of the user returns; tensors (trajectory, time, node, feature)."""
        loss = self.loss
        assert isinstance(loss, OwnLoss)
        mask = torch.ones_like(truth, dtype=torch.bool) if known is None else known > 0
        given = {"known": mask} if loss.takes_known else {}
        before = [version_of(each) for each in (predicted, truth)]
        values = loss.function(predicted, truth, **given)
        if before != [version_of(each) for each in (predicted, truth)]:
            raise InvalidOption(
                f"the loss {loss.label!r} changes its arguments, which are those of training",
                got="predicted or true states changed in place",
                allowed="a function that leaves its arguments alone",
                fix="p - y in place of p.sub_(y), or p = p.clone() first",
            )
        if not isinstance(values, torch.Tensor) or values.shape[:1] != truth.shape[:1]:
            raise InvalidOption(
                f"the loss {loss.label!r} returns something else than losses of trajectories",
                got=tuple(values.shape)
                if isinstance(values, torch.Tensor)
                else type(values).__name__,
                allowed=f"a tensor ({len(truth)}, ...), the trajectories first",
                fix='torch.nn.functional.mse_loss(p, y, reduction="none")',
            )
        if torch.is_grad_enabled() and predicted.requires_grad and not values.requires_grad:
            raise InvalidOption(
                f"the loss {loss.label!r} does not depend on the predicted states",
                got="a result without a gradient",
                allowed="operations of torch from the predicted states to the result",
                fix="leave detach(), .item() and numpy out of the function",
            )
        if values.shape == truth.shape:
            values = values * mask
        elif known is not None and not loss.takes_known and not bool(mask.all()):
            raise InvalidOption(
                f"values of the data are missing, and the loss {loss.label!r} does not take which",
                got=tuple(values.shape),
                allowed=f"a loss of each value, {tuple(truth.shape)}, or a function f(p, y, known)",
            )
        total = values.sum()
        if float(total.detach()) < 0:
            raise InvalidOption(
                "a loss is at least 0: runs are compared with baselines by ratios of losses",
                got=f"{float(total.detach()):.6g} of {loss.label!r}",
                allowed=">= 0",
                fix="leave the constant of a log-likelihood out, or take its exponential",
            )
        return total
