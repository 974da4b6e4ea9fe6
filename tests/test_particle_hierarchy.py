"""The hierarchy: who is connected with whom, symmetries, kernels, batches, bounds, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pympnode import memory as capacity
from pympnode.errors import (
    InvalidData,
    InvalidGraph,
    InvalidOption,
    NotEnoughMemory,
    UnknownName,
)
from pympnode.particles.graphs.box import Box
from pympnode.particles.graphs.cells import Hierarchy, default_levels
from pympnode.particles.graphs.connect import connection
from pympnode.particles.graphs.features import children, level_sums
from pympnode.particles.graphs.tree import hierarchy
from pympnode.particles.graphs.tree_torch import true_indices

SIDE = 7.0
BUILDERS = ["torch", "numba", "adaptive"]


def positions(kind: str, count: int, dims: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(count, dims, generator=generator, dtype=torch.float64) * SIDE - SIDE / 2
    if kind == "clustered":
        x = torch.randn(count, dims, generator=generator, dtype=torch.float64) ** 3 * 0.3
    elif kind == "one point":
        x[: count // 2] = 0.25
    elif kind == "lattice":  # on cell borders
        x = torch.randint(-3, 4, (count, dims), generator=generator).double() * (SIDE / 8)
    return x


def build(x, box, builder, levels=None, **options) -> Hierarchy:
    if builder == "adaptive":
        return hierarchy(x, box, levels=levels and levels + 3, split_above=2, **options)
    return hierarchy(x, box, levels=levels, kernel=builder, **options)


def connections(h: Hierarchy) -> torch.Tensor:
    """(receiver, sender) counts of paths between particles: near edges, and cell edges of every
    level between the cells above them."""
    count = h.particles
    paths = torch.zeros(count, count, dtype=torch.int64)
    one = torch.ones_like
    paths.index_put_((h.receiver, h.sender), one(h.sender), accumulate=True)
    above = torch.full((count,), -1)
    for i, level in enumerate(h):
        if i > 0:
            risen = above >= 0
            above[risen] = h.levels[i - 1].parent[above[risen]]
        here = h.particles_of(level)
        above[here] = h.cell[here]
        member = torch.zeros(count, level.size, dtype=torch.int64)
        inside = above >= 0
        member[inside, above[inside]] = 1
        joined = torch.zeros(level.size, level.size, dtype=torch.int64)
        joined.index_put_((level.receiver, level.sender), one(level.sender), accumulate=True)
        paths += member @ joined @ member.T
    return paths


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["uniform", "clustered", "one point", "lattice"]),
    dims=st.sampled_from([2, 3]),
    box=st.sampled_from([SIDE, None]),
    builder=st.sampled_from(BUILDERS),
    sizes=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    levels=st.integers(2, 5),
    seed=st.integers(0, 10_000),
)
def test_every_ordered_pair_is_connected_exactly_once(
    kind, dims, box, builder, sizes, levels, seed
):
    x = positions(kind, sum(sizes), dims, seed)
    h = build(x, box, builder, levels, sizes=sizes)
    same_graph = h.graph[:, None] == h.graph[None, :]
    expected = same_graph & ~torch.eye(h.particles, dtype=torch.bool)
    assert torch.equal(connections(h), expected.long())
    for edges in (h, *h):
        assert (edges.receiver.diff() >= 0).all()


def same(a: Hierarchy, b: Hierarchy) -> None:
    for name in ("order", "graph", "sender", "receiver", "cell", "position"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    assert len(a.levels) == len(b.levels)
    for p, q in zip(a, b, strict=True):
        for name in ("cells", "graph", "sender", "receiver", "position", "mass"):
            assert torch.equal(getattr(p, name), getattr(q, name)), (name, p.level)
        assert (p.parent is None) == (q.parent is None)
        assert p.parent is None or torch.equal(p.parent, q.parent)


@settings(max_examples=40, deadline=None)
@given(
    kind=st.sampled_from(["uniform", "clustered", "one point", "lattice"]),
    dims=st.sampled_from([2, 3]),
    box=st.sampled_from([SIDE, None]),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=3),
    levels=st.sampled_from([2, 3, 4, 6, 9, 14]),
    single=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_the_two_kernels_build_the_same(kind, dims, box, sizes, levels, single, seed):
    """Also with tables that are searched instead of filled (many levels, few particles)."""
    x = positions(kind, sum(sizes), dims, seed).to(torch.float32 if single else torch.float64)
    options = dict(sizes=sizes, levels=levels)
    same(
        hierarchy(x, box, kernel="torch", **options),
        hierarchy(x, box, kernel="numba", **options),
    )


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("box", [SIDE, None])
def test_a_tree_that_always_splits_is_the_uniform_one(dims, box):
    """With a particle in every cell all cells split, and leaves are the finest level."""
    axis = (torch.arange(8) + 0.5) * (SIDE / 8) - SIDE / 2
    x = torch.stack(torch.meshgrid(*[axis] * dims, indexing="ij"), -1).reshape(-1, dims)
    uniform = hierarchy(x, box, levels=3)
    tree = hierarchy(x, box, levels=3, split_above=1)
    assert (tree.leaf == 3).all()
    pairs = lambda h: sorted(zip(h.receiver.tolist(), h.sender.tolist(), strict=True))  # noqa: E731
    assert pairs(uniform) == pairs(tree)
    for p, q in zip(uniform, tree, strict=True):
        assert torch.equal(p.cells, q.cells) and pairs(p) == pairs(q)
        assert torch.allclose(p.position, q.position, atol=1e-6)


def as_sets(h: Hierarchy, map_cell=lambda c, level: c):
    """The graph without numbering: near pairs as given particles, cell edges as coordinates."""
    sender, receiver = h.particle_edges()
    near = set(zip(sender.tolist(), receiver.tolist(), strict=True))
    cells = set()
    for level in h:
        c = map_cell(level.cells, level.level)
        for s, r in zip(level.sender.tolist(), level.receiver.tolist(), strict=True):
            cells.add((level.level, tuple(c[s].tolist()), tuple(c[r].tolist())))
    return near, cells


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("dims", [2, 3])
def test_permutation(builder, dims, rng):
    x = positions("uniform", 80, dims, 1)
    mass = torch.from_numpy(rng.uniform(0.5, 1.5, 80))
    order = torch.from_numpy(rng.permutation(80))
    a = build(x, SIDE, builder, 3, mass=mass)
    b = build(x[order], SIDE, builder, 3, mass=mass[order])
    near_a, cells_a = as_sets(a)
    near_b, cells_b = as_sets(b)
    numbers = order.tolist()
    assert {(numbers[s], numbers[r]) for s, r in near_b} == near_a and cells_a == cells_b
    for p, q in zip(a, b, strict=True):
        assert torch.allclose(p.position, q.position, rtol=0, atol=1e-14 * 80 * SIDE)


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("dims", [2, 3])
def test_periodic_shift_by_whole_cells_and_boxes(builder, dims):
    """Level-2 cells are a quarter of the box: such a shift moves every cell onto another."""
    x = positions("uniform", 80, dims, 2)
    a = build(x, SIDE, builder, 3)
    shift = torch.tensor([1, 3, 2][:dims])
    b = build(x + shift * (SIDE / 4) + SIDE * torch.tensor([1, -2, 5][:dims]), SIDE, builder, 3)

    def back(cells, level):
        return (cells - shift * 2 ** (level - 2)) % 2**level

    assert as_sets(a) == as_sets(b, back)


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("box", [SIDE, None])
def test_quarter_turn(builder, dims, box):
    x = positions("uniform", 80, dims, 3)
    turned = torch.cat([-x[:, 1:2], x[:, :1], x[:, 2:]], 1)
    a, b = build(x, box, builder, 3), build(turned, box, builder, 3)

    def back(cells, level):
        last = 2**level - 1
        return torch.cat([cells[:, 1:2], last - cells[:, :1], cells[:, 2:]], 1)

    assert as_sets(a) == as_sets(b, back)


@pytest.mark.parametrize("builder", BUILDERS)
def test_mirror_images_of_edges(builder):
    """Every edge runs both ways."""
    h = build(positions("clustered", 120, 2, 4), SIDE, builder, 4)
    for edges in (h, *h):
        there = set(zip(edges.sender.tolist(), edges.receiver.tolist(), strict=True))
        assert there == {(r, s) for s, r in there}


@pytest.mark.parametrize("builder", BUILDERS)
@pytest.mark.parametrize("box", ["periodic", None])
def test_a_batch_is_its_samples(builder, box, rng):
    """Graphs of different size and box in one batch are the graphs built alone."""
    sizes, sides = [40, 8, 90], [7.0, 3.0, 9.0]
    parts = [
        torch.from_numpy(rng.uniform(-side / 2, side / 2, (n, 2)))
        for n, side in zip(sizes, sides, strict=True)
    ]
    mass = [torch.from_numpy(rng.uniform(0.5, 1.5, n)) for n in sizes]
    batch = build(parts, None if box is None else sides, builder, 3, mass=mass)
    offset = 0
    for g, (x, m, side) in enumerate(zip(parts, mass, sides, strict=True)):
        alone = build(x, None if box is None else side, builder, 3, mass=m)
        here = batch.graph == g
        assert torch.equal(batch.order[here] - offset, alone.order)
        sender, receiver = batch.particle_edges()
        mine = (receiver >= offset) & (receiver < offset + len(x))
        near = set(zip((sender[mine] - offset).tolist(), (receiver[mine] - offset).tolist()))
        assert near == as_sets(alone)[0]
        for level in alone:
            whole = next(other for other in batch if other.level == level.level)
            rows = torch.nonzero(whole.graph == g).squeeze(1)
            assert torch.equal(whole.cells[rows], level.cells)
            assert torch.equal(whole.position[rows], level.position)
            assert torch.equal(whole.mass[rows], level.mass)
            edges = torch.isin(whole.receiver, rows)
            assert torch.equal(whole.sender[edges] - rows[0], level.sender)
            assert torch.equal(whole.receiver[edges] - rows[0], level.receiver)
        offset += len(x)


def test_a_batch_with_a_batch_axis(rng):
    x = torch.from_numpy(rng.uniform(-3, 3, (4, 30, 2)))
    mass = torch.from_numpy(rng.uniform(1, 2, (4, 30)))
    a = hierarchy(x, 6.0, mass=mass)
    b = hierarchy(list(x), 6.0, mass=list(mass))
    same(a, b)
    assert a.sizes == (30,) * 4
    values = torch.from_numpy(rng.normal(size=(4, 30, 3)))
    assert torch.equal(a.given_order(a.cell_order(values)), values.reshape(-1, 3))
    assert torch.equal(a.order[a.inverse], torch.arange(120))


@pytest.mark.parametrize("builder", BUILDERS)
def test_features(builder, rng):
    """Sums and mass-weighted means over the particles of every cell, computed one by one."""
    n = 60
    x = torch.from_numpy(rng.uniform(-3.5, 3.5, (n, 3)))
    v, m = torch.from_numpy(rng.normal(size=(n, 3))), torch.from_numpy(rng.uniform(0.1, 2, n))
    q = torch.from_numpy(rng.normal(size=n))
    h = build(x, SIDE, builder, 3, mass=m, velocity=v, charge=q)
    above = torch.full((n,), -1)
    for i, level in enumerate(h):
        if i > 0:
            risen = above >= 0
            above[risen] = h.levels[i - 1].parent[above[risen]]
            child, parent = children(h, level)
            assert torch.equal(h.levels[i - 1].cells[child] >> 1, level.cells[parent])
        here = h.particles_of(level)
        above[here] = h.cell[here]
        for c in range(level.size):
            rows = h.order[above == c]
            assert len(rows) > 0  # empty cells do not exist
            total = m[rows].sum()
            assert level.mass[c] == pytest.approx(float(total), rel=1e-13)
            assert level.charge[c] == pytest.approx(float(q[rows].sum()), abs=1e-13)
            for found, values in ((level.position[c], x), (level.velocity[c], v)):
                mean = (m[rows, None] * values[rows]).sum(0) / total
                assert np.allclose(found, mean, rtol=0, atol=1e-13)
            corner = level.cells[c] * (SIDE / 2**level.level) - SIDE / 2
            assert (level.position[c] >= corner).all()


def test_massless_particles_have_finite_cells():
    x = positions("uniform", 50, 2, 5)
    mass = torch.ones(50, dtype=torch.float64)
    mass[x[:, 0] < 0] = 0
    velocity = x.clone()
    for kernel in ("torch", "numba"):
        h = hierarchy(x, SIDE, mass=mass, velocity=velocity, kernel=kernel)
        for level in h:
            empty = level.mass == 0
            assert empty.any() and torch.isfinite(level.position).all()
            assert torch.allclose(level.velocity, level.position)  # as v = x: means alike


def test_gradients_pass_to_the_cells(rng):
    x = torch.from_numpy(rng.uniform(-5, 5, (20, 2))).requires_grad_()  # some outside the box
    mass = torch.from_numpy(rng.uniform(0.5, 1.5, 20))

    def centres(y):
        return tuple(level.position for level in hierarchy(y, SIDE, mass=mass, levels=3))

    assert torch.autograd.gradcheck(centres, (x,), eps=1e-7, atol=1e-6)
    h = hierarchy(x, SIDE, levels=3)
    sums = level_sums(h, h.cell_order(x))
    for total in sums:
        assert torch.allclose(total.sum(0), x.sum(0))


def test_default_levels_round_to_nearest():
    published = {10: 2, 20: 2, 100: 3, 1000: 5, 5000: 6, 10000: 7}
    assert {n: default_levels(n, 2) for n in published} == published
    assert {n: default_levels(n, 3) for n in (100, 1000, 10000)} == {100: 2, 1000: 3, 10000: 4}
    for count, dims in ((7, 2), (22, 3)):
        with pytest.raises(InvalidGraph, match="no cell level"):
            hierarchy(torch.rand(count, dims), 1.0)
        assert default_levels(count + 1, dims) == 2
    assert hierarchy(torch.rand(3, 2), 1.0, levels=2).particles == 3


@pytest.mark.parametrize(
    "dims, space, top, widest",
    [(2, 6.0, 7, 27), (3, 6.0, 37, 189), (2, None, 12, 27), (3, None, 56, 189)],
)
def test_interaction_lists_are_bounded(dims, space, top, widest):
    """27 and 7 partners in the plane, 189 and 37 in space; with every cell occupied, reached."""
    axis = (torch.arange(16) + 0.5) * (6.0 / 16) - 3.0
    x = torch.stack(torch.meshgrid(*[axis] * dims, indexing="ij"), -1).reshape(-1, dims)
    h = hierarchy(x, space, levels=4)
    for level in h:
        most = int(torch.bincount(level.receiver).max())
        assert most == (top if level.level == 2 else widest)


@pytest.mark.parametrize("count", [100, 1000, 10_000, 100_000])
def test_size_grows_linearly(count):
    """Nodes < 3 N, at most 27 cell edges a cell; near pairs about 9 N times the mean occupation."""
    x = torch.rand(count, 2, generator=torch.Generator().manual_seed(0)) - 0.5
    h = hierarchy(x, 1.0)
    assert h.particles + h.cells < 3 * count
    for level in h:
        assert level.sender.shape[0] <= 27 * level.size
        assert level.size <= min(count, 4**level.level)
    mean = count / 4 ** h.levels[0].level  # 0.5 to 2 by the rounding
    assert h.sender.shape[0] < 1.5 * 9 * mean * count
    assert h.edges < 80 * count


def test_adaptive_tree_bounds_the_near_pairs_of_clusters():
    x = positions("clustered", 4000, 2, 6)
    uniform = hierarchy(x, 200.0)
    tree = hierarchy(x, 200.0, split_above=8)
    assert uniform.sender.shape[0] > 100 * 4000
    depth = int(tree.leaf.max()) - 1
    assert tree.sender.shape[0] < 2 * 9 * 8 * depth * 4000
    assert tree.sender.shape[0] < uniform.sender.shape[0] / 5


def test_one_point_reaches_the_depth_cap():
    h = hierarchy(torch.zeros(30, 2), 1.0, split_above=4)
    assert int(h.leaf.max()) == 20
    assert h.sender.shape[0] == 30 * 29
    assert hierarchy(torch.zeros(30, 2), None).sender.shape[0] == 30 * 29


def test_positions_outside_the_box_are_wrapped():
    x = positions("uniform", 60, 2, 7)
    inside, outside = hierarchy(x, SIDE), hierarchy(x + SIDE * 3, SIDE)
    assert as_sets(inside) == as_sets(outside)
    assert (outside.position >= -SIDE / 2).all() and (outside.position < SIDE / 2).all()
    edge = torch.tensor([[SIDE / 2, -SIDE / 2], [np.nextafter(SIDE / 2, 0), 0.0]])
    assert hierarchy(edge.repeat(8, 1), SIDE, levels=2).levels[0].cells.max() <= 3


def test_on_the_way_to_another_device():
    h = hierarchy(torch.rand(50, 2), 1.0, mass=torch.ones(50))
    moved = h.to("meta")
    assert moved.sender.device.type == "meta" and moved.levels[0].mass.device.type == "meta"
    assert "50 particles" in repr(h) and "Level(" in repr(h.levels[0])


@pytest.mark.parametrize("builder", BUILDERS)
def test_values_that_are_not_finite_are_refused(builder):
    x = torch.rand(50, 2)
    bad = x.clone()
    bad[3, 1] = torch.nan
    with pytest.raises(InvalidData, match="not finite"):
        build(bad, 1.0, builder, 3)
    with pytest.raises(InvalidData, match="not finite"):
        build(x, 1.0, builder, 3, mass=torch.full((50,), torch.inf))


def test_the_earlier_name_of_a_builder_is_that_builder():
    x = torch.rand(50, 2)
    with pytest.warns(DeprecationWarning, match="numba"):
        old = hierarchy(x, 1.0, kernel="compiled")
    assert torch.equal(old.sender, hierarchy(x, 1.0, kernel="numba").sender)


def test_impossible_requests_are_refused():
    x = torch.rand(50, 2)
    for levels in (1, 0, -3, True):
        with pytest.raises(InvalidGraph, match="no cell level"):
            hierarchy(x, 1.0, levels=levels)
    with pytest.raises(InvalidGraph, match="beyond"):
        hierarchy(x, 1.0, levels=40)
    with pytest.raises(UnknownName, match="numba"):
        hierarchy(x, 1.0, kernel="nunba")
    with pytest.raises(InvalidData, match="positions are"):
        hierarchy(torch.rand(50, 4), 1.0)
    with pytest.raises(InvalidData, match="positions are"):
        hierarchy(torch.zeros(50, 2, dtype=torch.long), 1.0)
    with pytest.raises(InvalidData, match="add up"):
        hierarchy(x, 1.0, sizes=[20, 20])
    with pytest.raises(InvalidData, match="mass does not fit"):
        hierarchy(x, 1.0, mass=torch.ones(3))
    with pytest.raises(InvalidData, match="negative"):
        hierarchy(x, 1.0, mass=torch.full((50,), -1.0))
    with pytest.raises(InvalidOption, match="split_above"):
        hierarchy(x, 1.0, split_above=0)
    with pytest.raises(InvalidOption, match="built in torch"):
        hierarchy(x, 1.0, split_above=4, kernel="numba")
    with pytest.raises(InvalidOption, match="one box per graph"):
        hierarchy(x, [1.0, 2.0], sizes=[20, 20, 10])
    with pytest.raises(InvalidOption, match="periodic or open"):
        hierarchy(x, [Box(1.0), Box()], sizes=[25, 25])


@pytest.mark.parametrize("builder", ["torch", "numba"])
def test_more_edges_than_memory_are_refused_in_bytes(builder, monkeypatch):
    """30,000 particles in one point have 900 million pairs."""
    monkeypatch.setattr("pympnode.memory.available_bytes", lambda device="cpu": 10**9)
    with pytest.raises(NotEnoughMemory, match=r"[0-9,]+ bytes needed") as error:
        build(torch.zeros(30_000, 2), 1.0, builder, 4)
    assert "split_above" in str(error.value)


@pytest.mark.parametrize("builder", ["torch", "numba"])
def test_more_cells_than_memory_are_refused_in_bytes(builder, monkeypatch):
    monkeypatch.setattr("pympnode.memory.available_bytes", lambda device="cpu": 2 * 10**7)
    with pytest.raises(NotEnoughMemory, match=r"bytes needed") as error:
        build(torch.rand(30_000, 3), 1.0, builder)
    assert "fewer levels" in str(error.value)


def test_memory_that_torch_caches_counts_as_free(monkeypatch):
    """A second run in one process finds all but nothing free by the driver's count."""
    of_all = {"mem_get_info": (2 << 30, 80 << 30), "memory_reserved": 76 << 30}
    of_all["memory_allocated"] = 1 << 30
    for name, value in of_all.items():
        monkeypatch.setattr(torch.cuda, name, lambda device=None, value=value: value)
    device = torch.device("cuda")
    assert capacity.available_bytes(device) == 77 << 30
    capacity.need(70 << 30, "a second run", fix="less", device=device)
    with pytest.raises(NotEnoughMemory, match=r"77\.0 GiB"):
        capacity.need(78 << 30, "a second run", fix="less", device=device)


def test_places_of_a_mask_are_those_of_the_device_path():
    """What a GPU runs instead of NumPy, on the CPU."""
    mask = torch.rand(1000, generator=torch.Generator().manual_seed(0)) < 0.3
    count = int(mask.sum())
    assert torch.equal(true_indices(mask, count), torch.nonzero_static(mask, size=count).squeeze(1))


def test_connections_by_name():
    x = torch.rand(40, 2)
    assert connection("complete")(x, 1.0).edges == 40 * 39
    assert connection("nearest", k=3)(x, 1.0).edges == 120
    assert connection("hierarchy", levels=2)(x, 1.0).levels[0].level == 2
    with pytest.raises(UnknownName, match="nearest"):
        connection("neares")
    with pytest.raises(InvalidOption, match="no option"):
        connection("complete", k=3)


def test_receivers_are_right_in_tables_beyond_single_precision():
    """20 million candidates: more places than float32 can tell apart."""
    from pympnode.particles.graphs.tree_torch import compact

    rows, width = 750_000, 27
    candidates = torch.full((rows, width), rows, dtype=torch.int32)
    wanted = torch.arange(rows - 2000, rows)
    candidates[wanted, wanted % width] = 5
    sender, receiver = compact(candidates, rows, 2000)
    assert torch.equal(receiver, wanted) and (sender == 5).all()
