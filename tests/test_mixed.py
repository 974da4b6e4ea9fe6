"""Simulated and learned nodes on one graph."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import pympnode
from pympnode import couple
from pympnode.errors import (
    InvalidData,
    InvalidModel,
    InvalidOption,
    OutsideTrainingRange,
    UnknownName,
)

TRAIN: dict[str, Any] = dict(
    kernel="eager",
    hidden=6,
    message_size=2,
    batch_size=8,
    progress=False,
    dtype="float64",
    epochs=1,
)


def trained(system: Any = "kuramoto", **options: Any) -> pympnode.Model:
    data = dict(nodes=5, topology="ring", trajectories=10, steps=5)
    return pympnode.train(system, **{**data, **TRAIN, **options}).model


@pytest.fixture(scope="module")
def model() -> pympnode.Model:
    return trained()


KINDS: list[dict[str, Any]] = [
    {"messages": "emitted", "coupling": "superposed"},
    {"messages": "state", "coupling": "mixed", "first_message": "mlp"},
    {"messages": "state", "coupling": "superposed", "first_message": "linear", "substeps": 2},
    {"messages": "self", "coupling": "mixed"},
    {"messages": "zero"},
    {"model": "l2s", "hidden": 6, "message_size": None},
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: "-".join(map(str, kind.values())))
def test_learned_nodes_alone_are_the_model(kind: dict[str, Any]) -> None:
    model = trained(**kind)
    ds = pympnode.simulate("kuramoto", nodes=5, topology="ring", trajectories=3, steps=5, seed=9)
    mixed = couple([model] * 5, "ring")
    expected = model.rollout(ds)
    out = mixed.rollout(ds, solver="rk4")
    # The same sums in another order: rounding alone.
    np.testing.assert_allclose(out.state, expected.state, rtol=0, atol=1e-11)
    if model.spec.carried:
        np.testing.assert_allclose(out.message, expected.message, rtol=0, atol=1e-11)
    assert out.learned.all() and out.finite.all()


def test_simulated_nodes_alone_are_the_system() -> None:
    ds = pympnode.simulate("kuramoto", nodes=6, topology="BA", trajectories=4, steps=10)
    out = couple(["kuramoto"] * 6, "BA").rollout(ds, tolerance=1e-9)
    np.testing.assert_allclose(out.state, ds.state, rtol=0, atol=1e-7)
    assert not out.learned.any()
    np.testing.assert_array_equal(out.sender, ds.sender)


def test_each_node_has_the_derivative_of_its_model_or_system(
    model: pympnode.Model, rng: np.random.Generator
) -> None:
    learned = [True, False, False, True, False]
    mixed = couple([model if moved else "kuramoto" for moved in learned], "ring")
    x = rng.uniform(-1, 1, (3, 5, 3))
    slope = mixed.field(0.0, x)
    by_model, _ = model.vector_field(x, graph="ring")
    system = pympnode.systems.get("kuramoto")
    by_system = system.field(0.0, x, None, mixed.graph, mixed.resolved(system))
    np.testing.assert_allclose(slope[:, learned], by_model[:, learned], rtol=0, atol=1e-12)
    np.testing.assert_allclose(
        slope[:, np.logical_not(learned)], by_system[:, np.logical_not(learned)], atol=1e-12
    )
    assert np.abs(by_model - by_system).max() > 1e-3
    assert list(mixed.learned) == learned
    assert repr(mixed) == "Mixed(5 nodes, 2 learned, 3 simulated as kuramoto; ring(5))"


def test_both_kinds_depend_on_their_neighbours_alone(rng: np.random.Generator) -> None:
    """A change at one node changes the derivatives of its neighbours, learned or simulated."""
    for options in ({"messages": "emitted"}, {"messages": "state", "first_message": "mlp"}):
        model = trained(**options)
        mixed = couple([model, "kuramoto"] * 3, "ring")
        x = rng.uniform(-1, 1, (1, 6, 3))
        moved = x.copy()
        moved[0, 2] += 0.5
        change = np.abs(mixed.field(0.0, moved) - mixed.field(0.0, x)).max(axis=(0, 2))
        assert np.all(change[1:4] > 1e-6) and np.all(change[[0, 4, 5]] == 0)


def test_two_models_on_one_graph() -> None:
    """All nodes carry the messages of both models; each model reads its own alone."""
    first = trained(messages="state", first_message="mlp")
    second = trained(messages="state", first_message="mlp", seed=1)
    ds = pympnode.simulate("kuramoto", nodes=5, topology="none", trajectories=2, steps=4, seed=3)
    out = couple([first, second, first, "kuramoto", second], "none").rollout(
        ds, solver="rk4", check=False
    )
    assert out.sizes["message_component"] == 4
    for model, nodes in ((first, [0, 2]), (second, [1, 4])):
        alone = model.rollout(ds, check=False)
        np.testing.assert_allclose(out.state[:, :, nodes], alone.state[:, :, nodes], atol=1e-12)


def test_a_learned_node_replaces_a_simulated_one() -> None:
    """The modular promise: learned pendula among simulated ones stay near the true chain."""
    result = pympnode.train(
        "coupled_pendulum", nodes=4, topology="path", trajectories=40, steps=20, dtype="float64",
        kernel="eager", hidden=16, message_size=2, batch_size=16, epochs=14, progress=False,
    )  # fmt: skip
    truth = pympnode.simulate(
        "coupled_pendulum", nodes=4, topology="path", trajectories=12, steps=20, seed=5
    )
    chain = couple([result.model, "coupled_pendulum"] * 2, "path")
    out = chain.rollout(truth)
    scores = pympnode.evaluate(result.model, truth).rmse_z
    scale = result.model.state_scale.scale
    error = np.sqrt(np.mean(((out.state - truth.state).values[:, 1:] / scale) ** 2))
    assert error < 0.3 * float(scores.sel(predictor="persistence"))
    assert error < 0.8 * float(scores.sel(predictor="uncoupled"))
    # Half of the nodes are exact, so the chain is no worse than the model of all nodes.
    assert error < 1.2 * float(scores.sel(predictor="model"))


def test_controls_reach_both_kinds() -> None:
    model = trained("kuramoto_controlled", trajectories=20)
    ds = pympnode.simulate(
        "kuramoto_controlled", nodes=5, topology="ring", trajectories=3, steps=5, seed=2
    )
    mixed = couple([model, "kuramoto_controlled"] * 2 + [model], "ring")
    out = mixed.rollout(ds, check=False)
    pushed = ds.control.values.copy()
    pushed[:, 2:] += 0.5
    other = mixed.rollout(ds, control=pushed, check=False)
    np.testing.assert_array_equal(other.state[:, :3], out.state[:, :3])
    assert np.all(np.abs(other.state - out.state).values[:, 3].max(axis=(0, 2)) > 1e-4)
    np.testing.assert_array_equal(other.control, pushed)
    simulated = couple(["kuramoto_controlled"] * 5, "ring").rollout(ds, tolerance=1e-9)
    np.testing.assert_allclose(simulated.state, ds.state, rtol=0, atol=1e-7)
    with pytest.raises(InvalidData, match="controls have the wrong shape"):
        mixed.rollout(ds, control=pushed[:, :3])
    with pytest.raises(InvalidData, match="needs controls"):
        mixed.rollout(ds.state.values[:, 0])


@pytest.mark.filterwarnings("ignore:node attributes only name the nodes")
def test_nodes_that_differ_take_their_attributes_along() -> None:
    rates = np.linspace(-1, 1, 12).reshape(4, 3)
    options = dict(nodes=4, topology="ring", parameters={"frequency": rates})
    model = trained(**options)
    ds = pympnode.simulate("kuramoto", trajectories=2, steps=5, seed=4, **options)
    mixed = couple([model] * 4, "ring", parameters={"frequency": rates})
    out = mixed.rollout(ds, solver="rk4")
    np.testing.assert_allclose(out.state, model.rollout(ds).state, rtol=0, atol=1e-11)
    with pytest.raises(InvalidModel, match="node attributes"):
        couple([model] * 4, "ring").rollout(ds)


def test_only_learned_nodes_have_a_training_range(model: pympnode.Model) -> None:
    nodes = [model] + ["kuramoto"] * 5
    x = np.zeros((1, 6, 3))
    couple(nodes, [(0, 1), (0, 2), (1, 3), (1, 4), (1, 5)]).rollout(x, steps=2)
    with pytest.warns(OutsideTrainingRange, match="degree 5, trained on 2"):
        couple(nodes, "star").rollout(x, steps=2)
    x[0, 0, 1] = 30.0
    with pytest.warns(OutsideTrainingRange, match="initial phase_2 30"):
        couple(nodes, "ring").rollout(x, steps=2)


def test_overflow_is_marked(model: pympnode.Model) -> None:
    chain = couple(["coupled_pendulum"] * 2, "path")
    x = np.array([[[0.1, 0.0], [0.2, 0.0]], [[1.5, 3.0], [0.0, 0.0]]])
    out = chain.rollout(x, steps=40)
    assert list(out.finite.values) == [True, False] and np.isfinite(out.state[0]).all()


def test_impossible_couplings_are_refused_in_words(model: pympnode.Model) -> None:
    for call, error, words in [
        (lambda: couple([model], "none", system="gene"), InvalidModel, "differ in their features"),
        (
            lambda: couple([model], "none", system="kuramoto_controlled"),
            InvalidModel,
            "differ in their controls",
        ),
        (lambda: couple([model], "none", system="kuramotto"), UnknownName, "did you mean"),
        (lambda: couple([], "ring"), InvalidOption, "at least one node"),
        (lambda: couple([model, "gene"], "path"), InvalidOption, "another state than node 0"),
        (lambda: couple([model] * 3, "path", parameters={"mass": 1}), UnknownName, "parameter"),
        (lambda: couple([model] * 3, "path").rollout(np.zeros((2, 3))), InvalidData, "wrong shape"),
        (
            lambda: couple([model] * 3, "path").rollout(np.zeros((3, 3)), solver="euler"),
            UnknownName,
            "solver",
        ),
        (
            lambda: couple([model] * 2, "path").rollout(np.full((2, 3), np.nan)),
            InvalidData,
            "finite",
        ),
    ]:
        with pytest.raises(error, match=words):
            call()
    ds = pympnode.simulate("kuramoto", nodes=3, topology="none", trajectories=2, steps=2)
    with pytest.raises(InvalidData, match="another graph"):
        couple([model] * 3, "path").rollout(ds)
    with pytest.raises(InvalidModel, match=r"member\(0\)"):
        couple([trained(members=2)] * 2, "path")
    whole = trained(model="node", hidden=4, message_size=None)
    with pytest.raises(InvalidModel, match="no nodes to take out"):
        couple([whole] * 5, "ring")


def test_a_model_of_given_data_takes_the_system_beside_it() -> None:
    """Its dataset names no system: the first simulated node does, or ``system=``."""
    ds = pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=6, steps=3)
    names = [str(name) for name in ds.feature.values]
    data = pympnode.from_arrays(ds.state.values, dt=0.05, topology="ring", features=names)
    model = pympnode.train(data=data, **TRAIN).model
    assert model.system == ""
    with pytest.raises(InvalidOption, match="its system is not known"):
        couple([model] * 4, "ring")
    named = couple([model] * 4, "ring", system="kuramoto")
    beside = couple([model, model, model, "kuramoto"], "ring")
    x = ds.state.values[:1, 0]
    np.testing.assert_array_equal(named.field(0.0, x)[:, :3], beside.field(0.0, x)[:, :3])
    with pytest.raises(InvalidModel, match="differ in their features"):
        couple([model, "gene"], "path")


def test_a_model_takes_the_unregistered_system_of_its_name() -> None:
    """A user's own system need not be registered to stand beside a model trained on it."""

    def field(t: float, x: Any, u: Any, graph: Any, parameters: Any) -> Any:
        return graph.sum_neighbours(x) - 2.0 * x

    system = pympnode.own_system("consensus_of_a_test", field, ["opinion"])
    model = trained(system)
    mixed = couple([model, system] * 2, "ring")
    assert mixed.system is system and list(mixed.learned) == [True, False] * 2


def test_as_node_still_makes_a_node(model: pympnode.Model, rng: np.random.Generator) -> None:
    x = rng.uniform(-1, 1, (1, 3, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        node = model.as_node("kuramoto")
    old, new = couple([node, "kuramoto", node], "path"), couple([model, "kuramoto", model], "path")
    np.testing.assert_array_equal(old.field(0.0, x), new.field(0.0, x))
