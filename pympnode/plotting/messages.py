"""How much the nodes say: norms of their messages over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from .. import schema
from ..errors import InvalidData
from . import style
from .selection import MEMBER, position, require, states

if TYPE_CHECKING:
    from ..model import Model

MOST_LINES = len(style.PALETTE)


def message_norms(
    rollout: xr.Dataset, model: Model | None = None, *, trajectory: int = 0, ax: Any = None
) -> Any:
    """Euclidean norm of every node's message over time, for one trajectory of a rollout.

    A model whose messages are ODE states leaves them in its rollout; one that emits messages,
    g(x_j), does not, and is given as ``model`` (states of any dataset then serve). Lines up to 7
    nodes, an image of node against time beyond. Of an ensemble the first member. Returns the
    axes. Raises `InvalidData` where there are no messages.
    """
    number = position(trajectory, states(rollout).sizes[schema.TRAJECTORY])
    if model is not None and model.spec.messages == "emitted" and model.spec.family == "mpnode":
        values = _emitted(model, rollout, number)
    else:
        message = require(
            rollout,
            schema.MESSAGE,
            "a rollout with messages",
            "pass model.rollout(ds), and the model too when its messages are emitted",
        )
        if schema.TRAJECTORY in message.dims:
            message = message.isel({schema.TRAJECTORY: number})
        if MEMBER in message.dims:
            message = message.isel({MEMBER: 0})
        values = message.transpose(schema.TIME, schema.NODE, schema.MESSAGE_COMPONENT).values
    norm = np.sqrt(np.square(values.astype(np.float64)).sum(axis=-1))
    time = rollout[schema.TIME].values
    if ax is None:
        ax = style.new_axes()
    _draw(ax, time, norm)
    ax.set_xlabel(style.label("time", str(rollout[schema.TIME].attrs.get("units", "1"))))
    return ax


def _draw(ax: Any, time: NDArray, norm: NDArray) -> None:
    nodes = norm.shape[1]
    if nodes > MOST_LINES:
        image = ax.pcolormesh(
            time,
            np.arange(nodes),
            norm.T,
            cmap=style.SEQUENTIAL,
            vmin=0.0,
            shading="nearest",
            rasterized=True,
        )
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


def _emitted(model: Model, ds: xr.Dataset, number: int) -> NDArray:
    """g(x_j, b_j) (time, node, message) of one trajectory, as `ModelSpec` defines it."""
    order = (schema.TIME, schema.NODE, schema.FEATURE)
    state = states(ds).isel({schema.TRAJECTORY: number})
    if MEMBER in state.dims:
        state = state.isel({MEMBER: 0})
    x = state.transpose(*order).values
    seen = model.state_scale.apply(x)
    if model.attribute_scale is not None:
        if schema.NODE_ATTRIBUTE not in ds:
            raise InvalidData(
                "the model reads node attributes, and the dataset has none",
                got=", ".join(map(str, ds.data_vars)),
                allowed="node_attribute(node, attribute)",
            )
        own = ds[schema.NODE_ATTRIBUTE].transpose(schema.NODE, schema.ATTRIBUTE).values
        own = model.attribute_scale.apply(own)
        seen = np.concatenate([seen, np.broadcast_to(own, (len(seen), *own.shape))], axis=-1)
    w = (model.member(0) if getattr(model, "members", 1) > 1 else model).weights
    hidden = np.tanh(seen @ w["emit_layer_1_weight"].T + w["emit_layer_1_bias"])
    return hidden @ w["emit_layer_2_weight"].T + w["emit_layer_2_bias"]
