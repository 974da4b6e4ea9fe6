"""Classes of models for data when ``messages`` or ``coupling`` is not chosen.

Short runs train emitted, superposed messages, whose update is cheapest. In longer ones messages of
pairs compete: superposed, mixed, and mixed with the largest message. They can express what emitted ones
can and more, and end with the smaller error where the vector field is first matched to derivatives of
the data. Where the data have none (coarse time steps, strong noise) the number of updates decides, of
which emitted messages make two to three times as many: there they compete too. Systems of
which another class was measured to be best name it (`System.model_options`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from ..config import SHORT as SHORT_RUN
from ..datasets.names import FEATURE
from ..datasets.record import record
from ..systems.base import System
from ..systems.registry import get, names
from .agreement import labels
from .node_types import types_of
from .options import NetworkTraining, left_open
from .spec import ModelSpec

CLASSES: dict[str, dict[str, str]] = {
    "pairwise superposed": {"messages": "pairwise", "coupling": "superposed"},
    "pairwise mixed": {"messages": "pairwise", "coupling": "mixed"},
    "pairwise mixed max": {"messages": "pairwise", "coupling": "mixed", "aggregation": "max"},
    "emitted superposed": {"messages": "emitted", "coupling": "superposed"},
}
SHORT = CLASSES["emitted superposed"]
UNMATCHED = {"emitted superposed"}
"""Classes that compete only where there is no stage of gradient matching."""
LONG, LONG_SECONDS = SHORT_RUN, 20.0
"""Updates, or seconds of a time budget, from which on the classes compete."""
_TANH = 12  # multiply-adds that take as long as one tanh


def open_choice(options: NetworkTraining) -> bool:
    """Whether ``options`` leave the class open: ``messages`` must be "auto", "pairwise" or left out."""
    return _fits(options.model, "mpnode") and _fits(options.messages, "pairwise")


def _fits(given: Any, value: str) -> bool:
    return left_open(given) or (isinstance(given, str) and given == value)


_CHOOSE = ("model", "messages", "coupling", "aggregation", "relative", "invariant")


def with_options_of_system(
    options: NetworkTraining, datasets: Sequence[xr.Dataset]
) -> tuple[NetworkTraining, str | None]:
    """``options`` with the `System.model_options` of the data's system where they choose no class, and words.

    They choose one by the preset "paper", an engine, a kind of messages or coupling, or a symmetry.
    """
    chosen = options.preset != "fast" or options.engine == "julia"
    chosen |= options.learns_weights or options.learns_graph
    chosen |= not all(left_open(getattr(options, name)) for name in _CHOOSE)
    if chosen or options.has_own_parts or _antisymmetric(options):
        return options, None
    system = _system_of(datasets)
    if system is None or not system.model_options:
        return options, None
    wanted = {k: v for k, v in system.model_options.items() if left_open(getattr(options, k))}
    if options.window is not None or options.max_window is not None:
        wanted = {k: v for k, v in wanted.items() if k not in ("window", "max_window")}
    words = ", ".join(f"{name}={value!r}" for name, value in wanted.items())
    return replace(options, **wanted), f"the options of {system.name}: {words}"


def no_inputs(options: NetworkTraining) -> tuple[str, ...]:
    """Names of the features that no part of the model takes: `ModelSpec.invariant` of emitted messages."""
    if left_open(options.messages) or options.messages != "emitted" or options.invariant is None:
        return ()
    given = options.invariant
    return (given,) if isinstance(given, str) else tuple(given)


def _system_of(datasets: Sequence[xr.Dataset]) -> System | None:
    """The system of all datasets, if their features are its features; with their types of nodes."""
    recorded = {str(record(ds).get("system", "")) for ds in datasets}
    if len(recorded) != 1 or not recorded <= {*names()}:
        return None
    system = get(recorded.pop())
    types = {types_of(ds) for ds in datasets}
    if types != {()}:
        return system.of_types(types.pop()) if len(types) == 1 else None
    same = all(sorted(labels(ds, FEATURE)) == sorted(system.feature_names) for ds in datasets)
    return system if same else None


def short_class(options: NetworkTraining, edge_attributes: int) -> NetworkTraining:
    """The options of a short run.

    ``edge_attributes`` of the data, and the options of pairwise messages, ask for those.
    """
    if options.model is not None and not isinstance(options.model, str):
        return options
    given = (options.relative, options.invariant)
    pairwise = not left_open(options.messages) and _fits(options.messages, "pairwise")
    pairwise |= bool(edge_attributes) or _antisymmetric(options)
    if not pairwise and all(names is None for names in given):
        return _chosen(options, SHORT)
    # Messages that are superposed have the components of the state.
    name = "superposed" if options.message_size is None else "mixed"
    return _chosen(options, CLASSES[f"pairwise {name}"])


def competing(options: NetworkTraining, edge_attributes: int = 0) -> dict[str, NetworkTraining]:
    """The options of each class that ``options`` and the number of ``edge_attributes`` of the data
    leave open, by name; none where no class fits."""
    if not open_choice(options):
        return {}
    found: dict[str, NetworkTraining] = {}
    seen = set()
    for name, fields in CLASSES.items():
        fits = all(_fits(getattr(options, key), value) for key, value in fields.items())
        chosen = _chosen(options, fields)
        key = repr((chosen.messages, chosen.coupling, chosen.aggregation))
        if fits and _possible(options, fields, edge_attributes) and key not in seen:
            seen.add(key)
            found[name] = chosen
    return found


def _possible(options: NetworkTraining, fields: dict[str, str], edge_attributes: int) -> bool:
    """Whether a class can have the other options."""
    if fields["messages"] == "emitted" and (
        edge_attributes
        or _antisymmetric(options)
        or options.relative is not None
        or options.invariant is not None
        or (_fits(options.aggregation, "max") and not left_open(options.aggregation))
    ):
        return False
    if options.engine == "julia" or (options.learns_weights and "aggregation" in fields):
        return False
    if fields["coupling"] == "superposed":
        return options.message_size is None
    return not _antisymmetric(options)


def _antisymmetric(options: NetworkTraining) -> bool:
    # Values of other kinds are refused where the specification is made.
    return isinstance(options.antisymmetric, bool | np.bool_) and bool(options.antisymmetric)


def _chosen(options: NetworkTraining, fields: dict[str, str]) -> NetworkTraining:
    """``options`` with the fields of a class where they leave them open."""
    open_fields: dict[str, Any] = {
        name: value for name, value in fields.items() if left_open(getattr(options, name))
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
