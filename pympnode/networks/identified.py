"""IdentifiedEquations: what `pympnode.identify` returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..graph import Graph
from ..systems.base import Parameter, System
from .candidates import NODE, PAIR, Candidate, column, latex_name
from .systems.user import own_system


@dataclass(frozen=True)
class Term:
    """``coefficient`` times a candidate, in the derivative of ``feature``; ``part`` "node" is a term of F,
    "pair" one of h. ``text`` is "" for the constant."""

    feature: str
    part: str
    text: str
    coefficient: float


@dataclass(frozen=True, eq=False, repr=False)
class IdentifiedEquations:
    r"""dx_i/dt = F(x_i) + sum over senders j of w_ij h(x_i, x_j), with F and h sums of few terms.

    ``terms``: a tuple of `Term`. ``text`` and ``latex``: the equations, one line per feature; ``latex``
        fits into ``\begin{aligned}``. ``system``: a `pympnode.System` for `pympnode.simulate`, with the
        graph, the range of initial states and the time grid of the data. ``field_error`` by feature:
        root mean square of the difference to the network's derivatives at states that were not fitted,
        over the standard deviation of those. ``pair_error`` by feature: the same of h, with zero mean
        over senders, at pairs of states of the data, over that of the network's h; None where messages
        enter the update nonlinearly, so that the network has no h.
    """

    features: tuple[str, ...]
    candidates: tuple[tuple[tuple[Candidate, float], ...], ...]
    system: System
    field_error: Mapping[str, float]
    pair_error: Mapping[str, float] | None
    weighted: bool

    @property
    def terms(self) -> tuple[Term, ...]:
        """All terms, those of F before those of h."""
        return tuple(
            Term(feature, part, candidate.text, coefficient)
            for feature, found in zip(self.features, self.candidates)
            for part in (NODE, PAIR)
            for candidate, coefficient in found
            if candidate.part == part
        )

    @property
    def text(self) -> str:
        """The equations in plain text, a line per feature."""
        lines = []
        for feature, found in zip(self.features, self.candidates):
            own, sent = (
                _sum([(c.text, value) for c, value in found if c.part == part], " ")
                for part in (NODE, PAIR)
            )
            factor = "w_ij " if self.weighted else ""
            lines.append(f"d{feature}_i/dt = " + _joined(own, sent, f"sum_j {factor}[", "]"))
        return "\n".join(lines)

    @property
    def latex(self) -> str:
        r"""The equations in LaTeX, with ``&`` before ``=`` and ``\\`` between lines."""
        lines = []
        for feature, found in zip(self.features, self.candidates):
            own, sent = (
                _sum([(c.latex, value) for c, value in found if c.part == part], r" \, ")
                for part in (NODE, PAIR)
            )
            before = r"\sum_j " + ("w_{ij} " if self.weighted else "") + r"\left["
            right = _joined(own, sent, before, r"\right]")
            lines.append(rf"\frac{{d}}{{dt}} {latex_name(feature, 'i')} &= {right}")
        return " \\\\\n".join(lines)

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return f"<IdentifiedEquations, {len(self.terms)} terms>\n{self.text}"

    def _repr_latex_(self) -> str:
        return rf"$$\begin{{aligned}}{self.latex}\end{{aligned}}$$"


def system_of(
    name: str,
    features: tuple[str, ...],
    found: tuple[tuple[tuple[Candidate, float], ...], ...],
    *,
    units: tuple[str, ...],
    controls: tuple[str, ...],
    attributes: Mapping[str, NDArray],
    start: NDArray,
    topology: Graph,
    dt: float,
    steps: int,
) -> System:
    """The system of identified terms; ``attributes`` (node,) by name, ``start`` (feature, 2)."""

    def rate(
        t: float, x: NDArray, u: NDArray | None, graph: Graph, parameters: Mapping[str, Any]
    ) -> NDArray:
        parts = [x]
        if controls:
            parts.append(np.zeros((*x.shape[:-1], len(controls))) if u is None else u)
        parts += [
            np.broadcast_to(np.asarray(parameters[key], np.float64), x.shape[:-1])[..., None]
            for key in attributes
        ]
        inputs = np.concatenate(parts, axis=-1)
        out = np.zeros(x.shape)
        for number, terms in enumerate(found):
            for candidate, coefficient in terms:
                out[..., number] += coefficient * column(candidate, inputs, len(features), graph)
        return out

    return own_system(
        name,
        rate,
        list(features),
        units=list(units),
        start=start.tolist(),
        parameters={
            key: Parameter(values, ("node",), source="data") for key, values in attributes.items()
        },
        node_attributes=list(attributes),
        controls=list(controls),
        nodes=int(topology.nodes[0]),
        topology=topology,
        dt=dt,
        steps=steps,
        title=f"{name}, identified from a trained model",
    )


def _sum(terms: list[tuple[str, float]], times: str) -> str:
    """``-0.5 + 2 x``; "" without terms."""
    out = ""
    for text, value in terms:
        number = f"{abs(value):.4g}"
        sign = "-" if value < 0 else "+"
        out += f" {sign} " if out else sign.replace("+", "")
        out += f"{number}{times}{text}" if text else number
    return out


def _joined(own: str, sent: str, before: str, after: str) -> str:
    received = f"{before}{sent}{after}" if sent else ""
    return " + ".join(part for part in (own, received) if part) or "0"
