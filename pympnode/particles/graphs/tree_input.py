"""The arguments of `hierarchy`, checked and brought into one form: flat tensors, one side per graph."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from ...config import listing, positive, whole
from ...errors import InvalidData, InvalidGraph, InvalidOption, one_line, shown_value
from .box import Box, as_box
from .cells import COARSEST

_KEY_BITS = (
    62  # of a Morton key with the graph's number above it: an int64 without sign, and a spare
)


def flat_positions(position: Any, sizes: Sequence[int] | None) -> tuple[Tensor, tuple[int, ...]]:
    """Positions (particle, axis) and the particle count of each graph. Raises InvalidData."""
    if isinstance(position, list | tuple):
        graphs = [tensor("positions", one) for one in position]
        if not graphs:
            raise InvalidData("a hierarchy of no graphs", got="[]", allowed=">= 1 position array")
        sizes = [one.shape[0] if one.ndim else 0 for one in graphs]
        if any(one.ndim != 2 or one.shape[1:] != graphs[0].shape[1:] for one in graphs):
            raise InvalidData(
                "positions of several graphs are (particle, axis) each",
                got=", ".join(str(tuple(one.shape)) for one in graphs[:4]),
                allowed="the same number of axes in all",
            )
        position = torch.cat(graphs)
    position = tensor("positions", position)
    if position.ndim == 3 and sizes is None:
        sizes = [position.shape[1]] * position.shape[0]
        position = position.reshape(-1, position.shape[2])
    if position.ndim != 2 or position.shape[1] not in (2, 3) or not position.is_floating_point():
        raise InvalidData(
            "positions are (particle, axis) or (graph, particle, axis)",
            got=f"shape {tuple(position.shape)}, {position.dtype}",
            allowed="floating point numbers, two or three axes",
        )
    counts = (
        (position.shape[0],)
        if sizes is None
        else tuple(whole("a size", n) for n in listing("sizes", sizes))
    )
    if sum(counts) != position.shape[0] or min(counts, default=0) < 1:
        raise InvalidData(
            "the sizes of the graphs do not add up",
            got=f"sizes {list(counts)[:8]} for {position.shape[0]} particles",
            allowed="one positive count per graph, together all particles",
        )
    return position, counts


def tensor(name: str, values: Any) -> Tensor:
    """``values`` as a tensor of real numbers. Raises InvalidData."""
    try:
        found = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InvalidData(
            f"{name} are numbers",
            got=f"{type(values).__name__}: {one_line(error)}",
            allowed="a floating point tensor or array",
        ) from error
    if found.is_complex():
        raise InvalidData(f"{name} are real numbers", got=str(found.dtype), allowed="float")
    return found


def attribute(value: Any, flat: Tensor, name: str, like: Tensor | None = None) -> Tensor | None:
    """A mass or charge (particle,), or a velocity with the shape of ``like``, as a tensor like ``flat``.

    One number serves all particles; None stays None. Raises InvalidData for another number of values.
    """
    if value is None:
        return None
    if isinstance(value, list | tuple):
        value = torch.cat([tensor(name, one).reshape(-1) for one in value] or [torch.zeros(0)])
    shape = flat.shape if like is not None else flat.shape[:1]
    value = tensor(name, value).to(dtype=flat.dtype, device=flat.device)
    if value.ndim == 0:
        return value.expand(shape)
    if value.numel() != shape.numel():
        raise InvalidData(
            f"{name} does not fit the positions",
            got=f"shape {tuple(value.shape)}",
            allowed=f"one {'vector' if like is not None else 'number'} for each particle",
        )
    return value.reshape(shape)


def box_sides(box: Any, graphs: int) -> tuple[list[float] | None, bool]:
    """(side of each graph's box or None in open space, whether it is periodic). Raises InvalidOption."""
    if (isinstance(box, Tensor) and box.ndim) or (
        isinstance(box, Sequence) and not isinstance(box, str)
    ):
        boxes = [
            as_box(side if isinstance(side, Box) else positive("a side of the box", side))
            for side in box
        ]
        if len(boxes) != graphs:
            raise InvalidOption(
                "one box per graph", got=f"{len(boxes)} boxes", allowed=f"{graphs}, or one for all"
            )
    else:
        boxes = [as_box(box)] * graphs
    periodic = {one.periodic for one in boxes}
    if len(periodic) > 1:
        raise InvalidOption("a batch is either periodic or open", got="both kinds of box")
    return ([one.cube for one in boxes], True) if periodic.pop() else (None, False)


def deepest_level(graphs: int, dims: int) -> int:
    """The largest level whose keys fit into an int64 beside the number of the graph."""
    return (_KEY_BITS - (graphs - 1).bit_length()) // dims


def check_levels(levels: int, graphs: int, dims: int) -> int:
    """``levels`` as an int. Raises InvalidGraph for a number of levels that cannot be built."""
    if isinstance(levels, bool) or not isinstance(levels, Integral) or levels < COARSEST:
        raise InvalidGraph(
            "no cell level is left",
            got=f"levels={shown_value(levels)}",
            allowed=f">= {COARSEST} (a 4 x 4 grid)",
            fix=f"pass levels={COARSEST}, or use the fully connected graph",
        )
    if levels > deepest_level(graphs, dims):
        raise InvalidGraph(
            "the number of levels is beyond the size of a cell key",
            got=f"levels={levels}, {graphs} graph(s) in {dims} dimensions",
            allowed=f"at most {deepest_level(graphs, dims)}",
            fix="leave levels out: round(log4 N), or round(log8 N) in three dimensions",
        )
    return int(levels)


def too_dense(levels: int) -> str:
    """What to do about too many near pairs."""
    return f"use more than {levels} levels, or split_above=8 (the adaptive tree) for clusters"


def graph_numbers(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """int64 (particle,): the number of each particle's graph."""
    if len(sizes) == 1:
        return torch.zeros(sizes[0], dtype=torch.long, device=device)
    number = torch.arange(len(sizes), device=device)
    counts = torch.tensor(sizes, device=device)
    return torch.repeat_interleave(number, counts, output_size=sum(sizes))


def place_in_box(
    flat: Tensor, graph: Tensor, sizes: tuple[int, ...], sides: list[float] | None, periodic: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Wrapped positions (particle, axis), and side (graph,) and lower corner (graph, axis) of each
    graph's cube."""
    dims = flat.shape[1]
    if sides is not None:
        side = torch.tensor(sides, dtype=flat.dtype, device=flat.device)
        lower = (-side / 2)[:, None].expand(-1, dims)
        if len(set(sides)) == 1:
            return Box(sides[0]).wrap(flat), side, lower
        # As `Box.wrap`, with another side for every graph.
        particle_side = side[graph, None]
        moved = flat - particle_side * torch.floor(flat / particle_side + 0.5)
        return moved - particle_side * (moved >= particle_side / 2), side, lower
    index = graph[:, None].expand(-1, dims)
    empty = flat.new_zeros(len(sizes), dims)
    low = empty.scatter_reduce(0, index, flat, "amin", include_self=False)
    high = empty.scatter_reduce(0, index, flat, "amax", include_self=False)
    extent = (high - low).amax(1)
    # A little larger than the extent, so that the farthest particle is inside the last cell. Particles
    # in one point get a cube of side 1.
    side = torch.where(extent > 0, extent * (1 + 1e-5), torch.ones_like(extent))
    return flat, side, (low + high) / 2 - side[:, None] / 2


def checks(
    flat: Tensor, mass: Tensor | None, velocity: Tensor | None, charge: Tensor | None
) -> tuple[Tensor, bool]:
    """Whether a value is not finite (a bool tensor on the device), and whether a mass may be zero.

    The first is a tensor because reading it on the host would be a wait for the device.
    """
    given = [t.detach() for t in (flat, mass, velocity, charge) if t is not None]
    bad = torch.stack([~torch.isfinite(t).all() for t in given]).any()
    if mass is None:
        return bad, False
    if flat.device.type != "cpu":
        return bad, True  # reading the least mass would be a wait for the device
    return bad, least_mass(mass) == 0


def least_mass(mass: Tensor) -> float:
    """The smallest mass. Raises InvalidData if it is negative."""
    least = float(mass.detach().min())
    if least < 0:
        raise InvalidData(
            "a mass cannot be negative", got=least, allowed="masses >= 0", fix="check the units"
        )
    return least
