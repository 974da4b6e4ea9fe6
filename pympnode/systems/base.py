"""``System``: a dynamical system of nodes on a graph, or of particles, as data and pure functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidOption, unknown_name
from ..graph import Graph


@dataclass(frozen=True)
class Variable:
    """One state or control variable of a node (or particle).

    ``start``: the range of the uniform initial values, in ``unit``. ``components``: 3 for a vector
    (particles), 4 for a quaternion.
    """

    name: str = ""
    unit: str = "1"
    kind: Literal["real", "angle", "quaternion"] = "real"
    start: tuple[float, float] = (-1.0, 1.0)
    components: int = 1


@dataclass(frozen=True)
class Parameter:
    """A parameter of the physics: its default value, dims, unit and source.

    default: a number, an array, a function of the Graph that returns one, or a key of ``named``.
    dims: its axes, of graph, node, feature, source_node, source_feature, control.
    source: the paper or code of the default value.
    alternatives: other dims that a user's value may have (a frequency by node, for example).
    named: values by name (``parameters={"coupling": "medium"}``), each a function of the Graph.
    """

    default: Any
    dims: tuple[str, ...] = ()
    unit: str = "1"
    source: str = ""
    alternatives: tuple[tuple[str, ...], ...] = ()
    named: Mapping[str, Callable[[Graph], Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Observable:
    """A scalar of the whole state: ``observable(x, graph, parameters)``.

    x (..., node, feature) -> (...), in ``unit``; ``graph`` is a single graph.
    """

    function: Callable[[np.ndarray, Graph, Mapping[str, Any]], np.ndarray]
    unit: str = "1"
    title: str = ""

    def __call__(self, x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
        return self.function(x, graph, parameters)


@dataclass(frozen=True)
class StateError:
    """An error of predicted states beside those of single features: ``function(predicted, true, parameters)``.

    Both (..., node, feature) -> (...) or (..., node), in ``unit``; `pympnode.evaluate` has its root
    mean square.
    """

    function: Callable[[NDArray, NDArray, Mapping[str, Any]], NDArray]
    unit: str = "1"
    title: str = ""


@dataclass(frozen=True, eq=False)
class SimulatedTrajectory:
    """What `System.simulate_trajectory` returns.

    x: float64 (time, node, feature). u: (time, node, control), or None without controls.
    of_trajectory: values by the names of `System.of_trajectory`.
    drawn: number of draws of which this is the last. flags: by name, how many of them had that flag.
    """

    x: NDArray[np.float64]
    u: NDArray[np.float64] | None
    of_trajectory: Mapping[str, float | str] = field(default_factory=dict)
    drawn: int = 1
    flags: Mapping[str, int] = field(default_factory=dict)


def node_mean(x: np.ndarray, graph: Graph, parameters: Mapping[str, Any]) -> np.ndarray:
    """An observable: the mean of the first feature over the nodes."""
    return x[..., 0].mean(axis=-1)


class System:
    """Base class of all systems; a subclass sets the attributes below and defines `field`.

    name: the key in the registry. title: one line of text. source: paper, equation.
    body: "node" or "particle". state, controls: variables of a node, in the order of the last axis.
    parameters: name -> `Parameter`. observables: name -> `Observable`.
    errors: name -> `StateError`. unit_norm: groups of features whose squares add up to 1, which rollouts of
        models keep (`networks.unit_norm`). rates: name of a feature -> that of its derivative; where
        there are any, `pympnode.evaluate` has the baseline "constant_velocity".
    model_options: options of `pympnode.train` by name, for fresh models of data of the system whose class no
        option chooses: those that were measured to be best.
    node_attributes: names of the parameters that are inputs of a model where they differ by node.
    of_trajectory: variables of a dataset with one value per trajectory, which are no inputs of a model.
    dt, steps: default time grid. default_nodes, default_topology: default graph.
    graph_family: the system whose published graphs and topology options are used.
    node_types: name -> state and controls of each type of nodes, where datasets of the system have several.
        `field` and `simulate_trajectory` then have nodes of one type all the same, see `split_types`.
    """

    name: str = ""
    title: str = ""
    source: str = ""
    body: Literal["node", "particle"] = "node"
    state: tuple[Variable, ...] = ()
    controls: tuple[Variable, ...] = ()
    parameters: ClassVar[Mapping[str, Parameter]] = {}
    observables: ClassVar[Mapping[str, Observable]] = {}
    errors: ClassVar[Mapping[str, StateError]] = {}
    unit_norm: tuple[tuple[str, ...], ...] = ()
    rates: ClassVar[Mapping[str, str]] = {}
    model_options: Mapping[str, Any] = {}
    node_attributes: tuple[str, ...] = ()
    of_trajectory: tuple[Variable, ...] = ()
    default_nodes: int = 10
    default_topology: Any = "complete"
    graph_family: str = ""
    node_types: Mapping[str, tuple[tuple[Variable, ...], tuple[Variable, ...]]] = {}
    dt: float = 0.05
    steps: int = 50

    @property
    def features(self) -> int:
        """Number of components of a node's state."""
        return sum(variable.components for variable in self.state)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the components of a node's state."""
        return tuple(variable.name for variable in self.state)

    @property
    def control_names(self) -> tuple[str, ...]:
        """Names of the inputs of a node."""
        return tuple(variable.name for variable in self.controls)

    # ---- defined by subclasses ----------------------------------------------------------------

    def initial(self, rng: np.random.Generator, nodes: int) -> np.ndarray:
        """Initial state (nodes, feature) float64: uniform in each variable's ``start`` range."""
        return self.from_unit_interval(rng.random((nodes, self.features)))

    def from_unit_interval(self, uniform: NDArray) -> NDArray:
        """Numbers (..., feature) from 0 to 1, in each variable's ``start`` range."""
        low, high = self._start_ranges
        return low + (high - low) * uniform

    @cached_property
    def _start_ranges(self) -> tuple[np.ndarray, np.ndarray]:
        ranges = [v.start for v in self.state for _ in range(v.components)]
        return np.array([low for low, _ in ranges]), np.array([high for _, high in ranges])

    def sample_controls(
        self, rng: np.random.Generator, nodes: int, times: np.ndarray
    ) -> np.ndarray | None:
        """Controls (time, nodes, control), each held from t_i to t_(i+1); None without controls."""
        if self.controls:
            return np.zeros((len(times), nodes, len(self.controls)))
        return None

    def field(
        self, t: float, x: NDArray, u: NDArray | None, graph: Graph, parameters: Mapping[str, Any]
    ) -> NDArray:
        """Time derivative, shape of x.

        x (trajectory, node, feature) and u (trajectory, node, control) or None, float64;
        ``graph`` a single graph; ``parameters`` as `resolve_parameters` returns them.
        """
        raise NotImplementedError(f"{type(self).__name__} has no field")

    def simulate_trajectory(
        self,
        rng: np.random.Generator,
        time: NDArray[np.float64],
        graph: Graph,
        parameters: Mapping[str, Any],
        *,
        initial: NDArray | None = None,
        controls: NDArray | None = None,
    ) -> SimulatedTrajectory:
        """One trajectory on the times (time,), for systems that the solver of `field` cannot simulate.

        A system with feedback, constraints or events defines it; `simulate` then calls it for each
        trajectory in place of `initial`, `sample_controls` and a solver. ``rng`` depends on the seed
        and the number of the trajectory alone. ``initial`` (node, feature) and ``controls`` (time,
        node, control) are the user's, or None. ``graph`` a single graph; ``parameters`` as
        `resolve_parameters` returns them.
        """
        raise NotImplementedError(f"{type(self).__name__} is simulated by the solver of its field")

    def split_types(self, x: NDArray) -> dict[str, NDArray]:
        """States (..., node, feature) of `field` by type of nodes: name -> (..., node, feature)."""
        raise NotImplementedError(f"{type(self).__name__} has nodes of one type")

    def join_types(self, x: Mapping[str, NDArray]) -> NDArray:
        """The inverse of `split_types`."""
        raise NotImplementedError(f"{type(self).__name__} has nodes of one type")

    def of_types(self, names: tuple[str, ...]) -> System | None:
        """The variant of the system whose datasets have these types of nodes; None without one."""
        return self if names and tuple(self.node_types) == names else None

    @property
    def simulates_itself(self) -> bool:
        """Whether the class defines `simulate_trajectory`."""
        return type(self).simulate_trajectory is not System.simulate_trajectory

    def check_graph(self, graph: Graph) -> None:
        """Raise `InvalidGraph` for a graph that the system cannot be on; by default it takes all."""

    def sample_parameters(
        self, rng: np.random.Generator, parameters: Mapping[str, Any], graph: Graph
    ) -> dict[str, np.ndarray]:
        """Parameters of one trajectory in place of those of the dataset: name -> (node,).

        Names of `node_attributes` alone, which then vary by trajectory; by default there are none.
        ``parameters`` as `resolve_parameters` returns them; ``graph`` a single graph. `field` gets them
        as (trajectory, node), observables as (..., node).
        """
        return {}

    def uncoupled_field(
        self,
        t: float,
        x: np.ndarray,
        u: np.ndarray | None,
        graph: Graph,
        parameters: Mapping[str, Any],
    ) -> np.ndarray:
        """The field without coupling: by default the field on a graph without edges."""
        return self.field(t, x, u, graph.without_edges, parameters)

    def delayed_field(
        self,
        t: float,
        x: np.ndarray,
        past: np.ndarray,
        u: np.ndarray | None,
        graph: Graph,
        parameters: Mapping[str, Any],
    ) -> np.ndarray:
        """The field where ``past`` (trajectory, edge, feature) are the states of the senders that arrive
        over the edges of ``graph``, each after its delay; the rest as in `field`.

        A system that defines it can be simulated with ``delay=``; by default none can.
        """
        raise NotImplementedError(f"{type(self).__name__} has no field with delays")

    def bind(
        self, graph: Graph, parameters: Mapping[str, Any]
    ) -> Callable[[float, np.ndarray, np.ndarray | None], np.ndarray]:
        """``f(t, x, u)`` for one graph and parameters; a subclass may compute here what is constant."""

        def bound(t: float, x: np.ndarray, u: np.ndarray | None = None) -> np.ndarray:
            return self.field(t, x, u, graph, parameters)

        return bound

    def compiled_field(self, graph: Graph, parameters: Mapping[str, Any]) -> Any:
        """The field for the compiled solver (`networks.compiled.solve.CompiledField`), or None.

        None, the default, leaves the system to the solver in NumPy. A class that defines `field` or
        `bind` anew without this method is left to it too, also where a class above has one.
        """
        return None

    # ---- parameters ---------------------------------------------------------------------------

    @property
    def uncoupled(self) -> Uncoupled:
        """This system without coupling (a baseline for learned messages)."""
        return Uncoupled(self)

    def resolve_parameters(
        self, overrides: Mapping[str, Any] | None, graph: Graph
    ) -> dict[str, float | np.ndarray]:
        """All parameters as floats or float64 arrays: ``overrides`` by name, defaults otherwise.

        A number for an array parameter fills the array. Raises UnknownName and InvalidOption (wrong
        shape, not finite).
        """
        overrides = dict(overrides or {})
        for name in overrides:
            if name not in self.parameters:
                raise unknown_name(f"parameter of {self.name}", name, self.parameters)
        return {
            name: self._resolve(name, spec, overrides.get(name, spec.default), graph)
            for name, spec in self.parameters.items()
        }

    def _resolve(self, name: str, spec: Parameter, value: Any, graph: Graph) -> float | np.ndarray:
        if isinstance(value, str):
            if value not in spec.named:
                raise unknown_name(f"value of {self.name}'s {name}", value, spec.named)
            value = spec.named[value]
        if callable(value):
            value = value(graph)
        try:
            array = np.array(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise InvalidOption(
                f"{self.name}'s {name} must be numbers", got=repr(value), allowed=str(spec.dims)
            ) from error
        if not np.all(np.isfinite(array)):
            raise InvalidOption(
                f"{self.name}'s {name} must be finite", got=str(array), fix="remove NaN and inf"
            )
        if spec.dims and array.ndim == 0:
            array = np.full(self._shape(spec.dims, graph), float(array))
        if self._dims(spec, array.shape, graph) is None:
            allowed = " or ".join(
                f"{dims} = {self._shape(dims, graph)}" for dims in (spec.dims, *spec.alternatives)
            )
            raise InvalidOption(
                f"{self.name}'s {name} has the wrong shape", got=str(array.shape), allowed=allowed
            )
        return array if array.ndim else float(array)

    def parameter_dims(self, name: str, value: Any, graph: Graph) -> tuple[str, ...]:
        """The dims of a resolved value: those of the `Parameter`, or the alternative that fits."""
        return self._dims(self.parameters[name], np.shape(value), graph) or ()

    def parameters_of_graph(
        self, parameters: Mapping[str, Any], graph: Graph, index: int
    ) -> dict[str, Any]:
        """The resolved parameters of graph ``index`` of the union."""
        out = {}
        for name, value in parameters.items():
            per_graph = "graph" in self.parameter_dims(name, value, graph)
            out[name] = value[index] if per_graph else value
        return out

    def attribute_array(
        self,
        parameters: Mapping[str, Any],
        graph: Graph,
        varied: Mapping[str, np.ndarray] | None = None,
    ) -> np.ndarray | None:
        """float64 (node, attribute): the parameters that differ by node; None if there are none.

        With ``varied``, those that differ by trajectory, name -> (trajectory, node): (trajectory, node,
        attribute).
        """
        nodes = int(graph.nodes[0])
        columns = []
        for name in self._attributes_of(parameters, graph, varied or {}):
            value = np.asarray((varied or {}).get(name, parameters[name]))
            columns.append(
                value[..., None] if varied and name in varied else value.reshape(nodes, -1)
            )
        if not columns:
            return None
        if varied:
            trajectories = len(next(iter(varied.values())))
            columns = [np.broadcast_to(c, (trajectories, nodes, c.shape[-1])) for c in columns]
        return np.concatenate(columns, axis=-1)

    def attribute_names(
        self,
        parameters: Mapping[str, Any],
        graph: Graph,
        varied: Mapping[str, np.ndarray] | None = None,
    ) -> list[str]:
        """Names of the columns of `attribute_array`: that of the parameter, numbered where it has
        several values per node."""
        nodes, names = int(graph.nodes[0]), []
        for name in self._attributes_of(parameters, graph, varied or {}):
            width = 1 if name in (varied or {}) else np.size(parameters[name]) // nodes
            names += [name] if width == 1 else [f"{name}_{i}" for i in range(width)]
        return names

    def _attributes_of(
        self, parameters: Mapping[str, Any], graph: Graph, varied: Mapping[str, np.ndarray]
    ) -> list[str]:
        """The `node_attributes` that differ by node, or by trajectory."""
        chosen = []
        for name in self.node_attributes:
            dims = self.parameter_dims(name, parameters[name], graph)
            if name in varied or ("node" in dims and "graph" not in dims):
                chosen.append(name)
        return chosen

    def _dims(
        self, spec: Parameter, shape: tuple[int, ...], graph: Graph
    ) -> tuple[str, ...] | None:
        """The first of the allowed dims that have that shape; None if there are none."""
        for dims in (spec.dims, *spec.alternatives):
            if self._shape(dims, graph) == shape:
                return dims
        return None

    def _shape(self, dims: tuple[str, ...], graph: Graph) -> tuple[int, ...]:
        size = {
            "graph": graph.graphs,
            "node": int(graph.nodes[0]),
            "source_node": int(graph.nodes[0]),
            "feature": self.features,
            "source_feature": self.features,
            "control": len(self.controls),
        }
        return tuple(size[dim] for dim in dims)

    def _repr_html_(self) -> str:
        def cells(*texts: object) -> str:
            return "".join(f"<td>{escape(str(text))}</td>" for text in texts)

        rows = [("state", v.name, v.unit, "") for v in self.state]
        rows += [("control", v.name, v.unit, "") for v in self.controls]
        rows += [("parameter", n, p.unit, p.source) for n, p in self.parameters.items()]
        body = "".join(f"<tr>{cells(*row)}</tr>" for row in rows)
        head = "<tr><th></th><th>name</th><th>unit</th><th>source</th></tr>"
        return f"<b>{escape(self.name)}</b>: {escape(self.title)}<table>{head}{body}</table>"

    def __repr__(self) -> str:
        state = ", ".join(self.feature_names)
        return f"System({self.name!r}: {self.title or 'no title'}; state of a {self.body}: {state})"


class Uncoupled(System):
    """The system ``coupled`` with `System.uncoupled_field` as its field."""

    def __init__(self, system: System) -> None:
        self.coupled = system
        for attribute in (
            "body source state controls parameters observables node_attributes default_nodes "
            "default_topology graph_family dt steps"
        ).split():
            setattr(self, attribute, getattr(system, attribute))
        self.name = f"{system.name}, uncoupled"
        self.title = f"{system.title}, without coupling"

    def initial(self, rng: np.random.Generator, nodes: int) -> np.ndarray:
        return self.coupled.initial(rng, nodes)

    def check_graph(self, graph: Graph) -> None:
        self.coupled.check_graph(graph)

    def sample_parameters(
        self, rng: np.random.Generator, parameters: Mapping[str, Any], graph: Graph
    ) -> dict[str, np.ndarray]:
        return self.coupled.sample_parameters(rng, parameters, graph)

    def sample_controls(
        self, rng: np.random.Generator, nodes: int, times: np.ndarray
    ) -> np.ndarray | None:
        return self.coupled.sample_controls(rng, nodes, times)

    def field(
        self, t: float, x: NDArray, u: NDArray | None, graph: Graph, parameters: Mapping[str, Any]
    ) -> NDArray:
        return self.coupled.uncoupled_field(t, x, u, graph, parameters)
