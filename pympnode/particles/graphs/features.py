"""Sums and means over the cells of a hierarchy, differentiable in the particles' values."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .cells import Hierarchy, Level


def level_sums(hierarchy: Hierarchy, values: Tensor) -> list[Tensor]:
    """Sums (cell, ...) of particle values (particle, ...) over each cell, finest level first.

    ``values`` are in cell order. Every level is summed from the next finer one, so that the work is
    that of one pass over particles and cells. Gradients pass.
    """
    out: list[Tensor] = []
    for i, level in enumerate(hierarchy.levels):
        total = values.new_zeros(level.size, *values.shape[1:])
        if hierarchy.leaf is None:
            if i == 0:
                total = total.index_add(0, hierarchy.cell, values)
        else:
            leaves = hierarchy.particles_of(level)
            total = total.index_add(0, hierarchy.cell[leaves], values[leaves])
        if i > 0:
            parent = hierarchy.levels[i - 1].parent
            assert parent is not None
            total = total.index_add(0, parent, out[-1])
        if hierarchy.shared is not None and i == hierarchy.shared.number:
            total = hierarchy.shared.complete(total)
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
    ``massless=False`` states that no mass is zero: it saves the plain means that cells without any
    mass take instead.
    """
    position = hierarchy.position if position is None else position
    # One sum over all columns: separate sums would each gather the cells again.
    columns = [mass[:, None], mass[:, None] * position]
    if velocity is not None:
        columns.append(mass[:, None] * velocity)
    if charge is not None:
        columns.append(charge[:, None])
    weighted = level_sums(hierarchy, torch.cat(columns, 1))
    plain = None
    if massless:
        ones = torch.ones_like(mass)[:, None]
        vectors = [position] if velocity is None else [position, velocity]
        plain = level_sums(hierarchy, torch.cat([ones, *vectors], 1))
    levels = []
    dims = hierarchy.dims
    for i, level in enumerate(hierarchy.levels):
        total = weighted[i][:, :1]
        moments = weighted[i][:, 1 : 1 + dims * (1 if velocity is None else 2)]
        if plain is None:
            mean = moments / total
        else:
            has_mass = total > 0
            # The inner `where` keeps the gradient of the branch that is not taken from being NaN.
            mean = torch.where(
                has_mass,
                moments / torch.where(has_mass, total, 1),
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
    """(child, parent), int64 (child,): the next finer level's cells and their parents in ``level``.

    Both are empty on the finest level.
    """
    index = next(i for i, other in enumerate(hierarchy.levels) if other is level)
    if index == 0:
        none = hierarchy.cell.new_zeros(0)
        return none, none
    finer = hierarchy.levels[index - 1]
    assert finer.parent is not None
    return torch.arange(finer.size, device=finer.cells.device), finer.parent
