"""Sphinx extension: adds to a system's docstring its source and a table of its states, inputs, parameters
and observables, read from the system."""

from __future__ import annotations

from typing import Any

import numpy as np

from pympnode.systems.base import System


def facts(system: System) -> list[str]:
    """Source, states, inputs, parameters and observables of a system as a reStructuredText table."""
    rows = []
    # The range is shown only for uniform initial states; other samplers are in the docstring.
    uniform = system.body == "node" and type(system).initial is System.initial
    for kind, variables in (("state", system.state), ("input", system.controls)):
        for variable in variables:
            low, high = variable.start
            start = f"starts in ({low:.4g}, {high:.4g})" if kind == "state" and uniform else ""
            rows.append((kind, variable.name, variable.unit, start))
    for name, parameter in system.parameters.items():
        given = parameter.default
        if callable(given):
            given = "of the graph"
        elif np.ndim(given):
            given = "an array"
        elif not isinstance(given, str):
            given = f"{given:.6g}"
        dims = f" ({', '.join(parameter.dims)})" if parameter.dims else ""
        text = f"default {given}{dims}. {parameter.source}"
        rows.append(("parameter", name, parameter.unit, text))
    for name, observable in system.observables.items():
        rows.append(("observable", name, observable.unit, observable.title))
    lines = [
        "",
        f"Source: {system.source}. Name: ``{system.name}``; {system.steps} steps of {system.dt:g}.",
        "",
    ]
    lines += [".. list-table::", "   :header-rows: 1", "", "   * -", "     - name", "     - unit"]
    lines.append("     -")
    for kind, name, unit, text in rows:
        lines += [f"   * - {kind}", f"     - ``{name}``", f"     - {unit}", f"     - {text}"]
    return [*(line.replace("|", r"\|") for line in lines), ""]


def _append(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    if what == "class" and isinstance(obj, type) and issubclass(obj, System) and obj.name:
        lines += facts(obj())


def setup(app: Any) -> dict[str, bool]:
    app.connect("autodoc-process-docstring", _append, priority=900)
    return {"parallel_read_safe": True}
