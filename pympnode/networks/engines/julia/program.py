"""The Program of the Julia engine: model and data are in the worker, calls send indices."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....edge_values import weights_in_words
from ....errors import EngineUnavailable, InvalidOption
from ....graph import Graph
from ...arrays import Arrays
from ...spec import ModelSpec
from ...weights import layout_of
from ..base import Batch, Rollout
from ..whole_system import single_node, stack_attribute, stack_nodes, stack_spec
from .client import JuliaClient


class JuliaProgram:
    """Rollouts, losses and gradients of one specification (see `engines.base.Program`).

    ``kernel`` is the name of the adjoint. When the worker has ended, the next call binds model and
    data in a new one.
    """

    device = "cpu"

    def __init__(
        self,
        client: JuliaClient,
        spec: ModelSpec,
        arrays: list[Arrays] | None,
        *,
        dtype: str,
        adjoint: str,
        tolerance: float,
        horizon: bool,
    ) -> None:
        self.spec = spec
        self.layout = layout_of(spec)
        self.dtype = np.dtype(dtype)
        self.kernel = adjoint
        self._client = client
        self._inner = stack_spec(spec)
        # Julia divides the loss by its number of nodes, which is 1 where all nodes are one large one.
        self._bodies = spec.bodies if spec.family == "node" else 1
        arrays = arrays or []
        self._data = [stack_nodes(a) for a in arrays] if spec.family == "node" else arrays
        self._steps = np.concatenate(
            [np.full(a.trajectories, a.steps) for a in arrays] or [np.zeros(0)]
        )
        self._options = {
            "dtype": dtype,
            "adjoint": adjoint,
            "tolerance": tolerance,
            "horizon": horizon,
            **{n: v for n, v in self._inner.as_dict().items() if n not in ("bodies", "stride")},
        }
        self._in_worker = (0, 0)  # generation of the worker, number of the program in it

    def loss_and_gradient(self, theta: NDArray, batch: Batch) -> tuple[float, NDArray]:
        """See `engines.base.Program`. Datasets of different size add up, weighted by nodes."""
        result = self._call("loss_and_gradient", theta=self._vector(theta), **self._batch(batch))
        return result["loss"] / self._bodies, result["gradient"] / self.dtype.type(self._bodies)

    def loss(self, theta: NDArray, batch: Batch) -> float:
        """See `engines.base.Program`."""
        value = self._call("loss", theta=self._vector(theta), **self._batch(batch))
        return value / self._bodies

    def rollout_vjp(
        self, theta: NDArray, batch: Batch, output_gradient: NDArray
    ) -> tuple[NDArray, NDArray]:
        """Raises `EngineUnavailable`: the worker differentiates its own loss only."""
        raise EngineUnavailable(
            "the Julia engine has no vector-Jacobian product of a rollout",
            got='rollout_vjp on engine="julia"',
            allowed='engine="torch"',
            fix='engine="torch" differentiates any function of a rollout',
        )

    def initial_message(
        self,
        theta: NDArray,
        x: NDArray,
        attribute: NDArray | None = None,
        node_type: NDArray[np.int64] | None = None,
    ) -> NDArray:
        """See `engines.base.Program`; this engine takes no types of nodes."""
        if not self.spec.carried:
            return np.zeros((*x.shape[:2], 0), dtype=self.dtype)
        # The worker has no call for it: a rollout over no time begins with it.
        none = Graph.single(np.zeros(0, np.int64), np.zeros(0, np.int64), x.shape[1])
        controls = self.spec.controls
        u = np.zeros((len(x), 2, x.shape[1], controls)) if controls else None
        times = np.array([0.0, 1e-12])
        return self.rollout(theta, x, none, times, u=u, attribute=attribute).message[:, 0]

    def rollout(
        self,
        theta: NDArray,
        x0: NDArray,
        graph: Graph,
        times: NDArray[np.float64],
        *,
        graph_of: NDArray[np.int64] | None = None,
        u: NDArray | None = None,
        attribute: NDArray | None = None,
        edge_weight: NDArray | None = None,
        history: NDArray | None = None,
    ) -> Rollout:
        """See `engines.base.Program`."""
        _refuse_in_time(edge_weight)
        batch, nodes, features = x0.shape
        if self.spec.family == "node":
            x0 = x0.reshape(batch, 1, -1)
        states = self._call(
            "rollout",
            theta=self._vector(theta),
            x0=np.asarray(x0, self.dtype),
            time=np.asarray(times, np.float64),
            **self._inputs(batch, graph, graph_of, u, attribute),
        )
        channels = self._inner.channels
        x, m = states[..., :channels], states[..., channels:]
        if self.spec.family == "node":
            x = x.reshape(*x.shape[:2], nodes, features)
            m = np.zeros((*x.shape[:3], 0), dtype=x.dtype)
        return Rollout(x, m, np.isfinite(states).all(axis=(1, 2, 3)))

    def prefix(self, graph: Graph, dt: float) -> int:
        """See `engines.base.Program`: delays are refused here."""
        return 0

    def field(
        self,
        theta: NDArray,
        z: NDArray,
        graph: Graph,
        *,
        graph_of: NDArray[np.int64] | None = None,
        u: NDArray | None = None,
        attribute: NDArray | None = None,
    ) -> NDArray:
        """See `engines.base.Program`; u (trajectory, node, control)."""
        flat = z.reshape(z.shape[0], 1, -1) if self.spec.family == "node" else z
        one_time = None if u is None else u[:, None]
        inputs = self._inputs(z.shape[0], graph, graph_of, one_time, attribute)
        if inputs["u"] is not None:
            inputs["u"] = inputs["u"][:, 0]
        rate = self._call(
            "field", theta=self._vector(theta), z=np.asarray(flat, self.dtype), **inputs
        )
        return rate.reshape(z.shape)

    # ---- the program in the worker ------------------------------------------------------------

    def _call(self, operation: str, **arguments: Any) -> Any:
        self._client.start()
        if self._in_worker[0] != self._client.generation:
            number = self._client.call("program", options=self._options)
            self._in_worker = (self._client.generation, number)
            weakref.finalize(self, self._client.release, *self._in_worker)
            for arrays in self._data:
                self._client.call("bind", program=number, **self._bound(arrays))
        return self._client.call(operation, program=self._in_worker[1], **arguments)

    def _bound(self, arrays: Arrays) -> dict[str, Any]:
        _refuse_in_time(arrays.edge_weight)
        x = arrays.x if arrays.mask is None else np.nan_to_num(arrays.x)
        return {
            "x": np.asarray(x, self.dtype),
            "time": np.asarray(arrays.time, np.float64),
            "graph": edges_of(arrays.graph),
            "graph_of": np.asarray(arrays.graph_of, np.int64),
            "u": self._real(None if arrays.u is None else np.nan_to_num(arrays.u)),
            "attribute": self._real(_shared(arrays.attribute)),
            "mask": self._real(arrays.mask),
        }

    def _real(self, values: NDArray | None) -> NDArray | None:
        return None if values is None or not values.size else np.asarray(values, self.dtype)

    def _vector(self, theta: NDArray) -> NDArray:
        theta = np.asarray(theta, self.dtype)
        if theta.shape != (self.layout.size,):
            raise InvalidOption(
                "theta has another length than the model", got=theta.shape, allowed=self.layout.size
            )
        return theta

    def _batch(self, batch: Batch) -> dict[str, Any]:
        trajectory = np.asarray(batch.trajectory, np.int64)
        start = np.asarray(batch.start, np.int64)
        total = len(self._steps)
        if not trajectory.size or trajectory.min() < 0 or trajectory.max() >= total:
            raise InvalidOption(
                "a batch has trajectory numbers that the bound data do not have",
                got=f"{trajectory.min()} to {trajectory.max()}" if trajectory.size else "none",
                allowed=f"0 to {total - 1}",
            )
        if (
            batch.horizon < 1
            or np.any(start < 0)
            or np.any(start + batch.horizon > self._steps[trajectory])
        ):
            raise InvalidOption(
                "a window reaches beyond its trajectory",
                got=f"starts {start.min()} to {start.max()}, horizon {batch.horizon}",
                allowed=f"{int(self._steps[trajectory].min())} intervals",
            )
        return {"trajectory": trajectory, "start": start, "horizon": int(batch.horizon)}

    def _inputs(
        self,
        batch: int,
        graph: Graph,
        graph_of: NDArray[np.int64] | None,
        u: NDArray | None,
        attribute: NDArray | None,
    ) -> dict[str, Any]:
        if graph_of is None:
            graph_of = np.zeros(batch, np.int64)
        if self.spec.family == "node":
            u = None if u is None else u.reshape(*u.shape[:2], 1, -1)
            attribute = stack_attribute(attribute)
            graph, graph_of = single_node(), np.zeros(batch, np.int64)
        return {
            "graph": edges_of(graph),
            "graph_of": np.asarray(graph_of, np.int64),
            "u": self._real(None if u is None else np.nan_to_num(u)),
            "attribute": self._real(_shared(attribute)),
        }


def _shared(attribute: NDArray | None) -> NDArray | None:
    """Attributes that all trajectories share. Raises `InvalidOption` for others."""
    if attribute is not None and attribute.ndim == 3:
        raise InvalidOption(
            "the Julia engine takes no node attributes that differ by trajectory yet",
            got=f"node_attribute of shape {attribute.shape}: (trajectory, node, attribute)",
            allowed='node_attribute (node, attribute), or engine="torch"',
            fix='engine="torch", or model.to_engine("torch")',
        )
    return attribute


def _refuse_in_time(edge_weight: NDArray | None) -> None:
    """Raise `InvalidOption` for weights of edges that vary in time."""
    if edge_weight is not None:
        raise InvalidOption(
            "the Julia engine takes no weights of edges yet",
            got=f"weights that vary in time, shape {np.shape(edge_weight)}",
            allowed='a graph without weights, or engine="torch"',
            fix='engine="torch", or model.to_engine("torch"); ignore_weights=True leaves them out',
        )


def edges_of(graph: Graph) -> dict[str, NDArray[np.int64]]:
    """The edges of a graph as arrays, for the protocol. Raises `InvalidOption` for edges with weights or delays."""
    if graph.delay is not None and graph.delay.any():
        raise InvalidOption(
            "the Julia engine takes no delays",
            got=f"delays up to {graph.delay.max():g}",
            allowed='a graph without delays, or engine="torch"',
            fix='engine="torch", or model.to_engine("torch")',
        )
    if graph.weight is not None:
        raise InvalidOption(
            "the Julia engine takes no weights of edges yet",
            got=weights_in_words(graph.weight),
            allowed='a graph without weights, or engine="torch"',
            fix='engine="torch", or model.to_engine("torch"); ignore_weights=True leaves them out',
        )
    return {
        "sender": np.asarray(graph.sender, np.int64),
        "receiver": np.asarray(graph.receiver, np.int64),
        "nodes": np.asarray(graph.nodes, np.int64),
    }
