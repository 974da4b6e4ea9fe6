"""The text of a network model's repr: its kind, training data and inputs."""

from __future__ import annotations

from typing import Any

from ..training.ranges import describe_span, describe_value, interval
from ..uncertainty import calibration_text, noise_text

_FAMILY = {
    "mpnode": "MP-NODE",
    "l2s": "L2S",
    "node": "neural ODE of the whole system",
    "own": "module",
}


def summary(model: Any) -> str:
    """A `Model` in one line: family, size, messages, integrator."""
    spec = model.spec
    parts = [_FAMILY[spec.family], f"{model.theta.shape[-1]:,} weights", f"hidden {spec.hidden}"]
    if spec.family == "own":
        parts = [f"module {spec.module!r}", parts[1]]
    if model.members > 1:
        parts.insert(0, f"ensemble of {model.members}")
    if spec.family == "mpnode":
        parts.append(f"{spec.message} {spec.messages} message components, {spec.coupling} coupling")
        words = f"sum / {spec.divisor:.4g}" if spec.aggregation == "sum" else spec.aggregation
        parts.append(f"{words} over neighbours")
    if spec.node_types:
        of_types = zip(spec.node_types, spec.type_channels, strict=True)
        each = [f"{name} ({width} feature{'s' * (width > 1)})" for name, width in of_types]
        parts.append(f"nodes of the types {', '.join(each)}")
    parts.append(f"{spec.solver} x {spec.substeps}")
    return ", ".join(parts)


def lines(model: Any) -> dict[str, str]:
    """Label and text of every line of a `Model`'s repr."""
    trained = model.trained
    ranges = ", ".join(
        f"{name} {low:.3g} to {high:.3g}"
        for name, low, high in zip(model.features, trained.low, trained.high)
    )
    graphs = trained.graphs
    return {
        "Model": summary(model),
        "system": model.system or "given data",
        "trained on": (
            f"{trained.trajectories} trajectories of {trained.steps} steps, "
            f"dt {interval(*trained.dt)}, {interval(*trained.nodes)} nodes of degree "
            f"{interval(*trained.degree)}"
        ),
        "graphs": "; ".join(graphs[:3]) + (" ..." if len(graphs) > 3 else ""),
        "state": ranges,
        **_uncertainty(model),
        **_inputs(model),
    }


def _uncertainty(model: Any) -> dict[str, str]:
    """Members that are left out, the noise and the calibration, where there are."""
    found = {}
    if model.left_out:
        numbers = ", ".join(map(str, model.left_out))
        found["left out"] = f"member{'s' * (len(model.left_out) > 1)} {numbers}, stuck in training"
    if model.noise is not None:
        found["noise"] = noise_text(model.features, model.noise)
    if model.calibration is not None:
        found["calibrated"] = calibration_text(model.features, model.calibration)
    return found


def _inputs(model: Any) -> dict[str, str]:
    """Controls, node attributes and parameters that a model was trained with, where there are."""
    trained = model.trained
    found = {}
    for label, names, pairs in (
        ("controls", model.controls, trained.control),
        ("attributes", model.attributes, trained.attribute),
    ):
        if pairs:
            found[label] = ", ".join(
                f"{name} {interval(*pair)}" for name, pair in zip(names, pairs)
            )
    if trained.type_nodes:
        found["types"] = ", ".join(
            f"{interval(*pair)} {name}"
            for name, pair in zip(model.spec.node_types, trained.type_nodes)
        )
    if trained.weight:
        learned = (
            "" if model.graph is None or model.graph.weight is None else ", learned (model.graph)"
        )
        found["weights"] = f"of edges {interval(*trained.weight)}{learned}"
    if trained.delay:
        learned = (
            ", learned (model.graph)"
            if model.graph is not None and model.graph.delay is not None
            else ""
        )
        found["delays"] = f"of edges {interval(*trained.delay)}{learned}"
    if model.edge_attributes:
        found["edges"] = ", ".join(model.edge_attributes)
    parts = [f"{name} {describe_value(value)}" for name, value in trained.parameters.items()]
    parts += [f"{name} {describe_span(*span)}" for name, span in trained.parameter_spans.items()]
    if parts:
        found["parameters"] = ", ".join(parts)
    return found
