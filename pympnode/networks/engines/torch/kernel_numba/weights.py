"""The flat parameter vector in the order in which the products read it, and back for its gradient.

Messages of pairs have their first layer in three: the receiver's part with the bias, the sender's, each
for the inputs [x; u; b] of a node (no weight where a part does not take one), and that of the attributes
of the edge. The bias of their output is a last column of its weight.

Every linear layer W (rows, inner), b is kept twice: W with b, and its transpose with zeros, each in
blocks of `ROWS` rows: first the block's biases, then its columns one after another. The bias lies in
the matrix because a product starts its sums with it. Gradients are summed in
tiles of 4 x 4 (weights) and in one panel of columns per row (biases).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from ....spec import ModelSpec
from ....weights import layout_of
from .tiles import ROWS

Ints = NDArray[np.int64]


def up(value: int, step: int) -> int:
    """The next multiple of ``step``."""
    return -(-value // step) * step


@dataclass(frozen=True, eq=False)
class Packing:
    """The offsets of each linear layer.

    ``layers`` (layers, 6): rows, inner, packed W, packed transpose, first gradient tile, first
    bias sum. Order: the MLP's layers, then the first message's, then the emitter's or those of messages
    of pairs; all layers of a type of nodes before those of the next. ``source``
    (packed,): index into the flat vector, or its size for a zero. ``target`` (parameters,): index
    into the gradient sums, biases after they are summed over a panel; one beyond the last for weights
    of edges, whose gradient is summed elsewhere.
    """

    layers: Ints
    source: Ints
    target: Ints
    sums: int
    tiles: int
    biases: int
    panel: int

    def pack(self, theta: NDArray) -> NDArray:
        """The packed weights of ``theta``."""
        return np.append(theta, theta.dtype.type(0))[self.source]

    def gradient(self, sums: NDArray) -> NDArray:
        """The flat gradient from the ``sums`` of a kernel run."""
        biases = sums[self.tiles :].reshape(-1, self.panel).sum(axis=1)
        return np.concatenate([sums[: self.tiles], biases, sums[:1] * 0])[self.target]


def _blocks(matrix: Ints, bias: Ints, zero: int) -> Ints:
    # The padding rows of the last block read the zero that `pack` appends.
    rows, inner = matrix.shape
    padded = np.full((up(rows, ROWS), inner + 1), zero, dtype=np.int64)
    padded[:rows, 0] = bias
    padded[:rows, 1:] = matrix
    return padded.reshape(-1, ROWS, inner + 1).transpose(0, 2, 1).ravel()


def _linear_layers(spec: ModelSpec, index: dict[str, Ints], none: int) -> list[tuple[Ints, Ints]]:
    """Numbers of the weights and biases of each layer in the flat vector, ``none`` where there is none."""
    names = [name.removesuffix("weight") for name in index if name.endswith("_weight")]
    names = [name for name in names if not name.startswith(("pair_", "edge_log_"))]
    # The linear path has no bias: the network beside it has one.
    layers = [
        (index[f"{name}weight"], index.get(f"{name}bias", np.full(spec.states, none)))
        for name in names
    ]
    if not spec.pairwise:
        return layers
    first = index["pair_layer_1_weight"]
    receiver, sender, edge = np.split(
        first, [spec.receiver_inputs, spec.receiver_inputs + spec.sender_inputs], axis=1
    )
    # The receiver does not bring its controls: columns of zeros, so that both ends read the same rows.
    controls = np.full((spec.hidden, spec.controls), none)
    receiver = np.hstack([receiver[:, : spec.channels], controls, receiver[:, spec.channels :]])
    no_bias = np.full(spec.hidden, none)
    output = np.hstack([index["pair_layer_3_weight"], index["pair_layer_3_bias"][:, None]])
    return [
        *layers,
        (receiver, index["pair_layer_1_bias"]),
        (sender, no_bias),
        (edge, no_bias),
        (index["pair_layer_2_weight"], index["pair_layer_2_bias"]),
        (output, np.full(spec.message, none)),
    ]


@lru_cache(maxsize=64)
def packing(spec: ModelSpec, panel: int) -> Packing:
    """The packing of ``spec`` for panels of ``panel`` columns.

    The flat vector of several types of nodes is that of `..plain`: as many equal ones, one after the other.
    """
    layout = layout_of(spec.of_one_type)
    size = layout.size * max(1, len(spec.node_types))
    # The last entry takes the places of numbers that are no weights.
    target = np.empty(size + 1, dtype=np.int64)
    layers, packed, start, tile, bias_row = [], [], 0, 0, 0
    indices = [
        layout.unpack(first + np.arange(layout.size)) for first in range(0, size, layout.size)
    ]
    of_types = [_linear_layers(spec.of_one_type, index, size) for index in indices]
    for weight, bias in chain.from_iterable(of_types):
        rows, inner = weight.shape
        forward = _blocks(weight, bias, size)
        zeros = np.full(inner, size)
        backward = _blocks(weight.T, zeros, size)
        layers.append([rows, inner, start, start + len(forward), tile, bias_row])
        packed += [forward, backward]
        start += len(forward) + len(backward)
        # Gradient tiles of 4 x 4 lie row by row of tiles, as `tiles.outer` walks through them.
        across = up(inner, 4) // 4
        i, j = np.meshgrid(np.arange(rows), np.arange(inner), indexing="ij")
        target[weight] = tile + ((i // 4) * across + j // 4) * 16 + (i % 4) * 4 + j % 4
        # The first bias sum is known after the last tile only: negative numbers until then.
        target[bias] = -1 - (bias_row + np.arange(rows))
        tile += (up(rows, 4) // 4) * across * 16
        bias_row += up(rows, 8)
    target = target[:-1]
    if spec.learned_edges:
        target[indices[0]["edge_log_weight"]] = tile + bias_row
    if spec.learned_delays:
        target[indices[0]["delay_logit"]] = tile + bias_row
    biases = target < 0
    target[biases] = tile + (-1 - target[biases])
    table = np.array(layers, dtype=np.int64)
    table[:, 5] = tile + table[:, 5] * panel
    return Packing(
        table, np.concatenate(packed), target, tile + bias_row * panel, tile, bias_row, panel
    )
