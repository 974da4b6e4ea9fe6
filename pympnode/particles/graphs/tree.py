"""``hierarchy``: cells and edges of particles, by one of three builders."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from ...config import one_of, whole
from ...errors import InvalidOption
from . import tree_torch as build
from .box import Box
from .cells import Hierarchy, Level, default_levels, pick
from .features import with_features
from .tree_input import (
    attribute,
    box_sides,
    check_levels,
    checks,
    deepest_level,
    flat_positions,
    graph_numbers,
    least_mass,
    place_in_box,
    too_dense,
)

KERNELS = ("auto", "torch", "numba")
_OLD_NAMES = {"compiled": "numba"}
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
    kernel: Literal["auto", "torch", "numba"] = "auto",
) -> Hierarchy:
    """Cells and edges of the hierarchical graph of particles.

    Source: Martinkus, Lucchi, Perraudin, "Scalable graph networks for particle simulations" (AAAI
    2021); see `cells` for the rule. The adaptive tree (``split_above``) is ours.

    position: floating tensor (particle, axis) or (graph, particle, axis), 2 or 3 axes; or a list
        of (particle, axis) tensors, or one flat tensor with ``sizes``, for graphs of different
        size. Wrapped into the box first. The result is on its device and has its dtype.
    box: side length of the periodic box, in the unit of length of the positions; a Box, one side per
        graph, or None for open space (then each graph's bounding cube is divided).
    mass, charge: (particle,) or (graph, particle); velocity: like position. Cells carry their
        total mass and charge, centre of mass and mean velocity; mass defaults to 1.
    levels: the finest grid has 2^levels cells per side. Default: round(log4 N), in three dimensions
        round(log8 N), with N the largest graph's particle count.
    split_above: build the adaptive tree instead: a cell splits only while it holds more than this
        many particles; ``levels`` is then the greatest depth (default 20).
    kernel: "torch" (any device), "numba" (compiled; CPU), "auto" (numba on a CPU, torch elsewhere).
        All give the same graph in the same order. "compiled", an earlier name of "numba", gives a
        DeprecationWarning.

    Every ordered pair of particles is connected in exactly one way: directly, when the leaf cells
    touch, or through one pair of cells on one level. Gradients pass from positions to the cells'
    features. Raises UnknownName, InvalidGraph, InvalidOption, InvalidData, NotEnoughMemory (with the
    bytes).
    """
    if split_above is not None:
        split_above = whole("split_above", split_above, 1)
    if isinstance(kernel, str) and kernel in _OLD_NAMES:
        new = _OLD_NAMES[kernel]
        warnings.warn(f"kernel={kernel!r} is now kernel={new!r}", DeprecationWarning, stacklevel=2)
        kernel = new  # type: ignore[assignment]
    one_of("kernel", kernel, KERNELS)
    flat, counts = flat_positions(position, sizes)
    device, dims = flat.device, flat.shape[1]
    sides, periodic = box_sides(box, len(counts))
    mass = attribute(mass, flat, "mass")
    charge = attribute(charge, flat, "charge")
    velocity = attribute(velocity, flat, "velocity", like=flat)
    if levels is not None:
        levels = check_levels(levels, len(counts), dims)
    if levels is None:
        levels = default_levels(max(counts), dims) if split_above is None else 20
        if split_above is not None:
            levels = min(levels, deepest_level(len(counts), dims))
    check_levels(levels, len(counts), dims)

    if split_above is not None and kernel == "numba":
        raise InvalidOption(
            "the adaptive tree is built in torch", got='kernel="numba"', allowed="auto, torch"
        )

    graph = graph_numbers(counts, device)
    shape: dict[str, Any] = dict(graph=graph, sizes=counts, levels=levels, periodic=periodic)
    if split_above is None and kernel != "torch":
        if device.type == "cpu":
            return _by_numba(flat, mass, velocity, charge, sides, shape)
        if kernel == "numba":
            raise InvalidOption(
                "the compiled builder runs on the CPU", got=str(device), fix='kernel="torch"'
            )
    with torch.no_grad():
        wrapped, side, lower = place_in_box(flat.detach(), graph, counts, sides, periodic)
        bad, massless = checks(flat, mass, velocity, charge)
    shape |= dict(side=side, lower=lower, bad=bad)
    if split_above is not None:
        from .adaptive import adaptive

        tree = adaptive(wrapped, split_above=split_above, **shape)
    else:
        tree = uniform(wrapped, **shape)
    if flat.requires_grad:
        # The wrapped positions were computed without a gradient; adding the difference gives the same
        # numbers with the gradient of the given ones, which wrapping does not change.
        tree = replace(tree, position=(flat + (wrapped - flat.detach()))[tree.order])
    return _with_features(tree, flat, mass, velocity, charge, massless)


def _with_features(tree, flat, mass, velocity, charge, massless) -> Hierarchy:
    """The tree with its cells' features, differentiable; values in the given order."""
    order = tree.order
    return with_features(
        tree,
        flat.new_ones(flat.shape[0]) if mass is None else pick(mass, order),
        None if velocity is None else pick(velocity, order),
        None if charge is None else pick(charge, order),
        massless=massless,
    )


def _by_numba(flat, mass, velocity, charge, sides, shape) -> Hierarchy:
    """The uniform tree with its cells' features, compiled; by torch's features where gradients or
    masses of zero need them."""
    from . import tree_numba as fast

    tensors = [t for t in (flat, mass, velocity, charge) if t is not None]
    if sides is None:
        with torch.no_grad():
            x, side, lower = place_in_box(
                flat.detach(), shape["graph"], shape["sizes"], None, False
            )
            if not bool(torch.isfinite(x).all()):
                raise fast.not_finite("positions")
    else:
        x, side = flat.detach(), torch.tensor(sides, dtype=flat.dtype)
        lower = (-side / 2)[:, None].expand(-1, flat.shape[1])
    tree = fast.uniform(x, side=side, lower=lower, **shape)
    massless = mass is not None and least_mass(mass) == 0
    if massless or any(t.requires_grad for t in tensors):
        bad, _ = checks(flat, mass, velocity, charge)
        if bool(bad):
            raise fast.not_finite("masses, charges or velocities")
        if flat.requires_grad:
            moved = tree.position - flat.detach()[tree.order]
            tree = replace(tree, position=flat[tree.order] + moved)
        return _with_features(tree, flat, mass, velocity, charge, massless)
    ones = flat.new_ones(flat.shape[0]) if mass is None else mass
    return fast.features_of_cells(tree, ones, velocity, charge)


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
    """The uniform hierarchy of wrapped positions (particle, axis) in torch, without cells' features.

    graph: int64 (particle,); side: (graph,); lower: (graph, axis); ``bad``: a bool tensor, whether the
    input is not finite; then InvalidData is raised.
    """
    dims, graphs = position.shape[1], len(sizes)
    order, key, cells = build.sort_into_cells(position, graph, side, lower, levels)
    grids = build.build_grids(key, cells, dims, levels, bad)
    build.require_windows_fit(grids, dims, 'take fewer levels, or kernel="numba" on the CPU')
    touching = None
    separated, counts = [], []
    for grid, above in zip(grids, [*grids[1:], None], strict=True):
        finest = grid.level == levels
        near, apart = build.near_and_separated(grid, above, dims, graphs, periodic, finest)
        touching = near if finest else touching
        separated.append(apart)
        counts.append((apart != grid.key.shape[0]).sum())
    assert touching is not None
    # All counts in one tensor: the host waits for the device once.
    numbers = torch.stack([*counts, *build.count_near(grids[0], touching)]).tolist()
    listing, near_count = numbers.pop(), numbers.pop()
    build.require_edges_fit(near_count + sum(numbers), position.device, too_dense(levels))
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
