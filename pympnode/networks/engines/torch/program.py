"""The torch engine's Program: holds the data, gathers windows, runs the kernel that was chosen."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ....errors import EngineUnavailable, InvalidData, InvalidGraph, InvalidModel, InvalidOption
from ....graph import Graph
from ...arrays import Arrays
from ...partition import Part
from ...spec import ModelSpec
from ...weights import CODE_UNIT, layout_of, without_codes_in_messages
from ..base import Batch, Rollout
from ..columns import Columns
from ..delays import Delays, prefix_for, slopes_of, stencil
from ..whole_system import single_node, stack_attribute, stack_nodes, stack_spec
from . import kernel_eager as eager
from .kernel_torch.halo import Halo
from .kernels import name_of, refuses_partition, refuses_past
from .plain import PlainForm
from .window import Window, from_columns, to_columns

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class _BoundData:
    """One dataset on the device of the program."""

    def __init__(
        self, spec: ModelSpec, arrays: Arrays, dtype: torch.dtype, device: torch.device
    ) -> None:
        def tensor(values: NDArray) -> torch.Tensor:
            return torch.as_tensor(np.ascontiguousarray(values), device=device).to(dtype)

        # A masked NaN must not enter arithmetic, because 0 times NaN is NaN.
        self.x = tensor(arrays.x if arrays.mask is None else np.nan_to_num(arrays.x))
        self.u = None if arrays.u is None else tensor(np.nan_to_num(arrays.u))
        self.mask = None if arrays.mask is None else tensor(arrays.mask)
        self.attribute = None if arrays.attribute is None else tensor(arrays.attribute)
        self.dt = np.diff(arrays.time)
        self.even = arrays.even
        # Weights of the last time are of no interval, and may be missing.
        weight = None if arrays.edge_weight is None else np.nan_to_num(arrays.edge_weight)
        self.edge_weight = None if weight is None else tensor(weight)
        self.graph, self.graph_of, self.part = arrays.graph, arrays.graph_of, arrays.part
        self._columns: dict[bytes, Columns] = {}
        self._delays: dict[Columns, Delays | None] = {}
        # Slopes of the past, where some message is delayed.
        self.prefix = prefix_for(spec, self.graph, float(self.dt[0]))
        self.slope = None
        if self.prefix:
            x = np.moveaxis(self.x.cpu().numpy(), 1, 0)
            slopes = slopes_of(x, float(self.dt[0])).astype(x.dtype)
            self.slope = tensor(np.moveaxis(slopes, 0, 1))

    def share_columns(self, other: _BoundData) -> None:
        """Use the columns of data on the same graphs."""
        self._columns, self._delays = other._columns, other._delays

    def delays(self, spec: ModelSpec, columns: Columns) -> Delays | None:
        """The delays on ``columns``, which `arrange` has made."""
        if not self.prefix:
            return None
        if columns not in self._delays:
            self._delays[columns] = Delays.of(spec, columns, float(self.dt[0]))
        return self._delays[columns]

    def arrange(self, index: NDArray[np.int64]) -> Columns:
        """The columns of some trajectories, cached: the kernels cache their plans by them."""
        graph_of = self.graph_of[index]
        # On a single graph the columns depend on the number of trajectories only.
        single = len(self.graph.nodes) == 1
        key = len(graph_of).to_bytes(8, "little") if single else graph_of.tobytes()
        if key not in self._columns:
            if len(self._columns) > 64:
                # Kernels keep plans and matrices for as long as the columns exist.
                self._columns.clear()
                self._delays.clear()
            self._columns[key] = Columns.arrange(self.graph, graph_of)
        return self._columns[key]


class TorchProgram:
    """Rollouts, losses and gradients of one specification (see `engines.base.Program`)."""

    def __init__(
        self,
        spec: ModelSpec,
        arrays: list[Arrays] | None,
        *,
        dtype: str,
        device: str,
        kernel: ModuleType,
    ) -> None:
        self.spec = spec
        self.layout = layout_of(spec)
        self.dtype = np.dtype(dtype)
        self.device = torch.device(device)
        self.kernel = name_of(kernel)
        self._kernel = kernel
        self._dtype = DTYPES[dtype]
        # One neural ODE for all nodes is the family without messages on a single, larger node.
        self._inner = stack_spec(spec.with_given_codes if spec.codes else spec)
        self._used = without_codes_in_messages(spec).astype(dtype) if spec.codes else None
        self._given = self.layout.offsets.get("node_code", self.layout.size)
        # The faster kernels compute the plain form; the eager one computes the model as it is.
        self._plain = None if self.kernel == "eager" else PlainForm.of(self._inner)
        self._computed = self._inner if self._plain is None else self._plain.spec
        # Another loss than the one that the kernels compute; see `losses.Measure`.
        self.measure: Any = None
        self._bind(arrays or [])

    def _bind(self, arrays: list[Arrays]) -> None:
        arrays = [stack_nodes(a) for a in arrays] if self.spec.family == "node" else arrays
        arrays = [replace(a, graph=self._typed(a.graph)) for a in arrays]
        self._data = [_BoundData(self._inner, a, self._dtype, self.device) for a in arrays]
        sizes = [a.trajectories for a in arrays]
        self._first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self._halos: dict[int, Halo] = {}
        self.part = self._data[0].part if self._data else None
        if self.part is not None:
            self._require_partitioned()

    def rebound(self, arrays: list[Arrays]) -> TorchProgram:
        """This program on other trajectories of the first dataset's graphs.

        What was arranged for these graphs is shared: the kernels keep plans by it.
        """
        other = copy.copy(self)
        other._bind(arrays)
        for data in other._data:
            data.share_columns(self._data[0])
        return other

    def _require_partitioned(self) -> None:
        reason = refuses_partition(self.kernel, self.spec)
        if reason is not None or any(data.part is not self.part for data in self._data):
            raise EngineUnavailable(
                "this model does not train on a graph that is divided among processes",
                got=reason or f"{len(self._data)} datasets",
                allowed='one graph, kernel="torch", messages of one type of nodes without delays',
                fix="leave partition out",
            )

    def _halo(self, part: Part, width: int) -> Halo:
        """The halo in columns of ``width`` trajectories; its index is made once."""
        if width not in self._halos:
            like = torch.empty(0, dtype=self._dtype, device=self.device)
            self._halos[width] = Halo(part, width, like)
        return self._halos[width]

    @property
    def sent_bytes(self) -> int:
        """Bytes that this process has sent to those that hold other nodes of the graph."""
        return sum(halo.sent_bytes for halo in self._halos.values())

    def _typed(self, graph: Graph) -> Graph:
        """The graph with types of nodes as the model has them: none, or numbers below their number."""
        names = self.spec.node_types
        if not names:
            return graph if graph.node_type is None else graph.with_types(None)
        types = graph.type_or_zeros
        if types.max() >= len(names):
            raise InvalidGraph(
                "the graph has types of nodes that the model does not have",
                got=f"type {types.max()}",
                allowed=", ".join(f"{i} ({name})" for i, name in enumerate(names)),
                fix="train a model on data with all types",
            )
        return graph if graph.node_type is not None else graph.with_types(types)

    def theta(self, values: NDArray) -> torch.Tensor:
        """A parameter vector on the device."""
        return torch.as_tensor(np.ascontiguousarray(values), device=self.device).to(self._dtype)

    def _given_weights(self, values: NDArray) -> NDArray:
        """The weights without the codes, and without those of codes in messages."""
        return values if self._used is None else (self._used * values)[: self._given]

    def _computed_theta(self, values: NDArray) -> torch.Tensor:
        """The weights that the kernel takes."""
        values = self._given_weights(values)
        return self.theta(values if self._plain is None else self._plain.expand(values))

    def _gradient(self, computed: torch.Tensor, window: Window, member: NDArray) -> NDArray:
        """The gradient (size,) of the model's weights from that of the weights the kernel takes, and of
        codes from that of the attributes of ``window``. ``member``: graphs of its trajectories."""
        gradient = computed.cpu().numpy()
        gradient = gradient if self._plain is None else self._plain.fold(gradient)
        if self._used is not None:
            gradient = gradient * self._used[: self._given]
        if window.attribute_bar is None:
            return gradient
        bar = window.attribute_bar.unsqueeze(0)
        of_nodes = from_columns(bar, window.columns)[:, 0].cpu().numpy()
        codes = np.zeros((self.spec.coded_nodes // of_nodes.shape[1], *of_nodes.shape[1:]))
        np.add.at(codes, member, of_nodes)
        return np.concatenate([gradient, (CODE_UNIT * codes).ravel().astype(gradient.dtype)])

    def loss_and_gradient(self, theta: NDArray, batch: Batch) -> tuple[float, NDArray]:
        """See `engines.base.Program`. Datasets of different size add up, weighted by columns."""
        total, gradient = 0.0, np.zeros(self.layout.size, dtype=self.dtype)
        vector = self._computed_theta(theta)
        for window, member in self._windows(batch, theta):
            value, of_dataset = self._loss_and_gradient(vector, window)
            total += value
            gradient += self._gradient(of_dataset, window, self._graphs_of(batch, member))
        if self.part is None:
            return total, gradient
        # Each process has the loss of its own nodes, and what they add to the gradient.
        sums = self.part.group.sum(np.concatenate([[total], gradient]))
        return float(sums[0]), sums[1:].astype(self.dtype)

    def _loss_and_gradient(
        self, vector: torch.Tensor, window: Window
    ) -> tuple[float, torch.Tensor]:
        kernel, measure = self._kernel, self.measure
        if measure is None:
            return kernel.loss_and_gradient(self._computed, vector, window)  # type: ignore[no-any-return]
        if kernel is eager:
            return eager.loss_and_gradient(self._computed, vector, window, measure.of_window)
        # The gradient of any function of the states takes them first, and then a sweep back.
        states = kernel.rollout(self._computed, vector, window).detach().requires_grad_(True)
        value = measure.of_window(states[1:, : self._inner.channels], window)
        (bar,) = torch.autograd.grad(value, states)
        bar = bar[:, : self._inner.channels].contiguous()
        _, gradient = kernel.rollout_vjp(self._computed, vector, window, bar)
        return float(value.detach()), gradient

    def loss_and_gradient_members(
        self, thetas: NDArray, batches: Sequence[Batch]
    ) -> list[tuple[float, NDArray]]:
        """`loss_and_gradient` of several members, each on its own batch, over all threads."""
        of_members = getattr(self._kernel, "loss_and_gradient_members", None)
        if of_members is None or len(self._data) > 1 or self.measure is not None:
            return [self.loss_and_gradient(t, b) for t, b in zip(thetas, batches)]
        made: list[tuple[Window, NDArray]] = []

        def windows() -> Iterator[Window]:
            # One after the other: the first members run while the next are gathered.
            for theta, batch in zip(thetas, batches):
                window, member = self._windows(batch, theta)[0]
                made.append((window, self._graphs_of(batch, member)))
                yield window

        vectors = (self._computed_theta(theta) for theta in thetas)
        results = of_members(self._computed, vectors, windows())
        return [
            (value, self._gradient(gradient, *of)) for (value, gradient), of in zip(results, made)
        ]

    def loss(self, theta: NDArray, batch: Batch) -> float:
        """See `engines.base.Program`."""
        vector = self._computed_theta(theta)
        total = 0.0
        for window, _ in self._windows(batch, theta):
            if self.measure is not None:
                states = self._kernel.rollout(self._computed, vector, window)
                channels = self._inner.channels
                total += float(self.measure.of_window(states[1:, :channels], window))
                continue
            if hasattr(self._kernel, "loss"):
                total += self._kernel.loss(self._computed, vector, window)
                continue
            states = self._kernel.rollout(self._computed, vector, window)
            inner = self._inner
            if window.halo is not None:
                assert window.target is not None
                first = window.halo.first
                states[:, : inner.channels, first:] = window.target[:, :, first:]
            total += float(eager.huber(states[1:, : inner.channels], window, inner.circular))
        return total if self.part is None else float(self.part.group.sum(np.array([total]))[0])

    def rollout_vjp(
        self, theta: NDArray, batch: Batch, output_gradient: NDArray
    ) -> tuple[NDArray, NDArray]:
        """See `engines.base.Program`. A graph of the batch may have fewer nodes than the others."""
        if self.part is not None:
            raise EngineUnavailable(
                "the gradient of other functions of a rollout is not divided among processes",
                got=f"{len(self.part.own)} of {self.part.nodes} nodes in this process",
                allowed="loss_and_gradient",
                fix="bind data without a partition",
            )
        windows = self._windows(batch, theta, codes=False)
        bodies = self.spec.bodies if self.spec.family == "node" else 1
        nodes = max(int(window.columns.nodes.max()) for window, _ in windows) * bodies
        shape = (len(batch.trajectory), batch.horizon + 1, nodes, self.spec.channels)
        if np.shape(output_gradient) != shape:
            raise InvalidModel(
                "the gradient of the output has another shape than the states of the rollout",
                got=np.shape(output_gradient),
                allowed=f"{shape}: (batch, time, node, feature)",
                fix="give one number for each number of the states, the initial ones included",
            )
        # The family "node" has one column per trajectory, with the features of all nodes.
        stacked = (*shape[:2], nodes // bodies, self._inner.channels)
        bars = np.asarray(output_gradient, self.dtype).reshape(stacked)
        # Nodes that a smaller graph does not have stay NaN.
        states = np.full(stacked, np.nan, dtype=self.dtype)
        gradient = np.zeros(self.layout.size, dtype=self.dtype)
        vector = self._computed_theta(theta)
        for window, member in windows:
            bar = to_columns(self._tensor(bars[member]), window.columns)
            x, of_dataset = self._kernel.rollout_vjp(self._computed, vector, window, bar)
            values = from_columns(x, window.columns).cpu().numpy()
            states[member, :, : values.shape[2]] = values
            gradient[: self._given] += self._gradient(of_dataset, window, member)
        return states.reshape(shape), gradient

    def initial_message(
        self,
        theta: NDArray,
        x: NDArray,
        attribute: NDArray | None = None,
        node_type: NDArray[np.int64] | None = None,
    ) -> NDArray:
        """See `engines.base.Program`; by the eager kernel."""
        if not self.spec.carried:
            return np.zeros((*x.shape[:2], 0), dtype=self.dtype)
        if self.spec.node_types and node_type is None and self.spec.first_message != "zero":
            raise InvalidModel(
                "the first message depends on the type of a node",
                got="no types",
                allowed=f"a number per node: {', '.join(self.spec.node_types)} from 0",
                fix="give node_type, as Graph.node_type holds it",
            )
        # m(0) depends on no other node, so that the graph is one without edges.
        graph = Graph.single(np.zeros(0, np.int64), np.zeros(0, np.int64), x.shape[1])
        graph = graph.with_types(node_type)
        window = self._free_window(x, graph, np.zeros(0), None, None, attribute)
        message = eager.initial_message(self._inner, self.theta(self._given_weights(theta)), window)
        return from_columns(message.unsqueeze(0), window.columns)[:, 0].cpu().numpy()

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
        part: Part | None = None,
    ) -> Rollout:
        """See `engines.base.Program`. ``part``: the nodes are a part of a graph, with its halo."""
        nodes, features = x0.shape[1:]
        attribute = self._with_codes(theta, attribute, x0, graph_of)
        window = self._free_window(x0, graph, np.diff(times), graph_of, u, attribute)
        window = self._with_history(window, x0, history)
        if part is not None:
            window = replace(window, halo=self._halo(part, len(x0)))
        reason = None if part is None else refuses_partition(self.kernel, self.spec)
        reason = reason or refuses_past(
            self._kernel, self._computed, weights_in_time=edge_weight is not None,
            delayed=window.delays is not None,
        )  # fmt: skip
        if reason is not None:
            raise EngineUnavailable(
                f"the kernel {self.kernel!r} cannot run this rollout",
                got=reason,
                allowed='kernel="eager"',
                fix='model.bind(kernel="eager")',
            )
        if edge_weight is not None:
            weight = self._tensor(np.nan_to_num(edge_weight[..., : window.steps, :]))
            index, time = np.arange(len(x0))[:, None], np.arange(window.steps)[None]
            held = _held_weights(weight, index, np.repeat(time, len(x0), 0), window.columns)
            window = replace(window, edge_weight=held)
        states = self._kernel.rollout(self._computed, self._computed_theta(theta), window)
        values = from_columns(states, window.columns).cpu().numpy()
        channels = self._inner.channels
        x, m = values[..., :channels], values[..., channels:]
        if self.spec.family == "node":
            x = x.reshape(*x.shape[:2], nodes, features)
            m = np.zeros((*x.shape[:3], 0), dtype=x.dtype)
        return Rollout(x, m, np.isfinite(values).all(axis=(1, 2, 3)))

    def prefix(self, graph: Graph, dt: float) -> int:
        """See `engines.base.Program`."""
        return prefix_for(self._inner, graph, dt)

    def _with_history(self, window: Window, x0: NDArray, history: NDArray | None) -> Window:
        """``window`` with the past of a free rollout, where messages are delayed."""
        dt = float(window.dt[0]) if len(window.dt) else 1.0
        delays = Delays.of(self._inner, window.columns, dt)
        if delays is None:
            return window
        given = 0 if history is None else history.shape[1]
        if history is None or given < delays.prefix:
            raise InvalidData(
                "messages are delayed, and not enough of the past is known",
                got=f"{given} states before the start",
                allowed=f"at least {delays.prefix}: the longest delay is "
                f"{delays.longest or delays.steps.max():.4g} steps",
                fix="give history=, states (trajectory, time, node, feature) at the steps before the start",
            )
        past = np.concatenate([history[:, -delays.prefix :], x0[:, None]], axis=1)
        slopes = slopes_of(np.moveaxis(past.astype(np.float64), 1, 0), dt)
        columns = window.columns
        return replace(
            window,
            delays=delays,
            history=to_columns(self._tensor(past[:, :-1]), columns),
            history_slopes=to_columns(self._tensor(np.moveaxis(slopes[:-1], 0, 1)), columns),
        )

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
        """See `engines.base.Program`; always by the eager kernel.

        The faster kernels compute whole windows; one evaluation gains nothing from them.
        """
        held = None if u is None else u[:, None]
        attribute = self._with_codes(theta, attribute, z, graph_of)
        window = self._free_window(
            z[..., : self.spec.channels], graph, np.ones(1), graph_of, held, attribute
        )
        flat = z.reshape(z.shape[0], 1, -1) if self.spec.family == "node" else z
        columns = to_columns(self._tensor(flat), window.columns)
        vector = self.theta(self._given_weights(theta))
        slope = eager.evaluate_field(self._inner, vector, window, columns)
        return from_columns(slope.unsqueeze(0), window.columns)[:, 0].cpu().numpy().reshape(z.shape)

    # ---- windows ------------------------------------------------------------------------------

    def _tensor(self, values: NDArray) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(values), device=self.device).to(self._dtype)

    def _free_window(
        self,
        x0: NDArray,
        graph: Graph,
        dt: NDArray[np.float64],
        graph_of: NDArray[np.int64] | None,
        u: NDArray | None,
        attribute: NDArray | None,
    ) -> Window:
        batch = x0.shape[0]
        of = np.zeros(batch, np.int64) if graph_of is None else np.asarray(graph_of, np.int64)
        if self.spec.family == "node":
            x0 = x0.reshape(batch, 1, -1)
            u = None if u is None else u.reshape(*u.shape[:2], 1, -1)
            attribute = stack_attribute(attribute)
            graph, of = single_node(), np.zeros(batch, np.int64)
        columns = Columns.arrange(self._typed(graph), of)
        control = None
        if u is not None:
            control = to_columns(self._tensor(np.nan_to_num(u[:, : len(dt)])), columns)
        return Window(
            columns, to_columns(self._tensor(x0), columns), None, control,
            self._attribute(None if attribute is None else self._tensor(attribute), columns),
            None, dt, 1.0,
        )  # fmt: skip

    def _attribute(self, attribute: torch.Tensor | None, columns: Columns) -> torch.Tensor | None:
        """Attributes (node, attribute), or (trajectory, node, attribute) of the trajectories of the
        columns, as (attribute, column)."""
        if attribute is None:
            return None
        if attribute.dim() == 3:
            return to_columns(attribute, columns).contiguous()
        blocks = [
            attribute[:nodes].T.repeat_interleave(width, dim=1)
            for nodes, width, _, _ in columns.blocks()
        ]
        return torch.cat(blocks, dim=1).contiguous()

    def _graphs_of(self, batch: Batch, member: NDArray[np.int64]) -> NDArray[np.int64]:
        """The numbers of the graphs of some trajectories of a batch; codes are those of one dataset, which may be in
        parts of other lengths."""
        if not self.spec.codes:
            return member
        return np.concatenate([data.graph_of for data in self._data])[batch.trajectory[member]]

    def _with_codes(
        self,
        theta: NDArray,
        attribute: NDArray | None,
        x: NDArray,
        graph_of: NDArray[np.int64] | None,
    ) -> NDArray | None:
        """Attributes with the learned codes behind them, where they lack codes.

        Raises `InvalidModel` for nodes whose codes were not learned.
        """
        spec, (batch, nodes) = self.spec, x.shape[:2]
        width = 0 if attribute is None else attribute.shape[-1]
        if not spec.codes or width == spec.attributes + spec.codes:
            return attribute
        of = np.zeros(batch, np.int64) if graph_of is None else np.asarray(graph_of, np.int64)
        if spec.coded_nodes % nodes or (of.max(initial=0) + 1) * nodes > spec.coded_nodes:
            raise InvalidModel(
                "the codes of these nodes were not learned",
                got=f"{nodes} nodes, {of.max(initial=0) + 1} graphs",
                allowed=f"the {spec.coded_nodes} nodes of the training graphs",
                fix="give codes as the last columns of node_attribute, or model.rollout(node_code=)",
            )
        codes = self.layout.unpack(theta)["node_code"].reshape(-1, nodes, spec.codes)[of]
        codes = CODE_UNIT * codes
        if attribute is None:
            return codes
        given = np.broadcast_to(attribute, (batch, nodes, width))
        return np.concatenate([given, codes], axis=-1)

    def _windows(
        self, batch: Batch, theta: NDArray, *, codes: bool = True
    ) -> list[tuple[Window, NDArray[np.int64]]]:
        """A window for each dataset in the batch, and the positions in the batch of its rows.

        ``codes``: whether the gradient of learned codes is asked for."""
        # Trajectories of a batch are numbered through all datasets.
        dataset = np.searchsorted(self._first, batch.trajectory, side="right") - 1
        chosen = []
        for number, data in enumerate(self._data):
            member = np.flatnonzero(dataset == number)
            if member.size:
                index = batch.trajectory[member] - self._first[number]
                chosen.append((data, member, index, data.arrange(index)))
        # The mean over all columns of the batch, so that every dataset counts by its size.
        bodies = self.spec.bodies if self.spec.family == "node" else 1
        total = sum(columns.total for *_, columns in chosen)
        if self.part is not None:
            total = self.part.nodes * len(batch.trajectory)
        scale = 1.0 / (bodies * total)
        windows = []
        for data, member, index, columns in chosen:
            window = self._window(data, index, batch.start[member], columns, batch.horizon, scale)
            if self.spec.codes:
                window = self._coded(window, theta, data.graph_of[index], codes)
            windows.append((window, member))
        return windows

    def _coded(self, window: Window, theta: NDArray, graph_of: NDArray, gradient: bool) -> Window:
        """A window whose last attributes are the learned codes."""
        nodes = int(window.columns.nodes[0])
        codes = CODE_UNIT * self.layout.unpack(np.asarray(theta))["node_code"]
        of_nodes = self._tensor(codes.reshape(-1, nodes, self.spec.codes)[graph_of])
        attribute = to_columns(of_nodes, window.columns)
        if window.attribute is not None:
            attribute = torch.cat([window.attribute, attribute])
        attribute = attribute.contiguous()
        bar = torch.zeros_like(attribute[-self.spec.codes :]) if gradient else None
        return replace(window, attribute=attribute, attribute_bar=bar)

    def _window(
        self,
        data: _BoundData,
        index: NDArray[np.int64],
        start: NDArray[np.int64],
        columns: Columns,
        horizon: int,
        scale: float,
    ) -> Window:
        # One ``dt`` per interval serves all columns of a window.
        if not data.even and np.any(start != start[0]):
            raise InvalidOption(
                "on an uneven time grid the windows of a batch must start together",
                got=f"starts {sorted(set(start.tolist()))[:4]}",
                allowed="one start",
            )
        trajectory, time = index[:, None], start[:, None] + np.arange(horizon + 1)

        def gathered(values: torch.Tensor | None, time: NDArray) -> torch.Tensor | None:
            if values is None:
                return None
            return to_columns(_gather(values, trajectory, time), columns)

        target = gathered(data.x, time)
        assert target is not None
        attribute = data.attribute
        if attribute is not None and attribute.dim() == 3:
            attribute = attribute[torch.as_tensor(index, device=attribute.device)]
        delays = data.delays(self._inner, columns)
        past = past_slopes = None
        if delays is not None:
            before = start[:, None] + np.arange(-delays.prefix, 0)
            past, past_slopes = gathered(data.x, before), gathered(data.slope, before)
            assert past is not None and past_slopes is not None
            # Of what comes after the start nothing is known, so that the last slope is one-sided.
            weights = (stencil(3) / data.dt[0]).tolist()
            last = weights[4] * target[0]
            for point in range(4):
                last = last + weights[point] * past[point - 4]
            past_slopes[-1] = last
        held = None
        if data.edge_weight is not None:
            held = _held_weights(data.edge_weight, trajectory, time[:, :-1], columns)
        return Window(
            columns, target[0], target, gathered(data.u, time[:, :-1]),
            self._attribute(attribute, columns), gathered(data.mask, time),
            data.dt[start[0] : start[0] + horizon], scale, held,
            delays=delays, history=past, history_slopes=past_slopes,
            halo=None if data.part is None else self._halo(data.part, len(index)),
        )  # fmt: skip


def _held_weights(
    weight: torch.Tensor, trajectory: NDArray, time: NDArray, columns: Columns
) -> list[torch.Tensor]:
    """The weights in the intervals that begin at ``time`` (batch, interval), see `Window.edge_weight`.

    weight: (time, edge), or (trajectory, time, edge), of whose first axis ``trajectory`` (batch, 1)
    are numbers.
    """
    assert columns.edge is not None
    blocks, first = [], 0
    for edges, width in zip(columns.block_edges(), columns.width.tolist()):
        member = columns.order[first : first + width]
        first += width
        number = torch.as_tensor(columns.edge[edges], device=weight.device)
        when = torch.as_tensor(time[member], device=weight.device)
        if weight.dim() == 2:
            chosen = weight[when][..., number]
        else:
            which = torch.as_tensor(trajectory[member], device=weight.device)
            chosen = weight[which, when][..., number]
        blocks.append(chosen.permute(1, 2, 0).contiguous())
    return blocks


def _gather(values: torch.Tensor, trajectory: NDArray, time: NDArray) -> torch.Tensor:
    """``values[trajectory, time]``; in NumPy on a CPU (see `window.to_columns`)."""
    if values.device.type == "cpu":
        return torch.from_numpy(values.numpy()[trajectory, time])
    index = [torch.as_tensor(i, device=values.device) for i in (trajectory, time)]
    return values[index[0], index[1]]
