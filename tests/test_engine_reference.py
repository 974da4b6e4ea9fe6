"""The plain kernel against numbers made by a real Julia and by an independent torch program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from golden_files import found_files, is_cut, is_selection, skip_selection

from pympnode.graph import Graph
from pympnode.networks.engines.base import Batch
from pympnode.networks.engines.torch.engine import TorchEngine
from pympnode.networks.schema import Arrays
from pympnode.networks.spec import ModelSpec
from pympnode.networks.weights import layout_of

KERNELS = ["eager", "torch", "numba"]


def golden(folder: Path, pattern: str) -> list[Path]:
    """Files of a pattern; a folder of one's own that holds none is an error, not a skip."""
    return found_files(folder / "mpnode", pattern)


def load(path: Path) -> dict[str, np.ndarray]:
    with np.load(path, allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


def spec_of(path: Path, data: dict[str, np.ndarray]) -> ModelSpec:
    """The specification that a file's name and shapes describe."""
    parts = path.stem.split("_")
    channels, controls = data["x_data"].shape[-1], data["u"].shape[-1]
    common = {"channels": channels, "controls": controls}
    if parts[0] == "l2s":
        hidden = data["encoder_bias"].shape[0]
        depth = int(next(p for p in parts if p.startswith("depth"))[5:])
        return ModelSpec(family="l2s", depth=depth, hidden=hidden, aggregation="sum", **common)
    if parts[0] == "node":
        return ModelSpec(family="node", **common)
    if parts[0] == "variant":
        options = {"messages": parts[1], "coupling": parts[2]}
        options["first_message"] = parts[3].removeprefix("first")
        width = data["layer_3_bias"].shape[0]
        if options["messages"] == "emitted":
            message = data["emit_layer_2_bias"].shape[0]
        elif options["coupling"] == "mixed":
            message = width - channels
        else:
            message = data["rk4_rollout_m"].shape[-1]
        return ModelSpec(message=message, aggregation="sum", divisor=2.5, **common, **options)
    message = data["layer_3_bias"].shape[0] - channels
    aggregation = next(p for p in parts if p in ("mean", "sum", "none"))
    messages = "zero" if aggregation == "none" else "state"
    aggregation = "mean" if aggregation == "none" else aggregation
    return ModelSpec(message=message, aggregation=aggregation, messages=messages, **common)


def graphs_of(data: dict[str, np.ndarray]) -> tuple[Graph, np.ndarray]:
    """The graphs of a file: column k of P is what node k receives."""
    nodes = data["x0"].shape[1]
    matrices = data["P"] if "P" in data else np.zeros((nodes, nodes))
    if "adjacency" in data:
        matrices = data["adjacency"]
    matrices = matrices.reshape(-1, nodes, nodes)
    graphs = []
    for matrix in matrices:
        sender, receiver = np.nonzero(matrix)
        graphs.append(Graph.single(sender, receiver, nodes))
    of = data.get("graph", np.zeros(len(data["x0"]), dtype=np.int64))
    return Graph.union(graphs), of


def bound(path: Path, kernel: str, **changes: object):
    data = load(path)
    spec = spec_of(path, data).replace(**changes)
    graph, of = graphs_of(data)
    times = float(data["dt"]) * np.arange(data["x_data"].shape[1])
    u = data["u"] if data["u"].shape[-1] else None
    arrays = Arrays(data["x_data"], times, graph, of, u)
    if kernel != "eager" and spec.family == "l2s":
        pytest.skip("L2S runs through autograd by design")
    program = TorchEngine().bind(spec, [arrays], dtype="float64", kernel=kernel)
    names = layout_of(spec).shapes
    theta = layout_of(spec).pack({name: data[name] for name in names})
    batch = Batch(np.arange(len(of)), np.zeros(len(of), np.int64), len(times) - 1)
    return data, program, theta, batch, (graph, of, times, u)


def each(folder: Path, *patterns: str) -> list[Path]:
    """Files of several patterns; of the selection those that are there."""
    if is_selection(folder):
        patterns = tuple(p for p in patterns if any((folder / "mpnode").glob(p)))
    return [path for pattern in patterns for path in golden(folder, pattern)]


def test_reference_fields(reference_dir: Path) -> None:
    for path in each(reference_dir, "mpnode_*.npz", "variant_*.npz", "l2s_*.npz", "node_*.npz"):
        data, program, theta, _, (graph, of, _, _) = bound(path, "eager")
        u = data["field_u"] if data["field_u"].shape[-1] else None
        slope = program.field(theta, data["field_z"], graph, graph_of=of, u=u)
        np.testing.assert_allclose(slope, data["field_dz"], rtol=0, atol=1e-12, err_msg=path.name)


@pytest.mark.parametrize("kernel", KERNELS)
def test_reference_rk4_rollouts_losses_gradients(reference_dir: Path, kernel: str) -> None:
    files = each(reference_dir, "mpnode_*.npz", "variant_*.npz")
    for path in files:
        data, program, theta, batch, (graph, of, times, u) = bound(path, kernel)
        if not is_cut(path, data, "rk4_rollout_x"):
            rollout = program.rollout(theta, data["x0"], graph, times, graph_of=of, u=u)
            np.testing.assert_allclose(
                rollout.state, data["rk4_rollout_x"], rtol=0, atol=1e-10, err_msg=path.name
            )
        if "rk4_rollout_m" in data:
            np.testing.assert_allclose(
                rollout.message, data["rk4_rollout_m"], rtol=0, atol=1e-10, err_msg=path.name
            )
        value, gradient = program.loss_and_gradient(theta, batch)
        assert abs(value - float(data["rk4_loss"])) < 1e-10, path.name
        assert abs(program.loss(theta, batch) - float(data["rk4_loss"])) < 1e-10, path.name
        for name, part in program.layout.unpack(gradient).items():
            expected = data[f"rk4_grad_{name}"]
            np.testing.assert_allclose(
                part, expected, rtol=1e-10, atol=1e-10, err_msg=f"{path.name} {name}"
            )


@pytest.mark.parametrize("kernel", KERNELS)
def test_reference_adaptive_goldens(reference_dir: Path, kernel: str) -> None:
    """Sixteen RK4 substeps of dt = 0.1 leave 2e-8 at most; the goldens are continuous solutions."""
    # L2S runs through autograd alone, and is then the slowest; the eager steps of the rest are
    # compared above.
    patterns = ("l2s_*.npz",) if kernel == "eager" else ("mpnode_*.npz", "node_*.npz")
    files = each(reference_dir, *patterns)
    files = [path for path in files if not is_cut(path, load(path), "rollout_x", "loss")]
    if not files:
        skip_selection("no continuous solution")
    for path in files:
        data, program, theta, batch, (graph, of, times, u) = bound(path, kernel, substeps=16)
        rollout = program.rollout(theta, data["x0"], graph, times, graph_of=of, u=u)
        np.testing.assert_allclose(
            rollout.state, data["rollout_x"], rtol=0, atol=1e-7, err_msg=path.name
        )
        value, gradient = program.loss_and_gradient(theta, batch)
        assert abs(value - float(data["loss"])) < 1e-7 * abs(float(data["loss"])), path.name
        for name, part in program.layout.unpack(gradient).items():
            expected = data[f"grad_{name}"]
            scale = max(1.0, np.abs(expected).max())
            np.testing.assert_allclose(
                part, expected, rtol=0, atol=1e-6 * scale, err_msg=f"{path.name} {name}"
            )
