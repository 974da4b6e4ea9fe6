"""``own_system``: a system from a vector field of the user."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...config import arguments, flag, least, listing, mapping, names_of, positive, text
from ...datasets.names import EDGE_ATTRIBUTE, EDGE_WEIGHT
from ...datasets.reading import numbers
from ...errors import InvalidData, InvalidGraph, InvalidOption, shown_value, unknown_name
from ...graph import Graph
from ...systems.base import Observable, Parameter, System, Variable

_HELD = {EDGE_WEIGHT: "weights", EDGE_ATTRIBUTE: "attributes of edges"}
_FIX = {
    EDGE_WEIGHT: "edge_weight=(0.5, 2.0) in simulate or train draws weights; "
    "Graph.from_edges(pairs, weight=values) has weights of your own",
    EDGE_ATTRIBUTE: "topology=Graph.from_edges(pairs, attribute=values, attribute_names=names)",
}
logger = logging.getLogger("pympnode.systems")


@dataclasses.dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class UserSystem(System):
    """A `System` whose vector field is a function of the user; `own_system` checks and makes it."""

    name: str
    title: str
    state: tuple[Variable, ...]
    controls: tuple[Variable, ...]
    # Class variables of the other systems, whose dicts a dataclass would refuse as defaults.
    parameters: Mapping[str, Parameter] = dataclasses.field(default_factory=dict)  # type: ignore[misc]
    observables: Mapping[str, Observable] = dataclasses.field(default_factory=dict)  # type: ignore[misc]
    node_attributes: tuple[str, ...]
    default_nodes: int
    default_topology: Any
    dt: float
    steps: int
    function: Callable[..., Any]
    vectorised: bool
    inputs: Callable[..., Any] | None

    @cached_property
    def _edge_arguments(self) -> dict[str, inspect.Parameter]:
        """The arguments ``edge_weight`` and ``edge_attribute`` of the function, those that it has."""
        try:
            found = inspect.signature(self.function).parameters
        except (TypeError, ValueError):  # a function of compiled code
            return {}
        return {name: found[name] for name in (EDGE_WEIGHT, EDGE_ATTRIBUTE) if name in found}

    def _edge_data(self, graph: Graph) -> dict[str, Any]:
        """The weights (edges,) and attributes (edges, attribute) that the function has arguments for.

        Raises `InvalidGraph` where the graph has none, unless the argument has a default.
        """
        values: dict[str, Any] = {}
        held = {EDGE_WEIGHT: graph.weight, EDGE_ATTRIBUTE: graph.attribute}
        for name, argument in self._edge_arguments.items():
            if held[name] is None and name == EDGE_WEIGHT and not graph.edges:
                values[name] = np.zeros(0)
            elif held[name] is not None:
                values[name] = held[name]
            elif argument.default is argument.empty:
                raise InvalidGraph(
                    f"the field of {self.name} takes {name}, and the edges have none",
                    got=repr(graph),
                    allowed=f"a graph with {_HELD[name]}, or a field with {name}=None",
                    fix=_FIX[name],
                )
        return values

    def check_graph(self, graph: Graph) -> None:
        """Raise `InvalidGraph` where the field takes what the edges of the graph do not hold."""
        self._edge_data(graph)

    def __post_init__(self) -> None:
        if not self.vectorised:
            logger.info("%s: its field takes one trajectory at a time, which is slower", self.name)

    def sample_controls(
        self, rng: np.random.Generator, nodes: int, times: np.ndarray
    ) -> np.ndarray | None:
        if self.inputs is None:
            return super().sample_controls(rng, nodes, times)
        drawn = np.asarray(self.inputs(rng, nodes, times), dtype=np.float64)
        wanted = (len(times), nodes, len(self.controls))
        if drawn.shape != wanted:
            raise InvalidData(
                f"the inputs of {self.name} have the wrong shape",
                got=drawn.shape,
                allowed=f"(time, node, control) = {wanted}",
                fix="return one value for each time, node and control",
            )
        return drawn

    def field(
        self, t: float, x: NDArray, u: NDArray | None, graph: Graph, parameters: Mapping[str, Any]
    ) -> NDArray:
        held = self._edge_data(graph)
        if self.vectorised:
            return self._checked(self.function(t, x, u, graph, parameters, **held), x.shape)
        return np.stack(
            [
                self._checked(
                    self.function(t, x[i], None if u is None else u[i], graph, parameters, **held),
                    x.shape[1:],
                )
                for i in range(x.shape[0])
            ]
        )

    def _checked(self, rate: Any, shape: tuple[int, ...]) -> np.ndarray:
        rate = np.asarray(rate, dtype=np.float64)
        if rate.shape != shape:
            axes = "(trajectory, node, feature)" if self.vectorised else "(node, feature)"
            raise InvalidData(
                f"the field of {self.name} returns the wrong shape",
                got=rate.shape,
                allowed=f"{axes} = {shape}, the shape of x",
                fix="return one derivative for each entry of x"
                + (", or pass vectorised=False for a field of one trajectory" * self.vectorised),
            )
        return rate


def _title(name: str, value: Any) -> str:
    return value if isinstance(value, str) else text(name, value)


@arguments(
    name=text,
    features=names_of,
    units=names_of,
    parameters=mapping,
    node_attributes=names_of,
    controls=listing,
    observables=mapping,
    vectorised=flag,
    title=_title,
    nodes=least(1),
    dt=positive,
    steps=least(1),
)
def own_system(
    name: str,
    field: Callable[..., Any],
    features: Sequence[str],
    *,
    units: Sequence[str] | None = None,
    start: Sequence[Any] = (-1.0, 1.0),
    parameters: Mapping[str, Any] | None = None,
    node_attributes: Sequence[str] = (),
    controls: Sequence[str | Variable] = (),
    inputs: Callable[[np.random.Generator, int, np.ndarray], Any] | None = None,
    observables: Mapping[str, Callable[..., Any]] | None = None,
    vectorised: bool = True,
    title: str = "",
    nodes: int = 10,
    topology: Any = "BA",
    dt: float = 0.05,
    steps: int = 50,
) -> System:
    """A system from its vector field ``field(t, x, u, graph, parameters)``.

    Main arguments:
        name: of the system, also its name in the registry. field: x (trajectory, node, feature) ->
            dx/dt of the same shape. u (trajectory, node, control) or None;
            ``graph.sum_neighbours(values)`` sums over neighbours, times the weights of the edges;
            ``parameters`` by name. A field with arguments ``edge_weight`` (edges,) or
            ``edge_attribute`` (edges, attribute) gets those of the edges from ``graph.sender`` to
            ``graph.receiver``; a graph without is refused unless the argument has a default.
        features, units: names and units of a node's state. start: range of the uniform initial
            values, one (low, high) for all features or one per feature.
        parameters: name -> number or `Parameter`.
    Other arguments:
        node_attributes: the parameters that are inputs of a model where they differ by node
            (``Parameter(default, ("node",))``).
        controls: names of the inputs of a node (or `Variable`, with a unit). inputs: draws them,
            ``inputs(rng, nodes, times) -> (time, node, control)``, each held from t_i to t_(i+1);
            without it they are zero unless ``simulate(control=)`` is given.
        observables: name -> f(x, graph, parameters), see `Observable`.
        vectorised: False for a field of one trajectory, x (node, feature), which is slower.
        nodes, topology, dt, steps: defaults of `simulate`.
    Returns: a `System`, to be passed as it is or registered with `pympnode.register`.
    Raises: InvalidOption, UnknownName (a node attribute that is no parameter).

    >>> def field(t, x, u, graph, parameters):
    ...     pull = graph.sum_neighbours(x) - graph.in_degree[:, None] * x
    ...     return parameters["rate"] * pull
    >>> own_system("consensus", field, ["opinion"], parameters={"rate": 0.3}).name
    'consensus'
    """
    if not name or not isinstance(name, str):
        raise InvalidOption("a system needs a name", got=repr(name), allowed="a string")
    features = [features] if isinstance(features, str) else list(features)
    if not features or len(set(features)) != len(features):
        raise InvalidOption(
            f"features of {name} are names, each once", got=repr(features), allowed=">= 1 name"
        )
    for what, function in (("field", field), ("inputs", inputs)):
        if not callable(function) and not (function is None and what == "inputs"):
            raise InvalidOption(
                f"{what} is a function", got=shown_value(function), allowed="a function"
            )
    units = [units] if isinstance(units, str) else units  # one name, not its letters
    feature_units = ["1"] * len(features) if units is None else list(units)
    if len(feature_units) != len(features):
        raise InvalidOption(
            "one unit per feature", got=f"{len(feature_units)} units", allowed=str(len(features))
        )
    ranges = numbers("start", start)
    if ranges.shape not in ((2,), (len(features), 2)) or np.any(ranges[..., 0] > ranges[..., 1]):
        raise InvalidOption(
            "start is a range", got=repr(start), allowed=f"(low, high), or {len(features)} of them"
        )
    for attribute in node_attributes:
        if attribute not in (parameters or {}):
            raise unknown_name(f"parameter of {name}", attribute, parameters or {})
    if inputs is not None and not controls:
        raise InvalidOption(
            "inputs are drawn for controls that have names",
            got="inputs= without controls=",
            allowed='controls=["push"], inputs=draw',
        )
    ranges = np.broadcast_to(ranges, (len(features), 2))
    return UserSystem(
        name=name,
        title=title or name,
        state=tuple(
            Variable(feature, unit, start=(float(low), float(high)))
            for feature, unit, (low, high) in zip(features, feature_units, ranges, strict=True)
        ),
        controls=tuple(
            c if isinstance(c, Variable) else Variable(text("a control", c)) for c in controls
        ),
        parameters={
            key: value if isinstance(value, Parameter) else Parameter(value, source="user")
            for key, value in (parameters or {}).items()
        },
        node_attributes=tuple(node_attributes),
        observables={key: Observable(value) for key, value in (observables or {}).items()},
        default_nodes=nodes,
        default_topology=topology,
        dt=dt,
        steps=steps,
        function=field,
        vectorised=vectorised,
        inputs=inputs,
    )
