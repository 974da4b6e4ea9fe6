"""What mathematics promises of the model, whatever its options."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pympnode
from pympnode.errors import FileDamaged, InvalidData, InvalidOption, OutsideTrainingRange
from pympnode.graph import Graph
from pympnode.networks.engines.base import Batch
from pympnode.networks.engines.torch.engine import TorchEngine
from pympnode.networks.schema import Arrays
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of

FAMILY = [
    ModelSpec(
        channels=2, controls=1, attributes=1, message=3, hidden=7, messages=m, coupling=c,
        first_message=f, aggregation=a, divisor=1.7,
    )
    for (m, f), c, a in product(
        [("state", "zero"), ("state", "linear"), ("state", "mlp"), ("self", "mlp"),
         ("zero", "zero"), ("emitted", "zero")],
        ["mixed", "superposed"],
        ["mean", "sum"],
    )
]  # fmt: skip
BASELINES = [
    ModelSpec(family="l2s", channels=2, controls=1, attributes=1, hidden=7, aggregation="sum"),
]


def name_of(spec: ModelSpec) -> str:
    return f"{spec.family}-{spec.messages}-{spec.coupling}-{spec.first_message}-{spec.aggregation}"


def draw_graph(rng: np.random.Generator, nodes: int) -> Graph:
    """A directed graph with an isolated node."""
    edges = rng.random((nodes, nodes)) < 0.5
    np.fill_diagonal(edges, False)
    edges[-1] = edges[:, -1] = False
    return Graph.single(*np.nonzero(edges), nodes)


def setting(spec: ModelSpec, seed: int = 0, nodes: int = 5, batch: int = 4, steps: int = 3) -> Any:
    rng = np.random.default_rng(seed)
    graph = Graph.union([draw_graph(rng, nodes), draw_graph(rng, nodes)])
    arrays = Arrays(
        0.5 * rng.standard_normal((batch, steps + 1, nodes, spec.channels)),
        0.1 * np.arange(steps + 1),
        graph,
        rng.integers(0, 2, batch),
        rng.standard_normal((batch, steps + 1, nodes, spec.controls)),
        rng.standard_normal((nodes, spec.attributes)),
    )
    theta = layout_of(spec).initial(rng)
    return arrays, theta + 0.1 * rng.standard_normal(theta.shape)


def roll(spec: ModelSpec, theta: np.ndarray, a: Arrays) -> np.ndarray:
    program = TorchEngine().bind(spec, dtype="float64", kernel="eager")
    out = program.rollout(
        theta, a.x[:, 0], a.graph, a.time, graph_of=a.graph_of, u=a.u, attribute=a.attribute
    )
    return np.concatenate([out.state, out.message], axis=-1)


@pytest.mark.parametrize("spec", FAMILY + BASELINES, ids=name_of)
def test_gradient_is_the_finite_difference(spec: ModelSpec) -> None:
    arrays, theta = setting(spec)
    program = TorchEngine().bind(spec, [arrays], dtype="float64", kernel="eager")
    batch = Batch(np.arange(4), np.zeros(4, np.int64), 3)
    _, gradient = program.loss_and_gradient(theta, batch)
    rng = np.random.default_rng(1)
    for _ in range(3):
        along = rng.standard_normal(theta.shape)
        h = 1e-5
        slope = (
            program.loss(theta + h * along, batch) - program.loss(theta - h * along, batch)
        ) / (2 * h)
        # Central difference: error h^2 |f'''| / 6 and rounding 1e-16 / h, both below 1e-8 here.
        assert slope == pytest.approx(float(gradient @ along), rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("spec", FAMILY + BASELINES, ids=name_of)
def test_permuting_the_nodes_permutes_the_rollout(spec: ModelSpec) -> None:
    arrays, theta = setting(spec)
    order = np.random.default_rng(2).permutation(5)
    place = np.argsort(order)
    moved = []
    for number in range(2):
        single = arrays.graph[number]
        moved.append(Graph.single(place[single.sender], place[single.receiver], 5))
    assert arrays.u is not None and arrays.attribute is not None
    permuted = Arrays(
        arrays.x[:, :, order], arrays.time, Graph.union(moved), arrays.graph_of,
        arrays.u[:, :, order], arrays.attribute[order],
    )  # fmt: skip
    # Sums over neighbours run in another order: equal to rounding.
    np.testing.assert_allclose(
        roll(spec, theta, permuted), roll(spec, theta, arrays)[:, :, order], rtol=0, atol=1e-13
    )


@pytest.mark.parametrize("spec", FAMILY[::3] + BASELINES, ids=name_of)
def test_edge_order_and_batch_composition_do_not_matter(spec: ModelSpec) -> None:
    arrays, theta = setting(spec)
    whole = roll(spec, theta, arrays)
    shuffle = np.random.default_rng(3).permutation(len(arrays.graph.sender))
    graph = Graph(arrays.graph.sender[shuffle], arrays.graph.receiver[shuffle], arrays.graph.nodes)
    assert arrays.u is not None
    for index in range(4):
        alone = Arrays(
            arrays.x[[index]], arrays.time, graph, arrays.graph_of[[index]], arrays.u[[index]],
            arrays.attribute,
        )  # fmt: skip
        np.testing.assert_allclose(roll(spec, theta, alone)[0], whole[index], rtol=0, atol=1e-13)


@pytest.mark.parametrize("spec", FAMILY, ids=name_of)
def test_isolated_nodes_are_finite_and_hear_nothing(spec: ModelSpec) -> None:
    arrays, theta = setting(spec)
    out = roll(spec, theta, arrays)
    assert np.isfinite(out).all()
    other = Arrays(
        arrays.x + np.array([1.0, 0, 0, 0, 0])[:, None], arrays.time, arrays.graph,
        arrays.graph_of, arrays.u, arrays.attribute,
    )  # fmt: skip
    np.testing.assert_array_equal(roll(spec, theta, other)[:, :, -1], out[:, :, -1])


@pytest.mark.parametrize(("solver", "order"), [("rk4", 4), ("tsit5", 5)])
def test_observed_order_of_the_solvers(solver: str, order: int) -> None:
    spec = ModelSpec(
        channels=2, message=3, hidden=9, messages="state", coupling="superposed",
        first_message="mlp", solver=solver, aggregation="sum",
    )  # fmt: skip
    rng = np.random.default_rng(5)
    theta = layout_of(spec).initial(rng)
    graph = draw_graph(rng, 5)
    x0 = rng.standard_normal((3, 5, 2))

    def last(substeps: int) -> np.ndarray:
        program = TorchEngine().bind(
            spec.replace(substeps=substeps), dtype="float64", kernel="eager"
        )
        return program.rollout(theta, x0, graph, np.array([0.0, 1.0])).state[:, -1]

    exact = last(256)
    errors = np.array([np.abs(last(n) - exact).max() for n in (8, 16, 32)])
    observed = np.log2(errors[:-1] / errors[1:])
    assert np.abs(observed - order).max() < 0.2, observed


# ---- Model ------------------------------------------------------------------------------------

OPTIONS: dict[str, Any] = dict(
    nodes=6, topology="ring", trajectories=24, steps=10, kernel="eager", hidden=8,
    progress=False, epochs=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def result() -> pympnode.Result:
    return pympnode.train("kuramoto", **OPTIONS)


def test_rollout_of_a_dataset_has_its_coords(result: pympnode.Result) -> None:
    ds = result.test_set(5).assign_coords(label=("trajectory", list("abcde")))
    out = result.model.rollout(ds)
    assert out.state.dims == ds.state.dims
    for name in ("trajectory", "time", "node", "feature", "label", "unit"):
        assert out[name].equals(ds[name])
    np.testing.assert_allclose(out.state[:, 0], ds.state[:, 0].astype("f4"))
    assert out.finite.all()


def test_rollout_of_initial_states(result: pympnode.Result) -> None:
    x0 = np.zeros((6, 3))
    out = result.model.rollout(x0, steps=20, topology="ring")
    assert out.state.shape == (1, 21, 6, 3)
    assert out.time.values[-1] == pytest.approx(20 * 0.05)
    ds = result.test_set(2)
    np.testing.assert_allclose(
        result.model.rollout(ds.state.isel(time=0), steps=10, topology="ring").state,
        result.model.rollout(ds).state,
    )
    assert result.model.rollout(ds, steps=25).sizes["time"] == 26


def test_rollout_warns_outside_the_training_range(result: pympnode.Result) -> None:
    with pytest.warns(OutsideTrainingRange, match=r"nodes 9, trained on 6"):
        result.model.rollout(np.zeros((9, 3)), topology="ring")
    with pytest.warns(OutsideTrainingRange, match=r"degree 5, trained on 2"):
        result.model.rollout(np.zeros((6, 3)), topology="complete")
    other = pympnode.simulate(
        "kuramoto", nodes=6, topology="ring", trajectories=2, steps=10,
        parameters={"frequency": [1.0, 2.0, 3.0]},
    )  # fmt: skip
    with pytest.warns(OutsideTrainingRange, match=r"parameter frequency \[1"):
        pympnode.evaluate(result.model, other)


@pytest.mark.parametrize(
    ("initial", "options", "error"),
    [
        (np.zeros((6, 2)), {"topology": "ring"}, InvalidData),
        (np.full((6, 3), np.nan), {"topology": "ring"}, InvalidData),
        (np.zeros((6, 3)), {}, InvalidOption),
        (np.zeros((6, 3)), {"topology": "ring", "steps": 0}, InvalidOption),
        (np.zeros((6, 3)), {"topology": "ring", "control": np.zeros((1, 11, 6, 1))}, InvalidData),
    ],
)
def test_bad_rollouts_are_refused(
    result: pympnode.Result, initial: np.ndarray, options: dict[str, Any], error: type
) -> None:
    with pytest.raises(error):
        result.model.rollout(initial, **options)


def test_save_and_load_give_the_same_bits(result: pympnode.Result, tmp_path: Path) -> None:
    path = tmp_path / "model.nc"
    result.model.save(path)
    back = pympnode.load(path)
    np.testing.assert_array_equal(back.theta, result.model.theta)
    assert back.theta.dtype == result.model.theta.dtype and back.spec == result.model.spec
    assert back.trained.as_dict() == pympnode.load(path).trained.as_dict()
    ds = result.test_set(3)
    np.testing.assert_array_equal(back.rollout(ds).state, result.model.rollout(ds).state)
    assert repr(back) == repr(result.model)


def test_files_that_are_no_model(result: pympnode.Result, tmp_path: Path) -> None:
    ds = result.test_set(2)
    ds.to_netcdf(tmp_path / "data.nc")
    with pytest.raises(FileDamaged, match="not a model"):
        pympnode.load(tmp_path / "data.nc")
    (tmp_path / "text.nc").write_text("hello")
    with pytest.raises(FileDamaged, match="netCDF"):
        pympnode.load(tmp_path / "text.nc")
    result.model.save(tmp_path / "m.nc")
    data = (tmp_path / "m.nc").read_bytes()
    (tmp_path / "m.nc").write_bytes(data[: len(data) - 2000])
    with pytest.raises(FileDamaged):
        pympnode.load(tmp_path / "m.nc")
    with pytest.raises(FileNotFoundError):
        pympnode.load(tmp_path / "none.nc")


def test_vector_field_is_the_slope_of_the_rollout(result: pympnode.Result) -> None:
    model = pympnode.train("kuramoto", **{**OPTIONS, "dtype": "float64"}, messages="state").model
    x = result.test_set(3).state.values[:, 0]
    m = model.initial_message(x)
    dx, _ = model.vector_field(x, m, graph="ring")
    h = 1e-4
    after = model.rollout(x, steps=1, dt=h, topology="ring", check=False).state.values[:, 1]
    # One step: (x(h) - x(0)) / h = dx + h / 2 x'' with |x''| below 20 here.
    np.testing.assert_allclose((after - x) / h, dx, rtol=0, atol=10 * h)


def test_evaluate_has_its_baselines(result: pympnode.Result) -> None:
    score = result.evaluate(6)
    assert score.predictor.values.tolist() == ["model", "persistence", "uncoupled"]
    ds = result.test_set(6)
    predicted = result.model.rollout(ds).state
    error = (predicted - ds.state).isel(time=slice(1, None))
    np.testing.assert_allclose(
        score.rmse.sel(predictor="model"), np.sqrt((error**2).mean(["trajectory", "time", "node"]))
    )
    assert score.rmse_time.sel(predictor="model").isel(time=0).max() == 0
    assert float(score.valid_time.max()) <= float(ds.time[-1])
    persistent = score.sel(predictor="persistence")
    moved = ds.state - ds.state.isel(time=0)
    np.testing.assert_allclose(
        persistent.rmse_time, np.sqrt((moved**2).mean(["trajectory", "node"])), atol=1e-12
    )


def test_reprs_name_kind_data_and_sizes(result: pympnode.Result) -> None:
    text, page = repr(result), result._repr_html_()
    for words in ("kuramoto", "completed", "best loss", "engine", "torch", "seconds", "ring"):
        assert words in text and words in page
    assert "6 nodes" in repr(result.model) and "<table>" in result.model._repr_html_()
