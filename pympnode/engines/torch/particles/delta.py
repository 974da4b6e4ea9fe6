"""DeltaGN: the change of the state over one step."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pympnode.graphs.cells import Hierarchy, pick
from pympnode.graphs.neighbours import ParticleEdges

from .batch import ParticleBatch, columns
from .networks import Networks
from .passes import CellValues, between_particles, through_cells

Graph = ParticleEdges | Hierarchy


def raw_output(net: Networks, batch: ParticleBatch, graph: Graph) -> Tensor:
    """What the network predicts (particle, output), particles in the order given."""
    if isinstance(graph, ParticleEdges):
        base = _base(net, batch.mass, batch.charge, batch.velocity, False)
        return net.out(between_particles(net, base, batch.position, graph)[0])
    order = graph.order
    charge = None if batch.charge is None else pick(batch.charge, order)
    base = _base(net, pick(batch.mass, order), charge, pick(batch.velocity, order), False)
    cells = []
    for level in graph.levels:
        assert level.mass is not None and level.velocity is not None
        assert level.position is not None
        values = _base(net, level.mass, level.charge, level.velocity, True)
        cells.append(CellValues(values, level.position))
    nodes, _ = through_cells(net, base, pick(batch.position, order), graph, cells)
    return graph.given_order(net.out(nodes))


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
    """(position, velocity) after the step that an output means.

    Plain: the old ones plus the changes. Scaled: v' = v + dv, x' = x + (v + v') step / 2.
    """
    change = velocity_change(net, batch, output)
    velocity = batch.velocity + change
    if net.spec.inputs == "scaled":
        moved = batch.position + (batch.velocity + 0.5 * change) * net.step
    else:
        moved = batch.position + output[:, : net.spec.dims]
    return batch.box.wrap(moved), velocity


def published_charges(tree: Hierarchy, mass: Tensor, charge: Tensor) -> Hierarchy:
    """The cells with their mass-weighted mean charge in place of their charge.

    What the published rollout feeds to a model that was trained on the sum (from the second step on).
    """
    from pympnode.graphs.features import level_sums

    sums = level_sums(tree, (mass * charge)[:, None])
    levels = tuple(
        replace(a, charge=s[:, 0] / a.mass)  # type: ignore[operator]
        for a, s in zip(tree.levels, sums)
    )
    return replace(tree, levels=levels)


def _base(
    net: Networks, mass: Tensor, charge: Tensor | None, velocity: Tensor, cells: bool
) -> Tensor:
    """mass, (charge,) velocity as the networks take them."""
    if net.spec.inputs == "plain":
        return columns(mass, charge, velocity)
    scales = net.scales
    heavy = mass / scales.mass
    if cells:
        # Masses of cells span powers of four; half the power of two is a number of levels.
        heavy = 0.5 * torch.log2(heavy.clamp_min(1e-3))
    return columns(
        heavy, None if charge is None else charge / scales.charge, velocity / scales.velocity
    )
