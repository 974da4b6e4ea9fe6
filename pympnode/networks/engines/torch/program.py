"""The torch engine's Program: holds the data, gathers windows, runs the kernel that was chosen."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray

from ....errors import InvalidOption
from ....graph import Graph
from ...schema import Arrays
from ...spec import ModelSpec
from ...weights import layout_of
from ..base import Batch, Rollout
from ..columns import Columns
from ..whole_system import alone, arrays_together, spec_together
from . import kernel_eager as eager
from .kernels import name_of
from .window import Window, from_columns, to_columns

DTYPES = {"float32": torch.float32, "float64": torch.float64}


class _Bound:
    """One dataset on the device of the program."""

    def __init__(self, arrays: Arrays, dtype: torch.dtype, device: torch.device) -> None:
        def tensor(values: NDArray) -> torch.Tensor:
            return torch.as_tensor(np.ascontiguousarray(values), device=device).to(dtype)

        self.x = tensor(arrays.x if arrays.mask is None else np.nan_to_num(arrays.x))
        self.u = None if arrays.u is None else tensor(np.nan_to_num(arrays.u))
        self.mask = None if arrays.mask is None else tensor(arrays.mask)
        self.attribute = None if arrays.attribute is None else tensor(arrays.attribute)
        self.dt = np.diff(arrays.time)
        self.even = arrays.even
        self.graph, self.graph_of = arrays.graph, arrays.graph_of
        self._columns: dict[bytes, Columns] = {}

    def arrange(self, index: NDArray[np.int64]) -> Columns:
        """The columns of some trajectories; those of one graph are kept."""
        of = self.graph_of[index]
        key = of.tobytes() if len(self.graph.nodes) > 1 else len(of).to_bytes(8, "little")
        if key not in self._columns:
            if len(self._columns) > 64:
                self._columns.clear()
            self._columns[key] = Columns.arrange(self.graph, of)
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
        self._inner = spec_together(spec)
        arrays = (
            [arrays_together(a) for a in arrays or []] if spec.family == "node" else arrays or []
        )
        self._data = [_Bound(a, self._dtype, self.device) for a in arrays]
        sizes = [a.trajectories for a in arrays]
        self._first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def theta(self, values: NDArray) -> torch.Tensor:
        """A parameter vector on the device."""
        return torch.as_tensor(np.ascontiguousarray(values), device=self.device).to(self._dtype)

    def loss_and_gradient(self, theta: NDArray, batch: Batch) -> tuple[float, NDArray]:
        """See `engines.base.Program`. Datasets of different size add up, weighted by columns."""
        total, gradient = 0.0, np.zeros(self.layout.size, dtype=self.dtype)
        vector = self.theta(theta)
        for window in self._windows(batch):
            value, part = self._kernel.loss_and_gradient(self._inner, vector, window)
            total += value
            gradient += part.cpu().numpy()
        return total, gradient

    def loss_and_gradient_members(
        self, thetas: NDArray, batches: Sequence[Batch]
    ) -> list[tuple[float, NDArray]]:
        """`loss_and_gradient` of several members, each on its own batch, over all threads."""
        together = getattr(self._kernel, "loss_and_gradient_members", None)
        if together is None or len(self._data) > 1:
            return [self.loss_and_gradient(t, b) for t, b in zip(thetas, batches)]
        windows = (self._windows(batch)[0] for batch in batches)
        vectors = (self.theta(theta) for theta in thetas)
        results = together(self._inner, vectors, windows)
        return [(value, gradient.cpu().numpy()) for value, gradient in results]

    def loss(self, theta: NDArray, batch: Batch) -> float:
        """See `engines.base.Program`."""
        vector = self.theta(theta)
        total = 0.0
        for window in self._windows(batch):
            if hasattr(self._kernel, "loss"):
                total += self._kernel.loss(self._inner, vector, window)
                continue
            states = self._kernel.rollout(self._inner, vector, window)
            total += float(eager.huber(states[1:, : self._inner.channels], window))
        return total

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
    ) -> Rollout:
        """See `engines.base.Program`."""
        nodes, features = x0.shape[1:]
        window = self._free_window(x0, graph, np.diff(times), graph_of, u, attribute)
        states = self._kernel.rollout(self._inner, self.theta(theta), window)
        values = from_columns(states, window.columns).cpu().numpy()
        channels = self._inner.channels
        x, m = values[..., :channels], values[..., channels:]
        if self.spec.family == "node":
            x = x.reshape(*x.shape[:2], nodes, features)
            m = np.zeros((*x.shape[:3], 0), dtype=x.dtype)
        return Rollout(x, m, np.isfinite(values).all(axis=(1, 2, 3)))

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
        held = None if u is None else u[:, None]
        window = self._free_window(
            z[..., : self.spec.channels], graph, np.ones(1), graph_of, held, attribute
        )
        flat = z.reshape(z.shape[0], 1, -1) if self.spec.family == "node" else z
        columns = to_columns(self._tensor(flat), window.columns)
        slope = eager.evaluate_field(self._inner, self.theta(theta), window, columns)
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
            attribute = None if attribute is None else attribute.reshape(1, -1)
            graph, of = alone(), np.zeros(batch, np.int64)
        columns = Columns.arrange(graph, of)
        control = None
        if u is not None:
            control = to_columns(self._tensor(np.nan_to_num(u[:, : len(dt)])), columns)
        return Window(
            columns,
            to_columns(self._tensor(x0), columns),
            None,
            control,
            self._attribute(None if attribute is None else self._tensor(attribute), columns),
            None,
            dt,
            1.0,
        )

    def _attribute(self, attribute: torch.Tensor | None, columns: Columns) -> torch.Tensor | None:
        if attribute is None:
            return None
        parts = [
            attribute[:nodes].T.repeat_interleave(width, dim=1)
            for nodes, width, _, _ in columns.blocks()
        ]
        return torch.cat(parts, dim=1).contiguous()

    def _windows(self, batch: Batch) -> list[Window]:
        home = np.searchsorted(self._first, batch.trajectory, side="right") - 1
        chosen = []
        for number, data in enumerate(self._data):
            here = np.flatnonzero(home == number)
            if here.size:
                index = batch.trajectory[here] - self._first[number]
                chosen.append((data, index, batch.start[here], data.arrange(index)))
        bodies = self.spec.bodies if self.spec.family == "node" else 1
        scale = 1.0 / (bodies * sum(columns.total for *_, columns in chosen))
        return [self._window(*each, batch.horizon, scale) for each in chosen]

    def _window(
        self,
        data: _Bound,
        index: NDArray[np.int64],
        start: NDArray[np.int64],
        columns: Columns,
        horizon: int,
        scale: float,
    ) -> Window:
        if not data.even and np.any(start != start[0]):
            raise InvalidOption(
                "on an uneven time grid the windows of a batch must start together",
                got=f"starts {sorted(set(start.tolist()))[:4]}",
                allowed="one start",
            )
        rows, times = index[:, None], start[:, None] + np.arange(horizon + 1)
        target = to_columns(_taken(data.x, rows, times), columns)
        control = (
            None if data.u is None else to_columns(_taken(data.u, rows, times[:, :-1]), columns)
        )
        mask = None if data.mask is None else to_columns(_taken(data.mask, rows, times), columns)
        return Window(
            columns,
            target[0],
            target,
            control,
            self._attribute(data.attribute, columns),
            mask,
            data.dt[start[0] : start[0] + horizon],
            scale,
        )


def _taken(values: torch.Tensor, rows: NDArray, times: NDArray) -> torch.Tensor:
    """``values[rows, times]``; in NumPy on a CPU (see `window.to_columns`)."""
    if values.device.type == "cpu":
        return torch.from_numpy(values.numpy()[rows, times])
    at = [torch.as_tensor(index, device=values.device) for index in (rows, times)]
    return values[at[0], at[1]]
