"""The simulator, the hierarchy and the metrics against the published code's numbers."""

from __future__ import annotations

import nbody_reference as reference
import numpy as np
import pytest
import torch

from pympnode.particles.graphs.tree import hierarchy
from pympnode.particles.leapfrog import integrate_leapfrog
from pympnode.particles.metrics import observe, particle_errors
from pympnode.particles.schema import unpack_particles


def test_nbody_reference_trajectories(reference_dir):
    """1e-11 after 20 steps: another order of the sums moves the published numbers by 1e-12."""
    for case in reference.trajectories(reference_dir):
        steps = case.position.shape[0] - 1
        made = integrate_leapfrog(
            case.system,
            case.start,
            steps=steps,
            dt=case.dt,
            accuracy=case.accuracy,
            **case.forces,
        )
        assert np.abs(made.position - case.position).max() < 1e-11, case.name
        assert np.abs(made.velocity - case.velocity).max() < 1e-11, case.name
        # The same force calls in the same order: the time levels agree, not just the result.
        assert np.array_equal(made.calls, case.values["active_counts_step1"]), case.name


def test_nbody_reference_forces_and_observables(reference_dir):
    for case in reference.trajectories(reference_dir):
        z, s = case.values, case.start
        acceleration = case.system.acceleration(case.position, s.mass, s.charge, **case.forces)
        # |a| reaches 1e3 in close encounters, and a sum of N terms of that size rounds at N eps.
        bound = 1e-13 * np.abs(z["accelerations"]).max() * s.particles
        assert np.abs(acceleration - z["accelerations"]).max() < bound, case.name
        tau = case.accuracy * np.sqrt(
            case.forces["softening"] / np.linalg.norm(acceleration, axis=-1)
        )
        assert np.allclose(tau, z["dt_particle"], rtol=1e-10, atol=0), case.name
        ds = unpack_particles(
            case.position[None],
            case.velocity[None],
            s.mass[None],
            np.arange(case.position.shape[0]) * case.dt,
            charge=None if s.charge is None else s.charge[None],
            about={
                "system": case.system.name,
                "parameters": {"side": case.forces["box"], **case.forces} | {"box": None},
            },
        )
        seen = observe(ds)
        for ours, golden in (
            ("kinetic", "kinetic"),
            ("potential", "potential"),
            ("energy", "hamiltonian"),
            ("momentum", "linear_momentum"),
        ):
            scale = np.abs(z["kinetic"]).max() + np.abs(z["potential"]).max()
            assert np.abs(seen[ours].values[0] - z[golden]).max() < 1e-12 * scale, case.name


@pytest.mark.parametrize("kernel", ["torch", "numba"])
def test_nbody_reference_graphs(reference_dir, kernel):
    """Particle edges, cells, cell edges, parents and features of every golden graph."""
    for case in reference.graphs(reference_dir):
        s, z = case.state, case.values
        h = hierarchy(
            torch.from_numpy(s.position),
            case.box,
            mass=s.mass,
            velocity=torch.from_numpy(s.velocity),
            charge=s.charge,
            levels=case.levels,
            kernel=kernel,
        )
        pairs = torch.stack(h.particle_edges(), 1).numpy()
        assert np.array_equal(_sorted(pairs), z["particle_edges"]), case.name
        home = h.given_order(h.levels[0].cells[h.cell]).numpy()
        assert np.array_equal(home, z["particle_cell"]), case.name
        assert [level.level for level in h] == list(range(case.levels, 1, -1))
        for i, level in enumerate(h):
            golden, cells = f"l{level.level}_", level.cells.numpy()
            ours, theirs = _order(cells), _order(z[golden + "cells"])
            assert np.array_equal(cells[ours], z[golden + "cells"][theirs]), case.name
            edges = np.concatenate([cells[level.sender], cells[level.receiver]], 1)
            assert np.array_equal(_sorted(edges), z[golden + "cell_edges"]), case.name
            columns = [level.mass[:, None], level.position, level.velocity]
            if level.charge is not None:
                columns.insert(1, level.charge[:, None])
            features = torch.cat(columns, 1).numpy()
            # sums over all particles of a cell of numbers up to the box: N eps L
            bound = 2e-16 * s.particles * case.box
            assert np.abs(features[ours] - z[golden + "features"][theirs]).max() < bound, case.name
            if i > 0:
                finer = h.levels[i - 1]
                found = np.concatenate([finer.cells, cells[finer.parent]], 1)
                wanted = np.concatenate([z[golden + "child_cells"], z[golden + "child_parent"]], 1)
                assert np.array_equal(_sorted(found), _sorted(wanted)), case.name


def test_nbody_reference_metrics(reference_dir):
    for case in reference.metrics(reference_dir):
        errors = particle_errors(case.prediction, case.truth)
        for ours, golden in (
            ("rmse_published", "rmse"),
            ("rmse_state", "rmse_4col"),
            ("rmse_position", "rmse_position"),
            ("energy_error", "energy_error"),
        ):
            # relative 1e-10: the energy error divides by an energy near 0 for Coulomb
            assert float(errors[ours]) == pytest.approx(float(case.values[golden]), rel=1e-10), (
                case.name,
                ours,
            )


def _order(rows: np.ndarray) -> np.ndarray:
    return np.lexsort(rows.T[::-1])


def _sorted(rows: np.ndarray) -> np.ndarray:
    return rows[_order(rows)]
