"""The fused kernel: one Triton program runs the whole window of one tile of trajectories.

A graph of a few nodes and the weights of the model fit in the registers and the shared memory of one
multiprocessor; a step of training is then one launch, instead of the ten thousand small ones whose
cost the torch kernel hides in a captured CUDA graph. The loss, the adjoint and the sums over the
parameters are those of the other kernels; see `fused_kernel.sweep`.

Never chosen by ``kernel="auto"``: it was tested in Triton's interpreter and compiled for a device,
and has not been run or measured on one.
"""

from __future__ import annotations

import importlib.util
import os
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from ...errors import EngineUnavailable
from ...models.layout import layout_of
from ...models.spec import ModelSpec
from ..tableaux import RK4
from . import eager
from .fused_kernel.plan import places_of, sizes_of, tiles_of
from .window import Window

WIDEST_HIDDEN = 64
MOST_NODES = 64
MOST_OUTPUTS = 128  # rows of the last layer with its padding
MOST_INPUTS = 64  # rows of [x; m], and of [u; b]
_RK4 = np.concatenate([[0.0], np.diag(RK4.a, -1), [0.0], RK4.b])
SENDS = {"zero": 0, "self": 1, "state": 2, "emitted": 3}


def supports(spec: ModelSpec) -> str | None:
    """None, or why this kernel cannot run ``spec``; graphs of more than 64 nodes are refused when
    they come."""
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed"
    if spec.family != "mpnode":
        return f"family={spec.family!r} is not served"
    if spec.solver != "rk4" or spec.stride != 1:
        return (
            f"solver={spec.solver!r} with stride={spec.stride} is not served, rk4 with stride=1 is"
        )
    if spec.depth > 2 or spec.hidden > WIDEST_HIDDEN:
        return (
            f"depth={spec.depth} with hidden={spec.hidden} does not fit, depth <= 2 with "
            f"hidden <= {WIDEST_HIDDEN} does"
        )
    sizes = sizes_of(spec)
    if max(sizes.rows, sizes.held) > MOST_INPUTS or sizes.slabs * sizes.rows > MOST_OUTPUTS:
        return "channels, messages, controls or attributes are too many for the registers"
    return None


def interpreted() -> bool:
    """Whether Triton runs its programs on the host (TRITON_INTERPRET=1), for tests."""
    return os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "yes", "on")


def runs_on(device: str) -> str | None:
    """None, or why this kernel cannot run on ``device``."""
    if device.startswith("cuda") or interpreted():
        return None
    return "it runs on a CUDA device only"


def loss_and_gradient(
    spec: ModelSpec, theta: torch.Tensor, window: Window, *, precision: str = "ieee"
) -> tuple[float, torch.Tensor]:
    """Huber loss of a window and its gradient (size,).

    ``precision`` is Triton's ``input_precision`` of the products: "ieee", or "tf32", which rounds
    the factors to 10 bits. Raises `EngineUnavailable` for a graph of more than 64 nodes.
    """
    theta = theta.detach().to(window.initial.dtype)
    start, learned = _start(spec, theta, window)
    partial, losses, lam, _ = _launch(
        spec, theta, window, start.detach(), gradient=True, learned=learned, precision=precision
    )
    gradient = partial.sum(dim=0)[places_of(spec, theta.device)] * window.scale
    if learned:
        (first,) = torch.autograd.grad(start, [learned[0]], lam * window.scale)
        gradient += first
    return float(losses.sum(dtype=torch.float64)) * window.scale, gradient


@torch.no_grad()
def rollout(
    spec: ModelSpec, theta: torch.Tensor, window: Window, *, precision: str = "ieee"
) -> torch.Tensor:
    """States z (T + 1, D, S), messages that are ODE states among them; no gradient."""
    theta = theta.detach().to(window.initial.dtype)
    start, _ = _start(spec, theta, window)
    *_, states = _launch(
        spec, theta, window, start, gradient=False, learned=[], precision=precision
    )
    return states[:: spec.substeps].contiguous()


def _start(
    spec: ModelSpec, theta: torch.Tensor, window: Window
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The rows of z(0) that are known, and what autograd needs for a learned first message.

    That message is made once a window and goes through autograd: a few launches more.
    """
    if not spec.carried or spec.first_message == "zero":
        return window.initial.contiguous(), []
    leaf = theta.clone().requires_grad_(True)
    return eager.Field(spec, layout_of(spec).unpack(leaf), window).first(window.initial), [leaf]


def _launch(
    spec: ModelSpec,
    theta: torch.Tensor,
    window: Window,
    start: torch.Tensor,
    *,
    gradient: bool,
    learned: list[torch.Tensor],
    precision: str,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """(sums over the parameters of each program, its loss, lam at time 0, states; between them
    the other points of the steps where a gradient was wanted)."""
    most = int(window.columns.nodes.max())
    if most > MOST_NODES:
        raise EngineUnavailable(
            'kernel="triton" holds a whole graph in one program',
            got=f"a graph of {most} nodes",
            allowed=f"at most {MOST_NODES} nodes",
            fix='give kernel="torch"',
        )
    from triton.runtime.errors import OutOfResources

    from .fused_kernel.sweep import window_program

    sizes, total = sizes_of(spec), window.columns.total
    tiles = tiles_of(window.columns, spec, theta)
    programs = len(tiles.table)
    weights = theta.new_zeros(sizes.total)
    weights.scatter_(0, places_of(spec, theta.device), theta)
    stored = window.steps * spec.substeps * (4 if gradient else 1) + 1
    states = theta.new_empty(stored, spec.states, total)
    partial = theta.new_zeros((programs, sizes.total) if gradient else (1,))
    losses = theta.new_empty(programs)
    lam = torch.empty_like(start) if learned else losses

    def given(values: torch.Tensor | None) -> torch.Tensor:
        return losses if values is None else values.contiguous()

    numbers = (
        weights, partial, losses, lam, states, start.contiguous(),
        given(window.target), given(window.mask), given(window.control), given(window.attribute),
        factors_of(window.dt.tobytes(), spec.substeps, theta.dtype, theta.device),
        tiles.table, tiles.matrix, total, window.steps,
    )  # fmt: skip
    fixed = constants(spec) | {
        "GRADIENT": gradient,
        "MASKED": window.mask is not None,
        "START": start.shape[0],
        "LEARNED": bool(learned),
        "COLUMNS": tiles.columns,
        "PRECISION": precision,
    }
    try:
        with torch.cuda.device_of(theta):  # Triton launches on the current device
            window_program[(programs,)](*numbers, **fixed, num_warps=warps(spec, tiles.columns))
    except OutOfResources as error:
        raise EngineUnavailable(
            "the fused program of this model does not fit this GPU",
            got=f"{error} ({theta.dtype}, tiles of {tiles.columns} columns)",
            allowed="a narrower model, smaller graphs, or float32",
            fix='give kernel="torch"',
        ) from error
    return partial, losses, lam, states


@lru_cache(maxsize=64)
def factors_of(dt: bytes, substeps: int, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """dt of each interval times the coefficients of a step (see `window_program`), on the device."""
    size = np.frombuffer(dt, dtype=np.float64)[:, None] / substeps
    return torch.as_tensor(size * _RK4, dtype=dtype, device=device)


def warps(spec: ModelSpec, columns: int) -> int:
    """Warps of a program. With these, ptxas for compute capability 9.0 keeps mixed coupling in
    registers up to hidden 32 or 16 columns; superposed coupling and what is wider spill some."""
    hidden = sizes_of(spec).hidden
    return 8 if hidden * (hidden + columns) <= 5120 else 16


def constants(spec: ModelSpec) -> dict[str, Any]:
    """What the program is compiled for, apart from the batch."""
    sizes = sizes_of(spec)
    found: dict[str, Any] = {
        "SENDS": SENDS[spec.messages],
        "SUPERPOSED": spec.coupling == "superposed",
        "DEEP": spec.depth == 2,
        "SLABS": sizes.slabs,
        "ROWS": sizes.rows,
        "HIDDEN": sizes.hidden,
        "HELD": sizes.held,
        "STATES": spec.states,
        "CHANNELS": spec.channels,
        "MESSAGE": spec.message,
        "CONTROLS": spec.controls,
        "ATTRIBUTES": spec.attributes,
        "SUBSTEPS": spec.substeps,
        "SIZE": sizes.total,
    }
    at = dict.fromkeys(("EMIT_Z", "EMIT_HELD", "EMIT_BIAS_1", "EMIT_LAST", "EMIT_BIAS_2"), 0)
    place = 0
    for name, (rows, columns) in sizes.shapes.items():
        at[name.upper()] = place
        place += rows * columns
    return found | at
