"""HOGN: a network that is the Hamiltonian H(x, p), and its equations of motion over one step.

Sources: Sanchez-Gonzalez et al., "Hamiltonian graph networks with ODE integrators" (2019):
dx/dt = dH/dp, dp/dt = -dH/dx, integrated over the step; its hierarchical version from Martinkus,
Lucchi, Perraudin (AAAI 2021). With scaled inputs, which are ours, H = sum p^2 / 2m + V(x), and a step
is drift, kick, drift: half a step of free flight, a velocity change -dV/dx / m, half a step of flight.

Forces are derivatives of the network with respect to its inputs, and training differentiates them
again: both go through torch's autograd, on the eager edge sum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..graphs.cells import Hierarchy, pick
from ..graphs.features import level_sums, with_features
from ..graphs.neighbours import ParticleEdges
from .batch import ParticleBatch, columns
from .delta import cell_values, node_base, scaled_mass, sources
from .networks import Networks
from .passes import CellValues, between_particles, through_cells

Graph = ParticleEdges | Hierarchy


def hamiltonian(
    net: Networks, batch: ParticleBatch, position: Tensor, momentum: Tensor, graph: Graph
) -> Tensor:
    """H of positions and momenta (particle, axis): (set,), one for each set of the batch.

    ``graph`` is that of ``batch``. The published hierarchical model has one H (1,) for the whole
    batch.
    """
    if isinstance(graph, ParticleEdges):
        base = columns(batch.mass, batch.charge, momentum)
        nodes = between_particles(net, base, position, graph)
        return net.global_energy(batch.per_set(nodes.node_values), batch.per_set(nodes.summed))
    order = graph.order
    mass = pick(batch.mass, order)
    charge = None if batch.charge is None else pick(batch.charge, order)
    x, p = pick(position, order), pick(momentum, order)
    make = _published_cells if net.spec.behaviour == "published" else _cells
    cells = make(net, graph, mass, charge, x, p)
    nodes = through_cells(net, columns(mass, charge, p), x, graph, cells)
    if net.spec.behaviour == "published":
        return net.global_energy(
            nodes.node_values.sum(0, keepdim=True), nodes.summed.sum(0, keepdim=True)
        )
    # Cell order keeps the sets one after the other.
    return net.global_energy(batch.per_set(nodes.node_values), batch.per_set(nodes.summed))


def potential(net: Networks, batch: ParticleBatch, position: Tensor, graph: Graph) -> Tensor:
    """V (particle,), the potential energy per particle at positions (particle, axis).

    In units of mass * length * velocity: -dV/dx is the momentum change over one step. The positions
    of cells move with those of their particles, so that gradients pass through them.
    """
    if isinstance(graph, ParticleEdges):
        base = node_base(net, batch.mass, batch.charge, batch.velocity, kind=batch.kind)
        source = sources(net, batch.mass, batch.charge)
        nodes = between_particles(net, base, position, graph, source)
    else:
        order = graph.order
        mass, x = pick(batch.mass, order), pick(position, order)
        charge = None if batch.charge is None else pick(batch.charge, order)
        velocity = pick(batch.velocity, order)
        moved = _moved(net, graph, mass, charge, x, velocity)
        kind = None if batch.kind is None else pick(batch.kind, order)
        base = node_base(net, mass, charge, velocity, kind=kind)
        source = sources(net, mass, charge)
        nodes = through_cells(net, base, x, graph, cell_values(net, moved, kind), source)
    terms = []
    if nodes.values is not None:
        out = net.out(nodes.values)
        terms.append(out if source is None else out * source[:, None])
    if nodes.pairs is not None:
        terms.append(net.energy(nodes.pairs))
    energy = terms[0] if len(terms) == 1 else terms[0] + terms[1]
    scales = net.scales
    return energy[:, 0] * (scales.mass * scales.length * scales.change)


def velocity_change(
    net: Networks, batch: ParticleBatch, graph: Graph, *, differentiable: bool
) -> Tensor:
    """Velocity change (particle, axis) over one step, -dV/dx / m, of a model with scaled inputs.

    ``differentiable``: keep what a second derivative, that of a loss, needs.
    """
    with torch.enable_grad():
        x = batch.position.detach().clone().requires_grad_()
        energy = potential(net, batch, x, graph).sum()
        (grad_position,) = torch.autograd.grad(energy, x, create_graph=differentiable)
    if net.spec.weighted:
        return -grad_position / (net.scales.mass * scaled_mass(net, batch.mass))[:, None]
    return -grad_position / batch.mass[:, None]


def flow(
    net: Networks, batch: ParticleBatch, position: Tensor, momentum: Tensor, graph: Graph,
    *, differentiable: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """(dx/dt, dp/dt, H) by Hamilton's equations: dH/dp and -dH/dx (particle, axis), and H (set,)."""
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
    """(position, velocity) (particle, axis) after one step of plain inputs, and H at every stage.

    The step is classical RK4 or Euler (``spec.integrator``); all stages use the graph of the start.
    """
    box, h = batch.box, net.step
    mass = batch.mass[:, None]
    x0 = batch.position.detach().clone()
    p0 = (batch.velocity * mass).detach()
    energies: list[Tensor] = []

    def derivatives(x: Tensor, p: Tensor) -> tuple[Tensor, Tensor]:
        dx, dp, energy = flow(net, batch, x, p, graph, differentiable=differentiable)
        energies.append(energy)
        return dx, dp

    dx1, dp1 = derivatives(x0, p0)
    if net.spec.integrator == "euler":
        dx, dp = dx1, dp1
    else:
        dx2, dp2 = derivatives(box.wrap(x0 + h / 2 * dx1), p0 + h / 2 * dp1)
        dx3, dp3 = derivatives(box.wrap(x0 + h / 2 * dx2), p0 + h / 2 * dp2)
        dx4, dp4 = derivatives(box.wrap(x0 + h * dx3), p0 + h * dp3)
        dx = (dx1 + 2 * dx2 + 2 * dx3 + dx4) / 6
        dp = (dp1 + 2 * dp2 + 2 * dp3 + dp4) / 6
    return box.wrap(x0 + h * dx), (p0 + h * dp) / mass, energies


def _cells(
    net: Networks, tree: Hierarchy, mass: Tensor, charge: Tensor | None, x: Tensor, p: Tensor
) -> list[CellValues]:
    """The cells' inputs, differentiable in x and p: centres of mass on all levels, total momenta."""
    moved = _moved(net, tree, mass, charge, x, p / mass[:, None])
    return [
        CellValues(columns(a.mass, a.charge, a.velocity * a.mass[:, None]), a.position)  # type: ignore
        for a in moved.levels
    ]


def _moved(
    net: Networks, tree: Hierarchy, mass: Tensor, charge: Tensor | None, x: Tensor, v: Tensor
) -> Hierarchy:
    """The hierarchy with the cells' features for particles at ``x`` (particle, axis), differentiable.

    A particle that crosses the border within the step would pull its cell's mean across the box: the
    mean is taken of the images nearest to the particles' positions at the start of the step.
    """
    near = tree.position + net.box.displacement(x - tree.position)
    return with_features(tree, mass, v, charge, position=near, massless=False)


def _published_cells(
    net: Networks, tree: Hierarchy, mass: Tensor, charge: Tensor | None, x: Tensor, p: Tensor
) -> list[CellValues]:
    """The cells' inputs as published: momenta depend on p, positions stay those of the step's start.

    The edges from particles up to their cells alone use a centre that depends on x, averaged without
    regard to the border.
    """
    moments = [mass[:, None], p, mass[:, None] * x]
    if charge is not None:
        moments.append(charge[:, None])
    dims = x.shape[1]
    out = []
    for i, (level, sums) in enumerate(zip(tree.levels, level_sums(tree, torch.cat(moments, 1)))):
        total, momentum = sums[:, 0], sums[:, 1 : 1 + dims]
        centre = sums[:, 1 + dims : 1 + 2 * dims] / total[:, None] if i == 0 else None
        values = columns(total, None if charge is None else sums[:, -1], momentum)
        assert level.position is not None
        out.append(CellValues(values, level.position.detach(), centre))
    return out
