"""HOGN: a Hamiltonian of positions and momenta, and its equations of motion over one step.

With scaled inputs it is a potential beside the kinetic energy, and a step is a kick between two drifts.

Forces are derivatives of the network with respect to its inputs, and training differentiates them
again: both go through torch's autograd, on the plain edge sum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..graphs.cells import Hierarchy, pick
from ..graphs.features import level_sums, with_features
from ..graphs.neighbours import ParticleEdges
from .batch import ParticleBatch, columns
from .delta import cell_values, node_base
from .networks import Networks
from .passes import CellValues, between_particles, through_cells

Graph = ParticleEdges | Hierarchy


def hamiltonian(
    net: Networks, batch: ParticleBatch, position: Tensor, momentum: Tensor, graph: Graph
) -> Tensor:
    """H (set,) of positions and momenta (particle, axis); the graph is that of ``batch``.

    Every set has its own H. The published hierarchical model has one (1,) for the whole batch.
    """
    if isinstance(graph, ParticleEdges):
        base = columns(batch.mass, batch.charge, momentum)
        nodes = between_particles(net, base, position, graph)
        return net.whole(batch.per_set(nodes.own), batch.per_set(nodes.summed))
    order = graph.order
    mass = pick(batch.mass, order)
    charge = None if batch.charge is None else pick(batch.charge, order)
    x, p = pick(position, order), pick(momentum, order)
    make = _published_cells if net.spec.behaviour == "published" else _cells
    cells = make(net, graph, mass, charge, x, p)
    nodes = through_cells(net, columns(mass, charge, p), x, graph, cells)
    if net.spec.behaviour == "published":
        return net.whole(nodes.own.sum(0, keepdim=True), nodes.summed.sum(0, keepdim=True))
    # Cell order keeps the sets one after the other.
    return net.whole(batch.per_set(nodes.own), batch.per_set(nodes.summed))


def potential(net: Networks, batch: ParticleBatch, position: Tensor, graph: Graph) -> Tensor:
    """V (particle,) of positions (particle, axis), in units in which its slope is a velocity change
    over a step times a mass; cells move with their particles."""
    if isinstance(graph, ParticleEdges):
        base = node_base(net, batch.mass, batch.charge, batch.velocity)
        nodes = between_particles(net, base, position, graph)
    else:
        order = graph.order
        mass, x = pick(batch.mass, order), pick(position, order)
        charge = None if batch.charge is None else pick(batch.charge, order)
        velocity = pick(batch.velocity, order)
        moved = _moved(net, graph, mass, charge, x, velocity)
        base = node_base(net, mass, charge, velocity)
        nodes = through_cells(net, base, x, graph, cell_values(net, moved))
    parts = []
    if nodes.values is not None:
        parts.append(net.out(nodes.values))
    if nodes.pairs is not None:
        parts.append(net.energy(nodes.pairs))
    energy = parts[0] if len(parts) == 1 else parts[0] + parts[1]
    scales = net.scales
    return energy[:, 0] * (scales.mass * scales.length * scales.change)


def velocity_change(
    net: Networks, batch: ParticleBatch, graph: Graph, *, differentiable: bool
) -> Tensor:
    """Velocity change (particle, axis) of a step: -dV/dx over the mass. Of scaled inputs."""
    with torch.enable_grad():
        x = batch.position.detach().clone().requires_grad_()
        energy = potential(net, batch, x, graph).sum()
        (slope,) = torch.autograd.grad(energy, x, create_graph=differentiable)
    return -slope / batch.mass[:, None]


def flow(
    net: Networks, batch: ParticleBatch, position: Tensor, momentum: Tensor, graph: Graph,
    *, differentiable: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(dx/dt, dp/dt, H): dH/dp, -dH/dx."""
    with torch.enable_grad():
        if not differentiable:
            position, momentum = position.detach(), momentum.detach()
        x = position if position.requires_grad else position.requires_grad_()
        p = momentum if momentum.requires_grad else momentum.requires_grad_()
        energy = hamiltonian(net, batch, x, p, graph)
        gx, gp = torch.autograd.grad(energy.sum(), (x, p), create_graph=differentiable)
    return gp, -gx, energy


def next_state(
    net: Networks, batch: ParticleBatch, graph: Graph, *, differentiable: bool
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """(position, velocity) after one step, and H at every stage. The graph is that of the start."""
    box, h = batch.box, net.step
    mass = batch.mass[:, None]
    x0 = batch.position.detach().clone()
    p0 = (batch.velocity * mass).detach()
    energies: list[Tensor] = []

    def slope(x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        dx, dp, energy = flow(net, batch, x, p, graph, differentiable=differentiable)
        energies.append(energy)
        return dx, dp

    dx1, dp1 = slope(x0, p0)
    if net.spec.integrator == "euler":
        dx, dp = dx1, dp1
    else:
        dx2, dp2 = slope(box.wrap(x0 + h / 2 * dx1), p0 + h / 2 * dp1)
        dx3, dp3 = slope(box.wrap(x0 + h / 2 * dx2), p0 + h / 2 * dp2)
        dx4, dp4 = slope(box.wrap(x0 + h * dx3), p0 + h * dp3)
        dx = (dx1 + 2 * dx2 + 2 * dx3 + dx4) / 6
        dp = (dp1 + 2 * dp2 + 2 * dp3 + dp4) / 6
    return box.wrap(x0 + h * dx), (p0 + h * dp) / mass, energies


def _cells(
    net: Networks, tree: Hierarchy, mass: Tensor, charge: Tensor | None, x: Tensor, p: Tensor
) -> list[CellValues]:
    """Cells that move with their particles: centres of mass on all levels, total momenta."""
    moved = _moved(net, tree, mass, charge, x, p / mass[:, None])
    return [
        CellValues(columns(a.mass, a.charge, a.velocity * a.mass[:, None]), a.position)  # type: ignore
        for a in moved.levels
    ]


def _moved(
    net: Networks, tree: Hierarchy, mass: Tensor, charge: Tensor | None, x: Tensor, v: Tensor
) -> Hierarchy:
    """The cells of particles at ``x``, which gradients pass.

    A particle that crosses the border within the step stays beside its cell: the mean is taken of
    the images nearest to where the step began.
    """
    near = tree.position + net.box.displacement(x - tree.position)
    return with_features(tree, mass, v, charge, position=near, massless=False)


def _published_cells(
    net: Networks, tree: Hierarchy, mass: Tensor, charge: Tensor | None, x: Tensor, p: Tensor
) -> list[CellValues]:
    """Cells as published: their momenta move, their positions are those of the start of the step.

    Only what arrives from the particles sees a finest cell's own centre, averaged without regard to
    the border.
    """
    parts = [mass[:, None], p, mass[:, None] * x]
    if charge is not None:
        parts.append(charge[:, None])
    dims = x.shape[1]
    out = []
    for i, (level, sums) in enumerate(zip(tree.levels, level_sums(tree, torch.cat(parts, 1)))):
        total, momentum = sums[:, 0], sums[:, 1 : 1 + dims]
        centre = sums[:, 1 + dims : 1 + 2 * dims] / total[:, None] if i == 0 else None
        values = columns(total, None if charge is None else sums[:, -1], momentum)
        assert level.position is not None
        out.append(CellValues(values, level.position.detach(), centre))
    return out
