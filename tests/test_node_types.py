"""Nodes of several types: datasets, training, rollouts, errors, files, and what is refused."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import pympnode
from pympnode.cli import status_of
from pympnode.errors import InvalidData, InvalidModel, InvalidOption, PympnodeError, UnknownName
from pympnode.networks import schema
from pympnode.networks.agreement import Names
from pympnode.networks.node_types import by_type, in_order, with_shared_state
from pympnode.networks.prepare import prepare

DT, SUBSTEPS = 0.05, 5


def rates(phase: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kuramoto oscillators and slowed Lorenz systems that drive each other by the mean of what the
    other nodes send: the sine of a phase, and x / 10."""
    nodes = phase.shape[-2] + x.shape[-2]
    sent = np.concatenate([np.sin(phase[..., 0]), 0.1 * x[..., 0]], axis=-1)
    drive = (sent.sum(axis=-1, keepdims=True) - sent) / max(nodes - 1, 1)
    of_phase, of_x = drive[..., : phase.shape[-2]], drive[..., phase.shape[-2] :]
    a, b, c = np.moveaxis(x, -1, 0)
    lorenz = [10 * (b - a) + 4 * of_x, a * (28 - c) - b, a * b - 8 / 3 * c]
    return 1 + 0.8 * (of_phase * np.cos(phase[..., 0]))[..., None], 0.2 * np.stack(lorenz, axis=-1)


@cache
def coupled(
    oscillators: int = 3, lorenz: int = 2, trajectories: int = 30, steps: int = 30, seed: int = 0
) -> xr.Dataset:
    """Simulated by the classical Runge-Kutta method; a complete graph."""
    rng = np.random.default_rng(seed)
    state = (
        rng.uniform(-np.pi, np.pi, (trajectories, oscillators, 1)),
        rng.normal(size=(trajectories, lorenz, 3)) * 6 + [0, 0, 25],
    )
    h, found = DT / SUBSTEPS, [state]
    for _ in range(steps):
        for _ in range(SUBSTEPS):
            a = rates(*state)
            b = rates(*(z + h / 2 * k for z, k in zip(state, a)))
            c = rates(*(z + h / 2 * k for z, k in zip(state, b)))
            d = rates(*(z + h * k for z, k in zip(state, c)))
            state = tuple(
                z + h / 6 * (p + 2 * q + 2 * r + s) for z, p, q, r, s in zip(state, a, b, c, d)
            )
        found.append(state)
    return pympnode.from_arrays(
        {name: np.stack(each, axis=1) for name, each in zip(("kuramoto", "lorenz"), zip(*found))},
        dt=DT,
        topology="complete",
        features={"kuramoto": ["phase"], "lorenz": ["x", "y", "z"]},
        units={"kuramoto": ["rad"]},
    )


QUICK: dict[str, Any] = dict(
    updates=4, messages="emitted", hidden=8, depth=1, kernel="torch", progress=False
)


OUTSIDE = pytest.mark.filterwarnings("ignore::pympnode.errors.OutsideTrainingRange")


@cache
def quick() -> Any:
    """A model that has hardly learned, for all that does not depend on how well."""
    return pympnode.train(data=coupled(), **QUICK)


@cache
def trained() -> Any:
    return pympnode.train(
        data=coupled(trajectories=40),
        updates=160,
        messages="emitted",
        hidden=24,
        kernel="torch",
        dtype="float64",
        progress=False,
    )


def small(seed: int = 0, **changes: Any) -> xr.Dataset:
    """Two tanks and three pumps on a path, with controls of the pumps and attributes of the tanks."""
    rng = np.random.default_rng(seed)
    options: dict[str, Any] = dict(
        x={"tank": rng.normal(size=(4, 12, 2, 1)), "pump": 5 + 2 * rng.normal(size=(4, 12, 3, 2))},
        control={"pump": rng.normal(size=(4, 12, 3, 1))},
        node_attribute={"tank": rng.normal(size=(4, 2, 2))},
        edges=[(0, 1, 0.5), (1, 2, 2.0), (2, 3, 1.5), (3, 4, 0.7)],
        features={"tank": ["level"], "pump": ["speed", "flow"]},
        controls={"pump": ["voltage"]},
        attributes={"tank": ["area", "height"]},
        dt=0.1,
    )
    return pympnode.from_arrays(**(options | changes))


# ---- datasets -------------------------------------------------------------------------------------


def test_arrays_hold_what_was_given() -> None:
    ds = small()
    arrays = schema.pack(ds)
    assert arrays.types is not None and arrays.types.names == ("tank", "pump")
    assert arrays.types.channels == (1, 2)
    assert arrays.types.controls == (0, 1)
    assert arrays.types.attributes == (2, 0)
    np.testing.assert_array_equal(arrays.node_type, [0, 0, 1, 1, 1])
    np.testing.assert_array_equal(arrays.x[:, :, :2, :1], ds.state_tank)
    np.testing.assert_array_equal(arrays.x[:, :, 2:], ds.state_pump)
    np.testing.assert_array_equal(arrays.u[:, :, 2:], ds.control_pump)
    np.testing.assert_array_equal(arrays.attribute[:, :2], ds.node_attribute_tank)
    # What nodes do not have is zero.
    assert not arrays.x[..., ~arrays.real].any()
    assert not arrays.u[:, :, :2].any() and not arrays.attribute[:, 2:].any()
    assert arrays.graph.weight is not None and arrays.graph.edges == 8


def test_unpack_is_the_inverse_of_pack(tmp_path: Path) -> None:
    ds = small()
    names = Names.of(ds)
    assert names.features == ("tank.level", "pump.speed", "pump.flow")
    again = schema.unpack(
        schema.pack(ds),
        features=names.features,
        units=names.units,
        controls=names.controls,
        attributes=names.attributes,
    )
    for name in ds.variables:
        xr.testing.assert_equal(again[name].variable, ds[name].variable)
    ds.to_netcdf(tmp_path / "ds.nc")
    xr.testing.assert_equal(schema.validate(xr.open_dataset(tmp_path / "ds.nc")).load(), ds)


def test_another_order_of_types_is_the_same_system() -> None:
    """Nodes change their numbers, and the edges join the same ones."""
    ds = small()
    turned = in_order(ds, ["pump", "tank"])
    schema.validate(turned)
    assert list(turned.data_vars)  # the record orders the types, not the variables
    one, two = schema.pack(ds), schema.pack(turned)
    assert two.types is not None and two.types.names == ("pump", "tank")
    numbers = np.array([3, 4, 0, 1, 2])  # of the nodes of `ds` in `turned`
    np.testing.assert_array_equal(
        one.graph.adjacency(), two.graph.adjacency()[np.ix_(numbers, numbers)]
    )
    back = schema.pack(in_order(turned, ["tank", "pump"]))
    np.testing.assert_array_equal(back.x, one.x)
    assert back.graph.same(one.graph)


def test_shared_state_is_the_same_data() -> None:
    rng = np.random.default_rng(0)
    ds = pympnode.from_arrays(rng.normal(size=(3, 8, 4, 2)), dt=0.1, topology="ring")
    ds["node_type"] = ("node", ["f", "f", "e", "e"])
    typed = by_type(schema.validate(ds))
    assert typed.state_f.shape == (3, 8, 2, 2)
    np.testing.assert_array_equal(typed.state_e.values, ds.state.values[:, :, 2:])
    one, two = schema.pack(ds), schema.pack(typed)
    np.testing.assert_array_equal(one.x, two.x)
    assert one.graph.same(two.graph) and one.node_type is not None
    back = with_shared_state(typed)
    xr.testing.assert_equal(back.state, ds.state)
    np.testing.assert_array_equal(back.node_type, ds.node_type)


def test_nodes_of_type_keeps_the_edges_among_them() -> None:
    pumps = pympnode.nodes_of_type(small(), "pump")
    schema.validate(pumps)
    assert pumps.state.shape == (4, 12, 3, 2) and pumps.control.shape == (4, 12, 3, 1)
    graph = schema.pack(pumps).graph
    assert graph.node_type is None
    np.testing.assert_array_equal(graph.adjacency(), [[0, 1.5, 0], [1.5, 0, 0.7], [0, 0.7, 0]])
    with pytest.raises(UnknownName, match="pump"):
        pympnode.nodes_of_type(small(), "pumps")
    with pytest.raises(InvalidData, match="one type"):
        pympnode.nodes_of_type(pumps, "pump")


def test_subgraph_takes_nodes_of_all_types() -> None:
    ds = small()
    chosen = pympnode.subgraph(ds, [4, 1, 2])
    schema.validate(chosen)
    np.testing.assert_array_equal(chosen.state_tank, ds.state_tank[:, :, [1]])
    np.testing.assert_array_equal(chosen.state_pump, ds.state_pump[:, :, [2, 0]])
    # Node 1 is 0 now, 4 is 1 and 2 is 2: the edge from 1 to 2 is left.
    np.testing.assert_array_equal(np.sort(schema.pack(chosen).graph.sender), [0, 2])
    alone = pympnode.subgraph(ds, [3, 4])
    assert "state_tank" not in alone
    assert schema.pack(alone).graph.edges == 2


def test_labels_of_nodes_name_edges() -> None:
    a, b = np.zeros((2, 5, 2, 1)), np.zeros((2, 5, 1, 2))
    ds = pympnode.from_arrays(
        {"tank": a, "pump": b},
        dt=0.1,
        nodes={"tank": ["north", "south"], "pump": ["p"]},
        edges=[("north", "p"), ("p", "south")],
        directed=True,
    )
    assert ds.node_tank.values.tolist() == ["north", "south"]
    assert sorted(zip(ds.sender.values.tolist(), ds.receiver.values.tolist())) == [(0, 2), (2, 1)]


def test_a_table_has_a_column_of_types() -> None:
    """Nodes are sorted by type with their edges; a type lacks features that it has no value of."""
    rows = [
        dict(time=t, node=n, kind=kind, level=v + t, flow=np.nan if kind == "tank" else v * t)
        for t in (0.0, 0.5, 1.0)
        for n, kind, v in (("p", "pump", 1.0), ("t", "tank", 2.0), ("q", "pump", 3.0))
    ]
    ds = pympnode.from_frame(
        pd.DataFrame(rows),
        features=["level", "flow"],
        units=["m", "m/s"],
        node_type="kind",
        edges=[("p", "t"), ("t", "q")],
        directed=True,
    )
    assert ds.feature_tank.values.tolist() == ["level"] and ds.unit_tank.values.tolist() == ["m"]
    assert ds.node_pump.values.tolist() == ["p", "q"]
    np.testing.assert_array_equal(ds.state_pump.values[0, :, 1, 1], [0.0, 1.5, 3.0])
    np.testing.assert_array_equal(ds.state_tank.values[0, :, 0, 0], [2.0, 2.5, 3.0])
    ends = sorted(zip(ds.sender.values.tolist(), ds.receiver.values.tolist()))
    assert ends == [(0, 2), (2, 1)]
    with pytest.raises(InvalidData, match="two or more"):
        pympnode.from_frame(
            pd.DataFrame(rows).assign(kind="tank"),
            features="level",
            node_type="kind",
            topology="ring",
        )


def _refused() -> dict[str, tuple[Any, str]]:
    ds = small()
    rng = np.random.default_rng(0)
    plain = pympnode.from_arrays(rng.normal(size=(3, 8, 4, 2)), dt=0.1, topology="ring")
    from_arrays = pympnode.from_arrays
    a, b = np.zeros((2, 5, 2, 1)), np.zeros((2, 5, 1, 2))
    return {
        "one type": (lambda: from_arrays({"tank": a}, dt=1, edges=[(0, 1)]), "two or more"),
        "times": (
            lambda: from_arrays({"tank": a, "pump": b[:, :4]}, dt=1, edges=[(0, 1)]),
            "times",
        ),
        "trajectories": (
            lambda: from_arrays({"tank": a, "pump": b[:1]}, dt=1, edges=[(0, 1)]),
            "trajectories",
        ),
        "a control of one type given for all": (
            lambda: from_arrays({"tank": a, "pump": b}, dt=1, edges=[(0, 1)], control=a),
            "by type",
        ),
        "an attribute of an unknown type": (
            lambda: from_arrays(
                {"tank": a, "pump": b}, dt=1, edges=[(0, 1)], node_attribute={"pomp": a[0, 0]}
            ),
            "pomp",
        ),
        "names by type of one array": (
            lambda: from_arrays(a, dt=1, edges=[(0, 1)], features={"tank": ["x"]}),
            "by type",
        ),
        "no graph": (lambda: from_arrays({"tank": a, "pump": b}, dt=1), "graph"),
        "a bad shape": (
            lambda: from_arrays({"tank": a[0, 0], "pump": b}, dt=1, edges=[(0, 1)]),
            "type 'tank'",
        ),
        "circular": (
            lambda: from_arrays(
                {"tank": a, "pump": b}, dt=1, edges=[(0, 1)], circular={"x0": 360.0}
            ),
            "circular",
        ),
        "an edge to a node that is not there": (
            lambda: schema.validate(ds.assign(sender=ds.sender + 4)),
            "nodes that do not exist",
        ),
        "NaN": (
            lambda: schema.validate(ds.assign(state_pump=ds.state_pump.where(ds.state_pump > 4))),
            "type 'pump'",
        ),
        "a dim of another name": (
            lambda: schema.validate(ds.rename(feature_pump="feature")),
            "wrong dims",
        ),
        "sorted nodes": (lambda: schema.validate(ds.isel(node_pump=[2, 1, 0])), "selected"),
        "a record of other types": (
            lambda: schema.validate(schema.with_record(ds, node_types=["tank"])),
            "node_types",
        ),
        "a name of other variables": (
            lambda: schema.validate(ds.rename(state_tank="state_number", node_tank="node_number")),
            "names of types",
        ),
        "unsorted node_type": (
            lambda: schema.validate(plain.assign(node_type=("node", ["a", "b", "a", "b"]))),
            "type after type",
        ),
        "node_type of numbers": (
            lambda: schema.validate(plain.assign(node_type=("node", [0, 0, 1, 1]))),
            "name of the type",
        ),
        "data with types and without": (
            lambda: pympnode.train(data=[coupled(), plain], **QUICK),
            "cannot train together",
        ),
        "a type with other features": (
            lambda: pympnode.train(
                data=[ds, ds.isel(feature_pump=[0])], **(QUICK | {"messages": "emitted"})
            ),
            "type 'pump'",
        ),
        "circular of train": (
            lambda: pympnode.train(data=coupled(), circular="phase", **QUICK),
            "one type",
        ),
        "another family": (lambda: pympnode.train(data=coupled(), model="l2s", **QUICK), "family"),
        "learned weights": (
            lambda: pympnode.train(data=coupled(), edge_weight="learn", **QUICK),
            "learned",
        ),
        "plain data for a model of types": (lambda: quick().model.rollout(plain), "one type"),
        "a type that the model does not have": (lambda: quick().model.rollout(ds), "does not have"),
        "other features": (
            lambda: quick().model.rollout(coupled().isel(feature_lorenz=[0, 1]), check=False),
            "type 'lorenz'",
        ),
        "features of other names": (
            lambda: quick().model.rollout(
                coupled().assign_coords(feature_lorenz=["a", "b", "c"]), check=False
            ),
            "type 'lorenz'",
        ),
        "states of all types in one array": (
            lambda: quick().model.rollout(np.zeros((5, 3)), topology="complete"),
            "by type",
        ),
        "no states": (lambda: quick().model.rollout({}, topology="complete"), "trajectories"),
        "states of another width": (
            lambda: quick().model.rollout({"lorenz": np.zeros((2, 1))}, topology="complete"),
            "wrong shape",
        ),
        "a control that no type takes": (
            lambda: quick().model.rollout(coupled(), control={"lorenz": np.zeros((30, 31, 2, 1))}),
            "control",
        ),
        "a control in one array": (
            lambda: quick().model.rollout(coupled(), control=np.zeros((30, 31, 5, 1))),
            "by type",
        ),
        "errors on data of one type": (lambda: pympnode.evaluate(quick(), plain), "one type"),
        "finetuning on data of one type": (
            lambda: pympnode.finetune(quick(), data=plain, updates=1, progress=False),
            "one type",
        ),
        "a picture of one type": (
            lambda: pympnode.plotting.parity(predicted=coupled(), truth=coupled()),
            "one type",
        ),
        "subgraph of unknown nodes": (lambda: pympnode.subgraph(ds, [0, 9]), "labels"),
    }


@pytest.mark.parametrize("name", _refused())
def test_is_refused_in_words(name: str) -> None:
    call, words = _refused()[name]
    with pytest.raises(PympnodeError, match=words) as caught:
        call()
    error = caught.value
    assert isinstance(error, InvalidData | InvalidOption | InvalidModel) or isinstance(
        error, pympnode.errors.InvalidGraph
    )
    assert error.got is not None


def test_a_model_of_types_has_no_vector_field_of_arrays() -> None:
    with pytest.raises(InvalidModel, match="several types"):
        quick().model.vector_field(np.zeros((1, 2, 3)), graph="path")
    with pytest.raises(InvalidModel, match="several"):
        pympnode.couple([quick().model, "lorenz"], "path", system="lorenz")


# ---- training data --------------------------------------------------------------------------------


def _prepared(datasets: list[xr.Dataset], **options: Any) -> Any:
    return prepare(
        datasets,
        **{
            "split": 0.7, "seed": 0, "missing": "error", "training_noise": 0.0,
            "dtype": "float64", "scales": None,
        }
        | options,
    )  # fmt: skip


def test_each_type_has_its_scale() -> None:
    ds = small()
    data = _prepared([ds])
    assert data.node_types == ("tank", "pump") and data.type_channels == (1, 2)
    assert data.type_controls == (0, 1) and data.type_attributes == (2, 0)
    tank, pump = data.state.types
    np.testing.assert_allclose(tank.mean, ds.state_tank.values.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(pump.mean, ds.state_pump.values.mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(pump.scale, ds.state_pump.values.std(axis=(0, 1, 2)))
    scaled = data.scaled[0]
    assert not scaled.x[..., ~scaled.real].any()
    np.testing.assert_allclose(scaled.x[:, :, 2:].std(axis=(0, 1, 2)), 1.0)
    np.testing.assert_allclose(
        data.state.undo(scaled.x, scaled.node_type), data.physical[0].x, atol=1e-12
    )


def test_training_noise_leaves_what_nodes_do_not_have() -> None:
    data = _prepared([small()], training_noise=0.1)
    scaled = data.scaled[0]
    assert not scaled.x[..., ~scaled.real].any()
    assert (scaled.x[data.train] != _prepared([small()]).scaled[0].x[data.train])[..., 0].all()


def test_datasets_with_other_numbers_of_nodes_train_together() -> None:
    one, two = coupled(), coupled(oscillators=1, lorenz=4, trajectories=10, seed=3)
    alone = pympnode.subgraph(coupled(seed=4, trajectories=8), [3, 4])
    data = _prepared([alone, one, in_order(two, ["lorenz", "kuramoto"])])
    assert data.node_types == ("lorenz", "kuramoto")  # the first dataset has the one
    assert [a.x.shape[2] for a in data.physical] == [2, 5, 5]
    np.testing.assert_array_equal(data.physical[2].node_type, [0, 0, 0, 0, 1])
    pooled = np.concatenate([d.state_lorenz.values.reshape(-1, 3) for d in (alone, one, two)])
    np.testing.assert_allclose(data.state.types[0].mean, pooled.mean(axis=0))
    result = pympnode.train(data=[alone, one, two], **QUICK)
    assert result.model.trained.type_nodes == ((2, 4), (0, 3))


def test_the_last_type_left_is_plain_data() -> None:
    alone = pympnode.subgraph(coupled(), [3, 4])
    model = pympnode.train(data=alone, **QUICK).model
    assert not model.spec.node_types and model.features == ("x", "y", "z")


def test_missing_values_of_a_type_are_left_out() -> None:
    ds = coupled()
    gone = ds.state_lorenz.values.copy()
    gone[:, 5:9, 0] = np.nan
    gone[0, 0, 1, 2] = np.nan  # a first state, filled with the next
    with pytest.warns(pympnode.PympnodeWarning, match="first states"):
        arrays = schema.arrays_of(
            ds.assign(state_lorenz=(ds.state_lorenz.dims, gone)), missing="mask"
        )
    assert arrays.mask is not None
    assert arrays.mask[:, :, :3].all()
    np.testing.assert_array_equal(arrays.mask[:, :, 3:], np.isfinite(gone))
    assert arrays.x[0, 0, 4, 2] == gone[0, 1, 1, 2]
    with pytest.warns(pympnode.PympnodeWarning):
        result = pympnode.train(
            data=ds.assign(state_lorenz=(ds.state_lorenz.dims, gone)), missing="mask", **QUICK
        )
    assert np.isfinite(result.best_loss)


def test_one_recording_is_split_in_time() -> None:
    result = pympnode.train(data=coupled(trajectories=1, steps=120), **QUICK)
    assert "split in time" in result.history.attrs["split"]
    assert result.test_set().sizes["time"] < 60


# ---- training, rollouts, errors -------------------------------------------------------------------


@OUTSIDE
def test_both_types_are_learned_and_carry_over_to_more_nodes() -> None:
    """Errors clearly below persistence for both types, on new starts and on a graph with more Lorenz
    nodes."""
    for ds, share in ((coupled(seed=7), 0.4), (coupled(lorenz=4, seed=8), 0.6)):
        errors = pympnode.evaluate(trained().model, ds)
        model, persistence = (
            errors.rmse_z_type.sel(predictor=p).values for p in ("model", "persistence")
        )
        assert (model < share * persistence).all(), (model, persistence)


def test_errors_are_those_of_each_type() -> None:
    ds, model = coupled(seed=7), trained().model
    errors = pympnode.evaluate(model, ds)
    rollout = model.rollout(ds)
    assert errors.feature.values.tolist() == list(model.features)
    assert errors.unit.values.tolist() == ["rad", "1", "1", "1"]
    for name, start in (("kuramoto", 0), ("lorenz", 1)):
        difference = (rollout[f"state_{name}"] - ds[f"state_{name}"]).values[:, 1:]
        rmse = np.sqrt((difference**2).mean(axis=(0, 1, 2)))
        one = errors.rmse.sel(predictor="model").values[start : start + rmse.size]
        np.testing.assert_allclose(one, rmse, rtol=1e-6)
        scale = model.state_scale.types[start].scale
        np.testing.assert_allclose(
            errors.rmse_z_type.sel(predictor="model", node_type=name),
            np.sqrt(((difference / scale) ** 2).mean()),
            rtol=1e-6,
        )
        xr.testing.assert_equal(
            errors[f"predicted_{name}"], rollout[f"state_{name}"].rename(f"predicted_{name}")
        )
    # Over all values, of which Lorenz nodes have more.
    z_type = errors.rmse_z_type.sel(predictor="model").values
    values = np.array([3 * 1, 2 * 3])
    np.testing.assert_allclose(
        errors.rmse_z.sel(predictor="model"), np.sqrt((z_type**2 * values).sum() / values.sum())
    )


def test_a_file_gives_the_same_model(tmp_path: Path) -> None:
    model = quick().model
    model.save(tmp_path / "model.nc")
    again = pympnode.load(tmp_path / "model.nc")
    assert again.spec == model.spec and again.names == model.names
    assert again.trained == model.trained
    xr.testing.assert_identical(again.rollout(coupled()), model.rollout(coupled()))
    assert "kuramoto (1 feature), lorenz (3 features)" in again.summary()
    assert "3 kuramoto, 2 lorenz" in repr(again)


def test_rollouts_start_from_states_by_type() -> None:
    ds, model = coupled(), quick().model
    x0 = {name: ds[f"state_{name}"].values[:, 0] for name in ("lorenz", "kuramoto")}
    states = model.rollout(x0, topology="complete", steps=30, dt=DT)
    data = model.rollout(ds)
    for name in x0:
        np.testing.assert_allclose(
            states[f"state_{name}"], data[f"state_{name}"], rtol=1e-5, atol=1e-5
        )
        assert f"message_{name}" in data
    one = model.rollout({k: v[0] for k, v in x0.items()}, topology="complete", steps=2)
    assert one.state_lorenz.shape == (1, 3, 2, 3)
    with pytest.warns(pympnode.PympnodeWarning, match="nodes of type kuramoto 0, trained on 3"):
        alone = model.rollout({"lorenz": x0["lorenz"]}, topology="complete", steps=2)
    assert "state_kuramoto" not in alone and alone.state_lorenz.shape == (30, 3, 2, 3)


def test_the_order_of_types_does_not_change_a_rollout() -> None:
    ds, model = coupled(lorenz=4, seed=5), quick().model
    turned = in_order(ds, ["lorenz", "kuramoto"])
    for one in (model.rollout(ds, check=False), model.rollout(turned, check=False)):
        schema.validate(one)
    np.testing.assert_array_equal(
        model.rollout(turned, check=False).state_lorenz, model.rollout(ds, check=False).state_lorenz
    )


def test_another_topology_keeps_the_types() -> None:
    ds, model = coupled(), quick().model
    ring = model.rollout(ds, topology="ring", check=False)
    assert ring.sizes["edge"] == 10
    assert not np.allclose(ring.state_lorenz, model.rollout(ds, check=False).state_lorenz)


def test_controls_and_attributes_of_single_types() -> None:
    ds = small()
    model = pympnode.train(data=ds, **QUICK).model
    assert model.controls == ("pump.voltage",) and model.attributes == ("tank.area", "tank.height")
    rollout = model.rollout(ds, check=False)
    xr.testing.assert_equal(rollout.control_pump, ds.control_pump)
    x0 = {name: ds[f"state_{name}"].values[:, 0] for name in ("tank", "pump")}
    given = dict(
        control={"pump": ds.control_pump.values},
        node_attribute={"tank": ds.node_attribute_tank.values},
    )
    graph = schema.graphs_of(ds)[0]
    again = model.rollout(x0, topology=graph, steps=11, dt=0.1, check=False, **given)
    np.testing.assert_allclose(again.state_pump, rollout.state_pump, rtol=1e-5)
    other = model.rollout(ds, check=False, control={"pump": 1 + ds.control_pump.values})
    assert not np.allclose(other.state_pump, rollout.state_pump)
    with pytest.raises(InvalidData, match="lack control"):
        model.rollout(x0, topology=graph, node_attribute=given["node_attribute"])
    with pytest.raises(InvalidData, match="control"):
        model.rollout(ds.drop_vars(["control_pump", "control_feature_pump"]))


def test_types_of_one_state_keep_their_variable() -> None:
    rng = np.random.default_rng(0)
    ds = pympnode.from_arrays(rng.normal(size=(6, 12, 4, 2)), dt=0.1, topology="ring")
    ds["node_type"] = ("node", ["f", "f", "e", "e"])
    result = pympnode.train(data=ds, **QUICK)
    assert result.model.spec.node_types == ("f", "e")
    rollout = result.model.rollout(ds)
    assert rollout.state.dims == ds.state.dims
    np.testing.assert_array_equal(rollout.node_type, ds.node_type)
    np.testing.assert_array_equal(rollout.state[:, 0].values, ds.state[:, 0].values.astype("f4"))
    np.testing.assert_array_equal(
        result.model.rollout(by_type(ds)).state_e, rollout.state.values[:, :, 2:]
    )
    assert pympnode.evaluate(result, ds).predicted_e.shape == (6, 12, 2, 2)
    # The types count: exchanged, the same states move otherwise.
    turned = ds.assign(node_type=("node", ["e", "e", "f", "f"]))
    assert not np.allclose(result.model.rollout(turned).state.values, rollout.state.values)


def test_an_ensemble_has_members_of_each_type() -> None:
    result = pympnode.train(data=coupled(), members=2, **QUICK)
    rollout = result.model.rollout(coupled())
    assert rollout.state_lorenz.dims[0] == "member"
    errors = pympnode.evaluate(result, coupled())
    assert "member 1" in errors.predictor.values
    mean = rollout.state_lorenz.mean("member").values
    difference = mean[:, 1:] - coupled().state_lorenz.values[:, 1:]
    np.testing.assert_allclose(
        errors.rmse.sel(predictor="model").values[1:],
        np.sqrt((difference**2).mean(axis=(0, 1, 2))),
        rtol=1e-5,
    )


def test_finetuning_goes_on_with_the_types() -> None:
    more = coupled(lorenz=3, trajectories=8, seed=9)
    result = pympnode.finetune(quick(), data=more, updates=2, kernel="torch", progress=False)
    assert result.model.spec == quick().model.spec
    assert result.model.state_scale.same(quick().model.state_scale)
    alone = pympnode.subgraph(more, [3, 4, 5])
    again = pympnode.finetune(quick(), data=alone, updates=2, kernel="torch", progress=False)
    assert again.model.trained.type_nodes == ((0, 0), (3, 3))


def test_messages_that_are_states() -> None:
    options = QUICK | {"messages": "state", "first_message": "linear"}
    model = pympnode.train(data=coupled(), **options).model
    rollout = model.rollout(coupled())
    assert rollout.message_lorenz.shape[2:] == (2, model.spec.message)
    assert np.isfinite(rollout.message_kuramoto).all()


def test_pairwise_messages() -> None:
    model = pympnode.train(data=coupled(), **(QUICK | {"messages": "pairwise"})).model
    assert np.isfinite(model.rollout(coupled(lorenz=3, seed=2), check=False).state_lorenz).all()


# ---- pictures and the command line ----------------------------------------------------------------


@OUTSIDE
def test_pictures_have_a_row_for_each_feature_of_each_type() -> None:
    pytest.importorskip("matplotlib").use("Agg")
    ds, model = coupled(lorenz=4, seed=5), quick().model
    rollout = model.rollout(ds, check=False)
    axes = pympnode.plotting.prediction(rollout, ds, trajectory=1)
    assert axes.shape == (4, 4) and not axes[0, 3].get_visible()
    assert axes[0, 0].get_title() == "kuramoto 0" and axes[1, 3].get_title() == "lorenz 6"
    true, predicted = axes[2, 1].lines
    np.testing.assert_array_equal(true.get_ydata(), ds.state_lorenz.values[1, :, 1, 1])
    np.testing.assert_allclose(predicted.get_ydata(), rollout.state_lorenz.values[1, :, 1, 1])
    assert pympnode.plotting.prediction(rollout, ds, kind="map").shape == (4, 3)
    assert pympnode.plotting.prediction(rollout, ds, nodes=[4, 6]).shape == (3, 2)
    ax = pympnode.plotting.error_by_type(pympnode.evaluate(model, ds))
    assert len(ax.lines) == 4
    assert len(pympnode.plotting.message_norms(rollout).lines) == 7
    lorenz = (pympnode.nodes_of_type(each, "lorenz") for each in (rollout, ds))
    assert len(pympnode.plotting.parity(*lorenz)) == 3
    assert "prediction" in repr(ds.pympnode.plot)


def test_the_command_line_takes_types(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    quick().save(tmp_path / "model.nc")
    coupled().to_netcdf(tmp_path / "ds.nc")

    def run(*words: str) -> str:
        assert status_of(list(words)) == 0
        return capsys.readouterr().out

    model, ds, scores, out = (
        str(tmp_path / n) for n in ("model.nc", "ds.nc", "scores.nc", "out.nc")
    )
    assert "rmse (z) lorenz" in run("evaluate", model, ds, "--out", scores)
    assert "rmse_z_type" in run("evaluate", model, ds, "--json")
    run("plot", "error-by-type", scores, "--out", str(tmp_path / "e.png"))
    assert "node_lorenz 2" in run("rollout", model, ds, "--out", out)
    schema.validate(xr.open_dataset(out))
    run("plot", "prediction", ds, out, "--out", str(tmp_path / "p.png"))
    assert "node_types" in run("info", ds)
    run(
        "train", "--data", ds, "--updates", "2", "--kernel", "torch", "--run", str(tmp_path / "run")
    )
    assert pympnode.load(tmp_path / "run").spec.node_types == ("kuramoto", "lorenz")
