"""The family "node", one neural ODE for all nodes at once, as a model of one larger node.

It is the family without messages on a single node whose features are those of all nodes, so that no
kernel needs to know it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...graph import Graph
from ..schema import Arrays
from ..spec import ModelSpec


def alone() -> Graph:
    """One node without edges."""
    return Graph.single(np.zeros(0, np.int64), np.zeros(0, np.int64), 1)


def spec_together(spec: ModelSpec) -> ModelSpec:
    """``spec`` itself, or for the family "node" that of the one larger node."""
    if spec.family != "node":
        return spec
    return spec.replace(
        family="mpnode",
        channels=spec.channels * spec.bodies,
        controls=spec.controls * spec.bodies,
        attributes=spec.attributes * spec.bodies,
        messages="zero",
        coupling="mixed",
        message=0,
        bodies=1,
    )


def arrays_together(arrays: Arrays) -> Arrays:
    """A dataset whose nodes are one node."""

    def together(values: Any) -> Any:
        return None if values is None else values.reshape(*values.shape[:2], 1, -1)

    attribute = None if arrays.attribute is None else arrays.attribute.reshape(1, -1)
    zeros = np.zeros(arrays.trajectories, dtype=np.int64)
    return Arrays(
        together(arrays.x),
        arrays.time,
        alone(),
        zeros,
        together(arrays.u),
        attribute,
        together(arrays.mask),
    )
