"""First weights of a run: fresh, or those of a start model where they fit."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..config import whole
from ..errors import InvalidOption
from ..half import TrainedModel
from ..memory import need


class WeightLayout(Protocol):
    """What a layout of either half does: named weights in one flat vector (size,)."""

    @property
    def size(self) -> int: ...

    def initial(self, rng: np.random.Generator) -> NDArray[np.float64]: ...

    def unpack(self, theta: Any) -> dict[str, Any]: ...


def initial_weights(
    layout: WeightLayout,
    start: TrainedModel | None,
    seed: int,
    members: int,
    dtype: str = "float32",
) -> tuple[NDArray, tuple[str, ...]]:
    """Weights (member, size): fresh, with those of ``start`` that have the same name and shape.

    A start that is an ensemble gives each member its own weights, a single model gives all the
    same. Also returns the names of the tensors taken. Raises `InvalidOption` for ensembles of two
    sizes, and `NotEnoughMemory` where training them in ``dtype`` does not fit.
    """
    members = whole("members", members)
    need(
        int(members * layout.size * (37 + 14.3 * np.dtype(dtype).itemsize)),
        f"{members:,} x {layout.size:,} weights with what an optimiser keeps of each",
        fix="train fewer members=, or a model with smaller layers: hidden=, or edge_width= and "
        "node_width= of particles",
    )
    thetas = np.stack(
        [layout.initial(np.random.default_rng([seed, 2, member])) for member in range(members)]
    )
    if start is None:
        return thetas, ()
    if start.members not in (1, members):
        raise InvalidOption(
            "the start is an ensemble of another size",
            got=f"members={members}, the start has {start.members}",
            allowed=f"members={start.members}, or one member: start.member(0)",
        )
    restored: dict[str, None] = {}
    for number, theta in enumerate(thetas):
        weights = start.member(number if start.members > 1 else 0).weights
        for name, view in layout.unpack(theta).items():
            if name in weights and weights[name].shape == view.shape:
                view[...] = weights[name]
                restored[name] = None
    return thetas, tuple(restored)
