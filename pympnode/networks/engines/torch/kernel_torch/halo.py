"""Values of nodes that other processes compute, in the columns of a window, and their cotangents.

The nodes of one graph are divided among processes. A window holds the columns of a process's own nodes
and behind them those of its halo: the nodes of others that send to its own. Each evaluation of the field
fills the halo with what those nodes send; the adjoint returns the halo's cotangents to the processes that
hold the nodes, which add them to theirs.
"""

from __future__ import annotations

import numpy as np
import torch

from ....partition import Part


class Halo:
    """The halo of a `Part` in columns of ``width`` trajectories.

    ``first``: first column of the halo, and the number of own ones. ``most``: the largest number of columns
    of a process. ``sent_bytes``: what this process has sent so far.
    """

    def __init__(self, part: Part, width: int, like: torch.Tensor) -> None:
        self.first = len(part.own) * width
        self.most = part.most * width
        self.sent_bytes = 0
        self._group = part.group
        lane = np.arange(width)
        # The columns that each other process needs, and those that come from it.
        self._needed = {
            rank: torch.as_tensor((nodes[:, None] * width + lane).ravel(), device=like.device)
            for rank, nodes in part.needed.items()
        }
        self._lent = {
            rank: slice(nodes.start * width, nodes.stop * width)
            for rank, nodes in part.lent.items()
        }

    def fill(self, values: torch.Tensor) -> None:
        """Write the values (row, S) that the nodes of the halo have into their columns."""
        sent = {rank: values.index_select(1, index) for rank, index in self._needed.items()}
        blocks = {
            rank: values.new_empty(len(values), where.stop - where.start, device="cpu")
            for rank, where in self._lent.items()
        }
        self._exchange(sent, blocks)
        for rank, where in self._lent.items():
            values[:, where].copy_(blocks[rank])

    def give_back(self, bars: torch.Tensor) -> None:
        """Move the cotangents (row, S) of the halo to the processes whose nodes they are of."""
        sent = {rank: bars[:, where] for rank, where in self._lent.items()}
        blocks = {
            rank: bars.new_empty(len(bars), len(index), device="cpu")
            for rank, index in self._needed.items()
        }
        self._exchange(sent, blocks)
        for rank, index in self._needed.items():
            bars.index_add_(1, index, blocks[rank].to(bars.device))
        self.clear(bars)

    def clear(self, values: torch.Tensor) -> None:
        """Set the columns of the halo in ``values`` (row, S) to 0."""
        values[:, self.first :].zero_()

    def _exchange(self, sent: dict[int, torch.Tensor], received: dict[int, torch.Tensor]) -> None:
        arrays = {rank: each.cpu().contiguous().numpy() for rank, each in sent.items()}
        self.sent_bytes += sum(each.nbytes for each in arrays.values())
        self._group.exchange(arrays, {rank: each.numpy() for rank, each in received.items()})
