"""``Connect``: the edges between particles, built from positions at every step of a rollout."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Protocol

from torch import Tensor

from ...errors import InvalidOption, unknown_name
from .box import Box
from .cells import Hierarchy
from .neighbours import ParticleEdges, fully_connected, nearest_neighbours
from .tree import hierarchy


class Connect(Protocol):
    """(position, box, sizes=) to edges or a hierarchy.

    position: (particle, axis), the particles of all graphs; ``sizes``: particles of each graph.
    Edges are sorted by receiver, where messages are summed.
    """

    def __call__(
        self, position: Tensor, box: Box | float | None, **batch: Any
    ) -> ParticleEdges | Hierarchy: ...


_OPTIONS: Mapping[str, tuple[Any, frozenset[str]]] = {
    "complete": (fully_connected, frozenset()),
    "nearest": (nearest_neighbours, frozenset({"k", "kernel"})),
    "hierarchy": (hierarchy, frozenset({"levels", "split_above", "kernel"})),
}
CONNECTIONS = tuple(_OPTIONS)


def connection(name: str, **options: Any) -> Connect:
    """The function that connects particles in the way ``name``, with its options fixed.

    "complete"; "nearest" (k=15, kernel=); "hierarchy" (levels=, split_above=, kernel=). Raises
    UnknownName and InvalidOption.
    """
    if name not in _OPTIONS:
        raise unknown_name("connection", name, CONNECTIONS)
    function, allowed = _OPTIONS[name]
    for option in options:
        if option not in allowed:
            raise InvalidOption(
                f"{name!r} has no option {option!r}",
                got=option,
                allowed=", ".join(sorted(allowed)) or "no options",
            )
    return partial(function, **options)
