"""A graph of each trajectory, with functions that all trajectories share: ``topology="learn each"``.

The derivative of node i is F(x_i) + A(x_i) sum_j w_ij g(x_j), in which F, A and g are sums of a linear
function and a perceptron, and w is a matrix of weights of each trajectory. Given the functions, the
weights into a node are the solution of a non-negative least-squares problem of few unknowns (Lawson and
Hanson 1974), so that the mean square error depends on the functions alone (variable projection, Golub
and Pereyra 1973). L-BFGS minimises it over the functions: first with all weights 1, where the sum is
that of a mean field, because from random functions the weights are arbitrary and the minimum is local.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize, nnls

from ..layout import Layout
from ..training.progress import Progress

logger = logging.getLogger("pympnode.networks")

_HIDDEN, _MESSAGE = 32, 6
_MEAN_FIELD, _ITERATIONS = 100, 500  # of L-BFGS, at most
_RIDGE = 1e-9  # of the mean diagonal of normal equations, where senders cannot be told apart
_SMALLEST_ERROR = (
    0.002  # of derivatives, in units of their root mean square: smaller ones are equal
)


@dataclass(frozen=True, eq=False)
class Samples:
    """States in time: ``inputs`` (trajectory, time, node, input) of the functions, ``slope``
    (trajectory, time, node, feature), NaN where it is not known, and the ``error`` (time,) of slopes."""

    inputs: NDArray[np.float64]
    slope: NDArray[np.float64]
    error: NDArray[np.float64]

    @property
    def nodes(self) -> int:
        """Number of nodes."""
        return self.slope.shape[2]

    def of(self, index: NDArray[np.int64]) -> Samples:
        """Those of some trajectories."""
        return Samples(self.inputs[index], self.slope[index], self.error)


class Functions:
    """The functions F, A and g, and the weights that fit them best.

    A derivative counts by 1 / (e0^2 + error^2), in which e0 is the error of most of them: the first and
    the last times of a trajectory have larger ones.
    """

    def __init__(self, inputs: int, features: int) -> None:
        self.features = features
        self.outputs = features * (1 + _MESSAGE)
        self.layout = Layout(
            {
                "f1": (inputs, _HIDDEN), "f1_bias": (_HIDDEN,), "f2": (_HIDDEN, _HIDDEN),
                "f2_bias": (_HIDDEN,), "f3": (_HIDDEN, self.outputs), "f3_bias": (self.outputs,),
                "f_linear": (inputs, self.outputs), "g1": (inputs, _HIDDEN), "g1_bias": (_HIDDEN,),
                "g2": (_HIDDEN, _MESSAGE), "g2_bias": (_MESSAGE,), "g_linear": (inputs, _MESSAGE),
            }
        )  # fmt: skip

    def initial(self, rng: np.random.Generator) -> NDArray[np.float64]:
        """Random weights of the functions; the perceptrons begin small beside the linear functions."""
        theta = np.zeros(self.layout.size)
        for name, values in self.layout.unpack(theta).items():
            fan = values.shape[0] if values.ndim == 2 else _HIDDEN
            small = 0.1 if name.startswith(("f3", "g2")) else 1.0
            values[...] = small * rng.uniform(-1, 1, values.shape) / np.sqrt(fan)
        return theta

    def loss(
        self, theta: NDArray[np.float64], samples: Samples, mean_field: bool = False
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """The mean square error, its gradient, and the weights (trajectory, receiver, sender)."""
        p, z = self.layout.unpack(theta), samples.inputs
        trajectories, _, nodes, _ = z.shape
        h1 = np.tanh(z @ p["f1"] + p["f1_bias"])
        h2 = np.tanh(h1 @ p["f2"] + p["f2_bias"])
        out = h2 @ p["f3"] + p["f3_bias"] + z @ p["f_linear"]
        k = np.tanh(z @ p["g1"] + p["g1_bias"])
        sent = (k @ p["g2"] + p["g2_bias"] + z @ p["g_linear"]) / nodes
        own = out[..., : self.features]
        gain = out[..., self.features :].reshape(*z.shape[:-1], self.features, _MESSAGE)
        known = np.isfinite(samples.slope)
        usual = max(float(np.median(samples.error)), _SMALLEST_ERROR)
        trust = usual / np.sqrt(usual**2 + samples.error**2)
        scale = np.where(known, trust[:, None, None], 0.0)
        rest = np.where(known, samples.slope - own, 0.0)
        if mean_field:
            weight = np.broadcast_to(1.0 - np.eye(nodes), (trajectories, nodes, nodes))
        else:
            weight = _weights(gain, sent, rest, scale)
        received = weight[:, None] @ sent
        error = scale * ((gain @ received[..., None])[..., 0] - rest)
        count = known.sum()
        slope = (2 / count) * scale * error
        to_gain = (slope[..., None] * received[..., None, :]).reshape(*z.shape[:-1], -1)
        to_out = np.concatenate([slope, to_gain], axis=-1)
        to_received = (slope[..., None, :] @ gain)[..., 0, :]
        to_sent = (weight.transpose(0, 2, 1)[:, None] @ to_received) / nodes
        gradient = np.zeros_like(theta)
        into = self.layout.unpack(gradient)

        def layer(name: str, inputs: NDArray, to: NDArray, bias: bool = True) -> None:
            flat = to.reshape(-1, to.shape[-1])
            into[name][...] = inputs.reshape(-1, inputs.shape[-1]).T @ flat
            if bias:
                into[f"{name}_bias"][...] = flat.sum(axis=0)

        layer("f_linear", z, to_out, False)
        layer("f3", h2, to_out)
        to_h2 = (to_out @ p["f3"].T) * (1 - h2 * h2)
        layer("f2", h1, to_h2)
        layer("f1", z, (to_h2 @ p["f2"].T) * (1 - h1 * h1))
        layer("g_linear", z, to_sent, False)
        layer("g2", k, to_sent)
        layer("g1", z, (to_sent @ p["g2"].T) * (1 - k * k))
        # The weights are those of the smallest error: that they follow the functions changes nothing.
        return float((error * error).sum() / count), gradient, weight


def _weights(gain: NDArray, sent: NDArray, rest: NDArray, scale: NDArray) -> NDArray[np.float64]:
    """Non-negative weights (trajectory, receiver, sender) of the smallest error."""
    trajectories, _, nodes, _ = rest.shape
    weight = np.zeros((trajectories, nodes, nodes))
    for node in range(nodes):
        others = np.arange(nodes) != node
        # (trajectory, time, feature, sender)
        matrix = gain[:, :, node] @ sent[:, :, others].transpose(0, 1, 3, 2)
        matrix = (scale[:, :, node, :, None] * matrix).reshape(trajectories, -1, nodes - 1)
        right = (scale[:, :, node] * rest[:, :, node]).reshape(trajectories, -1, 1)
        products = matrix.transpose(0, 2, 1) @ matrix
        ridge = _RIDGE * np.trace(products, axis1=1, axis2=2) / (nodes - 1) + 1e-300
        products += ridge[:, None, None] * np.eye(nodes - 1)
        lower = np.linalg.cholesky(products)
        image = np.linalg.solve(lower, matrix.transpose(0, 2, 1) @ right)[..., 0]
        for number in range(trajectories):
            weight[number, node, others] = nnls(
                lower[number].T, image[number], maxiter=100 * nodes
            )[0]
    return weight


def fit(
    samples: Samples,
    rng: np.random.Generator,
    progress: Progress,
) -> tuple[Functions, NDArray[np.float64], float]:
    """The functions that fit ``samples`` best, their weights, and the mean square error."""
    functions = Functions(samples.inputs.shape[-1], samples.slope.shape[-1])

    def stage(mean_field: bool) -> Callable[[NDArray], tuple[float, NDArray]]:
        return lambda theta: functions.loss(theta, samples, mean_field)[:2]

    theta, done = functions.initial(rng), 0
    progress.start(_MEAN_FIELD + _ITERATIONS, 0, "learning a graph of each trajectory")

    def count(intermediate_result: OptimizeResult) -> None:
        nonlocal done
        done += 1
        progress.update(done, {"loss": float(intermediate_result.fun)})

    options = {"maxcor": 50, "ftol": 1e-12, "gtol": 1e-12}
    value = np.inf
    for mean_field, most in ((True, _MEAN_FIELD), (False, _ITERATIONS)):
        found = minimize(
            stage(mean_field), theta, jac=True, method="L-BFGS-B",
            options={**options, "maxiter": most, "maxfun": 2 * most}, callback=count,
        )  # fmt: skip
        theta, value = found.x, float(found.fun)
        logger.info(
            "a graph of each trajectory, %s: mean square residual %.3g after %d iterations",
            "equal weights" if mean_field else "learned weights", value, found.nit,
        )  # fmt: skip
    progress.stop()
    return functions, theta, value
