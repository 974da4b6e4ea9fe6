"""Trajectories of particles: leapfrog with hierarchical block time steps, or with one step.

``"block"`` is the scheme of the published data: kick-drift-kick with steps dt_l = dt / 2^l; a
particle moves on the coarsest level l with dt_l <= tau_i = eta sqrt(softening / |a_i|), and coarser
particles stay in place while finer ones move. It resolves close encounters, but is neither
symplectic nor reversible and does not conserve momentum exactly.
``"global"`` is kick-drift-kick with ``substeps`` equal steps per interval for all particles:
symplectic, time reversible, momentum conserved to rounding.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..errors import IntegrationFailed, InvalidOption, unknown_name
from .constants import ACCURACY, CONSTANT, SOFTENING
from .graphs.box import Box, as_box
from .systems.base import ParticleState, ParticleSystem

log = logging.getLogger("pympnode.data")

INTEGRATORS = ("block", "global")
MAX_DEPTH = 20  # smallest step dt / 2^20; each level doubles the number of steps
_COUNTED_CALLS = 65536  # force calls of the first step whose particle counts are kept


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One integrated trajectory.

    position, velocity: float64 (time, particle, axis), row 0 the start. evaluations: number of
    accelerations computed, one per particle and call. deepest: the finest level used. capped:
    number of steps that were longer than tau_i because ``max_depth`` was reached. calls: number of
    particles in each force call of the first step, (call,), the first 65,536 calls.
    """

    position: np.ndarray
    velocity: np.ndarray
    evaluations: int
    deepest: int
    capped: int
    calls: np.ndarray


def integrate_leapfrog(
    system: ParticleSystem,
    state: ParticleState,
    *,
    box: Box | float | None,
    steps: int,
    dt: float,
    constant: float = CONSTANT,
    softening: float = SOFTENING,
    accuracy: float = ACCURACY,
    integrator: str = "block",
    substeps: int = 1,
    max_depth: int = MAX_DEPTH,
    on_step: Callable[[int], None] | None = None,
) -> Trajectory:
    """Integrate one trajectory of ``steps`` intervals of ``dt``, in float64.

    state: position and velocity (particle, axis), mass and charge (particle,). box: a Box, a side
    length, or None for open space; positions outside are wrapped first. accuracy: eta of the block
    time steps. substeps: equal steps per interval ("global" only). max_depth: the finest level.
    on_step: called with the number of intervals done, after each.
    Raises InvalidData (see `ParticleSystem.check`), InvalidOption, IntegrationFailed with the
    step and particle where a state stopped being finite.
    """
    from . import leapfrog_compiled as compiled

    if integrator not in INTEGRATORS:
        raise unknown_name("integrator", integrator, INTEGRATORS)
    box = as_box(box)
    _check_options(steps, dt, softening, accuracy, substeps, max_depth)
    state = system.check(state)
    # (axis, particle): the sums over particles then read contiguous memory.
    x = np.ascontiguousarray(box.wrap(state.position).T)
    v = np.ascontiguousarray(state.velocity.T)
    source = np.ascontiguousarray(system.pair_source(state.mass, state.charge))
    factor = np.ascontiguousarray(system.pair_factor(state.mass, state.charge, float(constant)))
    force = (source, factor, box.cube, float(softening))
    count = state.particles
    rows = np.arange(count)
    a, opening, tau = np.zeros_like(x), np.zeros_like(x), np.zeros(count)
    tally = np.zeros(4, np.int64)
    first, no_calls = np.zeros(_COUNTED_CALLS, np.int32), np.zeros(0, np.int32)
    calls = no_calls
    position = np.empty((steps + 1, count, state.dims))
    velocity = np.empty_like(position)
    position[0], velocity[0] = x.T, v.T
    known = False  # whether ``a`` belongs to the present positions
    for step in range(1, steps + 1):
        if integrator == "block":
            tally[compiled.CALLS] = 0
            counts = first if step == 1 else no_calls
            known = compiled.block_step(
                x, v, a, opening, tau, rows, known, float(dt), int(max_depth), *force,
                float(accuracy), tally, counts,
            )  # fmt: skip
            if step == 1:
                calls = first[: tally[compiled.CALLS]].copy()
        else:
            known = compiled.global_steps(
                x, v, a, opening, rows, known, float(dt), int(substeps), *force, tally
            )
        position[step], velocity[step] = x.T, v.T
        _check_finite(x, v, step)
        if on_step is not None:
            on_step(step)
    if tally[compiled.CAPPED]:
        log.warning(
            "%d steps were longer than accuracy * sqrt(softening / |a|) asks for: levels end at "
            "dt / 2^%d; raise accuracy, softening or max_depth if that matters",
            tally[compiled.CAPPED],
            max_depth,
        )
    return Trajectory(
        position, velocity, int(tally[compiled.EVALUATIONS]), int(tally[compiled.DEEPEST]),
        int(tally[compiled.CAPPED]), calls,
    )  # fmt: skip


def _check_options(steps, dt, softening, accuracy, substeps, max_depth) -> None:
    for name, value, low in (
        ("steps", steps, 0),
        ("substeps", substeps, 1),
        ("max_depth", max_depth, 0),
    ):
        if isinstance(value, bool) or int(value) != value or value < low:
            raise InvalidOption(f"{name} counts whole steps", got=value, allowed=f">= {low}")
    for name, value in (("softening", softening), ("accuracy", accuracy)):
        if not (np.isfinite(value) and value > 0):
            raise InvalidOption(f"{name} must be positive", got=value, allowed="> 0")
    if not np.isfinite(dt) or dt == 0:
        raise InvalidOption("dt must be a finite time step", got=dt, allowed="not 0")


def _check_finite(x: np.ndarray, v: np.ndarray, step: int) -> None:
    good = np.isfinite(x).all(axis=0) & np.isfinite(v).all(axis=0)
    if not good.all():
        i = int(np.argmin(good))
        raise IntegrationFailed(
            f"the state of particle {i} is not finite after step {step}",
            got=f"position {x[:, i]}, velocity {v[:, i]}",
            fix="check masses, velocities and dt; raise softening",
        )


fly, Flight = integrate_leapfrog, Trajectory  # the names of version 0.1; they go with version 0.3
