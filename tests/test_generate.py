"""Datasets as arrays: seeds, blocks, controls, noise, split, normalisation."""

from __future__ import annotations

import numpy as np
import pytest

from pympnode.datasets.split import rng_of, split_trajectories
from pympnode.errors import (
    IntegrationFailed,
    InvalidData,
    InvalidOption,
    NotEnoughMemory,
    UnknownName,
)
from pympnode.graph import Graph
from pympnode.networks.generate import BLOCK, generate
from pympnode.networks.graphs.topology import resolve
from pympnode.networks.normalise import Normalisation
from pympnode.systems.base import System, Variable

KURAMOTO = resolve("BA", 10, system="kuramoto")


@pytest.mark.parametrize("graphs", [1, 5])
def test_a_smaller_dataset_is_a_prefix_of_a_larger_one(graphs):
    graph = resolve("ER", 10, graphs=graphs, system="kuramoto")
    large = generate("kuramoto", graph, None, BLOCK + 9, seed=3, steps=5)
    small = generate("kuramoto", graph, None, 7, seed=3, steps=5)
    assert np.array_equal(small.x, large.x[:7])
    assert large.graph_of.tolist() == [i % graphs for i in range(BLOCK + 9)]


def test_parts_can_be_made_in_any_order():
    whole = generate("gene", resolve("WS", 16, system="gene"), None, 70, seed=1, steps=4, noise=0.1)
    for first, count in ((64, 6), (3, 64)):
        part = generate("gene", whole.graph, None, count, seed=1, steps=4, noise=0.1, first=first)
        assert np.array_equal(part.x, whole.x[first : first + count])


def test_seeds_repeat_and_differ():
    first = generate("lorenz", resolve("complete", 3), None, 3, seed=1, steps=5)
    again = generate("lorenz", resolve("complete", 3), None, 3, seed=1, steps=5)
    other = generate("lorenz", resolve("complete", 3), None, 3, seed=2, steps=5)
    assert np.array_equal(first.x, again.x)
    assert not np.any(first.x[:, 0] == other.x[:, 0])
    assert not np.any(first.x[0, 0] == first.x[1, 0])
    # every stream and trajectory has its own generator
    draws = {rng_of(0, stream, i).random() for stream in range(4) for i in range(4)}
    assert len(draws) == 16


def test_every_graph_drives_its_own_trajectories():
    pair = Graph.union([resolve("complete", 4), resolve("none", 4)])
    x0 = np.broadcast_to(np.linspace(0, 1, 4)[:, None] * np.ones(3), (4, 4, 3)).copy()
    made = generate("kuramoto", pair, None, 4, initial=x0, steps=10)
    assert np.array_equal(made.x[0], made.x[2]) and np.array_equal(made.x[1], made.x[3])
    drift = x0[1] + 0.5 * made.parameters["frequency"]
    np.testing.assert_allclose(made.x[1, -1], drift, rtol=0, atol=1e-9)
    assert np.ptp(made.x[0, -1, :, 0]) < np.ptp(x0[0, :, 0])  # coupled phases attract


def test_isolated_nodes_are_finite():
    graph = Graph.from_edges([(0, 1)], 5)
    for system in ("kuramoto", "gene", "lorenz"):
        assert np.all(np.isfinite(generate(system, graph, None, 2, steps=10).x))


def test_noise_is_of_the_measurement_alone():
    clean = generate("kuramoto", KURAMOTO, None, 20, seed=5)
    noisy = generate("kuramoto", KURAMOTO, None, 20, seed=5, noise=[0.0, 0.1, 0.2])
    difference = noisy.x - clean.x
    assert not difference[..., 0].any()
    count = difference[..., 0].size  # a sample deviation scatters by 1 / sqrt(2 count)
    for feature, spread in ((1, 0.1), (2, 0.2)):
        assert difference[..., feature].std() == pytest.approx(spread, rel=5 / np.sqrt(2 * count))


def test_split_is_exact_and_repeats():
    for count, share in ((10, 0.7), (1000, 0.7), (3, 0.5), (1, 0.7), (5, 1.0), (5, 0.0)):
        split = split_trajectories(count, share, seed=4)
        assert (split == 0).sum() == round(share * count)
        assert np.array_equal(split, split_trajectories(count, share, seed=4))
    assert not np.array_equal(split_trajectories(100), split_trajectories(100, seed=1))
    with pytest.raises(InvalidOption):
        split_trajectories(10, 1.5)


class Driven(System):
    """x' = u, one control."""

    name = "driven"
    state = (Variable("x"),)
    controls = (Variable("push"),)

    def sample_controls(self, rng, nodes, times):
        return rng.normal(size=(len(times), nodes, 1))

    def field(self, t, x, u, graph, parameters):
        return u + 0 * x


def test_controls_are_drawn_or_given_and_kept():
    graph = resolve("path", 2)
    drawn = generate(Driven(), graph, None, 3, seed=2, steps=6, dt=0.5)
    assert drawn.u.shape == (3, 7, 2, 1) and drawn.x.shape == (3, 7, 2, 1)
    np.testing.assert_allclose(np.diff(drawn.x, axis=1), 0.5 * drawn.u[:, :-1], atol=1e-13)
    more = generate(Driven(), graph, None, 9, seed=2, steps=6, dt=0.5)
    assert np.array_equal(more.x[:3], drawn.x) and np.array_equal(more.u[:3], drawn.u)
    given = generate(Driven(), graph, None, 3, seed=2, steps=6, dt=0.5, controls=drawn.u[1])
    assert np.array_equal(given.u[0], drawn.u[1]) and np.array_equal(given.u[2], drawn.u[1])
    with pytest.raises(InvalidData, match="controls"):
        generate(Driven(), graph, None, 3, steps=6, controls=np.zeros((3, 6, 2, 1)))
    with pytest.raises(InvalidOption, match="no controls"):
        generate("gene", graph, None, 3, steps=6, controls=np.zeros((3, 7, 2, 1)))


class Fragile(Driven):
    """Infinite in trajectories whose first value is above a bound."""

    name = "fragile"
    controls = ()

    def initial(self, rng, nodes):
        return np.full((nodes, 1), rng.uniform())

    def field(self, t, x, u, graph, parameters):
        return np.where(x > 0.8, np.inf, 0.0)


def test_a_failure_is_raised_only_when_its_trajectory_was_asked_for():
    starts = np.array([rng_of(0, 0, i).uniform() for i in range(BLOCK)])
    bad = int(np.argmax(starts > 0.8))
    assert bad > 0
    fine = generate(Fragile(), resolve("path", 2), None, bad, steps=3)
    assert np.all(np.isfinite(fine.x))
    with pytest.raises(IntegrationFailed, match=f"trajectory {bad}, node 0, feature 0, time 0"):
        generate(Fragile(), resolve("path", 2), None, bad + 1, steps=3)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"trajectories": 0}, InvalidOption),
        ({"trajectories": 2.5}, InvalidOption),
        ({"trajectories": 10**12}, NotEnoughMemory),
        ({"seed": -1}, InvalidOption),
        ({"steps": 0}, InvalidOption),
        ({"dt": -0.1}, InvalidOption),
        ({"dt": 0.1, "times": np.array([0.0, 1.0])}, InvalidOption),
        ({"times": np.array([1.0, 0.0])}, InvalidData),
        ({"noise": -1.0}, InvalidOption),
        ({"noise": [0.1, 0.1]}, InvalidOption),
        ({"initial": np.zeros((2, 9, 3))}, InvalidData),
        ({"initial": np.full((2, 10, 3), np.nan)}, InvalidData),
        ({"parameters": {"w": 1.0}}, UnknownName),
        ({"system": "kuramot"}, UnknownName),
        ({"graph": Graph.union([resolve("path", 3), resolve("path", 4)])}, InvalidData),
    ],
)
def test_bad_input_is_refused(change, error):
    given = {"system": "kuramoto", "graph": KURAMOTO, "trajectories": 2}
    with pytest.raises(error):
        generate(**(given | change))


def test_normalisation_round_trip_mask_and_constant_features(rng):
    x = rng.normal(3.0, 5.0, (4, 6, 5, 3))
    x[..., 2] = 0.1 + 0.2  # constant, its mean not exact
    fitted = Normalisation.fit(x)
    z = fitted.apply(x)
    np.testing.assert_allclose(z[..., :2].mean(axis=(0, 1, 2)), 0, atol=1e-14)
    np.testing.assert_allclose(z[..., :2].std(axis=(0, 1, 2)), 1, atol=1e-14)
    assert fitted.scale[2] == 1.0 and np.abs(z[..., 2]).max() < 1e-15
    np.testing.assert_allclose(fitted.undo(z), x, rtol=0, atol=1e-13)
    assert fitted.apply(x.astype(np.float32)).dtype == np.float32
    mask = rng.uniform(size=x.shape) < 0.7
    holes = np.where(mask, x, np.nan)
    masked = Normalisation.fit(holes, mask)
    assert masked.mean[0] == pytest.approx(np.nanmean(holes[..., 0]), rel=1e-12)
    assert masked.scale[1] == pytest.approx(np.nanstd(holes[..., 1]), rel=1e-12)
    with pytest.raises(InvalidData):
        Normalisation.fit(holes)
    with pytest.raises(InvalidData):
        Normalisation.fit(x, np.zeros(x.shape, dtype=bool))
    with pytest.raises(InvalidData):
        fitted.apply(x[..., :2])
    with pytest.raises(InvalidData):
        Normalisation(np.zeros(2), np.array([1.0, 0.0]))
    assert Normalisation.identity(2).same(Normalisation([0, 0], [1, 1]))
