"""Golden trajectories, made by another solver in another language at 1e-12."""

from __future__ import annotations

import numpy as np

from pympnode.graph import Graph
from pympnode.networks.graphs.topology import resolve
from pympnode.networks.integrate import integrate
from pympnode.systems.registry import get

SYSTEMS = {
    "kuramoto": "kuramoto",
    "gene": "gene",
    "lorenz": "lorenz",
    "pendulum": "coupled_pendulum",
}


def test_reference_trajectories_to_1e_9(reference_dir):
    path = reference_dir / "mpnode" / "trajectories.npz"
    assert path.is_file(), f"{reference_dir} holds no mpnode/trajectories.npz"
    with np.load(path, allow_pickle=False) as file:
        content = {name: file[name] for name in file.files}
    found = 0
    for name in [n.removesuffix("_x") for n in content if n.endswith("_x")]:
        family = name.split("_")[0]
        if family not in SYSTEMS:
            continue
        found += 1
        system, golden = get(SYSTEMS[family]), content[f"{name}_x"]
        _, points, nodes, _ = golden.shape
        overrides = {}
        if family == "lorenz":
            overrides["coupling"] = content[f"{name}_H"].reshape(nodes, 3, nodes, 3)
        if family == "kuramoto":
            overrides["frequency"] = content["omega"]
        if f"{name}_adjacency" in content:  # Lorenz and the two pendula are joined pairwise
            graph = Graph.from_adjacency(content[f"{name}_adjacency"])
        else:
            graph = resolve("complete", nodes)
        parameters = system.resolve_parameters(overrides, graph)
        solution = integrate(
            system.bind(graph, parameters),
            content[f"{name}_x0"],
            0.05 * np.arange(points),
            rtol=1e-12,
            atol=1e-12,
        )
        until = 21 if family == "lorenz" else points  # chaos amplifies rounding after that
        error = np.abs(solution.x - golden)[:, :until].max()
        assert error < 1e-9, f"{name}: {error:.2e}"
    assert found, "trajectories.npz holds no trajectory that this test knows"
