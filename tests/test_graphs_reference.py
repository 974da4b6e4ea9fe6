"""The shipped graphs and matrices against the golden files (any seed that is there)."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pympnode.errors import InvalidOption
from pympnode.graph import Graph
from pympnode.networks.graphs.instances import published_omega
from pympnode.networks.graphs.topology import resolve

SHIPPED = {42, 1, 2, 3, 4, 5}


@pytest.fixture(scope="module")
def systems_file(reference_dir):
    path = reference_dir / "mpnode" / "systems.npz"
    assert path.is_file(), f"{reference_dir} holds no mpnode/systems.npz"
    with np.load(path, allow_pickle=False) as content:
        return {name: content[name] for name in content.files}


def test_reference_graphs_are_shipped_edge_by_edge(systems_file):
    pattern = re.compile(r"(kuramoto|gene)_(ba|er|ws)_(\d+)(?:_5)?_seed(\d+)")
    found = 0
    for name, adjacency in systems_file.items():
        match = pattern.fullmatch(name)
        if not match:
            continue
        found += 1
        system, topology, nodes, seed = match.groups()
        graph = resolve(topology, int(nodes), graph_seed=int(seed), system=system)
        golden = Graph.from_adjacency(adjacency)
        if int(seed) in SHIPPED:
            assert graph.same(golden), name
            assert "published" in graph.provenance
        elif (system, topology) != ("gene", "er"):  # a count that the topology alone decides
            assert graph.edges == golden.edges, name
    assert found, "systems.npz holds no graph that this test knows"


def test_reference_frequencies(systems_file):
    found = [name for name in systems_file if re.fullmatch(r"omega_seed\d+", name)]
    assert found, "systems.npz holds no frequencies"
    for name in found:
        seed = int(name.removeprefix("omega_seed"))
        if seed in SHIPPED:
            assert np.array_equal(published_omega(seed), systems_file[name])
        else:
            with pytest.raises(InvalidOption):
                published_omega(seed)
