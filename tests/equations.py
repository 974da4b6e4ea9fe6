"""The learned models written as loops over nodes and edges, from their definitions alone.

A second implementation to test the kernels against. Graphs come in as arrays of senders and
receivers, weights as named (outputs, inputs) arrays. Nothing here uses a kernel, `Columns` or torch,
and nothing is vectorised over nodes, edges or trajectories. All of it runs on complex numbers as
well, so that a derivative is the imaginary part of a value at x + 1e-30 i, exact to rounding.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

STEP = 1e-30  # of complex derivatives; nothing is subtracted, so that it may be this small


# ---- networked models: `ModelSpec` -------------------------------------------------------------


def linear(w: dict, name: str, x: np.ndarray) -> np.ndarray:
    return w[f"{name}weight"] @ x + w[f"{name}bias"]


def mlp(spec: Any, w: dict, x: np.ndarray) -> np.ndarray:
    """``depth`` tanh layers and a linear output."""
    for number in range(1, spec.depth + 1):
        x = np.tanh(linear(w, f"layer_{number}_", x))
    return linear(w, f"layer_{spec.depth + 1}_", x)


def aggregate(spec: Any, graph: Any, sent: list[np.ndarray], w: Any = None) -> list[np.ndarray]:
    """a_k of what j sends to all its receivers; see `received`."""
    return received(spec, graph, [sent[j] for j in graph.sender], len(sent), w)


def received(
    spec: Any, graph: Any, sent: list[np.ndarray], nodes: int, w: Any = None
) -> list[np.ndarray]:
    """a_k of one message for each edge: the sum of w_jk m_jk over the edges j -> k, over their number
    ("mean") or the divisor, or the largest w_jk m_jk ("max"). ``graph.weight`` holds w, 1 for each
    edge where it is None or not there; learned weights multiply it."""
    weights = getattr(graph, "weight", None)
    weights = [1.0] * len(graph.sender) if weights is None else weights
    result = []
    for k in range(nodes):
        total, count = np.zeros(spec.message if not sent else len(sent[0])), 0
        for e, receiver in enumerate(graph.receiver):
            if receiver != k:
                continue
            weight = weights[e]
            if spec.learned_edges:
                weight = weight * np.exp(w["edge_log_weight"][e])
            term = weight * sent[e]
            if spec.aggregation != "max":
                total = total + term
            elif count == 0:
                total = term
            else:
                total = np.array([a if a.real >= b.real else b for a, b in zip(total, term)])
            count += 1
        if spec.aggregation == "sum":
            total = total / spec.divisor
        elif spec.aggregation == "mean" and count > 0:
            total = total / count
        result.append(total)
    return result


def seen(spec: Any, x: np.ndarray, channels: Any) -> np.ndarray:
    """Channels as inputs: of angles the sine and the cosine, after the others."""
    plain = [x[c] for c in channels if c not in spec.circular]
    angles = [x[c] for c in channels if c in spec.circular]
    return np.array([*plain, *np.sin(angles), *np.cos(angles)])


def others(spec: Any, left_out: Any) -> list[int]:
    return [c for c in range(spec.channels) if c not in left_out]


def pair_message(spec: Any, w: dict, k: int, j: int, x: Any, u: Any, b: Any, c: Any) -> np.ndarray:
    """e of the receiver k and the sender j, with the attributes c of the edge."""
    h = joined(
        seen(spec, x[k], others(spec, spec.relative)),
        None if b is None else b[k],
        seen(spec, x[j], others(spec, spec.relative)),
        None if u is None else u[j],
        None if b is None else b[j],
        seen(spec, x[j] - x[k], spec.relative),
        c,
    )
    h = np.tanh(linear(w, "pair_layer_1_", h))
    return linear(w, "pair_layer_3_", np.tanh(linear(w, "pair_layer_2_", h)))


def joined(*parts: np.ndarray | None) -> np.ndarray:
    return np.concatenate([part for part in parts if part is not None])


def field(
    spec: Any, w: dict, graph: Any, z: np.ndarray, u: Any = None, b: Any = None
) -> np.ndarray:
    """dz/dt (node, D) of one state z (node, D) on one graph, controls u and attributes b."""
    nodes, d, p = len(z), spec.channels, spec.message
    x, m = z[:, :d], z[:, d:]
    if spec.family == "node":
        flat = [None if v is None else v.reshape(-1) for v in (x, u, b)]
        return mlp(spec, w, joined(*flat)).reshape(nodes, d)

    own = [
        joined(
            seen(spec, x[k], others(spec, spec.invariant)),
            None if u is None else u[k],
            None if b is None else b[k],
        )
        for k in range(nodes)
    ]
    if spec.family == "l2s":
        code = [np.tanh(linear(w, "encoder_", own[k])) for k in range(nodes)]
        h = list(code)
        for _ in range(spec.depth):
            sent = [np.tanh(linear(w, "message_", h[j])) for j in range(nodes)]
            a = aggregate(spec, graph, sent, w)
            h = [h[k] + np.tanh(linear(w, "update_", a[k])) for k in range(nodes)]
        return np.array([linear(w, "decoder_", h[k] + code[k]) for k in range(nodes)])

    if spec.messages == "state":
        a = aggregate(spec, graph, [m[j] for j in range(nodes)], w)
    elif spec.messages == "zero":
        a = [np.zeros(p) for _ in range(nodes)]
    elif spec.messages == "self":
        a = [m[k] for k in range(nodes)]
    elif spec.messages == "pairwise":
        sent = []
        for e, (j, k) in enumerate(zip(graph.sender, graph.receiver)):
            c = graph.attribute[e] if spec.edge_attributes else None
            message = pair_message(spec, w, k, j, x, u, b, c)
            if spec.antisymmetric:
                message = message - pair_message(spec, w, j, k, x, u, b, c)
            sent.append(message)
        a = received(spec, graph, sent, nodes, w)
    else:
        sent = []
        for j in range(nodes):
            inputs = joined(
                seen(spec, x[j], others(spec, spec.invariant)),
                u[j] if spec.sender_controls and u is not None else None,
                None if b is None else b[j],
            )
            hidden = np.tanh(linear(w, "emit_layer_1_", inputs))
            sent.append(linear(w, "emit_layer_2_", hidden))
        a = aggregate(spec, graph, sent, w)

    slope = []
    for k in range(nodes):
        states = z.shape[1]
        inputs = joined(own[k], a[k]) if spec.coupling == "mixed" else own[k]
        path = w["linear_weight"] @ inputs if spec.linear else np.zeros(states)
        out = mlp(spec, w, inputs)
        if spec.coupling == "mixed":
            slope.append(out + path)
            continue
        if spec.messages == "pairwise":
            slope.append(out + path + a[k])
            continue
        motion, gain = out[:states] + path, out[states:]
        for i in range(states):
            for c in range(p):
                motion[i] = motion[i] + gain[i * p + c] * a[k][c]
        slope.append(motion)
    return np.array(slope)


def first_state(spec: Any, w: dict, x: np.ndarray, b: Any = None) -> np.ndarray:
    """z(0) = [x(0); m(0)] (node, D)."""
    if spec.family != "mpnode" or spec.messages in ("emitted", "pairwise"):
        return x
    rows = []
    for k in range(len(x)):
        known = joined(seen(spec, x[k], range(spec.channels)), None if b is None else b[k])
        if spec.first_message == "zero":
            message = np.zeros(spec.message)
        elif spec.first_message == "linear":
            message = linear(w, "first_", known)
        else:
            message = linear(w, "first_layer_2_", np.tanh(linear(w, "first_layer_1_", known)))
        rows.append(joined(x[k], message))
    return np.array(rows)


def rk4_step(f: Any, z: np.ndarray, h: float) -> np.ndarray:
    """One classical Runge-Kutta step of dz/dt = f(z)."""
    k1 = f(z)
    k2 = f(z + h / 2 * k1)
    k3 = f(z + h / 2 * k2)
    k4 = f(z + h * k3)
    return z + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def rollout(
    spec: Any, w: dict, graph: Any, x0: np.ndarray, times: Any, u: Any = None, b: Any = None
) -> np.ndarray:
    """States z (time, node, D); u (time, node, control) is held over the interval that it begins.

    A list of graphs has one for each interval, with the weights that are held over it."""
    graphs = graph if isinstance(graph, list) else [graph] * (len(times) - 1)
    states = [first_state(spec, w, x0, b)]
    for t in range(len(times) - 1):
        z, h = states[-1], (times[t + 1] - times[t]) / spec.substeps
        slope = partial(field, spec, w, graphs[t], u=None if u is None else u[t], b=b)
        for _ in range(spec.substeps):
            z = rk4_step(slope, z, h)
        states.append(z)
    return np.array(states)


def huber(spec: Any, w: dict, windows: list[Any]) -> Any:
    """Huber loss (delta 1): sum over features and times 1.., mean over nodes and trajectories.

    Each window has graph, x (time, node, feature), times, u, b and mask (time, node, feature).
    """
    total, columns = 0.0, 0
    for window in windows:
        states = rollout(spec, w, window.graph, window.x[0], window.times, window.u, window.b)
        for t in range(1, len(window.x)):
            for k in range(window.x.shape[1]):
                for i in range(spec.channels):
                    if window.mask[t, k, i]:
                        error = states[t, k, i] - window.x[t, k, i]
                        if i in spec.circular:  # the shorter way around
                            error = error - 2 * np.pi * np.round(error.real / (2 * np.pi))
                        size = error if error.real >= 0 else -error
                        total = total + (size * size / 2 if size.real <= 1 else size - 0.5)
        columns += window.x.shape[1]
    return total / columns


# ---- particles: `ParticleSpec` ------------------------------------------------------------------


def nearest_image(side: float, difference: np.ndarray) -> np.ndarray:
    out = []
    for d in difference:
        while d.real > side / 2:
            d = d - side
        while d.real <= -side / 2:
            d = d + side
        out.append(d)
    return np.array(out)


def wrapped(side: float, position: np.ndarray) -> np.ndarray:
    return position - side * np.floor(position.real / side + 0.5)


class Particles:
    """One particle model with its weights, the length of its step and the side of its box."""

    def __init__(self, spec: Any, scales: Any, w: dict, step: float, side: float) -> None:
        self.spec, self.scales, self.w, self.step, self.side = spec, scales, w, step, side
        self.scaled = spec.inputs == "scaled"
        self.leapfrog = spec.update == "leapfrog"

    # layers

    def act(self, x: np.ndarray) -> np.ndarray:
        if self.spec.family == "deltagn":
            return np.where(x.real > 0, x, 0)
        sharp = 8.0 if self.scaled else 1.0
        return self.softplus(sharp * x) / sharp

    @staticmethod
    def softplus(x: np.ndarray) -> np.ndarray:
        return np.where(x.real > 0, x, 0) + np.log1p(np.exp(np.where(x.real > 0, -x, x)))

    def network(self, name: str, layers: int, x: np.ndarray) -> np.ndarray:
        if self.spec.family == "deltagn" and not self.scaled:
            x = joined(x, np.array([self.step]))
        for number in range(1, layers + 1):
            x = self.act(linear(self.w, f"{name}_{number}_", x))
        return x

    # what the networks take

    def known(
        self, mass: Any, charge: Any, vector: np.ndarray, level: int | None = None
    ) -> np.ndarray:
        """mass, (charge,) velocity or momentum, of a particle or of a cell on a level from below."""
        if not self.scaled:
            return joined([mass], None if charge is None else [charge], vector)
        cells = 1.0 if level is None else (2.0**level) ** self.spec.dims  # finest ones within it
        mass = mass / self.scales.mass / cells
        if level is not None:
            mass = np.log2(max(mass, 1e-3)) / 2
        charge = None if charge is None else [charge / cells / self.scales.charge]
        return joined([mass], charge, None if self.leapfrog else vector / self.scales.velocity)

    def geometry(self, xs: Any, xr: Any, ks: Any, kr: Any, level: int = 0) -> np.ndarray:
        """Functions of the displacement from the receiver to the sender."""
        d = nearest_image(self.side, xs - xr)
        if not self.scaled:
            return d
        c = self.scales
        d = d / 2.0**level
        r = c.near * np.sqrt(np.sum((d / c.near) ** 2) + 1e-12)
        fading = [length / (r + length) for length in c.lengths]
        parts = [
            d / (r + c.length),
            d / (r + c.near),
            [np.log((r + c.near) / c.lengths[1])],
            fading,
        ]
        if self.spec.charged:
            product = ks[1] * kr[1]
            parts += [product * d / (r + c.near), [product * f for f in fading]]
        return joined(*parts)

    def message(self, name: str, s: Any, r: Any, level: int = 0) -> np.ndarray:
        """Message of a sender to a receiver, each (position, base values, all values)."""
        functions = self.geometry(s[0], r[0], s[1], r[1], level)
        return self.network(name, 2, joined(s[2], r[2], functions))

    # pairs

    def neighbours(self, x: np.ndarray) -> list[tuple[int, int]]:
        """(sender, receiver): all pairs, or from the nearest ones of each receiver."""
        pairs = []
        for r in range(len(x)):
            others = [s for s in range(len(x)) if s != r]
            if self.spec.join == "nearest":
                gap = {s: np.sum(nearest_image(self.side, x[s] - x[r]).real ** 2) for s in others}
                others = sorted(others, key=gap.__getitem__)[: self.spec.neighbours]
            pairs += [(s, r) for s in others]
        return pairs

    def near(self, x: np.ndarray, base: list, pairs: list) -> list[np.ndarray]:
        """Messages between particles summed at each particle."""
        spec = self.spec
        total = [np.zeros(spec.edge_width) for _ in base]
        # The published complete graph sums what an edge carries at the edge's sender.
        at_sender = spec.behaviour == "published" and spec.join == "complete"
        for s, r in pairs:
            message = self.message("edge", (x[s], base[s], base[s]), (x[r], base[r], base[r]))
            total[s if at_sender else r] = total[s if at_sender else r] + message
            if spec.messages == "antisymmetric":
                total[s] = total[s] - message
        return total

    # cells

    def cells(self, tree: Any, mass: Any, charge: Any, x: Any, v: Any, start: Any) -> list[list]:
        """[(position, base)] of the cells of each level, finest first, from their particles.

        A particle that crossed the border since ``start`` is averaged beside its cell. HOGN with
        plain inputs takes the momentum of a cell, all others its mean velocity.
        """
        levels = []
        home = list(tree.cell)
        for i, level in enumerate(tree.levels):
            found = []
            for c in range(level.size):
                members = [k for k in range(len(x)) if home[k] == c]
                heavy = sum(mass[k] for k in members)
                centre = sum(
                    mass[k] * (start[k] + nearest_image(self.side, x[k] - start[k]))
                    for k in members
                )
                momentum = sum(mass[k] * v[k] for k in members)
                total = None if charge is None else sum(charge[k] for k in members)
                plain_hogn = self.spec.family == "hogn" and not self.scaled
                vector = momentum if plain_hogn else momentum / heavy
                found.append((centre / heavy, self.known(heavy, total, vector, i)))
            levels.append(found)
            if level.parent is not None:
                home = [level.parent[c] for c in home]
        return levels

    def through_cells(self, tree: Any, cells: list, x: Any, base: list) -> tuple[list, list]:
        """(what comes through cells, what near particles send) of each particle."""
        spec, particles = self.spec, range(len(x))
        lower, upward = [(x[k], base[k], base[k]) for k in particles], []
        home = tree.cell
        for i, level in enumerate(cells):  # up
            here = []
            for c, (at, values) in enumerate(level):
                came = np.zeros(spec.node_width)
                for k, below in enumerate(lower):
                    if home[k] == c:
                        name, unit = ("up_cell", i - 1) if i else ("up_particle", 0)
                        came = came + self.message(name, below, (at, values, values), unit)
                if self.scaled and i:
                    came = came / 2.0**spec.dims
                here.append((at, values, joined(values, came)))
            upward.append(here)
            lower, home = here, tree.levels[i].parent
        above: list = []
        for i in reversed(range(len(cells))):  # down
            level, here = tree.levels[i], upward[i]
            made = []
            for c in range(level.size):
                total = np.zeros(spec.edge_width)
                for s, r in zip(level.sender, level.receiver):
                    if r == c:
                        total = total + self.message("cell_edge", here[s], here[c], i)
                if above:
                    total = total + self.message("down_cell", above[level.parent[c]], here[c], i)
                at, values, all_values = here[c]
                made.append(
                    (
                        at,
                        values,
                        joined(values, self.network("cell_node", 3, joined(all_values, total))),
                    )
                )
            above = made
        far = [
            self.message("down_particle", above[tree.cell[k]], (x[k], base[k], base[k]))
            for k in particles
        ]
        return far, self.near(x, base, list(zip(tree.sender, tree.receiver)))

    def nodes(
        self, x: Any, v: Any, mass: Any, charge: Any, vector: Any, tree: Any, start: Any
    ) -> tuple:
        """(node values, what the node network took, what pairs do by themselves), each or None."""
        count = range(len(x))
        base = [
            self.known(mass[k], None if charge is None else charge[k], vector[k]) for k in count
        ]
        if tree is None:
            total = self.near(x, base, self.neighbours(x))
            if self.spec.messages != "directed":
                return None, total, total
            pairs = None
        else:
            cells = self.cells(tree, mass, charge, x, v, start)
            total, pairs = self.through_cells(tree, cells, x, base)
            if self.spec.messages == "directed":
                total, pairs = [a + b for a, b in zip(total, pairs)], None
        return [self.network("node", 3, joined(base[k], total[k])) for k in count], total, pairs

    # one step of one set

    def next_state(self, x: Any, v: Any, mass: Any, charge: Any, tree: Any = None) -> tuple:
        """(position, velocity) (particle, axis) after one step."""
        h, side = self.step, self.side
        if self.spec.family == "hogn" and not self.scaled:
            return self.hamiltonian_step(x, v, mass, charge, tree)
        if not self.scaled:
            out = self.outputs(x, v, mass, charge, tree)
            dims = self.spec.dims
            return wrapped(side, x + out[:, :dims]), v + self.conserved(out[:, dims:], mass)
        if self.spec.kicks > 1:
            h = h / self.spec.kicks
            for _ in range(self.spec.kicks):
                x = wrapped(side, x + h / 2 * v)
                dv = self.scales.change * self.outputs(x, v, mass, charge, tree)
                v = v + dv / self.spec.kicks
                x = wrapped(side, x + h / 2 * v)
            return x, v
        middle = wrapped(side, x + h / 2 * v) if self.leapfrog else x
        if self.spec.family == "hogn":
            slope = np.array(
                derivatives(lambda y: self.potential(y, v, mass, charge, tree, middle), middle)
            )
            dv = -slope / mass[:, None]
        else:
            dv = self.scales.change * self.outputs(middle, v, mass, charge, tree)
            dv = self.conserved(dv, mass)
        if self.leapfrog:
            return wrapped(side, middle + h / 2 * (v + dv)), v + dv
        return wrapped(side, x + h * (v + (v + dv)) / 2), v + dv

    def conserved(self, dv: np.ndarray, mass: np.ndarray) -> np.ndarray:
        if not self.spec.conserve_momentum:
            return dv
        mean = sum(m * d for m, d in zip(mass, dv)) / sum(mass)
        return np.array([d - mean for d in dv])

    def outputs(self, x: Any, v: Any, mass: Any, charge: Any, tree: Any) -> np.ndarray:
        """What DeltaGN predicts (particle, output)."""
        if self.spec.messages == "radial":
            return self.central_forces(x, mass, charge, tree)
        values, _, pairs = self.nodes(x, v, mass, charge, v, tree, x)
        rows = []
        for k in range(len(x)):
            out = 0.0 if values is None else linear(self.w, "out_", values[k])
            if pairs is not None:
                out = out + self.w["impulse_weight"] @ pairs[k] * (self.scales.mass / mass[k])
            rows.append(out)
        return np.array(rows)

    # radial messages

    def central_forces(self, x: Any, mass: Any, charge: Any, tree: Any) -> np.ndarray:
        """Momenta received divided by masses; all bodies as (position, mass, charge, number)."""
        heavy = self.scales.mass
        bodies = [
            (x[k], mass[k] / heavy, None if charge is None else charge[k] / self.scales.charge, 1)
            for k in range(len(x))
        ]
        senders: list[list] = [[] for _ in bodies]
        if tree is None:
            for s, r in self.neighbours(x):
                senders[r].append(bodies[s])
        else:
            for s, r in zip(tree.sender, tree.receiver):
                senders[r].append(bodies[s])
            home = list(tree.cell)
            for level in tree.levels:
                cells = [self.points_of(bodies, home, c) for c in range(level.size)]
                for k in range(len(x)):
                    for s, r in zip(level.sender, level.receiver):
                        if r == home[k]:
                            senders[k] += cells[s]
                if level.parent is not None:
                    home = [level.parent[c] for c in home]
        return np.array(
            [
                sum(self.central(one, other) for one in others) / other[1]
                for others, other in zip(senders, bodies)
            ]
        )

    def points_of(self, bodies: list, home: list, cell: int) -> list:
        """What a far cell acts with: points, two along each axis of the covariance of its particles,
        which have its mean mass and charge and share its number. Charges that multiply have a mean
        and a covariance for each sign."""
        members = [body for body, c in zip(bodies, home) if c == cell]
        number, dims = len(members), len(members[0][0])
        x, mass = np.array([m[0] for m in members]), np.array([m[1] for m in members])
        charge = None if members[0][2] is None else np.array([m[2] for m in members])
        parts = [(mass, None if charge is None else charge.sum() / number)]
        if charge is not None and self.spec.mass_coupling == "product":
            parts = [
                (np.maximum(sign * charge, 0), np.maximum(sign * charge, 0).sum() * sign / number)
                for sign in (1, -1)
            ]
        points = []
        for weight, of_each in parts:
            share = weight / weight.sum() if weight.sum() > 0 else np.full(number, 1 / number)
            mean = share @ x
            covariance = (x - mean).T @ ((x - mean) * share[:, None])
            values, axes = np.linalg.eigh(covariance)
            for value, axis in zip(values, axes.T):
                for side in (1, -1):
                    away = side * np.sqrt(dims * max(value, 0)) * axis
                    points.append((mean + away, mass.sum() / number, of_each, number / (2 * dims)))
        return points

    def central(self, sender: tuple, receiver: tuple) -> np.ndarray:
        """Momentum that a sender gives to a receiver."""
        spec, c = self.spec, self.scales
        d = nearest_image(self.side, sender[0] - receiver[0])
        s = np.sqrt(np.sum(d**2) + c.near**2)
        taken = [np.log(s / c.lengths[1]), *(length / (s + length) for length in c.lengths)]
        (m, q), (n, p) = sender[1:3], receiver[1:3]
        if spec.mass_coupling != "product":
            if q is None:
                taken += [m + n, 2 * m * n]
            else:
                taken += [m + n, q + p, 2 * m * n, m * p + n * q, 2 * q * p]
        y = np.array(taken)
        for number in (1, 2):
            y = np.tanh(linear(self.w, f"edge_{number}_", y))
        terms = self.w["strength_weight"] @ y
        strength = sum(terms[k] * (c.lengths[1] / s) ** k for k in range(4)) * sender[3]
        if spec.mass_coupling == "reduced":
            strength = strength * m * n / (m + n)
        if spec.mass_coupling == "product":
            strength = strength * (m * n if q is None else q * p)
        return strength * d / s

    def potential(self, x: Any, v: Any, mass: Any, charge: Any, tree: Any, start: Any) -> Any:
        """V of all particles (HOGN, scaled inputs)."""
        values, _, pairs = self.nodes(x, v, mass, charge, v, tree, start)
        total = 0.0
        for k in range(len(x)):
            if values is not None:
                total = total + linear(self.w, "out_", values[k])[0]
            if pairs is not None:
                total = total + self.w["energy_weight"][0] @ pairs[k]
        return total * self.scales.mass * self.scales.length * self.scales.change

    def hamiltonian(self, x: Any, p: Any, mass: Any, charge: Any, tree: Any, start: Any) -> Any:
        """H of one set (HOGN, plain inputs)."""
        values, taken, _ = self.nodes(x, p / mass[:, None], mass, charge, p, tree, start)
        y = joined(sum(values), sum(taken))
        for number in (1, 2):
            y = self.softplus(linear(self.w, f"global_{number}_", y))
        return linear(self.w, "out_", y)[0]

    def hamiltonian_step(self, x: Any, v: Any, mass: Any, charge: Any, tree: Any) -> tuple:
        """dx/dt = dH/dp, dp/dt = -dH/dx; neighbours and cells are those of the start of the step."""
        side, h, start = self.side, self.step, x

        def slope(state: np.ndarray) -> np.ndarray:
            y, p = wrapped(side, state[0]), state[1]
            by_x = derivatives(lambda y: self.hamiltonian(y, p, mass, charge, tree, start), y)
            by_p = derivatives(lambda p: self.hamiltonian(y, p, mass, charge, tree, start), p)
            return np.array([by_p, -by_x])

        state = np.array([x, mass[:, None] * v])
        if self.spec.integrator == "euler":
            after = state + h * slope(state)
        else:
            after = rk4_step(slope, state, h)
        return wrapped(side, after[0]), after[1] / mass[:, None]

    def loss(self, sets: list[Any]) -> Any:
        """The loss of one step of several sets: position, velocity, mass, charge, tree, after.

        Plain inputs: half the mean square of positions (nearest image) plus half that of
        velocities. Scaled: the mean square of the velocity change in units of its spread.
        """
        total, count = 0.0, 0
        for one in sets:
            x, v = self.next_state(one.position, one.velocity, one.mass, one.charge, one.tree)
            for k in range(len(x)):
                dv = v[k] - one.after_velocity[k]
                if self.scaled:
                    total = total + np.sum((dv / self.scales.change) ** 2)
                else:
                    dx = nearest_image(self.side, x[k] - one.after_position[k])
                    total = total + (np.sum(dx**2) + np.sum(dv**2)) / 2
                count += len(dv)
        return total / count


def derivatives(function: Any, at: np.ndarray) -> np.ndarray:
    """Gradient of a function of real arrays, one complex evaluation for each number."""
    out = np.zeros(at.shape)
    for index in np.ndindex(at.shape):
        moved = at.astype(complex)
        moved[index] += STEP * 1j
        out[index] = np.imag(function(moved)) / STEP
    return out
