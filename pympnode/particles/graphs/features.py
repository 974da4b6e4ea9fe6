"""Sums and means over the cells of a hierarchy, differentiable in the particles' values."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .cells import Hierarchy, Level


def level_sums(hierarchy: Hierarchy, values: Tensor) -> list[Tensor]:
    """Sum of a value a particle (particle, ...) in cell order over each cell, finest level first.

    Every level is summed from the one below. Gradients pass.
    """
    out: list[Tensor] = []
    for i, level in enumerate(hierarchy.levels):
        total = values.new_zeros(level.size, *values.shape[1:])
        if hierarchy.leaf is None:
            if i == 0:
                total = total.index_add(0, hierarchy.cell, values)
        else:
            here = hierarchy.particles_of(level)
            total = total.index_add(0, hierarchy.cell[here], values[here])
        if i > 0:
            parent = hierarchy.levels[i - 1].parent
            assert parent is not None
            total = total.index_add(0, parent, out[-1])
        out.append(total)
    return out


def with_features(
    hierarchy: Hierarchy,
    mass: Tensor,
    velocity: Tensor | None = None,
    charge: Tensor | None = None,
    *,
    position: Tensor | None = None,
    massless: bool = True,
) -> Hierarchy:
    """The hierarchy with total mass (and charge), centre of mass and mean velocity of each cell.

    mass, charge: (particle,); position (default: the wrapped one), velocity: (particle, axis); all
    in cell order. Charge is summed in every builder (the published rollout builder averages it).
    ``massless=False`` promises that no mass is zero, which saves the plain means that cells
    without any mass take instead.
    """
    position = hierarchy.position if position is None else position
    parts = [mass[:, None], mass[:, None] * position]
    if velocity is not None:
        parts.append(mass[:, None] * velocity)
    if charge is not None:
        parts.append(charge[:, None])
    weighted = level_sums(hierarchy, torch.cat(parts, 1))
    plain = None
    if massless:
        ones = torch.ones_like(mass)[:, None]
        moving = [position] if velocity is None else [position, velocity]
        plain = level_sums(hierarchy, torch.cat([ones, *moving], 1))
    levels = []
    dims = hierarchy.dims
    for i, level in enumerate(hierarchy.levels):
        total = weighted[i][:, :1]
        moments = weighted[i][:, 1 : 1 + dims * (1 if velocity is None else 2)]
        if plain is None:
            mean = moments / total
        else:
            heavy = total > 0
            mean = torch.where(
                heavy,
                moments / torch.where(heavy, total, 1),
                plain[i][:, 1:] / plain[i][:, :1],
            )
        levels.append(
            replace(
                level,
                mass=weighted[i][:, 0],
                position=mean[:, :dims],
                velocity=None if velocity is None else mean[:, dims:],
                charge=None if charge is None else weighted[i][:, -1],
            )
        )
    return replace(hierarchy, levels=tuple(levels))


def children(hierarchy: Hierarchy, level: Level) -> tuple[Tensor, Tensor]:
    """(child, parent) of the cells of the next finer level under ``level``; empty on the finest."""
    place = next(i for i, other in enumerate(hierarchy.levels) if other is level)
    if place == 0:
        none = hierarchy.cell.new_zeros(0)
        return none, none
    finer = hierarchy.levels[place - 1]
    assert finer.parent is not None
    return torch.arange(finer.size, device=finer.cells.device), finer.parent
