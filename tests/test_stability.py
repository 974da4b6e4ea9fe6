"""Estimates of the fastest rate, and the warning of steps that are too long for rk4."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest

import pympnode
from pympnode.errors import OutsideTrainingRange
from pympnode.networks import schema
from pympnode.networks.graphs.topology import resolve
from pympnode.networks.stability import (
    fastest_rate,
    rate_of_data,
    rate_of_system,
    substeps_for,
)
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


def heat(**options):
    return pympnode.train(
        "heat", topology="ring", nodes=6, trajectories=12, steps=10, hidden=8,
        progress=False, device="cpu", engine="torch", **options,
    )  # fmt: skip


def test_rollouts_with_long_steps_take_substeps_and_say_so() -> None:
    model = heat(updates=150).model
    start = np.random.default_rng(0).uniform(0, 50, (6, 1))

    def rolled(model, **options):
        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            ds = model.rollout(start, steps=2, topology="ring", **options)
        return ds, [str(each.message) for each in found if "rk4 is stable" in str(each.message)]

    # The Laplacian of a ring has eigenvalues up to 4, the diffusivity is 1 / 2: h times rate is 8.
    ds, (text,) = rolled(model, dt=4.0)
    assert float(text.split(", is ")[1].split()[0]) == pytest.approx(8, rel=0.5)
    substeps = int(text.split("substeps=")[1].split(",")[0].rstrip(")"))
    stable = dataclasses.replace(model, spec=model.spec.replace(substeps=substeps, stride=1))
    same, quiet = rolled(stable, dt=4.0)
    assert not quiet and substeps > 1
    assert np.array_equal(ds.state, same.state)
    # As it is, the step is another one.
    plain, quiet = rolled(model, dt=4.0, check=False)
    assert not quiet and not np.allclose(plain.state, ds.state)
    assert not rolled(model, dt=0.5)[1] and not rolled(model)[1]
    # A field this stiff is not for rk4.
    _, (text,) = rolled(model, dt=4000.0)
    assert "likely to be unstable" in text


def test_training_takes_the_substeps_that_the_system_of_the_data_needs() -> None:
    # A constant 8 of h times rate, as above: four steps of 2.
    options = dict(dt=4.0, updates=2)
    result = heat(**options)
    assert result.model.spec.substeps == 4
    found = result.history.attrs["substeps"].split("fastest rate of heat is ")[1].split(",")[0]
    assert float(found) == pytest.approx(8, rel=0.05)
    assert heat(**options, substeps=1).model.spec.substeps == 1
    short = heat(updates=2)
    assert short.model.spec.substeps == 1 and "substeps" not in short.history.attrs
    # Going on from a model keeps its steps.
    ds = pympnode.simulate("heat", topology="ring", nodes=6, trajectories=12, steps=10, dt=4.0)
    with pytest.warns(OutsideTrainingRange, match="time step"):
        again = pympnode.finetune(short.model, data=ds, updates=1, progress=False)
    assert again.model.spec.substeps == 1


def test_the_rate_of_data_is_that_of_the_graph_with_the_heaviest_node() -> None:
    light = pympnode.simulate("heat", topology="ring", nodes=6, trajectories=2, steps=2)
    heavy = light.assign(edge_weight=("edge", np.full(light.sizes["edge"], -3.0)))
    true = get("heat")
    rate = rate_of_data(true, schema.pack(light), schema.parameters_of(light), ())
    assert rate == pytest.approx(2.0, rel=0.02)
    assert rate_of_data(true, schema.pack(heavy), {}, ()) == pytest.approx(6.0, rel=0.05)
    assert (substeps_for(2.7), substeps_for(2.71), substeps_for(np.nan)) == (1, 2, 1)
