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
from scipy.optimize import minimize

from ..config import least
from ..datasets.names import NODE
from ..datasets.reading import as_dataset
from ..errors import InvalidData, InvalidModel, InvalidOption
from ..files.netcdf import checksum
from ..graph import Graph
from . import schema
from .agreement import agree
from .arrays import Arrays
from .edge_weights import arrays_for_model, graph_for_program
from .engines.base import Batch
from .named_arrays import named_array
from .spec import ModelSpec
from .velocities import for_model
from .weights import CODE_UNIT, layout_of

CODED_GRAPH = "coded_graph"  # of the record of a model: checksum of the graph of its codes
_LONGEST = 25  # intervals of a window that codes are inferred from
_WINDOWS = 64  # at most, in an update
# Of the first loss: the weight of the mean square of codes in units of the spread of the trained ones.
_PRIOR = 0.01
_TOLERANCE = 1e-6  # of the fall of the loss in an update, of the first loss: the inference is done


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

    node_code: (node, code), of several graphs their nodes one after the other, or of one for all of
    them; or (trajectory, node, code). None takes the trained ones. Raises
    `InvalidData` where there are none of these nodes.
    """
    spec = model.spec
    trajectories, _, nodes, _ = arrays.x.shape
    if not spec.codes:
        if node_code is not None:
            raise InvalidData(
                "the model has no codes of nodes",
                got=f"node_code, a {type(node_code).__name__}",
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
        codes = named_array("node_code", node_code, dims, optional=dims[:1]).values
        if codes.ndim == 3 and len(codes) == 1:
            codes = codes[0]
        graphs = arrays.graph.graphs
        if codes.shape == (graphs * nodes, spec.codes):
            codes = codes.reshape(graphs, nodes, spec.codes)[arrays.graph_of]
        elif codes.shape not in ((nodes, spec.codes), (trajectories, nodes, spec.codes)):
            raise InvalidData(
                "node_code does not fit the nodes",
                got=codes.shape,
                allowed=f"({nodes}, {spec.codes}): (node, code), or with the trajectories first",
                fix="node_code=model.infer(prefix)",
            )
    codes = CODE_UNIT * codes
    if attribute is None:
        return codes
    wide = (trajectories, nodes)
    given = np.broadcast_to(attribute, (*wide, attribute.shape[-1]))
    return np.concatenate([given, np.broadcast_to(codes, (*wide, spec.codes))], axis=-1)


def infer_codes(model: Any, prefix: Any, updates: int) -> xr.DataArray:
    """See `Model.infer`."""
    least(1)("updates", updates)
    if not model.spec.codes or model.members > 1:
        raise InvalidModel(
            "codes are inferred for one model that has some",
            got=f"codes of {model.spec.codes} numbers, {model.members} members",
            allowed="a model that was trained with node_codes=, members=1",
            fix="train(..., node_codes=2), or model.member(0)",
        )
    ds = schema.validate(as_dataset(prefix), missing="mask")
    ds = agree(for_model(ds, model.features), model.names)
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
    size = spec.coded_nodes * spec.codes
    prior = 0.0

    def loss(units: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        codes = mean + units.reshape(-1, spec.codes) @ factor.T
        theta[first:] = codes.ravel()
        value, gradient = program.loss_and_gradient(theta.astype(model.theta.dtype), batch)
        slope = (gradient[first:].astype(np.float64).reshape(codes.shape) @ factor).ravel()
        if not np.isfinite(value) or not np.isfinite(slope).all():
            return np.inf, np.zeros(size)
        return value / unit + prior / 2 * units @ units, slope / unit + prior * units

    unit = 1.0
    value, _ = loss(np.zeros(size))
    if not np.isfinite(value):
        raise InvalidData(
            "the codes are not finite: the rollouts of the prefix overflow",
            got=f"loss {value}",
            allowed="data inside the range that the model was trained on",
            fix="give a shorter prefix",
        )
    # Of the first loss, so that the optimiser's tolerances do not depend on the scale of the data.
    unit, prior = max(value, 1e-30), _PRIOR / size
    found = minimize(loss, np.zeros(size), jac=True, method="L-BFGS-B",
                     options={"maxiter": updates, "ftol": _TOLERANCE, "gtol": 0.0})  # fmt: skip
    codes = mean + found.x.reshape(-1, spec.codes) @ factor.T
    final = unit * (found.fun - prior / 2 * found.x @ found.x)
    return codes_array(codes).assign_attrs(loss=float(final))


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
