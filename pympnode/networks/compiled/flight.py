"""Flights of quadrotors that carry one load on cables, in machine code: dynamics, controller, integrator.

A flight is one call of `fly`; without compilation (``NUMBA_DISABLE_JIT=1``) the same functions run as
plain Python. Equations, parameters and their sources: `networks.systems.quadrotors`.

Arrays: x (quadrotor, 13) position, unit quaternion (w first), velocity, body rates; y (6,) position and
velocity of the load; u (quadrotor, 4) rotor thrusts in N. SI units.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ...files.compiling_once import part, whole

_OPTIONS: dict[str, Any] = {"error_model": "numpy", "nogil": True}
_exact = part(**_OPTIONS)
_entry = whole(**_OPTIONS)


class Craft(NamedTuple):
    """Constants of quadrotors, cables and load; all floats, so that numba compiles one version.

    stiffness: of the cables in N/m, 0 where they are rigid; damping: in N s/m.
    """

    mass: float
    inertia_x: float
    inertia_y: float
    inertia_z: float
    arm: float
    torque: float
    max_thrust: float
    load_mass: float
    cable: float
    gravity: float
    stiffness: float
    damping: float


class Mission(NamedTuple):
    """What the reference of one flight depends on.

    circle: angle in rad of the cables from the vertical in the circular formation; goal: x of the load
    at the end; height: of the load; duration: s; start, door: y of the load at the start, of the door.
    """

    circle: float
    goal: float
    height: float
    duration: float
    start: float
    door: float


# Gains of the controller, found on flights of three and six. Position and velocity in 1/s^2 and 1/s, of
# quadrotors and load; attitude and body rates likewise; yaw as a share of the attitude's.
_POSITION, _VELOCITY = 4.0, 3.6
_LOAD_POSITION, _LOAD_VELOCITY = 1.0, 1.2
_ATTITUDE, _RATE, _YAW = 40.0, 11.0, 0.3
_MAX_TILT = 0.6  # rad
# Added to the diagonal of N^T N: where the fan has lost its third direction a plain pseudo-inverse asks
# for large tensions of both signs, and cables become slack.
_TENSION_DAMPING = 0.05
_LEAST_TENSION = 0.05  # of the load's weight on each cable
_LEAST_LIFT = 0.2  # of a quadrotor's weight
_DIFFERENCE = 0.02  # s, of the reference's difference quotients
# The plan as shares of the duration: the fan is formed at rest, then the load moves, then the fan opens.
_FORMED, _MOVES, _MOVING, _OPENS = 0.34, 0.26, 0.50, 0.68


@_exact
def solve_positive(matrix: Any, values: Any) -> None:
    """Solve matrix . out = values by Cholesky; ``values`` becomes the solution, ``matrix`` is used up."""
    size = values.size
    for j in range(size):
        for k in range(j):
            matrix[j, j] -= matrix[j, k] * matrix[j, k]
        matrix[j, j] = math.sqrt(matrix[j, j])
        for i in range(j + 1, size):
            for k in range(j):
                matrix[i, j] -= matrix[i, k] * matrix[j, k]
            matrix[i, j] /= matrix[j, j]
    for i in range(size):
        for k in range(i):
            values[i] -= matrix[i, k] * values[k]
        values[i] /= matrix[i, i]
    for i in range(size - 1, -1, -1):
        for k in range(i + 1, size):
            values[i] -= matrix[k, i] * values[k]
        values[i] /= matrix[i, i]


@_exact
def cables(x: Any, y: Any, craft: Craft, normal: Any, length: Any, speed: Any) -> None:
    """Unit vectors from the load to the quadrotors, lengths, and rates of change of the lengths."""
    for i in range(x.shape[0]):
        square = 0.0
        for c in range(3):
            normal[i, c] = x[i, c] - y[c]
            square += normal[i, c] * normal[i, c]
        length[i] = math.sqrt(square)
        speed[i] = 0.0
        for c in range(3):
            normal[i, c] /= length[i]
            speed[i] += normal[i, c] * (x[i, 7 + c] - y[3 + c])


@_exact
def coupling(normal: Any, craft: Craft, matrix: Any) -> None:
    """The matrix I / m + N N^T / M of the cables."""
    nodes = normal.shape[0]
    for i in range(nodes):
        for j in range(i + 1):
            total = 0.0
            for c in range(3):
                total += normal[i, c] * normal[j, c]
            matrix[i, j] = total / craft.load_mass
            matrix[j, i] = matrix[i, j]
        matrix[i, i] += 1.0 / craft.mass


@_exact
def _derivative(
    x: Any, y: Any, u: Any, craft: Craft, dx: Any, dy: Any, tension: Any, normal: Any, length: Any,
    speed: Any, matrix: Any,
) -> float:  # fmt: skip
    """Time derivatives dx, dy, the tensions, and as value the power of thrusts and torques in W.

    normal, length, speed, matrix: memory to work in.
    """
    nodes = x.shape[0]
    cables(x, y, craft, normal, length, speed)
    power = 0.0
    for i in range(nodes):
        w, a, b, c = x[i, 3], x[i, 4], x[i, 5], x[i, 6]
        norm = math.sqrt(w * w + a * a + b * b + c * c)
        w, a, b, c = w / norm, a / norm, b / norm, c / norm
        p, q, r = x[i, 10], x[i, 11], x[i, 12]
        total = u[i, 0] + u[i, 1] + u[i, 2] + u[i, 3]
        torque_x = craft.arm * (u[i, 1] - u[i, 3])
        torque_y = craft.arm * (u[i, 2] - u[i, 0])
        torque_z = craft.torque * (u[i, 0] - u[i, 1] + u[i, 2] - u[i, 3])
        dx[i, 0], dx[i, 1], dx[i, 2] = x[i, 7], x[i, 8], x[i, 9]
        dx[i, 3] = -0.5 * (a * p + b * q + c * r)
        dx[i, 4] = 0.5 * (w * p + b * r - c * q)
        dx[i, 5] = 0.5 * (w * q + c * p - a * r)
        dx[i, 6] = 0.5 * (w * r + a * q - b * p)
        # Thrust in the world's frame; accelerations of the cables are added below.
        dx[i, 7] = total * 2.0 * (a * c + w * b)
        dx[i, 8] = total * 2.0 * (b * c - w * a)
        dx[i, 9] = total * (1.0 - 2.0 * (a * a + b * b))
        power += dx[i, 7] * x[i, 7] + dx[i, 8] * x[i, 8] + dx[i, 9] * x[i, 9]
        power += torque_x * p + torque_y * q + torque_z * r
        inertia_x, inertia_y, inertia_z = craft.inertia_x, craft.inertia_y, craft.inertia_z
        dx[i, 10] = (torque_x - (inertia_z - inertia_y) * q * r) / inertia_x
        dx[i, 11] = (torque_y - (inertia_x - inertia_z) * r * p) / inertia_y
        dx[i, 12] = (torque_z - (inertia_y - inertia_x) * p * q) / inertia_z
    if craft.stiffness > 0.0:
        for i in range(nodes):
            stretch = length[i] - craft.cable
            pull = craft.stiffness * stretch + craft.damping * speed[i]
            tension[i] = max(0.0, pull) if stretch > 0.0 else 0.0
    else:
        for i in range(nodes):
            along, square = 0.0, 0.0
            for c in range(3):
                along += normal[i, c] * dx[i, 7 + c]
                square += (x[i, 7 + c] - y[3 + c]) ** 2
            tension[i] = along / craft.mass + (square - speed[i] * speed[i]) / length[i]
        coupling(normal, craft, matrix)
        solve_positive(matrix, tension)
    for c in range(3):
        dy[c], dy[3 + c] = y[3 + c], 0.0
    for i in range(nodes):
        for c in range(3):
            pull = tension[i] * normal[i, c]
            dx[i, 7 + c] = (dx[i, 7 + c] - pull) / craft.mass
            dy[3 + c] += pull / craft.load_mass
        dx[i, 9] -= craft.gravity
    dy[5] -= craft.gravity
    return power


@_exact
def _project(
    x: Any, y: Any, craft: Craft, multiplier: Any, normal: Any, length: Any, speed: Any, matrix: Any
) -> None:
    """Move positions, then velocities, back onto the constraints of rigid cables, weighted by mass.

    The changes are the smallest in the norm of the kinetic energy, to first order (one step of Newton).
    """
    for first in (0, 1):  # positions, velocities
        cables(x, y, craft, normal, length, speed)
        for i in range(x.shape[0]):
            multiplier[i] = length[i] - craft.cable if first == 0 else speed[i]
        coupling(normal, craft, matrix)
        solve_positive(matrix, multiplier)
        for i in range(x.shape[0]):
            for c in range(3):
                moved = multiplier[i] * normal[i, c]
                x[i, 7 * first + c] -= moved / craft.mass
                y[3 * first + c] += moved / craft.load_mass


@_exact
def _copy(values: Any, out: Any) -> None:
    for k in range(values.size):
        out[k] = values[k]


@_exact
def _copy_rows(values: Any, out: Any) -> None:
    for i in range(values.shape[0]):
        _copy(values[i], out[i])


@_exact
def blend(share: float) -> float:
    """The quintic from 0 at 0 to 1 at 1 with vanishing first and second derivatives at both."""
    s = min(1.0, max(0.0, share))
    return s * s * s * (10.0 - 15.0 * s + 6.0 * s * s)


@_exact
def reference(time: float, craft: Craft, mission: Mission, fan: Any, out: Any) -> None:
    """Planned positions at a time: out (quadrotor + 1, 3), the last row that of the load.

    fan (quadrotor,): the angle of each cable from the vertical in the fan, in the x-z plane.
    """
    nodes = fan.size
    share = time / mission.duration
    formed, opened = blend(share / _FORMED), blend((share - _OPENS) / (1.0 - _OPENS))
    out[nodes, 0] = mission.goal * blend((share - _MOVES) / _MOVING)
    out[nodes, 1] = mission.start + (mission.door - mission.start) * formed - mission.door * opened
    out[nodes, 2] = mission.height
    in_fan = formed * (1.0 - opened)
    for i in range(nodes):
        angle = 2.0 * math.pi * i / nodes
        a = (1.0 - in_fan) * math.sin(mission.circle) * math.cos(angle)
        a += in_fan * math.sin(fan[i])
        b = (1.0 - in_fan) * math.sin(mission.circle) * math.sin(angle)
        c = (1.0 - in_fan) * math.cos(mission.circle) + in_fan * math.cos(fan[i])
        scale = craft.cable / math.sqrt(a * a + b * b + c * c)
        out[i, 0] = out[nodes, 0] + scale * a
        out[i, 1] = out[nodes, 1] + scale * b
        out[i, 2] = out[nodes, 2] + scale * c


@_exact
def control(
    time: float, x: Any, y: Any, craft: Craft, mission: Mission, fan: Any, plan: Any, out: Any,
    towards: Any, damped: Any, share: Any, force: Any,
) -> None:  # fmt: skip
    """Rotor thrusts out (quadrotor, 4) that follow the reference, within their limits.

    plan (3, quadrotor + 1, 3): memory; the reference shortly before, at and after ``time``. towards
    (quadrotor, 3), damped (3, 3), share and force (3,): memory to work in.

    The load's wanted force is shared among the cables by damped least squares. Each quadrotor follows its
    own reference and pulls with its share; its thrust points along the sum, and a proportional and
    derivative controller turns it there and its yaw to 0.
    """
    nodes = x.shape[0]
    for k in range(3):
        reference(time + (k - 1) * _DIFFERENCE, craft, mission, fan, plan[k])
    for c in range(3):
        for e in range(3):
            damped[c, e] = 0.0
    for i in range(nodes):
        for c in range(3):
            towards[i, c] = (plan[1, i, c] - plan[1, nodes, c]) / craft.cable
        for c in range(3):
            for e in range(3):
                damped[c, e] += towards[i, c] * towards[i, e]
    for c in range(3):
        damped[c, c] += _TENSION_DAMPING
        planned_velocity = (plan[2, nodes, c] - plan[0, nodes, c]) / (2.0 * _DIFFERENCE)
        planned = (plan[2, nodes, c] - 2.0 * plan[1, nodes, c] + plan[0, nodes, c]) / _DIFFERENCE**2
        share[c] = planned + _LOAD_POSITION * (plan[1, nodes, c] - y[c])
        share[c] += _LOAD_VELOCITY * (planned_velocity - y[3 + c])
    share[2] += craft.gravity
    for c in range(3):
        share[c] *= craft.load_mass
    solve_positive(damped, share)
    for i in range(nodes):
        tension = 0.0
        for c in range(3):
            tension += towards[i, c] * share[c]
        tension = max(tension, _LEAST_TENSION * craft.load_mass * craft.gravity / nodes)
        for c in range(3):
            planned_velocity = (plan[2, i, c] - plan[0, i, c]) / (2.0 * _DIFFERENCE)
            wanted = (plan[2, i, c] - 2.0 * plan[1, i, c] + plan[0, i, c]) / _DIFFERENCE**2
            wanted += _POSITION * (plan[1, i, c] - x[i, c])
            wanted += _VELOCITY * (planned_velocity - x[i, 7 + c])
            force[c] = craft.mass * wanted + tension * towards[i, c]
        force[2] = max(
            force[2] + craft.mass * craft.gravity, _LEAST_LIFT * craft.mass * craft.gravity
        )
        sideways = math.sqrt(force[0] * force[0] + force[1] * force[1])
        most = math.tan(_MAX_TILT) * force[2]
        if sideways > most:
            force[0] *= most / sideways
            force[1] *= most / sideways
        size = math.sqrt(force[0] * force[0] + force[1] * force[1] + force[2] * force[2])
        w, a, b, c_ = x[i, 3], x[i, 4], x[i, 5], x[i, 6]
        # Rows of the rotation matrix: the force in the frame of the quadrotor.
        body_x = (1.0 - 2.0 * (b * b + c_ * c_)) * force[0] + 2.0 * (a * b + w * c_) * force[1]
        body_x += 2.0 * (a * c_ - w * b) * force[2]
        body_y = 2.0 * (a * b - w * c_) * force[0] + (1.0 - 2.0 * (a * a + c_ * c_)) * force[1]
        body_y += 2.0 * (b * c_ + w * a) * force[2]
        body_z = 2.0 * (a * c_ + w * b) * force[0] + 2.0 * (b * c_ - w * a) * force[1]
        body_z += (1.0 - 2.0 * (a * a + b * b)) * force[2]
        # The rotation that takes the axis of the rotors to the force: e_z x force / |force|.
        p, q, r = x[i, 10], x[i, 11], x[i, 12]
        inertia_x, inertia_y, inertia_z = craft.inertia_x, craft.inertia_y, craft.inertia_z
        torque_x = inertia_x * (-_ATTITUDE * body_y / size - _RATE * p)
        torque_x += (inertia_z - inertia_y) * q * r
        torque_y = inertia_y * (_ATTITUDE * body_x / size - _RATE * q)
        torque_y += (inertia_x - inertia_z) * r * p
        yaw = 2.0 * math.atan2(c_, w)
        torque_z = inertia_z * (-_ATTITUDE * _YAW * math.sin(yaw) - _RATE * r)
        torque_z += (inertia_y - inertia_x) * p * q
        # The inverse of the mixing of rotors in `_derivative`.
        even = 0.5 * (0.5 * body_z + 0.5 * torque_z / craft.torque)
        odd = 0.5 * (0.5 * body_z - 0.5 * torque_z / craft.torque)
        out[i, 0] = even - 0.5 * torque_y / craft.arm
        out[i, 1] = odd + 0.5 * torque_x / craft.arm
        out[i, 2] = even + 0.5 * torque_y / craft.arm
        out[i, 3] = odd - 0.5 * torque_x / craft.arm
        for rotor in range(4):
            out[i, rotor] = min(max(out[i, rotor], 0.0), craft.max_thrust)


class Memory(NamedTuple):
    """Arrays that `fly` works in: a part of a program makes no arrays (`compiling_once`)."""

    x: np.ndarray
    y: np.ndarray
    trial_x: np.ndarray
    trial_y: np.ndarray
    dx: np.ndarray
    dy: np.ndarray
    tension: np.ndarray
    normal: np.ndarray
    matrix: np.ndarray
    length: np.ndarray
    speed: np.ndarray
    plan: np.ndarray
    power: np.ndarray
    towards: np.ndarray
    damped: np.ndarray
    share: np.ndarray
    force: np.ndarray


def memory_of(nodes: int) -> Memory:
    """`Memory` for a number of quadrotors."""
    shapes: tuple[tuple[int, ...], ...] = (
        (nodes, 13), (6,), (nodes, 13), (6,), (4, nodes, 13), (4, 6), (nodes,), (nodes, 3),
        (nodes, nodes), (nodes,), (nodes,), (3, nodes + 1, 3), (4,), (nodes, 3), (3, 3), (3,), (3,),
    )  # fmt: skip
    return Memory(*(np.zeros(shape) for shape in shapes))


@_entry
def fly(
    times: Any, noise: Any, closed: bool, most_step: float, fan: Any, craft: Craft, mission: Mission,
    xs: Any, ys: Any, us: Any, tensions: Any, planned: Any, work: Any, memory: Memory,
) -> None:  # fmt: skip
    """Fly one trajectory: classical Runge-Kutta steps of at most ``most_step``, each with a projection.

    times (time,). xs (time, quadrotor, 13) and ys (time, 6) hold the start in row 0; the other rows are
    written. us (time, quadrotor, 4): thrusts held from t_i to t_(i+1), which the controller writes where
    ``closed``, with ``noise`` of the same shape added within the limits, and else are given.
    tensions (time, quadrotor): the least in each interval (that of the last time is its own); planned
    (time, 3): the load's reference; work (time,): of thrusts and torques since the start, in J. memory:
    `memory_of`.
    """
    nodes = xs.shape[1]
    x, y, trial_x, trial_y = memory.x, memory.y, memory.trial_x, memory.trial_y
    dx, dy, power, plan = memory.dx, memory.dy, memory.power, memory.plan
    tension, normal, matrix = memory.tension, memory.normal, memory.matrix
    length, speed = memory.length, memory.speed
    _copy_rows(xs[0], x)
    _copy(ys[0], y)
    done = 0.0
    for t in range(times.size):
        reference(times[t] - times[0], craft, mission, fan, plan[1])
        for c in range(3):
            planned[t, c] = plan[1, nodes, c]
        if closed:
            control(
                times[t] - times[0], x, y, craft, mission, fan, plan, us[t], memory.towards,
                memory.damped, memory.share, memory.force,
            )  # fmt: skip
            for i in range(nodes):
                for rotor in range(4):
                    noisy = us[t, i, rotor] + noise[t, i, rotor]
                    us[t, i, rotor] = min(max(noisy, 0.0), craft.max_thrust)
        u = us[t]
        _copy_rows(x, xs[t])
        _copy(y, ys[t])
        work[t] = done
        if t == times.size - 1:
            _derivative(x, y, u, craft, dx[0], dy[0], tensions[t], normal, length, speed, matrix)
            break
        interval = times[t + 1] - times[t]
        steps = max(1, math.ceil(interval / most_step - 1e-9))
        h = interval / steps
        for i in range(nodes):
            tensions[t, i] = np.inf
        for _ in range(steps):
            for stage in range(4):
                ahead = 0.0 if stage == 0 else (h if stage == 3 else 0.5 * h)
                before = max(stage - 1, 0)
                for i in range(nodes):
                    for k in range(13):
                        trial_x[i, k] = x[i, k] + (ahead * dx[before, i, k] if stage else 0.0)
                for k in range(6):
                    trial_y[k] = y[k] + (ahead * dy[before, k] if stage else 0.0)
                power[stage] = _derivative(
                    trial_x, trial_y, u, craft, dx[stage], dy[stage], tension, normal, length, speed,
                    matrix,
                )  # fmt: skip
                if stage == 0:
                    for i in range(nodes):
                        tensions[t, i] = min(tensions[t, i], tension[i])
            for i in range(nodes):
                for k in range(13):
                    middle = dx[1, i, k] + dx[2, i, k]
                    x[i, k] += h / 6.0 * (dx[0, i, k] + 2.0 * middle + dx[3, i, k])
                norm = math.sqrt(x[i, 3] ** 2 + x[i, 4] ** 2 + x[i, 5] ** 2 + x[i, 6] ** 2)
                for k in range(3, 7):
                    x[i, k] /= norm
            for k in range(6):
                y[k] += h / 6.0 * (dy[0, k] + 2.0 * (dy[1, k] + dy[2, k]) + dy[3, k])
            done += h / 6.0 * (power[0] + 2.0 * (power[1] + power[2]) + power[3])
            if craft.stiffness == 0.0:
                _project(x, y, craft, tension, normal, length, speed, matrix)


@_entry
def derivative(
    x: Any, y: Any, u: Any, craft: Craft, dx: Any, dy: Any, tension: Any, normal: Any, length: Any,
    speed: Any, matrix: Any,
) -> float:  # fmt: skip
    """`_derivative` for callers in Python."""
    return _derivative(x, y, u, craft, dx, dy, tension, normal, length, speed, matrix)


@_entry
def project(
    x: Any, y: Any, craft: Craft, multiplier: Any, normal: Any, length: Any, speed: Any, matrix: Any
) -> None:
    """`_project` for callers in Python."""
    _project(x, y, craft, multiplier, normal, length, speed, matrix)
