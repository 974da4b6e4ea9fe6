"""The weights of a network model: names, shapes and order in the flat parameter vector.

Names and order are part of the file format, and all engines use them: a weight is (outputs, inputs)
in C order, followed by its bias (outputs,).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..layout import Layout
from .spec import ModelSpec

# Of a code as an attribute: codes start at zero and would take long to reach the size of attributes at
# the rate of the other weights.
CODE_UNIT = 4.0


def layout_of(spec: ModelSpec) -> Layout:
    """The layout of a model of ``spec``.

    With several types of nodes each tensor has the name of the type in front, as in
    ``load/layer_1_weight``, and the sizes of a model of that type alone. Of pairwise messages the part
    of the first layer that the sender's type decides is ``pair_sender_weight`` (hidden, sender inputs),
    which ``pair_layer_1_weight`` is without.
    """
    if spec.family == "own":
        from .own_module import weight_shapes  # torch, which other models do not need here

        return Layout(*weight_shapes(spec))
    if spec.node_types:
        return Layout(
            {
                f"{name}/{tensor}": shape
                for number, name in enumerate(spec.node_types)
                for tensor, shape in _of_type(spec.of_type(number)).items()
            }
        )
    shapes: dict[str, tuple[int, ...]] = {}

    def linear(name: str, outputs: int, inputs: int) -> None:
        shapes[f"{name}weight"] = (outputs, inputs)
        shapes[f"{name}bias"] = (outputs,)

    if spec.family == "l2s":
        linear("encoder_", spec.hidden, spec.inputs)
        linear("message_", spec.hidden, spec.hidden)
        linear("update_", spec.hidden, spec.hidden)
        linear("decoder_", spec.channels, spec.hidden)
        return Layout(shapes)

    # A neural ODE of the whole system ("node") has one network for the states of all its nodes.
    stacked = spec.bodies if spec.family == "node" else 1
    width = spec.inputs * stacked
    for number in range(1, spec.depth + 1):
        linear(f"layer_{number}_", spec.hidden, width)
        width = spec.hidden
    linear(f"layer_{spec.depth + 1}_", spec.outputs * stacked, width)
    if spec.family == "node":
        return Layout(shapes)
    if spec.linear:
        shapes["linear_weight"] = (spec.states, spec.inputs)

    inputs = spec.first_inputs
    if spec.carried and spec.first_message == "linear":
        linear("first_", spec.message, inputs)
    elif spec.carried and spec.first_message == "mlp":
        linear("first_layer_1_", spec.hidden, inputs)
        linear("first_layer_2_", spec.message, spec.hidden)
    if spec.messages == "emitted":
        linear("emit_layer_1_", spec.hidden, spec.sender_inputs)
        linear("emit_layer_2_", spec.message, spec.hidden)
    elif spec.messages == "pairwise":
        # Columns of the first layer: the receiver's inputs, the sender's, those of the pair.
        width = spec.receiver_inputs + spec.sender_inputs + spec.pair_inputs
        linear("pair_layer_1_", spec.hidden, width)
        linear("pair_layer_2_", spec.hidden, spec.hidden)
        linear("pair_layer_3_", spec.message, spec.hidden)
    if spec.learned_edges:
        shapes["edge_log_weight"] = (spec.learned_edges,)
    if spec.learned_delays:
        shapes["delay_logit"] = (spec.learned_delays,)
    if not spec.codes:
        return Layout(shapes)
    # The last one: what comes before is the vector of the model with given codes.
    shapes["node_code"] = (spec.coded_nodes, spec.codes)
    return Layout(shapes, frozenset({"node_code"}))


def _of_type(spec: ModelSpec) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors of one type, whose own specification ``spec`` is."""
    shapes = dict(layout_of(spec).shapes)
    if spec.pairwise:
        inputs = spec.receiver_inputs + spec.pair_inputs
        shapes["pair_layer_1_weight"] = (spec.hidden, inputs)
        shapes["pair_sender_weight"] = (spec.hidden, spec.sender_inputs)
    return shapes


def without_codes_in_messages(spec: ModelSpec) -> NDArray[np.float64]:
    """A factor (size,) of the weights: 0 for those of codes in the layers of messages, else 1.

    On one graph a constant of a node and the same constant sent by its neighbours explain the data alike,
    so that codes that enter messages are mixtures over neighbours and fail on other graphs.
    """
    layout = layout_of(spec)
    factor = np.ones(layout.size)
    named = layout.unpack(factor)
    if spec.codes and spec.messages == "emitted":
        named["emit_layer_1_weight"][:, -spec.codes :] = 0
    elif spec.codes and spec.messages == "pairwise":
        for last in (spec.receiver_inputs, spec.receiver_inputs + spec.sender_inputs):
            named["pair_layer_1_weight"][:, last - spec.codes : last] = 0
    return factor
