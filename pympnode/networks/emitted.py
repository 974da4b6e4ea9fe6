"""Emitted messages g([x; b]) in NumPy, for the datasets of rollouts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def emitted(
    weights: Mapping[str, NDArray],
    x: NDArray,
    attribute: NDArray | None,
    circular: tuple[int, ...] = (),
    control: NDArray | None = None,
    invariant: tuple[int, ...] = (),
) -> NDArray:
    """Messages (..., node, message) of states x (..., node, feature), attributes b (node, attribute),
    or (trajectory, node, attribute) where they differ by trajectory.

    ``control`` (..., node, control) of the senders, where g takes them. All are z scores. g is a
    perceptron of one hidden tanh layer; ``weights``: those of the model by name; ``circular``: the
    features that are angles (`ModelSpec.circular`), ``invariant`` those that enter no message.
    """
    if circular or invariant:
        plain = [c for c in range(x.shape[-1]) if c not in {*circular, *invariant}]
        angle = x[..., [c for c in circular if c not in invariant]]
        x = np.concatenate([x[..., plain], np.sin(angle), np.cos(angle)], axis=-1)
    parts = [x] if control is None else [x, control]
    if attribute is not None:
        if attribute.ndim == 3 and x.ndim == 4:
            attribute = attribute[:, None]  # the same at all times
        parts.append(np.broadcast_to(attribute, (*x.shape[:-1], attribute.shape[-1])))
    inputs = np.concatenate(parts, axis=-1)
    hidden = np.tanh(inputs @ weights["emit_layer_1_weight"].T + weights["emit_layer_1_bias"])
    return hidden @ weights["emit_layer_2_weight"].T + weights["emit_layer_2_bias"]
