"""Window: the numbers of one batch, feature-major, on the device where the kernel runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from ..columns import Columns
from ..delays import Delays

if TYPE_CHECKING:
    from .kernel_torch.halo import Halo


@dataclass(frozen=True, eq=False)
class Window:
    """One batch of windows in columns (see `Columns`): S columns, T intervals, contiguous tensors.

    ``initial`` (d, S); ``target`` (T + 1, d, S), whose row 0 is not compared, or None for a rollout;
    ``control`` (T, c, S) or None; ``attribute`` (b, S) or None; ``mask`` (T + 1, d, S) of 0 and 1 in
    the dtype of the data, or None where nothing is missing; ``dt`` (T,) float64, on the host;
    ``scale`` multiplies the summed loss. ``edge_weight``: (T, edges, width) of each block, the weights
    of its edges (in the order of the columns) in each interval and trajectory, where they vary in time;
    None where the columns have them. ``attribute_bar`` (c, S) or None: where kernels add the gradient of
    a loss with respect to the last c attributes, which enter no messages. ``delays``: None, or the delays
    of the edges, with ``history`` (time, d, S), the states at the grid times before the first, and
    ``history_slopes`` of the same shape, their time derivatives. ``halo``: None, or the exchange of what
    nodes send with the processes that hold other nodes of the graph; its columns are the last ones.
    """

    columns: Columns
    initial: torch.Tensor
    target: torch.Tensor | None
    control: torch.Tensor | None
    attribute: torch.Tensor | None
    mask: torch.Tensor | None
    dt: NDArray[np.float64]
    scale: float
    edge_weight: list[torch.Tensor] | None = None
    attribute_bar: torch.Tensor | None = None
    delays: Delays | None = None
    history: torch.Tensor | None = None
    history_slopes: torch.Tensor | None = None
    halo: Halo | None = None

    @property
    def steps(self) -> int:
        """Number of intervals, T."""
        return len(self.dt)


def held_factors(window: Window, aggregation: str, divisor: float) -> list[torch.Tensor]:
    """Factors (T, edges, width) of what the edges of each block carry, of weights that vary in time.

    An edge of weight 0 is off: the mean is over the edges that are on.
    """
    columns = window.columns
    constant = columns.edge_weight(aggregation, divisor)
    out = []
    assert window.edge_weight is not None
    for (nodes, width, _, _), edges, weight in zip(
        columns.blocks(), columns.block_edges(), window.edge_weight
    ):
        if aggregation != "mean":
            factor = torch.as_tensor(constant[edges], dtype=weight.dtype, device=weight.device)
            out.append(weight * factor[:, None])
            continue
        receiver = torch.as_tensor(columns.receiver[edges], device=weight.device)
        count = weight.new_zeros(len(weight), nodes, width)
        count.index_add_(1, receiver, (weight != 0).to(weight.dtype))
        out.append(weight / count.clamp(min=1.0)[:, receiver])
    return out


def to_columns(values: torch.Tensor, columns: Columns) -> torch.Tensor:
    """(trajectory, node, feature) or (trajectory, time, node, feature) to (..., feature, column)."""
    timed = values.dim() == 4
    timed_values = values if timed else values.unsqueeze(1)
    if values.device.type == "cpu":
        flat = torch.from_numpy(_arranged(timed_values.numpy(), columns))
        return flat if timed else flat[0]
    blocks, first = [], 0
    single = len(columns.width) == 1 and bool(np.all(np.diff(columns.order) == 1))
    for nodes, width, _, _ in columns.blocks():
        if single:
            block = timed_values
        else:
            chosen = torch.as_tensor(columns.order[first : first + width], device=values.device)
            block = timed_values.index_select(0, chosen)
        block = block[:, :, :nodes].permute(1, 3, 2, 0)
        blocks.append(block.reshape(*block.shape[:2], nodes * width))
        first += width
    flat = blocks[0].contiguous() if len(blocks) == 1 else torch.cat(blocks, dim=2)
    return flat if timed else flat[0]


def _arranged(values: NDArray, columns: Columns) -> NDArray:
    """(trajectory, time, node, feature) as (time, feature, column), in NumPy.

    torch would wake its threads for so little work; they then spin on cores that the kernel needs.
    """
    _, times, _, features = values.shape
    out = np.empty((times, features, columns.total), dtype=values.dtype)
    first = 0
    for nodes, width, offset, _ in columns.blocks():
        several = len(columns.width) > 1
        block = values[columns.order[first : first + width]] if several else values
        # Splitting the last axis of a slice gives a view: this writes into `out`.
        view = out[:, :, offset : offset + nodes * width].reshape(times, features, nodes, width)
        view[...] = block[:, :, :nodes].transpose(1, 3, 2, 0)
        first += width
    return out


def from_columns(values: torch.Tensor, columns: Columns) -> torch.Tensor:
    """(time, feature, column) back to (trajectory, time, node, feature); absent nodes are NaN."""
    time, feature = values.shape[:2]
    most = int(columns.nodes.max())
    batch = int(columns.width.sum())
    out = values.new_full((batch, time, most, feature), float("nan"))
    first = 0
    for nodes, width, offset, _ in columns.blocks():
        chosen = torch.as_tensor(columns.order[first : first + width], device=values.device)
        block = values[:, :, offset : offset + nodes * width].reshape(time, feature, nodes, width)
        out[chosen, :, :nodes] = block.permute(3, 0, 2, 1)
        first += width
    return out
