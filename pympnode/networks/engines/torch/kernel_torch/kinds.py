"""Columns by the type of their nodes, and a window whose columns stand in the order of the types."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from ....spec import ModelSpec
from ..window import Window


class Kinds:
    """The columns of each type of nodes that a batch has: consecutive ones, or all.

    Iterating gives (number of the type, slice of its columns). ``count``: number of types of the model.
    """

    def __init__(self, spec: ModelSpec, offsets: tuple[int, ...]) -> None:
        self.count = max(1, len(spec.node_types))
        self.slices = [
            (kind, slice(start, stop))
            for kind, (start, stop) in enumerate(pairwise(offsets))
            if stop > start
        ]
        # With one slice for all columns tensors are used as they are: making a view takes time.
        self.whole = self.count == 1

    @staticmethod
    def offsets(spec: ModelSpec, window: Window) -> tuple[int, ...]:
        """First column of each type, and the number of columns."""
        if not spec.node_types:
            return (0, window.columns.total)
        return tuple(window.columns.type_offsets(len(spec.node_types)).tolist())

    def __iter__(self) -> Iterator[tuple[int, slice]]:
        return iter(self.slices)

    def parts(self, values: torch.Tensor) -> list[torch.Tensor]:
        """The columns of each slice in ``values`` (row, S)."""
        return [values] if self.whole else [values[:, part] for _, part in self.slices]

    def sizes(self) -> list[int]:
        """Number of columns of each slice."""
        return [part.stop - part.start for _, part in self.slices]


class Order:
    """The order of the types of nodes for the columns of a window.

    Within a graph the nodes stand in that order already, so that windows on one graph stay as they are.
    """

    def __init__(self, spec: ModelSpec, window: Window) -> None:
        self.forth: torch.Tensor | None = None
        columns = window.columns
        if spec.node_types and not np.array_equal(columns.by_type, np.arange(columns.total)):
            device = window.initial.device
            self.forth = torch.as_tensor(columns.by_type, device=device)
            self.back = torch.as_tensor(columns.place_by_type, device=device)

    def apply(self, values: torch.Tensor | None) -> torch.Tensor | None:
        """``values`` (..., S) in this order."""
        if values is None or self.forth is None:
            return values
        return values.index_select(-1, self.forth)

    def undo(self, values: torch.Tensor) -> torch.Tensor:
        """``values`` (..., S) in the order of the window."""
        return values if self.forth is None else values.index_select(-1, self.back)

    def window(self, window: Window) -> Window:
        """A window whose columns stand in this order."""
        if self.forth is None:
            return window
        names = ("initial", "target", "control", "attribute", "mask")
        moved: dict[str, Any] = {name: self.apply(getattr(window, name)) for name in names}
        return replace(window, **moved)
