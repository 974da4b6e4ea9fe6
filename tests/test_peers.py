"""benchmarks/peers.py: peers have what the tables say that they have."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "benchmarks"))

from peers import InteractionRival, RadialRival, Rival, Structure, verdict

RING = SimpleNamespace(
    sender=np.array([0, 1, 2, 1, 2, 0]), receiver=np.array([1, 2, 0, 0, 1, 2]), weight=None
)


def test_structure_of_features() -> None:
    """Positions enter as differences, change exactly by velocities, and pairs of features stay on a circle."""
    pytest.importorskip("torch_geometric")
    pytest.importorskip("torchdiffeq")
    rng = np.random.default_rng(0)
    angle = rng.uniform(0, 6, (4, 9, 3))
    x = np.stack([rng.normal(size=angle.shape), np.cos(angle), np.sin(angle)], axis=-1)
    control = rng.normal(size=(4, 9, 3, 1))
    structure = Structure(invariant=(0,), rates={0: 1}, unit=(1, 2))
    rival = Rival(x, RING, 0.1, 0.05, control=control, structure=structure, batch=4)
    found = rival.rollout(x[:, 0], RING, 0.1, 8, control=control[:, :8])
    shift = np.array([3.0, 0, 0])
    moved = rival.rollout(x[:, 0] + shift, RING, 0.1, 8, control=control[:, :8])
    assert found.shape == x.shape
    np.testing.assert_allclose(moved, found + shift, atol=1e-4)
    np.testing.assert_allclose((found[..., 1:] ** 2).sum(-1), 1.0, atol=1e-5)
    one = rival.rollout(x[:, 0], RING, 1e-3, 1, control=control[:, :1])
    np.testing.assert_allclose((one - x[:, :1])[:, 1, :, 0] * 1e3, x[:, 0, :, 1], atol=0.02)
    other = rival.rollout(x[:, 0], RING, 0.1, 8, control=control[:, :8] + 1.0)
    assert np.abs(other - found)[:, 1:].max() > 1e-4


@pytest.mark.parametrize("kind", [RadialRival, InteractionRival])
def test_particles_take_sources_and_images(kind: type) -> None:
    """Without sources nothing moves; whole boxes further away nothing changes."""
    if kind is InteractionRival:
        pytest.importorskip("torch_geometric")
    rng = np.random.default_rng(0)
    x, v = rng.uniform(-2, 2, (2, 3, 5, 2)), rng.normal(size=(2, 3, 5, 2))
    source = np.ones((2, 5))
    rival = kind(x, v, 4.0, 0.1, 0.02, source=source)
    states = torch.as_tensor(x[:, 0], dtype=torch.float32)
    ones = torch.ones(2, 5)
    found = rival.change(states, 4.0, ones, None)
    assert found.shape == (2, 5, 2)
    assert float(found.detach().abs().max()) > 0
    images = states.clone()
    images[:, 0] += 4.0
    torch.testing.assert_close(rival.change(images, 4.0, ones, None), found, rtol=1e-3, atol=1e-4)
    dark = rival.change(states, 4.0, 0 * ones, None)
    torch.testing.assert_close(dark - dark[:, :1], torch.zeros_like(dark))


def test_verdict_names_where_a_peer_is_better() -> None:
    theirs, ours = {"a": 1.0, "b": 3.0}, {"a": 2.0, "b": 2.0}
    said = verdict("peer", theirs, "ours", ours)
    assert said == " The peer has a smaller error than ours (a) and a larger error than ours (b)."
    assert verdict("peer", ours, "ours", ours) == " The peer has a larger error than ours (a, b)."
