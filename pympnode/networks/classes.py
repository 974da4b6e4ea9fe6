"""Classes of models that compete for data when neither ``messages`` nor ``coupling`` is chosen."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .options import NetworkTraining
from .spec import ModelSpec

# The first is the class of runs that are too short to compare.
CLASSES: dict[str, dict[str, str]] = {
    "emitted superposed": {"messages": "emitted", "coupling": "superposed"},
    "pairwise superposed": {"messages": "pairwise", "coupling": "superposed"},
    "pairwise mixed": {"messages": "pairwise", "coupling": "mixed"},
    "pairwise mixed max": {"messages": "pairwise", "coupling": "mixed", "aggregation": "max"},
    "state mixed": {"messages": "state", "coupling": "mixed"},
}
# Where messages are chosen and are not among these classes, the coupling is that of version 0.1.
_COUPLING = "superposed"
_TANH = 12  # multiply-adds that take as long as one tanh


def competing(options: NetworkTraining, edge_attributes: int) -> dict[str, NetworkTraining]:
    """The options of each class that ``options`` leave open, by name; at least one.

    ``edge_attributes``: of the data; with them pairwise messages, which take them, come first.
    """
    if options.model not in (None, "mpnode"):
        return {"": _chosen(options, {"messages": "state", "coupling": "mixed"})}
    given = {
        name: value
        for name in ("messages", "coupling", "aggregation")
        if (value := getattr(options, name)) not in (None, "auto")
    }
    found = {}
    for name, fields in CLASSES.items():
        fits = all(fields.get(key, value) == value for key, value in given.items())
        if fits and _possible(options, fields):
            found[name] = _chosen(options, fields)
    if options.antisymmetric:
        found = {name: o for name, o in found.items() if o.coupling == "superposed"}
    if "messages" in given and given["messages"] not in ("pairwise",):
        found = {}
    if not found:
        fields = {"messages": "emitted", "coupling": _COUPLING}
        return {"": _chosen(options, fields)}
    if edge_attributes:
        found = dict(sorted(found.items(), key=lambda one: one[1].messages != "pairwise"))
    return found


def _possible(options: NetworkTraining, fields: dict[str, str]) -> bool:
    """Whether a class can have the other options."""
    pairwise = fields["messages"] == "pairwise"
    if (options.antisymmetric or options.relative or options.invariant) and not pairwise:
        return False
    if options.message_size is not None and pairwise and fields["coupling"] == "superposed":
        return False
    if options.engine == "julia" and pairwise:
        return False
    return not (options.learns_weights and fields["messages"] == "state")


def _chosen(options: NetworkTraining, fields: dict[str, str]) -> NetworkTraining:
    """``options`` with the fields of a class where they leave them open."""
    open_fields: dict[str, Any] = {
        name: value for name, value in fields.items() if getattr(options, name) in (None, "auto")
    }
    return replace(options, **open_fields)


def cost(spec: ModelSpec, degree: float) -> float:
    """Multiply-adds of the field for one node with ``degree`` neighbours; a measure of an update."""
    wide = spec.hidden

    def layer(inputs: int, outputs: int, tanh: bool = True) -> float:
        return outputs * (inputs + (_TANH if tanh else 0))

    total = layer(spec.inputs, wide) + (spec.depth - 1) * layer(wide, wide)
    total += layer(wide, spec.outputs, tanh=False)
    if spec.messages == "emitted":
        total += layer(spec.sender_inputs, wide) + layer(wide, spec.message, tanh=False)
        total += degree * spec.message
    elif spec.messages == "pairwise":
        total += wide * (spec.receiver_inputs + spec.sender_inputs)
        total += degree * (layer(spec.edge_attributes, wide) + layer(wide, wide))
        per_edge = degree if spec.aggregation == "max" else 1
        total += per_edge * layer(wide, spec.message, tanh=False)
    return float(total)
