"""Emitted messages, g([x; b]), in NumPy: what a rollout shows of a model that carries none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def emitted(weights: Mapping[str, NDArray], x: NDArray, attribute: NDArray | None) -> NDArray:
    """Messages (..., node, message) of z states x (..., node, feature), attributes (node, b)."""
    seen = x
    if attribute is not None:
        own = np.broadcast_to(attribute, (*x.shape[:-1], attribute.shape[-1]))
        seen = np.concatenate([x, own], axis=-1)
    hidden = np.tanh(seen @ weights["emit_layer_1_weight"].T + weights["emit_layer_1_bias"])
    return hidden @ weights["emit_layer_2_weight"].T + weights["emit_layer_2_bias"]
