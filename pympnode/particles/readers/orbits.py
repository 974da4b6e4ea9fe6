"""Trajectories of gravitational dynamics: ``from_rebound``."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ...datasets.stores import optional_package
from ...errors import InvalidData, MissingFile
from ...training.ranges import warn_user
from .frames import Frames, Units, even, same_particles, to_dataset

_DIRECT = ("basic", "compensated", "tree", "jacobi", "mercurius", "trace")


def from_rebound(
    source: Any,
    *,
    times: Any = None,
    split: str | None = None,
) -> xr.Dataset:
    """A dataset of a simulation of REBOUND, in its own units (those of ``sim.units``, or G = 1).

    source: the path of a Simulationarchive, a ``Simulationarchive``, or a list of ``Simulation``,
        one for each time.
    times: (time,) at which an archive is integrated exactly to; by default its snapshots, which
        REBOUND takes at the first step after each interval, so that they are not evenly spaced.
    The forces are "gravity" with G and the softening of the simulation, where all bodies attract each
    other in open space; else they are not known. Test particles of mass 0 keep it.
    Returns: as `pympnode.from_particles`.
    Raises: `InvalidData` where bodies merge, leave or join, and for times outside of the archive;
        `MissingFile`; `EngineUnavailable` where rebound is not installed.
    """
    rebound = optional_package("rebound", "from_rebound")
    archive = source
    if isinstance(source, str | os.PathLike):
        path = Path(source).expanduser()
        if not path.is_file():
            raise MissingFile(
                f"there is no file {str(path)!r}", got=str(path), allowed="a Simulationarchive"
            )
        archive = rebound.Simulationarchive(str(path))
    stored = hasattr(archive, "getSimulations")
    if times is not None:
        if not stored:
            raise InvalidData(
                "times= belongs to an archive",
                got=f"times= with {type(source).__name__}",
                allowed="a Simulationarchive or its path",
                fix="integrate the simulations yourself: sim.integrate(t, exact_finish_time=1)",
            )
        wanted = np.asarray(times, np.float64)
        if np.any(wanted < archive.tmin) or np.any(wanted > archive.tmax):
            raise InvalidData(
                "times= reaches beyond the snapshots of the archive",
                got=f"{wanted.min():.6g} to {wanted.max():.6g}",
                allowed=f"{archive.tmin:.6g} to {archive.tmax:.6g}",
                fix="integrate further, or end times= at the last snapshot",
            )
        sims = archive.getSimulations(wanted, mode="exact")
    else:
        with warnings.catch_warnings():
            # They are synchronised below, which is what REBOUND asks for.
            warnings.filterwarnings("ignore", ".*not be synchronized", RuntimeWarning)
            sims = [source] if isinstance(source, rebound.Simulation) else list(archive)
    stamps, states, masses = [], [], []
    first = None
    for sim in sims:
        if stored and hasattr(sim, "synchronize"):
            # WHFast with safe_mode=0 stores states in the middle of a step (REBOUND 5.2: positions
            # of a snapshot are off by up to the path of half a step).
            sim.synchronize()
        if getattr(sim, "N_var", 0):
            raise InvalidData(
                "the simulation has variational particles",
                got=f"{sim.N_var} of {sim.N}",
                allowed="bodies alone",
                fix="simulate without add_variation()",
            )
        bodies = [sim.particles[i] for i in range(sim.N)]
        stamps.append(float(sim.t))
        states.append(np.array([(b.x, b.y, b.z, b.vx, b.vy, b.vz) for b in bodies]))
        masses.append(np.array([b.m for b in bodies]))
        first = sim if first is None else first
    if first is None:
        raise InvalidData("the archive has no snapshots", got=0, allowed="at least two")
    same_particles([len(mass) for mass in masses], "REBOUND")
    changed = next((i for i, m in enumerate(masses) if np.any(m != masses[0])), None)
    if changed is not None:
        raise InvalidData(
            "masses change in time: bodies merged, or their order changed",
            got=f"at snapshot {changed}, t = {stamps[changed]:.6g}",
            allowed="constant masses",
            fix=f"read the snapshots before {changed}, and those from there, as two datasets",
        )
    state = np.array(states)
    grid = even(np.array(stamps))
    steps = np.diff(grid)
    if times is None and steps.size and np.ptp(steps) > 1e-6 * np.abs(steps).max():
        warn_user(
            f"the times of the snapshots are uneven, {steps.min():.6g} to {steps.max():.6g} apart: "
            "REBOUND takes a snapshot at the first step after each interval; times= integrates to "
            "the times that are given"
        )
    names = {name: first.units.get(name) for name in ("length", "time", "mass")}
    units = Units(*(str(value or name) for name, value in names.items()))
    box = _box(first)
    physics: dict[str, Any] = {}
    if box is None and _all_attract(first, masses[0]):
        physics = {"system": "gravity", "constant": first.G, "softening": first.softening}
    return to_dataset(
        Frames(
            "REBOUND",
            units,
            state[..., :3],
            state[..., 3:],
            masses[0],
            grid,
            None if box is None else np.broadcast_to(box, (len(grid), 3)),
        ),
        velocity=None,
        dt=None,
        time=None,
        split=split,
        no_velocity="",
        **physics,
    )


def _all_attract(sim: Any, mass: Any) -> bool:
    """Whether the forces are Newtonian gravity of all bodies on all others, and nothing else.

    N_active counts the bodies that attract. Unset it is -1 in REBOUND 3 and 4, and 2**64 - 1 in
    REBOUND 5.2.
    """
    active = int(sim.N_active)
    attracting = active if 0 <= active < len(mass) else len(mass)
    extra = getattr(sim, "_additional_forces", None)
    return sim.gravity in _DIRECT and not np.any(mass[attracting:]) and not bool(extra)


def _box(sim: Any) -> Any:
    """(3,) lengths of a periodic box, which lies around 0; None in open space."""
    kind = str(sim.boundary)
    if kind in ("none", "open"):
        return None
    if kind != "periodic":
        raise InvalidData(
            f"the boundary {kind!r} of REBOUND has no counterpart",
            got=kind,
            allowed="none, open, periodic",
        )
    size = getattr(sim, "boxsize", None)  # REBOUND 3 and 4
    if size is not None:
        return np.array([size.x, size.y, size.z])
    return sim.root_size * np.array([sim.N_root_x, sim.N_root_y, sim.N_root_z], float)
