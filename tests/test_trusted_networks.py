"""What decides whether a number of a network may be believed: split, validation, seeds, the metric."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

import pympnode

SMALL: dict[str, Any] = dict(
    kernel="eager", hidden=6, message_size=2, batch_size=64, progress=False, dtype="float64"
)
STILL: dict[str, Any] = {"learning_rate": 1e-30}  # weights keep their bits


@pytest.fixture(scope="module")
def kuramoto() -> xr.Dataset:
    ds = pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=10, steps=4)
    return ds.drop_vars("split")


def marked(ds: xr.Dataset, *labels: str) -> xr.Dataset:
    return ds.assign(split=("trajectory", np.array(labels)))


def loss_of(model: Any, ds: xr.Dataset, part: str) -> float:
    """The loss of a part of a marked dataset, as `evaluate` computes it from a rollout in NumPy."""
    chosen = ds.isel(trajectory=np.flatnonzero(ds.split.values == part))
    return float(pympnode.evaluate(model, chosen).loss.sel(predictor="model"))


# ---- what is trained on, and what is validated on -----------------------------------------------


@pytest.mark.parametrize("gaps", [False, True], ids=["whole", "gaps"])
def test_losses_are_computed_on_their_part_and_on_values_that_are_not_masked(
    kuramoto: xr.Dataset, gaps: bool
) -> None:
    ds = marked(kuramoto, *["validation"] * 3, *["train"] * 5, *["test"] * 2)
    rng = np.random.default_rng(0)
    state = ds.state.values.copy()
    state[:3, 1:] += rng.normal(size=state[:3, 1:].shape)  # nothing to be learned from
    if gaps:
        hole = rng.random(state.shape) < 0.3
        hole[:, 0] = False
        state[hole] = np.nan
    ds = ds.assign(state=(ds.state.dims, state)).assign_coords(ds.state.coords)
    how = {"missing": "mask"} if gaps else {}
    result = pympnode.train(data=ds, epochs=1, **SMALL, **STILL, **how)
    loss, validated = loss_of(result.model, ds, "train"), loss_of(result.model, ds, "validation")
    assert validated > 2 * loss
    # All windows are whole trajectories here, and one batch is the whole part.
    assert result.updates == 1
    np.testing.assert_allclose(result.history.loss, loss, rtol=1e-10)
    np.testing.assert_allclose(result.history.validation_loss, validated, rtol=1e-10)
    assert result.best_loss == result.history.validation_loss


@pytest.mark.parametrize(("count", "share"), [(10, 0.7), (10, 0.2), (7, 0.6), (3, 0.5)])
def test_a_drawn_split_trains_its_share_and_validates_on_the_rest(
    kuramoto: xr.Dataset, count: int, share: float
) -> None:
    ds = kuramoto.isel(trajectory=slice(count))
    results = [
        pympnode.train(data=ds, split=share, seed=seed, epochs=1, **SMALL, **STILL)
        for seed in (0, 1, 2)
    ]
    for result in results:
        held = result.test_set()
        assert held.sizes["trajectory"] == count - round(share * count)
        rest = ds.drop_sel(trajectory=held.trajectory.values)
        for name, part in (("loss", rest), ("validation_loss", held)):
            expected = pympnode.evaluate(result.model, part).loss.sel(predictor="model")
            np.testing.assert_allclose(result.history[name], expected, rtol=1e-10)
    chosen = {tuple(result.test_set().trajectory.values) for result in results}
    assert len(chosen) > 1  # the seed draws it


def test_each_dataset_is_split_by_its_own_labels(kuramoto: xr.Dataset) -> None:
    ends = kuramoto.isel(trajectory=slice(5)), kuramoto.isel(trajectory=slice(5, 10))
    first = marked(ends[0], "train", "train", "train", "validation", "validation")
    second = marked(ends[1], "validation", "validation", "train", "train", "train")
    # This preset adds noise of 1e-4 to what is trained on, and to nothing else.
    result = pympnode.train(data=[first, second], preset="paper", epochs=1, **SMALL, **STILL)
    losses = {
        part: np.mean([loss_of(result.model, ds, part) for ds in (first, second)])
        for part in ("train", "validation")
    }
    np.testing.assert_allclose(result.best_loss, losses["validation"], rtol=1e-10)
    np.testing.assert_allclose(result.history.loss, losses["train"], rtol=1e-2)
    assert abs(float(result.history.loss[0]) / losses["train"] - 1) > 1e-8


def test_the_seed_draws_the_first_weights_whatever_the_data(kuramoto: xr.Dataset) -> None:
    ds = marked(kuramoto, *["train"] * 8, *["validation"] * 2)

    def weights(seed: int, members: int) -> list[NDArray]:
        result = pympnode.train(data=ds, seed=seed, members=members, epochs=1, **SMALL, **STILL)
        return list(np.atleast_2d(result.model.theta))

    first, other, (again,) = weights(0, 2), weights(1, 2), weights(0, 1)
    np.testing.assert_array_equal(again, first[0])
    each = [*first, *other]
    drawn = first[0] != 0  # biases begin at zero
    assert drawn.sum() > 50
    for i, a in enumerate(each):
        for b in each[:i]:
            assert (a[drawn] != b[drawn]).all()


# ---- the model is its equations -------------------------------------------------------------------


def affine(weights: dict[str, NDArray], name: str, values: NDArray) -> NDArray:
    return weights[f"{name}weight"] @ values + weights[f"{name}bias"]


@pytest.mark.parametrize("aggregation", ["mean", "sum"])
@pytest.mark.parametrize("kind", ["emitted", "carried"])
def test_the_vector_field_is_its_equation(aggregation: str, kind: str) -> None:
    rng = np.random.default_rng(3)
    pairs = [(0, 1), (0, 2), (0, 3), (3, 4)]  # degrees 3, 1, 1, 2, 1, and 0 of node 5
    ds = pympnode.from_arrays(3 + 2 * rng.normal(size=(4, 4, 6, 2)), dt=0.1, edges=pairs)
    options: dict[str, Any] = {"messages": "emitted", "coupling": "superposed"}
    if kind == "carried":
        options = {"messages": "state", "coupling": "mixed"}
    model = pympnode.train(data=ds, updates=1, aggregation=aggregation, **SMALL, **options).model
    x, m = ds.state.values[:, 0], rng.normal(size=(4, 6, 0 if kind == "emitted" else 2))
    found = model.vector_field(x, m, graph=pairs)
    weights = model.weights
    z = (x - model.state_scale.mean) / model.state_scale.scale

    def mlp(values: NDArray) -> NDArray:
        for number in (1, 2):
            values = np.tanh(affine(weights, f"layer_{number}_", values))
        return affine(weights, "layer_3_", values)

    neighbours: list[list[int]] = [[] for _ in range(6)]
    for a, b in pairs:
        neighbours[a].append(b)
        neighbours[b].append(a)
    mean_degree = 2 * len(pairs) / 6
    for i in range(4):
        for k in range(6):
            arriving = np.zeros(2)
            for j in neighbours[k]:
                sent = m[i, j]
                if kind == "emitted":
                    hidden = np.tanh(affine(weights, "emit_layer_1_", z[i, j]))
                    sent = affine(weights, "emit_layer_2_", hidden)
                arriving += sent / (len(neighbours[k]) if aggregation == "mean" else mean_degree)
            if kind == "emitted":
                out = mlp(z[i, k])
                slope = out[:2] + out[2:].reshape(2, 2) @ arriving
            else:
                slope = mlp(np.concatenate([z[i, k], arriving]))
            slope = slope / model.time_scale
            expected = slope[:2] * model.state_scale.scale
            np.testing.assert_allclose(found[0][i, k], expected, rtol=0, atol=1e-12)
            np.testing.assert_allclose(found[1][i, k], slope[2:], rtol=0, atol=1e-12)


# ---- the metric -----------------------------------------------------------------------------------


def test_valid_time_of_ramps() -> None:
    """A state that stays behind a ramp of known rate is wrong by rate x time."""
    time = 5.0 + np.array([0.0, 0.5, 1.0, 2.0, 4.0])
    rate = np.array([0.0, 0.1, 0.3, -0.3, 0.7, 5.0])
    x = np.broadcast_to((rate[:, None] * (time - 5.0))[..., None, None], (6, 5, 2, 1))
    ds = pympnode.from_arrays(x, time=time, edges=[(0, 1)])
    model = pympnode.train(data=ds, updates=1, **SMALL).model
    z = np.abs(rate) / float(model.state_scale.scale[0])
    threshold = 0.55 * z[2]  # the ramp of 0.3 stays below it for one interval
    found = pympnode.evaluate(model, ds, threshold=threshold).valid_time.sel(
        predictor="persistence"
    )
    since = time - time[0]
    expected = [max(t for t in since if slope * t <= threshold) for slope in z]
    assert expected[:4] == [4.0, 1.0, 0.5, 0.5] and expected[5] == 0.0
    np.testing.assert_array_equal(found, expected)
