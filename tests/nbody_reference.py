"""Adapters to the golden particle files: one a kind, reading whatever folder it is given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from golden_files import found_files

from pympnode.particles.schema import unpack_particles
from pympnode.particles.systems.base import ParticleState
from pympnode.particles.systems.coulomb import Coulomb
from pympnode.particles.systems.gravity import Gravity


def golden(folder: Path, kind: str) -> list[Path]:
    """Files ``kind_N*.npz`` anywhere under the folder (see `found_files`)."""
    return found_files(folder, f"{kind}_N*.npz")


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:
        return dict(stored)


def state_of(rows: np.ndarray) -> ParticleState:
    """Columns [mass, (charge,) x, y, vx, vy] of one time."""
    charge = rows[:, 1] if rows.shape[1] == 6 else None
    return ParticleState(rows[:, -4:-2], rows[:, -2:], rows[:, 0], charge)


def trajectories(folder: Path) -> Iterator[SimpleNamespace]:
    """Golden trajectories: system, start, what `integrate_leapfrog` takes, and what must come out."""
    for path in golden(folder, "traj"):
        z = load(path)
        rows = z["trajectory"]
        yield SimpleNamespace(
            name=path.name,
            system=Coulomb() if rows.shape[2] == 6 else Gravity(),
            start=state_of(rows[0]),
            forces=dict(
                box=float(z["box_size"]),
                constant=float(z["physical_const"]),
                softening=float(z["softening"]),
            ),
            dt=float(z["dt"]),
            accuracy=float(z["niu"]),
            position=rows[..., -4:-2],
            velocity=rows[..., -2:],
            values=z,
        )


def graphs(folder: Path) -> Iterator[SimpleNamespace]:
    """Golden hierarchical graphs."""
    for path in golden(folder, "graph"):
        z = load(path)
        yield SimpleNamespace(
            name=path.name,
            state=state_of(z["state"]),
            box=float(z["box_size"]),
            levels=int(z["levels"]),
            values=z,
        )


def metrics(folder: Path) -> Iterator[SimpleNamespace]:
    """Golden metrics: predicted and true datasets, and the published numbers."""
    for path in golden(folder, "metrics"):
        z = load(path)
        system = "coulomb" if z["target"].shape[-1] == 6 else "gravity"
        physics = {
            "side": float(z["box_size"]),
            "constant": float(z["physical_const"]),
            "softening": float(z["softening"]),
        }
        yield SimpleNamespace(
            name=path.name,
            truth=_dataset(z["target"], system, physics),
            prediction=_dataset(z["prediction"], system, physics),
            values=z,
        )


def _dataset(rows: np.ndarray, system: str, physics: dict[str, float]):
    return unpack_particles(
        rows[..., -4:-2],
        rows[..., -2:],
        rows[:, 0, :, 0],
        np.arange(rows.shape[1]) * 0.01,
        charge=rows[:, 0, :, 1] if system == "coulomb" else None,
        about={"system": system, "parameters": physics},
    )
