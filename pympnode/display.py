"""What models and results say of themselves, as text and as a table in a notebook."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from .training.ranges import describe_span, describe_value

if TYPE_CHECKING:
    from .networks.model import Model
    from .training.result import Result

_FAMILY = {"mpnode": "MP-NODE", "l2s": "L2S", "node": "neural ODE of the whole system"}


def spec_line(model: Model) -> str:
    """The model in one line."""
    own = getattr(model, "in_one_line", None)
    if own is not None:
        return own()
    spec = model.spec
    parts = [_FAMILY[spec.family], f"{model.theta.shape[-1]:,} weights", f"hidden {spec.hidden}"]
    if model.members > 1:
        parts.insert(0, f"ensemble of {model.members}")
    if spec.family == "mpnode":
        parts.append(f"{spec.message} {spec.messages} message components, {spec.coupling} coupling")
        arriving = "mean" if spec.aggregation == "mean" else f"sum / {spec.divisor:.4g}"
        parts.append(f"{arriving} over neighbours")
    parts.append(f"{spec.solver} x {spec.substeps}")
    return ", ".join(parts)


def model_lines(model: Model) -> dict[str, str]:
    """Label and text of every line of a model's repr."""
    seen = model.trained
    ranges = ", ".join(
        f"{name} {low:.3g} to {high:.3g}"
        for name, low, high in zip(model.features, seen.low, seen.high)
    )
    return {
        "Model": spec_line(model),
        "system": model.system or "given data",
        "trained on": (
            f"{seen.trajectories} trajectories of {seen.steps} steps, dt {_span(seen.dt)}, "
            f"{_span(seen.nodes)} nodes of degree {_span(seen.degree)}"
        ),
        "graphs": "; ".join(seen.graphs[:3]) + (" ..." if len(seen.graphs) > 3 else ""),
        "state": ranges,
        **_given(model),
    }


def _given(model: Model) -> dict[str, str]:
    """Controls, node attributes and parameters that a model was trained with, where there are."""
    seen = model.trained
    lines = {}
    for label, names, pairs in (
        ("controls", model.controls, seen.control),
        ("attributes", model.attributes, seen.attribute),
    ):
        if pairs:
            lines[label] = ", ".join(f"{name} {_span(pair)}" for name, pair in zip(names, pairs))
    parts = [f"{name} {describe_value(value)}" for name, value in seen.parameters.items()]
    parts += [f"{name} {describe_span(*span)}" for name, span in seen.parameter_spans.items()]
    if parts:
        lines["parameters"] = ", ".join(parts)
    return lines


def result_lines(result: Result) -> dict[str, str]:
    """Label and text of every line of a result's repr."""
    lines = {
        "Result": f"{result.model.system or 'given data'}, {result.status}: {result.reason}",
        "graph": "; ".join(getattr(result.model.trained, "graphs", ())[:3])
        or ("given with the data" if hasattr(result.model, "members") else "rebuilt at every step"),
        "model": spec_line(result.model),
        "validation": (
            "none yet: the first epoch was not finished"
            if result.best_epoch < 0
            else f"best loss {result.best_loss:.4g} in epoch {result.best_epoch} "
            f"of {result.history.sizes['epoch']}"
        ),
        "engine": f"{result.engine} ({result.why}), kernel {result.kernel}, device {result.device}",
        "seconds": f"{result.seconds:.1f} ({result.updates} updates)",
    }
    if result.loaded:
        lines["started from"] = _taken(result)
    if result.departures:
        lines["departures"] = "; ".join(result.departures)
    return lines


def _taken(result: Result) -> str:
    """How many tensors came from the start, and which did not."""
    fresh = [name for name in result.model.weights if name not in result.loaded]
    if not fresh:
        return f"all {len(result.loaded)} tensors of the start"
    return f"{len(result.loaded)} tensors of the start; fresh: {', '.join(fresh)}"


def html_table(title: str, lines: dict[str, Any]) -> str:
    """A two-column table."""
    rows = "".join(
        f"<tr><th style='text-align:left;vertical-align:top'>{html.escape(str(name))}</th>"
        f"<td style='text-align:left'>{html.escape(str(text))}</td></tr>"
        for name, text in lines.items()
    )
    return f"<table><caption><code>{html.escape(title)}</code></caption>{rows}</table>"


def _span(pair: tuple[float, float]) -> str:
    low, high = pair
    a, b = f"{low:.4g}", f"{high:.4g}"
    return a if a == b else f"{a} to {b}"
