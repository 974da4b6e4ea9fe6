"""Models with ``relative`` or ``invariant`` channels as plain ones, for the kernels.

A layer that takes the difference x_j - x_k is one that takes both ends with weights of opposite sign,
and one that does not take a channel has a weight of 0 for it. So the weights of the plain model are a
linear function of the model's own: each is 0, or one of them, or its negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...spec import ModelSpec
from ...weights import layout_of

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PlainForm:
    """``spec`` without the two options; weight i of it is ``sign[i]`` times number ``source[i]``.

    ``source``, ``sign`` (size of the plain model,); a sign of 0 is a weight that is not there.
    ``size``: number of the model's own weights.
    """

    spec: ModelSpec
    source: Ints
    sign: Ints
    size: int

    @classmethod
    def of(cls, spec: ModelSpec) -> PlainForm | None:
        """The plain form of ``spec``; None where it is plain already."""
        if not spec.relative:
            return None
        plain = spec.replace(relative=(), invariant=())
        layout, plain_layout = layout_of(spec), layout_of(plain)
        own = layout.unpack(np.arange(layout.size))
        source = np.zeros(plain_layout.size, np.int64)
        sign = np.zeros(plain_layout.size, np.int64)
        sources, signs = plain_layout.unpack(source), plain_layout.unpack(sign)
        for name, numbers in own.items():
            if name not in ("layer_1_weight", "pair_layer_1_weight"):
                sources[name][...], signs[name][...] = numbers, 1
                continue
            columns = _own_columns(spec) if name == "layer_1_weight" else _pair_columns(spec)
            for column, (of, factor) in enumerate(columns):
                if factor:
                    sources[name][:, column], signs[name][:, column] = numbers[:, of], factor
        return cls(plain, source, sign, layout.size)

    def expand(self, theta: NDArray) -> NDArray:
        """The plain model's weights of the model's own ``theta`` (size,)."""
        return (theta[self.source] * self.sign).astype(theta.dtype, copy=False)

    def fold(self, gradient: NDArray) -> NDArray:
        """The gradient (size,) of the model's own weights from that of the plain model's."""
        values = np.bincount(self.source, weights=gradient * self.sign, minlength=self.size)
        return values.astype(gradient.dtype)


def _own_columns(spec: ModelSpec) -> list[tuple[int, int]]:
    """Of each column of the plain first layer: the own column and its sign."""
    columns, at = [], 0
    for channel in range(spec.channels):
        columns.append((0, 0) if channel in spec.invariant else (at, 1))
        at += channel not in spec.invariant
    return [*columns, *((number, 1) for number in range(at, spec.inputs))]


def _pair_columns(spec: ModelSpec) -> list[tuple[int, int]]:
    """The same for the first layer of pairwise messages."""
    end = spec.receiver_inputs + spec.sender_inputs
    difference = {channel: end + number for number, channel in enumerate(spec.relative)}
    columns, at = [], 0
    for side, width in ((-1, spec.receiver_inputs), (1, spec.sender_inputs)):
        stop = at + width
        for channel in range(spec.channels):
            if channel in difference:
                columns.append((difference[channel], side))
            else:
                columns.append((at, 1))
                at += 1
        columns += [(number, 1) for number in range(at, stop)]
        at = stop
    return [*columns, *((end + len(difference) + n, 1) for n in range(spec.edge_attributes))]
