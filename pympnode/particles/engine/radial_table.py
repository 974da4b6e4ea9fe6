"""Radial messages by tables: the force of a pair is one function of the distance, computed at few.

The network of radial messages (`radial.radial_strength`) is evaluated at the nodes of polynomials,
eight in each cell of u = 1 + (d / near)^2, in float64; edges evaluate the polynomials in compiled
loops (`radial_loops`). Tanh of smooth features is analytic, and a polynomial of degree seven over an
eighth of an octave misses it by some 1e-13. The gradient of a table passes to the weights through the
network at the nodes, whose number does not grow with the number of edges. There is a table for each
pair of kinds of bodies, those with the same base inputs; where these are more than `MOST_KINDS`, edges
evaluate the network (`radial`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..spec import RADIAL_SPLIT

MOST_KINDS = 3  # of bodies: six tables
LEAST_OCTAVES = 8
MOST_OCTAVES = 120  # of u; positions beyond are those of a rollout that diverges
_EMPTY = np.empty(0)
_NONE = np.empty(0, np.int64)
_ONE = np.zeros((1, 1), np.int64)


class Kinds(NamedTuple):
    """rows (kind, base); numbers (sender,) and (receiver,), or None for one kind; pair (kind, kind):
    the table of two kinds."""

    rows: Tensor
    sender: NDArray[np.int64]
    receiver: NDArray[np.int64]
    pair: NDArray[np.int64]


def kinds_of(senders: Tensor, receivers: Tensor) -> Kinds | None:
    """The kinds of bodies with base inputs (node, base); None for more than `MOST_KINDS`."""
    first = receivers[:1]
    if first.shape[1] == 0 or (
        bool((receivers == first).all())
        and (senders is receivers or bool((senders == first).all()))
    ):
        return Kinds(first, _NONE, _NONE, _ONE)
    both = receivers if senders is receivers else torch.cat([receivers, senders])
    few = torch.unique(both[: 8 * MOST_KINDS], dim=0)
    if len(few) > MOST_KINDS:
        return None
    rows, number = torch.unique(both, dim=0, return_inverse=True)
    if len(rows) > MOST_KINDS:
        return None
    received = number[: len(receivers)].numpy()
    sent = received if senders is receivers else number[len(receivers) :].numpy()
    pair = np.zeros((len(rows), len(rows)), np.int64)
    for n, (i, j) in enumerate(_pairs(len(rows))):
        pair[i, j] = pair[j, i] = n
    return Kinds(rows, sent, received, pair)


def _pairs(kinds: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(kinds) for j in range(i, kinds)]


def octaves_of(net: Any, *positions: Tensor) -> int | None:
    """Octaves of u that the distances of some positions (node, axis) can fill; None: too many.

    In open space twice their extent, for positions that move within a step.
    """
    sides = net.box.sides(positions[0].shape[1])
    if not np.isfinite(sides).all():
        every = [each.detach().double().numpy() for each in positions]
        extent = np.max([x.max(0) for x in every], 0) - np.min([x.min(0) for x in every], 0)
        sides = np.where(np.isfinite(sides), sides, 4 * extent)
    most = 1 + float(np.square(sides / (2 * net.scales.near)).sum())
    if not most < 2.0**MOST_OCTAVES:
        return None
    return max(LEAST_OCTAVES, math.frexp(most * (1 + 1e-6))[1])


@lru_cache(maxsize=64)
def _nodes(octaves: int) -> tuple[Tensor, Tensor]:
    """(u (cell, node), the matrix from values at nodes to coefficients (power, node))."""
    from .radial_loops import POWERS

    x = np.cos((2 * np.arange(POWERS) + 1) * np.pi / (2 * POWERS))
    cells = 1 << RADIAL_SPLIT
    mantissa = 1 + (np.arange(cells)[:, None] + (x + 1) / 2) / cells
    u = (2.0 ** np.arange(octaves)[:, None, None] * mantissa).reshape(-1, POWERS)
    return torch.from_numpy(u), torch.from_numpy(np.linalg.inv(np.vander(x, increasing=True)))


def table_of(net: Any, rows: Tensor, octaves: int, force: Callable[..., Tensor]) -> Tensor:
    """Coefficients (pair of kinds, cell, power) of ``force(net, distance (node, 1), base, base)``."""
    key = (octaves, tuple(rows.flatten().tolist()))
    if key in net.tables:
        return net.tables[key]
    exact = dataclasses.replace(net, weights={n: w.double() for n, w in net.weights.items()})
    u, coefficients = _nodes(octaves)
    distance = (net.scales.near * u.sqrt()).view(-1, 1)
    rows = rows.double()
    found = []
    for i, j in _pairs(len(rows)):
        ends = (rows[k].expand(len(distance), -1) for k in (i, j))
        found.append(force(exact, distance, *ends).view(u.shape) @ coefficients.t())
    net.tables[key] = torch.stack(found)
    return net.tables[key]


class Ends(NamedTuple):
    """One end of edges: position (node, axis), source (node,) or None, number of particles that each
    node stands for (node,) or None for 1."""

    position: Tensor
    source: Tensor | None
    number: Tensor | None


def add_momenta(
    net: Any,
    table: Tensor,
    kinds: Kinds,
    senders: Ends,
    receivers: Ends,
    edges: tuple[Tensor, Tensor],
    mode: int,
    both_ways: bool,
    points: int = 1,
) -> Tensor:
    """Momenta (receiver, axis) that bodies receive along edges (sender, receiver), summed.

    ``points``: how many stand for each sender, see `radial_loops.add_momenta`.
    """
    sides = np.asarray(net.box.sides(receivers.position.shape[1]), np.float64)
    sources = tuple(
        _EMPTY if one.source is None else one.source.double().numpy()
        for one in (senders, receivers)
    )
    count = _EMPTY if senders.number is None else senders.number.double().numpy()
    fixed = (kinds.pair, kinds.sender, kinds.receiver, mode, *sources, count, both_ways, points)
    ends = tuple(end.numpy() for end in edges)
    return _Momenta.apply(
        senders.position, receivers.position, table, (*ends, sides, float(net.scales.near)), fixed
    )


class _Momenta(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_s: Tensor, x_r: Tensor, table: Tensor, edges: Any, fixed: Any):
        from .radial_loops import add_momenta as loop

        total = torch.zeros(x_r.shape, dtype=torch.float64)
        exact = [one.detach().double().contiguous() for one in (x_s, x_r, table)]
        arrays = [one.numpy() for one in exact]
        loop(*arrays[:2], *edges, arrays[2], *fixed, total.numpy())
        ctx.save_for_backward(*exact)
        ctx.edges, ctx.fixed, ctx.dtype = edges, fixed, x_r.dtype
        return total.to(x_r.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor):  # type: ignore[override]
        from .radial_loops import add_gradients as loop

        arrays = [one.numpy() for one in ctx.saved_tensors]
        moving = any(ctx.needs_input_grad[:2])
        grads = [np.zeros_like(arrays[2])]
        grads += [np.zeros(x.shape if moving else (0, x.shape[1])) for x in arrays[:2]]
        received = grad.double().contiguous().numpy()
        loop(received, *arrays[:2], *ctx.edges, arrays[2], *ctx.fixed, *grads)
        ends = [torch.from_numpy(one).to(ctx.dtype) if moving else None for one in grads[1:]]
        return *ends, torch.from_numpy(grads[0]), None, None


def leapfrog(
    net: Any,
    table: Tensor,
    kinds: Kinds,
    position: Tensor,
    velocity: Tensor,
    source: Tensor | None,
    unit: Tensor,
    sizes: tuple[int, ...],
    mode: int,
) -> tuple[Tensor, Tensor]:
    """Changes (particle, axis) of velocities, and of positions beyond free flight, over one step of
    all pairs.

    unit (particle,): velocity change over the step per unit of momentum of `add_momenta`. The gradient
    of ``source`` is that of both: products of masses are divided by the mass of the receiver.
    """
    kicks, dims = net.spec.kicks, position.shape[1]
    first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    each = (unit.detach().double() / kicks)[:, None].expand(-1, dims).contiguous().numpy()
    fixed = (
        first, np.asarray(net.box.sides(dims), np.float64), float(net.scales.near),
        kinds.pair, kinds.receiver, mode,
        _EMPTY if source is None else source.detach().double().numpy(),
    )  # fmt: skip
    assert source is None or mode == 1 or not source.requires_grad
    return _Leapfrog.apply(position, velocity, table, source, each, net.step / kicks, kicks, fixed)


class _Leapfrog(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, v: Tensor, table: Tensor, source: Tensor | None, unit: NDArray,
        short: float, kicks: int, fixed: Any,
    ):  # fmt: skip
        from .radial_loops import step

        x64, v64 = (one.detach().double().contiguous().numpy() for one in (x, v))
        places = np.empty((kicks, *x64.shape))
        change, moved = np.empty_like(x64), np.empty_like(x64)
        first, side, near, *rest = fixed
        values = table.detach().numpy()
        step(
            x64, v64, unit, short, kicks, first, side, near, values, *rest, places, change, moved,
            np.empty_like(x64),
        )  # fmt: skip
        ctx.save_for_backward(table)
        ctx.places, ctx.unit, ctx.short, ctx.fixed = places, unit, short, fixed
        return tuple(torch.from_numpy(one).to(x.dtype) for one in (change, moved))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_change: Tensor, grad_moved: Tensor):  # type: ignore[override]
        from .radial_loops import step_gradients

        values = ctx.saved_tensors[0].numpy()
        first, side, near, *rest = ctx.fixed
        grad = np.zeros_like(values)
        ends = [np.zeros(ctx.places.shape[1:]) for _ in range(2)]
        # Copies, which are used up; and memory.
        received = [g.double().numpy().copy() for g in (grad_change, grad_moved)]
        memory = [np.empty_like(ends[0]) for _ in range(2)]
        grad_source = np.zeros(len(ctx.unit)) if ctx.needs_input_grad[3] else _EMPTY
        step_gradients(
            *received, ctx.places, ctx.unit, ctx.short, first, side, near, values, *rest, grad,
            grad_source, *ends, *memory,
        )  # fmt: skip
        found = [torch.from_numpy(one).to(grad_change.dtype) for one in ends]
        masses = torch.from_numpy(grad_source).to(grad_change.dtype) if len(grad_source) else None
        return *found, torch.from_numpy(grad), masses, None, None, None, None
