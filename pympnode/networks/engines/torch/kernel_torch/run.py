"""The torch kernel: loss and exact discrete gradient by a hand-written adjoint, CPU and GPU.

No graph is recorded: the forward sweep leaves each stage's layers in buffers made once, the reverse
sweep walks back through them. Where all stages of a window would take more than `STORE_BYTES`, the
window is cut into segments; the states at the grid times are kept, and each segment runs again
before it is walked back.
"""

from __future__ import annotations

import threading
from typing import Any

import torch

from ....spec import ModelSpec
from ...tableaux import TABLEAUX, Steps
from ..window import Window
from .field import Field, Slots, run, run_back
from .logistic import Network
from .neighbours import Neighbours

STORE_BYTES = 80_000_000
"""Stages are stored up to this many bytes at once, on CPU; a GPU takes a quarter of its memory."""


def supports(spec: ModelSpec) -> str | None:
    """None, or why this kernel cannot run ``spec``.

    ``family="node"`` is run as the mpnode without messages that it is, on one node.
    """
    if spec.family == "l2s":
        return f"family={spec.family!r} runs through autograd"
    return None


@torch.no_grad()
def loss_and_gradient(
    spec: ModelSpec, theta: torch.Tensor, window: Window, *, store: bool | None = None
) -> tuple[float, torch.Tensor]:
    """Huber loss of a window and its gradient (size,).

    ``store`` keeps every stage (True) or one step's (False); None decides by memory.
    """
    length = segment(spec, window, store)
    sweep = Sweep(spec, theta.detach(), window, length, backward=True)
    steps, states = len(sweep.dt), sweep.states
    sweep.begin(states[0])
    starts = list(range(0, steps, length))
    for start in starts:
        for t in range(start, min(start + length, steps)):
            sweep.step(t, states, t - start)
    sweep.lam.zero_()
    for start in reversed(starts):
        stop = min(start + length, steps)
        if start != starts[-1]:
            for t in range(start, stop):
                sweep.step(t, states, t - start, again=True)
        for t in range(stop - 1, start - 1, -1):
            sweep.step_back(t, t - start)
    sweep.begin_back()
    return float(sweep.loss * window.scale), sweep.network.gradient()


@torch.no_grad()
def rollout(spec: ModelSpec, theta: torch.Tensor, window: Window) -> torch.Tensor:
    """States z (T + 1, D, S), messages that are ODE states among them; no gradient."""
    sweep = Sweep(spec, theta.detach(), window, 1, backward=False)
    states = window.initial.new_empty(window.steps + 1, spec.states, window.columns.total)
    sweep.begin(states[0])
    for t in range(len(sweep.dt)):
        sweep.step(t, states, 0)
    return states


class WindowLoss(torch.autograd.Function):
    """The loss of a window as a torch function of ``theta``, for use inside larger graphs.

    ``WindowLoss.apply(theta, spec, window)``; differentiable once.
    """

    @staticmethod
    def forward(ctx: Any, theta: torch.Tensor, spec: ModelSpec, window: Window) -> torch.Tensor:
        value, gradient = loss_and_gradient(spec, theta, window)
        ctx.save_for_backward(gradient)
        return theta.new_tensor(value)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, bar: torch.Tensor) -> tuple[torch.Tensor, None, None]:  # type: ignore
        (gradient,) = ctx.saved_tensors
        return bar * gradient, None, None


def segment(spec: ModelSpec, window: Window, store: bool | None) -> int:
    """Steps (intervals, unless ``spec.stride`` is more than 1) whose stages are stored at once."""
    steps = max(1, -(-window.steps // spec.stride))
    if store is not None:
        return steps if store else 1
    per = TABLEAUX[spec.solver].stages * spec.substeps
    rows = spec.inputs + 1 + spec.depth * (spec.hidden + 1)
    if spec.coupling == "superposed":
        rows += spec.outputs + spec.message
    if spec.messages == "emitted":
        rows += spec.channels + spec.attributes + spec.hidden + 2
    bytes_each = per * rows * window.columns.total * window.initial.element_size()
    limit = STORE_BYTES
    if window.initial.is_cuda:
        limit = torch.cuda.get_device_properties(window.initial.device).total_memory // 4
    return int(min(max(1, limit // bytes_each), steps))


class _Kept(threading.local):
    """Buffers of the last sweep of a thread."""

    key: tuple[Any, ...] | None = None
    buffers: tuple[Slots, Field, dict[str, torch.Tensor]] | None = None


_kept = _Kept()


class Sweep:
    """One window with its buffers; ``length`` steps have their stages stored at once."""

    states: torch.Tensor
    at: torch.Tensor
    again: torch.Tensor
    first: torch.Tensor
    seen: torch.Tensor
    lam: torch.Tensor
    k_bar: torch.Tensor
    rest: torch.Tensor
    inside_bar: torch.Tensor

    def __init__(
        self, spec: ModelSpec, theta: torch.Tensor, window: Window, length: int, *, backward: bool
    ) -> None:
        self.spec, self.window = spec, window
        self.tableau = TABLEAUX[spec.solver]
        self.a = [[float(v) for v in row] for row in self.tableau.a]
        self.b = [float(v) for v in self.tableau.b]
        self.stages = self.tableau.stages
        self.steps = Steps.over(self.tableau, window.dt, spec.stride)
        self.dt = [float(v) / spec.substeps for v in self.steps.size]
        self.inside = self.steps.inside.tolist()
        self.per = self.stages * spec.substeps
        like = window.initial
        self._buffers(length, backward, like)
        self.network = Network(spec, theta.to(like.dtype))
        neighbours = window.columns.__dict__.setdefault("_torch_neighbours", {})
        key = (spec.aggregation, spec.divisor, like.dtype, like.device)
        if key not in neighbours:
            neighbours[key] = Neighbours(window.columns, spec.aggregation, spec.divisor, like)
        self.field.use(self.network, neighbours[key])
        if spec.attributes:
            at = spec.channels + spec.controls
            assert window.attribute is not None
            self.slots.inputs[:, at : at + spec.attributes] = window.attribute
            if spec.messages == "emitted":
                for block in self.slots.seen:
                    block[spec.channels : -1].copy_(window.attribute)

    def _buffers(self, length: int, backward: bool, like: torch.Tensor) -> None:
        spec, total = self.spec, self.window.columns.total
        steps = self.window.steps if backward else 0
        # The divisor is no size; a model that differs in nothing else uses the same buffers.
        key = (spec.replace(divisor=1.0), length, steps, total, like.dtype, like.device)
        if _kept.key != key:
            _kept.key = _kept.buffers = None
            named = {
                "at": like.new_empty(spec.states, total),
                "k": like.new_empty(self.stages, spec.states, total),
                "again": like.new_empty(spec.states, total),
                "first": like.new_ones(spec.hidden + 1, total),
                "seen": like.new_ones(spec.channels + spec.attributes + 1, total),
            }
            if backward:
                named["states"] = like.new_empty(steps + 1, spec.states, total)
                named["lam"] = like.new_empty(spec.states, total)
                named["k_bar"] = like.new_empty(spec.states, total)
                named["z_bar"] = like.new_empty(self.stages, spec.states, total)
                if spec.stride > 1:
                    # What the losses inside a step add to its start, and to each of its slopes.
                    named["inside_bar"] = like.new_empty(self.stages + 1, spec.channels, total)
                named["rest"] = like.new_empty(2, spec.channels, total)
            slots = Slots(spec, length * self.per, total, like)
            _kept.key, _kept.buffers = key, (slots, Field(spec, total, like), named)
        assert _kept.buffers is not None
        self.slots, self.field, named = _kept.buffers
        for name, buffer in named.items():
            setattr(self, name, buffer)
        self.k = list(named["k"])
        self.z_bar = list(named["z_bar"]) if backward else []
        self.loss = torch.zeros((), dtype=torch.float64, device=like.device)

    def begin(self, z: torch.Tensor) -> None:
        """``z`` (D, S) = the initial state, first message included."""
        spec = self.spec
        z[: spec.channels].copy_(self.window.initial)
        if not self.network.first:
            z[spec.channels :].zero_()
            return
        self.seen[: spec.channels].copy_(self.window.initial)
        if self.window.attribute is not None:
            self.seen[spec.channels : -1].copy_(self.window.attribute)
        run(self.network.first, self.seen, [self.first], z[spec.channels :])

    def begin_back(self) -> None:
        """The first message's part of the gradient."""
        if self.network.first:
            run_back(
                self.network.first,
                self.seen,
                [self.first],
                self.lam[self.spec.channels :],
                self.field.hidden_bar[:1],
                None,
            )

    def step(self, t: int, states: torch.Tensor, place: int, again: bool = False) -> None:
        """Step number t from its state in ``states``, its stages in the slots of ``place``.

        With ``again`` only the stages are wanted, and nothing is written to ``states``.
        """
        spec = self.spec
        slot = place * self.per
        start, stop = int(self.steps.first[t]), int(self.steps.first[t + 1])
        if spec.controls:
            rows = slice(spec.channels, spec.channels + spec.controls)
            assert self.window.control is not None
            self.slots.inputs[slot : slot + self.per, rows] = self.window.control[start]
        dt = self.dt[t]
        z, after = states[start], self.again if again else states[stop]
        for sub in range(spec.substeps):
            for i in range(self.stages):
                at = z
                for j, weight in enumerate(self.a[i][:i]):
                    if weight != 0.0:
                        at = torch.add(at, self.k[j], alpha=dt * weight, out=self.at)
                self.field(at, self.slots, slot, self.k[i])
                slot += 1
            if again and sub == spec.substeps - 1:
                return
            for inner in range(start, stop - 1):
                torch.add(z, self.k[0], alpha=self.inside[inner][0], out=states[inner + 1])
                for weight, k in zip(self.inside[inner][1:], self.k[1:]):
                    states[inner + 1].add_(k, alpha=weight)
            for weight, k in zip(self.b, self.k):
                z = torch.add(z, k, alpha=dt * weight, out=after)

    def step_back(self, t: int, place: int) -> None:
        """``lam`` after step t becomes ``lam`` before it, the losses at its times included."""
        dt = self.dt[t]
        slot = (place + 1) * self.per
        start, stop = int(self.steps.first[t]), int(self.steps.first[t + 1])
        channels = self.spec.channels
        self.lam[:channels].add_(self.compare(stop), alpha=self.window.scale)
        many = stop - start > 1
        if many:
            self.inside_bar.zero_()
            for inner in range(start, stop - 1):
                slope = self.compare(inner + 1)
                for weight, bar in zip([1.0, *self.inside[inner]], self.inside_bar):
                    bar.add_(slope, alpha=weight * self.window.scale)
        for _ in range(self.spec.substeps):
            for i in range(self.stages - 1, -1, -1):
                slot -= 1
                torch.mul(self.lam, dt * self.b[i], out=self.k_bar)
                if many:
                    self.k_bar[:channels].add_(self.inside_bar[i + 1])
                for j in range(i + 1, self.stages):
                    if self.a[j][i] != 0.0:
                        self.k_bar.add_(self.z_bar[j], alpha=dt * self.a[j][i])
                self.field.back(self.k_bar, self.slots, slot, self.z_bar[i])
            for bar in self.z_bar:
                self.lam.add_(bar)
        if many:
            self.lam[:channels].add_(self.inside_bar[0])

    def compare(self, t: int) -> torch.Tensor:
        """Add the Huber loss at time t; its slope (d, S), not yet scaled."""
        window, channels = self.window, self.spec.channels
        assert window.target is not None
        rest, slope = self.rest
        torch.sub(self.states[t, :channels], window.target[t], out=rest)
        torch.clamp(rest, -1, 1, out=slope)
        rest.add_(slope, alpha=-0.5)
        if window.mask is not None:
            slope.mul_(window.mask[t])
        self.loss.add_(torch.dot(slope.view(-1), rest.view(-1)))
        return slope
