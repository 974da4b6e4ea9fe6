"""Norms of messages over time."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ...config import (
    arguments,
)
from ...datasets.names import MESSAGE, MESSAGE_COMPONENT, NODE, NODE_NUMBER, TIME, TRAJECTORY
from ...plotting import style
from ...plotting.choosing import axes_of, position, require
from ...plotting.sizes import sized
from ..node_types import nodes_of_type
from .selection import MEMBER, states, types_drawn

NODE_COORDS = (NODE, NODE_NUMBER)
MAX_LINES = len(style.PALETTE)


@sized
@arguments(ax=axes_of)
def message_norms(
    rollout: xr.Dataset,
    *,
    trajectory: int = 0,
    figsize: style.FigureSize | None = None,
    ax: Any = None,
) -> Any:
    """Euclidean norm of every node's message over time, for one trajectory of a rollout.

    ``rollout``: the result of ``model.rollout``; of an ensemble its first member is drawn. A line per
    node up to 7 nodes, an image of node against time for more. ``figsize``: inches. Returns the axes.
    Raises `InvalidData` for a rollout without messages.
    """
    types = types_drawn(rollout)
    if types:
        # One message space, in the order in which the edges number the nodes.
        each = [nodes_of_type(rollout, name) for name in types]
        if all(MESSAGE in one for one in each):
            message = xr.concat(
                [one[MESSAGE].drop_vars(NODE_COORDS, errors="ignore") for one in each], NODE
            )
            rollout = each[0].drop_dims(NODE).assign({MESSAGE: message})
    count = rollout.sizes[TRAJECTORY] if types else states(rollout).sizes[TRAJECTORY]
    number = position(trajectory, count)
    message = require(rollout, MESSAGE, "a rollout with messages", "pass model.rollout(ds)")
    if TRAJECTORY in message.dims:
        message = message.isel({TRAJECTORY: number})
    if MEMBER in message.dims:
        message = message.isel({MEMBER: 0})
    values = message.transpose(TIME, NODE, MESSAGE_COMPONENT).values
    norm = np.sqrt(np.square(values.astype(np.float64)).sum(axis=-1))
    time = rollout[TIME].values
    if ax is None:
        ax = style.new_axes(figsize=figsize)
    _draw(ax, time, norm)
    ax.set_xlabel(style.label("time", str(rollout[TIME].attrs.get("units", "1"))))
    return ax


def _draw(ax: Any, time: NDArray, norm: NDArray) -> None:
    nodes = norm.shape[1]
    if nodes > MAX_LINES:
        image = ax.pcolormesh(
            time, np.arange(nodes), norm.T, cmap=style.SEQUENTIAL, vmin=0.0, shading="nearest",
            rasterized=True,
        )  # fmt: skip
        ax.set_ylabel("node")
        ax.figure.colorbar(image, ax=ax).set_label("norm of the message")
        return
    for node, colour in enumerate(style.by_order(nodes)):
        ax.plot(time, norm[:, node], color=colour, linewidth=1.5, label=f"node {node}")
    ax.set_ylabel("norm of the message")
    ax.set_ylim(bottom=0.0)
    style.plain(ax)
    if nodes > 1:
        ax.legend(fontsize="small", frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
