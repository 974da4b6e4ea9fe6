"""The family "node", one neural ODE of the whole system, as a model of one larger node.

It is the family without messages on a single node whose features are those of all nodes, so that the
kernels need no code for it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...graph import Graph
from ..arrays import Arrays
from ..spec import ModelSpec


def single_node() -> Graph:
    """One node without edges."""
    return Graph.single(np.zeros(0, np.int64), np.zeros(0, np.int64), 1)


def stack_spec(spec: ModelSpec) -> ModelSpec:
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
        circular=tuple(
            body * spec.channels + channel
            for body in range(spec.bodies)
            for channel in spec.circular
        ),
    )


def stack_attribute(attribute: NDArray | None) -> NDArray | None:
    """Attributes (..., node, attribute) as those of one node, (..., 1, node * attribute)."""
    return None if attribute is None else attribute.reshape(*attribute.shape[:-2], 1, -1)


def stack_nodes(arrays: Arrays) -> Arrays:
    """A dataset whose nodes are one node: features of node 0, of node 1, and so on."""

    def stacked(values: NDArray | None) -> NDArray | None:
        return None if values is None else values.reshape(*values.shape[:2], 1, -1)

    x = stacked(arrays.x)
    assert x is not None
    return Arrays(
        x, arrays.time, single_node(), np.zeros(arrays.trajectories, dtype=np.int64),
        stacked(arrays.u), stack_attribute(arrays.attribute), stacked(arrays.mask),
    )  # fmt: skip
