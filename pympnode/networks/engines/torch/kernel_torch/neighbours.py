"""What arrives at each node: weighted sums over the senders, and their transpose."""

from __future__ import annotations

import numpy as np
import torch

from ...columns import Columns

_DENSE_BLOCKS = 8  # more products than this cost more than going edge by edge
_DENSE_WORK = 16  # multiplications a node for each edge of it, up to which a dense product wins


class Neighbours:
    """A p x S matrix of messages to what arrives: dense products block by block, or by edges."""

    def __init__(
        self, columns: Columns, aggregation: str, divisor: float, like: torch.Tensor
    ) -> None:
        self.blocks = columns.blocks()
        dense_work = sum(n * n for n, *_ in self.blocks)
        edges = max(1, len(columns.sender))
        self.dense = len(self.blocks) <= _DENSE_BLOCKS and (
            dense_work <= 256 * 256 or dense_work <= _DENSE_WORK * edges
        )
        if self.dense:
            matrices = columns.matrices(aggregation, divisor)
            self.matrices = [
                torch.as_tensor(m, dtype=like.dtype, device=like.device) for m in matrices
            ]
            self.turned = [m.t().contiguous() for m in self.matrices]
            return
        weight = columns.edge_weight(aggregation, divisor)
        receiver = np.repeat(np.arange(len(columns.degree)), columns.degree)
        senders, receivers, weights = [], [], []
        for nodes, width, offset, row in self.blocks:
            edge = slice(columns.pointer[row], columns.pointer[row + nodes])
            lane = np.arange(width)
            senders.append((offset + columns.sender[edge, None] * width + lane).ravel())
            receivers.append((offset + (receiver[edge, None] - row) * width + lane).ravel())
            weights.append(np.repeat(weight[edge], width))
        self.sender = torch.as_tensor(np.concatenate(senders), device=like.device)
        self.receiver = torch.as_tensor(np.concatenate(receivers), device=like.device)
        self.weight = torch.as_tensor(np.concatenate(weights), dtype=like.dtype).to(like.device)

    def arrive(self, sent: torch.Tensor, out: torch.Tensor) -> None:
        """``out`` (p, S) = what arrives of ``sent`` (p, S)."""
        if self.dense:
            self._products(self.matrices, sent, out)
        else:
            self._edges(self.sender, self.receiver, sent, out)

    def back(self, arrived: torch.Tensor, out: torch.Tensor) -> None:
        """The transpose of `arrive`."""
        if self.dense:
            self._products(self.turned, arrived, out)
        else:
            self._edges(self.receiver, self.sender, arrived, out)

    def _products(
        self, matrices: list[torch.Tensor], values: torch.Tensor, out: torch.Tensor
    ) -> None:
        p = values.shape[0]
        for (nodes, width, offset, _), matrix in zip(self.blocks, matrices):
            columns = slice(offset, offset + nodes * width)
            torch.bmm(
                matrix.expand(p, nodes, nodes),
                values[:, columns].unflatten(1, (nodes, width)),
                out=out[:, columns].unflatten(1, (nodes, width)),
            )

    def _edges(
        self, at: torch.Tensor, to: torch.Tensor, values: torch.Tensor, out: torch.Tensor
    ) -> None:
        out.zero_()
        out.index_add_(1, to, values.index_select(1, at).mul_(self.weight))
