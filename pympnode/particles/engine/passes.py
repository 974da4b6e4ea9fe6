"""The two ways of passing messages: along edges between particles, and through cells."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..graphs.cells import Hierarchy, pick
from ..graphs.neighbours import ParticleEdges
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


@dataclass(frozen=True, eq=False)
class Nodes:
    """What became of the particles.

    values (particle, node width): None where only pairs act. summed (particle, edge width): what the
    node network took. pairs (particle, edge width): what particles do to each other past the node
    network: antisymmetric messages received minus those sent, or symmetric ones received.
    """

    values: Tensor | None
    summed: Tensor
    pairs: Tensor | None = None

    @property
    def own(self) -> Tensor:
        """The values, of a model that has a node network."""
        assert self.values is not None
        return self.values


def between_particles(net: Networks, base: Tensor, position: Tensor, edges: ParticleEdges) -> Nodes:
    """Particles that talk along edges; in the order given."""
    s, r = edges.sender, edges.receiver
    swapped = net.spec.behaviour == "published" and net.spec.join == "complete"
    one, other = (r, s) if swapped else (s, r)
    geometry = _geometry(net, (position, base, one), (position, base, other))
    balanced = net.spec.messages == "antisymmetric"
    summed = net.edges("edge", base, base, geometry, s, r, swapped=swapped, balanced=balanced)
    if net.spec.pairwise:
        return Nodes(None, summed, summed)
    return Nodes(net.node("node", base, summed), summed)


def through_cells(
    net: Networks, base: Tensor, position: Tensor, tree: Hierarchy, cells: list[CellValues]
) -> Nodes:
    """Particles that talk through cells; in cell order.

    Up: particles to their cells, cells to their parents. Down, from the top: cells on a level among
    each other together with their parent, then particles among each other with their cell.
    """
    own = torch.arange(tree.particles, device=position.device)
    finest, spec = cells[0], net.spec
    arrival = finest.position if finest.arrival is None else finest.arrival
    geometry = _geometry(net, (position, base, None), (arrival, finest.base, tree.cell))
    came = net.edges("up_particle", base, finest.base, geometry, own, tree.cell)
    upward = [torch.cat([finest.base, came], 1)]
    child_of: list[Tensor] = []
    for below, above, level in zip(cells, cells[1:], tree.levels):
        assert level.parent is not None
        child_of.append(torch.arange(level.size, device=position.device))
        geometry = _geometry(
            net,
            (below.position, below.base, None),
            (above.position, above.base, level.parent),
            spec.cell_unit(len(child_of) - 1),
        )
        came = net.edges("up_cell", upward[-1], above.base, geometry, child_of[-1], level.parent)
        upward.append(torch.cat([above.base, came / spec.cell_unit(1) ** spec.dims], 1))

    above_vector: Tensor | None = None
    for i in reversed(range(len(cells))):
        level, here, vector = tree.levels[i], cells[i], upward[i]
        s, r = level.sender, level.receiver
        unit = spec.cell_unit(i)
        x, known = here.position, here.base
        geometry = _geometry(net, (x, known, s), (x, known, r), unit)
        summed = net.edges("cell_edge", vector, vector, geometry, s, r)
        if above_vector is not None:
            assert level.parent is not None
            above = cells[i + 1]
            parent = (above.position, above.base, level.parent)
            geometry = _geometry(net, parent, (x, known, None), unit)
            summed = summed + net.edges(
                "down_cell", above_vector, vector, geometry, level.parent, child_of[i]
            )
        above_vector = torch.cat([here.base, net.node("cell_node", vector, summed)], 1)

    assert above_vector is not None
    geometry = _geometry(net, (finest.position, finest.base, tree.cell), (position, base, None))
    summed = net.edges("down_particle", above_vector, base, geometry, tree.cell, own)
    s, r = tree.sender, tree.receiver
    geometry = _geometry(net, (position, base, s), (position, base, r))
    balanced = net.spec.messages == "antisymmetric"
    near = net.edges("edge", base, base, geometry, s, r, balanced=balanced)
    if net.spec.messages != "directed":  # near ones act by themselves alone
        return Nodes(net.node("node", base, summed), summed, near)
    summed = summed + near
    return Nodes(net.node("node", base, summed), summed)


# Positions, base values and, of every edge, the number of the node at that end; None: node e ends
# edge e.
End = tuple[Tensor, Tensor, Tensor | None]


def _geometry(net: Networks, sender: End, receiver: End, unit: float = 1.0) -> Tensor:
    """Functions of edges (edge, function)."""

    def at(values: Tensor, index: Tensor | None) -> Tensor:
        return values if index is None else pick(values, index)

    (x, known, s), (y, known_there, r) = sender, receiver
    strength = None
    if net.spec.charged and net.spec.inputs == "scaled":
        strength = at(known[:, 1], s) * at(known_there[:, 1], r)
    return net.geometry(at(x, s) - at(y, r), strength, unit)
