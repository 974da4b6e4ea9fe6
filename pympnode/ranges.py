"""TrainingRange: what a model was trained on, and how far a dataset lies outside of it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from .errors import OutsideTrainingRange, PympnodeWarning
from .schema import Arrays


@dataclass(frozen=True)
class TrainingRange:
    """The data that a model has seen: pairs are (smallest, largest); lists are one a feature.

    ``parameters`` are the values that all its datasets share, ``parameter_spans`` (smallest,
    largest) of those in which they differ; ``control`` and ``attribute`` a pair a component.
    """

    nodes: tuple[int, int]
    degree: tuple[int, int]
    mean_degree: float
    dt: tuple[float, float]
    low: tuple[float, ...]
    high: tuple[float, ...]
    steps: int
    trajectories: int
    parameters: Mapping[str, Any] = field(default_factory=dict)
    graphs: tuple[str, ...] = ()
    parameter_spans: Mapping[str, Any] = field(default_factory=dict)
    control: tuple[tuple[float, float], ...] = ()
    attribute: tuple[tuple[float, float], ...] = ()

    @classmethod
    def of(
        cls,
        arrays: Sequence[Arrays],
        parameters: Mapping[str, Any] | None = None,
        graphs: Sequence[str] = (),
        parameter_spans: Mapping[str, Any] | None = None,
    ) -> TrainingRange:
        """The range of some datasets in physical units."""
        nodes = np.concatenate([a.graph.nodes for a in arrays])
        degree = np.concatenate([a.graph.in_degree for a in arrays])
        dt = np.concatenate([np.diff(a.time) for a in arrays])
        low = np.min([np.nanmin(a.x, axis=(0, 1, 2)) for a in arrays], axis=0)
        high = np.max([np.nanmax(a.x, axis=(0, 1, 2)) for a in arrays], axis=0)
        return cls(
            (int(nodes.min()), int(nodes.max())),
            (int(degree.min()), int(degree.max())),
            float(degree.mean()),
            (float(dt.min()), float(dt.max())),
            tuple(float(v) for v in low),
            tuple(float(v) for v in high),
            max(a.steps for a in arrays),
            sum(a.trajectories for a in arrays),
            dict(parameters or {}),
            tuple(dict.fromkeys(graphs)),
            dict(parameter_spans or {}),
            # The last control of a trajectory is never used.
            _pairs([a.u[:, :-1] for a in arrays if a.u is not None]),
            _pairs([a.attribute for a in arrays if a.attribute is not None]),
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for files."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainingRange:
        """The inverse of `as_dict`."""
        pairs: dict[str, Any] = {
            name: tuple(values[name]) for name in ("nodes", "degree", "dt", "low", "high")
        }
        rest = {
            name: values[name] for name in ("mean_degree", "steps", "trajectories", "parameters")
        }
        return cls(
            **pairs,
            **rest,
            graphs=tuple(values.get("graphs", ())),
            parameter_spans=values.get("parameter_spans", {}),
            control=tuple(tuple(pair) for pair in values.get("control", ())),
            attribute=tuple(tuple(pair) for pair in values.get("attribute", ())),
        )

    def outside(
        self,
        features: Sequence[str],
        x: np.ndarray,
        nodes: np.ndarray,
        degree: np.ndarray,
        dt: np.ndarray,
        parameters: Mapping[str, Any] | None,
        u: np.ndarray | None = None,
        attribute: np.ndarray | None = None,
        names: tuple[Sequence[str], Sequence[str]] = ((), ()),
    ) -> list[str]:
        """In words, with numbers: each way in which data lie outside.

        ``x`` (..., feature), ``u`` (..., control), ``attribute`` (..., attribute); ``names`` of the
        controls and of the attributes. States, controls and attributes may leave their range by a
        tenth of it.
        """
        found = []

        def compare(name: str, values: np.ndarray, low: float, high: float, slack: float) -> None:
            if values.size and (values.min() < low - slack or values.max() > high + slack):
                got = _interval(values.min(), values.max())
                found.append(f"{name} {got}, trained on {_interval(low, high)}")

        compare("nodes", nodes, *self.nodes, 0)
        compare("degree", degree, *self.degree, 0)
        compare("time step", dt, *self.dt, 1e-6 * self.dt[1])
        for index, name in enumerate(features):
            low, high = self.low[index], self.high[index]
            compare(f"initial {name}", x[..., index], low, high, 0.1 * (high - low))
        for seen, values, title in (
            (self.control, u, names[0]),
            (self.attribute, attribute, names[1]),
        ):
            if values is None:
                continue
            for index, (low, high) in enumerate(seen):
                title_of = title[index] if index < len(title) else f"input {index}"
                compare(title_of, values[..., index], low, high, 0.1 * (high - low))
        found += different_parameters(self.parameters, parameters or {})
        found += beyond_parameters(self.parameter_spans, parameters or {})
        return found

    def other_physics(self, dt: np.ndarray, parameters: Mapping[str, Any] | None) -> list[str]:
        """In words: another time step and other parameters, which a larger system need not have."""
        found = []
        low, high = self.dt
        if dt.min() < low * (1 - 1e-6) or dt.max() > high * (1 + 1e-6):
            got = _interval(dt.min(), dt.max())
            found.append(f"time step {got}, trained on {_interval(low, high)}")
        found += different_parameters(self.parameters, parameters or {})
        return found + beyond_parameters(self.parameter_spans, parameters or {})


def different_parameters(trained: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Parameters of the physics that differ, in words. Only those of the same shape compare."""
    found = []
    for name in sorted(trained.keys() & given.keys()):
        a, b = np.asarray(trained[name]), np.asarray(given[name])
        if a.dtype.kind not in "fiu" or b.dtype.kind not in "fiu" or a.shape != b.shape:
            continue
        if not np.allclose(a, b, rtol=1e-9, atol=1e-12):
            found.append(f"parameter {name} {_short(b)}, trained on {_short(a)}")
    return found


def beyond_parameters(spans: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Parameters outside what several datasets spanned, in words."""
    found = []
    for name in sorted(spans.keys() & given.keys()):
        low, high = (np.asarray(end) for end in spans[name])
        value = np.asarray(given[name])
        if value.dtype.kind not in "fiu" or value.shape != low.shape:
            continue
        slack = 1e-9 * np.maximum(np.abs(low), np.abs(high))
        if np.any(value < low - slack) or np.any(value > high + slack):
            found.append(f"parameter {name} {_short(value)}, trained on {describe_span(low, high)}")
    return found


def describe_span(low: Any, high: Any) -> str:
    """ "low to high" for numbers and arrays."""
    return f"{_short(np.asarray(low))} to {_short(np.asarray(high))}"


def describe_value(value: Any) -> str:
    """A parameter in a few characters: numbers up to four, larger arrays by their norm."""
    array = np.asarray(value)
    return _short(array) if array.dtype.kind in "fiu" else str(value)


def _pairs(values: list[np.ndarray]) -> tuple[tuple[float, float], ...]:
    """(smallest, largest) of each component of the last axis."""
    if not values:
        return ()
    flat = np.concatenate([v.reshape(-1, v.shape[-1]) for v in values])
    return tuple(zip(flat.min(axis=0).tolist(), flat.max(axis=0).tolist()))


def warn_outside(what: str, found: list[str]) -> None:
    """One warning that names all ways in which ``what`` lies outside a model's training range."""
    if found:
        warn_user(
            f"{what} lies outside what the model was trained on: " + "; ".join(found),
            OutsideTrainingRange,
        )


def warn_user(text: str, category: type[PympnodeWarning] = PympnodeWarning) -> None:
    """A warning that points to the user's own line."""
    warnings.warn(text, category, stacklevel=_callers_level())


def _callers_level() -> int:
    """The stack level, for `warn_user`, of the first line outside of this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("pympnode"):
        frame, level = frame.f_back, level + 1
    return level


def _interval(low: float, high: float) -> str:
    a, b = f"{low:.4g}", f"{high:.4g}"
    return a if a == b else f"{a} to {b}"


def _short(values: np.ndarray) -> str:
    if values.ndim == 0:
        return f"{float(values):.4g}"
    if values.size <= 4:
        return np.array2string(values, precision=4, separator=", ")
    return f"of norm {np.linalg.norm(values):.4g}"
