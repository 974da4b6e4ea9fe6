"""Pairwise messages and attributes of edges from data to rollouts, files and errors."""

from __future__ import annotations

import numpy as np
import pytest

import pympnode
from pympnode.errors import InvalidData, InvalidOption, OutsideTrainingRange, UnknownName
from pympnode.graph import Graph

FAST = {"updates": 3, "progress": False, "hidden": 6, "kernel": "eager"}


def graph_with(attribute: bool = True, weight: bool = True, names=("length", "kind")) -> Graph:
    rng = np.random.default_rng(3)
    sender, receiver = [0, 1, 2, 3, 0, 2], [1, 2, 3, 0, 2, 1]
    return Graph.single(
        sender,
        receiver,
        4,
        weight=rng.normal(size=6) if weight else None,
        attribute=rng.normal(size=(6, 2)) if attribute else None,
        attribute_names=names if attribute else (),
    )


def data(graph: Graph, seed: int = 0):
    rng = np.random.default_rng(seed)
    return pympnode.from_arrays(
        np.cumsum(0.1 * rng.normal(size=(8, 6, 4, 2)), axis=1), topology=graph, dt=0.1,
        features=["v", "w"],
    )  # fmt: skip


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"coupling": "mixed", "message_size": 4},
        {"coupling": "mixed", "aggregation": "max"},
        {"antisymmetric": True},
        {"relative": "v"},
        {"invariant": ["v", "w"], "relative": ["w"]},
    ],
)
def test_a_model_takes_attributes_of_edges_and_keeps_them_in_its_file(options, tmp_path):
    ds = data(graph_with())
    model = pympnode.train(data=ds, messages="pairwise", **options, **FAST).model
    assert model.edge_attributes == ("length", "kind")
    assert model.spec.edge_attributes == 2 and model.trained.weight
    model.save(tmp_path / "m.nc")
    again = pympnode.load(tmp_path / "m.nc")
    assert again.spec == model.spec
    np.testing.assert_array_equal(again.rollout(ds).state, model.rollout(ds).state)


def test_attributes_change_the_rollout_and_are_matched_by_name():
    graph = graph_with()
    ds = data(graph)
    model = pympnode.train(data=ds, messages="pairwise", **FAST).model
    state = model.rollout(ds).state.values
    swapped = Graph.single(
        graph.sender, graph.receiver, 4, weight=graph.weight, attribute=graph.attribute[:, ::-1],
        attribute_names=("kind", "length"),
    )  # fmt: skip
    np.testing.assert_array_equal(model.rollout(data(swapped)).state, state)
    other = Graph.single(
        graph.sender, graph.receiver, 4, weight=graph.weight, attribute=graph.attribute + 0.5,
        attribute_names=("length", "kind"),
    )  # fmt: skip
    assert np.abs(model.rollout(data(other), check=False).state - state).max() > 1e-6
    with pytest.warns(OutsideTrainingRange, match="length"):
        far = Graph.single(
            graph.sender, graph.receiver, 4, weight=graph.weight, attribute=graph.attribute + 50,
            attribute_names=("length", "kind"),
        )  # fmt: skip
        model.rollout(data(far))


def test_an_edge_of_weight_zero_is_no_edge():
    graph = graph_with(attribute=False)
    weight = graph.weight.copy()
    weight[2] = 0.0
    kept = np.arange(6) != 2
    zero = Graph.single(graph.sender, graph.receiver, 4, weight=weight)
    without = Graph.single(graph.sender[kept], graph.receiver[kept], 4, weight=weight[kept])
    model = pympnode.train(data=data(zero), messages="pairwise", aggregation="sum", **FAST).model
    np.testing.assert_allclose(
        model.rollout(data(without), check=False).state,
        model.rollout(data(zero)).state,
        rtol=0,
        atol=1e-6,
    )


def test_nodes_may_be_renumbered():
    graph, order = graph_with(), np.array([2, 0, 3, 1])
    ds = data(graph)
    model = pympnode.train(data=ds, messages="pairwise", dtype="float64", **FAST).model
    place = np.argsort(order)
    moved = Graph.single(
        place[graph.sender], place[graph.receiver], 4, weight=graph.weight,
        attribute=graph.attribute, attribute_names=graph.attribute_names,
    )  # fmt: skip
    x = ds.state.values[:, 0]
    state = model.rollout(x, topology=graph, steps=4, check=False).state.values
    same = model.rollout(x[:, order], topology=moved, steps=4, check=False).state.values
    np.testing.assert_allclose(same, state[:, :, order], rtol=0, atol=1e-12)


def test_what_is_given_and_not_used_is_said():
    ds = data(graph_with())
    with pytest.warns(pympnode.PympnodeWarning, match='length, kind. messages="pairwise"'):
        pympnode.train(data=ds, messages="emitted", **FAST)
    bare = data(graph_with(attribute=False))
    model = pympnode.train(data=bare, messages="emitted", **FAST).model
    with pytest.warns(pympnode.PympnodeWarning, match="does not take.*length, kind"):
        model.rollout(ds)


def test_lacking_attributes_are_refused():
    model = pympnode.train(data=data(graph_with()), messages="pairwise", **FAST).model
    with pytest.raises(InvalidData, match="does not have") as error:
        model.rollout(data(graph_with(attribute=False)))
    assert "length, kind" in str(error.value)
    with pytest.raises(InvalidData, match="does not have"):
        model.rollout(data(graph_with(names=("length", "size"))))
    with pytest.raises(InvalidData, match="does not have"):
        pympnode.train(data=data(graph_with(attribute=False)), start=model, **FAST)
    with pytest.raises(InvalidData, match="does not have"):
        pympnode.train(
            data=[data(graph_with()), data(graph_with(attribute=False))],
            messages="pairwise",
            **FAST,
        )


@pytest.mark.parametrize(
    "options, error",
    [
        ({"messages": "emitted", "relative": "v"}, InvalidOption),
        ({"messages": "pairwise", "relative": "z"}, UnknownName),
        ({"messages": "pairwise", "antisymmetric": True, "coupling": "mixed"}, InvalidOption),
        ({"messages": "pairwise", "antisymmetric": True, "aggregation": "max"}, InvalidOption),
        ({"messages": "pairwise", "coupling": "superposed", "message_size": 5}, InvalidOption),
    ],
)
def test_options_that_contradict_each_other_are_refused(options, error):
    with pytest.raises(error):
        pympnode.train(data=data(graph_with(attribute=False)), **{**FAST, **options})


def test_the_field_of_an_invariant_model_depends_on_differences_only():
    ds = data(graph_with())
    options = {**FAST, "messages": "pairwise", "invariant": ["v", "w"], "dtype": "float64"}
    model = pympnode.train(data=ds, **options).model
    x = ds.state.values[:, 0]
    slope, _ = model.vector_field(x, graph=graph_with())
    moved, _ = model.vector_field(x + np.array([5.0, -2.0]), graph=graph_with())
    np.testing.assert_allclose(moved, slope, rtol=0, atol=1e-10)


def test_controls_of_the_sender_enter_emitted_messages():
    rng = np.random.default_rng(0)
    ds = pympnode.from_arrays(
        rng.normal(size=(6, 5, 3, 1)),
        topology="path",
        dt=0.1,
        control=rng.normal(size=(6, 5, 3, 1)),
    )
    model = pympnode.train(data=ds, messages="emitted", **FAST).model
    assert model.spec.sender_controls
    assert model.rollout(ds).message.shape[-1] == model.spec.message
    u = ds.control.values.copy()
    u[:, :, 0] += 1.0  # node 0 sends to node 1
    x = ds.state.values[:, 0]
    slope, _ = model.vector_field(x, u=ds.control.values[:, 0], graph="path")
    changed, _ = model.vector_field(x, u=u[:, 0], graph="path")
    assert np.abs(changed - slope)[:, 1].max() > 1e-6


def test_a_learned_node_with_pairwise_messages_moves_as_the_model_does():
    ds = pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=6, steps=5)
    model = pympnode.train(data=ds, messages="pairwise", dtype="float64", **FAST).model
    mixed = pympnode.couple([model] * 4, "ring", parameters=None)
    x = ds.state.values[:, 0].astype(np.float64)
    slope, _ = model.vector_field(x, graph="ring")
    np.testing.assert_allclose(mixed.field(0.0, x), slope, rtol=1e-6, atol=1e-9)


# ---- learned weights of edges ---------------------------------------------------------------------


def weighted_sines(trajectories: int = 30):
    """Coupled phases, weights 0.3 to 2 of six edges in both directions."""
    rng = np.random.default_rng(1)
    ends = np.array([(0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (3, 4)])
    weight = rng.uniform(0.3, 2.0, len(ends))
    sender, receiver = np.concatenate([ends, ends[:, ::-1]]).T
    graph = Graph.single(sender, receiver, 5, weight=np.tile(weight, 2))
    x, states = rng.uniform(-2, 2, (trajectories, 5)), []
    for _ in range(120):
        states.append(x)
        pull = graph.weight * np.sin(x[:, graph.sender] - x[:, graph.receiver])
        x = x.copy()
        np.add.at(x.T, graph.receiver, 0.01 * pull.T)
    return np.stack(states[::4], axis=1)[..., None], graph


def test_weights_of_given_edges_are_learned(tmp_path):
    x, graph = weighted_sines()
    ds = pympnode.from_arrays(x, topology=graph.without_weights, dt=0.04, features=["phase"])
    model = pympnode.train(
        data=ds, messages="pairwise", relative="phase", edge_weight="learn", aggregation="sum",
        hidden=12, updates=250, window=0.4, learning_rate=0.02, progress=False,
    ).model  # fmt: skip
    assert model.graph is not None and model.spec.learned_edges == 0
    assert np.abs(model.graph.weight).mean() == pytest.approx(1.0)
    r = np.corrcoef(np.log(model.graph.weight), np.log(graph.weight))[0, 1]
    assert r > 0.97
    model.save(tmp_path / "m.nc")
    again = pympnode.load(tmp_path / "m.nc")
    np.testing.assert_array_equal(again.graph.weight, model.graph.weight)
    # Data without weights take the learned ones; the same weights, given, are the same rollout.
    found = model.rollout(ds)
    given = pympnode.from_arrays(x, topology=model.graph, dt=0.04, features=["phase"])
    np.testing.assert_array_equal(again.rollout(given).state, found.state)
    np.testing.assert_array_equal(found.edge_weight, model.graph.weight)
    with pytest.raises(InvalidData, match="weights of these edges are not known"):
        model.rollout(x[0, 0], topology="ring")
    tuned = pympnode.finetune(model, data=ds, updates=2, progress=False).model
    assert tuned.trained.weight == model.trained.weight


def test_the_scale_moves_between_weights_and_messages():
    x, graph = weighted_sines(8)
    ds = pympnode.from_arrays(x, topology=graph.without_weights, dt=0.04)
    ds["split"] = ("trajectory", ["train"] * 5 + ["validation"] * 3)
    options = {**FAST, "edge_weight": "learn", "dtype": "float64", "aggregation": "sum"}
    for messages in ("pairwise", "emitted"):
        result = pympnode.train(data=ds, messages=messages, **options)
        # The loss of the model that was found is that of the weights in training.
        error = result.model.rollout(ds).state - ds.state
        assert np.isfinite(error).all()
        z = error / result.model.state_scale.scale
        held_out = ds.split.values == "validation"
        size = np.abs(z.values[held_out, 1:])
        loss = np.where(size <= 1, size**2 / 2, size - 0.5).sum(axis=(1, 3)).mean()
        assert loss == pytest.approx(result.best_loss, rel=1e-6)


@pytest.mark.parametrize(
    "options", [{"members": 2}, {"messages": "state"}, {"model": "l2s"}], ids=str
)
def test_weights_that_cannot_be_learned_are_refused(options):
    x, graph = weighted_sines(8)
    ds = pympnode.from_arrays(x, topology=graph.without_weights, dt=0.04)
    with pytest.raises(InvalidOption, match="learned by one model"):
        pympnode.train(data=ds, edge_weight="learn", **{**FAST, **options})
