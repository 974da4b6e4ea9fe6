"""Candidate terms of equations: functions of a node, and of a receiver and a sender.

The names of a library: "polynomial" (products of features, of a node up to ``degree``, of a pair up to 2),
"difference" (x_j - x_i), "sine" (sin and cos of features and of differences), "hill" (x / (1 + x) and
x^2 / (1 + x^2), of features that are never negative in the data).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidData, shown_value
from ..graph import Graph

LIBRARY = ("polynomial", "difference", "sine", "hill")
NODE, PAIR = "node", "pair"


@dataclass(frozen=True)
class Candidate:
    """A term without its coefficient.

    ``part``: "node", a function of inputs (..., variable) of a node, its features followed by its
        controls and attributes; or "pair", a function of the features (..., feature) of receiver and
        sender. Both return (...). ``text`` and ``latex`` are "" for the constant.
    """

    part: str
    text: str
    latex: str
    function: Callable[..., Any]

    def values(self, *inputs: NDArray) -> NDArray[np.float64]:
        """The term at some states. Raises `InvalidData` where a function of the user returns another shape,
        or values that are not finite."""
        wanted = inputs[0].shape[:-1]
        try:
            found = np.asarray(self.function(*inputs))
            if found.dtype.kind == "c":
                raise TypeError("complex numbers, whose imaginary part would be lost")
            found = np.asarray(found, dtype=np.float64)
            found = np.broadcast_to(found, wanted)
        except (TypeError, ValueError, IndexError, AttributeError) as error:
            raise InvalidData(
                f"the candidate {self.text!r} does not return one number for each state",
                got=f"{type(error).__name__}: {error}",
                allowed=f"an array {wanted} for states {inputs[0].shape}",
                fix="write it with NumPy functions of x[..., number]",
            ) from error
        if not np.isfinite(found).all():
            raise InvalidData(
                f"the candidate {self.text!r} is not finite at states of the data",
                got=shown_value(found[~np.isfinite(found)][0]),
                allowed="finite values",
                fix="leave it out",
            )
        return found


def node_candidates(
    features: Sequence[str],
    others: Sequence[str],
    circular: Sequence[int],
    library: Sequence[str],
    degree: int,
    positive: Sequence[bool],
) -> list[Candidate]:
    """Functions of one node; ``others`` are its controls and attributes, one of which enters a product at most.
    ``positive``: of each feature, whether no state is negative."""
    names = [*features, *others]
    plain = [n for n in range(len(names)) if n not in circular]
    terms = [Candidate(NODE, "", "", lambda x: np.ones(x.shape[:-1]))]
    for power in range(1, degree + 1 if "polynomial" in library else 2):
        for chosen in combinations_with_replacement(plain, power):
            given = [n for n in chosen if n >= len(features)]
            if len(given) <= 1 and not (given and power > 2):
                terms.append(_product(NODE, chosen, (), names))
    for number, name in enumerate(features):
        if "sine" in library:
            for kind in ("sin", "cos"):
                terms.append(_wave(NODE, kind, number, name))
        if "hill" in library and positive[number]:
            terms += [_hill(NODE, power, number, name) for power in (1, 2)]
    return terms


def pair_candidates(
    features: Sequence[str],
    circular: Sequence[int],
    library: Sequence[str],
    positive: Sequence[bool],
    differences: bool,
) -> list[Candidate]:
    """Functions of receiver i and sender j. ``differences``: x_j - x_i in place of x_j, as both and x_i
    depend on each other linearly."""
    plain = [n for n in range(len(features)) if n not in circular]
    terms = [Candidate(PAIR, "", "", lambda i, j: np.ones(i.shape[:-1]))]
    for number in plain:
        if "polynomial" in library:
            terms.append(_product(PAIR, (number,), (), features))
            if not differences:
                terms.append(_product(PAIR, (), (number,), features))
        if differences:
            terms.append(_difference(number, features[number]))
    if "polynomial" in library:
        for a, b in combinations_with_replacement(plain, 2):
            terms.append(_product(PAIR, (a, b), (), features))
            terms.append(_product(PAIR, (), (a, b), features))
        terms += [_product(PAIR, (a,), (b,), features) for a in plain for b in plain]
    for number, name in enumerate(features):
        if "sine" in library:
            terms += [_wave(PAIR, kind, number, name) for kind in ("sin", "cos")]
        if "hill" in library and positive[number]:
            terms += [_hill(PAIR, power, number, name) for power in (1, 2)]
    return terms


def user_candidates(part: str, functions: Mapping[str, Any]) -> list[Candidate]:
    """Functions of the user by the text that stands for them."""
    return [
        Candidate(part, text, rf"\mathrm{{{_escaped(text)}}}", function)
        for text, function in functions.items()
    ]


def column(candidate: Candidate, inputs: NDArray, features: int, graph: Graph) -> NDArray:
    """A candidate at states of all nodes of a graph: (..., node). That of a pair is summed over senders, times
    the weights of the edges. ``inputs`` (..., node, variable), the first ``features`` of them features."""
    if candidate.part == NODE:
        return candidate.values(inputs)
    x = inputs[..., :features]
    receiver, sender = graph.receiver, graph.sender
    return sum_edges(candidate.values(x[..., receiver, :], x[..., sender, :]), graph)


def sum_edges(values: NDArray, graph: Graph) -> NDArray[np.float64]:
    """Sums of (..., edge) over the edges into each node, times their weights: (..., node)."""
    out = np.zeros((*values.shape[:-1], graph.total_nodes))
    # Edges are sorted by receiver.
    some = np.flatnonzero(graph.in_degree)
    if some.size:
        values = values * graph.weight_or_ones
        out[..., some] = np.add.reduceat(values, graph.receiver_offset[some], axis=-1)
    return out


def latex_name(name: str, index: str) -> str:
    r"""``\mathrm{name}_{index}``."""
    return rf"\mathrm{{{_escaped(name)}}}_{{{index}}}"


def _escaped(name: str) -> str:
    for character in "_%&#$":
        name = name.replace(character, "\\" + character)
    return name


def _product(
    part: str, own: tuple[int, ...], sent: tuple[int, ...], names: Sequence[str]
) -> Candidate:
    powers = [(number, index, chosen.count(number)) for index, chosen in (("i", own), ("j", sent))
              for number in sorted(set(chosen))]  # fmt: skip

    def text(power: int) -> str:
        return f"^{power}" if power > 1 else ""

    return Candidate(
        part,
        " ".join(f"{names[n]}_{index}{text(p)}" for n, index, p in powers),
        r" \, ".join(latex_name(names[n], index) + text(p) for n, index, p in powers),
        (lambda x: x[..., list(own)].prod(axis=-1))
        if part == NODE
        else lambda i, j: i[..., list(own)].prod(axis=-1) * j[..., list(sent)].prod(axis=-1),
    )


def _difference(number: int, name: str) -> Candidate:
    return Candidate(
        PAIR,
        f"({name}_j - {name}_i)",
        rf"\left({latex_name(name, 'j')} - {latex_name(name, 'i')}\right)",
        lambda i, j: j[..., number] - i[..., number],
    )


def _wave(part: str, kind: str, number: int, name: str) -> Candidate:
    function = {"sin": np.sin, "cos": np.cos}[kind]
    if part == NODE:
        return Candidate(
            part,
            f"{kind}({name}_i)",
            rf"\{kind}\left({latex_name(name, 'i')}\right)",
            lambda x: function(x[..., number]),
        )
    difference = _difference(number, name)
    return Candidate(
        part,
        f"{kind}{difference.text}",
        rf"\{kind}{difference.latex}",
        lambda i, j: function(j[..., number] - i[..., number]),
    )


def _hill(part: str, power: int, number: int, name: str) -> Candidate:
    index = "i" if part == NODE else "j"
    raised = "" if power == 1 else f"^{power}"
    text, latex = f"{name}_{index}{raised}", latex_name(name, index) + raised

    def hill(x: NDArray) -> NDArray:
        value = x[..., number] ** power
        return value / (1.0 + value)

    return Candidate(
        part,
        f"{text}/(1 + {text})",
        rf"\frac{{{latex}}}{{1 + {latex}}}",
        hill if part == NODE else lambda i, j: hill(j),
    )
