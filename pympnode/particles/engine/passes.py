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
    """The inputs of the networks for the cells of one level.

    base (cell, base): total mass, (charge,) and mean velocity or total momentum. position (cell, axis):
    centre of mass. particle_position (cell, axis): the position that the edges from the particles up to
    their cells use instead; it differs in the published HOGN alone. source (cell,): total mass in units
    of the model's mean mass, per finest cell, where messages are weighted by mass.
    """

    base: Tensor
    position: Tensor
    particle_position: Tensor | None = None
    source: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Nodes:
    """What the message passes give for the particles.

    values (particle, node width): output of the node network, None where only pairs act. summed
    (particle, edge width): summed messages, the node network's input. pairs (particle, edge width):
    messages that bypass the node network: antisymmetric ones received minus those sent, or symmetric
    ones received.
    """

    values: Tensor | None
    summed: Tensor
    pairs: Tensor | None = None

    @property
    def node_values(self) -> Tensor:
        """``values`` of a model that has a node network."""
        assert self.values is not None
        return self.values


def between_particles(
    net: Networks,
    base: Tensor,
    position: Tensor,
    edges: ParticleEdges,
    source: Tensor | None = None,
) -> Nodes:
    """One pass along edges between particles.

    base (particle, base), position (particle, axis), source (particle,), the masses or charges that
    messages are weighted by, and the result are in the order of the batch.
    """
    s, r = edges.sender, edges.receiver
    # The published complete graph sums at the sender; equal to ours with the roles exchanged.
    swapped = net.spec.behaviour == "published" and net.spec.join == "complete"
    minuend, subtrahend = (r, s) if swapped else (s, r)
    features = _edge_features(net, (position, base, minuend), (position, base, subtrahend))
    antisymmetric = net.spec.messages == "antisymmetric"
    summed = net.edges(
        "edge", base, base, features, s, r, swapped=swapped, antisymmetric=antisymmetric,
        factor=_pair_factor(net, source, s, r),
    )  # fmt: skip
    if net.spec.pairwise:
        return Nodes(None, summed, summed)
    return Nodes(net.node("node", base, summed), summed)


def cell_unit(net: Networks, tree: Hierarchy, coarser: int) -> float | Tensor:
    """What lengths at the cells ``coarser`` levels above the finest are divided by, a number or
    (cell, 1), see `ParticleSpec.cell_units`: in sides of a finest cell, or in mean spacings."""
    if net.spec.cell_units == "finest":
        return net.spec.cell_unit(coarser)
    level = tree.levels[coarser]
    cells = 2.0**level.level * net.scales.length
    if tree.periodic:
        return net.box.cube / cells
    return pick((tree.side / cells).to(tree.position.dtype), level.graph)[:, None]


def _unit_at(unit: float | Tensor, index: Tensor) -> float | Tensor:
    return pick(unit, index) if isinstance(unit, Tensor) else unit


def through_cells(
    net: Networks,
    base: Tensor,
    position: Tensor,
    tree: Hierarchy,
    cells: list[CellValues],
    source: Tensor | None = None,
) -> Nodes:
    """Passes through the cells of a hierarchy (Martinkus, Lucchi, Perraudin, AAAI 2021).

    base (particle, base), position (particle, axis), source (particle,), the masses or charges that
    messages are weighted by, and the result are in cell order; ``cells`` finest level first. Up: from
    particles to their cells, from cells to their parents. Down, from the top: cells of one level from
    each other and from their parent, then particles from each other and from their cell.
    """
    particle = torch.arange(tree.particles, device=position.device)
    finest, spec = cells[0], net.spec
    centre = finest.position if finest.particle_position is None else finest.particle_position
    units = [cell_unit(net, tree, number) for number in range(len(cells))]
    own_cell = _unit_at(units[0], tree.cell)
    features = _edge_features(
        net, (position, base, None), (centre, finest.base, tree.cell), own_cell
    )
    received = net.edges(
        "up_particle", base, finest.base, features, particle, tree.cell, factor=source
    )
    received = _per_mass(received, finest.source)
    if spec.cell_units == "side" and source is None:
        received = received / units[0] ** spec.dims  # their number grows with the cell
    upward = [torch.cat([finest.base, received], 1)]
    child_of: list[Tensor] = []
    for below, above, level in zip(cells, cells[1:], tree.levels):
        assert level.parent is not None
        child_of.append(torch.arange(level.size, device=position.device))
        features = _edge_features(
            net,
            (below.position, below.base, None),
            (above.position, above.base, level.parent),
            units[len(child_of) - 1],
        )
        received = net.edges(
            "up_cell", upward[-1], above.base, features, child_of[-1], level.parent,
            factor=below.source,
        )  # fmt: skip
        if tree.shared is not None and len(child_of) == tree.shared.number:
            received = tree.shared.complete(received)
        received = _per_mass(received, above.source)
        # Sums grow with the number of finest cells below; in units of it they are alike on all
        # levels. It is 1 for plain inputs.
        upward.append(torch.cat([above.base, received / spec.cell_unit(1) ** spec.dims], 1))

    above_vector: Tensor | None = None
    for i in reversed(range(len(cells))):
        level, here, vector = tree.levels[i], cells[i], upward[i]
        s, r = level.sender, level.receiver
        unit = units[i]
        x, values = here.position, here.base
        features = _edge_features(net, (x, values, s), (x, values, r), _unit_at(unit, s))
        weight = None if here.source is None else pick(here.source, s)
        summed = net.edges("cell_edge", vector, vector, features, s, r, factor=weight)
        if above_vector is not None:
            assert level.parent is not None
            above = cells[i + 1]
            parent = (above.position, above.base, level.parent)
            features = _edge_features(net, parent, (x, values, None), unit)
            summed = summed + net.edges(
                "down_cell", above_vector, vector, features, level.parent, child_of[i]
            )
        above_vector = torch.cat([here.base, net.node("cell_node", vector, summed)], 1)

    assert above_vector is not None
    features = _edge_features(
        net, (finest.position, finest.base, tree.cell), (position, base, None), own_cell
    )
    summed = net.edges("down_particle", above_vector, base, features, tree.cell, particle)
    s, r = tree.sender, tree.receiver
    features = _edge_features(net, (position, base, s), (position, base, r))
    antisymmetric = net.spec.messages == "antisymmetric"
    factor = _pair_factor(net, source, s, r)
    near = net.edges("edge", base, base, features, s, r, antisymmetric=antisymmetric, factor=factor)
    if net.spec.messages != "directed":
        # Momenta and energies of pairs are linear in their messages: no node network may mix them.
        return Nodes(net.node("node", base, summed), summed, near)
    summed = summed + near
    return Nodes(net.node("node", base, summed), summed)


def _pair_factor(
    net: Networks, source: Tensor | None, sender: Tensor, receiver: Tensor
) -> Tensor | None:
    """What multiplies the messages between two particles (edge,), see `ParticleSpec.mass_coupling`."""
    if source is None:
        return None
    sent, received = pick(source, sender), pick(source, receiver)
    reduced = net.spec.mass_coupling == "reduced"
    if net.spec.messages == "directed":  # summed into the node network of the receiver
        return sent / (sent + received) if reduced else sent
    return sent * (received / (sent + received)) if reduced else sent * received


def _per_mass(received: Tensor, source: Tensor | None) -> Tensor:
    """Sums of messages weighted by mass as means; unchanged where they are not weighted."""
    return received if source is None else received / source[:, None]


# Positions (node, axis), base values (node, base) and the node number of every edge (edge,) at one
# end of the edges; None as numbers: node e ends edge e.
End = tuple[Tensor, Tensor, Tensor | None]


def _edge_features(net: Networks, sender: End, receiver: End, unit: float | Tensor = 1.0) -> Tensor:
    """Features (edge, feature) of the edges between two ends; ``unit`` as in `Networks`."""

    def at(values: Tensor, index: Tensor | None) -> Tensor:
        return values if index is None else pick(values, index)

    (x, sender_base, s), (y, receiver_base, r) = sender, receiver
    strength = None
    if net.spec.strength_is_input:
        strength = at(sender_base[:, 1], s) * at(receiver_base[:, 1], r)
    return net.edge_features(at(x, s) - at(y, r), strength, unit)
