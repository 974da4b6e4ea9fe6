"""Losses of `pympnode.losses` on steps of particles."""

from __future__ import annotations

import torch
from torch import Tensor

from ...errors import InvalidOption
from ...losses import Gaussian, Loss, OwnLoss
from ...training.tensor_loss import TensorLoss
from ..spec import ParticleSpec
from .batch import ParticleBatch

FEATURES = ("position", "velocity")


class StepLoss:
    """A loss of single steps, the mean over the particles that are not fixed, their axes and features.

    Models with scaled inputs have one error, that of the velocity change in the unit of the model; plain
    inputs have those of position and velocity, whose features are "position" and "velocity". A function
    of the user takes tensors (trajectory, time, particle, axis) with one time, of plain inputs (trajectory,
    time, particle, 2 axes) with positions first. Raises `InvalidOption` for numbers by feature where there
    is one.
    """

    def __init__(self, loss: Loss, spec: ParticleSpec) -> None:
        scaled = spec.inputs == "scaled"
        if scaled and (loss.of_features or isinstance(loss, Gaussian)):
            raise InvalidOption(
                "a step of a model with scaled inputs has one error, that of the velocity change",
                got=f"loss={loss!r}",
                allowed='"mse", "huber", or a function f(p, y)',
                fix="leave numbers of features out; a Gaussian loss with one standard deviation is "
                '"mse" but for a factor',
            )
        self.loss = loss
        names = FEATURES[1:] if scaled else FEATURES
        # Plain inputs are in the units of the data.
        self._of_tensors = TensorLoss(loss, names, [1.0] * len(names))

    def of_step(
        self, error: tuple[Tensor, ...], true: tuple[Tensor, ...], batch: ParticleBatch
    ) -> Tensor:
        """The loss, a scalar, of errors and true values (particle, axis) of each feature."""
        errors = torch.stack(error)  # (feature, particle, axis)
        known = None
        if batch.free is not None:
            known = batch.free[None, :, None].expand_as(errors)
        count = errors.numel() if known is None else known.sum().clamp_min(1)
        if not isinstance(self.loss, OwnLoss):
            return self._of_tensors.total_of_errors(errors, known, axis=0) / count
        sets = len(batch.sizes)
        y = torch.cat(true, dim=-1).view(sets, 1, -1, len(true) * errors.shape[2])
        p = y + torch.cat(error, dim=-1).view_as(y)
        if known is not None:
            known = torch.cat(tuple(known), dim=-1).reshape(y.shape)
        return self._of_tensors.total_of_function(p, y, known) / count
