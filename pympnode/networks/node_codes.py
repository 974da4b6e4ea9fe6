"""Codes of nodes: numbers that are learned for each node and stand for attributes that are not measured.

They are trained with the model (``node_codes=`` of `pympnode.train`) and enter it as further attributes
of the nodes. Those of other nodes are inferred from a short recording, by training the codes alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import least, positive
from ..datasets.names import NODE
from ..datasets.reading import as_dataset
from ..errors import InvalidData, InvalidModel, InvalidOption
from ..files.netcdf import checksum
from ..graph import Graph
from ..training.optimiser import Adam
from . import schema
from .agreement import agree
from .edge_weights import arrays_for_model, graph_for_program
from .engines.base import Batch
from .named_arrays import named_array
from .schema import Arrays
from .spec import ModelSpec
from .weights import CODE_UNIT, layout_of

CODED_GRAPH = "coded_graph"  # of the record of a model: checksum of the graph of its codes
_LONGEST = 25  # intervals of a window that codes are inferred from
_WINDOWS = 64  # at most, in an update
# Of the first loss: the weight of the mean square of codes in units of the spread of the trained ones.
_PRIOR = 0.003


def graph_checksum(graph: Graph) -> str:
    """A checksum of nodes and edges, without their weights."""
    return checksum(np.concatenate([graph.nodes, graph.sender, graph.receiver]))


def with_coded_nodes(spec: ModelSpec, arrays: Sequence[Arrays]) -> ModelSpec:
    """``spec`` with codes for the nodes of the graphs of ``arrays``. Raises `InvalidOption`."""
    if len(arrays) > 1:
        raise InvalidOption(
            "codes of nodes are learned from one dataset",
            got=f"{len(arrays)} datasets",
            allowed="one dataset",
            fix="join them: xr.concat([a, b], 'trajectory'), if their nodes are the same",
        )
    return spec.replace(coded_nodes=arrays[0].graph.total_nodes)


def codes_array(values: NDArray) -> xr.DataArray:
    """Codes ([member,] node, code) with named dims."""
    dims = ("member", NODE, "code")[-values.ndim :]
    return xr.DataArray(values, dims=dims, name="node_code")


def with_codes(
    model: Any, arrays: Arrays, attribute: NDArray | None, node_code: Any
) -> NDArray | None:
    """Scaled attributes of a rollout with codes as their last columns; as they are for a model without.

    node_code: (node, code) or (trajectory, node, code); None takes the trained ones. Raises `InvalidData`
    where there are none of these nodes.
    """
    spec = model.spec
    trajectories, _, nodes, _ = arrays.x.shape
    if not spec.codes:
        if node_code is not None:
            raise InvalidData(
                "the model has no codes of nodes",
                got=f"node_code of shape {np.shape(node_code)}",
                allowed="a model that was trained with node_codes=",
                fix="leave node_code out; attributes that are known are node_attribute",
            )
        return attribute
    if node_code is None:
        if model.about.get(CODED_GRAPH) != graph_checksum(arrays.graph):
            raise InvalidData(
                "the codes of these nodes are not known: they are on another graph than those trained on",
                got=f"{arrays.graph.graphs} graphs, {nodes} nodes, {arrays.graph.edges} edges",
                allowed="the training graph, or node_code=",
                fix="rollout(..., node_code=model.infer(prefix)), prefix a short recording of these nodes",
            )
        codes = model.weights["node_code"].reshape(-1, nodes, spec.codes)[arrays.graph_of]
    else:
        dims = ("trajectory", NODE, "code")
        read = named_array("node_code", node_code, dims[-np.ndim(node_code) :])
        codes = read.values
        if codes.shape not in ((nodes, spec.codes), (trajectories, nodes, spec.codes)):
            raise InvalidData(
                "node_code does not fit the nodes",
                got=np.shape(node_code),
                allowed=f"({nodes}, {spec.codes}): (node, code), or with the trajectories first",
                fix="node_code=model.infer(prefix)",
            )
    codes = CODE_UNIT * codes
    if attribute is None:
        return codes
    wide = (trajectories, nodes)
    given = np.broadcast_to(attribute, (*wide, attribute.shape[-1]))
    return np.concatenate([given, np.broadcast_to(codes, (*wide, spec.codes))], axis=-1)


def infer_codes(model: Any, prefix: Any, updates: int, learning_rate: float) -> xr.DataArray:
    """See `Model.infer`."""
    least(1)("updates", updates)
    positive("learning_rate", learning_rate)
    if not model.spec.codes or model.members > 1:
        raise InvalidModel(
            "codes are inferred for one model that has some",
            got=f"codes of {model.spec.codes} numbers, {model.members} members",
            allowed="a model that was trained with node_codes=, members=1",
            fix="train(..., node_codes=2), or model.member(0)",
        )
    ds = agree(as_dataset(prefix), model.names)
    arrays = schema.pack(ds, missing="mask")
    model.check(arrays)
    arrays = arrays_for_model(model, arrays)
    scaled = replace(
        arrays,
        x=model.state_scale.apply(arrays.x).astype(model.theta.dtype),
        time=arrays.time / model.time_scale,
        graph=graph_for_program(model, arrays.graph),
        u=None if arrays.u is None else model.control_scale.apply(arrays.u),
        attribute=None
        if arrays.attribute is None
        else model.attribute_scale.apply(arrays.attribute),
    )
    spec = model.spec.replace(coded_nodes=arrays.graph.total_nodes)
    layout = layout_of(spec)
    first = layout.offsets["node_code"]
    trained = model.weights["node_code"].astype(np.float64)
    mean, factor = trained.mean(axis=0), _spread(trained)
    theta = np.concatenate([model.theta[:first], np.tile(mean, spec.coded_nodes)])
    program = replace(model, spec=spec, theta=theta.astype(model.theta.dtype)).bind([scaled])
    batch = _windows(scaled)
    # In units of the spread of the trained codes: what these did not need, new ones do not use.
    units = np.zeros((1, spec.coded_nodes * spec.codes))
    optimiser, value, prior = Adam(), np.nan, 0.0
    state = optimiser.start(units)
    for count in range(1, updates + 1):
        codes = mean + units.reshape(-1, spec.codes) @ factor.T
        theta[first:] = codes.ravel()
        value, gradient = program.loss_and_gradient(theta.astype(model.theta.dtype), batch)
        if count == 1:
            prior = _PRIOR * value / units.size
        slope = gradient[first:].astype(np.float64).reshape(codes.shape) @ factor
        slope = slope.reshape(1, -1) + prior * units
        # A falling rate, so that the last codes do not swing about the best ones.
        rate = np.array([learning_rate * (1 - (count - 1) / updates)])
        units = optimiser.update(units, slope, rate, state, count)
    if not np.isfinite(codes).all():
        raise InvalidData(
            "the codes are not finite: the rollouts of the prefix overflow",
            got=f"loss {value}",
            allowed="data inside the range that the model was trained on",
            fix="give a shorter prefix, or a smaller learning_rate",
        )
    out = codes_array(codes)
    return out.assign_attrs(loss=float(value))


def _spread(codes: NDArray[np.float64]) -> NDArray[np.float64]:
    """A factor L of the covariance L L' of codes (node, code)."""
    away = codes - codes.mean(axis=0)
    covariance = away.T @ away / len(codes)
    values, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(values, 1e-12 + 1e-6 * values.max()))


def _windows(arrays: Arrays) -> Batch:
    """Windows of at most 25 intervals over all of the data; some of them where they are many."""
    horizon = min(arrays.steps, _LONGEST)
    starts = np.arange(0, arrays.steps - horizon + 1, horizon)
    if not arrays.even:
        starts = starts[:1]  # windows of a batch start together on an uneven grid
    trajectory, start = (a.ravel() for a in np.meshgrid(np.arange(arrays.trajectories), starts))
    some = np.unique(np.linspace(0, len(start) - 1, min(len(start), _WINDOWS)).astype(int))
    return Batch(trajectory[some], start[some], horizon)
