"""Node attributes that differ by trajectory, and warnings of attributes that tell nothing."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import pympnode
from pympnode.errors import InvalidData, InvalidOption, PympnodeWarning
from pympnode.graph import Graph
from pympnode.networks import schema
from pympnode.networks.engines import choose
from pympnode.networks.engines.base import Batch
from pympnode.networks.engines.torch.engine import TorchEngine
from pympnode.networks.schema import Arrays
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 6, 4, 2))
B = RNG.normal(size=(8, 4, 3))
RING = [(0, 1), (1, 2), (2, 3), (3, 0)]
FAST: dict[str, Any] = dict(epochs=1, progress=False)


def data(**keywords: Any) -> xr.Dataset:
    given: dict[str, Any] = dict(
        dt=0.1, edges=RING, node_attribute=B, attributes=["p", "q", "r"], features=["a", "v"]
    )
    return pympnode.from_arrays(keywords.pop("x", X), **{**given, **keywords})


# ---- data ---------------------------------------------------------------------------------------------


def test_arrays_tables_and_files_hold_them(tmp_path: Path) -> None:
    ds = data()
    assert ds.node_attribute.dims == ("trajectory", "node", "attribute")
    np.testing.assert_array_equal(schema.pack(ds).attribute, B)
    turned = ds.assign(
        node_attribute=ds.node_attribute.transpose("attribute", "node", "trajectory")
    )
    np.testing.assert_array_equal(schema.pack(turned).attribute, B)
    np.testing.assert_array_equal(schema.pack(ds).select(np.array([5, 1])).attribute, B[[5, 1]])
    ds.to_netcdf(tmp_path / "d.nc")
    with xr.open_dataset(tmp_path / "d.nc") as read:
        np.testing.assert_array_equal(schema.pack(read).attribute, B)
    named = xr.DataArray(B[::-1], dims=("trajectory", "node", "attribute"))
    named = named.assign_coords(trajectory=np.arange(8)[::-1], attribute=["p", "q", "r"])
    labelled = xr.DataArray(X, dims=schema.STATE_DIMS, coords={"trajectory": np.arange(8)})
    again = data(x=labelled, features=None, node_attribute=named)
    np.testing.assert_array_equal(again.node_attribute, B)


def test_a_column_that_differs_by_trajectory_is_one_of_them() -> None:
    import pandas as pd

    rows = [
        {"run": i, "t": 0.1 * t, "node": n, "a": X[i, t, n, 0], "p": B[i, n, 0], "q": float(n)}
        for i in range(3) for t in range(6) for n in range(4)
    ]  # fmt: skip
    frame = pd.DataFrame(rows)
    keywords: dict[str, Any] = dict(
        features=["a"], time="t", node="node", trajectory="run", edges=RING
    )
    ds = pympnode.from_frame(frame, attributes=["p", "q"], **keywords)
    np.testing.assert_array_equal(ds.node_attribute[..., 0], B[:3, :, 0])
    np.testing.assert_array_equal(ds.node_attribute[..., 1], np.tile(np.arange(4.0), (3, 1)))
    one = pympnode.from_frame(frame, attributes=["q"], **keywords)
    assert one.node_attribute.dims == ("node", "attribute")
    frame.loc[5, "p"] += 1.0  # it changes in time
    with pytest.raises(InvalidData, match="must not change"):
        pympnode.from_frame(frame, attributes=["p"], **keywords)


@pytest.mark.parametrize("shape", [(7, 4, 3), (8, 5, 3), (1, 4, 3)])
def test_attributes_of_another_size_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidData, match="does not fit x") as caught:
        data(node_attribute=np.zeros(shape))
    assert caught.value.got and caught.value.allowed and caught.value.fix


def test_gaps_are_refused_with_their_place() -> None:
    ds = data().copy(deep=True)
    ds.node_attribute[3, 2, 1] = np.nan
    with pytest.raises(InvalidData, match="not finite") as caught:
        schema.validate(ds)
    assert "trajectory 3, node 2, attribute 1" in str(caught.value.got)


# ---- kernels ------------------------------------------------------------------------------------------

SPECS = {
    "emitted": ModelSpec(
        channels=2, attributes=3, message=3, hidden=8, messages="emitted", coupling="superposed"
    ),
    "state": ModelSpec(
        channels=2, attributes=3, message=3, hidden=8, messages="state", first_message="mlp"
    ),
    "node": ModelSpec(family="node", channels=2, attributes=3, hidden=8, bodies=4),
}


def bound(spec: ModelSpec, arrays: list[Arrays], kernel: str) -> Any:
    options = dict(dtype="float64", device="cpu", kernel=kernel)
    return TorchEngine().bind(spec, arrays, **options)


def windows(graphs: int = 2) -> Arrays:
    graph = Graph.union([Graph.from_edges(RING, 4), Graph.from_edges([(0, 1), (0, 2)], 4)][:graphs])
    graph_of = np.arange(8, dtype=np.int64) % graphs
    return Arrays(X, 0.1 * np.arange(6), graph, graph_of, None, B)


@pytest.mark.parametrize("kernel", ["eager", "torch", "numba"])
@pytest.mark.parametrize("name", SPECS)
def test_each_window_has_the_attributes_of_its_trajectory(name: str, kernel: str) -> None:
    """The loss of a batch is the mean of those of single trajectories with shared attributes."""
    spec, arrays = SPECS[name], windows(1 if name == "node" else 2)
    theta = layout_of(spec).initial(np.random.default_rng(1))
    together = bound(spec, [arrays], kernel)
    for chosen in ([5, 0, 2, 7], [1, 6, 3, 4]):  # the columns of the first batch are cached
        batch = Batch(np.array(chosen), np.array([0, 1, 2, 0]), 3)
        value, gradient = together.loss_and_gradient(theta, batch)
        values, gradients = [], []
        for i, start in zip(chosen, batch.start):
            only = np.array([i])
            alone = Arrays(X[only], arrays.time, arrays.graph, arrays.graph_of[only], None, B[i])
            one = bound(spec, [alone], kernel)
            result = one.loss_and_gradient(theta, Batch(np.array([0]), np.array([start]), 3))
            values.append(result[0])
            gradients.append(result[1])
        assert value == pytest.approx(np.mean(values), rel=1e-10)
        np.testing.assert_allclose(gradient, np.mean(gradients, axis=0), rtol=1e-8, atol=1e-12)
        assert np.ptp(values) > 1e-3
        assert together.loss(theta, batch) == pytest.approx(value, rel=1e-10)


@pytest.mark.parametrize("kernel", ["eager", "torch", "numba"])
@pytest.mark.parametrize("name", SPECS)
def test_rollouts_and_fields_too(name: str, kernel: str) -> None:
    spec, arrays = SPECS[name], windows(1 if name == "node" else 2)
    theta = layout_of(spec).initial(np.random.default_rng(1))
    program = bound(spec, [], kernel)
    many = program.rollout(
        theta, X[:, 0], arrays.graph, arrays.time, graph_of=arrays.graph_of, attribute=B
    )
    z = np.concatenate([X[:, 0], np.zeros((8, 4, spec.carried))], axis=-1)
    slope = program.field(theta, z, arrays.graph, graph_of=arrays.graph_of, attribute=B)
    for i in (0, 3, 6):
        here: dict[str, Any] = dict(graph_of=arrays.graph_of[i : i + 1], attribute=B[i])
        one = program.rollout(theta, X[i : i + 1, 0], arrays.graph, arrays.time, **here)
        np.testing.assert_allclose(many.state[i], one.state[0], rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(
            slope[i], program.field(theta, z[i : i + 1], arrays.graph, **here)[0], rtol=1e-10
        )


# ---- models ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grid() -> xr.Dataset:
    return pympnode.simulate(
        "swing", nodes=5, topology="ring", trajectories=12, steps=6,
        parameters={"power_spread": 0.8}, edge_weight=(0.5, 2.0),
    )  # fmt: skip


def test_a_model_of_them(grid: xr.Dataset, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = pympnode.train(data=grid, **FAST)
    model = result.model
    power = grid.node_attribute.values
    assert model.attributes == ("power",)
    assert model.trained.attribute == ((power.min(), power.max()),)
    rollout = model.rollout(grid)
    assert rollout.node_attribute.equals(grid.node_attribute)
    start = grid.state.values[:, 0]
    graph = schema.graphs_of(grid)[0]
    states = model.rollout(start, topology=graph, node_attribute=power, steps=6, dt=0.05)
    np.testing.assert_allclose(states.state, rollout.state, rtol=1e-5, atol=1e-5)
    one = model.rollout(start[3], topology=graph, node_attribute=power[3], steps=6, dt=0.05)
    np.testing.assert_allclose(one.state[0], rollout.state[3], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(one.message[0], rollout.message[3], rtol=1e-4, atol=1e-5)
    swapped = model.rollout(grid, node_attribute=power[::-1])
    assert not np.allclose(swapped.state, rollout.state)
    for wrong in (power[:3], power[:, :4], power[0, :4]):
        with pytest.raises(InvalidData, match="node_attribute does not fit"):
            model.rollout(start, topology=graph, node_attribute=wrong)
    model.save(tmp_path / "m.nc")
    again = pympnode.load(tmp_path / "m.nc").rollout(grid)
    np.testing.assert_array_equal(again.state, rollout.state)


def test_baselines_and_observables_take_the_parameters_of_each_trajectory(grid: xr.Dataset) -> None:
    from pympnode.networks import baselines
    from pympnode.networks.observables import observe
    from pympnode.systems.registry import get

    arrays, system = schema.pack(grid), get("swing")
    parameters = schema.parameters_of(grid)
    values = observe(system, arrays.x, arrays, parameters, ["power"])
    state = baselines.uncoupled(arrays, system, parameters, ["power"])
    assert state is not None
    for i in (0, 5):
        own = {**parameters, "power": arrays.attribute[i, :, 0]}  # type: ignore[index]
        own = system.resolve_parameters(own, arrays.graph)
        energy = system.observables["energy"](arrays.x[i], arrays.graph, own)
        column = list(system.observables).index("energy")
        np.testing.assert_allclose(values[i, :, column], energy, rtol=1e-12)
        # a node alone: omega' = power - damping omega
        p, d, t = own["power"], own["damping"], arrays.time[:, None]
        omega = p / d + (arrays.x[i, 0, :, 1] - p / d) * np.exp(-d * t)
        np.testing.assert_allclose(state[i, ..., 1], omega, atol=1e-4)
    result = pympnode.train(data=grid, **FAST)
    scores = pympnode.evaluate(result, grid)
    assert "uncoupled" in scores.predictor.values and np.isfinite(scores.observable_rmse).all()


def test_julia_refuses_them_in_words() -> None:
    from pympnode.networks.engines.julia.program import _shared

    with pytest.raises(InvalidOption, match="differ by trajectory") as caught:
        _shared(B)
    assert 'engine="torch"' in str(caught.value.fix) and _shared(B[0]) is not None
    assert choose("auto", varied=True)[0] == "torch"


def test_coupled_nodes_refuse_them(grid: xr.Dataset) -> None:
    with pytest.raises(InvalidData, match="same attributes in all trajectories"):
        pympnode.couple(["swing"] * 5, schema.graphs_of(grid)[0]).rollout(grid)


# ---- attributes that tell nothing -----------------------------------------------------------------------


def said(ds: Any, **keywords: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pympnode.train(data=ds, **FAST, **keywords)
    return [str(w.message) for w in caught if issubclass(w.category, PympnodeWarning)]


def test_a_constant_attribute_is_said_once() -> None:
    b = B.copy()
    b[..., 1] = 2.5
    texts = said(data(node_attribute=b))
    assert len(texts) == 1 and "one value" in texts[0] and "q 2.5" in texts[0]
    assert "p" not in texts[0].split(":")[1].split(".")[0]
    # one value in each trajectory, another in the next
    b[..., 1] = np.arange(8)[:, None]
    assert said(data(node_attribute=b)) == []
    # constant in each of two datasets, and different
    low, high = (data(node_attribute=np.full((4, 1), v), attributes=["p"]) for v in (1.0, 2.0))
    assert said([low, high]) == []


def test_an_attribute_that_only_names_the_nodes_is_said_once() -> None:
    names = np.array([[3.0], [1.0], [2.0], [7.0]])
    keywords: dict[str, Any] = dict(node_attribute=names, attributes=["p"])
    for ds in (data(**keywords), data(**{**keywords, "node_attribute": np.tile(names, (8, 1, 1))})):
        texts = said(ds)
        assert len(texts) == 1 and "only name the nodes" in texts[0] and texts[0].count("p") > 0
    two_kinds = np.array([[1.0], [1.0], [2.0], [2.0]])
    assert said(data(**{**keywords, "node_attribute": two_kinds})) == []
    graphs = [Graph.from_edges(RING, 4), Graph.from_edges(RING[:3], 4)]
    assert said(data(**keywords, edges=None, topology=graphs)) == []
    assert said(data(node_attribute=B)) == []
    # a model that goes on has learned what they mean
    model = pympnode.train(data=data(), **FAST).model
    assert said(data(node_attribute=B[0]), start=model) == []


def test_one_larger_node_has_the_attributes_of_all() -> None:
    from pympnode.networks.engines.whole_system import stack_attribute

    for given, nodes in ((B, (8, 1)), (B[0], (1,))):
        stacked = stack_attribute(given)
        assert stacked is not None and stacked.shape == (*nodes, 12)
        np.testing.assert_array_equal(stacked.reshape(given.shape), given)
