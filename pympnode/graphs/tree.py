"""``hierarchy``: the front door of the builders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from pympnode.errors import InvalidData, InvalidGraph, InvalidOption, unknown_name
from pympnode.graphs import tree_torch as build
from pympnode.graphs.box import Box, as_box
from pympnode.graphs.cells import COARSEST, Hierarchy, Level, default_levels, pick
from pympnode.graphs.features import with_features

KERNELS = ("auto", "torch", "compiled")
_KEY_BITS = 62

Positions = Tensor | Sequence[Tensor]


def hierarchy(
    position: Positions,
    box: Box | float | Sequence[float] | None,
    *,
    mass: Any = None,
    velocity: Any = None,
    charge: Any = None,
    levels: int | None = None,
    sizes: Sequence[int] | None = None,
    split_above: int | None = None,
    kernel: Literal["auto", "torch", "compiled"] = "auto",
) -> Hierarchy:
    """Cells and edges of the hierarchical graph of Martinkus, Lucchi, Perraudin (AAAI 2021).

    position: floating tensor (particle, axis) or (graph, particle, axis), 2 or 3 axes; or a list
        of (particle, axis) tensors, or one flat tensor with ``sizes``, for graphs of different
        size. Wrapped into the box first. The result is on its device and has its dtype.
    box: side length of the periodic box, a Box, one side a graph, or None for open space (then
        each graph's bounding cube is cut).
    mass, charge: (particle,) or (graph, particle); velocity: like position. Cells carry their
        total mass and charge, centre of mass and mean velocity; mass defaults to 1.
    levels: the finest grid is 2^levels a side. Default: round(log4 N), in three dimensions
        round(log8 N), N the largest graph's particle count.
    split_above: build the adaptive tree instead: a cell splits only while it holds more than this
        many particles; ``levels`` is then the greatest depth (default 20).
    kernel: "torch" (any device), "compiled" (numba; CPU), "auto" (compiled on CPU). All give the
        same graph in the same order.

    Every ordered pair of particles is connected in exactly one way: directly, when the leaf cells
    touch, or through one pair of cells on one level. Gradients pass from positions to the cells'
    features. Raises InvalidGraph, InvalidOption, InvalidData, NotEnoughMemory (with the bytes).
    """
    if kernel not in KERNELS:
        raise unknown_name("kernel", kernel, KERNELS)
    flat, counts = flat_positions(position, sizes)
    device, dims = flat.device, flat.shape[1]
    sides, periodic = _sides(box, len(counts))
    mass = _attribute(mass, flat, "mass")
    charge = _attribute(charge, flat, "charge")
    velocity = _attribute(velocity, flat, "velocity", like=flat)
    if levels is None:
        levels = default_levels(max(counts), dims) if split_above is None else 20
        if split_above is not None:
            levels = min(levels, _deepest(len(counts), dims))
    _check_levels(levels, len(counts), dims)
    if split_above is not None and split_above < 1:
        raise InvalidOption("split_above counts particles", got=split_above, allowed=">= 1")

    if split_above is not None and kernel == "compiled":
        raise InvalidOption(
            "the adaptive tree is built in torch", got='kernel="compiled"', allowed="auto, torch"
        )

    graph = _graph_of(counts, device)
    shape: dict[str, Any] = dict(graph=graph, sizes=counts, levels=levels, periodic=periodic)
    if split_above is None and kernel != "torch":
        if device.type == "cpu":
            return _compiled(flat, mass, velocity, charge, sides, shape)
        if kernel == "compiled":
            raise InvalidOption(
                "the compiled builder runs on the CPU", got=str(device), fix='kernel="torch"'
            )
    with torch.no_grad():
        wrapped, side, lower = _place(flat.detach(), graph, counts, sides, periodic)
        bad, massless = _checks(flat, mass, velocity, charge)
    shape |= dict(side=side, lower=lower, bad=bad)
    if split_above is not None:
        from pympnode.graphs.adaptive import adaptive

        tree = adaptive(wrapped, split_above=split_above, **shape)
    else:
        tree = uniform(wrapped, **shape)
    if flat.requires_grad:  # the same numbers, with their gradient
        tree = replace(tree, position=(flat + (wrapped - flat.detach()))[tree.order])
    return _featured(tree, flat, mass, velocity, charge, massless)


def _featured(tree, flat, mass, velocity, charge, massless) -> Hierarchy:
    order = tree.order
    return with_features(
        tree,
        flat.new_ones(flat.shape[0]) if mass is None else pick(mass, order),
        None if velocity is None else pick(velocity, order),
        None if charge is None else pick(charge, order),
        massless=massless,
    )


def _compiled(flat, mass, velocity, charge, sides, shape) -> Hierarchy:
    from pympnode.graphs import tree_compiled as fast

    given = [t for t in (flat, mass, velocity, charge) if t is not None]
    if sides is None:
        with torch.no_grad():
            x, side, lower = _place(flat.detach(), shape["graph"], shape["sizes"], None, False)
            if not bool(torch.isfinite(x).all()):
                raise fast.not_finite("positions")
    else:
        x, side = flat.detach(), torch.tensor(sides, dtype=flat.dtype)
        lower = (-side / 2)[:, None].expand(-1, flat.shape[1])
    tree = fast.compiled(x, side=side, lower=lower, **shape)
    massless = mass is not None and _least_mass(mass) == 0
    if massless or any(t.requires_grad for t in given):
        bad, _ = _checks(flat, mass, velocity, charge)
        if bool(bad):
            raise fast.not_finite("masses, charges or velocities")
        if flat.requires_grad:
            moved = tree.position - flat.detach()[tree.order]
            tree = replace(tree, position=flat[tree.order] + moved)
        return _featured(tree, flat, mass, velocity, charge, massless)
    ones = flat.new_ones(flat.shape[0]) if mass is None else mass
    return fast.compiled_features(tree, ones, velocity, charge)


def uniform(
    position: Tensor,
    *,
    graph: Tensor,
    sizes: tuple[int, ...],
    side: Tensor,
    lower: Tensor,
    levels: int,
    periodic: bool,
    bad: Tensor,
) -> Hierarchy:
    """The hierarchy of wrapped flat positions, without features, in torch."""
    dims, graphs = position.shape[1], len(sizes)
    order, key, cells = build.sort_into_cells(position, graph, side, lower, levels)
    grids = build.build_grids(key, cells, dims, levels, bad)
    build.require_windows(grids, dims, 'take fewer levels, or kernel="compiled" on the CPU')
    touching = None
    separated, counts = [], []
    for grid, above in zip(grids, [*grids[1:], None], strict=True):
        finest = grid.level == levels
        near, apart = build.near_and_separated(grid, above, dims, graphs, periodic, finest)
        touching = near if finest else touching
        separated.append(apart)
        counts.append((apart != grid.key.shape[0]).sum())
    assert touching is not None
    numbers = torch.stack([*counts, *build.count_near(grids[0], touching)]).tolist()
    listing, near_count = numbers.pop(), numbers.pop()
    build.require_room(near_count + sum(numbers), position.device, _too_dense(levels))
    sender, receiver = build.near_pairs(grids[0], touching, near_count, listing)
    out = []
    for i, (grid, apart) in enumerate(zip(grids, separated, strict=True)):
        ends = build.compact(apart, grid.key.shape[0], numbers[i])
        parent = grids[i + 1].child if i + 1 < len(grids) else None
        out.append(Level(grid.level, grid.cells, grid.graph, *ends, parent))
    return Hierarchy(
        order, graph, sizes, side, lower, pick(position, order), sender, receiver,
        grids[0].child, tuple(out), periodic=periodic,
    )  # fmt: skip


# ---- input ------------------------------------------------------------------------------------


def flat_positions(position: Any, sizes: Sequence[int] | None) -> tuple[Tensor, tuple[int, ...]]:
    """Positions (particle, axis) and the particle count of each graph."""
    if isinstance(position, list | tuple):
        parts = [torch.as_tensor(part) for part in position]
        if not parts:
            raise InvalidData("a hierarchy of no graphs", got="[]", allowed=">= 1 position array")
        sizes, position = [part.shape[0] for part in parts], torch.cat(parts)
    position = torch.as_tensor(position)
    if position.ndim == 3 and sizes is None:
        sizes = [position.shape[1]] * position.shape[0]
        position = position.reshape(-1, position.shape[2])
    if position.ndim != 2 or position.shape[1] not in (2, 3) or not position.is_floating_point():
        raise InvalidData(
            "positions are (particle, axis) or (graph, particle, axis)",
            got=f"shape {tuple(position.shape)}, {position.dtype}",
            allowed="floating point numbers, two or three axes",
        )
    counts = (position.shape[0],) if sizes is None else tuple(int(n) for n in sizes)
    if sum(counts) != position.shape[0] or min(counts, default=0) < 1:
        raise InvalidData(
            "the sizes of the graphs do not add up",
            got=f"sizes {list(counts)[:8]} for {position.shape[0]} particles",
            allowed="one positive count a graph, together all particles",
        )
    return position, counts


def _attribute(value: Any, flat: Tensor, name: str, like: Tensor | None = None) -> Tensor | None:
    if value is None:
        return None
    if isinstance(value, list | tuple):
        value = torch.cat([torch.as_tensor(part) for part in value])
    shape = flat.shape if like is not None else flat.shape[:1]
    value = torch.as_tensor(value, dtype=flat.dtype, device=flat.device)
    if value.ndim == 0:
        return value.expand(shape)
    if value.numel() != shape.numel():
        raise InvalidData(
            f"{name} does not fit the positions",
            got=f"shape {tuple(value.shape)}",
            allowed=f"one {'vector' if like is not None else 'number'} for each particle",
        )
    return value.reshape(shape)


def _sides(box: Any, graphs: int) -> tuple[list[float] | None, bool]:
    """Side of each graph's box, or None for open space."""
    if isinstance(box, Tensor) or (isinstance(box, Sequence) and not isinstance(box, str)):
        boxes = [as_box(side if isinstance(side, Box) else float(side)) for side in box]
        if len(boxes) != graphs:
            raise InvalidOption(
                "one box a graph", got=f"{len(boxes)} boxes", allowed=f"{graphs}, or one for all"
            )
    else:
        boxes = [as_box(box)] * graphs
    periodic = {one.periodic for one in boxes}
    if len(periodic) > 1:
        raise InvalidOption("a batch is either periodic or open", got="both kinds of box")
    return ([one.side for one in boxes], True) if periodic.pop() else (None, False)


def _deepest(graphs: int, dims: int) -> int:
    return (_KEY_BITS - (graphs - 1).bit_length()) // dims


def _check_levels(levels: int, graphs: int, dims: int) -> None:
    if isinstance(levels, bool) or int(levels) != levels or levels < COARSEST:
        raise InvalidGraph(
            "no cell level is left",
            got=f"levels={levels}",
            allowed=f">= {COARSEST} (a 4 x 4 grid)",
            fix=f"pass levels={COARSEST}, or use the fully connected graph",
        )
    if levels > _deepest(graphs, dims):
        raise InvalidGraph(
            "the number of levels is beyond what a cell key holds",
            got=f"levels={levels}, {graphs} graph(s) in {dims} dimensions",
            allowed=f"at most {_deepest(graphs, dims)}",
            fix="leave levels out: round(log4 N), or round(log8 N) in three dimensions",
        )


def _too_dense(levels: int) -> str:
    return f"use more than {levels} levels, or split_above=8 (the adaptive tree) for clusters"


def _graph_of(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    if len(sizes) == 1:
        return torch.zeros(sizes[0], dtype=torch.long, device=device)
    number = torch.arange(len(sizes), device=device)
    counts = torch.tensor(sizes, device=device)
    return torch.repeat_interleave(number, counts, output_size=sum(sizes))


def _place(
    flat: Tensor, graph: Tensor, sizes: tuple[int, ...], sides: list[float] | None, periodic: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Wrapped positions, side and lower corner of each graph's cube."""
    dims = flat.shape[1]
    if sides is not None:
        side = torch.tensor(sides, dtype=flat.dtype, device=flat.device)
        lower = (-side / 2)[:, None].expand(-1, dims)
        if len(set(sides)) == 1:
            return Box(sides[0]).wrap(flat), side, lower
        own = side[graph, None]
        moved = flat - own * torch.floor(flat / own + 0.5)
        return moved - own * (moved >= own / 2), side, lower
    index = graph[:, None].expand(-1, dims)
    empty = flat.new_zeros(len(sizes), dims)
    low = empty.scatter_reduce(0, index, flat, "amin", include_self=False)
    high = empty.scatter_reduce(0, index, flat, "amax", include_self=False)
    extent = (high - low).amax(1)
    # A cube a little larger than the particles; particles in one point get a cube of side 1.
    side = torch.where(extent > 0, extent * (1 + 1e-5), torch.ones_like(extent))
    return flat, side, (low + high) / 2 - side[:, None] / 2


def _checks(
    flat: Tensor, mass: Tensor | None, velocity: Tensor | None, charge: Tensor | None
) -> tuple[Tensor, bool]:
    """Whether anything is not finite (a tensor, not yet read), and whether a mass may be zero."""
    given = [t.detach() for t in (flat, mass, velocity, charge) if t is not None]
    bad = torch.stack([~torch.isfinite(t).all() for t in given]).any()
    if mass is None:
        return bad, False
    if flat.device.type != "cpu":
        return bad, True  # reading it would cost a wait for the device
    return bad, _least_mass(mass) == 0


def _least_mass(mass: Tensor) -> float:
    least = float(mass.detach().min())
    if least < 0:
        raise InvalidData(
            "a mass cannot be negative", got=least, allowed="masses >= 0", fix="check the units"
        )
    return least
