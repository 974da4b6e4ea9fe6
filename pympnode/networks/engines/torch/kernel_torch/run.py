"""The torch kernel: loss and exact discrete gradient by a hand-written adjoint, CPU and GPU.

No graph is recorded: the forward sweep writes each stage's layers into buffers made once, the reverse
sweep reads them. Where all stages of a window would take more than `STORE_BYTES`, the window is cut
into segments; the states at the grid times are kept, and the stages of each segment are computed
again before its reverse sweep.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import torch

from ....spec import ModelSpec
from ...tableaux import TABLEAUX, Steps
from ..window import Window
from .field import Field, Slots, backward, by_edges, forward
from .kinds import Kinds, Order
from .logistic import networks_of

STORE_BYTES = 80_000_000
"""Stages are stored up to this many bytes at once, on CPU; a GPU takes a quarter of its memory."""


def supports(spec: ModelSpec) -> str | None:
    """None, or why this kernel cannot run ``spec``.

    ``family="node"`` is run as the mpnode without messages that it is, on one node, and a model with
    ``relative`` channels or several types of nodes in its plain form (`..plain`).
    """
    if spec.family in ("l2s", "own"):
        return f"family={spec.family!r} runs through autograd"
    if spec.circular:
        return "circular features run through autograd"
    return None


@torch.no_grad()
def loss_and_gradient(
    spec: ModelSpec, theta: torch.Tensor, window: Window, *, store: bool | None = None
) -> tuple[float, torch.Tensor]:
    """Huber loss of a window and its gradient (size,).

    ``store`` keeps every stage (True) or one step's (False); None decides by memory.
    """
    sweep = _forward_and_back(spec, theta, window, store, None)
    return float(sweep.loss * window.scale), sweep.gradient()


@torch.no_grad()
def rollout_vjp(
    spec: ModelSpec,
    theta: torch.Tensor,
    window: Window,
    output_gradient: torch.Tensor,
    *,
    store: bool | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `..kernel_eager.rollout_vjp`; ``store`` as in `loss_and_gradient`."""
    sweep = _forward_and_back(spec, theta, window, store, output_gradient)
    # The next sweep writes to the same buffers.
    return sweep.order.undo(sweep.buffers.states[:, : spec.channels].clone()), sweep.gradient()


def _forward_and_back(
    spec: ModelSpec,
    theta: torch.Tensor,
    window: Window,
    store: bool | None,
    output_gradient: torch.Tensor | None,
) -> Sweep:
    length = segment(spec, window, store)
    sweep = Sweep(spec, theta.detach(), window, length, backward=True)
    sweep.output_gradient = sweep.order.apply(output_gradient)
    steps, states = len(sweep.dt), sweep.buffers.states
    sweep.begin(states[0])
    # States at the grid times are always kept: D rows each, against all layers of all stages. Each
    # segment can then be run again from its first state.
    starts = list(range(0, steps, length))
    for start in starts:
        for t in range(start, min(start + length, steps)):
            sweep.step(t, states, t - start)
    # Nothing after the last time depends on the state there.
    sweep.buffers.adjoint.zero_()
    for start in reversed(starts):
        stop = min(start + length, steps)
        if start != starts[-1]:  # the stages of the last segment are those just computed
            for t in range(start, stop):
                sweep.step(t, states, t - start, again=True)
        for t in range(stop - 1, start - 1, -1):
            sweep.step_back(t, t - start)
    sweep.begin_back()
    sweep.field.finish()
    return sweep


@torch.no_grad()
def rollout(spec: ModelSpec, theta: torch.Tensor, window: Window) -> torch.Tensor:
    """States z (T + 1, D, S), messages that are ODE states among them; no gradient."""
    sweep = Sweep(spec, theta.detach(), window, 1, backward=False)
    states = window.initial.new_empty(window.steps + 1, spec.states, window.columns.total)
    sweep.begin(states[0])
    for t in range(len(sweep.dt)):
        sweep.step(t, states, 0)
    return sweep.order.undo(states)


def segment(spec: ModelSpec, window: Window, store: bool | None) -> int:
    """Steps (intervals, unless ``spec.stride`` is more than 1) whose stages are stored at once."""
    steps = max(1, -(-window.steps // spec.stride))
    if store is not None:
        return steps if store else 1
    stages = TABLEAUX[spec.solver].stages * spec.substeps
    # The rows of one stage in `Slots`.
    rows = spec.inputs + 1 + spec.depth * (spec.hidden + 1)
    if spec.gain:
        rows += spec.outputs + spec.message
    if spec.messages == "emitted":
        rows += spec.sender_inputs + spec.hidden + 2
    if by_edges(spec) and spec.aggregation == "max":
        rows += spec.message
    elif spec.pairwise:
        rows += spec.hidden
    if spec.learned_edges and not spec.pairwise:
        rows += spec.message
    # All processes of a graph must cut at the same steps: a stage that is computed again sends again.
    columns = window.columns.total if window.halo is None else window.halo.most
    bytes_each = stages * rows * columns * window.initial.element_size()
    limit = STORE_BYTES
    if window.initial.is_cuda:
        limit = torch.cuda.get_device_properties(window.initial.device).total_memory // 4
    return int(min(max(1, limit // bytes_each), steps))


@dataclass(eq=False)
class Buffers:
    """Memory of a sweep; those of the reverse sweep are empty for a rollout.

    ``slots`` and ``field`` hold the stages. ``slopes``, ``state_bars`` (stages, D, S): dz/dt of the
    stages, cotangents of their states. ``stage_state``, ``discarded_state``, ``adjoint``, ``slope_bar``
    (D, S). ``first_hidden``, ``first_inputs``: layers of the first message, with a row of ones, the
    former of each type of nodes. ``states`` (T + 1, D, S). ``loss_rows`` (2, d, S): residual and
    derivative of the loss. ``inside_bar`` (stages + 1, d, S): what the losses at times inside a step
    add to the cotangents of its start and of each of its slopes.
    """

    slots: Slots
    field: Field
    stage_state: torch.Tensor
    slopes: list[torch.Tensor]
    discarded_state: torch.Tensor
    first_hidden: list[torch.Tensor]
    first_inputs: torch.Tensor
    states: torch.Tensor
    adjoint: torch.Tensor
    slope_bar: torch.Tensor
    state_bars: list[torch.Tensor]
    inside_bar: torch.Tensor
    loss_rows: torch.Tensor

    @classmethod
    def make(
        cls,
        spec: ModelSpec,
        n_slots: int,
        steps: int,
        kinds: Kinds,
        columns: int,
        like: torch.Tensor,
        back: bool,
    ) -> Buffers:
        """Buffers of ``n_slots`` stages and ``steps`` intervals; ``back`` for the reverse sweep too."""
        stages = TABLEAUX[spec.solver].stages
        new = like.new_empty
        state = (spec.states, columns) if back else (0,)
        inside = (stages + 1, spec.channels, columns) if back and spec.stride > 1 else (0,)
        return cls(
            slots=Slots(spec, n_slots, columns, kinds, like),
            field=Field(spec, columns, kinds, like),
            stage_state=new(spec.states, columns), slopes=list(new(stages, spec.states, columns)),
            discarded_state=new(spec.states, columns),
            first_hidden=[like.new_ones(spec.hidden + 1, n) for n in kinds.sizes()],
            first_inputs=like.new_ones(spec.channels + spec.attributes + 1, columns),
            states=new(steps + 1, *state) if back else new(0), adjoint=new(state),
            slope_bar=new(state), state_bars=list(new(stages, *state)) if back else [],
            inside_bar=new(inside), loss_rows=new(2, spec.channels, columns) if back else new(0),
        )  # fmt: skip


class _BufferCache(threading.local):
    """Buffers of the last sweep of a thread: training uses the same sizes every time."""

    key: tuple[Any, ...] | None = None
    buffers: Buffers | None = None


_buffer_cache = _BufferCache()


def buffers_of(spec: ModelSpec, length: int, window: Window, *, backward: bool) -> Buffers:
    """Buffers for steps of which ``length`` are stored; those of the last call where they fit."""
    like, columns = window.initial, window.columns.total
    steps = window.steps if backward else 0
    # The divisor is no size; a model that differs in nothing else uses the same buffers.
    offsets = Kinds.offsets(spec, window)
    key = (spec.replace(divisor=1.0), length, steps, offsets, like.dtype, like.device)
    if _buffer_cache.key != key or _buffer_cache.buffers is None:
        # Free the old buffers first, so that both are never in memory at once.
        _buffer_cache.key = _buffer_cache.buffers = None
        n_slots = length * TABLEAUX[spec.solver].stages * spec.substeps
        kinds = Kinds(spec, offsets)
        made = Buffers.make(spec, n_slots, steps, kinds, columns, like, backward)
        _buffer_cache.key, _buffer_cache.buffers = key, made
    return _buffer_cache.buffers


class Sweep:
    """One window with its buffers; ``length`` steps have their stages stored at once.

    With ``output_gradient`` (T + 1, d, S) the adjoint is that of sum(output_gradient * states) in
    place of the Huber loss.
    """

    output_gradient: torch.Tensor | None = None

    def __init__(
        self, spec: ModelSpec, theta: torch.Tensor, window: Window, length: int, *, backward: bool
    ) -> None:
        self.order = Order(spec, window)
        window = self.order.window(window)
        self.spec, self.window = spec, window
        tableau = TABLEAUX[spec.solver]
        self.a = [[float(v) for v in row] for row in tableau.a]
        self.b = [float(v) for v in tableau.b]
        self.stages = tableau.stages
        self.steps = Steps.over(tableau, window.dt, spec.stride)
        self.dt = [float(v) / spec.substeps for v in self.steps.size]
        self.inside = self.steps.inside.tolist()
        self.stages_per_step = self.stages * spec.substeps
        like = window.initial
        self.buffers = buffers_of(spec, length, window, backward=backward)
        self.slots, self.field = self.buffers.slots, self.buffers.field
        # In double precision: the sum goes over all times, nodes and trajectories.
        self.loss = torch.zeros((), dtype=torch.float64, device=like.device)
        self.networks = networks_of(spec, theta.to(like.dtype))
        self.field.use(self.networks, window.columns)
        self.field.attribute_bar = window.attribute_bar if backward else None
        self.field.halo = window.halo
        if spec.attributes:
            start = spec.channels + spec.controls
            assert window.attribute is not None
            self.slots.inputs[:, start : start + spec.attributes] = window.attribute
            if spec.messages == "emitted":
                for block in self.slots.emitter_inputs:
                    block[spec.sender_inputs - spec.attributes : -1].copy_(window.attribute)

    def gradient(self) -> torch.Tensor:
        """The flat gradient (size,)."""
        parts = [network.gradient() for network in self.networks]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def begin(self, z: torch.Tensor) -> None:
        """``z`` (D, S) = the initial state, first message included."""
        spec, inputs = self.spec, self.buffers.first_inputs
        z[: spec.channels].copy_(self.window.initial)
        if not self.networks[0].first:
            z[spec.channels :].zero_()
            return
        inputs[: spec.channels].copy_(self.window.initial)
        if self.window.attribute is not None:
            inputs[spec.channels : -1].copy_(self.window.attribute)
        kinds = self.field.kinds
        for (kind, _), values, hidden, message in zip(
            kinds, kinds.parts(inputs), self.buffers.first_hidden, kinds.parts(z[spec.channels :])
        ):
            forward(self.networks[kind].first, values, [hidden], message)

    def begin_back(self) -> None:
        """The first message's part of the gradient."""
        if not self.networks[0].first:
            return
        buffers, kinds = self.buffers, self.field.kinds
        for (kind, _), values, hidden, bar, hidden_bar in zip(
            kinds, kinds.parts(buffers.first_inputs), buffers.first_hidden,
            kinds.parts(buffers.adjoint[self.spec.channels :]), self.field.hidden_bar,
        ):  # fmt: skip
            backward(self.networks[kind].first, values, [hidden], bar, hidden_bar[:1], None)

    def step(self, t: int, states: torch.Tensor, stored: int, again: bool = False) -> None:
        """Step number t from its state in ``states``, its stages in the slots of step ``stored``.

        With ``again`` only the stages are computed, and nothing is written to ``states``.
        """
        spec, buffers, slopes = self.spec, self.buffers, self.buffers.slopes
        slot = stored * self.stages_per_step
        start, stop = int(self.steps.first[t]), int(self.steps.first[t + 1])
        if spec.controls:
            rows = slice(spec.channels, spec.channels + spec.controls)
            assert self.window.control is not None
            control = self.window.control[start]
            self.slots.inputs[slot : slot + self.stages_per_step, rows] = control
            if spec.messages == "emitted" and spec.sender_controls:
                for block in self.slots.emitter_inputs[slot : slot + self.stages_per_step]:
                    block[rows].copy_(control)
        dt = self.dt[t]
        z, after = states[start], buffers.discarded_state if again else states[stop]
        for substep in range(spec.substeps):
            for i in range(self.stages):
                # The first sum reads z and writes `stage_state`, the next ones add to that: z is not copied.
                stage = z
                for j, weight in enumerate(self.a[i][:i]):
                    if weight != 0.0:
                        stage = torch.add(
                            stage, slopes[j], alpha=dt * weight, out=buffers.stage_state
                        )
                self.field(stage, self.slots, slot, slopes[i])
                slot += 1
            # The forward sweep wrote the state after this step already.
            if again and substep == spec.substeps - 1:
                return
            for inner in range(start, stop - 1):
                weights = self.inside[inner]
                torch.add(z, slopes[0], alpha=weights[0], out=states[inner + 1])
                for weight, slope in zip(weights[1:], slopes[1:]):
                    states[inner + 1].add_(slope, alpha=weight)
            # As with the stages: the first sum reads z and writes ``after``, the next ones add to that.
            for weight, slope in zip(self.b, slopes):
                z = torch.add(z, slope, alpha=dt * weight, out=after)

    def step_back(self, t: int, stored: int) -> None:
        """The adjoint after step t becomes that before it, the losses at its times included."""
        buffers, dt = self.buffers, self.dt[t]
        slot = (stored + 1) * self.stages_per_step
        start, stop = int(self.steps.first[t]), int(self.steps.first[t + 1])
        channels = self.spec.channels
        scale = self.window.scale if self.output_gradient is None else 1.0
        adjoint, slope_bar = buffers.adjoint, buffers.slope_bar
        adjoint[:channels].add_(self.loss_derivative(stop), alpha=scale)
        several = stop - start > 1
        if several:
            buffers.inside_bar.zero_()
            for inner in range(start, stop - 1):
                derivative = self.loss_derivative(inner + 1)
                for weight, bar in zip([1.0, *self.inside[inner]], buffers.inside_bar):
                    bar.add_(derivative, alpha=weight * scale)
        for _ in range(self.spec.substeps):
            # Slope i enters the next state with weight dt b_i and later stages j with dt a_ji.
            for i in range(self.stages - 1, -1, -1):
                slot -= 1
                torch.mul(adjoint, dt * self.b[i], out=slope_bar)
                if several:
                    slope_bar[:channels].add_(buffers.inside_bar[i + 1])
                for j in range(i + 1, self.stages):
                    if self.a[j][i] != 0.0:
                        slope_bar.add_(buffers.state_bars[j], alpha=dt * self.a[j][i])
                self.field.back(slope_bar, self.slots, slot, buffers.state_bars[i])
            # z enters its own next state and every stage with factor 1.
            for bar in buffers.state_bars:
                adjoint.add_(bar)
        if several:
            adjoint[:channels].add_(buffers.inside_bar[0])

    def loss_derivative(self, t: int) -> torch.Tensor:
        """Derivative (d, S) of the loss by the state at time t, not yet scaled; adds the loss."""
        if self.output_gradient is not None:
            return self.output_gradient[t]
        window, channels = self.window, self.spec.channels
        assert window.target is not None
        residual, derivative = self.buffers.loss_rows
        torch.sub(self.buffers.states[t, :channels], window.target[t], out=residual)
        # Huber with delta 1: derivative c = clamp(r), loss c (r - c / 2).
        torch.clamp(residual, -1, 1, out=derivative)
        residual.add_(derivative, alpha=-0.5)
        # The derivative is a factor of the loss below, so that this masks both.
        if window.mask is not None:
            derivative.mul_(window.mask[t])
        if window.halo is not None:
            window.halo.clear(derivative)
        self.loss.add_(torch.dot(derivative.view(-1), residual.view(-1)))
        return derivative
