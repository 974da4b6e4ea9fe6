"""Radial messages: central forces between pairs, a learned function of the distance along the difference.

The momentum that body j gives to body i over a step is w_ij phi(s, u_ij) d / s, with the difference d
from i to j (nearest image), the softened distance s = sqrt(d^2 + near^2), a product of masses or
charges w_ij (`ParticleSpec.mass_coupling`) and phi = sum_k y_k (c / s)^k, k = 0 to 3, where y is a network
and c a length of the model. A network alone would have to learn the steep rise of most forces at
small distances before anything else, and is not small at distances beyond those of training. y takes
functions of s and symmetric functions u_ij of what is known of both bodies, so that the momenta of a
pair are equal and opposite, and rotations and reflections of all positions turn the forces and change
nothing else.

Beyond the distances of training (`ParticleScales.reach`) phi goes on as the power of the distance that it
falls with before: a network is any number there, and larger boxes have most of their pairs there.

A cell far away acts on a particle by the same phi (Barnes and Hut, Nature 324, 1986), from two points
for each axis that have the mean position and the covariance of its particles: the force of the cell
to second order in its size. Where charges multiply, its positive and its negative charges have points of
their own. There are no weights of cells, and a model of pairs is one of cells too.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..graphs.cells import Hierarchy, pick
from ..graphs.features import level_sums
from ..graphs.neighbours import ParticleEdges
from ..spec import RADIAL_POWERS, RADIAL_SPLIT, ParticleScales
from .batch import ParticleBatch
from .delta import charges_multiply, node_base, scaled_mass, sources
from .networks import Networks
from .products import linear

Graph = ParticleEdges | Hierarchy
# Shares of the reach of training between which phi gives the power law that continues it.
CONTINUED_FROM = (0.35, 0.45, 0.6, 0.75, 0.9)
# Edges that are computed at a time where no gradient is kept: layers of 32 numbers then stay in a cache.
CHUNK = {"cpu": 8192, "cuda": 1 << 20}


class _Bodies:
    """Particles, or the mean particles of cells: position (body, axis), base (body, base) and mass
    (body,) in units of the model, source (body,) or None, count (body,) of particles or None for 1."""

    def __init__(
        self,
        net: Networks,
        position: Tensor,
        mass: Tensor,
        charge: Tensor | None,
        kind: Tensor | None,
        count: Tensor | None = None,
    ) -> None:
        self.position, self.count = position, count
        # Radial messages depend on positions only: the third argument gives base its length and type.
        self.base = node_base(net, mass, charge, position, kind=kind)
        self.mass = scaled_mass(net, mass)
        self.source = sources(net, mass, charge)


def velocity_change(net: Networks, batch: ParticleBatch, graph: Graph) -> Tensor:
    """The output of a radial model (particle, axis), in units of ``scales.change`` and in the order of
    the batch: momenta received divided by masses."""
    if isinstance(graph, ParticleEdges):
        bodies = _Bodies(net, batch.position, batch.mass, batch.charge, batch.kind)
        total = torch.zeros_like(batch.position)
        return _near(net, bodies, graph.sender, graph.receiver, total) / bodies.mass[:, None]
    order = graph.order
    charge = None if batch.charge is None else pick(batch.charge, order)
    kind = None if batch.kind is None else pick(batch.kind, order)
    bodies = _Bodies(net, pick(batch.position, order), pick(batch.mass, order), charge, kind)
    total = torch.zeros_like(bodies.position)
    total = _near(net, bodies, graph.sender, graph.receiver, total)
    total = _far(net, bodies, graph, kind, total)
    return graph.given_order(total / bodies.mass[:, None])


def whole_step(net: Networks, batch: ParticleBatch, graph: Graph) -> tuple[Tensor, Tensor] | None:
    """Changes (particle, axis) of velocities, and of positions beyond free flight, over a step of all
    pairs by compiled loops; None where these cannot."""
    if net.tables is None or net.spec.join != "complete" or net.spec.conserve_momentum:
        return None
    from . import radial_table as tables

    assert isinstance(graph, ParticleEdges)
    bodies = _Bodies(net, batch.position, batch.mass, batch.charge, batch.kind)
    kinds = tables.kinds_of(bodies.base, bodies.base)
    later = batch.position + net.step * batch.velocity
    octaves = tables.octaves_of(net, batch.position, later)
    if kinds is None or octaves is None:
        return None
    table = tables.table_of(net, kinds.rows, octaves, radial_force)
    unit = net.scales.change / bodies.mass
    unit = unit if batch.free is None else unit * batch.free
    return tables.leapfrog(
        net, table, kinds, batch.position, batch.velocity, bodies.source, unit, batch.sizes, _mode(net)
    )  # fmt: skip


def _near(
    net: Networks, bodies: _Bodies, sender: Tensor, receiver: Tensor, total: Tensor
) -> Tensor:
    """``total`` plus the momenta along edges between particles."""
    both_ways = net.spec.join != "nearest"
    return _add_momenta(net, bodies, sender, bodies, receiver, total, both_ways)


def _far(
    net: Networks, bodies: _Bodies, tree: Hierarchy, kind: Tensor | None, total: Tensor
) -> Tensor:
    """``total`` plus the momenta that the far cells of each level give to particles."""
    number = level_sums(tree, torch.ones_like(bodies.mass))
    kinds = [None] * len(number) if kind is None else level_sums(tree, kind)
    # What a cell acts with: its mass, or its positive and its negative charges, each from their centre.
    signed = net.spec.weighted and charges_multiply(net)
    parts = [bodies.mass]
    if signed:
        assert bodies.source is not None
        parts = [bodies.source.clamp_min(0), (-bodies.source).clamp_min(0)]
    moments = [cell_moments(tree, part, tree.position) for part in parts]
    home = tree.cell
    for level, count, of_kind, *of_parts in zip(tree.levels, number, kinds, *moments):
        assert level.mass is not None
        sender, receiver = far_edges(home, level.sender, level.receiver, level.size)
        for sign, (weight, place, spread) in zip((1, -1), of_parts):
            charge = None if level.charge is None else level.charge / count
            if signed:
                charge = sign * net.scales.charge * weight / count
            points = moment_points(place, spread)
            each = len(points)
            cells = _Bodies(
                net,
                points.flatten(0, 1),
                (level.mass / count).repeat(each),
                None if charge is None else charge.repeat(each),
                None if of_kind is None else (of_kind / count[:, None]).repeat(each, 1),
                count.repeat(each) / each,
            )
            total = _add_momenta(net, cells, sender, bodies, receiver, total, False, each)
        if level.parent is not None:
            home = pick(level.parent, home)
    return total


def cell_moments(
    tree: Hierarchy, weight: Tensor, position: Tensor
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """(sum (cell,), mean position (cell, axis), covariance (cell, axis, axis)) of the particles of each
    cell of each level, by weights (particle,) that are not negative; in float64 but the first two.

    Positions and weights are in cell order. A cell without weight has the moments of weights of 1.
    """
    with torch.no_grad():
        x = position.detach().double()
        square = (x[:, :, None] * x[:, None, :]).flatten(1)
        columns = torch.cat([torch.ones_like(x[:, :1]), x, square], 1)
        plain = level_sums(tree, columns)
        weighted = level_sums(tree, weight.detach().double()[:, None] * columns)
        found = []
        for some, all_ in zip(weighted, plain):
            used = torch.where(some[:, :1] > 0, some, all_)
            used = used / used[:, :1]
            dims = x.shape[1]
            mean = used[:, 1 : 1 + dims]
            spread = used[:, 1 + dims :].view(-1, dims, dims) - mean[:, :, None] * mean[:, None, :]
            found.append((some[:, 0].to(weight.dtype), mean.to(position.dtype), spread))
        return found


def moment_points(mean: Tensor, covariance: Tensor) -> Tensor:
    """Points (point, cell, axis), two for each axis, of the given mean (cell, axis) and covariance
    (cell, axis, axis): at the root of its eigenvalues times the number of axes, along its axes."""
    values, vectors = torch.linalg.eigh(covariance)
    dims = mean.shape[1]
    away = (dims * values.clamp_min(0)).sqrt()[:, None, :] * vectors
    away = away.permute(2, 0, 1).to(mean.dtype)
    return torch.cat([mean + away, mean - away])


def far_edges(home: Tensor, sender: Tensor, receiver: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """(cell, particle) of the edges from far cells to the particles of each receiving cell.

    home (particle,): the cell of each particle; sender, receiver (edge,): cells, sorted by receiver.
    """
    degree = torch.bincount(receiver, minlength=cells)
    first = torch.cumsum(degree, 0) - degree
    each = degree[home]
    particle = torch.repeat_interleave(torch.arange(len(home), device=home.device), each)
    before = torch.cumsum(each, 0) - each
    edge = torch.arange(len(particle), device=home.device) + (first[home] - before)[particle]
    return sender[edge], particle


def far_counts(tree: Hierarchy) -> list[int]:
    """The number of edges from far cells to particles on each level (`far_edges`)."""
    found, home = [], tree.cell
    for level in tree.levels:
        degree = torch.bincount(level.receiver, minlength=level.size)
        found.append(int(degree[home].sum()))
        if level.parent is not None:
            home = pick(level.parent, home)
    return found


def _add_momenta(
    net: Networks,
    senders: _Bodies,
    s: Tensor,
    receivers: _Bodies,
    r: Tensor,
    total: Tensor,
    both_ways: bool,
    points: int = 1,
) -> Tensor:
    """``total`` plus the momenta along edges. ``both_ways``: every pair has an edge each way, and
    the two momenta are equal and opposite. ``points`` stand for each sender, the first ones of all
    senders before the second ones."""
    if net.tables is not None:
        from . import radial_table as tables

        kinds = tables.kinds_of(senders.base, receivers.base)
        octaves = tables.octaves_of(net, senders.position, receivers.position)
        if kinds is not None and octaves is not None:
            table = tables.table_of(net, kinds.rows, octaves, radial_force)
            start, end = (tables.Ends(a.position, a.source, a.count) for a in (senders, receivers))
            found = tables.add_momenta(
                net, table, kinds, start, end, (s, r), _mode(net), both_ways, points
            )
            return total + found
    if both_ways:
        once = torch.nonzero(s < r)[:, 0]
        s, r = s[once], r[once]
    size = len(senders.position) // points
    for point in range(points):
        momentum = _momentum(net, senders, s + point * size, receivers, r)
        total = total.index_add(0, r, momentum)
    return total.index_add(0, s, momentum, alpha=-1) if both_ways else total


def _momentum(net: Networks, senders: _Bodies, s: Tensor, receivers: _Bodies, r: Tensor) -> Tensor:
    """Momentum (edge, axis) of the receivers, in units of mean mass and ``scales.change``."""
    chunk = CHUNK.get(s.device.type, CHUNK["cuda"])
    if torch.is_grad_enabled() or len(s) <= chunk:
        return _momentum_of_chunk(net, senders, s, receivers, r)
    parts = zip(s.split(chunk), r.split(chunk), strict=True)
    return torch.cat([_momentum_of_chunk(net, senders, a, receivers, b) for a, b in parts])


def _momentum_of_chunk(
    net: Networks, senders: _Bodies, s: Tensor, receivers: _Bodies, r: Tensor
) -> Tensor:
    """`_momentum` of all edges at once."""
    difference = net.box.displacement(pick(senders.position, s) - pick(receivers.position, r))
    near = net.scales.near
    distance = near * ((difference / near).square().sum(1, keepdim=True) + 1).sqrt()
    force = radial_force(net, distance, pick(senders.base, s), pick(receivers.base, r))
    weight = _weight(net, senders, s, receivers, r)
    if weight is not None:
        force = force * weight[:, None]
    return force * difference


def radial_force(net: Networks, distance: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """phi / s (edge, 1) at softened distances s (edge, 1) of bodies with base inputs (edge, base)."""
    if net.scales.reach is None:
        return _strength_at(net, distance, one, other) / distance
    reach = snapped_reach(net.scales)
    beyond = distance[:, 0] > reach
    if not bool(beyond.any()):
        return _strength_at(net, distance, one, other) / distance
    inside = _strength_at(net, distance.clamp_max(reach), one, other)
    far = torch.nonzero(beyond)[:, 0]
    falls = _exponent(net, reach, one[far], other[far])
    fading = (reach / distance[far]) ** falls
    return inside * torch.ones_like(inside).index_copy(0, far, fading) / distance


def snapped_reach(scales: ParticleScales) -> float:
    """The softened distance from which forces are continued: ``scales.reach`` or up to 6 % more, so
    that a cell of the tables (`radial_table`) ends there."""
    assert scales.reach is not None
    mantissa, exponent = math.frexp(1 + (scales.reach / scales.near) ** 2)
    cell = 2.0 ** -(RADIAL_SPLIT + 1)
    return scales.near * math.sqrt(math.ldexp(math.ceil(mantissa / cell) * cell, exponent))


def _exponent(net: Networks, reach: float, one: Tensor, other: Tensor) -> Tensor:
    """The power (edge, 1) of the distance with which phi falls up to ``reach``, between 0 and 4: a line
    through logarithms; 4 where phi changes its sign."""
    shares = torch.tensor(CONTINUED_FROM, dtype=one.dtype, device=one.device)
    distance = (reach * shares).repeat(len(one))[:, None]
    ends = (x.repeat_interleave(len(shares), 0) for x in (one, other))
    phi = _strength_at(net, distance, *ends).view(len(one), -1)
    same = (phi.sign() == phi[:, :1].sign()).all(1, keepdim=True)
    x = torch.log(shares) - torch.log(shares).mean()
    y = torch.log(phi.abs().clamp_min(1e-30))
    slope = (y * x).sum(1, keepdim=True) / x.square().sum()
    return torch.where(same, (-slope).clamp(0, 4), 4.0)


def _strength_at(net: Networks, distance: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """phi (edge, 1) at softened distances (edge, 1), by the network."""
    values = [radial_features(net, distance)]
    if net.spec.base:
        values += symmetric_features(one, other)
    return radial_strength(net, torch.cat(values, 1))


def radial_features(net: Networks, distance: Tensor) -> Tensor:
    """Functions (edge, feature) of softened distances (edge, 1): log, and bounded ones."""
    scales = net.scales
    fading = [c / (distance + c) for c in scales.lengths]
    return torch.cat([torch.log(distance / scales.lengths[1]), *fading], 1)


def symmetric_features(one: Tensor, other: Tensor) -> list[Tensor]:
    """Functions of what is known of both ends (edge, base) that do not change when they trade places:
    sums, and the symmetric products of each two."""
    found = [one + other]
    for i in range(one.shape[1]):
        for j in range(i + 1):
            found.append((one[:, i] * other[:, j] + one[:, j] * other[:, i])[:, None])
    return found


def radial_strength(net: Networks, values: Tensor) -> Tensor:
    """phi (edge, 1) of the inputs (edge, input), of which the first is log(s / c)."""
    w = net.weights
    x = radial_activation(linear(values, w["edge_1_weight"], w["edge_1_bias"]))
    x = radial_activation(linear(x, w["edge_2_weight"], w["edge_2_bias"]))
    terms = linear(x, w["strength_weight"])
    powers = torch.arange(RADIAL_POWERS, dtype=values.dtype, device=values.device)
    return (terms * torch.exp(-powers * values[:, :1])).sum(1, keepdim=True)


def radial_activation(x: Tensor) -> Tensor:
    """tanh: forces are smooth functions of the distance, and stay bounded beyond the largest one."""
    return torch.tanh(x)


def _weight(
    net: Networks, senders: _Bodies, s: Tensor, receivers: _Bodies, r: Tensor
) -> Tensor | None:
    """What multiplies phi (edge,): a product or reduced mass (`ParticleSpec.mass_coupling`), and the
    number of particles of a cell."""
    weight = None
    if net.spec.weighted:
        assert senders.source is not None and receivers.source is not None
        sent, received = pick(senders.source, s), pick(receivers.source, r)
        weight = sent * (received / (sent + received)) if _reduces(net) else sent * received
    if senders.count is not None:
        count = pick(senders.count, s)
        weight = count if weight is None else weight * count
    return weight


def _reduces(net: Networks) -> bool:
    """Whether forces are multiplied by the reduced mass of a pair, and not by a product."""
    return net.spec.mass_coupling == "reduced" and not charges_multiply(net)


def _mode(net: Networks) -> int:
    """The number of what multiplies forces (`radial_loops`)."""
    return 1 + _reduces(net) if net.spec.weighted else 0
