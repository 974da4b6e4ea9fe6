"""DeltaGN: a graph network that predicts the change of the state over one step.

Sources: Sanchez-Gonzalez et al., "Hamiltonian graph networks with ODE integrators" (2019), the Delta
Graph Network: x' = x + dx, v' = v + dv with (dx, dv) the output of the network; its hierarchical
version from Martinkus, Lucchi, Perraudin (AAAI 2021). With scaled inputs, which are ours, the network
predicts dv alone.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..graphs.cells import Hierarchy, pick
from ..graphs.neighbours import ParticleEdges
from .batch import ParticleBatch, columns
from .networks import Networks
from .passes import CellValues, Nodes, between_particles, cell_unit, through_cells

Graph = ParticleEdges | Hierarchy
MASSLESS = (
    1e-20  # of the mean mass: its products with masses down to 1e-18 are normal float32 numbers
)


def raw_output(net: Networks, batch: ParticleBatch, graph: Graph) -> Tensor:
    """The output of the network (particle, output), in the order of the batch."""
    if isinstance(graph, ParticleEdges):
        base = node_base(net, batch.mass, batch.charge, batch.velocity, kind=batch.kind)
        source = sources(net, batch.mass, batch.charge)
        nodes = between_particles(net, base, batch.position, graph, source)
        return _output(net, nodes, batch.mass, source)
    order = graph.order
    charge = None if batch.charge is None else pick(batch.charge, order)
    mass = pick(batch.mass, order)
    kind = None if batch.kind is None else pick(batch.kind, order)
    base = node_base(net, mass, charge, pick(batch.velocity, order), kind=kind)
    cells = cell_values(net, graph, kind)
    source = sources(net, mass, charge)
    nodes = through_cells(net, base, pick(batch.position, order), graph, cells, source)
    return graph.given_order(_output(net, nodes, mass, source))


def cell_values(net: Networks, tree: Hierarchy, kind: Tensor | None = None) -> list[CellValues]:
    """The inputs of the networks for the cells of each level, finest level first.

    ``kind`` (particle, type) in cell order.
    """
    from ..graphs.features import level_sums

    cells = []
    kinds: list[Tensor | None] = [None] * len(tree.levels)
    if kind is not None:
        kinds = [counts / counts.sum(1, keepdim=True) for counts in level_sums(tree, kind)]
    for number, level in enumerate(tree.levels):
        assert level.mass is not None and level.velocity is not None
        assert level.position is not None
        unit = cell_unit(net, tree, number)
        values = node_base(net, level.mass, level.charge, level.velocity, unit, kinds[number])
        source = None
        if net.spec.weighted and not charges_multiply(net):
            # Per finest cell, as `node_base` has masses.
            source = scaled_mass(net, level.mass) / _volume(net, unit)
        cells.append(CellValues(values, level.position, source=source))
    return cells


def _volume(net: Networks, unit: float | Tensor) -> float | Tensor:
    """The square or cube of a unit of cells: a number or (cell,)."""
    if isinstance(unit, Tensor):
        return unit[:, 0] ** net.spec.dims
    return unit**net.spec.dims


def charges_multiply(net: Networks) -> bool:
    """Whether messages are multiplied by charges and not by masses."""
    return net.spec.charged and net.spec.mass_coupling == "product"


def scaled_mass(net: Networks, mass: Tensor) -> Tensor:
    """Masses (node,) in units of the mean mass; those of 0 take a number that no sum can see, so
    that they may divide."""
    return (mass / net.scales.mass).clamp_min(MASSLESS)


def sources(net: Networks, mass: Tensor, charge: Tensor | None) -> Tensor | None:
    """What messages are multiplied by (particle,): masses or charges in the model's units; None
    where they are not (`ParticleSpec.mass_coupling`)."""
    if not net.spec.weighted:
        return None
    if charges_multiply(net):
        assert charge is not None
        return charge / net.scales.charge
    return scaled_mass(net, mass)


def _output(net: Networks, nodes: Nodes, mass: Tensor, source: Tensor | None) -> Tensor:
    """The last layer of the node values, plus the pairs' impulses divided by the masses."""
    terms = []
    inverse = net.scales.mass / mass if source is None else 1 / scaled_mass(net, mass)
    if nodes.values is not None:
        out = net.out(nodes.values)
        if charges_multiply(net):
            assert source is not None
            out = out * (source * inverse)[:, None]
        terms.append(out)
    if nodes.pairs is not None:
        terms.append(net.impulse(nodes.pairs) * inverse[:, None])
    return terms[0] if len(terms) == 1 else terms[0] + terms[1]


def velocity_change(net: Networks, batch: ParticleBatch, output: Tensor) -> Tensor:
    """Velocity change (particle, axis), in units of velocity, of an output (particle, output)."""
    if net.spec.inputs == "scaled":
        change = output * net.scales.change
    else:
        change = output[:, net.spec.dims :]
    # Fixed particles take up momentum, so that the total is not conserved.
    if net.spec.conserve_momentum and batch.free is None:
        # The same change is taken from every particle, so that the total momentum of each set stays
        # what it was: sum m (dv - mean) = 0 with the mean weighted by mass.
        mass = batch.mass[:, None]
        total = batch.per_set(mass)
        mean = batch.per_set(mass * change) / torch.where(total > 0, total, 1)
        change = change - pick(mean, batch.sample)
    return change


def next_state(net: Networks, batch: ParticleBatch, output: Tensor) -> tuple[Tensor, Tensor]:
    """(position, velocity) after one step of plain inputs: x + dx wrapped into the box, v + dv."""
    moved = batch.position + output[:, : net.spec.dims]
    return batch.box.wrap(moved), batch.velocity + velocity_change(net, batch, output)


def published_charges(tree: Hierarchy, mass: Tensor, charge: Tensor) -> Hierarchy:
    """The hierarchy whose cells carry their mass-weighted mean charge instead of their total charge.

    mass, charge: (particle,) in cell order. The published rollout does this from the second step on,
    to a model that was trained on the sum.
    """
    from ..graphs.features import level_sums

    sums = level_sums(tree, (mass * charge)[:, None])
    levels = tuple(
        replace(a, charge=s[:, 0] / a.mass)  # type: ignore[operator]
        for a, s in zip(tree.levels, sums)
    )
    return replace(tree, levels=levels)


def node_base(
    net: Networks,
    mass: Tensor,
    charge: Tensor | None,
    velocity: Tensor,
    unit: float | Tensor | None = None,
    kind: Tensor | None = None,
) -> Tensor:
    """Base inputs (node, base) of the networks: mass, (charge,) (velocity) (type), in the model's scales.

    mass, charge: (node,); velocity: (node, axis). ``unit``: that of cells
    (`passes.cell_unit`); None: the nodes are particles.
    """
    if net.spec.inputs == "plain":
        return columns(mass, charge, velocity)
    scales = net.scales
    # A leapfrog update depends on positions only.
    moving = None if net.spec.update == "leapfrog" else velocity / scales.velocity
    if net.spec.types:
        assert kind is not None
        moving = kind if moving is None else torch.cat([moving, kind], 1)
    if net.spec.mass_coupling == "product":
        return velocity.new_zeros(len(velocity), 0) if moving is None else moving
    scaled_mass = mass / scales.mass
    if unit is not None:
        # Per finest cell, so that a cell of any level looks like one of the finest.
        volume = _volume(net, unit)
        scaled_mass = scaled_mass / volume
        charge = None if charge is None else charge / volume
        # Masses of cells span powers of four, since levels differ by four cells in a plane; half the
        # logarithm to base two counts levels.
        scaled_mass = 0.5 * torch.log2(scaled_mass.clamp_min(1e-3))
    scaled_charge = None if charge is None else charge / scales.charge
    return columns(scaled_mass, scaled_charge, moving)
