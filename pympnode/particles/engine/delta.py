"""DeltaGN: the change of the state over one step."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from ..graphs.cells import Hierarchy, pick
from ..graphs.neighbours import ParticleEdges
from .batch import ParticleBatch, columns
from .networks import Networks
from .passes import CellValues, Nodes, between_particles, through_cells

Graph = ParticleEdges | Hierarchy


def raw_output(net: Networks, batch: ParticleBatch, graph: Graph) -> Tensor:
    """What the network predicts (particle, output), particles in the order given."""
    if isinstance(graph, ParticleEdges):
        base = node_base(net, batch.mass, batch.charge, batch.velocity)
        return _output(net, between_particles(net, base, batch.position, graph), batch.mass)
    order = graph.order
    charge = None if batch.charge is None else pick(batch.charge, order)
    mass = pick(batch.mass, order)
    base = node_base(net, mass, charge, pick(batch.velocity, order))
    cells = cell_values(net, graph)
    nodes = through_cells(net, base, pick(batch.position, order), graph, cells)
    return graph.given_order(_output(net, nodes, mass))


def cell_values(net: Networks, tree: Hierarchy) -> list[CellValues]:
    """Cells as the networks take them, finest level first."""
    cells = []
    for number, level in enumerate(tree.levels):
        assert level.mass is not None and level.velocity is not None
        assert level.position is not None
        values = node_base(net, level.mass, level.charge, level.velocity, coarser=number)
        cells.append(CellValues(values, level.position))
    return cells


def _output(net: Networks, nodes: Nodes, mass: Tensor) -> Tensor:
    """The last layer, and impulses over the mass they act on."""
    parts = []
    if nodes.values is not None:
        parts.append(net.out(nodes.values))
    if nodes.pairs is not None:
        parts.append(net.impulse(nodes.pairs) * (net.scales.mass / mass)[:, None])
    return parts[0] if len(parts) == 1 else parts[0] + parts[1]


def velocity_change(net: Networks, batch: ParticleBatch, output: Tensor) -> Tensor:
    """Velocity change (particle, axis) that an output means."""
    if net.spec.inputs == "scaled":
        change = output * net.scales.change
    else:
        change = output[:, net.spec.dims :]
    if net.spec.conserve_momentum:
        # The same share for every particle, so that the total momentum of each set stands still.
        mass = batch.mass[:, None]
        total = batch.per_set(mass)
        mean = batch.per_set(mass * change) / torch.where(total > 0, total, 1)
        change = change - pick(mean, batch.sample)
    return change


def next_state(net: Networks, batch: ParticleBatch, output: Tensor) -> tuple[Tensor, Tensor]:
    """(position, velocity) after the step that a plain output means: the old ones plus the changes."""
    moved = batch.position + output[:, : net.spec.dims]
    return batch.box.wrap(moved), batch.velocity + velocity_change(net, batch, output)


def published_charges(tree: Hierarchy, mass: Tensor, charge: Tensor) -> Hierarchy:
    """The cells with their mass-weighted mean charge in place of their charge.

    What the published rollout feeds to a model that was trained on the sum (from the second step on).
    """
    from ..graphs.features import level_sums

    sums = level_sums(tree, (mass * charge)[:, None])
    levels = tuple(
        replace(a, charge=s[:, 0] / a.mass)  # type: ignore[operator]
        for a, s in zip(tree.levels, sums)
    )
    return replace(tree, levels=levels)


def node_base(
    net: Networks, mass: Tensor, charge: Tensor | None, velocity: Tensor, coarser: int | None = None
) -> Tensor:
    """mass, (charge,) (velocity) as the networks take them; of cells ``coarser`` levels above the
    finest."""
    if net.spec.inputs == "plain":
        return columns(mass, charge, velocity)
    scales = net.scales
    heavy = mass / scales.mass
    if coarser:
        share = net.spec.cell_unit(coarser) ** net.spec.dims
        heavy, charge = heavy / share, None if charge is None else charge / share
    if coarser is not None:
        # Masses of cells span powers of four; half the power of two is a number of levels.
        heavy = 0.5 * torch.log2(heavy.clamp_min(1e-3))
    seen = None if net.spec.update == "leapfrog" else velocity / scales.velocity
    return columns(heavy, None if charge is None else charge / scales.charge, seen)
