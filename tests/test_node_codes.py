"""Codes of nodes: gradients, training, inference, rollouts, files, errors."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

import pympnode
from pympnode.errors import InvalidData, InvalidModel, InvalidOption
from pympnode.graph import Graph
from pympnode.networks.engines import engine
from pympnode.networks.engines.base import Batch
from pympnode.networks.schema import Arrays
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of

NODES = 20
TRAINED, OTHER = (list(nx.barabasi_albert_graph(NODES, 2, seed=seed).edges) for seed in (1, 2))


def relaxing(edges, target, trajectories, seed, steps=12, dt=0.1):
    """x_i' = b_i - x_i + 1/2 sum_j (x_j - x_i), exactly."""
    graph = Graph.from_edges(edges, len(target))
    matrix = -np.eye(len(target))
    np.add.at(matrix, (graph.receiver, graph.sender), 0.5)
    np.add.at(matrix, (graph.receiver, graph.receiver), -0.5)
    values, vectors = np.linalg.eig(matrix)
    step = np.real(vectors @ np.diag(np.exp(dt * values)) @ np.linalg.inv(vectors))
    rest = -np.linalg.solve(matrix, target)
    x = np.random.default_rng(seed).normal(size=(trajectories, len(target)))
    states = [x]
    for _ in range(steps):
        x = rest + (x - rest) @ step.T
        states.append(x)
    data = np.stack(states, axis=1)[..., None]
    return pympnode.from_arrays(data, dt=dt, topology=graph, features=["level"])


@pytest.fixture(scope="module")
def targets():
    return np.random.default_rng(0).normal(size=(2, NODES))


@pytest.fixture(scope="module")
def model(targets):
    ds = relaxing(TRAINED, targets[0], 30, 1)
    return pympnode.train(data=ds, node_codes=2, updates=400, progress=False).model


def fit(codes, values):
    columns = np.column_stack([codes, np.ones(len(codes))])
    return np.linalg.lstsq(columns, values, rcond=None)[0], columns


def r_squared(found, values):
    return 1 - np.sum((found - values) ** 2) / np.sum((values - values.mean()) ** 2)


def error(rollout, ds):
    return float(np.sqrt(((rollout.state.values - ds.state.values) ** 2).mean()))


@pytest.mark.parametrize("kernel", ["eager", "torch", "numba"])
@pytest.mark.parametrize("messages", ["emitted", "pairwise"])
@pytest.mark.parametrize("attributes", [0, 1])
def test_gradients_of_codes_are_those_of_differences(kernel, messages, attributes):
    rng = np.random.default_rng(0)
    graph = Graph.union([Graph.from_edges(e, 4) for e in ([(0, 1), (1, 2)], [(0, 3), (1, 3)])])
    b = rng.normal(size=(4, attributes)) if attributes else None
    x, of = rng.normal(size=(6, 8, 4, 2)), np.array([0, 1, 0, 1, 1, 0])
    spec = ModelSpec(
        channels=2, attributes=attributes, message=2, hidden=5, messages=messages,
        coupling="superposed", aggregation="sum", codes=2, coded_nodes=8,
    )  # fmt: skip
    program = engine("torch").bind(
        spec, [Arrays(x, np.arange(8) * 0.1, graph, of, None, b)], kernel=kernel,
        dtype="float64", device="cpu",
    )  # fmt: skip
    theta = layout_of(spec).initial(rng)
    theta[-16:] = rng.normal(size=16)
    batch = Batch(np.array([0, 1, 3, 5]), np.array([0, 1, 2, 0]), 4)
    _, gradient = program.loss_and_gradient(theta, batch)
    for entry in range(len(theta) - 16, len(theta)):
        step = np.zeros(len(theta))
        step[entry] = 1e-6
        difference = program.loss(theta + step, batch) - program.loss(theta - step, batch)
        assert gradient[entry] == pytest.approx(difference / 2e-6, abs=1e-7)


def test_codes_stand_for_what_was_not_measured(model, targets):
    assert model.node_code.dims == ("node", "code") and model.node_code.shape == (NODES, 2)
    coefficients, columns = fit(model.node_code.values, targets[0])
    assert r_squared(columns @ coefficients, targets[0]) > 0.9
    test = relaxing(TRAINED, targets[0], 20, 5)
    spread = float(test.state.std())
    assert error(model.rollout(test), test) < 0.1 * spread


def test_codes_of_other_nodes_are_inferred(model, targets):
    prefix, test = relaxing(OTHER, targets[1], 4, 7), relaxing(OTHER, targets[1], 20, 8)
    codes = model.infer(prefix)
    assert codes.dims == ("node", "code") and np.isfinite(codes.loss)
    coefficients, _ = fit(model.node_code.values, targets[0])
    found = np.column_stack([codes, np.ones(NODES)]) @ coefficients
    assert r_squared(found, targets[1]) > 0.7
    inferred = error(model.rollout(test, node_code=codes, check=False), test)
    mean = np.tile(model.node_code.mean("node"), (NODES, 1))
    assert inferred < 0.3 * error(model.rollout(test, node_code=mean, check=False), test)
    with pytest.raises(InvalidData, match="codes of these nodes are not known") as caught:
        model.rollout(test, check=False)
    assert "model.infer" in str(caught.value)


def oscillators(graphs, frequency, trajectories, seed, *, given, steps=50):
    """Kuramoto oscillators of coupling 1/4, at steps of 0.05; ``given``: with their frequencies."""
    adjacency = np.repeat([nx.to_numpy_array(g) for g in graphs], trajectories, axis=0)
    each = np.repeat(frequency, trajectories, axis=0)
    x = np.random.default_rng(seed).uniform(-np.pi, np.pi, each.shape)

    def rate(x):
        return each + 0.25 * (adjacency * np.sin(x[:, None] - x[:, :, None])).sum(-1)

    states, dt = [x], 0.025
    for _ in range(steps):
        for _ in range(2):
            a = rate(x)
            b = rate(x + dt / 2 * a)
            c = rate(x + dt / 2 * b)
            x = x + dt / 6 * (a + 2 * b + 2 * c + rate(x + dt * c))
        states.append(x)
    return pympnode.from_arrays(
        np.stack(states, axis=1)[..., None], dt=0.05, topology=graphs,
        graph_of=np.repeat(np.arange(len(graphs)), trajectories), features=["phase"],
        units=["rad"], node_attribute=each[..., None] if given else None,
    )  # fmt: skip


@pytest.mark.slow
def test_codes_stand_for_frequencies_as_well_as_the_frequencies_themselves():
    """Errors at most 2x those of the model that is given the frequencies; also on a new graph."""
    graphs = [nx.barabasi_albert_graph(20, 2, seed=seed) for seed in range(1, 6)]
    drawn = np.random.default_rng(0).normal(0, 0.5, (5, 20))
    models = [
        pympnode.train(
            data=oscillators(graphs[:4], drawn[:4], 15, 1, given=not codes), updates=800,
            progress=False, node_codes=codes, messages="emitted",
        ).model
        for codes in (None, 1)
    ]  # fmt: skip
    prefix = oscillators(graphs[4:], drawn[4:], 1, 3, given=False, steps=25)
    codes = [models[1].node_code.values, models[1].infer(prefix).values]
    coefficients, columns = fit(codes[0], drawn[:4].ravel())
    assert r_squared(columns @ coefficients, drawn[:4].ravel()) > 0.95
    new = np.column_stack([codes[1], np.ones(20)]) @ coefficients
    assert r_squared(new, drawn[4]) > 0.9
    for which, code in ((slice(0, 4), codes[0]), (slice(4, 5), codes[1])):
        errors = []
        for model, given in zip(models, (True, False)):
            test = oscillators(graphs[which], drawn[which], 10, 9, given=given)
            errors.append(error(
                model.rollout(test, node_code=None if given else code, check=False), test
            ))  # fmt: skip
        print(errors, r_squared(new, drawn[4]))
        assert errors[1] < 2 * errors[0]


def test_codes_are_saved_with_the_model(model, targets, tmp_path):
    ds = relaxing(TRAINED, targets[0], 3, 9)
    model.save(tmp_path / "m.nc")
    again = pympnode.load(tmp_path / "m.nc")
    np.testing.assert_array_equal(again.node_code, model.node_code)
    np.testing.assert_array_equal(again.rollout(ds).state, model.rollout(ds).state)
    given = model.rollout(ds, node_code=model.node_code)
    np.testing.assert_array_equal(given.state, model.rollout(ds).state)
    tuned = pympnode.finetune(model, data=ds, updates=1, progress=False)
    assert "node_code" in tuned.restored_tensors


def test_wrong_codes_are_refused(model, targets):
    ds = relaxing(TRAINED, targets[0], 3, 9)
    with pytest.raises(InvalidData, match="node_code does not fit"):
        model.rollout(ds, node_code=np.zeros((7, 2)))
    plain = pympnode.train(data=ds, updates=1, progress=False, kernel="eager").model
    assert plain.node_code is None
    with pytest.raises(InvalidData, match="no codes of nodes"):
        plain.rollout(ds, node_code=np.zeros((NODES, 2)))
    with pytest.raises(InvalidModel, match="codes are inferred"):
        plain.infer(ds)
    with pytest.raises(InvalidOption, match="messages that are evaluated"):
        pympnode.train(data=ds, node_codes=2, messages="state", updates=1, progress=False)
    with pytest.raises(InvalidOption, match="one dataset"):
        pympnode.train(data=[ds, ds], node_codes=2, updates=1, progress=False)
