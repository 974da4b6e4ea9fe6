"""The same training step written with solver libraries, and the least work a step can cost."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from pympnode.networks.engines.torch.window import Window
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of

BOUNDS = ("GEMM-and-tanh bound, whole batch", "GEMM-and-tanh bound, tiles in cache")


def candidates(
    spec: ModelSpec, theta: torch.Tensor, window: Window
) -> dict[str, Callable[..., Any]]:
    """Steps by the libraries that are installed. Called with ``full=True`` they return the states
    (T + 1, d, S) and the flat gradient instead of nothing."""
    out: dict[str, Callable[..., Any]] = {}
    for peer in ("torchdiffeq", "diffrax"):
        if not importlib.util.find_spec(peer):
            print(f"{peer} is left out: it is not installed")
    if importlib.util.find_spec("torchdiffeq"):
        for name, restart in (
            ("torchdiffeq dopri5 1e-4, restarted per dt", True),
            ("torchdiffeq rk4, same grid", False),
        ):
            out[name] = _torchdiffeq(spec, theta, window, restart)
    if importlib.util.find_spec("diffrax"):
        out["diffrax Tsit5, constant dt"] = _diffrax(spec, theta, window)
    return out


def _trajectories(values: torch.Tensor, window: Window) -> torch.Tensor:
    """(time, feature, column) to (time, trajectory, node, feature), one graph."""
    time, feature, _ = values.shape
    nodes, width = int(window.columns.nodes[0]), int(window.columns.width[0])
    return values.reshape(time, feature, nodes, width).permute(0, 3, 2, 1).contiguous()


def _columns(values: torch.Tensor) -> torch.Tensor:
    return values.permute(0, 3, 2, 1).reshape(values.shape[0], values.shape[3], -1)


def _torchdiffeq(
    spec: ModelSpec, theta: torch.Tensor, window: Window, restart: bool
) -> Callable[..., Any]:
    from torchdiffeq import odeint

    layout = layout_of(spec)
    assert window.target is not None
    target = _trajectories(window.target, window)
    x0 = _trajectories(window.initial.unsqueeze(0), window)[0]
    matrix = torch.as_tensor(
        window.columns.matrices(spec.aggregation, spec.divisor)[0], dtype=x0.dtype
    )
    times = torch.as_tensor(np.concatenate([[0.0], np.cumsum(window.dt)]), dtype=x0.dtype)
    d = spec.channels

    def run(full: bool = False) -> Any:
        vector = theta.detach().requires_grad_(True)
        weights = layout.unpack(vector)

        def field(t: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
            values = torch.cat([z[..., :d], matrix @ z[..., d:]], dim=-1)
            for number in range(1, spec.depth + 2):
                name = f"layer_{number}_"
                values = torch.nn.functional.linear(
                    values, weights[f"{name}weight"], weights[f"{name}bias"]
                )
                if number <= spec.depth:
                    values = torch.tanh(values)
            return values

        z = torch.cat([x0, x0.new_zeros(*x0.shape[:-1], spec.message)], dim=-1)
        if restart:
            states = [z]
            for t in range(window.steps):
                z = odeint(field, z, times[t : t + 2], rtol=1e-4, atol=1e-4, method="dopri5")[-1]
                states.append(z)
            solution = torch.stack(states)
        else:
            solution = odeint(field, z, times, method="rk4")
        loss = torch.nn.functional.huber_loss(solution[1:, ..., :d], target[1:], reduction="sum")
        (gradient,) = torch.autograd.grad(loss * window.scale, vector)
        return (_columns(solution.detach()[..., :d]), gradient) if full else None

    return run


def _diffrax(spec: ModelSpec, theta: torch.Tensor, window: Window) -> Callable[..., Any]:
    import diffrax
    import jax
    import jax.numpy as jnp

    layout = layout_of(spec)
    assert window.target is not None
    target = jnp.asarray(_trajectories(window.target, window).numpy())
    x0 = jnp.asarray(_trajectories(window.initial.unsqueeze(0), window)[0].numpy())
    matrix = jnp.asarray(window.columns.matrices(spec.aggregation, spec.divisor)[0], dtype=x0.dtype)
    times = jnp.asarray(np.concatenate([[0.0], np.cumsum(window.dt)]), dtype=x0.dtype)
    vector = jnp.asarray(theta.numpy())
    d, scale = spec.channels, window.scale

    def field(t: Any, z: Any, weights: Any) -> Any:
        values = jnp.concatenate([z[..., :d], matrix @ z[..., d:]], axis=-1)
        for number in range(1, spec.depth + 2):
            name = f"layer_{number}_"
            values = values @ weights[f"{name}weight"].T + weights[f"{name}bias"]
            if number <= spec.depth:
                values = jnp.tanh(values)
        return values

    def loss(vector: Any) -> Any:
        z0 = jnp.concatenate([x0, jnp.zeros((*x0.shape[:-1], spec.message), x0.dtype)], axis=-1)
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Tsit5(),
            t0=times[0],
            t1=times[-1],
            dt0=None,
            y0=z0,
            args=layout.unpack(vector),
            saveat=diffrax.SaveAt(t0=True, steps=True),
            stepsize_controller=diffrax.StepTo(ts=times),
            max_steps=window.steps,
        ).ys[..., :d]
        rest = solution[1:] - target[1:]
        near = jnp.clip(rest, -1, 1)
        return scale * jnp.sum(near * (rest - near / 2)), solution

    step = jax.jit(jax.value_and_grad(loss, has_aux=True))

    def run(full: bool = False) -> Any:
        (_, solution), gradient = jax.block_until_ready(step(vector))
        if full:
            return _columns(torch.as_tensor(np.array(solution))), torch.as_tensor(
                np.array(gradient)
            )
        return None

    return run


def bound(spec: ModelSpec, window: Window) -> dict[str, Callable[[], Any]]:
    """The matrix products and tanhs of a step alone: by BLAS, tanh by our loop.

    Forward Y = W X, back X' = W' Y' and W' += Y' X' for each layer, for every stage and interval; on
    all columns at once, and on 320 at a time, which is as fast as BLAS goes here.
    """
    total = window.columns.total
    tile = next(n for n in range(min(320, total), 0, -1) if total % n == 0)
    return {
        BOUNDS[0]: _products(spec, window, total),
        BOUNDS[1]: _products(spec, window, tile),
    }


def _products(spec: ModelSpec, window: Window, columns: int) -> Callable[[], Any]:
    from scipy.linalg.blas import sgemm

    from pympnode.networks.engines.torch.kernel_numba.machine import compiled, entry
    from pympnode.networks.engines.torch.kernel_numba.tanh import tanh_in_place

    @compiled
    def tanh_part(values):  # type: ignore
        tanh_in_place(values, 0, len(values))

    @entry
    def tanh(values):  # type: ignore
        tanh_part(values)

    rng = np.random.default_rng(0)
    count = window.steps * 4 * (window.columns.total // columns)
    widths = [spec.inputs, *[spec.hidden] * spec.depth, spec.outputs]

    def array(rows: int, columns: int) -> Any:
        return np.asfortranarray(rng.standard_normal((rows, columns)).astype(np.float32))

    layers = [
        (array(o, i), array(i, o), array(i, columns), array(o, columns), array(o, i))
        for i, o in pairwise(widths)
    ]
    hidden = np.zeros(spec.depth * spec.hidden * columns, dtype=np.float32)

    def run() -> None:
        for _ in range(count):
            for weight, turned, x, y, gradient in layers:
                sgemm(1.0, weight, x, c=y, overwrite_c=1)
                sgemm(1.0, turned, y, c=x, overwrite_c=1)
                sgemm(1.0, y, x, trans_b=1, c=gradient, overwrite_c=1)
            tanh(hidden)

    return run
