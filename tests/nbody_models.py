"""Adapter to the golden particle models: files to specs, weights and what must come out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pympnode.particles.graphs.box import Box
from pympnode.particles.spec import ParticleSpec
from pympnode.particles.weights import particle_layout_of

NAME = re.compile(
    r"model_(Hierarchical)?(DeltaGN|HOGN)_(gravity|coulomb)(?:_(15nn|fc))?_N(\d+)(?:_L(\d+))?"
    r"_B(\d+)(?:_(rk4|euler))?\.npz"
)
NETWORKS = {
    "edge_to_super_model.edge_mlp": "up_particle",
    "edge_to_upper_model.edge_mlp": "up_cell",
    "super_edge_model.edge_mlp": "cell_edge",
    "super_node_model.node_mlp": "cell_node",
    "edge_from_super_model.edge_mlp": "down_particle",
    "edge_from_upper_model.edge_mlp": "down_cell",
    "edge_model.edge_mlp": "edge",
    "node_model.node_mlp": "node",
    "global_model.global_mlp": "global",
}


def our_name(key: str) -> str:
    """The name of one of the published weights in our layout."""
    if key.startswith("linear."):
        return key.replace("linear.", "out_")
    network, number, kind = key.rsplit(".", 2)
    return f"{NETWORKS[network]}_{int(number) // 2 + 1}_{kind}"


def model_files(folder: Path) -> list[Path]:
    found = sorted(p for p in folder.rglob("model_*.npz") if NAME.fullmatch(p.name))
    if not found:
        pytest.fail(f"{folder} holds no model_*.npz that is known", pytrace=False)
    return found


def golden_models(folder: Path) -> Iterator[SimpleNamespace]:
    for path in model_files(folder):
        yield golden_model(path)


def golden_model(path: Path) -> SimpleNamespace:
    found = NAME.fullmatch(path.name)
    assert found is not None
    tree, family, system, graph, _, levels, _, integrator = found.groups()
    with np.load(path, allow_pickle=False) as stored:
        z = dict(stored)
    width = int(z["hidden"])
    join = "hierarchy" if tree else ("nearest" if graph == "15nn" else "complete")
    spec = ParticleSpec(
        family=family.lower(),
        join=join,
        charged=system == "coulomb",
        edge_width=width,
        node_width=width,
        global_width=width,
        levels=int(levels) if levels else None,
        behaviour="published",
        integrator=integrator or "rk4",
    )
    layout = particle_layout_of(spec)
    theta, gradient = (
        layout.pack({our_name(k[len(p) :]): v for k, v in z.items() if k.startswith(p)})
        for p in ("state_dict/", "grad/")
    )
    sets, count = int(z["batch"]), int(z["n_particles"])

    def states(name: str) -> SimpleNamespace:
        rows = z[name].reshape(sets, count, -1)
        return SimpleNamespace(
            position=rows[..., -4:-2],
            velocity=rows[..., -2:],
            mass=rows[..., 0],
            charge=rows[..., 1] if spec.charged else None,
        )

    return SimpleNamespace(
        name=path.name,
        spec=spec,
        theta=theta,
        gradient=gradient,
        start=states("input"),
        target=states("target"),
        output=z["output"].reshape(sets * count, 4),
        loss=float(z["loss"]),
        raw=z["linear_outputs"],
        box=Box(float(z["box_size"])),
        step=float(z["dt"]),
        sets=sets,
    )
