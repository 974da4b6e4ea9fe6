"""k nearest neighbours against the whole distance matrix, and everyone with everyone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pympnode.errors import InvalidData, InvalidGraph, NotEnoughMemory
from pympnode.graph import Graph
from pympnode.particles.graphs.box import Box
from pympnode.particles.graphs.neighbours import fully_connected, nearest_neighbours


def distances(x: torch.Tensor, box: Box) -> torch.Tensor:
    d = box.displacement(x[None, :] - x[:, None]).norm(dim=-1)
    return d.fill_diagonal_(torch.inf)


@pytest.mark.parametrize("kernel", ["grid", "tree", "tiles"])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("side", [5.0, None])
def test_neighbours_are_the_nearest_by_image(kernel, dims, side, rng):
    """The k distances found are the k smallest ones; positions partly outside the box."""
    sizes, k = [120, 40], 7
    x = torch.from_numpy(rng.uniform(-4, 4, (160, dims)))
    edges = nearest_neighbours(x, side, k=k, sizes=sizes, kernel=kernel)
    assert torch.equal(edges.receiver, torch.arange(160).repeat_interleave(k))
    assert (edges.sender != edges.receiver).all()
    box, offset = Box(side or np.inf), 0
    for size in sizes:
        own = distances(box.wrap(x[offset : offset + size]), box)
        sender = edges.sender.view(-1, k)[offset : offset + size] - offset
        assert (sender >= 0).all() and (sender < size).all()
        found = own.gather(1, sender).sort(1).values
        expected = own.sort(1).values[:, :k]
        assert torch.allclose(found, expected, rtol=0, atol=1e-12)
        offset += size
    assert all(len(set(row)) == k for row in edges.sender.view(-1, k).tolist())


@pytest.mark.parametrize("kernel", ["grid", "tree", "tiles"])
def test_tiles_smaller_than_the_system(kernel, monkeypatch, rng):
    monkeypatch.setattr("pympnode.particles.graphs.neighbours._TILE_BYTES", 20_000)
    x = torch.from_numpy(rng.uniform(0, 3, (90, 2)))
    edges = nearest_neighbours(x, 3.0, k=4, kernel=kernel)
    own = distances(Box(3.0).wrap(x), Box(3.0))
    assert torch.allclose(
        own.gather(1, edges.sender.view(-1, 4)).sort(1).values, own.sort(1).values[:, :4]
    )


@pytest.mark.parametrize("kernel", ["grid", "tree", "tiles"])
def test_particles_in_one_point_are_not_their_own_neighbours(kernel):
    edges = nearest_neighbours(torch.zeros(30, 2), 1.0, k=5, kernel=kernel)
    assert (edges.sender != edges.receiver).all()
    assert all(len(set(row)) == 5 for row in edges.sender.view(-1, 5).tolist())


def test_border_positions_of_a_periodic_box():
    """Both borders, in float32, where shifting by half a box rounds onto the border."""
    x = torch.tensor([[2.5, -2.5], [-2.5, 2.4999998], [2.4999998, 2.4999998], [0.0, 0.0]])
    edges = nearest_neighbours(x, 5.0, k=2)
    assert set(edges.sender.view(-1, 2)[0].tolist()) == {1, 2}


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("side", [5.0, None])
@pytest.mark.parametrize("count, k", [(16, 15), (30, 3), (700, 15), (2000, 40)])
def test_grid_and_tree_agree(dims, side, count, k, rng):
    """Two independent searches, from rings that meet themselves to many cells."""
    x = torch.from_numpy(rng.uniform(-2.5, 2.5, (count, dims)))
    grid = nearest_neighbours(x, side, k=k, kernel="grid").sender.view(-1, k).sort(1).values
    tree = nearest_neighbours(x, side, k=k, kernel="tree").sender.view(-1, k).sort(1).values
    assert torch.equal(grid, tree)


def test_crowded_particles_take_the_tree(monkeypatch, rng):
    from pympnode.particles.graphs import neighbours

    taken = []
    tree = neighbours._by_tree
    monkeypatch.setattr(neighbours, "_by_tree", lambda *a: taken.append(1) or tree(*a))
    x = torch.from_numpy(rng.normal(size=(2000, 2)) ** 3)
    nearest_neighbours(x, 100.0)
    assert taken
    nearest_neighbours(torch.from_numpy(rng.uniform(0, 10, (2000, 2))), 10.0)
    assert len(taken) == 1


def test_fully_connected_sums_at_the_receiver():
    edges = fully_connected(torch.zeros(2, 4, 2))
    expected = [(s, r) for r in range(4) for s in range(4) if s != r]
    expected += [(s + 4, r + 4) for s, r in expected]
    assert list(zip(edges.sender.tolist(), edges.receiver.tolist(), strict=True)) == expected
    graph = edges.to_graph()
    assert isinstance(graph, Graph) and graph.edges == 24 and graph.graphs == 2
    assert fully_connected(torch.zeros(1, 2)).edges == 0


def test_refusals(monkeypatch):
    x = torch.rand(10, 2)
    for k in (10, 0):
        with pytest.raises(InvalidGraph, match="neighbours"):
            nearest_neighbours(x, 1.0, k=k)
    with pytest.raises(InvalidData, match="not finite"):
        nearest_neighbours(torch.full((20, 2), torch.nan), 1.0)
    with pytest.raises(NotEnoughMemory, match="bytes needed"):
        fully_connected(torch.zeros(1, 2).expand(10_000_000, 2))
