"""Trajectories of molecular dynamics: ``from_ase``, ``from_mdanalysis``, ``from_mdtraj``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ...datasets.stores import optional_package
from ...errors import InvalidData
from ...training.ranges import warn_user
from .frames import Frames, Units, given_mass, same_particles, to_dataset, warn_numbered_frames

_AKMA_PS = 0.04888821  # the unit of time of CHARMM: angstrom, kcal/mol, u
_VELOCITY_COLUMNS = ("velo", "vel", "velocity", "velocities", "v")


def from_ase(
    frames: str | os.PathLike[str] | Iterable[Any],
    *,
    dt: float | None = None,
    time: Any = None,
    velocity: Any = None,
    mass: Any = None,
    split: str | None = None,
) -> xr.Dataset:
    """A dataset of a trajectory of ASE, in angstrom, fs and u.

    frames: a file that ``ase.io.read`` reads, or its ``Atoms``, one for each time.
    dt, time: the time between frames, or their times, in fs; ASE does not store them.
    velocity: (time, particle, axis) in angstrom / fs, or "differences"; by default those of ASE,
        which it keeps as momenta and gives per its own unit of time (10.18 fs), converted here.
    mass: in u; by default those of ASE.
    The box is the cell where it is periodic; it may begin anywhere, and positions may lie outside.
    Returns: as `pympnode.from_particles`, with charges where the atoms have initial charges.
    Raises: `InvalidData`, `InvalidOption`, and `EngineUnavailable` where ASE is not installed.
    """
    ase = optional_package("ase", "from_ase")
    units = optional_package("ase.units", "from_ase")
    if isinstance(frames, str | os.PathLike):
        io = optional_package("ase.io", "from_ase")
        images = list(io.read(Path(frames).expanduser(), index=":"))
    else:
        images = [frames] if isinstance(frames, ase.Atoms) else list(frames)
    same_particles([len(atoms) for atoms in images], "ASE")
    if not images:
        raise InvalidData("the trajectory of ASE has no frames", got=0, allowed="at least two")
    first = images[0]
    moved = next((i for i, a in enumerate(images) if np.any(a.numbers != first.numbers)), None)
    if moved is not None:
        raise InvalidData(
            "frames of ASE list their atoms in different orders",
            got=f"frame {moved} has {images[moved].symbols}, the first {first.symbols}",
            allowed="one order of the atoms",
            fix="sort each frame by the number of its atoms: atoms[order]",
        )
    known = all(atoms.has("momenta") for atoms in images)
    columns = [name for name in _VELOCITY_COLUMNS if name in first.arrays]
    advice = "write momenta with the frames"
    if columns:
        # ASE 3.29: only the column "momenta" of an extended XYZ file becomes velocities;
        # get_velocities() is 0 without a word for all others.
        advice = (
            f"ASE does not take the column {columns[0]!r} for velocities: pass velocity=np.stack("
            f"[atoms.arrays[{columns[0]!r}] for atoms in frames]) in angstrom / fs"
        )
    if mass is None and np.array_equal(first.arrays.get("type"), first.numbers):
        # ASE 3.29: type 1 of a LAMMPS dump without the column "element" is hydrogen, type 2 helium.
        warn_user(
            f"ASE took the types of a LAMMPS dump for atomic numbers, and the masses are those of "
            f"{first.symbols}: pass mass=, or frames of ase.io.read(..., specorder=[...])"
        )
    charges = first.get_initial_charges() if first.has("initial_charges") else None
    return to_dataset(
        Frames(
            "ASE",
            Units("angstrom", "fs", "u"),
            np.stack([atoms.get_positions() for atoms in images]),
            np.stack([a.get_velocities() for a in images]) * units.fs if known else None,
            first.get_masses() if mass is None else given_mass(mass, len(first)),
            None,
            _cells([(np.array(a.cell), np.array(a.pbc)) for a in images]),
            charges if charges is not None and np.any(charges) else None,
        ),
        velocity=velocity,
        dt=dt,
        time=time,
        split=split,
        no_velocity=advice,
    )


def _cells(cells: list[tuple[NDArray, NDArray]]) -> NDArray | None:
    """(time, axis) lengths of cells along the axes; None without a periodic direction."""
    if not any(periodic.any() for _, periodic in cells):
        return None
    lengths = []
    for cell, periodic in cells:
        along = np.diag(cell)
        if np.abs(cell - np.diag(along)).max() > 1e-6 * np.abs(cell).max() or np.any(
            along[periodic] <= 0
        ):
            raise _tilted(f"cell vectors {np.round(cell, 4).tolist()}")
        lengths.append(np.where(periodic, along, inf))
    return np.array(lengths)


def _tilted(got: str) -> InvalidData:
    return InvalidData(
        "the periodic box is no cuboid with sides along the axes",
        got=got,
        allowed="right angles",
        fix="simulate in a cubic box; positions in a tilted box cannot be wrapped",
    )


def from_mdanalysis(
    atoms: Any,
    *,
    start: int | None = None,
    stop: int | None = None,
    step: int | None = None,
    dt: float | None = None,
    time: Any = None,
    velocity: Any = None,
    mass: Any = None,
    split: str | None = None,
) -> xr.Dataset:
    """A dataset of a trajectory of MDAnalysis, in angstrom, ps and u.

    atoms: a ``Universe`` or an ``AtomGroup``; particles are in its order.
    start, stop, step: frames, as in ``universe.trajectory[start:stop:step]``.
    dt, time: between the frames that are read, or of them, in ps; by default those of MDAnalysis.
    velocity: (time, particle, axis) in angstrom / ps, or "differences"; by default those of the file.
    mass: in u; by default those of MDAnalysis, which guesses them from types where a file has none.
    The box is the one of the frames. MDAnalysis moves positions of a LAMMPS dump so that the box
    begins at 0. Returns and raises as `from_ase`.
    """
    optional_package("MDAnalysis", "from_mdanalysis")
    group, trajectory = atoms.atoms, atoms.universe.trajectory
    now = trajectory.frame
    positions, velocities, times, boxes = [], [], [], []
    for frame in trajectory[start:stop:step]:
        positions.append(np.array(group.positions))
        velocities.append(np.array(group.velocities) if frame.has_velocities else None)
        times.append(frame.time)
        boxes.append(None if frame.dimensions is None else np.array(frame.dimensions))
    trajectory[now]
    same_particles([len(x) for x in positions], "MDAnalysis")
    moving = [v for v in velocities if v is not None]
    charge = getattr(group, "charges", None)
    stamps = np.array(times, np.float64)
    if dt is None and time is None:
        warn_numbered_frames(stamps, "MDAnalysis")
        _warn_of_unit_steps(trajectory)
    _warn_of_moving_box(trajectory, positions)
    return to_dataset(
        Frames(
            "MDAnalysis",
            Units("angstrom", "ps", "u"),
            np.array(positions),
            np.array(moving) if len(moving) == len(positions) else None,
            _masses(group) if mass is None else given_mass(mass, len(group)),
            stamps,
            _right_angles(boxes),
            None if charge is None or not np.any(charge) else np.array(charge),
        ),
        velocity=velocity,
        dt=dt,
        time=time,
        split=split,
        no_velocity="read a format that has velocities (TRR, or a dump of LAMMPS with vx vy vz)",
    )


def _warn_of_unit_steps(trajectory: Any) -> None:
    """mdtraj 1.11 writes no times to DCD: MDAnalysis 2.11 then reads one AKMA unit of time a frame."""
    if abs(trajectory.dt - _AKMA_PS) < 1e-6 * _AKMA_PS:
        warn_user(
            f"frames are {trajectory.dt:.7f} ps apart, one AKMA unit of time, as where a DCD file has "
            "no time step: pass dt= in ps"
        )


def _warn_of_moving_box(trajectory: Any, positions: list[NDArray]) -> None:
    """mdtraj 1.11 begins the box of a LAMMPS dump at the lowest coordinates of each frame.

    MDAnalysis 2.11 subtracts the origin of the box: the lowest coordinates are 0 in all frames, and
    the common part of the motion is lost.
    """
    if trajectory.format != "LAMMPSDUMP" or len(positions) < 2:
        return
    if all(np.abs(x.min(axis=0)).max() < 1e-3 for x in positions):
        warn_user(
            "the lowest coordinates are 0 in every frame: the box of this dump moves with the atoms, "
            "as mdtraj writes it, and MDAnalysis has subtracted its motion; write another format"
        )


def _masses(group: Any) -> NDArray:
    mass = getattr(group, "masses", None)
    if mass is None or not np.all(np.isfinite(mass)) or np.any(mass <= 0):
        raise InvalidData(
            "MDAnalysis has no masses of some atoms",
            got="none" if mass is None else f"{int(np.sum(~(mass > 0)))} that are not positive",
            allowed="a positive mass for each particle, in u",
            fix="mass=(particle,), or universe.add_TopologyAttr('masses', values)",
        )
    if np.all(mass == 1.0) and len(mass) > 1:
        # MDAnalysis 2.11: every atom of a dump of LAMMPS has mass 1, whatever its type.
        warn_user("MDAnalysis has mass 1 for all atoms, as where a file names none: pass mass=")
    return np.array(mass, np.float64)


def _right_angles(boxes: list[Any]) -> NDArray | None:
    """(time, axis) of boxes [a, b, c, alpha, beta, gamma], None or 0 where there is none."""
    some = [box is not None and bool(np.any(box[:3] > 0)) for box in boxes]
    if not any(some):
        return None
    if not all(some):
        raise InvalidData(
            "some frames have a periodic box, others none",
            got=f"{sum(some)} of {len(some)} with a box",
            allowed="a box for all frames, or for none",
        )
    array = np.array(boxes, np.float64)
    if np.abs(array[:, 3:] - 90).max() > 1e-3:
        raise _tilted(f"angles {np.round(array[0, 3:], 3).tolist()}")
    return np.where(array[:, :3] > 0, array[:, :3], inf)


def from_mdtraj(
    trajectory: Any,
    *,
    dt: float | None = None,
    time: Any = None,
    velocity: Any = None,
    mass: Any = None,
    split: str | None = None,
) -> xr.Dataset:
    """A dataset of a ``Trajectory`` of mdtraj, in nm, ps and u.

    dt, time: between frames, or of them, in ps; by default those of mdtraj, which counts frames
        where it reads no times (DCD, LAMMPS).
    velocity: (time, particle, axis) in nm / ps, or "differences". mdtraj keeps no velocities, also
        where a file has them.
    mass: in u; by default those of the elements of the topology.
    Returns and raises as `from_ase`.
    """
    optional_package("mdtraj", "from_mdtraj")
    stamps = np.array(trajectory.time, np.float64)
    if dt is None and time is None:
        warn_numbered_frames(stamps, "mdtraj")
    boxes: list[Any] = [None] * trajectory.n_frames
    if trajectory.unitcell_lengths is not None:
        boxes = list(np.hstack([trajectory.unitcell_lengths, trajectory.unitcell_angles]))
    return to_dataset(
        Frames(
            "mdtraj",
            Units("nm", "ps", "u"),
            np.array(trajectory.xyz),
            None,
            _element_masses(trajectory) if mass is None else given_mass(mass, trajectory.n_atoms),
            stamps,
            _right_angles(boxes),
        ),
        velocity=velocity,
        dt=dt,
        time=time,
        split=split,
        # mdtraj 1.11: load() of a TRR file drops its velocities.
        no_velocity="mdtraj drops them, also those of TRR: read TRR with MDAnalysis "
        "(from_mdanalysis), or pass velocity= in nm / ps",
    )


def _element_masses(trajectory: Any) -> NDArray:
    atoms = [] if trajectory.topology is None else list(trajectory.topology.atoms)
    mass = np.array([getattr(atom.element, "mass", 0.0) for atom in atoms])
    if not len(mass) or np.any(mass <= 0):
        bad = [atom.name for atom, m in zip(atoms, mass) if not m > 0]
        raise InvalidData(
            "atoms of mdtraj have no mass",
            got=f"{len(bad)}: {', '.join(map(str, bad[:4]))}" if bad else "no topology",
            allowed="atoms of known elements; virtual sites and beads have none",
            fix="mass=(particle,) in u, or trajectory.atom_slice(...) without these atoms",
        )
    return mass
