"""Models with ``relative`` or ``invariant`` channels, or several types of nodes, as plain ones, for the
kernels.

A layer that takes the difference x_j - x_k is one that takes both ends with weights of opposite sign,
and one that does not take a channel has a weight of 0 for it. So the weights of the plain model are a
linear function of the model's own: each is 0, or one of them, or its negative. The networks of a type
of nodes get the sizes of the largest type, with weights of 0 for what the type does not have.
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
    ``size``: number of the model's own weights. With several types of nodes ``spec`` is the model's own,
    and the weights are those of a model of one type (`ModelSpec.of_one_type`), once for each type.
    """

    spec: ModelSpec
    source: Ints
    sign: Ints
    size: int

    @classmethod
    def of(cls, spec: ModelSpec) -> PlainForm | None:
        """The plain form of ``spec``; None where it is plain already."""
        if spec.node_types:
            return cls(spec, *_of_types(spec), layout_of(spec).size)
        if not spec.relative and not spec.invariant:
            return None
        plain = spec.replace(relative=(), invariant=())
        layout, plain_layout = layout_of(spec), layout_of(plain)
        own = layout.unpack(np.arange(layout.size))
        source = np.zeros(plain_layout.size, np.int64)
        sign = np.zeros(plain_layout.size, np.int64)
        sources, signs = plain_layout.unpack(source), plain_layout.unpack(sign)
        for name, numbers in own.items():
            if name in ("layer_1_weight", "linear_weight"):
                columns = _own_columns(spec, spec.inputs)
            elif name == "emit_layer_1_weight":
                columns = _own_columns(spec, spec.sender_inputs)
            elif name == "pair_layer_1_weight":
                columns = _pair_columns(spec)
            else:
                sources[name][...], signs[name][...] = numbers, 1
                continue
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


def _own_columns(spec: ModelSpec, inputs: int) -> list[tuple[int, int]]:
    """Of each column of a plain first layer: the own one, of ``inputs``, and its sign."""
    columns, at = [], 0
    for channel in range(spec.channels):
        columns.append((0, 0) if channel in spec.invariant else (at, 1))
        at += channel not in spec.invariant
    return [*columns, *((number, 1) for number in range(at, inputs))]


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


def _of_types(spec: ModelSpec) -> tuple[Ints, Ints]:
    """``source`` and ``sign`` of the weights of all types, one after the other."""
    layout, padded = layout_of(spec), layout_of(spec.of_one_type)
    own = layout.unpack(np.arange(layout.size))
    source = np.zeros((len(spec.node_types), padded.size), np.int64)
    sign = np.zeros_like(source)
    for number, name in enumerate(spec.node_types):
        sources, signs = padded.unpack(source[number]), padded.unpack(sign[number])
        kept = _kept(spec.of_type(number), spec.of_one_type)
        for tensor, shape in padded.shapes.items():
            rows, columns = kept.get(
                tensor.removesuffix("weight").removesuffix("bias"), (None, None)
            )
            numbers = own[f"{name}/{tensor}"]
            if tensor == "pair_layer_1_weight":
                # The part of the sender stands between that of the receiver and that of the edge.
                at = spec.of_type(number).receiver_inputs
                sender = own[f"{name}/pair_sender_weight"]
                numbers = np.hstack([numbers[:, :at], sender, numbers[:, at:]])
            rows = np.arange(shape[0]) if rows is None else rows
            if len(shape) == 1:
                where: tuple[Ints, ...] = (rows,)
            else:
                where = np.ix_(rows, np.arange(shape[1]) if columns is None else columns)
            sources[tensor][where], signs[tensor][where] = numbers, 1
    return source.ravel(), sign.ravel()


def _kept(own: ModelSpec, padded: ModelSpec) -> dict[str, tuple[Ints | None, Ints | None]]:
    """Rows and columns of the padded layers that the type of ``own`` has, None for all, by layer."""
    x = (own.channels, padded.channels)
    b = (own.attributes, padded.attributes)
    u = (own.controls, padded.controls)
    received = (own.inputs - own.own_inputs, padded.inputs - padded.own_inputs)
    sender = [x, u, b] if own.pairwise or own.sender_controls else [x, b]
    states = _positions([x, (own.carried, padded.carried)])
    outputs = states
    if own.gain:
        gains = padded.states + states[:, None] * own.message + np.arange(own.message)
        outputs = np.concatenate([states, gains.ravel()])
    edge = (own.edge_attributes, padded.edge_attributes)
    inputs = _positions([x, u, b, received])
    first = _positions([x, b])
    top = f"layer_{own.depth + 1}_"
    return {
        "layer_1_": (None, inputs),
        top: (outputs, None),
        "linear_": (states, inputs),
        "first_": (None, first),
        "first_layer_1_": (None, first),
        "emit_layer_1_": (None, _positions(sender)),
        "pair_layer_1_": (None, _positions([x, b, *sender, edge])),
        "pair_layer_3_": (np.arange(own.message), None),
    }


def _positions(parts: list[tuple[int, int]]) -> Ints:
    """Positions of numbers of which each part has ``own`` first ones of ``padded``."""
    found, at = [], 0
    for own, padded in parts:
        found.append(at + np.arange(own))
        at += padded
    return np.concatenate(found)
