"""Model: a trained simulator. It rolls out, evaluates its vector field, saves and loads."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..config import arguments, flag, least, one_of, positive, whole
from ..config import path as path_of
from ..datasets.reading import as_dataset, numbers
from ..display import html_table
from ..errors import InvalidData, InvalidModel
from ..files import netcdf
from ..graph import Graph
from ..memory import guarded
from ..training.ranges import interval
from ..uncertainty import Calibration
from . import model_text, schema
from .agreement import Names
from .calibration import calibrated
from .circular import TURN, shorter_way
from .edge_checks import check_delays
from .edge_weights import graph_for_model, graph_for_program, with_attributes
from .engines.delays import in_steps, prefix_of
from .learned_edges import on_learned_graph
from .learned_node import LearnedNode
from .model_file import KIND as FILE_KIND
from .model_file import dataset_of, fields_of
from .node_codes import codes_array, infer_codes
from .node_types import NodeTypes, cut, plain_names
from .normalise import Normalisation, NormalisationByType, scaled
from .partition import check_partition
from .partition_rollout import rollout_in_parts
from .ranges import TrainingRange, components
from .rollout import rollout_of
from .rollout_start import graph_for
from .spec import ModelSpec
from .unit_norm import Groups
from .weights import layout_of

if TYPE_CHECKING:
    from .engines.base import Program


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A learned simulator of a networked system; `train` makes it, `load` reads it.

    spec: the architecture.
    theta: (size,), the weights as one vector (`weights` has them by name), or (member, size) of an
        ensemble, whose rollouts have a dim "member".
    state_scale, control_scale, attribute_scale, edge_attribute_scale: z scores between physical units
        and the network; None where the model has no such inputs.
    features, units: names and units of the state. controls, attributes, edge_attributes: names of the
        inputs of nodes, and of the constants of nodes and edges.
    trained: the ranges of the training data.
    unit_norm: groups of features that rollouts divide by their norm after each interval.
    graph: the training graphs with the weights that were learned, or None.
    edge_scores: where the graph was learned, (receiver, sender) of all pairs of nodes before the
        weakest were left out, or (trajectory, receiver, sender) with a graph of each trajectory;
        otherwise None.
    system: the name of the system that the model was trained on, "" for given data.
    engine, device: what computes rollouts.
    time_unit: the unit of time of the data. time_scale: the unit of time of the learned field, in that
        unit (1 for files of version 0.1).
    left_out: numbers of the members that training left in a poor minimum, which rollouts and evaluations
        leave out.
    calibration: how large errors are, see `calibrate`, or None.
    noise: (feature,), the standard deviation of the measurement noise of the training data, in the
        units of the features, which ``loss="gaussian"`` estimates, or None.
    about: provenance for the files.

    Of nodes of several types (``spec.node_types``) names, units and scales are those of all types in
    one list, "type.name".
    """

    spec: ModelSpec
    theta: NDArray
    state_scale: Normalisation | NormalisationByType
    features: tuple[str, ...]
    units: tuple[str, ...]
    trained: TrainingRange
    control_scale: Normalisation | NormalisationByType | None = None
    attribute_scale: Normalisation | NormalisationByType | None = None
    edge_attribute_scale: Normalisation | None = None
    controls: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    edge_attributes: tuple[str, ...] = ()
    unit_norm: Groups = ()
    graph: Graph | None = None
    edge_scores: xr.DataArray | None = None
    system: str = ""
    engine: str = "torch"
    device: str = "auto"
    time_unit: str = "1"
    time_scale: float = 1.0
    left_out: tuple[int, ...] = ()
    calibration: Calibration | None = None
    noise: NDArray[np.float64] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)

    KIND: ClassVar[str] = FILE_KIND

    @property
    def names(self) -> Names:
        """Names and units of features, inputs, node attributes and time."""
        if self.types is not None:
            return self._names_by_type(self.types)
        return Names(
            self.features,
            self.units,
            self.controls,
            self.attributes,
            self.time_unit,
            self.periods,
            unit_norm=self.unit_norm,
        )

    def _names_by_type(self, types: NodeTypes) -> Names:
        lists = zip(
            types.names,
            cut(self.features, types.channels),
            cut(self.units, types.channels),
            cut(self.controls, types.controls),
            cut(self.attributes, types.attributes),
            strict=True,
        )
        return Names.of_types(
            {
                name: Names(
                    plain_names(name, features),
                    units,
                    plain_names(name, controls),
                    plain_names(name, attributes),
                    self.time_unit,
                    (0.0,) * len(features),
                    unit_norm=tuple(
                        plain_names(name, group)
                        for group in self.unit_norm
                        if group[0].startswith(f"{name}.")
                    ),
                )
                for name, features, units, controls, attributes in lists
            }
        )

    @property
    def types(self) -> NodeTypes | None:
        """The types of the nodes; None where all have one type."""
        spec = self.spec
        if not spec.node_types:
            return None
        return NodeTypes(
            spec.node_types, spec.type_channels, spec.type_controls, spec.type_attributes
        )

    @property
    def periods(self) -> tuple[float, ...]:
        """The period of each feature that is a position on a circle, in its unit; 0 for the others."""
        # The z score of such a feature is the angle in radians.
        return tuple(
            TURN * float(scale) if number in self.spec.circular else 0.0
            for number, scale in enumerate(self.state_scale.scale)
        )

    # ---- using it -----------------------------------------------------------------------------

    @property
    def members(self) -> int:
        """Number of members of the ensemble; 1 for a single model."""
        return len(self.theta) if self.theta.ndim == 2 else 1

    def member(self, number: int) -> Model:
        """One member of an ensemble as a model of its own. Raises `InvalidOption`."""
        number = whole("a member's number", number, 0, self.members - 1)
        if self.theta.ndim != 2:
            return self
        return replace(self, theta=self.theta[number], left_out=(), calibration=None)

    @property
    def kept(self) -> tuple[int, ...]:
        """Numbers of the members that rollouts and evaluations take: those that are not left out."""
        return tuple(i for i in range(self.members) if i not in self.left_out)

    def calibrate(
        self, data: xr.Dataset | str | os.PathLike[str], *, ignore_weights: bool = False
    ) -> Model:
        """This model with standard deviations that fit its errors on ``data``.

        data: trajectories that it was not trained on, a hundred or more, with the noise of the readings
            that are to be predicted.
        ignore_weights: as in `rollout`.
        Returns: a model whose rollouts have ``state_std`` and ``reading_std``, of which
            `pympnode.interval` makes intervals. Single models can be calibrated too; `train`
            calibrates ensembles on the validation part. See `networks.calibration`.
        Raises: `InvalidData`.
        """
        return calibrated(self, [as_dataset(data)], ignore_weights=ignore_weights)

    def difference(self, difference: NDArray) -> NDArray:
        """Differences (..., feature) in physical units, those of circular features the shorter way around."""
        return shorter_way(difference, self.periods)

    @property
    def weights(self) -> dict[str, NDArray]:
        """The weights by name, (outputs, inputs) each, in the units of the network: z scores.

        Those of an ensemble are stacked, (member, outputs, inputs).
        """
        if self.theta.ndim == 2:
            each = [self.member(i).weights for i in range(self.members)]
            return {name: np.stack([w[name] for w in each]) for name in each[0]}
        return layout_of(self.spec).unpack(self.theta)

    @guarded
    @arguments(
        steps=least(1),
        dt=positive,
        graph_seed=least(0),
        ignore_weights=flag,
        partition=check_partition,
        check=flag,
    )
    def rollout(
        self,
        initial: xr.Dataset | xr.DataArray | NDArray | Mapping[str, Any] | str | os.PathLike[str],
        *,
        steps: int | None = None,
        dt: float | None = None,
        topology: Any = None,
        graph_seed: int = 42,
        control: NDArray | Mapping[str, Any] | None = None,
        node_attribute: NDArray | Mapping[str, Any] | None = None,
        node_code: Any = None,
        ignore_weights: bool = False,
        history: Any = None,
        partition: Any = None,
        check: bool = True,
    ) -> xr.Dataset:
        """Predict from initial states.

        Main arguments:
            initial: a dataset, or the path of one, whose first states, graphs, controls and labels are
                taken, in the model's order of names and in its units; or states (node, feature) or
                (trajectory, node, feature) in physical units. A dataset of positions gets the
                velocities that the model has by `pympnode.with_velocities`.
            steps, dt: number and length of the time steps; by default those of the dataset, or of the
                training data.
            topology: the graph: a name, a graph, edges, ... as in `pympnode.simulate`; by default that
                of the dataset, or the one graph that the model learned. Other states need it, unless
                there is one node. Names of nodes in it are matched to the labels of ``initial``.
        Other arguments:
            graph_seed: of a topology that is drawn.
            control: inputs (trajectory, time, node, control), each held over a step.
            node_attribute: constants of the nodes, (node, attribute) or (trajectory, node, attribute).
                Of nodes of several types, states without a dataset, ``control`` and
                ``node_attribute`` are given by type, ``{"load": states}``; nodes are numbered type
                after type, in the order of the model's types, of which some may have no nodes.
            node_code: of a model with codes, (node, code) or (trajectory, node, code), as `infer`
                returns them; by default the trained ones, on the training graph.
            ignore_weights: leave out the weights of edges, which a model that was trained without them
                refuses otherwise. Weights of a dataset that vary in time are taken over its times.
            history: where messages are delayed, states (trajectory, time, node, feature) at the steps
                before the start, the last one step before it: at least as many as the longest delay
                has steps, and 4. Without it the first times of a dataset are the history: they are
                returned as they are, ``steps`` count from the last of them, and
                ``state.attrs["predicted_from"]`` is the first predicted time.
            partition: "auto", "metis", "blocks", or the number of a process for each node, (node,):
                divide the nodes of the dataset ``initial`` among the processes of torchrun. Each reads,
                computes and returns its own nodes: `state` and ``finite``, without edges and messages,
                with their numbers in the whole graph, ``node_number``. Range and stability are then
                not checked.
            check: False leaves out the warnings below.
        Returns: a dataset of `state` and `message` (trajectory, time, node, ...; what each node sends,
            as an ODE state or emitted), the graph that was used and ``finite(trajectory)``, False
            where a prediction overflowed. Those of an ensemble have a dim ``member``, and ``spread``,
            the standard deviation over it; a calibrated model adds ``state_std`` and ``reading_std``
            (see `pympnode.interval`), one with ``noise`` the latter.
        Raises: `InvalidData`, `InvalidGraph`, `InvalidOption`. Warns `OutsideTrainingRange` with the
            numbers, and `PympnodeWarning` where time steps are split because rk4 would be unstable
            with them on this graph.
        """
        if partition is not None:
            return rollout_in_parts(
                self, as_dataset(initial, checked=False), partition, steps=steps, dt=dt,
                ignore_weights=ignore_weights, topology=topology, control=control,
                node_attribute=node_attribute, node_code=node_code, history=history,
            )  # fmt: skip
        return rollout_of(
            self,
            as_dataset(initial),
            steps=steps,
            dt=dt,
            topology=topology,
            graph_seed=graph_seed,
            control=control,
            node_attribute=node_attribute,
            node_code=node_code,
            ignore_weights=ignore_weights,
            history=history,
            check=check,
        )

    @property
    def node_code(self) -> xr.DataArray | None:
        """The learned codes (node, code) of the nodes of the training graphs, None without any; of an
        ensemble (member, node, code)."""
        return None if not self.spec.codes else codes_array(self.weights["node_code"])

    @guarded
    def infer(self, prefix: Any, *, updates: int = 100) -> xr.DataArray:
        """Codes (node, code) of nodes that were not trained on, from a short recording of them.

        prefix: a dataset of all nodes on their graph, of one trajectory or more.
        updates: the most steps of L-BFGS, which fit the codes alone, on rollouts of at most 25 time
            steps, from the mean of the trained codes; all other weights stay.
        Returns: the codes, for ``rollout(node_code=)``; the attribute ``loss`` is their mean loss.
        Raises: `InvalidModel` for a model without codes and for ensembles, `InvalidData` for data that
            do not fit the model.
        """
        return infer_codes(self, prefix, updates)

    @property
    def delay(self) -> float | None:
        """The one delay of all edges, in the unit of time of the data, or None where the edges of a graph
        have their own or there is none."""
        return self.spec.delay * self.time_scale if self.spec.delay else None

    def prefix(self, graph: Graph, time: NDArray[np.float64]) -> int:
        """Steps of the past that a rollout on ``graph`` over the times ``time`` takes; 0 without delays.

        The longest delay, rounded up, and at least 4.
        """
        if not self.delayed or len(time) < 2:
            return 0
        # A graph whose delays were learned has them here already.
        graph = on_learned_graph(self, graph) if self.graph is not None else graph
        delay = np.array([self.spec.delay * self.time_scale])
        delay = delay if graph.delay is None else graph.delay
        if not graph.edges or not delay.any():
            return 0
        step = float(time[1] - time[0])
        check_delays(delay, time, bool(np.allclose(np.diff(time), step, rtol=1e-6)))
        return prefix_of(in_steps(delay, step))

    @property
    def delayed(self) -> bool:
        """Whether the model was trained with delays."""
        return bool(self.spec.delay or self.spec.learned_delays or self.trained.delay)

    def vector_field(
        self,
        x: NDArray,
        m: NDArray | None = None,
        u: NDArray | None = None,
        graph: Any = None,
        *,
        node_attribute: NDArray | None = None,
    ) -> tuple[NDArray, NDArray]:
        """The learned slope (dx/dt, dm/dt), in physical units per unit of time.

        x: states (trajectory, node, feature), in physical units.
        m: messages (trajectory, node, message), where they are ODE states; zero by default.
        u: controls (trajectory, node, control), in physical units.
        graph: a topology name, a graph, edges, ...; not needed for one node.
        node_attribute: (node, attribute), in physical units.
        Returns: two arrays, of the shapes of x and of m.
        Raises: `InvalidData`; `InvalidModel` for several types of nodes, delays and ensembles.
        """
        if self.types is not None:
            raise InvalidModel(
                "the vector field of nodes of several types is not computed from arrays",
                got=f"a model of the types {', '.join(self.types.names)}",
                allowed="a model of nodes of one type",
                fix="roll out one short step: model.rollout(ds, steps=1, dt=...)",
            )
        if self.delayed:
            raise InvalidModel(
                "a model with delays has no vector field of the present state alone",
                got=f"delays {interval(*self.trained.delay)}",
                allowed="rollout, with the states before the start",
                fix="model.rollout(initial, history=states)",
            )
        x = _floats("x", x)
        if x.ndim != 3 or 0 in x.shape:
            raise InvalidData(
                "x has the wrong shape",
                got=x.shape,
                allowed=f"(trajectory, node, {len(self.features)}): (trajectory, node, feature)",
                fix="one trajectory is x[None]",
            )
        nodes = x.shape[1]
        m = np.zeros((*x.shape[:2], self.spec.carried)) if m is None else _floats("m", m)
        u = None if u is None else _floats("u", u)
        node_attribute = (
            None if node_attribute is None else numbers("node_attribute", node_attribute)
        )
        for name, values, width in (("m", m, self.spec.carried), ("u", u, self.spec.controls)):
            wanted = (*x.shape[:2], width)
            got = None if values is None else values.shape
            if got != wanted and (width or got is not None):
                raise InvalidData(
                    f"{name} has the wrong shape",
                    got=got,
                    allowed=f"{wanted}: (trajectory, node, component)",
                )
        z = np.concatenate([self.state_scale.apply(x), m], axis=-1)
        slope = self.bind().field(
            self.theta,
            z,
            self._edges(graph_for(graph, nodes, 42, self.system)),
            u=scaled(self.control_scale, u),
            attribute=scaled(self.attribute_scale, node_attribute),
        )
        channels, per = self.spec.channels, 1.0 / self.time_scale
        return slope[..., :channels] * (self.state_scale.scale * per), slope[..., channels:] * per

    def module(self) -> Any:
        """The vector field as a `torch.nn.Module`, with a copy of the weights.

        ``module(state, edge_index, edge_weight, control, node_attribute, edge_attribute)`` is dx/dt in
        physical units; ``module(x, **module.edges(graph))`` takes a graph. It has gradients with respect
        to weights and inputs, a ``state_dict``, and goes through ``torch.export``. `from_module` makes a
        model of it again. See `pympnode.networks.vector_field.VectorField`. Raises `InvalidModel` for
        ensembles, several types of nodes, delays and codes of nodes.
        """
        from .vector_field import vector_field_of

        return vector_field_of(self)

    @classmethod
    def from_module(cls, module: Any) -> Model:
        """The model of a module that `module` made, with the weights that it has now.

        Names, scales and training ranges are those of the model that it was made of. Raises
        `InvalidOption` for other modules: ``train(model=module)`` takes modules of your own.
        """
        from .vector_field import theta_of

        model, theta = theta_of(module)
        return replace(model, theta=theta)

    def as_node(self, system: Any = None) -> LearnedNode:
        """Deprecated: `pympnode.couple` takes the model itself.

        ``couple([model, "coupled_pendulum", model], "path", system=system)`` puts learned and
        simulated nodes on one graph. Raises `InvalidModel`, `InvalidOption`.
        """
        warnings.warn(
            "model.as_node() is no longer needed: couple takes the model itself",
            DeprecationWarning,
            stacklevel=2,
        )
        return LearnedNode.of(self, system)

    def initial_message(self, x: NDArray, node_attribute: NDArray | None = None) -> NDArray:
        """The first messages m(0) of messages that are ODE states: (trajectory, node, message).

        x: states (trajectory, node, feature), in physical units.
        node_attribute: (node, attribute), in physical units.
        Messages have no unit. Where they are evaluated from the states, m has no components. Raises
        `InvalidData`, and `InvalidModel` for several types of nodes.
        """
        if self.types is not None:
            raise InvalidModel(
                "initial messages of nodes of several types are not computed from arrays",
                got=f"a model of the types {', '.join(self.types.names)}",
                allowed="a model of nodes of one type",
                fix="model.rollout(ds, steps=1) has the messages of each type at the first time",
            )
        x = _floats("x", x)
        if node_attribute is not None:
            node_attribute = numbers("node_attribute", node_attribute)
        return self.bind().initial_message(
            self.theta,
            self.state_scale.apply(x),
            scaled(self.attribute_scale, node_attribute),
        )

    def bind(self, arrays: list[schema.Arrays] | None = None, **options: Any) -> Program:
        """The program that runs this model on its engine, and on data when it is to be trained.

        ``arrays`` in z units; ``options``: ``kernel``, ``device``, ``dtype``. Raises `InvalidModel` for
        an ensemble without data, `EngineUnavailable`.
        """
        from .engines import engine

        if self.members > 1 and arrays is None:
            raise InvalidModel(
                "an ensemble has no one vector field",
                got=f"{self.members} members",
                allowed="rollout, evaluate, save; or one member",
                fix="take model.member(0)",
            )
        options.setdefault("dtype", self.theta.dtype.name)
        options["device"] = options.get("device") or self.device or "auto"
        return engine(self.engine).bind(self.spec, arrays, **options)

    def to_engine(self, name: str) -> Model:
        """The same weights on another engine ("torch" or "julia").

        Raises `UnknownName`, and `InvalidModel` where the engine cannot run the model.
        """
        from .engines import NAMES, engine

        one_of("engine", name, NAMES)
        reason = engine(name).supports(self.spec)
        if reason is not None:
            raise InvalidModel(f"the engine {name!r} cannot run this model", got=reason)
        return replace(self, engine=name)

    def outside(
        self, arrays: schema.Arrays, parameters: Mapping[str, Any] | None = None
    ) -> list[str]:
        """Sentences, with numbers, on how some data lie outside the range of the training data.

        arrays: in physical units. parameters: of the physics, by name.
        Returns: an empty list where all lies inside.
        """
        if arrays.types is not None:
            return self._outside_by_type(arrays, arrays.types, parameters)
        middle = 0.5 * (np.asarray(self.trained.low) + np.asarray(self.trained.high))
        return self.trained.outside(
            self.features,
            # No angle lies outside: the nearest one that differs by whole turns is compared.
            components(middle + shorter_way(arrays.x[:, 0] - middle, self.periods)),
            np.asarray(arrays.graph.nodes),
            np.asarray(arrays.graph.in_degree),
            np.diff(arrays.time),
            parameters,
            () if arrays.u is None else components(arrays.u[:, : len(arrays.time) - 1]),
            () if arrays.attribute is None else components(arrays.attribute),
            (self.controls, self.attributes),
            arrays.held_weight,
            self._of_edges(arrays.graph),
            self.edge_attributes,
            delay=arrays.graph.delay,
        )

    def _outside_by_type(
        self, arrays: schema.Arrays, types: NodeTypes, parameters: Mapping[str, Any] | None
    ) -> list[str]:
        each = arrays.of_each_type()
        steps = len(arrays.time) - 1
        return self.trained.outside(
            self.features,
            [v for a in each for v in components(a.x[:, 0])],
            np.asarray(arrays.graph.nodes),
            np.asarray(arrays.graph.in_degree),
            np.diff(arrays.time),
            parameters,
            [v for a in each if a.u is not None for v in components(a.u[:, :steps])],
            [v for a in each if a.attribute is not None for v in components(a.attribute)],
            (self.controls, self.attributes),
            arrays.held_weight,
            self._of_edges(arrays.graph),
            self.edge_attributes,
            {name: a.x.shape[2] for name, a in zip(types.names, each, strict=True)},
        )

    def _of_edges(self, graph: Graph) -> list[NDArray]:
        """The values of each attribute of edges that the model takes."""
        attribute = with_attributes(graph, self.edge_attributes, warn=False).attribute
        return [] if attribute is None else components(attribute)

    # ---- keeping it ---------------------------------------------------------------------------

    @arguments(path=path_of)
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one netCDF file: named weights with checksums, configuration, normalisation.

        What stood at ``path`` is replaced in one step. Raises `NotEnoughDisk`, `CannotWrite`.
        """
        netcdf.write_netcdf(netcdf.sealed(self.to_dataset()), path, checksums=True)

    def to_dataset(self) -> xr.Dataset:
        """The model as a dataset: what `save` writes."""
        return dataset_of(self)

    @classmethod
    def from_dataset(cls, ds: xr.Dataset, source: str = "the dataset") -> Model:
        """The inverse of `to_dataset`. Raises `FileDamaged` when it is no model."""
        return cls(**fields_of(ds, source))

    def summary(self) -> str:
        """The model in one line."""
        return model_text.summary(self)

    def graph_summary(self) -> str:
        """The graphs that it was trained on, in one line."""
        return "; ".join(self.trained.graphs[:3]) or "given with the data"

    def lines(self) -> dict[str, str]:
        """Label and text of every line of the repr."""
        return model_text.lines(self)

    def __repr__(self) -> str:
        return "\n".join(f"{name:<12} {text}" for name, text in self.lines().items())

    def _repr_html_(self) -> str:
        return html_table("pympnode.Model", self.lines())

    # ---- checks -------------------------------------------------------------------------------

    def _edges(self, graph: Graph) -> Graph:
        """A graph as the program takes it."""
        return graph_for_program(self, graph_for_model(self, graph))

    def check(self, arrays: schema.Arrays, features: tuple[str, ...] | None = None) -> None:
        """Raise `InvalidData` unless the data have the features and inputs of this model.

        Data of nodes of several types are compared with the model's where their arrays are made
        (`networks.schema.arrays_of`).
        """
        if arrays.types is not None or self.types is not None:
            self._check_types(arrays)
            return
        channels = arrays.x.shape[-1]
        if channels != len(self.features):
            raise InvalidData(
                "the data have another number of features than the model",
                got=f"{channels}" + (f" ({', '.join(features)})" if features else ""),
                allowed=f"{len(self.features)} ({', '.join(self.features)})",
                fix="use data of the system that the model was trained on",
            )
        for name, values, wanted in (
            ("control", arrays.u, self.spec.controls),
            ("node_attribute", arrays.attribute, self.spec.attributes),
        ):
            got = 0 if values is None or not values.ndim else values.shape[-1]
            if got != wanted:
                raise InvalidData(
                    f"the model takes another number of components of {name!r}",
                    got=got,
                    allowed=wanted,
                    fix=f"give {name} with {wanted} components" if wanted else f"drop {name}",
                )
        if self.spec.family == "node" and arrays.x.shape[2] != self.spec.bodies:
            raise InvalidData(
                "a neural ODE of the whole system has a fixed number of nodes",
                got=arrays.x.shape[2],
                allowed=self.spec.bodies,
                fix='use model="mpnode", which transfers to other sizes',
            )

    def _check_types(self, arrays: schema.Arrays) -> None:
        if arrays.types == self.types:
            return
        got, wanted = (
            "one type" if t is None else ", ".join(t.names) for t in (arrays.types, self.types)
        )
        raise InvalidData(
            "the nodes of the data have other types than those of the model",
            got=got,
            allowed=wanted,
            fix="pympnode.nodes_of_type(ds, name) takes the nodes of one type"
            if self.types is None
            else "give state_TYPE(trajectory, time, node_TYPE, feature_TYPE), or node_type(node)",
        )


def _floats(name: str, values: Any) -> NDArray:
    """``values`` as float64, or as they are where they are floating point numbers already."""
    floats = type(values) is np.ndarray and values.dtype.kind == "f"
    return values if floats else numbers(name, values)
