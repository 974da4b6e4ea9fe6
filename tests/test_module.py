"""`Model.module`: the vector field as a torch module, against the model's own; gradients and export."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr

import pympnode
from pympnode.errors import InvalidModel, InvalidOption

# The attributes of the nodes of one graph name the nodes, of which training warns.
pytestmark = pytest.mark.filterwarnings("ignore::pympnode.PympnodeWarning")

CASES: dict[str, dict[str, Any]] = {
    "emitted": {},
    "emitted mean": {"aggregation": "mean", "coupling": "mixed"},
    "emitted max": {"aggregation": "max", "coupling": "mixed"},
    "pairwise": {"messages": "pairwise", "coupling": "mixed", "aggregation": "max"},
    "symmetries": {
        "messages": "pairwise",
        "coupling": "superposed",
        "aggregation": "sum",
        "antisymmetric": True,
        "relative": ["x"],
    },
    "state": {"messages": "state", "first_message": "mlp"},
    "zero": {"messages": "zero"},
    "self": {"messages": "self", "coupling": "mixed", "first_message": "linear"},
    "l2s": {"model": "l2s"},
    "node": {"model": "node"},
}


def data(*, weighted: bool = True, circular: bool = False) -> xr.Dataset:
    """Four nodes with two features, a control, an attribute, and edges with weights and attributes."""
    rng = np.random.default_rng(0)
    sender, receiver = np.array([(0, 1), (1, 2), (2, 0), (1, 0), (0, 2)]).T  # 3 has no neighbour
    graph = pympnode.Graph.single(
        sender,
        receiver,
        4,
        weight=rng.uniform(0.5, 2, 5) if weighted else None,
        attribute=rng.normal(3, 2, (5, 1)),
        attribute_names=("length",),
    )
    return pympnode.from_arrays(
        np.cumsum(rng.normal(2, 0.1, (6, 5, 4, 2)), axis=1),
        dt=0.2,
        topology=graph,
        features=["x", "y"],
        control=rng.normal(size=(6, 5, 4, 1)),
        node_attribute=rng.normal(size=(4, 1)),
        circular={"x": 7.0} if circular else None,
    )


def trained(ds: xr.Dataset, **options: Any) -> pympnode.Model:
    options = {"hidden": 5, "updates": 1, "kernel": "eager", "dtype": "float64", **options}
    return pympnode.train(ds, progress=False, **options).model


def inputs(model: pympnode.Model, ds: xr.Dataset) -> dict[str, Any]:
    return {
        "x": ds.state.values[:, 1],
        "u": ds.control.values[:, 1],
        "node_attribute": ds.node_attribute.values,
    }


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("circular", [False, True], ids=["plain", "circular"])
def test_the_module_computes_what_the_model_computes(name: str, circular: bool) -> None:
    options = CASES[name]
    ds = data(weighted=name != "node", circular=circular)
    model = trained(ds, **options)
    if name == "node" and circular:
        with pytest.raises(InvalidModel, match="circle"):
            model.module()
        return
    given = inputs(model, ds)
    graph = graph_of(ds)
    m = None
    if model.spec.carried:
        m = np.random.default_rng(1).normal(size=(6, 4, model.spec.carried))
    dx, dm = model.vector_field(
        given["x"], m, given["u"], graph, node_attribute=given["node_attribute"]
    )
    module = model.module()
    state = torch.from_numpy(given["x"] if m is None else np.concatenate([given["x"], m], -1))
    found = module(
        state,
        **module.edges(graph),
        control=torch.from_numpy(given["u"]),
        node_attribute=torch.from_numpy(given["node_attribute"]),
    )
    expected = np.concatenate([dx, dm], axis=-1)
    assert np.allclose(found.detach().numpy(), expected, rtol=1e-9, atol=1e-12)
    # One trajectory alone, without the first axis.
    one = module(
        state[2],
        **module.edges(graph),
        control=torch.from_numpy(given["u"][2]),
        node_attribute=torch.from_numpy(given["node_attribute"]),
    )
    assert torch.allclose(one, found[2], rtol=1e-10, atol=1e-13)
    if model.spec.carried:
        first = module.initial(state[..., :2], torch.from_numpy(given["node_attribute"]))
        expected = model.initial_message(given["x"], given["node_attribute"])
        assert np.allclose(first[..., 2:].detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def graph_of(ds: xr.Dataset) -> pympnode.Graph:
    from pympnode.networks.schema import pack

    return pack(ds).graph


def test_gradients_are_those_of_differences() -> None:
    ds = data()
    module = trained(ds).module()
    x = torch.from_numpy(ds.state.values[0, 1])
    rest = dict(
        module.edges(graph_of(ds)),
        control=torch.from_numpy(ds.control.values[0, 1]),
        node_attribute=torch.from_numpy(ds.node_attribute.values),
    )
    names, values = zip(*module.named_parameters())

    def slope(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        given = dict(zip(names, weights))
        return torch.func.functional_call(module, given, (x,), rest)

    assert torch.autograd.gradcheck(slope, (x.requires_grad_(), *values))


def test_weights_go_into_a_model_again() -> None:
    ds = data()
    model = trained(ds)
    module = model.module()
    assert set(dict(module.named_parameters())) == set(model.weights)
    assert {"state_mean", "state_scale", "control_mean"} <= set(module.state_dict())
    with torch.no_grad():
        for value in module.parameters():
            value.mul_(1.5)
    assert np.array_equal(model.weights["layer_1_bias"], trained(ds).weights["layer_1_bias"])
    changed = pympnode.Model.from_module(module)
    assert np.array_equal(changed.theta, 1.5 * model.theta)
    assert changed.features == model.features
    with pytest.raises(InvalidOption, match="from_module"):
        pympnode.Model.from_module(torch.nn.Linear(1, 1))


RUN = """
import sys, numpy, torch
assert not any(name.split(".")[0] == "pympnode" for name in sys.modules)
sys.modules["pympnode"] = None
program = torch.export.load(sys.argv[1])
given = numpy.load(sys.argv[2])
out = program.module()(*(torch.from_numpy(given[name]) for name in ("state", "edge_index")))
numpy.save(sys.argv[3], out.detach().numpy())
"""


@pytest.mark.parametrize("where", ["here", pytest.param("elsewhere", marks=pytest.mark.slow)])
def test_an_exported_program_serves_other_sizes(where: str, tmp_path: Path) -> None:
    """Numbers of trajectories, nodes and edges other than those that it was exported with; elsewhere:
    from a file, in a process without this package."""
    ds = pympnode.simulate("kuramoto", nodes=4, topology="ring", trajectories=3, steps=3)
    model = pympnode.train(ds, hidden=4, updates=1, kernel="eager", progress=False).model
    module = model.module()
    batch, nodes, edges = (torch.export.Dim(name, min=2) for name in ("batch", "nodes", "edges"))
    example = torch.from_numpy(ds.state.values[:, 0]).float(), module.edges("ring", 4)["edge_index"]
    program = torch.export.export(
        module, example, dynamic_shapes=({0: batch, 1: nodes}, {1: edges}), strict=False
    )
    x = np.random.default_rng(0).normal(size=(5, 7, ds.sizes["feature"])).astype(np.float32)
    index = module.edges("path", 7)["edge_index"]
    if where == "here":
        found = program.module()(torch.from_numpy(x), index).detach().numpy()
    else:
        path, given, out = (tmp_path / name for name in ("field.pt2", "given.npz", "out.npy"))
        torch.export.save(program, path)
        np.savez(given, state=x, edge_index=index.numpy())
        command = [sys.executable, "-I", "-c", RUN, path, given, out]
        subprocess.run(command, check=True, cwd=tmp_path, timeout=120)
        found = np.load(out)
    expected, _ = model.vector_field(x, graph="path")
    assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_models_without_a_module_say_why() -> None:
    ds = data(weighted=False)
    model = trained(ds)
    with pytest.raises(InvalidModel, match="ensemble"):
        replace(model, theta=np.stack([model.theta] * 2)).module()
    coded = trained(ds, node_codes=1)
    with pytest.raises(InvalidModel, match="codes"):
        coded.module()
    with pytest.raises(InvalidModel, match="edge_index"):
        model.module()(
            torch.zeros(4, 2, dtype=torch.float64),
            control=torch.zeros(4, 1, dtype=torch.float64),
            node_attribute=torch.zeros(4, 1, dtype=torch.float64),
        )
    with pytest.raises(InvalidModel, match="control"):
        model.module()(torch.zeros(4, 2, dtype=torch.float64))
