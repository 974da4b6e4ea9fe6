"""Estimates of the fastest rate, and the warning of steps that are too long for rk4."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest

import pympnode
from pympnode.networks.graphs.topology import resolve
from pympnode.networks.stability import fastest_rate, rate_of_system
from pympnode.systems.registry import get


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_rate_is_the_largest_eigenvalue(dtype) -> None:
    matrix = np.diag([-1.0, -7.0, 3.0, 0.5])
    matrix[0, 3] = 2.0  # eigenvalues of a triangular matrix are its diagonal
    found = fastest_rate(lambda x: (x @ matrix.T).astype(dtype), np.ones(4))
    assert found == pytest.approx(7.0, rel=1e-3 if dtype is np.float64 else 1e-2)


def test_complex_eigenvalues_alternate_and_are_averaged() -> None:
    # Eigenvalues +-5 i; the growth of one iteration is 50 or .5.
    matrix = np.array([[0.0, 50.0], [-0.5, 0.0]])
    assert fastest_rate(lambda x: x @ matrix.T, np.ones(2)) == pytest.approx(5.0, rel=1e-2)


def test_fields_without_a_rate() -> None:
    assert fastest_rate(lambda x: np.ones_like(x), np.zeros(3)) == 0.0
    assert np.isnan(fastest_rate(lambda x: np.full_like(x, np.nan), np.zeros(3)))


def test_the_rate_of_diffusion_is_that_of_the_laplacian() -> None:
    graph = resolve("BA", 30, system="heat")
    heat = get("heat")
    parameters = heat.resolve_parameters(None, graph)
    laplacian = np.diag(graph.in_degree) - graph.adjacency().T
    wanted = parameters["diffusivity"] * np.linalg.eigvalsh(laplacian).max()
    x = np.random.default_rng(0).uniform(0, 50, (2, 30, 1))
    assert rate_of_system(heat, graph, parameters, x) == pytest.approx(wanted, rel=0.02)


def test_rollouts_with_long_steps_warn_with_the_number_and_a_fix() -> None:
    run = pympnode.train(
        "heat", topology="ring", nodes=6, trajectories=12, steps=10, updates=150, hidden=8,
        progress=False, device="cpu", engine="torch",
    )  # fmt: skip
    model = run.model
    start = np.random.default_rng(0).uniform(0, 50, (6, 1))

    def unstable(model, **options) -> list[str]:
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            model.rollout(start, steps=2, topology="ring", **options)
        return [str(each.message) for each in found if "unstable" in str(each.message)]

    # The Laplacian of a ring has eigenvalues up to 4, the diffusivity is 1 / 2: h times rate is 8.
    (text,) = unstable(model, dt=4.0)
    assert "substeps=" in text and float(text.split(", is ")[1].split()[0]) == pytest.approx(
        8, rel=0.5
    )
    substeps = int(text.split("substeps=")[1].split(",")[0].rstrip(")"))
    stable = dataclasses.replace(model, spec=model.spec.replace(substeps=substeps, stride=1))
    assert not unstable(stable, dt=4.0)
    assert (
        not unstable(model, dt=0.5)
        and not unstable(model)
        and not unstable(model, dt=4.0, check=False)
    )
