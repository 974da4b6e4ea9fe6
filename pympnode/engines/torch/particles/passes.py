"""The two ways of passing messages: along edges between particles, and through cells."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pympnode.graphs.cells import Hierarchy, pick
from pympnode.graphs.neighbours import ParticleEdges

from .networks import Networks


@dataclass(frozen=True, eq=False)
class CellValues:
    """What the networks know of the cells of one level.

    base (cell, base): total mass, (charge,) and mean velocity or total momentum. position (cell,
    axis): centre of mass. arrival: the same as it is seen by what comes up from the particles; it is
    another tensor only in the published HOGN.
    """

    base: Tensor
    position: Tensor
    arrival: Tensor | None = None


def between_particles(
    net: Networks, base: Tensor, position: Tensor, edges: ParticleEdges
) -> tuple[Tensor, Tensor]:
    """Node values and summed messages (particle, width), particles in the order given."""
    s, r = edges.sender, edges.receiver
    swapped = net.spec.behaviour == "published" and net.spec.join == "complete"
    difference = pick(position, s) - pick(position, r)
    geometry = net.geometry(-difference if swapped else difference)
    summed = net.edges("edge", base, base, geometry, s, r, swapped=swapped)
    return net.node("node", base, summed), summed


def through_cells(
    net: Networks, base: Tensor, position: Tensor, tree: Hierarchy, cells: list[CellValues]
) -> tuple[Tensor, Tensor]:
    """Node values and summed messages (particle, width), particles in cell order.

    Up: particles to their cells, cells to their parents. Down, from the top: cells on a level among
    each other together with their parent, then particles among each other with their cell.
    """
    own = torch.arange(tree.particles, device=position.device)
    finest = cells[0]
    arrival = finest.position if finest.arrival is None else finest.arrival
    geometry = net.geometry(position - pick(arrival, tree.cell))
    came = net.edges("up_particle", base, finest.base, geometry, own, tree.cell)
    upward = [torch.cat([finest.base, came], 1)]
    child_of: list[Tensor] = []
    for below, above, level in zip(cells, cells[1:], tree.levels):
        assert level.parent is not None
        child_of.append(torch.arange(level.size, device=position.device))
        geometry = net.geometry(below.position - pick(above.position, level.parent))
        came = net.edges("up_cell", upward[-1], above.base, geometry, child_of[-1], level.parent)
        upward.append(torch.cat([above.base, came], 1))

    above_vector: Tensor | None = None
    for i in reversed(range(len(cells))):
        level, here, vector = tree.levels[i], cells[i], upward[i]
        s, r = level.sender, level.receiver
        geometry = net.geometry(pick(here.position, s) - pick(here.position, r))
        summed = net.edges("cell_edge", vector, vector, geometry, s, r)
        if above_vector is not None:
            assert level.parent is not None
            geometry = net.geometry(pick(cells[i + 1].position, level.parent) - here.position)
            summed = summed + net.edges(
                "down_cell", above_vector, vector, geometry, level.parent, child_of[i]
            )
        above_vector = torch.cat([here.base, net.node("cell_node", vector, summed)], 1)

    assert above_vector is not None
    geometry = net.geometry(pick(finest.position, tree.cell) - position)
    summed = net.edges("down_particle", above_vector, base, geometry, tree.cell, own)
    s, r = tree.sender, tree.receiver
    geometry = net.geometry(pick(position, s) - pick(position, r))
    summed = summed + net.edges("edge", base, base, geometry, s, r)
    return net.node("node", base, summed), summed
