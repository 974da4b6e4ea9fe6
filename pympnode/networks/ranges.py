"""TrainingRange: what a model was trained on, and how far a dataset lies outside of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from ..training.ranges import beyond_parameters, different_parameters, interval
from .arrays import Arrays


@dataclass(frozen=True)
class TrainingRange:
    """The data that a model has seen: pairs are (smallest, largest); lists are one a feature.

    ``weight`` and ``delay`` (smallest, largest) of the edges, () where it was trained without.
    ``type_nodes``: nodes of each type, where there are several, and the other lists are then of all types.
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
    weight: tuple[float, ...] = ()
    edge_attribute: tuple[tuple[float, float], ...] = ()
    type_nodes: tuple[tuple[int, int], ...] = ()
    delay: tuple[float, ...] = ()

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
        each_type = list(zip(*(a.of_each_type() for a in arrays), strict=True))
        span = [_pairs([a.x for a in some]) for some in each_type]
        low, high = zip(*(pair for pairs in span for pair in pairs), strict=True)
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
            _of_types(_pairs([a.u[:, :-1] for a in some if a.u is not None]) for some in each_type),
            _of_types(
                _pairs([a.attribute for a in some if a.attribute is not None]) for some in each_type
            ),
            _span_of_weights(arrays),
            _pairs([a.graph.attribute for a in arrays if a.graph.attribute is not None]),
            _nodes_of_types(arrays),
            _span_of_delays(arrays),
        )

    def with_spans(
        self,
        state: np.ndarray,
        control: np.ndarray,
        attribute: np.ndarray,
        *,
        trajectories: int,
        steps: int,
    ) -> TrainingRange:
        """This range, of a part of the data, with the smallest and largest values (2, component) of all."""

        def pairs(span: np.ndarray) -> tuple[tuple[float, float], ...]:
            return tuple(zip(*span.tolist()))

        return replace(
            self,
            low=tuple(state[0].tolist()),
            high=tuple(state[1].tolist()),
            control=pairs(control),
            attribute=pairs(attribute),
            trajectories=trajectories,
            steps=steps,
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for files."""
        values = asdict(self)
        # Files of models without these stay as in version 0.1.
        later = ("weight", "edge_attribute", "type_nodes", "delay")
        return {name: value for name, value in values.items() if value or name not in later}

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
            weight=tuple(values.get("weight", ())),
            edge_attribute=tuple(tuple(pair) for pair in values.get("edge_attribute", ())),
            type_nodes=tuple(tuple(pair) for pair in values.get("type_nodes", ())),
            delay=tuple(values.get("delay", ())),
        )

    def outside(
        self,
        features: Sequence[str],
        x: Sequence[np.ndarray],
        nodes: np.ndarray,
        degree: np.ndarray,
        dt: np.ndarray,
        parameters: Mapping[str, Any] | None,
        u: Sequence[np.ndarray] = (),
        attribute: Sequence[np.ndarray] = (),
        names: tuple[Sequence[str], Sequence[str]] = ((), ()),
        weight: np.ndarray | None = None,
        edge_attribute: Sequence[np.ndarray] = (),
        edge_names: Sequence[str] = (),
        type_nodes: Mapping[str, int] | None = None,
        delay: np.ndarray | None = None,
    ) -> list[str]:
        """In words, with numbers: each way in which data lie outside.

        ``x``, ``u``, ``attribute`` the values of each feature, control and attribute; ``names`` of the
        controls and of the attributes; ``weight`` (..., edges), 1 where it is None; ``edge_attribute``
        the values of each, and ``edge_names``; ``type_nodes`` the number of nodes of each type by its
        name. States, controls, attributes and weights may leave their range by a tenth of it.
        """
        found = []

        def compare(name: str, values: np.ndarray, low: float, high: float, slack: float) -> None:
            if values.size and (values.min() < low - slack or values.max() > high + slack):
                got = interval(values.min(), values.max())
                found.append(f"{name} {got}, trained on {interval(low, high)}")

        compare("nodes", nodes, *self.nodes, 0)
        for (name, count), pair in zip((type_nodes or {}).items(), self.type_nodes):
            compare(f"nodes of type {name}", np.array([count]), *pair, 0)
        compare("degree", degree, *self.degree, 0)
        compare("time step", dt, *self.dt, 1e-6 * self.dt[1])
        for index, name in enumerate(features):
            low, high = self.low[index], self.high[index]
            compare(f"initial {name}", x[index], low, high, 0.1 * (high - low))
        for seen, values, title in (
            (self.control, u, names[0]),
            (self.attribute, attribute, names[1]),
            (self.edge_attribute, edge_attribute, edge_names),
        ):
            for index, (low, high) in enumerate(seen[: len(values)]):
                title_of = title[index] if index < len(title) else f"input {index}"
                compare(title_of, values[index], low, high, 0.1 * (high - low))
        if self.weight and weight is not None:
            low, high = self.weight
            compare("weights of edges", weight, low, high, 0.1 * (high - low))
        if self.delay and delay is not None:
            low, high = self.delay
            # A model with delays takes any: what it learned is a function of the delayed state.
            compare("delays of edges", delay, 0.0, high, 0.1 * high)
        found += different_parameters(self.parameters, parameters or {})
        found += beyond_parameters(self.parameter_spans, parameters or {})
        return found

    def other_physics(self, dt: np.ndarray, parameters: Mapping[str, Any] | None) -> list[str]:
        """In words: another time step and other parameters, which a larger system need not have."""
        found = []
        low, high = self.dt
        if dt.min() < low * (1 - 1e-6) or dt.max() > high * (1 + 1e-6):
            got = interval(dt.min(), dt.max())
            found.append(f"time step {got}, trained on {interval(low, high)}")
        found += different_parameters(self.parameters, parameters or {})
        return found + beyond_parameters(self.parameter_spans, parameters or {})


def components(values: np.ndarray) -> list[np.ndarray]:
    """The values of each component of the last axis."""
    return list(np.moveaxis(values, -1, 0))


def _span_of_weights(arrays: Sequence[Arrays]) -> tuple[float, ...]:
    """(smallest, largest) weight, 1 for edges without; () where no graph has weights."""
    if not any(a.weighted for a in arrays):
        return ()
    weight = np.concatenate([a.held_weight.ravel() for a in arrays])
    return (float(weight.min()), float(weight.max())) if weight.size else (1.0, 1.0)


def _span_of_delays(arrays: Sequence[Arrays]) -> tuple[float, ...]:
    """(smallest, largest) delay, 0 for edges without; () where no edge has one."""
    if not any(a.graph.delay is not None and a.graph.delay.any() for a in arrays):
        return ()
    delay = np.concatenate([a.graph.delay_or_zeros for a in arrays])
    return (float(delay.min()), float(delay.max()))


def _pairs(values: list[np.ndarray]) -> tuple[tuple[float, float], ...]:
    """(smallest, largest) of each component of the last axis."""
    values = [v for v in values if v.size]
    if not values:
        return ()
    low = np.min([np.nanmin(v, axis=tuple(range(v.ndim - 1))) for v in values], axis=0)
    high = np.max([np.nanmax(v, axis=tuple(range(v.ndim - 1))) for v in values], axis=0)
    return tuple(zip(low.tolist(), high.tolist()))


def _of_types(pairs: Iterable[tuple[tuple[float, float], ...]]) -> tuple[tuple[float, float], ...]:
    return tuple(pair for some in pairs for pair in some)


def _nodes_of_types(arrays: Sequence[Arrays]) -> tuple[tuple[int, int], ...]:
    """(smallest, largest) number of nodes of each type; () where there is one type."""
    if arrays[0].types is None:
        return ()
    counts = [
        np.bincount(a.node_type, minlength=len(arrays[0].types.names))
        for a in arrays
        if a.node_type is not None
    ]
    low, high = np.min(counts, axis=0), np.max(counts, axis=0)
    return tuple(zip(low.tolist(), high.tolist()))
