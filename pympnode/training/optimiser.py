"""Adam over flat parameter vectors, in NumPy, for the gradients of all engines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass
class Adam:
    """Kingma and Ba 2015, with bias correction; betas (0.9, 0.999), epsilon 1e-8.

    ``first``, ``second`` (member, size): the running moments; ``count`` updates done.
    """

    first: NDArray
    second: NDArray
    count: int = 0

    def update(self, theta: NDArray, gradient: NDArray, rate: NDArray) -> NDArray:
        """The next parameter vectors; ``theta``, ``gradient`` (member, size), ``rate`` (member,)."""
        beta1, beta2, epsilon = 0.9, 0.999, 1e-8
        self.count += 1
        self.first = (beta1 * self.first + (1 - beta1) * gradient).astype(theta.dtype)
        self.second = (beta2 * self.second + (1 - beta2) * gradient * gradient).astype(theta.dtype)
        scale = rate[:, None] / (1 - beta1**self.count)
        deviation = np.sqrt(self.second / (1 - beta2**self.count)) + epsilon
        return (theta - scale * self.first / deviation).astype(theta.dtype)


def clip(gradient: NDArray, norm: NDArray[np.float64], limit: float) -> NDArray:
    """``gradient`` (member, size) scaled down to a norm of at most ``limit``; ``norm`` (member,)."""
    # The larger of the two in the divisor: a norm of zero divides nothing by zero.
    factor = np.minimum(1.0, limit / np.maximum(norm, limit))
    return (gradient * factor[:, None]).astype(gradient.dtype)
